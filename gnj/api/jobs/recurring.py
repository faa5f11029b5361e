"""Recurring jobs in the jobs dialect: an extension of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from gnj.api.hooks import Kind
from gnj.api.jobs.roots import Call, RootField
from gnj.graphql.records import Resolvers
from gnj.queue import schedules
from gnj.queue.errors import NotFound
from gnj.queue.fields import wire_name
from gnj.queue.model import Job, Schedule
from gnj.queue.naming import OWN

Values = Mapping[str, Any]


def recurring_job_create(call: Call, recurring_job: Values) -> Schedule:
    """A recurring job."""
    return call.queue.create_schedule(recurring_job, tenant=call.tenant, spell=wire_name)


def recurring_job_update(call: Call, recurring_job: Values) -> Schedule:
    """A recurring job, changed from the present on."""
    values = dict(recurring_job)
    id = values.pop("id", None)
    if id is None:
        raise _missing()
    _check_plain(call, id)
    return call.queue.update_schedule(id, values, tenant=call.tenant, spell=wire_name)


def recurring_job_delete(call: Call, id: int) -> Schedule:
    """A recurring job, deleted."""
    _check_plain(call, id)
    return call.queue.delete_schedule(id, tenant=call.tenant)


def recurring_job_toggle(call: Call, id: int, paused: bool | None = None) -> Schedule:  # noqa: FBT001 - an argument's name
    """A recurring job, paused or not."""
    _check_plain(call, id)
    return call.queue.pause_schedule(id, paused=paused, tenant=call.tenant)


def recurring_job_run(call: Call, id: int) -> Job:
    """A job that a recurring job makes now."""
    _check_plain(call, id)
    return call.queue.run_schedule(id, tenant=call.tenant)


def _check_plain(call: Call, id: int) -> None:
    """Raises `NotFound` for what no list of recurring jobs has: what makes runs and content jobs, and is changed where these are."""
    row = call.queue.get(Schedule, id, tenant=call.tenant)
    if row is None or schedules.type_of(row).startswith(OWN):
        raise _missing()


def _missing() -> NotFound:
    return NotFound("recurringJob not found.")


def next_runs(row: Schedule, _info: Any) -> Sequence[datetime]:
    """When a recurring job is due, as it stands."""
    if row.next_at is None:
        return ()
    return schedules.upcoming(row, row.next_at - timedelta(milliseconds=1), 5)


MUTATIONS = (
    RootField("recurringJobCreate", Kind.ADMIN, recurring_job_create),
    RootField("recurringJobUpdate", Kind.ADMIN, recurring_job_update, "recurring_job"),
    RootField("recurringJobDelete", Kind.ADMIN, recurring_job_delete),
    RootField("recurringJobToggle", Kind.ADMIN, recurring_job_toggle),
    RootField("recurringJobRun", Kind.ADMIN, recurring_job_run),
)
"""Fields of Mutation."""
RESULTS = (Resolvers("recurringJob", {"nextRuns": next_runs}),)
"""What resolves fields that rows do not have."""
