"""Currencies by their codes in ISO 4217, from the data of Babel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from babel import Locale
from babel.numbers import get_currency_name, get_currency_symbol

from gnj.queue.values import shown
from gnj.transform.formats.faults import Fault

MAX_CURRENCY: Final = 100
"""Characters of a currency's name."""

_ABROAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "USD": "en_CA",
        "PLN": "pl",
        "CZK": "cs",
        "HUF": "hu",
        "RUB": "ru",
        "TRY": "tr",
        "THB": "th",
        "UAH": "uk",
    }
)
"""Currencies and a language that has another symbol for them than English has, which writes most by their code."""


def to_currency(text: str) -> str:
    """The three letters of a currency, from them in either case, its symbol (`$` is USD), or its English name."""
    code = _codes().get(text.casefold())
    if code is None:
        raise Fault(f"must be a currency, such as USD, $ or US Dollar, not {shown(text)}")
    return code


@cache
def _codes() -> Mapping[str, str]:
    """Codes by all that stands for them, in folded case; what stands for two currencies is left out."""
    english = Locale("en")
    codes = [str(code) for code in english.currencies if code != "XXX"]
    found: defaultdict[str, set[str]] = defaultdict(set)
    for code in codes:
        names = {get_currency_name(code, count, english) for count in (None, 1, 2)}
        for each in names | {get_currency_symbol(code, english)}:
            found[each.casefold()].add(code)
    for code, language in _ABROAD.items():
        found[get_currency_symbol(code, language).casefold()].add(code)
    only = {each: meant.pop() for each, meant in found.items() if len(meant) == 1}
    return MappingProxyType(only | {code.casefold(): code for code in codes})
