"""What migrations make tables of, alike for every database: types, tables, indexes.

Published migrations rely on what stands here: it may grow, and must not change its meaning.

MySQL commits at every statement that makes something. So a migration that was killed there is run again from its beginning:
`Portable` makes only what is not there yet, in MySQL, and whatever else a migration does must bear being done twice.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.dialects import postgresql

from gnj.storage.sql.columns_mysql import MYSQL, LongText, MediumText, Word, digest_sql


class Portable:
    """Makes tables and indexes under the prefix and in the schema of `tables`.

    For MySQL a migration says more: `word` instead of `text` for a column of gnj's own words that stands in an index, and
    for a partial index, or one of texts, the generated columns (`key`) that take its place (`mysql`).
    """

    text: Any = sa.Text().with_variant(sa.Text(collation="C"), "postgresql").with_variant(MediumText(), *MYSQL)
    word: Any = sa.Text().with_variant(sa.Text(collation="C"), "postgresql").with_variant(Word(40), *MYSQL)
    big: Any = sa.BigInteger()
    json: Any = sa.Text().with_variant(postgresql.JSONB(), "postgresql").with_variant(LongText(), *MYSQL)
    time: Any = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True, precision=3), "postgresql")

    def __init__(self, op: Operations, tables: Any) -> None:
        self.op = op
        self.prefix = tables.prefix
        self.schema = tables.schema
        self.mysql = op.get_bind().dialect.name in MYSQL

    @property
    def empty(self) -> Any:
        """The default '' of a `text`: an expression to MySQL."""
        return sa.text("('')" if self.mysql else "''")

    def key(self, name: str, sql: str, when: str | None = None, type: Any = None) -> sa.Column[Any]:
        """A generated column of MySQL's: `sql` where `when` holds, else null. A digest of texts, unless a type is given."""
        sql = sql if when is None else f"CASE WHEN {when} THEN {sql} END"
        return sa.Column(name, sa.BINARY(32) if type is None else type, sa.Computed(sql, persisted=True))

    def digest(self, *columns: str) -> str:
        """The digest of these texts, for `key`."""
        return digest_sql(*columns)

    def create(
        self,
        name: str,
        *columns: sa.Column[Any],
        keys: Any = (),
        numbered: bool = True,
        primary: tuple[str, ...] = ("id",),
        **options: Any,
    ) -> None:
        """A table with an id; `keys` are MySQL's generated columns. Without `numbered` the columns are all there is, and `primary`
        are those of its key.
        """
        if self._has(name):
            return
        id = [sa.Column("id", self.big.with_variant(sa.Integer(), "sqlite"), sa.Identity(always=True))]
        self.op.create_table(
            f"{self.prefix}{name}",
            *(id if numbered else ()),
            *columns,
            *(keys if self.mysql else ()),
            sa.PrimaryKeyConstraint(*primary, name=f"{self.prefix}{name}_pkey"),
            schema=self.schema,
            sqlite_autoincrement=numbered,
            mysql_engine="InnoDB",
            mariadb_engine="InnoDB",
            **options,
        )

    def drop(self, name: str) -> None:
        """Takes a table away, if it is there."""
        self.op.drop_table(self._name(name), schema=self.schema, if_exists=True)

    def column(self, table: str, column: sa.Column[Any]) -> None:
        """One more column of a table that is there."""
        if not (self.mysql and any(c["name"] == column.name for c in self._inspector.get_columns(self._name(table)))):
            self.op.add_column(self._name(table), column, schema=self.schema)

    def index(
        self,
        table: str,
        name: str,
        columns: list[Any],
        where: str | None = None,
        *,
        unique: bool = False,
        mysql: list[Any] | None = None,
        lengths: dict[str, int] | None = None,
    ) -> None:
        """An index; `mysql` are the columns it has there instead, `lengths` how much of a text is in it there."""
        whole = f"{self.prefix}{table}_{name}_idx"
        if self.mysql and any(i["name"] == whole for i in self._inspector.get_indexes(self._name(table))):
            return
        condition = None if where is None else sa.text(where)
        self.op.create_index(
            whole,
            self._name(table),
            columns if mysql is None or not self.mysql else mysql,
            unique=unique,
            schema=self.schema,
            postgresql_where=condition,
            sqlite_where=condition,
            mysql_length=lengths or {},
            mariadb_length=lengths or {},
        )

    def drop_index(self, table: str, name: str) -> None:
        """Takes an index away, if it is there."""
        whole = f"{self.prefix}{table}_{name}_idx"
        if any(i["name"] == whole for i in self._inspector.get_indexes(self._name(table), schema=self.schema)):
            self.op.drop_index(whole, self._name(table), schema=self.schema)

    def _has(self, name: str) -> bool:
        return self.mysql and self._inspector.has_table(self._name(name))

    def _name(self, table: str) -> str:
        return f"{self.prefix}{table}"

    @property
    def _inspector(self) -> sa.Inspector:
        return sa.inspect(self.op.get_bind())
