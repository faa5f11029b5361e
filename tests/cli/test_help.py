from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from gnj import __version__
from gnj.cli.commands import app

TOP = typer.main.get_command(app).commands  # type: ignore[attr-defined]
GROUPS = ("jobs", "queues", "recurring", "content", "transform", "token")
COMMANDS = {name: command for name, command in TOP.items() if name not in GROUPS} | {
    f"{group} {name}": command for group in GROUPS for name, command in TOP[group].commands.items()
}
# What these are told is about one call: only where the database is can be set for all.
OF_ONE_CALL = {"schema", "doctor", "types", "hold", "release", *(name for name in COMMANDS if name.startswith(GROUPS))}
ROOT = Path(__file__).resolve().parents[2]
OPTIONS = [
    pytest.param(name, option, id=f"{name}{option.opts[0]}")
    for name, command in COMMANDS.items()
    for option in command.params
    if option.param_type_name == "option"
]
ENVIRONMENT = {
    "database": "GNJ_DATABASE",
    "host": "GNJ_HOST",
    "port": "GNJ_PORT",
    "token": "GNJ_TOKEN",
    "retention": "GNJ_RETENTION",
    "workers": "GNJ_WORKERS",
    "fetch_allow": "GNJ_FETCH_ALLOW",
    "files": "GNJ_FILES",
    "types": "GNJ_TYPES",
    "url": "GNJ_URL",
    "concurrency": "GNJ_CONCURRENCY",
    "poll": "GNJ_POLL",
    "grace": "GNJ_GRACE",
    "log_level": "GNJ_LOG_LEVEL",
}


def test_the_commands_are_these():
    names = ["demo", "serve", "worker", "migrate", "schema", "doctor", "types", "hold", "release"]
    assert list(TOP) == [*names, *GROUPS]
    assert list(TOP["jobs"].commands) == ["list", "show", "add", "retry", "recover", "queue", "cancel", "delete"]
    assert list(TOP["queues"].commands) == ["list", "show", "pause", "resume", "drain", "clean", "limits"]
    assert list(TOP["recurring"].commands) == ["list", "add", "show", "pause", "resume", "run", "remove", "next"]
    assert list(TOP["content"].commands) == ["import", "export", "jobs", "logs", "env"]
    assert list(TOP["transform"].commands) == ["list", "run", "export", "runs"]
    assert list(TOP["token"].commands) == ["create", "list", "revoke"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself(gnj_here, name):
    result = gnj_here(*name.split(), "--help")
    assert result.returncode == 0
    assert result.stderr == ""
    for option in COMMANDS[name].params:
        assert (option.opts[0] if option.param_type_name == "option" else option.metavar) in result.stdout


@pytest.mark.parametrize("name, option", OPTIONS)
def test_an_option_says_what_it_does_and_what_happens_without_it(name, option):
    assert option.help.rstrip().endswith(".")
    assert option.default is not None or isinstance(option.show_default, str)
    if isinstance(option.default, bool):
        assert "Default: off." in option.help


@pytest.mark.parametrize("name, option", [each for each in OPTIONS if each.values[0] != "demo"])
def test_an_option_can_be_set_in_the_environment(name, option):
    lease = {"serve": "GNJ_LEASE", "worker": "GNJ_WORKER_LEASE"}.get(name)
    if name in OF_ONE_CALL and option.name not in ("database", "files"):
        expected = None
    else:
        expected = (
            None
            if option.name in ("insecure", "content", "transform")
            else lease
            if option.name == "lease"
            else ENVIRONMENT[option.name]
        )
    assert option.envvar == expected


@pytest.mark.parametrize("name, option", OPTIONS)
def test_an_option_is_in_the_documentation(name, option):
    page = (ROOT / "docs" / "cli.md").read_text()
    assert f"gnj {name}" in page
    assert f"`{option.opts[0]}" in page


def test_gnj_alone_shows_its_commands(gnj_here):
    result = gnj_here()
    assert (result.returncode, result.stderr) == (0, "")
    assert all(name in result.stdout for name in TOP)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_alone_shows_its_commands_and_nothing_else(gnj_here, group):
    result = gnj_here(group)
    assert (result.returncode, result.stderr) == (2, "")
    assert all(name in result.stdout for name in TOP[group].commands)


def test_version(gnj_here):
    result = gnj_here("--version")
    assert (result.returncode, result.stdout) == (0, f"gnj {__version__}\n")


def test_help_into_a_pipe_has_no_control_characters(gnj_here):
    assert "\x1b" not in gnj_here("serve", "--help").stdout


@pytest.mark.parametrize(
    "missing, command", [("typer", "migrate"), ("uvicorn", "serve"), ("rich", "demo"), ("httpx", "demo")]
)
def test_a_missing_extra_is_named(environment, tmp_path, missing, command):
    code = f"import sys; sys.modules[{missing!r}] = None; from gnj.cli import main; main([{command!r}])"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr == f'gnj: this needs {missing}: pip install "gnj[server]"\n'


def test_schema_prints_what_is_served(gnj_here):
    result = gnj_here("schema")
    assert (result.returncode, result.stderr) == (0, "")
    assert "type Mutation {" in result.stdout
    assert "acquireJob(" in result.stdout
