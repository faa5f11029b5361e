"""P5 and P15: servers and workers that are told to stop."""

from functools import partial

import pytest

from benchmarks.reliability.processes import await_server
from gnj.app import GNJ
from gnj.queue.model import Job, JobAttempt, NewJob
from tests.worker.spy import until


def test_p5_a_start_leaves_what_is_worked_on_alone(url, storage, queue):
    queue.enqueue_many([NewJob("work") for _ in range(5)])
    held = queue.acquire(["work"], 3)
    before = storage.find(Job)
    with GNJ(url) as server:
        server.start()
        assert server.queue.acquire(["other"]) is None
    assert storage.find(Job) == before
    assert [queue.succeed(job).status for job in held] == ["successful"] * 3


def roll(url, storage, queue, fleet, restarts, jobs):
    """Restarts servers in turn while workers that know them only work; all of these live."""
    storage.migrate()
    servers = fleet(url, servers=2, workers=2, mode="http")
    queue.enqueue_many([NewJob("single", {"ms": 300}) for place in range(jobs)])
    for restart in range(restarts):
        server = servers.servers[restart % 2]
        servers.end_server(server, 15, 0.0)
        servers.look_after()
        await_server(server, servers._folder)
    until(lambda: queue.count(Job, status="successful") == jobs, within=60)
    servers.retire(list(servers.workers))
    assert servers.crashes == []
    assert {(job.attempt, job.stalled_count, job.failures) for job in queue.list(Job, limit=jobs)} == {(1, 0, 0)}
    assert queue.count(JobAttempt) == 0


@pytest.mark.slow_on("sqlite")
def test_p5_rolling_restarts_harm_nobody(url, storage, queue, fleet):
    roll(url, storage, queue, fleet, restarts=2, jobs=80)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_p5_twenty_rolling_restarts_harm_nobody(url, storage, queue, fleet):
    roll(url, storage, queue, fleet, restarts=20, jobs=500)


def done(queue, goal):
    return queue.count(Job, status="successful") >= goal


def stop_often(url, storage, queue, fleet, stops, jobs):
    workers = fleet(url, workers=2, mode="embedded")
    queue.enqueue_many([NewJob("single", {"ms": place % 40}) for place in range(jobs)])
    for stop in range(1, stops + 1):
        until(partial(done, queue, jobs * stop // (stops + 1)), within=60)
        workers.restart_worker(workers.workers[0])
    # nobody waits for a lease of 30 s to run out
    until(lambda: queue.count(Job, status="successful") == jobs, within=20)
    workers.retire(list(workers.workers))
    assert workers.crashes == []
    ends = {(job.status, job.failures, job.stalled_count) for job in queue.list(Job, limit=jobs)}
    assert ends == {("successful", 0, 0)}
    assert queue.count(JobAttempt) == 0


def test_p15_stops_under_load_lose_nothing_and_charge_nothing(url, storage, queue, fleet):
    stop_often(url, storage, queue, fleet, stops=8, jobs=240)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_p15_two_hundred_stops_under_load(url, storage, queue, fleet):
    stop_often(url, storage, queue, fleet, stops=200, jobs=6000)
