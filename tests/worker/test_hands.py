"""Jobs that were claimed ahead and wait for a slot."""

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest

from gnj.queue.model import Job, NewJob
from gnj.queue.states import JobStatus
from gnj.worker import Worker
from gnj.worker.hands import STALE, Hands
from gnj.worker.pace import FORGOTTEN, KNOWN, SHORT
from tests.worker.spy import WAIT, Spy, until


class Stage:
    """Two slots, and jobs whose handlers wait until they are let go."""

    def __init__(self, queue, handlers):
        self.queue, self.source, self.handlers = queue, Spy(queue), handlers
        self.go = threading.Event()
        self.began: list[int] = []
        self.seen = threading.Semaphore(0)
        handlers.register("slow", self._slow)
        handlers.register("quick", lambda job: self.began.append(job.id))
        self.hands = Hands(self.source, handlers, 2)

    def _slow(self, job):
        self.began.append(job.id)
        self.seen.release()
        self.go.wait(WAIT)

    def take(self, *types, **options):
        self.queue.enqueue_many([NewJob(type, **options) for type in types])
        jobs = self.source.claim(list(set(types)), len(types))
        self.hands.take(jobs)
        return [job.id for job in jobs]

    @property
    def waiting(self):
        return [run.claim.id for run in self.hands.waiting]

    @property
    def todo(self):
        return [(run.claim.id, outcome and outcome.status) for run, outcome in self.hands.todo]


@pytest.fixture
def stage(queue, handlers):
    stage = Stage(queue, handlers)
    yield stage
    stage.go.set()
    stage.hands.close(time.monotonic() + WAIT)


def seen(stage, count):
    for _ in range(count):
        assert stage.seen.acquire(timeout=WAIT)


def test_jobs_wait_in_their_order_and_take_the_slots_that_get_free(stage):
    ids = stage.take(*["slow"] * 5)
    seen(stage, 2)
    assert sorted(stage.began) == ids[:2]
    assert stage.waiting == ids[2:]
    stage.go.set()
    until(lambda: len(stage.todo) == 5)
    assert sorted(stage.began) == ids
    assert not stage.waiting
    assert not stage.hands.active


def test_who_claims_runs_one_job_and_others_the_rest(stage):
    stage.queue.enqueue_many([NewJob("slow")] * 3)
    jobs = stage.source.claim(["slow"], 3)
    well, run = stage.hands.take(jobs, taking=True)
    assert well
    assert run is not None
    assert run.claim.id == jobs[0].id
    seen(stage, 1)
    assert stage.began == [jobs[1].id]
    stage.go.set()
    stage.hands.serve(run)
    until(lambda: len(stage.todo) == 3)
    until(lambda: stage.hands._serving == 0)


def test_who_claims_runs_none_where_threads_are_not_to_change(queue, handlers):
    stage = Stage(queue, handlers)
    stage.hands = Hands(stage.source, handlers, 1)
    queue.enqueue_many([NewJob("slow")] * 2)
    assert stage.hands.take(stage.source.claim(["slow"], 2), taking=True) == (True, None)
    stage.go.set()
    until(lambda: len(stage.todo) == 2)
    stage.hands.close(time.monotonic() + WAIT)


def test_a_run_that_was_taken_can_be_put_back(stage):
    stage.queue.enqueue(NewJob("slow"))
    (job,) = stage.source.claim(["slow"], 1)
    _, run = stage.hands.take([job], taking=True)
    stage.hands.put_back(run)
    assert stage.todo == [(job.id, None)]
    assert not stage.hands.active
    assert stage.hands._serving == 0


@pytest.mark.parametrize("concurrency", [1, 8])
def test_threads_are_few(queue, handlers, concurrency):
    """One at a time always runs in the same thread; else those that claim and run take turns."""
    threads = set()
    handlers.register("work", lambda _: threads.add(threading.get_ident()))
    spy = Spy(queue)
    with Worker(spy, handlers, concurrency=concurrency):
        for _ in range(20):
            queue.enqueue(NewJob("work"))
            spy.outcome()
            time.sleep(0.002)
    assert len(threads) <= (1 if concurrency == 1 else 3)


def test_a_time_limit_counts_from_the_beginning(stage):
    stage.take("slow", "slow", "quick", timeout=30)
    seen(stage, 2)
    (run,) = stage.hands.waiting
    assert run.due == float("inf")
    with stage.hands.lock:
        stage.hands.expire(time.monotonic() + 31)
    assert [status for _, status in stage.todo] == [JobStatus.FAILED] * 2
    began = time.monotonic()
    stage.go.set()
    until(lambda: not stage.hands.active and not stage.hands.waiting)
    assert run.due >= began + 30


def test_what_comes_back_after_its_time_limit_is_timed_out_though_nobody_has_looked(stage):
    stage.take("slow", "slow", timeout=30)
    seen(stage, 2)
    with stage.hands.lock:
        late, _ = runs = list(stage.hands.active)
        late.due = stage.hands.soonest = time.monotonic() - 0.1
    stage.go.set()
    until(lambda: not stage.hands.active)
    ends = dict(stage.todo)
    assert [ends[run.claim.id] for run in runs] == [JobStatus.FAILED, JobStatus.SUCCESSFUL]


def test_stop_gives_back_what_has_not_begun(stage):
    ids = stage.take(*["slow"] * 4)
    seen(stage, 2)
    with stage.hands.lock:
        stage.hands.stop()
    assert stage.todo == [(ids[2], None), (ids[3], None)]
    stage.go.set()
    until(lambda: not stage.hands.active)
    assert sorted(stage.began) == ids[:2]


def test_what_waits_for_too_long_is_given_back(stage):
    ids = stage.take(*["slow"] * 4)
    seen(stage, 2)
    with stage.hands.lock:
        stage.hands.give_back_stale()
    assert stage.waiting == ids[2:]
    for run in stage.hands.waiting:
        run.claimed -= STALE
    with stage.hands.lock:
        stage.hands.give_back_stale()
    assert not stage.waiting
    assert stage.todo == [(ids[2], None), (ids[3], None)]


def test_what_was_given_back_is_not_claimed_again_at_once(stage):
    """Else it would go back and forth, though another worker has free slots."""
    hands = stage.hands
    stage.take(*["slow"] * 4)
    seen(stage, 2)
    for _ in range(100):
        hands._pace.ended(time.monotonic(), 0.0, threaded=True)
    hands._pace.told(1_000_000)
    time.sleep(0.005)  # the shortest time for which a rate is measured
    with hands.lock:
        assert hands.room() > 0
        for run in hands.waiting:
            run.claimed -= STALE
        hands.give_back_stale()
        hands.told([run for run, _ in hands.todo])
    time.sleep(0.002)
    with hands.lock:
        assert hands.room() == 0


def test_few_jobs_are_held_beside_one_that_may_have_killed_its_worker(stage):
    """Else they would lose their leases with it, again and again."""
    hands = stage.hands
    for _ in range(100):
        hands._pace.ended(time.monotonic(), 0.0, threaded=True)
    hands._pace.told(1_000_000)
    time.sleep(0.005)  # the shortest time for which a rate is measured
    with hands.lock:
        assert hands.room() > 2
    stage.queue.enqueue_many([NewJob("slow")] * 5)
    jobs = stage.source.claim(["slow"], 5)
    hands.take([job.evolve(stalled_count=int(job is jobs[0])) for job in jobs])
    seen(stage, 2)
    assert not stage.waiting
    assert [id for id, _ in stage.todo] == [job.id for job in jobs[2:]]
    with hands.lock:
        assert not hands.gathers
        hands.told([run for run, _ in hands.todo])
        hands.todo.clear()
        assert hands.room() == 0
    stage.go.set()
    until(lambda: not hands.active)
    with hands.lock:
        assert hands.room() == 2
        hands.told([run for run, _ in hands.todo])
        assert hands.room() > 2


def test_only_what_waits_can_be_dropped(stage):
    ids = stage.take(*["slow"] * 3)
    seen(stage, 2)
    (waits,) = stage.hands.waiting
    with stage.hands.lock:
        assert stage.hands.drop(waits)
        assert not stage.hands.drop(waits)
        assert not any(stage.hands.drop(run) for run in stage.hands.active)
    stage.go.set()
    until(lambda: not stage.hands.active)
    assert sorted(stage.began) == ids[:2]


def test_a_thread_that_runs_short_jobs_gets_help_when_one_is_long(stage):
    stage.take(*["quick"] * 300)
    until(lambda: len(stage.todo) == 300)
    assert stage.hands.tick == float("inf")
    with stage.hands.lock:  # as short as they are on a machine with nothing else to do
        for _ in range(KNOWN):
            stage.hands._pace._again = 0.0
            stage.hands._pace.ended(time.monotonic(), SHORT / 10, threaded=True)
    ids = stage.take("slow", "quick")
    seen(stage, 1)
    assert stage.waiting == ids[1:]
    assert stage.hands.tick < 1
    stage.hands._pace._last -= FORGOTTEN  # nobody had the time to look after it
    assert stage.hands.tick < 1
    for _ in range(2):
        with stage.hands.lock:
            stage.hands.help()
    until(lambda: len(stage.todo) == 301)
    assert stage.began[-2:] == ids


def test_async_jobs_wait_as_well(stage, handlers):
    running, most = [], []

    @handlers.handler("async")
    async def coroutine(job):
        running.append(job.id)
        most.append(len(running))
        await asyncio.sleep(0.001)
        running.remove(job.id)

    ids = stage.take(*["async"] * 50)
    until(lambda: len(stage.todo) == 50)
    assert max(most) == 2
    assert sorted(id for id, _ in stage.todo) == ids


@contextmanager
def ahead(handlers, queue, jobs):
    """A worker whose jobs are short, so that it claims ahead, until one takes up its only slot."""
    begun, go = threading.Event(), threading.Event()

    @handlers.handler("work")
    def work(job):
        if job.input == "slow":
            begun.set()
            go.wait(WAIT)

    spy = Spy(queue, lease=3.0)  # a machine that stands still for a second loses none
    queue.enqueue_many([*[NewJob("work")] * 2_000, NewJob("work", "slow"), *[NewJob("work")] * jobs])
    worker = Worker(spy, handlers, concurrency=1, poll=0.01)
    worker.start()
    try:
        assert begun.wait(WAIT)
        yield spy, worker
    finally:
        go.set()
        worker.stop(5)


def test_a_cancelled_job_that_waits_does_not_begin(handlers, queue):
    with ahead(handlers, queue, 5) as (_spy, worker):
        until(lambda: len(worker._loop._hands.waiting) == 5)
        last = queue.list(Job, order=("-id",), limit=1)[0]
        queue.cancel(last.id)
        until(lambda: queue.get(Job, last.id).status is JobStatus.CANCELLED)
        # None: on a slow machine it has been left to other workers before
        assert queue.get(Job, last.id).output in ({"cancelMessage": "cancelled before it began"}, None)
        assert last.attempt == 1


def test_jobs_behind_a_long_one_are_left_to_other_workers(handlers, queue):
    with ahead(handlers, queue, 5) as (_spy, _worker):
        other = Worker(Spy(queue), handlers, poll=0.01)
        other.start()
        until(lambda: queue.count(Job, status="successful") == 2_005)
        other.stop()
        (slow,) = queue.list(Job, status="processing")
        assert slow.input == "slow"


def test_a_job_that_was_lost_while_it_waited_does_not_begin(handlers, queue):
    with ahead(handlers, queue, 3) as (_spy, worker):
        until(lambda: len(worker._loop._hands.waiting) == 3)
        waits = queue.list(Job, order=("-id",), limit=3)
        time.sleep(FORGOTTEN)  # from here on the worker claims none ahead: it would take what is given back
        queue.give_back(waits)
        assert {job.id for job in queue.acquire(["work"], 3)} == {job.id for job in waits}
        until(lambda: not worker._loop._hands.waiting)
    assert {queue.get(Job, job.id).status for job in waits} == {JobStatus.PROCESSING}
    assert {queue.get(Job, job.id).attempt for job in waits} == {2}


def test_a_stopped_worker_leaves_nothing_that_it_claimed_ahead(handlers, queue):
    with ahead(handlers, queue, 500) as (_spy, worker):
        until(lambda: worker._loop._hands.waiting)
    assert queue.count(Job, status="processing") == 0
    assert queue.count(Job, status="queued") + queue.count(Job, status="successful") == 2_501
