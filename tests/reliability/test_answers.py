"""P6 and P16: answers that get lost, and a database that does."""

import sqlite3
import threading
import time

import anyio
import httpx
import pytest
from sqlalchemy.engine import make_url

from benchmarks.reliability.client import Client
from benchmarks.reliability.sources import HttpSource
from gnj.app import GNJ
from gnj.queue.model import Job, JobAttempt, NewJob, Pipeline
from gnj.storage.sql import SqlStorage
from gnj.worker import Handlers, Worker
from tests.reliability.proxies import Forgetful, Proxy
from tests.worker.spy import WAIT, until

CREATE = "mutation ($job: jobInput!) { jobCreate(job: $job) { id } }"
UPDATE = "mutation ($job: jobInput!) { jobUpdate(job: $job) { id status output attempt failures } }"


def test_p6_lost_answers_to_ends_are_told_again_and_count_once(url, storage, queue, fleet):
    """Each third answer is lost: every step is taken once, every failure counted once."""
    server = fleet(url, servers=1).servers[0]
    handlers = Handlers()
    handlers.register("good", lambda job: job.id)

    @handlers.handler("bad", max_attempts=2)
    def bad(job):
        raise ValueError(job.attempt)

    for number in range(12):
        queue.add_pipeline(str(number), [NewJob("good"), [NewJob("good")] * 2, NewJob("good")])
    # over HTTP a policy comes with the job: the server knows no handlers
    queue.enqueue_many([NewJob("bad", max_attempts=2) for _ in range(6)])
    with Forgetful(server.port, "jobUpdateMany", 3) as proxy:
        client = Client([proxy.url], 0, timeout=10)
        with Worker(HttpSource(client, "w", 30), handlers, concurrency=4, poll=0.02):
            until(lambda: queue.count(Pipeline, status="successful") == 12 and queue.count(Job, status="failed") == 6)
        client.close()
        assert proxy.dropped >= 2
    good = queue.list(Job, type="good")
    assert {(job.status, job.output == job.id, job.attempt, job.stalled_count) for job in good} == {
        ("successful", True, 1, 0)
    }
    assert {(job.status, job.attempt, job.failures) for job in queue.list(Job, type="bad")} == {("failed", 2, 2)}
    assert queue.count(JobAttempt) == 12


def test_p6_the_same_end_again_has_the_same_answer(url, queue):
    queue.enqueue(NewJob("work"))
    job = queue.acquire(["work"])
    change = {"id": job.id, "attempt": 1, "status": "successful", "output": {"n": 1}}
    with GNJ(url) as jobs:
        api = InProcess(jobs)
        body = {"query": UPDATE, "variables": {"job": change}}
        answers = [api.post("/graphql", json=body).json() for _ in range(3)]
    assert answers[0]["data"]["jobUpdate"]["status"] == "successful"
    assert answers == answers[:1] * 3


class InProcess:
    """A client of an application in this process."""

    def __init__(self, jobs):
        self._app = jobs.asgi_app()
        jobs.start()  # nobody runs the lifespan

    def post(self, path, json):
        async def ask():
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.post(path, json=json)

        return anyio.run(ask)


def create(api, key):
    """The answer, its status, and how long it took."""
    begun = time.monotonic()
    body = {"query": CREATE, "variables": {"job": {"type": "single", "jobUniqueId": key, "input": {"ms": 1}}}}
    response = api.post("/graphql", json=body)
    return response, time.monotonic() - begun


class Load:
    """Creates jobs without a pause, from a thread, and keeps what it was answered."""

    def __init__(self, url):
        self.acknowledged, self.refused, self.slowest = [], [], 0.0
        self._api = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self):
        number = 0
        while not self._over.is_set():
            number += 1
            response, seconds = create(self._api, f"key {number}")
            if response.status_code == 200 and "errors" not in response.json():
                self.acknowledged.append(f"key {number}")
            else:
                self.refused.append((response.status_code, response.headers.get("retry-after")))
            self.slowest = max(self.slowest, seconds)

    @staticmethod
    def go_on(answers):
        """Returns when there are some more of these."""
        goal = len(answers) + 20
        until(lambda: len(answers) >= goal)

    def stop(self):
        self._over.set()
        self._thread.join(60)
        self._api.close()


def test_p16_a_database_that_is_cut_off_is_answered_with_503_and_loses_nothing(postgresql_database, fleet):
    """Again and again, under load; server and workers come back by themselves."""
    direct = postgresql_database()
    parts = make_url(direct)
    storage = SqlStorage(direct)
    storage.migrate()
    with Proxy(parts.host or "127.0.0.1", parts.port or 5432) as proxy:
        through = parts.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        cluster = fleet(through, servers=1, workers=1, mode="embedded", lease=2)
        load = Load(cluster.servers[0].url)
        try:
            for _ in range(3):
                load.go_on(load.acknowledged)
                proxy.cut()
                load.go_on(load.refused)
                proxy.mend()
            load.go_on(load.acknowledged)
        finally:
            load.stop()
        assert set(load.refused) == {(503, "5")}
        # 2 s is the promise
        assert load.slowest < 3.0
        until(lambda: storage.count(Job) and not unfinished(storage), within=30)
        cluster.retire(list(cluster.workers))
        assert cluster.crashes == []
    stored = {job.unique_id: job for job in storage.find(Job)}
    storage.close()
    assert set(load.acknowledged) <= set(stored)
    assert {job.status for job in stored.values()} == {"successful"}


@pytest.mark.backend("sqlite")
def test_p16_a_new_file_that_another_process_writes_to_is_waited_for(sqlite_database):
    """As by another one that is about to migrate it: eight that start at once fail so, some of them, now and then."""
    url = sqlite_database()
    other = sqlite3.connect(make_url(url).database or "", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.rollback)
    release.start()
    storage = SqlStorage(url)
    try:
        storage.migrate()
    finally:
        release.join()
        other.close()
        storage.close()


@pytest.mark.slow
def test_p16_a_database_that_hangs_is_answered_with_503(postgresql_database, fleet, monkeypatch):
    """Within the limit of a statement, here 1 s, on a connection there is; of connecting, here 2 s, on a new one."""
    monkeypatch.setenv("GNJ_LIMIT_STATEMENT_SECONDS", "1")
    direct = postgresql_database()
    parts = make_url(direct)
    storage = SqlStorage(direct)
    storage.migrate()
    storage.close()
    with Proxy(parts.host or "127.0.0.1", parts.port or 5432) as proxy:
        parts = parts.set(host="127.0.0.1", port=proxy.port).update_query_dict({"connect_timeout": "2"})
        server = fleet(parts.render_as_string(hide_password=False), servers=1).servers[0]
        with httpx.Client(base_url=server.url, timeout=5, trust_env=False) as api:
            assert create(api, "before")[0].status_code == 200
            proxy.hang()
            for key in ("on a connection of the pool", "on a new one"):
                response, seconds = create(api, key)
                assert (response.status_code, response.headers["retry-after"]) == (503, "5")
                assert seconds < 3.0


def unfinished(storage):
    return sum(job.status != "successful" for job in storage.find(Job))


@pytest.mark.backend("sqlite")
def test_p16_a_locked_file_is_answered_with_503(sqlite_database, monkeypatch):
    """After five seconds, here half a second, of waiting for its turn; then it goes on."""
    monkeypatch.setattr("gnj.storage.sql.engine.BUSY_SECONDS", 0.5)
    url = sqlite_database()
    storage = SqlStorage(url)
    with GNJ(storage) as jobs:
        api = InProcess(jobs)
        assert create(api, "before")[0].status_code == 200
        other = SqlStorage(url)
        with other.begin():
            response, seconds = create(api, "while")
            assert (response.status_code, response.headers["retry-after"]) == (503, "5")
            assert response.json()["errors"][0]["extensions"]["code"] == "STORAGE_UNAVAILABLE"
            assert 0.4 < seconds < WAIT
        assert create(api, "after")[0].status_code == 200
        assert [job.unique_id for job in storage.find(Job)] == ["before", "after"]
        other.close()
    storage.close()
