"""Jobs as the queue contract adds them: in arrays, all or none, with ids of the client's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeAlias

from gnj.queue import jobs, options
from gnj.queue.errors import Conflict, Duplicate
from gnj.queue.inputs import check_tenant
from gnj.queue.intake import Intake
from gnj.queue.keeping import throttle_of
from gnj.queue.later import Later, settled
from gnj.queue.model import Job
from gnj.queue.states import JOB_ENDED
from gnj.queue.sweeping import Sweeping
from gnj.queue.unit import Unit
from gnj.queue.values import Json

_Row: TypeAlias = dict[str, Any]
_Added: TypeAlias = list[tuple[Job, bool]]
"""Jobs, and whether each is new."""
_TURNS = 8
"""How often a deduplication is freed that somebody else takes again."""


class Adding(Sweeping, Intake):
    """The command that adds jobs."""

    def add(self, queue: str, jobs: Sequence[Json], *, tenant: str) -> _Added:
        """Stores jobs `{name, data, opts}`, all or none, in order: each job, and whether it is new.

        One whose `jobId` is taken in the queue, or whose `deduplication` holds, is not stored: the answer has the job that is
        there, unchanged. Raises `InvalidInput`, naming the field and, of several jobs, the job's place.
        """
        return settled(self.add_later(queue, jobs, tenant=tenant))

    def add_later(self, queue: str, jobs: Sequence[Json], *, tenant: str) -> _Added | Later[_Added]:
        """`add`, for who has other work meanwhile: a single plain job shares a commit with those of other callers."""
        rows = options.rows(queue, jobs, check_tenant(tenant))
        if not rows:
            return []
        self.note_kept(queue, (row.get("options") for row in rows), tenant=tenant)
        named = [row for row in rows if "custom_id" in row]
        if any("unique_id" in row for row in rows) or len({row["custom_id"] for row in named}) < len(named):
            return self._added(queue, tenant, rows)
        try:
            if len(rows) == 1 and not named and not self._is_apart(rows[0]):
                return self._arriving.later(rows[0]).then(lambda get: [(get(), True)])
            return [(job, True) for job in self._store(rows)]
        except Duplicate:
            if not named:
                raise
            return self._added(queue, tenant, rows)

    def _added(self, queue: str, tenant: str, rows: Sequence[_Row]) -> _Added:
        """Likewise, where some may be there already."""

        def command(unit: Unit) -> _Added:
            try:
                return _stored(unit, queue, tenant, rows)
            except Duplicate:  # somebody has stored one of these ids meanwhile
                raise Conflict from None

        return self.run(command)


def _stored(unit: Unit, queue: str, tenant: str, rows: Sequence[_Row]) -> _Added:
    ids = dict.fromkeys(row["custom_id"] for row in rows if "custom_id" in row)
    there = {job.custom_id: job for job in unit.tx.named(queue, tenant, list(ids), again=True)} if ids else {}
    answers: dict[int, tuple[Job, bool]] = {}
    first: dict[str, int] = {}
    todo: list[int] = []
    for place, row in enumerate(rows):
        id = row.get("custom_id")
        if id in there:
            answers[place] = (there[id], False)
        elif id is None or first.setdefault(id, place) == place:
            todo.append(place)
    for _ in range(_TURNS):
        made = dict(zip(todo, jobs.created(unit, tenant, [rows[place] for place in todo]), strict=True))
        answers |= made
        # in one order, since each is locked
        known = sorted((job for job, new in made.values() if not new), key=attrgetter("id"))
        freed = {job.id for job in known if _freed(unit, job)}
        todo = [place for place in todo if not made[place][1] and made[place][0].id in freed]
        if not todo:
            break
    else:
        raise Conflict
    for place, row in enumerate(rows):
        if place not in answers:
            answers[place] = (answers[first[row["custom_id"]]][0], False)
    return [answers[place] for place in range(len(rows))]


def _freed(unit: Unit, job: Job) -> bool:
    """Gives up the deduplication of a job, if it holds no longer; whether it did."""
    held = unit.tx.get(Job, job.id, lock=True)
    if held is None or held.unique_id != job.unique_id:
        return True
    if _holds(held, unit.tx.now()):
        return False
    unit.tx.edit(Job, [job.id], {"unique_id": None})
    return True


def _holds(job: Job, now: datetime) -> bool:
    """Whether its deduplication keeps others out: for its `ttl`, and where it has none until it has ended."""
    ttl = throttle_of(job.options)
    return job.status not in JOB_ENDED if ttl is None else now < job.created_at + ttl
