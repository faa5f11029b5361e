"""Judges a run in the end, by what its processes wrote down and by what is in the database.

Memory grows with the jobs, by some hundred bytes each; time grows with the jobs and the lines of the traces.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from benchmarks.reliability.creator import Acknowledged
from benchmarks.reliability.records import Held, Records
from gnj.queue.model import Batch, Job, JobAttempt, Pipeline, RecordT, Step
from gnj.queue.states import JOB_ENDED, STEP_DONE, BatchStatus, JobStatus, PipelineStatus
from gnj.queue.storage import Select, Storage
from gnj.queue.where import Op, Where, parse

COUNTS = {
    "lost": "acknowledged jobs that did not end",
    "wrong ends": "acknowledged jobs that failed or were cancelled",
    "double-claimed": "claims given out twice, or while another was alive",
    "stale writes accepted": "stored outputs that are not those of the claim that ended the job",
    "step inversions": "steps begun before all of the step before had ended well",
    "queued twice": "jobs claimed more often than they were queued, lost or given back",
    "not settled": "batches, pipelines and steps that are not successful",
    "crashes": "processes that ended by themselves",
}
"""What must be 0."""
_PAGE = 2000
_TOLERANCE = 10_000_000
"""Nanoseconds: databases cut their clocks to milliseconds."""


@dataclass(slots=True)
class Verdict:
    """What was found."""

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The first few of each, for who looks for the cause."""
    recovery: list[float] = field(default_factory=list)
    """Seconds from the kill of a worker to the next claim of each job that it held."""
    facts: dict[str, int] = field(default_factory=dict)

    def found(self, what: str, sample: str) -> None:
        """One more."""
        self.counts[what] += 1
        if len(self.samples[what]) < 5:
            self.samples[what].append(sample)

    @property
    def clean(self) -> bool:
        """Whether everything is 0 that must be."""
        return not any(self.counts[what] for what in COUNTS)


@dataclass(slots=True)
class _Times:
    """When a job of a pipeline was first claimed, and when it ended: by its database's clock, and by the traces."""

    started: datetime | None
    ended: datetime | None
    claimed: int
    told: int


def judge(storage: Storage, records: Records, acknowledged: Acknowledged, killed: Mapping[str, int]) -> Verdict:
    """The verdict on a run that has ended."""
    verdict = Verdict()
    history: Counter[int] = Counter()
    first: dict[int, datetime] = {}
    for row in pages(storage, JobAttempt):
        history[row.job_id] += 1
        if row.started_at is not None:
            first[row.job_id] = min(first.get(row.job_id, row.started_at), row.started_at)
    missing = set(acknowledged.jobs)
    times: dict[int, _Times] = {}
    members: dict[int, list[int]] = defaultdict(list)
    for job in pages(storage, Job):
        claims = records.claims.get(job.id, [])
        if job.unique_id in missing:
            missing.discard(job.unique_id)
            _check_end(verdict, job)
        _check_output(verdict, job, claims)
        _check_claims(verdict, job.id, claims)
        if job.attempt - 1 > history[job.id] + records.releases.get(job.id, 0):
            verdict.found("queued twice", f"job {job.id}: {job.attempt} claims, {history[job.id]} of them lost")
        if job.batch_id is not None:
            members[job.batch_id].append(job.id)
        if job.type == "step":
            times[job.id] = _times(job, first.get(job.id), claims)
    for key in missing:
        verdict.found("lost", f"{key} is not in the database")
    _check_parents(verdict, storage, acknowledged, members, times)
    _measure_recovery(verdict, records, killed)
    verdict.facts = {
        "acknowledged": len(acknowledged.jobs),
        "batches": len(acknowledged.batches),
        "pipelines": len(acknowledged.pipelines),
        "asked again": acknowledged.again,
        "claims": sum(map(len, records.claims.values())),
        "lost leases": sum(history.values()),
        "late ends refused": records.refused,
        "renewals": records.renewed,
    }
    return verdict


def pages(storage: Storage, kind: type[RecordT]) -> Iterator[RecordT]:
    """All rows of a kind by id; never more than a page in memory."""
    last = 0
    while True:
        rows = storage.find(kind, Select(parse(kind, Where(id=Op("gt", last))), limit=_PAGE))
        yield from rows
        if len(rows) < _PAGE:
            return
        last = rows[-1].id


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _check_end(verdict: Verdict, job: Job) -> None:
    if job.status not in JOB_ENDED:
        verdict.found("lost", f"job {job.id} ({job.unique_id}) is {job.status}, claim {job.attempt}")
    elif job.status is not JobStatus.SUCCESSFUL:
        verdict.found("wrong ends", f"job {job.id} is {job.status}: {job.output}")


def _check_output(verdict: Verdict, job: Job, claims: list[Held]) -> None:
    """The row, its output and what the workers were told must all speak of one and the same claim."""
    if job.status is JobStatus.SUCCESSFUL:
        wanted = {"id": job.id, "attempt": job.attempt, "worker": job.worker_id}
        if job.output != wanted:
            verdict.found("stale writes accepted", f"job {job.id}: {job.output} is stored, not {wanted}")
        elif not any(held.attempt == job.attempt and held.telling is not None for held in claims):
            verdict.found("stale writes accepted", f"job {job.id}: nobody told the end that is stored")
    for held in claims:
        if held.told and (held.attempt != job.attempt or job.status is not JobStatus.SUCCESSFUL):
            sample = f"job {job.id}: the end of claim {held.attempt} was said to be stored; it is {job.status} by claim"
            verdict.found("stale writes accepted", f"{sample} {job.attempt}")


def _check_claims(verdict: Verdict, id: int, claims: list[Held]) -> None:
    for place, later in enumerate(claims):
        for earlier in claims[:place]:
            over = earlier.until if earlier.telling is None else min(earlier.until, earlier.telling)
            same = earlier.attempt == later.attempt
            if same or later.since + _TOLERANCE < over:
                left = "the same claim" if same else f"{(over - later.since) / 1e9:.3f} s of the lease were left"
                who = f"claim {earlier.attempt} of {earlier.worker} and {later.attempt} of {later.worker}"
                verdict.found("double-claimed", f"job {id}: {who}: {left}")


def _times(job: Job, first: datetime | None, claims: list[Held]) -> _Times:
    started = min((moment for moment in (first, job.started_at) if moment is not None), default=None)
    told = [held.telling for held in claims if held.attempt == job.attempt and held.telling is not None]
    claimed = min((held.since for held in claims), default=2**63)
    ended = job.ended_at if job.status is JobStatus.SUCCESSFUL else None
    return _Times(started, ended, claimed, min(told, default=0))


def _check_parents(
    verdict: Verdict,
    storage: Storage,
    acknowledged: Acknowledged,
    members: Mapping[int, list[int]],
    times: Mapping[int, _Times],
) -> None:
    batches, pipelines = set(acknowledged.batches), set(acknowledged.pipelines)
    for batch in pages(storage, Batch):
        ours = batch.id in batches or (batch.pipeline_id in pipelines and batch.id in members)
        batches.discard(batch.id)
        if ours and batch.status is not BatchStatus.SUCCESSFUL:
            verdict.found("not settled", f"batch {batch.id} is {batch.status}")
    steps: dict[int, list[Step]] = defaultdict(list)
    for step in pages(storage, Step):
        if step.pipeline_id in pipelines:
            steps[step.pipeline_id].append(step)
            if step.status not in STEP_DONE:
                verdict.found("not settled", f"step {step.index} of pipeline {step.pipeline_id} is {step.status}")
    for pipeline in pages(storage, Pipeline):
        if pipeline.id in pipelines:
            pipelines.discard(pipeline.id)
            if pipeline.status is not PipelineStatus.SUCCESSFUL:
                verdict.found("not settled", f"pipeline {pipeline.id} is {pipeline.status}")
    for kind, ids in (("batch", batches), ("pipeline", pipelines)):
        for id in ids:
            verdict.found("lost", f"{kind} {id} is not in the database")
    for id, own in steps.items():
        _check_order(verdict, id, sorted(own, key=lambda step: (step.index, step.id)), members, times)


def _check_order(
    verdict: Verdict, id: int, steps: list[Step], members: Mapping[int, list[int]], times: Mapping[int, _Times]
) -> None:
    before: list[_Times] = []
    for step in steps:
        ids = [step.job_id] if step.job_id is not None else members.get(step.batch_id or 0, [])
        now = [times[job] for job in ids if job in times]
        if before and now:
            ended = [each.ended for each in before]
            started = [each.started for each in now if each.started is not None]
            open_ends = bool(started) and None in ended
            by_database = started and not open_ends and min(started) < max(e for e in ended if e is not None)
            by_trace = min(each.claimed for each in now) < max(each.told for each in before)
            if open_ends or by_database or by_trace:
                verdict.found("step inversions", f"step {step.index} of pipeline {id}")
        before = now or before


def _measure_recovery(verdict: Verdict, records: Records, killed: Mapping[str, int]) -> None:
    for worker, moment in killed.items():
        for id, held in records.by_worker.get(worker, []):
            if held.told:
                continue
            following = [each.since for each in records.claims[id] if each.attempt == held.attempt + 1]
            if following and following[0] > moment:
                verdict.recovery.append((following[0] - moment) / 1e9)
