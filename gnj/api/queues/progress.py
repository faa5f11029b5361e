"""What a worker tells of a job that it holds: its progress, and lines of its log."""

from __future__ import annotations

from typing import Final

from gnj.access import Kind
from gnj.api.http import Response, json, text
from gnj.api.queues.declare import Answer, Call, Operation, paging_params
from gnj.api.queues.schemas import COUNT, full
from gnj.queue.errors import LeaseLost, Unauthenticated
from gnj.queue.logs import MAX_LINE
from gnj.queue.model import Job
from gnj.queue.values import MAX_JSON_BYTES

_OK: Final = Answer(
    summary="It is stored.", schema={"const": "OK"}, example="OK", content_type="text/plain; charset=utf-8"
)
_CLAIM: Final = (
    "Asks for the claim token that came with the job, `Authorization: Bearer gnjl_…`, and not for a token of the API. It is worth "
    "nothing once the claim is over - the job has ended, its lease ran out, another worker has it - and for any other job or queue: "
    "401."
)
_LOG: Final = full(
    {
        "logs": {"type": "array", "items": {"type": "string"}, "description": "Lines, the oldest first."},
        "count": {**COUNT, "description": "How many lines the log has."},
    },
    title="JobLog",
)


def _held(call: Call) -> Job:
    """The job that the caller was found to hold."""
    call.place("queue")
    assert call.claim is not None  # noqa: S101 - which is asked for
    return call.claim


def _progress(call: Call) -> Response:
    job, progress = _held(call), call.body(MAX_JSON_BYTES)
    try:
        call.queue.set_progress(job, progress)
    except LeaseLost:  # between the two
        raise Unauthenticated from None
    return text("OK")


def _log(call: Call) -> Response:
    job, line = _held(call), call.body()
    try:
        call.queue.add_log(job, line)
    except LeaseLost:
        raise Unauthenticated from None
    return text("OK")


def _logs(call: Call) -> Response:
    queue, id = call.place("queue"), call.place("id")
    start, length = call.paging()
    logs, count = call.queue.logs(queue, id, start, length, tenant=call.tenant)
    return json({"logs": logs, "count": count})


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/queues/{queue}/jobs/{id}/progress",
        name="set_progress",
        kind=None,
        claim=True,
        summary="Tell the progress of a job",
        description=(
            "Any JSON of at most 4 MiB, in the place of what was told before; entries of `steps` that have the same name are laid over "
            f"each other. {_CLAIM}"
        ),
        body={"description": "The progress.", "examples": [42, {"percent": 50, "file": "a.csv"}]},
        answers={200: _OK},
        answer=_progress,
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/jobs/{id}/logs",
        name="add_log",
        kind=None,
        claim=True,
        summary="Add a line to the log of a job",
        description=f"At most 64 KiB as UTF-8. The newest 10,000 lines of a job are kept. {_CLAIM}",
        body={
            "type": "string",
            "maxLength": MAX_LINE,
            "description": "The line.",
            "examples": ["fetched 40 of 120 pages"],
        },
        answers={200: _OK},
        answer=_log,
    ),
    Operation(
        method="GET",
        path="/queues/{queue}/jobs/{id}/logs",
        name="get_logs",
        kind=Kind.READ,
        summary="Read the log of a job",
        description="A job there is not has an empty log.",
        params=paging_params("How many lines to leave out.", "How many lines to give at most."),
        answers={
            200: Answer(
                summary="Lines of the log.", schema=_LOG, example={"logs": ["fetched 40 of 120 pages"], "count": 1}
            )
        },
        answer=_logs,
    ),
)
