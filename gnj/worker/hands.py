"""What a worker has in its hands: claimed jobs, those whose handlers run, those that wait for a slot, and ends not told yet.

A job that was claimed is *held* until its end is told. While its handler runs it takes up a slot, until the handler comes
back. The two differ for a handler that overstays: its job's end is decided without it (timed out, given back) while its slot
stays taken. Jobs claimed ahead of time *wait*; the thread that has run one job takes the next itself, for to hand it over
takes longer than to run it.

Everything here happens under one lock, which is never held while a handler runs or the source is asked.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gnj.queue.ends import Outcome
from gnj.queue.model import Job
from gnj.queue.service import MAX_CLAIM
from gnj.queue.states import JobStatus
from gnj.worker import outcomes
from gnj.worker.context import Context
from gnj.worker.handlers import Handlers
from gnj.worker.pace import ENOUGH, TICK, Pace
from gnj.worker.run import Run, call, call_async
from gnj.worker.source import Source
from gnj.worker.threads import Threads

if TYPE_CHECKING:
    from gnj.worker.coroutines import Coroutines

logger = logging.getLogger("gnj.worker")

STALE: Final = 1.0
"""Seconds after which a job that waits for a slot is given back: those that run take longer than was foreseen."""


class Hands:
    """The jobs of one worker.

    Args:
        source: Whom handlers tell of their progress.
        handlers: What runs the jobs.
        concurrency: Slots.
    """

    def __init__(self, source: Source, handlers: Handlers, concurrency: int) -> None:
        self._source = source
        self._handlers = handlers
        self._concurrency = concurrency
        self._threads = Threads("gnj-job")
        self._coroutines: Coroutines | None = None
        self._pace = Pace(time.monotonic())
        self._stopping = False
        self.lock = threading.Lock()
        self.slots = threading.Condition(self.lock)
        """Wakes who claims."""
        self.work = threading.Condition(self.lock)
        """Wakes who tells."""
        self.held: set[Run] = set()
        self.waiting: deque[Run] = deque()
        """Runs that have no slot yet, in their order."""
        self.active: set[Run] = set()
        """The runs whose handlers have not come back: one slot each."""
        self.todo: deque[tuple[Run, Outcome | None]] = deque()
        """Ends to be told; None: the claim is to be given back."""
        self.soonest = math.inf
        """No active run times out before."""
        self._claim_at = 0
        """How few must be running or waiting for a claim to be worth while."""
        self.gathering = False
        """Whether who tells waits for more ends."""
        self.listening = self.asking = False
        """Whether who tells, and who claims, is to be woken: to notify those who are at work took 0.6 µs for each job."""
        self._suspects = 0
        """Of those that are held."""
        self._serving = 0
        """Threads that run sync handlers."""
        self._kept_back = False
        """Whether a claim was told of fewer free slots than there may be soon: the source is to be rung then."""

    # The lock is held by the callers of everything down to `begin`. ---------------------------------------------------

    def room(self) -> int:
        """How many jobs to claim now; 0 while that is not worth while, until `slots` is notified."""
        # One of several that lost their leases together may be what killed their worker: beside it are to be few.
        ahead = 0 if self._suspects else self._pace.ahead(time.monotonic(), self._concurrency)
        capacity = self._concurrency + ahead
        # Ends that cannot be told must not pile up: at most one more claim for each.
        untold = 2 * capacity - len(self.held)
        room = min(capacity - len(self.active) - len(self.waiting), untold, MAX_CLAIM)
        self._claim_at = capacity - ahead // 2 - 1
        return room if room > ahead // 2 else 0

    @property
    def free(self) -> int:
        """How many jobs could begin at once."""
        return max(0, self._concurrency - len(self.active) - len(self.waiting))

    @property
    def gathers(self) -> bool:
        """Whether ends should wait for others: many are coming, and are being worked on."""
        return bool(self.waiting) and self._pace.gathers and not self._suspects and len(self.todo) < ENOUGH

    @property
    def tick(self) -> float:
        """Seconds after which `help` is to be called; infinite while nothing waits, or all slots are used."""
        return TICK if self.waiting and len(self.active) < self._concurrency else math.inf

    def help(self) -> None:
        """Lets more threads run jobs if the one that was to run all of them is stuck."""
        if self.waiting and self._pace.stuck():
            self.begin(time.monotonic())

    def decide(self, run: Run, outcome: Outcome | None) -> None:
        """How the claim ends: decided once."""
        run.decided = True
        self.todo.append((run, outcome))
        if self.listening and (not self.gathering or not self.waiting or len(self.todo) >= ENOUGH):
            self.listening = False
            self.work.notify()

    def listen(self, timeout: float) -> bool:
        """Who tells waits for something to tell, or for what else `work` is notified of; whether it was."""
        self.listening = True
        woken = self.work.wait(timeout)
        self.listening = False
        return woken

    def ask(self, timeout: float) -> bool:
        """Who claims waits until there is room, or for what else `slots` is notified of; whether it was."""
        self.asking = True
        woken = self.slots.wait(timeout)
        self.asking = False
        return woken

    def told(self, runs: Sequence[Run]) -> None:
        """How these ended was told: they are held no longer."""
        self.held.difference_update(runs)
        if self._suspects:
            self._suspects -= sum(run.is_suspect for run in runs)
        # what was given back is no sign of speed: it would be claimed again at once, and kept from whoever has a free slot
        self._pace.told(sum(run.began > 0.0 for run in runs))

    def stop(self) -> None:
        """Begins no more runs; gives those back that have not begun."""
        self._stopping = True
        self.give_back_waiting()

    def give_back_waiting(self) -> None:
        """Gives back what has not begun."""
        for run in self.waiting:
            self.decide(run, None)
        self.waiting.clear()

    def give_up(self, runs: Iterable[Run]) -> None:
        """Gives back the claims that are not decided."""
        for run in runs:
            if not run.decided:
                run.flagged().end()
                logger.warning("%s did not finish in the grace time and is given back", run)
                self.decide(run, None)

    def dismiss(self) -> None:
        """Cancels the async handlers that still run."""
        for run in self.active:
            if run.cancel is not None:
                run.leaving = True
                run.cancel()

    def give_back_stale(self) -> None:
        """Gives back what was claimed ahead and has waited for too long, so that others can run it."""
        now = time.monotonic()
        while self.waiting and self.waiting[0].claimed <= now - STALE:
            self.decide(self.waiting.popleft(), None)
            self._pace.slow()

    def drop(self, run: Run) -> bool:
        """Takes a run that waits for a slot out of the line; whether it was still there."""
        if run.began:
            return False
        try:
            self.waiting.remove(run)
        except ValueError:
            return False
        return True

    def expire(self, now: float) -> None:
        """Ends the jobs that have run for too long."""
        if now < self.soonest:
            return
        for run in self.active:
            if run.due <= now and not run.decided:
                logger.warning("%s timed out after %g s", run, run.claim.timeout)
                run.flagged().end()
                self.decide(run, outcomes.timed_out(run.claim))
                if run.cancel is not None:
                    run.cancel()
        self.soonest = min((run.due for run in self.active if not run.decided), default=math.inf)

    def begin(self, now: float, *, taking: bool = False) -> Run | None:
        """Gives slots to runs that wait, as long as there are any. With `taking` the caller's thread takes one of them."""
        taken = None
        threads = self._threads_for(now)
        while self.waiting and len(self.active) < self._concurrency:
            run = self.waiting[0]
            takes = taking and taken is None and not run.is_async
            if not takes and not run.is_async and self._serving >= threads:
                break
            self.waiting.popleft()
            run.began = now
            self.active.add(run)
            if run.takes_context:
                run.flagged()
            if (timeout := run.claim.timeout) is not None:
                run.due = now + timeout
                if run.due < self.soonest:
                    self.soonest = run.due
                    self.work.notify()
            if takes:
                taken = run
            elif not self._start(run):
                break
        return taken

    def _line_up(self, runs: Sequence[Run]) -> bool:
        """Has runs wait, but for those without a handler, which are given back; whether all have one."""
        if not self._stopping and all(run.handler is not None for run in runs):
            self.waiting.extend(runs)
            return True
        well = True
        for run in runs:
            if run.handler is None:
                well = False
                logger.error("%s was claimed without a handler and is given back", run)
            if run.handler is None or self._stopping:  # claimed while the worker was told to stop
                self.decide(run, None)
            else:
                self.waiting.append(run)
        return well

    def _threads_for(self, now: float) -> int:
        """How many threads are to run sync jobs."""
        return 1 if self._pace.short(now) else self._concurrency

    # ------------------------------------------------------------------------------------------------------------------

    def take(self, jobs: Sequence[Job], *, taking: bool = False) -> tuple[bool, Run | None]:
        """Runs claimed jobs, as soon as slots are free; whether all can be run.

        With `taking` the caller's thread takes one of them, if that is better than to wake another thread for it: the run
        given, for `serve` or `put_back`. Not where one job runs at a time: its handlers may count on being called by the same
        thread each time.
        """
        now = time.monotonic()
        handlers = {type: self._handlers.get(type) for type in {job.type for job in jobs}}
        runs = [Run(job, handlers[job.type], now) for job in jobs]
        suspects = sum(run.is_suspect for run in runs)
        with self.lock:
            self.held.update(runs)
            self._suspects += suspects
            well = self._line_up(runs)
            before = len(self.todo)
            now = time.monotonic()  # to make a thousand runs takes milliseconds, which are none of theirs
            takes = taking and self._serving < min(self._threads_for(now), self._concurrency - 1)
            self._serving += takes
            taken = self.begin(now, taking=takes)
            if takes and taken is None:
                self._serving -= 1
            well = well and len(self.todo) == before
            if self._suspects:
                self.give_back_waiting()
            if self.waiting:
                self.work.notify()  # who tells looks after a thread that is stuck
            return well, taken

    def keep_back(self, slots: int) -> None:
        """A claim was short when there were so many free slots, and may have got more if there had been more of them."""
        with self.lock:
            self._kept_back = kept_back = self.free <= slots
        if not kept_back:  # one has come free since
            self._source.ring()

    def pass_on(self, task: Callable[[], None]) -> bool:
        """Has another thread carry out what the caller's does; False where the machine has none left."""
        try:
            self._threads.run(task, _nothing)
        except RuntimeError:
            return False
        return True

    def put_back(self, run: Run) -> None:
        """Gives a run back that the caller's thread took."""
        logger.error("%s could not be started and is given back", run)
        with self.lock:
            self._serving -= 1
            self.active.discard(run)
            self.decide(run, None)

    def close(self, until: float) -> None:
        """Ends the threads; returns at `until` whether all have ended or not."""
        if self._coroutines is not None:
            self._coroutines.close(until)
        self._threads.close(until)

    def _start(self, run: Run) -> bool:
        """Has the handler called, on a thread or the event loop's; False if that is impossible. The lock is held."""
        try:
            if run.is_async:
                coroutine = partial(call_async, run, self._handle(run))
                run.cancel = self._event_loop().run(coroutine, partial(self._came_back, run))
            else:
                self._threads.run(partial(self.serve, run), _nothing)
                self._serving += 1
        except RuntimeError:  # the machine has no thread left
            logger.exception("%s could not be started and is given back", run)
            self.active.discard(run)
            self.decide(run, None)
            return False
        return True

    def serve(self, run: Run | None) -> None:
        """Runs sync jobs, one after the other, as long as there are any: this one, then those that wait."""
        while run is not None:
            # What one job sets in a context variable is nothing to the next one.
            outcome = copy_context().run(call, run, self._handle(run))
            run = self._returned(run, outcome, threaded=True)

    def _returned(self, run: Run, outcome: Outcome | None, *, threaded: bool) -> Run | None:
        """Frees the slot, and fills it again: the run that the caller's thread, if it runs sync jobs, is to take."""
        if outcome is not None and outcome.status is JobStatus.FAILED and not run.decided:
            outcomes.log(run.claim, outcome)
        with self.lock:
            # who tells may be busy with hundreds of ends for seconds, and what is late must not pass for a success meanwhile
            now = time.monotonic()
            if now >= self.soonest:
                self.expire(now)
            self.active.discard(run)
            self._pace.ended(now, now - run.began, threaded=threaded)
            if run.decided:
                logger.info("%s came back after its end was decided: its result is dropped", run)
            else:
                self.decide(run, outcome)
            taken = None
            if self.waiting:
                taken = self.begin(now, taking=threaded and (self._serving == 1 or not self._pace.short(now)))
            if threaded and taken is None:
                self._serving -= 1
            if self.asking and len(self.active) + len(self.waiting) <= self._claim_at:
                self.asking = False
                self.slots.notify()
            rings = self._kept_back and self.free > 0
            if rings:
                self._kept_back = False
        if rings:
            self._source.ring()
        return taken

    def _came_back(self, run: Run, outcome: Outcome | None) -> None:
        self._returned(run, outcome, threaded=False)

    def _handle(self, run: Run) -> Callable[[], Any]:
        handler = run.handler
        assert handler is not None  # noqa: S101 - what has none is given back before it begins
        if not handler.takes_context:
            return partial(handler.fn, run.claim)
        assert run.flags is not None  # noqa: S101 - made when it began
        return partial(handler.fn, run.claim, Context(run.claim, self._source, run.flags, self._hop))

    def _event_loop(self) -> Coroutines:
        if self._coroutines is None:
            from gnj.worker.coroutines import Coroutines  # noqa: PLC0415 - asyncio waits until it is needed

            self._coroutines = Coroutines("gnj-async")
        return self._coroutines

    def _hop(self, task: Callable[[], Any]) -> Awaitable[Any]:
        from gnj.worker.coroutines import hop  # noqa: PLC0415 - likewise

        return hop(self._threads, task)


def _nothing(_: None) -> None:
    pass
