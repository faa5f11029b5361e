"""Two that change a transformation job at once, on a database that lets them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from gnj.queue import maintenance, transforms
from gnj.queue.clock import NOW
from gnj.queue.ends import Outcome
from gnj.queue.errors import CancelRequested, LeaseLost, NotFound
from gnj.queue.model import Job, Schedule
from gnj.queue.model_transform import TransformFormat, TransformJob, TransformRecord, TransformRun
from gnj.queue.states import JobStatus
from gnj.queue.transforms import Batch, Counts
from gnj.transform import exporting, lists
from gnj.transform.requests import MappingInput, SourceInput, SourceRequest
from tests.transform.core.conftest import KEYED, PLAIN, RULES, URL, World, item
from tests.waiting import until

pytestmark = [pytest.mark.parametrize("storage", ["postgresql"], indirect=True), pytest.mark.backend("postgresql")]


def meanwhile(world: World, first: Callable[[Any], object], second: Callable[[], object]) -> object:
    """Begins `second` while `first` has done its work and has not committed yet, commits, and gives what the second does."""
    with ThreadPoolExecutor(1) as pool:
        with world.queue.transaction() as (queue, _):
            queue.run(first)
            begun = pool.submit(second)
            until(lambda: _waits(world) or begun.done())
        return begun.result(timeout=30)


def _waits(world: World) -> bool:
    with world.queue.storage.engine.connect() as connection:  # type: ignore[attr-defined]
        sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(connection.exec_driver_sql(sql).scalar())


@pytest.mark.parametrize("changes", [{"paused": True}, {"cron": "0 3 * * *"}, {"cron": None}])
def test_a_deleted_job_gets_no_schedule_any_more(world, changes):
    job = world.save([item(1)])
    with pytest.raises(NotFound, match="the job does not exist"):
        meanwhile(
            world,
            lambda unit: transforms.remove(unit, world.tenant, job.id),
            lambda: world.jobs.set_schedule(world.tenant, job.id, **changes),
        )
    assert world.queue.storage.find(Schedule) == []


def test_a_part_that_is_being_deleted_makes_no_job(world):
    source = world.jobs.save_source(world.tenant, SourceRequest(type="Feed", url=URL))
    rules = world.jobs.save_mapping(world.tenant, None, RULES)
    format = world.jobs.save_format(world.tenant, None, KEYED, make_default=True)
    parts = (SourceInput(id=source.id), MappingInput(id=rules.id))
    with pytest.raises(NotFound, match="at the same moment"):
        meanwhile(
            world,
            lambda unit: (
                unit.tx.get(TransformFormat, format.id, lock=True)
                and unit.tx.edit(TransformFormat, [format.id], {"is_default": False, "deleted_at": NOW})
            ),
            lambda: world.jobs.save_job(world.tenant, *parts),
        )
    assert world.jobs.jobs(world.tenant) == []


def test_of_two_that_are_made_the_default_at_once_one_is(world):
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: world.jobs.save_format(world.tenant, None, PLAIN, make_default=True), range(4)))
        assert sum(each.is_default for each in world.jobs.formats(world.tenant)) == 1


def begun(world: World) -> tuple[TransformJob, Job, TransformRun]:
    """A run under way: its transformation job, its claim and itself."""
    job = world.save([item(1)])
    claim = world.claim()
    run, _ = world.queue.run(lambda unit: transforms.begin(unit, claim))
    return job, claim, run


def batch(claim: Job, run: TransformRun, *, seals: bool = False) -> Callable[[Any], object]:
    """Writes one record."""
    records = Batch(records=[("k", {"id": 1, "name": "one"})], read=1, seals=seals)
    return lambda unit: transforms.write(unit, claim, run.id, Counts(), records)


def test_a_worker_that_writes_keeps_its_claim_though_its_lease_is_over(world):
    """It was renewed in the transaction that wrote, which was there first."""
    job, claim, run = begun(world)
    world.clock.tick(100)
    assert meanwhile(world, batch(claim, run, seals=True), lambda: world.queue.reap(force=True)) == 0
    world.queue.succeed(claim)
    assert world.current(job) == [(1, "one")]


def test_a_worker_that_lost_its_claim_a_moment_before_writes_nothing(world):
    job, claim, run = begun(world)
    world.clock.tick(100)
    (lost,) = world.queue.storage.lost(1)
    with pytest.raises(LeaseLost):
        meanwhile(world, maintenance.reap(lost), lambda: world.queue.run(batch(claim, run, seals=True)))
    assert world.queue.storage.count(TransformRecord) == 0
    world.work()
    assert world.current(job) == [(1, "x")]


def test_a_job_that_is_deleted_while_a_batch_is_written(world):
    """The deletion comes behind the batch, and what the run writes after it comes too late."""
    job, claim, run = begun(world)
    assert meanwhile(world, batch(claim, run), lambda: world.jobs.delete_job(world.tenant, job.id)) is True
    with pytest.raises(CancelRequested):
        world.queue.run(batch(claim, run, seals=True))


def test_a_batch_that_comes_while_the_job_is_deleted(world):
    job, claim, run = begun(world)
    with pytest.raises(CancelRequested):
        meanwhile(
            world,
            lambda unit: transforms.remove(unit, world.tenant, job.id),
            lambda: world.queue.run(batch(claim, run, seals=True)),
        )
    assert world.queue.storage.count(TransformRecord) == 0


def test_a_job_that_is_deleted_while_its_run_is_published_is_deleted(world):
    job, claim, run = begun(world)
    world.queue.run(batch(claim, run, seals=True))
    ended = meanwhile(
        world,
        lambda unit: transforms.remove(unit, world.tenant, job.id),
        lambda: world.queue.settle([Outcome(claim, JobStatus.SUCCESSFUL)]),
    )
    assert ended
    while world.queue.prune(retention=None):
        pass
    assert [world.queue.storage.count(kind) for kind in (TransformJob, TransformRun, TransformRecord)] == [0, 0, 0]


def test_of_many_that_run_a_job_at_once_one_does(world):
    job = world.save([item(1)])
    world.work()
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda _: world.jobs.run_job(world.tenant, job.id).id, range(8)))
    assert len(set(started)) == 1
    assert len(world.runs(job)) == 2


def test_a_tick_that_comes_while_a_run_is_started_is_skipped(world):
    job = world.save([item(1)])
    world.work()
    world.clock.tick(86_400)
    row = world.queue.storage.get(TransformJob, job.id)
    meanwhile(world, lambda unit: transforms.start(unit, _locked(unit, row), attempts=1), world.queue.tick)
    assert len(world.runs(job)) == 2
    assert world.queue.tick() == 0


@pytest.mark.parametrize("page", ["records", "export"])
def test_what_is_read_while_a_run_is_published_is_of_one_moment(world, monkeypatch, page):
    """The job was read before, what it has after that."""
    job = world.save([item(1, "old"), item(2, "old"), item(None)])
    world.work()
    module = lists if page == "records" else exporting
    real = lists.existing_job

    def then_another_run(*of: Any) -> Any:
        found = real(*of)
        monkeypatch.setattr(module, "existing_job", real)
        assert world.again(job, [item(2, "new"), item(3, "new")]).written == 2
        return found

    monkeypatch.setattr(module, "existing_job", then_another_run)
    if page == "records":
        seen = world.jobs.job_records(world.tenant, job.id)
        assert (seen.total, seen.rejected_total, len(seen.rejected)) == (2, 1, 1)
        found = list(seen.records)
    else:
        found = [record for each in exporting.of_job(world.queue, world.tenant, job.id).pages() for record in each]
    assert found == [{"id": n, "name": "old"} for n in (1, 2)]
    assert world.current(job) == [(1, "old"), (2, "new"), (3, "new")]


def test_two_that_sweep_remove_everything_together(world):
    """One that undoes what it has done leaves nothing that the other one passed by."""
    job = world.save([item(n) for n in range(6)])
    world.work()
    world.again(job, [item(n) for n in range(6)])
    world.again(job, [item(n) for n in range(6)])
    world.clock.tick(86_400)

    def undone() -> None:
        with world.queue.transaction() as (queue, _):
            assert queue.run(lambda unit: transforms.trim(unit.tx, 1.0, 4)) == 4
            others.append(pool.submit(sweep))
            until(lambda: _waits(world) or others[0].done())
            raise KeyError("undone")

    def sweep() -> Any:
        return world.queue.run(lambda unit: transforms.trim(unit.tx, 1.0, 100))

    others: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyError, match="undone"):
            undone()
        assert others[0].result(timeout=30) == 8  # two runs, and what the second one superseded
    there = {run.id for run in world.runs(job)}
    assert {row.died for row in world.queue.storage.find(TransformRecord)} <= {None, *there}


def _locked(unit: Any, row: Any) -> Any:
    return unit.tx.get(TransformJob, row.id, lock=True)
