"""Recurring jobs: their tables, which were there, empty and in another shape, before anything used them."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LIVE = "deleted_at IS NULL"


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    text, time, big = p.text, p.time, p.big

    def must(name: str, type: Any, default: Any = None) -> sa.Column[Any]:
        return sa.Column(name, type, nullable=False, server_default=default)

    def said(value: str) -> Any:
        return sa.text(f"('{value}')" if p.mysql else f"'{value}'")

    def create(name: str, *columns: sa.Column[Any], keys: Any = ()) -> None:
        p.drop(name)
        p.create(
            name,
            must("tenant", text, p.empty),
            must("created_at", time),
            must("updated_at", time),
            sa.Column("deleted_at", time),
            *columns,
            keys=keys,
        )

    create(
        "schedule",
        must("name", text),
        sa.Column("cron", text),
        must("time_zone", text, said("UTC")),
        sa.Column("every_ms", big),
        must("missed", text, said("newest")),
        must("may_overlap", sa.Boolean(), sa.true()),
        sa.Column("job", p.json),
        must("paused", sa.Boolean(), sa.false()),
        sa.Column("begins_at", time),
        sa.Column("ends_at", time),
        sa.Column("max_runs", big),
        must("since", time),
        sa.Column("next_at", time),
        sa.Column("last_at", time),
        sa.Column("last_job_id", big),
        must("runs", big, sa.text("0")),
        must("failures", big, sa.text("0")),
        sa.Column("error", text),
        keys=[p.key("one_key", p.digest("tenant", "name"), LIVE)],
    )
    create("schedule_tick", must("schedule_id", big), must("tick_at", time), sa.Column("job_id", big))
    p.index("schedule", "name", ["tenant", "name"], LIVE, unique=True, mysql=["one_key"])
    p.index("schedule", "next", ["next_at", "id"], f"next_at IS NOT NULL AND {LIVE}")
    p.index("schedule", "deleted", ["deleted_at"], "deleted_at IS NOT NULL")
    p.index("schedule_tick", "tick", ["schedule_id", "tick_at"], unique=True)
    p.index("schedule_tick", "job", ["job_id"], "job_id IS NOT NULL")
