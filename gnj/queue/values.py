"""What may be stored: checks for texts, JSON values, numbers and times, alike on every storage.

PostgreSQL refuses NUL where others cut the text short, a lone surrogate can be stored but never sent, NaN is no JSON:
one such row would poison every later list. So all of it is refused here, before a storage sees it (security.md, 3).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeAlias

from gnj.queue.clock import milliseconds
from gnj.queue.errors import InvalidInput, InvalidText

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, a list of JSON values, or a dict from str to JSON values."""

MAX_DEPTH = 64
MAX_JSON_BYTES = 4 * 1024 * 1024
MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1
MAX_NAME = 500
MAX_WORD = 200
MAX_TEXT = 10_000

_FEW = 16
_SHORT = 250
_SMALL = _FEW * (2 * (6 * _SHORT + 2) + 2) + 2
"""Bytes of JSON that `_FEW` keys and values of `_SHORT` characters have at most."""

# A string is taken whole so that brackets inside it do not count; no alternative can fail after it began: linear time.
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


def shown(value: object, limit: int = 60) -> str:
    """`value` for an error message: its repr, cut to `limit` characters."""
    try:
        text = (
            repr(value) if not isinstance(value, (list, tuple, dict, set)) or len(value) < 50 else type(value).__name__
        )
    except Exception:  # noqa: BLE001 - Python writes no integer of 5,000 digits, and a caller's own repr may do anything
        text = type(value).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def check_text(value: object, what: str, *, maximum: int = MAX_TEXT, empty: bool = True) -> str:
    """`value` if it is a str of at most `maximum` characters without NUL or lone surrogates.

    Raises `InvalidInput` or `InvalidText`, naming `what`.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a string, not {shown(value)}")
    if not empty and not value:
        raise InvalidInput(f"{what} must not be empty")
    if len(value) > maximum:
        raise InvalidInput(f"{what} must have at most {maximum:,} characters, not {len(value):,}")
    _refuse_characters(value, what)
    return value


def check_word(value: object, what: str) -> str:
    """`value` if it can name a type or a worker: 1 to 200 characters, no control characters (security.md, 3)."""
    if type(value) is str and 0 < len(value) <= MAX_WORD and value.isascii() and value.isprintable():
        return value
    text = check_text(value, what, maximum=MAX_WORD, empty=False)
    if not text.isprintable() and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
        raise InvalidText(f"{what} must not hold control characters")
    return text


def check_int(value: object, what: str, *, low: int = -MAX_INT64 - 1, high: int = MAX_INT64) -> int:
    """`value` if it is an int (no bool) from `low` to `high`; else `InvalidInput`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{what} must be an integer, not {shown(value)}")
    if not low <= value <= high:
        raise InvalidInput(f"{what} must be from {low:,} to {high:,}, not {shown(value)}")
    return value


def check_bool(value: object, what: str) -> bool:
    """`value` if it is True or False; else `InvalidInput`."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} must be true or false, not {shown(value)}")
    return value


def check_seconds(value: object, what: str, *, low: float = 0.0, high: float = 10 * 366 * 86400.0) -> float:
    """A duration in seconds from a number or a timedelta, from `low` to `high`; else `InvalidInput`."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:  # noqa: PLR0124 - NaN
        raise InvalidInput(f"{what} must be a number of seconds, not {shown(value)}")
    if not low <= value <= high:
        raise InvalidInput(f"{what} must be from {low:,.10g} to {high:,.10g} seconds, not {shown(value)}")
    return float(value)


def check_time(value: object, what: str) -> datetime:
    """An aware datetime as UTC in whole milliseconds; a naive one, or a year outside 1970 to 9999, is refused."""
    if not isinstance(value, datetime):
        raise InvalidInput(f"{what} must be a date and time, not {shown(value)}")
    if value.utcoffset() is None:
        raise InvalidInput(f"{what} must be an aware datetime (with a time zone), not {shown(value)}")
    try:
        moment = milliseconds(value)
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)
    if moment.year < 1970:
        raise InvalidInput(f"{what} must lie between the years 1970 and 9999")
    return moment


def check_json(value: object, what: str, *, maximum: int = MAX_JSON_BYTES) -> Json:
    """A deep copy of `value` with tuples as lists, if it is JSON a storage can keep: at most 64 levels and `maximum`
    bytes, str keys, finite numbers, integers of 64 bits, no NUL and no lone surrogate.

    Raises `InvalidInput` or `InvalidText`, naming `what`.
    """
    if type(value) is dict and maximum >= _SMALL and (simple := _small(value) or _flat(value, maximum)) is not None:
        return simple
    copy = _copy(value, what, MAX_DEPTH)
    if not isinstance(copy, (bool, int, float, type(None))):
        size = len(dump_json(copy).encode())
        if size > maximum:
            raise InvalidInput(f"{what} must have at most {maximum:,} bytes as JSON, not {size:,}")
    return copy


def check_jsons(values: Collection[object], what: str) -> list[Json]:
    """`check_json` of each: for dicts with a few short, simple values, which most are, in a fifth of the time."""
    small = _smalls(values) if set(map(type, values)) == {dict} else None
    return [check_json(value, what) for value in values] if small is None else small


def parse_json(text: str | bytes, what: str, *, checked: bool = True) -> Json:
    """The value of a JSON text, under the rules of `check_json` but for its size; where it is not `checked` it may hold numbers
    that are not finite and characters that no storage takes, and each of its parts is to be checked by itself.

    The depth is measured before parsing: the standard parser recurses and dies of deep nesting.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{what} must be UTF-8") from None
    if _nesting(text) > MAX_DEPTH:
        raise InvalidInput(f"{what} must not be nested deeper than {MAX_DEPTH} levels")
    try:
        value = _STRICT.decode(text)
    except InvalidInput as error:
        raise InvalidInput(f"{what}: {error}") from None
    except ValueError as error:
        raise InvalidInput(f"{what} must be JSON: {str(error)[:200]}") from None
    return _copy(value, what, MAX_DEPTH) if checked else value


class Unreadable(str):
    """What is stored where JSON should be, and is none: somebody wrote to the database by hand.

    It reads as a text, so that people see it; a job that has one is failed instead of handed out (P9).
    """

    __slots__ = ()


def load_json(text: str) -> Json:
    """The value of a stored JSON text; `Unreadable` where it is none."""
    value: Json
    try:
        try:
            value, end = _SCAN(text, 0)
        except StopIteration:
            end = -1
        if end != len(text):  # somebody put white space around it: to look for that took half the time
            value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return Unreadable(text)
    return value


def dump_json(value: Json) -> str:
    """The compact JSON text of a checked value, as storages write it."""
    return "".join(_CHUNKS(value, 0))


def same_json(one: Json, other: Json) -> bool:
    """Whether two JSON values are the same: true is not 1, the order of keys does not count."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def clean_text(text: str, maximum: int = MAX_TEXT) -> str:
    """`text` made storable: what `check_text` refuses is replaced, what is too long is cut in the middle."""
    text = text.replace("\0", "\ufffd").encode(errors="replace").decode()
    if len(text) <= maximum:
        return text
    half = (maximum - 5) // 2
    return f"{text[:half]}\n…\n{text[-half:]}"


def _refuse_characters(text: str, what: str) -> None:
    if text.isascii():
        if "\0" in text:
            raise InvalidText(f"{what} must not hold a NUL character")
        return
    if "\0" in text:
        raise InvalidText(f"{what} must not hold a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidText(f"{what} must not hold a surrogate without its other half") from None


def _small(value: dict[Any, Any]) -> dict[str, Json] | None:
    """A copy of a dict with a few short, simple values, as most inputs are, in a quarter of the time; None of any other.

    It cannot be too large: no character takes more than six bytes as JSON.
    """
    if len(value) > _FEW:
        return None
    copy = value.copy()  # and then looked at: another thread may be changing the original
    for key, item in copy.items():
        if type(key) is not str or len(key) > _SHORT or not key.isascii() or "\0" in key:
            return None
        kind = type(item)
        if kind is str:
            if len(item) > _SHORT or not item.isascii() or "\0" in item:
                return None
        elif kind is int:
            if not -MAX_INT64 - 1 <= item <= MAX_INT64:
                return None
        elif kind is float:
            if not math.isfinite(item):
                return None
        elif item is not None and kind is not bool:
            return None
    return copy


def _flat(value: dict[Any, Any], maximum: int) -> dict[str, Json] | None:
    """A copy of a dict of any number of simple values, of which it is sure that it is not too large, in a quarter of the time; None of
    any other.
    """
    copy = value.copy()
    items = list(copy.values())
    if set(map(type, copy)) != {str} or not set(map(type, items)) <= _PLAIN:
        return None
    text = "".join([*copy, *[item for item in items if type(item) is str]])
    # no character takes more than six bytes as JSON, and no number with what stands around it more than 32
    if 6 * len(text) + 32 * len(items) + 2 > maximum or "\0" in text:
        return None
    for item in items:
        if type(item) is int and not -MAX_INT64 - 1 <= item <= MAX_INT64:
            return None
        if type(item) is float and item - item:  # what is not finite leaves no zero
            return None
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return None
    return copy


def _smalls(values: Any) -> list[Json] | None:
    """`_small` of each; None unless all of them are."""
    copies: list[dict[Any, Any]] = list(map(dict.copy, values))  # and then looked at, as there
    keys: set[Any] = set().union(*copies)
    items = list(chain.from_iterable(map(dict.values, copies)))
    kinds = set(map(type, items))
    # each key: of equal ones, such as a str and an Enum, the union has the first
    if not (set(map(type, chain.from_iterable(copies))) <= {str} and kinds <= _PLAIN and max(map(len, copies)) <= _FEW):
        return None
    texts = [*keys, *(item for item in items if type(item) is str)] if str in kinds else list(keys)
    if max(map(len, texts), default=0) > _SHORT or not (joined := "".join(texts)).isascii() or "\0" in joined:
        return None
    integers = items if kinds == {int} else [item for item in items if type(item) is int]
    if integers and not -MAX_INT64 - 1 <= min(integers) <= max(integers) <= MAX_INT64:
        return None
    if float in kinds and not all(math.isfinite(item) for item in items if type(item) is float):
        return None
    return copies


def _copy(value: object, what: str, depth: int) -> Json:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        _refuse_characters(value, what)
        return str(value)
    if isinstance(value, int):
        if not -MAX_INT64 - 1 <= value <= MAX_INT64:
            raise InvalidInput(f"{what} must not hold integers beyond 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"{what} must not hold NaN or infinite numbers")
        return float(value)
    if depth == 0:
        raise InvalidInput(f"{what} must not be nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidInput(f"{what} must have strings as keys, not {shown(key)}")
            _refuse_characters(key, f"a key of {what}")
            result[str(key)] = _copy(item, what, depth - 1)
        return result
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_copy(item, what, depth - 1) for item in value]
    raise InvalidInput(f"{what} must be JSON, without values of the type {type(value).__name__}")


def _nesting(text: str) -> int:
    """The deepest nesting of a JSON text, without recursion; at most MAX_DEPTH + 1."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for token in _BRACKETS.finditer(text):
        mark = token[0]
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif mark in "]}":
            depth -= 1
    return deepest


def _no_constant(name: str) -> Json:
    raise InvalidInput(f"{name} is not JSON")


# json.loads makes a decoder in each call that has a parse_constant: 3 µs
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_SCAN: Any = vars(_DECODER)["scan_once"]


def _parse_int(digits: str) -> int:
    # int() of a long digit string is quadratic, and Python refuses it beyond 4,300 digits with a text of its own
    if len(digits) > 20 or not -MAX_INT64 - 1 <= int(digits) <= MAX_INT64:
        raise InvalidInput("integers beyond 64 bits are refused")
    return int(digits)


_STRICT = json.JSONDecoder(parse_constant=_no_constant, parse_int=_parse_int)
_PLAIN = frozenset({str, int, float, bool, type(None)})

# json.dumps makes an encoder in each call that has options, and an encoder another one, in C, in each call: 2 and 1 µs
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_MAKE: Any = getattr(json.encoder, "c_make_encoder", None)
_OPTIONS = (None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
_CHUNKS: Any = _ENCODER.iterencode if _MAKE is None else _MAKE(*_OPTIONS)
