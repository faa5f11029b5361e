"""What kinds of values a field has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Final

from gnj.transform.generating.words import plain, storable
from gnj.transform.values import Value
from gnj.transform.writing import scalar_text

_LOOKED_AT: Final = 1_000
"""Characters of a text; what follows says no more of its kind."""
_MOST_VALUES: Final = 30
"""Values of a field that are looked at."""
_LONGEST_MATCHED: Final = 300
"""Characters of a text that may be a number, a date or a URL: longer ones are none."""
LONGEST_CHOICE: Final = 100
"""Characters of a value that may be one of several choices."""
_EXACT: Final = 2**53
ALL: Final = 0.85
"""Feeds have a placeholder here and there."""


class Kind(StrEnum):
    """A kind of values. A value may be of several."""

    NUMBER = auto()
    BOOLEAN = auto()
    TEXT = auto()
    LIST = auto()
    """A list of what is no object; it is of the kinds of its first element too."""
    OBJECTS = auto()
    """A list of objects."""
    NUMERIC = auto()
    """A text that is a number: 12.50, 1,299.00."""
    COMMA = auto()
    """A text that is a number with a decimal comma: 12,50."""
    COMMA_POINTS = auto()
    """The same with points for thousands: 1.299,00."""
    MONEY = auto()
    """A number with a currency: 12.50 USD, £525,000, 1 299.00 EUR."""
    MONEY_COMMA = auto()
    """The same with a decimal comma: 12,50 EUR."""
    CODED = auto()
    """What has the code of its currency: 12.50 USD."""
    TRUTH = auto()
    """What `toBoolean` knows: true, yes, 1."""
    YES_NO = auto()
    """Other words for yes and no: Y, ja, non."""
    URL = auto()
    IMAGE = auto()
    """The URL of an image."""
    EMAIL = auto()
    DATE = auto()
    PHONE = auto()
    CURRENCY = auto()
    """The code of a currency."""
    HTML = auto()
    GTIN = auto()
    """The digits of a barcode."""
    LONG = auto()
    """A text of sentences."""


_CODES: Final = "AUD|BGN|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD|PHP|PLN|RON|SEK|SGD|THB|TRY|TWD|UAH|USD|ZAR"
_POINT: Final = r"(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?"
_DECIMAL_COMMA: Final = r"\d+,\d{1,2}"
_THOUSAND_POINTS: Final = r"\d{1,3}(?:\.\d{3})+(?:,\d{1,2})?"
_UNIT: Final = rf"(?:{_CODES}|[$€£¥])"
_MONTH: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"


def _money(number: str, thousands: str) -> str:
    number = rf"-?(?:{number}|{thousands})"
    return rf"{_UNIT}\s?{number}|{number}\s?{_UNIT}"


_TEXTS: Final[Mapping[Kind, re.Pattern[str]]] = {
    Kind.NUMERIC: re.compile(rf"-?{_POINT}"),
    Kind.COMMA: re.compile(rf"-?{_DECIMAL_COMMA}"),
    Kind.COMMA_POINTS: re.compile(rf"-?{_THOUSAND_POINTS}"),
    Kind.MONEY: re.compile(_money(_POINT, r"\d{1,3}(?:\s\d{3})+(?:\.\d+)?")),
    Kind.MONEY_COMMA: re.compile(_money(rf"{_DECIMAL_COMMA}|{_THOUSAND_POINTS}", r"\d{1,3}(?:\s\d{3})+,\d{1,2}")),
    Kind.CODED: re.compile(rf"(?:{_CODES})\s?-?\d[\d.,\s]*|-?\d[\d.,\s]*(?:{_CODES})"),
    Kind.TRUTH: re.compile(r"true|false|yes|no|1|0", re.IGNORECASE),
    Kind.YES_NO: re.compile(r"y|n|t|f|ja|nein|oui|non|on|off|vrai|faux|wahr|falsch", re.IGNORECASE),
    Kind.URL: re.compile(r"(?:https?://|//|www\.)[^\s<>\"]+", re.IGNORECASE),
    Kind.IMAGE: re.compile(
        r"(?:https?:)?//[^\s<>\"?]+\.(?:jpe?g|png|gif|webp|avif|svg|bmp|tiff?)(?:\?\S*)?"
        r"|(?:https?:)?//[^\s<>\"]*(?:image|img|photo|picture|media\.)[^\s<>\"]*",
        re.IGNORECASE,
    ),
    Kind.EMAIL: re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>.]+"),
    Kind.DATE: re.compile(
        r"\d{4}-\d\d?-\d\d?(?:[T ].{4,24})?|\d{4}/\d\d?/\d\d?|\d\d?[./-]\d\d?[./-]\d{2,4}(?: \d\d?:\d\d.{0,12})?|\d{8}T\d{6}Z?"
        rf"|(?:[a-z]{{3,9}},? )?\d\d? {_MONTH},? \d{{4}}.{{0,22}}|{_MONTH} \d\d?(?:st|nd|rd|th)?,? \d{{4}}.{{0,22}}",
        re.IGNORECASE,
    ),
    Kind.PHONE: re.compile(r"(?=(?:\D*\d){7,15}\D*$)(?:\+|\(?0|\(?\d{2,4}\)?[ -/])[\d ()./-]+"),
    Kind.CURRENCY: re.compile(_CODES),
    Kind.GTIN: re.compile(r"\d{8}|\d{12,14}"),
}
_TAG: Final = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")


def kinds_of(value: Value) -> frozenset[Kind]:
    """The kinds of one value; none for null, "", empty lists and objects."""
    if isinstance(value, bool):
        return frozenset({Kind.BOOLEAN})
    if isinstance(value, int | float):
        return frozenset({Kind.NUMBER})
    if isinstance(value, str):
        return _kinds_of_text(value[:_LOOKED_AT].strip())
    if isinstance(value, Mapping) or not value:
        return frozenset()
    if isinstance(value[0], Mapping):
        return frozenset({Kind.OBJECTS})
    return frozenset({Kind.LIST}) | (frozenset() if isinstance(value[0], list) else kinds_of(value[0]))


def _kinds_of_text(text: str) -> frozenset[Kind]:
    if not text:
        return frozenset()
    found = {Kind.TEXT}
    if len(text) <= _LONGEST_MATCHED:
        found.update(kind for kind, pattern in _TEXTS.items() if pattern.fullmatch(text))
    if _TAG.search(text):
        found.add(Kind.HTML)
    if len(text) >= 30 and len(text.split(None, 4)) == 5:
        found.add(Kind.LONG)
    return frozenset(found)


@dataclass(slots=True)
class Profile:
    """What the samples have in one field."""

    seen: int = 0
    """How many values there are."""
    kinds: Counter[frozenset[Kind]] = field(default_factory=Counter)
    """Of those that were looked at."""
    texts: dict[str, str] = field(default_factory=dict)
    """Different short values as texts, in the order in which they came, with how they are `written_alike`."""

    def add(self, value: Value) -> None:
        """Take in one value more."""
        if value is None or value in ("", []):
            return
        self.seen += 1
        if self.seen <= _MOST_VALUES:
            if kinds := kinds_of(value):
                self.kinds[kinds] += 1
            if (text := _text_of(value)) is not None and 0 < len(text) <= LONGEST_CHOICE and storable(text):
                self.texts[text] = written_alike(text)

    def share(self, *kinds: Kind) -> float:
        """Of how many values one of `kinds` is true, in 0 to 1; 0 of none."""
        found = sum(count for each, count in self.kinds.items() if not each.isdisjoint(kinds))
        return found / self.kinds.total() if found else 0.0

    def all(self, *kinds: Kind) -> bool:
        """Whether there are values, and one of `kinds` is true of each but a few."""
        return self.share(*kinds) >= ALL


def _text_of(value: Value) -> str | None:
    """A text, number or boolean in the form in which choices are compared; None for others."""
    if isinstance(value, int | float):
        return scalar_text(value) if abs(value) < _EXACT else None
    return value if isinstance(value, str) else None


def written_alike(text: str) -> str:
    """Without case, accents, separators and what stands before the last slash of a URL.

    `https://schema.org/InStock` is `instock`.
    """
    last = text.rstrip("/").rpartition("/")[2] if "://" in text else text
    return "".join(each for each in plain(last) if each.isalnum())
