"""One unit of work: the transaction a command runs in, and what has to happen after its commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gnj.queue.storage import Rows


@dataclass(slots=True)
class Unit:
    """What every rule is handed: the transaction and the few things that are not in it."""

    tx: Rows
    lease: float
    """Seconds of a claim made without a lease of its own."""
    random: Callable[[], float]
    """Gives a number from 0 to 1, for jitter."""
    ready: bool = False
    """A job may have become ready: whoever waits for work is woken after the commit."""
