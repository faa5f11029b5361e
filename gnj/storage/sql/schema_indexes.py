"""The indexes, which the database has from migrations: who compares it with what it should have loads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from sqlalchemy import Index, Table, func, text

from gnj.storage.sql import schema_mysql
from gnj.storage.sql.schema import CLAIMED, DUE, ENDED, GROUPED
from gnj.storage.sql.schema_content import ENDED as ENDED_VERSION
from gnj.storage.sql.schema_content import ContentTables

OptionsOf: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Leaves of options of dialects those that count here."""


def add_indexes(tables: Mapping[str, Table], content: ContentTables | None, options_of: OptionsOf) -> None:
    """Gives the tables, by their names, and those of the content store their indexes; without a content store, MySQL's."""
    _index(tables, options_of, keyed=content is None)
    if content is not None:
        _index_content(content, options_of)


def _index(tables: Mapping[str, Table], options_of: OptionsOf, *, keyed: bool) -> None:
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
            **options_of(options),
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
    for name in ("source", "mapping", "format"):
        # what a tenant has saved is added up with each that is saved: SQLite comes to a column only along all before it
        index(f"transform_{name}", "size", "tenant size", live)
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


def _index_content(tables: ContentTables, options_of: OptionsOf) -> None:
    def index(table: Table, name: str, columns: str, where: str | None = None, *, unique: bool = False) -> None:
        condition = None if where is None else text(where)
        Index(
            f"{table.name}_{name}_idx",
            *(table.c[c.removesuffix("-")].desc() if c.endswith("-") else table.c[c] for c in columns.split()),
            unique=unique,
            **options_of({"postgresql_where": condition, "sqlite_where": condition}),
        )

    environment, site, entry, asset = tables.environment, tables.site, tables.entry, tables.asset
    index(environment, "id", "tenant environment_id", unique=True)
    index(environment, "alias", "tenant alias", "state <> 'gone'", unique=True)
    index(environment, "default", "tenant", "is_default AND state = 'ready'", unique=True)
    index(environment, "made", "created_at", "state <> 'ready'")
    index(site, "site", "environment site_id since", unique=True)
    index(site, "alias", "environment until alias")
    index(tables.model, "model", "environment model_id since", unique=True)
    index(tables.model, "alias", "environment until alias")
    index(entry, "entry", "environment entry_id since", unique=True)
    # without `until`: to end a row, which a write does of all that it replaces, is then a change to one index only, on SQLite
    index(entry, "site", "environment site_id entry_id")
    index(entry, "model", "environment model_id entry_id")
    index(entry, "updated", "environment updated_at- entry_id")
    index(asset, "path", "environment site_id path since", unique=True)
    index(asset, "asset", "environment until asset_id")
    index(asset, "file", "environment file_key")
    for table in (site, tables.model, entry, asset):
        index(table, "since", "environment since")
        index(table, "until", "environment until", ENDED_VERSION)
    index(tables.site_id, "environment", "environment")
    index(tables.url, "entry", "environment entry_id")
    index(tables.tag, "entry", "environment entry_id")
    index(tables.pin, "holder", "holder_job")
    # options_of leaves out what belongs to another dialect: then the index has none, and is none of this database
    if using := options_of({"postgresql_using": "gin"}):
        words = func.to_tsvector(text("'simple'"), tables.text.c.body)
        Index(f"{tables.text.name}_body_idx", words, **using).ddl_if(dialect="postgresql")
