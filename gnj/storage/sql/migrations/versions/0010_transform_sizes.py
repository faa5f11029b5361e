"""How many bytes each source, mapping and target format has; those that were deleted go for good."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

LIVE = "deleted_at IS NULL"
PARTS = {
    "transform_source": ("name", "type", "url", "description", "headers", "body", "method", "credentials"),
    "transform_mapping": ("name", "mapping"),
    "transform_format": ("name", "definition", "fields"),
}


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    dialect = op.get_bind().dialect.name
    for name, columns in PARTS.items():
        p.column(name, sa.Column("size", p.big, nullable=False, server_default=sa.text("0")))
        table = sa.table(f"{p.prefix}{name}", *map(sa.column, ("deleted_at", "size", *columns)), schema=p.schema)
        op.execute(table.delete().where(table.c.deleted_at.is_not(None)))
        # of JSON in PostgreSQL a little too much: it spells it with blanks
        sizes = [sa.func.coalesce(_bytes(dialect, table.c[each]), 0) for each in columns]
        op.execute(table.update().values(size=sum(sizes[1:], sizes[0])))
        p.index(name, "size", ["tenant", "size"], LIVE, lengths={"tenant": 64})


def downgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    for name in PARTS:
        p.drop_index(name, "size")
        op.drop_column(f"{p.prefix}{name}", "size", schema=p.schema)


def _bytes(dialect: str, column: Any) -> Any:
    if dialect == "postgresql":
        return sa.func.octet_length(sa.cast(column, sa.Text()))
    return sa.func.length(sa.cast(column, sa.LargeBinary()) if dialect == "sqlite" else column)
