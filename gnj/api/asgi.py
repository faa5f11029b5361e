"""Carries what stays open - streams and WebSockets - over the messages of ASGI, for any web framework that speaks it.

Only what has to wait is here, and it waits on asyncio. What is to be computed runs in threads that the adapter provides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, MutableMapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from gnj.access import RequestContext, RunAsync
from gnj.api import http
from gnj.graphql.limits import Limits

logger = logging.getLogger("gnj.api")

T = TypeVar("T")

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
InThread: TypeAlias = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs a function in a worker thread; those that have to wait for one get it in the order in which they came."""

SEND_SECONDS: Final = 20.0
"""How long one message may wait for a client that does not read; then it is gone."""

_LONG_MESSAGE: Final = 4 * 1024
"""Characters from which on a message is parsed in a thread: 64 KB of JSON take 10 ms."""


class Begun(Generic[T]):
    """Something awaited that was begun, and gives what is not None: its `result`, if that was there at once, else to be awaited."""

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._steps = awaitable.__await__()
        self.result: T | None = None
        try:
            self._waits_for = next(self._steps)
        except StopIteration as end:
            self.result = end.value

    def __await__(self) -> Generator[Any, Any, T]:
        while True:
            try:
                sent = yield self._waits_for
            except BaseException as error:  # noqa: BLE001 - passed on to where it would have been raised
                go_on = partial(self._steps.throw, error)
            else:
                go_on = partial(self._steps.send, sent)
            try:
                self._waits_for = go_on()
            except StopIteration as end:
                return cast("T", end.value)


class Bell:
    """Wakes tasks of one event loop from other threads: many of them with one call to the loop.

    To wake a loop writes to a pipe; 500 sockets that are told of one event need it once.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: deque[Callable[[], object]] = deque()
        self._rung = False

    def for_(self, event: asyncio.Event) -> Callable[[], None]:
        """What sets `event` soon, called in any thread."""
        return partial(self.ring, event.set)

    def ring(self, then: Callable[[], object]) -> None:
        """Has `then`, which raises nothing, called in the loop soon."""
        self._due.append(then)
        if not self._rung:
            self._rung = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        # first the flag: who adds to `due` and still sees it set, is among those below
        self._rung = False
        while self._due:
            self._due.popleft()()


class Gone(Exception):
    """The client went away before its request was complete."""


def check_head(limits: Limits, scope: Message) -> None:
    """Raises `http.Refused` when URL or headers are too long."""
    headers = sum(map(len, chain.from_iterable(scope["headers"])))
    http.check_head(limits, headers, len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]))


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers as `http.Request` has them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    return headers


def request_of(scope: Message, raw: Any, body: bytes, run_async: RunAsync) -> http.Request:
    """A request, or the handshake of a WebSocket, whose body is that; `raw` is the web framework's own."""
    sent = scope.get("raw_path")
    client = scope.get("client")
    return http.Request(
        method=scope.get("method", "GET"),  # a handshake is a GET
        path=scope["path"],
        sent_path=sent.decode("latin-1") if sent else None,
        query_string=scope["query_string"].decode("latin-1"),
        path_params=scope.get("path_params") or {},
        headers=headers_of(scope["headers"]),
        body=body,
        client_host=client[0] if client else None,
        scheme=scope.get("scheme", "http"),
        transport="http" if scope["type"] == "http" else "ws",
        later=True,
        raw=raw,
        run_async=run_async,
    )


async def read(limits: Limits, scope: Message, receive: Receive) -> bytes:
    """The body. Raises `http.Refused` when the request is too large or too slow, `Gone` when it breaks off."""
    check_head(limits, scope)
    # a small body comes with its head, and needs no clock: one takes 9 us
    first = Begun(receive())
    if first.result is not None and not first.result.get("more_body", False):
        return _chunk(limits, first.result, 0)
    # Content-Length is not asked: it may be missing (chunked) or wrong
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            message = await first if first.result is None else first.result
            while True:
                chunks.append(chunk := _chunk(limits, message, size))
                if not message.get("more_body", False):
                    return b"".join(chunks)
                size += len(chunk)
                message = await receive()
    except TimeoutError:
        raise http.too_slow(limits.body_seconds) from None


def _chunk(limits: Limits, message: Message, before: int) -> bytes:
    """The part of a body that a message has, after `before` bytes of it."""
    if message["type"] == "http.disconnect":
        raise Gone
    chunk: bytes = message.get("body", b"")
    if before + len(chunk) > limits.max_body:
        raise http.too_large(limits.max_body)
    return chunk


@lru_cache(maxsize=256)  # the headers of answers are nearly always the same, and so are lengths
def _encoded(headers: tuple[tuple[str, str], ...]) -> Sequence[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def send(response: http.Response, send: Send, *, head: bool) -> None:
    """Sends an answer; of one with a stream, its beginning. `head`: without a body."""
    headers = [*_encoded(response.headers), *_encoded(tuple(response.length))]
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if response.stream is None or head:
            await send({"type": "http.response.body", "body": b"" if head else response.body})
    except OSError:
        # how ASGI servers say that the client is gone (ASGI 2.4); what was done stays done
        logger.debug("The client went away before it was answered")


async def send_stream(stream: http.Stream, receive: Receive, send: Send, bell: Bell) -> None:
    """Sends a body that comes bit by bit, after the head of its response; until it ends or the client goes away."""
    event = asyncio.Event()
    gone = asyncio.ensure_future(_gone(receive))
    gone.add_done_callback(lambda _: event.set())
    try:
        stream.attach(bell.for_(event))
        while not gone.done():
            event.clear()
            chunk = stream.take()
            if chunk is None:
                await _within(send({"type": "http.response.body", "body": b""}))
                return
            if chunk:
                await _within(send({"type": "http.response.body", "body": chunk, "more_body": True}))
            else:
                await _wait(event, stream.heartbeat)
    except OSError:
        # of which TimeoutError is one; the others are how servers say that the client is gone (ASGI 2.4)
        return
    finally:
        gone.cancel()
        stream.close()


async def serve_socket(
    sockets: http.Sockets,
    scope: Message,
    receive: Receive,
    send: Send,
    context: RequestContext,
    bell: Bell,
    in_thread: InThread[Any],
) -> None:
    """Serves one WebSocket from the handshake to its end."""
    await receive()  # websocket.connect
    event = asyncio.Event()
    socket = sockets.open(context, bell.for_(event))
    if isinstance(socket, http.Response):
        await refuse(socket, scope, send)
        return
    try:
        agreed = sockets.subprotocol in scope.get("subprotocols", ())
        await send({"type": "websocket.accept", "subprotocol": sockets.subprotocol if agreed else None})
        if agreed:
            await _carry(socket, event, receive, send, in_thread)
        else:
            code, reason = sockets.mismatch
            await send({"type": "websocket.close", "code": code, "reason": reason})
    finally:
        socket.close()


async def refuse(response: http.Response, scope: Message, send: Send) -> None:
    """Refuses a handshake with that response; with 403 and nothing else, where the server cannot send another one."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body})


async def _carry(
    socket: http.Socket, event: asyncio.Event, receive: Receive, send: Send, in_thread: InThread[Any]
) -> None:
    loop = asyncio.get_running_loop()
    under_way: set[asyncio.Future[Any]] = set()
    writer = asyncio.ensure_future(_write(socket, event, send))
    try:
        async with asyncio.timeout(None) as reading:

            def stop_reading(_writer: object) -> None:
                with contextlib.suppress(RuntimeError):  # it has stopped already
                    reading.reschedule(loop.time())

            writer.add_done_callback(stop_reading)
            while (message := await receive())["type"] == "websocket.receive":
                data = message.get("text")
                data = message.get("bytes") or b"" if data is None else data
                long = len(data) > _LONG_MESSAGE
                work = await in_thread(partial(socket.receive, data)) if long else socket.receive(data)
                if work is not None:
                    task = asyncio.ensure_future(in_thread(work))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                # a client may send hundreds of messages at once, and all that time neither it nor another one be answered
                await asyncio.sleep(0)
    except TimeoutError:
        pass
    finally:
        writer.cancel()
        socket.close()
        await asyncio.gather(writer, *under_way, return_exceptions=True)


async def _write(socket: http.Socket, event: asyncio.Event, send: Send) -> None:
    while True:
        event.clear()
        seconds = socket.tick()
        while (text := socket.take()) is not None:
            await _within(send({"type": "websocket.send", "text": text}))
        if socket.closing is not None:
            code, reason = socket.closing
            await _within(send({"type": "websocket.close", "code": code, "reason": reason}))
            return
        await _wait(event, seconds)


async def _within(sent: Awaitable[None]) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await sent


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
