"""CSV and TSV, row by row (rulings: Sources).

Rows are parsed by the standard library, which takes no value longer than its limit, and that limit is one of the whole process,
of which others may need it as it is. So a row with such a value is parsed here: a hundred times slower, and there are few.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

from gnj.queue.values import clean_text
from gnj.reading.values import SHOWN
from gnj.transform.sources.items import Bad, unreadable
from gnj.transform.values import Record

SEPARATORS: Final = ",;\t|"
"""What is tried."""
_QUOTED: Final = re.compile(r'(?<![^,;\t|\r\n])"[^"]*+(?:""[^"]*+)*+"?+')
"""A value in quotes, whatever of `SEPARATORS` stands before it."""
_SAMPLE: Final = 64 * 1024
"""Characters of the beginning by which the separator is found."""
_ROWS: Final = 20
"""Rows of them at most."""
_COLUMNS: Final = 10_000


def rows(pieces: Iterator[str], *, separators: str = SEPARATORS, most: int) -> Iterator[Record | Bad]:
    """The rows below the first one that has something but blanks, which has the names; `Bad` for one that is too long.

    A row that is too short has None for the rest, of one that is too long the rest is lost, and blank ones are passed. Every value is a
    text.

    Args:
        pieces: The text.
        separators: What may stand between two values.
        most: Characters of one row.

    Raises `SourceFailed`, in place of the row that cannot be read.
    """
    first = next(pieces, "")
    table: Iterator[list[str] | Bad] = filter(
        None, _Table(chain([first], pieces), _separator(first, separators), most).rows()
    )
    none: list[str] = []
    head = next((row for row in table if isinstance(row, Bad) or any(map(str.strip, row))), none)
    if isinstance(head, Bad):
        raise unreadable(f"its first row, which has the names, is broken: {head.reason}")
    names = [name.strip() for name in head]
    width = len(names)
    if width > _COLUMNS:
        raise unreadable(f"it has more than {_COLUMNS:,} columns")
    for position, row in enumerate(table):
        if isinstance(row, Bad):
            yield replace(row, position=position)
        elif len(row) >= width:
            yield dict(zip(names, row, strict=False))
        else:
            yield dict(zip(names, [*row, *[None] * (width - len(row))], strict=True))


class _TooLong(Exception):
    """More than a row may have is at hand, and none of it ends one."""


class _Table:
    """The rows of a text.

    Args:
        pieces: The text.
        separator: What stands between two values.
        most: Characters of one row.
    """

    def __init__(self, pieces: Iterator[str], separator: str, most: int) -> None:
        self._pieces = pieces
        self._separator = separator
        self._most = most
        self._block = io.StringIO()
        """Whole lines that the parser reads, many at a time: so that none of them costs a step of Python."""
        self._begin = 0
        """Where in it the row begins that is being read."""
        self._before: list[str] = []
        """What earlier blocks have of that row."""
        self._size = 0
        """Characters of it."""
        self._rest = ""
        """What comes after the block; as a rule, how a line begins."""
        self._ended = False
        """Nothing comes after that."""
        apart = re.escape(separator)
        value = rf'(?:"[^"]*+(?:""[^"]*+)*+"|(?!"))[^{apart}\r\n]*+'
        self._values = re.compile(f"(?:{value}{apart})*+")
        self._end = re.compile(rf"{value}(?:\n|\r\n|\r(?!\Z))")
        self._open = re.compile(r'"[^"]*+(?:""[^"]*+)*+("?)\Z')
        self._value = re.compile(rf'(?:"([^"]*+(?:""[^"]*+)*+)(?:"|\Z)|(?!"))([^{apart}\r\n]*+)')

    def rows(self) -> Iterator[list[str] | Bad]:
        """Each row, none in it of one that is blank; `Bad` for what is none, whose position is nothing yet. Raises `SourceFailed`."""
        while True:
            reader = csv.reader(chain.from_iterable(self._blocks()), delimiter=self._separator)
            try:
                for row in reader:
                    here = self._block.tell()
                    bad = None
                    if self._size + here - self._begin > self._most:
                        bad = self._too_long(self._row())
                    elif self._ended and self._is_open(text := self._row()):
                        bad = _unclosed(text)
                    self._begin = here
                    if self._size:
                        self._before, self._size = [], 0
                    yield row if bad is None else bad
            except _TooLong:
                pass
            except csv.Error as error:
                if "field limit" not in str(error):
                    raise unreadable("it is no CSV") from None
            else:
                return
            yield self._long_row()

    def _row(self) -> str:
        """What is at hand of the row that is being read, and all that follows in the block."""
        return "".join([*self._before, self._block.getvalue()[self._begin :]])

    def _blocks(self) -> Iterator[io.StringIO]:
        """Whole lines; the last may lack its end. Raises `_TooLong`."""
        for piece in chain([""], self._pieces):
            text = self._rest + piece
            # a return at the very end may be the first half of an end of line
            end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
            self._block, self._rest = io.StringIO(text[:end], newline=""), text[end:]
            del text, piece
            yield self._block
            self._put_by()
            # quotes that nobody closes make one row of all that follows
            if max(self._size, len(self._rest)) > self._most:
                raise _TooLong
        self._block, self._rest, self._ended = io.StringIO(self._rest, newline=""), "", True
        yield self._block
        self._put_by()

    def _put_by(self) -> None:
        """Keeps no more of the block than the row that goes on behind it: there it takes four bytes for each character."""
        if begun := self._block.tell() - self._begin:
            self._before.append(self._block.getvalue()[self._begin :])
            self._size += begun
        self._block, self._begin = io.StringIO(), 0

    def _long_row(self) -> list[str] | Bad:
        """The row that is being read, whatever it has in it."""
        text, passed = self._row() + self._rest, 0
        bad = self._too_long(text)
        self._block, self._begin, self._before, self._size, self._rest = io.StringIO(), 0, [], 0, ""
        while (found := self._end.match(text, self._last(text))) is None:
            if passed + len(text) > self._most:
                kept = self._shortened(text)
                passed += len(text) - len(kept)
                text = kept
            piece = next(self._pieces, None)
            if piece is None:
                break
            text += piece
        end = len(text) if found is None else found.end()
        is_open = found is None and self._is_open(text)
        if passed + end <= self._most:
            self._rest = text[end:]
            return _unclosed(text) if is_open else self._split(text[:end])
        if is_open:
            raise unreadable(f"a row has more than {self._most:,} characters, and quotes that nothing closes")
        self._rest = text[end:]
        return bad

    def _too_long(self, text: str) -> Bad:
        return Bad(0, f"the row has more than {self._most:,} characters", _begins(text))

    def _is_open(self, text: str) -> bool:
        """Whether the last value of a row is in quotes that nothing has closed."""
        last = self._open.match(text, self._last(text))
        return last is not None and not last[1]

    def _last(self, text: str) -> int:
        """Where the last value begins of a row, or of what is at hand of it."""
        found = self._values.match(text)
        return 0 if found is None else found.end()

    def _shortened(self, text: str) -> str:
        """As much of a row as says how it goes on: whether a value has begun, and in quotes."""
        text = text[self._last(text) :]
        if (found := self._open.match(text)) is not None:
            return f'"{found[1]}'
        return text and ("x\r" if text.endswith("\r") else "x")

    def _split(self, text: str) -> list[str]:
        """The values of a row."""
        values, at = [], 0
        while (found := self._value.match(text, at)) is not None:
            values.append((found[1] or "").replace('""', '"') + found[2])
            at = found.end() + 1
            if text[at - 1 : at] != self._separator:
                break
        return values


def _unclosed(text: str) -> Bad:
    # it may have swallowed all rows from there on: as a record, with a text of many lines, nobody would notice
    return Bad(0, "a quote in it is closed by nothing, to the end of the file", _begins(text))


def _begins(text: str) -> str:
    return clean_text(text[:SHOWN])


def _separator(text: str, separators: str) -> str:
    """That which the line of names has, and most of the lines below it as often, outside of quotes.

    A comma comes last where several do: numbers and names have commas in them, few have any of the others. Of these it is the one that
    makes most columns, then the first. Where the names have none, it is one that the fewest lines have: there is one column.
    """
    lines = [line for line in re.split(r"[\r\n]+", _QUOTED.sub('""', text[:_SAMPLE])) if line.strip()][:_ROWS]
    if len(text) > _SAMPLE and 1 < len(lines) < _ROWS:
        lines.pop()  # it is cut off

    def rating(separator: str) -> tuple[int, int, int]:
        head, *others = [line.count(separator) for line in lines]
        if not head:
            return 0, -sum(map(bool, others)), 0
        return 1 + others.count(head), separator != ",", head

    return max(separators, key=rating) if lines else separators[0]
