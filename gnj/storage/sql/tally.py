"""Counts by the values of some attributes, in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Label, Select, func, select

from gnj.queue.model import Record
from gnj.queue.storage import Bucket
from gnj.queue.where import Condition
from gnj.storage.sql.equalities import equalities
from gnj.storage.sql.rows import Mapper

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows


def tally(
    rows: SqlRows, kind: type[Record], by: Sequence[str | Bucket], where: Condition, tenant: str | None
) -> dict[tuple[Any, ...], int]:
    """See `Rows.tally`."""
    mapper = rows.mappers[kind]

    def build(*conditions: ColumnElement[bool]) -> Any:
        return _tallying(rows, mapper, by, [*conditions, rows.live(mapper, tenant)])

    same = equalities(where) if tenant is None else None
    if same is None:
        found = rows.run(build(rows.meets(mapper, where)))
    else:
        statement = rows.prepared(("tally", kind, tuple(by), same.key), lambda: build(*same.conditions(rows, mapper)))
        found = rows.run(statement, same.parameters)
    return _told(mapper, by, found)


def along(
    rows: SqlRows, kind: type[Record], by: Sequence[str | Bucket], conditions: Sequence[ColumnElement[bool]], index: str
) -> dict[tuple[Any, ...], int]:
    """How many rows meet the conditions, for each combination of the values of `by`, along an index."""
    mapper = rows.mappers[kind]
    statement = _tallying(rows, mapper, by, conditions)
    if rows.dialect.along:
        statement = statement.with_hint(mapper.table, rows.dialect.along.format(index))
    return _told(mapper, by, rows.run(statement))


def _tallying(
    rows: SqlRows, mapper: Mapper[Any], by: Sequence[str | Bucket], conditions: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    keys: list[Label[Any]] = [_key(rows, mapper, part).label(f"by_{place}") for place, part in enumerate(by)]
    statement = select(*keys, func.count()).select_from(mapper.table).where(*conditions)
    # by the labels: PostgreSQL does not see that two expressions with parameters are the same one
    return statement.group_by(*(key.name for key in keys))


def _told(
    mapper: Mapper[Any], by: Sequence[str | Bucket], found: Iterable[Sequence[Any]]
) -> dict[tuple[Any, ...], int]:
    members = dict(mapper.enums)
    names = [part if isinstance(part, str) else None for part in by]
    return {
        tuple(members[n][v] if n in members else v for n, v in zip(names, values, strict=True)): count
        for *values, count in found
    }


def _key(rows: SqlRows, mapper: Mapper[Any], part: str | Bucket) -> ColumnElement[Any]:
    if isinstance(part, str):
        return mapper.column(part)
    return rows.dialect.bucket(mapper.column(part.attribute), part.seconds)
