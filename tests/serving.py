"""Servers to test clients on: `gnj serve` as a process of its own, and one in this process for what needs no more."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
WAIT = 30.0
"""Seconds in which a server must have begun, or ended."""
_SOON = 20.0
"""The same, of one in this process."""


class Server:
    """`gnj serve` on a port of this machine, which it keeps when it is started again.

    Args:
        database: The URL.
        folder: Its working directory.
        options: Of the command line.
        environment: Beside what it needs.
    """

    def __init__(self, database: str, folder: Path, *options: str, **environment: str) -> None:
        self._database = database
        self._folder = folder
        self._options = options
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GNJ_", "PYTEST_"))}
        self._environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """Of its GraphQL endpoint."""
        return f"http://127.0.0.1:{self.port}/graphql"

    def start(self) -> None:
        """Begins; returns when it answers."""
        arguments = ["serve", "--database", self._database, "--port", str(self.port), *self._options]
        with (self._folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gnj.cli", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = b"".join(_until(self._process.stdout, b"/graphql"))
        address = next((word for word in line.decode().split() if word.startswith("http://")), None)
        assert address, (line, self.log())
        self.port = int(address.split(":")[2].split("/")[0])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it with a signal; returns when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.communicate(timeout=WAIT)
            self._process = None

    def kill(self) -> None:
        """Ends it as a lost machine does."""
        self.stop(signal.SIGKILL)

    def log(self) -> str:
        """What it said on stderr."""
        return (self._folder / "serve.log").read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _until(stream: Any, word: bytes) -> Iterator[bytes]:
    """What comes, until `word` is in it and its line is whole, or the stream ends."""
    end, seen = time.monotonic() + WAIT, b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while word not in seen or b"\n" not in seen.partition(word)[2]:
            assert selector.select(end - time.monotonic()), "the server says nothing"
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                return
            seen += chunk
            yield chunk


@contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """An ASGI application under uvicorn, with these options, in a thread; the address without a path."""
    import uvicorn

    listening = threading.Event()

    class Uvicorn(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            listening.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            # A client that does not read keeps its connection: unless that is ended here, the loop is closed with it.
            for connection in self.server_state.connections:
                connection.transport.abort()
            await asyncio.sleep(0)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        options = {"log_config": None, "access_log": False, "timeout_graceful_shutdown": 1} | options
        server = Uvicorn(uvicorn.Config(app, **options))
        thread = threading.Thread(target=server.run, args=([listener],), name="server")
        thread.start()
        try:
            assert listening.wait(_SOON)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_SOON)
            assert not thread.is_alive()
