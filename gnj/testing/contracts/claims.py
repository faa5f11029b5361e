"""`claim`, `renew`, `promote` and `lost`: how jobs are handed out, kept and missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gnj.queue.clock import NOW, After
from gnj.queue.model import Hold, Job
from gnj.queue.states import JOB_CLAIMED, JOB_MOVES, JobStatus
from gnj.queue.storage import Settlement, Storage
from gnj.testing.contracts.inserts import between
from gnj.testing.contracts.support import (
    CLAIM,
    LEASE,
    PAST,
    Contract,
    claim,
    full,
    job_of,
    names,
    processing,
    put,
    put_many,
    snapshot,
)

ALL_TYPES = "all"


def hold(storage: Storage, type: str, tenant: str = "") -> Hold:
    """Holds a type of a tenant, or of all."""
    return storage.insert(Hold, [{"type": type, "tenant": tenant}])[0]


class ClaimContract(Contract):
    """Which jobs are handed out, in which order, and what is written."""

    def test_what_a_claim_writes(self, storage: Storage) -> None:
        """The changes, `attempt` + 1, the lease and its end; nothing else."""
        job = put(storage, name="a", input={"to": 1}, attempt=4, cancel_seen=True, updated_at=PAST)
        before = storage.now()
        (held,) = claim(storage, lease=12.5, changes={**CLAIM, "worker_id": "w", "worker_type": "t"})
        after = storage.now()
        assert held.lease_expires_at is not None
        assert held.started_at is not None
        assert held == job.evolve(
            status=JobStatus.PROCESSING,
            attempt=5,
            lease=12.5,
            lease_expires_at=held.lease_expires_at,
            started_at=held.started_at,
            updated_at=held.updated_at,
            cancel_seen=False,
            worker_id="w",
            worker_type="t",
        )
        assert between(before, held.started_at, after)
        assert between(before, held.updated_at, after)
        assert between(before, held.lease_expires_at - timedelta(seconds=12.5), after)
        assert storage.find(Job) == [held]

    def test_a_claim_writes_all_it_is_given(self, storage: Storage) -> None:
        """Any attribute besides the status, and a named `updated_at`."""
        put_many(storage, [{}, {"tenant": "t"}])
        given = {
            n: v
            for n, v in full(Job).items()
            if n not in ("attempt", "lease", "lease_expires_at", "unique_id", "custom_id")
        }
        for held in claim(storage, changes=given):
            assert held == held.evolve(**given)
            assert held == job_of(storage, held.id)

    @pytest.mark.parametrize("status", JobStatus)
    def test_only_queued_jobs(self, storage: Storage, status: JobStatus) -> None:
        """A job in any other status stays as it is."""
        put(storage, status=status, attempt=1)
        before = snapshot(storage)
        assert len(claim(storage)) == (1 if status is JobStatus.QUEUED else 0)
        assert (snapshot(storage) == before) == (status is not JobStatus.QUEUED)

    def test_no_deleted_jobs(self, storage: Storage) -> None:
        """However well they would fit."""
        gone, due = put_many(storage, [{}, {"due_at": PAST}])
        storage.edit(Job, [gone.id, due.id], {"deleted_at": NOW})
        before = snapshot(storage)
        assert claim(storage) == []
        assert snapshot(storage) == before

    def test_no_job_before_its_time(self, storage: Storage) -> None:
        """One whose `due_at` has passed is promoted first, and comes in its place; `start_after` alone delays nothing."""
        put_many(
            storage,
            [
                {"name": "waits", "due_at": After(LEASE), "priority": 9},
                {"name": "ready", "start_after": After(LEASE)},
                {"name": "due", "due_at": After(-0.001), "priority": 5},
                {"name": "long due", "due_at": PAST, "priority": 6},
            ],
        )
        assert names(claim(storage, limit=1)) == ["long due"]
        held = claim(storage)
        assert names(held) == ["due", "ready"]
        assert [job.due_at for job in held] == [None, None]
        assert claim(storage) == []

    def test_every_due_job_counts(self, storage: Storage) -> None:
        """Not only as many as are asked for: the first of all that are due is handed out."""
        put_many(storage, [{"name": str(i), "due_at": PAST + timedelta(seconds=i), "priority": i} for i in range(300)])
        assert names(claim(storage, limit=2)) == ["299", "298"]

    def test_only_the_types_asked_for(self, storage: Storage) -> None:
        """By code point; asking twice for one is asking once."""
        put_many(storage, [{"type": t, "name": t} for t in ("a", "A", "b", "a ", "ab", "all")])
        assert claim(storage, []) == []
        assert claim(storage, ["c", "", "%"]) == []
        assert names(claim(storage, ["all"])) == ["all"]
        assert names(claim(storage, ["b", "a", "b", "a"])) == ["a", "b"]
        assert sorted(job.type for job in storage.find(Job) if job.status is JobStatus.QUEUED) == ["A", "a ", "ab"]

    def test_only_the_tenants_asked_for(self, storage: Storage) -> None:
        """None: every tenant's; of several in the common order."""
        put_many(
            storage, [{"name": n, "tenant": t} for n, t in [("a", ""), ("b", "x"), ("c", "y"), ("d", "x"), ("e", "z")]]
        )
        assert claim(storage, tenants=[]) == []
        assert claim(storage, tenants=["X", "nobody"]) == []
        assert names(claim(storage, tenants=["x", "y", "x"], limit=2)) == ["b", "c"]
        assert names(claim(storage, tenants=[""])) == ["a"]
        assert names(claim(storage, ["mail", "other"], tenants=["z"])) == ["e"]
        assert names(claim(storage, tenants=None)) == ["d"]

    def test_the_order(self, storage: Storage) -> None:
        """Priority descending, position ascending, id ascending, over all types together."""
        rows = [
            ("low", "a", -1, 0),
            ("later", "b", 4, 2),
            ("first of b", "b", 4, 0),
            ("lifo", "a", 4, -(2**63)),
            ("second", "a", 4, 0),
            ("high", "b", 9, 2**63 - 1),
            ("third", "b", 4, 0),
        ]
        put_many(storage, [{"name": n, "type": t, "priority": p, "position": o} for n, t, p, o in rows])
        assert names(claim(storage, ["a", "b"])) == ["high", "lifo", "first of b", "second", "third", "later", "low"]

    @pytest.mark.parametrize("types", [["a"], ["a", "b", "c"]])
    def test_one_by_one_in_the_same_order(self, storage: Storage, types: list[str]) -> None:
        """As all at once."""
        rows = [(i * 7 % 5, i * 3 % 4, types[i % len(types)]) for i in range(24)]
        jobs = put_many(storage, [{"priority": p, "position": o, "type": t} for p, o, t in rows])
        expected = sorted(jobs, key=lambda job: (-job.priority, job.position, job.id))
        taken = [job.id for limit in (1, 1, 2, 5, 1, 3, 100) for job in claim(storage, types, limit)]
        assert taken == [job.id for job in expected]

    def test_at_most_so_many(self, storage: Storage) -> None:
        """None for 0; all there are when there are fewer."""
        put_many(storage, [{"type": t} for t in "aabbcc"])
        assert claim(storage, ["a", "b"], 0) == []
        assert len(claim(storage, ["a", "b"], 3)) == 3
        assert len(claim(storage, ["a", "b", "c"], 1000)) == 3
        assert claim(storage, ["a", "b", "c"], 1000) == []

    def test_many_types(self, storage: Storage) -> None:
        """Two hundred of them, most without a job."""
        put_many(storage, [{"type": f"type {i}", "name": str(i), "priority": i} for i in range(0, 200, 3)])
        types = [f"type {i}" for i in range(200)]
        assert names(claim(storage, types, 3)) == ["198", "195", "192"]
        assert len(claim(storage, types, 1000)) == 64

    def test_a_type_that_is_held(self, storage: Storage) -> None:
        """By no tenant: nobody's jobs of it are handed out, and others' are; until the hold is deleted."""
        put_many(storage, [{"type": ty, "name": f"{ty}{te}", "tenant": te} for ty in "ab" for te in ("", "x")])
        held = hold(storage, "a")
        before = snapshot(storage)
        assert claim(storage, ["a"]) == []
        assert claim(storage, ["a"], tenants=["x"]) == []
        assert snapshot(storage) == before
        assert names(claim(storage, ["a", "b"])) == ["b", "bx"]
        storage.edit(Hold, [held.id], {"deleted_at": NOW})
        assert names(claim(storage, ["a", "b"])) == ["a", "ax"]

    def test_a_type_that_a_tenant_holds(self, storage: Storage) -> None:
        """Only that tenant's jobs of it are held, though they stand before the others."""
        put_many(storage, [{"type": ty, "name": f"{ty}{te}", "tenant": te} for te in "xy" for ty in "ab"])
        put_many(storage, [{"type": "a", "tenant": "x", "priority": 9} for _ in range(50)])
        hold(storage, "a", "x")
        assert claim(storage, ["a"], tenants=["x"]) == []
        assert names(claim(storage, ["a"], 1)) == ["ay"]
        assert names(claim(storage, ["a", "b"])) == ["bx", "by"]

    def test_past_many_held_jobs_of_a_tenant(self, storage: Storage) -> None:
        """More stand before the free ones than a storage looks through one by one; free are those of all other tenants."""
        put_many(storage, [{"name": f"x{n}", "tenant": "x", "priority": 5} for n in range(300)])
        free = [("a", "y", 1), ("b", "", 3), ("c", "z", 2), ("d", "y", 3), ("e", "w", 4)]
        put_many(storage, [{"name": n, "tenant": t, "priority": p} for n, t, p in free])
        others = [{"name": "other", "tenant": "x", "priority": 0}, {"name": "f", "priority": 2}]
        put_many(storage, [{"type": "other", **row} for row in others])
        hold(storage, "mail", "x")
        hold(storage, "mail", "w")
        assert names(claim(storage, limit=2)) == ["b", "d"]
        assert names(claim(storage, ["other", "mail"], limit=2)) == ["c", "f"]
        assert names(claim(storage, ["other", "mail"], limit=9)) == ["a", "other"]
        assert names(claim(storage, limit=9)) == []
        storage.edit(Hold, [storage.find(Hold)[1].id], {"deleted_at": storage.now()})
        assert names(claim(storage, limit=9)) == ["e"]

    def test_many_jobs_of_many_types_in_order(self, storage: Storage) -> None:
        """Nearly all are of one type: more than a storage looks up of each."""
        types = [f"t{n}" for n in range(20)]
        rows = [{"name": f"{n}", "type": "t0", "priority": n % 7} for n in range(400)]
        rows += [{"name": f"{t} {n}", "type": t, "priority": n} for t in types for n in range(8)]
        put_many(storage, rows)
        order = sorted(storage.find(Job), key=lambda job: (-job.priority, job.id))
        assert names(claim(storage, types, limit=300)) == names(order[:300])
        assert names(claim(storage, types, limit=300)) == names(order[300:])

    def test_all_types_are_held(self, storage: Storage) -> None:
        """By the type "all": of everybody, or of one tenant."""
        put_many(storage, [{"type": ty, "name": f"{ty}{te}", "tenant": te} for ty in "ab" for te in ("", "x")])
        everybodys = hold(storage, ALL_TYPES)
        assert claim(storage, ["a", "b"]) == claim(storage, ["b"], tenants=["x"]) == []
        storage.edit(Hold, [everybodys.id], {"deleted_at": NOW})
        hold(storage, ALL_TYPES, "x")
        assert claim(storage, ["a", "b"], tenants=["x"]) == []
        assert names(claim(storage, ["a", "b"])) == ["a", "b"]

    def test_several_holds(self, storage: Storage) -> None:
        """Add up, and each ends on its own."""
        put_many(storage, [{"type": ty, "name": f"{ty}{te}", "tenant": te} for ty in "abc" for te in "xy"])
        first, *_ = [hold(storage, *each) for each in [("a", ""), ("a", "x"), ("b", "y"), (ALL_TYPES, "z"), ("d", "")]]
        assert names(claim(storage, ["a", "b", "c"])) == ["bx", "cx", "cy"]
        storage.edit(Hold, [first.id], {"deleted_at": NOW})
        assert names(claim(storage, ["a", "b", "c"])) == ["ay"]

    def test_a_claimed_job_is_not_handed_out_again(self, storage: Storage) -> None:
        """Not even when its lease has run out, until it is queued again; then with the next attempt."""
        job = put(storage)
        (held,) = claim(storage, lease=-1.0)
        assert (held.id, held.attempt) == (job.id, 1)
        assert claim(storage) == []
        storage.settle([Settlement(job.id, 1, JOB_CLAIMED, JOB_MOVES["lose"].changes("processing"))])
        (again,) = claim(storage)
        assert (again.id, again.attempt) == (job.id, 2)

    def test_a_job_becomes_eligible_by_any_change(self, storage: Storage) -> None:
        """Of its status, its due time or its type."""
        planned, waiting, other = put_many(
            storage, [{"status": JobStatus.PLANNED}, {"due_at": After(LEASE)}, {"type": "other"}]
        )
        assert claim(storage) == []
        storage.move(Job, [planned.id], {"planned"}, {"status": JobStatus.QUEUED})
        storage.edit(Job, [waiting.id], {"due_at": None})
        storage.edit(Job, [other.id], {"type": "mail", "priority": 9})
        assert [job.id for job in claim(storage)] == [other.id, planned.id, waiting.id]

    def test_a_claim_in_a_transaction_that_fails(self, storage: Storage) -> None:
        """Was none: the jobs are there for the next one, with the same attempt."""
        put_many(storage, [{"name": "a"}, {"name": "b", "due_at": PAST}])
        before = snapshot(storage)
        with pytest.raises(KeyError), storage.begin() as tx:
            assert len(tx.claim(["mail"], 5, lease=LEASE, changes=CLAIM)) == 2
            raise KeyError
        assert snapshot(storage) == before
        assert [job.attempt for job in claim(storage)] == [1, 1]


class LeaseContract(Contract):
    """How long a claim lasts, and what is due."""

    @pytest.mark.parametrize("status", JobStatus)
    def test_renewals_by_status(self, storage: Storage, status: JobStatus) -> None:
        """Only a claim that still holds its job is renewed; anything else stays byte for byte."""
        job = put(storage, status=status, attempt=2, lease=5.5, lease_expires_at=After(5), updated_at=PAST)
        before = storage.now()
        (renewed,) = storage.renew([(job.id, 2)], 300.0)
        if status not in JOB_CLAIMED:
            assert renewed is None
            assert repr(job_of(storage, job.id)) == repr(job)
            return
        assert renewed is not None
        assert renewed.lease_expires_at is not None
        assert renewed == job.evolve(lease_expires_at=renewed.lease_expires_at) == job_of(storage, job.id)
        assert between(before, renewed.lease_expires_at - timedelta(seconds=300), storage.now())

    def test_a_renewal_counts_from_the_present(self, storage: Storage) -> None:
        """So that it may shorten the lease, or bring one back that had run out before anybody noticed."""
        long, gone = processing(storage), processing(storage, lease_expires_at=PAST)
        first, second = storage.renew([(long.id, 1), (gone.id, 1)], 1.0)
        assert first is not None
        assert second is not None
        assert first.lease_expires_at is not None
        assert long.lease_expires_at is not None
        assert first.lease_expires_at < long.lease_expires_at
        assert second.lease_expires_at is not None
        assert second.lease_expires_at > PAST
        storage.renew([(gone.id, 1)], LEASE)
        assert gone.id not in [job.id for job in storage.lost(10)]

    def test_renewals_come_in_order(self, storage: Storage) -> None:
        """None in the place of each claim that is over: another attempt, an end, a deleted or unknown job."""
        a, b, c, d = (processing(storage, name=n) for n in "abcd")
        storage.settle([Settlement(b.id, 1, JOB_CLAIMED, JOB_MOVES["succeed"].changes("processing"))])
        storage.edit(Job, [d.id], {"deleted_at": NOW})
        before = [repr(job) for job in storage.find(Job) if job.id != c.id]
        claims = [(c.id, 1), (a.id, 2), (a.id, 0), (b.id, 1), (d.id, 1), (2**63 - 1, 1), (0, 1), (c.id, 1)]
        renewed = storage.renew(claims, LEASE)
        assert names(renewed) == ["c", *[None] * 6, "c"]
        assert [repr(job) for job in storage.find(Job) if job.id != c.id] == before
        assert storage.renew([], LEASE) == []

    def test_many_renewals(self, storage: Storage) -> None:
        """A thousand in one call, of jobs with different attempts."""
        jobs = put_many(storage, [{"status": JobStatus.PROCESSING, "attempt": i % 4} for i in range(1000)])
        renewed = storage.renew([(job.id, 1) for job in jobs], LEASE)
        assert [job is not None for job in renewed] == [job.attempt == 1 for job in jobs]

    def test_promotion(self, storage: Storage) -> None:
        """Queued jobs whose `due_at` has passed lose it; `updated_at` and all else stays."""
        rows: list[dict[str, Any]] = [
            {"due_at": PAST},
            {"due_at": After(LEASE)},
            {"due_at": PAST, "status": JobStatus.PLANNED},
            {"due_at": PAST, "status": JobStatus.PROCESSING},
            {"due_at": After(-0.001), "start_after": PAST},
            {},
        ]
        jobs = put_many(storage, [{**row, "updated_at": PAST} for row in rows])
        (gone,) = put_many(storage, [{"due_at": PAST}])
        storage.edit(Job, [gone.id], {"deleted_at": NOW})
        assert storage.promote(100) == 2
        expected = [job.evolve(due_at=None) if i in (0, 4) else job for i, job in enumerate(jobs)]
        assert storage.find(Job) == expected
        assert storage.promote(100) == 0
        assert storage.find(Job) == expected

    def test_promotion_of_at_most_so_many(self, storage: Storage) -> None:
        """And the rest by the next call."""
        put_many(storage, [{"due_at": PAST} for _ in range(7)])
        assert storage.promote(0) == 0
        assert [storage.promote(3) for _ in range(4)] == [3, 3, 1, 0]
        assert all(job.due_at is None for job in storage.find(Job))

    @pytest.mark.parametrize("status", JobStatus)
    def test_lost_by_status(self, storage: Storage, status: JobStatus) -> None:
        """Only claims are lost, and only when their lease has run out."""
        job = put(storage, status=status, lease_expires_at=PAST)
        put_many(storage, [{"status": status, "lease_expires_at": After(LEASE)}, {"status": status}])
        before = snapshot(storage)
        assert storage.lost(10) == ([job] if status in JOB_CLAIMED else [])
        assert snapshot(storage) == before

    def test_the_longest_gone_come_first(self, storage: Storage) -> None:
        """At most so many; whoever's and of whatever type, but no deleted ones."""
        times = {"b": -5, "d": -1, "a": -3600, "c": -2, "x": -9}
        rows = [{"name": n, "lease_expires_at": After(s), "tenant": n, "type": n} for n, s in times.items()]
        jobs = put_many(storage, [{"status": JobStatus.PROCESSING, **row} for row in rows])
        storage.edit(Job, [jobs[4].id], {"deleted_at": NOW})
        assert names(storage.lost(10)) == ["a", "b", "c", "d"]
        assert names(storage.lost(2)) == ["a", "b"]
        assert storage.lost(0) == []
