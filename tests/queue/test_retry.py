"""Tries, waits between them, and the two ways out of an end: points 3, 4, 5, 10 and 11 of section 0."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.queue.errors import IllegalTransition, InvalidInput, JobNotFound
from gnj.queue.model import Batch, Job, JobAttempt, NewJob, Pipeline, Step
from gnj.queue.policy import Policy
from gnj.queue.retry import MAX_DELAY, Backoff, Exponential, Fixed, Linear, from_wire
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
everywhere = pytest.mark.usefixtures("everywhere")

# Shapes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backoff, waits",
    [
        (Fixed(2), [2, 2, 2, 2]),
        (Linear(2), [2, 4, 6, 8]),
        (Exponential(2), [2, 4, 8, 16]),
        (Exponential(2, maximum=7), [2, 4, 7, 7]),
        (Linear(1800), [1800, 3600, 3600, 3600]),
        (Linear(1800, maximum=7200), [1800, 3600, 5400, 7200]),
        (Fixed(), [0, 0, 0, 0]),
        (Backoff(3), [3, 3, 3, 3]),
        (Fixed(5, maximum=0), [0, 0, 0, 0]),
    ],
)
def test_shapes_and_caps(backoff, waits):
    assert [backoff.wait(failures, lambda: 1.0) for failures in (1, 2, 3, 4)] == waits
    assert from_wire(backoff.to_wire()).to_wire() == backoff.to_wire()
    assert [from_wire(backoff.to_wire()).wait(failures, lambda: 0.0) for failures in (1, 2, 3, 4)] == waits


@pytest.mark.parametrize("failures", [63, 64, 1025, 10**9])
def test_many_failures_do_not_overflow(failures):
    assert Exponential(1).wait(failures, lambda: 0.0) == MAX_DELAY
    assert Exponential(0).wait(failures, lambda: 0.0) == 0


@given(
    st.sampled_from([Fixed, Linear, Exponential]),
    st.floats(0, 10_000),
    st.none() | st.floats(0, 10_000),
    st.floats(0, 1),
    st.integers(1, 100),
    st.floats(0, 1),
)
def test_jitter_never_leaves_its_bounds(kind, delay, maximum, jitter, failures, drawn):
    backoff = kind(delay, maximum=maximum, jitter=jitter)
    longest = min(backoff.shape(failures), MAX_DELAY if maximum is None else maximum)
    assert longest * (1 - jitter) - 1e-6 <= backoff.wait(failures, lambda: drawn) <= longest


def test_the_wire_counts_in_milliseconds():
    assert from_wire({"type": "linear", "delay": 1500, "maxDelay": 2500, "jitter": 0.5}) == Linear(1.5, 2.5, 0.5)
    assert from_wire({}) == Fixed()
    assert from_wire({"delay": 1, "maxDelay": None, "jitter": None}) == Fixed(0.001)
    assert Exponential(1, maximum=2, jitter=0.1).to_wire() == {
        "type": "exponential",
        "delay": 1000,
        "maxDelay": 2000,
        "jitter": 0.1,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"delay": -1},
        {"delay": "1"},
        {"delay": float("nan")},
        {"delay": True},
        {"delay": 1, "maximum": -1},
        {"delay": 10**400},
    ],
)
def test_bad_backoffs(options):
    with pytest.raises(InvalidInput, match=r"^backoff (delay|maximum) must be "):
        Exponential(**options)


@pytest.mark.parametrize("jitter", [-0.1, 1.1, True, None, "0", float("nan")])
def test_bad_jitter(jitter):
    with pytest.raises(InvalidInput, match=r"^backoff jitter must be a number from 0 to 1, not "):
        Fixed(1, jitter=jitter)


# Tries ----------------------------------------------------------------------------------------------------------------


@everywhere
def test_one_try_is_all_unless_more_are_asked_for(queue, claim):
    failed = queue.fail(claim(), "no")
    assert (failed.status, failed.attempt, failed.failures, failed.stalled_count) == ("failed", 1, 1, 0)


@everywhere
def test_tries_waits_and_counters(queue, claim, clock):
    job = claim(max_attempts=3, backoff=Linear(10))
    for number, wait in ((1, 10), (2, 20)):
        clock.tick(1)
        job = queue.fail(job, f"no {number}", traceback=f"trace {number}")
        assert (job.status, job.failures, job.attempt, job.ended_at) == ("queued", number, number, None)
        assert (job.due_at, job.lease_expires_at) == (clock() + timedelta(seconds=wait), None)
        assert job.output is None
        clock.tick(wait - 0.001)
        assert queue.acquire([job.type]) is None
        clock.tick(0.001)
        job = queue.acquire([job.type], worker_id="v")
    clock.tick(1)
    job = queue.fail(job, "no 3")
    assert (job.status, job.failures, job.attempt, job.ended_at) == ("failed", 3, 3, clock())
    history = queue.list(JobAttempt)
    assert [(row.job_id, row.attempt, row.outcome, row.error, row.worker_id) for row in history] == [
        (job.id, 1, "failed", "trace 1", "w"),
        (job.id, 2, "failed", "trace 2", "v"),
        (job.id, 3, "failed", "no 3", "v"),
    ]
    assert [row.ended_at - row.started_at for row in history] == [timedelta(seconds=1)] * 3


def test_a_try_that_gives_nothing_does_not_end_with_the_error_of_the_one_before(queue, claim):
    job = claim(max_attempts=2)
    queue.fail(job, "no")
    done = queue.succeed(queue.acquire([job.type]))
    assert (done.status, done.output) == ("successful", None)


def test_a_retry_without_backoff_is_due_at_once(queue, claim):
    job = claim(max_attempts=2, start_after=timedelta(0))
    failed = queue.fail(job, "no")
    assert (failed.status, failed.due_at) == ("queued", START)
    assert queue.acquire([job.type]).attempt == 2


def test_jitter_is_drawn_for_each_wait_and_repeatable(storage, clock):
    def waits(seed):
        queue = Queue(storage, seed=seed)
        backoff = {"type": "fixed", "delay": 10_000, "jitter": 0.5}
        jobs = queue.enqueue_many([NewJob("a", max_attempts=2, backoff=backoff)] * 3)
        assert len(jobs) == 3
        return [(queue.fail(job, "no").due_at - clock()).total_seconds() for job in queue.acquire(["a"], 3)]

    first = waits(1)
    assert len(set(first)) == 3
    assert all(5 <= wait <= 10 for wait in first)
    assert waits(1) == first
    assert waits(2) != first


def test_a_failure_by_hand_is_a_try_only_of_a_claimed_job(queue, make, claim):
    waiting = queue.update_job(make(max_attempts=5).id, {"status": "failed"})
    assert (waiting.status, waiting.failures) == ("failed", 0)
    job = claim(max_attempts=2)
    assert queue.update_job(job.id, {"status": "failed"}).status == "queued"
    assert [row.error for row in queue.list(JobAttempt)] == [None]


def test_what_was_asked_to_stop_is_not_tried_again(queue, claim):
    job = queue.cancel(claim(max_attempts=9).id)
    failed = queue.fail(job, "no")
    assert (failed.status, failed.failures) == ("failed", 1)


@pytest.mark.parametrize(
    "output, error",
    [
        ({"error": "x"}, "x"),
        ({"error": {"a": 1}}, "{'a': 1}"),
        ({"other": 1}, "{'other': 1}"),
        ("text", "text"),
        ([1], "[1]"),
        (None, None),
    ],
)
def test_the_history_takes_its_error_from_the_output(queue, claim, output, error):
    job = claim()
    queue.update_job(job.id, {"status": "failed", "output": output})
    assert [row.error for row in queue.list(JobAttempt)] == [error]


def test_a_traceback_is_made_storable(queue, claim):
    queue.fail(claim(), "no", traceback="\0\ud800" + "x" * 20_000 + "end")
    (row,) = queue.list(JobAttempt)
    assert len(row.error) <= 10_000
    assert row.error.startswith("\ufffd?xx")
    assert row.error.endswith("xend")


def test_policy_of_the_claim_counts(storage, clock):
    queue = Queue(storage, policies={"a": Policy(max_attempts=2, backoff=Fixed(5))})
    queue.enqueue(NewJob("a"))
    (job,) = queue.acquire(["a"], 1)
    assert queue.fail(job, "no").due_at == START + timedelta(seconds=5)


# Recover --------------------------------------------------------------------------------------------------------------


@everywhere
def test_a_recovered_job_is_the_same_row_and_keeps_everything(queue, claim, clock):
    failed = queue.fail(claim(recoverable=True, unique_id="u"), "no")
    clock.tick(1)
    rings = queue.wake.rings
    job = queue.recover(failed.id)
    assert job == failed.evolve(status=JobStatus.QUEUED, updated_at=clock())
    assert queue.wake.rings == rings + 1
    again = queue.acquire([job.type])
    assert (again.attempt, again.failures) == (2, 1)


@everywhere
def test_order_of_the_checks_of_recover(queue, make, refused):
    for id in (99, make(tenant="t").id):
        with refused(JobNotFound, "The job does not exist"):
            queue.recover(id, tenant="")
    for status in JobStatus:
        job = make(status=status)
        with refused(IllegalTransition, "The job must be recoverable"):
            queue.recover(job.id)
        job = make(status=status, recoverable=True)
        if status == "failed":
            assert queue.recover(job.id).status == "queued"
        else:
            with refused(IllegalTransition, "The job must be failed"):
                queue.recover(job.id)


# Retry ----------------------------------------------------------------------------------------------------------------


@everywhere
def test_a_retry_is_a_new_job_in_the_place_of_the_old_one(queue, claim, clock):
    options = {
        "input": {"a": 1},
        "name": "n",
        "start_after": START,
        "priority": 8,
        "unique_id": "u",
        "recoverable": True,
        "max_attempts": 2,
        "max_stalled": 3,
        "backoff": Fixed(0),
        "timeout": 9,
        "on_lost": "hold",
        "tenant": "t",
    }
    job = claim(**options)
    queue.progress(job, {"steps": {"x": {"status": "done"}}})
    queue.fail(job, "no")
    old = queue.fail(queue.acquire([job.type]), "no again")
    clock.tick(1)
    new = queue.retry(old.id, tenant="t")
    kept = "type name input start_after priority unique_id recoverable max_attempts max_stalled backoff timeout on_lost tenant"
    assert {name: getattr(new, name) for name in kept.split()} == {name: getattr(old, name) for name in kept.split()}
    fresh = Job(
        id=new.id,
        status=JobStatus.QUEUED,
        retry_of=old.id,
        due_at=START,
        created_at=clock(),
        updated_at=clock(),
        **{name: getattr(old, name) for name in kept.split()},
    )
    assert new == fresh
    assert queue.get(Job, old.id) == old.evolve(unique_id=None, replaced_by=new.id, updated_at=clock())
    assert queue.enqueue(NewJob("x", unique_id="u", tenant="t")) == new


@everywhere
def test_order_of_the_checks_of_retry(queue, make, refused):
    for id in (99, make(tenant="t").id):
        with refused(JobNotFound, "The job does not exist."):
            queue.retry(id, tenant="")
    for status in JobStatus:
        job = make(status=status)
        if status in ("failed", "cancelled"):
            assert queue.retry(job.id).retry_of == job.id
        else:
            with refused(IllegalTransition, "The job must be failed or cancelled."):
                queue.retry(job.id)


def test_a_retry_can_be_retried_and_so_can_the_old_job(queue, make):
    old = make(status="failed", output=None)
    new = queue.retry(old.id)
    again = queue.retry(queue.cancel(new.id).id)
    assert (again.retry_of, queue.retry(old.id).retry_of) == (new.id, old.id)
    assert (new.output, again.output) == (None, None)


def statuses(queue, kind):
    return [row.status for row in queue.list(kind)]


@everywhere
@pytest.mark.parametrize("how", ["recover", "retry"])
@pytest.mark.parametrize("end", ["fail", "cancelled"])
def test_the_member_of_a_batch_reopens_what_its_end_had_closed(queue, how, end):
    if (how, end) == ("recover", "cancelled"):
        return  # only a failed job can be recovered
    members = [NewJob("a", recoverable=True), NewJob("b", recoverable=True)]
    pipeline = queue.add_pipeline("p", [members, NewJob("c")])
    one, other = queue.acquire(["a", "b"], 2)
    getattr(queue, end)(one, "no")
    assert (statuses(queue, Batch), statuses(queue, Step), statuses(queue, Pipeline)) == (
        ["failed"],
        ["failed", "planned"],
        ["failed"],
    )
    new = getattr(queue, how)(one.id)
    assert (statuses(queue, Batch), statuses(queue, Step), statuses(queue, Pipeline)) == (
        ["processing"],
        ["processing", "planned"],
        ["processing"],
    )
    assert queue.list(Job, batch_id=1, order=("type",))[0] == new
    queue.succeed(queue.acquire(["a"]))
    queue.succeed(other)
    assert (statuses(queue, Batch), statuses(queue, Step)) == (["successful"], ["done", "processing"])
    queue.succeed(queue.acquire(["c"]))
    assert queue.get(Pipeline, pipeline.id).status == "successful"


@everywhere
@pytest.mark.parametrize("how", ["recover", "retry"])
def test_the_job_of_a_step_reopens_what_its_end_had_closed(queue, how):
    queue.add_pipeline("p", [NewJob("a", recoverable=True, unique_id="u"), NewJob("b")])
    old = queue.fail(queue.acquire(["a"]), "no")
    assert (statuses(queue, Step), statuses(queue, Pipeline)) == (["failed", "planned"], ["failed"])
    new = getattr(queue, how)(old.id)
    assert (statuses(queue, Step), statuses(queue, Pipeline)) == (["processing", "planned"], ["processing"])
    assert queue.list(Step)[0].job_id == new.id
    assert (new.pipeline_id, new.unique_id) == (1, "u")
    if how == "retry":
        assert queue.get(Job, old.id).pipeline_id is None
    queue.succeed(queue.acquire(["a"]))
    queue.succeed(queue.acquire(["b"]))
    assert statuses(queue, Pipeline) == ["successful"]


def test_a_batch_with_two_broken_members_fails_again_until_both_are_retried(queue):
    queue.add_pipeline("p", [[NewJob("a"), NewJob("a")]])
    one, other = queue.acquire(["a"], 2)
    queue.fail(one, "no")
    queue.fail(other, "no")
    queue.retry(one.id)
    assert (statuses(queue, Batch), statuses(queue, Pipeline)) == (["processing"], ["processing"])
    queue.succeed(queue.acquire(["a"]))
    assert (statuses(queue, Batch), statuses(queue, Pipeline)) == (["failed"], ["failed"])
    queue.retry(other.id)
    queue.succeed(queue.acquire(["a"]))
    assert (statuses(queue, Batch), statuses(queue, Pipeline)) == (["successful"], ["successful"])


def test_a_member_that_fails_while_the_reopened_one_waits_fails_it_at_once(queue):
    batch = queue.add_batch([NewJob("a", recoverable=True), NewJob("b")])
    one, other = queue.acquire(["a", "b"], 2)
    queue.fail(one, "no")
    queue.recover(one.id)
    queue.fail(other, "no")
    assert queue.get(Batch, batch.id).status == "failed"


def test_a_retry_in_a_batch_that_has_not_failed_leaves_it(queue, make):
    batch = queue.create(Batch, {})
    job = make(batch_id=batch.id, status="failed")
    assert queue.get(Batch, batch.id).status is None
    assert queue.retry(job.id).batch_id == batch.id
    assert queue.get(Batch, batch.id).status is None
