"""CSV and TSV, row by row (rulings: Sources)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from gnj.transform.sources.items import unreadable
from gnj.transform.values import Record

SEPARATORS: Final = ",;\t|"
"""What is tried, the first first."""
_SAMPLE: Final = 64 * 1024
"""Characters of the beginning by which the separator is found."""
_ROWS: Final = 20
"""Rows of them at most."""
_COLUMNS: Final = 10_000


def rows(pieces: Iterator[str], *, separators: str = SEPARATORS, most: int) -> Iterator[Record]:
    """The rows below the first one that is not blank, which has the names.

    A row that is too short has None for the rest, of one that is too long the rest is lost, and blank ones are passed. Every value is a
    text.

    Args:
        pieces: The text.
        separators: What may stand between two values.
        most: Characters of one row.

    Raises `SourceFailed`, in place of the row that cannot be read.
    """
    first = next(pieces, "")
    count = 0

    def blocks() -> Iterator[io.StringIO]:
        """Whole lines, many at a time: so that none of them costs a step of Python. The last may lack its end."""
        rest, before, size = "", -1, 0
        for piece in chain([first], pieces):
            text = rest + piece
            # a return at the very end may be the first half of an end of line
            end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
            block, rest = text[:end], text[end:]
            # quotes that nobody closes make one row of all that follows
            size = len(block) if count != before else size + len(block)
            before = count
            if max(size - len(block), len(rest)) > most:
                raise unreadable(f"a row has more than {most:,} characters")
            if block:
                yield io.StringIO(block, newline="")
        yield io.StringIO(rest, newline="")

    reader = csv.reader(chain.from_iterable(blocks()), delimiter=_separator(first, separators))
    try:
        names = [name.strip() for name in next(filter(None, reader), [])]
        width = len(names)
        if width > _COLUMNS:
            raise unreadable(f"it has more than {_COLUMNS:,} columns")
        for row in reader:
            count += 1
            if len(row) >= width:
                yield dict(zip(names, row, strict=False))
            elif row:
                yield dict(zip(names, [*row, *[None] * (width - len(row))], strict=True))
    except csv.Error as error:
        long = "field limit" in str(error)
        why = f"has a value of more than {csv.field_size_limit():,} characters" if long else "is no CSV"
        raise unreadable(f"line {reader.line_num:,} {why}") from None


def _separator(text: str, separators: str) -> str:
    """That which the names and the rows below them agree on, in most columns; the first one where none makes two."""
    best, found = (0.0, 0), separators[0]
    for each in separators:
        reader = csv.reader(io.StringIO(text[:_SAMPLE], newline=""), delimiter=each)
        try:
            widths = [len(row) for row in islice(filter(None, reader), _ROWS)]
        except csv.Error:
            continue
        if len(text) > _SAMPLE and 1 < len(widths) < _ROWS:
            widths.pop()  # it is cut off
        if widths and widths[0] > 1:
            rating = (sum(width == widths[0] for width in widths) / len(widths), widths[0])
            best, found = max((best, found), (rating, each), key=lambda pair: pair[0])
    return found
