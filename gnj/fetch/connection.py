"""Connections to places: each to an address that was checked, kept open between calls, every wait of it bounded."""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from typing import Final, TypeVar

from gnj.fetch.address import Place
from gnj.fetch.look_ups import LookUps
from gnj.fetch.policy import Address, Policy
from gnj.fetch.waits import GoOn, steps

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
UNREACHABLE: Final = "connection failed"
"""Why there was no answer: never more, for who reads it is not to learn what is where in the server's network."""
_BEGUN: Final = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK})
"""What says that a connection is being made; the second one on Windows."""

T = TypeVar("T")
U = TypeVar("U")


class Failure(Exception):
    """There was no answer, or one that is too long. What it says names no address and no port."""


class Malformed(Failure):
    """The answer is none of HTTP, or more than one may have before its body."""

    def __init__(self) -> None:
        super().__init__("the answer is no valid HTTP")


class Connection:
    """A connection to a place, and what was read from it and not taken yet."""

    def __init__(self, sock: socket.socket, key: tuple[str, str, int]) -> None:
        self.sock = sock
        self.key = key
        self.made = self.used = time.monotonic()
        self.deadline = 0.0
        self.idle = math.inf
        """Seconds at most until something more comes, or can be sent."""
        self.go_on: GoOn | None = None
        """Asked while it waits; see `gnj.fetch.waits`."""
        self._read = b""
        self._at = 0
        """Up to where that was taken."""

    @property
    def rest(self) -> bool:
        """Whether something was read that nobody has taken."""
        return self._at < len(self._read)

    def left(self) -> float:
        """Seconds that the next wait may take; TimeoutError beyond the deadline."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return min(seconds, self.idle)

    def send(self, data: bytes) -> None:
        """Sends all of it."""
        view = memoryview(data)
        while view:
            view = view[self._waited(self.sock.send, view) :]

    def receive(self) -> bytes:
        """What comes next; b"" at the end."""
        if self.rest:
            return self._take(len(self._read))
        return self._waited(self.sock.recv, _PIECE)

    def upto(self, end: bytes, most: int) -> bytes:
        """All before `end`, which is taken as well. Raises `Malformed` where there are more than `most` bytes without one."""
        while (found := self._read.find(end, self._at)) < 0:
            if len(self._read) - self._at > most:
                raise Malformed
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
            raise Malformed
        return data

    def some(self, most: int) -> bytes:
        """What comes next, of `most` bytes. Raises `Failure` at the end."""
        if not self.rest:
            self._fill()
        return self._take(self._at + most)

    def _waited(self, do: Callable[[T], U], what: T) -> U:
        return _waited(self.sock, time.monotonic() + self.left(), self.go_on, do, what)

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
            return not _is_ready(self.sock, 0.0)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Closes it."""
        with suppress(OSError):
            self.sock.close()


class Pool:
    """What calls have in common: connections that are kept open between them, and who looks up names. For many threads.

    Args:
        tls: How servers of https prove who they are; against the authorities of this machine unless given.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.look_ups: LookUps[list[Address]] = LookUps()
        self._idle: dict[tuple[str, str, int], deque[Connection]] = {}
        self._lock = threading.Lock()
        self._closed = False
        if tls is not None:
            self.tls = tls

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Made when first needed: it takes some 20 ms."""
        return ssl.create_default_context()

    def take(self, key: tuple[str, str, int]) -> Connection | None:
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

    def give_back(self, connection: Connection, *, keeps: bool) -> None:
        """Ends with a connection whose answer was read: keeps it for the next call if that can be, else closes it."""
        if keeps and not connection.rest:
            self.give(connection)
        else:
            connection.close()

    def give(self, connection: Connection) -> None:
        """Keeps a connection for the next call."""
        connection.used, connection.idle, connection.go_on = time.monotonic(), math.inf, None
        stale: list[Connection] = []
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


def connected(
    place: Place,
    policy: Policy,
    pool: Pool,
    deadline: float,
    seconds: float = CONNECT,
    go_on: GoOn | None = None,
) -> Connection:
    """A connection to a place: one that was kept, or a new one to an address that was checked.

    Args:
        place: Where to.
        policy: Where it may lead.
        pool: What has those that were kept.
        deadline: Until when, as `time.monotonic` has it.
        seconds: For one address.
        go_on: Asked while it waits; see `gnj.fetch.waits`.

    Raises `Blocked`, OSError, and TimeoutError at the deadline.
    """
    key = (place.scheme, place.host, place.port)
    if (kept := pool.take(key)) is not None:
        return kept
    addresses = _checked(place, policy, pool, deadline, go_on)
    failed: OSError = OSError("no address")
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return Connection(_dialled(place, address, pool, time.monotonic() + min(seconds, left), go_on), key)
        except OSError as error:
            failed = error
    if isinstance(failed, TimeoutError) and deadline - time.monotonic() > 0:
        raise OSError("no connection in time")
    raise failed


def _checked(place: Place, policy: Policy, pool: Pool, deadline: float, go_on: GoOn | None) -> list[Address]:
    """What the policy says. A name is looked up on another thread, for nothing else bounds how long that takes."""
    check = partial(policy.check, place.host, place.port, place.scheme)
    if place.ip is not None:
        return check()
    return pool.look_ups.get((policy, place.host, place.port, place.scheme), check, deadline, go_on)


def _dialled(place: Place, address: Address, pool: Pool, ends: float, go_on: GoOn | None) -> socket.socket:
    family = socket.AF_INET if address.ip.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0.0)
        if (status := sock.connect_ex((str(address.ip), address.port))) in _BEGUN:
            status = _waited(sock, ends, go_on, _status, sock)
        _check(status)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if place.scheme == "https":
            sock = pool.tls.wrap_socket(sock, server_hostname=place.host, do_handshake_on_connect=False)
            _waited(sock, ends, go_on, ssl.SSLSocket.do_handshake, sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _status(sock: socket.socket) -> int:
    """What has become of the connection that is being made. Raises TimeoutError where it is not known within the timeout of the socket."""
    if not _is_ready(sock, sock.gettimeout() or 0.0, sends=True):
        raise TimeoutError
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _check(status: int) -> None:
    if status == errno.ETIMEDOUT:
        raise ConnectionError(status, os.strerror(status))  # no wait of ours
    if status:
        raise OSError(status, os.strerror(status))


def _waited(sock: socket.socket, ends: float, go_on: GoOn | None, do: Callable[[T], U], what: T) -> U:
    """What `do` gives once the socket lets it. Raises TimeoutError at the end, OSError, and what `go_on` raises."""
    for seconds in steps(ends, go_on):
        sock.settimeout(seconds)
        try:
            return do(what)
        except TimeoutError as error:
            if error.errno is not None:  # the system has given up the connection, however long the wait may be
                raise ConnectionError from error
    raise AssertionError  # pragma: no cover - the steps end with an error


if hasattr(select, "poll"):

    def _is_ready(sock: socket.socket, seconds: float, *, sends: bool = False) -> bool:
        """Whether something has come, or can be sent, within so many seconds."""
        poll = select.poll()
        poll.register(sock, select.POLLOUT if sends else select.POLLIN)
        return bool(poll.poll(math.ceil(seconds * 1_000)))

else:  # pragma: no cover - Windows

    def _is_ready(sock: socket.socket, seconds: float, *, sends: bool = False) -> bool:
        """Whether something has come, or can be sent, within so many seconds."""
        one = [sock]
        return any(select.select([] if sends else one, one if sends else [], one, seconds))
