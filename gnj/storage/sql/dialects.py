"""What PostgreSQL and SQLite do differently, in one place each; and the databases there is SQL for."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    Text,
    TextClause,
    any_,
    bindparam,
    cast,
    column,
    extract,
    func,
    insert,
    literal_column,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from gnj.queue import deadline
from gnj.queue.clock import After
from gnj.queue.model import RecordT
from gnj.queue.storage import Changes
from gnj.queue.values import dump_json
from gnj.storage.sql import claim_postgresql, claim_sqlite, copy_postgresql
from gnj.storage.sql.bulk import bulk, insert_sqlite
from gnj.storage.sql.columns import ID, JSON, dump_jsonb, to_milliseconds
from gnj.storage.sql.dialect import LIMIT, OURS, ROUTED, Dialect
from gnj.storage.sql.direct_postgresql import LEAVE, LEAVE_LOCAL, limited
from gnj.storage.sql.returning import Returning
from gnj.storage.sql.rows import DATABASE_NOW, Mapper, Present
from gnj.storage.sql.schema import Tables
from gnj.storage.sql.where import PostgresqlTranslator, SqliteTranslator

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

CHUNK: Final = 5_000
"""Rows of one INSERT."""
_KEYS: Final = 0x676E6A
"""The first of the two numbers of an advisory lock on unique ids."""


# The planner is kept from what is cheap only by its own, often old, statistics: sorting a backlog of 100,000 for a claim of
# 500 jobs of 20 types or for some tenants (44,507 and 2,797 blocks, against 8,200 and 87), or walking the whole table for a
# member of a batch that is not there. Without JIT, since a plan that cannot do without what is off seems dear enough to be
# compiled, for 100 ms.
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    "SET LOCAL enable_seqscan = off",
    "SET LOCAL enable_bitmapscan = off",
    "SET LOCAL jit = off",
    "SET LOCAL lock_timeout = '5s'",
)
_PLACE: Final[ColumnElement[Any]] = literal_column("ctid")
_READ: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"


class Postgresql(Returning):
    """PostgreSQL 13 or newer."""

    name = "postgresql"
    has_clock = True
    now = DATABASE_NOW
    skips_locked = True
    gives_each = True
    laterals = True
    nulls_first = False
    translator = PostgresqlTranslator()
    claims = claim_postgresql

    def begin(self, connection: Connection, *, write: bool) -> None:
        """READ COMMITTED, whatever the default is, and plans along indexes (`_BEGIN`).

        Reads need no BEGIN: in READ COMMITTED each statement sees what is committed when it begins, in a transaction or not.
        So the limit of a read is set for the session if that is ours, and stays until another one is needed; of a session
        of the host's, nothing may outlive the transaction.
        """
        raw = connection.connection.driver_connection
        if not getattr(raw, "autocommit", False):  # an engine of the host's
            connection.execution_options(isolation_level="AUTOCOMMIT")
        info, limit = connection.info, deadline.of_statement()
        begin: tuple[str, ...]
        routed = info.get(ROUTED, False)
        if write:
            begin = (*_BEGIN[:1], LEAVE_LOCAL, *_BEGIN[1:]) if routed else _BEGIN
            if limit != info.get(LIMIT):
                begin = (*begin, limited("SET LOCAL", limit))
        else:
            begin = (LEAVE,) if routed else ()
            if limit != info.get(LIMIT):
                begin += (limited("SET", limit),) if info.get(OURS) else (_READ, limited("SET LOCAL", limit))
        if begin:
            # a connection that prepares every statement takes one at a time
            alone = getattr(raw, "prepare_threshold", None) == 0
            for statement in begin if alone else ("; ".join(begin),):
                connection.exec_driver_sql(statement)
        if not write and info.get(OURS):
            info[LIMIT], info[ROUTED] = limit, False

    def begin_serializable(self, connection: Connection, tables: Tables) -> None:
        """SERIALIZABLE, and a lock that only its like waits for, taken before the first statement that makes a snapshot.

        Without the lock, of 510 operations of 8 threads that each claimed the first of all jobs 94 had not succeeded after
        eight tries; with it all 400 did at the first.
        """
        self.begin(connection, write=True)
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        connection.exec_driver_sql(f"LOCK TABLE {tables.name(tables.hold)} IN SHARE UPDATE EXCLUSIVE MODE")

    def among(self, target: ColumnElement[Any], ids: TextClause) -> ColumnElement[bool]:
        """An array, made before the statement: see `claim_postgresql`."""
        return target == any_(func.array(ids.columns(column("id", ID)).scalar_subquery()))

    def chosen(self, table: Table, ids: TextClause) -> ColumnElement[bool]:
        """Likewise, of places: see `claim_postgresql`."""
        return self.among(_PLACE, ids)

    def each(self, tables: Tables, ids: TextClause, columns: Collection[str], values: Mapping[str, Any]) -> Any:
        """By the number of the row's place among those of `chosen`: joined with their array, of which few are expected, the planner looks
        each row up by its place. `ctid = ANY (…)` in a join it cannot, and reads the whole table.
        """
        job = tables.job
        array = func.array(ids.columns(column("ctid", ID)).scalar_subquery(), type_=ARRAY(ID))
        chosen = func.unnest(array).table_valued(column("place", ID), with_ordinality="nth")
        of = {
            each: text(f"(:new_{each})[chosen.nth]").bindparams(bindparam(f"new_{each}", type_=ARRAY(Text())))
            for each in columns
        }
        place = column("ctid", ID, _selectable=job)  # of that table: else the two seem to be joined by nothing
        return update(job).values({**values, **of}).where(chosen.render_derived(name="chosen").c.place == place)

    def given(self, columns: Mapping[str, Any]) -> dict[str, ColumnElement[Any]]:
        """One array for each column: the statement is the same for any number of rows. JSON goes in as text."""
        types = {name: Text() if type is JSON else type for name, type in columns.items()}
        arrays = (bindparam(f"given_{name}", type_=ARRAY(type)) for name, type in types.items())
        typed = (column(name, type) for name, type in types.items())
        table = func.unnest(*arrays).table_valued(*typed).render_derived()
        return {c.name: cast(c, JSONB) if columns[c.name] is JSON else c for c in table.c}

    def rows(self, columns: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """One list for each column."""
        lists = {f"given_{name}": [row[place] for row in rows] for place, name in enumerate(columns)}
        for name, type in columns.items():
            if type is JSON:
                lists[f"given_{name}"] = [dump_jsonb(value) for value in lists[f"given_{name}"]]
        return lists

    def of_ids(self, target: ColumnElement[Any]) -> ColumnElement[bool]:
        """One array."""
        return target == any_(bindparam("of_ids", type_=ARRAY(ID)))

    def ids(self, ids: Sequence[int]) -> Any:
        """A list."""
        return list(ids)

    def bucket(self, moment: ColumnElement[Any], seconds: int) -> ColumnElement[int]:
        """From the seconds since the epoch, which are numeric."""
        return cast(func.floor(extract("epoch", moment) / seconds), ID)

    def order_keys(self, connection: Connection, keys: Collection[tuple[str, str]]) -> None:
        """Advisory locks on 256 buckets of keys, in order: one for each key could fill the server's table of locks."""
        if len(keys) > 1:
            buckets = sorted({zlib.crc32(f"{tenant}\0{key}".encode()) % 256 for tenant, key in keys})
            statement = "SELECT pg_advisory_xact_lock(CAST(:space AS int), bucket) FROM unnest(CAST(:buckets AS int[])) AS bucket"
            connection.execute(text(statement), {"space": _KEYS, "buckets": buckets})

    def insert_ignoring(self, table: Table, keys: Sequence[str], where: str) -> Any:
        """ON CONFLICT DO NOTHING: waits for a transaction that is inserting the same key."""
        return postgresql.insert(table).on_conflict_do_nothing(index_elements=keys, index_where=text(where))

    def insert_free(self, rows: SqlRows, mapper: Mapper[RecordT], given: Sequence[Changes]) -> list[RecordT]:
        """COPY where there are many, on connections of our own."""
        connection, present = rows.connection, rows.present()
        if len(given) >= copy_postgresql.FEWEST and copy_postgresql.serves(connection):
            table = rows.tables.name(mapper.table)
            stored = copy_postgresql.insert(connection, table, mapper, given, present.moment)
            if stored is not None:
                return stored
        statement = insert(mapper.table).returning(*mapper.columns)
        return mapper.by_id(self.insert_many(connection, statement, mapper, mapper.inserted(given), present))

    def insert_many(
        self,
        connection: Connection,
        statement: Any,
        mapper: Mapper[Any],
        columns: Mapping[str, list[Any]],
        present: Present,
    ) -> list[Row[Any]]:
        """INSERT … SELECT from arrays of what differs from row to row; what does not is there once."""
        same = {name: values[0] for name, values in columns.items() if _same(values)}
        differing = {name: values for name, values in columns.items() if name not in same}
        if present.moment is None and any(isinstance(v, After) for values in differing.values() for v in values):
            present = Present(connection.execute(select(present.now())).scalar_one())
        shape, parameters = mapper.shaped(same, present)
        made = mapper.assignments(shape)
        types = {mapper.attributes[name].column: mapper.column(name).type for name in differing} | {"nth": ID}
        given = self.given(types)
        names = [*made, *(name for name in types if name != "nth")]
        query = select(*((made | given)[name] for name in names))
        query = query.select_from(given["nth"].table).order_by(given["nth"])
        statement = statement.from_select(names, query)
        count = len(next(iter(columns.values())))
        rows: list[Row[Any]] = []
        for start in range(0, count, CHUNK):
            places = range(start, min(start + CHUNK, count))
            lists = [[_resolved(values[i], present) for i in places] for values in differing.values()]
            chunk = self.rows(types, list(zip(*lists, places, strict=True)))
            rows += connection.execute(statement, parameters | chunk)
        return rows


class Sqlite(Returning):
    """SQLite 3.38 or newer."""

    name = "sqlite"
    has_clock = False
    now = ""
    skips_locked = False
    counts = True
    along = 'INDEXED BY "{}"'
    nulls_first = True
    translator = SqliteTranslator()
    claims = claim_sqlite

    def begin(self, connection: Connection, *, write: bool) -> None:
        """BEGIN IMMEDIATE to write: a transaction that first reads and then writes fails where another wrote in between
        (2,004 lock errors for 126 claims, against none for 400). A host's engine may have begun one of its own accord.
        """
        raw: Any = connection.connection.driver_connection
        if raw.in_transaction:
            connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    def join(self, connection: Connection) -> None:
        """The driver begins a transaction before the first INSERT, not before a SAVEPOINT: which would then be the
        transaction itself, and its release the commit. IMMEDIATE, since something is going to be written.
        """
        raw: Any = connection.connection.driver_connection
        if not raw.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def begin_serializable(self, connection: Connection, tables: Tables) -> None:
        """As any that writes."""
        self.begin(connection, write=True)

    def among(self, target: ColumnElement[Any], ids: TextClause) -> ColumnElement[bool]:
        """A subquery: it does not depend on the row, so that SQLite runs it once."""
        return target.in_(ids.columns(column("id", ID)))

    def given(self, columns: Mapping[str, Any]) -> dict[str, ColumnElement[Any]]:
        """One JSON array of arrays."""
        each = func.json_each(bindparam("given", type_=Text())).table_valued("value")
        parts = (func.json_extract(each.c.value, f"$[{i}]").label(name) for i, name in enumerate(columns))
        return dict(select(*parts).subquery().c)

    def rows(self, columns: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """The text of that array."""
        if all(type is ID for type in columns.values()):
            return {"given": dump_json(rows)}
        stored = [[_stored(value, type) for value, type in zip(row, columns.values(), strict=True)] for row in rows]
        return {"given": dump_json(stored)}

    def of_ids(self, target: ColumnElement[Any]) -> ColumnElement[bool]:
        """One JSON array."""
        each = func.json_each(bindparam("of_ids", type_=Text())).table_valued("value")
        return target.in_(select(each.c.value))

    def ids(self, ids: Sequence[int]) -> Any:
        """Its text."""
        return dump_json(list(ids))

    def bucket(self, moment: ColumnElement[Any], seconds: int) -> ColumnElement[int]:
        """By integer division of the milliseconds."""
        return type_coerce(moment, ID) // (seconds * 1000)

    def insert_ignoring(self, table: Table, keys: Sequence[str], where: str) -> Any:
        """ON CONFLICT DO NOTHING."""
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - 0.7 MB that only those pay who use it

        return sqlite.insert(table).on_conflict_do_nothing(index_elements=keys, index_where=text(where))

    def insert_free(self, rows: SqlRows, mapper: Mapper[RecordT], given: Sequence[Changes]) -> list[RecordT]:
        """See `bulk.insert_sqlite`."""
        moment = rows.present().moment
        assert moment is not None  # noqa: S101 - tells the type checker that SQLite has no clock of its own
        return insert_sqlite(rows.connection, rows.tables.name(mapper.table), bulk(mapper, given, moment))

    def insert_many(
        self,
        connection: Connection,
        statement: Any,
        mapper: Mapper[Any],
        columns: Mapping[str, list[Any]],
        present: Present,
    ) -> list[Row[Any]]:
        """Rows of VALUES, as many as SQLite's 32,766 parameters allow in one statement."""
        names = [mapper.attributes[name].column for name in columns]
        rows = zip(*([_resolved(v, present) for v in values] for values in columns.values()), strict=True)
        return list(connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows]))


def _same(values: Sequence[Any]) -> bool:
    """Whether all values are one and the same; containers, in which True could pass for 1, are not looked into."""
    first = values[0]
    if len(values) > 1 and isinstance(first, (dict, list)):
        return all(value is first for value in values)
    return all(value is first or (type(value) is type(first) and value == first) for value in values)


def _resolved(value: Any, present: Present) -> Any:
    if not isinstance(value, After):
        return value
    assert present.moment is not None  # noqa: S101 - tells the type checker what `insert_many` has seen to
    return value.resolve(present.moment)


def _stored(value: Any, type: Any) -> Any:
    if type is JSON and value is not None:
        return dump_json(value)
    return to_milliseconds(value) if isinstance(value, datetime) else value


NAMES: Final = frozenset({"postgresql", "sqlite", "mysql", "mariadb"})
"""The databases there is SQL for, as SQLAlchemy calls them."""


def dialect_of(name: str) -> Dialect:
    """What speaks to a database, by one of `NAMES`."""
    if name == "postgresql":
        return Postgresql()
    if name == "sqlite":
        return Sqlite()
    from gnj.storage.sql.dialect_mysql import Mysql  # noqa: PLC0415 - half a megabyte that only those load who have it

    return Mysql()
