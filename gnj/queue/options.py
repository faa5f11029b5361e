"""Jobs as the queue contract describes them - `{name, data, opts}` - checked, and as rows (BullMQ's JobOpts).

Every refusal names the field. Numbers are JSON's: 5.0 is the integer 5.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from gnj.queue import retry
from gnj.queue.clock import After
from gnj.queue.errors import InvalidInput
from gnj.queue.holds import ALL_TYPES
from gnj.queue.jobs import FIRST
from gnj.queue.values import MAX_INT32, MAX_NAME, Json, check_json, check_text, shown

MIN_QUEUE: Final = 3
MAX_QUEUE: Final = 100
"""UTF-16 units of a queue's name, the least and the most."""
MAX_JOBS: Final = 10_000
"""Jobs that can be added at once."""
MAX_ATTEMPTS: Final = MAX_INT32
MAX_PRIORITY: Final = 2_097_152
MAX_DELAY: Final = 10**12
"""Milliseconds."""
MAX_BACKOFF: Final = 10 * 366 * 86_400_000
"""Milliseconds: what `retry.Backoff` takes."""
MAX_ID: Final = 500
"""Characters of a `jobId`."""
MAX_KEY: Final = 200
"""Characters of the id of a group, or of a deduplication."""
MAX_TTL: Final = MAX_DELAY
"""Milliseconds."""
MAX_KEPT: Final = 2**53 - 1
"""The greatest number of `removeOnComplete` and `removeOnFail`."""
DIGITS: Final = re.compile("[0-9]+")
"""What automatic ids look like."""
DOTS: Final = (".", "..")
"""Segments of a path that clients take out of it."""
_UNFIT: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffd]")
RESERVED: Final = ("gnj:", "hook:")
"""How the types begin whose jobs are gnj's own."""

_FIELDS: Final = frozenset({"name", "data", "opts"})
_DEDUPLICATION: Final = "dedup:"


def fit_name(name: str) -> str:
    """`name`, if the queue contract has queues of such names; types may have others. Raises `InvalidInput`."""
    length = len(name.encode("utf-16-le", "surrogatepass")) // 2
    if length < MIN_QUEUE:
        raise InvalidInput(f"queue name must be at least {MIN_QUEUE} characters long")
    if length > MAX_QUEUE:
        raise InvalidInput(f"queue name must be at most {MAX_QUEUE} characters long")
    if "/" in name:
        raise InvalidInput("queue name must not hold a slash")
    if _UNFIT.search(name):
        raise InvalidInput("queue name must not hold control characters, nor what is not UTF-8")
    return name


def check_name(name: str) -> str:
    """`name`, if a queue can be called so. Raises `InvalidInput` for the one that means all of them wherever queues are held."""
    if name == ALL_TYPES:
        raise InvalidInput(f"queue name is reserved: {shown(name)}")
    return name


def check_queue(name: str) -> str:
    """`name`, if clients may add to that queue. Raises `InvalidInput` also for those that are gnj's own."""
    if name.startswith(RESERVED):
        raise InvalidInput(f"queue name is reserved: {shown(name)}")
    return check_name(name)


def unfit_id(id: str) -> str | None:
    """What a job's id must not be or hold, because no path could name the job; None where it is a good one."""
    if "/" in id:
        return "hold a slash"
    if id in DOTS:
        return "be a dot or two, which are steps in a path"
    # what a server makes of bytes that are not UTF-8
    return "hold what is not UTF-8" if "\ufffd" in id else None


def rows(queue: str, given: object, tenant: str) -> list[dict[str, Any]]:
    """The rows of the jobs `given`, which are to be of the type `queue`, and queued.

    Raises `InvalidInput`, naming the field; of several jobs also the job's place, from 1.
    """
    fit_name(check_queue(queue))
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise InvalidInput("Body must be an array")
    if len(given) > MAX_JOBS:
        raise InvalidInput(f"Body must have at most {MAX_JOBS:,} jobs, not {len(given):,}")
    made = []
    for place, job in enumerate(given, 1):
        try:
            made.append(_row(queue, job, tenant))
        except InvalidInput as error:
            if len(given) == 1:
                raise
            raise type(error)(f"job {place}: {error}") from None
    return made


def _row(queue: str, job: object, tenant: str) -> dict[str, Any]:
    if not isinstance(job, Mapping):
        raise InvalidInput(f"a job must be an object, not {shown(job)}")
    if not job.keys() <= _FIELDS:
        raise InvalidInput(f"Unexpected field: {_unknown(job, _FIELDS)}")
    name = job.get("name")
    if name is None or name == "":
        raise InvalidInput("name is required")
    if "data" not in job:
        raise InvalidInput("data is required")
    row = {
        "type": queue,
        "name": check_text(name, "name", maximum=MAX_NAME),
        "input": check_json(job["data"], "data"),
        "tenant": tenant,
    }
    opts = job.get("opts")
    if opts is not None and opts != {}:
        row |= _options(queue, opts)
    return row


def _options(queue: str, opts: object) -> dict[str, Any]:
    """The attributes that options ask for, and themselves, as they are kept."""
    if not isinstance(opts, Mapping):
        raise InvalidInput(f"Invalid opts {shown(opts)}")
    if not opts.keys() <= _OPTIONS.keys():
        raise InvalidInput(f"Unexpected field: opts.{_unknown(opts, _OPTIONS)}")
    checked = {name: _OPTIONS[name](value) for name, value in opts.items()}
    kept = {name: value for name, value in checked.items() if value is not None}
    row: dict[str, Any] = {}
    if kept:
        row["options"] = kept
    if "attempts" in kept:
        row["max_attempts"] = max(1, kept["attempts"])
    if "backoff" in kept:
        row["backoff"] = _capped(kept["backoff"])
    if kept.get("delay"):
        row["start_after"] = After(kept["delay"] / 1000)
    if "priority" in kept:
        row["priority"] = -kept["priority"]
    if kept.get("lifo") and "priority" not in kept and not kept.get("delay"):
        row["position"] = FIRST
    if kept.get("jobId"):
        row["custom_id"] = kept["jobId"]
    if "deduplication" in kept:
        row["unique_id"] = _unique_id(queue, kept["deduplication"]["id"])
    if "group" in kept:
        group = kept["group"]
        row["limit_key"] = group if isinstance(group, str) else group["id"]
    return row


def _unique_id(queue: str, id: str) -> str:
    """What a tenant has one job of that has the deduplication of that id."""
    digest = hashlib.sha256(f"{queue}\0{id}".encode()).digest()
    return _DEDUPLICATION + base64.b32encode(digest).decode().rstrip("=")


def _capped(backoff: Json) -> Json:
    """The backoff as workers follow it. The core's own cap, an hour, is lifted to a delay that is longer."""
    wire = {"type": "fixed", "delay": backoff} if not isinstance(backoff, dict) else backoff
    shape = retry.from_wire(wire)
    if shape.maximum is None and shape.delay > retry.MAX_DELAY:
        shape = type(shape)(shape.delay, shape.delay, shape.jitter)
    return shape.to_wire()


def _unknown(given: Mapping[Any, Any], known: Any) -> str:
    """The first field that is not known, for people."""
    return shown(next(name for name in given if name not in known)).strip("'\"")


def _whole(value: object, low: int, high: int) -> int | None:
    """The integer that a JSON number is, if it is one from `low` to `high`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None


def _integer(name: str, low: int, high: int, *, null: bool = False) -> Callable[[object], int | None]:
    def check(value: object) -> int | None:
        if value is None and null:
            return None
        number = _whole(value, low, high)
        if number is None:
            raise InvalidInput(f"Invalid {name} {shown(value)}")
        return number

    return check


def _backoff(value: object) -> Json:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _milliseconds(value, "Invalid backoff {}")
    if not isinstance(value, Mapping):
        raise InvalidInput(f"Invalid backoff {shown(value)}")
    for key, given in value.items():
        told = f"Invalid backoff {key} {{}}"
        if key == "type":
            if not isinstance(given, str) or given not in retry.TYPES:
                raise InvalidInput(f"{told.format(shown(given))}, must be one of {', '.join(retry.TYPES)}")
        elif key in ("delay", "maxDelay"):
            _milliseconds(given, told)
        elif key == "jitter":
            if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
                raise InvalidInput(f"{told.format(shown(given))}, must be from 0 to 1")
        else:
            raise InvalidInput(f"Unexpected field: opts.backoff.{_unknown(value, _BACKOFF)}")
    return dict(value)


def _milliseconds(value: object, told: str) -> Json:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_BACKOFF:
        raise InvalidInput(told.format(shown(value)))
    return value


def _lifo(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"Invalid lifo {shown(value)}, must be a boolean")
    return value


def _job_id(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"Invalid jobId {shown(value)}, must be a string")
    if DIGITS.fullmatch(value):
        raise InvalidInput(f"Invalid jobId {shown(value)}, digits only are automatic ids")
    if unfit := unfit_id(value):
        raise InvalidInput(f"Invalid jobId {shown(value)}, must not {unfit}")
    return _text(value, "jobId", MAX_ID)


def _deduplication(value: object) -> Json:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"Invalid deduplication {shown(value)}")
    if not value.keys() <= _DEDUPLICATIONS:
        raise InvalidInput(f"Unexpected field: opts.deduplication.{_unknown(value, _DEDUPLICATIONS)}")
    checked: dict[str, Json] = {"id": _key(value.get("id"), "deduplication id")}
    if "ttl" in value:
        checked["ttl"] = _integer("deduplication ttl", 1, MAX_TTL)(value["ttl"])
    return checked


def _group(value: object) -> Json:
    if isinstance(value, Mapping):
        if not value.keys() <= _GROUP:
            raise InvalidInput(f"Unexpected field: opts.group.{_unknown(value, _GROUP)}")
        return {"id": _key(value.get("id"), "group id")}
    return _key(value, "group")


def _key(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"Invalid {what} {shown(value)}")
    return _text(value, what, MAX_KEY)


def _text(value: str, what: str, maximum: int) -> str:
    try:
        return check_text(value, what, maximum=maximum)
    except InvalidInput as error:
        raise type(error)(f"Invalid {error}") from None


def kept(name: str) -> Callable[[object], Json]:
    """Checks what `removeOnComplete` or `removeOnFail`, whichever `name` is, may be. What it gives raises `InvalidInput`."""

    def check(value: object) -> Json:
        if isinstance(value, bool):
            return value
        if isinstance(value, Mapping):
            if not value.keys() <= _KEPT:
                raise InvalidInput(f"Unexpected field: opts.{name}.{_unknown(value, _KEPT)}")
            return {key: _integer(f"{name} {key}", 0, MAX_KEPT)(number) for key, number in value.items()}
        return _integer(name, 0, MAX_KEPT)(value)

    return check


_BACKOFF: Final = frozenset({"type", "delay", "maxDelay", "jitter"})
_DEDUPLICATIONS: Final = frozenset({"id", "ttl"})
_GROUP: Final = frozenset({"id"})
_KEPT: Final = frozenset({"count", "age", "limit"})
_OPTIONS: Final[Mapping[str, Callable[[object], Json]]] = MappingProxyType(
    {
        "attempts": _integer("attempts", 0, MAX_ATTEMPTS, null=True),
        "backoff": _backoff,
        "delay": _integer("delay", 0, MAX_DELAY, null=True),
        "priority": _integer("priority", 1, MAX_PRIORITY),
        "lifo": _lifo,
        "jobId": _job_id,
        "deduplication": _deduplication,
        "group": _group,
        "removeOnComplete": kept("removeOnComplete"),
        "removeOnFail": kept("removeOnFail"),
    }
)
"""What each option may be: its checked value, or None where it counts as not given."""
