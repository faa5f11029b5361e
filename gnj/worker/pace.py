"""How fast jobs end, and what a worker makes of it: how many it claims ahead, and how long ends gather.

A claim and an end cost a statement and a commit each, some milliseconds of which one job pays all and 500 pay a five
hundredth. So a worker whose jobs are short claims more of them than it can run at once, and tells how they ended in bulk.
What is ahead is never more than a moment's work, so that urgent jobs, holds and other workers wait no longer than that.
"""

from __future__ import annotations

import math
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
LONG: Final = 0.01
"""Seconds that a handler takes which needed the help. One that had but waited for the interpreter, which others let go of after 5 ms
each, takes 7."""
SOON: Final = 0.05
"""Seconds after which one thread is tried again that had got help, unless such a handler has been seen."""
AGAIN: Final = 1.0
"""Seconds after which one thread is tried again where it seemed to be too few; twice as many after each time that did not last as long."""
SELDOM: Final = 30.0
"""But no more than that: such a trial of 0.1 s cost 10 to 20 % each second where half of the jobs wait for 3 ms."""
KNOWN: Final = 150
"""Ends before it is tried for the first time."""
_WEIGHT: Final = 0.001
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
        self._told = self._ended = self._seen = self._known = 0
        self._since = now
        self._last = -math.inf
        self._again = self._alone = now
        self._wait, self._soon = AGAIN / 2, SOON / 2

    def told(self, count: int) -> None:
        """So many ends were told: what cannot be told is no reason to claim more."""
        self._told += count

    def slow(self) -> None:
        """Jobs take longer than was foreseen: none is claimed ahead until the rate has been measured anew."""
        self._rate, self._told = 0.0, 0

    def ended(self, now: float, took: float, *, threaded: bool) -> None:
        """A handler has come back, after so many seconds, on a thread of its own or on the event loop."""
        if now - self._last >= FORGOTTEN:
            self._took, self._known, self._again = 1.0, 0, now
            self._wait, self._soon = AGAIN / 2, SOON / 2
        self._ended += 1
        self._last = now
        took = min(took, 1.0)
        self._mean += (took - self._mean) * _RECENT
        if threaded:
            self._learn(now, took)

    def short(self, now: float) -> bool:
        """Whether handlers take no longer than switching between threads does: then one thread runs them all faster than
        several, which would wait for each other (no-op jobs: 11 µs each, not 17 to 21 with eight threads).

        What was so a while ago says nothing of the jobs that come now. And that several threads take long says little: they wait
        for each other, and for those that claim and tell (no-op jobs: 270 µs each, of which one thread took 28). So it is
        tried anew from time to time, with a handler that took no longer.
        """
        return self._took < SHORT and now - self._last < FORGOTTEN

    def _learn(self, now: float, took: float) -> None:
        """How long a handler took, `TICK` at most: what takes longer is `stuck`. Those that began beside others say nothing."""
        self._known += 1
        alone = self._took < SHORT
        if took < SHORT and not alone and self._known >= KNOWN and now >= self._again:
            self._took, self._alone = took, now
        elif not now - took < self._alone < now:
            self._took += (min(took, TICK) - self._took) * _WEIGHT
        gives_up = alone and self._took >= SHORT
        if gives_up:
            self._wait = self._longer(self._wait, AGAIN, SELDOM, now)
        if self._took < SHORT or took >= LONG or gives_up:
            self._again = now + max(self._wait, AGAIN)

    def _longer(self, wait: float, first: float, most: float, now: float) -> float:
        """How long to wait for the next trial after one that is over, and waited for `wait`: the first time again, if it lasted."""
        return first if now - self._alone >= AGAIN else min(2 * wait, most)

    def stuck(self) -> bool:
        """Whether none has ended since this was asked before; then `short` is no more, until many are."""
        stuck = self._ended == self._seen
        self._seen = self._ended
        if stuck:
            if self._took < SHORT:
                self._soon = self._longer(self._soon, SOON, AGAIN, self._last)
            self._took, self._again = 1.0, self._last + self._soon
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
