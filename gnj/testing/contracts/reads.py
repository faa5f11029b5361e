"""`get`, `find`, `count`, `exists` and `tally`: which rows are seen, and in which order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gnj.queue.clock import NOW
from gnj.queue.model import Batch, Job, Pipeline, Record, Step, Tick
from gnj.queue.states import BatchStatus, JobStatus
from gnj.queue.storage import ALL, Bucket, Rows, Select, Storage
from gnj.queue.where import EVERYTHING, And, Or, equal
from gnj.testing.contracts.support import MINIMAL, PAST, Contract, names, put, put_many, snapshot

KINDS = list(MINIMAL)


def ordered(storage: Storage, *order: tuple[str, bool], **select: Any) -> list[str | None]:
    """The names of all jobs in that order."""
    return names(storage.find(Job, Select(order=order, **select)))


def stored(storage: Storage | Rows, kind: type[Record], **values: Any) -> Record:
    """One row of any kind."""
    row = {**MINIMAL[kind], **values}
    if kind is Tick:  # of one moment there is one at most
        row["schedule_id"] = storage.count(Tick) + 1
    if kind is Job:
        return storage.insert_jobs([row])[0][0]
    return storage.insert(kind, [row])[0]


class ReadContract(Contract):
    """Reads."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_get_gives_the_row_with_that_id(self, storage: Storage, kind: type[Record]) -> None:
        """The whole of it, as it was stored."""
        first, second = stored(storage, kind, tenant="a"), stored(storage, kind, tenant="b")
        assert storage.get(kind, first.id) == first
        assert storage.get(kind, second.id) == second

    @pytest.mark.parametrize("id", [0, -1, 2**31, 2**63 - 1, -(2**63)])
    def test_get_of_an_id_nobody_has(self, storage: Storage, id: int) -> None:
        """None, for any 64-bit id."""
        assert storage.get(Job, id) is None
        with storage.begin() as tx:
            assert tx.get(Job, id, lock=True) is None

    def test_get_of_another_tenants_row(self, storage: Storage) -> None:
        """None; any tenant's row without a tenant, and "" is a tenant like others."""
        mine, nobodys = put(storage, tenant="me"), put(storage)
        assert storage.get(Job, mine.id, tenant="me") == mine
        assert storage.get(Job, mine.id, tenant="you") is None
        assert storage.get(Job, mine.id, tenant="") is None
        assert storage.get(Job, mine.id, tenant=None) == mine
        assert storage.get(Job, nobodys.id, tenant="") == nobodys
        assert storage.get(Job, nobodys.id, tenant="me") is None

    @pytest.mark.parametrize("kind", KINDS)
    def test_soft_deleted_rows_are_not_seen(self, storage: Storage, kind: type[Record]) -> None:
        """By no read, unless `find` is asked for them."""
        row, other = stored(storage, kind, tenant="a"), stored(storage, kind, tenant="b")
        (deleted,) = storage.edit(kind, [row.id], {"deleted_at": NOW})
        assert deleted.deleted_at is not None
        assert storage.get(kind, row.id) is None
        with storage.begin() as tx:
            assert tx.get(kind, row.id, lock=True) is None
        assert storage.find(kind) == [other]
        assert storage.find(kind, tenant="a") == []
        assert storage.find(kind, Select(deleted=True)) == [deleted, other]
        assert storage.find(kind, Select(deleted=True), tenant="a") == [deleted]
        assert storage.count(kind) == 1
        assert not storage.exists(kind, equal(kind, id=row.id))

    def test_get_with_lock_gives_the_row(self, storage: Storage) -> None:
        """Under the same conditions as without, and as this transaction has changed it."""
        job = put(storage, tenant="me")
        with storage.begin() as tx:
            assert tx.get(Job, job.id, lock=True, tenant="you") is None
            assert tx.get(Job, job.id, lock=True, tenant="me") == job
            (changed,) = tx.edit(Job, [job.id], {"name": "new"})
            assert tx.get(Job, job.id, lock=True) == changed
            assert tx.get(Job, job.id) == changed

    def test_find_gives_every_row_by_id(self, storage: Storage) -> None:
        """Of any tenant, unless one is named."""
        jobs = put_many(storage, [{"name": str(i), "tenant": "ab"[i % 2]} for i in range(5)])
        assert storage.find(Job) == jobs == storage.find(Job, ALL)
        assert names(storage.find(Job, tenant="a")) == ["0", "2", "4"]
        assert storage.find(Job, tenant="c") == storage.find(Job, tenant="") == []

    def test_find_in_an_empty_storage(self, storage: Storage) -> None:
        """Nothing."""
        assert [storage.find(kind) for kind in KINDS] == [[]] * len(KINDS)
        assert [storage.count(kind) for kind in KINDS] == [0] * len(KINDS)
        assert not storage.exists(Job, EVERYTHING)

    def test_find_where(self, storage: Storage) -> None:
        """Only rows for which the condition is true, not those for which it is unknown."""
        put_many(storage, [{"name": "a", "priority": 1}, {"name": "b", "priority": 2}, {"priority": 3}])
        assert names(storage.find(Job, Select(equal(Job, priority=2)))) == ["b"]
        assert names(storage.find(Job, Select(equal(Job, name=("a", "b"))))) == ["a", "b"]
        assert names(storage.find(Job, Select(equal(Job, name=None)))) == [None]
        assert storage.find(Job, Select(Or(()))) == []
        assert storage.count(Job, Or(())) == 0
        assert storage.count(Job, And(())) == 3

    def test_count_and_exists(self, storage: Storage) -> None:
        """Rows of any tenant unless one is named; those that meet the condition."""
        put_many(storage, [{"tenant": "a"}, {"tenant": "a", "priority": 9}, {"tenant": "b"}])
        assert storage.count(Job) == 3
        assert storage.count(Job, tenant="a") == 2
        assert storage.count(Job, equal(Job, priority=9)) == 1
        assert storage.count(Job, equal(Job, priority=9), tenant="b") == 0
        assert storage.exists(Job, equal(Job, priority=9))
        assert not storage.exists(Job, equal(Job, priority=8))
        assert storage.exists(Job, EVERYTHING)

    def test_order_by_numbers(self, storage: Storage) -> None:
        """Ascending and descending; ties by the id, ascending, both ways."""
        put_many(storage, [{"name": n, "priority": p} for n, p in [("a", 2), ("b", -1), ("c", 2), ("d", 10)]])
        assert ordered(storage, ("priority", False)) == ["b", "a", "c", "d"]
        assert ordered(storage, ("priority", True)) == ["d", "a", "c", "b"]
        assert ordered(storage, ("id", True)) == ["d", "c", "b", "a"]

    def test_order_by_several(self, storage: Storage) -> None:
        """The second where the first is the same."""
        rows = [("a", 1, 1), ("b", 2, 1), ("c", 1, 2), ("d", 2, 2)]
        put_many(storage, [{"name": n, "priority": p, "failures": f} for n, p, f in rows])
        assert ordered(storage, ("priority", False), ("failures", True)) == ["c", "a", "d", "b"]
        assert ordered(storage, ("failures", True), ("priority", True)) == ["d", "c", "b", "a"]

    @pytest.mark.parametrize(
        "attribute, low, high",
        [
            ("worker_id", "a", "b"),
            ("timeout", 0.5, 2.0),
            ("batch_id", 2, 2**62),
            ("started_at", PAST, PAST + timedelta(milliseconds=1)),
        ],
    )
    def test_nulls_come_last_when_ascending(self, storage: Storage, attribute: str, low: Any, high: Any) -> None:
        """And first when descending, whatever the kind of the attribute."""
        values = {"high": high, "none": None, "low": low, "none too": None}
        put_many(storage, [{"name": name, attribute: value} for name, value in values.items()])
        assert ordered(storage, (attribute, False)) == ["low", "high", "none", "none too"]
        assert ordered(storage, (attribute, True)) == ["none", "none too", "high", "low"]

    def test_texts_are_ordered_by_code_point(self, storage: Storage) -> None:
        """Not by any language, and not by the halves of what UTF-16 writes as two."""
        texts = ["", " ", "A", "Z", "a", "a b", "aa", "z", "~", "É", "é", "ﬀ", "\uffee", "𝄞", "😀"]
        put_many(storage, [{"name": text} for text in reversed(texts)])
        assert ordered(storage, ("name", False)) == texts
        assert ordered(storage, ("name", True)) == texts[::-1]

    def test_order_by_status_and_truth(self, storage: Storage) -> None:
        """A status is a text; false comes before true."""
        put_many(storage, [{"name": s.value, "status": s, "recoverable": s is JobStatus.FAILED} for s in JobStatus])
        assert ordered(storage, ("status", False)) == sorted(JobStatus)
        assert ordered(storage, ("recoverable", True))[0] == "failed"
        assert ordered(storage, ("recoverable", False))[-1] == "failed"

    def test_order_by_what_a_row_belongs_to(self, storage: Storage) -> None:
        """By an attribute of that row; who belongs to none, or to one that is deleted, has a null there."""
        batches = storage.insert(
            Batch, [{"status": s} for s in (BatchStatus.SUCCESSFUL, BatchStatus.FAILED, None, BatchStatus.PLANNED)]
        )
        storage.edit(Batch, [batches[3].id], {"deleted_at": NOW})
        put_many(storage, [{"name": n, "batch_id": b and b.id} for n, b in zip("abcde", [*batches, None], strict=True)])
        assert ordered(storage, ("batch.status", False)) == ["b", "a", "c", "d", "e"]
        assert ordered(storage, ("batch.status", True)) == ["c", "d", "e", "a", "b"]
        assert ordered(storage, ("batch.id", True), ("name", False), limit=3) == ["d", "e", "c"]
        assert ordered(storage, ("batch.status", False), per="type", limit=2) == ["b", "a"]
        (pipeline,) = storage.insert(Pipeline, [{"name": "p"}])
        steps = storage.insert(Step, [{"pipeline_id": 10**9}, {"pipeline_id": pipeline.id}])
        assert storage.find(Step, Select(order=(("pipeline.name", False),))) == steps[::-1]

    def test_tally(self, storage: Storage) -> None:
        """A count for each combination of values there is, of what meets the condition, is the tenant's and not deleted."""
        rows = [
            ("a", "queued", "t"),
            ("a", "queued", "t"),
            ("a", "failed", "t"),
            ("b", "queued", "u"),
            ("b", "queued", "t"),
        ]
        jobs = put_many(storage, [{"type": n, "status": JobStatus(s), "tenant": t} for n, s, t in rows])
        storage.edit(Job, [jobs[0].id], {"deleted_at": NOW})
        queued, failed = JobStatus.QUEUED, JobStatus.FAILED
        found = storage.tally(Job, ["type", "status"])
        assert found == {("a", queued): 1, ("a", failed): 1, ("b", queued): 2}
        assert all(isinstance(status, JobStatus) for _, status in found)
        assert storage.tally(Job, ["status"], equal(Job, type="a"), tenant="t") == {(queued,): 1, (failed,): 1}
        assert storage.tally(Job, ["batch_id"]) == {(None,): 4}
        assert storage.tally(Job, ["type"], equal(Job, type="c")) == {}

    def test_tally_by_periods(self, storage: Storage) -> None:
        """Periods count from the epoch in UTC; a time on the edge of two belongs to the later one; null stays null."""
        day = 86_400
        midnight = PAST.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        number = int(midnight.timestamp()) // day
        moments = [midnight - timedelta(milliseconds=1), midnight, midnight + timedelta(hours=23), None]
        put_many(storage, [{"ended_at": moment} for moment in moments])
        assert storage.tally(Job, [Bucket("ended_at", day)]) == {(number - 1,): 1, (number,): 2, (None,): 1}
        assert storage.tally(Job, ["type", Bucket("ended_at", 3600)], equal(Job, ended_at=midnight)) == {
            ("mail", number * 24): 1
        }

    def test_limit_and_offset(self, storage: Storage) -> None:
        """Count in the given order."""
        put_many(storage, [{"name": n} for n in "abcde"])
        back = ("name", True)
        assert ordered(storage, limit=2) == ["a", "b"]
        assert ordered(storage, back, limit=2) == ["e", "d"]
        assert ordered(storage, limit=0) == []
        assert ordered(storage, limit=99) == list("abcde")
        assert ordered(storage, offset=3) == ["d", "e"]
        assert ordered(storage, back, offset=1, limit=2) == ["d", "c"]
        assert ordered(storage, offset=5) == ordered(storage, offset=99, limit=1) == []

    def test_limit_and_offset_for_each_value(self, storage: Storage) -> None:
        """With `per` they count anew for each; rows come grouped by it in ascending order, nulls last."""
        rows = [("a", 7), ("b", None), ("c", 7), ("d", 3), ("e", 7), ("f", None), ("g", None)]
        put_many(storage, [{"name": n, "batch_id": b} for n, b in rows])
        per = {"per": "batch_id"}
        assert ordered(storage, **per) == ["d", "a", "c", "e", "b", "f", "g"]
        assert ordered(storage, limit=2, **per) == ["d", "a", "c", "b", "f"]
        assert ordered(storage, ("name", True), limit=1, **per) == ["d", "e", "g"]
        assert ordered(storage, offset=1, **per) == ["c", "e", "f", "g"]
        assert ordered(storage, ("name", True), offset=1, limit=1, **per) == ["c", "f"]
        assert ordered(storage, limit=0, **per) == []

    def test_per_with_a_condition(self, storage: Storage) -> None:
        """What does not meet it, is of another tenant or deleted, is not counted."""
        rows = [("a", 1, "t"), ("b", 1, "t"), ("c", 1, "u"), ("d", 2, "t"), ("e", 2, "t"), ("f", 2, "t")]
        jobs = put_many(storage, [{"name": n, "batch_id": b, "tenant": t} for n, b, t in rows])
        storage.edit(Job, [jobs[0].id], {"deleted_at": NOW})
        select = Select(equal(Job, batch_id=(1, 2), name=tuple("abcef")), limit=1, per="batch_id")
        assert names(storage.find(Job, select, tenant="t")) == ["b", "e"]
        steps = storage.insert(Step, [{"pipeline_id": p, "index": i} for p in (2, 1) for i in (3, 2)])
        found = storage.find(Step, Select(order=(("index", False),), limit=1, per="pipeline_id"))
        assert found == [steps[3], steps[1]]

    def test_columns(self, storage: Storage) -> None:
        """Those that are asked for, of the rows that `find` gives, in that order, and as records have them."""
        rows = [
            {"name": "b", "input": {"a": [1, None]}, "status": JobStatus.FAILED, "ended_at": PAST, "batch_id": 1},
            {"name": "a", "tenant": "t", "batch_id": 1},
            {"name": "c", "input": "x", "priority": 5, "batch_id": 2},
        ]
        put_many(storage, rows)
        asked = ["status", "input", "ended_at", "name", "priority", "id"]
        for select in (
            ALL,
            Select(equal(Job, priority=0)),
            Select(order=(("name", True),), limit=2, offset=1),
            Select(order=(("name", False),), limit=1, per="batch_id"),
        ):
            for tenant in (None, "t", "u"):
                found = [
                    tuple(getattr(job, name) for name in asked) for job in storage.find(Job, select, tenant=tenant)
                ]
                assert storage.columns(Job, asked, select, tenant=tenant) == found
                assert storage.columns(Job, ["batch_id"], select, tenant=tenant) == [
                    (job.batch_id,) for job in storage.find(Job, select, tenant=tenant)
                ]
        assert all(type(status) is JobStatus for (status,) in storage.columns(Job, ["status"]))
        ((given, _),) = storage.columns(Job, ["input", "id"], Select(limit=1))
        given["a"].append("the caller's own")
        assert storage.columns(Job, ["input"], Select(limit=1)) == [({"a": [1, None]},)]

    def test_reads_change_nothing(self, storage: Storage) -> None:
        """Not even a time."""
        put_many(storage, [{"name": "a"}, {"name": "b", "updated_at": PAST}])
        before = snapshot(storage)
        storage.get(Job, storage.find(Job)[0].id)
        storage.find(Job)
        storage.count(Job)
        storage.exists(Job, EVERYTHING)
        storage.tally(Job, ["type"])
        storage.lost(10)
        storage.now()
        assert snapshot(storage) == before
