"""What happens to jobs, told to whoever wants to know.

The rules tell (`Unit.tell`); nothing is written down unless somebody listens. A hook of this process is called after the
commit, by the process that made the change. A durable hook is a row that every process sees: for each event it wants, a job
of the type `hook:NAME` is enqueued in the very transaction of the change, and so runs at least once, wherever the hook is
registered (decision 0008).
"""

from __future__ import annotations

import inspect
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from gnj.queue.clock import After
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Attribute, Hook, Job, Kind, attributes
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows, Select
from gnj.queue.values import Json, check_word, dump_json, shown
from gnj.queue.where import equal

logger = logging.getLogger("gnj.hooks")

NAMES: Final = (
    "created",
    "started",
    "progressed",
    "succeeded",
    "retrying",
    "failed",
    "cancelled",
    "recovered",
    "deleted",
)
"""What can happen to a job. A try that failed or lost its lease and is followed by another one is `retrying`."""
HOOK: Final = "hook:"
"""How the types of the jobs begin that run durable hooks."""

_BY_STATUS: Final[Mapping[JobStatus, str]] = MappingProxyType(
    {
        JobStatus.SUCCESSFUL: "succeeded",
        JobStatus.FAILED: "failed",
        JobStatus.CANCELLED: "cancelled",
        JobStatus.PROCESSING: "started",
    }
)
_BY_MOVE: Final[Mapping[str, str]] = MappingProxyType(
    {"fail": "retrying", "lose": "retrying", "recover": "recovered", "requeue": "recovered"}
)

_LARGE: Final = 100_000
"""Characters of JSON above which a value of the job is not told to durable hooks: an event must never be too large to store."""
_FRESH: Final = 1.0
"""Seconds for which the list of durable hooks is taken for true."""
EARLY: Final = 0.75
"""The part of the time, for which something looked up is taken for true, after which who has nothing better to do looks anew: so
that who has need not.
"""
_RENEW: Final = 60.0
"""Seconds after which an idle process looks whether its durable hooks are still known."""
_LIFE: Final = 7 * 86_400.0
"""Seconds after which a durable hook that no process has any more is forgotten."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job.

    Args:
        name: One of `NAMES`.
        job: The job right after it.
        previous: The status it had before; None for one that was created.
        at: When.
    """

    name: str
    job: Job
    previous: JobStatus | None
    at: datetime


def name_of(move: str | None, before: JobStatus, after: JobStatus) -> str | None:
    """What the move from one status to another is called, if anybody is told of it at all."""
    if before is after:
        return None
    return _BY_STATUS.get(after) or (_BY_MOVE.get(move or "") if after is JobStatus.QUEUED else None)


def check_names(names: Sequence[object]) -> tuple[str, ...]:
    """The names, checked. Raises `InvalidInput`."""
    if not names:
        raise InvalidInput(f"name the events: {', '.join(NAMES)}")
    for name in names:
        if name not in NAMES:
            raise InvalidInput(f"there is no event {shown(name)}; there are: {', '.join(NAMES)}")
    return tuple(str(name) for name in dict.fromkeys(names))


class Hooks:
    """Who wants to know what, in this process and in all."""

    def __init__(self) -> None:
        self._here: dict[str, list[Callable[[Event], Any]]] = {}
        self._own: dict[str, frozenset[str]] = {}
        self._durable: Mapping[str, frozenset[str]] = {}
        self._looked = -math.inf
        self._publisher = _Publisher()

    def add(self, names: Sequence[str], hook: Callable[[Event], Any]) -> None:
        """Has `hook` called after every commit of this process that makes such events."""
        for name in check_names(names):
            self._here.setdefault(name, []).append(hook)

    def add_durable(self, name: str, names: Sequence[str]) -> str:
        """Makes a durable hook of that name known, with the next transaction; the type of the jobs that run it."""
        wants = frozenset(check_names(names))
        check_word(HOOK + check_word(name, "the name of a hook"), "the type of a hook's jobs")
        if name in self._own:
            raise InvalidInput(f"there is a durable hook {name!r} already: give this one a name of its own")
        self._own[name] = wants
        self._looked = -math.inf
        return HOOK + name

    def wanted(self, tx: Rows, name: str) -> bool:
        """Whether anybody wants such an event."""
        return name in self._here or any(name in wants for wants in self.durable(tx).values())

    def durable(self, tx: Rows, *, early: bool = False) -> Mapping[str, frozenset[str]]:
        """The durable hooks there are, and what each wants; looked up at most once a second, or `early`: see `EARLY`."""
        now = time.monotonic()
        if now - self._looked >= (_FRESH * EARLY if early else _FRESH):
            self._durable = self._read(tx)
            self._looked = now
        return self._durable

    def keep_known(self, run: Callable[[Callable[[Any], Any]], Any]) -> None:
        """Makes sure, in a transaction that `run` gives, of the durable hooks this process has, if nobody has for a while.

        Somebody has to, also when nothing happens.
        """
        if self._own and time.monotonic() - self._looked >= _RENEW:
            run(lambda unit: self.durable(unit.tx))

    def jobs_for(self, tx: Rows, events: Sequence[Event]) -> list[dict[str, Any]]:
        """The rows of the jobs by which durable hooks are told of `events`. Of such jobs themselves none is told."""
        durable = self.durable(tx)
        return [
            {"tenant": event.job.tenant, "type": HOOK + name, "name": event.name, "input": _described(event)}
            for event in events
            for name, wants in durable.items()
            if event.name in wants and not event.job.type.startswith(HOOK)
        ]

    def publish(self, events: Sequence[Event]) -> None:
        """Calls the hooks of this process, in order, on a thread of its own: a slow one must not keep a worker waiting."""
        calls = [(hook, event) for event in events for hook in self._here.get(event.name, ())]
        if calls:
            self._publisher.add(calls)

    def flush(self, timeout: float) -> bool:
        """Waits until the hooks of this process have been called for all there was; whether they were in time."""
        return self._publisher.flush(timeout)

    def _read(self, tx: Rows) -> Mapping[str, frozenset[str]]:
        found: dict[str, Hook] = {}
        for hook in tx.find(Hook):
            found.setdefault(hook.name, hook)
        now = tx.now() if found or self._own else None
        wants = {n: _words(hook.wants) for n, hook in found.items() if now is not None and hook.expires_at > now}
        for name, own in self._own.items():
            known = wants.get(name, frozenset())
            row = found.get(name)
            if row is not None and own <= known and now is not None and row.expires_at > now + timedelta(days=6):
                continue
            wants[name] = known | own
            changes: dict[str, Any] = {"wants": sorted(wants[name]), "expires_at": After(_LIFE)}
            if row is None:
                tx.insert(Hook, [{"name": name, **changes}])
            else:
                ids = [hook.id for hook in tx.find(Hook, Select(equal(Hook, name=name)))]
                tx.edit(Hook, ids, changes)
        return wants


def _described(event: Event) -> Json:
    row = {name: _plain(getattr(event.job, name)) for name in attributes(Job)}
    large = [name for name, value in row.items() if isinstance(value, (str, list, dict)) and _size(value) > _LARGE]
    return {
        "event": event.name,
        "previous": None if event.previous is None else str(event.previous),
        "at": event.at.isoformat(),
        "job": row | dict.fromkeys(large),
        "leftOut": large,
    }


def _size(value: Json) -> int:
    return len(dump_json(value))


def told(hook: Job) -> Event:
    """The event that a durable hook's job is about, in the tenant of that job.

    What another version wrote in it is passed over; what was too large to be told is None.
    """
    description: Any = hook.input
    previous, known = description["previous"], attributes(Job)
    job = {name: _valued(known[name], value) for name, value in description["job"].items() if name in known}
    return Event(
        name=description["event"],
        job=Job(**{**job, "tenant": hook.tenant}),
        previous=None if previous is None else JobStatus(previous),
        at=datetime.fromisoformat(description["at"]),
    )


def _plain(value: Any) -> Json:
    return value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, JobStatus) else value


def _valued(attribute: Attribute, value: Any) -> Any:
    if value is None:
        return None
    if attribute.kind is Kind.TIME:
        return datetime.fromisoformat(value)
    return value if attribute.enum is None else attribute.enum(value)


def _words(value: Json) -> frozenset[str]:
    return frozenset(str(word) for word in value) if isinstance(value, list) else frozenset()


class _Publisher:
    """Calls hooks one after the other, on a thread that lives as long as there are any to call.

    Not a daemon: a program that enqueues and ends still has its hooks called.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[Event], Any], Event]] = deque()
        self._running = False

    def add(self, calls: Sequence[tuple[Callable[[Event], Any], Event]]) -> None:
        with self._changed:
            self._calls.extend(calls)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="gnj-hooks").start()

    def flush(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._calls:
                    self._running = False
                    self._changed.notify_all()
                    return
                hook, event = self._calls.popleft()
            try:
                result = hook(event)
                if inspect.isawaitable(result):
                    import asyncio  # noqa: PLC0415 - takes as long to import as all of gnj; waits until it is needed

                    asyncio.run(_awaited(result))
            except Exception:
                logger.exception("a hook of the event %s failed for job %d", event.name, event.job.id)


async def _awaited(result: Any) -> None:
    await result
