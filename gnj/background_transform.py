"""What runs beside transformation jobs that are served: the worker of their runs, and who sweeps up after them."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from random import SystemRandom  # that of the module `random` is the host's, who may have seeded it
from typing import Any, Final

from gnj.queue import transforms
from gnj.queue.model import Job
from gnj.queue.model_transform import RUN, WEBHOOK
from gnj.queue.service import Queue
from gnj.transform import running, webhooks
from gnj.transform.application import Transform
from gnj.worker.context import Context
from gnj.worker.on_demand import Counted, OnDemand, is_ready
from gnj.worker.turns import TurnSource

LINGER: Final = 60.0
"""Seconds for which runs are looked for by claims after there was one."""
EVERY: Final = 60.0
"""Seconds between two looks of the sweep, more or less: those of several servers are not to be at once."""
SHARE: Final = 2.0
"""Seconds of one look of the sweep, after which nothing more is begun: others wait for the same thread."""
CALLS: Final = 8
"""Webhooks that one server calls at once."""
OF_ONE: Final = 4
"""Those of them that may be of one tenant: its receiver may keep each for `gnj.transform.webhooks.SECONDS`."""
_FAREWELL: Final = 5.0
"""Seconds that a batch under way is given to end, when the server stops."""


class _WorkerOf(OnDemand):
    """Does the jobs of one type with a worker that is there only while there are any. Tenants are served in turn, whatever each has
    waiting, and no tenant has all slots.

    Args:
        queue: Where they are.
        type: Which.
        handle: Does one: takes the job and the context.
        concurrency: How many at once; greater than 0.
        share: Of one tenant.
    """

    def __init__(
        self, queue: Queue, type: str, handle: Callable[[Job, Context], Any], *, concurrency: int, share: int
    ) -> None:
        self._queue = queue
        self._type = type
        self._counted = Counted()
        self._counted.register(type, handle)
        source = TurnSource(queue, f"transform:{secrets.token_hex(6)}", "transform", share=share)
        super().__init__(source, self._counted, concurrency)

    def tick(self) -> None:
        """Starts the worker when there is something for it, and stops it a while after there was."""
        self._tend(LINGER, wanted=bool(self._counted.running) or self._waits())

    def _waits(self) -> bool:
        """Whether a job is ready. The ticks that have come are made before."""
        self._queue.tick()
        return is_ready(self._queue, (self._type,))


class TransformWorker(_WorkerOf):
    """Does runs; a `gnj.background.Ticker`. One slot is left to other tenants, where there are several: a run under way is not
    stopped for another one, and may take ten minutes and more.

    Args:
        queue: Where they are.
        transform: What they work with.
        concurrency: How many at once; greater than 0.
    """

    def __init__(self, queue: Queue, transform: Transform, *, concurrency: int) -> None:
        self._closing = threading.Event()
        handle = running.handled(transform, stopping=self._closing.is_set)
        super().__init__(queue, RUN, handle, concurrency=concurrency, share=max(1, concurrency - 1))

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
        super().__init__(queue, WEBHOOK, lambda job, _ctx: handle(job), concurrency=CALLS, share=OF_ONE)

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
