"""MySQL 8 and MariaDB from 10.6 on.

Neither gives rows back from an UPDATE. So rows are locked, in the order of their ids, by a SELECT that tells which of them
are as expected; what is locked is changed by id, and read back. The primary key is forced for the locks: a small table would
rather be scanned, and the scan would wait for rows that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    bindparam,
    case,
    null,
    select,
    type_coerce,
    update,
)

from gnj.queue import deadline
from gnj.queue.model import Job, RecordT
from gnj.queue.storage import Changes
from gnj.queue.values import dump_json
from gnj.storage.sql import claim_mysql, insert_mysql
from gnj.storage.sql.columns import ID, JSON
from gnj.storage.sql.columns_mysql import MYSQL
from gnj.storage.sql.dialect import LIMIT, OURS, Dialect, Unique, Write
from gnj.storage.sql.insert_mysql import parts, spans
from gnj.storage.sql.rows import Mapper, Shape
from gnj.storage.sql.schema import Tables
from gnj.storage.sql.where_mysql import MysqlTranslator

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

CASES: Final = 100
"""Rows that one UPDATE gives different values: each is looked for among all of them."""


class Mysql(Dialect):
    """MySQL 8 and MariaDB 10.6 or newer."""

    name = "mysql"
    has_clock = True
    # of UTC, since an hour of local time comes twice a year; NOW() would need the session's time zone as well
    now = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"
    skips_locked = True
    along = "FORCE INDEX ({})"
    keyed = True
    reads_old = True
    translator = MysqlTranslator()

    def begin(self, connection: Connection, *, write: bool) -> None:
        """READ COMMITTED, whatever the default is: REPEATABLE READ locks the gaps between rows, and sees holds too late.

        On an engine of our own all sessions have it (`engine`), and one statement less begins a transaction.
        """
        if not connection.info.get(OURS):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        _limit(connection)
        connection.exec_driver_sql("START TRANSACTION")

    def begin_serializable(self, connection: Connection, tables: Tables) -> None:
        """SERIALIZABLE, in which every read locks; the first one a row that every other such transaction locks first."""
        _limit(connection)
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        connection.exec_driver_sql("START TRANSACTION")
        connection.exec_driver_sql(f"SELECT 1 FROM `{tables.version_table}` FOR UPDATE")

    def of_ids(self, target: ColumnElement[Any]) -> ColumnElement[bool]:
        """A list."""
        return target.in_(bindparam("of_ids", type_=ID, expanding=True))

    def ids(self, ids: Sequence[int]) -> Any:
        """A list."""
        return list(ids)

    def by_primary_key(self, statement: Any, table: Table) -> Any:
        """Forced: see above."""
        for name in MYSQL:
            statement = statement.with_hint(table, "FORCE INDEX (PRIMARY)", name)
        return statement

    def bucket(self, moment: ColumnElement[Any], seconds: int) -> ColumnElement[int]:
        """By integer division of the milliseconds."""
        return type_coerce(type_coerce(moment, ID).op("DIV", precedence=8)(seconds * 1000), ID)

    def ordered(self, column: Any, *, descending: bool) -> list[Any]:
        """Nulls sort before all values, and there are no words to have it otherwise."""
        order = column.desc() if descending else column.asc()
        if not getattr(column, "nullable", True):
            return [order]
        last = column.is_(None)
        return [last.desc() if descending else last.asc(), order]

    def lease_ends(self, tables: Tables) -> tuple[ColumnElement[Any], list[ColumnElement[bool]]]:
        """A generated column, null unless a claim holds the job."""
        return type_coerce(tables.job.c.lease_key, tables.job.c.lease_expires_at.type), []

    def having(
        self, mapper: Mapper[Any], unique: Unique, keys: Collection[tuple[str, ...]]
    ) -> list[ColumnElement[bool]]:
        """By the generated columns."""
        return insert_mysql.having(mapper, unique, keys)

    def write(self, rows: SqlRows, write: Write[RecordT]) -> list[Row[Any]]:
        """Lock and look, change, read back; one row is changed at once, if it is as expected."""
        if len(write.ids) == 1 and not (write.skips or write.json):
            return self._read(rows, write.mapper, write.ids) if self.rewrite(rows, write) else []
        found: list[Row[Any]] = []
        for some in parts(sorted(set(write.ids))):
            ids = self._expected(rows, write, some)
            if ids:
                found += self.change(rows, write, ids)
        return found

    def complete(self, rows: SqlRows, write: Write[Job]) -> set[int]:
        """Lock and look, change: those with an output, and those without."""
        outputs, attempts = write.json.get("output") or [None] * len(write.ids), write.attempts or ()
        done: set[int] = set()
        for has in (True, False):
            places = [place for place, output in enumerate(outputs) if (output is not None) is has]
            ids, tries = [write.ids[place] for place in places], [attempts[place] for place in places]
            json = {"output": [outputs[place] for place in places]} if has else {}
            some = replace(write, ids=ids, attempts=tries, json=json)
            for part in parts(sorted(ids)):
                locked = self._expected(rows, some, part)
                if locked:
                    self._change(rows, some, locked)
                done.update(locked)
        return done

    def rewrite(self, rows: SqlRows, write: Write[Any]) -> bool:
        """Nothing is read."""
        table = write.mapper.table

        def build() -> Any:
            which = [table.c.id == bindparam("of_id", type_=ID)]
            if write.attempts is not None:
                which.append(table.c.attempt == bindparam("of_attempt", type_=ID))
            values = write.mapper.assignments(write.shape)
            values |= {} if write.extra is None else write.extra()
            statement = update(table).values(values).where(*which, *write.conditions())
            for name in MYSQL:
                statement = statement.with_hint("FORCE INDEX (PRIMARY)", dialect_name=name)
            return statement

        key = ("change one", write.mapper.kind, write.key, write.shape, write.attempts is None)
        given = {"of_id": write.ids[0]} | ({} if write.attempts is None else {"of_attempt": write.attempts[0]})
        # the driver counts rows that were found, not those that differ from before (SQLAlchemy has it so)
        changed: int = rows.run(rows.prepared(key, build), {**write.parameters, **given}).rowcount
        return bool(changed)

    def _expected(self, rows: SqlRows, write: Write[RecordT], ids: Sequence[int]) -> list[int]:
        """Those of the rows that are as expected, locked."""
        table = write.mapper.table

        def build() -> Any:
            fence = table.c.attempt if write.attempts is not None else null()
            statement = select(table.c.id, fence).where(self.of_ids(table.c.id), *write.conditions())
            return self.by_primary_key(statement, table).order_by(table.c.id).with_for_update(skip_locked=write.skips)

        key = ("lock", write.mapper.kind, write.key, write.attempts is None, "of_now" in write.parameters, write.skips)
        names = write.parameters.keys() & {"of_now", "of_tenant"}  # all that conditions have
        parameters = {"of_ids": list(ids)} | {name: write.parameters[name] for name in names}
        locked = rows.run(rows.prepared(key, build), parameters).all()
        if write.attempts is None:
            return [id for id, _ in locked]
        tokens = set(zip(write.ids, write.attempts, strict=True))
        return [id for id, attempt in locked if (id, attempt) in tokens]

    def change(self, rows: SqlRows, write: Write[RecordT], ids: Sequence[int]) -> list[Row[Any]]:
        """Changes rows that are locked, and reads them back."""
        self._change(rows, write, ids)
        return self._read(rows, write.mapper, ids)

    def _change(self, rows: SqlRows, write: Write[Any], ids: Sequence[int]) -> None:
        mapper = write.mapper
        parameters = {name: value for name, value in write.parameters.items() if name not in ("of_now", "of_tenant")}
        for some in self._weighed(write, ids):

            def build(count: int = len(some)) -> Any:
                values = mapper.assignments(write.shape)
                if write.extra is not None:
                    values |= write.extra()
                cases = [(mapper.table.c.id == bindparam(f"case_{n}", type_=ID)) for n in range(count)]
                for name in write.json:
                    of = (bindparam(f"{name}_{n}", type_=JSON) for n in range(count))
                    values[name] = case(*zip(cases, of, strict=True))
                return update(mapper.table).values(values).where(self.of_ids(mapper.table.c.id))

            given: dict[str, Any] = {"of_ids": list(some)}
            key = ("change", mapper.kind, write.key, write.shape, tuple(write.json), len(some) if write.json else None)
            if write.json:
                places = {id: place for place, id in enumerate(write.ids)}
                given |= {f"case_{n}": id for n, id in enumerate(some)}
                for name, values in write.json.items():
                    given |= {f"{name}_{n}": values[places[id]] for n, id in enumerate(some)}
            rows.run(rows.prepared(key, build), parameters | given)

    @staticmethod
    def _weighed(write: Write[Any], ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """Ids whose values go together into one statement."""
        if not write.json:
            yield ids
            return
        places = {id: place for place, id in enumerate(write.ids)}
        weights = [sum(len(dump_json(values[places[id]])) for values in write.json.values()) for id in ids]
        for start, end in spans(weights, CASES):
            yield ids[start:end]

    def _read(self, rows: SqlRows, mapper: Mapper[Any], ids: Sequence[int]) -> list[Row[Any]]:
        """Rows that are locked: a locking read gives their newest state in any isolation."""

        def build() -> Any:
            wanted = mapper.table.c.id.in_(bindparam("of_ids", type_=ID, expanding=True))
            return self.by_primary_key(mapper.selecting.where(wanted), mapper.table).with_for_update()

        statement = rows.prepared(("read", mapper.kind), build)
        return [row for some in parts(ids) for row in rows.run(statement, {"of_ids": list(some)})]

    def move_all(
        self,
        rows: SqlRows,
        mapper: Mapper[Any],
        shape: Shape,
        parameters: Mapping[str, Any],
        where: ColumnElement[bool],
    ) -> int:
        """Looked up, then locked by id: an UPDATE would lock in the order of whatever index it goes along."""
        table, moved = mapper.table, 0
        ids = rows.run(select(table.c.id).where(where).order_by(table.c.id)).scalars().all()
        lock = select(table.c.id).where(self.of_ids(table.c.id), where).order_by(table.c.id)
        change = update(table).values(mapper.assignments(shape)).where(self.of_ids(table.c.id))
        for some in parts(ids):
            locked = (
                rows.run(self.by_primary_key(lock, table).with_for_update(), {"of_ids": list(some)}).scalars().all()
            )
            if locked:
                rows.run(change, {**parameters, "of_ids": list(locked)})
            moved += len(locked)
        return moved

    def claim(
        self, rows: SqlRows, types: Sequence[str], limit: int, changes: Changes, tenants: Sequence[str] | None
    ) -> list[Job]:
        """Lock, change, read back."""
        ids = claim_mysql.locked(rows, types, limit, tenants)
        if not ids:
            return []
        mapper: Mapper[Job] = rows.mappers[Job]
        shape, parameters = mapper.changed(changes, rows.present())
        write = Write(
            mapper, "claim", shape, parameters, list, ids, extra=lambda: {"attempt": mapper.table.c.attempt + 1}
        )
        return [job for some in parts(ids) for job in mapper.records(self.change(rows, write, some))]

    def promote(self, rows: SqlRows, limit: int) -> int:
        """Lock, change."""
        ids = claim_mysql.due(rows, limit)
        statement = update(rows.tables.job).values(due_at=None).where(self.of_ids(rows.tables.job.c.id))
        for some in parts(ids):
            rows.run(statement, {"of_ids": list(some)})
        return len(ids)

    def insert(
        self, rows: SqlRows, mapper: Mapper[RecordT], given: Sequence[Changes], unless: Unique | None
    ) -> list[RecordT]:
        """See `insert_mysql`."""
        return mapper.by_id(self._read(rows, mapper, insert_mysql.stored(rows, mapper, given, unless)))


def _limit(connection: Connection) -> None:
    """Gives the session, if it is ours, the limit there is for a statement: of seconds in MariaDB, in MySQL of milliseconds
    and for reads only. A transaction cannot have one; set again only where requests and workers share a pool.
    """
    info, limit = connection.info, deadline.of_statement()
    if not info.get(OURS) or info.get(LIMIT) == limit:
        return
    dialect: Any = connection.dialect
    if dialect.is_mariadb:
        connection.exec_driver_sql(f"SET SESSION max_statement_time = {'DEFAULT' if limit is None else limit}")
    else:
        milliseconds = "DEFAULT" if limit is None else max(1, int(limit * 1000))
        connection.exec_driver_sql(f"SET SESSION max_execution_time = {milliseconds}")
    info[LIMIT] = limit
