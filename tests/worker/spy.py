"""A source that tells the tests what a worker asks, and fails when they say so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from gnj.queue.errors import StorageUnavailable
from gnj.queue.model import Job
from gnj.worker.remote import RemoteSource
from gnj.worker.source import QueueSource

if TYPE_CHECKING:
    _Source = QueueSource  # or any other
else:
    _Source = object

WAIT = 10.0
"""Seconds after which what a test waits for counts as never going to happen."""
_PULSE = 0.02
OWN = ("gnj-claim", "gnj-settle", "gnj-heartbeat", "gnj-job", "gnj-async")
"""How the names of a worker's own threads begin: a server in the same process has others."""


class Watched(_Source):
    """A source whose calls can be watched, cut off, and told without an answer; mixed into one."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.calls: list[tuple[str, Any]] = []
        """(name, how many claims or jobs it was about), in order."""
        self.told: SimpleQueue[Any] = SimpleQueue()
        """(outcome, result) of every outcome that was told and answered."""
        self.cut: set[str] = set()
        """Names of calls that cannot reach the queue."""
        self.deaf: set[str] = set()
        """Names of calls that are carried out and whose answer gets lost."""
        self.failure: Exception = StorageUnavailable("cut off")
        self._changed = threading.Condition()

    def claim(self, types, limit, slots=None):
        more = () if slots is None else (slots,)
        return self._call(
            "claim", lambda: super(Watched, self).claim(types, limit, *more), lambda jobs: (limit, len(jobs))
        )

    def renew(self, claims):
        return self._call("renew", lambda: super(Watched, self).renew(claims), len)

    def settle(self, outcomes):
        results = self._call("settle", lambda: super(Watched, self).settle(outcomes), len)
        for outcome, result in zip(outcomes, results, strict=True):
            # a success is the job's last change
            self.told.put((outcome, self.queue.get(Job, outcome.claim.id) if result is None else result))
        return results

    def progress(self, claim, info):
        return self._call("progress", lambda: super(Watched, self).progress(claim, info), lambda _: 1)

    def release(self, claims):
        return self._call("release", lambda: super(Watched, self).release(claims), lambda _: len(claims))

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


class Spy(Watched, QueueSource):
    """A watched `QueueSource`."""

    def __init__(self, queue, lease=30.0, **options):
        super().__init__(queue, lease=lease, **options)


class FarSpy(Watched, RemoteSource):
    """A watched `RemoteSource`."""


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
    """What is done within takes no longer; moments in which the machine lets this process do nothing do not count."""
    over, stalled = threading.Event(), 0.0

    def watch() -> None:
        nonlocal stalled
        seen = time.monotonic()
        while not over.wait(_PULSE):
            now = time.monotonic()
            if now - seen > 2 * _PULSE:
                stalled += now - seen - _PULSE
            seen = now

    watcher = threading.Thread(target=watch, name="pulse", daemon=True)
    watcher.start()
    begun = time.monotonic()
    try:
        yield
        took = time.monotonic() - begun
    finally:
        over.set()
        watcher.join()
    assert took - stalled <= seconds, f"{took:.2f} s, in {stalled:.2f} of which the machine stood still"
