"""`gnj types`, `gnj hold` and `gnj release`."""

from __future__ import annotations

import json

import pytest

import gnj
from gnj.queue.states import JobStatus


@pytest.fixture(params=["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgresql", "mysql"))])
def url(request):
    url = request.getfixturevalue(f"{request.param}_database")()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
        for tenant in ("", "", "acme"):
            jobs.enqueue("mail", tenant=tenant)
        jobs.cancel(jobs.enqueue("thumb").id)
    return url


def summaries(gnj_here, url, *options):
    result = gnj_here("types", "--database", url, "--json", *options)
    assert (result.returncode, result.stderr) == (0, "")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    return {each["type"]: (each["held"], {k: v for k, v in each["counts"].items() if v}) for each in found}


def refused(result, code, *parts):
    assert result.returncode == code, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("gnj: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def test_counts(gnj_here, url):
    assert summaries(gnj_here, url) == {"mail": (False, {"queued": 3}), "thumb": (False, {"cancelled": 1})}
    assert summaries(gnj_here, url, "--tenant", "acme") == {"mail": (False, {"queued": 1})}
    result = gnj_here("types", "--database", url)
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["type", *JobStatus, "held"]
    assert rows[0].split() == "mail 0 3 0 0 0 0 0 -".split()


def test_hold_and_release(gnj_here, url):
    result = gnj_here("hold", "mail", "--database", url)
    assert (result.returncode, result.stdout, result.stderr) == (0, "mail is held; 3 jobs queued\n", "")
    assert summaries(gnj_here, url)["mail"][0] is True
    with gnj.GNJ(url) as jobs:
        assert jobs.queue.acquire(["mail"]) is None
    assert gnj_here("hold", "mail", "--database", url).returncode == 0  # again changes nothing
    result = gnj_here("release", "mail", "--database", url)
    assert (result.returncode, result.stdout, result.stderr) == (0, "mail is released\n", "")
    refused(gnj_here("release", "mail", "--database", url), 1, "mail is not held; nothing is held")


def test_all_is_every_type(gnj_here, url):
    gnj_here("hold", "mail", "--database", url)
    assert gnj_here("hold", "all", "--database", url).stdout == "every type is held; 3 jobs queued\n"
    assert {type: held for type, (held, _) in summaries(gnj_here, url).items()} == dict.fromkeys(
        ("all", "mail", "thumb"), True
    )
    rows = [row.split() for row in gnj_here("types", "--database", url).stdout.splitlines()]
    assert [row[-1] for row in rows] == ["held"] * 4
    assert rows[3][-2:] == ["all", "held"]
    assert gnj_here("release", "all", "--database", url).stdout == "every type is released; still held: mail\n"


def test_the_jobs_of_one_tenant(gnj_here, url):
    assert gnj_here("hold", "mail", "--tenant", "acme", "--database", url).stdout == (
        "mail of tenant acme is held; 1 job queued\n"
    )
    refused(gnj_here("release", "mail", "--database", url), 1, "mail is not held; held: mail of tenant acme")
    with gnj.GNJ(url) as jobs:
        assert {job.tenant for job in jobs.queue.acquire(["mail"], 10)} == {""}
    assert gnj_here("release", "mail", "--tenant", "acme", "--database", url).returncode == 0


def test_a_slip_is_named(gnj_here, url):
    refused(gnj_here("hold", "mial", "--database", url), 2, "'mial'", "there are: mail, thumb", "--new")
    assert gnj_here("hold", "later", "--new", "--database", url).stdout == "later is held; 0 jobs queued\n"
    assert summaries(gnj_here, url)["later"] == (True, {})


def test_what_is_no_type(gnj_here, sqlite_database):
    url = sqlite_database()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
    refused(gnj_here("hold", "mail", "--database", url), 2, "there are no jobs")
    refused(gnj_here("hold", "", "--new", "--database", url), 1, "type")
    refused(gnj_here("hold", "--database", url), 2, "TYPE")
    assert gnj_here("types", "--database", url).stdout.split() == ["type", *JobStatus, "held"]
