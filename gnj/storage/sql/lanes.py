"""Ready jobs in the order of claims, or against it, straight along the indexes that claims are made from.

`find` cannot do this: what it asks of a row does not imply `ready`, the condition of those indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from operator import neg
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from gnj.storage.sql.columns import DIGEST, ID, TEXT, TIME
from gnj.storage.sql.columns_mysql import digest
from gnj.storage.sql.schema import DUE, GROUPED

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

WALK: Final = 10_000
"""Jobs of a type and tenant that are looked through for those of one limit key, where no index has the keys."""

_TYPES: Final[dict[str, Any]] = {"low": ID, "high": ID, "most": ID, "skip": ID, "upto": TIME}
_KEYED: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {"type": digest, "tenant": digest, "low": neg, "high": neg}
)
"""What the generated columns hold of a value."""


def lane(
    rows: SqlRows,
    type: str,
    tenant: str | None,
    limit: int,
    *,
    key: str | None,
    backward: bool,
    low: int | None,
    high: int | None,
    offset: int,
) -> list[tuple[int, str, str | None]]:
    """See `Rows.lane`."""
    if limit < 1:
        return []
    assert key is None or tenant is not None, "a limit key is a tenant's"  # noqa: S101 - a mistake of gnj's own
    given: dict[str, Any] = {"type": type, "tenant": tenant, "key": key, "low": low, "high": high}
    given = {name: value for name, value in given.items() if value is not None} | {"most": limit, "skip": offset}
    shape = ("lane", tenant is not None, key is not None, backward, low is not None, high is not None)
    sql = _keyed if rows.dialect.keyed else _plain
    names = frozenset(given)
    found = rows.run(*_asked(rows, shape, lambda: sql(rows, names, backward=backward), given))
    return [(id, of, group) for id, of, group in found]


def size(rows: SqlRows, type: str, tenant: str, *, low: int | None, high: int | None) -> int:
    """See `Rows.lane_size`."""
    given = {"type": type, "tenant": tenant, "low": low, "high": high}
    given = {name: value for name, value in given.items() if value is not None}
    shape, names = ("lane size", low is not None, high is not None), frozenset(given)
    build = _keyed_lane if rows.dialect.keyed else _plain_lane
    sql = partial(build, rows, names, "count(*)")
    return int(rows.run(*_asked(rows, shape, sql, given)).scalar_one())


def named(rows: SqlRows, type: str, tenant: str, ids: Collection[str]) -> list[int]:
    """Where the jobs are that `Rows.named` gives, in PostgreSQL.

    A list is compared with what the two columns before it lead to, by statistics of a table that was empty: all jobs of the
    type that have such an id.
    """
    job = rows.tables.name(rows.tables.job)
    sql = f"""
        SELECT found.id FROM unnest(:ids) AS given(name) CROSS JOIN LATERAL (
            SELECT id FROM {job} WHERE custom_id IS NOT NULL AND deleted_at IS NULL
                AND tenant = :tenant AND type = :type AND custom_id = given.name COLLATE "C" LIMIT 1
        ) AS found"""

    def bound() -> TextClause:
        types: dict[str, Any] = {"ids": ARRAY(TEXT), "tenant": TEXT, "type": TEXT}
        return text(sql).bindparams(*(bindparam(name, type_=type) for name, type in types.items()))

    given = {"ids": list(ids), "tenant": tenant, "type": type}
    return list(rows.run(rows.prepared(("named",), bound), given).scalars())


def due(
    rows: SqlRows, type: str, tenant: str, limit: int, *, backward: bool, upto: datetime | None, offset: int
) -> list[int]:
    """See `Rows.due`."""
    if limit < 1:
        return []
    given: dict[str, Any] = {"of_type": type, "of_tenant": tenant, "most": limit, "skip": offset}
    given |= {} if upto is None else {"upto": upto}
    key = ("due of a lane", backward, upto is not None)
    sql = partial(_due, rows, backward=backward, bounded=upto is not None)
    return list(rows.run(*_asked(rows, key, sql, given)).scalars())


def keys(rows: SqlRows, type: str, tenant: str, after: str, limit: int) -> list[str]:
    """See `Rows.keys`."""
    if limit < 1:
        return []
    given = {"type": type, "tenant": tenant, "after": after, "most": limit}
    if not rows.dialect.keyed:
        return list(rows.run(*_asked(rows, ("keys",), lambda: _loose(rows), given)).scalars())
    near = _walked(rows, "limit_key", "ready_order, position, id", "")
    sql = f"SELECT DISTINCT limit_key FROM ({near}) AS near WHERE limit_key IS NOT NULL"
    found = rows.run(*_asked(rows, ("keys",), lambda: sql, {"type": type, "tenant": tenant}))
    # in Python: the order of code points is not that of every collation
    return sorted(each for each in found.scalars() if each > after)[:limit]


def tenants(rows: SqlRows, type: str, after: str | None, limit: int) -> list[str]:
    """See `Rows.tenants`. MySQL and MariaDB need a statement for each: see `claim_mysql._tenants`."""
    if limit < 1:
        return []
    given: dict[str, Any] = {"type": type} if after is None else {"type": type, "tenant": after}
    if not rows.dialect.keyed:
        shape = ("tenants", after is not None)
        sql = partial(_loose_tenants, rows, "" if after is None else "AND tenant > :tenant")
        return list(rows.run(*_asked(rows, shape, sql, given | {"most": limit})).scalars())
    found: list[str] = []
    while len(found) < limit:
        shape = ("next tenant of", "tenant" in given)
        sql = partial(_keyed_tenant, rows, "AND ready_tenant > :tenant" if "tenant" in given else "")
        next = rows.run(*_asked(rows, shape, sql, given)).scalar()
        if next is None:
            break
        found.append(next)
        given = {"type": type, "tenant": next}
    return found


def _asked(rows: SqlRows, key: tuple[Any, ...], build: Callable[[], str], given: dict[str, Any]) -> tuple[Any, Any]:
    """A statement, made once for each shape, and its parameters."""

    def bound() -> TextClause:
        sql = build()
        clause = text(sql)
        types = {name: DIGEST if rows.dialect.keyed and name in ("type", "tenant") else TEXT for name in given} | _TYPES
        return clause.bindparams(*(bindparam(name, type_=types[name]) for name in given))

    if rows.dialect.keyed:
        given = {name: _KEYED[name](value) if name in _KEYED else value for name, value in given.items()}
    return rows.prepared(key, bound), given


def _plain(rows: SqlRows, given: frozenset[str], *, backward: bool) -> str:
    """PostgreSQL and SQLite.

    An equation alone lets PostgreSQL take a wider index, where it believes that nearly all rows meet it, and pass over those
    that do not: two bounds besides make it believe that few do.
    """
    order = "priority_level, position DESC, id DESC" if backward else "priority_level DESC, position, id"
    return f"{_plain_lane(rows, given)} ORDER BY {order} LIMIT :most OFFSET :skip"


def _plain_lane(rows: SqlRows, given: frozenset[str], what: str = "id, tenant, limit_key") -> str:
    tables = rows.tables
    index = tables.ready_index if "tenant" not in given else tables.group_index if "key" in given else tables.lane_index
    conditions = ["ready" if "key" not in given else GROUPED, "type = :type"]
    for name, column in (("tenant", "tenant"), ("key", "limit_key")):
        if name in given:
            conditions.append(_narrow(rows, column, f":{name}"))
    conditions += _bounds(given, "priority_level >= :low", "priority_level <= :high")
    return f"""
        SELECT {what} FROM {tables.name(tables.job)} {rows.dialect.along.format(index)}
        WHERE {" AND ".join(conditions)}"""


def _keyed(rows: SqlRows, given: frozenset[str], *, backward: bool) -> str:
    """MySQL and MariaDB, whose order of claims is negated."""
    order = "ready_order DESC, position DESC, id DESC" if backward else "ready_order, position, id"
    if "key" in given:
        near = _walked(rows, "id, tenant, limit_key, ready_order, position", order, _keyed_bounds(given))
        return f"""
            SELECT id, tenant, limit_key FROM ({near}) AS near
            WHERE limit_key = :key ORDER BY {order} LIMIT :most OFFSET :skip"""
    return f"{_keyed_lane(rows, given)} ORDER BY {order} LIMIT :most OFFSET :skip"


def _keyed_lane(rows: SqlRows, given: frozenset[str], what: str = "id, tenant, limit_key") -> str:
    tables = rows.tables
    index, of_tenant = (
        (tables.lane_index, " AND ready_tenant = :tenant") if "tenant" in given else (tables.ready_index, "")
    )
    return f"""
        SELECT {what} FROM {tables.name(tables.job)} {rows.dialect.along.format(index)}
        WHERE ready_type = :type{of_tenant}{_keyed_bounds(given)}"""


def _keyed_bounds(given: frozenset[str]) -> str:
    return "".join(f" AND {each}" for each in _bounds(given, "ready_order <= :low", "ready_order >= :high"))


def _due(rows: SqlRows, *, backward: bool, bounded: bool) -> str:
    tables = rows.tables
    late, moment = ("due_key IS NOT NULL", "due_key") if rows.dialect.keyed else (DUE, "due_at")
    late += f" AND {moment} <= :upto" if bounded else ""
    order = f"{moment} DESC, id DESC" if backward else f"{moment}, id"
    return f"""
        SELECT id FROM {tables.name(tables.job)} {rows.dialect.along.format(tables.due_index)}
        WHERE {late} AND type = :of_type AND tenant = :of_tenant ORDER BY {order} LIMIT :most OFFSET :skip"""


def _walked(rows: SqlRows, columns: str, order: str, bounds: str) -> str:
    """The jobs of a type and tenant that stand first, as many as may be looked through."""
    tables = rows.tables
    return f"""
        SELECT {columns} FROM {tables.name(tables.job)} {rows.dialect.along.format(tables.lane_index)}
        WHERE ready_type = :type AND ready_tenant = :tenant{bounds} ORDER BY {order} LIMIT {WALK}"""


def _loose(rows: SqlRows) -> str:
    """Each key with one step to the next."""
    tables = rows.tables
    next = f"""
        SELECT limit_key FROM {tables.name(tables.job)} {rows.dialect.along.format(tables.group_index)}
        WHERE {GROUPED} AND type = :type AND {_narrow(rows, "tenant", ":tenant")} AND limit_key > {{}}
        ORDER BY limit_key LIMIT 1"""
    return _steps("limit_key", next.format(":after"), next.format("step.limit_key"))


def _loose_tenants(rows: SqlRows, beyond: str) -> str:
    """Each tenant with one step to the next."""
    tables = rows.tables
    next = f"""
        SELECT tenant FROM {tables.name(tables.job)} {rows.dialect.along.format(tables.lane_index)}
        WHERE ready AND type = :type {{}} ORDER BY tenant LIMIT 1"""
    return _steps("tenant", next.format(beyond), next.format("AND tenant > step.tenant"))


def _steps(column: str, first: str, next: str) -> str:
    """The values of a column, of which one statement finds the first, and another the next beyond that of `step`."""
    return f"""
        WITH RECURSIVE step({column}, nth) AS (
            SELECT ({first}), 1
            UNION ALL SELECT ({next}), nth + 1 FROM step
            WHERE {column} IS NOT NULL AND nth < :most
        ) SELECT {column} FROM step WHERE {column} IS NOT NULL ORDER BY nth"""


def _keyed_tenant(rows: SqlRows, beyond: str) -> str:
    tables = rows.tables
    return f"""
        SELECT tenant FROM {tables.name(tables.job)} {rows.dialect.along.format(tables.lane_index)}
        WHERE ready_type = :type {beyond} ORDER BY ready_tenant LIMIT 1"""


def _narrow(rows: SqlRows, column: str, value: str) -> str:
    if rows.dialect.along:
        return f"{column} = {value}"
    return f"{column} = {value} AND {column} >= {value} AND {column} <= {value}"


def _bounds(given: frozenset[str], low: str, high: str) -> list[str]:
    return [condition for name, condition in (("low", low), ("high", high)) if name in given]
