"""`ContentStoreContract`: what `gnj.content.store` specifies, as tests for any content store.

    from gnj.testing import ContentStoreContract

    class TestMyStore(ContentStoreContract):
        @pytest.fixture
        def store(self):
            return MyContentStore()

A store may be shared by all tests: each has an organisation of its own, or several. Override the fixture `pieces` as well,
`(size) -> None`, if your store can be told how many rows it deals with in one step: only then are long operations interrupted in
their midst.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "gnj.testing.contracts.content_filters",
    "gnj.testing.contracts.content_operations",
    "gnj.testing.contracts.content_steps",
    "gnj.testing.contracts.content_support",
    "gnj.testing.contracts.content_turns",
    "gnj.testing.contracts.content_writes",
)

from gnj.testing.contracts.content_filters import ContentFilters  # noqa: E402 - only then are its asserts rewritten
from gnj.testing.contracts.content_steps import ContentSteps  # noqa: E402 - likewise
from gnj.testing.contracts.content_turns import ContentEnvironments, ContentSnapshots, ContentTurns  # noqa: E402
from gnj.testing.contracts.content_writes import ContentContents  # noqa: E402


# pytest begins with the last base: what fails first should be the simplest that fails.
class ContentStoreContract(
    ContentSteps, ContentFilters, ContentSnapshots, ContentTurns, ContentContents, ContentEnvironments
):
    """The contract. A subclass supplies the fixture `store`."""
