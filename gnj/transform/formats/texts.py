"""What strings are asked to look like, where it takes no library of its own to tell: words, addresses and shares."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import urlsplit

from gnj.queue.values import shown
from gnj.transform.formats.faults import Fault
from gnj.transform.formats.figures import plain

MAX_EMAIL: Final = 320
"""Characters of an e-mail address; email-validator takes 254."""
MAX_URL: Final = 8_192
"""Characters of a URL."""
MAX_PERCENTAGE: Final = 40
"""Characters of a percentage."""

# Nine URLs of ten; what it takes is as `to_url` would give it, which takes ten times as long.
_COMMON_URL: Final = re.compile(
    r"(https?://)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,3}[a-z]{2,9}(?:/[!-~]*)?", re.ASCII
)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_IN_BRACKETS: Final = re.compile(r"\[[^\[\]]*\](:\d*)?", re.ASCII)
_HOST: Final = re.compile(r"(?=.{1,253}$)(?:(?!-)[\w-]{1,63}(?<!-)\.)*(?!-)[\w-]{1,63}(?<!-)\.?")
_PLACES: Final = Decimal("1e-10")
_TOO_MUCH: Final = Decimal("1e15")


def to_email(text: str) -> str:
    """An e-mail address in its normal form (the domain in lower case), by email-validator; no name server is asked."""
    from email_validator import EmailNotValidError, validate_email  # 30 ms, and DNS classes, for those who need it

    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        raise Fault(f"must be an e-mail address, not {shown(text)}") from None


def to_url(text: str) -> str:
    """An http or https URL with a host; one without a scheme gets `https://`, if its host has a dot. Blanks become `%20`."""
    if common := _COMMON_URL.fullmatch(text):
        return text if common[1] else f"https://{text}"
    scheme = _SCHEME.match(text)
    if scheme is not None:
        url = f"{scheme[1].lower()}://{text[scheme.end() :]}"
    else:
        url = f"https:{text}" if text.startswith("//") else f"https://{text}"
    url = url.replace(" ", "%20")
    try:
        parts = urlsplit(url)
        good = parts.username is None and _is_host(parts.netloc, parts.hostname or "", dotted=scheme is None)
        parts.port  # noqa: B018 - it is checked when it is read
    except ValueError:
        good = False
    if not good or _CONTROL.search(url):
        raise Fault(f"must be a URL, such as https://example.com/page, not {shown(text)}")
    if scheme is not None and scheme[1].lower() not in ("http", "https"):
        raise Fault(f"must be a URL of http or https, not {shown(text)}")
    return url


def _is_host(netloc: str, host: str, *, dotted: bool) -> bool:
    if netloc.startswith("["):
        return _IN_BRACKETS.fullmatch(netloc) is not None and IPv6Address(host).version == 6
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        # 12.50 is a price and no address.
        return IPv4Address(host).version == 4
    return _HOST.fullmatch(host) is not None and (len(labels) > 1 or not dotted)


def to_percentage(text: str) -> str:
    """`50%`: what has a `%` stays as it is, a number between -1 and 1 is multiplied by 100, and others get the sign.

    Of a number 10 decimals are kept, the last one rounded.
    """
    figure = text[:-1].rstrip() if text.endswith("%") else text
    try:
        share = Decimal(plain(figure))
    except ValueError:
        share = _TOO_MUCH
    if abs(share) >= _TOO_MUCH:
        raise Fault(f"must be a percentage, such as 50% or 0.5, not {shown(text)}")
    if figure is not text:
        return f"{figure}%"
    if abs(share) < 1:
        share *= 100
    written = f"{share.quantize(_PLACES, ROUND_HALF_UP):f}".rstrip("0").rstrip(".")
    return "0%" if written == "-0" else f"{written}%"
