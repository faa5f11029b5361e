"""A worker's source that serves tenants in turn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from gnj.queue.model import Job
from gnj.worker.source import QueueSource


class TurnSource(QueueSource):
    """A `QueueSource` that claims one job of each tenant that has ready ones before it claims the next of any: a thousand that wait
    keep nobody else's waiting. The tenants take turns by their names; each of several workers goes round by itself.

    For few jobs that take long: a claim looks each type up once or twice, and then claims job by job.
    """

    def __init__(self, *of: Any, **options: Any) -> None:
        super().__init__(*of, **options)
        self._last: str | None = None
        """The tenant that was served last."""

    def claim(self, types: Sequence[str], limit: int, slots: int | None = None) -> list[Job]:
        """See `Limited.claim`."""
        found: list[Job] = []
        while len(found) < limit:
            before = len(found)
            for tenant in self._next(types, limit - before):
                self._last = tenant
                found += self.queue.acquire(
                    types,
                    1,
                    worker_id=self.worker_id,
                    worker_type=self.worker_type,
                    lease=self.lease,
                    tenants=[tenant],
                    policies=self.policies,
                    slots=None if slots is None else max(0, slots - len(found)),
                )
            if len(found) == before:
                break
        # of those whose turn it was, all may be held; and what is due, but not ready yet, is told of no tenant
        return found or super().claim(types, min(limit, 1), slots)

    def _next(self, types: Sequence[str], most: int) -> list[str]:
        """The next tenants that have ready jobs, each once: those after the last one that was served, then from the first one on."""
        with self.queue.storage.begin(write=False) as tx:
            later = sorted({each for type in types for each in tx.tenants(type, self._last, most)})[:most]
            if len(later) == most or self._last is None:
                return later
            first = sorted({each for type in types for each in tx.tenants(type, None, most)})
        return [*later, *islice((each for each in first if each not in later), most - len(later))]
