"""`move`, `move_all` and `settle`: a status changes as compare-and-set, or nothing does."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from gnj.queue.clock import NOW, After
from gnj.queue.errors import Duplicate
from gnj.queue.model import Batch, Job, Pipeline, Record, Step
from gnj.queue.states import (
    BATCH_MOVES,
    JOB_CLAIMED,
    JOB_MOVES,
    PIPELINE_MOVES,
    STEP_MOVES,
    BatchStatus,
    JobStatus,
    Move,
    PipelineStatus,
    StepStatus,
)
from gnj.queue.storage import Settlement, Storage
from gnj.queue.where import EVERYTHING, Condition, equal
from gnj.testing.contracts.inserts import between
from gnj.testing.contracts.support import (
    LEASE,
    MINIMAL,
    PAST,
    Contract,
    full,
    job_of,
    names,
    processing,
    put,
    put_many,
    snapshot,
    values_of,
)

STATUSES: dict[type[Record], list[Any]] = {
    Job: list(JobStatus),
    Batch: [None, *BatchStatus],
    Pipeline: list(PipelineStatus),
    Step: list(StepStatus),
}
MOVES: dict[type[Record], list[Move]] = {
    Job: list(JOB_MOVES.values()),
    Batch: list(BATCH_MOVES.values()),
    Pipeline: list(PIPELINE_MOVES.values()),
    Step: list(STEP_MOVES.values()),
}
EVERY_MOVE = [pytest.param(kind, move, id=f"{kind.__name__} {move.name}") for kind in MOVES for move in MOVES[kind]]
EVERY_JOB_MOVE = [pytest.param(move, id=move.name) for move in MOVES[Job]]


def targets(move: Move) -> list[Any]:
    """The statuses a move leads to."""
    return sorted(set(move.to.values()))


def one_of_each(storage: Storage, kind: type[Record]) -> list[Any]:
    """A row in every status, each with times and numbers of its own."""
    rows = [{**MINIMAL[kind], **full(kind, 2), "tenant": str(i), "status": s} for i, s in enumerate(STATUSES[kind])]
    if kind is Job:
        return [job for job, _ in storage.insert_jobs([{**row, "start_after": PAST, "attempt": 3} for row in rows])]
    return storage.insert(kind, rows)


def judge(storage: Storage, before: list[Any], after: list[Any], frm: frozenset[Any], changes: dict[str, Any]) -> None:
    """That the rows with a status in `frm` were changed in all of `changes` and nothing else, and the others in nothing."""
    now = storage.now()
    for was, became in zip(before, after, strict=True):
        assert became == storage.get(type(was), was.id)
        if was.status not in frm:
            assert repr(became) == repr(was)
            continue
        assert became.status == changes["status"]
        assert between(PAST, became.updated_at, now)
        assert became.updated_at > was.updated_at
        written = {"status": changes["status"], "updated_at": became.updated_at}
        for name, value in changes.items():
            if name != "status":
                # NOW, or None, or what another attribute holds
                written[name] = became.updated_at if value == NOW else PAST if name == "due_at" and value else value
        assert repr(became) == repr(was.evolve(**written))


class MoveContract(Contract):
    """Moves of any kind by ids and by a condition."""

    @pytest.mark.parametrize("kind, move", EVERY_MOVE)
    def test_every_move_from_every_status(self, storage: Storage, kind: type[Any], move: Move) -> None:
        """Rows in a status the move leads out of are changed; all others stay as they are, byte for byte."""
        for target in targets(move):
            rows = one_of_each(storage, kind)
            frm = move.frm(target)
            changes = move.changes(next(iter(frm)))
            moved = storage.move(kind, [row.id for row in reversed(rows)], frm, changes)
            assert [row.id for row in moved] == [row.id for row in rows if row.status in frm]
            found = {row.id: row for row in storage.find(kind)}
            judge(storage, rows, [found[row.id] for row in rows], frm, changes)
            assert [found[row.id] for row in moved] == moved
            storage.edit(kind, list(found), {"deleted_at": NOW})

    @pytest.mark.parametrize("kind", MOVES)
    def test_every_status_from_every_status(self, storage: Storage, kind: type[Any]) -> None:
        """A storage has no rule of its own: any status may be asked for, one by one."""
        rows = one_of_each(storage, kind)
        ids = [row.id for row in rows]
        for frm, to in product(STATUSES[kind], STATUSES[kind]):
            moved = storage.move(kind, ids, {frm}, {"status": to})
            assert [(row.id, row.status) for row in moved] == [(row.id, to) for row in rows if row.status == frm]
            assert [row.status for row in storage.find(kind)] == [to if s == frm else s for s in STATUSES[kind]]
            assert len(storage.move(kind, [moved[0].id], {to}, {"status": frm})) == 1

    def test_moved_rows_come_by_id(self, storage: Storage) -> None:
        """Each once; ids that nobody has, deleted rows and other rows are passed over."""
        a, b, c, d = put_many(storage, [{"name": n, "status": JobStatus.PLANNED} for n in "abcd"])
        storage.edit(Job, [b.id], {"deleted_at": NOW})
        ids = [d.id, 2**63 - 1, a.id, b.id, d.id, -1]
        assert names(storage.move(Job, ids, {"planned"}, {"status": JobStatus.QUEUED})) == ["a", "d"]
        assert storage.get(Job, c.id) == c
        assert storage.move(Job, [], {"planned"}, {"status": JobStatus.QUEUED}) == []
        assert storage.move(Job, [c.id], (), {"status": JobStatus.QUEUED}) == []
        assert storage.get(Job, c.id) == c

    def test_any_collection_of_statuses(self, storage: Storage) -> None:
        """Texts or members, in whatever they come; None is "no status"."""
        for frm in ({"queued"}, ["queued", "failed"], (JobStatus.QUEUED,), frozenset({JobStatus.QUEUED, "planned"})):
            assert storage.move(Job, [put(storage).id], frm, {"status": JobStatus.PLANNED})
        bare, planned = storage.insert(Batch, [{}, {"status": BatchStatus.PLANNED}])
        ids = [bare.id, planned.id]
        start = {"status": BatchStatus.PROCESSING}
        assert [batch.id for batch in storage.move(Batch, ids, (None,), start)] == [bare.id]
        assert [batch.id for batch in storage.move(Batch, ids, (None, BatchStatus.PLANNED), start)] == [planned.id]
        (again,) = storage.move(Batch, [bare.id], {BatchStatus.PROCESSING}, {"status": None})
        assert again.status is None

    def test_a_move_writes_all_it_is_given(self, storage: Storage) -> None:
        """Any attribute besides the status; a named `updated_at` too."""
        job = put(storage)
        changes = full(Job)
        (moved,) = storage.move(Job, [job.id], {"queued"}, changes)
        assert values_of(moved, changes) == changes
        assert moved == job_of(storage, job.id)

    def test_move_all(self, storage: Storage) -> None:
        """Every row that meets the condition and has such a status; how many."""
        rows = [("a", "planned", 1), ("b", "queued", 1), ("c", "planned", 2), ("d", "planned", 1), ("e", "failed", 1)]
        jobs = put_many(
            storage, [{"name": n, "status": JobStatus(s), "batch_id": b, "updated_at": PAST} for n, s, b in rows]
        )
        storage.edit(Job, [jobs[3].id], {"deleted_at": NOW, "updated_at": PAST})
        untouched = [repr(job_of(storage, jobs[i].id)) for i in (2, 4)]
        before = storage.now()
        changes = {**JOB_MOVES["queue"].changes("planned"), "start_after": After(LEASE)}
        assert storage.move_all(Job, equal(Job, batch_id=1), {"planned", "queued"}, changes) == 2
        a, b = job_of(storage, jobs[0].id), job_of(storage, jobs[1].id)
        assert [a.status, b.status] == ["queued", "queued"]
        assert a.due_at == a.start_after is not None
        assert between(before, a.updated_at, storage.now())
        assert [repr(job_of(storage, jobs[i].id)) for i in (2, 4)] == untouched
        assert storage.move_all(Job, equal(Job, batch_id=1), {"planned"}, changes) == 0
        assert storage.move_all(Job, equal(Job, batch_id=99), STATUSES[Job], changes) == 0
        assert storage.move_all(Job, EVERYTHING, (), changes) == 0
        assert storage.move_all(Job, EVERYTHING, STATUSES[Job], changes) == 4

    def test_move_all_of_any_kind(self, storage: Storage) -> None:
        """And with any condition, be it about what changes."""
        storage.insert(Batch, [{"pipeline_id": 1}, {"pipeline_id": 1, "status": BatchStatus.FAILED}, {}])
        start = {"status": BatchStatus.PROCESSING}
        assert storage.move_all(Batch, equal(Batch, pipeline_id=1), (None, BatchStatus.PLANNED), start) == 1
        status: Condition = equal(Batch, status=(BatchStatus.PROCESSING, BatchStatus.FAILED))
        assert storage.move_all(Batch, status, STATUSES[Batch], {"status": BatchStatus.SUCCESSFUL}) == 2
        assert [batch.status for batch in storage.find(Batch)] == ["successful", "successful", None]


class SettleContract(Contract):
    """Settlements: each applies while it applies."""

    @pytest.mark.parametrize("move", EVERY_JOB_MOVE)
    def test_every_move_settles_from_its_statuses_only(self, storage: Storage, move: Move) -> None:
        """With the attempt and without; where it does not apply, None, and the row stays byte for byte."""
        for target, attempt in product(targets(move), (None, 3)):
            jobs = one_of_each(storage, Job)
            frm = move.frm(target)
            changes = move.changes(next(iter(frm)))
            settled = storage.settle([Settlement(job.id, attempt, frm, changes) for job in jobs])
            assert [job is not None for job in settled] == [job.status in frm for job in jobs]
            found = {job.id: job for job in storage.find(Job)}
            judge(storage, jobs, [found[job.id] for job in jobs], frm, changes)
            assert [job for job in settled if job] == [found[job.id] for job in jobs if job.status in frm]
            storage.edit(Job, list(found), {"deleted_at": NOW})

    @pytest.mark.parametrize("move", EVERY_JOB_MOVE)
    def test_another_attempt_is_refused(self, storage: Storage, move: Move) -> None:
        """From whatever status: older or newer, the row stays byte for byte."""
        jobs = one_of_each(storage, Job)
        changes = move.changes(next(iter(move.to)))
        before = snapshot(storage)
        for attempt in (0, 2, 4, 2**31 - 1, -1):
            settled = storage.settle([Settlement(job.id, attempt, move.frm(), changes) for job in jobs])
            assert settled == [None] * len(jobs)
            assert storage.settle([Settlement(jobs[2].id, attempt, move.frm(), changes)]) == [None]
        assert snapshot(storage) == before

    @pytest.mark.parametrize("move", EVERY_JOB_MOVE)
    def test_a_lease_that_lives_is_spared(self, storage: Storage, move: Move) -> None:
        """With `expired`, the row stays byte for byte while its lease lasts, or while it has none."""
        frm = move.frm()
        changes = move.changes(next(iter(frm)))
        rows = [{"status": s, "attempt": 3, "lease_expires_at": e} for s in JobStatus for e in (After(LEASE), None)]
        jobs = put_many(storage, rows)
        before = snapshot(storage)
        settled = storage.settle([Settlement(job.id, 3, frm, changes, expired=True) for job in jobs])
        assert settled == [None] * len(jobs)
        assert storage.settle([Settlement(jobs[4].id, 3, frm, changes, expired=True)]) == [None]
        assert snapshot(storage) == before

    def test_a_lease_that_ran_out_is_not(self, storage: Storage) -> None:
        """Then the settlement applies as any other; renewed in the meantime, it does not."""
        lost, renewed = processing(storage, lease_expires_at=After(-1)), processing(storage, lease_expires_at=After(-1))
        storage.renew([(renewed.id, 1)], LEASE)
        changes = JOB_MOVES["lose"].changes("processing")
        for settlements in ([lost.id, renewed.id], [renewed.id]):
            done = storage.settle([Settlement(id, 1, {"processing"}, changes, expired=True) for id in settlements])
            assert [job.id for job in done if job] == [id for id in settlements if id == lost.id]
        assert job_of(storage, lost.id).status == "queued"
        assert job_of(storage, renewed.id).status == "processing"
        assert storage.settle([Settlement(lost.id, 1, {"queued"}, changes, expired=True)]) == [None]

    def test_settlements_come_in_order(self, storage: Storage) -> None:
        """Each with changes of its own: as many as there are, of whatever shape."""
        jobs = [processing(storage, name=n) for n in "abcdef"]
        shapes: list[dict[str, Any]] = [
            {"status": JobStatus.SUCCESSFUL, "output": {"of": "a"}},
            {"status": JobStatus.FAILED, "output": {"error": "b"}, "failures": 1, "ended_at": NOW},
            {"status": JobStatus.SUCCESSFUL, "output": None},
            {"status": JobStatus.QUEUED, "due_at": After(5), "worker_id": None},
            {"status": JobStatus.SUCCESSFUL, "progress": [1], "output": [2]},
            {"status": JobStatus.SUCCESSFUL, "output": {"of": "f"}},
        ]
        ends = [Settlement(job.id, 1, JOB_CLAIMED, changes) for job, changes in zip(jobs, shapes, strict=True)]
        ends = [ends[i] for i in (5, 1, 3, 0, 4, 2)]
        ends.insert(2, Settlement(2**62, 1, JOB_CLAIMED, shapes[0]))
        settled = storage.settle(ends)
        assert names(settled) == ["f", "b", None, "d", "a", "e", "c"]
        by_name = {job.name: job for job in settled if job}
        assert [by_name[n].status for n in "abcdef"] == [changes["status"] for changes in shapes]
        assert [by_name[n].output for n in "abcdef"] == [{"of": "a"}, {"error": "b"}, None, None, [2], {"of": "f"}]
        assert by_name["e"].progress == [1]
        assert by_name["b"].failures == 1
        assert by_name["d"].due_at is not None
        assert storage.find(Job) == [by_name[n] for n in "abcdef"]

    def test_some_apply_and_others_do_not(self, storage: Storage) -> None:
        """Of settlements alike; the answer has each in its place."""
        jobs = [processing(storage, attempt=attempt) for attempt in (1, 2, 1, 3, 1)]
        changes = JOB_MOVES["succeed"].changes("processing")
        settled = storage.settle([Settlement(job.id, 1, JOB_CLAIMED, changes) for job in reversed(jobs)])
        assert [job is not None for job in settled] == [True, False, True, False, True]
        assert [job.status for job in storage.find(Job)] == [
            "successful",
            "processing",
            "successful",
            "processing",
            "successful",
        ]

    def test_two_ends_of_one_claim_in_one_call(self, storage: Storage) -> None:
        """The first applies; the second no longer does."""
        a, b = processing(storage), processing(storage)
        good = {"status": JobStatus.SUCCESSFUL, "output": 1}
        bad = {"status": JobStatus.FAILED, "output": 2}
        also = {"status": JobStatus.SUCCESSFUL, "output": 3}
        ends = [(a, good), (b, bad), (a, bad), (b, good), (a, also), (b, bad)]
        settled = storage.settle([Settlement(job.id, 1, JOB_CLAIMED, changes) for job, changes in ends])
        assert [job is not None for job in settled] == [True, True, False, False, False, False]
        assert [(job.status, job.output) for job in storage.find(Job)] == [("successful", 1), ("failed", 2)]

    def test_one_settlement_makes_way_for_another(self, storage: Storage) -> None:
        """In one call, each applied to what the one before left; the answer has the job as it then was."""
        job = processing(storage)
        steps = [("processing", "queued"), ("queued", "planned"), ("planned", "cancelled"), ("queued", "failed")]
        settled = storage.settle([Settlement(job.id, 1, {frm}, {"status": JobStatus(to)}) for frm, to in steps])
        assert [done.status if done else None for done in settled] == ["queued", "planned", "cancelled", None]
        assert storage.find(Job) == [settled[2]]

    def test_settlements_of_nothing(self, storage: Storage) -> None:
        """No job, a deleted one, no status: None, and nothing changes."""
        gone, there = processing(storage), processing(storage)
        storage.edit(Job, [gone.id], {"deleted_at": NOW})
        before = snapshot(storage)
        changes = JOB_MOVES["fail"].changes("processing")
        assert storage.settle([]) == []
        ends = [Settlement(id, None, JOB_CLAIMED, changes) for id in (gone.id, 2**63 - 1, 0)]
        assert storage.settle([*ends, Settlement(there.id, 1, (), changes)]) == [None] * 4
        assert [storage.settle([end]) for end in ends] == [[None]] * 3
        assert snapshot(storage) == before

    def test_a_settlement_writes_all_it_is_given(self, storage: Storage) -> None:
        """Any attribute besides the status, for one job and for several."""
        job, *others = [processing(storage) for _ in range(3)]
        (done,) = storage.settle([Settlement(job.id, 1, JOB_CLAIMED, full(Job, 1))])
        assert done is not None
        assert values_of(done, full(Job)) == full(Job, 1)
        changes = {name: value for name, value in full(Job, 2).items() if name not in ("unique_id", "custom_id")}
        settled = storage.settle([Settlement(job.id, 1, JOB_CLAIMED, changes) for job in others])
        assert [values_of(each, changes) for each in settled if each] == [changes] * 2
        assert storage.find(Job) == [done, *settled]

    def test_a_unique_id_that_another_has(self, storage: Storage) -> None:
        """`Duplicate` is raised, and nothing is left of the call: of one settlement, of several, of two for one id."""
        put(storage, unique_id="taken", status=JobStatus.SUCCESSFUL)
        a, b = processing(storage), processing(storage)
        other = processing(storage, tenant="t")
        before = snapshot(storage)
        good = {"status": JobStatus.SUCCESSFUL, "output": 1}
        taken, new = {**good, "unique_id": "taken"}, {**good, "unique_id": "new"}
        for ends in ([(a, taken)], [(a, good), (b, taken)], [(other, taken), (b, taken)], [(a, new), (b, new)]):
            with pytest.raises(Duplicate):
                storage.settle([Settlement(job.id, 1, JOB_CLAIMED, changes) for job, changes in ends])
            assert snapshot(storage) == before
        ends = [(a, new), (other, taken)]
        settled = storage.settle([Settlement(job.id, 1, JOB_CLAIMED, changes) for job, changes in ends])
        assert [job.unique_id for job in settled if job] == ["new", "taken"]
        (again,) = storage.settle([Settlement(a.id, 1, {"successful"}, new)])
        assert again is not None

    def test_many_settlements(self, storage: Storage) -> None:
        """A thousand claims, each with an output of its own, end in one call."""
        rows = [{"status": JobStatus.PROCESSING, "attempt": i % 3} for i in range(1000)]
        jobs = put_many(storage, rows)
        base = JOB_MOVES["succeed"].changes("processing")
        ends = [Settlement(job.id, job.attempt, JOB_CLAIMED, {**base, "output": {"n": job.id}}) for job in jobs]
        settled = storage.settle(ends)
        assert [job.output for job in settled if job] == [{"n": job.id} for job in jobs]
        assert storage.settle(ends) == [None] * 1000
