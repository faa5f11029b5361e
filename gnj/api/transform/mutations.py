"""What saves, changes, runs and deletes transformation jobs and their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gnj.access import Kind
from gnj.api.fields import Field
from gnj.api.transform.face import Call
from gnj.api.transform.inputs import Input, format_input, mapping_input, source_input, source_request
from gnj.api.transform.types import came_jobs
from gnj.queue.later import Later
from gnj.queue.values import Json
from gnj.transform.requests import Job, JobView, number


def save_job(found: Call, source: Input, mapping: Input | None = None, target_format: Input | None = None) -> str:
    """A new job."""
    saved = found.jobs.save_job(
        found.tenant,
        source_input(source),
        None if mapping is None else mapping_input(mapping),
        format_input(target_format),
    )
    return str(saved.id)


def delete_job(found: Call, id: str) -> bool:
    """Whether there was such a job."""
    return found.jobs.delete_job(found.tenant, number(id))


def run_job(found: Call, id: str) -> Later[bool]:
    """Whether a run ends well, which is waited for."""
    return found.face.waiting.end_of(found.jobs.run_job(found.tenant, number(id)))


def set_job_schedule(found: Call, id: str, *, paused: bool | None = None, **given: str | None) -> Job:
    """A job that runs at other times from now on; a `cron_expression` of None is not one that was not given."""
    cron = {"cron": given["cron_expression"]} if "cron_expression" in given else {}
    return _changed(found, found.jobs.set_schedule(found.tenant, number(id), paused=paused, **cron))


def set_job_webhook(found: Call, id: str, url: str | None = None, secret: str | None = None) -> Job:
    """A job whose ends of runs are told from now on, or not any more."""
    return _changed(found, found.jobs.set_webhook(found.tenant, number(id), url, secret))


def save_source(found: Call, source: Input) -> str:
    """A new source."""
    return str(found.jobs.save_source(found.tenant, source_request(source)).id)


def delete_source(found: Call, id: str) -> bool:
    """Whether there was such a source."""
    return found.jobs.delete_source(found.tenant, number(id))


def save_mapping(found: Call, name: str, mapping: Sequence[Json]) -> str:
    """A new mapping."""
    return str(found.jobs.save_mapping(found.tenant, name, mapping).id)


def delete_mapping(found: Call, id: str) -> bool:
    """Whether there was such a mapping."""
    return found.jobs.delete_mapping(found.tenant, number(id))


def save_target_format(
    found: Call, target_format: Json, name: str | None = None, *, make_default: bool | None = None
) -> str:
    """A new target format."""
    saved = found.jobs.save_format(found.tenant, name, target_format, make_default=bool(make_default))
    return str(saved.id)


def delete_target_format(found: Call, id: str) -> bool:
    """Whether there was such a target format."""
    return found.jobs.delete_format(found.tenant, number(id))


def set_default_target_format(found: Call, id: str) -> bool:
    """Whether there is such a target format."""
    return found.jobs.set_default_format(found.tenant, number(id))


def _changed(found: Call, view: JobView) -> Job:
    found.memo.clear()  # what a mutation before this one has loaded was before this one
    came_jobs(found, [view.job])
    return view.job


MUTATIONS: Final[Mapping[str, Field]] = {
    "saveJob": Field(Kind.ENQUEUE, save_job, "source.id"),
    "deleteJob": Field(Kind.ADMIN, delete_job, "id"),
    "runJob": Field(Kind.ENQUEUE, run_job, "id", waits=True),
    "setJobSchedule": Field(Kind.ADMIN, set_job_schedule, "id"),
    "setJobWebhook": Field(Kind.ADMIN, set_job_webhook, "id"),
    "saveSource": Field(Kind.ENQUEUE, save_source),
    "deleteSource": Field(Kind.ADMIN, delete_source, "id"),
    "saveMapping": Field(Kind.ENQUEUE, save_mapping),
    "deleteMapping": Field(Kind.ADMIN, delete_mapping, "id"),
    "saveTargetFormat": Field(Kind.ENQUEUE, save_target_format),
    "deleteTargetFormat": Field(Kind.ADMIN, delete_target_format, "id"),
    "setDefaultTargetFormat": Field(Kind.ADMIN, set_default_target_format, "id"),
}
"""The fields of Mutation."""
