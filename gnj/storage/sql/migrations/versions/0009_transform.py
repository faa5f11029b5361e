"""Transformation jobs: sources, mappings, target formats, jobs, runs, and what runs have written."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = (
    "transform_source",
    "transform_mapping",
    "transform_format",
    "transform_job",
    "transform_run",
    "transform_record",
    "transform_rejected",
)


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    text, word, time, big, json, flag = p.text, p.word, p.time, p.big, p.json, sa.Boolean()

    def create(name: str, *columns: sa.Column[Any]) -> None:
        p.create(
            name,
            *must(text, "tenant", default=p.empty),
            *must(time, "created_at", "updated_at"),
            sa.Column("deleted_at", time),
            *columns,
        )

    create(
        "transform_source",
        *some(text, "name"),
        *must(text, "type"),
        *some(text, "url", "description"),
        *some(json, "headers"),
        *some(text, "body", "method", "credentials"),
    )
    create("transform_mapping", *some(text, "name"), *some(json, "mapping"))
    create(
        "transform_format",
        *some(text, "name"),
        *some(json, "definition", "fields"),
        *must(flag, "is_default", default=sa.false()),
    )
    create(
        "transform_job",
        *must(big, "source_id", "mapping_id", "format_id"),
        *some(big, "schedule_id", "run_id"),
        *some(word, "run_status"),
        *some(time, "last_run_at"),
        *some(big, "published"),
        *some(json, "validators"),
        *some(text, "webhook_url", "webhook_secret"),
        *some(time, "removed_at"),
    )
    create(
        "transform_run",
        *must(big, "transform_job_id", "job_id", "pipeline_id"),
        *must(word, "status", default=sa.text("'Pending'")),
        *some(time, "started_at", "finished_at"),
        *some(text, "error"),
        *must(big, "read", "written", "rejected", default=sa.text("0")),
        *must(flag, "sealed", default=sa.false()),
        *some(time, "unclean_at", "retired_at"),
        *some(json, "validators"),
    )
    create(
        "transform_record",
        *must(big, "transform_job_id", "born"),
        *some(big, "died"),
        *must(word, "status", default=sa.text("'live'")),
        *some(text, "key"),
        *some(json, "value"),
    )
    create("transform_rejected", *must(big, "transform_job_id", "run_id"), *some(json, "source", "reasons"))

    for name in ("source", "mapping", "format", "job"):
        p.index(f"transform_{name}", "tenant", ["tenant", "id"], lengths={"tenant": 64})
    for name in ("source", "mapping", "format", "schedule"):
        p.index("transform_job", name, [f"{name}_id"])
    p.index("transform_job", "removed", ["removed_at"], "removed_at IS NOT NULL")
    p.index("transform_run", "job", ["transform_job_id", "id"])
    p.index("transform_run", "pipeline", ["pipeline_id"])
    p.index("transform_run", "unclean", ["unclean_at"], "unclean_at IS NOT NULL")
    p.index("transform_run", "retired", ["retired_at"], "retired_at IS NOT NULL")
    p.index("transform_record", "key", ["key", "status"], lengths={"key": 64})
    p.index("transform_record", "born", ["transform_job_id", "born", "id"])
    p.index("transform_record", "died", ["died", "id"], "died IS NOT NULL")
    p.index("transform_rejected", "run", ["run_id", "id"])


def downgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    for name in TABLES:
        p.drop(name)


def must(type: Any, *names: str, default: Any = None) -> list[sa.Column[Any]]:
    return [sa.Column(name, type, nullable=False, server_default=default) for name in names]


def some(type: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, type) for name in names]
