"""Jobs: what is asked of them, what makes them, and what is told of them. `job_types` says how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from gnj.access import Kind
from gnj.api.content.face import Call, call, row_id
from gnj.api.content.job_types import Info, Synced, came
from gnj.api.content.paging import Collection, page
from gnj.api.fields import Field
from gnj.api.streams import SubscriptionField
from gnj.queue.errors import InvalidInput
from gnj.queue.feed import Change
from gnj.queue.model import Schedule
from gnj.queue.model_content import ContentJob, ContentStatus, ContentType
from gnj.queue.values import Json

Input = Mapping[str, Any]
"""An input object, by the names in the schema; what was not given is not there."""

UNDEFINED: Final = "UNDEFINED"
"""The name that each enum has for what has none. Nothing is ever it, and so nobody may ask for it."""


def defined(value: str | None, what: str) -> str | None:
    """The value of an enum, if it says something. Raises `InvalidInput`, naming it, for UNDEFINED."""
    if value == UNDEFINED:
        raise InvalidInput(f"{what} must not be {UNDEFINED}")
    return value


def who(found: Call) -> Json:
    """Whoever asks, as it is kept."""
    return asdict(found.user)


# What is asked of them


def jobs(
    found: Call,
    offset: int | None = None,
    limit: int | None = None,
    type: str | None = None,
    status: str | None = None,
    search: str | None = None,
    recurring_job_id: str | None = None,
) -> Collection:
    """A page of jobs."""
    offset, limit = page(offset, limit)
    type, status = defined(type, "type"), defined(status, "status")
    rows, total = found.face.queue.content_jobs(
        found.tenant,
        offset=offset,
        limit=limit,
        type=None if type is None else ContentType(type),
        status=None if status is None else ContentStatus(status),
        search=search or None,
        schedule_id=None if recurring_job_id is None else row_id(recurring_job_id),
    )
    came(found, rows)
    return Collection(rows, offset, limit, total)


def job(found: Call, id: str) -> ContentJob | None:
    """One job."""
    return found.face.queue.content_job(found.tenant, row_id(id))


def job_task_logs(
    found: Call,
    job_id: str,
    job_task_id: str | None = None,
    type: str | None = None,
    offset: int | None = None,
    limit: int | None = None,
) -> Collection:
    """A page of a job's log."""
    offset, limit = page(offset, limit)
    lines, total = found.face.queue.content_logs(
        found.tenant,
        row_id(job_id),
        offset=offset,
        limit=limit,
        job_id=None if job_task_id is None else row_id(job_task_id),
        level=type,
    )
    return Collection(lines, offset, limit, total)


# What makes them


def create_import_job(found: Call, create_job_input: Input) -> ContentJob:
    """A job that imports a file."""
    given = create_job_input
    return found.face.jobs.import_(
        found.tenant,
        found.user,
        name=given["jobName"],
        type=_type(given),
        file_key=given.get("fileKey"),
        at=given.get("scheduledTime"),
    )


def create_export_job(found: Call, create_job_input: Input) -> ContentJob:
    """A job that exports entries."""
    given = create_job_input
    return found.face.jobs.export(
        found.tenant, found.user, name=given["jobName"], type=_type(given), filter=given.get("filter")
    )


def create_delete_job(found: Call, create_job_input: Input) -> ContentJob:
    """A job that deletes content, or a field of it."""
    given = create_job_input
    return found.face.jobs.delete(
        found.tenant,
        found.user,
        name=given["jobName"],
        at=given.get("scheduledTime"),
        site_id=given.get("siteId"),
        model=given.get("model"),
        field=given.get("fieldAlias"),
        is_field=bool(given.get("isDeleteFieldJob")),
        filter=given.get("filter"),
        filter_given="filter" in given,
        kinds=given.get("deleteContentTaskTypes"),
    )


def create_environment_job(found: Call, create_job_input: Input) -> ContentJob:
    """A job that copies an environment."""
    given = create_job_input
    return found.face.jobs.create_environment(
        found.tenant,
        found.user,
        name=given["jobName"],
        base=given["baseEnvironmentId"],
        alias=given["newEnvironmentAlias"],
        display_name=given["newEnvironmentDisplayName"],
        at=given.get("scheduledTime"),
    )


def sync_environment_job(found: Call, create_job_input: Input) -> Synced:
    """A job, or a recurring job, that makes one environment equal to another."""
    given = create_job_input
    made = found.face.jobs.sync_environments(
        found.tenant,
        found.user,
        name=given["jobName"],
        base=given["baseEnvironmentId"],
        target=given["targetEnvironmentId"],
        cron=given.get("cronExpression"),
    )
    if isinstance(made, Schedule):
        return Synced(None, found.face.jobs.recurring.of(made))
    return Synced(made, None)


def delete_environment_job(found: Call, create_job_input: Input) -> ContentJob:
    """A job that deletes an environment."""
    given = create_job_input
    return found.face.jobs.delete_environment(
        found.tenant, found.user, name=given["jobName"], environment=given["environmentId"]
    )


def create_clone_site_job(found: Call, create_job_input: Input) -> ContentJob:
    """A job that copies a site."""
    given = create_job_input
    return found.face.jobs.clone_site(
        found.tenant,
        found.user,
        name=given["jobName"],
        site=given["baseSiteId"],
        alias=given["newSiteAlias"],
        site_name=given["newSiteName"],
        logo=given["newSiteLogo"],
    )


def delete_job(found: Call, id: str) -> ContentJob:
    """A job, deleted."""
    return found.face.jobs.delete_job(found.tenant, found.user, row_id(id))


def _type(given: Input) -> ContentType:
    type = given["jobType"]
    defined(type, "jobType")
    return ContentType(type)


QUERIES: Final[Mapping[str, Field]] = {
    "jobs": Field(Kind.READ, jobs),
    "job": Field(Kind.READ, job, "id"),
    "jobTaskLogs": Field(Kind.READ, job_task_logs, "jobId"),
}
"""jobs, job, jobTaskLogs."""

MUTATIONS: Final[Mapping[str, Field]] = {
    "createImportJob": Field(Kind.ENQUEUE, create_import_job, "createJobInput.fileKey"),
    "createExportJob": Field(Kind.ENQUEUE, create_export_job),
    "createDeleteJob": Field(Kind.ADMIN, create_delete_job, "createJobInput.siteId"),
    "createEnvironmentJob": Field(Kind.ADMIN, create_environment_job, "createJobInput.baseEnvironmentId"),
    "syncEnvironmentJob": Field(Kind.ADMIN, sync_environment_job, "createJobInput.targetEnvironmentId"),
    "deleteEnvironmentJob": Field(Kind.ADMIN, delete_environment_job, "createJobInput.environmentId"),
    "createCloneSiteJob": Field(Kind.ADMIN, create_clone_site_job, "createJobInput.baseSiteId"),
    "deleteJob": Field(Kind.ADMIN, delete_job, "id"),
}
"""The mutations that make jobs, and deleteJob."""


# What is told of them


def updated(value: Any, info: Info, **_arguments: object) -> ContentJob | None:
    """The job that an event is about, which is told by its id."""
    found = call(info)
    return found.face.queue.content_job(found.tenant, value)


def _pick(change: Change, arguments: Mapping[str, Any]) -> Any:
    id = arguments.get("id")
    return change.value if id is None or id == str(change.value) else None


SUBSCRIPTIONS: Final[tuple[SubscriptionField, ...]] = (
    SubscriptionField(name="jobUpdated", topics=("content",), pick=_pick),
)
"""jobUpdated."""
