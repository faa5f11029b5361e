"""Schedules of gnj's own types: what their ticks make is the matter of a maker, and of nobody who has none."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gnj.queue import compose, schedules, scheduling
from gnj.queue.errors import IllegalTransition, InvalidInput
from gnj.queue.model import Job, Pipeline, Schedule, Tick
from gnj.queue.service import Queue
from gnj.queue.states import JOB_ENDED
from gnj.queue.storage import Rows, Select, Storage
from gnj.queue.unit import Unit
from gnj.queue.where import equal
from gnj.testing import FakeClock

TYPE = "gnj:whole"
everywhere = pytest.mark.usefixtures("on_every_storage")


class Whole:
    """Makes a pipeline of two jobs, and keeps no more than what it was told."""

    def __init__(self) -> None:
        self.skips: list[datetime] = []
        self.broken = False

    def make(self, unit: Unit, row: Schedule) -> Job:
        """The first of the two."""
        steps = [{"type": "first"}, {"type": "second"}]
        pipeline = compose.whole_pipeline(unit, row.tenant, row.job["name"], steps, start=True)
        if self.broken:
            raise InvalidInput("broken")
        return unit.tx.find(Job, Select(equal(Job, pipeline_id=pipeline.id), limit=1))[0]

    def busy(self, tx: Rows, row: Schedule) -> bool:
        """While the second one has not ended."""
        last = None if row.last_job_id is None else tx.get(Job, row.last_job_id)
        if last is None:
            return False
        found = tx.find(Job, Select(equal(Job, pipeline_id=last.pipeline_id)))
        return any(job.status not in JOB_ENDED for job in found)

    def skipped(self, unit: Unit, row: Schedule, at: datetime) -> None:
        """Remembers it."""
        self.skips.append(at)


@pytest.fixture(autouse=True)
def at_midnight(clock: FakeClock) -> None:
    clock.set(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def maker() -> Whole:
    return Whole()


@pytest.fixture
def able(storage: Storage, maker: Whole) -> Queue:
    """A queue with the maker."""
    return Queue(storage, lease=60.0, seed=0, makers={TYPE: maker})


@pytest.fixture
def whole(able: Queue) -> Callable[..., Schedule]:
    """Has a schedule made of the type that has a maker, with a tick each hour."""

    def whole(**values: Any) -> Schedule:
        given = {"name": "hourly", "cron": "0 * * * *", "job": {"type": TYPE, "name": "two"}, **values}
        return able.create_schedule(given, tenant="acme", internal=True)

    return whole


def row_of(queue: Queue, row: Schedule) -> Schedule:
    found = queue.get(Schedule, row.id)
    assert found is not None
    return found


def work_all(queue: Queue) -> None:
    while claim := queue.acquire(["first", "second"]):
        queue.succeed(claim)


@everywhere
def test_a_tick_makes_what_the_maker_makes(able, whole, clock):
    row = whole()
    clock.tick(3_600)
    assert able.tick(force=True) == 1
    assert able.tick(force=True) == 0
    first, second = able.list(Job)
    assert (first.type, first.tenant, second.type) == ("first", "acme", "second")
    after = row_of(able, row)
    assert (after.runs, after.last_job_id, after.failures, after.error) == (1, first.id, 0, None)
    assert [(tick.tick_at, tick.job_id) for tick in able.storage.find(Tick)] == [(clock(), first.id)]
    assert able.tick_of(first.id) == clock()


@everywhere
def test_a_tick_is_skipped_while_the_maker_is_busy_whatever_the_schedule_says(able, whole, maker, clock):
    row = whole(may_overlap=True)
    clock.tick(3_600)
    assert able.tick(force=True) == 1
    able.succeed(able.acquire(["first"]))  # the job that the schedule knows of has ended: that is not all
    clock.tick(3_600)
    skipped = clock()
    assert able.tick(force=True) == 0
    assert able.tick(force=True) == 0
    assert maker.skips == [skipped]
    assert [tick.job_id is None for tick in able.storage.find(Tick)] == [False, True]
    assert row_of(able, row).runs == 1
    work_all(able)
    clock.tick(3_600)
    assert able.tick(force=True) == 1
    assert maker.skips == [skipped]


@everywhere
def test_ticks_that_were_missed_make_one(able, whole, maker, clock):
    whole()
    clock.tick(10 * 3_600)
    assert able.tick(force=True) == 1
    assert able.tick(force=True) == 0
    assert able.count(Pipeline) == 1
    assert maker.skips == []


@everywhere
def test_who_has_no_maker_leaves_it_alone(queue, whole, clock, refused):
    row = whole()
    clock.tick(3_600)
    assert queue.tick(force=True) == 0
    assert queue.run(lambda unit: schedules.tick(unit, row.id)) == 0
    assert row_of(queue, row) == row
    assert queue.count(Job) == queue.storage.count(Tick) == 0
    with refused(IllegalTransition, "nothing here makes what hourly is for: gnj:whole"):
        queue.run_schedule(row.id)


@everywhere
def test_and_is_not_kept_from_what_it_can_make(queue, whole, clock, monkeypatch):
    monkeypatch.setattr(scheduling, "_PAGE", 2)
    for number in range(3):
        whole(name=f"of others {number}")
    queue.create_schedule({"name": "own", "cron": "30 1 * * *", "job": {"type": "mail"}})
    clock.tick(7_200)
    assert queue.tick(force=True) == 1
    assert [job.type for job in queue.list(Job)] == ["mail"]


@everywhere
def test_what_the_maker_refuses_is_undone_and_tried_again(able, whole, maker, clock):
    row = whole()
    maker.broken = True
    clock.tick(3_600)
    assert able.tick(force=True) == 0
    failed = row_of(able, row)
    assert (failed.failures, failed.error, failed.runs) == (1, "broken", 0)
    assert able.count(Job) == able.count(Pipeline) == able.storage.count(Tick) == 0
    maker.broken = False
    clock.tick(60)
    assert able.tick(force=True) == 1
    assert row_of(able, row).error is None


@everywhere
def test_it_is_run_now_unless_the_maker_is_busy(able, whole, clock, refused):
    row = whole(paused=True)
    job = able.run_schedule(row.id, tenant="acme")
    assert job.type == "first"
    after = row_of(able, row)
    assert (after.last_job_id, after.runs, after.paused, after.next_at) == (job.id, 0, True, None)
    with refused(IllegalTransition, f"the job {job.id} of hourly has not ended, and they must not overlap"):
        able.run_schedule(row.id)
    work_all(able)
    assert able.run_schedule(row.id).id != job.id


@everywhere
def test_one_is_made_for_a_tick_however_many_look(storage, able, whole, maker, clock):
    whole()
    for number in range(3):
        whole(name=f"another {number}")
    others = [Queue(storage, lease=60.0, seed=seed, makers={TYPE: maker}) for seed in range(4)]
    barrier = threading.Barrier(4, lambda: clock.tick(3_600))
    raised: list[Exception] = []

    def look(own: Queue) -> None:
        barrier.wait()
        try:
            for _ in range(5):
                own.tick(force=True)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=look, args=[own]) for own in random.sample(others, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert able.count(Pipeline) == 4
    assert able.storage.count(Tick) == 4
    assert able.count(Job) == 8


def test_only_gnj_itself_makes_schedules_of_its_types(queue, refused):
    values = {"name": "mine", "cron": "0 * * * *", "job": {"type": TYPE}}
    with refused(InvalidInput, f"the job type is reserved: '{TYPE}'"):
        queue.create_schedule(values)


def test_nor_is_one_turned_into_such(able, whole, refused, clock):
    plain = able.create_schedule({"name": "plain", "cron": "0 * * * *", "job": {"type": "mail"}})
    with refused(InvalidInput):
        able.update_schedule(plain.id, {"job": {"type": TYPE}})
    own = whole()
    able.update_schedule(own.id, {"cron": "30 * * * *"})
    assert row_of(able, own).job == own.job


def test_no_job_has_such_a_type_by_way_of_a_tick(able, whole, clock):
    whole()
    clock.tick(3_600)
    able.tick(force=True)
    assert {job.type for job in able.list(Job)} == {"first", "second"}
