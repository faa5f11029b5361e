"""A claimed job in a worker's hands."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gnj.queue.ends import Outcome
from gnj.queue.errors import CancelRequested, GnjError, LeaseLost
from gnj.queue.model import Job
from gnj.queue.states import JobStatus
from gnj.worker import outcomes
from gnj.worker.context import Flags
from gnj.worker.handlers import Handler

logger = logging.getLogger("gnj.worker")


@dataclass(slots=True, eq=False)
class Run:
    """A claimed job and where its handler stands."""

    claim: Job
    handler: Handler | None
    claimed: float
    """When it was claimed; like all times here by `time.monotonic`."""
    due: float = math.inf
    """When it times out: counted from its beginning, not from the claim."""
    flags: Flags | None = None
    """What its handler may look at; None as long as there is nobody to look, and nothing to see (`flagged`)."""
    began: float = 0.0
    """When it was given a slot; 0 before."""
    decided: bool = False
    """How the claim ends is settled, though perhaps not told yet."""
    leaving: bool = False
    """Its async handler was cancelled because the worker stops."""
    cancel: Callable[[], None] | None = None
    """Cancels its async handler."""

    @property
    def is_suspect(self) -> bool:
        """Whether a worker that held it was lost: perhaps because of it."""
        return self.claim.stalled_count > 0

    @property
    def is_async(self) -> bool:
        """Whether its handler is awaited."""
        return self.handler is not None and self.handler.is_async

    @property
    def takes_context(self) -> bool:
        """Whether its handler is given a context."""
        return self.handler is not None and self.handler.takes_context

    @property
    def is_over(self) -> bool:
        """Whether the claim is known to be over."""
        return self.flags is not None and self.flags.over.is_set()

    def flagged(self) -> Flags:
        """The flags, made when they are first needed. The caller holds the lock of the hands."""
        if self.flags is None:
            self.flags = Flags()
        return self.flags

    def __str__(self) -> str:
        return f"job {self.claim.id} ({self.claim.type}), claim {self.claim.attempt}"


def call(run: Run, handler: Callable[[], Any]) -> Outcome:
    """Calls a sync handler; raises nothing."""
    try:
        return outcomes.returned(run.claim, handler())
    except BaseException as error:  # noqa: BLE001 - a handler may raise what it likes, SystemExit too
        return outcomes.raised(run.claim, error)


async def call_async(run: Run, handler: Callable[[], Any]) -> Outcome | None:
    """Awaits an async handler; raises nothing. None when it was cancelled because the worker stops."""
    try:
        return outcomes.returned(run.claim, await handler())
    except BaseException as error:  # noqa: BLE001 - likewise
        # Whatever a handler makes of being cancelled because the worker stops, it is not its job's failure.
        if run.leaving and not isinstance(error, CancelRequested):
            return None
        return outcomes.raised(run.claim, error)


def refused(run: Run, outcome: Outcome, error: GnjError) -> Outcome | None:
    """What to tell in place of an outcome that the queue does not take; None: nothing."""
    if isinstance(error, LeaseLost):
        logger.warning("%s ended after its lease was lost: its result is dropped", run)
        return None
    if outcome.status is JobStatus.FAILED:
        logger.error("%s: the queue does not take its failure: %s", run, error)
        return None
    return outcomes.raised(run.claim, error)
