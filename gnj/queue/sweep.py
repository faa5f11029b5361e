"""Jobs that are not to be kept: `removeOnComplete` and `removeOnFail`, of jobs and of the registrations of push workers.

A job that has ended goes, within seconds, once what applies to it says so: `true` and 0, at once; a number, or `count`, once so
many jobs of the queue have ended in the same way after it; `age`, once it ended so many seconds ago; of several, whichever comes
first. What a job says goes before what the registration says, and `false` keeps it. `limit` bounds how many jobs go for its sake
in one look. Members of batches and pipelines stay.

A job whose deduplication holds for a `ttl` stays until that is over.

Nobody who ends a job has to look: `Sweeper` does, beside the servers, at those queues only that were noted to have such jobs.
It reads outside of transactions that write, by pages, and what it takes does not depend on what the options say.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import zip_longest
from typing import Final, NamedTuple

from gnj.queue import deletes
from gnj.queue.errors import GnjError
from gnj.queue.keeping import OUTCOMES, Rule, goes, rule_of, says, throttle_of
from gnj.queue.model import Job, PushWorker, Secret, attributes
from gnj.queue.runner import Runner
from gnj.queue.states import JOB_UNFINISHED, JobStatus
from gnj.queue.storage import Rows, Select
from gnj.queue.sweeping import MARK
from gnj.queue.values import Json
from gnj.queue.where import And, Compare, Not, equal

logger = logging.getLogger("gnj.sweep")

EVERY: Final = 2.0
"""Seconds between two looks, at least."""
SHARE: Final = 20
"""What took some time is done again after so many times that: it takes a twentieth of one connection."""
LONG: Final = 2.0
"""Seconds that a look takes, about: the next one begins with what it did not come to."""
SECONDS: Final = 0.5
"""For so long one look goes through the jobs of a queue that ended in one way; the next one goes on there."""
PAGE: Final = 500
"""Jobs that are read, and perhaps removed, at once."""
RECENT: Final = 5_000
"""Jobs of a queue that have ended since the last look and are looked at in any case: the newest."""
IDLE: Final = timedelta(hours=1)
"""After so long without that, nobody has added such a job, and what is noted goes if none is left."""

_FEW: Final = 100
"""So many of them are looked for at first."""
_PATIENCE: Final = 5.0
"""Seconds that `close` waits for a page."""
_OVERLAP: Final = timedelta(seconds=10)
"""Ends that were committed as late as this after their time are found by the next look."""
_UNDER_WAY: Final = JOB_UNFINISHED - {JobStatus.QUEUED}
_KNOWN: Final = attributes(Secret)


@dataclass(slots=True)
class _Walk:
    """A way through all jobs of a queue that ended in one way, the oldest first."""

    total: int
    """How many there were when it began."""
    idle: datetime | None
    """If nobody was working on the queue then: what was noted by that time may go, unless a job says that it goes."""
    looked: int = 0
    reached: tuple[datetime, int] | None = None
    ruled: bool = False
    """Whether a job was met, and is left, that says when it goes."""
    spent: float = 0.0
    """Seconds that it took so far."""


@dataclass(slots=True)
class _Place:
    """How far the looks at the jobs of a queue that ended in one way have come."""

    since: datetime | None = None
    """What ended before then was looked at; None: nothing was yet."""
    walk: _Walk | None = None
    """The one that is under way."""
    again: float = -math.inf
    """When the next one begins, by the monotonic clock."""
    over: datetime | None = None
    """What was noted by that time is of no use here, by the last one."""


@dataclass(slots=True)
class _Queue:
    """What is known of a queue."""

    places: Mapping[str, _Place] = field(default_factory=lambda: {name: _Place() for name in OUTCOMES})
    looked: float = -math.inf
    """When it was looked at, by the monotonic clock."""


@dataclass(slots=True)
class _Task:
    """A queue to be looked at: why."""

    mark: Secret | None = None
    registered: Mapping[str, Json] = field(default_factory=dict)
    """The options of its push worker, if they say that jobs go."""


class _Ended(NamedTuple):
    """What of a job decides whether it goes."""

    id: int
    created_at: datetime
    ended_at: datetime
    batch_id: int | None
    pipeline_id: int | None
    options: Json


@dataclass(frozen=True, slots=True)
class _Page:
    """Jobs that ended one after the other."""

    found: Sequence[tuple[int, datetime]]
    """Their ids and the times of their ends, the oldest first."""
    jobs: Mapping[int, _Ended]
    """Those of them, by id, that have not been queued again or removed since they were found."""


class Sweeper:
    """Removes, as often as `tick` is called, what is not to be kept. Several servers may do so at once.

    Args:
        queue: The jobs.
    """

    def __init__(self, queue: Runner) -> None:
        self._queue = queue
        self._known: dict[tuple[str, str], _Queue] = {}
        self._again = -math.inf
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Begins a look, if it is time for one: in a thread of its own, for it may take long."""
        if time.monotonic() < self._again or (self._thread is not None and self._thread.is_alive()):
            return
        self._again = time.monotonic() + EVERY
        if tasks := self._tasks():
            self._thread = threading.Thread(target=self._run, args=(tasks,), name="gnj-sweep", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends a look that is under way, after its page."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def look(self) -> None:
        """Looks once at all queues, as far as there is time."""
        self._look(self._tasks())

    def _look(self, tasks: Mapping[tuple[str, str], _Task]) -> None:
        self._known = {key: self._known.get(key, _Queue()) for key in tasks}
        until = time.monotonic() + LONG
        for key in self._in_turn():
            tenant, type = key
            known, task = self._known[key], tasks[key]
            for name, place in known.places.items():
                if self._stopped.is_set():
                    return
                look = _Look(self._queue, tenant, type, name, task.registered.get(name))
                look.at(place, task.mark)
            known.looked = time.monotonic()
            self._forget(known, task.mark)
            if time.monotonic() >= until:
                return

    def _in_turn(self) -> list[tuple[str, str]]:
        """The queues, one of each tenant and then the next of each: whoever was looked at longest ago comes first."""
        of_tenant: dict[str, list[tuple[str, str]]] = {}
        for key in sorted(self._known, key=lambda key: self._known[key].looked):
            of_tenant.setdefault(key[0], []).append(key)
        tenants = sorted(of_tenant.values(), key=lambda keys: self._known[keys[-1]].looked)
        return [key for turn in zip_longest(*tenants) for key in turn if key is not None]

    def _forget(self, known: _Queue, mark: Secret | None) -> None:
        """Takes the mark of a queue away that has no jobs that go, and got none for long."""
        if mark is None or any(place.over is None for place in known.places.values()):
            return
        by = min(place.over for place in known.places.values() if place.over is not None)
        unchanged = And((equal(Secret, id=mark.id), Compare(_KNOWN["updated_at"], (), "lte", by)))
        self._queue.alone(lambda: self._queue.storage.trim(Secret, unchanged, 1))

    def _run(self, tasks: Mapping[tuple[str, str], _Task]) -> None:
        began = time.monotonic()
        try:
            self._look(tasks)
        except GnjError as error:
            logger.warning("what is not to be kept will be looked for again: %s", error)
        except Exception:
            logger.exception("what is not to be kept will be looked for again")
        now = time.monotonic()
        self._again = max(self._again, now + SHARE * (now - began))

    def _tasks(self) -> dict[tuple[str, str], _Task]:
        """The queues that may have jobs to be removed."""
        found: dict[tuple[str, str], _Task] = {}
        with self._queue.storage.begin(write=False) as tx:
            for mark in tx.find(Secret, Select(Compare(_KNOWN["name"], (), "like", f"{MARK}%"))):
                tenant, type = json.loads(mark.value)
                found[tenant, type] = _Task(mark)
            for worker in tx.find(PushWorker):
                if says(worker.options):
                    found.setdefault((worker.tenant, worker.type), _Task()).registered = worker.options
        return found


class _Look:
    """One look at the jobs of a queue that ended in one way."""

    def __init__(self, queue: Runner, tenant: str, type: str, name: str, registered: Json) -> None:
        self._queue = queue
        self._tenant = tenant
        self._type = type
        self._name = name
        self._statuses = OUTCOMES[name]
        self._registered = rule_of(registered)
        self._gone: Counter[Rule] = Counter()

    def at(self, place: _Place, mark: Secret | None) -> None:
        """Removes what has to go of what ended since the last look and, from time to time, of all there is."""
        with self._queue.storage.begin(write=False) as tx:
            now, since = tx.now(), place.since
            recent = None if since is None else self._recent(tx, since)
        if recent is not None:
            self._sweep(recent, len(recent.found), now)
        place.since = now - _OVERLAP
        if time.monotonic() >= place.again:
            self._go_on(place, mark)

    def _go_on(self, place: _Place, mark: Secret | None) -> None:
        began = time.monotonic()
        walk = place.walk
        while True:
            with self._queue.storage.begin(write=False) as tx:
                walk = walk or self._begun(tx, mark)
                found = tx.ended(self._type, self._tenant, self._statuses, PAGE, beyond=walk.reached)
                page, now = self._read(tx, found), tx.now()
            gone = self._sweep(page, walk.total - walk.looked, now)
            walk.looked += len(found)
            walk.ruled = walk.ruled or any(self._is_ruled(job) for id, job in page.jobs.items() if id not in gone)
            spent = time.monotonic() - began
            if len(found) < PAGE:
                break
            walk.reached = found[-1][1], found[-1][0]
            if spent >= SECONDS:
                walk.spent += spent
                place.walk = walk
                return
        place.walk, place.again = None, time.monotonic() + SHARE * (walk.spent + spent)
        place.over = None if walk.ruled else walk.idle

    def _begun(self, tx: Rows, mark: Secret | None) -> _Walk:
        counts = tx.tally_ended(["status"], None, type=self._type, tenant=self._tenant)
        idle = tx.now() - IDLE
        under_way = equal(Job, type=self._type, tenant=self._tenant, status=_UNDER_WAY)
        is_idle = (
            mark is not None
            and mark.updated_at <= idle
            and not tx.due(self._type, self._tenant, 1)
            and not tx.lane(self._type, self._tenant, 1)
            and not tx.exists(Job, under_way)
        )
        return _Walk(sum(counts.get((status,), 0) for status in self._statuses), idle if is_idle else None)

    def _recent(self, tx: Rows, since: datetime) -> _Page:
        """What has ended since then: the newest `RECENT`."""
        found: list[tuple[int, datetime]] = []
        for most in (min(_FEW, RECENT), RECENT):
            newest = tx.ended(self._type, self._tenant, self._statuses, most, backward=True)
            found = [(id, ended_at) for id, ended_at in newest if ended_at >= since]
            if len(found) < most:
                break
        return self._read(tx, found[::-1])

    @staticmethod
    def _read(tx: Rows, found: Sequence[tuple[int, datetime]]) -> _Page:
        ended = And((equal(Job, id=tuple(id for id, _ in found)), Not(equal(Job, ended_at=None))))
        jobs = [_Ended(*row) for row in tx.columns(Job, _Ended._fields, Select(ended))] if found else []
        return _Page(found, {job.id: job for job in jobs})

    def _sweep(self, page: _Page, newest: int, now: datetime) -> frozenset[int]:
        """Removes those that go; the first of them was the `newest`-th newest. Their ids."""
        chosen = [
            id
            for place, (id, _) in enumerate(page.found)
            if id in page.jobs and self._chooses(page.jobs[id], newest - place - 1, now)
        ]
        for begin in range(0, len(chosen), PAGE):
            # one of them may have been queued again meanwhile, and have ended again, or was made a member
            as_read = Compare(attributes(Job)["ended_at"], (), "lte", page.found[-1][1])
            left = And((equal(Job, id=tuple(chosen[begin : begin + PAGE])), deletes.ALONE, as_read))
            self._queue.run(partial(deletes.delete_jobs, which=left, frm=self._statuses))
        return frozenset(chosen)

    def _chooses(self, job: _Ended, newer: int, now: datetime) -> bool:
        """Whether a job goes, with so many newer ones; if it does, it is counted."""
        rule = self._rule(job)
        if rule is None or job.batch_id is not None or job.pipeline_id is not None:
            return False
        ttl = throttle_of(job.options)
        if (ttl is not None and now < job.created_at + ttl) or not goes(rule, job.ended_at, newer, now):
            return False
        if rule.limit is not None and self._gone[rule] >= rule.limit:
            return False
        self._gone[rule] += 1
        return True

    def _rule(self, job: _Ended) -> Rule | None:
        own = job.options.get(self._name) if isinstance(job.options, dict) else None
        return self._registered if own is None else rule_of(own)

    def _is_ruled(self, job: _Ended) -> bool:
        """Whether a job says itself that it goes; one that failed may be retried, and end in the other way."""
        own = job.options.get(self._name) if isinstance(job.options, dict) else None
        return rule_of(own) is not None or (JobStatus.FAILED in self._statuses and says(job.options))
