"""Signed URLs: whoever has one may send or fetch these bytes until it expires, and needs nothing else.

The signature is an HMAC-SHA256 with the queue's shared secret over what the URL is for, so that all servers of one database
know the URLs of all.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gnj.queue.values import Json, dump_json

# Only what is written here letter for letter: no sign, no leading zero, no other order, nothing twice. So one permission has one
# spelling, and a URL that was altered anywhere is refused.
_NUMBER: Final = "0|[1-9][0-9]{0,17}"
_PART: Final = re.compile(rf"expires=({_NUMBER})&size=({_NUMBER})&signature=([0-9a-f]{{64}})")
_FILE: Final = re.compile(rf"expires=({_NUMBER})&signature=([0-9a-f]{{64}})")
_ORDINAL: Final = re.compile("[1-9][0-9]{0,8}")


class Doubt(StrEnum):
    """Why a URL is not accepted."""

    FORGED = "forged"
    """It was altered, or never signed by us."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Signed:
    """What a URL allows, as far as its query says."""

    expires: int
    """Seconds since 1970."""
    size: int | None
    """Bytes of the part; None for a download."""


def sign_part(secret: str, tenant: str, upload_id: str, number: int, size: int, expires: int) -> str:
    """The query of the URL to which a part is PUT, without the question mark."""
    signature = _signature(secret, "PUT", tenant, upload_id, number, size, expires)
    return f"expires={expires}&size={size}&signature={signature}"


def sign_file(secret: str, tenant: str, key: str, expires: int) -> str:
    """The query of the URL from which a file is fetched."""
    return f"expires={expires}&signature={_signature(secret, 'GET', tenant, key, expires)}"


def check_part(secret: str, tenant: str, upload_id: str, number: str, query: str, now: float) -> Signed | Doubt:
    """What the query of a PUT, as it was sent, allows; `number` as it stood in the path, `now` in seconds since 1970."""
    found = _PART.fullmatch(query)
    if found is None or _ORDINAL.fullmatch(number) is None:
        return Doubt.FORGED
    expires, size = int(found[1]), int(found[2])
    signature = _signature(secret, "PUT", tenant, upload_id, int(number), size, expires)
    return _checked(signature, found[3], Signed(expires, size), now)


def check_file(secret: str, tenant: str, key: str, query: str, now: float) -> Signed | Doubt:
    """What the query of a GET, as it was sent, allows, likewise."""
    found = _FILE.fullmatch(query)
    if found is None:
        return Doubt.FORGED
    expires = int(found[1])
    return _checked(_signature(secret, "GET", tenant, key, expires), found[2], Signed(expires, None), now)


def _checked(signature: str, given: str, signed: Signed, now: float) -> Signed | Doubt:
    if not hmac.compare_digest(signature, given):
        return Doubt.FORGED
    return Doubt.EXPIRED if signed.expires <= now else signed


def _signature(secret: str, *what: Json) -> str:
    # as JSON: whatever the organisation and the key are called, no two permissions are written alike
    message = f"content-url|{dump_json(list(what))}"
    return hmac.new(bytes.fromhex(secret), message.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
