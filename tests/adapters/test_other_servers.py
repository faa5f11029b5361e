"""Two servers over one database: who subscribes at the one hears of what is done at the other."""

from __future__ import annotations

import httpx
import pytest

import gnj
from tests.serving import Server
from tests.subscribers import connected

JOBS = 20
CREATE = "mutation ($jobs: [jobInput!]!) { jobCreateMany(jobs: $jobs) { id } }"


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def servers(request, tmp_path):
    url = request.getfixturevalue(f"{request.param}_database")()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
    with Server(url, tmp_path) as one, Server(url, tmp_path) as other:
        yield one, other


@pytest.fixture
def ask(servers):
    def ask(query, **variables):
        with httpx.Client(trust_env=False) as client:
            body = client.post(servers[1].url, json={"query": query, "variables": variables}).json()
        assert "errors" not in body, body
        return body["data"]

    return ask


@pytest.fixture
def client(servers, ask):
    """At the first server, once the second knows that somebody follows there."""
    with connected(f"127.0.0.1:{servers[0].port}") as client:
        client.init()
        client.subscribe("ping", "subscription { pinged { success } }")
        client.settle()
        client.connection.socket.settimeout(30)
        while True:  # what was said before the other server has looked is missed, for some tenths of a second
            ask("mutation { ping { success } }")
            try:
                client.connection.recv(0.5)
                break
            except TimeoutError:
                continue
        client.send("complete", id="ping")
        yield client


@pytest.mark.slow_on("sqlite")
def test_every_job_and_its_last_state_is_told(client, ask):
    client.subscribe("made", "subscription { jobCreated { id type } }")
    client.subscribe("changed", "subscription { jobUpdated { id status output } }")
    client.subscribe("gone", "subscription { jobDeleted { id } }")
    ids = {job["id"] for job in ask(CREATE, jobs=[{"type": "mail"}] * JOBS)["jobCreateMany"]}
    last = max(ids)
    for job in ask('mutation { acquireJobs(typeList: ["mail"], limit: 50) { id attempt } }')["acquireJobs"]:
        ask(
            "mutation ($job: jobInput!) { jobUpdate(job: $job) { id } }",
            job={**job, "status": "successful", "output": 1},
        )
    ask("mutation ($id: Int!) { jobDelete(id: $id) { id } }", id=last)
    made: set[int] = set()
    gone: set[int] = set()
    states: dict[int, str] = {}
    while not (made == ids and gone == {last} and all(states.get(id) == "successful" for id in ids - {last})):
        message = client.receive()
        if message["type"] != "next" or message["id"] == "ping":
            continue
        (job,) = message["payload"]["data"].values()
        match message["id"]:
            case "made":
                made.add(job["id"])
            case "changed":
                states[job["id"]] = job["status"]
            case "gone":
                gone.add(job["id"])
