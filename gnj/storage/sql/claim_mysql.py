"""Which jobs a claim takes, and which become ready, in MySQL and MariaDB: ids, locked.

The indexes are forced: without statistics another one may look better, and a claim would then read every job of a type.
Holds are looked up first, so that they are no filters over a scan. There is neither LATERAL in MariaDB nor a plan that takes
the first of several types from one index, so each lane is a SELECT of its own, all of them in one statement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import bindparam, text

from gnj.queue.holds import ALL_TYPES
from gnj.storage.sql.columns import DIGEST, ID
from gnj.storage.sql.columns_mysql import digest
from gnj.storage.sql.dialect import NEAR, PROMOTED, SPARE

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

_ORDER: Final = "ready_order, position, id"
LANES: Final = 50
"""Lanes looked up in one statement."""
Lane: TypeAlias = tuple[bytes, bytes | None]
"""The digests of a type and of a tenant whose jobs are claimed in their order; None: those of all tenants."""


def locked(rows: SqlRows, types: Sequence[str], limit: int, tenants: Sequence[str] | None) -> list[int]:
    """Locks and gives the ids of at most `limit` jobs; see `Rows.claim`."""
    held, is_due = _held(rows, types)
    if is_due:
        rows.promote(PROMOTED)
    everywhere = held.pop(ALL_TYPES, set())
    lanes: list[Lane] = []
    sifted: dict[bytes, set[bytes]] = {}
    for type in types:
        leave_out = everywhere | held.get(type, set())
        if "" in leave_out:
            continue
        if tenants is not None:
            lanes += ((digest(type), digest(tenant)) for tenant in dict.fromkeys(tenants) if tenant not in leave_out)
        elif leave_out:
            sifted[digest(type)] = set(map(digest, leave_out))
        else:
            lanes.append((digest(type), None))
    if len(lanes) == 1 and not sifted:
        return _first(rows, lanes[0], limit)
    return _chosen(rows, lanes, sifted, limit)


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


def _tenants(rows: SqlRows, type: bytes, without: Collection[bytes], each: int) -> list[Lane]:
    """The tenants whose jobs come first of a type, but those `without`: those of the first `each` of the others' jobs, if the
    first jobs of the type have so many; else all that have ready jobs.

    Then a statement for each: neither server goes from one to the next by itself. MariaDB has an index give each value once,
    but not of generated columns ("not covering"), and a search that begins at the last value found reads all of a type.
    """

    def near() -> Any:
        return text(f"{_part(rows, of_tenant=False, type=':type', columns='ready_tenant')} LIMIT {each + NEAR}")

    def next() -> Any:
        return text(f"""
            SELECT ready_tenant FROM {rows.tables.name(rows.tables.job)} FORCE INDEX ({rows.tables.lane_index})
            WHERE ready_type = :type AND ready_tenant > :tenant ORDER BY ready_tenant LIMIT 1""")

    first = list(map(bytes, rows.run(rows.prepared(("near", each), near), {"type": type}).scalars()))
    free = [tenant for tenant in first if tenant not in without][:each]
    if len(free) == each or len(first) < each + NEAR:
        return [(type, tenant) for tenant in dict.fromkeys(free)]
    lanes: list[Lane] = []
    tenant = b""
    while found := rows.run(rows.prepared("next tenant", next), {"type": type, "tenant": tenant}).scalar():
        tenant = bytes(found)
        if tenant not in without:
            lanes.append((type, tenant))
    return lanes


def _first(rows: SqlRows, lane: Lane, limit: int) -> list[int]:
    """The first free jobs of a lane, locked along the index: no more of them than are handed out."""
    type, tenant = lane

    def build() -> Any:
        return text(f"{_part(rows, of_tenant=tenant is not None)} LIMIT {limit} FOR UPDATE SKIP LOCKED")

    parameters = {"type": type} if tenant is None else {"type": type, "tenant": tenant}
    return list(rows.run(rows.prepared(("first", limit, tenant is None), build), parameters).scalars())


def _chosen(rows: SqlRows, plain: Sequence[Lane], sifted: Mapping[bytes, set[bytes]], limit: int) -> list[int]:
    """The first of several lanes: looked up unlocked, then locked in the common order until there are enough. Locking while
    looking would lock as many of each. Of the types of `sifted`, the jobs of some tenants are left out.
    """
    taken: list[int] = []
    tried: set[int] = set()
    fetch = limit + SPARE
    each = min(fetch, 2 * -(-fetch // max(len(plain) + len(sifted), 1)) + SPARE)
    while True:
        lanes = [*plain]
        for type, without in sifted.items():
            lanes += _tenants(rows, type, without, fetch)
        found, are_more = _candidates(rows, lanes, fetch, each)
        left = (id for id in found if id not in tried)
        while len(taken) < limit and (some := list(islice(left, limit - len(taken)))):
            tried.update(some)
            taken += _lock(rows, some)
        if len(taken) >= limit or not are_more:
            return taken
        fetch, each = fetch * 8, each * 8


def _candidates(rows: SqlRows, lanes: Sequence[Lane], fetch: int, each: int) -> tuple[list[int], bool]:
    """The first ready jobs of all lanes in the order of claims, at most `fetch` and as far as `each` of every lane reach,
    those included that others have locked; and whether there may be more.

    500 jobs of 20 types are found among 60 of each; with 508 of each, that claim read 22,343 rows.
    """
    found: list[Any] = []
    for start in range(0, len(lanes), LANES):
        some = lanes[start : start + LANES]
        of_tenants = tuple(tenant is not None for _, tenant in some)

        def build(start: int = start, of_tenants: tuple[bool, ...] = of_tenants) -> Any:
            parts = []
            for n, of in enumerate(of_tenants):
                columns = f"{_ORDER}, {start + n} AS nth"
                part = _part(rows, of_tenant=of, type=f":type_{n}", tenant=f":tenant_{n}", columns=columns)
                parts.append(f"({part} LIMIT {each})")
            return text(f"{' UNION ALL '.join(parts)} ORDER BY {_ORDER} LIMIT {fetch}")

        parameters = {f"type_{n}": type for n, (type, _) in enumerate(some)}
        parameters |= {f"tenant_{n}": tenant for n, (_, tenant) in enumerate(some) if tenant is not None}
        found += rows.run(rows.prepared(("candidates", fetch, each, start, of_tenants), build), parameters).all()
    found.sort()
    found = found[:fetch]
    counts = Counter(n for *_, n in found)
    # a lane that has as many as were asked for may have another one right after its last
    ends = {n: place for place, (*_, n) in enumerate(found) if counts[n] == each}
    end = min(ends.values(), default=len(found)) + 1
    return [id for _, _, id, _ in found[:end]], bool(ends) or len(found) == fetch


def _part(rows: SqlRows, *, of_tenant: bool, type: str = ":type", tenant: str = ":tenant", columns: str = "id") -> str:
    index = rows.tables.lane_index if of_tenant else rows.tables.ready_index
    sifted = f" AND ready_tenant = {tenant}" if of_tenant else ""
    return f"""
        SELECT {columns} FROM {rows.tables.name(rows.tables.job)} FORCE INDEX ({index})
        WHERE ready_type = {type}{sifted} ORDER BY {_ORDER}"""


def _lock(rows: SqlRows, ids: Sequence[int]) -> list[int]:
    """Those of the jobs that nobody else has locked, and that are still ready."""

    def build() -> Any:
        clause = text(f"""
            SELECT id FROM {rows.tables.name(rows.tables.job)} FORCE INDEX (PRIMARY)
            WHERE id IN :of_ids AND ready_type IS NOT NULL ORDER BY id FOR UPDATE SKIP LOCKED""")
        return clause.bindparams(bindparam("of_ids", type_=ID, expanding=True))

    return list(rows.run(rows.prepared("lock ready", build), {"of_ids": list(ids)}).scalars())
