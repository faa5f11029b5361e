"""How long to wait before the queue is asked again, and what is said while it does not answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from random import SystemRandom  # that of the module `random` is the host's, who may have seeded it
from typing import TypeVar

from gnj.queue.errors import GnjError
from gnj.queue.retry import Exponential

T = TypeVar("T")

logger = logging.getLogger("gnj.worker")

# Five seconds is well below a worker's usual lease of thirty: a claim outlives an outage that ends in time for one more
# try. The jitter keeps workers that lost the same database from coming back as one.
_WAIT = Exponential(0.1, maximum=5.0, jitter=0.5)


def pause(failures: int) -> float:
    """Seconds to wait after the `failures`th failure (1 or more) in a row."""
    return _WAIT.wait(min(failures, 20), SystemRandom().random)


class Outages:
    """Asks the queue on behalf of several threads and logs each outage once, however many of them run into it.

    An outage lasts until whatever failed in it has succeeded again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing: set[str] = set()
        self._since = 0.0

    def ask(self, what: str, question: Callable[[], T]) -> T | None:
        """The answer, or None where it failed, in whatever way; `what` names the question."""
        try:
            answer = question()
        except Exception as error:  # noqa: BLE001 - nothing a storage raises may end the worker
            self._failed(what, error)
            return None
        self.over(what)
        return answer

    def over(self, what: str) -> None:
        """The question named `what` is answered, or need not be asked any more."""
        if what not in self._failing:
            return
        with self._lock:
            self._failing.discard(what)
            if not self._failing:
                logger.info("the queue answers again after %.1f s", time.monotonic() - self._since)

    def _failed(self, what: str, error: Exception) -> None:
        with self._lock:
            first = not self._failing
            self._failing.add(what)
            if first:
                self._since = time.monotonic()
                # An error that is not gnj's own was not foreseen: only its traceback tells where it comes from.
                foreseen = isinstance(error, GnjError)
                logger.warning(
                    "cannot %s, trying again until it works: %s: %s",
                    what,
                    type(error).__name__,
                    error,
                    exc_info=None if foreseen else error,
                )
