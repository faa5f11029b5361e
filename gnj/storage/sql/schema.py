"""The tables. Those of the records are generated from `gnj.queue.model`; the rest are the storage's own.

No foreign keys: the queue checks under its own locks, in its own order, that a parent exists (architecture.md, lock order),
and a foreign key would lock that parent again from inside an insert of a job. Composite ones (tenant, id) would also need a
second unique index on every parent table, and `retry_of_job_id` an index of its own, so that pruning stays cheap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Boolean, Column, Computed, Identity, Index, Integer, MetaData, Table, sql, text

from gnj.queue.errors import InvalidInput
from gnj.queue.model import RECORDS, Attribute, Job, Kind, Record, attributes
from gnj.storage.sql import schema_mysql
from gnj.storage.sql.columns import FLOAT, ID, JSON, KEY, TEXT, TIME, WORD
from gnj.storage.sql.schema_content import ContentTables, content_tables

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

_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,19}|")
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables under one prefix and in one schema."""

    metadata: MetaData
    prefix: str
    schema: str | None
    records: Mapping[type[Record], Table]
    job: Table
    hold: Table
    worker: Table
    listener: Table
    bucket: Table | None
    """Locks of MySQL's."""
    content: ContentTables | None
    """Those of the content store, which MySQL has none of."""

    def of(self, kind: type[Record]) -> Table:
        """The table of a record."""
        return self.records[kind]

    def name(self, table: Table) -> str:
        """A table's name as hand-written SQL has it."""
        mark = '"' if self.bucket is None else "`"
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


def tables(
    prefix: str = DEFAULT_PREFIX, schema: str | None = None, *, keyed: bool = False, only: str | None = None
) -> Tables:
    """The tables with names that begin with `prefix`, in `schema` (None: where the connection looks first).

    `keyed`: those of MySQL, with generated columns in the place of partial indexes (`schema_mysql`). `only`: the SQLAlchemy dialect
    whose particulars they have, in the place of all: to name another one loads it, 1 to 2 MB each.
    Raises `InvalidInput` where these are no plain names, or too long for what is made of them.
    """
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput(f"prefix must be at most 20 letters, digits and underscores, not {prefix[:100]!r}")
    if schema is not None and not _SCHEMA.fullmatch(schema):
        raise InvalidInput(f"schema must be at most 63 letters, digits and underscores, not {schema[:100]!r}")
    metadata = MetaData(schema=schema, naming_convention={"pk": "%(table_name)s_pkey"})

    def table(name: str, *columns: Column[Any], numbered: bool = True, **options: Any) -> Table:
        if keyed:
            options |= {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
        if numbered:
            options["sqlite_autoincrement"] = True
        return Table(f"{prefix}{name}", metadata, *columns, **_particulars(options, only))

    keys = schema_mysql.keys(READY, DUE, CLAIMED, ENDED) if keyed else {"job": [_ready()]}
    named = {
        name: table(name, *_columns(kind, keyed=keyed), *keys.get(name, ()), **(_BUSY if kind is Job else {}))
        for name, kind in RECORDS.items()
    }
    own = {name: table(name, *columns, *keys.get(name, ())) for name, columns in _own_columns(keyed=keyed).items()}
    _index(named | own, keyed=keyed, only=only)
    return Tables(
        metadata=metadata,
        prefix=prefix,
        schema=schema,
        records=MappingProxyType({kind: named[name] for name, kind in RECORDS.items()}),
        job=named["job"],
        hold=named["hold"],
        listener=named["listener"],
        bucket=table("bucket", *schema_mysql.bucket_columns()) if keyed else None,
        content=None if keyed else content_tables(table, lambda options: _particulars(options, only)),
        **own,
    )


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


def _particulars(options: Mapping[str, Any], only: str | None) -> dict[str, Any]:
    names = None if only is None else {"mysql", "mariadb"} if only in ("mysql", "mariadb") else {only}
    return {name: value for name, value in options.items() if names is None or name.partition("_")[0] in names}


def _index(tables: Mapping[str, Table], *, keyed: bool, only: str | None) -> None:
    def index(table: str, name: str, columns: str, where: str | None = None, *, unique: bool = False) -> None:
        condition = None if where is None else text(where)
        c = tables[table].c
        columns = schema_mysql.INDEXES.get((table, name), columns) if keyed else columns
        lengths = {column: n for column, n in schema_mysql.PREFIXES.items() if column in columns.split()}
        options: dict[str, Any] = {"postgresql_where": condition, "sqlite_where": condition}
        if keyed:
            options |= {"mysql_length": lengths, "mariadb_length": lengths}
        Index(
            f"{tables[table].name}_{name}_idx",
            *(c[column.removesuffix("-")].desc() if column.endswith("-") else c[column] for column in columns.split()),
            unique=unique,
            **_particulars(options, only),
        )

    live = "deleted_at IS NULL"
    # Two orders of the same jobs: a claim for some tenants, or for all but some, would walk over those of the others.
    index("job", "ready", "type priority_level- position id", "ready")
    index("job", "lane", "type tenant priority_level- position id", "ready")
    if not keyed:
        # Of the few jobs that have a limit key. MySQL would have an entry, of nulls, for each job there is: there they are
        # looked for along the lane.
        index("job", "group", "type tenant limit_key priority_level- position id", GROUPED)
    # All that can be is partial: each claim and each end writes the row's new version into every index it belongs to.
    index("job", "due", "due_at id", DUE)
    index("job", "lease", "lease_expires_at id", CLAIMED)
    index("job", "unique_id", "tenant job_unique_id", f"job_unique_id IS NOT NULL AND {live}", unique=True)
    index("job", "custom_id", "tenant type custom_id", f"custom_id IS NOT NULL AND {live}", unique=True)
    index("job", "status", "status id")
    # Without the id: PostgreSQL keeps one entry for all that ended together, and the others have it in each entry anyway.
    index("job", "ended", "type tenant status ended_at", ENDED)
    for name in (
        "job",
        "batch",
        "pipeline",
        "pipeline_step",
        "hold",
        "worker_monitoring",
        "queue_limit",
        "push_worker",
        "schedule",
    ):
        index(name, "deleted", "deleted_at", "deleted_at IS NOT NULL")
    index("job", "batch", "batch_id status", "batch_id IS NOT NULL")
    index("job", "pipeline", "pipeline_id", "pipeline_id IS NOT NULL")
    index("job_attempt", "job", "job_id attempt")
    index("batch", "status", "status id")
    index("batch", "updated", "updated_at")
    index("batch", "pipeline", "pipeline_id", "pipeline_id IS NOT NULL")
    index("pipeline", "status", "status id")
    index("pipeline", "updated", "updated_at")
    index("pipeline_step", "pipeline", "pipeline_id index id")
    index("hold", "type", "tenant type", live, unique=True)
    index("queue_limit", "type", "tenant type", live, unique=True)
    index("permit", "limit", "limit_id job_id")
    index("grant_count", "limit", "limit_id key period")
    index("push_worker", "type", "tenant type", live, unique=True)
    index("job_log", "job", "job_id id")
    index("secret", "name", "tenant name", live, unique=True)
    index("worker", "worker_id", "tenant worker_id", unique=True)
    index("worker", "seen", "seen_at")
    index("schedule", "name", "tenant name", live, unique=True)
    index("schedule", "next", "next_at id", f"next_at IS NOT NULL AND {live}")
    index("schedule_tick", "tick", "schedule_id tick_at", unique=True)
    index("schedule_tick", "job", "job_id", "job_id IS NOT NULL")
    index("event", "created", "created_at")
    index("listener", "expires", "expires_at")
    index("worker_monitoring", "created", "created_at")
    index("token", "hash", "hash")
    index("content_job", "tenant", "tenant id")
    index("content_job", "status", "tenant status id")
    index("content_job", "pipeline", "pipeline_id", "pipeline_id IS NOT NULL")
    index("content_job", "schedule", "schedule_id id", "schedule_id IS NOT NULL")
    index("content_job", "finished", "finished_at", "finished_at IS NOT NULL")
    index("content_log", "job", "content_job_id id")
    index("content_log", "task", "job_id id")
    index("upload", "upload_id", "tenant upload_id")
    index("upload", "key", "tenant key")
    index("upload", "expires", "expires_at", "state = 'open'")
    for name in ("source", "mapping", "format", "job"):
        index(f"transform_{name}", "tenant", "tenant id")
    for name in ("source", "mapping", "format", "schedule"):
        index("transform_job", name, f"{name}_id")
    index("transform_job", "removed", "removed_at", "removed_at IS NOT NULL")
    index("transform_run", "job", "transform_job_id id")
    index("transform_run", "pipeline", "pipeline_id")
    index("transform_run", "unclean", "unclean_at", "unclean_at IS NOT NULL")
    index("transform_run", "retired", "retired_at", "retired_at IS NOT NULL")
    # That of keys is not partial: that a condition of many keys implies one, no planner sees for sure. And no two begin with the same
    # column: one without statistics takes the wrong one of them (docs/decisions/0035-runs.md).
    index("transform_record", "key", "key status")
    index("transform_record", "born", "transform_job_id born id")
    index("transform_record", "died", "died id", "died IS NOT NULL")
    index("transform_rejected", "run", "run_id id")
