"""Between rows and records: the one place where either is made from the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from operator import attrgetter
from typing import Any, Final, Generic, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    Select,
    Table,
    TextClause,
    bindparam,
    literal_column,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from gnj.queue.clock import NOW, After
from gnj.queue.model import Attribute, Record, RecordT, attributes
from gnj.queue.states import Same
from gnj.queue.storage import Changes
from gnj.storage.sql.columns import DELAY, TIME, plain
from gnj.storage.sql.schema import Tables

DATABASE_NOW: Final = "date_trunc('milliseconds', statement_timestamp())"
"""PostgreSQL's present. Unlike now() it moves on within a transaction; unlike clock_timestamp() it is one and the same for
all columns and rows of a statement, and an index can be searched with it (a volatile function is a filter)."""


@dataclass(frozen=True, slots=True)
class Present:
    """The present of one statement: what a clock said, or None for the database's own."""

    moment: datetime | None
    database: str = DATABASE_NOW
    """The database's own present, as SQL."""

    def now(self) -> ColumnElement[datetime]:
        """The present, to be executed with `parameters`."""
        return literal_column(self.database, TIME) if self.moment is None else bindparam("of_now", type_=TIME)

    def parameters(self) -> dict[str, Any]:
        """The parameters of `now` and `clause`."""
        return {} if self.moment is None else {"of_now": self.moment}

    def clause(self, sql: str) -> TextClause:
        """`sql` with the present in the place of `:now`, to be executed with `parameters`."""
        if self.moment is None or ":now" not in sql:
            return text(sql.replace(":now", self.database))
        return text(sql.replace(":now", ":of_now")).bindparams(bindparam("of_now", type_=TIME))


Shape: TypeAlias = tuple[tuple[str, str], ...]
"""Columns and how each gets its value: "value" or "delay" from a parameter, "now", or the name of the column it is like, "-" before it
for its opposite."""


@dataclass(frozen=True, slots=True)
class Mapper(Generic[RecordT]):
    """How one kind of record is kept in its table."""

    kind: type[RecordT]
    table: Table
    attributes: Mapping[str, Attribute]
    names: tuple[str, ...]
    columns: tuple[Column[Any], ...]
    """What to select, in the order in which `records` expects it."""
    selecting: Select[Any]
    updating: ReturningUpdate[Any]
    """Statements to be narrowed: to build one with all columns anew takes longer than to run it."""
    enums: tuple[tuple[str, Mapping[Any, Enum | None]], ...]
    now: str
    """The database's own present, as SQL."""

    def column(self, name: str) -> Column[Any]:
        """The column of an attribute."""
        return self.table.c[self.attributes[name].column]

    def records(self, rows: Iterable[Row[Any]]) -> list[RecordT]:
        """The records that rows of `columns` are."""
        kind, names, enums = self.kind, self.names, self.enums
        result = []
        for row in rows:
            values = dict(zip(names, row, strict=True))
            for name, members in enums:
                values[name] = members[values[name]]
            result.append(kind(**values))
        return result

    def by_id(self, rows: Iterable[Row[Any]]) -> list[RecordT]:
        """Likewise, by id: what RETURNING gives has no order."""
        return sorted(self.records(rows), key=attrgetter("id"))

    def inserted(self, rows: Sequence[Changes]) -> dict[str, list[Any]]:
        """The values of every attribute that some of `rows` give, row by row: defaults filled in, `After` unresolved."""
        fields = self.kind.__dataclass_fields__
        defaults = {name: fields[name].default for name in self.names} | {"created_at": NOW, "updated_at": NOW}
        names = ["created_at", "updated_at"]
        names += (name for name in dict.fromkeys(n for row in rows for n in row) if name not in names)
        columns = {}
        for name in names:
            default = defaults[name]
            values = [plain(row.get(name, default)) for row in rows]
            if Same in set(map(type, values)):
                values = [
                    plain(row.get(v.attribute, defaults[v.attribute])) if isinstance(v, Same) else v
                    for v, row in zip(values, rows, strict=True)
                ]
            columns[name] = values
        return columns

    def shaped(self, values: Changes, present: Present) -> tuple[Shape, dict[str, Any]]:
        """What the statement that writes `values` is made of (`assignments`), and the parameters it is executed with."""
        shape: list[tuple[str, str]] = []
        parameters: dict[str, Any] = {}
        for name, given in values.items():
            value: Any = given
            column, how = self.attributes[name].column, "value"
            while isinstance(value, Same) and not value.negative and value.attribute in values:
                value = values[value.attribute]
            if isinstance(value, Same):
                how = "-" * value.negative + self.attributes[value.attribute].column
            elif isinstance(value, After) and present.moment is not None:
                parameters[f"new_{column}"] = value.resolve(present.moment)
            elif isinstance(value, After) and value.seconds == 0:
                how = "now"
            elif isinstance(value, After):
                how = "delay"
                parameters[f"new_{column}"] = timedelta(milliseconds=round(value.seconds * 1000))
            else:
                parameters[f"new_{column}"] = plain(value)
            shape.append((column, how))
        return tuple(shape), parameters

    def changed(self, changes: Changes, present: Present) -> tuple[Shape, dict[str, Any]]:
        """`shaped` for changes of rows that are there: `updated_at` goes with them."""
        return self.shaped({"updated_at": NOW, **changes}, present)

    def assignments(self, shape: Shape) -> dict[str, Any]:
        """What a statement sets: column names and expressions."""
        columns, now = self.table.c, literal_column(self.now, TIME)
        made: dict[str, Any] = {}
        for column, how in shape:
            if how == "value":
                made[column] = bindparam(f"new_{column}", type_=columns[column].type)
            elif how == "now":
                made[column] = now
            elif how == "delay":
                made[column] = type_coerce(now + bindparam(f"new_{column}", type_=DELAY), TIME)
            else:
                made[column] = -columns[how[1:]] if how[0] == "-" else columns[how]
        return made


def mappers(tables: Tables, now: str) -> Mapping[type[Record], Mapper[Any]]:
    """The mappers of all records; `now` is the database's own present, as SQL."""
    return {kind: _mapper(kind, table, now) for kind, table in tables.records.items()}


def _mapper(kind: type[RecordT], table: Table, now: str) -> Mapper[RecordT]:
    known = attributes(kind)
    columns = tuple(table.c[attribute.column] for attribute in known.values())
    return Mapper(
        kind=kind,
        table=table,
        attributes=known,
        names=tuple(known),
        columns=columns,
        selecting=select(*columns),
        updating=update(table).returning(*columns),
        enums=tuple((a.name, {None: None, **{m.value: m for m in a.enum}}) for a in known.values() if a.enum),
        now=now,
    )
