"""Hot statements: those that every job needs go directly through the driver, on connections of our own engines.

To send one statement through SQLAlchemy, and to take each value of its rows through the processors of its types, costs more
than all the rest: 15 of the 21 µs of CPU for a job of a claim of 500. Here a statement is compiled once, its parameters are
converted by functions picked once, and rows come as the driver has them. Each statement is a transaction of its own, so that
one round trip does what takes three with BEGIN and COMMIT.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Column, Engine, Update
from sqlalchemy.engine import Dialect

from gnj.queue.model import Job, Kind, RecordT
from gnj.queue.storage import Changes
from gnj.storage.sql import direct_insert
from gnj.storage.sql.columns import FROM_SQLITE
from gnj.storage.sql.faults import of_driver
from gnj.storage.sql.rows import STAMP, Decoder, Mapper, Shape, Told, decoder
from gnj.storage.sql.transaction import SqlRows
from gnj.storage.sql.watch import measured

Answer: TypeAlias = tuple[list[tuple[Any, ...]], int]
"""The rows of a statement, as the driver has them, and how many rows it changed or gave."""


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A statement as its driver takes it."""

    sql: str
    names: tuple[str, ...]
    """Its parameters, in order."""
    fixed: Mapping[str, Any]
    """Those that are the same in every call, converted."""
    conversions: Mapping[str, Callable[[Any], Any] | None]
    """What makes of the others, by their names, what the driver takes; None: nothing need be done."""

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """The parameters of one call."""
        fixed, conversions = self.fixed, self.conversions
        return [
            fixed[name]
            if name in fixed
            else given[name]
            if (convert := conversions[name]) is None
            else convert(given[name])
            for name in self.names
        ]


def compiled(statement: Any, dialect: Dialect, convert: Callable[[Any], Any] | None = None) -> Compiled:
    """Compiles a statement for a dialect with numbered or positional parameters; `convert` is applied to every value last."""
    made = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    names = tuple(made.positiontup or ())
    fixed: dict[str, Any] = {}
    conversions: dict[str, Callable[[Any], Any] | None] = {}
    for name in names:
        bind = made.binds.get(name)
        if bind is None:  # one of the values of a list
            fixed[name] = made.params[name] if convert is None else convert(made.params[name])
            continue
        conversion = _both(bind.type.dialect_impl(dialect).bind_processor(dialect), convert)
        if bind.required:
            conversions[name] = conversion
        else:
            fixed[name] = bind.effective_value if conversion is None else conversion(bind.effective_value)
    return Compiled(made.string, names, fixed, conversions)


def _both(first: Callable[[Any], Any] | None, second: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if first is None or second is None:
        return first or second
    return lambda value: second(first(value))


class Link(ABC):
    """A connection that one call has, and how statements are sent through it."""

    alone = True
    """Whether each statement is a transaction of its own."""

    def begin(self) -> None:  # noqa: B027 - most have none
        """Begins the transaction of what is not `alone`. Raises what the driver raises, like `end`."""

    def end(self, how: str) -> None:  # noqa: B027 - likewise
        """Ends it: COMMIT or ROLLBACK."""

    @abstractmethod
    def run(self, statement: Compiled, given: Mapping[str, Any]) -> Answer:
        """Executes a statement. Raises what the driver raises."""

    def is_lost(self) -> bool:
        """Whether the connection is known to have ended."""
        return False


class Direct(ABC):
    """One driver's ways. One for each storage."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    together: int
    """Jobs up to which one statement stores them faster than what a transaction does for many."""

    @abstractmethod
    def compile(self, statement: Any) -> Compiled:
        """A statement as this driver takes it."""

    @abstractmethod
    def link(self, connection: Any, limit: float | None) -> Link | None:
        """The way to send statements through a connection of the pool, set up for them, each of which may take `limit`
        seconds; None if it has died meanwhile. Raises what the driver raises.
        """

    @property
    @abstractmethod
    def conversions(self) -> Mapping[Kind, Callable[[Any], Any]]:
        """What makes of the driver's values, other than None, those of attributes."""

    def serves(self, connection: Any) -> bool:
        """Whether the connection can be used so."""
        del connection
        return True

    @property
    def error(self) -> type[Exception]:
        """The class of all the driver's errors."""
        error: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        return error

    @contextmanager
    def faults(self, link: Link) -> Iterator[None]:
        """Raises the driver's errors inside the block as gnj's."""
        try:
            yield
        except self.error as error:
            raise of_driver(error, lost=link.is_lost()) from error


class SqliteDirect(Direct):
    """sqlite3, which keeps its prepared statements itself."""

    conversions = FROM_SQLITE
    together = 1

    def compile(self, statement: Any) -> Compiled:
        """With parameters in their order. An UPDATE that fails needs not undo what it has done: the transaction is rolled back.

        For that SQLite would copy each page, before it changes it, to a temporary file.
        """
        if isinstance(statement, Update):
            statement = statement.prefix_with("OR FAIL")
        return compiled(statement, self._engine.dialect)

    def link(self, connection: Any, limit: float | None) -> Link:
        """Nothing needs setting up: what takes too long is interrupted (`watch`)."""
        del limit
        return _SqliteLink(connection.dbapi_connection)


class _SqliteLink(Link):
    """All statements are one transaction: the present, which SQLite does not know, is to be asked for only when it is their turn.

    A claim that waited 2 s for another process to commit was given out with a lease of 1 s that had run out.
    """

    alone = False

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def begin(self) -> None:
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")
        self._raw.execute("BEGIN IMMEDIATE")

    def end(self, how: str) -> None:
        if self._raw.in_transaction:  # what was interrupted was rolled back at once
            self._raw.execute(how)

    def run(self, statement: Compiled, given: Mapping[str, Any]) -> Answer:
        cursor = self._raw.execute(statement.sql, statement.values(given))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows, cursor.rowcount


@dataclass(frozen=True, slots=True, eq=False)
class _Hot:
    """A hot statement that gives records."""

    statement: Compiled
    decoder: Decoder[Any]
    told: tuple[Told, ...]
    stamp: int | None
    """The place, in its rows, of what tells the statement's present."""


class DirectRows(SqlRows):
    """What hot statements alone can do, each in a transaction of its own, unless `link` is not for that.

    Args:
        direct: How they are compiled, and `link` where they go.
        given: The rest is as in `SqlRows`.
    """

    def __init__(self, direct: Direct, link: Link, *given: Any, **named: Any) -> None:
        super().__init__(None, *given, **named)
        self.alone = link.alone
        self.direct = direct
        self._link = link

    def enqueue(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """See `SqlRows.enqueue`."""
        return [(job, True) for job in direct_insert.stored(self, rows)]

    def changed(
        self,
        mapper: Mapper[RecordT],
        key: Hashable,
        shape: Shape,
        build: Callable[[Sequence[Column[Any]]], Any],
        parameters: Mapping[str, Any],
    ) -> list[RecordT]:
        """See `SqlRows.changed`. What the caller has had written does not come back from the server for each row."""

        def made() -> _Hot:
            told = mapper.told(shape)
            known = {each.name for each in told}
            names = [name for name in mapper.names if name not in known]
            statement = self.direct.compile(build([mapper.column(name) for name in names]))
            stamp = names.index(STAMP[0]) if STAMP in shape else None
            return _Hot(statement, decoder(mapper.kind, names, self.direct.conversions), told, stamp)

        hot: _Hot = self.prepared(("records", key), made)
        rows, _ = self.sent(hot.statement, parameters)
        if not rows:
            return []
        now = None if hot.stamp is None else self.direct.conversions[Kind.TIME](rows[0][hot.stamp])
        return hot.decoder.records(rows, {each.name: each.value(parameters, now) for each in hot.told})

    def all(self, key: Hashable, build: Callable[[], Any], parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that a hot statement gives, as the driver has them."""
        return self.sent(self.prepared(("plain", key), lambda: self.direct.compile(build())), parameters)[0]

    def first(self, key: Hashable, build: Callable[[], Any], parameters: Mapping[str, Any]) -> list[Any]:
        """See `SqlRows.first`."""
        return [row[0] for row in self.all(key, build, parameters)]

    def count_changed(self, key: Hashable, build: Callable[[], Any], parameters: Mapping[str, Any]) -> int:
        """See `SqlRows.count_changed`."""
        statement = self.prepared(("plain", key), lambda: self.direct.compile(build()))
        return self.sent(statement, parameters)[1]

    def sent(self, statement: Compiled, parameters: Mapping[str, Any]) -> Answer:
        """What a hot statement answers."""
        try:
            if self._watch is None:
                return self._link.run(statement, parameters)
            with measured(self._watch, commits=self.alone):
                return self._link.run(statement, parameters)
        except self.direct.error as error:
            raise of_driver(error, lost=self._link.is_lost()) from error
