"""The content store of gnj's own keeps the contract, on each database that has one; so does the one that other tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from gnj.storage.sql.content import SqlContentStore, cloning, copying, deleting, derived, syncing
from gnj.storage.sql.storage import SqlStorage
from gnj.testing import ContentStoreContract


@pytest.fixture(scope="module")
def made(backend: str) -> Iterator[SqlContentStore]:
    """The store of the module's database."""
    storage = SqlStorage(backend)
    storage.migrate()
    yield SqlContentStore(storage)
    storage.close()


class TestSqlContentStore(ContentStoreContract):
    @pytest.fixture
    def store(self, made: SqlContentStore) -> SqlContentStore:
        return made

    @pytest.fixture
    def pieces(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        def pieces(size: int) -> None:
            for module in (cloning, copying, deleting, syncing):
                monkeypatch.setattr(module, "PAGE", size)
            monkeypatch.setattr(copying, "DROPPED", size)
            for kind, each in derived._KINDS.items():
                monkeypatch.setitem(derived._KINDS, kind, replace(each, most=size))

        return pieces
