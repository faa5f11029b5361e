"""Carries WSGI requests (PEP 3333): for `jobs.wsgi_app()`, for `gnj_flask`, and for any other WSGI framework.

Everything happens in the thread that the server gave the request: reading, the endpoint, and what a stream sends. There is
no lifespan in WSGI, so the first request of a process starts what is served, and the end of the process closes it.
"""

from __future__ import annotations

import atexit
import io
import logging
import math
import os
import re
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from http.client import responses
from typing import Any, Final, TypeAlias

from gnj.api import http, receiving
from gnj.graphql.errors import refused

logger = logging.getLogger("gnj.wsgi")

Environ: TypeAlias = MutableMapping[str, Any]
Application: TypeAlias = Callable[[Any, Any], Iterable[bytes]]
"""A WSGI application."""

_CHUNK: Final = 64 * 1024
_PLACE: Final = re.compile(r"\\\{(\w+)\\\}")
_REST: Final = re.compile(r"\\\{(\w+)\\\.\\\.\\\.\\\}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: to `start_response`, or into a framework's response.

    Whoever takes it must call `body.close()`, where there is one, when the response has been sent or given up.
    """

    status: int
    headers: list[tuple[str, str]]
    body: Iterable[bytes]


def wsgi_app(jobs: http.Served, faces: Sequence[str] | None = None) -> Application:
    """A WSGI application that serves `jobs` and nothing else, at the paths of its routes, with and without a slash at
    their end. `ValueError`: a face does not exist.
    """
    carrier = Carrier(jobs)
    routes = jobs.routes(faces, asynchronous=False)
    table = [(_pattern(path), methods) for path, methods in http.endpoints(routes).items()]

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = _decoded(environ.get("PATH_INFO", "")) or "/"
        found = ((match, methods) for pattern, methods in table if (match := pattern.fullmatch(path)))
        match, methods = next(found, (None, None))
        if match is None or methods is None:
            answer = carrier.sendable(http.nowhere(), environ)
        else:
            answer = carrier.carry(methods, environ, places=match.groupdict(), raw=environ)
        start_response(f"{answer.status} {responses.get(answer.status, 'Unknown')}", answer.headers)
        return answer.body

    return application


class Carrier:
    """Carries requests to one `jobs` and answers back."""

    def __init__(self, jobs: http.Served) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._started_in: int | None = None
        self._streams = 0

    def carry(
        self,
        methods: http.Methods,
        environ: Environ,
        *,
        places: Mapping[str, str],
        raw: Any,
        max_body: int | None = None,
        stream: Any = None,
        already: Callable[[], bytes] = bytes,
    ) -> Answer:
        """The answer to one request; raises nothing.

        Args:
            methods: The endpoints of the path, by method.
            environ: The WSGI environment. The body is put back into it once it is read, for hooks and the host.
            places: What stood in the places of the path.
            raw: The framework's own request.
            max_body: A smaller bound of the body than that of the limits, if the host has one; not of those that are
                taken as they come (`Route.receive`), which have a bound of their own.
            stream: Where the body is read from instead of `wsgi.input`, if the framework has begun to read it.
            already: Gives what the framework has read of the body, asked if `stream` has nothing left.
        """
        taken = environ["REQUEST_METHOD"] in methods.receivers
        try:
            self._check_head(environ)
            body = b"" if taken else self._read(environ, max_body, stream, already)
        except http.Refused as error:
            return self.sendable(error.response(refuse=methods.refuse), environ)
        try:
            self._start()
        except Exception as error:  # noqa: BLE001 - whatever it is, this request has no other answer
            return self.sendable(http.failure(error, "start", methods.refuse), environ)
        if taken:
            request, source = _request(environ, b"", places, raw), environ["wsgi.input"] if stream is None else stream
            if not self._reserve():
                return self.sendable(_too_many(methods.refuse), environ, methods.refuse)
            try:
                response = receiving.receive_wsgi(environ, request, methods, self._jobs.limits, source, already)
            finally:
                self._release()
            return self.sendable(response, environ, methods.refuse)
        return self.sendable(http.answer(methods, _request(environ, body, places, raw)), environ, methods.refuse)

    def sendable(self, response: http.Response, environ: Environ, refuse: http.Refuse = http.as_errors) -> Answer:
        """A response as WSGI sends it; 503 in the place of a stream more than may be open at once."""
        head = environ["REQUEST_METHOD"] == "HEAD"
        stream = response.stream
        if stream is not None and not head and not self._reserve():
            stream.close()
            response, stream = _too_many(refuse), None
        headers = list(response.headers)
        if stream is not None:
            if head:
                stream.close()
                return Answer(response.status, headers, [])
            try:
                return Answer(response.status, headers, _Pieces(stream, _peer(environ), self._release))
            except ConnectionAbortedError:  # nothing was sent yet
                return self.sendable(http.busy(refuse), environ)
        headers += response.length
        return Answer(response.status, headers, [] if head else [response.body])

    def _check_head(self, environ: Environ) -> None:
        headers = sum(len(name) + len(value) for name, value in _headers(environ))
        http.check_head(self._jobs.limits, headers, _url_length(environ))

    def _read(self, environ: Environ, max_body: int | None, stream: Any, already: Callable[[], bytes]) -> bytes:
        """The body. Raises `http.Refused`."""
        limits = self._jobs.limits
        most = limits.max_body if max_body is None else min(limits.max_body, max_body)
        terminated = bool(environ.get("wsgi.input_terminated"))
        declared = _declared(environ)
        if environ.get("HTTP_TRANSFER_ENCODING") and not terminated:
            # with a Content-Length as well: a proxy before the server went by the other one of the two (RFC 9112, 6.3)
            raise http.Refused(411, "This server takes no chunked bodies: Content-Length is needed.", "LENGTH_REQUIRED")
        if declared is None and not terminated:
            return b""
        left = math.inf if terminated or declared is None else declared
        if not terminated and left > most:
            raise http.too_large(most)
        body = _complete(environ["wsgi.input"] if stream is None else stream, left, most, limits.body_seconds)
        if not body and stream is not None:
            body = already()
        if len(body) > most:
            raise http.too_large(most)
        if declared is not None and len(body) < declared:
            raise http.Refused(400, "The body ended before its Content-Length.", "BAD_REQUEST")
        environ.update(
            {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(body))}
        )
        return body

    def _start(self) -> None:
        if self._started_in == os.getpid():
            return
        with self._lock:
            if self._started_in == os.getpid():
                return
            self._jobs.start()
            atexit.register(_close, weakref.ref(self._jobs))
            self._started_in = os.getpid()
        logger.info("Started by the first request of process %d; its end closes it", os.getpid())

    def _reserve(self) -> bool:
        """Counts a request that may keep its thread for long; False if there are too many."""
        with self._lock:
            if self._streams >= self._jobs.limits.wsgi_streams:
                return False
            self._streams += 1
            return True

    def _release(self) -> None:
        with self._lock:
            self._streams -= 1


class _Pieces(Iterator[bytes]):
    """Pulls a stream in the thread of its request."""

    def __init__(self, stream: http.Stream, peer: socket.socket | None, done: Callable[[], None]) -> None:
        self._stream = stream
        self._peer = peer
        self._done = done
        self._lock = threading.Lock()
        self._closed = False
        self._begun = False
        self._ready = threading.Event()
        try:
            stream.attach(self._ready.set)
        except BaseException:
            self.close()
            raise

    def __next__(self) -> bytes:
        while not self._closed:
            self._ready.clear()
            piece = self._stream.take()
            if piece is None:
                break
            if piece or not self._begun:
                # even if there is nothing yet: with the first piece, servers send the headers
                self._begun = True
                return piece
            self._ready.wait(self._stream.heartbeat)
            # the first write to a client that has gone succeeds, so that writing alone would tell a heartbeat later
            if self._peer is not None and _has_gone(self._peer):
                break
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Called by the server: the response has been sent, or the client has gone."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._stream.close()
        self._done()

    def __del__(self) -> None:
        # a host's after_request may have put another response in the place of ours, which nobody then closes
        self.close()


def _too_many(refuse: http.Refuse) -> http.Response:
    told = refused(
        "This server has as many streams and uploads as it has threads for; try again later.", "TOO_MANY_STREAMS"
    )
    return refuse(told, 503, [("retry-after", str(http.RETRY_AFTER))])


def _close(served: weakref.ref[http.Served]) -> None:
    jobs = served()
    if jobs is not None:
        jobs.close()


def _complete(stream: Any, left: float, most: int, seconds: float) -> bytes:
    """What `stream` has, `left` bytes of it, or one byte and more than `most`. Raises `http.Refused`: it is too slow.

    A read that waits cannot be interrupted, so a client that falls silent is ended by the timeout of the server.
    """
    read = getattr(stream, "read1", stream.read)
    deadline = time.monotonic() + seconds
    chunks: list[bytes] = []
    size = 0
    while left > 0 and size <= most:
        try:
            chunk = read(int(min(_CHUNK, left)))
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
        left -= len(chunk)
        if left > 0 and time.monotonic() > deadline:
            raise http.too_slow(seconds)
    return b"".join(chunks)


def _declared(environ: Environ) -> int | None:
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise http.Refused(400, "Content-Length is no number of bytes.", "BAD_REQUEST")
    return int(text)


def _headers(environ: Environ) -> Iterator[tuple[str, str]]:
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-").lower(), value
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield key.replace("_", "-").lower(), value


def _request(environ: Environ, body: bytes, places: Mapping[str, str], raw: Any) -> http.Request:
    return http.Request(
        method=environ["REQUEST_METHOD"],
        path=_decoded(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")),
        sent_path=_sent(environ),
        query_string=environ.get("QUERY_STRING", ""),
        path_params=places,
        headers=dict(_headers(environ)),
        body=body,
        client_host=environ.get("REMOTE_ADDR") or None,
        scheme=environ.get("wsgi.url_scheme", "http"),
        raw=raw,
    )


def _url_length(environ: Environ) -> int:
    sent = _sent(environ)
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "") if sent is None else sent
    return len(path) + len(environ.get("QUERY_STRING", ""))


def _sent(environ: Environ) -> str | None:
    # both are what servers call the path as it was sent; PEP 3333 knows only the decoded one
    sent = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    return str(sent).partition("?")[0] if sent else None


def _decoded(text: str) -> str:
    """A path that PEP 3333 gives as bytes in the clothes of Latin-1."""
    return text.encode("latin-1").decode("utf-8", "replace")


def _pattern(path: str) -> re.Pattern[str]:
    places = _PLACE.sub(r"(?P<\1>[^/]+)", _REST.sub(r"(?P<\1>.+?)", re.escape(path.rstrip("/"))))
    return re.compile(places + "/?", re.DOTALL)


def _peer(environ: Environ) -> socket.socket | None:
    """The connection, from servers that show it: Werkzeug's and Gunicorn."""
    return environ.get("werkzeug.socket") or environ.get("gunicorn.socket")


def _has_gone(peer: socket.socket) -> bool:
    try:
        readable, _, _ = select.select([peer], [], [], 0)
        return bool(readable) and peer.recv(1, socket.MSG_PEEK) == b""
    except ConnectionError:
        return True
    except (OSError, ValueError):  # TLS has no MSG_PEEK, and select no large numbers: then the next write tells
        return False
