"""`Queue`: the one door to the core. Faces, workers and the Python surface are its clients.

Each command is one transaction (`Runner.run`): tried again when another stood in its way, committed, and only then are those
who wait for work woken. What the commands mean is in the modules they are taken from.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar, overload

from gnj.queue import (
    compose,
    deletes,
    fields,
    holds,
    jobs,
    lists,
    maintenance,
    monitoring,
    pipelines,
    schedules,
    summaries,
    uploads,
    works,
)
from gnj.queue.actions import Acting
from gnj.queue.adding import Adding
from gnj.queue.ends import Ends
from gnj.queue.errors import (
    Conflict,
    GnjError,
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    StorageError,
)
from gnj.queue.events import EARLY
from gnj.queue.fields import Spell, python_name
from gnj.queue.figures import Figures
from gnj.queue.inputs import check_tenant, check_tenants, check_types, new_values
from gnj.queue.intake import Intake
from gnj.queue.later import Later, at_once, may_wait, prompt
from gnj.queue.listing import Listing
from gnj.queue.logs import Logging
from gnj.queue.model import Batch, Hold, Job, Monitoring, NewJob, Pipeline, Record, RecordT, Step
from gnj.queue.policy import Policy
from gnj.queue.pushing import Pushing
from gnj.queue.scheduling import Scheduling
from gnj.queue.storage import Select, Storage
from gnj.queue.summaries import TypeSummary
from gnj.queue.together import Together
from gnj.queue.unit import Unit
from gnj.queue.uploads import Uploading
from gnj.queue.values import (
    Json,
    check_int,
    check_json,
    check_seconds,
    check_word,
)
from gnj.queue.where import Where, equal
from gnj.queue.working import Working

logger = logging.getLogger("gnj.queue")

T = TypeVar("T")
Values = Mapping[str, Any]

_ON_ITS_WAY: Final = 0.1
"""Seconds in which whoever was sent to do what is due has begun."""
MAX_CLAIM = 1000


class Queue(Adding, Listing, Acting, Logging, Pushing, Figures, Scheduling, Working, Uploading, Intake, Ends, Together):
    """The rules of gnj over one storage. Safe to share between threads; two in one process do not know each other.

    Args:
        storage: Where the rows are.
        lease: Seconds a claim lasts that asks for no lease of its own.
        policies: What the handlers' registrations say of their types; fills a claimed job's null policy attributes.
        hooks: Who is told what happens to jobs; nobody unless given.
        seed: Makes the jitter of backoffs repeatable, for tests.
        makers: What makes the jobs of recurring jobs of gnj's own types, by these.
    """

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(storage, **options)
        self._reaped = self._sent = -math.inf
        self._reaping = threading.Lock()

    # Jobs are worked --------------------------------------------------------------------------------------------------

    @overload
    def acquire(
        self,
        types: Sequence[str],
        limit: None = None,
        *,
        worker_id: str | None = None,
        worker_type: str | None = None,
        lease: float | None = None,
        tenants: Sequence[str] | None = None,
        policies: Mapping[str, Policy] | None = None,
        slots: int | None = None,
    ) -> Job | None: ...

    @overload
    def acquire(
        self,
        types: Sequence[str],
        limit: int,
        *,
        worker_id: str | None = None,
        worker_type: str | None = None,
        lease: float | None = None,
        tenants: Sequence[str] | None = None,
        policies: Mapping[str, Policy] | None = None,
        slots: int | None = None,
    ) -> list[Job]: ...

    def acquire(
        self,
        types: Sequence[str],
        limit: int | None = None,
        *,
        worker_id: str | None = None,
        worker_type: str | None = None,
        lease: float | None = None,
        tenants: Sequence[str] | None = None,
        policies: Mapping[str, Policy] | None = None,
        slots: int | None = None,
    ) -> Job | list[Job] | None:
        """Claims the first free job of `types`, or None; with `limit`, a list of at most so many.

        The claim lasts `lease` seconds (the queue's default unless given); `tenants` None serves every tenant. `policies`
        are those of the claimer's own handlers, and stand in for the queue's where they name a type. The answer's
        (id, attempt) is the token with which the claim is renewed and ended.

        Jobs of types that have limits come in their order too, but by turns with those of the others. At most `slots` of them
        are given: no more than can begin at once, for a claim that waits keeps the jobs of others. In a transaction of the
        caller's there are none, since those of others would wait for its end.
        """
        given: dict[str, Any] = {"worker_id": worker_id, "worker_type": worker_type, "lease": lease, "tenants": tenants}
        if limit is None and not policies:
            return self.acquire_later(types, **given).result()
        count = 1 if limit is None else check_int(limit, "limit", low=0, high=MAX_CLAIM)
        types, asked = self._to_claim(types, **given)
        claimed: list[Job] = []
        if count and types:
            asked["policies"] = {**self.policies, **policies} if policies else self.policies
            most = count if slots is None else check_int(slots, "slots", low=0)
            claimed = self._claim_many(types, count, most, asked)
        if limit is None:
            return claimed[0] if claimed else None
        return claimed

    def acquire_later(
        self,
        types: Sequence[str],
        *,
        worker_id: str | None = None,
        worker_type: str | None = None,
        lease: float | None = None,
        tenants: Sequence[str] | None = None,
    ) -> Later[Job | None]:
        """`acquire` of one job, for who has other work meanwhile."""
        types, asked = self._to_claim(types, worker_id=worker_id, worker_type=worker_type, lease=lease, tenants=tenants)
        return self._claim_one(types, **asked) if types else at_once(lambda: None)

    def _to_claim(
        self,
        types: Sequence[str],
        *,
        worker_id: str | None,
        worker_type: str | None,
        lease: float | None,
        tenants: Sequence[str] | None,
    ) -> tuple[Sequence[str], dict[str, Any]]:
        """What is to be claimed, checked: the types - none, if there is nothing to look for - and the rest."""
        types = check_types(types)
        asked: dict[str, Any] = {
            "lease": self.lease_of(lease),
            "who": {
                "worker_id": None if worker_id is None else check_word(worker_id, "workerId"),
                "worker_type": None if worker_type is None else check_word(worker_type, "workerType"),
            },
            "tenants": None if tenants is None else check_tenants(tenants),
        }
        self._take_up()
        return () if asked["tenants"] is not None and not len(asked["tenants"]) else types, asked

    def heartbeat(self, claim: Job, *, lease: float | None = None) -> Job:
        """Renews a claim; the job, whose status tells of a requested cancellation. Raises `LeaseLost`."""
        renewed = self.heartbeats([(claim.id, claim.attempt)], lease=claim.lease if lease is None else lease)
        if renewed[0] is None:
            raise LeaseLost
        return renewed[0]

    def heartbeats(
        self,
        claims: Sequence[tuple[int, int]],
        *,
        lease: float | None = None,
        tenant: str | None = None,
        wait: bool | None = None,
    ) -> list[Job | None]:
        """Renews claims (id, attempt), for the lease each was given unless `lease` says another; None where one is over.

        Unless `wait`, a job that somebody else's transaction has locked keeps nobody waiting: it is given as it is, with the
        lease that it has, and is to be renewed with the next call. None: waits for one that is asked for alone.
        """
        if len(claims) > MAX_CLAIM:
            raise InvalidInput(f"at most {MAX_CLAIM:,} claims can be renewed at once, not {len(claims):,}")
        tokens = [(check_int(id, "id"), check_int(attempt, "attempt")) for id, attempt in claims]
        seconds = None if lease is None else self.lease_of(lease)
        waits = len(tokens) == 1 if wait is None else wait

        def command(unit: Unit) -> list[Job | None]:
            if tenant is None and seconds is not None:
                return jobs.still_held(unit, None, tokens, unit.tx.renew(tokens, seconds, wait=waits))
            mine = Select(equal(Job, id=tuple({id for id, _ in tokens})))
            leases = {job.id: seconds or job.lease or self.lease for job in unit.tx.find(Job, mine, tenant=tenant)}
            renewed: dict[tuple[int, int], Job | None] = {}
            for each in sorted(set(leases.values())):
                alike = [token for token in tokens if leases.get(token[0]) == each]
                renewed.update(zip(alike, unit.tx.renew(alike, each, wait=waits), strict=True))
            return jobs.still_held(unit, tenant, tokens, [renewed.get(token) for token in tokens])

        return self.run(command) if tokens else []

    def progress(self, claim: Job, info: Json) -> Job:
        """Lays `info` over the stored progress of a claimed job; steps of other names stay.

        Raises `LeaseLost`. The status of the answer tells of a requested cancellation, as that of `heartbeat` does.
        """
        values = {"progress": check_json(info, "progress")}
        change = jobs.Update(id=claim.id, values=values, attempt=claim.attempt, merge=True)
        return self.run(lambda unit: jobs.update(unit, None, change))

    def _take_up(self) -> None:
        """Makes ready what is due: jobs of lost leases, and those of ticks that have come.

        Of those that may not wait one is sent to where it may; the others go on, as they do while one is at it.
        """
        if prompt():
            now = time.monotonic()
            if now >= self._sent + _ON_ITS_WAY and (self._reap_is_due(now) or self._tick_is_due(now)):
                self._sent = now
                may_wait()
            return
        with suppress(StorageError):  # an idle connection had died: the claim itself tries another one
            self.reap()
            self.tick()

    def _reap_is_due(self, now: float, *, early: bool = False) -> bool:
        return now - self._reaped >= maintenance.REAP_EVERY * (EARLY if early else 1.0) and not self._reaping.locked()

    def keep_up(self) -> None:
        """Does a little early what `acquire` would have to do on the way: for who has nothing else to do, and calls it often."""
        with suppress(GnjError):  # `acquire` will try again, and tell
            self.reap(early=True)
            self.tick(early=True)
        self.look_ahead()

    def reap(self, *, force: bool = False, early: bool = False) -> int:
        """Takes lost leases back, at most once a second unless forced; how many. `acquire` does it on the way."""
        now = time.monotonic()
        if self.joined:  # not in a transaction of the caller's, which would hold their locks
            return 0
        self._check_free()
        if not force and not self._reap_is_due(now, early=early):
            return 0
        if not self._reaping.acquire(blocking=force):
            return 0
        lost: list[Job] | None = None
        try:
            lost = self.storage.lost(maintenance.REAP_LIMIT)
            self.hooks.keep_known(self.run)
            plain: list[Job] = []
            others: list[Job] = []
            for job in lost:
                (others if job.is_member else plain).append(job)
            locked = self._locked(others)
            taken = self._take_back_plain(plain) + sum(self._take_back(job) for job in others if job.id not in locked)
            if taken and self._gates.limited:
                self._freed(job.type for job in lost)
            return taken
        finally:
            # a full page means that there are more: the next call goes on at once. By the time at which it ends: who waited
            # for a lock is not to wait for it again at once
            self._reaped = time.monotonic() if lost is None or len(lost) < maintenance.REAP_LIMIT else -math.inf
            self._reaping.release()

    # Jobs are changed -------------------------------------------------------------------------------------------------

    def update_later(
        self,
        id: int,
        values: Values,
        *,
        attempt: int | None = None,
        tenant: str | None = None,
        spell: Spell = python_name,
    ) -> Later[Job]:
        """`update_job`, for who has other work meanwhile."""
        change = jobs.Update(
            id=check_int(id, "job.id"),
            values=fields.updated(Job, values, spell),
            attempt=None if attempt is None else check_int(attempt, "job.attempt", low=0),
            outside=True,
        )
        return self._end_one(tenant, change)

    def update_job(
        self,
        id: int,
        values: Values,
        *,
        attempt: int | None = None,
        tenant: str | None = None,
        spell: Spell = python_name,
    ) -> Job:
        """Changes a job: section 7 of the jobs contract with points 4 and 6 of section 0. See `jobs.update`."""
        return self.update_later(id, values, attempt=attempt, tenant=tenant, spell=spell).result()

    def cancel(self, id: int, *, tenant: str | None = None) -> Job:
        """Cancels a waiting job at once and asks a running one to stop. Raises `JobNotFound`, `IllegalTransition`."""
        return self.run(lambda unit: jobs.cancel(unit, tenant, check_int(id, "id")))

    def recover(self, id: int, *, tenant: str | None = None) -> Job:
        """Queues a failed, recoverable job again. Raises `JobNotFound`, `IllegalTransition`."""
        return self.run(lambda unit: jobs.recover(unit, tenant, check_int(id, "id")))

    def retry(self, id: int, *, tenant: str | None = None) -> Job:
        """A new job in the place of a failed or cancelled one. Raises `JobNotFound`, `IllegalTransition`."""
        return self.run(lambda unit: jobs.retry(unit, tenant, check_int(id, "id")))

    def recover_oldest(
        self, types: Sequence[str], *, worker_id: str | None = None, tenant: str | None = None
    ) -> Job | None:
        """`recover` for the oldest failed, recoverable job of `types`, last run by that worker if one is named; or None."""
        return self._oldest(jobs.recover, types, worker_id, tenant, recoverable=True)

    def retry_oldest(
        self, types: Sequence[str], *, worker_id: str | None = None, tenant: str | None = None
    ) -> Job | None:
        """`retry` for the oldest failed job of `types` that was not retried, last run by that worker if one is named."""
        return self._oldest(partial(jobs.retry, once=True), types, worker_id, tenant, recoverable=False)

    def delete(self, kind: type[RecordT], id: int, *, tenant: str | None = None) -> RecordT:
        """Deletes a row, with what belongs to it; the row as it then is (section 0, point 3).

        Raises `NotFound`, or `IllegalTransition` for a job that is being processed and for a batch, pipeline or step that
        runs. For good it goes with `prune`.
        """
        return self.run(lambda unit: deletes.delete(unit, kind, tenant, check_int(id, "id")))

    def prune(self, *, retention: float | timedelta | None, limit: int = maintenance.PRUNE_LIMIT) -> int:
        """Removes for good what was deleted a day ago and, unless `retention` is None, what ended so many seconds ago.

        At most `limit` rows of each kind; how many in all. Members of what has not ended stay (data.md, Soft delete). What
        limits have counted goes as soon as they were taken away, what runs of transformation jobs have left that were not published,
        and what is left of such jobs, as soon as they are over. The files of uploads and exports go a little later, by whoever
        sweeps up after content jobs.
        """
        from gnj.queue import transforms  # noqa: PLC0415 - 0.4 MB, of which a worker needs nothing

        seconds = None if retention is None else check_seconds(retention, "retention")

        def command(unit: Unit) -> int:
            removed = unit.tx.prune(limit, deleted=maintenance.DELETED_FOR, ended=seconds)
            removed += transforms.trim(unit.tx, seconds, limit)
            if seconds is None:
                return removed
            told = schedules.trim(unit.tx, seconds, limit)
            files = uploads.retire(unit.tx, seconds, limit)
            return removed + told + files + works.trim(unit.tx, seconds, limit)

        return self.run(command) + self._prune_counts(limit)

    # Holds ------------------------------------------------------------------------------------------------------------

    def hold(self, type: str, *, tenant: str = "") -> Hold:
        """Hands out no more jobs of `type` ("all": of any). A hold of the tenant "" holds every tenant's jobs."""
        word, owner = check_word(type, "type"), check_tenant(tenant)
        return self.run(lambda unit: holds.hold(unit, owner, word))

    def release_hold(self, type: str, *, tenant: str = "") -> bool:
        """Hands out jobs of `type` again; whether it was held."""
        word, owner = check_word(type, "type"), check_tenant(tenant)
        return self.run(lambda unit: holds.release(unit, owner, word))

    def toggle_hold(self, type: str, *, tenant: str = "") -> Hold | None:
        """The hold when the type is now held, None when it is now released."""
        word, owner = check_word(type, "type"), check_tenant(tenant)
        return self.run(lambda unit: None if holds.release(unit, owner, word) else holds.hold(unit, owner, word))

    # Batches and pipelines --------------------------------------------------------------------------------------------

    def add_batch(self, members: Iterable[NewJob], *, tenant: str = "", start: bool = True) -> Batch:
        """A batch created whole with its jobs, which are queued unless `start` is False."""
        owner = check_tenant(tenant)
        rows = [new_values(job, owner) for job in members]
        return self.run(lambda unit: compose.whole_batch(unit, owner, rows, start=start))

    def add_pipeline(
        self,
        name: str | None,
        steps: Iterable[NewJob | Sequence[NewJob]],
        *,
        tenant: str = "",
        start: bool = True,
    ) -> Pipeline:
        """A pipeline created whole: each step a job or the jobs of a batch. It starts unless `start` is False."""
        owner = check_tenant(tenant)
        rows = [
            [new_values(job, owner) for job in step] if isinstance(step, (list, tuple)) else new_values(step, owner)
            for step in steps
        ]
        values = fields.created(Pipeline, {"name": name})
        if start and not rows:
            raise InvalidInput("a pipeline needs at least one step to start")
        return self.run(lambda unit: compose.whole_pipeline(unit, owner, values["name"], rows, start=start))

    def start_pipeline(self, id: int, *, tenant: str | None = None) -> Pipeline:
        """Starts a planned pipeline. Raises `NotFound`, `IllegalTransition`."""
        return self.run(lambda unit: pipelines.start(unit, check_int(id, "id"), tenant))

    def create(self, kind: type[RecordT], values: Values, *, tenant: str = "", spell: Spell = python_name) -> RecordT:
        """A batch, pipeline, step or hold by hand (sections 3 and 9)."""
        checked = fields.created(kind, values, spell)
        command: Callable[[Unit, str, Values], RecordT] = _CREATE[kind]
        return self.run(lambda unit: command(unit, check_tenant(tenant), checked))

    def update(
        self, kind: type[RecordT], id: int, values: Values, *, tenant: str | None = None, spell: Spell = python_name
    ) -> RecordT:
        """Changes a batch, pipeline, step or hold by hand; its status as `states.py` allows."""
        checked = fields.updated(kind, values, spell)
        command: Callable[[Unit, str | None, int, Values], RecordT] = _UPDATE[kind]
        return self.run(lambda unit: command(unit, tenant, check_int(id, "id"), checked))

    # Workers tell of themselves ---------------------------------------------------------------------------------------

    def ping(self, *, tenant: str = "") -> None:
        """Asks the workers who follow (`feed`) to answer with `pong`."""
        owner = check_tenant(tenant)
        self.run(lambda unit: unit.say("pinged", owner))

    def pong(self, infos: Sequence[Values], *, tenant: str = "", spell: Spell = python_name) -> None:
        """Tells those who follow what workers tell of themselves, any of the three of `monitor`; nothing is kept."""
        owner, rows = check_tenant(tenant), monitoring.passed(infos, "workerInfoInput", spell)
        self.run(lambda unit: unit.say("ponged", owner, monitoring.told(rows)))

    def monitor(self, workers: Sequence[Values], *, tenant: str = "", spell: Spell = python_name) -> list[Monitoring]:
        """Keeps what workers tell of themselves: worker_id, worker_type, worker_status. All or none."""
        owner, rows = check_tenant(tenant), monitoring.checked(workers, "workers", spell)
        return self.run(lambda unit: monitoring.keep(unit, owner, rows))

    # Reads ------------------------------------------------------------------------------------------------------------

    def get(self, kind: type[RecordT], id: int, *, tenant: str | None = None) -> RecordT | None:
        """The row with that id, or None."""
        row = self.storage.get(kind, check_int(id, "id"), tenant=tenant)
        return None if isinstance(row, Hold) and not row.held else row

    def select(self, kind: type[RecordT], select: Select, *, tenant: str | None = None) -> list[RecordT]:
        """Rows by a ready-made selection: for faces, which parse and bound what they are given."""
        if kind is Hold:
            select = replace(select, where=lists.visible(kind, select.where))
        return self.storage.find(kind, select, tenant=tenant)

    def count(
        self,
        kind: type[Record],
        where: Where | Values | None = None,
        *,
        tenant: str | None = None,
        **equals: Any,
    ) -> int:
        """How many rows `list` would give without a limit."""
        return self.storage.count(kind, lists.condition(kind, where, equals), tenant=tenant)

    def types(self, *, tenant: str | None = None) -> Sequence[TypeSummary]:
        """The types that jobs or holds have, in their order, and how many jobs of each have which status."""
        with self.storage.begin(write=False) as tx:
            return summaries.types(tx, tenant)

    def _take_back_plain(self, lost: Sequence[Job]) -> int:
        try:
            return self.run(maintenance.reap_together(lost)) if lost else 0
        except Conflict:  # somebody else is at it; the next look will tell
            return 0
        except GnjError:  # one by one, so that the one that cannot be taken back is named
            return sum(self._take_back(job) for job in lost)

    def _take_back(self, lost: Job) -> bool:
        try:
            return self.run(maintenance.reap(lost)) is not None
        except Conflict:  # likewise
            return False
        except GnjError:  # one that cannot be taken back must not keep the others from it
            logger.exception("the lost claim %d of job %d could not be taken back", lost.attempt, lost.id)
            return False

    def _oldest(
        self,
        command: Callable[[Unit, str | None, int], Job],
        types: Sequence[str],
        worker_id: str | None,
        tenant: str | None,
        *,
        recoverable: bool,
    ) -> Job | None:
        words = check_types(types)

        def first(unit: Unit) -> Job | None:
            last = 0
            while job := jobs.oldest_failed(unit, tenant, words, worker_id, recoverable=recoverable):
                try:
                    return command(unit, tenant, job.id)
                except (IllegalTransition, JobNotFound):  # somebody else was faster: the next one
                    if job.id == last:  # nobody was: it is one that nobody may have done again
                        raise
                    last = job.id
            return None

        return self.run(first) if words else None

    def list(
        self,
        kind: type[RecordT],
        where: Where | Values | None = None,
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
        tenant: str | None = None,
        **equals: Any,
    ) -> list[RecordT]:
        """Rows that meet `where` and have the values of the keywords; at most 1,000 unless `limit` says otherwise.

        `order` names attributes, with a minus for descending: `("-priority", "id")`.
        """
        select = Select(
            where=lists.condition(kind, where, equals),
            order=lists.order(kind, order),
            limit=lists.limit(limit),
            offset=lists.offset(offset),
        )
        return self.storage.find(kind, select, tenant=tenant)


_CREATE: Mapping[Any, Callable[[Unit, str, Values], Any]] = {
    Batch: compose.create_batch,
    Pipeline: compose.create_pipeline,
    Step: compose.create_step,
    Hold: holds.create,
}
_UPDATE: Mapping[Any, Callable[[Unit, str | None, int, Values], Any]] = {
    Batch: compose.update_batch,
    Pipeline: compose.update_pipeline,
    Step: compose.update_step,
    Hold: holds.update,
}
