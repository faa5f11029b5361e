"""The processes of a run: each leads a group of its own, and none outlives the run, however that ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Failed(Exception):
    """A contender did not do what it was asked; the message says what it wrote."""


def call(
    command: Sequence[str], environment: Mapping[str, str], timeout: float = 600.0, cwd: Path | None = None
) -> Any:
    """Runs a command to its end; the JSON of its last line, or None where it prints nothing."""
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"{_shown(command)}: no end after {timeout:g} s") from None
        finally:
            # on the way out of Ctrl-C as well; what it started goes with it
            kill(process)
    if process.returncode:
        raise Failed(f"{_shown(command)}: {_last(errors)}")
    lines = output.strip().splitlines()
    return json.loads(lines[-1]) if lines else None


@contextmanager
def workers(
    command: Sequence[str], environment: Mapping[str, str], log: Path, processes: int = 1
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Worker processes that append their marks to `log`, for as long as the block lasts."""
    started: list[subprocess.Popen[bytes]] = []
    with errors_of(log).open("wb") as errors:
        try:
            for _ in range(processes):
                process = subprocess.Popen(
                    command,
                    env={**os.environ, **environment, "BENCH_LOG": str(log)},
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    start_new_session=True,
                )
                started.append(process)
            yield started
        finally:
            for process in started:
                kill(process)
            for process in started:
                process.wait()


def check(started: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    """Raises `Failed` when a worker has ended by itself."""
    for process in started:
        if process.poll() is not None:
            raise Failed(f"a worker ended with exit code {process.returncode}: {_last(errors_of(log).read_text())}")


def errors_of(log: Path) -> Path:
    """Where workers of a log write what they have to say."""
    return log.with_suffix(".err")


def kill(process: subprocess.Popen[Any]) -> None:
    """Ends a process and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _shown(command: Sequence[str]) -> str:
    return " ".join([Path(command[1]).name, *command[2:]]) if len(command) > 1 else command[0]


def _last(errors: str) -> str:
    lines = [line for line in errors.strip().splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-600:] or "it said nothing"
