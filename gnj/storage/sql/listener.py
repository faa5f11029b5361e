"""Hearing of what other processes committed: a thread with a connection of its own, that is made again when it is lost."""

from __future__ import annotations

import logging
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final

from sqlalchemy import Engine

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to connect again: from the first, doubled each time, to the longest."""

_log = logging.getLogger("gnj.storage")


class Lost(Exception):
    """The connection tells of nothing any more."""


class Bell:
    """Has a thread look up that waits for `rung` to be readable: a byte for each ring, and the end of it once it is closed."""

    def __init__(self) -> None:
        self._rope, self.rung = socket.socketpair()
        self._rope.settimeout(0.0)

    def ring(self) -> None:
        """From any thread; raises nothing."""
        with suppress(OSError):  # it has rung for good, or so often that once more makes no difference
            self._rope.send(b"!")

    def close(self) -> None:
        """Rings for good."""
        self._rope.close()


class Listener(ABC):
    """Calls `wake` from a thread of its own; the connection is outside the pool.

    Args:
        engine: Where connections come from.
        wake: What is called.
        wants: "jobs" or "changes".
    """

    def __init__(self, engine: Engine, wake: Callable[[], None], wants: str) -> None:
        self._engine = engine
        self._wake = wake
        self._wants = wants
        self._tried = threading.Event()
        self._hears = threading.Event()
        self._heard_before = False
        self._pause = FIRST_PAUSE
        self._bell = Bell()
        self._thread = threading.Thread(target=self._run, name="gnj-listen", daemon=True)

    @contextmanager
    def listening(self) -> Iterator[Callable[[], bool]]:
        """No signal is missed from the first line of the block on, unless the first attempt to connect fails: what fails is
        tried again. The function given says whether signals arrive, as far as is known.
        """
        self._thread.start()
        self._tried.wait()
        try:
            yield self._hears.is_set
        finally:
            self._end()
            self._thread.join(timeout=1.0)  # one that hangs in a dead network is left behind

    @abstractmethod
    def _attend(self, raw: Any) -> None:
        """Calls `_begun` once nothing is missed any more, then `_wake` for each signal, until the bell rings."""

    def _end(self) -> None:
        """Has the thread end: rings the bell for good."""
        self._bell.close()

    def _begun(self) -> None:
        if self._heard_before:
            self._wake()  # for what was said while nobody listened
        self._pause, self._heard_before = FIRST_PAUSE, True
        self._hears.set()
        self._tried.set()

    def _rang(self, seconds: float) -> bool:
        """Whether the bell rang for good within `seconds`; earlier when the thread is to look up."""
        self._bell.rung.settimeout(seconds)
        try:
            return not self._bell.rung.recv(64)
        except (TimeoutError, BlockingIOError):  # the latter when there was nothing to wait for
            return False

    def _paused(self) -> bool:
        """Waits before the next attempt to connect; false when the bell rang for good."""
        end = monotonic() + self._pause
        while (left := end - monotonic()) > 0:
            if self._rang(left):
                return False
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return True

    def _connect(self) -> Any:
        """A driver's connection, made as the engine makes its own, that the pool knows nothing of any more."""
        borrowed = self._engine.raw_connection()
        raw = borrowed.driver_connection
        borrowed.detach()
        return raw

    def _run(self) -> None:
        with self._bell.rung:
            while True:
                try:
                    raw = self._connect()
                    try:
                        self._attend(raw)
                        return
                    finally:
                        self._hears.clear()
                        with suppress(Exception):
                            raw.close()
                except Exception as error:  # noqa: BLE001 - whatever a driver or network comes up with: try again
                    self._tried.set()
                    _log.warning(
                        "not woken by other processes, %s are found by polling (%s); next attempt in %.1f s",
                        self._wants,
                        error if isinstance(error, Lost) else type(error).__name__,
                        self._pause,
                    )
                    if not self._paused():
                        return
