"""What callers give, as the inputs of the transformation jobs contract have it; and what they are given.

Nothing of it is checked before it is used: `gnj.transform.jobs` refuses what cannot be, other classes as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from gnj.queue.errors import InvalidInput
from gnj.queue.model import Schedule
from gnj.queue.model_transform import RunStatus, TransformJob
from gnj.queue.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """Where records are to come from: `SourceRequest`."""

    type: str
    name: str | None = None
    url: str | None = None
    description: str | None = None
    headers: Sequence[str] | None = None
    """Texts `Name: value`."""
    body: str | None = None
    method: str | None = None
    credentials: Any = field(default=None, repr=False)
    """An object of texts, which take the places of `${NAME}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInput:
    """A source to be used: an existing one, a new one, or the records themselves; `SourceInput`."""

    id: int | None = None
    request: SourceRequest | None = None
    data: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingInput:
    """A mapping to be used: an existing one or its rules; `MappingInput`."""

    id: int | None = None
    data: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatInput:
    """A target format to be used: an existing one or its definition; `TargetFormatInput`."""

    id: int | None = None
    data: Any = None


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source without its headers and its body."""

    id: int
    name: str | None
    type: str
    url: str | None
    description: str | None
    method: str | None
    size: int
    """Bytes of all of it; see `TransformSource`."""


@dataclass(frozen=True, slots=True)
class MappingView:
    """A mapping without its rules."""

    id: int
    name: str | None
    size: int


@dataclass(frozen=True, slots=True)
class FormatView:
    """A target format without its definition."""

    id: int
    name: str | None
    is_default: bool
    size: int


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as it is listed; see `TransformJob`."""

    id: int
    source_id: int
    mapping_id: int
    format_id: int
    schedule_id: int | None
    run_status: RunStatus | None
    last_run_at: datetime | None
    webhook_url: str | None


Job: TypeAlias = TransformJob | JobRow


@dataclass(frozen=True, slots=True)
class JobView:
    """A transformation job as it is shown."""

    job: Job
    schedule: Schedule | None

    @property
    def status(self) -> str:
        """`Pending`, `Running`, `Live`, `Failed` or `Paused` (contract, "Types")."""
        if self.schedule is not None and self.schedule.paused:
            return "Paused"
        if self.job.run_status is None:
            return "Pending"
        return {RunStatus.RUNNING: "Running", RunStatus.SUCCESSFUL: "Live"}.get(self.job.run_status, "Failed")

    @property
    def next_run(self) -> datetime | None:
        """When its schedule starts a run; None: never, as while it is paused."""
        if self.schedule is None or self.schedule.next_at is None:
            return None
        begins = self.schedule.begins_at  # a tick may have come since it was moved
        return self.schedule.next_at if begins is None else max(self.schedule.next_at, begins)

    @property
    def cron_expression(self) -> str | None:
        """The expression it runs by, in UTC; None: 24 hours after the last run."""
        return None if self.schedule is None else self.schedule.cron


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that the target format did not take."""

    source: Json
    """As it was given; of a large one, the beginning of its text."""
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some of the records of a run or of a job: `RecordPage`."""

    total: int
    records: Sequence[Json]
    rejected_total: int
    """How many were rejected, kept or not."""
    rejected: Sequence[Rejected]


def check_given(value: object, kind: type, name: str) -> None:
    """Raises `InvalidInput` for what is no `kind`. What it is instead is told by its type alone: it may have credentials in it."""
    if not isinstance(value, kind):
        raise InvalidInput(f"{name} must be a {kind.__module__}.{kind.__name__}, not a {type(value).__name__}")


def number(id: str) -> int:
    """The number that an id on the wire is; 0, which no row has, for what is none."""
    return int(id) if id.isascii() and id.isdigit() and len(id) <= _DIGITS else 0


_DIGITS = 18
Values = Mapping[str, Any]
