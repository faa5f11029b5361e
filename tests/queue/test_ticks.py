"""When schedules are due, where clocks are put forward and back, beside an oracle that looks at every minute."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.queue import ticks, zones
from gnj.queue.cron import Cron, parse
from gnj.queue.errors import InvalidInput

NAMES = ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu", "UTC"]
ZONES = {name: zones.zone(name) for name in NAMES}
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2041, 1, 1, tzinfo=UTC)
HALF_HOURS = [f"{minute} {hour} * * *" for hour in range(24) for minute in (0, 30)]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def cron_ticks(cron: str | Cron, zone: ZoneInfo, after: datetime, until: datetime, limit: int) -> list[datetime]:
    known = parse(cron) if isinstance(cron, str) else cron
    return ticks.Timing(known, zone, None, None, None).some(after, until, limit)


def all_changes(zone: ZoneInfo) -> list[datetime]:
    found, after = [], BEGIN
    while change := zones.next_change(zone, after, END):
        found.append(change)
        after = change
    return found


CHANGES = {name: all_changes(zone) for name, zone in ZONES.items()}


# Zones


def test_changes():
    assert [len(CHANGES[name]) for name in NAMES if name != "Africa/Casablanca"] == [42, 42, 42, 0, 0]
    assert len(CHANGES["Africa/Casablanca"]) > 40  # around each Ramadan, as far as it has been reckoned
    for name, found in CHANGES.items():
        zone = ZONES[name]
        for change in found:
            assert change.astimezone(zone).utcoffset() != (change - timedelta(seconds=1)).astimezone(zone).utcoffset()
            assert zones.last_change(zone, change - DAY, change + DAY) == change
            assert zones.last_change(zone, change - DAY, change - timedelta(seconds=1)) is None
            assert zones.next_change(zone, change, change + DAY) is None


@pytest.mark.parametrize(
    "name, wall, moment",
    [
        ("Europe/Paris", "2026-03-29T01:59", "2026-03-29T00:59Z"),
        ("Europe/Paris", "2026-03-29T02:00", "2026-03-29T01:00Z"),  # not there: at the end of the gap
        ("Europe/Paris", "2026-03-29T02:59:59", "2026-03-29T01:00Z"),
        ("Europe/Paris", "2026-03-29T03:00", "2026-03-29T01:00Z"),
        ("Europe/Paris", "2026-10-25T02:30", "2026-10-25T00:30Z"),  # twice: the first
        ("Europe/Paris", "2026-10-25T03:00", "2026-10-25T02:00Z"),
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30Z"),
        ("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T14:45Z"),
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00Z"),  # a whole day that never was
        ("Asia/Kathmandu", "2026-01-01T05:45", "2026-01-01T00:00Z"),
    ],
)
def test_moments(name, wall, moment):
    assert zones.moment_of(zones.zone(name), datetime.fromisoformat(wall)) == utc(moment)


@pytest.mark.parametrize(
    "name",
    ["Nowhere", "", None, 5, "Europe", "../etc/passwd", "/etc/localtime", "localtime", "europe/paris\0", "A" * 300],
)
def test_zones_there_are_not(name):
    with pytest.raises(InvalidInput, match="a name of the IANA database, such as 'Europe/Paris'"):
        zones.zone(name)


# The table of the documentation


@pytest.mark.parametrize(
    "cron, name, after, expected",
    [
        # forward over 02:00 to 03:00
        ("30 2 * * *", "Europe/Paris", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("*/15 2 * * *", "Europe/Paris", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]),
        ("0 2,3 * * *", "Europe/Paris", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]),
        ("30 * * * *", "Europe/Paris", "2026-03-29T00:00Z", ["2026-03-29T00:30Z", "2026-03-29T01:30Z"]),
        ("0 */2 * * *", "Europe/Paris", "2026-03-28T22:30Z", ["2026-03-28T23:00Z", "2026-03-29T02:00Z"]),
        # back from 03:00 to 02:00
        ("30 2 * * *", "Europe/Paris", "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        ("30 2 * * *", "Europe/Paris", "2026-10-25T01:00Z", ["2026-10-26T01:30Z"]),
        (
            "*/30 2 * * *",
            "Europe/Paris",
            "2026-10-24T12:00Z",
            ["2026-10-25T00:00Z", "2026-10-25T00:30Z", "2026-10-26T01:00Z"],
        ),
        (
            "30 * * * *",
            "Europe/Paris",
            "2026-10-25T00:00Z",
            ["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"],
        ),
        # by half an hour
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00Z", ["2026-04-04T14:45Z", "2026-04-05T15:15Z"]),
        (
            "*/15 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:40Z",
            ["2026-04-04T14:45Z", "2026-04-04T15:00Z", "2026-04-04T15:15Z", "2026-04-04T15:30Z"],
        ),
        ("0 0 * * *", "Asia/Kathmandu", "2026-01-01T00:00Z", ["2026-01-01T18:15Z"]),
        ("59 23 31 12 *", "UTC", "2026-01-01T00:00Z", ["2026-12-31T23:59Z", "2027-12-31T23:59Z"]),
    ],
)
def test_the_table(cron, name, after, expected):
    found = cron_ticks(cron, ZONES[name], utc(after), utc(after) + 400 * 2 * DAY, len(expected))
    assert found == [utc(text) for text in expected]


def test_an_hourly_one_comes_each_hour():
    known = parse("30 * * * *")
    for name, changes in CHANGES.items():
        if name == "Australia/Lord_Howe":  # whose half hour moves what the clock shows
            continue
        for change in changes:
            found = cron_ticks(known, ZONES[name], change - DAY, change + DAY, 100)
            assert {after - before for before, after in pairwise(found)} == {timedelta(hours=1)}


def days(cron: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[int]:
    """The distance, in local days, from each tick to the next."""
    found = cron_ticks(cron, zone, begin, end, 100_000)
    local = [moment.astimezone(zone).date() for moment in found]
    assert len(local) > 1
    return [(after - before).days for before, after in pairwise(local)]


@pytest.mark.parametrize("name", NAMES)
def test_a_daily_one_comes_once_each_day(name):
    for change in CHANGES[name] or [BEGIN + 10 * DAY]:
        for cron in HALF_HOURS:
            assert set(days(cron, ZONES[name], change - 2 * DAY, change + 2 * DAY)) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_daily_one_comes_once_each_day_of_21_years(name):
    for cron in HALF_HOURS:
        assert set(days(cron, ZONES[name], BEGIN, END)) == {1}


# The oracle


FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def expanded(field: str, low: int, high: int) -> set[int]:
    found = set()
    for part in field.split(","):
        what, _, step = part.partition("/")
        first, _, last = what.partition("-")
        begin = low if what == "*" else int(first)
        end = high if what == "*" or (step and not last) else int(last or first)
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def matching(cron: str) -> Callable[[datetime], bool]:
    fields = cron.split()
    minute, hour, day, month, weekday = (expanded(field, *bounds) for field, bounds in zip(fields, FIELDS, strict=True))
    weekday = {number % 7 for number in weekday}

    def matches(wall: datetime) -> bool:
        if wall.minute not in minute or wall.hour not in hour or wall.month not in month:
            return False
        in_month, in_week = wall.day in day, wall.isoweekday() % 7 in weekday
        return in_month or in_week if fields[2] != "*" and fields[4] != "*" else in_month and in_week

    return matches


def oracle(cron: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """Later than `begin` and not later than `end`."""
    minutes = int((end - begin) / MINUTE) + 2 * 24 * 60
    matches = matching(cron)
    walk = [begin - DAY + number * MINUTE for number in range(minutes)]
    shown = [moment.astimezone(zone).replace(tzinfo=None, fold=0) for moment in walk]
    if "," not in cron.split()[1] and "*" in cron.split()[1]:
        found = {moment for moment, wall in zip(walk, shown, strict=True) if matches(wall)}
    else:
        first: dict[datetime, datetime] = {}
        for moment, wall in zip(walk, shown, strict=True):
            first.setdefault(wall, moment)
            if wall - shown[0] > timedelta() and wall - MINUTE not in first:  # a gap, all of which is due now
                missing = wall - MINUTE
                while missing not in first:
                    first[missing] = moment
                    missing -= MINUTE
        found = {moment for wall, moment in first.items() if matches(wall)}
    return sorted(moment for moment in found if begin < moment <= end)


def a_field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.builds("{}/{}".format, st.one_of(st.just("*"), span), st.integers(1, max(2, (high - low) // 2)))
    part = st.one_of(number.map(str), number.map(str), span, step)
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(*(a_field(*bounds) for bounds in FIELDS[:2]), st.just("*"), st.just("*"), a_field(0, 7)).map(
    " ".join
)
MOMENTS = st.sampled_from(NAMES).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(CHANGES[name] or [BEGIN + DAY]), st.integers(-600, 600))
)


@given(cron=EXPRESSIONS, place=MOMENTS, length=st.integers(1, 1_500), beyond=st.sampled_from([0, 1, 30_000, 59_999]))
def test_ticks_beside_the_oracle(cron, place, length, beyond):
    name, change, minutes = place
    begin = change + minutes * MINUTE
    end = begin + length * MINUTE
    known, expected = parse(cron), oracle(cron, ZONES[name], begin, end)
    late = timedelta(milliseconds=beyond)  # which matters only where a tick is at the first minute itself
    begin, end = begin + late, end + late
    assert cron_ticks(known, ZONES[name], begin, end, 5_000) == expected
    assert ticks.newest_tick(known, ZONES[name], begin, end) == (expected[-1] if expected else None)


@given(day=st.integers(1, 31), month=st.integers(1, 12), year=st.integers(2020, 2030), minute=st.integers(0, 59))
def test_rare_ones(day, month, year, minute):
    text = f"{minute} 3 {day} {month} *"
    after = datetime(year, 1, 1, tzinfo=UTC)
    try:
        known = parse(text)
    except InvalidInput:
        assert (month, day) in {(2, 30), (2, 31), (4, 31), (6, 31), (9, 31), (11, 31)}
        return
    moment = ticks.next_tick(known, ZONES["UTC"], after)
    assert moment is not None
    assert (moment.day, moment.month, moment.hour, moment.minute) == (day, month, 3, minute)
    assert moment.year - year <= (4 if (month, day) == (2, 29) else 0)
    assert ticks.newest_tick(known, ZONES["UTC"], after, moment + 300 * DAY) == moment


# Intervals


@given(every=st.integers(1, 10**9), since=st.integers(0, 10**9), wide=st.integers(0, 10**9))
def test_intervals(every, since, wide):
    step, begin = timedelta(milliseconds=every), BEGIN
    after = begin + timedelta(milliseconds=since)
    until = after + timedelta(milliseconds=wide)
    first = ticks.next_interval(step, begin, after)
    assert after < first <= after + step
    assert (first - begin) % step == timedelta()
    newest = ticks.newest_interval(step, begin, after, until)
    assert newest == (
        None
        if first > until
        else ticks.next_interval(step, begin, until - step if until - step >= begin else begin - step)
    )


def test_before_the_first_interval():
    hour = timedelta(hours=1)
    assert ticks.next_interval(hour, BEGIN, BEGIN - DAY) == BEGIN
    assert ticks.newest_interval(hour, BEGIN, BEGIN - DAY, BEGIN - MINUTE) is None
    assert ticks.newest_interval(hour, BEGIN, BEGIN - DAY, BEGIN) == BEGIN
