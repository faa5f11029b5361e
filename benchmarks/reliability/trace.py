"""What every worker process did, written down as it does it: one append-only file each, read by the oracle in the end.

A line is a kind, two moments and the claims it is about. Moments are nanoseconds of the machine's monotonic clock, which
all processes share and nobody can set. A line is one write, so a process that is killed leaves whole lines behind, and
perhaps a torn last one, which is passed over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Claim: TypeAlias = tuple[int, int]
"""The id of a job and the number of its claim."""

CLAIMED, RENEWED, BEGUN, RETURNED, TELLING, TOLD, REFUSED, RELEASING = "CRBETAXG"
"""Kinds of lines. CLAIMED, RENEWED: asked, answered. TELLING, RELEASING: before the queue is asked. TOLD: it was stored."""

clock = time.monotonic_ns


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a trace."""

    kind: str
    since: int
    """When the queue was asked, or what the line tells of happened."""
    until: int
    """When the answer was there; the same moment where there is none."""
    claims: tuple[Claim, ...]


class Trace:
    """The trace of this process.

    Args:
        path: The file, named after the worker.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, kind: str, claims: Iterable[Claim], since: int | None = None) -> None:
        """Writes one line, whose answer came now; nothing for no claims."""
        now = clock()
        about = ",".join(f"{id}:{attempt}" for id, attempt in claims)
        if about:
            os.write(self._file, f"{kind} {now if since is None else since} {now} {about}\n".encode())


def read(path: Path) -> Iterator[Line]:
    """The whole lines of a trace, one by one."""
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            kind, since, until, about = raw.decode().split()
            pairs = (pair.split(":") for pair in about.split(","))
            yield Line(kind, int(since), int(until), tuple((int(id), int(attempt)) for id, attempt in pairs))


class Tail:
    """Counts the ends that were told, as the traces of a folder grow: how far a run is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}
        self._told = 0
        self._untold = 0
        self._known: frozenset[str] = frozenset()

    @property
    def done(self) -> int:
        """How many ends were told so far; a few more, of which no line was written any more, once they were counted."""
        return self._told + self._untold

    def look(self, workers: Iterable[str]) -> int:
        """How many are done, by what these workers have written, and those that were there at the last look."""
        alive = frozenset(workers)
        for worker in alive | self._known:
            self._follow(worker)
        self._known = alive
        return self.done

    def correct(self, done: int) -> None:
        """So many are done, says the database."""
        self._untold = max(0, done - self._told)

    def _follow(self, worker: str) -> None:
        path, start = self._folder / f"{worker}.trace", self._read.get(worker, 0)
        if not path.exists() or path.stat().st_size == start:
            return
        with path.open("rb") as file:
            file.seek(start)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read[worker] = start + len(whole)
        for line in whole.splitlines():
            if line.startswith(TOLD.encode()):
                self._told += line.count(b":")
