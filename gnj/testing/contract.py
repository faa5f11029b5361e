"""`StorageContract`: what `gnj.queue.storage` specifies, sentence by sentence, as tests for any storage.

    from gnj.testing import StorageContract

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def storage(self):
            return MyStorage()  # empty, and migrated

Moves are called on the storage itself: no rule of the queue takes part. What a storage cannot do by its `capabilities` is
skipped, with a reason that begins with "capability:". Two further fixtures may be supplied, and are skipped otherwise:
`clocked`, a storage with the `FakeClock` it goes by, and `connect`, which opens a connection of the caller's to the same
database as `storage`.
"""

from __future__ import annotations

import pytest

# Here and not in the package: what a module asserts is rewritten only if it is named before it is imported.
pytest.register_assert_rewrite("gnj.testing.contracts")

from gnj.testing.contracts.claims import ClaimContract, LeaseContract  # noqa: E402
from gnj.testing.contracts.conditions import ConditionContract  # noqa: E402
from gnj.testing.contracts.ends import EndContract  # noqa: E402
from gnj.testing.contracts.inserts import EditContract, InsertContract, InsertJobsContract, StandInContract  # noqa: E402
from gnj.testing.contracts.lanes import LaneContract  # noqa: E402
from gnj.testing.contracts.limits import LimitContract  # noqa: E402
from gnj.testing.contracts.moves import MoveContract, SettleContract  # noqa: E402
from gnj.testing.contracts.pruning import PruneContract, TrimContract  # noqa: E402
from gnj.testing.contracts.races import RaceContract  # noqa: E402
from gnj.testing.contracts.reads import ReadContract  # noqa: E402
from gnj.testing.contracts.together import TogetherContract  # noqa: E402
from gnj.testing.contracts.transactions import TransactionContract  # noqa: E402
from gnj.testing.contracts.values import ValueContract  # noqa: E402


# pytest begins with the last base: what fails first should be the simplest that fails.
class StorageContract(
    RaceContract,
    TransactionContract,
    TrimContract,
    PruneContract,
    LeaseContract,
    LaneContract,
    LimitContract,
    ClaimContract,
    TogetherContract,
    SettleContract,
    EndContract,
    MoveContract,
    ValueContract,
    StandInContract,
    EditContract,
    InsertJobsContract,
    InsertContract,
    ConditionContract,
    ReadContract,
):
    """The whole contract. A subclass supplies the fixture `storage`."""
