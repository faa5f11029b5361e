"""What is done with queues and with single jobs: pause, drain, clean, retry, promote, remove, and in bulk."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final
from urllib.parse import quote

from gnj.access import Kind
from gnj.api.http import Response, json
from gnj.api.queues import reading
from gnj.api.queues.declare import Answer, Call, Operation, Refusal, Schema
from gnj.api.queues.jobjson import told
from gnj.api.queues.schemas import COUNT, closed, example_job, full, integer, ref, text
from gnj.queue import bulk, naming
from gnj.queue.actions import CLEANED, MAX_CLEAN, MAX_GRACE, Removed
from gnj.queue.values import MAX_JSON_BYTES, MAX_NAME, Json
from gnj.queue.where import MAX_PATTERN


def _fields(call: Call, known: Collection[str], needed: Collection[str] = ()) -> dict[str, Json]:
    """The body, an object of these fields. Raises `Refusal`."""
    body = call.body()
    if not isinstance(body, dict):
        raise Refusal(400, "Body must be an object")
    for name in body:
        if name not in known:
            raise Refusal(400, f"Unexpected field: {name[:100]}")
    for name in needed:
        if name not in body:
            raise Refusal(400, f"{name} is required")
    return {name: reading.exact(value) for name, value in body.items()}


def _nothing(call: Call) -> None:
    """Refuses a body that says something."""
    if call.request.body:
        _fields(call, ())


def _moving(name: str) -> Callable[[Call], Response]:
    def answer(call: Call) -> Response:
        queue, id = call.place("queue"), call.place("id")
        _nothing(call)
        move = {"requeue": call.queue.requeue, "promote": call.queue.promote}[name]
        return json(told(call.queue, move(queue, id, tenant=call.tenant)))

    return answer


def _remove(call: Call) -> Response:
    queue, id = call.place("queue"), call.place("id")
    _nothing(call)
    call.queue.remove_job(queue, id, tenant=call.tenant)
    return json({"removed": 1})


def _set_data(call: Call) -> Response:
    queue, id = call.place("queue"), call.place("id")
    data = call.body(MAX_JSON_BYTES)
    return json(told(call.queue, call.queue.set_data(queue, id, data, tenant=call.tenant)))


def _pausing(*, paused: bool) -> Callable[[Call], Response]:
    def answer(call: Call) -> Response:
        queue = call.place("queue")
        _nothing(call)
        if paused:
            call.queue.hold(queue, tenant=call.tenant)
        else:
            call.queue.release_hold(queue, tenant=call.tenant)
        return json({"paused": call.queue.is_paused(queue, tenant=call.tenant)})

    return answer


def _drain(call: Call) -> Response:
    queue = call.place("queue")
    delayed = _fields(call, ["delayed"]).get("delayed", False)
    return _removed(call.queue.drain(queue, delayed=delayed, tenant=call.tenant))


def _clean(call: Call) -> Response:
    queue = call.place("queue")
    names = ["status", "grace", "limit"]
    asked: dict[str, Any] = _fields(call, names, names)
    return _removed(call.queue.clean(queue, **asked, tenant=call.tenant))


def _removed(done: Removed) -> Response:
    return json({"removed": done.removed, "more": done.more})


def _bulk(call: Call) -> Response:
    queue = call.place("queue")
    names = ["action", "filter"]
    asked: dict[str, Any] = _fields(call, names, names)
    job = call.queue.start_bulk(queue, **asked, tenant=call.tenant)
    call.face.changed()
    place = f"{quote(call.below(f'/queues/{queue}/bulk'))}/queues/{bulk.TYPE}/jobs/{naming.id_of(job)}"
    return json(told(call.queue, job), 202, [("location", place)])


_MOMENT: Final = integer(0, bulk.MAX_MOMENT)
_JOB: Final = Answer(summary="The job as it then is.", schema=ref("Job"), example=example_job())
_MISSING: Final = Answer(summary="The caller has no such job in the queue.", example={"error": "Job not found"})


def _conflict(why: str, text: str) -> Answer:
    return Answer(summary=f"{why}; nothing was changed.", example={"error": text})


_PAUSED: Final = full({"paused": {"type": "boolean", "description": "Whether its jobs are held now."}})
_REMOVED: Final = full(
    {
        "removed": {**COUNT, "description": "How many jobs were removed."},
        "more": {"type": "boolean", "description": "Whether there are more: then ask again."},
    }
)
_FILTER: Final = closed(
    {
        "statuses": {
            "type": "array",
            "minItems": 1,
            "items": {"enum": list(bulk.STATES["remove"])},
            "description": "To retry: failed only.",
        },
        "name": text(MAX_NAME, 1),
        "before": {**_MOMENT, "description": "Added before then: milliseconds since 1970."},
        "after": {**_MOMENT, "description": "Added then or later: milliseconds since 1970."},
        "failedReason": {
            **text(MAX_PATTERN, 1),
            "description": "What the reason of the failure contains; case matters.",
        },
    },
    "statuses",
    description="Which jobs: those that meet all of it.",
)
_ACTION: Final = {
    "enum": list(bulk.ACTIONS),
    "description": "retry: failed jobs get one more try; remove: jobs that are not active go.",
}
_TASK: Final[Schema] = {
    **full({"action": _ACTION, "filter": _FILTER}),
    "if": {"properties": {"action": {"const": "retry"}}},
    "then": {"properties": {"filter": {"properties": {"statuses": {"items": {"const": "failed"}}}}}},
    "examples": [
        {"action": "retry", "filter": {"statuses": ["failed"], "failedReason": "timed out"}},
        {"action": "remove", "filter": {"statuses": ["completed", "failed"], "before": 1767225600000}},
    ],
}
_STARTED: Final = example_job(
    id="0123456789abcdef-0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
    name="retry",
    data={"action": "retry", "queue": "mail", "filter": {"statuses": ["failed"]}, "upto": 57},
    opts={"attempts": bulk.MAX_ATTEMPTS, "backoff": dict(bulk.BACKOFF)},
    queueQualifiedName=f"gnj:{bulk.TYPE}",
    gnjId=58,
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="DELETE",
        path="/queues/{queue}/jobs/{id}",
        name="remove_job",
        kind=Kind.ADMIN,
        summary="Remove a job",
        description="In any state but active. Its `jobId` may be used again.",
        answers={
            200: Answer(summary="It is removed.", schema=full({"removed": {"const": 1}}), example={"removed": 1}),
            404: _MISSING,
            409: _conflict("The job is active", "the job is being processed: cancel it first, or wait for its end"),
        },
        answer=_remove,
    ),
    Operation(
        method="PUT",
        path="/queues/{queue}/jobs/{id}/data",
        name="set_data",
        kind=Kind.ADMIN,
        summary="Give a job other data",
        description="In any state; a try that is under way keeps what it was given.",
        body={**ref("Json"), "examples": [{"to": "ben@example.org"}]},
        answers={200: _JOB, 404: _MISSING},
        answer=_set_data,
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/jobs/{id}/retry",
        name="retry_job",
        kind=Kind.ADMIN,
        summary="Queue a failed job again",
        description=(
            "For one more try, however many there were; a cancelled job counts as failed. It keeps its id, and its place by that. "
            "What it belongs to, a batch or a pipeline, goes on."
        ),
        answers={
            200: _JOB,
            404: _MISSING,
            409: _conflict("The job has not failed", "The job must be failed or cancelled"),
        },
        answer=_moving("requeue"),
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/jobs/{id}/promote",
        name="promote_job",
        kind=Kind.ADMIN,
        summary="Make a delayed job ready now",
        description="Also one that waits for its next try.",
        answers={
            200: _JOB,
            404: _MISSING,
            409: _conflict("The job is not delayed", "The job must be delayed"),
        },
        answer=_moving("promote"),
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/pause",
        name="pause_queue",
        kind=Kind.ADMIN,
        summary="Hand out no more jobs of a queue",
        description="Active jobs go on, and jobs can be added. It is GraphQL's hold of the type.",
        answers={200: Answer(summary="It is paused.", schema=_PAUSED, example={"paused": True})},
        answer=_pausing(paused=True),
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/resume",
        name="resume_queue",
        kind=Kind.ADMIN,
        summary="Hand out the jobs of a queue again",
        description="The queue stays paused as long as all types are held, or the host itself holds it.",
        answers={200: Answer(summary="Its own hold has ended.", schema=_PAUSED, example={"paused": False})},
        answer=_pausing(paused=False),
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/drain",
        name="drain_queue",
        kind=Kind.ADMIN,
        summary="Remove the jobs that wait",
        description=(
            "All that are waiting and prioritized and, if asked, delayed; members of batches and pipelines stay. Goes on for about 3 "
            "seconds at most."
        ),
        body=closed(
            {"delayed": {"type": "boolean", "default": False, "description": "Whether delayed jobs go too."}},
            examples=[{}, {"delayed": True}],
        ),
        answers={200: Answer(summary="They are removed.", schema=_REMOVED, example={"removed": 40, "more": False})},
        answer=_drain,
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/clean",
        name="clean_queue",
        kind=Kind.ADMIN,
        summary="Remove old jobs of a state",
        description=("The oldest first; members of batches and pipelines stay. Goes on for about 3 seconds at most."),
        body=full(
            {
                "status": {"enum": list(CLEANED), "description": "The state of the jobs."},
                "grace": {
                    **integer(0, MAX_GRACE),
                    "description": "Milliseconds since a job of that state ended or, of one that waits, was added.",
                },
                "limit": {**integer(1, MAX_CLEAN), "description": "How many go at most."},
            },
            examples=[{"status": "completed", "grace": 86_400_000, "limit": 1000}],
        ),
        answers={200: Answer(summary="They are removed.", schema=_REMOVED, example={"removed": 1000, "more": True})},
        answer=_clean,
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/bulk",
        name="start_bulk",
        kind=Kind.ADMIN,
        summary="Retry or remove many jobs",
        description=(
            "Starts a job of the queue `gnj:bulk` that goes through the jobs there are now, those that were added first before the "
            "others. Its progress is `{total, done, changed, failed, cursor, percent}`: `failed` counts those that could not be "
            "changed, `cursor` is the `gnjId` that was reached. It goes on where it was after a crash of the server, and can be "
            "cancelled over GraphQL like any job."
        ),
        body=_TASK,
        answers={
            202: Answer(
                summary="The job that does it.",
                schema=ref("Job"),
                example=_STARTED,
                headers={"location": "Where to read how far it is."},
            )
        },
        answer=_bulk,
    ),
)
