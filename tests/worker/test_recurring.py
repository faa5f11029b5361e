"""Recurring jobs declared in code, made and run by a worker."""

from __future__ import annotations

import queue
import threading
from datetime import timedelta
from typing import Any

import pytest

import gnj
from gnj.queue.errors import InvalidInput, NotMigrated, StorageUnavailable
from gnj.queue.model import Schedule
from gnj.storage.memory import MemoryStorage
from tests.worker.spy import until

WAIT = 20.0


def rows(jobs):
    return {row.name: row for row in jobs.queue.list(Schedule)}


def test_a_worker_runs_what_is_due():
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with gnj.GNJ("memory://") as jobs:

        @jobs.recurring(every=1.4, name="beat", input={"a": 1}, max_attempts=2)
        async def beat(job):
            seen.put((job.input, job.created_at, jobs.tick_of(job)))

        with jobs.worker():
            told = [seen.get(timeout=WAIT) for _ in range(2)]
        assert [given for given, *_ in told] == [{"a": 1}] * 2
        assert told[1][2] - told[0][2] == timedelta(seconds=1.4)
        # a worker that waits wakes for it, rather than finding it with its next look
        assert all(made - tick < timedelta(seconds=0.3) for _, made, tick in told)
        assert rows(jobs)["beat"].runs >= 2
        assert jobs.tick_of(jobs.enqueue("beat")) is None


def test_declarations_are_written_with_the_first_use_and_when_they_change(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    for hour in (3, 3, 4):
        with gnj.GNJ(url) as jobs:

            @jobs.recurring(f"0 {hour} * * *", tz="Europe/Paris", missed="all", overlap=False)
            def nightly(job): ...

            row = rows(jobs)["nightly"]
            assert (row.id, row.cron, row.time_zone, row.missed, row.may_overlap) == (
                1,
                f"0 {hour} * * *",
                "Europe/Paris",
                "all",
                False,
            )
            changed = row.updated_at > row.created_at
            assert changed == (hour == 4)

            @jobs.recurring(every=timedelta(minutes=5), tenant="shop")
            def declared_later(job): ...

            jobs.queue.tick(force=True)  # as a worker does, once a second
            assert rows(jobs)["declared_later"].every_ms == 300_000


def test_one_function_for_several():
    with gnj.GNJ("memory://") as jobs:

        @jobs.recurring(every=timedelta(minutes=5), name="often", type="report", tenant="shop")
        @jobs.recurring("0 12 * * *", name="noon", type="report")
        @jobs.handler("report")
        def report(job): ...

        assert {name: (row.every_ms, row.tenant) for name, row in rows(jobs).items()} == {
            "noon": (None, ""),
            "often": (300_000, "shop"),
        }
        with pytest.raises(InvalidInput, match="have a handler already"):

            @jobs.recurring("0 12 * * *", type="report")
            def another(job): ...


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "either cron or every"),
        ({"cron": "0 3 * * *", "every": 60}, "either cron or every"),
        ({"cron": "@daily"}, "write '0 0"),
        ({"cron": "0 3 * * *", "tz": "Mars"}, "IANA"),
        ({"every": 0.5}, "every"),
        ({"cron": "0 3 * * *", "missed": "some"}, "newest, all, none"),
        ({"cron": "0 3 * * *", "input": object()}, "input"),
        ({"cron": "0 3 * * *", "type": "gnj:bulk"}, "reserved"),
    ],
)
def test_refusals_come_with_the_declaration(given, message):
    with gnj.GNJ("memory://") as jobs:
        with pytest.raises(InvalidInput, match=message):
            jobs.recurring(**given)(lambda job: None)
        assert jobs.handlers.types == ()
        assert rows(jobs) == {}
    with pytest.raises(InvalidInput, match="a recurring job says when"):
        jobs.recurring(lambda job: None)  # type: ignore[arg-type]


def test_a_database_that_is_away_is_told_later(caplog):
    away = threading.Event()
    away.set()

    class Away(MemoryStorage):
        def begin(self, *, write=True):
            if away.is_set():
                raise StorageUnavailable
            return super().begin(write=write)

        def check(self):
            if away.is_set():
                raise NotMigrated

    with gnj.GNJ(Away()) as jobs:

        @jobs.recurring("0 3 * * *")
        def nightly(job): ...

        for _ in range(3):
            with pytest.raises(StorageUnavailable):
                jobs.enqueue("a")
        assert caplog.text.count("the recurring job nightly will be declared later") == 1
        away.clear()
        with jobs.worker():
            until(lambda: list(rows(jobs)) == ["nightly"])
