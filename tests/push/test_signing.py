"""Who calls shows that they know the secret; nothing else passes."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import pytest

import gnj
from gnj.push.signing import signature

SECRET = "a long random text"
BODY = b'{"job": 1}'


def headers(timestamp=None, secret=SECRET, body=BODY):
    at = int(time.time()) if timestamp is None else timestamp
    return {"GNJ-Timestamp": str(at), "Gnj-Signature": signature(secret, at, body), "x": "y"}


def test_what_it_is():
    expected = hmac.new(SECRET.encode(), b"12.{}", hashlib.sha256).hexdigest()
    assert signature(SECRET, 12, b"{}") == f"v1={expected}"


def test_what_was_signed_passes():
    assert gnj.verify_push(SECRET, headers(), BODY)
    assert gnj.verify_push(SECRET, headers(time.time() // 1 - 290), BODY) is False  # no whole number of seconds
    assert gnj.verify_push(SECRET, headers(int(time.time()) - 290), BODY)
    assert gnj.verify_push(SECRET, headers(int(time.time()) + 290), BODY)
    assert gnj.verify_push("schl\u00fcssel" * 3, headers(secret="schl\u00fcssel" * 3), BODY)


@pytest.mark.parametrize("body", [BODY.decode(), None, {"job": 1}])
def test_the_body_has_to_be_bytes(body: Any):
    for given in (headers(), dict[str, str]()):  # whether or not there is a signature to compare
        with pytest.raises(TypeError, match=f"takes the body as bytes, as they came, not as {type(body).__name__}"):
            gnj.verify_push(SECRET, given, body)
    received: Any = bytearray(BODY)
    assert gnj.verify_push(SECRET, headers(), received)


@pytest.mark.parametrize("away", [-1000, -302, 302, 10**9])
def test_what_was_recorded_does_not_pass_later(away):
    assert not gnj.verify_push(SECRET, headers(int(time.time()) + away), BODY)
    assert gnj.verify_push(SECRET, headers(int(time.time()) + away), BODY, tolerance=2 * 10**9)


def test_nothing_else_passes():
    good = headers()
    assert not gnj.verify_push("another secret text", good, BODY)
    for place in range(len(BODY)):
        assert not gnj.verify_push(SECRET, good, BODY[:place] + b"!" + BODY[place + 1 :])
    assert not gnj.verify_push(SECRET, good, BODY + b" ")
    signed = good["Gnj-Signature"]
    for place in range(len(signed)):
        forged = signed[:place] + ("0" if signed[place] != "0" else "1") + signed[place + 1 :]
        assert not gnj.verify_push(SECRET, good | {"Gnj-Signature": forged}, BODY)
    for forged in ("", "v1=", signed[3:], signed + "0", signed.upper(), "v2" + signed[2:], "\u00e4", "\ud800"):
        assert not gnj.verify_push(SECRET, good | {"Gnj-Signature": forged}, BODY)
    for timestamp in ("", "x", "-1", "1.5", "\u0663", str(int(good["GNJ-Timestamp"]) - 1), "9" * 50, " 12"):
        assert not gnj.verify_push(SECRET, good | {"GNJ-Timestamp": timestamp}, BODY)
    for missing in ("GNJ-Timestamp", "Gnj-Signature"):
        assert not gnj.verify_push(SECRET, {name: value for name, value in good.items() if name != missing}, BODY)
