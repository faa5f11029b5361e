"""Counts that are exact where they cost little, and a moment old where they do not."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from gnj.queue.errors import TimedOut

SLOW: Final = 0.02
"""Seconds that a count may take and be made each time."""
KEPT: Final = 1.0
"""Seconds for which one is told again that took longer; or `SHARE` times as long as it took, if that is more."""
SHARE: Final = 10
"""So that no more than a tenth of a connection's time goes into one count."""
MOST: Final = 10_000
"""Counts that are remembered."""


@dataclass(slots=True)
class _Counted:
    value: Any = None
    failed: bool = False
    """Whether the count was given up, since it took too long."""
    until: float = 0.0
    """On the monotonic clock."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Counts:
    """Counts, of which those that took long are told again for a while, and made by one caller at a time."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, _Counted] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, count: Callable[[], Any], *, fresh: bool) -> Any:
        """What `count` gives, or gave a moment ago; `fresh`: now, and nobody else is told.

        A count that raised `TimedOut` is not made again for a while either: then that is raised.
        """
        if fresh:
            return count()
        with self._lock:
            known = self._known.setdefault(key, _Counted())
        with known.lock:  # who comes while it is counted is told of that
            if time.monotonic() >= known.until:
                self._make(key, known, count)
            if known.failed:
                raise TimedOut
            return known.value

    def _make(self, key: Hashable, known: _Counted, count: Callable[[], Any]) -> None:
        began, slow = time.monotonic(), False
        try:
            known.value, known.failed = count(), False
        except TimedOut:
            if time.monotonic() - began < SLOW:  # the caller had no time left: that says nothing of the count
                raise
            known.failed = slow = True
        finally:
            ended = time.monotonic()
            slow = slow or ended - began >= SLOW
            with self._lock:
                if slow:
                    self._known[key] = known
                    self._known.move_to_end(key)
                    if len(self._known) > MOST:
                        self._known.popitem(last=False)
                elif self._known.get(key) is known:
                    del self._known[key]
        # who waited for a quick one makes their own: they may have changed what is counted since it was begun
        known.until = ended + max(KEPT, SHARE * (ended - began)) if slow else 0.0
