"""A request whose answer is read as it comes, of any length, and whose redirects are followed by hand.

Every hop is looked up, checked and dialled as a call of its own is. What is meant for one origin goes to no other.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urljoin

from gnj.fetch.address import BadUrl, Place, place_of
from gnj.fetch.connection import UNREACHABLE, Connection, Failure, Pool, connected
from gnj.fetch.messages import Head, head_of, pieces_of, request_of
from gnj.fetch.policy import Blocked, Policy
from gnj.fetch.waits import GoOn

logger = logging.getLogger("gnj.fetch")

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PRIVATE: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that are for the origin they are sent to, whoever made them; in lower case."""


class Misdirected(Failure):
    """A redirect that is not followed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A request."""

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Besides Host, Content-Length and Accept-Encoding."""
    body: bytes = field(default=b"", repr=False)
    private: frozenset[str] = frozenset()
    """Names of headers, in lower case, that are for the origin of the URL alone."""
    is_body_private: bool = False
    """Whether the body is."""


class Patience:
    """Seconds for all waits together. What lies between them does not count: who reads may be slower than who sends.

    Args:
        seconds: How many.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @property
    def is_over(self) -> bool:
        """Whether there is none left."""
        return self._left <= 0

    @contextmanager
    def wait(self) -> Iterator[float]:
        """A wait; gives when it has to be over, as `time.monotonic` has it."""
        begun = time.monotonic()
        try:
            yield begun + self._left
        finally:
            self._left -= time.monotonic() - begun


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How much one request may take."""

    connect: float
    """Seconds until there is a connection, for each hop: from the look-up of its name."""
    idle: float
    """Seconds until something more comes."""
    patience: Patience
    """For all of it."""
    most: int
    """Bytes of the body, as it is sent."""
    redirects: int
    """How many are followed."""
    go_on: GoOn | None = None
    """Asked while it waits; see `gnj.fetch.waits`."""

    @property
    def silent(self) -> str:
        """What is told where nothing more has come."""
        return f"nothing came for {self.idle:g} s"


class Stream:
    """An answer, whose body is read as it comes."""

    def __init__(self, connection: Connection, place: Place, head: Head, bounds: Bounds) -> None:
        self.place = place
        """Where the answer came from, after the last redirect."""
        self.status = head.status
        self.headers = head.headers
        """Their names in lower case."""
        self.is_over = False
        """Whether the body was read to its end."""
        self._connection = connection
        self._bounds = bounds
        self._pieces = pieces_of(connection, head, bounds.most)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end. Raises `Failure`, `TooLong`, and TimeoutError.

        What comes in chunks of a byte each is gathered: who reads would else deal with every byte by itself.
        """
        parts = [self._rest]
        missing = size - len(self._rest)
        with _told(self._bounds.silent), self._bounds.patience.wait() as self._connection.deadline:
            while missing > 0 and not self.is_over:
                piece = next(self._pieces, b"")
                self.is_over = not piece
                missing -= len(piece)
                parts.append(piece)
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]


@contextmanager
def stream(outgoing: Outgoing, bounds: Bounds, policy: Policy, pool: Pool) -> Iterator[Stream]:
    """Sends a request, follows its redirects, and gives the answer, which is one of any other status.

    After 303, and after 301 and 302 to a POST, GET is what follows, as everywhere. Another origin gets neither `PRIVATE` headers nor
    those that the request names, not even where it redirects back. Proxies and cookies are not used.

    Raises `Blocked` for where it may not lead, `Misdirected`, `Failure`, and TimeoutError.
    """
    for _ in range(bounds.redirects + 1):
        place = _place(outgoing.url)
        connection, head = _asked(place, outgoing, bounds, policy, pool)
        keeps = False
        try:
            location = head.headers.get("location") if head.status in REDIRECTS else None
            if location is None:
                answer = Stream(connection, place, head, bounds)
                yield answer
                keeps = answer.is_over and head.keeps and head.is_delimited
                return
        finally:
            pool.give_back(connection, keeps=keeps)
        outgoing = _redirected(outgoing, place, head.status, location)
    raise Misdirected(f"there were more than {bounds.redirects:,} redirects")


def _place(url: str) -> Place:
    try:
        return place_of(url)
    except BadUrl as error:
        raise Blocked(str(error)) from None


def _asked(place: Place, outgoing: Outgoing, bounds: Bounds, policy: Policy, pool: Pool) -> tuple[Connection, Head]:
    """The connection on which the request was sent, and the head of the answer."""
    request = request_of(place, outgoing.method, outgoing.headers, outgoing.body, "gzip")
    with _told(f"there was no connection within {bounds.connect:g} s"), bounds.patience.wait() as deadline:
        soon = min(deadline, time.monotonic() + bounds.connect)
        connection = connected(place, policy, pool, soon, math.inf, bounds.go_on)
    try:
        connection.idle, connection.go_on = bounds.idle, bounds.go_on
        with _told(bounds.silent), bounds.patience.wait() as connection.deadline:
            connection.send(request)
            return connection, head_of(connection)
    except BaseException:
        connection.close()
        raise


def _redirected(outgoing: Outgoing, place: Place, status: int, location: str) -> Outgoing:
    """The request that follows a redirect."""
    try:
        # what is no ASCII is sent as UTF-8, and headers are read as Latin-1
        location = location.encode("latin-1").decode()
        url = urljoin(outgoing.url, location)
    except ValueError:
        raise Misdirected("a redirect leads to what is no URL") from None
    to = _place(url)
    if (place.scheme, to.scheme) == ("https", "http"):
        raise Misdirected("a redirect leads from https to http")
    method, body, headers = outgoing.method, outgoing.body, dict(outgoing.headers)
    if status == 303 or (status in (301, 302) and method == "POST"):
        method, body = "GET", b""
        headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    if (place.scheme, place.host, place.port) != (to.scheme, to.host, to.port):
        if body and outgoing.is_body_private:
            raise Misdirected("a redirect to another host would take along a body that has credentials in it")
        dropped = PRIVATE | outgoing.private
        headers = {name: value for name, value in headers.items() if name.lower() not in dropped}
    return replace(outgoing, url=url, method=method, body=body, headers=headers)


@contextmanager
def _told(late: str) -> Iterator[None]:
    """What goes wrong on the way, as who asked is told it: neither names nor addresses; `late` of a wait that took too long."""
    try:
        yield
    except TimeoutError:
        raise TimeoutError(late) from None
    except OSError as error:
        # the host may be made of credentials
        logger.info("a call failed: %s %s", type(error).__name__, error.errno)
        raise Failure(UNREACHABLE) from None
