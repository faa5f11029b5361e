"""What callers may write into a row: which attributes, with which values.

One table per record. Faces and the Python surface hand over attribute names with raw values; what comes back is checked,
canonical and complete enough to store. The order of the checks is: known, writable, not null, well-formed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from gnj.queue.clock import After
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Attribute, Batch, Hold, Job, Monitoring, Pipeline, Record, Step, attributes, wire_table
from gnj.queue.retry import Backoff, from_wire
from gnj.queue.states import BatchStatus, JobStatus, PipelineStatus, StepStatus
from gnj.queue.values import (
    MAX_INT32,
    MAX_NAME,
    check_bool,
    check_int,
    check_json,
    check_seconds,
    check_text,
    check_time,
    check_word,
    shown,
)

Check: TypeAlias = Callable[[Any, str], Any]
Spell: TypeAlias = Callable[[Attribute], str]
"""How an error message names an attribute: as Python or as the wire does."""


def python_name(attribute: Attribute) -> str:
    """The attribute as Python spells it."""
    return attribute.name


def wire_name(attribute: Attribute) -> str:
    """The attribute as GraphQL spells it."""
    return attribute.wire or attribute.name


ON_LOST = ("requeue", "fail", "hold")


def _status(statuses: type[StrEnum]) -> Check:
    known = frozenset(status.value for status in statuses)

    def check(value: Any, _what: str) -> Any:
        if not isinstance(value, str) or value not in known:
            # the text clients of the original match (jobs contract, section 5)
            raise InvalidInput("Validation error: Validation isIn on status failed")
        return statuses(value)

    return check


def _int(low: int, high: int = MAX_INT32) -> Check:
    return lambda value, what: check_int(value, what, low=low, high=high)


def _name(value: Any, what: str) -> str:
    return check_text(value, what, maximum=MAX_NAME)


def _key(value: Any, what: str) -> str | None:
    return check_text(value, what, maximum=MAX_NAME) or None


def _delay(value: Any, what: str) -> Any:
    if isinstance(value, After):
        return value
    if isinstance(value, timedelta):
        return After(check_seconds(value, what))
    return check_time(value, what)


def _backoff(value: Any, _what: str) -> Any:
    return (value if isinstance(value, Backoff) else from_wire(value)).to_wire()


def _on_lost(value: Any, what: str) -> str:
    if value not in ON_LOST:
        raise InvalidInput(f"{what} must be one of {', '.join(ON_LOST)}, not {shown(value)}")
    return str(value)


def _timeout(value: Any, what: str) -> float:
    return check_seconds(value, what, low=0.001)


_id = _int(1, 2**63 - 1)

_JOB: Mapping[str, Check] = {
    "type": check_word,
    "name": _name,
    "unique_id": _key,
    "input": check_json,
    "output": check_json,
    "progress": check_json,
    "status": _status(JobStatus),
    "priority": _int(-MAX_INT32 - 1),
    "start_after": _delay,
    "max_attempts": _int(1),
    "max_stalled": _int(1),
    "backoff": _backoff,
    "timeout": _timeout,
    "on_lost": _on_lost,
    "worker_id": check_word,
    "worker_type": check_word,
    "retry_of": _id,
    "batch_id": _id,
    "pipeline_id": _id,
    "recoverable": check_bool,
    "high_frequency": check_bool,
    "cancel_seen": check_bool,
    "started_at": check_time,
    "ended_at": check_time,
    "cancelled_at": check_time,
    "created_at": check_time,
}
_BATCH: Mapping[str, Check] = {
    "status": _status(BatchStatus),
    "pipeline_id": _id,
    "created_at": check_time,
}
_PIPELINE: Mapping[str, Check] = {
    "status": _status(PipelineStatus),
    "name": _name,
    "metadata": check_text,
    "created_at": check_time,
}
_STEP: Mapping[str, Check] = {
    "status": _status(StepStatus),
    "pipeline_id": _id,
    "job_id": _id,
    "batch_id": _id,
    "index": _int(-MAX_INT32 - 1),
    "created_at": check_time,
}
_HOLD: Mapping[str, Check] = {"type": check_word, "created_at": check_time}
_MONITORING: Mapping[str, Check] = {"worker_id": check_word, "worker_type": check_word, "worker_status": check_word}

_CHECKS: Final[Mapping[type[Record], Mapping[str, Check]]] = MappingProxyType(
    {Job: _JOB, Batch: _BATCH, Pipeline: _PIPELINE, Step: _STEP, Hold: _HOLD, Monitoring: _MONITORING}
)
# Taken by a create or an update and without effect, as in the original (section 3): a client may echo whole rows.
_IGNORED: Final = frozenset({"updated_at", "deleted_at"})
_CREATE_ONLY: Final = frozenset({"created_at"})


def created(record: type[Record], values: Mapping[str, Any], spell: Spell = python_name) -> dict[str, Any]:
    """`values` for a new row, checked; an `id` is refused. Raises `InvalidInput`, naming the attribute."""
    if values.get("id") is not None:
        raise InvalidInput(f"{wire_table(record)}.id cannot be given: the database makes it")
    return _checked(record, {k: v for k, v in values.items() if k != "id"}, spell, create=True)


def updated(record: type[Record], values: Mapping[str, Any], spell: Spell = python_name) -> dict[str, Any]:
    """`values` for a change of a row, checked; `created_at` is passed over. Raises `InvalidInput`."""
    return _checked(record, values, spell, create=False)


def _checked(record: type[Record], values: Mapping[str, Any], spell: Spell, *, create: bool) -> dict[str, Any]:
    checks, known = _CHECKS[record], attributes(record)
    result: dict[str, Any] = {}
    for name, value in values.items():
        if name in _IGNORED or (not create and name in _CREATE_ONLY):
            continue
        attribute, check = known.get(name), checks.get(name)
        if attribute is None:
            raise InvalidInput(f"{wire_table(record)} has no attribute {shown(name)}")
        what = f"{wire_table(record)}.{spell(attribute)}"
        if check is None:
            raise InvalidInput(f"{what} cannot be set")
        if value is not None:
            result[name] = check(value, what)
        elif attribute.nullable:
            result[name] = None
        elif not (create and name == "created_at"):
            raise InvalidInput(f"notNull Violation: {what} cannot be null")
    return result
