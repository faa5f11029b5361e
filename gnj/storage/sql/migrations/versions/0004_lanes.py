"""An index of the jobs of one type and one tenant in their order; the one of a type's jobs can do without the tenant."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    first = sa.text("priority_level DESC")
    p.index(
        "job",
        "lane",
        ["type", "tenant", first, "position", "id"],
        "ready",
        mysql=["ready_type", "ready_tenant", "ready_order", "position", "id"],
    )
    p.drop_index("job", "ready")
    p.index(
        "job",
        "ready",
        ["type", first, "position", "id"],
        "ready",
        mysql=["ready_type", "ready_order", "position", "id"],
    )
