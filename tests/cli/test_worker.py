from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import gnj as library


@pytest.fixture
def jobs(home):
    with library.GNJ(f"sqlite:///{home / 'gnj.db'}") as jobs:
        yield jobs


def wait_for(jobs, id, status, seconds=20, **fields):
    """The job, once it has that status and all else that is named."""
    wanted = {"status": status, **fields}
    deadline = time.monotonic() + seconds
    while any(getattr(job := jobs.get(id), name) != value for name, value in wanted.items()):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def begun(jobs, id):
    """Waits until the handler `nap` runs: one that is claimed and has not begun is given back by a worker that is told to stop."""
    wait_for(jobs, id, "processing", progress={"begun": True})


def test_it_runs_jobs_until_it_is_told_to_stop(start, jobs):
    done = jobs.enqueue("echo", {"a": 1})
    worker = start("worker", "app:handlers", "--poll", "0.1")
    line = worker.wait_for("gnj worker")
    assert line == "gnj worker for echo, nap, 8 at once, database sqlite:///gnj.db"
    assert wait_for(jobs, done.id, "successful").output == {"a": 1}
    under_way = jobs.enqueue("nap", 1)
    begun(jobs, under_way.id)
    worker.signal(signal.SIGTERM)
    assert (worker.process.returncode, worker.lines, worker.errors) == (0, [line], [])
    assert jobs.get(under_way.id).output == "rested"


def test_what_is_not_done_in_time_goes_back(start, jobs):
    job = jobs.enqueue("nap", 30)
    worker = start("worker", "app:handlers", "--grace", "0.5", "--poll", "0.1")
    begun(jobs, job.id)
    assert worker.signal(signal.SIGINT) < 3
    assert worker.process.returncode == 0
    back = jobs.get(job.id)
    assert (back.status, back.attempt, back.failures, back.stalled_count) == ("queued", 1, 0, 0)


def test_a_second_signal_does_not_wait(start, jobs):
    job = jobs.enqueue("nap", 30)
    worker = start("worker", "app:handlers", "--poll", "0.1")
    begun(jobs, job.id)
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert worker.process.poll() is None
    assert worker.signal(signal.SIGTERM) < 3


def test_only_the_types_it_is_given(start, jobs):
    other = jobs.enqueue("nap", 0)
    wanted = jobs.enqueue("echo")
    worker = start("worker", "app:handlers", "--types", "echo", "--concurrency", "1", "--poll", "0.1")
    assert worker.wait_for("gnj worker").startswith("gnj worker for echo, 1 at once")
    wait_for(jobs, wanted.id, "successful")
    time.sleep(0.3)
    assert jobs.get(other.id).status == "queued"


def test_a_target_with_a_database_has_chosen_it(start, home):
    worker = start("worker", "app:jobs", GNJ_DATABASE="sqlite:///ignored.db")
    assert worker.wait_for("gnj worker").endswith("database sqlite:///own.db")
    typed = start("worker", "app:jobs", "--database", "sqlite:///typed.db")
    assert typed.wait_for("gnj worker").endswith("database sqlite:///typed.db")
    # it may be in the collector, where what a handler of a signal raises is lost
    assert typed.signal(signal.SIGINT) < 5
    assert not (home / "ignored.db").exists()


ENDING = """
import os, signal
from gnj.cli.output import end_on_signals

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})

look = end_on_signals()
look()
Last()
print("not ended yet")
look()
print("never here")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_whose_exception_is_lost_is_acted_on_later(environment, name):
    """What is raised inside a `__del__` goes nowhere."""
    code = ENDING.format(name=name)
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "not ended yet\n")
    assert "Exception ignored in" in ended.stderr


def test_libraries_tell_nothing_that_was_not_asked_for(start, jobs, home):
    (home / "talking.py").write_text(
        "import gnj\n"
        "handlers = gnj.Handlers()\n"
        "@handlers.handler('echo')\n"
        "def echo(job, ctx):\n"
        "    ctx.log.info('this was asked for')\n"
    )
    worker = start(
        "worker", "talking:handlers", "--database", "sqlite:///new.db", "--log-level", "info", "--poll", "0.1"
    )
    worker.wait_for("gnj worker")
    with library.GNJ(f"sqlite:///{home / 'new.db'}") as new:
        wait_for(new, new.enqueue("echo").id, "successful")
    worker.signal(signal.SIGTERM)
    assert worker.process.returncode == 0
    assert any("this was asked for" in line for line in worker.errors)
    assert not [line for line in worker.errors if " gnj." not in line]


LATE = "import time\nprint('importing', flush=True)\nfor _ in range(300): time.sleep(0.1)\n"
"""Takes half a minute to import. In small sleeps: a signal that comes just before one is handled after it."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "command", [["worker", "late:handlers"], ["serve", "--port", "0", "--workers", "late:handlers"]]
)
def test_a_signal_while_the_module_is_imported(start, home, command, number):
    (home / "late.py").write_text(LATE)
    begun = start(*command)
    begun.wait_for("importing")
    assert begun.signal(number) < 5
    assert (begun.process.returncode, begun.errors) == (0, [])


def test_a_killed_worker_loses_its_job_to_another(start, jobs):
    job = jobs.enqueue("nap", 2)
    first = start("worker", "app:handlers", "--lease", "1", "--poll", "0.1")
    begun(jobs, job.id)
    os.kill(first.process.pid, signal.SIGKILL)
    start("worker", "app:handlers", "--lease", "1", "--poll", "0.1")
    done = wait_for(jobs, job.id, "successful")
    assert (done.attempt, done.stalled_count, done.failures) == (2, 1, 0)


@pytest.mark.unmigrated
def test_postgresql(gnj_here, start, postgresql_database):
    url = postgresql_database()
    assert gnj_here("migrate", "--database", url).returncode == 0
    with library.GNJ(url) as jobs:
        worker = start("worker", "app:handlers", GNJ_DATABASE=url, GNJ_POLL="30")
        worker.wait_for("gnj worker")
        done = jobs.enqueue("echo", [1])
        # it is told of the job, and does not find it by looking
        assert wait_for(jobs, done.id, "successful", seconds=5).output == [1]
        worker.signal(signal.SIGTERM)
        assert (worker.process.returncode, worker.errors) == (0, [])


def test_a_server_in_place_of_a_database(start, home, jobs):
    server = start("serve", "--port", "0", GNJ_TOKEN="a-long-random-text")
    url = f"{server.url()}/graphql"
    done = jobs.enqueue("echo", "words")
    worker = start("worker", "app:handlers", "--url", url, "--types", "echo", GNJ_TOKEN="a-long-random-text")
    assert worker.wait_for("gnj worker") == f"gnj worker for echo, 8 at once, server {url}"
    assert wait_for(jobs, done.id, "successful").output == "words"
    worker.signal(signal.SIGTERM)
    assert (worker.process.returncode, worker.errors) == (0, [])


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--url", "http://host/graphql", "--database", "sqlite:///x.db"], "either --database or --url"),
        (["--url", "host/graphql"], "url must be an address like"),
    ],
)
def test_a_server_that_cannot_be_meant(gnj_here, arguments, says):
    done = gnj_here("worker", "app:handlers", *arguments)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


def test_a_failed_try_is_logged(start, jobs, home):
    (home / "broken.py").write_text(
        "import gnj\nhandlers = gnj.Handlers()\n\n\n"
        "@handlers.handler('break')\ndef broken(job):\n    raise ValueError('no\\nway')\n"
    )
    job = jobs.enqueue("break")
    worker = start("worker", "broken:handlers", "--poll", "0.1")
    wait_for(jobs, job.id, "failed")
    worker.signal(signal.SIGTERM)
    (line,) = worker.errors
    assert f"job {job.id} (break), claim 1 failed: ValueError: no" in line


def test_recurring_jobs_of_an_application(home, environment):
    """`gnj worker` declares them, and makes and runs their jobs."""
    (home / "recurring.py").write_text(
        "import gnj\n"
        "jobs = gnj.GNJ('sqlite:///gnj.db')\n"
        "@jobs.recurring(every=1)\n"
        "def beat(job):\n"
        "    print('beat', job.type, flush=True)\n"
    )
    command = [sys.executable, "-m", "gnj.cli", "worker", "recurring:jobs"]
    with subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        assert running.stdout is not None
        assert next(line for line in running.stdout if line.startswith(b"beat")) == b"beat beat\n"
        running.terminate()
        running.stdout.read()
    assert running.returncode == 0
