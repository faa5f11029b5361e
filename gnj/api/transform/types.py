"""How jobs, their parts and their runs are shown. What stands below one row of a list is loaded for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from graphql import GraphQLResolveInfo

from gnj.api.transform.face import Call, call
from gnj.graphql.plans import Reads
from gnj.graphql.records import Resolvers
from gnj.graphql.scalars import date_out
from gnj.queue.model import Record
from gnj.queue.values import Json
from gnj.transform.requests import JobView, RecordPage

Info = GraphQLResolveInfo[Any]

_PARTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "SourceSchema": ("source_id", "sources_of", "jobs_by_source"),
    "MappingSchema": ("mapping_id", "mappings_of", "jobs_by_mapping"),
    "TargetFormatSchema": ("format_id", "formats_of", "jobs_by_format"),
}
"""By type: where a job names such a row, what loads rows, and what loads the jobs of rows."""


def came_jobs(found: Call, views: Sequence[JobView]) -> Sequence[JobView]:
    """Jobs that are shown together, and whose parts are loaded together."""
    for type, (named, _, _) in _PARTS.items():
        _noted(found, type).update(getattr(view.job, named) for view in views)
    return views


def came(found: Call, type: str, rows: Collection[Record]) -> None:
    """Rows of a type that are shown together, and whose jobs are loaded together."""
    _noted(found, f"jobs of {type}").update(row.id for row in rows)


def _noted(found: Call, what: str) -> set[int]:
    """The ids of what may be asked for in this operation."""
    noted: set[int] = found.memo.setdefault(("noted", what), set())
    return noted


def _loaded(found: Call, what: str, id: int, load: Callable[[list[int]], Mapping[int, Any]]) -> Any:
    """What there is of an id; it is loaded with all that were noted meanwhile. `load` may leave out what is not there."""
    known: dict[int, Any] = found.memo.setdefault(("loaded", what), {})
    if id not in known:
        ids = sorted({id, *_noted(found, what)} - known.keys())
        known.update(dict.fromkeys(ids) | dict(load(ids)))
    return known[id]


def _part(type: str) -> Callable[[JobView, Info], Any]:
    named, load, _ = _PARTS[type]

    def part(view: JobView, info: Info) -> Any:
        found = call(info)

        def loaded(ids: list[int]) -> Mapping[int, Any]:
            rows: Mapping[int, Any] = getattr(found.jobs, load)(found.tenant, ids)
            came(found, type, rows.values())
            return rows

        found.count(1)
        return _loaded(found, type, getattr(view.job, named), loaded)

    return part


def _jobs(type: str) -> Callable[[Record, Info], Sequence[JobView]]:
    _, _, load = _PARTS[type]

    def jobs(row: Record, info: Info) -> Sequence[JobView]:
        found = call(info)

        def loaded(ids: list[int]) -> Mapping[int, Sequence[JobView]]:
            by: Mapping[int, Sequence[JobView]] = getattr(found.jobs, load)(found.tenant, ids)
            came_jobs(found, [view for views in by.values() for view in views])
            return by

        views: Sequence[JobView] = _loaded(found, f"jobs of {type}", row.id, loaded)
        found.count(len(views))
        return views

    return jobs


def time(moment: datetime | None) -> str | None:
    """A point in time as it is shown."""
    return None if moment is None else date_out(moment)


def _time(name: str) -> Callable[[Any, Info], str | None]:
    return lambda row, _info: time(getattr(row, name))


def _of_job(name: str, *, text: bool = False) -> Callable[[JobView, Info], Any]:
    read = Reads(name, text=text)
    return lambda view, info: read(view.job, info)


def _weighed(name: str) -> Callable[[Any, Info], Json]:
    return lambda row, info: call(info).weigh(getattr(row, name))


def _records(page: RecordPage, info: Info) -> Sequence[Json]:
    return call(info).weigh_all(page.records)


def _rejected(page: RecordPage, info: Info) -> Sequence[Any]:
    call(info).weigh_all([[each.source, list(each.reasons)] for each in page.rejected])
    return page.rejected


TYPES: Final[tuple[Resolvers, ...]] = (
    Resolvers(
        "JobSchema",
        {
            "id": _of_job("id", text=True),
            "status": Reads("status"),
            "sourceID": _of_job("source_id", text=True),
            "mappingID": _of_job("mapping_id", text=True),
            "targetSchemaID": _of_job("format_id", text=True),
            "lastRun": lambda view, _info: time(view.job.last_run_at),
            "source": _part("SourceSchema"),
            "mapping": _part("MappingSchema"),
            "targetFormat": _part("TargetFormatSchema"),
            "nextRun": _time("next_run"),
            "cronExpression": Reads("cron_expression"),
            "webhookUrl": _of_job("webhook_url"),
        },
    ),
    Resolvers(
        "SourceSchema",
        {
            "id": Reads("id", text=True),
            "name": Reads("name"),
            "type": Reads("type"),
            "url": Reads("url"),
            "description": Reads("description"),
            "sourceHeaders": _weighed("headers"),
            "sourceBody": _weighed("body"),
            "sourceMethod": Reads("method"),
            "jobs": _jobs("SourceSchema"),
        },
    ),
    Resolvers(
        "MappingSchema",
        {
            "id": Reads("id", text=True),
            "name": Reads("name"),
            "mapping": _weighed("mapping"),
            "jobs": _jobs("MappingSchema"),
        },
    ),
    Resolvers(
        "TargetFormatSchema",
        {
            "id": Reads("id", text=True),
            "name": Reads("name"),
            "targetFormat": _weighed("definition"),
            "jobs": _jobs("TargetFormatSchema"),
            "default": Reads("is_default"),
        },
    ),
    Resolvers(
        "JobRun",
        {
            "id": Reads("id", text=True),
            "jobId": Reads("transform_job_id", text=True),
            "status": Reads("status", text=True),
            "startedAt": _time("started_at"),
            "finishedAt": _time("finished_at"),
            "error": Reads("error"),
            "read": Reads("read"),
            "written": Reads("written"),
            "rejected": Reads("rejected"),
        },
    ),
    Resolvers(
        "RecordPage",
        {
            "total": Reads("total"),
            "records": _records,
            "rejectedTotal": Reads("rejected_total"),
            "rejected": _rejected,
        },
    ),
    Resolvers("Rejected", {"source": Reads("source"), "reasons": Reads("reasons")}),
)
"""What resolves JobSchema, SourceSchema, MappingSchema, TargetFormatSchema, JobRun, RecordPage and Rejected."""
