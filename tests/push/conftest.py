"""Endpoints to be called, and a queue on each storage."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gnj.push.reconciler import Reconciler
from gnj.queue.service import Queue
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage

STORAGES = [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("memory", "sqlite", "postgresql", "mysql")]
DATABASES = STORAGES[1:]
"""What several processes can share."""
SERVED = [
    pytest.param(name, marks=[pytest.mark.backend(name), *([] if name == "postgresql" else [pytest.mark.slow])])
    for name in ("postgresql", "sqlite", "mysql")
]
"""The same, for what takes half a minute on each."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "everywhere" in metafunc.fixturenames:
        metafunc.parametrize("place", STORAGES, indirect=True)
    if "shared" in metafunc.fixturenames:
        metafunc.parametrize("place", DATABASES, indirect=True)
    if "serve" in metafunc.fixturenames:
        metafunc.parametrize("place", SERVED, indirect=True)


@pytest.fixture
def everywhere() -> None:
    """The test runs on every storage."""


@pytest.fixture
def shared() -> None:
    """The test runs on every database that processes can share."""


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """The URL of the database."""
    name = getattr(request, "param", "memory")
    if name == "memory":
        return "memory://"
    url: str = request.getfixturevalue(f"{name}_database")()
    storage = SqlStorage(url)
    storage.migrate()
    storage.close()
    return url


@pytest.fixture
def queue(place: str) -> Iterator[Queue]:
    storage = MemoryStorage() if place == "memory://" else SqlStorage(place)
    yield Queue(storage)
    storage.close()


class Endpoint:
    """Is called, and remembers by whom.

    Args:
        answer: Called with the headers and the body, as JSON; gives status, headers and body of the answer.
    """

    def __init__(
        self, answer: Callable[[dict[str, str], Any], tuple[int, dict[str, str], bytes]] | None = None
    ) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.came = threading.Semaphore(0)
        self.underway = self.most = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with lock:
                    outer.underway += 1
                    outer.most = max(outer.most, outer.underway)
                    outer.calls.append((headers | {"": f"{self.command} {self.path}"}, body))
                outer.came.release()
                try:
                    status, more, told = (answer or ok)(headers, json.loads(body))
                finally:
                    with lock:
                        outer.underway -= 1
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            do_PUT = do_PATCH = do_POST  # noqa: N815 - what the standard library looks for

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 512

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jobs"

    @property
    def ids(self) -> list[int]:
        """The jobs that it was called for, by their numbers."""
        return [json.loads(body)["job"]["gnjId"] for _, body in self.calls]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def ok(_headers: dict[str, str], asked: Any) -> tuple[int, dict[str, str], bytes]:
    """What an endpoint answers unless told otherwise: the job's data."""
    return 200, {"content-type": "application/json"}, json.dumps({"did": asked["job"]["data"]}).encode()


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    """Call it for an endpoint."""
    made: list[Endpoint] = []

    def make(answer: Any = None) -> Endpoint:
        made.append(Endpoint(answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def reconciler(queue: Queue) -> Iterator[Callable[..., Reconciler]]:
    """Call it for one that may call this machine."""
    made: list[Reconciler] = []

    def make(on: Queue | None = None, allow: tuple[str, ...] = ("127.0.0.1",)) -> Reconciler:
        made.append(Reconciler(on or queue, allow))
        return made[-1]

    yield make
    for each in made:
        each.close()


def registration(url: Any, queue: str = "mail", **more: Any) -> dict[str, Any]:
    """What is sent to register an endpoint."""
    endpoint = {"url": url, "method": "POST", "timeout": 5_000, **more.pop("endpoint", {})}
    return {"queue": queue, "endpoint": endpoint, **more}
