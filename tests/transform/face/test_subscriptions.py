"""runUpdated, over WebSockets and Server-Sent Events: what is told, and to whom."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gnj import GNJ
from gnj.access import Action, Principal, RequestContext
from gnj.api.transform.face import Call
from gnj.api.transform.queries import updated
from gnj.queue.errors import NotFound
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest
from tests.subscribers import WAIT, Client, connected, served
from tests.transform.face.conftest import FORMAT, PATH, RULES

UPDATED = (
    "subscription($job: ID) { runUpdated(jobId: $job) { id jobId status read written rejected error finishedAt } }"
)


@pytest.fixture
def host(jobs: GNJ) -> Iterator[str]:
    with served(jobs.asgi_app(["transform"])) as host:
        yield host


@pytest.fixture
def socket(host: str) -> Iterator[Callable[..., Client]]:
    """Opens a socket, with a key if one is given."""
    with ExitStack() as stack:

        def socket(key: str | None = None, *, init: bool = True) -> Client:
            client = stack.enter_context(connected(host, PATH))
            if init:
                client.init(**({} if key is None else {"Authorization": f"Bearer {key}"}))
            return client

        yield socket


@pytest.fixture
def make(jobs: GNJ, shop: Any) -> Callable[..., str]:
    """Saves a job of a tenant; its id."""

    def make(tenant: str = "", path: str = "/feed") -> str:
        saved = jobs.transform_jobs.save_job(
            tenant,
            SourceInput(request=SourceRequest(type="Feed", url=shop.url(path))),
            MappingInput(data=RULES),
            FormatInput(data=FORMAT),
        )
        return str(saved.id)

    return make


def until(client: Client, status: str, *, job: str, id: str = "s") -> list[tuple[str, str]]:
    """The (job, status) of all that is told up to that status of that job; repeated ones once."""
    found: list[tuple[str, str]] = []
    while (job, status) not in found:
        told = client.next(id)["data"]["runUpdated"]
        if (told["jobId"], told["status"]) not in found:
            found.append((told["jobId"], told["status"]))
    return found


def test_every_change_of_a_run_is_told(socket, make, work):
    client = socket()
    client.subscribe("s", UPDATED)
    client.settle()
    job = make()
    first = client.next("s")["data"]["runUpdated"]
    counts = {"read": 0, "written": 0, "rejected": 0}
    assert first == {"id": first["id"], "jobId": job, "status": "Pending", "error": None, "finishedAt": None, **counts}
    work()
    # each is told as it is by then
    assert set(until(client, "Successful", job=job)) <= {(job, "Running"), (job, "Successful")}
    other = make(path="/missing")
    work()
    until(client, "Failed", job=other)


def test_those_of_one_job(socket, make, work):
    client = socket()
    one, two = make(), make()
    client.subscribe("s", UPDATED, job=two)
    client.settle()
    work()
    assert {job for job, _ in until(client, "Successful", job=two)} == {two}
    assert one != two


def test_a_deleted_jobs_run_is_told_to_be_cancelled(socket, make, jobs):
    client = socket()
    job = make()
    client.subscribe("s", UPDATED, job=job)
    client.settle()
    jobs.transform_jobs.delete_job("", int(job))
    assert until(client, "Cancelled", job=job) == [(job, "Cancelled")]


def test_a_tenant_hears_nothing_of_another(jobs, socket, make, work):
    keys = {tenant: jobs.create_token(tenant, scopes=["read"], tenant=tenant) for tenant in ("acme", "other")}
    clients = {tenant: socket(key) for tenant, key in keys.items()}
    secret = make("acme")
    for client in clients.values():
        client.subscribe("one", UPDATED, job=secret)
        client.subscribe("s", UPDATED)
        client.settle()
    work()
    own = make("other")
    told = clients["other"].receive()
    assert (told["id"], told["payload"]["data"]["runUpdated"]["jobId"]) == ("s", own)
    heard = set()
    while ("one", "Successful") not in heard or ("s", "Successful") not in heard:
        message = clients["acme"].receive()
        run = message["payload"]["data"]["runUpdated"]
        assert run["jobId"] == secret
        heard.add((message["id"], run["status"]))


def test_whoever_is_not_let_in_is_sent_away(jobs, socket):
    jobs.create_token("k", scopes=["read"], tenant="acme")
    client = socket(init=False)
    client.send("connection_init", payload={"Authorization": "Bearer wrong"})
    assert client.closed() == (4403, "Forbidden")
    client = socket(jobs.create_token("e", scopes=["enqueue"], tenant="acme"))
    client.subscribe("s", UPDATED)
    assert client.receive()["payload"][0]["extensions"]["code"] == "FORBIDDEN"


def test_the_hosts_hook_is_told_which_job(jobs, socket):
    asked: list[Any] = []
    jobs.authenticate = lambda _context: Principal("u", "acme")

    def authorize(_who: Principal, action: Action, target: Any) -> bool:
        asked.append((action.name, target))
        return False

    jobs.authorize = authorize
    client = socket()
    client.subscribe("s", UPDATED, job="5")
    assert client.receive()["payload"][0]["extensions"]["code"] == "FORBIDDEN"
    assert asked == [("runUpdated", "5")]


def test_operations_over_a_socket(socket, make, jobs):
    job = make()
    client = socket()
    assert client.run("{ getJobs { id } }") == {"getJobs": [{"id": job}]}
    with jobs.worker(transform=True):
        assert client.run("mutation($id: ID!) { runJob(id: $id) }", id=job) == {"runJob": True}


def test_it_comes_as_server_sent_events_too(jobs, host, make):
    jobs.authenticate = lambda context: Principal("u", context.headers.get("x-tenant", ""))
    headers = {"accept": "text/event-stream", "x-tenant": "acme"}
    body = {"query": UPDATED}
    with httpx.stream("POST", f"http://{host}{PATH}", json=body, headers=headers, timeout=WAIT) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        lines = response.iter_lines()
        assert next(lines) == ":"  # it has begun
        make("other")
        own = make("acme")
        data = next(line for line in lines if line.startswith("data:"))
        assert json.loads(data.removeprefix("data:"))["data"]["runUpdated"]["jobId"] == own


def test_a_run_that_is_gone_is_said_to_be(jobs):
    info: Any = SimpleNamespace(context=Call(jobs._transform_face, Principal("u"), RequestContext()))
    with pytest.raises(NotFound, match="the run does not exist any more"):
        updated(77, info)
