"""How those who wait for work in this process learn that there may be some."""

from __future__ import annotations

import threading


class Wake:
    """A bell with a memory: whoever has not seen its last ring does not wait."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        """How often the bell rang: to be read before looking for work, and handed to `wait`."""
        return self._rings

    def set(self) -> None:
        """Rings."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout: float) -> int:
        """Returns when the bell has rung since `seen`, or after `timeout` seconds; the rings so far."""
        with self._condition:
            self._condition.wait_for(lambda: self._rings != seen, timeout)
            return self._rings
