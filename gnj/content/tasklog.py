"""The log of a task."""

from __future__ import annotations

import threading

from gnj.queue.values import clean_text
from gnj.queue.working import ERROR, INFORMATION, WARNING, Line


def counted(count: int, one: str, many: str) -> str:
    """What a log says of a number of things: "1 entry was", "2 entries were"."""
    return f"{count:,} {one} was" if count == 1 else f"{count:,} {many} were"


class TaskLog:
    """The log of a task. Lines are kept until the next checkpoint, which stores them; any thread may write.

    Like `logging`, a message is formatted with its arguments, and only then.
    """

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._lock = threading.Lock()

    def info(self, message: str, *args: object) -> None:
        """Adds a line INFORMATION."""
        self._add(INFORMATION, message, args)

    def warning(self, message: str, *args: object) -> None:
        """Adds a line WARNING."""
        self._add(WARNING, message, args)

    def error(self, message: str, *args: object) -> None:
        """Adds a line ERROR."""
        self._add(ERROR, message, args)

    def add(self, line: Line) -> None:
        """Adds a line as it is, of any level."""
        with self._lock:
            self._lines.append(line)

    @property
    def waiting(self) -> int:
        """Lines that are not stored yet."""
        return len(self._lines)

    def peek(self) -> list[Line]:
        """Those lines."""
        with self._lock:
            return self._lines.copy()

    def drop(self, count: int) -> None:
        """Forgets the first ones: they are stored."""
        with self._lock:
            del self._lines[:count]

    def keep(self, count: int) -> None:
        """Forgets all but the first ones: what they tell of will be done again."""
        with self._lock:
            del self._lines[count:]

    def _add(self, level: str, message: str, args: tuple[object, ...]) -> None:
        self.add(Line(level, clean_text(message % args if args else message)))
