"""The scalars `SequelizeJSON` and `Date` (spec/gnj-graphql.md, section 2), and the parts to build others alike.

`Int` needs nothing from us: graphql-core holds it to 32 bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from graphql import (
    BooleanValueNode,
    ConstValueNode,
    EnumValueNode,
    FloatValueNode,
    GraphQLError,
    GraphQLScalarType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
)

from gnj.queue.errors import InvalidInput
from gnj.queue.values import Json, check_json, check_time, parse_json, shown


@dataclass(frozen=True, slots=True)
class Scalar:
    """Gives the scalar `name` of a schema its three conversions; an Ariadne bindable.

    Each conversion may raise `InvalidInput`; the client then reads `Expected type "…". ` and the error's text.
    """

    name: str
    output: Callable[[Any], Any]
    """What a resolver returned -> what is sent."""
    value: Callable[[Any], Any]
    """A variable's JSON value -> what a resolver is given."""
    literal: Callable[[ConstValueNode], Any]
    """A value written in the document, its variables replaced -> what a resolver is given."""

    def bind_to_schema(self, schema: GraphQLSchema) -> None:
        """Raises `ValueError` when the schema has no scalar of that name."""
        scalar = schema.type_map.get(self.name)
        if not isinstance(scalar, GraphQLScalarType):
            raise ValueError(f"The schema has no scalar {self.name}")  # noqa: TRY004
        # graphql-core 3.3 looks at these three; Ariadne's own ScalarType sets the older parse_literal, which sees
        # variables it must replace itself
        scalar.coerce_output_value = self.output
        scalar.coerce_input_value = self._explained(self.value)
        scalar.coerce_input_literal = self._explained(self.literal)

    def _explained(self, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def coerce(value: Any) -> Any:
            try:
                return convert(value)
            except InvalidInput as error:
                raise GraphQLError(f'Expected type "{self.name}". {error}', original_error=error) from None

        return coerce


def scalars() -> tuple[Scalar, ...]:
    """The scalars of the jobs schema."""
    return (
        Scalar("SequelizeJSON", json_out, json_from_variable, json_from_literal),
        Scalar("Date", date_out, date_from_value, date_from_literal),
    )


def json_out(value: Any) -> Json:
    """A JSON value as it is stored: it was checked when it came in, and a second look at every row would cost more than
    sending it.
    """
    return value


def json_from_variable(value: Any) -> Json:
    """A JSON value from a variable; a text is itself read as JSON: `"[1]"` is the list, `"x"` is refused with
    InvalidInput.
    """
    if not isinstance(value, str):
        return check_json(value, "the value")
    try:
        return check_json(parse_json(value, "the text"), "the value")
    except InvalidInput as error:
        # the words of V8's JSON.parse, which the npm client's users know
        raise InvalidInput(f"Unexpected token in JSON: {error}") from None


def json_from_literal(node: ConstValueNode) -> Json:
    """A JSON value as written in a document: texts stay texts, enum values become texts. InvalidInput: no JSON."""
    return check_json(_plain(node), "the value")


def _plain(node: ConstValueNode) -> Json:
    match node:
        case StringValueNode() | EnumValueNode() | BooleanValueNode():
            return node.value
        case IntValueNode() | FloatValueNode():
            return parse_json(node.value, "the number")
        case NullValueNode():
            return None
        case ListValueNode():
            return [_plain(item) for item in node.values]
        case ObjectValueNode():
            return {item.name.value: _plain(item.value) for item in node.fields}
        case _:
            raise InvalidInput(f"a {node.kind} is not JSON")


def date_out(value: Any) -> str:
    """An aware datetime as ISO 8601 in UTC with milliseconds and Z, as JavaScript's toISOString; else TypeError."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError(f"a Date must be resolved to an aware datetime, not {shown(value)}")
    return value.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def date_from_literal(node: ConstValueNode) -> datetime:
    """A point in time written in a document: a text, or whole milliseconds since 1970; else InvalidInput."""
    if isinstance(node, StringValueNode):
        return date_from_value(node.value)
    if isinstance(node, IntValueNode):
        return date_from_value(parse_json(node.value, "the number"))
    raise InvalidInput(_NO_DATE.format("another kind of value"))


def date_from_value(value: Any) -> datetime:
    """A point in time, aware, UTC, whole milliseconds, from what JavaScript's `new Date()` reads in one way only.

    - ISO 8601: a year, a month or a day alone; a day with a time (seconds and fraction optional) and a zone, or without
      one, which means UTC (JavaScript would take the client's zone, which a server cannot know)
    - RFC 2822, also without the name of the day, zones by number or by the names the RFC has
    - a number of milliseconds since 1970

    Raises `InvalidInput` for everything else, and for years before 1970 or after 9999.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_milliseconds(value)
    if isinstance(value, str):
        for pattern in (_ISO, _RFC):
            match = pattern.fullmatch(value.strip()[:100])
            if match:
                return _from_parts(match, value)
        raise InvalidInput(_NO_DATE.format(shown(value)))
    raise InvalidInput(_NO_DATE.format(shown(value)))


_NO_DATE = "A date is ISO 8601 or RFC 2822 text, or milliseconds since 1970, not {}"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# RFC 2822, section 4.3; its military letters are left out because RFC 822 gave them the wrong sign
_ZONES = {
    **dict.fromkeys(("z", "gmt", "ut", "utc"), 0),
    "edt": -4,
    "est": -5,
    "cdt": -5,
    "cst": -6,
    "mdt": -6,
    "mst": -7,
    "pdt": -7,
    "pst": -8,
}
# In no place can two alternatives match the same text: linear time.
_ISO = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,30}))?)?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2})?)?)?)?"
)
_RFC = re.compile(
    r"(?:(?:mon|tue|wed|thu|fri|sat|sun), +)?(?P<day>[0-9]{1,2}) +(?P<month>" + "|".join(_MONTHS) + r") +"
    r"(?P<year>[0-9]{4}) +(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))? +"
    r"(?P<zone>[+-][0-9]{4}|" + "|".join(_ZONES) + ")",
    re.IGNORECASE,
)


def _from_milliseconds(value: float) -> datetime:
    if not math.isfinite(value):
        raise InvalidInput(_NO_DATE.format(shown(value)))
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=math.trunc(value))
    except OverflowError:
        raise InvalidInput("A date must lie between the years 1970 and 9999") from None
    return check_time(moment, "A date")


def _from_parts(match: re.Match[str], text: str) -> datetime:
    parts = match.groupdict()
    month = parts["month"] or "1"
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    # ISO 8601 and JavaScript allow 24:00:00 for the end of a day
    midnight = (hour, minute, second) == (24, 0, 0) and not (parts.get("fraction") or "").strip("0")
    try:
        moment = datetime(
            int(parts["year"]),
            int(month) if month.isdigit() else _MONTHS.index(month.lower()) + 1,
            int(parts["day"] or 1),
            0 if midnight else hour,
            minute,
            second,
            int((parts.get("fraction") or "0").ljust(6, "0")[:6]),
            _zone(parts["zone"]),
        )
        return check_time(moment + timedelta(days=1) if midnight else moment, "A date")
    except InvalidInput:
        raise
    except (ValueError, OverflowError):
        raise InvalidInput(_NO_DATE.format(shown(text))) from None


def _zone(text: str | None) -> timezone:
    if not text:
        return UTC
    if text.lower() in _ZONES:
        return timezone(timedelta(hours=_ZONES[text.lower()]))
    hours, minutes = int(text[1:3]), int(text[-2:])
    if minutes > 59:
        raise ValueError("a zone has fewer than 60 minutes")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
