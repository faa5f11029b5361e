"""What requests that try a source or a mapping may take: threads, which others wait for, and memory, which a run does not fill."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from gnj.queue.errors import InvalidInput
from gnj.queue.values import Json
from gnj.transform.errors import TriedAtOnce
from gnj.transform.sources import Bad
from gnj.transform.values import Record, Value

MOST: Final = 16 * 1024 * 1024
"""Characters of JSON, about: of the records that are read of a source, and of those that a mapping makes. An answer has no more."""


AT_ONCE: Final = 10
"""Requests that read sources at once: half of the threads that a server has, for a slow source keeps one for 10 s."""
OF_TENANT: Final = 4
"""Those of one tenant."""


class Tries:
    """Counts the requests that read sources. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = Counter[str]()

    @contextmanager
    def of(self, tenant: str) -> Iterator[None]:
        """One of a tenant, in the block. Raises `TriedAtOnce`, at once, where there are as many as there may be."""
        with self._lock:
            if self._running[tenant] >= OF_TENANT or self._running.total() >= AT_ONCE:
                raise TriedAtOnce("other requests are reading sources just now: try again when they have ended")
            self._running[tenant] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[tenant] -= 1
                self._running += Counter()  # without those that have none


def first(items: Iterable[Record | Bad], most: int) -> list[Record]:
    """The first records of a source: `most` of them, or fewer where these are large. What cannot be read is passed."""
    found: list[Record] = []
    size = 0
    for each in items:
        if isinstance(each, Bad):
            continue
        found.append(each)
        size += size_of(each)
        if len(found) >= most or size >= MOST:
            break
    return found


class Made:
    """The records that a mapping makes."""

    def __init__(self) -> None:
        self.records: list[Json] = []
        self._size = 0

    def add(self, record: Value) -> None:
        """Keeps a record. Raises `InvalidInput` for one that is too much beside the others; the first one never is."""
        self._size += size_of(record)
        if self.records and self._size > MOST:
            raise InvalidInput(f"what the mapping makes has more than {MOST:,} characters of JSON: give fewer records")
        self.records.append(record)


def size_of(value: Value) -> int:
    """About how many characters the JSON of a value has, and never more than that."""
    size = 0
    todo = [value]
    while todo:
        each = todo.pop()
        kind = type(each)
        if kind is str:
            size += len(each) + 3  # type: ignore[arg-type]
        elif isinstance(each, dict):
            size += sum(map(len, each)) + 3 * len(each) + 2
            todo += each.values()
        elif isinstance(each, (list, tuple)):
            size += 2
            todo += each
        else:
            size += 2
    return size
