"""Clients that send a request as it is, and give back the answer as it came: to an ASGI application, to a WSGI application,
or to a server. Nothing is normalised, followed, decoded or added but `Host` and `Content-Length`.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import sys
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

_SERVERS = frozenset({"connection", "date", "keep-alive", "server", "transfer-encoding"})
"""Headers that a server adds, or that are about its connection."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `target` is the path with its query, percent-encoded; names of headers in lower case."""

    method: str
    target: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def all_headers(self) -> list[tuple[str, str]]:
        """With those that every client sends."""
        names = {name for name, _ in self.headers}
        length = [("content-length", str(len(self.body)))] if self.body or self.method == "POST" else []
        added = [("host", "localhost"), *length]
        return [*(header for header in added if header[0] not in names), *self.headers]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers` sorted, names in lower case, without those that are the server's."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name (in lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)


Client: TypeAlias = Callable[[Call], Answer]


def _answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
    lower = ((name.lower(), value) for name, value in headers)
    return Answer(status, tuple(sorted(header for header in lower if header[0] not in _SERVERS)), body)


def asgi_client(app: Callable[..., Awaitable[None]], root_path: str = "") -> Client:
    """Calls an ASGI application without a server, each time on an event loop of its own, and without a lifespan.

    `root_path` is the prefix of a proxy in front, which the path then has too.
    """

    async def send(call: Call) -> Answer:
        path, _, query = (root_path + call.target).partition("?")
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in call.all_headers()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": call.method,
            "scheme": "http",
            "path": urllib.parse.unquote(path),
            "raw_path": path.encode("ascii"),
            "root_path": root_path,
            "query_string": query.encode("ascii"),
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("localhost", 80),
            "state": {},
        }
        sent: list[dict[str, Any]] = []
        begun, ended = False, asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal begun
            if not begun:
                begun = True
                return {"type": "http.request", "body": call.body, "more_body": False}
            await ended.wait()
            return {"type": "http.disconnect"}

        async def keep(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                ended.set()

        await app(scope, receive, keep)
        start = next(message for message in sent if message["type"] == "http.response.start")
        body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
        came = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        return _answer(start["status"], came, body)

    return lambda call: asyncio.run(send(call))


def wsgi_client(app: Callable[..., Iterable[bytes]], script_name: str = "") -> Client:
    """Calls a WSGI application without a server. `script_name` is where a server in front has mounted it."""

    def send(call: Call) -> Answer:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], Any]:
            started.append((status, headers))
            return written.append

        result = app(wsgi_environ(call, script_name), start_response)
        try:
            written.extend(result)
        finally:
            if close := getattr(result, "close", None):
                close()
        status, headers = started[-1]
        return _answer(int(status.split()[0]), headers, b"".join(written))

    return send


def wsgi_environ(call: Call, script_name: str = "") -> dict[str, Any]:
    """The environment in which a WSGI server would hand on that request."""
    path, _, query = call.target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": script_name,
        "PATH_INFO": urllib.parse.unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(call.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in call.all_headers():
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def http_client(url: str) -> Client:
    """Sends each request to the server at `http://host:port`, over a connection of its own."""
    parts = urllib.parse.urlsplit(url)

    def send(call: Call) -> Answer:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        try:
            connection.putrequest(call.method, call.target, skip_host=True, skip_accept_encoding=True)
            for name, value in call.all_headers():
                connection.putheader(name, value.encode("latin-1"))
            with suppress(ConnectionError):  # a server that refuses a body may answer before it has read it
                connection.endheaders(call.body)
            response = connection.getresponse()
            return _answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    return send
