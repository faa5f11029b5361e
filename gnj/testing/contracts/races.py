"""What holds when many threads come at the same moment. They start at a barrier; nobody sleeps."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import chain

import pytest

from gnj.queue.clock import NOW, After
from gnj.queue.errors import Conflict, Duplicate
from gnj.queue.model import Batch, Hold, Job, Pipeline
from gnj.queue.states import JOB_CLAIMED, JobStatus
from gnj.queue.storage import Settlement, Storage
from gnj.testing.contracts.support import (
    CLAIM,
    LEASE,
    TIMEOUT,
    Contract,
    claim,
    job_of,
    need,
    persistently,
    processing,
    put,
    put_many,
    started,
    together,
)


class RaceContract(Contract):
    """Races."""

    def test_each_job_is_handed_out_once(self, storage: Storage) -> None:
        """To 32 claimers of 500 jobs of three types, who ask for one, or for several, until there are no more."""
        put_many(storage, [{"type": "abc"[i % 3], "priority": i % 2} for i in range(500)])

        def work(place: int) -> list[tuple[int, int]]:
            types, limit = (["a", "b", "c"], 1 + place % 9) if place % 2 else (["cab"[place % 3]], 3)
            held: list[tuple[int, int]] = []
            while jobs := persistently(partial(claim, storage, types, limit)):
                assert len(jobs) <= limit
                held += [(job.id, job.attempt) for job in jobs]
            return held

        handed = Counter(chain.from_iterable(together(32, work)))
        handed.update((job.id, job.attempt) for job in claim(storage, ["a", "b", "c"], 500))
        assert set(handed.values()) == {1}
        assert sorted(handed) == [(job.id, 1) for job in storage.find(Job)]
        assert {job.status for job in storage.find(Job)} == {JobStatus.PROCESSING}

    def test_an_idle_storage_leaves_nothing_behind(self, storage: Storage) -> None:
        """Claimers that pass over one another's rows do not stop before the last."""
        put_many(storage, [{"type": "ab"[i % 2]} for i in range(60)])
        taken = together(6, lambda place: [len(claim(storage, ["a", "b"][: 1 + place % 2], 2)) for _ in range(3)])
        left = storage.count(Job) - sum(map(sum, taken))
        assert len(claim(storage, ["a", "b"], 1000)) == left

    def test_of_two_ends_of_one_claim_one_applies(self, storage: Storage) -> None:
        """Whoever comes first; the other is told so."""
        for _ in range(20):
            job = processing(storage)
            ends = [{"status": JobStatus.SUCCESSFUL, "output": 0}, {"status": JobStatus.FAILED, "output": 1}]
            settled = together(2, lambda place: storage.settle([Settlement(job.id, 1, JOB_CLAIMED, ends[place])])[0])  # noqa: B023
            (winner,) = [done for done in settled if done is not None]
            assert job_of(storage, job.id) == winner
            assert winner.status == ends[winner.output]["status"]

    def test_a_renewal_and_the_end_of_a_lost_claim(self, storage: Storage) -> None:
        """Either the lease is renewed and the job spared, or it is lost and the renewal told so; never both."""
        for _ in range(20):
            job = processing(storage, lease_expires_at=After(-1))
            lose = Settlement(job.id, 1, {"processing"}, {"status": JobStatus.QUEUED}, expired=True)
            renewed, lost = together(
                2,
                lambda place: (storage.settle([lose]) if place else storage.renew([(job.id, 1)], LEASE))[0],  # noqa: B023
            )
            assert (renewed is None) != (lost is None)
            assert job_of(storage, job.id).status == ("queued" if lost else "processing")

    def test_renewals_and_ends_of_many_claims_do_not_stand_in_each_others_way(self, storage: Storage) -> None:
        """They name the same jobs in different orders, and none is told of a conflict."""
        done = {"status": JobStatus.SUCCESSFUL}
        for _ in range(15):
            put_many(storage, [{"type": "a"}] * 40)
            held = [(job.id, job.attempt) for job in claim(storage, ["a"], 40)]
            orders = [held, held[::-1], held[20:] + held[:20]]

            def meet(place: int, orders: list[list[tuple[int, int]]] = orders) -> int:
                if place < 2:
                    return len(storage.renew(orders[place], LEASE))
                ends = [Settlement(id, attempt, JOB_CLAIMED, done) for id, attempt in orders[place]]
                return sum(job is not None for job in storage.settle(ends))

            assert together(3, meet) == [40, 40, 40]

    def test_many_keys_in_different_orders_do_not_stand_in_each_others_way(self, storage: Storage) -> None:
        """Each key is stored once, and nobody is told of a conflict."""
        for number in range(8):
            keys = [f"{number}-{key}" for key in range(60)]
            orders = [keys, keys[::-1], keys[30:] + keys[:30], keys[::2] + keys[1::2]]

            def create(place: int, orders: list[list[str]] = orders) -> list[int]:
                rows = [{"type": "a", "unique_id": key} for key in orders[place]]
                return [job.id for job, new in storage.insert_jobs(rows) if new]

            assert len(set(chain.from_iterable(together(4, create)))) == 60

    def test_a_promotion_happens_once(self, storage: Storage) -> None:
        """However many promote."""
        put_many(storage, [{"due_at": NOW} for _ in range(100)])
        assert sum(chain.from_iterable(together(8, lambda _: [storage.promote(30) for _ in range(5)]))) == 100

    def test_a_move_happens_once(self, storage: Storage) -> None:
        """However many try, and whichever way."""
        for attempt in range(10):
            job = put(storage, status=JobStatus.PLANNED, attempt=attempt)
            start = {"status": JobStatus.QUEUED}
            moved = together(8, lambda _: len(storage.move(Job, [job.id], {"planned"}, start)))  # noqa: B023
            assert sum(moved) == 1

    def test_a_unique_id_is_stored_once(self, storage: Storage) -> None:
        """50 concurrent creates of each of 20 keys give 20 rows, and everybody the same ones."""
        keys = [f"key {i}" for i in range(20)]

        def create(place: int) -> dict[str, tuple[Job, bool]]:
            turned = keys[place % 20 :] + keys[: place % 20]
            halves = turned[:10], turned[10:]
            rows = [[{"type": "mail", "name": str(place), "unique_id": key} for key in half] for half in halves]
            answers = chain.from_iterable(persistently(partial(storage.insert_jobs, half)) for half in rows)
            return dict(zip(turned, answers, strict=True))

        answers = together(50, create)
        stored = {str(job.unique_id): job for job in storage.find(Job)}
        assert sorted(stored) == sorted(keys)
        assert storage.count(Job) == 20
        for key in keys:
            assert {answer[key][0].id for answer in answers} == {stored[key].id}
            assert [answer[key][0].name for answer in answers if answer[key][1]] == [stored[key].name]

    def test_a_unique_id_moves_to_one_job(self, storage: Storage) -> None:
        """Of many that are edited at once; the others are told of the duplicate."""
        jobs = put_many(storage, [{} for _ in range(8)])

        def take(place: int) -> bool:
            try:
                return bool(persistently(lambda: storage.edit(Job, [jobs[place].id], {"unique_id": "u"})))
            except Duplicate:
                return False

        assert sum(together(8, take)) == 1
        assert [job.unique_id for job in storage.find(Job)].count("u") == 1

    def test_a_unique_id_that_is_given_up_meanwhile(self, storage: Storage) -> None:
        """Whoever creates gets a job that has it, be it the old one or a new one."""
        for _ in range(20):
            job = put(storage, unique_id="u")
            made = together(
                3,
                lambda place: (
                    persistently(lambda: storage.insert_jobs([{"type": "mail", "unique_id": "u"}]))[0][0].unique_id
                    if place
                    else persistently(lambda: storage.edit(Job, [job.id], {"deleted_at": NOW}))[0].unique_id  # noqa: B023
                ),
            )
            assert made == ["u"] * 3
            left = storage.find(Job)
            assert len(left) <= 1
            storage.edit(Job, [each.id for each in left], {"deleted_at": NOW})

    def test_a_hold_is_stored_once(self, storage: Storage) -> None:
        """And everybody has the one that is there."""
        held = together(16, lambda _: persistently(lambda: storage.insert(Hold, [{"type": "mail"}])[0]))
        assert storage.find(Hold) == held[:1]
        assert held == held[:1] * 16

    def test_no_claim_that_begins_after_a_hold_gets_its_jobs(self, storage: Storage) -> None:
        """While claimers are at it without a pause: of the type, of the tenant, of everything."""
        for type, tenant in [("mail", ""), ("mail", "t"), ("all", ""), ("all", "t")] * 5:
            put_many(storage, [{"tenant": "t"} for _ in range(40)])
            held, warm = threading.Event(), threading.Barrier(4)

            def work(place: int) -> int:
                warm.wait(TIMEOUT)  # noqa: B023
                while True:
                    after = held.is_set()  # noqa: B023
                    jobs = persistently(partial(claim, storage, ["mail", "other"][: 1 + place % 2], 1))
                    if after or not jobs:
                        return len(jobs) if after else 0

            def hold(_: int) -> int:
                warm.wait(TIMEOUT)  # noqa: B023
                persistently(lambda: storage.insert(Hold, [{"type": type, "tenant": tenant}]))  # noqa: B023
                held.set()  # noqa: B023
                return 0

            assert together(4, lambda place: work(place) if place else hold(place)) == [0] * 4  # noqa: B023
            storage.edit(Hold, [hold.id for hold in storage.find(Hold)], {"deleted_at": NOW})
            storage.edit(Job, [job.id for job in storage.find(Job)], {"deleted_at": NOW})

    def test_parents_locked_in_order_never_deadlock(self, storage: Storage) -> None:
        """Pipeline, then batches by id: nobody's change is lost, and nobody stands in another's way for good."""
        (pipeline,) = storage.insert(Pipeline, [{"metadata": "0"}])
        batches = storage.insert(Batch, [{"pipeline_id": 0} for _ in range(3)])

        def count(place: int) -> None:
            for turn in range(5):
                with storage.begin() as tx:
                    parent = tx.get(Pipeline, pipeline.id, lock=True)
                    assert parent is not None
                    for i, batch in enumerate(batches):
                        if (place + turn) % 3 != i:
                            locked = tx.get(Batch, batch.id, lock=True)
                            assert locked is not None
                            tx.edit(Batch, [batch.id], {"pipeline_id": (locked.pipeline_id or 0) + 1})
                    tx.edit(Pipeline, [pipeline.id], {"metadata": str(int(parent.metadata or 0) + 1)})

        together(8, count)
        assert storage.find(Pipeline)[0].metadata == "40"
        assert sum(batch.pipeline_id or 0 for batch in storage.find(Batch)) == 80

    def test_a_lock_gives_the_state_under_it(self, storage: Storage) -> None:
        """What others committed while it was waited for, too: no count is lost."""
        job = put(storage, failures=0)

        def count(_: int) -> None:
            for _ in range(10):
                with storage.begin() as tx:
                    seen = tx.get(Job, job.id)
                    locked = tx.get(Job, job.id, lock=True)
                    assert seen is not None
                    assert locked is not None
                    assert locked.failures >= seen.failures
                    tx.edit(Job, [job.id], {"failures": locked.failures + 1})

        together(6, count)
        assert job_of(storage, job.id).failures == 60

    def test_locks_out_of_order_end_in_a_conflict(self, storage: Storage) -> None:
        """Where they can meet at all: one transaction is told so, leaves nothing, and wins when it tries again."""
        rows = storage.insert(Pipeline, [{"metadata": "0"}, {"metadata": "0"}])
        both = threading.Barrier(2)

        def add(place: int) -> None:
            first, second = rows if place else rows[::-1]
            with storage.begin() as tx:
                one = tx.get(Pipeline, first.id, lock=True)
                with suppress(threading.BrokenBarrierError):  # passed only where both can hold a lock at a time
                    both.wait(0.2)
                two = tx.get(Pipeline, second.id, lock=True)
                for row in (one, two):
                    assert row is not None
                    tx.edit(Pipeline, [row.id], {"metadata": str(int(row.metadata or 0) + 1)})

        def persist(place: int) -> None:
            for _ in range(8):  # the one that tries again may overtake the one that was let through
                try:
                    return add(place)
                except Conflict:
                    continue
            raise AssertionError("no try of eight got both locks")

        together(2, persist)
        assert [row.metadata for row in storage.find(Pipeline)] == ["2", "2"]

    def test_a_locked_job_is_passed_over(self, storage: Storage) -> None:
        """A claim waits for nobody."""
        need(storage, "concurrent_claims")
        first, second, other = put_many(storage, [{}, {}, {"type": "other"}])
        with storage.begin() as tx:
            assert tx.get(Job, first.id, lock=True) == first
            held = started(lambda: claim(storage, ["mail", "other"], 2)).result(TIMEOUT)
            assert [job.id for job in held] == [second.id, other.id]
            assert started(lambda: claim(storage)).result(TIMEOUT) == []
        assert [job.id for job in claim(storage)] == [first.id]

    def test_an_open_claim_stands_in_nobodys_way(self, storage: Storage) -> None:
        """Another one gets the jobs after it at once, however many those are; of one that fails they are there again."""
        need(storage, "concurrent_claims")
        jobs = [job.id for job in put_many(storage, [{"type": "ab"[i % 2]} for i in range(90)])]
        theirs: list[Job] = []
        with pytest.raises(KeyError), storage.begin() as tx:
            mine = tx.claim(["a", "b"], 70, lease=LEASE, changes=CLAIM)
            assert [job.id for job in mine] == jobs[:70]
            for types, expected in [
                (["a", "b"], jobs[70:73]),
                (["b"], jobs[73:77:2]),
                (["b", "a"], [*jobs[74:77:2], jobs[77]]),
            ]:
                held = started(partial(claim, storage, types, len(expected))).result(TIMEOUT)
                assert [job.id for job in held] == expected
                theirs += held
            raise KeyError
        assert sorted(job.id for job in [*theirs, *claim(storage, ["a", "b"])]) == jobs
