"""What runs beside transformation jobs that are served: the worker of their runs, and who sweeps up after them."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from random import SystemRandom  # that of the module `random` is the host's, who may have seeded it
from typing import Any, Final, Protocol

from gnj.queue import transforms
from gnj.queue.model import Job
from gnj.queue.model_transform import RUN, WEBHOOK
from gnj.queue.service import Queue
from gnj.transform import running, webhooks
from gnj.transform.application import Transform
from gnj.worker.context import Context
from gnj.worker.handlers import Handler, Handlers
from gnj.worker.loop import Loop
from gnj.worker.on_demand import OnDemand
from gnj.worker.source import QueueSource
from gnj.worker.worker import GRACE, Worker

LINGER: Final = 60.0
"""Seconds for which runs are looked for by claims after there was one."""
EVERY: Final = 60.0
"""Seconds between two looks of the sweep, more or less: those of several servers are not to be at once."""
SHARE: Final = 2.0
"""Seconds of one look of the sweep, after which nothing more is begun: others wait for the same thread."""
CALLS: Final = 4
"""Webhooks that one server calls at once."""
_PROMOTED: Final = 100
"""Jobs whose time has come that are made ready with one look."""
_FAREWELL: Final = 5.0
"""Seconds that a batch under way is given to end, when the server stops."""


class _WorkerOf(OnDemand):
    """Does the jobs of one type with a worker that is there only while there are any.

    Args:
        queue: Where they are.
        type: Which.
        handle: Does one: takes the job and the context.
        concurrency: How many at once; greater than 0.
    """

    def __init__(self, queue: Queue, type: str, handle: Callable[[Job, Context], Any], *, concurrency: int) -> None:
        self._queue = queue
        self._type = type
        self._handle = handle
        self._counting = threading.Lock()
        self._running = 0
        handlers = Handlers()
        handlers.register(type, self._counted)
        super().__init__(QueueSource(queue, f"transform:{secrets.token_hex(6)}", "transform"), handlers, concurrency)

    def tick(self) -> None:
        """Starts the worker when there is something for it, and stops it a while after there was."""
        self._tend(LINGER, wanted=bool(self._running) or self._waits())

    def _waits(self) -> bool:
        """Whether a job is ready. What was lost is taken back first, what is due made ready, and the ticks that have come are made."""
        if self._queue.storage.promote(_PROMOTED):
            self._queue.wake.set()
        self._queue.reap()
        self._queue.tick()
        return bool(self._queue.storage.lane(self._type, None, 1))

    def _counted(self, job: Job, ctx: Context) -> Any:
        self._count(1)
        try:
            return self._handle(job, ctx)
        finally:
            self._count(-1)

    def _count(self, number: int) -> None:
        with self._counting:
            self._running += number


class TransformWorker(_WorkerOf):
    """Does runs; a `gnj.background.Ticker`.

    Args:
        queue: Where they are.
        transform: What they work with.
        concurrency: How many at once; greater than 0.
    """

    def __init__(self, queue: Queue, transform: Transform, *, concurrency: int) -> None:
        self._closing = threading.Event()
        handle = running.handled(transform, stopping=self._closing.is_set)
        super().__init__(queue, RUN, handle, concurrency=concurrency)

    def close(self) -> None:
        """Lets each run end its batch; the next claim begins it anew."""
        self._closing.set()
        self._stop(_FAREWELL)


class WebhookWorker(_WorkerOf):
    """Tells of the ends of runs; a `gnj.background.Ticker`. One of its own: a run may take hours, and an endpoint that does not answer
    is to keep no run waiting.

    Args:
        queue: Where the jobs are.
        transform: What they work with.
    """

    def __init__(self, queue: Queue, transform: Transform) -> None:
        handle = webhooks.handled(transform)
        super().__init__(queue, WEBHOOK, lambda job, _ctx: handle(job), concurrency=CALLS)

    def close(self) -> None:
        """What is being told is told again by the next claim, unless it is answered soon."""
        self._stop(_FAREWELL)


class TransformSweep:
    """Removes what runs that were not published and deleted jobs have left; a `gnj.background.Ticker`. It looks about once a minute,
    and does a bounded part with each look.

    Args:
        queue: Where they are.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._next = -math.inf

    def tick(self) -> None:
        """Looks, if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY * SystemRandom().uniform(0.8, 1.2)
        while self._queue.run(lambda unit: transforms.trim(unit.tx, None, transforms.PAGE)):
            if time.monotonic() >= now + SHARE:
                return

    def close(self) -> None:
        """Nothing was started."""


class TransformHandlers(Handlers):
    """The handlers that a worker has, and those of runs and webhooks.

    Args:
        host: The former, registered now or later.
        transform: What runs work with.
        stopping: Whether the worker is to end soon.
    """

    def __init__(self, host: Handlers, transform: Transform, *, stopping: Callable[[], bool]) -> None:
        super().__init__()
        self._host = host
        running.register(self, transform, stopping=stopping)

    @property
    def own(self) -> tuple[str, ...]:
        """The types besides those of the host."""
        return super().types

    @property
    def types(self) -> tuple[str, ...]:
        """See `Handlers.types`."""
        return (*self._host.types, *self.own)

    def get(self, type: str) -> Handler | None:
        """See `Handlers.get`."""
        return super().get(type) or self._host.get(type)


class Register(Protocol):
    """Registers what else a worker does besides the handlers of its host, as `gnj.content.handlers.register` does."""

    def __call__(self, handlers: Handlers, *, stopping: Callable[[], bool]) -> None:
        """Registers it; `stopping` tells whether the worker is to end soon."""


def transform_worker(
    queue: Queue,
    handlers: Handlers,
    transform: Transform,
    types: Sequence[str] | None,
    *,
    besides: Register | None = None,
    **options: Any,
) -> Worker:
    """A worker of the host's handlers that does runs as well; `types` and options as those of `Worker`, where `types` None means all
    of both.
    """
    ending = threading.Event()
    both = TransformHandlers(handlers, transform, stopping=ending.is_set)
    if besides is not None:
        besides(both, stopping=ending.is_set)
    return _Ending(ending, queue, both, None if types is None else [*types, *both.own], **options)


class _Ending(Worker):
    """A worker whose runs learn that it is to end, so that they stop after a record, and not after their last one."""

    def __init__(self, ending: threading.Event, *of: Any, **options: Any) -> None:
        super().__init__(*of, **options)
        self._ending = ending

    def stop(self, grace: float = GRACE) -> None:
        """See `Worker.stop`."""
        self._ending.set()
        super().stop(grace)

    def _take_up(self, ended: Callable[[], None]) -> Loop:
        self._ending.clear()
        return super()._take_up(ended)
