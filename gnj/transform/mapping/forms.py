"""Values as texts and as numbers: what toString and toNumber give, and what others compare and count with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from gnj.queue.values import MAX_INT64, dump_json
from gnj.transform.errors import RecordRejected
from gnj.transform.values import Value
from gnj.transform.writing import scalar_text

MAX_LENGTH: Final = 10_000_000
"""Characters of a text that a function makes."""

_MAX_NUMBER: Final = 400
"""Characters of a number: the largest has 309 digits."""
_NUMBER: Final = re.compile(
    r"[-+]?(?:(?:[0-9]++|[0-9]{1,3}(?:,[0-9]{3})++)(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?",
)


def text_of(value: Value) -> str | None:
    """The text form: of lists and objects their JSON, 5 for 5.0; None for null and what has none (NaN, infinity)."""
    if type(value) is str:
        return value
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        if isinstance(value, (int, float)):
            return scalar_text(value)
        text = str(value) if isinstance(value, str) else dump_json(_plain(value))
    except (ValueError, TypeError, RecursionError):
        # an integer of more than 4,300 digits, a list that holds NaN, or is nested a thousand times
        return None
    return limited(text)


def simple_text_of(value: Value) -> str | None:
    """The text form of a text, a number or a boolean; None for anything else."""
    if type(value) is str:
        return value
    return text_of(value) if isinstance(value, (str, int, float)) else None


def number_of(value: Value) -> int | float | None:
    """The number that a value is, or that a text says: with one decimal point, commas between thousands, or an exponent.

    Integers beyond 64 bits become floats. None for anything else: booleans, NaN and infinity too.
    """
    if type(value) is str:
        return _number_in(value)
    if type(value) is float:
        return value if math.isfinite(value) else None
    return value if type(value) is int else None


def _number_in(text: str) -> int | float | None:
    if len(text) > _MAX_NUMBER:
        return None
    try:
        # What float reads is a number here too, but for NaN, infinity, underscores, and digits of other scripts.
        # A comma is looked for first: to raise and catch takes longer than all the rest.
        number = float(text) if "," not in text and text.isascii() and "_" not in text else None
    except ValueError:
        number = None
    if number is None:
        bare = number_text(text)
        if bare is None:
            return None
        text, number = bare, float(bare)
    if number.is_integer() and (digits := text.strip()).lstrip("-+").isdigit():
        whole = int(digits)
        return whole if -MAX_INT64 - 1 <= whole <= MAX_INT64 else number
    return number if math.isfinite(number) else None


def number_text(text: str) -> str | None:
    """The number that a text says, as `float` and `Decimal` read it."""
    if len(text) > _MAX_NUMBER:
        return None
    text = text.strip()
    return text.replace(",", "") if _NUMBER.fullmatch(text) else None


def limited(text: str) -> str:
    """The text, unless it is longer than a function may make it."""
    if len(text) > MAX_LENGTH:
        raise too_long()
    return text


def too_long() -> RecordRejected:
    """What rejects a record whose texts grow without bound."""
    return RecordRejected([f"a function made a text of more than {MAX_LENGTH:,} characters"])


def _plain(value: Value) -> Value:
    """The value with lists and dicts for whatever a source may have that is like one."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
