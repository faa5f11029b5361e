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

from gnj.queue.model import Job, Record, RecordT
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
    `changes` contains the new status.
    """

    id: int
    attempt: int | None
    frm: Collection[str]
    changes: Changes = field(hash=False)
    expired: bool = False


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

    def insert(self, kind: type[RecordT], rows: Sequence[Changes]) -> list[RecordT]:
        """The rows, stored, in the given order; their ids ascend in it. What a row leaves out has the record's default.

        For every kind but jobs. A second hold of the same tenant and type is not stored: the one there is stands in its
        place in the answer.
        """

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """Each job, stored, in the given order, and True; the ids of the stored ones ascend in it.

        A job whose `unique_id` another job of the tenant has (not deleted) is not stored: the answer has that other job,
        unchanged, and False. This holds under any concurrency and within one call.
        """

    def edit(self, kind: type[RecordT], ids: Sequence[int], changes: Changes) -> list[RecordT]:
        """Writes `changes`, never a status, to those rows that exist and are not soft-deleted; returns them by id.

        A job's new `unique_id` that another job of the tenant has: `Duplicate` is raised, nothing is written.
        """

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        """Writes `changes`, with a status, to those rows that have a status in `frm` (None: no status); returns them by id."""

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        """`move` for every row, not soft-deleted, that meets `where`; how many moved."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        """Applies each settlement that still applies; the job as it then is, or None where it did not apply, in order.

        A `unique_id` among the changes that another job of the tenant has: `Duplicate` is raised.
        """

    def claim(
        self,
        types: Sequence[str],
        limit: int,
        *,
        lease: float,
        changes: Changes,
        tenants: Sequence[str] | None = None,
    ) -> list[Job]:
        """Hands out at most `limit` jobs, each to one caller only under any concurrency.

        Due jobs are promoted first. Eligible is a job that

        - is queued, not soft-deleted and has no `due_at` left,
        - has one of `types` and, unless `tenants` is None, one of those tenants,
        - is not held: no hold, of its tenant or of the tenant "", for its type or for "all", committed before this call.

        The order is priority descending, position ascending, id ascending, over all types together; among concurrent callers
        a row locked by another is passed over. Written: `changes` (with the status), `attempt` + 1, `lease` and
        `lease_expires_at` the present + `lease` seconds. The answer is in that order.
        The cost depends neither on how many jobs wait nor on how many held, delayed or other types' jobs stand before the
        first eligible one.
        """

    def renew(self, claims: Sequence[tuple[int, int]], lease: float) -> list[Job | None]:
        """Extends the leases of those (id, attempt) that still hold their job (processing or cancel-requested) to the present
        + `lease`; the job, or None where the claim is over, in the given order. `updated_at` stays.
        """

    def promote(self, limit: int) -> int:
        """Makes at most `limit` queued jobs whose `due_at` has passed ready (`due_at` null); how many. `updated_at` stays."""

    def lost(self, limit: int) -> list[Job]:
        """At most `limit` jobs that a claim holds though its lease has run out, the longest gone first; changes nothing.

        Rows another transaction has locked may be left out.
        """

    def prune(self, limit: int, *, deleted: float, ended: float | None) -> int:
        """Removes rows for good, at most `limit` of each kind, the longest gone first; how many in all.

        - What was soft-deleted more than `deleted` seconds ago.
        - Unless `ended` is None: jobs that ended more than `ended` seconds ago; jobs that are planned, last changed before
          then, and have a batch or pipeline; ended batches and pipelines that last changed before then and have no job (a
          pipeline: and no batch) left; monitoring rows that are older. But no member of a live batch or pipeline, nor a
          batch of a live pipeline: one that is not soft-deleted and has not ended, has changed since then, or has a job that
          is queued, processing or cancel-requested (a batch's also counts for its pipeline).

        A job's attempts go with it, and a pipeline's steps. Rows that another transaction has locked are passed over.
        """

    def trim(self, kind: type[Record], where: Condition, limit: int) -> int:
        """Removes for good at most `limit` rows that meet `where`, soft-deleted or not, the lowest ids first; how many.

        For kinds that no other row refers to. Rows that another transaction has locked are passed over.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """What the block writes is undone if it raises, and the transaction goes on as if it had not been."""

    def signal(self, wants: Collection[str] = ("jobs",)) -> None:
        """Tells other processes, once the transaction commits, to look: for "jobs" that may be ready, for "changes", or both.

        Does nothing where `Storage.capabilities` lacks "notify", or where no `Listener` wants it.
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
    def listen(self, wake: Callable[[], None], wants: str = "jobs") -> AbstractContextManager[Callable[[], bool]]:
        """While the block lasts, `wake()` is called, from a thread of the storage's, whenever another process signals that.

        Without the capability "notify" it is never called. A lost connection is made again in the background. The block is
        given a function that says whether signals arrive at the moment. With "jobs" the storage keeps the `Listener` for
        whom others signal; with "changes" that is the caller's own, who needs one in any case.
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

    def count(self, kind: type[Record], where: Condition = EVERYTHING, *, tenant: str | None = None) -> int:
        """See `Rows.count`."""
        with self.begin(write=False) as tx:
            return tx.count(kind, where, tenant=tenant)

    def exists(self, kind: type[Record], where: Condition) -> bool:
        """See `Rows.exists`."""
        with self.begin(write=False) as tx:
            return tx.exists(kind, where)

    def tally(
        self,
        kind: type[Record],
        by: Sequence[str | Bucket],
        where: Condition = EVERYTHING,
        *,
        tenant: str | None = None,
    ) -> dict[tuple[Any, ...], int]:
        """See `Rows.tally`."""
        with self.begin(write=False) as tx:
            return tx.tally(kind, by, where, tenant=tenant)

    def insert(self, kind: type[RecordT], rows: Sequence[Changes]) -> list[RecordT]:
        """See `Rows.insert`."""
        with self.begin() as tx:
            return tx.insert(kind, rows)

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """See `Rows.insert_jobs`."""
        with self.begin() as tx:
            return tx.insert_jobs(rows)

    def edit(self, kind: type[RecordT], ids: Sequence[int], changes: Changes) -> list[RecordT]:
        """See `Rows.edit`."""
        with self.begin() as tx:
            return tx.edit(kind, ids, changes)

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

    def claim(
        self,
        types: Sequence[str],
        limit: int,
        *,
        lease: float,
        changes: Changes,
        tenants: Sequence[str] | None = None,
    ) -> list[Job]:
        """See `Rows.claim`."""
        with self.begin() as tx:
            return tx.claim(types, limit, lease=lease, changes=changes, tenants=tenants)

    def renew(self, claims: Sequence[tuple[int, int]], lease: float) -> list[Job | None]:
        """See `Rows.renew`."""
        with self.begin() as tx:
            return tx.renew(claims, lease)

    def promote(self, limit: int) -> int:
        """See `Rows.promote`."""
        with self.begin() as tx:
            return tx.promote(limit)

    def lost(self, limit: int) -> list[Job]:
        """See `Rows.lost`."""
        with self.begin(write=False) as tx:
            return tx.lost(limit)

    def prune(self, limit: int, *, deleted: float, ended: float | None) -> int:
        """See `Rows.prune`."""
        with self.begin() as tx:
            return tx.prune(limit, deleted=deleted, ended=ended)

    def trim(self, kind: type[Record], where: Condition, limit: int) -> int:
        """See `Rows.trim`."""
        with self.begin() as tx:
            return tx.trim(kind, where, limit)
