"""Requests, responses and routes as every face sees them; adapters translate them for their web framework.

An endpoint is a plain function from a Request to a Response, run in a worker thread. What all of them have in common -
the choice by method, masked failures, the headers every answer carries - is done here and in no adapter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeAlias

from gnj.access import RequestContext, RunAsync
from gnj.graphql.errors import known, masked, refused
from gnj.graphql.limits import Limits
from gnj.queue.errors import GnjError, StorageUnavailable
from gnj.queue.values import dump_json

logger = logging.getLogger("gnj.api")

RETRY_AFTER = 5
"""Seconds after which a client may try again when the database cannot be reached."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, its body complete. Header names are in lower case; of a repeated header the values are joined by ", "
    (cookies: "; "), of a repeated query parameter the last one counts.
    """

    method: str
    """In capitals."""
    path: str
    """As the web framework saw it, percent-decoded."""
    query: Mapping[str, str] = field(default_factory=dict)
    path_params: Mapping[str, str] = field(default_factory=dict)
    """What stood in the places `{name}` of the route's path, percent-decoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client_host: str | None = None
    """The address of the peer; None if the server does not know it (a Unix socket)."""
    transport: str = "http"
    """`http` here; other transports make contexts, not requests (see `gnj.api.hooks.RequestContext`)."""
    raw: Any = None
    """The web framework's own request."""
    run_async: RunAsync | None = None
    """See `RequestContext.run_async`."""

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


Endpoint: TypeAlias = Callable[[Request], Response]
"""Answers requests of one route, in a worker thread; what it raises is masked by `answer`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Where an endpoint stands. `path` begins with "/" and may have places: `/queues/{queue}`; a place takes one segment."""

    path: str
    methods: tuple[str, ...]
    """In capitals. HEAD is answered wherever GET is."""
    endpoint: Endpoint
    name: str
    """Unique among the routes; for the web framework's list of routes."""
    sockets: Sockets | None = None
    """What WebSockets at this path speak to, where the web framework has WebSockets."""


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


_COMMON = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    # of what is no page: a browser that shows it all the same runs and loads nothing
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)


def content(body: bytes, content_type: str, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A response with that body and content type, never stored by caches and never sniffed, unless `headers` say other."""
    given = {name for name, _ in headers}
    common = [(name, value) for name, value in _COMMON if name not in given]
    return Response(status=status, headers=(("content-type", content_type), *common, *headers), body=body)


def json(value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A response with `value` as compact JSON in UTF-8. ValueError or TypeError: it is not JSON."""
    return content(dump_json(value).encode(), "application/json; charset=utf-8", status, headers)


def text(value: str, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A response with plain text in UTF-8."""
    return content(value.encode(), "text/plain; charset=utf-8", status, headers)


def refusal(status: int, message: str, code: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """The answer to a request that never reached an endpoint: `{"errors": [{message, extensions: {code}}]}`."""
    return json({"errors": [refused(message, code)]}, status, headers)


class Refused(Exception):
    """A request that is not read to its end, and why."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self, *headers: tuple[str, str]) -> Response:
        """What the client is told."""
        return refusal(self.status, str(self), self.code, headers)


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


def endpoints(routes: Sequence[Route]) -> dict[str, dict[str, Endpoint]]:
    """The endpoints by path and method, in the order of the routes. ValueError: two routes for one path and method."""
    result: dict[str, dict[str, Endpoint]] = {}
    for route in routes:
        methods = result.setdefault(route.path, {})
        for method in route.methods:
            if method in methods:
                raise ValueError(f"two routes for {method} {route.path}")
            methods[method] = route.endpoint
    return result


def answer(methods: Mapping[str, Endpoint], request: Request) -> Response:
    """What the endpoint for the request's method answers; raises nothing.

    No such method: 405 with Allow (RFC 9110, 15.5.6). `StorageUnavailable`: 503 with Retry-After. Anything else the
    endpoint raises: 500 that tells only an error id, under which the log has the traceback (security.md, rule zero).
    """
    endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
    if endpoint is None:
        allowed = [*methods, "HEAD"] if "GET" in methods else [*methods]
        message = f"This path answers {', '.join(allowed)}."
        return refusal(405, message, "METHOD_NOT_ALLOWED", [("allow", ", ".join(allowed))])
    try:
        return endpoint(request)
    except Exception as error:  # noqa: BLE001 - the last net: a failure must not end the connection
        return failure(error, f"{request.method} {request.path}")


def failure(error: Exception, where: str) -> Response:
    """The answer when an endpoint, or starting up, raised."""
    if isinstance(error, StorageUnavailable):
        return unavailable({"errors": [known(error)]})
    if isinstance(error, GnjError):
        logger.error("%s was not handled in %s", error.code, where[:200], exc_info=error)
        return json({"errors": [known(error)]}, 500)
    return json({"errors": [masked(error, where, logger)]}, 500)


def busy() -> Response:
    """The answer to a request that no thread was free for."""
    return unavailable({"errors": [refused("The server is busy: no request ahead of this one has ended.", "BUSY")]})


def unavailable(body: Any) -> Response:
    """503 with Retry-After and that JSON body."""
    return json(body, 503, [("retry-after", str(RETRY_AFTER))])
