"""The run loop of a worker, over any `Source`.

Three threads talk to the source, because each may be kept waiting by the database while the others must not be: one
claims, one tells how jobs ended, one renews. What they share is guarded by one lock, which is never held while the
source is asked.

A job that was claimed is *held* until its end is told. Its handler takes up a slot until it comes back. The two differ
for a handler that overstays: its job's end is decided without it (timed out, given back) while its slot stays taken.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from gnj.queue.errors import GnjError, StorageError
from gnj.queue.model import Job
from gnj.queue.service import Outcome
from gnj.queue.states import JobStatus
from gnj.worker import outcomes
from gnj.worker.context import Context
from gnj.worker.handlers import Handler, Handlers
from gnj.worker.outage import Outages, pause
from gnj.worker.run import Run, call, call_async, refused
from gnj.worker.source import Source
from gnj.worker.threads import Threads, join

if TYPE_CHECKING:
    from gnj.worker.coroutines import Coroutines

logger = logging.getLogger("gnj.worker")

HEARTBEAT = 1.5
"""Seconds between two renewals at most: their answers tell of cancellations, which a handler sees within 2 seconds."""
# What a second after the grace time is divided into: cancelled async handlers end, claims are given back, threads end.
_FAREWELL = 0.4
_LIMIT = 0.8
_EXIT = 0.95
_LONGEST_WAIT = 3600.0  # Condition.wait has a limit that some platforms reach in weeks


class Loop:
    """One life of a worker, from `start` to `stop`; see `Worker` for the arguments.

    Args:
        ended: Called once, when `stop` has done its work.
    """

    def __init__(
        self,
        source: Source,
        handlers: Handlers,
        types: Sequence[str] | None,
        concurrency: int,
        poll: float,
        ended: Callable[[], None],
    ) -> None:
        self._source = source
        self._handlers = handlers
        self._types = types
        self._concurrency = concurrency
        self._poll = poll
        self._on_end: Callable[[], None] | None = ended
        self._outages = Outages()
        self._threads = Threads("gnj-job")
        self._coroutines: Coroutines | None = None
        self._lock = threading.Lock()
        self._slots = threading.Condition(self._lock)
        """Wakes the claiming thread."""
        self._work = threading.Condition(self._lock)
        """Wakes the telling thread."""
        self._end = threading.Condition(self._lock)
        """Wakes those who wait in `stop`."""
        self._held: set[Run] = set()
        self._active: set[Run] = set()
        """The runs whose handlers have not come back: one slot each."""
        self._todo: deque[tuple[Run, Outcome | None]] = deque()
        """Ends to be told; None: the claim is to be given back."""
        self._soonest = math.inf
        """No active run times out before."""
        self._deadline = math.inf
        """End of the grace time; finite from the first `stop` on."""
        self._claimed_all = False
        self._told_all = False
        self._closed = threading.Event()
        self._own = [
            threading.Thread(target=work, name=f"gnj-{name}", daemon=True)
            for name, work in (("claim", self._claim), ("settle", self._settle), ("heartbeat", self._renew))
        ]

    def start(self) -> None:
        """Begins; returns at once."""
        for thread in self._own:
            thread.start()

    def stop(self, grace: float) -> None:
        """See `Worker.stop`; the calls of several threads end together, by the earliest of their deadlines."""
        with self._lock:
            self._deadline = min(self._deadline, time.monotonic() + grace)
            for condition in (self._slots, self._work, self._end):
                condition.notify_all()
        self._source.ring()
        with self._lock:
            self._until_told(0.0)
            self._give_up(run for run in self._held if run.cancel is None)
            self._dismiss()
            self._until_told(_FAREWELL)
            self._give_up(self._held)
            self._until_told(_LIMIT)
            if self._held:
                logger.warning("%d claims could not be told about: they end with their leases", len(self._held))
        self._closed.set()
        until = self._deadline + _EXIT
        if self._coroutines is not None:
            self._coroutines.close(until)
        self._threads.close(until)
        for thread in self._own:
            join(thread, until)
        with self._lock:
            ended, self._on_end = self._on_end, None
        if ended is not None:
            ended()

    def _until_told(self, extra: float) -> None:
        """Waits until nothing is left to be told, or `extra` seconds after the deadline. The lock is held."""
        while not self._told_all and (left := self._deadline + extra - time.monotonic()) > 0:
            self._end.wait(min(left, _LONGEST_WAIT))

    def _give_up(self, runs: Iterable[Run]) -> None:
        """Gives back the claims that are not decided. The lock is held."""
        for run in runs:
            if not run.decided:
                run.flags.end()
                logger.warning("%s did not finish in the grace time and is given back", run)
                self._decide(run, None)

    def _dismiss(self) -> None:
        """Cancels the async handlers that still run. The lock is held."""
        for run in self._active:
            if run.cancel is not None:
                run.leaving = True
                run.cancel()

    # Claiming ---------------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        failures = 0
        try:
            with ExitStack() as stack:
                listens = False
                while limit := self._free():
                    seen = self._source.rings
                    listens = listens or self._listen(stack)
                    types = self._handlers.types if self._types is None else self._types
                    jobs = self._outages.ask("claim", partial(self._source.claim, types, limit))
                    if jobs is None or not self._begin(jobs):
                        failures += 1
                        self._rest(pause(failures))
                        continue
                    failures = 0
                    # `stop` sets the deadline, then rings: where `seen` counts that ring already, the deadline is set.
                    if len(jobs) < limit and self._deadline == math.inf:
                        self._source.wait(seen, self._poll)
        finally:
            with self._lock:
                self._claimed_all = True
                self._work.notify()

    def _free(self) -> int:
        """How many jobs to claim, as soon as that is any; 0 when the worker stops."""
        with self._lock:
            while self._deadline == math.inf:
                # Ends that cannot be told must not pile up: at most one more claim for each slot.
                untold = 2 * self._concurrency - len(self._held)
                if (free := min(self._concurrency - len(self._active), untold)) > 0:
                    return free
                self._slots.wait()
            return 0

    def _listen(self, stack: ExitStack) -> bool:
        listens = self._outages.ask("listen", lambda: [stack.enter_context(self._source.listening())])
        return listens is not None

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._lock:
            while self._deadline == math.inf and (left := end - time.monotonic()) > 0:
                self._slots.wait(left)

    def _begin(self, jobs: Sequence[Job]) -> bool:
        """Runs the handlers of claimed jobs; whether all could be run."""
        well = True
        now = time.monotonic()
        with self._lock:
            for job in jobs:
                run = Run(job, now + job.timeout if job.timeout is not None else math.inf)
                self._held.add(run)
                handler = self._handlers.get(job.type)
                if self._deadline < math.inf:  # claimed while the worker was told to stop
                    self._decide(run, None)
                elif handler is None:
                    well = False
                    logger.error("%s was claimed without a handler and is given back", run)
                    self._decide(run, None)
                else:
                    well = self._dispatch(run, handler) and well
        return well

    def _dispatch(self, run: Run, handler: Handler) -> bool:
        """Has the handler called, on its thread or the event loop's. The lock is held."""
        context = Context(run.claim, self._source, run.flags, self._hop)
        handle = partial(handler.fn, run.claim, context) if handler.takes_context else partial(handler.fn, run.claim)
        then = partial(self._returned, run)
        self._active.add(run)
        try:
            if handler.is_async:
                run.cancel = self._event_loop().run(partial(call_async, run, handle), then)
            else:
                self._threads.run(partial(call, run, handle), then)
        except RuntimeError:  # the machine has no thread left
            logger.exception("%s could not be started and is given back", run)
            self._active.discard(run)
            self._decide(run, None)
            return False
        if run.due < self._soonest:
            self._soonest = run.due
            self._work.notify()
        return True

    def _event_loop(self) -> Coroutines:
        if self._coroutines is None:
            from gnj.worker.coroutines import Coroutines  # noqa: PLC0415 - asyncio waits until it is needed

            self._coroutines = Coroutines("gnj-async")
        return self._coroutines

    def _hop(self, task: Callable[[], Any]) -> Awaitable[Any]:
        from gnj.worker.coroutines import hop  # noqa: PLC0415 - likewise

        return hop(self._threads, task)

    def _returned(self, run: Run, outcome: Outcome | None) -> None:
        if outcome is not None and outcome.status is JobStatus.FAILED and not run.decided:
            outcomes.log(run.claim, outcome)
        with self._lock:
            self._active.discard(run)
            self._slots.notify()
            if run.decided:
                logger.info("%s came back after its end was decided: its result is dropped", run)
            else:
                self._decide(run, outcome)

    def _decide(self, run: Run, outcome: Outcome | None) -> None:
        """How the claim ends: decided once. The lock is held."""
        run.decided = True
        self._todo.append((run, outcome))
        self._work.notify()

    # Telling ----------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        failures, not_before = 0, 0.0
        while batch := self._batch(not_before):
            if self._tell(batch):
                failures = 0
            else:
                failures += 1
                not_before = time.monotonic() + pause(failures)
        with self._lock:
            self._told_all = True
            self._end.notify_all()

    def _batch(self, not_before: float) -> list[tuple[Run, Outcome | None]]:
        """Everything there is to tell, as soon as that is anything; nothing when the worker stops and all is told.

        While one batch is being told the next one gathers, so batches grow with the load and nobody waits without need.
        """
        with self._lock:
            while True:
                now = time.monotonic()
                self._expire(now)
                if now >= self._deadline + _LIMIT or (self._claimed_all and not self._held):
                    return []
                if self._todo and now >= not_before:
                    batch = list(self._todo)
                    self._todo.clear()
                    return batch
                until = min(self._soonest, self._deadline + _LIMIT, not_before if self._todo else math.inf)
                self._work.wait(min(until - now, _LONGEST_WAIT))

    def _expire(self, now: float) -> None:
        """Ends the jobs that have run for too long. The lock is held."""
        if now < self._soonest:
            return
        for run in self._active:
            if run.due <= now and not run.decided:
                logger.warning("%s timed out after %g s", run, run.claim.timeout)
                run.flags.end()
                self._decide(run, outcomes.timed_out(run.claim))
                if run.cancel is not None:
                    run.cancel()
        self._soonest = min((run.due for run in self._active if not run.decided), default=math.inf)

    def _tell(self, batch: Sequence[tuple[Run, Outcome | None]]) -> bool:
        """Tells ends and gives claims back; False when some must be told again, and not at once."""
        left = dict(batch)
        well = self._outages.ask("settle", partial(self._ask_to_end, left)) is not None
        with self._lock:
            self._held.difference_update(run for run, _ in batch if run not in left)
            self._todo.extendleft(reversed(left.items()))
            self._slots.notify()
        return well

    def _ask_to_end(self, left: dict[Run, Outcome | None]) -> bool:
        """Takes out of `left` what the source took; raises when it could not be asked about all of it."""
        unreachable: StorageError | None = None
        ends = {run: outcome for run, outcome in left.items() if outcome is not None}
        results = self._source.settle(list(ends.values())) if ends else []
        for (run, outcome), result in zip(ends.items(), results, strict=True):
            if isinstance(result, StorageError):
                unreachable = result
            elif isinstance(result, GnjError) and (instead := refused(run, outcome, result)) is not None:
                left[run] = instead
            else:
                del left[run]
        if unreachable is not None:
            raise unreachable
        if back := [run for run, outcome in left.items() if outcome is None]:
            self._source.release([run.claim for run in back])
            for run in back:
                del left[run]
        return True

    # Renewing ---------------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Renews what is held, all of it in one call, until `stop` has done its work.

        Ends that are not told yet are renewed as well: nobody else shall run what is done.
        """
        rhythm = min(self._source.lease / 3, HEARTBEAT)
        failures, wait = 0, rhythm
        while not self._closed.wait(wait):
            begun = time.monotonic()
            with self._lock:
                runs = [run for run in self._held if run.decided or not run.flags.over.is_set()]
            answers = self._outages.ask("renew", partial(self._ask_to_renew, runs))
            if answers is None:
                failures += 1
                wait = min(pause(failures), self._source.lease / 3)
                continue
            failures = 0
            for run, job in answers:
                if job is None:
                    self._lost(run)
                elif job.status is JobStatus.CANCEL_REQUESTED:
                    run.flags.cancel.set()
            wait = max(0.0, begun + rhythm - time.monotonic())

    def _ask_to_renew(self, runs: Sequence[Run]) -> list[tuple[Run, Job | None]]:
        jobs = self._source.renew([run.claim for run in runs]) if runs else []
        return list(zip(runs, jobs, strict=True))

    def _lost(self, run: Run) -> None:
        with self._lock:
            # An end that was told while the leases were renewed has not been lost.
            if not run.decided:
                run.flags.end()
                logger.warning("%s lost its lease: what its handler returns will be dropped", run)
