"""Where a URL leads, taken apart once: policy and client look at the same host, port and path."""

from __future__ import annotations

import re
import socket
import string
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import quote

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(#.*)?"
)
_PORTS: Final = {"http": 80, "https": 443}
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_SAFE: Final = "/?:@!$&'()*+,;=%-._~"

Ip = IPv4Address | IPv6Address


class BadUrl(ValueError):
    """The URL is none that can be called."""


class OddAddress(BadUrl):
    """Its host is an address that programs read differently, or that leads to a network of this machine."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL says."""

    scheme: str
    host: str
    """In lower case and ASCII, without a dot at the end; an IPv6 address without its brackets."""
    port: int
    target: str
    """Path and query, percent-encoded."""
    ip: Ip | None
    """The host, where it is an address and no name."""

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if isinstance(self.ip, IPv6Address) else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@lru_cache(maxsize=1024)
def place_of(url: str) -> Place:
    """Takes a URL apart. Raises `BadUrl`, saying what is wrong with it, for one that readers may take differently."""
    if not url.isprintable() or any(c.isspace() or c in '\\"<>^`{|}' for c in url):
        raise BadUrl("it holds a character that must be percent-encoded")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise BadUrl("it must begin with http:// or https://")
    scheme = parts["scheme"].lower()
    if scheme not in _PORTS:
        raise BadUrl("it must begin with http:// or https://")
    if "@" in parts["authority"]:
        raise BadUrl("it must not name a user")
    host, port = split_port(parts["authority"])
    name, ip = host_of(host)
    try:
        target = quote((parts["path"] or "/") + (parts["query"] or ""), safe=_SAFE)
    except UnicodeEncodeError:
        raise BadUrl("it holds what is no character") from None
    return Place(scheme, name, _PORTS[scheme] if port is None else port, target, ip)


def split_port(authority: str) -> tuple[str, int | None]:
    """`host:port` as both; None where no port is named. Raises `BadUrl`."""
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        host += bracket
        if not bracket or (rest and not rest.startswith(":")):
            raise BadUrl("its host is none")
        port = rest[1:]
    else:
        host, _, port = authority.partition(":")
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise BadUrl("its port must be a number from 1 to 65535")
    return host, int(port)


def host_of(host: str) -> tuple[str, Ip | None]:
    """A host as it is looked up, and the address that it is, if it is no name. Raises `BadUrl`.

    A spelling of an address that programs read differently - a number, octal or hexadecimal parts, fewer than four - is refused.
    """
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except ValueError:
            raise BadUrl("its host is no IPv6 address") from None
        if address.scope_id is not None:
            raise OddAddress("its host must not name a network interface")
        return str(address), address
    name = host
    if not host.isascii():
        try:
            name = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise BadUrl("its host is no name") from None
    name = name.lower().removesuffix(".")
    if name and all(part.isdigit() for part in name.split(".")) and name.count(".") == 3:
        try:
            return name, ip_address(name)
        except ValueError:
            raise OddAddress("its host is no address as it is usually written") from None
    if _is_odd_address(name):
        raise OddAddress("its host is no address as it is usually written")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadUrl("its host is no name")
    return name, None


def _is_odd_address(name: str) -> bool:
    last = name.rpartition(".")[2]
    # no top-level domain is a number, whatever the base
    if last and (last.isdigit() or (last.startswith("0x") and all(c in string.hexdigits for c in last[2:]))):
        return True
    try:
        socket.inet_aton(name)
    except (OSError, ValueError):
        return False
    return True
