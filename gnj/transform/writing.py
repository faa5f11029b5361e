"""How values are written as texts and words with capitals: the same in mappings, in target formats, and where mappings are proposed."""

from __future__ import annotations

import re
from typing import Final

# Up to here JSON writes whole numbers without an exponent (ECMA-262, Number::toString).
_PLAIN: Final = 1e21
# Signs before a word's first letter are passed, digits are not: `(new)` is raised, `3d` begins with a digit.
_FIRST: Final = re.compile(r"(?<!\S)(?:[^\w\s]|_)*+[^\W\d_A-Z]")


def scalar_text(value: float) -> str:
    """The text form of a boolean or a finite number: `true`, `false`, numbers as JSON writes them, 2.0 as `2`.

    Raises `ValueError` for an integer of more than 4,300 digits.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < _PLAIN else repr(value)


def capitalized(text: str) -> str:
    """`text` with the first letter of each whitespace-separated word raised, to its title case, and the rest as it is."""
    if text.isprintable():
        # Its only blanks are spaces, and most words begin with a letter: half of the time.
        return " ".join(
            [
                word[:1].title() + word[1:] if word[:1].isalnum() else _FIRST.sub(_raised, word)
                for word in text.split(" ")
            ]
        )
    return _FIRST.sub(_raised, text)


def _raised(found: re.Match[str]) -> str:
    return found[0].title()
