"""Databases whose UPDATE and INSERT give back what they changed: one statement does what takes others three."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, TextClause, and_, bindparam, insert, text, update

from gnj.queue.model import Job, RecordT
from gnj.queue.storage import Changes
from gnj.storage.sql.columns import ID, JSON, TEXT
from gnj.storage.sql.dialect import PROMOTED, SPARE, UNIQUE_ID, Dialect, Unique, Write
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
        """One statement for each tenant."""
        tenant, other = (mapper.table.c[name] for name in unique.columns)
        by_tenant: dict[str, list[str]] = {}
        for of, key in keys:
            by_tenant.setdefault(of, []).append(key)
        live = mapper.table.c.deleted_at.is_(None)
        return [and_(self.translator.one_of(other, keys, TEXT), live, tenant == of) for of, keys in by_tenant.items()]

    def insert(
        self, rows: SqlRows, mapper: Mapper[RecordT], given: Sequence[Changes], unless: Unique | None
    ) -> list[RecordT]:
        """One statement for rows of one shape."""
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

            return mapper.records(rows.run(rows.prepared(("insert", mapper.kind, shape), build), parameters))
        with faults():
            stored = self.insert_many(rows.connection, statement.returning(*mapper.columns), mapper, columns, present)
        return mapper.by_id(stored)

    def write(self, rows: SqlRows, write: Write[RecordT]) -> list[Row[Any]]:
        """In the order of their ids, which is that in which the rows are found and locked: crosswise, that is a deadlock."""
        mapper, fenced, one = write.mapper, write.attempts is not None, len(write.ids) == 1 and not write.json
        types = {"id": ID, **({"attempt": ID} if fenced else {}), **dict.fromkeys(write.json, JSON)}
        several = len(types) > 1 and not one

        def build() -> Any:
            table = mapper.table.c
            if several:
                of: Mapping[str, Any] = self.given(types)
            else:
                of = {name: bindparam(f"of_{name}", type_=type) for name, type in types.items()}
            values = mapper.assignments(write.shape) | {name: of[name] for name in write.json}
            statement = mapper.updating.values(values).where(*write.conditions())
            if not several and not one:
                return statement.where(self.of_ids(table.id))
            return statement.where(*(table[name] == of[name] for name in _TOKEN if name in of))

        parameters = dict(write.parameters)
        if several:
            lists = [write.ids, *([write.attempts] if write.attempts is not None else []), *write.json.values()]
            parameters |= self.rows(types, sorted(zip(*lists, strict=True), key=lambda row: row[0]))
        elif one:
            parameters |= {"of_id": write.ids[0]} | ({"of_attempt": write.attempts[0]} if write.attempts else {})
        else:
            parameters["of_ids"] = self.ids(write.ids)
        key = (write.key, write.shape, tuple(types), several, one)
        found: list[Row[Any]] = rows.run(rows.prepared(key, build), parameters).all()
        return found

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
        """One statement where nothing is due, which is nearly always so; what is due is made ready first."""
        claimed = self._claim(rows, types, tenants, limit, changes, unless_due=True)
        if not claimed:
            rows.promote(PROMOTED)
            claimed = self._claim(rows, types, tenants, limit, changes, unless_due=False)
        return claimed

    def _claim(
        self,
        rows: SqlRows,
        types: Sequence[str],
        tenants: Sequence[str] | None,
        limit: int,
        changes: Changes,
        *,
        unless_due: bool,
    ) -> list[Job]:
        mapper: Mapper[Job] = rows.mappers[Job]
        claims, present = self.claims, rows.present()
        shape, written = mapper.changed(changes, present)
        asked = claims.parameters(types, tenants)
        parts = {"one": len(types) == 1, "filtered": tenants is not None}
        claimed: list[Job] = []
        fetch = limit + SPARE
        while True:
            wanted = limit - len(claimed)

            def build(wanted: int = wanted, fetch: int = fetch) -> Any:
                sql = claims.claimable(rows.tables, **parts, limit=wanted, fetch=fetch, unless_due=unless_due)
                ids = claims.bound(present.clause(sql), **parts)
                values = mapper.assignments(shape) | {"attempt": mapper.table.c.attempt + 1}
                return mapper.updating.values(values).where(self.among(mapper.table.c.id, ids))

            key = ("claim", shape, *parts.values(), wanted, fetch, unless_due)
            parameters = written | asked | (present.parameters() if unless_due else {})
            taken = mapper.records(rows.run(rows.prepared(key, build), parameters))
            claimed += taken
            enough = len(claimed) >= limit or len(types) == 1 or not self.skips_locked
            if enough or (unless_due and not taken):
                return claimed
            # Short: unless all there is was looked at, look further. What others have locked is still counted here.
            left = claims.bound(text(claims.candidates(rows.tables, fetch=fetch, filtered=parts["filtered"])), **parts)
            if rows.run(left, asked).scalar_one() + len(claimed) < fetch:
                return claimed
            fetch *= 8

    def promote(self, rows: SqlRows, limit: int) -> int:
        """One statement."""
        present = rows.present()

        def build() -> Any:
            job = rows.tables.job
            ids = present.clause(self.claims.due(rows.tables, limit))
            return update(job).values(due_at=None).where(self.among(job.c.id, ids))

        made: int = rows.run(rows.prepared(("promote", limit), build), present.parameters()).rowcount
        return made
