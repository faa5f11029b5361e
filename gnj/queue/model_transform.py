"""The records of transformation jobs (the transformation jobs contract).

A transformation job is a source, a mapping and a target format. A run of it is a row that follows a pipeline of its own
(`Pipeline.kind`), whose one job does the work. What a run writes is seen once the run is published, and all of it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

from gnj.queue.records import HIDDEN, ID, Column, Kind, Record
from gnj.queue.values import Json

RUN: Final = "transform"
"""The type of the jobs that do runs."""
WEBHOOK: Final = "gnj:transform.webhook"
"""The type of the jobs that tell of the ends of runs."""

SIZE: Final = Column(wire="", kind=Kind.ID)
"""A number of bytes that no face shows."""


class RunStatus(StrEnum):
    """How far a run has come."""

    PENDING = "Pending"
    RUNNING = "Running"
    """It stays so until its last try has ended."""
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


RUN_OVER: Final = frozenset({RunStatus.SUCCESSFUL, RunStatus.FAILED, RunStatus.CANCELLED})
"""Such a run never changes again."""


class RecordStatus(StrEnum):
    """Whether a record is the newest one of its key."""

    LIVE = "live"
    SUPERSEDED = "superseded"
    """A later run has written one of the same key; if that run is not published, this record is seen nevertheless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformSource(Record):
    """Where records come from."""

    name: str | None = None
    type: str
    """One of the contract's source types."""
    url: str | None = None
    description: str | None = None
    headers: Json = None
    """Texts `Name: value`."""
    body: str | None = None
    method: str | None = None
    credentials: Annotated[str | None, HIDDEN] = field(default=None, repr=False)
    """What takes the places of `${NAME}`, encrypted."""
    size: Annotated[int, SIZE] = 0
    """Bytes of all texts and JSON above, which count against what a tenant may have saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformMapping(Record):
    """How the fields of records are renamed and converted."""

    name: str | None = None
    mapping: Json = None
    """A list of rules."""
    size: Annotated[int, SIZE] = 0
    """See `TransformSource.size`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformFormat(Record):
    """The shape of the records that come out, and the rules that they meet."""

    name: str | None = None
    definition: Json = None
    """An object: fields by their names."""
    fields: Annotated[Json, HIDDEN] = None
    """These names, in their order: PostgreSQL keeps none in an object."""
    is_default: bool = False
    """Whether jobs that name no format have this one: one at most of a tenant."""
    size: Annotated[int, SIZE] = 0
    """See `TransformSource.size`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformJob(Record):
    """A source, a mapping and a target format that are run again and again."""

    source_id: Annotated[int, ID]
    mapping_id: Annotated[int, ID]
    format_id: Annotated[int, ID]
    schedule_id: Annotated[int | None, ID] = None
    run_id: Annotated[int | None, ID] = None
    """The run that is not over; None: there is none."""
    run_status: RunStatus | None = None
    """What the last run that began has come to; None: none has begun."""
    last_run_at: datetime | None = None
    """When that run began."""
    published: Annotated[int | None, ID] = None
    """The last run that ended well: what it and those before it have written is seen."""
    validators: Annotated[Json, HIDDEN] = None
    """What that run's source said of its version, and that of what treated its records: `{"etag", "last_modified", "version"}`."""
    webhook_url: str | None = None
    """What is told when a run has ended; None: nothing is."""
    webhook_secret: Annotated[str | None, HIDDEN] = field(default=None, repr=False)
    """What that is signed with, encrypted."""
    removed_at: Annotated[datetime | None, HIDDEN] = None
    """When it was deleted: what is left of it goes little by little, and nobody sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformRun(Record):
    """One run of a transformation job."""

    transform_job_id: Annotated[int, ID]
    job_id: Annotated[int, ID]
    """The job that does it: no other one may, whatever it says of itself."""
    pipeline_id: Annotated[int, ID]
    status: RunStatus = RunStatus.PENDING
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    """Why it failed; while it waits for another try, why the last one did."""
    read: Annotated[int, ID] = 0
    """Records that the source gave."""
    written: Annotated[int, ID] = 0
    """Records that it wrote: of those of equal keys, one."""
    rejected: Annotated[int, ID] = 0
    """Records that the format did not take, kept or not."""
    sealed: Annotated[bool, HIDDEN] = False
    """Everything was written: if its job ends well now, it is published."""
    unclean_at: Annotated[datetime | None, HIDDEN] = None
    """Since when there may be rows of it that nobody is to see, unless it is published."""
    retired_at: Annotated[datetime | None, HIDDEN] = None
    """Since when it is there only to be looked back at: it ended otherwise than well, or a later one was published."""
    validators: Annotated[Json, HIDDEN] = None
    """See `TransformJob.validators`; beside them, `unchanged`: whether the source said that they are those of the time before."""

    @property
    def unchanged(self) -> bool:
        """Whether it ended well without reading anything, since the source said that it has not changed."""
        told = self.validators if isinstance(self.validators, dict) else {}
        return self.status is RunStatus.SUCCESSFUL and told.get("unchanged") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformRecord(Record):
    """A record that a run wrote.

    It is current where `born` is the published run or an earlier one, and `died` is none of these.
    """

    transform_job_id: Annotated[int, ID]
    born: Annotated[int, ID]
    """The run that wrote it."""
    died: Annotated[int | None, ID] = None
    """The run that wrote a newer one of the same key."""
    status: Annotated[RecordStatus, HIDDEN] = RecordStatus.LIVE
    key: Annotated[str | None, HIDDEN] = None
    """A digest of the transformation job and of the values of its primary fields; None: the format has none."""
    value: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformRejected(Record):
    """A record that the target format did not take."""

    transform_job_id: Annotated[int, ID]
    run_id: Annotated[int, ID]
    source: Json = None
    """As the source gave it; of a large one, the beginning of its text."""
    reasons: Json = None
    """Texts."""


TRANSFORM_RECORDS: Final[Mapping[str, type[Record]]] = MappingProxyType(
    {
        "transform_source": TransformSource,
        "transform_mapping": TransformMapping,
        "transform_format": TransformFormat,
        "transform_job": TransformJob,
        "transform_run": TransformRun,
        "transform_record": TransformRecord,
        "transform_rejected": TransformRejected,
    }
)
"""The records by the name of their table."""
