"""What happens to the jobs of a queue, as it happens: server-sent events."""

from __future__ import annotations

from typing import Final

from gnj.access import Kind
from gnj.api import sse
from gnj.api.http import RETRY_AFTER, Response
from gnj.api.queues.declare import Answer, Call, Operation, Param, Refusal
from gnj.api.queues.hub import PATH, EventStream
from gnj.api.queues.telling import EVENTS
from gnj.queue.values import shown


def _names(call: Call) -> tuple[str, ...]:
    asked = call.parameter("events")
    if not asked:
        return EVENTS
    names = tuple(asked.split(","))
    for name in names:
        if name not in EVENTS:
            raise Refusal(400, f"Invalid event: {shown(name)[1:-1]}")
    return names


def _events(call: Call) -> Response:
    queue, names = call.place("queue"), _names(call)
    if call.request.method == "HEAD":
        return sse.headers_only()
    stream = EventStream(call.limits, call.principal.expires_at)
    connection = call.face.connections.enter(call.tenant, stream.cut)
    if connection is None:
        raise Refusal(503, "There are too many streams: try again later.", [("retry-after", str(RETRY_AFTER))])
    stream.connection = connection
    try:
        stream.begin(call.face.hub.join(queue, names, call.principal, stream))
    except BaseException:
        connection.leave()
        raise
    return sse.streamed(stream)


_EXAMPLE: Final = (
    "event: active\nid: 7\n"
    'data: {"jobId":"57","name":"welcome","state":"active","attemptsMade":0,"timestamp":1767225600000}\n\n'
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path=PATH,
        name="get_events",
        kind=Kind.READ,
        summary="Tells what happens in a queue, as it happens, by server-sent events.",
        description=(
            "Each event has a name, a number that grows, and JSON: `jobId`, `name`, `state`, `attemptsMade` and `timestamp` of the "
            "job, with `progress` its progress, with `completed` its `returnvalue`, with `failed` its `failedReason`. "
            "`paused`, `resumed`, `drained` and `cleaned` are about the queue. Every job's last state is told; changes that follow "
            "each other closely may be told as one, or twice. What happened while nobody was connected is not told: "
            "`Last-Event-ID` is ignored. That the time of a delayed job has come is told by its `active`. "
            "While nothing happens, a comment comes every 12 seconds. The stream ends when the token does, and when its reader is "
            "too slow: then connect again."
        ),
        answer=_events,
        params=(
            Param(
                name="events",
                summary=f"Only these events, joined by commas: {', '.join(EVENTS)}.",
                schema={
                    "type": "string",
                    "pattern": f"^(({'|'.join(EVENTS)})(,({'|'.join(EVENTS)}))*)?$",
                    "examples": ["completed,failed"],
                },
            ),
        ),
        answers={
            200: Answer(
                summary="The stream.",
                schema={"type": "string"},
                example=_EXAMPLE,
                content_type="text/event-stream",
            )
        },
    ),
)
