"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(op: Operations, tables: Any) -> None:
    prefix, schema = tables.prefix, tables.schema
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    big = sa.BigInteger()
    key = big.with_variant(sa.Integer(), "sqlite")
    json = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
    time = big.with_variant(postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql")
    busy = {"fillfactor": 85, "autovacuum_vacuum_scale_factor": 0.01, "autovacuum_analyze_scale_factor": 0.02}

    def create(name: str, *columns: sa.Column[Any], **options: Any) -> None:
        op.create_table(
            f"{prefix}{name}",
            sa.Column("id", key, sa.Identity(always=True)),
            *columns,
            sa.PrimaryKeyConstraint("id", name=f"{prefix}{name}_pkey"),
            schema=schema,
            sqlite_autoincrement=True,
            **options,
        )

    def index(table: str, name: str, columns: list[Any], where: str | None = None, *, unique: bool = False) -> None:
        condition = None if where is None else sa.text(where)
        op.create_index(
            f"{prefix}{table}_{name}_idx",
            f"{prefix}{table}",
            columns,
            unique=unique,
            schema=schema,
            postgresql_where=condition,
            sqlite_where=condition,
        )

    create(
        "job",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("type", text, nullable=False),
        sa.Column("name", text),
        sa.Column("job_unique_id", text),
        sa.Column("custom_id", text),
        sa.Column("input", json),
        sa.Column("output", json),
        sa.Column("processing_info", json),
        sa.Column("status", text, nullable=False, server_default=sa.text("'queued'")),
        sa.Column("priority_level", sa.Integer(), nullable=False, server_default=sa.text("4")),
        sa.Column("position", big, nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", time),
        sa.Column("start_after", time),
        sa.Column("attempt", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("failures", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("stalled_count", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("max_attempts", sa.Integer()),
        sa.Column("max_stalled", sa.Integer()),
        sa.Column("backoff", json),
        sa.Column("timeout_seconds", sa.Double()),
        sa.Column("on_lost", text),
        sa.Column("lease_seconds", sa.Double()),
        sa.Column("lease_expires_at", time),
        sa.Column("worker_id", text),
        sa.Column("worker_type", text),
        sa.Column("retry_of_job_id", big),
        sa.Column("batch_id", big),
        sa.Column("pipeline_id", big),
        sa.Column("is_recoverable", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("is_high_frequency", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column(
            "is_update_already_called_while_cancel_requested", sa.Boolean(), nullable=False, server_default=sa.false()
        ),
        sa.Column("options", json),
        sa.Column("limit_key", text),
        sa.Column("traceparent", text),
        sa.Column("started_at", time),
        sa.Column("ended_at", time),
        sa.Column("cancelled_at", time),
        sa.Column(
            "ready",
            sa.Boolean(),
            sa.Computed("status = 'queued' AND due_at IS NULL AND deleted_at IS NULL", persisted=True),
        ),
        postgresql_with=busy,
    )
    create(
        "job_attempt",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("job_id", big, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", text, nullable=False),
        sa.Column("worker_id", text),
        sa.Column("started_at", time),
        sa.Column("ended_at", time),
        sa.Column("error", text),
    )
    create(
        "batch",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("status", text),
        sa.Column("pipeline_id", big),
    )
    create(
        "pipeline",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("status", text, nullable=False, server_default=sa.text("'planned'")),
        sa.Column("name", text),
        sa.Column("metadata", text),
    )
    create(
        "pipeline_step",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("pipeline_id", big, nullable=False),
        sa.Column("job_id", big),
        sa.Column("batch_id", big),
        sa.Column("index", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("status", text, nullable=False, server_default=sa.text("'planned'")),
    )
    create(
        "hold",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("type", text),
    )
    create(
        "worker",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("worker_id", text, nullable=False),
        sa.Column("worker_type", text),
        sa.Column("host", text),
        sa.Column("version", text),
        sa.Column("process_id", big),
        sa.Column("slots", big),
        sa.Column("busy", big),
        sa.Column("types", json),
        sa.Column("info", json),
        sa.Column("started_at", time, nullable=False),
        sa.Column("seen_at", time, nullable=False),
        sa.Column("stopped_at", time),
    )
    create(
        "schedule",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("name", text, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("cron", text),
        sa.Column("time_zone", text),
        sa.Column("missed", text),
        sa.Column("every_ms", big),
        sa.Column("runs", big),
        sa.Column("max_runs", big),
        sa.Column("last_job_id", big),
        sa.Column("template", json, nullable=False),
        sa.Column("options", json),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("may_overlap", sa.Boolean(), nullable=False),
        sa.Column("begins_at", time),
        sa.Column("ends_at", time),
        sa.Column("next_at", time),
        sa.Column("last_at", time),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
    )
    create(
        "schedule_tick",
        sa.Column("schedule_id", big, nullable=False),
        sa.Column("tick_at", time, nullable=False),
        sa.Column("job_id", big),
        sa.Column("created_at", time, nullable=False),
    )
    create(
        "event",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("name", text, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("row_id", big, nullable=False),
        sa.Column("transaction_id", big),
        sa.Column("data", json),
        sa.Column("created_at", time, nullable=False),
    )
    create(
        "listener",
        sa.Column("wants", text, nullable=False),
        sa.Column("name", text),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=False),
    )
    create(
        "token",
        sa.Column("tenant", text, nullable=False, server_default=sa.text("''")),
        sa.Column("name", text, nullable=False),
        sa.Column("hash", text, nullable=False),
        sa.Column("scopes", json, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time),
        sa.Column("last_used_at", time),
        sa.Column("deleted_at", time),
    )
    index("job", "batch", ["batch_id", "status"], "batch_id IS NOT NULL")
    index(
        "job", "custom_id", ["tenant", "type", "custom_id"], "custom_id IS NOT NULL AND deleted_at IS NULL", unique=True
    )
    index("job", "deleted", ["deleted_at"], "deleted_at IS NOT NULL")
    index("job", "due", ["due_at", "id"], "due_at IS NOT NULL AND status = 'queued' AND deleted_at IS NULL")
    index("job", "ended", ["ended_at"], "ended_at IS NOT NULL AND deleted_at IS NULL")
    index(
        "job",
        "lease",
        ["lease_expires_at", "id"],
        "status IN ('processing', 'cancel-requested') AND deleted_at IS NULL",
    )
    index("job", "pipeline", ["pipeline_id"], "pipeline_id IS NOT NULL")
    index("job", "ready", ["type", sa.text("priority_level DESC"), "position", "id", "tenant"], "ready")
    index("job", "status", ["status", "id"])
    index(
        "job", "unique_id", ["tenant", "job_unique_id"], "job_unique_id IS NOT NULL AND deleted_at IS NULL", unique=True
    )
    index("job_attempt", "job", ["job_id", "attempt"])
    index("batch", "pipeline", ["pipeline_id"], "pipeline_id IS NOT NULL")
    index("batch", "status", ["status", "id"])
    index("pipeline", "status", ["status", "id"])
    index("pipeline_step", "pipeline", ["pipeline_id", "index", "id"])
    index("hold", "type", ["tenant", "type"], "deleted_at IS NULL", unique=True)
    index("worker", "seen", ["seen_at"])
    index("worker", "worker_id", ["tenant", "worker_id"], unique=True)
    index("schedule", "name", ["tenant", "kind", "name"], "deleted_at IS NULL", unique=True)
    index("schedule", "next", ["next_at"], "next_at IS NOT NULL AND NOT paused AND deleted_at IS NULL")
    index("schedule_tick", "tick", ["schedule_id", "tick_at"], unique=True)
    index("event", "row", ["kind", "row_id"])
    index("listener", "expires", ["expires_at"])
    index("token", "hash", ["hash"], unique=True)
