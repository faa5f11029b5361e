"""A file as text, piece by piece, of which the values of `gnj.reading.values` are made."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import BinaryIO, Final

from gnj.queue.errors import InvalidInput

PIECE: Final = 256 * 1024
"""Bytes that are read at once."""
_BLANKS: Final = re.compile(r"[ \t\r\n]*")


class Broken(InvalidInput):
    """The file cannot be read any further."""

    code = "BROKEN_FILE"


class Text:
    """A file as text: a piece of it, that grows at its end and shrinks at its beginning.

    Args:
        stream: The file.
        told: Called with the number of bytes that were read, and those before `begin`.
        begin: Bytes to be passed over: a character begins there.
    """

    def __init__(self, stream: BinaryIO, told: Callable[[int], None], begin: int = 0) -> None:
        self.piece = ""
        self.at = 0
        """Where in `piece` the next character is."""
        self.newlines = 0
        """Of the blanks that were passed."""
        self.marked = 0
        """Bytes of the mark that the file begins with, which is none of its characters."""
        self._stream = stream
        if begin:
            stream.seek(begin)
        self._told = told
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._bytes = begin
        self._begun = begin > 0
        self._dropped = 0
        self._fault: Broken | None = None
        self._over = False

    @property
    def rest(self) -> int:
        """Characters at hand."""
        return len(self.piece) - self.at

    @property
    def place(self) -> int:
        """How many characters of the file were passed."""
        return self._dropped + self.at

    def more(self) -> bool:
        """Reads on, the more the more there is; whether something came. Raises `Broken` at what is no UTF-8."""
        if self._fault is not None:
            raise self._fault
        if self._over:
            return False
        data = self._stream.read(max(PIECE, self.rest))
        waiting = len(self._decoder.getstate()[0])
        self._over = not data
        try:
            new = self._decoder.decode(data, final=self._over)
        except UnicodeDecodeError as error:
            sound = bytes(error.object[: error.start])
            new = sound.decode()
            self._fault = Broken(f"the file is not UTF-8: byte {self._bytes - waiting + error.start + 1:,} is wrong")
        if new and not self._begun:
            self._begun = True
            if new.startswith("\ufeff"):
                new = new[1:]
                self.marked = 3
        self._bytes += len(data)
        self._told(self._bytes)
        self._dropped += self.at
        self.piece = self.piece[self.at :] + new
        self.at = 0
        if not new and self._fault is not None:
            raise self._fault
        return bool(new) or not self._over

    def pass_blanks(self) -> str:
        """Goes to the next character that is no blank, and gives it; "" at the end of the file."""
        if self.at < len(self.piece) and (mark := self.piece[self.at]) not in " \t\r\n":
            return mark
        while True:
            match = _BLANKS.match(self.piece, self.at)
            end = self.at if match is None else match.end()
            self.newlines += self.piece.count("\n", self.at, end)
            self.at = end
            if end < len(self.piece):
                return self.piece[end]
            if not self.more():
                return ""
