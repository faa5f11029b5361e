"""Many rows at once into a table of the content store, and out of a version."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row, Table, insert, text, update

from gnj.queue.model import Kind
from gnj.queue.values import Json
from gnj.storage.sql import copy_postgresql
from gnj.storage.sql.columns import ID, JSON, TIME, to_milliseconds
from gnj.storage.sql.content.turns import Locked
from gnj.storage.sql.faults import faults
from gnj.storage.sql.transaction import SqlRows

_SERVED = text("SELECT NOT row_security_active(CAST(:name AS text))")


def load(rows: SqlRows, table: Table, names: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
    """Inserts rows, each with its values for the columns `names`; none may be there yet.

    On PostgreSQL by COPY where that is possible (8 of the 20 us that a row takes are the server's work on its indexes).
    """
    if not values:
        return
    if rows.dialect.name == "sqlite":
        _load_sqlite(rows, table, names, values)
        return
    name = rows.tables.name(table)
    if copy_postgresql.serves(rows.connection) and rows.run(_SERVED, {"name": name}).scalar_one():
        made = copy_postgresql.bindings(rows.connection)
        columns = {
            column: map(made[_kind(table, column)], given)
            for column, given in zip(names, zip(*values, strict=True), strict=True)
        }
        with copy_postgresql.sent(rows.connection, name, len(values), columns):
            return
    with faults():
        rows.connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in values])


def make_room(rows: SqlRows, at: Locked, table: Table, there: Sequence[Row[Any]]) -> None:
    """Has the rows `there`, each with its `id` and `since`, gone from the version to come: of what readers see the end is noted,
    and what only that version has is removed.
    """
    of_ids = rows.dialect.of_ids(table.c.id)
    old = [row.id for row in there if row.since <= at.version]
    if old:
        rows.run(update(table).where(of_ids).values(until=at.coming), {"of_ids": rows.dialect.ids(old)})
    own = [row.id for row in there if row.since > at.version]
    if own:
        rows.run(table.delete().where(of_ids), {"of_ids": rows.dialect.ids(own)})


def sorted_json(value: Json) -> str:
    """The text by which SQLite keeps JSON here: what is equal is the same text, whatever the order of keys was."""
    return _SORTED.encode(value)


# made once: json.dumps makes an encoder in each call that has options
_SORTED = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _load_sqlite(rows: SqlRows, table: Table, names: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
    columns: list[Sequence[Any]] = list(zip(*values, strict=True))
    for place, name in enumerate(names):
        convert = _STORED.get(table.c[name].type)
        if convert is not None:
            columns[place] = [None if value is None else convert(value) for value in columns[place]]
    listed = ", ".join(f'"{name}"' for name in names)
    sql = f"INSERT INTO {rows.tables.name(table)} ({listed}) VALUES ({', '.join('?' * len(names))})"
    with faults():
        rows.connection.exec_driver_sql(sql, list(zip(*columns, strict=True)))


def _kind(table: Table, name: str) -> Kind:
    return _KINDS.get(table.c[name].type, Kind.TEXT)


_KINDS = {ID: Kind.ID, JSON: Kind.JSON, TIME: Kind.TIME}
_STORED: dict[Any, Callable[[Any], Any]] = {JSON: sorted_json, TIME: to_milliseconds}
