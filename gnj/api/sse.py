"""GraphQL over Server-Sent Events, in the distinct connections mode of graphql-sse: one response for each operation."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from gnj.access import Principal, RequestContext
from gnj.api.bodies import encoded
from gnj.api.connections import Connection
from gnj.api.http import Response, unavailable
from gnj.api.sources import Backlog, Outlet
from gnj.api.streams import Open, Streams
from gnj.graphql.engine import Outcome
from gnj.graphql.errors import ErrorBody, refused
from gnj.graphql.limits import Limits

MEDIA_TYPE: Final = "text/event-stream"

HEARTBEAT: Final = 12.0
"""Seconds of silence after which a comment is sent: proxies end what is silent for longer, often after 15 or more."""

_HEADERS: Final = (
    ("content-type", f"{MEDIA_TYPE}; charset=utf-8"),
    # without transformation: a proxy, or the host's own middleware, would hold events back to compress them
    ("cache-control", "no-store, no-transform"),
    ("x-accel-buffering", "no"),
    ("x-content-type-options", "nosniff"),
)
_COMMENT: Final = b":\n\n"
_COMPLETE: Final = b"event: complete\ndata:\n\n"


def answer(outcome: Outcome) -> Response:
    """The response to an operation that has one answer: it, and the end."""
    return Response(headers=_HEADERS, body=_next(encoded(outcome.body)) + _COMPLETE)


def headers_only() -> Response:
    """What HEAD is told of a stream."""
    return Response(headers=_HEADERS)


def subscribed(
    streams: Streams,
    query: str,
    variables: Mapping[str, Any],
    operation_name: str | None,
    seen: RequestContext,
    principal: Principal,
) -> Response:
    """The response to a subscription: a stream of its events, or why it cannot begin; 503 where there are too many."""
    stream = EventStream(streams.limits, principal.expires_at)
    connection = streams.responses.enter(principal.tenant, stream.cut)
    if connection is None:
        message = "There are too many streams: try again later."
        return unavailable({"errors": [refused(message, "TOO_MANY_CONNECTIONS")]})
    stream.connection = connection
    try:
        opened = streams.open(query, variables, operation_name, seen, principal, stream)
    except BaseException:
        connection.leave()
        raise
    if isinstance(opened, Outcome):
        connection.leave()
        return answer(opened)
    stream.begin(opened)
    return streamed(stream)


def streamed(stream: EventStream) -> Response:
    """The response whose events are those of `stream`."""
    return Response(headers=_HEADERS, stream=stream)


class EventStream(Outlet):
    """The events of one subscription; see `gnj.api.http.Stream`.

    Args:
        limits: How much may wait; with one event more the stream ends, so that the client begins anew.
        expires_at: When the stream ends because the caller is nobody any more.
        clock: Seconds that only grow.
    """

    connection: Connection | None = None

    def __init__(
        self,
        limits: Limits,
        expires_at: datetime | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_bytes = limits.buffered_bytes
        self._backlog = Backlog(limits)
        self._clock = clock
        self._expires = None if expires_at is None else clock() + (expires_at - datetime.now(UTC)).total_seconds()
        self._lock = threading.Lock()
        # the first thing sent is a comment: WSGI servers send the head of a response with its first bytes
        self._last = clock() - HEARTBEAT
        self._waiting: deque[tuple[bytes, Callable[[], None] | None]] = deque()
        self._bytes = 0
        self._over = False
        self._open: Open | None = None
        self._ready: Callable[[], None] | None = None

    @property
    def heartbeat(self) -> float:
        """See `Stream.heartbeat`; sooner where the stream is to end."""
        return HEARTBEAT if self._expires is None else max(0.0, min(HEARTBEAT, self._expires - self._clock()))

    def begin(self, opened: Open) -> None:
        """Says what is to be closed in the end."""
        with self._lock:
            self._open = opened
            over = self._over
        if over:
            opened.close()

    def attach(self, ready: Callable[[], None]) -> None:
        """See `Stream.attach`."""
        with self._lock:
            self._ready = ready
        ready()

    def take(self) -> bytes | None:
        """See `Stream.take`."""
        now = self._clock()
        if self._expires is not None and now >= self._expires:
            self.cut()
        with self._lock:
            if self._waiting:
                events = list(self._waiting)
                self._waiting.clear()
                self._backlog.take(now, self._backlog.waiting)
                self._bytes = 0
                self._last = now
            elif self._over:
                return None
            elif now - self._last >= HEARTBEAT:
                self._last = now
                return _COMMENT
            else:
                return b""
        for _, taken in events:
            if taken is not None:
                taken()
        return b"".join(event for event, _ in events)

    def framed(self, body: str) -> bytes:
        """The event whose answer is `body`, as it is sent."""
        return _next(body)

    def close(self) -> None:
        """See `Stream.close`."""
        self.cut()
        if self.connection is not None:
            self.connection.leave()

    def put(self, body: str, taken: Callable[[], None] | None = None) -> bool:
        """See `Outlet.put`."""
        event = self.framed(body)
        with self._lock:
            if self._over:
                return False
            fits = not self._waiting or self._bytes + len(event) <= self._most_bytes
            if fits := fits and self._backlog.add(self._clock()):
                self._waiting.append((event, taken))
                self._bytes += len(event)
            ready = self._ready
        if not fits:
            self.cut()
        elif ready is not None:
            ready()
        return fits

    def end(self, errors: list[ErrorBody] | None) -> None:
        """See `Outlet.end`."""
        with self._lock:
            if self._over:
                return
            if errors:
                self._waiting.append((_next(encoded({"errors": errors})), None))
            self._waiting.append((_COMPLETE, None))
            self._over = True
            ready = self._ready
        if ready is not None:
            ready()

    def cut(self) -> None:
        """Ends the stream without saying that the subscription is complete: what waits is thrown away."""
        with self._lock:
            self._over = True
            self._waiting.clear()
            self._bytes = 0
            opened, ready = self._open, self._ready
        if opened is not None:
            opened.close()
        if ready is not None:
            ready()


def _next(body: str) -> bytes:
    return f"event: next\ndata: {body}\n\n".encode()
