"""What databases do differently, as one interface; everything else is common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic

from sqlalchemy import ColumnElement, Connection, Row

from gnj.queue.model import Job, RecordT
from gnj.queue.storage import Changes
from gnj.storage.sql.rows import Mapper, Shape
from gnj.storage.sql.schema import Tables
from gnj.storage.sql.where import Translator

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

SPARE: Final = 8
"""Candidates of a claim looked up beyond its limit, for those that others have locked."""
PROMOTED: Final = 1_000
"""Due jobs that one claim makes ready at most: some 25 ms of work. What is left over waits for the next claim."""


@dataclass(frozen=True, slots=True)
class Write(Generic[RecordT]):
    """Rows, named by their ids, that are changed alike and given back: those that are as expected, and no others.

    Args:
        mapper: Of which kind.
        key: Tells statements of one shape from others.
        shape: What is written to all of them, with its `parameters`.
        conditions: What is expected of a row.
        ids: The rows; one may be named again with another attempt.
        attempts: The attempt expected of each; None: any.
        json: What differs from row to row, by the column.
        extra: What else is written.
    """

    mapper: Mapper[RecordT]
    key: Hashable
    shape: Shape
    parameters: Mapping[str, Any]
    conditions: Callable[[], Sequence[ColumnElement[bool]]]
    ids: Sequence[int]
    attempts: Sequence[int] | None = None
    json: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    extra: Callable[[], Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Unique:
    """What no two rows may share, among those that meet `where`."""

    columns: tuple[str, ...]
    where: str


UNIQUE_ID: Final = Unique(("tenant", "job_unique_id"), "job_unique_id IS NOT NULL AND deleted_at IS NULL")
UNIQUE_HOLD: Final = Unique(("tenant", "type"), "deleted_at IS NULL")
OURS: Final = "gnj"
"""Stands in the `info` of connections of our own engines, whose sessions we may set up."""
LIMIT: Final = "gnj_limit"
"""Stands in the `info` of those whose session has a limit for its statements: which, in seconds."""


class Dialect(ABC):
    """One database's ways."""

    name: str
    has_clock: bool
    """Whether the database's own clock is taken; else the host's."""
    now: str
    """The database's present, as SQL: one value in a whole statement."""
    skips_locked: bool
    """Whether claims pass over rows that others have locked."""
    keyed: bool = False
    """Whether its tables have generated columns in the place of partial indexes."""
    reads_old: bool = False
    """Whether a transaction of the host's may go on reading what was committed when it began: a locking read does not."""
    translator: Translator

    @abstractmethod
    def begin(self, connection: Connection, *, write: bool) -> None:
        """Begins a transaction on a fresh connection, whose statements have the limit of a request, if there is one."""

    def join(self, connection: Connection) -> None:  # noqa: B027 - most have nothing to make sure of
        """Makes sure that a connection of the host's is in a transaction, before anything is written through it."""

    @abstractmethod
    def begin_serializable(self, connection: Connection, tables: Tables) -> None:
        """Begins one that behaves as if it ran alone, once no other such is under way; see `Storage.begin_serializable`."""

    @abstractmethod
    def of_ids(self, target: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether `target` is one of the parameter `of_ids`, which `ids` makes."""

    @abstractmethod
    def ids(self, ids: Sequence[int]) -> Any:
        """Ids as the parameter of `of_ids`."""

    @abstractmethod
    def bucket(self, moment: ColumnElement[Any], seconds: int) -> ColumnElement[int]:
        """The number of the period of `seconds` that a time lies in, since 1970."""

    @abstractmethod
    def ordered(self, column: Any, *, descending: bool) -> list[Any]:
        """The terms that order by `column`: nulls last when ascending, first when descending."""

    @abstractmethod
    def lease_ends(self, tables: Tables) -> tuple[ColumnElement[Any], list[ColumnElement[bool]]]:
        """The column an index has of when the leases of claimed jobs end, and what else makes a job a claimed one."""

    @abstractmethod
    def having(
        self, mapper: Mapper[Any], unique: Unique, keys: Collection[tuple[str, ...]]
    ) -> list[ColumnElement[bool]]:
        """Whether a row, not soft-deleted, has one of these keys: the conditions of as many statements as are needed."""

    @abstractmethod
    def insert(
        self, rows: SqlRows, mapper: Mapper[RecordT], given: Sequence[Changes], unless: Unique | None
    ) -> list[RecordT]:
        """Stores rows with ascending ids, but those whose key `unless` another row has; those that were stored, by id."""

    @abstractmethod
    def write(self, rows: SqlRows, write: Write[RecordT]) -> list[Row[Any]]:
        """The rows that were as expected, changed, in any order. They are locked in the order of their ids."""

    @abstractmethod
    def move_all(
        self,
        rows: SqlRows,
        mapper: Mapper[Any],
        shape: Shape,
        parameters: Mapping[str, Any],
        where: ColumnElement[bool],
    ) -> int:
        """Changes all rows that meet `where`; how many."""

    @abstractmethod
    def claim(
        self, rows: SqlRows, types: Sequence[str], limit: int, changes: Changes, tenants: Sequence[str] | None
    ) -> list[Job]:
        """See `Rows.claim`; in any order."""

    @abstractmethod
    def promote(self, rows: SqlRows, limit: int) -> int:
        """See `Rows.promote`."""
