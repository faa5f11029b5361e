"""Content jobs, their logs, uploads; and the content store, where there is one."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from gnj.storage.sql.portable import Portable

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

RECORDS = ("content_job", "content_log", "upload")
STORE = (
    "content_environment",
    "content_site_id",
    "content_site",
    "content_model",
    "content_entry",
    "content_asset",
    "content_url",
    "content_tag",
    "content_text",
    "content_pin",
)


def upgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    p.column("pipeline", sa.Column("kind", p.text))
    _records(p)
    if not p.mysql:
        _store(p)


def downgrade(op: Operations, tables: Any) -> None:
    p = Portable(op, tables)
    for name in (*STORE, *RECORDS):
        p.drop(name)
    op.drop_column(f"{tables.prefix}pipeline", "kind", schema=tables.schema)


def must(type: Any, *names: str, default: Any = None) -> list[sa.Column[Any]]:
    return [sa.Column(name, type, nullable=False, server_default=default) for name in names]


def some(type: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, type) for name in names]


def _records(p: Portable) -> None:
    text, word, time, big, json = p.text, p.word, p.time, p.big, p.json

    def create(name: str, *columns: sa.Column[Any]) -> None:
        p.create(
            name,
            *must(text, "tenant", default=p.empty),
            *must(time, "created_at", "updated_at"),
            sa.Column("deleted_at", time),
            *columns,
        )

    create(
        "content_job",
        *must(text, "name"),
        *must(word, "type"),
        *must(word, "status", default=sa.text("'PENDING'")),
        *some(big, "pipeline_id", "schedule_id"),
        *some(json, "task_ids", "params", "result"),
        *some(text, "file_key"),
        *some(json, "created_by", "changed_by"),
        *some(time, "started_at", "finished_at"),
        *must(big, "logs", "warnings", "errors", default=sa.text("0")),
    )
    create("content_log", *must(big, "content_job_id", "job_id"), *must(text, "level", "message"))
    create(
        "upload",
        *must(text, "upload_id", "key", "name"),
        *must(big, "size"),
        *must(sa.Integer(), "parts"),
        *must(text, "state", default=sa.text("('open')" if p.mysql else "'open'")),
        *must(text, "backend", default=p.empty),
        *must(time, "expires_at"),
        *some(json, "created_by"),
    )
    lengths = {"tenant": 64}
    p.index("content_job", "tenant", ["tenant", "id"], lengths=lengths)
    p.index("content_job", "status", ["tenant", "status", "id"], lengths=lengths)
    p.index("content_job", "pipeline", ["pipeline_id"], "pipeline_id IS NOT NULL")
    p.index("content_job", "schedule", ["schedule_id", "id"], "schedule_id IS NOT NULL")
    p.index("content_job", "finished", ["finished_at"], "finished_at IS NOT NULL")
    p.index("content_log", "job", ["content_job_id", "id"])
    p.index("content_log", "task", ["job_id", "id"])
    p.index("upload", "upload_id", ["tenant", "upload_id"], lengths=lengths | {"upload_id": 64})
    p.index("upload", "key", ["tenant", "key"], lengths=lengths | {"key": 64})
    p.index("upload", "expires", ["expires_at"], "state = 'open'")


def _store(p: Portable) -> None:
    text, word, time, big, json = p.text, p.word, p.time, p.big, p.json
    version = ("environment", "since", "until")
    none = sa.text("0")

    p.create(
        "content_environment",
        *must(text, "environment_id", "tenant", "alias", "display_name"),
        *must(sa.Boolean(), "is_default"),
        *must(word, "state"),
        *some(big, "owner"),
        *must(big, "version", default=none),
        *some(big, "writer_job", "writer_task", "writer_fence"),
        *must(big, "indexed_urls", "indexed_tags", "indexed_text", default=none),
        *must(time, "created_at"),
    )
    p.create(
        "content_site",
        *must(big, *version),
        *must(text, "site_id", "alias", "name"),
        *some(text, "logo", "origin"),
        *must(time, "created_at"),
    )
    p.create(
        "content_model",
        *must(big, *version),
        *must(text, "model_id", "alias", "name"),
        *must(json, "fields"),
    )
    p.create(
        "content_entry",
        *must(big, *version),
        *must(text, "entry_id", "site_id", "model_id"),
        *some(text, "status", "slug"),
        *must(json, "labels"),
        *must(time, "created_at", "updated_at"),
        *some(time, "published_at"),
        *must(json, "system", "content", "attrs"),
        postgresql_with={"fillfactor": 90},
    )
    p.create(
        "content_asset",
        *must(big, *version),
        *must(text, "asset_id", "site_id", "path", "name"),
        *must(big, "size"),
        *must(text, "media_type", "sha256", "file_key"),
        *must(time, "created_at"),
    )

    def keyed(name: str, *columns: sa.Column[Any], primary: int, **options: Any) -> None:
        key = tuple(column.name for column in columns[:primary])
        p.create(name, *columns, numbered=False, primary=key, **options)

    small = {"sqlite_with_rowid": False}
    keyed("content_site_id", *must(text, "tenant", "site_id"), *must(big, "environment"), primary=2, **small)
    keyed("content_url", *must(big, "environment"), *must(text, "site_id", "slug", "entry_id"), primary=4, **small)
    keyed("content_tag", *must(big, "environment"), *must(text, "tag", "entry_id"), primary=3, **small)
    keyed("content_text", *must(big, "environment"), *must(text, "entry_id", "body"), primary=2)
    keyed(
        "content_pin",
        *must(big, "environment", "holder_job", "version"),
        *must(time, "expires_at"),
        primary=2,
        **small,
    )

    p.index("content_environment", "id", ["tenant", "environment_id"], unique=True)
    p.index("content_environment", "alias", ["tenant", "alias"], "state <> 'gone'", unique=True)
    p.index("content_environment", "default", ["tenant"], "is_default AND state = 'ready'", unique=True)
    p.index("content_environment", "made", ["created_at"], "state <> 'ready'")
    p.index("content_site", "site", ["environment", "site_id", "since"], unique=True)
    p.index("content_site", "alias", ["environment", "until", "alias"])
    p.index("content_model", "model", ["environment", "model_id", "since"], unique=True)
    p.index("content_model", "alias", ["environment", "until", "alias"])
    p.index("content_entry", "entry", ["environment", "entry_id", "since"], unique=True)
    p.index("content_entry", "site", ["environment", "site_id", "entry_id"])
    p.index("content_entry", "model", ["environment", "model_id", "entry_id"])
    p.index("content_entry", "updated", ["environment", sa.text("updated_at DESC"), "entry_id"])
    p.index("content_asset", "path", ["environment", "site_id", "path", "since"], unique=True)
    p.index("content_asset", "asset", ["environment", "until", "asset_id"])
    p.index("content_asset", "file", ["environment", "file_key"])
    for name in ("content_site", "content_model", "content_entry", "content_asset"):
        p.index(name, "since", ["environment", "since"])
        p.index(name, "until", ["environment", "until"], f"until < {2**63 - 1}")
    p.index("content_site_id", "environment", ["environment"])
    p.index("content_url", "entry", ["environment", "entry_id"])
    p.index("content_tag", "entry", ["environment", "entry_id"])
    p.index("content_pin", "holder", ["holder_job"])
    if p.op.get_bind().dialect.name == "postgresql":
        p.op.create_index(
            f"{p.prefix}content_text_body_idx",
            f"{p.prefix}content_text",
            [sa.text("to_tsvector('simple', body)")],
            schema=p.schema,
            postgresql_using="gin",
        )
