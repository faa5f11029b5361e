"""Serves gnj from Starlette, FastAPI or any ASGI server.

    app = FastAPI()
    gnj_starlette.mount(app, jobs, "/jobs")

The routes are plain routes of the host: below a `Mount`, `POST /jobs/graphql` would answer 307, on which many clients drop
the body. Only the body is read on the event loop; the whole endpoint runs in one hop (one for each database call was measured
at several ms) to a thread of gnj's own, so that a busy queue does not take those that Starlette shares with everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import anyio
import anyio.from_thread
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.requests import Request as HostRequest
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket as HostSocket

from gnj.access import RunAsync
from gnj.api import asgi, http
from gnj.api.hooks import context_of
from gnj.api.receiving import WRITERS, receive_asgi
from gnj.api.threads import NoThread, Threads

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

    ValueError: the path does not begin with "/", a face does not exist, or the application has a GNJ at that path already.
    """
    if not path.startswith("/"):
        raise ValueError(f'the path must begin with "/", not {path!r}')
    if not isinstance(app, Starlette | Router):
        raise TypeError(f"mount(app, jobs, path) takes a Starlette or FastAPI application, not a {type(app).__name__}")
    http.check_served(jobs)
    prefix = path.rstrip("/")
    routes = [route for route in jobs.routes(faces) if prefix or not route.gives_way]
    _add(app.router if isinstance(app, Starlette) else app, jobs, prefix, routes)


def _add(router: Router, jobs: http.Served, prefix: str, routes: Sequence[http.Route]) -> None:
    carrier = _Carrier(jobs)
    names = {route.path: route.name for route in reversed(routes)}
    sockets = {route.path: route.sockets for route in routes if route.sockets is not None}
    methods_of = http.endpoints(routes)
    paths = {below: (prefix + below.replace("...}", ":path}")).rstrip("/") for below in methods_of}
    ours = {each.path for each in router.routes if isinstance(each, Route) and isinstance(each.endpoint, _Endpoint)}
    if not ours.isdisjoint(f"{full}/" for full in paths.values()):
        raise ValueError(f"this application has a GNJ at {prefix or '/'!r} already: give the other one its own path")
    for below, full in paths.items():
        endpoint = _Endpoint(carrier, methods_of[below])
        for spelled in (full, full + "/"):
            if spelled:
                router.routes.append(_exact(Route(spelled, endpoint, name=names[below])))
                if below in sockets:
                    router.routes.append(_exact(WebSocketRoute(spelled, _SocketEndpoint(carrier, sockets[below]))))
    router.lifespan_context = carrier.lifespan_around(router.lifespan_context)


class App:
    """An ASGI application that serves `jobs` and nothing else, at the paths of its routes."""

    prompt: Mapping[str, http.Prompt]
    """By its path, what answers a POST request on the event loop: for a server that has it whole."""

    def __init__(self, jobs: http.Served, faces: Sequence[str] | None = None) -> None:
        self._router = router = Router(redirect_slashes=False)
        self._hosts = router.default
        router.default = self._nowhere
        _add(router, jobs, "", jobs.routes(faces))
        plain = (each for each in router.routes if isinstance(each, Route) and not each.param_convertors)
        self._exact = {route.path: cast("_Endpoint", route.endpoint) for route in plain}
        self.prompt = {path: endpoint.promptly for path, endpoint in self._exact.items() if endpoint.methods.prompt}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a connection."""
        # to try one route after the other takes 9 us
        endpoint = self._exact.get(scope["path"]) if scope["type"] == "http" and not scope.get("root_path") else None
        await (self._router if endpoint is None else endpoint)(scope, receive, send)

    async def _nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "app" not in scope:
            await asgi.send(http.nowhere(), send, head=scope["method"] == "HEAD")
        else:
            # the page of the application that this one is mounted in; or a handshake
            await self._hosts(scope, receive, send)


def asgi_app(jobs: http.Served, faces: Sequence[str] | None = None) -> App:
    """An ASGI application that serves `jobs` and nothing else, at the paths of its routes."""
    return App(jobs, faces)


def _exact(route: RouteT) -> RouteT:
    """The route for its path only: Starlette's `$` takes a line feed after it as well (`/graphql%0a`)."""
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return route


class _Endpoint:
    """The ASGI application of one path."""

    def __init__(self, carrier: _Carrier, methods: http.Methods) -> None:
        self._carrier = carrier
        self.methods = methods

    def promptly(self, request: http.Request) -> http.Told | None:
        """See `http.Prompt`."""
        return self._carrier.promptly(self.methods, request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] in self.methods.receivers:
                response = await self._carrier.take(self.methods, scope, receive)
            else:
                body = await asgi.read(self._carrier.limits, scope, receive)
                response = await self._carrier.answer(self.methods, scope, body)
        except http.Refused as refused:
            response = refused.response(_CLOSE, refuse=self.methods.refuse)
        except asgi.Gone:
            return
        head = scope["method"] == "HEAD"
        try:
            await asgi.send(response, send, head=head)
            if response.stream is not None and not head:
                await asgi.send_stream(response.stream, receive, send, self._carrier.here().bell)
        finally:
            http.discard(response)


class _SocketEndpoint:
    """The ASGI application of the WebSockets of one path."""

    def __init__(self, carrier: _Carrier, sockets: http.Sockets) -> None:
        self._carrier = carrier
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        carrier = self._carrier
        try:
            asgi.check_head(carrier.limits, scope)
            failure = await carrier.in_thread(carrier.begin)
        except http.Refused as refused:
            failure = refused.response(_CLOSE)
        if failure is not None:
            await asgi.refuse(failure, scope, send)
            return
        here = carrier.here()
        context = context_of(asgi.request_of(scope, HostSocket(scope, receive, send), b"", here.run_async))
        with contextlib.suppress(OSError):  # how ASGI servers say that the client is gone (ASGI 2.4)
            await asgi.serve_socket(self._sockets, scope, receive, send, context, here.bell, carrier.in_thread)


# The rest of a refused request will not be read, so the connection cannot carry another one.
_CLOSE = ("connection", "close")


class _Loop:
    """What the requests share that one event loop carries."""

    def __init__(self, threads: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.bell = asgi.Bell()
        self.threads, self.writers = Threads(threads, self.bell), Threads(WRITERS, self.bell)
        self.run_async: RunAsync = functools.partial(anyio.from_thread.run, token=anyio.lowlevel.current_token())
        """Leads back to this loop, from any thread."""


class _Carrier:
    """Carries requests to one `jobs` and answers back."""

    def __init__(self, jobs: http.Served) -> None:
        self._jobs = jobs
        self.limits = jobs.limits
        self._lock = threading.Lock()
        self._started = False
        # an application may be run by several event loops (tests do)
        self._loops: anyio.lowlevel.RunVar[_Loop] = anyio.lowlevel.RunVar("gnj_loop")
        self._last: _Loop | None = None

    async def answer(self, methods: http.Methods, scope: Scope, body: bytes) -> http.Response:
        """Run the endpoint in a thread. A client that goes away meanwhile does not stop it half way."""
        here = self.here()
        request = asgi.request_of(scope, HostRequest(scope), body, here.run_async)
        try:
            work = functools.partial(self._answer, methods, request)
            return await here.threads.run(work, self.limits.waiting_seconds, http.discard)
        except NoThread:
            return http.busy(methods.refuse)

    def promptly(self, methods: http.Methods, request: http.Request) -> http.Told | None:
        """See `http.Prompt`."""
        begun = http.begin_promptly(methods, request) if self._started else None
        return begun if begun is None else self.here().threads.tell(begun)

    async def take(self, methods: http.Methods, scope: Scope, receive: Receive) -> http.Response:
        """The same for a body that is taken as it comes."""
        here, begin = self.here(), functools.partial(self.begin, methods.refuse)
        request = asgi.request_of(scope, HostRequest(scope), b"", here.run_async)
        return await receive_asgi(scope, receive, request, methods, begin, here.threads, here.writers, self.limits)

    def _answer(self, methods: http.Methods, request: http.Request) -> http.Answer:
        return self.begin(methods.refuse) or http.begin(methods, request)

    def begin(self, refuse: http.Refuse = http.as_errors) -> http.Response | None:
        """Starts what is served, in a worker thread, unless it was started; the answer to the request if it cannot be."""
        if not self._started:
            try:
                self._start(by_request=True)
            except Exception as error:  # noqa: BLE001 - whatever it is, this request has no other answer
                return http.failure(error, "start", refuse)
        return None

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Runs it in a thread of ours."""
        return await self.here().threads.run(work)

    def here(self) -> _Loop:
        """What belongs to the event loop that runs."""
        last = self._last
        if last is None or last.loop is not asyncio.get_running_loop():
            last = self._loops.get(None)
            if last is None:
                last = _Loop(self._jobs.threads)
                self._loops.set(last)
            self._last = last
        return last

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
