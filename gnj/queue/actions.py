"""What the queue contract does with jobs and queues besides working them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gnj.queue import bulk, deletes, jobs, naming, pipelines
from gnj.queue.derived import ENDED, STATUSES, compared, in_state
from gnj.queue.errors import IllegalTransition, InvalidInput, JobNotFound
from gnj.queue.holds import ALL_TYPES
from gnj.queue.model import Hold, Job, Pipeline
from gnj.queue.shared_secret import SharedSecret
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.values import Json, check_bool, check_int, check_json, same_json, shown
from gnj.queue.where import EVERYTHING, And, Condition, equal

MAX_CLEAN: Final = 10_000
"""Jobs that one `clean` removes at most."""
MAX_GRACE: Final = 10**12
"""Milliseconds."""
CLEANED: Final = ("completed", "failed", "waiting", "prioritized", "delayed")
"""The states whose jobs can be cleaned away."""
SECONDS: Final = 3.0
"""For so long a call removes jobs; then the caller is told that there are more."""
PAGE: Final = 1_000
"""Jobs that one transaction removes."""


@dataclass(frozen=True, slots=True)
class Removed:
    """How many jobs were removed, and whether there are more that may be: then the call is to be made again."""

    removed: int
    more: bool


class Acting(SharedSecret):
    """The commands; `id` is a job's as `Listing.find_one` knows it. All raise `JobNotFound`, those that move
    `IllegalTransition`.
    """

    def requeue(self, queue: str, id: str, *, tenant: str) -> Job:
        """Queues a failed or cancelled job again, for one more try; reopens what it belongs to."""
        return self.run(lambda unit: jobs.requeue(unit, tenant, naming.named(unit.tx, queue, id, tenant).id))

    def promote(self, queue: str, id: str, *, tenant: str) -> Job:
        """Makes a delayed job ready now."""

        def command(unit: Unit) -> Job:
            job = _locked(unit, queue, id, tenant)
            if job.status is not JobStatus.QUEUED or job.due_at is None or job.due_at <= unit.tx.now():
                raise IllegalTransition("The job must be delayed")
            unit.ready = True
            (ready,) = unit.tx.edit(Job, [job.id], {"start_after": None, "due_at": None})
            return ready

        return self.run(command)

    def set_data(self, queue: str, id: str, data: Json, *, tenant: str) -> Job:
        """Gives a job other data, any JSON of at most 4 MiB; a try under way keeps what it was given. Raises `InvalidInput`."""
        given = check_json(data, "data")

        def command(unit: Unit) -> Job:
            # not as an update of the job's worker: that would renew its lease
            job = _locked(unit, queue, id, tenant)
            if same_json(job.input, given) and "input" not in jobs.unreadable(job):
                return job
            (changed,) = unit.tx.edit(Job, [job.id], {"input": given})
            return changed

        return self.run(command)

    def remove_job(self, queue: str, id: str, *, tenant: str) -> Job:
        """Deletes a job that nobody is working on."""
        return self.run(lambda unit: deletes.delete(unit, Job, tenant, naming.named(unit.tx, queue, id, tenant).id))

    def is_paused(self, queue: str, *, tenant: str) -> bool:
        """Whether the jobs of a queue are held: by a hold of it or of all types, of the tenant or of the host."""
        return self.storage.exists(Hold, equal(Hold, type=(queue, ALL_TYPES), tenant=(tenant, ""), held=True))

    def drain(self, queue: str, *, delayed: bool = False, tenant: str) -> Removed:
        """Deletes the jobs that wait, and, if asked, those that are delayed; members of batches and pipelines stay."""
        check_bool(delayed, "delayed")
        until = time.monotonic() + SECONDS
        done = _Pages(self.run, tenant, until).lane(queue)
        if delayed and not done.more:
            later = _Pages(self.run, tenant, until).by_id(lambda now: _having(queue, tenant, "delayed", now))
            done = Removed(done.removed + later.removed, later.more)
        self._say(queue, tenant, "drained", done)
        return done

    def clean(self, queue: str, status: str, grace: int, limit: int, *, tenant: str) -> Removed:
        """Deletes at most `limit` jobs of a state older than `grace` milliseconds, the oldest first; members of batches and
        pipelines stay.

        Args:
            queue: The queue.
            status: One of `CLEANED`.
            grace: Milliseconds since the end of a job that has ended, since another one was added.
            limit: 1 to 10,000.
            tenant: Whose jobs.

        Raises `InvalidInput`.
        """
        if status not in CLEANED:
            raise InvalidInput(f"Invalid status: {shown(status)}; there are: {', '.join(CLEANED)}")
        age = timedelta(milliseconds=check_int(grace, "grace", low=0, high=MAX_GRACE))
        most = check_int(limit, "limit", low=1, high=MAX_CLEAN)

        def old(now: datetime) -> Condition:
            return And((_having(queue, tenant, status, now), compared("created_at", "lte", now - age)))

        pages = _Pages(self.run, tenant, time.monotonic() + SECONDS)
        done = pages.ended(queue, STATUSES[status], age, most) if status in ENDED else pages.by_id(old, most)
        self._say(queue, tenant, "cleaned", done)
        return done

    def start_bulk(self, queue: str, action: str, filter: Mapping[str, Json], *, tenant: str) -> Job:
        """Stores the job that retries or removes, as `action` says, the jobs of the queue that the filter describes.

        It is of the type `gnj:bulk`, and tells in its progress how far it is (`gnj.queue.bulk`). Jobs that are added later are
        left alone. Raises `InvalidInput`, naming the field.
        """
        task = bulk.checked({"action": action, "queue": queue, "filter": filter})
        secret = self.shared_secret()
        return self.run(lambda unit: bulk.start(unit, tenant, task, secret))

    def _say(self, queue: str, tenant: str, event: str, done: Removed) -> None:
        if done.removed:
            said = {"event": event, "queue": queue, "count": done.removed}
            self.run(lambda unit: unit.say("queue", tenant, said))


class _Pages:
    """Removes jobs page by page, each in a transaction of its own, for as long as there is time."""

    def __init__(self, run: Callable[[Callable[[Unit], Any]], Any], tenant: str, until: float) -> None:
        self._run = run
        self._tenant = tenant
        self._until = until

    @property
    def _over(self) -> bool:
        return time.monotonic() >= self._until

    def lane(self, queue: str) -> Removed:
        """Those that are ready, in the order of claims: what stands behind them is not looked at."""
        removed = passed = found = 0

        def page(unit: Unit) -> tuple[int, int]:
            unit.tx.promote(PAGE)
            ready = unit.tx.lane(queue, self._tenant, PAGE, offset=passed)
            return len(ready), _gone(unit, [id for id, *_ in ready], [JobStatus.QUEUED])

        while True:
            looked, gone = self._run(page)
            removed += gone
            found += gone
            passed += looked - gone
            if looked < PAGE:
                if not found:
                    return Removed(removed, more=False)
                passed = found = 0  # claims meanwhile moved others to where this had been already
            if self._over:
                return Removed(removed, more=True)

    def ended(self, queue: str, statuses: Collection[JobStatus], age: timedelta, most: int) -> Removed:
        """Those that ended in one of these statuses, so long ago; at most so many, in the order of their ends."""
        removed, reached = 0, None

        def page(unit: Unit) -> tuple[int, tuple[datetime, int] | None]:
            left, until = min(PAGE, most - removed), unit.tx.now() - age

            def beyond(place: tuple[datetime, int] | None, count: int) -> list[tuple[datetime, int]]:
                found = unit.tx.ended(queue, self._tenant, statuses, count, beyond=place)
                return [(ended_at, id) for id, ended_at in found if ended_at <= until]

            some = beyond(reached, left)
            gone = _gone(unit, [id for _, id in some], statuses, compared("ended_at", "lte", until))
            if len(some) < left:
                return gone, None
            rest = [id for _, id in beyond(some[-1], PAGE)]
            more = len(rest) == PAGE or (rest and unit.tx.exists(Job, And((equal(Job, id=tuple(rest)), deletes.ALONE))))
            return gone, some[-1] if more else None

        while True:
            gone, reached = self._run(page)
            removed += gone
            if reached is None:
                return Removed(removed, more=False)
            if self._over or removed == most:
                return Removed(removed, more=removed > 0)  # else there is nothing but members, as far as was seen

    def by_id(self, which: Callable[[datetime], Condition], most: int | None = None) -> Removed:
        """Those that meet a condition, which depends on the present; at most so many, the oldest first."""
        removed = last = 0

        def page(unit: Unit) -> tuple[int, int | None]:
            left = PAGE if most is None else min(PAGE, most - removed)
            condition = And((which(unit.tx.now()), compared("id", "gt", last)))
            ids = _first(unit, condition, left)
            # their condition again, of rows that may have changed since they were found
            gone = _gone(unit, ids, [status for status in JobStatus if status in deletes.UNCLAIMED], condition)
            more = len(ids) == left and bool(_first(unit, And((condition, compared("id", "gt", ids[-1]))), 1))
            return gone, ids[-1] if more else None

        while True:
            gone, reached = self._run(page)
            removed += gone
            if reached is None:
                return Removed(removed, more=False)
            last = reached
            if self._over or removed == most:
                return Removed(removed, more=True)


def _gone(unit: Unit, ids: Sequence[int], frm: Collection[JobStatus], besides: Condition = EVERYTHING) -> int:
    return deletes.delete_jobs(unit, And((equal(Job, id=tuple(ids)), deletes.ALONE, besides)), frm) if ids else 0


def _first(unit: Unit, condition: Condition, count: int) -> list[int]:
    """The ids of the first so many jobs that meet a condition."""
    found = unit.tx.columns(Job, ["id"], Select(And((condition, deletes.ALONE)), limit=count))
    return [id for (id,) in found]


def _having(queue: str, tenant: str, state: str, now: datetime) -> Condition:
    return And((equal(Job, type=queue, tenant=tenant), in_state(state, now)))


def _locked(unit: Unit, queue: str, id: str, tenant: str) -> Job:
    """The job under lock, to be changed by hand; its parents are left alone."""
    job = unit.tx.get(Job, naming.named(unit.tx, queue, id, tenant).id, tenant=tenant, lock=True)
    if job is None or job.type != queue:
        raise JobNotFound
    if job.pipeline_id is not None:
        pipelines.check_free(unit.tx.get(Pipeline, job.pipeline_id))
    return job
