from __future__ import annotations

import fcntl
import json
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pytest
from rich.cells import cell_len

import gnj
from gnj.cli.show import duration, first_error
from gnj.queue.model import by_wire
from gnj.queue.states import JobStatus


@pytest.fixture(params=["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgresql", "mysql"))])
def url(request):
    """A database with some jobs: 1 failed, 2 cancelled, 3 being processed, 4 and 5 queued."""
    url = request.getfixturevalue(f"{request.param}_database")()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
        jobs.enqueue("mail", {"to": "ada"}, name="one [red]\x1b[31m\nname", recoverable=True)
        (claim,) = jobs.queue.acquire(["mail"], 1, worker_id="host:1")
        jobs.queue.fail(claim, "ValueError: no\nmore", traceback="Traceback\n  a line\nValueError: no")
        jobs.cancel(jobs.enqueue("mail", {"to": "grace"}).id)
        jobs.enqueue("thumb", priority=9)
        jobs.queue.acquire(["thumb"], worker_id="host:2")
        jobs.enqueue("thumb", tenant="acme", name="n" * 300)
        jobs.enqueue("mail", {"to": "barbara"})
    return url


@pytest.fixture
def sqlite(sqlite_database):
    """One queued job."""
    url = sqlite_database()
    with gnj.GNJ(url) as jobs:
        jobs.enqueue("mail")
    return url


def listed(gnj_here, url, *options):
    result = gnj_here("jobs", "list", "--database", url, "--json", *options)
    assert (result.returncode, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def ids(gnj_here, url, *options):
    return [job["id"] for job in listed(gnj_here, url, *options)]


def refused(result, code, *parts):
    assert result.returncode == code, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("gnj: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def test_lists(gnj_here, url):
    assert ids(gnj_here, url) == [5, 4, 3, 2, 1]
    assert ids(gnj_here, url, "--type", "mail") == [5, 2, 1]
    assert ids(gnj_here, url, "--type", "mail,thumb", "--limit", "2") == [5, 4]
    assert ids(gnj_here, url, "--status", "failed", "--status", "cancelled, processing") == [3, 2, 1]
    assert ids(gnj_here, url, "--type", "mail", "--status", "queued") == [5]
    assert ids(gnj_here, url, "--tenant", "acme") == [4]
    assert ids(gnj_here, url, "--tenant", "") == [5, 3, 2, 1]
    assert ids(gnj_here, url, "--where", '{"input": {"to": {"startsWith": "g"}}}') == [2]
    assert ids(gnj_here, url, "--order", "reverse:priorityLevel,id") == [3, 1, 2, 4, 5]
    assert ids(gnj_here, url, "--order", "-priorityLevel, -id", "--limit", 2) == [3, 5]
    assert ids(gnj_here, url, "--type", "mail", "--status", "planned") == []


def test_json_has_the_names_of_the_wire(gnj_here, url):
    (job,) = listed(gnj_here, url, "--tenant", "acme")
    assert set(job) == {*by_wire(gnj.Job), "tenant"}
    assert job["tenant"] == "acme"
    assert job["priorityLevel"] == 4
    assert job["status"] == "queued"
    assert job["createdAt"].endswith("Z")
    assert len(job["createdAt"]) == len("2030-01-31T12:00:00.000Z")


def test_a_table_in_a_pipe_is_plain_and_whole(gnj_here, url):
    result = gnj_here("jobs", "list", "--database", url)
    assert (result.returncode, result.stderr) == (0, "")
    head, *rows = result.stdout.splitlines()
    assert head.split() == "id type name status priority attempt age worker error".split()
    assert [row.split()[0] for row in rows] == ["5", "4", "3", "2", "1"]
    assert "n" * 300 in rows[1]
    assert rows[2].split()[:6] == ["3", "thumb", "-", "processing", "9", "1"]
    assert "host:2" in rows[2]
    assert "one [red]\\x1b[31m name" in rows[4]
    assert rows[4].endswith("ValueError: no")


@pytest.mark.parametrize(
    "options, parts",
    [
        (["--status", "quued"], ["'quued'", "planned, queued, processing, cancel-requested"]),
        (["--type", "mial"], ["'mial'", "there are: mail"]),
        (["--type", "mail,mial", "--status", "planned"], ["'mial'"]),
        (["--where", "{"], ["--where must be JSON"]),
        (["--where", "[" * 100_000], ["--where must be JSON"]),
        (["--where", "3"], ["--where", "an object"]),
        (["--where", '{"nope": 1}'], ["--where", "'nope'", "workerId"]),
        (["--where", '{"id": {"nope": 1}}'], ["--where", "'nope'", "notBetween"]),
        (["--order", "nope"], ["--order", "'nope'", "priorityLevel"]),
        (["--order", "input"], ["--order", "JSON"]),
        (["--order", ""], ["--order"]),
        (["--limit", "0"], ["--limit"]),
        (["--limit", "10001"], ["--limit"]),
        (["--frobnicate"], ["gnj jobs list --help"]),
    ],
)  # fmt: skip
def test_the_impossible_is_refused_in_one_line(gnj_here, sqlite, options, parts):
    refused(gnj_here("jobs", "list", "--database", sqlite, *options), 2, *parts)


def test_a_database_without_jobs_knows_no_types_to_name(gnj_here, sqlite_database):
    url = sqlite_database()
    with gnj.GNJ(url) as jobs:
        jobs.migrate()
    assert listed(gnj_here, url, "--type", "mail") == []
    result = gnj_here("jobs", "list", "--database", url)
    assert result.stdout.split()[0] == "id"


@pytest.mark.unmigrated
@pytest.mark.parametrize(
    "command", [["jobs", "list"], ["jobs", "show", "1"], ["jobs", "cancel", "1"], ["types"], ["hold", "a"], ["release", "a"]]
)  # fmt: skip
def test_only_a_database_that_is_there(gnj_here, home, postgresql_database, command):
    refused(gnj_here(*command), 1, "sqlite:///gnj.db", "there is no database yet")
    assert not (home / "gnj.db").exists()
    refused(gnj_here(*command, "--database", "memory://"), 2, "memory://", "inside one process")
    refused(gnj_here(*command, "--database", postgresql_database()), 1, "gnj migrate")
    refused(gnj_here(*command, "--database", "nosuch://a"), 1, "nosuch://")


def test_a_job_is_shown(gnj_here, url):
    result = gnj_here("jobs", "show", "1", "--database", url)
    assert (result.returncode, result.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in result.stdout.partition("\n\n")[0].splitlines())
    assert shown["status"] == "failed"
    assert shown["input"] == '{"to": "ada"}'
    assert shown["createdAt"].endswith("ago)")
    assert "maxAttempts" not in shown
    attempt, *trace = result.stdout.partition("\n\n")[2].splitlines()
    assert attempt.startswith("attempt 1: failed by host:1, ")
    assert [line.strip() for line in trace] == ["Traceback", "a line", "ValueError: no"]
    assert "\x1b" not in result.stdout


def test_a_job_is_shown_to_scripts(gnj_here, url):
    job = json.loads(gnj_here("jobs", "show", "1", "--database", url, "--json").stdout)
    assert job["output"] == {"error": "ValueError: no\nmore"}
    assert {"leaseSeconds", "replacedByJobId", "customId", "tenant"} <= set(job)
    (attempt,) = job["attempts"]
    assert (attempt["jobId"], attempt["outcome"], attempt["workerId"]) == (1, "failed", "host:1")
    assert attempt["error"].startswith("Traceback\n")


def test_a_deleted_job_is_shown(gnj_here, sqlite):
    assert gnj_here("jobs", "delete", "1", "--yes", "--database", sqlite).returncode == 0
    assert "deletedAt" in gnj_here("jobs", "show", "1", "--database", sqlite).stdout
    refused(gnj_here("jobs", "show", "2", "--database", sqlite), 1, "there is no job 2")


def test_commands_go_through_all_ids(gnj_here, url):
    result = gnj_here("jobs", "retry", "1", "99", "3", "2", "1", "--database", url)
    assert (result.returncode, result.stderr) == (1, "")
    first, *refusals, last = result.stdout.splitlines()
    assert first == "1: retried as job 6"
    assert refusals == ["99: The job does not exist.", "3: The job must be failed or cancelled."]
    assert last == "2: retried as job 7"


def test_commands_tell_scripts(gnj_here, url):
    result = gnj_here("jobs", "recover", "1", "99", str(2**70), "--json", "--database", url)
    assert (result.returncode, result.stderr) == (1, "")
    done, missing, odd = (json.loads(line) for line in result.stdout.splitlines())
    assert (done["id"], done["ok"], done["job"]["status"]) == (1, True, "queued")
    assert missing == {"id": 99, "ok": False, "code": "JOB_NOT_FOUND", "error": missing["error"]}
    assert odd["code"] == "INVALID_INPUT"


def test_cancel_and_delete(gnj_here, url):
    result = gnj_here("jobs", "cancel", "3", "4", "--database", url)
    assert (result.returncode, result.stdout) == (0, "3: its worker is asked to stop\n4: cancelled\n")
    result = gnj_here("jobs", "delete", "4", "3", "--yes", "--database", url)
    assert result.returncode == 1
    assert result.stdout.splitlines()[0] == "4: deleted"
    assert result.stdout.splitlines()[1].startswith("3: ")
    assert ids(gnj_here, url) == [5, 3, 2, 1]


def test_a_job_that_a_lost_lease_holds_is_queued(gnj_here, sqlite):
    with gnj.GNJ(sqlite) as jobs:
        held = jobs.enqueue("held", on_lost="hold")
        jobs.queue.acquire(["held"], lease=0.01)
        deadline = time.monotonic() + 10
        while not jobs.queue.reap(force=True):
            assert time.monotonic() < deadline
        assert jobs.count(id=held.id, status="planned") == 1
        result = gnj_here("jobs", "queue", str(held.id), "--database", sqlite)
        assert (result.returncode, result.stdout) == (0, f"{held.id}: queued\n")
        assert jobs.count(id=held.id, status="queued") == 1


@pytest.mark.parametrize("command", ["show", "retry"])
def test_an_id_that_no_database_has(gnj_here, sqlite, command):
    result = gnj_here("jobs", command, str(10**23), "--database", sqlite)
    assert result.returncode == 1
    assert "id must be from" in result.stdout + result.stderr


def test_a_delete_without_a_terminal_needs_a_yes(gnj_here, sqlite):
    refused(gnj_here("jobs", "delete", "1", "--database", sqlite), 2, "--yes")
    assert ids(gnj_here, sqlite) == [1]


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "x"], ["show"], ["show", "x"], ["frobnicate"]])
def test_ids_are_numbers(gnj_here, sqlite, arguments):
    refused(gnj_here("jobs", *arguments, GNJ_DATABASE=sqlite), 2, "gnj jobs")


def test_jobs_alone_shows_what_there_is(gnj_here):
    result = gnj_here("jobs")
    assert "retry" in result.stdout + result.stderr


# On a terminal


# the terminal of the process, so that Ctrl-C reaches it; what a shell starts in the background ignores that signal
_ON_A_TERMINAL = """\
import fcntl, signal, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
from gnj.cli import main
main()
"""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, arguments, home, environment, columns):
        self._own, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environment = {k: v for k, v in environment.items() if k != "COLUMNS"} | {"TERM": "xterm-256color"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ON_A_TERMINAL, *map(str, arguments)],
            cwd=home,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""

    def read(self, until=None):
        """Reads to the end, or until there is a text."""
        deadline = time.monotonic() + 30
        while until is None or until not in self.text:
            assert select.select([self._own], [], [], max(0, deadline - time.monotonic()))[0], self.text
            try:
                part = os.read(self._own, 65536).decode()
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            self.text += part.replace("\r\n", "\n")
        return self.text

    def write(self, text):
        os.write(self._own, text.encode())

    def end(self):
        self.read()
        os.close(self._own)
        self.text = re.sub(r"\x1b\[[0-9;]*m", "", self.text)
        return self._process.wait(30)


@pytest.fixture
def terminal(home, environment):
    return lambda *arguments, columns=100: Terminal(arguments, home, environment, columns)


@pytest.mark.parametrize("columns", [70, 80, 120, 200])
def test_a_table_fits_the_terminal(terminal, sqlite, columns):
    with gnj.GNJ(sqlite) as jobs:
        jobs.enqueue("mail", name="名" * 40)
        jobs.enqueue("mail", name="x" * 300)
    shown = terminal("jobs", "list", "--database", sqlite, columns=columns)
    assert shown.end() == 0
    head, first, *_ = shown.text.splitlines()
    assert head.split() == "id type name status priority attempt age worker error".split()
    assert "xx…" in first
    assert "queued" in first
    assert all(cell_len(line) <= columns for line in shown.text.splitlines())


def test_more_than_is_shown(terminal, sqlite):
    shown = terminal("jobs", "list", "--limit", 1, "--database", sqlite)
    assert shown.end() == 0
    assert "--limit shows more" in shown.text


@pytest.mark.parametrize("answer, code, left", [("y\n", 0, []), ("n\n", 1, [1]), ("\n", 1, [1]), ("\x03", 130, [1])])
def test_a_delete_is_asked_for(terminal, gnj_here, sqlite, answer, code, left):
    asked = terminal("jobs", "delete", "1", "--database", sqlite)
    asked.read("Delete 1 job (1)? [y/N]:")
    asked.write(answer)
    assert asked.end() == code
    assert ids(gnj_here, sqlite) == left


def test_a_yes_is_not_asked_for(terminal, gnj_here, sqlite):
    assert terminal("jobs", "delete", "1", "--yes", "--database", sqlite).end() == 0
    assert ids(gnj_here, sqlite) == []


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["jobs", "show", "1"], ["status", "queued"]),
        (["types"], ["mail", *JobStatus]),
        (["doctor"], ["verdict", "migrations", "not applicable", "All is well."]),
    ],
)
def test_the_others_on_a_terminal(terminal, sqlite, arguments, parts):
    shown = terminal(*arguments, "--database", sqlite)
    assert shown.end() == 0
    for part in parts:
        assert part in shown.text


@pytest.mark.parametrize(
    "seconds, shown",
    [(-3, "0s"), (0.9, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (3 * 86400, "3d")],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    "output, shown",
    [
        (None, ""),
        ("error", ""),
        ({"error": "a\nb"}, "a"),
        ({"error": ""}, ""),
        ({"error": {"code": 7}}, '{"code": 7}'),
        ({"cancelMessage": "enough"}, "enough"),
        ({"size": 3}, ""),
    ],
)
def test_the_first_line_of_an_error(output, shown):
    assert first_error(output) == shown
