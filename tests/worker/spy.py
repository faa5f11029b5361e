"""A source that tells the tests what a worker asks, and fails when they say so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from gnj.queue.errors import StorageUnavailable
from gnj.worker.source import QueueSource

WAIT = 10.0
"""Seconds after which what a test waits for counts as never going to happen."""


class Spy(QueueSource):
    """A `QueueSource` whose calls can be watched, cut off, and told without an answer."""

    def __init__(self, queue, lease=30.0, **options):
        super().__init__(queue, lease=lease, **options)
        self.calls = []
        """(name, how many claims or jobs it was about), in order."""
        self.told: SimpleQueue[Any] = SimpleQueue()
        """(outcome, result) of every outcome that was told and answered."""
        self.cut = set()
        """Names of calls that cannot reach the queue."""
        self.deaf = set()
        """Names of calls that are carried out and whose answer gets lost."""
        self.failure = StorageUnavailable("cut off")
        self._changed = threading.Condition()

    def claim(self, types, limit):
        return self._call("claim", lambda: super(Spy, self).claim(types, limit), lambda jobs: (limit, len(jobs)))

    def renew(self, claims):
        return self._call("renew", lambda: super(Spy, self).renew(claims), len)

    def settle(self, outcomes):
        results = self._call("settle", lambda: super(Spy, self).settle(outcomes), len)
        for pair in zip(outcomes, results, strict=True):
            self.told.put(pair)
        return results

    def progress(self, claim, info):
        return self._call("progress", lambda: super(Spy, self).progress(claim, info), lambda _: 1)

    def release(self, claims):
        return self._call("release", lambda: super(Spy, self).release(claims), len)

    def listening(self):
        return self._call("listen", super().listening, lambda _: 1)

    def outcome(self):
        """The next outcome that was told, and the result."""
        return self.told.get(timeout=WAIT)

    def outcomes(self, count):
        return [self.outcome() for _ in range(count)]

    def made(self, name):
        """What the calls of that name were about."""
        return [about for call, about in list(self.calls) if call == name]

    def wait_for(self, name, count=1):
        """Returns when `count` calls of that name have been made, failed ones too."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.made(name)) >= count, WAIT), f"no {name}"

    def wait_for_next(self, name, count=1):
        """Returns when `count` more calls of that name have been made, failed ones too."""
        self.wait_for(name, len(self.made(name)) + count)

    def _call(self, name, call, about):
        try:
            self._fail_if(name in self.cut)
            answer = call()
            self._fail_if(name in self.deaf)
        except Exception as error:
            self._note(name, error)
            raise
        self._note(name, about(answer))
        return answer

    def _fail_if(self, failing):
        if failing:
            raise self.failure

    def _note(self, name, about):
        with self._changed:
            self.calls.append((name, about))
            self._changed.notify_all()


def until(condition: Callable[[], object], within: float = WAIT) -> None:
    """Looks again and again, for what nobody rings a bell about."""
    pause = threading.Event()
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        pause.wait(0.002)


async def see(event: threading.Event) -> None:
    """`event.wait()` of an event loop."""
    while not event.is_set():  # noqa: ASYNC110 - another thread sets it
        await asyncio.sleep(0.001)


@contextmanager
def at_most(seconds):
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun <= seconds
