"""Lifo, deletes from Python, pruning in the background."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

import gnj
from gnj.queue.errors import IllegalTransition, InvalidInput, JobNotFound, StorageUnavailable
from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.queue.upkeep import Upkeep
from gnj.storage.memory import MemoryStorage

everywhere = pytest.mark.usefixtures("everywhere")


@everywhere
def test_lifo_comes_before_what_is_there_of_its_priority(queue):
    def add(name, **options):
        queue.enqueue(gnj.NewJob("mail", name=name, **options))

    add("first")
    add("second")
    queue.enqueue_many([gnj.NewJob("mail", name=name, lifo=True) for name in ("late", "later")])
    add("urgent", priority=5)
    add("third")
    add("latest", lifo=True)
    claimed = [queue.acquire(["mail"]).name for _ in range(7)]
    assert claimed == ["urgent", "latest", "later", "late", "first", "second", "third"]


def test_lifo_is_true_or_false(queue):
    with pytest.raises(InvalidInput, match="lifo must be"):
        queue.enqueue(gnj.NewJob("mail", lifo=1))  # type: ignore[arg-type]


def test_deletes_from_python(clock):
    jobs = gnj.GNJ(MemoryStorage(clock))
    job = jobs.enqueue("mail", unique_id="u")
    assert jobs.delete(job.id).deleted_at == clock()
    assert jobs.get(job.id) is None
    with pytest.raises(JobNotFound):
        jobs.delete(job.id)
    claim = jobs.enqueue("mail", unique_id="u")
    jobs.queue.acquire(["mail"])
    with pytest.raises(IllegalTransition, match="being processed"):
        jobs.delete(claim.id)
    clock.tick(86_400)
    assert jobs.prune() == 1
    assert jobs.prune(timedelta(days=7)) == 0


def test_pruning_is_bounded(clock):
    queue = Queue(MemoryStorage(clock))
    for job in queue.enqueue_many([gnj.NewJob("mail")] * 5):
        queue.cancel(job.id)
    assert [queue.prune(retention=0, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    with pytest.raises(InvalidInput, match="retention must be"):
        queue.prune(retention=-1)


class Observed(Queue):
    """A queue whose prunes can be waited for, and that fails the first one."""

    def __init__(self, storage):
        super().__init__(storage)
        self.pruned = threading.Event()
        self.calls = 0

    def prune(self, **options):
        self.calls += 1
        if self.calls == 1:
            raise StorageUnavailable
        removed = super().prune(**options)
        self.pruned.set()
        return removed


def test_upkeep_prunes_and_outlives_a_failure(caplog):
    queue = Observed(MemoryStorage())
    old, new = queue.enqueue(gnj.NewJob("mail")), queue.enqueue(gnj.NewJob("mail"))
    queue.cancel(old.id)
    with Upkeep(queue, 0.0, every=0.01):
        assert queue.pruned.wait(30)
    assert [job.id for job in queue.list(Job)] == [new.id]
    assert "pruning will be tried again" in caplog.text


def test_an_application_with_a_retention_keeps_up_once_it_serves():
    with gnj.GNJ("memory://", retention=3600) as jobs:
        cancelled = jobs.cancel(jobs.enqueue("mail").id)
        assert jobs.get(cancelled.id)
        jobs.start()
        assert any(thread.name == "gnj-upkeep" for thread in threading.enumerate())
    assert not any(thread.name == "gnj-upkeep" for thread in threading.enumerate())


@everywhere
def test_p18_neither_a_snooze_nor_a_backoff_brings_a_job_before_its_start(queue, clock):
    queue.enqueue(gnj.NewJob("mail", max_attempts=3, backoff=gnj.Fixed(5)))
    for end in ("snooze", "fail"):
        claimed = queue.acquire(["mail"])
        later = clock() + timedelta(hours=1)
        queue.update_job(claimed.id, {"start_after": later})
        job = queue.snooze(claimed.id, claimed.attempt, 0.2) if end == "snooze" else queue.fail(claimed, "no")
        assert job.due_at == later
        clock.tick(3600)


def test_a_replacement_that_is_gone_stands_in_nobodys_way(queue):
    queue.enqueue(gnj.NewJob("mail", recoverable=True))
    failed = queue.fail(queue.acquire(["mail"]), "no")
    queue.delete(Job, queue.retry(failed.id).id)
    assert queue.recover(failed.id).status == "queued"
