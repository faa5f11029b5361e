"""What is refused of a source when it is saved."""

from __future__ import annotations

import pytest

from gnj.fetch.policy import Policy
from gnj.queue.errors import InvalidInput
from gnj.settings_transform import SourceLimits
from gnj.transform.errors import AddressRefused, BadSource, NoHandler, SourceFailed
from gnj.transform.sources import SOURCE_TYPES, Secrets, Source, SourceRegistry, check_source
from tests.fetch.test_policy import HOSTILE


def no_look_up(host, port):
    pytest.fail(f"{host} was looked up")


POLICY = Policy(["allowed.example", "127.0.0.1:9"], no_look_up, literal=True)


def check(registry=None, policy=POLICY, **fields):
    fields = {"type": "Request", "url": "https://shop.example/feed"} | fields
    check_source(Source(**fields), registry or SourceRegistry(), policy)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"type": "Feed", "url": "http://shop.example:443/a.csv.gz?b=%20#c"},
        {"type": "Shopify", "url": "https://shop.example", "method": "get", "body": ""},
        {"method": "post", "body": "a\nb", "headers": ["Content-Type: text/plain", "X: a: b", "Y:"]},
        {"url": "http://allowed.example:8080/"},
        {"url": "http://127.0.0.1:9/"},
        {"url": "http://93.184.215.14/"},
        {
            "url": "https://${HOST}/?key=${KEY}",
            "headers": ["Authorization: Bearer ${KEY}"],
            "body": "${KEY}${KEY} $KEY $ {KEY}",
            "credentials": {"HOST": "shop.example", "KEY": "é &=+", "unused": ""},
        },
    ],
)
def test_what_is_taken(fields):
    check(**fields)


@pytest.mark.parametrize(
    "fields, told",
    [
        ({"url": None}, "url is missing, which sources of the type Request need"),
        ({"url": "", "type": "Shopify"}, "url is missing, which sources of the type Shopify need"),
        ({"url": "shop.example"}, "url: it must begin with http:// or https://"),
        ({"url": "ftp://shop.example/"}, "url: it must begin with http:// or https://"),
        ({"url": "file:///etc/passwd"}, "url: it must begin with http:// or https://"),
        ({"url": "http://me@shop.example/"}, "url: it must not name a user"),
        ({"url": "http://shop.example/a b"}, "url: it holds a character that must be percent-encoded"),
        ({"url": "http://shop.example:0/"}, "url: its port must be a number from 1 to 65535"),
        ({"url": "http://shop.example/" + "x" * 8_000}, "url must have at most 8,000 characters"),
        ({"url": "http://shop.example/\0"}, "url must not hold"),
        ({"url": "http://shop.example/${KEY}"}, "url names '${KEY}', and credentials have no 'KEY'"),
        ({"url": "http://shop.example/?${KEY}", "credentials": {"key": "x"}}, "url names '${KEY}'"),
        ({"url": "http://shop.example/${}"}, "url names '${}', and credentials have no ''"),
        ({"body": "${a b}"}, "sourceBody names '${a b}', and credentials have no 'a b'"),
        ({"headers": ["X: 1", "A: ${B}"]}, "sourceHeaders[1] names '${B}', and credentials have no 'B'"),
        ({"method": "DELETE"}, "sourceMethod must be one of GET, POST, PUT, PATCH, not 'DELETE'"),
        ({"method": "GET / HTTP/1.1\r\nX: y"}, "sourceMethod must be one of"),
        ({"body": "x" * 1_048_577}, "sourceBody must have at most 1,048,576 characters"),
        ({"body": "\ud800"}, "sourceBody must not hold"),
        ({"headers": ["no colon"]}, "sourceHeaders[0] must be 'Name: value'"),
        ({"headers": [": x"]}, "sourceHeaders[0] must be 'Name: value'"),
        ({"headers": ["a b: x"]}, "sourceHeaders[0] must be 'Name: value'"),
        ({"headers": [None]}, "sourceHeaders[0] must be a string"),
        ({"headers": ["${A}: x"], "credentials": {"A": "X"}}, "sourceHeaders[0] must be 'Name: value'"),
        ({"headers": ["A: x\r\nB: y"]}, "sourceHeaders[0]: the value of A must not hold line breaks"),
        ({"headers": ["A: x\nB: y"]}, "sourceHeaders[0]: the value of A must not hold line breaks"),
        ({"headers": ["A: €"]}, "sourceHeaders[0]: the value of A must be of the characters of Latin-1"),
        ({"headers": ["A: ${B}"], "credentials": {"B": "€"}}, "sourceHeaders[0]: the value of A must be of the characters"),
        ({"headers": ["A: 1", "a: 2"]}, "sourceHeaders[1]: a is there twice"),
        ({"headers": ["Host: x"]}, "sourceHeaders[0]: Host is set by gnj itself"),
        ({"headers": ["If-None-Match: x"]}, "sourceHeaders[0]: If-None-Match is set by gnj itself"),
        ({"headers": ["content-length: 0"]}, "sourceHeaders[0]: content-length is set by gnj itself"),
        ({"headers": ["A: 1"] * 51}, "sourceHeaders must have at most 50 headers"),
        ({"type": "Shopify", "method": "POST"}, "sources of the type Shopify are read with GET"),
        ({"type": "Shopify", "body": "x"}, "sources of the type Shopify are read with GET"),
        ({"type": "request"}, "type must be one of Request, Feed, Index, Shopify, "),
        ({"credentials": ["a"]}, "credentials must be an object of texts"),
        ({"credentials": {"a": 1}}, "credentials: a must be a text"),
        ({"credentials": {"a-b": "1"}}, "credentials: a name has letters, digits and underscores"),
        ({"credentials": {"": "1"}}, "credentials: a name has letters, digits and underscores"),
        ({"credentials": {"a": "s3cret\n"}}, "credentials: a must not hold line breaks"),
        ({"credentials": {"a": "s3cret\r"}}, "credentials: a must not hold line breaks"),
        ({"credentials": {"a": "s3cret\u2028"}}, "credentials: a must not hold line breaks"),
        ({"credentials": {"a": "s3cret" * 2_000}}, "credentials: a must have at most 10,000 characters"),
        ({"credentials": {f"a{n}": "" for n in range(101)}}, "credentials must have at most 100 names"),
        ({"url": "${A}", "credentials": {"A": "s3cret"}}, "url: it must begin with http:// or https://"),
        ({"url": "http://x/${A}", "credentials": {"A": "s3cret {}"}}, "url: it holds a character that must be"),
    ],
)  # fmt: skip
def test_what_is_refused(fields, told):
    with pytest.raises(BadSource) as caught:
        check(**fields)
    assert str(caught.value).startswith(told)
    assert caught.value.code == "BAD_SOURCE"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", HOSTILE)
def test_no_spelling_of_an_address_inside_is_saved(url):
    with pytest.raises((AddressRefused, BadSource)):
        check(url=url.format(port=8080))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://localhost/",
        "http://a.localhost./",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://127.0.0.1:10/",
        "http://shop.example:22/",
        "http://${A}/",
    ],
)
def test_an_address_that_may_not_be_called_is_refused_as_such(url):
    with pytest.raises(AddressRefused) as caught:
        check(url=url, credentials={"A": "127.0.0.1"})
    assert caught.value.code == "ADDRESS_REFUSED"
    assert "127" not in str(caught.value)


def test_sources_of_a_type_without_a_fetcher():
    registry = SourceRegistry()
    builtin = {"Request", "Feed", "Shopify"}
    for name in set(SOURCE_TYPES) - builtin:
        with pytest.raises(NoHandler, match=f"^no handler is registered for sources of the type {name}$"):
            check(registry, type=name)

    @registry.source("Awin")
    def awin(fetch):
        yield {}

    check(registry, type="Awin")
    check(registry, type="Awin", url=None)
    assert registry.fetcher("Awin") is awin
    for name in ("Awin", "Feed"):
        with pytest.raises(InvalidInput, match="have a fetcher already"):
            registry.source(name)
    with pytest.raises(InvalidInput, match="a source type is one of"):
        registry.source("awin")


def test_a_source_does_not_show_what_it_is_made_of():
    shown = repr(
        Source(type="Feed", url="http://s3cret/", headers=["A: s3cret"], body="s3cret", credentials={"A": "s3cret"})
    )
    assert "s3cret" not in shown


def test_credentials_are_stored_encrypted():
    old, new = Secrets.new_key(), Secrets.new_key()
    stored = Secrets([old]).encrypt({"A": "s3cret", "B": "é"})
    assert stored is not None
    assert "s3cret" not in stored
    assert Secrets([old]).encrypt({"A": "s3cret"}) != Secrets([old]).encrypt({"A": "s3cret"})
    assert Secrets([new, old]).decrypt(stored) == {"A": "s3cret", "B": "é"}
    renewed = Secrets([new, old]).renewed(stored)
    assert Secrets([new]).decrypt(renewed) == {"A": "s3cret", "B": "é"}
    for secrets, text in ((Secrets([new]), stored), (Secrets(), stored), (Secrets([old]), stored[:-9] + "AAAAAAAA=")):
        for read in (secrets.decrypt, secrets.renewed):
            with pytest.raises(SourceFailed, match="keys that are configured") as caught:
                read(text)
            assert caught.value.final


def test_credentials_without_a_key():
    secrets = Secrets()
    assert secrets.encrypt({}) is None
    assert secrets.decrypt(None) == {}
    with pytest.raises(
        BadSource,
        match=r"^credentials cannot be stored: no key to encrypt with is configured \(secret_keys, or GNJ_SECRET_KEYS in the environment\)$",
    ):
        secrets.encrypt({"A": "x"})
    with pytest.raises(BadSource, match="line breaks"):
        Secrets([Secrets.new_key()]).encrypt({"A": "x\n"})
    for wrong in ("", "short", "é", Secrets.new_key()[:-1]):
        with pytest.raises(InvalidInput, match=r"^a key for credentials must be 32 bytes in URL-safe base64$"):
            Secrets([Secrets.new_key(), wrong])


@pytest.mark.parametrize(
    "field, value", [("idle", 0), ("total", -1.0), ("size", 1.5), ("record", True), ("redirects", -1), ("connect", "1")]
)
def test_limits_are_numbers(field, value):
    with pytest.raises(InvalidInput, match=f"source_limits: {field} must be a "):
        SourceLimits(**{field: value})
    assert SourceLimits(redirects=0).redirects == 0
