"""Limits of a queue: how many jobs may start in a while, and how many may run at once.

What a limit is made of, how it is checked, and how it stands in a row. Whether it lets a job through is `gate`'s matter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from gnj.queue.errors import InvalidInput
from gnj.queue.model import QueueLimit
from gnj.queue.values import Json, check_int, shown

MAX_STARTS: Final = 100_000
"""Starts in a period at most."""
MAX_DURATION: Final = 86_400_000
"""Milliseconds of a period at most: a day."""
MAX_CONCURRENCY: Final = 100_000
"""Jobs that run at once at most."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many starts in any period of that length.

    Args:
        max: Starts.
        duration: Milliseconds.
    """

    max: int
    duration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitValues:
    """The limits of a queue; None: there is no such one.

    Args:
        limiter: Starts, of all its jobs together.
        concurrency: Jobs that run at once.
        group_limiter: Starts of the jobs of each group.
        group_concurrency: Jobs of each group that run at once.
    """

    limiter: Rate | None = None
    concurrency: int | None = None
    group_limiter: Rate | None = None
    group_concurrency: int | None = None


class Keep(Enum):
    """What is left as it is."""

    KEEP = "keep"


KEEP: Final[Literal[Keep.KEEP]] = Keep.KEEP

NO_LIMITS: Final = LimitValues()


def parse(body: Json) -> LimitValues:
    """Limits from what a client sends: `{limiter?, concurrency?, group?: {limiter?, concurrency?}}`.

    Raises `InvalidInput`, naming the field.
    """
    given = _fields(body, "the limits", "", ("limiter", "concurrency", "group"))
    group = _fields(given["group"], "group", "group.", ("limiter", "concurrency")) if "group" in given else {}
    return LimitValues(
        limiter=parse_rate(given["limiter"], "limiter") if "limiter" in given else None,
        concurrency=_concurrency(given["concurrency"], "concurrency") if "concurrency" in given else None,
        group_limiter=parse_rate(group["limiter"], "group.limiter") if "limiter" in group else None,
        group_concurrency=_concurrency(group["concurrency"], "group.concurrency") if "concurrency" in group else None,
    )


def parse_rate(value: Json, what: str) -> Rate:
    """A rate from `{max, duration}`; both are required. Raises `InvalidInput`, naming the field."""
    given = _fields(value, what, f"{what}.", ("max", "duration"))
    for name in ("max", "duration"):
        if name not in given:
            raise InvalidInput(f"{what}.{name} is required")
    return check_rate(Rate(given["max"], given["duration"]), what)


def told(row: QueueLimit | None) -> dict[str, Json]:
    """The limits of a row as `parse` takes them, besides, as `worker`, the rate that the push worker asked for."""
    values, worker = (NO_LIMITS, None) if row is None else (of_row(row), worker_rate(row))
    group = _given({"limiter": _rate(values.group_limiter), "concurrency": values.group_concurrency})
    return _given(
        {
            "limiter": _rate(values.limiter),
            "concurrency": values.concurrency,
            "group": group or None,
            "worker": _rate(worker),
        }
    )


def check(limits: object) -> LimitValues:
    """`limits`, if its numbers are from 1 to what they may be at most. Raises `InvalidInput`, naming the field."""
    if not isinstance(limits, LimitValues):
        raise InvalidInput(f"limits must be LimitValues, not {shown(limits)}")
    for name in ("limiter", "group_limiter"):
        if (rate := getattr(limits, name)) is not None:
            check_rate(rate, name)
    for name in ("concurrency", "group_concurrency"):
        if (number := getattr(limits, name)) is not None:
            _concurrency(number, name)
    return limits


def check_rate(rate: object, what: str) -> Rate:
    """`rate`, if its numbers are from 1 to what they may be at most. Raises `InvalidInput`, naming the field."""
    if not isinstance(rate, Rate):
        raise InvalidInput(f"{what} must be a Rate, not {shown(rate)}")
    check_int(rate.max, f"{what}.max", low=1, high=MAX_STARTS)
    check_int(rate.duration, f"{what}.duration", low=1, high=MAX_DURATION)
    return rate


def of_row(row: QueueLimit) -> LimitValues:
    """The limits that were set for the queue."""
    return LimitValues(
        limiter=_made(row.rate_max, row.rate_ms),
        concurrency=row.concurrency,
        group_limiter=_made(row.key_rate_max, row.key_rate_ms),
        group_concurrency=row.key_concurrency,
    )


def worker_rate(row: QueueLimit) -> Rate | None:
    """The rate that the push worker of the queue asked for."""
    return _made(row.worker_max, row.worker_ms)


def columns(limits: LimitValues) -> dict[str, int | None]:
    """What a row says of limits."""
    max, duration = _apart(limits.limiter)
    key_max, key_duration = _apart(limits.group_limiter)
    return {
        "rate_max": max,
        "rate_ms": duration,
        "concurrency": limits.concurrency,
        "key_rate_max": key_max,
        "key_rate_ms": key_duration,
        "key_concurrency": limits.group_concurrency,
    }


def worker_columns(rate: Rate | None) -> dict[str, int | None]:
    """What a row says of the rate of a push worker."""
    max, duration = _apart(rate)
    return {"worker_max": max, "worker_ms": duration}


def _fields(value: Json, what: str, path: str, known: Collection[str]) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} must be an object, not {shown(value)}")
    for name in value:
        if name not in known:
            raise InvalidInput(f"Unexpected field: {path}{shown(name)[1:-1]}")
    return value


def _concurrency(value: Json, what: str) -> int:
    return check_int(value, what, low=1, high=MAX_CONCURRENCY)


def _made(max: int | None, duration: int | None) -> Rate | None:
    return None if max is None or duration is None else Rate(max, duration)


def _apart(rate: Rate | None) -> tuple[int | None, int | None]:
    return (None, None) if rate is None else (rate.max, rate.duration)


def _rate(rate: Rate | None) -> dict[str, Json] | None:
    return None if rate is None else {"max": rate.max, "duration": rate.duration}


def _given(values: Mapping[str, Any]) -> dict[str, Json]:
    return {name: value for name, value in values.items() if value is not None}
