"""Answers that are read as they come, and redirects that are followed by hand."""

from __future__ import annotations

import logging
import re
import threading

import pytest

from gnj.fetch import stream as module
from gnj.fetch.address import place_of
from gnj.fetch.connection import Failure
from gnj.fetch.messages import TooLong
from gnj.fetch.policy import Blocked, Policy
from gnj.fetch.stream import Bounds, Misdirected, Outgoing, Patience, stream
from tests.fetch.conftest import OK

HERE = Policy(["127.0.0.1", "localhost"], literal=True)


def bounds(*, connect=10.0, idle=10.0, total=20.0, most=10_000_000, redirects=5):
    return Bounds(connect=connect, idle=idle, patience=Patience(total), most=most, redirects=redirects)


def ask(url, pool, *, size=1_000_000, policy=HERE, limits=None, **request):
    """The status and the body."""
    with stream(Outgoing(url=url, **request), limits or bounds(), policy, pool) as answer:
        parts = []
        while data := answer.read(size):
            parts.append(data)
        return answer.status, b"".join(parts)


def redirect(to, status=302):
    return b"HTTP/1.1 %d X\r\nLocation: %s\r\nContent-Length: 4\r\n\r\nmore" % (status, to.encode())


@pytest.mark.parametrize("size", [1, 10, 1_000_000])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nabc0123456789",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc0123456789",
    ],
)
def test_bodies(raw, pool, answer, size):
    def serve(talk):
        talk.request()
        talk.answer(*(answer[at : at + 1] for at in range(len(answer))))

    assert ask(raw(serve).url(), pool, size=size) == (200, b"abc0123456789")


def test_as_much_is_read_as_is_asked_for(raw, pool):
    body = b"".join(b"1\r\nx\r\n" for _ in range(50_000))
    server = raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n")
    with stream(Outgoing(url=server.url()), bounds(), HERE, pool) as answer:
        assert [len(answer.read(20_000)) for _ in range(4)] == [20_000, 20_000, 10_000, 0]
        assert answer.is_over


def test_a_connection_is_used_again_if_all_was_read(raw, pool):
    server = raw()
    for _ in range(3):
        assert ask(server.url(), pool) == (200, b"ok")
    assert server.hits == 1
    with stream(Outgoing(url=server.url()), bounds(), HERE, pool) as answer:
        assert answer.read(1) == b"o"
    assert ask(server.url(), pool) == (200, b"ok")
    assert server.hits == 2


def test_what_is_sent(raw, pool):
    server = raw()
    ask(server.url("/p?q"), pool, method="POST", headers={"X": "\xe9"}, body=b"12")
    (request,) = server.requests
    assert request == (
        b"POST /p?q HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 2\r\nX: \xe9\r\nAccept-Encoding: gzip\r\n\r\n12"
        % server.port
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
        b"",
    ],
)
def test_an_answer_that_ends_too_early(raw, pool, answer):
    def serve(talk):
        talk.request()
        talk.answer(answer)

    with pytest.raises(Failure, match=r"^connection failed$"):
        ask(raw(serve).url(), pool)


def test_an_answer_that_is_too_long(raw, pool):
    limits = bounds(most=1_000)
    for head in (b"content-length: 1001", b"connection: close", b"transfer-encoding: chunked"):
        body = b"3E9\r\n" + b"x" * 1_001 if b"chunked" in head else b"x" * 1_001
        with pytest.raises(TooLong, match=r"^the answer is longer than 1,000 bytes$"):
            ask(raw(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (head, body)).url(), pool, limits=limits)


def drip(seconds, begin=b"HTTP/1.1 200 OK\r\ncontent-length: 900000\r\n\r\n"):
    """A server that sends a byte now and then, and what ends it."""
    over = threading.Event()

    def serve(talk):
        talk.request()
        talk.answer(begin)
        while not over.wait(seconds):
            talk.answer(b"x")

    return serve, over


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"])
def test_a_server_that_falls_silent(raw, pool, begin):
    serve, over = drip(30, begin)
    limits = bounds(idle=0.1)
    with pytest.raises(TimeoutError, match=r"^nothing came for 0.1 s$"):
        ask(raw(serve).url(), pool, limits=limits)
    assert not limits.patience.is_over
    over.set()


def test_waits_count_together_and_what_lies_between_them_does_not(raw, pool):
    serve, over = drip(0.01)
    limits = bounds(total=0.4)
    with stream(Outgoing(url=raw(serve).url()), limits, HERE, pool) as answer:
        assert answer.read(1) == b"x"
        over.wait(0.5)  # the reader has something else to do
        assert answer.read(5)
        with pytest.raises(TimeoutError):
            answer.read(1_000)
    assert limits.patience.is_over
    over.set()


def test_redirects_are_followed_up_to_a_number(raw, pool):
    def serve(talk):
        while request := talk.request():
            left = int(re.split(rb"[/ ?]", request)[2])
            talk.answer(redirect(f"{left - 1}?a=%C3%A9#x" if left % 2 else f"/{left - 1}") if left else OK)

    server = raw(serve)
    assert ask(server.url("/5"), pool) == (200, b"ok")
    assert ask(server.url("/0"), pool, limits=bounds(redirects=0)) == (200, b"ok")
    with pytest.raises(Misdirected, match=r"^there were more than 5 redirects$"):
        ask(server.url("/6"), pool)
    assert ask(raw(b"HTTP/1.1 302 X\r\ncontent-length: 0\r\n\r\n").url(), pool) == (302, b"")


@pytest.mark.parametrize(
    "method, status, then",
    [
        ("GET", 301, "GET"),
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("PUT", 302, "PUT"),
        ("PUT", 303, "GET"),
        ("POST", 307, "POST"),
        ("PATCH", 308, "PATCH"),
    ],
)
def test_methods_after_a_redirect(raw, pool, method, status, then):
    server = raw(lambda talk: [talk.answer(redirect("/b", status) if b" /a " in talk.request() else OK)])
    body = b"" if method == "GET" else b"12"
    headers = {"Content-Type": "text/plain", "Authorization": "a"}
    assert ask(server.url("/a"), pool, method=method, body=body, headers=headers) == (200, b"ok")
    _, request = server.requests
    assert request.startswith(f"{then} /b ".encode())
    assert request.endswith(b"12") == (then != "GET")
    assert (b"Content-Type" in request) == (then != "GET" or method == "GET")
    assert b"Authorization: a" in request


def test_another_origin_is_told_no_secrets_nor_is_the_first_one_afterwards(raw, pool):
    other = raw()
    back = other.url("/b")
    first = raw(lambda talk: [talk.answer(redirect(back) if b"GET /a " in talk.request() else OK)])
    headers = {"Authorization": "s3cret", "COOKIE": "s3cret", "X-Key": "s3cret", "X-Plain": "p", "Accept": "a"}
    assert ask(first.url("/a"), pool, headers=headers, private=frozenset({"x-key"})) == (200, b"ok")
    assert b"s3cret" in first.requests[0]
    assert b"s3cret" not in other.requests[0]
    assert b"X-Plain: p\r\nAccept: a" in other.requests[0]
    # another port, another name, and back again
    other = raw(lambda talk: [talk.request(), talk.answer(redirect(first.url("/c")))])
    back = other.url("/b", "localhost")
    assert ask(first.url("/a"), pool, headers=headers, private=frozenset({"x-key"})) == (200, b"ok")
    assert first.requests[-1].startswith(b"GET /c ")
    assert b"s3cret" not in first.requests[-1] + other.requests[-1]
    assert b"s3cret" in first.requests[-2]


def test_a_body_with_secrets_goes_to_no_other_origin(raw, pool):
    other = raw()
    first = raw(redirect(other.url(), 307))
    sent = {"method": "POST", "body": b"key=s3cret"}
    with pytest.raises(Misdirected, match="credentials"):
        ask(first.url(), pool, is_body_private=True, **sent)
    assert other.hits == 0
    assert ask(first.url(), pool, **sent) == (200, b"ok")


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::1]:{port}/",
        "http://a@127.0.0.1:{port}/",
        "http://inside.example:{port}/",
        "http://127.0.0.1:{port}/, http://x.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "javascript:alert(1)",
        "http://[x/",
    ],
)
@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_to_what_is_inside_reaches_nobody(raw, pool, to, status):
    inside = raw()
    outside = raw(redirect(to.format(port=inside.port), status))
    policy = Policy([f"127.0.0.1:{outside.port}"], lambda _host, _port: ["127.0.0.1"], literal=True)
    with pytest.raises((Blocked, Misdirected)) as caught:
        ask(outside.url(), pool, policy=policy)
    assert inside.hits == 0
    assert "127.0.0.1" not in str(caught.value)


def test_a_redirect_away_from_https(raw):
    with pytest.raises(Misdirected, match=r"^a redirect leads from https to http$"):
        module._redirected(Outgoing(url="https://a.example/"), place_of("https://a.example/"), 302, "http://a.example/")
    then = module._redirected(
        Outgoing(url="http://a.example/x/", headers={"Cookie": "c"}),
        place_of("http://a.example/x/"),
        302,
        "//a.example/\xc3\xa9",
    )
    assert (then.url, dict(then.headers)) == ("http://a.example/é", {"Cookie": "c"})
    then = module._redirected(
        Outgoing(url="http://a.example/", headers={"Cookie": "c"}),
        place_of("http://a.example/"),
        302,
        "https://a.example/",
    )
    assert dict(then.headers) == {}


def test_a_name_that_means_something_else_at_the_next_hop(raw, pool, monkeypatch):
    inside = raw()
    answers = iter([["127.0.0.1"], ["127.0.0.1"]])
    policy = Policy(["once.example"], lambda _host, _port: next(answers), literal=True)
    outside = raw(redirect(f"http://twice.example:{inside.port}/"))
    with pytest.raises(Blocked):
        ask(f"http://once.example:{outside.port}/", pool, policy=policy)
    assert (outside.hits, inside.hits) == (1, 0)


def test_the_log_names_no_host(raw, pool, caplog):
    caplog.set_level(logging.DEBUG)
    server = raw()
    server.close()
    with pytest.raises(Failure, match=r"^connection failed$"):
        ask(f"http://localhost:{server.port}/", pool)
    assert "ConnectionRefusedError" in caplog.text
    assert "localhost" not in caplog.text
    assert str(server.port) not in caplog.text
