"""Who may what, over every operation there is: nobody without a token, nobody whom the host does not let, and never with
what is another tenant's.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest

from gnj import GNJ, background
from gnj.access import Kind, Principal, Target
from gnj.api import metrics, queues
from gnj.api.queues.hub import PATH as EVENTS
from gnj.queue.catalog import RECORDS
from gnj.queue.limits import LimitValues, Rate
from gnj.queue.model import Job, NewJob
from gnj.queue.storage import Select
from gnj.testing.clients import Call, asgi_client, wsgi_client

EVERY = [*queues.OPERATIONS, *metrics.OPERATIONS]
ACTIONS = [each.action for each in EVERY]
CHANGES = [each for each in EVERY if each.method != "GET"]
BACKENDS = [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("memory", "sqlite", "postgresql", "mysql")]
JSON = ("content-type", "application/json")
QUERIES = {"GET /queues/{queue}/jobs": "?statuses=all&length=100", "GET /queues": "?length=100"}
SECRET = "only-of-acme"
NAMED = "a-job-that-acme-named"
PUBLIC = "https://app.example/only-of-acme"
SIGNATURE = "A" * 43
FORGED = [
    f"gnjl_{numbers}.{SIGNATURE}"
    for numbers in ("1.1", "9223372036854775808.1", "9999999999999999999.1", "1.9999999999999999999")
]
"""What has the shape of a claim token and is none; some of the numbers are more than a database can hold."""


def request(operation, *headers, **places):
    """A request that asks for something: its body is the first example of the declaration."""
    target = re.sub(
        r"\{(\w+)\}", lambda found: places.get(found[1], {"queue": "mail", "id": "1"}[found[1]]), operation.path
    )
    body = b""
    if operation.body is not None:
        body = json.dumps(operation.body["examples"][0]).encode()
        headers = (JSON, *headers)
    return Call(operation.method, target + QUERIES.get(operation.action, ""), body, headers)


def principal(context):
    name = context.headers.get("x-user")
    scopes = context.headers.get("x-scopes")
    return (
        None if name is None else Principal(name, name, scopes=None if scopes is None else frozenset(scopes.split(",")))
    )


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Nothing runs in the background, which would change rows as well."""
    monkeypatch.setattr(background, "tickers", lambda *_: [])


@pytest.fixture
def serve():
    """Makes a server in memory, which is closed in the end."""
    with ExitStack() as stack:
        yield lambda **hooks: stack.enter_context(GNJ("memory://", authenticate=principal, **hooks))


def apps(jobs):
    return asgi_client(jobs.asgi_app()), wsgi_client(jobs.wsgi_app())


def told(answer):
    assert answer.header("content-type") == "application/json; charset=utf-8"
    return json.loads(answer.body)["error"]


def test_every_route_is_looked_at():
    """Each operation of the declarations is a route, and each route is one, or what is not there."""
    routes = GNJ("memory://").routes(["queues", "metrics"])
    found = {f"{method} {route.path}" for route in routes for method in route.methods}
    assert found == {*ACTIONS, "* /queues/{rest...}", "* /workers/{rest...}"}


@pytest.mark.parametrize("operation", EVERY, ids=ACTIONS)
def test_nobody(operation, serve):
    """Without a token, with what is none, and with one of the wrong sort."""
    for client in apps(serve()):
        for sent in ("", "Bearer wrong", "Bearer gnjl_1.1.AAAA", *(f"Bearer {each}" for each in FORGED)):
            answer = client(request(operation, *([("authorization", sent)] if sent else [])))
            if operation.kind is None and not operation.claim:
                assert (operation.path, answer.status) == ("/", 200)
                continue
            assert (answer.status, told(answer)) == (401, "Unauthorized")
            assert answer.header("www-authenticate") == "Bearer"


@pytest.mark.parametrize("operation", [each for each in EVERY if each.claim or each.kind], ids=lambda each: each.action)
def test_nobody_is_told_so_whatever_else_is_wrong(operation, serve):
    """A parameter that is not known, a name that is none, a slash that was sent encoded, a body that is no JSON."""
    asked = request(operation, *([JSON] if operation.body else []))
    path, _, query = asked.target.partition("?")
    wrong = [f"{path}?what=1", f"{path}?{query}&{query}"]
    if "{queue}" in operation.path:
        wrong += [path.replace("mail", name) for name in ("x", "all", "ab%zz", "ab%ff")]
    if "{id}" in operation.path:
        wrong += [path.replace("/1", "/%ff")]
    for client in apps(serve()):
        for target in wrong:
            assert client(replace(asked, target=target, body=b"{")).status == 401, target


ELSEWHERE = [
    ("https://evil.example", "localhost"),
    ("http://localhost:8081", "localhost:8080"),
    ("http://localhost.evil.example", "localhost"),
    ("null", "localhost"),
    ("null", ""),
    ("", "localhost"),
]
HERE = [("http://localhost", "localhost"), ("https://LOCALHOST:443", "localhost"), ("https://app.example", "localhost")]


@pytest.mark.parametrize("operation", CHANGES, ids=lambda each: each.action)
def test_no_page_of_another_site_changes_anything(operation, serve):
    """A form and a `fetch` with "no-cors" need nobody's leave, and bring the cookies along."""
    jobs = serve(origins=["https://app.example"])
    fill(jobs.queue, "anna")
    before = rows(jobs, "anna")
    for client in apps(jobs):
        asked = request(operation, ("x-user", "anna"))
        for origin, host in ELSEWHERE:
            sent = [("x-user", "anna"), ("origin", origin), ("host", host), ("sec-fetch-site", "cross-site")]
            for type, body in (("text/plain", b""), ("text/plain", asked.body), ("application/json", asked.body)):
                answer = client(replace(asked, body=body, headers=(*sent, ("content-type", type))))
                assert (answer.status, told(answer)) == (403, "Pages of this origin may not change anything.")
    assert rows(jobs, "anna") == before


@pytest.mark.parametrize("operation", CHANGES, ids=lambda each: each.action)
def test_pages_of_the_server_itself_may_and_whoever_is_no_browser(operation, serve):
    """Such as curl, which sends neither an Origin nor, where there is no body, a content type."""
    jobs = serve(origins=["https://app.example"])
    for client in apps(jobs):
        for sent in ((), *((("origin", origin), ("host", host)) for origin, host in HERE)):
            answer = client(request(operation, ("x-user", "anna"), *sent))
            assert answer.status not in (403, 415)
            if operation.path.endswith(("/pause", "/resume")):
                assert answer.status == 200


@pytest.mark.parametrize("operation", EVERY, ids=ACTIONS)
def test_a_host_that_lets_nobody(operation, serve):
    asked = []

    def authorize(*about):
        asked.append(about)
        return False

    jobs = serve(authorize=authorize)
    for client in apps(jobs):
        asked.clear()
        answer = client(request(operation, ("x-user", "anna")))
        if operation.kind is not None:
            assert answer.status == 403
            ((who, action, target),) = asked
            assert (who.id, action.name, action.kind) == ("anna", operation.action, operation.kind)
            assert target == target_of(operation)
        else:
            assert answer.status == (401 if operation.claim else 200)
        assert all(not jobs.storage.find(kind, Select(deleted=True)) for kind in RECORDS.values())


def target_of(operation):
    """That of `request`, whose body registers an endpoint for mail."""
    if "{queue}" in operation.path or operation.action == "POST /workers":
        return Target("mail", "1" if "{id}" in operation.path else None)
    return None


@pytest.mark.parametrize(
    "operation", [each for each in EVERY if each.kind and target_of(each)], ids=lambda each: each.action
)
def test_a_host_that_gives_each_its_queue(operation, serve):
    """Whatever is asked about a job, or in a body: who has a queue has it alone."""
    jobs = serve(authorize=lambda who, _, target: target is not None and target.queue == who.id)
    for client in apps(jobs):
        for user, may in {"mail": True, "press": False}.items():
            if may and operation.path == EVENTS:
                continue  # that has no end
            assert (client(request(operation, ("x-user", user))).status != 403) == may


@pytest.mark.parametrize(
    "body, status, told_of",
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'{"queue": 7}', 400, None),
        (b'{"queue": "mail"}', 400, Target("mail")),
        (b'{"queue": "press", "queue": "mail"}', 400, Target("mail")),
        (b'{"queue": "all"}', 400, Target("all")),
    ],
)
def test_a_registration_that_is_none(serve, body, status, told_of):
    asked = []

    def authorize(_who, _action, target):
        asked.append(target)
        return True

    jobs = serve(authorize=authorize)
    for client in apps(jobs):
        asked.clear()
        assert client(Call("POST", "/workers", body, (JSON, ("x-user", "anna")))).status == status
        assert asked == [told_of]


@pytest.mark.parametrize("operation", EVERY, ids=ACTIONS)
def test_scopes(operation, serve):
    """One that is missing is told by its name; "admin" is all of them."""
    for client in apps(serve()):
        for scope in Kind:
            if operation.path == EVENTS and scope in (Kind.READ, Kind.ADMIN):
                continue  # that has no end
            answer = client(request(operation, ("x-user", "anna"), ("x-scopes", scope)))
            if operation.kind is None or scope in (operation.kind, Kind.ADMIN):
                assert answer.status != 403
            else:
                assert answer.status == 403
                assert (
                    told(answer)
                    == f"{operation.action} needs the scope {operation.kind}, which the token does not have."
                )


@pytest.fixture(params=BACKENDS)
def jobs(request):
    """A server whose tenant acme has something of everything in its queue."""
    backend = request.param
    url = "memory://" if backend == "memory" else request.getfixturevalue(f"{backend}_database")()
    with GNJ(url, authenticate=principal) as jobs:
        jobs.migrate()
        fill(jobs.queue)
        yield jobs


def fill(queue, tenant="acme", type="mail"):
    def new(**values):
        return queue.enqueue(NewJob(type, {"note": SECRET}, name=SECRET, tenant=tenant, **values))

    def claimed():
        (job,) = queue.acquire([type], 1, worker_id=SECRET, tenants=[tenant])
        return job

    queue.add(type, [{"name": SECRET, "data": SECRET, "opts": {"jobId": NAMED}}], tenant=tenant)
    queue.succeed(claimed(), SECRET)
    new()
    queue.fail(claimed(), SECRET)
    new()
    job = queue.progress(claimed(), {"note": SECRET})
    queue.add_log(job, SECRET)
    new()
    new(start_after=timedelta(hours=1))
    queue.set_limits(type, LimitValues(concurrency=3, limiter=Rate(98_765, 1000)), tenant=tenant)
    queue.register({"queue": type, "endpoint": {"url": PUBLIC, "method": "POST"}}, tenant=tenant)
    queue.hold(f"{type}-{SECRET}", tenant=tenant)


def rows(jobs, tenant="acme"):
    """All that is a tenant's."""
    return {
        (kind.__name__, row.id): row
        for kind in RECORDS.values()
        for row in jobs.storage.find(kind, Select(deleted=True), tenant=tenant)
    }


@pytest.mark.parametrize("client", [asgi_client, wsgi_client])
def test_nothing_of_another_tenant_is_seen_or_changed(jobs, client):
    """Whoever asks for the same queue, and for every id there is in it, by number or by name."""
    app = client(jobs.asgi_app() if client is asgi_client else jobs.wsgi_app())
    before = rows(jobs)
    ids = [NAMED, *(str(row.id) for (kind, _), row in before.items() if kind == "Job")]
    statuses: dict[str, set[int]] = {}
    for operation in EVERY:
        if operation.path == EVENTS:
            continue
        for id in ids if "{id}" in operation.path else ("",):
            answer = app(request(operation, ("x-user", "other"), id=id))
            assert SECRET.encode() not in answer.body, operation
            assert b"98765" not in answer.body, operation
            statuses.setdefault(operation.action, set()).add(answer.status)
        assert rows(jobs) == before, operation
    found = {action: sorted(each) for action, each in statuses.items() if "{id}" in action}
    assert found == {
        operation.action: [401 if operation.claim else 200 if operation.path.endswith("/logs") else 404]
        for operation in EVERY
        if "{id}" in operation.path
    }
    assert max(status for each in statuses.values() for status in each) < 500


def test_the_same_is_seen_by_who_owns_it(jobs):
    """So that the test above looks for what is there to be seen."""
    app = asgi_client(jobs.asgi_app())
    seen = {
        operation.action
        for operation in EVERY
        if operation.method == "GET" and operation.path != EVENTS
        if SECRET.encode() in app(request(operation, ("x-user", "acme"), id=NAMED)).body
    }
    assert seen >= {
        "GET /queues",
        "GET /queues/{queue}/jobs",
        "GET /queues/{queue}/jobs/{id}",
        "GET /workers",
        "GET /workers/{queue}",
        "GET /metrics",
    }


def test_a_token_of_a_claim_that_was_made_up(jobs):
    """Whatever the database makes of the numbers in it."""
    active = next(row for row in rows(jobs).values() if isinstance(row, Job) and row.status == "processing")
    before = rows(jobs)
    for client in apps(jobs):
        for operation in [each for each in EVERY if each.claim]:
            for token in (*FORGED, f"gnjl_{active.id}.{active.attempt}.{SIGNATURE}"):
                answer = client(request(operation, ("authorization", f"Bearer {token}"), id=str(active.id)))
                assert (answer.status, told(answer)) == (401, "Unauthorized")
    assert rows(jobs) == before


def test_a_token_of_a_claim_is_of_no_use_elsewhere(jobs):
    """Not for another job, another queue, another tenant, nor in the place of an API token."""
    jobs.queue.enqueue(NewJob("press", tenant="other"))
    (other,) = jobs.queue.acquire(["press"], 1, tenants=["other"])
    token = ("authorization", f"Bearer {jobs.queue.claim_token(other)}")
    active = next(row for row in rows(jobs).values() if isinstance(row, Job) and row.status == "processing")
    before = rows(jobs)
    for client in apps(jobs):
        for operation in EVERY:
            if operation.kind is None and not operation.claim:
                continue
            for id in (str(active.id), NAMED, str(other.id)):
                assert client(request(operation, token, id=id)).status == 401
    assert rows(jobs) == before
