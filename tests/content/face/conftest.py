"""The content face over a queue, a store and files in memory: what is tested here is the face."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gnj import GNJ
from gnj.content.model import NewEntry
from gnj.content.store import Holder
from tests.content.fakes import FakeFiles, FakeStore


@pytest.fixture
def store() -> FakeStore:
    """Where the content is."""
    return FakeStore()


@pytest.fixture
def files() -> FakeFiles:
    """Where the files are."""
    return FakeFiles()


@pytest.fixture
def settings() -> dict[str, Any]:
    """What else the application is given."""
    return {}


@pytest.fixture
def jobs(store: FakeStore, files: FakeFiles, settings: dict[str, Any]) -> Iterator[GNJ]:
    """The application; its own worker is not started."""
    with GNJ("memory://", content=store, files=files, content_workers=0, **settings) as made:
        yield made


@pytest.fixture
def put(jobs: GNJ) -> Callable[..., str]:
    """Has entries there, in an environment of an organisation, the default one unless named; gives its id."""
    holder, store = Holder(1, 1, 1), jobs.content.store

    def put(tenant: str, *entries: NewEntry, environment: str | None = None) -> str:
        store.ready(tenant)
        if environment is not None and store.environment(tenant, environment) is None:
            made = store.reserve(tenant, environment, environment.title(), holder.job)
            store.publish(tenant, made, holder)
        found = store.environment(tenant, environment)
        assert found is not None
        store.open(tenant, found.id, holder)
        assert set(store.put_entries(tenant, found.id, holder, entries)) <= {None}
        store.publish(tenant, found.id, holder)
        return found.id

    return put
