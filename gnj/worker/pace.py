"""How fast jobs end, and what a worker makes of it: how many it claims ahead, and how long ends gather.

A claim and an end cost a statement and a commit each, some milliseconds of which one job pays all and 500 pay a five
hundredth. So a worker whose jobs are short claims more of them than it can run at once, and tells how they ended in bulk.
What is ahead is never more than a moment's work, so that urgent jobs, holds and other workers wait no longer than that.
"""

from __future__ import annotations

from typing import Final

from gnj.queue.service import MAX_CLAIM

AHEAD: Final = 0.05
"""Seconds of work that are claimed ahead."""
FORGOTTEN: Final = 0.2
"""Seconds without an end after which nothing is known of the jobs that come next."""
GATHER: Final = 0.01
"""Seconds for which ends wait for others at most, while there are more jobs to run."""
WORTH: Final = 8
"""Ends that are worth waiting for."""
ENOUGH: Final = 250
"""Ends that are told at once: more in one statement do not make it cheaper."""
SHORT: Final = 0.0001
"""Seconds: what takes less does not wait for anything, such as a database."""
TICK: Final = 0.005
"""Seconds after which a thread that was to run all short jobs, and has ended none, gets help."""
_WEIGHT: Final = 0.05
_RECENT: Final = 0.2
_WINDOW: Final = 0.005
"""Seconds between two measurements at least."""


class Pace:
    """The measured rate of a worker.

    Args:
        now: When it begins (`time.monotonic`).
    """

    def __init__(self, now: float) -> None:
        self._rate = 0.0
        self._mean = self._took = 1.0
        self._told = self._ended = self._seen = 0
        self._since = self._last = now

    def told(self, count: int) -> None:
        """So many ends were told: what cannot be told is no reason to claim more."""
        self._told += count

    def slow(self) -> None:
        """Jobs take longer than was foreseen: none is claimed ahead until the rate has been measured anew."""
        self._rate, self._told = 0.0, 0

    def ended(self, now: float, took: float, *, threaded: bool) -> None:
        """A handler has come back, after so many seconds, on a thread of its own or on the event loop."""
        self._ended += 1
        self._last = now
        took = min(took, 1.0)
        self._mean += (took - self._mean) * _RECENT
        if threaded:
            self._took += (took - self._took) * _WEIGHT

    def short(self, now: float) -> bool:
        """Whether handlers take no longer than switching between threads does: then one thread runs them all faster than
        several, which would wait for each other (no-op jobs: 11 µs each, not 17 to 21 with eight threads).

        What was so a while ago says nothing of the jobs that come now.
        """
        return self._took < SHORT and now - self._last < FORGOTTEN

    def stuck(self) -> bool:
        """Whether none has ended since this was asked before; then `short` is no more, until many are."""
        stuck = self._ended == self._seen
        self._seen = self._ended
        if stuck:
            self._took = 1.0
        return stuck

    def ahead(self, now: float, slots: int) -> int:
        """How many jobs to claim beyond those that can begin at once on so many slots: none while jobs are few or slow.

        No more than these slots run through in that time, by how long handlers took of late: ends that are told together
        look like speed.
        """
        elapsed = now - self._since
        if elapsed >= _WINDOW:
            measured = self._told / elapsed
            # up at once, down by halves: one pause of the database must not undo what was learnt
            self._rate = max(measured, (self._rate + measured) / 2)
            self._told, self._since = 0, now
        if now - self._last >= FORGOTTEN:
            return 0
        return min(int(min(self._rate, slots / max(self._mean, 1e-6)) * AHEAD), MAX_CLAIM)

    @property
    def gathers(self) -> bool:
        """Whether ends that wait for `GATHER` have company."""
        return self._rate * GATHER >= WORTH
