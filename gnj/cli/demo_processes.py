"""The processes of the demo, and their certain end."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

from gnj.cli.output import CommandError, printable

_STOP_SECONDS = 1.2
_START_SECONDS = 30.0


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal: everything ends."""


class Interrupts:
    """Turns the signals that end a program into `Interrupted`: raised once, inside `allowed`, and never inside `shield`.

    What is set up and torn down outside of `allowed` therefore is so completely, whenever the signal comes.
    """

    def __init__(self) -> None:
        self._depth = 1
        self._pending = False
        self._raised = False
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if (number := getattr(signal, name, None)) is not None:
                self._before[number] = signal.signal(number, self._come)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _come(self, _number: int, _frame: FrameType | None) -> None:
        if self._depth:
            self._pending = True
        elif not self._raised:
            self._raised = True
            raise Interrupted

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """What is done inside may be interrupted anywhere."""
        self._depth -= 1
        try:
            self._raise_pending()
            yield
        finally:
            self._depth += 1

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """What is begun inside is finished: a process that was started is one that is known."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        self._raise_pending()

    def _raise_pending(self) -> None:
        if self._pending and not self._depth and not self._raised:
            self._raised = True
            raise Interrupted


class Child:
    """A `gnj` command running in a process of its own; it is up when it has printed its first line.

    Args:
        arguments: The command line behind `gnj`.
        environment: More variables.
        log: Where its stderr goes.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._name = f"gnj {arguments[0]}"
        self._log = log
        self.line = ""
        """What it printed when it was up."""
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 - a command line of ours
                # -P: a file of the working directory must not stand in for a module of Python's own
                [sys.executable, "-P", "-m", "gnj.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(environment),
                text=True,
                # a terminal's Ctrl-C is for the demo, which then ends its children in order
                process_group=0 if os.name == "posix" else None,
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def wait_until_up(self) -> str:
        """The first line it prints. Raises `CommandError`, with its own words, when it ends instead."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                self.line = self._lines.get(timeout=0.05)
                if self.line:
                    return self.line
            self.check()
        raise CommandError(f"{self._name} was not up after {_START_SECONDS:g} s", exit_code=1)

    def check(self) -> None:
        """Raises `CommandError` when the process has ended, which it does only when told to."""
        if (code := self._process.poll()) is not None:
            words = self._log.read_text("utf-8", "replace").strip().splitlines()
            said = words[-1].removeprefix("gnj: ") if words else f"exit code {code}"
            raise CommandError(f"{self._name} ended by itself: {printable(said)}", exit_code=1)

    def kill(self) -> None:
        """Signal 9: no time for anything."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stops it where it stands, on systems that can."""
        if os.name == "posix":
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        if os.name == "posix":
            self._process.send_signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Waits for the end; signal 9 when it does not come in time."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            with contextlib.suppress(ValueError, OSError):
                for line in stdout:
                    self._lines.put(line.rstrip())


class Children:
    """All processes of the demo, with the folder of their logs. Leaving the block ends them, whatever happened in it."""

    def __init__(self, interrupts: Interrupts, home: Path) -> None:
        self._interrupts = interrupts
        self._home = home
        self._all: list[Child] = []
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._all:
            child.ask_to_stop()
        deadline = time.monotonic() + _STOP_SECONDS
        for child in self._all:
            child.wait(deadline - time.monotonic())

    def start(self, *arguments: str, **environment: str) -> Child:
        """One more."""
        with self._interrupts.shield():
            self._started += 1
            child = Child(arguments, environment, self._home / f"{self._started}-{arguments[0]}.log")
            self._all.append(child)
        child.wait_until_up()
        return child

    def kill(self, child: Child) -> None:
        """Ends one with signal 9."""
        with self._interrupts.shield():
            child.kill()
            child.wait(0)
            self._all.remove(child)

    def check(self) -> None:
        """Raises `CommandError` when one has ended that was not killed by us."""
        for child in self._all:
            child.check()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what it says of other servers and databases."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GNJ_")}
    environment |= more
    root = str(Path(__file__).resolve().parents[2])
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        # gnj runs from its source: a child has to find it wherever it starts
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, path)))
    return environment
