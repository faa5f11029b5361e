"""A queue on each storage: in memory for every test, on the databases for those that use the fixture `everywhere`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from gnj.queue.catalog import RECORDS
from gnj.queue.errors import GnjError
from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.queue.storage import Select, Storage
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from gnj.testing import FakeClock
from tests import databases

STORAGES = [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("memory", "sqlite", "postgresql")]


ALL_STORAGES = [*STORAGES, pytest.param("mysql", marks=pytest.mark.backend("mysql"))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "everywhere" in metafunc.fixturenames:
        metafunc.parametrize("storage", STORAGES, indirect=True)
    elif "on_every_storage" in metafunc.fixturenames:
        metafunc.parametrize("storage", ALL_STORAGES, indirect=True)


@pytest.fixture
def everywhere() -> None:
    """The test runs on every storage."""


@pytest.fixture
def on_every_storage() -> None:
    """Likewise, MySQL or MariaDB among them."""


@pytest.fixture(scope="session")
def sqlite_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStorage]:
    url = databases.sqlite_database(tmp_path_factory.mktemp("queue"), migrated=True)
    with databases.migrated_storage(url) as storage:
        yield storage


@pytest.fixture(scope="session")
def postgresql_storage(postgresql_server: databases.PostgresqlServer) -> Iterator[SqlStorage]:
    with postgresql_server.database(migrated=True) as url, databases.migrated_storage(url) as storage:
        yield storage


@pytest.fixture(scope="session")
def mysql_storage(mysql_server: databases.MysqlServer) -> Iterator[SqlStorage]:
    with mysql_server.database(migrated=True) as url, databases.migrated_storage(url) as storage:
        yield storage


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def storage(request: pytest.FixtureRequest, clock: FakeClock) -> Storage:
    name = getattr(request, "param", "memory")
    if name == "memory":
        return MemoryStorage(clock)
    storage: SqlStorage = request.getfixturevalue(f"{name}_storage")
    names = [table.name for table in storage.tables.metadata.sorted_tables]
    statements = [f"DELETE FROM {table}" for table in names]
    if name == "postgresql":  # quicker than TRUNCATE, which makes new files
        statements += [
            f"SELECT setval(pg_get_serial_sequence('{t.name}', 'id'), 1, false)"
            for t in map(storage.tables.of, RECORDS.values())
        ]
    elif name == "sqlite":
        statements.append("DELETE FROM sqlite_sequence")
    with storage.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    storage.clock = clock
    return storage


@pytest.fixture
def queue(storage: Storage) -> Queue:
    return Queue(storage, lease=60.0, seed=0)


def everything(storage: Storage) -> dict[str, list[Any]]:
    """All rows of all tables, the deleted ones too."""
    return {name: storage.find(kind, Select(deleted=True)) for name, kind in RECORDS.items()}


@pytest.fixture
def refused(storage: Storage, clock: FakeClock) -> Callable[..., AbstractContextManager[None]]:
    """`with refused(Error, "its text"):` what is inside raises just that, and changes no byte."""

    @contextmanager
    def check(error: type[GnjError], message: str | None = None) -> Iterator[None]:
        clock.tick(1)  # what was written nevertheless would show in updated_at
        before = everything(storage)
        with pytest.raises(error) as caught:
            yield
        assert type(caught.value) is error
        assert message is None or str(caught.value) == message
        assert everything(storage) == before

    return check


@pytest.fixture
def make(queue: Queue) -> Callable[..., Job]:
    """Stores one job of type "a" with these attributes."""
    return lambda tenant="", **values: queue.create_jobs([{"type": "a", **values}], tenant=tenant)[0]


@pytest.fixture
def claim(queue: Queue) -> Callable[..., Job]:
    """Enqueues a job of a type of its own and claims it."""
    numbers = itertools.count(1)

    def claimed(lease: float | None = None, worker_id: str | None = "w", **options: Any) -> Job:
        type = f"own{next(numbers)}"
        queue.enqueue(NewJob(type, **options))
        job = queue.acquire([type], worker_id=worker_id, lease=lease)
        assert job is not None
        return job

    return claimed
