"""Types that are held back: section 8 of the jobs contract, P21, decision 0004."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gnj.queue.errors import InvalidInput, InvalidText
from gnj.queue.model import Hold, NewJob
from gnj.queue.storage import Select

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
everywhere = pytest.mark.usefixtures("everywhere")


@everywhere
def test_a_held_type_is_not_handed_out(queue):
    queue.enqueue_many([NewJob("a"), NewJob("b")])
    hold = queue.hold("a")
    assert (hold.type, hold.tenant) == ("a", "")
    assert [job.type for job in queue.acquire(["a", "b"], 5)] == ["b"]
    assert queue.release_hold("a") is True
    assert [job.type for job in queue.acquire(["a", "b"], 5)] == ["a"]


@everywhere
def test_all_holds_every_type(queue):
    queue.enqueue_many([NewJob("a"), NewJob("b"), NewJob("all")])
    queue.hold("all")
    assert queue.acquire(["a", "b", "all"], 5) == []
    queue.release_hold("all")
    assert len(queue.acquire(["a", "b", "all"], 5)) == 3


@everywhere
def test_a_hold_of_a_tenant_holds_its_own_jobs_and_one_of_nobody_all(queue):
    queue.enqueue_many([NewJob("a", tenant=tenant) for tenant in ("", "t", "u")])
    queue.hold("a", tenant="t")
    queue.hold("all", tenant="u")
    assert [job.tenant for job in queue.acquire(["a"], 5)] == [""]
    queue.hold("a")
    queue.release_hold("a", tenant="t")
    assert queue.acquire(["a"], 5) == []
    queue.release_hold("a")
    assert [job.tenant for job in queue.acquire(["a"], 5)] == ["t"]


def test_running_jobs_go_on(queue, claim):
    job = claim()
    queue.hold(job.type)
    assert queue.succeed(job).status == "successful"


def test_held_jobs_can_still_be_claimed_by_hand(queue, make):
    queue.hold("a")
    assert queue.update_job(make().id, {"status": "processing"}).attempt == 1


@everywhere
def test_toggling(queue):
    first = queue.toggle_hold("a")
    assert queue.list(Hold) == [first]
    assert queue.toggle_hold("a") is None
    assert queue.list(Hold) == []
    second = queue.toggle_hold("a")
    assert second.id != first.id
    assert len(queue.select(Hold, Select(deleted=True))) == 2


def test_holding_twice_is_one_hold(queue, clock):
    hold = queue.hold("a")
    clock.tick(1)
    assert queue.hold("a") == hold
    assert queue.hold("a", tenant="t").id != hold.id
    assert queue.release_hold("a") is True
    assert queue.release_hold("a") is False
    assert queue.release_hold("never held") is False


def test_a_tenant_holds_so_many_types_at_most(queue, monkeypatch, refused):
    monkeypatch.setattr("gnj.queue.holds.MOST", 2)
    first = [queue.hold(type, tenant="t") for type in "ab"]
    with refused(InvalidInput, "at most 2 types can be held: release another one first"):
        queue.hold("c", tenant="t")
    assert [queue.hold(type, tenant="t").id for type in "ab"] == [hold.id for hold in first]
    queue.hold("c", tenant="u")
    queue.release_hold("a", tenant="t")
    queue.hold("c", tenant="t")


def test_releasing_wakes_those_who_wait(queue):
    rings = queue.wake.rings
    queue.hold("a")
    queue.release_hold("b")
    assert queue.wake.rings == rings
    queue.release_hold("a")
    assert queue.wake.rings == rings + 1
    queue.toggle_hold("a")
    queue.toggle_hold("a")
    assert queue.wake.rings == rings + 2


@pytest.mark.parametrize(
    "type, error, message",
    [
        (None, InvalidInput, "type must be a string, not None"),
        (5, InvalidInput, "type must be a string, not 5"),
        ("", InvalidInput, "type must not be empty"),
        ("x" * 201, InvalidInput, "type must have at most 200 characters, not 201"),
        ("a\0", InvalidText, "type must not hold a NUL character"),
        ("a\ud800", InvalidText, "type must not hold a surrogate without its other half"),
        ("a\t", InvalidText, "type must not hold control characters"),
    ],
)
def test_bad_types(queue, refused, type, error, message):
    for command in (queue.hold, queue.release_hold, queue.toggle_hold):
        with refused(error, message):
            command(type)
