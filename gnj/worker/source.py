"""Where a worker's jobs come from, and where it tells how they ended."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from gnj.queue.ends import Outcome
from gnj.queue.errors import GnjError
from gnj.queue.model import Job
from gnj.queue.policy import Policy
from gnj.queue.service import MAX_CLAIM, Queue
from gnj.queue.states import JobStatus
from gnj.queue.values import Json, check_text

DEFAULT_LEASE = 30.0
"""Seconds (section 0, point 7)."""


@runtime_checkable
class Source(Protocol):
    """A queue as its workers see it, near or far: few calls, each about many claims.

    Called from several threads at once. A call that cannot reach the queue raises (`StorageUnavailable`, if it knows) and
    is repeated: every call can be, also when it was carried out and only its answer got lost.
    """

    @property
    def lease(self) -> float:
        """Seconds for which claims are taken and renewed."""

    def claim(self, types: Sequence[str], limit: int) -> list[Job]:
        """At most `limit` jobs of `types`, claimed."""

    def renew(self, claims: Sequence[Job]) -> list[Job | None]:
        """The jobs, their leases renewed, in the given order; None in the place of each claim that is over.

        A status of `cancel-requested` in the answer is how a worker learns of a cancellation.
        """

    def settle(self, outcomes: Sequence[Outcome]) -> Sequence[Job | GnjError | None]:
        """Ends claims, each on its own: the error in its place (`Locked`: to be told again a little later); else the job, or
        None where it is not at hand.

        The same outcome again is no error. Outputs are JSON that was checked.
        """

    def progress(self, claim: Job, info: Json) -> Job:
        """Merges `info` into the job's progress; the job. Raises `LeaseLost`, `CancelPending`, `InvalidInput`."""

    def release(self, claims: Sequence[Job]) -> frozenset[int]:
        """Gives claims back, counting nothing; nothing happens to those that are over already. The ids of those that could not be
        given back, and are to be a little later.
        """

    def listening(self) -> AbstractContextManager[None]:
        """While the block lasts, `wait` also returns for changes made elsewhere, where the queue can tell."""

    @property
    def rings(self) -> int:
        """How often there may have been new work: to be read before `claim`, and handed to `wait`."""

    def wait(self, seen: int, timeout: float) -> int:
        """Returns when there may be new work since `seen`, at once if there was some, or after `timeout` seconds; the
        rings so far.
        """

    def ring(self) -> None:
        """Makes every `wait` return."""


@runtime_checkable
class Limited(Protocol):
    """A `Source` that knows which types have limits, so that no more of their jobs are claimed than can begin at once: a claim
    that waits keeps the jobs of others. Where a source does not know, they are claimed ahead as all others are.
    """

    def claim(self, types: Sequence[str], limit: int, slots: int | None = None) -> list[Job]:
        """See `Source.claim`; of those types that have limits at most `slots`."""

    def limits(self, types: Sequence[str]) -> bool:
        """Whether some of `types` are known to have limits, so that `claim` may have kept jobs back for want of `slots`."""


class QueueSource:
    """A `Queue` in this process as a `Source`.

    Args:
        queue: The queue.
        worker_id: Names the claimer in the jobs; host, process and a random part unless given.
        worker_type: Likewise, what kind of worker it is.
        lease: Seconds for which claims are taken and renewed.
        tenants: Whose jobs are claimed; everybody's unless given.
        policies: How jobs are tried that say nothing themselves, by type; what the queue knows of the other types stays.
    """

    def __init__(
        self,
        queue: Queue,
        worker_id: str | None = None,
        worker_type: str | None = None,
        lease: float = DEFAULT_LEASE,
        tenants: Sequence[str] | None = None,
        policies: Mapping[str, Policy] | None = None,
    ) -> None:
        self.queue = queue
        self.policies = policies
        self.worker_id = own_name() if worker_id is None else worker_id
        self.worker_type = worker_type
        self.lease = queue.lease_of(lease)
        self.tenants = None if tenants is None else [check_text(tenant, "a tenant") for tenant in tenants]

    def limits(self, types: Sequence[str]) -> bool:
        """See `Limited.limits`."""
        return self.queue.is_limited(types)

    def claim(self, types: Sequence[str], limit: int, slots: int | None = None) -> list[Job]:
        """See `Limited.claim`."""
        return self.queue.acquire(
            types,
            min(limit, MAX_CLAIM),
            worker_id=self.worker_id,
            worker_type=self.worker_type,
            lease=self.lease,
            tenants=self.tenants,
            policies=self.policies,
            slots=slots,
        )

    def renew(self, claims: Sequence[Job]) -> list[Job | None]:
        """See `Source.renew`."""
        tokens = [(claim.id, claim.attempt) for claim in claims]
        renewed: list[Job | None] = []
        for start in range(0, len(tokens), MAX_CLAIM):
            renewed += self.queue.heartbeats(tokens[start : start + MAX_CLAIM], lease=self.lease, wait=False)
        return renewed

    def settle(self, outcomes: Sequence[Outcome]) -> Sequence[Job | GnjError | None]:
        """See `Source.settle`."""
        results = self.queue.finish(outcomes)
        for job in results:
            # what is put back for a while, such as for its next try, is looked for when the while is over
            if isinstance(job, Job) and job.status is JobStatus.QUEUED and job.due_at is not None:
                self.queue.wake.set_in((job.due_at - job.updated_at).total_seconds())
        return results

    def progress(self, claim: Job, info: Json) -> Job:
        """See `Source.progress`."""
        return self.queue.progress(claim, info)

    def release(self, claims: Sequence[Job]) -> frozenset[int]:
        """See `Source.release`."""
        return self.queue.give_back(claims)

    def listening(self) -> AbstractContextManager[None]:
        """See `Source.listening`."""
        return self.queue.listening()

    @property
    def rings(self) -> int:
        """See `Source.rings`."""
        return self.queue.wake.rings

    def wait(self, seen: int, timeout: float) -> int:
        """See `Source.wait`. What has to be done before a claim from time to time is done here, where no job waits for it."""
        if self.queue.wake.rings == seen:
            self.queue.keep_up()
        return self.queue.wake.wait(seen, timeout)

    def ring(self) -> None:
        """See `Source.ring`. Other workers of the queue look once in vain."""
        self.queue.wake.set()


def own_name() -> str:
    """A name that no other worker has: host, process and a random part."""
    import socket  # noqa: PLC0415 - `import gnj` does without it

    return f"{socket.gethostname()[:100]}-{os.getpid()}-{os.urandom(3).hex()}"
