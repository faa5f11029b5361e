from __future__ import annotations

import socket
import sqlite3

import pytest

from gnj.cli.output import printable, shown_url
from gnj.storage.sql.migrate import revisions

NAMES_HANDLERS = "give module:attr, such as app:jobs"


def refused(result, code, *parts):
    """The command said one plain line, with all of `parts`, and nothing else."""
    assert result.returncode == code, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("gnj: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["frobnicate"], ["frobnicate", "gnj --help"]),
        (["serve", "--frobnicate"], ["--frobnicate", "gnj serve --help"]),
        (["serve", "--port", "99999"], ["--port"]),
        (["serve", "--port", "http"], ["--port"]),
        (["serve", "--grace", "-1"], ["--grace"]),
        (["serve", "--lease", "soon"], ["--lease"]),
        (["serve", "--log-level", "loud"], ["--log-level", "warning"]),
        (["serve", "--token", " "], ["the token is empty"]),
        (["serve", "--host", "no.such.host.invalid"], ["no.such.host.invalid"]),
        (["serve", "--host", "0.0.0.0", "--port", "0"], ["0.0.0.0", "GNJ_TOKEN", "--insecure"]),
        (["serve", "--fetch-allow", "http://127.0.0.1:8901/"], ["--fetch-allow", "host or host:port, without http://"]),
        (["worker", "--transform", "--fetch-allow", "10.0.0.0/8"], ["--fetch-allow", "host or host:port"]),
        (["worker", "--transform", "--fetch-allow", "a b"], ["--fetch-allow", "is no host"]),
        (["serve", "--workers", "app:missing"], ["app", "missing"]),
        (["worker"], ["MODULE:ATTR"]),
        (["worker", "app"], ["'app'", NAMES_HANDLERS]),
        (["worker", "app:"], ["'app:'", NAMES_HANDLERS]),
        (["worker", ":jobs"], ["':jobs'", NAMES_HANDLERS]),
        (["worker", "../app:jobs"], ["'../app:jobs'", NAMES_HANDLERS]),
        (["worker", "missing:jobs"], ["there is no module missing", "looked in"]),
        (["worker", "app.sub:jobs"], ["app.sub"]),
        (["worker", "app.py:jobs"], ["app:jobs?"]),
        (["worker", "app:missing"], ["has no missing"]),
        (["worker", "app:jobs.missing"], ["has no jobs.missing"]),
        (["worker", "os:path"], ["os:path is a module", "gnj.GNJ or a gnj.Handlers"]),
        (["worker", "app:nothing"], ["app:nothing has no handlers"]),
        (["worker", "broken:jobs"], ["broken cannot be imported: ZeroDivisionError: division by zero"]),
        (["worker", "needy:jobs"], ["needy cannot be imported: No module named 'gnj_needs_this'"]),
        (["worker", "leaving:jobs"], ["leaving cannot be imported: SystemExit: 0"]),
        (["worker", "app:handlers", "--types", "echo,other"], ["no handler for other", "echo, nap"]),
        (["worker", "app:handlers", "--concurrency", "0"], ["--concurrency"]),
        (["worker", "app:handlers", "--database", "memory://"], ["memory://", "--workers"]),
        (["migrate", "--database", "memory://"], ["memory://"]),
        (["demo", "app.py"], ["app.py is no folder"]),
        (["demo", "missing"], ["there is no folder missing"]),
        (["demo", "--database", "memory://"], ["memory://"]),
    ],
)  # fmt: skip
def test_the_impossible_is_refused_in_one_line(gnj_here, home, arguments, parts):
    (home / "broken.py").write_text("1 / 0")
    (home / "needy.py").write_text("import gnj_needs_this")
    (home / "leaving.py").write_text("raise SystemExit(0)")
    refused(gnj_here(*arguments), 2, *parts)


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["worker", "app:handlers"], ["migrate"]])
@pytest.mark.parametrize(
    "database, part",
    [
        ("nosuch://host/name", "nosuch://"),
        ("gnj.db", "database URL"),
        ("sqlite:////no/such/folder/gnj.db", "no/such/folder"),
    ],
)
def test_a_database_that_is_none(gnj_here, command, database, part):
    refused(gnj_here(*command, "--database", database), 1, part)


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["worker", "app:handlers"], ["migrate"], ["demo"]])
def test_a_database_that_cannot_be_reached(gnj_here, command):
    pytest.importorskip("psycopg")
    result = gnj_here(*command, "--database", "postgresql://somebody:s3cret@127.0.0.1:1/jobs")
    refused(result, 1)
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["worker", "app:handlers"], ["migrate"], ["demo"]])
def test_a_database_newer_than_the_code(gnj_here, home, command):
    assert gnj_here("migrate").returncode == 0
    with sqlite3.connect(home / "gnj.db") as connection:
        connection.execute("UPDATE gnj_alembic_version SET version_num = '9999_later'")
    connection.close()
    refused(gnj_here(*command, "--database", "sqlite:///gnj.db"), 1, "9999_later", "newer")


@pytest.mark.unmigrated
@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["worker", "app:handlers"]])
def test_a_server_that_was_not_migrated(gnj_here, postgresql_database, command):
    refused(gnj_here(*command, "--database", postgresql_database()), 1, "gnj migrate")


def test_a_port_in_use(gnj_here):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(gnj_here("serve", "--port", port), 1, f"port {port}", "in use", "--port")


@pytest.mark.parametrize("lease", ["-1", "0", "nan", "inf", "1e9"])
def test_a_lease_that_is_none(gnj_here, lease):
    refused(gnj_here("serve", "--port", "0", "--lease", lease), 1, "lease")


def test_a_bad_variable_of_an_option_is_named(gnj_here):
    refused(gnj_here("serve", GNJ_LEASE="soon"), 2, "GNJ_LEASE")


def test_a_bad_variable_of_a_setting_is_named(gnj_here):
    refused(gnj_here("migrate", GNJ_POOL_SIZE="many"), 1, "GNJ_POOL_SIZE", "many")


@pytest.mark.parametrize("region", ["Germany", "XX"])
def test_a_country_that_is_none_is_told_before_anything_is_served(gnj_here, region):
    refused(gnj_here("serve", "--port", "0", GNJ_PHONE_REGION=region), 1, "phone_region must be the two ", region)


def test_debug_shows_where(gnj_here):
    result = gnj_here("worker", "missing:jobs", GNJ_DEBUG="1")
    assert result.returncode == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("gnj: there is no module missing")


@pytest.mark.parametrize(
    "url, shown",
    [
        ("sqlite:///gnj.db", "sqlite:///gnj.db"),
        ("postgresql://user@host/name", "postgresql://user@host/name"),
        ("postgresql://user:pass@host/name", "postgresql://user:***@host/name"),
        ("postgresql+psycopg://user:p/a:s?s@host/name", "postgresql+psycopg://user:***@host/name"),
        ("postgresql://host/name?user=me&password=secret&x=1", "postgresql://host/name?user=me&password=***&x=1"),
        ("sqlite:///a\nb", "sqlite:///a b"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain", "plain"),
        ("a\r\n  b\tc", "a b\\tc"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\udcff", "\\udcff"),
        ("ü€", "ü€"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@pytest.mark.unmigrated
def test_the_database_of_a_module_is_migrated(gnj_here, home, postgresql_database):
    url = postgresql_database()
    (home / "shop.py").write_text(f"import gnj\njobs = gnj.GNJ({url!r})\nhandlers = gnj.Handlers()\n")
    done = gnj_here("migrate", "shop:jobs")
    assert (done.returncode, done.stdout[:10]) == (0, "postgresql")
    assert done.stdout.strip().endswith(f" was migrated from no tables to {revisions()[-1]}.")
    assert gnj_here("migrate", "shop:jobs").stdout.strip().endswith(" is up to date.")
    assert not (home / "gnj.db").exists()
    assert gnj_here("migrate", "shop:handlers").stderr.startswith("gnj: shop:handlers is a gnj.Handlers, which has no")
