"""graphql-transport-ws under a real server, with a real client."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.exceptions import InvalidStatus
from websockets.frames import CloseCode

import gnj
import gnj_starlette
from gnj.access import Principal
from gnj.graphql.limits import Limits
from tests.subscribers import WAIT, Client, connected, served

CREATED = "subscription ($id: Int) { jobCreated(id: $id) { id type } }"
CREATE = "mutation ($job: jobInput!) { jobCreate(job: $job) { id } }"


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def serving(jobs: gnj.GNJ, **options) -> Iterator[str]:
    with served(gnj_starlette.asgi_app(jobs), **options) as host:
        yield host


@pytest.fixture
def jobs() -> Iterator[gnj.GNJ]:
    with gnj.GNJ("memory://") as jobs:
        yield jobs


@pytest.fixture
def host(jobs) -> Iterator[str]:
    with serving(jobs) as host:
        yield host


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    """A server for tests that leave nothing behind: to start one takes longer than they do."""
    with (
        gnj.GNJ("memory://", origins=("https://App.example", "https://app.example:8443")) as jobs,
        serving(jobs) as host,
    ):
        yield host


@pytest.fixture
def client(host) -> Iterator[Client]:
    with connected(host) as client:
        client.init()
        yield client


def test_events_of_a_subscription_until_it_is_completed(jobs, client):
    client.subscribe("a", CREATED)
    client.settle()
    first = jobs.enqueue("mail")
    assert client.next("a") == {"data": {"jobCreated": {"id": first.id, "type": "mail"}}}
    client.send("complete", id="a")
    client.settle()
    jobs.enqueue("mail")
    client.settle()
    wait_until(lambda: jobs._streams.idle)
    client.subscribe("a", CREATED, id=first.id + 2)
    client.settle()
    for _ in range(2):
        jobs.enqueue("mail")
    assert client.next("a")["data"]["jobCreated"]["id"] == first.id + 2
    assert client.run("{ jobCount }") == {"jobCount": 4}


def test_queries_and_mutations_too(client):
    assert client.run("{ jobCount }") == {"jobCount": 0}
    client.subscribe("s", CREATED)
    client.subscribe("m", CREATE, job={"type": "a"})
    messages = [client.receive() for _ in range(3)]
    assert {(m["id"], m["type"]) for m in messages} == {("m", "next"), ("m", "complete"), ("s", "next")}
    client.subscribe("bad", "{ nothing }")
    error = client.receive()
    assert (error["id"], error["type"]) == ("bad", "error")
    assert error["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    # a field that fails is an answer
    client.subscribe("bad", "mutation { recover(id: 99) { id } }")
    assert client.next("bad")["errors"][0]["extensions"]["code"] == "JOB_NOT_FOUND"
    assert client.receive() == {"id": "bad", "type": "complete"}


def test_a_subscription_that_cannot_begin_is_an_error_and_the_socket_goes_on(client):
    for query in (
        "subscription { jobCreated { id } jobUpdated { id } }",
        "subscription { __typename }",
        "subscription ($id: Int!) { jobCreated(id: $id) { id } }",
        "subscription { jobCreated { id ",
        "subscription { jobCreated { batch { jobs { batch { jobs { batch { jobs { batch { jobs { batch { jobs { id } } } } } } } } } } } }",
        "subscription { jobCreated { " + " ".join(f"a{n}: id" for n in range(31)) + " } }",
    ):
        client.subscribe("x", query)
        message = client.receive()
        assert (message["id"], message["type"]) == ("x", "error"), query
    assert client.run("{ jobCount }") == {"jobCount": 0}


def test_pings_are_answered_before_and_after_the_beginning(shared):
    with connected(shared) as client:
        client.send("ping")
        assert client.receive() == {"type": "pong"}
        client.init()
        client.send("ping", payload={"a": [1]})
        assert client.receive() == {"type": "pong", "payload": {"a": [1]}}
        client.send("pong")
        client.send("pong", payload={})
        client.send("complete", id="unknown")
        assert client.run("{ jobCount }") == {"jobCount": 0}


@pytest.mark.parametrize("protocols", [None, ["graphql-ws"], ["x", "y"]])
def test_4406_without_the_subprotocol(shared, protocols):
    with connected(shared, subprotocols=protocols) as client:
        assert client.connection.subprotocol is None
        assert client.closed() == (4406, "Subprotocol not acceptable")


def test_the_subprotocol_may_be_one_of_several(shared):
    with connected(shared, subprotocols=["graphql-ws", "graphql-transport-ws"]) as client:
        assert client.connection.subprotocol == "graphql-transport-ws"
        client.init()


def test_4408_without_an_init():
    limits = Limits(init_seconds=0.1)
    with gnj.GNJ("memory://", limits=limits) as jobs, serving(jobs) as host, connected(host) as client:
        assert client.closed() == (4408, "Connection initialisation timeout")


def test_4401_before_the_acknowledgement(shared):
    with connected(shared) as client:
        client.subscribe("a", CREATED)
        assert client.closed()[0] == 4401


def test_4401_while_the_caller_is_being_authenticated():
    go = threading.Event()

    def slow(_context):
        assert go.wait(WAIT)
        return Principal("x")

    with gnj.GNJ("memory://", authenticate=slow) as jobs, serving(jobs) as host, connected(host) as client:
        client.send("connection_init")
        client.subscribe("a", CREATED)
        assert client.closed()[0] == 4401
        go.set()


def test_4409_for_an_id_that_is_taken(client):
    client.subscribe("a", CREATED)
    client.subscribe("a", CREATED)
    assert client.closed() == (4409, "Subscriber for a already exists")


def test_an_id_is_free_again_when_its_operation_has_ended(client):
    for _ in range(3):
        client.subscribe("a", "{ jobCount }")
        client.next("a")
        assert client.receive()["type"] == "complete"


def test_4429_for_a_second_init(client):
    client.send("connection_init")
    assert client.closed() == (4429, "Too many initialisation requests")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "null",
        "[]",
        '"subscribe"',
        b"\x00",
        b'{"type":"ping"}',
        "{}",
        '{"type":null}',
        '{"type":["ping"]}',
        '{"type":"stop","id":"a"}',
        '{"type":"subscribe","payload":{"query":"{jobCount}"}}',
        '{"type":"subscribe","id":"","payload":{"query":"{jobCount}"}}',
        '{"type":"subscribe","id":7,"payload":{"query":"{jobCount}"}}',
        '{"type":"subscribe","id":null,"payload":{"query":"{jobCount}"}}',
        '{"type":"subscribe","id":"' + "x" * 201 + '","payload":{"query":"{jobCount}"}}',
        '{"type":"subscribe","id":"a"}',
        '{"type":"subscribe","id":"a","payload":[]}',
        '{"type":"subscribe","id":"a","payload":{"query":1}}',
        '{"type":"subscribe","id":"a","payload":{"query":"{jobCount}","variables":[]}}',
        '{"type":"subscribe","id":"a","payload":{"query":"{jobCount}","operationName":1}}',
        '{"type":"subscribe","id":"a","payload":{"query":"{jobCount}","extensions":1}}',
        '{"type":"complete"}',
        '{"type":"complete","id":1}',
        '{"type":"ping","payload":1}',
        '{"type":"pong","payload":[]}',
        '{"type":"ping","payload":' + '{"a":' * 65 + "1" + "}" * 66,
        '{"type":"ping","payload":{"a":' + "[" * 10_000 + "]" * 10_000 + "}}",
        '{"type":"ping","payload":{"a":NaN}}',
        '{"type":"ping","payload":{"a":1e400}}',
        '{"type":"ping","payload":{"a":"\\ud800"}}',
    ],
)  # fmt: skip
def test_4400_for_what_is_no_message(shared, caplog, message):
    with connected(shared) as client:
        client.init()
        client.connection.send(message)
        assert client.closed()[0] == 4400
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_4400_for_a_wrong_init(shared):
    with connected(shared) as client:
        client.send("connection_init", payload=[])
        assert client.closed()[0] == 4400


def test_a_message_has_64_kilobytes_at_most(shared):
    with connected(shared) as client:
        client.init()
        frame = json.dumps({"type": "ping", "payload": {"a": ""}})
        client.connection.send(frame.replace('""', f'"{"x" * (65_536 - len(frame))}"'))
        assert client.receive()["type"] == "pong"
        client.connection.send(frame.replace('""', f'"{"x" * (65_537 - len(frame))}"'))
        assert client.closed()[0] == CloseCode.MESSAGE_TOO_BIG


def test_100_operations_under_way_at_most(client):
    for number in range(100):
        client.subscribe(f"a{number}", CREATED)
    client.subscribe("one more", CREATED)
    message = client.receive()
    assert (message["id"], message["type"]) == ("one more", "error")
    assert message["payload"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
    client.send("complete", id="a0")
    assert client.run("{ jobCount }") == {"jobCount": 0}


# Who is asking


def test_4403_for_who_is_not_accepted():
    with gnj.GNJ("memory://", token="s3cret") as jobs, serving(jobs) as host:
        for params in ({}, {"authorization": "Bearer wrong"}, {"authorization": ["Bearer s3cret"]}):
            with connected(host) as client:
                client.send("connection_init", payload=params)
                assert client.closed() == (4403, "Forbidden")
        for name in ("authorization", "Authorization"):
            with connected(host) as client:
                client.init(**{name: "Bearer s3cret"})
        with connected(host, additional_headers={"Authorization": "Bearer s3cret"}) as client:
            client.init()


def test_hooks_see_the_handshake_and_the_params():
    seen = []

    async def authenticate(context):
        seen.append(context)
        if context.connection_params == {"raise": True}:
            raise RuntimeError("secret")
        return Principal("x") if context.connection_params == {"key": "k"} else None

    with gnj.GNJ("memory://", authenticate=authenticate) as jobs, serving(jobs) as host:
        with connected(host, "/graphql?a=1", additional_headers={"Cookie": "s=1", "X-Thing": "t"}) as client:
            client.init(key="k")
        for params in ({}, {"raise": True}):
            with connected(host) as client:
                client.send("connection_init", payload=params)
                assert client.closed() == (4403, "Forbidden")
    context = seen[0]
    assert (context.transport, context.client_host, context.query) == ("ws", "127.0.0.1", {"a": "1"})
    assert (context.cookies, context.headers["x-thing"]) == ({"s": "1"}, "t")
    assert type(context.raw).__name__ == "WebSocket"


def test_4403_when_the_credentials_expire():
    def authenticate(_context):
        return Principal("x", expires_at=datetime.now(UTC) + timedelta(seconds=0.3))

    with gnj.GNJ("memory://", authenticate=authenticate) as jobs, serving(jobs) as host, connected(host) as client:
        client.init()
        client.subscribe("a", CREATED)
        assert client.closed() == (4403, "Forbidden: the credentials have expired")
        wait_until(lambda: jobs._streams.idle)


def test_a_revoked_token_ends_what_is_open(jobs, host):
    revoked, other = (jobs.create_token(name, scopes=["admin"]) for name in ("revoked", "other"))
    with connected(host) as client, connected(host) as spared:
        for each, token in ((client, revoked), (spared, other)):
            each.init(authorization=f"Bearer {token}")
            each.subscribe("a", CREATED)
            each.settle()
        jobs.revoke_token("revoked")
        jobs.enqueue("mail")
        assert spared.next("a")["data"]["jobCreated"]["id"] == 1
        ended = client.receive()
        assert (ended["id"], ended["type"]) == ("a", "error")
        assert ended["payload"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
        client.subscribe("m", CREATE, job={"type": "mail"})
        assert client.closed() == (4403, "Forbidden")
        assert jobs.count() == 1


def test_many_pings_at_once_are_all_answered(shared):
    with connected(shared) as client:
        client.init()
        frame = client.connection.protocol
        for _ in range(1000):
            frame.send_text(b'{"type":"ping"}')
        client.connection.socket.sendall(b"".join(frame.data_to_send()))
        assert [client.receive() for _ in range(1000)] == [{"type": "pong"}] * 1000


def test_everything_is_authorised_at_the_beginning_and_each_event_at_delivery():
    asked, refused = [], set()

    def authorize(principal, action, target):
        asked.append((principal.id, action.name, action.kind, target))
        return (principal.id, action.name) != ("p", "jobDeleted") and (principal.id, target) not in refused

    def authenticate(context):
        return Principal(context.connection_params["id"])

    with (
        gnj.GNJ("memory://", authenticate=authenticate, authorize=authorize) as jobs,
        serving(jobs) as host,
        connected(host) as one,
        connected(host) as two,
    ):
        one.init(id="p")
        two.init(id="q")
        one.subscribe("d", "subscription { jobDeleted { id } }")
        assert one.receive()["payload"][0]["extensions"]["code"] == "FORBIDDEN"
        for client in (one, two):
            client.subscribe("a", CREATED)
            client.settle()
        refused.add(("p", 1))
        first, second = jobs.enqueue("a"), jobs.enqueue("a")
        assert first.id == 1
        assert two.next("a")["data"]["jobCreated"]["id"] == first.id
        assert two.next("a")["data"]["jobCreated"]["id"] == second.id
        assert one.next("a")["data"]["jobCreated"]["id"] == second.id
    assert ("p", "jobCreated", "read", None) in asked
    assert {("p", "jobCreated", "read", 1), ("q", "jobCreated", "read", 1)} <= set(asked)


def test_a_deny_all_hook_refuses_every_subscription():
    with (
        gnj.GNJ("memory://", authorize=lambda *_: False) as jobs,
        serving(jobs) as host,
        connected(host) as client,
    ):
        client.init()
        assert jobs.schema.subscription_type is not None
        fields = jobs.schema.subscription_type.fields
        for name, field in fields.items():
            inner = "{ __typename }" if "success" not in str(field.type) else "{ success }"
            client.subscribe("x", f"subscription {{ {name} {inner} }}")
            assert client.receive()["payload"][0]["extensions"]["code"] == "FORBIDDEN"
        assert len(fields) == 6


def test_nothing_of_another_tenant_is_told():
    def authenticate(context):
        return Principal("x", context.connection_params["tenant"])

    with (
        gnj.GNJ("memory://", authenticate=authenticate) as jobs,
        serving(jobs) as host,
        connected(host) as a,
        connected(host) as b,
    ):
        a.init(tenant="A")
        b.init(tenant="B")
        for client in (a, b):
            for field in ("jobCreated", "jobUpdated", "jobDeleted"):
                client.subscribe(field, f"subscription {{ {field} {{ id }} }}")
            client.settle()
        ids = [jobs.enqueue("t", tenant="B").id for _ in range(200)]
        told = [b.next("jobCreated")["data"]["jobCreated"]["id"] for _ in range(200)]
        assert told == ids
        # events are told in their order: had one of B's come to A, it would come before this
        own = jobs.enqueue("t", tenant="A")
        assert a.next("jobCreated")["data"]["jobCreated"]["id"] == own.id


# Origins


@pytest.mark.parametrize(
    "origin, welcome",
    [
        (None, True),
        ("http://{host}", True),
        ("https://{host}", True),
        ("HTTP://{host}", True),
        ("http://localhost", False),
        ("http://127.0.0.1:1", False),
        ("https://evil.example", False),
        ("http://{host}.evil.example", False),
        ("https://evil.example/{host}", False),
        ("null", False),
        ("", False),
        ("{host}", False),
        ("http://[", False),
        ("https://app.example", True),
        ("https://app.example:443", True),
        ("http://app.example", False),
        ("https://app.example:8443", True),
    ],
)
def test_pages_of_other_origins_are_refused_in_the_handshake(shared, origin, welcome):
    sent = {} if origin is None else {"Origin": origin.replace("{host}", shared)}
    if welcome:
        with connected(shared, additional_headers=sent) as client:
            client.init()
        return
    with pytest.raises(InvalidStatus) as refused, connected(shared, additional_headers=sent):
        pass
    response = refused.value.response
    assert response.status_code == 403
    assert json.loads(response.body)["errors"][0]["extensions"]["code"] == "FORBIDDEN"


def test_an_origin_that_is_none_is_refused_at_once():
    for origin in ("app.example", "*", "https://app.example/path", ""):
        with gnj.GNJ("memory://", origins=[origin]) as jobs, pytest.raises(gnj.GnjError, match="origin"):
            gnj_starlette.asgi_app(jobs)


# Many, slow and dead clients


def test_1000_sockets_of_a_tenant_at_most():
    def authenticate(context):
        return Principal("x", context.connection_params.get("tenant", ""))

    limits = Limits(sockets=3)
    with (
        gnj.GNJ("memory://", authenticate=authenticate, limits=limits) as jobs,
        serving(jobs) as host,
        ExitStack() as stack,
    ):
        for _ in range(3):
            stack.enter_context(connected(host)).init()
        with connected(host) as client:
            client.send("connection_init")
            assert client.closed() == (1013, "Too many connections")
        with connected(host) as client:
            client.init(tenant="another")
        # those who have not said who they are count together, and whoever has waited the longest makes room
        waiting = [stack.enter_context(connected(host)) for _ in range(3)]
        with connected(host) as client:
            client.init(tenant="third")
            assert waiting[0].closed() == (1013, "Too many connections")
        waiting[1].init(tenant="fourth")


def test_4413_for_a_client_that_does_not_read_and_nobody_else_waits(jobs, host):
    big = "x" * 50_000
    with connected(host) as slow, connected(host) as quick:
        slow.init()
        quick.init()
        query = "subscription { jobCreated { id input } }"
        slow.subscribe("a", query)
        slow.settle()
        quick.subscribe("a", query)
        quick.settle()
        streams = jobs._streams
        sent = 0
        while len(streams.sockets) == 2 and any(len(g.members) == 2 for g in streams._groups.values()):
            jobs.enqueue("a", big)
            sent += 1
            assert quick.next("a")["data"]["jobCreated"]["input"] == big
            assert sent < 2_000
        assert sent > 100
        assert slow.closed() == (4413, "Slow consumer")
        wait_until(lambda: len(streams.sockets) == 1)


def test_a_client_that_asks_and_does_not_read_is_dropped_too(jobs, host):
    job = jobs.enqueue("a", "x" * 100_000)
    with connected(host) as client:
        client.init()
        (socket,) = [connection.end.func.__self__ for connection in jobs._streams.sockets._open]
        numbers, end = itertools.count(), time.monotonic() + 2 * WAIT
        while socket.closing is None:
            assert time.monotonic() < end
            client.subscribe(f"a{next(numbers)}", f"{{ job(id: {job.id}) {{ input }} }}")
        assert socket.closing == (4413, "Slow consumer")
        client.kill()


def test_the_server_pings_and_drops_who_gives_no_sign_of_life():
    with (
        gnj.GNJ("memory://", limits=Limits(ping_seconds=0.2)) as jobs,
        serving(jobs) as host,
        connected(host) as dead,
        connected(host) as alive,
    ):
        dead.init()
        alive.init()
        for _ in range(3):
            assert alive.receive() == {"type": "ping"}
            alive.send("pong")
        assert dead.closed() == (4499, "No sign of life")
        assert alive.receive() == {"type": "ping"}


def test_killed_sockets_leave_nothing_behind(jobs):
    app = gnj_starlette.asgi_app(jobs)
    loops: list[asyncio.AbstractEventLoop] = []

    async def watched(scope, receive, send):
        if scope["type"] == "websocket" and not loops:
            loops.append(asyncio.get_running_loop())
        await app(scope, receive, send)

    def tasks() -> int:
        return asyncio.run_coroutine_threadsafe(count(), loops[0]).result(WAIT)

    async def count() -> int:
        return len(asyncio.all_tasks())

    with served(watched) as host:
        with connected(host) as client:
            client.init()
        streams = jobs._streams
        wait_until(lambda: len(streams.sockets) == 0)
        before = tasks()
        threads = threading.active_count()
        for _ in range(4):
            with ExitStack() as stack:
                clients = [stack.enter_context(connected(host)) for _ in range(50)]
                for number, client in enumerate(clients):
                    if number % 3:
                        client.init()
                    if number % 3 == 2:
                        client.subscribe("a", CREATED)
                        client.subscribe("b", "subscription { jobUpdated { id batch { id } } }")
                assert len(streams.sockets) == 50
                jobs.enqueue("a")
                for client in clients:
                    client.kill()
        wait_until(lambda: len(streams.sockets) == 0 and streams.idle)
        wait_until(lambda: tasks() <= before)
        wait_until(lambda: threading.active_count() <= threads + jobs.threads)
        assert not streams._groups
        assert not streams._wanting
        assert not jobs.queue.feed.followed
        assert not streams.sockets._counts


# Where it is served


def test_below_prefixes_with_and_without_slash_and_in_another_application(jobs):
    app = Starlette()
    gnj_starlette.mount(app, jobs, "/a/b")
    outer = Starlette(routes=[Mount("/outer", app=gnj_starlette.asgi_app(jobs)), Mount("/", app=app)])
    with served(outer, lifespan="off") as host:
        for path in ("/a/b/graphql", "/a/b/graphql/", "/outer/graphql", "/outer/graphql/"):
            with connected(host, path) as client:
                client.init()
                assert client.run("{ jobCount }") == {"jobCount": 0}
        with pytest.raises(InvalidStatus) as refused, connected(host, "/a/b/healthz"):
            pass
        assert refused.value.response.status_code == 403


def test_below_a_root_path(jobs):
    with served(gnj_starlette.asgi_app(jobs), root_path="/proxy") as host, connected(host, "/graphql") as client:
        client.init()


def test_a_start_that_fails_refuses_the_handshake():
    class Failing(gnj.GNJ):
        def start(self):
            raise RuntimeError("secret")

    with Failing("memory://") as jobs, served(gnj_starlette.asgi_app(jobs), lifespan="off") as host:
        with pytest.raises(InvalidStatus) as refused, connected(host):
            pass
        assert refused.value.response.status_code == 500
        assert b"secret" not in refused.value.response.body


def test_long_heads_are_refused(shared):
    headers = {f"x-{number}": "y" * 6_000 for number in range(3)}
    with pytest.raises(InvalidStatus) as refused, connected(shared, additional_headers=headers):
        pass
    assert refused.value.response.status_code == 431


def test_closing_ends_every_socket(jobs, host):
    with connected(host) as one, connected(host) as two:
        one.init()
        one.subscribe("a", CREATED)
        one.settle()
        jobs.end_subscriptions()
        assert one.closed() == (1001, "The server ends")
        assert two.closed() == (1001, "The server ends")
    wait_until(lambda: jobs._streams.idle)
