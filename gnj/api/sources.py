"""Subscriptions whose events a function makes: one thread draws them from its iterator, for one subscriber."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final, Protocol, TypeAlias

from gnj.access import RunAsync
from gnj.graphql.errors import ErrorBody, known, masked
from gnj.graphql.limits import Limits
from gnj.queue.errors import GnjError

Values: TypeAlias = Iterator[Any] | AsyncIterator[Any]

_END: Final = object()

_PATIENCE: Final = 1.0
"""Seconds: a burst reaches who reads; who does not, is noticed after this time."""


class Outlet(Protocol):
    """What takes the answers of one subscription, from any thread. Must neither block nor raise."""

    def put(self, body: str, taken: Callable[[], None] | None = None) -> bool:
        """Takes the encoded answer to one event; False: the subscriber is gone, or too slow, and gets no more.

        `taken` is called when the answer leaves the buffer; also when the buffer is thrown away.
        """

    def end(self, errors: list[ErrorBody] | None) -> None:
        """The subscription has ended by itself: with these errors, or because there is no more to come."""


class Backlog:
    """How many events wait for one subscriber, and whether they wait because it does not read. Not for threads.

    Args:
        limits: How many may.
    """

    __slots__ = ("_limits", "_since", "waiting")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since = 0.0
        """When the last one was taken; where none has waited then, when the first one came."""
        self.waiting = 0

    def add(self, now: float) -> bool:
        """One more waits; False: that is one too many."""
        if not self.waiting:
            self._since = now
        patient = now - self._since < _PATIENCE
        if self.waiting >= (self._limits.burst if patient else self._limits.buffered):
            return False
        self.waiting += 1
        return True

    def take(self, now: float, count: int = 1) -> None:
        """So many wait no more."""
        self.waiting -= count
        self._since = now


class Pump:
    """Draws from `values` until they end, or it is closed.

    Args:
        values: What to draw from. An async iterator is driven on the host's loop.
        answer: Makes the encoded answer of a value; None: this one is not to be told.
        outlet: Takes the answers, one at a time: the next value is drawn when the last one was taken.
        run_async: Leads to the host's loop.
        done: Called when the thread ends.
    """

    def __init__(
        self,
        values: Values,
        answer: Callable[[Any], str | None],
        outlet: Outlet,
        run_async: RunAsync | None,
        done: Callable[[], None],
    ) -> None:
        self._values = values
        self._answer = answer
        self._outlet = outlet
        self._run_async = run_async
        self._done = done
        self._lock = threading.Lock()
        self._closed = False
        self._taken = threading.Event()
        self._cancel: Callable[[], None] | None = None
        threading.Thread(target=self._run, name="gnj-subscription", daemon=True).start()

    def close(self) -> None:
        """Draws no more. An async iterator is cancelled where it waits, another one ends after its next value."""
        with self._lock:
            self._closed = True
            cancel = self._cancel
        self._taken.set()
        if cancel is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the iterator with it
                cancel()

    def _run(self) -> None:
        errors: list[ErrorBody] | None = None
        try:
            for value in self._drawn():
                body = None if self._is_closed() else self._answer(value)
                if body is not None:
                    self._taken.clear()
                    # closed before the line above: then nobody sets it any more
                    if self._is_closed() or not self._outlet.put(body, self._taken.set):
                        return
                    self._taken.wait()
                if self._is_closed():
                    return
        except GnjError as error:
            errors = [known(error)]
        except Exception as error:  # noqa: BLE001 - whatever a host's function raises is masked
            errors = [masked(error, "a subscription")]
        finally:
            self._close_values()
            self._done()
        if not self._is_closed():
            self._outlet.end(errors)

    def _is_closed(self) -> bool:
        return self._closed

    def _drawn(self) -> Iterator[Any]:
        if isinstance(self._values, Iterator):
            yield from self._values
            return
        while (value := self._on_loop(self._step)) is not _END:
            yield value

    async def _step(self) -> Any:
        if not isinstance(self._values, AsyncIterator):
            raise TypeError("neither an iterator nor an async one")
        loop = asyncio.get_running_loop()
        step = asyncio.ensure_future(anext(self._values, _END))
        with self._lock:
            if self._closed:
                step.cancel()
            self._cancel = lambda: _call(loop, step.cancel)
        try:
            return await step
        except asyncio.CancelledError:
            if self._is_closed():
                return _END
            raise

    def _on_loop(self, function: Callable[[], Awaitable[Any]]) -> Any:
        if self._run_async is None:
            raise TypeError("there is no event loop for an async iterator")
        return self._run_async(function)

    def _close_values(self) -> None:
        close = getattr(self._values, "close", None) or getattr(self._values, "aclose", None)
        if close is None:
            return
        with contextlib.suppress(Exception):  # there is nobody left whom it could be told
            if isinstance(self._values, Iterator):
                close()
            else:
                self._on_loop(close)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    loop.call_soon_threadsafe(function)
