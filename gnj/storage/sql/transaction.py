"""`Rows` over one connection: what `gnj.queue.storage` specifies, as SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    TextClause,
    and_,
    false,
    func,
    insert,
    or_,
    select,
    text,
    true,
    update,
)

from gnj.queue.clock import NOW, After, Clock
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
"""Due jobs that one claim makes ready at most: some 10 ms of work. What is left over waits for the next claim."""
SPARE: Final = 8
"""Candidates looked up beyond the limit, for those that others have locked."""


class SqlRows(Rows):
    """What can be done through `connection`, which is in a transaction.

    Args:
        connection: Where the statements go.
        tables: The tables to use, and `mappers` how records are kept in them.
        dialect: The database's ways.
        clock: Gives the present; None: the database's own.
        notifies: Whether `signal` reaches other processes.
    """

    def __init__(
        self,
        connection: Connection,
        tables: Tables,
        mappers: Mapping[type[Record], Mapper[Any]],
        dialect: Dialect,
        clock: Clock | None,
        *,
        notifies: bool,
    ) -> None:
        self.connection = connection
        self.tables = tables
        self.mappers = mappers
        self.dialect = dialect
        self.clock = clock
        self.notifies = notifies
        self._signalled = False

    def present(self) -> Present:
        """The present for one statement."""
        return Present(None if self.clock is None else self.clock())

    def run(self, statement: Executable) -> Any:
        """Executes a statement: the one way to the database."""
        with faults():
            return self.connection.execute(statement)

    def now(self) -> datetime:
        """See `Rows.now`."""
        if self.clock is not None:
            return self.clock()
        moment: datetime = self.run(select(self.present().after(NOW))).scalar_one()
        return moment

    def get(self, kind: type[RecordT], id: int, *, tenant: str | None = None, lock: bool = False) -> RecordT | None:
        """See `Rows.get`."""
        mapper: Mapper[RecordT] = self.mappers[kind]
        statement = mapper.selecting.where(mapper.table.c.id == id, self._live(mapper, tenant))
        rows = self.run(statement.with_for_update() if lock else statement).all()
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
        with self.connection.begin_nested() if careful else nullcontext():
            return self._written(kind, ids, changes)

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        """See `Rows.move`."""
        return self._written(kind, ids, changes, self.has_status(kind, frm))

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        """See `Rows.move_all`."""
        mapper = self.mappers[kind]
        statement = update(mapper.table).values(mapper.changed(changes, self.present()))
        condition = and_(self._meets(mapper, where), self._live(mapper), self.has_status(kind, frm))
        moved: int = self.run(statement.where(condition)).rowcount
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
        self.promote(PROMOTED)
        mapper: Mapper[Job] = self.mappers[Job]
        claims = self.dialect.claims
        values = mapper.changed({**changes, "lease": lease, "lease_expires_at": After(lease)}, self.present())
        values["attempt"] = mapper.table.c.attempt + 1
        claimed: list[Job] = []
        fetch = limit + SPARE
        while True:
            wanted = limit - len(claimed)
            ids = claims.claimable(self.tables, types, wanted, fetch, tenants)
            claimed += self._take(mapper, values, ids)
            if len(claimed) >= limit or len(types) == 1 or not self.dialect.skips_locked:
                break
            # Short: unless all there is was looked at, look further. What others have locked is still counted here.
            left: int = self.run(claims.candidates(self.tables, types, fetch, tenants)).scalar_one()
            if left + len(claimed) < fetch:
                break
            fetch *= 8
        return sorted(claimed, key=lambda job: (-job.priority, job.position, job.id))

    def promote(self, limit: int) -> int:
        """See `Rows.promote`."""
        job = self.tables.job
        ids = self.present().clause(self.dialect.claims.due(self.tables, limit))
        made: int = self.run(update(job).values(due_at=None).where(self.dialect.among(job.c.id, ids))).rowcount
        return made

    def lost(self, limit: int) -> list[Job]:
        """See `Rows.lost`."""
        mapper: Mapper[Job] = self.mappers[Job]
        expires = mapper.table.c.lease_expires_at
        expired = and_(text(CLAIMED), expires <= self.present().after(NOW))
        statement = mapper.selecting.where(expired).order_by(expires, mapper.table.c.id).limit(limit)
        return mapper.records(self.run(statement))

    def signal(self) -> None:
        """See `Rows.signal`."""
        if self.notifies and not self._signalled:
            self.run(notify_postgresql.signal(self.tables))
            self._signalled = True

    def _take(self, mapper: Mapper[Job], values: Mapping[str, Any], ids: TextClause) -> list[Job]:
        taken = mapper.updating.values(values).where(self.dialect.among(mapper.table.c.id, ids))
        return mapper.records(self.run(taken))

    def _written(
        self, kind: type[RecordT], ids: Sequence[int], changes: Changes, condition: ColumnElement[bool] | None = None
    ) -> list[RecordT]:
        if not ids:
            return []
        mapper: Mapper[RecordT] = self.mappers[kind]
        one_of = self.dialect.translator.one_of(mapper.table.c.id, ids, ID)
        statement = mapper.updating.values(mapper.changed(changes, self.present()))
        statement = statement.where(one_of, self._live(mapper), true() if condition is None else condition)
        return mapper.by_id(self.run(statement))

    def _inserted(self, mapper: Mapper[RecordT], statement: Any, rows: Sequence[Changes]) -> list[RecordT]:
        if not rows:
            return []
        columns = mapper.inserted(rows)
        with faults():
            stored = self.dialect.insert_many(
                self.connection, statement.returning(*mapper.columns), columns, self.present()
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
        """Whether a row has one of these statuses; None means none."""
        status = self.mappers[kind].column("status")
        words = sorted(str(value) for value in frm if value is not None)
        one_of = self.dialect.translator.one_of(status, words, TEXT) if words else false()
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
