"""The cost of a claim does not depend on what stands before the first free job: blocks, VM steps, reads, never times."""

from __future__ import annotations

import pytest

from gnj.queue.model import Job
from gnj.queue.states import JOB_CLAIMED, JOB_MOVES, JobStatus
from gnj.queue.storage import Settlement
from gnj.queue.where import And, Not, equal
from tests.plans.claim_cost import PLANS, TWENTY, Backlog, analyze, backlogs, cost, fill, measured, opened, spent

ROWS = 8_000
LIMITS = (1, 10)
CLAIM = JOB_MOVES["claim"].changes(JobStatus.QUEUED)
CASES = [pytest.param(pair, id=pair[0].name) for pair in backlogs(ROWS) if pair[0] is not pair[1]]


@pytest.fixture(scope="module")
def postgresql(postgresql_server):
    with postgresql_server.database(migrated=True) as url:
        yield url


@pytest.fixture(scope="module")
def mysql(mysql_server):
    with mysql_server.database(migrated=True) as url:
        yield url


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, plans), id=f"{name} {plans}", marks=[pytest.mark.slow] if place else [])
        for name, all in (("postgresql", PLANS), ("mysql", PLANS[:2]))
        for place, plans in enumerate(all)
    ],
)
def server(request):
    backend, plans = request.param
    return request.getfixturevalue(backend), plans


@pytest.fixture(scope="module")
def small_costs():
    return {}


def small(costs, url, backlog, plans):
    key = (url, backlog.name, plans)
    if key not in costs:
        costs[key] = measured(url, backlog, LIMITS, plans)
    return costs[key]


@pytest.mark.slow_on("mysql")
@pytest.mark.parametrize("pair", CASES)
def test_blocks_and_reads_on_servers(server, small_costs, pair):
    """Twice the blocks is allowed, for higher indexes; a walk over the backlog would be 8 times as many and more."""
    url, plans = server
    found = measured(url, pair[0], LIMITS, plans)
    for large, few in zip(found, small(small_costs, url, pair[1], plans), strict=True):
        assert large <= 2 * few


@pytest.mark.parametrize("pair", CASES)
def test_steps_on_sqlite(tmp_path, sqlite_database, pair):
    found = measured(sqlite_database(), pair[0], LIMITS, PLANS[0])
    for large, few in zip(found, measured(sqlite_database(), pair[1], LIMITS, PLANS[0]), strict=True):
        assert large <= 1.5 * few


@pytest.mark.slow_on("mysql")
def test_many_at_once_cost_by_the_job(server):
    """500 jobs of 20 types, and claims for some tenants: here the planner would rather sort the backlog."""
    url, plans = server
    costs = []
    for rows in (2_000, ROWS):
        with opened(url, plans) as storage:
            fill(storage, Backlog("", rows=rows, before=TWENTY, free=TWENTY))
            if plans == "analyzed":
                analyze(storage)
            costs.append((cost(storage, Backlog("", types=TWENTY), 500), cost_for_tenants(storage)))
    (many, few), (many_large, few_large) = costs
    assert many_large <= 2 * many
    assert few_large <= 2 * few


def cost_for_tenants(storage):
    with storage.begin() as tx:
        before = spent(storage, tx)
        assert len(tx.claim(["t0"], 1, lease=30, changes=CLAIM, tenants=["", "x"])) == 1
        return spent(storage, tx) - before


@pytest.mark.slow_on("mysql")
def test_what_follows_a_claim(server):
    """Ends, heartbeats, and the looks for due jobs, lost leases and unfinished members of a batch, behind a backlog."""
    url, plans = server
    succeed = JOB_MOVES["succeed"].changes(JobStatus.PROCESSING)
    with opened(url, plans) as storage:
        fill(storage, Backlog("", rows=ROWS, delayed=True))
        storage.insert_jobs([{"type": "b", "batch_id": 1, "status": "successful"}] * 2_000)
        if plans == "analyzed":
            analyze(storage)
        jobs = storage.claim(["t0"], 50, lease=30, changes=CLAIM)
        unfinished = And((equal(Job, batch_id=1), Not(equal(Job, status=JobStatus.SUCCESSFUL))))
        with storage.begin() as tx:
            for name, limit, call in (
                ("renew", 20 * 50, lambda: tx.renew([(job.id, 1) for job in jobs], 60)),
                ("settle", 20 * 50, lambda: tx.settle([Settlement(j.id, 1, JOB_CLAIMED, succeed) for j in jobs])),
                ("promote", 60, lambda: tx.promote(1000)),
                ("lost", 60, lambda: tx.lost(100)),
                ("unfinished", 30, lambda: tx.exists(Job, unfinished)),
            ):
                before = spent(storage, tx)
                call()
                assert spent(storage, tx) - before <= limit, name
