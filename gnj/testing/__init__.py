"""What others test their storages and handlers with.

`StorageContract`, `ContentStoreContract` and `AdapterContract` need pytest and `storage_machine` Hypothesis, which are imported only where these are
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnj.testing.clock import FakeClock
from gnj.testing.drain import ANY, assert_enqueued, drain

if TYPE_CHECKING:
    from gnj.testing.adapters import AdapterContract
    from gnj.testing.contract import StorageContract
    from gnj.testing.contracts.content import ContentStoreContract
    from gnj.testing.machine import storage_machine

__all__ = [
    "ANY",
    "AdapterContract",
    "ContentStoreContract",
    "FakeClock",
    "StorageContract",
    "assert_enqueued",
    "drain",
    "storage_machine",
]


def __getattr__(name: str) -> Any:
    if name == "StorageContract":
        from gnj.testing.contract import StorageContract  # noqa: PLC0415 - it imports pytest

        return StorageContract
    if name == "ContentStoreContract":
        from gnj.testing.contracts.content import ContentStoreContract  # noqa: PLC0415 - it imports pytest

        return ContentStoreContract
    if name == "AdapterContract":
        import pytest  # noqa: PLC0415 - whoever only drains a queue need not have it

        # before it is imported: only then are its asserts rewritten
        pytest.register_assert_rewrite("gnj.testing.adapters")
        from gnj.testing.adapters import AdapterContract  # noqa: PLC0415 - likewise

        return AdapterContract
    if name == "storage_machine":
        from gnj.testing.machine import storage_machine  # noqa: PLC0415 - it imports Hypothesis

        return storage_machine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
