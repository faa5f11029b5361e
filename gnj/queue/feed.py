"""Every change, after its commit, for those who follow: what subscriptions are made of."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

logger = logging.getLogger("gnj.feed")

TOPICS: Final = ("created", "updated", "deleted", "pinged", "ponged", "monitored")
"""What a change can be about: the first three a job, the others what workers say to each other."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was committed.

    Args:
        topic: One of `TOPICS`.
        tenant: Whose it is; nobody else may be told.
        value: The job as it then was; for `ponged` and `monitored` a list of `{workerId, workerType, workerStatus}`; for
            `pinged` None.
    """

    topic: str
    tenant: str
    value: Any = None


Put: TypeAlias = Callable[[Sequence[Change]], None]
"""Takes changes, in their order; called from any thread, must neither block nor raise."""


class Feed:
    """Hands changes on to those who follow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._puts: tuple[Put, ...] = ()

    @property
    def followed(self) -> bool:
        """Whether anybody in this process follows."""
        return bool(self._puts)

    @contextmanager
    def follow(self, put: Put) -> Iterator[None]:
        """While the block lasts, `put` is called with what changes."""
        with self._lock:
            self._puts += (put,)
        try:
            yield
        finally:
            with self._lock:
                # by identity: a bound method is equal to itself, but two followers may be equal as well
                self._puts = tuple(each for each in self._puts if each is not put)

    def publish(self, changes: Sequence[Change]) -> None:
        """Hands changes, which are committed, to everybody who follows."""
        for put in self._puts:
            try:
                put(changes)
            except Exception:
                logger.exception("a follower failed")
