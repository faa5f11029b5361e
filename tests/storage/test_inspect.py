"""The facts that are collected of a database, on each of them."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import text

import gnj
from gnj.queue.errors import StorageUnavailable
from gnj.storage.sql import SqlStorage
from gnj.storage.sql import inspect as inspecting


def inspect(storage):
    """Untyped: which facts there are depends on the database."""
    return inspecting.inspect(storage)


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request):
    return request.getfixturevalue(f"{request.param}_database")()


@pytest.fixture
def jobs(url):
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
        yield jobs


def url_of(jobs):
    return jobs.storage.engine.url


def run(jobs, statement):
    with jobs.storage.engine.connect() as connection:
        connection.execute(text(statement))
        connection.commit()


@pytest.mark.unmigrated
def test_a_database_without_tables(url):
    with gnj.GNJ(url) as jobs:
        facts = inspect(jobs.storage)
        assert facts.migrations.current is None
        assert facts.migrations.missing[0] == "0001"
        assert facts.migrations.missing[-1] == facts.migrations.head
        assert (facts.indexes, facts.contents) == (None, None)
        with pytest.raises(gnj.GnjError):
            jobs.storage.check()  # looking made nothing


def test_an_empty_database(jobs):
    facts = inspect(jobs.storage)
    assert facts.database == jobs.storage.dialect.name
    assert (facts.migrations.current, facts.migrations.missing) == (facts.migrations.head, ())
    assert (facts.indexes.missing, facts.indexes.invalid) == ({}, ())
    assert facts.indexes.expected > 20
    assert set(facts.contents.greatest.values()) == {0}
    assert facts.contents.held == ()
    assert facts.contents.bytes > 0
    assert facts.contents.oldest_ended is facts.contents.oldest_lost is facts.contents.oldest_due is None


def test_what_is_in_the_tables(jobs):
    jobs.hold("held")
    last_hold = jobs.queue.hold("all", tenant="acme")
    for tenant in ("", "acme", "acme"):
        jobs.enqueue("held", tenant=tenant)
    jobs.enqueue("other", tenant="acme")
    jobs.cancel(jobs.enqueue("ended").id)
    jobs.delete(jobs.enqueue("deleted").id)
    jobs.enqueue("lost")
    assert jobs.queue.acquire(["lost"], lease=0.01) is not None
    last = jobs.enqueue("due", start_after=timedelta(milliseconds=5))
    time.sleep(0.05)
    found = inspect(jobs.storage).contents
    assert (found.ended, found.deleted, found.lost, found.overdue) == (1, 1, 1, 1)
    assert found.oldest_due == last.start_after
    moments = (found.oldest_ended, found.oldest_deleted, found.oldest_lost, found.oldest_due)
    assert all(timedelta() < found.now - moment < timedelta(minutes=1) for moment in moments)
    assert [(held.type, held.tenant, held.queued) for held in found.held] == [("all", "acme", 3), ("held", "", 3)]
    assert found.greatest["job"] == last.id
    assert found.greatest["hold"] == last_hold.id


def test_counts_end_somewhere(jobs, monkeypatch):
    monkeypatch.setattr(inspecting, "COUNTED", 3)
    jobs.enqueue_many([gnj.NewJob("a") for _ in range(5)])
    jobs.hold("a")
    assert inspect(jobs.storage).contents.held[0].queued == 3


@pytest.mark.slow_on("mysql")
def test_an_older_and_a_newer_database(jobs):
    run(jobs, "UPDATE gnj_alembic_version SET version_num = '0001'")
    facts = inspect(jobs.storage)
    assert (facts.migrations.current, facts.migrations.newer) == ("0001", False)
    assert facts.migrations.missing[0] == "0002"
    assert facts.contents is None
    run(jobs, "UPDATE gnj_alembic_version SET version_num = '9999'")
    facts = inspect(jobs.storage)
    assert (facts.migrations.current, facts.migrations.newer, facts.migrations.missing) == ("9999", True, ())
    assert facts.contents is None


def test_a_missing_index_is_named_with_what_makes_it(jobs):
    table = " ON gnj_job" if jobs.storage.dialect.name == "mysql" else ""
    run(jobs, f"DROP INDEX gnj_job_ready_idx{table}")
    indexes = inspect(jobs.storage).indexes
    assert list(indexes.missing) == [indexes.claim] == ["gnj_job_ready_idx"]
    run(jobs, indexes.missing["gnj_job_ready_idx"])
    assert inspect(jobs.storage).indexes.missing == {}


@pytest.mark.unmigrated
def test_other_names(url):
    with gnj.GNJ(url, prefix="other_") as jobs:
        jobs.migrate()
        assert inspect(jobs.storage).indexes.missing == {}
    with gnj.GNJ(url) as jobs:
        assert inspect(jobs.storage).migrations.current is None


def test_sqlite(sqlite_database):
    url = sqlite_database()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
        facts = inspect(jobs.storage)
    assert facts.server.settings == {"journal_mode": "wal", "synchronous": "FULL", "busy_timeout": "5000"}
    assert facts.file.path == url.removeprefix("sqlite:///")
    assert facts.file.writable
    assert facts.file.folder_writable
    assert facts.file.free > 0
    assert facts.skew is None
    assert not facts.notified


def test_postgresql(postgresql_database):
    with gnj.GNJ(postgresql_database(), schema="apart", pool_size=3) as jobs:
        jobs.migrate()
        facts = inspect(jobs.storage)
    assert facts.server.product == "PostgreSQL"
    assert facts.server.version >= (13,)
    assert facts.server.claim_isolation == "READ COMMITTED"
    assert {"synchronous_commit", "fsync"} == set(facts.server.settings)
    assert 0 < facts.server.connections < facts.server.max_connections
    assert facts.pool == 6
    assert abs(facts.skew) < 5
    assert 0 < facts.notification < 3
    assert facts.indexes.missing == {}


def test_the_default_isolation_of_postgresql_is_told_and_not_followed(postgresql_database):
    url = postgresql_database()
    with gnj.GNJ(url) as jobs:
        run(jobs, f'ALTER DATABASE "{url.rpartition("/")[2]}" SET default_transaction_isolation = serializable')
        run(jobs, f'ALTER DATABASE "{url.rpartition("/")[2]}" SET default_transaction_read_only = on')
    with gnj.GNJ(url) as jobs:
        server = inspect(jobs.storage).server
    assert (server.isolation, server.claim_isolation) == ("SERIALIZABLE", "READ COMMITTED")
    assert server.read_only


def test_an_index_of_postgresql_that_is_not_valid(postgresql_database):
    with gnj.GNJ(postgresql_database()) as jobs:
        jobs.migrate()
        run(jobs, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'gnj_job_due_idx'::regclass")
        assert inspect(jobs.storage).indexes.invalid == ("gnj_job_due_idx",)


def test_a_notification_that_does_not_arrive(postgresql_database, monkeypatch):
    monkeypatch.setattr(inspecting, "NOTIFIED_WITHIN", 0.1)
    monkeypatch.setattr(inspecting, "_NOTIFY", "SELECT pg_notify(:channel || '_other', '')")
    with gnj.GNJ(postgresql_database()) as jobs:
        facts = inspect(jobs.storage)
    assert (facts.notified, facts.notification) == (True, None)


def test_mysql(mysql_database):
    with gnj.GNJ(mysql_database()) as jobs:
        jobs.migrate()
        facts = inspect(jobs.storage)
    assert facts.server.product in ("MySQL", "MariaDB")
    assert facts.server.claim_isolation == "READ COMMITTED"
    assert "innodb_flush_log_at_trx_commit" in facts.server.settings
    assert 0 < facts.server.connections < facts.server.max_connections
    assert abs(facts.skew) < 5
    assert not facts.notified


@pytest.mark.slow_on("mysql")
def test_an_engine_of_the_hosts(url):
    from sqlalchemy import create_engine

    with gnj.GNJ(url) as jobs:
        jobs.migrate()
        engine = create_engine(url_of(jobs))
    try:
        facts = inspect(SqlStorage(engine))
        assert facts.contents is not None
    finally:
        engine.dispose()


def test_a_server_that_does_not_answer():
    pytest.importorskip("psycopg")
    with gnj.GNJ("postgresql://somebody@127.0.0.1:1/jobs") as jobs, pytest.raises(StorageUnavailable):
        inspect(jobs.storage)
