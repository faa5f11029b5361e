"""Conditions as SQL. `gnj.queue.where.matches` is the oracle: the rows found are those for which it says True.

All databases share SQL's three-valued logic, so And, Or and Not are themselves; what differs is how a value inside JSON is
reached, and what compares like Python. A comparison with a value of another JSON type is unknown: a CASE without ELSE, which
also keeps a cast from being tried on what it would fail on.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import eq, ge, gt, le, lt
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Integer,
    Numeric,
    Text,
    and_,
    any_,
    case,
    cast,
    collate,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from gnj.queue.model import Kind
from gnj.queue.values import dump_json
from gnj.queue.where import And, Compare, Condition, Not, Or
from gnj.storage.sql.columns import ID, TEXT, TIME, number, plain, to_milliseconds

Bool = ColumnElement[bool]
Column = Callable[[str], ColumnElement[Any]]

_ORDER: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {"eq": eq, "gt": gt, "gte": ge, "lt": lt, "lte": le}
)
# An integer attribute is compared with any 64-bit number: bound as its own 32 bits that would be out of range.
_TYPES: Final[Mapping[Kind, Any]] = {Kind.INT: ID, Kind.ID: ID, Kind.TEXT: TEXT, Kind.FLOAT: Double(), Kind.TIME: TIME}


class Translator(ABC):
    """Makes SQL of conditions, for one database."""

    def condition(self, tree: Condition, column: Column) -> Bool:
        """`tree` as SQL; `column` gives the column of an attribute by its name."""
        match tree:
            case And(parts):
                return and_(true(), *(self.condition(part, column) for part in parts))
            case Or(parts):
                return or_(false(), *(self.condition(part, column) for part in parts))
            case Not(part):
                return self._opposite(part, column)
        target = column(tree.attribute.name)
        if tree.attribute.kind is Kind.JSON:
            return self._json(tree, target)
        return self._plain(tree, target)

    def _opposite(self, part: Condition, column: Column) -> Bool:
        """Where the values are few and known, "none of these" is "one of the others", which an index can find.

        Whether a batch of 20,000 has a member that is not successful: 19 blocks, against 409 and more for all members.
        """
        while isinstance(part, (And, Or)) and len(part.parts) == 1:
            part = part.parts[0]
        if isinstance(part, Compare) and part.attribute.enum and part.op in ("eq", "in"):
            known = [member.value for member in part.attribute.enum]
            named = part.value if part.op == "in" else (part.value,)
            if None not in named:
                others = tuple(value for value in known if value not in named)
                return self._plain(Compare(part.attribute, (), "in", others), column(part.attribute.name))
        return not_(self.condition(part, column))

    def _plain(self, tree: Compare, target: ColumnElement[Any]) -> Bool:
        if tree.op == "null":
            return target.is_(None)
        if tree.op in ("like", "ilike"):
            return self.like(target, tree.value, ignore_case=tree.op == "ilike")
        if tree.attribute.kind is Kind.BOOL:
            if tree.op == "in":
                return or_(_nothing(target), *(self._truth(target, value) for value in tree.value))
            return self._truth(target, tree.value)
        type = _TYPES[tree.attribute.kind]
        if tree.op == "in":
            return self._one_of(target, tree.value, type)
        return compared(tree.op, target, literal(plain(tree.value), type))

    @staticmethod
    def _truth(target: ColumnElement[Any], value: Any) -> Bool:
        return target if value else not_(target)

    def _one_of(self, target: ColumnElement[Any], values: Sequence[Any], type: Any) -> Bool:
        return self.one_of(target, [plain(value) for value in values], type) if values else _nothing(target)

    def _json(self, tree: Compare, target: ColumnElement[Any]) -> Bool:
        node = self.node(target, tree.path)
        if tree.op == "null":
            return node.null
        if tree.op in ("like", "ilike"):
            pattern = self.like(node.text, tree.value, ignore_case=tree.op == "ilike")
            return case((node.is_text, pattern))
        if tree.op != "in":
            return self._typed(node, tree.op, tree.value)
        truths = [value for value in tree.value if isinstance(value, bool)]
        texts = [value for value in tree.value if isinstance(value, str)]
        numbers = [value for value in tree.value if isinstance(value, (int, float)) and not isinstance(value, bool)]
        return or_(
            case((not_(node.null), false())),
            *(self._typed(node, "eq", value) for value in set(truths)),
            *([case((node.is_text, self.one_of(node.text, texts, TEXT)))] if texts else []),
            *([case((node.is_number, self.one_of_numbers(node, numbers)))] if numbers else []),
        )

    def _typed(self, node: Node, op: str, value: Any) -> Bool:
        if isinstance(value, bool):
            return case((node.is_bool, self._truth(node.truth, value)))
        if isinstance(value, str):
            return case((node.is_text, compared(op, node.text, literal(value, TEXT))))
        return case((node.is_number, self.compare_number(node, op, value)))

    @abstractmethod
    def one_of(self, target: ColumnElement[Any], values: Sequence[Any], type: Any) -> Bool:
        """Whether `target` is one of `values`, which are not empty; a None among them makes a "no" unknown."""

    @abstractmethod
    def one_of_numbers(self, node: Node, values: Sequence[float]) -> Bool:
        """Likewise for the number at a node."""

    def compare_number(self, node: Node, op: str, value: float) -> Bool:
        """How the number at a node compares with a value."""
        return compared(op, node.number, self.number(value))

    @abstractmethod
    def number(self, value: float) -> ColumnElement[Any]:
        """A number as what `Node.number` compares with exactly."""

    @abstractmethod
    def like(self, target: ColumnElement[Any], pattern: str, *, ignore_case: bool) -> Bool:
        """Whether a text is like `pattern`."""

    @abstractmethod
    def node(self, document: ColumnElement[Any], path: Sequence[str]) -> Node:
        """What lies at `path` in a JSON column."""


@dataclass(frozen=True, slots=True)
class Node:
    """What lies at a path: questions about its type, and its value as one of those types where it has that."""

    null: Bool
    is_text: Bool
    text: ColumnElement[Any]
    is_number: Bool
    number: ColumnElement[Any]
    is_bool: Bool
    truth: Bool


class PostgresqlTranslator(Translator):
    """Conditions for PostgreSQL and jsonb."""

    def one_of(self, target: ColumnElement[Any], values: Sequence[Any], type: Any) -> Bool:
        """One array parameter: a list of 1,000 values neither makes a new statement nor 1,000 parameters."""
        return target == any_(literal(list(values), ARRAY(type)))

    def one_of_numbers(self, node: Node, values: Sequence[float]) -> Bool:
        """As texts: a float parameter would round what numeric keeps."""
        texts = literal([number(value) for value in values], ARRAY(Text()))
        return node.number == any_(cast(texts, ARRAY(Numeric())))

    def number(self, value: float) -> ColumnElement[Any]:
        """As text, for the same reason."""
        return cast(literal(number(value), Text()), Numeric())

    def like(self, target: ColumnElement[Any], pattern: str, *, ignore_case: bool) -> Bool:
        """LIKE as it is. Under the collation "C", which all texts here have, ILIKE folds ASCII letters only."""
        text = literal(pattern, TEXT)
        return target.ilike(text) if ignore_case else target.like(text)

    def node(self, document: ColumnElement[Any], path: Sequence[str]) -> Node:
        """`jsonb_extract_path` takes a part as an index where the value is an array, else as a key."""
        value: Any = type_coerce(document, JSONB)
        for is_key, parts in groupby(path, lambda part: bool(_INTEGER_ALIKE.fullmatch(part)) and not is_index(part)):
            if is_key:
                for part in parts:
                    value = func.jsonb_object_field(value, literal(part, TEXT), type_=JSONB)
            else:
                value = func.jsonb_extract_path(value, *(literal(part, TEXT) for part in parts), type_=JSONB)
        kind = func.jsonb_typeof(value, type_=Text())
        return Node(
            null=func.coalesce(kind, word("null")) == word("null"),
            is_text=kind == word("string"),
            text=collate(value.op("#>>", return_type=Text())(literal_column("'{}'")), "C"),
            is_number=kind == word("number"),
            number=cast(value, Numeric()),
            is_bool=kind == word("boolean"),
            truth=cast(value, Boolean()),
        )


# The array operators of jsonb read what strtol reads: " 7" and "0000000007" are 7 to them, and keys to us.
_INTEGER_ALIKE: Final = re.compile(r" *[+-]?[0-9]+")


class SqliteTranslator(Translator):
    """Conditions for SQLite and JSON as text."""

    MOST_IN_PLACE: Final = 100
    """Values of an IN that are parameters of their own; more go as one JSON array: SQLite allows 32,766 parameters."""

    def one_of(self, target: ColumnElement[Any], values: Sequence[Any], type: Any) -> Bool:
        """IN a list of parameters, or in a JSON array of them."""
        if len(values) <= self.MOST_IN_PLACE:
            return target.in_([literal(value, type) for value in values])
        return self._in_array(target, [_milliseconds(value) for value in values])

    def one_of_numbers(self, node: Node, values: Sequence[float]) -> Bool:
        """In a JSON array, which reads its numbers as the document's were read."""
        return self._in_array(node.number, values)

    @staticmethod
    def _in_array(target: ColumnElement[Any], values: Sequence[Any]) -> Bool:
        each = func.json_each(literal(dump_json(list(values)), Text())).table_valued("value")
        return target.in_(select(each.c.value))

    def number(self, value: float) -> ColumnElement[Any]:
        """An int as it is. A float as text, cast: SQLite 3.40 reads some 17-digit numbers one ulp off, alike on both sides."""
        if isinstance(value, int):
            return literal(value, BigInteger())
        return cast(literal(repr(value), Text()), REAL())

    def like(self, target: ColumnElement[Any], pattern: str, *, ignore_case: bool) -> Bool:
        """GLOB: unlike LIKE it is case-sensitive, whatever the connection's PRAGMA says. lower() folds ASCII only."""
        glob = _GLOB.sub(lambda part: _globbed(part[0]), pattern)
        if ignore_case:
            glob = _CAPITALS.sub(lambda letters: letters[0].lower(), glob)
            target = func.lower(target)
        return target.op("GLOB", is_comparison=True)(literal(glob, Text()))

    def node(self, document: ColumnElement[Any], path: Sequence[str]) -> Node:
        """A JSON path. Whether a number in it is an index or a key depends on each row's document: it is looked up there,
        one joined json_each after the other (nested ones overflow SQLite's parser at ten).
        """
        document = type_coerce(document, Text())
        where: Any = "$"
        found: list[Bool] = []
        looked: list[Any] = []
        for part in path:
            if is_index(part):
                each = func.json_each(document, where).table_valued("key", "fullkey", joins_implicitly=True)
                found.append(or_(each.c.key == literal(int(part), Integer()), each.c.key == literal(part, Text())))
                looked.append(each)
                where = each.c.fullkey
            else:
                where = where + f'."{part}"'
        if looked:
            where = select(where).select_from(*looked).where(*found).scalar_subquery()
        kind = func.json_type(document, where, type_=Text())
        value = func.json_extract(document, where)
        return Node(
            null=func.coalesce(kind, word("null")) == word("null"),
            is_text=kind == word("text"),
            text=type_coerce(value, Text()),
            is_number=kind.in_([word("integer"), word("real")]),
            number=type_coerce(value, Numeric()),
            is_bool=kind.in_([word("true"), word("false")]),
            truth=kind == word("true"),
        )


_GLOB: Final = re.compile(r"\\.|[%_*?\[]", re.DOTALL)
_CAPITALS: Final = re.compile(r"[A-Z]+")


def _globbed(part: str) -> str:
    wild = {"%": "*", "_": "?"}.get(part)
    if wild is not None:
        return wild
    character = part[-1]
    return f"[{character}]" if character in "*?[" else character


def compared(op: str, one: ColumnElement[Any], other: ColumnElement[Any]) -> Bool:
    """eq, gt, gte, lt or lte of two."""
    result: Bool = _ORDER[op](one, other)
    return result


def _nothing(target: ColumnElement[Any]) -> Bool:
    """One of no values: false, unless there is nothing to compare."""
    return case((target.is_not(None), false()))


def word(text: str) -> ColumnElement[str]:
    """A word of the database's own, as it stands."""
    return literal_column(f"'{text}'", Text())


def _milliseconds(value: Any) -> Any:
    return to_milliseconds(value) if isinstance(value, datetime) else value


def is_index(part: str) -> bool:
    """Whether a part of a path means an index where it meets a list."""
    return part.isascii() and part.isdigit() and len(part) < 10
