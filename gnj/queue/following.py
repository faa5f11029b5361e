"""What follows a pipeline of its own kind, in the transaction that moves this one: runs of transformation jobs (`gnj.queue.runs`), and
content jobs, whose status changes here and nowhere else.

A content job's row is always locked last: after pipeline, batch and job.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gnj.queue.clock import NOW
from gnj.queue.feed import Change
from gnj.queue.kinds import CONTENT, TRANSFORM
from gnj.queue.model import ContentJob, Pipeline
from gnj.queue.model_content import ContentStatus
from gnj.queue.states import Move, PipelineStatus
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.where import equal

_P, _A, _C, _F, _D = (
    ContentStatus.PENDING,
    ContentStatus.ACTIVE,
    ContentStatus.COMPLETED,
    ContentStatus.FAILED,
    ContentStatus.DELETED,
)

CONTENT_MOVES: Final[Mapping[str, Move]] = MappingProxyType(
    {
        move.name: move
        for move in (
            Move("begin", {_P: _A}, {"started_at": NOW}),
            Move("succeed", {_P: _C, _A: _C}, {"finished_at": NOW}),
            Move("fail", {_P: _F, _A: _F}, {"finished_at": NOW}),
            Move("delete", {_P: _D, _A: _D, _C: _D, _F: _D}, {}),
        )
    }
)
"""Every change of a content job's status. What is over stays so, even where somebody has a task of it queued again: what the tasks
before had written was taken back when it failed."""

_FOLLOWS: Final = MappingProxyType({PipelineStatus.SUCCESSFUL: "succeed", PipelineStatus.FAILED: "fail"})


def follow(unit: Unit, pipeline: Pipeline) -> None:
    """Has what follows a pipeline that is locked, and has just moved, end with it. Nothing for pipelines of no kind."""
    if pipeline.kind == TRANSFORM:
        from gnj.queue import runs  # noqa: PLC0415 - 0.2 MB with the records of transformation jobs

        runs.follow(unit, pipeline)
        return
    name = _FOLLOWS.get(pipeline.status)
    if pipeline.kind != CONTENT or name is None:
        return
    found = unit.tx.columns(ContentJob, ["id"], Select(equal(ContentJob, pipeline_id=pipeline.id), limit=1))
    for (id,) in found:
        change(unit, pipeline.tenant, id, name)


def change(unit: Unit, tenant: str, id: int, name: str | None, changes: Mapping[str, Any] | None = None) -> None:
    """Makes the move `name`, if the content job has a status that it leads out of, and writes the changes with it; without a
    name, these alone. Those who follow are told, once in a transaction.
    """
    written = dict(changes or {})
    if name is not None:
        move = CONTENT_MOVES[name]
        written = {"status": next(iter(move.to.values())), **move.stamps, **written}
        unit.tx.move(ContentJob, [id], move.frm(), written)
    elif written:
        unit.tx.edit(ContentJob, [id], written)
    if Change("content", tenant, id) not in unit.changes:
        unit.say("content", tenant, id)
