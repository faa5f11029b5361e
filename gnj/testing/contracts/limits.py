"""`take`, `permits` and `rewrite`: what passes of a limited queue are made of."""

from __future__ import annotations

import pytest

from gnj.queue.clock import NOW, After
from gnj.queue.model import Grant, Hold, Job, Permit
from gnj.queue.states import JobStatus
from gnj.queue.storage import Storage
from gnj.testing.contracts.support import (
    CLAIM,
    LEASE,
    Contract,
    processing,
    put,
    put_many,
    snapshot,
)


class LimitContract(Contract):
    """What limits need of a storage."""

    def test_what_is_taken_is_claimed(self, storage: Storage) -> None:
        """By id, each once, held or not; all else stays."""
        jobs = put_many(storage, [{"priority": n, "input": [n]} for n in range(3)])
        other = put(storage)
        storage.insert(Hold, [{"type": "mail"}])
        changes = {**CLAIM, "worker_id": "w"}
        taken = storage.take([jobs[2].id, jobs[0].id, jobs[1].id, jobs[0].id], lease=LEASE, changes=changes)
        assert [job.id for job in taken] == [job.id for job in jobs]
        assert taken == [storage.get(Job, job.id) for job in jobs]
        assert {(j.status, j.attempt, j.lease, j.worker_id) for j in taken} == {("processing", 1, LEASE, "w")}
        for job in taken:
            assert job.lease_expires_at is not None
            assert job.started_at is not None
            assert (job.lease_expires_at - job.started_at).total_seconds() == LEASE
        assert [job.input for job in taken] == [[0], [1], [2]]
        assert storage.get(Job, other.id) == other
        assert storage.take([other.id], lease=LEASE, changes=changes)[0].attempt == 1

    def test_only_what_is_ready_is_taken(self, storage: Storage) -> None:
        """Nothing happens to the others."""
        others = [
            put(storage, due_at=After(60)),
            put(storage, due_at=After(-60)),
            put(storage, status=JobStatus.PLANNED),
            put(storage, status=JobStatus.FAILED, ended_at=NOW),
            put(storage, deleted_at=NOW),
            processing(storage),
        ]
        before = snapshot(storage)
        ids = [job.id for job in others]
        assert storage.take([*ids, ids[-1] + 1], lease=LEASE, changes=CLAIM) == []
        assert storage.take([], lease=LEASE, changes=CLAIM) == []
        for id in ids:
            assert storage.take([id], lease=LEASE, changes=CLAIM) == []
        assert snapshot(storage) == before
        again = put(storage, attempt=6)
        (taken,) = storage.take([ids[0], again.id], lease=LEASE, changes=CLAIM)
        assert (taken.id, taken.attempt) == (again.id, 7)

    def test_which_permits_count(self, storage: Storage) -> None:
        """Those of claims that are not over, of that limit alone."""
        jobs = [
            processing(storage),
            processing(storage, status=JobStatus.CANCEL_REQUESTED),
            processing(storage, attempt=2),
            processing(storage, deleted_at=NOW),
            put(storage, attempt=1),
            put(storage, status=JobStatus.SUCCESSFUL, attempt=1, ended_at=NOW),
        ]
        nothing = jobs[-1].id + 1
        made = storage.insert(
            Permit,
            [
                {"limit_id": 7, "key": f"k{n}", "job_id": id, "attempt": 1}
                for n, id in enumerate([*(job.id for job in jobs), nothing, jobs[0].id])
            ],
        )
        (gone, other) = storage.insert(
            Permit,
            [
                {"limit_id": 7, "job_id": jobs[0].id, "attempt": 1, "deleted_at": NOW},
                {"limit_id": 8, "job_id": jobs[0].id, "attempt": 1},
            ],
        )
        assert storage.permits(7) == list(zip(made, [True, True] + [False] * 5 + [True], strict=True))
        assert storage.permits(8) == [(other, True)]
        assert storage.permits(9) == []
        assert gone.deleted_at is not None

    @pytest.mark.parametrize("changes", [{"count": 5}, {"count": 1}, {"count": 2, "key": "x", "period": 9}])
    def test_one_row_is_rewritten(self, storage: Storage, changes: dict[str, int | str]) -> None:
        """Whether that changes it or not; as an edit of it would."""
        row, other = storage.insert(Grant, [{"limit_id": 1, "key": "k", "period": 3, "count": 1}] * 2)
        assert storage.rewrite(Grant, row.id, changes) is True
        after = storage.get(Grant, row.id)
        assert after is not None
        assert after == row.evolve(**changes, updated_at=after.updated_at)
        assert storage.get(Grant, other.id) == other
        assert storage.rewrite(Grant, other.id + 1, changes) is False
        storage.edit(Grant, [other.id], {"deleted_at": NOW})
        before = snapshot(storage)
        assert storage.rewrite(Grant, other.id, changes) is False
        assert snapshot(storage) == before
