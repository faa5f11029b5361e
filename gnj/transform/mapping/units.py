"""Units of measurement: how a number in one is reckoned in another.

The units are those of pint. It is asked once for each call in a mapping; a number is then a multiplication and a sum.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown

if TYPE_CHECKING:
    from pint import UnitRegistry

MAX_UNIT: Final = 100
"""Characters of a unit."""

# pint would also reckon 9**9**9: a unit has names, and powers of one digit.
_NAME: Final = r"(?:[^\W\d]\w*|°[CF])(?:\s?(?:\*\*|\^)\s?-?[0-9])?"
_UNIT: Final = re.compile(rf"{_NAME}(?:(?:\s?[*/]\s?|\s){_NAME})*|%")
_CENT: Final = Decimal("0.01")
# Factors such as 1/2.54 have 28 digits: what would be a half without that is to be one.
_FINE: Final = Decimal("1e-12")
# The largest float has 309 digits, and a factor some dozens; nothing is raised, what cannot be reckoned is NaN.
_EXACT: Final = Context(prec=450, traps=[], rounding=ROUND_HALF_UP)


@cache
def _registry() -> UnitRegistry[Any]:
    from pint import UnitRegistry  # noqa: PLC0415 - 0.1 s, and half a second for its units: only those pay who convert

    return UnitRegistry(non_int_type=Decimal)


class Conversion:
    """From one unit to another, rounded to two decimals, halves away from zero.

    Raises `InvalidInput` for what is no unit, for units that measure different things, and for those on a logarithmic scale.
    """

    __slots__ = ("factor", "offset")

    def __init__(self, source: str, target: str) -> None:
        first, second = _unit(source), _unit(target)
        from pint import DimensionalityError  # noqa: PLC0415 - as above

        try:
            offset, one = (_registry().convert(Decimal(x), first, second) for x in (0, 1))
        except DimensionalityError:
            message = f"there is no way from {shown(source)} to {shown(target)}: they measure different things"
            raise InvalidInput(message) from None
        except Exception:  # noqa: BLE001 - logarithms, and powers beyond all numbers, end in errors of several kinds
            raise InvalidInput(f"{shown(source)} and {shown(target)} are not a factor apart") from None
        self.factor = one - offset
        self.offset = offset

    def __call__(self, number: float | str) -> Decimal | None:
        """The number in the other unit; None where it is none, or too large."""
        result = _EXACT.fma(_EXACT.create_decimal(number), self.factor, self.offset)
        result = _EXACT.quantize(_EXACT.quantize(result, _FINE), _CENT)
        return result if result.is_finite() else None


def _unit(text: str) -> Any:
    if len(text) > MAX_UNIT or not _UNIT.fullmatch(text):
        raise InvalidInput(f'{shown(text)} is not written as a unit is, such as "cm", "degC", "km/h" or "m^2"')
    try:
        return _registry().parse_units(text)
    except Exception:  # noqa: BLE001 - an unknown name is an AttributeError to pint, and its tokenizer has errors of its own
        raise InvalidInput(f"there is no unit {shown(text)} (case matters)") from None
