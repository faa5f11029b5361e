"""What is done for several callers in one call: claims that name a claimer for each job, ends that wait for nobody."""

from __future__ import annotations

from typing import Any

import pytest

from gnj.queue.model import Batch, Hold, Job, Pipeline
from gnj.queue.states import JOB_MOVES, JobStatus
from gnj.queue.storage import Each, Settlement, Storage
from gnj.testing.contracts.support import (
    CLAIM,
    Contract,
    claim,
    job_of,
    names,
    need,
    processing,
    put,
    put_many,
    snapshot,
    started,
)

_SUCCEEDED = JOB_MOVES["succeed"].changes(JobStatus.PROCESSING)


class TogetherContract(Contract):
    """`Each`, and settlements that are `plain`."""

    @pytest.mark.parametrize("types", [["mail"], ["mail", "post"]])
    @pytest.mark.parametrize("tenants", [None, ["", "t"], [""]])
    def test_each_job_gets_the_next_value(self, storage: Storage, types: list[str], tenants: list[str] | None) -> None:
        """In the order of claims, also where there are fewer jobs than values, and some are held for a tenant."""
        rows = [{"name": name, "priority": priority} for name, priority in zip("dacb", (1, 9, 2, 5), strict=True)]
        put_many(storage, [*rows, {"name": "x", "tenant": "u"}, {"name": "y", "type": "fax"}])
        storage.insert(Hold, [{"type": "mail", "tenant": "u"}])
        workers = Each(["1", "2", None, "4", "5"])
        found = claim(storage, types, 5, changes={**CLAIM, "worker_id": workers, "worker_type": "w"}, tenants=tenants)
        assert [(job.name, job.worker_id, job.worker_type) for job in found] == [
            ("a", "1", "w"),
            ("b", "2", "w"),
            ("c", None, "w"),
            ("d", "4", "w"),
        ]
        assert [job_of(storage, job.id) for job in found] == found

    def test_each_value_of_several_attributes(self, storage: Storage) -> None:
        """One is written to all, and another one to each."""
        put_many(storage, [{"name": n} for n in "abc"])
        changes = {**CLAIM, "worker_id": Each(["1", "2"]), "worker_type": Each(["x", "y"])}
        found = claim(storage, limit=2, changes=changes)
        assert [(job.name, job.worker_id, job.worker_type) for job in found] == [("a", "1", "x"), ("b", "2", "y")]
        assert claim(storage, ["nothing"], 2, changes=changes) == []

    @pytest.mark.parametrize("attempt", [None, 1])
    @pytest.mark.parametrize("output", [{}, {"output": {"of": 1}}, {"output": None}])
    @pytest.mark.parametrize("many", [1, 3])
    def test_a_plain_settlement(
        self, storage: Storage, attempt: int | None, output: dict[str, object], many: int
    ) -> None:
        """It writes what any other would, and gives the row."""
        jobs = [processing(storage, output=[0], worker_id="w") for _ in range(many)]
        settlements = [
            Settlement(job.id, attempt, {JobStatus.PROCESSING}, {**_SUCCEEDED, **output}, plain=True, tenant="")
            for job in jobs
        ]
        done = storage.settle(settlements)
        for before, job in zip(jobs, done, strict=True):
            assert job is not None
            assert job.ended_at is not None
            assert job == before.evolve(
                status=JobStatus.SUCCESSFUL,
                output=output.get("output", [0]),
                lease_expires_at=None,
                ended_at=job.ended_at,
                updated_at=job.updated_at,
            )
            assert job_of(storage, job.id) == job
        assert storage.settle(settlements) == [None] * many

    @pytest.mark.parametrize("alone", [True, False])
    def test_a_plain_settlement_does_not_apply(self, storage: Storage, alone: bool) -> None:  # noqa: FBT001
        """To a job that has parents, that another tenant has, that is in another try or status, of a type left out, or that is not there."""
        (batch,), (pipeline,) = storage.insert(Batch, [{}]), storage.insert(Pipeline, [{}])
        wrong = [
            processing(storage, batch_id=batch.id).id,
            processing(storage, pipeline_id=pipeline.id).id,
            processing(storage, tenant="t").id,
            processing(storage, attempt=2).id,
            processing(storage, type="own:x").id,
            put(storage).id,
            2**62,
        ]
        right = processing(storage, name="right")
        asked: dict[str, Any] = {"plain": True, "tenant": "", "but": "own:"}
        settlements = [Settlement(id, 1, {JobStatus.PROCESSING}, _SUCCEEDED, **asked) for id in wrong]
        before = snapshot(storage)
        if alone:
            assert [storage.settle([each]) for each in settlements] == [[None]] * len(wrong)
            assert snapshot(storage) == before
            return
        one = Settlement(right.id, 1, {JobStatus.PROCESSING}, _SUCCEEDED, **asked)
        assert names(storage.settle([*settlements[:3], one, *settlements[3:]])) == [None] * 3 + ["right"] + [None] * 4
        assert len(storage.find(Job)) == len(wrong)
        assert [job.status for job in storage.find(Job)].count(JobStatus.SUCCESSFUL) == 1

    @pytest.mark.parametrize("many", [1, 2])
    def test_a_plain_settlement_waits_for_nobody(self, storage: Storage, many: int) -> None:
        """What another transaction has locked is left to those who wait for it, alone."""
        need(storage, "concurrent_claims")
        jobs = [processing(storage, name=n) for n in "abc"]
        settlements = [
            Settlement(job.id, 1, {JobStatus.PROCESSING}, {**_SUCCEEDED, "output": 1}, plain=True, tenant="")
            for job in jobs[:many]
        ]
        with storage.begin() as tx:
            assert tx.get(Job, jobs[0].id, lock=True) is not None
            assert names(started(lambda: storage.settle(settlements)).result(4)) == [None, "b"][:many]
        assert names(storage.settle(settlements)) == ["a", None][:many]
