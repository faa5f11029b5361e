"""WebSockets that speak graphql-transport-ws, whoever carries them: who is asking, what is under way, what is to be sent."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

from gnj.access import Principal, RequestContext
from gnj.api import http
from gnj.api.bodies import encoded
from gnj.api.connections import Connection
from gnj.api.origins import Origins
from gnj.api.sources import Backlog, Outlet
from gnj.api.streams import Open, Streams
from gnj.api.transport_ws import (
    PING,
    SUBPROTOCOL,
    Close,
    Complete,
    Init,
    Ping,
    Protocol,
    Subscribe,
    complete_message,
    error_message,
    next_message,
    pong,
)
from gnj.graphql.engine import Outcome
from gnj.graphql.errors import ErrorBody, Stage, known, masked, refused, report
from gnj.queue.errors import Forbidden, GnjError, NotFound, Unauthenticated

Clock: TypeAlias = Callable[[], float]


class WebSockets:
    """Accepts the sockets of the route at which these streams are served; see `http.Sockets`.

    Args:
        streams: What is subscribed to.
        origins: Of pages that may connect besides those of the server itself: see `Origins`.
        clock: Seconds that only grow.

    Raises `InvalidInput` for an origin that is none.
    """

    subprotocol = SUBPROTOCOL
    mismatch = (4406, "Subprotocol not acceptable")

    def __init__(self, streams: Streams, origins: Collection[str] = (), clock: Clock = time.monotonic) -> None:
        self._streams = streams
        self._origins = Origins(origins)
        self._clock = clock

    def open(self, context: RequestContext, ready: Callable[[], None]) -> http.Socket | http.Response:
        """See `http.Sockets.open`."""
        if not self._origins.welcome(context.headers):
            # browsers send cookies with a handshake from any page, and no CORS keeps the page from reading
            return http.refusal(403, "Pages of this origin may not connect.", "FORBIDDEN")
        socket = WebSocket(self._streams, context, ready, self._clock)
        socket.connection = self._streams.sockets.arrive(
            partial(socket.end, 1001, "The server ends"), partial(socket.end, 1013, "Too many connections")
        )
        return socket


@dataclass(eq=False, repr=False, slots=True)
class _Operation(Outlet):
    """One operation under way on a socket."""

    socket: WebSocket
    id: str
    number: int
    """How many came before it on the socket."""
    backlog: Backlog
    """Its events in the socket's outbox."""
    stopped: bool = False
    """The client wants no more."""
    open: Open | None = None

    def put(self, body: str, taken: Callable[[], None] | None = None) -> bool:
        """See `Outlet.put`."""
        return self.socket.put(self, body, taken)

    def end(self, errors: list[ErrorBody] | None) -> None:
        """See `Outlet.end`."""
        self.socket.finish(self, error_message(self.id, errors) if errors else complete_message(self.id))


class WebSocket:
    """One socket; see `http.Socket`."""

    connection: Connection | None = None

    def __init__(self, streams: Streams, seen: RequestContext, ready: Callable[[], None], clock: Clock) -> None:
        self._streams = streams
        self._limits = streams.limits
        self._seen = seen
        self._ready = ready
        self._clock = clock
        self._lock = threading.Lock()
        self._protocol = Protocol(self._limits)
        self._principal: Principal | None = None
        self._operations: dict[str, _Operation] = {}
        self._numbers = 0
        self._begun = threading.Condition()
        self._turns = 0
        """How many operations have begun."""
        self._outbox: deque[tuple[_Operation | None, str, Callable[[], None] | None]] = deque()
        self._own = 0
        """Texts in the outbox that are no events."""
        self._bytes = 0
        self._closing: tuple[int, str] | None = None
        self._heard = self._opened = clock()
        self._pinged = self._opened
        self._expires: float | None = None

    @property
    def closing(self) -> tuple[int, str] | None:
        """See `http.Socket.closing`."""
        return self._closing

    def receive(self, message: str | bytes) -> Callable[[], None] | None:
        """See `http.Socket.receive`."""
        with self._lock:
            if self._closing is not None:
                return None
            self._heard = self._clock()
            try:
                asked = self._protocol.receive(message)
            except Close as close:
                self._end(close.code, close.reason)
                return None
            match asked:
                case Init():
                    return partial(self._authenticate, asked.params)
                case Subscribe():
                    return self._accepted(asked)
                case Complete():
                    if (operation := self._operations.pop(asked.id, None)) is not None:
                        _stop(operation)
                case Ping():
                    self._send(pong(asked.payload))
        return None

    def take(self) -> str | None:
        """See `http.Socket.take`."""
        with self._lock:
            while self._outbox:
                operation, text, taken = self._outbox.popleft()
                self._bytes -= len(text)
                if taken is not None:
                    taken()
                if operation is None:
                    self._own -= 1
                    return text
                operation.backlog.take(self._clock())
                if not operation.stopped:
                    return next_message(operation.id, text)
        return None

    def tick(self) -> float:
        """See `http.Socket.tick`."""
        limits, now = self._limits, self._clock()
        with self._lock:
            if self._closing is not None:
                return limits.ping_seconds
            if not self._protocol.initialised:
                left = self._opened + limits.init_seconds - now
                if left <= 0:
                    self._end(4408, "Connection initialisation timeout")
                return max(0.0, left)
            if self._expires is not None and now >= self._expires:
                self._end(4403, "Forbidden: the credentials have expired")
                return limits.ping_seconds
            if now >= self._pinged + limits.ping_seconds:
                if self._heard < self._pinged:
                    self._end(4499, "No sign of life")
                    return limits.ping_seconds
                self._send(PING)
                self._pinged = now
            next_ping = self._pinged + limits.ping_seconds
            return (next_ping if self._expires is None else min(next_ping, self._expires)) - now

    def close(self) -> None:
        """See `http.Socket.close`."""
        with self._lock:
            self._end(1006, "")
        if self.connection is not None:
            self.connection.leave()

    def end(self, code: int, reason: str) -> None:
        """Has the socket closed, if it is not closing already."""
        with self._lock:
            self._end(code, reason)

    def put(self, operation: _Operation, body: str, taken: Callable[[], None] | None) -> bool:
        """An event for an operation; False when the operation, or the socket, gets no more."""
        with self._lock:
            if self._closing is not None or operation.stopped:
                return False
            if not operation.backlog.add(self._clock()):
                self._end(4413, "Slow consumer")
                return False
            return self._queue(operation, body, taken)

    def finish(self, operation: _Operation, *messages: str) -> None:
        """The operation has ended by itself, with these messages."""
        with self._lock:
            if self._operations.get(operation.id) is operation:
                del self._operations[operation.id]
                self._protocol.finished(operation.id)
                for message in messages:
                    self._send(message)

    def _accepted(self, asked: Subscribe) -> Callable[[], None] | None:
        limit = self._limits.operations
        # What was completed before it began still has a thread to come. Twice the limit, because a client that completes one
        # operation may ask the next at once; bounded, because who does so without end would fill the queue for threads that
        # all requests share.
        if len(self._operations) >= limit or self._numbers - self._turns >= 2 * limit:
            self._protocol.finished(asked.id)
            message = f"A socket may have {limit:,} operations under way."
            self._send(error_message(asked.id, [refused(message, "TOO_MANY_OPERATIONS")]))
            return None
        operation = self._operations[asked.id] = _Operation(self, asked.id, self._numbers, Backlog(self._limits))
        self._numbers += 1
        return partial(self._begin, operation, asked)

    def _authenticate(self, params: Mapping[str, Any]) -> None:
        seen = replace(self._seen, connection_params=params, headers=_with_authorization(self._seen.headers, params))
        try:
            principal = self._streams.guard.authenticate(seen)
        except (Unauthenticated, Forbidden, NotFound):  # NotFound: of an organisation that is not the caller's
            self.end(4403, "Forbidden")
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is let in
            report(error, "connection_init")
            self.end(1013, "Try again later")
            return
        if self.connection is not None and not self.connection.belongs_to(principal.tenant):
            self.end(1013, "Too many connections")
            return
        with self._lock:
            if self._closing is not None:
                return
            self._seen, self._principal = seen, principal
            if principal.expires_at is not None:
                self._expires = self._clock() + (principal.expires_at - datetime.now(UTC)).total_seconds()
            self._send(self._protocol.acknowledge())

    def _begin(self, operation: _Operation, asked: Subscribe) -> None:
        try:
            with self._turn(operation.number):
                if self._principal is not None:
                    self._streams.guard.recheck(self._principal)
                subscribes = self._subscribe(operation, asked)
            if not subscribes:
                self._execute(operation, asked)
        except Unauthenticated:
            self.end(4403, "Forbidden")
        except GnjError as error:
            self.finish(operation, error_message(asked.id, [known(error)]))
        except Exception as error:  # noqa: BLE001 - the client gets an id, the log the rest
            self.finish(operation, error_message(asked.id, [masked(error, "an operation over a WebSocket")]))

    @contextmanager
    def _turn(self, number: int) -> Iterator[None]:
        """Has operations begin in the order in which they came: a mutation is heard by the subscription before it."""
        with self._begun:
            # threads are given out in order, so that those before have begun to run; the timeout is for a carrier that errs
            self._begun.wait_for(lambda: self._turns >= number, timeout=5)
        try:
            yield
        finally:
            with self._begun:
                self._turns = max(self._turns, number + 1)
                self._begun.notify_all()

    def _subscribe(self, operation: _Operation, asked: Subscribe) -> bool:
        """Begins the operation if it is a subscription; whether nothing else is to be done for it."""
        streams, principal = self._streams, self._principal
        if operation.stopped or principal is None:
            return True
        query, name = asked.query, asked.operation_name
        if not streams.engine.subscribes(query, name):
            return False
        opened = streams.open(query, asked.variables, name, self._seen, principal, operation)
        if isinstance(opened, Outcome):
            self.finish(operation, error_message(asked.id, opened.body["errors"]))
            return True
        with self._lock:
            operation.open = opened
            if self._operations.get(asked.id) is not operation:
                opened.close()
        return True

    def _execute(self, operation: _Operation, asked: Subscribe) -> None:
        streams, principal = self._streams, self._principal
        if operation.stopped or principal is None:
            return
        context = streams.make_context(self._seen, principal)
        outcome = streams.engine.execute(asked.query, asked.variables, asked.operation_name, context)
        if outcome.stage is Stage.EXECUTE:
            answer = next_message(asked.id, encoded(outcome.body))
            self.finish(operation, answer, complete_message(asked.id))
        else:
            self.finish(operation, error_message(asked.id, outcome.body["errors"]))

    def _send(self, text: str) -> None:
        if self._closing is None and self._own >= self._limits.operations + self._limits.buffered:
            self._end(4413, "Slow consumer")
        if self._closing is None:
            self._own += 1
            self._queue(None, text, None)

    def _queue(self, operation: _Operation | None, text: str, taken: Callable[[], None] | None) -> bool:
        if self._outbox and self._bytes + len(text) > self._limits.buffered_bytes:
            self._end(4413, "Slow consumer")
            return False
        self._outbox.append((operation, text, taken))
        self._bytes += len(text)
        self._ready()
        return True

    def _end(self, code: int, reason: str) -> None:
        if self._closing is not None:
            return
        self._closing = (code, reason)
        operations, self._operations = self._operations, {}
        for operation in operations.values():
            _stop(operation)
        self._outbox.clear()
        self._bytes = self._own = 0
        self._ready()


def _stop(operation: _Operation) -> None:
    operation.stopped = True
    if operation.open is not None:
        operation.open.close()


def _with_authorization(headers: Mapping[str, str], params: Mapping[str, Any]) -> Mapping[str, str]:
    """The headers, with what a page in a browser cannot send as one."""
    for name in ("authorization", "Authorization"):
        if isinstance(value := params.get(name), str):
            return {**headers, "authorization": value}
    return headers
