"""GraphQL over HTTP, without a web framework."""

from __future__ import annotations

import json
import logging
from urllib.parse import urlencode

import pytest

from gnj.api import http
from gnj.api.graphql_http import METHODS, graphql_endpoint, negotiate
from gnj.api.hooks import Guard, Principal
from gnj.queue.errors import Forbidden, NotFound, StorageUnavailable
from tests.graphql import toy

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
INVALID = {"query": "{nope}"}
BAD_VARIABLES = {"query": "query($i: Int!) {one(id: $i) {id}}", "variables": {"i": "x"}}


@pytest.fixture(scope="module")
def engine():
    return toy.engine()


@pytest.fixture(scope="module")
def endpoint(engine):
    return graphql_endpoint(engine, Guard(authenticate=lambda _: Principal("me")), lambda *_: {"n": 1})


def post(endpoint, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    return endpoint(http.Request(method="POST", path="/graphql", headers=headers, body=data))


def get(endpoint, accept="*/*", **query):
    return endpoint(
        http.Request(method="GET", path="/graphql", query_string=urlencode(query), headers={"accept": accept})
    )


def body(response):
    assert response.header("content-type").endswith("; charset=utf-8")
    assert response.header("cache-control") == "no-store"
    assert response.header("x-content-type-options") == "nosniff"
    return json.loads(response.body)


def message(response):
    return body(response)["errors"][0]["message"]


def test_a_query(endpoint):
    response = post(endpoint, {"query": "{n}", "variables": None, "operationName": None, "extensions": None})
    assert (response.status, response.body) == (200, b'{"data":{"n":1}}')
    assert response.header("content-type") == "application/json; charset=utf-8"


def test_text_goes_out_as_utf_8(endpoint):
    assert "żółw".encode() in post(endpoint, {"query": '{json(value: "żółw")}'}).body


@pytest.mark.parametrize(
    "accept, content_type, invalid, variables",
    [
        (RESPONSE, RESPONSE, 400, 400),
        (JSON, JSON, 200, 200),
        ("*/*", JSON, 400, 200),
        (None, JSON, 400, 200),
        ("", JSON, 400, 200),
        ("application/*", JSON, 400, 200),
        (f"{RESPONSE}, {JSON};q=0.9", RESPONSE, 400, 400),
        (f"{JSON}, {RESPONSE}", RESPONSE, 400, 400),
        (f"{JSON}, {RESPONSE};q=0.5", JSON, 400, 200),
        (f"{JSON}, text/plain, */*", JSON, 400, 200),
        (f"{JSON};q=0, */*", RESPONSE, 400, 400),
        (f"{RESPONSE};q=0, */*", JSON, 200, 200),
        ("APPLICATION/JSON ; charset=utf-8", JSON, 200, 200),
        (f"{JSON};q=banana, {RESPONSE};q=nan", None, None, None),
        ("text/html", None, None, None),
        (f"{JSON};q=0", None, None, None),
        ("," * 5_000, None, None, None),
    ],
)
def test_accept_decides_content_type_and_status(endpoint, accept, content_type, invalid, variables):
    headers = {} if accept is None else {"accept": accept}
    if content_type is None:
        response = post(endpoint, {"query": "{n}"}, **headers)
        assert response.status == 406
        assert message(response)
        assert negotiate(accept) is None
        return
    for request, status in (
        (INVALID, invalid),
        ({"query": "{"}, invalid),
        (BAD_VARIABLES, variables),
        ({"query": "{n}"}, 200),
    ):
        response = post(endpoint, request, **headers)
        assert (response.status, response.header("content-type")) == (status, f"{content_type}; charset=utf-8")
        assert ("data" in body(response)) == (request == {"query": "{n}"})


def test_errors_of_fields_are_200_everywhere(endpoint):
    for accept in (JSON, RESPONSE, "*/*"):
        response = post(endpoint, {"query": "{fails}"}, accept=accept)
        assert response.status == 200
        assert body(response)["data"] == {"fails": None}


@pytest.mark.parametrize("accept", [JSON, RESPONSE, "*/*"])
@pytest.mark.parametrize(
    "request_body, text",
    [
        (b"", "must be JSON"),
        (b"{", "must be JSON"),
        (b"\xff\xfe", "must be UTF-8"),
        (b'{"query": NaN}', "NaN"),
        (b'{"query": "{n}", "variables": {"a": 1e400}}', "infinite"),
        (b'{"query": "{n}", "variables": {"a": 99999999999999999999}}', "64 bits"),
        (b'{"query": "{n}", "variables": {"a": ' + b"1" * 10_000 + b"}}", "64 bits"),
        (b'{"query": "{n}", "variables": {"a": "\\ud800"}}', "surrogate"),
        (b'{"query": "{n}", "variables": {"a\\u0000": 1}}', "NUL"),
        (b"[" * 1_000 + b"]" * 1_000, "nested deeper than 64"),
        (b'{"query": "{n}", "variables": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}", "nested deeper than 64"),
        (b'[{"query": "{n}"}]', "Operation batching disabled."),
        (b"[]", "Operation batching disabled."),
        (b'"x"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"{}", "The parameter query is missing."),
        (b'{"query": null}', "The parameter query is missing."),
        (b'{"query": 1}', "The parameter query must be a string."),
        (b'{"query": {}}', "The parameter query must be a string."),
        (b'{"query": ["{n}"]}', "The parameter query must be a string."),
        (b'{"query": "{n}", "variables": []}', "The parameter variables must be an object or null."),
        (b'{"query": "{n}", "variables": false}', "The parameter variables must be an object or null."),
        (b'{"query": "{n}", "variables": "{}"}', "The parameter variables must be an object or null."),
        (b'{"query": "{n}", "operationName": 0}', "The parameter operationName must be a string or null."),
        (b'{"query": "{n}", "operationName": {}}', "The parameter operationName must be a string or null."),
        (b'{"query": "{n}", "extensions": 5}', "The parameter extensions must be an object or null."),
    ],
)
def test_what_is_no_request_is_400(endpoint, request_body, text, accept):
    response = post(endpoint, request_body, accept=accept)
    assert response.status == 400
    assert text in message(response)
    assert "data" not in body(response)
    assert len(message(response)) < 400


def test_text_that_no_storage_keeps_has_its_own_code(endpoint):
    response = post(endpoint, b'{"query": "{n}", "variables": {"a": "\\u0000"}}')
    assert body(response)["errors"][0]["extensions"]["code"] == "INVALID_TEXT"


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_type": ""},
        {"content_type": "application/json, text/plain"},
        {"content_type": "application/jsonx"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_encoding": "gzip"},
        {"content_encoding": "identity, gzip"},
    ],
)
def test_other_content_is_415(endpoint, headers):
    assert post(endpoint, {"query": "{n}"}, **headers).status == 415


@pytest.mark.parametrize(
    "content_type", [RESPONSE, "Application/JSON", 'application/json; charset="UTF-8"', "application/json;charset=utf8"]
)
def test_json_content_types(endpoint, content_type):
    assert post(endpoint, {"query": "{n}"}, content_type=content_type, content_encoding="identity").status == 200


def test_a_megabyte_of_operation_name(endpoint):
    response = post(endpoint, {"query": "query A {n}", "operationName": "B" * 1_000_000})
    assert response.status == 400
    assert len(response.body) < 1_000


def test_get_runs_queries(endpoint):
    assert body(get(endpoint, query="{n}")) == {"data": {"n": 1}}
    response = get(
        endpoint,
        query="query A($i: Int!) {one(id: $i) {id}} query B {n}",
        operationName="A",
        variables='{"i": 9}',
        extensions="{}",
    )
    assert body(response) == {"data": {"one": {"id": 9}}}


@pytest.mark.parametrize("accept", [JSON, RESPONSE, "*/*"])
def test_get_refuses_mutations(endpoint, accept):
    response = get(endpoint, accept, query='mutation {take(typeList: ["a"]) {id}}')
    assert (response.status, response.header("allow")) == (405, "POST")
    assert "data" not in body(response)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"query": "{n}", "variables": "[]"},
        {"query": "{n}", "variables": "{"},
        {"query": "{n}", "variables": "[" * 1_000},
        {"query": "{n}", "extensions": "1"},
    ],
)
def test_get_with_bad_parameters_is_400(endpoint, query):
    assert get(endpoint, **query).status == 400


def test_whoever_is_nobody_is_told_so_before_anything_is_read(engine):
    endpoint = graphql_endpoint(engine, Guard(token="t"), lambda *_: None)
    for response in (
        post(endpoint, b"rubbish"),
        post(endpoint, {"query": "{n}"}, authorization="Bearer x"),
        get(endpoint, query="{n}"),
    ):
        assert (response.status, response.header("www-authenticate")) == (401, "Bearer")
        assert body(response)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert post(endpoint, {"query": "{n}"}, authorization="Bearer t").status == 200


@pytest.mark.parametrize("error, status", [(NotFound, 404), (Forbidden, 403), (StorageUnavailable, 503)])
def test_what_the_context_refuses_is_the_answer(engine, error, status):
    def refuse(*_):
        raise error

    endpoint = graphql_endpoint(engine, Guard(authenticate=lambda _: Principal("me")), refuse)
    response = post(endpoint, {"query": "{n}"})
    assert response.status == status
    assert (response.header("retry-after") is not None) == (status == 503)


def test_the_context_is_made_from_request_and_principal(engine):
    seen = []

    def make(request, context, principal):
        seen.append((request.path_params, context.headers["content-type"], principal))
        return {"n": 42}

    endpoint = graphql_endpoint(engine, Guard(authenticate=lambda _: Principal("me", "acme")), make)
    request = http.Request(
        method="POST",
        path="/v2/acme/graphql",
        path_params={"organization": "acme"},
        headers={"content-type": JSON},
        body=b'{"query": "{n}"}',
    )
    assert body(endpoint(request)) == {"data": {"n": 42}}
    assert seen == [({"organization": "acme"}, JSON, Principal("me", "acme"))]


def test_no_database_is_503(endpoint):
    response = post(endpoint, {"query": "mutation {down {id}}"})
    assert (response.status, response.header("retry-after")) == (503, "5")
    assert body(response)["errors"][0]["extensions"]["code"] == "STORAGE_UNAVAILABLE"
    assert post(endpoint, {"query": "mutation {a: down(n: 1) {id} b: down {id}}"}).status == 200


def test_what_cannot_be_sent_is_left_out_and_logged(endpoint, caplog):
    with caplog.at_level(logging.ERROR, logger="gnj.graphql"):
        response = post(endpoint, {"query": "{nan n}"})
    assert response.status == 200
    assert body(response)["data"] == {"nan": {"a": None, "b": "?", "c": 1, "d": None}, "n": 1}
    assert message(response) == "Internal error"
    assert caplog.records
    assert b"NaN" not in response.body


def test_the_choice_by_method(endpoint):
    methods = http.endpoints([http.Route(path="/graphql", methods=METHODS, endpoint=endpoint, name="graphql")])[
        "/graphql"
    ]
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "post", "X" * 1_000):
        response = http.answer(methods, http.Request(method=method, path="/graphql"))
        assert (response.status, response.header("allow")) == (405, "GET, POST, HEAD")
        assert len(response.body) < 300
    query = {"query": "mutation {down(n: 1) {id}}"}
    assert (
        http.answer(methods, http.Request(method="HEAD", path="/graphql", query_string=urlencode(query))).status == 405
    )


def test_two_routes_for_one_method_are_refused(endpoint):
    route = http.Route(path="/a", methods=("GET",), endpoint=endpoint, name="a")
    with pytest.raises(ValueError, match="two routes for GET /a"):
        http.endpoints([route, route])


def test_failures_of_endpoints_are_masked(caplog):
    def fail(_request):
        raise RuntimeError("at /srv/secret.py")

    def busy(_request):
        raise StorageUnavailable

    def known(_request):
        raise NotFound

    request = http.Request(method="GET", path="/x")
    with caplog.at_level(logging.ERROR, logger="gnj.api"):
        response = http.answer({"GET": fail}, request)
    assert response.status == 500
    error = body(response)["errors"][0]
    assert error["message"] == "Internal error"
    assert error["extensions"]["errorId"] in caplog.text
    assert "secret.py" in caplog.text
    assert http.answer({"GET": busy}, request).status == 503
    assert http.answer({"GET": known}, request).status == 500


def test_cookies_are_read_when_asked_for():
    request = http.Request(method="GET", path="/", headers={"cookie": 'a=1; b="two" ;; c; =d; a=2; e=x=y; f='})
    assert request.cookies == {"a": "1", "b": "two", "e": "x=y", "f": ""}
    assert http.Request(method="GET", path="/").cookies == {}


def test_text_and_json_responses():
    assert http.text("ż", 201).body == "ż".encode()
    assert http.json({"a": [1]}, headers=[("x-a", "b")]).header("x-a") == "b"
    with pytest.raises(ValueError, match="JSON"):
        http.json(float("nan"))
