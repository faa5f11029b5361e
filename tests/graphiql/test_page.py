"""Who gets the page, and who goes on getting GraphQL."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
from importlib.resources import files

import httpx
import pytest
from starlette.applications import Starlette

import gnj
import gnj_starlette
from gnj.access import Principal
from gnj.api.graphiql import EXAMPLES, POLICY, Assets, prefers_html
from gnj.queue.errors import InvalidInput
from gnj.settings import Settings
from gnj.testing.clients import Call, wsgi_client

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
SCRIPT = Assets().of("js")


def client(jobs, peer="127.0.0.1", **options):
    transport = httpx.ASGITransport(jobs if callable(jobs) else jobs.asgi_app(), client=(peer, 1))
    return Synchronous(transport, options.pop("base_url", "http://localhost"), options)


class Synchronous:
    """An ASGI application, asked and answered within one call."""

    def __init__(self, transport, base_url, options):
        self._transport, self._base_url, self._options = transport, base_url, options

    def request(self, method, path, **options):
        import anyio

        async def ask():
            async with httpx.AsyncClient(transport=self._transport, base_url=self._base_url, **self._options) as inner:
                return await inner.request(method, path, **options)

        return anyio.run(ask)

    def get(self, path, accept=BROWSER, **headers):
        return self.request("GET", path, headers={"accept": accept, **headers})


def is_page(response):
    return response.status_code == 200 and response.headers["content-type"] == "text/html; charset=utf-8"


@pytest.fixture
def jobs():
    with gnj.GNJ("memory://") as made:
        yield made


def test_the_page_says_what_it_may(jobs):
    response = client(jobs).get("/graphql")
    assert is_page(response)
    assert response.headers["content-security-policy"] == POLICY
    directives = dict(each.split(" ", 1) for each in POLICY.split("; "))
    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    headers = response.headers
    assert headers["referrer-policy"] == "no-referrer"
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    # nothing inline: the policy would refuse it
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", response.text) == []
    (tabs,) = re.findall(r'data-examples="([^"]*)"', response.text)
    assert json.loads(html.unescape(tabs)) == [each.tab for each in EXAMPLES]


def test_its_files_are_there_under_both_spellings_and_any_prefix(jobs):
    host = Starlette()
    gnj_starlette.mount(host, jobs, "/a/b")
    for app, prefix in ((jobs.asgi_app(), ""), (host, "/a/b")):
        for path in (f"{prefix}/graphql", f"{prefix}/graphql/"):
            page = client(app).get(path)
            urls = re.findall(r'(?:src|href)="([^"]*assets/[^"]*)" integrity="([^"]*)"', page.text)
            assert len(urls) == 2
            for url, integrity in urls:
                found = client(app).get(str(httpx.URL("http://localhost" + path).join(url)), "*/*")
                assert found.status_code == 200
                asset = Assets().get(url.rpartition("/")[2])
                assert asset is not None
                assert integrity == asset.integrity
                assert found.headers["content-type"] in ("text/javascript; charset=utf-8", "text/css; charset=utf-8")


def test_a_file_is_kept_for_ever_and_never_sent_twice(jobs):
    path = f"/graphql/assets/{SCRIPT.name}"
    response = client(jobs).get(path, "*/*")
    assert hashlib.sha256(response.content).hexdigest() == SCRIPT.sha256
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"
    again = client(jobs).get(path, "*/*", **{"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", response.headers["etag"])
    assert "content-length" not in again.headers  # which would be the file's (RFC 9110, 8.6)
    wsgi = wsgi_client(jobs.wsgi_app())(Call("GET", path, headers=(("if-none-match", response.headers["etag"]),)))
    assert (wsgi.status, wsgi.body, wsgi.header("content-length")) == (304, b"", None)
    assert client(jobs).get(path, "*/*", **{"if-none-match": '"other"'}).status_code == 200
    head = client(jobs).request("HEAD", path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", response.headers["etag"])


@pytest.mark.parametrize(
    "name",
    [
        "assets.json",
        "page.py",
        "..",
        "../page.py",
        "..%2fpage.py",
        "%2e%2e%2fassets.json",
        "..\\page.py",
        "%00",
        SCRIPT.name.upper(),
        SCRIPT.name + "%00",
        "./" + SCRIPT.name + "/x",
        "/etc/passwd",
        "%2fetc%2fpasswd",
    ],
)
def test_only_the_files_of_the_manifest_are_served(jobs, name):
    response = client(jobs).get(f"/graphql/assets/{name}", "*/*")
    assert response.status_code in (404, 400)
    for path in ("page.py", "assets.json"):
        assert files("gnj.api.graphiql").joinpath(path).read_bytes() not in response.content


@pytest.mark.parametrize(
    "accept, page",
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/html, */*", True),
        ("TEXT/HTML;charset=utf-8", True),
        ("application/json;q=0.5, text/html", True),
        ("text/html, application/json", False),
        ("text/html;q=0.9, application/json", False),
        ("text/html;q=0.9, application/graphql-response+json", False),
        ("text/html;q=0.5, */*", False),
        ("text/html;q=0, */*", False),
        ("text/event-stream, text/html;q=0.9", False),
        ("text/*", False),
        ("*/*", False),
        ("application/json", False),
        ("application/graphql-response+json", False),
        ("text/event-stream", False),
        ("", False),
        (None, False),
        ("text/html;q=nan", False),
    ],
)
def test_who_prefers_html(accept, page):
    assert prefers_html(accept) is page


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/graphql-response+json", "text/*"])
def test_others_are_answered_as_ever(jobs, accept):
    off = gnj.GNJ("memory://", graphiql=False)
    for method, path in (("GET", "/graphql"), ("GET", "/graphql?query={jobCount}"), ("HEAD", "/graphql")):
        mine, theirs = (client(each).request(method, path, headers={"accept": accept}) for each in (jobs, off))
        assert (mine.status_code, mine.headers, mine.content) == (theirs.status_code, theirs.headers, theirs.content)


def test_an_operation_is_one_whoever_sends_it(jobs):
    response = client(jobs).get("/graphql?query={jobCount}")
    assert response.json() == {"data": {"jobCount": 0}}
    response = client(jobs).request("POST", "/graphql", json={"query": "{jobCount}"}, headers={"accept": BROWSER})
    assert response.json() == {"data": {"jobCount": 0}}


def test_head_has_no_body(jobs):
    response = client(jobs).request("HEAD", "/graphql", headers={"accept": BROWSER})
    assert is_page(response)
    assert (response.content, response.headers["content-security-policy"]) == (b"", POLICY)
    assert int(response.headers["content-length"]) == len(client(jobs).get("/graphql").content)


def test_only_local_callers_get_it_where_only_they_are_answered():
    for setting in (None, True):
        with gnj.GNJ("memory://", graphiql=setting) as jobs:
            assert is_page(client(jobs).get("/graphql"))
            for stranger in (
                client(jobs, "192.0.2.7"),
                client(jobs, base_url="http://evil.example"),
                client(jobs, headers={"x-forwarded-for": "192.0.2.7"}),
            ):
                for path in ("/graphql", f"/graphql/assets/{SCRIPT.name}"):
                    response = stranger.get(path)
                    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
                    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_a_token_turns_it_off_unless_it_is_asked_for():
    with gnj.GNJ("memory://", token="secret") as jobs:
        stranger = client(jobs, "192.0.2.7")
        assert stranger.get("/graphql").status_code == 401
        known = {"authorization": "Bearer secret"}
        assert stranger.get("/graphql", **known).json()["errors"][0]["message"] == "The parameter query is missing."
        assert stranger.get(f"/graphql/assets/{SCRIPT.name}", **known).status_code == 404
    with gnj.GNJ("memory://", token="secret", graphiql=True) as jobs:
        stranger = client(jobs, "192.0.2.7")
        page = stranger.get("/graphql")
        assert is_page(page)
        assert 'data-introspection="off"' in page.text
        assert stranger.get(f"/graphql/assets/{SCRIPT.name}").status_code == 200
        assert stranger.request("POST", "/graphql", json={"query": "{jobCount}"}).status_code == 401


def test_stored_tokens_are_answered_beyond_this_machine_too():
    with gnj.GNJ("memory://", graphiql=True) as jobs:
        stranger = client(jobs, "192.0.2.7")
        assert stranger.get("/graphql").status_code == 401
        jobs.create_token("ci", scopes=["read"])
        assert is_page(stranger.get("/graphql"))
        assert stranger.request("POST", "/graphql", json={"query": "{jobCount}"}).status_code == 401


def test_the_hosts_hook_decides():
    def authenticate(context):
        return Principal("ada") if context.cookies.get("session") == "ada" else None

    with gnj.GNJ("memory://", authenticate=authenticate) as jobs:
        stranger = client(jobs, "192.0.2.7")
        for path in ("/graphql", f"/graphql/assets/{SCRIPT.name}"):
            assert stranger.get(path).status_code == 401
            assert stranger.get(path, cookie="session=ada").status_code == 200


def test_it_can_be_turned_off(jobs):
    with gnj.GNJ("memory://", graphiql=False) as off:
        assert client(off).get("/graphql").json()["errors"][0]["message"] == "The parameter query is missing."
        assert client(off).get(f"/graphql/assets/{SCRIPT.name}").status_code == 404
        assert [route.path for route in off.routes(["graphql"])] == ["/graphql"]
    assert [route.path for route in jobs.routes(["graphql"])] == ["/graphql", "/graphql/assets/{name}"]


@pytest.mark.parametrize("text, value", [("false", False), ("0", False), ("OFF", False), ("true", True), ("", None)])
def test_the_environment_can_say_so(text, value):
    assert Settings.of({}, {"GNJ_GRAPHIQL": text}).graphiql is value
    assert Settings.of({"graphiql": True}, {"GNJ_GRAPHIQL": "no"}).graphiql is True


def test_what_is_no_truth_value_is_refused():
    with pytest.raises(InvalidInput, match="GNJ_GRAPHIQL must be true or false, not"):
        Settings.of({}, {"GNJ_GRAPHIQL": "perhaps"})


def test_the_environment_says_numbers_as_numbers():
    assert Settings.of({}, {"GNJ_RETENTION": "60"}).retention == 60.0


@pytest.mark.parametrize("path, folder", [("/graphql", "graphql/assets/"), ("/graphql/", "assets/")])
def test_it_is_served_under_wsgi(jobs, path, folder):
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/below",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "HTTP_ACCEPT": BROWSER,
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    answers = []
    body = jobs.wsgi_app()(environ, lambda status, headers, *_: answers.append((status, dict(headers))))
    text = b"".join(body).decode()
    ((status, headers),) = answers
    assert status.startswith("200")
    assert {key.lower(): value for key, value in headers.items()}["content-security-policy"] == POLICY
    assert f'src="{folder}{SCRIPT.name}"' in text
