"""The server that gnj's GraphQL API is modelled on, on a database of its own."""

from __future__ import annotations

import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.harness import processes
from benchmarks.harness.processes import Failed
from benchmarks.reliability.processes import free_ports
from benchmarks.setup_rivals import original_of

SCRIPT = Path(__file__).resolve().parents[1] / "contenders" / "original.cjs"
_DATABASE = "bench_original"
_SECONDS = 60.0
_FILL = """
INSERT INTO job (type, name, status, input, "createdAt", "updatedAt")
SELECT %s, 'load', 'queued', '{"a": 1, "b": "two"}', now(), now() FROM generate_series(1, %s)
"""


def is_there(rivals: Path) -> bool:
    """Whether `benchmarks.setup_rivals` has installed it."""
    return shutil.which("node") is not None and (original_of(rivals) / "node_modules").is_dir()


@contextmanager
def serving(rivals: Path, database: str) -> Iterator[tuple[str, Callable[[str, int], None]]]:
    """Its URL, and what leaves as many queued jobs of a type in its queue, and no others.

    A database `bench_original` is made beside `database`, and dropped in the end.
    """
    # modules are looked for beside the script that asks for them
    script = shutil.copy(SCRIPT, original_of(rivals))
    own = make_url(database).set(database=_DATABASE, query={})
    (port,) = free_ports(1)
    where = {
        "PORT": str(port),
        "PGHOST": own.host or "127.0.0.1",
        "PGPORT": str(own.port or 5432),
        "PGDATABASE": _DATABASE,
        "PGUSER": own.username or "",
        "PGPASSWORD": own.password or "",
    }
    url = f"http://127.0.0.1:{port}/graphql"
    with _made(database), tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "original.log"
        with processes.workers(["node", str(script)], where, log) as started:
            _wait(url, partial(processes.check, started, log))
            yield url, partial(_fill, own.render_as_string(hide_password=False))


@contextmanager
def _made(database: str) -> Iterator[None]:
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {_DATABASE}")
        try:
            yield
        finally:
            connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)")


def _wait(url: str, check: Callable[[], None]) -> None:
    """Returns when it answers; `check` raises where it has ended instead."""
    request = urllib.request.Request(
        url, b'{"query": "{__typename}"}', {"content-type": "application/json"}, method="POST"
    )
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        check()
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(request, timeout=5):
            return
        time.sleep(0.1)
    raise Failed(f"the original does not answer after {_SECONDS:g} s")


def _fill(database: str, type: str, count: int) -> None:
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM job")
        connection.execute(_FILL, (type, count))
        connection.execute("VACUUM ANALYZE job")
