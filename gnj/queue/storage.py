"""The storage protocol. Its docstrings are the specification; `gnj.testing.StorageContract` is its proof.

A storage moves rows; it contains no rule. It offers its methods twice: in a transaction of the caller's
(`with storage.begin() as tx: tx.claim(...)`), and on itself, each call in a transaction of its own.

**Changes** map attribute names of a record to values. A value may stand for something the storage fills in:
`After(seconds)` its own present plus that many seconds (`NOW` is its present), `Same(attribute)` what that attribute of
the same row holds after the other changes are applied (`negative`: before them, and only of rows that are there). JSON attributes take checked JSON values; None is SQL's NULL, also for JSON.

**Times** come from the storage's clock alone: the database's, or the one a test put in its place. `updated_at` is set to
the present by every method that changes a row, unless the changes name it; `created_at` by `insert` likewise.

**Isolation.** Two transactions that write behave as if one came after the other wherever this page says "locks", and
every write is a compare-and-set on what this page names. A storage may make `begin(write=True)` exclusive altogether.

**Errors.** A storage raises `GnjError`s only: `StorageUnavailable` when the database cannot be reached or stays locked,
`NotMigrated` when its tables are missing. A transaction that fails leaves nothing behind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from gnj.queue.model import Job, Permit, Record, RecordT
from gnj.queue.states import JobStatus
from gnj.queue.values import Json
from gnj.queue.wake import Listening, Through
from gnj.queue.where import EVERYTHING, Condition

Changes: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Select:
    """Which rows of a list, and in which order.

    Args:
        where: The condition the rows meet.
        order: Pairs of an attribute name, or `name.attribute` of a row it belongs to (`BELONGS`), and whether it descends. Ties are broken by the id, ascending. Nulls come last
            when ascending and first when descending; text goes by code point.
        limit: At most so many rows; None: all.
        offset: Leaves out so many rows at the start.
        per: With an attribute name, `limit` and `offset` count anew for each of its values; `order` holds within each, and
            rows come grouped by it in ascending order.
        deleted: Whether soft-deleted rows count.
    """

    where: Condition = EVERYTHING
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    offset: int = 0
    per: str | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Bucket:
    """Stands, in a tally, for the period a time lies in: its number since 1970 in UTC. Null stays null."""

    attribute: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a claim, or another change of one job's status, as compare-and-set.

    It applies while the job has one of the statuses `frm` and, when `attempt` is not None, that very `attempt`; with
    `expired`, only while its lease has run out, so that a lease renewed in the meantime spares its holder.
    With `plain`, it applies only to a job that has neither batch nor pipeline, and not to one that another transaction has
    locked, where the storage can tell: nothing is waited for. `tenant` None: of any tenant. With `but`, it does not apply to a
    job whose type begins with that text.
    `changes` contains the new status.
    """

    id: int
    attempt: int | None
    frm: Collection[str]
    changes: Changes = field(hash=False)
    expired: bool = False
    plain: bool = False
    tenant: str | None = None
    but: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Each:
    """Stands, among the changes of a claim, for a value of its own for each row: the first job gets the first, and so on."""

    values: Sequence[str | None]


ALL = Select()
"""Every row, by id."""


class Rows(Protocol):
    """What can be done inside a transaction."""

    def now(self) -> datetime:
        """The storage's present: aware UTC, whole milliseconds; within one transaction it may move on."""

    def get(self, kind: type[RecordT], id: int, *, tenant: str | None = None, lock: bool = False) -> RecordT | None:
        """The row with that id, unless it is soft-deleted or belongs to another tenant (`tenant` None: any).

        With `lock` the row stays locked until the transaction ends, and what is returned is its state under the lock.
        """

    def find(self, kind: type[RecordT], select: Select = ALL, *, tenant: str | None = None) -> list[RecordT]:
        """The rows that `select` describes."""

    def columns(
        self, kind: type[Record], names: Sequence[str], select: Select = ALL, *, tenant: str | None = None
    ) -> list[tuple[Any, ...]]:
        """`find`, but of each row only the attributes `names`, in that order: what else is in it may be large."""

    def count(self, kind: type[Record], where: Condition = EVERYTHING, *, tenant: str | None = None) -> int:
        """How many rows that are not soft-deleted meet `where`."""

    def exists(self, kind: type[Record], where: Condition) -> bool:
        """Whether a row that is not soft-deleted meets `where`; reads no more than it must."""

    def tally(
        self,
        kind: type[Record],
        by: Sequence[str | Bucket],
        where: Condition = EVERYTHING,
        *,
        tenant: str | None = None,
    ) -> dict[tuple[Any, ...], int]:
        """How many rows that are not soft-deleted meet `where`, for each combination of the values of `by` there is."""

    def tally_ended(
        self,
        by: Sequence[str | Bucket],
        since: datetime | None,
        where: Condition = EVERYTHING,
        *,
        type: str | None = None,
        tenant: str | None = None,
    ) -> dict[tuple[Any, ...], int]:
        """`tally` of the jobs that have ended (and have an `ended_at`), of a type and tenant (None: any), at `since` or later
        (None: whenever).

        The cost depends on how many these are and, without a type or a tenant, on how many types and tenants have ended jobs.
        """

    def insert(self, kind: type[RecordT], rows: Sequence[Changes]) -> list[RecordT]:
        """The rows, stored, in the given order; their ids ascend in it. What a row leaves out has the record's default.

        For every kind but jobs. A second row of those of which there is one at most (`ONE_OF`: a hold of a tenant and type, for
        example) is not stored: the one there is stands in its place in the answer, unchanged.
        """

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """Each job, stored, in the given order, and True; the ids of the stored ones ascend in it.

        A job whose `unique_id` another job of the tenant has (not deleted) is not stored: the answer has that other job,
        unchanged, and False. This holds under any concurrency and within one call. Where another job of the tenant and type
        (not deleted) has a `custom_id`, `Duplicate` is raised, and nothing is stored.
        """

    def edit(self, kind: type[RecordT], ids: Sequence[int], changes: Changes) -> list[RecordT]:
        """Writes `changes`, never a status, to those rows that exist and are not soft-deleted; returns them by id.

        A job's new `unique_id` that another job of the tenant has: `Duplicate` is raised, nothing is written.
        """

    def rewrite(self, kind: type[Record], id: int, changes: Changes) -> bool:
        """`edit` of one row of a kind that nobody follows, for who needs no more than whether it was there."""

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        """Writes `changes`, with a status, to those rows that have a status in `frm` (None: no status); returns them by id."""

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        """`move` for every row, not soft-deleted, that meets `where`; how many moved."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        """Applies each settlement that still applies; the job as it then is, or None where it did not apply, in order.

        A `unique_id` among the changes that another job of the tenant has: `Duplicate` is raised.
        """

    def complete(self, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes) -> list[bool]:
        """Ends claims (id, attempt, output) of jobs that have neither batch nor pipeline, for who needs no more than whether
        each applied: `settle` without the rows.

        `changes`, with the status, are written to all that have a status in `frm` and that very attempt, the output only
        where it is not None. In the given order; False, and nothing written, also where the job has parents, or where another
        transaction has locked it and this one would have to wait. Of a claim that is named twice, the second end is False.
        """

    def claim(
        self, types: Sequence[str], limit: int, *, lease: float, changes: Changes, tenants: Sequence[str] | None = None
    ) -> list[Job]:
        """Hands out at most `limit` jobs, each to one caller only under any concurrency.

        Due jobs are promoted first. Eligible is a job that

        - is queued, not soft-deleted and has no `due_at` left,
        - has one of `types` and, unless `tenants` is None, one of those tenants,
        - is not held: no hold, of its tenant or of the tenant "", for its type or for "all", committed before this call.

        The order is priority descending, position ascending, id ascending, over all types together; among concurrent callers
        a row locked by another is passed over. Written: `changes` (with the status; see `Each`), `attempt` + 1, `lease` and
        `lease_expires_at` the present + `lease` seconds. The answer is in that order.
        The cost depends neither on how many jobs wait nor on how many held, delayed or other types' jobs stand before the
        first eligible one.
        """

    def take(self, ids: Sequence[int], *, lease: float, changes: Changes) -> list[Job]:
        """Claims those of these jobs that are ready, held or not: what `claim` writes is written. By id."""

    def permits(self, limit_id: int) -> list[tuple[Permit, bool]]:
        """The permits of a limit, by id, each with whether it counts: its job is claimed (processing or cancel-requested), not
        soft-deleted, and has that very attempt.
        """

    def renew(self, claims: Sequence[tuple[int, int]], lease: float, *, wait: bool = True) -> list[Job | None]:
        """Extends the leases of those (id, attempt) that still hold their job (processing or cancel-requested) to the present
        + `lease`; the job, or None where the claim is over, in the given order. `updated_at` stays.

        Without `wait`, rows that another transaction has locked may be passed over, and are None as well.
        """

    def promote(self, limit: int) -> int:
        """Makes at most `limit` queued jobs whose `due_at` has passed ready (`due_at` null); how many. `updated_at` stays."""

    def lost(self, limit: int) -> list[Job]:
        """At most `limit` jobs that a claim holds though its lease has run out, the longest gone first; changes nothing.

        Rows another transaction has locked may be left out.
        """

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
        """Ids, tenants and limit keys of at most `limit` ready jobs of `type`, in the order of claims: what is queued, not
        soft-deleted and has no `due_at` left, held or not. Nothing is locked.

        `tenant` None: of every tenant. With `key`, and then of one tenant, only jobs of that limit key; a storage that has no
        index of them may look among the first 10,000 jobs only. `backward` gives the last ones first. `low` and `high` bound
        the priority, inclusive; `offset` leaves out so many at the start. The cost depends on `offset` and `limit`, not on how
        many jobs there are before the first one, behind the last one, or of other tenants.
        """

    def lane_size(self, type: str, tenant: str, *, low: int | None = None, high: int | None = None) -> int:
        """How many jobs `lane` would give: counted along the index, and nothing else is read."""

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
        """Ids of at most `limit` queued jobs of a type and tenant that have a `due_at`, passed or not, not soft-deleted, the
        earliest first, then by id; `backward` gives the last ones first; `upto` leaves out those whose `due_at` is later. The cost depends on how many
        jobs wait so, of whatever type and tenant, not on those that do not.
        """

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
        """Ids of at most `limit` jobs of a type and tenant that have one of these statuses and an `ended_at`, not
        soft-deleted, and those times: by these, then by id; `backward` gives the last ones first.

        `beyond`, such a time and id, leaves out that job and what comes before it; `offset` so many more. The cost depends on
        `offset` and `limit`, and on how many ended in the very moment of `beyond`, not on how many jobs there are.
        """

    def named(self, type: str, tenant: str, ids: Collection[str], *, again: bool = False) -> list[Job]:
        """The jobs of a type and tenant, not soft-deleted, that have one of these custom ids, by id; each costs the same.

        `again`: as they are by now, also where a transaction of the host's goes on reading what was there when it began.
        """

    def keys(self, type: str, tenant: str, after: str, limit: int) -> list[str]:
        """The first `limit` limit keys beyond `after`, by code point, that ready jobs of the type and tenant have; none is "".

        Each costs the same, however many jobs have it; a storage that has no index of them may look among the first 10,000
        jobs only.
        """

    def tenants(self, type: str, after: str | None, limit: int) -> list[str]:
        """The first `limit` tenants beyond `after` (None: of all) that have ready jobs of the type, each once.

        In an order of the storage's own, which does not change. Each costs the same, however many jobs it has.
        """

    def listens(self, wants: str, besides: int | None = None) -> bool:
        """Whether somebody wants that: there is a `Listener`, other than the row `besides`, that has not expired."""

    def prune(self, limit: int, *, deleted: float, ended: float | None) -> int:
        """Removes rows for good, at most `limit` of each kind, the longest gone first (of ended jobs: of each type, tenant and
        status); how many in all.

        - What was soft-deleted more than `deleted` seconds ago.
        - Unless `ended` is None: jobs that ended more than `ended` seconds ago; jobs that are planned, last changed before
          then, and have a batch or pipeline; ended batches and pipelines that last changed before then and have no job (a
          pipeline: and no batch) left; monitoring rows that are older. But no member of a live batch or pipeline, nor a
          batch of a live pipeline: one that is not soft-deleted and has not ended, has changed since then, or has a job that
          is queued, processing or cancel-requested (a batch's also counts for its pipeline).

        A job's attempts and log go with it, a pipeline's steps, and what a limit has counted (`GO_WITH`). Rows that another transaction has locked are passed over.
        """

    def trim(self, kind: type[Record], where: Condition, limit: int) -> int:
        """Removes for good at most `limit` rows that meet `where`, soft-deleted or not, the lowest ids first; how many.

        For kinds that no other row refers to. Rows that another transaction has locked are passed over.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """What the block writes is undone if it raises, and the transaction goes on as if it had not been."""

    def signal(self, wants: Collection[str] = ("jobs",)) -> None:
        """Tells other processes, once the transaction commits, to look: for "jobs" that may be ready, for "changes", or both.

        Does nothing where `Storage.capabilities` lacks "notify", where no `Listener` wants it, or where those who listen see
        for themselves what was committed.
        """


class Storage(ABC):
    """A place where rows are kept: makes transactions, and offers `Rows` on itself, each call in one of its own."""

    capabilities: frozenset[str] = frozenset()
    """What this storage can do beyond the protocol: "durable" (survives the process), "processes" (shared by several),
    "concurrent_claims" (claims do not wait for each other), "notify" (wakes other processes), "connections" (`bind`),
    "embedded" (needs no server, and nobody but gnj to migrate it: that is done on first use)."""

    @abstractmethod
    def begin(self, *, write: bool = True) -> AbstractContextManager[Rows]:
        """A transaction: commits when the block ends, rolls back when it raises. `write=False` may only read.

        `Conflict` is raised where another transaction stood in the way (deadlock, serialisation) and a second try of the
        whole block can win.
        """

    def begin_serializable(self) -> AbstractContextManager[Rows]:
        """A transaction that writes, as `begin` makes it, and that moreover behaves as if it ran alone: what it has read,
        also of tables that are not gnj's, is still so when it commits, or `Conflict` is raised. Those it makes run one after
        the other.

        Has to be overridden where writers do not wait for each other ("concurrent_claims"); elsewhere `begin` is that.
        """
        if "concurrent_claims" in self.capabilities:
            raise NotImplementedError
        return self.begin()

    @abstractmethod
    def bind(self, connection: Any) -> AbstractContextManager[Rows]:
        """The rows seen through the caller's own open connection and transaction; never commits nor rolls back."""

    @abstractmethod
    def migrate(self) -> None:
        """Brings the tables up to this version of gnj. Any number of processes may call it at once.

        Raises `DatabaseTooNew`, naming both versions, when a newer gnj was there before.
        """

    @abstractmethod
    def check(self) -> None:
        """Returns when the storage answers and is migrated; raises `StorageUnavailable`, `NotMigrated` or
        `DatabaseTooNew`.
        """

    @abstractmethod
    def listen(self, wake: Callable[[], None], wants: str = "jobs", *, through: Through | None = None) -> Listening:
        """While the block lasts, `wake()` is called, from a thread of the storage's, whenever another process signals that.

        It may be called for what this process did, too, but not for ever where nothing is committed. Without the capability
        "notify" it is never called. A lost connection is made again in the background. With "jobs" the storage keeps the
        `Listener` for whom others signal, if it needs one; with "changes" that is the caller's own, who needs one in any case.
        What is heard `through` a receiver by those who wait, if the storage has one to lend, `wake` may not be called for.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives back what the storage itself opened; it may not be used any more."""

    def now(self) -> datetime:
        """See `Rows.now`."""
        with self.begin(write=False) as tx:
            return tx.now()

    def get(self, kind: type[RecordT], id: int, *, tenant: str | None = None) -> RecordT | None:
        """See `Rows.get`."""
        with self.begin(write=False) as tx:
            return tx.get(kind, id, tenant=tenant)

    def find(self, kind: type[RecordT], select: Select = ALL, *, tenant: str | None = None) -> list[RecordT]:
        """See `Rows.find`."""
        with self.begin(write=False) as tx:
            return tx.find(kind, select, tenant=tenant)

    def columns(
        self, kind: type[Record], names: Sequence[str], select: Select = ALL, *, tenant: str | None = None
    ) -> list[tuple[Any, ...]]:
        """See `Rows.columns`."""
        with self.begin(write=False) as tx:
            return tx.columns(kind, names, select, tenant=tenant)

    def count(self, kind: type[Record], where: Condition = EVERYTHING, *, tenant: str | None = None) -> int:
        """See `Rows.count`."""
        with self.begin(write=False) as tx:
            return tx.count(kind, where, tenant=tenant)

    def exists(self, kind: type[Record], where: Condition) -> bool:
        """See `Rows.exists`."""
        with self.begin(write=False) as tx:
            return tx.exists(kind, where)

    def tally(
        self, kind: type[Record], by: Sequence[str | Bucket], *of: Any, **more: Any
    ) -> dict[tuple[Any, ...], int]:
        """See `Rows.tally`."""
        with self.begin(write=False) as tx:
            return tx.tally(kind, by, *of, **more)

    def tally_ended(
        self, by: Sequence[str | Bucket], since: datetime | None, *where: Condition, **of: Any
    ) -> dict[tuple[Any, ...], int]:
        """See `Rows.tally_ended`."""
        with self.begin(write=False) as tx:
            return tx.tally_ended(by, since, *where, **of)

    def insert(self, kind: type[RecordT], rows: Sequence[Changes]) -> list[RecordT]:
        """See `Rows.insert`."""
        with self.begin() as tx:
            return tx.insert(kind, rows)

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """See `Rows.insert_jobs`."""
        with self.begin() as tx:
            return tx.insert_jobs(rows)

    def enqueue(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """`insert_jobs` in a transaction of its own, which signals "jobs" if one that was stored is queued.

        To be overridden where that is faster in one statement.
        """
        with self.begin() as tx:
            stored = tx.insert_jobs(rows)
            if any(new and job.status is JobStatus.QUEUED for job, new in stored):
                tx.signal()
            return stored

    def edit(self, kind: type[RecordT], ids: Sequence[int], changes: Changes) -> list[RecordT]:
        """See `Rows.edit`."""
        with self.begin() as tx:
            return tx.edit(kind, ids, changes)

    def rewrite(self, kind: type[Record], id: int, changes: Changes) -> bool:
        """See `Rows.rewrite`."""
        with self.begin() as tx:
            return tx.rewrite(kind, id, changes)

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        """See `Rows.move`."""
        with self.begin() as tx:
            return tx.move(kind, ids, frm, changes)

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        """See `Rows.move_all`."""
        with self.begin() as tx:
            return tx.move_all(kind, where, frm, changes)

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        """See `Rows.settle`."""
        with self.begin() as tx:
            return tx.settle(settlements)

    def complete(self, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes) -> list[bool]:
        """See `Rows.complete`."""
        with self.begin() as tx:
            return tx.complete(ends, frm, changes)

    def claim(
        self, types: Sequence[str], limit: int, *, lease: float, changes: Changes, tenants: Sequence[str] | None = None
    ) -> list[Job]:
        """See `Rows.claim`."""
        with self.begin() as tx:
            return tx.claim(types, limit, lease=lease, changes=changes, tenants=tenants)

    def take(self, ids: Sequence[int], *, lease: float, changes: Changes) -> list[Job]:
        """See `Rows.take`."""
        with self.begin() as tx:
            return tx.take(ids, lease=lease, changes=changes)

    def permits(self, limit_id: int) -> list[tuple[Permit, bool]]:
        """See `Rows.permits`."""
        with self.begin(write=False) as tx:
            return tx.permits(limit_id)

    def renew(self, claims: Sequence[tuple[int, int]], lease: float, *, wait: bool = True) -> list[Job | None]:
        """See `Rows.renew`."""
        with self.begin() as tx:
            return tx.renew(claims, lease, wait=wait)

    def locked(self, kind: type[Record], ids: Sequence[int]) -> frozenset[int]:
        """Those of the rows that somebody's transaction has locked, so that a change would have to wait; none where that
        cannot be, or cannot be told.
        """
        del kind, ids
        return frozenset()

    def promote(self, limit: int) -> int:
        """See `Rows.promote`."""
        with self.begin() as tx:
            return tx.promote(limit)

    def lost(self, limit: int) -> list[Job]:
        """See `Rows.lost`."""
        with self.begin(write=False) as tx:
            return tx.lost(limit)

    def lane(self, type: str, tenant: str | None, limit: int, **part: Any) -> list[tuple[int, str, str | None]]:
        """See `Rows.lane`."""
        with self.begin(write=False) as tx:
            return tx.lane(type, tenant, limit, **part)

    def lane_size(self, type: str, tenant: str, *, low: int | None = None, high: int | None = None) -> int:
        """See `Rows.lane_size`."""
        with self.begin(write=False) as tx:
            return tx.lane_size(type, tenant, low=low, high=high)

    def due(self, type: str, tenant: str, limit: int, **part: Any) -> list[int]:
        """See `Rows.due`."""
        with self.begin(write=False) as tx:
            return tx.due(type, tenant, limit, **part)

    def ended(
        self, type: str, tenant: str, statuses: Collection[JobStatus], limit: int, **part: Any
    ) -> list[tuple[int, datetime]]:
        """See `Rows.ended`."""
        with self.begin(write=False) as tx:
            return tx.ended(type, tenant, statuses, limit, **part)

    def named(self, type: str, tenant: str, ids: Collection[str], *, again: bool = False) -> list[Job]:
        """See `Rows.named`."""
        with self.begin(write=False) as tx:
            return tx.named(type, tenant, ids, again=again)

    def keys(self, type: str, tenant: str, after: str, limit: int) -> list[str]:
        """See `Rows.keys`."""
        with self.begin(write=False) as tx:
            return tx.keys(type, tenant, after, limit)

    def tenants(self, type: str, after: str | None, limit: int) -> list[str]:
        """See `Rows.tenants`."""
        with self.begin(write=False) as tx:
            return tx.tenants(type, after, limit)

    def listens(self, wants: str, besides: int | None = None) -> bool:
        """See `Rows.listens`."""
        with self.begin(write=False) as tx:
            return tx.listens(wants, besides)

    def prune(self, limit: int, *, deleted: float, ended: float | None) -> int:
        """See `Rows.prune`."""
        with self.begin() as tx:
            return tx.prune(limit, deleted=deleted, ended=ended)

    def trim(self, kind: type[Record], where: Condition, limit: int) -> int:
        """See `Rows.trim`."""
        with self.begin() as tx:
            return tx.trim(kind, where, limit)

    def signal(self, wants: Collection[str] = ("jobs",)) -> None:
        """See `Rows.signal`: of what was committed before."""
        with self.begin(write=False) as tx:
            tx.signal(wants)
