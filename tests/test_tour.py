"""The tour with curl: its blocks run as they are, in one shell, and print what the page says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.serving import ROOT

PAGE = ROOT / "docs" / "curl_tour.md"
_BLOCKS = re.compile(r"^```(sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORT = "8080"
END = "== end of block =="


def steps():
    """Each block of commands with what it prints, None where the page does not say."""
    found = []
    for kind, text in _BLOCKS.findall(PAGE.read_text()):
        if kind == "sh":
            found.append([text, None])
        elif found and found[-1][1] is None:
            found[-1][1] = text
    return found


def matches(expected, printed):
    pattern = ".*?".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL)


@pytest.fixture
def port():
    """One that is free, for the one of the page."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


@pytest.fixture
def environment(tmp_path, port):
    """That of a shell in which gnj is installed; the default port is another."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("gnj", "-m gnj.cli"), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GNJ_", "PYTEST_"))}
    path = f"{programs}{os.pathsep}{kept['PATH']}"
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "GNJ_PORT": port}


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="no curl or no jq")
def test_the_tour(tmp_path, port, environment):
    found = steps()
    assert len(found) > 10
    blocks = [(commands.replace(f":{PORT}", f":{port}"), expected) for commands, expected in found]
    script = "".join(f"{commands}\necho\necho '{END}'\n" for commands, _ in blocks)
    # whatever fails, nothing that was begun in the background outlives the script
    script = f"trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n{script}"
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    printed = ran.stdout.split(f"{END}\n")
    assert printed.pop() == ""
    assert len(printed) == len(blocks)
    for (commands, expected), told in zip(blocks, printed, strict=True):
        if expected is not None:
            wanted = expected.replace(f":{PORT}", f":{port}")
            assert matches(wanted.replace("\n", ""), told.replace("\n", "")), f"{commands}\n{told}"


def test_every_block_is_typed_as_it_stands():
    blocks = _BLOCKS.findall(PAGE.read_text())
    assert blocks[0][0] == "sh"  # what a text shows was printed by commands
    assert not [text for kind, text in blocks if kind == "sh" and "…" in text]
    assert "GNJ_URL" not in PAGE.read_text()  # which means a server's GraphQL to gnj worker
