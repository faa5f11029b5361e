"""P10: no path of a claim asks the host what time it is."""

import ast
import time
from pathlib import Path

import pytest

from benchmarks.reliability import skew

ROOT = Path(__file__).resolve().parents[2]
CLAIM_PATHS = [
    *(ROOT / "gnj/queue").rglob("*.py"),
    *(ROOT / "gnj/storage").rglob("*.py"),
    *(ROOT / "gnj/api").rglob("*.py"),
]
DATES = {"now", "utcnow", "today", "time", "time_ns", "localtime", "gmtime"}
OWNERS = {"datetime", "date", "time", "dates"}
ALLOWED = {
    # of storages without a clock of their own, which one machine has to itself
    ("gnj/queue/clock.py", "datetime.now"),
    # tells people how wrong the host's clock is
    ("gnj/storage/sql/inspect.py", "datetime.now"),
    # whether credentials have expired: of no claim
    ("gnj/api/hooks.py", "datetime.now"),
    ("gnj/api/sockets.py", "datetime.now"),
    ("gnj/api/sse.py", "datetime.now"),
    # whether a URL has expired
    ("gnj/api/content/uploads.py", "time.time"),
    ("gnj/api/content/transfers.py", "time.time"),
    # how long what still runs has run, for people
    ("gnj/api/content/job_types.py", "datetime.now"),
}


def asked():
    for path in CLAIM_PATHS:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in OWNERS and node.attr in DATES:
                    yield str(path.relative_to(ROOT)), f"{node.value.id}.{node.attr}"
            elif isinstance(node, ast.ImportFrom) and node.module == "time":
                for name in node.names:
                    if name.name in DATES:
                        yield str(path.relative_to(ROOT)), f"time.{name.name}"


def test_p10_claim_paths_do_not_ask_the_hosts_clock():
    found = set(asked())
    assert ("gnj/queue/clock.py", "datetime.now") in found  # the search finds what is there
    assert found <= ALLOWED


def wrong_clock(url, seconds, pipe):
    from gnj.queue.clock import system_clock
    from gnj.queue.model import NewJob
    from gnj.queue.service import Queue
    from gnj.storage.sql import SqlStorage

    skew.apply(seconds)
    queue = Queue(SqlStorage(url))
    queue.enqueue(NewJob("work"))
    job = queue.acquire(["work"], lease=60)
    pipe.send((time.time(), system_clock().timestamp(), job))


@pytest.mark.parametrize("url", [pytest.param("postgresql", marks=pytest.mark.backend("postgresql"))], indirect=True)
@pytest.mark.parametrize("seconds", [600.0, -600.0, -3600.0])
def test_p10_a_wrong_clock_shows_in_no_row(url, storage, children, seconds):
    """And the clock of the process was wrong indeed, for gnj as well."""
    shown, seen, job = children(wrong_clock, url, seconds).get()
    now = storage.now()
    assert abs(shown - time.time() - seconds) < 60
    assert abs(seen - now.timestamp() - seconds) < 60
    for moment in (job.created_at, job.started_at):
        assert abs((now - moment).total_seconds()) < 60
    assert (job.lease_expires_at - job.started_at).total_seconds() == 60
