"""How jobs come in: one by one, what threads store at the same time in one commit, and many at once."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from gnj.queue import fields, jobs, many
from gnj.queue.coalesce import Coalescer
from gnj.queue.errors import InvalidInput, StorageUnavailable
from gnj.queue.fields import Spell, python_name
from gnj.queue.inputs import check_tenant, new_values, with_type
from gnj.queue.later import Later, at_once
from gnj.queue.model import Job, NewJob
from gnj.queue.runner import Runner
from gnj.queue.states import JobStatus
from gnj.queue.storage import Changes, Storage
from gnj.queue.unit import Unit

MAX_BULK: Final = 100_000
TOGETHER: Final = 100
"""Jobs of different callers in one statement at most: the last of them waits for all."""

_COLUMNS: Final = 200
"""Jobs from which on it is worth to check them attribute by attribute."""
_MANY: Final = 1_000
_SPECIAL: Final = frozenset({"status", "batch_id", "pipeline_id", "position"})
_Values: TypeAlias = dict[str, Any]
"""The checked values of a job to be, and its tenant."""


class Intake(Runner):
    """The commands that store jobs."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(storage, **options)
        self._arriving = Coalescer(self._store, TOGETHER)

    def enqueue(self, job: NewJob) -> Job:
        """Stores one job; the job that has its `unique_id` already, if one has. Raises `InvalidInput`."""
        values = new_values(job)
        values["tenant"] = check_tenant(job.tenant)
        return self._store_one(values)

    def enqueue_many(self, new: Iterable[NewJob]) -> list[Job]:
        """Stores jobs in one transaction, all or none, in order; unique ids as in `enqueue`."""
        with _unswept(len(new) if isinstance(new, Sized) else 0):
            if isinstance(new, (list, tuple)) and _COLUMNS <= len(new) <= MAX_BULK:
                checked = many.checked(new)
                if checked is not None:
                    return self._store_many(checked)
            given: list[_Values] = []
            for job in new:
                values = new_values(job)
                values["tenant"] = check_tenant(job.tenant)
                given.append(values)
                if len(given) > MAX_BULK:
                    raise InvalidInput(f"at most {MAX_BULK:,} jobs can be enqueued at once")
            return self._store(given) if given else []

    def enqueue_each(self, new: Sequence[NewJob]) -> list[Job | Exception]:
        """Stores jobs as `enqueue` does each of them, in few commits: the job, or what is wrong with it in its place."""
        answers: dict[int, Job | Exception] = {}
        shared: dict[int, _Values] = {}
        for place, job in enumerate(new):
            try:
                values = new_values(job)
                values["tenant"] = check_tenant(job.tenant)
                if self._is_apart(values):
                    answers[place] = self._store([values])[0]
                else:
                    shared[place] = values
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told in its place
                answers[place] = error
        try:
            answers.update(zip(shared, self._store(list(shared.values())) if shared else (), strict=True))
        except StorageUnavailable as error:  # what was sent may have taken effect
            answers.update((place, type(error)(str(error))) for place in shared)
        except Exception:  # noqa: BLE001 - nothing was stored
            for place, values in shared.items():
                try:
                    answers[place] = self._store([values])[0]
                except Exception as error:  # noqa: BLE001 - as above
                    answers[place] = error
        return [answers[place] for place in range(len(new))]

    def create_jobs(
        self, rows: Sequence[Mapping[str, Any]], *, tenant: str = "", spell: Spell = python_name
    ) -> list[Job]:
        """Stores jobs from attribute values: any legal status, batch, pipeline (section 6). All or none."""
        if len(rows) > MAX_BULK:
            raise InvalidInput(f"at most {MAX_BULK:,} jobs can be created at once, not {len(rows):,}")
        checked = [with_type(fields.created(Job, values, spell)) for values in rows]
        owner = check_tenant(tenant)
        for values in checked:
            values["tenant"] = owner
        if len(checked) == 1:
            return [self._store_one(checked[0])]
        return self._store(checked) if checked else []

    def create_later(self, row: Mapping[str, Any], *, tenant: str = "", spell: Spell = python_name) -> Later[Job]:
        """`create_jobs` of one, for who has other work meanwhile."""
        values = with_type(fields.created(Job, row, spell))
        values["tenant"] = check_tenant(tenant)
        if self._is_apart(values):
            return at_once(lambda: self._store([values])[0])
        return self._arriving.later(values)

    def _store_one(self, values: _Values) -> Job:
        return self._store([values])[0] if self._is_apart(values) else self._arriving.submit(values)

    def _is_apart(self, values: _Values) -> bool:
        """Whether the job is not to be stored together with others.

        What has a unique id may wait for a transaction that is storing the same one, and what has parents for theirs: others
        must not wait with it. Nor may anybody depend on what the caller's own open transaction has locked.
        """
        return self.joined or self._transacting or not _is_plain(values) or values.get("unique_id") is not None

    def _store(self, given: Sequence[_Values]) -> list[Job]:
        """All or none."""
        if all(map(_is_plain, given)) and self.unheard("created"):
            for row in given:  # see `jobs.create`
                row["status"], row["due_at"] = JobStatus.QUEUED, row.get("start_after")
            return self._store_plain(given)
        return self._store_told(given)

    def _store_many(self, given: many.Many) -> list[Job]:
        """Likewise, of plain jobs."""
        if self.unheard("created"):
            return self._store_plain(given.also({"status": JobStatus.QUEUED}, due_at="start_after"))
        return self._store_told(list(given))

    def _store_plain(self, given: Sequence[Changes]) -> list[Job]:
        stored = self.alone(lambda: self.storage.enqueue(given))
        if any(new for _, new in stored):
            self.wake.set()
        self.look_ahead()
        return [job for job, _ in stored]

    def _store_told(self, given: Sequence[Changes]) -> list[Job]:
        by_tenant: dict[str, list[int]] = {}
        for place, values in enumerate(given):
            by_tenant.setdefault(values["tenant"], []).append(place)

        def command(unit: Unit) -> list[Job]:
            made: dict[int, Job] = {}
            for tenant, places in sorted(by_tenant.items()):
                own = jobs.create(unit, tenant, [given[place] for place in places])
                made.update(zip(places, own, strict=True))
            return [made[place] for place in range(len(given))]

        return self.run(command)


@contextmanager
def _unswept(count: int) -> Iterator[None]:
    """Where many jobs are made at once, nobody searches them for cyclic garbage, of which they are none, meanwhile.

    The collector went through all of them again and again: 7 of 16 µs of CPU for each of 20,000. What other threads leave to it
    waits for some tenths of a second (`MAX_BULK`).
    """
    if count < _MANY or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _is_plain(values: Mapping[str, Any]) -> bool:
    """Whether the job is queued, belongs to nothing, and comes after those that are there: one INSERT is all it takes."""
    if _SPECIAL.isdisjoint(values):
        return True
    member = values.get("batch_id") is not None or values.get("pipeline_id") is not None
    return not member and "position" not in values and values.get("status", JobStatus.QUEUED) is JobStatus.QUEUED
