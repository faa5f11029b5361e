"""Which jobs a claim takes, and which become ready: the SQL of SQLite.

Writers come one after the other, so nothing is locked and no one is passed over. INDEXED BY makes the plan certain: without
statistics SQLite may prefer another index, and a claim would then read every job of a type.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Text, TextClause, bindparam, text

from gnj.queue.values import dump_json
from gnj.storage.sql.schema import DUE, Tables

_ORDER = "priority_level DESC, position, id"


def claimable(
    tables: Tables, types: Sequence[str], limit: int, fetch: int, tenants: Sequence[str] | None
) -> TextClause:
    """Gives the ids of at most `limit` ready jobs; `fetch` is for databases where others may have locked some.

    The first `limit` of each type that is not held for all tenants, straight from the index; then the first of all. A hold of
    one tenant is a filter.
    """
    del fetch
    job = tables.name(tables.job)
    held = f"FROM {tables.name(tables.hold)} WHERE deleted_at IS NULL AND type IN (t.value, 'all')"
    asked = "" if tenants is None else "AND tenant IN (SELECT value FROM json_each(:for_tenants))"
    # CROSS JOIN: the types first, each once. As a condition of the inner SELECT, a hold would be looked up for every job.
    sql = f"""
        SELECT j.id FROM json_each(:asked) AS t CROSS JOIN {job} AS j
        ON NOT EXISTS (SELECT 1 {held} AND tenant = '') AND j.id IN (
            SELECT id FROM {job} INDEXED BY "{tables.ready_index}"
            WHERE ready AND type = t.value AND tenant NOT IN (SELECT tenant {held}) {asked}
            ORDER BY {_ORDER} LIMIT {limit}
        ) ORDER BY j.priority_level DESC, j.position, j.id LIMIT {limit}"""
    clause = text(sql).bindparams(bindparam("asked", dump_json(list(types)), Text()))
    return clause if tenants is None else clause.bindparams(bindparam("for_tenants", dump_json(list(tenants)), Text()))


def due(tables: Tables, limit: int) -> str:
    """Gives the ids of at most `limit` jobs whose time has come, the longest due first."""
    return f"""
        SELECT id FROM {tables.name(tables.job)} INDEXED BY "{tables.due_index}" WHERE {DUE} AND due_at <= :now
        ORDER BY due_at, id LIMIT {limit}"""
