"""The queue dialect: the REST API that clients of BullMQ Proxy speak, and what is beside it under the same paths.

Each part declares its operations (`declare.Operation`); `face` makes routes of them.
"""

from __future__ import annotations

from gnj.api.http import Route
from gnj.api.queues import actions, events, figures, jobs, limits, openapi, progress, reference, workers
from gnj.api.queues.declare import Face, Operation
from gnj.api.queues.face import routes_of, tail

__all__ = ["OPERATIONS", "routes"]

OPERATIONS: tuple[Operation, ...] = (
    *jobs.OPERATIONS,
    *figures.OPERATIONS,
    *actions.OPERATIONS,
    *progress.OPERATIONS,
    *limits.OPERATIONS,
    *workers.OPERATIONS,
    *events.OPERATIONS,
    *openapi.OPERATIONS,
    *reference.OPERATIONS,
)
"""All that can be asked for."""


def routes(face: Face) -> list[Route]:
    """The routes of the queue dialect."""
    return [*routes_of(face, OPERATIONS), tail("/queues", "queues.tail"), tail("/workers", "queues.workers_tail")]
