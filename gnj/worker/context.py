"""What a handler is given besides its job."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cached_property
from typing import Any, TypeAlias

from gnj.queue.errors import CancelPending, CancelRequested, GnjError, InvalidInput, LeaseLost, StorageError
from gnj.queue.model import Job
from gnj.queue.progress import STEPS
from gnj.queue.states import JobStatus
from gnj.queue.values import Json, check_json, check_word
from gnj.worker.outage import pause
from gnj.worker.outcomes import described
from gnj.worker.source import DEFAULT_LEASE, Source

Hop: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a blocking function elsewhere while the event loop goes on."""

_logger = logging.getLogger("gnj.job")


class Flag:
    """A `threading.Event` that costs little where nobody waits for it: every context has two, and few handlers wait.

    Args:
        lock: Guards it, and may guard others.
    """

    __slots__ = ("_event", "_lock", "_set")

    def __init__(self, lock: threading.Lock) -> None:
        self._set = False
        self._lock = lock
        self._event: threading.Event | None = None

    def set(self) -> None:
        """Sets it, for good."""
        with self._lock:
            self._set = True
            if self._event is not None:
                self._event.set()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set, or for `timeout` seconds; whether it is."""
        with self._lock:
            if self._set:
                return True
            if self._event is None:
                self._event = threading.Event()
        return self._event.wait(timeout)


class Flags:
    """What the worker has learnt about a claim while its handler runs."""

    __slots__ = ("cancel", "over")

    def __init__(self) -> None:
        lock = threading.Lock()
        self.cancel = Flag(lock)
        """The handler should stop."""
        self.over = Flag(lock)
        """The claim is over: whatever the handler still tells is not stored."""

    def end(self) -> None:
        """The claim is over, so the handler should stop as well."""
        self.over.set()
        self.cancel.set()


class Context:
    """A handler's side of one try of a job: reports progress, saves steps, learns that it should stop.

    Threads that a handler starts may share it.

    Args:
        job: The job as it was claimed.
        source: Where progress goes.
        flags: What the worker knows; set by its other threads.
        hop: How `step_async` saves without blocking the event loop.
    """

    def __init__(self, job: Job, source: Source, flags: Flags, hop: Hop) -> None:
        self._job = job
        self._source = source
        self._flags = flags
        self._hop = hop
        self._telling = threading.Lock()
        self._results = _results(job.progress)

    @property
    def job(self) -> Job:
        """The job as it was last answered: with the progress that was stored since it was claimed."""
        return self._job

    @property
    def attempt(self) -> int:
        """Which claim of the job this is, from 1; with the job's id it names this try for good."""
        return self._job.attempt

    @cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger `gnj.job`; each record carries `job_id`, `job_type` and `attempt`."""
        extra = {"job_id": self._job.id, "job_type": self._job.type, "attempt": self._job.attempt}
        return _Log(_logger, extra)

    @property
    def cancel_requested(self) -> bool:
        """Whether the handler should stop: its cancellation was requested, less than 2 seconds ago as a rule, or its claim
        is over (`lease_lost`). To end as cancelled, raise `CancelRequested`.

        A worker that is being stopped lets the handler finish in its grace time: that alone is no reason.
        """
        return self._flags.cancel.is_set()

    @property
    def lease_lost(self) -> bool:
        """Whether the claim is over: lost to another worker, timed out, or given back. What the handler returns is dropped."""
        return self._flags.over.is_set()

    def wait_for_cancel(self, timeout: float | None = None) -> bool:
        """Waits until `cancel_requested`, or for `timeout` seconds; whether it is. Not for async handlers: it blocks."""
        return self._flags.cancel.wait(timeout)

    def progress(self, info: Json) -> None:
        """Lays `info` over the job's progress: keys and steps that it does not name stay.

        A queue that cannot be reached is asked again for as long as the lease lasts. Raises `LeaseLost` when the claim is
        over, `InvalidInput` for what is no JSON. An async handler's event loop waits meanwhile.
        """
        self._tell(info)

    def step(self, name: str, fn: Callable[[], Any]) -> Json:
        """Runs `fn` once for the job, also over several tries, and gives its result.

        The result is saved in the job's progress under `steps[name]`, with `doneAt` and `elapsedTime`; a later try, and a
        later call, gets what was saved. A failing `fn` is saved with its error and raises it. Raises like `progress`;
        also `InvalidInput` for a result that is no JSON.

        Returns:
            What `fn` returned as it comes back from JSON: tuples are lists, the first time as well.
        """
        if (saved := self._saved(name)) is not None:
            return saved[0]
        try:
            result = _json(name, fn())
        except Exception as error:
            self._failed(name, error)
            raise
        return self._done(name, result)

    async def step_async(self, name: str, fn: Callable[[], Any]) -> Json:
        """`step` for async handlers: what `fn` returns is awaited if it can be."""
        if (saved := self._saved(name)) is not None:
            return saved[0]
        try:
            result = fn()
            if inspect.isawaitable(result):
                result = await result
            result = _json(name, result)
        except Exception as error:
            failure = error
            await self._hop(lambda: self._failed(name, failure))
            raise
        return await self._hop(lambda: self._done(name, result))

    def _saved(self, name: str) -> tuple[Json] | None:
        check_word(name, "the name of a step")
        if name not in self._results:
            return None
        return (check_json(self._results[name], "a saved result"),)  # a copy: the handler may change it

    def _done(self, name: str, result: Json) -> Json:
        step = {"status": "done", "result": result}
        if "error" in _steps(self._job.progress).get(name, {}):
            step["error"] = None
        job = self._tell({STEPS: {name: step}})
        # As the storage has it, where it was stored: a database may turn 1e16 into an integer.
        stored = {} if job is None else _results(job.progress)
        self._results[name] = check_json(stored.get(name, result), "a saved result")
        return stored.get(name, result)

    def _failed(self, name: str, error: Exception) -> None:
        if isinstance(error, CancelRequested):  # the handler stops: that is no failure of the step
            return
        try:
            self._tell({STEPS: {name: {"status": "error", "error": described(error)}}})
        except GnjError as refusal:
            self.log.warning("the error of step %r was not saved: %s", name, refusal)

    def _tell(self, info: Json) -> Job | None:
        """The job with `info` in its progress; None when the queue takes nothing but the job's end any more."""
        given_up = time.monotonic() + (self._job.lease or DEFAULT_LEASE)
        failures = 0
        with self._telling:
            while not self._flags.over.is_set():
                try:
                    self._job = self._source.progress(self._job, info)
                except CancelPending:
                    self._flags.cancel.set()
                    return None
                except LeaseLost:
                    self._flags.end()
                    raise
                except StorageError:
                    if time.monotonic() >= given_up:
                        raise
                    failures += 1
                    self._flags.over.wait(pause(failures))
                else:
                    if self._job.status is JobStatus.CANCEL_REQUESTED:
                        self._flags.cancel.set()
                    return self._job
            raise LeaseLost


class _Log(logging.LoggerAdapter[logging.Logger]):
    """A LoggerAdapter that adds to a call's own extras instead of dropping them."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def _json(name: str, result: Any) -> Json:
    if inspect.iscoroutine(result):
        result.close()
        raise InvalidInput(f"step {name!r} returned a coroutine: await ctx.step_async(...)")
    return check_json(result, f"the result of step {name!r}")


def _steps(progress: Json) -> dict[str, dict[str, Json]]:
    steps = progress.get(STEPS) if isinstance(progress, dict) else None
    return {n: step for n, step in steps.items() if isinstance(step, dict)} if isinstance(steps, dict) else {}


def _results(progress: Json) -> dict[str, Json]:
    """The results that `step` saved."""
    steps = _steps(progress)
    return {n: step["result"] for n, step in steps.items() if step.get("status") == "done" and "result" in step}
