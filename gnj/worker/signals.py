"""How the thread in `Worker.run` is told that it is over, by a signal or by another thread."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any, Self

ENDED = 0
"""What `tell` leaves, in place of a signal's number."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Inbox:
    """While its block lasts, SIGTERM and SIGINT are left here instead of being acted upon, if this is the main thread.

    The interpreter itself writes the signals into a socket (`signal.set_wakeup_fd`). A Python handler that sets an Event
    or fills a queue is not enough: it runs once the main thread runs again, and a signal that arrives just before that
    thread begins to wait does not end its wait (1 of 40 processes that were told to stop while they started).
    """

    def __init__(self) -> None:
        self._ending = ExitStack()
        self._out, self._in = socket.socketpair()
        self._in.settimeout(0)

    def __enter__(self) -> Self:
        self._ending.callback(self._in.close)
        self._ending.callback(self._out.close)
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(self._in.fileno(), warn_on_full_buffer=False)
            self._ending.callback(signal.set_wakeup_fd, before)
            for number in _SIGNALS:
                self._ending.callback(_restore, number, signal.signal(number, _noted))
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def tell(self) -> None:
        """Leaves `ENDED`; any thread may."""
        self._in.send(bytes([ENDED]))

    def get(self) -> int:
        """The next that was left, waited for."""
        while True:
            # A host's handlers of other signals leave their numbers, too.
            number = self._out.recv(1)[0]
            if number == ENDED or number in _SIGNALS:
                return number


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Without a handler in Python the interpreter would not write the signal down."""


def _restore(number: signal.Signals, handler: Callable[..., Any] | int | None) -> None:
    signal.signal(number, signal.SIG_DFL if handler is None else handler)
