"""Threads that tell others of what was committed, for as long as anybody wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from typing import Final

from gnj.queue.feed import Change, Feed

MOST: Final = 100_000
"""Changes that wait for such a thread; those of a single transaction may be more."""


class Behind(Exception):
    """More was committed than could be told: what has waited until now is lost."""


class Run:
    """One life of such a thread.

    Args:
        feed: What is followed from here on, until `following` is closed.
    """

    def __init__(self, feed: Feed) -> None:
        self._inbox: SimpleQueue[Sequence[Change]] = SimpleQueue()
        # who puts adds to the one number, one after the other, and who takes to the other: neither needs a lock
        self._put_ever = self._taken_ever = 0
        self._is_behind = False
        self.following = ExitStack()
        self.following.enter_context(feed.follow(self._put))

    def take(self, timeout: float | None = None) -> list[Change]:
        """All that was committed since the last call, as soon as there is anything; nothing after `timeout` seconds, and when
        somebody has left. Raises `Behind`, once; what is committed from then on is given again.
        """
        try:
            parts = [self._inbox.get(timeout=timeout)]
        except Empty:
            return []
        parts += [self._inbox.get() for _ in range(self._inbox.qsize())]
        changes = [change for part in parts for change in part]
        self._taken_ever += len(changes)
        if self._is_behind:
            self._is_behind = False
            raise Behind
        return changes

    def wake(self) -> None:
        """Has `take` return: somebody has left."""
        self._inbox.put(())

    def _put(self, changes: Sequence[Change]) -> None:
        if self._put_ever - self._taken_ever >= MOST:
            self._is_behind = True
            return
        self._put_ever += len(changes)
        self._inbox.put(changes)
