"""Servers that do as a test tells them, down to the byte, and count who comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from gnj.fetch.connection import Pool

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Raw:
    """Accepts connections, and has `serve` called for each, on a thread of its own.

    Args:
        serve: Called with a connection; it is closed afterwards.
        address: Where to listen.
    """

    def __init__(self, serve: Callable[[Conversation], None], address: str = "127.0.0.1", port: int = 0) -> None:
        self._serve = serve
        self._listener = socket.create_server(
            (address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET
        )
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.hits = 0
        """Connections."""
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def close(self) -> None:
        # closing alone does not end an accept under way
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.hits += 1
            self._open.append(sock)
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with suppress(OSError):
            self._serve(Conversation(sock, self))
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


class Conversation:
    """One connection, as the server sees it."""

    def __init__(self, sock: socket.socket, server: Raw) -> None:
        self.sock = sock
        self._server = server
        self._rest = b""

    def request(self) -> bytes:
        """The next request, whole; b"" where none comes any more."""
        data = self._rest
        while b"\r\n\r\n" not in data:
            if not (more := self.sock.recv(65536)):
                return b""
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        while len(rest) < length:
            if not (more := self.sock.recv(65536)):
                return b""
            rest += more
        self._rest = rest[length:]
        whole = head + b"\r\n\r\n" + rest[:length]
        self._server.requests.append(whole)
        return whole

    def answer(self, *parts: bytes) -> None:
        for part in parts:
            self.sock.sendall(part)


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    """Call it for a server: with bytes that it answers every request with, or a function that talks."""
    made: list[Raw] = []

    def make(serve: bytes | Callable[[Conversation], None] = OK, **options: object) -> Raw:
        def always(talk: Conversation) -> None:
            assert isinstance(serve, bytes)
            while talk.request():
                talk.answer(serve)

        made.append(Raw(always if isinstance(serve, bytes) else serve, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()
