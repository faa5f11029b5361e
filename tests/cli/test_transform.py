"""`gnj serve` and `gnj worker` with transformation jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

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
    assert gnj_here("transform", "export", id, "out.xlsx", "--format", "jsonl").returncode == 0
    assert gnj_here("transform", "export", id, "plain").returncode == 0
    assert (home / "out.xlsx").read_bytes() == (home / "plain").read_bytes() == b'{"id":"1"}\n{"id":"=2"}\n'


def test_files_that_would_not_hold_what_their_names_say_are_not_written(gnj_here, saved, home):
    for name in ("out.xlsx", "out.json", "out.csv.gz"):
        done = gnj_here("transform", "export", saved(), name)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{name}: files end with .csv or .jsonl; --format" in done.stderr
        assert not (home / name).exists()


def test_runs_and_what_they_rejected_are_listed(gnj_here, saved, shop):
    id = str(saved())
    assert gnj_here("transform", "runs", id).stdout.splitlines()[1].split()[1] == "Pending"
    run = gnj_here("transform", "run", id, "--here", GNJ_FETCH_ALLOW="127.0.0.1").stdout.split()[1]
    shop.pages["/feed"] = answer(b"", status=404)
    gnj_here("transform", "run", id, "--here")
    listed = gnj_here("transform", "runs", id).stdout.splitlines()
    assert listed[0].split() == ["id", "status", "started", "finished", "read", "written", "rejected", "what"]
    assert listed[1].split()[1] == "Failed"
    assert listed[1].endswith("the source answered 404 Not Found")
    assert listed[2].split()[:2] == [run, "Successful"]
    assert listed[2].split()[-4:] == ["3", "2", "1", "-"]
    assert gnj_here("transform", "runs", id, "--limit", "1").stdout.count("\n") == 2
    told = [json.loads(line) for line in gnj_here("transform", "runs", id, "--json").stdout.splitlines()]
    assert (told[1]["id"], told[1]["jobId"], told[1]["written"], told[1]["unchanged"]) == (run, id, 2, False)
    rejected = gnj_here("transform", "runs", id, "--rejected")
    assert (rejected.stderr, rejected.stdout.splitlines()[1]) == ("", "id is required and has no value  {}")
    (line,) = gnj_here("transform", "runs", id, "--rejected", "--run", run, "--json").stdout.splitlines()
    assert json.loads(line) == {"source": {}, "reasons": ["id is required and has no value"]}
    for arguments, code, message in (
        ((id, "--run", run), 2, "--run goes with --rejected"),
        ((id, "--rejected", "--run", "99"), 1, f"the transformation job {id} has no run 99"),
        ((id, "--limit", "1001"), 1, "limit must be from 0 to 1"),
        (("99",), 1, "the job does not exist"),
        (("99", "--rejected"), 1, "the job does not exist"),
    ):
        done = gnj_here("transform", "runs", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert message in done.stderr


def test_some_of_many_rejected_records_are_said_to_be_some(gnj_here, saved, shop):
    shop.pages["/feed"] = answer(b"[{}, {}, {}]", "application/json")
    id = str(saved())
    gnj_here("transform", "run", id, "--here", GNJ_FETCH_ALLOW="127.0.0.1")
    done = gnj_here("transform", "runs", id, "--rejected", "--limit", "2")
    assert (done.stdout.count("\n"), done.stderr) == (3, "2 of 3 that were rejected\n")


def test_a_source_that_has_not_changed_is_told(gnj_here, saved, shop):
    def feed(asked):
        known = asked.headers.get("if-none-match") == '"1"'
        return answer(b"" if known else b'[{"sku": 1}]', "application/json", status=304 if known else 200, etag='"1"')

    shop.pages["/feed"] = feed
    id = str(saved())
    assert "not changed" not in gnj_here("transform", "run", id, "--here", GNJ_FETCH_ALLOW="127.0.0.1").stdout
    done = gnj_here("transform", "run", id, "--here")
    assert done.stdout.splitlines()[-1] == "Successful: 0 read, 0 written, 0 rejected; the source has not changed"
    assert gnj_here("transform", "runs", id).stdout.splitlines()[1].endswith("the source has not changed")


def test_of_a_run_that_nobody_takes_is_said_who_would(gnj_here, saved, home, monkeypatch):
    id = saved()

    def sleep(_seconds: float) -> None:
        with GNJ(f"sqlite:///{home / 'gnj.db'}") as jobs:
            jobs.transform_jobs.delete_job("", id)

    monkeypatch.setattr("gnj.cli.transform._PATIENCE", 0.0)
    monkeypatch.setattr("gnj.cli.transform.time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    done = gnj_here("transform", "run", id)
    assert done.returncode == 1
    told, deleted = done.stderr.splitlines()
    assert (
        told
        == f"no worker has taken it yet: gnj serve, gnj worker --transform or gnj transform run {id} --here does it"
    )
    assert deleted == "gnj: the transformation job was deleted"


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


AWIN = """\
import gnj

jobs = gnj.GNJ("sqlite:///own.db")
handlers = gnj.Handlers()

@jobs.transform.source("Awin")
def awin(fetch):
    yield {"sku": fetch.url.rpartition("/")[2]}
"""


@pytest.fixture
def of_the_host(home) -> str:
    """The id of a job whose source a function of the application `own` reads."""
    (home / "own.py").write_text(AWIN)
    with GNJ(f"sqlite:///{home / 'own.db'}") as jobs:
        jobs.transform.source("Awin")(lambda _fetch: iter(()))
        made = jobs.transform_jobs.save_job(
            "",
            SourceInput(request=SourceRequest(type="Awin", url="http://awin.example/7")),
            MappingInput(data=[{"sourceField": "sku", "targetField": "id"}]),
            FormatInput(data={"id": {"type": "string", "attributes": ["primary"]}}),
        )
    return str(made.id)


def test_sources_of_the_host_are_read_by_what_it_has_registered(gnj_here, of_the_host):
    done = gnj_here("transform", "run", of_the_host, "own:jobs", "--here")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Successful: 1 read, 1 written, 0 rejected"
    exported = gnj_here("transform", "export", of_the_host, "--database", "sqlite:///own.db")
    assert exported.stdout == '{"id":"7"}\n'


def test_what_nobody_here_reads_is_refused_before_a_run_begins(gnj_here, of_the_host, home):
    own = ("--database", "sqlite:///own.db")
    for arguments, told in (
        ((*own, "--here"), "of the type Awin, which a function of the host reads: name the gnj.GNJ that has it, as in"),
        (("own:jobs",), "own:jobs goes with --here"),
        (("own:handlers", "--here"), "own:handlers has handlers alone"),
        (("own:nothing", "--here"), "has no nothing"),
    ):
        done = gnj_here("transform", "run", of_the_host, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in " ".join(done.stderr.split())
    with GNJ(f"sqlite:///{home / 'own.db'}") as jobs:
        assert [run.status.value for run in jobs.transform_jobs.runs("", int(of_the_host))] == ["Pending"]


def test_a_worker_reads_sources_of_the_host(start, of_the_host, home):
    start("worker", "own:jobs", "--transform", "--poll", "0.05").wait_for("gnj worker for")
    with GNJ(f"sqlite:///{home / 'own.db'}") as jobs:
        end = time.monotonic() + 30
        while (view := jobs.transform_jobs.job("", int(of_the_host))) is None or view.status in ("Pending", "Running"):
            assert time.monotonic() < end
        assert view.status == "Live"


WHOLE = """\
from ariadne import QueryType

import gnj

jobs = gnj.GNJ("sqlite:///whole.db")


@jobs.transform.source("Awin")
def awin(fetch):
    yield {"Ident": "7", "Text": "green tea"}


@jobs.transform.attribute("embedText")
def embed(text):
    return text[::-1]


@jobs.transform.generator
def propose(samples, definition):
    return [{"sourceField": "Ident", "targetField": "id"}, {"sourceField": "Text", "targetField": "name"}]


@jobs.mutation(action="enqueue")
def order_item(tx: gnj.Transaction, item: str) -> gnj.Job:
    return tx.enqueue("order", {"item": item})


@jobs.query
def answer() -> int:
    return 42


known = QueryType()
known.set_field("known", lambda *_: True)
jobs.extend("extend type Query { known: Boolean! }", [known])


@jobs.handler("order")
def order(job):
    return job.input
"""


@pytest.mark.parametrize("options", [(), ("--database", "sqlite:///other.db")])
def test_a_server_has_all_that_an_application_has_registered(start, home, options):
    (home / "whole.py").write_text(WHOLE)
    server = start("serve", "--port", "0", "--workers", "whole:jobs", *options)
    assert server.wait_for("http://").endswith("running order")
    url = server.wait_for("Transformation jobs").removeprefix("Transformation jobs at ")

    def ask(query: str, at: str = url, **variables: object) -> object:
        answered = httpx.post(at, json={"query": query, "variables": variables}, timeout=30).json()
        assert "errors" not in answered, answered
        (value,) = answered["data"].values()
        return value

    id = ask(
        "mutation ($format: JSON!) {"
        '  saveJob(source: {sourceRequest: {type: Awin, url: "http://awin.example/"}}, targetFormat: {data: $format}) }',
        # with a key, since it may have run already when it is run by hand
        format={
            "id": {"type": "string", "attributes": ["primary"]},
            "name": {"type": "string", "attributes": ["embedText"]},
        },
    )
    assert ask("mutation ($id: ID!) { runJob(id: $id) }", id=id) is True
    page = ask("query ($id: ID!) { getJobRecords(jobId: $id) { records } }", id=id)
    assert page == {"records": [{"id": "7", "name": "aet neerg"}]}
    jobs = url.replace("/transform/graphql", "/graphql")
    assert ask('mutation { orderItem(item: "tea") { type } }', jobs) == {"type": "order"}
    assert (ask("{ answer }", jobs), ask("{ known }", jobs)) == (42, True)


def test_a_worker_has_hosts_that_sources_may_be_at(start, home, saved):
    id = saved()
    start("worker", "--transform", "--poll", "0.05", "--fetch-allow", "127.0.0.1").wait_for("gnj worker for")
    with GNJ(f"sqlite:///{home / 'gnj.db'}") as jobs:
        end = time.monotonic() + 30
        while (view := jobs.transform_jobs.job("", id)) is None or view.status in ("Pending", "Running"):
            assert time.monotonic() < end
        assert view.status == "Live"


def test_a_worker_does_both_kinds(start):
    worker = start("worker", "--transform", "--content", "--database", "sqlite:///both.db")
    assert "gnj worker for content jobs, transformation jobs, 8 at once" in worker.wait_for("gnj worker for")
