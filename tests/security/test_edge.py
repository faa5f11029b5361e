"""Requests nobody should send, over one connection to a real server: each is refused in its turn, and a good one follows.

Section 4 of the design's page on security, as far as tests/graphql and tests/adapters do not have it.
"""

from __future__ import annotations

import gzip
import http.client
import json
import time
from pathlib import Path

import pytest
from starlette.applications import Starlette

import gnj
import gnj_starlette
from tests.serving import served

JSON = {"content-type": "application/json"}
GOOD = json.dumps({"query": "{ jobCount }"})
ECHOED = 700
"""Characters of a refusal at most, whatever was sent."""
LEAKS = ("Traceback", "sqlite", "psycopg", "sqlalchemy", "SELECT ", "INSERT ", "/site-packages/", ".py", "gnj_job")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    app = Starlette()
    jobs = gnj.GNJ(f"sqlite:///{tmp_path_factory.mktemp('edge')}/jobs.db")
    gnj_starlette.mount(app, jobs, "/jobs")
    with served(app) as address:
        yield address.removeprefix("http://")


@pytest.fixture
def connection(address):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.connect()
    yield connection
    connection.close()


def send(connection, body, headers=JSON, method="POST", path="/jobs/graphql"):
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return (
        response.status,
        {name.lower(): value for name, value in response.getheaders()},
        response.read().decode(),
    )


def of(query, **variables):
    return json.dumps({"query": query, "variables": variables})


CREATE = 'mutation($input: SequelizeJSON) { jobCreate(job: {type: "a", input: $input}) { id } }'


def creating(text):
    return '{"query": ' + json.dumps(CREATE) + ', "variables": {"input": ' + text + "}}"


REQUESTS = {
    "arrays 1,000 deep": ("[" * 1000 + "]" * 1000, 400),
    "objects 100,000 deep": ('{"a":' * 100_000 + "1" + "}" * 100_000, 400),
    "an input 5,000 deep": (creating("[" * 5000 + "]" * 5000), 400),
    "NaN": (creating('{"a": NaN}'), 400),
    "Infinity": (creating('{"a": -Infinity}'), 400),
    "1e400": (creating('{"a": 1e400}'), 400),
    "a lone surrogate": (creating('{"a": "\\ud800"}'), 400),
    "NUL": (creating('{"a": "\\u0000"}'), 400),
    "an integer of 5,000 digits": (creating("9" * 5000), 400),
    "an integer beyond 64 bits": (creating("9223372036854775808"), 400),
    "not UTF-8": (b'{"query": "\xff"}', 400),
    "a batch": (f"[{GOOD}, {GOOD}]", 400),
    "a batch of null": ("[null]", 400),
    "null": ("null", 400),
    "nothing": ("", 400),
    "an empty selection": (of("{ job {} }"), 400),
    "60 levels": (of("{ job " + "{ batch { jobs " * 30 + "{ id }" + "} }" * 30 + " }"), 400),
    "1,000 aliases": (of("{ " + " ".join(f"a{n}: jobCount" for n in range(1000)) + " }"), 400),
    "1,000 aliased mutations": (of("mutation { " + " ".join(f"a{n}: ping {{ success }}" for n in range(1000)) + " }"), 400),
    "30 aliased mutations": (of("mutation { " + " ".join(f"a{n}: ping {{ success }}" for n in range(30)) + " }"), 400),
    "1,000 directives": (of("{ jobCount " + "@skip(if: false) " * 1000 + "}"), 400),
    "fragments that double": (
        of("{ job { ...f0 } } " + " ".join(f"fragment f{n} on job {{ ...f{n + 1} ...f{n + 1} }}" for n in range(25))
           + " fragment f25 on job { a: id }"), 400),
    "introspection 60 deep": (of("{ __schema { types { fields { type " + "{ ofType " * 60 + "{ name }" + "}" * 60 + "} } } }"), 400),
    "a name of a megabyte": (of("{ " + "x" * 1_000_000 + " }"), 400),
    "an operation name of a megabyte": (json.dumps({"query": "{ jobCount }", "operationName": "x" * 1_000_000}), 400),
    "a list limit beyond all": (of("{ job(limit: 2000000000) { id } }"), 400),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_refused_and_the_connection_serves_on(connection, name):
    body, expected = REQUESTS[name]
    used = connection.sock
    began = time.monotonic()
    status, headers, text = send(connection, body)
    assert time.monotonic() - began < 5
    assert status == expected, text[:500]
    assert len(text) < 5 * ECHOED
    assert "Internal error" not in text
    assert [leak for leak in LEAKS if leak in text] == []
    check(headers)
    assert send(connection, GOOD)[0] == 200
    assert connection.sock is used


def check(headers):
    """What every answer of ours carries, and what none does."""
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert not any(name.startswith("access-control-") for name in headers)


FORGED = {
    "multipart": ("multipart/form-data; boundary=x", '--x\r\ncontent-disposition: form-data; name="operations"\r\n\r\n[null]\r\n--x--'),
    "a form": ("application/x-www-form-urlencoded", "query=mutation%7Bping%7Bsuccess%7D%7D"),
    "text": ("text/plain", GOOD),
    "no type": ("", GOOD),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_what_a_page_can_send_unasked_is_415(connection, name):
    kind, body = FORGED[name]
    status, headers, _ = send(connection, body, {"content-type": kind, "origin": "https://evil.example"})
    assert status == 415
    check(headers)
    assert send(connection, GOOD)[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_a_compressed_body_is_not_unpacked(connection, encoding):
    bomb = gzip.compress(b" " * 50_000_000)
    began = time.monotonic()
    status, headers, _ = send(connection, bomb, {**JSON, "content-encoding": encoding})
    assert (status, headers["accept-encoding"]) == (415, "identity")
    assert time.monotonic() - began < 2
    assert send(connection, GOOD)[0] == 200


def test_50_megabytes_in_chunks_are_refused_before_they_are_there(address):
    connection = http.client.HTTPConnection(address, timeout=20)
    chunk = b" " * 1_000_000
    sent = []

    def chunks():
        for _ in range(50):
            sent.append(1)
            yield chunk

    try:
        connection.request("POST", "/jobs/graphql", chunks(), JSON, encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # the connection was ended while the rest was being sent
    connection.close()
    assert status == 413
    fresh = http.client.HTTPConnection(address, timeout=20)
    assert send(fresh, GOOD)[0] == 200
    fresh.close()


def test_a_mutation_by_get_is_405_and_a_foreign_origin_gets_no_permission(connection):
    path = "/jobs/graphql?query=mutation%7Bping%7Bsuccess%7D%7D"
    status, headers, _ = send(connection, None, {"origin": "https://evil.example"}, "GET", path)
    assert (status, headers["allow"]) == (405, "POST")
    check(headers)
    preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    status, headers, _ = send(connection, None, preflight, "OPTIONS")
    assert status == 405
    check(headers)


def test_without_introspection_nothing_is_suggested(tmp_path):
    with gnj.GNJ("memory://", env="production") as jobs:
        for query in ("{ jobCoun }", "{ job(i: 1) { id } }", "{ job { i } }", "{ job { id ... on jo { id } } }"):
            (error, *_) = jobs.execute(query)["errors"]
            assert "Did you mean" not in error["message"], error
        (error,) = jobs.execute('{ __type(name: "job") { name } }')["errors"]
        assert error["message"] == "Introspection is off: __type cannot be queried."
    with gnj.GNJ("memory://") as jobs:
        assert "Did you mean" in jobs.execute("{ jobCoun }")["errors"][0]["message"]


def test_what_breaks_inside_is_masked_and_logged_under_its_id(monkeypatch, caplog):
    with gnj.GNJ("memory://") as jobs:
        monkeypatch.setattr(jobs._queue, "create_later", lambda *_, **__: Path("/secret/path").read_text())
        body = jobs.execute('mutation { jobCreate(job: {type: "a"}) { id } }')
    (error,) = body["errors"]
    assert error["message"] == "Internal error"
    assert "/secret/path" not in json.dumps(body)
    (record,) = [r for r in caplog.records if error["extensions"]["errorId"] in r.getMessage()]
    assert "/secret/path" in str(record.exc_info[1])
