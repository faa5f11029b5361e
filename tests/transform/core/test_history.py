"""What earlier runs have written: complete as long as they are there, and no longer than so many newer ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnj.queue import transforms
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.model_transform import RunStatus, TransformJob, TransformRecord, TransformRejected, TransformRun
from gnj.queue.storage import Select, Storage
from gnj.queue.where import equal
from gnj.settings_transform import TransformLimits
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock
from gnj.transform import exporting
from gnj.transform.errors import SourceFailed
from tests.transform.core.conftest import KEYED, PLAIN, URL, World, item
from tests.transform.core.fakes import FakeReading
from tests.transform.core.test_runs_killed import killed_after

DAY = 86_400


@pytest.fixture
def world(storage: Storage, clock: FakeClock) -> Iterator[World]:
    """In which two runs are kept."""
    world = World(storage, clock, batch=3, runs=2)
    yield world
    world.parts.close()


def names(world: World, run: TransformRun) -> list[str]:
    page = world.jobs.records(world.tenant, run.id, limit=1_000)
    assert page.total == len(page.records)
    return [record["name"] for record in page.records]


def test_the_next_run_removes_what_is_older_than_so_many(world: World, on_every_storage):
    job = world.save([item(n, "0") for n in range(4)])
    world.work()
    made = [world.again(job, [*(item(n, str(number)) for n in range(4)), item(None)]) for number in range(1, 6)]
    # two were kept when the last one began, beside the last good one
    there = world.runs(job)
    assert [run.id for run in there] == [run.id for run in reversed(made[1:])]
    assert [names(world, run) for run in there] == [[str(number)] * 4 for number in (5, 4, 3, 2)]
    assert {len(world.jobs.records(world.tenant, run.id).rejected) for run in there} == {1}
    with pytest.raises(NotFound, match="the run does not exist"):
        world.jobs.records(world.tenant, made[0].id)
    assert world.current(job) == [(n, "5") for n in range(4)]
    # what is current, and what the runs that are there have superseded
    assert world.queue.storage.count(TransformRecord) == 4 + 4 * 4
    assert world.queue.storage.count(TransformRejected) == 4


def test_runs_that_end_otherwise_count_and_the_last_good_one_stays(world: World, everywhere):
    job = world.save([item(1, "good")])
    world.work()
    (good,) = world.runs(job)
    failed = [world.again(job, [item(1, "bad"), SourceFailed("gone", final=True)]) for _ in range(5)]
    assert [run.id for run in world.runs(job)] == [failed[-1].id, failed[-2].id, failed[-3].id, good.id]
    assert names(world, good) == ["good"]
    assert world.current(job) == [(1, "good")]


def test_what_is_removed_is_removed_in_bounded_steps(world: World, everywhere, monkeypatch):
    job = world.save([item(n, "0") for n in range(7)])
    world.work()
    for number in (1, 2, 3):
        world.again(job, [item(n, str(number)) for n in range(7)])
    monkeypatch.setattr(transforms, "PAGE", 3)
    steps: list[int] = []
    make_room = transforms.make_room

    def counted(unit: Any, *of: Any) -> bool:
        before = unit.tx.count(TransformRecord)
        done = make_room(unit, *of)
        steps.append(before - unit.tx.count(TransformRecord))
        return done

    monkeypatch.setattr(transforms, "make_room", counted)
    world.again(job, [item(n, "4") for n in range(7)])
    assert steps == [0]  # the first run superseded nothing
    world.again(job, [])
    assert steps[1:] == [3, 3, 1]  # what the second one did
    assert world.current(job) == [(n, "4") for n in range(7)]


def test_many_that_are_too_many_at_once_go_too(storage: Storage, clock: FakeClock, monkeypatch):
    """As after the bound was lowered: the oldest first, so that each that is still there has all that it wrote."""
    monkeypatch.setattr(transforms, "_FEW", 2)
    monkeypatch.setattr(transforms, "PAGE", 3)
    make_room, looks = transforms.make_room, []

    def checked(unit: Any, *of: Any) -> bool:
        done = make_room(unit, *of)
        there = unit.tx.find(TransformRun, Select(equal(TransformRun, status=RunStatus.SUCCESSFUL)))
        looks.append(len(there))
        for run in there:
            assert unit.tx.count(TransformRecord, equal(TransformRecord, born=run.id)) == run.written == 2
        return done

    monkeypatch.setattr(transforms, "make_room", checked)
    many, few = (World(storage, clock, runs=runs) for runs in (100, 1))
    job = many.save([item(1, "0"), item(2, "0")])
    many.work()
    for number in range(1, 8):
        many.again(job, [item(1, str(number)), item(2, str(number))])
    looks.clear()
    few.again(job, [item(1, "8"), item(2, "8")])
    assert looks[0] > looks[-1] == 2
    assert [names(few, run) for run in few.runs(job)] == [["8"] * 2, ["7"] * 2, ["6"] * 2]
    for world in (many, few):
        world.parts.close()


@pytest.mark.parametrize("runs", [0, -1, 1.5, True])
def test_how_many_is_a_whole_number(runs: Any):
    with pytest.raises(InvalidInput, match=r"transform_limits: runs must be a whole number greater than 0"):
        TransformLimits(runs=runs)


def test_an_export_is_whole_or_breaks_off(world: World, everywhere, monkeypatch):
    monkeypatch.setattr(exporting, "FEWEST", 1)
    job = world.save([item(n, "0") for n in range(5)])
    world.work()
    (run,) = world.runs(job)
    exports = [
        make(world.queue, world.tenant, id)
        for _ in range(2)
        for make, id in ((exporting.of_job, job.id), (exporting.of_run, run.id))
    ]
    pages = [export.pages() for export in exports]
    seen = [list(next(each)) for each in pages]
    for number in (1, 2, 3):
        world.again(job, [item(n, str(number)) for n in range(5)])
    for some, each in zip(seen[:2], pages[:2], strict=True):
        some += [record for page in each for record in page]
        assert some == [{"id": n, "name": "0"} for n in range(5)]
    world.again(job)
    for each in pages[2:]:
        with pytest.raises(NotFound, match="the run was removed"):
            list(each)


KEYS = st.lists(st.integers(1, 5), max_size=7)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["good", "fails", "killed", "cancelled", "unchanged", "sweep", "prune", "export"]),
        KEYS,
        st.integers(1, 7),
    ),
    max_size=9,
)
"""What is done, with which keys, and after how many transactions or rows it stops, where it does."""
TENANTS = count(1)


class Model:
    """What ought to be there, told by lists alone."""

    def __init__(self, world: World, *, keyed: bool) -> None:
        world.tenant = f"tenant{next(TENANTS)}"
        self.world = world
        self.keyed = keyed
        self.job: TransformJob = world.save([], KEYED if keyed else PLAIN)
        world.work()
        self.current: list[tuple[int, str]] = []
        self.written: dict[int, list[tuple[int, str]]] = {world.runs(self.job)[0].id: []}
        self.exports: list[tuple[Iterator[Any], list[tuple[int, str]]]] = []
        self.begun = 0

    def step(self, name: str, keys: list[int], transactions: int) -> None:
        match name:
            case "sweep":
                self.world.queue.prune(retention=None, limit=transactions)
            case "prune":
                self.world.clock.tick(DAY)
                self.world.queue.prune(retention=DAY / 2, limit=transactions)
            case "export":
                pages = exporting.of_job(self.world.queue, self.world.tenant, self.job.id).pages()
                self.exports.append((pages, list(self.current)))
                next(pages, None)
            case _:
                self.run(name, keys, transactions)
        self.check()

    def run(self, name: str, keys: list[int], transactions: int) -> None:
        world = self.world
        self.begun += 1
        items: list[Any] = [item(key, f"{self.begun}.{place}") for place, key in enumerate(keys)]
        feed: Any = items
        if name == "fails":
            feed = [*items, SourceFailed("truncated", final=True)]
        elif name == "unchanged":
            items, feed = [], lambda _: FakeReading([], unchanged=True)
        elif name == "cancelled":
            feed = lambda _: FakeReading(self.cancelling(items))  # noqa: E731
        world.parts.feeds[URL] = feed
        run = world.jobs.run_job(world.tenant, self.job.id)
        if name == "killed":
            killed_after(world, transactions)
            self.check()
            world.clock.tick(100)
            world.queue.reap(force=True)
        world.work()
        run = world.run(run)
        ends = {"fails": RunStatus.FAILED, "cancelled": RunStatus.CANCELLED}
        assert run.status is ends.get(name, RunStatus.SUCCESSFUL)
        if run.status is RunStatus.SUCCESSFUL:
            new = [(each["sku"], each["title"]) for each in items]
            self.written[run.id] = list(dict(new).items()) if self.keyed else new
            self.current += new
            if self.keyed:
                self.current = list(dict(self.current).items())
        assert run.written == len(self.written.get(run.id, ()))

    def cancelling(self, items: list[Any]) -> Iterator[Any]:
        yield from items
        (run,) = self.world.jobs.runs(self.world.tenant, self.job.id, limit=1)
        self.world.queue.cancel(run.job_id)

    def check(self) -> None:
        world = self.world
        assert sorted(world.current(self.job)) == sorted(self.current)
        for run in world.runs(self.job):
            page = world.jobs.records(world.tenant, run.id, limit=1_000)
            expected = self.written.get(run.id, [])
            assert sorted((each["id"], each["name"]) for each in page.records) == sorted(expected)
            assert page.total == len(expected)

    def end(self) -> None:
        """Exports are whole or break off; nothing is left that no run accounts for; and all of it goes with the job."""
        world, queue = self.world, self.world.queue
        there = {run.id for run in world.runs(self.job)}
        for pages, snapshot in self.exports:
            try:
                rest = [(each["id"], each["name"]) for page in pages for each in page]
            except NotFound:
                continue
            assert len(rest) == max(0, len(snapshot) - 1)
            assert set(rest) <= set(snapshot)
        while queue.prune(retention=None):
            pass
        for row in queue.storage.find(TransformRecord, tenant=world.tenant):
            assert row.died is None or row.died in there
        self.check()
        world.parts.feeds[URL] = lambda _: FakeReading(self.deleting())
        world.jobs.run_job(world.tenant, self.job.id)
        world.work()
        while queue.prune(retention=None, limit=5):
            pass
        for kind in (TransformRecord, TransformRun, TransformRejected, TransformJob):
            assert queue.storage.count(kind, tenant=world.tenant) == 0

    def deleting(self) -> Iterator[Any]:
        yield from (item(n) for n in range(5))
        assert self.world.jobs.delete_job(self.world.tenant, self.job.id)


def followed(world: World, steps: Any, *, keyed: bool) -> None:
    """In small steps, so that there are places to stop at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "FEWEST", 1)
        patch.setattr(transforms, "PAGE", 4)
        model = Model(world, keyed=keyed)
        for step in steps:
            model.step(*step)
        model.end()


@settings(max_examples=50)
@given(STEPS, st.booleans())
def test_runs_are_what_lists_tell(steps, keyed):
    world = World(MemoryStorage(clock := FakeClock()), clock, batch=2, runs=2)
    followed(world, steps, keyed=keyed)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.booleans())
def test_and_so_they_are_on_databases(everywhere, world, steps, keyed):
    followed(world, steps, keyed=keyed)


def test_what_is_deleted_goes_though_somebody_else_sweeps(world: World):
    """A run whose row is gone is looked for in vain."""
    job = world.save([item(1)])
    world.work()
    (run,) = world.runs(job)
    with world.queue.storage.begin() as tx:
        assert transforms._remove_run(tx, run.id, 100) == 1
        assert transforms._remove_run(tx, run.id, 100) == 0
        assert tx.find(TransformRecord, Select(equal(TransformRecord, born=run.id)))
