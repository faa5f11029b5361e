"""The tables. Those of the records are generated from `gnj.queue.model`; the rest are the storage's own.

No foreign keys: the queue checks under its own locks, in its own order, that a parent exists (architecture.md, lock order),
and a foreign key would lock that parent again from inside an insert of a job. Composite ones (tenant, id) would also need a
second unique index on every parent table, and `retry_of_job_id` an index of its own, so that pruning stays cheap.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from sqlalchemy import Boolean, Column, Computed, Identity, Integer, MetaData, Table, sql, text

from gnj.queue.errors import InvalidInput
from gnj.queue.model import QUEUE_RECORDS, Attribute, Hold, Job, Kind, Listener, Record, attributes
from gnj.storage.sql.columns import FLOAT, ID, JSON, KEY, TEXT, TIME, WORD

if TYPE_CHECKING:
    from gnj.storage.sql.schema_content import ContentTables

T = TypeVar("T")

DEFAULT_PREFIX = "gnj_"

READY: Final = "status = 'queued' AND due_at IS NULL AND deleted_at IS NULL"
"""When a job can be claimed: the value of the column `ready`, which nothing writes."""
DUE: Final = "due_at IS NOT NULL AND status = 'queued' AND deleted_at IS NULL"
"""When a job waits for its time to come."""
CLAIMED: Final = "status IN ('processing', 'cancel-requested') AND deleted_at IS NULL"
"""When a claim holds a job."""
ENDED: Final = "ended_at IS NOT NULL AND deleted_at IS NULL"
"""When a job has ended."""
GROUPED: Final = "ready AND limit_key IS NOT NULL"
"""When a job can be claimed and has a limit key."""
# Statements repeat these texts word for word: a partial index serves a query only if its condition is seen to follow, and
# that of a bound parameter is not.

_KINDS: Mapping[Kind, Any] = {
    Kind.INT: Integer(),
    Kind.ID: ID,
    Kind.TEXT: TEXT,
    Kind.BOOL: Boolean(),
    Kind.FLOAT: FLOAT,
    Kind.JSON: JSON,
    Kind.TIME: TIME,
}

# Claim and end of a job rewrite its row twice. Room on the page keeps the versions together, and vacuum comes by the number
# of dead rows: at the default 20 % a table of a million finished jobs would collect 200,000 dead versions first.
_BUSY: Final[dict[str, Any]] = {
    "postgresql_with": {
        "fillfactor": 85,
        "autovacuum_vacuum_scale_factor": 0.01,
        "autovacuum_analyze_scale_factor": 0.02,
    }
}

_CONVENTION: Final = {"pk": "%(table_name)s_pkey"}
_NAMES: Final = {kind: name for name, kind in QUEUE_RECORDS.items()}
_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,19}|")
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class MakeTable(Protocol):
    """What makes a table of a name and columns."""

    def __call__(self, name: str, *columns: Column[Any], numbered: bool = True, **options: Any) -> Table:
        """The table, with these options of dialects; `numbered`: its rows get ids that are never used again."""


class Tables:
    """The tables under one prefix and in one schema, each made when it is first asked for.

    All of them, with what SQLAlchemy keeps of each column, take 1.4 MB, and a worker needs the tables of jobs and some more: 0.3 MB.
    No lock: where two threads make one at once, that of the first is everybody's.

    Args:
        prefix: How their names begin.
        schema: Where they are; None: where the connection looks first.
        keyed: Those of MySQL, with generated columns in the place of partial indexes (`schema_mysql`).
        only: The SQLAlchemy dialect whose particulars they have, in the place of all: to name another one loads it, 1 to 2 MB each.

    Raises `InvalidInput` where these are no plain names, or too long for what is made of them.
    """

    def __init__(
        self, prefix: str = DEFAULT_PREFIX, schema: str | None = None, *, keyed: bool = False, only: str | None = None
    ) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise InvalidInput(f"prefix must be at most 20 letters, digits and underscores, not {prefix[:100]!r}")
        if schema is not None and not _SCHEMA.fullmatch(schema):
            raise InvalidInput(f"schema must be at most 63 letters, digits and underscores, not {schema[:100]!r}")
        self.prefix = prefix
        self.schema = schema
        self.keyed = keyed
        self._only = only
        self._made: dict[str, Any] = {}
        self.job = self.of(Job)

    def of(self, kind: type[Record]) -> Table:
        """The table of a record."""
        name = _name(kind)
        return self._kept(name, lambda: self._record(name, kind, self._alone()))

    @property
    def hold(self) -> Table:
        """The table of holds."""
        return self.of(Hold)

    @property
    def listener(self) -> Table:
        """The table of those who want to be told."""
        return self.of(Listener)

    @property
    def bucket(self) -> Table | None:
        """Locks of MySQL's."""
        return self._kept("bucket", lambda: self._bucket(self._alone())) if self.keyed else None

    @property
    def content(self) -> ContentTables | None:
        """Those of the content store, which MySQL has none of."""
        return None if self.keyed else self._kept("content", lambda: self._content(self._alone()))

    @property
    def metadata(self) -> MetaData:
        """All of them once more, with their indexes: what a database is compared with, and nothing is asked for with."""
        return self._kept("metadata", self._whole)

    def name(self, table: Table) -> str:
        """A table's name as hand-written SQL has it."""
        mark = "`" if self.keyed else '"'
        return ".".join(f"{mark}{name}{mark}" for name in (self.schema, table.name) if name is not None)

    @property
    def ready_index(self) -> str:
        """The name of the index that claims are made from."""
        return f"{self.job.name}_ready_idx"

    @property
    def lane_index(self) -> str:
        """The name of the index that claims for one tenant are made from."""
        return f"{self.job.name}_lane_idx"

    @property
    def group_index(self) -> str:
        """The name of the index of the jobs of each limit key; MySQL has none."""
        return f"{self.job.name}_group_idx"

    @property
    def due_index(self) -> str:
        """The name of the index by which jobs become ready."""
        return f"{self.job.name}_due_idx"

    @property
    def ended_index(self) -> str:
        """The name of the index of the jobs that have ended, of each type, tenant and status by the time of their end."""
        return f"{self.job.name}_ended_idx"

    @property
    def version_table(self) -> str:
        """The name of the table in which the migrations note how far they came."""
        return f"{self.prefix}alembic_version"

    def _kept(self, name: str, make: Callable[[], T]) -> T:
        made: T | None = self._made.get(name)
        return self._made.setdefault(name, make()) if made is None else made

    def _alone(self) -> MakeTable:
        return self._within(MetaData(schema=self.schema, naming_convention=_CONVENTION))

    def _within(self, metadata: MetaData) -> MakeTable:
        def table(name: str, *columns: Column[Any], numbered: bool = True, **options: Any) -> Table:
            if self.keyed:
                options |= {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
            if numbered:
                options["sqlite_autoincrement"] = True
            return Table(f"{self.prefix}{name}", metadata, *columns, **self._particulars(options))

        return table

    def _particulars(self, options: Mapping[str, Any]) -> dict[str, Any]:
        only = self._only
        names = None if only is None else {"mysql", "mariadb"} if only in ("mysql", "mariadb") else {only}
        return {name: value for name, value in options.items() if names is None or name.partition("_")[0] in names}

    def _record(self, name: str, kind: type[Record], table: MakeTable) -> Table:
        more = self._generated(name)
        return table(name, *_columns(kind, keyed=self.keyed), *more, **(_BUSY if kind is Job else {}))

    def _generated(self, name: str) -> list[Column[Any]]:
        if not self.keyed:
            return [_ready()] if name == "job" else []
        from gnj.storage.sql.schema_mysql import keys  # noqa: PLC0415 - which only MySQL has

        return keys(READY, DUE, CLAIMED, ENDED).get(name, [])

    def _bucket(self, table: MakeTable) -> Table:
        from gnj.storage.sql.schema_mysql import bucket_columns  # noqa: PLC0415 - likewise

        return table("bucket", *bucket_columns())

    @staticmethod
    def _content(table: MakeTable) -> ContentTables:
        from gnj.storage.sql.schema_content import content_tables  # noqa: PLC0415 - 0.1 MB with its tables

        return content_tables(table)

    def _whole(self) -> MetaData:
        from gnj.queue.catalog import RECORDS  # noqa: PLC0415 - see `_name`
        from gnj.storage.sql.schema_indexes import add_indexes  # noqa: PLC0415 - 0.4 MB with all indexes

        metadata = MetaData(schema=self.schema, naming_convention=_CONVENTION)
        table = self._within(metadata)
        named = {name: self._record(name, kind, table) for name, kind in RECORDS.items()}
        for name, columns in _own_columns(keyed=self.keyed).items():
            named[name] = table(name, *columns, *self._generated(name))
        if self.keyed:
            self._bucket(table)
        add_indexes(named, None if self.keyed else self._content(table), self._particulars)
        return metadata


def _name(kind: type[Record]) -> str:
    if kind in _NAMES:
        return _NAMES[kind]
    from gnj.queue.model_transform import TRANSFORM_RECORDS  # noqa: PLC0415 - 0.2 MB, which who asks for one of them has loaded

    return {each: name for name, each in TRANSFORM_RECORDS.items()}[kind]


def _columns(kind: type[Record], *, keyed: bool) -> list[Column[Any]]:
    defaults = {f.name: f.default for f in fields(kind) if f.default not in (MISSING, None)}
    known = attributes(kind).values()
    return [_id() if a.name == "id" else _column(a, defaults.get(a.name), keyed=keyed) for a in known]


def _column(attribute: Attribute, default: Any, *, keyed: bool) -> Column[Any]:
    if isinstance(default, Enum):
        default = default.value
    server_default: Any
    if isinstance(default, bool):
        server_default = sql.true() if default else sql.false()
    elif default is not None:
        # a long text's default is an expression to MySQL, in parentheses
        quoted = "('{}')" if keyed and attribute.enum is None else "'{}'"
        server_default = text(quoted.format(default) if isinstance(default, str) else str(default))
    else:
        server_default = None
    type = WORD if attribute.enum is not None else _KINDS[attribute.kind]
    return Column(attribute.column, type, nullable=attribute.nullable, server_default=server_default)


def _id() -> Column[Any]:
    return Column("id", KEY, Identity(always=True), primary_key=True)


def _tenant(*, keyed: bool) -> Column[Any]:
    return _column(attributes(Job)["tenant"], "", keyed=keyed)


def _ready() -> Column[Any]:
    return Column("ready", Boolean(), Computed(READY, persisted=True))


def _own_columns(*, keyed: bool) -> dict[str, list[Column[Any]]]:
    """The table without a record: workers."""

    def some(type: Any, names: str, *, nullable: bool = True) -> list[Column[Any]]:
        return [Column(name, type, nullable=nullable) for name in names.split()]

    def must(type: Any, names: str) -> list[Column[Any]]:
        return some(type, names, nullable=False)

    return {
        "worker": [
            *(_id(), _tenant(keyed=keyed), *must(TEXT, "worker_id"), *some(TEXT, "worker_type host version")),
            *(*some(ID, "process_id slots busy"), *some(JSON, "types info")),
            *(*must(TIME, "started_at seen_at"), *some(TIME, "stopped_at")),
        ],
    }
