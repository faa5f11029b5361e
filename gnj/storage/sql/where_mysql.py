"""Conditions for MySQL and MariaDB, with JSON as text.

MariaDB has no JSON type to compare by, and MySQL's compares numbers in ways of its own. So a number is compared as what its
text says it is, a 64-bit integer or a double, with the nearest value of that kind: worked out here, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isinf
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    null,
    or_,
    type_coerce,
)

from gnj.queue.values import MAX_INT64
from gnj.storage.sql.columns import TEXT
from gnj.storage.sql.columns_mysql import exact
from gnj.storage.sql.where import Bool, Node, Translator, compared, is_index, word

LIST: Final = 500
"""Values of one IN: of 1,000 MariaDB makes a table, whose texts compare by another collation."""
_BELOW: Final = {"gt": "gt", "gte": "gt", "lt": "lte", "lte": "lte"}
_ABOVE: Final = {"gt": "gte", "gte": "gte", "lt": "lt", "lte": "lt"}
_ESCAPED: Final = re.compile(r"\\.|!", re.DOTALL)
_LETTERS: Final = re.compile("[A-Za-z]")


class MysqlTranslator(Translator):
    """Conditions for MySQL 8 and MariaDB."""

    def one_of(self, target: ColumnElement[Any], values: Sequence[Any], type: Any) -> Bool:
        """Lists, each one parameter to SQLAlchemy, so that a list of 1,000 values makes no new statement."""
        parts = [values[start : start + LIST] for start in range(0, len(values), LIST)]
        return or_(*(target.in_(bindparam(None, list(part), type_=type, expanding=True)) for part in parts))

    def one_of_numbers(self, node: Node, values: Sequence[float]) -> Bool:
        """Integers among integers, doubles among doubles."""
        integers = sorted({int(v) for v in values if v == int(v) and -MAX_INT64 - 1 <= v <= MAX_INT64})
        doubles = sorted({float(v) for v in values if float(v) == v})
        return self._number(
            node,
            lambda target: self.one_of(target, integers, BigInteger()) if integers else false(),
            lambda target: self.one_of(target, doubles, Double()) if doubles else false(),
        )

    def compare_number(self, node: Node, op: str, value: float) -> Bool:
        """With the nearest integer, or the nearest double."""
        return self._number(
            node,
            lambda target: _compared(op, target, value, BigInteger(), _integer),
            lambda target: _compared(op, target, value, Double(), _double),
        )

    @staticmethod
    def _number(
        node: Node, integer: Callable[[ColumnElement[Any]], Bool], double: Callable[[ColumnElement[Any]], Bool]
    ) -> Bool:
        text = node.number
        # 1e+23 is an INTEGER to MariaDB
        whole = and_(func.locate("e", text) == 0, func.locate(".", text) == 0)
        return case((whole, integer(cast(text, BigInteger()))), else_=double(cast(text, Double())))

    def number(self, value: float) -> ColumnElement[Any]:
        """Not used: `compare_number` does what differs."""
        return literal(value, Double())

    def like(self, target: ColumnElement[Any], pattern: str, *, ignore_case: bool) -> Bool:
        """LIKE, which keeps to the collation. Of the letters of the pattern, and of no others, the case is taken away first:
        LOWER folds all of Unicode. The escape is no backslash, whose meaning is a setting of the session's.
        """
        like = _ESCAPED.sub(lambda part: "!!" if part[0] == "!" else _escaped(part[0][1]), pattern)
        if ignore_case:
            for letter in sorted({letter.lower() for letter in _LETTERS.findall(like)}):
                target = func.replace(target, letter.upper(), letter)
                like = like.replace(letter.upper(), letter)
        return target.like(literal(like, Text()), escape="!")

    def node(self, document: ColumnElement[Any], path: Sequence[str]) -> Node:
        """What two paths give, as an index and as a key, is a list of the one that there is: its first element is looked into
        further. But [0] is to both servers also what is no list: there, an element is put before the others, and [1] taken.
        """
        value: Any = type_coerce(document, Text())
        where = "$"
        for part in path:
            if not is_index(part):
                where += f'."{part}"'
                continue
            index = int(part)
            if index == 0:
                value = func.json_array_insert(value, literal(f"{where}[0]", Text()), null())
                index = 1
            paths = (literal(way, Text()) for way in (f"{where}[{index}]", f'{where}."{part}"'))
            value = func.json_extract(value, *paths)
            where = "$[0]"
        found = func.json_extract(value, literal(where, Text()))
        kind = func.json_type(found, type_=Text())
        plain = type_coerce(exact(func.json_unquote(found)), TEXT)
        return Node(
            null=func.coalesce(kind, word("NULL")) == word("NULL"),
            is_text=kind == word("STRING"),
            text=plain,
            is_number=kind.in_([word(name) for name in ("INTEGER", "UNSIGNED INTEGER", "DOUBLE", "DECIMAL")]),
            number=plain,
            is_bool=kind == word("BOOLEAN"),
            truth=plain == word("true"),
        )


@dataclass(frozen=True, slots=True)
class _Near:
    """A number of one kind that is next to another number: below it, above it, or that number itself."""

    value: float
    side: int


def _integer(value: float) -> _Near:
    if isinstance(value, int):
        return _Near(value, 0)
    below = floor(value)
    if below == value and -MAX_INT64 - 1 <= below <= MAX_INT64:
        return _Near(below, 0)
    if value > 0:
        return _Near(min(below, MAX_INT64), -1)
    return _Near(max(ceil(value), -MAX_INT64 - 1), 1)


def _double(value: float) -> _Near:
    near = float(value)
    return _Near(near, 0 if near == value else 1 if isinf(near) or near > value else -1)


def _compared(op: str, target: ColumnElement[Any], value: float, type: Any, nearest: Callable[[float], _Near]) -> Bool:
    """`target`, one of a kind of numbers, compared with a number that need not be one: with the nearest that is.

    What is next below a number is less than it, and nothing lies between the two.
    """
    near = nearest(value)
    if near.side:
        if op == "eq":
            return false()
        op = (_BELOW if near.side < 0 else _ABOVE)[op]
    return compared(op, target, literal(near.value, type))


def _escaped(character: str) -> str:
    return f"!{character}" if character in "!%_" else character
