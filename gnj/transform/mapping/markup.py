"""HTML to text, in linear time.

The standard library's HTML parser takes quadratic time for texts such as `<a <a <a` (Python 3.11: 20 s for 200 kB), and is
made for documents. Here each character is looked at twice at most: a tag ends at the first `>` outside of its quoted
attributes, and what turns out to be none stays as it is, up to where that was found out.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from html.entities import html5
from typing import Final

# Quotes count after an equals sign only, as in browsers: `<p class=x don't>` is a tag. All repeats are possessive.
_INSIDE: Final = r"""(?:[^<>=]|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+"""
_MARKUP: Final = re.compile(
    rf"""<(?:
    !--(?:-?>|.*?--!?>|.*)                                  # a comment; without an end it takes all that follows
    |(?P<raw>script|style)(?![^\s/>]){_INSIDE}>.*?(?:</(?P=raw)[^<>]*+>|\Z)  # what it holds is no text
    |[!?][^<>]*+>
    |/?[a-z]{_INSIDE}>
    |(?P<kept>/?[a-z]{_INSIDE}))
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def _old_names(names: Iterable[str]) -> str:
    """A pattern for the names that need no semicolon, the longest first. By their first letters, a miss takes half of the time."""
    by_letter: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if not name.endswith(";"):
            by_letter[name[0]].append(name[1:])
    return "|".join(
        f"{letter}(?:{'|'.join(sorted(rest, key=len, reverse=True))})" for letter, rest in by_letter.items()
    )


# What `html.unescape` may replace, and little else: on its own it takes 0.7 us for each `&x`, which is none.
_ENTITY: Final = re.compile(rf"&(?:#(?:[0-9]+|[xX][0-9a-fA-F]+);?|[A-Za-z][A-Za-z0-9]{{1,31}}+;|{_old_names(html5)})")
_LONGEST: Final = 40
"""Characters of an entity that is remembered."""
_character: Final = lru_cache(1_024)(html.unescape)


def without_tags(text: str) -> str:
    """The text without tags, comments, scripts and styles, its entities replaced by what they stand for.

    Nothing is put where a tag was. A `<` that begins no tag stays: `a < b`, `<3`, and a tag that never ends.
    """
    if "<" in text:
        text = _MARKUP.sub(_kept, text)
    if "&" in text:
        try:
            text = _ENTITY.sub(_unescaped, text)
        except ValueError:
            # `&#` and more than 4,300 digits, which Python reads no number from
            return text
    return text


def _unescaped(found: re.Match[str]) -> str:
    entity = found[0]
    return _character(entity) if len(entity) <= _LONGEST else html.unescape(entity)


def _kept(found: re.Match[str]) -> str:
    # A template with a group in it takes twice as long.
    return found[0] if found.lastgroup == "kept" else ""
