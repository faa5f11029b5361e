"""How a run of a transformation job moves, and how it follows the pipeline of its job, in the transaction that moves this one.

Nothing else assigns the status of a run, nor publishes one. Rows are locked in the order pipeline, job, schedule, transformation job, run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from gnj.queue import turns
from gnj.queue.clock import NOW
from gnj.queue.feed import Change
from gnj.queue.model import Job, Pipeline
from gnj.queue.model_transform import WEBHOOK, RunStatus, TransformJob, TransformRun
from gnj.queue.retry import Exponential
from gnj.queue.states import JobStatus, Move, PipelineStatus
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.values import Json
from gnj.queue.where import equal

_P, _R = RunStatus.PENDING, RunStatus.RUNNING

RUN_MOVES: Final[Mapping[str, Move]] = MappingProxyType(
    {
        move.name: move
        for move in (
            Move("begin", {_P: _R}, {"started_at": NOW, "unclean_at": NOW}),
            Move("succeed", {_R: RunStatus.SUCCESSFUL}, {"finished_at": NOW, "unclean_at": None}),
            Move("fail", {_P: RunStatus.FAILED, _R: RunStatus.FAILED}, {"finished_at": NOW, "retired_at": NOW}),
            Move(
                "cancel",
                {_P: RunStatus.CANCELLED, _R: RunStatus.CANCELLED},
                {"finished_at": NOW, "retired_at": NOW},
            ),
        )
    }
)
"""Every change of a run's status."""
EVENT: Final = "run.finished"
"""What webhooks are told of."""
WEBHOOK_ATTEMPTS: Final = 8
"""Tries to tell of a run."""
WEBHOOK_BACKOFF: Final = Exponential(30.0, maximum=3_600.0, jitter=0.2)
"""The waits between them: half a minute, 1, 2, 4, 8, 16 and 32 minutes."""
UNSEALED: Final = "its job was ended by somebody who had not done it"
_ENDS: Final = frozenset({PipelineStatus.SUCCESSFUL, PipelineStatus.FAILED})


def follow(unit: Unit, pipeline: Pipeline) -> None:
    """Has the run of a pipeline that is locked, and has just moved, end with it: published, if it has written everything."""
    if pipeline.status not in _ENDS:
        return
    for run in unit.tx.find(TransformRun, Select(equal(TransformRun, pipeline_id=pipeline.id), limit=1)):
        job = unit.tx.get(TransformJob, run.transform_job_id, lock=True)
        if pipeline.status is PipelineStatus.SUCCESSFUL and run.sealed:
            if job is not None and job.published is not None:
                unit.tx.edit(TransformRun, [job.published], {"retired_at": NOW})
            _ended(unit, run, job, "succeed", {}, {"published": run.id, "validators": run.validators})
            continue
        cancelled, error = _outcome(unit, run)
        # nothing that it wrote is kept
        nothing = {"written": 0, "rejected": 0}
        _ended(unit, run, job, "cancel" if cancelled else "fail", {"error": error, **nothing}, {})


def move(unit: Unit, run: TransformRun, name: str, changes: Mapping[str, Any]) -> TransformRun | None:
    """Makes a move of a run, if its status is one that it leads out of; the run as it then is."""
    step = RUN_MOVES[name]
    written = {"status": next(iter(step.to.values())), **step.stamps, **changes}
    moved = unit.tx.move(TransformRun, [run.id], step.frm(), written)
    if moved:
        say(unit, run)
    return next(iter(moved), None)


def say(unit: Unit, run: TransformRun) -> None:
    """Tells those who follow of a change of a run, once in a transaction."""
    ids = [run.id, run.transform_job_id]
    if Change("transform", run.tenant, ids) not in unit.changes:
        unit.say("transform", run.tenant, ids)


def shown(run: TransformRun) -> dict[str, Json]:
    """A run as JSON, with the names and forms of the API (contract, "Shapes")."""
    return {
        "id": str(run.id),
        "jobId": str(run.transform_job_id),
        "status": run.status.value,
        "startedAt": _time(run.started_at),
        "finishedAt": _time(run.finished_at),
        "error": run.error,
        "read": run.read,
        "written": run.written,
        "rejected": run.rejected,
        "unchanged": run.unchanged,
    }


def _ended(
    unit: Unit,
    run: TransformRun,
    job: TransformJob | None,
    name: str,
    changes: Mapping[str, Any],
    of_job: Mapping[str, Any],
) -> None:
    moved = move(unit, run, name, changes)
    if moved is None:
        return
    unit.tx.edit(TransformJob, [run.transform_job_id], {"run_id": None, "run_status": moved.status, **of_job})
    if job is not None and job.webhook_url is not None:
        _tell(unit, moved)


def _tell(unit: Unit, run: TransformRun) -> None:
    """Enqueues the job that tells of the end of a run. What it tells is written now: the run may be removed before it can be told."""
    row = {
        "tenant": run.tenant,
        "type": WEBHOOK,
        "name": f"run {run.id}",
        "priority": turns.priority(unit.tx, WEBHOOK, run.tenant),
        "input": {"id": f"{EVENT}:{run.id}", "event": EVENT, "jobId": str(run.transform_job_id), "run": shown(run)},
        "max_attempts": WEBHOOK_ATTEMPTS,
        "backoff": WEBHOOK_BACKOFF.to_wire(),
    }
    for job, _ in unit.tx.insert_jobs([row]):
        unit.tell("created", job, None)
    unit.ready = True


def _time(moment: datetime | None) -> str | None:
    """As the API shows it: ISO 8601 in UTC, milliseconds."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _outcome(unit: Unit, run: TransformRun) -> tuple[bool, str | None]:
    """Whether the job of a run that did not end well was cancelled; else why it failed."""
    found = unit.tx.columns(Job, ["status", "output"], Select(equal(Job, id=run.job_id)))
    status, output = found[0] if found else (None, None)
    if status is JobStatus.CANCELLED:
        return True, None
    if status is JobStatus.SUCCESSFUL:
        return False, UNSEALED
    error = output.get("error") if isinstance(output, dict) else None
    return False, error if isinstance(error, str) else "its job failed"
