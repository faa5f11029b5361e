"""The OpenAPI document, the page made of it, and whether what is served keeps to what they say."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import flask
import jsonschema  # type: ignore[import-untyped]
import pytest
from openapi_spec_validator import validate
from werkzeug.serving import WSGIRequestHandler, make_server

import gnj_flask
from gnj import GNJ, __version__, background
from gnj.access import Kind, Principal
from gnj.api import metrics, queues
from gnj.api.queues import openapi, reference
from gnj.api.queues.declare import Answer, Operation, Param
from gnj.graphql.limits import Limits
from gnj.queue.model import NewJob
from gnj.testing.clients import Call, asgi_client, wsgi_client
from tests.serving import ROOT, served

TOKEN = "a-long-random-text"
BEARER = ("authorization", f"Bearer {TOKEN}")
EVERY = [*queues.OPERATIONS, *metrics.OPERATIONS]
NAMES = [each.name for each in EVERY]


@pytest.fixture(scope="module")
def document():
    return openapi.document(EVERY, __version__)


def described(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield f"{method.upper()} {path}", operation


def checked(document, schema, value):
    """Raises where a value is not what the schema says."""
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_it_is_one(document):
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "gnj"


def test_every_operation_is_in_it(document):
    assert {name for name, _ in described(document)} == {each.action for each in EVERY}
    assert [operation["operationId"] for _, operation in described(document)] != []
    assert {operation["operationId"] for _, operation in described(document)} == set(NAMES)


@pytest.mark.parametrize("operation", EVERY, ids=NAMES)
def test_what_is_told_of_an_operation(document, operation):
    """A summary, an example of each body and each answer, which is what its schema says, the errors, and who may."""
    told = document["paths"][operation.path][operation.method.lower()]
    assert re.fullmatch(r"[A-Z].+[^.]", told["summary"])
    assert told["tags"][0] in {tag["name"] for tag in document["tags"]}
    assert any(status.startswith("2") for status in told["responses"])
    assert any(status.startswith("4") for status in told["responses"])
    assert all(re.fullmatch(r"[A-Z].+\.", parameter["description"]) for parameter in told.get("parameters", ()))
    if operation.body is not None:
        media = told["requestBody"]["content"]["application/json"]
        assert media["examples"]
        for example in media["examples"].values():
            checked(document, media["schema"], example["value"])
    for status, answer in told["responses"].items():
        if "$ref" in answer:
            continue
        for media in answer.get("content", {}).values():
            assert "example" in media, status
            checked(document, media["schema"], media["example"])
    if operation.kind is not None:
        assert told["security"] == [{"token": [str(operation.kind)]}]
        assert {"401", "403", "503"} <= set(told["responses"])
    elif operation.claim:
        assert told["security"] == [{"claim": []}]
        assert "401" in told["responses"]
    else:
        assert told["security"] == []


def test_what_errors_look_like(document):
    for status, answer in document["components"]["responses"].items():
        media = answer["content"]["application/json"]
        assert media["schema"] == {"$ref": "#/components/schemas/Error"}
        checked(document, media["schema"], media["example"])
        assert ("retry-after" in answer.get("headers", {})) == (status == "503")


def test_schemas_say_what_they_are(document):
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        for example in schema.get("examples", ()):
            checked(document, {"$ref": f"#/components/schemas/{name}"}, example)


def operation(**more):
    given = {"method": "GET", "path": "/x", "name": "x", "kind": Kind.READ, "summary": "Is x.", "answer": None}
    return Operation(**{**given, **more})


def test_a_schema_with_a_title_is_told_once():
    point = {"title": "Point", "type": "object", "properties": {"x": {"type": "integer"}}}
    answers = {200: Answer(summary="It.", schema={"type": "array", "items": point}, example=[])}
    made = openapi.document([operation(answers=answers), operation(path="/y", name="y", answers=answers)], "1")
    (media,) = made["paths"]["/x"]["get"]["responses"]["200"]["content"].values()
    assert media["schema"]["items"] == {"$ref": "#/components/schemas/Point"}
    assert made["components"]["schemas"]["Point"] == point
    other = {200: Answer(summary="It.", schema={**point, "type": "array"}, example=[])}
    with pytest.raises(ValueError, match="'Point'"):
        openapi.document([operation(answers=answers), operation(path="/y", name="y", answers=other)], "1")


def test_what_there_is_no_more_of():
    """No body, and a header; a parameter that is a list."""
    param = Param(name="some", summary="Some.", schema={"type": "array", "items": {"type": "string"}})
    answers = {204: Answer(summary="Gone.", content_type="", headers={"x-left": "How many are left."})}
    made = openapi.document([operation(params=(param,), answers=answers)], "1")["paths"]["/x"]["get"]
    assert made["responses"]["204"] == {
        "description": "Gone.",
        "headers": {"x-left": {"description": "How many are left.", "schema": {"type": "string"}}},
    }
    assert (made["parameters"][0]["style"], made["parameters"][0]["explode"]) == ("form", False)


def clients(**options):
    jobs = GNJ("memory://", token=TOKEN, **options)
    yield asgi_client(jobs.asgi_app())
    yield wsgi_client(jobs.wsgi_app())


@pytest.mark.parametrize("path", ["/openapi.json", "/reference"])
def test_who_gets_them(path):
    for client in clients():
        answer = client(Call("GET", path))
        assert (answer.status, json.loads(answer.body)) == (401, {"error": "Unauthorized"})
        assert client(Call("GET", path, headers=(BEARER,))).status == 200
        assert client(Call("HEAD", path, headers=(BEARER,))).status == 200
    local = asgi_client(GNJ("memory://").asgi_app())
    assert local(Call("GET", path)).status == 200
    assert local(Call("GET", path, headers=(("host", "evil.example"),))).status == 401


def test_it_tells_the_limits_of_who_serves_it():
    """A page begins where `max_offset` lets it, and two servers of one process may differ."""
    for most in (100_000, 777):
        for client in clients(limits=Limits(max_offset=most)):
            document = json.loads(client(Call("GET", "/openapi.json", headers=(BEARER,))).body)
            for path in ("/queues", "/queues/{queue}/jobs", "/queues/{queue}/jobs/{id}/logs"):
                start = next(each for each in document["paths"][path]["get"]["parameters"] if each["name"] == "start")
                assert start["schema"]["maximum"] == most
            assert client(Call("GET", f"/queues?start={most}", headers=(BEARER,))).status == 200
            assert client(Call("GET", f"/queues?start={most + 1}", headers=(BEARER,))).status == 400
            assert str(most).encode() in client(Call("GET", "/reference", headers=(BEARER,))).body


def test_where_it_is_served():
    """The paths are below the one where the routes were mounted, whatever was put before it."""
    for client in clients():
        answer = client(Call("GET", "/openapi.json", headers=(BEARER,)))
        assert answer.header("content-type") == "application/json; charset=utf-8"
        assert json.loads(answer.body) == json.loads(json.dumps(openapi.document(EVERY, __version__)))
    jobs = GNJ("memory://", token=TOKEN)
    app = flask.Flask("host")
    gnj_flask.mount(app, jobs, "/jobs")
    answer = wsgi_client(app)(Call("GET", "/jobs/openapi.json", headers=(BEARER,)))
    assert json.loads(answer.body)["servers"] == [{"url": "/jobs"}]
    behind = asgi_client(GNJ("memory://", token=TOKEN).asgi_app(), root_path="/proxied")
    answer = behind(Call("GET", "/openapi.json", headers=(BEARER,)))
    assert json.loads(answer.body)["servers"] == [{"url": "/proxied"}]
    page = wsgi_client(app)(Call("GET", "/jobs/reference/", headers=(BEARER,)))
    assert b'href="/jobs/openapi.json"' in page.body


class Page(html.parser.HTMLParser):
    """What is in a page: its links, ids and texts; every element is closed."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids, self.tags, self.text = [], [], set(), set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        self.links += [given[key] for key in ("href", "src", "action") if key in given]
        if "id" in given:
            assert given["id"] not in self.ids
            self.ids.add(given["id"])
        assert not any(key.startswith("on") or key == "style" for key in given)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page(document):
    text = reference.page(document)
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert all(link in ("data:,", "/openapi.json") or link[1:] in page.ids for link in page.links)
    assert set(NAMES) | {f"schema-{name}" for name in document["components"]["schemas"]} == page.ids
    shown = " ".join(page.text)
    for each in EVERY:
        assert each.path in shown
        assert each.summary.removesuffix(".").split("`")[0].strip() in shown


def test_the_page_runs_and_loads_nothing():
    for client in clients():
        answer = client(Call("GET", "/reference", headers=(BEARER,)))
        assert answer.header("content-type") == "text/html; charset=utf-8"
        policy = answer.header("content-security-policy")
        (style,) = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none'")
        assert answer.header("x-content-type-options") == "nosniff"


def test_what_is_told_is_text():
    name = "<script>alert(1)</script>"
    told = operation(
        summary=f"{name} `<b>`.", description=f"- {name}\n- two\n\n{name}", answers={200: Answer(summary=name)}
    )
    page = Page(reference.page(openapi.document([told], "1")))
    assert not page.tags & {"script", "b"}
    assert page.text.count(name) == 3


# What is served, tried with what the document says and with what it does not ---------------------------------------------


def principal(context):
    """Whoever has the token; streams end at once, so that there is an end to wait for."""
    if context.headers.get("authorization") != f"Bearer {TOKEN}":
        return None
    path: str = getattr(getattr(context.raw, "url", None), "path", None) or context.raw.path
    soon = datetime.now(UTC) + timedelta(seconds=0.1)
    return Principal("tester", expires_at=soon if path.rstrip("/").endswith("/events") else None)


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


@contextmanager
def werkzeug(jobs):
    app = flask.Flask("host")
    gnj_flask.mount(app, jobs, "/jobs")
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    thread = threading.Thread(target=server.serve_forever, name="werkzeug")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/jobs"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def uvicorn(jobs):
    with served(jobs.asgi_app()) as url:
        yield url


HOOKS = """\
import schemathesis
from gnj.fetch.policy import Blocked, Policy

def fits(value):
    if isinstance(value, dict):
        return all(map(fits, value.values()))
    if isinstance(value, list):
        return all(map(fits, value))
    return not isinstance(value, int) or -(2**63) <= value < 2**63

@schemathesis.hook
def filter_case(context, case):
    "Not what no schema can tell from what is right: integers of more than 64 bits, and which hosts are public."
    body = case.body
    endpoint = body.get("endpoint") if isinstance(body, dict) else None
    if isinstance(endpoint, dict) and isinstance(endpoint.get("url"), str):
        try:
            Policy(()).check_url(endpoint["url"])
        except Blocked:
            return False
    return fits(body)
"""
HELD = """\
[[operations]]
include-name = "POST /queues/{{queue}}/jobs/{{id}}/{what}"
headers = {{ Authorization = "Bearer {token}" }}
parameters = {{ "path.queue" = "held", "path.id" = "1" }}
"""


@pytest.mark.parametrize(
    "serve, backend, examples",
    [
        pytest.param(uvicorn, "memory", 1, marks=pytest.mark.backend("memory"), id="starlette"),
        pytest.param(
            werkzeug, "postgresql", 3, marks=[pytest.mark.backend("postgresql"), pytest.mark.slow], id="flask"
        ),
    ],
)
@pytest.mark.timeout(180)
def test_what_is_served_is_what_is_described(serve, backend, examples, request, tmp_path, monkeypatch):
    """Valid requests, invalid ones, and every bound of every schema: no answer that is not described, and no 5xx."""
    monkeypatch.setattr(background, "tickers", lambda *_: [])  # nobody is to be called, whatever was registered
    url = "memory://" if backend == "memory" else request.getfixturevalue(f"{backend}_database")()
    with GNJ(url, authenticate=principal) as jobs:
        jobs.migrate()
        jobs.queue.enqueue(NewJob("held"))
        (claim,) = jobs.queue.acquire(["held"], 1)
        token = jobs.queue.claim_token(claim)
        (tmp_path / "schemathesis.toml").write_text(
            "\n".join(HELD.format(what=what, token=token) for what in ("progress", "logs"))
        )
        (tmp_path / "hooks.py").write_text(HOOKS)
        with serve(jobs) as address:
            run = subprocess.run(
                [
                    *(sys.executable, "-m", "schemathesis.cli", "--config-file=schemathesis.toml", "run"),
                    *(f"{address}/openapi.json", f"--header=Authorization: Bearer {TOKEN}", "--no-color"),
                    *("--phases=examples,coverage,fuzzing", f"--max-examples={examples}"),
                    *("--generation-deterministic", "--continue-on-failure", "--warnings=off"),
                ],
                cwd=tmp_path,
                env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=170,
                check=False,
            )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    generated = re.search(r"(\d+) generated", run.stdout)
    assert generated, run.stdout[-3_000:]
    assert int(generated[1]) > 500
