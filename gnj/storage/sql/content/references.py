"""Texts in the JSON of entries that may be ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, exists, false, func, literal_column, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from gnj.queue.values import Json
from gnj.storage.sql.content.versions import among
from gnj.storage.sql.transaction import SqlRows


def mentions(rows: SqlRows, columns: Sequence[ColumnElement[Any]], ids: Collection[str]) -> ColumnElement[bool]:
    """That one of the ids is a text somewhere in the JSON.

    Each text is looked up among the ids: to look for each id in the text of the whole takes as many times as long as there are ids
    (5,000 entries of 1 KB and 500 ids: 10 to 20 s).
    """
    return or_(false(), *(exists(_texts_among(rows, column, ids)) for column in columns if ids))


def texts(value: Json) -> Iterable[str]:
    """Each text in the value, at any depth, but the keys of objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)


def _texts_among(rows: SqlRows, column: ColumnElement[Any], ids: Collection[str]) -> Select[Any]:
    if rows.dialect.name == "sqlite":
        parts = func.json_tree(type_coerce(column, Text)).table_valued("type", "atom")
        return select(1).select_from(parts).where(parts.c.type == "text", among(rows, parts.c.atom, ids))
    # strict: else what is in lists is told twice
    part = func.jsonb_path_query(type_coerce(column, JSONB), literal_column("'strict $.** ? (@.type() == \"string\")'"))
    value = part.column_valued("part")
    # the limit keeps the planner from joining the ids to each entry
    found = select(value.op("#>>")(literal_column("'{}'")).label("text")).limit(10**9).subquery()
    return select(1).select_from(found).where(among(rows, found.c.text, ids))
