"""jobUpdated, over WebSockets and Server-Sent Events: what is told, and to whom."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from gnj import GNJ
from gnj.access import Principal
from gnj.queue.model_content import ContentType
from gnj.queue.working import ERROR, Line
from tests.subscribers import WAIT, Client, connected, served

UPDATED = """subscription($id: String) { jobUpdated(id: $id) {
  id name status tasks { status progress } summary { totalErrors } createdBy { name } } }"""
BY = {"id": "u", "name": "Ana", "email": None}


@pytest.fixture
def host(jobs: GNJ) -> Iterator[str]:
    with served(jobs.asgi_app(["content"])) as host:
        yield host


@pytest.fixture
def socket(host: str) -> Iterator[Callable[..., Client]]:
    """Opens a socket of an organisation, with a key if one is given."""
    with ExitStack() as stack:

        def socket(org: str, *, key: str | None = None, init: bool = True) -> Client:
            client = stack.enter_context(connected(host, f"/v2/{org}/jobs/graphql"))
            if init:
                client.init(**({} if key is None else {"Authorization": f"Bearer {key}"}))
            return client

        yield socket


def make(jobs: GNJ, tenant: str, name: str = "J") -> int:
    made = jobs.queue.create_content_job(tenant, name=name, type=ContentType.EXPORT_ENTRIES, params={}, by=BY)
    return int(made.id)


def told(client: Client, id: str = "s") -> Any:
    return client.next(id)["data"]["jobUpdated"]


def test_every_change_of_a_job_is_told(jobs, socket):
    client = socket("acme")
    client.subscribe("s", UPDATED)
    client.settle()
    id = make(jobs, "acme")
    first = told(client)
    assert first == {
        "id": str(id),
        "name": "J",
        "status": "PENDING",
        "tasks": [{"status": "PENDING", "progress": None}],
        "summary": None,
        "createdBy": {"name": "Ana"},
    }
    task = jobs.queue.acquire(["gnj:content.process_entries"], worker_id="w", tenants=["acme"])
    jobs.queue.checkpoint(task, {"percent": 50}, [Line(ERROR, "no")])
    active = told(client)
    assert (active["status"], active["summary"], active["tasks"][0]["progress"]) == ("ACTIVE", {"totalErrors": 1}, 50)
    jobs.queue.succeed(task)
    assert told(client)["status"] == "COMPLETED"
    jobs.queue.delete_content_job("acme", id, BY)
    assert told(client)["status"] == "DELETED"


def until(client: Client, name: str, *, id: str = "s") -> set[tuple[str, str]]:
    """The (operation, name) of all that is told before that operation is told of the job with that name."""
    found: set[tuple[str, str]] = set()
    while True:
        message = client.receive()
        assert message["type"] == "next", message
        told = message["payload"]["data"]["jobUpdated"]["name"]
        if (message["id"], told) == (id, name):
            return found
        found.add((message["id"], told))


def test_those_of_one_job_by_its_id(jobs, socket):
    client = socket("acme")
    ids = [make(jobs, "acme", name) for name in "ab"]
    client.subscribe("none", UPDATED, id="x")
    client.subscribe("one", UPDATED, id=str(ids[1]))
    client.subscribe("s", UPDATED)
    client.settle()
    for id in ids:
        jobs.queue.delete_content_job("acme", id, BY)
    make(jobs, "acme", "last")
    assert until(client, "last") == {("one", "b"), ("s", "a"), ("s", "b")}


def test_an_organisation_hears_nothing_of_another(jobs, socket):
    clients = {org: socket(org) for org in ("acme", "other", "Acme")}
    secret = make(jobs, "acme", "secret")
    for client in clients.values():
        client.subscribe("one", UPDATED, id=str(secret))
        client.subscribe("s", UPDATED)
        client.settle()
    jobs.queue.delete_content_job("acme", secret, BY)
    for org in clients:
        make(jobs, org, f"of {org}")
    heard = {org: until(client, f"of {org}") for org, client in clients.items()}
    assert heard == {"acme": {("one", "secret"), ("s", "secret")}, "other": set(), "Acme": set()}


def test_whoever_is_not_let_in_is_sent_away(jobs, socket):
    key = jobs.create_token("k", scopes=["read"], tenant="acme")
    socket("acme", key=key).settle()
    for org, given in (("acme", "wrong"), ("acme", None), ("other", key), ("-", key), ("Acme", key)):
        client = socket(org, init=False)
        client.send("connection_init", payload={} if given is None else {"Authorization": f"Bearer {given}"})
        assert client.closed() == (4403, "Forbidden"), (org, given)


def test_a_key_that_may_not_read_hears_nothing(jobs, socket):
    client = socket("acme", key=jobs.create_token("k", scopes=["enqueue"], tenant="acme"))
    client.subscribe("s", UPDATED)
    message = client.receive()
    assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "FORBIDDEN")


def test_a_key_that_is_revoked_hears_nothing_more(jobs, socket):
    client = socket("acme", key=jobs.create_token("k", scopes=["read"], tenant="acme"))
    client.subscribe("s", UPDATED)
    client.settle()
    jobs.revoke_token("k")
    make(jobs, "acme")
    message = client.receive()
    assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "UNAUTHENTICATED")


def test_an_operation_over_a_socket_is_of_its_organisation(jobs, socket):
    id = make(jobs, "acme", "mine")
    text = "query($id: String!) { job(id: $id) { name } jobs { total } }"
    assert socket("acme").run(text, id=str(id)) == {"job": {"name": "mine"}, "jobs": {"total": 1}}
    assert socket("other").run(text, id=str(id)) == {"job": None, "jobs": {"total": 0}}


def test_it_comes_as_server_sent_events_too(jobs, host):
    jobs.authenticate = lambda context: Principal("u", context.headers.get("x-tenant", ""))
    url, body = f"http://{host}/v2/acme/jobs/graphql", {"query": UPDATED}

    def headers(tenant: str) -> dict[str, str]:
        return {"accept": "text/event-stream", "x-tenant": tenant}

    assert httpx.post(url, json=body, headers=headers("other"), timeout=WAIT).status_code == 404
    with httpx.stream("POST", url, json=body, headers=headers("acme"), timeout=WAIT) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        lines = response.iter_lines()
        assert next(lines) == ":"  # it has begun
        make(jobs, "other", "secret")
        make(jobs, "acme", "mine")
        data = next(line for line in lines if line.startswith("data:"))
        assert json.loads(data.removeprefix("data:"))["data"]["jobUpdated"]["name"] == "mine"
