"""Which jobs a claim takes, and which become ready, in MySQL and MariaDB: ids, locked.

The indexes are forced: without statistics another one may look better, and a claim would then read every job of a type.
Holds are looked up first, so that they are no filters over a scan. There is neither LATERAL in MariaDB nor a plan that takes
the first of several types from one index, so each type is a SELECT of its own, all of them in one statement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, text

from gnj.queue.holds import ALL_TYPES
from gnj.storage.sql.columns import DIGEST, ID
from gnj.storage.sql.columns_mysql import digest
from gnj.storage.sql.dialect import PROMOTED, SPARE

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

_ORDER: Final = "ready_order, position, id"
TYPES: Final = 50
"""Types looked up in one statement."""


def locked(rows: SqlRows, types: Sequence[str], limit: int, tenants: Sequence[str] | None) -> list[int]:
    """Locks and gives the ids of at most `limit` jobs; see `Rows.claim`."""
    held, is_due = _held(rows, types)
    if is_due:
        rows.promote(PROMOTED)
    everywhere = held.pop(ALL_TYPES, set())
    if "" in everywhere:
        return []
    # the digests of the tenants to leave out, for each type that anybody is served of
    free = {
        type: sorted(map(digest, everywhere | held.get(type, set()))) for type in types if "" not in held.get(type, ())
    }
    if len(free) == 1 and tenants is None and not any(free.values()):
        (type,) = free
        return _first(rows, type, limit)
    return _chosen(rows, free, limit, None if tenants is None else sorted(map(digest, tenants)))


def due(rows: SqlRows, limit: int) -> list[int]:
    """Locks and gives the ids of at most `limit` jobs whose time has come, the longest due first."""
    present = rows.present()

    def build() -> Any:
        return present.clause(f"""
            SELECT id FROM {rows.tables.name(rows.tables.job)} FORCE INDEX ({rows.tables.due_index})
            WHERE due_key <= :now ORDER BY due_key, id LIMIT {limit} FOR UPDATE SKIP LOCKED""")

    key = ("due", limit, present.moment is None)
    return list(rows.run(rows.prepared(key, build), present.parameters()).scalars())


def _held(rows: SqlRows, types: Sequence[str]) -> tuple[dict[str, set[str]], bool]:
    """The tenants for which each of the types, or "all", is held; and whether a job is due that has not been made ready."""
    tables, present = rows.tables, rows.present()

    def build() -> Any:
        clause = present.clause(f"""
            SELECT type, tenant FROM {tables.name(tables.hold)} WHERE held_type IN :asked UNION ALL
            SELECT NULL, NULL FROM DUAL WHERE EXISTS (
                SELECT 1 FROM {tables.name(tables.job)} FORCE INDEX ({tables.due_index}) WHERE due_key <= :now)""")
        return clause.bindparams(bindparam("asked", type_=DIGEST, expanding=True))

    asked = {"asked": [digest(type) for type in {*types, ALL_TYPES}]}
    held: dict[str, set[str]] = {}
    is_due = False
    for type, tenant in rows.run(rows.prepared(("held", present.moment is None), build), asked | present.parameters()):
        if type is None:
            is_due = True
        else:
            held.setdefault(type, set()).add(tenant)
    return held, is_due


def _first(rows: SqlRows, type: str, limit: int) -> list[int]:
    """The first free jobs of a type, locked along the index: no more of them than are handed out."""

    def build() -> Any:
        return text(f"""
            SELECT id FROM {rows.tables.name(rows.tables.job)} FORCE INDEX ({rows.tables.ready_index})
            WHERE ready_type = :asked ORDER BY {_ORDER} LIMIT {limit} FOR UPDATE SKIP LOCKED""")

    return list(rows.run(rows.prepared(("first", limit), build), {"asked": digest(type)}).scalars())


def _chosen(rows: SqlRows, free: dict[str, list[bytes]], limit: int, tenants: Sequence[bytes] | None) -> list[int]:
    """The first of several types, or of some tenants: looked up unlocked, then locked in the common order until there are
    enough. Locking while looking would lock as many of each type, and what a filter passes over, too.
    """
    taken: list[int] = []
    tried: set[int] = set()
    fetch = limit + SPARE
    each = min(fetch, 2 * -(-fetch // max(len(free), 1)) + SPARE)
    while True:
        found, are_more = _candidates(rows, free, fetch, each, tenants)
        left = (id for id in found if id not in tried)
        while len(taken) < limit and (some := list(islice(left, limit - len(taken)))):
            tried.update(some)
            taken += _lock(rows, some)
        if len(taken) >= limit or not are_more:
            return taken
        fetch, each = fetch * 8, each * 8


def _candidates(
    rows: SqlRows, free: dict[str, list[bytes]], fetch: int, each: int, tenants: Sequence[bytes] | None
) -> tuple[list[int], bool]:
    """The first ready jobs of all types in the order of claims, at most `fetch` and as far as `each` of every type reach,
    those included that others have locked; and whether there may be more.

    500 jobs of 20 types are found among 60 of each; with 508 of each, that claim read 22,343 rows.
    """
    found: list[Any] = []
    asked = list(free.items())
    for start in range(0, len(asked), TYPES):
        some = asked[start : start + TYPES]
        filters = tuple(bool(leave_out) for _, leave_out in some)

        def build(start: int = start, filters: tuple[bool, ...] = filters) -> Any:
            parts = (_part(rows, n, start + n, each, tenants, filtered=f) for n, f in enumerate(filters))
            clause = text(f"{' UNION ALL '.join(parts)} ORDER BY {_ORDER} LIMIT {fetch}")
            names = [f"without_{n}" for n, filtered in enumerate(filters) if filtered]
            names += [] if tenants is None else ["for_tenants"]
            return clause.bindparams(*(bindparam(name, type_=DIGEST, expanding=True) for name in names))

        parameters: dict[str, Any] = {} if tenants is None else {"for_tenants": tenants}
        for n, (type, leave_out) in enumerate(some):
            parameters |= {f"type_{n}": digest(type)} | ({f"without_{n}": leave_out} if leave_out else {})
        key = ("candidates", fetch, each, start, filters, tenants is None)
        found += rows.run(rows.prepared(key, build), parameters).all()
    found.sort()
    found = found[:fetch]
    counts = Counter(n for *_, n in found)
    # a type that has as many as were asked for may have another one right after its last
    ends = {n: place for place, (*_, n) in enumerate(found) if counts[n] == each}
    end = min(ends.values(), default=len(found)) + 1
    return [id for _, _, id, _ in found[:end]], bool(ends) or len(found) == fetch


def _part(rows: SqlRows, n: int, of: int, each: int, tenants: Sequence[bytes] | None, *, filtered: bool) -> str:
    sifted = " AND ready_tenant IN :for_tenants" if tenants is not None else ""
    sifted += f" AND ready_tenant NOT IN :without_{n}" if filtered else ""
    return f"""
        (SELECT {_ORDER}, {of} AS nth FROM {rows.tables.name(rows.tables.job)} FORCE INDEX ({rows.tables.ready_index})
        WHERE ready_type = :type_{n}{sifted} ORDER BY {_ORDER} LIMIT {each})"""


def _lock(rows: SqlRows, ids: Sequence[int]) -> list[int]:
    """Those of the jobs that nobody else has locked, and that are still ready."""

    def build() -> Any:
        clause = text(f"""
            SELECT id FROM {rows.tables.name(rows.tables.job)} FORCE INDEX (PRIMARY)
            WHERE id IN :of_ids AND ready_type IS NOT NULL ORDER BY id FOR UPDATE SKIP LOCKED""")
        return clause.bindparams(bindparam("of_ids", type_=ID, expanding=True))

    return list(rows.run(rows.prepared("lock ready", build), {"of_ids": list(ids)}).scalars())
