"""What `gnj.api.wsgi` does that only WSGI asks for: reading bodies, streams in threads, starting and closing."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from gnj.api import http
from gnj.api.wsgi import wsgi_app
from gnj.testing.adapters import PREFIX, Echo, open_jobs, recorded, reference
from gnj.testing.calls import CALLS
from gnj.testing.clients import Call, wsgi_client, wsgi_environ
from tests.adapters import hosts
from tests.adapters.hosts import WAIT

ROOT = Path(__file__).parents[2]


def run(app, environ):
    """Status, headers and body of one request in that environment."""
    started = []
    result = app(environ, lambda status, headers, _=None: started.append((status, dict(headers))))
    try:
        body = b"".join(result)
    finally:
        if close := getattr(result, "close", None):
            close()
    return *started[0], body


def post(**changes):
    return wsgi_environ(Call("POST", "/echo", b"12345")) | changes


def code(body):
    return json.loads(body)["errors"][0]["extensions"]["code"]


def test_it_keeps_to_the_letter_of_pep_3333():
    app = validator(wsgi_app(open_jobs()))
    for call in CALLS.values():
        environ = wsgi_environ(Call(call.method, call.target, call.body, call.headers))
        environ["wsgi.input"] = io.BytesIO(call.body)
        if not environ.get("CONTENT_TYPE"):
            environ.pop("CONTENT_TYPE", None)
        status, headers, _ = run(app, environ)
        assert "connection" not in headers, status
    status, headers, body = run(validator(wsgi_app(Echo())), wsgi_environ(Call("GET", "/stream")))
    assert (status, headers, body[-3:]) == ("200 OK", {"content-type": "text/event-stream"}, b"end")


def test_only_the_faces_asked_for():
    client = wsgi_client(open_jobs().wsgi_app(faces=("health",)))
    assert [client(Call("GET", path)).status for path in ("/healthz", "/graphql")] == [200, 404]
    with pytest.raises(ValueError, match="no face 'nothing'"):
        open_jobs().wsgi_app(faces=("nothing",))


def test_what_it_does_not_have_is_404():
    assert run(wsgi_app(Echo()), wsgi_environ(Call("GET", "/nothing")))[::2] == (
        "404 Not Found",
        b'{"error":"Not found"}',
    )


def test_the_root_with_and_without_a_slash_below_a_script_name():
    client = wsgi_client(wsgi_app(Echo()), "/jobs")
    assert [client(Call("GET", path)).body for path in ("", "/")] == [b"root", b"root"]


class Dripping(io.RawIOBase):
    """A client that sends a byte now and then."""

    def __init__(self, reads):
        self._reads = iter(reads)

    def read(self, size=-1):
        item = next(self._reads, b"")
        if isinstance(item, Exception):
            raise item
        return item


@pytest.mark.parametrize(
    "changes, limits, status, expected",
    [
        ({"CONTENT_LENGTH": "0"}, {}, 200, b""),
        ({"CONTENT_LENGTH": ""}, {}, 200, b""),
        ({"CONTENT_LENGTH": "3"}, {}, 200, b"123"),
        ({"CONTENT_LENGTH": "", "wsgi.input_terminated": True}, {}, 200, b"12345"),
        ({"CONTENT_LENGTH": "", "wsgi.input_terminated": True}, {"max_body": 4}, 413, "BODY_TOO_LARGE"),
        ({"CONTENT_LENGTH": "5"}, {"max_body": 4}, 413, "BODY_TOO_LARGE"),
        ({"CONTENT_LENGTH": "6"}, {}, 400, "BAD_REQUEST"),
        ({"CONTENT_LENGTH": "6", "wsgi.input_terminated": True}, {}, 400, "BAD_REQUEST"),
        ({"CONTENT_LENGTH": "-5"}, {}, 400, "BAD_REQUEST"),
        ({"CONTENT_LENGTH": "٣"}, {}, 400, "BAD_REQUEST"),
        ({"CONTENT_LENGTH": "9" * 5_000}, {}, 400, "BAD_REQUEST"),
        ({"CONTENT_LENGTH": "9" * 18}, {}, 413, "BODY_TOO_LARGE"),
        ({"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}, {}, 411, "LENGTH_REQUIRED"),
        ({"CONTENT_LENGTH": "5", "HTTP_TRANSFER_ENCODING": "chunked"}, {}, 411, "LENGTH_REQUIRED"),
        ({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}, {}, 200, b"12345"),
        ({"wsgi.input": Dripping([b"1", b"2", ConnectionResetError()])}, {}, 400, "BAD_REQUEST"),
        ({"wsgi.input": Dripping([b"1", b"2", b"3", b"4", b"5"])}, {}, 200, b"12345"),
        ({"wsgi.input": Dripping([b"1", b"2", b"3"])}, {"body_seconds": 1e-9}, 408, "REQUEST_TIMEOUT"),
        ({"wsgi.input": Dripping([b"12345"])}, {"body_seconds": 1e-9}, 200, b"12345"),
    ],
)
def test_bodies(changes, limits, status, expected):
    given, _, body = run(wsgi_app(Echo(**limits)), post(**changes))
    assert int(given.split()[0]) == status
    if isinstance(expected, str):
        assert code(body) == expected
    else:
        assert json.loads(body)["body"].encode() == expected


def test_nothing_is_done_for_half_a_body():
    jobs = Echo()
    run(wsgi_app(jobs), post(CONTENT_LENGTH="6"))
    assert jobs.events == []


@pytest.mark.parametrize("size, status", [(10, b"200"), (1_000, b"413")])
def test_chunked_bodies_where_the_server_takes_them(size, status):
    with hosts.by_werkzeug(wsgi_app(Echo(max_body=100))) as url, connected(url) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size))
        with client.makefile("rb") as answer:
            assert answer.readline().split()[1] == status


@contextlib.contextmanager
def connected(url):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as client:
        yield client


# Starting and closing


def test_the_first_request_is_logged_once(caplog):
    client = wsgi_client(wsgi_app(Echo()))
    with caplog.at_level(logging.INFO, logger="gnj.wsgi"):
        for _ in range(3):
            client(Call("GET", "/echo"))
    assert [record.getMessage().partition(" of ")[0] for record in caplog.records] == ["Started by the first request"]


def test_many_first_requests_start_it_once():
    jobs, gate = Echo(), threading.Barrier(8)
    client = wsgi_client(wsgi_app(jobs))

    def first():
        gate.wait(WAIT)
        client(Call("GET", "/echo"))

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert jobs.events == ["start"]


def test_the_end_of_the_process_closes_it():
    script = """
from gnj.api.wsgi import wsgi_app
from gnj.testing.adapters import Echo
from gnj.testing.clients import Call, wsgi_client
class Told(Echo):
    def close(self):
        print("closed")
jobs, other = Told(), Told()
client, idle = wsgi_client(wsgi_app(jobs)), wsgi_app(other)
print(client(Call("GET", "/")).body.decode())
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "root\nclosed\n"


# Streams


class Feed:
    """A stream that gives what it is fed. With `quiet`, it gives no signs of life of its own."""

    def __init__(self, heartbeat=60.0, *, quiet=False):
        self.heartbeat, self._quiet = heartbeat, quiet
        self._pieces: deque[bytes | None] = deque()
        self._ready = lambda: None
        self.attached, self.closed = threading.Event(), threading.Event()
        self.closes = 0

    def attach(self, ready):
        self._ready = ready
        self.attached.set()

    def feed(self, piece):
        self._pieces.append(piece)
        self._ready()

    def take(self):
        if self._pieces:
            return self._pieces.popleft()
        return b"" if self._quiet or self.heartbeat > 1 else b":\n\n"

    def close(self):
        self.closes += 1
        self.closed.set()


class Streams(Echo):
    """Serves a stream of its own to everybody."""

    def __init__(self, *, heartbeat=60.0, quiet=False, **limits):
        super().__init__(**limits)
        self.made: deque[Feed] = deque()
        self.new = threading.Semaphore(0)
        self._options = {"heartbeat": heartbeat, "quiet": quiet}

    def stream(self, _request):
        self.made.append(Feed(**self._options))
        self.new.release()
        return http.Response(headers=(("content-type", "text/event-stream"),), stream=self.made[-1])

    def take(self):
        assert self.new.acquire(timeout=WAIT)
        return self.made.popleft()


BOTH = {"flask": hosts.flask_app, "wsgi_app": hosts.dispatched_app}
SERVERS = {"werkzeug": hosts.by_werkzeug, "wsgiref": hosts.by_wsgiref}


@pytest.fixture(params=BOTH)
def make(request):
    return BOTH[request.param]


@pytest.fixture(params=SERVERS)
def by(request):
    return SERVERS[request.param]


def subscribe(client):
    client.sendall(b"GET /jobs/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client.makefile("rb")


def read_until(answer, text):
    got = b""
    while text not in got:
        line = answer.readline()
        assert line, got
        got += line
    return got


def test_pieces_come_when_they_are_there(make, by):
    jobs = Streams()
    with by(make(jobs, "/jobs")) as url, connected(url) as client, subscribe(client) as answer:
        # the headers do not wait for the first event
        head = read_until(answer, b"\r\n\r\n")
        assert b" 200 OK\r\n" in head
        assert b"text/event-stream" in head
        feed = jobs.take()
        for number in range(3):
            feed.feed(b"data: %d\n\n" % number)
            read_until(answer, b"data: %d\n" % number)
        feed.feed(None)
        assert feed.closed.wait(WAIT)
        assert feed.closes == 1


@pytest.mark.parametrize("quiet", [False, True])
def test_a_client_that_goes_away_closes_its_stream(make, quiet):
    """Werkzeug shows the connection; so at the next heartbeat, even if nothing is sent at it."""
    jobs = Streams(heartbeat=0.05, quiet=quiet)
    with hosts.by_werkzeug(make(jobs, "/jobs")) as url:
        with connected(url) as client, subscribe(client) as answer:
            read_until(answer, b"\r\n\r\n")
            feed = jobs.take()
            assert not feed.closed.is_set()
        assert feed.closed.wait(WAIT)
        assert feed.closes == 1


def test_a_client_that_goes_away_where_only_writing_tells(make):
    jobs = Streams(heartbeat=0.05)
    with hosts.by_wsgiref(make(jobs, "/jobs")) as url:
        with connected(url) as client, subscribe(client) as answer:
            read_until(answer, b"\r\n\r\n")
            feed = jobs.take()
        assert feed.closed.wait(WAIT)


def test_open_streams_are_limited_and_places_become_free(make):
    jobs = Streams(wsgi_streams=2, heartbeat=0.05)
    with hosts.by_werkzeug(make(jobs, "/jobs")) as url, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(url)) for _ in range(2)]
        for client in clients:
            read_until(stack.enter_context(subscribe(client)), b"\r\n\r\n")
        first, second = jobs.take(), jobs.take()
        send = hosts.http_client(url)
        refused = send(Call("GET", "/jobs/stream"))
        assert (refused.status, refused.header("retry-after"), code(refused.body)) == (503, "5", "TOO_MANY_STREAMS")
        assert jobs.take().closed.is_set()
        # others are served
        assert send(Call("GET", "/jobs/echo")).status == 200
        first.feed(None)
        second.feed(None)
        assert first.closed.wait(WAIT)
        assert second.closed.wait(WAIT)
        client = stack.enter_context(connected(url))
        assert b" 200 OK\r\n" in read_until(stack.enter_context(subscribe(client)), b"\r\n\r\n")
        jobs.take().feed(None)


def test_a_stream_that_is_never_read_is_closed():
    jobs = Streams(wsgi_streams=1)
    app = wsgi_app(jobs)
    for _ in range(3):
        body: Any = app(wsgi_environ(Call("GET", "/stream")), lambda *_: None)
        body.close()
        assert jobs.take().closes == 1
        del body
    app(wsgi_environ(Call("GET", "/stream")), lambda *_: None)  # a server that forgets to close
    assert jobs.take().closes == 1


def test_the_reference_is_what_it_says():
    assert recorded(reference(open_jobs(), PREFIX), PREFIX, CALLS)["health"].body == b'{"status":"ok"}'
