"""Figures over many rows, counted when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gnj.queue.holds import ALL_TYPES, HELD
from gnj.queue.model import Hold, Job
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows, Select


@dataclass(frozen=True, slots=True)
class TypeSummary:
    """How the jobs of a type stand.

    Args:
        type: The type; "all" only where every type is held.
        counts: How many jobs have which status; a status that none has is left out.
        held: Whether the type itself is held.
    """

    type: str
    counts: Mapping[JobStatus, int]
    held: bool


def types(tx: Rows, tenant: str | None) -> list[TypeSummary]:
    """A summary for every type that a job or a hold has."""
    counts: dict[str, dict[JobStatus, int]] = {}
    for (type, status), count in tx.tally(Job, ["type", "status"], tenant=tenant).items():
        counts.setdefault(type, {})[status] = count
    held = {hold.type or ALL_TYPES for hold in tx.find(Hold, Select(HELD), tenant=tenant)}
    return [TypeSummary(type, counts.get(type, {}), type in held) for type in sorted(counts.keys() | held)]
