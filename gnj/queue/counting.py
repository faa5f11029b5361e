"""What one limit of a queue leaves: how many run by it, and how many have started.

What runs is told by permits, of which only those count whose job is claimed, by that very attempt. Starts are counted by short
periods, a fiftieth of the rate's, each known by its end: it counts until the rate's period has passed since then. So no more
than `max` jobs start in any period of `duration`; fewer by what one such period holds at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from gnj.queue import limits
from gnj.queue.clock import to_number
from gnj.queue.limits import Rate
from gnj.queue.model import Grant, Job, Permit, QueueLimit, attributes
from gnj.queue.storage import Rows, Select
from gnj.queue.where import And, Compare, equal

PERIODS: Final = 50
"""Into how many the period of a rate is divided."""
TRUSTED: Final = 500
"""Permits that are looked at one by one, where there are more than enough left."""
_IDS: Final = 5_000
"""Rows that one statement names."""
_SWEEP: Final = 1_000
_ALL: Final = ""
_WORKER: Final = "*"
"""What starts are counted under that concern the rate of the push worker; those of a limit key, under that after "="."""


class Level:
    """What one limit leaves.

    Args:
        tx: The transaction.
        row: The limit, locked.
    """

    def __init__(self, tx: Rows, row: QueueLimit) -> None:
        self._tx = tx
        self._row = row
        values = limits.of_row(row)
        self._of_all: dict[str, Rate] = {}
        if values.limiter is not None:
            self._of_all[_ALL] = values.limiter
        if (rate := limits.worker_rate(row)) is not None:
            self._of_all[_WORKER] = rate
        self._of_key = values.group_limiter
        self._running: Counter[str] = Counter()
        self._total = 0
        self._dead: list[Permit] = []
        self._grants: dict[tuple[str, int], Grant] = {}
        self._used: Counter[str] = Counter()
        self._looked_at: set[str] = set()
        self._refused: set[str] = set()
        """What rates have kept a job, by what their starts are counted under."""
        self._now = to_number(tx.now()) if self._of_all or self._of_key is not None else 0
        self._permits()
        self._count(self._of_all)

    @property
    def has_keys(self) -> bool:
        """Whether groups are limited."""
        return self._of_key is not None or self._row.key_concurrency is not None

    @property
    def _permitted(self) -> bool:
        return self._row.concurrency is not None or self._row.key_concurrency is not None

    def left(self, limit: int) -> int:
        """How many of `limit` may start at most, groups aside."""
        left = limit
        if self._row.concurrency is not None:
            left = min(left, max(0, self._row.concurrency - self._total))
        for name, rate in self._of_all.items():
            free = rate.max - self._used[name]
            if free <= 0:
                self._refused.add(name)
            left = min(left, max(0, free))
        return left

    def look_at(self, keys: Collection[str]) -> None:
        """Looks up the starts of groups."""
        if self._of_key is not None and (new := set(keys) - self._looked_at):
            self._looked_at |= new
            self._count({f"={key}": self._of_key for key in new})

    def admits(self, key: str | None) -> bool:
        """Whether one more job of that group may start."""
        if not self.left(1):
            return False
        if key is None:
            return True
        most = self._row.key_concurrency
        if most is not None and self._running[key] >= most:
            return False
        if self._of_key is not None and self._used[f"={key}"] >= self._of_key.max:
            self._refused.add(f"={key}")
            return False
        return True

    def take(self, key: str | None) -> None:
        """One starts."""
        self._total += 1
        for name in self._of_all:
            self._used[name] += 1
        if key is not None:
            self._running[key] += 1
            self._used[f"={key}"] += 1

    def note(self, jobs: Sequence[Job]) -> None:
        """Writes down what was claimed; permits that are dead are used again."""
        if self._permitted:
            new = [{"key": job.limit_key or "", "job_id": job.id, "attempt": job.attempt} for job in jobs]
            if len(new) == 1 and self._dead:
                self._tx.rewrite(Permit, self._dead.pop().id, new.pop())
            if new:
                self._tx.insert(Permit, [{**permit, "limit_id": self._row.id} for permit in new])
            self._trim(Permit, [permit.id for permit in self._dead])
        added: Counter[tuple[str, int]] = Counter()
        for job in jobs:
            for name, rate in self._rates(job.limit_key):
                started = self._now if job.started_at is None else to_number(job.started_at)
                added[name, _end(started, rate)] += 1
        for each, count in added.items():
            if (grant := self._grants.get(each)) is not None:
                self._tx.rewrite(Grant, grant.id, {"count": grant.count + count})
        self._tx.insert(
            Grant,
            [
                {"limit_id": self._row.id, "key": name, "period": end, "count": count}
                for (name, end), count in added.items()
                if (name, end) not in self._grants
            ],
        )

    def sweep(self) -> bool:
        """Removes some of the starts that count no more; whether none are left."""
        rates = [*self._of_all.values(), *([] if self._of_key is None else [self._of_key])]
        if not rates:
            return True
        oldest = self._now - max(rate.duration for rate in rates)
        old = Compare(attributes(Grant)["period"], (), "lte", oldest)
        return self._tx.trim(Grant, And((equal(Grant, limit_id=self._row.id), old)), _SWEEP) < _SWEEP

    def opens(self) -> float | None:
        """Seconds until a rate that kept a job lets one start."""
        opens = [self._opens(name, self._of_all.get(name) or self._of_key) for name in self._refused]
        return min((each for each in opens if each is not None), default=None)

    def _opens(self, name: str, rate: Rate | None) -> float | None:
        if rate is None:
            return None
        left = self._used[name] - rate.max
        for end, count in sorted((end, grant.count) for (of, end), grant in self._grants.items() if of == name):
            left -= count
            if left < 0:
                return (end + rate.duration - self._now) / 1000
        return rate.duration / 1000  # those that have just started

    def _rates(self, key: str | None) -> list[tuple[str, Rate]]:
        rates = list(self._of_all.items())
        return [*rates, (f"={key}", self._of_key)] if key is not None and self._of_key is not None else rates

    def _permits(self) -> None:
        if not self._permitted:
            return
        most = self._row.concurrency
        if most is not None and most > TRUSTED and self._row.key_concurrency is None:
            count = self._tx.count(Permit, equal(Permit, limit_id=self._row.id))
            if count + TRUSTED <= most:  # whether they all count does not matter
                self._total = count
                return
        for permit, counts in self._tx.permits(self._row.id):
            if counts:
                self._running[permit.key] += 1
                self._total += 1
            else:
                self._dead.append(permit)

    def _count(self, rates: Mapping[str, Rate]) -> None:
        """Looks up the starts that are counted under these names."""
        if not rates:
            return
        mine, stale = equal(Grant, limit_id=self._row.id), list[int]()
        for names in parts(sorted(rates)):
            for grant in self._tx.find(Grant, Select(And((mine, equal(Grant, key=tuple(names)))))):
                if grant.period <= self._now - rates[grant.key].duration:
                    stale.append(grant.id)
                else:
                    self._grants[grant.key, grant.period] = grant
                    self._used[grant.key] += grant.count
        if len(stale) >= PERIODS:
            self._trim(Grant, stale)

    def _trim(self, kind: type[Permit | Grant], ids: Sequence[int]) -> None:
        for part in parts(ids):
            self._tx.trim(kind, equal(kind, id=tuple(part)), len(part))


def parts(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """The values, some at a time: as many as one statement may name."""
    return (values[start : start + _IDS] for start in range(0, len(values), _IDS))


def _end(moment: int, rate: Rate) -> int:
    """The end of the short period, in milliseconds since 1970, that a start counts in."""
    width = -(-rate.duration // PERIODS)
    return (moment // width + 1) * width
