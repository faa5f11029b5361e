"""The messages of HTTP/1.1: a request as bytes, the head of an answer, and its body in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from gnj.fetch.address import Place
from gnj.fetch.connection import MAX_HEAD, Connection, Failure, Malformed
from gnj.fetch.policy import Blocked

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: ([^\r\n]*))?")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_INTERIM: Final = 10
"""Answers at most, the last of which is the one: the others, of 100 to 199, only say that it will come."""
_BODILESS: Final = frozenset({204, 304})


class TooLong(Failure):
    """The answer is longer than it may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the answer is longer than {most:,} bytes")


@dataclass(frozen=True, slots=True)
class Head:
    """An answer before its body."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """Their names in lower case; those that come more than once are joined by commas."""
    keeps: bool
    """Whether the connection can be used again, as far as this says."""

    @property
    def is_delimited(self) -> bool:
        """Whether the body has an end other than that of the connection."""
        return self.status in _BODILESS or "transfer-encoding" in self.headers or "content-length" in self.headers


def request_of(place: Place, method: str, headers: Mapping[str, str], body: bytes, encoding: str = "identity") -> bytes:
    """A request as it is sent. Raises `Blocked` for a header that would be more than one line.

    Args:
        place: Where it goes.
        method: In capitals.
        headers: Besides Host, Content-Length and Accept-Encoding.
        body: What follows.
        encoding: What the answer may be compressed with.
    """
    lines = [f"{method} {place.target} HTTP/1.1", f"Host: {place.authority}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Accept-Encoding: {encoding}")
    text = "\r\n".join(lines)
    # whoever calls has checked them; a line too many would be a request of somebody else's making
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise Blocked("a header holds the end of a line")
    return text.encode("latin-1") + b"\r\n\r\n" + body


def head_of(connection: Connection) -> Head:
    """The answer's head, which is read. Raises `Failure`, `Malformed` for what is none, and TimeoutError."""
    for _ in range(_INTERIM):
        first, *lines = connection.head().split(b"\r\n")
        found = _STATUS.fullmatch(first)
        if found is None or found[1] == b"101":
            raise Malformed
        if (status := int(found[1])) >= 200:
            break
    else:
        raise Malformed
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise Malformed
        key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    keeps = first.startswith(b"HTTP/1.1") and "close" not in headers.get("connection", "").lower()
    reason = (found[2] or b"").decode("latin-1").strip()
    return Head(status, reason or phrase_of(status), headers, keeps)


def pieces_of(connection: Connection, head: Head, most: int) -> Iterator[bytes]:
    """The body of an answer, as it comes. Raises `Failure`, `TooLong` before more than `most` bytes are read, TimeoutError."""
    coding, length = head.headers.get("transfer-encoding"), head.headers.get("content-length")
    if head.status in _BODILESS:
        return
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Malformed
        yield from _chunks(connection, most)
    elif length is not None:
        if not (length.isascii() and length.isdigit() and len(length) <= 15):
            raise Malformed
        if int(length) > most:
            raise TooLong(most)
        yield from _exactly(connection, int(length))
    else:
        total = 0
        while data := connection.receive():
            total += len(data)
            if total > most:
                raise TooLong(most)
            yield data


def _exactly(connection: Connection, count: int) -> Iterator[bytes]:
    while count:
        data = connection.some(count)
        count -= len(data)
        yield data


def _chunks(connection: Connection, most: int) -> Iterator[bytes]:
    left = most
    while True:
        found = _SIZE.fullmatch(connection.line(1_024))
        if found is None:
            raise Malformed
        size = int(found[1], 16)
        if size > left:
            raise TooLong(most)
        if not size:
            break
        left -= size
        yield from _exactly(connection, size)
        if connection.line(2):
            raise Malformed
    for _ in range(100):  # the trailers
        if not connection.line(MAX_HEAD):
            return
    raise Malformed


def phrase_of(status: int) -> str:
    """What a status means."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"
