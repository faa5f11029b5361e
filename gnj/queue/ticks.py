"""When a schedule is due: cron expressions in a time zone, and fixed intervals (docs/decisions/0023-ticks.md).

Two ways, after the hour field of the expression:

- By the wall clock, such as `30 2 * * *`: each wall-clock time that matches is one tick. One that does not exist, since
  clocks are put forward over it, is due at the moment they are; one that there is twice is due the first time.
- By the time that elapses, where the hour is `*` or `*/n`, such as `*/15 * * * *`: every moment at which the clock shows a time
  that matches is a tick. Nothing is left out and nothing comes twice as close where clocks are put forward or back.

croniter walks over naive times only: by its own reckoning with zones a daily expression in an hour that there is twice
would be due twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gnj.queue.cron import Cron, walls, walls_before
from gnj.queue.zones import last_change, moment_of, next_change, wall_of

_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)


def next_tick(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first tick later than `after`; None if none comes for years. Aware UTC."""
    if cron.elapses:
        return _next_elapsed(cron, zone, after)
    moments = (moment_of(zone, wall) for wall in walls(cron, wall_of(zone, after).replace(fold=0)))
    return next((moment for moment in moments if moment > after), None)


def newest_tick(cron: Cron, zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The last tick later than `after` and not later than `until`, found from there: it does not matter how many there were."""
    if cron.elapses:
        moment = _last_elapsed(cron, zone, until)
    else:
        moments = (moment_of(zone, wall) for wall in walls_before(cron, _beyond(_latest_wall(zone, until))))
        moment = next((moment for moment in moments if moment <= until), None)
    return moment if moment is not None and moment > after else None


def next_interval(every: timedelta, begin: datetime, after: datetime) -> datetime:
    """The first moment later than `after` that is a whole number of intervals, 0 or more, from `begin`."""
    return begin if begin > after else begin + ((after - begin) // every + 1) * every


def newest_interval(every: timedelta, begin: datetime, after: datetime, until: datetime) -> datetime | None:
    """The last such moment later than `after` and not later than `until`."""
    if until < begin:
        return None
    moment = begin + (until - begin) // every * every
    return moment if moment > after else None


@dataclass(frozen=True, slots=True)
class Timing:
    """When a schedule is due.

    Args:
        cron: An expression, in `zone`; None: at intervals.
        zone: The time zone.
        every: The interval, of which the first begins at `begins`.
        begins: No tick is earlier.
        ends: No tick is later.
    """

    cron: Cron | None
    zone: ZoneInfo
    every: timedelta | None
    begins: datetime | None
    ends: datetime | None

    def next(self, after: datetime) -> datetime | None:
        """The first tick later than `after`; None if there is none."""
        if self.begins is not None:
            after = max(after, self.begins - _MILLISECOND)
        if self.cron is not None:
            moment = next_tick(self.cron, self.zone, after)
        else:
            assert self.every is not None  # noqa: S101 - one of both is there
            assert self.begins is not None  # noqa: S101 - likewise
            moment = next_interval(self.every, self.begins, after)
        return None if moment is None or (self.ends is not None and moment > self.ends) else moment

    def newest(self, after: datetime, until: datetime) -> datetime | None:
        """The last tick later than `after` and not later than `until`."""
        if self.begins is not None:
            after = max(after, self.begins - _MILLISECOND)
        if self.ends is not None:
            until = min(until, self.ends)
        if self.cron is not None:
            return newest_tick(self.cron, self.zone, after, until)
        assert self.every is not None  # noqa: S101 - one of both is there
        assert self.begins is not None  # noqa: S101 - likewise
        return newest_interval(self.every, self.begins, after, until)

    def some(self, after: datetime, until: datetime | None, limit: int) -> list[datetime]:
        """The first `limit` ticks later than `after` and, unless it is None, not later than `until`."""
        found: list[datetime] = []
        while len(found) < limit:
            moment = self.next(found[-1] if found else after)
            if moment is None or (until is not None and moment > until):
                break
            found.append(moment)
        return found


def _next_elapsed(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    """From one change of the clocks to the next they show the time that elapses: what matches there is found there."""
    start, before = after, timedelta()
    while True:
        shown = wall_of(zone, start).replace(fold=0)
        wall = next(walls(cron, shown - before), None)
        if wall is None:
            return None
        moment = start + (wall - shown)
        change = next_change(zone, start, moment)
        if change is None:
            return moment
        start, before = change, _SECOND  # it may be due at the very change


def _last_elapsed(cron: Cron, zone: ZoneInfo, until: datetime) -> datetime | None:
    end = until
    while True:
        shown = wall_of(zone, end).replace(fold=0)
        wall = next(walls_before(cron, _beyond(shown)), None)
        if wall is None:
            return None
        moment = end + (wall - shown)
        change = last_change(zone, moment, end)
        if change is None:
            return moment
        end = change - _SECOND


def _latest_wall(zone: ZoneInfo, moment: datetime) -> datetime:
    """The latest time that clocks have shown until then, as the last hours before they were put back."""
    local = moment.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    if not local.fold:
        return wall
    first, second = local.replace(fold=0).utcoffset(), local.utcoffset()
    assert first is not None  # noqa: S101 - an aware time has one
    assert second is not None  # noqa: S101 - likewise
    return wall + (first - second)


def _beyond(wall: datetime) -> datetime:
    """A time such that what matches earlier is not later than `wall`: what matches is a whole minute."""
    return wall.replace(microsecond=0) + _SECOND
