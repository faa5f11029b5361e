"""What others test their storages and handlers with.

`StorageContract` needs pytest, which is imported only where it is asked for; the clock and the factories need nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnj.testing.clock import FakeClock
from gnj.testing.drain import ANY, assert_enqueued, drain

if TYPE_CHECKING:
    from gnj.testing.contract import StorageContract

__all__ = ["ANY", "FakeClock", "StorageContract", "assert_enqueued", "drain"]


def __getattr__(name: str) -> Any:
    if name == "StorageContract":
        from gnj.testing.contract import StorageContract  # noqa: PLC0415 - it imports pytest

        return StorageContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
