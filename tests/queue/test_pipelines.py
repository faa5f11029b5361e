"""Pipelines and their steps: section 9 of the jobs contract with points 11 and 16 of section 0."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gnj.queue.builder import PipelineBuilder
from gnj.queue.ends import Outcome
from gnj.queue.errors import GnjError, IllegalTransition, InvalidInput, NotFound
from gnj.queue.model import Batch, Job, NewJob, Pipeline, Step
from gnj.queue.states import JobStatus
from gnj.storage.memory import MemoryStorage

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
everywhere = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def end(queue):
    """Claims the next job of a type and ends it."""

    def ended(type, how="succeed"):
        return getattr(queue, how)(queue.acquire([type]), "text")

    return ended


@pytest.fixture
def statuses(queue):
    """The statuses of all pipelines, steps and jobs, each as one text of initials."""

    def initials(kind):
        return "".join(str(row.status)[0] for row in queue.list(kind))

    return lambda: (initials(Pipeline), initials(Step), initials(Job))


# Whole ----------------------------------------------------------------------------------------------------------------


@everywhere
def test_a_pipeline_runs_step_by_step(queue, end, statuses):
    pipeline = queue.add_pipeline("p", [NewJob("a"), [NewJob("b"), NewJob("b")], NewJob("c")])
    assert (pipeline.name, pipeline.status) == ("p", "processing")
    steps = queue.list(Step)
    assert [(s.index, s.job_id, s.batch_id) for s in steps] == [(1, 1, None), (2, None, 1), (3, 4, None)]
    assert statuses() == ("p", "ppp", "qppp")
    assert [step.status for step in steps] == ["processing", "planned", "planned"]
    end("a")
    assert statuses() == ("p", "dpp", "sqqp")
    end("b")
    assert queue.acquire(["c"]) is None
    end("b")
    assert statuses() == ("p", "ddp", "sssq")
    end("c")
    assert statuses() == ("s", "ddd", "ssss")
    assert queue.get(Pipeline, pipeline.id).status == "successful"


@everywhere
@pytest.mark.parametrize("how", ["fail", "cancelled"])
def test_a_broken_job_stops_its_pipeline(queue, end, statuses, how):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b"), [NewJob("c")]])
    end("a")
    end("b", how)
    assert statuses()[:2] == ("f", "dfp")
    assert [step.status for step in queue.list(Step)] == ["done", "failed", "planned"]
    assert queue.list(Job, type="c")[0].status == "planned"
    assert queue.acquire(["a", "b", "c"]) is None


def test_a_broken_member_of_a_batch_stops_its_pipeline_at_once(queue, end, statuses):
    queue.add_pipeline("p", [[NewJob("a"), NewJob("b")], NewJob("c")])
    end("a", "fail")
    assert statuses() == ("f", "fp", "fqp")
    end("b")
    assert statuses() == ("f", "fp", "fsp")


def test_a_cancelled_member_that_waits_stops_its_pipeline(queue, statuses):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b")])
    queue.cancel(2)
    assert statuses() == ("f", "pf", "qc")


def test_tries_do_not_stop_a_pipeline(queue, end, statuses):
    queue.add_pipeline("p", [NewJob("a", max_attempts=2), NewJob("b")])
    end("a", "fail")
    assert statuses() == ("p", "pp", "qp")
    end("a")
    assert statuses() == ("p", "dp", "sq")


def test_empty_batches_are_passed_over(queue, end, statuses):
    queue.add_pipeline("p", [[], NewJob("a"), [], []])
    assert statuses() == ("p", "dppp", "q")
    end("a")
    assert statuses() == ("s", "dddd", "s")
    assert queue.add_pipeline("q", [[]]).status == "successful"


def test_a_pipeline_can_be_made_without_starting_it(queue, statuses):
    pipeline = queue.add_pipeline(None, [NewJob("a"), [NewJob("b")]], start=False)
    assert (pipeline.status, pipeline.name) == ("planned", None)
    assert statuses() == ("p", "pp", "pp")
    assert [batch.status for batch in queue.list(Batch)] == ["planned"]
    assert queue.acquire(["a", "b"]) is None
    assert queue.add_pipeline("empty", [], start=False).status == "planned"


@everywhere
def test_a_whole_pipeline_comes_in_whole_or_not_at_all(queue, refused):
    with refused(InvalidInput, "a pipeline needs at least one step to start"):
        queue.add_pipeline("p", [])
    with refused(InvalidInput, "job.type must not be empty"):
        queue.add_pipeline("p", [NewJob("a"), [NewJob("")]])
    queue.enqueue(NewJob("a", unique_id="u"))
    with refused(IllegalTransition, "No steps related to this pipeline were found"):
        queue.add_pipeline("p", [NewJob("a", unique_id="u")])


@pytest.mark.parametrize("step", [None, 5, "abc", {"type": "a"}])
def test_what_is_no_step(queue, refused, step):
    with refused(InvalidInput, f"a job to enqueue must be a NewJob, not {step!r}"):
        queue.add_pipeline("p", [step])
    with refused(InvalidInput, f"a job to enqueue must be a NewJob, not {step!r}"):
        queue.add_pipeline("p", [[step]])


def test_starting_wakes_those_who_wait(queue, end):
    pipeline = queue.add_pipeline("p", [NewJob("a"), [NewJob("b")], NewJob("c")], start=False)
    rings = queue.wake.rings
    queue.start_pipeline(pipeline.id)
    assert queue.wake.rings == rings + 1
    end("a")
    assert queue.wake.rings == rings + 2
    end("b")
    assert queue.wake.rings == rings + 3


# startPipeline --------------------------------------------------------------------------------------------------------


@everywhere
def test_order_of_the_checks_of_start_pipeline(queue, refused):
    theirs = queue.create(Pipeline, {}, tenant="t")
    for id in (99, theirs.id):
        with refused(NotFound, "The pipeline does not exist"):
            queue.start_pipeline(id, tenant="")
    for status in ("processing", "successful", "failed"):
        started = queue.create(Pipeline, {"status": status})
        with refused(IllegalTransition, "The pipeline has already been started"):
            queue.start_pipeline(started.id)


@everywhere
def test_a_pipeline_without_steps_does_not_start(queue, refused, make):
    pipeline = queue.create(Pipeline, {})
    with refused(IllegalTransition, "No steps related to this pipeline were found"):
        queue.start_pipeline(pipeline.id)
    make(pipeline_id=pipeline.id)
    assert queue.start_pipeline(pipeline.id).status == "processing"
    with refused(IllegalTransition, "The pipeline has already been started"):
        queue.start_pipeline(pipeline.id)


def test_starting_is_told_what_came_of_it(queue, make):
    for status, expected in (
        ("successful", "successful"),
        ("failed", "failed"),
        ("cancelled", "failed"),
        ("processing", "processing"),
    ):
        pipeline = queue.create(Pipeline, {})
        make(pipeline_id=pipeline.id, status=status)
        assert queue.start_pipeline(pipeline.id).status == expected


# Worked before it is started ------------------------------------------------------------------------------------------


@everywhere
def test_a_pipeline_can_be_worked_before_it_is_started(queue, end, statuses):
    pipeline = queue.add_pipeline("p", [NewJob("a"), NewJob("b"), NewJob("c")], start=False)
    queue.update_job(1, {"status": "queued"})
    end("a")
    assert statuses() == ("p", "dpp", "sqp")
    assert queue.get(Pipeline, pipeline.id).status == "planned"
    end("b")
    end("c")
    assert statuses() == ("s", "ddd", "sss")


def test_a_pipeline_that_is_worked_can_still_be_started(queue, end, statuses):
    pipeline = queue.add_pipeline("p", [NewJob("a"), NewJob("b"), NewJob("c")], start=False)
    queue.update_job(1, {"status": "queued"})
    end("a")
    assert queue.start_pipeline(pipeline.id).status == "processing"
    assert statuses() == ("p", "dpp", "sqp")
    assert len(queue.acquire(["a", "b", "c"], 9)) == 1


def test_a_failure_before_the_start_ends_the_pipeline(queue, statuses, refused):
    pipeline = queue.add_pipeline("p", [NewJob("a"), NewJob("b")], start=False)
    queue.update_job(1, {"status": "failed"})
    assert statuses() == ("f", "fp", "fp")
    with refused(IllegalTransition, "The pipeline has already been started"):
        queue.start_pipeline(pipeline.id)


def test_a_later_step_that_is_done_early_is_not_done_again(queue, end, statuses):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b"), [NewJob("c"), NewJob("c")], NewJob("d")])
    for id in (2, 3, 4):
        queue.update_job(id, {"status": "successful"})
    assert statuses() == ("p", "pddp", "qsssp")
    end("a")
    assert statuses() == ("p", "dddp", "ssssq")


def test_a_step_whose_work_already_runs_is_not_queued_again(queue, statuses, end):
    queue.add_pipeline("p", [NewJob("a"), [NewJob("b"), NewJob("b"), NewJob("b")]])
    running = queue.update_job(2, {"status": "processing"})
    queue.update_job(3, {"status": "successful"})
    end("a")
    assert statuses() == ("p", "dp", "spsq")
    queue.succeed(running)
    end("b")
    assert statuses() == ("s", "dd", "ssss")


def test_a_step_whose_batch_is_broken_already_fails_when_its_turn_comes(queue, make, statuses, end):
    pipeline = queue.create(Pipeline, {})
    make(pipeline_id=pipeline.id)
    batch = queue.create(Batch, {"pipeline_id": pipeline.id})
    make(batch_id=batch.id, status="failed")
    queue.start_pipeline(pipeline.id)
    end("a")
    assert statuses()[:2] == ("f", "df")
    assert queue.get(Batch, batch.id).status == "failed"


def test_a_step_of_a_batch_that_was_ended_by_hand(queue, statuses, end):
    for by_hand, expected in (("successful", ("s", "dd")), ("failed", ("f", "df"))):
        queue.storage = MemoryStorage(queue.storage.clock)
        queue.add_pipeline("p", [NewJob("a"), [NewJob("b")]])
        queue.update(Batch, 1, {"status": by_hand})
        end("a")
        assert statuses()[:2] == expected


class Watched(MemoryStorage):
    """Counts how often each job becomes queued."""

    def __init__(self, clock):
        super().__init__(clock)
        self.queued = {}

    def _put(self, kind, id, row):
        before = self._tables[kind].get(id)
        if kind is Job and row is not None and row.status == "queued" and (before is None or before.status != "queued"):
            self.queued[id] = self.queued.get(id, 0) + 1
        super()._put(kind, id, row)


def test_each_step_is_queued_exactly_once(queue, clock, end):
    queue.storage = storage = Watched(clock)
    queue.add_pipeline("p", [[NewJob("a"), NewJob("a")], NewJob("b"), [NewJob("c")] * 3])
    for type in "aabccc":
        job = end(type)
        queue.succeed(job, "text")
        queue.update_job(job.id, {"name": "renamed", "status": "successful"})
    assert storage.queued == dict.fromkeys(range(1, 7), 1)
    assert queue.list(Pipeline)[0].status == "successful"


# Jobs that come and go ------------------------------------------------------------------------------------------------


@everywhere
def test_a_job_in_a_pipeline_is_a_step(queue, make):
    pipeline = queue.create(Pipeline, {}, tenant="t")
    job = make(pipeline_id=pipeline.id, tenant="t")
    batch = queue.create(Batch, {"pipeline_id": pipeline.id}, tenant="t")
    make(batch_id=batch.id, tenant="t")
    steps = queue.list(Step, tenant="t")
    assert [(step.index, step.job_id, step.batch_id) for step in steps] == [(1, job.id, None), (2, None, batch.id)]


def test_a_job_added_to_an_ended_pipeline_is_planned_and_has_no_step(queue, make):
    for status in ("successful", "failed"):
        pipeline = queue.create(Pipeline, {"status": status})
        assert make(pipeline_id=pipeline.id, status="queued").status == "planned"
        assert make(pipeline_id=pipeline.id).status == "planned"
        batch = queue.create(Batch, {"pipeline_id": pipeline.id})
        assert make(batch_id=batch.id, status="queued").status == "planned"
    assert queue.list(Step) == []
    assert [pipeline.status for pipeline in queue.list(Pipeline)] == ["successful", "failed"]


@everywhere
def test_a_pipeline_with_nothing_left_to_do_goes_on_with_what_is_added(queue, make, statuses):
    pipeline = queue.create(Pipeline, {"status": "processing"})
    rings = queue.wake.rings
    job = make(pipeline_id=pipeline.id)
    assert job == queue.get(Job, job.id)
    assert job.status == "queued"
    assert queue.wake.rings == rings + 1
    assert make(pipeline_id=pipeline.id).status == "planned"
    assert statuses() == ("p", "pp", "qp")


@everywhere
def test_a_job_moves_from_one_pipeline_to_another(queue, make, statuses, end):
    one, other = queue.add_pipeline("p", [NewJob("a"), NewJob("b")]), queue.create(Pipeline, {"status": "processing"})
    moved = queue.update_job(2, {"pipeline_id": other.id})
    assert moved == queue.get(Job, 2)
    assert (moved.status, [(s.pipeline_id, s.job_id, s.index) for s in queue.list(Step)]) == (
        "queued",
        [(1, 1, 1), (2, 2, 1)],
    )
    end("a")
    assert queue.get(Pipeline, one.id).status == "successful"
    assert queue.get(Pipeline, other.id).status == "processing"
    end("b")
    assert queue.get(Pipeline, other.id).status == "successful"


def test_a_job_that_leaves_lets_its_pipeline_go_on(queue, statuses):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b")])
    queue.update_job(1, {"pipeline_id": None})
    assert statuses() == ("p", "p", "qq")
    queue.update_job(2, {"pipeline_id": None})
    assert statuses() == ("s", "", "qq")


def test_a_job_leaves_a_planned_pipeline(queue, statuses):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b")], start=False)
    queue.update_job(1, {"pipeline_id": None})
    assert statuses() == ("p", "p", "pp")


def test_a_job_leaves_a_batch_whose_pipeline_then_goes_on(queue, statuses, end):
    queue.add_pipeline("p", [[NewJob("a"), NewJob("b")], NewJob("c")])
    end("a")
    queue.update_job(2, {"batch_id": None})
    assert statuses() == ("p", "dp", "sqq")


def test_a_job_leaves_everything_and_ends(queue, make, statuses):
    """The pipeline goes on to the batch the job goes to, and the end of the job is the batch's."""
    pipeline = queue.create(Pipeline, {})
    job = make(pipeline_id=pipeline.id)
    batch = queue.create(Batch, {"pipeline_id": pipeline.id})
    make(batch_id=batch.id)
    queue.start_pipeline(pipeline.id)
    queue.update_job(job.id, {"pipeline_id": None, "batch_id": batch.id, "status": "failed"})
    assert queue.get(Batch, batch.id).status == "failed"
    assert statuses() == ("f", "f", "fq")


@pytest.mark.parametrize("again", ["recover", "retry"])
def test_a_step_that_is_opened_again_waits_for_those_before_it(queue, end, again):
    pipeline = queue.add_pipeline("p", [NewJob("a"), NewJob("b", recoverable=True), [NewJob("c", recoverable=True)]])
    for id in (2, 3):
        queue.update_job(id, {"status": "failed"})
    assert [getattr(queue, again)(id).status for id in (2, 3)] == ["planned", "planned"]
    assert queue.acquire(["b", "c"]) is None
    for type in "abc":
        assert queue.get(Pipeline, pipeline.id).status == "processing"
        end(type)
    assert queue.get(Pipeline, pipeline.id).status == "successful"


def test_a_job_that_is_a_step_and_a_member_of_the_same_pipeline(queue, make, statuses, end):
    pipeline = queue.create(Pipeline, {})
    batch = queue.create(Batch, {"pipeline_id": pipeline.id})
    make(batch_id=batch.id, pipeline_id=pipeline.id)
    queue.start_pipeline(pipeline.id)
    assert statuses() == ("p", "pp", "q")
    end("a")
    assert statuses() == ("s", "dd", "s")


def test_a_job_that_is_a_step_and_a_member_of_the_same_pipeline_fails_both(queue, make, statuses, end):
    pipeline = queue.create(Pipeline, {})
    batch = queue.create(Batch, {"pipeline_id": pipeline.id})
    make(batch_id=batch.id, pipeline_id=pipeline.id, recoverable=True)
    queue.start_pipeline(pipeline.id)
    end("a", "fail")
    assert statuses() == ("f", "ff", "f")
    queue.recover(1)
    assert statuses() == ("p", "pp", "q")


def test_nobody_leaves_or_joins_an_ended_pipeline(queue, make, refused, end):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b")])
    end("a", "fail")
    done = queue.create(Pipeline, {"status": "successful"})
    free = make()
    text = "the pipeline has ended: the job's pipeline cannot change any more"
    for id, pipeline_id in ((2, None), (2, queue.create(Pipeline, {}).id), (free.id, done.id)):
        with refused(IllegalTransition, text):
            queue.update_job(id, {"pipeline_id": pipeline_id, "name": "n"})


def test_unknown_pipelines_of_jobs(queue, make, refused):
    job, theirs = make(), queue.create(Pipeline, {}, tenant="t")
    for id in (99, theirs.id):
        with refused(
            InvalidInput, 'insert or update on table "job" violates foreign key constraint "job_pipelineId_fkey"'
        ):
            queue.update_job(job.id, {"pipeline_id": id})


def test_work_without_a_step_ends_and_is_recovered_by_itself(queue, make, statuses):
    pipeline = queue.create(Pipeline, {"status": "failed"})
    late = make(pipeline_id=pipeline.id, recoverable=True)
    batch = queue.create(Batch, {"pipeline_id": pipeline.id})
    member = make(batch_id=batch.id, recoverable=True)
    for job in (late, member):
        queue.update_job(job.id, {"status": "failed"})
        queue.recover(job.id)
    assert statuses() == ("f", "", "qq")
    assert queue.get(Batch, batch.id).status == "processing"
    for job in queue.acquire(["a"], 2):
        queue.succeed(job)
    assert statuses() == ("f", "", "ss")
    assert queue.get(Batch, batch.id).status == "successful"


@pytest.mark.parametrize("end", ["successful", "failed"])
def test_parents_that_are_deleted_are_left_alone(queue, storage, make, end, statuses):
    pipeline = queue.create(Pipeline, {})
    loose = queue.create(Batch, {})
    within = queue.create(Batch, {"pipeline_id": pipeline.id})
    jobs = [
        make(recoverable=True, **parent)
        for parent in ({"pipeline_id": pipeline.id}, {"batch_id": loose.id}, {"batch_id": within.id})
    ]
    storage.edit(Pipeline, [pipeline.id], {"deleted_at": START})
    storage.edit(Batch, [loose.id], {"deleted_at": START})
    claims = [queue.update_job(job.id, {"status": "processing"}) for job in jobs]
    if end == "successful":
        queue.settle([Outcome(claim, JobStatus.SUCCESSFUL) for claim in claims])
    else:
        for claim in claims:
            queue.fail(claim)
            queue.recover(claim.id)
            queue.update_job(claim.id, {"status": "failed"})
            queue.retry(claim.id)
    assert statuses() == ("", "pp", "sss" if end == "successful" else "fffqqq")
    assert queue.get(Batch, within.id).status == ("successful" if end == "successful" else "processing")


# Steps by hand --------------------------------------------------------------------------------------------------------


@everywhere
def test_a_step_by_hand_makes_its_work_a_member(queue, make, statuses, end):
    pipeline = queue.create(Pipeline, {})
    job, batch = make(status="planned"), queue.create(Batch, {})
    late = queue.create(Step, {"pipeline_id": pipeline.id, "job_id": job.id, "index": 7})
    early = queue.create(Step, {"pipeline_id": pipeline.id, "batch_id": batch.id, "index": -1, "status": "planned"})
    assert (late.status, early.index) == ("planned", -1)
    assert queue.get(Job, job.id).pipeline_id == pipeline.id
    assert queue.get(Batch, batch.id).pipeline_id == pipeline.id
    assert queue.get(Job, job.id).status == "planned"
    make(batch_id=batch.id)
    queue.start_pipeline(pipeline.id)
    assert [job.status for job in queue.list(Job)] == ["planned", "queued"]
    end("a")
    end("a")
    assert queue.get(Pipeline, pipeline.id).status == "successful"
    assert make(pipeline_id=queue.create(Pipeline, {}).id).pipeline_id is not None
    assert [step.index for step in queue.list(Step, order=("index",))] == [-1, 1, 7]


def test_indexes_go_on_from_the_highest(queue, make):
    pipeline = queue.create(Pipeline, {})
    queue.create(Step, {"pipeline_id": pipeline.id, "index": 41})
    make(pipeline_id=pipeline.id)
    make(pipeline_id=pipeline.id)
    assert [step.index for step in queue.list(Step)] == [41, 42, 43]
    assert queue.update(Step, 1, {"index": 50}).index == 50
    make(pipeline_id=pipeline.id)
    assert [step.index for step in queue.list(Step)] == [50, 42, 43, 51]


def test_a_step_without_work_or_whose_work_is_gone_is_done(queue, storage, make, statuses):
    pipeline = queue.create(Pipeline, {})
    queue.create(Step, {"pipeline_id": pipeline.id, "index": 1})
    batch, job = queue.create(Batch, {"pipeline_id": pipeline.id}), make(pipeline_id=pipeline.id)
    storage.edit(Batch, [batch.id], {"deleted_at": START})
    storage.edit(Job, [job.id], {"deleted_at": START})
    assert queue.start_pipeline(pipeline.id).status == "successful"
    assert statuses() == ("s", "ddd", "")


def test_steps_by_hand_trigger_nothing(queue, make, statuses):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b")])
    assert queue.update(Step, 1, {"status": "done"}).status == "done"
    assert statuses() == ("p", "dp", "qp")
    queue.update(Step, 2, {"status": "failed"})
    assert statuses() == ("p", "df", "qp")


def test_a_step_set_by_hand_counts_when_its_pipeline_goes_on(queue, end, statuses):
    for by_hand, expected in (("successful", ("p", "dsp")), ("done", ("p", "ddp")), ("failed", ("f", "dfp"))):
        queue.storage = MemoryStorage(queue.storage.clock)
        queue.add_pipeline("p", [NewJob("a"), NewJob("b"), NewJob("c")])
        queue.update(Step, 2, {"status": by_hand})
        end("a")
        assert statuses()[:2] == expected


def test_the_end_of_a_job_leaves_an_ended_step_as_it_is(queue, end, statuses):
    queue.add_pipeline("p", [NewJob("a"), NewJob("b")])
    queue.update(Step, 1, {"status": "successful"})
    end("a")
    assert statuses() == ("p", "sp", "sq")


def test_a_pipeline_ended_by_hand_stays_ended(queue, end, statuses):
    for by_hand in ("successful", "failed"):
        for how in ("succeed", "fail"):
            queue.storage = MemoryStorage(queue.storage.clock)
            queue.add_pipeline("p", [NewJob("a"), NewJob("b")])
            queue.update(Pipeline, 1, {"status": by_hand})
            end("a", how)
            assert statuses() == (by_hand[0], "dp" if how == "succeed" else "fp", "sp" if how == "succeed" else "fp")


def test_recovering_in_a_pipeline_that_was_said_to_be_successful(queue, end, statuses):
    queue.add_pipeline("p", [NewJob("a", recoverable=True)])
    queue.update(Pipeline, 1, {"status": "successful"})
    end("a", "fail")
    queue.recover(1)
    assert statuses() == ("s", "p", "q")


@everywhere
def test_pipelines_by_hand(queue, clock, refused):
    pipeline = queue.create(Pipeline, {"name": "n", "metadata": "m" * 10_000})
    assert (pipeline.status, pipeline.name, pipeline.metadata) == ("planned", "n", "m" * 10_000)
    clock.tick(1)
    assert queue.update(Pipeline, pipeline.id, {"name": "n", "status": "planned"}) == pipeline
    changed = queue.update(Pipeline, pipeline.id, {"status": "processing", "metadata": None})
    assert (changed.status, changed.metadata, changed.updated_at) == ("processing", None, clock())
    with refused(NotFound, "pipeline not found."):
        queue.update(Pipeline, pipeline.id, {"name": "x"}, tenant="t")
    with refused(NotFound, "pipeline not found."):
        queue.update(Pipeline, 99, {"name": "x"})


@everywhere
def test_unknown_work_of_a_step(queue, make, refused):
    pipeline, theirs = queue.create(Pipeline, {}), queue.create(Pipeline, {}, tenant="t")
    their_job, their_batch = make(tenant="t"), queue.create(Batch, {}, tenant="t")
    text = 'insert or update on table "pipelineStep" violates foreign key constraint "pipelineStep_{}_fkey"'
    for id in (99, theirs.id):
        with refused(InvalidInput, text.format("pipelineId")):
            queue.create(Step, {"pipeline_id": id, "index": 1})
    for name, key, ids in (("job_id", "jobId", (99, their_job.id)), ("batch_id", "batchId", (99, their_batch.id))):
        for id in ids:
            with refused(InvalidInput, text.format(key)):
                queue.create(Step, {"pipeline_id": pipeline.id, "index": 1, name: id})
    step = queue.create(Step, {"pipeline_id": pipeline.id, "index": 1})
    with refused(InvalidInput, text.format("jobId")):
        queue.update(Step, step.id, {"job_id": 99})
    with refused(InvalidInput, text.format("pipelineId")):
        queue.update(Step, step.id, {"pipeline_id": 99})
    for id, tenant in ((99, None), (step.id, "t")):
        with refused(NotFound, "pipelineStep not found."):
            queue.update(Step, id, {"index": 2}, tenant=tenant)


def test_work_belongs_to_one_pipeline(queue, make, refused):
    one, other = queue.create(Pipeline, {}), queue.create(Pipeline, {})
    job, batch = make(pipeline_id=one.id), queue.create(Batch, {"pipeline_id": one.id})
    with refused(InvalidInput, f"pipelineStep.jobId: {job.id} belongs to pipeline {one.id}"):
        queue.create(Step, {"pipeline_id": other.id, "index": 1, "job_id": job.id})
    with refused(InvalidInput, f"pipelineStep.batchId: {batch.id} belongs to pipeline {one.id}"):
        queue.create(Step, {"pipeline_id": other.id, "index": 1, "batch_id": batch.id})
    with refused(InvalidInput, f"pipelineStep.jobId: {job.id} belongs to pipeline {one.id}"):
        queue.update(Step, 1, {"pipeline_id": other.id})
    assert queue.update(Step, 1, {"pipeline_id": one.id, "index": 9}).index == 9
    free = queue.create(Step, {"pipeline_id": one.id, "index": 1})
    assert queue.update(Step, free.id, {"pipeline_id": other.id}).pipeline_id == other.id


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "notNull Violation: pipelineStep.pipelineId cannot be null"),
        ({"pipeline_id": None, "index": 1}, "notNull Violation: pipelineStep.pipeline_id cannot be null"),
        ({"pipeline_id": 1}, "notNull Violation: pipelineStep.index cannot be null"),
        ({"pipeline_id": 1, "index": None}, "notNull Violation: pipelineStep.index cannot be null"),
        ({"pipeline_id": 1, "index": "1"}, "pipelineStep.index must be an integer, not '1'"),
        (
            {"pipeline_id": 1, "index": 2**31},
            "pipelineStep.index must be from -2,147,483,648 to 2,147,483,647, not 2147483648",
        ),
        (
            {"pipeline_id": 1, "index": 1, "job_id": 0},
            "pipelineStep.job_id must be from 1 to 9,223,372,036,854,775,807, not 0",
        ),
        ({"pipeline_id": 1, "index": 1, "batch_id": True}, "pipelineStep.batch_id must be an integer, not True"),
        ({"pipeline_id": True, "index": 1}, "pipelineStep.pipeline_id must be an integer, not True"),
        ({"pipeline_id": 1, "index": 1, "name": "n"}, "pipelineStep has no attribute 'name'"),
    ],
)
def test_bad_steps(queue, refused, values, message):
    queue.create(Pipeline, {})
    with refused(InvalidInput, message):
        queue.create(Step, values)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"name": 5}, "pipeline.name must be a string, not 5"),
        ({"name": "x" * 501}, "pipeline.name must have at most 500 characters, not 501"),
        ({"metadata": {"a": 1}}, "pipeline.metadata must be a string, not {'a': 1}"),
        ({"metadata": "x" * 10_001}, "pipeline.metadata must have at most 10,000 characters, not 10,001"),
        ({"created_at": "now"}, "pipeline.created_at must be a date and time, not 'now'"),
        ({"status": None}, "notNull Violation: pipeline.status cannot be null"),
    ],
)
def test_bad_pipelines(queue, refused, values, message):
    with refused(InvalidInput, message):
        queue.create(Pipeline, values)
    if "name" in values:
        with refused(InvalidInput, message):
            queue.add_pipeline(values["name"], [NewJob("a")])


# Written down step by step --------------------------------------------------------------------------------------------


def test_a_pipeline_is_written_down_step_by_step(queue):
    with PipelineBuilder(queue, "p", tenant="t") as build:
        build.add("a", 1, name="n").add(NewJob("b", 2))
        build.batch([NewJob("c"), "d", ("e",), ("f", 6)])
        with pytest.raises(GnjError, match="the pipeline is created at the end of its with block"):
            _ = build.pipeline
        assert queue.list(Pipeline) == []
    assert (build.pipeline.name, build.pipeline.status, build.pipeline.tenant) == ("p", "processing", "t")
    assert [(j.type, j.input, j.name, j.batch_id, j.tenant) for j in queue.list(Job)] == [
        ("a", 1, "n", None, "t"),
        ("b", 2, None, None, "t"),
        ("c", None, None, 1, "t"),
        ("d", None, None, 1, "t"),
        ("e", None, None, 1, "t"),
        ("f", 6, None, 1, "t"),
    ]
    assert [step.index for step in queue.list(Step)] == [1, 2, 3]


def test_a_pipeline_whose_block_raises_is_not_made(queue):
    with pytest.raises(RuntimeError, match="stop"), PipelineBuilder(queue, "p") as build:  # noqa: PT012
        build.add("a")
        raise RuntimeError("stop")
    assert queue.list(Pipeline) == []
    with PipelineBuilder(queue, None, start=False) as build:
        pass
    assert build.pipeline.status == "planned"


@pytest.mark.parametrize("member", [None, 5, (), ("a", 1, 2), ["a"], {"type": "a"}])
def test_what_is_no_member(queue, member):
    with pytest.raises(
        InvalidInput, match="a job of a batch must be a NewJob, a type, or a pair of type and input, not "
    ):
        PipelineBuilder(queue, "p").batch([member])
