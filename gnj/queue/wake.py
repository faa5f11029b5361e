"""How those who wait for work in this process learn that there may be some."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right
from typing import Final

STEP: Final = 0.01
"""Seconds: of moments that are nearer to each other the latest counts."""
HORIZON: Final = 60.0
"""Seconds from now beyond which no moment is remembered: who looks for work once in a while is early enough."""


class Wake:
    """A bell with a memory: whoever has not seen its last ring does not wait."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0
        self._moments: list[int] = []
        """When it is to ring by itself, in steps, in order."""

    @property
    def rings(self) -> int:
        """How often the bell rang: to be read before looking for work, and handed to `wait`."""
        return self._rings

    def set(self) -> None:
        """Rings."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def set_in(self, seconds: float) -> None:
        """Rings so many seconds from now, or a moment later; for who waits later than that, when they begin to."""
        if seconds > HORIZON:
            return
        moment = math.ceil((time.monotonic() + seconds) / STEP)
        with self._condition:
            self._pass(time.monotonic())  # of who never waits, they would be remembered for ever
            place = bisect_left(self._moments, moment)
            if self._moments[place : place + 1] != [moment]:
                self._moments.insert(place, moment)
                self._condition.notify_all()  # who waits has to wait less

    def wait(self, seen: int, timeout: float) -> int:
        """Returns when the bell has rung since `seen`, or after `timeout` seconds; the rings so far."""
        end = time.monotonic() + timeout
        with self._condition:
            while True:
                now = time.monotonic()
                self._pass(now)
                if self._rings != seen or now >= end:
                    return self._rings
                until = min(end, self._moments[0] * STEP) if self._moments else end
                self._condition.wait(until - now)

    def _pass(self, now: float) -> None:
        """Rings for the moments that have come; the condition is held."""
        if over := bisect_right(self._moments, now / STEP):
            del self._moments[:over]
            self._rings += 1
            self._condition.notify_all()
