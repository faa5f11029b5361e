"""Durable hooks over processes that are killed: told at least once of every change, by whoever made it."""

import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import gnj
from gnj.queue.errors import StorageError
from gnj.worker import Handlers
from tests.worker.spy import until

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import os, sys
import gnj

jobs = gnj.GNJ(sys.argv[1])
journal = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@jobs.handler("mail")
def mail(job):
    raise ValueError("no")

@jobs.on("failed", durable=True)
def alert(event):
    os.write(journal, b"%d\\n" % event.job.id)  # one write: lines of several processes stay whole

jobs.worker(concurrency=2, lease=1.0, poll=0.05).run(grace=1)
"""
JOBS = 60


def test_every_failure_is_told_though_workers_are_killed(sqlite_database, tmp_path):
    """P6: one job of the hook for each failure, created with it; its run may repeat, and is never missed."""
    url, journal = sqlite_database(), tmp_path / "journal"
    jobs = gnj.GNJ(url)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = partial(subprocess.Popen, [sys.executable, "-c", PROGRAM, url, str(journal)], env=environment, cwd=tmp_path)
    jobs.enqueue_many(gnj.NewJob("mail", max_stalled=100) for _ in range(JOBS))

    def told():
        return journal.read_text().split() if journal.exists() else []

    def is_told(number):
        return len(told()) >= number

    for killed in (10, 20, 30):
        with start() as worker:
            until(partial(is_told, killed), within=60)
            worker.send_signal(signal.SIGKILL)
    with start() as worker:
        until(lambda: jobs.count(status="successful") == JOBS, within=60)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    failed = [job.id for job in jobs.list(type="mail", status="failed")]
    assert len(failed) == JOBS
    hooks = jobs.list(type="hook:alert", limit=10_000)
    assert sorted(hook.input["job"]["id"] for hook in hooks) == sorted(failed)
    assert Counter(map(int, told())).keys() == set(failed)
    jobs.close()


def test_a_command_line_worker_has_the_hooks_of_its_application(sqlite_database):
    """Also when it is told to use another database than the application's own."""
    from gnj.cli.database import open_jobs
    from gnj.cli.target import Target

    own = gnj.GNJ("memory://")
    seen: list[gnj.Event] = []
    own.on("created")(seen.append)
    own.on("created", durable=True, name="later")(print)
    jobs = open_jobs(sqlite_database(), Target("app:own", own.handlers, own), typed=True)
    job = jobs.enqueue("mail")
    jobs.close()
    assert [event.job for event in seen] == [job]
    assert jobs.handlers.types == ("hook:later",)


def test_hooks_wait_for_a_database_that_is_down(tmp_path):
    """Registering is tried again with whatever the queue does next."""
    url = f"sqlite:///{tmp_path / 'missing' / 'jobs.db'}"
    jobs = gnj.GNJ(url, handlers=Handlers())
    jobs.on("created", durable=True, name="later")(print)
    try:
        jobs.enqueue("mail")
    except StorageError:
        (tmp_path / "missing").mkdir()
    jobs.enqueue("mail")
    assert jobs.count(type="hook:later") == 1
    jobs.close()
