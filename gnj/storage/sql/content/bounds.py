"""How large what an environment has may be: whoever imports names what he likes, and others read it whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LONGEST: Final = 500
"""Bytes of a text that stands in an index together with others (PostgreSQL takes 2,700 for all of them), and of a field's name."""
LONGEST_PATH: Final = 1_500
"""Bytes of the path of an asset."""
MOST_SITES: Final = 2_000
"""Sites of an environment: they are told in one list, and each step of a copy reads them all."""
MOST_MODELS: Final = 1_000
"""Models of an environment: they are told in one list."""
MOST_FIELDS: Final = 2_000
"""Fields that a model gets from entries: it is written anew whenever it gets one."""
FIELDS: Final = 64 * 1024
"""Bytes that the names of these fields have together."""


def too_long(texts: Mapping[str, str | None], most: int) -> str | None:
    """Why one of the texts, each by what it is called, cannot be kept."""
    for name, value in texts.items():
        # no text has more bytes than four for each character
        if value is not None and len(value) * 4 > most and (size := len(value.encode())) > most:
            return f"the {name} must have at most {most:,} bytes, not {size:,}"
    return None
