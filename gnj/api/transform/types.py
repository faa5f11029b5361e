"""How jobs, their parts and their runs are shown. What stands below one row of a list is loaded for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from graphql import GraphQLResolveInfo

from gnj.api.transform.face import Call, call
from gnj.graphql.plans import Reads
from gnj.graphql.records import Resolvers
from gnj.graphql.scalars import date_out
from gnj.queue.errors import NotFound
from gnj.queue.values import Json
from gnj.transform.requests import Job, JobView, RecordPage

Info = GraphQLResolveInfo[Any]

_PARTS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "SourceSchema": ("source_id", "sources_of", "jobs_by_source", "requests_of"),
    "MappingSchema": ("mapping_id", "mappings_of", "jobs_by_mapping", "rules_of"),
    "TargetFormatSchema": ("format_id", "formats_of", "jobs_by_format", "definitions_of"),
}
"""By type: where a job names such a row, what loads rows, the jobs of rows, and what rows are loaded without."""


class Part(Protocol):
    """A source, a mapping or a target format, as it is listed."""

    @property
    def id(self) -> int:
        """See `TransformSource`."""

    @property
    def size(self) -> int:
        """See `TransformSource`."""


def came_jobs(found: Call, rows: Sequence[Job]) -> Sequence[Job]:
    """Jobs that are shown together, and whose parts and schedules are loaded together."""
    for type, (named, *_) in _PARTS.items():
        _noted(found, type).update((getattr(row, named), 0) for row in rows)
    _noted(found, "schedules").update((row.schedule_id, 0) for row in rows if row.schedule_id is not None)
    return rows


def came(found: Call, type: str, rows: Collection[Part]) -> None:
    """Rows of a type that are shown together: their jobs are loaded together, and so is what is large of them."""
    _noted(found, f"jobs of {type}").update((row.id, 0) for row in rows)
    _noted(found, f"whole {type}").update((row.id, row.size) for row in rows)


def _noted(found: Call, what: str) -> dict[int, int]:
    """The ids of what may be asked for in this operation, and how many bytes each has, where that counts."""
    noted: dict[int, int] = found.memo.setdefault(("noted", what), {})
    return noted


def _loaded(found: Call, what: str, id: int, load: Callable[[list[int]], Mapping[int, Any]]) -> Any:
    """What there is of an id; it is loaded with all that were noted meanwhile, and are not too much for the answer. `load` may leave
    out what is not there.
    """
    known: dict[int, Any] = found.memo.setdefault(("loaded", what), {})
    if id not in known:
        ids, left = {id}, found.left
        for other, size in _noted(found, what).items():
            if other not in known and other not in ids and size <= left:
                ids.add(other)
                left -= size
        known.update(dict.fromkeys(ids) | dict(load(sorted(ids))))
    return known[id]


def _part(type: str) -> Callable[[Job, Info], Any]:
    named, load, *_ = _PARTS[type]

    def part(row: Job, info: Info) -> Any:
        found = call(info)

        def loaded(ids: list[int]) -> Mapping[int, Any]:
            rows: Mapping[int, Any] = getattr(found.jobs, load)(found.tenant, ids)
            came(found, type, rows.values())
            return rows

        found.count(1)
        return _loaded(found, type, getattr(row, named), loaded)

    return part


def _jobs(type: str) -> Callable[[Part, Info], Sequence[Job]]:
    _, _, load, _ = _PARTS[type]

    def jobs(row: Part, info: Info) -> Sequence[Job]:
        found = call(info)

        def loaded(ids: list[int]) -> Mapping[int, Sequence[Job]]:
            by: Mapping[int, Sequence[Job]] = getattr(found.jobs, load)(found.tenant, ids)
            came_jobs(found, [each for rows in by.values() for each in rows])
            return by

        rows: Sequence[Job] = _loaded(found, f"jobs of {type}", row.id, loaded)
        found.count(len(rows))
        return rows

    return jobs


def _whole(type: str, row: Part, info: Info) -> Any:
    """What `row` was loaded without. Raises `NotFound` where it was deleted meanwhile."""
    found = call(info)
    load = getattr(found.jobs, _PARTS[type][3])
    value = _loaded(found, f"whole {type}", row.id, lambda ids: load(found.tenant, ids))
    if value is None:
        raise NotFound("some of what was listed was deleted at the same moment: ask again")
    return value


def _json(type: str) -> Callable[[Part, Info], Json]:
    def json(row: Part, info: Info) -> Json:
        call(info).spend(row.size)
        return _whole(type, row, info)

    return json


def _of_request(place: int) -> Callable[[Part, Info], Json]:
    def of_request(row: Part, info: Info) -> Json:
        return call(info).weigh(_whole("SourceSchema", row, info)[place])

    return of_request


def _view(name: str, *, is_time: bool = False) -> Callable[[Job, Info], Any]:
    """What a job shows that depends on its schedule."""

    def view(row: Job, info: Info) -> Any:
        found, id = call(info), row.schedule_id
        schedules = found.jobs.schedules_of
        known = None if id is None else _loaded(found, "schedules", id, lambda ids: schedules(found.tenant, ids))
        value = getattr(JobView(row, known), name)
        return time(value) if is_time else value

    return view


def time(moment: datetime | None) -> str | None:
    """A point in time as it is shown."""
    return None if moment is None else date_out(moment)


def _time(name: str) -> Callable[[Any, Info], str | None]:
    return lambda row, _info: time(getattr(row, name))


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
            "id": Reads("id", text=True),
            "status": _view("status"),
            "sourceID": Reads("source_id", text=True),
            "mappingID": Reads("mapping_id", text=True),
            "targetSchemaID": Reads("format_id", text=True),
            "lastRun": _time("last_run_at"),
            "source": _part("SourceSchema"),
            "mapping": _part("MappingSchema"),
            "targetFormat": _part("TargetFormatSchema"),
            "nextRun": _view("next_run", is_time=True),
            "cronExpression": _view("cron_expression"),
            "webhookUrl": _weighed("webhook_url"),
        },
    ),
    Resolvers(
        "SourceSchema",
        {
            "id": Reads("id", text=True),
            "name": Reads("name"),
            "type": Reads("type"),
            "url": _weighed("url"),
            "description": _weighed("description"),
            "sourceHeaders": _of_request(0),
            "sourceBody": _of_request(1),
            "sourceMethod": Reads("method"),
            "jobs": _jobs("SourceSchema"),
        },
    ),
    Resolvers(
        "MappingSchema",
        {
            "id": Reads("id", text=True),
            "name": Reads("name"),
            "mapping": _json("MappingSchema"),
            "jobs": _jobs("MappingSchema"),
        },
    ),
    Resolvers(
        "TargetFormatSchema",
        {
            "id": Reads("id", text=True),
            "name": Reads("name"),
            "targetFormat": _json("TargetFormatSchema"),
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
            "error": _weighed("error"),
            "read": Reads("read"),
            "written": Reads("written"),
            "rejected": Reads("rejected"),
            "unchanged": Reads("unchanged"),
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
