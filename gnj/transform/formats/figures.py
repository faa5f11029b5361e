"""Numbers: out of texts, rounded, and within what JSON and the databases can keep."""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from gnj.queue.values import MAX_INT64, shown
from gnj.transform.formats.faults import Fault

MIN_INT64: Final = -MAX_INT64 - 1
MAX_NUMBER: Final = 100
"""Characters of a number in a text."""

_NUMBER: Final = re.compile(r"[+-]?(?=\.?\d)(?:\d{1,3}(?:,\d{3})+|\d*)(?:\.\d*)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_CENT: Final = Decimal("0.01")


def plain(text: str) -> str:
    """A number as Python reads it: `-1,234.50` without its commas; `ValueError` for what is no number.

    Taken are a sign, digits, commas between thousands, one decimal point, and an exponent.
    """
    if len(text) > MAX_NUMBER or _NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    return text.replace(",", "")


def to_number(text: str) -> int | float:
    """The number that a text is, blanks around it aside: an int if it has neither point nor exponent.

    Raises `Fault` for other texts, and for numbers that `checked` refuses.
    """
    # In a feed of CSV all numbers are texts, and the pattern takes four times as long as this. 18 digits have 60 bits.
    whole, point, rest = text.partition(".")
    if len(text) <= 18 and text.isascii() and whole.isdecimal():
        if not point:
            return int(text)
        if rest.isdecimal():
            return float(text)
    try:
        figure = plain(text.strip())
    except ValueError:
        raise Fault(f"must be a number, not {shown(text)}") from None
    return checked(int(figure) if figure.lstrip("+-").isdecimal() else float(figure))


def checked(number: float) -> int | float:
    """`number`, if it is a finite float or an int of 64 bits; else `Fault`."""
    if isinstance(number, int):
        if not MIN_INT64 <= number <= MAX_INT64:
            raise Fault(f"must be a number from {MIN_INT64} to {MAX_INT64}, not {shown(number)}")
    elif not math.isfinite(number):
        raise Fault(f"must be a number that is finite, not {shown(number)}")
    return number


def rounded_down(number: float) -> int:
    """The next whole number that is not greater."""
    return checked(math.floor(number))  # type: ignore[return-value]


def two_decimals(number: float) -> int | float:
    """`number` rounded to two decimals, half a cent away from zero; decimal digits count, so 2.675 gives 2.68."""
    # `round` goes by binary digits, and is right where nothing is left to round. Beyond 2**52 floats have no decimals.
    if round(number, 2) == number:
        return number + 0
    # What is rounded to nothing has no sign: -0.0 + 0.0 is 0.0.
    return float(Decimal(repr(number)).quantize(_CENT, ROUND_HALF_UP)) + 0.0


def positive(number: float) -> int | float:
    """`number`, if it is above 0; else `Fault`."""
    if number > 0:
        return number
    raise Fault(f"must be above 0, not {shown(number)}")
