"""What all parts of the content store share: the storage whose transactions they are, and how they name rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Row, Select, Table, Text, and_, any_, bindparam, exists, func, select, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY

from gnj.queue import uploads
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.values import dump_json
from gnj.storage.sql.faults import faults
from gnj.storage.sql.schema_content import ContentTables
from gnj.storage.sql.storage import SqlStorage
from gnj.storage.sql.transaction import SqlRows

# As for writing (`dialects`): what a planner knows of tables is old, and what it then takes for cheaper is to read and to sort
# all that comes after, for each page of a scan: 750 ms for 1,000 of 100,000 entries, instead of 10.
_SNAPSHOT: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL enable_seqscan = off",
    "SET LOCAL enable_bitmapscan = off",
    "SET LOCAL enable_sort = off",
    "SET LOCAL jit = off",
)


class Base:
    """A part of the content store.

    Args:
        storage: Where the tables are. Raises `InvalidInput` for a database that has none for content.
    """

    def __init__(self, storage: SqlStorage) -> None:
        if storage.tables.content is None:
            raise InvalidInput(f"there is no content store in {storage.dialect.name}: SQLite and PostgreSQL have one")
        self.storage = storage
        self.tables: ContentTables = storage.tables.content
        self.postgresql = storage.dialect.name == "postgresql"

    def begin(self, *, write: bool) -> AbstractContextManager[SqlRows]:
        """A transaction of the storage's: it has its turns, time limits and errors."""
        return cast("AbstractContextManager[SqlRows]", self.storage.begin(write=write))

    @contextmanager
    def snapshot(self) -> Iterator[SqlRows]:
        """Reads of which each sees what the first one has seen: a purge in between takes no row away from them."""
        with self.begin(write=False) as rows:
            if self.postgresql:
                # where there is a transaction already (an engine of the host's, under a limit), only its level is changed
                # a connection that prepares every statement takes one at a time
                alone = getattr(rows.connection.connection.driver_connection, "prepare_threshold", None) == 0
                for statement in _SNAPSHOT if alone else ("; ".join(_SNAPSHOT),):
                    with faults():
                        rows.connection.exec_driver_sql(statement)
            yield rows

    def among(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Whether a text is one of the parameter `name`, which `texts` makes: one statement for any number of them."""
        if self.postgresql:
            return column == any_(bindparam(name, type_=ARRAY(Text())))
        each = func.json_each(bindparam(name, type_=Text())).table_valued("value")
        return column.in_(select(each.c.value))

    def ignoring(self, table: Table) -> Any:
        """An INSERT that passes over rows whose keys others have; it waits for transactions that are inserting them."""
        if self.postgresql:
            return postgresql.insert(table).on_conflict_do_nothing()
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - 0.7 MB that only those pay who use it

        return sqlite.insert(table).on_conflict_do_nothing()

    def looked_up(self, table: Table, columns: Sequence[str], of: ColumnElement[bool], by: str) -> Select[Any]:
        """Rows that meet `of` and whose text `by` is one of the parameter `texts`, each found along an index.

        On PostgreSQL text by text: asked for all of them at once, a planner without statistics reads the whole environment
        for a batch (30,000 rows for 500).
        """
        if not self.postgresql:
            return select(*(table.c[name] for name in columns)).where(of, self.among(table.c[by], "texts"))
        given = func.unnest(bindparam("texts", type_=ARRAY(Text()))).table_valued("text").render_derived("given")
        # OFFSET: else the two are joined in whichever way seems cheaper
        found = select(*(table.c[name] for name in columns)).where(of, table.c[by] == given.c.text).offset(0).lateral()
        return select(found).select_from(given.join(found, true()))

    def free_site_ids(self, rows: SqlRows, environment: int) -> None:
        """Has the environment give up the ids of those sites of which it has no row, at whichever version."""
        claim, site = self.tables.site_id, self.tables.site
        kept = exists().where(site.c.environment == environment, site.c.site_id == claim.c.site_id)
        rows.run(claim.delete().where(claim.c.environment == environment, ~kept))

    def removed_assets(self, rows: SqlRows, tenant: str, gone: Iterable[str]) -> int:
        """Has the files of asset rows that were just removed, of which these are the keys, be unwanted, where no other asset of the
        tenant has them; how many rows there are.
        """
        found = list(gone)
        if found:
            asset, environment = self.tables.asset, self.tables.environment
            texts = bindparam("texts", type_=ARRAY(Text()) if self.postgresql else Text())
            each = (func.unnest if self.postgresql else func.json_each)(texts).table_valued("value")
            given = each.render_derived("given") if self.postgresql else each
            # not more than one row of each environment is looked at: of the same file there may be any number
            of = and_(asset.c.environment == environment.c.id, asset.c.file_key == given.c.value)
            kept = exists().select_from(environment.join(asset, of)).where(environment.c.tenant == tenant)
            left = select(given.c.value).where(~kept.correlate(given))
            gone_keys = {"texts": self.texts(sorted(set(found)))}
            uploads.unwant(rows, tenant, list(rows.run(left, gone_keys).scalars()))
        return len(found)

    def texts(self, texts: Collection[str]) -> Any:
        """Texts as a parameter of `among`."""
        return list(texts) if self.postgresql else dump_json(list(texts))


def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A number as something that no index has, so that another index is taken.

    Whether a planner knows how many rows have one `until` depends on statistics, which a first import has none of.
    """
    return column + 0


def visible(table: Table, version: int) -> ColumnElement[bool]:
    """Whether a row is there in a version, whichever that is: an index leads to it by other columns only."""
    return and_(unindexed(table.c.since) <= version, unindexed(table.c.until) > version)


def environment_row(base: Base, rows: SqlRows, tenant: str, environment_id: str, *, lock: bool = False) -> Row[Any]:
    """The row of an environment in whatever state. Raises `NotFound`."""
    table = base.tables.environment
    statement = select(table).where(table.c.tenant == tenant, table.c.environment_id == environment_id)
    found: Row[Any] | None = rows.run(statement.with_for_update() if lock else statement).first()
    if found is None:
        raise NotFound(f"there is no environment {environment_id!r}")
    return found


def ready_row(base: Base, rows: SqlRows, tenant: str, environment_id: str, *, lock: bool = False) -> Row[Any]:
    """The row of an environment that can be seen. Raises `NotFound`."""
    found = environment_row(base, rows, tenant, environment_id, lock=lock)
    if found.state != READY:
        raise NotFound(f"there is no environment {environment_id!r}")
    return found


READY = "ready"
"""The state of an environment that can be seen."""
MAKING = "making"
"""Of one that was reserved, and not published yet."""
GONE = "gone"
"""Of one that is being removed."""
