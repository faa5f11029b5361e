"""Push workers: endpoints that are called for each job of a queue."""

from __future__ import annotations

from typing import Any, Final

from gnj.access import Kind, Target
from gnj.api.http import Request, Response, json, text
from gnj.api.queues import reading
from gnj.api.queues.declare import Answer, Call, Operation, Refusal
from gnj.api.queues.openapi import PLACES
from gnj.api.queues.schemas import COUNT, closed, full, integer
from gnj.fetch.policy import Blocked, Policy
from gnj.queue import limits, options, pushing
from gnj.queue.clock import to_number
from gnj.queue.errors import InvalidInput
from gnj.queue.model import PushWorker
from gnj.queue.values import Json

_QUEUE: Final = {
    **PLACES["queue"][1],
    "description": "The queue whose jobs are pushed. A registration for the same queue takes the place of the one it has.",
}
_KEEP: Final = {
    "description": "Which ended jobs are kept: true for none, a number for so many of the newest, `age` in seconds.",
    "oneOf": [
        {"type": "boolean"},
        integer(0, options.MAX_KEPT),
        closed({name: integer(0, options.MAX_KEPT) for name in ("age", "count", "limit")}),
    ],
}
_OPTIONS: Final = closed(
    {
        "concurrency": {
            **integer(1, pushing.MAX_CONCURRENCY),
            "default": 1,
            "description": "Calls under way at once, over all servers together.",
        },
        "limiter": full(
            {
                "max": integer(1, limits.MAX_STARTS),
                "duration": {**integer(1, limits.MAX_DURATION), "description": "Milliseconds."},
            },
            description="At most `max` jobs start in any `duration`; if the queue has a rate of its own, the stricter holds.",
        ),
        "maxStalledCount": {
            **integer(1, pushing.MAX_COUNT),
            "description": "How often a job may be lost, with the server that held it, until it fails.",
        },
        "removeOnComplete": _KEEP,
        "removeOnFail": _KEEP,
    }
)
_ENDPOINT: Final = closed(
    {
        "url": {
            "type": "string",
            "format": "uri",
            "maxLength": pushing.MAX_URL,
            "description": "http or https, without a user. It must lead to port 80 or 443 of public addresses, or to "
            "what the server was told to allow.",
        },
        "method": {"type": "string", "enum": list(pushing.METHODS)},
        "headers": {
            "type": "object",
            "maxProperties": pushing.MAX_HEADERS,
            "propertyNames": {"pattern": r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$"},
            "additionalProperties": {
                "type": "string",
                "maxLength": pushing.MAX_HEADER,
                "pattern": r"^[\t\x20-\x7e\x80-\xff]*$",
            },
            "description": "Sent with each call; not those about the connection, nor any that begins with `gnj-`.",
        },
        "timeout": {
            **integer(1, pushing.MAX_TIMEOUT),
            "default": pushing.DEFAULT_TIMEOUT,
            "description": "Milliseconds for a whole call.",
        },
    },
    "url",
    "method",
)
_REGISTRATION: Final = closed(
    {
        "queue": _QUEUE,
        "endpoint": _ENDPOINT,
        "opts": _OPTIONS,
        "secret": {
            "type": "string",
            "minLength": pushing.MIN_SECRET,
            "maxLength": pushing.MAX_SECRET,
            "description": "What calls are signed with. Without one, the registration before keeps its own; the first gets one, "
            "which the header `gnj-worker-secret` of the answer tells, this once.",
        },
    },
    "queue",
    "endpoint",
    examples=[
        {
            "queue": "mail",
            "endpoint": {
                "url": "https://app.example/jobs/mail",
                "method": "POST",
                "headers": {"authorization": "Bearer of-the-endpoint"},
                "timeout": 10_000,
            },
            "opts": {"concurrency": 5, "limiter": {"max": 100, "duration": 60_000}},
        }
    ],
)
_DETAILS: Final = full(
    {
        "queue": {"type": "string"},
        "endpoint": full(
            {
                "url": {"type": "string"},
                "method": {"type": "string"},
                "headers": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Their names; the values are not shown.",
                },
                "timeout": {"type": "integer"},
            }
        ),
        "opts": _OPTIONS,
        "version": {"type": "integer", "description": "Grows with each registration for the queue."},
        "failed": {**COUNT, "description": "Calls in a row that got no answer, or one of 500 and more."},
        "disabledAt": {
            "type": ["integer", "null"],
            "description": f"Since when, in milliseconds since 1970, it is not called any more, because {pushing.MOST_FAILED} "
            "calls in a row failed; a new registration has it called again.",
        },
        "holder": {"type": ["string", "null"], "description": "The server that calls it; null: none at the moment."},
        "createdAt": {"type": "integer", "description": "When it was first registered, in milliseconds since 1970."},
    }
)
_OK: Final = Answer(summary="Done.", content_type="text/plain", example="OK")
_UNKNOWN: Final = Answer(summary="The queue has no push worker.", example={"error": "Worker not found"})
_OURS: Final = f"""The server calls the endpoint for each job of the queue, which it claims as any worker does. The body of a call is
`{{"job": …, "token": …}}`: the job, and the token that lets the endpoint write progress and logs while the call lasts. An
answer of 200 to 299 completes the job: with the value of its JSON, if that is its content type, else with its text. Anything else
fails the try, and the job is tried again as its options say. After {pushing.MOST_FAILED} calls in a row without an answer the endpoint is
not called any more.

Each call has the headers `gnj-timestamp` and `gnj-signature`: `v1=` and the HMAC-SHA256, in hexadecimal, of the timestamp, a dot and
the body, under the secret of the registration. `gnj-job-id` and `gnj-attempt` say what the body says, and are not signed."""


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object in which null is as good as what is left out."""
    required = schema.get("required", ())
    properties = {name: _or_null(each) if "properties" in each else each for name, each in schema["properties"].items()}
    null = {"type": "null"}
    some = {name: each if name in required else {"anyOf": [each, null]} for name, each in properties.items()}
    return {**schema, "properties": some}


def _queue(request: Request) -> Target | None:
    """Of which queue the body speaks; None where it does not say, and so will be refused."""
    try:
        body = reading.body_of(request)
    except (Refusal, InvalidInput):
        return None
    queue = body.get("queue") if isinstance(body, dict) else None
    return Target(queue) if isinstance(queue, str) else None


def _register(call: Call) -> Response:
    row, rate = pushing.checked(reading.exact(call.body()))
    reading.check_queue(row["type"])
    try:
        Policy(call.face.fetch_allow).check_url(row["url"])
    except Blocked as blocked:
        raise Refusal(400, f"Invalid URL: {blocked}") from None
    worker = call.queue.store_registration(row, rate, tenant=call.tenant)
    call.face.changed()
    made = "secret" not in row and worker.version == 1
    return text("OK", headers=[("gnj-worker-secret", worker.secret)] if made else ())


def _list(call: Call) -> Response:
    return json({worker.type: worker.url for worker in call.queue.registrations(call.tenant)})


def _one(call: Call) -> Response:
    _, worker = call.queue.settings_of(call.place("queue"), tenant=call.tenant)
    if worker is None:
        raise Refusal(404, "Worker not found")
    return json(details(worker))


def _remove(call: Call) -> Response:
    call.queue.unregister(call.place("queue"), tenant=call.tenant)
    call.face.changed()
    return text("OK")


def details(worker: PushWorker) -> dict[str, Json]:
    """A registration as who may change it sees it: without what is secret."""
    return {
        "queue": worker.type,
        "endpoint": {
            "url": worker.url,
            "method": worker.method,
            "headers": sorted(worker.headers or {}),
            "timeout": worker.timeout_ms,
        },
        "opts": worker.options or {},
        "version": worker.version,
        "failed": worker.failed,
        "disabledAt": None if worker.disabled_at is None else to_number(worker.disabled_at),
        "holder": worker.holder,
        "createdAt": to_number(worker.created_at),
    }


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/workers",
        name="register_worker",
        kind=Kind.ADMIN,
        summary="Has an endpoint called for each job of a queue",
        description=_OURS,
        answer=_register,
        target=_queue,
        body=_or_null(_REGISTRATION),
        answers={
            200: Answer(
                summary="It is registered, in the place of the one that the queue had.",
                content_type="text/plain",
                example="OK",
                headers={"gnj-worker-secret": "The secret, where one was made."},
            )
        },
    ),
    Operation(
        method="GET",
        path="/workers",
        name="list_workers",
        kind=Kind.ADMIN,
        summary="The endpoints that are registered, by queue",
        answer=_list,
        answers={
            200: Answer(
                summary="The URLs.",
                schema={"type": "object", "additionalProperties": {"type": "string"}},
                example={"mail": "https://app.example/jobs/mail"},
            )
        },
    ),
    Operation(
        method="GET",
        path="/workers/{queue}",
        name="get_worker",
        kind=Kind.ADMIN,
        summary="The endpoint that is registered for a queue, and how its calls fare",
        answer=_one,
        answers={
            200: Answer(
                summary="The registration, without its secret and the values of its headers.",
                schema=_DETAILS,
                example={
                    "queue": "mail",
                    "endpoint": {
                        "url": "https://app.example/jobs/mail",
                        "method": "POST",
                        "headers": ["authorization"],
                        "timeout": 10_000,
                    },
                    "opts": {"concurrency": 5},
                    "version": 1,
                    "failed": 0,
                    "disabledAt": None,
                    "holder": "push:0c1d2e3f4a5b",
                    "createdAt": 1_790_000_000_000,
                },
            ),
            404: _UNKNOWN,
        },
    ),
    Operation(
        method="DELETE",
        path="/workers/{queue}",
        name="remove_worker",
        kind=Kind.ADMIN,
        summary="Has the endpoint of a queue called no more",
        description="Calls under way go on to their end. The jobs stay, for other workers.",
        answer=_remove,
        answers={200: _OK, 404: _UNKNOWN},
    ),
)
