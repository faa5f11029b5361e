"""`ContentJobs`: makes content jobs of what clients ask for, checked once and for all.

What is refused is refused here, when a job is made; the tasks go by `ContentJob.params` and check nothing of it again.

**Params.** By the types of content jobs; all of environments are ids, never aliases:

- IMPORT_ENTRIES, IMPORT_ASSETS: none; the file is `ContentJob.file_key`.
- EXPORT_ENTRIES: `filter`, the text or None; `warnings`.
- DELETE_CONTENT, DELETE_FILTERED_CONTENT: `site_id`, `model`, `filter` (each may be None), `warnings`, and `kinds`: some of `KINDS`.
- DELETE_FIELD: `site_id` (may be None), `model`, `field`.
- CREATE_ENVIRONMENT: `base`, and `environment`: the one that is reserved for it.
- SYNC_ENVIRONMENTS: `base`, `target`.
- DELETE_ENVIRONMENT: `environment`.
- CLONE_SITE: `site`, `alias`, `name`, `logo`.

`warnings` are texts that the first task writes to the log.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from gnj.content import filters
from gnj.content.application import Content
from gnj.content.model import Environment
from gnj.content.recurring import RecurringJobs
from gnj.content.store import DropEnvironment, Holder, Stale
from gnj.queue import cron as crons
from gnj.queue.errors import Duplicate, GnjError, IllegalTransition, InvalidInput, NotFound
from gnj.queue.model import Schedule
from gnj.queue.model_content import ContentJob, ContentStatus, ContentType
from gnj.queue.states import JobStatus
from gnj.queue.values import MAX_NAME, Json, check_text, check_word, shown

logger = logging.getLogger("gnj.content")

IMPORTS: Final = (ContentType.IMPORT_ENTRIES, ContentType.IMPORT_ASSETS)
KINDS: Final = ("DELETE_ENTRIES", "DELETE_ASSETS", "DELETE_TAGS")
"""What of content may be deleted, by its name among DeleteContentTaskTypes; the last one clears labels."""
FIELD: Final = "DELETE_FIELD"
"""The name for which there is a type of job of its own."""
_TAKE_BACK: Final = 1.0
"""Seconds for which who deletes a job waits while what it wrote is taken back: a million rows take 7 s."""
_ALIAS: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, as it is kept with what he makes."""

    id: str
    name: str | None = None
    email: str | None = None


class ContentJobs:
    """Makes the content jobs of one application. `tenant` is the organisation; `by` whoever asks.

    Every method raises `InvalidInput`, naming the argument, for what cannot be: a blank name among it.

    Args:
        content: The queue, the store and the files.
    """

    def __init__(self, content: Content) -> None:
        self.content = content
        self.recurring = RecurringJobs(content.queue)

    def import_(
        self, tenant: str, by: User, *, name: str, type: ContentType, file_key: str | None, at: datetime | None
    ) -> ContentJob:
        """Imports a file that was uploaded (or exported): IMPORT_ENTRIES or IMPORT_ASSETS, from `at` on at the earliest.

        Raises `InvalidInput` where there is no file of that key.
        """
        title = _named(name)
        if type not in IMPORTS:
            raise InvalidInput(f"jobType must be one of {', '.join(IMPORTS)}, not {shown(str(type))}")
        if file_key is None:
            raise InvalidInput("fileKey must be the key of a file that was uploaded, not null")
        if self.content.files.stat(tenant, check_text(file_key, "fileKey")) is None:
            raise InvalidInput(f"fileKey: {self._absent(tenant, file_key)}")
        return self._made(tenant, by, title, type, {}, at=at, file_key=file_key)

    def export(self, tenant: str, by: User, *, name: str, type: ContentType, filter: str | None) -> ContentJob:
        """Writes the entries of the default environment that meet the filter to a file: EXPORT_ENTRIES."""
        title = _named(name)
        if type is not ContentType.EXPORT_ENTRIES:
            raise InvalidInput(f"jobType must be {ContentType.EXPORT_ENTRIES}, not {shown(str(type))}")
        parsed = filters.parse(filter)
        return self._made(tenant, by, title, type, {"filter": filter, "warnings": list(parsed.warnings)})

    def delete(
        self,
        tenant: str,
        by: User,
        *,
        name: str,
        at: datetime | None,
        site_id: str | None,
        model: str | None,
        field: str | None,
        is_field: bool,
        filter: str | None,
        filter_given: bool,
        kinds: Sequence[str] | None,
    ) -> ContentJob:
        """DELETE_FIELD if `is_field`, else DELETE_FILTERED_CONTENT if a filter was given (null or empty too), else
        DELETE_CONTENT; never more than was asked for.

        `kinds` are of DeleteContentTaskTypes; None: entries and assets. Raises `InvalidInput` for a filter without conditions,
        and where neither site nor filter is given. A site or model that is not there is none of this: it may be by then.
        """
        title = _named(name)
        params: dict[str, Json] = {
            "site_id": None if site_id is None else check_text(site_id, "siteId", maximum=MAX_NAME, empty=False),
            "model": None if model is None else check_text(model, "model", maximum=MAX_NAME, empty=False),
        }
        if is_field:
            type = ContentType.DELETE_FIELD
            if model is None or field is None:
                raise InvalidInput("isDeleteFieldJob needs model and fieldAlias: which field of which model is to go")
            params["field"] = check_text(field, "fieldAlias", maximum=MAX_NAME, empty=False)
        else:
            type = ContentType.DELETE_FILTERED_CONTENT if filter_given else ContentType.DELETE_CONTENT
            params |= _deleted(site_id, filter, kinds, filtered=filter_given)
        return self._made(tenant, by, title, type, params, at=at)

    def create_environment(
        self, tenant: str, by: User, *, name: str, base: str, alias: str, display_name: str, at: datetime | None
    ) -> ContentJob:
        """Copies an environment; the alias is taken from now on. Raises `NotFound` for the base, `Duplicate` for the alias."""
        title = _named(name)
        wanted = _alias(alias)
        shown_as = _named(display_name, "newEnvironmentDisplayName")
        copied = self._environment(tenant, base, "baseEnvironmentId").id
        reserved = self.content.store.reserve(tenant, wanted, shown_as, None)
        try:
            params = {"base": copied, "environment": reserved}
            row = self._made(tenant, by, title, ContentType.CREATE_ENVIRONMENT, params, at=at)
        except BaseException:
            self._drop(tenant, Holder(0, 0, 0), reserved)
            raise
        # its first task does the same: that may have begun already, and failed as well
        with suppress(NotFound, Stale):
            self.content.store.own(tenant, reserved, row.id)
        return row

    def sync_environments(
        self, tenant: str, by: User, *, name: str, base: str, target: str, cron: str | None
    ) -> ContentJob | Schedule:
        """Makes one environment equal to another: now, or again and again. Raises `NotFound` for either, and `IllegalTransition` for
        the latter where a job is about to delete one of them.
        """
        title = _named(name)
        expression = None if cron is None else crons.parse(cron, "cronExpression").text
        params = {
            "base": self._environment(tenant, base, "baseEnvironmentId").id,
            "target": self._environment(tenant, target, "targetEnvironmentId").id,
        }
        if params["base"] == params["target"]:
            raise InvalidInput("baseEnvironmentId and targetEnvironmentId must be different environments")
        if expression is None:
            return self._made(tenant, by, title, ContentType.SYNC_ENVIRONMENTS, params)
        self._check_staying(tenant, **params)
        schedule = self.recurring.create(
            tenant, name=title, cron=expression, time_zone=self.content.time_zone, by=asdict(by), **params
        )
        try:
            # the task that removes an environment looks for schedules before it does: one of the two sees the other
            self._check_staying(tenant, **params)
        except GnjError:
            self.recurring.delete(tenant, schedule.id)
            raise
        return schedule

    def delete_environment(self, tenant: str, by: User, *, name: str, environment: str) -> ContentJob:
        """Removes an environment: not the default one, and none that a recurring sync is about. Raises `NotFound`, and
        `IllegalTransition` for the latter, paused or not.
        """
        title = _named(name)
        found = self._environment(tenant, environment, "environmentId")
        if found.is_default:
            raise InvalidInput("environmentId: the default environment cannot be deleted")
        if about := self.recurring.about(tenant, found.id):
            names = ", ".join(f"{shown(each.name)} ({each.schedule.id})" for each in about)
            raise IllegalTransition(f"recurring jobs are about this environment, delete them first: {names}")
        return self._made(tenant, by, title, ContentType.DELETE_ENVIRONMENT, {"environment": found.id})

    def clone_site(
        self, tenant: str, by: User, *, name: str, site: str, alias: str, site_name: str, logo: str
    ) -> ContentJob:
        """Copies a site within its environment. Raises `NotFound` for the site, `Duplicate` for the alias."""
        title = _named(name)
        params: dict[str, Json] = {
            "alias": check_word(alias, "newSiteAlias"),
            "name": _named(site_name, "newSiteName"),
            "logo": check_text(logo, "newSiteLogo"),
        }
        self.content.store.ready(tenant)
        found = self.content.store.site(tenant, check_text(site, "baseSiteId"))
        if found is None:
            raise NotFound(f"baseSiteId: there is no site {shown(site)}")
        if any(each.alias == alias for each in self.content.store.sites(tenant, found.environment_id)):
            raise Duplicate(f"newSiteAlias: there is a site {shown(alias)} already")
        return self._made(tenant, by, title, ContentType.CLONE_SITE, {"site": found.id, **params})

    def delete_job(self, tenant: str, by: User, id: int) -> ContentJob:
        """Deletes a content job (`Queue.delete_content_job`). What it has written and not published is taken back, by its task if that
        runs. An environment that it was to make goes, and its alias is free again.

        Raises `NotFound`.
        """
        row = self.content.queue.delete_content_job(tenant, id, asdict(by))
        self._take_back(tenant, id)
        if row.type is ContentType.CREATE_ENVIRONMENT and row.status is ContentStatus.DELETED:
            made = row.params["environment"]
            if self.content.store.environment(tenant, made) is None:  # one that was made before stays
                self._drop(tenant, Holder(row.id, 0, 0), made)
        return row

    def _made(
        self,
        tenant: str,
        by: User,
        name: str,
        type: ContentType,
        params: Json,
        *,
        at: datetime | None = None,
        file_key: str | None = None,
    ) -> ContentJob:
        who: dict[str, Any] = asdict(by)
        self.content.store.ready(tenant)
        return self.content.queue.create_content_job(
            tenant, name=name, type=type, params=params, by=who, start_after=at, file_key=file_key
        )

    def _absent(self, tenant: str, key: str) -> str:
        """Why there is no file of that key."""
        if self.content.queue.is_upload_open(tenant, key):
            return f"the upload of {shown(key)} was not completed: completeMultiPartUpload does"
        return f"no file {shown(key)} was uploaded"

    def _environment(self, tenant: str, named: str, what: str) -> Environment:
        """The environment with that id or alias."""
        self.content.store.ready(tenant)
        found = self.content.store.environment(tenant, check_text(named, what))
        if found is None:
            raise NotFound(f"{what}: there is no environment {shown(named)}")
        return found

    def _check_staying(self, tenant: str, base: str, target: str) -> None:
        """Raises `NotFound` or `IllegalTransition` where one of two environments was removed, or is going to be."""
        going = self.content.queue.unfinished_content_jobs(tenant, ContentType.DELETE_ENVIRONMENT)
        for what, id in (("baseEnvironmentId", base), ("targetEnvironmentId", target)):
            self._environment(tenant, id, what)
            for row in going:
                if row.params["environment"] == id:
                    raise IllegalTransition(f"{what}: the job {row.id} is about to delete this environment")

    def _take_back(self, tenant: str, id: int) -> None:
        """Takes back what a content job that is over wrote and pinned, unless a task of it runs, which does so itself. What cannot be
        taken back now is by whoever sweeps.
        """
        tasks = self.content.queue.content_tasks(tenant, [id]).get(id)
        if not tasks or any(task.status in (JobStatus.PROCESSING, JobStatus.CANCEL_REQUESTED) for task in tasks):
            return
        last = max(tasks, key=lambda task: task.id)
        # no task of it has opened an environment later than as this holder
        holder = Holder(id, last.id, last.attempt)
        try:
            self.content.store.abandon(tenant, holder, within=_TAKE_BACK)
            self.content.store.unpin(tenant, holder)
        except GnjError as error:
            logger.warning("what the content job %d wrote will be taken back later: %s", id, error)

    def _drop(self, tenant: str, holder: Holder, environment_id: str) -> None:
        """Hides a reserved environment and frees its alias, at once if that can be; whoever sweeps does the rest, or all of it."""
        try:
            with suppress(NotFound, Stale):  # somebody else has done it, or is at it
                self.content.store.step(tenant, holder, DropEnvironment(environment_id=environment_id), None)
        except GnjError as error:
            logger.warning("the environment %s will be removed later: %s", environment_id, error)


def _named(name: str, what: str = "jobName") -> str:
    """A name for people, that is not blank."""
    if not check_text(name, what, maximum=MAX_NAME).strip():
        raise InvalidInput(f"{what} must not be blank")
    return name


def _deleted(
    site_id: str | None, filter: str | None, kinds: Sequence[str] | None, *, filtered: bool
) -> dict[str, Json]:
    """What of content is to be deleted, as params."""
    warnings: Sequence[str] = ()
    if filtered:
        parsed = filters.parse(filter)
        warnings = parsed.warnings
        if not parsed.filter.conditions:
            raise InvalidInput("filter must have a condition: without one, everything would be deleted")
    elif site_id is None:
        raise InvalidInput("siteId or filter must be given: what is to be deleted")
    chosen = KINDS[:2] if kinds is None else kinds
    if not chosen:
        raise InvalidInput("deleteContentTaskTypes must not be empty: null means entries and assets")
    for kind in chosen:
        if kind == FIELD:
            raise InvalidInput(f"deleteContentTaskTypes: {FIELD} needs isDeleteFieldJob: true")
        if kind not in KINDS:
            raise InvalidInput(f"deleteContentTaskTypes must be of {', '.join(KINDS)}, not {shown(kind)}")
    return {
        "filter": filter if filtered else None,
        "warnings": list(warnings),
        "kinds": [kind for kind in KINDS if kind in chosen],
    }


def _alias(alias: str) -> str:
    if not _ALIAS.fullmatch(check_text(alias, "newEnvironmentAlias")):
        raise InvalidInput(
            "newEnvironmentAlias must have 1 to 63 lower-case letters, digits and hyphens, the first of them no hyphen, "
            f"not {shown(alias)}"
        )
    return alias
