"""Ends of claims, set by set: what has the same shape shares one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement

from gnj.queue.clock import After
from gnj.queue.model import Job, attributes, json_names
from gnj.queue.states import JOB_CLAIMED, Same
from gnj.queue.storage import Changes, Settlement
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


def renew(rows: SqlRows, claims: Sequence[tuple[int, int]], lease: float) -> list[Job | None]:
    """See `Rows.renew`."""
    if not claims:
        return []
    mapper: Mapper[Job] = rows.mappers[Job]
    shape, parameters = mapper.shaped({"lease_expires_at": After(lease)}, rows.present())

    def holding() -> list[ColumnElement[bool]]:
        return [rows.live(mapper), rows.has_status(Job, JOB_CLAIMED)]

    ids, attempts = zip(*dict.fromkeys(claims), strict=True)
    write = Write(mapper, "renew", shape, parameters, holding, ids, attempts)
    renewed = {(j.id, j.attempt): j for j in mapper.records(rows.dialect.write(rows, write))}
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
    json = _json(one.changes)
    common = {name: value for name, value in one.changes.items() if not many or name not in json}
    shape, parameters = mapper.changed(common, present)

    def expected() -> list[ColumnElement[bool]]:
        conditions = [rows.live(mapper), rows.has_status(Job, one.frm)]
        return [*conditions, mapper.table.c.lease_expires_at <= present.now()] if one.expired else conditions

    write = Write(
        mapper,
        ("settle", frozenset(one.frm), one.expired),
        shape,
        parameters | (present.parameters() if one.expired else {}),
        expected,
        [s.id for s in settlements],
        [s.attempt or 0 for s in settlements] if one.attempt is not None else None,
        {attributes(Job)[name].column: [s.changes[name] for s in settlements] for name in json} if many else {},
    )
    return {j.id: j for j in mapper.records(rows.dialect.write(rows, write))}
