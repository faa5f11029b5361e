"""Databases whose UPDATE and INSERT give back what they changed: one statement does what takes others three."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Table,
    TextClause,
    and_,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)

from gnj.queue.errors import GnjError
from gnj.queue.model import Job, RecordT
from gnj.queue.storage import Changes
from gnj.storage.sql.columns import ID, JSON, TEXT
from gnj.storage.sql.dialect import LANE, PROMOTED, SPARE, UNIQUE_ID, Dialect, Unique, Write
from gnj.storage.sql.faults import faults
from gnj.storage.sql.rows import Mapper, Present, Shape
from gnj.storage.sql.schema import CLAIMED, Tables

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

_TOKEN: Final[Mapping[str, Any]] = {"id": ID, "attempt": ID}


class Returning(Dialect):
    """What PostgreSQL and SQLite share."""

    nulls_first: bool
    """Whether nulls sort before all values."""
    claims: Any

    @abstractmethod
    def among(self, target: ColumnElement[Any], ids: TextClause) -> ColumnElement[bool]:
        """Whether `target` is one of what the statement `ids` gives, which runs once."""

    def chosen(self, table: Table, ids: TextClause) -> ColumnElement[bool]:
        """Whether a job is one of those that a statement of `claims` gives."""
        return self.among(table.c.id, ids)

    def each(self, tables: Tables, ids: TextClause, columns: Collection[str], values: Mapping[str, Any]) -> Any:
        """An UPDATE of the jobs that the statement `ids` of `claims` gives, with `values`, and with the next of the parameter
        `new_COLUMN` for each, in their order: where `gives_each`.
        """
        raise NotImplementedError

    @abstractmethod
    def given(self, columns: Mapping[str, Any]) -> dict[str, ColumnElement[Any]]:
        """Rows of parameters to join with, by the names of their columns, whose types `columns` has."""

    @abstractmethod
    def rows(self, columns: Mapping[str, Any], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """The parameters that make these the rows of `given`."""

    def order_keys(self, connection: Connection, keys: Collection[tuple[str, str]]) -> None:
        """Lets transactions that insert several keys (tenant, unique id) come one after the other if they share some.

        Each inserts in its caller's order, and the unique index makes it wait for others: crosswise, that is a deadlock.
        """

    @abstractmethod
    def insert_ignoring(self, table: Table, keys: Sequence[str], where: str) -> Any:
        """An INSERT that leaves out rows whose `keys` another row has, among those that meet `where`."""

    @abstractmethod
    def insert_free(self, rows: SqlRows, mapper: Mapper[RecordT], given: Sequence[Changes]) -> list[RecordT]:
        """Inserts rows whose keys, if they have any, nobody else has; with ascending ids, in the given order."""

    @abstractmethod
    def insert_many(
        self,
        connection: Connection,
        statement: Any,
        mapper: Mapper[Any],
        columns: Mapping[str, list[Any]],
        present: Present,
    ) -> list[Row[Any]]:
        """Inserts rows given attribute by attribute, with ascending ids; what the statement returns, in any order."""

    def ordered(self, column: Any, *, descending: bool) -> list[Any]:
        """PostgreSQL has nulls last when ascending by itself; a word too many can keep an index out."""
        order = column.desc() if descending else column.asc()
        if not self.nulls_first or not getattr(column, "nullable", True):
            return [order]
        return [order.nulls_first() if descending else order.nulls_last()]

    def lease_ends(self, tables: Tables) -> tuple[ColumnElement[Any], list[ColumnElement[bool]]]:
        """The very condition of the partial index."""
        return tables.job.c.lease_expires_at, [text(CLAIMED)]  # type: ignore[list-item]

    def having(
        self, mapper: Mapper[Any], unique: Unique, keys: Collection[tuple[str, ...]]
    ) -> list[ColumnElement[bool]]:
        """One statement for each tenant, and type."""
        *first, last = (mapper.table.c[name] for name in unique.columns)
        groups: dict[tuple[str, ...], list[str]] = {}
        for *of, key in keys:
            groups.setdefault(tuple(of), []).append(key)
        live = mapper.table.c.deleted_at.is_(None)
        return [
            and_(
                self.translator.one_of(last, some, TEXT), live, *(c == part for c, part in zip(first, of, strict=True))
            )
            for of, some in groups.items()
        ]

    def insert(
        self, rows: SqlRows, mapper: Mapper[RecordT], given: Sequence[Changes], unless: Unique | None
    ) -> list[RecordT]:
        """One statement for rows of one shape."""
        if unless is None and len(given) > 1:
            with faults():
                return self.insert_free(rows, mapper, given)
        if unless is None:
            statement = insert(mapper.table)
        else:
            statement = self.insert_ignoring(mapper.table, unless.columns, unless.where)
        if unless is UNIQUE_ID:
            keyed = {(row.get("tenant", ""), row["unique_id"]) for row in given if row.get("unique_id") is not None}
            self.order_keys(rows.connection, keyed)
        columns, present = mapper.inserted(given), rows.present()
        if len(given) == 1:
            shape, parameters = mapper.shaped({name: values[0] for name, values in columns.items()}, present)

            def build() -> Any:
                return statement.values(mapper.assignments(shape)).returning(*mapper.columns)

            return mapper.records(
                rows.run(rows.prepared(("insert", mapper.kind, unless is None, shape), build), parameters)
            )
        with faults():
            stored = self.insert_many(rows.connection, statement.returning(*mapper.columns), mapper, columns, present)
        return mapper.by_id(stored)

    def write(self, rows: SqlRows, write: Write[RecordT]) -> list[Row[Any]]:
        """In the order of their ids, which is that in which the rows are found and locked: crosswise, that is a deadlock."""
        key, build, parameters = self._writing(write)
        found: list[Row[Any]] = rows.run(rows.prepared(key, lambda: build(write.mapper.columns)), parameters).all()
        return found

    def changed(self, rows: SqlRows, write: Write[RecordT]) -> list[RecordT]:
        """The same statement."""
        key, build, parameters = self._writing(write)
        return rows.changed(write.mapper, key, write.shape, build, parameters)

    def rewrite(self, rows: SqlRows, write: Write[Any]) -> bool:
        """The same statement, which gives back no more than the id."""
        key, build, parameters = self._writing(write)
        return bool(rows.first(("rewrite", key), lambda: build([write.mapper.table.c.id]), parameters))

    def _writing(self, write: Write[Any]) -> tuple[Hashable, Callable[[Sequence[Column[Any]]], Any], dict[str, Any]]:
        """The key, what builds it for the columns to give back, and the parameters of the statement of `write`."""
        mapper, fenced, one = write.mapper, write.attempts is not None, len(write.ids) == 1 and not write.json
        types = {"id": ID, **({"attempt": ID} if fenced else {}), **dict.fromkeys(write.json, JSON)}
        several = len(types) > 1 and not one

        def build(columns: Sequence[Column[Any]]) -> Any:
            table = mapper.table.c
            if several:
                of: Mapping[str, Any] = self.given(types)
            else:
                of = {name: bindparam(f"of_{name}", type_=type) for name, type in types.items()}
            if several or one:
                expected = [table[name] == of[name] for name in _TOKEN if name in of]
            else:
                expected = [self.of_ids(table.id)]
            expected += write.conditions()
            written = {name: of[name] for name in write.json}
            if write.skips and self.skips_locked:
                expected, written = _past_locked(mapper.table, expected, written)
            written |= {} if write.extra is None else write.extra()
            statement = update(mapper.table).values(mapper.assignments(write.shape) | written)
            return statement.where(*expected).returning(*columns)

        parameters = dict(write.parameters)
        if several:
            lists = [write.ids, *([write.attempts] if write.attempts is not None else []), *write.json.values()]
            parameters |= self.rows(types, sorted(zip(*lists, strict=True), key=lambda row: row[0]))
        elif one:
            parameters |= {"of_id": write.ids[0]} | ({"of_attempt": write.attempts[0]} if write.attempts else {})
        else:
            parameters["of_ids"] = self.ids(write.ids)
        return (write.key, write.shape, tuple(types), several, one, write.skips), build, parameters

    def complete(self, rows: SqlRows, write: Write[Job]) -> set[int]:
        """One statement that gives back no more than ids."""
        key, build, parameters = self._completing(write)
        return set(rows.first(key, lambda: build().returning(write.mapper.table.c.id), parameters))

    def complete_all(self, rows: SqlRows, write: Write[Job]) -> bool:
        """The same statement, which gives back nothing at all."""
        key, build, parameters = self._completing(write)
        return rows.count_changed(("all", key), build, parameters) == len(write.ids)

    def _completing(self, write: Write[Job]) -> tuple[Hashable, Callable[[], Any], dict[str, Any]]:
        """The key, what builds it, and the parameters of the statement that ends jobs.

        Where they differ in nothing but the id, as most do, it is given no more: a list of pairs took SQLite 3 µs longer for each.
        """
        mapper, outputs, ids, attempts = write.mapper, write.json.get("output"), write.ids, write.attempts or ()
        one = len(ids) == 1
        alike = not one and outputs is None and attempts.count(attempts[0]) == len(ids)
        types = {"id": ID, "attempt": ID, **({} if outputs is None else {"output": JSON})}

        def build() -> Any:
            table = mapper.table.c
            of: Mapping[str, Any] = {name: bindparam(f"of_{name}", type_=type) for name, type in types.items()}
            of = of if one or alike else self.given(types)
            named = self.of_ids(table.id) if alike else table.id == of["id"]
            expected = [named, table.attempt == of["attempt"], *write.conditions()]
            written = {} if outputs is None else {"output": of["output"]}
            if self.skips_locked:
                expected, written = _past_locked(mapper.table, expected, written)
            values = {name: func.coalesce(value, table[name]) for name, value in written.items()}
            return update(mapper.table).values(mapper.assignments(write.shape) | values).where(*expected)

        values: dict[str, Any]
        if one:
            values = {"of_id": ids[0], "of_attempt": attempts[0]}
            values |= {} if outputs is None else {"of_output": outputs[0]}
        elif alike:
            values = {"of_ids": self.ids(sorted(ids)), "of_attempt": attempts[0]}
        else:
            lists = [ids, attempts, *([] if outputs is None else [outputs])]
            values = self.rows(types, sorted(zip(*lists, strict=True), key=itemgetter(0)))
        return (write.key, write.shape, outputs is None, one, alike), build, {**write.parameters, **values}

    def move_all(
        self,
        rows: SqlRows,
        mapper: Mapper[Any],
        shape: Shape,
        parameters: Mapping[str, Any],
        where: ColumnElement[bool],
    ) -> int:
        """One statement."""
        statement = update(mapper.table).values(mapper.assignments(shape)).where(where)
        moved: int = rows.run(statement, parameters).rowcount
        return moved

    def claim(
        self, rows: SqlRows, types: Sequence[str], limit: int, changes: Changes, tenants: Sequence[str] | None
    ) -> list[Job]:
        """One statement where nothing is due and no tenant's jobs are held, which is nearly always so."""
        claimed = self._claim(rows, types, tenants, limit, changes, careful=False)
        if not claimed:
            rows.promote(PROMOTED)
            claimed = self._claim(rows, types, tenants, limit, changes, careful=True)
        return claimed

    def _claim(
        self,
        rows: SqlRows,
        types: Sequence[str],
        tenants: Sequence[str] | None,
        limit: int,
        changes: Changes,
        *,
        careful: bool,
    ) -> list[Job]:
        mapper: Mapper[Job] = rows.mappers[Job]
        claims, present = self.claims, rows.present()
        shape, written = mapper.changed(changes, present)
        others = [column for column, how in shape if how == "each"]
        tenants = None if tenants is None else list(dict.fromkeys(tenants))
        lanes = len(types) * (1 if tenants is None else len(tenants))
        if not lanes:
            return []
        parts = {"one": lanes == 1, "filtered": tenants is not None}
        asked = claims.parameters(types, tenants, one=parts["one"])
        claimed: list[Job] = []
        fetch = limit + (SPARE if self.skips_locked else 0)
        # careful and for all tenants: nobody knows how many there are
        each = min(fetch, max(LANE, 0 if careful and tenants is None else 2 * -(-fetch // lanes)))
        while True:
            wanted = limit - len(claimed)

            short = each < fetch

            def build(columns: Sequence[Column[Any]], *, short: bool = short) -> Any:
                sql = claims.claimable(rows.tables, **parts, short=short, careful=careful)
                ids = claims.bound(present.clause(sql), **parts)
                values = mapper.assignments(shape) | {"attempt": mapper.table.c.attempt + 1}
                if others:
                    return self.each(rows.tables, ids, others, values).returning(*columns)
                changing = update(mapper.table).values(values).where(self.chosen(mapper.table, ids))
                return changing.returning(*columns)

            key = ("claim", shape, *parts.values(), short, careful)
            parameters = written | asked | claims.numbers(wanted, fetch, each, **parts, careful=careful)
            parameters |= {} if careful else present.parameters()
            parameters |= {f"new_{name}": written[f"new_{name}"][len(claimed) :] for name in others}
            try:
                taken = rows.changed(mapper, key, shape, build, parameters)
            except GnjError:
                if claimed and rows.alone:  # those are committed, and would wait for the end of their leases
                    return claimed
                raise
            claimed += taken
            if len(claimed) >= limit or (not careful and not taken):
                return claimed
            # Short: unless all there is was looked at, look further. What others have locked is still counted here.
            seen = len(taken)
            if self.skips_locked and not (parts["one"] and (parts["filtered"] or not careful)):

                def left(*, short: bool = short) -> Any:
                    return claims.bound(text(claims.candidates(rows.tables, **parts, short=short)), **parts)

                looked = {**asked, "fetch": fetch, "each": each}
                seen += rows.first(("candidates", *parts.values(), short), left, looked)[0]
            if seen < each:
                return claimed
            fetch, each = fetch * 8, each * 8

    def promote(self, rows: SqlRows, limit: int) -> int:
        """One statement."""
        present = rows.present()

        def build() -> Any:
            job = rows.tables.job
            ids = present.clause(self.claims.due(rows.tables, limit))
            return update(job).values(due_at=None).where(self.chosen(job, ids))

        return rows.count_changed(("promote", limit), build, present.parameters())


def _past_locked(
    table: Table, expected: Sequence[ColumnElement[bool]], written: Mapping[str, Any]
) -> tuple[list[ColumnElement[bool]], dict[str, Any]]:
    """The conditions and the values of a change, for those of its rows alone that no other transaction has locked.

    They are locked as the change would lock them, so that somebody's row that refers to one is not in the way. To look each up
    twice costs a tenth of the statement.
    """
    given = (value.label(f"written_{name}") for name, value in written.items())
    free = select(table.c.id, *given).where(*expected).with_for_update(key_share=True, skip_locked=True, of=table)
    chosen = free.subquery("free")
    return [table.c.id == chosen.c.id], {name: chosen.c[f"written_{name}"] for name in written}
