"""P4 and P9: what becomes of the jobs of workers that die."""

import os

import pytest

from benchmarks.reliability import trace
from benchmarks.reliability.records import Records
from gnj.queue.ends import Outcome
from gnj.queue.model import Job, JobAttempt, NewJob
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from gnj.testing import FakeClock
from gnj.worker import Handlers, Worker
from tests.reliability.children import for_ever
from tests.worker.spy import until

LEASE = 2.0


def hold_one(url, lease, pipe):
    """Claims a job, and never comes back to it."""
    queue = Queue(SqlStorage(url))
    pipe.send(queue.count(Job))
    pipe.recv()
    pipe.send(queue.acquire(["work"], worker_id=str(os.getpid()), lease=lease))
    for_ever()


def recoveries(url, queue, children, number, lease=LEASE):
    """Seconds between the claims of a worker that is killed at once and those of an idle one that takes over."""
    queue.enqueue_many([NewJob("work") for _ in range(number)])
    holders = [children(hold_one, url, lease) for _ in range(number)]
    assert [holder.get() for holder in holders] == [number] * number
    for holder in holders:  # all at once, before the first lease is over
        holder.pipe.send("claim")
    assert None not in [holder.get() for holder in holders]
    for holder in holders:
        holder.kill()
    handlers = Handlers()
    handlers.register("work", lambda job: job.attempt)
    with Worker(queue, handlers, concurrency=4, poll=0.05):
        until(lambda: queue.count(Job, status="successful") == number, within=30)
    lost = {attempt.job_id: attempt for attempt in queue.list(JobAttempt)}
    assert len(lost) == number
    assert {job.output for job in queue.list(Job)} == {2}
    return [(job.started_at - lost[job.id].started_at).total_seconds() for job in queue.list(Job)]


@pytest.mark.slow_on("sqlite")
def test_p4_a_killed_workers_job_is_claimed_again_in_time(url, queue, children):
    """Not before its lease is over, and within a second after: by the database's clock."""
    seconds = recoveries(url, queue, children, 10)
    assert min(seconds) >= LEASE
    # the second is that between two looks for lost leases; the rest is the machine's
    assert max(seconds) <= LEASE + 1.0 + 1.0


@pytest.mark.slow
def test_p4_fifty_killed_workers(url, queue, children):
    lease = 10.0  # fifty processes claim within it, also on a slow machine
    seconds = recoveries(url, queue, children, 50, lease)
    assert lease <= min(seconds) <= max(seconds) <= lease + 2.0


def work_until_poisoned(url, folder, name, pipe):
    """A worker that one of the jobs kills."""
    queue = Queue(SqlStorage(url))
    log = trace.Trace(folder / f"{name}.trace")
    handlers = Handlers()

    @handlers.handler("work")
    def work(job):
        log.write(trace.CLAIMED, [(job.id, job.attempt)])
        if job.input == "poison":
            os._exit(9)
        return job.id

    worker = Worker(queue, handlers, concurrency=1, poll=0.02, lease=0.5, worker_id=name)
    worker.start()
    pipe.recv()
    worker.stop(5)


@pytest.mark.slow_on("sqlite")
def test_p9_a_job_that_kills_its_worker_is_given_up(url, queue, children, tmp_path):
    """After five lost claims, each by a worker that the history names; all others end well.

    One that was done, and whose end was not told yet as its worker died, has lost a claim as well. What a busy worker gives
    back before it is begun has been claimed, but not lost.
    """
    queue.enqueue_many([NewJob("work", "poison" if place == 50 else "fine") for place in range(100)])
    names = [f"w{number}" for number in range(7)]
    workers = [children(work_until_poisoned, url, tmp_path, name) for name in names[:2]]
    left = iter(names[2:])

    def over():
        for worker in [worker for worker in workers if worker.process.exitcode is not None]:
            workers.remove(worker)  # a supervisor starts what has died
            workers.append(children(work_until_poisoned, url, tmp_path, next(left)))
        return queue.count(Job, status=["successful", "failed"]) == 100

    until(over, within=40)
    for worker in workers:
        worker.pipe.send("stop")
    assert [worker.join() for worker in workers] == [0, 0]
    (poison,) = queue.list(Job, status="failed")
    assert (poison.input, poison.stalled_count, poison.failures) == ("poison", 5, 0)
    assert poison.output["error"].startswith("LEASE_EXPIRED")
    assert {job.output == job.id for job in queue.list(Job, status="successful")} == {True}
    lost = [each for each in queue.list(JobAttempt, job_id=poison.id, order=("id",)) if each.error is not None]
    assert len(lost) == 5
    assert lost[-1].attempt == poison.attempt
    seen = Records(tmp_path, 0.5).claims[poison.id]
    assert [each.worker_id for each in lost] == [held.worker for held in seen]
    assert all(f"worker {each.worker_id} lost claim {each.attempt}" in each.error for each in lost)


def test_p9_jobs_beside_one_that_kills_its_worker_are_not_given_up():
    """Their leases are over at the same moment: back at once, they would all be in one claim again, five times."""
    clock = FakeClock()
    queue = Queue(MemoryStorage(clock), seed=1)
    queue.enqueue_many([NewJob("work", "poison" if place == 0 else "fine") for place in range(10)])
    while queue.count(Job, status=["queued", "processing"]):
        held = queue.acquire(["work"], 4, lease=30)
        if not held:
            clock.tick(1)
        elif "poison" in [job.input for job in held]:
            clock.tick(31)  # the worker is dead, with all that it held
        else:
            queue.settle([Outcome(job, JobStatus.SUCCESSFUL) for job in held])
    assert {(job.input, job.status) for job in queue.list(Job)} == {("poison", "failed"), ("fine", "successful")}
