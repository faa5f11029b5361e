"""Transformation jobs: records of a source, mapped and brought into a target format."""

from typing import Final

NEEDS: Final = (
    "babel",
    "cryptography",
    "dateutil",
    "defusedxml",
    "email_validator",
    "phonenumbers",
    "pint",
    "rapidfuzz",
    "regex",
)
"""The modules that the extra `transform` brings."""
