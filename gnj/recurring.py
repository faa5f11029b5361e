"""Recurring jobs declared in code: `@jobs.recurring("0 3 * * *", tz="Europe/Paris")`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from gnj.queue import schedules
from gnj.queue.errors import InvalidInput
from gnj.queue.scheduling import Declaration
from gnj.queue.service import Queue
from gnj.queue.values import Json, check_seconds

if TYPE_CHECKING:
    from gnj.queue.model import Job
    from gnj.queue.retry import Backoff
    from gnj.worker.handlers import Handlers

F = TypeVar("F", bound=Callable[..., Any])


class Recurring:
    """The part of `GNJ` that declares recurring jobs."""

    handlers: Handlers
    _queue: Queue

    def recurring(
        self,
        cron: str | None = None,
        *,
        every: float | timedelta | None = None,
        tz: str = "UTC",
        name: str | None = None,
        type: str | None = None,
        input: Json = None,
        missed: str = schedules.NEWEST,
        overlap: bool = True,
        tenant: str = "",
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: float | timedelta | None = None,
        on_lost: str | None = None,
    ) -> Callable[[F], F]:
        """Has a job made again and again, which the decorated function handles: `(job)` or `(job, ctx)`, sync or async.

        Whichever process looks first makes the job of a tick: any number may have the same declaration, and there is one job. It is
        written when the queue is first used, or else by a worker within a second.

        Args:
            cron: When, as five fields: minute, hour, day of the month, month, weekday (docs/recurring.md).
            every: In its place, the seconds, or a timedelta, from one to the next; a second at least.
            tz: The time zone of `cron`, by its name in the IANA database.
            name: Names the recurring job; the function's name unless given. Another declaration of the name changes it.
            type: The type of the jobs; the name unless given.
            input: What each job is given.
            missed: What becomes of ticks at which no process was there: "newest" makes one job for the last of them, "all" one
                for each, "none" none.
            overlap: Whether a job is made though the one before has not ended.
            tenant: Whose jobs they are.
            max_attempts: As for `handler`.
            backoff: Likewise.
            timeout: Likewise.
            on_lost: Likewise.

        Raises `InvalidInput` for what can never be due, or is not well-formed.
        """
        if callable(cron):
            raise InvalidInput('a recurring job says when: @jobs.recurring("0 3 * * *")')

        def decorate(fn: F) -> F:
            own = fn.__name__ if name is None else name
            kind = own if type is None else type
            values = {
                "name": own,
                "cron": cron,
                "every_ms": None if every is None else round(check_seconds(every, "every", low=1.0) * 1000),
                "time_zone": tz,
                "missed": missed,
                "may_overlap": overlap,
                "job": {"type": kind, "input": input},
            }
            schedules.check(values)
            known = self.handlers.get(kind)
            if known is None or known.fn is not fn:
                self.handlers.register(
                    kind, fn, max_attempts=max_attempts, backoff=backoff, timeout=timeout, on_lost=on_lost
                )
            self.handlers.declarations.append(Declaration(tenant, values))
            return fn

        return decorate

    def tick_of(self, job: Job | int) -> datetime | None:
        """The tick for which a recurring job was made; None for any other job, and for one that was made by hand."""
        return self._queue.tick_of(job if isinstance(job, int) else job.id)
