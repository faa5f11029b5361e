"""The routes: who may, what they refuse, and that what is registered is called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

import gnj
from gnj import GNJ
from gnj.access import Principal
from gnj.api import wsgi
from gnj.push.reconciler import Reconciler
from gnj.queue.catalog import RECORDS
from gnj.queue.model import NewJob
from gnj.queue.storage import Select
from gnj.testing.clients import Call, asgi_client, wsgi_client
from tests.fetch.test_policy import HOSTILE
from tests.push.conftest import registration
from tests.worker.spy import until

URL = "https://app.example/jobs"
JSON = ("content-type", "application/json")


class Served:
    """The face "queues", asked as one adapter or another asks it. Users are tenants; `x-scope` is what they may."""

    def __init__(self, kind, **options):
        self.jobs = GNJ("memory://", authenticate=self.authenticate, **options)
        if kind == "asgi":
            import gnj_starlette

            self.client = asgi_client(gnj_starlette.asgi_app(self.jobs, ["queues"]))
        else:
            self.client = wsgi_client(wsgi.wsgi_app(self.jobs, ["queues"]))

    def authenticate(self, context):
        user = context.headers.get("x-user")
        return None if user is None else Principal(user, user, scopes=frozenset({context.headers["x-scope"]}))

    def ask(self, method, target, value=None, *, user="ann", scope="admin", headers=(JSON,), body=None):
        who = () if user is None else (("x-user", user), ("x-scope", scope))
        sent = json.dumps(value).encode() if body is None and value is not None else body or b""
        return self.client(Call(method, target, sent, (*who, *headers)))

    def rows(self):
        """All that is stored but for who holds a registration, which the server itself writes now and then."""
        found: dict[str, Any] = {
            name: self.jobs.storage.find(kind, Select(deleted=True)) for name, kind in RECORDS.items()
        }
        found["push_worker"] = [
            row.evolve(holder=None, held_until=None, updated_at=row.created_at) for row in found["push_worker"]
        ]
        return found


@pytest.fixture(params=["asgi", "wsgi"])
def served(request):
    made = Served(request.param)
    yield made
    made.jobs.close()


def error(answer):
    assert answer.header("content-type") == "application/json; charset=utf-8"
    return answer.status, json.loads(answer.body)["error"]


def test_what_is_registered_is_told_without_what_is_secret(served):
    value = registration(URL, endpoint={"headers": {"X-Key": "hidden", "a": "b"}}, opts={"concurrency": 2})
    answer = served.ask("POST", "/workers", value)
    assert (answer.status, answer.body, answer.header("content-type")) == (200, b"OK", "text/plain; charset=utf-8")
    secret = answer.header("gnj-worker-secret")
    (row,) = served.jobs.queue.registrations("ann")
    assert row.secret == secret
    assert json.loads(served.ask("GET", "/workers").body) == {"mail": URL}
    answer = served.ask("GET", "/workers/mail")
    told = json.loads(answer.body)
    assert "hidden" not in answer.body.decode()
    assert secret not in answer.body.decode()
    assert told.pop("createdAt") > 1_700_000_000_000
    told.pop("holder")
    assert told == {
        "queue": "mail",
        "endpoint": {"url": URL, "method": "POST", "headers": ["X-Key", "a"], "timeout": 5_000},
        "opts": {"concurrency": 2},
        "version": 1,
        "failed": 0,
        "disabledAt": None,
    }
    again = served.ask("POST", "/workers", value)
    assert (again.status, again.header("gnj-worker-secret")) == (200, None)
    assert served.jobs.queue.registrations("ann")[0].secret == secret
    own = served.ask("POST", "/workers", registration(URL, "other", secret="s" * 20))
    assert own.header("gnj-worker-secret") is None
    assert served.ask("DELETE", "/workers/mail").body == b"OK"
    assert json.loads(served.ask("GET", "/workers").body) == {"other": URL}


def test_what_is_not_there(served):
    for method in ("GET", "DELETE"):
        assert error(served.ask(method, "/workers/mail", headers=())) == (404, "Worker not found")


def test_another_tenant_sees_nothing_and_changes_nothing(served):
    served.ask("POST", "/workers", registration(URL))
    before = served.rows()
    assert json.loads(served.ask("GET", "/workers", user="bob").body) == {}
    for method in ("GET", "DELETE"):
        assert error(served.ask(method, "/workers/mail", user="bob", headers=())) == (404, "Worker not found")
    assert served.rows() == before
    served.ask("POST", "/workers", registration(URL + "/bob"), user="bob")
    assert json.loads(served.ask("GET", "/workers").body) == {"mail": URL}


@pytest.mark.parametrize(
    "method, target", [("POST", "/workers"), ("GET", "/workers"), ("GET", "/workers/mail"), ("DELETE", "/workers/mail")]
)
def test_who_may(served, method, target):
    served.ask("POST", "/workers", registration(URL))
    before = served.rows()
    value = registration(URL + "/2") if method == "POST" else None
    assert error(served.ask(method, target, value, user=None)) == (401, "Unauthorized")
    for scope in ("read", "enqueue", "work"):
        assert error(served.ask(method, target, value, scope=scope))[0] == 403
    assert served.rows() == before


@pytest.mark.parametrize(
    "value, told",
    [
        ([], "Body must be an object"),
        ({}, "queue is required"),
        (registration(URL, "ab"), "queue name must be at least 3 characters long"),
        (registration(URL, "q" * 101), "queue name must be at most 100 characters long"),
        (registration(URL, "a\nbc"), "queue must not hold control characters"),
        (registration(URL, "a\ufffdbc"), "queue name must not hold control characters, nor what is not UTF-8"),
        (registration(URL, "all"), "queue name is reserved: 'all'"),
        (registration(URL, "a/bc"), "queue name must not hold a slash"),
        (registration(URL, "gnj:bulk"), "queue name is reserved: 'gnj:bulk'"),
        (registration("ftp://a/"), "Invalid URL: it must begin with http:// or https://"),
        (registration("https://app.example/ b"), "Invalid URL: it holds a character that must be percent-encoded"),
        (
            registration("https://app.example:8443/"),
            "Invalid URL: its port is neither 80 nor 443, and is not one of those that fetch_allow names",
        ),
        (registration("https://a:b@app.example/"), "Invalid URL: it must not name a user"),
        (registration("https://app.example:0/"), "Invalid URL: its port must be a number from 1 to 65535"),
        (registration(URL, opts={"concurrency": 0}), "Invalid concurrency: it must be an integer from 1 to 100, not 0"),
        (registration(URL, endpoint={"method": "GET"}), "Invalid HTTP method 'GET': it must be POST, PUT, PATCH"),
    ],
)
def test_what_cannot_be_registered(served, value, told):
    before = served.rows()
    assert error(served.ask("POST", "/workers", value)) == (400, told)
    assert served.rows() == before


def test_requests_that_are_none(served):
    before = served.rows()
    good = json.dumps(registration(URL)).encode()
    assert error(served.ask("POST", "/workers", body=b"{"))[0] == 400
    assert error(served.ask("POST", "/workers", body=good, headers=())) == (
        415,
        "Content-Type must be application/json",
    )
    assert error(served.ask("POST", "/workers?x=1", body=good)) == (400, "Unexpected parameter: 'x'")
    answer = served.ask("PUT", "/workers", body=good)
    assert (error(answer), answer.header("allow")) == ((405, "Method not allowed"), "POST, GET, HEAD")
    answer = served.ask("POST", "/workers/mail", body=good)
    assert (error(answer), answer.header("allow")) == ((405, "Method not allowed"), "GET, DELETE, HEAD")
    assert error(served.ask("GET", "/workers/mail/x", headers=())) == (404, "Not found")
    assert error(served.ask("DELETE", "/workers/ab", headers=()))[0] == 400
    assert served.rows() == before


def test_where_nothing_may_lead_is_refused_at_once_and_without_a_hint(served):
    """Whatever can be told of a URL without looking up its name; the rest is told when it would be called."""
    before = served.rows()
    later = []
    for url in HOSTILE:
        answer = served.ask("POST", "/workers", registration(url.format(port=443)))
        if answer.status == 200:
            later.append(url)
            continue
        status, told = error(answer)
        assert (status, told.startswith("Invalid URL: ")) == (400, True), url
        assert "443" not in told
        assert "127" not in told
    assert all(".example:" in url for url in later)
    assert len(later) == 4
    served.jobs.queue.unregister("mail", tenant="ann")
    assert served.jobs.queue.registrations(None) == []
    del before["push_worker"]
    after = served.rows()
    del after["push_worker"]
    assert after == before


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_what_is_registered_is_called_and_its_calls_can_be_checked(kind, endpoint):
    called = endpoint()
    served = Served(kind, fetch_allow=[f"127.0.0.1:{called.port}"])
    with served.jobs as jobs:
        jobs.start()
        secret = served.ask("POST", "/workers", registration(called.url)).header("gnj-worker-secret")
        job = jobs.queue.enqueue(NewJob("mail", {"to": "ann"}, tenant="ann"))
        jobs.queue.enqueue(NewJob("mail", {"to": "bob"}, tenant="bob"))
        until(lambda: jobs.count(id=job.id, status="successful"), within=10)
        assert jobs.list(id=job.id)[0].output == {"did": {"to": "ann"}}
        assert called.ids == [job.id]
        headers, body = called.calls[0]
        assert gnj.verify_push(secret, headers, body)
        assert not gnj.verify_push(secret, headers, body + b" ")
        until(lambda: json.loads(served.ask("GET", "/workers/mail").body)["holder"], within=10)
        served.ask("DELETE", "/workers/mail")
        background: Any = jobs._background
        (runs,) = (each for each in background._tickers if isinstance(each, Reconciler))
        until(lambda: not runs.running, within=10)
    assert [each for each in threading.enumerate() if each.name.startswith("gnj-push")] == []


def test_a_private_address_that_is_not_allowed(endpoint):
    """By name it can be registered, for its addresses may change; it is not called."""
    called = endpoint()
    served = Served("asgi")
    assert served.ask("POST", "/workers", registration(called.url)).status == 400
    with served.jobs as jobs:
        jobs.queue.register(registration(called.url), tenant="ann")
        jobs.start()
        jobs.queue.enqueue(NewJob("mail", tenant="ann"))
        until(lambda: jobs.count(status="failed"), within=10)
        assert jobs.list()[0].output == {"error": "connection failed"}
        assert called.calls == []


def test_what_cannot_be_allowed_is_told_when_it_begins():
    served = Served("asgi", fetch_allow=["http://x"])
    with pytest.raises(ValueError, match="'http://x' is no host"):
        served.jobs.start()
    served.jobs.close()


@pytest.mark.parametrize(
    "options, environment",
    [(("--fetch-allow", "127.0.0.1,http://x"), {}), ((), {"GNJ_FETCH_ALLOW": "127.0.0.1, http://x"})],
)
def test_the_command_line_names_what_cannot_be_allowed(tmp_path, options, environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GNJ_")}
    done = subprocess.run(
        [sys.executable, "-m", "gnj.cli", "serve", "--port", "0", *options],
        cwd=tmp_path,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "gnj: --fetch-allow: 'http://x' is no host, host:port or :port that could be called: "
        "write host or host:port, without http:// and a path\n"
    )
