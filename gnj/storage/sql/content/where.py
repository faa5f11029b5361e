"""Filters of entries as conditions of SQL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, and_, false, func, literal, or_, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from gnj.content.filters import Condition, EntryFilter
from gnj.storage.sql.columns import TEXT
from gnj.storage.sql.schema_content import ContentTables

_COLUMNS: Final[Mapping[str, str]] = {
    "Id": "entry_id",
    "SiteId": "site_id",
    "ModelId": "model_id",
    "Status": "status",
    "Slug": "slug",
    "CreatedAt": "created_at",
    "UpdatedAt": "updated_at",
    "PublishedAt": "published_at",
}
_COMPARED: Final[Mapping[str, Callable[[Any, Any], ColumnElement[bool]]]] = {
    "Eq": operator.eq,
    "Gt": operator.gt,
    "Gte": operator.ge,
    "Lt": operator.lt,
    "Lte": operator.le,
}


class _Place(FunctionElement[int]):
    """Where a text first stands in another one, from 1 on; 0 if nowhere. By code points, and without wildcards."""

    type = Integer()
    inherit_cache = True


@compiles(_Place)
def _place(element: _Place, compiler: Any, **options: Any) -> str:
    name = "instr" if compiler.dialect.name == "sqlite" else "strpos"
    return f"{name}({compiler.process(element.clauses, **options)})"


def meets(tables: ContentTables, filter: EntryFilter) -> ColumnElement[bool]:
    """The condition that a row of `tables.entry` meets the filter, with parameters in the place of values.

    Texts are compared by code point, wildcards among them taken literally.
    """
    return and_(true(), *(_met(tables.entry.c[_COLUMNS[each.key]], each) for each in filter.conditions))


def is_narrow(filter: EntryFilter) -> bool:
    """Whether an index leads to the rows that meet the filter."""
    return any(each.key in ("Id", "SiteId", "ModelId") and each.op in ("Eq", "In") for each in filter.conditions)


def _met(column: ColumnElement[Any], condition: Condition) -> ColumnElement[bool]:
    value: Any = condition.value
    met: ColumnElement[bool]
    match condition.op:
        case "Ne":
            met = or_(column != value, column.is_(None))
        case "In":
            met = column.in_(value) if value else false()
        case "NotIn":
            met = or_(column.not_in(value), column.is_(None)) if value else true()
        case "StartsWith":
            met = func.substr(column, 1, len(value)) == literal(value, TEXT)
        case "Contains":
            met = _Place(column, literal(value, TEXT)) > 0
        case "Exists":
            met = column.is_not(None) if value else column.is_(None)
        case _:
            met = _COMPARED[condition.op](column, value)
    return met
