"""Where calls may lead: nothing that anybody asks for, in whatever spelling, reaches what is inside."""

from __future__ import annotations

import errno
import socket
import threading
from ipaddress import ip_address

import pytest

from gnj.fetch import client
from gnj.fetch.address import BadUrl, place_of
from gnj.fetch.connection import Failure
from gnj.fetch.policy import Blocked, Policy, is_public

HOSTILE = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://a.localhost:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f.1:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.8.9.10:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/",
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{port}/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{port}/",
    "http://127\u30020\u30020\u30021:{port}/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://a@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nhost: x",
    "http://127.0.0.1\t:{port}/",
    "https://127.0.0.1:{port}/",
    "HTTP://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "ftp://127.0.0.1:{port}/",
    "dict://127.0.0.1:{port}/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "http://inside.example:{port}/",
    "http://both.example:{port}/",
    "http://mapped.example:{port}/",
    "http://scoped.example:{port}/",
]
"""What is asked for, of a server that must not be reached."""
NAMES = {
    "inside.example": ["127.0.0.1"],
    "both.example": ["93.184.216.34", "127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "scoped.example": ["fe80::1%lo"],
}


def resolve(host, port):
    """Knows these names, and else what this machine has in its files."""
    if host in NAMES:
        return NAMES[host]
    if host.endswith("localhost"):
        return ["127.0.0.1"]
    raise socket.gaierror(host)


def ask(url, pool, policy, timeout=5.0):
    return client.call(url, method="POST", headers={}, body=b"{}", timeout=timeout, most=1000, policy=policy, pool=pool)


def test_nothing_hostile_reaches_a_server_of_this_machine(raw, pool):
    canary = raw()
    six = raw(address="::1", port=canary.port) if socket.has_dualstack_ipv6() else canary
    policy = Policy(resolve=resolve)
    assert len(HOSTILE) >= 40
    for url in HOSTILE:
        with pytest.raises(Blocked) as blocked:
            ask(url.format(port=canary.port), pool, policy)
        assert str(canary.port) not in str(blocked.value)
        assert "127" not in str(blocked.value)
    assert (canary.hits, six.hits) == (0, 0)
    # that it could have been reached
    assert ask(canary.url(), pool, Policy(["127.0.0.1"])).status == 200
    assert canary.hits == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(raw, pool, status):
    canary = raw()
    place = f"location: {canary.url()}\r\n".encode()
    server = raw(b"HTTP/1.1 %d Moved\r\n%scontent-length: 0\r\n\r\n" % (status, place))
    reply = ask(server.url(), pool, Policy([f"127.0.0.1:{server.port}"]))
    assert (reply.status, canary.hits) == (status, 0)


def test_a_name_that_means_something_else_a_moment_later(raw, pool):
    """The address that was checked is the one that is dialled: the name is looked up once for each connection."""
    canary = raw()
    good = raw(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", address="127.0.0.2", port=canary.port
    )
    answers = iter([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.2"]])
    policy = Policy([f"127.0.0.2:{canary.port}"], lambda _host, _port: next(answers))
    url = f"http://rebinding.example:{canary.port}/"
    assert ask(url, pool, policy).status == 200
    for _ in range(2):
        with pytest.raises(Blocked):
            ask(url, pool, policy)
    assert ask(url, pool, policy).status == 200
    assert (canary.hits, good.hits) == (0, 2)
    assert good.requests[0].startswith(b"POST / HTTP/1.1\r\nHost: rebinding.example:%d\r\n" % canary.port)


def test_a_public_address_is_dialled_as_it_was_checked(pool, monkeypatch):
    dialled = []

    def connect(_self, address):
        dialled.append(address)
        return errno.ECONNREFUSED

    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    answers = iter([["93.184.216.34", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"], ["127.0.0.1"]])
    with pytest.raises(Failure, match=r"^connection failed$"):
        ask("http://rebinding.example/", pool, Policy(resolve=lambda _host, _port: next(answers)))
    assert [each[:2] for each in dialled] == [("93.184.216.34", 80), ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", 80)]


def test_looking_up_a_name_takes_no_longer_than_the_call(pool):
    let_go = threading.Event()

    def slow(_host, _port):
        let_go.wait(20)
        return ["93.184.216.34"]

    with pytest.raises(TimeoutError):
        ask("http://slow.example/", pool, Policy(resolve=slow), timeout=0.05)
    let_go.set()


def test_a_name_that_nobody_knows(pool):
    with pytest.raises(Failure, match=r"^connection failed$"):
        ask("http://unknown.example/", pool, Policy(resolve=resolve))
    with pytest.raises(Failure, match=r"^connection failed$"):
        ask("http://unknown.example/", pool, Policy(resolve=lambda *_: []))


@pytest.mark.parametrize(
    "allow, url, may",
    [
        ("127.0.0.1", "http://127.0.0.1:{port}/", True),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}/", True),
        ("127.0.0.1:1", "http://127.0.0.1:{port}/", False),
        ("127.0.0.1:{port}", "http://inside.example:{port}/", True),
        ("inside.example", "http://inside.example:{port}/", True),
        ("INSIDE.example.:{port}", "http://Inside.Example:{port}/", True),
        ("inside.example:1", "http://inside.example:{port}/", False),
        ("inside.example", "http://127.0.0.1:{port}/", False),
        ("inside.example", "http://a.inside.example:{port}/", False),
        ("localhost", "http://localhost:{port}/", True),
        ("localhost", "http://127.0.0.1:{port}/", False),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]:{port}/", False),
        ("127.0.0.1", "http://both.example:{port}/", False),
        ("127.0.0.1 :{port}", "http://both.example:{port}/", True),
        (":{port}", "http://127.0.0.1:{port}/", False),
        (":{port}", "http://inside.example:{port}/", False),
    ],
)
def test_what_is_allowed_by_name(raw, pool, allow, url, may):
    server = raw()
    policy = Policy(allow.format(port=server.port).split(), resolve)
    target = url.format(port=server.port)
    if "both" in target and may:  # its other address is of the Internet, and stays unasked here
        assert [str(each.ip) for each in policy.check("both.example", server.port, "http")] == NAMES["both.example"]
        return
    if may:
        policy.check_url(target)
        assert ask(target, pool, policy).status == 200
    else:
        with pytest.raises((Blocked, Failure)):
            ask(target, pool, policy)
        assert server.hits == 0


@pytest.mark.parametrize(
    "allow, url, may",
    [
        ("", "http://example.com/", True),
        ("", "https://example.com/", True),
        ("", "http://example.com:443/", True),
        ("", "https://example.com:80/", True),
        ("", "http://93.184.216.34:80/", True),
        ("", "http://example.com:25/", False),
        ("", "https://example.com:8443/", False),
        ("", "http://93.184.216.34:6379/", False),
        ("", "http://[2606:4700::1111]:6379/", False),
        (":8443", "https://example.com:8443/", True),
        (":8443", "https://[2606:4700::1111]:8443/", True),
        (":8443", "https://example.com:8444/", False),
        ("example.com:8443", "https://example.com:8443/", True),
        ("example.com:8443", "https://example.org:8443/", False),
        ("example.com", "https://example.com:8443/", True),
        ("93.184.216.34", "https://93.184.216.34:8443/", True),
        ("93.184.216.34", "https://example.com:8443/", True),
        ("93.184.216.34:8443", "https://example.com:8443/", True),
        ("93.184.216.34:8444", "https://example.com:8443/", False),
        ("10.0.0.1:8443", "https://93.184.216.34:8443/", False),
    ],
)
def test_ports(pool, allow, url, may):
    """At registration, where no name is looked up, nothing is refused that might be called."""
    policy = Policy(allow.split(), lambda _host, _port: ["93.184.216.34"])
    place = place_of(url)
    if may:
        policy.check_url(url)
        assert [each.port for each in policy.check(place.host, place.port, place.scheme)] == [place.port]
    else:
        for check in (lambda: policy.check_url(url), lambda: policy.check(place.host, place.port, place.scheme)):
            with pytest.raises(Blocked, match="its port is neither 80 nor 443"):
                check()


@pytest.mark.parametrize(
    "entry", ["", ":", ":0", ":x", "http://a", "a b", "a:0", "a:99999", "a:x", "127.1", "[::1", "::1]", "-a", "a/b"]
)
def test_what_cannot_be_allowed(entry):
    with pytest.raises(ValueError, match="no host, host:port or :port"):
        Policy([entry])


@pytest.mark.parametrize(
    "entry", [":8080", "::1", "[::1]", "[::1]:80", "10.0.0.1", "worker_1.internal:8080", "müller.example"]
)
def test_what_can_be_allowed(entry):
    Policy([entry])


@pytest.mark.parametrize(
    "address",
    """0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1
    192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 ::
    ::1 ::ffff:8.8.8.8 ::8.8.8.8 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:10::1 2001:20::1 2001:db8::1 2002:808:808::1
    3fff::1 5f00::1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 4000::1""".split(),
)
def test_what_is_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", "1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 2606:4700::1111 2a00:1450::1 2001:4860::1".split()
)
def test_what_is_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url, told",
    [
        ("http://example.com", ("http", "example.com", 80, "/", "example.com")),
        ("https://Example.COM./a b".replace(" ", "%20"), ("https", "example.com", 443, "/a%20b", "example.com")),
        ("http://example.com:8080?x=1&y#z", ("http", "example.com", 8080, "/?x=1&y", "example.com:8080")),
        ("https://example.com:443/\u00e4?\u00f6", ("https", "example.com", 443, "/%C3%A4?%C3%B6", "example.com")),
        ("http://b\u00fccher.example/", ("http", "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example")),
        ("http://[2606:4700::1111]:81/", ("http", "2606:4700::1111", 81, "/", "[2606:4700::1111]:81")),
        ("http://1.1.1.1/x//y/../z", ("http", "1.1.1.1", 80, "/x//y/../z", "1.1.1.1")),
    ],
)
def test_urls(url, told):
    place = place_of(url)
    assert (place.scheme, place.host, place.port, place.target, place.authority) == told
    Policy([":81", ":8080"]).check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "http://:80/",
        "http://a:b/",
        "http://a:65536/",
        "http://a:-1/",
        "http://a..b/",
        "http://" + "a" * 64 + "/",
        "http://a/\ud800",
        "http://a/\x00",
        "http://a/b c",
        "http://\u2603.\ud800/",
        "http://[x]/",
    ],
)
def test_what_is_no_url(url):
    with pytest.raises(BadUrl):
        place_of(url)
    with pytest.raises(Blocked):
        Policy().check_url(url)


@pytest.mark.parametrize(
    "allow, url, may",
    [
        ("127.0.0.1", "http://127.0.0.1:{port}/", True),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}/", True),
        ("127.0.0.1", "http://a.example:{port}/", False),
        ("127.0.0.1:{port}", "http://a.example:{port}/", False),
        ("127.0.0.1", "http://localhost:{port}/", False),
        ("a.example", "http://a.example:{port}/", True),
        ("a.example:{port}", "http://A.example.:{port}/", True),
        ("a.example:1", "http://a.example:{port}/", False),
        ("a.example", "http://127.0.0.1:{port}/", False),
        ("a.example", "http://b.a.example:{port}/", False),
        ("[::1]", "http://a.example:{port}/", False),
    ],
)
def test_what_is_allowed_may_be_compared_with_the_url_alone(raw, pool, allow, url, may):
    server = raw()
    policy = Policy([allow.format(port=server.port)], lambda _host, _port: ["127.0.0.1"], literal=True)
    url = url.format(port=server.port)
    if may:
        policy.check_url(url)
        assert ask(url, pool, policy).body == b"ok"
        return
    with pytest.raises(Blocked):
        ask(url, pool, policy)
    with pytest.raises(Blocked):
        policy.check_url(url)
    assert server.hits == 0
