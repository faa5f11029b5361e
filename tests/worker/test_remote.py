"""A worker behind a server: what a network does to it. What it shares with any worker is tested with those."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

import gnj
from gnj.access import Principal
from gnj.queue import errors
from gnj.queue.ends import Outcome
from gnj.queue.errors import GnjError, InvalidInput, LeaseLost, StorageUnavailable
from gnj.queue.model import Job, JobAttempt, NewJob, attributes
from gnj.queue.states import JobStatus
from gnj.worker import wire
from gnj.worker.remote import RemoteSource, RemoteWorker
from gnj.worker.source import Source
from tests.reliability.proxies import Forgetful
from tests.serving import ROOT, Server, served
from tests.worker.spy import WAIT, FarSpy, at_most, until

DATABASES = [
    pytest.param("sqlite", marks=pytest.mark.backend("sqlite")),
    pytest.param("postgresql", marks=[pytest.mark.backend("postgresql"), pytest.mark.slow]),  # it is beyond a server
]


@pytest.fixture(params=DATABASES)
def database(request):
    url = request.getfixturevalue(f"{request.param}_database")()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
    return url


@pytest.fixture
def server(database, tmp_path):
    with Server(database, tmp_path) as server:
        yield server


@pytest.fixture
def jobs(database):
    with gnj.GNJ(database) as jobs:
        yield jobs


@pytest.fixture
def hosted():
    """A GNJ of memory, and where this process serves it."""
    with gnj.GNJ("memory://") as jobs, served(jobs.asgi_app()) as address:
        yield jobs, f"{address}/graphql"


def test_it_is_a_source(endpoint):
    with closing(RemoteSource(endpoint, lease=2.5)) as source:
        assert isinstance(source, Source)
        assert source.lease == 3.0


def test_a_job_is_the_same_near_and_closing(hosted):
    jobs, url = hosted
    batch = jobs.queue.add_batch([], tenant="")
    new = jobs.queue.create_jobs(
        [
            {
                "type": "work",
                "name": "ü",
                "unique_id": "u",
                "input": {"a": [1, None, "x"]},
                "output": "text",
                "progress": {"steps": {"s": {"status": "done"}}},
                "priority": 9,
                "max_attempts": 3,
                "backoff": {"type": "fixed", "delay": 100},
                "timeout": 2.5,
                "on_lost": "fail",
                "recoverable": True,
                "batch_id": batch.id,
                "status": "queued",
            }
        ]
    )
    with closing(RemoteSource(url, lease=7, worker_type="kind")) as source:
        (claimed,) = source.claim(["work"], 5)
    assert claimed.id == new[0].id
    stored = jobs.get(claimed.id)
    wired = [name for name, attribute in attributes(Job).items() if attribute.wire is not None]
    assert {name: getattr(claimed, name) for name in wired} == {name: getattr(stored, name) for name in wired}
    assert (claimed.lease, claimed.worker_type, claimed.status) == (7.0, "kind", JobStatus.PROCESSING)
    assert claimed.started_at
    assert claimed.started_at.utcoffset() == timedelta(0)


def test_every_error_of_the_server_is_the_same_error_here():
    own = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, GnjError)}
    for error in own:
        found = wire.error(error.code, "what it says")
        assert type(found).code == error.code
        assert isinstance(found, GnjError)
    assert isinstance(wire.error("LEASE_LOST", "x"), LeaseLost)
    assert str(wire.error("LEASE_LOST", "x")) == "x"
    assert type(wire.error("FROM_LATER", "what")) is GnjError
    assert type(wire.error(None, None)) is GnjError


@pytest.mark.parametrize("value", ["just words", '{"a": 1}', "", "1", None, 1.5, {"a": "x"}, ["x"], True])
def test_outputs_and_progress_arrive_as_they_are(hosted, value):
    jobs, url = hosted
    job = jobs.enqueue("work", value)
    with closing(RemoteSource(url)) as source:
        (claim,) = source.claim(["work"], 1)
        assert claim.input == value
        assert source.progress(claim, value).progress == value
        (ended,) = source.settle([Outcome(claim, JobStatus.SUCCESSFUL, value)])
        assert isinstance(ended, Job)
        assert (ended.output, ended.input) == (value, value)
    stored = jobs.get(job.id)
    assert stored
    assert (stored.output, stored.progress) == (value, value)


def test_policies_are_the_claimers_own(hosted, handlers):
    """They are stored with the claim, so that they hold when the worker is never heard of again."""
    jobs, url = hosted
    backoff = gnj.Exponential(1.0, maximum=60, jitter=0.2)
    handlers.register("work", lambda job: 1, max_attempts=5, backoff=backoff, timeout=3, on_lost="fail")
    handlers.register("other", lambda job: 1)
    first = jobs.enqueue("work")
    own = jobs.enqueue("work", max_attempts=2)
    plain = jobs.enqueue("other")
    with closing(RemoteSource(url, policies=handlers.policies)) as source:
        claimed = {job.id: job for job in source.claim(handlers.types, 9)}
    for job in (jobs.get(first.id), claimed[first.id]):
        assert (job.max_attempts, job.backoff, job.timeout, job.on_lost) == (5, backoff.to_wire(), 3.0, "fail")
    assert (claimed[own.id].max_attempts, claimed[own.id].timeout) == (2, 3.0)
    assert (claimed[plain.id].max_attempts, claimed[plain.id].on_lost) == (None, None)


def test_ends_of_all_kinds_in_one_call(hosted):
    jobs, url = hosted
    for name in ("good", "bad", "stopped", "later", "lost"):
        jobs.enqueue("work", name)
    with closing(FarSpy(url)) as source:
        claims = {job.input: job for job in source.claim(["work"], 9)}
        jobs.queue.release([claims["lost"]])
        results = source.settle(
            [
                Outcome(claims["good"], JobStatus.SUCCESSFUL, 1),
                Outcome(claims["bad"], JobStatus.FAILED, {"error": "no"}, "the traceback"),
                Outcome(claims["stopped"], JobStatus.CANCELLED, {"cancelMessage": "m"}),
                Outcome(claims["later"], JobStatus.QUEUED, delay=0.5),
                Outcome(claims["lost"], JobStatus.SUCCESSFUL, 1),
                Outcome(claims["good"].evolve(id=999), JobStatus.SUCCESSFUL, 1),
            ]
        )
    assert [getattr(r, "status", type(r).__name__) for r in results] == [
        "successful",
        "failed",
        "cancelled",
        "queued",
        "LeaseLost",
        "JobNotFound",
    ]
    (attempt,) = jobs.queue.list(JobAttempt)
    assert attempt.error == "the traceback"
    later = jobs.get(claims["later"].id)
    assert later.due_at is not None
    assert (later.failures, later.stalled_count) == (0, 0)


def test_what_is_too_large_fails_alone(handlers):
    handlers.register("work", lambda job: "x" * job.input)
    with (
        gnj.GNJ("memory://", limits=gnj.Limits(max_body=100_000)) as jobs,
        served(jobs.asgi_app()) as address,
    ):
        sizes = [10, 200_000, 20, 60_000, 60_000]
        made = [jobs.enqueue("work", size) for size in sizes]
        with closing(RemoteSource(f"{address}/graphql")) as source:
            claims = source.claim(["work"], 9)
            results = source.settle([Outcome(c, JobStatus.SUCCESSFUL, "x" * c.input) for c in claims])
            assert [isinstance(result, InvalidInput) for result in results] == [False, True, False, False, False]
            source.release([claims[1]])
        with RemoteWorker(f"{address}/graphql", handlers=handlers):
            until(lambda: jobs.count(id=made[1].id, status="failed"))
        (failed,) = jobs.list(id=made[1].id)
        assert "limited to 100,000 bytes" in failed.output["error"]


def test_many_outcomes_are_told_in_parts(hosted):
    jobs, url = hosted
    jobs.enqueue_many([NewJob("work") for _ in range(1100)])
    with closing(RemoteSource(url)) as source:
        claims = source.claim(["work"], 5000)
        assert len(claims) == 1000
        claims += source.claim(["work"], 5000)
        assert all(job is not None for job in source.renew(claims))
        big = "x" * 3_000_000
        outcomes = [Outcome(claim, JobStatus.SUCCESSFUL, big if n < 5 else n) for n, claim in enumerate(claims)]
        assert all(isinstance(result, Job) for result in source.settle(outcomes))
    assert jobs.count(status="successful") == 1100


def test_news_of_the_server_wake_the_worker(hosted, handlers):
    jobs, url = hosted
    handlers.register("work", lambda job: job.id)

    def is_done(job):
        return jobs.get(job.id).status == "successful"

    with RemoteWorker(url, handlers=handlers, poll=60) as worker:
        until(lambda: worker.source.rings >= 2)  # it rings when a subscription begins
        for _ in range(3):
            with at_most(2.0):
                job = jobs.enqueue("work")
                until(partial(is_done, job))
        planned = jobs.queue.create_jobs([{"type": "work", "status": "planned"}])[0]
        with at_most(2.0):
            jobs.queue.update_job(planned.id, {"status": "queued"})
            until(partial(is_done, planned))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("gnj-hear")]


def test_a_worker_that_may_not_read_polls(hosted, handlers, caplog):
    jobs, url = hosted
    jobs.authorize = lambda principal, action, target: action.kind == "work"
    handlers.register("work", lambda job: "done")
    with caplog.at_level(logging.INFO, "gnj.worker"), RemoteWorker(url, handlers=handlers, poll=0.05):
        until(lambda: "no wake-up by jobCreated" in caplog.text)
        job = jobs.enqueue("work")
        until(lambda: jobs.get(job.id).output == "done")


def test_a_wrong_token_is_told_once_and_asked_again(hosted, handlers, caplog):
    jobs, url = hosted
    jobs.authenticate = lambda context: None
    handlers.register("work", lambda job: "done")
    job = jobs.enqueue("work")
    with RemoteWorker(url, token="wrong", handlers=handlers):
        until(lambda: "cannot claim" in caplog.text)
        time.sleep(0.5)
        assert jobs.get(job.id).status == "queued"
        jobs.authenticate = known
        until(lambda: jobs.get(job.id).output == "done")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [("UNAUTHENTICATED" in text, "wrong" in text) for text in warnings if "cannot claim" in text] == [
        (True, False)
    ]


def known(context):
    return Principal("worker") if context.headers["authorization"] == "Bearer wrong" else None


class _Unavailable(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[float]] = []

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        if self.headers["accept"] != "text/event-stream":
            self.asked.append(time.monotonic())
        body = json.dumps({"errors": [{"message": "too busy", "extensions": {"code": "STORAGE_UNAVAILABLE"}}]}).encode()
        self.send_response(503)
        self.send_header("retry-after", "1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


def test_a_pause_the_server_asks_for_is_kept(handlers):
    _Unavailable.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Unavailable) as busy:
        busy.daemon_threads = True
        thread = threading.Thread(target=busy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with closing(RemoteSource(f"http://127.0.0.1:{busy.server_address[1]}/graphql")) as source:
                end = time.monotonic() + 1.5
                while time.monotonic() < end:
                    with pytest.raises(StorageUnavailable):
                        source.claim(["work"], 1)
                    time.sleep(0.01)
        finally:
            busy.shutdown()
            thread.join()
    # a claim, then after the pause the look for a lost one
    assert len(_Unavailable.asked) == 2
    assert _Unavailable.asked[1] - _Unavailable.asked[0] >= 1.0


@pytest.mark.slow_on("heartbeats", "progress")
@pytest.mark.parametrize("word", ["acquireJobs", "settle", "heartbeats", "progress"])
def test_lost_answers_do_no_harm(server, jobs, handlers, word):
    """The server acts, its answer is lost: nothing is run twice, nothing is lost, nothing is counted as lost."""
    ran: list[int] = []

    @handlers.handler("work")
    def work(job, ctx):
        ran.append(job.id)
        ctx.progress({"ran": job.attempt})
        if word == "heartbeats":
            ctx.wait_for_cancel(1.5)
        return {"id": job.id}

    made = jobs.enqueue_many([NewJob("work") for _ in range(40)])
    with Forgetful(server.port, word, 2) as proxy:
        lease = 2 if word == "heartbeats" else 30
        with RemoteWorker(f"{proxy.url}/graphql", handlers=handlers, concurrency=20, lease=lease, poll=0.05):
            until(lambda: jobs.count(status="successful") == 40, within=60)
        assert proxy.dropped > 0
    done = jobs.list()
    assert {(job.output == {"id": job.id}, job.attempt, job.stalled_count, job.failures) for job in done} == {
        (True, 1, 0, 0)
    }
    assert sorted(ran) == [job.id for job in made]


def test_claims_lost_by_a_worker_with_a_given_name_come_back_with_their_leases(server, jobs, handlers):
    handlers.register("work", lambda job: job.id)
    # a job may be unlucky many times, for every other answer is lost
    jobs.enqueue_many([NewJob("work", max_stalled=1_000) for _ in range(6)])
    with Forgetful(server.port, "acquireJobs", 2) as proxy:
        url = f"{proxy.url}/graphql"
        with RemoteWorker(url, handlers=handlers, concurrency=2, lease=1, poll=0.05, worker_id="named"):
            until(lambda: jobs.count(status="successful") == 6, within=60)
    assert max(job.stalled_count for job in jobs.list()) >= 1
    assert {job.worker_id for job in jobs.list()} == {"named"}


def test_a_worker_outlives_its_server(server, jobs, handlers):
    started, go = threading.Event(), threading.Event()

    @handlers.handler("work")
    def work(job):
        started.set()
        go.wait(WAIT)
        return "done"

    job = jobs.enqueue("work")
    with RemoteWorker(server.url, handlers=handlers, poll=0.1):
        assert started.wait(WAIT)
        server.kill()
        go.set()  # it ends while nobody can be told
        server.start()
        until(lambda: jobs.get(job.id).status == "successful", within=30)
        after = jobs.enqueue("work")
        until(lambda: jobs.get(after.id).status == "successful", within=30)
    assert (jobs.get(job.id).attempt, jobs.get(job.id).stalled_count) == (1, 0)


def test_a_worker_starts_before_its_server(database, tmp_path, jobs, handlers):
    with Server(database, tmp_path) as server:
        server.stop()
        handlers.register("work", lambda job: "done")
        with RemoteWorker(server.url, handlers=handlers):
            job = jobs.enqueue("work")
            server.start()
            until(lambda: jobs.get(job.id).status == "successful", within=30)


PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the others may have done all before this one has begun
import gnj

handlers = gnj.Handlers()
journal = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@handlers.handler("quick")
def quick(job):
    os.write(journal, b"%d\\n" % job.id)
    return job.id

gnj.RemoteWorker(sys.argv[1], handlers=handlers, concurrency=4, poll=0.2).run(grace=5)
"""


@pytest.mark.parametrize(
    "count, each", [pytest.param(2, 50, id="few"), pytest.param(8, 300, id="many", marks=pytest.mark.slow)]
)
def test_processes_share_a_server(server, jobs, tmp_path, count, each):
    total = count * each
    journal = tmp_path / "journal"
    made = jobs.enqueue_many([NewJob("quick") for _ in range(total)])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, server.url, str(journal)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(count)]
    try:
        until(lambda: jobs.count(status="successful") == total, within=100)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        assert [worker.communicate(timeout=20)[1] for worker in workers] == [""] * count
        assert [worker.returncode for worker in workers] == [0] * count
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    done = jobs.list(limit=total)
    assert {(job.output == job.id, job.attempt, job.failures, job.stalled_count) for job in done} == {(True, 1, 0, 0)}
    assert sorted(map(int, journal.read_text().split())) == [job.id for job in made]


@pytest.mark.parametrize(
    "options, says",
    [
        ({"url": "ftp://x/graphql"}, "url must be an address"),
        ({"url": "http://"}, "url must be an address"),
        ({"token": "two words"}, "token must be printable ASCII"),
        ({"token": "new\nline"}, "token must be printable ASCII"),
        ({"lease": 0}, "lease must be from"),
        ({"worker_id": ""}, "worker_id must not be empty"),
        ({"concurrency": 0}, "concurrency must be from 1"),
        ({"poll": 0}, "poll must be from"),
    ],
)
def test_wrong_arguments_are_refused(handlers, options, says):
    with pytest.raises(InvalidInput, match=says):
        RemoteWorker(**{"url": "http://127.0.0.1:1/graphql", "handlers": handlers, **options})


def test_the_token_is_nowhere_to_be_seen():
    worker = RemoteWorker("http://127.0.0.1:1/graphql", token="secret-token", handlers=gnj.Handlers())
    assert "secret-token" not in repr(worker.source) + repr(worker) + repr(worker._remote._client)


def test_a_remote_worker_is_loaded_when_it_is_asked_for():
    code = "import gnj, sys; a = 'asyncio' in sys.modules; gnj.RemoteWorker; print(a, 'httpx' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False False\n"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        gnj.Nothing  # noqa: B018
