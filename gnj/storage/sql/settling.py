"""Ends of claims, set by set: what has the same shape shares one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, true

from gnj.queue.clock import NOW, After
from gnj.queue.model import Job, Kind, attributes
from gnj.queue.states import JOB_CLAIMED, Same
from gnj.queue.storage import Changes, Settlement
from gnj.storage.sql.columns import ID, JSON, TEXT
from gnj.storage.sql.rows import Mapper

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

_JSON_NAMES = frozenset(name for name, a in attributes(Job).items() if a.kind is Kind.JSON)


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


def renew(rows: SqlRows, claims: Sequence[tuple[int, int]], lease: float) -> list[Job | None]:
    """See `Rows.renew`."""
    if not claims:
        return []
    mapper: Mapper[Job] = rows.mappers[Job]
    job = mapper.table.c
    given = rows.dialect.given({"id": ID, "attempt": ID}, list(dict.fromkeys(claims)))
    holds = rows.dialect.translator.one_of(job.status, sorted(JOB_CLAIMED), TEXT)
    statement = mapper.updating.values(lease_expires_at=rows.present().after(After(lease)))
    statement = statement.where(job.id == given["id"], job.attempt == given["attempt"], holds, job.deleted_at.is_(None))
    renewed = {(j.id, j.attempt): j for j in mapper.records(rows.run(statement))}
    return [renewed.get((id, attempt)) for id, attempt in claims]


def _shape(settlement: Settlement) -> Any:
    """What settlements must have in common to share a statement: all but the job, the attempt and JSON values."""
    changes = settlement.changes
    json = frozenset(_json(changes))
    common = frozenset((name, type(value), value) for name, value in changes.items() if name not in json)
    return common, json, frozenset(settlement.frm), settlement.attempt is None, settlement.expired


def _json(changes: Changes) -> list[str]:
    return [name for name, value in changes.items() if name in _JSON_NAMES and not isinstance(value, Same)]


def _settle_alike(rows: SqlRows, settlements: Sequence[Settlement]) -> dict[int, Job]:
    mapper: Mapper[Job] = rows.mappers[Job]
    job = mapper.table.c
    one = settlements[0]
    present = rows.present()
    json = _json(one.changes)
    values = mapper.changed(one.changes, present)
    conditions: list[ColumnElement[bool]] = [rows.has_status(Job, one.frm), job.deleted_at.is_(None)]
    if one.expired:
        conditions.append(job.lease_expires_at <= present.after(NOW))
    if len(settlements) == 1:
        conditions += [job.id == one.id, true() if one.attempt is None else job.attempt == one.attempt]
    else:
        types: Mapping[str, Any] = {"id": ID, "attempt": ID, **dict.fromkeys(json, JSON)}
        parameters = [(s.id, s.attempt or 0, *(s.changes[name] for name in json)) for s in settlements]
        given = rows.dialect.given(types, parameters)
        values |= {mapper.attributes[name].column: given[name] for name in json}
        conditions += [job.id == given["id"], true() if one.attempt is None else job.attempt == given["attempt"]]
    return {j.id: j for j in mapper.records(rows.run(mapper.updating.values(values).where(*conditions)))}
