"""Which jobs a claim takes, and which become ready: the SQL of PostgreSQL.

The ids are collected by ARRAY(SELECT …), not by a join: an array of unknown length is planned as ten lookups of the primary
key, while a join with a CTE of unknown size can become a hash over the whole table. LIMIT is a literal, since for a parameter
the planner assumes a tenth of the rows, and sorts.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Text, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from gnj.storage.sql.schema import DUE, Tables

_ORDER = "priority_level DESC, position, id"


def claimable(
    tables: Tables, types: Sequence[str], limit: int, fetch: int, tenants: Sequence[str] | None
) -> TextClause:
    """Locks and gives the ids of at most `limit` ready jobs, passing over what others have locked.

    One type: locked along the index, in order. Several: the first `fetch` of each are looked up unlocked, then locked in the
    common order until there are enough. Locking while looking would lock as many of each type: 200 rows of 20 types to hand
    out 10, and the next claimer finds none.
    """
    if len(types) == 1:
        first = _first(tables, "id", ":asked", tenants)
        return _bound(f"{first} LIMIT {limit} FOR UPDATE SKIP LOCKED", types, tenants)
    sql = f"""
        SELECT id FROM {tables.name(tables.job)}
        WHERE id = ANY (ARRAY({_candidates(tables, fetch, tenants)})) AND ready
        ORDER BY {_ORDER} LIMIT {limit} FOR UPDATE SKIP LOCKED"""
    return _bound(sql, types, tenants)


def candidates(tables: Tables, types: Sequence[str], fetch: int, tenants: Sequence[str] | None) -> TextClause:
    """How many jobs `claimable` chooses from, at most `fetch`; those that others have locked are among them."""
    return _bound(f"SELECT count(*) FROM ({_candidates(tables, fetch, tenants)}) AS c", types, tenants)


def due(tables: Tables, limit: int) -> str:
    """Locks and gives the ids of at most `limit` jobs whose time has come, the longest due first."""
    return f"""
        SELECT id FROM {tables.name(tables.job)} WHERE {DUE} AND due_at <= :now
        ORDER BY due_at, id LIMIT {limit} FOR UPDATE SKIP LOCKED"""


def _candidates(tables: Tables, fetch: int, tenants: Sequence[str] | None) -> str:
    first = _first(tables, "id, priority_level, position", "t.type", tenants)
    return f"""
        SELECT c.id FROM unnest(:asked) AS t(type) CROSS JOIN LATERAL ({first} LIMIT {fetch}) AS c
        ORDER BY c.priority_level DESC, c.position, c.id LIMIT {fetch}"""


def _first(tables: Tables, columns: str, type: str, tenants: Sequence[str] | None) -> str:
    """The free jobs of one type in their order, straight from the index.

    A hold for all tenants empties the type at once; that of one tenant is a filter, whose array is made once. The filters
    are on an expression, of which the planner knows nothing: from the statistics of a column in which all are alike it
    concludes that hardly a row is left, and sorts the whole backlog (1,885 blocks a claim with 100,000 jobs, not 55).
    """
    held = f"FROM {tables.name(tables.hold)} WHERE deleted_at IS NULL AND type IN ({type}, 'all')"
    asked = "" if tenants is None else "AND (tenant || '') = ANY (:for_tenants)"
    return f"""
        SELECT {columns} FROM {tables.name(tables.job)} WHERE ready AND type = {type} {asked}
        AND NOT EXISTS (SELECT 1 {held} AND tenant = '') AND (tenant || '') <> ALL (ARRAY(SELECT tenant {held}))
        ORDER BY {_ORDER}"""


def _bound(sql: str, types: Sequence[str], tenants: Sequence[str] | None) -> TextClause:
    # names that no column has: those are taken in an UPDATE
    one = len(types) == 1
    asked = bindparam("asked", types[0] if one else list(types), Text() if one else ARRAY(Text()))
    clause = text(sql).bindparams(asked)
    return clause if tenants is None else clause.bindparams(bindparam("for_tenants", list(tenants), ARRAY(Text())))
