"""Python's cyclic collector, in processes that are gnj's own."""

from __future__ import annotations

import gc
from typing import Final

_YOUNG: Final = 20_000
"""Containers more than there were, after which it looks at the new ones: 700 unless told otherwise."""


def spare() -> None:
    """Has it leave alone what there is, and look less often at what comes.

    What was made until now lives as long as the process does: to go through it takes 50 ms each time, in which nobody is answered.
    And jobs and answers leave nothing behind that only the collector would find: with 32 clients it went through what was being
    answered 260 times a second, a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
