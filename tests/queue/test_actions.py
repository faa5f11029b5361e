"""What the queue contract does with jobs and queues besides working them; what is refused changes no byte."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from gnj.queue import actions
from gnj.queue.actions import Removed
from gnj.queue.clock import After
from gnj.queue.ends import Outcome
from gnj.queue.errors import IllegalTransition, InvalidInput, InvalidText, JobNotFound
from gnj.queue.feed import Change
from gnj.queue.model import Batch, Hold, Job, NewJob, Pipeline
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.values import Unreadable

everywhere = pytest.mark.usefixtures("on_every_storage")
T = {"tenant": "t"}
MISSING = ("0", "-1", "99999", "x", "", "²", str(10**30))


@pytest.fixture
def jobs_in(queue, clock):
    """One job of the type "mail" in each status, by it; and `delayed`, `prioritized` and `backoff`."""
    made = {}

    def claimed():
        return queue.acquire(["mail"], tenants=["t"], worker_id="w")

    for status in ("failed", "successful", "cancelled", "cancel-requested", "processing", "backoff"):
        row: dict[str, Any] = {"type": "mail", "input": status, "max_attempts": 2 if status == "backoff" else 1}
        row["backoff"] = {"type": "fixed", "delay": 60_000}
        made[status] = queue.create_jobs([row], **T)[0]
        if status == "cancelled":
            queue.cancel(made[status].id)
            continue
        claim = claimed()
        if status in ("failed", "backoff"):
            queue.fail(claim, "broken")
        elif status == "successful":
            queue.succeed(claim, {"sent": 1})
        elif status == "cancel-requested":
            queue.cancel(claim.id)
    made["queued"] = queue.create_jobs([{"type": "mail"}], **T)[0]
    made["prioritized"] = queue.create_jobs([{"type": "mail", "priority": -3}], **T)[0]
    made["delayed"] = queue.create_jobs([{"type": "mail", "start_after": clock() + timedelta(hours=1)}], **T)[0]
    batch = queue.add_batch([NewJob("mail")], start=False, **T)
    made["planned"] = queue.list(Job, batch_id=batch.id)[0]
    return {name: queue.get(Job, job.id) for name, job in made.items()}


def commands(queue):
    return {
        "requeue": lambda which, **to: queue.requeue("mail", which, **to),
        "promote": lambda which, **to: queue.promote("mail", which, **to),
        "set_data": lambda which, **to: queue.set_data("mail", which, {"new": True}, **to),
        "remove_job": lambda which, **to: queue.remove_job("mail", which, **to),
    }


ALLOWED = {
    "requeue": {"failed", "cancelled"},
    "promote": {"delayed", "backoff"},
    "remove_job": {"failed", "successful", "cancelled", "backoff", "queued", "prioritized", "delayed", "planned"},
}


@everywhere
@pytest.mark.parametrize("command", ALLOWED)
def test_what_a_state_does_not_allow(queue, jobs_in, refused, command):
    for name, job in jobs_in.items():
        if name not in ALLOWED[command]:
            with refused(IllegalTransition):
                commands(queue)[command](str(job.id), **T)


@pytest.mark.slow_on("mysql")
@everywhere
@pytest.mark.parametrize("command", [*ALLOWED, "set_data"])
def test_jobs_there_are_not(queue, jobs_in, refused, command, storage):
    call = commands(queue)[command]
    for id in MISSING:
        with refused(JobNotFound):
            call(id, **T)
    allowed = jobs_in["failed" if command == "requeue" else "delayed"]
    for tenant in ("", "u"):
        with refused(JobNotFound):
            call(str(allowed.id), tenant=tenant)
    with refused(JobNotFound):
        call("0" + str(allowed.id), **T)
    other = queue.create_jobs([{"type": "post"}], **T)[0]
    with refused(JobNotFound):
        call(str(other.id), **T)
    storage.enqueue([{"type": "mail", "custom_id": "own", "tenant": "t"}])
    (named,) = storage.find(Job, Select(order=(("id", True),), limit=1))
    with refused(JobNotFound):
        call(str(named.id), **T)
    queue.delete(Job, allowed.id)
    with refused(JobNotFound):
        call(str(allowed.id), **T)


@everywhere
def test_a_job_is_retried(queue, jobs_in, clock):
    rings = queue.wake.rings
    clock.tick(5)
    before = jobs_in["failed"]
    job = queue.requeue("mail", str(before.id), **T)
    assert job == queue.get(Job, before.id)
    assert job == before.evolve(
        status=JobStatus.QUEUED, output=None, ended_at=None, updated_at=clock(), lease_expires_at=None
    )
    assert queue.wake.rings == rings + 1
    queue.delete(Job, jobs_in["queued"].id)
    again = queue.acquire(["mail"], tenants=["t"])
    assert (again.id, again.attempt, again.failures) == (job.id, 2, 1)
    assert queue.fail(again, "still broken").status == "failed"  # the one try that it was given


@everywhere
def test_a_cancelled_job_is_retried(queue, jobs_in):
    job = queue.requeue("mail", str(jobs_in["cancelled"].id), **T)
    assert (job.status, job.cancelled_at, job.ended_at, job.cancel_seen) == ("queued", None, None, False)


@everywhere
def test_one_that_was_replaced_is_not_retried(queue, jobs_in, refused):
    failed = jobs_in["failed"]
    new = queue.retry(failed.id)
    with refused(IllegalTransition, f"The job was retried: job {new.id} has taken its place"):
        queue.requeue("mail", str(failed.id), **T)
    queue.delete(Job, new.id)
    assert queue.requeue("mail", str(failed.id), **T).status == "queued"


@everywhere
def test_what_a_failed_job_belongs_to_goes_on(queue):
    pipeline = queue.add_pipeline("p", [[NewJob("mail"), NewJob("mail")], NewJob("mail")], **T)
    first, second = queue.acquire(["mail"], 2)
    queue.fail(first, "broken")
    queue.succeed(second)
    assert queue.get(Pipeline, pipeline.id).status == "failed"
    queue.requeue("mail", str(first.id), **T)
    assert queue.get(Pipeline, pipeline.id).status == "processing"
    assert [batch.status for batch in queue.list(Batch)] == ["processing"]
    queue.succeed(queue.acquire(["mail"]))
    queue.succeed(queue.acquire(["mail"]))
    assert queue.get(Pipeline, pipeline.id).status == "successful"


def test_retrying_is_told_of(queue, jobs_in):
    seen = []
    queue.hooks.add(["recovered"], lambda event: seen.append((event.name, event.previous, event.job.id)))
    queue.requeue("mail", str(jobs_in["failed"].id), **T)
    queue.requeue("mail", str(jobs_in["cancelled"].id), **T)
    assert queue.hooks.flush(10)
    told = [(name, jobs_in[name].id) for name in ("failed", "cancelled")]
    assert seen == [("recovered", previous, id) for previous, id in told]


@everywhere
@pytest.mark.parametrize("name", ["delayed", "backoff"])
def test_a_job_is_promoted(queue, jobs_in, name, clock):
    rings = queue.wake.rings
    clock.tick(1)
    job = queue.promote("mail", str(jobs_in[name].id), **T)
    assert job == jobs_in[name].evolve(start_after=None, due_at=None, updated_at=clock())
    assert queue.wake.rings == rings + 1
    assert job.id in [each.id for each in queue.acquire(["mail"], 10, tenants=["t"])]


@everywhere
def test_one_that_is_due_is_not_delayed(queue, jobs_in, clock, refused):
    clock.tick(3601)
    with refused(IllegalTransition, "The job must be delayed"):
        queue.promote("mail", str(jobs_in["delayed"].id), **T)


@everywhere
def test_data_is_given_in_any_state(queue, jobs_in, clock):
    clock.tick(1)
    for job in jobs_in.values():
        for data in ({"to": "ben"}, None, [1, 2.5, "ż"]):
            changed = queue.set_data("mail", str(job.id), data, **T)
            assert changed == job.evolve(input=data, updated_at=changed.updated_at)
            assert queue.get(Job, job.id) == changed
            assert queue.set_data("mail", str(job.id), data, **T) == changed


@pytest.mark.parametrize("data", [float("inf"), {"a": {"b": "\0"}}, "x" * (4 * 1024 * 1024), object()])
def test_data_that_is_none(queue, jobs_in, refused, data):
    error = InvalidText if isinstance(data, dict) else InvalidInput
    with refused(error):
        queue.set_data("mail", str(jobs_in["queued"].id), data, **T)


@everywhere
def test_a_job_is_removed_and_its_id_is_free(queue, storage):
    row = {"type": "mail", "custom_id": "own", "tenant": "t"}
    ((job, _),) = storage.enqueue([row])
    assert queue.remove_job("mail", "own", **T).deleted_at is not None
    assert queue.get(Job, job.id) is None
    ((again, new),) = storage.enqueue([row])
    assert new
    assert again.id != job.id


@everywhere
def test_removing_a_member_settles_what_it_belonged_to(queue):
    batch = queue.add_batch([NewJob("mail"), NewJob("mail")], **T)
    _, second = queue.list(Job, batch_id=batch.id)
    queue.succeed(queue.acquire(["mail"]))
    queue.remove_job("mail", str(second.id), **T)
    assert queue.get(Batch, batch.id).status == "successful"


def ids(queue, **equals):
    return [job.id for job in queue.list(Job, **equals)]


@everywhere
def test_a_queue_is_drained(queue, jobs_in, clock, monkeypatch):
    monkeypatch.setattr(actions, "PAGE", 3)
    more = queue.create_jobs([{"type": "mail"}] * 7, **T)
    others = queue.create_jobs([{"type": "mail"}], tenant="u") + queue.create_jobs([{"type": "post"}], **T)
    batch = queue.add_batch([NewJob("mail", priority=9)] * 4, **T)
    members = ids(queue, batch_id=batch.id)
    stays = {job.id for name, job in jobs_in.items() if name not in ("queued", "prioritized")}
    assert queue.drain("mail", **T) == Removed(len(more) + 2, more=False)
    assert set(ids(queue)) == stays | {job.id for job in others} | set(members)
    assert queue.drain("mail", **T) == Removed(0, more=False)
    assert queue.drain("mail", delayed=True, **T) == Removed(2, more=False)
    assert set(ids(queue)) == (stays - {jobs_in["delayed"].id, jobs_in["backoff"].id}) | {
        job.id for job in others
    } | set(members)
    assert len(queue.acquire(["mail"], 10, tenants=["t"])) == 4


@everywhere
def test_what_is_due_is_drained_too(queue, jobs_in, clock):
    clock.tick(7200)
    queue.reap(force=True)
    assert jobs_in["delayed"].id in ids(queue)
    queue.drain("mail", **T)
    assert jobs_in["delayed"].id not in ids(queue)


def test_draining_takes_its_time(queue, monkeypatch):
    monkeypatch.setattr(actions, "PAGE", 3)
    monkeypatch.setattr(actions, "SECONDS", 0.0)
    queue.create_jobs([{"type": "mail"}] * 7, **T)
    queue.create_jobs([{"type": "mail", "start_after": After(60).resolve(queue.storage.now())}], **T)
    assert queue.drain("mail", delayed=True, **T) == Removed(3, more=True)
    done = 3
    while (part := queue.drain("mail", delayed=True, **T)).more:
        done += part.removed
    assert done + part.removed == 8


@everywhere
@pytest.mark.parametrize(
    "status, gone",
    [
        ("completed", ["successful"]),
        ("failed", ["failed", "cancelled"]),
        ("waiting", ["queued"]),
        ("prioritized", ["prioritized"]),
        ("delayed", ["delayed", "backoff"]),
    ],
)
def test_a_queue_is_cleaned(queue, jobs_in, clock, status, gone):
    clock.tick(10)
    new = queue.create_jobs([{"type": "mail"}, {"type": "mail", "status": "successful"}], **T)
    before = set(ids(queue))
    assert queue.clean("mail", status, 10_001, 100, **T) == Removed(0, more=False)
    assert queue.clean("mail", status, 10_000, 100, tenant="u") == Removed(0, more=False)
    assert queue.clean("post", status, 10_000, 100, **T) == Removed(0, more=False)
    assert set(ids(queue)) == before
    assert queue.clean("mail", status, 10_000, 100, **T) == Removed(len(gone), more=False)
    assert before - set(ids(queue)) == {jobs_in[name].id for name in gone}
    queue.clean("mail", status, 0, 100, **T)
    assert (new[0].id in ids(queue)) == (status != "waiting")
    assert (new[1].id in ids(queue)) == (status != "completed")


@everywhere
def test_cleaning_takes_the_oldest_and_no_more_than_was_asked(queue, monkeypatch):
    monkeypatch.setattr(actions, "PAGE", 4)
    made = [job.id for job in queue.create_jobs([{"type": "mail", "status": "successful"}] * 23, **T)]
    batch = queue.add_batch([NewJob("mail")] * 3, **T)
    for claim in queue.acquire(["mail"], 3):
        queue.succeed(claim)
    members = ids(queue, batch_id=batch.id)
    assert queue.clean("mail", "completed", 0, 1, **T) == Removed(1, more=True)
    assert queue.clean("mail", "completed", 0, 9, **T) == Removed(9, more=True)
    assert ids(queue) == made[10:] + members
    assert queue.clean("mail", "completed", 0, 13, **T) == Removed(13, more=False)
    assert queue.clean("mail", "completed", 0, 10_000, **T) == Removed(0, more=False)
    assert ids(queue) == members


def test_cleaning_stops_in_time(queue, monkeypatch):
    monkeypatch.setattr(actions, "PAGE", 4)
    monkeypatch.setattr(actions, "SECONDS", 0.0)
    queue.create_jobs([{"type": "mail", "status": "successful"}] * 9, **T)
    assert [queue.clean("mail", "completed", 0, 100, **T) for _ in range(3)] == [
        Removed(4, more=True),
        Removed(4, more=True),
        Removed(1, more=False),
    ]


@everywhere
@pytest.mark.parametrize(
    "asked, told",
    [
        (("active", 0, 1), "Invalid status: 'active'; there are: completed, failed, waiting, prioritized, delayed"),
        ((None, 0, 1), "Invalid status: None; there are: completed, failed, waiting, prioritized, delayed"),
        ((["failed"], 0, 1), None),
        (("failed", -1, 1), "grace must be from 0 to 1,000,000,000,000, not -1"),
        (("failed", "0", 1), "grace must be an integer, not '0'"),
        (("failed", 10**13, 1), None),
        (("failed", True, 1), "grace must be an integer, not True"),
        (("failed", 0, 0), "limit must be from 1 to 10,000, not 0"),
        (("failed", 0, 10_001), "limit must be from 1 to 10,000, not 10001"),
        (("failed", 0, None), "limit must be an integer, not None"),
    ],
)
def test_cleanings_that_are_none(queue, jobs_in, refused, asked, told):
    with refused(InvalidInput, told):
        queue.clean("mail", *asked, **T)


def test_drainings_that_are_none(queue, jobs_in, refused):
    with refused(InvalidInput, "delayed must be true or false, not 1"):
        queue.drain("mail", delayed=1, **T)


@everywhere
def test_removing_many_is_told_of(queue, jobs_in):
    seen = []
    queue.hooks.add(["deleted"], lambda event: seen.append(event.job.id))
    queue.drain("mail", delayed=True, **T)
    queue.clean("mail", "failed", 0, 10, **T)
    assert queue.hooks.flush(10)
    order = ["queued", "prioritized", "backoff", "delayed", "failed", "cancelled"]
    assert seen == [jobs_in[name].id for name in order]


@everywhere
def test_who_follows_is_told(queue, jobs_in):
    changes: list[Change] = []
    with queue.feed.follow(changes.extend):
        queue.drain("mail", **T)
        queue.clean("mail", "completed", 0, 10, **T)
    topics = [(change.topic, change.value if change.topic == "queue" else change.value.id) for change in changes]
    assert topics == [
        ("deleted", jobs_in["queued"].id),
        ("deleted", jobs_in["prioritized"].id),
        ("queue", {"event": "drained", "queue": "mail", "count": 2}),
        ("deleted", jobs_in["successful"].id),
        ("queue", {"event": "cleaned", "queue": "mail", "count": 1}),
    ]
    assert {change.tenant for change in changes} == {"t"}


@everywhere
def test_a_paused_queue(queue):
    assert not queue.is_paused("mail", **T)
    queue.hold("mail", **T)
    assert queue.is_paused("mail", **T)
    assert not queue.is_paused("mail", tenant="u")
    assert not queue.is_paused("post", **T)
    queue.release_hold("mail", **T)
    assert not queue.is_paused("mail", **T)
    for type, tenant in (("all", "t"), ("all", ""), ("mail", "")):
        queue.hold(type, tenant=tenant)
        assert queue.is_paused("mail", **T)
        queue.release_hold(type, tenant=tenant)
        assert not queue.is_paused("mail", **T)


@everywhere
def test_limits_pause_nothing(queue, storage):
    storage.insert(Hold, [{"tenant": "t", "type": "mail", "limited": True, "held": False}])
    assert not queue.is_paused("mail", **T)


def test_unreadable_data_can_be_replaced(queue, storage):
    job = queue.create_jobs([{"type": "mail"}], **T)[0]
    storage._tables[Job][job.id] = job.evolve(input=Unreadable('{"a'))
    assert queue.set_data("mail", str(job.id), '{"a', **T).input == '{"a'
    assert type(queue.get(Job, job.id).input) is str


@everywhere
def test_a_job_is_drained_or_claimed_never_both(queue, monkeypatch):
    monkeypatch.setattr(actions, "PAGE", 20)
    made = [job.id for job in queue.create_jobs([{"type": "mail"}] * 400, **T)]
    claimed: list[int] = []
    begun = threading.Barrier(3)

    def claims():
        begun.wait()
        while found := queue.acquire(["mail"], 7):
            claimed.extend(job.id for job in found)
            queue.finish([Outcome(job, JobStatus.SUCCESSFUL) for job in found])

    threads = [threading.Thread(target=claims) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.wait()
    removed, more = 0, True
    while more:  # for as long as it takes: a call ends after some seconds
        done = queue.drain("mail", **T)
        removed, more = removed + done.removed, done.more
    for thread in threads:
        thread.join()
    assert len(set(claimed)) == len(claimed) == len(made) - removed
    assert sorted(claimed) == ids(queue)
