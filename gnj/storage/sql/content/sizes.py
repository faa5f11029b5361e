"""How many rows are dealt with at once, by the bytes of their JSON: an entry may have some hundreds of them, or millions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from sqlalchemy import ColumnElement, LargeBinary, Select, Text, cast, func, type_coerce

from gnj.storage.sql.faults import faults
from gnj.storage.sql.transaction import SqlRows

PAGE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of JSON that the entries of a page have; a single one may have more."""
_FETCHED: Final = 32
"""Sizes that are asked for at once: those of rows that do not fit are measured in vain."""
_JSON: Final = ("labels", "system", "content", "attrs")


def weight(rows: SqlRows, entry: Any) -> ColumnElement[int]:
    """The bytes of the JSON in a row of `ContentTables.entry`, as texts: what it takes to read it, however it is compressed."""
    sqlite = rows.dialect.name == "sqlite"
    parts = [
        func.length(cast(type_coerce(column, Text), LargeBinary)) if sqlite else func.octet_length(cast(column, Text))
        for column in (entry.c[name] for name in _JSON)
    ]
    found: ColumnElement[int] = sum(parts[1:], start=parts[0])
    return found


def cut(
    rows: SqlRows, sized: Select[Any], parameters: Mapping[str, Any] | None = None, *, pages: int = 1
) -> list[Any] | None:
    """Where a page has to end: the last of the selected rows of which all up to it have `PAGE_BYTES` together, at least the
    first one. None if all of them fit.

    Args:
        rows: Where to look.
        sized: The rows, in order: whatever is to be told of each, then its `weight`.
        parameters: Of the statement.
        pages: How many times `PAGE_BYTES` they may have.
    """
    total = 0
    last: list[Any] | None = None
    asked = sized.execution_options(stream_results=True, max_row_buffer=_FETCHED)
    with faults(), closing(rows.run(asked, parameters)) as found:
        for *row, size in found:
            total += size
            if last is not None and total > PAGE_BYTES * pages:
                return last
            last = row
    return None
