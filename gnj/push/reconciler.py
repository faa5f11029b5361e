"""Registrations as they are in the table, and workers as they run here: the one made like the other, again and again.

Whatever was missed, one look at the table finds: nothing depends on having been told of a change. What runs is known by the id and
the version of its registration, so that one that was deleted and made anew is another one.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import Final

from gnj.fetch.connection import Pool
from gnj.fetch.policy import Policy
from gnj.push.calls import MOST as CALLS
from gnj.push.calls import Calls, Share
from gnj.push.deliver import Deliveries
from gnj.queue.ends import Locked, Outcome
from gnj.queue.errors import GnjError, StorageError
from gnj.queue.model import Job, PushWorker
from gnj.queue.policy import Policy as JobPolicy
from gnj.queue.pushing import MOST_FAILED, Standing
from gnj.queue.service import Queue
from gnj.worker.handlers import Handlers
from gnj.worker.source import QueueSource
from gnj.worker.worker import Worker

logger = logging.getLogger("gnj.push")

HELD: Final = 5.0
"""Seconds for which a registration is held: as long as others wait after its holder was lost."""
RENEWED: Final = 3.5
"""Seconds before the end of its hold from which on it is renewed; by this machine's clock, which nobody puts back."""
LEASE: Final = 30.0
"""Seconds for which a job is claimed at most; it is renewed while its call lasts."""
SPARE: Final = 15.0
"""Seconds for which a job stays claimed beyond the time that its call has."""
GRACE: Final = 5.0
"""Seconds that calls under way are given when the server ends."""
MOST: Final = 500
"""Registrations that one server holds: each has three threads, besides those of its calls."""
PATIENCE: Final = 5.0
"""Seconds that a server which has enough to call leaves a registration to others, before it takes it all the same."""
SOON: Final = 0.1
"""Seconds after which a worker claims again that was to have fewer calls under way than it might."""
WORKER_TYPE: Final = "push"


class Reconciler:
    """Runs a worker for each registration that this process holds.

    Args:
        queue: The jobs, and the registrations.
        allow: See `gnj.fetch.policy.Policy`.
        policy: Where calls may lead, in the place of what `allow` makes.

    Raises ValueError for what cannot be allowed.
    """

    def __init__(self, queue: Queue, allow: Collection[str], policy: Policy | None = None) -> None:
        self._queue = queue
        self._policy = Policy(allow) if policy is None else policy
        self._pool = Pool()
        self._calls = Calls()
        self._running: dict[int, _Running] = {}
        self._ending: set[threading.Thread] = set()
        self._listening: ExitStack | None = None
        self._closed = False
        self._left_out = 0
        self._free_since: dict[int, float] = {}
        self.holder = f"push:{secrets.token_hex(6)}"
        """Names this process in the table, and in the jobs that it claims: to all who read jobs, so it says nothing of the machine."""

    @property
    def running(self) -> dict[int, int]:
        """The versions of the registrations that run here, by their ids."""
        return {id: each.registration.version for id, each in self._running.items()}

    def tick(self) -> None:
        """Takes what is free, gives up what is gone, and starts and stops workers accordingly."""
        begun = time.monotonic()
        standing = self._queue.standing(self.holder, HELD)
        wanted = {row.id: row for row in standing.registrations if row.disabled_at is None}
        beyond = self._beyond(wanted, standing)
        for id, running in list(self._running.items()):
            if id in beyond or id not in wanted or wanted[id].version != running.registration.version:
                self._end(id)
        if beyond & standing.held:
            self._queue.let_go(self.holder, beyond & standing.held)
        due = {
            id for id in standing.held if id not in self._running or self._running[id].source.until < begun + RENEWED
        }
        free = self._willing(wanted, (standing.free & wanted.keys()) - beyond, begun)
        wished = [id for id in free | (due & wanted.keys()) - beyond if not self._closed]
        taken = self._queue.take_holds(wished, self.holder, HELD) if wished else frozenset()
        for id in taken & self._running.keys():
            self._running[id].source.until = begun + HELD
        for id in self._running.keys() - taken - (standing.held - due):
            logger.warning("another server calls the endpoint of the queue %s now", self._running[id].registration.type)
            self._end(id)
        for id in sorted(taken - self._running.keys()):
            self._begin(wanted[id], begun + HELD)
        for id, running in list(self._running.items()):
            if running.note_failures(self._queue):
                logger.warning("the endpoint of the queue %s is not called any more", running.registration.type)
                self._end(id)
        self._pool.sweep()
        self._listen(wanted=bool(self._running))

    def close(self) -> None:
        """Stops the workers and lets go of the registrations: at once others may go on, while calls under way end. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for id in list(self._running):
            self._end(id, GRACE)
        with suppress(GnjError):  # then time lets go of them
            self._queue.let_go(self.holder)
        end = time.monotonic() + GRACE + 1.0
        for thread in list(self._ending):
            thread.join(max(0.0, end - time.monotonic()))
        self._listen(wanted=False)
        self._pool.close()

    def _beyond(self, wanted: Mapping[int, PushWorker], standing: Standing) -> frozenset[int]:
        """Those that are left to other servers, of what this one holds and nobody does: it has enough. Each tenant has its turn."""
        turns: Counter[str] = Counter()
        order: list[tuple[int, int]] = []
        ours = (standing.held | standing.free) & wanted.keys()
        for id in [*sorted(ours & self._running.keys()), *sorted(ours - self._running.keys())]:
            order.append((turns[wanted[id].tenant], id))
            turns[wanted[id].tenant] += 1
        beyond = frozenset(id for _, id in sorted(order)[MOST:])
        if len(beyond) > self._left_out:
            logger.warning("%d push workers are left to other servers: this one runs %d", len(beyond), MOST)
        self._left_out = len(beyond)
        return beyond

    def _willing(self, wanted: Mapping[int, PushWorker], free: Collection[int], now: float) -> frozenset[int]:
        """Those that this server takes, of what nobody holds: while it can make all the calls at once that it may be asked for. What
        is beyond others have had the time to take. What it runs it keeps, where it only was late.
        """
        self._free_since = {id: self._free_since.get(id, now) for id in free}
        calls = sum(_concurrency(each.registration) for each in self._running.values())
        taken = {id for id in free if id in self._running}
        for id in sorted(set(free) - taken):
            calls += _concurrency(wanted[id])
            if calls <= CALLS or now - self._free_since[id] >= PATIENCE:
                taken.add(id)
        return frozenset(taken)

    def _begin(self, row: PushWorker, until: float) -> None:
        if self._closed:
            return
        try:
            running = _Running(self._queue, row, self._policy, self._pool, self._calls, self.holder)
            running.source.until = until
            running.worker.start()
        except Exception:  # of one registration, which is no reason to leave the others alone
            logger.exception("the endpoint of the queue %s cannot be called", row.type)
            return
        self._running[row.id] = running
        logger.info("calling the endpoint of the queue %s, version %d", row.type, row.version)

    def _end(self, id: int, grace: float | None = None) -> None:
        """Claims no more at once; waits elsewhere for the calls that are under way."""
        running = self._running.pop(id)
        running.source.until = 0.0
        seconds = running.registration.timeout_ms / 1000 + 1.0 if grace is None else grace
        thread = threading.Thread(target=running.stop, args=(seconds,), name="gnj-push-stop", daemon=True)
        self._ending = {each for each in self._ending if each.is_alive()} | {thread}
        thread.start()

    def _listen(self, *, wanted: bool) -> None:
        """Hears of new work from other processes, once for all workers."""
        if wanted and self._listening is None:
            with ExitStack() as stack:
                stack.enter_context(self._queue.listening())
                self._listening = stack.pop_all()
        elif not wanted and self._listening is not None:
            listening, self._listening = self._listening, None
            listening.close()


class _Running:
    """A registration as it is called here."""

    def __init__(
        self, queue: Queue, registration: PushWorker, policy: Policy, pool: Pool, calls: Calls, holder: str
    ) -> None:
        self.registration = registration
        self._deliveries = Deliveries(queue, registration, policy, pool)
        self._noted = registration.failed
        options = registration.options if isinstance(registration.options, dict) else {}
        handlers = Handlers()
        handlers.register(registration.type, self._deliveries.deliver)
        concurrency = _concurrency(registration)
        share = Share(calls, registration.tenant, registration.type, concurrency)
        self.source = _Held(queue, registration, self._deliveries, share, holder, options.get("maxStalledCount"))
        self.worker = Worker(self.source, handlers, concurrency=concurrency)

    def stop(self, grace: float) -> None:
        """Lets calls under way end, for so many seconds."""
        try:
            self.worker.stop(grace)
        finally:
            self.source.share.close()

    def note_failures(self, queue: Queue) -> bool:
        """Keeps in the table how many calls failed in a row, if that has changed; whether they were too many."""
        failed = self._deliveries.failed
        if failed != self._noted:
            queue.note_failures(self.registration.id, self.registration.version, failed)
            self._noted = failed
        return failed >= MOST_FAILED


def _concurrency(registration: PushWorker) -> int:
    options = registration.options if isinstance(registration.options, dict) else {}
    return options.get("concurrency") or 1


class _Held(QueueSource):
    """The queue of a registration: nothing is claimed once the registration is not held any more, whoever has noticed, nor what
    cannot be called for.
    """

    def __init__(
        self,
        queue: Queue,
        registration: PushWorker,
        deliveries: Deliveries,
        share: Share,
        holder: str,
        max_stalled: int | None,
    ) -> None:
        lease = min(LEASE, registration.timeout_ms / 1000 + SPARE)
        policies = None if max_stalled is None else {registration.type: JobPolicy(max_stalled=max_stalled)}
        super().__init__(queue, holder, WORKER_TYPE, lease, [registration.tenant], policies)
        self.until = 0.0
        """By `time.monotonic`: when the hold is over."""
        self.share = share
        self._deliveries = deliveries

    def claim(self, types: Sequence[str], limit: int, slots: int | None = None) -> list[Job]:
        """See `Source.claim`."""
        if time.monotonic() >= self.until or self._deliveries.is_disabled or not (most := self.share.ask(limit)):
            return []
        jobs: list[Job] = []
        try:
            jobs = super().claim(types, most, slots)
        finally:
            self.share.claimed(jobs)
        return jobs

    def settle(self, outcomes: Sequence[Outcome]) -> Sequence[Job | GnjError | None]:
        """See `Source.settle`."""
        results = super().settle(outcomes)
        self.share.ended(
            outcome.claim
            for outcome, result in zip(outcomes, results, strict=True)
            if not isinstance(result, (Locked, StorageError))
        )
        return results

    def release(self, claims: Sequence[Job]) -> frozenset[int]:
        """See `Source.release`."""
        again = super().release(claims)
        self.share.ended(claim for claim in claims if claim.id not in again)
        return again

    def wait(self, seen: int, timeout: float) -> int:
        """See `Source.wait`."""
        return super().wait(seen, min(timeout, SOON) if self.share.is_short else timeout)

    def listening(self) -> AbstractContextManager[None]:
        """See `Source.listening`: the reconciler listens for all of them."""
        return nullcontext()
