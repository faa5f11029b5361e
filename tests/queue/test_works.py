"""Content jobs, as rows: how they are made, what they follow, what is noted of them, and how they go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event

from gnj.queue import compose, works
from gnj.queue.ends import Outcome
from gnj.queue.errors import CancelRequested, Failed, IllegalTransition, InvalidInput, InvalidText, LeaseLost, NotFound
from gnj.queue.following import CONTENT_MOVES
from gnj.queue.model import Batch, ContentJob, ContentLog, Job, Pipeline, Step
from gnj.queue.model_content import CONTENT_OVER, TASKS, ContentStatus, ContentType, TaskType
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus, PipelineStatus
from gnj.queue.storage import Select
from gnj.queue.working import ERROR, INFORMATION, WARNING, Line
from gnj.storage.sql.transaction import SqlRows
from gnj.testing.contracts.support import together

DAY = 86_400
BY = {"id": "u1", "name": "Ann", "email": None}
IMPORT = TASKS[ContentType.IMPORT_ENTRIES]
_EVERY = [task.job_type for task in TaskType]


@pytest.fixture
def create(queue: Queue) -> Callable[..., ContentJob]:
    """Makes a content job of the tenant "acme"; an import unless told."""

    def create(tenant: str = "acme", **values: Any) -> ContentJob:
        given = {"name": "some job", "type": ContentType.IMPORT_ENTRIES, "params": {}, "by": BY, **values}
        return queue.create_content_job(tenant, **given)

    return create


@pytest.fixture
def now(queue: Queue) -> Callable[[ContentJob], ContentJob]:
    """The content job as it is by now."""

    def now(row: ContentJob) -> ContentJob:
        found = queue.content_job(row.tenant, row.id)
        assert found is not None
        return found

    return now


def next_task(queue: Queue, **options: Any) -> Job:
    """Claims the next content task."""
    job: Job | None = queue.acquire(_EVERY, worker_id="w", **options)
    assert job is not None
    return job


def statuses(queue: Queue, row: ContentJob) -> list[JobStatus]:
    return [job.status for job in queue.content_tasks(row.tenant, [row.id])[row.id]]


def lines(queue: Queue, row: ContentJob, **which: Any) -> list[tuple[str, str]]:
    page, _ = queue.content_logs(row.tenant, row.id, offset=0, limit=1_000, **which)
    return [(line.level, line.message) for line in page]


def test_every_content_job_has_tasks_and_every_task_belongs_to_one():
    assert set(TASKS) == set(ContentType)
    assert {task for tasks in TASKS.values() for task in tasks} == set(TaskType)
    assert TaskType.PROCESS_ENTRIES.job_type == "gnj:content.process_entries"


def test_every_status_has_a_way_in_and_only_the_deleted_ones_none_out():
    assert {to for move in CONTENT_MOVES.values() for to in move.to.values()} == set(ContentStatus) - {
        ContentStatus.PENDING
    }
    assert {frm for move in CONTENT_MOVES.values() for frm in move.to} == set(ContentStatus) - {ContentStatus.DELETED}
    back = [(frm, to) for move in CONTENT_MOVES.values() for frm, to in move.to.items() if frm in CONTENT_OVER]
    assert {to for _, to in back} == {ContentStatus.DELETED}
    assert all(len(set(move.to.values())) == 1 for move in CONTENT_MOVES.values())


# Made -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ContentType)
def test_a_content_job_has_the_tasks_of_its_type_in_their_order(queue, create, type):
    row = create(type=type, params={"a": 1}, file_key="k")
    assert (row.status, row.params, row.file_key, row.created_by) == (ContentStatus.PENDING, {"a": 1}, "k", BY)
    tasks = queue.content_tasks("acme", [row.id])[row.id]
    assert [job.id for job in tasks] == row.task_ids
    assert [job.type for job in tasks] == [task.job_type for task in TASKS[type]]
    assert [job.input for job in tasks] == [{"task": task.value} for task in TASKS[type]]
    assert [job.status for job in tasks] == [JobStatus.QUEUED, *[JobStatus.PLANNED] * (len(tasks) - 1)]
    assert {(job.max_attempts, job.max_stalled, job.on_lost, job.tenant) for job in tasks} == {
        (1, 20, "requeue", "acme")
    }


def test_it_is_made_whole_on_every_storage(on_every_storage, queue, create, clock):
    row = create(name="Import ü", file_key="uploads/1/a.json")
    assert queue.content_job("acme", row.id) == row
    assert statuses(queue, row) == [JobStatus.QUEUED, *[JobStatus.PLANNED] * 3]
    pipeline = queue.get(Pipeline, row.pipeline_id)
    assert (pipeline.name, pipeline.kind, pipeline.status) == ("Import ü", "content", PipelineStatus.PROCESSING)


def test_a_later_time_delays_the_first_task_and_one_that_has_passed_does_not(queue, create, clock):
    later = create(start_after=clock() + timedelta(hours=1))
    past = create(type=ContentType.EXPORT_ENTRIES, start_after=clock() - timedelta(hours=1))
    assert next_task(queue).id == past.task_ids[0]
    assert queue.acquire(_EVERY) is None
    assert queue.content_job("acme", later.id).status is ContentStatus.PENDING
    clock.tick(3_601)
    assert next_task(queue).id == later.task_ids[0]


def test_what_cannot_be_kept_is_refused(queue, create, refused):
    with refused(InvalidText):
        create(name="a\0")
    with refused(InvalidInput):
        create(name="a" * 501)
    with refused(InvalidInput):
        create(params={"n": float("nan")})
    with refused(InvalidInput):
        create(by=object())
    with refused(InvalidInput):
        create(start_after="tomorrow")


def test_a_tenant_has_a_bounded_number_that_are_not_over(queue, create, refused, monkeypatch):
    monkeypatch.setattr(works, "MOST", 2)
    first, _ = create(), create()
    with refused(InvalidInput, "at most 2 jobs can be under way: wait until one has ended, or delete one"):
        create()
    create("other")
    queue.delete_content_job("acme", first.id, BY)
    create()


def test_so_it_has_where_several_make_them_at_once(on_every_storage, queue, create, monkeypatch):
    monkeypatch.setattr(works, "MOST", 4)
    create(), create()

    def attempt(_place: int) -> bool:
        try:
            create()
        except InvalidInput:
            return False
        return True

    assert sorted(together(6, attempt)) == [False] * 4 + [True] * 2


# What it follows --------------------------------------------------------------------------------------------------------


def test_it_follows_its_tasks_to_their_success(on_every_storage, queue, create, now, clock):
    row = create()
    for number, task in enumerate(IMPORT):
        clock.tick(1)
        claim = next_task(queue)
        assert (claim.id, claim.type) == (row.task_ids[number], task.job_type)
        queue.checkpoint(claim, {"percent": 50})
        assert now(row).status is ContentStatus.ACTIVE
        assert not queue.content_over("acme", row.id)
        assert [each.id for each in queue.unfinished_content_jobs("acme", ContentType.IMPORT_ENTRIES)] == [row.id]
        assert queue.unfinished_content_jobs("acme", ContentType.CLONE_SITE) == []
        assert queue.unfinished_content_jobs("other") == []
        queue.succeed(claim)
    done = now(row)
    assert (done.status, done.finished_at) == (ContentStatus.COMPLETED, clock())
    assert done.started_at == clock() - timedelta(seconds=len(IMPORT) - 1)
    assert queue.content_over("acme", row.id)
    assert queue.unfinished_content_jobs("acme") == []
    assert queue.acquire(_EVERY) is None


def test_it_is_pending_until_the_first_checkpoint(queue, create, now):
    row = create()
    claim = next_task(queue)
    assert (now(row).status, now(row).started_at) == (ContentStatus.PENDING, None)
    queue.checkpoint(claim, None)
    assert now(row).status is ContentStatus.ACTIVE
    assert now(row).started_at is not None


def test_a_failed_task_fails_it_and_those_after_it_stay_planned(on_every_storage, queue, create, now, clock):
    row = create()
    queue.fail(next_task(queue), "no")
    assert (now(row).status, now(row).finished_at) == (ContentStatus.FAILED, clock())
    assert statuses(queue, row) == [JobStatus.FAILED, *[JobStatus.PLANNED] * 3]
    assert queue.acquire(_EVERY) is None


def test_tasks_that_end_together_are_followed_as_well(queue, create, now):
    rows = [create(type=ContentType.EXPORT_ENTRIES) for _ in range(3)]
    claims = [next_task(queue) for _ in rows]
    queue.settle([Outcome(claim, JobStatus.SUCCESSFUL) for claim in claims])
    assert {now(row).status for row in rows} == {ContentStatus.COMPLETED}


def test_a_task_whose_leases_are_lost_again_and_again_fails_it(on_every_storage, queue, create, now, clock):
    row = create(type=ContentType.EXPORT_ENTRIES)
    for lost in range(20):
        assert now(row).status is (ContentStatus.ACTIVE if lost else ContentStatus.PENDING)
        clock.tick(61)  # one that has lost many leases comes back a while later
        queue.checkpoint(next_task(queue, lease=10.0), {"cursor": lost})
        clock.tick(61)
        queue.reap(force=True)
    assert now(row).status is ContentStatus.FAILED
    assert statuses(queue, row) == [JobStatus.FAILED]


def test_a_cancelled_task_fails_it(queue, create, now):
    row = create()
    queue.cancelled(next_task(queue), "no")
    assert (now(row).status, now(row).started_at) == (ContentStatus.FAILED, None)


def queue_again(queue: Queue, id: int) -> None:
    """What no command does to a task that has ended."""
    queue.storage.edit(Job, [id], {"status": JobStatus.QUEUED, "ended_at": None, "due_at": None})


def test_a_task_that_is_queued_again_brings_nothing_back(on_every_storage, queue, create, now):
    row = create()
    claim = next_task(queue)
    queue.checkpoint(claim, {"cursor": 1})
    queue.fail(claim, "no")
    over = now(row)
    queue_again(queue, claim.id)
    again = next_task(queue)
    assert again.id == claim.id
    with pytest.raises(Failed, match=f"the job {row.id} is over: make a new one"):
        queue.content_task(again)
    queue.fail(again, "over")
    assert now(row) == over
    assert queue.acquire(_EVERY) is None


def test_what_a_task_does_when_it_is_over_is_told_to_stop(on_every_storage, queue, create, now):
    row = create()
    claim = next_task(queue)
    queue.checkpoint(claim, {"n": 1})
    queue.storage.edit(ContentJob, [row.id], {"status": ContentStatus.FAILED})
    job = queue.checkpoint(claim, {"n": 2}, [Line(INFORMATION, "so far")])
    assert (job.status, job.progress) == (JobStatus.CANCEL_REQUESTED, {"n": 2})
    assert queue.checkpoint(claim, {"n": 3}).status is JobStatus.CANCEL_REQUESTED
    queue.cancelled(claim, "stopped")
    assert now(row).status is ContentStatus.FAILED
    assert lines(queue, row) == [(INFORMATION, "so far")]


@contextmanager
def spied(engine: Engine) -> Iterator[list[str]]:
    """The statements that are executed in the block."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


def through_a_pipeline(queue: Queue, kind: str | None) -> None:
    """Has a pipeline of two jobs made and worked to its end."""
    rows = [{"type": "plain"}, {"type": "plain"}]
    queue.run(lambda unit: compose.whole_pipeline(unit, "", "p", rows, start=True, kind=kind))
    for _ in range(2):
        claim = queue.acquire(["plain"])
        assert claim is not None
        queue.succeed(claim)


def test_nobody_adds_to_its_tasks_or_takes_one_away(on_every_storage, queue, create, refused):
    row = create()
    pipeline = row.pipeline_id
    says = f"the pipeline {pipeline} is that of a content job: it, its steps and their jobs stay as they are"
    steps = queue.list(Step, pipeline_id=pipeline)
    (alone,) = queue.create_jobs([{"type": "plain"}], tenant="acme")
    batch = queue.create(Batch, {}, tenant="acme")
    other = queue.create(Pipeline, {"name": "other"}, tenant="acme")
    claim = next_task(queue)
    by_name = {"queue": claim.type, "tenant": "acme"}
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: queue.create_jobs([{"type": "plain", "pipeline_id": pipeline}], tenant="acme"),
        lambda: queue.update_job(alone.id, {"pipeline_id": pipeline}),
        lambda: queue.create(Batch, {"pipeline_id": pipeline}, tenant="acme"),
        lambda: queue.update(Batch, batch.id, {"pipeline_id": pipeline}),
        lambda: queue.create(Step, {"pipeline_id": pipeline, "job_id": alone.id, "index": 9}, tenant="acme"),
        lambda: queue.update(Step, steps[1].id, {"status": "done"}),
        lambda: queue.update(Step, steps[1].id, {"pipeline_id": other.id}),
        lambda: queue.delete(Step, steps[1].id),
        lambda: queue.update(Step, steps[0].id, {"index": 9}),
        lambda: queue.update(Pipeline, pipeline, {"status": "failed"}),
        lambda: queue.update(Pipeline, pipeline, {"name": "another"}),
        lambda: queue.delete(Pipeline, pipeline),
        *(partial(queue.delete, Job, id) for id in row.task_ids),
        *(partial(queue.cancel, id) for id in row.task_ids),
        *(partial(queue.update_job, id, {"status": "cancelled"}) for id in row.task_ids),
        lambda: queue.update_job(claim.id, {"status": "successful"}),
        lambda: queue.update_job(claim.id, {"status": "successful"}, attempt=claim.attempt),
        lambda: queue.update_job(claim.id, {"progress": {"end": {}}}, attempt=claim.attempt),
        lambda: queue.update_job(claim.id, {"pipeline_id": None}, attempt=claim.attempt),
        lambda: queue.promote(id=str(claim.id), **by_name),
        lambda: queue.set_data(id=str(claim.id), data={}, **by_name),
        lambda: queue.remove_job(id=str(claim.id), **by_name),
        lambda: queue.requeue(id=str(claim.id), **by_name),
        lambda: queue.retry(claim.id),
    )
    for attempt in attempts:
        with refused(IllegalTransition, says):
            attempt()
    queue.fail(claim, "no")
    for attempt in (*attempts, lambda: queue.retry_oldest([claim.type])):
        with refused(IllegalTransition, says):
            attempt()
    assert statuses(queue, row) == [JobStatus.FAILED, *[JobStatus.PLANNED] * 3]


@pytest.mark.backend("sqlite")
@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_other_pipelines_cost_no_statement_more(storage, queue):
    with spied(storage.engine) as plain:
        through_a_pipeline(queue, None)
    with spied(storage.engine) as followed:
        through_a_pipeline(queue, "content")
    assert not [statement for statement in plain if "content_job" in statement]
    assert len([statement for statement in followed if "content_job" in statement]) == 1  # when it has ended


# What is noted of it ----------------------------------------------------------------------------------------------------


def test_a_checkpoint_keeps_progress_lines_and_counts_together(on_every_storage, queue, create, now):
    row, other = create(), create(type=ContentType.EXPORT_ENTRIES)
    claim = next_task(queue)
    told = [Line(INFORMATION, "one"), Line(WARNING, "two"), Line(ERROR, "three"), Line(ERROR, "four\0")]
    job = queue.checkpoint(claim, {"percent": 10}, told, changes={"result": {"imported": 3}})
    assert (job.id, job.progress, job.status) == (claim.id, {"percent": 10}, JobStatus.PROCESSING)
    queue.checkpoint(claim, {"cursor": 2}, [Line(INFORMATION, "five")], changes={"file_key": "exports/1"})
    after = now(row)
    assert (after.logs, after.warnings, after.errors) == (5, 1, 2)
    assert (after.result, after.file_key) == ({"imported": 3}, "exports/1")
    assert queue.get(Job, claim.id).progress == {"cursor": 2}
    assert lines(queue, row) == [
        (INFORMATION, "five"),
        (ERROR, "four\ufffd"),
        (ERROR, "three"),
        (WARNING, "two"),
        (INFORMATION, "one"),
    ]
    assert lines(queue, row, level=ERROR) == [(ERROR, "four\ufffd"), (ERROR, "three")]
    assert lines(queue, row, job_id=claim.id + 1) == lines(queue, other) == []
    assert queue.content_logs("acme", row.id, offset=1, limit=1)[1] == 5
    assert [line.message for line in queue.content_logs("acme", row.id, offset=1, limit=1)[0]] == ["four\ufffd"]


def test_a_checkpoint_renews_the_lease(queue, create, clock):
    create()
    claim = next_task(queue, lease=30.0)
    clock.tick(20)
    job = queue.checkpoint(claim, {"n": 1})
    assert job.lease_expires_at == clock() + timedelta(seconds=30)
    clock.tick(20)
    assert queue.checkpoint(claim, {"n": 1}).lease_expires_at == clock() + timedelta(seconds=30)


def test_a_claim_that_is_over_notes_nothing(on_every_storage, queue, create, refused, clock):
    create()
    stale = next_task(queue, lease=10.0)
    queue.checkpoint(stale, {"n": 1}, [Line(INFORMATION, "mine")])
    clock.tick(11)
    queue.reap(force=True)
    with refused(LeaseLost):
        queue.checkpoint(stale, {"n": 2}, [Line(ERROR, "late")], changes={"result": {}})
    fresh = next_task(queue)
    assert fresh.id == stale.id
    with refused(LeaseLost):
        queue.checkpoint(stale, {"n": 3}, [Line(ERROR, "later")])
    queue.checkpoint(fresh, {"n": 4}, [Line(INFORMATION, "mine too")])
    queue.succeed(fresh)
    with refused(LeaseLost):
        queue.checkpoint(fresh, {"n": 5}, [Line(ERROR, "last")])


def test_of_too_many_lines_the_oldest_go_and_all_are_counted(on_every_storage, queue, create, now):
    row, other = create(), create(type=ContentType.EXPORT_ENTRIES)
    claim, second = next_task(queue), next_task(queue)
    queue.checkpoint(second, None, [Line(INFORMATION, "of another")])
    for start in range(0, 12, 3):
        queue.checkpoint(claim, None, [Line(INFORMATION, str(n)) for n in range(start, start + 3)], beyond=5)
    assert [message for _, message in lines(queue, row)] == ["11", "10", "9", "8", "7"]
    assert now(row).logs == 12
    queue.checkpoint(claim, None, [Line(INFORMATION, str(n)) for n in range(12, 30)], beyond=5)
    assert [message for _, message in lines(queue, row)] == ["29", "28", "27", "26", "25"]
    assert lines(queue, other) == [(INFORMATION, "of another")]


def test_long_lines_are_cut(queue, create):
    row = create()
    queue.checkpoint(next_task(queue), None, [Line(INFORMATION, "x" * 20_000)])
    ((_, message),) = lines(queue, row)
    assert len(message) <= 10_000


def test_what_a_checkpoint_cannot_note_is_refused(queue, create, refused):
    create()
    claim = next_task(queue)
    with refused(InvalidInput, "the level of a line must be one of INFORMATION, WARNING, ERROR, not 'DEBUG'"):
        queue.checkpoint(claim, None, [Line("DEBUG", "no")])
    with refused(InvalidInput, "changes: status is none of result, file_key"):
        queue.checkpoint(claim, None, changes={"status": "COMPLETED"})
    with refused(InvalidInput):
        queue.checkpoint(claim, object())
    with refused(InvalidInput):
        queue.checkpoint(claim, None, changes={"result": object()})


def test_a_job_that_only_says_so_is_no_task(on_every_storage, queue, create, now):
    row = create(type=ContentType.EXPORT_ENTRIES)
    claim = next_task(queue)
    # no command makes such a job
    ((forged, _),) = queue.storage.insert_jobs(
        [{"type": claim.type, "tenant": "acme", "pipeline_id": row.pipeline_id, "status": JobStatus.QUEUED}]
    )
    assert queue.content_task(claim).id == row.id
    assert [job.id for job in queue.content_tasks("acme", [row.id])[row.id]] == row.task_ids
    queue.succeed(claim)
    claimed = next_task(queue)
    assert claimed.id == forged.id
    with pytest.raises(Failed, match=f"the job {forged.id} is no task of a content job"):
        queue.content_task(claimed)
    with pytest.raises(Failed):
        queue.checkpoint(claimed, {"n": 1}, [Line(ERROR, "forged")])
    assert lines(queue, row) == []
    alone = queue.create_jobs([{"type": claim.type}], tenant="acme")[0]
    with pytest.raises(Failed):
        queue.content_task(alone)
    with pytest.raises(Failed):  # of its id and pipeline, but of another tenant or type
        queue.content_task(claim.evolve(tenant="other"))
    with pytest.raises(Failed):
        queue.content_task(claim.evolve(type=TaskType.CLONE_SITE.job_type))


def test_what_changes_is_told_to_those_who_follow(queue, create):
    told: list[Any] = []
    with queue.feed.follow(told.extend):
        row = create()
        claim = next_task(queue)
        queue.checkpoint(claim, {"n": 1})
        queue.succeed(claim)
        queue.delete_content_job("acme", row.id, BY)
    content = [(change.tenant, change.value) for change in told if change.topic == "content"]
    assert content == [("acme", row.id)] * 3


def test_that_one_is_deleted_is_told_once(queue, create):
    row = create()
    told: list[Any] = []
    with queue.feed.follow(told.extend):
        queue.delete_content_job("acme", row.id, BY)
    assert [change.value for change in told if change.topic == "content"] == [row.id]


# Lists ------------------------------------------------------------------------------------------------------------------


def test_the_newest_come_first_and_pages_say_how_many_there_are(on_every_storage, queue, create):
    rows = [create(name=f"job {n}", type=ContentType.EXPORT_ENTRIES) for n in range(5)]
    page, total = queue.content_jobs("acme", offset=1, limit=2)
    assert ([row.id for row in page], total) == ([rows[3].id, rows[2].id], 5)
    assert queue.content_jobs("acme", offset=5, limit=2) == ([], 5)
    with pytest.raises(InvalidInput):
        queue.content_jobs("acme", offset=-1, limit=2)


def test_lists_are_narrowed(on_every_storage, queue, create):
    a = create(name="Import 100% of É_files", schedule_id=7)
    b = create(name="export", type=ContentType.EXPORT_ENTRIES)
    c = create(name="gone")
    queue.delete_content_job("acme", c.id, BY)

    def found(**which: Any) -> list[int]:
        page, total = queue.content_jobs("acme", offset=0, limit=10, **which)
        assert total == len(page)
        return [row.id for row in page]

    assert found() == [b.id, a.id]
    assert found(status=ContentStatus.DELETED) == [c.id]
    assert found(status=ContentStatus.PENDING, type=ContentType.EXPORT_ENTRIES) == [b.id]
    assert found(type=ContentType.IMPORT_ENTRIES) == [a.id]
    assert found(search="PORT") == [b.id, a.id]
    assert found(search="0% OF") == found(search="É_F") == [a.id]
    assert found(search="%") == [a.id]
    assert found(search="_") == [a.id]
    assert found(search="") == [b.id, a.id]
    assert found(schedule_id=7) == [a.id]
    with pytest.raises(InvalidInput):
        found(search="x" * 201)


def test_tasks_of_a_page_come_by_their_content_jobs(on_every_storage, queue, create):
    rows = [create(), create(type=ContentType.EXPORT_ENTRIES), create("other")]
    tasks = queue.content_tasks("acme", [row.id for row in rows])
    assert {id: [job.id for job in jobs] for id, jobs in tasks.items()} == {row.id: row.task_ids for row in rows[:2]}
    assert queue.content_tasks("acme", []) == {}


@pytest.mark.backend("sqlite")
@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_what_only_says_it_is_a_task_is_not_read(storage, queue, create):
    row = create()
    storage.insert_jobs([{"type": IMPORT[0].job_type, "tenant": "acme", "pipeline_id": row.pipeline_id}])
    read: list[int] = []
    load = SqlRows.find

    def noted(rows: SqlRows, *args: Any, **kwargs: Any) -> Any:
        found: Any = load(rows, *args, **kwargs)
        read.extend(each.id for each in found if isinstance(each, Job))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlRows, "find", noted)
        assert [job.id for job in queue.content_tasks("acme", [row.id])[row.id]] == row.task_ids
    assert read == row.task_ids


def test_tenants_do_not_see_each_other(on_every_storage, queue, create, refused):
    own, other = create("acme"), create("other")
    claim = next_task(queue, tenants=["other"])
    queue.checkpoint(claim, None, [Line(INFORMATION, "secret")])
    assert queue.content_job("acme", other.id) is None
    assert [row.id for row in queue.content_jobs("acme", offset=0, limit=10)[0]] == [own.id]
    assert queue.content_logs("acme", other.id, offset=0, limit=10) == ([], 0)
    assert queue.content_tasks("acme", [other.id]) == {}
    assert queue.content_over("acme", other.id)
    assert not queue.content_over("other", other.id)
    with refused(NotFound, "the job does not exist"):
        queue.delete_content_job("acme", other.id, BY)


# How it goes ------------------------------------------------------------------------------------------------------------


def test_one_that_waits_is_deleted_and_its_task_cancelled(on_every_storage, queue, create, now, clock):
    row = create()
    gone = queue.delete_content_job("acme", row.id, {"id": "u2"})
    assert (gone.status, gone.changed_by, gone.finished_at) == (ContentStatus.DELETED, {"id": "u2"}, clock())
    assert now(row) == gone
    assert statuses(queue, row) == [JobStatus.CANCELLED, *[JobStatus.PLANNED] * 3]
    assert queue.get(Pipeline, row.pipeline_id).status is PipelineStatus.FAILED
    assert queue.acquire(_EVERY) is None
    assert queue.delete_content_job("acme", row.id, BY) == gone


def test_one_that_runs_is_deleted_and_its_task_told_to_stop(on_every_storage, queue, create, now):
    row = create()
    queue.succeed(next_task(queue))
    claim = next_task(queue)
    gone = queue.delete_content_job("acme", row.id, BY)
    assert gone.status is ContentStatus.DELETED
    assert queue.content_over("acme", row.id)
    with pytest.raises(CancelRequested):
        queue.content_task(claim)
    job = queue.checkpoint(claim, {"n": 1}, [Line(INFORMATION, "stopping")])
    assert job.status is JobStatus.CANCEL_REQUESTED
    queue.cancelled(claim, "deleted")
    assert now(row).status is ContentStatus.DELETED
    assert statuses(queue, row)[:3] == [JobStatus.SUCCESSFUL, JobStatus.CANCELLED, JobStatus.PLANNED]
    assert [message for _, message in lines(queue, row)] == ["stopping"]


def test_a_task_that_ends_all_the_same_leaves_it_deleted(queue, create, now):
    row = create(type=ContentType.EXPORT_ENTRIES)
    claim = next_task(queue)
    queue.delete_content_job("acme", row.id, BY)
    queue.succeed(claim)
    assert now(row).status is ContentStatus.DELETED


def test_one_that_is_over_is_deleted_and_was_over_then(queue, create, now, clock):
    row = create(type=ContentType.EXPORT_ENTRIES)
    queue.succeed(next_task(queue))
    over = clock()
    clock.tick(10)
    assert queue.delete_content_job("acme", row.id, BY).finished_at == over
    assert statuses(queue, row) == [JobStatus.SUCCESSFUL]


def test_a_deleted_one_never_comes_back(queue, create, now):
    row = create(type=ContentType.EXPORT_ENTRIES)
    queue.fail(next_task(queue), "no")
    queue.delete_content_job("acme", row.id, BY)
    queue_again(queue, row.task_ids[0])
    claim = next_task(queue)
    with pytest.raises(CancelRequested, match=f"the job {row.id} was deleted"):
        queue.content_task(claim)
    queue.checkpoint(claim, {"n": 1})
    assert now(row).status is ContentStatus.DELETED


def test_one_that_does_not_exist_is_not_found(queue, refused):
    with refused(NotFound, "the job does not exist"):
        queue.delete_content_job("acme", 999, BY)
    assert queue.content_job("acme", 999) is None
    assert queue.content_over("acme", 999)


def test_deleting_and_ending_at_the_same_moment_agree(on_every_storage, queue, create, now):
    for _ in range(4):
        row = create(type=ContentType.EXPORT_ENTRIES)
        claim = next_task(queue)
        barrier = threading.Barrier(2)
        raised: list[Exception] = []

        def end(claim: Job = claim, barrier: threading.Barrier = barrier, raised: list[Exception] = raised) -> None:
            barrier.wait()
            try:
                queue.checkpoint(claim, {"n": 1}, [Line(INFORMATION, "x")])
                queue.succeed(claim)
            except Exception as error:
                raised.append(error)

        thread = threading.Thread(target=end)
        thread.start()
        barrier.wait()
        queue.delete_content_job("acme", row.id, BY)
        thread.join()
        assert raised == []
        assert now(row).status is ContentStatus.DELETED
        assert statuses(queue, row) == [JobStatus.SUCCESSFUL]


def test_what_is_over_goes_with_the_retention_and_its_log_with_it(on_every_storage, queue, clock):
    storage = queue.storage
    over, running = storage.insert(
        ContentJob,
        [
            {"name": "over", "type": ContentType.EXPORT_ENTRIES, "finished_at": clock()},
            {"name": "running", "type": ContentType.EXPORT_ENTRIES, "params": {"filter": None}},
        ],
    )
    assert (running.status, running.logs, running.params) == (ContentStatus.PENDING, 0, {"filter": None})
    for row in (over, running):
        storage.insert(ContentLog, [{"content_job_id": row.id, "job_id": 1, "level": "ERROR", "message": "no"}])
    clock.tick(timedelta(days=2).total_seconds())
    assert queue.prune(retention=None) == 0
    assert queue.prune(retention=3 * DAY) == 0
    assert queue.prune(retention=DAY) == 1
    assert [row.name for row in storage.find(ContentJob, Select(deleted=True))] == ["running"]
    assert [row.content_job_id for row in storage.find(ContentLog, Select(deleted=True))] == [running.id]


def test_a_long_log_goes_little_by_little(on_every_storage, queue, clock):
    storage = queue.storage
    rows = storage.insert(
        ContentJob,
        [
            {
                "name": str(n),
                "type": ContentType.EXPORT_ENTRIES,
                "finished_at": clock() + timedelta(seconds=n),
                "logs": n,
            }
            for n in (7, 0, 2, 3)
        ],
    )
    for row in rows:
        line = {"content_job_id": row.id, "job_id": 1, "level": "ERROR", "message": "no"}
        storage.insert(ContentLog, [line] * row.logs)
    clock.tick(2 * DAY)

    def left() -> tuple[str, int]:
        there = sorted(row.name for row in storage.find(ContentJob, Select(deleted=True)))
        return "".join(there), len(storage.find(ContentLog, Select(deleted=True)))

    gone = []
    while removed := queue.prune(retention=DAY, limit=5):
        gone.append((removed, *left()))
    # the oldest first: 0 and 2 whole; of 3 one line, then the rest; of 7 five, then two and itself
    assert gone == [(5, "37", 9), (5, "7", 6), (5, "7", 1), (2, "", 0)]
