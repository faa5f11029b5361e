"""Of which web pages requests are taken: browsers send cookies, and reach this machine, for whatever page asks them to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Origins:
    """The origins (`https://app.example`) whose pages may ask, besides those of the server itself.

    Raises `InvalidInput` for an origin that is none.
    """

    def __init__(self, origins: Collection[str] = ()) -> None:
        self._others = frozenset(_checked(origin) for origin in origins)

    def __bool__(self) -> bool:
        """Whether there are any besides the server's own."""
        return bool(self._others)

    def named(self, headers: Mapping[str, str]) -> str | None:
        """The origin that a request with these headers comes from, if it is one of the others, written as browsers write it."""
        origin = headers.get("origin")
        return origin if origin in self._others else None

    def welcome(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers comes from such a page, or from a client that is no browser: that sends no Origin.

        A browser sends one with all but GET and HEAD, and with every WebSocket.
        """
        origin = headers.get("origin")
        if origin is None:
            return True
        if (origin := _normal(origin)) in self._others:
            return True
        scheme, _, host = origin.partition("://")
        own = headers.get("host", "").lower().removesuffix(_DEFAULT_PORTS.get(scheme, " "))
        return bool(host) and host == own


def _checked(origin: str) -> str:
    normal = _normal(origin)
    scheme, _, host = normal.partition("://")
    if not (scheme and host) or urlsplit(origin).path:
        raise InvalidInput(f"origins: {shown(origin)} is no origin, such as https://app.example")
    if "*" in host:
        raise InvalidInput(f"origins: {shown(origin)}: patterns are not taken, name each origin whole")
    return normal


def _normal(origin: str) -> str:
    """An origin as browsers write it: in lower case, without the port that its scheme has anyway."""
    try:
        parts = urlsplit(origin.strip().lower())
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ' '))}"
