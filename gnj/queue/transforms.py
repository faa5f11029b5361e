"""Transformation jobs as rows: how runs are started, what they write, and how what is left of them goes.

A run writes records that are `born` with it, and marks those of the same keys as having `died` with it. Nobody sees either
before the run is published, which is one row that changes (`gnj.queue.runs`). What a run has left that was not published is
taken back before the next one of the job writes. All that a claim writes is fenced by it: who has lost it writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Final

from gnj.queue import compose, jobs, runs, schedules, turns
from gnj.queue.clock import NOW
from gnj.queue.errors import CancelRequested, Conflict, IllegalTransition, JobNotFound, NotFound
from gnj.queue.kinds import TRANSFORM
from gnj.queue.many import Many
from gnj.queue.model import Job, Schedule, attributes
from gnj.queue.model_transform import (
    RUN,
    RUN_OVER,
    RecordStatus,
    RunStatus,
    TransformJob,
    TransformRecord,
    TransformRejected,
    TransformRun,
)
from gnj.queue.retry import Exponential
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows, Select
from gnj.queue.unit import Unit
from gnj.queue.values import Json, clean_text
from gnj.queue.where import And, Compare, Condition, Not, Or, equal

EVERY: Final = timedelta(hours=24)
"""From the beginning of a run to that of the next, unless there is a cron expression (contract, "Jobs")."""
ATTEMPTS: Final = 4
"""Tries of a run that its schedule starts."""
BACKOFF: Final = Exponential(60.0, maximum=900.0, jitter=0.2)
"""The waits between them: 1, 2 and 4 minutes."""
PAGE: Final = 1_000
"""Rows that one transaction takes back."""
_FEW: Final = 100
"""Jobs, and runs, that one looks through: each costs some statements, whether or not there is anything of it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a run has come; see `TransformRun`."""

    read: int = 0
    written: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction of a run writes.

    Args:
        records: Pairs of a key (None: without) and a checked value; keys may be there more than once, the last one wins. No other
            job has the same keys.
        rejected: Pairs of what the source gave and the reasons, both checked.
        read: How many records the source has given since the batch before.
        refused: How many of these were rejected, kept or not.
        seals: Whether it is the last one: if the job ends well after that, the run is published.
        validators: Given with the last one: what the source said of its version.
    """

    records: Sequence[tuple[str | None, Json]] = ()
    rejected: Sequence[tuple[Json, Json]] = ()
    read: int = 0
    refused: int = 0
    seals: bool = False
    validators: Json = None


def start(unit: Unit, job: TransformJob, *, attempts: int) -> TransformRun:
    """A run of a job whose row is locked and has none that is not over; its job is queued, with so many tries, and takes its tenant's
    turn.
    """
    step = {
        "type": RUN,
        "input": {"transformJob": job.id},
        "priority": turns.priority(unit.tx, RUN, job.tenant),
        "max_attempts": attempts,
        "backoff": BACKOFF.to_wire(),
        "on_lost": "requeue",
    }
    pipeline = compose.whole_pipeline(
        unit, job.tenant, f"transformation job {job.id}", [step], start=True, kind=TRANSFORM
    )
    ((job_id,),) = unit.tx.columns(Job, ["id"], Select(equal(Job, pipeline_id=pipeline.id)))
    row = {"tenant": job.tenant, "transform_job_id": job.id, "job_id": job_id, "pipeline_id": pipeline.id}
    (run,) = unit.tx.insert(TransformRun, [row])
    unit.tx.edit(TransformJob, [job.id], {"run_id": run.id})
    runs.say(unit, run)
    return run


def start_scheduled(unit: Unit, row: Schedule) -> Job:
    """Starts the run that a tick of a transformation job's schedule is for; the job that does it.

    Raises `NotFound` for a schedule of no job, and `Conflict` where a run has begun meanwhile.
    """
    found = _scheduled(unit.tx, row)
    job = None if found is None else unit.tx.get(TransformJob, found.id, lock=True)
    if job is None or job.removed_at is not None:
        raise NotFound("the transformation job of this schedule does not exist any more")
    if job.run_id is not None:  # started since `is_running` looked
        raise Conflict
    made = unit.tx.get(Job, start(unit, job, attempts=ATTEMPTS).job_id)
    assert made is not None  # noqa: S101 - tells the type checker what was just stored
    return made


def is_running(tx: Rows, row: Schedule) -> bool:
    """Whether a run of the job that a schedule is of is not over."""
    job = _scheduled(tx, row)
    return job is not None and job.run_id is not None


def begin(unit: Unit, claim: Job) -> tuple[TransformRun, TransformJob]:
    """Begins a try of a run: the run and its transformation job, as they then are.

    Raises `NotFound` for a job that is that of no run, and `IllegalTransition` for one whose run is over: anybody may enqueue a job of
    that type, and what counts is that the run names it.
    """
    _held(unit, claim, Counts())
    run = _run_of(unit.tx, claim)
    job = unit.tx.get(TransformJob, run.transform_job_id)
    if job is None or run.status in RUN_OVER:
        raise IllegalTransition(f"the run {run.id} is over")
    schedule = None if job.schedule_id is None else unit.tx.get(Schedule, job.schedule_id, lock=True)
    job = unit.tx.get(TransformJob, job.id, lock=True)
    if job is None or job.removed_at is not None:
        raise CancelRequested("the transformation job was deleted")
    begun = runs.move(unit, run, "begin", {})
    if begun is None:
        (run,) = unit.tx.edit(TransformRun, [run.id], {**asdict(Counts()), "sealed": False, "error": None})
        runs.say(unit, run)
        return run, job
    assert begun.started_at is not None  # noqa: S101 - tells the type checker what the move has stamped
    if schedule is not None and schedule.every_ms is not None:
        _rebase(unit, schedule, begun)
    changes = {"last_run_at": begun.started_at, "run_status": RunStatus.RUNNING}
    (job,) = unit.tx.edit(TransformJob, [job.id], changes)
    return begun, job


def make_room(unit: Unit, claim: Job, run: TransformRun, keep: int) -> bool:
    """Does some of what comes before a run writes; whether that was all.

    What runs of the job have left that were not published is taken back, earlier tries of this run among them. Of those that are
    there only to be looked back at, the newest `keep` stay. Raises `LeaseLost`, `CancelRequested`.
    """
    _held(unit, claim, None)
    left = PAGE
    mine = equal(TransformRun, transform_job_id=run.transform_job_id)
    unclean = And((mine, Not(equal(TransformRun, unclean_at=None))))
    for (id,) in unit.tx.columns(TransformRun, ["id"], Select(unclean)):
        left -= _cleaned(unit.tx, id, left, more_comes=id == run.id)
        if left <= 0:
            return False
    retired = And((mine, Not(equal(TransformRun, retired_at=None))))
    newest = unit.tx.columns(TransformRun, ["id"], Select(retired, (("id", True),), 1, keep))
    if not newest:
        return True
    # the oldest first: what a run has written is there as long as the run is, and as those are that superseded it
    older = Select(And((retired, Compare(attributes(TransformRun)["id"], (), "lte", newest[0][0]))), limit=_FEW)
    found = unit.tx.columns(TransformRun, ["id"], older)
    for (id,) in found:
        left -= _remove_run(unit.tx, id, left)
        if left <= 0:
            return False
    return len(found) < _FEW


def write(unit: Unit, claim: Job, run_id: int, counts: Counts, batch: Batch) -> Counts:
    """Writes a batch of a run that `counts` is so far; how far it then is.

    Args:
        unit: The transaction.
        claim: The job as it was claimed; its (id, attempt) is the fence.
        run_id: The run.
        counts: As the batch before left them.
        batch: What is written.

    Raises `LeaseLost` where the claim does not hold the job any more, `CancelRequested` where it is to stop: then nothing was
    written.
    """
    told = Counts(counts.read + batch.read, counts.written, counts.rejected + batch.refused)
    _held(unit, claim, told)
    run = unit.tx.get(TransformRun, run_id)
    if run is None:
        raise NotFound(f"the run {run_id} does not exist any more")
    last: dict[str | int, tuple[str | None, Json]] = {
        place if key is None else key: (key, value) for place, (key, value) in enumerate(batch.records)
    }
    keys = tuple(key for key in last if isinstance(key, str))
    again = _supersede(unit.tx, run, keys) if keys else 0
    told = replace(told, written=counts.written + len(last) - again)
    own = {"tenant": run.tenant, "transform_job_id": run.transform_job_id}
    if last:
        differing = dict(zip(("key", "value"), zip(*last.values(), strict=True), strict=True))
        unit.tx.insert(TransformRecord, Many(len(last), {**own, "born": run.id}, differing))
    unit.tx.insert(TransformRejected, [{**own, "run_id": run.id, "source": s, "reasons": r} for s, r in batch.rejected])
    changes: dict[str, Any] = asdict(told)
    if batch.seals:
        changes |= {"sealed": True, "validators": batch.validators}
    unit.tx.edit(TransformRun, [run.id], changes)
    runs.say(unit, run)
    return told


def give_up(unit: Unit, claim: Job) -> None:
    """Has the try of a claimed job be its last one, if it fails: another one could not do better. Raises `LeaseLost`."""
    _fenced(unit, claim, {"max_attempts": 1})


def explain(unit: Unit, claim: Job, reason: str) -> None:
    """Has the run of a claimed job tell why its try has failed, until the next one begins or the run is over. Raises `LeaseLost`."""
    _fenced(unit, claim, {})
    own = equal(TransformRun, pipeline_id=claim.pipeline_id, job_id=claim.id, status=RunStatus.RUNNING)
    for run in unit.tx.find(TransformRun, Select(own, limit=1), tenant=claim.tenant):
        unit.tx.edit(TransformRun, [run.id], {"error": clean_text(reason)})
        runs.say(unit, run)


def remove(unit: Unit, tenant: str, id: int) -> bool:
    """Deletes a transformation job with its schedule, and cancels the run that is not over; whether there was one of that id."""
    before = unit.tx.get(TransformJob, id, tenant=tenant)
    if before is None or before.removed_at is not None:
        return False
    run = None if before.run_id is None else unit.tx.get(TransformRun, before.run_id)
    try:
        if run is not None:
            jobs.locked(unit, tenant, run.job_id)  # before the schedule, as whoever begins a run does
        if before.schedule_id is not None:
            with suppress(NotFound):  # somebody took it away
                schedules.remove(unit, tenant, before.schedule_id)
        if run is not None:
            jobs.cancel(unit, tenant, run.job_id, outside=False)
    except (IllegalTransition, JobNotFound):  # the run has just ended
        raise Conflict from None
    job = unit.tx.get(TransformJob, id, tenant=tenant, lock=True)
    if job is None or job.removed_at is not None:
        return False
    if job.run_id not in (None, before.run_id) or job.schedule_id != before.schedule_id:
        raise Conflict
    unit.tx.edit(TransformJob, [id], {"removed_at": NOW, "schedule_id": None})
    return True


def trim(tx: Rows, age: float | None, limit: int) -> int:
    """Removes for good what nobody sees any more: what is left of deleted jobs and of runs that were not published; and, unless
    `age` is None, runs that only history had a use for more than so many seconds ago, with the records that they superseded.

    At most `limit` rows; how many.
    """
    left = limit
    gone = And((Not(equal(TransformJob, removed_at=None)), equal(TransformJob, run_id=None)))
    for (id,) in tx.columns(TransformJob, ["id"], Select(gone, order=(("removed_at", False),), limit=_FEW)):
        left -= _remove_job(tx, id, left)
        if left <= 0:
            return limit - left
    ended = equal(TransformRun, status=(RunStatus.FAILED, RunStatus.CANCELLED))
    unclean = And((Not(equal(TransformRun, unclean_at=None)), ended))
    for (id,) in tx.columns(TransformRun, ["id"], Select(unclean, order=(("unclean_at", False),), limit=_FEW)):
        left -= _cleaned(tx, id, left)
        if left <= 0:
            return limit - left
    if age is None:
        return limit - left
    old = Compare(attributes(TransformRun)["retired_at"], (), "lte", tx.now() - timedelta(seconds=age))
    oldest = Select(And((old, equal(TransformRun, unclean_at=None))), order=(("retired_at", False),), limit=_FEW)
    for (id,) in tx.columns(TransformRun, ["id"], oldest):
        left -= _remove_run(tx, id, left)
        if left <= 0:
            break
    return limit - left


def current(job: TransformJob) -> Condition:
    """Which records are the job's, for all to see."""
    known = attributes(TransformRecord)
    if job.published is None:
        return Or(())
    gone = And((Not(equal(TransformRecord, died=None)), Compare(known["died"], (), "lte", job.published)))
    return And(
        (
            equal(TransformRecord, transform_job_id=job.id),
            Compare(known["born"], (), "lte", job.published),
            Not(gone),
        )
    )


def _held(unit: Unit, claim: Job, counts: Counts | None) -> None:
    """Makes sure that the claim holds its job, and renews it. Raises `LeaseLost`, `CancelRequested`."""
    # what is written is known only later, and the run tells it
    values = {} if counts is None else {"progress": {"read": counts.read, "rejected": counts.rejected}}
    if _fenced(unit, claim, values).status is JobStatus.CANCEL_REQUESTED:
        raise CancelRequested("the run was cancelled")


def _fenced(unit: Unit, claim: Job, values: dict[str, Any]) -> Job:
    return jobs.update(unit, claim.tenant, jobs.Update(id=claim.id, values=values, attempt=claim.attempt, replace=True))


def _run_of(tx: Rows, claim: Job) -> TransformRun:
    if claim.pipeline_id is not None:
        own = Select(equal(TransformRun, pipeline_id=claim.pipeline_id, job_id=claim.id), limit=1)
        for run in tx.find(TransformRun, own, tenant=claim.tenant):
            return run
    raise NotFound(f"the job {claim.id} is that of no run: runJob and schedules make those that do runs")


def _scheduled(tx: Rows, row: Schedule) -> TransformJob | None:
    return next(iter(tx.find(TransformJob, Select(equal(TransformJob, schedule_id=row.id), limit=1))), None)


def _rebase(unit: Unit, schedule: Schedule, run: TransformRun) -> None:
    """Has the next run come `EVERY` after the beginning of this one."""
    assert run.started_at is not None  # noqa: S101 - tells the type checker what the move has stamped
    following = run.started_at + EVERY
    changes: dict[str, Any] = {"begins_at": following, "since": run.started_at}
    unit.tx.edit(Schedule, [schedule.id], changes if schedule.paused else {**changes, "next_at": following})


def _supersede(tx: Rows, run: TransformRun, keys: tuple[str, ...]) -> int:
    """Makes room for records of these keys: those that the run itself has written go, older ones die with it; how many of the
    former there were.
    """
    own, older = list[int](), list[int]()
    # By the keys alone, whatever else there is to say: to PostgreSQL without statistics, 1 record in 200 is of the job, or of the
    # run, and all of those look cheaper to read than 1,000 keys to look up. Not in the order of ids: to read a table of up to
    # 300,000 records in that order looks cheaper, too, and takes 90 ms for 90,000 instead of 5.
    live = Select(equal(TransformRecord, key=keys, status=RecordStatus.LIVE), order=(("key", False),))
    for id, born in tx.columns(TransformRecord, ["id", "born"], live):
        (own if born == run.id else older).append(id)
    if own:
        tx.trim(TransformRecord, equal(TransformRecord, id=tuple(own)), len(own))
    if older:
        died = {"status": RecordStatus.SUPERSEDED, "died": run.id}
        tx.move_all(TransformRecord, equal(TransformRecord, id=tuple(older)), {RecordStatus.LIVE}, died)
    return len(own)


def _cleaned(tx: Rows, id: int, limit: int, *, more_comes: bool = False) -> int:
    """Removes what a run has written, and revives what died with it: at most so many rows; how many. If that was all, the run is
    clean, unless it goes on to write.
    """
    run = tx.get(TransformRun, id, lock=True)  # else a slow look would revive what a later run has superseded since
    if run is None or run.unclean_at is None:
        return 0
    born = equal(TransformRecord, transform_job_id=run.transform_job_id, born=run.id)
    count = tx.trim(TransformRecord, born, limit)
    if count < limit:
        count += tx.trim(TransformRejected, equal(TransformRejected, run_id=run.id), limit - count)
    if count < limit:
        died = Select(equal(TransformRecord, died=run.id), limit=limit - count)
        if ids := [id for (id,) in tx.columns(TransformRecord, ["id"], died)]:
            revived = {"status": RecordStatus.LIVE, "died": None}
            count += tx.move_all(TransformRecord, equal(TransformRecord, id=tuple(ids)), set(RecordStatus), revived)
    if count < limit and not more_comes:
        tx.edit(TransformRun, [id], {"unclean_at": None})
    return count


def _remove_job(tx: Rows, id: int, limit: int) -> int:
    """Removes some of a deleted job, the job itself last; how many rows."""
    if tx.get(TransformJob, id, lock=True) is None:  # as `_remove_run`
        return 0
    count = tx.trim(TransformRecord, equal(TransformRecord, transform_job_id=id), limit)
    runs_left = tx.columns(TransformRun, ["id"], Select(equal(TransformRun, transform_job_id=id), limit=_FEW))
    for (run_id,) in runs_left:
        if count >= limit:
            return count
        count += _remove_run(tx, run_id, limit - count)
    if count < limit and len(runs_left) < _FEW:
        count += tx.trim(TransformJob, equal(TransformJob, id=id), 1)
    return count


def _remove_run(tx: Rows, id: int, limit: int) -> int:
    """Removes some of a run that was retired, with what it superseded, the run itself last; how many rows."""
    # under its lock: else rows that another sweep has locked, and puts back, would outlive the run
    if tx.get(TransformRun, id, lock=True) is None:
        return 0
    count = tx.trim(TransformRecord, equal(TransformRecord, died=id), limit)
    if count < limit:
        count += tx.trim(TransformRejected, equal(TransformRejected, run_id=id), limit - count)
    if count < limit:
        count += tx.trim(TransformRun, equal(TransformRun, id=id), 1)
    return count
