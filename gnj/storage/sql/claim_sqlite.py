"""Which jobs a claim takes, and which become ready: the SQL of SQLite.

Writers come one after the other, so nothing is locked and no one is passed over. INDEXED BY makes the plan certain: without
statistics SQLite may prefer another index, and a claim would then read every job of a type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Text, TextClause, bindparam

from gnj.queue.values import dump_json
from gnj.storage.sql.columns import ID
from gnj.storage.sql.dialect import NEAR, NUMBERS
from gnj.storage.sql.schema import DUE, Tables

_ORDER = "priority_level DESC, position, id"


def claimable(tables: Tables, *, one: bool, short: bool, filtered: bool, careful: bool) -> str:
    """Gives the ids of at most `:most` ready jobs: the first of each type, or of each type and tenant, then the first of all.

    Args:
        tables: The tables.
        one: Whether one type is asked for, and, if filtered, one tenant: makes no difference here.
        short: Whether fewer are looked up of one type, or of one type and tenant (`:each`), than of all.
        filtered: Whether only some tenants are served.
        careful: If false, none are given when a job is due that has not been made ready, since it may come before them, nor,
            unless filtered, when one of the types is held for single tenants, since that takes more looking.
    """
    del one
    when = "" if careful else f"AND NOT EXISTS ({due(tables, 1)})"
    if not (careful or filtered):
        when += f" AND NOT EXISTS ({_holds(tables, '(SELECT value FROM json_each(:asked))')} AND tenant <> '')"
    found = _candidates(tables, filtered=filtered, careful=careful, when=when)
    if short:
        # not beyond the last of a type or tenant of which there are as many as were looked for: it may go on there
        nth = f"row_number() OVER (PARTITION BY lane ORDER BY {_ORDER}) = :each AS is_last"
        before = f"OVER (ORDER BY {_ORDER} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        ends = f"SELECT *, coalesce(sum(is_last) {before}, 0) AS ends FROM (SELECT *, {nth} FROM ({found}))"
        found = f"SELECT * FROM ({ends}) WHERE ends = 0"
    return f"SELECT id FROM ({found}) ORDER BY {_ORDER} LIMIT :most"


def bound(clause: TextClause, *, one: bool, filtered: bool) -> TextClause:
    """The statement with the types of its parameters."""
    del one
    clause = clause.bindparams(*(bindparam(name, type_=ID) for name in NUMBERS if f":{name}" in clause.text))
    clause = clause.bindparams(bindparam("asked", type_=Text()))
    return clause.bindparams(bindparam("for_tenants", type_=Text())) if filtered else clause


def parameters(types: Sequence[str], tenants: Sequence[str] | None, *, one: bool) -> dict[str, Any]:
    """The parameters of `claimable`."""
    del one
    asked = {"asked": dump_json(list(types))}
    return asked if tenants is None else asked | {"for_tenants": dump_json(list(tenants))}


def numbers(most: int, fetch: int, each: int, *, one: bool, filtered: bool, careful: bool) -> dict[str, int]:
    """Those of the numbers that are parameters of `claimable`."""
    del fetch, one, filtered, careful
    return {"most": most, "each": each}


def due(tables: Tables, limit: int) -> str:
    """Gives the ids of at most `limit` jobs whose time has come, the longest due first."""
    return f"""
        SELECT id FROM {tables.name(tables.job)} INDEXED BY "{tables.due_index}" WHERE {DUE} AND due_at <= :now
        ORDER BY due_at, id LIMIT {limit}"""


def _candidates(tables: Tables, *, filtered: bool, careful: bool, when: str) -> str:
    """The first `:each` jobs of every type, or of every type and tenant, in any order.

    CROSS JOIN: the types first, each once. As a condition of the inner SELECT, a hold would be looked up for every job.
    """
    job = tables.name(tables.job)

    def first(index: str, which: str) -> str:
        return f"""j.id IN (
            SELECT id FROM {job} INDEXED BY "{index}" WHERE ready AND {which} ORDER BY {_ORDER} LIMIT :each)"""

    columns = "j.id, j.priority_level, j.position"
    laned = first(tables.lane_index, "type = t.value AND tenant = u.value")
    of_tenant = f"NOT EXISTS ({_holds(tables, '(t.value)')} AND tenant IN ('', u.value))"
    if filtered:
        return f"""
            SELECT {columns}, t.key || ' ' || u.key AS lane
            FROM json_each(:asked) AS t CROSS JOIN json_each(:for_tenants) AS u CROSS JOIN {job} AS j
            ON {of_tenant} {when} AND {laned}"""
    plain = f"""
        SELECT {columns}, t.key AS lane FROM json_each(:asked) AS t CROSS JOIN {job} AS j
        ON NOT EXISTS ({_holds(tables, "(t.value)")}) {when} AND {first(tables.ready_index, "type = t.value")}"""
    if not careful:
        return plain
    return f"""
        {plain} UNION ALL
        SELECT {columns}, t.key AS lane FROM json_each(:asked) AS t CROSS JOIN ({_tenants(tables)}) AS u
        CROSS JOIN {job} AS j ON u.type = t.value AND {of_tenant} AND {laned}"""


def _tenants(tables: Tables) -> str:
    """The tenants whose jobs come first, of each type that is held for some: those of its first `:each` jobs that are free, if
    the first jobs of the type have so many; else all that have ready jobs, looked up one after the other.
    """
    job, holds = tables.name(tables.job), _holds(tables, "(t.value)")
    next = f"""SELECT tenant FROM {job} INDEXED BY "{tables.lane_index}"
        WHERE ready AND type = {{}} ORDER BY tenant LIMIT 1"""
    return f"""
        WITH RECURSIVE near AS MATERIALIZED (
            SELECT t.value AS type, j.tenant, j.priority_level, j.position, j.id,
            j.tenant NOT IN ({holds.replace("SELECT 1", "SELECT tenant", 1)}) AS is_free
            FROM json_each(:asked) AS t CROSS JOIN {job} AS j ON EXISTS ({holds} AND tenant <> '') AND j.id IN (
                SELECT id FROM {job} INDEXED BY "{tables.ready_index}"
                WHERE ready AND type = t.value ORDER BY {_ORDER} LIMIT :each + {NEAR})
        ), few AS (
            SELECT type FROM near GROUP BY type HAVING sum(is_free) < :each AND count(*) = :each + {NEAR}
        ), lane(type, value) AS (
            SELECT type, ({next.format("few.type")}) FROM few
            UNION ALL SELECT type, ({next.format("lane.type AND tenant > lane.value")}) FROM lane WHERE value IS NOT NULL
        ) SELECT type, value FROM lane WHERE value IS NOT NULL
        UNION ALL SELECT DISTINCT type, tenant FROM (
            SELECT *, row_number() OVER (PARTITION BY type ORDER BY {_ORDER}) AS nth FROM near WHERE is_free
        ) WHERE nth <= :each AND type NOT IN (SELECT type FROM few)"""


def _holds(tables: Tables, types: str) -> str:
    """The holds of these types, for whomever."""
    return f"SELECT 1 FROM {tables.name(tables.hold)} WHERE deleted_at IS NULL AND (type IN {types} OR type = 'all')"
