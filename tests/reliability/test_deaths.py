"""P1, P12 and P19: processes that die between two statements, and before and after a commit."""

import os

import pytest

from gnj.queue.errors import LeaseLost
from gnj.queue.model import Batch, Job, NewJob, Pipeline, Step
from gnj.queue.service import Queue
from gnj.storage.sql import SqlStorage
from gnj.storage.sql.transaction import SqlRows
from gnj.testing.contracts.support import persistently, snapshot


def enqueue_and_die(url, number, pipe):
    """Dies as soon as it may say that the job is stored."""
    job = Queue(SqlStorage(url)).enqueue(NewJob("work", unique_id=str(number)))
    pipe.send(job.id)
    os._exit(9)


def test_p1_an_acknowledged_job_survives_the_death_of_who_acknowledged_it(url, queue, children):
    alone = [children(enqueue_and_die, url, number) for number in range(8)]
    ids = [child.get() for child in alone]
    assert [child.join() for child in alone] == [9] * 8
    assert sorted(job.id for job in queue.list(Job)) == sorted(ids)


class Fuse:
    """Ends the process at the `length`th statement from now on, before or after it is executed."""

    def __init__(self, length, *, after):
        self.left, self.after = length, after
        self.run = SqlRows.run

    def light(self):
        fuse = self

        def run(rows, statement, parameters=None):
            fuse.left -= 1
            if fuse.left == 0 and not fuse.after:
                os._exit(9)
            result = fuse.run(rows, statement, parameters)
            if fuse.left == 0:
                os._exit(9)
            return result

        SqlRows.run = run  # type: ignore[method-assign]


def end(queue, job, how):
    if how == "successful":
        return queue.succeed(job, {"by": job.attempt})
    if how == "reaped":
        return queue.reap(force=True)
    return queue.fail(job, "no")


def end_and_die(queue, id, how, length):
    """Ends a claim, and dies (9) at the `length`th statement; or, where there are not so many, after the commit (8)."""
    queue.storage.engine.dispose(close=False)  # its connections are those of the process that this one was forked from
    job = queue.get(Job, id)
    Fuse(abs(length), after=length < 0).light()
    end(queue, job, how)
    os._exit(8)


def die_again_and_again(url, how, pipe):
    """For each (id, length) it is sent, a fork of this process dies. Statements are made once, by the claim it ends first."""
    queue = Queue(SqlStorage(url))
    end(queue, queue.get(Job, pipe.recv()), how)
    pipe.send("warm")
    while True:
        id, length = pipe.recv()
        if (pid := os.fork()) == 0:
            try:
                end_and_die(queue, id, how, length)
            finally:
                os._exit(1)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def prepared(queue, how):
    """The last claim of the second step of a pipeline: its end starts, or fails, all there is."""
    member = NewJob("b", on_lost="fail" if how == "reaped" else None)
    queue.add_pipeline("p", [NewJob("a"), [member] * 2, [NewJob("c")] * 2])
    queue.succeed(queue.acquire(["a"]))
    first, last = queue.acquire(["b"], 2, lease=60)
    queue.succeed(first)
    if how == "reaped":
        queue.storage.edit(Job, [last.id], {"lease_expires_at": last.created_at})
    return last


def expected(queue, how, pipeline_id):
    """What all the rows say once the claim has ended."""
    good = how == "successful"
    of = {"pipeline_id": pipeline_id}
    first, second = queue.list(Batch, **of)
    assert (first.status, second.status) == (("successful", "processing") if good else ("failed", "planned"))
    members = {job.status for job in queue.list(Job, batch_id=first.id)}
    assert members == ({"successful"} if good else {"successful", "failed"})
    assert {job.status for job in queue.list(Job, batch_id=second.id)} == {"queued" if good else "planned"}
    assert [s.status for s in queue.list(Step, **of)] == [
        "done",
        *(["done", "processing"] if good else ["failed", "planned"]),
    ]
    assert queue.get(Pipeline, pipeline_id).status == ("processing" if good else "failed")


def await_the_dead(queue):
    """Returns when the database has noticed that whoever had locked the pipeline is gone."""
    with queue.storage.begin() as tx:
        for pipeline in tx.find(Pipeline):
            tx.get(Pipeline, pipeline.id, lock=True)


@pytest.mark.parametrize(
    "how", ["successful", *(pytest.param(how, marks=pytest.mark.slow) for how in ("failed", "reaped"))]
)
def test_p12_a_death_at_any_statement_leaves_all_or_nothing(url, queue, children, how):
    """The job, its batch, its step, its pipeline and the next step change together, or not at all."""
    nursery = children(die_again_and_again, url, how)
    nursery.pipe.send(prepared(queue, how).id)
    assert nursery.get() == "warm"
    queue.acquire(["c"], 9, lease=600)
    last = prepared(queue, how)
    before = snapshot(queue.storage)
    for length in range(1, 50):
        # at odd lengths before the statement, at even ones when it is done
        nursery.pipe.send((last.id, length if length % 2 else -length))
        code = nursery.get()
        await_the_dead(queue)
        if code == 8:
            break
        assert code == 9
        assert snapshot(queue.storage) == before
    assert 5 < length < 49
    pipeline_id = queue.get(Batch, last.batch_id).pipeline_id
    expected(queue, how, pipeline_id)
    after = snapshot(queue.storage)
    # the worker that never heard of it tells again: nothing happens twice
    if how == "reaped":
        assert queue.reap(force=True) == 0
        with pytest.raises(LeaseLost):
            queue.succeed(last)
    else:
        assert end(queue, last, how).status == how
    assert snapshot(queue.storage) == after
    assert len(queue.acquire(["c"], 9)) == (2 if how == "successful" else 0)


def migrate(url, pipe):
    storage = SqlStorage(url)
    pipe.send("begin")
    pipe.recv()
    persistently(storage.migrate)  # see test_p16_a_new_file_that_another_process_writes_to_is_waited_for
    pipe.send("done")
    pipe.recv()


def migrate_and_die(url, length, pipe):
    """Dies at the `length`th statement of the migration; all that it sent before is in the database's hands."""
    from sqlalchemy import event

    storage = SqlStorage(url)
    left = [length]

    @event.listens_for(storage.engine, "after_cursor_execute")
    def die(*_):
        left[0] -= 1
        if not left[0]:
            os._exit(9)

    pipe.send("begin")
    pipe.recv()
    storage.migrate()
    pipe.send("done")
    pipe.recv()


def migrate_together(make, children, rounds):
    for round in range(rounds):
        url = make()
        dying = [children(migrate_and_die, url, 1 + 5 * number + round % 5) for number in range(4)]
        living = [children(migrate, url) for _ in range(4)]
        for child in [*dying, *living]:
            assert child.get() == "begin"
        for child in [*dying, *living]:
            child.pipe.send("go")
        assert [child.get() for child in living] == ["done"] * 4
        storage = SqlStorage(url)
        storage.check()
        assert Queue(storage).enqueue(NewJob("work")).id == 1
        storage.close()


@pytest.mark.unmigrated
@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_p19_eight_migrate_at_once_and_four_of_them_die(request, children, name):
    migrate_together(request.getfixturevalue(f"{name}_database"), children, 1)


@pytest.mark.unmigrated
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_p19_eight_migrate_at_once_fifty_times(request, children, name):
    migrate_together(request.getfixturevalue(f"{name}_database"), children, 50)
