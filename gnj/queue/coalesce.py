"""What threads ask for at the same time, carried out together: one statement and one commit for many callers.

While one batch is being carried out, by the thread of one who asks, the next one gathers. Who comes alone does not wait:
there is no timer, and no thread of its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from enum import Enum, auto
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast
from weakref import WeakSet

from gnj.queue import deadline
from gnj.queue.deadline import Deadline
from gnj.queue.errors import StorageUnavailable, TimedOut
from gnj.queue.later import Get, Later, Spawn

T = TypeVar("T")
R = TypeVar("R")
Answers: TypeAlias = "Sequence[R | Exception | Mark]"

_TICK: Final = 0.1
"""Seconds between two looks at those who wait without a thread."""
_IDLE: Final = 20
"""Looks at nothing after which there are none."""
_INTERRUPTED: Final = "The operation was interrupted: it may have taken effect, or not"
_LATE: Final = "The operation took longer than it may, together with others: it may take effect, or not"


class _State(Enum):
    WAITS = auto()
    LEADS = auto()
    """It is this one's turn to carry out the next batch."""
    TAKEN = auto()
    """It is in the batch that is being carried out."""
    ANSWERED = auto()
    ALONE = auto()
    """It is carried out by a thread of its own: the batch failed and left nothing behind, or this one is not for sharing."""
    LATE = auto()
    """Its time was up while it waited without a thread."""


class Mark(Enum):
    """Stands in the place of an answer."""

    ALONE = auto()
    """The item is to be carried out alone."""


class _Call(Generic[T, R]):
    """An item, and who is to have its answer."""

    __slots__ = ("_wake", "answer", "item", "limit", "state", "thread")

    def __init__(self, item: T, limit: Deadline | None, thread: int, wake: Callable[[_Call[T, R]], None]) -> None:
        self.item = item
        self.limit = limit
        self.thread = thread
        """The one that waits for it; `_NONE` as long as no thread does."""
        self.state = _State.WAITS
        self.answer: R | Exception | None = None
        self._wake = wake

    def wake(self) -> None:
        """There is news."""
        # It is handed itself: one that knew it would make a circle of all that a request has, 75 objects, which only the cyclic
        # collector takes apart. That took a quarter of a server's time.
        self._wake(self)


class Coalescer(Generic[T, R]):
    """Calls `work` for one item or for many. Safe to share between threads, and usable in a forked process.

    A batch that fails is carried out again item by item, so that nobody suffers from another's. But not where the database
    could not be reached (`StorageUnavailable`): that is no item's fault, and what was sent may have taken effect.

    Args:
        work: Gives an answer for each item, in order: a value, or the exception that its caller is raised. What it raises
            itself must have left nothing behind, unless it is `StorageUnavailable`. Called in the thread of one of the
            callers, with the latest of their deadlines, and not by two at a time, but for what is carried out alone.
        limit: Items in one call of it at most.
        alone: Carries out one item, which `work` has answered `Mark.ALONE` or a batch of which has failed; `work`, unless given.
    """

    _watched: set[_Call[T, R]]
    """Those who wait without a thread, and only for a time."""
    _watcher: threading.Thread | None
    _leader: int | None
    """The thread that carries out a batch, or is about to (`_NONE`: it is not known yet); nobody waits without one."""

    def __init__(
        self, work: Callable[[list[T]], Answers[R]], limit: int, alone: Callable[[T], R] | None = None
    ) -> None:
        self._work = work
        self._limit = limit
        self._alone = self._by_itself if alone is None else alone
        self._begin()
        _ALL.add(self)

    def submit(self, item: T) -> R:
        """The answer to `item`; raises what `work` raises or answers.

        Raises `TimedOut` when the deadline of the caller passes before.
        """
        limit = deadline.current()
        if limit is not None:
            limit.check()
        me = threading.get_ident()
        if self._leader == me:  # within `work`: it cannot wait for itself
            return self._by_itself(item)
        try:
            if self._begins(me):  # there is nobody to share with: those who come now gather for the next
                return self._by_itself(item)
        finally:
            if self._leader == me:
                with self._lock:
                    self._appoint()
        bell = threading.Lock()
        bell.acquire()
        call: _Call[T, R] = _Call(item, limit, me, lambda _: bell.release())
        try:
            self._wait(call, bell)
            if call.state is _State.LEADS:
                self._lead(call)
        finally:
            if call.state not in _OVER:
                self._leave(call)
        return self._answer(call)

    def later(self, item: T) -> Later[R]:
        """The answer to `item`, held to the deadline of the caller, for who need not wait: no thread of those that ask does."""
        return Later(partial(self.submit, item), partial(self._ask, item, deadline.current()))

    def _ask(self, item: T, limit: Deadline | None, spawn: Spawn, told: Callable[[Get[R]], None]) -> None:
        if self._leader == threading.get_ident():
            told(partial(self._by_itself, item))
            return

        def wake(call: _Call[T, R]) -> None:
            if call.state in _WORKS:
                spawn(partial(self._go_on, call, told))
            else:  # it is told by who has the news, rather than by a thread that would have to be woken for it
                told(partial(self._answer, call))

        call: _Call[T, R] = _Call(item, limit, _NONE, wake)
        if self._joins(call):
            call.wake()
        elif limit is not None:
            self._watch(call)

    def _watch(self, call: _Call[T, R]) -> None:
        """Has it told when its time is up: no thread waits for that."""
        with self._lock:
            if call.state not in _WAITING:
                return
            self._watched.add(call)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._look, name="gnj-late", daemon=True)
                try:
                    self._watcher.start()
                except RuntimeError:  # the machine has none left: it is told when the batch is over
                    self._watcher = None

    def _look(self) -> None:
        idle = 0
        while True:
            time.sleep(_TICK)
            with self._lock:
                self._watched = {call for call in self._watched if call.state in _WAITING}
                idle = 0 if self._watched else idle + 1
                if idle > _IDLE:
                    self._watcher = None
                    return
                late = [call for call in self._watched if call.limit is not None and call.limit.left() < 0]
                for call in late:
                    if call.state is _State.WAITS:
                        self._waiting.remove(call)
                    call.answer = TimedOut() if call.state is _State.WAITS else TimedOut(_LATE)
                    call.state = _State.LATE
            for call in late:
                call.wake()

    def _go_on(self, call: _Call[T, R], told: Callable[[Get[R]], None]) -> None:
        """There is work to do for who did not wait."""
        if call.state is _State.LEADS:
            self._leader = call.thread = threading.get_ident()
            try:
                if call.limit is not None:
                    call.limit.check()
            except TimedOut as late:
                self._leave(call)
                call.answer, call.state = late, _State.ANSWERED
            else:
                # what ends a thread is nobody's there: it is answered for all of the batch
                with suppress(BaseException):
                    self._lead(call)
        told(partial(self._answer, call))

    def _answer(self, call: _Call[T, R]) -> R:
        return self._alone(call.item) if call.state is _State.ALONE else _given(cast("R | Exception", call.answer))

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting = deque[_Call[T, R]]()
        self._watched = set()
        self._watcher = None
        self._leader = None

    def _begins(self, thread: int) -> bool:
        """Takes the lead for a thread, if nobody has it."""
        with self._lock:
            if self._leader is not None:
                return False
            self._leader = thread
            return True

    def _joins(self, call: _Call[T, R]) -> bool:
        """Adds it to those who wait, or gives it the lead if nobody has it: True."""
        with self._lock:
            if self._leader is None:
                self._leader, call.state = call.thread, _State.LEADS
                return True
            self._waiting.append(call)
            return False

    def _wait(self, call: _Call[T, R], bell: threading.Lock) -> None:
        """Returns when it is the turn of `call` to lead, or when it is over."""
        if self._joins(call) or bell.acquire(timeout=-1 if call.limit is None else max(0.0, call.limit.left())):
            return
        with self._lock:
            if call.state is _State.WAITS:
                self._waiting.remove(call)
                raise TimedOut
            if call.state is _State.TAKEN:
                raise TimedOut(_LATE)

    def _lead(self, first: _Call[T, R]) -> None:
        """Carries out a batch, and passes the lead on."""
        calls = [first]
        answers: list[R | Exception | Mark] | None = None
        try:
            self._gather(calls)
            answers = self._together(calls)
        except StorageUnavailable as error:
            # an exception of its own for each: threads that raise the same one write into it
            answers = [error, *(type(error)(str(error)) for _ in calls[1:])]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one item's, and raised to that one
            if len(calls) == 1:
                answers = [error]
        except BaseException:
            answers = [StorageUnavailable(_INTERRUPTED) for _ in calls]
            raise
        finally:
            with self._lock:  # the next leader before all others: the database waits for that one
                self._appoint()
                self._watched.difference_update(calls)
                told = [call for call in calls if call is not first and call.state is not _State.LATE]
                for place, call in enumerate(calls):
                    if call.state is _State.LATE:
                        continue
                    answer = Mark.ALONE if answers is None else answers[place]
                    if isinstance(answer, Mark):
                        call.state = _State.ALONE
                    else:
                        call.answer, call.state = answer, _State.ANSWERED
            for call in told:
                call.wake()

    def _gather(self, calls: list[_Call[T, R]]) -> None:
        """Adds those who wait and can share a deadline with the first: some time or other, or none."""
        passed = []
        alike = _limited(calls[0])
        with self._lock:
            while self._waiting and len(calls) < self._limit:
                call = self._waiting.popleft()
                if _limited(call) == alike:
                    call.state = _State.TAKEN
                    calls.append(call)
                else:
                    passed.append(call)
            self._waiting.extendleft(reversed(passed))

    def _together(self, calls: Sequence[_Call[T, R]]) -> list[R | Exception | Mark]:
        limits = [call.limit for call in calls if call.limit is not None]
        latest = max(limits, key=lambda limit: limit.ends) if limits else None
        with nullcontext() if latest is None or latest is deadline.current() else deadline.instead(latest):
            answers = self._work([call.item for call in calls])
        return [answer for _, answer in zip(calls, answers, strict=True)]

    def _appoint(self) -> None:
        """Gives the lead to the first of those who wait; the lock is held."""
        if not self._waiting:
            self._leader = None
            return
        call = self._waiting.popleft()
        self._leader, call.state = call.thread, _State.LEADS
        call.wake()

    def _leave(self, call: _Call[T, R]) -> None:
        """Does without the answer."""
        with self._lock:
            if call.state is _State.LEADS:
                self._appoint()
            with suppress(ValueError):  # it is not among them any more, or not yet
                self._waiting.remove(call)

    def _by_itself(self, item: T) -> R:
        (answer,) = self._work([item])
        return self._alone(item) if isinstance(answer, Mark) else _given(answer)


def _limited(call: _Call[T, R]) -> float | None:
    return None if call.limit is None else call.limit.statement


def _given(answer: R | Exception) -> R:
    if isinstance(answer, Exception):
        raise answer
    return answer


_NONE: Final = 0
"""No thread has that number."""
_OVER: Final = frozenset({_State.ANSWERED, _State.ALONE})
_WORKS: Final = frozenset({_State.LEADS, _State.ALONE})
"""There is something to be done, which takes a thread."""
_WAITING: Final = frozenset({_State.WAITS, _State.TAKEN})
_ALL: Final[WeakSet[Coalescer[Any, Any]]] = WeakSet()
"""For a forked process, in which nobody waits who waited in the first one."""


def _after_fork() -> None:
    for each in list(_ALL):
        each._begin()  # noqa: SLF001 - here, where there is one thread only: of several each would begin anew


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
