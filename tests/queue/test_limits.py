"""What limits of a queue are, how they are set and taken away, and that holds and fences keep out of each other's way."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gnj.queue import limits
from gnj.queue.errors import Duplicate, IllegalTransition, InvalidInput, NotFound
from gnj.queue.holds import ALL_TYPES
from gnj.queue.limits import KEEP, LimitValues, Rate
from gnj.queue.model import Grant, Hold, Permit, QueueLimit
from gnj.queue.service import Queue
from gnj.queue.storage import Select

ALL = LimitValues(limiter=Rate(100, 1000), concurrency=10, group_limiter=Rate(5, 60_000), group_concurrency=1)
BODY = {
    "limiter": {"max": 100, "duration": 1000},
    "concurrency": 10,
    "group": {"limiter": {"max": 5, "duration": 60_000}, "concurrency": 1},
}


def fences(storage):
    return [(row.tenant, row.type, row.limited, row.held) for row in storage.find(Hold)]


def held(queue):
    """Whoever looks sees the same."""
    rows = queue.list(Hold)
    assert queue.select(Hold, Select()) == rows
    assert queue.count(Hold) == len(rows)
    assert all(queue.get(Hold, row.id) == row for row in rows)
    assert {row.type for row in rows} == {each.type for each in queue.types() if each.held}
    return [(row.tenant, row.type) for row in rows]


@pytest.mark.parametrize("body", [BODY, {}, {"concurrency": 1}, {"group": {}}, {"group": {"concurrency": 3}}])
def test_what_is_parsed_is_told(queue, body):
    row = queue.set_limits("mail", limits.parse(body), tenant="t")
    assert limits.told(row) == {name: value for name, value in body.items() if value != {}}


@pytest.mark.parametrize(
    "body, told",
    [
        (None, "the limits must be an object, not None"),
        ([], "the limits must be an object, not []"),
        ({"x": 1}, "Unexpected field: x"),
        ({"worker": {"max": 1, "duration": 1}}, "Unexpected field: worker"),
        ({"limiter": None}, "limiter must be an object, not None"),
        ({"limiter": {}}, "limiter.max is required"),
        ({"limiter": {"max": 1}}, "limiter.duration is required"),
        ({"limiter": {"max": 1, "duration": 1, "per": 1}}, "Unexpected field: limiter.per"),
        ({"limiter": {"max": 0, "duration": 1}}, "limiter.max must be from 1 to 100,000, not 0"),
        ({"limiter": {"max": 100_001, "duration": 1}}, "limiter.max must be from 1 to 100,000, not 100001"),
        ({"limiter": {"max": 1.0, "duration": 1}}, "limiter.max must be an integer, not 1.0"),
        ({"limiter": {"max": True, "duration": 1}}, "limiter.max must be an integer, not True"),
        ({"limiter": {"max": 1, "duration": "1"}}, "limiter.duration must be an integer, not '1'"),
        (
            {"limiter": {"max": 1, "duration": 86_400_001}},
            "limiter.duration must be from 1 to 86,400,000, not 86400001",
        ),
        ({"concurrency": 0}, "concurrency must be from 1 to 100,000, not 0"),
        ({"concurrency": None}, "concurrency must be an integer, not None"),
        ({"group": 1}, "group must be an object, not 1"),
        ({"group": {"key": 1}}, "Unexpected field: group.key"),
        ({"group": {"concurrency": -1}}, "group.concurrency must be from 1 to 100,000, not -1"),
        ({"group": {"limiter": {"max": 1}}}, "group.limiter.duration is required"),
    ],
)
def test_what_are_no_limits(body, told):
    with pytest.raises(InvalidInput) as caught:
        limits.parse(body)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    "queue_name, given, told",
    [
        ("", ALL, "queue must not be empty"),
        ("all", ALL, "queue name is reserved: 'all'"),
        ("gnj:bulk", ALL, "queue name is reserved: 'gnj:bulk'"),
        ("hook:x", ALL, "queue name is reserved: 'hook:x'"),
        ("mail", {"concurrency": 1}, "limits must be LimitValues, not {'concurrency': 1}"),
        ("mail", LimitValues(concurrency=0), "concurrency must be from 1 to 100,000, not 0"),
        ("mail", LimitValues(limiter=Rate(1, 0)), "limiter.duration must be from 1 to 86,400,000, not 0"),
        ("mail", LimitValues(group_limiter=cast("Any", (1, 1))), "group_limiter must be a Rate, not (1, 1)"),
    ],
)
def test_what_is_refused_changes_nothing(queue, refused, queue_name, given, told):
    queue.set_limits("mail", LimitValues(concurrency=2), tenant="")
    with refused(InvalidInput, told):
        queue.set_limits(queue_name, given, tenant="")
    with refused(InvalidInput):
        queue.set_limits("mail", KEEP, tenant="", worker=Rate(0, 1))


@pytest.mark.usefixtures("everywhere")
def test_limits_are_set_replaced_and_taken_away(queue, storage, clock):
    assert queue.limits_of("mail", tenant="t") is None
    assert queue.set_limits("mail", None, tenant="t") is None
    assert queue.set_limits("mail", LimitValues(), tenant="t") is None
    assert storage.find(QueueLimit) == storage.find(Hold) == []
    row = queue.set_limits("mail", ALL, tenant="t")
    assert limits.of_row(row) == ALL
    assert queue.limits_of("mail", tenant="t") == row
    assert queue.limits_of("mail", tenant="") is None
    assert queue.is_limited(["mail", "x"])
    assert not queue.is_limited(["x"])
    assert fences(storage) == [("t", "mail", True, False)]
    clock.tick(1)
    other = queue.set_limits("mail", LimitValues(concurrency=3), tenant="t")
    assert (other.id, limits.of_row(other)) == (row.id, LimitValues(concurrency=3))
    assert queue.set_limits("mail", None, tenant="t") is None
    assert storage.find(QueueLimit) == storage.find(Hold) == []
    assert not queue.is_limited(["mail"])
    assert queue.set_limits("mail", LimitValues(concurrency=4), tenant="t").id > row.id


@pytest.mark.usefixtures("everywhere")
def test_what_was_counted_goes_after_the_limits(queue, storage, make, clock):
    """So that to take them away costs the same, however much that is."""
    for type in ("a", "b"):
        queue.set_limits(type, ALL, tenant="")
        for _ in range(3):
            make(type=type)
        assert len(queue.acquire([type], 5)) == 3
    assert storage.count(Permit) == 6
    queue.set_limits("a", None, tenant="")
    assert storage.count(Permit) == 6
    assert queue.prune(retention=None, limit=2) == 3
    assert storage.count(Permit) == 4
    assert queue.prune(retention=None) == 1
    assert queue.prune(retention=None) == 0
    assert {permit.limit_id for permit in storage.find(Permit)} == {queue.limits_of("b", tenant="").id}
    assert storage.count(Permit) == 3
    assert storage.count(Grant)
    queue.set_limits("b", None, tenant="")
    clock.tick(86_401)
    storage.prune(100, deleted=86_400, ended=None)
    assert storage.count(Permit) == storage.count(Grant) == 0


def test_a_tenant_has_so_many_limits_at_most(queue, monkeypatch, refused):
    monkeypatch.setattr("gnj.queue.gate.MOST", 2)
    for type in ("one", "two"):
        queue.set_limits(type, ALL, tenant="t")
    with refused(InvalidInput, "at most 2 queues can have limits: take away those of another one first"):
        queue.set_limits("three", ALL, tenant="t")
    assert queue.set_limits("three", None, tenant="t") is None
    queue.set_limits("three", ALL, tenant="u")
    queue.set_limits("two", LimitValues(concurrency=1), tenant="t")
    queue.set_limits("one", None, tenant="t")
    queue.set_limits("three", ALL, tenant="t")


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("tenant", ["", "t"])
@pytest.mark.parametrize("status", ["planned", "queued"])
def test_a_claim_by_hand_does_not_get_past_them(queue, make, refused, tenant, status):
    queue.set_limits("a", LimitValues(concurrency=1), tenant=tenant)
    job, other = make(tenant="t", status=status), make(type="b", tenant="t", status=status)
    with refused(IllegalTransition, "the type 'a' has limits: its jobs are claimed by acquiring them alone"):
        queue.update_job(job.id, {"status": "processing"})
    with refused(IllegalTransition):
        queue.update_job(other.id, {"type": "a", "status": "processing"})
    assert queue.update_job(other.id, {"status": "processing"}).attempt == 1
    assert queue.update_job(job.id, {"name": "n"}).name == "n"
    assert queue.update_job(make(tenant="t").id, {"status": "successful"}).status == "successful"
    queue.set_limits("a", None, tenant=tenant)
    assert queue.update_job(job.id, {"status": "processing"}).attempt == 1


def test_the_rate_of_a_push_worker_is_apart(queue, storage):
    row = queue.set_limits("mail", KEEP, tenant="", worker=Rate(5, 100))
    assert limits.told(row) == {"worker": {"max": 5, "duration": 100}}
    row = queue.set_limits("mail", LimitValues(concurrency=1), tenant="")
    assert limits.told(row) == {"concurrency": 1, "worker": {"max": 5, "duration": 100}}
    assert queue.set_limits("mail", KEEP, tenant="") == row
    row = queue.set_limits("mail", None, tenant="")
    assert limits.told(row) == {"worker": {"max": 5, "duration": 100}}
    assert fences(storage) == [("", "mail", True, False)]
    assert queue.set_limits("mail", KEEP, tenant="", worker=None) is None
    assert fences(storage) == []
    assert limits.told(None) == {}


@pytest.mark.usefixtures("everywhere")
def test_a_fence_is_no_hold(queue, storage):
    queue.set_limits("mail", ALL, tenant="")
    (fence,) = storage.find(Hold)
    assert held(queue) == []
    assert queue.get(Hold, fence.id) is None
    assert not queue.release_hold("mail")
    for call in (lambda: queue.delete(Hold, fence.id), lambda: queue.update(Hold, fence.id, {"type": "x"})):
        with pytest.raises(NotFound, match=r"^jobHoldType not found\.$"):
            call()
    assert fences(storage) == [("", "mail", True, False)]


@pytest.mark.usefixtures("everywhere")
def test_holds_come_and_go_beside_limits(queue, storage, clock):
    queue.set_limits("mail", ALL, tenant="")
    clock.tick(5)
    hold = queue.hold("mail")
    assert hold.created_at == clock()
    assert queue.hold("mail") == hold
    assert held(queue) == [("", "mail")]
    assert queue.release_hold("mail")
    assert not queue.release_hold("mail")
    assert queue.toggle_hold("mail").held
    assert queue.toggle_hold("mail") is None
    assert fences(storage) == [("", "mail", True, False)]
    hold = queue.create(Hold, {"type": "mail"})
    gone = queue.delete(Hold, hold.id)
    assert (gone.id, gone.deleted_at) == (hold.id, clock())
    assert held(queue) == []
    queue.hold("mail")
    queue.set_limits("mail", None, tenant="")
    assert fences(storage) == [("", "mail", False, True)]
    queue.set_limits("mail", ALL, tenant="")
    assert fences(storage) == [("", "mail", True, True)]
    assert held(queue) == [("", "mail")]
    queue.release_hold("mail")
    queue.set_limits("mail", None, tenant="")
    assert fences(storage) == []


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("of", ["old", "new", "both"])
def test_a_hold_that_becomes_one_of_another_type_leaves_the_fences(queue, storage, of):
    if of != "new":
        queue.set_limits("mail", ALL, tenant="t")
    if of != "old":
        queue.set_limits("text", ALL, tenant="t")
    hold = queue.hold("mail", tenant="t")
    after = queue.update(Hold, hold.id, {"type": "text"})
    assert (after.id, after.type) == (hold.id, "text")
    assert held(queue) == [("t", "text")]
    limited = {"mail", "text"} if of == "both" else {"mail" if of == "old" else "text"}
    assert {type for _, type, fenced, _ in fences(storage) if fenced} == limited
    queue.hold("mail", tenant="t")
    with pytest.raises(Duplicate):
        queue.update(Hold, hold.id, {"type": "mail"})


def test_another_process_learns_of_limits(queue, storage, make, monkeypatch):
    other = Queue(storage, lease=60.0)
    make(), make()
    assert other.acquire(["a"]) is not None
    assert other.acquire(["b"]) is None
    queue.set_limits("a", LimitValues(concurrency=2), tenant="")
    monkeypatch.setattr("gnj.queue.gate.LOOK_EVERY", 3600.0)
    assert other.acquire(["a"]) is None
    assert not other.is_limited(["a"])
    monkeypatch.setattr("gnj.queue.gate.LOOK_EVERY", 0.0)
    assert other.acquire(["a"]) is not None
    assert other.is_limited(["a"])
    queue.set_limits("a", None, tenant="")
    make()
    monkeypatch.setattr("gnj.queue.gate.LOOK_EVERY", 3600.0)
    assert other.acquire(["a"]) is not None
    assert not other.is_limited(["a"])


def test_limits_that_are_set_in_a_transaction_are_known_after_it(queue, make):
    make()
    with queue.transaction() as (inner, _):
        inner.set_limits("a", LimitValues(concurrency=1), tenant="")
        assert inner.acquire(["a"]) is None
    assert queue.acquire(["a"]) is not None
    assert ALL_TYPES == "all"
