"""The outbox: what a transaction changed, written down in it for those who follow in other processes (decision 0011).

A row says which jobs were created, updated or deleted, not what they are: readers load them. It is written only while
somebody else has a `Listener` that has not expired.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gnj.queue.events import EARLY
from gnj.queue.feed import OF_JOBS, TOPICS, Change
from gnj.queue.model import Announcement, Job
from gnj.queue.storage import Rows, Select, Storage
from gnj.queue.where import equal

WANTS: Final = "changes"
"""What a listener wants who follows."""
FRESH: Final = 0.2
"""Seconds for which the answer to whether somebody follows is taken for true."""
LARGEST: Final = 5_000
"""Ids and messages in one row at most: some 50 KB."""
_LOADED: Final = 500
"""Jobs loaded by one statement at most."""


class Outbox:
    """The writing half, one for each queue: asks whether anybody wants to know, and announces.

    Args:
        storage: Where the rows are; nothing is ever written where no other process can read it.
    """

    def __init__(self, storage: Storage) -> None:
        self.shared = "processes" in storage.capabilities
        self.listener: int | None = None
        """The row by which this process itself follows: it is no reason to announce anything."""
        self._process, self._origin = os.getpid(), os.urandom(8).hex()
        self._wanted = False
        self._looked = -math.inf

    @property
    def origin(self) -> str:
        """What this process is called in the rows that it writes, and need not read."""
        if self._process != os.getpid():  # forked: the listener is the other one's
            self._process, self._origin, self.listener = os.getpid(), os.urandom(8).hex(), None
        return self._origin

    def wanted(self, tx: Rows, *, joined: bool = False, early: bool = False) -> bool:
        """Whether somebody in another process follows; looked up at most every `FRESH` seconds, or `early`: see `EARLY`.

        `joined`: in a transaction of the host's, which may see no more than what was committed when it began. That nobody
        follows is then no answer for others.
        """
        if not self.shared:
            return False
        now = time.monotonic()
        if now - self._looked < (FRESH * EARLY if early else FRESH):
            return self._wanted
        wanted = self._look(tx)
        if wanted or not joined:
            self._wanted, self._looked = wanted, now
        return wanted

    def announce(self, tx: Rows, changes: Iterable[Change]) -> None:
        """Writes down what `tx` has changed, for each tenant."""
        packets: dict[str, list[dict[str, list[Any]]]] = {}
        sizes: dict[str, int] = {}
        for change in changes:
            size = sizes.get(change.tenant, 0)
            own = packets.setdefault(change.tenant, [])
            if size % LARGEST == 0:
                own.append({})
            sizes[change.tenant] = size + 1
            value = change.value.id if isinstance(change.value, Job) else change.value
            own[-1].setdefault(change.topic, []).append(value)
        rows = [
            {"tenant": tenant, "origin": self.origin, "data": data} for tenant, own in packets.items() for data in own
        ]
        if rows:
            tx.insert(Announcement, rows)

    def _look(self, tx: Rows) -> bool:
        _ = self.origin  # and so, whose listener it is that we have
        return tx.listens(WANTS, self.listener)


def jobs_of(announcements: Iterable[Announcement]) -> set[int]:
    """The ids of the jobs that announcements name."""
    return {value for topic, _, value in _told(announcements) if topic in OF_JOBS}


def changes_of(tx: Rows, announcements: Sequence[Announcement]) -> list[Change]:
    """What those announcements tell of, in their order; the jobs as they are now, deleted ones too, once for each topic.

    Of a job that was removed for good nothing can be told.
    """
    told = _told(announcements)
    jobs = _jobs(tx, told)
    changes: dict[Any, Change] = {}
    for place, (topic, tenant, value) in enumerate(told):
        if topic not in OF_JOBS:
            changes[place] = Change(topic, tenant, value)
        elif job := jobs.get((tenant, value)):
            changes[topic, job.id] = Change(topic, tenant, job)
    return list(changes.values())


def _told(announcements: Iterable[Announcement]) -> list[tuple[str, str, Any]]:
    told: list[tuple[str, str, Any]] = []
    for row in announcements:
        data: Mapping[str, Any] = row.data if isinstance(row.data, dict) else {}
        told += ((topic, row.tenant, value) for topic in TOPICS for value in data.get(topic, ()))
    return told


def _jobs(tx: Rows, told: Iterable[tuple[str, str, Any]]) -> dict[tuple[str, int], Job]:
    wanted: dict[str, dict[int, None]] = {}
    for topic, tenant, value in told:
        if topic in OF_JOBS:
            wanted.setdefault(tenant, {})[value] = None
    found = {}
    for tenant, ids in wanted.items():
        some = list(ids)
        for start in range(0, len(some), _LOADED):
            named = equal(Job, id=tuple(some[start : start + _LOADED]))
            for job in tx.find(Job, Select(named, deleted=True), tenant=tenant):
                found[tenant, job.id] = job
    return found
