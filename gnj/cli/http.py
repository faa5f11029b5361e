"""The HTTP server: uvicorn, with bounds on what a client may leave unfinished, and an end that comes when it is due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gnj.api.http import Prompt
from gnj.cli.prompt import PromptProtocol, small
from gnj.graphql.limits import Limits

logger = logging.getLogger("gnj.cli")

STALLED = 30
"""Seconds after which a connection is cut whose client has not read a byte of what waits for it."""
_FRAME = 1024
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 31\r\nconnection: close\r\n\r\nThe request's head is too large"
)


_STATUS_LINE, _END = b"HTTP/1.1 ", b"\r\n\r\n"
_JOINED = 64 * 1024
"""Bytes of a body up to which it is copied to be sent with its head."""


class _Joining:
    """A transport that sends the head of an answer together with its body, which uvicorn writes one after the other.

    It saves a system call, the client a second awakening, and the loop's thread to give Python away and to ask for it back.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        """Sends it, or has it wait for what comes in this turn of the loop."""
        if not self._head and data.startswith(_STATUS_LINE) and data.endswith(_END):
            self._head = data
            self._loop.call_soon(self._flush)
        elif self._head and len(data) <= _JOINED:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._flush()
            self._transport.write(data)

    def close(self) -> None:
        """Closes it, once everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(PromptProtocol):
    """uvicorn's protocol waits for ever, and with any amount of memory, for a head that does not end."""

    limits = Limits()

    _head = True
    """Whether the next bytes belong to the head of a request."""
    _received = 0
    _deadline: asyncio.TimerHandle | None = None

    @property
    def max_head(self) -> int:
        """Bytes of headers and URL; what is within it, but beyond one of the two, the adapter refuses."""
        return self.limits.max_headers + self.limits.max_url

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock: a connection on which nothing ever comes ends as well."""
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type]
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Counts what belongs to a head."""
        if self._head:
            self._received += len(data)
        super().data_received(data)
        if self._head and self._received:  # most come in one piece, and need no clock
            self._expect_head()
        if self._head and self._received > self.max_head and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head has ended; the body has limits of its own."""
        self._head, self._received = False, 0
        self._forget_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What follows is another head."""
        self._head = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more to wait for."""
        self._forget_deadline()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.keep_alive, self.timeout_keep_alive_handler)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class BoundedSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol for WebSockets forgets to send that a handshake is refused, and then waits for ever."""

    def data_received(self, data: bytes) -> None:
        """Ends what did not come to a handshake: its library takes shorter lines than the protocol before it."""
        super().data_received(data)
        if not self.handshake_initiated:
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()


class Server(uvicorn.Server):
    """Serves until SIGTERM or SIGINT, then ends within the grace time, whatever clients and threads do.

    Args:
        app: The ASGI application.
        prompt: What it answers on the event loop, by path.
        grace: Seconds from the signal to the end.
        announce: Called once connections are accepted.
        stop_workers: Called with seconds when the end begins: work stops before the server does, which still answers
            remote workers meanwhile.
        end_subscriptions: Called then: what is open for long is closed, so that clients connect to another server.
        limits: What a head may have and how long it may take, and how long a message over a WebSocket may be: the adapter
            refuses what is a little more, this one the rest.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        prompt: Mapping[str, Prompt],
        *,
        grace: float,
        announce: Callable[[], None],
        stop_workers: Callable[[float], None],
        end_subscriptions: Callable[[], None],
        limits: Limits,
    ) -> None:
        sent = {path.encode(): answer for path, answer in prompt.items()}
        super().__init__(
            uvicorn.Config(
                app,
                http=type("Protocol", (BoundedProtocol,), {"limits": limits, "prompt": sent, "small": small(limits)}),
                ws=BoundedSocket,
                ws_max_size=limits.message + _FRAME,
                # a compressor for each socket costs more memory and time than events of some hundred bytes are worth
                ws_per_message_deflate=False,
                lifespan="on",
                log_config=None,
                access_log=False,
                # who is asking must be the peer: what a header says of it, anybody can write
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=math.ceil(limits.keep_alive),
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        self._grace = grace
        self._announce = announce
        self._stop_workers = stop_workers
        self._end_subscriptions = end_subscriptions
        self._end = 0.0
        self._stalled: dict[Any, tuple[int, float]] = {}

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes the signals without raising them again afterwards, as uvicorn does: the exit code would not be 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins the end; the second time, ends at once."""
        if self.should_exit:
            _leave(128 + sig)
        self.should_exit = True
        self._end = time.monotonic() + self._grace
        # a thread in the middle of a query, or a client that stopped reading, must not keep the process
        watchdog = threading.Timer(self._grace, _give_up)
        watchdog.daemon = True
        watchdog.start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts connections, and says so."""
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; once, connections are looked at whose client does not read."""
        if counter % 10 == 0:
            self._cut_stalled()
        return await super().on_tick(counter)

    def _cut_stalled(self) -> None:
        now, before, self._stalled = time.monotonic(), self._stalled, {}
        for connection in list(self.server_state.connections):
            if size := connection.transport.get_write_buffer_size():
                last, since = before.get(connection, (0, now))
                self._stalled[connection] = (size, since if size == last else now)
                if size == last and now - since > STALLED:
                    # not close(): that would wait for the client to read
                    connection.transport.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Workers first; then connections, for what is left of the grace time."""
        await asyncio.to_thread(self._stop_workers, max(0.0, self._end - time.monotonic() - 2))
        self._end_subscriptions()
        # for the sockets' close frames to be written, with which clients know that this is no failure
        await asyncio.sleep(0.05)
        self.config.timeout_graceful_shutdown = max(1, int(self._end - time.monotonic() - 0.5))
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            # its client does not read, so that closing it in order would wait for ever
            connection.transport.abort()
        await asyncio.sleep(0)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Whether a record tells of more than a request that was cut off in the end, of which uvicorn makes a traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _give_up() -> None:
    logger.warning("The grace time is over: what was still under way is cut off")
    _leave(0)


def _leave(code: int) -> None:
    """Ends the process without waiting for any thread."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
