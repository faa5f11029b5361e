"""`${NAME}`: credentials in what is sent (transformation jobs contract, section "Sources")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from gnj.queue.values import shown
from gnj.transform.errors import BadSource

_REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_MOST: Final = 100
_LONGEST: Final = 10_000


def check_credentials(credentials: object) -> dict[str, str]:
    """The credentials, if they are an object of texts without line breaks. Raises `BadSource`, which tells names and no values."""
    if not isinstance(credentials, Mapping):
        raise BadSource("credentials must be an object of texts")
    if len(credentials) > _MOST:
        raise BadSource(f"credentials must have at most {_MOST:,} names")
    for name, value in credentials.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadSource(
                f"credentials: a name has letters, digits and underscores, at most 100, and no digit first, not {shown(name)}"
            )
        if not isinstance(value, str):
            raise BadSource(f"credentials: {name} must be a text")
        if len(value) > _LONGEST:
            raise BadSource(f"credentials: {name} must have at most {_LONGEST:,} characters")
        if not value.isprintable():
            raise BadSource(f"credentials: {name} must not hold line breaks or other control characters")
    return dict(credentials)


def has_credentials(text: str, credentials: Mapping[str, str]) -> bool:
    """Whether something in it is made of credentials, or is one of them as it stands."""
    return _REFERENCE.search(text) is not None or any(value and value in text for value in credentials.values())


def filled(text: str, credentials: Mapping[str, str], what: str) -> str:
    """`text` with the credentials in place of their names. Raises `BadSource` for a name that there is not, telling `what` has it."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in credentials:
            raise BadSource(f"{what} names {shown(match[0])}, and credentials have no {shown(match[1])}")
        return credentials[match[1]]

    return _REFERENCE.sub(value, text)


def filled_url(url: str, credentials: Mapping[str, str]) -> str:
    """The same of a URL. In its query, credentials are percent-encoded: there `+`, `&` and `=` would be others."""
    path, mark, query = url.partition("?")
    encoded = {name: quote(value, safe="") for name, value in credentials.items()}
    return filled(path, credentials, "url") + mark + filled(query, encoded, "url")
