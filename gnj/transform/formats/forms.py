"""How strings are written: one step for each attribute that says so. A library is imported when a format asks for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from gnj.transform.formats.conversion import Step
from gnj.transform.formats.faults import Fault
from gnj.transform.formats.model import Attribute

REMEMBERED: Final = 1_024
"""Texts whose conversion each field remembers: a date takes dateutil 150 µs, and feeds repeat dates and currencies."""


def form(attribute: Attribute, region: str) -> Step:
    """The step for one of `FORMS`; `region` is that of phone numbers without a country code."""
    match attribute:
        case Attribute.EMAIL:
            from gnj.transform.formats.texts import MAX_EMAIL, to_email

            return _bounded(to_email, MAX_EMAIL)
        case Attribute.URL:
            from gnj.transform.formats.texts import MAX_URL, to_url

            return _bounded(to_url, MAX_URL, remembered=0)
        case Attribute.PERCENTAGE:
            from gnj.transform.formats.texts import MAX_PERCENTAGE, to_percentage

            return _bounded(to_percentage, MAX_PERCENTAGE)
        case Attribute.PHONE_NUMBER:
            from gnj.transform.formats.phones import MAX_PHONE, phones

            return _bounded(phones(region), MAX_PHONE)
        case Attribute.CURRENCY:
            from gnj.transform.formats.currencies import MAX_CURRENCY, to_currency

            return _bounded(to_currency, MAX_CURRENCY)
        case _:
            from gnj.transform.formats.times import MAX_MOMENT, to_date, to_datetime, to_time

            convert = {Attribute.DATE: to_date, Attribute.TIME: to_time, Attribute.DATETIME: to_datetime}[attribute]
            return _bounded(convert, MAX_MOMENT)


def _bounded(convert: Callable[[str], str], limit: int, remembered: int = REMEMBERED) -> Step:
    """`convert` for texts without the blanks around them, of 1 to `limit` characters."""
    known = lru_cache(maxsize=remembered)(convert) if remembered else convert

    def step(text: str) -> str:
        text = text.strip()
        if len(text) > limit:
            raise Fault(f"must have at most {limit:,} characters, not {len(text):,}")
        return known(text)

    return step
