"""Conditions that say no more than which values attributes have, as statements that are made once.

To make a statement, and to find out that one like it was compiled before, takes two or three times as long as to execute it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

from gnj.queue.model import Kind
from gnj.queue.where import And, Compare, Condition
from gnj.storage.sql.columns import ID, TEXT, plain

if TYPE_CHECKING:
    from gnj.storage.sql.rows import Mapper
    from gnj.storage.sql.transaction import SqlRows

_TYPES: dict[Kind, Any] = {Kind.INT: ID, Kind.ID: ID, Kind.TEXT: TEXT}


class Equalities:
    """Such a condition.

    Args:
        parts: What it says of each attribute.
    """

    __slots__ = ("_parts", "key", "parameters")

    def __init__(self, parts: Sequence[Compare]) -> None:
        self._parts = parts
        self.parameters: dict[str, Any] = {
            f"is_{place}": [plain(value) for value in part.value] if part.op == "in" else plain(part.value)
            for place, part in enumerate(parts)
            if part.attribute.kind is not Kind.BOOL and part.op != "null"
        }
        """Its values, by the names of the parameters."""
        self.key: Hashable = tuple(
            (part.attribute.name, part.op, bool(part.value) if part.attribute.kind is Kind.BOOL else None)
            for part in parts
        )
        """What conditions have in common that share a statement."""

    def conditions(self, rows: SqlRows, mapper: Mapper[Any]) -> list[ColumnElement[bool]]:
        """What a row has to meet, with parameters in the place of values."""
        return [
            self._condition(rows, mapper.column(part.attribute.name), part, f"is_{place}")
            for place, part in enumerate(self._parts)
        ]

    @staticmethod
    def _condition(rows: SqlRows, column: ColumnElement[Any], part: Compare, name: str) -> ColumnElement[bool]:
        if part.op == "null":
            return column.is_(None)
        if part.attribute.kind is Kind.BOOL:
            return column if part.value else ~column
        type = _TYPES[part.attribute.kind]
        if part.op == "eq":
            return column == bindparam(name, type_=type)
        if rows.dialect.name == "postgresql":
            return column == any_(bindparam(name, type_=ARRAY(type)))
        return column.in_(bindparam(name, type_=type, expanding=True))


def equalities(where: Condition) -> Equalities | None:
    """The condition, if it is such a one."""
    parts: list[Compare] = []
    return Equalities(parts) if _flat(where, parts) else None


MOST = 100
"""Values of one attribute at most: longer lists go another way on some databases."""


def _flat(where: Condition, parts: list[Compare]) -> bool:
    if isinstance(where, And):
        return all(_flat(part, parts) for part in where.parts)
    if not isinstance(where, Compare) or where.path:
        return False
    parts.append(where)
    kind = where.attribute.kind
    if where.op == "null":
        return True
    if where.op == "in":
        return kind in _TYPES and 0 < len(where.value) <= MOST and None not in where.value
    return where.op == "eq" and (kind in _TYPES or kind is Kind.BOOL)
