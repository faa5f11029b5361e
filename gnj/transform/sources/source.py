"""A source as it is described, and what is checked of it when it is saved."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gnj.fetch.stream import Outgoing
from gnj.queue.errors import InvalidInput
from gnj.queue.values import check_text, shown
from gnj.transform.errors import BadSource
from gnj.transform.sources.templates import filled, filled_url, has_credentials

METHODS: Final = ("GET", "POST", "PUT", "PATCH")
MAX_URL: Final = 8_000
MAX_BODY: Final = 1024 * 1024
"""Characters."""
MAX_HEADERS: Final = 50
MAX_HEADER: Final = 16_000
"""Characters of one, its name included."""
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
# They are for the client: what the message is, which host it is for, how the connection is kept, and what was known of the source.
_OURS: Final = frozenset(
    "accept-encoding connection content-length expect host if-match if-modified-since if-none-match if-range if-unmodified-since "
    "keep-alive proxy-connection range te trailer transfer-encoding upgrade".split()
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where records come from (transformation jobs contract, "Sources"). Nothing is checked yet: see `check_source`."""

    type: str
    """One of `SOURCE_TYPES`."""
    url: str | None = field(default=None, repr=False)
    method: str | None = None
    """One of `METHODS`; GET where there is none."""
    headers: Sequence[str] = field(default=(), repr=False)
    """Each as `Name: value`."""
    body: str | None = field(default=None, repr=False)
    """Sent as it is, in UTF-8."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What `${NAME}` stands for in url, headers and body."""


def outgoing(source: Source, credentials: Mapping[str, str]) -> Outgoing:
    """The request that a source describes, whose `url` may be empty. Raises `BadSource`, naming the field and no credentials."""
    headers, private = headers_of(source.headers, credentials)
    body = _text(source.body or "", "sourceBody", maximum=MAX_BODY)
    return Outgoing(
        url=url_of(source.url or "", credentials),
        method=method_of(source.method),
        headers=headers,
        body=filled(body, credentials, "sourceBody").encode(),
        private=private,
        is_body_private=has_credentials(body, credentials),
    )


def method_of(method: str | None) -> str:
    """The method that is sent. Raises `BadSource`."""
    found = _text(method or METHODS[0], "sourceMethod", maximum=100).upper()
    if found not in METHODS:
        raise BadSource(f"sourceMethod must be one of {', '.join(METHODS)}, not {shown(method)}")
    return found


def _text(value: object, what: str, *, maximum: int) -> str:
    try:
        return check_text(value, what, maximum=maximum)
    except InvalidInput as error:
        raise BadSource(str(error)) from None


def url_of(url: str, credentials: Mapping[str, str]) -> str:
    """The URL that is called. Raises `BadSource`; where it leads is not looked at."""
    _text(url, "url", maximum=MAX_URL)
    found = filled_url(url, credentials)
    if len(found) > MAX_URL * 2:
        raise BadSource(f"url must have at most {MAX_URL * 2:,} characters with its credentials")
    return found


def headers_of(lines: Sequence[str], credentials: Mapping[str, str]) -> tuple[dict[str, str], frozenset[str]]:
    """The headers that are sent, and the names, in lower case, of those made of credentials. Raises `BadSource`."""
    if len(lines) > MAX_HEADERS:
        raise BadSource(f"sourceHeaders must have at most {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    private, seen = set[str](), set[str]()
    for place, line in enumerate(lines):
        what = f"sourceHeaders[{place}]"
        name, colon, value = _text(line, what, maximum=MAX_HEADER).partition(":")
        name, lower = name.strip(" "), name.strip(" ").lower()
        if not colon or not _NAME.fullmatch(name):
            raise BadSource(f"{what} must be 'Name: value'")
        if lower in _OURS:
            raise BadSource(f"{what}: {name} is set by gnj itself")
        if lower in seen:
            raise BadSource(f"{what}: {name} is there twice")
        text = filled(value.strip(" \t"), credentials, what)
        if not text.replace("\t", " ").isprintable():
            raise BadSource(f"{what}: the value of {name} must not hold line breaks or other control characters")
        try:
            text.encode("latin-1")
        except UnicodeEncodeError:
            raise BadSource(f"{what}: the value of {name} must be of the characters of Latin-1") from None
        seen.add(lower)
        headers[name] = text
        if has_credentials(value, credentials):
            private.add(lower)
    return headers, frozenset(private)
