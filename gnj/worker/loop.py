"""The run loop of a worker, over any `Source`.

Three threads talk to the source, because each may be kept waiting by the database while the others must not be: one
claims, one tells how jobs ended, one renews. The one that claims is whichever of those that run handlers is free. What they share, and the threads that run handlers, is in `Hands`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from gnj.queue.ends import Locked, Outcome
from gnj.queue.errors import GnjError, StorageError
from gnj.queue.model import Job
from gnj.queue.states import JobStatus
from gnj.worker import outcomes
from gnj.worker.handlers import Handlers
from gnj.worker.hands import Hands
from gnj.worker.outage import Outages, pause
from gnj.worker.pace import GATHER
from gnj.worker.run import Run, refused
from gnj.worker.source import Limited, Source
from gnj.worker.threads import join

logger = logging.getLogger("gnj.worker")

HEARTBEAT = 1.5
"""Seconds between two renewals at most: their answers tell of cancellations, which a handler sees within 2 seconds."""
FRESH = 0.4
"""Seconds after its claim from which on a job is renewed: a worker of short jobs has ended most of its thousands by then."""
AGAIN = 0.2
"""Seconds after which the end of a job that somebody's transaction has locked is told again; meanwhile others are."""
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
        self._limited = source if isinstance(source, Limited) else None
        self._handlers = handlers
        self._types = types
        self._poll = poll
        self._on_end: Callable[[], None] | None = ended
        self._outages = Outages()
        self._hands = hands = Hands(source, handlers, concurrency)
        self._lock, self._slots, self._work = hands.lock, hands.slots, hands.work
        self._end = threading.Condition(self._lock)
        """Wakes those who wait in `stop`."""
        self._deadline = math.inf
        """End of the grace time; finite from the first `stop` on."""
        self._claimed_all = False
        self._told_all = False
        self._locked: list[tuple[Run, Outcome | None]] = []
        self._again = math.inf
        """When those are told again."""
        self._closed = threading.Event()
        self._own = [
            threading.Thread(target=work, name=f"gnj-{name}", daemon=True)
            for name, work in (("settle", self._settle), ("heartbeat", self._renew))
        ]
        # What who claims hands on to the next thread that does.
        self._stack = ExitStack()
        self._listens = False
        self._failures = 0
        self._wait: Callable[[], None] = _nothing
        """What there is to be waited for before the next claim."""

    def start(self) -> None:
        """Begins; returns at once."""
        for thread in self._own:
            thread.start()
        if not self._hands.pass_on(self._claim):
            raise RuntimeError("can't start new thread")

    def stop(self, grace: float) -> None:
        """See `Worker.stop`; the calls of several threads end together, by the earliest of their deadlines."""
        hands = self._hands
        with self._lock:
            self._deadline = min(self._deadline, time.monotonic() + grace)
            hands.stop()
            for condition in (self._slots, self._work, self._end):
                condition.notify_all()
        self._source.ring()
        with self._lock:
            self._until_told(0.0)
            hands.give_up(run for run in hands.held if run.cancel is None)
            hands.dismiss()
            self._until_told(_FAREWELL)
            hands.give_up(hands.held)
            self._until_told(_LIMIT)
            if hands.held:
                logger.warning("%d claims could not be told about: they end with their leases", len(hands.held))
        self._closed.set()
        until = self._deadline + _EXIT
        hands.close(until)
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

    # Claiming ---------------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Claims until the worker stops, or has this thread run a job while another one goes on: a job that comes while
        nothing runs begins without waiting for a thread to wake up.
        """
        thread, run = threading.current_thread(), None
        name, thread.name = thread.name, "gnj-claim"
        try:
            unstarted = 0
            while (run := self._claimed()) is not None and not self._hands.pass_on(self._claim):
                self._hands.put_back(run)
                unstarted += 1  # the system has no thread left: what was put back would be claimed again at once
                self._wait = partial(self._rest, pause(unstarted))
        finally:
            thread.name = name
            if run is None:
                self._leave(thread)
        if run is not None:
            self._hands.serve(run)

    def _claimed(self) -> Run | None:
        """Claims and hands out, until there is a run that the caller's thread is to serve; None when the worker stops."""
        while True:
            self._wait()
            limit, slots = self._room()
            if not limit:
                return None
            seen = self._source.rings
            self._listens = self._listens or self._listen()
            types = self._handlers.types if self._types is None else self._types
            jobs = self._outages.ask("claim", self._to_claim(types, limit, slots))
            well, run = (False, None) if jobs is None else self._hands.take(jobs, taking=True)
            if jobs is None or not well:
                self._failures += 1
                self._wait = partial(self._rest, pause(self._failures))
            else:
                self._failures = 0
                self._wait = partial(self._idle, seen) if len(jobs) < limit else _nothing
                if self._limited is not None and slots <= len(jobs) < limit and self._limited.limits(types):
                    self._hands.keep_back(slots)
            if run is not None:
                return run

    def _to_claim(self, types: Sequence[str], limit: int, slots: int) -> Callable[[], Sequence[Job]]:
        if self._limited is None:
            return partial(self._source.claim, types, limit)
        return partial(self._limited.claim, types, limit, slots)

    def _idle(self, seen: int) -> None:
        # `stop` sets the deadline, then rings: where `seen` counts that ring already, the deadline is set.
        if self._deadline == math.inf:
            waited = self._outages.ask("wait for work", lambda: [self._source.wait(seen, self._poll)])
            if waited is None:
                self._rest(self._poll)

    def _leave(self, thread: threading.Thread) -> None:
        """The last claim was made, on that thread."""
        try:
            self._stack.close()
        finally:
            with self._lock:
                self._own.append(thread)
                self._claimed_all = True
                self._work.notify()

    def _room(self) -> tuple[int, int]:
        """How many jobs to claim, as soon as that is any, and how many can begin at once; 0 when the worker stops."""
        with self._lock:
            while self._deadline == math.inf:
                if room := self._hands.room():
                    return room, self._hands.free
                if not self._hands.ask(min(self._hands.tick, _LONGEST_WAIT)):
                    self._hands.help()
            return 0, 0

    def _listen(self) -> bool:
        listens = self._outages.ask("listen", lambda: [self._stack.enter_context(self._source.listening())])
        return listens is not None

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._lock:
            while self._deadline == math.inf and (left := end - time.monotonic()) > 0:
                self._slots.wait(left)

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

        While one batch is being told the next one gathers, so batches grow with the load. Under a load of short jobs it
        gathers for a moment more.
        """
        hands, gathered = self._hands, False
        with self._lock:
            while True:
                now = time.monotonic()
                hands.expire(now)
                if now >= self._again:
                    hands.todo.extend(self._locked)
                    self._locked, self._again = [], math.inf
                if now >= self._deadline + _LIMIT or (self._claimed_all and not hands.held):
                    return []
                if hands.todo and now >= not_before:
                    if not gathered and hands.gathers:
                        gathered = hands.gathering = True
                        hands.listen(GATHER)
                        hands.gathering = False
                        hands.help()
                        continue
                    batch = list(hands.todo)
                    hands.todo.clear()
                    return batch
                until = min(hands.soonest, self._deadline + _LIMIT, self._again, not_before if hands.todo else math.inf)
                if not hands.listen(min(until - now, hands.tick, _LONGEST_WAIT)):
                    hands.help()

    def _tell(self, batch: Sequence[tuple[Run, Outcome | None]]) -> bool:
        """Tells ends and gives claims back; False when some must be told again, and not at once."""
        left = dict(batch)
        locked: list[tuple[Run, Outcome | None]] = []
        well = self._outages.ask("settle", partial(self._ask_to_end, left, locked)) is not None
        hands, kept = self._hands, {run for run, _ in locked}
        with self._lock:
            hands.told([run for run, _ in batch if run not in left and run not in kept])
            if locked:
                self._locked += locked
                self._again = min(self._again, time.monotonic() + AGAIN)
            hands.todo.extendleft(reversed(left.items()))
            self._slots.notify()
        return well

    def _ask_to_end(self, left: dict[Run, Outcome | None], locked: list[tuple[Run, Outcome | None]]) -> bool:
        """Takes out of `left` what the source took, and what it could not as it is `locked`; raises when it could not be asked
        about all of it.
        """
        unreachable: StorageError | None = None
        ends = {run: outcome for run, outcome in left.items() if outcome is not None}
        results = self._source.settle(list(ends.values())) if ends else []
        for (run, outcome), result in zip(ends.items(), results, strict=True):
            if result is None:
                del left[run]
            elif isinstance(result, Locked):
                locked.append((run, left.pop(run)))
            elif isinstance(result, StorageError):
                unreachable = result
            elif isinstance(result, GnjError) and (instead := refused(run, outcome, result)) is not None:
                left[run] = instead
            else:
                del left[run]
        if unreachable is not None:
            raise unreachable
        if back := [run for run, outcome in left.items() if outcome is None]:
            again = self._source.release([run.claim for run in back])
            for run in back:
                del left[run]
                if run.claim.id in again:
                    locked.append((run, None))
        return True

    # Renewing ---------------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Renews what is held, all of it in one call, until `stop` has done its work.

        Ends that are not told yet are renewed as well: nobody else shall run what is done.
        """
        rhythm = min(self._source.lease / 3, HEARTBEAT)
        fresh = min(rhythm / 3, FRESH)
        failures, wait = 0, rhythm
        while not self._closed.wait(wait):
            begun = time.monotonic()
            with self._lock:
                self._hands.give_back_stale()
                old = begun - fresh
                runs = [run for run in self._hands.held if run.claimed <= old and (run.decided or not run.is_over)]
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
                    self._to_be_cancelled(run)
            wait = max(0.0, begun + rhythm - time.monotonic())

    def _ask_to_renew(self, runs: Sequence[Run]) -> list[tuple[Run, Job | None]]:
        jobs = self._source.renew([run.claim for run in runs]) if runs else []
        return list(zip(runs, jobs, strict=True))

    def _lost(self, run: Run) -> None:
        with self._lock:
            # An end that was told while the leases were renewed has not been lost.
            if not run.decided:
                run.flagged().end()
                if self._hands.drop(run):
                    self._hands.decide(run, None)
                logger.warning("%s lost its lease: what its handler returns will be dropped", run)

    def _to_be_cancelled(self, run: Run) -> None:
        with self._lock:
            run.flagged().cancel.set()
            if self._hands.drop(run):
                self._hands.decide(run, outcomes.not_begun(run.claim))


def _nothing() -> None:
    pass
