"""Workers that are killed: nothing half is seen, and the next run is right."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.queue.model_transform import RunStatus, TransformJob, TransformRecord, TransformRejected, TransformRun
from gnj.queue.service import Queue
from gnj.settings_transform import TransformLimits
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from gnj.testing import FakeClock
from gnj.transform import running
from gnj.transform.errors import SourceFailed
from tests.transform.core.conftest import URL, World, item
from tests.transform.core.fakes import FakeParts

ROOT = Path(__file__).resolve().parents[3]
SIGNALS = SimpleNamespace(cancel_requested=False, lease_lost=False)


class Killed(BaseException):
    """The process is no more."""


def killed_after(world: World, transactions: int) -> bool:
    """Works the run that waits, and is killed after so many transactions of it; False: it came to its end, which is not told."""
    claim = world.claim()
    left = itertools.count(transactions, -1)
    queue = world.queue

    class Mortal:
        storage = queue.storage

        @staticmethod
        def run(command: Callable[[Any], Any]) -> Any:
            if not next(left):
                raise Killed
            return queue.run(command)

    mortal = SimpleNamespace(queue=Mortal, parts=world.parts, limits=world.transform.limits)
    try:
        running.handled(mortal)(claim, SIGNALS)  # type: ignore[arg-type]
    except Killed:
        return True
    return False


def test_killed_between_any_two_transactions(world: World, everywhere):
    """The first run, and one that updates: after each transaction of it, until it has none left."""
    job = world.save([item(n, "old") for n in range(1, 5)])
    world.work()
    seen = [(n, "old") for n in range(1, 5)]
    for transactions in itertools.count(1):
        world.parts.feeds[URL] = [
            item(2, "a"),
            item(None),
            item(9, "b"),
            item(2, "new"),
            item(3, "c"),
            item(8),
            item(9),
        ]
        run = world.jobs.run_job(world.tenant, job.id)
        killed = killed_after(world, transactions)
        assert world.current(job) == seen
        assert world.jobs.records(world.tenant, run.id).total == 0
        world.clock.tick(100)
        world.queue.reap(force=True)
        assert world.current(job) == seen
        world.work()
        run = world.run(run)
        assert (run.status, run.read, run.written, run.rejected) == (RunStatus.SUCCESSFUL, 7, 4, 1)
        assert sorted(world.current(job)) == [(1, "old"), (2, "new"), (3, "c"), (4, "old"), (8, "x"), (9, "x")]
        assert len(world.jobs.records(world.tenant, run.id).rejected) == 1
        if not killed:
            break
        # back to where it was
        world.again(job, [item(n, "old") for n in range(1, 5)])
        seen = world.current(job)
    assert transactions > 4


def test_killed_again_and_again_it_fails_and_nothing_of_it_is_seen(world: World):
    job = world.save([item(1)])
    while world.runs(job)[0].status not in (RunStatus.FAILED, RunStatus.SUCCESSFUL):
        killed_after(world, 3)
        world.clock.tick(100)
        world.queue.reap(force=True)
        world.clock.tick(100)
    (run,) = world.runs(job)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.startswith("LEASE_EXPIRED")
    assert world.current(job) == []
    while world.queue.prune(retention=None):
        pass
    assert world.queue.storage.count(TransformRecord) == world.queue.storage.count(TransformRejected) == 0


@pytest.mark.parametrize("transactions", [1, 2, 3, 4])
def test_a_job_that_is_deleted_after_its_worker_was_killed_goes_once_its_lease_is_over(
    world: World, everywhere, transactions: int
):
    job = world.save([item(1, "old"), item(2, "old")])
    world.work()
    world.parts.feeds[URL] = [item(n, "new") for n in range(5)]
    run = world.jobs.run_job(world.tenant, job.id)
    killed_after(world, transactions)  # the last one has sealed the run, and nobody is told
    assert world.jobs.delete_job(world.tenant, job.id) is True
    world.queue.prune(retention=None)
    there = world.queue.storage.get(TransformRun, run.id)
    assert there is not None  # until it is over, it may write
    assert there.status is RunStatus.RUNNING
    world.clock.tick(100)
    world.queue.reap(force=True)
    while world.queue.prune(retention=None, limit=3):
        pass
    for kind in (TransformJob, TransformRun, TransformRecord, TransformRejected):
        assert world.queue.storage.count(kind) == 0


KEYS = st.integers(1, 6)
FEEDS = st.lists(st.tuples(st.lists(KEYS, max_size=9), st.sampled_from(["good", "fails", "killed"])), max_size=6)


@settings(max_examples=40)
@given(FEEDS)
def test_what_is_current_is_what_the_good_runs_have_written(feeds):
    """Against a dict."""
    world = World(MemoryStorage(clock := FakeClock()), clock, batch=2)
    job = world.save([])
    world.work()
    expected: dict[int, str] = {}
    for number, (keys, end) in enumerate(feeds):
        items: list[Any] = [item(key, f"{number}.{place}") for place, key in enumerate(keys)]
        if end == "fails":
            items.append(SourceFailed("truncated", final=True))
        world.parts.feeds[URL] = items
        world.jobs.run_job(world.tenant, job.id)
        if end == "killed":
            killed_after(world, 3)
            world.clock.tick(100)
            world.queue.reap(force=True)
            assert dict(world.current(job)) == expected
        world.work()
        if end != "fails":
            expected |= {each["sku"]: each["title"] for each in items}
        current = world.current(job)
        assert (dict(current), len(current)) == (expected, len(expected))


def _works(url: str) -> None:
    """What runs in the process that is killed: its second batch is never written."""
    parts = FakeParts()

    def feed(_validators: Any) -> Any:
        from tests.transform.core.fakes import FakeReading

        def items() -> Any:
            yield from (item(n, "half") for n in range(4))
            print("half", flush=True)
            time.sleep(60)

        return FakeReading(items())

    parts.feeds[URL] = feed
    storage = SqlStorage(url)
    queue = Queue(storage)
    (claim,) = queue.acquire(["transform"], limit=1, lease=1.0, worker_id="w")
    transform = SimpleNamespace(queue=queue, parts=parts, limits=TransformLimits(batch=3))
    running.handled(transform)(claim, SIGNALS)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.backend("postgresql")
def test_a_process_that_is_killed(postgresql_server):
    with postgresql_server.database() as url:
        storage = SqlStorage(url)
        storage.migrate()
        world = World(storage, FakeClock(), batch=3)
        job = world.save([item(n, "old") for n in range(3)])
        world.work()
        run = world.jobs.run_job(world.tenant, job.id)
        code = f"from tests.transform.core.test_runs_killed import _works; _works({url!r})"
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert world.queue.storage.count(TransformRecord) == 6
        assert world.current(job) == [(n, "old") for n in range(3)]
        while not world.queue.reap(force=True):
            time.sleep(0.05)
        world.parts.feeds[URL] = [item(2, "new")]
        world.work()
        assert world.run(run).status is RunStatus.SUCCESSFUL
        assert world.current(job) == [(0, "old"), (1, "old"), (2, "new")]
        storage.close()
