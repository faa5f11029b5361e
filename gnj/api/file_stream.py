"""A file as the body of an answer, read ahead by a thread of its own; and how many files are on their way at once."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

logger = logging.getLogger("gnj.api")

CHUNK: Final = 256 * 1024
"""Bytes of a piece."""
AHEAD: Final = 4
"""Pieces that are read before they are asked for."""


class Underway:
    """How many files are on their way, in one direction. One that is sent takes a thread, an open file and up to 1 MiB, a part that
    is received two open files and up to 0.5 MiB, for as long as its client likes, or nearly.

    Args:
        most: Of all tenants together, at most.
        each: Of one tenant, so that none keeps the others out.
    """

    def __init__(self, most: int = 64, each: int = 16) -> None:
        self._most, self._each = most, each
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()

    def enter(self, tenant: str) -> Callable[[], None] | None:
        """One more, of that tenant: what is to be called once when it has ended. None if there are too many."""
        with self._lock:
            if self._open.total() >= self._most or self._open[tenant] >= self._each:
                return None
            self._open[tenant] += 1
        return partial(self._leave, tenant)

    def _leave(self, tenant: str) -> None:
        with self._lock:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]


class Source(Protocol):
    """What is sent: a binary file, or what is made while it is read."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; b"" only at the end. What it raises breaks the answer off."""

    def close(self) -> None:
        """Nothing more is read."""


class FileStream:
    """A `gnj.api.http.Stream` of a file, which it closes at its end. At most 1 MiB of it is in memory.

    Args:
        file: Read from where it stands.
        size: Bytes to send; a file that has fewer breaks the answer off. None: all that it has.
        done: Called once, in any thread, when the file was closed. May not raise.
    """

    heartbeat = 60.0

    def __init__(self, file: Source, size: int | None, done: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._done = done
        self._left = math.inf if size is None else size
        self._is_sized = size is not None
        self._pieces: deque[bytes] = deque()
        self._turn = threading.Condition()
        self._ready: Callable[[], None] = _nothing
        self._reading = False
        self._over = False
        """Nothing comes after what is in `_pieces`."""
        self._closed = False

    def attach(self, ready: Callable[[], None]) -> None:
        """See `Stream.attach`. Raises `ConnectionAbortedError` where the system has no thread for it."""
        with self._turn:
            if self._closed or self._reading:
                return
            self._ready = ready
            self._reading = True
        try:
            threading.Thread(target=self._read, name="gnj-file", daemon=True).start()
        except RuntimeError:
            with self._turn:
                self._closed = True
            self._close_file()  # nobody else does, as it is being read for all they know
            raise ConnectionAbortedError("there is no thread left to read the file") from None

    def take(self) -> bytes | None:
        """See `Stream.take`. Raises `ConnectionAbortedError` in the place of what the file does not have."""
        with self._turn:
            if self._pieces:
                piece = self._pieces.popleft()
                self._turn.notify()
                return piece
            if not self._over and not self._closed:
                return b""
            if self._left > 0 and not self._closed:
                # to end as if all were well would have a client that was told no length keep half a file
                raise ConnectionAbortedError("the file ended, or could not be read, before its size")
            return None

    def close(self) -> None:
        """See `Stream.close`."""
        with self._turn:
            again, self._closed = self._closed, True
            self._pieces.clear()
            self._turn.notify()
            if self._reading or again:
                return  # whoever reads closes the file
        self._close_file()

    def _close_file(self) -> None:
        try:
            self._file.close()
        finally:
            self._done()

    def _read(self) -> None:
        try:
            while self._left > 0:
                is_whole = not self._is_sized
                try:
                    piece = self._file.read(int(min(CHUNK, self._left)))
                except Exception as error:  # noqa: BLE001 - whatever it is, the answer breaks off
                    logger.warning("an answer breaks off, for its file cannot be read: %s", error)
                    piece, is_whole = b"", False
                with self._turn:
                    if not piece and is_whole:
                        self._left = 0
                    if self._closed or not piece:
                        break
                    self._pieces.append(piece)
                    self._left -= len(piece)
                    self._over = self._left == 0
                self._ready()
                with self._turn:
                    self._turn.wait_for(lambda: self._closed or len(self._pieces) < AHEAD)
        finally:
            self._close_file()
        with self._turn:
            self._over = True
        self._ready()


def _nothing() -> None:
    """Nobody waits yet."""
