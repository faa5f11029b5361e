"""What retries replace, what workers tell of themselves, durable hooks, and the indexes that pruning goes along."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    text, time = p.text, p.time

    def create(name: str, *columns: sa.Column[Any]) -> None:
        p.create(
            name,
            sa.Column("tenant", text, nullable=False, server_default=p.empty),
            sa.Column("created_at", time, nullable=False),
            sa.Column("updated_at", time, nullable=False),
            sa.Column("deleted_at", time),
            *columns,
        )

    p.column("job", sa.Column("replaced_by_job_id", p.big))
    create(
        "worker_monitoring",
        sa.Column("worker_id", text, nullable=False),
        sa.Column("worker_type", text, nullable=False),
        sa.Column("worker_status", text, nullable=False),
    )
    create(
        "hook",
        sa.Column("name", text, nullable=False),
        sa.Column("wants", p.json),
        sa.Column("expires_at", time, nullable=False),
    )
    job = sa.table(
        f"{tables.prefix}job", *map(sa.column, ("id", "retry_of_job_id", "replaced_by_job_id")), schema=tables.schema
    )
    retried = sa.select(job.c.retry_of_job_id, sa.func.max(job.c.id)).where(job.c.retry_of_job_id.is_not(None))
    # one by one: MySQL does not update a table from itself
    for old, new in op.get_bind().execute(retried.group_by(job.c.retry_of_job_id)).all():
        op.execute(sa.update(job).where(job.c.id == old).values(replaced_by_job_id=new))
    for name in ("batch", "pipeline", "pipeline_step", "hold", "worker_monitoring"):
        p.index(name, "deleted", ["deleted_at"], "deleted_at IS NOT NULL")
    p.index("worker_monitoring", "created", ["created_at"])
    p.index("batch", "updated", ["updated_at"])
    p.index("pipeline", "updated", ["updated_at"])
