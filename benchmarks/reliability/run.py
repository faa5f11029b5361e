"""One run, from the first process to the verdict."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reliability.client import Client
from benchmarks.reliability.creator import Creator, Filled
from benchmarks.reliability.faults import Faults, schedule
from benchmarks.reliability.options import Options
from benchmarks.reliability.oracle import Verdict, judge
from benchmarks.reliability.processes import Fleet
from benchmarks.reliability.records import Records
from benchmarks.reliability.report import figures
from benchmarks.reliability.trace import Tail
from gnj.queue.model import Job
from gnj.queue.states import JOB_UNFINISHED, JobStatus
from gnj.queue.where import equal
from gnj.storage.sql import SqlStorage

Tell = Callable[[int, str], None]
"""Is told how many jobs are done, and what is going on."""
_LOOK = 0.02
_COUNT = 5.0
"""Seconds between two counts: what a killed worker had told, but not written down, is missing in the traces."""
_UNFINISHED = equal(Job, status=tuple(JOB_UNFINISHED))


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    verdict: Verdict
    figures: dict[str, Any]


class NotEmpty(Exception):
    """There are jobs in the database, or files in the folder, that are not those of this run."""


def run(options: Options, tell: Tell = lambda done, what: None) -> Result:
    """Runs and judges. The processes and, unless `keep` says otherwise, the traces are gone when it returns."""
    folder = Path(options.keep or tempfile.mkdtemp(prefix="gnj-reliability-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise NotEmpty(f"there are files in {folder}: a run keeps its traces in a folder of its own")
    storage = SqlStorage(options.database, pool_size=2)
    try:
        storage.migrate()
        if storage.exists(Job, equal(Job)):
            raise NotEmpty(f"there are jobs in {storage.engine.url!r}: a run needs a database of its own")
        return _Run(options, folder, storage, tell).go()
    finally:
        storage.close()
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


class _Run:
    def __init__(self, options: Options, folder: Path, storage: SqlStorage, tell: Tell) -> None:
        self._options = options
        self._folder = folder
        self._storage = storage
        self._tell = tell
        self._tail = Tail(folder)
        self._fleet = Fleet(options, folder)
        self._faults = Faults(self._fleet, storage.engine)
        self._moved = time.monotonic()
        """When something was last done."""
        self._counted = self._moved

    def go(self) -> Result:
        begun = time.monotonic()
        client = Client(self._fleet.urls, self._options.seed, timeout=3.0)
        creator: Creator | Filled = (
            Filled(self._storage, self._options.jobs)
            if self._options.short
            else Creator(client, self._options.jobs, self._options.seed, lambda: self._tail.done)
        )
        with self._fleet:
            try:
                if self._options.short:
                    creator.start()
                self._fleet.start()
                if not self._options.short:
                    creator.start()
                self._break()
                self._await(lambda: creator.finished, "creating")
                self._await(lambda: self._tail.done >= len(creator.acknowledged.jobs) * 0.98, "working")
                self._drain(creator)
            finally:
                creator.stop()
                client.close()
        self._tell(self._tail.done, "judging")
        records = Records(self._folder, self._options.lease)
        damage = self._faults.damage
        verdict = judge(self._storage, records, creator.acknowledged, damage.killed)
        if creator.refusal is not None:
            verdict.found("lost", f"{type(creator.refusal).__name__}: {creator.refusal}")
        for crash in self._fleet.crashes:
            verdict.found("crashes", crash)
        seconds = time.monotonic() - begun
        return Result(verdict, figures(self._options, damage, verdict, seconds))

    def _break(self) -> None:
        """Brings every fault about, each in its time."""
        for number, fault in enumerate(schedule(self._options), 1):
            self._await(
                lambda fault=fault: self._tail.done >= fault.mark,  # type: ignore[misc]
                f"fault {number}",
            )
            self._faults.bring(fault)

    def _drain(self, creator: Creator | Filled) -> None:
        """Ends the workers that have been through all that, and lets fresh ones do what is left."""
        self._tell(self._tail.done, "draining")
        self._faults.look_after(thaw_all=True)
        creator.stop()
        self._fleet.retire(list(self._fleet.workers))
        for _ in range(self._options.workers):
            self._fleet.start_worker()
        end = time.monotonic() + self._options.drain
        while self._storage.exists(Job, _UNFINISHED) and time.monotonic() < end:
            self._look()
            time.sleep(0.2)
        self._fleet.retire(list(self._fleet.workers))

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        """Returns when the condition holds, or when nothing has been done for too long."""
        while not condition() and time.monotonic() - self._moved < self._options.stall:
            self._look()
            self._tell(self._tail.done, what)
            time.sleep(_LOOK)

    def _look(self) -> None:
        before, now = self._tail.done, time.monotonic()
        if now - self._counted > _COUNT:
            self._counted = now
            self._tail.correct(self._storage.count(Job, equal(Job, status=JobStatus.SUCCESSFUL)))
        if self._tail.look([worker.name for worker in self._fleet.workers]) > before:
            self._moved = now
        self._faults.look_after()
        self._fleet.look_after()
