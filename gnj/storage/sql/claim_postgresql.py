"""Which jobs a claim takes, and which become ready: the SQL of PostgreSQL.

Jobs are named by their places in the table (`ctid`), not by their ids: what has been found in one index need not be looked up
in another, which was a fifth of the blocks of a claim, and more the larger the table. Once a row is locked, it stays in its
place. If somebody changed it after the statement had begun, and before it was locked, the place is that of a version which the
statement does not see: the claim is short of that job, and the next one has it.

The places are collected by ARRAY(SELECT …), not by a join: an array of unknown length is planned as ten lookups, while a join
with a CTE of unknown size can become a hash over the whole table. LIMIT is a literal, since for a parameter the planner
assumes a tenth of the rows, and sorts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Text, TextClause, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

from gnj.storage.sql.columns import ID
from gnj.storage.sql.dialect import NEAR, NUMBERS
from gnj.storage.sql.schema import DUE, Tables

_ORDER = "priority_level DESC, position, id"


def claimable(tables: Tables, *, one: bool, short: bool, filtered: bool, careful: bool) -> str:
    """Locks and gives the places of at most `:most` ready jobs, passing over what others have locked.

    One type: locked along the index, in order. Several: the first of each are looked up unlocked, then locked in the common
    order until there are enough. Locking while looking would lock as many of each type: 200 rows of 20 types to hand out 10,
    and the next claimer finds none.

    Args:
        tables: The tables.
        one: Whether one type is asked for, and, if filtered, one tenant.
        short: Whether fewer are looked up of one type, or of one type and tenant (`:each`), than of all (`:fetch`).
        filtered: Whether only some tenants are served.
        careful: If false, none are given when a job is due that has not been made ready, since it may come before them, nor,
            unless filtered, when one of the types is held for single tenants, since that takes more looking.
    """
    job = tables.name(tables.job)
    when = "" if careful else f"AND NOT EXISTS (SELECT 1 FROM {job} WHERE {DUE} AND due_at <= :now)"
    if not (one or careful or filtered):
        when += f" AND NOT EXISTS ({_holds(tables, 'ANY (:asked)')} AND tenant <> '')"
    first = "LIMIT :most FOR UPDATE SKIP LOCKED"
    if one and filtered:
        return f"{_of_tenant(tables, 'ctid', ':asked', ':for_tenants', when)} {first}"
    along = f"{_of_type(tables, 'ctid', ':asked', when)} {first}"
    if one and not careful:
        return along
    found = _candidates(tables, one=one, short=short, filtered=filtered, careful=careful)
    chosen = f"SELECT ctid FROM {job} WHERE ctid = ANY (ARRAY({found})) AND ready {when} ORDER BY {_ORDER} {first}"
    # of the two, one gives nothing: the type is held for a tenant or it is not
    return f"SELECT ctid FROM ({along}) AS a UNION ALL SELECT ctid FROM ({chosen}) AS b" if one else chosen


def candidates(tables: Tables, *, one: bool, short: bool, filtered: bool) -> str:
    """How many jobs a careful `claimable` chooses from, at most `:fetch`, those included that others have locked."""
    found = _candidates(tables, one=one, short=short, filtered=filtered, careful=True)
    return f"SELECT count(*) FROM ({found}) AS c"


def bound(clause: TextClause, *, one: bool, filtered: bool) -> TextClause:
    """The statement with the types of its parameters, whose names no column has: those are taken in an UPDATE."""
    clause = clause.bindparams(*(bindparam(name, type_=ID) for name in NUMBERS if f":{name}" in clause.text))
    type: Any = Text() if one else ARRAY(Text())
    clause = clause.bindparams(bindparam("asked", type_=type))
    return clause.bindparams(bindparam("for_tenants", type_=type)) if filtered else clause


def parameters(types: Sequence[str], tenants: Sequence[str] | None, *, one: bool) -> dict[str, Any]:
    """The parameters of `claimable` and `candidates`."""
    asked = {"asked": types[0] if one else list(types)}
    return asked if tenants is None else asked | {"for_tenants": tenants[0] if one else list(tenants)}


def numbers(most: int, fetch: int, each: int, *, one: bool, filtered: bool, careful: bool) -> dict[str, int]:
    """Those of the numbers that are parameters of `claimable`."""
    along = one and (filtered or not careful)
    return {"most": most} if along else {"most": most, "fetch": fetch, "each": each}


def due(tables: Tables, limit: int) -> str:
    """Locks and gives the places of at most `limit` jobs whose time has come, the longest due first."""
    return f"""
        SELECT ctid FROM {tables.name(tables.job)} WHERE {DUE} AND due_at <= :now
        ORDER BY due_at, id LIMIT {limit} FOR UPDATE SKIP LOCKED"""


def _candidates(tables: Tables, *, one: bool, short: bool, filtered: bool, careful: bool) -> str:
    """The first jobs in the order of claims, as far as `:each` of every type reach, or of every type and tenant asked for:
    one of which there are as many may go on right after its last.
    """
    columns = "ctid AS place, id, priority_level, position"
    plain = f"{_of_type(tables, columns, 'l.type', '')} LIMIT :each"
    laned = f"{_of_tenant(tables, columns, 'l.type', 'l.tenant', '')} LIMIT :each"
    parts = []
    if filtered:
        parts.append(("type, tenant", "unnest(:asked) AS t(type) CROSS JOIN unnest(:for_tenants) AS u(tenant)", laned))
    else:
        types = "(SELECT :asked)" if one else "unnest(:asked)"
        parts += [] if one else [("type", f"{types} AS t(type)", plain)]
        held = f"{types} AS t(type) CROSS JOIN LATERAL ({_tenants(tables)}) AS u"
        parts += [("type", held, laned)] if careful else []
    found = " UNION ALL ".join(
        f"SELECT c.*, ROW({lane})::text AS lane FROM (SELECT * FROM {lanes}) AS l CROSS JOIN LATERAL ({first}) AS c"
        for lane, lanes, first in parts
    )
    if short:
        nth = f"row_number() OVER (PARTITION BY lane ORDER BY {_ORDER}) AS nth"
        before = f"(ORDER BY {_ORDER} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        ends = f"count(*) FILTER (WHERE nth = :each) OVER {before} AS ends"
        found = f"SELECT * FROM (SELECT *, {ends} FROM (SELECT *, {nth} FROM ({found}) AS a) AS b) AS d WHERE ends = 0"
    return f"SELECT place FROM ({found}) AS e ORDER BY {_ORDER} LIMIT :fetch"


def _tenants(tables: Tables) -> str:
    """The tenants whose jobs come first of a type that is held for some: those of the first `:each` jobs that are free, if the
    first jobs of the type have so many; else all that have ready jobs, looked up one after the other.
    """
    job, holds = tables.name(tables.job), _holds(tables, "t.type")
    first = f"SELECT tenant FROM {job} WHERE ready AND type = t.type"
    few = f"(SELECT count(*) FROM free) < :each AND (SELECT count(*) FROM near) = :each + {NEAR}"
    return f"""
        WITH RECURSIVE near AS (
            {first} AND EXISTS ({holds} AND tenant <> '') ORDER BY {_ORDER} LIMIT :each + {NEAR}
        ), free AS (
            SELECT tenant FROM near
            WHERE tenant <> ALL (ARRAY({holds.replace("SELECT 1", "SELECT tenant", 1)})) LIMIT :each
        ), lane(tenant) AS (
            SELECT ({first} ORDER BY tenant LIMIT 1) WHERE {few} UNION ALL
            SELECT ({first} AND tenant > lane.tenant ORDER BY tenant LIMIT 1) FROM lane WHERE tenant IS NOT NULL
        ) SELECT tenant FROM lane WHERE tenant IS NOT NULL
        UNION ALL SELECT DISTINCT tenant FROM free WHERE NOT ({few})"""


def _of_type(tables: Tables, columns: str, type: str, when: str) -> str:
    """The free jobs of a type that nobody holds, in their order, straight from the index."""
    return f"""
        SELECT {columns} FROM {tables.name(tables.job)} WHERE ready AND type = {type} {when}
        AND NOT EXISTS ({_holds(tables, type)}) ORDER BY {_ORDER}"""


def _of_tenant(tables: Tables, columns: str, type: str, tenant: str, when: str) -> str:
    """The free jobs of one type and tenant in their order, straight from the index.

    For one tenant two bounds and an order: for an equation the planner would also take the index without tenants, where it
    believes that nearly all jobs are that tenant's, and pass over those of the others.
    """
    return f"""
        SELECT {columns} FROM {tables.name(tables.job)}
        WHERE ready AND type = {type} AND tenant >= {tenant} AND tenant <= {tenant} {when}
        AND NOT EXISTS ({_holds(tables, type)} AND tenant IN ('', {tenant})) ORDER BY tenant, {_ORDER}"""


def _holds(tables: Tables, type: str) -> str:
    """The holds of a type, for whomever."""
    return f"SELECT 1 FROM {tables.name(tables.hold)} WHERE deleted_at IS NULL AND (type = {type} OR type = 'all')"
