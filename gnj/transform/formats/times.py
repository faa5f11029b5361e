"""Dates and times, written as ISO 8601 has them: read by python-dateutil, never filled from the day on which they are read."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final

from dateutil import parser

from gnj.queue.values import shown
from gnj.transform.formats.faults import Fault
from gnj.transform.formats.moments import WORDS, Parts, checked, taken_apart

MAX_MOMENT: Final = 100
"""Characters of a date or time; `Mon Jan 15 2024 10:30:00 GMT+0100 (Central European Standard Time)` has 66."""

# What is missing in a text is taken from a default. A text that gives the same with both of these lacked nothing: they
# differ in year, month, day and hour, and February has 29 days in both years.
_DEFAULTS: Final = (datetime(1904, 1, 1, 1), datetime(2008, 12, 28, 2))  # noqa: DTZ001 - a zone comes from the text

# dateutil takes 10 digits, which are mostly seconds since 1970, for YYMMDDhhmm, and 6 for YYMMDD.
_DIGITS: Final = frozenset({8, 12, 14})
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# hh:mm-hh:mm after a blank may be a span of hours.
_ISO_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:T| (?!\d\d:\d\d-))\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?(Z|[+-]\d\d:[0-5]\d)?", re.ASCII
)
_PARSER: Final = parser.parser(WORDS)


def to_date(text: str) -> str:
    """`text` as `YYYY-MM-DD`: its day in UTC where it has a time and a zone, else the day it names."""
    if _ISO_DATE.fullmatch(text):
        try:
            date.fromisoformat(text)
        except ValueError:
            raise _refused("date", text) from None
        return text
    return _moment(text, "date", day=True).date().isoformat()


def to_datetime(text: str) -> str:
    """`text` as `YYYY-MM-DDThh:mm:ssZ`, in UTC; without a zone it is taken for UTC, a date alone for its midnight.

    Fractions of a second are cut off.
    """
    return f"{_moment(text, 'date and time').isoformat(timespec='seconds')}Z"


def to_time(text: str) -> str:
    """`text` as `hh:mm:ss`: in UTC where it has a zone, else as it is. Fractions of a second are cut off."""
    parts = _parts(text, "time")
    if not parts.time:
        raise Fault(f"must have an hour, as in 14:30, not {shown(text)}")
    first, _ = _read(text, parts, "time")
    # The offset alone, since the day may be one of the defaults.
    clock = datetime.combine(_DEFAULTS[0], first.time()) - (parts.offset or timedelta())
    return clock.time().isoformat(timespec="seconds")


def _moment(text: str, what: str, *, day: bool = False) -> datetime:
    """The moment that a text names, naive in UTC; of a date alone that is asked for as a `day`, the day that it names."""
    if _ISO_MOMENT.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text)
            checked(moment.utcoffset() or timedelta())
            return _utc(moment)
        except (ValueError, OverflowError):
            raise _refused(what, text) from None
    parts = _parts(text, what)
    first, second = _read(text, parts, what)
    if not parts.whole or first.date() != second.date():
        raise Fault(f"must be a whole {what}, with year, month and day, not {shown(text)}")
    if not parts.time:
        first = datetime.combine(first, time())
        if day:
            return first
    try:
        return _utc(first if parts.offset is None else first.replace(tzinfo=timezone(parts.offset)))
    except OverflowError:
        raise _refused(what, text) from None


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _parts(text: str, what: str) -> Parts:
    if text.isdecimal() and len(text) not in _DIGITS:
        raise _refused(what, text)
    try:
        return taken_apart(text)
    except ValueError:
        raise _refused(what, text) from None


def _read(text: str, parts: Parts, what: str) -> tuple[datetime, datetime]:
    """What dateutil makes of a text with each default, without its zone."""
    bare = f"{parts.date} {parts.time}".strip()
    try:
        first, second = (_PARSER.parse(bare, default=each, dayfirst=parts.day_first) for each in _DEFAULTS)
    except Exception:  # noqa: BLE001 - for some texts dateutil raises what it stumbled over: decimal's errors, TypeError, IndexError
        raise _refused(what, text) from None
    # Each part has been made what it was taken for, and no zone besides.
    if (first.hour == second.hour) != bool(parts.time) or first.tzinfo is not None:
        raise _refused(what, text)
    return first, second


def _refused(what: str, text: str) -> Fault:
    return Fault(f"must be a {what}, not {shown(text)}")
