"""Names, looked up on few threads: a look-up takes as long as it takes, and nothing ends one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from gnj.fetch.waits import GoOn, steps

T = TypeVar("T")

MOST: Final = 32
"""Names that are looked up at once."""


@dataclass(eq=False, slots=True)
class _LookUp(Generic[T]):
    key: Hashable
    look: Callable[[], T]
    done: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0
    """Who still waits for it; where nobody does, it is not begun."""
    found: T | None = None
    error: Exception | None = None


class LookUps(Generic[T]):
    """Looks up what is asked for, at most `MOST` at once; what several ask for at the same time, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Hashable, _LookUp[T]] = {}
        self._queued: deque[_LookUp[T]] = deque()
        self._threads = 0

    def get(self, key: Hashable, look: Callable[[], T], deadline: float, go_on: GoOn | None = None) -> T:
        """What `look` gives or raises. Raises TimeoutError at the deadline (`time.monotonic`), OSError where there is no thread.

        Args:
            key: Alike for those that look for the same.
            look: Looks.
            deadline: Until when the caller waits; the look-up itself may go on.
            go_on: Asked meanwhile; see `gnj.fetch.waits`.
        """
        with self._lock:
            asked = self._asked.get(key)
            if asked is None:
                asked = _LookUp(key, look)
                if self._threads < MOST:
                    self._start()
                self._asked[key] = asked
                self._queued.append(asked)
            asked.waiting += 1
        try:
            any(map(asked.done.wait, steps(deadline, go_on)))
        finally:
            with self._lock:
                asked.waiting -= 1
        if asked.error is not None:
            raise asked.error
        return asked.found  # type: ignore[return-value]  # there is no error: it was found

    def _start(self) -> None:
        """One more thread; the lock is held."""
        try:
            threading.Thread(target=self._run, name="gnj-look-up", daemon=True).start()
        except RuntimeError as error:
            if not self._threads:
                raise OSError("the system has no thread left") from error
        else:
            self._threads += 1

    def _run(self) -> None:
        while (asked := self._next()) is not None:
            try:
                asked.found = asked.look()
            except Exception as error:  # noqa: BLE001 - is raised by who waits
                asked.error = error
            with self._lock:
                del self._asked[asked.key]
            asked.done.set()

    def _next(self) -> _LookUp[T] | None:
        """What is to be looked up next; None where there is nothing, and the thread has to end."""
        with self._lock:
            while self._queued:
                asked = self._queued.popleft()
                if asked.waiting:
                    return asked
                del self._asked[asked.key]
            self._threads -= 1
            return None
