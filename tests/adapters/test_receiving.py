"""Bodies that are taken as they come: those that stop, are slow, break off, or were read by somebody else first."""

from __future__ import annotations

import asyncio
import json
import threading
from functools import partial

import pytest

from gnj.api import http
from gnj.api.asgi import Bell, Gone
from gnj.api.receiving import CHUNK, buffered, receive_asgi
from gnj.api.threads import Threads
from gnj.api.wsgi import wsgi_app
from gnj.graphql.limits import Limits
from gnj.testing.adapters import Echo
from gnj.testing.clients import Call, wsgi_client, wsgi_environ

WAIT = 20


class Sink:
    """Notes what it is given, and in which thread."""

    def __init__(self, size=None):
        self.size = size
        self.writes = []
        self.events = []
        self.threads = set()
        self.gate = threading.Event()
        self.gate.set()
        self.writing = threading.Event()

    def write(self, chunk):
        self.threads.add(threading.current_thread().name)
        self.writing.set()
        assert self.gate.wait(WAIT)
        self.writes.append(chunk)

    def finish(self):
        self.events.append("finish")
        return http.text("done")

    def abort(self):
        self.events.append("abort")


def given(sink, messages, *, headers=(), begin=lambda: None, threads=2, **limits):
    """Carries one request, whose body comes in `messages`; a number among them is so many seconds of silence."""

    async def run():
        due = list(messages)

        async def receive():
            if not due:
                await asyncio.sleep(WAIT)
            message = due.pop(0)
            if isinstance(message, float):
                await asyncio.sleep(message)
                message = due.pop(0)
            if message is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": message, "more_body": bool(due)}

        methods = http.endpoints(
            [http.Route(path="/", methods=("PUT",), endpoint=buffered(sink), receive=sink, name="x")]
        )["/"]
        scope = {"headers": [], "path": "/", "query_string": b""}
        request = http.Request(method="PUT", path="/", headers=dict(headers))
        pool = Threads(threads, Bell())
        return await receive_asgi(scope, receive, request, methods, begin, pool, pool, Limits(**limits))

    return asyncio.run(run())


def test_what_comes_is_gathered_and_written_in_threads():
    sink = Sink(3 * CHUNK // 2 + 1000)
    pieces = [b"x" * (CHUNK // 4)] * 6 + [b"y" * 1000, b""]
    assert given(lambda _: sink, pieces).body == b"done"
    assert [len(each) for each in sink.writes] == [CHUNK, CHUNK // 2 + 1000]
    assert sink.threads == {"gnj-request"}
    assert sink.events == ["finish"]


def test_no_more_is_taken_from_the_server_than_can_be_written():
    """A disk that is slower than the network slows the network down."""
    taken = []
    sink = Sink(20 * CHUNK)
    sink.gate.clear()

    async def run():
        due = [b"x" * CHUNK] * 20

        async def receive():
            taken.append(len(due))
            return {"type": "http.request", "body": due.pop(), "more_body": bool(due)}

        methods = http.Methods()
        methods.receivers["PUT"] = lambda _: sink
        scope = {"headers": [], "path": "/", "query_string": b""}
        request = http.Request(method="PUT", path="/")
        threads = Threads(2, Bell())
        task = asyncio.ensure_future(
            receive_asgi(scope, receive, request, methods, lambda: None, threads, threads, Limits())
        )
        await asyncio.to_thread(sink.writing.wait, WAIT)
        assert len(taken) == 1
        sink.gate.set()
        await task

    asyncio.run(run())
    assert len(taken) == 20
    assert sink.events == ["finish"]


def test_a_body_that_stops_coming_is_408_and_nothing_is_kept():
    sink = Sink(10)
    with pytest.raises(http.Refused, match=r"with no gap of 0.05 s") as caught:
        given(lambda _: sink, [b"12345", 5.0, b"67890"], body_seconds=0.05)
    assert caught.value.status == 408
    assert sink.events == ["abort"]


def test_a_client_that_goes_away():
    sink = Sink(10)
    with pytest.raises(Gone):
        given(lambda _: sink, [b"12345", None])
    assert sink.events == ["abort"]


@pytest.mark.parametrize(
    "pieces, status", [([b"123", b"45678901"], 413), ([b"123", b"45"], 400), ([b""], 400), ([b"x" * 11], 413)]
)
def test_another_length_without_an_announcement(pieces, status):
    sink = Sink(10)
    with pytest.raises(http.Refused) as caught:
        given(lambda _: sink, pieces)
    assert caught.value.status == status
    assert sink.events == ["abort"]
    assert sum(map(len, sink.writes)) <= 10


def test_an_announced_length_is_refused_before_anything_is_read():
    sink = Sink(10)
    for length, status in ((11, 413), (9, 400), ("9" * 30, 413), ("0" * 5_000 + "9", 400), ("1" * 5_000, 413)):
        with pytest.raises(http.Refused) as caught:
            given(lambda _: sink, [], headers=[("content-length", str(length))])
        assert caught.value.status == status


def test_what_is_answered_without_the_body_ends_the_connection():
    for receiver in (lambda _: http.refusal(403, "no", "NO"), failing):
        answer = given(receiver, [])
        assert answer.headers[-1] == ("connection", "close")
    unready = http.refusal(503, "no database", "STORAGE_UNAVAILABLE")
    sink = Sink(1)
    assert given(lambda _: sink, [], begin=lambda: unready).status == 503
    assert sink.events == []


def failing(_request):
    raise RuntimeError("at /srv/secret.py")


def test_without_a_thread_it_is_busy():
    async def run():
        threads, busy = Threads(1, Bell()), threading.Event()
        blocking = asyncio.ensure_future(threads.run(partial(busy.wait, WAIT)))
        await asyncio.sleep(0)
        methods = http.Methods()
        methods.receivers["PUT"] = failing
        scope = {"headers": [], "path": "/", "query_string": b""}
        request = http.Request(method="PUT", path="/")
        limits = Limits(waiting_seconds=0.05)
        try:
            return await receive_asgi(scope, None, request, methods, lambda: None, threads, threads, limits)  # type: ignore[arg-type]
        finally:
            busy.set()
            await blocking

    answer = asyncio.run(run())
    assert answer.status == 503
    assert answer.header("connection") == "close"


def test_a_disk_that_stands_still_keeps_no_thread_of_the_database():
    """Its requests are answered that it is busy, others as ever."""
    sinks = [Sink(1) for _ in range(4)]
    for sink in sinks:
        sink.gate.clear()

    async def run():
        threads, writers, left = Threads(1, Bell()), Threads(2, Bell()), list(sinks)
        methods = http.Methods()
        methods.receivers["PUT"] = lambda _: left.pop()

        async def receive():
            return {"type": "http.request", "body": b"x", "more_body": False}

        async def take():
            scope = {"headers": [], "path": "/", "query_string": b""}
            request, limits = http.Request(method="PUT", path="/"), Limits(waiting_seconds=0.05)
            return await receive_asgi(scope, receive, request, methods, lambda: None, threads, writers, limits)

        taken = [asyncio.ensure_future(take()) for _ in sinks]
        refused, under_way = await asyncio.wait(taken, return_when=asyncio.FIRST_COMPLETED)
        assert await threads.run(lambda: "at once", 1.0) == "at once"
        while len(refused) < 2:
            more, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            refused |= more
        assert [(task.result().status, task.result().header("connection")) for task in refused] == [(503, "close")] * 2
        for sink in sinks:
            sink.gate.set()
        answered = await asyncio.gather(*under_way)
        assert [answer.status for answer in answered] == [200, 200]
        await writers.run(lambda: None)

    asyncio.run(run())
    assert sorted(sink.events for sink in sinks) == [["abort"], ["abort"], ["finish"], ["finish"]]


def test_cancelled_while_it_writes_it_is_aborted_after_the_write():
    """As when a server shuts down: a sink is never called by two threads at once."""
    sink = Sink()
    sink.gate.clear()

    async def run():
        methods = http.Methods()
        methods.receivers["PUT"] = lambda _: sink
        scope = {"headers": [], "path": "/", "query_string": b""}
        request = http.Request(method="PUT", path="/")
        threads = Threads(3, Bell())

        async def endless():
            return {"type": "http.request", "body": b"x" * CHUNK, "more_body": True}

        task = asyncio.ensure_future(
            receive_asgi(scope, endless, request, methods, lambda: None, threads, threads, Limits())
        )
        await asyncio.to_thread(sink.writing.wait, WAIT)
        task.cancel()
        await asyncio.sleep(0.01)
        assert sink.events == []
        sink.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert sink.events == ["abort"]
    assert len(sink.writes) == 1


def test_an_endpoint_for_who_carries_whole_bodies():
    def asked(receiver, body=b""):
        answer = buffered(receiver)(http.Request(method="PUT", path="/", body=body))
        assert isinstance(answer, http.Response)
        return answer

    sink = Sink(5)
    assert asked(lambda _: sink, b"12345").body == b"done"
    assert (sink.writes, sink.events) == ([b"12345"], ["finish"])
    sink = Sink(5)
    assert asked(lambda _: sink, b"1234").status == 400
    assert sink.events == ["abort"]
    assert asked(lambda _: http.text("no")).body == b"no"


class Slow:
    """An input that gives a byte at a time, and takes its time for it."""

    def __init__(self, data, pause):
        self.data, self.pause = data, pause

    def read(self, size):
        threading.Event().wait(self.pause)
        piece, self.data = self.data[:1], self.data[1:]
        return piece


class Broken:
    """An input of a server that has an error of its own for a client that has gone."""

    def read(self, size):
        raise RuntimeError("gone")


def run(app, environ):
    started: list[str] = []
    body = b"".join(app(environ, lambda status, headers, _=None: started.append(status)))
    return int(started[0][:3]), json.loads(body)


def put(size, **changes):
    return wsgi_environ(Call("PUT", f"/take/{size}", b"12345")) | changes


def test_wsgi_takes_input_of_any_kind():
    app = wsgi_app(Echo())
    assert run(app, put(5))[1]["bytes"] == 5
    assert run(app, put(5, **{"wsgi.input": Slow(b"12345", 0.0)}))[1]["bytes"] == 5
    ended = {"wsgi.input_terminated": True, "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    assert run(app, put(5, **ended))[1]["bytes"] == 5
    assert run(app, put(4, **ended))[0] == 413
    assert run(app, put(6, **ended))[0] == 400


@pytest.mark.parametrize(
    "changes, status",
    [
        ({"CONTENT_LENGTH": ""}, 411),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 411),
        ({"CONTENT_LENGTH": "-5"}, 400),
        ({"CONTENT_LENGTH": "5x"}, 400),
        ({"wsgi.input": Slow(b"123", 0.0)}, 400),
        ({"wsgi.input": Slow(b"12345", 0.05)}, 408),
        ({"wsgi.input": Broken()}, 400),
        ({"CONTENT_LENGTH": "1" * 5_000}, 413),
        ({"CONTENT_LENGTH": "0" * 5_000 + "6"}, 413),
    ],
)
def test_wsgi_refuses(changes, status):
    echo = Echo(body_seconds=0.02)
    assert run(wsgi_app(echo), put(5, **changes))[0] == status
    assert echo.events == ["start", "abort"]


def test_wsgi_takes_no_more_at_once_than_it_has_threads_for():
    gate, begun = threading.Event(), threading.Event()

    class Waiting:
        def read(self, size):
            begun.set()
            assert gate.wait(WAIT)
            return b""

    app, answers = wsgi_app(Echo(wsgi_streams=1)), []
    slow = threading.Thread(target=lambda: answers.append(run(app, put(5, **{"wsgi.input": Waiting()}))[0]))
    slow.start()
    assert begun.wait(WAIT)
    status, told = run(app, put(5))
    assert (status, told["errors"][0]["extensions"]["code"]) == (503, "TOO_MANY_STREAMS")
    gate.set()
    slow.join(WAIT)
    assert answers == [400]
    assert run(app, put(5))[0] == 200


def test_wsgi_says_why_it_cannot_start():
    echo = Echo()
    echo.start_error = RuntimeError("at /srv/secret.py")
    assert run(wsgi_app(echo), put(5))[0] == 500


@pytest.mark.parametrize("look", ["get_data", "stream", "json"])
def test_a_host_of_flask_that_looks_at_the_body_first(look):
    flask = pytest.importorskip("flask", reason="capability: flask is not installed")
    import gnj_flask

    app = flask.Flask(__name__)
    gnj_flask.mount(app, Echo(), "/jobs")

    @app.before_request
    def before():
        if look == "get_data":
            flask.request.get_data()
        elif look == "stream":
            assert flask.request.stream
        else:
            flask.request.get_json(silent=True)

    answer = wsgi_client(app)(Call("PUT", "/jobs/take/5", b"12345", (("content-type", "application/json"),)))
    assert json.loads(answer.body)["bytes"] == 5
