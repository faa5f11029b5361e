"""Jobs that have ended, straight along their index: of each type, tenant and status by the time of their end.

What it does not lead with is gone through by its types, tenants and statuses, one step to each, however many jobs it has.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, TextualSelect, bindparam, column, literal, text

from gnj.queue.model import Job
from gnj.queue.states import JOB_ENDED
from gnj.queue.storage import Bucket
from gnj.queue.where import Condition
from gnj.storage.sql import tally
from gnj.storage.sql.columns import DIGEST, ID, TEXT, TIME, WORD
from gnj.storage.sql.columns_mysql import digest
from gnj.storage.sql.schema import ENDED

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

TYPES: Final = 500
"""Types that one statement asks for."""

_STATUSES: Final = tuple(sorted(status.value for status in JOB_ENDED))
_GIVEN: Final[Mapping[str, Any]] = {
    "type": TEXT,
    "tenant": TEXT,
    "beyond": TIME,
    "beyond_id": ID,
    "most": ID,
    "skip": ID,
    "upto": ID,
}


@dataclass(frozen=True, slots=True)
class Group:
    """The ended jobs of a type, a tenant and a status."""

    key: tuple[Any, ...]
    """These three, or in MySQL the digest of them."""
    oldest: datetime
    """When the first one ended."""

    def has(self, rows: SqlRows) -> list[ColumnElement[bool]]:
        """What a job meets that is one of them."""
        job = rows.tables.job.c
        if rows.dialect.keyed:
            return [job.ended_key == literal(self.key[0], DIGEST)]
        type, tenant, status = self.key
        same: list[ColumnElement[bool]] = [job.type == type, job.tenant == tenant, job.status == status]
        return [text(ENDED), *same]  # type: ignore[list-item]


def groups(rows: SqlRows) -> list[Group]:
    """All there are."""
    if rows.dialect.keyed:
        return list(_keyed_groups(rows))

    def bound() -> TextualSelect:
        sql = _groups(rows) if rows.dialect.laterals else _groups_by_id(rows)
        names: dict[str, Any] = {"type": TEXT, "tenant": TEXT, "status": WORD, "oldest": TIME}
        return text(sql).columns(*(column(name, kind) for name, kind in names.items()))

    return [Group(tuple(key), oldest) for *key, oldest in rows.run(rows.prepared(("ended groups",), bound))]


def listed(
    rows: SqlRows,
    type: str,
    tenant: str,
    statuses: Collection[str],
    limit: int,
    *,
    backward: bool,
    beyond: tuple[datetime, int] | None,
    offset: int,
) -> list[tuple[int, datetime]]:
    """See `Rows.ended`."""
    if limit < 1 or not statuses:
        return []
    words = sorted(str(status) for status in statuses)
    given: dict[str, Any] = {"most": limit, "skip": offset}
    if len(words) > 1:
        given["upto"] = limit + offset
    if beyond is not None:
        given |= {"beyond": beyond[0], "beyond_id": beyond[1]}
    types: dict[str, Any] = {}
    for place, word in enumerate(words):
        if rows.dialect.keyed:
            given[f"key_{place}"], types[f"key_{place}"] = digest(type, tenant, word), DIGEST
        else:
            given[f"status_{place}"], types[f"status_{place}"] = word, WORD
    if not rows.dialect.keyed:
        given |= {"type": type, "tenant": tenant}

    def bound() -> TextualSelect:
        clause = text(_listed(rows, len(words), backward=backward, beyond=beyond is not None))
        kinds = {name: types.get(name) or _GIVEN[name] for name in given}
        clause = clause.bindparams(*(bindparam(name, type_=kind) for name, kind in kinds.items()))
        return clause.columns(column("id", ID), column("ended_at", TIME))

    key = ("ended", len(words), backward, beyond is not None)
    return [(id, ended_at) for id, ended_at in rows.run(rows.prepared(key, bound), given)]


def counted(
    rows: SqlRows,
    by: Sequence[str | Bucket],
    since: datetime | None,
    where: Condition,
    type: str | None,
    tenant: str | None,
) -> dict[tuple[Any, ...], int]:
    """See `Rows.tally_ended`."""
    found: Counter[tuple[Any, ...]] = Counter()
    for of in _parts(rows, type, tenant):
        some = [] if since is None else [rows.tables.job.c.ended_at >= literal(since, TIME)]
        found.update(
            tally.along(rows, Job, by, [*of, *some, rows.meets(rows.mappers[Job], where)], rows.tables.ended_index)
        )
    return dict(found)


def _parts(rows: SqlRows, type: str | None, tenant: str | None) -> Iterator[list[ColumnElement[bool]]]:
    """The ended jobs of that type and tenant (None: of all), as conditions that lead along the index."""
    job, one_of = rows.tables.job.c, rows.dialect.translator.one_of
    known = None if type is None or tenant is None else (type, tenant)
    if rows.dialect.keyed:
        keys = [digest(*known, word) for word in _STATUSES] if known else [group.key[0] for group in groups(rows)]
        for some in _some(keys):
            of = [one_of(job.ended_key, some, DIGEST), one_of(job.status, _STATUSES, WORD)]
            yield of + [job.type == type] * (type is not None) + [job.tenant == tenant] * (tenant is not None)
        return
    of_tenant: dict[str, dict[str, None]] = defaultdict(dict)
    for name, owner in [known] if known else [group.key[:2] for group in groups(rows)]:
        if type in (None, name) and tenant in (None, owner):
            of_tenant[owner][name] = None
    for owner, types in of_tenant.items():
        for some in _some(list(types)):
            of_type = job.type == some[0] if len(some) == 1 else one_of(job.type, some, TEXT)
            yield [text(ENDED), of_type, job.tenant == owner, one_of(job.status, _STATUSES, WORD)]  # type: ignore[list-item]


def _some(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + TYPES] for start in range(0, len(values), TYPES))


def _listed(rows: SqlRows, statuses: int, *, backward: bool, beyond: bool) -> str:
    """The first ones of each status, and of these the first ones."""
    tables, order, sign = rows.tables, "ORDER BY ended_at, id", ">"
    if backward:
        order, sign = "ORDER BY ended_at DESC, id DESC", "<"
    rest = f" AND ended_at {sign}= :beyond AND (ended_at {sign} :beyond OR id {sign} :beyond_id)" if beyond else ""
    name = f"{tables.name(tables.job)} {rows.dialect.along.format(tables.ended_index)}"
    if rows.dialect.keyed:
        of: Callable[[int], str] = "ended_key = :key_{}".format
    else:
        of = f"{ENDED} AND type = :type AND tenant = :tenant AND status = :status_{{}}".format
    parts = [f"SELECT id, ended_at FROM {name} WHERE {of(place)}{rest} {order}" for place in range(statuses)]
    end = "LIMIT :most OFFSET :skip"
    if statuses == 1:
        return f"{parts[0]} {end}"
    each = (f"SELECT id, ended_at FROM ({part} LIMIT :upto) AS p{place}" for place, part in enumerate(parts))
    return f"SELECT id, ended_at FROM ({' UNION ALL '.join(each)}) AS p {order} {end}"


def _groups(rows: SqlRows) -> str:
    """PostgreSQL: from the first job of one group to the first of the next."""
    order = "type, tenant, status, ended_at"
    next = f"SELECT {order} FROM {rows.tables.name(rows.tables.job)} WHERE {ENDED} {{}} ORDER BY {order} LIMIT 1"
    beyond = "AND (type, tenant, status) > (step.type, step.tenant, step.status)"
    return f"""
        WITH RECURSIVE step({order}) AS (
            ({next.format("")})
            UNION ALL SELECT next.* FROM step CROSS JOIN LATERAL ({next.format(beyond)}) AS next
        ) SELECT {order} AS oldest FROM step"""


def _groups_by_id(rows: SqlRows) -> str:
    """SQLite, which has no LATERAL, and looks for the first alone of several columns that are compared at once."""
    tables = rows.tables
    job = tables.name(tables.job)

    def first(where: str, order: str) -> str:
        return f"""(
            SELECT n.id FROM {job} AS n {rows.dialect.along.format(tables.ended_index)}
            WHERE n.ended_at IS NOT NULL AND n.deleted_at IS NULL {where} ORDER BY {order}, n.ended_at LIMIT 1)"""

    in_type, in_tenant = "AND n.type = j.type", "AND n.type = j.type AND n.tenant = j.tenant"
    return f"""
        WITH RECURSIVE step(id) AS (
            SELECT {first("", "n.type, n.tenant, n.status")}
            UNION ALL SELECT coalesce(
                {first(f"{in_tenant} AND n.status > j.status", "n.status")},
                {first(f"{in_type} AND n.tenant > j.tenant", "n.tenant, n.status")},
                {first("AND n.type > j.type", "n.type, n.tenant, n.status")}
            ) FROM step CROSS JOIN {job} AS j WHERE j.id = step.id
        ) SELECT j.type, j.tenant, j.status, j.ended_at AS oldest FROM step CROSS JOIN {job} AS j WHERE j.id = step.id"""


def _keyed_groups(rows: SqlRows) -> Iterator[Group]:
    """MySQL and MariaDB, one statement for each step: they find it along the index only from a value that they are given."""
    tables = rows.tables

    def bound() -> TextualSelect:
        sql = f"""
            SELECT ended_key, ended_at FROM {tables.name(tables.job)} {rows.dialect.along.format(tables.ended_index)}
            WHERE ended_key > :after ORDER BY ended_key, ended_at LIMIT 1"""
        clause = text(sql).bindparams(bindparam("after", type_=DIGEST))
        return clause.columns(column("ended_key", DIGEST), column("ended_at", TIME))

    after = b""
    while found := rows.run(rows.prepared(("ended group",), bound), {"after": after}).all():
        ((after, oldest),) = found
        yield Group((after,), oldest)
