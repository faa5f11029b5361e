"""`gnj serve` and `gnj worker` with transformation jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from gnj import GNJ
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest
from tests.transform.sites import Site, answer, site


def test_a_server_says_where_they_are(start):
    server = start("serve", "--port", "0")
    url = server.wait_for("Transformation jobs").removeprefix("Transformation jobs at ")
    answered = httpx.post(url, json={"query": "{ getJobs { id } }"})
    assert answered.json() == {"data": {"getJobs": []}}


def test_a_worker_for_transformation_jobs_alone(start, home):
    database = f"sqlite:///{home / 'jobs.db'}"
    with (
        site(feed=answer(b'[{"sku": 1}]', "application/json")) as shop,
        GNJ(database, fetch_allow=["127.0.0.1"]) as jobs,
    ):
        jobs.migrate()
        saved = jobs.transform_jobs.save_job(
            "",
            SourceInput(request=SourceRequest(type="Feed", url=shop.url("/feed"))),
            MappingInput(data=[{"sourceField": "sku", "targetField": "id"}]),
            FormatInput(data={"id": {"type": "string"}}),
        )
        worker = start("worker", "--transform", "--database", database, "--poll", "0.05", GNJ_FETCH_ALLOW="127.0.0.1")
        told = worker.wait_for("gnj worker for")
        assert told.startswith("gnj worker for transformation jobs, 8 at once, database sqlite")
        end = time.monotonic() + 30
        while (view := jobs.transform_jobs.job("", saved.id)) is not None and view.status in ("Pending", "Running"):
            assert time.monotonic() < end
        assert view is not None
        assert view.status == "Live"


def test_what_a_worker_cannot_do_is_said(gnj_here):
    done = gnj_here("worker", "--transform", "--url", "http://localhost:1/graphql")
    assert done.returncode == 2
    assert "--transform goes with --database" in done.stderr


@pytest.fixture
def shop() -> Iterator[Site]:
    with site(
        feed=answer(b'[{"sku": 1}, {"sku": "=2"}, {}]', "application/json"), broken=answer(b"", status=404)
    ) as made:
        yield made


@pytest.fixture
def saved(home, shop) -> Callable[[str], int]:
    """Saves a job of a feed; its id."""

    def save(path: str = "/feed") -> int:
        with GNJ(f"sqlite:///{home / 'gnj.db'}", fetch_allow=["127.0.0.1"]) as jobs:
            jobs.migrate()
            made = jobs.transform_jobs.save_job(
                "",
                SourceInput(request=SourceRequest(type="Feed", url=shop.url(path), name="Shop")),
                MappingInput(data=[{"sourceField": "sku", "targetField": "id"}]),
                FormatInput(data={"id": {"type": "string", "attributes": ["required"]}}),
            )
            return made.id

    return save


def test_a_job_is_run_listed_and_exported(gnj_here, saved, home):
    id = str(saved())
    done = gnj_here("transform", "run", id, "--here", GNJ_FETCH_ALLOW="127.0.0.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Successful: 3 read, 2 written, 1 rejected"
    run = done.stdout.split()[1]
    listed = gnj_here("transform", "list")
    assert [line.split()[:3] for line in listed.stdout.splitlines()] == [
        ["id", "source", "status"],
        [id, "Shop", "Live"],
    ]
    (line,) = gnj_here("transform", "list", "--json").stdout.splitlines()
    assert json.loads(line)["status"] == "Live"
    assert gnj_here("transform", "export", id).stdout == '{"id":"1"}\n{"id":"=2"}\n'
    assert gnj_here("transform", "export", id, "out.csv", "--run", run).returncode == 0
    assert (home / "out.csv").read_bytes() == b"id\r\n1\r\n'=2\r\n"
    assert gnj_here("transform", "export", id, "--format", "csv").stdout.splitlines() == ["id", "1", "'=2"]


def test_what_cannot_be_done_with_jobs_is_said(gnj_here, saved, home):
    id = str(saved("/broken"))
    done = gnj_here("transform", "run", id, "--here", GNJ_FETCH_ALLOW="127.0.0.1")
    assert done.returncode == 1
    assert "has ended as Failed: the source answered 404" in done.stderr
    for arguments, told in (
        (("run", "99"), "the job does not exist"),
        (("export", "99"), "the job does not exist"),
        (("export", id, "--run", "99"), f"the transformation job {id} has no run 99"),
        (("export", id, "nowhere/out.csv"), "No such file"),
    ):
        done = gnj_here("transform", *arguments)
        assert done.returncode == 1, done
        assert told in done.stderr
    assert gnj_here("transform", "list", "--tenant", "other").stdout.count("\n") == 1


def test_a_worker_does_both_kinds(start):
    worker = start("worker", "--transform", "--content", "--database", "sqlite:///both.db")
    assert "gnj worker for content jobs, transformation jobs, 8 at once" in worker.wait_for("gnj worker for")
