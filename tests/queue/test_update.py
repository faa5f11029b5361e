"""Changes of a job: section 7 of the jobs contract with points 4, 6, 11, 12 and 16 of section 0."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gnj.queue.ends import Outcome
from gnj.queue.errors import (
    CancelPending,
    Conflict,
    Duplicate,
    IllegalTransition,
    InvalidInput,
    InvalidText,
    JobNotFound,
    LeaseLost,
)
from gnj.queue.fields import wire_name
from gnj.queue.model import Batch, Job, JobAttempt, NewJob, Pipeline, Step
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.storage.memory import MemoryStorage

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
PENDING = (
    "The job was requested to be cancelled at the previous call. Please check for the status "
    '"cancel-requested" after calling updateProcessingInfo in your worker and throw a CancelRequestedError'
)
everywhere = pytest.mark.usefixtures("everywhere")


# The table of section 7 -----------------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("status", ["successful", "failed", "cancelled"])
def test_an_end_is_stamped(queue, make, clock, status):
    job = make(start_after=START + timedelta(days=1))
    clock.tick(1)
    ended = queue.update_job(job.id, {"status": status})
    cancelled = clock() if status == "cancelled" else None
    assert (ended.ended_at, ended.cancelled_at, ended.due_at) == (clock(), cancelled, None)
    assert ended.updated_at == clock()


@pytest.mark.parametrize("before", ["planned", "queued"])
def test_processing_by_hand_is_a_claim_with_the_default_lease(queue, make, clock, before):
    job = make(status=before, start_after=START + timedelta(days=1))
    clock.tick(1)
    claimed = queue.update_job(job.id, {"status": "processing", "worker_id": "w"})
    assert (claimed.attempt, claimed.started_at, claimed.lease, claimed.worker_id) == (1, clock(), 60.0, "w")
    assert (claimed.lease_expires_at, claimed.due_at) == (clock() + timedelta(seconds=60), None)
    assert queue.succeed(claimed).status == "successful"


def test_processing_again_is_a_plain_edit(queue, claim, clock):
    job = claim()
    clock.tick(1)
    again = queue.update_job(job.id, {"status": "processing"})
    assert again == job.evolve(lease_expires_at=clock() + timedelta(seconds=60))


@pytest.mark.parametrize("before", ["planned", "queued"])
def test_a_waiting_job_is_cancelled_at_once(queue, make, clock, before):
    job = queue.update_job(make(status=before).id, {"status": "cancel-requested"})
    assert (job.status, job.ended_at, job.cancelled_at) == ("cancelled", START, START)


def test_queueing_by_hand_waits_for_the_start_time(queue, make, clock):
    later = START + timedelta(seconds=10)
    assert queue.update_job(make(status="planned", start_after=later).id, {"status": "queued"}).due_at == later
    job = make(status="planned")
    assert queue.update_job(job.id, {"status": "queued", "start_after": later}).due_at == later


@everywhere
def test_the_second_call_after_a_requested_cancellation_is_refused(queue, claim, refused, clock):
    for first in ({}, {"status": "cancel-requested"}, {"progress": {"a": 1}}):
        job = queue.cancel(claim().id)
        clock.tick(1)
        seen = queue.update_job(job.id, first)
        assert (seen.status, seen.cancel_seen) == ("cancel-requested", True)
        for again in ({}, {"status": "cancel-requested"}, {"name": "n"}):
            with refused(CancelPending, PENDING):
                queue.update_job(job.id, again)
        assert queue.update_job(job.id, {"status": "successful"}).status == "successful"


def test_the_progress_of_our_own_workers_does_not_count(queue, claim):
    job = queue.cancel(claim().id)
    for done in (1, 2, 3):
        seen = queue.progress(job, {"done": done})
        assert (seen.status, seen.cancel_seen, seen.progress) == ("cancel-requested", False, {"done": done})
    assert queue.cancelled(job, "stopped").output == {"cancelMessage": "stopped"}


def test_a_new_claim_and_a_recovery_reset_the_flag(queue, claim):
    job = queue.cancel(claim(recoverable=True).id)
    queue.update_job(job.id, {})
    failed = queue.fail(job, "no")
    assert (failed.status, failed.cancel_seen) == ("failed", True)
    assert not queue.recover(failed.id).cancel_seen


def test_the_flag_is_data_that_can_be_written(queue, make):
    job = make(status="queued", cancel_seen=False)
    queue.storage.edit(Job, [job.id], {"cancel_seen": True})
    assert not queue.acquire(["a"]).cancel_seen


# Plain edits ----------------------------------------------------------------------------------------------------------


@everywhere
def test_only_given_attributes_change(queue, make, clock):
    job = make(name="n", input={"a": 1}, priority=1)
    clock.tick(1)
    after = queue.update_job(job.id, {"input": [1], "worker_id": "w"})
    assert after == job.evolve(input=[1], worker_id="w", updated_at=clock())
    assert queue.get(Job, job.id) == after


def test_updated_at_moves_only_when_something_changes(queue, make, clock):
    job = make(input={"a": [1, None]}, progress={"steps": {"x": {"status": "done"}}})
    clock.tick(1)
    assert queue.update_job(job.id, {"input": {"a": [1, None]}, "name": None, "status": "queued"}) == job
    assert queue.update_job(job.id, {}) == job
    assert queue.update_job(job.id, {"updated_at": START, "created_at": START, "deleted_at": START}) == job
    assert queue.update_job(job.id, {"input": {"a": [True, None]}}) != job


@everywhere
@pytest.mark.parametrize("status", ["successful", "failed", "cancelled"])
def test_an_ended_job_stays_editable_and_nothing_fires_again(queue, make, clock, status):
    pipeline = queue.create(Pipeline, {})
    job = make(pipeline_id=pipeline.id)
    job = queue.update_job(job.id, {"status": status})
    queue.update(Pipeline, pipeline.id, {"name": "x"})
    clock.tick(1)
    rows = [queue.list(kind) for kind in (Pipeline, Step)]
    after = queue.update_job(job.id, {"status": status, "name": "new", "output": 5, "start_after": START})
    assert after == job.evolve(name="new", output=5, start_after=START, updated_at=clock())
    assert rows == [queue.list(kind) for kind in (Pipeline, Step)]
    assert queue.list(JobAttempt) == []


def test_an_edit_of_an_ended_job_settles_nothing(queue, make):
    """What the parents do not know of its end, they do not learn from a new name."""
    batch, pipeline = queue.create(Batch, {}), queue.create(Pipeline, {})
    for parent in ({"batch_id": batch.id}, {"pipeline_id": pipeline.id}):
        job = make(status="failed", **parent)
        queue.update_job(job.id, {"name": "new", "status": "failed"})
    assert (queue.get(Batch, batch.id).status, queue.get(Pipeline, pipeline.id).status) == (None, "planned")
    assert [step.status for step in queue.list(Step)] == ["planned"]


def test_what_is_settled_with_the_end_of_a_job(queue, make, refused):
    batch, pipeline = queue.create(Batch, {}), queue.create(Pipeline, {})
    job = make(status="successful")
    for name, value in (("type", "b"), ("batch_id", batch.id), ("pipeline_id", pipeline.id)):
        with refused(IllegalTransition, f"the job has ended: its {name.removesuffix('_id')} cannot change any more"):
            queue.update_job(job.id, {name: value, "name": "n"})
    assert queue.update_job(job.id, {"type": "a", "batch_id": None, "pipeline_id": None}) == job


def test_a_delay_of_a_queued_job_is_a_due_time(queue, make, clock):
    job = make()
    later = queue.update_job(job.id, {"start_after": timedelta(seconds=5)})
    assert (later.start_after, later.due_at) == (START + timedelta(seconds=5), START + timedelta(seconds=5))
    assert queue.acquire(["a"]) is None
    assert queue.update_job(job.id, {"start_after": None}).due_at is None
    running = queue.acquire(["a"])
    assert queue.update_job(running.id, {"start_after": START + timedelta(days=1)}).due_at is None
    (back,) = queue.release([running])
    assert back.due_at == START + timedelta(days=1)


@everywhere
def test_a_unique_id_moves_only_where_it_is_free(queue, make, refused):
    first, second = make(unique_id="u"), make(unique_id="v")
    with refused(Duplicate):
        queue.update_job(second.id, {"unique_id": "u", "name": "n"})
    assert queue.update_job(second.id, {"unique_id": ""}).unique_id is None
    assert queue.update_job(first.id, {"unique_id": "v"}).unique_id == "v"
    assert queue.update_job(second.id, {"unique_id": "u"}).unique_id == "u"


@everywhere
def test_an_unknown_job(queue, make, refused):
    job = make(tenant="t")
    for tenant, id in ((None, 99), ("", job.id)):
        with refused(JobNotFound, f"Could not find the job with the id [{id}]"):
            queue.update_job(id, {"name": "n"}, tenant=tenant)
    assert queue.update_job(job.id, {"name": "n"}, tenant="t").name == "n"


def test_an_accepted_write_renews_the_lease(queue, claim, clock):
    job = claim(lease=10)
    clock.tick(5)
    edited = queue.update_job(job.id, {"name": "n"})
    assert edited.lease_expires_at == clock() + timedelta(seconds=10)
    clock.tick(5)
    same = queue.update_job(job.id, {"name": "n"})
    assert same == edited.evolve(lease_expires_at=clock() + timedelta(seconds=10))


# Fencing (point 6) ----------------------------------------------------------------------------------------------------


@everywhere
def test_a_write_with_an_attempt_holds_only_while_that_claim_does(queue, claim, refused):
    first = claim()
    (released,) = queue.release([first])
    for attempt in (0, 1, 2):
        with refused(LeaseLost):
            queue.update_job(released.id, {"name": "n"}, attempt=attempt)
    second = queue.acquire([first.type])
    for attempt in (0, 1, 3):
        for values in ({"name": "n"}, {"status": "successful"}, {"status": "failed"}, {"progress": 1}, {}):
            with refused(LeaseLost):
                queue.update_job(second.id, values, attempt=attempt)
    assert queue.update_job(second.id, {"name": "n"}, attempt=2).name == "n"
    assert queue.update_job(second.id, {"status": "successful"}, attempt=2).status == "successful"
    with refused(LeaseLost):
        queue.update_job(second.id, {"name": "m"}, attempt=2)


@everywhere
def test_every_write_of_a_stale_claim_is_refused(queue, claim, refused):
    zombie = claim()
    queue.release([zombie])
    queue.acquire([zombie.type])
    for command in (
        queue.heartbeat,
        queue.succeed,
        queue.fail,
        lambda c: queue.progress(c, 1),
        lambda c: queue.cancelled(c, ""),
    ):
        with refused(LeaseLost):
            command(zombie)
    assert queue.release([zombie]) == []
    assert queue.heartbeats([(zombie.id, 1), (99, 1)]) == [None, None]


def test_workers_are_no_fence(queue, claim):
    job = claim(worker_id="w")
    assert queue.update_job(job.id, {"status": "successful", "worker_id": "v"}).worker_id == "v"


@everywhere
@pytest.mark.parametrize("status", ["successful", "failed", "cancelled"])
def test_the_same_end_again_is_a_success(queue, claim, clock, refused, status):
    job = claim()
    ended = queue.update_job(job.id, {"status": status, "output": {"a": [1]}}, attempt=1)
    clock.tick(1)
    assert queue.update_job(job.id, {"status": status, "output": {"a": [1]}}, attempt=1) == ended
    assert queue.update_job(job.id, {"status": status}, attempt=1) == ended
    with refused(LeaseLost):
        queue.update_job(job.id, {"status": status, "output": {"a": [True]}}, attempt=1)
    for other in {"successful", "failed", "cancelled"} - {status}:
        with refused(LeaseLost):
            queue.update_job(job.id, {"status": other, "output": {"a": [1]}}, attempt=1)
    assert queue.count(JobAttempt) == (status == "failed")


def test_a_failure_told_twice_is_counted_once_even_when_the_job_goes_on(queue, claim):
    job = claim(max_attempts=3)
    failed = queue.fail(job, "no")
    assert (failed.status, failed.failures) == ("queued", 1)
    assert queue.fail(job, "no") == failed
    again = queue.acquire([job.type])
    assert queue.fail(job, "no") == again
    assert queue.fail(again, "no").failures == 2
    assert queue.count(JobAttempt) == 2


def test_the_same_end_advances_a_pipeline_once(queue):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b"), NewJob("c")])
    job = queue.acquire(["a"])
    for _ in range(2):
        queue.succeed(job, 1)
        assert [step.status for step in queue.list(Step)] == ["done", "processing", "planned"]


# Many ends at once ----------------------------------------------------------------------------------------------------


@everywhere
def test_each_outcome_has_its_own_answer(queue, claim):
    fine, failed, stale, member, cancelled = claim(), claim(), claim(), claim(), claim()
    queue.release([stale])
    queue.update_job(member.id, {"batch_id": queue.create(Batch, {}).id})
    answers = queue.settle(
        [
            Outcome(fine, JobStatus.SUCCESSFUL, 1),
            Outcome(failed, JobStatus.FAILED, {"error": "x"}, "trace"),
            Outcome(stale, JobStatus.SUCCESSFUL),
            Outcome(member, JobStatus.SUCCESSFUL),
            Outcome(cancelled, JobStatus.CANCELLED),
            Outcome(fine, JobStatus.SUCCESSFUL, 1),
            Outcome(fine, JobStatus.SUCCESSFUL, object()),
        ]
    )
    assert [getattr(answer, "status", type(answer)) for answer in answers] == [
        "successful",
        "failed",
        LeaseLost,
        "successful",
        "cancelled",
        "successful",
        InvalidInput,
    ]
    assert str(answers[-1]) == "output must be JSON, without values of the type object"
    assert [answer.output for answer in answers[:2]] == [1, {"error": "x"}]
    assert queue.list(Batch)[0].status == "successful"
    assert queue.settle([]) == []


def test_an_end_without_output_leaves_it(queue, claim):
    job = claim()
    queue.update_job(job.id, {"output": 1})
    assert queue.succeed(job).output == 1
    assert queue.fail(claim(), output=[1]).output == [1]
    assert queue.fail(claim()).output == {"error": "failed"}
    assert queue.fail(claim(), "why").output == {"error": "why"}


@pytest.mark.parametrize("status", [JobStatus.PROCESSING, JobStatus.PLANNED])
def test_an_outcome_must_be_an_end(queue, claim, status):
    job = claim()
    (answer,) = queue.settle([Outcome(job, status)])
    if status is not JobStatus.PROCESSING:
        assert isinstance(answer, IllegalTransition)
    assert queue.get(Job, job.id).status == "processing"


@pytest.mark.parametrize("bad", ["\0", "\ud800", {"a": float("nan")}, {1: 2}, object(), 2**63, b"x"])
def test_bad_outputs_change_nothing(queue, claim, refused, bad):
    job = claim()
    error = InvalidText if isinstance(bad, str) else InvalidInput
    for command in (queue.succeed, queue.progress, lambda c, output: queue.fail(c, output=output)):
        with refused(error):
            command(job, bad)
    with refused(error):
        queue.update_job(job.id, {"status": "successful", "output": bad})


@pytest.mark.parametrize("bad", [5, b"x"])
def test_bad_errors_change_nothing(queue, claim, refused, bad):
    job = claim()
    with refused(InvalidInput):
        queue.fail(job, bad)


@pytest.mark.parametrize("text, stored", [("a\0b", "a\ufffdb"), ("a\ud800", "a?"), ("x" * 10_001, None)])
def test_an_error_that_cannot_be_stored_as_it_is_is_stored_all_the_same(queue, claim, text, stored):
    output = queue.fail(claim(), text).output
    assert output == {"error": stored} if stored else 9_900 < len(output["error"]) <= 10_000


# Bad values -----------------------------------------------------------------------------------------------------------

HUGE = 10**5000
BAD: list[tuple[str, Any, str]] = [
    ("type", None, "notNull Violation: job.type cannot be null"),
    ("type", "", "job.type must not be empty"),
    ("type", 5, "job.type must be a string, not 5"),
    ("type", "x" * 201, "job.type must have at most 200 characters, not 201"),
    ("type", "a\0", "job.type must not hold a NUL character"),
    ("type", "ü\0", "job.type must not hold a NUL character"),
    ("type", "\ud800", "job.type must not hold a surrogate without its other half"),
    ("type", "a\x85", "job.type must not hold control characters"),
    ("name", 5, "job.name must be a string, not 5"),
    ("name", "x" * 501, "job.name must have at most 500 characters, not 501"),
    ("name", "\udfff", "job.name must not hold a surrogate without its other half"),
    ("unique_id", ["u"], "job.jobUniqueId must be a string, not ['u']"),
    ("unique_id", "x" * 501, "job.jobUniqueId must have at most 500 characters, not 501"),
    ("input", float("inf"), "job.input must not hold NaN or infinite numbers"),
    ("input", {"a": ["\0"]}, "job.input must not hold a NUL character"),
    ("input", {"\0": 1}, "a key of job.input must not hold a NUL character"),
    ("output", {1: 1}, "job.output must have strings as keys, not 1"),
    ("output", -(2**63) - 1, "job.output must not hold integers beyond 64 bits"),
    ("progress", {"a": {1}}, "job.processingInfo must be JSON, without values of the type set"),
    ("status", "gone", "Validation error: Validation isIn on status failed"),
    ("status", None, "notNull Violation: job.status cannot be null"),
    ("status", 1, "Validation error: Validation isIn on status failed"),
    ("priority", None, "notNull Violation: job.priorityLevel cannot be null"),
    ("priority", "4", "job.priorityLevel must be an integer, not '4'"),
    ("priority", True, "job.priorityLevel must be an integer, not True"),
    ("priority", 2**31, "job.priorityLevel must be from -2,147,483,648 to 2,147,483,647, not 2147483648"),
    ("priority", HUGE, "job.priorityLevel must be from -2,147,483,648 to 2,147,483,647, not int"),
    ("start_after", "2030-01-01", "job.startAfter must be a date and time, not '2030-01-01'"),
    (
        "start_after",
        datetime(2030, 1, 1),  # noqa: DTZ001
        "job.startAfter must be an aware datetime (with a time zone), not datetime.datetime(2030, 1, 1, 0, 0)",
    ),
    ("start_after", datetime(1969, 1, 1, tzinfo=UTC), "job.startAfter must lie between the years 1970 and 9999"),
    ("start_after", timedelta(seconds=-1), "job.startAfter must be from 0 to 316,224,000 seconds, not -1.0"),
    ("start_after", timedelta(days=5000), "job.startAfter must be from 0 to 316,224,000 seconds, not 432000000.0"),
    ("started_at", 5, "job.startedAt must be a date and time, not 5"),
    ("max_attempts", 0, "job.maxAttempts must be from 1 to 2,147,483,647, not 0"),
    ("max_attempts", -1, "job.maxAttempts must be from 1 to 2,147,483,647, not -1"),
    ("max_stalled", False, "job.maxStalled must be an integer, not False"),
    ("backoff", "fixed", 'backoff must be an object like {"type": "fixed", "delay": 1000}, not \'fixed\''),
    ("backoff", {"type": "odd"}, "backoff type must be one of fixed, linear, exponential, not 'odd'"),
    ("backoff", {"type": []}, "backoff type must be one of fixed, linear, exponential, not []"),
    ("backoff", {"dely": 1}, "backoff does not know dely; it takes type, delay, maxDelay, jitter"),
    ("backoff", {"delay": float("nan")}, "backoff delay must be a number of milliseconds, not nan"),
    ("backoff", {"delay": True}, "backoff delay must be a number of milliseconds, not True"),
    ("backoff", {"delay": 10**12}, "backoff delay must be from 0 to 316,224,000 seconds, not 1000000000.0"),
    ("backoff", {"maxDelay": -1}, "backoff maxDelay must be a number of milliseconds, not -1"),
    ("backoff", {"jitter": 1.5}, "backoff jitter must be a number from 0 to 1, not 1.5"),
    ("backoff", {"jitter": "0"}, "backoff jitter must be a number from 0 to 1, not '0'"),
    ("timeout", 0, "job.timeoutSeconds must be from 0.001 to 316,224,000 seconds, not 0"),
    ("timeout", float("nan"), "job.timeoutSeconds must be a number of seconds, not nan"),
    ("on_lost", "retry", "job.onLost must be one of requeue, fail, hold, not 'retry'"),
    ("on_lost", [], "job.onLost must be one of requeue, fail, hold, not []"),
    ("worker_id", "", "job.workerId must not be empty"),
    ("retry_of", 0, "job.retryOfJobId must be from 1 to 9,223,372,036,854,775,807, not 0"),
    ("batch_id", "1", "job.batchId must be an integer, not '1'"),
    ("batch_id", 1.0, "job.batchId must be an integer, not 1.0"),
    ("pipeline_id", -1, "job.pipelineId must be from 1 to 9,223,372,036,854,775,807, not -1"),
    ("recoverable", 1, "job.isRecoverable must be true or false, not 1"),
    ("recoverable", "true", "job.isRecoverable must be true or false, not 'true'"),
    ("high_frequency", None, "notNull Violation: job.isHighFrequency cannot be null"),
    ("cancel_seen", 0, "job.isUpdateAlreadyCalledWhileCancelRequested must be true or false, not 0"),
    ("attempt", 1, "job.attempt cannot be set"),
    ("failures", 1, "job.failures cannot be set"),
    ("stalled_count", 1, "job.stalledCount cannot be set"),
    ("lease", 1, "job.lease cannot be set"),
    ("tenant", "t", "job.tenant cannot be set"),
    ("due_at", None, "job.due_at cannot be set"),
    ("nope", 1, "job has no attribute 'nope'"),
]


@pytest.mark.parametrize(
    "name, value, message", [pytest.param(*bad, id=f"{bad[0]}-{number}") for number, bad in enumerate(BAD)]
)
def test_bad_values_name_their_field_and_change_nothing(queue, make, refused, name, value, message):
    job = make()
    error = InvalidText if "NUL" in message or "surrogate" in message or "control" in message else InvalidInput
    with refused(error, message):
        queue.update_job(job.id, {"name": "n", name: value}, spell=wire_name)
    with refused(error, message):
        queue.create_jobs([{"type": "a"}, {"type": "a", name: value}], spell=wire_name)


def test_a_value_may_be_four_mebibytes(queue, make, refused):
    fits = "x" * (4 * 1024 * 1024 - 2)
    job = make(input=fits)
    assert queue.get(Job, job.id).input == fits
    with refused(InvalidInput, "job.input must have at most 4,194,304 bytes as JSON, not 4,194,305"):
        queue.update_job(job.id, {"input": fits + "x"})


@pytest.mark.parametrize("attempt", ["1", True, 1.0, -1, 2**63])
def test_bad_attempts(queue, claim, refused, attempt):
    job = claim()
    with refused(InvalidInput):
        queue.update_job(job.id, {"name": "n"}, attempt=attempt)
    with refused(InvalidInput):
        queue.heartbeats([(job.id, attempt if attempt != -1 else None)])


# Several transactions -------------------------------------------------------------------------------------------------


class Meddler(MemoryStorage):
    """Lets somebody else act between two statements of one transaction, as a database without a lock on them does."""

    def __init__(self, clock):
        super().__init__(clock)
        self.meddle = None

    @contextmanager
    def begin(self, *, write=True):
        with super().begin(write=write) as tx:
            yield _Meddled(tx, self)


class _Meddled:
    def __init__(self, tx, storage):
        self._tx = tx
        self._storage = storage

    def __getattr__(self, name):
        return getattr(self._tx, name)

    def get(self, kind, id, **options):
        if options.get("lock") and kind in (Job, Batch, Step) and (meddle := self._storage.meddle):
            self._storage.meddle = None
            meddle(self._tx)
        return self._tx.get(kind, id, **options)


@pytest.fixture
def meddled(clock):
    storage = Meddler(clock)
    return Queue(storage, seed=0)


def test_a_job_that_moves_meanwhile_is_looked_at_again(meddled):
    first, second = meddled.create(Batch, {}), meddled.create(Batch, {})
    (job,) = meddled.create_jobs([{"type": "a", "batch_id": first.id}])
    meddled.storage.meddle = lambda tx: tx.edit(Job, [job.id], {"batch_id": second.id})
    meddled.update_job(job.id, {"status": "failed"})
    # the first try was rolled back with the meddling, and the second found the job where it was
    assert [batch.status for batch in meddled.list(Batch)] == ["failed", None]


def test_a_batch_that_moves_meanwhile_is_looked_at_again(meddled):
    pipeline = meddled.create(Pipeline, {})
    batch = meddled.create(Batch, {})
    meddled.storage.meddle = lambda tx: tx.edit(Batch, [batch.id], {"pipeline_id": pipeline.id})
    assert meddled.create_jobs([{"type": "a", "batch_id": batch.id}])[0].status == "planned"


def test_rows_that_are_deleted_meanwhile(meddled):
    pipeline = meddled.create(Pipeline, {})
    batch = meddled.create(Batch, {})
    step = meddled.create(Step, {"pipeline_id": pipeline.id, "index": 1})
    (job,) = meddled.create_jobs([{"type": "a"}])

    def gone(kind, id):
        return lambda tx: tx.edit(kind, [id], {"deleted_at": START})

    for kind, id, command, text in (
        (
            Job,
            job.id,
            lambda: meddled.update_job(job.id, {"name": "n"}),
            f"Could not find the job with the id [{job.id}]",
        ),
        (Batch, batch.id, lambda: meddled.update(Batch, batch.id, {}), "batch not found."),
        (Step, step.id, lambda: meddled.update(Step, step.id, {}), "pipelineStep not found."),
    ):
        meddled.storage.meddle = gone(kind, id)
        with pytest.raises(LookupError) as caught:
            command()
        assert str(caught.value) == text


def test_conflicts_are_tried_eight_times_in_all(queue, make, monkeypatch):
    monkeypatch.setattr("gnj.queue.service.time.sleep", lambda seconds: None)
    tries = []

    def command(unit, until):
        tries.append(unit)
        if len(tries) < until:
            raise Conflict
        return "done"

    assert queue.run(lambda unit: command(unit, 8)) == "done"
    tries.clear()
    with pytest.raises(Conflict, match="Two transactions stood in each other's way"):
        queue.run(lambda unit: command(unit, 9))
    assert len(tries) == 8
