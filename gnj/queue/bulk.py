"""Retrying or removing many jobs at once: a job of its own, `gnj:bulk`, that goes through them page by page.

Each page is one transaction, and the progress of the bulk job, with the place that was reached, is part of it: whoever goes on
after a crash, a lost lease or a stop begins behind the last page that was committed, and no job is counted twice.

What is to be done stands in the input of the bulk job. Anybody may read it, and write one like it into a job, which takes less than to
retry or remove others. So the job's `custom_id` seals it, under the secret that only servers know: what was not asked for here, or was
changed since, is not done.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from gnj.queue import deletes, jobs
from gnj.queue.clock import of_number
from gnj.queue.derived import in_state
from gnj.queue.errors import CancelRequested, IllegalTransition, InvalidInput, JobNotFound, Snooze
from gnj.queue.model import Job, attributes
from gnj.queue.options import check_queue
from gnj.queue.shared_secret import SharedSecret
from gnj.queue.states import JOB_UNFINISHED, JobStatus
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.values import MAX_INT64, MAX_NAME, Json, check_int, check_text, shown
from gnj.queue.where import MAX_PATTERN, And, Compare, Condition, Op, Or, Where, equal, parse

TYPE: Final = "gnj:bulk"
"""The type of bulk jobs."""
ACTIONS: Final = ("retry", "remove")
STATES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "retry": ("failed",),
        "remove": ("waiting", "prioritized", "delayed", "completed", "failed", "waiting-children"),
    }
)
"""The states of the jobs that each action can be meant for."""
MAX_ATTEMPTS: Final = 5
BACKOFF: Final = MappingProxyType({"type": "exponential", "delay": 1000})
"""How often a bulk job is begun again that failed, as where the database is away, and after how long."""
MOST: Final = 100
"""Bulk jobs of a tenant that have not ended."""
PAGE: Final = 200
"""Jobs of one transaction."""
MAX_MOMENT: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_FIELDS: Final = ("statuses", "name", "before", "after", "failedReason")
_KNOWN: Final = attributes(Job)


@dataclass(frozen=True, slots=True)
class Task:
    """What a bulk job is to do, checked.

    Args:
        action: One of `ACTIONS`.
        queue: The type of the jobs.
        filter: Which of them, as a client wrote it.
    """

    action: str
    queue: str
    filter: Mapping[str, Json]


def checked(wish: Json) -> Task:
    """What is asked for: `{action, queue, filter: {statuses, name?, before?, after?, failedReason?}}`. Raises `InvalidInput`,
    naming the field.
    """
    action, queue, filter = (wish.get(name) for name in ("action", "queue", "filter"))
    if action not in ACTIONS:
        raise InvalidInput(f"action must be one of {', '.join(ACTIONS)}, not {shown(action)}")
    check_queue(queue)
    if not isinstance(filter, dict):
        raise InvalidInput(f"filter must be an object, not {shown(filter)}")
    for name in filter:
        if name not in _FIELDS:
            raise InvalidInput(f"Unexpected field: filter.{name[:100]}; there are: {', '.join(_FIELDS)}")
    statuses = filter.get("statuses")
    if not isinstance(statuses, list) or not statuses:
        raise InvalidInput(f"filter.statuses must be a list of states, not {shown(statuses)}")
    for status in statuses:
        if status not in STATES[action]:
            raise InvalidInput(f"Invalid status: {shown(status)}; jobs to {action} can be: {', '.join(STATES[action])}")
    if "name" in filter:
        check_text(filter["name"], "filter.name", maximum=MAX_NAME, empty=False)
    if "failedReason" in filter:
        check_text(filter["failedReason"], "filter.failedReason", maximum=MAX_PATTERN, empty=False)
    for name in ("before", "after"):
        if name in filter:
            check_int(filter[name], f"filter.{name}", low=0, high=MAX_MOMENT)
    return Task(action, queue, filter)


def start(unit: Unit, tenant: str, task: Task, secret: str) -> Job:
    """Stores the job that does it, sealed with the secret that all servers share. Raises `InvalidInput` where there are `MOST`."""
    if unit.tx.count(Job, equal(Job, type=TYPE, status=JOB_UNFINISHED), tenant=tenant) >= MOST:
        raise InvalidInput(f"at most {MOST} bulk jobs can be under way: wait until one has ended, or cancel one")
    newest = unit.tx.find(Job, Select(order=(("id", True),), limit=1, deleted=True))
    upto = newest[0].id if newest else 0
    input = {"action": task.action, "queue": task.queue, "filter": dict(task.filter), "upto": upto}
    row = {
        "type": TYPE,
        "name": task.action,
        "input": input,
        "custom_id": _sealed(secret, secrets.token_hex(8), tenant, input),
        "max_attempts": MAX_ATTEMPTS,
        "backoff": dict(BACKOFF),
    }
    (job,) = jobs.create(unit, tenant, [row])
    return job


def work(queue: SharedSecret, job: Job, stopped: Callable[[], bool]) -> Json:
    """Does what a claimed bulk job says, from where it was left; what it came to: `{total, done, changed, failed}`.

    Args:
        queue: Where the jobs are.
        job: As it was claimed.
        stopped: Asked before each page: once it says yes, the rest is left to the next claim.

    Raises `Snooze` when it was stopped, `CancelRequested` when it is to be cancelled, `LeaseLost` once the claim is over,
    `InvalidInput` for a job that `start` did not make.
    """
    task, upto = _told(job, queue.shared_secret())
    reached = _Reached.of(job.progress)
    if reached is None:
        with queue.storage.begin(write=False) as tx:
            reached = _Reached(tx.count(Job, _which(task, job.tenant, tx.now(), 0, upto)))
    while True:
        if stopped():
            raise Snooze(0)
        state = reached

        def page(unit: Unit, state: _Reached = state) -> tuple[_Reached, JobStatus] | None:
            which = _which(task, job.tenant, unit.tx.now(), state.cursor, upto)
            found = unit.tx.find(Job, Select(which, order=(("id", False),), limit=PAGE))
            if not found:
                return None
            after = state.behind(found, _DO[task.action](unit, job.tenant, found))
            told = jobs.Update(id=job.id, values={"progress": after.told()}, attempt=job.attempt, replace=True)
            return after, jobs.update(unit, job.tenant, told).status

        done = queue.run(page)
        if done is None:
            return reached.summary()
        reached, status = done
        if status is JobStatus.CANCEL_REQUESTED:
            raise CancelRequested(f"stopped after {reached.done:,} jobs")


@dataclass(frozen=True, slots=True)
class _Reached:
    """How far a bulk job is: what it keeps in its progress."""

    total: int
    """Jobs that were meant when it began."""
    done: int = 0
    """Jobs that were looked at."""
    changed: int = 0
    failed: int = 0
    """Those of them that could not be changed."""
    cursor: int = 0
    """The id of the last one."""

    @classmethod
    def of(cls, progress: Json) -> _Reached | None:
        """What a progress says; None where nothing was stored yet, or somebody else wrote there."""
        if not isinstance(progress, dict):
            return None
        values = [progress.get(name) for name in cls.__dataclass_fields__]
        numbers = [value for value in values if type(value) is int and 0 <= value <= MAX_INT64]
        return cls(*numbers) if len(numbers) == len(values) else None

    def behind(self, page: Sequence[Job], changed: int) -> _Reached:
        """What it is after a page of which so many jobs were changed."""
        return replace(
            self,
            done=self.done + len(page),
            changed=self.changed + changed,
            failed=self.failed + len(page) - changed,
            cursor=page[-1].id,
        )

    def summary(self) -> dict[str, Json]:
        """What is of interest in the end."""
        return {"total": self.total, "done": self.done, "changed": self.changed, "failed": self.failed}

    def told(self) -> dict[str, Json]:
        """The progress to be stored."""
        percent = min(100, 100 * self.done // max(1, self.total))
        return {**self.summary(), "cursor": self.cursor, "percent": percent}


def _which(task: Task, tenant: str, now: datetime, beyond: int, upto: int) -> Condition:
    """The jobs that are meant, with ids above `beyond`, to `upto`."""
    filter, id, created = task.filter, _KNOWN["id"], _KNOWN["created_at"]
    parts: list[Condition] = [
        equal(Job, type=task.queue, tenant=tenant),
        Compare(id, (), "gt", beyond),
        Compare(id, (), "lte", upto),
        Or(tuple(in_state(state, now) for state in dict.fromkeys(filter["statuses"]))),
    ]
    if (name := filter.get("name")) is not None:
        # who was given no name shows the queue's
        parts.append(Or((equal(Job, name=name), *([equal(Job, name=None)] if name == task.queue else []))))
    if "before" in filter:
        parts.append(Compare(created, (), "lt", of_number(filter["before"])))
    if "after" in filter:
        parts.append(Compare(created, (), "gte", of_number(filter["after"])))
    if (text := filter.get("failedReason")) is not None:
        error = parse(Job, Where(output={"error": Op("substring", text)}))
        reasons: list[Condition] = [And((equal(Job, status=JobStatus.FAILED), error))]
        if text in CANCELLED:
            reasons.append(equal(Job, status=JobStatus.CANCELLED))
        parts.append(Or(tuple(reasons)))
    return And(tuple(parts))


CANCELLED: Final = "cancelled"
"""Why a job failed, in the words of the queue contract, that was cancelled."""


def _retry(unit: Unit, tenant: str, page: Sequence[Job]) -> int:
    """Retries the jobs of a page; how many could be."""
    alone = [job for job in page if not job.is_member and job.replaced_by is None]
    done = {job.id for job in jobs.requeue_together(unit, alone) if job is not None}
    for job in page:
        if job.id not in done:
            with suppress(IllegalTransition, JobNotFound):
                done.add(jobs.requeue(unit, tenant, job.id).id)
    return len(done)


def _remove(unit: Unit, tenant: str, page: Sequence[Job]) -> int:
    """Removes the jobs of a page; how many could be."""
    alone = tuple(job.id for job in page if not job.is_member)
    removed = deletes.delete_jobs(unit, And((equal(Job, id=alone), deletes.ALONE))) if alone else 0
    for job in page:
        if job.is_member:
            with suppress(IllegalTransition, JobNotFound):
                deletes.delete(unit, Job, tenant, job.id)
                removed += 1
    return removed


_DO: Final[Mapping[str, Callable[[Unit, str, Sequence[Job]], int]]] = MappingProxyType(
    {"retry": _retry, "remove": _remove}
)


def _told(job: Job, secret: str) -> tuple[Task, int]:
    """What a bulk job is to do, and up to which id. Raises `InvalidInput` unless it is as `start` made it."""
    salt = (job.custom_id or "").partition("-")[0]
    if not hmac.compare_digest((job.custom_id or "").encode(), _sealed(secret, salt, job.tenant, job.input).encode()):
        raise InvalidInput("what is to be done was not asked for over the REST API, or was changed since")
    return checked(job.input), check_int(job.input["upto"], "upto", low=0)


def _sealed(secret: str, salt: str, tenant: str, input: Json) -> str:
    """The id of a bulk job: its salt, and an HMAC of that, the tenant and the input."""
    text = json.dumps([salt, tenant, input], sort_keys=True)
    return f"{salt}-{hmac.digest(bytes.fromhex(secret), f'bulk|{text}'.encode(), hashlib.sha256).hex()}"
