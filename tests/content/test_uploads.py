"""Uploads and downloads by signed URLs, over both kinds of application and over servers."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import socket
import threading
import time
import unicodedata
import urllib.parse
from contextlib import ExitStack

import httpx
import pytest

from gnj import GNJ
from gnj.api.content import uploads
from gnj.api.http import Request, Response
from gnj.content import local_disk, signing
from gnj.content.files import MAX_PARTS
from gnj.queue.errors import InvalidInput, NotFound
from gnj.settings_content import ContentLimits
from tests import databases
from tests.adapters import hosts
from tests.content.fakes import FakeStore
from tests.content.transferring import PART, Client, Transfers, pattern

TestClient = pytest.importorskip("starlette.testclient").TestClient
_NUMBERS = itertools.count(1)
BASE = "http://localhost"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    limits = ContentLimits(part=PART, upload=64 * 1024 * 1024)
    with GNJ(databases.sqlite_database(folder), files=str(folder / "files"), content_limits=limits) as jobs:
        jobs.migrate()
        yield Transfers(jobs)


@pytest.fixture(scope="module")
def apps(served):
    return {"asgi": hosts.starlette_app(served, "/"), "wsgi": hosts.flask_app(served, "/")}


@pytest.fixture(params=["asgi", "wsgi"])
def http(request, apps):
    if request.param == "asgi":
        yield TestClient(apps["asgi"], base_url=BASE)
    else:
        with httpx.Client(transport=httpx.WSGITransport(as_servers_do(apps["wsgi"])), base_url=BASE) as client:
            yield client


def as_servers_do(app):
    """The path as PEP 3333 has it, which httpx does not: bytes in the clothes of Latin-1."""
    return lambda environ, start: app(environ | {"PATH_INFO": environ["PATH_INFO"].encode().decode("latin-1")}, start)


@pytest.fixture
def me(served):
    return Client(served.face, f"acme-{next(_NUMBERS)}")


@pytest.fixture
def root(served):
    return served.face.content.files.root


def code(answer):
    return answer.status_code, answer.json()["errors"][0]["extensions"]["code"]


def count(root):
    return sum(1 for path in root.rglob("*") if path.is_file())


def test_what_was_uploaded_is_downloaded(http, me):
    data = pattern(3 * PART + 17)
    begun = me.upload(http, data, "zażółć (1).json")
    assert begun.key.startswith("uploads/")
    assert begun.key.endswith("/zażółć (1).json")
    url = me.download_url(begun.key)
    answer = http.get(url)
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(data).digest()
    quoted = urllib.parse.quote("zażółć (1).json", safe="")
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quoted}"
    told = {name: answer.headers[name] for name in ("content-type", "content-length", "cache-control")}
    assert told == {
        "content-type": "application/octet-stream",
        "content-length": str(len(data)),
        "cache-control": "no-store",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = http.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))


def test_names_that_are_hard_to_write_in_a_url(http, me):
    for name in ("100%.json", "a b?c#d&e=f;g.json", "..a", "+", "日本 語.zip", "a'b\"c"):
        begun = me.upload(http, b"x", name)
        assert http.get(me.download_url(begun.key)).content == b"x", name


def altered(text):
    """Every text that differs at one place."""
    changed = {text[:i] + other + text[i + 1 :] for i in range(len(text)) for other in ("0Z"[i % 2], "")}
    changed |= {text[:i] + text[i].swapcase() + text[i + 1 :] for i in range(len(text))}
    return sorted((changed | {text + more for more in ("&", "&a=b", "#", "0")}) - {text})


def test_every_altered_byte_of_an_upload_url_is_refused(me, served):
    begun = me.init(2 * PART)
    receive = served.routes(None)[0].receive
    url = urllib.parse.urlsplit(begun.urls[0].url)
    names = ("organization", "upload", "part")
    places = dict(zip(names, [url.path.split("/")[at] for at in (2, 5, 6)], strict=True))

    def asked(query, **changes):
        found = receive(Request(method="PUT", path="", path_params=places | changes, query_string=query))
        if not isinstance(found, Response):
            found.abort()
            return 200
        return found.status

    assert asked(url.query) == 200
    assert {asked(each) for each in altered(url.query)} == {403}
    for name in names:
        assert {asked(url.query, **{name: each}) for each in altered(places[name])} == {403}


def test_a_query_in_another_spelling_is_refused(me, http):
    begun = me.init(PART)
    url, _, query = begun.urls[0].url.partition("?")
    fields = query.split("&")
    for each in (
        "&".join(reversed(fields)),
        query.replace("expires", "%65xpires"),
        query.replace("size=", "size=%2B"),
        query.replace("size=", "size=0"),
        query + "&" + fields[0],
        query.replace("&", "&&", 1),
        "",
    ):
        assert code(http.put(f"{url}?{each}", content=b"x" * PART)) == (403, "FORBIDDEN"), each


def test_an_expired_url_is_refused(http, me, served):
    begun = me.init(PART)
    secret, past = served.face.queue.shared_secret(), int(time.time()) - 1
    url = begun.urls[0].url.partition("?")[0]
    query = signing.sign_part(secret, me.org, begun.upload_id, 1, PART, past)
    answer = http.put(f"{url}?{query}", content=b"x" * PART)
    assert code(answer) == (403, "FORBIDDEN")
    assert "expired" in answer.text
    done = me.upload(http, b"x")
    query = signing.sign_file(secret, me.org, done.key, past)
    answer = http.get(f"{me.download_url(done.key).partition('?')[0]}?{query}")
    assert code(answer) == (403, "FORBIDDEN")


def test_urls_of_another_organisation_part_and_upload(http, me, served):
    other = Client(served.face, f"{me.org}-other")
    begun, second = me.init(2 * PART), me.init(2 * PART)
    one, two = (part.url for part in begun.urls)
    body = b"x" * PART
    assert code(http.put(one.replace(me.org, other.org), content=body)) == (403, "FORBIDDEN")
    assert code(http.put(one.replace(begun.upload_id, second.upload_id), content=body)) == (403, "FORBIDDEN")
    assert code(http.put(one.replace(begun.upload_id, "0" * 32), content=body)) == (403, "FORBIDDEN")
    assert code(http.put(two.partition("?")[0] + "?" + one.partition("?")[2], content=body)) == (403, "FORBIDDEN")
    done = me.upload(http, b"x")
    url = me.download_url(done.key)
    assert code(http.get(url.replace(me.org, other.org))) == (403, "FORBIDDEN")
    assert code(http.get(url.replace("a.json", "b.json"))) == (403, "FORBIDDEN")
    assert code(http.get(url[:-1] + ("0" if url[-1] != "0" else "1"))) == (403, "FORBIDDEN")
    # a signature for one is worth nothing for another method
    assert code(http.get(url.partition("?")[0] + "?" + one.partition("?")[2])) == (403, "FORBIDDEN")
    with pytest.raises(NotFound):
        other.download_url(done.key)
    with pytest.raises(NotFound):
        other.complete(begun, [])
    assert http.get(f"/v2/%00/jobs/files/x?{url.partition('?')[2]}").status_code == 403
    assert http.put(f"/v2/%00/jobs/uploads/{begun.upload_id}/1?x", content=b"").status_code == 403


@pytest.mark.parametrize("size, status", [(PART + 1, 413), (PART - 1, 400), (0, 400), (5 * PART, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_another_length_is_refused_and_nothing_is_left(http, me, root, size, status, chunked):
    begun = me.init(2 * PART)
    before = count(root)
    body = (b"x" * min(1_000, size - at) for at in range(0, size, 1_000)) if chunked else b"x" * size
    if chunked and not isinstance(http, TestClient):
        pytest.skip("WSGI needs a length")
    answer = http.put(begun.urls[0].url, content=body)
    assert answer.status_code == status
    assert count(root) == before


def test_what_is_forged_is_looked_up_nowhere(http, me, monkeypatch):
    begun, done = me.init(PART), me.upload(http, b"x")
    urls = [begun.urls[0].url, f"{BASE}/v2/{me.org}/jobs/uploads/{'0' * 32}/1?{begun.urls[0].url.partition('?')[2]}"]
    file = me.download_url(done.key)

    def nowhere(*_args):
        raise AssertionError("it was looked up")

    monkeypatch.setattr(type(me.face.queue), "upload", nowhere)
    for name in ("stat", "open"):
        monkeypatch.setattr(type(me.face.content.files), name, nowhere)
    answers = [http.put(url[:-2] + "zz", content=b"x") for url in urls]
    answers += [http.get(url) for url in (file[:-2] + "zz", file.replace("a.json", "b.json"))]
    assert {(code(answer), answer.json()["errors"][0]["message"]) for answer in answers} == {
        ((403, "FORBIDDEN"), "This URL was not signed by this server, or was altered.")
    }


def test_so_many_files_are_sent_to_an_organisation_at_once(me, served, http):
    done = me.upload(http, b"x")
    endpoint = served.routes(None)[1].endpoint
    url = urllib.parse.urlsplit(me.download_url(done.key))

    def get(org, key, query):
        return endpoint(
            Request(method="GET", path="", path_params={"organization": org, "key": key}, query_string=query)
        )

    answers = [get(me.org, done.key, url.query) for _ in range(17)]
    assert [answer.status for answer in answers] == [200] * 16 + [503]
    other = Client(served.face, f"{me.org}-other")
    theirs = other.upload(http, b"x")
    query = urllib.parse.urlsplit(other.download_url(theirs.key)).query
    answers.append(get(other.org, theirs.key, query))
    assert answers[-1].status == 200
    for answer in answers:
        if answer.stream is not None:
            answer.stream.close()
    again = get(me.org, done.key, url.query)
    assert again.status == 200
    again.stream.close()


def test_so_many_parts_are_taken_of_an_organisation_at_once(me, served, root):
    """Each has two open files, from its first byte to its last, for which a slow client has minutes."""
    (receive,) = (route.receive for route in served.routes(None) if route.receive)

    def begin(one):
        url = urllib.parse.urlsplit(one.init(PART).urls[0].url)
        upload, part = url.path.split("/")[-2:]
        places = {"organization": one.org, "upload": upload, "part": part}
        return receive(Request(method="PUT", path="", path_params=places, query_string=url.query))

    before = count(root)
    opened = [begin(me) for _ in range(17)]
    assert [isinstance(each, Response) for each in opened] == [False] * 16 + [True]
    refused = opened.pop()
    assert (refused.status, refused.header("retry-after")) == (503, "5")
    theirs = begin(Client(served.face, f"{me.org}-other"))
    assert not isinstance(theirs, Response)
    # however one ends, the next one may begin
    opened[0].abort()
    opened[0].abort()
    opened[1].write(b"x" * PART)
    assert opened[1].finish().status == 200
    opened[1].abort()
    with pytest.raises(InvalidInput):
        opened[2].finish()
    again = [begin(me) for _ in range(4)]
    assert [isinstance(each, Response) for each in again] == [False] * 3 + [True]
    for each in (*opened, *again[:3], theirs):
        each.abort()
    assert count(root) == before + 17 + 1 + 4 + 1  # an empty file of each upload, and one part with what is told of it


def test_a_full_disk_is_told_to_who_sends(http, me, root, monkeypatch):
    begun, before = me.init(PART), count(root)

    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/secret")

    with monkeypatch.context() as patch:
        patch.setattr(local_disk, "write_all", full)
        answer = http.put(begun.urls[0].url, content=b"x" * PART)
    assert code(answer) == (503, "DISK_FULL")
    assert answer.headers["retry-after"] == "5"
    assert "secret" not in answer.text
    assert count(root) == before
    assert http.put(begun.urls[0].url, content=b"x" * PART).status_code == 200


def test_without_a_length_wsgi_says_what_it_needs(me, apps):
    begun = me.init(PART)
    with httpx.Client(transport=httpx.WSGITransport(apps["wsgi"]), base_url=BASE) as client:
        answer = client.put(begun.urls[0].url, content=iter([b"x" * PART]))
    assert code(answer) == (411, "LENGTH_REQUIRED")


def test_after_completion_nothing_can_be_changed(http, me):
    data = pattern(PART + 1)
    begun = me.upload(http, data)
    assert code(http.put(begun.urls[0].url, content=b"x" * PART)) == (409, "UPLOAD_OVER")
    assert http.get(me.download_url(begun.key)).content == data


def test_a_part_may_be_sent_again_before(http, me):
    begun = me.init(PART)
    first = http.put(begun.urls[0].url, content=b"x" * PART).headers["etag"]
    again = http.put(begun.urls[0].url, content=b"y" * PART).headers["etag"]
    with pytest.raises(InvalidInput, match="part 1 has another ETag"):
        me.complete(begun, [(1, first)])
    with pytest.raises(NotFound):
        me.download_url(begun.key)
    assert me.complete(begun, [(1, again)])


def test_what_completion_refuses_leaves_nothing_to_be_seen(http, me):
    begun = me.init(2 * PART + 1)
    etags = [(part.number, http.put(part.url, content=b"x" * part.size).headers["etag"]) for part in begun.urls]
    for wrong, reason in (
        (etags[:2], "part 3 is missing"),
        ([], "part 1 is missing"),
        ([*etags, etags[0]], "part 1 is named twice"),
        ([*etags, (4, etags[0][1])], "there is no part 4; the upload has 3"),
        ([*etags[:2], (0, etags[2][1])], "there is no part 0"),
        ([*etags[:2], (3, etags[0][1])], "part 3 has another ETag"),
        ([*etags[:2], (3, "")], "part 3 has another ETag"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            me.complete(begun, wrong)
    with pytest.raises(InvalidInput, match="key is not the key of this upload"):
        me.complete(begun, etags, key="uploads/another")
    with pytest.raises(NotFound):
        me.download_url(begun.key)
    bare = [(number, etag.strip('"').upper()) for number, etag in reversed(etags)]
    assert me.complete(begun, bare)
    assert me.complete(begun, etags)
    assert me.download_url(begun.key)


@pytest.mark.parametrize("key", ["../../etc/passwd", "", "/", "uploads/", "x" * 5000, "uploads/%00"])
def test_a_key_that_is_none_has_no_url(me, key):
    with pytest.raises(NotFound):
        me.download_url(key)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("", "must be the name of a file"),
        (" \t", "must be the name of a file"),
        (".", "must be the name of a file"),
        ("..", "must be the name of a file"),
        ("a/b", "without folders"),
        ("..\\b", "without folders"),
        ("a\0", "control characters"),
        ("a\nb", "control characters"),
        ("a\x7f", "control characters"),
        ("a\u2028", "control characters"),
        ("a\u202egpj.exe", "control characters"),
        ("a\u2067.json", "control characters"),
        ("\ufeff", "nothing that can be seen"),
        ("\u200b \u0301", "nothing that can be seen"),
        ("ż" * 128, "255 bytes"),
    ],
)
def test_names_that_are_refused(me, name, reason):
    with pytest.raises(InvalidInput, match=reason):
        me.init(1, name)


def test_a_name_that_is_too_long_is_not_brought_into_nfc(me, monkeypatch):
    """Marks out of their order are sorted one by one: 64,000 of them take 18 s, in which no other thread runs, and a name may come
    with millions.
    """

    def normalize(form, text):
        raise AssertionError(f"{len(text)} characters are normalised")

    name = "a" + "\u0345" * 1_000_000 + "\u0334" * 1_000_000
    with monkeypatch.context() as patch:
        patch.setattr(unicodedata, "normalize", normalize)
        with pytest.raises(InvalidInput, match="limited to 255 bytes"):
            me.init(1, name)


def test_a_name_whose_letters_are_written_with_their_marks_may_have_more_of_them():
    assert uploads.checked_name("\u03b1\u0313\u0301\u0345" * 85) == "\u1f84" * 85


def test_a_name_is_kept_in_nfc(me):
    assert me.init(1, "z\u0307.json").key.endswith("/\u017c.json")
    assert uploads.checked_name("x" * 255) == "x" * 255
    for name in ("\u0645\u06cc\u200c\u062e.json", "👩\u200d🚀.zip", "\u05d0.json"):
        assert uploads.checked_name(name) == name


@pytest.mark.parametrize("size", [0, -1, 64 * 1024 * 1024 + 1, 2**62])
def test_sizes_that_are_refused(me, size):
    with pytest.raises(InvalidInput, match="size must be from 1 to 67,108,864 bytes"):
        me.init(size)


def test_more_parts_than_there_may_be(tmp_path):
    limits = ContentLimits(part=1)
    with GNJ("memory:", files=str(tmp_path), content=FakeStore(), content_limits=limits) as jobs:
        me = Client(Transfers(jobs).face, "acme")
        with pytest.raises(InvalidInput, match="would have 10,001 parts, and 10,000 is the most"):
            me.init(MAX_PARTS + 1)
        assert len(me.init(3).urls) == 3


def test_more_bytes_than_an_organisation_may_have(tmp_path):
    limits = ContentLimits(uploads=10)
    with GNJ("memory:", files=str(tmp_path), content=FakeStore(), content_limits=limits) as jobs:
        face = Transfers(jobs).face
        assert Client(face, "acme").init(6)
        with pytest.raises(InvalidInput, match="limited to 10 bytes, and 6 are there"):
            Client(face, "acme").init(5)
        assert count(tmp_path) == 1
        assert Client(face, "other").init(10)


def test_the_url_is_the_one_the_request_was_sent_to(served):
    mounted = Client(served.face, "acme", "https://cms.example:8443", "/api/żółw")
    assert (
        mounted.init(1).urls[0].url.startswith("https://cms.example:8443/api/%C5%BC%C3%B3%C5%82w/v2/acme/jobs/uploads/")
    )
    for host in ("", "a b", "a/b", "x\r\ny", "ż"):
        with pytest.raises(InvalidInput, match="no Host"):
            Client(served.face, "acme", f"http://{host}").init(1)


def test_the_url_is_below_the_public_one_where_one_is_set(tmp_path):
    with GNJ("memory:", files=str(tmp_path), content=FakeStore()) as jobs:
        face = Transfers(jobs, public_url="https://files.example/x/").face
        begun = Client(face, "acme", "http://").init(1)
        assert begun.urls[0].url.startswith("https://files.example/x/v2/acme/jobs/uploads/")


def test_an_upload_that_cannot_be_noted_leaves_no_file(me, root, monkeypatch):
    before = count(root)

    def full(*_args, **_options):
        raise InvalidInput("too many")

    monkeypatch.setattr(type(me.face.queue), "create_upload", full)
    with pytest.raises(InvalidInput, match="too many"):
        me.init(1)
    assert count(root) == before


def test_below_a_prefix_and_with_a_slash_at_the_end(served):
    me = Client(served.face, f"acme-{next(_NUMBERS)}", mounted="/api")
    for app in (hosts.starlette_app(served, "/api"), hosts.mounted_app(served, "/api")):
        client = TestClient(app, base_url=BASE)
        begun = me.upload(client, b"xyz")
        assert client.get(me.download_url(begun.key)).content == b"xyz"
        again = me.init(1)
        assert client.put(again.urls[0].url.replace("?", "/?"), content=b"x").status_code == 200
        assert client.get("/api/v2/acme/jobs/uploads/x/1").status_code == 405


def bridged(served):
    import a2wsgi

    return a2wsgi.WSGIMiddleware(hosts.flask_app(served, "/"))


SERVERS = {
    "uvicorn": lambda served: hosts.by_uvicorn(hosts.starlette_app(served, "/")),
    "werkzeug": lambda served: hosts.by_werkzeug(hosts.flask_app(served, "/")),
    "wsgiref": lambda served: hosts.by_wsgiref(hosts.dispatched_app(served, "/")),
    "a2wsgi": lambda served: hosts.by_uvicorn(bridged(served)),
}


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request, served):
    with ExitStack() as stack:
        if request.param == "a2wsgi":
            pytest.importorskip("a2wsgi", reason="capability: a2wsgi is not installed")
        yield stack.enter_context(SERVERS[request.param](served))


def test_over_servers(served, server, root):
    """Parts at once, then what is refused while a client sends: the client is told, and nothing is left."""
    me = Client(served.face, f"acme-{next(_NUMBERS)}", server)
    data = pattern(5 * PART)
    begun = me.init(len(data), "%2e%2e 100% ż.json")
    etags = {}

    def send(part):
        at = (part.number - 1) * PART
        answer = httpx.put(part.url, content=data[at : at + part.size])
        etags[part.number] = answer.headers["etag"]

    threads = [threading.Thread(target=send, args=(part,)) for part in begun.urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(hosts.WAIT)
    me.complete(begun, list(etags.items()))
    assert httpx.get(me.download_url(begun.key)).content == data
    before = count(root)
    again = me.init(PART)
    for body, status in ((b"x" * (PART + 1), 413), (b"x" * 4_000_000, 413), (b"x", 400)):
        assert httpx.put(again.urls[0].url, content=body).status_code == status
    assert httpx.put(begun.urls[0].url, content=data[:PART]).status_code == 409
    assert httpx.put(again.urls[0].url[:-1] + "z", content=b"x" * 4_000_000).status_code == 403
    assert count(root) == before + 1


@pytest.mark.parametrize("server", ["uvicorn", "werkzeug"], indirect=True)
def test_a_client_that_goes_away_half_way_leaves_nothing(served, server, root):
    me = Client(served.face, f"acme-{next(_NUMBERS)}", server)
    begun = me.init(PART)
    before = count(root)
    url = urllib.parse.urlsplit(begun.urls[0].url)
    with socket.create_connection((url.hostname, url.port), hosts.WAIT) as connection:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nhost: x\r\ncontent-length: {PART}\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 1000)
        deadline = time.monotonic() + hosts.WAIT
        while count(root) == before:  # until the part is on its way
            assert time.monotonic() < deadline
            time.sleep(0.005)
    while count(root) > before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert httpx.put(begun.urls[0].url, content=b"x" * PART).status_code == 200
