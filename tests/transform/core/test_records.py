"""How the handler makes batches of what a source gives, and what stops it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gnj.queue import transforms
from gnj.queue.ends import Outcome
from gnj.queue.errors import CancelRequested, LeaseLost, Snooze
from gnj.queue.model import Job
from gnj.queue.model_transform import RunStatus, TransformJob, TransformRecord, TransformRun
from gnj.queue.states import JobStatus
from gnj.transform import running
from gnj.transform.errors import SourceFailed
from tests.transform.core.conftest import PLAIN, URL, World, item
from tests.transform.core.fakes import FakeReading


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """How many records each batch had."""
    found: list[int] = []
    write = transforms.write

    def counted(unit: Any, claim: Any, run_id: Any, counts: Any, batch: Any) -> Any:
        found.append(len(batch.records))
        return write(unit, claim, run_id, counts, batch)

    monkeypatch.setattr(transforms, "write", counted)
    return found


def handle(world: World, claim: Job, *, stopping: bool = False, **signals: bool) -> Any:
    given = SimpleNamespace(**{"cancel_requested": False, "lease_lost": False, **signals})
    return running.handled(world.transform, stopping=lambda: stopping)(claim, given)


def test_batches_are_so_many_records(world: World, sizes):
    world.save([item(n) for n in range(7)])
    world.work()
    assert sizes == [3, 3, 1]


def test_or_so_many_characters(world: World, sizes, monkeypatch):
    monkeypatch.setattr(running, "HEAVY", 1_000)
    world.save([item(1, "x" * 600), item(2, "x" * 600), item(3, "x" * 2_000), item(4)])
    world.work()
    assert sizes == [2, 1, 1]


def test_or_what_came_in_a_while(world: World, sizes, monkeypatch):
    monkeypatch.setattr(running, "EVERY", 0.0)
    world.save([item(1), item(None), item(2)])
    world.work()
    assert sizes == [1, 0, 1, 0]


def test_rejected_records_alone_make_batches_too(world: World, sizes):
    world.save([item(None)] * 7)
    world.work()
    assert sizes == [0, 0, 0]


def test_the_run_tells_how_far_it_has_come_and_so_does_its_job(world: World):
    told: list[Any] = []

    def feed(_validators: Any) -> FakeReading:
        def items() -> Any:
            for n in range(5):
                yield item(n)
            (run,) = world.runs(job)
            made = world.queue.storage.get(Job, run.job_id)
            assert made is not None
            told.append((run.status, run.read, run.written, made.progress))
            assert world.status(job) == "Running"

        return FakeReading(items())

    job = world.save(feed)
    world.work()
    assert [each[:3] for each in told] == [(RunStatus.RUNNING, 3, 3)]
    assert told[0][3]["read"] == 3


def test_a_job_that_is_deleted_while_it_runs_stops_it(world: World, everywhere):
    def feed(_validators: Any) -> FakeReading:
        def items() -> Any:
            yield from (item(n) for n in range(4))
            world.jobs.delete_job(world.tenant, job.id)
            yield from (item(n) for n in range(4, 100))
            raise AssertionError

        return FakeReading(items())

    job = world.save(feed)
    (run,) = world.runs(job)
    world.work()
    found = world.queue.storage.get(TransformRun, run.id)
    assert found is not None
    assert (found.status, found.written) == (RunStatus.CANCELLED, 0)
    while world.queue.prune(retention=None):
        pass
    assert world.queue.storage.count(TransformRecord) == world.queue.storage.count(TransformJob) == 0


def test_what_its_worker_says_stops_it(world: World):
    job = world.save([item(n) for n in range(9)])
    claim = world.claim()
    with pytest.raises(LeaseLost):
        handle(world, claim, lease_lost=True)
    with pytest.raises(CancelRequested):
        handle(world, claim, cancel_requested=True)
    with pytest.raises(Snooze):
        handle(world, claim, stopping=True)
    assert world.current(job) == []
    world.queue.settle([Outcome(claim, JobStatus.QUEUED, None)])
    world.work()
    (run,) = world.runs(job)
    assert (run.status, run.written, len(world.current(job))) == (RunStatus.SUCCESSFUL, 9, 9)


def test_keys_of_other_jobs_are_others(world: World, everywhere):
    other = world.save([item(1, "theirs"), item(2, "theirs")], url="https://other.example/")
    job = world.save([item(1, "mine")])
    world.work()
    world.again(job, [item(1, "again"), item(2, "again")])
    assert world.current(other) == [(1, "theirs"), (2, "theirs")]
    assert world.current(job) == [(1, "again"), (2, "again")]


def test_a_job_of_many_runs_goes_to_the_last_row(world: World, monkeypatch):
    monkeypatch.setattr(transforms, "_FEW", 3)
    job = world.save([item(1), SourceFailed("gone", final=True)], PLAIN)
    world.work()
    for feed in ([item(1)], [item(2), SourceFailed("gone", final=True)], [item(3)], [item(4)], [item(5)], [item(6)]):
        world.again(job, feed)
    assert [name for name, _ in world.current(job)] == [1, 3, 4, 5, 6]
    world.parts.feeds[URL] = []
    world.jobs.delete_job(world.tenant, job.id)
    for _ in range(20):
        world.queue.prune(retention=None)
    for kind in (TransformJob, TransformRun, TransformRecord):
        assert world.queue.storage.count(kind) == 0


def test_pages_have_the_fields_in_the_order_of_the_format(world: World, on_every_storage):
    definition = {
        "name": {"type": "string"},
        "zz": {"type": "string"},
        "id": {"type": "string"},
        "a": {"type": "string"},
    }
    job = world.save([item(n, f"x{n}") for n in range(3)], definition)
    world.work()
    (run,) = world.runs(job)
    for page in (world.jobs.job_records(world.tenant, job.id), world.jobs.records(world.tenant, run.id)):
        assert [list(record) for record in page.records] == [["name", "zz", "id", "a"]] * 3
