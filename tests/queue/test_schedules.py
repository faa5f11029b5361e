"""Recurring jobs: which jobs their ticks make, and when."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest

from gnj.queue import schedules, scheduling
from gnj.queue.errors import Duplicate, IllegalTransition, InvalidInput, NotFound
from gnj.queue.model import Job, NewJob, Schedule, Tick
from gnj.queue.schedules import MOST
from gnj.queue.scheduling import Declaration
from gnj.queue.service import Queue
from gnj.queue.storage import Select
from gnj.testing.contracts.support import together

everywhere = pytest.mark.usefixtures("on_every_storage")
HOUR, DAY = 3600.0, 86400.0
MAIL = {"type": "mail", "input": {"to": "a@example.org"}, "priority": 2, "max_attempts": 3}


@pytest.fixture(autouse=True)
def at_midnight(clock):
    clock.set(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def make(queue):
    def make(name="nightly", **values):
        given = {"name": name, "job": MAIL} | ({} if "every_ms" in values else {"cron": "0 3 * * *"})
        return queue.create_schedule(given | values, declared=True)

    return make


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def now_of(queue, row):
    return queue.get(Schedule, row.id)


def ticks(queue):
    return [f"{row.tick_at:%d %H:%M}" + ("" if row.job_id else " skipped") for row in queue.storage.find(Tick)]


@everywhere
def test_each_tick_makes_a_job(queue, clock, make):
    row = make()
    assert (row.next_at, row.since, row.runs, row.time_zone, row.missed) == (
        at("2026-01-01T03:00"),
        clock(),
        0,
        "UTC",
        "newest",
    )
    assert queue.tick(force=True) == 0
    clock.tick(3 * HOUR)
    assert queue.tick(force=True) == 1
    assert queue.tick(force=True) == 0
    (job,) = queue.list(Job)
    assert {name: getattr(job, name) for name in MAIL} == MAIL
    assert (job.status, job.created_at) == ("queued", clock())
    after = now_of(queue, row)
    assert (after.runs, after.last_job_id, after.last_at, after.since, after.next_at) == (
        1,
        job.id,
        at("2026-01-01T03:00"),
        at("2026-01-01T03:00"),
        at("2026-01-02T03:00"),
    )
    clock.tick(DAY)
    assert queue.tick(force=True) == 1
    assert ticks(queue) == ["01 03:00", "02 03:00"]


@everywhere
@pytest.mark.parametrize(
    "missed, made", [("newest", ["04 03:00"]), ("all", ["01 03:00", "02 03:00", "03 03:00", "04 03:00"]), ("none", [])]
)
def test_what_was_missed(queue, clock, make, missed, made):
    row = make(missed=missed)
    clock.tick(3 * DAY + 4 * HOUR)
    assert queue.tick(force=True) == len(made)
    assert ticks(queue) == made
    assert now_of(queue, row).next_at == at("2026-01-05T03:00")


def test_what_is_a_little_late_was_not_missed(queue, clock, make):
    make(missed="none")
    clock.tick(3 * HOUR + 60)
    assert queue.tick(force=True) == 1
    clock.tick(DAY + 0.001)
    assert queue.tick(force=True) == 0


def test_many_that_were_missed_are_made_up_for_by_and_by(queue, clock, make):
    row = make(cron="* * * * *", missed="all")
    clock.tick(DAY)
    made = [queue.tick(force=True) for _ in range(73)]
    assert sum(made) == 24 * 60
    assert max(made) == schedules.OWED
    assert now_of(queue, row).next_at == at("2026-01-02T00:01")


@everywhere
def test_no_overlap(queue, clock, make):
    row = make(may_overlap=False)
    clock.tick(3 * HOUR)
    queue.tick(force=True)
    clock.tick(DAY)
    assert queue.tick(force=True) == 0
    with pytest.raises(IllegalTransition, match=f"the job {queue.list(Job)[0].id} of nightly has not ended"):
        queue.run_schedule(row.id)
    queue.succeed(queue.acquire(["mail"]))
    clock.tick(DAY)
    assert queue.tick(force=True) == 1
    assert ticks(queue) == ["01 03:00", "02 03:00 skipped", "03 03:00"]
    assert now_of(queue, row).runs == 2


@everywhere
def test_a_pause_is_not_made_up_for(queue, clock, make):
    row = make(missed="all")
    paused = queue.pause_schedule(row.id, paused=True)
    assert (paused.paused, paused.next_at) == (True, None)
    assert queue.pause_schedule(row.id, paused=True) == paused
    assert queue.next_ticks(paused, 1) == [at("2026-01-01T03:00")]
    clock.tick(3 * DAY)
    assert queue.tick(force=True) == 0
    goes_on = queue.pause_schedule(row.id)
    assert (goes_on.paused, goes_on.next_at) == (False, at("2026-01-04T03:00"))
    clock.tick(3 * HOUR)
    assert queue.tick(force=True) == 1
    assert queue.pause_schedule(row.id).paused


def test_run_now(queue, clock, make):
    row = make(paused=True, max_runs=1)
    job = queue.run_schedule(row.id)
    assert (job.type, job.status) == ("mail", "queued")
    after = now_of(queue, row)
    assert (after.last_job_id, after.runs, after.paused, after.next_at) == (job.id, 0, True, None)
    assert queue.run_schedule(row.id).id != job.id


@everywhere
def test_edits(queue, clock, make):
    row = make(missed="all")
    clock.tick(10 * DAY)
    after = queue.update_schedule(row.id, {"cron": "30 12 * * *", "time_zone": "Europe/Paris"})
    assert after.next_at == at("2026-01-11T11:30")
    assert queue.update_schedule(row.id, {"job": {"type": "sms"}}).job == {"type": "sms"}
    assert queue.update_schedule(row.id, {"name": "noon"}).name == "noon"
    assert queue.update_schedule(row.id, {"name": "noon"}) == now_of(queue, row)
    clock.tick(11.5 * HOUR)
    assert queue.tick(force=True) == 1
    assert queue.list(Job)[0].type == "sms"
    interval = queue.update_schedule(row.id, {"cron": None, "every_ms": 60_000})
    assert interval.next_at == at("2026-01-11T11:31")


def test_an_end(queue, clock, make):
    make("twice", max_runs=2)
    make("until", ends_at=at("2026-01-02T03:00"), missed="all")
    make("later", begins_at=at("2026-01-03T03:00"))
    make("often", every_ms=12 * 3_600_000, begins_at=at("2026-01-02T00:00"), ends_at=at("2026-01-02T12:00"))
    for _ in range(8):
        clock.tick(DAY / 2)
        queue.tick(force=True)
    found = {row.name: (row.runs, row.next_at) for row in queue.list(Schedule)}
    assert found == {
        "twice": (2, None),
        "until": (2, None),
        "later": (2, at("2026-01-05T03:00")),
        "often": (2, None),
    }


@everywhere
def test_intervals_keep_time(queue, clock, make):
    row = make("often", every_ms=90_000)
    assert row.next_at == at("2026-01-01T00:01:30")
    for _ in range(10):
        clock.tick(100)
        queue.tick(force=True)
    assert now_of(queue, row).next_at == at("2026-01-01T00:18:00")
    assert now_of(queue, row).runs == 10


@everywhere
def test_a_bad_one_stops_no_other(queue, clock, make, caplog):
    bad, good = make("bad"), make("good")
    queue.storage.edit(Schedule, [bad.id], {"time_zone": "Europe/Atlantis"})
    clock.tick(3 * HOUR)
    assert queue.tick(force=True) == 1
    after = now_of(queue, bad)
    assert (after.failures, after.next_at, after.since) == (1, clock() + timedelta(seconds=30), bad.since)
    assert "Europe/Atlantis" in after.error
    assert "the recurring job bad will be tried again" in caplog.text
    assert queue.tick(force=True) == 0
    clock.tick(30)
    queue.tick(force=True)
    assert now_of(queue, bad).next_at == clock() + timedelta(seconds=60)
    queue.storage.edit(Schedule, [bad.id], {"time_zone": "UTC"})
    clock.tick(60)
    assert queue.tick(force=True) == 1
    after = now_of(queue, bad)
    assert (after.failures, after.error, after.last_at, after.next_at) == (
        0,
        None,
        at("2026-01-01T03:00"),
        at("2026-01-02T03:00"),
    )
    assert now_of(queue, good).runs == 1


def test_a_tick_that_fails_was_noticed(queue, clock, make):
    """It is made however late, also where those that were missed are not."""
    row = make(missed="none")
    queue.storage.edit(Schedule, [row.id], {"time_zone": "Europe/Atlantis"})
    clock.tick(3 * HOUR)
    queue.tick(force=True)
    queue.storage.edit(Schedule, [row.id], {"time_zone": "UTC"})
    clock.tick(10 * 60)
    assert queue.tick(force=True) == 1
    assert ticks(queue) == ["01 03:00"]


@everywhere
def test_what_cannot_be_reckoned_with_can_be_paused_shown_and_put_right(queue, clock, make):
    row = make()
    queue.storage.edit(Schedule, [row.id], {"time_zone": "Europe/Atlantis"})
    clock.tick(3 * HOUR)
    queue.tick(force=True)
    assert queue.next_ticks(now_of(queue, row)) == []
    queue.update_schedule(row.id, {"job": {"type": "sms"}})
    after = now_of(queue, row)
    assert (after.failures, after.error, after.next_at) == (0, None, clock())
    assert queue.pause_schedule(row.id, paused=True).next_at is None
    with pytest.raises(InvalidInput, match="IANA"):
        queue.pause_schedule(row.id, paused=False)
    assert queue.update_schedule(row.id, {"time_zone": "UTC", "paused": False}).next_at == at("2026-01-02T03:00")


def test_a_failure_elsewhere_is_none_of_a_tick_that_was_made(queue, clock, make):
    row = make()
    clock.tick(3 * HOUR)
    (due,) = schedules.due(queue.storage, clock(), 10)
    queue.tick(force=True)
    queue.run(lambda unit: schedules.fail(unit, due, "no such zone here"))
    assert (now_of(queue, row).failures, now_of(queue, row).next_at) == (0, at("2026-01-02T03:00"))


@everywhere
def test_a_backlog_of_one_keeps_no_other_waiting(queue, clock, make, monkeypatch):
    monkeypatch.setattr(scheduling, "_PAGE", 3)
    monkeypatch.setattr(
        scheduling, "_LOOK", 60.0
    )  # a look that takes long leaves some to the next: that is not the matter here
    for number in range(3):
        make(f"behind{number}", cron="* * * * *", missed="all")
    clock.tick(DAY / 2)
    make("another", cron="0 13 * * *")
    clock.tick(DAY / 2)
    made = [queue.tick(force=True) for _ in range(2)]
    assert max(made) <= 3 * schedules.OWED
    assert {row.name: row.runs for row in queue.list(Schedule)}["another"] == 1


@everywhere
def test_what_was_deleted_goes_with_its_ticks(queue, clock, make):
    row = make()
    clock.tick(DAY)
    queue.tick(force=True)
    queue.delete_schedule(row.id)
    clock.tick(DAY + 1)
    assert queue.prune(retention=None) > 0
    assert queue.storage.find(Schedule, Select(deleted=True)) == queue.storage.find(Tick) == []


def test_a_clock_that_goes_back(queue, clock, make):
    make()
    clock.tick(3 * HOUR)
    queue.tick(force=True)
    (row,) = queue.list(Schedule)
    queue.storage.edit(Schedule, [row.id], {"next_at": clock(), "since": clock() - timedelta(hours=1)})
    assert queue.tick(force=True) == 0
    assert queue.list(Schedule)[0].next_at == at("2026-01-02T03:00")
    assert queue.count(Job) == 1


@everywhere
def test_delete(queue, clock, make):
    row = make()
    queue.delete_schedule(row.id)
    clock.tick(DAY)
    assert queue.tick(force=True) == 0
    assert queue.list(Schedule) == []
    for call in (queue.delete_schedule, queue.pause_schedule, queue.run_schedule):
        with pytest.raises(NotFound, match="recurringJob not found"):
            call(row.id)
    with pytest.raises(NotFound):
        queue.update_schedule(row.id, {"name": "x"})
    assert make().id != row.id


@everywhere
def test_declarations(storage, clock, caplog):
    told = {"name": "nightly", "cron": "0 3 * * *", "job": MAIL}

    def declared(*values):
        queue = Queue(storage, declarations=[Declaration("", each) for each in values])
        queue.declare()
        return queue, {row.name: row for row in queue.list(Schedule)}

    queue, before = declared(told)
    assert declared(told)[1] == before
    assert declared(told, {"name": "fast", "every_ms": 1_000, "job": MAIL})[1]["fast"].every_ms == 1_000
    row = queue.pause_schedule(before["nightly"].id, paused=True)
    _, after = declared({**told, "cron": "0 4 * * *"}, {**told, "job": {"type": "mail", "input": True}})
    assert (after["nightly"].id, after["nightly"].cron, after["nightly"].paused) == (row.id, "0 3 * * *", True)
    assert after["nightly"].job == {"type": "mail", "input": True}
    assert after["nightly"].next_at is None
    assert caplog.text == ""


def test_one_that_is_refused_harms_no_other(storage, clock, caplog):
    told = [
        {"name": name, "cron": cron, "job": MAIL}
        for name, cron in [("a", "0 3 * * *"), ("b", "0 3"), ("c", "0 3 * * *")]
    ]
    queue = Queue(storage, declarations=[Declaration("", each) for each in told])
    queue.declare()
    assert [row.name for row in queue.list(Schedule)] == ["a", "c"]
    assert caplog.text.count("the recurring job b is not declared") == 1
    queue.declare()
    assert caplog.text.count("is not declared") == 1


@everywhere
def test_who_declares_the_same_at_the_same_moment(storage, clock):
    told = [{"name": f"n{number}", "cron": "0 3 * * *", "job": MAIL} for number in range(MOST + 5)]
    queues = [Queue(storage, seed=seed, declarations=[Declaration("", each) for each in told]) for seed in range(3)]
    together(3, lambda place: queues[place].declare())
    assert {row.name for row in queues[0].list(Schedule)} == {each["name"] for each in told}
    assert len(queues[0].list(Schedule)) == len(told)


@everywhere
def test_tenants(queue, clock):
    told = {"name": "nightly", "cron": "0 3 * * *", "job": MAIL}
    one, two = queue.create_schedule(told, tenant="a"), queue.create_schedule(told, tenant="b")
    for call in (queue.delete_schedule, queue.pause_schedule, queue.run_schedule):
        with pytest.raises(NotFound):
            call(one.id, tenant="b")
    with pytest.raises(NotFound):
        queue.update_schedule(one.id, {"name": "x"}, tenant="b")
    clock.tick(3 * HOUR)
    queue.tick(force=True)
    assert {job.tenant for job in queue.list(Job)} == {"a", "b"}
    assert {row.tenant for row in queue.storage.find(Tick)} == {"a", "b"}
    assert two.id != one.id


@everywhere
@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": None}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": None}, "either cron or every"),
        ({"every_ms": 90_000}, "either cron or every"),
        ({"cron": None, "every_ms": 59_999}, "at least 60,000 ms"),
        ({"time_zone": "Mars"}, "IANA"),
        ({"missed": "some"}, "one of newest, all, none"),
        ({"may_overlap": 1}, "true or false"),
        ({"max_runs": 0}, "from 1"),
        ({"begins_at": at("2026-02-01T00:00"), "ends_at": at("2026-01-01T00:00")}, "earlier"),
        ({"job": None}, "an object that has a type"),
        ({"job": {}}, "type cannot be null"),
        ({"job": {"type": "gnj:bulk"}}, "reserved"),
        ({"job": {"type": "a", "unique_id": "x"}}, "cannot have 'unique_id'"),
        ({"job": {"type": "a", "status": "failed"}}, "cannot have 'status'"),
        ({"job": {"type": "a", "priority": "high"}}, "priority"),
        ({"next_at": at("2026-01-01T00:00")}, "next"),
        ({"nonsense": 1}, "no attribute"),
        ({"begins_at": at("9500-01-01T00:00")}, "a year up to 9000"),
        ({"job": {"type": "a", "input": "x" * 70_000}}, "at most 65,536 bytes of JSON"),
    ],
)
def test_refusals(queue, make, change, message):
    told = {"name": "nightly", "cron": "0 3 * * *", "job": MAIL}
    row = make("another")
    with pytest.raises(InvalidInput, match=message):
        queue.create_schedule(told | change)
    if "name" not in change:
        with pytest.raises(InvalidInput, match=message):
            queue.update_schedule(row.id, change)
    assert queue.list(Schedule) == [row]


@everywhere
def test_names_are_one_tenants_once(queue, make):
    make()
    with pytest.raises(Duplicate, match="there is a recurring job 'nightly' already"):
        make()
    other = make("other")
    with pytest.raises(Duplicate):
        queue.update_schedule(other.id, {"name": "nightly"})


def test_there_are_not_too_many(queue, make):
    for number in range(MOST):
        make(f"n{number}")
    with pytest.raises(InvalidInput, match="100 recurring jobs already"):
        queue.create_schedule({"name": "another", "cron": "0 3 * * *", "job": MAIL})
    assert make("another").name == "another"  # what is declared in code is nobody else's to keep small


@everywhere
def test_what_is_told_of_ticks_goes_with_the_retention(queue, clock, make):
    make()
    for _ in range(5):
        clock.tick(DAY)
        queue.tick(force=True)
    assert queue.prune(retention=None) == 0
    assert queue.prune(retention=2.5 * DAY) == 2
    assert ticks(queue) == ["03 03:00", "04 03:00", "05 03:00"]
    assert queue.prune(retention=2.5 * DAY) == 0
    job = queue.list(Job)[-1]
    assert queue.tick_of(job.id) == at("2026-01-05T03:00")
    assert queue.tick_of(queue.list(Job)[0].id) is None


def test_a_look_costs_nothing_in_between(queue, make, monkeypatch):
    make()
    queue.tick(force=True)
    monkeypatch.setattr(queue, "_look", None)
    assert queue.tick() == queue.tick(early=True) == 0


def test_not_in_a_transaction_of_the_callers(queue, clock, make):
    make()
    clock.tick(DAY)
    with queue.storage.begin() as tx:
        inner, _ = queue.within(tx)
        assert inner.tick(force=True) == 0


@everywhere
def test_several_who_look(queue, storage, clock):
    """They pause, and one of them is always about to look: each tick has one job."""
    others = [Queue(storage, seed=seed) for seed in range(4)]
    for number in range(5):
        queue.create_schedule({"name": f"n{number}", "cron": "* * * * *", "job": MAIL, "missed": "all"})
    rounds, errors = 20, []
    barrier = threading.Barrier(4, lambda: clock.tick(60))

    def look(own):
        chance = random.Random(own._random.random())
        try:
            for _ in range(rounds):
                barrier.wait(30)
                if chance.random() < 0.7:
                    own.tick(force=True)
        except Exception as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=look, args=[own]) for own in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    queue.tick(force=True)
    assert queue.count(Job) == 5 * rounds
    made = storage.find(Tick)
    assert len({(row.schedule_id, row.tick_at) for row in made}) == len(made) == 5 * rounds
    assert sorted(row.job_id for row in made) == sorted(job.id for job in queue.list(Job))


def test_claims_and_waits_look(queue, clock, make):
    make()
    clock.tick(3 * HOUR)
    (job,) = queue.acquire(["mail"], 5)
    assert job.type == "mail"
    queue.enqueue(NewJob("other"))
    clock.tick(DAY)
    queue._ticked = float("-inf")
    queue.keep_up()
    assert queue.count(Job, type="mail") == 2
