"""The connections that are kept for hot statements (`lending`)."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from gnj.queue.errors import GnjError
from gnj.queue.model import Job
from gnj.storage.sql import SqlStorage


@pytest.fixture
def storage(tmp_path):
    storage = SqlStorage(f"sqlite:///{tmp_path / 'jobs.db'}")
    storage.migrate()
    yield storage
    storage.close()


def put(storage):
    ((job, new),) = storage.enqueue([{"type": "mail"}])
    assert new
    return job


def kept(storage):
    return [connection for connection, _ in storage._lending._kept]


def test_one_connection_serves_all_who_write(storage):
    put(storage)
    (first,) = kept(storage)
    threads = [threading.Thread(target=put, args=(storage,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert kept(storage) == [first]
    assert storage.engine.pool.checkedout() == 1
    assert storage.count(Job) == 9


def test_after_a_failure_another_one_is_opened(storage):
    put(storage)
    (first,) = kept(storage)
    first.dbapi_connection.close()
    with pytest.raises(GnjError):
        put(storage)
    assert kept(storage) == []
    put(storage)
    assert kept(storage) != [first]
    assert storage.count(Job) == 2


def test_it_goes_with_the_others_of_its_engine(storage):
    """Another file may have taken the place of that one."""
    put(storage)
    (first,) = kept(storage)
    storage.engine.dispose()
    put(storage)
    assert kept(storage) != [first]
    assert first.dbapi_connection is None
    storage.close()
    assert kept(storage) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_opens_its_own(storage):
    put(storage)
    (first,) = kept(storage)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            put(storage)
            status = 0 if kept(storage) != [first] and first.dbapi_connection is not None else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert kept(storage) == [first]
    put(storage)
    assert storage.count(Job) == 3


def test_in_memory_all_have_the_same_one():
    storage = SqlStorage("sqlite://")
    storage.migrate()
    put(storage)
    assert kept(storage) == []
    assert storage.count(Job) == 1
    storage.close()


def test_few_are_kept_where_all_write_at_once(postgresql_database):
    """And a pool of one keeps none: nobody else would find one."""
    url = postgresql_database()
    postgresql = SqlStorage(url)
    postgresql.migrate()
    threads = [threading.Thread(target=put, args=(postgresql,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert 1 <= len(kept(postgresql)) <= 2
    pool: Any = postgresql.engine.pool
    assert pool.checkedout() == len(kept(postgresql))
    assert postgresql.count(Job) == 8
    postgresql.close()
    small = SqlStorage(url, pool_size=1)
    put(small)
    assert kept(small) == []
    small.close()


def test_what_is_given_back_after_the_close_is_not_kept(storage):
    put(storage)
    lending = storage._lending
    lent = lending.take(None, write=True)
    storage.close()
    lending.give_back(lent, None)
    assert kept(storage) == []
