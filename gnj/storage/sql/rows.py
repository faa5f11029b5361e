"""Between rows and records: the one place where either is made from the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import repeat
from operator import attrgetter
from types import MappingProxyType
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
from gnj.queue.making import maker
from gnj.queue.many import Many
from gnj.queue.model import Attribute, Kind, Record, RecordT, attributes
from gnj.queue.states import Same
from gnj.queue.storage import Changes, Each
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


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_STAND_INS: Final = frozenset({After, Same, Each})
STAMP: Final = ("updated_at", "now")
"""In a shape, that of the column which tells the present of the statement."""

Shape: TypeAlias = tuple[tuple[str, str], ...]
"""Columns and how each gets its value: "value" or "delay" from a parameter, "each" from a list of them, "now", or the name of the
column it is like, "-" before it for its opposite."""


@dataclass(frozen=True, slots=True)
class Decoder(Generic[RecordT]):
    """Makes records of rows: column by column, and of each only what has to be converted."""

    make: Callable[..., RecordT]
    converted: tuple[tuple[int, Callable[[Any], Any]], ...]
    """Which values of a row, unless they are None, have to be converted, and how."""
    shared: frozenset[int]
    """Those of them whose results can stand in several records: not JSON, which its owner may change, nor
    numbers, of which 0.0 and -0.0 are equal."""
    places: tuple[int | str, ...]
    """Where in a row the value of each attribute is, or the attribute's name if it is not there."""

    def records(self, rows: Sequence[Sequence[Any]], others: Mapping[str, Any] = _NONE) -> list[RecordT]:
        """The records, with the values of `others` in all of them."""
        if len(rows) == 1:
            (row,) = rows
            values = list(row)
            for place, convert in self.converted:
                if (value := values[place]) is not None:
                    values[place] = convert(value)
            return [self.make(*[others[p] if type(p) is str else values[p] for p in self.places])]  # type: ignore[index]
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        if not columns:
            return []
        for place, convert in self.converted:
            column = columns[place]
            if column.count(None) == len(column):
                continue
            if place in self.shared:
                # of a claim most have the same: to make each a time of its own took 0.4 µs
                made = {value: convert(value) for value in set(column) if value is not None}
                columns[place] = list(map(made.get, column))
            else:
                columns[place] = [None if value is None else convert(value) for value in column]
        values_of = (repeat(others[place]) if isinstance(place, str) else columns[place] for place in self.places)
        return list(map(self.make, *values_of))


@dataclass(frozen=True, slots=True)
class Told:
    """An attribute whose value is known from what was to be written."""

    name: str
    how: str
    parameter: str
    convert: Callable[[Any], Any] | None

    def value(self, parameters: Mapping[str, Any], now: Any) -> Any:
        """The value, when the statement's present was `now`."""
        if self.how == "now":
            return now
        value = parameters[self.parameter]
        if self.how == "delay":
            return now + value
        return value if self.convert is None or value is None else self.convert(value)


def _plainly(attribute: Attribute) -> Callable[[Any], Any] | None:
    """What makes of a written value the one that would be read."""
    if attribute.enum is not None:
        return attribute.enum
    return float if attribute.kind is Kind.FLOAT else None


def decoder(
    kind: type[RecordT], names: Sequence[str], conversions: Mapping[Kind, Callable[[Any], Any]]
) -> Decoder[RecordT]:
    """For rows of the attributes `names`, whose values are converted by their kinds."""
    known, converted = attributes(kind), []
    for place, name in enumerate(names):
        convert = conversions.get(known[name].kind)
        if (enum := known[name].enum) is not None:
            convert = {member.value: member for member in enum}.__getitem__
        if convert is not None:
            converted.append((place, convert))
    where: dict[str, int] = {name: place for place, name in enumerate(names)}
    shared = frozenset(place for place, name in enumerate(names) if known[name].kind not in (Kind.JSON, Kind.FLOAT))
    return Decoder(maker(kind), tuple(converted), shared, tuple(where.get(name, name) for name in known))


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
    decoder: Decoder[RecordT]
    """For rows whose values SQLAlchemy's types have processed."""
    now: str
    """The database's own present, as SQL."""

    def column(self, name: str) -> Column[Any]:
        """The column of an attribute."""
        return self.table.c[self.attributes[name].column]

    def records(self, rows: Iterable[Row[Any]]) -> list[RecordT]:
        """The records that rows of `columns` are."""
        return self.decoder.records(list(rows))

    def by_id(self, rows: Iterable[Row[Any]]) -> list[RecordT]:
        """Likewise, by id: what RETURNING gives has no order."""
        return sorted(self.records(rows), key=attrgetter("id"))

    def inserted(self, rows: Sequence[Changes]) -> dict[str, list[Any]]:
        """The values of every attribute that some of `rows` give, row by row: defaults filled in, `After` unresolved."""
        if isinstance(rows, Many):
            same, differing = self.many(rows)
            return {**{name: [value] * len(rows) for name, value in same.items()}, **differing}
        fields = self.kind.__dataclass_fields__
        defaults = {name: fields[name].default for name in self.names} | {"created_at": NOW, "updated_at": NOW}
        names = ["created_at", "updated_at"]
        names += (name for name in dict.fromkeys(n for row in rows for n in row) if name not in names)
        columns = {}
        for name in names:
            default = defaults[name]
            values = [row.get(name, default) for row in rows]
            kinds = set(map(type, values))
            if any(issubclass(kind, Enum) for kind in kinds):
                values = list(map(plain, values))
            if Same in kinds:
                values = [
                    plain(row.get(v.attribute, defaults[v.attribute])) if isinstance(v, Same) else v
                    for v, row in zip(values, rows, strict=True)
                ]
            columns[name] = values
        return columns

    @staticmethod
    def many(rows: Many) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """Likewise: the values that all rows have, and those of the other attributes."""
        same = {"created_at": NOW, "updated_at": NOW} | {name: plain(value) for name, value in rows.same.items()}
        return same, {name: list(values) for name, values in rows.differing.items()}

    def shaped(self, values: Changes, present: Present) -> tuple[Shape, dict[str, Any]]:
        """What the statement that writes `values` is made of (`assignments`), and the parameters it is executed with."""
        shape: list[tuple[str, str]] = []
        parameters: dict[str, Any] = {}
        for name, given in values.items():
            value: Any = given
            column, how = self.attributes[name].column, "value"
            if type(value) not in _STAND_INS:
                parameters[f"new_{column}"] = plain(value)
                shape.append((column, how))
                continue
            while isinstance(value, Same) and not value.negative and value.attribute in values:
                value = values[value.attribute]
            if isinstance(value, Same):
                how = "-" * value.negative + self.attributes[value.attribute].column
            elif isinstance(value, Each):
                how = "each"
                parameters[f"new_{column}"] = list(value.values)
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

    def told(self, shape: Shape) -> tuple[Told, ...]:
        """What a statement of that shape writes and need not give back, since its caller knows; JSON is given back."""
        names = {attribute.column: attribute for attribute in self.attributes.values()}
        hows = {"value"} | ({"now", "delay"} if STAMP in shape else set())
        return tuple(
            Told(names[column].name, how, f"new_{column}", _plainly(names[column]))
            for column, how in shape
            if how in hows and (column, how) != STAMP and names[column].kind is not Kind.JSON
        )

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
            elif how != "each":  # of which a claim knows what it is to be
                made[column] = -columns[how[1:]] if how[0] == "-" else columns[how]
        return made


class Mappers(dict[type[Record], Mapper[Any]]):
    """The mappers of the records, each made when it is first asked for; `now` is the database's own present, as SQL."""

    def __init__(self, tables: Tables, now: str) -> None:
        super().__init__()
        self._tables = tables
        self._now = now

    def __missing__(self, kind: type[Record]) -> Mapper[Any]:
        return self.setdefault(kind, _mapper(kind, self._tables.of(kind), self._now))


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
        decoder=decoder(kind, tuple(known), {}),
        now=now,
    )
