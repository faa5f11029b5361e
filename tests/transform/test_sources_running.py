"""Sources that are read from a server: requests, redirects, pages, validators, credentials, and what fails how."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import tracemalloc
from contextlib import ExitStack
from itertools import islice
from typing import Any

import pytest

from gnj.fetch import waits
from gnj.queue import deadline
from gnj.queue.errors import CancelRequested, GnjError
from gnj.settings_transform import SourceLimits
from gnj.transform.errors import BadSource, NoHandler, SourceBlocked, SourceFailed
from gnj.transform.sources import Bad, Source, SourceRegistry, Validators, fetch, open_source
from tests.transform.sites import answer, read, site, way

CSV = b"a,b\n1,2\n"
ROWS = [{"a": "1", "b": "2"}]
FEED = answer(CSV, "text/csv")


def fails(url, **options):
    with pytest.raises(SourceFailed) as caught:
        read(url, **options)
    return caught.value


def test_a_request_is_sent_as_it_is_described():
    with site(r=answer(b'{"items": [{"a": 1}]}', "application/json")) as here:
        rows = read(
            here.url("/r?key=${KEY}&x=%20"),
            type="Request",
            method="post",
            headers=["Content-Type: text/x", "Authorization: Bearer ${KEY}", "user-agent: me"],
            body='{"q": "${KEY}", "é": "$KEY"}',
            credentials={"KEY": "a+b=é&${KEY}"},
        )
        assert rows == [{"a": 1}]
        (asked,) = here.asked
        assert (asked.method, asked.target) == ("POST", "/r?key=a%2Bb%3D%C3%A9%26%24%7BKEY%7D&x=%20")
        assert asked.body.decode() == '{"q": "a+b=é&${KEY}", "é": "$KEY"}'
        assert asked.headers == {
            "host": f"127.0.0.1:{here.port}",
            "content-length": str(len(asked.body)),
            "content-type": "text/x",
            "authorization": "Bearer a+b=é&${KEY}",
            "user-agent": "me",
            "accept": "*/*",
            "accept-encoding": "gzip",
        }


def test_compressed_feeds():
    packed = gzip.compress(CSV)
    with site(
        a=answer(packed, "text/csv", content_encoding="gzip"),
        b=answer(packed, "application/x-gzip"),
        c=answer(packed[:-4], "text/csv", content_encoding="gzip"),
        d=answer(CSV, "text/csv", content_encoding="br"),
    ) as here:
        assert read(here.url("/a")) == read(here.url("/b")) == ROWS
        assert str(fails(here.url("/c"))) == "the source cannot be read: the gzip ends too early"
        assert fails(here.url("/d")).final


@pytest.mark.parametrize(
    "status, final",
    [
        (301, True),
        (304, True),
        (400, True),
        (404, True),
        (408, True),
        (425, True),
        (429, True),
        (500, False),
        (503, False),
        (206, True),
        (599, False),
    ],
)
def test_statuses(status, final):
    with site(a=answer(b"s3cret", status=status, ETag="x")) as here:
        error = fails(here.url("/a"))
    assert error.final == final
    assert str(error).startswith(f"the source answered {status} ")
    assert "s3cret" not in str(error)
    assert error.code == "SOURCE_FAILED"


def test_no_content_has_no_records():
    with site(a=answer(b"", status=204)) as here:
        assert read(here.url("/a")) == []


def test_what_may_be_tried_again():
    def cut(talk):
        talk.request()
        talk.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\na,b\n1,2\n")

    with site(none=lambda _: None) as here:
        url = here.url("/x")
        assert not fails(here.url("/none")).final
        here._raw._serve = cut
        error = fails(here.url("/cut"))
        assert (error.final, str(error)) == (False, "the source cannot be reached: connection failed")
    assert not fails(url).final
    with way(["no.example"], resolve=lambda _host, _port: []) as http:
        assert not fails("http://no.example/", http=http).final


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na,b\nX\r\n",
    ],
)
def test_what_is_no_http_is_final(answer):
    with site(a=answer) as here:
        error = fails(here.url("/a"))
    assert (error.final, str(error)) == (True, "the source cannot be read: the answer is no valid HTTP")


def test_a_connection_that_is_not_made_in_time_is_final():
    never = threading.Event()
    limits = SourceLimits(connect=0.05)
    with way(["shop.example"], limits, resolve=lambda _host, _port: never.wait(10) and []) as http:
        error = fails("http://shop.example/", http=http)
    never.set()
    assert (error.final, str(error)) == (True, "the source took too long: there was no connection within 0.05 s")


def test_limits():
    def drip(_asked):
        over.wait(0.3)
        return FEED

    over = threading.Event()
    more = b"a,b\n" + b"1,2\n" * 500
    with site(
        slow=drip,
        long=answer(more, "text/csv"),
        chunked=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7D4\r\n" + more + b"\r\n0\r\n\r\n",
        bomb=answer(gzip.compress(more), "text/csv"),
        again=answer(b"", status=302, Location="/again"),
        once=answer(b"", status=302, Location="/long"),
    ) as here:
        with way(limits=SourceLimits(idle=0.05)) as http:
            error = fails(here.url("/slow"), http=http)
            assert (error.final, str(error)) == (True, "the source took too long: nothing came for 0.05 s")
        with way(limits=SourceLimits(total=0.05)) as http:
            error = fails(here.url("/slow"), http=http)
            assert (error.final, str(error)) == (True, "the source took more than 0.05 s in all")
        over.set()
        with way(limits=SourceLimits(size=1_000, redirects=0)) as http:
            for path in ("/long", "/chunked", "/bomb"):
                error = fails(here.url(path), http=http)
                assert error.final
                assert "1,000 bytes" in str(error)
            assert "0 redirects" in str(fails(here.url("/once"), http=http))
        error = fails(here.url("/again"))
        assert (error.final, str(error)) == (True, "the source cannot be read: there were more than 5 redirects")
        assert len(read(here.url("/once"))) == 500
    assert here.hits < 30


def test_addresses_are_refused_when_they_are_called():
    with site(a=FEED) as inside, site(a=answer(b"", status=302, Location=inside.url("/a"))) as outside:
        with way([f"127.0.0.1:{outside.port}"]) as http:
            for url in (inside.url("/a"), outside.url("/a"), inside.url("/a", "localhost"), inside.url("/a", "127.1")):
                error = fails(url, http=http)
                assert isinstance(error, SourceBlocked)
                assert (error.final, error.code) == (True, "ADDRESS_REFUSED")
                assert "127.0.0.1" not in str(error)
                assert str(inside.port) not in str(error)
        assert inside.hits == 0
        # allowed by address, but not by a name that leads there
        with way(resolve=lambda _host, _port: ["127.0.0.1"]) as http:
            assert isinstance(fails(inside.url("/a", "shop.example"), http=http), SourceBlocked)
        assert inside.hits == 0
        with way(["shop.example"], resolve=lambda _host, _port: ["127.0.0.1"]) as http:
            assert read(inside.url("/a", "shop.example"), http=http) == ROWS


def test_a_name_that_leads_elsewhere_a_moment_later():
    asked = []

    def resolve(host, _port):
        asked.append(host)
        return ["127.0.0.1"] if len(asked) > 1 else ["93.184.215.14", "127.0.0.1"]

    with site(a=FEED) as inside, way(resolve=resolve) as http:
        # at the port 80: nothing but the address is wrong with it
        assert isinstance(fails("http://shop.example/a", http=http), SourceBlocked)
        assert isinstance(fails("http://shop.example/a", http=http), SourceBlocked)
        assert inside.hits == 0
    assert asked == ["shop.example"] * 2


def test_credentials_go_to_no_other_origin():
    with site(a=FEED) as other, site() as here:
        here.pages["/a"] = answer(b"", status=307, Location=other.url("/a"))
        sent: dict[str, Any] = {
            "headers": ["X-Key: ${KEY}", "X-Plain: ${EMPTY}", "X-Literal: s3cret", "Cookie: a=b", "X-Other: o"],
            "credentials": {"KEY": "s3cret", "EMPTY": ""},
        }
        assert read(here.url("/a?k=${KEY}"), **sent) == ROWS
        assert here.asked[0].headers["x-key"] == "s3cret"
        assert set(other.asked[0].headers) == {
            "host",
            "content-length",
            "x-other",
            "user-agent",
            "accept",
            "accept-encoding",
        }
        error = fails(here.url("/a"), type="Request", method="POST", body="${KEY}", **sent)
        assert error.final
        assert len(other.asked) == 1
        assert read(here.url("/a"), type="Request", method="POST", body="plain", **sent) == ROWS


def test_credentials_are_in_no_error_and_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    with site(a=answer(b"", status=401), b=answer(b"", status=302, Location="http://127.0.0.1:1/s3cret")) as here:
        errors = [
            fails(here.url(path), http=None, headers=["X: ${K}"], credentials={"K": "s3cret"})
            for path in ("/a?k=${K}", "/b?k=${K}", "/${K}")
        ]
    errors.append(fails("http://${K}.example/", credentials={"K": "s3cret"}))
    registry = SourceRegistry()

    @registry.source("Custom")
    def custom(fetch):
        raise RuntimeError(fetch.url)

    assert "s3cret" not in "".join(str(error) + repr(error) for error in errors)
    error = fails("http://x/${K}", type="Custom", registry=registry, credentials={"K": "s3cret"})
    assert (error.final, str(error)) == (False, "reading the source failed: RuntimeError")
    assert "raise RuntimeError(fetch.url)" in caplog.text
    assert "s3cret" not in caplog.text


def conditional(asked):
    known = (asked.headers.get("if-none-match"), asked.headers.get("if-modified-since"))
    if known == ('W/"1"', "Mon, 01 Jan 2024 00:00:00 GMT"):
        return b"HTTP/1.1 304 X\r\n\r\n"
    return answer(CSV, "text/csv", ETag='W/"1"', Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT")


def test_a_source_that_has_not_changed_costs_one_request():
    source_of = lambda here, **fields: Source(type="Feed", url=here.url("/a"), **fields)  # noqa: E731
    with site(a=conditional) as here, way() as http:
        with open_source(source_of(here), SourceRegistry(), http) as opened:
            assert not opened.unchanged
            assert list(opened) == ROWS
            known = opened.validators
        assert known == Validators('W/"1"', "Mon, 01 Jan 2024 00:00:00 GMT")
        with open_source(source_of(here), SourceRegistry(), http, known) as opened:
            assert opened.unchanged
            assert list(opened) == []
            assert opened.validators == known
        assert len(here.asked) == 2
        here.pages["/a"] = answer(CSV, "text/csv", ETag="2")
        with open_source(source_of(here), SourceRegistry(), http, known) as opened:
            assert not opened.unchanged
            assert list(opened) == ROWS
            assert opened.validators == Validators("2")
        # what is asked of another kind of request may not be the same
        here.pages["/a"] = conditional
        with open_source(source_of(here, method="POST"), SourceRegistry(), http, known) as opened:
            assert (opened.unchanged, list(opened), opened.validators) == (False, ROWS, Validators())
        assert "if-none-match" not in here.asked[-1].headers
        here.pages["/a"] = answer(CSV, "text/csv", ETag="x" * 1_001)
        with open_source(source_of(here), SourceRegistry(), http) as opened:
            assert opened.validators == Validators()


def test_bad_lines_stand_among_the_records():
    with site(a=answer(b'{"a":1}\n{"a":\n{"a":2}\n', "application/x-ndjson")) as here:
        first, bad, last = read(here.url("/a"), type="Request")
    assert (first, last) == ({"a": 1}, {"a": 2})
    assert isinstance(bad, Bad)
    assert (bad.position, bad.text) == (1, '{"a":')


def test_records_before_a_fault_are_given_and_then_it():
    with site(a=answer(gzip.compress(b"a\n" + b"1\n" * 300_000)[:-8], "text/csv")) as here, way() as http:
        with open_source(Source(type="Feed", url=here.url("/a")), SourceRegistry(), http) as opened:
            count, told = 0, ""
            try:
                for _ in opened:
                    count += 1
            except SourceFailed as error:
                told = str(error)
            assert told == "the source cannot be read: the gzip ends too early"
        assert count > 150_000


def shop(products, **headers):
    def page(asked):
        query = dict(part.split("=") for part in asked.target.partition("?")[2].split("&"))
        assert query["limit"] == "250"
        begin = (int(query["page"]) - 1) * 250
        if "ETag" in headers and asked.headers.get("if-none-match") == headers["ETag"]:
            return b"HTTP/1.1 304 X\r\n\r\n"
        content = {"products": [{"id": n} for n in range(products)][begin : begin + 250]}
        return answer(json.dumps(content).encode(), "application/json; charset=utf-8", **headers)

    return page


@pytest.mark.parametrize("products, pages", [(0, 1), (3, 1), (250, 2), (251, 2), (620, 3)])
def test_a_shop_is_read_page_by_page(products, pages):
    with site() as here:
        here.pages["/products.json"] = here.pages["/collections/x/products.json"] = shop(products)
        for path in ("", "/", "/products.json?page=7&limit=3&a=b", "/collections/x/"):
            here.asked.clear()
            assert [each["id"] for each in read(here.url(path), type="Shopify")] == list(range(products))
            extra = "a=b&" if "a=b" in path else ""
            assert [asked.target.partition("?")[2] for asked in here.asked] == [
                f"{extra}limit=250&page={page}" for page in range(1, pages + 1)
            ]
        assert here.hits == 4


def test_only_a_shop_of_one_page_can_say_that_it_has_not_changed():
    with site() as here, way() as http:
        for products, known in ((3, Validators("1")), (251, Validators())):
            here.pages["/products.json"] = shop(products, ETag="1")
            source = Source(type="Shopify", url=here.url())
            with open_source(source, SourceRegistry(), http) as opened:
                assert len(list(opened)) == products
                assert opened.validators == known
            with open_source(source, SourceRegistry(), http, known) as opened:
                assert opened.unchanged == (products == 3)


def test_all_pages_of_a_shop_count_together():
    with site() as here, way(limits=SourceLimits(size=10_000)) as http:
        here.pages["/products.json"] = shop(10_000)
        error = fails(here.url(), type="Shopify", http=http)
        assert error.final
        assert len(here.asked) < 10


def test_a_shop_that_asks_for_a_password():
    with site(password=answer(b"<!doctype html>", "text/html")) as here:
        here.pages["/products.json"] = answer(b"", status=302, Location="/password")
        assert str(fails(here.url(), type="Shopify")) == "the source cannot be read: it is a web page"


def test_a_fetcher_of_the_host():
    registry = SourceRegistry()
    ended = threading.Event()

    @registry.source("Awin")
    def awin(fetch):
        try:
            with fetch.open(headers=["X-Key: ${KEY}", f"X-Id: {fetch.credentials['ID']}"], conditional=True) as first:
                yield from first.records()
            with fetch.open(fetch.url + "/more", method="POST", body="${KEY}", headers=[]) as second:
                assert second.headers["content-type"] == "text/plain"
                yield {"read": second.read(4).decode(), "nested": {"a": (1, 2)}}
            yield {"bad": float("nan")}
            yield {"bad": "\0"}
            yield ["no", "object"]
            yield Bad(7, "as it says")
            yield {"last": 1}
        finally:
            ended.set()

    with site() as here:
        here.pages |= {"/a": FEED, "/a/more": answer(b"12345", "text/plain")}
        fields: dict[str, Any] = {"type": "Awin", "registry": registry, "credentials": {"KEY": "s3cret", "ID": "7"}}
        found = read(here.url("/a"), **fields)
        assert [here.asked[0].headers["x-key"], here.asked[0].headers["x-id"]] == ["s3cret", "7"]
        assert here.asked[1].body == b"s3cret"
    assert found[:2] == [*ROWS, {"read": "1234", "nested": {"a": [1, 2]}}]
    assert [(each.position, each.reason) for each in found[2:6]] == [
        (2, "the record must not hold NaN or infinite numbers"),
        (3, "the record must not hold a NUL character"),
        (4, "it is no object with fields"),
        (7, "as it says"),
    ]
    assert found[6] == {"last": 1}
    assert ended.is_set()


def test_a_fetcher_that_errs():
    registry = SourceRegistry()

    @registry.source("CJ")
    def cj(fetch):
        with fetch.open() as first:
            yield from first.records()
        with fetch.open(conditional=True):
            pass

    @registry.source("Custom")
    def custom(fetch):
        raise SourceFailed("not today", final=False)

    @registry.source("Algolia")
    def algolia(fetch):
        with fetch.open("ftp://x/"):
            yield

    with site(a=FEED) as here:
        assert str(fails(here.url("/a"), type="CJ", registry=registry)) == "reading the source failed: ValueError"
        assert str(fails(None, type="CJ", registry=registry)) == "url is missing"
        assert str(fails(None, type="Custom", registry=registry)) == "not today"
        assert isinstance(fails(None, type="Algolia", registry=registry), SourceBlocked)
    with way() as http, pytest.raises(NoHandler), open_source(Source(type="Index"), registry, http):
        pass
    with way() as http, pytest.raises(BadSource), open_source(Source(type="Feed", url="${A}"), registry, http):
        pass


def test_who_leaves_early_ends_the_connection_and_the_fetcher():
    ended, gone = threading.Event(), threading.Event()
    registry = SourceRegistry()

    @registry.source("Custom")
    def custom(fetch):
        try:
            with fetch.open() as found:
                yield from found.records()
        finally:
            ended.set()

    def endless(talk):
        talk.request()
        talk.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\na,b\n")
        try:
            while True:
                talk.answer(b"1,2\n" * 10_000)
        except OSError:
            gone.set()

    with site() as here:
        here._raw._serve = endless
        with way() as http, open_source(Source(type="Custom", url=here.url()), registry, http) as opened:
            assert list(islice(opened, 3)) == ROWS * 3
            assert not ended.is_set()
        assert ended.is_set()
        assert gone.wait(10)


@pytest.mark.parametrize("name", ["csv", "jsonl", "json", "xml"])
def test_a_feed_is_never_held_as_a_whole(name):
    """16 MB in less than 3."""
    text = "x" * 1_000
    row, begin, end = {
        "csv": (f"{text},{text}\n", "a,b\n", ""),
        "jsonl": (f'{{"a":"{text}","b":"{text}"}}\n', "", ""),
        "json": (f'{{"a":"{text}","b":"{text}"}},', '{"items": [', "{}]}"),
        "xml": (f"<item><a>{text}</a><b>{text}</b></item>", "<rss>", "</rss>"),
    }[name]

    def send(talk):
        talk.request()
        talk.answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", begin.encode())
        for _ in range(80):
            talk.answer(row.encode() * 100)
        talk.answer(end.encode())

    with site() as here, way() as http:
        here._raw._serve = send
        tracemalloc.start()
        try:
            with open_source(Source(type="Feed", url=here.url(f"/a.{name}")), SourceRegistry(), http) as opened:
                assert sum(1 for _ in opened) == 8_000 + (name == "json")
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()


def test_errors_are_those_of_gnj():
    assert issubclass(SourceFailed, GnjError)
    assert SourceBlocked("x").final


def test_a_request_that_tries_a_source_reads_less_of_it(monkeypatch):
    monkeypatch.setattr(fetch, "_TRIED", 1_000)
    lines = b"".join(b'{"n":%d}\n' % number for number in range(1_000))
    with site(a=answer(gzip.compress(lines), "application/jsonl"), b=answer(lines[:900], "application/jsonl")) as here:
        with deadline.within(5.0, 5.0):
            with pytest.raises(SourceFailed, match="more than 1,000 bytes"):
                read(here.url("/a"))
            assert len(read(here.url("/b"))) > 50
        assert len(read(here.url("/a"))) == 1_000


class Ending:
    """Has a reading end when it was asked so often."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.error = CancelRequested("enough")

    def __call__(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise self.error


def ends(url, ending, *, type="Feed", registry=None, limits=None, **options):
    """Reads a source, which the ending ends."""
    source = Source(type=type, url=url)
    with (
        way(**({"allow": ["127.0.0.1"]} | options), limits=limits) as http,
        pytest.raises(CancelRequested) as caught,
        open_source(source, registry or SourceRegistry(), http, None, ending) as opened,
    ):
        list(opened)
    assert caught.value is ending.error


BLANK = {
    "csv": ("text/csv", b"a,b\n" + b"\n" * 4_000_000),
    "tsv": ("text/tab-separated-values", b"a\tb\n" + b"\r\n" * 2_000_000),
    "jsonl": ("application/jsonl", b"\n" * 4_000_000),
    "json": ("application/json", b"[" + b" " * 4_000_000 + b"]"),
    "xml": ("text/xml", b"<r>" + b"<a/>" * 300_000 + b"</r>"),
    "huge row": ("text/csv", b"a,b\n1," + b"x" * 4_000_000),
    "huge line": ("application/jsonl", b'{"a":"' + b"x" * 4_000_000 + b'"}'),
    "huge item": ("text/xml", b"<item><a>" + b"x" * 4_000_000 + b"</a></item>"),
}


@pytest.mark.parametrize("name", BLANK)
@pytest.mark.parametrize("packed", [False, True])
def test_a_source_that_gives_bytes_and_no_records_is_ended(name, packed):
    content_type, body = BLANK[name]
    with site(a=answer(gzip.compress(body, 1) if packed else body, content_type)) as here:
        limits = SourceLimits(record=100_000)
        ends(here.url("/a"), Ending(8), limits=limits)
        with deadline.within(1_000.0, 1.0) as limit:
            asked = []

            def left(_limit):
                asked.append(1)
                return -1.0 if len(asked) > 8 else 1_000.0

            with pytest.MonkeyPatch.context() as patched, way(limits=limits) as http:
                patched.setattr(type(limit), "left", left)
                error = fails(here.url("/a"), http=http)
            assert error.final
            assert str(error) == "the source took more than 600 s in all"


def test_a_gzip_of_very_many_empty_parts_is_ended():
    with site(a=answer(gzip.compress(b"") * 20_000, "text/csv")) as here:
        ends(here.url("/a"), Ending(8))


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\na,b\n1,2\n"]
)
def test_a_source_that_falls_silent_is_ended(begin, monkeypatch):
    monkeypatch.setattr(waits, "STEP", 0.01)
    over = threading.Event()

    def silent(talk):
        talk.request()
        talk.answer(begin)
        over.wait(20)

    with site() as here:
        here._raw._serve = silent
        ends(here.url("/a"), Ending(10))
        over.set()


def test_a_handshake_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(waits, "STEP", 0.01)
    over = threading.Event()

    def silent(_talk):
        over.wait(20)

    with site() as here:
        here._raw._serve = silent
        url = here.url("/a").replace("http:", "https:")
        ends(url, Ending(10))
        with way(limits=SourceLimits(connect=0.05)) as http:
            error = fails(url, http=http)
        over.set()
    assert (error.final, str(error)) == (True, "the source took too long: there was no connection within 0.05 s")


def test_a_connection_that_nobody_takes_is_ended(monkeypatch):
    monkeypatch.setattr(waits, "STEP", 0.01)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        for _ in range(3):  # as many as the system keeps for it
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        ends(url, Ending(10))
        with way(limits=SourceLimits(connect=0.05)) as http:
            error = fails(url, http=http)
    assert (error.final, str(error)) == (True, "the source took too long: there was no connection within 0.05 s")


def test_a_name_that_takes_long_to_be_looked_up_is_ended(monkeypatch):
    monkeypatch.setattr(waits, "STEP", 0.01)
    over = threading.Event()
    ends("http://shop.example/", Ending(5), allow=["shop.example"], resolve=lambda _host, _port: over.wait(20) and [])
    over.set()


def test_what_ends_a_reading_goes_through_a_fetcher_of_the_host():
    registry = SourceRegistry()
    ended = threading.Event()

    @registry.source("Custom")
    def custom(fetch):
        try:
            with fetch.open() as found:
                while found.read(1_000):
                    pass
            yield {}
        finally:
            ended.set()

    with site(a=answer(b"x" * 1_000_000)) as here:
        ends(here.url("/a"), Ending(20), type="Custom", registry=registry)
    assert ended.is_set()
