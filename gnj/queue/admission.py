"""One pass through the gate of a limited type: a transaction that counts what runs and what has started, and claims what there
is room for.

The rows of the limits are locked, that of the host's (tenant "") first, so that passes of a queue come one after the other on
every database. What runs is told by the jobs themselves: a permit counts while its job is claimed, and by that very attempt. So
an end, a lost lease or a cancelled job gives nothing back, and no count can drift.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gnj.queue import claims, holds
from gnj.queue.counting import Level
from gnj.queue.model import Hold, Job, QueueLimit
from gnj.queue.policy import Policy, fill
from gnj.queue.states import JobStatus
from gnj.queue.storage import Changes, Rows, Select, Storage
from gnj.queue.unit import Unit

NEAR: Final = 100
"""Jobs that are looked at beyond those asked for, where some may be kept by groups or tenants that are full."""
FAR: Final = 5_000
"""Jobs that are looked at when there are not enough among those."""
GROUPS: Final = 10_000
"""Groups that are gone through when there are not enough among those either."""
TENANTS: Final = 1_000
"""Likewise tenants."""
LOOKED_UP: Final = 100
"""Of how many of those groups or tenants jobs are looked up."""
PROMOTED: Final = 1_000
"""Jobs whose time has come that are made ready at once."""
_FIRST: Final = 8
"""Tenants that are looked for at first; then for more and more."""

_Found: TypeAlias = tuple[int, str, str | None]
"""A ready job: its id, tenant and limit key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be claimed.

    Args:
        type: Jobs of that type.
        tenant: Whose; None: everybody's, which the host has limited.
        limit: How many at most.
        lease: Seconds.
        who: The attributes that name the claimer.
        policies: What claimed jobs are filled from.
        known: The ids of the limits of the type, by tenant, as they were a moment ago.
        promotes: Whether jobs that are due are made ready also if there are enough without them.
        sweeps: Whether starts that count no more are removed.
        keys: The limit keys after which to look for groups that have room, by tenant.
        after: The tenant after which to look for those that have room.
    """

    type: str
    tenant: str | None
    limit: int
    lease: float
    who: Changes
    policies: Mapping[str, Policy]
    known: Mapping[str, int]
    promotes: bool = True
    sweeps: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    after: str | None = None


@dataclass(slots=True)
class Passed:
    """What came of it.

    Args:
        jobs: Those claimed.
        opens: Seconds until a rate lets another job start; None: none is what keeps any.
        stale: Whether the limits are others than those known: jobs may have been kept for that.
        promoted: Whether jobs that are due were made ready.
        swept: Whether no starts are left that count no more, as far as `sweeps` goes.
        keys: The last limit keys that were looked at, by tenant; "" where there are no more.
        after: The last tenant that was looked at; None where none was.
    """

    jobs: list[Job] = field(default_factory=list)
    opens: float | None = None
    stale: bool = False
    promoted: bool = False
    swept: bool = True
    keys: dict[str, str] = field(default_factory=dict)
    after: str | None = None


def pass_through(unit: Unit, asked: Asked) -> Passed:
    """Claims jobs of a limited type as far as its limits allow, in the order of claims.

    What is held is read once the limits are locked, for which a pass may have had to wait.
    """
    tx, passed = unit.tx, Passed()
    whose = "" if asked.tenant is None else asked.tenant
    room = _Room(tx, asked.known)
    if not room.open(whose):
        passed.stale = True
        return passed
    rows = tx.find(Hold, Select(holds.about(asked.tenant, asked.type)))
    limited = {row.tenant for row in rows if row.limited}
    room.held = {row.tenant for row in rows if row.held}
    if not (limited <= asked.known.keys() and room.locked and room.locked <= limited):
        passed.stale = True
        return passed
    if room.held & {"", whose}:
        return passed
    room.limited = limited
    chosen = _chosen(tx, asked, room, passed)
    if chosen:
        taken = tx.take([id for id, *_ in chosen], lease=asked.lease, changes={**claims.CLAIMED, **asked.who})
        places = {id: place for place, (id, *_) in enumerate(chosen)}
        jobs = sorted(taken, key=lambda job: places[job.id])
        room.note(jobs)
        passed.jobs = claims.readable(unit, fill(unit, jobs, asked.policies))
        for job in passed.jobs:
            unit.tell("started", job, JobStatus.QUEUED)
    passed.stale = room.stale
    if asked.sweeps:
        passed.swept = room.sweep()
    if len(chosen) < asked.limit:
        passed.opens = room.opens()
    return passed


def _chosen(tx: Rows, asked: Asked, room: _Room, passed: Passed) -> list[_Found]:
    """The first jobs that there is room for."""
    limit = room.most(asked.tenant, asked.limit)
    if not limit:
        return []
    first = room.first(asked.tenant, limit)
    found = tx.lane(asked.type, asked.tenant, first)
    if asked.promotes or len(found) < first:
        passed.promoted = True
        if tx.promote(PROMOTED):
            found = tx.lane(asked.type, asked.tenant, first)
    return _along(tx, asked, asked.tenant, room, limit, passed, found)


def _along(
    tx: Rows, asked: Asked, tenant: str | None, room: _Room, limit: int, passed: Passed, found: Sequence[_Found]
) -> list[_Found]:
    """Those jobs of a lane that there is room for: of the first ones, which were found, then of those further on."""
    chosen = room.choose(found, limit)
    first = room.first(tenant, limit)
    if len(chosen) == limit or len(found) < first or first == limit or not room.most(tenant, 1):
        return chosen
    further = tx.lane(asked.type, tenant, FAR, offset=first)
    chosen += room.choose(further, limit - len(chosen))
    if len(chosen) < limit and len(further) == FAR:
        if tenant is None:
            chosen += _of_tenants(tx, asked, room, limit - len(chosen), passed)
        elif room.has_keys(tenant):
            chosen += _of_groups(tx, asked, tenant, room, limit - len(chosen), passed)
    return chosen


def _of_tenants(tx: Rows, asked: Asked, room: _Room, limit: int, passed: Passed) -> list[_Found]:
    """Jobs of tenants that have room, wherever they stand; of some tenants now, of the others by and by."""
    chosen: list[_Found] = []
    looked = 0
    for tenant in ready_tenants(tx, asked.type, asked.after):
        passed.after = tenant
        if tenant in room.held:
            continue
        looked += 1
        if room.admits(tenant, None):
            left = limit - len(chosen)
            found = tx.lane(asked.type, tenant, room.first(tenant, left))
            chosen += _along(tx, asked, tenant, room, left, passed, found)
        if len(chosen) == limit or looked == LOOKED_UP:
            break
    return chosen


def _of_groups(tx: Rows, asked: Asked, tenant: str, room: _Room, limit: int, passed: Passed) -> list[_Found]:
    """Jobs of groups that have room, wherever they stand; of some groups now, of the others by and by."""
    chosen: list[_Found] = []
    keys = tx.keys(asked.type, tenant, asked.keys.get(tenant, ""), GROUPS)
    passed.keys[tenant] = keys[-1] if len(keys) == GROUPS else ""
    looked = 0
    for place, key in enumerate(keys):
        if place % LOOKED_UP == 0:
            room.look_at(tenant, keys[place : place + LOOKED_UP])
        if not room.admits(tenant, key):
            continue
        left = limit - len(chosen)
        chosen += room.choose(tx.lane(asked.type, tenant, left, key=key), left)
        looked += 1
        if len(chosen) == limit or looked == LOOKED_UP:
            passed.keys[tenant] = key
            break
    return chosen


def ready_tenants(rows: Rows | Storage, type: str, after: str | None) -> Iterator[str]:
    """Tenants that have ready jobs of the type, each once: those beyond `after`, then those before it; `TENANTS` of them at most."""
    seen: set[str] = set()
    size = _FIRST
    for last in dict.fromkeys((after, None)):
        while len(seen) < TENANTS:
            found = rows.tenants(type, last, size)
            for tenant in found:
                if tenant in seen:  # once round
                    return
                seen.add(tenant)
                yield tenant
            if len(found) < size:
                break
            last, size = found[-1], min(2 * size, LOOKED_UP)


class _Room:
    """What the limits of a type leave.

    Args:
        tx: The transaction.
        ids: The limits of the type, by tenant, as they were a moment ago.
    """

    def __init__(self, tx: Rows, ids: Mapping[str, int]) -> None:
        self._tx = tx
        self._ids = ids
        self.held: AbstractSet[str] = frozenset()
        """The tenants whose jobs of the type are held."""
        self.limited: AbstractSet[str] = ids.keys()
        """Those that have limits."""
        self.stale = False
        """Whether one of them is another than was thought: all that it limits is kept."""
        self._levels: dict[str, Level] = {}
        """By tenant; their rows are locked."""
        self._chosen: set[int] = set()

    def open(self, tenant: str) -> bool:
        """Locks the limit of the host's and that of a tenant; whether those that were thought to be there are."""
        for each in dict.fromkeys(("", tenant)):
            if each in self._levels or each not in self.limited or each not in self._ids:
                continue
            row = self._tx.get(QueueLimit, self._ids[each], lock=True)
            if row is None:
                self.stale, self.held = True, self.held | {each}
                return False
            self._levels[each] = Level(self._tx, row)
        return True

    @property
    def locked(self) -> AbstractSet[str]:
        """The tenants whose limits are locked."""
        return self._levels.keys()

    def has_keys(self, tenant: str) -> bool:
        """Whether a limit of a tenant's jobs is one of groups."""
        return any(level.has_keys for level in self._over(tenant))

    def first(self, tenant: str | None, limit: int) -> int:
        """How many jobs of a tenant, or of all, are looked at for so many: more, where some may be kept though others are not."""
        many = tenant is None and (self.limited - {""} or self.held)
        return limit + NEAR if many or self.has_keys(tenant or "") else limit

    def most(self, tenant: str | None, limit: int) -> int:
        """How many of `limit` jobs of a tenant, or of all, there is room for, groups aside."""
        return min([limit, *(level.left(limit) for level in self._over(tenant or ""))])

    def look_at(self, tenant: str, keys: Collection[str]) -> None:
        """Looks up the starts of groups."""
        for level in self._over(tenant) if keys else ():
            level.look_at(keys)

    def admits(self, tenant: str, key: str | None) -> bool:
        """Whether one more job of that tenant and group may start."""
        return self.open(tenant) and all(level.admits(key) for level in self._over(tenant))

    def choose(self, found: Sequence[_Found], limit: int) -> list[_Found]:
        """The first of these jobs, which are in order, that may start, and so count from now on."""
        chosen: list[_Found] = []
        for some in _more_and_more(found, limit):
            keys: dict[str, set[str]] = {}
            for _, tenant, key in some:
                if key is not None and tenant not in self.held:
                    keys.setdefault(tenant, set()).add(key)
            for job in some:
                id, tenant, key = job
                if len(chosen) >= limit:
                    return chosen
                if tenant in self.held or id in self._chosen or not self.open(tenant):
                    continue
                self.look_at(tenant, keys.pop(tenant, ()))
                if self.admits(tenant, key):
                    chosen.append(job)
                    self._chosen.add(id)
                    for level in self._over(tenant):
                        level.take(key)
        return chosen

    def note(self, jobs: Sequence[Job]) -> None:
        """Writes down what was claimed."""
        for tenant, level in self._levels.items():
            level.note([job for job in jobs if tenant in ("", job.tenant)])

    def sweep(self) -> bool:
        """Removes starts that count no more; whether none are left."""
        swept = [level.sweep() for level in self._levels.values()]
        return all(swept)

    def opens(self) -> float | None:
        """Seconds until a rate that kept a job lets one start."""
        found = [opens for level in self._levels.values() if (opens := level.opens()) is not None]
        return min(found, default=None)

    def _over(self, tenant: str) -> list[Level]:
        return [self._levels[each] for each in dict.fromkeys(("", tenant)) if each in self._levels]


def _more_and_more(found: Sequence[_Found], first: int) -> Iterator[Sequence[_Found]]:
    """The jobs in parts, of which each is four times as long as the one before: nearly always the first ones are taken."""
    start, size = 0, max(first, 1)
    while start < len(found):
        yield found[start : start + size]
        start, size = start + size, 4 * size
