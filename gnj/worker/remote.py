"""`RemoteWorker`: runs jobs of a queue whose database it cannot reach, over the GraphQL API of its server."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gnj.client.errors import ClientError, Unreachable
from gnj.client.http import Client
from gnj.client.protocol import JOB, Operation, as_variable
from gnj.queue.ends import Outcome
from gnj.queue.errors import (
    Forbidden,
    GnjError,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    StorageUnavailable,
    Unauthenticated,
)
from gnj.queue.model import Job, by_wire
from gnj.queue.policy import Policy
from gnj.queue.runner import MAX_LEASE
from gnj.queue.service import MAX_CLAIM
from gnj.queue.states import JOB_CLAIMED, JobStatus
from gnj.queue.values import Json, check_seconds, check_word, dump_json
from gnj.queue.wake import Wake
from gnj.worker import wire
from gnj.worker.bell import Bell
from gnj.worker.handlers import Handlers
from gnj.worker.loop import Loop
from gnj.worker.source import DEFAULT_LEASE, own_name
from gnj.worker.worker import Worker

logger = logging.getLogger("gnj.worker")

_ENDED = " ".join(name for name in by_wire(Job) if name != "input")
"""A claim's input is known already, and may be large."""
_CLAIM = (
    "mutation ($types: [String!]!, $limit: Int!, $worker: String, $kind: String, $lease: Int, $policies: [policyInput!]) {"
    " jobs: acquireJobs(typeList: $types, limit: $limit, workerId: $worker, workerType: $kind, leaseSeconds: $lease,"
    f" policies: $policies) {{ {JOB} }} }}"
)
_MINE = f"query ($where: SequelizeJSON, $limit: Int) {{ jobs: job(where: $where, limit: $limit) {{ {JOB} }} }}"
_RENEW = (
    "mutation ($claims: [claimInput!]!, $lease: Int) {"
    " jobs: heartbeats(claims: $claims, leaseSeconds: $lease) { status leaseExpiresAt } }"
)
_SETTLE = (
    "mutation ($outcomes: [outcomeInput!]!) {"
    f" results: settle(outcomes: $outcomes) {{ job {{ {_ENDED} }} code message }} }}"
)
_PROGRESS = (
    "mutation ($id: Int!, $attempt: Int!, $info: SequelizeJSON) {"
    f" job: progress(id: $id, attempt: $attempt, processingInfo: $info) {{ {_ENDED} }} }}"
)

_BYTES = 4 * 1024 * 1024
"""Of outcomes in one request, more only for a single one: a server takes 10 MiB unless it is told otherwise."""
_TOO_LARGE = 413
_LONGEST_WAIT = 10.0
"""Seconds that a server's Retry-After is heeded for: a lease must not end meanwhile."""


class RemoteSource:
    """A queue behind a GraphQL endpoint, as a `Source`.

    Every call is one request about many claims and can be repeated: ends are told with the number of the try (section 0,
    point 6), and jobs whose hand-out got lost on its way here are looked for before others are asked for.

    Args:
        url: The endpoint, such as `https://example.com/jobs/graphql`.
        token: Sent as `Authorization: Bearer …`.
        headers: Sent with every request.
        policies: What the handlers say of their types: sent with each claim, since the server does not know them.
        worker_id: Names the claimer in the jobs; host, process and a random part unless given.
        worker_type: Likewise, what kind of worker it is.
        lease: Seconds for which claims are taken and renewed; the wire takes whole ones, so it is rounded up.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        policies: Mapping[str, Policy] | None = None,
        worker_id: str | None = None,
        worker_type: str | None = None,
        lease: float = DEFAULT_LEASE,
    ) -> None:
        self.worker_id = own_name() if worker_id is None else check_word(worker_id, "worker_id")
        self.worker_type = None if worker_type is None else check_word(worker_type, "worker_type")
        self._lease = math.ceil(check_seconds(lease, "lease", low=0.01, high=MAX_LEASE))
        self._policies = {} if policies is None else policies
        self._client = Client(url, token, headers)
        self._wake = Wake()
        self._types: Sequence[str] = ()
        self._not_before = 0.0
        self._in_doubt = False
        """Whether an answer to a claim got lost, and jobs with it."""
        # Another worker of a name that was given may be alive: its claims must not be taken for lost ones.
        self._own_name = worker_id is None
        self._known: set[tuple[int, int]] = set()
        """The claims that were handed out here and may still hold."""
        self._knowing = threading.Lock()

    @property
    def lease(self) -> float:
        """See `Source.lease`."""
        return float(self._lease)

    def claim(self, types: Sequence[str], limit: int) -> list[Job]:
        """See `Source.claim`."""
        self._types = types
        if self._in_doubt and (found := self._found(types, limit)):
            return found
        policies = [wire.policy(type, self._policies[type]) for type in types if type in self._policies]
        asked = {
            "types": list(types),
            "limit": min(limit, MAX_CLAIM),
            "worker": self.worker_id,
            "kind": self.worker_type,
            "lease": self._lease,
            "policies": [policy for policy in policies if policy is not None],
        }
        self._in_doubt = self._own_name
        rows = self._ask(Operation(_CLAIM, "jobs", asked))
        self._in_doubt = False
        return self._handed_out(rows)

    def renew(self, claims: Sequence[Job]) -> list[Job | None]:
        """See `Source.renew`. Of the jobs, status and lease are those that were answered."""
        renewed: list[Job | None] = []
        for start in range(0, len(claims), MAX_CLAIM):
            part = claims[start : start + MAX_CLAIM]
            asked = {"claims": [{"id": claim.id, "attempt": claim.attempt} for claim in part], "lease": self._lease}
            rows = self._ask(Operation(_RENEW, "jobs", asked))
            renewed += [
                None if row is None else wire.refreshed(claim, row) for claim, row in zip(part, rows, strict=True)
            ]
        self._over(claim for claim, job in zip(claims, renewed, strict=True) if job is None)
        return renewed

    def settle(self, outcomes: Sequence[Outcome]) -> Sequence[Job | GnjError | None]:
        """See `Source.settle`."""
        return self._ended(outcomes)

    def progress(self, claim: Job, info: Json) -> Job:
        """See `Source.progress`."""
        asked = {"id": claim.id, "attempt": claim.attempt, "info": as_variable(info, "progress")}
        return wire.refreshed(claim, self._ask(Operation(_PROGRESS, "job", asked)))

    def release(self, claims: Sequence[Job]) -> frozenset[int]:
        """See `Source.release`."""
        for result in self._ended([Outcome(claim, JobStatus.QUEUED) for claim in claims]):
            if isinstance(result, GnjError) and not isinstance(result, (LeaseLost, JobNotFound)):
                raise result
        return frozenset()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """See `Source.listening`. Where the server offers this worker no subscriptions, only looking again is left."""
        with Bell(self._client, self._is_news, self._wake.set):
            yield

    @property
    def rings(self) -> int:
        """See `Source.rings`."""
        return self._wake.rings

    def wait(self, seen: int, timeout: float) -> int:
        """See `Source.wait`."""
        return self._wake.wait(seen, timeout)

    def ring(self) -> None:
        """See `Source.ring`."""
        self._wake.set()

    def close(self) -> None:
        """Ends the connections that were kept."""
        self._client.close()

    def _reach(self, operation: Operation) -> Any:
        """What the server answers. Raises `ClientError` for what it refuses, `StorageUnavailable` if it cannot be asked."""
        if time.monotonic() < self._not_before:
            raise StorageUnavailable("the server asked for a pause")
        try:
            return self._client.ask(operation)
        except Unreachable as error:
            self._not_before = time.monotonic() + min(error.retry_after or 0.0, _LONGEST_WAIT)
            raise StorageUnavailable(str(error)) from error

    def _ask(self, operation: Operation) -> Any:
        """Likewise, but raises what the server raised."""
        try:
            return self._reach(operation)
        except ClientError as error:
            if error.code in (Unauthenticated.code, Forbidden.code):  # until somebody has given it another token
                raise StorageUnavailable(f"the server refuses this worker ({error.code}): {error}") from error
            if error.status == _TOO_LARGE or error.code == "BAD_USER_INPUT":
                raise InvalidInput(str(error)) from error
            raise wire.error(error.code, str(error)) from error

    def _ended(self, outcomes: Sequence[Outcome]) -> list[Job | GnjError]:
        results: dict[int, Job | GnjError] = {}
        told: dict[int, dict[str, Any]] = {}
        for place, outcome in enumerate(outcomes):
            try:
                told[place] = wire.outcome(outcome)
            except InvalidInput as error:
                results[place] = error
        for part in _parts(told):
            claims = [outcomes[place].claim for place in part]
            results.update(zip(part, self._told(claims, [told[place] for place in part]), strict=True))
        return [results[place] for place in range(len(outcomes))]

    def _told(self, claims: Sequence[Job], outcomes: Sequence[Mapping[str, Any]]) -> list[Job | GnjError]:
        try:
            rows = self._ask(Operation(_SETTLE, "results", {"outcomes": list(outcomes)}))
        except InvalidInput as error:  # the request as a whole: one of them is to blame, the others shall not be
            if len(claims) == 1:
                return [error]
            half = len(claims) // 2
            return self._told(claims[:half], outcomes[:half]) + self._told(claims[half:], outcomes[half:])
        results: list[Job | GnjError] = [
            wire.error(row["code"], row["message"]) if row["job"] is None else wire.refreshed(claim, row["job"])
            for claim, row in zip(claims, rows, strict=True)
        ]
        self._over(c for c, r in zip(claims, results, strict=True) if isinstance(r, (Job, LeaseLost)))
        return results

    def _found(self, types: Sequence[str], limit: int) -> list[Job]:
        """The jobs that were claimed for this worker, but whose hand-out it never saw."""
        with self._knowing:
            known = set(self._known)  # before the question: what ends meanwhile must not look like one of them
        where = {"workerId": self.worker_id, "status": sorted(JOB_CLAIMED), "type": list(types)}
        try:
            rows = self._reach(Operation(_MINE, "jobs", {"where": where, "limit": limit + len(known)}))
        except ClientError as error:  # it may not read: such jobs come back when their leases end
            logger.debug("cannot look for lost claims: %s", error)
            rows = []
        found = [row for row in rows if (row["id"], row["attempt"]) not in known]
        self._in_doubt = len(found) > limit
        if found:
            logger.info("%d jobs, whose hand-out was lost, are run now", len(found[:limit]))
        return self._handed_out(found[:limit])

    def _handed_out(self, rows: Sequence[Mapping[str, Any]]) -> list[Job]:
        jobs = [wire.job(row, self.lease) for row in rows]
        with self._knowing:
            self._known.update((job.id, job.attempt) for job in jobs)
        return jobs

    def _over(self, claims: Iterable[Job]) -> None:
        with self._knowing:
            self._known.difference_update((claim.id, claim.attempt) for claim in claims)

    def _is_news(self, job: Mapping[str, Any]) -> bool:
        return job.get("status") == JobStatus.QUEUED and job.get("type") in self._types


def _parts(told: Mapping[int, Mapping[str, Any]]) -> Iterator[list[int]]:
    """The places of outcomes, divided into what one request may have."""
    part: list[int] = []
    size = 0
    for place, outcome in told.items():
        length = len(dump_json(outcome["output"]))
        if part and (size + length > _BYTES or len(part) == MAX_CLAIM):
            yield part
            part, size = [], 0
        part.append(place)
        size += length
    if part:
        yield part


class RemoteWorker(Worker):
    """A `Worker` for the jobs of a server that it reaches over GraphQL: the same handlers, context, stops and promises.

    What its handlers' registrations say of tries and timeouts goes to the server with each claim. It learns of new work
    through subscriptions where the server offers them to it (the token needs the scopes `read` and `work`), and looks
    every `poll` seconds besides.

    Args:
        url: The GraphQL endpoint, such as `https://example.com/jobs/graphql`.
        token: Sent as `Authorization: Bearer …`.
        handlers: What runs the jobs: `gnj.Handlers()`, or that of a `GNJ`.
        types: The types to claim; all that are registered, also later on, unless given.
        concurrency: Jobs that run at the same time at most.
        lease: Seconds for which a claim lasts without a sign of life, in whole seconds.
        worker_id: Names this worker in its jobs; host, process and a random part unless given. No two workers may share one.
        poll: Seconds between two looks for work that nobody announced.
        headers: Sent with every request.

    A server that cannot be reached, or that refuses the token, is asked again until it answers; that is logged once.
    Needs httpx (`pip install gnj[client]`). Raises `InvalidInput`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        handlers: Handlers,
        types: Sequence[str] | None = None,
        concurrency: int = 8,
        lease: float = DEFAULT_LEASE,
        worker_id: str | None = None,
        poll: float = 1.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(handlers, Handlers):
            raise InvalidInput(
                f"handlers must be a gnj.Handlers, such as jobs.handlers, not a {type(handlers).__name__}"
            )
        self._remote = RemoteSource(
            url, token=token, headers=headers, policies=handlers.policies, worker_id=worker_id, lease=lease
        )
        super().__init__(self._remote, handlers, types, concurrency, poll=poll)

    def _take_up(self, ended: Callable[[], None]) -> Loop:
        def end() -> None:
            self._remote.close()
            ended()

        return super()._take_up(end)
