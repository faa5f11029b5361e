"""What `removeOnComplete`, `removeOnFail` and `deduplication` say about how long a job is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from gnj.queue.states import JOB_BROKEN, JobStatus
from gnj.queue.values import Json

OUTCOMES: Final[Mapping[str, frozenset[JobStatus]]] = MappingProxyType(
    {"removeOnComplete": frozenset({JobStatus.SUCCESSFUL}), "removeOnFail": JOB_BROKEN}
)
"""The options, and the statuses of the jobs that each is about."""
_LONGEST: Final = 10**10
"""Seconds: what is older than three hundred years is not looked for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a job goes that has ended; None: not for that reason.

    Args:
        count: Once so many others have ended after it.
        age: Once it ended so many seconds ago.
        limit: So many go in one look.
    """

    count: int | None = None
    age: int | None = None
    limit: int | None = None


def rule_of(value: Json) -> Rule | None:
    """What a checked option means; None: the job is kept."""
    if value is True:
        return Rule(count=0)
    if isinstance(value, dict):
        rule = Rule(**{name: value.get(name) for name in ("count", "age", "limit")})
        return None if rule.count is None and rule.age is None else rule
    return Rule(count=value) if isinstance(value, int) and value is not False else None


def says(options: Json) -> bool:
    """Whether options say of any job that it goes."""
    return isinstance(options, dict) and any(rule_of(options.get(name)) is not None for name in OUTCOMES)


def goes(rule: Rule, ended_at: datetime, newer: int, now: datetime) -> bool:
    """Whether a job goes that ended then, and after which so many others ended."""
    if rule.age is not None and rule.age <= _LONGEST and ended_at <= now - timedelta(seconds=rule.age):
        return True
    return rule.count is not None and newer >= rule.count


def throttle_of(options: Json) -> timedelta | None:
    """For how long since a job was added its deduplication keeps others out, whatever became of it; None: until its end."""
    given = options.get("deduplication") if isinstance(options, dict) else None
    ttl = given.get("ttl") if isinstance(given, dict) else None
    return timedelta(milliseconds=ttl) if isinstance(ttl, int) else None
