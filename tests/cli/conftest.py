"""Runs `gnj` as users do: as a process, in a folder of its own, with nothing of this environment."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gnj import cli

_TARGETS = {"app", "broken", "needy", "leaving"}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
ROOT = Path(__file__).resolve().parents[2]
HANDLERS = """\
import time
import gnj

handlers = gnj.Handlers()

@handlers.handler("echo")
def echo(job):
    return job.input

@handlers.handler("nap")
def nap(job, ctx):
    ctx.progress({"begun": True})
    time.sleep(job.input)
    return "rested"

jobs = gnj.GNJ("sqlite:///own.db")
jobs.handler("echo")(echo)
nothing = gnj.Handlers()
"""


class Command:
    """A running `gnj`; its stdout is read as it comes."""

    def __init__(self, arguments, cwd, env):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gnj.cli", *arguments],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))
            if lines is self.lines:
                self._new.put(line.rstrip("\n"))

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """The first line of stdout, not looked at yet, that contains `text`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                line = self._new.get(timeout=0.05)
            except queue.Empty:
                assert self.process.poll() is None, (self.lines, self.errors)
                continue
            if text in line:
                return line
        raise AssertionError((text, self.lines, self.errors))

    def url(self) -> str:
        line = self.wait_for("http://")
        return next(word for word in line.split() if word.startswith("http://")).split("/graphql")[0]

    def signal(self, number: int) -> float:
        """Sends a signal; the seconds until the end."""
        begin = time.monotonic()
        self.process.send_signal(number)
        self.wait()
        return time.monotonic() - begin

    def wait(self, seconds: float = 60) -> int:
        code = self.process.wait(seconds)
        for thread in self._threads:
            thread.join(5)
        return code

    def end(self):
        if self.process.poll() is None:
            # a stopped demo stops its children; a killed one could not
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for thread in self._threads:
            thread.join(5)
        self.process.__exit__(None, None, None)


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Of every command: none of this machine's settings, a temporary folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GNJ_", "PYTEST_"))}
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return kept | {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "TMPDIR": str(temporary),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The working directory of every command; `app.py` in it has handlers."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "app.py").write_text(HANDLERS)
    return folder


@pytest.fixture
def gnj(home, environment) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command to its end."""

    def run(*arguments, **more):
        return subprocess.run(
            [sys.executable, "-m", "gnj.cli", *map(str, arguments)],
            cwd=home,
            env=environment | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def gnj_here(home, environment, monkeypatch, capfd) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs a command that ends by itself in this process, ten times faster than in one of its own."""
    for name in os.environ:
        if name.startswith("GNJ_"):
            monkeypatch.delenv(name)
    for name in ("COLUMNS", "NO_COLOR", "TMPDIR"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    root = logging.getLogger()
    before = (root.level, [*root.handlers], {number: signal.getsignal(number) for number in _SIGNALS})

    def run(*arguments, **more):
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main([*map(str, arguments)])
        out, error = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, out, error)

    yield run
    for name in _TARGETS & (set(sys.modules) - known):
        del sys.modules[name]
    root.level, root.handlers[:] = before[0], before[1]
    for number, handler in before[2].items():
        signal.signal(number, handler)


@pytest.fixture
def start(home, environment) -> Iterator[Callable[..., Command]]:
    """Starts a command, which is ended with the test at the latest."""
    commands: list[Command] = []

    def begin(*arguments, **more):
        commands.append(Command([*map(str, arguments)], home, environment | more))
        return commands[-1]

    yield begin
    for command in reversed(commands):
        command.end()
