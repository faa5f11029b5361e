"""Filters of entries: from the text that a client sends to conditions that a store can look up."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from gnj.content.model import Entry
from gnj.content.moments import moment
from gnj.queue.errors import InvalidInput
from gnj.queue.values import Json, check_text, clean_text, shown


class Sort(StrEnum):
    """What sort of value a key has."""

    TEXT = "text"
    DATE = "date"


KEYS: Final[Mapping[str, Sort]] = {
    "Id": Sort.TEXT,
    "SiteId": Sort.TEXT,
    "ModelId": Sort.TEXT,
    "Status": Sort.TEXT,
    "Slug": Sort.TEXT,
    "CreatedAt": Sort.DATE,
    "UpdatedAt": Sort.DATE,
    "PublishedAt": Sort.DATE,
}
"""What can be asked for, and of which sort it is."""

OPS: Final[Mapping[Sort, tuple[str, ...]]] = {
    Sort.TEXT: ("Eq", "Ne", "In", "NotIn", "StartsWith", "Contains", "Exists"),
    Sort.DATE: ("Eq", "Ne", "Gt", "Gte", "Lt", "Lte"),
}
"""The operators of each sort."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What one key of an entry must be like.

    A missing value (None: no status, no slug, never published) meets `Ne` and `NotIn` and no other, but `Exists` with
    False. Texts are compared as they are: with case, and with no wildcards.
    """

    key: str
    """Of `KEYS`."""
    op: str
    """Of `OPS`."""
    value: Json
    """A text; for `In` and `NotIn` a tuple of texts (`In` with none: nothing meets it); for `Exists` a bool; for dates an aware
    datetime of whole milliseconds."""

    def meets(self, value: Any) -> bool:
        """Whether the value that an entry has for the key meets it."""
        if self.op == "Exists":
            return (value is not None) is self.value
        if value is None:
            return self.op in ("Ne", "NotIn")
        return bool(_MEETS[self.op](value, self.value))


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Conditions that an entry has to meet, all of them."""

    conditions: tuple[Condition, ...] = ()

    def meets(self, entry: Entry) -> bool:
        """Whether an entry meets it."""
        return all(each.meets(getattr(entry, _FIELDS[each.key])) for each in self.conditions)


EVERYTHING: Final = EntryFilter()
"""The filter without conditions."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text came to."""

    filter: EntryFilter
    warnings: tuple[str, ...] = ()
    """What was passed over, for the job's log."""


TYPES: Final = frozenset({"EntryFilter", "EntrySystemFilter", "StringFilter", "DateFilter", "DateTimeFilter"})
"""What `_t` may say; it is read by nobody, and so each may stand anywhere."""
MAX_FILTER: Final = 64 * 1024
"""Characters of a filter."""
MAX_ITEMS: Final = 1_000
"""Texts of one `In` or `NotIn`."""

_FIELDS: Final[Mapping[str, str]] = {
    "Id": "id",
    "SiteId": "site_id",
    "ModelId": "model_id",
    "Status": "status",
    "Slug": "slug",
    "CreatedAt": "created_at",
    "UpdatedAt": "updated_at",
    "PublishedAt": "published_at",
}
_MEETS: Final[Mapping[str, Callable[[Any, Any], object]]] = {
    "Eq": operator.eq,
    "Ne": operator.ne,
    "In": lambda value, given: value in given,
    "NotIn": lambda value, given: value not in given,
    "StartsWith": str.startswith,
    "Contains": operator.contains,
    "Gt": operator.gt,
    "Gte": operator.ge,
    "Lt": operator.lt,
    "Lte": operator.le,
}
_PLACES: Final = ("system", "ModelId")
"""What a filter itself may have."""
_LISTS: Final = ("In", "NotIn")
_PARTS: Final = ("StartsWith", "Contains")
_BLANKS: Final = " \t\r\n"
_REST: Final = re.compile(r"[\]}" + _BLANKS + "]*")


def parse(text: str | None) -> Parsed:
    """The filter that a text describes; `EVERYTHING` for None, "" and what has no conditions.

    The same text always gives the same filter: a job keeps the text, and its handler parses it again.

    Raises `InvalidInput`, naming the path of what is wrong (`filter: unknown key system.Foo`), also for a text that is no JSON
    or too large.
    """
    if text is None or not check_text(text, "filter", maximum=MAX_FILTER).strip(_BLANKS):
        return Parsed(EVERYTHING)
    value, warnings = _decoded(text.lstrip(_BLANKS))
    if value is None:
        return Parsed(EVERYTHING, warnings)
    conditions: list[Condition] = []
    for name, inner, path in _members(value, ""):
        if name == "system":
            for key, operators, place in _members(inner, path):
                conditions += _conditions(key, operators, place)
        elif name == "ModelId":
            conditions += _conditions(name, inner, path)
        else:
            raise _unknown("key", path, _PLACES)
    return Parsed(EntryFilter(tuple(conditions)), warnings)


def _decoded(text: str) -> tuple[Json, tuple[str, ...]]:
    try:
        value, end = _DECODER.raw_decode(text)
    except InvalidInput:
        raise
    except RecursionError:
        raise InvalidInput("filter: it is nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"filter must be JSON: {str(error)[:200]}") from None
    rest = text[end:]
    if not _REST.fullmatch(rest):
        raise InvalidInput(f"filter: after the JSON value stands {shown(rest.strip(_BLANKS))}")
    if rest.strip(_BLANKS):
        return value, ("The filter has more closing brackets than it needs: they were ignored.",)
    return value, ()


def _members(value: Json, path: str) -> Iterator[tuple[str, Json, str]]:
    """The members of an object but `_t`: each with its name, its value and its path."""
    if not isinstance(value, dict):
        raise InvalidInput(f"filter: {path or 'it'} must be an object, not {shown(value)}")
    for name, inner in value.items():
        place = f"{path}.{name}" if path else name
        if name != "_t":
            yield name, inner, place
        elif not isinstance(inner, str) or inner not in TYPES:
            raise InvalidInput(f"filter: {place} must be one of {', '.join(sorted(TYPES))}, not {shown(inner)}")


def _conditions(key: str, operators: Json, path: str) -> Iterator[Condition]:
    if key not in KEYS:
        raise _unknown("key", path, tuple(KEYS))
    for op, given, place in _members(operators, path):
        if op not in OPS[KEYS[key]]:
            raise _unknown("operator", place, OPS[KEYS[key]])
        if op == "NotIn" and given == []:
            continue
        yield Condition(key, op, _value(KEYS[key], op, given, f"filter: {place}"))


def _value(sort: Sort, op: str, given: Json, what: str) -> Any:
    if op == "Exists":
        if not isinstance(given, bool):
            raise InvalidInput(f"{what} must be true or false, not {shown(given)}")
        return given
    if sort is Sort.DATE:
        return moment(given, what)
    if op not in _LISTS:
        # to begin with nothing is to begin in any way: what restricts nothing must not be what says which entries to delete
        return check_text(given, what, empty=op not in _PARTS)
    if not isinstance(given, list):
        raise InvalidInput(f"{what} must be a list of strings, not {shown(given)}")
    if len(given) > MAX_ITEMS:
        raise InvalidInput(f"{what} must have at most {MAX_ITEMS:,} items, not {len(given):,}")
    return tuple(check_text(each, f"{what}[{place}]") for place, each in enumerate(given))


def _unknown(sort: str, path: str, known: Sequence[str]) -> InvalidInput:
    return InvalidInput(f"filter: unknown {sort} {clean_text(path, 200)}; there are {', '.join(known)}")


def _once(members: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    """Of two members with one name a parser takes the last: what the other asked for would be lost."""
    found: dict[str, Json] = {}
    for name, value in members:
        if name in found:
            raise InvalidInput(f"filter: the key {shown(name)} is there twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> Json:
    raise InvalidInput(f"filter: {name} is not JSON")


# No key takes a number, and int() of thousands of digits is slow and then refused.
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_once, parse_constant=_no_constant, parse_int=float, parse_float=float
)
