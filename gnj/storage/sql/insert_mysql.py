"""Inserts in MySQL and MariaDB: what is new, with ascending ids, past keys that others have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, exc, insert, or_, select, text

from gnj.queue.clock import After
from gnj.queue.errors import Conflict
from gnj.queue.storage import Changes
from gnj.queue.values import dump_json
from gnj.storage.sql.columns import DIGEST
from gnj.storage.sql.columns_mysql import digest
from gnj.storage.sql.dialect import Unique
from gnj.storage.sql.faults import DUPLICATE, faults, mysql_code
from gnj.storage.sql.rows import Mapper

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows

IDS: Final = 500
"""Rows named in one statement at most. MariaDB turns a list of 1,000 into a join with a temporary table."""
CHARACTERS: Final = 2_000_000
"""Text in one statement at most, one row apart: 8 MB in UTF-8, or doubled by escapes, of the 16 MB a packet may have."""
TRIES: Final = 50
"""How often a key that others have just given up is looked for again."""
_BUCKETS: Final = 256
_KEY: Final = re.compile(r" for key '(?:[^']*\.)?([^'.]*)'$")
_Key = tuple[bytes, ...]


def stored(rows: SqlRows, mapper: Mapper[Any], given: Sequence[Changes], unless: Unique | None) -> list[int]:
    """Stores rows whose key is not taken; their ids. If somebody takes one meanwhile the statement fails, does nothing, and is
    made again.

    INSERT IGNORE would pass over other errors as well, and ON DUPLICATE KEY UPDATE uses up an id for each row that is there.
    """
    keys: list[_Key | None] = [None] * len(given)
    if unless is not None:
        names = unless.keys
        keys = [_digests(names, key) if (key := _values_of(mapper, row, unless)) else None for row in given]
        _order(rows, {key for key in keys if key is not None})
    ids: list[int] = []
    for start, end in spans([_weight(row) for row in given], IDS):
        some = list(zip(given[start:end], keys[start:end], strict=True))
        with faults():
            ids += _stored(rows, mapper, some, unless)
    return ids


def having(mapper: Mapper[Any], unique: Unique, keys: Collection[tuple[str, ...]]) -> list[ColumnElement[bool]]:
    """See `Dialect.having`."""
    names = unique.keys
    return _having(mapper, unique, {_digests(names, key) for key in keys})


def parts(items: Sequence[Any], size: int = IDS) -> Iterator[Sequence[Any]]:
    """What goes into one statement each."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def spans(weights: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Places from which to which rows fit into one statement, by the characters of each."""
    start = weight = 0
    for place, more in enumerate(weights):
        if place > start and (place - start == most or weight + more > CHARACTERS):
            yield start, place
            start, weight = place, 0
        weight += more
    if start < len(weights):
        yield start, len(weights)


def _having(mapper: Mapper[Any], unique: Unique, keys: Collection[_Key]) -> list[ColumnElement[bool]]:
    columns = [mapper.table.c[name] for name in unique.keys]
    ordered = sorted(keys)
    if len(columns) == 1:
        lists = ([digest for (digest,) in some] for some in parts(ordered))
        return [columns[0].in_(bindparam(None, some, type_=DIGEST, expanding=True)) for some in lists]
    each = [and_(*(c == part for c, part in zip(columns, key, strict=True))) for key in ordered]
    return [or_(*some) for some in parts(each)]


def _weight(row: Changes) -> int:
    texts = (value for value in row.values() if isinstance(value, (str, dict, list)))
    return sum(len(text) if isinstance(text, str) else len(dump_json(text)) for text in texts)


def _order(rows: SqlRows, keys: Collection[_Key]) -> None:
    """Locks on 256 buckets of keys, in order, until the transaction ends.

    So transactions that insert several keys come one after the other if they share some. Each inserts in its caller's order, and the unique index makes it wait for others: crosswise, that is a deadlock.
    GET_LOCK is the session's, and a host's transaction would leave it behind.
    """
    bucket = rows.tables.bucket
    if len(keys) < 2 or bucket is None:
        return
    numbers = sorted({key[0][0] % _BUCKETS for key in keys})
    values = ", ".join(f"({number})" for number in numbers)
    rows.run(text(f"INSERT INTO {rows.tables.name(bucket)} (id) VALUES {values} ON DUPLICATE KEY UPDATE id = id"))


def _stored(
    rows: SqlRows,
    mapper: Mapper[Any],
    given: Sequence[tuple[Changes, _Key | None]],
    unless: Unique | None,
) -> list[int]:
    """The ids of those rows that were stored."""
    for turn in range(TRIES):
        taken = _taken(rows, mapper, unless, {key for _, key in given if key is not None}, again=turn > 0)
        free = [row for row, key in given if key is None or key not in taken]
        try:
            return _inserted(rows, mapper, free) if free else []
        except exc.IntegrityError as error:
            if unless is None or not _is_taken(error, mapper, unless):
                raise
    raise Conflict


def _taken(
    rows: SqlRows,
    mapper: Mapper[Any],
    unless: Unique | None,
    keys: Collection[_Key],
    *,
    again: bool,
) -> set[_Key]:
    if unless is None or not keys:
        return set()
    columns = [mapper.table.c[name] for name in unless.keys]
    found: set[_Key] = set()
    for condition in _having(mapper, unless, keys):
        statement = select(*columns).where(condition)
        statement = statement.with_for_update(read=True) if again else statement
        found |= {tuple(row) for row in rows.run(statement)}
    return found


def _inserted(rows: SqlRows, mapper: Mapper[Any], given: Sequence[Changes]) -> list[int]:
    """One statement of VALUES. The server takes the ids for all of its rows at once, in any `innodb_autoinc_lock_mode`:
    they follow the first by the server's step.
    """
    columns, present, connection = mapper.inserted(given), rows.present(), rows.connection
    if len(given) == 1:
        shape, parameters = mapper.shaped({name: values[0] for name, values in columns.items()}, present)

        def build() -> Any:
            return insert(mapper.table).values(mapper.assignments(shape)).inline()

        result = connection.execute(rows.prepared(("insert", mapper.kind, shape), build), parameters)
        return [result.lastrowid]
    moment = present.moment
    if moment is None and any(isinstance(v, After) for values in columns.values() for v in values):
        moment = connection.execute(select(present.now())).scalar_one()
    lists, names = [], []
    for name, values in columns.items():
        target = mapper.column(name)
        bind = target.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        plain = [value.resolve(moment) if isinstance(value, After) and moment else value for value in values]
        lists.append(plain if bind is None else [bind(value) for value in plain])
        names.append(f"`{target.name}`")
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    row = f"({', '.join([mark] * len(names))})"
    sql = f"INSERT INTO {rows.tables.name(mapper.table)} ({', '.join(names)}) VALUES {', '.join([row] * len(given))}"
    flat = tuple(value for values in zip(*lists, strict=True) for value in values)
    first = connection.exec_driver_sql(sql, flat).lastrowid
    step = connection.exec_driver_sql("SELECT @@SESSION.auto_increment_increment").scalar_one()
    return [first + place * step for place in range(len(given))]


def _digests(names: Sequence[str], key: tuple[str, ...]) -> _Key:
    """What the generated columns hold for a key: one digest of all of it, or one of each part."""
    if len(names) == 1:
        return (digest(*key),)
    texts = dict(zip(("tenant", "type"), key, strict=True))
    return tuple(digest(texts[name.removeprefix("held_")]) for name in names)


def _values_of(mapper: Mapper[Any], row: Changes, unique: Unique) -> tuple[str, ...] | None:
    """The values of a row for what is unique; None where one is null."""
    names = {attribute.column: name for name, attribute in mapper.attributes.items()}
    values = [row.get(names[column], "" if column == "tenant" else None) for column in unique.columns]
    return None if None in values else tuple(str(value) for value in values)


def _is_taken(error: exc.IntegrityError, mapper: Mapper[Any], unique: Unique) -> bool:
    """Whether a statement failed for that key."""
    found = _KEY.search(str(error.orig.args[-1] if error.orig else ""))
    return (
        mysql_code(error.orig) == DUPLICATE
        and found is not None
        and found[1] == f"{mapper.table.name}_{unique.index}_idx"
    )
