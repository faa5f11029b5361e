"""Requests, responses and routes as every face sees them; adapters translate them for their web framework.

An endpoint is a plain function from a Request to a Response, run in a worker thread. What all of them have in common -
the choice by method, masked failures, the headers every answer carries - is done here and in no adapter.
"""

from __future__ import annotations

import logging
import urllib.parse
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Protocol, TypeAlias, TypeVar

from gnj.access import RequestContext, RunAsync
from gnj.graphql.errors import ErrorBody, known, masked, refused
from gnj.graphql.limits import Limits
from gnj.queue.errors import GnjError, StorageUnavailable
from gnj.queue.later import Later, MayWait, promptly, settled
from gnj.queue.values import dump_json

logger = logging.getLogger("gnj.api")

T = TypeVar("T")

RETRY_AFTER = 5
"""Seconds after which a client may try again when the database cannot be reached."""
_LATER = (("retry-after", str(RETRY_AFTER)),)


# Nobody changes one, but to freeze it takes 2.5 us in the place of 0.7 for each request.
@dataclass(kw_only=True, eq=False)
class Request:
    """One request, its body complete. Header names are in lower case; of a repeated header the values are joined by ", "
    (cookies: "; ").
    """

    method: str
    """In capitals."""
    path: str
    """As the web framework saw it, percent-decoded."""
    sent_path: str | None = None
    """As it was sent, without the query; None where the server does not tell."""
    query_string: str = ""
    """As it was sent, without the question mark."""
    path_params: Mapping[str, str] = field(default_factory=dict)
    """What stood in the places `{name}` of the route's path, percent-decoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client_host: str | None = None
    """The address of the peer; None if the server does not know it (a Unix socket)."""
    scheme: str = "http"
    """`http` or `https` (of a handshake: `ws` or `wss`), as the server sees it."""
    transport: str = "http"
    """`http` here; other transports make contexts, not requests (see `gnj.api.hooks.RequestContext`)."""
    later: bool = False
    """Whether who carries the request takes an answer that is on its way."""
    raw: Any = None
    """The web framework's own request."""
    run_async: RunAsync | None = None
    """See `RequestContext.run_async`."""

    @cached_property
    def parameters(self) -> Sequence[tuple[str, str]]:
        """The query parameters, percent-decoded, in their order."""
        return urllib.parse.parse_qsl(self.query_string, keep_blank_values=True) if self.query_string else ()

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query parameters by name, the last of a name."""
        return dict(self.parameters)

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """The cookies by name, the first of a name; parsed when first asked for."""
        found: dict[str, str] = {}
        for part in self.headers.get("cookie", "").split(";"):
            name, separator, value = part.strip().partition("=")
            if separator and name:
                value = value.strip()
                quoted = len(value) > 1 and value[0] == value[-1] == '"'
                found.setdefault(name.strip(), value[1:-1] if quoted else value)
        return found


class Stream(Protocol):
    """A body that comes bit by bit. Pulled by the adapter, in whatever thread it likes; nothing here blocks."""

    @property
    def heartbeat(self) -> float:
        """Seconds after which `take` is to be called again though `ready` was not: it then may give a sign of life."""

    def attach(self, ready: Callable[[], None]) -> None:
        """Has `ready` called, from any thread, whenever there is something to take; at once if there is already.

        It must neither block nor raise.
        """

    def take(self) -> bytes | None:
        """What has come since the last call; b"" where nothing has; None when the stream has ended."""

    def close(self) -> None:
        """The client is gone, or the stream has ended; idempotent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One answer. `headers` as they go over the wire, in order, names in lower case."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: Stream | None = None
    """In place of a body: what comes bit by bit, until it ends or the client goes away."""

    @property
    def length(self) -> Sequence[tuple[str, str]]:
        """The header that tells how long the body is: none for a stream, nor for a 304, of which it would tell how long the
        file is (RFC 9110, 8.6).
        """
        return () if self.stream is not None or self.status == 304 else (("content-length", str(len(self.body))),)

    def header(self, name: str) -> str | None:
        """The first header of that name (in lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)


def discard(response: Response) -> None:
    """It was sent, or will not be: its stream, if it has one, is closed. Idempotent."""
    if response.stream is not None:
        response.stream.close()


ANY = "*"
"""Stands, among the methods of a route, for all that no route of that path has."""


class Refuse(Protocol):
    """Makes the answer of an error."""

    def __call__(self, error: ErrorBody, status: int, headers: Sequence[tuple[str, str]] = (), /) -> Response:
        """The answer with that status and headers; `error` is an entry of GraphQL's `errors`, with a message and a code."""


def as_errors(error: ErrorBody, status: int, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """An error as GraphQL clients get it: `{"errors": [{message, extensions: {code}}]}`."""
    return json({"errors": [error]}, status, headers)


class Socket(Protocol):
    """One WebSocket, as whoever carries it sees it. Its methods may be called from any thread, and none of them blocks."""

    @property
    def closing(self) -> tuple[int, str] | None:
        """Code and reason, once it is to be closed; nothing is to be sent any more then."""

    def receive(self, message: str | bytes) -> Callable[[], None] | None:
        """Takes a message of the client, text or binary; gives what is to be run in a worker thread for it, if anything."""

    def take(self) -> str | None:
        """The next text to send; None where there is nothing now."""

    def tick(self) -> float:
        """Does what it is time for; the seconds after which it is to be called again at the latest."""

    def close(self) -> None:
        """The connection is gone; idempotent."""


class Sockets(Protocol):
    """Accepts the WebSockets of one route."""

    subprotocol: str
    """The one to be agreed upon."""
    mismatch: tuple[int, str]
    """Code and reason for a client that does not offer it."""

    def open(self, context: RequestContext, ready: Callable[[], None]) -> Socket | Response:
        """A socket for a handshake, or the answer that refuses it. Does not block.

        `ready` is called, from any thread, whenever there is something to take or the socket is to be closed; it must
        neither block nor raise.
        """


Answer: TypeAlias = "Response | Later[Response]"
"""An answer that is there, or on its way: that only where the request takes it (`Request.later`)."""

Endpoint: TypeAlias = Callable[[Request], Answer]
"""Answers requests of one route, in a worker thread; what it raises is masked by `begin`."""


class Sink(Protocol):
    """Takes a request body as it comes. Its methods may block and are called in worker threads, one after the other; either
    `finish` or `abort` is the last. What they raise is masked like what an endpoint raises.
    """

    @property
    def size(self) -> int | None:
        """Bytes that the body must have; None: any number. Whoever pumps refuses another length, before and while it reads."""

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes."""

    def finish(self) -> Response:
        """The body is complete; the answer."""

    def abort(self) -> None:
        """It will not be: nothing of it is kept. Idempotent, raises nothing."""


Told: TypeAlias = "Response | Future[Response]"
"""A response that is there, or on its way to who is on the event loop."""

Prompt: TypeAlias = "Callable[[Request], Told | None]"
"""Answers a request on the event loop; None: it is to be asked in the ordinary way, and nothing was done."""

Receive: TypeAlias = Callable[[Request], "Sink | Response"]
"""Takes a request whose body is still to come (`Request.body` is empty); gives where that goes, or the answer that refuses it.
In a worker thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Where an endpoint stands. `path` begins with "/" and may have places: `/queues/{queue}`; a place takes one segment, one
    at the end that is written `{rest...}` takes all that are left.

    Of two routes that a path fits the first one is meant: one that takes all that is left comes after the others.
    """

    path: str
    methods: tuple[str, ...]
    """In capitals, or `ANY`. HEAD is answered wherever GET is."""
    endpoint: Endpoint
    name: str
    """Unique among the routes; for the web framework's list of routes."""
    sockets: Sockets | None = None
    """What WebSockets at this path speak to, where the web framework has WebSockets."""
    refuse: Refuse = as_errors
    """How errors look that are made before the endpoint is asked, or in its place; of a path with several routes, that of the
    first."""
    gives_way: bool = False
    """Whether it is left out at the root of a host's own application, where the host has something of its own."""
    prompt: bool = False
    """Whether a POST request may be begun on an event loop: the endpoint calls `gnj.queue.later.may_wait` before what may have
    to wait."""
    receive: Receive | None = None
    """Takes the bodies of requests in the endpoint's place, chunk by chunk and whatever their size (`gnj.api.receiving`); for
    methods that have a body."""


class Served(Protocol):
    """What an adapter serves."""

    @property
    def limits(self) -> Limits:
        """The bounds of a request, which adapters keep while they read it."""

    @property
    def threads(self) -> int:
        """How many requests may run at once: as many as there are database connections for them."""

    def routes(self, faces: Sequence[str] | None, *, asynchronous: bool = True) -> Sequence[Route]:
        """The routes of these faces, or of all; ValueError names a face that does not exist.

        `asynchronous` False: there will be no event loop (`Request.run_async`); `SchemaError` names what needs one.
        """

    def start(self) -> None:
        """Makes ready to serve. Called before the first request of every mount: must be idempotent and thread-safe."""

    def close(self) -> None:
        """Gives back what `start` took; idempotent."""


def check_served(jobs: object) -> None:
    """Raises TypeError for what `mount` cannot serve, such as the URL of a database."""
    if not callable(getattr(jobs, "routes", None)):
        raise TypeError(f"mount(app, jobs, path) serves a gnj.GNJ, not a {type(jobs).__name__}")


_COMMON = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    # of what is no page: a browser that shows it all the same runs and loads nothing
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)


def content(body: bytes, content_type: str, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A response with that body and content type, never stored by caches and never sniffed, unless `headers` say other."""
    if not headers:
        return Response(status=status, headers=_plain(content_type), body=body)
    given = {name for name, _ in headers}
    common = [(name, value) for name, value in _COMMON if name not in given]
    return Response(status=status, headers=(("content-type", content_type), *common, *headers), body=body)


@lru_cache(maxsize=32)
def _plain(content_type: str) -> tuple[tuple[str, str], ...]:
    return (("content-type", content_type), *_COMMON)


def json(value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A response with `value` as compact JSON in UTF-8. ValueError or TypeError: it is not JSON."""
    return content(dump_json(value).encode(), "application/json; charset=utf-8", status, headers)


def text(value: str, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A response with plain text in UTF-8."""
    return content(value.encode(), "text/plain; charset=utf-8", status, headers)


def refusal(status: int, message: str, code: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """The answer to a request that never reached an endpoint: see `as_errors`."""
    return as_errors(refused(message, code), status, headers)


class Refused(Exception):
    """A request that is not read to its end, and why."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self, *headers: tuple[str, str], refuse: Refuse = as_errors) -> Response:
        """What the client is told."""
        return refuse(refused(str(self), self.code), self.status, headers)


def check_head(limits: Limits, headers: int, url: int) -> None:
    """Raises `Refused` for so many bytes of header names and values, or of path and query string."""
    if headers > limits.max_headers:
        raise Refused(431, f"Headers are limited to {limits.max_headers:,} bytes.", "HEADERS_TOO_LARGE")
    if url > limits.max_url:
        raise Refused(414, f"The URL is limited to {limits.max_url:,} bytes.", "URL_TOO_LONG")


def too_large(most: int) -> Refused:
    """For a body of more bytes than `most`."""
    return Refused(413, f"A body is limited to {most:,} bytes.", "BODY_TOO_LARGE")


def too_slow(seconds: float) -> Refused:
    """For a body that takes longer than `seconds`."""
    return Refused(408, f"The body did not arrive within {seconds:g} s.", "REQUEST_TIMEOUT")


class Methods(dict[str, Endpoint]):
    """The endpoints of one path, by method, and how its errors look."""

    def __init__(self, refuse: Refuse = as_errors) -> None:
        super().__init__()
        self.refuse = refuse
        self.prompt = False
        """See `Route.prompt`."""
        self.receivers: dict[str, Receive] = {}
        """What takes the bodies of requests, by method, where these are not read whole for the endpoint."""


def endpoints(routes: Sequence[Route]) -> dict[str, Methods]:
    """The endpoints by path and method, in the order of the routes. ValueError: two routes for one path and method."""
    result: dict[str, Methods] = {}
    for route in routes:
        methods = result.setdefault(route.path, Methods(route.refuse))
        for method in route.methods:
            if method in methods:
                raise ValueError(f"two routes for {method} {route.path}")
            methods[method] = route.endpoint
            methods.prompt = methods.prompt or (route.prompt and method == "POST")
            if route.receive is not None:
                methods.receivers[method] = route.receive
    return result


def answer(methods: Mapping[str, Endpoint], request: Request) -> Response:
    """What `begin` comes to."""
    return settled(begin(methods, request))


def begin(methods: Mapping[str, Endpoint], request: Request) -> Answer:
    """What the endpoint for the request's method answers, now or later; raises nothing.

    No such method: 405 with Allow (RFC 9110, 15.5.6). `StorageUnavailable`: 503 with Retry-After. Anything else the
    endpoint raises: 500 that tells only an error id, under which the log has the traceback (security.md, rule zero).
    """
    refuse = methods.refuse if isinstance(methods, Methods) else as_errors
    endpoint = methods.get("GET" if request.method == "HEAD" else request.method) or methods.get(ANY)
    if endpoint is None:
        allowed = [*methods, "HEAD"] if "GET" in methods else [*methods]
        message = f"This path answers {', '.join(allowed)}."
        return refuse(refused(message, "METHOD_NOT_ALLOWED"), 405, [("allow", ", ".join(allowed))])

    def guarded(get: Callable[[], T]) -> T | Response:
        try:
            return get()
        except Exception as error:  # noqa: BLE001 - the last net: a failure must not end the connection
            return failure(error, f"{request.method} {request.path}", refuse)

    found = guarded(lambda: endpoint(request))
    return found.then(guarded) if isinstance(found, Later) else found


def begin_promptly(methods: Mapping[str, Endpoint], request: Request) -> Answer | None:
    """`begin` where nothing may wait, on an event loop; None: it is to be begun in a thread, and nothing was done."""
    try:
        with promptly():
            return begin(methods, request)
    except MayWait:
        return None


def failure(error: Exception, where: str, refuse: Refuse = as_errors) -> Response:
    """The answer when an endpoint, or starting up, raised."""
    if isinstance(error, StorageUnavailable):
        return refuse(known(error), 503, _LATER)
    if isinstance(error, GnjError):
        logger.error("%s was not handled in %s", error.code, where[:200], exc_info=error)
        return refuse(known(error), 500)
    return refuse(masked(error, where, logger), 500)


def busy(refuse: Refuse = as_errors) -> Response:
    """The answer to a request that no thread was free for."""
    return refuse(refused("The server is busy: no request ahead of this one has ended.", "BUSY"), 503, _LATER)


def nowhere() -> Response:
    """The answer to a request for a path that no route has, where nothing but gnj is served."""
    return json({"error": "Not found"}, 404)


def unavailable(body: Any) -> Response:
    """503 with Retry-After and that JSON body."""
    return json(body, 503, _LATER)
