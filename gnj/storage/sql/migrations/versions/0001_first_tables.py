"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    text, word, big, json, time = p.text, p.word, p.big, p.json, p.time
    create, index, key, digest = p.create, p.index, p.key, p.digest
    busy = {"fillfactor": 85, "autovacuum_vacuum_scale_factor": 0.01, "autovacuum_analyze_scale_factor": 0.02}
    live = "deleted_at IS NULL"
    ready = "status = 'queued' AND due_at IS NULL AND deleted_at IS NULL"
    due = "due_at IS NOT NULL AND status = 'queued' AND deleted_at IS NULL"
    claimed = "status IN ('processing', 'cancel-requested') AND deleted_at IS NULL"

    # MySQL has keys in the place of the column `ready`
    is_ready: list[Any] = [] if p.mysql else [sa.Column("ready", sa.Boolean(), sa.Computed(ready, persisted=True))]
    create(
        "job",
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
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
        sa.Column("status", word, nullable=False, server_default=sa.text("'queued'")),
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
        *is_ready,
        keys=[
            key("ready_type", digest("type"), ready),
            key("ready_order", "-priority_level", ready, big),
            key("ready_tenant", digest("tenant"), ready),
            key("due_key", "due_at", due, big),
            key("lease_key", "lease_expires_at", claimed, big),
            key("unique_key", digest("tenant", "job_unique_id"), live),
            key("custom_key", digest("tenant", "type", "custom_id"), live),
        ],
        postgresql_with=busy,
    )
    create(
        "job_attempt",
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
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
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("status", word),
        sa.Column("pipeline_id", big),
    )
    create(
        "pipeline",
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("status", word, nullable=False, server_default=sa.text("'planned'")),
        sa.Column("name", text),
        sa.Column("metadata", text),
    )
    create(
        "pipeline_step",
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("pipeline_id", big, nullable=False),
        sa.Column("job_id", big),
        sa.Column("batch_id", big),
        sa.Column("index", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("status", word, nullable=False, server_default=sa.text("'planned'")),
    )
    create(
        "hold",
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("deleted_at", time),
        sa.Column("type", text),
        keys=[key("held_type", digest("type"), live), key("held_tenant", digest("tenant"), live)],
    )
    create(
        "worker",
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
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
        keys=[key("worker_key", digest("tenant", "worker_id"))],
    )
    create(
        "schedule",
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
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
        keys=[
            key("name_key", digest("tenant", "kind", "name"), live),
            key("next_key", "next_at", f"NOT paused AND {live}", big),
        ],
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
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
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
        sa.Column("tenant", text, nullable=False, server_default=p.empty),
        sa.Column("name", text, nullable=False),
        sa.Column("hash", text, nullable=False),
        sa.Column("scopes", json, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time),
        sa.Column("last_used_at", time),
        sa.Column("deleted_at", time),
        keys=[key("hash_key", digest("hash"))],
    )
    if p.mysql:
        create("bucket", sa.Column("id", sa.Integer(), nullable=False, autoincrement=False), numbered=False)
    index("job", "batch", ["batch_id", "status"], "batch_id IS NOT NULL")
    index(
        "job",
        "custom_id",
        ["tenant", "type", "custom_id"],
        f"custom_id IS NOT NULL AND {live}",
        unique=True,
        mysql=["custom_key"],
    )
    index("job", "deleted", ["deleted_at"], "deleted_at IS NOT NULL")
    index("job", "due", ["due_at", "id"], due, mysql=["due_key", "id"])
    index("job", "ended", ["ended_at"], f"ended_at IS NOT NULL AND {live}")
    index("job", "lease", ["lease_expires_at", "id"], claimed, mysql=["lease_key", "id"])
    index("job", "pipeline", ["pipeline_id"], "pipeline_id IS NOT NULL")
    index(
        "job",
        "ready",
        ["type", sa.text("priority_level DESC"), "position", "id", "tenant"],
        "ready",
        mysql=["ready_type", "ready_order", "position", "id", "ready_tenant"],
    )
    index("job", "status", ["status", "id"])
    index(
        "job",
        "unique_id",
        ["tenant", "job_unique_id"],
        f"job_unique_id IS NOT NULL AND {live}",
        unique=True,
        mysql=["unique_key"],
    )
    index("job_attempt", "job", ["job_id", "attempt"])
    index("batch", "pipeline", ["pipeline_id"], "pipeline_id IS NOT NULL")
    index("batch", "status", ["status", "id"])
    index("pipeline", "status", ["status", "id"])
    index("pipeline_step", "pipeline", ["pipeline_id", "index", "id"])
    index("hold", "type", ["tenant", "type"], live, unique=True, mysql=["held_type", "held_tenant"])
    index("worker", "seen", ["seen_at"])
    index("worker", "worker_id", ["tenant", "worker_id"], unique=True, mysql=["worker_key"])
    index("schedule", "name", ["tenant", "kind", "name"], live, unique=True, mysql=["name_key"])
    index("schedule", "next", ["next_at"], f"next_at IS NOT NULL AND NOT paused AND {live}", mysql=["next_key"])
    index("schedule_tick", "tick", ["schedule_id", "tick_at"], unique=True)
    index("event", "row", ["kind", "row_id"], lengths={"kind": 40})
    index("listener", "expires", ["expires_at"])
    index("token", "hash", ["hash"], unique=True, mysql=["hash_key"])
