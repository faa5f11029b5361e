"""How those who wait for work in this process learn that there may be some."""

from __future__ import annotations

import math
import os
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol, TypeAlias

STEP: Final = 0.01
"""Seconds: of moments that are nearer to each other the latest counts."""
HORIZON: Final = 60.0
"""Seconds from now beyond which no moment is remembered: who looks for work once in a while is early enough."""


class Receiver(Protocol):
    """Where the signals of other processes arrive."""

    @property
    def is_connected(self) -> bool:
        """Whether they can at the moment."""

    def wait(self, timeout: float) -> bool:
        """Whether one has come, at the latest after `timeout` seconds; earlier and without one where `interrupt` asks for it.

        Called by one thread at a time. Raises nothing.
        """

    def interrupt(self) -> None:
        """Has `wait` return; where nobody waits, the next one. Called by any thread, also while `wait` goes on. Raises nothing."""


Through: TypeAlias = Callable[[Receiver], AbstractContextManager[None]]
"""Lends a receiver to those who wait, for as long as the block lasts."""
Listening: TypeAlias = AbstractContextManager[Callable[[], bool]]
"""While the block lasts, signals of other processes are heard; it is given what says whether they arrive at the moment."""


class Wake:
    """A bell with a memory: whoever has not seen its last ring does not wait.

    One of those who wait does so at a `Receiver`, where there is one, and rings for the others: a thread that only listened
    would have to wake another one for each signal, which is 0.1 ms, and on busy machines some milliseconds for one signal in
    500 (decision 0038).
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0
        self._process = os.getpid()
        self._receivers: list[Receiver] = []
        """Of that process: where a forked one waits as well, signals come to one of the two."""
        self._receiving: Receiver | None = None
        """Where somebody waits."""
        self._moments: list[int] = []
        """When it is to ring by itself, in steps, in order."""

    @property
    def rings(self) -> int:
        """How often the bell rang: to be read before looking for work, and handed to `wait`."""
        return self._rings

    def set(self) -> None:
        """Rings."""
        with self._condition:
            self._ring()

    def set_in(self, seconds: float) -> None:
        """Rings so many seconds from now, or a moment later; for who waits later than that, when they begin to."""
        if seconds > HORIZON:
            return
        moment = math.ceil((time.monotonic() + seconds) / STEP)
        with self._condition:
            self._pass(time.monotonic())  # of who never waits, they would be remembered for ever
            place = bisect_left(self._moments, moment)
            if self._moments[place : place + 1] != [moment]:
                self._moments.insert(place, moment)
                self._stir()  # who waits has to wait less

    def wait(self, seen: int, timeout: float) -> int:
        """Returns when the bell has rung since `seen`, or after `timeout` seconds; the rings so far."""
        end = time.monotonic() + timeout
        with self._condition:
            while True:
                now = time.monotonic()
                self._pass(now)
                if self._rings != seen or now >= end:
                    return self._rings
                until = min(end, self._moments[0] * STEP) if self._moments else end
                if self._receiving is None and (receiver := self._best()) is not None:
                    self._receive(receiver, until - now)
                else:
                    self._condition.wait(until - now)

    @contextmanager
    def through(self, receiver: Receiver) -> Iterator[None]:
        """While the block lasts, whoever waits may do so at `receiver`; nobody does any more when it has ended."""
        process = os.getpid()
        with self._condition:
            if self._process != process:
                self._process, self._receivers, self._receiving = process, [], None
            self._receivers.append(receiver)
            self._stir()
        try:
            yield
        finally:
            if process == os.getpid():  # what a forked process leaves is not its own
                with self._condition:
                    self._receivers.remove(receiver)
                    while self._receiving is receiver:
                        receiver.interrupt()
                        self._condition.wait()

    # The condition is held by the callers of all that follows. --------------------------------------------------------

    def _ring(self) -> None:
        self._rings += 1
        self._stir()

    def _stir(self) -> None:
        """Has those who wait look again."""
        self._condition.notify_all()
        if self._receiving is not None:
            self._receiving.interrupt()

    def _best(self) -> Receiver | None:
        """Where to wait: the last one, unless only others are connected."""
        if not self._receivers or self._process != os.getpid():
            return None
        return next((each for each in reversed(self._receivers) if each.is_connected), self._receivers[-1])

    def _receive(self, receiver: Receiver, timeout: float) -> None:
        """Waits at a receiver, without the condition, and rings when a signal came."""
        came = False
        self._receiving = receiver
        try:
            self._condition.release()
            try:
                came = receiver.wait(timeout)
            finally:
                self._condition.acquire()
        finally:
            self._receiving = None  # first of all: a thread that is interrupted may not have the condition
            self._rings += came
            self._condition.notify_all()  # also for nothing: the next one who waits does so at the receiver

    def _pass(self, now: float) -> None:
        """Rings for the moments that have come."""
        if over := bisect_right(self._moments, now / STEP):
            del self._moments[:over]
            self._ring()
