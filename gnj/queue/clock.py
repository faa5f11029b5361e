"""Points in time that the storage's own clock fills in.

Rules never read a clock: a change says `NOW` or `After(30)`, and the storage that applies it puts in its database's time,
so that workers and servers with wrong clocks cannot disagree (P10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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


def system_clock() -> datetime:
    """The host's clock. Only storages without a clock of their own use it: memory, and SQLite (one machine)."""
    return milliseconds(datetime.now(UTC))
