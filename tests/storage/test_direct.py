"""Hot statements go directly through the driver: what SQLAlchemy saw to elsewhere holds there as well."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from gnj.queue import deadline
from gnj.queue.clock import After
from gnj.queue.errors import NotMigrated, StorageError, StorageUnavailable, TimedOut
from gnj.queue.model import Job
from gnj.queue.states import JOB_CLAIMED, JOB_MOVES, JobStatus
from gnj.storage.sql import SqlStorage, direct_postgresql
from gnj.storage.sql.dialect import SESSION
from gnj.storage.sql.direct import DirectRows
from gnj.testing import FakeClock
from gnj.testing.contracts.support import claim, job_of, processing, put, put_many

SUCCEEDED = JOB_MOVES["succeed"].changes(JobStatus.PROCESSING)
PLANS = ("enable_seqscan", "enable_hashjoin", "plan_cache_mode", "TimeZone", "jit", "lock_timeout")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.backend("postgresql"))])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return request.getfixturevalue("postgresql_database")()


@pytest.fixture
def opened(url):
    """Opens the migrated database."""
    storages = []

    def opened(**options):
        storage = SqlStorage(url, **options)
        storage.migrate()
        storages.append(storage)
        return storage

    yield opened
    for storage in storages:
        storage.close()


@pytest.fixture
def postgresql(postgresql_database):
    storage = SqlStorage(postgresql_database(), pool_size=1)
    storage.migrate()
    yield storage
    storage.close()


def end(storage, jobs, output=None):
    return storage.complete([(job.id, job.attempt, output) for job in jobs], JOB_CLAIMED, SUCCEEDED)


def renew(storage, job):
    """Waits for who has the row locked."""
    return storage.renew([(job.id, job.attempt)], 30.0)[0]


@pytest.mark.parametrize("clock", [None, FakeClock()])
@pytest.mark.parametrize("rows", [1, 3])
def test_it_is_what_a_transaction_does(opened, clock, rows):
    """The records that are made from what was sent are those that are read."""
    storage = opened(clock=clock)
    given = {
        "type": "mail",
        "tenant": "é",
        "name": 'a"\\{},\n',
        "input": {"x": [1, 1.5, 1e23, None]},
        "status": JobStatus.QUEUED,
        "timeout": 3,
        "priority": -1,
        "recoverable": True,
        "start_after": datetime(2020, 1, 1, tzinfo=UTC),
    }
    with storage._alone() as tx:
        assert isinstance(tx, DirectRows)
    stored = storage.enqueue([{**given, "custom_id": str(n)} for n in range(rows)])
    assert [new for _, new in stored] == [True] * rows
    assert repr([job for job, _ in stored]) == repr(storage.find(Job))
    claimed = claim(storage, lease=20)
    assert repr(claimed) == repr(storage.find(Job))
    lasts = timedelta(seconds=20)
    assert [job.lease_expires_at for job in claimed] == [job.started_at and job.started_at + lasts for job in claimed]
    if clock is not None:
        assert {job.created_at for job in claimed} == {clock()}
    assert end(storage, claimed, {"y": "é"}) == [True] * rows
    assert end(storage, claimed) == [False] * rows
    assert [job.output for job in storage.find(Job)] == [{"y": "é"}] * rows


def test_what_cannot_be_stored_in_one_statement(opened):
    """A unique id that is taken, a time to be reckoned, nothing at all."""
    storage = opened()
    ((first, new),) = storage.enqueue([{"type": "mail", "unique_id": "a"}])
    assert new
    (again, other) = storage.enqueue([{"type": "mail", "unique_id": "a"}, {"type": "mail", "due_at": After(60)}])
    assert again == (first, False)
    assert other[1]
    assert other[0].due_at is not None
    assert storage.enqueue([]) == []


@pytest.mark.unmigrated
def test_tables_that_are_missing(url):
    storage = SqlStorage(url)
    for call in (
        lambda: storage.enqueue([{"type": "mail"}]),
        lambda: claim(storage),
        lambda: storage.complete([(1, 1, None)], JOB_CLAIMED, SUCCEEDED),
    ):
        with pytest.raises(NotMigrated):
            call()
    storage.close()


def test_many_shapes(opened):
    """More statements than are kept prepared: those before are prepared again."""
    storage = opened(pool_size=1)
    names = ["name", "traceparent", "limit_key", "on_lost", "backoff", "options", "max_attempts"]
    for _ in range(2):
        for number in range(2 ** len(names)):
            chosen = {name: None for place, name in enumerate(names) if number >> place & 1}
            assert storage.enqueue([{"type": "mail", **chosen}])[0][1]
    assert len(claim(storage, limit=1_000)) == 256


def test_a_request_whose_time_is_up(opened):
    storage = opened()
    with deadline.within(-1.0, 1.0), pytest.raises(TimedOut):
        claim(storage)


def test_a_lease_begins_when_it_is_the_turn_of_its_claim(tmp_path):
    """SQLite does not know the present: asked for before the lock, it would be that of an earlier moment."""
    storage = SqlStorage(f"sqlite:///{tmp_path / 'jobs.db'}")
    storage.migrate()
    put(storage)
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(1.0, other.execute, ["COMMIT"]).start()
    begun = datetime.now(UTC)
    (job,) = storage.claim(["mail"], 1, lease=0.5, changes=JOB_MOVES["claim"].changes(JobStatus.QUEUED))
    assert job.started_at is not None
    assert job.started_at - begun > timedelta(seconds=0.9)
    assert job.lease_expires_at == job.started_at + timedelta(seconds=0.5)
    other.close()
    storage.close()


def test_nothing_remains_of_an_update_that_fails_midway(opened):
    """SQLite is told not to undo what such a statement has done, as the transaction is rolled back."""
    storage = opened()
    jobs = put_many(storage, [{}] * 3)
    if storage.dialect.name == "sqlite":
        refusing = "CREATE TRIGGER refuse BEFORE UPDATE ON gnj_job WHEN new.id = {} BEGIN SELECT RAISE(FAIL, 'no'); END"
    else:
        refusing = """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$;
            CREATE TRIGGER refuse BEFORE UPDATE ON gnj_job FOR EACH ROW WHEN (new.id = {}) EXECUTE FUNCTION refuse()"""
    with storage.engine.begin() as connection:
        for statement in refusing.format(jobs[1].id).split(";\n"):
            connection.exec_driver_sql(statement)
    with pytest.raises(StorageError, match="refused"):
        claim(storage, limit=3)
    assert [job_of(storage, job.id) for job in jobs] == jobs


def test_what_is_interrupted_leaves_nothing_open(opened, monkeypatch):
    """Neither a transaction, nor a connection that is watched for ever and broken off under others."""
    storage = opened()
    job = put(storage)

    def interrupt(*_):
        raise KeyboardInterrupt

    def ends():
        with storage._alone() as rows:
            assert rows.complete([(job.id, job.attempt, None)], (JobStatus.QUEUED,), SUCCEEDED) == [True]
            raise KeyboardInterrupt

    with deadline.within(60, 60):
        with pytest.raises(KeyboardInterrupt):
            ends()
        with monkeypatch.context() as patched:
            patched.setattr(type(storage._direct), "link", interrupt)
            with pytest.raises(KeyboardInterrupt):
                storage.enqueue([{"type": "mail"}])
    assert not storage._watchdog._watches
    assert storage.engine.pool.checkedout() == 0
    if storage.dialect.name == "sqlite":  # elsewhere each statement is a transaction of its own
        assert job_of(storage, job.id) == job
    storage.enqueue([{"type": "mail"}])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_does_not_wait_for_what_others_held(opened):
    storage = opened()
    with storage._turn or nullcontext(), storage._watchdog._lock:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with deadline.within(3, 3):
                    storage.enqueue([{"type": "mail"}])
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.backend("postgresql")
def test_connections_that_died_are_made_again(postgresql):
    put_many(postgresql, [{}] * 3)
    for call in (
        lambda: claim(postgresql, limit=1),
        lambda: end(postgresql, postgresql.find(Job)[:1]),
        lambda: postgresql.enqueue([{"type": "mail"}]),
        lambda: postgresql.enqueue([{"type": "mail"}] * 2),
    ):
        call()
        hang_up(postgresql)
        call()
    assert postgresql.count(Job) == 9
    assert len(claim(postgresql)) == 7


@pytest.mark.backend("postgresql")
def test_a_connection_that_dies_while_it_is_used(postgresql):
    """What was sent may have been carried out, or not: it is not sent again."""
    job = processing(postgresql)
    with postgresql.begin() as tx:
        tx.get(Job, job.id, lock=True)
        ended = []
        thread = threading.Thread(target=lambda: ended.append(failed(lambda: renew(postgresql, job))))
        thread.start()
        wait_for(postgresql, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        hang_up(postgresql, "wait_event_type = 'Lock'")
        thread.join(10)
    assert ended == [StorageUnavailable]
    assert renew(postgresql, job)


@pytest.mark.backend("postgresql")
def test_a_request_has_a_limit_for_its_statements(postgresql):
    """And who has none after it on the same connection waits as long as there is to wait."""
    job = processing(postgresql)
    with postgresql.begin() as tx:
        tx.get(Job, job.id, lock=True)
        with deadline.within(10.0, 0.2), pytest.raises(TimedOut):
            renew(postgresql, job)
        with pytest.raises(StorageUnavailable):  # after lock_timeout
            renew(postgresql, job)
    with deadline.within(10.0, 1.0):
        assert renew(postgresql, job)
    with postgresql.begin(write=False) as tx:
        assert tx.connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "0"


@pytest.mark.backend("postgresql")
def test_a_session_has_its_own_settings_for_all_else(postgresql):
    def settings(*, write):
        with postgresql.begin(write=write) as tx:
            return [tx.connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in PLANS]

    before = [settings(write=False), settings(write=True)]
    for write in (False, True, True, False):
        claim(postgresql)
        assert settings(write=write) == before[write]


@pytest.mark.backend("postgresql")
def test_statements_that_the_server_forgot(postgresql):
    put_many(postgresql, [{}] * 3)
    assert len(claim(postgresql, limit=1)) == 1
    with postgresql.engine.connect() as connection:
        connection.exec_driver_sql("DEALLOCATE ALL")
    assert len(claim(postgresql, limit=1)) == 1
    with postgresql.engine.connect() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {postgresql.tables.job.name} ALTER COLUMN stalled_count TYPE bigint")
    assert len(claim(postgresql, limit=1)) == 1


@pytest.mark.backend("postgresql")
def test_behind_a_pooler_all_goes_in_transactions(postgresql, monkeypatch):
    """Where the next statement may be on another session, nothing is set or prepared for longer than a transaction."""
    postgresql.engine.dispose()
    monkeypatch.setattr(direct_postgresql, "prepare", behind_a_pooler)
    assert postgresql.enqueue([{"type": "mail"}])[0][1]
    (job,) = claim(postgresql)
    assert end(postgresql, [job]) == [True]
    assert job_of(postgresql, job.id).status == "successful"
    with postgresql.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one() == 0
        assert connection.exec_driver_sql("SHOW enable_seqscan").scalar_one() == "on"


def behind_a_pooler(raw, info):
    class Told:
        backend_pid = raw.pgconn.backend_pid + 1

        def __getattr__(self, name):
            return getattr(raw.pgconn, name)

    class Raw:
        pgconn = Told()

    prepare(Raw(), info)
    assert SESSION not in info


prepare = direct_postgresql.prepare


@pytest.mark.backend("postgresql")
def test_whoever_waits_for_work_is_woken(postgresql):
    woken = threading.Event()
    with postgresql.listen(woken.set):
        for rows in (1, 2):
            woken.clear()
            postgresql.enqueue([{"type": "mail", "status": JobStatus.PLANNED}] * rows)
            assert not woken.wait(0.3)
            postgresql.enqueue([{"type": "mail"}] * rows)
            assert woken.wait(10)


@pytest.mark.backend("postgresql")
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns"])
def test_times_are_utc_whatever_the_zone(postgresql, zone):
    with postgresql.engine.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {connection.engine.url.database} SET TimeZone TO '{zone}'")
    postgresql.engine.dispose()
    job = put(postgresql, start_after=datetime(2026, 3, 29, 1, 30, tzinfo=UTC))
    (claimed,) = claim(postgresql)
    assert claimed == job_of(postgresql, job.id)
    assert claimed.start_after == job.start_after
    times = [claimed.created_at, claimed.start_after, claimed.started_at]
    assert [time and time.tzinfo for time in times] == [UTC] * 3


def hang_up(storage, which="true"):
    """Ends the other connections to the database, as a restart of the server does, and waits until they are gone."""
    others = f"FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}"
    with psycopg.connect(dsn(storage), autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}")


def wait_for(storage, sql):
    with psycopg.connect(dsn(storage), autocommit=True) as connection:
        for _ in range(1_000):
            if connection.execute(sql).fetchall()[0][0]:
                return
            threading.Event().wait(0.01)
    raise AssertionError(sql)


def failed(call):
    try:
        return call()
    except Exception as error:
        return type(error)


def dsn(storage):
    return storage.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
