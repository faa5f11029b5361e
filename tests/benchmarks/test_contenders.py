"""gnj and raw, each through its command line as a run calls it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from benchmarks.drain import drained
from benchmarks.harness.options import Options
from benchmarks.harness.results import Recorder
from benchmarks.harness.run import Contender, Entry, Run
from benchmarks.latency import waited
from benchmarks.memory import grown

JOBS = 130
LOCAL = ("gnj-sqlite", "default"), ("raw-sqlite", "50")
SERVED = ("gnj", "default"), ("raw", "50")


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Run]:
    with (folder / "progress").open("w") as out:
        yield Run(Options(**options), Recorder(out=out), folder)


@pytest.fixture
def run(tmp_path) -> Iterator[Run]:
    with running(tmp_path) as made:
        yield made


@pytest.fixture
def served(tmp_path, postgresql_database) -> Iterator[Run]:
    with running(tmp_path, database=postgresql_database()) as made:
        yield made


def contender(run: Run, name: str) -> Contender:
    found = run.contender(name)
    assert found is not None
    return found


def works(run: Run, name: str, config: str, rows: Callable[[Contender], list[dict[str, Any]]]) -> set[str]:
    """Has a contender do all that a run asks of it; the columns that its work writes, the identity and the input apart."""
    one = contender(run, name)
    one.call("setup")
    for what in ("enqueue", "bulk", "concurrent"):
        if (name, what) != ("raw-sqlite", "concurrent"):
            assert one.call(what, 20)["seconds"] > 0
    before = rows(one)[0]
    found = drained(run, one, Entry(name, config), JOBS)
    assert (found.done, found.twice, found.whole) == (JOBS, 0, True)
    return {column for row in rows(one) for column, value in row.items() if value != before[column]} - {"id", "input"}


def test_on_sqlite_raw_writes_the_columns_of_gnj(run) -> None:
    gnj, raw = (works(run, name, config, sqlite_rows) for name, config in LOCAL)
    assert raw == gnj >= {"attempt", "status", "ended_at", "worker_id"}


@pytest.mark.slow
def test_on_postgresql_raw_writes_the_columns_of_gnj(served) -> None:
    gnj, raw = (works(served, name, config, postgresql_rows) for name, config in SERVED)
    assert raw == gnj >= {"attempt", "status", "ended_at", "worker_id"}


@pytest.mark.slow
@pytest.mark.parametrize("name,config", [("gnj", "default"), ("raw", "notify")])
def test_latency_on_postgresql(served, name, config) -> None:
    one = contender(served, name)
    times = waited(served, one, Entry(name, config), 10)
    assert len(times) == 10
    assert all(0 < each < 5_000 for each in times)
    served.drop()
    with psycopg.connect(one.environment["BENCH_DATABASE"]) as connection:
        assert connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'bench%'").fetchone() == (0,)


def test_memory(run) -> None:
    growth, first, most = grown(run, contender(run, "gnj-sqlite"), Entry("gnj-sqlite"), 200)
    assert growth == most - first
    assert most > 20


def sqlite_rows(one: Contender) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(one.info["file"])) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM gnj_job")]


def postgresql_rows(one: Contender) -> list[dict[str, Any]]:
    with psycopg.connect(one.environment["BENCH_DATABASE"], row_factory=dict_row) as connection:
        return connection.execute(f"SELECT * FROM {one.info['schema']}.gnj_job").fetchall()


def test_rivals_are_left_out_where_they_are_not_installed(tmp_path) -> None:
    with running(tmp_path, rivals=tmp_path / "nothing") as run:
        assert run.contender("pgqueuer") is None
        assert run.contender("pg-boss") is None
    told = (tmp_path / "progress").read_text()
    assert "pgqueuer is left out: `python -m benchmarks.setup_rivals" in told
