"""Server-Sent Events under a real server: graphql-sse, distinct connections."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

import gnj
import gnj_starlette
from gnj.access import Principal, RequestContext
from gnj.api import sse
from gnj.graphql.limits import Limits
from tests.subscribers import WAIT, served

EVENTS = {"accept": "text/event-stream"}
CREATED = "subscription ($id: Int) { jobCreated(id: $id) { id } }"


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Stream:
    """A response read event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def event(self) -> tuple[str, Any]:
        """The next event and its data; comments are skipped."""
        event, data = "", ""
        for line in self._lines:
            if line == "" and event:
                return event, json.loads(data) if data else None
            field, _, value = line.partition(":")
            if field == "event":
                event = value.strip()
            elif field == "data":
                data = value.strip()
        raise EOFError


@contextlib.contextmanager
def subscribed(host: str, query: str = CREATED, method: str = "POST", **options: Any) -> Iterator[Stream]:
    headers = EVENTS | options.pop("headers", {})
    asked = {"query": query, **options}
    how: dict[str, Any] = {"params": asked} if method == "GET" else {"json": asked}
    with (
        httpx.Client(trust_env=False, timeout=WAIT) as client,
        client.stream(method, f"http://{host}/graphql", headers=headers, **how) as response,
    ):
        yield Stream(response)


@pytest.fixture
def jobs() -> Iterator[gnj.GNJ]:
    with gnj.GNJ("memory://") as jobs:
        yield jobs


@pytest.fixture
def host(jobs) -> Iterator[str]:
    with served(gnj_starlette.asgi_app(jobs)) as host:
        yield host


def ask(host: str, query: str, method: str = "POST", **headers: str) -> httpx.Response:
    how: dict[str, Any] = {"params": {"query": query}} if method == "GET" else {"json": {"query": query}}
    with httpx.Client(trust_env=False, timeout=WAIT) as client:
        return client.request(method, f"http://{host}/graphql", headers=headers, **how)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_events_until_the_client_goes(jobs, host, method):
    with subscribed(host, method=method) as stream:
        response = stream.response
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        for _ in range(3):
            job = jobs.enqueue("a")
            assert stream.event() == ("next", {"data": {"jobCreated": {"id": job.id}}})
    wait_until(lambda: jobs._streams.idle and not len(jobs._streams.responses))
    assert not jobs.queue.feed.followed


def test_the_bytes_are_those_of_the_protocol(host):
    response = ask(host, "{ jobCount }", accept="text/event-stream")
    assert response.status_code == 200
    assert response.content == b'event: next\ndata: {"data":{"jobCount":0}}\n\nevent: complete\ndata:\n\n'
    response = ask(host, "{ nothing }", accept="text/event-stream")
    assert response.status_code == 200
    assert response.content.startswith(b'event: next\ndata: {"errors":[{"message":"Cannot query field')
    assert response.content.endswith(b"event: complete\ndata:\n\n")


def test_mutations_by_post_only(jobs, host):
    create = 'mutation { jobCreate(job: {type: "a"}) { id } }'
    assert ask(host, create, "GET", accept="text/event-stream").status_code == 405
    assert jobs.count() == 0
    response = ask(host, create, accept="text/event-stream")
    assert response.content.startswith(b'event: next\ndata: {"data":{"jobCreate":{"id":1}}}\n\n')


def test_what_cannot_begin_is_one_answer_and_the_end(host):
    for query in ("subscription { jobCreated { id } pinged { success } }", "subscription { jobCreated { nothing } }"):
        response = ask(host, query, accept="text/event-stream")
        assert response.status_code == 200
        assert response.content.startswith(b'event: next\ndata: {"errors":')
        assert response.content.endswith(b"event: complete\ndata:\n\n")


@pytest.mark.parametrize(
    "accept, streams_queries, streams_subscriptions",
    [
        ("text/event-stream", True, True),
        ("text/event-stream, application/json;q=0.9", True, True),
        ("application/json, text/event-stream;q=0.9", False, True),
        # how some clients say that they can read anything
        ("application/graphql-response+json, application/json, text/event-stream, multipart/mixed", False, True),
        ("text/event-stream;q=0, */*", False, False),
        ("*/*", False, False),
        ("text/*", None, None),
        ("text/event-stream;q=0", None, None),
    ],
)
def test_what_accept_asks_for(jobs, host, accept, streams_queries, streams_subscriptions):
    response = ask(host, "{ jobCount }", accept=accept)
    if streams_queries is None:
        assert response.status_code == 406
        return
    assert response.headers["content-type"].startswith("text/event-stream") == streams_queries
    if streams_subscriptions:
        with subscribed(host, headers={"accept": accept}) as stream:
            jobs.enqueue("a")
            assert stream.event()[0] == "next"
    else:
        answer = ask(host, CREATED, accept=accept)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["extensions"]["code"] == "OPERATION_RESOLUTION_FAILURE"


def test_head_opens_nothing(jobs, host):
    response = httpx.head(f"http://{host}/graphql", params={"query": CREATED}, headers=EVENTS, trust_env=False)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert jobs._streams.idle


def test_requests_that_are_none_are_refused_as_without_events(host):
    with httpx.Client(trust_env=False) as client:
        url = f"http://{host}/graphql"
        assert client.post(url, content=b"{", headers=EVENTS | {"content-type": "application/json"}).status_code == 400
        # what a page can send without asking first
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            headers = EVENTS | {"content-type": kind}
            assert client.post(url, content=json.dumps({"query": CREATED}), headers=headers).status_code == 415


def test_who_is_asking():
    seen: list[RequestContext] = []

    def authenticate(context):
        seen.append(context)
        return Principal("x") if context.headers.get("x-key") == "k" else None

    with (
        gnj.GNJ(
            "memory://", authenticate=authenticate, authorize=lambda _who, action, _what: action.name != "jobDeleted"
        ) as jobs,
        served(gnj_starlette.asgi_app(jobs)) as host,
    ):
        assert ask(host, CREATED, accept="text/event-stream").status_code == 401
        with subscribed(host, headers={"x-key": "k"}) as stream:
            jobs.enqueue("a")
            assert stream.event()[0] == "next"
        refused = ask(host, "subscription { jobDeleted { id } }", accept="text/event-stream", **{"x-key": "k"})
        assert '"code":"FORBIDDEN"' in refused.text
    assert [context.transport for context in seen] == ["sse"] * 3


def test_nothing_of_another_tenant_is_told():
    def authenticate(context):
        return Principal("x", context.headers["x-tenant"])

    with (
        gnj.GNJ("memory://", authenticate=authenticate) as jobs,
        served(gnj_starlette.asgi_app(jobs)) as host,
        subscribed(host, headers={"x-tenant": "A"}) as a,
        subscribed(host, headers={"x-tenant": "B"}) as b,
    ):
        ids = [jobs.enqueue("t", tenant="B").id for _ in range(200)]
        assert [b.event()[1]["data"]["jobCreated"]["id"] for _ in ids] == ids
        own = jobs.enqueue("t", tenant="A")
        assert a.event()[1]["data"]["jobCreated"]["id"] == own.id


def test_a_stream_ends_when_the_credentials_expire():
    def authenticate(_context):
        return Principal("x", expires_at=datetime.now(UTC) + timedelta(seconds=0.3))

    with (
        gnj.GNJ("memory://", authenticate=authenticate) as jobs,
        served(gnj_starlette.asgi_app(jobs)) as host,
        subscribed(host) as stream,
    ):
        with pytest.raises(EOFError):
            stream.event()
        wait_until(lambda: jobs._streams.idle)


def test_1000_streams_of_a_tenant_at_most():
    with (
        gnj.GNJ("memory://", limits=Limits(sockets=2)) as jobs,
        served(gnj_starlette.asgi_app(jobs)) as host,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(2):
            stack.enter_context(subscribed(host))
        refused = ask(host, CREATED, accept="text/event-stream")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        stack.close()
        wait_until(lambda: not len(jobs._streams.responses))
        with subscribed(host) as stream:
            jobs.enqueue("a")
            assert stream.event()[0] == "next"


def test_ending_the_subscriptions_ends_streams_without_saying_complete(jobs, host):
    with subscribed(host) as stream:
        jobs.end_subscriptions()
        with pytest.raises(EOFError):
            stream.event()
    wait_until(lambda: jobs._streams.idle)


def test_a_client_that_does_not_read_is_dropped_and_nobody_else_waits(jobs, host):
    big = "x" * 50_000
    query = "subscription { jobCreated { id input } }"
    address, port = host.split(":")
    with socket.create_connection((address, int(port))) as slow, subscribed(host, query) as quick:
        body = json.dumps({"query": query}).encode()
        slow.sendall(
            b"POST /graphql HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        wait_until(lambda: len(jobs._streams.responses) == 2)
        sent = 0
        while any(len(group.members) == 2 for group in jobs._streams._groups.values()) or not sent:
            jobs.enqueue("a", big)
            sent += 1
            assert quick.event()[1]["data"]["jobCreated"]["input"] == big
            assert sent < 2_000
        assert sent > 100


def test_killed_clients_leave_nothing_behind(jobs, host):
    threads = threading.active_count()
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(subscribed(host))
            assert len(jobs._streams.responses) == 30
    wait_until(lambda: jobs._streams.idle and not len(jobs._streams.responses))
    wait_until(lambda: threading.active_count() <= threads + jobs.threads)
    assert not jobs.queue.feed.followed


# The stream by itself


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_comment_is_the_first_thing_and_a_sign_of_life():
    clock = Clock()
    stream = sse.EventStream(Limits(), clock=clock)
    assert stream.heartbeat == 12
    assert stream.take() == b":\n\n"
    assert stream.take() == b""
    clock.now += 11
    assert stream.take() == b""
    clock.now += 1
    assert stream.take() == b":\n\n"
    assert stream.put("{}")
    clock.now += 12
    assert stream.take() == b"event: next\ndata: {}\n\n"
    assert stream.take() == b""


def test_what_comes_before_the_stream_is_attached_waits():
    stream = sse.EventStream(Limits())
    stream.put('{"data":1}')
    stream.end(None)
    rung: list[int] = []
    stream.attach(lambda: rung.append(1))
    assert rung == [1]
    assert stream.take() == b'event: next\ndata: {"data":1}\n\nevent: complete\ndata:\n\n'
    assert stream.take() is None
    assert not stream.put("{}")


def test_an_error_is_the_last_answer():
    stream = sse.EventStream(Limits())
    stream.end([{"message": "no"}])
    assert stream.take() == b'event: next\ndata: {"errors":[{"message":"no"}]}\n\nevent: complete\ndata:\n\n'


def test_too_many_events_end_it():
    clock = Clock()
    stream = sse.EventStream(Limits(buffered=2, burst=4), clock=clock)
    assert [stream.put("{}") for _ in range(5)] == [True] * 4 + [False]
    assert stream.take() is None

    stream = sse.EventStream(Limits(buffered=2, burst=4), clock=clock)
    assert [stream.put("{}") for _ in range(2)] == [True, True]
    clock.now += 1
    assert not stream.put("{}")
    assert stream.take() is None


def test_too_many_bytes_end_it_but_one_event_may_be_of_any_size():
    stream = sse.EventStream(Limits(buffered_bytes=100))
    assert stream.put("x" * 1_000)
    assert not stream.put("x")
    assert stream.take() is None
