"""The filter language of lists and counts: parsed, checked and reduced to a small tree.

The grammar is that of the jobs contract (section 4) with the operators of data.md; everything else is refused by name,
never ignored. What is parsed is reduced to nine operators with SQL's three-valued logic, so that each storage translates
little and all agree: a comparison with null is neither true nor false, and so is its opposite.

A JSON attribute is compared along a path, and only with values of the same JSON type: 3 never matches "3", nor does
`ne: 3` match "3". A path that leads nowhere is null. Text compares case-sensitively by code point; the `i…` operators
ignore the case of ASCII letters. `gnj.storage.memory` (through `matches`) is the oracle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from gnj.queue.errors import InvalidInput
from gnj.queue.model import Attribute, Kind, Record, attributes, by_wire
from gnj.queue.values import check_bool, check_int, check_text, check_time, shown

MAX_DEPTH = 5
MAX_CONDITIONS = 100
MAX_IN = 1000
MAX_PATTERN = 200
MAX_PATH = 10


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison of an attribute, or of what lies at `path` in a JSON attribute.

    `op` is eq, gt, gte, lt, lte, in (value: a tuple), null (value: None), like or ilike (value: a pattern with `%`, `_`
    and the backslash as the escape).
    """

    attribute: Attribute
    path: tuple[str, ...]
    op: str
    value: Any


@dataclass(frozen=True, slots=True)
class And:
    """True when all parts are; the empty one is true."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True when a part is; the empty one is false."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; unknown stays unknown."""

    part: Condition


Condition: TypeAlias = Compare | And | Or | Not
EVERYTHING: Final = And(())


@dataclass(frozen=True, slots=True)
class Op:
    """An operator and its value, for `Where`: `Op("gt", 3)`."""

    name: str
    value: Any


def In(*values: Any) -> Op:  # noqa: N802 - reads as the operator it is: Where(status=In("failed", "cancelled"))
    """One of `values`."""
    return Op("in", list(values))


class Where:
    """A filter in Python: `Where(type="mail", status=In("failed", "cancelled"), input={"to": "a@b.c"})`.

    Keywords are attribute names with a value, a list of values, None or an `Op`, all of which must hold. Filters combine
    with `&`, `|` and `~`.
    """

    __slots__ = ("tree",)

    def __init__(self, **conditions: Any) -> None:
        self.tree: Mapping[str, Any] = conditions

    def __and__(self, other: Where) -> Where:
        return _where({"and": [self.tree, other.tree]})

    def __or__(self, other: Where) -> Where:
        return _where({"or": [self.tree, other.tree]})

    def __invert__(self) -> Where:
        return _where({"not": self.tree})

    def __repr__(self) -> str:
        return f"Where({dict(self.tree)!r})"


def _where(tree: Mapping[str, Any]) -> Where:
    where = Where()
    where.tree = tree
    return where


def equal(record: type[Record], **values: Any) -> Condition:
    """Trusted shorthand of the rules: each attribute equals its value, is null for None, or is in a tuple or set."""
    known = attributes(record)
    parts: list[Condition] = []
    for name, value in values.items():
        if value is None:
            parts.append(Compare(known[name], (), "null", None))
        elif isinstance(value, (tuple, list, frozenset, set)):
            parts.append(Compare(known[name], (), "in", tuple(value)))
        else:
            parts.append(Compare(known[name], (), "eq", value))
    return And(tuple(parts))


def parse(record: type[Record], where: Where | Mapping[str, Any] | None) -> Condition:
    """The condition a caller's filter means: a `Where` uses Python's names, a mapping those of the wire.

    Raises `InvalidInput`, naming the operator or attribute that is wrong and what would be right.
    """
    if where is None:
        return EVERYTHING
    if isinstance(where, Where):
        return _Parser(record, attributes(record)).condition(where.tree, 1)
    return _Parser(record, by_wire(record)).condition(where, 1)


class _Parser:
    def __init__(self, record: type[Record], names: Mapping[str, Attribute]) -> None:
        self.record = record
        self.names = names
        self.conditions = 0

    def condition(self, tree: object, depth: int) -> Condition:
        if isinstance(tree, Where):
            tree = tree.tree
        if not isinstance(tree, Mapping):
            raise InvalidInput(f'where must be an object like {{"status": "queued"}}, not {shown(tree)}')
        self._deeper(depth)
        return _all([self._entry(key, value, depth) for key, value in tree.items()])

    def _deeper(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise InvalidInput(f"where must not be nested deeper than {MAX_DEPTH} levels")

    def _entry(self, key: object, value: object, depth: int) -> Condition:
        if key in ("and", "or"):
            items = [value] if isinstance(value, (Mapping, Where)) else value
            if not isinstance(items, Sequence) or isinstance(items, str):
                raise InvalidInput(f"{key} must have a list of conditions, not {shown(value)}")
            parts = tuple(self.condition(item, depth + 1) for item in items)
            return And(parts) if key == "and" else Or(parts)
        if key == "not":
            return Not(self.condition(value, depth + 1))
        if not isinstance(key, str):
            raise InvalidInput(f"where must have attribute names as keys, not {shown(key)}")
        name, *path = key.split(".")
        attribute = self.names.get(name)
        if attribute is None:
            raise InvalidInput(self._unknown(key))
        if path and attribute.kind is not Kind.JSON:
            raise InvalidInput(f"{name} is not JSON: it has nothing like {shown(key)}")
        return self._about(attribute, tuple(path), value, depth)

    def _unknown(self, key: str) -> str:
        if key.lstrip("$_") in _OPERATORS or key in _REFUSED:
            return f"where: {shown(key)} needs an attribute it applies to, written without a sign before it"
        known = ", ".join(sorted(self.names))
        return f"where: there is no attribute {shown(key)}; there are: {known}"

    def _about(self, attribute: Attribute, path: tuple[str, ...], value: object, depth: int) -> Condition:
        if isinstance(value, Op):
            return self._operator(attribute, path, value.name, value.value, depth)
        if not isinstance(value, Mapping):
            return self._operator(attribute, path, "in" if _listed(value) else "eq", value, depth)
        self._deeper(depth)
        parts = []
        for key, item in value.items():
            if key in _OPERATORS:
                parts.append(self._operator(attribute, path, key, item, depth))
            elif attribute.kind is not Kind.JSON or key in _REFUSED:
                raise InvalidInput(f"{_spelled(attribute, path)}: {_unknown_operator(key)}")
            elif not isinstance(key, str):
                raise InvalidInput(f"{_spelled(attribute, path)} must have strings as keys, not {shown(key)}")
            else:
                parts.append(self._about(attribute, (*path, key), item, depth + 1))
        return _all(parts)

    def _operator(self, attribute: Attribute, path: tuple[str, ...], op: str, value: object, depth: int) -> Condition:
        if op not in _OPERATORS:
            raise InvalidInput(f"{_spelled(attribute, path)}: {_unknown_operator(op)}")
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise InvalidInput(f"where must not have more than {MAX_CONDITIONS} conditions")
        if op in ("and", "or", "not"):
            self._deeper(depth + 1)
            return self._combined(attribute, path, op, value, depth + 1)
        return _OPERATORS[op](_Subject(attribute, _checked_path(attribute, path)), value)

    def _combined(self, attribute: Attribute, path: tuple[str, ...], op: str, value: object, depth: int) -> Condition:
        if op == "not":
            return Not(self._about(attribute, path, value, depth))
        if isinstance(value, Mapping):
            items: Sequence[object] = [{key: item} for key, item in value.items()]
        elif _listed(value):
            items = value  # type: ignore[assignment]
        else:
            raise InvalidInput(f"{_spelled(attribute, path)}: {op} must have a list, not {shown(value)}")
        parts = tuple(self._about(attribute, path, item, depth) for item in items)
        return And(parts) if op == "and" else Or(parts)


@dataclass(frozen=True, slots=True)
class _Subject:
    attribute: Attribute
    path: tuple[str, ...]

    @property
    def spelled(self) -> str:
        return _spelled(self.attribute, self.path)

    def compare(self, op: str, value: object) -> Compare:
        return Compare(self.attribute, self.path, op, value)

    def scalar(self, value: object, op: str) -> Any:
        """`value` if this can be compared with it; else `InvalidInput`."""
        what = f"{self.spelled}: {op}"
        match self.attribute.kind:
            case Kind.INT | Kind.ID:
                return check_int(value, what)
            case Kind.TEXT:
                return check_text(value, what)
            case Kind.BOOL:
                return check_bool(value, what)
            case Kind.FLOAT:
                return _number(value, what)
            case Kind.TIME:
                return _moment(value, what)
        if isinstance(value, bool):
            return value
        return check_text(value, what) if isinstance(value, str) else _number(value, what)

    def ordered(self, value: object, op: str) -> Any:
        if self.attribute.kind is Kind.BOOL or isinstance(value, bool):
            raise InvalidInput(f"{self.spelled}: {op} does not compare true and false")
        return self.scalar(value, op)


_Operator: TypeAlias = Callable[[_Subject, object], Condition]


def _eq(subject: _Subject, value: object) -> Condition:
    if value is None:
        return subject.compare("null", None)
    if _listed(value):
        return _in(subject, value)
    return subject.compare("eq", subject.scalar(value, "eq"))


def _is(subject: _Subject, value: object) -> Condition:
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"{subject.spelled}: is takes null, true or false, not {shown(value)}")
    return _eq(subject, value)


def _in(subject: _Subject, value: object) -> Condition:
    if not _listed(value):
        raise InvalidInput(f"{subject.spelled}: in takes a list, not {shown(value)}")
    items: Sequence[object] = value  # type: ignore[assignment]
    if len(items) > MAX_IN:
        raise InvalidInput(f"{subject.spelled}: in takes at most {MAX_IN:,} values, not {len(items):,}")
    return subject.compare("in", tuple(subject.scalar(item, "in") for item in items))


def _between(subject: _Subject, value: object) -> Condition:
    if not _listed(value) or len(value) != 2:  # type: ignore[arg-type]
        raise InvalidInput(f"{subject.spelled}: between takes a list of two values, not {shown(value)}")
    low, high = list(value)  # type: ignore[call-overload]
    return And((_ordered("gte")(subject, low), _ordered("lte")(subject, high)))


def _ordered(op: str) -> _Operator:
    return lambda subject, value: subject.compare(op, subject.ordered(value, op))


def _pattern(name: str, op: str, form: Callable[[str], str] | None = None) -> _Operator:
    def build(subject: _Subject, value: object) -> Condition:
        if subject.attribute.kind not in (Kind.TEXT, Kind.JSON):
            raise InvalidInput(f"{subject.spelled} is not a text: {name} does not apply")
        text = check_text(value, f"{subject.spelled}: {name}", maximum=MAX_PATTERN)
        if form is None and _DANGLING.search(text):
            raise InvalidInput(f"{subject.spelled}: {name} must not end with a lone backslash")
        return subject.compare(op, text if form is None else form(_SPECIAL.sub(r"\\\g<0>", text)))

    return build


def containing(record: type[Record], name: str, text: str) -> Condition:
    """That the attribute `name` of the record holds `text`, as it stands, whatever the case of ASCII letters."""
    return _pattern("search", "ilike", "%{}%".format)(_Subject(attributes(record)[name], ()), text)


def _opposite(operator: _Operator) -> _Operator:
    return lambda subject, value: Not(operator(subject, value))


_DANGLING = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")
_SPECIAL = re.compile(r"[\\%_]")


def _combination(_subject: _Subject, _value: object) -> Condition:
    raise AssertionError("and, or and not are handled by the parser")


_OPERATORS: Mapping[Any, _Operator] = MappingProxyType(
    {
        "eq": _eq,
        "ne": _opposite(_eq),
        "gt": _ordered("gt"),
        "gte": _ordered("gte"),
        "lt": _ordered("lt"),
        "lte": _ordered("lte"),
        "not": _combination,
        "is": _is,
        "in": _in,
        "notIn": _opposite(_in),
        "like": _pattern("like", "like"),
        "notLike": _opposite(_pattern("notLike", "like")),
        "iLike": _pattern("iLike", "ilike"),
        "notILike": _opposite(_pattern("notILike", "ilike")),
        "startsWith": _pattern("startsWith", "like", "{}%".format),
        "endsWith": _pattern("endsWith", "like", "%{}".format),
        "substring": _pattern("substring", "like", "%{}%".format),
        "between": _between,
        "notBetween": _opposite(_between),
        "and": _combination,
        "or": _combination,
    }
)
OPERATORS: Final = tuple(_OPERATORS)
"""Every operator of the grammar."""
_REFUSED = frozenset(
    "regexp notRegexp iRegexp notIRegexp overlap contains contained adjacent strictLeft strictRight noExtendRight "
    "noExtendLeft any all values col placeholder join match literal".split()
)


def _unknown_operator(name: object) -> str:
    kind = "is not supported" if name in _REFUSED else "is not an operator"
    return f"{shown(name)} {kind}; there are: {', '.join(OPERATORS)} (a JSON key of such a name is reached by a dotted path)"


def _spelled(attribute: Attribute, path: tuple[str, ...]) -> str:
    return ".".join((attribute.wire or attribute.name, *path))[:200]


def _checked_path(attribute: Attribute, path: tuple[str, ...]) -> tuple[str, ...]:
    if len(path) > MAX_PATH:
        raise InvalidInput(f"{_spelled(attribute, path)}: a path has at most {MAX_PATH} parts")
    for part in path:
        check_text(part, f"a path in {attribute.wire or attribute.name}", maximum=MAX_PATTERN, empty=False)
        if any(character in '"\\' or ord(character) < 32 for character in part):
            raise InvalidInput(f'{_spelled(attribute, path)}: a path must not hold ", \\ or control characters')
        if part[0] in "+-" and part[1:].isdigit():
            raise InvalidInput(f"{_spelled(attribute, path)}: a path must not hold signed numbers")
    return path


def _number(value: object, what: str) -> int | float:
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (str, Mapping, Sequence, float, type(None))):
        raise InvalidInput(f"{what} takes a number, not {shown(value)}")
    return check_int(value, what)


def _moment(value: object, what: str) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInput(f"{what} takes a date like 2030-01-31T12:00:00Z, not {shown(value)}") from None
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
    return check_time(value, what)


def _listed(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _all(parts: Sequence[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def matches(condition: Condition, record: Record) -> bool | None:
    """Whether `record` meets `condition`; None when unknown, as SQL has it."""
    match condition:
        case And(parts):
            results = [matches(part, record) for part in parts]
            return False if False in results else None if None in results else True
        case Or(parts):
            results = [matches(part, record) for part in parts]
            return True if True in results else None if None in results else False
        case Not(part):
            result = matches(part, record)
            return None if result is None else not result
    value = getattr(record, condition.attribute.name)
    for step in condition.path:
        value = _child(value, step)
    return _compare(condition.op, value, condition.value)


def _child(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(value):
        return value[int(part)]
    return None


def _compare(op: str, value: Any, other: Any) -> bool | None:
    if op == "null":
        return value is None
    if value is None:
        return None
    if op == "in":
        results = [_compare("eq", value, item) for item in other]
        return True if True in results else None if None in results else False
    if not _comparable(value, other):
        return None
    match op:
        case "eq":
            return bool(value == other)
        case "gt":
            return bool(value > other)
        case "gte":
            return bool(value >= other)
        case "lt":
            return bool(value < other)
        case "lte":
            return bool(value <= other)
    return _like(other, ignore_case=op == "ilike").fullmatch(value) is not None


def _comparable(value: object, other: object) -> bool:
    if isinstance(value, bool) or isinstance(other, bool):
        return isinstance(value, bool) and isinstance(other, bool)
    numbers = isinstance(value, (int, float)) and isinstance(other, (int, float))
    texts = isinstance(value, str) and isinstance(other, str)
    return numbers or texts or (isinstance(value, datetime) and isinstance(other, datetime))


@lru_cache(maxsize=256)
def _like(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    pieces = [""]
    for part in re.findall(r"\\.|.", pattern, re.DOTALL):
        if part == "%":
            pieces.append("")
        else:
            pieces[-1] += "." if part == "_" else re.escape(part[-1])
    text, *others = pieces
    if others:
        # What stands between two % is looked for once, from left to right: to go back would take n ** (number of %) steps.
        text += "".join(f"(?>.*?{piece})" for piece in others[:-1]) + f".*{others[-1]}"
    # ASCII with IGNORECASE folds a-z only, as every storage does
    return re.compile(f"(?{'sai' if ignore_case else 's'}:{text})")
