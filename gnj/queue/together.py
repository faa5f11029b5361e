"""What callers ask for at the same time, each for one job, carried out together: one claim, or one statement of ends, for all.

A server answers many workers that each claim one job and end it. Alone, each claim and each end is a statement and a commit;
of those that ask while one is under way, the next statement serves all (`Coalescer`), and each gets its answer after that
commit, from its own row. What may fail, or may have to wait for somebody else, is nobody's but the one's who asked for it: it
goes the general way, alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

from gnj.queue import claims, jobs
from gnj.queue.coalesce import Coalescer, Mark
from gnj.queue.errors import GnjError
from gnj.queue.gate import Gated
from gnj.queue.later import Later, at_once
from gnj.queue.model import Job
from gnj.queue.naming import OWN
from gnj.queue.policy import Policy, silent
from gnj.queue.states import JobStatus
from gnj.queue.storage import Each, Settlement, Storage
from gnj.queue.unit import Unit

TOGETHER: Final = 100
"""Callers served by one statement at most."""
KINDS: Final = 200
"""Sorts of claims - types, tenants, lease - that are remembered."""

_FROM: Final = frozenset({JobStatus.PROCESSING})
_END: Final = frozenset({"status", "output"})

_Kind: TypeAlias = tuple[tuple[str, ...], tuple[str, ...] | None, float]
_Who: TypeAlias = Mapping[str, str | None]
_End: TypeAlias = tuple[str | None, jobs.Update]


class Together(Gated):
    """The commands that claim one job and end one."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(storage, **options)
        self._claiming: dict[_Kind, Coalescer[_Who, Job | None]] = {}
        self._ending = Coalescer(self._end_all, TOGETHER, lambda end: self._update(*end))

    def _claim_one(
        self, types: Sequence[str], *, lease: float, who: _Who, tenants: Sequence[str] | None
    ) -> Later[Job | None]:
        """The first free job of `types`, claimed, or None; see `Rows.claim`. Of several callers the first gets the first."""
        kind = tuple(types), None if tenants is None else tuple(tenants), lease
        if self.joined or self._transacting:
            return at_once(lambda: self._claim_all(kind, [who])[0])
        claiming = self._claiming.get(kind)
        if claiming is None:
            if len(self._claiming) >= KINDS:
                self._claiming.clear()  # who waits in one of them has it at hand
            claiming = self._claiming.setdefault(kind, Coalescer(partial(self._claim_all, kind), TOGETHER))
        return claiming.later(who)

    def _claim_many(self, types: Sequence[str], limit: int, slots: int, asked: Mapping[str, Any]) -> list[Job]:
        """At most `limit` jobs of `types`, claimed; of those that have limits, at most `slots`."""
        if self._gates.limited and self.is_limited(types) and not self.joined:
            return self._claim_parted(types, limit, slots=slots, **asked)
        found = self._claim_free(types, limit, **asked)
        if len(found) < limit and self._learn() and self.is_limited(types):
            return self._claim_parted(types, limit, slots=slots, claimed=found, **asked)
        return found

    def _claim_free(
        self,
        types: Sequence[str],
        limit: int,
        *,
        lease: float,
        who: _Who,
        tenants: Sequence[str] | None,
        policies: Mapping[str, Policy],
    ) -> list[Job]:
        """`claims.claim`, in one statement where nothing else is to be done."""
        if not (self.unheard("started") and silent(policies, types)):
            asked: dict[str, Any] = {"lease": lease, "who": who, "tenants": tenants, "policies": policies}
            return self.run(lambda unit: claims.claim(unit, types, limit, **asked))
        changes = {**claims.CLAIMED, **who}
        while True:
            found = self.alone(lambda: self.storage.claim(types, limit, lease=lease, changes=changes, tenants=tenants))
            if jobs.all_readable(found):
                return found
            if good := self.run(partial(claims.readable, claimed=found)):
                return good

    def _end_one(self, tenant: str | None, change: jobs.Update) -> Later[Job]:
        """`jobs.update`, which a plain success of a claim shares with those of other callers."""
        values = change.values
        plain = values.get("status") == JobStatus.SUCCESSFUL and values.keys() <= _END
        if not plain or self.joined or self._transacting:
            return at_once(lambda: self._update(tenant, change))
        return self._ending.later((tenant, change))

    def _update(self, tenant: str | None, change: jobs.Update) -> Job:
        def command(unit: Unit) -> Job:
            job = jobs.update(unit, tenant, change)
            self._frees(unit, job)
            return job

        return self.run(command)

    def _claim_all(self, kind: _Kind, callers: Sequence[_Who]) -> Sequence[Job | None]:
        if self._gates.limited and self.is_limited(kind[0]) and not self.joined:
            return self._claim_each(kind, callers, [None] * len(callers))
        answers = self._claim_free_ones(kind, callers)
        if answers[-1] is None and self._learn() and self.is_limited(kind[0]):
            return self._claim_each(kind, callers, answers, claimed=())
        return answers

    def _claim_each(
        self, kind: _Kind, callers: Sequence[_Who], answers: Sequence[Job | None], **only: Any
    ) -> Sequence[Job | None]:
        """One after the other, as long as there is something: types that have limits are among those asked for."""
        types, tenants, lease = kind
        asked: dict[str, Any] = {"lease": lease, "tenants": tenants, "policies": self.policies, **only}
        given = list(answers)
        for place, who in enumerate(callers):
            if given[place] is not None:
                continue
            try:
                found = self._claim_parted(types, 1, slots=1, who=who, **asked)
            except GnjError:
                if any(given):  # those are committed, and would wait for the end of their leases
                    break
                raise
            if not found:
                break
            given[place] = found[0]
        return given

    def _claim_free_ones(self, kind: _Kind, callers: Sequence[_Who]) -> Sequence[Job | None]:
        types, tenants, lease = kind
        if not (self.unheard("started") and silent(self.policies, types)):
            one: dict[str, Any] = {"lease": lease, "tenants": tenants, "policies": self.policies}

            def command(unit: Unit) -> list[Job | None]:
                found = (claims.claim(unit, types, 1, who=who, **one) for who in callers)
                return [next(iter(each), None) for each in found]

            return self.run(command)
        answers: list[Job | None] = [None] * len(callers)
        todo = list(range(len(callers)))
        while todo:
            changes = {**claims.CLAIMED, **_whose([callers[place] for place in todo])}
            claim = partial(self.storage.claim, types, len(todo), lease=lease, changes=changes, tenants=tenants)
            try:
                found = self.alone(claim)
            except GnjError:
                if any(answers):  # those are committed, and would wait for the end of their leases
                    return answers
                raise
            places = defaultdict[Any, deque[int]](deque)
            for place in todo:
                who = callers[place]
                places[who["worker_id"], who["worker_type"]].append(place)
            spoilt = False
            for job in found:
                place = places[job.worker_id, job.worker_type].popleft()
                if jobs.unreadable(job):
                    spoilt = True
                    with suppress(GnjError):  # it is somebody else's that nobody can have this one
                        self.run(partial(claims.readable, claimed=[job]))
                else:
                    answers[place] = job
            todo = [place for place in todo if answers[place] is None] if spoilt else []
        return answers

    def _end_all(self, ends: Sequence[_End]) -> Sequence[Job | Mark]:
        """The jobs that ended; of each that may not, or of which somebody is to be told, that it is to be looked at alone."""
        if not self.unheard("succeeded"):
            return [Mark.ALONE] * len(ends)
        settlements = [
            Settlement(
                *(change.id, change.attempt, _FROM, {**change.values, **jobs.SUCCEEDED}),
                plain=True,
                tenant=tenant,
                but=OWN,
            )
            for tenant, change in ends
        ]
        done = self.alone(lambda: self.storage.settle(settlements))
        if self._gates.limited:
            self._freed(job.type for job in done if job is not None)
        return [Mark.ALONE if job is None else job for job in done]


def _whose(callers: Sequence[_Who]) -> dict[str, Any]:
    """What names the claimers of as many jobs, in order."""
    written: dict[str, Any] = {}
    for name in callers[0]:
        values = [who[name] for who in callers]
        written[name] = values[0] if values.count(values[0]) == len(values) else Each(values)
    return written
