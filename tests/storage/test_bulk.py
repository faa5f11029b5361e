"""Many rows at once on PostgreSQL: COPY, and where that cannot be (`gnj.storage.sql.copy_postgresql`)."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import event, text

from gnj.queue.errors import StorageError
from gnj.queue.model import Job
from gnj.queue.storage import Select
from gnj.storage.sql import SqlStorage, copy_postgresql

COUNT = copy_postgresql.FEWEST
BY_ID = Select(order=(("id", False),))
pytestmark = pytest.mark.backend("postgresql")


@pytest.fixture
def storage(postgresql_server):
    with postgresql_server.database(migrated=True) as url:
        made = SqlStorage(url)
        made.migrate()
        yield made
        made.close()


@pytest.fixture
def copied(monkeypatch):
    """How many rows each COPY stored; None where there could be none."""
    sizes = []
    real = copy_postgresql.insert

    def insert(*arguments):
        stored = real(*arguments)
        sizes.append(None if stored is None else len(stored))
        return stored

    monkeypatch.setattr(copy_postgresql, "insert", insert)
    return sizes


def store(storage, count=COUNT, **more):
    jobs = [job for job, new in storage.enqueue([{"type": "a", "input": n, **more} for n in range(count)]) if new]
    assert [job.input for job in jobs] == list(range(count))
    assert jobs == sorted(jobs, key=lambda job: job.id)
    return jobs


def run(storage, *statements):
    with storage.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_many_are_copied_and_few_are_not(storage, copied):
    jobs = store(storage)
    assert storage.find(Job, BY_ID) == jobs
    store(storage, COUNT - 1)
    assert copied == [COUNT]


def test_ids_that_do_not_follow_each_other(storage, copied):
    run(storage, "ALTER SEQUENCE gnj_job_id_seq INCREMENT BY 3")
    jobs = store(storage)
    assert [job.id for job in jobs[:3]] == [1, 4, 7]
    assert storage.find(Job, BY_ID) == jobs
    assert copied == [COUNT]


def test_who_may_not_take_ids_inserts(storage, copied):
    run(
        storage,
        "DROP ROLE IF EXISTS gnj_test_narrow",
        "CREATE ROLE gnj_test_narrow",
        "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO gnj_test_narrow",
    )
    storage.engine.dispose()
    event.listen(storage.engine, "connect", lambda raw, _: raw.execute("SET ROLE gnj_test_narrow"))
    try:
        jobs = store(storage)
        assert storage.find(Job, BY_ID) == jobs
        assert copied == [None]
    finally:
        storage.engine.dispose()
        owner = SqlStorage(storage.engine.url)
        run(owner, "DROP OWNED BY gnj_test_narrow", "DROP ROLE gnj_test_narrow")
        owner.close()


def test_a_table_with_policies_takes_no_copy(storage, copied):
    run(
        storage,
        "DROP ROLE IF EXISTS gnj_test_policed",
        "CREATE ROLE gnj_test_policed",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO gnj_test_policed",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO gnj_test_policed",
        "ALTER TABLE gnj_job ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY everything ON gnj_job USING (true)",
    )
    storage.engine.dispose()
    event.listen(storage.engine, "connect", lambda raw, _: raw.execute("SET ROLE gnj_test_policed"))
    try:
        assert len(store(storage)) == COUNT
        assert copied == [None]
    finally:
        owner = SqlStorage(storage.engine.url)
        run(owner, "DROP OWNED BY gnj_test_policed", "DROP ROLE gnj_test_policed")
        owner.close()


def test_what_the_server_refuses_is_told_as_any_error_and_leaves_nothing(storage, copied):
    run(storage, "ALTER TABLE gnj_job ADD CONSTRAINT small CHECK (priority_level < 9)")
    with pytest.raises(StorageError, match="the database refused a statement") as caught:
        store(storage, priority=9)
    assert type(caught.value) is StorageError
    assert storage.count(Job) == 0
    assert len(store(storage)) == COUNT


def test_several_at_once_and_the_ids_of_each_ascend(storage, copied):
    made: list[list[Job]] = []

    def several():
        made.extend(store(storage) for _ in range(3))

    threads = [threading.Thread(target=several) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert copied == [COUNT] * 12
    assert storage.find(Job, BY_ID) == sorted((job for jobs in made for job in jobs), key=lambda job: job.id)
