"""What of a text is a date, what a time of day, and what a zone: python-dateutil reads the first two, once they are told apart.

On its own dateutil finds a use for every number. A second date becomes an hour, the end of a span of hours a zone, and `GMT+3`
has the sign of POSIX, three hours *behind* Greenwich. So a text must be one date, one time, or both, with one zone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from dateutil import parser

_ZONES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "UTC": 0,
        "GMT": 0,
        "UT": 0,
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

_FURTHEST: Final = timedelta(hours=14)
"""Kiribati's; nobody is further from UTC."""

_OFFSET: Final = r"(?:UTC|GMT|UT)?\s?[+-][0-9]{1,2}(?::?[0-9]{2})?"
# Browsers write the zone's name after its offset, in the reader's language: it tells nothing more.
_NAMED: Final = r"(?:\s(?:\([^()]*\)|UTC|GMT))?"
_ZONE: Final = rf"\s?(?:[Zz]|{_OFFSET}{_NAMED}|\(?(?:{'|'.join(_ZONES)})\)?)"
_HALF: Final = r"\s?[AaPp](?:\.?[Mm]\.?)?"
_TIME: Final = rf"""
    [0-9]{{1,2}}:[0-9]{{1,2}}(?::[0-9]{{1,2}}(?:[.,][0-9]+)?)?(?:{_HALF})?
  | [0-9]{{1,2}}{_HALF}
  | [0-9]{{1,2}}\s?h(?:\s?[0-9]{{1,2}}(?:\s?m(?:\s?[0-9]{{1,2}}\s?s)?)?)?
"""
_BASIC: Final = r"[0-9]{4}(?:[0-9]{2}(?:[.,][0-9]+)?)?"  # hhmm and hhmmss of ISO 8601, after a date
_CLOCK: Final = re.compile(
    rf"""(?: (?:^|(?<=[0-9]))[Tt](?P<iso>{_TIME}|[0-9]{{2}}(?![0-9:])) | (?:(?<=[0-9])[Tt]|(?<=(?<![0-9])[0-9]{{8}})\s?)(?P<basic>{_BASIC})
           | (?<![^\s,;])(?P<time>{_TIME}) )
        (?P<zone>{_ZONE})?(?![^\s,;])""",
    re.VERBOSE,
)
_LAST_ZONE: Final = re.compile(
    rf"\s(?:(?:(?:UTC|GMT|UT)\s?[+-][0-9]{{1,2}}(?::?[0-9]{{2}})?|[+-][0-9]{{2}}:?[0-9]{{2}}){_NAMED}|{'|'.join(_ZONES)})$"
)
_DATE_ZONE: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII)
_SIGNED: Final = re.compile(r"([+-])([0-9]{1,2}?)(?::?([0-9]{2}))?(?![0-9])")
_SPAN: Final = re.compile(r"([0-9]{1,2}):([0-9]{1,2})-([0-9]{1,2})(?::([0-9]{2}))?")

_TOKEN: Final = re.compile(r"\d+|[^\W\d_]+")
_SHORT_YEAR: Final = re.compile(r"(?<!\S)\d{1,2}([-/.])\d{1,2}\1\d\d(?![^\s,;])")


class _Words(parser.parserinfo):
    """The English words and orders of dateutil, with centuries that do not depend on the day of reading."""

    def convertyear(self, year: int, century_specified: bool = False) -> int:  # noqa: FBT001, FBT002 - dateutil's signature
        """Two digits are from 1969 to 2068, as in POSIX."""
        if century_specified or year >= 100:
            return year
        return year + (1900 if year >= 69 else 2000)


WORDS: Final = _Words()
"""What dateutil is to know."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A text taken apart."""

    date: str
    """The date as it is written; "" for none."""
    time: str
    """Likewise the time of day."""
    offset: timedelta | None
    """From UTC; None for a text without a zone."""
    whole: bool
    """Whether the date has a year, a month and a day."""
    day_first: bool
    """Whether the day stands before the month though the year is first."""


def taken_apart(text: str) -> Parts:
    """The parts of a text that has one date, one time of day, or both. Raises `ValueError` for what has more than that."""
    if found := _DATE_ZONE.fullmatch(text):
        return Parts(found[1], "", _offset(found[2]), whole=True, day_first=False)
    clock = _CLOCK.search(text)
    if clock is None:
        return _dated(text, "", None)
    if (span := _SPAN.fullmatch(clock[0])) and _hours(span[3], span[4]) > _hours(span[1], span[2]):
        # An offset in the West, or the end of a span of hours: a blank, seconds, or the T of ISO 8601 make it the first, and that it
        # would be over before it begins.
        raise ValueError(text)
    date, zone = text[: clock.start()], clock["zone"]
    rest = text[clock.end() :]
    if zone is None and (last := _LAST_ZONE.search(rest)):
        zone, rest = last[0], rest[: last.start()]
    if basic := clock["basic"]:
        time = ":".join((basic[:2], basic[2:4], basic[4:] or "0"))
    else:
        time = clock["iso"] or clock["time"]
        if time.isdecimal():  # the hour alone, as ISO 8601 allows
            time = f"{time}:00"
    return _dated(f"{date} {rest}".strip(" ,;"), time, None if zone is None else _offset(zone))


def _dated(date: str, time: str, offset: timedelta | None) -> Parts:
    """The parts, once it is sure that the date is one at most, with nothing beside it."""
    words = _TOKEN.findall(date)
    numbers = [word for word in words if word.isdecimal()]
    months = sum(WORDS.month(word) is not None for word in words)
    days = sum(WORDS.weekday(word) is not None for word in words)
    lengths = [len(number) for number in numbers]
    whole = lengths == [8] or (len(numbers) + months == 3 and months <= 1)
    # Of a date without its year a month is named: 10 and 18 may be anything.
    if days > 1 or date.startswith(("-", "+")) or not (whole or not numbers or (months, len(numbers)) == (1, 1)):
        raise ValueError(date)
    if whole and len(numbers) > 1:
        years = lengths.count(4)
        if years > 1 or any(length not in (1, 2, 4) for length in lengths):
            raise ValueError(date)
        if not years and not (_SHORT_YEAR.search(date) if not months else 2 in (lengths[0], lengths[-1])):
            raise ValueError(date)
    day_first = lengths[:1] == [4] and len(numbers) == 3 and "-" not in date and int(numbers[1]) > 12 >= int(numbers[2])
    return Parts(date, time, offset, whole, day_first)


def _hours(hours: str, minutes: str | None) -> tuple[int, int]:
    return int(hours), int(minutes or 0)


def _offset(zone: str) -> timedelta:
    """What a zone is from UTC. East is +, behind `UTC` and `GMT` too."""
    signed = _SIGNED.search(zone)
    if signed is None:
        return timedelta(hours=_ZONES.get(zone.strip(" ()\t").upper(), 0))
    minutes = int(signed[3] or 0)
    if minutes > 59:
        raise ValueError(zone)
    offset = timedelta(hours=int(signed[2]), minutes=minutes)
    return checked(-offset if signed[1] == "-" else offset)


def checked(offset: timedelta) -> timedelta:
    """The offset, if some place on earth may have it; else `ValueError`."""
    if abs(offset) > _FURTHEST:
        raise ValueError(offset)
    return offset
