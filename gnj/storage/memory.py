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
from itertools import count
from operator import attrgetter
from typing import Any, TypeAlias, cast

from gnj.queue import deadline
from gnj.queue.clock import NOW, After, Clock, system_clock
from gnj.queue.errors import Duplicate, StorageUnavailable, TimedOut
from gnj.queue.holds import ALL_TYPES
from gnj.queue.model import (
    BELONGS,
    RECORDS,
    Batch,
    Hold,
    Job,
    JobAttempt,
    Kind,
    Monitoring,
    Pipeline,
    Record,
    RecordT,
    Step,
    attributes,
    json_names,
)
from gnj.queue.ordering import selected
from gnj.queue.states import (
    BATCH_ENDED,
    JOB_CLAIMED,
    JOB_ENDED,
    JOB_UNFINISHED,
    PIPELINE_ENDED,
    JobStatus,
    Same,
)
from gnj.queue.storage import ALL, Bucket, Changes, Rows, Select, Settlement, Storage
from gnj.queue.values import check_json
from gnj.queue.where import EVERYTHING, Condition, matches

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
    def listen(self, wake: Callable[[], None], wants: str = "jobs") -> Iterator[Callable[[], bool]]:
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
        rows = self._matching(kind, EVERYTHING, tenant, deleted=select.deleted)
        rows.sort(key=attrgetter("id"))
        return [_copy(row) for row in selected(rows, select, self._value)]

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

    def insert(self, kind: type[RecordT], rows: Sequence[Changes]) -> list[RecordT]:
        return [
            self._hold(values) or self._new(kind, values) if kind is Hold else self._new(kind, values)
            for values in rows
        ]

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        result = []
        for values in rows:
            taken = self._having(values.get("unique_id"), values.get("tenant", ""))
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

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        rows = [row for id in sorted(set(ids)) if (row := self._row(kind, id))]
        return [self._write(row, changes) for row in rows if cast("Any", row).status in frm]

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        return len(self.move(kind, [row.id for row in self._matching(kind, where, None)], frm, changes))

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        return [self._settle(settlement) for settlement in settlements]

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
        result = []
        for *_, id in sorted(chosen)[:limit]:
            job = self._storage._tables[Job][id]
            claim = {"attempt": job.attempt + 1, "lease": lease, "lease_expires_at": After(lease)}
            result.append(self._write(job, {**changes, **claim}))
        return result

    def renew(self, claims: Sequence[tuple[int, int]], lease: float) -> list[Job | None]:
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

    def prune(self, limit: int, *, deleted: float, ended: float | None) -> int:
        gone, old = self.now() - timedelta(seconds=deleted), None
        if ended is not None:
            old = self.now() - timedelta(seconds=ended)
        removed = 0
        for rows in self._storage._tables.values():
            todo = [row for row in rows.values() if (row.deleted_at is not None and row.deleted_at <= gone)]
            todo.sort(key=lambda row: (row.deleted_at, row.id))
            if old is not None:
                todo += sorted((row for row in rows.values() if self._is_old(row, old)), key=_last_touched)
            left = [
                row for row in todo if isinstance(row, Job) and row.status is JobStatus.PLANNED and not row.deleted_at
            ]
            todo = [row for row in todo if row not in left] + left
            for row in todo[:limit]:
                self._remove(row)
            removed += len(todo[:limit])
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

    def _is_old(self, row: Record, moment: datetime) -> bool:
        """Whether nobody can need the row any more, unless it is younger than `moment`; see `Rows.prune`."""
        if row.deleted_at is not None:
            return False
        match row:
            case Job():
                if row.status in JOB_ENDED:
                    over = row.ended_at is not None and row.ended_at <= moment
                else:  # it stayed planned because what it belongs to ended without it
                    member = row.batch_id is not None or row.pipeline_id is not None
                    over = member and row.status is JobStatus.PLANNED and row.updated_at <= moment
                live = (
                    self._is_live(kind, id, moment) for kind, id in ((Batch, row.batch_id), (Pipeline, row.pipeline_id))
                )
                return over and not any(live)
            case Batch():
                over = row.status in BATCH_ENDED and row.updated_at <= moment and not self._has(Job, batch_id=row.id)
                return over and not self._is_live(Pipeline, row.pipeline_id, moment)
            case Pipeline():
                over = row.status in PIPELINE_ENDED and row.updated_at <= moment
                return over and not self._has(Job, pipeline_id=row.id) and not self._has(Batch, pipeline_id=row.id)
            case Monitoring():
                return row.created_at <= moment
        return False

    def _is_live(self, kind: Any, id: int | None, moment: datetime) -> bool:
        parent: Any = None if id is None else self._row(kind, id)
        if parent is None:
            return False
        if parent.status not in BATCH_ENDED | PIPELINE_ENDED or parent.updated_at > moment:
            return True
        if isinstance(parent, Batch):
            return self._is_active(batch_id=id) or self._is_live(Pipeline, parent.pipeline_id, moment)
        inner = [b for b in self._matching(Batch, EVERYTHING, None) if b.pipeline_id == id]
        return self._is_active(pipeline_id=id) or any(self._is_active(batch_id=batch.id) for batch in inner)

    def _is_active(self, **parent: Any) -> bool:
        ((via, id),) = parent.items()
        active = JOB_UNFINISHED - {JobStatus.PLANNED}
        return any(getattr(job, via) == id and job.status in active for job in self._matching(Job, EVERYTHING, None))

    def _has(self, kind: type[Record], **attribute: Any) -> bool:
        ((name, value),) = attribute.items()
        return any(getattr(row, name) == value for row in self._storage._tables[kind].values())

    def _remove(self, row: Record) -> None:
        goes_with: dict[type[Record], tuple[type[Record], str]] = {
            Job: (JobAttempt, "job_id"),
            Pipeline: (Step, "pipeline_id"),
        }
        if type(row) in goes_with:
            kind, via = goes_with[type(row)]
            for other in [r for r in self._storage._tables[kind].values() if getattr(r, via) == row.id]:
                self._storage._put(kind, other.id, None)
        self._storage._put(type(row), row.id, None)

    def _having(self, key: str | None, tenant: str) -> Job | None:
        if key is None:
            return None
        jobs = self._storage._tables[Job].values()
        return next((j for j in jobs if j.unique_id == key and j.tenant == tenant and j.deleted_at is None), None)

    def _hold(self, values: Changes) -> Any:
        holds = self._matching(Hold, EVERYTHING, values.get("tenant", ""))
        return next((_copy(hold) for hold in holds if hold.type == values["type"]), None)

    def _may(self, key: _Key, type: str, held: set[tuple[str, str | None]], tenants: Sequence[str] | None) -> bool:
        tenant = self._storage._tables[Job][key[2]].tenant
        return (tenants is None or tenant in tenants) and not held & {(tenant, type), (tenant, ALL_TYPES)}


def _is_ready(job: Job) -> bool:
    return job.status is JobStatus.QUEUED and job.due_at is None and job.deleted_at is None


def _key(job: Job) -> _Key:
    return (-job.priority, job.position, job.id)


def _expired(job: Job, now: datetime) -> bool:
    return job.lease_expires_at is not None and job.lease_expires_at <= now


def _last_touched(row: Any) -> tuple[Any, int]:
    if isinstance(row, Job):
        return (row.ended_at or row.updated_at, row.id)
    return (row.updated_at, row.id)


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
