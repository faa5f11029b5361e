"""The scalars of the content face: DateTime, Long, TimeSpan and JSON."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from graphql import ConstValueNode, IntValueNode, StringValueNode

from gnj.content.moments import moment
from gnj.graphql.scalars import Scalar, date_out, json_from_literal, json_out
from gnj.queue.errors import InvalidInput
from gnj.queue.values import MAX_INT64, Json, check_json, shown

_DIGITS: Final = re.compile(r"-?[0-9]{1,19}")


def scalars() -> tuple[Scalar, ...]:
    """What converts each."""
    return (
        Scalar("DateTime", date_out, _moment, lambda node: _moment(_plain(node))),
        Scalar("Long", long_out, long_in, lambda node: long_in(_plain(node))),
        Scalar("TimeSpan", duration_out, _no_duration, _no_duration),
        Scalar("JSON", json_out, _json, json_from_literal),
    )


def long_in(value: Any) -> int:
    """An integer of 64 bits from a number or from digits in a text; else `InvalidInput`."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -MAX_INT64 <= value <= MAX_INT64:
        raise InvalidInput(f"It is an integer of 64 bits, as a number or as digits, not {shown(value)}")
    return value


def long_out(value: Any) -> int:
    """An integer of 64 bits, as a number; else TypeError."""
    if isinstance(value, bool) or not isinstance(value, int) or not -MAX_INT64 <= value <= MAX_INT64:
        raise TypeError(f"a Long must be resolved to an integer of 64 bits, not {shown(value)}")
    return value


def duration_out(value: Any) -> str:
    """A duration as ISO 8601 has it, in hours, minutes and seconds of whole milliseconds: `PT26H1M30.25S`; `PT0S` for none and,
    where clocks disagree, for less. TypeError for what is no timedelta.
    """
    if not isinstance(value, timedelta):
        raise TypeError(f"a TimeSpan must be resolved to a timedelta, not {shown(value)}")
    seconds, thousandths = divmod(max(0, value // timedelta(milliseconds=1)), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{thousandths:03}".rstrip("0") if thousandths else ""
    last = f"{seconds}{fraction}S" if seconds or fraction or not (hours or minutes) else ""
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + last


def _moment(value: Any) -> datetime:
    return moment(value, "It")


def _json(value: Any) -> Json:
    return check_json(value, "the value")


def _no_duration(_value: object) -> NoReturn:
    raise InvalidInput("It is only ever sent, never taken.")


def _plain(node: ConstValueNode) -> Any:
    """What a text or an integer of the document holds, as text; None for another kind of value."""
    return node.value if isinstance(node, (StringValueNode, IntValueNode)) else None
