"""The tables of the content store, on SQLite and PostgreSQL (docs/decisions/0025-content-versions.md).

Sites, models, entries and assets are kept by versions of their environment: a row is there from version `since` on, until
before version `until`. Readers see one version, whoever writes makes the next one. What is derived from entries has no versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Boolean, Column, Identity, Table, text

from gnj.storage.sql.columns import ID, JSON, KEY, TEXT, TIME, WORD

if TYPE_CHECKING:
    from gnj.storage.sql.schema import MakeTable

CURRENT: Final = 2**63 - 1
"""`until`, of what is there in the newest version."""
ENDED: Final = f"until < {CURRENT}"
"""When a row is not there any more. Statements repeat this text word for word, as those of `schema`."""


@dataclass(frozen=True, slots=True)
class ContentTables:
    """The tables of the content store."""

    environment: Table
    site_id: Table
    """Which environment has the site of an id: an organization has each once."""
    site: Table
    model: Table
    entry: Table
    asset: Table
    url: Table
    """Derived: entries by the site and the slug."""
    tag: Table
    """Derived: entries by their labels."""
    text: Table
    """Derived: what there is to be searched for in an entry."""
    pin: Table
    """Versions that somebody reads, and that stay for as long."""


def content_tables(table: MakeTable) -> ContentTables:
    """The tables, made with `table`."""
    small = {"sqlite_with_rowid": False}
    version = ("environment", "since", "until")
    return ContentTables(
        environment=table(
            "content_environment",
            *(_id(), *_must(TEXT, "environment_id tenant alias display_name"), *_must(Boolean(), "is_default")),
            *(*_must(WORD, "state"), *_some(ID, "owner"), _count("version")),
            *_some(ID, "writer_job writer_task writer_fence"),
            *(_count("indexed_urls"), _count("indexed_tags"), _count("indexed_text"), *_must(TIME, "created_at")),
        ),
        site_id=table(
            "content_site_id",
            *_primary(TEXT, "tenant site_id"),
            *_must(ID, "environment"),
            numbered=False,
            **small,
        ),
        site=table(
            "content_site",
            *(_id(), *_must(ID, *version), *_must(TEXT, "site_id alias name"), *_some(TEXT, "logo origin")),
            *_must(TIME, "created_at"),
        ),
        model=table(
            "content_model",
            *(_id(), *_must(ID, *version), *_must(TEXT, "model_id alias name"), *_must(JSON, "fields")),
        ),
        entry=table(
            "content_entry",
            *(_id(), *_must(ID, *version), *_must(TEXT, "entry_id site_id model_id"), *_some(TEXT, "status slug")),
            *(*_must(JSON, "labels"), *_must(TIME, "created_at updated_at"), *_some(TIME, "published_at")),
            *_must(JSON, "system content attrs"),
            # to supersede a row leaves a dead one behind
            postgresql_with={"fillfactor": 90},
        ),
        asset=table(
            "content_asset",
            *(_id(), *_must(ID, *version), *_must(TEXT, "asset_id site_id path name"), *_must(ID, "size")),
            *(*_must(TEXT, "media_type sha256 file_key"), *_must(TIME, "created_at")),
        ),
        url=table(
            "content_url",
            *(*_primary(ID, "environment"), *_primary(TEXT, "site_id slug entry_id")),
            numbered=False,
            **small,
        ),
        tag=table(
            "content_tag",
            *(*_primary(ID, "environment"), *_primary(TEXT, "tag entry_id")),
            numbered=False,
            **small,
        ),
        text=table(
            "content_text",
            *(*_primary(ID, "environment"), *_primary(TEXT, "entry_id"), *_must(TEXT, "body")),
            numbered=False,
        ),
        pin=table(
            "content_pin",
            *(*_primary(ID, "environment holder_job"), *_must(ID, "version"), *_must(TIME, "expires_at")),
            numbered=False,
            **small,
        ),
    )


def _id() -> Column[Any]:
    return Column("id", KEY, Identity(always=True), primary_key=True)


def _some(type: Any, *names: str) -> list[Column[Any]]:
    return [Column(name, type) for each in names for name in each.split()]


def _must(type: Any, *names: str) -> list[Column[Any]]:
    return [Column(name, type, nullable=False) for each in names for name in each.split()]


def _primary(type: Any, names: str) -> list[Column[Any]]:
    return [Column(name, type, primary_key=True, autoincrement=False) for name in names.split()]


def _count(name: str) -> Column[Any]:
    return Column(name, ID, nullable=False, server_default=text("0"))
