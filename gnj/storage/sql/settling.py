"""Ends of claims, set by set: what has the same shape shares one statement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, bindparam, func, literal, select

from gnj.queue.clock import After
from gnj.queue.model import Job, Permit, attributes, json_names
from gnj.queue.states import JOB_CLAIMED, JobStatus, Same
from gnj.queue.storage import Changes, Settlement
from gnj.queue.values import Json
from gnj.storage.sql.columns import ID, TEXT
from gnj.storage.sql.dialect import Write
from gnj.storage.sql.rows import Mapper

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

_JSON_NAMES: Final = frozenset(json_names(Job))


def settle(rows: SqlRows, settlements: Sequence[Settlement]) -> list[Job | None]:
    """See `Rows.settle`."""
    result: list[Job | None] = [None] * len(settlements)
    todo = list(enumerate(settlements))
    while todo:
        # A job that is named twice is settled twice, one after the other.
        now: list[tuple[int, Settlement]] = []
        later: list[tuple[int, Settlement]] = []
        seen: set[int] = set()
        for place, settlement in todo:
            (later if settlement.id in seen else now).append((place, settlement))
            seen.add(settlement.id)
        groups: dict[Any, list[tuple[int, Settlement]]] = {}
        for place, settlement in now:
            groups.setdefault(_shape(settlement), []).append((place, settlement))
        for group in groups.values():
            done = _settle_alike(rows, [settlement for _, settlement in group])
            for place, settlement in group:
                result[place] = done.get(settlement.id)
        todo = later
    return result


def complete(
    rows: SqlRows, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes
) -> list[bool]:
    """See `Rows.complete`."""
    result = [False] * len(ends)
    todo = list(range(len(ends)))
    while todo:
        # as in `settle`
        places = dict[int, int]()
        for place in todo:
            places.setdefault(ends[place][0], place)
        now = list(places.values())
        some = ends if len(now) == len(ends) else [ends[place] for place in now]
        done = rows.dialect.complete(rows, _ending(rows, some, frm, changes))
        if len(done) == len(ends):
            return [True] * len(ends)
        for id, place in places.items():
            result[place] = id in done
        first = set(now)
        todo = [place for place in todo if place not in first]
    return result


def complete_all(rows: SqlRows, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes) -> bool:
    """`complete` of jobs each of which is named once; whether all of it applied. If not, the caller is to undo what did."""
    return rows.dialect.complete_all(rows, _ending(rows, ends, frm, changes))


def _ending(rows: SqlRows, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes) -> Write[Job]:
    """What changes those jobs, each of which is named once, that are as expected."""
    mapper: Mapper[Job] = rows.mappers[Job]
    shape, parameters = mapper.changed(changes, rows.present())
    ids, attempts, outputs = zip(*ends, strict=True)

    def expected() -> list[ColumnElement[bool]]:
        columns = mapper.table.c
        alone = [columns.batch_id.is_(None), columns.pipeline_id.is_(None)]
        return [rows.live(mapper), rows.has_status(Job, frm), *alone]

    json = {} if outputs.count(None) == len(ends) else {"output": outputs}
    return Write(mapper, ("complete", frozenset(frm)), shape, parameters, expected, ids, attempts, json, skips=True)


def renew(rows: SqlRows, claims: Sequence[tuple[int, int]], lease: float, *, wait: bool) -> list[Job | None]:
    """See `Rows.renew`."""
    if not claims:
        return []
    mapper: Mapper[Job] = rows.mappers[Job]
    shape, parameters = mapper.shaped({"lease_expires_at": After(lease)}, rows.present())

    def holding() -> list[ColumnElement[bool]]:
        return [rows.live(mapper), rows.has_status(Job, JOB_CLAIMED)]

    ids, attempts = zip(*dict.fromkeys(claims), strict=True)
    write = Write(mapper, "renew", shape, parameters, holding, ids, attempts, skips=not wait)
    renewed = {(j.id, j.attempt): j for j in mapper.records(rows.dialect.write(rows, write))}
    return [renewed.get((id, attempt)) for id, attempt in claims]


def take(rows: SqlRows, ids: Sequence[int], lease: float, changes: Changes) -> list[Job]:
    """See `Rows.take`."""
    mapper: Mapper[Job] = rows.mappers[Job]
    shape, parameters = mapper.changed({**changes, "lease": lease, "lease_expires_at": After(lease)}, rows.present())

    def ready() -> list[ColumnElement[bool]]:
        return [rows.live(mapper), mapper.table.c.due_at.is_(None), rows.has_status(Job, {JobStatus.QUEUED})]

    def next() -> dict[str, Any]:
        return {"attempt": mapper.table.c.attempt + 1}

    write = Write(mapper, "take", shape, parameters, ready, sorted(set(ids)), extra=next)
    return mapper.by_id(rows.dialect.write(rows, write))


def permits(rows: SqlRows, limit_id: int) -> list[tuple[Permit, bool]]:
    """See `Rows.permits`. Each job is looked up by its id: for a join the planner might read them all. They are put in order
    here: in the order of their ids, it might read the permits of all limits.
    """
    mapper: Mapper[Permit] = rows.mappers[Permit]

    def build() -> Any:
        permit, job = mapper.table.c, rows.mappers[Job].table.c
        claimed = [rows.live(rows.mappers[Job]), rows.has_status(Job, JOB_CLAIMED), job.attempt == permit.attempt]
        counts = select(job.id).where(job.id == permit.job_id, *claimed).scalar_subquery()
        of_limit = permit.limit_id == bindparam("of_limit", type_=ID)
        return select(*mapper.columns, counts).where(of_limit, rows.live(mapper))

    found = sorted(rows.run(rows.prepared(("permits",), build), {"of_limit": limit_id}).all(), key=attrgetter("id"))
    return [
        (permit, row[-1] is not None)
        for permit, row in zip(mapper.records([row[:-1] for row in found]), found, strict=True)
    ]


def _shape(settlement: Settlement) -> Any:
    """What settlements must have in common to share a statement: all but the job, the attempt and JSON values."""
    changes = settlement.changes
    json = frozenset(_json(changes))
    common = frozenset((name, type(value), value) for name, value in changes.items() if name not in json)
    return common, json, frozenset(settlement.frm), settlement.attempt is None, settlement.expired, *_asked(settlement)


def _asked(settlement: Settlement) -> tuple[bool, str | None, str | None]:
    return settlement.plain, settlement.tenant, settlement.but


def are_one(settlements: Sequence[Settlement]) -> bool:
    """Whether they take one statement."""
    return len({s.id for s in settlements}) == len(settlements) and len(set(map(_shape, settlements))) == 1


def _json(changes: Changes) -> list[str]:
    return [name for name, value in changes.items() if name in _JSON_NAMES and not isinstance(value, Same)]


def _settle_alike(rows: SqlRows, settlements: Sequence[Settlement]) -> dict[int, Job]:
    mapper: Mapper[Job] = rows.mappers[Job]
    one, many, present = settlements[0], len(settlements) > 1, rows.present()
    json = _json(one.changes)
    common = {name: value for name, value in one.changes.items() if not many or name not in json}
    shape, parameters = mapper.changed(common, present)

    def expected() -> list[ColumnElement[bool]]:
        columns = mapper.table.c
        conditions = [rows.live(mapper), rows.has_status(Job, one.frm)]
        if one.expired:
            conditions.append(columns.lease_expires_at <= present.now())
        if one.plain:
            conditions += [columns.batch_id.is_(None), columns.pipeline_id.is_(None)]
        if one.tenant is not None:
            conditions.append(columns.tenant == bindparam("of_tenant", type_=TEXT))
        if one.but is not None:
            conditions.append(func.substr(columns.type, 1, len(one.but)) != literal(one.but, TEXT))
        return conditions

    write = Write(
        mapper,
        ("settle", frozenset(one.frm), one.expired, one.plain, one.tenant is None, one.but),
        shape,
        parameters
        | (present.parameters() if one.expired else {})
        | ({} if one.tenant is None else {"of_tenant": one.tenant}),
        expected,
        [s.id for s in settlements],
        [s.attempt or 0 for s in settlements] if one.attempt is not None else None,
        {attributes(Job)[name].column: [s.changes[name] for s in settlements] for name in json} if many else {},
        skips=one.plain,
    )
    return {j.id: j for j in rows.dialect.changed(rows, write)}
