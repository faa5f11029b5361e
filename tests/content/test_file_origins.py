"""Pages of other origins: what a browser may do with signed URLs, and that it may do nothing where nobody said so."""

from __future__ import annotations

import httpx
import pytest

from gnj import GNJ
from gnj.api.origins import Origins
from gnj.queue.errors import InvalidInput
from gnj.settings_content import ContentLimits
from tests.adapters import hosts
from tests.content.fakes import FakeStore
from tests.content.transferring import PART, Client, Transfers

TestClient = pytest.importorskip("starlette.testclient").TestClient
BASE = "http://localhost"
APP = "https://app.example"
PAGES = (APP, "https://App.Example:8443", "http://[::1]:5173")


def serve(folder, kind, origins):
    jobs = GNJ("memory:", files=str(folder), content=FakeStore(), content_limits=ContentLimits(part=PART))
    served = Transfers(jobs, origins=origins)
    if kind == "asgi":
        client = TestClient(hosts.starlette_app(served, "/"), base_url=BASE)
    else:
        client = httpx.Client(transport=httpx.WSGITransport(hosts.flask_app(served, "/")), base_url=BASE)
    return Client(served.face, "acme"), client


@pytest.fixture(params=["asgi", "wsgi"])
def shared(request, tmp_path):
    return serve(tmp_path, request.param, PAGES)


def told(answer):
    """What of CORS an answer says."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def asking(origin, method="PUT", headers=None):
    more = {} if headers is None else {"access-control-request-headers": headers}
    return {"origin": origin, "access-control-request-method": method, **more}


@pytest.mark.parametrize("origin", [APP, "https://app.example:8443", "http://[::1]:5173"])
def test_a_page_of_an_origin_that_may_sends_parts_reads_their_etags_and_fetches(shared, origin):
    me, http = shared
    begun = me.init(1)
    url = begun.urls[0].url
    before = http.options(url, headers=asking(origin, headers="content-type"))
    assert (before.status_code, before.content) == (200, b"")
    assert told(before) == {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "content-type",
    }
    sent = http.put(url, content=b"x", headers={"origin": origin})
    assert sent.status_code == 200
    assert told(sent) == {"access-control-allow-origin": origin, "access-control-expose-headers": "ETag"}
    me.complete(begun, [(1, sent.headers["etag"])])
    fetched = http.get(me.download_url(begun.key), headers={"origin": origin})
    assert (fetched.content, told(fetched)) == (b"x", {"access-control-allow-origin": origin})
    assert {answer.headers["vary"] for answer in (before, sent, fetched)} == {"Origin"}


def test_what_is_refused_can_be_read_by_the_page(shared):
    me, http = shared
    done = me.upload(http, b"x")
    put, get = done.urls[0].url, me.download_url(done.key)
    page = {"origin": APP}
    for answer, status in (
        (http.put(put, content=b"x", headers=page), 409),
        (http.put(put[:-1] + "z", content=b"x", headers=page), 403),
        (http.get(get[:-1] + "z", headers=page), 403),
    ):
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, APP)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil.example",
        "https://evilapp.example",
        "https://app.example/",
        "https://app.example@evil.example",
        "HTTPS://APP.EXAMPLE",
        "https://app.example, https://evil.example",
        "null",
        "*",
        "",
        BASE,
        None,
    ],
)
def test_nothing_is_said_to_pages_of_other_origins(shared, origin):
    me, http = shared
    begun = me.init(1)
    url, page = begun.urls[0].url, {} if origin is None else {"origin": origin}
    before = http.options(url, headers=page | {"access-control-request-method": "PUT"})
    assert (before.status_code, told(before)) == (403, {})
    sent = http.put(url, content=b"x", headers=page)
    assert (sent.status_code, told(sent)) == (200, {})  # the URL is the permission of who is no page
    me.complete(begun, [(1, sent.headers["etag"])])
    fetched = http.get(me.download_url(begun.key), headers=page)
    assert (fetched.status_code, told(fetched)) == (200, {})
    assert {answer.headers["vary"] for answer in (before, sent, fetched)} == {"Origin"}


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_without_origins_nothing_is_said_of_them(tmp_path, kind):
    me, http = serve(tmp_path, kind, ())
    url = me.init(1).urls[0].url
    before = http.options(url, headers=asking(APP))
    assert (before.status_code, before.headers["allow"]) == (405, "PUT")
    sent = http.put(url, content=b"x", headers={"origin": APP})
    assert sent.status_code == 200
    assert told(before) == told(sent) == {}
    assert "vary" not in sent.headers


def test_the_setting_is_the_one_of_the_other_faces(tmp_path):
    with GNJ("memory:", files=str(tmp_path), content=FakeStore(), origins=[APP]) as jobs:
        http = TestClient(jobs.asgi_app(["content"]), base_url=BASE)
        url = f"/v2/acme/jobs/uploads/{'0' * 32}/1"
        assert told(http.options(url, headers=asking(APP)))["access-control-allow-origin"] == APP
        # the page asks for URLs by its own server, or by a host that lets it
        assert told(http.options("/v2/acme/jobs/graphql", headers=asking(APP, "POST"))) == {}


@pytest.mark.parametrize("origin", ["https://*.example", "*", "https://*", "https://app.example:*"])
def test_patterns_of_origins_are_refused(origin):
    with pytest.raises(InvalidInput, match=r"^origins: "):
        Origins([origin])
    if "://" in origin:
        with pytest.raises(InvalidInput, match="patterns are not taken"):
            Origins([origin])
