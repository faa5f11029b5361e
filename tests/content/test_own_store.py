"""The content store of the example is one: it keeps the whole contract."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gnj.content import ContentStore
from gnj.testing import ContentStoreContract

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module of the example, which has an application of its own in a directory of the test's."""
    pytest.importorskip("starlette")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("own"))
        patch.syspath_prepend(EXAMPLES)
        import own_content_store  # type: ignore[import-not-found]

        yield own_content_store
    for name in ("own_content_store", "own_content_operations"):
        del sys.modules[name]


class TestOwnContentStore(ContentStoreContract):
    @pytest.fixture
    def store(self, example: ModuleType) -> ContentStore:
        made: ContentStore = example.Website()
        return made

    @pytest.fixture
    def pieces(self, store: Any) -> Callable[[int], None]:
        return lambda size: setattr(store, "page", size)
