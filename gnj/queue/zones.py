"""Time zones: wall-clock times and the moments they are at."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
_LOCAL: Final = frozenset({"localtime", "posixrules", "Factory"})
"""Names that mean another zone on each machine, or none."""
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)


@lru_cache(maxsize=1_000)
def _known(name: str) -> ZoneInfo | None:
    if name in _LOCAL or not _NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a directory of the database, or a file that is none of it
        return None


def zone(name: object, what: str = "the time zone") -> ZoneInfo:
    """The zone that the IANA database has by that name. Raises `InvalidInput`."""
    found = _known(name) if isinstance(name, str) and len(name) <= 100 else None
    if found is None:
        raise InvalidInput(
            f"{what} must be a name of the IANA database, such as 'Europe/Paris' or 'UTC', not {shown(name)}"
        )
    return found


def wall_of(zone: ZoneInfo, moment: datetime) -> datetime:
    """What clocks in the zone show at that moment: naive, and `fold` 1 where they have shown it before."""
    return moment.astimezone(zone).replace(tzinfo=None)


def moment_of(zone: ZoneInfo, wall: datetime) -> datetime:
    """When clocks in the zone show that time: the first moment, if there are two; if there is none, since the clocks were put
    forward over it, the moment at which they were. Aware UTC.
    """
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall_of(zone, first) == wall.replace(fold=0):
        return first
    # reckoned with the offset after the gap, it lies before it
    return _first_after(zone, wall.replace(tzinfo=zone, fold=1).astimezone(UTC), first)


def next_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The first moment later than `after` and not later than `until` at which clocks were put forward or back."""
    offset, begun = _offset(zone, after), after
    while begun < until:
        ends = min(begun + _DAY, until)
        if _offset(zone, ends) != offset:
            return _first_after(zone, begun, ends)
        begun = ends
    return None


def last_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The last such moment."""
    offset, ends = _offset(zone, until), until
    while ends > after:
        begun = max(ends - _DAY, after)
        if _offset(zone, begun) != offset:
            return _first_after(zone, begun, ends)
        ends = begun
    return None


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None  # noqa: S101 - an aware time has one
    return offset


def _first_after(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The moment, to the second, at which the offset of `before` becomes that of `after`."""
    offset = _offset(zone, before)
    before = before.replace(microsecond=0)
    low, high = 0, -((before - after) // _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, before + middle * _SECOND) == offset:
            low = middle
        else:
            high = middle
    return before + high * _SECOND
