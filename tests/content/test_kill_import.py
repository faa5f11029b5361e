"""Imports whose server is killed, or sleeps for too long, come to what one whole run does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from gnj import GNJ
from gnj.queue.model import Job
from gnj.queue.states import JobStatus
from tests.content.tasks import entry, log, make, now, stored
from tests.serving import ROOT, WAIT, Server
from tests.waiting import until

KEY = "uploads/1/entries.jsonl"
BAD = 50
"""Each so many lines there is a bad one."""


def values(count):
    return [entry(f"e{n}", f"s{n % 3}", content={"n": n}) if n % BAD else {"id": f"bad{n}"} for n in range(count)]


def put(jobs, found, org):
    sink = jobs.content.files.create(org, KEY)
    sink.write("".join(f"{json.dumps(each)}\n" for each in found).encode())
    sink.finish()


def is_begun(jobs, id, tries):
    """Whether there was a try after so many, or no more is needed."""
    job = jobs.get(id)
    return job.attempt > tries or job.status == JobStatus.SUCCESSFUL


def lose(jobs, id):
    """As if the lease of a lost worker had run out."""
    job = jobs.get(id)
    if job.lease_expires_at is not None:
        jobs.storage.edit(Job, [id], {"lease_expires_at": job.created_at})


def check(jobs, row, found):
    """Whether it came to what one whole run does."""
    good = [each for each in found if "content" in each]
    assert {id: each.content["n"] for id, each in stored(jobs, row.tenant).items()} == {
        each["id"]: each["content"]["n"] for each in good
    }
    lines = log(jobs, row, row.task_ids[0])
    assert [message for level, message in lines if level == "ERROR"] == [
        f"entry {n}: system.siteId is missing" for n, each in enumerate(found, 1) if "content" not in each
    ]
    assert ("INFORMATION", f"{len(good):,} entries were imported, {len(found) - len(good)} refused") in lines
    result = now(jobs, row).result
    assert (result["imported"], result["refused"]) == (len(good), len(found) - len(good))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills, count", [(1, 1_000), pytest.param(10, 20_000, marks=pytest.mark.slow)])
def test_a_server_that_is_killed_again_and_again(jobs, backend, org, tmp_path, kills, count):
    moments = random.Random(count)
    found = values(count)
    put(jobs, found, org)
    row = make(jobs, tenant=org, key=KEY)
    (task, *_) = row.task_ids
    files = str(tmp_path / "files")
    with Server(backend, tmp_path, "--files", files, GNJ_CONTENT_BATCH="50") as server:
        for killed in range(kills):
            until(partial(is_begun, jobs, task, killed), WAIT)
            time.sleep(moments.uniform(0.0, 1.5 if killed % 2 else 0.5))
            server.kill()
            lose(jobs, task)
            server.start()
        until(lambda: jobs.get(task).status == JobStatus.SUCCESSFUL, 120)
        server.stop()
    check(jobs, row, found)


SLEEPER = """\
import os, signal, sys
from gnj import GNJ
from gnj.content import handlers
from gnj.settings_content import ContentLimits
from gnj.worker import Handlers, Worker

url, files, kind = sys.argv[1:]
with GNJ(url, files=files, content_limits=ContentLimits(batch=50)) as jobs:
    store, calls = jobs.content.store, []
    real = store.put_entries

    def put(*args):
        calls.append(args)
        if len(calls) == 4:
            with jobs.storage.begin():  # a thread of this worker that is writing is waited for: nobody else could write
                pass
            os.kill(os.getpid(), signal.SIGSTOP)  # and somebody else does all of it meanwhile
        try:
            return real(*args)
        except BaseException as error:
            print(type(error).__name__, flush=True)
            raise

    store.put_entries = put
    registry = Handlers()
    handlers.register(registry, jobs.content)
    with Worker(jobs.queue, registry, [kind], poll=0.05):
        sys.stdin.read()
"""


# it may be stopped while one of its threads keeps a SQLite file locked: then it says nothing of what it is about
@pytest.mark.slow
def test_a_worker_that_wakes_up_too_late_writes_nothing(jobs, backend, org, tmp_path, work):
    found = values(300)
    put(jobs, found, org)
    row = make(jobs, tenant=org, key=KEY)
    (task, *_) = row.task_ids
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, backend, str(tmp_path / "files"), jobs.get(task).type],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: _state(process.pid) == "T", WAIT)
        lose(jobs, task)
        work()
        assert jobs.get(task).attempt == 2
        version = jobs.content.store.environment(org, None).version
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        assert process.stdout.readline() == "Stale\n"
        assert process.communicate("", timeout=WAIT)[0] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
    check(jobs, row, found)
    assert jobs.content.store.environment(org, None).version == version
    assert jobs.get(task).attempt == 2


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_an_application_alone_does_a_content_job(backend, org, tmp_path):
    found = values(100)
    with GNJ(backend, files=str(tmp_path / "files"), content_workers=1) as jobs:
        jobs.migrate()
        jobs.routes(["content"])
        jobs.start()
        put(jobs, found, org)
        row = make(jobs, tenant=org, key=KEY)
        until(lambda: jobs.queue.content_over(org, row.id), WAIT)
        check(jobs, row, found)
