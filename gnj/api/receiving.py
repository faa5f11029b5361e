"""Request bodies of any size, taken chunk by chunk: for routes with `Route.receive`, under ASGI and under WSGI.

What bounds such a body is the size that its sink says, not `Limits.max_body`. It must keep coming - no gap longer than
`Limits.body_seconds` - and come within a time that grows with its size.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from gnj.api import asgi, http
from gnj.api.http import Receive, Request, Response, Sink
from gnj.api.threads import NoThread, Threads
from gnj.graphql.limits import Limits

CHUNK: Final = 256 * 1024
"""Bytes that are gathered before a sink gets them: each time it takes a hop to a thread."""
_SLOWEST: Final = 50_000
"""Bytes a second that a body must come with at least, in all;"""
_SPARE: Final = 60.0
"""and these seconds besides."""
WRITERS: Final = 4
"""Threads that an event loop has for what sinks write: a disk that stands still must not keep those of the database."""


class _Taken:
    """A sink, and what becomes of it: whatever happens, it is finished once, or aborted."""

    def __init__(self, sink: Sink, request: Request, refuse: http.Refuse) -> None:
        self._sink = sink
        self._where = f"{request.method} {request.path}"
        self._refuse = refuse
        self._lock = threading.Lock()
        """A write may still be under way in its thread when nobody waits for it any more."""
        self._ended = False
        self.size = sink.size
        self.came = 0
        self._declared = request.headers.get("content-length", "")

    @property
    def ended(self) -> bool:
        """Whether the sink was finished or aborted."""
        return self._ended

    @property
    def seconds(self) -> float:
        """How long the whole body may take."""
        return math.inf if self.size is None else self.size / _SLOWEST + _SPARE

    def check_declared(self) -> None:
        """Raises `http.Refused` where the request announces another length than the body must have."""
        if (length := _length(self._declared)) is not None:
            self._expect(length, all_of_it=True)

    def count(self, chunk: bytes) -> None:
        """Notes that so much has come. Raises `http.Refused` once it is too much."""
        self.came += len(chunk)
        self._expect(self.came)

    def check_whole(self) -> None:
        """Raises `http.Refused` where the body has ended too early."""
        self._expect(self.came, all_of_it=True)

    def _expect(self, length: int, *, all_of_it: bool = False) -> None:
        if self.size is None or length == self.size:
            return
        if length > self.size:
            raise http.Refused(413, f"The body must have {self.size:,} bytes, and has more.", "BODY_TOO_LARGE")
        if all_of_it:
            raise http.Refused(400, f"The body must have {self.size:,} bytes, not {length:,}.", "BAD_REQUEST")

    def write(self, chunk: bytes) -> Response | None:
        """Gives it to the sink; the answer, if that fails."""
        return self._guarded(lambda: self._sink.write(chunk))

    def finish(self) -> Response:
        """The answer of the sink."""

        def finish() -> Response:
            self._ended = True
            return self._sink.finish()

        # None only where it was given up before, and then nobody reads the answer
        return self._guarded(finish) or http.busy(self._refuse)

    def give_up(self) -> None:
        """Aborts the sink, unless it was finished."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._sink.abort()

    def _guarded(self, work: Callable[[], Response | None]) -> Response | None:
        with self._lock:
            if self._ended:
                return None
            try:
                return work()
            except Exception as error:  # noqa: BLE001 - as of an endpoint: a failure must not end the connection
                return http.failure(error, self._where, self._refuse)


def _opened(
    begin: Callable[[], Response | None], receiver: Receive, request: Request, refuse: http.Refuse
) -> Sink | Response:
    try:
        return begin() or receiver(request)
    except Exception as error:  # noqa: BLE001 - likewise
        return http.failure(error, f"{request.method} {request.path}", refuse)


def _unwanted(opened: Sink | Response) -> None:
    if not isinstance(opened, Response):
        opened.abort()


async def receive_asgi(
    scope: asgi.Message,
    messages: asgi.Receive,
    request: Request,
    methods: http.Methods,
    begin: Callable[[], Response | None],
    threads: Threads,
    writers: Threads,
    limits: Limits,
) -> Response:
    """The answer to a request whose body is given to the sink of the path's receiver as it comes.

    Before the receiver, `begin` is asked; both run in `threads`, and everything of the sink in those of `writers`. What is
    answered before the body has come is answered with `connection: close`. Raises `http.Refused` for a body that has another length or stops coming,
    and `asgi.Gone` where the client goes away: the sink was aborted then.
    """
    asgi.check_head(limits, scope)
    refuse = methods.refuse
    opening: Callable[[], Sink | Response] = partial(_opened, begin, methods.receivers[request.method], request, refuse)
    try:
        opened: Sink | Response = await threads.run(opening, limits.waiting_seconds, _unwanted)
    except NoThread:
        return _last(http.busy(refuse))
    if isinstance(opened, Response):
        return _last(opened)
    taken = _Taken(opened, request, refuse)
    waits = True
    try:
        return await _pump(taken, messages, writers, limits)
    except NoThread:
        waits = False  # for threads that none of those before it gives back
        return _last(http.busy(refuse))
    finally:
        if not taken.ended:
            given_up = asyncio.ensure_future(writers.run(taken.give_up))
            if waits:  # also where this request is cancelled
                await asyncio.shield(given_up)


async def _pump(taken: _Taken, messages: asgi.Receive, writers: Threads, limits: Limits) -> Response:
    """Raises `NoThread` where none of `writers` is free for long."""
    taken.check_declared()
    gathered: list[bytes] = []
    size, more = 0, True
    whole = asyncio.get_running_loop().time() + taken.seconds
    while more:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, min(limits.body_seconds, whole - now))):
                message = await messages()
        except TimeoutError:
            raise _too_slow(taken, limits) from None
        if message["type"] == "http.disconnect":
            raise asgi.Gone
        chunk, more = message.get("body", b""), message.get("more_body", False)
        taken.count(chunk)
        gathered.append(chunk)
        size += len(chunk)
        if not more:
            taken.check_whole()
        if size >= CHUNK or (size and not more):
            failed = await writers.run(partial(taken.write, b"".join(gathered)), limits.waiting_seconds)
            if failed is not None:
                return _last(failed)
            gathered, size = [], 0
    return await writers.run(taken.finish, limits.waiting_seconds)


def receive_wsgi(
    environ: Mapping[str, Any],
    request: Request,
    methods: http.Methods,
    limits: Limits,
    stream: Any,
    already: Callable[[], bytes] = bytes,
) -> Response:
    """The same in the thread of the request, whose head was checked; raises nothing.

    Args:
        environ: The WSGI environment.
        request: Without its body.
        methods: What the path has; its receiver of the request's method is meant.
        limits: See above.
        stream: Where the body is read from. A length must be announced, or the server say that it ends the input.
        already: Gives what the framework has read of the body, asked if `stream` has nothing left.
    """
    refuse = methods.refuse
    opened = _opened(lambda: None, methods.receivers[request.method], request, refuse)
    if isinstance(opened, Response):
        return opened
    taken = _Taken(opened, request, refuse)
    try:
        taken.check_declared()
        for chunk in _chunks(environ, request, taken, limits, stream, already):
            taken.count(chunk)
            if (failed := taken.write(chunk)) is not None:
                return failed
        taken.check_whole()
        return taken.finish()
    except http.Refused as refused:
        return refused.response(refuse=refuse)
    finally:
        taken.give_up()


def _chunks(
    environ: Mapping[str, Any],
    request: Request,
    taken: _Taken,
    limits: Limits,
    stream: Any,
    already: Callable[[], bytes],
) -> Iterator[bytes]:
    """What `stream` has, gathered. A read that waits cannot be interrupted, so a client that falls silent for good is ended by
    the timeout of the server.
    """
    declared = request.headers.get("content-length", "")
    ends = bool(environ.get("wsgi.input_terminated"))
    if not ends and (not declared or "transfer-encoding" in request.headers):
        raise http.Refused(411, "This server takes no chunked bodies: Content-Length is needed.", "LENGTH_REQUIRED")
    # of input that ends, one byte more than there may be is asked for, so that too much is seen
    left = math.inf if ends else _length(declared) or 0
    read = getattr(stream, "read1", stream.read)
    whole = time.monotonic() + taken.seconds
    gathered: list[bytes] = []
    size, came = 0, False
    while left > 0:
        begun = time.monotonic()
        try:
            chunk = read(int(min(CHUNK, left)))
        except Exception:  # noqa: BLE001 - however servers say that no more comes
            chunk = b""
        if not chunk:
            break
        came = True
        now = time.monotonic()
        if now - begun > limits.body_seconds or now > whole:
            raise _too_slow(taken, limits)
        gathered.append(chunk)
        size += len(chunk)
        left -= len(chunk)
        if size >= CHUNK:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)
    elif not came and (body := already()):
        yield body


def _length(declared: str) -> int | None:
    """What a Content-Length says; None where it is none. One too long to be a length of anything is not read to its end."""
    if not (declared.isascii() and declared.isdigit()):
        return None
    return int(declared.lstrip("0")[:20] or "0")


def _too_slow(taken: _Taken, limits: Limits) -> http.Refused:
    message = f"The body must keep coming, with no gap of {limits.body_seconds:g} s, and within {taken.seconds:.0f} s."
    return http.Refused(408, message, "REQUEST_TIMEOUT")


def _last(response: Response) -> Response:
    """The answer where the rest of the body will not be read, so that the connection cannot carry another request."""
    return replace(response, headers=(*response.headers, ("connection", "close")))


def buffered(receiver: Receive) -> http.Endpoint:
    """The endpoint of a route whose bodies `receiver` takes, for who carries only whole ones."""

    def endpoint(request: Request) -> Response:
        sink = receiver(request)
        if isinstance(sink, Response):
            return sink
        taken = _Taken(sink, request, http.as_errors)
        try:
            taken.count(request.body)
            taken.check_whole()
            return taken.write(request.body) or taken.finish()
        except http.Refused as refused:
            return refused.response()
        finally:
            taken.give_up()

    return endpoint
