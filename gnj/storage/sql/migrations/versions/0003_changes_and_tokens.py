"""The outbox, who reads it, and tokens, as records; none of the three was used before, but by workers that listen."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    text, time = p.text, p.time

    def replace(name: str, *columns: sa.Column[Any]) -> None:
        p.drop(name)
        p.create(
            name,
            sa.Column("tenant", text, nullable=False, server_default=p.empty),
            sa.Column("created_at", time, nullable=False),
            sa.Column("updated_at", time, nullable=False),
            sa.Column("deleted_at", time),
            *columns,
        )

    replace("event", sa.Column("origin", text, nullable=False), sa.Column("data", p.json))
    replace(
        "listener",
        sa.Column("wants", text, nullable=False),
        sa.Column("name", text),
        sa.Column("expires_at", time, nullable=False),
    )
    replace(
        "token",
        sa.Column("name", text, nullable=False),
        sa.Column("hash", text, nullable=False),
        sa.Column("scopes", p.json),
        sa.Column("expires_at", time),
        sa.Column("last_used_at", time),
    )
    p.index("event", "created", ["created_at"])
    p.index("listener", "expires", ["expires_at"])
    p.index("token", "hash", ["hash"], lengths={"hash": 64})
