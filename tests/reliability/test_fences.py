"""P3: whoever lost a lease is told so by each of its writes, and changes no byte."""

import random

import pytest

from gnj.queue.ends import Outcome
from gnj.queue.errors import GnjError, LeaseLost
from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.queue.states import JOB_ENDED, JobStatus
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock
from gnj.testing.contracts.support import snapshot
from tests.worker.spy import until


def settle(queue, job):
    """As workers tell of many ends at once; here the other one is of no job at all."""
    (result, _) = queue.settle(
        [Outcome(job, JobStatus.SUCCESSFUL, 1), Outcome(job.evolve(id=10**9), JobStatus.SUCCESSFUL, 1)]
    )
    if isinstance(result, GnjError):
        raise result


def heartbeats(queue, job):
    if queue.heartbeats([(job.id, job.attempt)]) == [None]:
        raise LeaseLost


def release(queue, job):
    if not queue.release([job]):
        raise LeaseLost


WRITES = {
    "succeed": lambda queue, job: queue.succeed(job, "late"),
    "fail": lambda queue, job: queue.fail(job, "late"),
    "cancelled": lambda queue, job: queue.cancelled(job, "late"),
    "settle": settle,
    "progress": lambda queue, job: queue.progress(job, {"late": True}),
    "heartbeat": lambda queue, job: queue.heartbeat(job),
    "heartbeats": heartbeats,
    "release": release,
    "update": lambda queue, job: queue.update_job(job.id, {"name": "late"}, attempt=job.attempt),
    "update to successful": lambda queue, job: queue.update_job(
        job.id, {"status": "successful", "output": "late"}, attempt=job.attempt
    ),
}


@pytest.fixture(params=["nobody", "another worker", "another worker, which ended it", "its own worker"])
def zombie(request, queue):
    """A claim whose lease ran out, and that was taken back; what became of the job."""
    batch = queue.add_batch([NewJob("work")])
    (job,) = queue.acquire(["work"], 1, worker_id="slow", lease=0.01)
    assert job.batch_id == batch.id
    until(lambda: queue.reap(force=True))
    if request.param != "nobody":
        worker = "slow" if request.param == "its own worker" else "other"
        (again,) = queue.acquire(["work"], 1, worker_id=worker, lease=60)
        if "ended" in request.param:
            queue.succeed(again, "first")
    return job


def test_p3_every_write_of_a_lost_claim_changes_no_byte(queue, zombie):
    before = snapshot(queue.storage)
    for name, write in WRITES.items():
        assert refused(write, queue, zombie), f"{name} was let through"
        assert snapshot(queue.storage) == before, name


def refused(write, queue, job):
    try:
        write(queue, job)
    except LeaseLost:
        return True
    return False


class Schedule:
    """Three workers that do what chance says, on a clock that chance turns."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        self.queue = Queue(MemoryStorage(self.clock), lease=1.0, seed=seed)
        self.held = []
        self.ended = {}

    def act(self):
        step = self.chance.choice([self.claim, self.claim, self.end, self.end, self.renew, self.wait])
        step()

    def claim(self):
        self.queue.reap(force=True)
        worker = str(self.chance.randrange(3))
        self.held += self.queue.acquire(["work"], 1, worker_id=worker)

    def wait(self):
        self.clock.tick(self.chance.choice([0.3, 0.6, 1.1]))

    def renew(self):
        if self.held:
            job = self.chance.choice(self.held)
            assert (self.queue.heartbeats([(job.id, job.attempt)]) != [None]) == self.alive(job)

    def end(self):
        """Whether it is let through is known beforehand; what is stored is of whoever was."""
        if not self.held:
            return
        job = self.chance.choice(self.held)
        repeated = self.ended.get(job.id) == job.attempt
        alive, before = self.alive(job), snapshot(self.queue.storage)
        try:
            self.queue.succeed(job, {"attempt": job.attempt, "worker": job.worker_id})
        except LeaseLost:
            assert not alive
            assert not repeated
        else:
            assert alive or repeated
            self.ended.setdefault(job.id, job.attempt)
        if not alive:
            assert snapshot(self.queue.storage) == before

    def alive(self, job):
        now = self.queue.get(Job, job.id)
        assert now is not None
        return now.attempt == job.attempt and now.status not in JOB_ENDED and now.status != "queued"

    def judge(self):
        for job in self.queue.list(Job):
            assert (job.status == "successful") == (job.id in self.ended)
            if job.id in self.ended:
                assert job.output == {"attempt": self.ended[job.id], "worker": job.worker_id}
                assert job.attempt == self.ended[job.id]


def play(seeds):
    for seed in seeds:
        schedule = Schedule(seed)
        schedule.queue.enqueue_many([NewJob("work", max_stalled=100) for _ in range(3)])
        for _ in range(25):
            schedule.act()
        schedule.judge()


def test_p3_three_workers_in_any_order():
    play(range(100))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_p3_three_workers_in_many_orders():
    play(range(100, 10_000))
