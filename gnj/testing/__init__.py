"""What others test their storages and handlers with.

`StorageContract` needs pytest and `storage_machine` Hypothesis, which are imported only where these are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnj.testing.clock import FakeClock
from gnj.testing.drain import ANY, assert_enqueued, drain

if TYPE_CHECKING:
    from gnj.testing.contract import StorageContract
    from gnj.testing.machine import storage_machine

__all__ = ["ANY", "FakeClock", "StorageContract", "assert_enqueued", "drain", "storage_machine"]


def __getattr__(name: str) -> Any:
    if name == "StorageContract":
        from gnj.testing.contract import StorageContract  # noqa: PLC0415 - it imports pytest

        return StorageContract
    if name == "storage_machine":
        from gnj.testing.machine import storage_machine  # noqa: PLC0415 - it imports Hypothesis

        return storage_machine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
