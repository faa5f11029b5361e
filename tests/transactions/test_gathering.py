"""Jobs that tasks of one event loop enqueue at the same time (`gnj.queue.gathering`)."""

import asyncio
import threading

import pytest

import gnj
from gnj.queue.errors import Conflict, InvalidInput, StorageUnavailable
from gnj.queue.gathering import Gathering
from gnj.queue.model import NewJob


@pytest.fixture
def jobs(tmp_path):
    made = gnj.GNJ(f"sqlite:///{tmp_path}/jobs.db")
    yield made
    made.close()


@pytest.fixture
def sizes(jobs, monkeypatch):
    """How many jobs each commit of several had, or of one."""
    noted = []
    real = jobs.storage.enqueue

    def enqueue(rows):
        noted.append(len(rows))
        if len(rows) > 1 and any(row["type"] in FAILURES for row in rows):
            raise FAILURES[next(row["type"] for row in rows if row["type"] in FAILURES)]
        return real(rows)

    monkeypatch.setattr(jobs.storage, "enqueue", enqueue)
    return noted


FAILURES = {"conflict": ValueError("a bad row"), "gone": StorageUnavailable("gone")}


def together(jobs, *types, **options):
    async def main():
        work = (jobs.enqueue_async(type, n, **options) for n, type in enumerate(types))
        return await asyncio.gather(*work, return_exceptions=True)

    return asyncio.run(main())


def test_tasks_share_a_commit_and_each_gets_its_own(jobs, sizes):
    stored = together(jobs, *["a"] * 32)
    assert [job.input for job in stored] == list(range(32))
    assert len({job.id for job in stored}) == jobs.count() == 32
    assert sizes == [32]
    assert together(jobs, "b")[0].type == "b"


def test_what_is_wrong_with_one_is_told_to_that_one(jobs, sizes):
    first, wrong, last = together(jobs, "a", "", "b")
    assert (first.type, last.type) == ("a", "b")
    assert isinstance(wrong, InvalidInput)
    assert jobs.count() == 2


def test_a_batch_that_fails_is_stored_one_by_one(jobs, sizes):
    assert [job.type for job in together(jobs, "a", "conflict", "b")] == ["a", "conflict", "b"]
    assert sizes == [3, 1, 1, 1]


def test_without_a_database_everybody_is_told(jobs, sizes):
    errors = together(jobs, "a", "gone")
    assert [(type(error), str(error)) for error in errors] == [(StorageUnavailable, "gone")] * 2
    assert errors[0] is not errors[1]
    assert sizes == [2]


def test_what_fails_alone_too_is_told(jobs, monkeypatch):
    def enqueue(rows):
        raise Conflict

    monkeypatch.setattr(jobs.storage, "enqueue", enqueue)
    assert [type(error) for error in together(jobs, "a", "b")] == [Conflict, Conflict]


def test_nobody_waits_with_a_unique_id_that_is_being_stored_elsewhere(jobs, monkeypatch):
    enqueue, go = jobs.queue.enqueue, threading.Event()

    def waiting(job):
        assert go.wait(20)
        return enqueue(job)

    async def main():
        await jobs.enqueue_async("first")
        monkeypatch.setattr(jobs.queue, "enqueue", waiting)
        unique = asyncio.create_task(jobs.enqueue_async("a", unique_id="u"))
        await asyncio.sleep(0)
        await asyncio.wait_for(jobs.enqueue_async("b"), 10)
        assert not unique.done()
        go.set()
        assert (await unique).unique_id == "u"

    asyncio.run(main())


def test_unique_ids_are_stored_apart(jobs, sizes):
    stored = together(jobs, "a", "a", unique_id="u")
    assert stored[0] == stored[1]
    assert sizes == [1, 1]


def test_who_is_cancelled_harms_no_other(jobs, sizes):
    async def main():
        tasks = [asyncio.create_task(jobs.enqueue_async("a", n)) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, cancelled, last = asyncio.run(main())
    assert (first.input, last.input) == (0, 2)
    assert isinstance(cancelled, asyncio.CancelledError)


def test_a_loop_that_ends_leaves_nobody_behind():
    gate = threading.Event()

    def store(new):
        gate.wait(5)
        return [ValueError("late")] * len(new)

    async def main():
        gathering = Gathering(store)
        first = asyncio.create_task(gathering.enqueue(NewJob("a")))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(gathering.enqueue(NewJob("b")))
        await asyncio.sleep(0)
        assert gathering._task is not None
        gathering._task.cancel()
        gate.set()
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 2
        assert gathering._task is None

    asyncio.run(main())


def test_whatever_the_work_raises_is_told():
    def store(new):
        raise RuntimeError("no answer")

    async def main():
        gathering = Gathering(store)
        return await asyncio.gather(*(gathering.enqueue(NewJob("a")) for _ in range(2)), return_exceptions=True)

    assert [str(error) for error in asyncio.run(main())] == ["no answer"] * 2


def test_inside_a_transaction_it_is_refused_where_it_would_wait_for_itself(jobs):
    async def main():
        with jobs.queue.transaction(), pytest.raises(RuntimeError, match="a transaction is open here"):
            await jobs.enqueue_async("a")

    asyncio.run(main())
