"""The commands for recurring jobs, and who looks whether some are due."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gnj.queue import schedules
from gnj.queue.errors import GnjError, StorageError, StorageUnavailable
from gnj.queue.events import EARLY
from gnj.queue.fields import Spell, python_name
from gnj.queue.inputs import check_tenant
from gnj.queue.model import Job, Schedule, Tick
from gnj.queue.runner import Runner
from gnj.queue.storage import Select, Storage
from gnj.queue.values import check_bool, check_int
from gnj.queue.where import equal

logger = logging.getLogger("gnj.queue")

LOOK_EVERY: Final = 1.0
"""Seconds between two looks for what is due."""
_AHEAD: Final = timedelta(seconds=LOOK_EVERY)
"""What becomes due before the next look is waited for."""
_PAGE: Final = 100
"""Schedules that one look deals with at most; the next one follows at once if there are more."""
_LOOK: Final = 0.25
"""Seconds after which a look leaves the rest to the next one: a claim may be waiting."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A recurring job that is declared in code: attribute values, checked, and whose it is."""

    tenant: str
    values: Mapping[str, Any]


class Scheduling(Runner):
    """Recurring jobs."""

    def __init__(self, storage: Storage, *, declarations: Sequence[Declaration] = (), **options: Any) -> None:
        super().__init__(storage, **options)
        self._declarations = declarations
        self._declared = 0
        self._told = False
        self._ticked = -math.inf
        self._rings = math.inf
        self._ticking = threading.Lock()

    def create_schedule(
        self,
        values: Mapping[str, Any],
        *,
        tenant: str = "",
        spell: Spell = python_name,
        declared: bool = False,
        internal: bool = False,
    ) -> Schedule:
        """A recurring job from attribute values: `name`, `cron` and `time_zone` or `every_ms`, `job` (a mapping with the `type`, and
        what else its jobs shall have), `missed`, `may_overlap`, `paused`, `begins_at`, `ends_at`, `max_runs`.

        `declared`: as code may, with intervals of less than a minute, and any number. `internal`: with a job type of gnj's own.
        Raises `InvalidInput`, `Duplicate`.
        """
        owner = check_tenant(tenant)
        return self.run(
            lambda unit: schedules.create(unit, owner, values, spell=spell, declared=declared, internal=internal)
        )

    def update_schedule(
        self,
        id: int,
        values: Mapping[str, Any],
        *,
        tenant: str | None = None,
        spell: Spell = python_name,
        declared: bool = False,
    ) -> Schedule:
        """Changes a recurring job, from the present on: ticks that were missed until now are not made up for.

        Raises `NotFound`, `InvalidInput`, `Duplicate`.
        """
        number = check_int(id, "id")
        return self.run(lambda unit: schedules.update(unit, tenant, number, values, spell=spell, declared=declared))

    def delete_schedule(self, id: int, *, tenant: str | None = None) -> Schedule:
        """Deletes a recurring job; the jobs it has made stay. Raises `NotFound`."""
        number = check_int(id, "id")
        return self.run(lambda unit: schedules.remove(unit, tenant, number))

    def pause_schedule(self, id: int, *, paused: bool | None = None, tenant: str | None = None) -> Schedule:
        """Pauses a recurring job, or has it go on with its next tick, not with those it has missed; None: the other way.

        Raises `NotFound`.
        """
        number = check_int(id, "id")
        wanted = None if paused is None else check_bool(paused, "paused")
        return self.run(lambda unit: schedules.pause(unit, tenant, number, paused=wanted))

    def run_schedule(self, id: int, *, tenant: str | None = None) -> Job:
        """Makes a job of a recurring job now, paused or not, besides those of its ticks.

        Raises `NotFound`, and `IllegalTransition` where they must not overlap and the last one has not ended.
        """
        number = check_int(id, "id")
        return self.run(lambda unit: schedules.run(unit, tenant, number))

    def declare(self) -> None:
        """Writes what is declared in code and not written yet: made, or changed. One that somebody paused stays paused.

        Never raises: what a database that is away did not take is tried again with the next look, what is refused is logged.
        """
        if self.joined or self._transacting:
            return
        while self._declared < len(self._declarations):
            each = self._declarations[self._declared]
            name = each.values["name"]
            try:
                with self.storage.begin(write=False) as tx:
                    there = schedules.named(tx, each.tenant, name)
                if there is None or not schedules.is_as(there, each.values):
                    self._write(each)
            except StorageError as error:
                if not self._told:
                    logger.warning("the recurring job %s will be declared later: %s", name, error)
                self._told = True
                return
            except GnjError as error:
                logger.warning("the recurring job %s is not declared: %s", name, error)
            self._declared += 1
            self._told = False

    def _write(self, each: Declaration) -> None:
        self.run(lambda unit: schedules.declare(unit, each.tenant, each.values))

    def next_ticks(self, schedule: Schedule, count: int = 5) -> Sequence[datetime]:
        """When a recurring job will be due, as it stands, the next `count` times (1,000 at most); also one that is paused."""
        return schedules.upcoming(schedule, self.storage.now(), check_int(count, "count", low=0, high=1_000))

    def tick_of(self, job_id: int) -> datetime | None:
        """The tick for which a job was made; None for one that no tick made."""
        found = self.storage.find(Tick, Select(equal(Tick, job_id=check_int(job_id, "id")), limit=1))
        return found[0].tick_at if found else None

    def tick(self, *, force: bool = False, early: bool = False) -> int:
        """Has the jobs made of ticks that have come, at most once a second unless forced; how many.

        Workers do it on the way to a claim, servers once a second. A schedule whose job cannot be made is logged, and tried again
        in a while.
        """
        now = time.monotonic()
        if self.joined or self._transacting:
            return 0
        if not force and not self._tick_is_due(now, early=early):
            return 0
        if not self._ticking.acquire(blocking=force):
            return 0
        more = False
        try:
            self.declare()
            made, more = self._look()
            return made
        finally:
            # one that had more to do than it may is followed by another soon, but not by nothing else
            self._ticked = time.monotonic() - (LOOK_EVERY - _LOOK if more else 0.0)
            self._ticking.release()

    def _tick_is_due(self, now: float, *, early: bool = False) -> bool:
        first = min(self._ticked + LOOK_EVERY * (EARLY if early else 1.0), self._rings)
        return now >= first and not self._ticking.locked()

    def _look(self) -> tuple[int, bool]:
        """How many jobs were made, and whether there is more to do."""
        self._rings = math.inf
        with self.storage.begin(write=False) as tx:
            now = tx.now()
            found = schedules.due(tx, now + _AHEAD, _PAGE, own=bool(self.makers))
        late = [each for each in found if each.next_at <= now]
        for each in found[len(late) :]:
            self._ring((each.next_at - now).total_seconds())
        made, ends = 0, time.monotonic() + _LOOK
        locked = self.storage.locked(Schedule, [each.id for each in late]) if late else frozenset()
        # others look as well: in different orders they seldom wait for each other
        for each in self._random.sample(late, len(late)):
            if time.monotonic() > ends:
                return made, True
            if each.id not in locked:
                made += self._dealt_with(each)
        return made, len(late) == _PAGE or made > len(late)

    def _ring(self, seconds: float) -> None:
        """Has the next look come then."""
        self._rings = min(self._rings, time.monotonic() + seconds)
        self.wake.set_in(seconds)

    def _dealt_with(self, due: schedules.Due) -> int:
        try:
            return self.run(lambda unit: schedules.tick(unit, due.id))
        except StorageUnavailable:
            raise
        except Exception as error:
            if isinstance(error, GnjError):
                logger.warning("the recurring job %s will be tried again: %s", due.name, error)
            else:
                logger.exception("the recurring job %s will be tried again", due.name)
            told = str(error)
            self.run(lambda unit: schedules.fail(unit, due, told))
            return 0
