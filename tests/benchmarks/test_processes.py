"""What a run starts ends with it."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import usage
from benchmarks.harness.processes import Failed, call, check, workers

# a worker with a child of its own, as npm's and huey's have
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(os.environ["BENCH_LOG"], "w").write(str(child.pid))
time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_a_command_answers_in_json() -> None:
    code = "import os, json; print('chatter'); print(json.dumps({'said': os.environ['WORD']}))"
    assert call([sys.executable, "-c", code], {"WORD": "yes"}) == {"said": "yes"}


def test_a_command_may_have_nothing_to_say() -> None:
    assert call([sys.executable, "-c", "pass"], {}) is None


def test_a_command_that_fails_tells_why() -> None:
    with pytest.raises(Failed, match="ValueError: the reason"):
        call([sys.executable, "-c", "raise ValueError('the reason')"], {})


def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(Failed, match="no end after"):
        call([sys.executable, "-c", "import time; time.sleep(60)"], {}, timeout=0.2)


@pytest.mark.parametrize("interrupted", [False, True])
def test_workers_and_their_children_are_killed(tmp_path, interrupted) -> None:
    log = tmp_path / "log"
    pids = []
    ends: Any = pytest.raises(KeyboardInterrupt) if interrupted else nullcontext()
    with ends, workers([sys.executable, "-c", PARENT], {}, log) as (worker,):
        while not log.exists() or not log.read_text():
            check([worker], log)
            time.sleep(0.01)
        pids = [worker.pid, int(log.read_text())]
        assert set(usage.members(worker.pid)) == set(pids)
        assert usage.resident(worker.pid) > 1
        if interrupted:
            raise KeyboardInterrupt
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def test_a_worker_that_ends_by_itself_is_noticed(tmp_path) -> None:
    with workers([sys.executable, "-c", "raise SystemExit('no such table')"], {}, tmp_path / "log") as started:
        started[0].wait(10)
        with pytest.raises(Failed, match="exit code 1: no such table"):
            check(started, tmp_path / "log")


def test_processor_time_is_that_of_the_group(tmp_path) -> None:
    """Of one that nobody else is in: what others of a shared one used would go as they end."""
    busy = """
import os, time
while time.process_time() < 0.05:
    pass
open(os.environ["BENCH_LOG"], "w").write("done")
time.sleep(60)
"""
    log = tmp_path / "log"
    with workers([sys.executable, "-c", busy], {}, log) as (worker,):
        while not log.exists() or not log.read_text():
            check([worker], log)
            time.sleep(0.01)
        assert usage.cpu_seconds(worker.pid) >= 0.04
