"""What set-based changes of versioned tables are made of; see `schema_content` for what `since` and `until` mean."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    FromClause,
    Select,
    Table,
    Text,
    TextClause,
    and_,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    true,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import NullType

from gnj.content.store import Step
from gnj.queue.working import INFORMATION, WARNING, Line
from gnj.storage.sql.columns import ID
from gnj.storage.sql.content.base import Base, unindexed, visible
from gnj.storage.sql.content.sizes import cut, weight
from gnj.storage.sql.schema_content import CURRENT, ENDED
from gnj.storage.sql.transaction import SqlRows

VERSION: Final = frozenset({"id", "environment", "since", "until"})
"""The columns that say where and when a row is there; all others are values."""


def values_of(table: Table, *but: str) -> tuple[Column[Any], ...]:
    """The columns of a versioned table that are values."""
    return tuple(column for column in table.columns if column.name not in VERSION and column.name not in but)


def seen(table: Any, environment: int, version: int) -> ColumnElement[bool]:
    """The rows that a reader of that version sees, to be looked up by the index of their ids."""
    return and_(table.c.environment == environment, visible(table, version))


def standing(table: Any, environment: int) -> ColumnElement[bool]:
    """The rows of the newest version: to whoever writes, of what there is to be next."""
    return _ends(table, environment, CURRENT)


def after(columns: Sequence[ColumnElement[Any]], key: Sequence[Any] | None) -> ColumnElement[bool]:
    """That a row comes after the one with that key; None: any does."""
    if key is None:
        return true()
    return columns[0] > key[0] if len(columns) == 1 else tuple_(*columns) > tuple_(*map(_text, key))


def upto(columns: Sequence[ColumnElement[Any]], key: Sequence[Any] | None) -> ColumnElement[bool]:
    """That a row comes before the one with that key, or is it; None: any does."""
    if key is None:
        return true()
    return columns[0] <= key[0] if len(columns) == 1 else tuple_(*columns) <= tuple_(*map(_text, key))


def end_of_page(rows: SqlRows, keys: Select[Any], columns: Sequence[ColumnElement[Any]], size: int) -> list[Any] | None:
    """The key of the last row of a page of `size` of these keys; None if there are no more rows than fit."""
    found = rows.run(keys.order_by(*columns).offset(size - 1).limit(1)).first()
    return None if found is None else list(found)


def end_of_bytes(
    rows: SqlRows,
    entry: Any,
    conditions: Sequence[ColumnElement[bool]],
    key: Sequence[ColumnElement[Any]],
    end: list[Any] | None,
) -> list[Any] | None:
    """The end of a page of entries that meet the conditions: `end`, or an earlier one where they are too large."""
    sized = select(*key, weight(rows, entry)).where(*conditions, upto(key, end)).order_by(*key)
    return cut(rows, sized) or end


def earlier(one: list[Any] | None, other: list[Any] | None) -> list[Any] | None:
    """Of the ends of two pages the one that comes first. Texts are ordered by code point, here as in the database."""
    return min((key for key in (one, other) if key is not None), default=None)


def supersede(
    rows: SqlRows,
    table: Table,
    environment: int,
    next: int,
    *conditions: ColumnElement[bool],
) -> None:
    """What stands and meets the conditions is not there from version `next` on."""
    mine = (standing(table, environment), *conditions)
    rows.run(delete(table).where(*mine, unindexed(table.c.since) == next))
    rows.run(update(table).where(*mine, unindexed(table.c.since) < next).values(until=next))


def rewrite(
    base: Base,
    rows: SqlRows,
    table: Table,
    environment: int,
    next: int,
    conditions: Sequence[Any],
    changed: Mapping[str, Any],
) -> None:
    """What stands and meets the conditions is, from version `next` on, with these expressions in it.

    A row that is changed must not meet the conditions any more.
    """
    mine = (standing(table, environment), *conditions)
    rows.run(update(table).where(*mine, unindexed(table.c.since) == next).values(changed))
    columns = values_of(table)
    copied = select(
        *(literal(value, ID) for value in (environment, next, CURRENT)),
        *(raw(changed.get(column.name, column)) for column in columns),
    ).where(*mine, unindexed(table.c.since) < next)
    put(base, rows, table, columns, copied)
    rows.run(update(table).where(*mine, unindexed(table.c.since) < next).values(until=next))


def put(
    base: Base, rows: SqlRows, table: Table, columns: Sequence[Column[Any]], selected: Select[*tuple[Any, ...]]
) -> None:
    """Inserts what is selected: environment, since, until, then `columns`. What is there already stays."""
    names = ["environment", "since", "until", *(column.name for column in columns)]
    statement = base.ignoring(table).from_select(names, selected)
    rows.run(statement)


def put_values(base: Base, rows: SqlRows, table: Table, given: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows; those that are there already stay."""
    if given:
        statement = base.ignoring(table).values({name: bindparam(name) for name in given[0]})
        run_many(rows, statement, given)


def run_many(rows: SqlRows, statement: Executable, given: Sequence[Mapping[str, Any]]) -> None:
    """Executes a statement once for each of the given parameters."""
    parameters: Any = given
    rows.run(statement, parameters)


def raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """As it is in the database: what is selected to be inserted is not converted."""
    return type_coerce(column, NullType())


def unindexed_text(column: ColumnElement[str]) -> ColumnElement[str]:
    """A text as something that no index has; see `unindexed`."""
    return column.concat("")


def count(rows: SqlRows, table: FromClause, *conditions: ColumnElement[bool] | TextClause) -> int:
    """How many rows meet the conditions."""
    return int(rows.run(select(func.count()).select_from(table).where(*conditions)).scalar_one())


def count_ended(
    rows: SqlRows,
    table: Table,
    environment: int,
    next: int,
    *conditions: ColumnElement[bool],
) -> int:
    """How many rows that meet the conditions are not there from version `next` on: the same however often a step is done."""
    return count(rows, table, _ends(table, environment, next), *conditions)


def count_seen(rows: SqlRows, table: Table, environment: int, version: int) -> int:
    """How many rows a reader of that version sees: by two indexes alone, whatever the rows' size."""
    here = table.c.environment == environment
    begun = count(rows, table, here, table.c.since <= version)
    return begun - count(rows, table, here, text(ENDED), table.c.until <= version)


def among(rows: SqlRows, column: ColumnElement[Any], texts: Collection[str]) -> ColumnElement[bool]:
    """That the column is one of the texts, however many: they are one parameter."""
    return column.in_(select(each_of(rows, texts)))


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun, for people: "1 entry", "1,234 entries"."""
    return f"{number:,} {one if number == 1 else many}"


def info(message: str) -> Line:
    """A line of a log."""
    return Line(INFORMATION, message)


def warning(message: str) -> Line:
    """A line of a log that warns."""
    return Line(WARNING, message)


def nothing(*notes: Line) -> Step:
    """The step of an operation that has nothing to do."""
    return Step(None, 0, 0, over=True, notes=notes)


def each_of(rows: SqlRows, given: Collection[str]) -> Any:
    """A column with each of the texts."""
    if rows.dialect.name == "sqlite":
        return func.json_each(json.dumps(list(given), ensure_ascii=False)).table_valued("value").c.value
    array = type_coerce(list(given), ARRAY(Text))
    return func.unnest(array).table_valued("value").render_derived().c.value


def _ends(table: Any, environment: int, until: int) -> ColumnElement[bool]:
    # Rows are looked up by their ids, and by site or model with them. Any row began before it ends; but an index that lacks
    # `since` is then not all that is needed, for which SQLite would prefer to read all of the environment in it to looking an id
    # up (20,000 entries: 27 s instead of 0.4 s).
    ends = (unindexed(table.c.until) == until, unindexed(table.c.since) < CURRENT)
    return and_(table.c.environment == environment, *ends)


def _text(value: Any) -> ColumnElement[Any]:
    return literal(value)
