"""Ends of claims, set by set: what has the same shape shares one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam

from gnj.queue.clock import After
from gnj.queue.model import Job, Kind, attributes
from gnj.queue.states import JOB_CLAIMED, Same
from gnj.queue.storage import Changes, Settlement
from gnj.storage.sql.columns import ID, JSON
from gnj.storage.sql.rows import Mapper

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

_TOKEN: Final[Mapping[str, Any]] = {"id": ID, "attempt": ID}
_JSON_NAMES: Final = frozenset(name for name, a in attributes(Job).items() if a.kind is Kind.JSON)


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
    shape, parameters = mapper.shaped({"lease_expires_at": After(lease)}, rows.present())

    def build() -> Any:
        job, given = mapper.table.c, rows.dialect.given(_TOKEN)
        statement = mapper.updating.values(mapper.assignments(shape)).where(job.deleted_at.is_(None))
        holds = rows.has_status(Job, JOB_CLAIMED)
        return statement.where(job.id == given["id"], job.attempt == given["attempt"], holds)

    # in the order of their ids, which is that in which the rows are found and locked: crosswise, that is a deadlock
    parameters |= rows.dialect.rows(_TOKEN, sorted(set(claims)))
    done = rows.run(rows.prepared(("renew", shape), build), parameters)
    renewed = {(j.id, j.attempt): j for j in mapper.records(done)}
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
    one, many, present = settlements[0], len(settlements) > 1, rows.present()
    fenced = one.attempt is not None
    json = _json(one.changes)
    types: Mapping[str, Any] = {**_TOKEN, **{attributes(Job)[name].column: JSON for name in json}}
    common = {name: value for name, value in one.changes.items() if not many or name not in json}
    shape, parameters = mapper.changed(common, present)

    def build() -> Any:
        job = mapper.table.c
        of = rows.dialect.given(types) if many else {name: bindparam(f"of_{name}", type_=ID) for name in _TOKEN}
        values = mapper.assignments(shape) | {name: value for name, value in of.items() if name not in _TOKEN}
        statement = mapper.updating.values(values).where(job.id == of["id"], rows.has_status(Job, one.frm))
        statement = statement.where(job.attempt == of["attempt"]) if fenced else statement
        statement = statement.where(job.lease_expires_at <= present.now()) if one.expired else statement
        return statement.where(job.deleted_at.is_(None))

    if many:
        ordered = sorted(settlements, key=lambda settlement: settlement.id)  # as in `renew`
        parameters |= rows.dialect.rows(
            types, [(s.id, s.attempt or 0, *(s.changes[name] for name in json)) for s in ordered]
        )
    else:
        parameters |= {"of_id": one.id, **({"of_attempt": one.attempt} if fenced else {})}
    if one.expired:
        parameters |= present.parameters()
    key = ("settle", shape, tuple(types) if many else None, frozenset(one.frm), fenced, one.expired)
    return {j.id: j for j in mapper.records(rows.run(rows.prepared(key, build), parameters))}
