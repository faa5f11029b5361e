"""Where the workers of a run get their jobs from: over HTTP, and anything with its every answer written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from benchmarks.reliability.client import Client
from benchmarks.reliability.trace import (
    CLAIMED,
    REFUSED,
    RELEASING,
    RENEWED,
    TELLING,
    TOLD,
    Claim,
    Trace,
    clock,
)
from gnj.queue.ends import Outcome
from gnj.queue.errors import GnjError, LeaseLost, StorageUnavailable
from gnj.queue.model import Job
from gnj.queue.states import JobStatus
from gnj.queue.values import Json
from gnj.worker.source import Source

_CLAIM = """mutation ($types: [String!]!, $limit: Int!, $worker: String, $lease: Int) {
    acquireJobs(typeList: $types, limit: $limit, workerId: $worker, leaseSeconds: $lease) { id attempt type input } }"""
_RENEW = """mutation ($claims: [claimInput!]!, $lease: Int) {
    heartbeats(claims: $claims, leaseSeconds: $lease) { id attempt status } }"""
_SETTLE = """mutation ($jobs: [jobInput!]!) { jobUpdateMany(jobs: $jobs) { job { id status } code message } }"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HttpSource:
    """A worker's side of the GraphQL API; see `gnj.worker.source.Source`."""

    def __init__(self, client: Client, worker_id: str, lease: int) -> None:
        self.lease: float = lease
        self._client = client
        self._worker_id = worker_id
        self._rung = threading.Event()
        self.rings = 0

    def claim(self, types: Sequence[str], limit: int) -> list[Job]:
        """See `Source.claim`."""
        given = {"types": list(types), "limit": limit, "worker": self._worker_id, "lease": int(self.lease)}
        rows = self._client.ask(_CLAIM, **given)["acquireJobs"]
        return [_job(row, self.lease) for row in rows]

    def renew(self, claims: Sequence[Job]) -> list[Job | None]:
        """See `Source.renew`."""
        tokens = [{"id": claim.id, "attempt": claim.attempt} for claim in claims]
        rows = self._client.ask(_RENEW, claims=tokens, lease=int(self.lease))["heartbeats"]
        return [
            None if row is None else claim.evolve(status=JobStatus(row["status"]))
            for claim, row in zip(claims, rows, strict=True)
        ]

    def settle(self, outcomes: Sequence[Outcome]) -> list[Job | GnjError]:
        """See `Source.settle`."""
        jobs = [
            {"id": o.claim.id, "attempt": o.claim.attempt, "status": str(o.status), "output": o.output}
            for o in outcomes
        ]
        rows = self._client.ask(_SETTLE, jobs=jobs)["jobUpdateMany"]
        return [_settled(outcome, row) for outcome, row in zip(outcomes, rows, strict=True)]

    def progress(self, claim: Job, info: Json) -> Job:
        """See `Source.progress`: the handlers of a run report none."""
        return claim

    def release(self, claims: Sequence[Job]) -> frozenset[int]:
        """See `Source.release`: the API has no such operation, so that the lease has to run out."""
        return frozenset()

    def listening(self) -> AbstractContextManager[None]:
        """See `Source.listening`."""
        return nullcontext()

    def wait(self, seen: int, timeout: float) -> int:
        """See `Source.wait`."""
        if self.rings == seen:
            self._rung.wait(timeout)
        self._rung.clear()
        return self.rings

    def ring(self) -> None:
        """See `Source.ring`."""
        self.rings += 1
        self._rung.set()


class Traced:
    """A source whose answers are written to a trace: nothing that it does not tell the oracle of."""

    def __init__(self, source: Source, trace: Trace) -> None:
        self._source = source
        self._trace = trace

    @property
    def lease(self) -> float:
        """See `Source.lease`."""
        return self._source.lease

    @property
    def rings(self) -> int:
        """See `Source.rings`."""
        return self._source.rings

    def claim(self, types: Sequence[str], limit: int) -> list[Job]:
        """See `Source.claim`."""
        since = clock()
        jobs = self._source.claim(types, limit)
        self._trace.write(CLAIMED, _tokens(jobs), since)
        return jobs

    def renew(self, claims: Sequence[Job]) -> list[Job | None]:
        """See `Source.renew`."""
        since = clock()
        answers = self._source.renew(claims)
        self._trace.write(RENEWED, _tokens([job for job in answers if job is not None]), since)
        return answers

    def settle(self, outcomes: Sequence[Outcome]) -> Sequence[Job | GnjError | None]:
        """See `Source.settle`."""
        self._trace.write(TELLING, _tokens([outcome.claim for outcome in outcomes]))
        results = self._source.settle(outcomes)
        pairs = list(zip(outcomes, results, strict=True))
        self._trace.write(TOLD, [_token(o.claim) for o, result in pairs if result is None or isinstance(result, Job)])
        self._trace.write(REFUSED, [_token(o.claim) for o, result in pairs if isinstance(result, LeaseLost)])
        return results

    def progress(self, claim: Job, info: Json) -> Job:
        """See `Source.progress`."""
        return self._source.progress(claim, info)

    def release(self, claims: Sequence[Job]) -> frozenset[int]:
        """See `Source.release`."""
        self._trace.write(RELEASING, _tokens(claims))
        return self._source.release(claims)

    def listening(self) -> AbstractContextManager[None]:
        """See `Source.listening`."""
        return self._source.listening()

    def wait(self, seen: int, timeout: float) -> int:
        """See `Source.wait`."""
        return self._source.wait(seen, timeout)

    def ring(self) -> None:
        """See `Source.ring`."""
        self._source.ring()


def _job(row: dict[str, Any], lease: float) -> Job:
    """A claimed job as a worker needs it: the rest of the row stays with the server."""
    return Job(
        id=row["id"],
        attempt=row["attempt"],
        type=row["type"],
        input=row["input"],
        lease=lease,
        status=JobStatus.PROCESSING,
        created_at=_EPOCH,
        updated_at=_EPOCH,
    )


_ERRORS: dict[str, Callable[[str], GnjError]] = {"LEASE_LOST": LeaseLost, "CONFLICT": StorageUnavailable}


def _settled(outcome: Outcome, row: dict[str, Any]) -> Job | GnjError:
    if row["job"] is not None:
        return outcome.claim.evolve(status=JobStatus(row["job"]["status"]))
    if row["code"].startswith("STORAGE"):
        return StorageUnavailable(row["message"])
    return _ERRORS.get(row["code"], GnjError)(row["message"])


def _token(job: Job) -> Claim:
    return job.id, job.attempt


def _tokens(jobs: Sequence[Job]) -> list[Claim]:
    return [_token(job) for job in jobs]
