"""`Rows` over one connection: what `gnj.queue.storage` specifies, as SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Executable,
    and_,
    bindparam,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)

from gnj.queue.clock import After, Clock
from gnj.queue.many import Many
from gnj.queue.model import BELONGS, Job, Permit, Record, RecordT
from gnj.queue.states import JobStatus
from gnj.queue.storage import ALL, Bucket, Changes, Each, Rows, Select, Settlement
from gnj.queue.values import Json
from gnj.queue.where import EVERYTHING, Condition, equal
from gnj.storage.sql import lanes, notify_postgresql, settling
from gnj.storage.sql.columns import ID, TEXT
from gnj.storage.sql.dialect import CUSTOM_ID, UNIQUE, UNIQUE_ID, Dialect, Unique, Write
from gnj.storage.sql.equalities import equalities
from gnj.storage.sql.faults import faults
from gnj.storage.sql.rows import Mapper, Present, Shape
from gnj.storage.sql.schema import Tables
from gnj.storage.sql.watch import Watch, measured

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

STATEMENTS: Final = 500
"""Statements kept at most: claims alone have one for each limit."""


class SqlRows(Rows):
    """What can be done through `connection`, which is in a transaction.

    Args:
        connection: Where the statements go; None for those that go another way (`DirectRows`).
        tables: The tables to use, and `mappers` how records are kept in them.
        dialect: The database's ways.
        clock: Gives the present; None: the database's own.
        statements: Those made before, for `prepared`.
        notifies: Whether `signal` reaches other processes.
        watch: What is told of each statement; None unless there is a limit to keep.
        session: The host's, whose connection that is.
    """

    alone = False
    """Whether each statement is a transaction of its own."""

    def __init__(
        self,
        connection: Connection | None,
        tables: Tables,
        mappers: Mapping[type[Record], Mapper[Any]],
        dialect: Dialect,
        clock: Clock | None,
        statements: dict[Hashable, Any],
        *,
        notifies: bool,
        watch: Watch | None = None,
        session: Session | None = None,
    ) -> None:
        self._connection = connection
        self.tables = tables
        self.mappers = mappers
        self.dialect = dialect
        self.clock = clock
        self.notifies = notifies
        self._statements = statements
        self._watch = watch
        self._session = session
        self._signalled: frozenset[str] = frozenset()

    @property
    def connection(self) -> Connection:
        """Where the statements go."""
        assert self._connection is not None  # noqa: S101 - what is `alone` has none, and needs none
        return self._connection

    def present(self) -> Present:
        """The present for one statement."""
        return Present(None if self.clock is None else self.clock(), self.dialect.now)

    def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """Executes a statement: the one way to the database."""
        if self._watch is None:
            with faults():
                return self.connection.execute(statement, parameters)
        with faults(), self._watch.statement():
            return self.connection.execute(statement, parameters)

    def prepared(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """The statement `build` makes, made once for all that have the same `key`: it takes longer than to execute it."""
        statement = self._statements.get(key)
        if statement is None:
            if len(self._statements) >= STATEMENTS:
                self._statements.clear()
            statement = self._statements[key] = build()
        return statement

    def changed(
        self,
        mapper: Mapper[RecordT],
        key: Hashable,
        shape: Shape,
        build: Callable[[Sequence[Column[Any]]], Any],
        parameters: Mapping[str, Any],
    ) -> list[RecordT]:
        """The rows that a hot statement has given `shape`, as they then are; `build` is told which columns it is to return."""
        del shape
        return mapper.records(self.run(self.prepared(key, lambda: build(mapper.columns)), parameters))

    def first(self, key: Hashable, build: Callable[[], Any], parameters: Mapping[str, Any]) -> list[Any]:
        """The first column of what a hot statement gives."""
        return list(self.run(self.prepared(key, build), parameters).scalars())

    def count_changed(self, key: Hashable, build: Callable[[], Any], parameters: Mapping[str, Any]) -> int:
        """How many rows a hot statement changed."""
        changed: int = self.run(self.prepared(key, build), parameters).rowcount
        return changed

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
            statement = mapper.selecting.where(mapper.table.c.id == bindparam("of_id", type_=ID), self.live(mapper))
            statement = statement if tenant is None else statement.where(of_tenant)
            return statement.with_for_update() if lock else statement

        parameters = {"of_id": id} if tenant is None else {"of_id": id, "of_tenant": tenant}
        rows = self.run(self.prepared(("get", kind, tenant is None, lock), build), parameters).all()
        return mapper.records(rows)[0] if rows else None

    def find(self, kind: type[RecordT], select: Select = ALL, *, tenant: str | None = None) -> list[RecordT]:
        """See `Rows.find`."""
        mapper: Mapper[RecordT] = self.mappers[kind]
        plain = select.per is None and select.limit is None and not (select.order or select.offset or select.deleted)
        if plain and tenant is None and (same := equalities(select.where)) is not None:

            def build() -> Any:
                conditions = (*same.conditions(self, mapper), self.live(mapper))
                return mapper.selecting.where(*conditions).order_by(mapper.table.c.id.asc())

            return mapper.records(self.run(self.prepared(("find", kind, same.key), build), same.parameters))
        return mapper.records(self.run(self._found(mapper, select, tenant)))

    def columns(
        self, kind: type[Record], names: Sequence[str], select: Select = ALL, *, tenant: str | None = None
    ) -> list[tuple[Any, ...]]:
        """See `Rows.columns`."""
        mapper = self.mappers[kind]
        members = [dict(mapper.enums).get(name) for name in names]
        found = self.run(self._found(mapper, select, tenant, [mapper.column(name) for name in names]))
        return [tuple(v if enum is None else enum[v] for v, enum in zip(row, members, strict=True)) for row in found]

    def every(self, kind: type[RecordT]) -> list[RecordT]:
        """`find` for all rows of a kind."""
        mapper: Mapper[RecordT] = self.mappers[kind]

        def build(columns: Sequence[Column[Any]]) -> Any:
            return select(*columns).where(self.live(mapper)).order_by(mapper.table.c.id)

        return self.changed(mapper, ("every", kind), (), build, {})

    def count(self, kind: type[Record], where: Condition = EVERYTHING, *, tenant: str | None = None) -> int:
        """See `Rows.count`."""
        mapper = self.mappers[kind]
        statement = select(func.count()).select_from(mapper.table)
        found: int = self.run(statement.where(self.meets(mapper, where), self.live(mapper, tenant))).scalar_one()
        return found

    def exists(self, kind: type[Record], where: Condition) -> bool:
        """See `Rows.exists`."""
        mapper = self.mappers[kind]
        inner = select(mapper.table.c.id).where(self.meets(mapper, where), self.live(mapper))
        return bool(self.run(select(inner.exists())).scalar_one())

    def insert(self, kind: type[RecordT], rows: Sequence[Changes]) -> list[RecordT]:
        """See `Rows.insert`."""
        if (unique := UNIQUE.get(kind)) is not None:
            return [self._one(self.mappers[kind], unique, row) for row in rows]
        return self._inserted(self.mappers[kind], rows)

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """See `Rows.insert_jobs`."""
        keyless = isinstance(rows, Many) and not rows.gives("unique_id")
        keys = [] if keyless else [_unique_key(row) for row in rows]
        if not any(keys):
            return [(job, True) for job in self._inserted(self.mappers[Job], rows)]
        places: dict[Any, int] = {}
        # of several rows with one key the first is stored for all; a row without one leads itself
        leader = [places.setdefault(i if key is None else key, i) for i, key in enumerate(keys)]
        done: dict[int, tuple[Job, bool]] = {}
        missing = sorted(places.values())
        again = False
        while missing:
            stored = self._inserted(self.mappers[Job], [rows[place] for place in missing], UNIQUE_ID)
            keyed = {(job.tenant, job.unique_id): job for job in stored if job.unique_id is not None}
            others = iter([job for job in stored if job.unique_id is None])
            for place in missing:
                key = keys[place]
                job = next(others) if key is None else keyed.get(key)
                if job is not None:
                    done[place] = (job, True)
            taken = self._with_unique_ids([key for i in missing if i not in done and (key := keys[i])], again=again)
            done |= {place: (taken[keys[place]], False) for place in missing if keys[place] in taken}
            # whoever had the key may have given it up between the two statements: then once more
            missing, again = [place for place in missing if place not in done], True
        return [done[i] if leader[i] == i else (done[leader[i]][0], False) for i in range(len(rows))]

    def enqueue(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """See `Storage.enqueue`."""
        stored = self.insert_jobs(rows)
        if any(new and job.status is JobStatus.QUEUED for job, new in stored):
            self.signal()
        return stored

    def edit(self, kind: type[RecordT], ids: Sequence[int], changes: Changes) -> list[RecordT]:
        """See `Rows.edit`."""
        # PostgreSQL gives up a whole transaction for a duplicate key; the caller's own must survive it
        careful = changes.get("unique_id") is not None
        with faults(), self.connection.begin_nested() if careful else nullcontext():
            return self._written(kind, ids, None, changes)

    def rewrite(self, kind: type[Record], id: int, changes: Changes) -> bool:
        """See `Rows.rewrite`."""
        return self.dialect.rewrite(self, self._write(kind, [id], None, changes))

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        """See `Rows.move`."""
        return self._written(kind, ids, frozenset(frm), changes)

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        """See `Rows.move_all`."""
        mapper = self.mappers[kind]
        shape, parameters = mapper.changed(changes, self.present())
        condition = and_(self.meets(mapper, where), self.live(mapper), self.has_status(kind, frm))
        return self.dialect.move_all(self, mapper, shape, parameters, condition)

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        """See `Rows.settle`."""
        return settling.settle(self, settlements)

    def complete(self, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes) -> list[bool]:
        """See `Rows.complete`."""
        return settling.complete(self, ends, frm, changes)

    def take(self, ids: Sequence[int], *, lease: float, changes: Changes) -> list[Job]:
        """See `Rows.take`."""
        return settling.take(self, ids, lease, changes) if ids else []

    def permits(self, limit_id: int) -> list[tuple[Permit, bool]]:
        """See `Rows.permits`."""
        return settling.permits(self, limit_id)

    def renew(self, claims: Sequence[tuple[int, int]], lease: float, *, wait: bool = True) -> list[Job | None]:
        """See `Rows.renew`."""
        return settling.renew(self, claims, lease, wait=wait)

    def locked(self, kind: type[Record], ids: Sequence[int]) -> frozenset[int]:
        """See `Storage.locked`."""
        table = self.mappers[kind].table

        def build(*, free: bool) -> Any:
            statement = select(table.c.id).where(self.dialect.of_ids(table.c.id))
            if not free:
                return statement
            return self.dialect.by_primary_key(statement, table).with_for_update(key_share=True, skip_locked=True)

        left = frozenset(ids)
        for free in (True, False):
            statement = self.prepared(("locked", kind, free), partial(build, free=free))
            found = frozenset(self.run(statement, {"of_ids": self.dialect.ids(sorted(left))}).scalars())
            left = left - found if free else found
            if not left:
                break
        return left

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
        if not self.dialect.gives_each and any(isinstance(value, Each) for value in changes.values()):
            return self._claim_one_by_one(types, limit, lease, changes, tenants)
        changes = {**changes, "lease": lease, "lease_expires_at": After(lease)}
        claimed = self.dialect.claim(self, types, limit, changes, tenants)
        return sorted(claimed, key=lambda job: (-job.priority, job.position, job.id))

    def _claim_one_by_one(
        self, types: Sequence[str], limit: int, lease: float, changes: Changes, tenants: Sequence[str] | None
    ) -> list[Job]:
        claimed: list[Job] = []
        for place in range(limit):
            own = {name: value.values[place] if isinstance(value, Each) else value for name, value in changes.items()}
            found = self.claim(types, 1, lease=lease, changes=own, tenants=tenants)
            if not found:
                break
            claimed += found
        return claimed

    def promote(self, limit: int) -> int:
        """See `Rows.promote`."""
        return self.dialect.promote(self, limit)

    def lost(self, limit: int) -> list[Job]:
        """See `Rows.lost`."""
        mapper: Mapper[Job] = self.mappers[Job]
        present = self.present()
        expires, claimed = self.dialect.lease_ends(self.tables)

        def build(columns: Sequence[Column[Any]]) -> Any:
            lost = select(*columns).where(*claimed, expires <= present.now())
            return lost.order_by(expires, mapper.table.c.id).limit(limit)

        return self.changed(mapper, ("lost", limit), (), build, present.parameters())

    def lane(
        self,
        type: str,
        tenant: str | None,
        limit: int,
        *,
        key: str | None = None,
        backward: bool = False,
        low: int | None = None,
        high: int | None = None,
        offset: int = 0,
    ) -> list[tuple[int, str, str | None]]:
        """See `Rows.lane`."""
        return lanes.lane(self, type, tenant, limit, key=key, backward=backward, low=low, high=high, offset=offset)

    def lane_size(self, type: str, tenant: str, *, low: int | None = None, high: int | None = None) -> int:
        """See `Rows.lane_size`."""
        return lanes.size(self, type, tenant, low=low, high=high)

    def due(
        self,
        type: str,
        tenant: str,
        limit: int,
        *,
        backward: bool = False,
        upto: datetime | None = None,
        offset: int = 0,
    ) -> list[int]:
        """See `Rows.due`."""
        return lanes.due(self, type, tenant, limit, backward=backward, upto=upto, offset=offset)

    def ended(
        self,
        type: str,
        tenant: str,
        statuses: Collection[JobStatus],
        limit: int,
        *,
        backward: bool = False,
        beyond: tuple[datetime, int] | None = None,
        offset: int = 0,
    ) -> list[tuple[int, datetime]]:
        """See `Rows.ended`."""
        from gnj.storage.sql import ended

        return ended.listed(self, type, tenant, statuses, limit, backward=backward, beyond=beyond, offset=offset)

    def named(self, type: str, tenant: str, ids: Collection[str], *, again: bool = False) -> list[Job]:
        """See `Rows.named`."""
        wanted = dict.fromkeys(ids)
        if self.dialect.laterals:
            return self.find(Job, Select(equal(Job, id=tuple(lanes.named(self, type, tenant, wanted)))))
        found = self._having(CUSTOM_ID, {(tenant, type, id) for id in wanted}, again=again)
        return sorted(found, key=attrgetter("id"))

    def keys(self, type: str, tenant: str, after: str, limit: int) -> list[str]:
        """See `Rows.keys`."""
        return lanes.keys(self, type, tenant, after, limit)

    def tenants(self, type: str, after: str | None, limit: int) -> list[str]:
        """See `Rows.tenants`."""
        return lanes.tenants(self, type, after, limit)

    def listens(self, wants: str, besides: int | None = None) -> bool:
        """See `Rows.listens`."""
        present = self.present()

        def build() -> Any:
            row = self.tables.listener.c
            wanted = select(row.id).where(row.wants == bindparam("of_wants", type_=TEXT), row.deleted_at.is_(None))
            others = wanted.where(row.expires_at > present.now(), row.id != bindparam("of_besides", type_=ID))
            return others.limit(1)

        asked = {"of_wants": wants, "of_besides": besides or 0}
        return bool(self.first(("listens",), build, asked | present.parameters()))

    def tally(
        self,
        kind: type[Record],
        by: Sequence[str | Bucket],
        where: Condition = EVERYTHING,
        *,
        tenant: str | None = None,
    ) -> dict[tuple[Any, ...], int]:
        """See `Rows.tally`."""
        from gnj.storage.sql import tally

        return tally.tally(self, kind, by, where, tenant)

    def tally_ended(
        self,
        by: Sequence[str | Bucket],
        since: datetime | None,
        where: Condition = EVERYTHING,
        *,
        type: str | None = None,
        tenant: str | None = None,
    ) -> dict[tuple[Any, ...], int]:
        """See `Rows.tally_ended`."""
        from gnj.storage.sql import ended

        return ended.counted(self, by, since, where, type, tenant)

    def prune(self, limit: int, *, deleted: float, ended: float | None) -> int:
        """See `Rows.prune`."""
        from gnj.storage.sql import pruning

        return pruning.prune(self, limit, deleted=deleted, ended=ended)

    def trim(self, kind: type[Record], where: Condition, limit: int) -> int:
        """See `Rows.trim`."""
        from gnj.storage.sql import pruning

        return pruning.trim(self, kind, where, limit)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """See `Rows.savepoint`."""
        signalled = self._signalled
        if self._session is not None:
            self._session.connection()  # makes the savepoint of a begin_nested() that nothing was done in yet
        try:
            with faults(), self.connection.begin_nested():
                yield
        except BaseException:
            self._signalled = signalled  # what was signalled went as well
            raise

    def signal(self, wants: Collection[str] = ("jobs",)) -> None:
        """See `Rows.signal`."""
        if self.notifies and (new := frozenset(wants) - self._signalled):
            self.first(("signal", new), lambda: notify_postgresql.signal(self.tables, new), {})
            self._signalled |= new

    def _written(
        self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any] | None, changes: Changes
    ) -> list[RecordT]:
        return self.mappers[kind].by_id(self.dialect.write(self, self._write(kind, ids, frm, changes))) if ids else []

    def _write(
        self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any] | None, changes: Changes
    ) -> Write[RecordT]:
        mapper: Mapper[RecordT] = self.mappers[kind]
        shape, parameters = mapper.changed(changes, self.present())

        def expected() -> list[ColumnElement[bool]]:
            return [self.live(mapper)] if frm is None else [self.live(mapper), self.has_status(kind, frm)]

        return Write(mapper, ("write", kind, frm), shape, parameters, expected, sorted(set(ids)))

    def _inserted(
        self, mapper: Mapper[RecordT], rows: Sequence[Changes], unless: Unique | None = None
    ) -> list[RecordT]:
        """Stores rows, but those whose key `unless` another row has; those that were stored, by id."""
        if not rows:
            return []
        with measured(self._watch):  # a dialect does not insert through `run`
            return self.dialect.insert(self, mapper, rows, unless)

    def _with_unique_ids(self, keys: Collection[tuple[str, str]], *, again: bool) -> dict[Any, Job]:
        """The jobs that have these (tenant, unique id); looked for `again`, since others did not let them be stored."""
        return {(job.tenant, job.unique_id): job for job in self._having(UNIQUE_ID, keys, again=again)}

    def _having(self, unique: Unique, keys: Collection[tuple[str, ...]], *, again: bool) -> list[Job]:
        """The jobs that have these keys; `again`: as they are by now."""
        mapper: Mapper[Job] = self.mappers[Job]
        found: list[Job] = []
        for condition in self.dialect.having(mapper, unique, keys) if keys else ():
            statement = mapper.selecting.where(condition)
            statement = statement.with_for_update(read=True) if again and self.dialect.reads_old else statement
            found += mapper.records(self.run(statement))
        return found

    def _one(self, mapper: Mapper[RecordT], unique: Unique, row: Changes) -> RecordT:
        """The row of which there is one at most, new or there already."""
        key = row.get("tenant", ""), row[unique.columns[1]]
        (condition,) = self.dialect.having(mapper, unique, [key])
        there = mapper.selecting.where(condition)
        while True:
            found = self._inserted(mapper, [row], unique) or mapper.records(self.run(there))
            if found:  # else it was taken away in between
                return found[0]
            there = there.with_for_update(read=True) if self.dialect.reads_old else there

    def _found(
        self, mapper: Mapper[Any], wanted: Select, tenant: str | None, columns: Sequence[Column[Any]] | None = None
    ) -> Any:
        columns = mapper.columns if columns is None else columns
        condition = and_(self.meets(mapper, wanted.where), self.live(mapper, tenant, deleted=wanted.deleted))
        order = [t for name, d in wanted.order for t in self.dialect.ordered(self._key(mapper, name), descending=d)]
        order.append(mapper.table.c.id.asc())
        if wanted.per is None:
            selecting = mapper.selecting if columns is mapper.columns else select(*columns)
            statement = selecting.where(condition).order_by(*order).limit(wanted.limit)
            return statement.offset(wanted.offset) if wanted.offset else statement
        group = mapper.column(wanted.per)
        place = func.row_number().over(partition_by=group, order_by=order).label("place_in_group")
        ranked = select(*{*columns, group}, place).where(condition).subquery()
        statement = select(*(ranked.c[column.name] for column in columns))
        statement = statement.where(ranked.c.place_in_group > wanted.offset)
        if wanted.limit is not None:
            statement = statement.where(ranked.c.place_in_group <= wanted.offset + wanted.limit)
        groups = self.dialect.ordered(ranked.c[group.name], descending=False)
        return statement.order_by(*groups, ranked.c.place_in_group)

    def _key(self, mapper: Mapper[Any], name: str) -> Any:
        """The column of an attribute, or that of a row that this one belongs to, as a subquery."""
        association, dot, attribute = name.rpartition(".")
        if not dot:
            return mapper.column(name)
        via, kind = BELONGS[mapper.kind][association]
        parent = self.tables.of(kind).alias()
        wanted = select(parent.c[self.mappers[kind].attributes[attribute].column])
        return wanted.where(parent.c.id == mapper.column(via), parent.c.deleted_at.is_(None)).scalar_subquery()

    def meets(self, mapper: Mapper[Any], where: Condition) -> ColumnElement[bool]:
        """Whether a row meets a condition."""
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
    def live(mapper: Mapper[Any], tenant: str | None = None, *, deleted: bool = False) -> ColumnElement[bool]:
        """Whether a row is there, for that tenant (None: for any)."""
        columns = mapper.table.c
        return and_(
            true() if deleted else columns.deleted_at.is_(None), true() if tenant is None else columns.tenant == tenant
        )


def _unique_key(row: Changes) -> tuple[str, str] | None:
    key = row.get("unique_id")
    return None if key is None else (row.get("tenant", ""), key)
