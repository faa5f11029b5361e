"""Working off what is ready in the calling thread, and looking for what was enqueued: for the tests of a host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

from gnj.queue.ends import Outcome
from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.queue.where import Where
from gnj.worker import Context, Handlers
from gnj.worker.context import Flags
from gnj.worker.run import Run, call, call_async
from gnj.worker.source import QueueSource


class Application(Protocol):
    """What a `GNJ` has that is needed here."""

    @property
    def queue(self) -> Queue:
        """The queue."""

    @property
    def handlers(self) -> Handlers:
        """Its handlers."""


class _Any:
    """Equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Any()
"""Stands for any input in `assert_enqueued`."""


def drain(jobs: Application, *, types: Sequence[str] | None = None, limit: int = 1000) -> list[Job]:
    """Runs ready jobs, one after the other in the calling thread, until none is left; the jobs as each try left them.

    Jobs that become ready on the way (the next step of a pipeline) run as well; those that are not due stay.

    Args:
        jobs: The `GNJ`.
        types: Of which types; those with handlers unless given.
        limit: `AssertionError` when so many tries are not enough, because jobs keep enqueueing jobs.
    """
    source = QueueSource(jobs.queue, worker_id="drain")
    wanted = list(jobs.handlers.types if types is None else types)
    done: list[Job] = []
    while claimed := source.claim(wanted, 1):
        if len(done) == limit:
            source.release(claimed)
            raise AssertionError(f"more than {limit} tries were made, and jobs are still ready")
        (outcome,) = [_tried(job, jobs.handlers, source) for job in claimed]
        (result,) = jobs.queue.settle([outcome])
        if isinstance(result, Exception):
            raise result
        done.append(result)
    return done


def assert_enqueued(jobs: Application, type: str, *, input: Any = ANY, count: int | None = None, **equals: Any) -> Job:
    """Asserts that a job of that type, with that input and these other attributes, was stored; gives the newest.

    With `count`, that exactly so many were. Inputs are compared whole.
    """
    found = [job for job in jobs.queue.list(Job, Where(type=type, **equals)) if input == job.input]
    if not found or (count is not None and len(found) != count):
        others = [job.input for job in jobs.queue.list(Job, Where(type=type))]
        wanted = "a" if count is None else f"{count} jobs, not {len(found)}, of"
        raise AssertionError(
            f"expected {wanted} {type!r} with input {input!r} and {equals}; inputs of that type: {others}"
        )
    return found[-1]


def _tried(job: Job, handlers: Handlers, source: QueueSource) -> Outcome:
    handler = handlers.get(job.type)
    if handler is None:
        source.release([job])
        raise AssertionError(f"no handler is registered for {job.type!r}")
    run = Run(job, handler, time.monotonic())
    context = Context(job, source, Flags(), asyncio.to_thread)
    arguments = (job, context) if handler.takes_context else (job,)
    if not handler.is_async:
        return call(run, lambda: handler.fn(*arguments))
    outcome = asyncio.run(call_async(run, lambda: handler.fn(*arguments)))
    if outcome is None:
        raise AssertionError("an async handler ended without an outcome")
    return outcome
