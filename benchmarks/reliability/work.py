"""The worker processes of a run."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path

from benchmarks.reliability import mutations, skew
from benchmarks.reliability.client import Client
from benchmarks.reliability.sources import HttpSource, Traced
from benchmarks.reliability.trace import BEGUN, RETURNED, Trace
from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.queue.values import Json
from gnj.storage import open_storage
from gnj.worker import Handlers, Worker
from gnj.worker.source import QueueSource, Source

TYPES = ("single", "member", "step")
CONCURRENCY = 4
POLL = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a worker process is told."""

    name: str
    folder: Path
    database: str
    urls: tuple[str, ...]
    http: bool
    lease: int
    mutant: str | None
    skew: float


def work(place: Place) -> None:
    """Works until SIGTERM, a kill, or the end of the process that started it."""
    end_with_parent()
    log_to(place.folder / f"{place.name}.log")
    mutations.apply(place.mutant)
    skew.apply(place.skew)
    trace = Trace(place.folder / f"{place.name}.trace")
    worker = Worker(Traced(source(place), trace), handlers(place.name, trace), concurrency=CONCURRENCY, poll=POLL)
    worker.run(grace=5)


def source(place: Place) -> Source:
    """The queue as this worker reaches it."""
    if place.http:
        # a third of the lease: one server that does not answer must not cost it
        return HttpSource(Client(place.urls, zlib.crc32(place.name.encode()), place.lease / 3), place.name, place.lease)
    return QueueSource(Queue(open_storage(place.database)), place.name, lease=place.lease)


def handlers(worker: str, trace: Trace) -> Handlers:
    """All types are worked alike: as long as the input says, and the output tells which claim it is of."""
    made = Handlers()

    def handle(job: Job) -> Json:
        trace.write(BEGUN, [(job.id, job.attempt)])
        milliseconds = job.input["ms"] if isinstance(job.input, dict) else 0
        if milliseconds:
            time.sleep(milliseconds / 1000)
        trace.write(RETURNED, [(job.id, job.attempt)])
        return {"id": job.id, "attempt": job.attempt, "worker": worker}

    for type in TYPES:
        made.register(type, handle)
    return made


def end_with_parent() -> None:
    """A run that is killed itself leaves no process behind."""
    parent = parent_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the run, which then ends its children
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until the worker takes it over: nothing is claimed yet
    if parent is not None:
        watch: Sequence[int] = [parent.sentinel]

        def end() -> None:
            wait(watch)
            os._exit(1)

        threading.Thread(target=end, daemon=True).start()


def log_to(path: Path) -> None:
    """Warnings, and what a crash prints, go to a file of the process."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    logging.basicConfig(level=logging.WARNING, force=True, format="%(asctime)s %(name)s: %(message)s")
