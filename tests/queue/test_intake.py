"""How jobs come in fast: what threads store at the same time, and the short ways of checks and records."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.queue import deadline, values
from gnj.queue.catalog import RECORDS
from gnj.queue.errors import GnjError, InvalidInput, StorageError, StorageUnavailable, TimedOut
from gnj.queue.feed import Change
from gnj.queue.making import maker
from gnj.queue.model import Announcement, Job, Listener, NewJob
from gnj.queue.outbox import WANTS
from gnj.queue.service import Queue
from gnj.queue.storage import Storage
from gnj.queue.values import MAX_JSON_BYTES, check_json, dump_json
from gnj.storage.memory import MemoryStorage

everywhere = pytest.mark.usefixtures("everywhere")
MANY = 32


class Spy:
    """Passes calls of a storage on, and notes how many jobs each `enqueue` was given."""

    def __init__(self, storage):
        self.real, self.sizes, self.entered, self.gate = storage, [], threading.Event(), threading.Event()
        self.gate.set()
        self.fails = []

    def __call__(self, rows):
        self.sizes.append(len(rows))
        self.entered.set()
        assert self.gate.wait(10)
        if self.fails:
            raise self.fails.pop(0)
        if len(rows) > 1 and any(row["type"] == "bad" for row in rows):
            raise StorageError("a row is larger than the server takes")
        if rows[0]["type"] == "bad":
            raise StorageError("bad")
        return self.real(rows)


@pytest.fixture
def spy(storage, monkeypatch):
    made = Spy(storage.enqueue)
    monkeypatch.setattr(storage, "enqueue", made)
    return made


def waiting(queue, count):
    while len(queue._arriving._waiting) < count:
        threading.Event().wait(0.001)


@contextmanager
def busy(queue, spy, pool):
    """While the block lasts a thread is storing a job, and others gather."""
    spy.gate.clear()
    first = pool.submit(queue.enqueue, NewJob("first"))
    assert spy.entered.wait(10)
    yield
    spy.gate.set()
    assert first.result(10).type == "first"


@everywhere
def test_what_threads_enqueue_at_the_same_time_is_stored_once_each(queue):
    def enqueue(number):
        job = queue.enqueue(NewJob("a", {"n": number}, priority=number % 3, tenant="t" * (number % 2)))
        assert (job.input, job.priority, job.tenant) == ({"n": number}, number % 3, "t" * (number % 2))
        assert queue.get(Job, job.id) == job
        return job.id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(enqueue, range(100)))
    assert len(set(ids)) == 100
    assert Counter(job.input["n"] for job in queue.list(Job)) == Counter(range(100))


@everywhere
def test_those_who_wait_share_one_commit(queue, spy):
    with ThreadPoolExecutor(MANY) as pool:
        with busy(queue, spy, pool):
            futures = [pool.submit(queue.enqueue, NewJob("a", n)) for n in range(5)]
            waiting(queue, 5)
        assert sorted(future.result(10).input for future in futures) == list(range(5))
    assert spy.sizes == [1, 5]
    assert {job.id for job in queue.list(Job)} == {1, 2, 3, 4, 5, 6}


@everywhere
def test_one_that_fails_harms_no_other(queue, spy):
    with ThreadPoolExecutor(MANY) as pool:
        with busy(queue, spy, pool):
            futures = [pool.submit(queue.enqueue, NewJob(type)) for type in ("a", "bad", "b")]
            waiting(queue, 3)
        assert sorted(futures[place].result(10).type for place in (0, 2)) == ["a", "b"]
        with pytest.raises(StorageError, match=r"^bad$"):
            futures[1].result(10)
    assert Counter(job.type for job in queue.list(Job)) == {"first": 1, "a": 1, "b": 1}


@everywhere
def test_what_is_refused_is_not_waited_for(queue, spy, refused):
    with ThreadPoolExecutor(MANY) as pool, busy(queue, spy, pool):
        with pytest.raises(InvalidInput, match=r"job\.type must not be empty"):
            queue.enqueue(NewJob(""))
        with pytest.raises(InvalidInput, match="tenant"):
            queue.enqueue(NewJob("a", tenant="\0"))
        assert not queue._arriving._waiting


@everywhere
def test_a_storage_that_fails_once(queue, spy):
    with ThreadPoolExecutor(MANY) as pool:
        with busy(queue, spy, pool):
            futures = [pool.submit(queue.enqueue, NewJob("a")) for _ in range(3)]
            waiting(queue, 3)
        assert {future.result(10).type for future in futures} == {"a"}
        spy.fails = [StorageUnavailable("gone")]
        with pytest.raises(StorageUnavailable, match="gone"):
            queue.enqueue(NewJob("a"))
        assert queue.enqueue(NewJob("a")).type == "a"
    assert queue.count(Job) == 5


@everywhere
def test_a_deadline_that_passes_while_others_store(queue, spy):
    def late():
        with deadline.within(0.1, 5.0):
            return queue.enqueue(NewJob("late"))

    with ThreadPoolExecutor(MANY) as pool, busy(queue, spy, pool):
        future = pool.submit(late)
        with pytest.raises(TimedOut):
            future.result(10)
    assert [job.type for job in queue.list(Job)] == ["first"]


@pytest.mark.parametrize(
    "job",
    [
        NewJob("a", unique_id="u"),
        NewJob("a", lifo=True),
    ],
)
def test_what_may_wait_for_others_is_stored_alone(queue, spy, job):
    queue._arriving.submit = None
    stored = queue.enqueue(job)
    assert (stored.type, stored.unique_id) == ("a", job.unique_id)
    assert spy.sizes == ([1] if job.unique_id else [])


def test_inside_a_transaction_nothing_is_shared(storage, spy):
    queue = Queue(storage)
    with queue.transaction() as (inner, _):
        job = inner.enqueue(NewJob("a"))
        assert spy.sizes == []
    assert queue.get(Job, job.id) == job
    if "concurrent_claims" not in storage.capabilities:
        # also where it has to be looked up first who is to be told, which takes a transaction of its own
        hooked = Queue(storage)
        hooked.hooks.add_durable("h", ["failed"])
        for each in (queue, hooked):
            for ask in (
                partial(each.enqueue, NewJob("a")),
                partial(each.enqueue_many, [NewJob("a")]),
                partial(each.acquire, ["a"]),
                partial(each.acquire, ["a"], 2),
            ):
                begun = time.monotonic()
                with each.transaction(), pytest.raises(RuntimeError, match="a transaction is open here"):
                    ask()
                assert time.monotonic() - begun < 3


def test_while_somebody_is_to_be_told_it_is_stored_in_a_unit_of_work(queue, spy):
    told = []
    queue.enqueue(NewJob("before"))
    queue.hooks.add(["created"], lambda event: told.append(event.job.type))
    queue.enqueue(NewJob("hooked"))
    assert queue.hooks.flush(5)
    changes: list[Change] = []
    with queue.feed.follow(changes.extend):
        queue.enqueue_many([NewJob("followed"), NewJob("followed", tenant="t")])
    assert queue.hooks.flush(5)
    assert told == ["hooked", "followed", "followed"]
    assert [(change.topic, change.value.type) for change in changes] == [("created", "followed")] * 2
    assert spy.sizes == [1]


def test_who_follows_in_another_process_is_noticed_within_its_time(spy, clock):
    class Shared(MemoryStorage):
        capabilities = MemoryStorage.capabilities | {"processes"}

    storage = Shared(clock)
    queue = Queue(storage)
    queue.enqueue(NewJob("before"))
    storage.insert(Listener, [{"wants": WANTS, "expires_at": clock() + timedelta(days=1)}])
    threading.Event().wait(0.25)  # outbox.FRESH
    queue.enqueue(NewJob("after"))
    assert [row.data for row in storage.find(Announcement)] == [{"created": [2]}]


def test_a_durable_hook_that_came_is_noticed(queue, spy):
    queue.enqueue(NewJob("before"))
    kind = queue.hooks.add_durable("audit", ["created"])
    queue.enqueue(NewJob("after"))
    assert [job.type for job in queue.list(Job)] == ["before", "after", kind]
    assert spy.sizes == [1]


@everywhere
@pytest.mark.parametrize("count", [2, 50, 500])
def test_many_are_answered_as_they_are_stored(queue, count):
    new = [
        NewJob(
            "a",
            {"text": 'a\\b\n\t\r"', "n": n, "f": 1e23},
            name=[None, "", "\\N", "x\ty\\\n"][n % 4],
            start_after=timedelta(seconds=n) if n % 3 == 0 else None,
            timeout=n + 1,
            recoverable=n % 2 == 0,
            max_attempts=None if n % 5 else 3,
            tenant="t" if n % 7 == 0 else "",
        )
        for n in range(count)
    ]
    jobs = queue.enqueue_many(new)
    assert [job.id for job in jobs] == list(range(1, count + 1))
    assert [job.input["n"] for job in jobs] == list(range(count))
    assert queue.list(Job, limit=count, order=("id",)) == jobs
    for job in jobs:
        assert (type(job.timeout), type(job.status), job.created_at.tzinfo) == (float, type(jobs[0].status), UTC)
    jobs[0].input["n"] = "changed"
    assert new[0].input["n"] == 0


def test_the_collector_rests_while_many_are_made_and_goes_on_whatever_happens(queue, spy, monkeypatch):
    at_work = []
    real = spy.real

    def store(rows):
        at_work.append(gc.isenabled())
        return real(rows)

    spy.real = store
    assert gc.isenabled()
    queue.enqueue_many([NewJob("a")] * 1_000)
    queue.enqueue_many([NewJob("a")] * 999)
    queue.enqueue_many(iter([NewJob("a")] * 1_000))
    assert at_work == [False, True, True]
    with pytest.raises(InvalidInput):
        queue.enqueue_many([NewJob("")] * 1_000)
    assert gc.isenabled()
    gc.disable()
    try:
        queue.enqueue_many([NewJob("a")] * 1_000)
        assert not gc.isenabled()
    finally:
        gc.enable()


@everywhere
def test_of_many_all_or_none_are_stored(queue, refused):
    with refused(InvalidInput, "job.priority must be an integer, not 'x'"):
        queue.enqueue_many([*[NewJob("a")] * 300, NewJob("a", priority="x")])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", RECORDS.values())
def test_a_record_made_of_its_values_is_like_any_other(kind):
    usual = kind(**{f.name: f"{f.name}!" for f in fields(kind)})
    made = maker(kind)(*(f"{f.name}!" for f in fields(kind)))
    assert made == usual
    assert type(made) is kind
    assert repr(made) == repr(usual)
    assert made.evolve(id=7) == usual.evolve(id=7)
    with pytest.raises(AttributeError, match="cannot assign"):
        made.id = 1


TEXTS = st.text(st.characters(codec=None), max_size=5) | st.sampled_from(["\0", "\ud800", "x" * 300, "ü"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from([2**63, -(2**63), b"", object])
)
FLAT = st.dictionaries(TEXTS | st.integers(0, 3), LEAVES | st.lists(LEAVES, max_size=2), max_size=20)


@given(FLAT)
def test_the_short_way_of_a_small_dict_refuses_and_gives_the_same(value):
    def outcome(check):
        try:
            return repr(check(value))
        except GnjError as error:
            return (type(error), str(error))

    def long_way(value):
        copy = values._copy(value, "it", values.MAX_DEPTH)
        assert len(dump_json(copy).encode()) <= MAX_JSON_BYTES
        return copy

    assert outcome(lambda value: check_json(value, "it")) == outcome(long_way)


def test_a_small_dict_is_copied_and_never_too_large():
    value = {"a": 1}
    copy = check_json(value, "it")
    value["a"] = 2
    assert copy == {"a": 1}
    largest = {f"{n:02}".rjust(values._SHORT, "\x01"): "\x01" * values._SHORT for n in range(values._FEW)}
    assert values._small(largest) == largest
    assert len(dump_json(largest)) <= values._SMALL
    with pytest.raises(InvalidInput, match="at most 10 bytes"):
        check_json({"abcdefghi": 1}, "it", maximum=10)


def test_the_storage_of_the_protocol_stores_in_one_transaction(storage):
    assert Storage.enqueue(storage, [{"type": "a"}, {"type": "b"}])[1][0].type == "b"
    assert storage.now() <= datetime(2100, 1, 1, tzinfo=UTC)
