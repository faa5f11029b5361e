"""Requests end in time, whatever the database or a resolver does; and what came too late is undone."""

from __future__ import annotations

import threading
import time

import anyio
import httpx
import pytest
from sqlalchemy import create_engine, text

import gnj
from gnj.api import http
from gnj.queue import deadline
from gnj.queue.errors import StorageUnavailable, TimedOut
from gnj.queue.later import at_once
from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.storage.sql import SqlStorage

SLOW = {
    "postgresql": "SELECT pg_sleep(20)",
    "mysql": "SELECT SLEEP(20)",
    "mariadb": "SELECT SLEEP(20)",
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 500000000) SELECT count(*) FROM c",
}
"""What takes far longer than any limit here."""
SHORT = {
    "postgresql": "SELECT pg_sleep(0.7)",
    "mysql": "SELECT SLEEP(0.7)",
    "mariadb": "SELECT SLEEP(0.7)",
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3000000) SELECT count(*) FROM c",
}
"""Longer than the limit of a statement here, and not much."""


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.backend(n)) for n in ("sqlite", "postgresql", "mysql")])
def url(request):
    return request.getfixturevalue(f"{request.param}_database")()


@pytest.fixture(params=["own", "host"])
def sql(request, url):
    """A storage on an engine of our own, or of the host's."""
    setup = SqlStorage(url)
    setup.migrate()
    setup.close()
    engine = create_engine(setup.engine.url) if request.param == "host" else None
    storage = SqlStorage(url if engine is None else engine)
    yield storage
    storage.close()
    if engine is not None:
        engine.dispose()


@pytest.mark.parametrize("write", [True, False])
def test_a_statement_is_broken_off_and_the_connection_serves_on(sql, write):
    queue = Queue(sql)
    queue.enqueue(NewJob("before"))

    def work():
        with deadline.within(5.0, 0.3), sql.begin(write=write) as tx:
            if write:
                tx.insert_jobs([{"type": "lost"}])
            tx.run(text(SLOW[sql.engine.dialect.name]))

    with pytest.raises(TimedOut):
        work()
    with deadline.within(5.0, 0.3):
        assert [job.type for job in sql.find(Job)] == ["before"]
        assert queue.enqueue(NewJob("after")).type == "after"


def test_what_is_no_request_has_no_limit_also_on_the_same_connection(sql):
    sql = SqlStorage(sql.engine)
    slow = text(SHORT[sql.engine.dialect.name])
    for write in (True, False):
        with deadline.within(5.0, 0.3):
            sql.count(Job)
            Queue(sql).enqueue(NewJob("request"))
        with sql.begin(write=write) as tx:
            tx.run(slow)


def test_work_that_ends_too_late_is_undone(storage):

    def ends_late():
        with deadline.within(0.5, 5.0), storage.begin() as tx:
            tx.insert_jobs([{"type": "late"}])
            time.sleep(0.6)

    def begins_late():
        with deadline.within(0.001, 5.0):
            time.sleep(0.01)
            Queue(storage).enqueue(NewJob("later"))

    for work in (ends_late, begins_late):
        with pytest.raises(TimedOut):
            work()
        assert storage.find(Job) == []
    assert storage.find(Job) == []
    assert Queue(storage).enqueue(NewJob("no request")).type == "no request"


def test_an_inner_limit_does_not_outlast_the_outer_one():
    with deadline.within(10.0, 5.0) as outer, deadline.within(60.0, 60.0) as inner:
        assert (inner.ends, inner.statement) == (outer.ends, 5.0)
        assert deadline.of_statement() == 5.0
    assert deadline.current() is None


def test_memory_that_somebody_holds_is_waited_for_until_then():
    from gnj.storage.memory import MemoryStorage

    storage = MemoryStorage()
    held, go = threading.Event(), threading.Event()

    def hold():
        with storage.begin():
            held.set()
            go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    try:
        with pytest.raises(TimedOut), deadline.within(0.05, 5.0):
            storage.count(Job)
    finally:
        go.set()
        thread.join(20)


def test_an_operation_that_takes_too_long_is_503_and_a_good_request_follows(url):
    """A lock that somebody else holds stands in for anything slow."""
    blocker = SqlStorage(url)
    blocker.migrate()
    Queue(blocker).enqueue(NewJob("mail"))
    with gnj.GNJ(url, limits=gnj.Limits(statement_seconds=0.3, operation_seconds=1.0)) as jobs:
        app = jobs.asgi_app()
        rename = 'mutation { jobUpdate(job: {id: 1, name: "x"}) { name } }'

        async def run():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                with blocker.begin() as tx:
                    tx.get(Job, 1, lock=True)
                    late = await client.post("/graphql", json={"query": rename}, timeout=30)
                good = await client.post("/graphql", json={"query": rename}, timeout=30)
                return late, good

        jobs.start()
        late, good = anyio.run(run)
    blocker.close()
    assert (late.status_code, late.headers["retry-after"]) == (503, "5")
    (error,) = late.json()["errors"]
    assert error["extensions"]["code"] in ("TIMEOUT", "STORAGE_UNAVAILABLE")
    assert good.json() == {"data": {"jobUpdate": {"name": "x"}}}


def test_what_was_done_before_the_time_was_up_is_told(storage, monkeypatch):
    """Of several root fields the first has committed: a 503 would have the client do it again."""
    with gnj.GNJ(storage, limits=gnj.Limits(operation_seconds=0.2)) as jobs:
        real = jobs._queue.create_later

        def slow(row, **given):
            made = real(row, **given).result()
            time.sleep(0.3)
            return at_once(lambda: made)

        monkeypatch.setattr(jobs._queue, "create_later", slow)
        both = 'mutation { a: jobCreate(job: {type: "a"}) { type } b: jobCreate(job: {type: "b"}) { type } }'
        body = jobs.execute(both)
    assert body["data"] == {"a": {"type": "a"}, "b": None}
    assert [error["extensions"]["code"] for error in body["errors"]] == ["TIMEOUT"]
    assert [job.type for job in storage.find(Job)] == ["a"]


class Busy:
    """Something to serve whose requests wait."""

    threads = 1

    def __init__(self, **limits):
        self.limits = gnj.Limits(**limits)
        self.entered, self.go = threading.Semaphore(0), threading.Event()

    def start(self):
        pass

    def close(self):
        pass

    def routes(self, faces, *, asynchronous=True):
        return [http.Route(path="/work", methods=("POST",), endpoint=self.work, name="work")]

    def work(self, request):
        self.entered.release()
        if request.body == b"hang":
            self.go.wait(20)
        return http.text("done")


def test_a_pool_full_of_what_hangs_answers_503_and_then_serves_again():
    import gnj_starlette

    jobs = Busy(waiting_seconds=0.2)
    app = gnj_starlette.asgi_app(jobs)
    found = []

    async def run():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:

            async def post(body):
                found.append(await client.post("/work", content=body, timeout=30))

            async with anyio.create_task_group() as group:
                group.start_soon(post, b"hang")
                await anyio.to_thread.run_sync(jobs.entered.acquire)
                await post(b"next")
                jobs.go.set()
            await post(b"last")

    anyio.run(run)
    busy, hung, last = found
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
    assert busy.json()["errors"][0]["extensions"]["code"] == "BUSY"
    # one that has its thread is not cancelled, though it took longer than others may wait
    assert (hung.status_code, hung.text, last.text) == (200, "done", "done")


def test_timed_out_is_a_database_that_is_not_available():
    assert issubclass(TimedOut, StorageUnavailable)
    assert TimedOut.code == "TIMEOUT"
