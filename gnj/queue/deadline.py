"""How long the work of a request may take (security.md, section 1): set around it, and obeyed by whatever it comes to.

What a request asks for is done in one thread, through rules, resolvers and storages that know nothing of requests. So the
limit is not handed through them all: it is in a context variable, which a storage reads when a transaction begins and before
it commits. Workers and the upkeep set none.
"""

from __future__ import annotations

import time
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


class within:  # noqa: N801 - used as a function; as a generator it takes 3 us, once for each request
    """What is done in the block must end within `seconds`, each of its statements within `statement`.

    A block inside another one has no more time than that one leaves it.
    """

    __slots__ = ("_deadline", "_token")

    def __init__(self, seconds: float, statement: float) -> None:
        outer = _CURRENT.get()
        ends = time.monotonic() + seconds
        if outer is not None:
            ends, statement = min(ends, outer.ends), min(statement, outer.statement)
        self._deadline = Deadline(ends, statement)

    def __enter__(self) -> Deadline:
        self._token = _CURRENT.set(self._deadline)
        return self._deadline

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)


class instead:  # noqa: N801 - see above
    """What is done in the block is held to `limit`, whatever it was held to before."""

    __slots__ = ("_limit", "_token")

    def __init__(self, limit: Deadline) -> None:
        self._limit = limit

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._limit)

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)


def of_statement() -> float | None:
    """The seconds that a statement may take; None: as many as it needs."""
    deadline = _CURRENT.get()
    return None if deadline is None else deadline.statement


def current() -> Deadline | None:
    """The limit of what is being done in this thread or task; None where there is none."""
    return _CURRENT.get()
