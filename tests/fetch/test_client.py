"""One call: what is sent, what is read, and when it ends."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time

import pytest

from gnj.fetch import client, connection, messages
from gnj.fetch.connection import Connection, Failure, Pool
from gnj.fetch.policy import Blocked, Policy
from tests.fetch.conftest import OK

ALLOW = Policy(["127.0.0.1"])


def ask(url, pool, *, timeout=10.0, most=1000, body=b"{}", headers=None, policy=ALLOW):
    return client.call(
        url, method="POST", headers=headers or {}, body=body, timeout=timeout, most=most, policy=policy, pool=pool
    )


def test_what_is_sent_and_read(raw, pool):
    server = raw(b"HTTP/1.1 201 So be it\r\nX-A: 1\r\nx-a:2\r\nContent-Length: 4\r\n\r\nbody")
    reply = ask(server.url("/p?q"), pool, body=b"12345", headers={"X-B": "\xe9"})
    assert (reply.status, reply.reason, reply.body) == (201, "So be it", b"body")
    assert reply.headers == {"x-a": "1, 2", "content-length": "4"}
    (request,) = server.requests
    assert request.split(b"\r\n") == [
        b"POST /p?q HTTP/1.1",
        b"Host: 127.0.0.1:%d" % server.port,
        b"Content-Length: 5",
        b"X-B: \xe9",
        b"Accept-Encoding: identity",
        b"",
        b"12345",
    ]


@pytest.mark.parametrize(
    "answer, body",
    [
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            b"abc0123456789",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nx-t: 1\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", b""),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_bodies(raw, pool, answer, body, step):
    def serve(talk):
        talk.request()
        talk.answer(*(answer[start : start + step] for start in range(0, len(answer), step)))

    assert ask(raw(serve).url(), pool).body == body


@pytest.mark.parametrize("status, phrase", [(200, "OK"), (404, "Not Found"), (599, "HTTP 599")])
def test_an_answer_without_a_phrase(raw, pool, status, phrase):
    assert ask(raw(b"HTTP/1.1 %d\r\ncontent-length: 0\r\n\r\n" % status).url(), pool).reason == phrase


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 999 X\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 5_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 500,
    ],
)
def test_what_is_no_answer(raw, pool, answer):
    with pytest.raises(Failure, match=r"^the answer is no valid HTTP$"):
        ask(raw(answer).url(), pool)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"])
def test_a_connection_that_ends_too_early(raw, pool, answer):
    def serve(talk):
        talk.request()
        talk.answer(answer)

    with pytest.raises(Failure, match=r"^connection failed$"):
        ask(raw(serve).url(), pool)


def test_many_small_chunks_take_as_long_as_their_number():
    """What was read and not taken yet is not copied for each of them: of two megabytes that took minutes."""
    here, there = socket.socketpair()
    talk = Connection(here, ("http", "x", 80))
    talk._read = b"1\r\nx\r\n" * 300_000 + b"0\r\n\r\nrest"
    begun = time.process_time()
    parts = list(messages._chunks(talk, 300_000))
    assert time.process_time() - begun < 5.0
    assert b"".join(parts) == b"x" * 300_000
    assert talk.receive() == b"rest"
    here.close()
    there.close()


def test_nobody_is_there(raw, pool):
    server = raw()
    server.close()
    with pytest.raises(Failure, match=r"^connection failed$"):
        ask(server.url(), pool)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"64\r\n" + b"x" * 100 + b"\r\n3E9\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"x" * 1001,
    ],
)
def test_a_body_that_is_too_long_is_not_read(raw, pool, answer):
    with pytest.raises(Failure, match=r"^the answer is longer than 1,000 bytes$"):
        ask(raw(answer).url(), pool)


def test_a_compressed_answer_is_refused(raw, pool):
    with pytest.raises(Failure, match="compressed"):
        ask(raw(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok").url(), pool)


@pytest.mark.parametrize("drip", [b"", b"H", b"x: y\r\n"])
@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n"])
def test_the_time_is_counted_from_beginning_to_end(raw, pool, begin, drip):
    """Whatever comes, and however often: a server that sends a byte now and then gains nothing."""
    over = threading.Event()

    def serve(talk):
        talk.request()
        talk.answer(begin)
        while not over.wait(0.02):
            talk.answer(drip)

    server, begun = raw(serve), time.monotonic()
    with pytest.raises(TimeoutError, match=r"^the call took too long$"):
        ask(server.url(), pool, timeout=0.3)
    assert 0.25 < time.monotonic() - begun < 3
    over.set()


def test_a_server_that_does_not_read(raw, pool):
    over = threading.Event()
    server = raw(lambda _talk: over.wait(20))
    with pytest.raises(TimeoutError):
        ask(server.url(), pool, timeout=0.3, body=b"x" * 50_000_000)
    over.set()


def test_a_connection_is_used_again(raw, pool):
    server = raw()
    for _ in range(5):
        assert ask(server.url(), pool).body == b"ok"
    assert (server.hits, len(server.requests)) == (1, 5)


def test_one_connection_for_each_call_under_way(raw, pool):
    both = threading.Barrier(2)

    def serve(talk):
        while talk.request():
            both.wait(10)
            talk.answer(OK)

    server = raw(serve)
    for _ in range(2):
        threads = [threading.Thread(target=ask, args=(server.url(), pool)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert (server.hits, len(server.requests)) == (2, 4)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    ],
)
def test_a_connection_is_not_used_again(raw, pool, answer):
    """Also one on which more came than was asked for: it would be the answer to the next call."""
    server = raw(answer)
    for _ in range(2):
        assert ask(server.url(), pool).body == b"ok"
    assert server.hits == 2


def test_a_connection_that_the_server_has_closed_meanwhile(raw, pool):
    closed = threading.Semaphore(0)

    def serve(talk):
        talk.request()
        talk.answer(OK)
        talk.sock.shutdown(socket.SHUT_RDWR)
        closed.release()

    server = raw(serve)
    for _ in range(3):
        assert ask(server.url(), pool).body == b"ok"
        assert closed.acquire(timeout=10)
    assert (server.hits, len(server.requests)) == (3, 3)


def test_what_comes_while_nothing_is_asked_is_no_answer(raw, pool):
    said = threading.Semaphore(0)

    def serve(talk):
        while talk.request():
            talk.answer(OK)
            time.sleep(0.05)
            talk.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
            said.release()

    server = raw(serve)
    for _ in range(2):
        assert ask(server.url(), pool).body == b"ok"
        assert said.acquire(timeout=10)
    assert server.hits == 2


def test_idle_connections_are_closed(raw, monkeypatch):
    server, pool = raw(), Pool()
    monkeypatch.setattr(connection, "IDLE", 0.0)
    ask(server.url(), pool)
    pool.sweep()
    assert pool.take(("http", "127.0.0.1", server.port)) is None
    monkeypatch.setattr(connection, "IDLE", 60.0)
    ask(server.url(), pool)
    pool.close()
    assert pool.take(("http", "127.0.0.1", server.port)) is None
    ask(server.url(), pool)  # and is kept by nobody
    assert pool.take(("http", "127.0.0.1", server.port)) is None


@pytest.mark.parametrize("header", [{"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X\r\nY": "a"}, {"X": "a\rb"}, {"X": "a\0b"}])
def test_a_header_cannot_begin_another_request(raw, pool, header):
    server = raw()
    with pytest.raises(Blocked):
        ask(server.url(), pool, headers=header)
    assert server.hits == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=inside.example "
        "-addext subjectAltName=DNS:inside.example".split(),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


def secure(raw, certificate, names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.sni_callback = lambda _sock, name, _context: names.append(name)

    def serve(talk):
        with context.wrap_socket(talk.sock, server_side=True) as talk.sock:
            while talk.request():
                talk.answer(OK)

    return raw(serve)


def test_https_is_told_the_name_and_proves_it(raw, certificate):
    names: list[str] = []
    server = secure(raw, certificate, names)
    policy = Policy(["127.0.0.1"], lambda _host, _port: ["127.0.0.1"])
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    pool = Pool(trusting)
    url = f"https://inside.example:{server.port}/"
    for _ in range(2):
        assert ask(url, pool, policy=policy).body == b"ok"
    assert (names, server.hits) == (["inside.example"], 1)
    with pytest.raises(Failure, match=r"^connection failed$"):
        ask(f"https://outside.example:{server.port}/", pool, policy=policy)
    pool.close()
    strict = Pool()
    with pytest.raises(Failure, match=r"^connection failed$"):
        ask(url, strict, policy=policy)
    strict.close()
    assert len(server.requests) == 2
