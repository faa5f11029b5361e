"""Points in time that the storage's own clock fills in.

Rules never read a clock: a change says `NOW` or `After(30)`, and the storage that applies it puts in its database's time,
so that workers and servers with wrong clocks cannot disagree (P10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

Clock = Callable[[], datetime]
"""Gives the present time, aware UTC, whole milliseconds."""


@dataclass(frozen=True, slots=True)
class After:
    """The moment `seconds` after the storage's present; negative lies in the past."""

    seconds: float

    def resolve(self, now: datetime) -> datetime:
        """The moment itself, when the storage's present is `now`."""
        return now + timedelta(milliseconds=round(self.seconds * 1000))


NOW = After(0.0)
"""The storage's present."""


def milliseconds(moment: datetime) -> datetime:
    """`moment` in UTC, cut to whole milliseconds: the precision every storage keeps (data.md, Times)."""
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def to_number(moment: datetime) -> int:
    """A moment as milliseconds since 1970, which is how the queue contract tells times."""
    return round(moment.timestamp() * 1000)


def of_number(number: int) -> datetime:
    """The moment so many milliseconds after the beginning of 1970."""
    return _EPOCH + timedelta(milliseconds=number)


def period_start(number: int, seconds: int) -> datetime:
    """When the period of so many seconds begins that has this number since 1970 (`storage.Bucket`)."""
    return _EPOCH + timedelta(seconds=number * seconds)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def system_clock() -> datetime:
    """The host's clock. Only storages without a clock of their own use it: memory, and SQLite (one machine)."""
    return milliseconds(datetime.now(UTC))
