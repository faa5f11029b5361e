"""What a target format consists of, and how large it may be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gnj.transform.values import Value

MAX_FIELDS: Final = 500
"""Fields of one format, those of elements included."""
MAX_DEPTH: Final = 5
"""Levels of fields: a format whose arrays have fields has two."""
MAX_FIELD_NAME: Final = 200
"""Characters of a field's name."""
MAX_DESCRIPTION: Final = 10_000
"""Characters of a description."""
MAX_CHOICES: Final = 1_000
"""Choices of one field."""
MAX_CHOICE: Final = 1_000
"""Characters of a choice."""


class FieldType(StrEnum):
    """What a field's values are."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array"


class Attribute(StrEnum):
    """What is asked of a field's values. One that does not fit the field's type is kept and does nothing."""

    REQUIRED = "required"
    """A record without a value is rejected. Fits every type."""
    PRIMARY = "primary"
    """Part of the record's key, and required. Fits strings, numbers and booleans of the record itself, not of elements."""
    CAPITALIZED = "capitalized"
    """The first letter of each word is raised. Fits strings."""
    EMAIL = "email"
    URL = "url"
    PHONE_NUMBER = "phoneNumber"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    CURRENCY = "currency"
    PERCENTAGE = "percentage"
    WHOLE_NUMBER = "wholeNumber"
    """Rounded down. Fits numbers."""
    DECIMAL_NUMBER = "decimalNumber"
    """Rounded to two decimals. Fits numbers."""
    POSITIVE_NUMBER = "positiveNumber"
    """Above 0. Fits numbers."""
    INDEX_PRODUCT_ID = "indexProductID"
    """Given to the host's handler of this name, if there is one. Fits every type."""
    EMBED_TEXT = "embedText"
    EMBED_IMAGE = "embedImage"


FORMS: Final = frozenset(
    {
        Attribute.EMAIL,
        Attribute.URL,
        Attribute.PHONE_NUMBER,
        Attribute.DATE,
        Attribute.TIME,
        Attribute.DATETIME,
        Attribute.CURRENCY,
        Attribute.PERCENTAGE,
    }
)
"""The attributes that say how a string is written: a string has at most one of them."""

HANDLED: Final = (Attribute.INDEX_PRODUCT_ID, Attribute.EMBED_TEXT, Attribute.EMBED_IMAGE)
"""The attributes that a host's handler carries out, in the order in which they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field of a target format, as it was given."""

    name: str
    """Unique among its neighbours."""
    type: FieldType
    """What its values are."""
    description: str = ""
    """For people, and for what proposes mappings."""
    choices: tuple[Value, ...] = ()
    """The values it may have; () for any. Those of an array are its elements'."""
    attributes: tuple[Attribute, ...] = ()
    """What is asked of its values, in the order given."""
    fields: tuple[Field, ...] = ()
    """Of an array: the fields of its elements, which are objects; () for elements of any kind."""
