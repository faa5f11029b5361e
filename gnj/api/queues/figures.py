"""Figures of a queue: how many jobs ended in each minute, how long they waited and ran."""

from __future__ import annotations

from typing import Final

from gnj.access import Kind
from gnj.api.http import Response, json
from gnj.api.queues.declare import Answer, Call, Operation, Param
from gnj.api.queues.schemas import COUNT, full, integer
from gnj.queue.clock import to_number
from gnj.queue.figures import Quantiles
from gnj.queue.values import Json

MAX_MINUTES: Final = 1_440
"""Minutes at most: a day."""


def _metrics(call: Call) -> Response:
    queue = call.place("queue")
    minutes = call.integer("minutes", 60, 1, MAX_MINUTES)
    figures = call.queue.figures(queue, minutes, tenant=call.tenant)
    return json(
        {
            "minutes": [
                {"at": to_number(each.at), "completed": each.completed, "failed": each.failed}
                for each in figures.minutes
            ],
            "wait": _quantiles(figures.wait),
            "run": _quantiles(figures.run),
            "sampled": figures.sampled,
        }
    )


def _quantiles(each: Quantiles) -> dict[str, Json]:
    return {"p50": each.p50, "p95": each.p95}


_QUANTILES: Final = full(
    {name: {"type": ["number", "null"], "minimum": 0} for name in ("p50", "p95")},
    title="Quantiles",
    description="Milliseconds that half of the jobs, and 95 of 100, did not exceed; null where there were none.",
)
_MINUTE: Final = full(
    {
        "at": {**COUNT, "description": "Its beginning, in milliseconds since 1970."},
        "completed": COUNT,
        "failed": {**COUNT, "description": "Cancelled ones included."},
    }
)
_METRICS: Final = full(
    {
        "minutes": {
            "description": "Every minute, the oldest first; the last one is not over yet.",
            "type": "array",
            "items": _MINUTE,
        },
        "wait": _QUANTILES,
        "run": _QUANTILES,
        "sampled": {**COUNT, "description": "Jobs, the newest that ended, that the quantiles are taken from."},
    },
    title="Metrics",
    description="What a queue did lately.",
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/queues/{queue}/metrics",
        name="get_metrics",
        kind=Kind.READ,
        summary="Counts what ended in each minute, and tells how long jobs waited and ran.",
        description=(
            "Read from the jobs that are kept: those that were removed are not counted. A job waits from when it may start to "
            "its start, which is told of jobs that were tried once; it runs from the start of its last try to its end."
        ),
        answer=_metrics,
        params=(
            Param(
                name="minutes",
                summary="The last so many minutes.",
                schema={**integer(1, MAX_MINUTES), "default": 60},
            ),
        ),
        answers={
            200: Answer(
                summary="The figures.",
                schema=_METRICS,
                example={
                    "minutes": [{"at": 1_767_225_600_000, "completed": 12, "failed": 1}],
                    "wait": {"p50": 4, "p95": 31},
                    "run": {"p50": 120, "p95": 480},
                    "sampled": 13,
                },
            )
        },
    ),
)
