"""`gnj recurring`: made, listed, shown, paused, run and removed."""

from __future__ import annotations

import json

import pytest

NIGHTLY = ("add", "nightly", "0 3 * * *", "--tz", "Europe/Paris", "--input", '{"to": 1}', "--no-overlap")


@pytest.fixture
def recurring(gnj_here):
    assert gnj_here("migrate").returncode == 0
    return lambda *arguments: gnj_here("recurring", *arguments)


def test_made_listed_and_shown(recurring, gnj_here):
    made = recurring(*NIGHTLY)
    assert (made.returncode, made.stderr) == (0, "")
    first, *ticks = made.stdout.splitlines()
    assert first == "nightly (id 1) was made; it is due at"
    assert len(ticks) == 5
    assert all(" 03:00 CE" in line for line in ticks)
    assert recurring("add", "poll", "--every", "1.5", "--type", "inbox", "--tenant", "shop").returncode == 0
    head, *rows = recurring("list").stdout.splitlines()
    assert head.split() == ["id", "name", "when", "job", "tenant", "runs", "next", "last"]
    assert "0 3 * * * Europe/Paris" in rows[0]
    assert "every 1.5 s" in rows[1]
    nightly, poll = (json.loads(line) for line in recurring("list", "--json").stdout.splitlines())
    assert nightly["job"] == {"type": "nightly", "input": {"to": 1}}
    assert (nightly["mayOverlap"], nightly["missed"], nightly["runs"]) == (False, "newest", 0)
    assert (poll["every"], poll["cron"], poll["tenant"], poll["job"]["type"]) == (1500, None, "shop", "inbox")
    shown = recurring("show", "nightly").stdout
    assert "cron: 0 3 * * *\n" in shown
    assert shown.count("03:00 CE") == 5
    assert len(json.loads(recurring("show", "2", "--json").stdout)["nextRuns"]) == 5


def test_paused_run_and_removed(recurring, gnj_here):
    recurring(*NIGHTLY)
    assert recurring("pause", "nightly").stdout == "nightly is paused\n"
    assert "paused" in recurring("list").stdout.splitlines()[1]
    assert "if it goes on, it is due at" in recurring("show", "1").stdout
    assert recurring("run", "1").stdout == "job 1 was made for nightly\n"
    refused = recurring("run", "nightly")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "gnj: the job 1 of nightly has not ended, and they must not overlap\n"
    assert recurring("resume", "nightly").stdout.startswith("nightly goes on at 20")
    assert "needs --yes" in recurring("remove", "nightly").stderr
    assert recurring("remove", "nightly", "--yes").stdout == "nightly is removed\n"
    gone = recurring("show", "nightly")
    assert (gone.returncode, gone.stderr) == (1, "gnj: there is no recurring job nightly: gnj recurring list\n")


def test_next_needs_no_database(gnj_here, home):
    told = gnj_here("recurring", "next", "30 2 * * *", "--tz", "Asia/Kathmandu", "--count", "2")
    assert (told.returncode, told.stderr) == (0, "")
    assert [line.split()[2:] for line in told.stdout.splitlines()] == [["20:45:00Z"], ["20:45:00Z"]] or all(
        "20:45:00Z" in line and "02:30 +0545" in line for line in told.stdout.splitlines()
    )
    assert not (home / "gnj.db").exists()


@pytest.mark.parametrize(
    "arguments, why",
    [
        (("add", "x"), "give either cron or every"),
        (("add", "x", "0 3 * * *", "--every", "60"), "give either cron or every"),
        (("add", "x", "0 3 * * MON"), "the weekday of recurringJob.cron"),
        (("add", "x", "0 3 * * *", "--tz", "Mars"), "a name of the IANA database"),
        (("add", "x", "0 3 * * *", "--missed", "some"), "one of newest, all, none"),
        (("add", "x", "0 3 * * *", "--input", "{"), "--input"),
        (("add", "x", "--every", "0.5"), "at least 1,000 ms"),
        (("add", "x", "0 3 * * *", "--type", "gnj:bulk"), "reserved"),
        (("next", "* * * *"), "CRON must have five fields"),
        (("next", "0 3 * * *", "--tz", "../x"), "--tz must be a name"),
        (("pause", "nothing"), "there is no recurring job nothing"),
    ],
)
def test_refusals(recurring, arguments, why):
    refused = recurring(*arguments)
    assert refused.returncode in {1, 2}
    assert refused.stdout == ""
    assert refused.stderr.startswith("gnj: ")
    assert why in refused.stderr
    assert recurring("list", "--json").stdout == ""
