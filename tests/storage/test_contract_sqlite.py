"""The storage contract, kept by `SqlStorage` on SQLite: in a file, and in memory."""

from functools import partial

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from gnj.queue.errors import DatabaseTooNew, NotMigrated, StorageUnavailable
from gnj.queue.model import Job
from gnj.storage.sql import SqlStorage, engine
from gnj.storage.sql.migrate import revisions
from gnj.testing import FakeClock, StorageContract
from gnj.testing.contracts.support import together
from tests import databases

pytestmark = pytest.mark.backend("sqlite")


def empty(storage):
    """Empties the tables; how far the migrations came stays, and the numbers go on."""
    with storage.engine.begin() as connection:
        for table in storage.tables.metadata.sorted_tables:
            connection.execute(table.delete())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    yield from migrated(databases.sqlite_database(tmp_path_factory.mktemp("sqlite")))


@pytest.fixture(scope="module")
def memory():
    yield from migrated("sqlite://")


def migrated(url):
    storage = SqlStorage(url)
    storage.migrate()
    yield storage
    storage.close()


class SqliteContract(StorageContract):
    @pytest.fixture
    def clocked(self, storage):
        clock = FakeClock()
        return SqlStorage(storage.engine, clock=clock), clock


class TestSqliteFileContract(SqliteContract):
    @pytest.fixture
    def storage(self, file):
        empty(file)
        return file

    @pytest.fixture(params=["connection", "session"])
    def connect(self, request, storage):
        theirs = create_engine(storage.engine.url)
        yield theirs.connect if request.param == "connection" else partial(Session, theirs)
        theirs.dispose()


class TestSqliteMemoryContract(SqliteContract):
    @pytest.fixture
    def storage(self, memory):
        empty(memory)
        return memory


@pytest.mark.unmigrated
def test_what_is_not_migrated_says_so(sqlite_database):
    storage = SqlStorage(sqlite_database())
    for call in (storage.check, lambda: storage.count(Job), lambda: storage.insert_jobs([{"type": "mail"}])):
        with pytest.raises(NotMigrated):
            call()
    storage.migrate()
    storage.check()
    storage.close()


@pytest.mark.unmigrated
@pytest.mark.parametrize("number", [1, 4])
def test_many_may_migrate_at_once(sqlite_database, number):
    urls = [sqlite_database() for _ in range(number)]

    def migrate(place):
        storage = SqlStorage(urls[place % number])
        storage.migrate()
        storage.check()
        storage.insert_jobs([{"type": "mail"}])
        storage.close()

    together(8, migrate)
    for url in urls:
        storage = SqlStorage(url)
        assert storage.count(Job) == 8 // number
        storage.close()


def test_a_database_of_a_newer_version(sqlite_database):
    storage = SqlStorage(sqlite_database())
    storage.migrate()
    with storage.engine.begin() as connection:
        connection.execute(text(f"UPDATE {storage.tables.version_table} SET version_num = '9999'"))
    for call in (storage.check, storage.migrate):
        with pytest.raises(DatabaseTooNew, match=rf"9999.*{revisions()[-1]}"):
            call()
    storage.close()


def test_a_database_that_stays_locked(sqlite_database, monkeypatch):
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    url = sqlite_database()
    storage, other = SqlStorage(url), SqlStorage(url)
    storage.migrate()
    with other.begin():
        with pytest.raises(StorageUnavailable):
            storage.insert_jobs([{"type": "mail"}])
        assert storage.find(Job) == []  # who only reads waits for nobody
    assert storage.insert_jobs([{"type": "mail"}])[0][1]
    storage.close()
    other.close()


def test_a_file_that_cannot_be_opened(tmp_path):
    storage = SqlStorage(databases.sqlite_database(tmp_path / "no such folder"))
    for call in (storage.check, storage.migrate, storage.now, lambda: storage.count(Job)):
        with pytest.raises(StorageUnavailable):
            call()
    storage.close()


def test_rows_outlive_the_storage(sqlite_database):
    url = sqlite_database()
    first = SqlStorage(url)
    first.migrate()
    ((job, _),) = first.insert_jobs([{"type": "mail", "input": {"to": "x"}}])
    first.close()
    second = SqlStorage(url)
    assert second.find(Job) == [job]
    second.close()
