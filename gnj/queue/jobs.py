"""What can be done to jobs: each command as a rule over one unit of work.

`create` and `update` are sections 6 and 7 of the jobs contract, as section 0 has them. Every other command that changes a
status goes through `_apply`, the one place where a job's row, its history and its parents change together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any, Final

from gnj.queue import events, holds, pipelines, progress, tries
from gnj.queue.clock import NOW, After
from gnj.queue.errors import (
    CancelPending,
    Conflict,
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    LeaseLost,
)
from gnj.queue.model import Job, JobAttempt, Pipeline, json_names
from gnj.queue.naming import OWN
from gnj.queue.pipelines import Parents
from gnj.queue.retry import from_wire
from gnj.queue.states import (
    BATCH_ENDED,
    BATCH_MOVES,
    JOB_BY_HAND,
    JOB_CLAIMED,
    JOB_ENDED,
    JOB_MOVES,
    PIPELINE_ENDED,
    BatchStatus,
    JobStatus,
    Move,
    PipelineStatus,
    Same,
    by_hand,
)
from gnj.queue.storage import Select, Settlement
from gnj.queue.unit import Unit
from gnj.queue.values import Json, Unreadable, same_json
from gnj.queue.where import equal

FIRST = -1
"""The position with which a job is created that is to come before all of its priority (lifo)."""
SUCCEEDED = JOB_MOVES["succeed"].changes(JobStatus.PROCESSING)
"""What the success of a claim writes, besides an output."""
_CANCELS = tuple({"status": status} for status in (JobStatus.CANCEL_REQUESTED, JobStatus.CANCELLED))
_PARENTS = ("batch_id", "pipeline_id")
_UNTIL_ENDED = ("type", *_PARENTS)
_JSON_OF: Final = attrgetter(*json_names(Job))


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One change of one job, its values checked.

    Args:
        id: The job.
        values: Attributes and their new values; `status` among them is a wish.
        attempt: With it the change is fenced: it applies only while that claim holds the job.
        merge: Lay the progress over the stored one instead of replacing it. Workers of gnj do, who learn of a
            requested cancellation from their heartbeats: the two-call rule is not for them.
        replace: Replace the progress, likewise without the two-call rule.
        outside: It is a caller's, even with an `attempt`, which every job shows: anybody can name it.
        error: What the history of attempts keeps of a failure, such as a traceback; the output's error unless given.
    """

    id: int
    values: Mapping[str, Any] = field(hash=False)
    attempt: int | None = None
    merge: bool = False
    replace: bool = False
    outside: bool = False
    error: str | None = None


def create(unit: Unit, tenant: str, rows: Sequence[Mapping[str, Any]]) -> list[Job]:
    """Stores jobs, all or none, and gives each its step; a job whose unique id is taken gives the one that has it.

    The values are checked (`fields.created`). Raises `InvalidInput` for a batch or pipeline that does not exist.
    """
    return [job for job, _ in created(unit, tenant, rows)]


def created(unit: Unit, tenant: str, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Job, bool]]:
    """`create`, and whether each job is new."""
    parents = pipelines.lock(
        unit,
        batch_ids=(row.get("batch_id") for row in rows),
        pipeline_ids=(row.get("pipeline_id") for row in rows),
    )
    for row in rows:
        _check_parents(parents, tenant, row)
    stored = _turned(unit, rows, unit.tx.insert_jobs([_new_row(unit, tenant, row, parents) for row in rows]))
    for job, new in stored:
        if new:
            _join(unit, parents, job)
            unit.ready = unit.ready or job.status is JobStatus.QUEUED
            unit.tell("created", job, None)
            _settle_running_batch(unit, job)
    return [(_joined(unit, parents, job) if new else job, new) for job, new in stored]


def update(unit: Unit, tenant: str | None, change: Update) -> Job:
    """Changes a job: plain edits, a legal move of its status, other parents; settles what follows from it.

    Raises `JobNotFound`, `LeaseLost`, `IllegalTransition`, `CancelPending`, `Duplicate` or `InvalidInput`; then nothing is
    changed. The same end told twice by the same claim is a success. What the library makes for itself only its claims change: to
    set its progress back, or to queue it again, would have done again what a client may not do.
    """
    missing = "Could not find the job with the id [{}]"
    job, parents = locked(unit, tenant, change.id, change.values, missing, outside=change.outside)
    by_hand_only = change.outside or change.attempt is None
    if by_hand_only and job.type.startswith(OWN) and change.values not in _CANCELS:
        raise InvalidInput(f"a job of the library's own ({job.type}) can be cancelled by hand, and nothing else")
    wish = change.values.get("status", job.status)
    if change.attempt is not None and (job.attempt != change.attempt or job.status not in JOB_CLAIMED):
        if _told_already(unit, job, change, wish):
            return job
        raise LeaseLost
    values = {name: value for name, value in change.values.items() if name != "status"}
    move = by_hand(JOB_MOVES, JOB_BY_HAND, job.status, wish)
    if move is not None and move.name == "claim":
        holds.check_unlimited(unit, job.tenant, values.get("type", job.type))
    if job.status is JobStatus.CANCEL_REQUESTED and move is None and not (change.merge or change.replace):
        if job.cancel_seen:
            raise CancelPending
        values["cancel_seen"] = True
    edits = _edits(unit, job, values, merge=change.merge)
    _check_open(parents, job, edits)
    return _apply(unit, parents, job, edits, move, error=change.error)


def succeed_together(unit: Unit, ends: Sequence[tuple[Job, Json]]) -> list[Job | None]:
    """Ends claims successfully, with these outputs, in one statement; None for each that is over. Parents settle once.

    Raises `Conflict` when a job was given other parents since it was claimed, which are therefore not locked.
    """
    batch_ids = {claim.batch_id for claim, _ in ends}
    pipeline_ids = {claim.pipeline_id for claim, _ in ends}
    parents = pipelines.lock(unit, batch_ids=batch_ids, pipeline_ids=pipeline_ids)
    done = unit.tx.settle(
        [
            Settlement(
                claim.id, claim.attempt, JOB_CLAIMED, SUCCEEDED if output is None else {**SUCCEEDED, "output": output}
            )
            for claim, output in ends
        ]
    )
    ended = [job for job in done if job is not None]
    if any(job.batch_id not in batch_ids or job.pipeline_id not in pipeline_ids for job in ended):
        raise Conflict
    for job in ended:
        unit.tell("succeeded", job, JobStatus.PROCESSING)
    pipelines.members_succeeded(unit, parents, ended)
    return done


def cancel(unit: Unit, tenant: str | None, id: int, *, outside: bool = True) -> Job:
    """Cancels a planned or queued job at once and asks the worker of a running one to stop; again is no error."""
    job, parents = locked(unit, tenant, id)
    if outside:
        pipelines.check_free(parents.pipelines.get(job.pipeline_id or 0), cancels=True)
    if job.status is JobStatus.CANCEL_REQUESTED or job.status is JobStatus.CANCELLED:
        return job
    move = by_hand(JOB_MOVES, JOB_BY_HAND, job.status, JobStatus.CANCEL_REQUESTED)
    return _apply(unit, parents, job, {}, move)


def release(unit: Unit, tenant: str | None, id: int, attempt: int, delay: float | None = None) -> Job:
    """Gives a claim back: the job is queued again, nothing is counted; cancelled if that was asked for.

    With `delay` it comes back no sooner than after so many seconds (snooze).
    """
    job, parents = locked(unit, tenant, id)
    if job.attempt != attempt or job.status not in JOB_CLAIMED:
        raise LeaseLost
    return _apply(unit, parents, job, {}, JOB_MOVES["release"], wait=delay or 0.0)


def still_held(
    unit: Unit, tenant: str | None, claims: Sequence[tuple[int, int]], renewed: Sequence[Job | None]
) -> list[Job | None]:
    """What was renewed; and of those claims that were not, as somebody else's transaction has the job locked, the job as it is."""
    left = {id for (id, _), job in zip(claims, renewed, strict=True) if job is None}
    found = unit.tx.find(Job, Select(equal(Job, id=tuple(left))), tenant=tenant) if left else ()
    held = {(job.id, job.attempt): job for job in found if job.status in JOB_CLAIMED}
    return [held.get(claim) if job is None else job for claim, job in zip(claims, renewed, strict=True)]


@dataclass(frozen=True, slots=True)
class Loss:
    """What becomes of a claim whose lease has run out."""

    job: Job
    move: Move
    error: str
    changes: Mapping[str, Any] = field(hash=False)
    """What is written besides."""
    wait: float
    """Seconds after which it may be claimed again, if it is queued."""


def lose(unit: Unit, loss: Loss) -> Job | None:
    """Ends a claim whose lease has run out; None if it was renewed or ended meanwhile."""
    job, parents = locked(unit, None, loss.job.id)
    if job.attempt != loss.job.attempt or job.status not in JOB_CLAIMED:
        return None
    done = _apply(unit, parents, job, loss.changes, loss.move, error=loss.error, expired=True, wait=loss.wait)
    return done if done.status is not job.status else None


def lose_together(unit: Unit, losses: Sequence[Loss]) -> int:
    """`lose` for many jobs without batch and pipeline, with a statement for all that become the same; how many were lost.

    Nothing happens to those that were renewed or ended meanwhile, that somebody else is at, or that have parents by now.
    """
    settlements = []
    for loss in losses:
        job = loss.job
        changes = {**loss.changes, **loss.move.changes(job.status)}
        if loss.wait and changes["status"] is JobStatus.QUEUED:
            changes["due_at"] = _not_before(unit, job, loss.wait)
        settlements.append(Settlement(job.id, job.attempt, {job.status}, changes, expired=True, plain=True))
    done = [(loss, after) for loss, after in zip(losses, unit.tx.settle(settlements), strict=True) if after is not None]
    tries.remember(unit, [tries.Try(loss.job, loss.move, loss.error) for loss, _ in done])
    for loss, after in done:
        unit.tell(events.name_of(loss.move.name, loss.job.status, after.status), after, loss.job.status)
        unit.ready = unit.ready or after.status is JobStatus.QUEUED
    return len(done)


def recover(unit: Unit, tenant: str | None, id: int) -> Job:
    """Queues a failed, recoverable job again, as it is; reopens its step, batch and pipeline."""
    job, parents = locked(unit, tenant, id, missing="The job does not exist", outside=True)
    if not job.recoverable:
        raise IllegalTransition("The job must be recoverable")
    if job.status is not JobStatus.FAILED:
        raise IllegalTransition("The job must be failed")
    _check_not_replaced(unit, job)
    return pipelines.reopen(unit, parents, _apply(unit, parents, job, {}, JOB_MOVES["recover"]))


def requeue(unit: Unit, tenant: str | None, id: int) -> Job:
    """Queues a failed or cancelled job again, for at least one more try; reopens its step, batch and pipeline."""
    job, parents = locked(unit, tenant, id, outside=True)
    move = JOB_MOVES["requeue"]
    if job.status not in move.to:
        raise IllegalTransition("The job must be failed or cancelled")
    _check_not_replaced(unit, job)
    return pipelines.reopen(unit, parents, _apply(unit, parents, job, {}, move))


def requeue_together(unit: Unit, ended: Sequence[Job]) -> list[Job | None]:
    """`requeue` for many jobs that have neither batch nor pipeline and were not retried, in few statements.

    None, and nothing done, for each that has changed meanwhile or that somebody else is at.
    """
    move = JOB_MOVES["requeue"]
    done = unit.tx.settle(
        [Settlement(job.id, job.attempt, {job.status}, move.changes(job.status), plain=True) for job in ended]
    )
    for job, after in zip(ended, done, strict=True):
        if after is not None:
            unit.tell(events.name_of(move.name, job.status, after.status), after, job.status)
            unit.ready = True
    return done


def _check_not_replaced(unit: Unit, job: Job) -> None:
    if job.replaced_by is not None and unit.tx.get(Job, job.replaced_by) is not None:
        raise IllegalTransition(f"The job was retried: job {job.replaced_by} has taken its place")


_COPIED = (
    "type name input start_after priority position recoverable high_frequency max_attempts max_stalled backoff timeout on_lost "
    "options limit_key traceparent custom_id tenant unique_id batch_id pipeline_id"
).split()


def retry(unit: Unit, tenant: str | None, id: int, *, once: bool = False) -> Job:
    """A new job like a failed or cancelled one, queued, in its place: unique id, batch, step; the old one gives them up.

    `once`: refused for one that was retried before.
    """
    job, parents = locked(unit, tenant, id, missing="The job does not exist.", outside=True)
    if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise IllegalTransition("The job must be failed or cancelled.")
    if once and job.replaced_by is not None:
        raise IllegalTransition(f"The job was retried: job {job.replaced_by} has taken its place")
    if names := unreadable(job):
        raise IllegalTransition(f"what is stored as the {' and the '.join(names)} of the job is not JSON")
    steps = pipelines.steps_of(unit, job)
    given_up = {"unique_id": None, "custom_id": None, "batch_id": None, "pipeline_id": None}
    unit.tx.edit(Job, [job.id], given_up)
    row = {name: getattr(job, name) for name in _COPIED}
    row |= {"status": JobStatus.QUEUED, "retry_of": job.id, "due_at": job.start_after}
    ((new, _),) = unit.tx.insert_jobs([row])
    unit.tx.edit(Job, [job.id], {"replaced_by": new.id})
    pipelines.hand_over(unit, steps, new)
    unit.ready = True
    unit.tell("created", new, None)
    return pipelines.reopen(unit, parents, new)


def oldest_failed(
    unit: Unit, tenant: str | None, types: Sequence[str], worker_id: str | None, *, recoverable: bool
) -> Job | None:
    """The oldest failed job of `types` that was not retried, last run by that worker if one is named (point 3)."""
    asked: dict[str, Any] = {"type": tuple(types), "status": JobStatus.FAILED, "replaced_by": None}
    if worker_id is not None:
        asked["worker_id"] = worker_id
    if recoverable:
        asked["recoverable"] = True
    found = unit.tx.find(Job, Select(equal(Job, **asked), limit=1), tenant=tenant)
    return found[0] if found else None


def locked(
    unit: Unit,
    tenant: str | None,
    id: int,
    values: Mapping[str, Any] | None = None,
    missing: str = "The job does not exist",
    *,
    outside: bool = False,
) -> tuple[Job, Parents]:
    """The job under lock, its present and future parents locked before it.

    `outside`: for a change that is neither a worker's nor the library's own: refused for jobs of `pipelines.check_free`.
    """
    before = unit.tx.get(Job, id, tenant=tenant)
    if before is None:
        raise JobNotFound(missing.format(id))
    values = values or {}
    parents = pipelines.lock(
        unit,
        batch_ids=(before.batch_id, values.get("batch_id")),
        pipeline_ids=(before.pipeline_id, values.get("pipeline_id")),
    )
    _check_parents(parents, before.tenant, values)
    job = unit.tx.get(Job, id, tenant=tenant, lock=True)
    if job is None:
        raise JobNotFound(missing.format(id))
    if (job.batch_id, job.pipeline_id) != (before.batch_id, before.pipeline_id):
        raise Conflict
    if outside:
        pipelines.check_free(parents.pipelines.get(job.pipeline_id or 0))
    return job, parents


def _apply(
    unit: Unit,
    parents: Parents,
    job: Job,
    edits: Mapping[str, Any],
    move: Move | None,
    *,
    error: str | None = None,
    expired: bool = False,
    wait: float = 0.0,
) -> Job:
    """Writes edits and a move to a locked job, keeps its history, and settles its parents."""
    changes = dict(edits)
    if move is not None:
        changes |= _moved(unit, job, move)
    if wait and changes.get("status") is JobStatus.QUEUED:
        changes["due_at"] = _not_before(unit, job, wait)
    asked_to_stop = move is not None and move.name == "request cancel"  # not by the worker, whose lease it is
    if job.status in JOB_CLAIMED and changes.get("status", job.status) in JOB_CLAIMED and not asked_to_stop:
        changes["lease_expires_at"] = After(job.lease or unit.lease)
        if set(changes) == {"lease_expires_at"}:
            (renewed,) = unit.tx.renew([(job.id, job.attempt)], job.lease or unit.lease)
            return renewed or job
    if not changes:
        return job
    if "status" in changes:
        (after,) = unit.tx.settle([Settlement(job.id, job.attempt, {job.status}, changes, expired=expired)])
        if after is None:  # the lock leaves one way: the lease was found alive after all
            return job
    else:
        (after,) = unit.tx.edit(Job, [job.id], changes)
    if move is not None and move.name in ("fail", "lose", "lose and fail", "lose and hold"):
        _remember(unit, job, edits.get("output", job.output), move, error)
    if any(getattr(after, name) != getattr(job, name) for name in _PARENTS):
        pipelines.leave(unit, parents, _staying(job, after))
        _join(unit, parents, after, before=job)
        parents = pipelines.lock(unit, batch_ids=parents.batches, pipeline_ids=parents.pipelines)  # as they are by now
    name = "progressed" if move is None and "progress" in edits else None
    unit.tell(events.name_of(None if move is None else move.name, job.status, after.status) or name, after, job.status)
    if after.status in JOB_ENDED and job.status not in JOB_ENDED:
        pipelines.member_ended(unit, parents, after)
    unit.ready = unit.ready or (after.status is JobStatus.QUEUED and job.status is not JobStatus.QUEUED)
    return _joined(unit, parents, after)


def _moved(unit: Unit, job: Job, move: Move) -> dict[str, Any]:
    """The status, stamps and counters that `move` writes to `job`."""
    changes = move.changes(job.status)
    if move.name == "claim":
        changes |= {"attempt": job.attempt + 1, "lease": unit.lease, "lease_expires_at": After(unit.lease)}
    if move.name == "fail" and job.status in JOB_CLAIMED:
        failures = job.failures + 1
        changes["failures"] = failures
        if job.status is JobStatus.PROCESSING and failures < (job.max_attempts or 1) and not unreadable(job):
            wait = from_wire(job.backoff).wait(failures, unit.random) if job.backoff is not None else 0.0
            # the next try begins without the error of this one, which the history keeps: a handler that gives nothing
            # leaves the output as it is, and would end successful with it
            changes = {**JOB_MOVES["retry later"].changes(job.status), "failures": failures, "output": None}
            if wait > 0:
                changes["due_at"] = _not_before(unit, job, wait)
    return changes


def _not_before(unit: Unit, job: Job, wait: float) -> Any:
    """When a job that is queued again is due: after `wait` seconds, and not before its own `start_after`."""
    if job.start_after is not None and job.start_after > After(wait).resolve(unit.tx.now()):
        return job.start_after
    return After(wait)


def _edits(unit: Unit, job: Job, values: Mapping[str, Any], *, merge: bool) -> dict[str, Any]:
    """What of `values` really changes `job`; refused where the job has ended and the attribute is settled with it."""
    changes = {name: value for name, value in values.items() if not same_json(value, getattr(job, name))}
    if "progress" in changes:
        new = progress.merged(job.progress, changes["progress"]) if merge else changes["progress"]
        new = progress.replaced(job.progress, new, started_at=job.started_at, now=unit.tx.now())
        changes["progress"] = new
        if same_json(new, job.progress):
            del changes["progress"]
    if job.status in JOB_ENDED and (settled := [name for name in _UNTIL_ENDED if name in changes]):
        raise IllegalTransition(f"the job has ended: its {settled[0].removesuffix('_id')} cannot change any more")
    if "start_after" in changes and job.status is JobStatus.QUEUED:
        changes["due_at"] = changes["start_after"]
    return changes


def all_readable(jobs: Sequence[Job]) -> bool:
    """Whether none of them is `unreadable`: in a tenth of the time that it takes to ask of each."""
    return Unreadable not in set(map(type, chain.from_iterable(map(_JSON_OF, jobs))))


def unreadable(job: Job) -> list[str]:
    """The attributes of a job that hold what is no JSON."""
    return [name for name in json_names(Job) if isinstance(getattr(job, name), Unreadable)]


def _told_already(unit: Unit, job: Job, change: Update, wish: JobStatus) -> bool:
    """Whether this fenced change is one that was applied before and whose answer got lost (P6)."""
    if "status" not in change.values:
        return False
    same_output = "output" not in change.values or same_json(change.values["output"], job.output)
    if job.attempt == change.attempt and job.status is wish and wish in JOB_ENDED:
        return same_output
    return wish is JobStatus.FAILED and unit.tx.exists(
        JobAttempt, equal(JobAttempt, job_id=job.id, attempt=change.attempt, outcome="failed")
    )


def _remember(unit: Unit, job: Job, output: Json, move: Move, error: str | None) -> None:
    """Keeps a try that did not end well in the history, if the job was being tried."""
    if job.status not in JOB_CLAIMED:
        return
    if error is None:
        told = output.get("error", output) if isinstance(output, dict) else output
        error = told if isinstance(told, str) else None if told is None else str(told)
    tries.remember(unit, [tries.Try(job, move, error)])


def _check_parents(parents: Parents, tenant: str, values: Mapping[str, Any]) -> None:
    """Refuses parents that do not exist for the tenant, in the words clients of the original match (section 5)."""
    for name, found in (("batch_id", parents.batches), ("pipeline_id", parents.pipelines)):
        id = values.get(name)
        row: Any = found.get(id) if id is not None else None
        if id is not None and (row is None or row.tenant != tenant):
            key = f"job_{name.removesuffix('_id')}Id_fkey"
            raise InvalidInput(f'insert or update on table "job" violates foreign key constraint "{key}"')
        if isinstance(row, Pipeline):
            pipelines.check_free(row)


def _check_open(parents: Parents, job: Job, edits: Mapping[str, Any]) -> None:
    """Refuses other parents where the old or the new one has ended (point 16).

    A batch of its own is no such end for who joins it: it goes on, as with a new job (`_join`).
    """
    for name, found, ended in (
        ("batch_id", parents.batches, BATCH_ENDED),
        ("pipeline_id", parents.pipelines, PIPELINE_ENDED),
    ):
        if name not in edits:
            continue
        left: Any = found.get(getattr(job, name) or 0)
        if (left is not None and left.status in ended) or _closed(parents, {name: edits[name]}):
            parent = name.removesuffix("_id")
            raise IllegalTransition(f"the {parent} has ended: the job's {parent} cannot change any more")


def _new_row(unit: Unit, tenant: str, values: Mapping[str, Any], parents: Parents) -> dict[str, Any]:
    """The whole row of a job to be: its status, and the stamps that status has (section 6; section 0, point 4)."""
    row = {"tenant": tenant, **values}
    member = row.get("batch_id") is not None or row.get("pipeline_id") is not None
    status = row.setdefault("status", JobStatus.PLANNED if member and not _runs(parents, row) else JobStatus.QUEUED)
    if member and status is JobStatus.QUEUED and _closed(parents, row):
        status = row["status"] = JobStatus.PLANNED
    if status is JobStatus.QUEUED:
        row["due_at"] = row.get("start_after")
    elif status in JOB_CLAIMED:
        defaults = {"started_at": NOW, "attempt": 1, "lease": unit.lease, "lease_expires_at": After(unit.lease)}
        row = {**defaults, **row}
    elif status in JOB_ENDED:
        row.setdefault("ended_at", NOW)
        if status is JobStatus.CANCELLED:
            row.setdefault("cancelled_at", NOW)
    return row


def _turned(
    unit: Unit, rows: Sequence[Mapping[str, Any]], stored: Sequence[tuple[Job, bool]]
) -> Sequence[tuple[Job, bool]]:
    """Puts the jobs that are to come first before all that have their priority: the later stored, the earlier."""
    ids = [job.id for row, (job, new) in zip(rows, stored, strict=True) if new and row.get("position") == FIRST]
    if not ids:
        return stored
    turned = {job.id: job for job in unit.tx.edit(Job, ids, {"position": Same("id", negative=True)})}
    return [(turned.get(job.id, job), new) for job, new in stored]


def _runs(parents: Parents, row: Mapping[str, Any]) -> bool:
    """Whether the batch was started already: nobody would queue a member that is planned."""
    batch = parents.batches.get(row.get("batch_id") or 0)
    return batch is not None and batch.status is BatchStatus.PROCESSING and row.get("pipeline_id") is None


def _closed(parents: Parents, row: Mapping[str, Any]) -> bool:
    """Whether a parent has ended for good, so that nothing would ever settle or run by itself any more."""
    pipeline_ids = [row.get("pipeline_id")]
    if batch := parents.batches.get(row.get("batch_id") or 0):
        pipeline_ids.append(batch.pipeline_id)
        if batch.status in BATCH_ENDED and batch.pipeline_id is not None:
            return True
    found = (parents.pipelines.get(id) for id in pipeline_ids if id is not None)
    return any(pipeline is not None and pipeline.status in PIPELINE_ENDED for pipeline in found)


def _join(unit: Unit, parents: Parents, job: Job, before: Job | None = None) -> None:
    """Puts a job into its parents: a step in a pipeline that goes on; an ended batch of its own goes on."""
    if job.pipeline_id is not None and (before is None or before.pipeline_id != job.pipeline_id):
        pipelines.append_step(unit, job.pipeline_id, job_id=job.id)
    if job.batch_id is not None and (before is None or before.batch_id != job.batch_id):
        batch = parents.batches[job.batch_id]
        joins = before is not None or job.status not in JOB_ENDED  # one that ends as it joins is settled after this
        if batch.status in BATCH_ENDED and batch.pipeline_id is None and joins:
            unit.tx.move(type(batch), [batch.id], BATCH_ENDED, BATCH_MOVES["reopen"].changes(batch.status))


def _settle_running_batch(unit: Unit, job: Job) -> None:
    """A job created as ended counts for a batch that runs; elsewhere nothing is set going by it (point 4)."""
    if job.status in JOB_ENDED and job.batch_id is not None:
        parents = pipelines.lock(unit, batch_ids=(job.batch_id,), pipeline_ids=())
        if parents.batches[job.batch_id].status is BatchStatus.PROCESSING:
            pipelines.member_ended(unit, parents, job.evolve(pipeline_id=None))


def _joined(unit: Unit, parents: Parents, job: Job) -> Job:
    """The job as it is after it was put into its parents: a pipeline that had nothing left to do has queued it."""
    pipeline = parents.pipelines.get(job.pipeline_id or 0)
    if job.status is not JobStatus.PLANNED or pipeline is None or pipeline.status is not PipelineStatus.PROCESSING:
        return job
    return unit.tx.get(Job, job.id) or job


def _staying(job: Job, after: Job) -> Job:
    """`job` with only those parents that it leaves."""
    kept = {name: None for name in _PARENTS if getattr(job, name) == getattr(after, name)}
    return job.evolve(**kept) if kept else job
