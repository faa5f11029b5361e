"""JSON files of any size, read value by value: an array, one object, or JSON Lines.

What is held at a time is one value and a piece of the file. The values are found by the parser of the standard library, which
says where one ends: so every value, in an array as in JSON Lines, is held to the same rules (`check_json`), and one that
breaks them does not end the file. Only JSON that is none does.

What a value takes in memory depends on how many it has in it, not on its length: 15 MB of empty lists are 0.8 GB, and a parser
that makes them lets no other thread run for seconds. So of a long value the end is looked for first, and what is in it counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, Final, NamedTuple

from gnj.queue.errors import InvalidInput
from gnj.queue.values import MAX_DEPTH, Json, check_json
from gnj.reading.pieces import PIECE, Broken, Text

__all__ = ["Broken", "Problem", "Read", "values"]

SLACK: Final = 3
"""How many times larger than `largest` a value may be as it stands in the file, with its blanks and escapes."""
MOST: Final = 100_000
"""Values that one may have in it, at any depth."""
AT_ONCE: Final = 128 * 1024
"""Characters that are parsed without having been looked at, and a piece besides."""
_ENDINGS: Final = (".jsonl", ".ndjson")
_OUTSIDE: Final = re.compile(r'["\[\]{}]')
# Possessive, all of them: what might be given back is remembered otherwise, 66 bytes for each escape of a text.
# As much as `_OUTSIDE` at once, inside of a value: a string, or containers that have neither strings nor others in them.
_SOONER: Final = re.compile(
    r'"(?>[^"\\]*+(?:\\.[^"\\]*+)*+")?+|(?:[\[{][^"\[\]{}]*+[\]}][^"\[\]{}]*+){1,1000}+|[\[\]{}]', re.DOTALL
)
# What each value but the first has before it. A string is taken as a whole, so that what is in it does not count.
_MARKS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|(,|[\[{](?![ \t\r\n]*+[\]}]))', re.DOTALL)
# To be matched where something of a string stands: all that is left of it, and the quote that ends it, or a backslash that ends
# the piece, or neither.
_INSIDE: Final = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+(["\\]?+)', re.DOTALL)
_AFTER_BARE: Final = re.compile(r"[,\]} \t\r\n]")
_LONGEST: Final = 16
"""Characters of the longest that can be cut in two and is then refused where it began, but for a string."""
_DIGITS: Final = 18
"""Of an integer that certainly has 64 bits, its sign among them."""
_WIDEST: Final = 5
"""Bytes of compact JSON for one character of a value as it is written, at most: "1e15" is written again as 1000000000000000.0."""
_CLOSED: Final = ("{", "[", '"')
"""How values begin that say themselves where they end."""
_CUT: Final = "the file ends before it does"
_LOOKED: Final = 256 * 1024
"""Characters of a line by which it is found out whether it is one of many."""
SHOWN: Final = 1_000
"""Characters of what is no record that are told."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no value at a position."""

    reason: str
    text: str = field(default="", compare=False)
    """How a line of JSON Lines begins that is none."""


class Read(NamedTuple):
    """A value of a file, or why there is none."""

    position: int
    """From 1: of the value in the array; in JSON Lines, of the line in the file."""
    value: Json | Problem
    end: int | None = None
    """In JSON Lines, the bytes of the file up to the next line."""


def values(
    stream: BinaryIO,
    *,
    key: str,
    largest: int,
    told: Callable[[int], None] = lambda _bytes: None,
    after: tuple[int, int] | None = None,
) -> Iterator[Read]:
    """The values of a file, in order, none of which is kept here.

    JSON Lines is what a key that ends in `.jsonl` or `.ndjson` says it is, and any file of which one of the first two lines is
    an object by itself.

    Args:
        stream: The file, from its beginning.
        key: Its key.
        largest: Bytes of the JSON of one value; a larger one is a `Problem`.
        told: Called from time to time with the number of bytes read.
        after: Of JSON Lines that were read before: the `end` and the position of the value after which to go on.

    Raises `Broken` while it iterates, with the position of the break: after the values before it.
    """
    text = Text(stream, told, 0 if after is None else after[0])
    reader = _Reader(text, largest)
    if after is not None:
        return reader.lines(*after)
    first = text.pass_blanks()
    if key.lower().endswith(_ENDINGS) or (first == "{" and reader.begins_with_lines()):
        return reader.lines(text.marked + text.place, text.newlines)  # each of the blanks before has one byte
    if first == "[":
        return reader.array()
    if first == "{":
        return reader.alone()
    raise Broken(
        "the file is empty" if not first else "the file is neither a JSON array, nor an object, nor JSON Lines"
    )


def records(stream: BinaryIO, *, lines: bool, largest: int) -> Iterator[Read]:
    """The values of an array, of the one array among the fields of an object, or of JSON Lines, as `values` gives them; none of nothing.

    Args:
        stream: The file, from its beginning.
        lines: Whether it is JSON Lines, whatever it begins with. It also is where its first line is an object by itself, or a
            broken one, and others follow.
        largest: Bytes of the JSON of one value; a larger one is a `Problem`.

    Raises `Broken` while it iterates: also for an object that has no array in it, or several, after the values of the first.
    """
    text = Text(stream, lambda _bytes: None)
    reader = _Reader(text, largest)
    first = text.pass_blanks()
    if not first:
        return iter(())
    if lines or (first == "{" and reader.goes_on_in_lines()):
        return reader.lines(text.marked + text.place, text.newlines)
    if first == "[":
        return reader.array()
    if first == "{":
        return reader.inside()
    raise Broken("it is neither a JSON array, nor an object, nor JSON Lines")


class _Reader:
    """Finds the values of a text."""

    def __init__(self, text: Text, largest: int) -> None:
        self._text = text
        self._largest = largest
        self._bound = largest * SLACK
        self._decoder = _decoder(self._note)
        self._noted = False
        """Whether a number was read since the last check that `check_json` may refuse."""

    def _note(self) -> None:
        self._noted = True

    def begins_with_lines(self) -> bool:
        """Whether one of the first two lines is an object by itself; one alone, in a file of one line, may as well be."""
        start = 0
        for _ in range(2):
            line, end = self._line_from(start)
            if line is None:
                return False
            if line.lstrip().startswith("{") and _is_whole(line):
                return True
            start = end
        return False

    def goes_on_in_lines(self) -> bool:
        """Whether the first line says where it ends, another follows, and one of the two is an object by itself."""
        line, end = self._line_from(0, _LOOKED)
        if line is None or _is_cut(line, 0):
            return False
        after, _ = self._line_from(end, _LOOKED)
        return after is not None and bool(after.strip(" \t\r\n")) and (_is_whole(line) or _is_whole(after))

    def array(self) -> Iterator[Read]:
        """The values of an array, which the text begins with."""
        yield from self._items()
        if self._text.pass_blanks():
            raise Broken(f"something follows the array, at character {self._text.place + 1:,} of the file")

    def inside(self) -> Iterator[Read]:
        """The values of the one array among the fields of an object, which the text begins with."""
        text, position, arrays = self._text, 0, 0
        text.at += 1
        mark = text.pass_blanks()
        while mark != "}" or position:
            position += 1
            if mark != '"':
                raise self._broken(position, "it is no field, which begins with its name")
            self._value(position)
            if text.pass_blanks() != ":":
                raise self._broken(position, "after the name of a field there is no colon")
            text.at += 1
            if text.pass_blanks() == "[":
                arrays += 1
                if arrays > 1:
                    raise Broken("the object has more than one array in it")
                yield from self._items()
            else:
                self._value(position)
            mark = text.pass_blanks()
            if mark == "}":
                break
            if mark != ",":
                raise self._broken(position, "after it there is neither a comma nor the end of the object")
            text.at += 1
            mark = text.pass_blanks()
        text.at += 1
        if text.pass_blanks():
            raise Broken(f"something follows the object, at character {text.place + 1:,} of the file")
        if not arrays:
            raise Broken("the object has no array in it")

    def _items(self) -> Iterator[Read]:
        """The values of the array that begins here, which is passed."""
        text, position = self._text, 0
        text.at += 1
        if text.pass_blanks() == "]":
            text.at += 1
        else:
            while True:
                position += 1
                yield Read(position, self._value(position))
                mark = text.pass_blanks()
                text.at += 1
                if mark == "]":
                    break
                if mark != ",":
                    raise self._broken(position, "after it there is neither a comma nor the end of the array")
                text.pass_blanks()

    def alone(self) -> Iterator[Read]:
        """The object that the text consists of."""
        yield Read(1, self._value(1))
        if self._text.pass_blanks():
            raise Broken(f"something follows the object, at character {self._text.place + 1:,} of the file")

    def lines(self, begin: int, before: int) -> Iterator[Read]:
        """The values of the lines that are not blank, behind `begin` bytes and `before` lines."""
        text, at, position = self._text, begin, before
        while text.rest or text.more():
            # all that are at hand at once: to find each by itself takes a tenth of the time of parsing it
            last = text.piece.rfind("\n", text.at)
            if last >= 0:
                block = text.piece[text.at : last]
                text.at = last + 1
                first = position + 1
                for position, each in enumerate(block.split("\n"), first):
                    at += (len(each) if each.isascii() else len(each.encode())) + 1
                    if len(each) > self._bound:
                        yield Read(position, self._too_large(), at)
                    elif stripped := each.strip(" \t\r\n"):
                        yield Read(position, self._of_line(stripped), at)
                continue
            position += 1
            line, end = self._line_from(0)
            if line is None:
                at += self._pass_line()
                yield Read(position, self._too_large(), at)
                continue
            at += len(text.piece[text.at : text.at + end].encode())
            text.at += end
            if stripped := line.strip(" \t\r\n"):
                yield Read(position, self._of_line(stripped), at)

    def _line_from(self, start: int, most: int | None = None) -> tuple[str | None, int]:
        """The line that begins `start` characters from here, and where the next one does; None for one beyond the bound."""
        most = self._bound if most is None else most
        text, searched = self._text, start
        while (end := text.piece.find("\n", text.at + searched)) < 0:
            searched = text.rest
            if searched - start > most:
                return None, start
            if not text.more():
                return text.piece[text.at + start :], text.rest
        return text.piece[text.at + start : end], end + 1 - text.at

    def _pass_line(self) -> int:
        """Goes to the next line; how many bytes it went."""
        text, passed = self._text, 0
        while (end := text.piece.find("\n", text.at)) < 0:
            passed += len(text.piece[text.at :].encode())
            text.at = len(text.piece)
            if not text.more():
                return passed
        passed += len(text.piece[text.at : end + 1].encode())
        text.at = end + 1
        return passed

    def _of_line(self, line: str) -> Json | Problem:
        if _has_many(line):
            return _too_many()
        try:
            value, end = self._decoder.raw_decode(line)
        except json.JSONDecodeError as error:
            return Problem(f"the line is no JSON: {error.msg} at character {error.pos + 1:,}", line[:SHOWN])
        except (RecursionError, ValueError):
            return Problem("the value is nested too deep, or has a number with too many digits")
        if end < len(line):
            return Problem(f"the line goes on after its JSON, at character {end + 1:,}", line[:SHOWN])
        return self._checked(value, line)

    def _value(self, position: int) -> Json | Problem:
        """The value that begins here."""
        text = self._text
        while True:
            # a number, or a word, at the end of the piece may go on
            bare = text.piece[text.at : text.at + 1] not in _CLOSED
            may_go_on = bare and text.rest <= self._bound and _AFTER_BARE.search(text.piece, text.at) is None
            if may_go_on and text.more():
                continue
            if not bare and text.rest > PIECE + AT_ONCE:  # where it was read on to find out what the file is
                return self._long_value(position)
            try:
                value, end = self._decoder.raw_decode(text.piece, text.at)
            except json.JSONDecodeError as error:
                why = f"{error.msg}, {error.pos - text.at:,} characters into it"
                if _is_wrong(error):
                    raise self._broken(position, why) from None
                if text.rest > min(AT_ONCE, self._bound):
                    return self._long_value(position)
                if text.more():
                    continue
                cut = not text.rest or _is_cut(text.piece, text.at)
                raise self._broken(position, _CUT if cut else why) from None
            except (RecursionError, ValueError):
                self._pass_value(position)
                return Problem("the value is nested too deep, or has a number with too many digits")
            written, text.at = text.piece[text.at : end], end
            return _too_many() if _has_many(written) else self._checked(value, written)

    def _long_value(self, position: int) -> Json | Problem:
        """The value that begins here, and goes on behind what is at hand: unless it is too large, it is parsed, once."""
        kept: list[str] = []
        size = 0
        for part in self._passed(position):
            if size <= self._bound:
                kept.append(part)
            size += len(part)
        if size > self._bound:
            return self._too_large()
        written = "".join(kept)
        if _has_many(written):
            return _too_many()
        try:
            value, end = self._decoder.raw_decode(written)
        except json.JSONDecodeError as error:
            raise self._broken(position, f"{error.msg}, {error.pos:,} characters into it") from None
        except (RecursionError, ValueError):
            return Problem("the value is nested too deep, or has a number with too many digits")
        if end < size:
            raise self._broken(position, f"after {end:,} characters of it there is a bracket too many")
        return self._checked(value, written)

    def _pass_value(self, position: int) -> None:
        for _ in self._passed(position):
            pass

    def _passed(self, position: int) -> Iterator[str]:
        """Goes behind the value that begins here, whatever is in it; gives it piece by piece."""
        text, depth, inside = self._text, 0, False
        start = text.at
        bare = text.piece[start] not in _CLOSED
        while True:
            pattern = _AFTER_BARE if bare else _SOONER if depth else _OUTSIDE
            match = _rest_of_string(text.piece, text.at) if inside else pattern.search(text.piece, text.at)
            if match is not None and not bare:
                text.at = match.end()
                if not inside and text.at - match.start() > 1:
                    continue
                mark = text.piece[text.at - 1]
                if mark == '"':
                    inside = not inside
                elif mark == "\\":
                    while not text.rest:
                        yield text.piece[start:]
                        if not text.more():
                            raise self._broken(position, _CUT)
                        start = text.at
                    text.at += 1
                else:
                    depth += 1 if mark in "[{" else -1
                over = depth == 0 and not inside
            else:
                text.at = len(text.piece) if match is None else match.start()
                over = match is not None
            if over or match is None:
                yield text.piece[start : text.at]
            if over:
                return
            if match is None:
                if not text.more():
                    raise self._broken(position, _CUT)
                start = text.at

    def _checked(self, value: Json, written: str) -> Json | Problem:
        noted, self._noted = self._noted, False
        if not noted and len(written) * _WIDEST <= self._largest and _is_plain(written):
            return value
        try:
            return check_json(value, "the value", maximum=self._largest)
        except InvalidInput as error:
            return Problem(str(error))

    def _too_large(self) -> Problem:
        return Problem(f"the value must have at most {self._largest:,} bytes as JSON")

    def _broken(self, position: int, why: str) -> Broken:
        return Broken(f"the file breaks off at value {position:,}: {why}")


def _rest_of_string(piece: str, at: int) -> re.Match[str] | None:
    """What is left of the string that is open there, with what ends it; None if it goes on behind the piece."""
    match = _INSIDE.match(piece, at)
    return match if match is not None and match[1] else None


def _has_many(written: str) -> bool:
    """Whether a JSON text has more than `MOST` values in it; without making them."""
    if len(written) <= MOST or sum(map(written.count, ",[{")) < MOST:
        return False
    marks = (match for match in _MARKS.finditer(written) if match[1])
    return next(islice(marks, MOST - 1, None), None) is not None


def _too_many() -> Problem:
    return Problem(f"the value must have at most {MOST:,} values in it")


def _is_plain(written: str) -> bool:
    """Whether the text of a value shows that `check_json` would let it pass but for its numbers: in a tenth of the time."""
    # most have no escapes, and one character is found sooner than two
    has_codes = "\\" in written and "\\u" in written
    return not has_codes and written.count("[") + written.count("{") <= MAX_DEPTH


def _decoder(note: Callable[[], None]) -> json.JSONDecoder:
    """A decoder that calls `note` at each number that is none, is not finite, or may have more than 64 bits.

    A search of the text for those took two thirds of the time of parsing it.
    """

    def whole(text: str) -> int:
        if len(text) > _DIGITS:
            note()
        return int(text)

    def real(text: str) -> float:
        value = float(text)
        if value - value:  # what is not finite leaves no zero
            note()
        return value

    def constant(text: str) -> float:
        note()
        return float(text)

    return json.JSONDecoder(parse_int=whole, parse_float=real, parse_constant=constant)


def _is_whole(line: str) -> bool:
    """Whether a line is one JSON value."""
    line = line.strip(" \t\r\n")
    try:
        return not _has_many(line) and json.JSONDecoder().raw_decode(line)[1] == len(line)
    except (RecursionError, ValueError):
        return False


def _is_wrong(error: json.JSONDecodeError) -> bool:
    """Whether it stays wrong whatever follows: it is not where the text ends, of which a part may be missing."""
    return error.pos < len(error.doc) - _LONGEST and not error.msg.startswith("Unterminated string")


def _is_cut(piece: str, start: int) -> bool:
    """Whether what begins there, to the end of the text, has brackets or a string that are still open."""
    depth, inside, at = 0, False, start
    while (match := _rest_of_string(piece, at) if inside else _OUTSIDE.search(piece, at)) is not None:
        at = match.end()
        mark = piece[at - 1]
        if mark == '"':
            inside = not inside
        elif mark == "\\":  # the last character
            return True
        else:
            depth += 1 if mark in "[{" else -1
            if depth <= 0:
                return False
    return True
