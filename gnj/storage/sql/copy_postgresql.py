"""COPY: many rows into PostgreSQL, in two thirds of the time that an INSERT takes the server.

The rows are sent as they are made, and the server stores what has come: the two work at the same time. They are sent in
binary form, in which the server need not read times and numbers (a tenth of its time). COPY gives nothing back, so that the
ids are taken before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice, repeat
from struct import Struct
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, text

from gnj.queue.model import Kind, RecordT
from gnj.queue.storage import Changes
from gnj.queue.values import Json
from gnj.storage.sql.bulk import bulk
from gnj.storage.sql.columns import dump_jsonb
from gnj.storage.sql.dialect import OURS
from gnj.storage.sql.faults import of_driver
from gnj.storage.sql.rows import DATABASE_NOW, Mapper

FEWEST: Final = 200
"""Rows for which COPY is worth its two further exchanges with the server."""
_PART: Final = 2_000
"""Rows that are sent at once: some 100 kB."""
_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_COUNT: Final = Struct(">h").pack
_SIZE: Final = Struct(">i").pack
_INT: Final = Struct(">ii").pack
_ID: Final = Struct(">iq").pack
_FLOAT: Final = Struct(">id").pack
_BOOL: Final = Struct(">i?").pack
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# Who may insert may not always take numbers from the sequence; and a table with policies for its rows takes no COPY: then
# there is nothing. Both are found out once, and not again for each number, which took 50 ms for 20,000 of them instead of 6.
# Numbers that others took in between are missing among them, and then all are told.
_TAKE: Final = text(
    f"""
    WITH sequence AS MATERIALIZED (
        SELECT CAST(name AS regclass) AS name
        FROM (SELECT pg_get_serial_sequence(CAST(:of AS text), 'id') AS name) AS owned
        WHERE has_sequence_privilege(name, 'USAGE') AND NOT row_security_active(CAST(:of AS text))
    )
    SELECT min(id), max(id), CASE WHEN max(id) - min(id) + 1 <> count(*) THEN array_agg(id) END, {DATABASE_NOW}
    FROM (SELECT nextval(name) AS id FROM sequence, generate_series(1, :count)) AS taken
    """
)


def serves(connection: Connection) -> bool:
    """Whether rows can be sent so: through psycopg, by a connection of an engine of our own."""
    return connection.dialect.driver == "psycopg" and bool(connection.info.get(OURS))


def insert(
    connection: Connection, table: str, mapper: Mapper[RecordT], rows: Sequence[Changes], moment: datetime | None
) -> list[RecordT] | None:
    """The rows, stored; None, and nothing done, where they cannot be sent so. `moment`: the present, if that is not the
    database's.
    """
    first, last, each, now = connection.execute(_TAKE, {"of": table, "count": len(rows)}).one()
    if first is None:
        return None
    ids: Sequence[int] = range(first, last + 1) if each is None else sorted(each)
    made = bulk(mapper, rows, now if moment is None else moment)
    binding = bindings(connection)
    written = {"id": map(_ID, repeat(8), ids), **made.written(lambda name: binding[mapper.attributes[name].kind])}
    columns = {mapper.attributes[name].column: values for name, values in written.items()}
    with sent(connection, table, made.count, columns):
        return made.records(ids)


@contextmanager
def sent(connection: Connection, table: str, count: int, columns: Mapping[str, Iterable[bytes]]) -> Iterator[None]:
    """Sends `count` rows: of each column what `bindings` made of its values. The block is run while the server is at it."""
    raw: Any = connection.connection.driver_connection
    names = ", ".join(f'"{name}"' for name in columns)
    try:
        with raw.cursor().copy(f"COPY {table} ({names}) FROM STDIN (FORMAT binary)") as copy:
            for part in _parts(count, columns.values()):
                copy.write(part)
            yield
    except connection.dialect.loaded_dbapi.Error as error:
        raise of_driver(error, lost=raw.closed) from error


def _parts(count: int, columns: Collection[Iterable[bytes]]) -> Iterator[bytes]:
    """What COPY takes: each row is its number of values, and then these, each after its length."""
    rows = map(b"".join, zip(repeat(_COUNT(len(columns)), count), *columns, strict=True))
    yield _BEGIN
    while part := list(islice(rows, _PART)):
        yield b"".join(part)
    yield _END


def bindings(connection: Connection) -> Mapping[Kind, Callable[[Any], bytes]]:
    """What makes of values, by their kinds, what the server takes for columns of the types they have."""
    raw: Any = connection.connection.driver_connection
    encoding = raw.info.encoding

    def text(value: str | None) -> bytes:
        if value is None:
            return _NULL
        data = value.encode(encoding)
        return _SIZE(len(data)) + data

    def json(value: Json) -> bytes:
        made = dump_jsonb(value)
        if made is None:
            return _NULL
        data = made.encode(encoding)
        return _SIZE(len(data) + 1) + b"\1" + data  # the first version of this form

    return {Kind.TEXT: text, Kind.JSON: json, **_BINDINGS}


def _sized(pack: Callable[[int, Any], bytes], size: int) -> Callable[[Any], bytes]:
    return lambda value: _NULL if value is None else pack(size, value)


def _time(value: datetime | None) -> bytes:
    return _NULL if value is None else _ID(8, (value - _EPOCH) // _MICROSECOND)


_BINDINGS: Final[Mapping[Kind, Callable[[Any], bytes]]] = MappingProxyType(
    {
        Kind.INT: _sized(_INT, 4),
        Kind.ID: _sized(_ID, 8),
        Kind.FLOAT: _sized(_FLOAT, 8),
        Kind.BOOL: _sized(_BOOL, 1),
        Kind.TIME: _time,
    }
)
