"""A worker's source that serves tenants in turn."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any

from gnj.queue.ends import Outcome
from gnj.queue.errors import GnjError
from gnj.queue.model import Job
from gnj.worker.source import QueueSource


class TurnSource(QueueSource):
    """A `QueueSource` that claims one job of each tenant that has ready ones before it claims the next of any: a thousand that wait
    keep nobody else's waiting. The tenants take turns by their names; each of several workers goes round by itself.

    For few jobs that take long: a claim looks each type up once or twice, and then claims job by job.

    Args:
        share: Jobs of one tenant that it holds at once at most, so that those that take long leave slots to others; None: as many
            as are asked for.
    """

    def __init__(self, *of: Any, share: int | None = None, **options: Any) -> None:
        super().__init__(*of, **options)
        self._last: str | None = None
        """The tenant that was served last."""
        self._shares = None if share is None else _Shares(share, self.lease)

    def claim(self, types: Sequence[str], limit: int, slots: int | None = None) -> list[Job]:
        """See `Limited.claim`."""
        if found := self._in_turn(types, limit, slots):
            return found
        if self._full():
            # what is due is told of no tenant before it is ready
            return self._in_turn(types, limit, slots) if self.queue.storage.promote(limit) else []
        # of those whose turn it was, all may be held
        claimed = super().claim(types, min(limit, 1), slots)
        self._held(claimed)
        return claimed

    def _in_turn(self, types: Sequence[str], limit: int, slots: int | None) -> list[Job]:
        found: list[Job] = []
        while len(found) < limit:
            before = len(found)
            for tenant in self._next(types, limit - before):
                self._last = tenant
                claimed = self.queue.acquire(
                    types,
                    1,
                    worker_id=self.worker_id,
                    worker_type=self.worker_type,
                    lease=self.lease,
                    tenants=[tenant],
                    policies=self.policies,
                    slots=None if slots is None else max(0, slots - len(found)),
                )
                self._held(claimed)
                found += claimed
            if len(found) == before:
                break
        return found

    def renew(self, claims: Sequence[Job]) -> list[Job | None]:
        """See `Source.renew`."""
        renewed = super().renew(claims)
        if self._shares is not None:
            self._shares.renew(job for job in renewed if job is not None)
        return renewed

    def settle(self, outcomes: Sequence[Outcome]) -> Sequence[Job | GnjError | None]:
        """See `Source.settle`."""
        settled = super().settle(outcomes)
        self._ended(outcome.claim for outcome in outcomes)
        return settled

    def release(self, claims: Sequence[Job]) -> frozenset[int]:
        """See `Source.release`."""
        again = super().release(claims)
        self._ended(claims)
        return again

    def _held(self, claims: Iterable[Job]) -> None:
        if self._shares is not None:
            self._shares.take(claims)

    def _ended(self, claims: Iterable[Job]) -> None:
        """Looks again for jobs of tenants that had their share."""
        if self._shares is not None and self._shares.give_back(claims):
            self.ring()

    def _full(self) -> Collection[str]:
        """The tenants that have their share."""
        return () if self._shares is None else self._shares.full()

    def _next(self, types: Sequence[str], most: int) -> list[str]:
        """The next tenants that have ready jobs, each once: those after the last one that was served, then from the first one on.
        Without those that have their share.
        """
        full = self._full()
        with self.queue.storage.begin(write=False) as tx:

            def after(last: str | None) -> list[str]:
                there = {each for type in types for each in tx.tenants(type, last, most + len(full))}
                return sorted(there.difference(full))[:most]

            later = after(self._last)
            first = [] if len(later) == most or self._last is None else after(None)
        return [*later, *islice((each for each in first if each not in later), most - len(later))]


class _Shares:
    """What a source holds of each tenant: by claims, which end with their leases where nobody has told of it.

    Args:
        most: Claims that are a share.
        lease: Seconds for which a claim is held unless it is renewed.
    """

    def __init__(self, most: int, lease: float) -> None:
        self._most = most
        self._lease = lease
        self._lock = threading.Lock()
        self._claims: dict[tuple[int, int], tuple[str, float]] = {}
        """The tenant of each, and until when it is held."""

    def take(self, claims: Iterable[Job]) -> None:
        """These are held from now on."""
        until = time.monotonic() + self._lease
        with self._lock:
            self._claims.update(((claim.id, claim.attempt), (claim.tenant, until)) for claim in claims)

    def renew(self, claims: Iterable[Job]) -> None:
        """These are held for longer, unless they were given back while they were renewed."""
        until = time.monotonic() + self._lease
        with self._lock:
            for claim in claims:
                if (key := (claim.id, claim.attempt)) in self._claims:
                    self._claims[key] = (claim.tenant, until)

    def give_back(self, claims: Iterable[Job]) -> bool:
        """These are held no longer; whether a tenant of theirs had its share."""
        with self._lock:
            full = self._full()
            ended = [self._claims.pop((claim.id, claim.attempt), None) for claim in claims]
        return any(each is not None and each[0] in full for each in ended)

    def full(self) -> frozenset[str]:
        """The tenants that have their share."""
        with self._lock:
            return self._full()

    def _full(self) -> frozenset[str]:
        now = time.monotonic()
        self._claims = {claim: held for claim, held in self._claims.items() if held[1] > now}
        counts = Counter(tenant for tenant, _ in self._claims.values())
        return frozenset(tenant for tenant, number in counts.items() if number >= self._most)
