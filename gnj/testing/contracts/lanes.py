"""`lane`, `keys`, `tenants`, `due` and `ended`: what is ready, what will be and what was, in order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gnj.queue.clock import NOW, After
from gnj.queue.errors import Duplicate
from gnj.queue.model import Hold, Job
from gnj.queue.states import JobStatus
from gnj.queue.storage import Bucket, Rows, Select, Storage
from gnj.queue.where import Not, equal
from gnj.testing.contracts.support import CLAIM, LEASE, ODD, Contract, claim, processing, put, put_many, snapshot


def lane(storage: Storage | Rows, tenant: str | None = None, limit: int = 100, **options: Any) -> str:
    """The names of the jobs of a lane, which have one letter each."""
    found = storage.lane("mail", tenant, limit, **options)
    jobs = {job.id: job for job in storage.find(Job)}
    assert all((of, key) == (jobs[id].tenant, jobs[id].limit_key) for id, of, key in found)
    return "".join(str(jobs[id].name) for id, _, _ in found)


class LaneContract(Contract):
    """Reads of what is ready."""

    def test_the_order_is_that_of_claims(self, storage: Storage) -> None:
        """Priority descending, position and id ascending; backward it is the very reverse."""
        put_many(
            storage,
            [
                {"name": "f"},
                {"name": "h", "priority": -1},
                {"name": "b", "priority": 2**31 - 1},
                {"name": "e", "position": -3},
                {"name": "g"},
                {"name": "i", "priority": -(2**31)},
                {"name": "d", "priority": 5},
                {"name": "c", "priority": 5, "position": -(2**63)},
                {"name": "a", "priority": 2**31 - 1, "position": -1},
            ],
        )
        assert lane(storage) == lane(storage, "") == "abcdefghi"
        assert lane(storage, backward=True) == lane(storage, "", backward=True) == "ihgfedcba"
        ids = [id for id, _, _ in storage.lane("mail", None, 9)]
        assert ids == [job.id for job in claim(storage)]

    def test_only_what_is_ready(self, storage: Storage) -> None:
        """Whether it is held or not."""
        put(storage, name="a")
        put(storage, name="b", type="other")
        put(storage, name="c", due_at=After(60))
        put(storage, name="d", due_at=After(-60))
        put(storage, name="e", status=JobStatus.PLANNED)
        put(storage, name="f", status=JobStatus.FAILED, ended_at=NOW)
        put(storage, name="g", deleted_at=NOW)
        processing(storage, name="h")
        put(storage, name="i", limit_key="k", tenant="t")
        storage.insert(Hold, [{"type": "mail"}, {"type": "all", "tenant": "t"}])
        before = snapshot(storage)
        assert lane(storage) == lane(storage, backward=True)[::-1] == "ai"
        assert lane(storage, "") == "a"
        assert lane(storage, "t", key="k") == "i"
        assert storage.keys("mail", "t", "", 10) == ["k"]
        assert storage.lane("nothing", None, 10) == storage.lane("nothing", "", 10, key="k") == []
        assert storage.keys("nothing", "", "", 10) == []
        assert snapshot(storage) == before

    def test_of_one_tenant(self, storage: Storage) -> None:
        """Or of every one; texts are alike only if they are the same."""
        tenants = ["", "a", "A", "a ", "ä", "a\u0308", ODD]
        put_many(storage, [{"name": str(n), "tenant": tenant} for n, tenant in enumerate(tenants)])
        assert lane(storage) == "0123456"
        for n, tenant in enumerate(tenants):
            assert lane(storage, tenant) == str(n)
        assert lane(storage, "b") == ""
        put(storage, name="x", type="MAIL")
        assert lane(storage) == "0123456"

    def test_of_one_key(self, storage: Storage) -> None:
        """In the same order; a job without a key has none."""
        keys = ["k", None, "K", "k ", "ä", ODD]
        put_many(
            storage,
            [
                *({"name": "x", "limit_key": key, "tenant": "other", "priority": 9} for key in keys),
                *({"name": f"{n}", "limit_key": key} for n, key in enumerate(keys)),
                *({"name": "abcdef"[n], "limit_key": key, "priority": 5} for n, key in enumerate(keys)),
            ],
        )
        for n, key in enumerate(keys):
            if key is not None:
                assert (
                    lane(storage, "", key=key) == lane(storage, "", key=key, backward=True)[::-1] == f"{'abcdef'[n]}{n}"
                )
                assert lane(storage, "", key=key, high=4) == str(n)
                assert lane(storage, "", 1, key=key, offset=1) == str(n)
        assert lane(storage, "", key="nobody") == ""

    @pytest.mark.parametrize("tenant, key", [(None, None), ("t", None), ("t", "k")])
    def test_bounds_of_the_priority(self, storage: Storage, tenant: str | None, key: str | None) -> None:
        """Both inclusive."""
        rows = [
            {"name": name, "priority": p, "tenant": "t", "limit_key": "k"}
            for name, p in zip("abcde", range(2, -3, -1), strict=True)
        ]
        put_many(storage, rows)
        options: dict[str, Any] = {} if key is None else {"key": key}

        def found(**bounds: Any) -> str:
            forward = lane(storage, tenant, **options, **bounds)
            assert lane(storage, tenant, backward=True, **options, **bounds) == forward[::-1]
            return forward

        assert found(low=0) == "abc"
        assert found(high=-1) == "de"
        assert found(low=-1, high=1) == "bcd"
        assert found(low=1, high=-1) == ""
        assert found(low=-(2**31), high=2**31 - 1) == "abcde"
        assert found(low=0, high=0) == "c"

    def test_a_part_of_it(self, storage: Storage) -> None:
        """So many, after so many."""
        put_many(storage, [{"name": name, "tenant": "t"} for name in "abcdefg"])
        for tenant in (None, "t"):
            assert lane(storage, tenant, 0) == ""
            assert lane(storage, tenant, 3) == "abc"
            assert lane(storage, tenant, 3, offset=5) == "fg"
            assert lane(storage, tenant, 3, offset=7) == ""
            assert lane(storage, tenant, 2, offset=1, backward=True) == "fe"

    def test_keys_ascend(self, storage: Storage) -> None:
        """By code point, each once, beyond the one that is named; those of others are not among them."""
        keys = sorted(["b", "B", "a", "a ", "ab", "ä", "z", "\U0001f600", "\uffee", "10", "9"])
        put_many(storage, [{"limit_key": key, "priority": n % 3} for n, key in enumerate([*keys, *reversed(keys)])])
        put_many(storage, [{"limit_key": "c", "tenant": "t"}, {"limit_key": "d", "type": "other"}, {}])
        assert storage.keys("mail", "", "", 100) == keys
        assert storage.keys("mail", "t", "", 100) == ["c"]
        assert storage.keys("other", "", "", 100) == ["d"]
        for n, key in enumerate(keys):
            assert storage.keys("mail", "", key, 100) == keys[n + 1 :]
            assert storage.keys("mail", "", key, 2) == keys[n + 1 : n + 3]
        assert storage.keys("mail", "", "", 0) == []

    def test_a_key_goes_with_the_last_ready_job_that_has_it(self, storage: Storage) -> None:
        """And comes back with it."""
        put_many(storage, [{"limit_key": "a"}, {"limit_key": "b"}, {"limit_key": "a"}])
        with storage.begin() as tx:
            (job,) = tx.claim(["mail"], 1, lease=LEASE, changes=CLAIM)
            assert tx.keys("mail", "", "", 9) == ["a", "b"]
            tx.claim(["mail"], 2, lease=LEASE, changes=CLAIM)
            assert tx.keys("mail", "", "", 9) == []
            assert tx.lane("mail", None, 9) == []
            tx.edit(Job, [job.id], {"name": "claimed"})
            tx.insert_jobs([{"type": "mail", "limit_key": "a"}])
            assert tx.keys("mail", "", "", 9) == ["a"]
            assert len(tx.lane("mail", "", 9, key="a")) == 1

    def test_tenants_with_ready_jobs(self, storage: Storage) -> None:
        """Each once, beyond the one that is named, in an order that stays; none whose jobs are not ready or of another type."""
        tenants = ["b", "", "B", "a", "a ", "\u00e4", "a\u0308", "\U0001f600", "\uffee", "10", ODD]
        put_many(storage, [{"tenant": of, "priority": n % 3} for n, of in enumerate([*tenants, *reversed(tenants)])])
        put(storage, tenant="c", type="other")
        put(storage, tenant="d", due_at=After(60))
        put(storage, tenant="e", status=JobStatus.FAILED, ended_at=NOW)
        put(storage, tenant="f", deleted_at=NOW)
        storage.insert(Hold, [{"type": "mail", "tenant": "b"}])
        before = snapshot(storage)
        found = storage.tenants("mail", None, 100)
        assert sorted(found) == sorted(tenants)
        assert storage.tenants("other", None, 100) == ["c"]
        assert storage.tenants("nothing", None, 100) == storage.tenants("mail", None, 0) == []
        for n, tenant in enumerate(found):
            assert storage.tenants("mail", tenant, 100) == found[n + 1 :]
            assert storage.tenants("mail", tenant, 2) == found[n + 1 : n + 3]
        assert storage.tenants("mail", None, 3) == found[:3]
        assert set(storage.tenants("mail", "nobody", 100)) <= set(found)
        assert snapshot(storage) == before

    def test_a_tenant_goes_with_its_last_ready_job(self, storage: Storage) -> None:
        """And comes back with another one."""
        put_many(storage, [{"tenant": "a"}, {"tenant": "b"}, {"tenant": "a"}])
        with storage.begin() as tx:
            tx.claim(["mail"], 2, lease=LEASE, changes=CLAIM)
            assert tx.tenants("mail", None, 9) == ["a"]
            tx.claim(["mail"], 1, lease=LEASE, changes=CLAIM)
            assert tx.tenants("mail", None, 9) == []
            tx.insert_jobs([{"type": "mail", "tenant": "b"}])
            assert tx.tenants("mail", None, 9) == ["b"]

    @pytest.mark.parametrize("bounds", [{}, {"low": 0}, {"high": -1}, {"low": 4, "high": 4}, {"low": 5, "high": 3}])
    def test_the_size_of_a_lane(self, storage: Storage, bounds: dict[str, Any]) -> None:
        """Is that of what it gives."""
        put_many(storage, [{"priority": n % 7 - 2} for n in range(30)])
        put(storage, tenant="t")
        put(storage, type="other")
        put(storage, due_at=After(60))
        put(storage, status=JobStatus.FAILED, ended_at=NOW)
        for tenant in ("", "t", "nobody"):
            assert storage.lane_size("mail", tenant, **bounds) == len(storage.lane("mail", tenant, 100, **bounds))
        assert storage.lane_size("mail", "") == 30

    def test_what_is_due(self, storage: Storage) -> None:
        """Sooner or later: the earliest first, then by id."""
        rows = [
            {"due_at": After(seconds), "name": name} for name, seconds in zip("cabd", (60, -60, 1, 60), strict=True)
        ]
        ids = {job.name: job.id for job in put_many(storage, rows)}
        now = storage.now()
        storage.edit(Job, [ids["c"], ids["d"]], {"due_at": now.replace(microsecond=0, year=now.year + 1)})
        put(storage, tenant="t", due_at=After(5))
        put(storage, type="other", due_at=After(5))
        put(storage)
        put(storage, due_at=After(5), deleted_at=NOW)
        put(storage, due_at=After(5), status=JobStatus.PLANNED)
        assert storage.due("mail", "", 100) == [ids[name] for name in "abcd"]
        assert storage.due("mail", "", 2, offset=1) == [ids["b"], ids["c"]]
        assert storage.due("mail", "", 0) == storage.due("mail", "", 5, offset=4) == storage.due("x", "", 5) == []
        assert len(storage.due("mail", "t", 5)) == 1
        assert storage.due("mail", "", 100, backward=True) == [ids[name] for name in "dcba"]
        assert storage.due("mail", "", 2, offset=1, backward=True) == [ids["c"], ids["b"]]
        assert storage.due("mail", "", 9, upto=now) == [ids["a"]]
        second = storage.find(Job, Select(equal(Job, name="b")))[0].due_at
        for backward in (False, True):
            found = storage.due("mail", "", 9, upto=second, backward=backward)
            assert found == [ids[name] for name in ("ba" if backward else "ab")]

    def test_what_has_ended(self, storage: Storage) -> None:
        """In the order of the ends, of one moment by id; of one type and tenant, and of these statuses."""
        done, failed, cancelled = JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.CANCELLED
        moments = {"a": -9, "b": -5, "c": -5, "d": -5, "e": -2, "f": 7}
        now = storage.now()
        statuses = dict(zip("abcdef", (done, failed, done, cancelled, failed, done), strict=True))
        rows = [
            {"name": name, "status": statuses[name], "ended_at": now + timedelta(seconds=moments[name])}
            for name in "fbacde"
        ]
        ids = {job.name: job.id for job in put_many(storage, rows)}
        assert ids["b"] < ids["c"] < ids["d"]
        put(storage, status=done, ended_at=NOW, tenant="t")
        put(storage, status=done, ended_at=NOW, type="other")
        put(storage, status=done, ended_at=NOW, deleted_at=NOW)
        put(storage, status=done)
        put(storage, due_at=After(5))

        def names(*of: JobStatus, limit: int = 100, tenant: str = "", **options: Any) -> str:
            found = storage.ended("mail", tenant, of, limit, **options)
            jobs = [storage.get(Job, id) for id, _ in found]
            assert [job and job.ended_at for job in jobs] == [ended_at for _, ended_at in found]
            return "".join(str(job and job.name) for job in jobs)

        for of in ((done,), (failed,), (failed, cancelled), (done, failed, cancelled)):
            told = "".join(name for name in "abcdef" if statuses[name] in of)
            assert names(*of) == told
            assert names(*of, backward=True) == told[::-1]
            assert names(*of, limit=2, offset=1) == told[1:3]
            assert names(*of, limit=2, offset=1, backward=True) == told[::-1][1:3]
            assert names(*of, limit=0) == names(*of, offset=9) == ""
            for place, name in enumerate("abcdef"):
                beyond = now + timedelta(seconds=moments[name]), ids[name]
                assert names(*of, beyond=beyond) == "".join(n for n in "abcdef"[place + 1 :] if n in told)
                before = "".join(n for n in "abcdef"[:place] if n in told)
                assert names(*of, beyond=beyond, backward=True) == before[::-1]
                assert names(*of, beyond=beyond, backward=True, offset=1, limit=1) == before[::-1][1:2]
        assert names() == names(done, tenant="nobody") == ""
        assert len(storage.ended("mail", "t", [done], 9)) == len(storage.ended("other", "", [done], 9)) == 1

    def test_counts_of_what_has_ended(self, storage: Storage) -> None:
        """Since then, or ever; of a type, of a tenant, or of all."""
        done, failed = JobStatus.SUCCESSFUL, JobStatus.FAILED
        now = storage.now()
        put_many(
            storage,
            [
                {"type": type, "tenant": tenant, "status": status, "ended_at": now - timedelta(seconds=seconds)}
                for type in ("mail", ODD)
                for tenant in ("", "t", ODD)
                for status, seconds in ((done, 10), (done, 20), (failed, 30))
            ],
        )
        put(storage, status=done)
        put(storage, status=done, ended_at=NOW, deleted_at=NOW)
        put(storage, ended_at=NOW)
        assert storage.tally_ended(["status"], None) == {(done,): 12, (failed,): 6}
        assert storage.tally_ended(["type"], None, tenant="t") == {("mail",): 3, (ODD,): 3}
        assert storage.tally_ended(["tenant"], None, type="mail") == {("",): 3, ("t",): 3, (ODD,): 3}
        assert storage.tally_ended(["status"], None, type=ODD, tenant=ODD) == {(done,): 2, (failed,): 1}
        assert storage.tally_ended([], now - timedelta(seconds=20), type="mail", tenant="") == {(): 2}
        assert storage.tally_ended([], now - timedelta(seconds=19.999), tenant="t") == {(): 2}
        assert storage.tally_ended(["status"], now - timedelta(seconds=30), equal(Job, status=failed)) == {(failed,): 6}
        minute = Bucket("ended_at", 60)
        assert sum(storage.tally_ended([minute, "type"], None, Not(equal(Job, type="mail"))).values()) == 9
        assert storage.tally_ended(["type"], now) == storage.tally_ended(["type"], None, type="x", tenant="t") == {}

    def test_nothing_has_ended(self, storage: Storage) -> None:
        """Nothing is told."""
        put(storage)
        assert storage.ended("mail", "", [JobStatus.FAILED], 9) == []
        assert storage.tally_ended(["status"], None) == {}

    def test_jobs_by_custom_ids(self, storage: Storage) -> None:
        """Of one type and tenant, whatever became of them."""
        names = ["b", "a", ODD, "A", "a ", "\u00e9", "7"]
        put_many(storage, [{"custom_id": name, "name": name} for name in names])
        put(storage, custom_id="a", tenant="t")
        put(storage, custom_id="a", type="other")
        put(storage, custom_id="gone", deleted_at=NOW)
        put(storage, custom_id="done", status=JobStatus.SUCCESSFUL, ended_at=NOW)
        put(storage)
        for again in (False, True):

            def found(*ids: str, again: bool = again, type: str = "mail", tenant: str = "") -> list[str | None]:
                with storage.begin() as tx:
                    jobs = tx.named(type, tenant, ids, again=again)
                assert jobs == [storage.get(Job, job.id) for job in jobs]
                return [job.custom_id for job in jobs]

            assert found(*reversed(names), "done", "none", "gone", "a") == [*names, "done"]
            assert found("a", type="other") == found("a", tenant="t") == found("a") == ["a"]
            assert found() == found("x") == found("b", tenant="t") == []
        assert [job.custom_id for job in storage.named("mail", "", ["b"])] == ["b"]
        many = [f"x{n}" for n in range(1_100)]
        put_many(storage, [{"custom_id": name} for name in many])
        assert [job.custom_id for job in storage.named("mail", "", many)] == many

    @pytest.mark.parametrize("count", [1, 2, 600])
    def test_custom_ids_are_taken_once(self, storage: Storage, count: int) -> None:
        """By jobs of one type and tenant that are not deleted: else nothing is stored."""
        rows = [{"type": "mail", "custom_id": f"x{n}"} for n in range(count)]
        first = [job for job, _ in storage.enqueue(rows)]
        before = snapshot(storage)
        for store in (storage.enqueue, storage.insert_jobs):
            with pytest.raises(Duplicate):
                store([{"type": "mail"}, {"type": "mail", "custom_id": "y"}, rows[-1]])
            with pytest.raises(Duplicate):
                store([rows[-1]])
            with pytest.raises(Duplicate):
                store([{"type": "mail", "custom_id": "y"}] * 2)
        assert snapshot(storage) == before
        with storage.begin() as tx:
            with pytest.raises(Duplicate), tx.savepoint():
                tx.insert_jobs([rows[0]])
            tx.insert_jobs([{**rows[0], "type": "other"}, {**rows[0], "tenant": "t"}])
        storage.edit(Job, [first[0].id], {"deleted_at": NOW})
        ((_, new),) = storage.enqueue([rows[0]])
        assert new
