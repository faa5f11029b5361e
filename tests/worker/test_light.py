"""What an application does without that enqueues or works, and how much of gnj's own words it loads."""

import subprocess
import sys

import pytest

from gnj.storage.sql import SqlStorage

LOADED = "import sys; print(*sorted(name for name in sys.modules if name.startswith('gnj.')))"
WORK = """
import sys, threading, gnj
jobs, done = gnj.GNJ(sys.argv[1]), threading.Event()
jobs.handler("work")(lambda job: done.set())
with jobs.worker():
    jobs.enqueue("work")
    assert done.wait(30)
jobs.close()
print(*sorted((set(sys.argv[2:]) | {"alembic", "mako", "sqlalchemy.orm", "graphql", "ariadne", "starlette", "httpx", "croniter"}) & set(sys.modules)))
"""
NOT_FOR_WORKERS = [
    *("gnj.access", "gnj.operations.spec", "gnj.operations.registered"),
    *("gnj.queue.model_transform", "gnj.queue.transforms", "gnj.queue.runs", "gnj.queue.sweep"),
    *("gnj.storage.sql.schema_content", "gnj.storage.sql.schema_indexes", "gnj.storage.sql.hosts"),
    *("gnj.storage.sql.ended", "gnj.storage.sql.pruning", "gnj.storage.sql.tally", "gnj.storage.memory"),
]
"""2 MB of gnj's own, with what they make when they are loaded."""


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()


def test_importing_gnj_loads_nothing_of_it():
    assert run(f"import gnj; {LOADED}") == []


def test_who_only_enqueues_loads_no_worker():
    loaded = run(f"import gnj; gnj.GNJ; {LOADED}")
    assert "gnj.queue.service" in loaded
    assert not {"gnj.worker.worker", "gnj.worker.loop", "gnj.storage.sql"} & set(loaded)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql"])
def test_a_worker_loads_what_it_works_with(request, backend):
    """5 to 10 MB each would be for nothing: the way migrations are run, sessions, GraphQL, the web, the calendar; and less, but as
    much for nothing, the parts of gnj that serve, keep house or do jobs of gnj's own."""
    url = request.getfixturevalue(f"{backend}_database")()
    storage = SqlStorage(url)
    storage.migrate()
    storage.close()
    assert run(WORK, url, *NOT_FOR_WORKERS) == []
