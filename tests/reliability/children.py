"""Processes of a test: forked from one that has imported all of gnj, so that hundreds can be started and killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Self

from benchmarks.reliability.mutations import apply_from_environment
from benchmarks.reliability.processes import forking
from benchmarks.reliability.work import end_with_parent

WAIT = 60.0
"""Seconds after which an answer that should have come counts as missing."""


@dataclass(slots=True, eq=False)
class Child:
    """One process, and the pipe it was given."""

    process: Any
    pipe: Connection

    def get(self) -> Any:
        """What it sends next."""
        assert self.pipe.poll(WAIT), "the process is silent"
        return self.pipe.recv()

    def kill(self) -> int:
        """Signal 9; its exit code."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        return self.join()

    def join(self) -> int:
        """Its exit code, when it has ended."""
        self.process.join(WAIT)
        code: int = self.process.exitcode
        return code


class Children:
    """All processes of a test."""

    def __enter__(self) -> Self:
        self._context = forking()
        self._all: list[Child] = []
        return self

    def __call__(self, target: Callable[..., None], *arguments: Any) -> Child:
        """Runs `target(*arguments, pipe)` in a process of its own."""
        mine, theirs = self._context.Pipe()
        process = self._context.Process(target=_begin, args=(target, *arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        child = Child(process, mine)
        self._all.append(child)
        return child

    def __exit__(self, *_: object) -> None:
        for child in self._all:
            child.kill()
            child.process.close()
            child.pipe.close()


def _begin(target: Callable[..., None], *arguments: Any) -> None:
    end_with_parent()
    apply_from_environment()
    target(*arguments)


def for_ever() -> None:
    """Waits to be killed."""
    threading.Event().wait()
