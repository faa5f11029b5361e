"""A clock that goes on only when it is told to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from gnj.queue.clock import milliseconds

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


class FakeClock:
    """A clock for storages: `MemoryStorage(clock=FakeClock())`. Threads may share it.

    Args:
        start: What it shows at first.
    """

    def __init__(self, start: datetime = START) -> None:
        self._lock = threading.Lock()
        self._now = milliseconds(start)

    def __call__(self) -> datetime:
        """The time it shows: aware UTC, whole milliseconds."""
        return self._now

    def tick(self, seconds: float = 1.0) -> datetime:
        """Moves on by `seconds` (back, when they are negative); the time it then shows."""
        with self._lock:
            self._now += timedelta(milliseconds=round(seconds * 1000))
            return self._now

    def set(self, moment: datetime) -> None:
        """Shows `moment` from now on."""
        with self._lock:
            self._now = milliseconds(moment)

    def __repr__(self) -> str:
        return f"FakeClock({self._now.isoformat()})"
