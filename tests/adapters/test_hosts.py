"""gnj inside Starlette and FastAPI applications, as hosts write them, and in the processes that servers make."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router

import gnj
import gnj_starlette
from gnj.testing import drain
from gnj.testing.adapters import PREFIX, Echo, open_jobs, recorded, reference
from gnj.testing.calls import CALLS
from gnj.testing.clients import Call, asgi_client, wsgi_client
from tests.adapters import hosts
from tests.adapters.hosts import WAIT

# Its HTTP client is no requirement of Starlette, and which one it wants changes.
TestClient = pytest.importorskip("starlette.testclient").TestClient

ROOT = Path(__file__).parents[2]
LIST = {"query": "{ job { id type } }"}
MAKE = {"query": 'mutation { jobCreate(job: {type: "mail"}) { id } }'}


def client_of(app):
    return TestClient(app, "http://localhost", client=("127.0.0.1", 50000))


def listed(client, path="/jobs/graphql"):
    response = client.post(path, json=LIST)
    assert response.status_code == 200, response.text
    return [job["type"] for job in response.json()["data"]["job"]]


@pytest.fixture
def jobs():
    with gnj.GNJ("memory://") as jobs:
        yield jobs


# Where it is mounted


@pytest.fixture(scope="module")
def expected():
    return recorded(reference(open_jobs(), PREFIX), PREFIX, CALLS)


@pytest.mark.parametrize("name", hosts.ASGI)
def test_behind_a_proxy_that_has_a_prefix_of_its_own(name, expected):
    app = hosts.ASGI[name](open_jobs(), PREFIX)
    assert recorded(asgi_client(app, "/proxy"), PREFIX, CALLS) == expected


def test_in_an_application_that_is_mounted_in_another(expected):
    inner = Starlette()
    gnj_starlette.mount(inner, open_jobs(), "/b")
    outer = Starlette(routes=[Mount("/a", app=inner)])
    assert recorded(asgi_client(outer), PREFIX, CALLS) == expected


def test_a_router_of_the_hosts(jobs):
    router = Router()
    gnj_starlette.mount(router, jobs, "/queue")
    assert listed(client_of(Starlette(routes=[Mount("/jobs", app=router)])), "/jobs/queue/graphql") == []


def test_a_fastapi_application_that_includes_and_mounts(jobs):
    fastapi = pytest.importorskip("fastapi", reason="capability: fastapi is not installed")
    app, router, mounted = fastapi.FastAPI(), fastapi.APIRouter(), Echo()
    gnj_starlette.mount(router, jobs, "/jobs")
    app.include_router(router, prefix="/api")
    app.mount("/sub", gnj_starlette.asgi_app(mounted))
    with client_of(app) as client:
        assert listed(client, "/api/jobs/graphql") == listed(client, "/api/jobs/graphql/") == []
        assert client.put("/api/jobs/graphql").status_code == 405
        # a mounted application has no lifespan: the first request starts it
        assert mounted.events == []
        assert client.get("/sub/echo").json()["path"] == "/sub/echo"
        assert mounted.events == ["start"]
        assert client.get("/openapi.json").json()["paths"] == {}


def test_the_lifespan_of_an_included_router_runs():
    fastapi = pytest.importorskip("fastapi", reason="capability: fastapi is not installed")
    jobs, app, router = Echo(), fastapi.FastAPI(), fastapi.APIRouter()
    gnj_starlette.mount(router, jobs, "/jobs")
    app.include_router(router)
    with client_of(app):
        assert jobs.events == ["start"]
    assert jobs.events == ["start", "close"]


@pytest.mark.parametrize("make", [hosts.starlette_app, hosts.flask_app], ids=["starlette", "flask"])
def test_only_the_faces_asked_for(make, jobs):
    class Only:
        limits, threads, start, close = jobs.limits, jobs.threads, jobs.start, jobs.close

        def routes(self, _faces, *, asynchronous=True):
            return jobs.routes(("graphql",))

    app = make(Only(), "/jobs")
    send = (asgi_client if make is hosts.starlette_app else wsgi_client)(app)
    assert send(Call("GET", "/jobs/graphql?query={job{id}}")).status == 200
    assert send(Call("GET", "/jobs/healthz")).status == 404


# The host's lifespan


def test_the_state_of_the_hosts_lifespan_is_kept(jobs):
    @contextlib.asynccontextmanager
    async def lifespan(_app):
        yield {"key": "value"}

    app = Starlette(lifespan=lifespan, routes=[Route("/", lambda request: PlainTextResponse(request.state.key))])
    gnj_starlette.mount(app, jobs, "/jobs")
    with client_of(app) as client:
        assert (client.get("/").text, listed(client)) == ("value", [])


def host_with(jobs, events, *, fails=""):
    @contextlib.asynccontextmanager
    async def lifespan(_app):
        events.append("host up")
        if fails == "up":
            raise RuntimeError("no cache")
        try:
            yield
        finally:
            events.append("host down")

    app = Starlette(lifespan=lifespan)
    gnj_starlette.mount(app, jobs, "/jobs")
    return app


def test_a_host_that_cannot_start_leaves_nothing_started():
    jobs = Echo()
    with pytest.raises(RuntimeError, match="no cache"), client_of(host_with(jobs, jobs.events, fails="up")):
        pass
    assert jobs.events == ["host up"]


def test_a_host_that_starts_again_and_again(caplog):
    jobs = Echo()
    app = host_with(jobs, jobs.events)
    for _ in range(2):
        with client_of(app) as client:
            assert client.get("/jobs/echo").status_code == 200
    assert jobs.events == ["host up", "start", "close", "host down"] * 2
    assert [record for record in caplog.records if record.name.startswith("gnj")] == []


@pytest.fixture(params=["memory", "sqlite in memory", "sqlite", "postgresql"])
def database(request):
    if request.param in ("sqlite", "postgresql"):
        return request.getfixturevalue(f"{request.param}_database")()
    return {"memory": "memory://", "sqlite in memory": "sqlite://"}[request.param]


def test_one_object_through_two_lives_of_the_host(database):
    jobs = gnj.GNJ(database, retention=3600)
    jobs.migrate()
    app = hosts.starlette_app(jobs, "/jobs")
    kept = database != "sqlite://"  # which lives as long as its connection
    for life in range(3):
        with client_of(app) as client:
            assert listed(client) == ["mail"] * life * kept
            assert client.post("/jobs/graphql", json=MAKE).json()["data"]["jobCreate"]
            assert jobs._upkeep is not None
            assert jobs._upkeep._thread.is_alive()
        assert jobs._upkeep is None


@pytest.mark.parametrize("make", [hosts.flask_app, hosts.dispatched_app], ids=["flask", "wsgi_app"])
def test_a_wsgi_host_may_close_it_and_go_on(make, sqlite_database):
    jobs = gnj.GNJ(sqlite_database())
    send = wsgi_client(make(jobs, "/jobs"))
    for _ in range(2):
        assert send(Call("GET", "/jobs/graphql?query={job{id}}")).body == b'{"data":{"job":[]}}'
        jobs.close()


def test_asgi_app_answers_the_lifespan_of_a_server():
    jobs = Echo()
    with client_of(gnj_starlette.asgi_app(jobs)) as client:
        assert jobs.events == ["start"]
        assert client.get("/echo").status_code == 200
    assert jobs.events == ["start", "close"]


def test_without_a_lifespan_the_first_request_of_a_real_one_starts_it(jobs, caplog):
    send = asgi_client(jobs.asgi_app())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert send(Call("GET", "/graphql?query={job{id}}")).status == 200
    assert [record.name for record in caplog.records] == ["gnj.starlette"]


# What the host puts around


def test_middleware_of_the_hosts():
    class Marked(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            response = await call_next(request)
            response.headers["x-host"] = request.url.path
            return response

    cors: dict[str, Any] = {"allow_origins": ["https://friend.example"], "allow_methods": ["POST"]}
    stack = [
        Middleware(TrustedHostMiddleware, allowed_hosts=["localhost"]),
        Middleware(CORSMiddleware, **cors),
        Middleware(GZipMiddleware, minimum_size=10),
        Middleware(Marked),
    ]
    app, jobs = Starlette(middleware=stack), Echo(max_body=100_000)
    gnj_starlette.mount(app, jobs, "/jobs")
    origin = {"origin": "https://friend.example"}
    with client_of(app) as client:
        answer = client.post("/jobs/echo", content=b"x" * 50_000, headers=origin)
        assert answer.json()["body"] == "x" * 50_000
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["x-host"] == "/jobs/echo"
        assert answer.headers.get_list("access-control-allow-origin") == ["https://friend.example"]
        assert client.post("/jobs/echo", content=b"x" * 100_001).status_code == 413
        preflight = origin | {"access-control-request-method": "POST"}
        assert client.options("/jobs/echo", headers=preflight).status_code == 200
        assert client.get("/jobs/echo", headers={"host": "evil.example"}).status_code == 400
        assert client.head("/jobs/long").status_code == 405


def test_pure_asgi_middleware_that_reads_the_body_first(jobs):
    class Reading:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] != "http":
                return await self.app(scope, receive, send)
            messages = [await receive()]
            while messages[-1].get("more_body"):
                messages.append(await receive())

            async def again():
                return messages.pop(0) if messages else await receive()

            return await self.app(scope, again, send)

    app = Starlette(middleware=[Middleware(Reading)])
    gnj_starlette.mount(app, jobs, "/jobs")
    with client_of(app) as client:
        assert listed(client) == []


# Several in one process, several processes


def note(seen, name, job):
    seen.append(("ran", name, job.id))


def note_event(seen, name, event):
    seen.append(("created", name, event.job.id))


def test_two_in_one_process_share_nothing(tmp_path):
    app = Starlette()
    seen: list[tuple[str, str, int]] = []
    with contextlib.ExitStack() as stack:
        both = []
        for name in ("one", "two"):
            jobs = stack.enter_context(gnj.GNJ(f"sqlite:///{tmp_path / name}.db", token=name))
            jobs.handler("mail")(partial(note, seen, name))
            jobs.on("created")(partial(note_event, seen, name))
            gnj_starlette.mount(app, jobs, f"/{name}")
            both.append(jobs)
        with client_of(app) as client:

            def ask(name, body, token):
                return client.post(f"/{name}/graphql", json=body, headers={"authorization": f"Bearer {token}"})

            assert ask("two", MAKE, "two").json()["data"]["jobCreate"] == {"id": 1}
            assert ask("two", MAKE, "one").status_code == 401
            assert ask("one", LIST, "one").json()["data"]["job"] == []
            assert ask("two", LIST, "two").json()["data"]["job"] == [{"id": 1, "type": "mail"}]
            assert (drain(both[0]), [job.type for job in drain(both[1])]) == ([], ["mail"])
            assert both[1].hooks.flush(10)
        assert sorted(seen) == [("created", "two", 1), ("ran", "two", 1)]


@pytest.fixture
def environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GNJ_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


FORKING = """
import gc, os, sys
import gnj
from gnj.testing.clients import Call, wsgi_client, asgi_client

url, kind, before = sys.argv[1:]
jobs = gnj.GNJ(url)
if before == "migrated":
    jobs.migrate()
elif before == "used":
    jobs.migrate(); jobs.enqueue("before"); jobs.list()
if kind == "flask":
    import flask, gnj_flask
    app = flask.Flask("host"); gnj_flask.mount(app, jobs, "/"); client = wsgi_client(app)
elif kind == "wsgi_app":
    client = wsgi_client(jobs.wsgi_app())
else:
    client = asgi_client(jobs.asgi_app())
if before == "constructed":
    assert jobs.storage.engine.pool.checkedin() == 0, "mounting has connected"

body = b'{"query": "mutation { jobCreate(job: {type: \\\\"mail\\\\"}) { id } }"}'
call = Call("POST", "/graphql", body, (("content-type", "application/json"),))
def serve(times):
    for _ in range(times):
        answer = client(call)
        assert answer.status == 200 and b'"errors"' not in answer.body, answer

children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        try:
            serve(10)
            gc.collect()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    children.append(child)
serve(10)
failed = [child for child in children if os.waitpid(child, 0)[1]]
serve(10)
print(len(failed), jobs.count(type="mail"))
jobs.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="capability: this system does not fork")
@pytest.mark.parametrize(
    "before, kind",
    [
        ("constructed", "flask"),
        pytest.param("constructed", "asgi_app", marks=pytest.mark.slow),
        pytest.param("migrated", "wsgi_app", marks=pytest.mark.slow),
        ("used", "asgi_app"),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_server_that_forks_after_it_loaded_the_application(request, environment, backend, before, kind):
    """As `gunicorn --preload`: parent and children use the queue at once, none with a connection of another."""
    if kind == "flask":
        pytest.importorskip("flask", reason="capability: flask is not installed")
    url = request.getfixturevalue(f"{backend}_database")()
    if backend == "postgresql" and before == "constructed":
        with gnj.GNJ(url) as first:
            first.migrate()
    command = [sys.executable, "-c", FORKING, url, kind, before]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert (done.stdout, done.returncode) == ("0 50\n", 0), done.stderr


SERVING = """
import socket, sys, threading
import uvicorn
from starlette.applications import Starlette
import gnj, gnj_starlette

app = Starlette()
gnj_starlette.mount(app, gnj.GNJ(sys.argv[1]), "/jobs")
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(64)
print(listener.getsockname()[1], flush=True)
server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=5))
threading.Thread(target=lambda: (sys.stdin.read(), setattr(server, "should_exit", True)), daemon=True).start()
server.run([listener])
"""


def test_two_server_processes_over_one_sqlite_file(sqlite_database, environment):
    """What `uvicorn --workers 2` is: both make the file, both add to it, each sees what the other did."""
    url = sqlite_database()
    command = [sys.executable, "-c", SERVING, url]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            )
            for _ in range(2)
        ]
        try:
            ports = [process.stdout.readline().strip() for process in processes if process.stdout]
            clients = [stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}")) for port in ports]
            ids = []
            for _ in range(10):
                for client in clients:
                    answer = client.post("/jobs/graphql", json=MAKE, timeout=WAIT)
                    ids.append(answer.json()["data"]["jobCreate"]["id"])
            assert ids == list(range(1, 21))
            first, second = (client.post("/jobs/graphql", json=LIST).json() for client in clients)
            assert first == second
            assert len(first["data"]["job"]) == 20
        finally:
            for process in processes:
                assert process.stdin
                process.stdin.close()
        assert [process.wait(WAIT) for process in processes] == [0, 0]


def test_every_way_of_mounting_is_held_to_the_contract():
    text = (ROOT / "tests/adapters/test_contract.py").read_text()
    assert [name for name in hosts.IN_PROCESS if f'hosts.IN_PROCESS["{name}"]' not in text] == []
