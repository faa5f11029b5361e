"""The ASGI adapter, in an ASGI client where that is enough and under a real server where it is not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import gnj
import gnj_starlette
from gnj.api import http
from gnj.api.graphql_http import METHODS, graphql_endpoint
from gnj.api.hooks import Guard
from gnj.graphql.limits import Limits
from gnj.queue.errors import StorageUnavailable
from gnj.testing.adapters import Pieces
from tests import serving
from tests.graphql import toy

WAIT = 20


class Jobs:
    """Something to serve."""

    threads = 3

    def __init__(self, **limits):
        self.limits = Limits(**limits)
        self.events: list[str] = []
        self.start_error: Exception | None = None
        self.entered, self.left, self.go = threading.Semaphore(0), threading.Semaphore(0), threading.Event()
        self.lock, self.running, self.most = threading.Lock(), 0, 0

    def start(self):
        if self.start_error:
            raise self.start_error
        self.events.append("start")

    def close(self):
        self.events.append("close")

    def routes(self, faces, *, asynchronous=True):
        if faces is not None and "graphql" not in faces:
            raise ValueError(f"no such face: {faces}")
        graphql = graphql_endpoint(toy.engine(), Guard(), lambda *_: {"n": 1})
        return [
            http.Route(path="/graphql", methods=METHODS, endpoint=graphql, name="graphql"),
            http.Route(path="/queues/{queue}/echo", methods=("POST",), endpoint=self.echo, name="echo"),
            http.Route(path="/queues/{queue}/echo", methods=("GET",), endpoint=self.echo, name="echo"),
            http.Route(path="/", methods=("GET",), endpoint=lambda _: http.text("root"), name="root"),
            http.Route(path="/fail", methods=("GET",), endpoint=self.fail, name="fail"),
            http.Route(path="/wait", methods=("GET",), endpoint=self.wait, name="wait"),
        ]

    @staticmethod
    def echo(request):
        return http.json(
            {
                "method": request.method,
                "path": request.path,
                "place": request.path_params,
                "query": request.query,
                "cookies": request.cookies,
                "headers": dict(request.headers),
                "client": request.client_host,
                "body": len(request.body),
                "raw": type(request.raw).__name__,
                "thread": threading.current_thread() is not threading.main_thread(),
            }
        )

    @staticmethod
    def fail(_request):
        raise RuntimeError("at /srv/secret.py")

    def wait(self, _request):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.entered.release()
        assert self.go.wait(WAIT)
        with self.lock:
            self.running -= 1
        self.events.append("waited")
        self.left.release()
        return http.text("done")


served = partial(serving.served, ws="none", timeout_graceful_shutdown=5)


@contextlib.asynccontextmanager
async def lifespan(app):
    """What a server does around an application."""
    sent: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    received: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "asgi": {}, "state": {}}, sent.get, received.put))
    await sent.put({"type": "lifespan.startup"})
    assert (await received.get())["type"] == "lifespan.startup.complete"
    yield
    await sent.put({"type": "lifespan.shutdown"})
    assert (await received.get())["type"] == "lifespan.shutdown.complete"
    await task


def call(app, method, path, **options):
    async def run():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return anyio.run(run)


N = {"query": "{n}"}


@pytest.fixture
def jobs():
    return Jobs()


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/", "/a/b"])
def test_routes_answer_below_any_prefix_with_and_without_slash(jobs, path):
    app = Starlette(routes=[Route("/host", lambda _: PlainTextResponse("host"))])
    gnj_starlette.mount(app, jobs, path)
    prefix = path.rstrip("/")
    for spelled in ("/graphql", "/graphql/"):
        response = call(app, "POST", prefix + spelled, json=N)
        assert (response.status_code, response.json()) == (200, {"data": {"n": 1}})
    assert call(app, "GET", f"{prefix}/").text == "root"
    if prefix:
        assert call(app, "GET", prefix).text == "root"
    assert call(app, "GET", f"{prefix}/queues/mail%20x/echo").json()["place"] == {"queue": "mail x"}
    assert call(app, "GET", "/host").text == "host"


def test_a_path_must_begin_with_a_slash(jobs):
    with pytest.raises(ValueError, match="must begin"):
        gnj_starlette.mount(Starlette(), jobs, "jobs")


def test_only_the_faces_asked_for(jobs):
    gnj_starlette.mount(Starlette(), jobs, "/", faces=["graphql"])
    with pytest.raises(ValueError, match="no such face"):
        gnj_starlette.mount(Starlette(), jobs, "/", faces=["x"])


def test_root_path_and_an_application_mounted_in_another(jobs):
    inner = gnj_starlette.asgi_app(jobs)
    outer = Starlette(routes=[Mount("/outer", app=inner)])

    async def proxied(scope, receive, send):
        await outer(scope | {"root_path": "/proxy", "path": "/proxy" + scope["path"]}, receive, send)

    assert call(outer, "POST", "/outer/graphql", json=N).status_code == 200
    assert call(proxied, "POST", "/outer/graphql/", json=N).status_code == 200


def test_two_in_one_application():
    one, two = Jobs(), Jobs(max_body=100)
    app = Starlette()
    gnj_starlette.mount(app, one, "/one")
    gnj_starlette.mount(app, two, "/two")
    assert call(app, "POST", "/one/queues/a/echo", content=b"x" * 200).status_code == 200
    assert call(app, "POST", "/two/queues/a/echo", content=b"x" * 200).status_code == 413


def test_the_request_is_carried_whole(jobs):
    response = call(
        gnj_starlette.asgi_app(jobs),
        "POST",
        "/queues/mail/echo?a=1&a=2&b=&c=%C5%BC&d",
        content=b"12345",
        headers=[
            ("X-Thing", "one"),
            ("x-thing", "two"),
            ("Cookie", "s=1"),
            ("cookie", "t=2"),
            ("x-latin", "ż".encode()),
        ],
    ).json()
    assert response["query"] == {"a": "2", "b": "", "c": "ż", "d": ""}
    assert response["headers"]["x-thing"] == "one, two"
    assert response["cookies"] == {"s": "1", "t": "2"}
    assert response["headers"]["x-latin"].encode("latin-1").decode() == "ż"
    assert (response["method"], response["body"], response["client"]) == ("POST", 5, "127.0.0.1")
    assert (response["raw"], response["thread"]) == ("Request", True)


def test_other_methods_are_405_with_allow(jobs):
    app = gnj_starlette.asgi_app(jobs)
    for method in ("PUT", "OPTIONS", "TRACE"):
        response = call(app, method, "/graphql")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, POST, HEAD")
        assert response.json()["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"
    response = call(app, "GET", "/graphql", params={"query": "mutation {down(n: 1) {id}}"})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_an_unknown_path_is_404(jobs):
    for path in ("/nothing", "/graphql%0a", "/graphql/%0a", "/graphql//"):
        response = call(gnj_starlette.asgi_app(jobs), "GET", path)
        assert (response.status_code, response.json()) == (404, {"error": "Not found"}), path
    response = call(gnj_starlette.asgi_app(jobs), "HEAD", "/nothing")
    assert (response.status_code, response.content, response.headers["content-length"]) == (404, b"", "21")


def test_an_unknown_path_below_a_host_is_the_hosts(jobs):
    async def page(*_):
        return PlainTextResponse("the host's own page", 404)

    app = Starlette(routes=[Mount("/jobs", gnj_starlette.asgi_app(jobs))], exception_handlers={404: page})
    assert call(app, "GET", "/jobs/nothing").text == "the host's own page"


def test_there_are_no_cors_headers(jobs):
    response = call(
        gnj_starlette.asgi_app(jobs), "POST", "/graphql", json=N, headers={"origin": "https://evil.example"}
    )
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_forgeable_content_types_are_refused(jobs):
    app = gnj_starlette.asgi_app(jobs)
    operations = {"operations": '{"query": "mutation {down(n: 1) {id}}"}', "map": "{}"}
    for options in (
        {"content": json.dumps(N), "headers": {"content-type": "text/plain"}},
        {"data": operations},
        {"files": {name: (None, value) for name, value in operations.items()}},
        {"content": b"x", "headers": {"content-type": "application/json", "content-encoding": "gzip"}},
    ):
        assert call(app, "POST", "/graphql", **options).status_code == 415


@pytest.mark.parametrize(
    "headers, url, status",
    [
        ({"x": "a" * 17_000}, "/graphql?query={n}", 431),
        ({f"x{n}": "a" for n in range(4_000)}, "/graphql?query={n}", 431),
        ({}, "/graphql?query={n}&x=" + "a" * 9_000, 414),
        ({"x": "a" * 15_000}, "/graphql?query={n}&x=" + "a" * 7_000, 200),
    ],
)
def test_headers_and_urls_are_limited(jobs, headers, url, status):
    assert call(gnj_starlette.asgi_app(jobs), "GET", url, headers=headers).status_code == status


def test_a_body_is_limited_whatever_content_length_says(jobs):
    jobs.limits = replace(jobs.limits, max_body=1_000)
    app = gnj_starlette.asgi_app(jobs)

    async def chunks(size):
        for _ in range(10):
            yield b"x" * (size // 10)

    assert call(app, "POST", "/queues/a/echo", content=chunks(1_000)).json()["body"] == 1_000
    assert call(app, "POST", "/queues/a/echo", content=chunks(1_010)).status_code == 413
    lying = call(app, "POST", "/queues/a/echo", content=b"x" * 2_000, headers={"content-length": "1"})
    assert (lying.status_code, lying.headers["connection"]) == (413, "close")


def test_a_failure_is_masked_and_logged(jobs, caplog):
    with caplog.at_level(logging.ERROR, logger="gnj.api"):
        response = call(gnj_starlette.asgi_app(jobs), "GET", "/fail")
    assert response.status_code == 500
    assert response.json()["errors"][0]["extensions"]["errorId"] in caplog.text
    assert "secret" not in response.text
    assert "secret" in caplog.text


def test_it_starts_after_the_host_and_ends_before_it(jobs):
    @contextlib.asynccontextmanager
    async def host(_app):
        jobs.events.append("host up")
        yield {"key": 1}
        jobs.events.append("host down")

    app = Starlette(lifespan=host)
    gnj_starlette.mount(app, jobs, "/jobs")

    async def run():
        async with lifespan(app):
            assert jobs.events == ["host up", "start"]

    anyio.run(run)
    assert jobs.events == ["host up", "start", "close", "host down"]


def test_without_a_lifespan_the_first_request_starts_it_once(jobs, caplog):
    app = gnj_starlette.asgi_app(jobs)
    with caplog.at_level(logging.WARNING, logger="gnj.starlette"):
        for _ in range(3):
            assert call(app, "POST", "/graphql", json=N).status_code == 200
    assert jobs.events == ["start"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_start_that_fails_is_tried_again_by_the_next_request(jobs, caplog):
    jobs.start_error = StorageUnavailable()
    app = gnj_starlette.asgi_app(jobs)

    async def run():
        async with (
            lifespan(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
        ):
            response = await client.post("/graphql", json=N)
            assert (response.status_code, response.headers["retry-after"]) == (503, "5")
            jobs.start_error = RuntimeError("secret")
            response = await client.post("/graphql", json=N)
            assert response.status_code == 500
            assert "secret" not in response.text
            jobs.start_error = None
            assert (await client.post("/graphql", json=N)).status_code == 200

    anyio.run(run)
    assert jobs.events == ["start", "close"]


def test_it_has_threads_of_its_own(jobs):
    app = gnj_starlette.asgi_app(jobs)

    async def run():
        async with (
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(10):
                tasks.start_soon(client.get, "/wait")
            for _ in range(jobs.threads):
                assert await anyio.to_thread.run_sync(jobs.entered.acquire, True, WAIT)
            assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            jobs.go.set()

    anyio.run(run)
    assert jobs.most == jobs.threads
    assert jobs.events.count("waited") == 10


def http_scope(path, method="POST"):
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }  # fmt: skip


def test_a_client_that_leaves_before_its_body_is_complete_gets_nothing_done(jobs):
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    async def send(_message):
        raise AssertionError("nobody is there")

    anyio.run(gnj_starlette.asgi_app(jobs), http_scope("/graphql"), receive, send)
    assert jobs.events == []


def test_a_client_that_leaves_before_the_answer_breaks_nothing(jobs):
    async def receive():
        return {"type": "http.request", "body": json.dumps(N).encode()}

    async def send(_message):
        raise OSError("gone")

    anyio.run(gnj_starlette.asgi_app(jobs), http_scope("/graphql"), receive, send)


def test_work_that_began_is_finished_when_the_request_is_cancelled(jobs):
    app = gnj_starlette.asgi_app(jobs)

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(_message):
        pass

    async def run():
        task = asyncio.ensure_future(app(http_scope("/wait", "GET"), receive, send))
        assert await anyio.to_thread.run_sync(jobs.entered.acquire, True, WAIT)
        task.cancel()
        jobs.go.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert jobs.left.acquire(timeout=WAIT)
    assert jobs.events == ["start", "waited"]


@pytest.mark.parametrize("where", ["endpoint", "head"])
def test_a_stream_whose_request_is_cancelled_is_closed(jobs, where):
    """Wherever that happens, as by a middleware of the host's that limits the time: it counts as open until it is closed."""
    pieces, begun = Pieces([b"a"]), threading.Event()

    def stream(_request):
        begun.set()
        assert jobs.go.wait(WAIT)
        return http.Response(stream=pieces)

    jobs.wait = stream
    app = gnj_starlette.asgi_app(jobs)

    async def receive():
        return {"type": "http.request", "body": b""}

    async def main():
        sending = asyncio.Event()

        async def send(_message):
            sending.set()
            await asyncio.sleep(WAIT)

        task = asyncio.ensure_future(app(http_scope("/wait", "GET"), receive, send))
        assert await anyio.to_thread.run_sync(begun.wait, WAIT)
        if where == "head":
            jobs.go.set()
            await sending.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        jobs.go.set()
        assert await anyio.to_thread.run_sync(pieces.closed.wait, WAIT)

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_a_body_that_never_ends_is_408(jobs):
    jobs.limits = replace(jobs.limits, body_seconds=0.05)
    sent = []

    async def receive():
        await anyio.sleep_forever()

    async def send(message):
        sent.append(message)

    anyio.run(gnj_starlette.asgi_app(jobs), http_scope("/graphql"), receive, send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


# Under a real server


def test_under_uvicorn(jobs, caplog):
    with served(gnj_starlette.asgi_app(jobs)) as url, httpx.Client(base_url=url) as client:
        assert client.post("/graphql", json=N).json() == {"data": {"n": 1}}
        assert client.get("/fail").status_code == 500
        # the connection survives the failure
        assert client.post("/graphql", json=N).status_code == 200
        head = client.head("/graphql", params=N)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "16")
        too_much = (b"x" * 1_000_000 for _ in range(26))
        # the server may close before all of it is sent
        with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):
            assert client.post("/graphql", content=too_much).status_code == 413
        assert client.post("/graphql", json=N).status_code == 200
        assert (
            client.post(
                "/graphql", content=b"[" * 1_000 + b"]" * 1_000, headers={"content-type": "application/json"}
            ).status_code
            == 400
        )
        remote = client.post("/graphql", json=N, headers={"host": "evil.example"})
        assert (remote.status_code, remote.headers["www-authenticate"]) == (401, "Bearer")
    assert jobs.events == ["start", "close"]


def test_a_client_that_hangs_up_under_uvicorn(jobs):
    with served(gnj_starlette.asgi_app(jobs)) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert jobs.entered.acquire(timeout=WAIT)
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        jobs.go.set()
        assert httpx.post(f"{url}/graphql", json=N).status_code == 200
    assert jobs.events.count("waited") == 1


def test_half_sent_bodies_do_not_stop_others():
    jobs = Jobs(body_seconds=1)
    with served(gnj_starlette.asgi_app(jobs)) as url, contextlib.ExitStack() as stack:
        host, port = url.removeprefix("http://").split(":")
        slow = []
        for _ in range(50):
            client = stack.enter_context(socket.create_connection((host, int(port)), timeout=WAIT))
            client.sendall(b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            slow.append(client)
        assert httpx.post(f"{url}/graphql", json=N, timeout=2).status_code == 200
        for client in slow:
            assert client.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_fastapi_application():
    fastapi = pytest.importorskip("fastapi")
    jobs = Jobs()
    app = fastapi.FastAPI()
    gnj_starlette.mount(app, jobs, "/jobs")

    async def run():
        async with (
            lifespan(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
        ):
            assert (await client.post("/jobs/graphql", json=N)).json() == {"data": {"n": 1}}
            assert (await client.get("/openapi.json")).json()["paths"] == {}

    anyio.run(run)
    assert jobs.events == ["start", "close"]


def test_arguments_in_the_wrong_order_are_named():
    app: Any = Jobs()
    jobs: Any = Starlette()
    with pytest.raises(TypeError, match="takes a Starlette or FastAPI application, not a Jobs"):
        gnj_starlette.mount(app, jobs, "/jobs")


def test_what_cannot_be_served_is_named():
    url: Any = "sqlite:///jobs.db"
    with pytest.raises(TypeError, match=r"serves a gnj\.GNJ, not a str"):
        gnj_starlette.mount(Starlette(), url, "/jobs")


def test_two_at_one_path_are_refused():
    app = Starlette()
    with gnj.GNJ("memory://") as jobs, gnj.GNJ("memory://") as other:
        gnj_starlette.mount(app, jobs, "/jobs", faces=("graphql", "queues"))
        before = list(app.routes)
        with pytest.raises(ValueError, match="has a GNJ at '/jobs' already"):
            gnj_starlette.mount(app, other, "/jobs/", faces=("health", "graphql"))
        assert app.routes == before
        gnj_starlette.mount(app, other, "/jobs", faces=("health",))  # what is not served there yet
        gnj_starlette.mount(app, other, "/other/jobs")
