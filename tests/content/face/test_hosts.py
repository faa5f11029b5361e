"""The content face inside applications of others, below a path of theirs."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import gnj_starlette

flask = pytest.importorskip("flask", reason="capability: flask is not installed")

import gnj_flask  # noqa: E402 - not without flask

ASKED = {"query": "{ environments { alias } }"}
UPLOAD = {
    "query": """mutation { initFileUpload(initFileUploadInput: {name: "a", size: 3}) {
      uploadId key preSignedUrls { partNumber url } } }"""
}


@pytest.fixture(params=["starlette", "flask"])
def host(request, jobs):
    """A client of an application in which gnj is at `/cms`."""
    key = jobs.create_token("k", scopes=["admin"], tenant="acme")
    given = {"authorization": f"Bearer {key}"}
    if request.param == "starlette":
        app = Starlette()
        gnj_starlette.mount(app, jobs, "/cms", ["content"])
        with TestClient(app, headers=given) as client:
            yield client
    else:
        made: Any = flask.Flask(__name__)
        gnj_flask.mount(made, jobs, "/cms", ["content"])
        client = made.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = given["authorization"]
        yield client


def content(response: Any) -> Any:
    return response.json() if callable(response.json) else response.json


def test_organisations_are_told_apart_there(host):
    answer = host.post("/cms/v2/acme/jobs/graphql", json=ASKED)
    assert (answer.status_code, content(answer)) == (200, {"data": {"environments": [{"alias": "main"}]}})
    for org in ("other", "-", "%2e"):
        assert host.post(f"/cms/v2/{org}/jobs/graphql", json=ASKED).status_code == 404
    assert host.post("/v2/acme/jobs/graphql", json=ASKED).status_code == 404


def test_urls_of_parts_lead_back_to_where_it_is(host):
    begun = content(host.post("/cms/v2/acme/jobs/graphql", json=UPLOAD))["data"]["initFileUpload"]
    (part,) = begun["preSignedUrls"]
    _, _, path = part["url"].partition("://")[2].partition("/")
    assert path.startswith("cms/v2/acme/jobs/uploads/")
    sent = host.put(f"/{path}", **{"content" if isinstance(host, TestClient) else "data": b"abc"})
    assert sent.status_code == 200
    assert sent.headers["etag"]
