"""Jobs that are enqueued, in one statement that also wakes whoever waits for work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import bindparam, insert, select

from gnj.queue.clock import After
from gnj.queue.making import maker
from gnj.queue.model import Job, Kind, attributes
from gnj.queue.states import JobStatus, Same
from gnj.queue.storage import Changes
from gnj.storage.sql import notify_postgresql
from gnj.storage.sql.bulk import bulk
from gnj.storage.sql.columns import ID, plain
from gnj.storage.sql.rows import Mapper, Present

if TYPE_CHECKING:
    from gnj.storage.sql.direct import Compiled, DirectRows
    from gnj.storage.sql.returning import Returning

_STAMPS: Final = ("created_at", "updated_at")
_STAND_INS: Final = frozenset({After, Same})


def fits(rows: Sequence[Changes], most: int) -> bool:
    """Whether these can be stored so: none has a unique id, which another job may have, nor a time that the storage is to
    reckon.
    """
    return 0 < len(rows) <= most and not any(
        row.get("unique_id") is not None
        or "created_at" in row
        or "updated_at" in row
        or not _STAND_INS.isdisjoint(map(type, row.values()))
        for row in rows
    )


def stored(rows: DirectRows, given: Sequence[Changes]) -> list[Job]:
    """The jobs, stored. Only ids come back, and the present: the rest is known."""
    present = rows.present()
    if len(given) == 1:
        return [_stored_one(rows, given[0], present)]
    mapper, dialect = rows.mappers[Job], cast("Returning", rows.dialect)
    columns = mapper.inserted(given)
    for name in _STAMPS:
        del columns[name]
    types = {mapper.attributes[name].column: mapper.column(name).type for name in columns}
    wakes = rows.notifies and any(map(_is_ready, given))

    def build() -> Any:
        of = dialect.given({**types, "nth": ID})
        query = select(*(of[name] for name in types), *[present.now()] * len(_STAMPS)).order_by(of["nth"])
        statement = insert(mapper.table).from_select([*types, *_STAMPS], query.select_from(of["nth"].table))
        return statement.returning(*_given_back(rows, mapper, wakes=wakes))

    lists = list(zip(*columns.values(), range(len(given)), strict=True))
    parameters = present.parameters() | dialect.rows({**types, "nth": ID}, lists)
    answer = rows.all(("enqueue", tuple(columns), wakes, present.moment is None), build, parameters)
    now = present.moment or rows.direct.conversions[Kind.TIME](answer[0][1])
    made = bulk(mapper, [{**row, "created_at": now, "updated_at": now} for row in given], now)
    return made.records(sorted(row[0] for row in answer))


@dataclass(frozen=True, slots=True, eq=False)
class _One:
    """How one job is stored that is given by certain attributes, in a certain order."""

    statement: Compiled
    parameters: tuple[str, ...]
    """What the values are called."""
    places: tuple[int, ...]
    """Where in the record they are."""
    floats: tuple[int, ...]
    """Which of them are floats, also if they are given as integers."""
    record: tuple[Any, ...]
    """The record's other values; those that the storage gives are None."""
    stored: tuple[int, ...]
    """Where those are: the id, and the stamps."""
    make: Callable[..., Job]


def _stored_one(rows: DirectRows, given: Changes, present: Present) -> Job:
    wakes = rows.notifies and _is_ready(given)
    key = ("enqueue one", tuple(given), wakes, present.moment is None)
    one: _One = rows.prepared(key, lambda: _one(rows, given, present, wakes=wakes))
    values = list(given.values())
    parameters = present.parameters()
    parameters.update(zip(one.parameters, map(plain, values), strict=True))
    ((id, stamp, *_),) = rows.sent(one.statement, parameters)[0]
    now = present.moment or rows.direct.conversions[Kind.TIME](stamp)
    for place in one.floats:
        if values[place] is not None:
            values[place] = float(values[place])
    record = list(one.record)
    for place, value in zip(one.places, values, strict=True):
        record[place] = value
    for place, value in zip(one.stored, (id, now, now), strict=True):
        record[place] = value
    return one.make(*record)


def _one(rows: DirectRows, given: Changes, present: Present, *, wakes: bool) -> _One:
    mapper: Mapper[Job] = rows.mappers[Job]
    parameters = {name: f"new_{mapper.attributes[name].column}" for name in given}
    values: dict[str, Any] = {
        mapper.attributes[name].column: bindparam(parameter, type_=mapper.column(name).type)
        for name, parameter in parameters.items()
    }
    statement = insert(mapper.table).values(values | dict.fromkeys(_STAMPS, present.now()))
    return _One(
        statement=rows.direct.compile(statement.returning(*_given_back(rows, mapper, wakes=wakes))),
        parameters=tuple(parameters.values()),
        places=tuple(map(mapper.names.index, given)),
        floats=tuple(place for place, name in enumerate(given) if attributes(Job)[name].kind is Kind.FLOAT),
        record=tuple(map(_DEFAULTS.get, mapper.names)),
        stored=tuple(map(mapper.names.index, ("id", *_STAMPS))),
        make=maker(Job),
    )


def _given_back(rows: DirectRows, mapper: Mapper[Job], *, wakes: bool) -> list[Any]:
    told = [notify_postgresql.signalled(rows.tables)] if wakes else []
    return [mapper.table.c.id, mapper.table.c.created_at, *told]


def _is_ready(row: Changes) -> bool:
    return bool(row.get("status", JobStatus.QUEUED) == JobStatus.QUEUED)


_DEFAULTS: Final[Mapping[str, Any]] = {f.name: f.default for f in fields(Job) if f.default is not MISSING}
