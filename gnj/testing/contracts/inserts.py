"""`insert`, `insert_jobs` and `edit`: rows come, and change in anything but their status."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from gnj.queue.clock import NOW, After
from gnj.queue.errors import Duplicate, GnjError
from gnj.queue.model import (
    ONE_OF,
    Batch,
    Grant,
    Hold,
    Job,
    JobAttempt,
    JobLog,
    Permit,
    Pipeline,
    PushWorker,
    QueueLimit,
    Record,
    Secret,
    Step,
)
from gnj.queue.states import JobStatus, Same
from gnj.queue.storage import Storage
from gnj.testing.contracts.support import (
    LEASE,
    MINIMAL,
    PAST,
    Contract,
    full,
    names,
    persistently,
    put,
    put_many,
    snapshot,
    together,
    values_of,
)

KINDS = [JobAttempt, Batch, Pipeline, Step, Hold, QueueLimit, Permit, Grant, PushWorker, JobLog, Secret]
SECOND = timedelta(seconds=1)


def between(low: datetime, moment: datetime | None, high: datetime) -> bool:
    """Whether a moment lies there, in UTC and whole milliseconds."""
    assert moment is not None
    assert moment.utcoffset() == timedelta(0)
    assert moment.microsecond % 1000 == 0
    return low <= moment <= high


class InsertContract(Contract):
    """Every kind but jobs."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_a_row_leaves_out_has_the_default(self, storage: Storage, kind: type[Record]) -> None:
        """And its times are the storage's present."""
        before = storage.now()
        (row,) = storage.insert(kind, [MINIMAL[kind]])
        after = storage.now()
        assert row == kind(**MINIMAL[kind], id=row.id, created_at=row.created_at, updated_at=row.updated_at)
        assert between(before, row.created_at, after)
        assert between(before, row.updated_at, after)
        assert storage.find(kind) == [row]

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_attribute_is_kept(self, storage: Storage, kind: type[Record]) -> None:
        """What is named is written, times of the storage's own among them."""
        (row,) = storage.insert(kind, [full(kind)])
        assert values_of(row, full(kind)) == full(kind)
        assert storage.get(kind, row.id) == row

    def test_ids_ascend_in_the_given_order(self, storage: Storage) -> None:
        """And rows may differ in what they give."""
        rows: list[dict[str, Any]] = [
            {"name": "a"},
            {},
            {"name": "c", "metadata": "m"},
            {"metadata": "n"},
            {"name": None},
        ]
        pipelines = storage.insert(Pipeline, rows)
        assert [(p.name, p.metadata) for p in pipelines] == [(r.get("name"), r.get("metadata")) for r in rows]
        ids = [p.id for p in pipelines]
        assert ids == sorted(set(ids))
        (later,) = storage.insert(Pipeline, [{}])
        assert later.id > ids[-1]

    def test_nothing_is_inserted(self, storage: Storage) -> None:
        """No rows, no answer."""
        before = snapshot(storage)
        assert storage.insert(Batch, []) == []
        assert storage.insert(Hold, []) == []
        assert storage.insert_jobs([]) == []
        assert snapshot(storage) == before

    def test_a_second_hold_is_not_stored(self, storage: Storage) -> None:
        """The one there is stands in its place, unchanged: across calls and within one."""
        first, *others = storage.insert(Hold, [{"type": "mail"}, {"type": "mail", "tenant": "t"}, {"type": "all"}])
        before = snapshot(storage)
        assert storage.insert(Hold, [{"type": "mail"}]) == [first]
        assert storage.insert(Hold, [{"type": "all"}, {"type": "mail"}, {"type": "all"}]) == [
            others[1],
            first,
            others[1],
        ]
        assert storage.insert(Hold, [{"type": "mail", "tenant": "t"}]) == [others[0]]
        assert snapshot(storage) == before
        one, two, same = storage.insert(Hold, [{"type": "a"}, {"type": "b"}, {"type": "a"}])
        assert one == same != two
        assert storage.count(Hold) == 5

    @pytest.mark.parametrize("kind", ONE_OF)
    def test_of_some_rows_there_is_one_at_most(self, storage: Storage, kind: type[Record]) -> None:
        """With the same tenant and the same name; another tenant's is another."""
        (first,) = storage.insert(kind, [MINIMAL[kind]])
        (other,) = storage.insert(kind, [{**MINIMAL[kind], "tenant": "t"}])
        assert other.id > first.id
        before = snapshot(storage)
        given = {**full(kind), **{name: getattr(first, name) for name in ONE_OF[kind]}}
        assert storage.insert(kind, [given, MINIMAL[kind]]) == [first, first]
        assert snapshot(storage) == before
        storage.edit(kind, [first.id], {"deleted_at": NOW})
        (second,) = storage.insert(kind, [given])
        assert second.id > other.id
        assert values_of(second, given) == given

    @pytest.mark.parametrize("kind", ONE_OF)
    def test_one_of_many_at_once_is_stored(self, storage: Storage, kind: type[Record]) -> None:
        """And all are given it."""

        def store(_place: int) -> Record:
            return persistently(lambda: storage.insert(kind, [MINIMAL[kind]])[0])

        assert {row.id for row in together(8, store)} == {row.id for row in storage.find(kind)}
        assert storage.count(kind) == 1

    def test_a_deleted_hold_makes_room(self, storage: Storage) -> None:
        """A hold after it is a new one."""
        (first,) = storage.insert(Hold, [{"type": "mail"}])
        storage.edit(Hold, [first.id], {"deleted_at": NOW})
        (second,) = storage.insert(Hold, [{"type": "mail"}])
        assert second.id > first.id
        assert storage.find(Hold) == [second]


class InsertJobsContract(Contract):
    """Jobs, and their unique ids."""

    def test_a_job_has_the_defaults(self, storage: Storage) -> None:
        """Those of the record."""
        before = storage.now()
        ((job, new),) = storage.insert_jobs([{"type": "mail"}])
        assert new is True
        assert job == Job(type="mail", id=job.id, created_at=job.created_at, updated_at=job.updated_at)
        assert between(before, job.created_at, storage.now())
        assert between(before, job.updated_at, storage.now())
        assert storage.find(Job) == [job]

    def test_every_attribute_of_a_job_is_kept(self, storage: Storage) -> None:
        """Whether it is stored alone or with others."""
        (one, two), other = put_many(storage, [full(Job, 1), full(Job, 2)]), put(storage, **full(Job, 3))
        for number, job in enumerate((one, two, other), 1):
            assert values_of(job, full(Job)) == full(Job, number)
        assert storage.find(Job) == [one, two, other]

    def test_jobs_come_back_in_order(self, storage: Storage) -> None:
        """With ascending ids, though they give different attributes; many at once."""
        rows = [{"type": "t", "name": str(i), **({"priority": i} if i % 3 else {})} for i in range(250)]
        answer = storage.insert_jobs(rows)
        jobs = [job for job, _ in answer]
        assert all(new for _, new in answer)
        assert names(jobs) == [row["name"] for row in rows]
        assert [job.priority for job in jobs] == [row.get("priority", 4) for row in rows]
        assert [job.id for job in jobs] == sorted({job.id for job in jobs})
        assert storage.find(Job) == jobs

    def test_a_taken_unique_id_gives_the_job_that_has_it(self, storage: Storage) -> None:
        """That job, unchanged, and False; the others are stored."""
        first = put(storage, unique_id="u", name="first", updated_at=PAST)
        rows = [
            {"type": "other", "name": "a"},
            {"type": "other", "unique_id": "u", "name": "b"},
            {"type": "t", "name": "c"},
        ]
        (a, new_a), (b, new_b), (c, new_c) = storage.insert_jobs(rows)
        assert (new_a, new_b, new_c) == (True, False, True)
        assert b == first
        assert names([a, c]) == ["a", "c"]
        assert first.id < a.id < c.id
        assert storage.find(Job) == [first, a, c]

    def test_a_unique_id_twice_in_one_call(self, storage: Storage) -> None:
        """Is stored once, as the first has it."""
        rows = [{"type": "t", "name": n, "unique_id": u} for n, u in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")]]
        (a, new_a), (b, new_b), *repeated = storage.insert_jobs(rows)
        assert (new_a, new_b) == (True, True)
        assert names([a, b]) == ["a", "b"]
        assert repeated == [(a, False), (a, False)]
        assert storage.find(Job) == [a, b]

    def test_unique_ids_are_each_tenants_own(self, storage: Storage) -> None:
        """The same one of another tenant is another one, also within one call."""
        rows = [{"type": "t", "unique_id": "u", "tenant": tenant} for tenant in ("a", "b", "", "a")]
        answer = storage.insert_jobs(rows)
        assert [new for _, new in answer] == [True, True, True, False]
        assert [job.tenant for job, _ in answer] == ["a", "b", "", "a"]
        assert answer[3][0] == answer[0][0]

    def test_a_deleted_job_frees_its_unique_id(self, storage: Storage) -> None:
        """One that has ended does not."""
        first = put(storage, unique_id="u", status=JobStatus.SUCCESSFUL)
        assert storage.insert_jobs([{"type": "t", "unique_id": "u"}]) == [(first, False)]
        storage.edit(Job, [first.id], {"deleted_at": NOW})
        ((second, new),) = storage.insert_jobs([{"type": "t", "unique_id": "u"}])
        assert new
        assert second.id > first.id

    def test_a_job_that_gives_its_unique_id_up_frees_it(self, storage: Storage) -> None:
        """Whoever asks next has it."""
        first = put(storage, unique_id="u")
        storage.edit(Job, [first.id], {"unique_id": None})
        assert put(storage, unique_id="u").id > first.id

    def test_jobs_without_unique_id_never_meet(self, storage: Storage) -> None:
        """Null is nobody's, the empty text is a text; case and blanks count."""
        keys = [None, None, "", "u", "U", "u ", " u", "ü", "u\u0308"]
        answer = storage.insert_jobs([{"type": "t", "unique_id": key} for key in keys])
        assert [job.unique_id for job, new in answer if new] == keys


class EditContract(Contract):
    """`edit`: what is written, what is refused."""

    @pytest.mark.parametrize("kind", [Job, *KINDS])
    def test_every_attribute_can_be_edited(self, storage: Storage, kind: type[Record]) -> None:
        """But the status; and nothing else changes."""
        changes = {name: value for name, value in full(kind).items() if name != "status"}
        rows = [{**MINIMAL[kind], "tenant": str(i)} for i in range(2)]
        row, other = [j for j, _ in storage.insert_jobs(rows)] if kind is Job else storage.insert(kind, rows)
        (edited,) = storage.edit(kind, [row.id], changes)
        assert edited == row.evolve(**changes)
        assert storage.find(kind) == [edited, other]

    def test_edited_rows_come_by_id(self, storage: Storage) -> None:
        """Each once; ids that nobody has, or a deleted row, are passed over."""
        a, b, c, d = put_many(storage, [{"name": n, "updated_at": PAST} for n in "abcd"])
        (deleted,) = storage.edit(Job, [b.id], {"deleted_at": NOW, "updated_at": PAST})
        before = storage.now()
        edited = storage.edit(Job, [d.id, a.id, 2**63 - 1, b.id, a.id, -1, 0], {"priority": 9})
        assert names(edited) == ["a", "d"]
        assert edited == [
            a.evolve(priority=9, updated_at=edited[0].updated_at),
            d.evolve(priority=9, updated_at=edited[1].updated_at),
        ]
        assert all(between(before, job.updated_at, storage.now()) for job in edited)
        assert storage.get(Job, c.id) == c
        assert storage.edit(Job, [b.id], {"deleted_at": None}) == []
        assert deleted.deleted_at is not None

    def test_edits_of_nothing(self, storage: Storage) -> None:
        """Nothing comes of it."""
        put(storage, updated_at=PAST)
        before = snapshot(storage)
        assert storage.edit(Job, [], {"name": "x"}) == []
        assert storage.edit(Job, [2**40], {"name": "x"}) == []
        assert storage.edit(Hold, [1], {"type": "x"}) == []
        assert snapshot(storage) == before

    def test_an_edit_of_many_rows(self, storage: Storage) -> None:
        """A thousand and more, in one call."""
        jobs = put_many(storage, [{} for _ in range(1200)])
        assert len(storage.edit(Job, [job.id for job in jobs], {"name": "x"})) == 1200

    def test_updated_at_is_the_present_unless_named(self, storage: Storage) -> None:
        """`created_at` stays."""
        job = put(storage, updated_at=PAST, created_at=PAST)
        before = storage.now()
        (edited,) = storage.edit(Job, [job.id], {"name": "x"})
        assert between(before, edited.updated_at, storage.now())
        assert edited.created_at == PAST
        (edited,) = storage.edit(Job, [job.id], {"updated_at": PAST - SECOND})
        assert edited.updated_at == PAST - SECOND

    def test_a_new_unique_id(self, storage: Storage) -> None:
        """May be one that nobody has, that the job has itself, or that another tenant's or a deleted job has."""
        mine, theirs, gone = put_many(
            storage, [{"unique_id": "a"}, {"unique_id": "b", "tenant": "t"}, {"unique_id": "c"}]
        )
        storage.edit(Job, [gone.id], {"deleted_at": NOW})
        for key in ("a", "new", "b", "c", None, "a"):
            (edited,) = storage.edit(Job, [mine.id], {"unique_id": key})
            assert edited.unique_id == key
        assert storage.get(Job, theirs.id) == theirs

    def test_a_unique_id_that_another_has(self, storage: Storage) -> None:
        """`Duplicate` is raised, nothing is written: not to the other rows either."""
        _, b, c = put_many(storage, [{"unique_id": "a"}, {"unique_id": "b"}, {"tenant": "t"}])
        before = snapshot(storage)
        for ids in ([b.id], [b.id, c.id], [c.id, b.id]):
            with pytest.raises(Duplicate) as raised:
                storage.edit(Job, ids, {"unique_id": "a", "name": "x"})
            assert isinstance(raised.value, GnjError)
            assert snapshot(storage) == before

    def test_one_unique_id_for_two_jobs(self, storage: Storage) -> None:
        """Each would be the other's duplicate: raised, nothing is written."""
        a, b, c = put_many(storage, [{}, {}, {"tenant": "t"}])
        before = snapshot(storage)
        with pytest.raises(Duplicate):
            storage.edit(Job, [a.id, b.id], {"unique_id": "u"})
        assert snapshot(storage) == before
        assert [job.unique_id for job in storage.edit(Job, [a.id, c.id], {"unique_id": "u"})] == ["u", "u"]

    def test_a_transaction_survives_a_duplicate(self, storage: Storage) -> None:
        """Nothing of the refused edit is written; what else the transaction did is."""
        _, b = put_many(storage, [{"unique_id": "a"}, {"unique_id": "b"}])
        with storage.begin() as tx:
            tx.insert(Pipeline, [{"name": "before"}])
            with pytest.raises(Duplicate):
                tx.edit(Job, [b.id], {"unique_id": "a"})
            tx.insert(Pipeline, [{"name": "after"}])
        assert [pipeline.name for pipeline in storage.find(Pipeline)] == ["before", "after"]
        assert storage.get(Job, b.id) == b

    def test_soft_deletion_is_an_edit(self, storage: Storage) -> None:
        """The row, with the time of it, is returned once more."""
        (row,) = storage.insert(Hold, [{"type": "mail"}])
        before = storage.now()
        (gone,) = storage.edit(Hold, [row.id], {"deleted_at": NOW})
        assert between(before, gone.deleted_at, storage.now())
        assert gone == row.evolve(deleted_at=gone.deleted_at, updated_at=gone.updated_at)


class StandInContract(Contract):
    """`After`, `NOW` and `Same`, wherever changes are written."""

    def test_after_is_the_present_plus_seconds(self, storage: Storage) -> None:
        """Fractions and negative ones too, to the millisecond; when inserted, edited, moved and settled alike."""
        for seconds in (0.0, 0.25, -3.5, LEASE, 86400.0 * 366):
            delta = timedelta(seconds=seconds)
            value: dict[str, Any] = {"started_at": After(seconds), "updated_at": NOW}
            before = storage.now()
            job = put(storage, **value)
            assert between(before, (job.started_at or PAST) - delta, storage.now())
            ways: list[Callable[[int], list[Job]]] = [
                lambda row: storage.edit(Job, [row], value),  # noqa: B023 - called at once
                lambda row: storage.move(Job, [row], {"queued"}, {**value, "status": JobStatus.QUEUED}),  # noqa: B023
            ]
            for write in ways:
                before = storage.now()
                (job,) = write(job.id)
                assert between(before, (job.started_at or PAST) - delta, storage.now())

    def test_one_moment_for_one_row(self, storage: Storage) -> None:
        """What is written at once is written at one and the same present."""
        job = put(storage, started_at=NOW, ended_at=After(1), cancelled_at=After(-1))
        assert job.started_at == job.created_at == job.updated_at
        assert (job.ended_at, job.cancelled_at) == (job.created_at + SECOND, job.created_at - SECOND)
        (job,) = storage.edit(Job, [job.id], {"started_at": NOW, "ended_at": After(1)})
        assert job.started_at == job.updated_at
        assert job.ended_at == job.updated_at + SECOND

    def test_same_is_what_another_attribute_holds(self, storage: Storage) -> None:
        """As it is stored, row by row."""
        a, b = put_many(storage, [{"start_after": PAST}, {}])
        changes = {"due_at": Same("start_after"), "updated_at": PAST}
        assert storage.edit(Job, [b.id, a.id], changes) == [
            a.evolve(**{**changes, "due_at": PAST}),
            b.evolve(updated_at=PAST),
        ]

    def test_same_is_taken_after_the_other_changes(self, storage: Storage) -> None:
        """Whatever their order, and whatever they stand for."""
        job = put(storage, start_after=PAST, worker_id="old")
        changes = {
            "due_at": Same("start_after"),
            "name": Same("worker_id"),
            "start_after": After(LEASE),
            "worker_id": "new",
        }
        (edited,) = storage.edit(Job, [job.id], changes)
        assert edited.due_at == edited.start_after == edited.updated_at + timedelta(seconds=LEASE)
        assert edited.name == "new"
        (edited,) = storage.edit(Job, [job.id], {"start_after": None, "due_at": Same("start_after")})
        assert edited.due_at is None

    def test_same_of_what_the_storage_writes_itself(self, storage: Storage) -> None:
        """The time of the change is one of the other changes."""
        job = put(storage, updated_at=PAST)
        (edited,) = storage.edit(Job, [job.id], {"started_at": Same("updated_at"), "ended_at": Same("created_at")})
        assert edited.started_at == edited.updated_at > PAST
        assert edited.ended_at == job.created_at

    def test_same_in_a_new_row(self, storage: Storage) -> None:
        """What the row gives, or the default where it gives nothing."""
        rows: list[dict[str, Any]] = [
            {"start_after": PAST, "due_at": Same("start_after")},
            {"due_at": Same("start_after"), "failures": Same("priority")},
            {"start_after": After(LEASE), "due_at": Same("start_after")},
        ]
        a, b, c = put_many(storage, rows)
        assert (a.due_at, b.due_at, b.failures) == (PAST, None, b.priority)
        assert c.due_at == c.start_after == c.created_at + timedelta(seconds=LEASE)
        assert put(storage, **rows[1]).failures == b.priority
