"""Which jobs a claim takes, and which become ready: the SQL of PostgreSQL.

The ids are collected by ARRAY(SELECT …), not by a join: an array of unknown length is planned as ten lookups of the primary
key, while a join with a CTE of unknown size can become a hash over the whole table. LIMIT is a literal, since for a parameter
the planner assumes a tenth of the rows, and sorts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Text, TextClause, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

from gnj.storage.sql.schema import DUE, Tables

_ORDER = "priority_level DESC, position, id"


def claimable(tables: Tables, *, one: bool, limit: int, fetch: int, filtered: bool, unless_due: bool) -> str:
    """Locks and gives the ids of at most `limit` ready jobs, passing over what others have locked.

    One type: locked along the index, in order. Several: the first `fetch` of each are looked up unlocked, then locked in the
    common order until there are enough. Locking while looking would lock as many of each type: 200 rows of 20 types to hand
    out 10, and the next claimer finds none.

    Args:
        tables: The tables.
        one: Whether only one type is asked for.
        limit: See `Rows.claim`.
        fetch: At most so many are looked up of each type.
        filtered: Whether only some tenants are served.
        unless_due: Give none when a job is due that has not been made ready: it may come before them.
    """
    job = tables.name(tables.job)
    when = f"AND NOT EXISTS (SELECT 1 FROM {job} WHERE {DUE} AND due_at <= :now)" if unless_due else ""
    if one:
        wanted = _first(tables, "id", ":asked", when, filtered=filtered)
    else:
        ids = _candidates(tables, fetch, filtered=filtered)
        wanted = f"SELECT id FROM {job} WHERE id = ANY (ARRAY({ids})) AND ready {when} ORDER BY {_ORDER}"
    return f"{wanted} LIMIT {limit} FOR UPDATE SKIP LOCKED"


def candidates(tables: Tables, *, fetch: int, filtered: bool) -> str:
    """How many jobs of several types `claimable` chooses from, at most `fetch`, those included that others have locked."""
    return f"SELECT count(*) FROM ({_candidates(tables, fetch, filtered=filtered)}) AS c"


def bound(clause: TextClause, *, one: bool, filtered: bool) -> TextClause:
    """The statement with the types of its parameters, whose names no column has: those are taken in an UPDATE."""
    clause = clause.bindparams(bindparam("asked", type_=Text() if one else ARRAY(Text())))
    return clause.bindparams(bindparam("for_tenants", type_=ARRAY(Text()))) if filtered else clause


def parameters(types: Sequence[str], tenants: Sequence[str] | None) -> dict[str, Any]:
    """The parameters of `claimable` and `candidates`."""
    asked = {"asked": types[0] if len(types) == 1 else list(types)}
    return asked if tenants is None else asked | {"for_tenants": list(tenants)}


def due(tables: Tables, limit: int) -> str:
    """Locks and gives the ids of at most `limit` jobs whose time has come, the longest due first."""
    return f"""
        SELECT id FROM {tables.name(tables.job)} WHERE {DUE} AND due_at <= :now
        ORDER BY due_at, id LIMIT {limit} FOR UPDATE SKIP LOCKED"""


def _candidates(tables: Tables, fetch: int, *, filtered: bool) -> str:
    first = _first(tables, "id, priority_level, position", "t.type", "", filtered=filtered)
    return f"""
        SELECT c.id FROM unnest(:asked) AS t(type) CROSS JOIN LATERAL ({first} LIMIT {fetch}) AS c
        ORDER BY c.priority_level DESC, c.position, c.id LIMIT {fetch}"""


def _first(tables: Tables, columns: str, type: str, when: str, *, filtered: bool) -> str:
    """The free jobs of one type in their order, straight from the index.

    A hold for all tenants empties the type at once; that of one tenant is a filter, whose array is made once. The filters
    are on an expression, of which the planner knows nothing: from the statistics of a column in which all are alike it
    concludes that hardly a row is left, and sorts the whole backlog (1,885 blocks a claim with 100,000 jobs, not 55).
    """
    held = f"FROM {tables.name(tables.hold)} WHERE deleted_at IS NULL AND type IN ({type}, 'all')"
    asked = "AND (tenant || '') = ANY (:for_tenants)" if filtered else ""
    return f"""
        SELECT {columns} FROM {tables.name(tables.job)} WHERE ready AND type = {type} {asked} {when}
        AND NOT EXISTS (SELECT 1 {held} AND tenant = '') AND (tenant || '') <> ALL (ARRAY(SELECT tenant {held}))
        ORDER BY {_ORDER}"""
