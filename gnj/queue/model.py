"""The records of the queue: frozen, keyword-only, and described well enough to generate tables, types and filters.

A record's attributes have three names: Python's (`priority`), the column's (`priority_level`) and the wire's
(`priorityLevel`). They differ only by case unless `Column` says otherwise. `attributes(Job)` lists them all.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from gnj.queue.making import quick
from gnj.queue.model_content import ContentJob, ContentLog, Upload
from gnj.queue.records import HIDDEN, ID, Attribute, Column, Kind, Record
from gnj.queue.retry import Backoff
from gnj.queue.states import BatchStatus, JobStatus, PipelineStatus, StepStatus
from gnj.queue.values import Json

__all__ = [
    "BELONGS",
    "DEFAULT_MAX_STALLED",
    "DEFAULT_PRIORITY",
    "GO_WITH",
    "HIDDEN",
    "ID",
    "ONE_OF",
    "QUEUE_RECORDS",
    "Announcement",
    "Attribute",
    "Batch",
    "Column",
    "ContentJob",
    "ContentLog",
    "Grant",
    "Hold",
    "Hook",
    "Job",
    "JobAttempt",
    "JobLog",
    "Kind",
    "Listener",
    "Monitoring",
    "NewJob",
    "Permit",
    "Pipeline",
    "PushWorker",
    "QueueLimit",
    "Record",
    "RecordT",
    "Schedule",
    "Secret",
    "Step",
    "Tick",
    "Token",
    "Upload",
    "attributes",
    "by_wire",
    "json_names",
    "wire_table",
]

DEFAULT_PRIORITY = 4
DEFAULT_MAX_STALLED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Record):
    """A unit of work, as it was when it was read."""

    type: str
    """Decides which handler runs it."""
    name: str | None = None
    unique_id: Annotated[str | None, Column("job_unique_id")] = None
    """At most one job of a tenant has it, until that is deleted or retried."""
    custom_id: Annotated[str | None, HIDDEN] = None
    """The REST API's jobId: unique per tenant and type."""
    input: Json = None
    output: Json = None
    progress: Annotated[Json, Column("processing_info")] = None
    status: JobStatus = JobStatus.QUEUED
    priority: Annotated[int, Column("priority_level")] = DEFAULT_PRIORITY
    """The greater, the earlier."""
    position: Annotated[int, Column(wire="", kind=Kind.ID)] = 0
    """Breaks ties of priority, ahead of the id: lifo jobs have smaller ones."""
    due_at: Annotated[datetime | None, HIDDEN] = None
    """While set, the queued job is not ready: `promote` clears it once it has passed."""
    start_after: datetime | None = None
    attempt: int = 0
    """How often the job was claimed: (id, attempt) is the fencing token of a claim."""
    failures: int = 0
    """Tries that ended in an error."""
    stalled_count: int = 0
    """Leases that were lost."""
    max_attempts: int | None = None
    """Tries that may end in an error; None means 1."""
    max_stalled: int | None = None
    """Leases that may be lost; None means 5."""
    backoff: Json = None
    """How long to wait between tries, as in the wire's `backoff`; None means not at all."""
    timeout: Annotated[float | None, Column("timeout_seconds")] = None
    """Seconds after which the worker fails the job."""
    on_lost: str | None = None
    """What a lost lease does: requeue (also None), fail or hold."""
    lease: Annotated[float | None, Column("lease_seconds", wire="")] = None
    """Seconds the present claim was given, and gets again with every accepted write."""
    lease_expires_at: datetime | None = None
    worker_id: str | None = None
    worker_type: str | None = None
    retry_of: Annotated[int | None, Column("retry_of_job_id", kind=Kind.ID)] = None
    batch_id: Annotated[int | None, ID] = None
    pipeline_id: Annotated[int | None, ID] = None
    recoverable: Annotated[bool, Column("is_recoverable")] = False
    high_frequency: Annotated[bool, Column("is_high_frequency")] = False
    cancel_seen: Annotated[bool, Column("is_update_already_called_while_cancel_requested")] = False
    """One update was let through since the cancellation was requested; the next is refused."""
    options: Annotated[Json, HIDDEN] = None
    limit_key: Annotated[str | None, HIDDEN] = None
    traceparent: Annotated[str | None, HIDDEN] = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cancelled_at: datetime | None = None
    replaced_by: Annotated[int | None, Column("replaced_by_job_id", wire="", kind=Kind.ID)] = None
    """The job that a retry made to take this one's place."""

    @property
    def is_member(self) -> bool:
        """Whether it belongs to a batch or a pipeline."""
        return self.batch_id is not None or self.pipeline_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAttempt(Record):
    """One try that did not end well."""

    job_id: Annotated[int, ID]
    attempt: int
    outcome: Annotated[str, HIDDEN]
    """"failed" (the handler's error) or "lost" (the lease ran out)."""
    worker_id: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Record):
    """Jobs that belong together: done when all are successful, failed as soon as one is not."""

    status: BatchStatus | None = None
    pipeline_id: Annotated[int | None, ID] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(Record):
    """Steps that run one after the other."""

    status: PipelineStatus = PipelineStatus.PLANNED
    name: str | None = None
    metadata: str | None = None
    kind: Annotated[str | None, HIDDEN] = None
    """What of gnj's own follows it (`gnj.queue.following`); None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Record):
    """One step of a pipeline: a job or a batch."""

    pipeline_id: Annotated[int, ID]
    job_id: Annotated[int | None, ID] = None
    batch_id: Annotated[int | None, ID] = None
    index: int = 0
    status: StepStatus = StepStatus.PLANNED


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Record):
    """A type no job of which is handed out; the type "all" stands for every type.

    A hold of the tenant "" holds every tenant's jobs: it is the host's own. The row of a type that has limits is there too, for
    claims are to pass it by: those of such a type are made elsewhere.
    """

    type: str | None = None
    limited: Annotated[bool, HIDDEN] = False
    """Whether there are limits for the type."""
    held: Annotated[bool, HIDDEN] = True
    """Whether somebody holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimit(Record):
    """How many jobs of a type may start in a while, and run at once; an attribute that is null limits nothing.

    A limit of the tenant "" is the host's own: it counts the jobs of all tenants together.
    """

    type: str
    rate_max: Annotated[int | None, ID] = None
    """Starts in any `rate_ms` milliseconds; both are null or none is, here as below."""
    rate_ms: Annotated[int | None, ID] = None
    concurrency: Annotated[int | None, ID] = None
    """Jobs that run at once."""
    key_rate_max: Annotated[int | None, ID] = None
    """The same for the jobs of each limit key."""
    key_rate_ms: Annotated[int | None, ID] = None
    key_concurrency: Annotated[int | None, ID] = None
    worker_max: Annotated[int | None, ID] = None
    """The rate that the push worker of the type asked for: of the two both hold."""
    worker_ms: Annotated[int | None, ID] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit(Record):
    """A claim that a limit let through: it counts for as long as that claim holds the job."""

    limit_id: Annotated[int, ID]
    key: str = ""
    """The limit key of the job; "" where it has none."""
    job_id: Annotated[int, ID]
    attempt: Annotated[int, ID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant(Record):
    """How many claims a limit let through in one of the short periods its rate is counted by."""

    limit_id: Annotated[int, ID]
    key: str = ""
    """What is counted; see `gnj.queue.counting`."""
    period: Annotated[int, ID]
    """Its end, in milliseconds since 1970."""
    count: Annotated[int, ID]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushWorker(Record):
    """An endpoint that is called for each job of a type."""

    type: str
    url: str
    method: str
    headers: Annotated[Json, HIDDEN] = None
    """What is sent with each call, by names."""
    timeout_ms: Annotated[int, ID]
    options: Json = None
    """As they were registered: concurrency, limiter and so on."""
    secret: Annotated[str, HIDDEN] = field(repr=False)
    """What calls are signed with."""
    version: Annotated[int, ID] = 1
    """Grows with every registration."""
    failed: Annotated[int, ID] = 0
    """Deliveries that failed in a row."""
    disabled_at: datetime | None = None
    """Since when the endpoint is not called any more, because too many did."""
    holder: str | None = None
    """Which server calls it."""
    held_until: datetime | None = None
    """Until when nobody else does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLog(Record):
    """A line that a worker wrote about a job."""

    job_id: Annotated[int, ID]
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret(Record):
    """What all servers of a database must know alike, such as what they sign with: made by the first that needs it."""

    name: str
    value: Annotated[str, HIDDEN] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(Record):
    """What has a job made again and again (`gnj.queue.schedules`): by a cron expression in a time zone, or at intervals."""

    name: str
    cron: str | None = None
    time_zone: str = "UTC"
    every_ms: Annotated[int | None, Column(wire="every", kind=Kind.ID)] = None
    """Milliseconds of an interval, in the place of `cron`."""
    missed: str = "newest"
    """What becomes of ticks at which nobody looked: `newest`, `all` or `none` of them has a job made."""
    may_overlap: bool = True
    """Whether a job is made though the one before has not ended."""
    job: Json = None
    """The attributes of the jobs that it makes."""
    paused: bool = False
    begins_at: datetime | None = None
    """No tick is earlier."""
    ends_at: datetime | None = None
    """No tick is later."""
    max_runs: Annotated[int | None, ID] = None
    """How many jobs its ticks make, at most."""
    since: Annotated[datetime, HIDDEN]
    """Up to when all ticks have been dealt with."""
    next_at: datetime | None = None
    """When it is to be looked at: its next tick, or a while after one that failed; None: never, as while it is paused."""
    last_at: datetime | None = None
    """The last tick that made a job."""
    last_job_id: Annotated[int | None, ID] = None
    runs: Annotated[int, ID] = 0
    """Jobs that its ticks have made."""
    failures: Annotated[int, ID] = 0
    """How often in a row its tick has failed."""
    error: str | None = None
    """Why it failed the last time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Record):
    """What became of one tick of a schedule; there is one at most of the same moment."""

    schedule_id: Annotated[int, ID]
    tick_at: datetime
    job_id: Annotated[int | None, ID] = None
    """The job that it made; None: the one before had not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring(Record):
    """What a worker told of itself at a moment: rows are added, never changed."""

    worker_id: str
    worker_type: str
    worker_status: str
    """AVAILABLE, PROCESSING, FAILED or EXITED, for the ratings; any other word is kept and rated as none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook(Record):
    """A durable hook: for each event it wants, a job of its own is enqueued, until it expires (decision 0008)."""

    name: str
    wants: Json
    """The names of the events."""
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement(Record):
    """What one transaction changed, for those in other processes who follow (the outbox)."""

    origin: str
    """Names the queue that made the change."""
    data: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener(Record):
    """Somebody in some process who wants to know, until it expires: of work ("jobs") or of every change ("changes")."""

    wants: str
    name: str | None = None
    """Host and process, for people."""
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Record):
    """A bearer token, of which only the digest is kept."""

    name: str
    """For people."""
    hash: str
    """SHA-256 of the token, in hexadecimal."""
    scopes: Json
    """What it allows: kinds of action (`gnj.access.Kind`)."""
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


RecordT = TypeVar("RecordT", bound=Record)

QUEUE_RECORDS: Mapping[str, type[Record]] = MappingProxyType(
    {
        "job": Job,
        "job_attempt": JobAttempt,
        "batch": Batch,
        "pipeline": Pipeline,
        "pipeline_step": Step,
        "hold": Hold,
        "queue_limit": QueueLimit,
        "permit": Permit,
        "grant_count": Grant,
        "push_worker": PushWorker,
        "job_log": JobLog,
        "secret": Secret,
        "schedule": Schedule,
        "schedule_tick": Tick,
        "worker_monitoring": Monitoring,
        "hook": Hook,
        "event": Announcement,
        "listener": Listener,
        "token": Token,
        "content_job": ContentJob,
        "content_log": ContentLog,
        "upload": Upload,
    }
)
"""The records by the name of their table, without those of transformation jobs (`gnj.queue.catalog`)."""

ONE_OF: Mapping[type[Record], tuple[str, ...]] = MappingProxyType(
    {
        Hold: ("tenant", "type"),
        QueueLimit: ("tenant", "type"),
        PushWorker: ("tenant", "type"),
        Secret: ("tenant", "name"),
        Schedule: ("tenant", "name"),
    }
)
"""The attributes of which there is one row at most with the same values, not soft-deleted."""

GO_WITH: Mapping[type[Record], tuple[tuple[type[Record], str], ...]] = MappingProxyType(
    {
        Job: ((JobAttempt, "job_id"), (JobLog, "job_id")),
        Pipeline: ((Step, "pipeline_id"),),
        Schedule: ((Tick, "schedule_id"),),
        QueueLimit: ((Permit, "limit_id"), (Grant, "limit_id")),
        ContentJob: ((ContentLog, "content_job_id"),),
    }
)
"""What is removed for good together with a row: of which record, and the attribute that has the id of the row."""

BELONGS: Mapping[type[Record], Mapping[str, tuple[str, type[Record]]]] = MappingProxyType(
    {
        Job: {"batch": ("batch_id", Batch), "pipeline": ("pipeline_id", Pipeline)},
        Batch: {"pipeline": ("pipeline_id", Pipeline)},
        Step: {"pipeline": ("pipeline_id", Pipeline), "batch": ("batch_id", Batch), "job": ("job_id", Job)},
    }
)
"""What rows belong to: by a name, the attribute that has the other row's id, and the record of that one."""


@quick
@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be enqueued; what is None takes the default of the handler's registration or of gnj."""

    type: str
    input: Json = None
    name: str | None = field(default=None, kw_only=True)
    start_after: datetime | timedelta | None = field(default=None, kw_only=True)
    """When it may start at the earliest; a timedelta counts from the storage's present."""
    priority: int = field(default=DEFAULT_PRIORITY, kw_only=True)
    unique_id: str | None = field(default=None, kw_only=True)
    recoverable: bool = field(default=False, kw_only=True)
    max_attempts: int | None = field(default=None, kw_only=True)
    max_stalled: int | None = field(default=None, kw_only=True)
    backoff: Backoff | Mapping[str, Json] | None = field(default=None, kw_only=True)
    timeout: float | timedelta | None = field(default=None, kw_only=True)
    on_lost: str | None = field(default=None, kw_only=True)
    lifo: bool = field(default=False, kw_only=True)
    """Whether it comes before the jobs of its priority that are there already, not after them."""
    tenant: str = field(default="", kw_only=True)


def attributes(record: type[Record]) -> Mapping[str, Attribute]:
    """The attributes of `record` by their Python names, in the order of its definition."""
    return _attributes(typing.cast(Hashable, record))


def by_wire(record: type[Record]) -> Mapping[str, Attribute]:
    """The attributes of `record` that the faces show, by their names on the wire."""
    return _by_wire(typing.cast(Hashable, record))


def wire_table(record: type[Record]) -> str:
    """What the faces, and the messages they pass on, call a record."""
    return _WIRE_TABLES.get(record, record.__name__[:1].lower() + record.__name__[1:])


_WIRE_TABLES: Mapping[type[Record], str] = {
    Step: "pipelineStep",
    Hold: "jobHoldType",
    Monitoring: "workerMonitoring",
    Schedule: "recurringJob",
}


def json_names(record: type[Record]) -> tuple[str, ...]:
    """The attributes of `record` that hold JSON."""
    return _json_names(typing.cast(Hashable, record))


@cache
def _json_names(record: Any) -> tuple[str, ...]:
    return tuple(name for name, attribute in _attributes(record).items() if attribute.kind is Kind.JSON)


@cache
def _attributes(record: Any) -> Mapping[str, Attribute]:
    hints = typing.get_type_hints(record, include_extras=True)
    found = (_attribute(f.name, hints[f.name]) for f in fields(record))
    return MappingProxyType({attribute.name: attribute for attribute in found})


@cache
def _by_wire(record: Any) -> Mapping[str, Attribute]:
    return MappingProxyType({a.wire: a for a in _attributes(record).values() if a.wire is not None})


_KINDS: Mapping[Any, Kind] = {
    int: Kind.INT,
    str: Kind.TEXT,
    bool: Kind.BOOL,
    float: Kind.FLOAT,
    datetime: Kind.TIME,
    Json: Kind.JSON,
}


def _attribute(name: str, hint: Any) -> Attribute:
    says = Column()
    if typing.get_origin(hint) is Annotated:
        hint, says = typing.get_args(hint)
    nullable = hint is Json
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        nullable = True
    enum = hint if isinstance(hint, type) and issubclass(hint, Enum) else None
    column = says.column or name
    wire = column if says.wire is None else says.wire
    return Attribute(
        name=name,
        column=column,
        wire=_camel(wire) or None,
        kind=says.kind or (Kind.TEXT if enum else _KINDS[hint]),
        nullable=nullable,
        enum=enum,
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
