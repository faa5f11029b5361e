"""The reads of the jobs dialect: a list for every shape that has an id, and counts (section 4 of the jobs contract)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gnj.api.hooks import Kind
from gnj.api.jobs.roots import Call, RootField
from gnj.graphql import records
from gnj.queue.model import Batch, Hold, Job, Pipeline, Record, Step

LISTED: dict[str, type[Record]] = {
    "job": Job,
    "batch": Batch,
    "pipeline": Pipeline,
    "pipelineStep": Step,
    "jobHoldType": Hold,
}
"""What can be listed, by the name of the field and of its type."""
COUNTED = ("job", "batch", "pipeline", "pipelineStep")


def _list(record: type[Record]) -> Callable[..., Sequence[Record]]:
    return lambda call, **given: call.siblings(records.find(call.queue.storage, record, call.tenant, **given))


def _count(record: type[Record]) -> Callable[..., int]:
    def count(call: Call, id: int | None = None, where: Any = None, **_ignored: object) -> int:
        # limit, order and offset are accepted and ignored (section 4)
        return records.count(call.queue.storage, record, call.tenant, id=id, where=where)

    return count


QUERIES = (
    *(RootField(name, Kind.READ, _list(record)) for name, record in LISTED.items()),
    *(RootField(f"{name}Count", Kind.READ, _count(LISTED[name])) for name in COUNTED),
)
"""The fields of Query."""


def type_defs() -> str:
    """The type Query, as text."""
    lists = [f"  {name}({records.LIST_ARGUMENTS}): [{name}]" for name in LISTED]
    counts = [f"  {name}Count({records.LIST_ARGUMENTS}): Int" for name in COUNTED]
    return "\n".join(["type Query {", *lists, *counts, "}"])
