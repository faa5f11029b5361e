"""Which cron expressions are taken, and which wall-clock times they mean."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from itertools import islice

import pytest

from gnj.queue import cron
from gnj.queue.errors import InvalidInput

NOON = datetime.fromisoformat("2026-01-01T12:00")  # a Thursday


@pytest.mark.parametrize(
    "text, days",
    [
        ("0 0 * * *", [2, 3, 4, 5]),
        ("0 0 * * 7", [4, 11, 18, 25]),
        ("0 0 * * 0", [4, 11, 18, 25]),
        ("0 0 * * 5-7", [2, 3, 4, 9]),
        ("0 0 13 * 5", [2, 9, 13, 16]),  # either day will do
        ("0 0 1,15-17/2 * *", [15, 17]),
        ("0  0\t*/10  1 *", [11, 21, 31]),
        ("0-0 0-0 * * 5-5", [2, 9, 16, 23]),
    ],
)
def test_days(text, days):
    walls = list(islice(cron.walls(cron.parse(text), NOON), 4))
    assert [wall.day for wall in walls if (wall.year, wall.month) == (2026, 1)] == days[:4]
    assert {(wall.hour, wall.minute, wall.tzinfo) for wall in walls} == {(0, 0, None)}


def test_back_and_forth():
    known = cron.parse("*/20 9 * * 1-5")
    walls = list(islice(cron.walls(known, NOON), 7))
    assert walls == sorted(set(walls))
    assert list(islice(cron.walls_before(known, walls[-1]), 6)) == walls[-2::-1]
    leap = cron.walls(cron.parse("0 0 29 2 *"), datetime.fromisoformat("2097-01-01"))
    assert [next(leap).isoformat() for _ in range(2)] == ["2104-02-29T00:00:00", "2108-02-29T00:00:00"]


@pytest.mark.parametrize("text", ["* * * * *", "0 * * * *", "0 */6 * * *", "*/15 */1 1 * *"])
def test_what_follows_the_time_that_elapses(text):
    assert cron.parse(text).elapses


@pytest.mark.parametrize("text", ["0 0 * * *", "*/15 2 * * *", "0 0-23 * * *", "0 0,*/2 * * *"])
def test_what_follows_the_wall_clock(text):
    assert not cron.parse(text).elapses


@pytest.mark.parametrize(
    "given, message",
    [
        (None, "must be a text"),
        (5, "must be a text"),
        ("", "five fields .* not 0"),
        ("* * * *", "not 4"),
        ("0 * * * * *", "not 6"),
        ("0 * * * * * *", "not 7"),
        ("@daily", "write '0 0 \\* \\* \\*'"),
        ("@reboot", "five fields"),
        ("R * * * *", "the minute of nightly must be made of"),
        ("H H * * *", "the minute"),
        ("R(0-10) * * * *", "the minute"),
        ("0 0 L * *", "the day of the month"),
        ("0 0 ? * *", "the day of the month"),
        ("0 0 * JAN *", "the month"),
        ("0 0 * * MON", "the weekday"),
        ("0 0 * * 1#2", "the weekday"),
        ("0 0 * * 8", "from 0 to 7, not 8"),
        ("60 0 * * *", "from 0 to 59, not 60"),
        ("0 24 * * *", "from 0 to 23"),
        ("0 0 0 * *", "from 1 to 31"),
        ("0 0 * 13 *", "from 1 to 12"),
        ("30-10 * * * *", "lower number"),
        ("*/0 * * * *", "a step from 1 to 60"),
        ("*/61 * * * *", "a step from 1 to 60"),
        (", * * * *", "the minute"),
        ("1, * * * *", "the minute"),
        ("-1 * * * *", "the minute"),
        ("\u0663 * * * *", "the minute"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0 0 30-31 2 *", "never comes"),
    ],
)
def test_refusals(given, message):
    with pytest.raises(InvalidInput, match=message):
        cron.parse(given, "nightly")


@pytest.mark.parametrize(
    "bomb",
    [
        "1," * 5_000 + "1 * * * *",
        "*/1," * 20 + "* * * * *",
        "0 0 30 2 *",
        "0-59," * 15 + "0 * * * *",
        " " * 10_000,
        "9" * 100,
    ],
    ids=range(6),
)
def test_nothing_takes_long(bomb):
    cron.parse("0 0 * * *")  # croniter is loaded
    begun = time.process_time()
    with suppress(InvalidInput):
        cron.parse(bomb)
    assert time.process_time() - begun < 0.1


def test_only_those_who_have_schedules_load_it():
    code = "import sys, gnj.queue.ticks; assert not {'croniter', 'dateutil'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
