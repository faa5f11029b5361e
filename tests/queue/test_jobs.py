"""How jobs come in: section 6 of the jobs contract, with points 4, 12 and 16 of section 0."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from gnj.queue.clock import After
from gnj.queue.errors import InvalidInput, InvalidText, JobNotFound
from gnj.queue.fields import wire_name
from gnj.queue.inputs import MAX_TYPES
from gnj.queue.intake import MAX_BULK
from gnj.queue.model import Batch, Job, NewJob, Pipeline, Step
from gnj.queue.policy import Policy
from gnj.queue.retry import Exponential, Fixed
from gnj.queue.service import MAX_CLAIM, Queue
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.storage.memory import MemoryStorage

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
everywhere = pytest.mark.usefixtures("everywhere")


# Creation -------------------------------------------------------------------------------------------------------------


@everywhere
def test_a_new_job_has_the_defaults_of_the_contract(queue):
    job = queue.enqueue(NewJob("mail", {"to": "a@b.c"}))
    assert job == Job(
        id=1,
        type="mail",
        input={"to": "a@b.c"},
        status=JobStatus.QUEUED,
        priority=4,
        recoverable=False,
        high_frequency=False,
        cancel_seen=False,
        attempt=0,
        failures=0,
        stalled_count=0,
        created_at=START,
        updated_at=START,
    )
    assert queue.get(Job, 1) == job


@everywhere
def test_every_option_of_a_new_job_is_stored(queue, clock):
    moment = datetime(2031, 5, 6, 7, 8, 9, 123999, tzinfo=UTC)
    job = queue.enqueue(
        NewJob(
            "mail",
            [1, "ü", None],
            name="n",
            start_after=moment,
            priority=8,
            unique_id="u",
            recoverable=True,
            max_attempts=3,
            max_stalled=2,
            backoff=Exponential(1.5, maximum=60, jitter=0.25),
            timeout=timedelta(minutes=1),
            on_lost="hold",
            tenant="t",
        )
    )
    assert queue.get(Job, job.id, tenant="t") == job
    assert queue.get(Job, job.id, tenant="") is None
    milliseconds = moment.replace(microsecond=123000)
    assert (job.input, job.name, job.start_after, job.due_at) == ([1, "ü", None], "n", milliseconds, milliseconds)
    assert (job.priority, job.unique_id, job.recoverable, job.max_attempts, job.max_stalled) == (8, "u", True, 3, 2)
    assert job.backoff == {"type": "exponential", "delay": 1500, "maxDelay": 60000, "jitter": 0.25}
    assert (job.timeout, job.on_lost, job.tenant, job.status) == (60.0, "hold", "t", "queued")


def test_a_delay_counts_from_the_storages_present(queue, clock):
    clock.tick(5)
    assert queue.enqueue(NewJob("a", start_after=timedelta(seconds=10))).due_at == START + timedelta(seconds=15)


@everywhere
def test_a_job_is_planned_where_a_parent_is_given_and_no_status(queue, make):
    batch, pipeline = queue.create(Batch, {}), queue.create(Pipeline, {})
    assert make(batch_id=batch.id).status == "planned"
    assert make(pipeline_id=pipeline.id).status == "planned"
    assert make(batch_id=batch.id, status="queued").status == "queued"
    assert make(pipeline_id=pipeline.id, status="queued").status == "queued"
    assert make(batch_id=None).status == "queued"


def test_ended_jobs_can_be_created_and_never_run(queue, make):
    given = datetime(2020, 1, 1, tzinfo=UTC)
    assert make(status="successful").ended_at == START
    assert make(status="failed", ended_at=given).ended_at == given
    cancelled = make(status="cancelled")
    assert (cancelled.ended_at, cancelled.cancelled_at) == (START, START)
    planned = make(status="planned", start_after=given)
    assert (planned.due_at, planned.ended_at) == (None, None)
    assert queue.acquire(["a"]) is None


def test_a_job_created_as_processing_is_claimed(queue, make, clock):
    for status in ("processing", "cancel-requested"):
        job = make(status=status, worker_id="w")
        assert (job.attempt, job.lease, job.started_at, job.worker_id) == (1, 60.0, START, "w")
        assert job.lease_expires_at == START + timedelta(seconds=60)
        assert queue.succeed(job).status == "successful"
    assert make(status="processing", started_at=START - timedelta(days=1)).started_at == START - timedelta(days=1)


def test_a_moment_may_count_from_the_storages_present(queue, make):
    assert make(start_after=After(2.5)).due_at == START + timedelta(seconds=2.5)
    assert queue.update_job(make().id, {"start_after": After(-1)}).due_at == START - timedelta(seconds=1)


def test_a_client_may_echo_what_it_has_no_say_in(queue, make):
    given = datetime(2020, 1, 1, tzinfo=UTC)
    job = make(
        created_at=given, updated_at=given, deleted_at=given, retry_of=7, worker_id="w", started_at=given, id=None
    )
    assert (job.created_at, job.updated_at, job.deleted_at) == (given, START, None)
    assert (job.retry_of, job.worker_id, job.started_at) == (7, "w", given)
    assert make(created_at=None).created_at == START


def test_an_id_is_refused(queue, refused, make):
    with refused(InvalidInput, "job.id cannot be given: the database makes it"):
        make(id=5)
    with refused(InvalidInput, "pipelineStep.id cannot be given: the database makes it"):
        queue.create(Step, {"id": 5})


def test_a_type_is_needed(queue, refused):
    for values in ({}, {"type": None}):
        with refused(InvalidInput, "notNull Violation: job.type cannot be null"):
            queue.create_jobs([values])
    with refused(InvalidInput, "notNull Violation: job.type cannot be null"):
        queue.enqueue(NewJob(None))  # type: ignore[arg-type]
    with refused(InvalidInput, "notNull Violation: job.type cannot be null"):
        queue.add_batch([NewJob(None)])  # type: ignore[arg-type]


def test_null_is_refused_where_a_job_must_have_a_value(queue, refused, make):
    for name, wire in (("status", "status"), ("priority", "priorityLevel"), ("recoverable", "isRecoverable")):
        with refused(InvalidInput, f"notNull Violation: job.{wire} cannot be null"):
            queue.create_jobs([{"type": "a", name: None}], spell=wire_name)
        with refused(InvalidInput, f"notNull Violation: job.{name} cannot be null"):
            make(**{name: None})


@everywhere
def test_unknown_parents_are_refused_and_nothing_stays(queue, refused, make):
    theirs_batch, theirs_pipeline = queue.create(Batch, {}, tenant="t"), queue.create(Pipeline, {}, tenant="t")
    text = 'insert or update on table "job" violates foreign key constraint "job_{}_fkey"'
    for id in (99, theirs_batch.id):
        with refused(InvalidInput, text.format("batchId")):
            queue.create_jobs([{"type": "a"}, {"type": "a", "batch_id": id}])
    for id in (99, theirs_pipeline.id):
        with refused(InvalidInput, text.format("pipelineId")):
            make(pipeline_id=id)


@everywhere
def test_many_jobs_come_in_in_order_all_or_none(queue, refused):
    new = [NewJob("a", i, tenant=tenant) for i, tenant in enumerate(["b", "", "b", "a"])]
    made = queue.enqueue_many(new)
    assert [(job.input, job.tenant) for job in made] == [(0, "b"), (1, ""), (2, "b"), (3, "a")]
    assert queue.enqueue_many([]) == []
    assert queue.create_jobs([]) == []
    with refused(InvalidInput):
        queue.enqueue_many([NewJob("a"), NewJob("")])


def test_too_many_jobs_at_once(queue, refused, monkeypatch):
    monkeypatch.setattr("gnj.queue.intake.MAX_BULK", 3)
    assert len(queue.enqueue_many(NewJob("a") for _ in range(3))) == 3
    with refused(InvalidInput, "at most 3 jobs can be enqueued at once"):
        queue.enqueue_many(NewJob("a") for _ in range(4))
    with refused(InvalidInput, "at most 3 jobs can be created at once, not 4"):
        queue.create_jobs([{"type": "a"}] * 4)
    assert MAX_BULK == 100_000


# Unique ids -----------------------------------------------------------------------------------------------------------


@everywhere
def test_a_taken_unique_id_gives_the_job_that_has_it_unchanged(queue, clock, claim):
    first = queue.enqueue(NewJob("a", 1, unique_id="u"))
    clock.tick(1)
    assert queue.enqueue(NewJob("b", 2, unique_id="u", priority=8)) == first
    assert queue.enqueue(NewJob("a", unique_id="u", tenant="t")).id != first.id
    ended = queue.cancel(first.id)
    assert queue.enqueue(NewJob("a", unique_id="u")) == ended
    assert queue.count(Job) == 2


@everywhere
def test_unique_ids_within_one_call(queue):
    new = [NewJob("a", i, unique_id=key) for i, key in enumerate(["u", "v", "u", None, "u"])]
    made = queue.enqueue_many(new)
    assert [job.input for job in made] == [0, 1, 0, 3, 0]
    assert queue.count(Job) == 3


def test_null_and_empty_are_no_keys(queue, make):
    ids = {make(unique_id=key).id for key in ("", "", None, None)}
    assert len(ids) == 4
    assert queue.count(Job, unique_id=None) == 4


def test_a_job_found_by_its_unique_id_gets_no_step_and_wakes_nobody(queue, make):
    make(unique_id="u")
    rings = queue.wake.rings
    pipeline = queue.create(Pipeline, {})
    assert make(unique_id="u", pipeline_id=pipeline.id).pipeline_id is None
    assert queue.list(Step) == []
    assert queue.wake.rings == rings


# Claims ---------------------------------------------------------------------------------------------------------------


@everywhere
def test_claims_go_by_priority_then_age(queue):
    for priority in (4, 8, 1, 8):
        queue.enqueue(NewJob("a", priority=priority))
    assert [job.id for job in queue.acquire(["a"], 10)] == [2, 4, 1, 3]


@everywhere
def test_what_a_claim_writes(queue, clock):
    made = queue.enqueue(NewJob("a"))
    clock.tick(5)
    job = queue.acquire(["b", "a", "a"], worker_id="w", worker_type="v", lease=0.5)
    now = START + timedelta(seconds=5)
    assert job == made.evolve(
        status=JobStatus.PROCESSING,
        attempt=1,
        worker_id="w",
        worker_type="v",
        lease=0.5,
        lease_expires_at=now + timedelta(seconds=0.5),
        started_at=now,
        updated_at=now,
    )
    queue.release([job])
    again = queue.acquire(["a"])
    assert (again.attempt, again.worker_id, again.worker_type, again.lease) == (2, None, None, 60.0)


@everywhere
def test_delayed_jobs_are_never_early(queue, clock):
    queue.enqueue(NewJob("a", start_after=timedelta(seconds=10)))
    clock.tick(9.999)
    assert queue.acquire(["a"]) is None
    clock.tick(0.001)
    assert queue.acquire(["a"]).due_at is None


@everywhere
def test_a_worker_serves_the_tenants_it_names(queue):
    for tenant in ("", "t", "u"):
        queue.enqueue(NewJob("a", tenant=tenant))
    assert queue.acquire(["a"], 5, tenants=[]) == []
    assert [job.tenant for job in queue.acquire(["a"], 5, tenants=["u", "x"])] == ["u"]
    assert [job.tenant for job in queue.acquire(["a"], 5)] == ["", "t"]


def test_claims_of_nothing(queue, make):
    make()
    assert queue.acquire([]) is None
    assert queue.acquire(["a"], 0) == []
    assert queue.acquire(["none"]) is None
    assert queue.acquire(["none"], 3) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"types": "a"}, "types must be a list of job types, not 'a'"),
        ({"types": None}, "types must be a list of job types, not None"),
        ({"types": {"a"}}, "types must be a list of job types, not {'a'}"),
        ({"types": [None]}, "a job type must be a string, not None"),
        ({"types": [""]}, "a job type must not be empty"),
        ({"types": ["x" * 201]}, "a job type must have at most 200 characters, not 201"),
        ({"types": [str(i) for i in range(MAX_TYPES + 1)]}, "at most 200 types can be asked for at once, not 201"),
        ({"limit": -1}, "limit must be from 0 to 1,000, not -1"),
        ({"limit": MAX_CLAIM + 1}, "limit must be from 0 to 1,000, not 1001"),
        ({"limit": True}, "limit must be an integer, not True"),
        ({"limit": "1"}, "limit must be an integer, not '1'"),
        ({"limit": 1.0}, "limit must be an integer, not 1.0"),
        ({"lease": 0}, "lease must be from 0.01 to 2,592,000 seconds, not 0"),
        ({"lease": float("nan")}, "lease must be a number of seconds, not nan"),
        pytest.param(
            {"lease": 10**400}, "lease must be from 0.01 to 2,592,000 seconds, not 1" + "0" * 58 + "…", id="huge"
        ),
        ({"lease": "5"}, "lease must be a number of seconds, not '5'"),
        ({"lease": True}, "lease must be a number of seconds, not True"),
        ({"worker_id": ""}, "workerId must not be empty"),
        ({"worker_id": 5}, "workerId must be a string, not 5"),
        ({"worker_type": "a\nb"}, "workerType must not hold control characters"),
        ({"tenants": "t"}, "tenants must be a list of tenants, not 't'"),
        ({"tenants": 5}, "tenants must be a list of tenants, not 5"),
        ({"tenants": [5]}, "tenant must be a string, not 5"),
        ({"tenants": ["\0"]}, "tenant must not hold a NUL character"),
    ],
)
def test_bad_arguments_of_a_claim(queue, make, refused, arguments, message):
    make()
    with refused(InvalidInput if "character" not in message or "at most" in message else InvalidText, message):
        queue.acquire(**{"types": ["a"], **arguments})


def test_policies_fill_what_a_job_leaves_open(storage, clock):
    policies = {
        "a": Policy(max_attempts=3, backoff=Fixed(2), timeout=9.0, on_lost="fail"),
        "b": Policy(timeout=1.0),
        "c": Policy(),
    }
    queue = Queue(storage, policies=policies)
    queue.enqueue_many([NewJob("a", max_attempts=1), NewJob("b"), NewJob("c"), NewJob("a"), NewJob("d")])
    claimed = queue.acquire(["a", "b", "c", "d"], 9)
    assert [(j.max_attempts, j.backoff, j.timeout, j.on_lost) for j in claimed] == [
        (1, {"type": "fixed", "delay": 2000}, 9.0, "fail"),
        (None, None, 1.0, None),
        (None, None, None, None),
        (3, {"type": "fixed", "delay": 2000}, 9.0, "fail"),
        (None, None, None, None),
    ]
    assert [job.status for job in claimed] == ["processing"] * 5
    assert queue.list(Job) == claimed


@pytest.mark.parametrize("lease", [0, -1, float("inf"), None, "1", 10**9])
def test_bad_leases_of_a_queue(lease):
    with pytest.raises(InvalidInput, match="lease must be"):
        Queue(MemoryStorage(), lease=lease)


# Waking ----------------------------------------------------------------------------------------------------------------


def test_those_who_wait_are_woken_after_the_commit(queue, storage):
    seen = queue.wake.rings
    assert queue.wake.wait(seen, 0.0) == seen
    queue.enqueue(NewJob("a", start_after=timedelta(1)))
    assert queue.wake.wait(seen, 60.0) == seen + 1
    queue.create_jobs([{"type": "a", "status": "planned"}])
    assert queue.wake.rings == seen + 1

    def command(unit):
        unit.ready = True
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        queue.run(command)
    assert queue.wake.rings == seen + 1


def test_other_processes_wake_while_somebody_listens(queue, storage, monkeypatch):
    heard = []

    @contextmanager
    def listen(wake, *, through):
        heard.append(wake)
        assert through == queue.wake.through
        yield
        heard.clear()

    monkeypatch.setattr(storage, "listen", listen)
    with queue.listening():
        seen = queue.wake.rings
        heard[0]()
        assert queue.wake.rings == seen + 1
    assert heard == []


# Other ways in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [None, "a", 5, {"type": "a"}])
def test_only_new_jobs_are_enqueued(queue, refused, new):
    text = f"a job to enqueue must be a NewJob, not {new!r}"
    with refused(InvalidInput, text):
        queue.enqueue(new)
    with refused(InvalidInput, text):
        queue.add_batch([new])


def test_tenants_are_checked_wherever_they_come_in(queue, refused):
    text = "tenant must be a string, not 5"
    with refused(InvalidInput, text):
        queue.enqueue(NewJob("a", tenant=5))  # type: ignore[arg-type]
    with refused(InvalidInput, text):
        queue.create_jobs([{"type": "a"}], tenant=5)
    with refused(InvalidInput, text):
        queue.add_batch([], tenant=5)
    with refused(InvalidInput, text):
        queue.add_pipeline("p", [NewJob("a")], tenant=5)
    with refused(InvalidInput, text):
        queue.create(Batch, {}, tenant=5)
    for hold in (queue.hold, queue.release_hold, queue.toggle_hold):
        with refused(InvalidInput, text):
            hold("a", tenant=5)


def test_members_belong_to_the_tenant_of_their_batch(queue, refused):
    text = "a job of tenant 'u' cannot be a member of what belongs to 't'"
    with refused(InvalidInput, text):
        queue.add_batch([NewJob("a", tenant="u")], tenant="t")
    with refused(InvalidInput, text):
        queue.add_pipeline("p", [[NewJob("a", tenant="u")]], tenant="t")
    batch = queue.add_batch([NewJob("a", tenant="t"), NewJob("a")], tenant="t")
    assert [job.tenant for job in queue.list(Job, batch_id=batch.id)] == ["t", "t"]


@everywhere
def test_cancel(queue, make, clock, claim, refused):
    clock.tick(1)
    for status in ("planned", "queued"):
        job = queue.cancel(make(status=status, start_after=START + timedelta(days=1)).id)
        assert (job.status, job.ended_at, job.cancelled_at, job.due_at) == ("cancelled", clock(), clock(), None)
        assert queue.cancel(job.id) == job
    running = queue.cancel(claim().id)
    assert (running.status, running.ended_at, running.cancelled_at) == ("cancel-requested", None, None)
    clock.tick(1)
    assert queue.cancel(running.id) == running
    with refused(JobNotFound, "The job does not exist"):
        queue.cancel(99)
    with refused(JobNotFound, "The job does not exist"):
        queue.cancel(running.id, tenant="t")


def test_a_deleted_job_is_gone(queue, storage, make, refused):
    job = make(unique_id="u")
    storage.edit(Job, [job.id], {"deleted_at": START})
    assert queue.get(Job, job.id) is None
    assert queue.list(Job) == []
    assert queue.acquire(["a"]) is None
    with refused(JobNotFound):
        queue.cancel(job.id)
    assert make(unique_id="u").id != job.id
    assert len(queue.select(Job, Select(deleted=True))) == 2


@pytest.mark.parametrize(
    "id", [None, "1", 1.0, True, 2**63, -(2**63) - 1, pytest.param(10**5000, id="huge"), [], float("nan")]
)
def test_bad_ids(queue, refused, id):
    for command in (queue.cancel, queue.recover, queue.retry, queue.start_pipeline, partial(queue.get, Job)):
        with refused(InvalidInput):
            command(id)
    with refused(InvalidInput):
        queue.update_job(id, {})
    with refused(InvalidInput):
        queue.update(Batch, id, {})


@pytest.mark.parametrize("id", [0, -1, 2**63 - 1])
def test_ids_of_nothing(queue, refused, id):
    with refused(JobNotFound, f"Could not find the job with the id [{id}]"):
        queue.update_job(id, {"name": "n"})
    assert queue.get(Job, id) is None
