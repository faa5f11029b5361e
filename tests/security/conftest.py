"""Each storage, empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gnj.queue.storage import Storage
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage

STORAGES = ["memory", "sqlite", "postgresql", "mysql"]


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.backend(name)) for name in STORAGES])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    if request.param == "memory":
        yield MemoryStorage()
        return
    make: Callable[[], str] = request.getfixturevalue(f"{request.param}_database")
    made: Any = SqlStorage(make())
    made.migrate()
    yield made
    made.close()
