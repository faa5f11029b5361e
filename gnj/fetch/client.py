"""One call to an endpoint: its name looked up once and checked, its time counted from beginning to end.

HTTP/1.1 on sockets of its own rather than `http.client`: the address that was checked is the one that is dialled, every single
wait is cut to what is left of the call's time, and a call costs a third of the processor time.
"""

from __future__ import annotations

import logging
import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus
from typing import Final

from gnj.fetch.address import BadUrl, Place, place_of
from gnj.fetch.look_ups import LookUps
from gnj.fetch.policy import Address, Blocked, Policy

logger = logging.getLogger("gnj.fetch")

CONNECT: Final = 5.0
"""Seconds for a connection to one address."""
IDLE: Final = 2.0
"""Seconds after which a connection is not used again: most servers close one after five."""
OLD: Final = 60.0
"""Seconds after which a connection is made anew, so that its name is looked up again."""
MAX_HEAD: Final = 65_536
"""Bytes of an answer before its body."""
_PIECE: Final = 65_536
_KEPT: Final = 100
"""Idle connections to one place at most."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: ([^\r\n]*))?")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_INTERIM: Final = 10
"""Answers at most, the last of which is the one: the others, of 100 to 199, only say that it will come."""
_BODILESS: Final = frozenset({204, 304})


class Failure(Exception):
    """There was no answer, or one that is too long. What it says names no address and no port."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Names of headers in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class _Connection:
    """A connection to a place, and what was read from it and not taken yet."""

    def __init__(self, sock: socket.socket, key: tuple[str, str, int]) -> None:
        self.sock = sock
        self.key = key
        self.made = self.used = time.monotonic()
        self.deadline = 0.0
        self._read = b""
        self._at = 0
        """Up to where that was taken."""

    @property
    def rest(self) -> bool:
        """Whether something was read that nobody has taken."""
        return self._at < len(self._read)

    def left(self) -> float:
        """Seconds until the deadline; TimeoutError beyond it."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def send(self, data: bytes) -> None:
        """Sends all of it."""
        view = memoryview(data)
        while view:
            self.sock.settimeout(self.left())
            view = view[self.sock.send(view) :]

    def receive(self) -> bytes:
        """What comes next; b"" at the end."""
        if self.rest:
            return self._take(len(self._read))
        self.sock.settimeout(self.left())
        return self.sock.recv(_PIECE)

    def upto(self, end: bytes, most: int) -> bytes:
        """All before `end`, which is taken as well. Raises `Failure` where there are more than `most` bytes without one."""
        while (found := self._read.find(end, self._at)) < 0:
            if len(self._read) - self._at > most:
                raise Failure(_INVALID)
            before = self._take(len(self._read))
            self._fill()
            self._read = before + self._read
        data = self._take(found)
        self._at += len(end)
        return data

    def line(self, most: int) -> bytes:
        """The next line, without its end."""
        return self.upto(b"\n", most).removesuffix(b"\r")

    def head(self) -> bytes:
        """All up to an empty line, which is taken as well."""
        data = self.upto(b"\r\n\r\n", MAX_HEAD)
        if len(data) > MAX_HEAD:
            raise Failure(_INVALID)
        return data

    def exactly(self, count: int, parts: list[bytes]) -> None:
        """The next `count` bytes, added to `parts`."""
        while count:
            if not self.rest:
                self._fill()
            parts.append(self._take(self._at + count))
            count -= len(parts[-1])

    def _fill(self) -> None:
        self._read, self._at = self.receive(), 0
        if not self._read:
            raise Failure(UNREACHABLE)

    def _take(self, end: int) -> bytes:
        # what is left is not copied: an answer may come in thousands of chunks of a byte each
        data = self._read[self._at : end]
        self._at += len(data)
        return data

    @property
    def is_alive(self) -> bool:
        """Whether nothing has come, and the other side has not closed it: what is idle has nothing to say."""
        if self.rest or time.monotonic() - self.used > IDLE or time.monotonic() - self.made > OLD:
            return False
        try:
            return not _is_readable(self.sock)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Closes it."""
        with suppress(OSError):
            self.sock.close()


UNREACHABLE: Final = "connection failed"
"""Why there was no answer: never more, for who reads it is not to learn what is where in the server's network."""
_INVALID: Final = "the answer is no valid HTTP"


class Pool:
    """What calls have in common: connections that are kept open between them, and who looks up names. For many threads.

    Args:
        tls: How servers of https prove who they are; against the authorities of this machine unless given.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.look_ups: LookUps[list[Address]] = LookUps()
        self._idle: dict[tuple[str, str, int], deque[_Connection]] = {}
        self._lock = threading.Lock()
        self._closed = False
        if tls is not None:
            self.tls = tls

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Made when first needed: it takes some 20 ms."""
        return ssl.create_default_context()

    def take(self, key: tuple[str, str, int]) -> _Connection | None:
        """An open connection, the one used last; None: there is none."""
        while True:
            with self._lock:
                idle = self._idle.get(key)
                if not idle:
                    return None
                connection = idle.pop()
                if not idle:
                    del self._idle[key]
            if connection.is_alive:
                return connection
            connection.close()

    def give(self, connection: _Connection) -> None:
        """Keeps a connection for the next call."""
        connection.used = time.monotonic()
        stale: list[_Connection] = []
        with self._lock:
            if self._closed:
                stale.append(connection)
            else:
                idle = self._idle.setdefault(connection.key, deque())
                idle.append(connection)
                while idle and (len(idle) > _KEPT or connection.used - idle[0].used > IDLE):
                    stale.append(idle.popleft())
        for each in stale:
            each.close()

    def sweep(self) -> None:
        """Closes what was idle for too long; to be called now and then."""
        now = time.monotonic()
        with self._lock:
            stale = [each for idle in self._idle.values() for each in idle if now - each.used > IDLE]
            for each in stale:
                self._idle[each.key].remove(each)
            self._idle = {key: idle for key, idle in self._idle.items() if idle}
        for each in stale:
            each.close()

    def close(self) -> None:
        """Closes them all."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for each in idle.values():
            for connection in each:
                connection.close()


def call(
    url: str,
    *,
    method: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout: float,
    most: int,
    policy: Policy,
    pool: Pool,
) -> Reply:
    """Sends a request, once, and reads its answer. Redirects are not followed, proxies and cookies are not used.

    Args:
        url: Of http or https.
        method: In capitals.
        headers: What is sent besides Host, Content-Length and Accept-Encoding; checked by the caller.
        body: What is sent.
        timeout: Seconds for all of it.
        most: Bytes of the answer's body; more is a `Failure`.
        policy: Where it may lead.
        pool: What it shares with other calls.

    Raises `Blocked`, `Failure`, and TimeoutError.
    """
    deadline = time.monotonic() + timeout
    try:
        place = place_of(url)
    except BadUrl as error:
        raise Blocked(str(error)) from None
    request = _request(place, method, headers, body)
    try:
        connection = _connected(place, policy, pool, deadline)
        try:
            connection.deadline = deadline
            connection.send(request)
            reply, keep = _read(connection, most)
        except BaseException:
            connection.close()
            raise
    except TimeoutError:
        raise TimeoutError("the call took too long") from None
    except (OSError, ssl.CertificateError) as error:
        logger.info("a call to %s failed: %s", place.host, error)
        raise Failure(UNREACHABLE) from None
    if keep:
        pool.give(connection)
    else:
        connection.close()
    return reply


def _request(place: Place, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {place.target} HTTP/1.1", f"Host: {place.authority}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append("Accept-Encoding: identity")
    text = "\r\n".join(lines)
    # whoever calls has checked them; a line too many would be a request of somebody else's making
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise Blocked("a header holds the end of a line")
    return text.encode("latin-1") + b"\r\n\r\n" + body


def _connected(place: Place, policy: Policy, pool: Pool, deadline: float) -> _Connection:
    key = (place.scheme, place.host, place.port)
    if (kept := pool.take(key)) is not None:
        return kept
    addresses = _checked(place, policy, pool, deadline)
    failed: OSError = OSError("no address")
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return _Connection(_dialled(place, address, pool, deadline), key)
        except OSError as error:
            failed = error
    if isinstance(failed, TimeoutError) and deadline - time.monotonic() > 0:
        raise OSError("no connection in time")
    raise failed


def _checked(place: Place, policy: Policy, pool: Pool, deadline: float) -> list[Address]:
    """What the policy says. A name is looked up on another thread, for nothing else bounds how long that takes."""
    check = partial(policy.check, place.host, place.port, place.scheme)
    if place.ip is not None:
        return check()
    return pool.look_ups.get((policy, place.host, place.port, place.scheme), check, deadline)


def _dialled(place: Place, address: Address, pool: Pool, deadline: float) -> socket.socket:
    family = socket.AF_INET if address.ip.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(max(0.001, min(CONNECT, deadline - time.monotonic())))
        sock.connect((str(address.ip), address.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if place.scheme == "https":
            sock.settimeout(max(0.001, min(CONNECT, deadline - time.monotonic())))
            return pool.tls.wrap_socket(sock, server_hostname=place.host)
    except BaseException:
        sock.close()
        raise
    return sock


def _read(connection: _Connection, most: int) -> tuple[Reply, bool]:
    """The answer, and whether the connection can be used again."""
    for _ in range(_INTERIM):
        first, *lines = connection.head().split(b"\r\n")
        found = _STATUS.fullmatch(first)
        if found is None or found[1] == b"101":
            raise Failure(_INVALID)
        if (status := int(found[1])) >= 200:
            break
    else:
        raise Failure(_INVALID)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise Failure(_INVALID)
        key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Failure("the answer is compressed, which was not asked for")
    body, whole = _body(connection, status, headers, most)
    keep = whole and not connection.rest and first.startswith(b"HTTP/1.1")
    keep = keep and "close" not in headers.get("connection", "").lower()
    reason = (found[2] or b"").decode("latin-1").strip()
    return Reply(status, reason or _phrase(status), headers, body), keep


def _body(connection: _Connection, status: int, headers: Mapping[str, str], most: int) -> tuple[bytes, bool]:
    """The body, and whether it had an end other than that of the connection."""
    parts: list[bytes] = []
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if status in _BODILESS:
        return b"", True
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Failure(_INVALID)
        _chunks(connection, parts, most)
    elif length is not None:
        if not (length.isascii() and length.isdigit() and len(length) <= 15):
            raise Failure(_INVALID)
        if int(length) > most:
            raise Failure(_too_long(most))
        connection.exactly(int(length), parts)
    else:
        total = 0
        while data := connection.receive():
            total += len(data)
            if total > most:
                raise Failure(_too_long(most))
            parts.append(data)
        return b"".join(parts), False
    return b"".join(parts), True


def _chunks(connection: _Connection, parts: list[bytes], most: int) -> None:
    left = most
    while True:
        found = _SIZE.fullmatch(connection.line(1_024))
        if found is None:
            raise Failure(_INVALID)
        size = int(found[1], 16)
        if size > left:
            raise Failure(_too_long(most))
        if not size:
            break
        left -= size
        connection.exactly(size, parts)
        if connection.line(2):
            raise Failure(_INVALID)
    for _ in range(100):  # the trailers
        if not connection.line(MAX_HEAD):
            return
    raise Failure(_INVALID)


def _too_long(most: int) -> str:
    return f"the answer is longer than {most:,} bytes"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"


if hasattr(select, "poll"):

    def _is_readable(sock: socket.socket) -> bool:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

else:  # pragma: no cover - Windows

    def _is_readable(sock: socket.socket) -> bool:
        return bool(select.select([sock], [], [], 0)[0])
