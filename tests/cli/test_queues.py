"""`gnj jobs add` and `gnj queues`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import gnj
from gnj.queue.model import Job, NewJob


@pytest.fixture(params=["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgresql", "mysql"))])
def url(request):
    url = request.getfixturevalue(f"{request.param}_database")()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
    return url


def told(result):
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def objects(result):
    return [json.loads(line) for line in told(result).splitlines()]


def refused(result, code, *parts):
    assert result.returncode == code, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("gnj: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def fill(url):
    """In mail: 1 completed, 2 failed, 3 active, 4 to 6 waiting, 7 delayed; 8 of another tenant, 9 in another queue."""
    with gnj.GNJ(url) as jobs:
        queue = jobs.queue
        for end in (queue.succeed, queue.fail):
            queue.enqueue(NewJob("mail"))
            end(queue.acquire(["mail"], 1)[0])
        queue.enqueue(NewJob("mail"))
        queue.acquire(["mail"])
        queue.enqueue_many([NewJob("mail")] * 3)
        queue.add("mail", [{"name": "later", "data": 1, "opts": {"delay": 3_600_000}}], tenant="")
        queue.enqueue(NewJob("mail", tenant="acme"))
        queue.enqueue(NewJob("thumb"))


def test_adds(gnj_here, url):
    result = gnj_here(
        "jobs", "add", "mail", "welcome", '{"to": "ada"}', "--opts", '{"jobId": "a1", "attempts": 3}', "--database", url
    )
    assert told(result) == "job 1 was added to mail\n"
    again = gnj_here("jobs", "add", "mail", "other", "--opts", '{"jobId": "a1"}', "--database", url)
    assert told(again) == "nothing was added: job 1 is there already\n"
    (job,) = objects(gnj_here("jobs", "add", "mail", "welcome", "--tenant", "acme", "--json", "--database", url))
    assert [job[name] for name in ("type", "name", "input", "tenant", "new")] == ["mail", "welcome", None, "acme", True]
    with gnj.GNJ(url) as jobs:
        one = jobs.queue.get(Job, 1)
        assert one is not None
        assert (one.input, one.custom_id, one.max_attempts, one.tenant) == ({"to": "ada"}, "a1", 3, "")


def test_adds_what_comes_over_stdin(home, environment, sqlite_database):
    url = sqlite_database()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
    command = [sys.executable, "-m", "gnj.cli", "jobs", "add", "mail", "welcome", "-", "--database", url]
    result = subprocess.run(command, cwd=home, env=environment, input=b'{"a": [1]}', capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (0, b"job 1 was added to mail\n")
    result = subprocess.run(command, cwd=home, env=environment, input=b"\xff", capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (2, b"gnj: DATA must be UTF-8\n")


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["mail", "welcome", "{"], "DATA must be JSON"),
        (["mail", "welcome", "NaN"], "DATA"),
        (["mail", "welcome", "1", "--opts", "["], "--opts must be JSON"),
        (["mail", "welcome", "1", "--opts", "[]"], "Invalid opts"),
        (["mail", "welcome", "1", "--opts", '{"delay": -1}'], "Invalid delay -1"),
        (["mail", "welcome", "1", "--opts", '{"colour": 1}'], "Unexpected field: opts.colour"),
        (["mail", "", "1"], "name is required"),
        (["gnj:bulk", "welcome", "1"], "reserved"),
        (["all", "welcome", "1"], "reserved: 'all'"),
        (["mail", "welcome", "1", "--opts", '{"jobId": "a/b"}'], "must not hold a slash"),
        (["mail"], "NAME"),
    ],
)
def test_what_is_no_job(gnj_here, sqlite_database, arguments, part):
    url = sqlite_database()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
    refused(gnj_here("jobs", "add", *arguments, "--database", url), 2, part)
    with gnj.GNJ(url) as jobs:
        assert jobs.queue.count(Job) == 0


def test_lists_and_shows(gnj_here, url):
    fill(url)
    gnj_here("queues", "pause", "idle", "--database", url)
    gnj_here("queues", "limits", "thumb", "--concurrency", 2, "--database", url)
    found = objects(gnj_here("queues", "list", "--json", "--database", url))
    assert [(each["name"], each["paused"], each["limited"]) for each in found] == [
        ("idle", True, False),
        ("mail", False, False),
        ("thumb", False, True),
    ]
    assert {state: count for state, count in found[1]["counts"].items() if count} == {
        "waiting": 3, "active": 1, "delayed": 1, "completed": 1, "failed": 1,
    }  # fmt: skip
    assert [
        each["name"] for each in objects(gnj_here("queues", "list", "--search", "um", "--json", "--database", url))
    ] == ["thumb"]
    others = objects(gnj_here("queues", "list", "--tenant", "acme", "--json", "--database", url))
    assert {each["name"]: each["counts"]["waiting"] for each in others}["mail"] == 1
    head, *rows = told(gnj_here("queues", "list", "--database", url)).splitlines()
    assert head.split() == ["queue", "waiting", "prioritized", "active", "delayed", "completed", "failed"]
    assert [row.split() for row in rows] == [
        ["idle", *"000000", "paused"],
        ["mail", *"301111", "-"],
        ["thumb", *"100000", "limited"],
    ]
    (one,) = objects(gnj_here("queues", "show", "thumb", "--json", "--database", url))
    assert (one["name"], one["limits"], one["worker"]) == ("thumb", {"concurrency": 2}, None)
    shown = dict(
        line.split(None, 1) for line in told(gnj_here("queues", "show", "mail", "--database", url)).splitlines()
    )
    assert (shown["queue"], shown["waiting"], shown["paused"]) == ("mail", "3", "no")
    assert told(gnj_here("queues", "show", "nobody", "--database", url)).split()[:4] == [
        "queue",
        "nobody",
        "waiting",
        "0",
    ]


def test_pauses_and_resumes(gnj_here, url):
    fill(url)
    assert told(gnj_here("queues", "pause", "mail", "--database", url)) == "mail is paused; 3 jobs waiting\n"
    with gnj.GNJ(url) as jobs:
        assert jobs.queue.acquire(["mail"], tenants=[""]) is None
    for command in ("pause", "resume"):
        refused(gnj_here("queues", command, "all", "--database", url), 2, "reserved: 'all'", "gnj hold")
    gnj_here("hold", "all", "--database", url)
    assert (
        told(gnj_here("queues", "resume", "mail", "--database", url))
        == "mail is resumed; it is still held: see gnj types\n"
    )
    refused(gnj_here("queues", "resume", "mail", "--database", url), 1, "mail is held: see gnj types")
    gnj_here("release", "all", "--database", url)
    refused(gnj_here("queues", "resume", "mail", "--database", url), 1, "mail is not paused")
    with gnj.GNJ(url) as jobs:
        assert jobs.queue.acquire(["mail"], tenants=[""]) is not None


def left(url):
    with gnj.GNJ(url) as jobs:
        return [job.id for job in jobs.queue.list(Job, order=("id",))]


def test_drains(gnj_here, url):
    fill(url)
    refused(gnj_here("queues", "drain", "mail", "--database", url), 2, "--yes")
    assert len(left(url)) == 9
    assert told(gnj_here("queues", "drain", "mail", "--yes", "--database", url)) == "3 jobs of mail deleted\n"
    assert left(url) == [1, 2, 3, 7, 8, 9]
    assert told(gnj_here("queues", "drain", "mail", "--delayed", "-y", "--database", url)) == "1 job of mail deleted\n"
    assert left(url) == [1, 2, 3, 8, 9]


def test_cleans(gnj_here, url):
    fill(url)
    refused(gnj_here("queues", "clean", "mail", "--database", url), 2, "--yes")
    refused(
        gnj_here("queues", "clean", "mail", "--status", "active", "--yes", "--database", url),
        2,
        "'active'",
        "completed",
    )
    clean = ("queues", "clean", "mail", "--yes", "--database", url)
    for older in ("inf", "nan", "-1", "1e10"):
        refused(gnj_here(*clean, "--older", older), 2, "--older must be from 0 to 1,000,000,000 seconds")
    assert told(gnj_here(*clean, "--older", 3600)) == "0 jobs of mail deleted\n"
    assert told(gnj_here(*clean)) == "1 job of mail deleted\n"
    assert told(gnj_here(*clean, "--status", "waiting", "--limit", 2)) == "2 jobs of mail deleted\n"
    assert left(url) == [2, 3, 6, 7, 8, 9]


def test_limits(gnj_here, url):
    limits = ("queues", "limits", "mail", "--database", url)
    assert told(gnj_here(*limits)) == "mail: no limits\n"
    assert told(gnj_here(*limits, "--concurrency", 5, "--rate", "100/60000")) == "mail: 5 at once, 100 in 60,000 ms\n"
    assert told(gnj_here(*limits, "--group-concurrency", 1, "--group-rate", "3/1000")) == (
        "mail: 5 at once, 100 in 60,000 ms, 1 at once in each group, 3 in 1,000 ms in each group\n"
    )
    assert objects(gnj_here(*limits, "--clear", "--rate", "7/1000", "--json")) == [
        {"limiter": {"max": 7, "duration": 1000}}
    ]
    refused(gnj_here(*limits, "--rate", "7"), 2, "--rate must be MAX/MS")
    refused(gnj_here(*limits, "--group-rate", "x/1"), 2, "--group-rate must be MAX/MS")
    refused(gnj_here(*limits, "--concurrency", 0), 2, "concurrency")
    assert told(gnj_here(*limits)) == "mail: 7 in 1,000 ms\n"
    assert told(gnj_here(*limits, "--clear")) == "mail: no limits\n"
