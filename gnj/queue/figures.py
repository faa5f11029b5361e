"""What queues did lately: how many jobs ended in each minute, how long they waited and ran.

All of it is read from the jobs that are there: what was deleted, or pruned, is not counted any more.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from gnj.queue.clock import period_start
from gnj.queue.counts import Counts
from gnj.queue.model import Job
from gnj.queue.runner import Runner
from gnj.queue.states import JOB_ENDED, JobStatus
from gnj.queue.storage import Bucket, Rows, Select, Storage
from gnj.queue.where import equal

SAMPLE: Final = 1_000
"""Jobs that quantiles are taken from at most: the newest that ended."""
_LEAST: Final = 10
"""Jobs of each queue, of several, that are looked at whatever their number."""
LATELY: Final = 60
"""Seconds that count as lately where nothing else is said."""

_MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended in the minute that begins `at`."""

    at: datetime
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds that half of the jobs, and 95 of 100, did not exceed; None where there were no jobs."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The figures of a queue.

    Args:
        minutes: Every minute of the window, the oldest first; the last one is not over yet.
        wait: From when a job could start to its start; of jobs that were tried once.
        run: From the start of the last try to its end.
        sampled: How many jobs, the newest that ended, the quantiles are taken from.
    """

    minutes: Sequence[Minute]
    wait: Quantiles
    run: Quantiles
    sampled: int


@dataclass(frozen=True, slots=True)
class Recent:
    """What ended of a queue in the last `LATELY` seconds; cancelled jobs count as failed."""

    completed: int
    failed: int
    wait: Quantiles
    run: Quantiles


class _Times(NamedTuple):
    """What of a job that ended tells how long it waited and ran."""

    attempt: int
    created_at: datetime
    start_after: datetime | None
    started_at: datetime | None
    ended_at: datetime

    @property
    def wait(self) -> float | None:
        """Milliseconds; None where they cannot be told: when the job could start again after a try is not kept."""
        if self.attempt != 1 or self.started_at is None:
            return None
        ready = self.created_at if self.start_after is None else max(self.created_at, self.start_after)
        return max(0.0, (self.started_at - ready).total_seconds() * 1000)

    @property
    def run(self) -> float | None:
        """Milliseconds; None for a job that never started."""
        return None if self.started_at is None else max(0.0, (self.ended_at - self.started_at).total_seconds() * 1000)


class Figures(Runner):
    """Reads. What took long to count is told again for a while (`gnj.queue.counts`)."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(storage, **options)
        self._figures = Counts()

    def figures(self, queue: str, minutes: int, *, tenant: str) -> QueueFigures:
        """The figures of the last so many minutes."""
        key = tenant, queue, minutes
        found: QueueFigures = self._figures.get(key, lambda: self._counted(*key), fresh=self.joined)
        return found

    def recent(self, *, tenant: str) -> Mapping[str, Recent]:
        """What ended lately, by queue; quantiles are of the newest jobs of each, `SAMPLE` in all, but
        `_LEAST` of each at least.
        """
        found: Mapping[str, Recent] = self._figures.get(tenant, lambda: self._lately(tenant), fresh=self.joined)
        return found

    def _counted(self, tenant: str, queue: str, minutes: int) -> QueueFigures:
        with self.storage.begin(write=False) as tx:
            last = int(tx.now().timestamp()) // _MINUTE
            first = last - minutes + 1
            since = period_start(first, _MINUTE)
            ended: dict[int, dict[JobStatus, int]] = defaultdict(dict)
            for (minute, status), count in tx.tally_ended(
                [Bucket("ended_at", _MINUTE), "status"], since, type=queue, tenant=tenant
            ).items():
                ended[minute][status] = count
            sample = _newest(tx, queue, since, SAMPLE if ended else 0, tenant)
        return QueueFigures(
            minutes=[
                Minute(period_start(minute, _MINUTE), *_outcomes(ended.get(minute, {})))
                for minute in range(first, last + 1)
            ],
            wait=quantiles(each.wait for each in sample),
            run=quantiles(each.run for each in sample),
            sampled=len(sample),
        )

    def _lately(self, tenant: str) -> Mapping[str, Recent]:
        with self.storage.begin(write=False) as tx:
            since = tx.now() - timedelta(seconds=LATELY)
            ended: dict[str, dict[JobStatus, int]] = defaultdict(dict)
            for (type, status), count in tx.tally_ended(["type", "status"], since, tenant=tenant).items():
                ended[type][status] = count
            each = max(_LEAST, SAMPLE // max(1, len(ended)))
            samples = {type: _newest(tx, type, since, each, tenant) for type in ended}
        return {
            type: Recent(
                *_outcomes(statuses),
                wait=quantiles(each.wait for each in samples[type]),
                run=quantiles(each.run for each in samples[type]),
            )
            for type, statuses in ended.items()
        }


def quantiles(values: Iterable[float | None]) -> Quantiles:
    """Those of the values that there are, by the nearest rank."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return Quantiles(None, None)
    p50, p95 = (known[math.ceil(share * len(known)) - 1] for share in (0.5, 0.95))
    return Quantiles(p50, p95)


def _newest(tx: Rows, queue: str, since: datetime, count: int, tenant: str) -> list[_Times]:
    """The newest jobs of a queue that ended since then, at most so many."""
    ids = [id for id, ended_at in tx.ended(queue, tenant, JOB_ENDED, count, backward=True) if ended_at >= since]
    return [_Times(*row) for row in tx.columns(Job, _Times._fields, Select(equal(Job, id=tuple(ids))))] if ids else []


def _outcomes(statuses: Mapping[JobStatus, int]) -> tuple[int, int]:
    completed = statuses.get(JobStatus.SUCCESSFUL, 0)
    return completed, sum(statuses.values()) - completed
