"""Where a call may lead: the ports of the web at public addresses, and what was named besides.

A name is looked up once, all the addresses it has are checked, and one of those is connected to (`gnj.fetch.connection`): so a name
that means something else a moment later leads nowhere.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Final

from gnj.fetch.address import BadUrl, Ip, host_of, place_of, split_port

PORTS: Final = frozenset({80, 443})
"""What may be called at public addresses: nothing but the web, for most other services answer a call as well, with a mail or worse."""

Resolve = Callable[[str, int], Collection[str]]
"""Looks a name up: the addresses of a host, as text; the port is that which will be connected to. May raise OSError."""

_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 "
        "192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 "
        "240.0.0.0/4"
    ).split()
)
_PUBLIC_6: Final = IPv6Network("2000::/3")
"""What is given to networks of the Internet at all: neither ::1 nor mapped addresses, fc00::/7, fe80::/10 and 64:ff9b::/96."""
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(text) for text in "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20".split()
)
"""Of those, what is not: protocols of their own, such as Teredo and 6to4, which lead to an IPv4 address; and examples."""


class Blocked(Exception):
    """The call may not lead there. What it says names no address and no port."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address that may be connected to: as it was checked, so that no name is looked up again."""

    ip: Ip
    port: int


class Policy:
    """Decides where a call may lead.

    Args:
        allow: What may be called besides. A host, at any of its ports, or `host:port`: a name allows what is called by that name, an
            address what leads to it, private ones as well; `:port` allows that port at all public addresses. Raises ValueError
            for what is none of them.
        resolve: Looks names up; that of the machine unless given.
        literal: Whether `allow` is compared with the host as the URL has it, and with nothing else: an address in it then allows no
            name that leads to it.
    """

    def __init__(self, allow: Collection[str] = (), resolve: Resolve | None = None, *, literal: bool = False) -> None:
        self.allow = frozenset(allow)
        self._literal = literal
        self._resolve = look_up if resolve is None else resolve
        self._named: set[tuple[str | Ip, int | None]] = set()
        self._ports = set(PORTS)
        for each in self.allow:
            try:
                host, port = _entry(each)
                if not host and port is not None:
                    self._ports.add(port)
                    continue
                name, ip = host_of(host)
            except BadUrl as error:
                raise ValueError(f"{each!r} is no host, host:port or :port that could be called: {error}") from None
            self._named.add((name if ip is None else ip, port))

    def check(self, host: str, port: int, scheme: str) -> list[Address]:
        """The addresses of `host`, all of which may be called. Raises `Blocked`; OSError for a name that nobody knows."""
        if scheme not in ("http", "https"):
            raise Blocked("only http and https may be called")
        ips = self._addresses(host, port)
        if not self._allows(host, port):
            by_name = self._literal and not _is_address(host)
            others = ips if by_name else [ip for ip in ips if not self._allows(ip, port)]
            if not all(map(is_public, others)):
                raise Blocked(_PRIVATE)
            if others and port not in self._ports:
                raise Blocked(_PORT)
        return [Address(ip, port) for ip in ips]

    def check_url(self, url: str) -> None:
        """Raises `Blocked` for a URL that may not be called whatever its name leads to; looks up no name."""
        try:
            place = place_of(url)
        except BadUrl as error:
            raise Blocked(str(error)) from None
        name, ip, port = place.host, place.ip, place.port
        if self._allows(name, port) or (ip is not None and self._allows(ip, port)):
            return
        if (name == "localhost" or name.endswith(".localhost")) if ip is None else not is_public(ip):
            raise Blocked(_PRIVATE)
        # a name may lead to an address at which the port is allowed
        if port not in self._ports and (ip is not None or not self._allows_somewhere(port)):
            raise Blocked(_PORT)

    def _addresses(self, host: str, port: int) -> list[Ip]:
        if _is_address(host):
            return [ip_address(host)]
        found: list[Ip] = []
        for text in self._resolve(host, port):
            try:
                found.append(ip_address(text))
            except ValueError as error:
                raise Blocked(_PRIVATE) from error  # such as an address with a network interface
        if not found:
            raise OSError("the name has no address")
        return found

    def _allows(self, host: str | Ip, port: int) -> bool:
        return (host, port) in self._named or (host, None) in self._named

    def _allows_somewhere(self, port: int) -> bool:
        """Whether there is an address at which that port is allowed."""
        named = ((host, each) for host, each in self._named if not self._literal and not isinstance(host, str))
        return any(each in (None, port) for _, each in named)


_PRIVATE: Final = "it does not lead to a public address, and is not one of those that fetch_allow names"
_PORT: Final = "its port is neither 80 nor 443, and is not one of those that fetch_allow names"


def is_public(ip: Ip) -> bool:
    """Whether anybody on the Internet could have that address."""
    if isinstance(ip, IPv4Address):
        return ip.is_global and not any(ip in network for network in _NOT_PUBLIC_4)
    return (
        ip.is_global and ip in _PUBLIC_6 and ip.scope_id is None and not any(ip in network for network in _NOT_PUBLIC_6)
    )


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, as this machine finds them. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except UnicodeError as error:
        raise OSError("the name cannot be looked up") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _entry(text: str) -> tuple[str, int | None]:
    if "/" in text:
        raise BadUrl("write host or host:port, without http:// and a path")
    if text.count(":") > 1 and not text.startswith("["):
        return f"[{text}]", None
    return split_port(text)
