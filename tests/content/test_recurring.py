"""Recurring syncs: what they are shown as, and what can be done to them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gnj.content.recurring import RecurringJobs, RecurringStatus
from gnj.queue.errors import IllegalTransition, InvalidInput, NotFound
from gnj.queue.kinds import SYNC
from gnj.queue.model import ContentJob, Schedule
from gnj.queue.model_content import TASKS, ContentStatus, ContentType
from gnj.queue.service import Queue
from gnj.queue.storage import Select
from gnj.queue.syncs import SyncMaker
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock

ANN, BOB = {"id": "u1", "name": "Ann", "email": None}, {"id": "u2", "name": "Bob", "email": None}
TYPES = [task.job_type for task in TASKS[ContentType.SYNC_ENVIRONMENTS]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def queue(clock: FakeClock) -> Queue:
    return Queue(MemoryStorage(clock), lease=60.0, seed=0, makers={SYNC: SyncMaker()})


@pytest.fixture
def recurring(queue: Queue) -> RecurringJobs:
    return RecurringJobs(queue)


@pytest.fixture
def sync(recurring: RecurringJobs) -> Callable[..., Schedule]:
    def sync(tenant: str = "acme", **values: Any) -> Schedule:
        given = {"name": "Each hour", "cron": "0 * * * *", "time_zone": "UTC", "by": ANN, "base": "e1", "target": "e2"}
        return recurring.create(tenant, **{**given, **values})

    return sync


def status_of(recurring: RecurringJobs, schedule: Schedule) -> RecurringStatus:
    found = recurring.find(schedule.tenant, schedule.id)
    assert found is not None
    return found.status


def work(queue: Queue, *, fail: bool = False) -> None:
    """Works the tasks of the run under way."""
    while claim := queue.acquire(TYPES):
        queue.fail(claim, "no") if fail else queue.succeed(claim)


def test_it_is_shown_as_what_was_asked_for(recurring, sync):
    schedule = sync(name="Each night", cron="0 3 * * *", time_zone="Europe/Paris")
    shown = recurring.find("acme", schedule.id)
    assert shown == recurring.of(schedule)
    assert (shown.schedule, shown.status, shown.name) == (schedule, RecurringStatus.SCHEDULED, "Each night")
    assert (shown.base, shown.target, shown.by, shown.has_runs) == ("e1", "e2", ANN, False)
    assert (schedule.cron, schedule.time_zone, schedule.tenant) == ("0 3 * * *", "Europe/Paris", "acme")


def test_its_status_is_that_of_its_newest_run(recurring, sync, queue, clock):
    schedule = sync()
    clock.tick(3_600)
    assert queue.tick(force=True) == 1
    assert status_of(recurring, schedule) is RecurringStatus.ACTIVE
    work(queue, fail=True)
    assert status_of(recurring, schedule) is RecurringStatus.FAILED
    clock.tick(3_600)
    assert queue.tick(force=True) == 1
    assert status_of(recurring, schedule) is RecurringStatus.ACTIVE
    work(queue)
    assert status_of(recurring, schedule) is RecurringStatus.SCHEDULED
    assert recurring.find("acme", schedule.id).has_runs
    recurring.pause("acme", schedule.id, paused=True)
    assert status_of(recurring, schedule) is RecurringStatus.PAUSED
    recurring.delete("acme", schedule.id)
    assert status_of(recurring, schedule) is RecurringStatus.DELETED


def test_a_run_that_was_deleted_is_neither_active_nor_failed(recurring, sync, queue):
    schedule = sync()
    run = recurring.run("acme", schedule.id, BOB)
    queue.delete_content_job("acme", run.id, BOB)
    assert status_of(recurring, schedule) is RecurringStatus.SCHEDULED


def test_a_page_has_the_newest_first_and_the_deleted_only_if_asked_for(recurring, sync, queue):
    a, b, c, d = (sync(name=name) for name in "abcd")
    sync("other")
    queue.create_schedule({"name": "plain", "cron": "0 * * * *", "job": {"type": "mail"}}, tenant="acme")
    recurring.delete("acme", d.id)
    recurring.pause("acme", a.id, paused=True)
    recurring.run("acme", b.id, ANN)

    def page(**asked: Any) -> tuple[list[str], int]:
        found, total = recurring.page("acme", **{"offset": 0, "limit": 10, **asked})
        return [each.name for each in found], total

    assert page() == (["c", "b", "a"], 3)
    assert page(offset=1, limit=1) == (["b"], 3)
    assert page(offset=3) == ([], 3)
    assert page(status=RecurringStatus.SCHEDULED) == (["c"], 1)
    assert page(status=RecurringStatus.ACTIVE) == (["b"], 1)
    assert page(status=RecurringStatus.PAUSED) == (["a"], 1)
    assert page(status=RecurringStatus.FAILED) == ([], 0)
    assert page(status=RecurringStatus.DELETED) == (["d"], 1)
    recurring.delete("acme", c.id)
    assert page(status=RecurringStatus.DELETED) == (["d", "c"], 2)
    assert page(status=RecurringStatus.DELETED, offset=1, limit=1) == (["c"], 2)
    assert c.id > b.id
    with pytest.raises(InvalidInput):
        page(offset=-1)


def test_ticks_that_are_skipped_do_not_make_a_log_longer_than_it_may_be(clock):
    queue = Queue(MemoryStorage(clock), lease=60.0, seed=0, makers={SYNC: SyncMaker(kept=2)})
    RecurringJobs(queue).create(
        "acme", name="Each hour", cron="0 * * * *", time_zone="UTC", by=ANN, base="e1", target="e2"
    )
    for made in (1, 0, 0, 0):
        clock.tick(3_600)
        assert queue.tick(force=True) == made
    (run,), _ = queue.content_jobs("acme", offset=0, limit=10)
    lines, _ = queue.content_logs("acme", run.id, offset=0, limit=10)
    assert [line.message[:30] for line in lines] == [f"the run of 2026-01-01T0{hour}:00:00" for hour in (4, 3)]


def test_a_run_now_makes_one_and_does_not_move_the_schedule(recurring, sync, queue, clock):
    schedule = sync()
    clock.tick(600)
    run = recurring.run("acme", schedule.id, BOB)
    assert (run.type, run.name, run.schedule_id) == (ContentType.SYNC_ENVIRONMENTS, "Each hour", schedule.id)
    assert (run.params, run.created_by, run.status) == ({"base": "e1", "target": "e2"}, BOB, ContentStatus.PENDING)
    assert [job.type for job in queue.content_tasks("acme", [run.id])[run.id]] == TYPES
    after = queue.get(Schedule, schedule.id)
    assert (after.next_at, after.runs, after.last_at) == (schedule.next_at, 0, None)
    with pytest.raises(IllegalTransition, match=rf"^the job {run.id}, its last run, has not ended$"):
        recurring.run("acme", schedule.id, BOB)
    work(queue)
    assert recurring.run("acme", schedule.id, ANN).created_by == ANN
    page, total = queue.content_jobs("acme", offset=0, limit=10, schedule_id=schedule.id)
    assert (len(page), total) == (2, 2)


def test_a_paused_one_is_run_and_stays_paused(recurring, sync, queue, clock):
    schedule = sync()
    assert recurring.pause("acme", schedule.id, paused=True).status is RecurringStatus.PAUSED
    assert recurring.pause("acme", schedule.id, paused=True).status is RecurringStatus.PAUSED
    clock.tick(7_200)
    assert queue.tick(force=True) == 0
    recurring.run("acme", schedule.id, BOB)
    assert status_of(recurring, schedule) is RecurringStatus.PAUSED
    with pytest.raises(IllegalTransition):
        recurring.run("acme", schedule.id, BOB)
    work(queue)
    assert recurring.pause("acme", schedule.id, paused=False).status is RecurringStatus.SCHEDULED
    assert queue.tick(force=True) == 0  # what it has missed while it was paused is not made up for
    clock.tick(3_600)
    assert queue.tick(force=True) == 1


def test_the_runs_of_one_that_is_deleted_stay(recurring, sync, queue, clock):
    schedule = sync()
    run = recurring.run("acme", schedule.id, BOB)
    assert recurring.delete("acme", schedule.id).status is RecurringStatus.DELETED
    assert queue.content_job("acme", run.id) == run
    clock.tick(7_200)
    assert queue.tick(force=True) == 0
    with pytest.raises(NotFound, match="the recurring job does not exist"):
        recurring.run("acme", schedule.id, BOB)
    with pytest.raises(NotFound, match="the recurring job does not exist"):
        recurring.pause("acme", schedule.id, paused=True)
    with pytest.raises(NotFound, match="the recurring job does not exist"):
        recurring.delete("acme", schedule.id)


def test_nothing_is_done_to_other_schedules_or_those_of_others(recurring, sync, queue):
    plain = queue.create_schedule({"name": "plain", "cron": "0 * * * *", "job": {"type": "mail"}}, tenant="acme")
    other = sync("other")
    before = queue.storage.find(Schedule, Select(deleted=True))
    for number in (plain.id, other.id, 999):
        assert recurring.find("acme", number) is None
        with pytest.raises(NotFound):
            recurring.run("acme", number, BOB)
        with pytest.raises(NotFound):
            recurring.pause("acme", number, paused=True)
        with pytest.raises(NotFound):
            recurring.delete("acme", number)
    assert queue.storage.find(Schedule, Select(deleted=True)) == before
    assert queue.storage.find(ContentJob) == []


def test_those_about_an_environment_are_found(recurring, sync):
    a, b = sync(name="a", base="e1", target="e2"), sync(name="b", base="e3", target="e1")
    c = sync(name="c", base="e1", target="e2")
    sync("other", base="e1", target="e2")
    recurring.delete("acme", c.id)
    recurring.pause("acme", a.id, paused=True)
    assert [each.name for each in recurring.about("acme", "e1")] == ["b", "a"]
    assert [each.name for each in recurring.about("acme", "e2")] == ["a"]
    assert recurring.about("acme", "e9") == []
    assert b.id > a.id


def test_one_that_nobody_can_read_any_more_is_none(recurring, sync, queue):
    schedule = sync()
    queue.storage.edit(Schedule, [schedule.id], {"job": None})
    assert recurring.find("acme", schedule.id) is None
    assert recurring.page("acme", offset=0, limit=10) == ([], 0)
