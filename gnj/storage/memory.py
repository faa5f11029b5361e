"""Rows in this process's memory: the reference implementation of the protocol, and the oracle of the property tests.

Same semantics as every other storage, and not durable: the rows end with the process, and only that process may use them.
One lock is held by a transaction from beginning to end, so transactions simply come one after the other.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import MISSING, fields, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import count, islice
from operator import attrgetter
from typing import Any, TypeAlias, cast

from gnj.queue import deadline
from gnj.queue.catalog import RECORDS
from gnj.queue.clock import NOW, After, Clock, system_clock
from gnj.queue.errors import Duplicate, StorageUnavailable, TimedOut
from gnj.queue.holds import ALL_TYPES
from gnj.queue.model import (
    BELONGS,
    GO_WITH,
    ONE_OF,
    Hold,
    Job,
    Kind,
    Listener,
    Permit,
    Record,
    RecordT,
    attributes,
    json_names,
)
from gnj.queue.ordering import selected
from gnj.queue.states import (
    JOB_CLAIMED,
    JOB_ENDED,
    JobStatus,
    Same,
)
from gnj.queue.storage import ALL, Bucket, Changes, Each, Rows, Select, Settlement, Storage
from gnj.queue.values import Json, check_json
from gnj.queue.wake import Through
from gnj.queue.where import EVERYTHING, Condition, matches
from gnj.storage import memory_pruning

_Key: TypeAlias = tuple[int, int, int]


class MemoryStorage(Storage):
    """Keeps rows in memory. Threads may share it; another process (after a fork) is refused.

    Args:
        clock: Gives the present; the host's clock unless given.
    """

    capabilities = frozenset({"embedded"})

    def __init__(self, clock: Clock = system_clock) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._tables: dict[type[Record], dict[int, Any]] = {kind: {} for kind in RECORDS.values()}
        self._ids = {kind: count(1) for kind in self._tables}
        self._ready: dict[str, list[_Key]] = {}
        self._undo: list[tuple[type[Record], int, Record | None]] | None = None

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Rows]:
        """See `Storage.begin`. Reads take the same lock: what they see is whole."""
        if os.getpid() != self._process:
            raise StorageUnavailable(
                "memory:// belongs to the process that made it: use SQLite or PostgreSQL for several"
            )
        limit = deadline.current()
        if not self._lock.acquire(timeout=-1 if limit is None else max(0.0, limit.left())):
            raise TimedOut
        try:
            if self._undo is not None:
                raise StorageUnavailable("a transaction of memory:// cannot hold another one of the same thread")
            self._undo = []
            try:
                yield _MemoryRows(self)
                if limit is not None:
                    limit.check()
            except BaseException:
                for kind, id, before in reversed(self._undo):
                    self._put(kind, id, before)
                raise
            finally:
                self._undo = None
        finally:
            self._lock.release()

    def bind(self, connection: Any) -> AbstractContextManager[Rows]:
        """Never possible: memory has no connections."""
        raise StorageUnavailable("memory:// has no connection or session to join")

    def migrate(self) -> None:
        """Does nothing: there is nothing to bring up to date."""

    def check(self) -> None:
        """Returns at once."""

    @contextmanager
    def listen(
        self, wake: Callable[[], None], wants: str = "jobs", *, through: Through | None = None
    ) -> Iterator[Callable[[], bool]]:
        """Never calls: there are no other processes."""
        yield bool

    def close(self) -> None:
        """Does nothing; the rows stay as long as this object."""

    def _put(self, kind: type[Record], id: int, row: Record | None) -> None:
        """The one place where a table changes: keeps the list of ready jobs in step, and what undoes it."""
        table = self._tables[kind]
        before = table.get(id)
        if self._undo is not None:
            self._undo.append((kind, id, before))
        if isinstance(before, Job) and _is_ready(before):
            keys = self._ready[before.type]
            del keys[bisect_left(keys, _key(before))]
        if row is None:
            table.pop(id, None)
            return
        table[id] = row
        if isinstance(row, Job) and _is_ready(row):
            insort(self._ready.setdefault(row.type, []), _key(row))


class _MemoryRows:
    """`Rows` over the tables of a `MemoryStorage`, whose lock is held."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage

    def now(self) -> datetime:
        return self._storage.clock()

    def get(self, kind: type[RecordT], id: int, *, tenant: str | None = None, lock: bool = False) -> RecordT | None:
        row = self._row(kind, id)
        return None if row is None or (tenant is not None and row.tenant != tenant) else _copy(row)

    def find(self, kind: type[RecordT], select: Select = ALL, *, tenant: str | None = None) -> list[RecordT]:
        return [_copy(row) for row in self._selected(kind, select, tenant)]

    def columns(
        self, kind: type[Record], names: Sequence[str], select: Select = ALL, *, tenant: str | None = None
    ) -> list[tuple[Any, ...]]:
        json = json_names(kind)
        return [
            tuple(check_json(value, name) if name in json else value for name, value in zip(names, each, strict=True))
            for each in ([getattr(row, name) for name in names] for row in self._selected(kind, select, tenant))
        ]

    def count(self, kind: type[Record], where: Condition = EVERYTHING, *, tenant: str | None = None) -> int:
        return len(self._matching(kind, where, tenant))

    def exists(self, kind: type[Record], where: Condition) -> bool:
        return bool(self._matching(kind, where, None))

    def tally(
        self,
        kind: type[Record],
        by: Sequence[str | Bucket],
        where: Condition = EVERYTHING,
        *,
        tenant: str | None = None,
    ) -> dict[tuple[Any, ...], int]:
        return Counter(tuple(_bucket(row, part) for part in by) for row in self._matching(kind, where, tenant))

    def tally_ended(
        self,
        by: Sequence[str | Bucket],
        since: datetime | None,
        where: Condition = EVERYTHING,
        *,
        type: str | None = None,
        tenant: str | None = None,
    ) -> dict[tuple[Any, ...], int]:
        return Counter(
            tuple(_bucket(job, part) for part in by)
            for job in self._matching(Job, where, tenant)
            if type in (None, job.type) and job.status in JOB_ENDED and job.ended_at is not None
            if since is None or job.ended_at >= since
        )

    def insert(self, kind: type[RecordT], rows: Sequence[Changes]) -> list[RecordT]:
        key = ONE_OF.get(kind)
        return [(key and self._same(kind, key, values)) or self._new(kind, values) for values in rows]

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        result = []
        named = self._named() if any(values.get("custom_id") is not None for values in rows) else set()
        for values in rows:
            taken = self._having(values.get("unique_id"), values.get("tenant", ""))
            name = values.get("tenant", ""), values["type"], values.get("custom_id")
            if taken is None and name in named:
                raise Duplicate
            if taken is None and name[2] is not None:
                named.add(name)
            result.append((self._new(Job, values), True) if taken is None else (_copy(taken), False))
        return result

    def edit(self, kind: type[RecordT], ids: Sequence[int], changes: Changes) -> list[RecordT]:
        rows = [row for id in sorted(set(ids)) if (row := self._row(kind, id))]
        key = changes.get("unique_id")
        if key is not None:
            taken = (self._having(key, row.tenant) for row in rows)
            if len({row.tenant for row in rows}) < len(rows) or any(
                job is not None and job.id != row.id for row, job in zip(rows, taken, strict=True)
            ):
                raise Duplicate
        return [self._write(row, changes) for row in rows]

    def rewrite(self, kind: type[Record], id: int, changes: Changes) -> bool:
        return bool(self.edit(kind, [id], changes))

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        rows = [row for id in sorted(set(ids)) if (row := self._row(kind, id))]
        return [self._write(row, changes) for row in rows if cast("Any", row).status in frm]

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        return len(self.move(kind, [row.id for row in self._matching(kind, where, None)], frm, changes))

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        return [self._settle(settlement) for settlement in settlements]

    def complete(self, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes) -> list[bool]:
        result = []
        for id, attempt, output in ends:
            job = self._row(Job, id)
            alone = job is not None and not job.is_member
            written = changes if output is None else {**changes, "output": output}
            result.append(alone and self._settle(Settlement(id, attempt, frm, written)) is not None)
        return result

    def claim(
        self,
        types: Sequence[str],
        limit: int,
        *,
        lease: float,
        changes: Changes,
        tenants: Sequence[str] | None = None,
    ) -> list[Job]:
        self.promote(len(self._storage._tables[Job]))
        held = {(row.tenant, row.type) for row in self._matching(Hold, EVERYTHING, None)}
        free = [type for type in dict.fromkeys(types) if not held & {("", type), ("", ALL_TYPES)}]
        chosen: list[_Key] = []
        for type in free:
            own = (key for key in self._storage._ready.get(type, ()) if self._may(key, type, held, tenants))
            chosen += [key for key, _ in zip(own, range(limit), strict=False)]
        result: list[Job] = []
        for *_, id in sorted(chosen)[:limit]:
            job = self._storage._tables[Job][id]
            named = {name: v.values[len(result)] if isinstance(v, Each) else v for name, v in changes.items()}
            result.append(self._claim(job, lease, named))
        return result

    def take(self, ids: Sequence[int], *, lease: float, changes: Changes) -> list[Job]:
        jobs = [job for id in sorted(set(ids)) if (job := self._row(Job, id)) is not None and _is_ready(job)]
        return [self._claim(job, lease, changes) for job in jobs]

    def permits(self, limit_id: int) -> list[tuple[Permit, bool]]:
        found: list[tuple[Permit, bool]] = []
        for permit in self._matching(Permit, EVERYTHING, None):
            job = self._row(Job, permit.job_id)
            counts = job is not None and job.status in JOB_CLAIMED and job.attempt == permit.attempt
            found += [(permit, counts)] if permit.limit_id == limit_id else []
        return sorted(found, key=lambda each: each[0].id)

    def renew(self, claims: Sequence[tuple[int, int]], lease: float, *, wait: bool = True) -> list[Job | None]:
        del wait  # nobody has a row locked while another one runs
        result: list[Job | None] = []
        for id, attempt in claims:
            job = self._row(Job, id)
            if job is None or job.attempt != attempt or job.status not in JOB_CLAIMED:
                result.append(None)
                continue
            result.append(self._write(job, {"lease_expires_at": After(lease), "updated_at": job.updated_at}))
        return result

    def promote(self, limit: int) -> int:
        now = self.now()
        due = [
            job
            for job in self._storage._tables[Job].values()
            if job.due_at is not None and job.due_at <= now and job.status is JobStatus.QUEUED and not job.deleted_at
        ]
        due.sort(key=lambda job: (job.due_at, job.id))
        for job in due[:limit]:
            self._write(job, {"due_at": None, "updated_at": job.updated_at})
        return len(due[:limit])

    def lost(self, limit: int) -> list[Job]:
        now = self.now()
        gone = [
            job for job in self._matching(Job, EVERYTHING, None) if job.status in JOB_CLAIMED and _expired(job, now)
        ]
        gone.sort(key=lambda job: (job.lease_expires_at, job.id))
        return [_copy(job) for job in gone[:limit]]

    def lane(
        self,
        type: str,
        tenant: str | None,
        limit: int,
        *,
        key: str | None = None,
        backward: bool = False,
        low: int | None = None,
        high: int | None = None,
        offset: int = 0,
    ) -> list[tuple[int, str, str | None]]:
        ready = self._storage._ready.get(type, [])
        found = (self._storage._tables[Job][id] for *_, id in (reversed(ready) if backward else ready))
        chosen = (
            (job.id, job.tenant, job.limit_key)
            for job in found
            if tenant in (None, job.tenant)
            and key in (None, job.limit_key)
            and (low is None or job.priority >= low)
            and (high is None or job.priority <= high)
        )
        return list(islice(chosen, offset, offset + limit))

    def lane_size(self, type: str, tenant: str, *, low: int | None = None, high: int | None = None) -> int:
        return len(self.lane(type, tenant, len(self._storage._ready.get(type, [])), low=low, high=high))

    def due(
        self,
        type: str,
        tenant: str,
        limit: int,
        *,
        backward: bool = False,
        upto: datetime | None = None,
        offset: int = 0,
    ) -> list[int]:
        waiting = [
            job
            for job in self._matching(Job, EVERYTHING, tenant)
            if job.type == type and job.status is JobStatus.QUEUED and job.due_at is not None
            if upto is None or job.due_at <= upto
        ]
        waiting.sort(key=lambda job: (job.due_at, job.id), reverse=backward)
        return [job.id for job in waiting[offset : offset + limit]]

    def ended(
        self,
        type: str,
        tenant: str,
        statuses: Collection[JobStatus],
        limit: int,
        *,
        backward: bool = False,
        beyond: tuple[datetime, int] | None = None,
        offset: int = 0,
    ) -> list[tuple[int, datetime]]:
        found = [
            (job.ended_at, job.id)
            for job in self._matching(Job, EVERYTHING, tenant)
            if job.type == type and job.status in statuses and job.ended_at is not None
        ]
        found.sort(reverse=backward)
        if beyond is not None:
            found = [each for each in found if (each < beyond if backward else each > beyond)]
        return [(id, ended_at) for ended_at, id in found[offset : offset + limit]]

    def named(self, type: str, tenant: str, ids: Collection[str], *, again: bool = False) -> list[Job]:
        del again  # what is read is what there is
        wanted = frozenset(ids)
        found = (job for job in self._matching(Job, EVERYTHING, tenant) if job.type == type and job.custom_id in wanted)
        return [_copy(job) for job in sorted(found, key=attrgetter("id"))]

    def keys(self, type: str, tenant: str, after: str, limit: int) -> list[str]:
        ready = (self._storage._tables[Job][id] for *_, id in self._storage._ready.get(type, ()))
        found = {job.limit_key for job in ready if job.tenant == tenant and job.limit_key is not None}
        return sorted(each for each in found if each > after)[:limit]

    def tenants(self, type: str, after: str | None, limit: int) -> list[str]:
        ready = (self._storage._tables[Job][id] for *_, id in self._storage._ready.get(type, ()))
        found = sorted({job.tenant for job in ready})
        return [each for each in found if after is None or each > after][:limit]

    def listens(self, wants: str, besides: int | None = None) -> bool:
        now = self.now()
        listeners = self._matching(Listener, EVERYTHING, None)
        return any(row.wants == wants and row.id != besides and row.expires_at > now for row in listeners)

    def prune(self, limit: int, *, deleted: float, ended: float | None) -> int:
        now = self.now()
        gone, old = now - timedelta(seconds=deleted), None if ended is None else now - timedelta(seconds=ended)
        removed = 0
        for kind in self._storage._tables:
            todo = memory_pruning.old(self._storage._tables, kind, gone, old)[:limit]
            for row in todo:
                self._remove(row)
            removed += len(todo)
        return removed

    def trim(self, kind: type[Record], where: Condition, limit: int) -> int:
        rows = sorted(self._matching(kind, where, None, deleted=True), key=attrgetter("id"))[:limit]
        for row in rows:
            self._remove(row)
        return len(rows)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        done = self._storage._undo
        assert done is not None  # noqa: S101 - tells the type checker that a transaction is open
        before = len(done)
        try:
            yield
        except BaseException:
            for kind, id, row in reversed(done[before:]):
                self._storage._put(kind, id, row)
            del done[before:]
            raise

    def signal(self, wants: Collection[str] = ("jobs",)) -> None:
        pass

    def _row(self, kind: type[RecordT], id: int) -> RecordT | None:
        row: RecordT | None = self._storage._tables[kind].get(id)
        return None if row is None or row.deleted_at is not None else row

    def _selected(self, kind: type[RecordT], select: Select, tenant: str | None) -> Sequence[RecordT]:
        rows = self._matching(kind, EVERYTHING, tenant, deleted=select.deleted)
        rows.sort(key=attrgetter("id"))
        return selected(rows, select, self._value)

    def _matching(
        self, kind: type[RecordT], where: Condition, tenant: str | None, *, deleted: bool = False
    ) -> list[RecordT]:
        return [
            row
            for row in self._storage._tables[kind].values()
            if (deleted or row.deleted_at is None)
            and (tenant is None or row.tenant == tenant)
            and matches(where, row) is True
        ]

    def _new(self, kind: type[RecordT], values: Changes) -> RecordT:
        id = next(self._storage._ids[kind])
        now = self.now()
        whole = {**_defaults(cast("Hashable", kind)), "created_at": NOW, "updated_at": NOW, **values}
        row = kind(**{**_resolved(kind, whole, now), "id": id})
        self._storage._put(kind, id, row)
        return _copy(row)

    def _write(self, row: RecordT, changes: Changes) -> RecordT:
        now = self.now()
        after = replace(row, **_resolved(type(row), {"updated_at": NOW, **changes}, now, row))
        self._storage._put(type(row), row.id, after)
        return _copy(after)

    def _settle(self, settlement: Settlement) -> Job | None:
        job = self._row(Job, settlement.id)
        applies = (
            job is not None
            and job.status in settlement.frm
            and settlement.attempt in (None, job.attempt)
            and (not settlement.expired or _expired(job, self.now()))
            and not (settlement.plain and job.is_member)
            and settlement.tenant in (None, job.tenant)
            and not (settlement.but is not None and job.type.startswith(settlement.but))
        )
        if job is None or not applies:
            return None
        taken = self._having(settlement.changes.get("unique_id"), job.tenant)
        if taken is not None and taken.id != job.id:
            raise Duplicate
        return self._write(job, settlement.changes)

    def _value(self, row: Record, name: str) -> Any:
        """An attribute of the row, or of one it belongs to."""
        association, dot, attribute = name.rpartition(".")
        if not dot:
            return getattr(row, name)
        via, kind = BELONGS[type(row)][association]
        id = getattr(row, via)
        return getattr(None if id is None else self._row(kind, id), attribute, None)

    def _remove(self, row: Record) -> None:
        for kind, via in GO_WITH.get(type(row), ()):
            for other in [r for r in self._storage._tables[kind].values() if getattr(r, via) == row.id]:
                self._storage._put(kind, other.id, None)
        self._storage._put(type(row), row.id, None)

    def _having(self, key: str | None, tenant: str) -> Job | None:
        if key is None:
            return None
        jobs = self._storage._tables[Job].values()
        return next((j for j in jobs if j.unique_id == key and j.tenant == tenant and j.deleted_at is None), None)

    def _named(self) -> set[tuple[str, str, str | None]]:
        """What custom ids are taken."""
        jobs = (job for job in self._storage._tables[Job].values() if job.deleted_at is None)
        return {(job.tenant, job.type, job.custom_id) for job in jobs if job.custom_id is not None}

    def _claim(self, job: Job, lease: float, changes: Changes) -> Job:
        claim = {"attempt": job.attempt + 1, "lease": lease, "lease_expires_at": After(lease)}
        return self._write(job, {**changes, **claim})

    def _same(self, kind: type[RecordT], key: Sequence[str], values: Changes) -> RecordT | None:
        """The row that is there already in the place of a new one."""
        wanted = [values.get(name, "" if name == "tenant" else None) for name in key]
        there = (row for row in self._matching(kind, EVERYTHING, None) if [getattr(row, n) for n in key] == wanted)
        return next((_copy(row) for row in there), None)

    def _may(self, key: _Key, type: str, held: set[tuple[str, str | None]], tenants: Sequence[str] | None) -> bool:
        tenant = self._storage._tables[Job][key[2]].tenant
        return (tenants is None or tenant in tenants) and not held & {(tenant, type), (tenant, ALL_TYPES)}


def _is_ready(job: Job) -> bool:
    return job.status is JobStatus.QUEUED and job.due_at is None and job.deleted_at is None


def _key(job: Job) -> _Key:
    return (-job.priority, job.position, job.id)


def _expired(job: Job, now: datetime) -> bool:
    return job.lease_expires_at is not None and job.lease_expires_at <= now


def _bucket(row: Record, part: str | Bucket) -> Any:
    if isinstance(part, str):
        return getattr(row, part)
    value = getattr(row, part.attribute)
    return None if value is None else int(value.timestamp() // part.seconds)


@cache
def _defaults(kind: Any) -> Mapping[str, Any]:
    return {f.name: f.default for f in fields(kind) if f.default is not MISSING}


def _resolved(kind: type[Record], changes: Changes, now: datetime, row: Record | None = None) -> dict[str, Any]:
    """The changes with what stands for something else filled in, and JSON that nobody else can change."""
    known = attributes(kind)
    result: dict[str, Any] = {}
    for name, value in changes.items():
        if isinstance(value, After):
            value = value.resolve(now)
        elif known[name].kind is Kind.JSON:
            value = check_json(value, name)
        result[name] = value
    for name, value in changes.items():
        if isinstance(value, Same):
            if value.negative:
                result[name] = -getattr(row, value.attribute)
            else:
                result[name] = result.get(value.attribute, getattr(row, value.attribute, None))
    return result


def _copy(row: RecordT) -> RecordT:
    """The row with JSON of its own, so that callers cannot change what is stored."""
    copies = {
        name: check_json(value, name)
        for name in json_names(type(row))
        if isinstance(value := getattr(row, name), (dict, list))
    }
    return replace(row, **copies) if copies else row
