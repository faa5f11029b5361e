"""Recurring jobs: what is asked of them, what changes them, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gnj.access import Kind
from gnj.api.content.face import Call, call, row_id
from gnj.api.content.job_types import Info, name_of, person
from gnj.api.content.jobs import Input, defined, who
from gnj.api.content.paging import Collection, collection, page
from gnj.api.fields import Field
from gnj.content.model import Environment
from gnj.content.recurring import RecurringStatus, RecurringSync
from gnj.graphql.plans import Reads
from gnj.graphql.records import Resolvers
from gnj.queue.model import Schedule
from gnj.queue.model_content import ContentJob


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was started, and whose it is."""

    sync: RecurringSync
    job: ContentJob


def recurring_jobs(
    found: Call, offset: int | None = None, limit: int | None = None, status: str | None = None
) -> Collection:
    """A page of recurring jobs."""
    offset, limit = page(offset, limit)
    if defined(status, "status") == "COMPLETED":  # the schema has it, and no recurring job ends by itself
        return Collection((), offset, limit, 0)
    wanted = None if status is None else RecurringStatus(status)
    rows, total = found.face.jobs.recurring.page(found.tenant, offset=offset, limit=limit, status=wanted)
    return Collection(rows, offset, limit, total)


def recurring_job(found: Call, id: str) -> RecurringSync | None:
    """One recurring job."""
    return found.face.jobs.recurring.find(found.tenant, row_id(id))


def run_recurring_job(found: Call, create_job_input: Input) -> Run:
    """A recurring job of which a run was started."""
    recurring = found.face.jobs.recurring
    id = row_id(create_job_input["recurringJobId"])
    made = recurring.run(found.tenant, id, who(found))
    # read after the run was made, and with it
    sync = recurring.find(found.tenant, id)
    if sync is None:
        raise LookupError("a recurring job is gone of which a run was made")
    return Run(sync, made)


def toggle_recurring_job_status(found: Call, toggle_recurring_job_input: Input) -> RecurringSync:
    """A recurring job, paused or going on."""
    given = toggle_recurring_job_input
    return found.face.jobs.recurring.pause(found.tenant, row_id(given["recurringJobId"]), paused=given["pause"])


def delete_recurring_job(found: Call, delete_recurring_job_input: Input) -> RecurringSync:
    """A recurring job, deleted."""
    return found.face.jobs.recurring.delete(found.tenant, row_id(delete_recurring_job_input["recurringJobId"]))


QUERIES: Final[Mapping[str, Field]] = {
    "recurringJobs": Field(Kind.READ, recurring_jobs),
    "recurringJob": Field(Kind.READ, recurring_job, "id"),
}
"""recurringJobs, recurringJob."""

MUTATIONS: Final[Mapping[str, Field]] = {
    "runRecurringJob": Field(Kind.ADMIN, run_recurring_job, "createJobInput.recurringJobId"),
    "toggleRecurringJobStatus": Field(
        Kind.ADMIN, toggle_recurring_job_status, "toggleRecurringJobInput.recurringJobId"
    ),
    "deleteRecurringJob": Field(Kind.ADMIN, delete_recurring_job, "deleteRecurringJobInput.recurringJobId"),
}
"""runRecurringJob, toggleRecurringJobStatus, deleteRecurringJob."""


def _environment(which: Callable[[RecurringSync], str]) -> Callable[..., Any]:
    def environment(row: RecurringSync, info: Info) -> Environment | None:
        found = call(info)
        id, known = which(row), found.memo.setdefault("environments", {})
        if id not in known:  # the recurring jobs of an organisation are about few environments
            known[id] = found.face.content.store.environment(found.tenant, id)
        environment: Environment | None = known[id]
        return environment

    return environment


def _user(row: RecurringSync, _info: Info) -> Any:
    return person(row.by)


def _shown(
    schedule: Callable[[Any], Schedule], sync: Callable[[Any], RecurringSync]
) -> Mapping[str, Callable[..., Any]]:
    """What a recurring job and the payload of a run have."""
    return {
        "id": lambda row, _info: str(schedule(row).id),
        "name": lambda row, _info: sync(row).name,
        "type": lambda _row, _info: "SYNC",
        "status": lambda row, _info: sync(row).status.value,
        "cronExpression": lambda row, _info: schedule(row).cron,
        "createdAt": lambda row, _info: schedule(row).created_at,
        "updatedAt": lambda row, _info: schedule(row).updated_at,
    }


def _name(run: Run, _info: Info) -> str:
    return name_of(run.sync.by)


TYPES: Final[tuple[Resolvers, ...]] = (
    Resolvers(
        "RecurringJob",
        {
            **_shown(lambda row: row.schedule, lambda row: row),
            "hasJobRuns": Reads("has_runs"),
            "baseEnvironment": _environment(lambda row: row.base),
            "targetEnvironment": _environment(lambda row: row.target),
            "createdBy": _user,
            "updatedBy": _user,
        },
    ),
    Resolvers(
        "RunRecurringJobPayload",
        {
            **_shown(lambda row: row.sync.schedule, lambda row: row.sync),
            "attrs": lambda run, _info: [("jobId", str(run.job.id))],
            "createdBy": _name,
            "updatedBy": _name,
        },
    ),
    Resolvers(
        "KeyValuePairOfStringAndObject", {"key": lambda pair, _info: pair[0], "value": lambda pair, _info: pair[1]}
    ),
    Resolvers(
        "DeleteRecurringJobPayload",
        {"success": lambda _row, _info: True, "recurringJobId": lambda row, _info: str(row.schedule.id)},
    ),
    Resolvers("ToggleRecurringJobStatusPayload", {"success": lambda _row, _info: True}),
    collection("RecurringJobCollection"),
)
"""What resolves RecurringJob, its collection and the payloads."""
