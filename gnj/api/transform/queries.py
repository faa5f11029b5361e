"""What is asked of transformation jobs, and what is told of their runs. `types` says how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gnj.access import Kind
from gnj.api.fields import Field
from gnj.api.streams import SubscriptionField
from gnj.api.transform.face import Call, call
from gnj.api.transform.inputs import Input, format_input, mapping_input, source_input
from gnj.api.transform.types import Info, came, came_jobs
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.feed import Change
from gnj.queue.model_transform import TransformJob, TransformRun
from gnj.queue.values import Json, check_json
from gnj.transform.requests import FormatView, Job, MappingView, RecordPage, SourceView, number


def get_jobs(found: Call) -> Sequence[Job]:
    """All jobs."""
    rows = found.jobs.job_rows(found.tenant)
    found.count(len(rows))
    return came_jobs(found, rows)


def get_job(found: Call, id: str) -> TransformJob | None:
    """One job."""
    row = found.jobs.job_row(found.tenant, number(id))
    if row is not None:
        came_jobs(found, [row])
    return row


def get_sources(found: Call) -> Sequence[SourceView]:
    """All sources."""
    rows = found.jobs.sources(found.tenant)
    found.count(len(rows))
    came(found, "SourceSchema", rows)
    return rows


def get_mappings(found: Call) -> Sequence[MappingView]:
    """All mappings."""
    rows = found.jobs.mappings(found.tenant)
    found.count(len(rows))
    came(found, "MappingSchema", rows)
    return rows


def get_target_formats(found: Call) -> Sequence[FormatView]:
    """All target formats."""
    rows = found.jobs.formats(found.tenant)
    found.count(len(rows))
    came(found, "TargetFormatSchema", rows)
    return rows


def get_runs(found: Call, job_id: str, offset: int | None = None, limit: int | None = None) -> Sequence[TransformRun]:
    """A page of the runs of a job."""
    return found.jobs.runs(found.tenant, number(job_id), offset=offset, limit=limit)


def get_records(found: Call, run_id: str, offset: int | None = None, limit: int | None = None) -> RecordPage:
    """A page of what a run wrote."""
    return found.jobs.records(found.tenant, number(run_id), offset=offset, limit=limit)


def get_job_records(found: Call, job_id: str, offset: int | None = None, limit: int | None = None) -> RecordPage:
    """A page of the current records of a job."""
    return found.jobs.job_records(found.tenant, number(job_id), offset=offset, limit=limit)


def apply_mapping(found: Call, source: Input, mapping: Input, target_format: Input | None = None) -> list[Json]:
    """What a mapping makes of the records of a source."""
    if source.get("data") is None:
        found.reach_out("applyMapping")
    made = found.jobs.apply_mapping(
        found.tenant, source_input(source), mapping_input(mapping), format_input(target_format)
    )
    return found.weigh_all(_records(made))


def generate_mapping(found: Call, sample_data: Input, target_format: Input | None = None) -> list[Json]:
    """Rules that are proposed."""
    if sample_data.get("data") is None:
        found.reach_out("generateMapping")
    rules = found.jobs.generate_mapping(found.tenant, source_input(sample_data), format_input(target_format))
    return found.weigh_all([check_json(rule, "a rule") for rule in rules])


def _records(made: Sequence[Json]) -> list[Json]:
    """Those of the records that can be sent: a source may have characters and numbers that JSON has not. A run rejects the others."""
    sent = []
    for record in made:
        try:
            sent.append(check_json(record, "the record"))
        except InvalidInput:
            continue
    return sent


QUERIES: Final[Mapping[str, Field]] = {
    "getJobs": Field(Kind.READ, get_jobs),
    "getSources": Field(Kind.READ, get_sources),
    "getMappings": Field(Kind.READ, get_mappings),
    "getTargetFormats": Field(Kind.READ, get_target_formats),
    "getJob": Field(Kind.READ, get_job, "id"),
    "getRuns": Field(Kind.READ, get_runs, "jobId"),
    "getRecords": Field(Kind.READ, get_records, "runId"),
    "getJobRecords": Field(Kind.READ, get_job_records, "jobId"),
    # They call whatever address they are given, with credentials that are kept: more than to look.
    "applyMapping": Field(Kind.ENQUEUE, apply_mapping, "source.id"),
    "generateMapping": Field(Kind.ENQUEUE, generate_mapping, "sampleData.id"),
}
"""The fields of Query."""


def updated(value: Any, info: Info, **_arguments: object) -> TransformRun:
    """The run that an event is about, which is told by its id; that of a deleted job too, until it is swept up."""
    found = call(info)
    run = found.jobs.queue.storage.get(TransformRun, value, tenant=found.tenant)
    if run is None:
        raise NotFound("the run does not exist any more")
    return run


def _pick(change: Change, arguments: Mapping[str, Any]) -> Any:
    run, job = change.value
    wanted = arguments.get("job_id")
    return run if wanted is None or wanted == str(job) else None


SUBSCRIPTIONS: Final[tuple[SubscriptionField, ...]] = (
    SubscriptionField(name="runUpdated", topics=("transform",), pick=_pick, subject="job_id"),
)
"""runUpdated."""
