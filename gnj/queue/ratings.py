"""Ratings: how the jobs of each day ended, and what the workers of each hour were doing (section 3 of the jobs contract).

Counted when they are asked for, from the rows there are: what was pruned is not in them. Days and hours are those of UTC.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Annotated, Final

from gnj.queue.clock import period_start
from gnj.queue.events import HOOK
from gnj.queue.model import HIDDEN, Job, Monitoring, Record, attributes
from gnj.queue.states import JobStatus
from gnj.queue.storage import Bucket, Rows
from gnj.queue.where import Compare, Not

DAYS: Final = 30
HOURS: Final = 360
"""Rows of `worker_ratings` at most, and so hours they can reach back: a type has a row for each."""
NOTHING_ENDED: Final = 1000
"""The rating of a day on which nothing ended."""
_DAY: Final = 86_400
_HOUR: Final = 3_600
_NAMESPACE: Final = uuid.UUID("8d3f4b62-4a1c-4a63-9d0a-6f5f0c1f7b1e")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSuccessRating(Record):
    """How the jobs ended that ended on one day."""

    day: str
    """`YYYY/MM/DD`."""
    success_rating: int
    """Percent that were successful; 1000 when nothing ended."""
    successful_jobs: int
    failed_jobs: int
    total_jobs: int
    """Successful and failed ones; who was cancelled is rated neither way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSuccessRating(Record):
    """What the workers of one type told of themselves in one hour."""

    uuid: str
    """Always the same one for a tenant, a type and an hour."""
    worker_type: str
    timestamp: str
    """`HH YYYY/MM/DD`."""
    hour: Annotated[int, HIDDEN]
    available_rating: int
    """Percent of the rows; likewise the others."""
    processing_rating: int
    failed_rating: int
    exited_rating: int


def job_ratings(tx: Rows, tenant: str | None) -> list[JobSuccessRating]:
    """The last 30 days, newest first; also those on which nothing ended."""
    now = tx.now()
    today = int(now.timestamp()) // _DAY
    since = period_start(today - DAYS + 1, _DAY)
    ended = (JobStatus.SUCCESSFUL, JobStatus.FAILED)
    hooks = Compare(attributes(Job)["type"], (), "like", f"{HOOK}%")
    counts = tx.tally_ended([Bucket("ended_at", _DAY), "status"], since, Not(hooks), tenant=tenant)
    ratings = []
    for place, day in enumerate(range(today, today - DAYS, -1)):
        start = period_start(day, _DAY)
        good, bad = (counts.get((day, status), 0) for status in ended)
        ratings.append(
            JobSuccessRating(
                id=place + 1,
                created_at=start,
                updated_at=now,
                day=f"{start:%Y/%m/%d}",
                success_rating=_percent(good, good + bad) if good + bad else NOTHING_ENDED,
                successful_jobs=good,
                failed_jobs=bad,
                total_jobs=good + bad,
            )
        )
    return ratings


def worker_ratings(tx: Rows, tenant: str | None) -> list[WorkerSuccessRating]:
    """The hours of the last fifteen days in which workers told of themselves, newest first, at most 360 rows."""
    now = tx.now()
    since = period_start(int(now.timestamp()) // _HOUR - HOURS + 1, _HOUR)
    by: list[str | Bucket] = [Bucket("created_at", _HOUR), "worker_type", "worker_status"]
    recent = Compare(attributes(Monitoring)["created_at"], (), "gte", since)
    counts = tx.tally(Monitoring, by, recent, tenant=tenant)
    words: dict[tuple[int, str], dict[str, int]] = {}
    for (hour, kind, status), count in counts.items():
        words.setdefault((hour, kind), {})[status] = count
    newest = sorted(words, key=lambda key: (-key[0], key[1]))[:HOURS]
    ratings = []
    for place, (hour, kind) in enumerate(newest):
        told, start = words[hour, kind], period_start(hour, _HOUR)
        available, processing, failed, exited = (
            _percent(told.get(word, 0), sum(told.values())) for word in ("AVAILABLE", "PROCESSING", "FAILED", "EXITED")
        )
        ratings.append(
            WorkerSuccessRating(
                id=place + 1,
                created_at=start,
                updated_at=now,
                uuid=str(uuid.uuid5(_NAMESPACE, f"{hour}\0{tenant or ''}\0{kind}")),
                worker_type=kind,
                timestamp=f"{start:%H %Y/%m/%d}",
                hour=hour,
                available_rating=available,
                processing_rating=processing,
                failed_rating=failed,
                exited_rating=exited,
            )
        )
    return ratings


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole)
