"""What callers may write into a row: which attributes, with which values.

One table per record. Faces and the Python surface hand over attribute names with raw values; what comes back is checked,
canonical and complete enough to store. The order of the checks is: known, writable, not null, well-formed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from gnj.queue import cron, zones
from gnj.queue.clock import After
from gnj.queue.errors import InvalidInput
from gnj.queue.model import (
    Attribute,
    Batch,
    Hold,
    Job,
    Monitoring,
    Pipeline,
    Record,
    Schedule,
    Step,
    attributes,
    wire_table,
)
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
    def check(value: Any, what: str) -> int:
        if type(value) is int and low <= value <= high:
            return value
        return check_int(value, what, low=low, high=high)

    return check


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


def _one_of(*words: str) -> Check:
    def check(value: Any, what: str) -> str:
        if value not in words:
            raise InvalidInput(f"{what} must be one of {', '.join(words)}, not {shown(value)}")
        return str(value)

    return check


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
    "on_lost": _one_of(*ON_LOST),
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
_SCHEDULE: Mapping[str, Check] = {
    "name": check_word,
    "cron": lambda value, what: cron.parse(value, what).text,
    "time_zone": lambda value, what: zones.zone(value, what).key,
    "every_ms": _int(1, 10 * 366 * 86_400_000),
    "missed": _one_of("newest", "all", "none"),
    "may_overlap": check_bool,
    "paused": check_bool,
    "begins_at": check_time,
    "ends_at": check_time,
    "max_runs": _int(1),
}
_MONITORING: Mapping[str, Check] = {"worker_id": check_word, "worker_type": check_word, "worker_status": check_word}

_CHECKS: Final[Mapping[type[Record], Mapping[str, Check]]] = MappingProxyType(
    {
        Job: _JOB,
        Batch: _BATCH,
        Pipeline: _PIPELINE,
        Step: _STEP,
        Hold: _HOLD,
        Schedule: _SCHEDULE,
        Monitoring: _MONITORING,
    }
)
# Taken by a create or an update and without effect, as in the original (section 3): a client may echo whole rows.
_IGNORED: Final = frozenset({"updated_at", "deleted_at"})
_CREATE_ONLY: Final = frozenset({"created_at"})


def created(record: type[Record], values: Mapping[str, Any], spell: Spell = python_name) -> dict[str, Any]:
    """`values` for a new row, checked; an `id` is refused. Raises `InvalidInput`, naming the attribute."""
    if values.get("id") is not None:
        raise InvalidInput(f"{wire_table(record)}.id cannot be given: the database makes it")
    return _checked(
        record, {k: v for k, v in values.items() if k != "id"} if "id" in values else values, spell, create=True
    )


def updated(record: type[Record], values: Mapping[str, Any], spell: Spell = python_name) -> dict[str, Any]:
    """`values` for a change of a row, checked; `created_at` is passed over. Raises `InvalidInput`."""
    return _checked(record, values, spell, create=False)


def check_of(record: type[Record], name: str) -> tuple[Check, str]:
    """How a value of an attribute that may be written is checked, and what it is called in Python."""
    check, what, _ = _rules(cast("Hashable", record), python_name)[name]
    assert check is not None  # noqa: S101 - tells the type checker
    return check, what


def _checked(record: type[Record], values: Mapping[str, Any], spell: Spell, *, create: bool) -> dict[str, Any]:
    rules = _rules(cast("Hashable", record), spell)
    result: dict[str, Any] = {}
    for name, value in values.items():
        if name in _IGNORED or (not create and name in _CREATE_ONLY):
            continue
        if name not in rules:
            raise InvalidInput(f"{wire_table(record)} has no attribute {shown(name)}")
        check, what, nullable = rules[name]
        if check is None:
            raise InvalidInput(f"{what} cannot be set")
        if value is not None:
            result[name] = check(value, what)
        elif nullable:
            result[name] = None
        elif not (create and name == "created_at"):
            raise InvalidInput(f"notNull Violation: {what} cannot be null")
    return result


@lru_cache(maxsize=64)
def _rules(record: Any, spell: Spell) -> Mapping[str, tuple[Check | None, str, bool]]:
    """For each attribute: its check (None: it cannot be set), what it is called, and whether it may be null."""
    checks, table = _CHECKS[record], wire_table(record)
    return {
        name: (checks.get(name), f"{table}.{spell(attribute)}", attribute.nullable)
        for name, attribute in attributes(record).items()
    }
