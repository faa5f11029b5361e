"""P2, P11, P18 and P21: what happens at the same moment, many times over."""

import itertools
import random
import threading
from datetime import timedelta
from functools import partial

import pytest

from gnj.queue.ends import Outcome
from gnj.queue.model import Batch, Job, JobAttempt, NewJob, Pipeline
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.storage.sql import SqlStorage
from gnj.testing.contracts.support import persistently, together
from tests.worker.spy import until


def claim_all(url, types, pipe):
    """Claims, as soon as all others do, until there is nothing left; tells what it was handed."""
    queue = Queue(SqlStorage(url))
    pipe.send(queue.count(Job))
    pipe.recv()
    handed: list[tuple[int, int]] = []
    limits = itertools.cycle([1, 2, 5])
    while found := persistently(lambda: queue.acquire(types, next(limits), lease=60)):
        handed += [(job.id, job.attempt) for job in found]
    pipe.send(handed)


def test_p2_processes_are_handed_each_claim_once(url, queue, children):
    """In threads: tests/storage/test_claim_races.py, and the contract of each storage."""
    queue.enqueue_many([NewJob("ab"[place % 2]) for place in range(400)])
    claimers = [children(claim_all, url, types) for types in (["a", "b"], ["b", "a"], ["a", "b"], ["b", "a"])]
    assert [claimer.get() for claimer in claimers] == [400] * 4
    for claimer in claimers:
        claimer.pipe.send("go")
    handed = sorted(claim for claimer in claimers for claim in claimer.get())
    assert handed == [(job.id, 1) for job in queue.list(Job, limit=1000)]


def last_two_finish_together(queue, pipelines):
    """The two jobs left of each step end at the same moment, told by two workers; the next step must be queued once."""
    for _ in range(pipelines):
        queue.add_pipeline("p", [[NewJob("a")] * 2, NewJob("b"), [NewJob("a")] * 2, NewJob("b")])
    for _ in range(2):
        held = queue.acquire(["a"], 2 * pipelines)
        pairs: dict[int, list[Job]] = {}
        for job in held:
            pairs.setdefault(job.batch_id, []).append(job)
        assert [len(pair) for pair in pairs.values()] == [2] * pipelines
        for pair in pairs.values():
            together(2, partial(succeed_one, queue, pair))
        then = queue.acquire(["b"], 3 * pipelines)
        assert len(then) == pipelines
        assert len({job.pipeline_id for job in then}) == pipelines
        together(4, partial(succeed_share, queue, then))
    assert {pipeline.status for pipeline in queue.list(Pipeline, limit=10_000)} == {"successful"}
    assert {batch.status for batch in queue.list(Batch, limit=10_000)} == {"successful"}
    assert {job.attempt for job in queue.list(Job, limit=10_000)} == {1}
    assert queue.count(JobAttempt) == 0


def succeed_one(queue, jobs, place):
    queue.succeed(jobs[place])


def succeed_share(queue, jobs, place):
    queue.settle([Outcome(job, JobStatus.SUCCESSFUL) for job in jobs[place::4]])


def test_p11_the_last_two_of_a_step_finish_together(queue):
    last_two_finish_together(queue, 25)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_p11_the_last_two_of_a_thousand_steps_finish_together(queue):
    last_two_finish_together(queue, 500)


def test_p18_delayed_jobs_are_never_early(queue):
    """A thousand of them, due at random moments, by the database's clock; and not a second late."""
    chance = random.Random(18)
    now = queue.storage.now()
    moments = [now + timedelta(milliseconds=chance.randint(-100, 2500)) for _ in range(1000)]
    queue.enqueue_many([NewJob("work", start_after=moment) for moment in moments])
    left = [1000]
    lateness = []

    def claim():
        for job in queue.acquire(["work"], 50):
            lateness.append((job.started_at - max(job.start_after, job.created_at)).total_seconds())
            left[0] -= 1
        return not left[0]

    until(claim, within=30)
    assert min(lateness) >= 0.0
    assert sorted(lateness)[500] < 1.0


def reached(counter, goal):
    return counter[0] >= goal


def hold_and_release(storage, queue, times):
    """Claimers are at it without a pause; each claim that begins between a hold's answer and its release has nothing."""
    jobs = 3 * times + 200
    queue.enqueue_many([NewJob("work") for _ in range(jobs)])
    over = threading.Event()
    held = [0]
    """The number of the hold that was acknowledged and is not being released, or 0."""
    claimed_while_held, claims = [], [0]

    def claimer():
        while not over.is_set():
            before = held[0]
            found = persistently(partial(queue.acquire, ["work"], 1))
            # held at its beginning, and by the same hold at its end: the acknowledgement came before it
            if before and held[0] == before:
                claims[0] += 1
                claimed_while_held.extend(found)
            if found:
                persistently(partial(queue.release, found))

    threads = [threading.Thread(target=claimer) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, times + 1):
            persistently(partial(queue.hold, "work"))
            held[0] = number
            until(partial(reached, claims, claims[0] + 1))
            held[0] = 0
            persistently(partial(queue.release_hold, "work"))
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert claimed_while_held == []
    assert claims[0] >= times


def test_p21_no_claim_follows_the_acknowledgement_of_a_hold(storage, queue):
    hold_and_release(storage, queue, 60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_p21_no_claim_follows_the_acknowledgement_of_a_thousand_holds(storage, queue):
    hold_and_release(storage, queue, 1000)
