"""What databases do differently, as one interface; everything else is common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic

from sqlalchemy import ColumnElement, Connection, Row, Table

from gnj.queue.model import ONE_OF, Hold, Job, Record, RecordT
from gnj.queue.storage import Changes
from gnj.storage.sql.rows import Mapper, Shape
from gnj.storage.sql.schema import Tables
from gnj.storage.sql.where import Translator

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

SPARE: Final = 8
"""Candidates of a claim looked up beyond its limit, for those that others have locked."""
LANE: Final = 64
"""Candidates of one type, or of one type and tenant, that are looked up for a claim even where there are many such. 500 jobs
of 20 types are found among 64 of each; with 508 of each, that claim read twice the blocks."""
NEAR: Final = 100
"""Jobs of a type that are looked through for those of tenants that are not held, beyond those that a claim needs. If they do
not reach, all tenants of the type are looked up, at some 18 blocks each: with 1,000 of them, 30 ms."""
NUMBERS: Final = ("most", "fetch", "each")
"""The parameters of a claim that say how many. A LIMIT for each would be a statement of its own to be planned and kept."""
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
        skips: Rows that another transaction has locked are passed over, where the database can.
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
    skips: bool = False


@dataclass(frozen=True, slots=True)
class Unique:
    """What no two rows may share, among those that meet `where`: the tenant, and one column or two more.

    Args:
        columns: Those.
        where: See above.
        keys: What MySQL has in their place (`schema_mysql`).
        index: What is left of the index's name.
    """

    columns: tuple[str, ...]
    where: str
    keys: tuple[str, ...]
    index: str


UNIQUE_ID: Final = Unique(
    ("tenant", "job_unique_id"), "job_unique_id IS NOT NULL AND deleted_at IS NULL", ("unique_key",), "unique_id"
)
CUSTOM_ID: Final = Unique(
    ("tenant", "type", "custom_id"), "custom_id IS NOT NULL AND deleted_at IS NULL", ("custom_key",), "custom_id"
)
UNIQUE: Final[Mapping[type[Record], Unique]] = MappingProxyType(
    {
        kind: Unique(
            (columns[0], columns[1]),
            "deleted_at IS NULL",
            ("held_type", "held_tenant") if kind is Hold else ("one_key",),
            columns[1],
        )
        for kind, columns in ONE_OF.items()
    }
)
"""Of which rows there is one at most; attributes and columns have the same names there."""
OURS: Final = "gnj"
"""Stands in the `info` of connections of our own engines, whose sessions we may set up."""
LIMIT: Final = "gnj_limit"
"""Stands in the `info` of those whose session has a limit for its statements: which, in seconds."""
SESSION: Final = "gnj_session"
"""Stands in the `info` of those that hot statements can be sent through directly (`direct_postgresql`): how."""
ROUTED: Final = "gnj_routed"
"""Stands in the `info` of those whose session is set up for that."""


class Dialect(ABC):
    """One database's ways."""

    name: str
    has_clock: bool
    """Whether the database's own clock is taken; else the host's."""
    now: str
    """The database's present, as SQL: one value in a whole statement."""
    skips_locked: bool
    """Whether claims pass over rows that others have locked."""
    counts: bool = False
    """Whether ends are counted, which takes less than to have their ids given back: where one is missing, which is rare, all of them are
    undone and made anew, and nobody else has written meanwhile."""
    gives_each: bool = False
    """Whether one claim can write other values to each row (`Each`)."""
    along: str = ""
    """What stands after a table's name to have the index `{}` taken."""
    laterals: bool = False
    """Whether values that are looked for must be named one by one, in a LATERAL subquery, to be found along an index."""
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

    def by_primary_key(self, statement: Any, table: Table) -> Any:
        """A SELECT by ids that locks rows, of which it must come across no others."""
        del table
        return statement

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

    def changed(self, rows: SqlRows, write: Write[RecordT]) -> list[RecordT]:
        """`write` as a hot statement: the records."""
        return write.mapper.records(self.write(rows, write))

    @abstractmethod
    def rewrite(self, rows: SqlRows, write: Write[Any]) -> bool:
        """`write` of one row, for who needs no more than whether it was as expected."""

    @abstractmethod
    def complete(self, rows: SqlRows, write: Write[Job]) -> set[int]:
        """The ids of the jobs that were as expected, changed; no row is named twice. Of `json`, what is None is not written."""

    def complete_all(self, rows: SqlRows, write: Write[Job]) -> bool:
        """`complete` where it `counts`; whether all of them were as expected."""
        raise NotImplementedError

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
