"""Waiting for what nobody rings a bell about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], within: float = 20.0) -> Any:
    """Looks again and again; what the condition comes to, once it is met. Fails after `within` seconds."""
    end = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found
