"""Limits hold over several processes, whatever database they share, and what dies frees what it had."""

from __future__ import annotations

import random
import threading
import time
from itertools import pairwise

import pytest

from gnj.queue.ends import Outcome
from gnj.queue.limits import LimitValues, Rate
from gnj.queue.model import Grant, Job, NewJob, Permit, QueueLimit
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from gnj.testing.contracts.support import need, persistently, together
from tests.processes import FORKSERVER

TIMEOUT = 120.0
PROCESSES = 3
JOBS = 48
DATABASES = [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("sqlite", "postgresql", "mysql")]


@pytest.fixture(params=DATABASES)
def url(request):
    return request.getfixturevalue(f"{request.param}_database")()


@pytest.fixture
def queue(url):
    storage = SqlStorage(url)
    storage.migrate()
    yield Queue(storage)
    storage.close()


def work(queue, seed, deadline):
    """Claims jobs and ends them a moment later, some of them badly, until none are left."""
    chance = random.Random(seed)
    while time.monotonic() < deadline:
        claimed = persistently(lambda: queue.acquire(["a"], chance.randint(1, 3), lease=60.0, worker_id=str(seed)))
        if not claimed:
            if not queue.count(Job, status="queued"):
                return
            queue.wake.wait(queue.wake.rings, 0.01)
            continue
        time.sleep(chance.random() * 0.01)
        back = [job for job in claimed if job.attempt == 1 and job.id % 16 == 0]
        ended = [Outcome(job, JobStatus.SUCCESSFUL) for job in claimed if job not in back]
        persistently(lambda: queue.finish(ended))  # noqa: B023
        for job in back:
            persistently(lambda: queue.release([job]))  # noqa: B023


def work_in_process(url, seed, barrier, answer):
    storage = SqlStorage(url)
    queue = Queue(storage)
    storage.now()
    barrier.wait(TIMEOUT)
    work(queue, seed, time.monotonic() + TIMEOUT)
    answer.send(seed)
    storage.close()


def add(storage, keys=(None,), count=JOBS):
    rows = [{"type": "a", "status": JobStatus.QUEUED, "limit_key": keys[i % len(keys)]} for i in range(count)]
    return storage.insert_jobs(rows)


def in_processes(url):
    barrier = FORKSERVER.Barrier(PROCESSES)
    running = []
    try:
        for seed in range(PROCESSES):
            mine, theirs = FORKSERVER.Pipe()
            process = FORKSERVER.Process(target=work_in_process, args=(url, seed, barrier, theirs), daemon=True)
            process.start()
            theirs.close()
            running.append((process, mine))
        for _, answer in running:
            assert answer.poll(TIMEOUT)
            answer.recv()
    finally:
        for process, _ in running:
            process.kill()
            process.join()


def ms(moment):
    return round(moment.timestamp() * 1000)


def overlap(jobs):
    """How many ran at once at most: what ended in a millisecond did so before what began in it."""
    events = sorted(
        [(ms(job.started_at), 1) for job in jobs] + [(ms(job.ended_at), 0) for job in jobs], key=lambda e: (e[0], e[1])
    )
    running = most = 0
    for _, begins in events:
        running += 1 if begins else -1
        most = max(most, running)
    return most


def in_any(jobs, duration):
    """How many started in any period of that length at most."""
    starts = sorted(ms(job.started_at) for job in jobs)
    first = most = 0
    for place, start in enumerate(starts):
        while start - starts[first] >= duration:
            first += 1
        most = max(most, place - first + 1)
    return most


def ended(queue, count=JOBS):
    jobs = queue.list(Job, limit=count)
    assert {job.status for job in jobs} == {JobStatus.SUCCESSFUL}
    return jobs


def lasting(jobs):
    """Those that were not given back: of the others the first start is not kept."""
    return [job for job in jobs if job.attempt == 1]


@pytest.mark.slow_on("mysql")
@pytest.mark.parametrize("most", [1, 3])
def test_no_more_run_at_once(url, queue, most):
    queue.set_limits("a", LimitValues(concurrency=most), tenant="")
    add(queue.storage)
    in_processes(url)
    jobs = ended(queue)
    assert 1 <= overlap(jobs) <= most
    assert most == 1 or len({job.worker_id for job in jobs}) > 1


@pytest.mark.slow_on("mysql")
def test_no_more_start_in_any_period(url, queue):
    queue.set_limits("a", LimitValues(limiter=Rate(25, 200)), tenant="")
    add(queue.storage)
    in_processes(url)
    jobs = ended(queue)
    assert in_any(lasting(jobs), 200) <= 25
    assert sum(grant.count for grant in queue.storage.find(Grant)) <= JOBS + JOBS // 16


@pytest.mark.slow_on("mysql")
def test_groups_and_all_together(url, queue):
    queue.set_limits(
        "a",
        LimitValues(concurrency=4, limiter=Rate(60, 200), group_concurrency=1, group_limiter=Rate(12, 200)),
        tenant="",
    )
    add(queue.storage, ["x", "y", None, "z"])
    in_processes(url)
    jobs = ended(queue)
    assert overlap(jobs) <= 4
    assert in_any(lasting(jobs), 200) <= 60
    for key in "xyz":
        of_key = [job for job in jobs if job.limit_key == key]
        assert overlap(of_key) == 1
        assert in_any(lasting(of_key), 200) <= 12
    assert queue.storage.count(Permit) <= 4


def hold_and_wait(url, answer):
    queue = Queue(SqlStorage(url))
    answer.send([job.id for job in queue.acquire(["a"], 9, lease=1.0)])
    time.sleep(TIMEOUT)


def test_what_a_killed_process_held_is_free_when_its_leases_end(url, queue):
    queue.set_limits("a", LimitValues(concurrency=2), tenant="")
    jobs = [job.id for job, _ in add(queue.storage, count=4)]
    mine, theirs = FORKSERVER.Pipe()
    process = FORKSERVER.Process(target=hold_and_wait, args=(url, theirs), daemon=True)
    process.start()
    assert mine.poll(TIMEOUT)
    assert mine.recv() == jobs[:2]
    process.kill()
    process.join()
    dead = time.monotonic()
    claimed = queue.acquire(["a"], 9)
    while not claimed:
        assert time.monotonic() < dead + 10
        queue.wake.wait(queue.wake.rings, 0.05)
        claimed = queue.acquire(["a"], 9)
    assert [(job.id, job.attempt) for job in claimed] == [(id, 2) for id in jobs[:2]]
    assert queue.acquire(["a"], 9) == []


def test_a_hold_that_was_set_while_a_claim_waited_holds(url, queue):
    """For its turn at the limit, which somebody else has."""
    queue.set_limits("a", LimitValues(concurrency=2), tenant="")
    add(queue.storage, count=2)
    (limit,) = queue.storage.find(QueueLimit)
    claimed, begun = [], threading.Event()

    def claim():
        begun.set()
        claimed.append(persistently(lambda: queue.acquire(["a"], 2)))

    claiming = threading.Thread(target=claim)
    with queue.transaction() as (inner, tx):
        assert tx.get(QueueLimit, limit.id, lock=True)
        claiming.start()
        assert begun.wait(TIMEOUT)
        time.sleep(0.2)
        # on SQLite nobody else can write meanwhile
        (queue if "concurrent_claims" in queue.storage.capabilities else inner).hold("a")
        assert not claimed
    claiming.join(TIMEOUT)
    assert claimed == [[]]
    queue.release_hold("a")
    assert len(queue.acquire(["a"], 2)) == 2


@pytest.mark.slow_on("mysql")
def test_an_end_is_heard_elsewhere(url, queue):
    """By whoever waits for a place in a limited queue."""
    need(queue.storage, "notify")
    queue.set_limits("a", LimitValues(concurrency=1), tenant="")
    add(queue.storage, count=2)
    (job,) = queue.acquire(["a"], 9)
    other = Queue(SqlStorage(url))
    with other.storage.listen(other.wake.set) as hears:
        deadline = time.monotonic() + TIMEOUT
        while not hears() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert other.acquire(["a"]) is None
        while (seen := other.wake.rings) != other.wake.wait(seen, 0.2):
            pass
        queue.finish([Outcome(job, JobStatus.SUCCESSFUL)])
        assert other.wake.wait(seen, TIMEOUT) > seen
        assert other.acquire(["a"]) is not None
    other.storage.close()


@pytest.mark.slow_on("mysql")
def test_threads_share_limits(url, queue):
    """Those of two queues of one process, as of two."""
    queue.set_limits("a", LimitValues(concurrency=2, limiter=Rate(40, 200)), tenant="")
    add(queue.storage)
    queues = [queue, Queue(queue.storage)]
    together(8, lambda seed: work(queues[seed % 2], seed, time.monotonic() + TIMEOUT))
    jobs = ended(queue)
    assert overlap(jobs) <= 2
    assert in_any(lasting(jobs), 200) <= 40


def test_limits_that_change_while_jobs_are_claimed(url, queue):
    """Nothing gets stuck, nothing is run twice, and at the end the last limit holds."""
    add(queue.storage)
    queues, over = [queue, Queue(queue.storage), Queue(queue.storage)], threading.Event()

    def change():
        chance = random.Random(5)
        while not over.is_set():
            limits = chance.choice(
                [None, LimitValues(concurrency=1), LimitValues(concurrency=2, limiter=Rate(50, 100))]
            )
            persistently(lambda: queue.set_limits("a", limits, tenant=""))  # noqa: B023
            persistently(lambda: queue.toggle_hold("b"))
            over.wait(0.01)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        together(6, lambda seed: work(queues[seed % 3], seed, time.monotonic() + TIMEOUT))
    finally:
        over.set()
        changing.join()
    assert all(job.attempt == (2 if job.id % 16 == 0 else 1) for job in ended(queue))


def test_memory():
    queue = Queue(MemoryStorage())
    queue.set_limits("a", LimitValues(concurrency=3, limiter=Rate(50, 100), group_concurrency=1), tenant="")
    add(queue.storage, ["x", None])
    together(8, lambda seed: work(queue, seed, time.monotonic() + TIMEOUT))
    jobs = ended(queue)
    assert overlap(jobs) <= 3
    assert in_any(lasting(jobs), 100) <= 50
    assert overlap([job for job in jobs if job.limit_key]) == 1
    assert all(a.id < b.id for a, b in pairwise(jobs))
    assert queue.enqueue(NewJob("a")).id
