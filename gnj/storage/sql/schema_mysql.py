"""What MySQL and MariaDB have in the place of partial indexes: generated columns that are null where a row does not count.

An index holds nulls, but a search for a value never meets them, and a unique index lets any number of them be. Texts go into
an index as digests (`columns_mysql`). The order of claims is negated, since MariaDB knows no descending index before 10.8.
All are stored, not virtual: then no index entry depends on a value that purge threads have to compute again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Column, Computed, Integer

from gnj.storage.sql.columns import DIGEST, ID
from gnj.storage.sql.columns_mysql import digest_sql

_LIVE: Final = "deleted_at IS NULL"


def keys(ready: str, due: str, claimed: str, ended: str) -> dict[str, list[Column[Any]]]:
    """The generated columns of each table, given when a job is ready, waits for its time, is claimed, and has ended."""
    return {
        "job": [
            _key("ready_type", digest_sql("type"), ready),
            _key("ready_order", "-priority_level", ready, ID),
            _key("ready_tenant", digest_sql("tenant"), ready),
            _key("due_key", "due_at", due, ID),
            _key("lease_key", "lease_expires_at", claimed, ID),
            _key("ended_key", digest_sql("type", "tenant", "status"), ended),
            _key("unique_key", digest_sql("tenant", "job_unique_id"), _LIVE),
            _key("custom_key", digest_sql("tenant", "type", "custom_id"), _LIVE),
        ],
        "hold": [_key("held_type", digest_sql("type"), _LIVE), _key("held_tenant", digest_sql("tenant"), _LIVE)],
        "queue_limit": [_key("one_key", digest_sql("tenant", "type"), _LIVE)],
        "push_worker": [_key("one_key", digest_sql("tenant", "type"), _LIVE)],
        "secret": [_key("one_key", digest_sql("tenant", "name"), _LIVE)],
        "worker": [_key("worker_key", digest_sql("tenant", "worker_id"))],
        "schedule": [_key("one_key", digest_sql("tenant", "name"), _LIVE)],
    }


INDEXES: Final[Mapping[tuple[str, str], str]] = {
    ("job", "ready"): "ready_type ready_order position id",
    ("job", "lane"): "ready_type ready_tenant ready_order position id",
    ("job", "due"): "due_key id",
    ("job", "lease"): "lease_key id",
    ("job", "ended"): "ended_key ended_at",
    ("job", "unique_id"): "unique_key",
    ("job", "custom_id"): "custom_key",
    ("hold", "type"): "held_type held_tenant",
    ("queue_limit", "type"): "one_key",
    ("push_worker", "type"): "one_key",
    ("secret", "name"): "one_key",
    ("worker", "worker_id"): "worker_key",
    ("schedule", "name"): "one_key",
}
"""The columns of an index, where they differ from the other databases'."""
PREFIXES: Final[Mapping[str, int]] = {"hash": 64, "key": 64, "tenant": 64, "upload_id": 64}
"""How much of a text is in an index that need not tell all of them apart."""


def bucket_columns() -> list[Column[Any]]:
    """The table of locks: see `order_keys` of the dialect. Its rows come by being locked."""
    return [Column("id", Integer(), primary_key=True, autoincrement=False)]


def _key(name: str, sql: str, when: str | None = None, type: Any = DIGEST) -> Column[Any]:
    return Column(name, type, Computed(sql if when is None else f"CASE WHEN {when} THEN {sql} END", persisted=True))
