"""The JSON Schemas that several operations of the queue contract share: `components/schemas` of the OpenAPI document.

They say what the checks of `gnj.queue.options` accept; those are written by hand, for their texts are part of the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gnj.api.queues.declare import Schema
from gnj.queue.derived import STATES
from gnj.queue.options import (
    DIGITS,
    DOTS,
    MAX_ATTEMPTS,
    MAX_BACKOFF,
    MAX_DELAY,
    MAX_ID,
    MAX_KEPT,
    MAX_KEY,
    MAX_PRIORITY,
    MAX_TTL,
)
from gnj.queue.values import MAX_NAME

__all__ = ["COUNT", "SCHEMAS", "closed", "example_job", "full", "integer", "ref", "text"]


def ref(name: str) -> Schema:
    """The schema of that name among `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT: Final = r"^[^\u0000]*$"
"""The pattern of any text. No text may hold a NUL; a lone surrogate is no Unicode anyhow."""
COUNT: Final = {"type": "integer", "minimum": 0}
"""The schema of a number of something."""
_MS: Final = {**COUNT, "description": "Milliseconds since 1970."}


def text(maximum: int, minimum: int = 0) -> dict[str, Any]:
    """The schema of a text of so many characters."""
    return {"type": "string", "minLength": minimum, "maxLength": maximum, "pattern": _TEXT}


def closed(properties: Mapping[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    """The schema of an object that has these properties and no others."""
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": dict(properties), **needed, "additionalProperties": False, **more}


def full(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The schema of an object that has all of these properties and no others."""
    return closed(properties, *properties, **more)


def integer(low: int, high: int) -> dict[str, Any]:
    """The schema of an integer from `low` to `high`."""
    return {"type": "integer", "minimum": low, "maximum": high}


_JSON: Final = {
    "description": "Any JSON value: at most 64 levels and 4 MiB, integers of 64 bits, no NUL in texts and keys.",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "number"},
        {"type": "string", "pattern": _TEXT},
        {"type": "array", "items": ref("Json")},
        {"type": "object", "propertyNames": {"pattern": _TEXT}, "additionalProperties": ref("Json")},
    ],
}
_BACKOFF: Final = {
    "description": "How long to wait between tries; a number is a fixed wait. Milliseconds.",
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": MAX_BACKOFF},
        closed(
            {
                "type": {
                    "description": (
                        "With n failed tries so far: exponential waits delay * 2^(n-1), linear delay * n, fixed delay."
                    ),
                    "enum": ["exponential", "linear", "fixed"],
                    "default": "fixed",
                },
                "delay": {"type": "number", "minimum": 0, "maximum": MAX_BACKOFF, "default": 0},
                "maxDelay": {
                    "description": "The longest wait; unless given an hour, or `delay` if that is longer.",
                    "type": "number",
                    "minimum": 0,
                    "maximum": MAX_BACKOFF,
                },
                "jitter": {
                    "description": "The wait is drawn evenly from (1 - jitter) of it to all of it.",
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1,
                    "default": 0,
                },
            },
        ),
    ],
}
_KEEP: Final = {
    "description": (
        "How many ended jobs of the queue stay: true none, false all, a number the newest so many; `age` counts seconds."
    ),
    "anyOf": [
        {"type": "boolean"},
        integer(0, MAX_KEPT),
        closed({name: integer(0, MAX_KEPT) for name in ("count", "age", "limit")}),
    ],
}
_OPTIONS: Final = closed(
    {
        "attempts": {
            "description": "Tries in all; 0, 1 and null are one.",
            "anyOf": [integer(0, MAX_ATTEMPTS), {"type": "null"}],
            "default": 0,
        },
        "backoff": _BACKOFF,
        "delay": {
            "description": "Milliseconds before which the job is not handed out; null: none.",
            "anyOf": [integer(0, MAX_DELAY), {"type": "null"}],
            "default": 0,
        },
        "priority": {
            "description": "The smaller, the earlier; jobs without one come before all that have one.",
            **integer(1, MAX_PRIORITY),
        },
        "lifo": {
            "description": "Whether it comes before the jobs that wait already. Without effect beside priority or delay.",
            "type": "boolean",
            "default": False,
        },
        "jobId": {
            "description": (
                "Unique in the queue over all jobs that are kept, whatever their state; the empty text is none. Digits only are "
                "automatic ids, and refused; so are a slash, and a dot or two alone, which no path could name."
            ),
            "type": "string",
            "maxLength": MAX_ID,
            "pattern": r"^([0-9]*[^0-9\u0000/\ufffd][^\u0000/\ufffd]*)?$",
            "not": {"enum": list(DOTS)},
        },
        "deduplication": closed(
            {
                "id": text(MAX_KEY, 1),
                "ttl": {
                    "description": "Milliseconds for which no other job of this id is added; unless given, until this one has ended.",
                    **integer(1, MAX_TTL),
                },
            },
            "id",
            description="Among jobs that share the id, only one is added.",
        ),
        "group": {
            "description": "The key by which limits of groups count.",
            "anyOf": [text(MAX_KEY, 1), closed({"id": text(MAX_KEY, 1)}, "id")],
        },
        "removeOnComplete": _KEEP,
        "removeOnFail": _KEEP,
    },
    description="How the job is to be treated.",
)
assert DIGITS.fullmatch("0123456789")  # noqa: S101 - what the pattern of jobId leaves out


def example_job(**values: Any) -> dict[str, Any]:
    """A job as the contract has it, that waits."""
    return {
        "id": "57",
        "name": "welcome",
        "data": {"to": "anna@example.org"},
        "opts": {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}},
        "progress": 0,
        "returnvalue": None,
        "stacktrace": [],
        "priority": 0,
        "delay": 0,
        "attemptsMade": 0,
        "attemptsStarted": 0,
        "stalledCounter": 0,
        "timestamp": 1767225600000,
        "queueQualifiedName": "gnj:mail",
        "gnjId": 57,
        **values,
    }


_JOB: Final = closed(
    {
        "id": {"type": "string", "description": "The `jobId` that was given, else a number."},
        "name": {"type": "string"},
        "data": {"description": "Any JSON value."},
        "opts": {"type": "object", "description": "The options as they were given; `attempts` is always there."},
        "progress": {"description": "Any JSON value; 0 at the start."},
        "returnvalue": {"description": "What the handler gave; null unless the job is completed."},
        "failedReason": {"type": "string", "description": "Why the last try failed."},
        "stacktrace": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The errors of the tries that failed, oldest first.",
        },
        "priority": COUNT,
        "delay": {**COUNT, "description": "Milliseconds; 0 unless the job is delayed."},
        "attemptsMade": {**COUNT, "description": "Tries that ended."},
        "attemptsStarted": {**COUNT, "description": "Tries that began."},
        "stalledCounter": {**COUNT, "description": "Tries that were lost, with the worker that had them."},
        "timestamp": {**_MS, "description": "When it was added, in milliseconds since 1970."},
        "processedOn": _MS,
        "finishedOn": _MS,
        "queueQualifiedName": {"type": "string"},
        "processedBy": {"type": "string", "description": "The worker that has it, or had it last."},
        "deduplicationId": {"type": "string"},
        "gnjId": {"type": "integer", "description": "Its number, under which GraphQL knows it."},
    },
    *example_job(),
    description="A job.",
    examples=[example_job()],
)
_COUNTS: Final = {
    "type": "object",
    "description": "How many jobs have each state.",
    "additionalProperties": COUNT,
    "examples": [dict.fromkeys(STATES, 0)],
}

SCHEMAS: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "Json": _JSON,
        "JobOptions": _OPTIONS,
        "NewJob": closed(
            {
                "name": {**text(MAX_NAME, 1), "description": "What kind of job of the queue it is."},
                "data": {"$ref": "#/components/schemas/Json", "description": "What the handler is given."},
                "opts": {"anyOf": [ref("JobOptions"), {"type": "null"}]},
            },
            "name",
            "data",
            description="A job to be added.",
        ),
        "Job": _JOB,
        "Counts": _COUNTS,
        "Error": closed({"error": {"type": "string"}}, "error", examples=[{"error": "Job not found"}]),
    }
)
"""By name; they refer to each other as `#/components/schemas/NAME`."""
