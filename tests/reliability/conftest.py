"""Each storage that several processes can share, and the processes that are killed on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability.mutations import VARIABLE
from benchmarks.reliability.options import Options
from benchmarks.reliability.processes import Fleet
from gnj.queue.service import Queue
from gnj.storage.sql import SqlStorage
from tests.reliability.children import Children

DATABASES = ["sqlite", "postgresql", "mysql"]


def marked(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.backend(name)) for name in names]


@pytest.fixture(params=marked(DATABASES))
def url(request: pytest.FixtureRequest) -> str:
    """A fresh, empty database."""
    try:
        make: Callable[[], str] = request.getfixturevalue(f"{request.param}_database")
    except pytest.FixtureLookupError:
        pytest.skip(f"capability: there are no databases of {request.param} to test on")
    return make()


@pytest.fixture
def storage(url: str) -> Iterator[SqlStorage]:
    storage = SqlStorage(url)
    storage.migrate()
    yield storage
    storage.close()


@pytest.fixture
def queue(storage: SqlStorage) -> Queue:
    return Queue(storage, lease=60.0, seed=0)


@pytest.fixture
def children() -> Iterator[Children]:
    """Starts processes; none of them outlives the test."""
    with Children() as children:
        yield children


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Call it for servers and workers on a database; they end with the test."""
    fleets: list[Fleet] = []

    def start(database: str, **options: Any) -> Fleet:
        folder = tmp_path / f"fleet{len(fleets)}"
        folder.mkdir()
        given = {"mutant": os.environ.get(VARIABLE) or None, "servers": 0, "workers": 0, "lease": 30, **options}
        fleet = Fleet(Options(database=database, **given), folder)
        fleets.append(fleet)
        fleet.start()
        return fleet

    yield start
    for fleet in fleets:
        fleet.__exit__()
