"""The storage contract, kept by `SqlStorage` on PostgreSQL; and what only several processes can see."""

import os
import threading
from functools import partial

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from gnj.queue.errors import DatabaseTooNew, NotMigrated, StorageUnavailable
from gnj.queue.model import Job
from gnj.storage.sql import SqlStorage, notify_postgresql
from gnj.storage.sql.migrate import revisions
from gnj.testing import FakeClock, StorageContract
from gnj.testing.contracts.support import together
from tests.processes import FORKSERVER

pytestmark = pytest.mark.backend("postgresql")

TIMEOUT = 30.0


@pytest.fixture(scope="module")
def migrated(postgresql_server):
    with postgresql_server.database(migrated=True) as url:
        storage = SqlStorage(url)
        storage.migrate()
        yield url, storage
        storage.close()


@pytest.fixture
def url(storage, migrated):
    return migrated[0]


@pytest.fixture
def storage(migrated):
    """The module's database, emptied; its numbers go on. With fsync on, TRUNCATE takes 140 ms, this 5."""
    with migrated[1].engine.begin() as connection:
        for table in migrated[1].tables.metadata.sorted_tables:
            connection.execute(table.delete())
    return migrated[1]


class TestPostgresqlContract(StorageContract):
    @pytest.fixture
    def storage(self, storage):
        return storage

    @pytest.fixture
    def clocked(self, storage):
        clock = FakeClock()
        return SqlStorage(storage.engine, clock=clock), clock

    @pytest.fixture(params=["connection", "session"])
    def connect(self, request, storage):
        engine = create_engine(storage.engine.url)
        yield engine.connect if request.param == "connection" else partial(Session, engine)
        engine.dispose()


@pytest.mark.unmigrated
def test_what_is_not_migrated_says_so(postgresql_database):
    storage = SqlStorage(postgresql_database())
    for call in (storage.check, lambda: storage.count(Job), lambda: storage.insert_jobs([{"type": "mail"}])):
        with pytest.raises(NotMigrated):
            call()
    storage.close()


@pytest.mark.unmigrated
def test_many_may_migrate_at_once(postgresql_database):
    url = postgresql_database()

    def migrate(_):
        storage = SqlStorage(url)
        storage.migrate()
        storage.check()
        storage.insert_jobs([{"type": "mail"}])
        storage.close()

    together(8, migrate)
    storage = SqlStorage(url)
    assert storage.count(Job) == 8
    storage.close()


def test_a_database_of_a_newer_version(postgresql_database):
    storage = SqlStorage(postgresql_database())
    storage.migrate()
    with storage.engine.begin() as connection:
        connection.execute(text(f"UPDATE {storage.tables.version_table} SET version_num = '9999'"))
    for call in (storage.check, storage.migrate):
        with pytest.raises(DatabaseTooNew, match=rf"9999.*{revisions()[-1]}"):
            call()
    storage.close()


def hang_up(url):
    """Ends every other connection to the database, as a restart of the server does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_connections_that_died_are_made_again(storage, url):
    storage.insert_jobs([{"type": "mail"}])
    hang_up(url)
    assert storage.insert_jobs([{"type": "mail"}])[0][1]
    assert storage.count(Job) == 2


def test_a_connection_that_dies_in_a_transaction(storage, url):
    with pytest.raises(StorageUnavailable), storage.begin() as tx:  # noqa: PT012
        tx.insert_jobs([{"type": "mail"}])
        hang_up(url)
        tx.insert_jobs([{"type": "mail"}])
    assert storage.count(Job) == 0


def test_a_listener_whose_connection_dies_listens_again(storage, url):
    woken = threading.Event()
    with storage.listen(woken.set):
        hang_up(url)
        assert woken.wait(TIMEOUT), "not told to look for what was said meanwhile"
        woken.clear()
        signal(storage)
        assert woken.wait(1.0)


def test_a_server_that_does_not_answer():
    storage = SqlStorage("postgresql://nobody@127.0.0.1:1/nothing")
    for call in (storage.check, storage.migrate, storage.now, lambda: storage.count(Job)):
        with pytest.raises(StorageUnavailable):
            call()
    storage.close()


def listen(url, calls):
    """Listens in a process of its own, says so, and tells of every wake until it is sent something."""
    storage = SqlStorage(url)
    with storage.listen(lambda: calls.send("woken")):
        calls.send("listening")
        calls.recv()
    calls.send("over")
    calls.recv()
    os._exit(0)


@pytest.fixture
def listener(url):
    calls, theirs = FORKSERVER.Pipe()
    process = FORKSERVER.Process(target=listen, args=(url, theirs), daemon=True)
    process.start()
    theirs.close()
    assert calls.poll(TIMEOUT)
    assert calls.recv() == "listening"
    yield calls
    process.kill()
    process.join(TIMEOUT)
    process.close()
    calls.close()


def signal(storage):
    with storage.begin() as tx:
        tx.signal()


def woken(calls):
    assert calls.poll(1.0), "not woken within a second"
    return calls.recv()


def test_a_signal_wakes_another_process_within_a_second(storage, listener):
    for _ in range(3):
        signal(storage)
        assert woken(listener) == "woken"


def test_a_signal_comes_with_the_commit_and_not_before(storage, listener):
    with storage.begin() as tx:
        tx.signal()
        assert not listener.poll(0.1)
    assert woken(listener) == "woken"
    with pytest.raises(ZeroDivisionError), storage.begin() as tx:
        print(tx.signal(), 1 / 0)
    # Wakes come in order: had the transaction that failed woken anybody, this would be the second one.
    signal(storage)
    assert woken(listener) == "woken"
    assert not listener.poll(0.1)


def test_nobody_is_woken_any_more_when_the_block_has_ended(storage, listener):
    listener.send("stop")
    assert woken(listener) == "over"
    signal(storage)
    with storage.listen(lambda: None):
        signal(storage)
    assert not listener.poll(0.1)


def test_a_signal_is_sent_only_while_somebody_listens(storage, url):
    with psycopg.connect(url, autocommit=True) as witness:
        witness.execute(f"LISTEN {notify_postgresql.channel(storage.tables)}")

        def sent():
            signal(storage)
            witness.execute("SELECT 1")  # what was sent before comes with the answer
            return [each.payload for each in witness.notifies(timeout=0)].count("")

        assert sent() == 0
        with storage.listen(lambda: None):
            assert sent() == 1
        assert sent() == 0


def test_many_signals_of_one_transaction_are_one(storage, listener):
    with storage.begin() as tx:
        for _ in range(100):
            tx.signal()
    assert woken(listener) == "woken"
    assert not listener.poll(0.1)
