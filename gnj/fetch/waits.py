"""Waits that are cut into steps: who waits is asked between two of them whether to go on, and a wait alone would not tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

STEP: Final = 1.0
"""Seconds of one."""

GoOn: TypeAlias = Callable[[], None]
"""Raises what is to end a wait. It is called often, and has to be quick."""


def steps(ends: float, go_on: GoOn | None) -> Iterator[float]:
    """The seconds of one wait after the other, for as long as the caller takes them; in one, where nobody is asked.

    Args:
        ends: When the last one has to be over, as `time.monotonic` has it.
        go_on: Asked before each.

    Raises TimeoutError then, and what `go_on` raises.
    """
    while True:
        if go_on is not None:
            go_on()
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        yield left if go_on is None else min(left, STEP)
