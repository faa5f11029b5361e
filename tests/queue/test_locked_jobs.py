"""A job that somebody's open transaction has locked keeps nobody waiting but who wants to change that very job."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from gnj.queue.ends import Locked, Outcome
from gnj.queue.errors import LeaseLost
from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.storage.sql import SqlStorage
from gnj.worker import Worker
from gnj.worker.handlers import Handlers
from gnj.worker.source import QueueSource

DATABASES = [
    pytest.param("postgresql_database", marks=pytest.mark.backend("postgresql")),
    pytest.param("mysql_database", marks=pytest.mark.backend("mysql")),
]


@pytest.fixture(params=DATABASES)
def queue(request):
    storage = SqlStorage(request.getfixturevalue(request.param)())
    storage.migrate()
    yield Queue(storage)
    storage.close()


@pytest.fixture
def hold(queue):
    """Locks a row from another connection, as a host does, until what it gives is called."""
    engine = queue.storage.engine
    open_ones = []

    def hold(job):
        table = queue.storage.tables.of(type(job))
        connection = engine.connect()
        connection.exec_driver_sql("START TRANSACTION")
        connection.execute(table.select().where(table.c.id == job.id).with_for_update()).all()
        open_ones.append(connection)

        def let_go(statement=None):
            if statement is not None:
                connection.execute(statement)
            connection.exec_driver_sql("COMMIT")
            open_ones.remove(connection)
            connection.close()

        return let_go

    yield hold
    for connection in open_ones:
        connection.exec_driver_sql("ROLLBACK")
        connection.close()


def claimed(queue, count, **options):
    queue.enqueue_many([NewJob("mail", **options)] * count)
    return queue.acquire(["mail"], count, lease=60)


def status(queue, job):
    found = queue.get(Job, job.id)
    return found and found.status


@pytest.mark.parametrize("output", [None, {"a": 1}])
@pytest.mark.parametrize("count", [1, 3])
def test_ends_go_past_a_locked_job(queue, hold, count, output):
    jobs = claimed(queue, count)
    let_go = hold(jobs[0])
    outcomes = [Outcome(job, JobStatus.SUCCESSFUL, output) for job in jobs]
    locked, *others = queue.finish(outcomes)
    assert isinstance(locked, Locked)
    assert others == [None] * (count - 1)
    assert [status(queue, job) for job in jobs] == ["processing"] + ["successful"] * (count - 1)
    let_go()
    assert queue.finish(outcomes[:1]) == [None]
    assert queue.get(Job, jobs[0].id).output == output


def test_failures_go_past_a_locked_job(queue, hold):
    jobs = claimed(queue, 3)
    hold(jobs[1])
    first, locked, last = queue.finish([Outcome(job, JobStatus.FAILED, {"error": "x"}) for job in jobs])
    assert isinstance(locked, Locked)
    assert [job.status for job in (first, last)] == ["failed"] * 2


def test_members_of_a_batch_go_past_a_locked_one(queue, hold):
    queue.add_batch([NewJob("mail")] * 3)
    jobs = queue.acquire(["mail"], 3, lease=60)
    let_go = hold(jobs[1])
    outcomes = [Outcome(job, JobStatus.SUCCESSFUL) for job in jobs]
    first, locked, last = queue.finish(outcomes)
    assert isinstance(locked, Locked)
    assert [job.status for job in (first, last)] == ["successful"] * 2
    let_go()
    assert queue.finish(outcomes[1:2])[0].status == "successful"


def test_what_was_locked_by_who_ended_it_is_refused(queue, hold):
    """The lock is of one who gives the job to somebody else: the end that comes then is that of a claim that is over."""
    (job,) = claimed(queue, 1)
    let_go = hold(job)
    outcome = Outcome(job, JobStatus.SUCCESSFUL, {"stale": True})
    assert isinstance(queue.finish([outcome])[0], Locked)
    table = queue.storage.tables.job
    let_go(table.update().where(table.c.id == job.id).values(attempt=job.attempt + 1))
    assert isinstance(queue.finish([outcome])[0], LeaseLost)
    assert queue.get(Job, job.id).output is None


def test_an_end_told_alone_waits_for_the_lock(queue, hold):
    (job,) = claimed(queue, 1)
    let_go = hold(job)
    answers = []
    begun = threading.Event()

    def end():
        begun.set()
        answers.append(queue.succeed(job))

    thread = threading.Thread(target=end)
    thread.start()
    assert begun.wait(10)
    let_go()
    thread.join(10)
    assert [answer.status for answer in answers] == ["successful"]


def test_leases_are_renewed_past_a_locked_job(queue, hold):
    jobs = claimed(queue, 3)
    let_go = hold(jobs[1])
    before = queue.get(Job, jobs[1].id)
    tokens = [(job.id, job.attempt) for job in jobs]
    for options in ({"lease": 600}, {"lease": 600, "tenant": ""}):
        first, locked, last = queue.heartbeats(tokens, **options)
        assert locked == before  # its claim is not over
        assert all(job.lease_expires_at > before.lease_expires_at + timedelta(seconds=500) for job in (first, last))
    assert queue.heartbeats(tokens[1:2], lease=600, wait=False) == [before]
    let_go()
    assert queue.heartbeats(tokens, lease=600)[1].lease_expires_at > before.lease_expires_at
    queue.succeed(jobs[0])
    assert queue.heartbeats(tokens)[0] is None


def test_what_is_given_back_goes_past_a_locked_job(queue, hold):
    jobs = claimed(queue, 3)
    hold(jobs[1])
    assert queue.give_back(jobs) == {jobs[1].id}
    assert [status(queue, job) for job in jobs] == ["queued", "processing", "queued"]


def test_members_of_a_locked_batch_hold_up_nobody_else(queue, hold):
    batch = queue.add_batch([NewJob("mail")] * 2)
    jobs = [*queue.acquire(["mail"], 2, lease=60), *claimed(queue, 2)]
    let_go = hold(batch)
    results = queue.finish([Outcome(job, JobStatus.SUCCESSFUL) for job in jobs[1:]])
    assert isinstance(results[0], Locked)
    assert results[1:] == [None, None]
    assert queue.give_back(jobs[:1]) == {jobs[0].id}
    let_go()
    assert queue.give_back(jobs[:1]) == frozenset()
    assert queue.finish([Outcome(jobs[1], JobStatus.SUCCESSFUL)])[0].status == "successful"


def test_lost_members_of_a_locked_batch_wait_for_the_next_look(queue, hold):
    batch = queue.add_batch([NewJob("mail", max_attempts=2)])
    (member,) = queue.acquire(["mail"], 1, lease=0.01)
    (plain,) = queue.acquire(["mail"], 1, lease=0.01) or claimed_shortly(queue)
    let_go = hold(batch)
    until_lost(queue, member, plain)
    assert queue.reap(force=True) == 1
    assert (status(queue, member), status(queue, plain)) == ("processing", "queued")
    let_go()
    assert queue.reap(force=True) == 1
    assert status(queue, member) == "queued"


def claimed_shortly(queue):
    queue.enqueue(NewJob("mail"))
    return queue.acquire(["mail"], 1, lease=0.01)


def until_lost(queue, *jobs):
    ids = {job.id for job in jobs}
    while not ids <= {job.id for job in queue.storage.lost(100)}:
        threading.Event().wait(0.005)


def test_which_are_locked(queue, hold):
    jobs = claimed(queue, 3)
    let_go = hold(jobs[1])
    ids = [job.id for job in jobs]
    assert queue.storage.locked(Job, [*ids, 12345]) == {jobs[1].id}
    let_go()
    assert queue.storage.locked(Job, ids) == frozenset()
    assert queue.storage.locked(Job, []) == frozenset()


def test_a_worker_goes_on_while_a_job_of_its_own_is_locked(queue, hold):
    running, go_on = threading.Event(), threading.Event()
    handlers = Handlers()

    @handlers.handler("slow")
    def slow(job):
        running.set()
        assert go_on.wait(30)

    @handlers.handler("mail")
    def mail(job):
        pass

    slow_job = queue.enqueue(NewJob("slow"))
    worker = Worker(QueueSource(queue, lease=30), handlers, concurrency=2)
    worker.start()
    try:
        assert running.wait(10)
        let_go = hold(slow_job)
        go_on.set()
        mails = queue.enqueue_many([NewJob("mail")] * 50)
        wait_until(lambda: all(status(queue, job) == "successful" for job in mails))
        assert status(queue, slow_job) == "processing"
        let_go()
        wait_until(lambda: status(queue, slow_job) == "successful")
        assert queue.get(Job, slow_job.id).attempt == 1
    finally:
        go_on.set()
        worker.stop(5)


def wait_until(true):
    for _ in range(300):
        if true():
            return
        threading.Event().wait(0.02)
    raise AssertionError
