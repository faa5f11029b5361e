"""Jobs and queues as the queue contract lists them: by states that are derived, against the order of service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from gnj.queue import naming
from gnj.queue.counts import Counts
from gnj.queue.derived import ENDED, STATE_OF, STATES, STATUSES, compared, in_state
from gnj.queue.errors import InvalidInput
from gnj.queue.holds import ALL_TYPES
from gnj.queue.model import Hold, Job, JobAttempt, PushWorker, QueueLimit
from gnj.queue.options import RESERVED
from gnj.queue.runner import Runner
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows, Select, Storage
from gnj.queue.values import dump_json, shown
from gnj.queue.where import And, Not, equal

ALL: Final = "all"
"""Stands, among states that are asked for, for every one."""
PAUSED: Final = "paused"
"""What is counted beside `waiting`, and always 0: jobs of a queue that is paused wait as others do."""

_ORDERS: Final[Mapping[str, tuple[tuple[str, bool], ...]]] = MappingProxyType(
    {
        "active": (("started_at", True), ("id", True)),
        "waiting-children": (("priority", False), ("position", True), ("id", True)),
    }
)
"""The orders of those states that no index has in theirs: few jobs are in them."""
_PRIORITIES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {"waiting": {"low": 0}, "prioritized": {"high": -1}}
)
"""The priorities of jobs that are ready, as `Rows.lane` takes them."""

_PROMOTED: Final = 1_000
"""Jobs that are made ready at once, and how often at most."""
_TURNS: Final = 10

ERRORS: Final = 10
"""Errors that are told of a job: those of the last tries."""
MOST_BYTES: Final = 64 * 2**20
"""Bytes of JSON that the jobs of a page may have: more than a single one can."""
_TOGETHER: Final = 20
"""Jobs that are read at once: each may have three values of 4 MiB."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Args:
        jobs: In the order of the list.
        counts: How many jobs of the queue have each of the states asked for: a moment old where that takes long to count
            (`gnj.queue.counts`).
        errors: The errors of the last `ERRORS` failed tries of each job that has any, by its id, the oldest first.
        now: The storage's present, by which states were told apart.
    """

    jobs: Sequence[Job]
    counts: Mapping[str, int]
    errors: Mapping[int, Sequence[str]]
    now: datetime


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """How a queue stands.

    Args:
        name: The queue.
        paused: Whether its jobs are held.
        limited: Whether it has limits.
        counts: How many jobs have each state.
    """

    name: str
    paused: bool
    limited: bool
    counts: Mapping[str, int]


def check_states(asked: Sequence[str]) -> tuple[str, ...]:
    """The states asked for, each once; all if none is. Raises `InvalidInput` for one there is not."""
    found: dict[str, None] = {}
    for state in asked or (ALL,):
        if state != ALL and state not in STATES:
            raise InvalidInput(f"Invalid status: {shown(state)[1:-1]}")
        found |= dict.fromkeys(STATES if state == ALL else (state,))
    return tuple(found)


class Listing(Runner):
    """Reads."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(storage, **options)
        self._counts = Counts()

    def find_one(self, queue: str, id: str, *, tenant: str) -> Job | None:
        """The job of the queue that has that id: one given by a client, else the number of a job that was given none."""
        with self.storage.begin(write=False) as tx:
            return naming.find(tx, queue, id, tenant)

    def errors_of(self, jobs: Sequence[Job]) -> Mapping[int, Sequence[str]]:
        """The errors of the last `ERRORS` failed tries of each job that has any, by its id, the oldest first."""
        if not _tried(jobs):
            return {}
        with self.storage.begin(write=False) as tx:
            return _errors(tx, jobs)

    def page(self, queue: str, states: Sequence[str], start: int, length: int, *, tenant: str) -> Page:
        """At most `length` jobs of the states, from the one at `start` of the states' lists joined in the order asked.

        No states: all. Raises `InvalidInput` for a state there is not, and for a page of more than `MOST_BYTES`.

        Where the counts are a moment old, so is the place where the list of the next state begins: a page may then have jobs
        of the one before it again, or leave some out.
        """
        asked = check_states(states)
        with self.storage.begin(write=False) as tx:
            if _PRIORITIES.keys().isdisjoint(asked) or not tx.due(queue, tenant, 1, upto=tx.now()):
                return self._page(tx, queue, asked, start, length, tenant)
        self._promote()
        with self.storage.begin(write=False) as tx:
            return self._page(tx, queue, asked, start, length, tenant)

    def _page(self, tx: Rows, queue: str, asked: Sequence[str], start: int, length: int, tenant: str) -> Page:
        now = tx.now()
        counts = {state: self._count(tx, queue, tenant, state, now) for state in asked}
        ids: list[int] = []
        for state in asked:
            # a count may be a moment old: what waits is there as soon as it was added
            found = start < counts[state] or state in _PRIORITIES
            some = listed(tx, queue, tenant, state, start, length - len(ids), now) if found else []
            ids += some
            start = 0 if some else max(0, start - counts[state])
        jobs = _of(tx, ids)
        return Page(jobs, counts | ({PAUSED: 0} if "waiting" in counts else {}), _errors(tx, jobs), now)

    def queues(self, *, tenant: str, search: str | None = None) -> list[QueueSummary]:
        """The queues that have jobs, holds or limits, by their names; with `search`, those whose name has that text in it."""
        with self.storage.begin(write=False) as tx:
            held, limited = _held(tx, tenant), {limit.type for limit in tx.find(QueueLimit, tenant=tenant)}
            counts = self._counts.get((tenant,), lambda: _tallied(tx, tenant), fresh=self.joined)
        none = dict.fromkeys(STATES, 0)
        names = (counts.keys() | held | limited) - {ALL_TYPES}
        return [
            QueueSummary(name, bool(held & {name, ALL_TYPES}), name in limited, counts.get(name, none))
            for name in sorted(names)
            if not name.startswith(RESERVED) and (search is None or search in name)
        ]

    def summary(self, queue: str, *, tenant: str) -> QueueSummary:
        """How one queue stands; nothing but zeros for one that nobody has used."""
        with self.storage.begin(write=False) as tx:
            now = tx.now()
            held = _held(tx, tenant)
            limited = bool(tx.find(QueueLimit, Select(equal(QueueLimit, type=queue)), tenant=tenant))
            counts = {state: self._count(tx, queue, tenant, state, now) for state in STATES}
        return QueueSummary(queue, bool(held & {queue, ALL_TYPES}), limited, counts)

    def settings_of(self, queue: str, *, tenant: str) -> tuple[QueueLimit | None, PushWorker | None]:
        """The limits and the push worker of a queue."""
        with self.storage.begin(write=False) as tx:
            limits = tx.find(QueueLimit, Select(equal(QueueLimit, type=queue)), tenant=tenant)
            workers = tx.find(PushWorker, Select(equal(PushWorker, type=queue)), tenant=tenant)
        return next(iter(limits), None), next(iter(workers), None)

    def _promote(self) -> None:
        """Makes jobs ready whose time has come, as the next claim would: so they have their place among those that wait."""
        turns = _TURNS
        while turns and self.storage.promote(_PROMOTED) == _PROMOTED:
            turns -= 1

    def _count(self, tx: Rows, queue: str, tenant: str, state: str, now: datetime) -> int:
        """How many jobs have that state. Where one statement counts it for all queues, they share what is remembered."""

        def count() -> int:
            if state in ENDED:
                ended = tx.tally_ended(["status"], None, type=queue, tenant=tenant)
                return sum(ended.get((status,), 0) for status in STATUSES[state])
            if state not in _PRIORITIES:
                return tx.count(Job, And((equal(Job, type=queue), in_state(state, now))), tenant=tenant)
            ready = tx.lane_size(queue, tenant, **_PRIORITIES[state])
            if not tx.due(queue, tenant, 1, upto=now):
                return ready
            overdue = And((equal(Job, type=queue), in_state(state, now), compared("due_at", "lte", now)))
            return ready + tx.count(Job, overdue, tenant=tenant)

        return int(self._counts.get((tenant, state, queue), count, fresh=self.joined))


def listed(tx: Rows, queue: str, tenant: str, state: str, start: int, length: int, now: datetime) -> list[int]:
    """The ids of at most `length` jobs of one state, in the order of the list, along indexes."""
    if length < 1:
        return []
    if state in _PRIORITIES:
        lane = tx.lane(queue, tenant, length, backward=True, offset=start, **_PRIORITIES[state])
        return [id for id, *_ in lane]
    if state in ENDED:
        return [id for id, _ in tx.ended(queue, tenant, STATUSES[state], length, backward=True, offset=start)]
    if state == "delayed":  # those whose time has come are the last ones
        late = tx.due(queue, tenant, length, backward=True, offset=start)
        delayed = And((equal(Job, id=tuple(late)), in_state(state, now)))
        there = frozenset(id for (id,) in tx.columns(Job, ["id"], Select(delayed))) if late else ()
        return [id for id in late if id in there]
    of = equal(Job, type=queue, status=STATUSES[state])
    select = Select(of, order=_ORDERS[state], limit=length, offset=start)
    return [id for (id,) in tx.columns(Job, ["id"], select, tenant=tenant)]


def _of(tx: Rows, ids: Sequence[int]) -> list[Job]:
    """The jobs, in that order. Raises `InvalidInput` where they are larger than may be told at once."""
    found: list[Job] = []
    size = 0
    for begin in range(0, len(ids), _TOGETHER):
        some = ids[begin : begin + _TOGETHER]
        there = {job.id: job for job in tx.find(Job, Select(equal(Job, id=tuple(some))))}
        found += (there[id] for id in some if id in there)
        size += sum(_size(job) for job in there.values())
        if size > MOST_BYTES and len(ids) > 1:
            raise InvalidInput(f"These jobs have more than {MOST_BYTES >> 20} MiB together: ask for fewer")
    return found


def _size(job: Job) -> int:
    """Bytes of what a job is about, or nearly."""
    return sum(len(dump_json(value)) for value in (job.input, job.progress, job.output) if value is not None)


def _tried(jobs: Sequence[Job]) -> tuple[int, ...]:
    """The ids of those that may have tries that failed."""
    return tuple(job.id for job in jobs if job.failures or job.stalled_count)


def _errors(tx: Rows, jobs: Sequence[Job]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    if tried := _tried(jobs):
        of = And((equal(JobAttempt, job_id=tried), Not(equal(JobAttempt, error=None))))
        last = Select(of, order=(("attempt", True), ("id", True)), limit=ERRORS, per="job_id")
        for id, error in reversed(tx.columns(JobAttempt, ["job_id", "error"], last)):
            found.setdefault(id, []).append(error)
    return found


def _held(tx: Rows, tenant: str) -> set[str]:
    """The types that are held for the tenant, `ALL_TYPES` perhaps among them."""
    rows = [row for owner in {"", tenant} for row in tx.find(Hold, Select(equal(Hold, held=True)), tenant=owner)]
    return {row.type for row in rows if row.type is not None}


def _tallied(tx: Rows, tenant: str) -> Mapping[str, Mapping[str, int]]:
    """How many jobs of each queue have each state."""
    now = tx.now()
    counts: dict[str, dict[str, int]] = {}

    def add(type: str, state: str, count: int) -> None:
        counts.setdefault(type, dict.fromkeys(STATES, 0))[state] += count

    for (type, status), count in tx.tally(Job, ["type", "status"], tenant=tenant).items():
        add(type, "waiting" if status is JobStatus.QUEUED else STATE_OF[status], count)
    for state in ("delayed", "prioritized"):
        for (type,), count in tx.tally(Job, ["type"], in_state(state, now), tenant=tenant).items():
            add(type, state, count)
            add(type, "waiting", -count)
    return counts
