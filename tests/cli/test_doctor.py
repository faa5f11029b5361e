from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

import gnj
from gnj.cli import doctor_checks as checks
from gnj.cli.doctor_checks import CHECKS, Verdict, judge
from gnj.storage.sql.engine import parsed
from gnj.storage.sql.facts import COUNTED, Contents, Facts, File, Held, Indexes, Migrations, Server

OK, WARNING, PROBLEM, NONE = Verdict
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
SQLITE = Server(
    product="SQLite",
    version=(3, 40, 1),
    isolation="SERIALIZABLE",
    claim_isolation="SERIALIZABLE",
    settings={"journal_mode": "wal", "synchronous": "FULL", "busy_timeout": "5000"},
)
POSTGRESQL = Server(
    product="PostgreSQL",
    version=(15, 4),
    isolation="REPEATABLE READ",
    claim_isolation="READ COMMITTED",
    settings={"synchronous_commit": "on", "fsync": "on"},
    max_connections=97,
    connections=5,
)
MYSQL = replace(
    POSTGRESQL, product="MySQL", version=(8, 0, 40), settings={"innodb_flush_log_at_trx_commit": "1", "log_bin": "ON"}
)
MIGRATED = Migrations(current="0002", head="0002")
FILE = File(path="/data/gnj.db", writable=True, folder_writable=True, free=2**40)
CONTENTS = Contents(now=NOW, greatest={"job": 7, "batch": 3}, bytes=4096)
INDEXES = Indexes(claim="gnj_job_ready_idx", expected=27)


def facts(database="postgresql", **more):
    """A healthy database, but for what is given."""
    server = {"sqlite": SQLITE, "postgresql": POSTGRESQL, "mysql": MYSQL}[database]
    healthy = Facts(
        database=database,
        server=server,
        pool=20,
        migrations=MIGRATED,
        skew=None if database == "sqlite" else 0.01,
        file=FILE if database == "sqlite" else None,
        notified=database == "postgresql",
        notification=0.002 if database == "postgresql" else None,
        indexes=INDEXES,
        contents=CONTENTS,
    )
    return replace(healthy, **more)


def ago(**time):
    return NOW - timedelta(**time)


@pytest.mark.parametrize("database", ["sqlite", "postgresql", "mysql"])
def test_a_healthy_database(database):
    results = judge(facts(database))
    assert [result.name for result in results] == list(CHECKS)
    assert {result.verdict for result in results} <= {OK, NONE}
    assert all(result.found and not result.advice for result in results)


def settings(database, **values):
    server = facts(database).server
    return facts(database, server=replace(server, settings={**server.settings, **values}))


def server(database, **values):
    return facts(database, server=replace(facts(database).server, **values))


def contents(**values):
    return facts(contents=replace(CONTENTS, **values))


@pytest.mark.parametrize(
    "check, given, verdict, parts",
    [
        ("version", server("postgresql", version=(12, 9)), PROBLEM, ["PostgreSQL 12.9", "PostgreSQL 13 or newer"]),
        ("version", server("postgresql", version=(13, 0)), OK, []),
        ("version", server("sqlite", version=(3, 37, 2)), PROBLEM, ["3.38"]),
        ("version", server("mysql", version=(5, 7, 44)), PROBLEM, ["8.0"]),
        ("version", server("mysql", product="MariaDB", version=(10, 5)), PROBLEM, ["10.6"]),
        ("migrations", facts(migrations=Migrations(current=None, head="0002", missing=("0001", "0002"))), PROBLEM, ["no tables", "0001, 0002", "gnj migrate"]),
        ("migrations", facts(migrations=Migrations(current="0001", head="0002", missing=("0002",))), PROBLEM, ["at revision 0001", "would run 0002"]),
        ("migrations", facts("sqlite", migrations=Migrations(current="0001", head="0002", missing=("0002",))), WARNING, ["by itself"]),
        ("migrations", facts(migrations=Migrations(current="9999", head="0002", newer=True)), PROBLEM, ["9999", "newer", "upgrade gnj"]),
        ("writable", server("mysql", read_only=True), PROBLEM, ["takes no writes", "primary"]),
        ("writable", facts("sqlite", file=replace(FILE, writable=False)), PROBLEM, ["/data/gnj.db", "may only be read"]),
        ("writable", facts("sqlite", file=replace(FILE, folder_writable=False)), PROBLEM, ["folder", "beside"]),
        ("disk", facts("sqlite", file=replace(FILE, free=2**29)), WARNING, ["512 MB free", "make room"]),
        ("disk", facts("sqlite", file=replace(FILE, free=2**20)), PROBLEM, ["1.0 MB free"]),
        ("disk", facts("sqlite", file=None), NONE, []),
        ("durability", settings("sqlite", synchronous="NORMAL"), WARNING, ["synchronous=NORMAL", "acknowledged"]),
        ("durability", settings("postgresql", synchronous_commit="off"), WARNING, ["set synchronous_commit=on"]),
        ("durability", settings("postgresql", synchronous_commit="remote_apply"), OK, []),
        ("durability", settings("postgresql", fsync="off"), PROBLEM, ["fsync=on", "destroy"]),
        ("durability", settings("mysql", innodb_flush_log_at_trx_commit="2"), WARNING, ["set innodb_flush_log_at_trx_commit=1"]),
        ("durability", server("mysql", settings={}), NONE, []),
        ("journal", settings("sqlite", journal_mode="delete"), WARNING, ["journal_mode=delete", "WAL"]),
        ("journal", settings("sqlite", busy_timeout="0"), WARNING, ["busy_timeout"]),
        ("isolation", server("postgresql", claim_isolation="SERIALIZABLE"), PROBLEM, ["SERIALIZABLE", "READ COMMITTED"]),
        ("clock", facts(skew=0.99), OK, ["990 ms"]),
        ("clock", facts(skew=-3.0), WARNING, ["3.0 s behind", "harmless"]),
        ("clock", facts("mysql", skew=1.0), WARNING, ["1.0 s ahead of", "harmless"]),
        ("indexes", facts(indexes=replace(INDEXES, missing={"gnj_job_due_idx": "CREATE INDEX due"})), PROBLEM, ["missing: gnj_job_due_idx", "CREATE INDEX due"]),
        ("indexes", facts(indexes=replace(INDEXES, invalid=("gnj_job_ready_idx",))), PROBLEM, ["not valid", "REINDEX INDEX gnj_job_ready_idx", "whole backlog"]),
        ("indexes", facts(indexes=None), NONE, ["not of this version"]),
        ("notifications", facts(notification=None), WARNING, ["transaction pooler", "workers poll"]),
        ("notifications", facts(notified=False), WARNING, ["psycopg"]),
        ("connections", server("postgresql", connections=77), WARNING, ["77 of 97", "GNJ_POOL_SIZE"]),
        ("connections", server("postgresql", connections=76), OK, ["up to 21"]),
        ("connections", server("mysql", connections=None), NONE, []),
        ("ids", contents(greatest={"job": 2**30 - 1, "batch": 1}), OK, ["1,073,741,823 (job)"]),
        ("ids", contents(greatest={"job": 9, "batch": 2**30}), WARNING, ["(batch)", "50.0%", "2,147,483,647"]),
        ("ids", contents(greatest={"job": 2**31 - 1}), PROBLEM, ["GNJ_PREFIX"]),
        ("ids", facts(contents=None), NONE, ["not of this version"]),
        ("ended jobs", contents(ended=1_000_000, oldest_ended=ago(days=6)), OK, ["1,000,000 jobs ended, the oldest 6d ago", "4.0 kB"]),
        ("ended jobs", contents(ended=1_000_001, oldest_ended=ago(days=6)), WARNING, ["gnj serve", "--retention"]),
        ("ended jobs", contents(ended=COUNTED), WARNING, ["more than 2,000,000 jobs"]),
        ("ended jobs", contents(ended=1, oldest_ended=ago(days=31)), WARNING, ["nothing seems to be pruned", "jobs.prune"]),
        ("ended jobs", contents(deleted=1, oldest_deleted=ago(days=2)), OK, ["1 job deleted, the oldest 2d ago"]),
        ("ended jobs", contents(deleted=1, oldest_deleted=ago(days=4)), WARNING, ["nothing seems to be pruned"]),
        ("lost leases", contents(lost=2, oldest_lost=ago(seconds=5)), OK, ["2 leases ran out, the oldest 5s ago"]),
        ("lost leases", contents(lost=1, oldest_lost=ago(minutes=3)), WARNING, ["1 lease ran out", "start a worker"]),
        ("due jobs", contents(overdue=3, oldest_due=ago(seconds=5)), OK, ["3 jobs due"]),
        ("due jobs", contents(overdue=3, oldest_due=ago(hours=3)), WARNING, ["the first since 3h ago", "start a worker"]),
        ("holds", contents(held=(Held(type="mail", tenant="", queued=0),)), OK, ["mail keeps back 0 queued jobs"]),
        ("holds", contents(held=(Held(type="a", tenant="", queued=0), Held(type="all", tenant="acme", queued=2))), WARNING, ["every type of tenant acme keeps back 2", "gnj release all --tenant acme"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(check, given, verdict, parts):
    (result,) = (result for result in judge(given) if result.name == check)
    assert result.verdict is verdict
    assert bool(result.advice) is (verdict in (WARNING, PROBLEM))
    for part in parts:
        assert part in f"{result.found} {result.advice}"


def test_a_retention_says_how_old_ended_jobs_may_be():
    old = contents(ended=1, oldest_ended=ago(days=31))
    assert checks.ended_jobs(old, retention=40 * 86400)[0] is OK
    assert checks.ended_jobs(old, retention=7 * 86400)[0] is WARNING
    assert checks.ended_jobs(contents(ended=1, oldest_ended=ago(days=5)), retention=0)[0] is OK


@pytest.mark.parametrize(
    "count, shown", [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 kB"), (2**24, "16 MB"), (2**50, "1024 TB")]
)
def test_sizes(count, shown):
    assert checks.size(count) == shown


# The command


def database(request, backend):
    """A migrated one, with a job in each of some states."""
    url = request.getfixturevalue(f"{backend}_database")()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
        jobs.enqueue("mail")
        jobs.cancel(jobs.enqueue("mail").id)
    return url


def examined(gnj_here, url, *options):
    result = gnj_here("doctor", "--database", url, "--json", *options)
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    answer = json.loads(result.stdout)
    assert answer["ok"] is (result.returncode == 0)
    return result.returncode, {check["check"]: check for check in answer["checks"]}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql"])
def test_a_real_database(gnj_here, request, backend):
    code, found = examined(gnj_here, database(request, backend))
    assert list(found) == ["database", *CHECKS, "files", "environment"]
    # what depends on the machine that the tests run on
    dependent = {"disk", "durability", "connections", "clock"}
    rest = {name: check["verdict"] for name, check in found.items() if name not in dependent}
    assert set(rest.values()) <= {"ok", "not applicable"}, found
    assert code == any(check["verdict"] == "problem" for check in found.values())


def test_where_files_are(gnj_here, request, home):
    url = database(request, "sqlite")
    (home / "plain").write_text("hello")
    (home / "there").mkdir()
    for files, verdict, found in (
        ("there", "ok", f"{home / 'there'} can be written"),
        ("not/yet", "ok", f"{home / 'not' / 'yet'} is made when something is uploaded"),
        ("plain", "problem", "files: 'plain' is no directory"),
        ("plain/in", "problem", f"{home / 'plain'} cannot be written: it is no directory"),
    ):
        code, checks = examined(gnj_here, url, "--files", files)
        assert (checks["files"]["verdict"], checks["files"]["found"]) == (verdict, found)
        assert code == (verdict == "problem")
    assert not (home / "not").exists()


def test_variables_that_mean_nothing(gnj_here, request):
    url = database(request, "sqlite")
    slips = {"GNJ_CONTENT_MEMBERZ": "5", "GNJ_LIMIT_BODY": "7", "GNJ_CONTENT_MEMBER": "9", "GNJ_CONTENT_WORKERS": "1"}
    result = gnj_here("doctor", "--database", url, **slips)
    line = next(line for line in result.stdout.splitlines() if " environment " in line)
    assert line.split(maxsplit=2) == ["warning", "environment", "no setting: GNJ_CONTENT_MEMBERZ, GNJ_LIMIT_BODY"]


def test_words_for_a_pipe(gnj_here, request):
    url = database(request, "sqlite")
    with gnj.GNJ(url) as jobs:
        jobs.hold("mail")
    result = gnj_here("doctor", "--database", url)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("warning"))
    assert lines[place].split() == "warning holds mail keeps back 1 queued job".split()
    assert lines[place + 1].strip() == "-> gnj release mail, unless it is meant to be held"
    assert lines[-1] == "0 problems, 1 warning."
    assert "\x1b" not in result.stdout


def test_strict_takes_warnings_for_failures(gnj_here, request):
    url = database(request, "sqlite")
    assert examined(gnj_here, url, "--strict")[0] == 0
    with gnj.GNJ(url) as jobs:
        jobs.hold("mail")
    assert examined(gnj_here, url)[0] == 0
    assert examined(gnj_here, url, "--strict")[0] == 1


def test_a_file_that_does_not_exist_is_not_made(gnj_here, home):
    code, found = examined(gnj_here, "sqlite:///missing.db")
    assert code == 1
    assert list(found) == ["database", "all else"]
    assert "there is no database yet" in found["database"]["found"]
    assert "gnj migrate" in found["database"]["advice"]
    assert not (home / "missing.db").exists()


def test_memory_is_not_durable(gnj_here):
    for url in ("memory://", "sqlite://"):
        code, found = examined(gnj_here, url)
        assert (code, found["database"]["verdict"]) == (0, "warning")
        assert "not durable" in found["database"]["found"]
        assert "nothing else to check" in found["all else"]["found"]


def test_what_is_no_database(gnj_here, home):
    (home / "junk.db").write_bytes(b"no database at all " * 100)
    code, found = examined(gnj_here, "sqlite:///junk.db")
    assert (code, list(found)) == (1, ["database", "all else"])
    assert "not a SQLite database" in found["database"]["found"]


def test_a_server_that_does_not_answer(gnj_here):
    pytest.importorskip("psycopg")
    code, found = examined(gnj_here, "postgresql://somebody:s3cret@127.0.0.1:1/jobs")
    assert (code, list(found)) == (1, ["database", "all else"])
    assert "nothing answers" in found["database"]["found"]
    assert "s3cret" not in str(found)


@pytest.mark.unmigrated
@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_a_server_that_was_not_migrated_stays_so(gnj_here, request, backend):
    url = request.getfixturevalue(f"{backend}_database")()
    code, found = examined(gnj_here, url)
    assert (code, found["migrations"]["verdict"]) == (1, "problem")
    assert "gnj migrate" in found["migrations"]["advice"]
    assert found["indexes"]["verdict"] == found["ended jobs"]["verdict"] == "not applicable"
    assert "no tables" in examined(gnj_here, url)[1]["migrations"]["found"]


def test_a_file_that_was_not_migrated_stays_so(gnj_here, home):
    sqlite3.connect(home / "other.db").execute("CREATE TABLE mine (id)").connection.close()
    code, found = examined(gnj_here, "sqlite:///other.db")
    assert (code, found["migrations"]["verdict"]) == (0, "warning")
    assert "no tables" in examined(gnj_here, "sqlite:///other.db")[1]["migrations"]["found"]


def test_a_newer_database(gnj_here, request):
    url = database(request, "sqlite")
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE gnj_alembic_version SET version_num = '9999_later'")
    connection.close()
    code, found = examined(gnj_here, url)
    assert (code, found["migrations"]["verdict"]) == (1, "problem")
    assert "9999_later" in found["migrations"]["found"]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql"])
def test_an_index_that_is_missing(gnj_here, request, backend):
    url = database(request, backend)
    engine = create_engine(parsed(url))
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX gnj_job_ready_idx" + " ON gnj_job" * (backend == "mysql")))
    engine.dispose()
    code, found = examined(gnj_here, url)
    assert (code, found["indexes"]["verdict"]) == (1, "problem")
    assert "CREATE INDEX" in found["indexes"]["advice"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="capability: root may write everything")
def test_a_file_that_may_only_be_read(gnj_here, request):
    url = database(request, "sqlite")
    Path(url.removeprefix("sqlite:///")).chmod(0o444)
    code, found = examined(gnj_here, url)
    assert code == 1
    assert "read" in str(found)
