"""In MySQL and MariaDB, by the rows that are read: a lane costs what is asked of it, whatever stands before or behind."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from gnj.queue.clock import NOW
from gnj.queue.states import JobStatus
from gnj.storage.sql import SqlStorage, ended, lanes

WAITING = 3_000


@pytest.fixture(scope="module")
def storage(mysql_server):
    with mysql_server.database(migrated=True) as url:
        storage = SqlStorage(url)
        storage.migrate()
        rows = [{"type": "t", "tenant": "x", "priority": n % 3} for n in range(WAITING)]
        rows += [{"type": "t", "tenant": "y", "limit_key": f"k{n % 7}"} for n in range(140)]
        rows += [{"type": "other", "tenant": "x"} for _ in range(WAITING)]
        done = {"status": JobStatus.SUCCESSFUL, "ended_at": NOW}
        rows += [{"type": "big", "tenant": "x", **done} for _ in range(WAITING)]
        rows += [{"type": "small", "tenant": "x", **done} for _ in range(60)]
        for start in range(0, len(rows), 1_000):
            storage.insert_jobs(rows[start : start + 1_000])
        yield storage
        storage.close()


def spent(storage, call):
    """The rows that were read, and those that were sorted."""
    with storage.begin(write=False) as tx:

        def so_far():
            found = dict(tx.connection.execute(text("SHOW SESSION STATUS")).all())
            return sum(int(n) for name, n in found.items() if name.startswith("Handler_read")), int(found["Sort_rows"])

        call(tx)  # a connection's first statements look up what the server is
        idle, before = so_far(), so_far()
        assert call(tx)
        after = so_far()
    # to ask reads a few hundred rows of its own
    return after[0] - before[0] - (before[0] - idle[0]), after[1] - before[1]


@pytest.mark.parametrize("tenant, most", [(None, 4), ("x", 2), ("y", 4)])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("bounds", [{}, {"high": 0}, {"low": 0}, {"low": -1, "high": 0}])
def test_what_is_asked_for_is_read(storage, tenant, most, backward, bounds):
    """`most` is the tenant's greatest priority: the bounds are from there down."""
    bounds = {name: most + value for name, value in bounds.items()}
    read, ordered = spent(storage, lambda tx: tx.lane("t", tenant, 50, backward=backward, **bounds))
    assert (49 <= read <= 110, ordered) == (True, 0), read


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("type", ["big", "small"])
@pytest.mark.parametrize("statuses", [(JobStatus.SUCCESSFUL,), (JobStatus.SUCCESSFUL, JobStatus.FAILED)])
def test_what_has_ended(storage, type, statuses, backward):
    """Whatever ended of others; of several statuses the first ones of each are sorted."""
    read, ordered = spent(storage, lambda tx: tx.ended(type, "x", statuses, 50, backward=backward))
    assert (49 <= read <= 400, ordered <= 100) == (True, True), (read, ordered)


def test_types_are_gone_through_in_steps(storage):
    """Where something ended is told, for pruning and figures, without a look at all that did."""
    read, _ = spent(storage, ended.groups)
    assert read <= 50
    read, _ = spent(storage, lambda tx: tx.tally_ended([], None, type="small", tenant="x"))
    assert read <= 400


def test_tenants_are_not_counted_off(storage):
    read, ordered = spent(storage, lambda tx: tx.tenants("t", None, 10))
    assert (read <= 20, ordered) == (True, 0), read


def test_keys_are_looked_for_among_the_first(storage, monkeypatch):
    """There is no index of them."""
    read, _ = spent(storage, lambda tx: tx.keys("t", "y", "", 10))
    assert 140 <= read <= 500
    read, _ = spent(storage, lambda tx: tx.lane("t", "y", 10, key="k3"))
    assert 140 <= read <= 500
    monkeypatch.setattr(lanes, "WALK", 100)
    with SqlStorage(storage.engine).begin(write=False) as tx:
        assert len(tx.lane("t", "y", 100, key="k3")) == 14
        assert len(tx.lane("t", "x", 100, key="k3")) == 0
