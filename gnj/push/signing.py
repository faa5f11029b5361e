"""The signature of a push, made by who calls and checked by who is called."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Final

TOLERANCE: Final = 300.0
"""Seconds that the clocks of both may be apart, and for which a call that somebody recorded can be repeated."""
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256, in hexadecimal, of the timestamp (seconds since 1970), a dot and the body."""
    return "v1=" + hmac.digest(secret.encode(), b"%d.%s" % (timestamp, body), hashlib.sha256).hex()


def verify_push(secret: str, headers: Mapping[str, str], body: bytes, tolerance: float = TOLERANCE) -> bool:
    """Whether a call to an endpoint comes from who registered it, lately, and is whole.

    What is signed is the body and the time. The other headers, `gnj-job-id` and `gnj-attempt` among them, are not: which job it
    is about, and which try of it, the body says (`job.id`, `job.attemptsStarted`).

    Args:
        secret: That of the registration.
        headers: Of the request, names in any case.
        body: Of the request, as it came.
        tolerance: Seconds that its timestamp may be away from this machine's present.

    TypeError: the body is a text, which may not be the bytes that were signed.
    """
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"verify_push takes the body as bytes, as they came, not as {type(body).__name__}")
    given = {
        name.lower(): value for name, value in headers.items() if name.lower() in ("gnj-timestamp", "gnj-signature")
    }
    timestamp, signed = given.get("gnj-timestamp", ""), given.get("gnj-signature", "")
    if not _TIMESTAMP.fullmatch(timestamp) or abs(time.time() - int(timestamp)) > tolerance:
        return False
    expected = signature(secret, int(timestamp), body)
    return hmac.compare_digest(expected.encode(), signed.encode("utf-8", "replace"))
