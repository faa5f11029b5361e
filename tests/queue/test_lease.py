"""Leases: renewed, lost and taken back (points 5 and 7 of section 0; P3, P4 and P9 of the promises)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from gnj.queue import maintenance
from gnj.queue.errors import Conflict, InvalidInput, LeaseLost
from gnj.queue.events import Event
from gnj.queue.model import Batch, Job, JobAttempt, NewJob, Pipeline, Step
from gnj.queue.service import MAX_CLAIM, Queue

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
everywhere = pytest.mark.usefixtures("everywhere")


def lost(queue, clock, claimed, seconds=30.0):
    """Lets the lease run out and has the job taken back; the job as it then is."""
    clock.tick(seconds)
    assert queue.reap(force=True) == 1
    return queue.get(Job, claimed.id)


# Renewing -------------------------------------------------------------------------------------------------------------


@everywhere
def test_a_heartbeat_renews_the_lease_and_nothing_else(queue, claim, clock):
    job = claim(lease=30)
    clock.tick(20)
    assert queue.heartbeat(job) == job.evolve(lease_expires_at=clock() + timedelta(seconds=30))
    assert queue.heartbeat(job, lease=5).lease_expires_at == clock() + timedelta(seconds=5)
    assert queue.heartbeats([(job.id, 1)])[0].lease_expires_at == clock() + timedelta(seconds=30)


@everywhere
def test_a_heartbeat_tells_of_a_cancellation_and_never_sets_the_flag(queue, claim):
    job = claim()
    queue.cancel(job.id)
    for _ in range(3):
        told = queue.heartbeat(job)
        assert (told.status, told.cancel_seen) == ("cancel-requested", False)
    assert queue.update_job(job.id, {}).cancel_seen


@everywhere
def test_claims_that_are_over_are_not_renewed(queue, claim, refused):
    live, ended, released = claim(), claim(), claim()
    queue.succeed(ended)
    queue.release([released])
    for job in (ended, released, live.evolve(attempt=2), live.evolve(id=99)):
        with refused(
            LeaseLost,
            "The claim is over: its lease ran out, the job ended or was given to another worker; nothing was changed.",
        ):
            queue.heartbeat(job)
    tokens = [(ended.id, 1), (live.id, 1), (live.id, 0), (99, 1), (live.id, 1)]
    assert [job and job.id for job in queue.heartbeats(tokens)] == [None, live.id, None, None, live.id]
    assert queue.heartbeats([]) == []


@everywhere
def test_a_tenant_renews_its_own_claims_only(queue, claim):
    ours, theirs = claim(tenant="t"), claim(tenant="u")
    renewed = queue.heartbeats([(theirs.id, 1), (ours.id, 1)], tenant="t")
    assert [job and job.id for job in renewed] == [None, ours.id]


@everywhere
def test_a_renewed_lease_spares_its_worker(queue, claim, clock):
    job = claim(lease=30)
    clock.tick(31)
    assert queue.heartbeat(job).status == "processing"
    assert queue.reap(force=True) == 0
    assert queue.succeed(job).status == "successful"


def test_a_lease_renewed_between_the_look_and_the_taking_is_spared(queue, storage, claim, clock, monkeypatch):
    job = claim(lease=30)
    clock.tick(30)
    (found,) = storage.lost(10)
    queue.heartbeat(job)
    monkeypatch.setattr(storage, "lost", lambda limit: [found])
    assert queue.reap(force=True) == 0
    assert queue.get(Job, job.id).status == "processing"
    queue.succeed(job)
    assert queue.reap(force=True) == 0
    assert queue.list(JobAttempt) == []


def test_too_many_heartbeats_at_once(queue, refused):
    with refused(InvalidInput, "at most 1,000 claims can be renewed at once, not 1,001"):
        queue.heartbeats([(1, 1)] * (MAX_CLAIM + 1))


@pytest.mark.parametrize("lease", [0, -1, 0.001, 10**7, True, "30", float("inf"), float("nan")])
def test_bad_leases(queue, claim, refused, lease):
    job = claim()
    for command in (lambda: queue.heartbeat(job, lease=lease), lambda: queue.heartbeats([(job.id, 1)], lease=lease)):
        with refused(InvalidInput):
            command()


# Losing ---------------------------------------------------------------------------------------------------------------


@everywhere
def test_a_lost_lease_puts_the_job_back(queue, claim, clock):
    job = claim(lease=30)
    clock.tick(29.999)
    assert queue.reap(force=True) == 0
    rings = queue.wake.rings
    back = lost(queue, clock, job, 0.001)
    assert (back.status, back.attempt, back.failures, back.stalled_count) == ("queued", 1, 0, 1)
    assert (back.lease_expires_at, back.due_at, back.output, back.updated_at) == (None, None, None, clock())
    assert queue.wake.rings == rings + 1
    assert queue.reap(force=True) == 0
    again = queue.acquire([job.type])
    assert again.attempt == 2
    with pytest.raises(LeaseLost):
        queue.succeed(job)
    queue.succeed(again)


@everywhere
def test_after_the_last_lost_lease_the_job_fails(queue, claim, clock):
    job = claim(lease=30)
    for number in range(1, 5):
        back = lost(queue, clock, job)
        assert back.stalled_count == number
        if number > 2:  # the last two times not at once: see the test below
            clock.set(back.due_at)
        job = queue.acquire([job.type], worker_id="w", lease=30)
    begun = clock()
    clock.tick(10)
    queue.update_job(job.id, {"output": {"half": "done"}})
    failed = lost(queue, clock, job)
    assert (failed.status, failed.stalled_count, failed.failures, failed.attempt) == ("failed", 5, 0, 5)
    assert (failed.ended_at, failed.lease_expires_at) == (clock(), None)
    text = (
        f"LEASE_EXPIRED: worker w lost claim 5, begun {begun:%Y-%m-%dT%H:%M:%S.%fZ}: its lease ended "
        f"{begun + timedelta(seconds=40):%Y-%m-%dT%H:%M:%S.%fZ} without a heartbeat (lost lease 5 of 5)"
    )
    assert failed.output == {"error": text}
    history = queue.list(JobAttempt)
    assert [(row.attempt, row.outcome, row.worker_id) for row in history] == [(n, "lost", "w") for n in range(1, 6)]
    assert history[-1].error == text
    assert (history[0].started_at, history[0].ended_at) == (START, START + timedelta(seconds=30))


@pytest.mark.parametrize("maximum, lease, at_once", [(2, 30, 1), (3, 30, 1), (5, 30, 2), (5, 3600, 2), (9, 1, 6)])
def test_jobs_that_are_lost_together_again_and_again_come_back_apart(queue, claim, clock, maximum, lease, at_once):
    """P9: from the last but one lease on within the length of the lease, at most half a minute; before that at once."""
    claims = [claim(lease=lease, max_stalled=maximum) for _ in range(20)]
    for number in range(1, maximum):
        clock.tick(lease)
        assert queue.reap(force=True) == 20
        due = [job.due_at for job in queue.list(Job)]
        if number <= at_once:
            assert set(due) == {None}
        else:
            waits = [(moment - clock()).total_seconds() for moment in due]
            assert len(set(waits)) > 10
            assert 0 <= min(waits) < max(waits) <= min(lease, 30)
        clock.tick(30)
        assert len(queue.acquire([job.type for job in claims], 100, lease=lease)) == 20


@pytest.mark.parametrize("maximum, status", [(1, "failed"), (2, "queued")])
def test_how_many_leases_may_be_lost_is_the_jobs_to_say(queue, claim, clock, maximum, status):
    assert lost(queue, clock, claim(lease=30, max_stalled=maximum)).status == status


@everywhere
@pytest.mark.parametrize(
    "on_lost, status", [(None, "queued"), ("requeue", "queued"), ("fail", "failed"), ("hold", "planned")]
)
def test_what_a_lost_lease_does(queue, claim, clock, on_lost, status):
    job = claim(lease=30, on_lost=on_lost, worker_id=None, start_after=timedelta(0))
    after = lost(queue, clock, job)
    assert (after.status, after.stalled_count, after.lease_expires_at) == (status, 1, None)
    text = (
        "LEASE_EXPIRED: a worker without an id lost claim 1, begun 2030-01-01T12:00:00.000000Z: its lease ended "
        "2030-01-01T12:00:30.000000Z without a heartbeat (lost lease 1 of 5)"
    )
    assert after.output == (None if status == "queued" else {"error": text})
    assert [row.error for row in queue.list(JobAttempt)] == [text]
    if status == "planned":
        assert queue.acquire([job.type]) is None
        assert queue.update_job(job.id, {"status": "queued"}).status == "queued"


@everywhere
@pytest.mark.parametrize("on_lost", [None, "fail", "hold"])
def test_a_lease_lost_while_a_cancellation_is_asked_for_ends_as_cancelled(queue, claim, clock, on_lost):
    job = claim(lease=30, on_lost=on_lost)
    queue.cancel(job.id)
    after = lost(queue, clock, job)
    assert (after.status, after.stalled_count) == ("cancelled", 1)
    assert (after.cancelled_at, after.ended_at, after.lease_expires_at, after.due_at) == (clock(), clock(), None, None)
    assert [row.outcome for row in queue.list(JobAttempt)] == ["lost"]


@everywhere
@pytest.mark.parametrize("ask", [False, True])
def test_the_parents_of_what_was_lost_are_settled(queue, clock, ask):
    queue.add_pipeline("p", [[NewJob("a", on_lost="fail"), NewJob("b")], NewJob("c")])
    job = queue.acquire(["a"], lease=30)
    if ask:
        queue.cancel(job.id)
    assert lost(queue, clock, job).status == ("cancelled" if ask else "failed")
    assert [batch.status for batch in queue.list(Batch)] == ["failed"]
    assert [step.status for step in queue.list(Step)] == ["failed", "planned"]
    assert [pipeline.status for pipeline in queue.list(Pipeline)] == ["failed"]


def test_a_requeued_member_leaves_its_parents_as_they_are(queue, clock):
    queue.add_pipeline("p", [[NewJob("a")], NewJob("c")])
    lost(queue, clock, queue.acquire(["a"], lease=30))
    assert [batch.status for batch in queue.list(Batch)] == ["processing"]
    assert [step.status for step in queue.list(Step)] == ["processing", "planned"]


def test_a_claimed_job_without_times_says_so(queue, storage, make, clock):
    job = make(status="processing", worker_id="w", on_lost="fail")
    storage.edit(Job, [job.id], {"started_at": None})
    text = (
        "LEASE_EXPIRED: worker w lost claim 1: its lease ended 2030-01-01T12:01:00.000000Z without a heartbeat "
        "(lost lease 1 of 5)"
    )
    assert lost(queue, clock, job, 60).output == {"error": text}


# Who takes back, and when ---------------------------------------------------------------------------------------------


@everywhere
def test_acquiring_takes_back_what_was_lost(queue, claim, clock, monkeypatch):
    job = claim(lease=30)
    clock.tick(30)
    now = time.monotonic()
    monkeypatch.setattr("gnj.queue.service.time.monotonic", lambda: now)
    queue.reap()
    assert queue.acquire([job.type]) is None  # less than a second after the last look
    now += 1
    assert queue.acquire([job.type]).attempt == 2


def test_another_queue_takes_back_as_well(queue, storage, claim, clock):
    job = claim(lease=30)
    clock.tick(30)
    assert [found.attempt for found in Queue(storage).acquire([job.type], 5)] == [2]


def test_one_look_at_a_time(queue, claim, clock):
    claim(lease=30)
    clock.tick(30)
    with queue._reaping:
        queue._reaped -= 100
        assert queue.reap() == 0
    assert queue.reap() == 1


def test_a_conflict_while_taking_back_is_left_to_the_next_look(queue, claim, clock, monkeypatch):
    one, other = claim(lease=30), claim(lease=30)
    clock.tick(30)
    real = queue.run

    def run(command):
        monkeypatch.setattr(queue, "run", real)
        raise Conflict

    monkeypatch.setattr(queue, "run", run)
    assert queue.reap(force=True) == 0
    assert queue.reap(force=True) == 2
    assert {queue.get(Job, job.id).status for job in (one, other)} == {"queued"}


def test_a_conflict_over_one_with_parents_is_left_to_the_next_look(queue, clock, monkeypatch):
    queue.add_batch([NewJob("a")])
    queue.enqueue(NewJob("a"))
    queue.acquire(["a"], 2, lease=30)
    clock.tick(30)
    real = queue.run

    def run(command):
        if "reap_together" not in command.__qualname__:
            monkeypatch.setattr(queue, "run", real)
            raise Conflict
        return real(command)

    monkeypatch.setattr(queue, "run", run)
    assert [queue.reap(force=True) for _ in range(3)] == [1, 1, 0]


def test_five_hundred_at_a_time(queue, clock):
    queue.enqueue_many([NewJob("a")] * 501)
    queue.acquire(["a"], 501, lease=30)
    clock.tick(30)
    assert [queue.reap(force=True) for _ in range(3)] == [500, 1, 0]


@everywhere
def test_one_that_cannot_be_taken_back_does_not_keep_the_others(queue, clock, monkeypatch, caplog):
    queue.enqueue_many([NewJob("a")] * 3)
    bad, *_ = queue.acquire(["a"], 3, lease=30)
    clock.tick(30)
    real = maintenance.verdict

    def verdict(job, random):
        if job.id == bad.id:
            raise InvalidInput("this one cannot")
        return real(job, random)

    monkeypatch.setattr(maintenance, "verdict", verdict)
    assert queue.reap(force=True) == 2
    assert f"the lost claim 1 of job {bad.id} could not be taken back" in caplog.text


@everywhere
def test_jobs_lost_together_are_told_of_one_by_one(queue, clock):
    queue.enqueue_many([NewJob("a", on_lost=on_lost) for on_lost in (None, "fail", "hold", None)])
    first, *_ = queue.acquire(["a"], 4, lease=30)
    queue.cancel(first.id)
    told: list[Event] = []
    queue.hooks.add(["retrying", "failed", "cancelled"], told.append)
    clock.tick(30)
    assert queue.reap(force=True) == 4
    assert queue.hooks.flush(10)
    assert sorted((event.name, event.job.status) for event in told) == [
        ("cancelled", "cancelled"),
        ("failed", "failed"),
        ("retrying", "queued"),
    ]
    assert [job.status for job in queue.list(Job, order=("id",))] == ["cancelled", "failed", "planned", "queued"]
    assert [(row.outcome, row.attempt) for row in queue.list(JobAttempt)] == [("lost", 1)] * 4
    assert {job.stalled_count for job in queue.list(Job)} == {1}


# Giving back ----------------------------------------------------------------------------------------------------------


@everywhere
def test_a_released_claim_counts_nothing_but_itself(queue, claim, clock):
    job = claim(start_after=timedelta(0))
    clock.tick(1)
    rings = queue.wake.rings
    (back,) = queue.release([job])
    assert (back.status, back.attempt, back.failures, back.stalled_count) == ("queued", 1, 0, 0)
    assert (back.due_at, back.lease_expires_at, back.updated_at) == (START, None, clock())
    assert queue.list(JobAttempt) == []
    assert queue.wake.rings == rings + 1
    assert queue.release([job]) == []
    assert queue.acquire([job.type]).attempt == 2


@everywhere
def test_a_released_job_that_was_asked_to_stop_is_cancelled(queue, clock):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b")])
    job = queue.acquire(["a"])
    queue.cancel(job.id)
    (after,) = queue.release([job])
    assert (after.status, after.cancelled_at, after.due_at) == ("cancelled", START, None)
    assert [pipeline.status for pipeline in queue.list(Pipeline)] == ["failed"]


def test_releasing_leaves_out_what_is_over(queue, claim):
    one, other = claim(), claim()
    queue.succeed(one)
    assert [job.id for job in queue.release([one, other])] == [other.id]
    assert queue.release([]) == []


def test_more_lost_claims_than_one_look_takes_back_are_taken_back_by_the_next(queue, clock):
    queue.enqueue_many([NewJob("a")] * 750)
    assert len(queue.acquire(["a"], 750, lease=30)) == 750
    clock.tick(31)
    assert queue.reap(force=True) == 500
    assert len(queue.acquire(["a"], 1000)) == 750
