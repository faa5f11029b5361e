"""What the claims of a limited queue pass: one after the other, under the lock of its limit.

A type that has limits is fenced (`holds`): from the commit of its limits on, the ordinary claim passes by it, in every process,
at no cost to the claims of other types. Its jobs are claimed here, apart: each pass is a transaction of its own (`admission`).
Which types are limited is looked up once in a while, and only where a claim came back with less than was asked for; that this
may be old can keep a job waiting for a moment, and can never let one through.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final, Literal

from gnj.queue import holds, limits
from gnj.queue.admission import PROMOTED, Asked, Passed, pass_through, ready_tenants
from gnj.queue.clock import NOW
from gnj.queue.errors import Conflict, GnjError, InvalidInput
from gnj.queue.inputs import check_tenant
from gnj.queue.limits import KEEP, NO_LIMITS, Keep, LimitValues, Rate
from gnj.queue.model import Grant, Job, Permit, QueueLimit
from gnj.queue.options import check_queue
from gnj.queue.policy import Policy
from gnj.queue.runner import Runner
from gnj.queue.states import JOB_CLAIMED
from gnj.queue.storage import Changes, Select, Storage
from gnj.queue.unit import Unit
from gnj.queue.values import check_word, shown
from gnj.queue.where import Not, equal

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at which types are limited; longer where there are thousands."""
MANY: Final = 1_000
"""Limits that are looked up as often as that."""
MOST: Final = 10_000
"""Queues of a tenant that can have limits: every process that claims knows all of them."""
PROMOTE_EVERY: Final = 0.1
"""Seconds after which jobs whose time has come are made ready, though there are enough without them."""
SWEEP_EVERY: Final = 10.0
"""Seconds after which starts that count no more are removed."""
SHARE: Final = 20
"""But after so many times as long as that took, also while there are more of them: they go faster than they are made."""
FEW: Final = 3
"""Tenants whose limits are asked without a look first, whether there are jobs."""


@dataclass(slots=True)
class _Gates:
    """What one process knows of limits."""

    limited: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """The ids of the limits, by type and tenant."""
    looked: float = -math.inf
    turns: count[int] = field(default_factory=count)
    promoted: float = -math.inf
    sweeps: dict[tuple[str, str | None], float] = field(default_factory=dict)
    """When starts that count no more are to be removed again, by type and tenant."""
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    """The groups that were looked at last, by type and tenant."""
    passed: dict[str, str] = field(default_factory=dict)
    """The tenants of a type of whom each passes alone: the one that did so last."""
    after: dict[str, str] = field(default_factory=dict)
    """The tenants of a type that pass together: the one that was looked at last."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of what a claim asks for: what is limited is claimed apart from the rest."""

    types: Sequence[str]
    tenants: Sequence[str] | None
    gated: bool = False
    """Whether that is one type behind a gate: of everybody together, or of tenants of whom each passes alone."""


class Gated(Runner):
    """The commands that limit queues, and how their jobs are claimed."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(storage, **options)
        self._gates = _Gates()

    def set_limits(
        self,
        queue: str,
        limits: LimitValues | Literal[Keep.KEEP] | None,
        *,
        tenant: str,
        worker: Rate | Literal[Keep.KEEP] | None = KEEP,
    ) -> QueueLimit | None:
        """Gives a queue these limits in the place of those it has, and `worker` as that of its push worker; None: it has none.

        Of the two rates both hold. Limits of the tenant "" count the jobs of all tenants together. Jobs that were claimed
        before are not counted. Raises `InvalidInput`.
        """
        word, owner = check_queue(check_word(queue, "queue")), check_tenant(tenant)
        if word == holds.ALL_TYPES:
            raise InvalidInput(f"queue name is reserved: {shown(word)}")
        changes = _changes(limits, worker)
        row = self.run(lambda unit: _set(unit, owner, word, changes))
        if self._later is None:
            self._learn(anew=True)
        else:
            self._later(self._forget)
        return row

    def limits_of(self, queue: str, *, tenant: str) -> QueueLimit | None:
        """The limits of a queue, or None."""
        word = check_word(queue, "queue")
        found = self.storage.find(QueueLimit, Select(equal(QueueLimit, type=word)), tenant=check_tenant(tenant))
        return found[0] if found else None

    def _prune_counts(self, limit: int) -> int:
        """Removes for good at most `limit` permits, and as many counts of starts, of limits that were taken away; how many."""
        gone = Select(Not(equal(QueueLimit, deleted_at=None)), limit=limit, deleted=True)
        ids = tuple(row.id for row in self.storage.find(QueueLimit, gone))
        kinds = (Permit, Grant) if ids else ()
        return sum(self.storage.trim(kind, equal(kind, limit_id=ids), limit) for kind in kinds)

    def is_limited(self, types: Collection[str]) -> bool:
        """Whether some of these types have limits, as far as is known here."""
        return bool(self._gates.limited) and not self._gates.limited.keys().isdisjoint(types)

    def _claim_free(
        self,
        types: Sequence[str],
        limit: int,
        *,
        lease: float,
        who: Changes,
        tenants: Sequence[str] | None,
        policies: Mapping[str, Policy],
    ) -> list[Job]:
        """At most `limit` jobs of `types` that have no limits, claimed."""
        raise NotImplementedError

    def _claim_parted(
        self,
        types: Sequence[str],
        limit: int,
        *,
        slots: int,
        tenants: Sequence[str] | None,
        claimed: Sequence[Job] | None = None,
        **asked: Any,
    ) -> list[Job]:
        """At most `limit` jobs of `types`, of which some have limits, claimed: of those at most `slots`.

        Those with limits and those without take turns, so that neither starves. With `claimed`, which were claimed of those
        without and count among the `limit`, only those with limits are asked for.
        """
        self._learn()
        gated, jobs = claimed is not None, list(claimed or ())
        try:
            self._claim_parts(jobs, self._parts(types, tenants, gated=gated), limit, slots, asked)
        except GnjError:
            if not jobs:  # those are committed, and would wait for the end of their leases
                raise
        return jobs

    def _claim_parts(
        self, claimed: list[Job], parts: list[_Part], limit: int, slots: int, asked: Mapping[str, Any]
    ) -> None:
        """Adds to what was claimed."""
        if parts:
            turn = next(self._gates.turns) % len(parts)
            parts = parts[turn:] + parts[:turn]
        for part in parts:
            left = limit - len(claimed)
            if not part.gated:
                claimed += self._claim_free(part.types, left, tenants=part.tenants, **asked) if left else []
                continue
            (type,) = part.types
            for tenant in self._to_pass(type, part.tenants) if left and slots else ():
                found = self._pass(type, tenant, min(left, slots), **asked)
                claimed += found
                left, slots = left - len(found), slots - len(found)
                if not (left and slots):
                    break

    def _to_pass(self, type: str, tenants: Sequence[str] | None) -> Iterator[str | None]:
        """Whose jobs of a limited type are to pass: everybody's together, or those of each tenant who has some, by turns."""
        passed = self._gates.passed
        if tenants is None:
            yield None
        elif len(tenants) <= FEW:
            turn = tenants.index(last) + 1 if (last := passed.get(type)) in tenants else 0
            for tenant in (*tenants[turn:], *tenants[:turn]):
                passed[type] = tenant
                yield tenant
        else:
            wanted, began, found = frozenset(tenants), time.monotonic(), False
            self._make_ready(began - PROMOTE_EVERY)
            while True:
                for tenant in ready_tenants(self.storage, type, passed.get(type)):
                    passed[type] = tenant
                    if tenant in wanted:
                        found = True
                        yield tenant
                if found or not self._make_ready(began):
                    break

    def _make_ready(self, since: float) -> int:
        """Makes jobs ready whose time has come, unless that was done since then; how many."""
        now = time.monotonic()
        if self._gates.promoted > since:
            return 0
        self._gates.promoted = now
        return self.storage.promote(PROMOTED)

    def _pass(self, type: str, tenant: str | None, limit: int, **asked: Any) -> list[Job]:
        """At most `limit` jobs of a limited type, as many as its limits allow."""
        gates = self._gates
        for _ in range(2):
            known = gates.limited.get(type, {})
            if known.keys().isdisjoint(("", tenant)):
                break
            passed = self._pass_once(type, tenant, limit, known=known, **asked)
            if passed.stale:
                self._learn(anew=True)
            if passed.jobs or not passed.stale:
                return passed.jobs
        else:
            return []
        return self._claim_free([type], limit, tenants=None if tenant is None else [tenant], **asked)

    def _pass_once(self, type: str, tenant: str | None, limit: int, **asked: Any) -> Passed:
        gates, now = self._gates, time.monotonic()
        keys = gates.keys.setdefault(type, {})
        ask = Asked(
            type=type,
            tenant=tenant,
            limit=limit,
            promotes=now - gates.promoted >= PROMOTE_EVERY,
            sweeps=now >= gates.sweeps.get((type, tenant), -math.inf),
            keys=keys,
            after=gates.after.get(type),
            **asked,
        )
        passed: Passed = self.run(partial(pass_through, asked=ask))
        if passed.promoted:
            gates.promoted = now
        if ask.sweeps:
            end = time.monotonic()
            gates.sweeps[type, tenant] = end + max(SWEEP_EVERY if passed.swept else 0.0, SHARE * (end - now))
        for of, key in passed.keys.items():
            if key:
                keys[of] = key
            else:
                keys.pop(of, None)
        if passed.after is not None:
            gates.after[type] = passed.after
        if passed.opens is not None:
            self.wake.set_in(passed.opens)
        return passed

    def _parts(self, types: Sequence[str], tenants: Sequence[str] | None, *, gated: bool) -> list[_Part]:
        limited = self._gates.limited
        free = [type for type in types if type not in limited]
        parts = [_Part(free, tenants)] if free else []
        for type in types:
            if (of := limited.get(type)) is None:
                continue
            if "" in of:  # the host's: all jobs of the type are behind it
                parts.append(_Part([type], tenants, gated=True))
                continue
            behind = list(of) if tenants is None else [tenant for tenant in tenants if tenant in of]
            parts += [_Part([type], behind, gated=True)] if behind else []
            others = None if tenants is None else [tenant for tenant in tenants if tenant not in of]
            parts += [_Part([type], others)] if others is None or others else []
        return [part for part in parts if part.gated or not gated]

    def _learn(self, *, anew: bool = False) -> bool:
        """Looks up which types are limited, unless that was done a moment ago; whether it was done, and some are."""
        gates, now = self._gates, time.monotonic()
        known = sum(map(len, gates.limited.values()))
        if self.joined or (not anew and now - gates.looked < LOOK_EVERY * max(1.0, known / MANY)):
            return False
        gates.looked = now
        try:
            rows = self.storage.find(QueueLimit)
        except GnjError:  # what was claimed meanwhile must not get lost for it
            return False
        limited: dict[str, dict[str, int]] = {}
        for row in rows:
            limited.setdefault(row.type, {})[row.tenant] = row.id
        gates.limited = limited
        if not limited:
            gates.sweeps, gates.keys, gates.passed, gates.after = {}, {}, {}, {}
        return bool(limited)

    def _forget(self) -> None:
        """What is known of limits is old."""
        self._gates.looked = -math.inf

    def _frees(self, unit: Unit, *jobs: Job | None) -> None:
        """Wakes those who wait for a job of a limited type, once the unit is committed, if one of these runs no more."""
        if self._gates.limited and any(
            job is not None and job.status not in JOB_CLAIMED and job.type in self._gates.limited for job in jobs
        ):
            unit.ready = True

    def _freed(self, types: Iterable[str]) -> None:
        """Likewise, where jobs of these types ended without a unit of work: those here first, who would wait for the others."""
        if self._gates.limited.keys().isdisjoint(types):
            return
        self.wake.set()
        with suppress(GnjError):  # they have ended all the same
            self.storage.signal()


def _changes(values: LimitValues | Keep | None, worker: Rate | Keep | None) -> dict[str, int | None]:
    changes: dict[str, int | None] = {}
    if not isinstance(values, Keep):
        changes |= limits.columns(NO_LIMITS if values is None else limits.check(values))
    if not isinstance(worker, Keep):
        changes |= limits.worker_columns(None if worker is None else limits.check_rate(worker, "worker"))
    return changes


def _set(unit: Unit, tenant: str, type: str, changes: Mapping[str, int | None]) -> QueueLimit | None:
    """Writes limits, and what keeps ordinary claims away from the type."""
    there = unit.tx.find(QueueLimit, Select(equal(QueueLimit, type=type)), tenant=tenant)
    if not there:
        if set(changes.values()) <= {None}:
            return None
        if unit.tx.count(QueueLimit, tenant=tenant) >= MOST:
            raise InvalidInput(f"at most {MOST:,} queues can have limits: take away those of another one first")
        there = unit.tx.insert(QueueLimit, [{"tenant": tenant, "type": type, **changes}])
    before = unit.tx.get(QueueLimit, there[0].id, lock=True)
    if before is None:
        raise Conflict("the limits were removed at the same moment")
    written = {name: value for name, value in changes.items() if getattr(before, name) != value}
    row = unit.tx.edit(QueueLimit, [before.id], written)[0] if written else before
    unit.ready = True
    if limits.of_row(row) != NO_LIMITS or limits.worker_rate(row) is not None:
        holds.fence(unit, tenant, type)
        return row
    unit.tx.edit(QueueLimit, [row.id], {"deleted_at": NOW})
    holds.unfence(unit, tenant, type)
    return None  # what was counted goes with the row for good: `prune`
