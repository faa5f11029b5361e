"""Batches: sections 3 and 9 of the jobs contract with points 11 and 16 of section 0."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from gnj.queue.ends import Outcome
from gnj.queue.errors import IllegalTransition, InvalidInput, NotFound
from gnj.queue.model import Batch, Job, NewJob, Pipeline, Step
from gnj.queue.states import JobStatus

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
everywhere = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def status(queue):
    """The status of a batch as it is stored."""
    return lambda batch: queue.get(Batch, batch.id).status


@pytest.fixture
def end(queue):
    """Claims the next job of a type and ends it."""

    def ended(type, how="succeed"):
        job = queue.acquire([type])
        return getattr(queue, how)(job, "text")

    return ended


# Whole ----------------------------------------------------------------------------------------------------------------


@everywhere
def test_a_whole_batch(queue, status, end):
    rings = queue.wake.rings
    batch = queue.add_batch([NewJob("a", 1), NewJob("a", 2), NewJob("b")])
    assert (batch.status, batch.pipeline_id) == ("processing", None)
    assert queue.wake.rings == rings + 1
    assert [(job.status, job.batch_id) for job in queue.list(Job)] == [("queued", batch.id)] * 3
    for type in "aab":
        assert status(batch) == "processing"
        end(type)
    assert status(batch) == "successful"
    assert queue.list(Step) == []


@everywhere
@pytest.mark.parametrize("how", ["fail", "cancelled"])
def test_a_broken_member_fails_its_batch_at_once(queue, status, end, how):
    batch = queue.add_batch([NewJob("a"), NewJob("b"), NewJob("b")])
    end("a", how)
    assert status(batch) == "failed"
    end("b")
    end("b", "fail")
    assert status(batch) == "failed"


def test_cancelling_a_waiting_member_fails_its_batch(queue, status):
    batch = queue.add_batch([NewJob("a"), NewJob("b")])
    queue.cancel(queue.list(Job)[0].id)
    assert status(batch) == "failed"
    assert queue.list(Job)[1].status == "queued"


def test_a_member_that_is_tried_again_settles_nothing(queue, status, end):
    batch = queue.add_batch([NewJob("a", max_attempts=2)])
    end("a", "fail")
    assert status(batch) == "processing"
    end("a", "fail")
    assert status(batch) == "failed"


@everywhere
def test_an_empty_batch_is_successful_when_it_is_started(queue):
    assert queue.add_batch([]).status == "successful"
    assert queue.add_batch([], start=False).status == "planned"


def test_a_batch_can_be_made_without_starting_it(queue, status, end):
    batch = queue.add_batch([NewJob("a"), NewJob("a")], start=False)
    assert batch.status == "planned"
    assert [job.status for job in queue.list(Job)] == ["planned"] * 2
    assert queue.acquire(["a"]) is None
    for job in queue.list(Job):
        queue.update_job(job.id, {"status": "queued"})
    end("a")
    assert status(batch) == "planned"
    end("a")
    assert status(batch) == "successful"


@everywhere
def test_a_whole_batch_comes_in_whole_or_not_at_all(queue, refused):
    with refused(InvalidInput, "job.type must not be empty"):
        queue.add_batch([NewJob("a"), NewJob("")])


def test_a_member_whose_unique_id_is_taken_stays_where_it_is(queue, make):
    there = make(unique_id="u")
    batch = queue.add_batch([NewJob("a", unique_id="u"), NewJob("a")])
    assert queue.get(Job, there.id) == there
    assert queue.count(Job, batch_id=batch.id) == 1


@pytest.mark.parametrize("members", [None, 5])
def test_members_must_be_a_list(queue, members):
    with pytest.raises(TypeError):
        queue.add_batch(members)


# By hand --------------------------------------------------------------------------------------------------------------


@everywhere
def test_a_batch_by_hand_has_no_status_until_its_jobs_give_it_one(queue, make, status, end):
    batch = queue.create(Batch, {})
    assert (batch.status, batch.created_at) == (None, START)
    assert queue.update(Batch, batch.id, {}) == batch
    make(batch_id=batch.id, status="queued")
    make(batch_id=batch.id, status="queued")
    end("a")
    assert status(batch) is None
    end("a")
    assert status(batch) == "successful"


def test_a_batch_that_finished_goes_on_when_a_job_joins_it(queue, make, status, end):
    batch = queue.create(Batch, {})
    make(batch_id=batch.id, status="queued")
    end("a")
    assert status(batch) == "successful"
    make(batch_id=batch.id, status="successful")
    assert status(batch) == "successful"
    make(batch_id=batch.id, status="queued")
    assert status(batch) == "processing"
    end("a", "fail")
    assert status(batch) == "failed"
    late = make()
    assert queue.update_job(late.id, {"batch_id": batch.id}).status == "queued"
    assert status(batch) == "processing"
    end("a")
    assert status(batch) == "failed"


def test_a_job_added_to_an_ended_batch_of_a_pipeline_stays_planned(queue, make, status, end):
    queue.add_pipeline("p", [[NewJob("a")], NewJob("b")])
    (batch,) = queue.list(Batch)
    end("a")
    late = make(batch_id=batch.id, status="queued")
    assert (late.status, status(batch)) == ("planned", "successful")
    assert [step.status for step in queue.list(Step)] == ["done", "processing"]


@everywhere
def test_statuses_by_hand_trigger_nothing(queue, make, status):
    batch = queue.create(Batch, {"status": "planned"})
    job = make(batch_id=batch.id)
    for wish in ("processing", "processing", "failed"):
        assert queue.update(Batch, batch.id, {"status": wish}).status == wish
    assert queue.get(Job, job.id) == job


@everywhere
def test_only_what_changes_moves_updated_at(queue, clock):
    pipeline = queue.create(Pipeline, {})
    batch = queue.create(Batch, {"status": "planned", "pipeline_id": pipeline.id})
    clock.tick(1)
    same = {"status": "planned", "pipeline_id": pipeline.id, "created_at": clock(), "deleted_at": clock()}
    assert queue.update(Batch, batch.id, same) == batch
    assert queue.update(Batch, batch.id, {"status": "processing"}).updated_at == clock()


@everywhere
def test_unknown_batches_and_pipelines(queue, refused):
    theirs = queue.create(Pipeline, {}, tenant="t")
    batch = queue.create(Batch, {}, tenant="t")
    text = 'insert or update on table "batch" violates foreign key constraint "batch_pipelineId_fkey"'
    for id in (99, theirs.id):
        with refused(InvalidInput, text):
            queue.create(Batch, {"pipeline_id": id})
    with refused(InvalidInput, text):
        queue.update(Batch, batch.id, {"pipeline_id": 99})
    for id, tenant in ((99, None), (batch.id, "")):
        with refused(NotFound, "batch not found."):
            queue.update(Batch, id, {"status": "failed"}, tenant=tenant)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"pipeline_id": "1"}, "batch.pipeline_id must be an integer, not '1'"),
        ({"pipeline_id": 0}, "batch.pipeline_id must be from 1 to 9,223,372,036,854,775,807, not 0"),
        ({"name": "n"}, "batch has no attribute 'name'"),
        ({"tenant": "t"}, "batch.tenant cannot be set"),
    ],
)
def test_bad_values(queue, refused, values, message):
    batch = queue.create(Batch, {})
    with refused(InvalidInput, message):
        queue.create(Batch, values)
    with refused(InvalidInput, message):
        queue.update(Batch, batch.id, values)


# Members that come and go ---------------------------------------------------------------------------------------------


@everywhere
def test_a_member_that_leaves_settles_both_batches(queue, status, end):
    old = queue.add_batch([NewJob("a"), NewJob("b")])
    new = queue.add_batch([NewJob("c")])
    end("a")
    end("c")
    assert (status(old), status(new)) == ("processing", "successful")
    (job,) = queue.list(Job, type="b")
    assert queue.update_job(job.id, {"batch_id": new.id}).batch_id == new.id
    assert (status(old), status(new)) == ("successful", "processing")
    end("b")
    assert (status(old), status(new)) == ("successful", "successful")


def test_a_job_may_move_and_end_at_once(queue, status, clock):
    old, new = queue.add_batch([NewJob("a"), NewJob("b")]), queue.add_batch([NewJob("c")])
    (job,) = queue.list(Job, type="b")
    queue.update_job(job.id, {"batch_id": new.id, "status": "failed"})
    assert (status(old), status(new)) == ("processing", "failed")


@pytest.mark.parametrize(
    "wish, expected", [("successful", "successful"), ("failed", "failed"), ("cancel-requested", "failed")]
)
def test_a_job_that_ends_as_it_joins_an_ended_batch_is_settled_there(queue, make, status, wish, expected):
    batch = queue.add_batch([])
    queue.update_job(make().id, {"batch_id": batch.id, "status": wish})
    assert status(batch) == expected


def test_the_last_member_to_leave_ends_a_running_batch(queue, status):
    batch = queue.add_batch([NewJob("a")])
    queue.update_job(queue.list(Job)[0].id, {"batch_id": None})
    assert status(batch) == "successful"
    planned = queue.add_batch([NewJob("b")], start=False)
    queue.update_job(queue.list(Job, type="b")[0].id, {"batch_id": None})
    assert status(planned) == "planned"


def test_nobody_leaves_an_ended_batch_nor_joins_one_of_a_pipeline(queue, refused, make, end):
    queue.add_pipeline("p", [[NewJob("a")], NewJob("z")])
    ended = queue.list(Batch)[0]
    end("a")
    failed = queue.add_batch([NewJob("b"), NewJob("c")])
    end("b", "fail")
    (member,) = queue.list(Job, type="c")
    free = make()
    text = "the batch has ended: the job's batch cannot change any more"
    for id, batch_id in ((member.id, None), (member.id, queue.create(Batch, {}).id), (free.id, ended.id)):
        with refused(IllegalTransition, text):
            queue.update_job(id, {"batch_id": batch_id, "name": "n"})
    assert queue.update_job(member.id, {"batch_id": failed.id, "name": "n"}).name == "n"


def test_unknown_batches_of_jobs(queue, refused, make):
    job = make()
    theirs = queue.create(Batch, {}, tenant="t")
    for id in (99, theirs.id):
        with refused(
            InvalidInput, 'insert or update on table "job" violates foreign key constraint "job_batchId_fkey"'
        ):
            queue.update_job(job.id, {"batch_id": id})


# In pipelines ---------------------------------------------------------------------------------------------------------


@everywhere
def test_a_batch_in_a_pipeline_is_a_step(queue):
    pipeline = queue.create(Pipeline, {})
    batches = [queue.create(Batch, {"pipeline_id": pipeline.id}) for _ in range(2)]
    steps = queue.list(Step)
    assert [(step.pipeline_id, step.batch_id, step.job_id, step.index, step.status) for step in steps] == [
        (pipeline.id, batches[0].id, None, 1, "planned"),
        (pipeline.id, batches[1].id, None, 2, "planned"),
    ]


def test_a_batch_joins_another_pipeline(queue, make):
    one, other = queue.create(Pipeline, {}), queue.create(Pipeline, {})
    batch = queue.create(Batch, {"pipeline_id": one.id})
    assert queue.update(Batch, batch.id, {"pipeline_id": other.id}).pipeline_id == other.id
    assert [(step.pipeline_id, step.batch_id) for step in queue.list(Step)] == [(other.id, batch.id)]
    assert queue.update(Batch, batch.id, {"pipeline_id": None}).pipeline_id is None
    assert queue.list(Step) == []


def test_a_batch_that_leaves_a_running_pipeline_lets_it_go_on(queue, end):
    pipeline = queue.add_pipeline("p", [[NewJob("a")], NewJob("b")])
    (batch,) = queue.list(Batch)
    queue.update(Batch, batch.id, {"pipeline_id": None})
    assert [job.status for job in queue.list(Job)] == ["queued", "queued"]
    end("b")
    assert queue.get(Pipeline, pipeline.id).status == "successful"
    end("a")
    assert queue.get(Batch, batch.id).status == "successful"


def test_a_batch_that_joins_a_pipeline_with_nothing_left_is_started_and_says_so(queue, make):
    pipeline = queue.create(Pipeline, {"status": "processing"})
    batch = queue.create(Batch, {})
    job = make(batch_id=batch.id)
    moved = queue.update(Batch, batch.id, {"pipeline_id": pipeline.id})
    assert moved == queue.get(Batch, batch.id)
    assert (moved.status, queue.get(Job, job.id).status) == ("processing", "queued")
    other = queue.create(Pipeline, {"status": "processing"})
    empty = queue.create(Batch, {"pipeline_id": other.id})
    assert empty == queue.get(Batch, empty.id)
    assert (empty.status, queue.get(Pipeline, other.id).status) == ("successful", "successful")


def test_where_either_has_ended_the_pipeline_of_a_batch_stays(queue, refused):
    open_, done = queue.create(Pipeline, {}), queue.create(Pipeline, {"status": "successful"})
    batch, ended = queue.create(Batch, {}), queue.create(Batch, {"status": "failed"})
    with refused(IllegalTransition, "the batch has ended: its pipeline cannot change any more"):
        queue.update(Batch, ended.id, {"pipeline_id": open_.id})
    with refused(IllegalTransition, "the pipeline has ended: the batch's pipeline cannot change any more"):
        queue.update(Batch, batch.id, {"pipeline_id": done.id})
    queue.update(Batch, batch.id, {"pipeline_id": open_.id})
    queue.update(Pipeline, open_.id, {"status": "failed"})
    with refused(IllegalTransition, "the pipeline has ended: the batch's pipeline cannot change any more"):
        queue.update(Batch, batch.id, {"pipeline_id": None})
    assert queue.create(Batch, {"pipeline_id": done.id}).pipeline_id == done.id
    assert queue.count(Step, pipeline_id=done.id) == 0


# In parallel ----------------------------------------------------------------------------------------------------------


@everywhere
def test_members_that_end_together_end_their_batch_once(queue, status):
    queue.add_pipeline("p", [[NewJob("a")] * 8, [NewJob("b")] * 2])
    jobs = queue.acquire(["a"], 8)
    barrier = threading.Barrier(len(jobs))
    errors = []

    def finish(job):
        barrier.wait()
        try:
            queue.succeed(job)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=finish, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [batch.status for batch in queue.list(Batch)] == ["successful", "processing"]
    assert [step.status for step in queue.list(Step)] == ["done", "processing"]
    assert len(queue.acquire(["b"], 9)) == 2


@everywhere
def test_members_of_several_batches_of_one_pipeline_end_in_one_call(queue, status):
    """What the first batch ends starts the second, whose last member has ended in the same call."""
    queue.add_pipeline("p", [[NewJob("a"), NewJob("a")], [NewJob("b")], NewJob("c")], start=False)
    claims = [queue.update_job(job.id, {"status": "processing"}) for job in queue.list(Job)]
    answers = queue.settle([Outcome(claim, JobStatus.SUCCESSFUL, place) for place, claim in enumerate(claims)])
    assert [answer.status for answer in answers] == ["successful"] * 4
    assert [batch.status for batch in queue.list(Batch)] == ["successful"] * 2
    assert [step.status for step in queue.list(Step)] == ["done"] * 3
    assert [pipeline.status for pipeline in queue.list(Pipeline)] == ["successful"]


def test_a_member_that_was_moved_since_its_claim_ends_where_it_is(queue, status):
    old, new = queue.add_batch([NewJob("a"), NewJob("a")]), queue.create(Batch, {})
    claims = queue.acquire(["a"], 2)
    queue.update_job(claims[0].id, {"batch_id": new.id})
    answers = queue.settle([Outcome(claim, JobStatus.SUCCESSFUL) for claim in claims])
    assert [answer.batch_id for answer in answers] == [new.id, old.id]
    assert (status(old), status(new)) == ("successful", "successful")


@pytest.mark.parametrize("status, expected", [("failed", "failed"), ("successful", "processing")])
def test_a_job_created_as_ended_counts_for_a_batch_that_runs(queue, status, expected):
    batch = queue.add_batch([NewJob("a")])
    queue.create_jobs([{"type": "a", "batch_id": batch.id, "status": status}])
    assert queue.get(Batch, batch.id).status == expected


def test_a_job_that_joins_a_running_batch_is_queued(queue):
    batch = queue.add_batch([NewJob("a")])
    (late,) = queue.create_jobs([{"type": "a", "batch_id": batch.id}])
    assert late.status == "queued"
    for _ in range(2):
        queue.succeed(queue.acquire(["a"]))
    assert queue.get(Batch, batch.id).status == "successful"
