"""The contract, for every adapter, in the process and under servers; and that all give the same bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

import gnj
from gnj.testing import AdapterContract
from gnj.testing.adapters import PREFIX, guarded_jobs, open_jobs, recorded
from gnj.testing.calls import CALLS, GUARDED
from gnj.testing.clients import asgi_client, http_client, wsgi_client
from tests.adapters import hosts


class TestStarlette(AdapterContract):
    @pytest.fixture
    def serve(self):
        return hosts.IN_PROCESS["starlette"]


class TestFastAPI(AdapterContract):
    @pytest.fixture
    def serve(self):
        return hosts.IN_PROCESS["fastapi"]


class TestFastAPIRouter(AdapterContract):
    @pytest.fixture
    def serve(self):
        return hosts.IN_PROCESS["fastapi router"]


class TestAsgiApp(AdapterContract):
    @pytest.fixture
    def serve(self):
        return hosts.IN_PROCESS["mounted asgi_app"]


class TestFlask(AdapterContract):
    @pytest.fixture
    def serve(self):
        return hosts.IN_PROCESS["flask"]


class TestFlaskBlueprint(AdapterContract):
    @pytest.fixture
    def serve(self):
        return hosts.IN_PROCESS["flask blueprint"]


class TestWsgiApp(AdapterContract):
    @pytest.fixture
    def serve(self):
        return hosts.IN_PROCESS["dispatched wsgi_app"]


SERVERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "starlette under uvicorn": (hosts.by_uvicorn, hosts.starlette_app),
    "flask under werkzeug": (hosts.by_werkzeug, hosts.flask_app),
    "flask under wsgiref": (hosts.by_wsgiref, hosts.flask_app),
    "wsgi_app under werkzeug": (hosts.by_werkzeug, hosts.dispatched_app),
    "wsgi_app under wsgiref": (hosts.by_wsgiref, hosts.dispatched_app),
    "flask through a2wsgi": (hosts.by_uvicorn, hosts.bridged_app),
}
# A server that has answered closes the connection with the rest of the body unread, and the client may see only that.
SENT = {name: call for name, call in CALLS.items() if name != "too large"}


@pytest.fixture(scope="module")
def expected():
    """What one of them answers."""
    open, guarded = (hosts.IN_PROCESS["dispatched wsgi_app"](jobs, PREFIX) for jobs in (open_jobs(), guarded_jobs()))
    return recorded(open, PREFIX, CALLS), recorded(guarded, PREFIX, GUARDED)


@pytest.mark.parametrize("server", SERVERS)
def test_servers_give_the_same_bytes(server, expected):
    by, make = SERVERS[server]
    open, guarded = open_jobs(), guarded_jobs()
    with by(make(open, PREFIX)) as url, by(make(guarded, PREFIX)) as guarded_url:
        got = recorded(http_client(url), PREFIX, SENT)
        assert got == {name: expected[0][name] for name in SENT}
        assert recorded(http_client(guarded_url), PREFIX, GUARDED) == expected[1]


def test_the_requests_reach_what_they_are_about(expected):
    assert len(CALLS) > 60
    statuses = {answer.status for answers in expected for answer in answers.values()}
    assert statuses == {200, 400, 401, 404, 405, 406, 413, 414, 415, 431}
    assert not [name for answers in expected for name, answer in answers.items() if answer.status >= 500]


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request):
    return request.getfixturevalue(f"{request.param}_database")()


def test_on_a_database_too(database, expected):
    """Ids, orders and errors are those of the memory storage, below both kinds of servers."""
    for make, client in ((hosts.starlette_app, asgi_client), (hosts.flask_app, wsgi_client)):
        with contextlib.closing(gnj.GNJ(database, prefix=f"gnj_{make.__name__}_")) as jobs:
            jobs.migrate()
            assert recorded(client(make(jobs, PREFIX)), PREFIX, CALLS) == expected[0]


def test_a_database_that_is_down_is_503_everywhere():
    pytest.importorskip("psycopg", reason="capability: psycopg is not installed")
    answers = {}
    for name, serve in hosts.IN_PROCESS.items():
        with contextlib.closing(gnj.GNJ("postgresql://nobody@127.0.0.1:9/nothing")) as jobs:
            ask = {name: CALLS[name] for name in ("list", "create", "ready", "health")}
            answers[name] = recorded(serve(jobs, PREFIX), PREFIX, ask)
    first = answers["starlette"]
    assert [answer.status for answer in first.values()] == [503, 503, 503, 200]
    assert [answer.header("retry-after") for answer in first.values()] == ["5", "5", "5", None]
    assert all(answer == first for answer in answers.values())
