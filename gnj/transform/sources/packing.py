"""What a source sends, unpacked and counted as it comes."""

from __future__ import annotations

import gzip
import zlib
from typing import IO, Final, cast

from gnj.fetch.waits import GoOn
from gnj.transform.errors import SourceFailed
from gnj.transform.sources.items import Readable, unreadable

_MAGIC: Final = b"\x1f\x8b"
"""What gzip begins with (RFC 1952, section 2.3.1)."""
_CODINGS: Final = frozenset({"gzip", "x-gzip"})


class Budget:
    """Bytes that a source may still send, decoded.

    Args:
        most: How many.
        go_on: Asked with each piece, whether or not there are records in it; raises what is to end the reading.
    """

    def __init__(self, most: int, go_on: GoOn | None = None) -> None:
        self.most = most
        self.go_on = go_on
        self._left = most

    def take(self, count: int) -> None:
        """Counts what came. Raises `SourceFailed`, and what `go_on` raises."""
        if self.go_on is not None:
            self.go_on()
        self._left -= count
        if self._left < 0:
            raise SourceFailed(f"the source has more than {self.most:,} bytes", final=True)


class Ahead:
    """Bytes that can be looked at before they are read.

    Args:
        stream: Where they come from.
        budget: What counts them.
    """

    def __init__(self, stream: Readable, budget: Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._seen = b""

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, which stay; fewer at the end."""
        if len(self._seen) < size:
            self._seen += self._more(size - len(self._seen))
        return self._seen[:size]

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        if not self._seen:
            return self._more(size)
        data, self._seen = self._seen[:size], self._seen[size:]
        return data if len(data) == size else data + self._more(size - len(data))

    def _more(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._budget.take(len(data))
        return data


class _Unpacked:
    """What is in a gzip, whose parts - several follow one another in some - are held to their checksums and lengths."""

    def __init__(self, stream: Readable) -> None:
        self._file = gzip.GzipFile(fileobj=cast("IO[bytes]", stream), mode="rb")

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end. Raises `SourceFailed` for what is cut off or damaged."""
        try:
            return self._file.read(size)
        except EOFError:
            raise unreadable("the gzip ends too early") from None
        except (gzip.BadGzipFile, zlib.error):
            raise unreadable("the gzip is damaged") from None


def unpacked(stream: Readable, coding: str | None, budget: Budget) -> Ahead:
    """The content of an answer: decompressed where its header says so, and once more where it is a file that is compressed.

    Args:
        stream: The body as it is sent.
        coding: Its Content-Encoding.
        budget: What counts the bytes of the last layer; each other one may have as many.

    Raises `SourceFailed`, also while it is read.
    """
    if coding is not None and coding.lower() != "identity":
        if coding.lower() not in _CODINGS:
            raise unreadable("it is compressed in a way that was not asked for")
        stream = _Unpacked(stream)
    outer = Ahead(stream, Budget(budget.most, budget.go_on))
    # a body that a server compressed, and said so, may be a file that was compressed before
    if outer.peek(len(_MAGIC)) != _MAGIC:
        return Ahead(outer, budget)
    return Ahead(_Unpacked(outer), budget)
