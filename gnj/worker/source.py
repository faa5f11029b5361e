"""Where a worker's jobs come from, and where it tells how they ended."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from gnj.queue.errors import GnjError
from gnj.queue.model import Job
from gnj.queue.service import MAX_CLAIM, Outcome, Queue
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

    def settle(self, outcomes: Sequence[Outcome]) -> list[Job | GnjError]:
        """Ends claims, each on its own: the job, or the error in its place. The same outcome again is no error."""

    def progress(self, claim: Job, info: Json) -> Job:
        """Merges `info` into the job's progress; the job. Raises `LeaseLost`, `CancelPending`, `InvalidInput`."""

    def release(self, claims: Sequence[Job]) -> list[Job]:
        """Gives claims back, counting nothing; those that are over already are left out of the answer."""

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


class QueueSource:
    """A `Queue` in this process as a `Source`.

    Args:
        queue: The queue.
        worker_id: Names the claimer in the jobs; host, process and a random part unless given.
        worker_type: Likewise, what kind of worker it is.
        lease: Seconds for which claims are taken and renewed.
        tenants: Whose jobs are claimed; everybody's unless given.
    """

    def __init__(
        self,
        queue: Queue,
        worker_id: str | None = None,
        worker_type: str | None = None,
        lease: float = DEFAULT_LEASE,
        tenants: Sequence[str] | None = None,
    ) -> None:
        self.queue = queue
        self.worker_id = own_name() if worker_id is None else worker_id
        self.worker_type = worker_type
        self.lease = queue.lease_of(lease)
        self.tenants = None if tenants is None else [check_text(tenant, "a tenant") for tenant in tenants]

    def claim(self, types: Sequence[str], limit: int) -> list[Job]:
        """See `Source.claim`."""
        return self.queue.acquire(
            types,
            min(limit, MAX_CLAIM),
            worker_id=self.worker_id,
            worker_type=self.worker_type,
            lease=self.lease,
            tenants=self.tenants,
        )

    def renew(self, claims: Sequence[Job]) -> list[Job | None]:
        """See `Source.renew`."""
        tokens = [(claim.id, claim.attempt) for claim in claims]
        renewed: list[Job | None] = []
        for start in range(0, len(tokens), MAX_CLAIM):
            renewed += self.queue.heartbeats(tokens[start : start + MAX_CLAIM], lease=self.lease)
        return renewed

    def settle(self, outcomes: Sequence[Outcome]) -> list[Job | GnjError]:
        """See `Source.settle`."""
        return self.queue.settle(outcomes)

    def progress(self, claim: Job, info: Json) -> Job:
        """See `Source.progress`."""
        return self.queue.progress(claim, info)

    def release(self, claims: Sequence[Job]) -> list[Job]:
        """See `Source.release`."""
        return self.queue.release(claims)

    def listening(self) -> AbstractContextManager[None]:
        """See `Source.listening`."""
        return self.queue.listening()

    @property
    def rings(self) -> int:
        """See `Source.rings`."""
        return self.queue.wake.rings

    def wait(self, seen: int, timeout: float) -> int:
        """See `Source.wait`."""
        return self.queue.wake.wait(seen, timeout)

    def ring(self) -> None:
        """See `Source.ring`. Other workers of the queue look once in vain."""
        self.queue.wake.set()


def own_name() -> str:
    """A name that no other worker has: host, process and a random part."""
    import socket  # noqa: PLC0415 - `import gnj` does without it

    return f"{socket.gethostname()[:100]}-{os.getpid()}-{os.urandom(3).hex()}"
