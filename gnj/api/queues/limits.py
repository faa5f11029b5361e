"""How many jobs of a queue may start in a while, and run at once."""

from __future__ import annotations

from typing import Any, Final

from gnj.access import Kind
from gnj.api import http
from gnj.api.http import Response
from gnj.api.queues import reading
from gnj.api.queues.declare import Answer, Call, Operation
from gnj.api.queues.schemas import closed, integer
from gnj.queue.limits import MAX_CONCURRENCY, MAX_DURATION, MAX_STARTS, parse, told

PATH: Final = "/queues/{queue}/limits"


def _rate(description: str, **more: Any) -> dict[str, Any]:
    return closed(
        {
            "max": {"description": "Jobs that start in any period of that length at most.", **integer(1, MAX_STARTS)},
            "duration": {"description": "The length of the period in milliseconds.", **integer(1, MAX_DURATION)},
        },
        "max",
        "duration",
        description=description,
        **more,
    )


_LIMITS: Final = {
    "limiter": _rate("How many jobs of the queue may start in a while."),
    "concurrency": {"description": "How many jobs of the queue may run at once.", **integer(1, MAX_CONCURRENCY)},
    "group": closed(
        {
            "limiter": _rate("How many jobs of each group may start in a while."),
            "concurrency": {
                "description": "How many jobs of each group may run at once.",
                **integer(1, MAX_CONCURRENCY),
            },
        },
        description="What holds for the jobs of each group (`opts.group`) apart; jobs without one are not kept by it.",
    ),
}
_EXAMPLE: Final[dict[str, Any]] = {
    "limiter": {"max": 100, "duration": 1000},
    "concurrency": 10,
    "group": {"concurrency": 1},
}
BODY: Final = closed(_LIMITS, examples=[_EXAMPLE, {"concurrency": 1}, {}])
"""What limits are set by."""
SHOWN: Final = closed(
    {**_LIMITS, "worker": _rate("What the push worker of the queue asked for with `opts.limiter`; it holds besides.")},
    examples=[{**_EXAMPLE, "worker": {"max": 10, "duration": 1000}}, {}],
)
"""What limits there are."""

_ABOUT: Final = (
    "Limits are kept in the store, and hold for all servers and workers together. A job that a limit keeps stays `waiting`. "
    "`limiter` counts in any period of that length, not in periods that begin at fixed times. A claim of a worker that died "
    "counts until its lease ends. What was claimed before a limit was set is not counted."
)
_THERE: Final = Answer(summary="The limits of the queue; empty if it has none", schema=SHOWN, example=_EXAMPLE)


def _get(call: Call) -> Response:
    return http.json(told(call.queue.limits_of(call.place("queue"), tenant=call.tenant)))


def _put(call: Call) -> Response:
    queue = call.place("queue")
    return http.json(told(call.queue.set_limits(queue, parse(reading.exact(call.body())), tenant=call.tenant)))


def _delete(call: Call) -> Response:
    call.queue.set_limits(call.place("queue"), None, tenant=call.tenant)
    return http.Response(status=204)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path=PATH,
        name="get_limits",
        kind=Kind.READ,
        summary="The limits of a queue",
        description=_ABOUT,
        answer=_get,
        answers={200: _THERE},
    ),
    Operation(
        method="PUT",
        path=PATH,
        name="set_limits",
        kind=Kind.ADMIN,
        summary="Limit a queue, in the place of the limits that it has",
        description=f"What is left out is not limited; an empty object is as good as DELETE.\n\n{_ABOUT}",
        answer=_put,
        body=BODY,
        answers={200: _THERE},
    ),
    Operation(
        method="DELETE",
        path=PATH,
        name="remove_limits",
        kind=Kind.ADMIN,
        summary="Take the limits of a queue away",
        description="What a push worker asked for with `opts.limiter` stays until its registration says otherwise.",
        answer=_delete,
        answers={204: Answer(summary="The queue has no limits, if it had any", content_type="")},
    ),
)
