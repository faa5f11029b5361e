"""Serves gnj from Starlette, FastAPI or any ASGI server.

    app = FastAPI()
    gnj_starlette.mount(app, jobs, "/jobs")

The routes are plain routes of the host: below a `Mount`, `POST /jobs/graphql` would answer 307, on which many clients drop
the body. Only the body is read on the event loop; the whole endpoint runs in one hop to a thread (one hop per request was
measured at 0.1 ms, one per database call at several), under a limiter of gnj's own, so that a busy queue does not take the
threads that Starlette shares with everybody.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import threading
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.requests import Request as HostRequest
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket as HostSocket

from gnj.access import RunAsync
from gnj.api import asgi, http
from gnj.api.hooks import context_of

__all__ = ["asgi_app", "mount"]

logger = logging.getLogger("gnj.starlette")

T = TypeVar("T")
RouteT = TypeVar("RouteT", Route, WebSocketRoute)

Host: TypeAlias = Starlette | Router
"""Where routes can be added; a FastAPI application is a Starlette."""


def mount(app: Host, jobs: http.Served, path: str = "/", faces: Sequence[str] | None = None) -> None:
    """Add the routes of `jobs` to an application, below `path`.

    `faces` names those the host wants; all by default. Each route answers with and without a slash at its end. `jobs` is
    started when the application starts, after the host's own lifespan began, and closed before that ends; in an
    application whose lifespan does not run (itself mounted in another) the first request starts it.

    ValueError: the path does not begin with "/", or a face does not exist.
    """
    if not path.startswith("/"):
        raise ValueError(f'the path must begin with "/", not {path!r}')
    if not isinstance(app, Starlette | Router):
        raise TypeError(f"mount(app, jobs, path) takes a Starlette or FastAPI application, not a {type(app).__name__}")
    carrier = _Carrier(jobs)
    prefix = path.rstrip("/")
    routes = jobs.routes(faces)
    names = {route.path: route.name for route in reversed(routes)}
    sockets = {route.path: route.sockets for route in routes if route.sockets is not None}
    router = app.router if isinstance(app, Starlette) else app
    for below, methods in http.endpoints(routes).items():
        full = (prefix + below).rstrip("/")
        endpoint = _Endpoint(carrier, methods)
        for spelled in (full, full + "/"):
            if spelled:
                router.routes.append(_exact(Route(spelled, endpoint, name=names[below])))
                if below in sockets:
                    router.routes.append(_exact(WebSocketRoute(spelled, _SocketEndpoint(carrier, sockets[below]))))
    router.lifespan_context = carrier.lifespan_around(router.lifespan_context)


def asgi_app(jobs: http.Served, faces: Sequence[str] | None = None) -> ASGIApp:
    """An ASGI application that serves `jobs` and nothing else, at the paths of its routes."""
    router = Router(redirect_slashes=False)
    mount(router, jobs, "/", faces)
    return router


def _exact(route: RouteT) -> RouteT:
    """The route for its path only: Starlette's `$` takes a line feed after it as well (`/graphql%0a`)."""
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return route


class _Endpoint:
    """The ASGI application of one path."""

    def __init__(self, carrier: _Carrier, methods: Mapping[str, http.Endpoint]) -> None:
        self._carrier = carrier
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._carrier.read(scope, receive)
            response = await self._carrier.answer(self._methods, scope, body)
        except http.Refused as refused:
            response = refused.response(_CLOSE)
        except _Gone:
            return
        head = scope["method"] == "HEAD"
        await _send(response, send, head=head)
        if response.stream is not None and head:
            response.stream.close()
        elif response.stream is not None:
            await asgi.send_stream(response.stream, receive, send, self._carrier.bell())


class _SocketEndpoint:
    """The ASGI application of the WebSockets of one path."""

    def __init__(self, carrier: _Carrier, sockets: http.Sockets) -> None:
        self._carrier = carrier
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        carrier = self._carrier
        try:
            carrier.check_head(scope)
            failure = await carrier.in_thread(carrier.begin)
        except http.Refused as refused:
            failure = refused.response(_CLOSE)
        if failure is not None:
            await asgi.refuse(failure, scope, send)
            return
        context = context_of(_request(scope, HostSocket(scope, receive, send), b"", carrier.run_async()))
        with contextlib.suppress(OSError):  # how ASGI servers say that the client is gone (ASGI 2.4)
            await asgi.serve_socket(self._sockets, scope, receive, send, context, carrier.bell(), carrier.in_thread)


# The rest of a refused request will not be read, so the connection cannot carry another one.
_CLOSE = ("connection", "close")


class _Gone(Exception):
    """The client went away before its request was complete."""


class _Carrier:
    """Carries requests to one `jobs` and answers back."""

    def __init__(self, jobs: http.Served) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._started = False
        # a limiter belongs to one event loop, an application may be run by several (tests do)
        self._limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("gnj_threads")
        self._bell: anyio.lowlevel.RunVar[asgi.Bell] = anyio.lowlevel.RunVar("gnj_bell")

    def check_head(self, scope: Scope) -> None:
        """Raises `http.Refused` when URL or headers are too long."""
        limits = self._jobs.limits
        headers = sum(len(name) + len(value) for name, value in scope["headers"])
        http.check_head(limits, headers, len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]))

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The body. Raises `http.Refused` when the request is too large or too slow, `_Gone` when it breaks off."""
        limits = self._jobs.limits
        self.check_head(scope)
        # Content-Length is not asked: it may be missing (chunked) or wrong
        chunks: list[bytes] = []
        size = 0
        with anyio.move_on_after(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limits.max_body:
                    raise http.too_large(limits.max_body)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
        raise http.too_slow(limits.body_seconds)

    async def answer(self, methods: Mapping[str, http.Endpoint], scope: Scope, body: bytes) -> http.Response:
        """Run the endpoint in a thread. A client that goes away meanwhile does not stop it half way."""
        request = _request(scope, HostRequest(scope), body, self.run_async())
        # for a thread, that is: one that runs is not cancelled, and its answer is given whenever it comes
        with anyio.move_on_after(self._jobs.limits.waiting_seconds):
            return await self.in_thread(functools.partial(self._answer, methods, request))
        return http.busy()

    def _answer(self, methods: Mapping[str, http.Endpoint], request: http.Request) -> http.Response:
        return self.begin() or http.answer(methods, request)

    def begin(self) -> http.Response | None:
        """Starts what is served, in a worker thread, unless it was started; the answer to the request if it cannot be."""
        if not self._started:
            try:
                self._start(by_request=True)
            except Exception as error:  # noqa: BLE001 - whatever it is, this request has no other answer
                return http.failure(error, "start")
        return None

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Runs it in a thread of ours."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads())

    def run_async(self) -> RunAsync:
        """Leads back to this event loop, from any thread."""
        return functools.partial(anyio.from_thread.run, token=anyio.lowlevel.current_token())

    def bell(self) -> asgi.Bell:
        """Of this event loop."""
        bell = self._bell.get(None)
        if bell is None:
            bell = asgi.Bell()
            self._bell.set(bell)
        return bell

    def _start(self, *, by_request: bool) -> None:
        with self._lock:
            if self._started:
                return
            self._jobs.start()
            self._started = True
        if by_request:
            logger.warning(
                "Started by the first request, because the application's lifespan did not run; close() is the host's"
            )

    def _close(self) -> None:
        with self._lock:
            self._started = False
            self._jobs.close()

    def _threads(self) -> anyio.CapacityLimiter:
        limiter = self._limiter.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(self._jobs.threads)
            self._limiter.set(limiter)
        return limiter

    def lifespan_around(self, inner: Any) -> Any:
        """A lifespan that runs within the host's own."""

        @contextlib.asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[MutableMapping[str, Any] | None]:
            async with inner(app) as state:
                try:
                    await self.in_thread(functools.partial(self._start, by_request=False))
                except Exception:
                    # a host must come up without its database too; every request tries again
                    logger.exception("gnj could not start; the next request tries again")
                try:
                    yield state
                finally:
                    with anyio.CancelScope(shield=True):
                        await self.in_thread(self._close)

        return lifespan


def _request(scope: Scope, raw: HTTPConnection, body: bytes, run_async: RunAsync) -> http.Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    query = scope["query_string"].decode("latin-1")
    client = scope.get("client")
    return http.Request(
        method=scope.get("method", "GET"),  # a handshake is a GET
        path=scope["path"],
        query=dict(urllib.parse.parse_qsl(query, keep_blank_values=True)) if query else {},
        path_params=scope.get("path_params") or {},
        headers=headers,
        body=body,
        client_host=client[0] if client else None,
        transport="http" if scope["type"] == "http" else "ws",
        raw=raw,
        run_async=run_async,
    )


async def _send(response: http.Response, send: Send, *, head: bool) -> None:
    both = (*response.headers, *response.length)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in both]
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if response.stream is None or head:
            await send({"type": "http.response.body", "body": b"" if head else response.body})
    except OSError:
        # how ASGI servers say that the client is gone (ASGI 2.4); what was done stays done
        logger.debug("The client went away before it was answered")
