"""How long the work of a request may take (security.md, section 1): set around it, and obeyed by whatever it comes to.

What a request asks for is done in one thread, through rules, resolvers and storages that know nothing of requests. So the
limit is not handed through them all: it is in a context variable, which a storage reads when a transaction begins and before
it commits. Workers and the upkeep set none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from gnj.queue.errors import TimedOut


@dataclass(frozen=True, slots=True)
class Deadline:
    """When the work must have ended.

    Args:
        ends: By `time.monotonic`.
        statement: Seconds that one statement in a database may take.
    """

    ends: float
    statement: float

    def left(self) -> float:
        """Seconds until then; negative once it has passed."""
        return self.ends - time.monotonic()

    def check(self) -> None:
        """Raises `TimedOut` once it has passed."""
        if self.left() < 0:
            raise TimedOut


_CURRENT: ContextVar[Deadline | None] = ContextVar("gnj_deadline", default=None)


@contextmanager
def within(seconds: float, statement: float) -> Iterator[Deadline]:
    """What is done in the block must end within `seconds`, each of its statements within `statement`.

    A block inside another one has no more time than that one leaves it.
    """
    outer = _CURRENT.get()
    ends = time.monotonic() + seconds
    if outer is not None:
        ends, statement = min(ends, outer.ends), min(statement, outer.statement)
    deadline = Deadline(ends, statement)
    token = _CURRENT.set(deadline)
    try:
        yield deadline
    finally:
        _CURRENT.reset(token)


def of_statement() -> float | None:
    """The seconds that a statement may take; None: as many as it needs."""
    deadline = _CURRENT.get()
    return None if deadline is None else deadline.statement


def current() -> Deadline | None:
    """The limit of what is being done in this thread or task; None where there is none."""
    return _CURRENT.get()
