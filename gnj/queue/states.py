"""The state machines of jobs, batches, pipelines and steps, as data.

Nothing else decides a status. A *move* has a name, the statuses it leads out of, the one it leads to, and what it writes
besides the status; storages receive the allowed statuses and apply them as compare-and-set. The statuses and moves are
those of section 0 of the jobs contract (points 4, 5, 7, 10, 11 and 16).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from gnj.queue.clock import NOW
from gnj.queue.errors import IllegalTransition


class JobStatus(StrEnum):
    """Where a job stands."""

    PLANNED = "planned"
    """Waits for its step, its batch or somebody to queue it; no worker gets it."""
    QUEUED = "queued"
    """Waits for a worker, perhaps until its due time."""
    PROCESSING = "processing"
    """A claim holds it, until the lease ends."""
    CANCEL_REQUESTED = "cancel-requested"
    """Held by a claim whose worker was asked to stop."""
    SUCCESSFUL = "successful"
    """Ended well; stays so."""
    FAILED = "failed"
    """Ended badly, with no try left; `recover` queues it again if it is recoverable, `requeue` in any case, `retry` makes a
    new job of it."""
    CANCELLED = "cancelled"
    """Ended because somebody asked for it; `requeue` queues it again, `retry` makes a new job of it."""


class BatchStatus(StrEnum):
    """Where a batch stands; a batch made by hand begins without any status (None)."""

    PLANNED = "planned"
    PROCESSING = "processing"
    SUCCESSFUL = "successful"
    """Every member is successful."""
    FAILED = "failed"
    """A member failed or was cancelled."""


class PipelineStatus(StrEnum):
    """Where a pipeline stands."""

    PLANNED = "planned"
    PROCESSING = "processing"
    SUCCESSFUL = "successful"
    """Every step is done."""
    FAILED = "failed"
    """A step failed; the later ones stay planned."""


class StepStatus(StrEnum):
    """Where a step of a pipeline stands."""

    PLANNED = "planned"
    PROCESSING = "processing"
    """Its job, or the jobs of its batch, were queued; they are queued once."""
    DONE = "done"
    SUCCESSFUL = "successful"
    """Set by hand only; counts as done."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Same:
    """Stands for the value another attribute of the same row has; `negative`, for a number's opposite."""

    attribute: str
    negative: bool = False


Status: TypeAlias = JobStatus | BatchStatus | PipelineStatus | StepStatus
Stamps: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Move:
    """One named change of status.

    `to` maps each status the move leads out of to the one it leads to (None: a batch without status). `stamps` are the
    attributes written with it, `NOW` standing for the storage's present.
    """

    name: str
    to: Mapping[Any, Any]
    stamps: Stamps
    on_cancel: Stamps | None = None
    """Written on top when the move ends in `cancelled` although its name says something else."""

    def frm(self, to: Any = None) -> frozenset[Any]:
        """The statuses this move leads out of; with `to`, only those that lead there."""
        return frozenset(before for before, after in self.to.items() if to is None or after == to)

    def changes(self, before: Any) -> dict[str, Any]:
        """The status reached from `before`, and the stamps; raises `IllegalTransition` where there is no way."""
        if before not in self.to:
            legal = ", ".join(sorted(str(status) for status in self.to if status is not None))
            raise IllegalTransition(f'cannot {self.name} what is "{before}"; it must be one of: {legal}')
        after = self.to[before]
        extra = self.on_cancel if after == JobStatus.CANCELLED else None
        return {"status": after, **self.stamps, **(extra or {})}


def _moves(*moves: Move) -> Mapping[str, Move]:
    return MappingProxyType({move.name: move for move in moves})


_P, _Q, _R, _C = JobStatus.PLANNED, JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.CANCEL_REQUESTED
_S, _F, _X = JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.CANCELLED

# A job that is not processing holds no lease; one that is not queued is not due. A queued one waits for its startAfter
# again: where that has passed, the next claim promotes it.
_ENDED: Final = {"due_at": None, "lease_expires_at": None, "ended_at": NOW}
_CANCELLED: Final = {**_ENDED, "cancelled_at": NOW}
_QUEUED: Final = {"due_at": Same("start_after"), "lease_expires_at": None}

JOB_MOVES: Final = _moves(
    Move("queue", {_P: _Q}, _QUEUED),
    Move("claim", {_P: _R, _Q: _R}, {"due_at": None, "started_at": NOW, "cancel_seen": False}),
    Move("succeed", {_P: _S, _Q: _S, _R: _S, _C: _S}, _ENDED),
    Move("fail", {_P: _F, _Q: _F, _R: _F, _C: _F}, _ENDED),
    Move("cancel", {_P: _X, _Q: _X, _R: _X, _C: _X}, _CANCELLED),
    Move("request cancel", {_P: _X, _Q: _X, _R: _C}, {}, _CANCELLED),
    Move("retry later", {_R: _Q}, _QUEUED),
    Move("release", {_R: _Q, _C: _X}, _QUEUED, _CANCELLED),
    Move("lose", {_R: _Q, _C: _X}, _QUEUED, _CANCELLED),
    Move("lose and fail", {_R: _F, _C: _X}, _ENDED, _CANCELLED),
    Move("lose and hold", {_R: _P, _C: _X}, {"lease_expires_at": None}, _CANCELLED),
    Move("recover", {_F: _Q}, {**_QUEUED, "cancel_seen": False}),
    Move(
        "requeue",
        {_F: _Q, _X: _Q},
        {**_QUEUED, "output": None, "ended_at": None, "cancelled_at": None, "cancel_seen": False},
    ),
    Move("wait its turn", {_Q: _P}, {"due_at": None}),
)
"""Every change of a job's status. `retry` is not among them: it makes a new job."""

BATCH_MOVES: Final = _moves(
    Move("plan", {None: BatchStatus.PLANNED}, {}),
    Move("start", dict.fromkeys((None, BatchStatus.PLANNED), BatchStatus.PROCESSING), {}),
    Move(
        "succeed",
        dict.fromkeys((None, BatchStatus.PLANNED, BatchStatus.PROCESSING), BatchStatus.SUCCESSFUL),
        {},
    ),
    Move("fail", dict.fromkeys((None, BatchStatus.PLANNED, BatchStatus.PROCESSING), BatchStatus.FAILED), {}),
    Move("reopen", dict.fromkeys((BatchStatus.FAILED, BatchStatus.SUCCESSFUL), BatchStatus.PROCESSING), {}),
)

PIPELINE_MOVES: Final = _moves(
    Move("start", {PipelineStatus.PLANNED: PipelineStatus.PROCESSING}, {}),
    Move(
        "succeed",
        dict.fromkeys((PipelineStatus.PLANNED, PipelineStatus.PROCESSING), PipelineStatus.SUCCESSFUL),
        {},
    ),
    Move("fail", dict.fromkeys((PipelineStatus.PLANNED, PipelineStatus.PROCESSING), PipelineStatus.FAILED), {}),
    Move("reopen", {PipelineStatus.FAILED: PipelineStatus.PROCESSING}, {}),
)

STEP_MOVES: Final = _moves(
    Move("start", {StepStatus.PLANNED: StepStatus.PROCESSING}, {}),
    Move("finish", dict.fromkeys((StepStatus.PLANNED, StepStatus.PROCESSING), StepStatus.DONE), {}),
    Move("succeed", dict.fromkeys((StepStatus.PLANNED, StepStatus.PROCESSING), StepStatus.SUCCESSFUL), {}),
    Move("fail", dict.fromkeys((StepStatus.PLANNED, StepStatus.PROCESSING), StepStatus.FAILED), {}),
    Move("reopen", {StepStatus.FAILED: StepStatus.PROCESSING}, {}),
    Move("wait its turn", {StepStatus.FAILED: StepStatus.PLANNED}, {}),
)

JOB_ENDED: Final = frozenset({_S, _F, _X})
JOB_CLAIMED: Final = frozenset({_R, _C})
"""Statuses in which a claim holds the job."""
JOB_UNFINISHED: Final = frozenset({_P, _Q, _R, _C})
JOB_BROKEN: Final = frozenset({_F, _X})
"""Ends that fail the batch, the step and the pipeline the job belongs to (point 11)."""
BATCH_ENDED: Final = frozenset({BatchStatus.SUCCESSFUL, BatchStatus.FAILED})
PIPELINE_ENDED: Final = frozenset({PipelineStatus.SUCCESSFUL, PipelineStatus.FAILED})
STEP_DONE: Final = frozenset({StepStatus.DONE, StepStatus.SUCCESSFUL})

# What a caller's wish for a status means (point 4). The hand may also repeat the status a row has: a plain edit.
JOB_BY_HAND: Final[Mapping[JobStatus, str]] = MappingProxyType(
    {_Q: "queue", _R: "claim", _S: "succeed", _F: "fail", _X: "cancel", _C: "request cancel"}
)
BATCH_BY_HAND: Final[Mapping[BatchStatus, str]] = MappingProxyType(
    {
        BatchStatus.PLANNED: "plan",
        BatchStatus.PROCESSING: "start",
        BatchStatus.SUCCESSFUL: "succeed",
        BatchStatus.FAILED: "fail",
    }
)
PIPELINE_BY_HAND: Final[Mapping[PipelineStatus, str]] = MappingProxyType(
    {PipelineStatus.PROCESSING: "start", PipelineStatus.SUCCESSFUL: "succeed", PipelineStatus.FAILED: "fail"}
)
STEP_BY_HAND: Final[Mapping[StepStatus, str]] = MappingProxyType(
    {
        StepStatus.PROCESSING: "start",
        StepStatus.DONE: "finish",
        StepStatus.SUCCESSFUL: "succeed",
        StepStatus.FAILED: "fail",
    }
)


def by_hand(moves: Mapping[str, Move], wishes: Mapping[Any, str], before: Any, wish: Any) -> Move | None:
    """The move that a caller's `wish` for a status means; None when the row has that status already.

    Raises `IllegalTransition` when `wish` cannot be reached from `before`.
    """
    if wish == before:
        return None
    move = moves.get(wishes.get(wish, ""))
    if move is None or before not in move.to:
        raise IllegalTransition(f'the status cannot go from "{before}" to "{wish}"')
    return move
