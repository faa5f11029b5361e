"""Workers that claim and end at the same time: carried out together, each answered for itself."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from gnj import GNJ
from gnj.api.hooks import Principal
from gnj.api.http import Request
from gnj.queue.model import Batch, Job, JobAttempt, NewJob
from gnj.queue.states import BatchStatus, JobStatus
from gnj.storage.sql import SqlStorage
from tests import databases

ACQUIRE = """mutation($typeList: [String!]!, $workerId: String, $workerType: String) {
  job: acquireJob(typeList: $typeList, workerId: $workerId, workerType: $workerType) { id attempt input workerId workerType }
}"""
UPDATE = """mutation($job: jobInput!) {
  job: jobUpdate(job: $job) { id type name input output status processingInfo workerId endedAt batchId }
}"""
TYPE = "mail"


class Server:
    """The GraphQL endpoint of one server, asked by threads; the tenant is what the header says."""

    def __init__(self, url: str) -> None:
        self.jobs = GNJ(url, authenticate=lambda request: Principal("w", request.headers.get("tenant", "")))
        self.jobs.migrate()
        self.queue = self.jobs.queue
        self.pool = ThreadPoolExecutor(32)
        (route, *_) = self.jobs.routes(["graphql"])
        self._endpoint = route.endpoint
        self.claims: list[int] = []
        self.settlements: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        claim, settle = self.queue.storage.claim, self.queue.storage.settle

        def claim_gated(types, limit, **options):
            self.claims.append(limit)
            assert self.gate.wait(20)
            return claim(types, limit, **options)

        def settle_gated(settlements):
            self.settlements.append(len(settlements))
            assert self.gate.wait(20)
            return settle(settlements)

        gated: Any = self.queue.storage
        gated.claim, gated.settle = claim_gated, settle_gated

    def ask(self, query: str, tenant: str = "", **variables):
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"content-type": "application/json", "tenant": tenant}
        answer: Any = self._endpoint(Request(method="POST", path="/graphql", headers=headers, body=body))
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def acquire(self, worker: str, types=(TYPE,), tenant: str = ""):
        asked = {"typeList": list(types), "workerId": worker, "workerType": f"kind {worker}"}
        return self.ask(ACQUIRE, tenant, **asked)["data"]["job"]

    def end(self, tenant: str = "", **job):
        body = self.ask(UPDATE, tenant, job={"status": "successful", **job})
        return body["errors"][0]["extensions"]["code"] if "errors" in body else body["data"]["job"]

    def arrive(self, waiting, *asked) -> list[Future[Any]]:
        """Begins these calls one after the other, the first carried out, until all others wait in `waiting()` coalescers."""
        self.gate.clear()
        futures = []
        try:
            for call, *arguments in asked:
                futures.append(self.pool.submit(call, *arguments))
                until = time.monotonic() + 20
                while sum(len(each._waiting) for each in waiting()) < len(futures) - 1 or not futures[0].running():
                    assert time.monotonic() < until
                    time.sleep(0.001)
                while not (self.claims or self.settlements):
                    assert time.monotonic() < until
                    time.sleep(0.001)
        finally:
            self.gate.set()
        return futures

    def enqueue(self, count: int, **options) -> list[Job]:
        return self.queue.enqueue_many([NewJob(TYPE, {"n": n}, **options) for n in range(count)])

    def close(self) -> None:
        self.pool.shutdown()
        self.jobs.close()


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.backend(n)) for n in ("memory", "sqlite", "postgresql", "mysql")]
)
def server(request, tmp_path):
    if request.param == "memory":
        url = "memory://"
    elif request.param == "sqlite":
        url = databases.sqlite_database(tmp_path)
    else:
        url = request.getfixturevalue(f"{request.param}_database")()
    server = Server(url)
    yield server
    server.close()


def test_each_job_goes_to_one_caller(server):
    jobs = server.enqueue(60)

    def work(number: int) -> list[int]:
        done = []
        while (job := server.acquire(f"w{number}")) is not None:
            assert (job["workerId"], job["workerType"]) == (f"w{number}", f"kind w{number}")
            ended = server.end(id=job["id"], output={"by": number})
            assert (ended["id"], ended["status"], ended["output"]) == (job["id"], "successful", {"by": number})
            assert (ended["input"], ended["workerId"]) == (job["input"], f"w{number}")
            assert ended["endedAt"]
            done.append(job["id"])
        return done

    done = [id for ids in server.pool.map(work, range(12)) for id in ids]
    assert sorted(done) == [job.id for job in jobs]
    assert {job.status for job in server.queue.list(Job)} == {JobStatus.SUCCESSFUL}
    assert all(job.output == {"by": int(job.worker_id[1:])} and job.attempt == 1 for job in server.queue.list(Job))


def test_who_asks_first_gets_the_first(server):
    jobs = server.enqueue(5)
    calls = [(server.acquire, f"w{n}") for n in range(7)]
    found = [future.result(20) for future in server.arrive(server.queue._claiming.values, *calls)]
    assert server.claims == [1, 6]
    assert [job and job["id"] for job in found] == [job.id for job in jobs] + [None, None]
    assert [job and job["workerId"] for job in found] == [f"w{n}" for n in range(5)] + [None, None]
    assert [job.worker_type for job in server.queue.list(Job)] == [f"kind w{n}" for n in range(5)]


def test_only_those_who_ask_for_the_same_are_served_together(server):
    server.queue.enqueue(NewJob("post"))
    server.enqueue(2)
    server.enqueue(1, tenant="t")
    calls = [
        (server.acquire, "a"),
        (server.acquire, "b"),
        (server.acquire, "c", (TYPE,), "t"),
        (server.acquire, "d", ("post", TYPE)),
    ]
    server.gate.clear()
    futures = [server.pool.submit(*call) for call in calls]
    until = time.monotonic() + 20
    while len(server.claims) < 3:
        assert time.monotonic() < until
        time.sleep(0.001)
    server.gate.set()
    found = [future.result(20) for future in futures]
    assert sorted(server.claims) == [1, 1, 1, 1]
    assert all(found)
    assert {job.worker_id: (job.type, job.tenant) for job in server.queue.list(Job)}["c"] == (TYPE, "t")


def test_every_end_is_answered_for_itself(server):
    server.enqueue(4)
    a, b, c, d = server.queue.acquire([TYPE], 4)
    batch = server.queue.add_batch([NewJob("member")])
    member = server.queue.acquire(["member"])
    (other,) = server.enqueue(1, tenant="t")
    server.queue.acquire([TYPE], tenants=["t"])
    server.claims.clear()
    calls = [
        (lambda: server.end(id=a.id, attempt=1, output=[1])),
        (lambda: server.end(id=b.id, attempt=2)),
        (lambda: server.end(id=b.id, attempt=1, output={"x": None})),
        (lambda: server.end(id=c.id)),
        (lambda: server.end(id=c.id, attempt=1)),
        (lambda: server.end(id=2**31 - 1)),
        (lambda: server.end(id=other.id)),
        (lambda: server.end(id=member.id)),
        (lambda: server.end(id=d.id, status="failed", output={"error": "no"})),
        (lambda: server.end(id=a.id, attempt=1, output=[1])),
        (lambda: server.end(id=a.id, attempt=1, output=[2])),
    ]
    gathered = [call for place, call in enumerate(calls) if place != 8]
    futures = server.arrive(lambda: [server.queue._ending], *[(call,) for call in gathered])
    assert calls[8]()["status"] == "failed"
    told = [future.result(20) for future in futures]
    assert server.settlements[:2] == [1, 9]
    assert [one if isinstance(one, str) else (one["id"], one["output"]) for one in told] == [
        (a.id, [1]),
        "LEASE_LOST",
        (b.id, {"x": None}),
        (c.id, None),
        (c.id, None),
        "JOB_NOT_FOUND",
        "JOB_NOT_FOUND",
        (member.id, None),
        (a.id, [1]),
        "LEASE_LOST",
    ]
    found = {job.id: job.status for job in server.queue.list(Job)}
    assert Counter(found.values()) == {JobStatus.SUCCESSFUL: 4, JobStatus.FAILED: 1, JobStatus.PROCESSING: 1}
    assert found[other.id] is JobStatus.PROCESSING
    assert server.queue.get(Batch, batch.id).status is BatchStatus.SUCCESSFUL
    assert [row.job_id for row in server.queue.storage.find(JobAttempt)] == [d.id]


def test_who_is_told_of_changes_is_told_of_each(server):
    server.enqueue(3)
    told, all_told = [], threading.Event()

    @server.jobs.on("started", "succeeded")
    def note(event):
        told.append((event.name, event.job.id, event.job.worker_id))
        if len(told) == 6:
            all_told.set()

    claimed = list(server.pool.map(server.acquire, ["a", "b", "c"]))
    ended = list(server.pool.map(lambda job: server.end(id=job["id"]), claimed))
    assert [job["status"] for job in ended] == ["successful"] * 3
    assert all_told.wait(20)
    assert sorted(told) == sorted((name, j["id"], j["workerId"]) for name in ("started", "succeeded") for j in claimed)


def test_what_a_policy_fills_is_filled_for_each(server):
    server.enqueue(3)
    server.jobs.handler(TYPE, max_attempts=4, timeout=9)(lambda job: None)
    claimed = list(server.pool.map(server.acquire, ["a", "b", "c"]))
    assert {job["workerId"] for job in claimed} == {"a", "b", "c"}
    assert {(job.max_attempts, job.timeout) for job in server.queue.list(Job)} == {(4, 9.0)}


@pytest.mark.backend("sqlite")
def test_a_job_that_cannot_be_read_is_nobodys(tmp_path):
    server = Server(databases.sqlite_database(tmp_path))
    jobs = server.enqueue(4)
    assert isinstance(server.queue.storage, SqlStorage)
    with server.queue.storage.engine.begin() as connection:
        connection.execute(
            text("UPDATE gnj_job SET input = '{' WHERE id IN (:a, :b)"), {"a": jobs[1].id, "b": jobs[2].id}
        )
    futures = server.arrive(server.queue._claiming.values, *[(server.acquire, f"w{n}") for n in range(3)])
    found = [future.result(20) for future in futures]
    assert [job and job["id"] for job in found] == [jobs[0].id, jobs[3].id, None]
    assert [job.status.value for job in server.queue.list(Job)] == ["processing", "failed", "failed", "processing"]
    server.close()
