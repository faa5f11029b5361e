"""Every pair of a status and a move, legal or not: written out by hand here, and walked through the tables and the queue."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import pytest

from gnj.queue import states
from gnj.queue.clock import NOW
from gnj.queue.errors import IllegalTransition, InvalidInput
from gnj.queue.model import Batch, Pipeline, Step
from gnj.queue.states import BatchStatus, JobStatus, PipelineStatus, Same, StepStatus

# Point 4: what the hand may do with a job. What stands behind "=" is what becomes of the wish.
JOBS_BY_HAND = {
    "planned": "queued processing successful failed cancelled cancel-requested=cancelled",
    "queued": "processing successful failed cancelled cancel-requested=cancelled",
    "processing": "successful failed cancelled cancel-requested",
    "cancel-requested": "successful failed cancelled",
    "successful": "",
    "failed": "",
    "cancelled": "",
}
# Point 16. None: a batch's first state.
BATCHES_BY_HAND = {
    None: "planned processing successful failed",
    "planned": "processing successful failed",
    "processing": "successful failed",
    "successful": "",
    "failed": "",
}
PIPELINES_BY_HAND = {
    "planned": "processing successful failed",
    "processing": "successful failed",
    "successful": "",
    "failed": "",
}
STEPS_BY_HAND = {
    "planned": "processing done successful failed",
    "processing": "done successful failed",
    "done": "",
    "successful": "",
    "failed": "",
}
# Every move: out of where, to where.
JOB_MOVES = {
    "queue": "planned>queued",
    "claim": "planned>processing queued>processing",
    "succeed": "planned>successful queued>successful processing>successful cancel-requested>successful",
    "fail": "planned>failed queued>failed processing>failed cancel-requested>failed",
    "cancel": "planned>cancelled queued>cancelled processing>cancelled cancel-requested>cancelled",
    "request cancel": "planned>cancelled queued>cancelled processing>cancel-requested",
    "retry later": "processing>queued",
    "release": "processing>queued cancel-requested>cancelled",
    "lose": "processing>queued cancel-requested>cancelled",
    "lose and fail": "processing>failed cancel-requested>cancelled",
    "lose and hold": "processing>planned cancel-requested>cancelled",
    "recover": "failed>queued",
    "requeue": "failed>queued cancelled>queued",
    "wait its turn": "queued>planned",
}
BATCH_MOVES = {
    "plan": "None>planned",
    "start": "None>processing planned>processing",
    "succeed": "None>successful planned>successful processing>successful",
    "fail": "None>failed planned>failed processing>failed",
    "reopen": "failed>processing successful>processing",
}
PIPELINE_MOVES = {
    "start": "planned>processing",
    "succeed": "planned>successful processing>successful",
    "fail": "planned>failed processing>failed",
    "reopen": "failed>processing",
}
STEP_MOVES = {
    "start": "planned>processing",
    "finish": "planned>done processing>done",
    "succeed": "planned>successful processing>successful",
    "fail": "planned>failed processing>failed",
    "reopen": "failed>processing",
    "wait its turn": "failed>planned",
}

TABLES: list[tuple[str, type[StrEnum], Any, Any, Any, Any]] = [
    ("job", JobStatus, states.JOB_MOVES, JOB_MOVES, states.JOB_BY_HAND, JOBS_BY_HAND),
    ("batch", BatchStatus, states.BATCH_MOVES, BATCH_MOVES, states.BATCH_BY_HAND, BATCHES_BY_HAND),
    ("pipeline", PipelineStatus, states.PIPELINE_MOVES, PIPELINE_MOVES, states.PIPELINE_BY_HAND, PIPELINES_BY_HAND),
    ("step", StepStatus, states.STEP_MOVES, STEP_MOVES, states.STEP_BY_HAND, STEPS_BY_HAND),
]
by_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table[0])


def granted(wishes: str) -> dict[str, str]:
    """What becomes of each wish."""
    pairs = [wish.split("=") for wish in wishes.split()]
    return {wish: after[0] if after else wish for wish, *after in pairs}


@by_table
def test_every_pair_of_a_status_and_a_move(table):
    _, statuses, moves, expected, _, _ = table
    assert set(moves) == set(expected)
    befores = [None, *statuses] if statuses is BatchStatus else list(statuses)
    for name, move in moves.items():
        legal = dict(pair.split(">") for pair in expected[name].split())
        assert {str(before) for before in move.to} == set(legal)
        for before in befores:
            if str(before) in legal:
                assert move.changes(before)["status"] == legal[str(before)]
                assert before in move.frm()
                assert before in move.frm(move.to[before])
            else:
                with pytest.raises(
                    IllegalTransition, match=re.escape(f'cannot {name} what is "{before}"; it must be one of:')
                ):
                    move.changes(before)
                assert before not in move.frm()


@by_table
def test_every_pair_of_a_status_and_a_wish(table):
    _, statuses, moves, _, by_hand, expected = table
    for before, wishes in expected.items():
        legal = granted(wishes)
        for wish in statuses:
            if wish == before:
                assert states.by_hand(moves, by_hand, before, wish) is None
            elif wish in legal:
                move = states.by_hand(moves, by_hand, before, wish)
                assert move is not None
                assert move.changes(before)["status"] == legal[wish]
            else:
                with pytest.raises(IllegalTransition) as caught:
                    states.by_hand(moves, by_hand, before, wish)
                assert str(caught.value) == f'the status cannot go from "{before}" to "{wish}"'
                assert caught.value.code == "ILLEGAL_TRANSITION"


@by_table
def test_every_status_is_in_the_table_and_the_hand_reaches_all_but_the_first(table):
    name, statuses, moves, _, by_hand, expected = table
    for status in statuses:
        assert any(status in move.to or status in move.to.values() for move in moves.values())
    assert set(expected) - {None} == set(statuses)
    first = {"job": {"planned"}, "batch": set(), "pipeline": {"planned"}, "step": {"planned"}}
    assert set(by_hand) == set(statuses) - first[name]
    assert set(by_hand.values()) <= set(moves)


def test_the_groups_of_statuses():
    names = {
        "JOB_ENDED": "successful failed cancelled",
        "JOB_CLAIMED": "processing cancel-requested",
        "JOB_UNFINISHED": "planned queued processing cancel-requested",
        "JOB_BROKEN": "failed cancelled",
        "BATCH_ENDED": "successful failed",
        "PIPELINE_ENDED": "successful failed",
        "STEP_DONE": "done successful",
    }
    for name, statuses in names.items():
        assert getattr(states, name) == set(statuses.split())
    assert set(JobStatus) == states.JOB_ENDED | states.JOB_UNFINISHED
    assert not states.JOB_ENDED & states.JOB_UNFINISHED


def test_what_each_move_of_a_job_stamps():
    ended = {"due_at": None, "lease_expires_at": None, "ended_at": NOW}
    cancelled = {**ended, "cancelled_at": NOW}
    queued = {"due_at": Same("start_after"), "lease_expires_at": None}
    expected = {
        "queue": queued,
        "claim": {"due_at": None, "started_at": NOW, "cancel_seen": False},
        "succeed": ended,
        "fail": ended,
        "cancel": cancelled,
        "request cancel": {},
        "retry later": queued,
        "release": queued,
        "lose": queued,
        "lose and fail": ended,
        "lose and hold": {"lease_expires_at": None},
        "recover": {**queued, "cancel_seen": False},
        "requeue": {**queued, "output": None, "ended_at": None, "cancelled_at": None, "cancel_seen": False},
        "wait its turn": {"due_at": None},
    }
    for name, move in states.JOB_MOVES.items():
        for before, after in move.to.items():
            stamps = {k: v for k, v in move.changes(before).items() if k != "status"}
            if after == "cancelled" and name != "cancel":
                assert cancelled.items() <= stamps.items()
            else:
                assert stamps == expected[name]


@pytest.mark.parametrize("wish", JobStatus)
@pytest.mark.parametrize("before", JobStatus)
def test_the_queue_follows_the_matrix_for_jobs(queue, make, refused, before, wish):
    job = make(status=before)
    legal = granted(JOBS_BY_HAND[before])
    if wish == before or wish in legal:
        assert queue.update_job(job.id, {"status": wish}).status == legal.get(wish, wish)
    else:
        with refused(IllegalTransition, f'the status cannot go from "{before}" to "{wish}"'):
            queue.update_job(job.id, {"status": wish, "name": "new"})


@pytest.mark.parametrize(
    "kind, statuses, expected",
    [
        (Batch, BatchStatus, BATCHES_BY_HAND),
        (Pipeline, PipelineStatus, PIPELINES_BY_HAND),
        (Step, StepStatus, STEPS_BY_HAND),
    ],
)
def test_the_queue_follows_the_matrix_for_the_rest(queue, refused, kind, statuses, expected):
    needs = {"pipeline_id": queue.create(Pipeline, {}).id, "index": 1} if kind is Step else {}
    for before, wishes in expected.items():
        legal = granted(wishes)
        for wish in statuses:
            row = queue.create(kind, {**needs, **({} if before is None else {"status": before})})
            assert row.status == before
            if wish == before or wish in legal:
                assert queue.update(kind, row.id, {"status": wish}).status == wish
            else:
                with refused(IllegalTransition, f'the status cannot go from "{before}" to "{wish}"'):
                    queue.update(kind, row.id, {"status": wish})


@pytest.mark.parametrize("kind", [Batch, Pipeline, Step])
@pytest.mark.parametrize("text", ["", "Planned", "cancelled", "gone", 1, True, [], {}])
def test_other_texts_are_no_statuses(queue, refused, kind, text):
    pipeline = queue.create(Pipeline, {})
    needs = {"pipeline_id": pipeline.id, "index": 1} if kind is Step else {}
    row = queue.create(kind, needs)
    message = "Validation error: Validation isIn on status failed"
    with refused(InvalidInput, message):
        queue.update(kind, row.id, {"status": text})
    with refused(InvalidInput, message):
        queue.create(kind, {**needs, "status": text})


def test_a_batch_cannot_lose_its_status(queue, refused):
    batch = queue.create(Batch, {"status": "planned"})
    with refused(IllegalTransition, 'the status cannot go from "planned" to "None"'):
        queue.update(Batch, batch.id, {"status": None})
    free = queue.create(Batch, {})
    assert queue.update(Batch, free.id, {"status": None}).status is None
