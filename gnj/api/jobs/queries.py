"""The reads of the jobs dialect: a list for every shape that has an id, and counts (section 4 of the jobs contract)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gnj.api.hooks import Kind
from gnj.api.jobs.roots import Call, RootField
from gnj.graphql import records
from gnj.queue import ratings
from gnj.queue.model import Batch, Hold, Job, Monitoring, Pipeline, Record, Schedule, Step
from gnj.queue.storage import Rows

LISTED: dict[str, type[Record]] = {
    "job": Job,
    "batch": Batch,
    "pipeline": Pipeline,
    "pipelineStep": Step,
    "jobHoldType": Hold,
    "recurringJob": Schedule,
    "workerMonitoring": Monitoring,
}
"""What can be listed, by the name of the field and of its type."""
COUNTED = ("job", "batch", "pipeline", "pipelineStep", "recurringJob")


def _list(record: type[Record]) -> Callable[..., Sequence[Record]]:
    def rows(call: Call, **given: Any) -> Sequence[Record]:
        found = records.find(call.queue.storage, record, call.tenant, **given, limits=call.loads.limits)
        return call.siblings(found)

    return rows


def _count(record: type[Record]) -> Callable[..., int]:
    def count(call: Call, id: int | None = None, where: Any = None, **_ignored: object) -> int:
        # limit, order and offset are accepted and ignored (section 4)
        return records.count(call.queue.storage, record, call.tenant, id=id, where=where)

    return count


@dataclass(frozen=True, slots=True)
class Rated:
    """Rows that are counted when they are asked for.

    Args:
        record: What they are.
        key: The argument that names one of them.
        count: Counts them.
    """

    record: type[Record]
    key: str
    count: Callable[[Rows, str | None], Sequence[Record]]

    def list(self, call: Call, **given: Any) -> Sequence[Record]:
        """The rows that the arguments of a list mean."""
        with call.queue.storage.begin(write=False) as tx:
            rows = self.count(tx, call.tenant)
        equals = {self.key: given.pop(self.key)} if self.key in given else {}
        return records.among(rows, self.record, equals, **given, limits=call.loads.limits)

    def number(self, call: Call, **given: Any) -> int:
        """How many they are, whatever limit, order and offset say."""
        kept = {name: value for name, value in given.items() if name in (self.key, "where")}
        return len(self.list(call, **kept, limit=call.loads.limits.max_page))


RATED = {
    "jobSuccessRating": Rated(ratings.JobSuccessRating, "day", ratings.job_ratings),
    "workerSuccessRating": Rated(ratings.WorkerSuccessRating, "uuid", ratings.worker_ratings),
}

QUERIES = (
    *(RootField(name, Kind.READ, _list(record)) for name, record in LISTED.items()),
    *(RootField(f"{name}Count", Kind.READ, _count(LISTED[name])) for name in COUNTED),
    *(RootField(name, Kind.READ, rated.list) for name, rated in RATED.items()),
    *(RootField(f"{name}Count", Kind.READ, rated.number) for name, rated in RATED.items()),
)
"""The fields of Query."""


def type_defs() -> str:
    """The type Query, as text."""
    listed = [f"  {name}({records.LIST_ARGUMENTS}): [{name}]" for name in LISTED]
    counts = [f"  {name}Count({records.LIST_ARGUMENTS}): Int" for name in COUNTED]
    rated = []
    for name, about in RATED.items():
        arguments = records.LIST_ARGUMENTS.replace("id: Int", f"{about.key}: String")
        rated += [f"  {name}({arguments}): [{name}]", f"  {name}Count({arguments}): Int"]
    return "\n".join(["type Query {", *listed, *counts, *rated, "}"])
