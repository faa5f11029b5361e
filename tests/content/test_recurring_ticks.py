"""The ticks of recurring syncs on each database, of an application as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from gnj import GNJ
from gnj.content.recurring import RecurringJobs, RecurringStatus
from gnj.queue.model import ContentJob, Schedule, Tick
from gnj.queue.model_content import TASKS, ContentStatus, ContentType
from gnj.queue.service import Queue
from gnj.queue.storage import Select
from gnj.queue.works import task_ids
from gnj.testing import FakeClock

BY = {"id": "u1", "name": "Ann", "email": None}
TYPES = [task.job_type for task in TASKS[ContentType.SYNC_ENVIRONMENTS]]


@pytest.fixture
def clock(jobs: GNJ) -> FakeClock:
    """That of the application's database."""
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    jobs.storage.clock = clock  # type: ignore[attr-defined]
    return clock


@pytest.fixture
def queue(jobs: GNJ, clock: FakeClock) -> Queue:
    return jobs.queue


@pytest.fixture
def sync(queue: Queue, org: str) -> Callable[..., Schedule]:
    """Has a recurring sync made, with a run each hour."""

    def sync(name: str = "Each hour") -> Schedule:
        return RecurringJobs(queue).create(
            org, name=name, cron="0 * * * *", time_zone="UTC", by=BY, base="e1", target="e2"
        )

    return sync


def runs(queue: Queue) -> list[ContentJob]:
    return queue.storage.find(ContentJob, Select(deleted=True))


def test_a_tick_makes_one_job_whole(queue, sync, clock, org):
    schedule = sync()
    clock.tick(3_600)
    assert queue.tick(force=True) == 1
    assert queue.tick(force=True) == 0
    (run,) = runs(queue)
    assert (run.tenant, run.type, run.name, run.status) == (
        org,
        ContentType.SYNC_ENVIRONMENTS,
        "Each hour",
        ContentStatus.PENDING,
    )
    assert (run.params, run.created_by, run.schedule_id) == ({"base": "e1", "target": "e2"}, BY, schedule.id)
    assert [job.type for job in queue.content_tasks(org, [run.id])[run.id]] == TYPES
    (tick,) = queue.storage.find(Tick)
    assert (tick.tick_at, tick.job_id) == (clock(), task_ids(run)[0])
    for _ in TYPES:
        claim = queue.acquire(TYPES)
        assert claim is not None
        queue.checkpoint(claim, None)
        queue.succeed(claim)
    assert runs(queue)[0].status is ContentStatus.COMPLETED
    clock.tick(3_600)
    assert queue.tick(force=True) == 1
    assert [run.params for run in runs(queue)] == [{"base": "e1", "target": "e2"}] * 2


@pytest.mark.parametrize("begun", [False, True])
def test_a_tick_that_is_skipped_is_told_once_in_the_log_of_what_runs(queue, sync, clock, org, begun):
    sync()
    clock.tick(3_600)
    queue.tick(force=True)
    (run,) = runs(queue)
    if begun:
        claim = queue.acquire(TYPES)
        assert claim is not None
        queue.checkpoint(claim, {"n": 1})
        queue.succeed(claim)  # the first task has ended: the run has not
    clock.tick(3_600)
    assert queue.tick(force=True) == 0
    assert queue.tick(force=True) == 0
    (line,), total = queue.content_logs(org, run.id, offset=0, limit=10)
    assert (line.level, line.message, line.job_id) == (
        "WARNING",
        "the run of 2026-01-01T02:00:00Z was skipped: this one had not ended",
        task_ids(run)[0],
    )
    assert total == 1
    (after,) = runs(queue)
    assert (after.logs, after.warnings, after.errors) == (1, 1, 0)
    assert [tick.job_id is None for tick in queue.storage.find(Tick)] == [False, True]


def test_ticks_that_were_missed_make_one_job(queue, sync, clock):
    sync()
    clock.tick(48 * 3_600)
    assert queue.tick(force=True) == 1
    assert queue.tick(force=True) == 0
    assert len(runs(queue)) == 1


def test_a_tick_makes_one_job_however_many_look(jobs, queue, sync, clock, org):
    schedules = [sync(f"sync {number}") for number in range(3)]
    others = [Queue(jobs.storage, makers=queue.makers) for _ in range(4)]
    barrier = threading.Barrier(4, lambda: clock.tick(3_600))
    raised: list[Exception] = []

    def look(own: Queue) -> None:
        barrier.wait()
        try:
            for _ in range(4):
                own.tick(force=True)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=look, args=[own]) for own in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert sorted(run.schedule_id or 0 for run in runs(queue)) == [row.id for row in schedules]
    assert all(len(task_ids(run)) == 2 for run in runs(queue))
    assert queue.content_jobs(org, offset=0, limit=10)[1] == 3


def test_deleted_ones_are_told_page_by_page(queue, sync, org):
    recurring = RecurringJobs(queue)
    queue.create_schedule({"name": "plain", "cron": "0 * * * *", "job": {"type": "mail"}}, tenant=org)
    rows = [sync(f"sync {number}") for number in range(3)]
    for row in rows[:2]:
        recurring.delete(org, row.id)
    for offset, names in ((0, ["sync 1"]), (1, ["sync 0"]), (2, [])):
        found, total = recurring.page(org, offset=offset, limit=1, status=RecurringStatus.DELETED)
        assert ([each.name for each in found], total) == (names, 2)


def test_a_process_without_content_jobs_leaves_them_to_others(jobs, queue, sync, clock, org):
    schedule = sync()
    clock.tick(3_600)
    plain = Queue(jobs.storage)
    assert plain.tick(force=True) == 0
    assert queue.get(Schedule, schedule.id) == schedule
    assert queue.tick(force=True) == 1
    shown = RecurringJobs(queue).find(org, schedule.id)
    assert shown is not None
    assert shown.status is RecurringStatus.ACTIVE
