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
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, overload

from gnj.queue import (
    claims,
    compose,
    deletes,
    fields,
    holds,
    jobs,
    lists,
    maintenance,
    monitoring,
    pipelines,
    summaries,
)
from gnj.queue.errors import (
    Conflict,
    GnjError,
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    StorageError,
)
from gnj.queue.fields import Spell, python_name
from gnj.queue.inputs import check_tenant, check_tenants, check_types, new_values, with_type
from gnj.queue.model import Batch, Hold, Job, Monitoring, NewJob, Pipeline, Record, RecordT, Step
from gnj.queue.policy import Policy
from gnj.queue.runner import Runner
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select, Storage
from gnj.queue.summaries import TypeSummary
from gnj.queue.unit import Unit
from gnj.queue.values import (
    Json,
    check_int,
    check_json,
    check_seconds,
    check_word,
    clean_text,
    shown,
)
from gnj.queue.where import Where, equal

logger = logging.getLogger("gnj.queue")

T = TypeVar("T")
Values = Mapping[str, Any]

MAX_CLAIM = 1000
MAX_BULK = 100_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a claim ended: what a worker tells.

    Args:
        claim: The job as it was claimed.
        status: successful, failed or cancelled; queued: the claim is given back, nothing is counted.
        output: The job's output; None leaves it as it is.
        error: What the history keeps of a failure, such as a traceback.
        delay: Seconds after which one that is given back may be claimed again.
    """

    claim: Job
    status: JobStatus
    output: Json = None
    error: str | None = None
    delay: float | None = None


class Queue(Runner):
    """The rules of gnj over one storage. Safe to share between threads; two in one process do not know each other.

    Args:
        storage: Where the rows are.
        lease: Seconds a claim lasts that asks for no lease of its own.
        policies: What the handlers' registrations say of their types; fills a claimed job's null policy attributes.
        hooks: Who is told what happens to jobs; nobody unless given.
        seed: Makes the jitter of backoffs repeatable, for tests.
    """

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(storage, **options)
        self._reaped = -math.inf
        self._reaping = threading.Lock()

    # Jobs come in -----------------------------------------------------------------------------------------------------

    def enqueue(self, job: NewJob) -> Job:
        """Stores one job; the job that has its `unique_id` already, if one has. Raises `InvalidInput`."""
        return self.enqueue_many([job])[0]

    def enqueue_many(self, new: Iterable[NewJob]) -> list[Job]:
        """Stores jobs in one transaction, all or none, in order; unique ids as in `enqueue`."""
        by_tenant: dict[str, list[tuple[int, Values]]] = {}
        for place, job in enumerate(new):
            values = new_values(job)
            by_tenant.setdefault(check_tenant(job.tenant), []).append((place, values))
            if place >= MAX_BULK:
                raise InvalidInput(f"at most {MAX_BULK:,} jobs can be enqueued at once")

        def command(unit: Unit) -> list[Job]:
            stored: dict[int, Job] = {}
            for tenant, rows in sorted(by_tenant.items()):
                made = jobs.create(unit, tenant, [values for _, values in rows])
                stored.update(zip((place for place, _ in rows), made, strict=True))
            return [stored[place] for place in range(len(stored))]

        return self.run(command) if by_tenant else []

    def create_jobs(self, rows: Sequence[Values], *, tenant: str = "", spell: Spell = python_name) -> list[Job]:
        """Stores jobs from attribute values: any legal status, batch, pipeline (section 6). All or none."""
        if len(rows) > MAX_BULK:
            raise InvalidInput(f"at most {MAX_BULK:,} jobs can be created at once, not {len(rows):,}")
        checked = [with_type(fields.created(Job, values, spell)) for values in rows]
        owner = check_tenant(tenant)
        return self.run(lambda unit: jobs.create(unit, owner, checked)) if rows else []

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
    ) -> Job | list[Job] | None:
        """Claims the first free job of `types`, or None; with `limit`, a list of at most so many.

        The claim lasts `lease` seconds (the queue's default unless given); `tenants` None serves every tenant. `policies`
        are those of the claimer's own handlers, and stand in for the queue's where they name a type. The answer's
        (id, attempt) is the token with which the claim is renewed and ended.
        """
        types = check_types(types)
        count = 1 if limit is None else check_int(limit, "limit", low=0, high=MAX_CLAIM)
        seconds = self.lease_of(lease)
        who = {
            "worker_id": None if worker_id is None else check_word(worker_id, "workerId"),
            "worker_type": None if worker_type is None else check_word(worker_type, "workerType"),
        }
        if tenants is not None:
            tenants = check_tenants(tenants)
        with suppress(StorageError):  # an idle connection had died: the claim itself tries another one
            self.reap()
        claimed: list[Job] = []
        if types and count and (tenants is None or len(tenants)):
            asked: dict[str, Any] = {"lease": seconds, "who": who, "tenants": tenants}
            asked["policies"] = {**self.policies, **policies} if policies else self.policies
            claimed = self.run(lambda unit: claims.claim(unit, types, count, **asked))
        if limit is None:
            return claimed[0] if claimed else None
        return claimed

    def heartbeat(self, claim: Job, *, lease: float | None = None) -> Job:
        """Renews a claim; the job, whose status tells of a requested cancellation. Raises `LeaseLost`."""
        renewed = self.heartbeats([(claim.id, claim.attempt)], lease=claim.lease if lease is None else lease)
        if renewed[0] is None:
            raise LeaseLost
        return renewed[0]

    def heartbeats(
        self, claims: Sequence[tuple[int, int]], *, lease: float | None = None, tenant: str | None = None
    ) -> list[Job | None]:
        """Renews claims (id, attempt), for the lease each was given unless `lease` says another; None where one is over."""
        if len(claims) > MAX_CLAIM:
            raise InvalidInput(f"at most {MAX_CLAIM:,} claims can be renewed at once, not {len(claims):,}")
        tokens = [(check_int(id, "id"), check_int(attempt, "attempt")) for id, attempt in claims]
        seconds = None if lease is None else self.lease_of(lease)

        def command(unit: Unit) -> list[Job | None]:
            if tenant is None and seconds is not None:
                return unit.tx.renew(tokens, seconds)
            mine = Select(equal(Job, id=tuple({id for id, _ in tokens})))
            leases = {job.id: seconds or job.lease or self.lease for job in unit.tx.find(Job, mine, tenant=tenant)}
            renewed: dict[tuple[int, int], Job | None] = {}
            for each in sorted(set(leases.values())):
                alike = [token for token in tokens if leases.get(token[0]) == each]
                renewed.update(zip(alike, unit.tx.renew(alike, each), strict=True))
            return [renewed.get(token) for token in tokens]

        return self.run(command) if tokens else []

    def progress(self, claim: Job, info: Json) -> Job:
        """Lays `info` over the stored progress of a claimed job; steps of other names stay.

        Raises `LeaseLost`. The status of the answer tells of a requested cancellation, as that of `heartbeat` does.
        """
        values = {"progress": check_json(info, "progress")}
        change = jobs.Update(id=claim.id, values=values, attempt=claim.attempt, merge=True)
        return self.run(lambda unit: jobs.update(unit, None, change))

    def succeed(self, claim: Job, output: Json = None) -> Job:
        """Ends a claim well. Raises `LeaseLost`; telling the same end twice is a success."""
        return self._end(Outcome(claim, JobStatus.SUCCESSFUL, output))

    def fail(self, claim: Job, error: str | None = None, *, output: Json = None, traceback: str | None = None) -> Job:
        """Ends a try with an error: the job waits for its next one, or has failed when none is left.

        The output becomes `{"error": error}` unless one is given; the traceback goes to the history of attempts. A text
        that could not be stored as it is loses what stands in the way, for a failure must be told.
        """
        if not isinstance(error, (str, type(None))):
            raise InvalidInput(f"error must be a string, not {shown(error)}")
        if output is None:
            output = {"error": clean_text(error) if error is not None else "failed"}
        return self._end(Outcome(claim, JobStatus.FAILED, output, traceback or error))

    def cancelled(self, claim: Job, message: str) -> Job:
        """Ends a claim as cancelled, with the output `{"cancelMessage": message}`."""
        return self._end(Outcome(claim, JobStatus.CANCELLED, {"cancelMessage": message}))

    def settle(self, outcomes: Sequence[Outcome]) -> list[Job | GnjError]:
        """Ends many claims, each on its own: the job, or the error (`LeaseLost` …) in its place.

        Successes share one statement and one commit, and so does what their batches and pipelines do about them.
        """
        results: list[Job | GnjError | None] = [None] * len(outcomes)
        checked: list[tuple[int, Outcome]] = []
        for place, outcome in enumerate(outcomes):
            try:
                checked.append((place, replace(outcome, output=check_json(outcome.output, "output"))))
            except GnjError as error:
                results[place] = error
        succeeded = [(place, outcome) for place, outcome in checked if outcome.status is JobStatus.SUCCESSFUL]
        for (place, _), job in zip(succeeded, self._together([outcome for _, outcome in succeeded]), strict=True):
            results[place] = job
        for place, outcome in checked:
            if results[place] is None:
                try:
                    results[place] = self._alone(outcome)
                except GnjError as error:
                    results[place] = error
        return [result for result in results if result is not None]

    def release(self, claims: Iterable[Job]) -> list[Job]:
        """Gives claims back, counting nothing but the claim itself; those that are over already are left out."""
        released = []
        for claim in claims:
            with suppress(LeaseLost):
                released.append(self.snooze(claim.id, claim.attempt))
        return released

    def snooze(self, id: int, attempt: int, delay: float | None = None, *, tenant: str | None = None) -> Job:
        """Gives one claim back, to be handed out again after `delay` seconds at the earliest; nothing is counted.

        Cancelled instead, if that was asked for. Raises `LeaseLost`.
        """
        seconds = None if delay is None else check_seconds(delay, "delay")
        token = (check_int(id, "id"), check_int(attempt, "attempt"))
        return self.run(lambda unit: jobs.release(unit, tenant, *token, delay=seconds))

    def reap(self, *, force: bool = False) -> int:
        """Takes lost leases back, at most once a second unless forced; how many. `acquire` does it on the way."""
        now = time.monotonic()
        if self.joined:  # not in a transaction of the caller's, which would hold their locks
            return 0
        if not force and now - self._reaped < maintenance.REAP_EVERY:
            return 0
        if not self._reaping.acquire(blocking=force):
            return 0
        try:
            lost = self.storage.lost(maintenance.REAP_LIMIT)
            # a full page means that there are more: the next call goes on at once
            self._reaped = now if len(lost) < maintenance.REAP_LIMIT else -math.inf
            self.hooks.keep_known(self.run)
            return sum(self._take_back(job) for job in lost)
        finally:
            self._reaping.release()

    # Jobs are changed -------------------------------------------------------------------------------------------------

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
        change = jobs.Update(
            id=check_int(id, "job.id"),
            values=fields.updated(Job, values, spell),
            attempt=None if attempt is None else check_int(attempt, "job.attempt", low=0),
        )
        return self.run(lambda unit: jobs.update(unit, tenant, change))

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

        At most `limit` rows of each kind; how many in all. Members of what has not ended stay (data.md, Soft delete).
        """
        seconds = None if retention is None else check_seconds(retention, "retention")
        return self.run(lambda unit: unit.tx.prune(limit, deleted=maintenance.DELETED_FOR, ended=seconds))

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
        return self.storage.get(kind, check_int(id, "id"), tenant=tenant)

    def select(self, kind: type[RecordT], select: Select, *, tenant: str | None = None) -> list[RecordT]:
        """Rows by a ready-made selection: for faces, which parse and bound what they are given."""
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

    def _take_back(self, lost: Job) -> bool:
        try:
            return self.run(maintenance.reap(lost)) is not None
        except Conflict:  # somebody else is at it; the next look will tell
            return False
        except GnjError:  # one that cannot be taken back must not keep the others from it
            logger.exception("the lost claim %d of job %d could not be taken back", lost.attempt, lost.id)
            return False

    def _end(self, outcome: Outcome) -> Job:
        (result,) = self.settle([outcome])
        if isinstance(result, GnjError):
            raise result
        return result

    def _together(self, outcomes: Sequence[Outcome]) -> list[Job | None]:
        if not outcomes:
            return []
        ends = [(outcome.claim, outcome.output) for outcome in outcomes]
        try:
            return self.run(lambda unit: jobs.succeed_together(unit, ends), tries=1)
        except Conflict:  # alone, each finds the parents it has now
            return [None] * len(outcomes)

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
            while job := jobs.oldest_failed(unit, tenant, words, worker_id, recoverable=recoverable):
                with suppress(IllegalTransition, JobNotFound):  # somebody else was faster: the next one
                    return command(unit, tenant, job.id)
            return None

        return self.run(first) if words else None

    def _alone(self, outcome: Outcome) -> Job:
        if outcome.status is JobStatus.QUEUED:
            return self.snooze(outcome.claim.id, outcome.claim.attempt, outcome.delay)
        values = {"status": outcome.status}
        if outcome.output is not None:
            values["output"] = outcome.output
        change = jobs.Update(id=outcome.claim.id, values=values, attempt=outcome.claim.attempt, error=outcome.error)
        return self.run(lambda unit: jobs.update(unit, None, change))

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
