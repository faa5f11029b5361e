"""`prune`: what goes, and what somebody still needs; `trim`: what is named."""

from __future__ import annotations

from typing import Any

import pytest

from gnj.queue.clock import NOW
from gnj.queue.model import (
    Announcement,
    Batch,
    Hold,
    Job,
    JobAttempt,
    JobLog,
    Listener,
    Monitoring,
    Pipeline,
    Record,
    Step,
    attributes,
)
from gnj.queue.states import BATCH_ENDED, JOB_ENDED, PIPELINE_ENDED, BatchStatus, JobStatus, PipelineStatus
from gnj.queue.storage import Select, Storage
from gnj.queue.where import EVERYTHING, Compare, equal
from gnj.testing.contracts.support import MINIMAL, Clocked, Contract, names, need, put, put_many, snapshot, started

DAY, WEEK = 86_400.0, 7 * 86_400.0
SUCCESSFUL = JobStatus.SUCCESSFUL


def ended(storage: Storage, **values: Any) -> Job:
    """Stores a job that has just ended."""
    return put(storage, **{"status": SUCCESSFUL, "ended_at": NOW, **values})


def left(storage: Storage, kind: type[Record] = Job) -> list[Any]:
    """The ids of all rows there are, deleted ones too."""
    return [row.id for row in storage.find(kind, Select(deleted=True))]


class PruneContract(Contract):
    """Pruning."""

    @pytest.mark.parametrize("kind", [Job, Batch, Pipeline, Step, Hold, Monitoring])
    def test_what_was_deleted_goes_after_its_time(self, clocked: Clocked, kind: type[Record]) -> None:
        """Of every kind; not a millisecond before."""
        storage, clock = clocked
        rows = (
            [put(storage), put(storage)]
            if kind is Job
            else storage.insert(kind, [{**MINIMAL[kind], "tenant": t} for t in "ab"])
        )
        storage.edit(kind, [rows[0].id], {"deleted_at": NOW})
        clock.tick(DAY - 0.001)
        assert storage.prune(100, deleted=DAY, ended=None) == 0
        clock.tick(0.001)
        assert storage.prune(100, deleted=DAY, ended=None) == 1
        assert left(storage, kind) == [rows[1].id]

    def test_what_has_ended_goes_after_its_time(self, clocked: Clocked) -> None:
        """By the time of its end; only if asked for; what waits or is worked on stays for ever."""
        storage, clock = clocked
        jobs = {
            status: put(storage, status=status, ended_at=NOW if status in JOB_ENDED else None) for status in JobStatus
        }
        clock.tick(WEEK - 0.001)
        assert storage.prune(100, deleted=DAY, ended=WEEK) == 0
        clock.tick(10 * WEEK)
        assert storage.prune(100, deleted=DAY, ended=None) == 0
        assert storage.prune(100, deleted=DAY, ended=WEEK) == len(JOB_ENDED)
        assert left(storage) == [job.id for status, job in jobs.items() if status not in JOB_ENDED]

    @pytest.mark.parametrize("by", ["batch", "pipeline", "pipeline of its batch"])
    @pytest.mark.parametrize("how", ["unfinished", "ended", "deleted"])
    def test_members_of_live_parents_stay(self, clocked: Clocked, by: str, how: str) -> None:
        """Until the parent has ended or is deleted."""
        storage, clock = clocked
        over = how == "ended"
        (pipeline,) = storage.insert(
            Pipeline, [{"status": PipelineStatus.FAILED if over else PipelineStatus.PROCESSING}]
        )
        batch_status = BatchStatus.SUCCESSFUL if over or by.startswith("pipeline") else BatchStatus.PROCESSING
        of = pipeline.id if by.startswith("pipeline") else None
        (batch,) = storage.insert(Batch, [{"status": batch_status, "pipeline_id": of}])
        parents: dict[str, Any] = {"pipeline_id": pipeline.id} if by == "pipeline" else {"batch_id": batch.id}
        ended(storage, name="member", **parents)
        ended(storage, name="free")
        if how == "deleted":
            storage.edit(Pipeline, [pipeline.id], {"deleted_at": NOW})
            storage.edit(Batch, [batch.id], {"deleted_at": NOW})
        clock.tick(WEEK)
        storage.prune(100, deleted=10 * WEEK, ended=WEEK)
        assert names(storage.find(Job)) == (["member"] if how == "unfinished" else [])

    @pytest.mark.parametrize("status", ["queued", "processing", "cancel-requested"])
    @pytest.mark.parametrize("by", ["batch", "pipeline", "pipeline of its batch"])
    def test_a_parent_with_a_job_that_goes_on_is_live(self, clocked: Clocked, by: str, status: str) -> None:
        """Though it has failed long since: the one that goes on may be recovered, and must not be the only one left."""
        storage, clock = clocked
        (pipeline,) = storage.insert(Pipeline, [{"status": PipelineStatus.FAILED}])
        of = pipeline.id if by == "pipeline of its batch" else None
        batches = storage.insert(Batch, [{"status": BatchStatus.FAILED, "pipeline_id": of}] * 2)
        parents = (
            [{"pipeline_id": pipeline.id}] * 2 if by == "pipeline" else [{"batch_id": batch.id} for batch in batches]
        )
        if by == "batch":
            parents[1] = parents[0]
        over = ended(storage, **parents[0])
        other = put(storage, status=JobStatus(status), **parents[1])
        clock.tick(WEEK)
        storage.prune(100, deleted=DAY, ended=WEEK)
        assert left(storage) == [over.id, other.id]
        storage.edit(Job, [other.id], {"deleted_at": NOW})
        storage.prune(100, deleted=DAY, ended=WEEK)
        assert left(storage) == [other.id]

    @pytest.mark.parametrize("kind, via", [(Batch, "batch_id"), (Pipeline, "pipeline_id")])
    def test_what_stayed_planned_goes_with_what_it_belongs_to(
        self, clocked: Clocked, kind: type[Any], via: str
    ) -> None:
        """Once that has ended and is old; what belongs to nothing waits for ever."""
        storage, clock = clocked
        failed, young = storage.insert(kind, [{"status": "failed"}, {"status": "failed"}])
        rows = [{via: failed.id}, {via: failed.id}, {via: young.id}, {}]
        jobs = put_many(storage, [{"status": JobStatus.PLANNED, **row} for row in rows])
        clock.tick(WEEK)
        storage.edit(kind, [young.id], {"updated_at": NOW})
        assert storage.prune(1, deleted=DAY, ended=WEEK) == 1
        assert left(storage) == [job.id for job in jobs[1:]]
        assert storage.prune(100, deleted=DAY, ended=WEEK) == 2
        assert (left(storage), left(storage, kind)) == ([jobs[2].id, jobs[3].id], [young.id])

    def test_a_batch_without_a_status_lives(self, clocked: Clocked) -> None:
        """Nobody has ended it."""
        storage, clock = clocked
        (batch,) = storage.insert(Batch, [{}])
        ended(storage, batch_id=batch.id)
        clock.tick(WEEK)
        assert storage.prune(100, deleted=DAY, ended=WEEK) == 0

    def test_parents_go_when_nobody_is_left(self, clocked: Clocked) -> None:
        """In one go with their last members; a pipeline takes its steps with it."""
        storage, clock = clocked
        pipelines = storage.insert(Pipeline, [{"status": s} for s in PipelineStatus])
        batches = storage.insert(Batch, [{"status": s} for s in (None, *BatchStatus)])
        (inner,) = storage.insert(Batch, [{"status": BatchStatus.SUCCESSFUL, "pipeline_id": pipelines[2].id}])
        ended(storage, batch_id=inner.id)
        storage.insert(Step, [{"pipeline_id": pipeline.id} for pipeline in pipelines])
        clock.tick(WEEK)
        young = storage.insert(Batch, [{"status": BatchStatus.FAILED}])
        assert storage.prune(100, deleted=DAY, ended=WEEK) == 1 + len(BATCH_ENDED) + 1 + len(PIPELINE_ENDED)
        assert left(storage, Pipeline) == [p.id for p in pipelines if p.status not in PIPELINE_ENDED]
        assert left(storage, Batch) == [b.id for b in batches if b.status not in BATCH_ENDED] + [young[0].id]
        assert [step.pipeline_id for step in storage.find(Step)] == left(storage, Pipeline)

    def test_parents_stay_while_a_member_is_left(self, clocked: Clocked) -> None:
        """Also one that ended later than they did."""
        storage, clock = clocked
        (pipeline,) = storage.insert(Pipeline, [{"status": PipelineStatus.FAILED}])
        batches = storage.insert(
            Batch, [{"status": BatchStatus.FAILED}, {"status": BatchStatus.FAILED, "pipeline_id": pipeline.id}]
        )
        clock.tick(WEEK)
        for batch in batches:
            ended(storage, batch_id=batch.id)
        assert storage.prune(100, deleted=DAY, ended=WEEK) == 0

    def test_the_history_goes_with_the_job(self, clocked: Clocked) -> None:
        """And nobody else's."""
        storage, clock = clocked
        gone = ended(storage)
        clock.tick(WEEK)
        here = ended(storage)
        kinds: tuple[type[JobAttempt | JobLog], ...] = (JobAttempt, JobLog)
        for kind in kinds:
            storage.insert(kind, [{**MINIMAL[kind], "job_id": job.id} for job in (gone, here, gone)])
        storage.prune(100, deleted=DAY, ended=WEEK)
        for kind in kinds:
            assert [row.job_id for row in storage.find(kind)] == [here.id]

    def test_monitoring_goes_by_its_age(self, clocked: Clocked) -> None:
        """Only if ended jobs do; holds are no history."""
        storage, clock = clocked
        storage.insert(Monitoring, [MINIMAL[Monitoring]])
        storage.insert(Hold, [{"type": "mail"}])
        clock.tick(WEEK)
        new = storage.insert(Monitoring, [MINIMAL[Monitoring]])
        assert storage.prune(100, deleted=0.0, ended=None) == 0
        assert storage.prune(100, deleted=0.0, ended=WEEK) == 1
        assert storage.find(Monitoring) == new
        assert storage.count(Hold) == 1

    def test_at_most_so_many_of_a_kind(self, clocked: Clocked) -> None:
        """The deleted ones first, then those that ended first."""
        storage, clock = clocked
        for name in "abc":
            ended(storage, name=name)
            clock.tick(1)
        deleted = put(storage, name="d")
        storage.edit(Job, [deleted.id], {"deleted_at": NOW})
        clock.tick(WEEK)
        assert storage.prune(0, deleted=DAY, ended=WEEK) == 0
        assert storage.prune(2, deleted=DAY, ended=WEEK) == 2
        assert names(storage.find(Job, Select(deleted=True))) == ["b", "c"]
        assert [storage.prune(1, deleted=DAY, ended=WEEK) for _ in range(3)] == [1, 1, 0]

    def test_the_longest_gone_first(self, clocked: Clocked) -> None:
        """Of each type, tenant and status; and all in the end."""
        storage, clock = clocked
        for name in "abc":
            for status in (SUCCESSFUL, JobStatus.FAILED):
                for row in ({}, {"type": "other"}, {"tenant": "t"}):
                    ended(storage, name=name, status=status, **row)
            clock.tick(1)
        clock.tick(WEEK)
        groups: dict[tuple[str, str, str], str] = {}
        while rows := storage.find(Job):
            for group in {(job.type, job.tenant, job.status) for job in rows}:
                now = "".join(str(job.name) for job in rows if (job.type, job.tenant, job.status) == group)
                assert "abc".endswith(now)
                groups[group] = now
            assert storage.prune(4, deleted=DAY, ended=WEEK) == min(4, len(rows))
        assert len(groups) == 6

    def test_nothing_to_prune(self, storage: Storage) -> None:
        """Changes nothing."""
        put_many(storage, [{"name": "a"}, {"status": SUCCESSFUL, "ended_at": NOW}])
        before = snapshot(storage)
        assert storage.prune(100, deleted=DAY, ended=WEEK) == 0
        assert snapshot(storage) == before

    def test_what_another_has_locked_is_passed_over(self, clocked: Clocked) -> None:
        """Who is about to recover a job is not waited for."""
        storage, clock = clocked
        need(storage, "concurrent_claims")
        jobs = [ended(storage, name=name) for name in "ab"]
        clock.tick(WEEK)
        with storage.begin() as tx:
            tx.get(Job, jobs[0].id, lock=True)
            assert started(lambda: storage.prune(100, deleted=DAY, ended=WEEK)).result(30) == 1
        assert left(storage) == [jobs[0].id]


class TrimContract(Contract):
    """Trimming."""

    def test_what_meets_the_condition_goes(self, storage: Storage) -> None:
        """The lowest ids first, no more than the limit; soft-deleted or not; of one kind only."""
        rows = storage.insert(Announcement, [{"origin": name} for name in "ababa"])
        storage.insert(Listener, [MINIMAL[Listener]])
        storage.edit(Announcement, [rows[2].id], {"deleted_at": NOW})
        gone = equal(Announcement, origin="a")
        assert storage.trim(Announcement, gone, 2) == 2
        assert left(storage, Announcement) == [rows[1].id, rows[3].id, rows[4].id]
        assert storage.trim(Announcement, gone, 2) == 1
        assert storage.trim(Announcement, gone, 2) == 0
        assert storage.trim(Announcement, EVERYTHING, 0) == 0
        assert left(storage, Announcement) == [rows[1].id, rows[3].id]
        assert len(left(storage, Listener)) == 1

    def test_by_age(self, clocked: Clocked) -> None:
        """Times are compared to the millisecond."""
        storage, clock = clocked
        storage.insert(Announcement, [{"origin": "old"}])
        clock.tick(0.001)
        (young,) = storage.insert(Announcement, [{"origin": "young"}])
        before = Compare(attributes(Announcement)["created_at"], (), "lt", clock())
        assert storage.trim(Announcement, before, 100) == 1
        assert left(storage, Announcement) == [young.id]

    def test_ids_are_never_given_again(self, storage: Storage) -> None:
        """Whoever reads on from the last id misses nothing, though all rows before it are gone."""
        before = storage.insert(Announcement, [{"origin": "a"}, {"origin": "a"}])
        storage.trim(Announcement, EVERYTHING, 100)
        (after,) = storage.insert(Announcement, [{"origin": "a"}])
        assert after.id > before[-1].id

    def test_trimming_passes_over_what_is_locked(self, storage: Storage) -> None:
        """Two that trim at once do not wait for each other."""
        need(storage, "concurrent_claims")
        rows = storage.insert(Announcement, [{"origin": "a"}, {"origin": "a"}])
        with storage.begin() as tx:
            tx.get(Announcement, rows[0].id, lock=True)
            assert started(lambda: storage.trim(Announcement, EVERYTHING, 100)).result(30) == 1
        assert left(storage, Announcement) == [rows[0].id]
