"""Which jobs a claim takes, and which become ready: the SQL of SQLite.

Writers come one after the other, so nothing is locked and no one is passed over. INDEXED BY makes the plan certain: without
statistics SQLite may prefer another index, and a claim would then read every job of a type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Text, TextClause, bindparam

from gnj.queue.values import dump_json
from gnj.storage.sql.schema import DUE, Tables

_ORDER = "priority_level DESC, position, id"


def claimable(tables: Tables, *, one: bool, limit: int, fetch: int, filtered: bool, unless_due: bool) -> str:
    """Gives the ids of at most `limit` ready jobs: the first of each type that is not held, then the first of all.

    A hold of one tenant is a filter.

    Args:
        tables: The tables.
        one: Whether only one type is asked for: makes no difference here.
        limit: See `Rows.claim`.
        fetch: For databases where others may have locked some.
        filtered: Whether only some tenants are served.
        unless_due: Give none when a job is due that has not been made ready: it may come before them.
    """
    del one, fetch
    job = tables.name(tables.job)
    held = f"FROM {tables.name(tables.hold)} WHERE deleted_at IS NULL AND type IN (t.value, 'all')"
    asked = "AND tenant IN (SELECT value FROM json_each(:for_tenants))" if filtered else ""
    # CROSS JOIN: the types first, each once. As a condition of the inner SELECT, a hold would be looked up for every job.
    when = f"AND NOT EXISTS ({due(tables, 1)})" if unless_due else ""
    return f"""
        SELECT j.id FROM json_each(:asked) AS t CROSS JOIN {job} AS j
        ON NOT EXISTS (SELECT 1 {held} AND tenant = '') {when} AND j.id IN (
            SELECT id FROM {job} INDEXED BY "{tables.ready_index}"
            WHERE ready AND type = t.value AND tenant NOT IN (SELECT tenant {held}) {asked}
            ORDER BY {_ORDER} LIMIT {limit}
        ) ORDER BY j.priority_level DESC, j.position, j.id LIMIT {limit}"""


def bound(clause: TextClause, *, one: bool, filtered: bool) -> TextClause:
    """The statement with the types of its parameters."""
    del one
    clause = clause.bindparams(bindparam("asked", type_=Text()))
    return clause.bindparams(bindparam("for_tenants", type_=Text())) if filtered else clause


def parameters(types: Sequence[str], tenants: Sequence[str] | None) -> dict[str, Any]:
    """The parameters of `claimable`."""
    asked = {"asked": dump_json(list(types))}
    return asked if tenants is None else asked | {"for_tenants": dump_json(list(tenants))}


def due(tables: Tables, limit: int) -> str:
    """Gives the ids of at most `limit` jobs whose time has come, the longest due first."""
    return f"""
        SELECT id FROM {tables.name(tables.job)} INDEXED BY "{tables.due_index}" WHERE {DUE} AND due_at <= :now
        ORDER BY due_at, id LIMIT {limit}"""
