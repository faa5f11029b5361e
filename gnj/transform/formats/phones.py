"""Phone numbers: read and written by the phonenumbers library, which knows the rules of every country."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, ValidationResult

from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown
from gnj.transform.formats.faults import Fault

MAX_PHONE: Final = 100
"""Characters of a phone number."""


def phones(region: str) -> Callable[[str], str]:
    """What writes phone numbers; those without a country code are of `region`, two letters such as `US`.

    Numbers of the region are written as one dials them there, `(202) 555-0123`, others as `+49 30 123456`. A number must have a
    length that its country has; whether it is given to anybody is not asked. `InvalidInput` for a region that is none.
    """
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput(f"region must be the two letters of a country, such as 'US', not {shown(region)}")
    country = phonenumbers.country_code_for_region(region)

    def to_phone(text: str) -> str:
        number = _whole(text, region)
        if number is None:
            raise Fault(f"must be a phone number, with its area code, not {shown(text)}")
        # Countries share codes: +1 is Canada's too. A number that is nobody's, such as those of films, counts as the region's.
        owner = phonenumbers.region_code_for_number(number) if phonenumbers.is_valid_number(number) else None
        home = number.country_code == country and owner in (region, None)
        form = PhoneNumberFormat.NATIONAL if home else PhoneNumberFormat.INTERNATIONAL
        written = phonenumbers.format_number(number, form)
        # Nobody's numbers may be written so that they read as another: 0011 524 372 in Argentina, where 0 is a prefix.
        if owner is None and _whole(written, region) != number:
            raise Fault(f"must be a phone number of some country, not {shown(text)}")
        return written

    return to_phone


def _whole(text: str, region: str) -> PhoneNumber | None:
    """The number in a text, if it could be dialled from everywhere."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return None
    whole = phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
    return number if whole else None
