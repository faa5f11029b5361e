"""A worker's process: how it ends by signals, and what it leaves behind in a database."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.storage.sql.storage import SqlStorage
from tests.worker.spy import at_most, until

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import os, signal, sys, threading
from gnj.queue.service import Queue
from gnj.storage.sql.storage import SqlStorage
from gnj.worker import Handlers, Worker

handlers = Handlers()
journal = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@handlers.handler("quick")
def quick(job):
    os.write(journal, b"%d\\n" % job.id)  # one write: lines of several processes stay whole
    return job.id

@handlers.handler("stuck")
def stuck(job):
    print("stuck", job.id, flush=True)
    threading.Event().wait()

@handlers.handler("ends at its signal")
def waits(job, ctx):
    print("stuck", job.id, flush=True)
    while worker._loop._deadline == float("inf"):
        ctx.wait_for_cancel(0.01)
    return job.id

before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
queue = Queue(SqlStorage(sys.argv[1]), policies=handlers.policies)
worker = Worker(queue, handlers, concurrency=4, poll=0.05)
worker.run(grace=float(sys.argv[2]))
assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
print("left", sorted(thread.name for thread in threading.enumerate()), flush=True)
"""


@pytest.fixture
def database(sqlite_database):
    url = sqlite_database()
    storage = SqlStorage(url)
    storage.migrate()
    yield url, Queue(storage)
    storage.close()


@pytest.fixture
def journal(tmp_path):
    """The ids of the quick jobs that were run, one a line."""
    return tmp_path / "journal"


@pytest.fixture
def process(database, journal):
    """Call it with a grace time for a process that runs a worker."""
    processes = []

    def start(grace):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, database[0], str(grace), str(journal)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def read(process, word):
    line = process.stdout.readline()
    assert line.startswith(word), line + process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_well(database, process, number):
    _, queue = database
    job = queue.enqueue(NewJob("ends at its signal"))
    worker = process(20)
    read(worker, "stuck")
    worker.send_signal(number)
    with at_most(10):
        out, err = worker.communicate(timeout=20)
    assert (worker.returncode, err) == (0, "")
    assert out == "left ['MainThread']\n"
    assert queue.get(Job, job.id).output == job.id


def test_a_handler_that_never_returns_does_not_keep_the_process(database, process):
    _, queue = database
    job = queue.enqueue(NewJob("stuck"))
    worker = process(0.2)
    read(worker, "stuck")
    worker.send_signal(signal.SIGTERM)
    with at_most(5):
        out, err = worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert "did not finish in the grace time and is given back" in err
    assert out.startswith("left ['MainThread', 'gnj-job-")
    job = queue.get(Job, job.id)
    assert (job.status, job.failures, job.stalled_count) == ("queued", 0, 0)


def test_a_second_signal_stops_at_once(database, process):
    _, queue = database
    job = queue.enqueue(NewJob("stuck"))
    worker = process(60)
    read(worker, "stuck")
    worker.send_signal(signal.SIGTERM)
    with at_most(5):
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.3)
        worker.send_signal(signal.SIGINT)
        worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert queue.get(Job, job.id).status == "queued"


@pytest.mark.slow
def test_stops_under_load_lose_nothing(database, process, journal):
    _, queue = database
    total = 5_000
    queue.enqueue_many([NewJob("quick") for _ in range(total)])
    stops = done = 0

    def reached(goal):
        return queue.count(Job, status="successful") >= goal

    while done < total:
        worker = process(5)
        goal = min(total, done + 200)
        until(partial(reached, goal))
        worker.send_signal(signal.SIGTERM)
        _, err = worker.communicate(timeout=20)
        assert (worker.returncode, err) == (0, "")
        stops += 1
        assert queue.count(Job, status="processing") == 0
        done = queue.count(Job, status="successful")
    assert stops >= 2
    jobs = queue.list(Job, limit=total)
    ends = {(job.output == job.id, job.failures, job.stalled_count) for job in jobs}
    assert ends == {(True, 0, 0)}
    assert sorted(map(int, journal.read_text().split())) == sorted(job.id for job in jobs)


def test_two_processes_share_a_queue(database, process, journal):
    _, queue = database
    queue.enqueue_many([NewJob("quick") for _ in range(200)])
    workers = [process(5) for _ in range(2)]
    until(lambda: queue.count(Job, status="successful") == 200)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.communicate(timeout=20)[1] for worker in workers] == ["", ""]
    assert {(job.attempt, job.output == job.id) for job in queue.list(Job)} == {(1, True)}
    assert len(journal.read_text().split()) == 200
