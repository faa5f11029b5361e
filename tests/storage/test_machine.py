"""Every storage against the memory: random commands to both, and nothing may differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import text

from gnj.queue.clock import Clock
from gnj.queue.storage import Storage
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from gnj.testing.machine import storage_machine
from tests import databases

# To make a failing walk short takes Hypothesis minutes.
pytestmark = pytest.mark.timeout(900)


def walk(make_storage: Callable[[Clock], Storage], *, examples: int, steps: int = 40) -> None:
    found = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(storage_machine(make_storage, MemoryStorage), settings=found)


def walk_sql(storage: SqlStorage, empty: Callable[[], None], *, examples: int) -> None:
    """One database serves all examples, emptied before each."""

    def make(clock: Clock) -> Storage:
        empty()
        storage.clock = clock
        return storage

    storage.migrate()
    try:
        walk(make, examples=examples)
    finally:
        storage.close()


def sizes(few: int, many: int) -> pytest.MarkDecorator:
    """How many walks: those of every run of the tests, and those of a thorough one."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])


@sizes(20, 200)
def test_memory(examples: int):
    walk(MemoryStorage, examples=examples)


@sizes(6, 100)
def test_sqlite(tmp_path: Path, examples: int):
    storage = SqlStorage(databases.sqlite_database(tmp_path))

    def empty() -> None:
        with storage.engine.begin() as connection:
            for table in storage.tables.metadata.sorted_tables:
                connection.execute(table.delete())
            connection.execute(text("DELETE FROM sqlite_sequence"))

    walk_sql(storage, empty, examples=examples)


@sizes(3, 50)
def test_postgresql(postgresql_server: databases.PostgresqlServer, examples: int):
    with postgresql_server.database(migrated=True) as url:
        walk_sql(SqlStorage(url), lambda: databases.wipe(url), examples=examples)


@sizes(3, 50)
def test_mysql(mysql_server: databases.MysqlServer, examples: int):
    with mysql_server.database(migrated=True) as url:
        storage = SqlStorage(url)

        def empty() -> None:
            with storage.engine.begin() as connection:
                for table in storage.tables.metadata.sorted_tables:
                    if connection.execute(table.delete()).rowcount:
                        connection.exec_driver_sql(f"ALTER TABLE `{table.name}` AUTO_INCREMENT = 1")

        walk_sql(storage, empty, examples=examples)
