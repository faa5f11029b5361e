"""Turns of tenants by priority: for jobs of which one tenant may have a thousand that each take long, whoever works them."""

from __future__ import annotations

from typing import Final

from gnj.queue.model import DEFAULT_PRIORITY, Job
from gnj.queue.storage import Rows, Select
from gnj.queue.where import equal

LOWEST: Final = -(2**31)
"""The lowest priority that every database and GraphQL's Int have."""


def priority(tx: Rows, type: str, tenant: str) -> int:
    """That of a new job of the type which takes its tenant's turn.

    The jobs that wait stand on levels, one of a tenant on each, which are done from above: a new one below the last one of its tenant,
    or below the level that is being done. Not on that: where others come again and again, it would never end, and who has many jobs
    would wait for good.
    """
    above = tx.lane(type, tenant, 1, backward=True) or tx.lane(type, None, 1)
    found = tx.columns(Job, ["priority"], Select(equal(Job, id=above[0][0]))) if above else []
    # others may have enqueued jobs of the type, of any priority
    return max(LOWEST, min(found[0][0] - 1, DEFAULT_PRIORITY)) if found else DEFAULT_PRIORITY
