"""`Client`: sends what `protocol` builds, over httpx, from threads or from an event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gnj.client.errors import ClientError, Unreachable
from gnj.client.protocol import EVENTS, EventLines, Operation, answered, headers_of, url_of

if TYPE_CHECKING:
    import httpx

TIMEOUT = 30.0
"""Seconds for an answer; a statement of the server's ends before."""
CONNECT = 5.0
"""Seconds for a connection."""
SILENCE = 45.0
"""Seconds without a sign of life after which a stream of events counts as lost; a server gives one every 12."""


class Client:
    """A GraphQL endpoint of gnj, and how it is asked. Safe to share between threads; connections are kept and reused.

    Args:
        url: The endpoint, such as `https://example.com/jobs/graphql`.
        token: Sent as `Authorization: Bearer …`.
        headers: Sent with every request.

    Needs httpx (`pip install gnj[client]`). Raises `InvalidInput` for what no request can carry.
    """

    def __init__(self, url: str, token: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        library = _httpx()
        self.url = url_of(url)
        self.headers: Mapping[str, str] = headers_of(token, headers)
        # made once: reading the certificates takes 20 ms, which an event loop would have to wait for
        verify = library.create_ssl_context()
        timeout = library.Timeout(TIMEOUT, connect=CONNECT)
        self._options = {"headers": dict(self.headers), "timeout": timeout, "verify": verify}
        self._lock = threading.Lock()
        self._threads: httpx.Client | None = None
        self._loops: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient] | None = None

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def ask(self, operation: Operation) -> Any:
        """What the operation's root field is answered with. Raises `ClientError`, `Unreachable`."""
        with self._lock:
            if self._threads is None:
                self._threads = _httpx().Client(**self._options)
                weakref.finalize(self, self._threads.close)  # for who forgets to close
            http = self._threads
        try:
            response = http.post(self.url, content=operation.body())
        except _httpx().HTTPError as error:
            raise _unreachable(error) from error
        return answered(operation, response.status_code, response.headers, response.content)

    async def ask_async(self, operation: Operation) -> Any:
        """Likewise, on an event loop."""
        loop = asyncio.get_running_loop()
        if self._loops is None or self._loops[0] is not loop:  # connections belong to the loop that made them
            self._loops = (loop, _httpx().AsyncClient(**self._options))
        try:
            response = await self._loops[1].post(self.url, content=operation.body())
        except _httpx().HTTPError as error:
            raise _unreachable(error) from error
        return answered(operation, response.status_code, response.headers, response.content)

    def subscribe(self, operation: Operation) -> Subscription:
        """The events of a subscription, over a connection of its own; begins when they are first asked for."""
        return Subscription(operation, self.url, self._options)

    def close(self) -> None:
        """Ends the connections that `ask` has kept; it makes new ones when it is called again."""
        with self._lock:
            http, self._threads = self._threads, None
        if http is not None:
            http.close()

    async def aclose(self) -> None:
        """Ends all connections, those of this event loop too."""
        self.close()
        if self._loops is not None:
            (_, http), self._loops = self._loops, None
            await http.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Subscription:
    """What a subscription tells, over server-sent events (`graphql-sse`, distinct connections)."""

    def __init__(self, operation: Operation, url: str, options: Mapping[str, Any]) -> None:
        self._operation = operation
        self._url = url
        self._options = options
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._closed = False

    def __iter__(self) -> Iterator[Any]:
        """First None, once the server listens; then what the root field is told, until the server ends it, or `close`.

        Raises `ClientError` where the server refuses, `Unreachable` when the connection is lost.
        """
        httpx = _httpx()
        timeout = httpx.Timeout(TIMEOUT, connect=CONNECT, read=SILENCE)
        try:
            with (
                httpx.Client(**{**self._options, "timeout": timeout}) as http,
                http.stream("POST", self._url, content=self._operation.body(), headers={"accept": EVENTS}) as response,
            ):
                yield from self._events(response)
        except httpx.HTTPError as error:
            if not self._closed:
                raise _unreachable(error) from error
        finally:
            self._hold(None)

    def close(self) -> None:
        """Ends it, from any thread."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                with suppress(OSError):  # whoever reads from it would wait on if it were only closed
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _events(self, response: httpx.Response) -> Iterator[Any]:
        if not self._hold(response.extensions["network_stream"].get_extra_info("socket")):
            return
        if response.status_code != 200 or not response.headers.get("content-type", "").startswith(EVENTS):
            answered(self._operation, response.status_code, response.headers, response.read())
            raise ClientError("the server answered a subscription at once", "NO_EVENTS", status=response.status_code)
        lines, listens = EventLines(), False
        for chunk in response.iter_raw():
            if not listens:  # the head of the answer may come before the server has subscribed, its first bytes do not
                listens = True
                yield None
            for name, data in lines.feed(chunk):
                if name == "complete":
                    return
                if name == "next":
                    yield answered(self._operation, 200, {}, data.encode())

    def _hold(self, connection: socket.socket | None) -> bool:
        """Keeps the socket that `close` ends; whether there is still a reason to read from it."""
        with self._lock:
            self._socket = connection
            return not self._closed


def _httpx() -> Any:
    try:
        import httpx  # noqa: PLC0415 - gnj is imported where there is none
    except ImportError:
        raise ImportError("clients and remote workers of gnj need httpx: pip install gnj[client]") from None
    return httpx


def _unreachable(error: Exception) -> Unreachable:
    said = str(error)
    return Unreachable(f"the server cannot be reached: {type(error).__name__}{': ' if said else ''}{said}")
