"""What threads ask for at the same time, carried out together (`gnj.queue.coalesce`)."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any
from weakref import WeakSet

import pytest

from gnj.queue import deadline
from gnj.queue.coalesce import Coalescer, _State
from gnj.queue.errors import Conflict, Duplicate, StorageUnavailable, TimedOut
from gnj.queue.later import at_once, settled


class Work:
    """Answers each item with its double, after `gate` is open; remembers what it was called with."""

    def __init__(self, limit: int = 100) -> None:
        self.batches: list[list[int]] = []
        self.threads: list[int] = []
        self.limits: list[deadline.Deadline | None] = []
        self.fails: dict[int, BaseException] = {}
        """What a call raises that has this item and others."""
        self.gate = threading.Event()
        self.gate.set()
        self.coalescer = Coalescer[int, int](self.call, limit)
        self.pool = ThreadPoolExecutor(64)

    def call(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(items)
        self.threads.append(threading.get_ident())
        self.limits.append(deadline.current())
        assert self.gate.wait(10)
        for item in items:
            if item in self.fails:
                raise self.fails[item]
        return [Duplicate(str(item)) if item < 0 else item * 2 for item in items]

    def start(self, item: int, seconds: float | None = None) -> Future[int]:
        """Submits in a thread of its own; returns once it waits or is carried out."""

        def submit() -> int:
            if seconds is None:
                return self.coalescer.submit(item)
            with deadline.within(seconds, 5.0):
                return self.coalescer.submit(item)

        def there() -> bool:
            waiting = [call.item for call in self.coalescer._waiting]
            return item in waiting or any(item in batch for batch in self.batches)

        future = self.pool.submit(submit)
        until = time.monotonic() + 10
        while not there() and not future.done():
            assert time.monotonic() < until
            time.sleep(0.001)
        return future

    def free(self) -> bool:
        """Whether nobody waits, leads, or is left behind."""
        return self.coalescer._leader is None and not self.coalescer._waiting


@pytest.fixture
def work():
    made = Work()
    yield made
    made.gate.set()
    made.pool.shutdown()
    assert made.free()


def test_who_comes_alone_is_served_at_once_in_its_own_thread(work):
    assert [work.coalescer.submit(item) for item in (1, 2)] == [2, 4]
    assert work.batches == [[1], [2]]
    assert set(work.threads) == {threading.get_ident()}


def test_those_who_come_meanwhile_are_served_together_and_each_gets_its_own(work):
    work.gate.clear()
    futures = [work.start(item) for item in (1, 2, 3, 4)]
    work.gate.set()
    assert [future.result(10) for future in futures] == [2, 4, 6, 8]
    assert work.batches == [[1], [2, 3, 4]]


def test_a_batch_has_no_more_than_the_limit():
    work = Work(limit=2)
    work.gate.clear()
    futures = [work.start(item) for item in range(6)]
    work.gate.set()
    assert [future.result(10) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert work.batches == [[0], [1, 2], [3, 4], [5]]
    assert work.free()


def test_an_answer_that_is_an_exception_is_raised_to_its_caller_only(work):
    work.gate.clear()
    futures = [work.start(item) for item in (1, -2, 3, -4)]
    work.gate.set()
    assert [futures[0].result(10), futures[2].result(10)] == [2, 6]
    assert [str(futures[place].exception(10)) for place in (1, 3)] == ["-2", "-4"]
    assert work.batches == [[1], [-2, 3, -4]]


@pytest.mark.parametrize("error", [Conflict(), ValueError("bad row")])
def test_a_batch_that_fails_is_carried_out_one_by_one(work, error):
    work.gate.clear()
    first, *futures = [work.start(item) for item in (1, 2, 3, 4)]
    work.fails[3] = error
    work.gate.set()
    assert first.result(10) == 2
    assert [futures[0].result(10), futures[2].result(10)] == [4, 8]
    with pytest.raises(type(error)):
        futures[1].result(10)
    assert work.batches[:2] == [[1], [2, 3, 4]]
    assert sorted(work.batches[2:]) == [[2], [3], [4]]
    assert len(set(work.threads[2:])) == 3


def test_what_fails_alone_is_not_carried_out_again(work):
    work.fails[1] = error = ValueError("bad row")
    with pytest.raises(ValueError, match="bad row") as caught:
        work.coalescer.submit(1)
    assert caught.value is error
    assert work.batches == [[1]]


def test_without_a_database_everybody_is_told_and_nothing_is_sent_again(work):
    work.gate.clear()
    futures = [work.start(item) for item in (1, 2, 3)]
    work.fails[2] = StorageUnavailable("gone")
    work.gate.set()
    assert futures[0].result(10) == 2
    errors = [future.exception(10) for future in futures[1:]]
    assert [(type(error), str(error)) for error in errors] == [(StorageUnavailable, "gone")] * 2
    assert errors[0] is not errors[1]
    assert work.batches == [[1], [2, 3]]
    assert work.coalescer.submit(4) == 8


def test_answers_that_are_not_as_many_as_the_items_are_none():
    coalescer = Coalescer[int, int](lambda _: [], 10)
    with pytest.raises(ValueError, match="unpack"):
        coalescer.submit(1)
    assert coalescer._leader is None


def test_a_deadline_that_has_passed_is_not_waited_for(work):
    with deadline.within(-1, 1), pytest.raises(TimedOut):
        work.coalescer.submit(1)
    assert work.batches == []


def test_who_waits_in_vain_is_not_carried_out(work):
    work.gate.clear()
    first, late, patient = work.start(1), work.start(2, seconds=0.2), work.start(3)
    with pytest.raises(TimedOut, match="undone"):
        late.result(10)
    work.gate.set()
    assert [first.result(10), patient.result(10)] == [2, 6]
    assert work.batches == [[1], [3]]


def test_who_is_carried_out_with_others_does_not_wait_longer_than_it_may(work):
    first = threading.Event()

    def call(items: list[int]) -> list[int | Exception]:
        assert (first if items == [1] else work.gate).wait(10)
        work.batches.append(items)
        work.limits.append(deadline.current())
        return [item * 2 for item in items]

    work.coalescer._work = call
    work.gate.clear()
    futures = [work.pool.submit(_within, 20, work.coalescer.submit, 1)]
    while work.coalescer._leader is None:
        time.sleep(0.001)
    futures += [work.start(2, seconds=20), work.start(3, seconds=0.3), work.start(4, seconds=30)]
    first.set()
    with pytest.raises(TimedOut, match="it may take effect, or not"):
        futures[2].result(10)
    work.gate.set()
    assert [futures[0].result(10), futures[1].result(10), futures[3].result(10)] == [2, 4, 8]
    assert work.batches == [[1], [2, 3, 4]]
    together = work.limits[1]
    assert together is not None
    assert 25 < together.left() <= 30  # the latest of all


def _within(seconds, submit, item):
    with deadline.within(seconds, 5.0):
        return submit(item)


def test_those_with_a_deadline_and_those_without_do_not_share(work):
    work.gate.clear()
    futures = [work.start(1), work.start(2), work.start(3, 20), work.start(4), work.start(5, 20)]
    work.gate.set()
    assert [future.result(10) for future in futures] == [2, 4, 6, 8, 10]
    assert work.batches == [[1], [2, 4], [3, 5]]
    assert [limit is None for limit in work.limits] == [True, True, False]


def test_from_within_the_work_it_is_done_at_once():
    def call(items: list[int]) -> list[int | Exception]:
        return [item if item > 3 else coalescer.submit(item + 1) for item in items]

    coalescer = Coalescer[int, int](call, 10)
    assert coalescer.submit(1) == 4


def test_an_interrupted_leader_lets_nobody_hang(work):
    work.gate.clear()
    futures = [work.start(item) for item in (1, 2, 3, 4)]
    work.fails[2] = KeyboardInterrupt()
    work.gate.set()
    assert futures[0].result(10) == 2
    assert isinstance(futures[1].exception(10), KeyboardInterrupt)
    for future in futures[2:]:
        with pytest.raises(StorageUnavailable, match="it may have taken effect, or not"):
            future.result(10)
    assert work.coalescer.submit(5) == 10


@pytest.mark.parametrize("moment", ["waits", "taken", "leads"])
def test_who_is_interrupted_while_waiting_lets_nobody_hang(work, moment):
    work.gate.clear()
    first = work.start(1)
    second = work.start(2) if moment == "taken" else None

    def interrupt() -> None:
        while not (calls := [call for call in work.coalescer._waiting if call.item == 3]):
            time.sleep(0.001)
        if moment != "waits":
            with work.coalescer._lock:
                calls[0].state = _State[moment.upper()]
                work.coalescer._waiting.remove(calls[0])
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        work.coalescer.submit(3)
    thread.join()
    work.gate.set()
    assert first.result(10) == 2
    assert second is None or second.result(10) == 4
    assert work.coalescer.submit(5) == 10


def test_a_forked_process_waits_for_nobody_in_the_other(work):
    work.gate.clear()
    first, second = work.start(1), work.start(2)
    child = os.fork()
    if not child:
        work.gate.set()
        try:
            os._exit(0 if work.coalescer.submit(3) == 6 else 1)
        finally:
            os._exit(2)
    work.gate.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [first.result(10), second.result(10)] == [2, 4]


def test_under_many_threads_each_item_takes_effect_once_and_each_caller_gets_its_own():
    done: Counter[int] = Counter()
    sizes: list[int] = []
    busy = threading.Lock()
    chance = random.Random(1)

    def call(items: list[int]) -> list[int | Exception]:
        if len(items) > 1:
            assert busy.acquire(blocking=False)
        try:
            if len(items) > 1 and chance.random() < 0.1:
                raise Conflict
            time.sleep(0.0002)
            sizes.append(len(items))
            done.update(items)
            return [Duplicate(str(item)) if item % 13 == 0 else item * 2 for item in items]
        finally:
            if len(items) > 1:
                busy.release()

    coalescer = Coalescer[int, int](call, 10)

    def submit(item: int) -> None:
        if item % 13:
            assert coalescer.submit(item) == item * 2
            return
        with pytest.raises(Duplicate, match=f"^{item}$"):
            coalescer.submit(item)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(submit, range(2000)))
    assert done == Counter(range(2000))
    assert max(sizes) > 4
    assert coalescer._leader is None


# For who does not wait


class Asked:
    """Asks without waiting; what is to go on is kept until `go_on`, which any thread may call."""

    def __init__(self, coalescer: Coalescer[int, int]) -> None:
        self.coalescer = coalescer
        self.due: list[Callable[[], None]] = []
        self.told: dict[int, object] = {}

    def ask(self, item: int, seconds: float | None = None) -> None:
        def told(get) -> None:
            try:
                self.told[item] = get()
            except Exception as error:
                self.told[item] = error

        if seconds is None:
            later = self.coalescer.later(item)
        else:
            with deadline.within(seconds, 5.0):
                later = self.coalescer.later(item)
        later.ask(self.due.append, told)

    def go_on(self) -> None:
        while self.due:
            self.due.pop(0)()


@pytest.fixture
def asked(work):
    return Asked(work.coalescer)


def test_those_who_ask_are_served_together_by_who_goes_on_first(work, asked):
    for item in (1, 2, -3):
        asked.ask(item)
    assert work.batches == []
    asked.go_on()
    assert work.batches == [[1, 2, -3]]
    assert asked.told[1] == 2
    assert asked.told[2] == 4
    assert isinstance(asked.told[-3], Duplicate)
    assert work.coalescer._leader is None


@pytest.mark.parametrize("seconds", [None, 60.0], ids=["unlimited", "limited"])
def test_who_was_told_leaves_nothing_behind(work, seconds):
    """No circle for the cyclic collector, and nothing that is kept until somebody looks for those who are late."""

    class Told:
        def __call__(self, get) -> None:
            get()

    gc.collect()
    gc.disable()
    try:
        asked, kept = Asked(work.coalescer), WeakSet[Told]()
        for item in range(5):
            with nullcontext() if seconds is None else deadline.within(seconds, 5.0):
                later = work.coalescer.later(item)
            told = Told()
            kept.add(told)
            later.ask(asked.due.append, told)
            del later, told
        asked.go_on()
        assert not kept
    finally:
        gc.enable()


def test_who_asks_and_who_waits_are_served_together(work, asked):
    work.gate.clear()
    first = work.start(1)
    asked.ask(2)
    second = work.start(3)
    asked.ask(4)
    work.gate.set()
    assert first.result(10) == 2
    while not asked.due:  # the next to lead is one that has to be told
        time.sleep(0.001)
    asked.go_on()
    assert second.result(10) == 6
    asked.go_on()
    assert work.batches == [[1], [2, 3, 4]]
    assert asked.told == {2: 4, 4: 8}


def test_the_limits_of_those_who_ask_hold_for_their_batch(work, asked):
    asked.ask(1, 50.0)
    asked.ask(2, 100.0)
    asked.go_on()
    (limit,) = work.limits
    assert 60 < limit.left() <= 100
    assert deadline.current() is None


def test_who_leads_too_late_is_told_so_and_the_next_one_leads(work, asked):
    asked.ask(1, 0.0)
    asked.ask(2)
    time.sleep(0.001)
    asked.go_on()
    assert isinstance(asked.told[1], TimedOut)
    assert asked.told[2] == 4
    assert work.batches == [[2]]


def test_a_batch_of_those_who_ask_that_fails_is_carried_out_one_by_one(work, asked):
    work.fails = {2: Conflict("no")}
    for item in (1, 2, 3):
        asked.ask(item)
    asked.go_on()
    assert work.batches == [[1, 2, 3], [1], [2], [3]]
    assert (asked.told[1], asked.told[3]) == (2, 6)
    assert isinstance(asked.told[2], Conflict)


def test_an_interruption_of_who_goes_on_is_told_to_all(work, asked):
    work.fails = {1: SystemExit()}
    asked.ask(1)
    asked.ask(2)
    asked.go_on()
    assert {type(each) for each in asked.told.values()} == {StorageUnavailable}
    asked.ask(3)
    asked.go_on()
    assert asked.told[3] == 6


def test_who_asks_from_within_the_work_is_told_at_once():
    told: list[int] = []

    def work(items):
        if items == [1]:
            coalescer.later(2).ask(lambda _: pytest.fail("spawned"), lambda get: told.append(get()))
        return [item * 2 for item in items]

    coalescer = Coalescer[int, int](work, 10)
    assert coalescer.submit(1) == 2
    assert told == [4]


def test_what_is_to_come_can_be_waited_for_and_made_something_of(work):
    later = work.coalescer.later(4).then(lambda get: get() + 1)
    assert later.result() == 9
    doubled: Any = at_once(lambda: 3).then(lambda get: get() * 2)
    assert settled(doubled) == 6
    assert settled("there") == "there"


def test_the_time_of_who_does_not_wait_passes_all_the_same(work, asked):
    work.gate.clear()
    leader = work.start(1)
    asked.ask(2, 0.05)
    asked.ask(3, 60.0)
    while 2 not in asked.told:
        time.sleep(0.001)
    assert isinstance(asked.told[2], TimedOut)
    work.gate.set()
    assert leader.result(10) == 2
    while not asked.due:
        time.sleep(0.001)
    asked.go_on()
    assert asked.told[3] == 6
    assert work.batches == [[1], [3]]
