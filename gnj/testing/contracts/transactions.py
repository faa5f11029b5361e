"""`begin`, `bind` and what else a storage does as a whole."""

from __future__ import annotations

import threading

import pytest

from gnj.queue.clock import NOW
from gnj.queue.errors import Conflict, GnjError
from gnj.queue.model import Batch, Hold, Job, Pipeline
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows, Settlement, Storage
from gnj.queue.where import EVERYTHING, equal
from gnj.testing.contracts.support import (
    CLAIM,
    LEASE,
    PAST,
    TIMEOUT,
    Connect,
    Contract,
    claim,
    names,
    need,
    processing,
    put,
    put_many,
    snapshot,
    started,
    together,
)

CAPABILITIES = {"durable", "processes", "concurrent_claims", "notify", "connections", "embedded"}


def everything(tx: Rows) -> None:
    """Every kind of write, on what is there and on what is new."""
    first, second, third, *_ = [job.id for job in tx.find(Job)]
    (pipeline,) = tx.insert(Pipeline, [{"name": "new"}])
    tx.insert(Hold, [{"type": "new"}, {"type": "old"}])
    tx.insert_jobs(
        [{"type": "mail", "unique_id": "new", "pipeline_id": pipeline.id}, {"type": "mail", "unique_id": "old"}]
    )
    tx.edit(Job, [first, second], {"name": "edited", "input": [1]})
    tx.edit(Job, [third], {"deleted_at": NOW})
    tx.move(Job, [first], {"queued"}, {"status": JobStatus.PLANNED})
    tx.move_all(Job, equal(Job, status=JobStatus.PLANNED), {"planned"}, {"status": JobStatus.QUEUED})
    tx.promote(10)
    for job in tx.claim(["mail"], 1, lease=LEASE, changes=CLAIM):
        tx.renew([(job.id, job.attempt)], 1.0)
        tx.settle([Settlement(job.id, job.attempt, {"processing"}, {"status": JobStatus.SUCCESSFUL})])
    tx.claim(["mail"], 1, lease=LEASE, changes=CLAIM)
    tx.signal()


def furnish(storage: Storage) -> None:
    """Rows for `everything` to act on."""
    put_many(storage, [{"unique_id": "old"}, {"due_at": PAST}, {}, {}])
    storage.insert(Hold, [{"type": "old"}])


class TransactionContract(Contract):
    """Whole or not at all."""

    def test_a_transaction_commits_when_the_block_ends(self, storage: Storage) -> None:
        """Then others see all it did."""
        furnish(storage)
        before = snapshot(storage)
        with storage.begin() as tx:
            everything(tx)
            inside = tx.find(Job)
        assert storage.find(Job) == inside
        assert snapshot(storage) != before
        assert storage.count(Pipeline) == 1
        assert started(lambda: storage.find(Job)).result(TIMEOUT) == inside

    @pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, GeneratorExit])
    def test_a_transaction_that_raises_leaves_nothing(self, storage: Storage, error: type[BaseException]) -> None:
        """Whatever is raised goes on to the caller; the storage goes on working."""
        furnish(storage)
        before = snapshot(storage)
        with pytest.raises(error), storage.begin() as tx:
            everything(tx)
            raise error
        assert snapshot(storage) == before
        with storage.begin() as tx:
            everything(tx)
        assert snapshot(storage) != before

    def test_a_transaction_sees_what_it_has_done(self, storage: Storage) -> None:
        """By every read."""
        with storage.begin() as tx:
            ((job, _),) = tx.insert_jobs([{"type": "mail", "name": "a"}])
            assert tx.get(Job, job.id) == job
            assert tx.find(Job) == [job]
            assert tx.count(Job, equal(Job, name="a")) == 1
            assert tx.exists(Job, equal(Job, name="a"))
            (held,) = tx.claim(["mail"], 1, lease=-1.0, changes=CLAIM)
            assert tx.lost(1) == [held]
            tx.edit(Job, [job.id], {"deleted_at": NOW})
            assert tx.get(Job, job.id) is None

    def test_what_is_not_committed_is_seen_by_nobody(self, storage: Storage) -> None:
        """Whether they wait for it or not: a transaction that ends in nothing never was."""
        job = put(storage, name="old")
        begun, looking = threading.Event(), threading.Event()

        def look() -> tuple[list[str | None], int]:
            begun.wait(TIMEOUT)
            looking.set()
            return names(storage.find(Job)), storage.count(Pipeline)

        seen = started(look)
        with pytest.raises(KeyError), storage.begin() as tx:
            tx.edit(Job, [job.id], {"name": "new"})
            tx.insert(Pipeline, [{}])
            begun.set()
            assert looking.wait(TIMEOUT)
            raise KeyError
        assert seen.result(TIMEOUT) == (["old"], 0)

    def test_a_savepoint_that_raises_undoes_what_is_in_it(self, storage: Storage) -> None:
        """And nothing else; the transaction goes on, and so does one in which nothing went wrong."""
        furnish(storage)
        with storage.begin() as tx:
            tx.insert(Pipeline, [{"name": "before"}])
            before = [tx.find(kind) for kind in (Job, Pipeline, Hold)]
            with pytest.raises(KeyError), tx.savepoint():
                everything(tx)
                raise KeyError
            assert [tx.find(kind) for kind in (Job, Pipeline, Hold)] == before
            with tx.savepoint(), tx.savepoint():
                tx.insert(Pipeline, [{"name": "inside"}])
        assert [pipeline.name for pipeline in storage.find(Pipeline)] == ["before", "inside"]
        assert len(claim(storage)) == 4

    def test_serializable_transactions_are_as_if_one_came_after_the_other(self, storage: Storage) -> None:
        """What each has read and counted on is still so when it commits; or it is told of a conflict, and tried again."""

        def count_and_add(_: int) -> None:
            while True:
                try:
                    with storage.begin_serializable() as tx:
                        number = tx.count(Job)
                        tx.insert_jobs([{"type": "mail", "name": str(number)}])
                except Conflict:
                    continue
                return

        together(8, count_and_add)
        assert sorted(job.name or "" for job in storage.find(Job)) == [str(number) for number in range(8)]

    def test_a_serializable_transaction_that_raises_leaves_nothing(self, storage: Storage) -> None:
        """As every other one."""
        with pytest.raises(ZeroDivisionError), storage.begin_serializable() as tx:
            tx.insert_jobs([{"type": "mail"}])
            raise ZeroDivisionError
        assert storage.count(Job) == 0

    def test_an_empty_transaction(self, storage: Storage) -> None:
        """Is one like others."""
        before = snapshot(storage)
        for write in (True, False):
            with storage.begin(write=write):
                pass
        assert snapshot(storage) == before

    def test_a_transaction_that_only_reads(self, storage: Storage) -> None:
        """Gives what the same calls on the storage give."""
        furnish(storage)
        job = processing(storage, lease_expires_at=PAST)
        with storage.begin(write=False) as tx:
            inside = tx.find(Job), tx.count(Job), tx.exists(Job, EVERYTHING), tx.lost(5), tx.get(Job, job.id)
        assert inside == (storage.find(Job), 5, True, [job], job)
        with pytest.raises(KeyError), storage.begin(write=False) as tx:
            tx.find(Job)
            raise KeyError
        assert storage.count(Job) == 5

    def test_every_call_on_the_storage_is_a_transaction(self, storage: Storage) -> None:
        """What one of them did is there for any other transaction, and is whole."""
        furnish(storage)
        (held,) = claim(storage, limit=1)
        assert started(lambda: storage.get(Job, held.id)).result(TIMEOUT) == held
        with pytest.raises(Exception):  # noqa: B017 - a row that cannot be stored at all: each storage has its own word
            storage.insert_jobs([{"type": "mail", "name": "first"}, {"no such attribute": 1}])
        assert "first" not in names(storage.find(Job))

    def test_an_error_in_a_transaction_leaves_nothing(self, storage: Storage) -> None:
        """Of what it did before either."""
        before = snapshot(storage)
        with pytest.raises(Exception), storage.begin() as tx:  # noqa: B017 - likewise
            tx.insert(Batch, [{}])
            tx.insert_jobs([{"no such attribute": 1}])
        assert snapshot(storage) == before

    def test_migrating_again(self, storage: Storage) -> None:
        """Changes nothing, however many do it at once."""
        furnish(storage)
        before = snapshot(storage)
        together(4, lambda _: storage.migrate())
        storage.check()
        assert snapshot(storage) == before

    def test_the_capabilities_are_known(self, storage: Storage) -> None:
        """A misspelt one would skip its tests for ever."""
        assert isinstance(storage.capabilities, frozenset)
        assert storage.capabilities <= CAPABILITIES

    def test_signals(self, storage: Storage) -> None:
        """May be given in any transaction, also when nobody listens or when it fails, any number of times."""
        with storage.begin() as tx:
            tx.signal()
            tx.signal(["changes"])
            tx.signal(["jobs", "changes"])
            tx.signal([])
        with pytest.raises(KeyError), storage.begin() as tx:
            tx.signal()
            raise KeyError
        put(storage)
        assert len(claim(storage)) == 1

    def test_listening(self, storage: Storage) -> None:
        """Begins and ends with its block, also when that raises; several may listen, in turn and at once."""
        for _ in range(2):
            with storage.listen(lambda: None) as arrive, storage.listen(lambda: None, "changes"):
                put(storage)
                assert arrive() in (("notify" in storage.capabilities), False)
            with pytest.raises(KeyError), storage.listen(lambda: None):
                raise KeyError
        assert storage.count(Job) == 2

    def test_nobody_is_woken_without_the_capability(self, storage: Storage) -> None:
        """A storage that cannot tell other processes never calls."""
        if "notify" in storage.capabilities:
            pytest.skip("capability: this storage has 'notify'")
        for wants in ("jobs", "changes"):
            with storage.listen(lambda: pytest.fail("woken"), wants) as arrive, storage.begin() as tx:
                tx.signal([wants])
                assert not arrive()

    def test_binding_to_nothing(self, storage: Storage) -> None:
        """What is no connection of the storage's kind is refused by a `GnjError`."""
        with pytest.raises(GnjError), storage.bind(object()):
            pass

    def test_bound_rows_belong_to_the_callers_transaction(self, storage: Storage, connect: Connect) -> None:
        """They are there once the caller commits, and never were if it rolls back."""
        need(storage, "connections")
        furnish(storage)
        before = snapshot(storage)
        with connect() as connection:
            with storage.bind(connection) as tx:
                everything(tx)
                inside = tx.find(Job)
            connection.rollback()
        assert snapshot(storage) == before
        with connect() as connection:
            with storage.bind(connection) as tx:
                everything(tx)
            with storage.bind(connection) as tx:
                inside = tx.find(Job)
                assert tx.count(Pipeline) == 1
            connection.commit()
        assert storage.find(Job) == inside

    def test_bound_rows_are_not_committed_by_the_storage(self, storage: Storage, connect: Connect) -> None:
        """Nor rolled back, when the block that binds them raises."""
        need(storage, "connections")
        with connect() as connection:
            with pytest.raises(KeyError), storage.bind(connection) as tx:
                tx.insert(Pipeline, [{"name": "kept"}])
                raise KeyError
            with storage.bind(connection) as tx:
                assert tx.count(Pipeline) == 1
            connection.commit()
        assert [pipeline.name for pipeline in storage.find(Pipeline)] == ["kept"]
