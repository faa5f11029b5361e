"""What happens in a queue, as server-sent events."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import flask
import httpx
import pytest
from werkzeug.serving import make_server

import gnj_flask
from gnj import GNJ
from gnj.access import Principal, Target
from gnj.api import runs
from gnj.api.hooks import Guard
from gnj.api.queues import telling
from gnj.api.queues.hub import EventStream, Hub
from gnj.api.queues.telling import EVENTS, Teller
from gnj.graphql.limits import Limits
from gnj.queue.feed import Change
from gnj.queue.model import Job, NewJob
from gnj.queue.states import JobStatus
from gnj.testing.clients import Call, asgi_client, wsgi_client
from tests.serving import served

WAIT = 20.0
ACME = Principal("anna", tenant="acme")
BACKENDS = [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("memory", "sqlite", "postgresql", "mysql")]


def parsed(text):
    """The events of a stream's text, as a browser reads them; comments are passed over."""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if fields:
            yield fields["event"], int(fields["id"]), json.loads(fields["data"])


class Reader:
    """Reads a stream as an adapter does."""

    def __init__(self, stream):
        self.stream, self.ready, self.seen, self.left, self.over = stream, threading.Event(), [], [], False
        stream.attach(self.ready.set)

    def next(self):
        """The name and data of the next event."""
        end = time.monotonic() + WAIT
        while not self.left:
            assert not self.over
            assert time.monotonic() < end
            self.pull(0.5)
        name, _, data = self.left.pop(0)
        return name, data

    def names(self, count):
        return [self.next()[0] for _ in range(count)]

    def pull(self, seconds):
        self.ready.wait(seconds)
        self.ready.clear()
        while piece := self.stream.take():
            self.left += parsed(piece.decode())
        self.over = self.over or piece is None

    def ended(self):
        end = time.monotonic() + WAIT
        while not self.over:
            assert time.monotonic() < end
            self.pull(0.5)
        return self.left

    @property
    def nothing(self):
        self.pull(0)
        return not self.left


@pytest.fixture
def jobs():
    with GNJ("memory://") as jobs:
        yield jobs


@pytest.fixture
def hub(jobs):
    hub = Hub(Guard(), jobs.queue.feed)
    yield hub
    wait_until(lambda: hub.idle)


def wait_until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def listening(hub, queue="mail", names=EVENTS, principal=ACME, limits=None):
    stream = EventStream(limits or Limits(), principal.expires_at)
    stream.begin(hub.join(queue, names, principal, stream))
    try:
        yield Reader(stream)
    finally:
        stream.close()


def new(jobs, type="mail", tenant="acme", **values):
    return jobs.queue.enqueue(NewJob(type, tenant=tenant, **values))


def test_the_life_of_a_job(jobs, hub):
    with listening(hub) as reader:
        job = new(jobs, name="welcome", max_attempts=2)
        name, data = reader.next()
        assert (name, data) == (
            "added",
            {
                "jobId": str(job.id),
                "name": "welcome",
                "state": "waiting",
                "attemptsMade": 0,
                "timestamp": round(job.created_at.timestamp() * 1000),
            },
        )
        assert reader.next()[0] == "waiting"
        claim = jobs.queue.acquire(["mail"])
        assert reader.next() == (
            "active",
            {**data, "state": "active", "timestamp": pytest.approx(data["timestamp"], abs=60_000)},
        )
        jobs.queue.heartbeat(claim)
        jobs.queue.progress(claim, {"percent": 40})
        name, data = reader.next()
        assert (name, data["progress"]) == ("progress", {"percent": 40})
        jobs.queue.progress(claim, {"percent": 40})
        jobs.queue.fail(claim, "busy")
        assert reader.next()[0] == "waiting"
        claim = jobs.queue.acquire(["mail"])
        jobs.queue.succeed(claim, {"sent": 1})
        assert reader.names(1) == ["active"]
        name, data = reader.next()
        assert (name, data["returnvalue"], data["state"], data["attemptsMade"]) == (
            "completed",
            {"sent": 1},
            "completed",
            2,
        )
        jobs.queue.delete(Job, job.id)
        assert reader.next()[0] == "removed"
        assert reader.nothing


def test_other_ends(jobs, hub):
    with listening(hub) as reader:
        new(jobs)
        jobs.queue.fail(jobs.queue.acquire(["mail"]), "bad address")
        assert reader.names(3) == ["added", "waiting", "active"]
        name, data = reader.next()
        assert (name, data["failedReason"], data["state"]) == ("failed", "bad address", "failed")
        assert reader.next()[0] == "retries-exhausted"
        jobs.queue.cancel(new(jobs).id)
        assert reader.names(2) == ["added", "waiting"]
        name, data = reader.next()
        assert (name, data["failedReason"]) == ("failed", "cancelled")
        job = new(jobs, start_after=timedelta(hours=1))
        assert reader.names(2) == ["added", "delayed"]
        jobs.queue.promote("mail", str(job.id), tenant="acme")
        assert reader.names(1) == ["waiting"]
        jobs.queue.set_data("mail", str(job.id), {"to": "other"}, tenant="acme")
        assert reader.nothing


def test_what_happens_to_queues(jobs, hub):
    with (
        listening(hub) as reader,
        listening(hub, "other") as other,
        listening(hub, principal=Principal("b")) as stranger,
    ):
        jobs.queue.hold("mail", tenant="acme")
        assert reader.next() == ("paused", {"queue": "mail"})
        jobs.queue.release_hold("mail", tenant="acme")
        assert reader.next() == ("resumed", {"queue": "mail"})
        jobs.queue.hold("all", tenant="acme")
        assert (reader.next(), other.next()) == (("paused", {"queue": None}),) * 2
        new(jobs)
        jobs.queue.drain("mail", tenant="acme")
        assert reader.names(3) == ["added", "waiting", "removed"]
        assert reader.next() == ("drained", {"queue": "mail", "count": 1})
        assert stranger.nothing


def test_only_what_was_asked_for(jobs, hub):
    with listening(hub, names=["completed"]) as reader, listening(hub) as everything:
        new(jobs, "other")
        new(jobs, tenant="other")
        new(jobs)
        jobs.queue.succeed(jobs.queue.acquire(["mail"], 1, tenants=["acme"])[0])
        assert reader.next()[0] == "completed"
        assert everything.names(4) == ["added", "waiting", "active", "completed"]
        assert reader.nothing
        assert everything.nothing


def test_numbers_grow(jobs, hub):
    with listening(hub) as reader:
        for _ in range(3):
            new(jobs)
        wait_until(lambda: reader.pull(0) or len(reader.left) == 6)
        numbers = [number for _, number, _ in reader.left]
        assert numbers == sorted(set(numbers))
        reader.left.clear()


def test_who_may_not_any_more_is_told_nothing(jobs):
    asked, allowed = [], True

    def authorize(principal, action, target):
        asked.append((principal.id, action.name, action.kind, target))
        return allowed or principal.id != "anna"

    hub = Hub(Guard(authorize=authorize), jobs.queue.feed)
    with listening(hub) as reader, listening(hub, principal=Principal("other", tenant="acme")) as other:
        new(jobs)
        assert reader.names(2) == other.names(2) == ["added", "waiting"]
        allowed = False
        new(jobs, max_attempts=1)
        jobs.queue.hold("mail", tenant="acme")
        assert other.names(3) == ["added", "waiting", "paused"]
        assert reader.nothing
        assert {each for each in asked if each[0] == "anna"} == {
            ("anna", "GET /queues/{queue}/events", "read", Target("mail"))
        }


@pytest.fixture
def slow(jobs):
    """A hub whose hook takes its time: until it is told to go on. What it was asked about."""
    asked, busy, go = [], threading.Event(), threading.Event()

    def authorize(principal, _action, target):
        asked.append((principal.id, target))
        busy.set()
        return go.wait(WAIT)

    hub = Hub(Guard(authorize=authorize), jobs.queue.feed)
    yield hub, asked, busy, go
    go.set()
    wait_until(lambda: hub.idle)


def test_a_hook_is_asked_once_for_what_comes_together(jobs, slow):
    hub, asked, busy, go = slow
    with listening(hub) as one, listening(hub) as two, listening(hub, "other") as third:
        new(jobs)
        assert busy.wait(WAIT)
        for _ in range(50):
            new(jobs)
        new(jobs, "other")
        go.set()
        assert one.names(102) == two.names(102) == ["added", "waiting"] * 51
        assert third.names(2) == ["added", "waiting"]
        assert asked == [("anna", Target("mail")), ("anna", Target("mail")), ("anna", Target("other"))]


def test_what_waits_to_be_told_is_bounded(jobs, slow, monkeypatch, caplog):
    """Those who listen are cut, so that they know, and come again."""
    monkeypatch.setattr(runs, "MOST", 10)
    hub, _, busy, go = slow
    with listening(hub) as reader:
        new(jobs)
        assert busy.wait(WAIT)
        for _ in range(30):
            new(jobs)
        assert hub._run._inbox.qsize() == 10
        go.set()
        reader.ended()
        assert "more happened in queues than could be told" in caplog.text
        with listening(hub) as again:
            new(jobs)
            assert again.names(2) == ["added", "waiting"]


def test_many_changes_of_one_transaction_are_not_too_many(jobs, hub, monkeypatch):
    monkeypatch.setattr(runs, "MOST", 10)
    with listening(hub) as reader:
        jobs.queue.enqueue_many([NewJob("mail", tenant="acme")] * 100)
        assert reader.names(200) == ["added", "waiting"] * 100


def test_who_listens_is_asked_for_again_where_that_failed(jobs, monkeypatch, caplog):
    monkeypatch.setattr("gnj.api.queues.hub.RECHECK", 0.05)
    guard = Guard()
    looked = []

    def recheck(principal):
        looked.append(principal)
        raise RuntimeError("the cache of tokens is broken")

    hub = Hub(guard, jobs.queue.feed)
    with listening(hub) as reader:
        monkeypatch.setattr(guard, "recheck", recheck)
        wait_until(lambda: len(looked) > 1)
        monkeypatch.undo()
        assert "whether anna may still listen will be looked at again" in caplog.text
        new(jobs)
        assert reader.names(2) == ["added", "waiting"]
    wait_until(lambda: hub.idle)


def test_where_the_thread_ends_by_an_error_the_streams_end_and_the_next_ones_have_another(
    jobs, hub, monkeypatch, caplog
):
    with monkeypatch.context() as patched:
        patched.setattr(Hub, "_follow", lambda *_: 1 / 0)
        with listening(hub) as reader:
            assert reader.ended() == []
    assert "events of queues cannot be told any more" in caplog.text
    wait_until(lambda: hub.idle)
    assert not jobs.queue.feed.followed
    with listening(hub) as reader:
        new(jobs)
        assert reader.names(2) == ["added", "waiting"]


def test_a_hold_of_the_hosts_pauses_the_queues_of_all(jobs, hub):
    with listening(hub) as reader, listening(hub, "other") as other, listening(hub, principal=Principal("b")) as host:
        jobs.queue.hold("mail")
        assert reader.next() == host.next() == ("paused", {"queue": "mail"})
        jobs.queue.release_hold("mail")
        assert reader.next() == host.next() == ("resumed", {"queue": "mail"})
        jobs.queue.hold("all")
        assert reader.next() == other.next() == host.next() == ("paused", {"queue": None})
        new(jobs, tenant="")
        jobs.queue.drain("mail", tenant="")
        assert host.names(4) == ["added", "waiting", "removed", "drained"]
        assert reader.nothing


def test_a_stream_ends_with_its_token(jobs, hub):
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    with listening(hub, principal=Principal("anna", tenant="acme", expires_at=soon)) as reader:
        assert reader.ended() == []


def test_a_stream_ends_when_its_token_is_revoked(sqlite_database, monkeypatch):
    monkeypatch.setattr("gnj.api.queues.hub.RECHECK", 0.1)
    with GNJ(sqlite_database()) as jobs:
        jobs.migrate()
        secret = jobs._tokens.create("anna", scopes=["read"], tenant="acme")
        headers = {"authorization": f"Bearer {secret}"}
        with served(jobs.asgi_app()) as url, httpx.Client(trust_env=False, timeout=WAIT) as client:
            with client.stream("GET", f"{url}/queues/mail/events", headers=headers) as answer:
                assert answer.status_code == 200
                pieces = answer.iter_raw()
                assert next(pieces) == b":\n\n"
                jobs._tokens.revoke("anna")
                assert b"".join(pieces) == b""
            assert client.get(f"{url}/queues/mail/events", headers=headers).status_code == 401


def test_who_does_not_read_is_dropped_and_delays_nobody(jobs, hub):
    with listening(hub, limits=Limits(burst=3, buffered=3)) as slow, listening(hub) as reader:
        for _ in range(3):
            new(jobs)
        assert reader.names(6) == ["added", "waiting"] * 3
        assert slow.ended() == []


def test_an_event_that_cannot_be_told_ends_nothing(jobs, hub, monkeypatch, caplog):
    told = Teller.told
    monkeypatch.setattr(Teller, "told", lambda *_: 1 / 0)
    with listening(hub) as reader:
        new(jobs)
        wait_until(lambda: "an event was not told" in caplog.text)
        monkeypatch.setattr(Teller, "told", told)
        new(jobs)
        assert reader.names(2) == ["added", "waiting"]


def test_the_thread_ends_and_begins_again(jobs, hub):
    for _ in range(3):
        with listening(hub) as reader:
            new(jobs)
            assert reader.names(2) == ["added", "waiting"]
        wait_until(lambda: hub.idle)
        assert not jobs.queue.feed.followed


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_changes_of_other_processes(request, backend):
    """Two objects on one database do not know each other: it is as if they were in two processes."""
    url = request.getfixturevalue(f"{backend}_database")()
    with GNJ(url) as here, GNJ(url) as there:
        here.migrate()
        hub = Hub(Guard(), here.queue.feed)
        with listening(hub) as reader:
            assert here.queue.feed.arrive(WAIT)
            time.sleep(0.3)  # for so long the other one may still believe that nobody follows
            job = new(there)
            assert reader.names(2) == ["added", "waiting"]
            there.queue.hold("mail", tenant="acme")
            assert reader.next() == ("paused", {"queue": "mail"})
            there.queue.release_hold("mail", tenant="acme")
            assert reader.names(1) == ["resumed"]
            (claim,) = there.queue.acquire(["mail"], 1)
            assert reader.names(1) == ["active"]
            there.queue.progress(claim, {"percent": 10})
            assert reader.names(1) == ["progress"]
            there.queue.succeed(claim)
            assert reader.names(1) == ["completed"]
            there.queue.delete(Job, job.id)
            assert reader.names(1) == ["removed"]
        wait_until(lambda: hub.idle)


def job(**values):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Job(**{"id": 7, "created_at": now, "updated_at": now, "type": "mail", **values})


def test_what_is_told_of_a_job_that_nobody_was_told_of():
    """Its claim was before anybody listened: then a change of it is progress, unless it has just begun."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    begun = {"status": JobStatus.PROCESSING, "attempt": 1, "started_at": now}

    def names(*changes):
        teller = Teller()
        return [[told.name for told in teller.told(Change(topic, "", job(**values)))] for topic, values in changes]

    assert names(("updated", begun)) == [["active"]]
    later = {**begun, "updated_at": now + timedelta(seconds=1)}
    assert names(("updated", later)) == [[]]
    assert names(("updated", {**later, "progress": 5}), ("updated", {**later, "progress": 5})) == [["progress"], []]
    assert names(("created", {**later, "progress": 5})) == [["added", "active"]]
    assert names(("created", {"status": JobStatus.PLANNED})) == [["added", "waiting-children"]]
    assert names(("created", {"priority": -3})) == [["added", "waiting"]]
    assert names(("updated", {"status": JobStatus.FAILED, "failures": 1, "max_attempts": 3})) == [["failed"]]
    assert names(
        ("updated", {"status": JobStatus.FAILED, "output": {"error": [1]}, "failures": 3, "max_attempts": 3})
    ) == [["failed", "retries-exhausted"]]
    again = {"status": JobStatus.PROCESSING, "attempt": 2, "started_at": now, "updated_at": now + timedelta(seconds=1)}
    assert names(("updated", begun), ("updated", again)) == [["active"], ["active"]]


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(telling, "REMEMBERED", 2)
    teller = Teller()
    for id in (1, 2, 3):
        teller.told(Change("created", "", job(id=id)))
    assert list(teller._known) == [2, 3]
    teller.told(Change("deleted", "", job(id=2)))
    assert list(teller._known) == [3]


# Over HTTP ----------------------------------------------------------------------------------------------------------------


def principal(context):
    tenant = context.headers.get("x-tenant")
    return None if tenant is None else Principal(f"of {tenant}", tenant=tenant)


@contextmanager
def uvicorn(jobs):
    with served(jobs.asgi_app()) as url:
        yield url


@contextmanager
def werkzeug(jobs):
    app = flask.Flask("host")
    gnj_flask.mount(app, jobs, "/")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        jobs.end_subscriptions()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("serve", [uvicorn, werkzeug])
def test_over_http(serve):
    jobs = GNJ("memory://", authenticate=principal)
    with serve(jobs) as url, httpx.Client(trust_env=False, timeout=WAIT, headers={"x-tenant": "acme"}) as client:
        with client.stream("GET", f"{url}/queues/mail/events?events=added,completed") as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store, no-transform"
            pieces = answer.iter_raw()
            assert next(pieces) == b":\n\n"
            added = client.post(f"{url}/queues/mail/jobs", json=[{"name": "a", "data": 1, "opts": {"jobId": "mine"}}])
            assert added.status_code == 200
            jobs.queue.succeed(jobs.queue.acquire(["mail"], 1)[0], "done")
            text = ""
            while "completed" not in text:
                text += next(pieces).decode()
            told = [(name, data) for name, _, data in parsed(text)]
            assert [name for name, _ in told] == ["added", "completed"]
            assert {data["jobId"] for _, data in told} == {"mine"}
            jobs.end_subscriptions()
            assert b"".join(pieces) == b""
        wait_until(lambda: len(jobs._face.connections) == 0)
        hub = jobs._face.hub
        wait_until(lambda: hub.idle)
    jobs.close()


@pytest.mark.parametrize(
    "target, status, told",
    [
        ("/queues/mail/events?events=added,moved", 400, "Invalid event: moved"),
        ("/queues/mail/events?events=,", 400, "Invalid event: "),
        ("/queues/mail/events?name=added", 400, "Unexpected parameter: 'name'"),
        ("/queues/x/events", 400, "queue name must be at least 3 characters long"),
    ],
)
def test_what_is_refused(target, status, told):
    jobs = GNJ("memory://", authenticate=principal)
    for client in (asgi_client(jobs.asgi_app()), wsgi_client(jobs.wsgi_app())):
        answer = client(Call("GET", target, headers=(("x-tenant", "acme"),)))
        assert (answer.status, json.loads(answer.body)) == (status, {"error": told})
        assert client(Call("GET", target)).status == 401
        head = client(Call("HEAD", "/queues/mail/events", headers=(("x-tenant", "acme"),)))
        assert (head.status, head.header("content-type"), head.body) == (200, "text/event-stream; charset=utf-8", b"")
    assert len(jobs._face.connections) == 0


def test_too_many_streams():
    jobs = GNJ("memory://", authenticate=principal, limits=Limits(sockets=1))
    assert jobs._face.connections.enter("acme", lambda: None)
    for client in (asgi_client(jobs.asgi_app()), wsgi_client(jobs.wsgi_app())):
        answer = client(Call("GET", "/queues/mail/events", headers=(("x-tenant", "acme"),)))
        assert (answer.status, json.loads(answer.body)) == (
            503,
            {"error": "There are too many streams: try again later."},
        )
        assert answer.header("retry-after") == "5"
