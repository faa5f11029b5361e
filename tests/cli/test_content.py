"""`gnj content`, and a worker for content jobs."""

from __future__ import annotations

import json
import time
import zipfile
from types import SimpleNamespace

import pytest

from gnj import GNJ
from gnj.access import Principal, RequestContext
from gnj.cli import serve
from gnj.cli.database import open_jobs
from gnj.cli.target import Target
from gnj.content.local_files import LocalFiles
from tests.content.fakes import FakeFiles, FakeStore

GOOD = [
    {"id": f"e{n}", "system": {"siteId": "blog", "modelId": "article"}, "content": {"title": f"T{n}"}} for n in range(3)
]


@pytest.fixture
def run(gnj_here, home):
    """Runs `gnj content` in this process on a database of its own; its lines."""
    database = f"sqlite:///{home / 'jobs.db'}"
    assert gnj_here("migrate", "--database", database).returncode == 0

    def run(command, *arguments, code=0, says="", of="acme"):
        done = gnj_here("content", command, of, *arguments, GNJ_DATABASE=database)
        assert done.returncode == code, done.stderr
        assert says in done.stderr
        assert code or bool(says) == bool(done.stderr), done.stderr
        return done.stdout.splitlines() if code == 0 else done.stderr.strip()

    return run


def test_from_a_file_to_a_file(run, home):
    (home / "in.json").write_text(json.dumps([*GOOD, {"id": "bad"}]))
    assert run("import", "in.json", "--wait") == [
        "content job 1, IMPORT_ENTRIES: Import of in.json",
        "ERROR entry 4: system.siteId is missing",
        "INFORMATION 3 entries were imported, 1 refused",
    ]
    assert run("export", "out.jsonl", "--name", "All of it") == [
        "content job 2, EXPORT_ENTRIES: All of it",
        "INFORMATION 3 entries were exported",
    ]
    found = [json.loads(line) for line in (home / "out.jsonl").read_text().splitlines()]
    assert [(each["id"], each["content"]) for each in found] == [(each["id"], each["content"]) for each in GOOD]
    newest, oldest = [json.loads(line) for line in run("jobs", "--json")]
    assert (newest["id"], newest["status"], newest["result"]) == ("2", "COMPLETED", {"exported": 3})
    assert (oldest["id"], oldest["errors"], oldest["name"]) == ("1", 1, "Import of in.json")
    assert "Import of in.json" in "\n".join(run("jobs"))
    assert [line.split(" ", 1)[1] for line in run("logs", "1")] == [
        "ERROR entry 4: system.siteId is missing",
        "INFORMATION 3 entries were imported, 1 refused",
    ]
    assert [json.loads(line)["type"] for line in run("logs", "1", "--json")] == ["ERROR", "INFORMATION"]
    (environment,) = [json.loads(line) for line in run("env", "--json")]
    assert (environment["alias"], environment["isDefault"]) == ("main", True)
    assert "main" in "\n".join(run("env"))


def test_without_wait_it_is_left_to_a_server(run, home):
    (home / "in.json").write_text(json.dumps(GOOD))
    others = f"gnj serve or gnj worker --content works it, with the files in {home / 'gnj-files'}"
    told = run("import", "in.json", "--name", "Later", says=f"{others}; gnj content logs acme 1")
    assert told == ["content job 1, IMPORT_ENTRIES: Later"]
    assert run("export", says=others) == ["content job 2, EXPORT_ENTRIES: Export"]
    assert [json.loads(line)["status"] for line in run("jobs", "--json")] == ["PENDING", "PENDING"]


def test_what_fails_says_so(run, home):
    (home / "in.json").write_text("hello")
    told = run("import", "in.json", "--wait", code=1)
    assert told.endswith("gnj: the content job 1 has ended as FAILED")
    assert run("import", "nowhere.json", code=1) == "gnj: nowhere.json: No such file or directory"
    assert run("logs", "77", code=1) == "gnj: acme has no content job 77"
    told = run("export", "--filter", '{"system": {"Foo": 1}}', code=1)
    assert told.startswith("gnj: filter: unknown key system.Foo; there are Id, SiteId, ")


def test_what_could_only_fail_makes_no_job(run, home, gnj_here):
    (home / "in.json").write_text(json.dumps(GOOD))
    with zipfile.ZipFile(home / "pictures.zip", "w") as packed:
        packed.writestr("blog/a.txt", "hello")
    assert run("import", "in.json", "--assets", code=1) == "gnj: in.json is no zip, or its end is missing"
    assert run("import", "pictures.zip", code=1) == "gnj: pictures.zip is a zip: --assets imports the assets in it"
    for nowhere in ("none/out.jsonl", "."):
        assert run("export", nowhere, code=1) == f"gnj: {nowhere} cannot be written"
    assert run("jobs", "--json") == []
    assert run("import", "pictures.zip", "--assets", "--wait")[1:] == ["INFORMATION 1 asset was imported, 0 refused"]
    for name in ("", "a/b", "-", "a" * 101):
        done = gnj_here("content", "env", "--database", f"sqlite:///{home / 'jobs.db'}", "--", name)
        assert done.returncode == 2
        assert "ORGANIZATION" in done.stderr


def test_an_export_that_stays_where_the_files_are_says_where(run, home):
    (home / "in.json").write_text(json.dumps(GOOD))
    run("import", "in.json", "--wait")
    told = run("export", "--wait")[-1]
    newest = json.loads(run("jobs", "--json")[0])
    assert told == f"the file has the key {newest['fileKey']}"


def test_of_a_long_log_the_end_is_printed(run, home):
    (home / "in.json").write_text(json.dumps([{}] * 210))
    told = run("import", "in.json", "--wait")
    assert told[1] == "11 earlier lines: gnj content logs acme 1"
    assert (len(told), told[-1]) == (202, "INFORMATION 0 entries were imported, 210 refused")


def test_a_database_without_content_says_so(gnj_here):
    done = gnj_here("content", "env", "acme", "--database", "memory://")
    assert (done.returncode, done.stdout) == (2, "")
    assert "memory://" in done.stderr


def test_a_worker_for_content_jobs_alone(start, run, home):
    (home / "in.json").write_text(json.dumps(GOOD))
    run("import", "in.json", says="works it")
    worker = start("worker", "--content", "--database", f"sqlite:///{home / 'jobs.db'}", "--poll", "0.05")
    told = worker.wait_for("gnj worker for")
    assert told.startswith("gnj worker for content jobs, 8 at once, database sqlite")
    assert told.endswith(f", files in {home / 'gnj-files'}")
    end = time.monotonic() + 30
    while (status := json.loads(run("jobs", "--json")[0])["status"]) in ("PENDING", "ACTIVE"):
        assert time.monotonic() < end
    assert status == "COMPLETED"


def test_a_worker_needs_something_to_do(gnj_here):
    done = gnj_here("worker")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "gnj: name the handlers, MODULE:ATTR, or say --content or --transform: there is nothing to run\n"
    )
    done = gnj_here("worker", "--content", "--url", "http://localhost:1/graphql")
    assert done.returncode == 2
    assert "--content goes with --database" in done.stderr


def test_who_is_let_in_insecurely_may_act_for_every_organisation():
    with GNJ("memory://") as jobs:
        serve._guard(jobs, [], insecure=True)
        assert jobs.authenticate is not None
        assert jobs.authenticate(RequestContext()) == Principal("anonymous", everywhere=True)


def test_the_store_and_the_files_of_a_hosts_application_are_those_that_are_served():
    store, files = FakeStore(), FakeFiles()
    with GNJ("memory://", content=store, files=files) as own, open_jobs(None, Target("x:y", own.handlers, own)) as jobs:
        assert (jobs.content.store, jobs.content.files) == (store, files)
    with (
        GNJ("memory://", content=store, files=files) as own,
        open_jobs(None, Target("x:y", own.handlers, own), files="here") as jobs,
    ):
        # what is said here goes before it
        assert isinstance(jobs.content.files, LocalFiles)
        assert str(jobs.content.files.root) == "here"


def test_a_server_says_where_content_is(start, home):
    server = start("serve", "--port", "0", "--files", "those")
    assert server.wait_for("Content jobs").endswith(f"/v2, files in {home / 'those'}")


def test_what_is_no_directory_is_refused_at_the_start(gnj_here, run, home):
    (home / "plain").write_text("hello")
    for command in (("serve", "--port", "0"), ("worker", "--content")):
        done = gnj_here(*command, "--files", "plain")
        assert (done.returncode > 0, done.stdout) == (True, "")
        assert done.stderr == "gnj: files: 'plain' is no directory\n"
    assert run("import", "plain", "--files", "plain", code=1) == "gnj: files: 'plain' is no directory"


def test_strict_has_the_exit_code_tell_of_what_was_refused(run, home):
    (home / "in.json").write_text(json.dumps([*GOOD, {"id": "bad"}]))
    assert run("import", "in.json", "--wait", "--strict", code=1) == "gnj: 1 entry refused"
    (home / "in.json").write_text(json.dumps(GOOD))
    assert run("import", "in.json", "--wait", "--strict")[-1] == "INFORMATION 3 entries were imported, 0 refused"
    assert run("import", "in.json", "--strict", code=2).startswith("gnj: --strict goes with --wait")
    assert len(run("jobs", "--json")) == 2


def test_an_organisation_without_content_is_told(run):
    assert run("env", "--json", says="nobody has no content yet", of="nobody") == []
    run("export", "--wait", says="there is no content of nobody in its default environment", of="nobody")


def test_whoever_waits_no_more_is_told_who_goes_on(run, home, monkeypatch):
    (home / "in.json").write_text(json.dumps(GOOD))
    # not `time.sleep` itself: other threads sleep as well
    monkeypatch.setattr("gnj.cli.content.time", SimpleNamespace(sleep=_interrupt))
    monkeypatch.setattr("gnj.queue.service.Queue.content_over", lambda *_: False)
    told = run("import", "in.json", "--wait", code=130)
    assert told == (
        "the content job 1 is not over: it goes on where gnj serve or gnj worker --content runs; gnj content logs acme 1"
    )


def _interrupt(_seconds):
    raise KeyboardInterrupt
