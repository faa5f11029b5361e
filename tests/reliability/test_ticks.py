"""P13: each tick has one job, though those who look are many, are frozen, and are killed."""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import timedelta

import pytest

from gnj.queue import schedules
from gnj.queue.errors import GnjError
from gnj.queue.model import Job, Schedule, Tick
from gnj.queue.service import Queue
from gnj.storage.sql import SqlStorage

EACH = 250
NAMES = ("a", "b", "c", "d")


def look(url, pipe):
    """Deals with a few ticks at a time, for as long as it lives."""
    schedules.OWED = 2  # type: ignore[misc]
    queue = Queue(SqlStorage(url))
    pipe.send("begun")
    while not pipe.poll(0):
        try:
            queue.tick(force=True)
        except GnjError:  # somebody who was killed held a lock
            time.sleep(0.01)


def owing(queue, **more):
    """Four schedules, each of which owes 250 ticks."""
    begun = queue.storage.now().replace(second=0, microsecond=0) - timedelta(minutes=EACH)
    rows = [
        queue.create_schedule({"name": name, "cron": "* * * * *", "missed": "all", "job": {"type": "work"}} | more)
        for name in NAMES
    ]
    for row in rows:
        queue.storage.edit(Schedule, [row.id], {"since": begun, "next_at": begun + timedelta(minutes=1)})
    return begun


@pytest.mark.slow_on("sqlite")
def test_p13_four_who_are_paused_and_killed_make_one_job_for_each_tick(url, queue, children):
    begun, chance = owing(queue), random.Random(13)
    until = begun + timedelta(minutes=EACH)
    alive = [children(look, url) for _ in range(4)]
    for child in alive:
        child.get()
    end, kills = time.monotonic() + 60, 0
    while queue.storage.count(Tick) < EACH * len(NAMES):
        assert time.monotonic() < end, queue.storage.count(Tick)
        place = chance.randrange(4)
        os.kill(alive[place].process.pid, signal.SIGSTOP)
        time.sleep(chance.random() * 0.05)
        if chance.random() < 0.5:
            os.kill(alive[place].process.pid, signal.SIGCONT)
        else:
            alive[place].kill()
            kills += 1
            alive[place] = children(look, url)
            alive[place].get()
    for child in alive:
        child.pipe.send("stop")
    assert [child.join() for child in alive] == [0] * 4
    made = [(row.schedule_id, row.tick_at, row.job_id) for row in queue.storage.find(Tick) if row.tick_at <= until]
    assert len({(id, at) for id, at, _ in made}) == len(made) == EACH * len(NAMES)
    jobs = {job.id for job in queue.storage.find(Job)}
    assert {job for *_, job in made} <= jobs
    assert len({job for *_, job in made}) == len(made)
    assert len(jobs) == queue.storage.count(Tick)
    assert all(row.runs >= EACH for row in queue.list(Schedule))
    assert kills > 0


@pytest.mark.parametrize("where", ["before", "after"])
def test_p13_a_death_around_the_commit_leaves_all_or_nothing(url, queue, children, where):
    owing(queue, missed="newest")
    child = children(look_and_die, url, where)
    assert child.join() == 9
    ticks = queue.storage.count(Tick)
    assert ticks == queue.count(Job) == (0 if where == "before" else 1)
    queue.tick(force=True)
    assert queue.storage.count(Tick) == queue.count(Job) == len(NAMES)
    assert {row.runs for row in queue.list(Schedule)} == {1}


def look_and_die(url, where, pipe):
    queue = Queue(SqlStorage(url))
    edited = schedules._edited

    def dying(unit, row, changes):
        edited(unit, row, changes)
        os._exit(9)

    def after(self, due):
        self.run(lambda unit: schedules.tick(unit, due.id))
        os._exit(9)

    if where == "before":
        schedules._edited = dying
    else:
        type(queue)._dealt_with = after  # type: ignore[method-assign]
    queue.tick(force=True)
