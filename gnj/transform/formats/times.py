"""Dates and times, written as ISO 8601 has them: read by python-dateutil, never filled from the day on which they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from types import MappingProxyType
from typing import Final

from dateutil import parser

from gnj.queue.values import shown
from gnj.transform.formats.faults import Fault

MAX_MOMENT: Final = 100
"""Characters of a date or time; `Wednesday, September 25, 2024 at 10:30:00.000000 AM +05:30` has 58."""

# What is missing in a text is taken from a default. A text that gives the same with both of these lacked nothing: they
# differ in year, month, day and hour, and February has 29 days in both years.
_DEFAULTS: Final = (datetime(1904, 1, 1, 1), datetime(2008, 12, 28, 2))  # noqa: DTZ001 - a zone comes from the text

_ZONES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "UTC": 0,
        "GMT": 0,
        "UT": 0,
        "Z": 0,
        "EST": -5,
        "EDT": -4,
        "CST": -6,
        "CDT": -5,
        "MST": -7,
        "MDT": -6,
        "PST": -8,
        "PDT": -7,
    }
)
"""Hours from UTC of the zones that have a name in mail (RFC 5322, section 4.3). Others mean several zones each."""

# dateutil takes 10 digits, which are mostly seconds since 1970, for YYMMDDhhmm, and 6 for YYMMDD.
_DIGITS: Final = frozenset({8, 12, 14})
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ISO_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class _Words(parser.parserinfo):
    """The English words and orders of dateutil, with centuries that do not depend on the day of reading."""

    def convertyear(self, year: int, century_specified: bool = False) -> int:  # noqa: FBT001, FBT002 - dateutil's signature
        """Two digits are from 1969 to 2068, as in POSIX."""
        if century_specified or year >= 100:
            return year
        return year + (1900 if year >= 69 else 2000)


_PARSER: Final = parser.parser(_Words())


def to_date(text: str) -> str:
    """`text` as `YYYY-MM-DD`: its day in UTC where it has a zone, else the day it names."""
    if _ISO_DATE.fullmatch(text):
        try:
            date.fromisoformat(text)
        except ValueError:
            raise _refused("date", text) from None
        return text
    return _moment(text, "date").date().isoformat()


def to_datetime(text: str) -> str:
    """`text` as `YYYY-MM-DDThh:mm:ssZ`, in UTC; without a zone it is taken for UTC, a date alone for its midnight."""
    return f"{_moment(text, 'date and time').isoformat()}Z"


def to_time(text: str) -> str:
    """`text` as `hh:mm:ss`: in UTC where it has a zone, else as it is."""
    first, second = _read(text, "time")
    if first.hour != second.hour:
        raise Fault(f"must have an hour, as in 14:30, not {shown(text)}")
    # The offset alone, since the day may be one of the defaults.
    clock = datetime.combine(_DEFAULTS[0], first.time()) - (first.utcoffset() or timedelta())
    return clock.time().isoformat()


def _moment(text: str, what: str) -> datetime:
    """The moment that a text names, naive in UTC."""
    if _ISO_MOMENT.fullmatch(text):
        try:
            return _utc(datetime.fromisoformat(text))
        except (ValueError, OverflowError):
            raise _refused(what, text) from None
    first, second = _read(text, what)
    if first.date() != second.date():
        raise Fault(f"must be a whole {what}, with year, month and day, not {shown(text)}")
    if first.hour != second.hour:
        first = datetime.combine(first, time(), tzinfo=first.tzinfo)
    try:
        return _utc(first)
    except OverflowError:
        raise _refused(what, text) from None


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _read(text: str, what: str) -> tuple[datetime, datetime]:
    """What dateutil makes of a text with each default."""
    if text.isdecimal() and len(text) not in _DIGITS:
        raise _refused(what, text)
    try:
        first, second = (_PARSER.parse(text, default=each, tzinfos=_zone) for each in _DEFAULTS)
    except Exception:  # noqa: BLE001 - for some texts dateutil raises what it stumbled over: decimal's errors, TypeError, IndexError
        raise _refused(what, text) from None
    return first, second


def _zone(name: str | None, offset: int | None) -> tzinfo | None:
    """The zone of a text; without this dateutil would take the machine's own zone, and warn of names it does not know."""
    if offset is not None:
        return timezone(timedelta(seconds=offset))
    if name is None:
        return None
    return timezone(timedelta(hours=_ZONES[name]))


def _refused(what: str, text: str) -> Fault:
    return Fault(f"must be a {what}, not {shown(text)}")
