"""The client that GNJ 5.1.0 publishes on npm, unchanged, on a running `gnj serve`.

Each scenario of the scripts beside this file is a test; all of them share one server for each database. What concerns
the server's own life is below.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from gnj import GNJ
from tests.serving import Server
from tests.waiting import until

HERE = Path(__file__).parent
BACKENDS = [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("sqlite", "postgresql")]
SCENARIO = re.compile(r"^scenario\('((?:[^'\\]|\\.)+)'", re.MULTILINE)

pytestmark = pytest.mark.backend("node")


def scenarios():
    return [
        pytest.param(name.replace("\\'", "'"), id=f"{script.removesuffix('.js')}: {name}")
        for script in sorted(path.name for path in HERE.glob("*.js"))
        for name in SCENARIO.findall((HERE / script).read_text())
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", scenarios())
def test_scenario(results, backend, name):
    found = results(backend)
    assert name in found, found
    assert found[name] is None, f"{found[name]}\n{found['']}"


class Worker:
    """`worker.js`; what it says is read as it comes."""

    def __init__(self, process):
        self.process = process
        self.said: SimpleQueue[dict[str, object]] = SimpleQueue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.put(json.loads(line))

    def go_on(self):
        """Lets the job end that waits."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def says(self, word, seconds=20.0):
        end = time.monotonic() + seconds
        while True:
            try:
                told = self.said.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                raise AssertionError((word, self.process.poll())) from None
            if word in told:
                return told[word]


@pytest.fixture
def worker(node):
    """Call it with a URL, types and environment for a looping npm worker; it is ended after the test."""
    workers = []

    def start(url, *types, **environment):
        workers.append(Worker(node("worker.js", url, *types, **environment)))
        return workers[-1]

    yield start
    for each in workers:
        if each.process.poll() is None:
            os.kill(each.process.pid, signal.SIGKILL)
        each.process.wait(10)
        each._reading.join(10)
        for pipe in (each.process.stdin, each.process.stdout, each.process.stderr):
            pipe.close()


@pytest.fixture(params=BACKENDS)
def database(request, database_of):
    return database_of(request.param)


def status(jobs, job):
    return jobs.get(job.id).status


@pytest.mark.slow_on("sqlite")
def test_a_restart_of_the_server_touches_no_job(database, tmp_path, worker):
    """The original cancels everything that is being processed when it boots (B12); its client does not outlive an outage
    while it polls (B25), but does while a job runs, which is when it matters."""
    with Server(database, tmp_path) as server, GNJ(database) as jobs:
        job = jobs.enqueue("work", "wait")
        npm = worker(server.url, "work")
        assert npm.says("began") == job.id
        server.kill()
        server.start()
        assert status(jobs, job) == "processing"
        npm.go_on()
        done = until(lambda: status(jobs, job) == "successful" and jobs.get(job.id))
        assert (done.output, done.attempt) == ({"ran": job.id}, 1)
        after = jobs.enqueue("work")  # and it goes on
        until(lambda: status(jobs, after) == "successful")
        server.stop()
        npm.process.wait(20)  # it polls, and a connection that is lost or refused ends it
        assert npm.process.returncode != 0
        assert "code: 'ECONNRE" in npm.process.stderr.read()


@pytest.mark.slow_on("sqlite")
def test_a_killed_npm_worker_loses_its_job_to_another(database, tmp_path, worker):
    with Server(database, tmp_path, "--lease", "1") as server, GNJ(database) as jobs:
        job = jobs.enqueue("work", "wait")
        first = worker(server.url, "work")
        assert first.says("began") == job.id
        first.process.kill()
        second = worker(server.url, "work")
        assert second.says("began") == job.id
        second.go_on()
        done = until(lambda: status(jobs, job) == "successful" and jobs.get(job.id))
        assert (done.attempt, done.stalled_count) == (2, 1)


def test_a_token_goes_by_the_clients_own_link(database_of, tmp_path, worker):
    database = database_of("sqlite")
    with Server(database, tmp_path, GNJ_TOKEN="a-long-random-text") as server, GNJ(database) as jobs:
        assert "401" in refused(worker(server.url, "work"))
        assert "401" in refused(worker(server.url, "work", GNJ_NODE_TOKEN="another"))
        job = jobs.enqueue("work")
        worker(server.url, "work", GNJ_NODE_TOKEN="a-long-random-text")
        until(lambda: status(jobs, job) == "successful")


def refused(npm):
    message = npm.says("refused")
    npm.process.wait(10)
    return message
