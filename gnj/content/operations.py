"""The tasks that the store does by itself, in steps: each chooses the operation and has it run.

What a task has changed it notes before it publishes it: whatever is killed in between, the tasks that follow know of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gnj.content.filters import EVERYTHING, parse
from gnj.content.model import Environment
from gnj.content.recurring import RecurringJobs
from gnj.content.store import (
    CloneSite,
    CopyEnvironment,
    Delete,
    DeleteField,
    DropEnvironment,
    Operation,
    Reindex,
    SyncEnvironment,
    What,
)
from gnj.content.task import Task, Written
from gnj.queue import works
from gnj.queue.errors import Failed, NotFound
from gnj.queue.model_content import ContentType
from gnj.queue.values import Json


def delete_content(task: Task) -> Written:
    """DELETE_CONTENT: deletes, or takes a field away.

    In the environment of the site that is named, else in the default one. What is not told in the params is never made up for: it
    would be more than was asked for.
    """
    store, params = task.content.store, task.params
    site_id, model = (_told(params, name) for name in ("site_id", "model"))
    store.ready(task.tenant)
    site = None if site_id is None else store.site(task.tenant, site_id)
    environment = _environment(task, None if site is None else site.environment_id)
    operation: Operation
    if task.row.type is ContentType.DELETE_FIELD:
        operation = DeleteField(
            environment_id=environment.id, site_id=site_id, model=model, field=_told(params, "field")
        )
    else:
        kinds = _told(params, "kinds")
        filtered = task.row.type is ContentType.DELETE_FILTERED_CONTENT
        filter = parse(_told(params, "filter")).filter if filtered else EVERYTHING
        # all of this was refused when the job was made: nothing may ever widen a delete
        if filtered and not filter.conditions:
            raise Failed("a filter without conditions deletes nothing")
        if not filtered and site_id is None:
            raise Failed("neither a site nor a filter says what is to be deleted")
        if not kinds:
            raise Failed("the params do not tell what of content is to be deleted: kinds")
        operation = Delete(
            environment_id=environment.id,
            filter=filter,
            site_id=site_id,
            model=model,
            entries="DELETE_ENTRIES" in kinds,
            assets="DELETE_ASSETS" in kinds,
            labels="DELETE_TAGS" in kinds,
        )
    return _written(task, operation, environment.id, "changed")


def reindex(task: Task, what: What) -> Json:
    """REINDEX_* and SYNC_INDEXED_DATA: brings what is derived up to date in the environments that the tasks before have changed
    (`row.result["environments"]`).

    The last task of a job does all of it, "general", whatever its name: of what the tasks before have done nothing is left to do,
    and no job ends without what was derived from deleted entries being gone, and a purge of what nobody can see any more.
    """
    last = works.task_ids(task.row)[-1:] == [task.job.id]
    return {"indexed": _indexed(task, works.changed(task.row), "general" if last else what)}


def copy_environment(task: Task) -> Json:
    """CLONE_DATABASE_DATA: fills the reserved environment."""
    new = task.params["environment"]
    task.content.store.own(task.tenant, new, task.row.id)
    done = task.run(CopyEnvironment(base=task.params["base"], environment_id=new))
    result = {"copied": done, "environments": [new]}
    task.checkpoint(task.cursor, done=done, total=done, changes={"result": result})
    task.content.store.unpin(task.tenant, task.holder)
    return {"copied": done}


def finish_environment(task: Task) -> Json:
    """CLONE_INDEXED_DATA: indexes the new environment, then has it seen."""
    indexed = _indexed(task, [task.params["environment"]], "general", must=True)
    store, new = task.content.store, task.params["environment"]
    if store.environment(task.tenant, new) is None:  # else an earlier try published it, and others may write to it now
        store.publish(task.tenant, new, task.holder)
    task.log.info("the environment can be seen")
    return {"indexed": indexed}


def sync_environment(task: Task) -> Written:
    """SYNC_DATABASE_DATA: makes the target equal to the base."""
    base, target = task.params["base"], task.params["target"]
    written = _written(task, SyncEnvironment(base=base, target=target), target, "compared")
    task.content.store.unpin(task.tenant, task.holder)
    return written


def drop_environment(task: Task) -> Json:
    """DELETE_ENVIRONMENT_DATA: unless a recurring sync was made of it since the job was."""
    environment_id = task.params["environment"]
    if task.cursor is None and (about := RecurringJobs(task.content.queue).about(task.tenant, environment_id)):
        ids = ", ".join(str(each.schedule.id) for each in about)
        raise Failed(f"recurring jobs are about this environment, delete them first: {ids}")
    return {"removed": task.run(DropEnvironment(environment_id=environment_id))}


def clone_site(task: Task) -> Written:
    """CLONE_SITE: copies the site."""
    params = task.params
    site = task.content.store.site(task.tenant, params["site"])
    if site is None:
        raise NotFound(f"there is no site {params['site']!r}")
    operation = CloneSite(
        site_id=site.id,
        new_id=f"site_{works.mark(task.row)[:24]}",
        alias=params["alias"],
        name=params["name"],
        logo=params["logo"],
    )
    return _written(task, operation, site.environment_id, "copied")


def _told(params: Mapping[str, Json], name: str) -> Any:
    if name not in params:
        raise Failed(f"the params do not tell what of content is to be deleted: {name}")
    return params[name]


def _written(task: Task, operation: Operation, environment_id: str, told: str) -> Written:
    """Runs an operation as the writer of an environment."""
    task.open(environment_id)
    return Written(environments=[environment_id], output={told: task.run(operation)})


def _indexed(task: Task, environments: Sequence[str], what: What, *, must: bool = False) -> int:
    done = 0
    for at, environment_id in enumerate(environments):
        try:
            done += task.run(Reindex(environment_id=environment_id, what=what), at)
        except NotFound:
            if must:
                raise
            task.log.warning("the environment %s was removed meanwhile", environment_id)
    return done


def _environment(task: Task, named: str | None) -> Environment:
    found = task.content.store.environment(task.tenant, named)
    if found is None:
        raise NotFound("the organisation has no such environment")
    return found
