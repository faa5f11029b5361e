"""Counts by the values of some attributes, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Label, func, select

from gnj.queue.model import Record
from gnj.queue.storage import Bucket
from gnj.queue.where import Condition
from gnj.storage.sql.rows import Mapper

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows


def tally(
    rows: SqlRows, kind: type[Record], by: Sequence[str | Bucket], where: Condition, tenant: str | None
) -> dict[tuple[Any, ...], int]:
    """See `Rows.tally`."""
    mapper = rows.mappers[kind]
    keys: list[Label[Any]] = [_key(rows, mapper, part).label(f"by_{place}") for place, part in enumerate(by)]
    statement = select(*keys, func.count()).where(rows.meets(mapper, where), rows.live(mapper, tenant))
    # by the labels: PostgreSQL does not see that two expressions with parameters are the same one
    statement = statement.group_by(*(key.name for key in keys))
    members = dict(mapper.enums)
    names = [part if isinstance(part, str) else None for part in by]
    return {
        tuple(members[n][v] if n in members else v for n, v in zip(names, values, strict=True)): count
        for *values, count in rows.run(statement)
    }


def _key(rows: SqlRows, mapper: Mapper[Any], part: str | Bucket) -> ColumnElement[Any]:
    if isinstance(part, str):
        return mapper.column(part)
    return rows.dialect.bucket(mapper.column(part.attribute), part.seconds)
