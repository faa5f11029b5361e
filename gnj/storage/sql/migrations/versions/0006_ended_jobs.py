"""The jobs that have ended are indexed by type, tenant and status, and grants of a limit by what is counted."""

from typing import Any

from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ENDED = "ended_at IS NOT NULL AND deleted_at IS NULL"


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    if p.mysql:
        p.column("job", p.key("ended_key", p.digest("type", "tenant", "status"), ENDED))
    p.drop_index("job", "ended")
    p.index("job", "ended", ["type", "tenant", "status", "ended_at"], ENDED, mysql=["ended_key", "ended_at"])
    p.drop_index("grant_count", "limit")
    p.index("grant_count", "limit", ["limit_id", "key", "period"], lengths={"key": 64})


def downgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    p.drop_index("grant_count", "limit")
    p.index("grant_count", "limit", ["limit_id", "period"])
    p.drop_index("job", "ended")
    p.index("job", "ended", ["ended_at"], ENDED)
    if p.mysql:
        op.drop_column(f"{tables.prefix}job", "ended_key", schema=tables.schema)
