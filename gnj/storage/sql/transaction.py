"""`Rows` over one connection: what `gnj.queue.storage` specifies, as SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    and_,
    bindparam,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)

from gnj.queue.clock import After, Clock
from gnj.queue.model import Hold, Job, Record, RecordT
from gnj.queue.storage import ALL, Changes, Rows, Select, Settlement
from gnj.queue.where import EVERYTHING, Condition
from gnj.storage.sql import notify_postgresql, settling
from gnj.storage.sql.columns import ID, TEXT
from gnj.storage.sql.dialects import Dialect
from gnj.storage.sql.faults import faults
from gnj.storage.sql.rows import Mapper, Present
from gnj.storage.sql.schema import CLAIMED, Tables

PROMOTED: Final = 1_000
"""Due jobs that one claim makes ready at most: some 25 ms of work. What is left over waits for the next claim."""
STATEMENTS: Final = 500
"""Statements kept at most: claims alone have one for each limit."""
SPARE: Final = 8
"""Candidates looked up beyond the limit, for those that others have locked."""


class SqlRows(Rows):
    """What can be done through `connection`, which is in a transaction.

    Args:
        connection: Where the statements go.
        tables: The tables to use, and `mappers` how records are kept in them.
        dialect: The database's ways.
        clock: Gives the present; None: the database's own.
        statements: Those made before, for `prepared`.
        notifies: Whether `signal` reaches other processes.
    """

    def __init__(
        self,
        connection: Connection,
        tables: Tables,
        mappers: Mapping[type[Record], Mapper[Any]],
        dialect: Dialect,
        clock: Clock | None,
        statements: dict[Hashable, Any],
        *,
        notifies: bool,
    ) -> None:
        self.connection = connection
        self.tables = tables
        self.mappers = mappers
        self.dialect = dialect
        self.clock = clock
        self.notifies = notifies
        self._statements = statements
        self._signalled = False

    def present(self) -> Present:
        """The present for one statement."""
        return Present(None if self.clock is None else self.clock())

    def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """Executes a statement: the one way to the database."""
        with faults():
            return self.connection.execute(statement, parameters)

    def prepared(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """The statement `build` makes, made once for all that have the same `key`: it takes longer than to execute it."""
        statement = self._statements.get(key)
        if statement is None:
            if len(self._statements) >= STATEMENTS:
                self._statements.clear()
            statement = self._statements[key] = build()
        return statement

    def now(self) -> datetime:
        """See `Rows.now`."""
        if self.clock is not None:
            return self.clock()
        moment: datetime = self.run(select(self.present().now())).scalar_one()
        return moment

    def get(self, kind: type[RecordT], id: int, *, tenant: str | None = None, lock: bool = False) -> RecordT | None:
        """See `Rows.get`."""
        mapper: Mapper[RecordT] = self.mappers[kind]

        def build() -> Any:
            of_tenant = mapper.table.c.tenant == bindparam("of_tenant", type_=TEXT)
            statement = mapper.selecting.where(mapper.table.c.id == bindparam("of_id", type_=ID), self._live(mapper))
            statement = statement if tenant is None else statement.where(of_tenant)
            return statement.with_for_update() if lock else statement

        parameters = {"of_id": id} if tenant is None else {"of_id": id, "of_tenant": tenant}
        rows = self.run(self.prepared(("get", kind, tenant is None, lock), build), parameters).all()
        return mapper.records(rows)[0] if rows else None

    def find(self, kind: type[RecordT], select: Select = ALL, *, tenant: str | None = None) -> list[RecordT]:
        """See `Rows.find`."""
        mapper: Mapper[RecordT] = self.mappers[kind]
        return mapper.records(self.run(self._found(mapper, select, tenant)))

    def count(self, kind: type[Record], where: Condition = EVERYTHING, *, tenant: str | None = None) -> int:
        """See `Rows.count`."""
        mapper = self.mappers[kind]
        statement = select(func.count()).select_from(mapper.table)
        found: int = self.run(statement.where(self._meets(mapper, where), self._live(mapper, tenant))).scalar_one()
        return found

    def exists(self, kind: type[Record], where: Condition) -> bool:
        """See `Rows.exists`."""
        mapper = self.mappers[kind]
        inner = select(mapper.table.c.id).where(self._meets(mapper, where), self._live(mapper))
        return bool(self.run(select(inner.exists())).scalar_one())

    def insert(self, kind: type[RecordT], rows: Sequence[Changes]) -> list[RecordT]:
        """See `Rows.insert`."""
        if kind is Hold:
            return [self._hold(row) for row in rows]  # type: ignore[misc]
        return self._inserted(self.mappers[kind], insert(self.tables.of(kind)), rows)

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """See `Rows.insert_jobs`."""
        keys = [_unique_key(row) for row in rows]
        places: dict[Any, int] = {}
        # of several rows with one key the first is stored for all; a row without one leads itself
        leader = [places.setdefault(i if key is None else key, i) for i, key in enumerate(keys)]
        done: dict[int, tuple[Job, bool]] = {}
        missing = sorted(places.values())
        while missing:
            self.dialect.order_keys(self.connection, {key for place in missing if (key := keys[place]) is not None})
            stored = self._inserted(self.mappers[Job], self._new_jobs, [rows[place] for place in missing])
            keyed = {(job.tenant, job.unique_id): job for job in stored if job.unique_id is not None}
            others = iter([job for job in stored if job.unique_id is None])
            for place in missing:
                key = keys[place]
                job = next(others) if key is None else keyed.get(key)
                if job is not None:
                    done[place] = (job, True)
            taken = self._with_unique_ids({keys[place] for place in missing if place not in done})
            done |= {place: (taken[keys[place]], False) for place in missing if keys[place] in taken}
            # whoever had the key may have given it up between the two statements: then once more
            missing = [place for place in missing if place not in done]
        return [done[i] if leader[i] == i else (done[leader[i]][0], False) for i in range(len(rows))]

    def edit(self, kind: type[RecordT], ids: Sequence[int], changes: Changes) -> list[RecordT]:
        """See `Rows.edit`."""
        # PostgreSQL gives up a whole transaction for a duplicate key; the caller's own must survive it
        careful = changes.get("unique_id") is not None
        with faults(), self.connection.begin_nested() if careful else nullcontext():
            return self._written(kind, ids, None, changes)

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        """See `Rows.move`."""
        return self._written(kind, ids, frozenset(frm), changes)

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        """See `Rows.move_all`."""
        mapper = self.mappers[kind]
        shape, parameters = mapper.changed(changes, self.present())
        statement = update(mapper.table).values(mapper.assignments(shape))
        condition = and_(self._meets(mapper, where), self._live(mapper), self.has_status(kind, frm))
        moved: int = self.run(statement.where(condition), parameters).rowcount
        return moved

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        """See `Rows.settle`."""
        return settling.settle(self, settlements)

    def renew(self, claims: Sequence[tuple[int, int]], lease: float) -> list[Job | None]:
        """See `Rows.renew`."""
        return settling.renew(self, claims, lease)

    def claim(
        self,
        types: Sequence[str],
        limit: int,
        *,
        lease: float,
        changes: Changes,
        tenants: Sequence[str] | None = None,
    ) -> list[Job]:
        """See `Rows.claim`."""
        types = list(dict.fromkeys(types))
        if not types or limit < 1:
            return []
        changes = {**changes, "lease": lease, "lease_expires_at": After(lease)}
        # One statement where nothing is due, which is nearly always so; what is due is made ready first.
        claimed = self._claim(types, tenants, limit, changes, unless_due=True)
        if not claimed:
            self.promote(PROMOTED)
            claimed = self._claim(types, tenants, limit, changes, unless_due=False)
        return sorted(claimed, key=lambda job: (-job.priority, job.position, job.id))

    def _claim(
        self, types: Sequence[str], tenants: Sequence[str] | None, limit: int, changes: Changes, *, unless_due: bool
    ) -> list[Job]:
        mapper: Mapper[Job] = self.mappers[Job]
        claims, present = self.dialect.claims, self.present()
        shape, written = mapper.changed(changes, present)
        asked = claims.parameters(types, tenants)
        parts = {"one": len(types) == 1, "filtered": tenants is not None}
        claimed: list[Job] = []
        fetch = limit + SPARE
        while True:
            wanted = limit - len(claimed)

            def build(wanted: int = wanted, fetch: int = fetch) -> Any:
                sql = claims.claimable(self.tables, **parts, limit=wanted, fetch=fetch, unless_due=unless_due)
                ids = claims.bound(present.clause(sql), **parts)
                values = mapper.assignments(shape) | {"attempt": mapper.table.c.attempt + 1}
                return mapper.updating.values(values).where(self.dialect.among(mapper.table.c.id, ids))

            key = ("claim", shape, *parts.values(), wanted, fetch, unless_due)
            parameters = written | asked | (present.parameters() if unless_due else {})
            taken = mapper.records(self.run(self.prepared(key, build), parameters))
            claimed += taken
            enough = len(claimed) >= limit or len(types) == 1 or not self.dialect.skips_locked
            if enough or (unless_due and not taken):
                return claimed
            # Short: unless all there is was looked at, look further. What others have locked is still counted here.
            left = claims.bound(text(claims.candidates(self.tables, fetch=fetch, filtered=parts["filtered"])), **parts)
            if self.run(left, asked).scalar_one() + len(claimed) < fetch:
                return claimed
            fetch *= 8

    def promote(self, limit: int) -> int:
        """See `Rows.promote`."""
        present = self.present()

        def build() -> Any:
            job = self.tables.job
            ids = present.clause(self.dialect.claims.due(self.tables, limit))
            return update(job).values(due_at=None).where(self.dialect.among(job.c.id, ids))

        made: int = self.run(self.prepared(("promote", limit), build), present.parameters()).rowcount
        return made

    def lost(self, limit: int) -> list[Job]:
        """See `Rows.lost`."""
        mapper: Mapper[Job] = self.mappers[Job]
        present = self.present()
        expires = mapper.table.c.lease_expires_at
        statement = mapper.selecting.where(text(CLAIMED), expires <= present.now())
        statement = statement.order_by(expires, mapper.table.c.id).limit(limit)
        return mapper.records(self.run(statement, present.parameters()))

    def signal(self) -> None:
        """See `Rows.signal`."""
        if self.notifies and not self._signalled:
            self.run(notify_postgresql.signal(self.tables))
            self._signalled = True

    def _written(
        self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any] | None, changes: Changes
    ) -> list[RecordT]:
        if not ids:
            return []
        mapper: Mapper[RecordT] = self.mappers[kind]
        shape, parameters = mapper.changed(changes, self.present())

        def build() -> Any:
            statement = mapper.updating.values(mapper.assignments(shape))
            statement = statement.where(self.dialect.of_ids(mapper.table.c.id), self._live(mapper))
            return statement if frm is None else statement.where(self.has_status(kind, frm))

        statement = self.prepared(("write", kind, shape, frm), build)
        return mapper.by_id(self.run(statement, {**parameters, "of_ids": self.dialect.ids(ids)}))

    def _inserted(self, mapper: Mapper[RecordT], statement: Any, rows: Sequence[Changes]) -> list[RecordT]:
        """Stores rows with `statement`, always the same one for a kind; those that were stored, by id."""
        if not rows:
            return []
        columns, present = mapper.inserted(rows), self.present()
        if len(rows) == 1:
            shape, parameters = mapper.shaped({name: values[0] for name, values in columns.items()}, present)

            def build() -> Any:
                return statement.values(mapper.assignments(shape)).returning(*mapper.columns)

            return mapper.records(self.run(self.prepared(("insert", mapper.kind, shape), build), parameters))
        with faults():
            stored = self.dialect.insert_many(
                self.connection, statement.returning(*mapper.columns), mapper, columns, present
            )
        return mapper.by_id(stored)

    @property
    def _new_jobs(self) -> Any:
        live = "job_unique_id IS NOT NULL AND deleted_at IS NULL"
        return self.dialect.insert_ignoring(self.tables.job, ["tenant", "job_unique_id"], live)

    def _with_unique_ids(self, keys: Collection[Any]) -> dict[Any, Job]:
        """The jobs that have these (tenant, unique id)."""
        mapper: Mapper[Job] = self.mappers[Job]
        by_tenant: dict[str, list[str]] = {}
        for tenant, key in keys:
            by_tenant.setdefault(tenant, []).append(key)
        found: dict[Any, Job] = {}
        for tenant, ids in by_tenant.items():
            one_of = self.dialect.translator.one_of(mapper.table.c.job_unique_id, ids, TEXT)
            jobs = mapper.records(self.run(mapper.selecting.where(one_of, self._live(mapper, tenant))))
            found |= {(tenant, job.unique_id): job for job in jobs}
        return found

    def _hold(self, row: Changes) -> Hold:
        """The hold, new or there already."""
        mapper: Mapper[Hold] = self.mappers[Hold]
        new = self.dialect.insert_ignoring(mapper.table, ["tenant", "type"], "deleted_at IS NULL")
        there = mapper.selecting.where(mapper.table.c.type == row["type"], self._live(mapper, row.get("tenant", "")))
        while True:
            found = self._inserted(mapper, new, [row]) or mapper.records(self.run(there))
            if found:  # else it was released in between
                return found[0]

    def _found(self, mapper: Mapper[Any], wanted: Select, tenant: str | None) -> Any:
        condition = and_(self._meets(mapper, wanted.where), self._live(mapper, tenant, deleted=wanted.deleted))
        order = [*(self._ordered(mapper.column(name), descending=descending) for name, descending in wanted.order)]
        order.append(mapper.table.c.id.asc())
        if wanted.per is None:
            statement = mapper.selecting.where(condition).order_by(*order).limit(wanted.limit)
            return statement.offset(wanted.offset) if wanted.offset else statement
        group = mapper.column(wanted.per)
        place = func.row_number().over(partition_by=group, order_by=order).label("place_in_group")
        ranked = select(*mapper.table.c, place).where(condition).subquery()
        statement = select(*(ranked.c[column.name] for column in mapper.columns))
        statement = statement.where(ranked.c.place_in_group > wanted.offset)
        if wanted.limit is not None:
            statement = statement.where(ranked.c.place_in_group <= wanted.offset + wanted.limit)
        return statement.order_by(self._ordered(ranked.c[group.name], descending=False), ranked.c.place_in_group)

    def _ordered(self, column: Any, *, descending: bool) -> Any:
        order = column.desc() if descending else column.asc()
        if not self.dialect.nulls_first or not column.nullable:
            return order  # PostgreSQL has nulls last when ascending by itself; a word too many can keep an index out
        return order.nulls_first() if descending else order.nulls_last()

    def _meets(self, mapper: Mapper[Any], where: Condition) -> ColumnElement[bool]:
        return self.dialect.translator.condition(where, mapper.column)

    def has_status(self, kind: type[Record], frm: Collection[Any]) -> ColumnElement[bool]:
        """Whether a row has one of these statuses; None means none.

        Asked of rows that are named by their ids, and so of an expression that no index has: by statistics from an idle hour,
        or by none, "processing" looks rarer than one id (SQLite went through all claimed jobs, 500 times for 500 ends).
        """
        status = self.mappers[kind].column("status")
        words = sorted(str(value) for value in frm if value is not None)
        hidden = status.concat(literal_column("''"))
        one_of = self.dialect.translator.one_of(hidden, words, TEXT) if words else false()
        return or_(status.is_(None), one_of) if None in frm else one_of

    @staticmethod
    def _live(mapper: Mapper[Any], tenant: str | None = None, *, deleted: bool = False) -> ColumnElement[bool]:
        columns = mapper.table.c
        return and_(
            true() if deleted else columns.deleted_at.is_(None), true() if tenant is None else columns.tenant == tenant
        )


def _unique_key(row: Changes) -> tuple[str, str] | None:
    key = row.get("unique_id")
    return None if key is None else (row.get("tenant", ""), key)
