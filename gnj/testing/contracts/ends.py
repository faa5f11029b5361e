"""`complete`: the lean end of claims, which says no more than whether each applied."""

from __future__ import annotations

from typing import Any

import pytest

from gnj.queue.clock import NOW
from gnj.queue.model import Job
from gnj.queue.states import JOB_CLAIMED, JOB_MOVES, JobStatus
from gnj.queue.storage import Storage
from gnj.testing.contracts.inserts import between
from gnj.testing.contracts.support import (
    PAST,
    Contract,
    claim,
    full,
    job_of,
    processing,
    put_many,
    snapshot,
)

_SUCCEEDED = JOB_MOVES["succeed"].changes(JobStatus.PROCESSING)
_RELEASED = JOB_MOVES["release"].changes(JobStatus.PROCESSING)


class EndContract(Contract):
    """Ends of claims of jobs without parents."""

    @pytest.mark.parametrize("many", [1, 3])
    def test_a_claim_ends(self, storage: Storage, many: int) -> None:
        """One or several: every attribute but those that are written stays, and the stamps are the storage's present."""
        plain = {n: v for n, v in full(Job).items() if n not in ("batch_id", "pipeline_id", "status", "unique_id")}
        jobs = put_many(storage, [{**plain, "status": JobStatus.PROCESSING, "custom_id": str(n)} for n in range(many)])
        low = storage.now()
        ends = [(job.id, job.attempt, None) for job in jobs]
        assert storage.complete(ends, JOB_CLAIMED, _SUCCEEDED) == [True] * many
        high = storage.now()
        for job in jobs:
            found = job_of(storage, job.id)
            assert found.ended_at == found.updated_at
            assert between(low, found.ended_at, high)
            stamps = {"ended_at": found.ended_at, "updated_at": found.updated_at, "due_at": None}
            assert found == job.evolve(status=JobStatus.SUCCESSFUL, lease_expires_at=None, **stamps)

    def test_outputs_of_some(self, storage: Storage) -> None:
        """An output is written where it is not None; elsewhere the one there is stays."""
        outputs: list[Any] = [None, {"a": 'b"\\,{}'}, [], None, "é\n€", 0, 1e23, False, ["null", None]]
        jobs = [processing(storage, output="before") for _ in outputs]
        for some in (slice(0, 1), slice(1, 2), slice(2, None)):
            ends = [(job.id, 1, output) for job, output in zip(jobs[some], outputs[some], strict=True)]
            assert all(storage.complete(ends, JOB_CLAIMED, _SUCCEEDED))
        found = [job_of(storage, job.id).output for job in jobs]
        assert repr(found) == repr(["before" if output is None else output for output in outputs])

    def test_some_apply_and_others_do_not(self, storage: Storage) -> None:
        """Wrong attempt, wrong status, a batch, a pipeline, deleted, not there: False in its place, and nothing written."""
        good = [processing(storage), processing(storage, status=JobStatus.CANCEL_REQUESTED)]
        bad = [
            processing(storage, attempt=2),
            processing(storage, attempt=0),
            *(processing(storage, status=status) for status in JobStatus if status not in JOB_CLAIMED),
            processing(storage, batch_id=1),
            processing(storage, pipeline_id=1),
            processing(storage),
        ]
        storage.edit(Job, [bad[-1].id], {"deleted_at": NOW})
        before = snapshot(storage)
        ids = [job.id for job in bad] + [2**63 - 1, 0]
        for output in (None, {"x": 1}):
            assert storage.complete([(id, 1, output) for id in ids], JOB_CLAIMED, _SUCCEEDED) == [False] * len(ids)
            for id in ids:
                assert storage.complete([(id, 1, output)], JOB_CLAIMED, _SUCCEEDED) == [False]
        assert storage.complete([(job.id, 1, None) for job in good], (), _SUCCEEDED) == [False] * 2
        assert snapshot(storage) == before
        mixed = [ids[0], good[1].id, *ids[1:], good[0].id]
        done = storage.complete([(id, 1, None) for id in mixed], JOB_CLAIMED, _SUCCEEDED)
        assert [id for id, ended in zip(mixed, done, strict=True) if ended] == [good[1].id, good[0].id]
        assert [job_of(storage, job.id).status for job in good] == ["successful"] * 2

    def test_a_claim_that_is_named_twice(self, storage: Storage) -> None:
        """The first end counts, that of another attempt does not; nothing is no end."""
        a, b, c = processing(storage), processing(storage), processing(storage)
        ends = [(a.id, 1, "a"), (b.id, 2, "no"), (a.id, 1, "again"), (b.id, 1, None), (c.id, 1, "c"), (b.id, 1, "late")]
        assert storage.complete(ends, JOB_CLAIMED, _SUCCEEDED) == [True, False, False, True, True, False]
        assert [job.output for job in storage.find(Job)] == ["a", None, "c"]
        assert storage.complete(ends, JOB_CLAIMED, _SUCCEEDED) == [False] * 6
        assert storage.complete([], JOB_CLAIMED, _SUCCEEDED) == []

    def test_a_claim_is_given_back(self, storage: Storage) -> None:
        """Any change goes, also to the value of another attribute."""
        put_many(storage, [{}, {"start_after": PAST}])
        claimed = claim(storage)
        ends = [(job.id, job.attempt, None) for job in claimed]
        with storage.begin() as tx:
            assert tx.complete(ends, {"processing"}, _RELEASED) == [True, True]
        for job in storage.find(Job):
            assert (job.status, job.due_at, job.lease_expires_at) == ("queued", job.start_after, None)
        assert [(job.id, job.attempt) for job in claim(storage)] == [(job.id, 2) for job in claimed]

    def test_a_transaction_that_fails_ends_nothing(self, storage: Storage) -> None:
        """What `complete` wrote goes with the rest."""
        job = processing(storage)
        before = snapshot(storage)
        with pytest.raises(ZeroDivisionError), storage.begin() as tx:
            assert tx.complete([(job.id, 1, {"x": 1})], JOB_CLAIMED, _SUCCEEDED) == [True]
            raise ZeroDivisionError
        assert snapshot(storage) == before

    def test_many_ends(self, storage: Storage) -> None:
        """In whatever order they are named."""
        jobs = put_many(storage, [{"status": JobStatus.PROCESSING, "attempt": 1} for _ in range(1_200)])
        ends = [(job.id, 1, None if job.id % 3 else {"id": job.id}) for job in reversed(jobs)]
        assert storage.complete(ends, JOB_CLAIMED, _SUCCEEDED) == [True] * len(jobs)
        for job in storage.find(Job):
            assert (job.status, job.output) == ("successful", None if job.id % 3 else {"id": job.id})
