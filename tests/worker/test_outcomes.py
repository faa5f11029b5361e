"""What is told of a handler's exception."""

from __future__ import annotations

import pytest

from gnj.queue.errors import Failed
from gnj.worker.outcomes import described


@pytest.mark.parametrize(
    "error, told",
    [
        (ValueError("no such address"), "ValueError: no such address"),
        (ValueError(), "ValueError"),
        (Failed("Bad Gateway"), "Bad Gateway"),
        (Failed("half a pair: \ud800, and \0"), "half a pair: ?, and \ufffd"),
        (Failed(""), ""),
    ],
)
def test_described(error, told):
    assert described(error) == told
