"""What the handler of a content task is given, and the loop that all long operations share.

A task tells how far it has come with checkpoints. One is one transaction: where another try goes on, the lines logged since the
last one, the counts. So a log and a cursor never disagree: what a killed try had done and logged beyond its last checkpoint is
done, and logged, again by the next one.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from gnj.content.application import Content
from gnj.content.store import Busy, DropEnvironment, Holder, Operation, Stale
from gnj.content.tasklog import TaskLog
from gnj.queue import works
from gnj.queue.errors import (
    CancelPending,
    CancelRequested,
    Conflict,
    Failed,
    GnjError,
    LeaseLost,
    NotFound,
    Snooze,
    StorageError,
    StorageUnavailable,
)
from gnj.queue.model import Job
from gnj.queue.model_content import ContentJob, ContentType
from gnj.queue.states import JobStatus
from gnj.queue.values import Json

logger = logging.getLogger("gnj.content")

EVERY: Final = 1.0
"""Seconds between two checkpoints: so much of a log is lost at most when a worker is killed."""
MANY: Final = 200
"""Lines that make a checkpoint due before that."""
_BUSY: Final = 1.0
"""Seconds after which a task that gave way to another content job looks again, the first time."""
_BUSIER: Final = 1.1
"""How many times as long it waits each time that follows: about a tenth of the time for which it has waited."""
_LONGEST_BUSY: Final = 30.0
"""Seconds between two of those looks, at most: of a thousand tasks that wait, each costs a claim."""
_OUTAGE: Final = 2.0
"""Seconds after which a task is tried again whose storage could not be reached; twice as many after each time that follows."""
_LONGEST_OUTAGE: Final = 60.0
"""Seconds between two of those tries, at most."""
_OUTAGES: Final = 20
"""Tries without a step forward after which a storage that cannot be reached fails a task: after about a quarter of an hour."""
_TAKEOVERS: Final = 3
"""Writers that are over, of one environment, that a task clears away before it gives way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the work of a task comes to that has written to environments: all that is left is to publish these.

    It is noted before the first is published. So a try that comes after a crash in between publishes what is not published yet,
    and does nothing else.
    """

    environments: Sequence[str]
    """The ids of those that the task is the writer of."""
    output: Mapping[str, Json]
    """The task's output; the content job's `result` has the environments besides."""
    told: str | None = None
    """A line for the log, once they are published."""
    failed: str | None = None
    """Why the task fails though they are published."""


class Task:
    """One try of a task of a content job.

    Args:
        content: What it works with.
        claim: The core job, as it was claimed.
        row: The content job.
        stopping: Whether the worker is to end soon: between two steps the task then gives way, and goes on later.
        cancelled: Whether the task was asked to stop. May raise `LeaseLost`.
    """

    def __init__(
        self,
        content: Content,
        claim: Job,
        row: ContentJob,
        *,
        stopping: Callable[[], bool] = lambda: False,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.content = content
        self.job = claim
        self.row = row
        self.tenant = claim.tenant
        self.params: Mapping[str, Json] = row.params or {}
        """What it goes by; checked when the content job was made."""
        self.holder = Holder(row.id, claim.id, claim.attempt)
        self.log = TaskLog()
        self.progress: dict[str, Json] = dict(claim.progress) if isinstance(claim.progress, dict) else {}
        """What the last checkpoint stored of the task."""
        self.cursor: Json = self.progress.get("cursor")
        """As the last checkpoint left it; None at the beginning."""
        self._stopping = stopping
        self._cancelled = cancelled
        self._due = 0.0
        self._done: int = self.progress.get("done") or 0
        self._total: int | None = self.progress.get("total")
        self._covered = 0
        """Lines that wait and were logged before the last call of `checkpoint`: those that `cursor` accounts for."""

    def checkpoint(
        self,
        cursor: Json,
        *,
        done: int,
        total: int | None,
        force: bool = False,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Notes that all before `cursor` is done, with the lines logged since; at most once a second unless forced, or many lines
        wait.

        Args:
            cursor: Where another try goes on.
            done: Of `total`, for the progress.
            total: None: unknown.
            force: Now, whatever the time.
            changes: What else changes of the content job (`Queue.checkpoint`); noted at once.

        Raises `CancelRequested` when the task was asked to stop, `LeaseLost` when the claim is over, `Snooze` when the worker
        is to end.
        """
        before = self.cursor, self._done, self._total, self._covered
        self.cursor, self._done, self._total, self._covered = cursor, done, total, self.log.waiting
        stopping, cancelled = self._stopping(), self._cancelled()
        if not (force or changes or stopping or cancelled or time.monotonic() >= self._due or self.log.waiting >= MANY):
            return
        try:
            self._store(self._reached(), changes)
        except StorageError:  # what changes besides the cursor was not noted, or may not have been
            self.cursor, self._done, self._total, self._covered = before
            raise
        if stopping:
            raise Snooze(0)

    def run(self, operation: Operation, at: int = 0) -> int:
        """Does an operation of the store to its end, from `cursor` on, with a checkpoint after each step; how many rows it came to,
        those of earlier tries too.

        Args:
            operation: What to do. Its environment is open if it needs that.
            at: Of a task that does several operations: which one this is, from 0. They are done in this order; one that an
                earlier try has done is passed over.

        Raises as `checkpoint`.
        """
        reached = self.cursor if isinstance(self.cursor, dict) else {}
        counts: list[int] = list(reached.get("done", ()))[: at + 1]
        counts += [0] * (at + 1 - len(counts))
        if reached.get("at", 0) > at:
            return counts[at]
        cursor = reached.get("cursor") if reached.get("at") == at else None
        while True:
            step = self.content.store.step(self.tenant, self.holder, operation, cursor)
            for note in step.notes:
                self.log.add(note)
            counts[at] += step.done
            cursor = step.cursor
            told = {"at": at + 1, "done": counts} if step.over else {"at": at, "cursor": cursor, "done": counts}
            counts = counts.copy()
            self.checkpoint(told, done=counts[at], total=step.total, force=step.over)
            if step.over:
                return counts[at]

    def open(self, environment_id: str) -> None:
        """Makes this task the environment's writer. A writer whose content job is over is abandoned first; for any other, the
        task gives way: raises `Snooze`, which counts no attempt.
        """
        other = self.try_open(environment_id)
        if other is not None:
            self.give_way(other)

    def give_way(self, other: Holder) -> NoReturn:
        """Waits until another content job is over: raises `Snooze`, with more seconds each time. The log says so once."""
        noted = self.progress.get("waits")
        waits = noted if isinstance(noted, dict) and noted["job"] == other.job else None
        if waits is None:
            waits = {"job": other.job, "since": self.job.attempt}
            self.log.keep(self._covered)
            self.log.info("it waits for the job %d, which changes the same environment", other.job)
            self._store({**self._reached(), "waits": waits}, None)
        times = self.job.attempt - int(waits["since"])
        raise Snooze(min(_LONGEST_BUSY, _BUSY * _BUSIER ** min(times, 100)))

    def try_open(self, environment_id: str) -> Holder | None:
        """`open` that gives the other writer, rather than to give way to it; None: this task is the writer."""
        store, tries = self.content.store, 0
        while True:
            try:
                store.open(self.tenant, environment_id, self.holder)
            except Busy as busy:
                other = busy.holder
            else:
                return None
            if tries == _TAKEOVERS or not self.content.queue.content_over(self.tenant, other.job):
                return other
            store.abandon(self.tenant, other)
            tries += 1

    def publish(self, written: Written) -> None:
        """Publishes what was written, once, whatever is killed in between: all environments or none. Raises as `checkpoint` before
        that; `Stale` or `NotFound` where there is one that this task cannot publish any more.
        """
        store, noted = self.content.store, self.progress.get("written")
        versions: dict[str, int]
        if isinstance(noted, dict):
            versions = noted["versions"]
        else:
            versions = {id: self._version(id) for id in written.environments}
            told = {**self._reached(), "written": {"work": asdict(written), "versions": versions}}
            self._store(told, {"result": {**written.output, "environments": list(versions)}})
        if noted is None or not self._published(versions):
            for id in versions if noted is not None else ():
                if self.try_open(id) is not None:
                    raise Stale
            if versions:
                first, *others = versions
                store.publish(self.tenant, first, self.holder, also=others)
        if written.told is not None:  # stored with the task's end, so that it is there once
            self.log.info("%s", written.told)

    def written(self) -> Written | None:
        """What an earlier try was about to publish."""
        noted = self.progress.get("written")
        return Written(**noted["work"]) if isinstance(noted, dict) else None

    def outage(self, error: GnjError) -> float | None:
        """Notes that the storage, of whatever it is, could not be used, and says so once; seconds to wait, or None where it was tried
        often enough and the task came no further. Raises what the note itself comes to.
        """
        noted = self._outage()
        count = 1 if noted is None else int(noted["count"]) + 1
        if count > _OUTAGES:
            return None
        self.log.keep(self._covered)
        if noted is None:
            self.log.warning("it is tried again: %s", error)
        done = self._done if noted is None else max(self._done, noted["done"])
        told = {"count": count, "cursor": self.cursor, "done": done}
        self._store({**self._reached(), "outage": told}, None)
        return min(_LONGEST_OUTAGE, _OUTAGE * 2.0 ** (count - 1))

    def end(self, end: Mapping[str, Json]) -> None:
        """Notes how the task ended, with the lines that wait: another try has nothing left to do but to say so. Raises
        `LeaseLost`.
        """
        self._store({**self.progress, **end}, None, last=True)

    def _reached(self) -> dict[str, Json]:
        """The progress as it now is."""
        done, total = self._done, self._total
        percent = None if not total else min(100.0, round(100 * done / total, 1))
        kept: dict[str, Json] = {name: self.progress[name] for name in ("written", "waits") if name in self.progress}
        if (outage := self._outage()) is not None:
            kept["outage"] = outage
        return {"cursor": self.cursor, "done": done, "total": total, "percent": percent, **kept}

    def _outage(self) -> dict[str, Any] | None:
        """The outage that is noted, unless the task has come further since."""
        noted = self.progress.get("outage")
        if not isinstance(noted, dict) or self.cursor != noted["cursor"] or self._done > noted["done"]:
            return None
        return noted

    def _published(self, versions: Mapping[str, int]) -> bool:
        """Whether an earlier try has published these environments, of which it had noted the versions: nobody else does while this
        task is their writer. One of them may have been removed since.
        """
        found = (self.content.store.environment(self.tenant, id) for id in versions)
        return any(each is not None and each.version > versions[each.id] for each in found)

    def _version(self, environment_id: str) -> int:
        found = self.content.store.environment(self.tenant, environment_id)
        if found is None:
            raise NotFound(f"the environment {environment_id} was removed")
        return found.version

    def _store(self, progress: dict[str, Json], changes: Mapping[str, Any] | None, *, last: bool = False) -> None:
        lines = self.log.peek()
        try:
            job = self.content.queue.checkpoint(
                self.job, progress, lines, changes=changes, beyond=self.content.limits.logs
            )
        except CancelPending:
            raise CancelRequested("the content job was cancelled") from None
        self.log.drop(len(lines))
        self._covered = max(0, self._covered - len(lines))
        self.progress = progress
        self._due = time.monotonic() + EVERY
        if job.status is JobStatus.CANCEL_REQUESTED and not last:
            raise CancelRequested("the content job was cancelled")


Work: TypeAlias = Callable[[Task], Json | Written]
"""Does a task and gives its output, or what is to be published. A `GnjError` it raises is told; anything else only by an error id."""


class Signals(Protocol):
    """What a handler learns from its worker: `gnj.worker.Context`."""

    @property
    def cancel_requested(self) -> bool:
        """Whether it should stop."""

    @property
    def lease_lost(self) -> bool:
        """Whether its claim is over."""


def handled(content: Content, work: Work, *, stopping: Callable[[], bool] = lambda: False) -> Callable[..., Json]:
    """The handler, `(job, ctx)`, of the tasks that `work` does.

    It refuses jobs that are no tasks of a content job of their tenant; takes back what was written and not published when
    the task fails or is cancelled; and gives way (`Snooze`) where trying again can help.
    """

    def handle(job: Job, ctx: Signals) -> Json:
        def cancelled() -> bool:
            if ctx.lease_lost:
                raise LeaseLost
            return ctx.cancel_requested

        try:
            row = content.queue.content_task(job)
            return _tried(Task(content, job, row, stopping=stopping, cancelled=cancelled), work)
        except (Busy, Conflict, StorageUnavailable) as error:
            logger.info("task %d is tried again: %s", job.id, error)
            raise Snooze(_BUSY if isinstance(error, Busy) else _OUTAGE) from error

    return handle


def _tried(task: Task, work: Work) -> Json:
    """What a try comes to; see `handled`. Raises besides what can go well when tried again."""
    end = task.progress.get("end")
    if isinstance(end, dict):  # its worker was killed before it could say so
        if "failed" in end:
            _take_back(task)
            raise Failed(str(end["failed"]))
        return end.get("output")
    try:
        _begin(task)  # an outage that is noted before it would be taken for the beginning
        return _done(task, work)
    except (Busy, Conflict, StorageUnavailable, LeaseLost, Snooze):
        raise
    except CancelRequested:
        _take_back(task)
        raise
    except Stale:
        reason = "somebody else changes the environment now, or it was removed"
    except Failed as error:
        reason = error.reason
    except GnjError as error:
        reason = str(error)
    except Exception:
        id = secrets.token_hex(4)
        logger.exception("error %s in task %d of content job %d", id, task.job.id, task.row.id)
        reason = f"Internal error {id}"
    task.log.error("%s", reason)
    task.end({"end": {"failed": reason}})
    _take_back(task)  # after that is stored: a try that goes on would miss what is taken back
    raise Failed(reason)


def _done(task: Task, work: Work) -> Json:
    """Does the task. Raises `Snooze` where the storage cannot be used now."""
    try:
        output = task.written() or work(task)
        if isinstance(output, Written):
            task.publish(output)
            if output.failed is not None:
                raise Failed(output.failed)
            output = dict(output.output)
        task.end({"percent": 100.0, "end": {"output": output}})
    except (Conflict, StorageUnavailable) as error:
        seconds = task.outage(error)
        if seconds is None:
            raise Failed(str(error)) from error
        logger.info("task %d is tried again: %s", task.job.id, error)
        raise Snooze(seconds) from error
    return output


def _begin(task: Task) -> None:
    """The first checkpoint, by which the content job is seen to be active."""
    if not task.progress and works.task_ids(task.row)[:1] == [task.job.id]:
        for warning in task.params.get("warnings") or ():
            task.log.warning("%s", warning)
    done, total = task.progress.get("done", 0), task.progress.get("total")
    task.checkpoint(task.cursor, done=done, total=total, force=True)


def _take_back(task: Task) -> None:
    """Nothing that was not published stays. What cannot be taken back now is by whoever wants to write next, or sweeps."""
    store = task.content.store
    undos = [partial(undo, task.tenant, task.holder) for undo in (store.abandon, store.unpin)]
    if task.row.type is ContentType.CREATE_ENVIRONMENT:
        undos.append(partial(_unmake, task))
    for undo in undos:
        try:
            undo()
        except Exception:
            logger.exception("what task %d of content job %d wrote was not taken back", task.job.id, task.row.id)


def _unmake(task: Task) -> None:
    """Frees the alias of the environment that was to be made; whoever sweeps removes the rest. One that can be seen stays."""
    environment_id = str(task.params["environment"])
    if task.content.store.environment(task.tenant, environment_id) is None:
        with suppress(NotFound, Stale):
            drop = DropEnvironment(environment_id=environment_id)
            task.content.store.step(task.tenant, task.holder, drop, None)
