"""The commands: what is saved, refused and deleted; schedules and their ticks; lists in a constant number of statements."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from gnj.queue import deadline, schedules
from gnj.queue.catalog import RECORDS
from gnj.queue.errors import InvalidInput, NotFound, TimedOut
from gnj.queue.model import Job, Schedule
from gnj.queue.model_transform import RunStatus, TransformFormat, TransformMapping, TransformRun, TransformSource
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select, Storage
from gnj.storage.sql import SqlStorage
from gnj.testing import FakeClock
from gnj.transform.errors import BadFormat, BadMapping, BadSource, InUse, NoDefaultFormat, SourceFailed
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest, number
from tests.transform.core.conftest import KEYED, RULES, URL, World, item
from tests.transform.core.fakes import FakeReading

DAY = 86_400
REQUEST = SourceRequest(type="Feed", url=URL, credentials={"KEY": "s3cret"}, headers=["X-Key: ${KEY}"])


def everything(storage: Storage) -> list[Any]:
    return [storage.find(kind, Select(deleted=True)) for kind in RECORDS.values()]


@contextmanager
def refused(world: World, error: type[Exception], message: str) -> Iterator[None]:
    """What is inside raises that, and changes nothing."""
    before = everything(world.queue.storage)
    with pytest.raises(error, match=message):
        yield
    assert everything(world.queue.storage) == before


def ids(world: World) -> tuple[int, int, int]:
    """A source, a mapping and a format."""
    world.parts.feeds[URL] = [item(1)]
    source = world.jobs.save_source(world.tenant, REQUEST)
    mapping = world.jobs.save_mapping(world.tenant, "m", RULES)
    return source.id, mapping.id, world.jobs.save_format(world.tenant, "f", KEYED).id


def test_a_job_of_saved_parts(world: World, on_every_storage):
    source, mapping, format = ids(world)
    job = world.jobs.save_job(world.tenant, SourceInput(id=source), MappingInput(id=mapping), FormatInput(id=format))
    assert (job.source_id, job.mapping_id, job.format_id) == (source, mapping, format)
    view = world.jobs.job(world.tenant, job.id)
    assert view is not None
    assert (view.status, view.cron_expression) == ("Pending", None)
    assert view.next_run == world.clock() + timedelta(days=1)
    world.work()
    assert world.status(job) == "Live"
    assert len(world.jobs.sources(world.tenant)) == 1


def test_credentials_are_not_shown_and_go_with_the_source(world: World):
    source = world.jobs.save_source(world.tenant, REQUEST)
    assert source.credentials == "sealed 1"
    assert "sealed" not in repr(source)
    assert world.jobs.delete_source(world.tenant, source.id) is True
    assert world.queue.storage.find(TransformSource, Select(deleted=True)) == []
    assert world.jobs.delete_source(world.tenant, source.id) is False


@pytest.mark.parametrize(
    "source, mapping, format, error, message",
    [
        (SourceInput(), MappingInput(data=RULES), FormatInput(data=KEYED), BadSource, "give an id"),
        (SourceInput(data=[{}]), MappingInput(data=RULES), FormatInput(data=KEYED), BadSource, "not data"),
        (SourceInput(id=99), MappingInput(data=RULES), FormatInput(data=KEYED), NotFound, "the source"),
        (SourceInput(request=REQUEST), MappingInput(), FormatInput(data=KEYED), BadMapping, "either an id or data"),
        (SourceInput(request=REQUEST), MappingInput(id=1, data=[]), FormatInput(data=KEYED), BadMapping, "either"),
        (SourceInput(request=REQUEST), MappingInput(id=99), FormatInput(data=KEYED), NotFound, "the mapping"),
        (SourceInput(request=REQUEST), MappingInput(data=RULES), FormatInput(id=99), NotFound, "the target format"),
        (SourceInput(request=REQUEST), MappingInput(data=RULES), FormatInput(id=1, data={}), BadFormat, "either"),
        (SourceInput(request=REQUEST), MappingInput(data=RULES), FormatInput(data=3), BadFormat, "an object"),
        (SourceInput(request=REQUEST), MappingInput(data=RULES), None, NoDefaultFormat, "no default"),
        (SourceInput(request=SourceRequest(type="Feed")), None, FormatInput(data=KEYED), BadSource, "url"),
        (SourceInput(request=REQUEST), None, FormatInput(data=KEYED), SourceFailed, "404"),
    ],
)
def test_a_job_that_is_refused_leaves_nothing_behind(world: World, source, mapping, format, error, message):
    with refused(world, error, message):
        world.jobs.save_job(world.tenant, source, mapping, format)


LOOSE: Any = {"type": "Feed", "url": URL, "credentials": {"KEY": "hunter2"}}
GIVEN, TARGET = SourceInput(request=REQUEST), FormatInput(data=KEYED)


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda jobs: jobs.save_source("", LOOSE), "request must be a gnj.transform.requests.SourceRequest"),
        (lambda jobs: jobs.save_job("", {"request": LOOSE}), "source must be a gnj.transform.requests.SourceInput"),
        (lambda jobs: jobs.save_job("", SourceInput(request=LOOSE)), "source.request must be a gnj.transform.requests."),
        (lambda jobs: jobs.save_job("", GIVEN, {"data": RULES}, TARGET), "mapping must be a gnj.transform.requests.Map"),
        (lambda jobs: jobs.save_job("", GIVEN, None, KEYED), "format must be a gnj.transform.requests.FormatInput"),
        (lambda jobs: jobs.apply_mapping("", [LOOSE], MappingInput(data=RULES)), "source must be a gnj.transform.requests.SourceInput, not a list"),
        (lambda jobs: jobs.generate_mapping("", {"data": [LOOSE]}, TARGET), "source must be a gnj.transform.requests.SourceInput"),
    ],
)  # fmt: skip
def test_what_is_no_class_of_requests_is_told_by_its_type_alone(world: World, call, told):
    with pytest.raises(InvalidInput) as refused:
        call(world.jobs)
    assert str(refused.value).startswith(told)
    assert "hunter2" not in str(refused.value)
    assert world.jobs.sources("") == []


def test_a_part_that_is_deleted_meanwhile_leaves_no_job_behind(world: World, monkeypatch):
    source, mapping, format = ids(world)
    stored = world.transform.parts.mapping

    def deleting(rules: Any) -> Any:
        world.jobs.delete_format(world.tenant, format)
        return stored(rules)

    monkeypatch.setattr(world.parts, "mapping", deleting)
    with pytest.raises(NotFound, match="at the same moment"):
        world.jobs.save_job(world.tenant, SourceInput(id=source), MappingInput(id=mapping), FormatInput(id=format))
    assert world.jobs.jobs(world.tenant) == []
    assert world.queue.storage.count(Schedule) == world.queue.storage.count(Job) == 0


def test_without_a_mapping_one_is_generated_of_the_first_records(world: World):
    world.parts.feeds[URL] = ["{broken", *({"id": n, "other": 1} for n in range(1_000))]
    given: list[int] = []
    propose = world.parts.propose

    def counted(samples: Any, definition: Any) -> Any:
        given.append(len(samples))
        return propose(samples, definition)

    world.parts.propose = counted  # type: ignore[method-assign]
    job = world.jobs.save_job(world.tenant, SourceInput(request=REQUEST), None, FormatInput(data=KEYED))
    rules = world.jobs.rules_of(world.tenant, [each.id for each in world.jobs.mappings(world.tenant)])
    assert rules == {job.mapping_id: [{"sourceField": "id", "targetField": "id"}]}
    assert given == [100]


@pytest.mark.parametrize("feed, why", [([], "no records"), (["{broken"], "no records"), ([{"other": 1}], "no field")])
def test_a_mapping_without_rules_is_not_kept(world: World, everywhere, feed, why):
    world.parts.feeds[URL] = feed
    source, format = SourceInput(request=REQUEST), FormatInput(data=KEYED)
    with refused(world, BadMapping, f"none can be generated of the source, for {why}"):
        world.jobs.save_job(world.tenant, source, None, format)
    with refused(world, BadMapping, "mapping must have at least one rule"):
        world.jobs.save_job(world.tenant, source, MappingInput(data=[]), format)
    with refused(world, BadMapping, "mapping must have at least one rule"):
        world.jobs.save_mapping(world.tenant, "m", [])


def test_an_unknown_source_with_a_request_becomes_a_new_one_and_a_known_one_is_used(world: World):
    source, mapping, format = ids(world)
    rest = (MappingInput(id=mapping), FormatInput(id=format))
    same = world.jobs.save_job(world.tenant, SourceInput(id=source, request=REQUEST), *rest)
    other = world.jobs.save_job(world.tenant, SourceInput(id=number("s-1"), request=REQUEST), *rest)
    assert (same.source_id, other.source_id != source) == (source, True)
    theirs = world.jobs.save_source("other", REQUEST)
    mine = world.jobs.save_job(world.tenant, SourceInput(id=theirs.id, request=REQUEST), *rest)
    assert mine.source_id not in (source, theirs.id, other.source_id)


def test_the_default_format(world: World, everywhere):
    assert world.jobs.default_format(world.tenant) is None
    first = world.jobs.save_format(world.tenant, "a", KEYED, make_default=True)
    second = world.jobs.save_format(world.tenant, None, KEYED, make_default=True)
    theirs = world.jobs.save_format("other", None, KEYED, make_default=True)
    assert [each.is_default for each in world.jobs.formats(world.tenant)] == [False, True]
    assert world.jobs.set_default_format(world.tenant, first.id) is True
    assert world.jobs.set_default_format(world.tenant, theirs.id) is False
    assert [each.id for each in world.jobs.formats(world.tenant) if each.is_default] == [first.id]
    world.parts.feeds[URL] = []
    job = world.jobs.save_job(world.tenant, SourceInput(request=REQUEST), MappingInput(data=RULES))
    assert job.format_id == first.id
    with pytest.raises(InUse) as caught:
        world.jobs.delete_format(world.tenant, first.id)
    assert caught.value.extensions == {"jobIds": [str(job.id)]}
    world.jobs.set_default_format(world.tenant, second.id)
    assert world.jobs.delete_format(world.tenant, second.id) is True
    assert world.jobs.default_format(world.tenant) is None
    assert world.jobs.default_format("other") is not None


def test_of_many_that_are_made_the_default_at_once_one_is(world: World, everywhere):
    formats = [world.jobs.save_format(world.tenant, None, KEYED) for _ in range(3)]
    threads = [threading.Thread(target=world.jobs.set_default_format, args=(world.tenant, each.id)) for each in formats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.is_default for each in world.jobs.formats(world.tenant)) == 1


def test_parts_in_use_stay_until_their_jobs_are_deleted(world: World, everywhere):
    job = world.save([item(1)])
    delete = {
        "source": (world.jobs.delete_source, job.source_id),
        "mapping": (world.jobs.delete_mapping, job.mapping_id),
        "target format": (world.jobs.delete_format, job.format_id),
    }
    for what, (command, id) in delete.items():
        with refused(world, InUse, f"the {what} is used by the jobs {job.id}"):
            command(world.tenant, id)
        assert command("other", id) is False
    world.jobs.delete_job(world.tenant, job.id)
    assert all(command(world.tenant, id) for command, id in delete.values())


def test_nothing_is_seen_by_others(world: World):
    job = world.save([item(1)])
    world.work()
    (run,) = world.runs(job)
    assert world.jobs.job("other", job.id) is None
    assert world.jobs.run("other", run.id) is None
    assert not world.jobs.jobs("other")
    assert not world.jobs.sources("other")
    assert world.jobs.delete_job("other", job.id) is False
    commands: list[Callable[[], Any]] = [
        lambda: world.jobs.run_job("other", job.id),
        lambda: world.jobs.set_schedule("other", job.id, paused=True),
        lambda: world.jobs.runs("other", job.id),
        lambda: world.jobs.records("other", run.id),
        lambda: world.jobs.job_records("other", job.id),
    ]
    for command in commands:
        with refused(world, NotFound, "does not exist"):
            command()


def test_what_is_known_of_a_deleted_job_is_nothing(world: World):
    job = world.save([item(1)])
    world.work()
    (run,) = world.runs(job)
    world.jobs.delete_job(world.tenant, job.id)
    assert world.jobs.job(world.tenant, job.id) is None
    assert world.jobs.jobs(world.tenant) == []
    for command in (world.jobs.runs, world.jobs.job_records, world.jobs.run_job):
        with pytest.raises(NotFound):
            command(world.tenant, job.id)
    with pytest.raises(NotFound):
        world.jobs.records(world.tenant, run.id)


def test_there_is_an_end_to_what_can_be_saved(storage: Storage, clock: FakeClock, everywhere):
    world = World(storage, clock, jobs=2)
    jobs = [world.save([item(1)]) for _ in range(2)]
    with refused(world, InvalidInput, "there are 2 sources already"):
        world.save([item(1)])
    parts: Any = {"source": SourceInput(id=jobs[0].source_id), "mapping": MappingInput(id=jobs[0].mapping_id)}
    with refused(world, InvalidInput, "there are 2 jobs already"):
        world.jobs.save_job(world.tenant, **parts, format=FormatInput(id=jobs[0].format_id))
    world.jobs.save_mapping("other", "m", RULES)
    world.jobs.delete_job(world.tenant, jobs[1].id)
    world.jobs.save_job(world.tenant, **parts, format=FormatInput(id=jobs[0].format_id))


def test_their_schedules_are_no_recurring_jobs_of_the_tenants(world: World, everywhere, monkeypatch):
    monkeypatch.setattr(schedules, "MOST", 1)
    jobs = [world.save([item(1)]) for _ in range(3)]
    given = {"name": "mail", "cron": "0 3 * * *", "job": {"type": "mail"}}
    plain = world.queue.create_schedule(given, tenant=world.tenant)
    with pytest.raises(InvalidInput, match="1 recurring jobs already"):
        world.queue.create_schedule({**given, "name": "more"}, tenant=world.tenant)
    assert [row.id for row in world.queue.list(Schedule, tenant=world.tenant)] == [plain.id]
    assert world.queue.count(Schedule, tenant=world.tenant) == 1
    assert all(view.next_run is not None for view in world.jobs.jobs(world.tenant))
    assert len(jobs) == 3


def test_a_source_that_takes_long_keeps_nobody_who_tries_it(storage: Storage, clock: FakeClock):
    world = World(storage, clock, try_seconds=0.02)
    source = SourceInput(request=REQUEST)
    world.parts.feeds[URL] = lambda _validators: FakeReading(itertools.repeat("no record"))
    for trial in (
        lambda: world.jobs.apply_mapping(world.tenant, source, MappingInput(data=RULES)),
        lambda: world.jobs.generate_mapping(world.tenant, source, FormatInput(data=KEYED)),
        lambda: world.jobs.save_job(world.tenant, source, None, FormatInput(data=KEYED)),
    ):
        with refused(world, TimedOut, "took longer"):
            trial()
    assert deadline.current() is None


def test_a_run_by_hand_joins_the_one_that_is_not_over(world: World, everywhere):
    job = world.save([item(1)])
    (first,) = world.runs(job)
    assert world.jobs.run_job(world.tenant, job.id).id == first.id
    world.work()
    second = world.jobs.run_job(world.tenant, job.id)
    assert (second.id != first.id, world.jobs.run_job(world.tenant, job.id).id) == (True, second.id)
    assert [run.id for run in world.runs(job)] == [second.id, first.id]
    made = world.queue.storage.get(Job, second.job_id)
    assert made is not None
    assert made.max_attempts == 1


def test_it_runs_a_day_after_its_last_run(world: World, everywhere):
    job = world.save([item(1)])
    world.clock.tick(3_600)
    world.work()  # the first run begins an hour late
    view = world.jobs.job(world.tenant, job.id)
    assert view is not None
    assert (view.job.last_run_at, view.next_run) == (world.clock(), world.clock() + timedelta(days=1))
    world.clock.tick(DAY - 1)
    assert world.queue.tick(force=True) == 0
    world.clock.tick(1)
    assert world.queue.tick(force=True) == 1
    world.clock.tick(7)
    world.work()
    view = world.jobs.job(world.tenant, job.id)
    assert view is not None
    assert view.next_run == world.clock() + timedelta(days=1)
    world.clock.tick(5_000)
    world.again(job)
    view = world.jobs.job(world.tenant, job.id)
    assert view is not None
    assert view.next_run == world.clock() + timedelta(days=1)
    assert [run.status for run in world.runs(job)] == [RunStatus.SUCCESSFUL] * 3


def test_a_tick_during_a_run_is_skipped(world: World, everywhere):
    job = world.save([item(1)])
    world.clock.tick(DAY)
    assert world.queue.tick(force=True) == 0
    assert len(world.runs(job)) == 1


def test_a_cron_expression_in_utc_and_back(world: World):
    job = world.save([item(1)])
    world.work()
    ran = world.clock()
    view = world.jobs.set_schedule(world.tenant, job.id, cron="30  4 * * *")
    assert view.cron_expression == "30 4 * * *"
    assert view.next_run is not None
    assert (view.next_run.hour, view.next_run.minute) == (4, 30)
    world.again(job)
    found = world.jobs.job(world.tenant, job.id)
    assert found is not None
    assert found.next_run == view.next_run
    back = world.jobs.set_schedule(world.tenant, job.id, cron=None)
    assert (back.cron_expression, back.next_run) == (None, ran + timedelta(days=1))
    for wrong in ("", "* * * *", "every day", "0 0 30 2 *"):
        with refused(world, InvalidInput, "cronExpression"):
            world.jobs.set_schedule(world.tenant, job.id, cron=wrong)


def test_paused(world: World, everywhere):
    job = world.save([item(1)])
    world.work()
    view = world.jobs.set_schedule(world.tenant, job.id, paused=True)
    assert (view.status, view.next_run) == ("Paused", None)
    world.clock.tick(3 * DAY)
    assert world.queue.tick(force=True) == 0
    assert world.again(job).status is RunStatus.SUCCESSFUL
    found = world.jobs.job(world.tenant, job.id)
    assert found is not None
    assert (found.status, found.next_run) == ("Paused", None)
    view = world.jobs.set_schedule(world.tenant, job.id, paused=False)
    assert (view.status, view.next_run) == ("Live", world.clock() + timedelta(days=1))


def test_a_schedule_that_somebody_took_away_is_made_again(world: World):
    job = world.save([item(1)])
    world.work()
    assert job.schedule_id is not None
    world.queue.delete_schedule(job.schedule_id)
    view = world.jobs.job(world.tenant, job.id)
    assert view is not None
    assert (view.status, view.next_run) == ("Live", None)
    view = world.jobs.set_schedule(world.tenant, job.id, cron="0 5 * * *")
    assert view.next_run is not None
    assert world.jobs.job(world.tenant, job.id) == view
    assert world.jobs.delete_job(world.tenant, job.id) is True
    assert world.queue.storage.count(Schedule) == 0


def test_the_schedules_of_jobs_take_no_place_of_recurring_ones_limit(world: World, monkeypatch):
    from gnj.queue import schedules

    monkeypatch.setattr(schedules, "MOST", 1)
    for _ in range(3):
        world.save([item(1)])
    assert world.queue.storage.count(Schedule) == 3


def test_records_are_mapped_without_being_saved(world: World):
    source, mapping, format = ids(world)
    data = SourceInput(data=[item(1, "a"), item(None)])
    before = everything(world.queue.storage)
    rules = MappingInput(id=mapping)
    assert world.jobs.apply_mapping(world.tenant, data, rules) == [
        {"id": 1, "name": "a"},
        {"id": None, "name": "x"},
    ]
    assert world.jobs.apply_mapping(world.tenant, data, rules, FormatInput(id=format)) == [{"id": 1, "name": "a"}]
    world.parts.feeds[URL] = ["{", *(item(n) for n in range(2_000))]
    assert len(world.jobs.apply_mapping(world.tenant, SourceInput(request=REQUEST), rules)) == 1_000
    assert len(world.jobs.apply_mapping(world.tenant, SourceInput(id=source), rules)) == 1_000
    generated = world.jobs.generate_mapping(world.tenant, SourceInput(data=[{"id": 1}]), FormatInput(data=KEYED))
    assert generated == [{"sourceField": "id", "targetField": "id"}]
    assert world.jobs.generate_mapping(world.tenant, SourceInput(data=[]), FormatInput(data=KEYED)) == []
    assert everything(world.queue.storage) == before
    with refused(world, NoDefaultFormat, "no default"):
        world.jobs.generate_mapping(world.tenant, data)
    with refused(world, BadSource, r"data\[1\] must be an object"):
        world.jobs.apply_mapping(world.tenant, SourceInput(data=[{}, 3]), rules)
    with refused(world, BadSource, "either data"):
        world.jobs.apply_mapping(world.tenant, SourceInput(id=source, data=[]), rules)


def test_pages(world: World, everywhere):
    job = world.save([*(item(n) for n in range(8)), *[item(None)] * 5])
    world.work()
    (run,) = world.runs(job)
    for read in (
        lambda **page: world.jobs.records(world.tenant, run.id, **page),
        lambda **page: world.jobs.job_records(world.tenant, job.id, **page),
    ):
        page = read(offset=3, limit=4)
        assert (page.total, page.rejected_total, len(page.rejected)) == (8, 5, 2)
        assert [each["id"] for each in page.records] == [3, 4, 5, 6]
        assert len(read().records) == 8
        assert read(limit=0).records == []
        assert read(offset=99).records == []
        for wrong in ({"offset": -1}, {"limit": -1}, {"limit": 1_001}):
            with pytest.raises(InvalidInput):
                read(**wrong)
    for _ in range(3):
        world.again(job)
    found = world.runs(job)
    assert [each.id for each in world.jobs.runs(world.tenant, job.id, offset=1, limit=2)] == [
        each.id for each in found[1:3]
    ]
    with pytest.raises(InvalidInput):
        world.jobs.runs(world.tenant, job.id, limit=1_001)


@pytest.mark.backend("sqlite")
@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_lists_and_loaders_cost_the_same_for_any_number(world: World, storage):
    assert isinstance(storage, SqlStorage)
    source, mapping, format = ids(world)
    parts = SourceInput(id=source), MappingInput(id=mapping), FormatInput(id=format)
    counts = []
    for _ in range(2):
        for _ in range(4):
            world.jobs.save_job(world.tenant, *parts)
        statements: list[str] = []

        def note(_c: Any, _k: Any, statement: str, *_: Any, into: list[str] = statements) -> None:
            into.append(statement)

        event.listen(storage.engine, "before_cursor_execute", note)
        try:
            views = world.jobs.jobs(world.tenant)
            own = [view.job for view in views]
            world.jobs.sources_of(world.tenant, [job.source_id for job in own])
            world.jobs.mappings_of(world.tenant, [job.mapping_id for job in own])
            world.jobs.formats_of(world.tenant, [job.format_id for job in own])
            assert len(world.jobs.jobs_by_source(world.tenant, [source, 99])[source]) == len(own)
            assert world.jobs.jobs_by_mapping(world.tenant, [99]) == {99: []}
            assert len(world.jobs.jobs_by_format(world.tenant, [format])[format]) == len(own)
        finally:
            event.remove(storage.engine, "before_cursor_execute", note)
        counts.append(len([each for each in statements if each.lstrip().upper().startswith("SELECT")]))
    assert counts[0] == counts[1] <= 10


def test_ids_on_the_wire():
    assert [number(text) for text in ("12", "0", "", "x", "-3", "1.5", "²", "9" * 30)] == [12, 0, 0, 0, 0, 0, 0, 0]


def test_what_is_kept_is_what_was_given(world: World, everywhere):
    source = world.jobs.save_source(world.tenant, REQUEST)
    assert (source.type, source.url, source.headers) == ("Feed", URL, ["X-Key: ${KEY}"])
    rules = world.jobs.save_mapping(world.tenant, "m", RULES)
    format = world.jobs.save_format(world.tenant, "f", KEYED)
    storage = world.queue.storage
    assert storage.get(TransformSource, source.id) == source
    assert storage.get(TransformMapping, rules.id) == rules
    assert rules.mapping == RULES
    assert storage.get(TransformFormat, format.id) == format
    assert format.definition == KEYED
    with refused(world, InvalidInput, "name"):
        world.jobs.save_mapping(world.tenant, "x" * 501, RULES)


def test_the_jobs_of_runs_are_as_the_contract_has_them(world: World):
    job = world.save([item(1)])
    (run,) = world.runs(job)
    made = world.queue.storage.get(Job, run.job_id)
    assert made is not None
    assert (made.type, made.status, made.tenant) == ("transform", JobStatus.QUEUED, world.tenant)
    assert world.queue.storage.get(TransformRun, run.id) == run
