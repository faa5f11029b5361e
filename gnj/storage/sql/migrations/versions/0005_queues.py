"""Limits of queues, the endpoints that are called for jobs, logs of jobs, and what servers have to know alike."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LIVE = "deleted_at IS NULL"
TABLES = ("queue_limit", "permit", "grant_count", "push_worker", "job_log", "secret")


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    text, time, big = p.text, p.time, p.big

    def create(name: str, *columns: sa.Column[Any], one: str | None = None) -> None:
        p.create(
            name,
            sa.Column("tenant", text, nullable=False, server_default=p.empty),
            sa.Column("created_at", time, nullable=False),
            sa.Column("updated_at", time, nullable=False),
            sa.Column("deleted_at", time),
            *columns,
            keys=[] if one is None else [p.key("one_key", p.digest("tenant", one), LIVE)],
        )
        if one is not None:
            p.index(name, one, ["tenant", one], LIVE, unique=True, mysql=["one_key"])

    def must(name: str, type: Any, default: Any = None) -> sa.Column[Any]:
        return sa.Column(name, type, nullable=False, server_default=default)

    p.column("hold", must("limited", sa.Boolean(), sa.false()))
    p.column("hold", must("held", sa.Boolean(), sa.true()))
    limits = "rate_max rate_ms concurrency key_rate_max key_rate_ms key_concurrency worker_max worker_ms".split()
    create("queue_limit", must("type", text), *(sa.Column(name, big) for name in limits), one="type")
    create("permit", must("limit_id", big), must("key", text, p.empty), must("job_id", big), must("attempt", big))
    create("grant_count", must("limit_id", big), must("key", text, p.empty), must("period", big), must("count", big))
    create(
        "push_worker",
        *(must(name, text) for name in ("type", "url", "method")),
        sa.Column("headers", p.json),
        must("timeout_ms", big),
        sa.Column("options", p.json),
        must("secret", text),
        must("version", big, sa.text("1")),
        must("failed", big, sa.text("0")),
        sa.Column("disabled_at", time),
        sa.Column("holder", text),
        sa.Column("held_until", time),
        one="type",
    )
    create("job_log", must("job_id", big), must("line", text))
    create("secret", must("name", text), must("value", text), one="name")
    p.index("permit", "limit", ["limit_id", "job_id"])
    p.index("grant_count", "limit", ["limit_id", "period"])
    p.index("job_log", "job", ["job_id", "id"])
    for name in ("queue_limit", "push_worker"):
        p.index(name, "deleted", ["deleted_at"], "deleted_at IS NOT NULL")
    if not p.mysql:
        first = sa.text("priority_level DESC")
        order = ["type", "tenant", "limit_key", first, "position", "id"]
        p.index("job", "group", order, "ready AND limit_key IS NOT NULL")


def downgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    p.drop_index("job", "group")
    for name in TABLES:
        p.drop(name)
    for name in ("limited", "held"):
        op.drop_column(f"{tables.prefix}hold", name, schema=tables.schema)
