"""The threads that answer requests (`gnj.api.threads`), and what is awaited though it is there (`gnj.api.asgi.Begun`)."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from gnj.api import threads as threads_module
from gnj.api.asgi import Begun, Bell
from gnj.api.threads import NoThread, Threads
from gnj.queue.coalesce import Coalescer
from gnj.queue.later import Later, at_once

VALUE: ContextVar[int] = ContextVar("value", default=0)


def run(coroutine):
    with asyncio.Runner() as runner:
        return runner.run(coroutine)


def names():
    return [each for each in threading.enumerate() if each.name == "gnj-request"]


async def until(condition):
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to that")


def test_no_more_run_at_once_than_there_are_and_in_their_order():
    async def main():
        threads, began, go, running, most = Threads(3, Bell()), [], threading.Event(), set(), 0

        def work(number):
            nonlocal most
            began.append(number)
            running.add(number)
            most = max(most, len(running))
            assert go.wait(20)
            running.discard(number)
            return number * 2

        tasks = [asyncio.ensure_future(threads.run(partial(work, n))) for n in range(12)]
        await until(lambda: len(began) == 3)
        await asyncio.sleep(0.02)
        assert sorted(began) == [0, 1, 2]
        go.set()
        assert await asyncio.gather(*tasks) == [n * 2 for n in range(12)]
        assert most == 3
        assert sorted(began) == list(range(12))

    run(main())


def test_it_runs_in_the_context_of_the_caller_and_raises_what_it_raises():
    async def main():
        threads = Threads(2, Bell())
        VALUE.set(7)
        assert await threads.run(VALUE.get) == 7
        for error in (KeyError("a"), SystemExit(3)):

            def fail(error=error):
                raise error

            with pytest.raises(type(error)):
                await threads.run(fail)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run(lambda: next(iter(())))
        assert await threads.run(lambda: 1) == 1

    run(main())


def test_what_waits_too_long_or_is_given_up_is_not_begun():
    async def main():
        threads, began, go = Threads(1, Bell()), [], threading.Event()

        def wait():
            began.append("first")
            return go.wait(20)

        first = asyncio.ensure_future(threads.run(wait, 0.05))
        await until(lambda: began)
        late = asyncio.ensure_future(threads.run(lambda: began.append("late"), 0.05))
        patient = asyncio.ensure_future(threads.run(lambda: began.append("patient")))
        gone = asyncio.ensure_future(threads.run(lambda: began.append("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(NoThread):
            await late
        go.set()
        assert await first is True
        await patient
        assert began == ["first", "patient"]

    run(main())


def test_what_nobody_takes_any_more_is_handed_to_who_disposes_of_it(monkeypatch):
    """Whether it came after the request was cancelled, or a moment before and was not fetched yet."""

    async def main():
        threads, began, go = Threads(2, Bell()), threading.Event(), threading.Event()
        unwanted: list[str] = []

        def wait():
            began.set()
            go.wait(20)
            return "late"

        gone = asyncio.ensure_future(threads.run(wait, unwanted=unwanted.append))
        await until(began.is_set)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        go.set()
        await until(lambda: unwanted == ["late"])

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        future.add_done_callback(lambda _: ready.cancel())  # before whoever waits for it is woken
        with monkeypatch.context() as patched:
            patched.setattr(loop, "create_future", lambda: future)
            ready = asyncio.ensure_future(threads.run(lambda: "there", unwanted=unwanted.append))
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await ready
        assert unwanted == ["late", "there"]

    run(main())


def test_what_is_carried_out_with_others_keeps_no_thread_waiting():
    batches, began, go = [], set(), threading.Event()

    def together(items):
        batches.append(items)
        assert go.wait(20)
        return items

    async def main():
        threads, coalescer = Threads(2, Bell()), Coalescer[int, int](together, 100)

        def ask(number):
            began.add(number)
            return coalescer.later(number).then(lambda get: (get(), VALUE.get()))

        def asked(number):
            VALUE.set(number)
            return threads.run(partial(ask, number))

        tasks = [asyncio.ensure_future(asked(number)) for number in range(20)]
        await until(lambda: len(began) == 20 and batches)
        go.set()
        assert await asyncio.gather(*tasks) == [(number, number) for number in range(20)]
        assert len(batches) <= 3
        assert threads._running < 10

    run(main())


def test_what_was_begun_goes_on_though_all_threads_are_busy():
    busy, go = threading.Semaphore(0), threading.Event()

    def block():
        busy.release()
        return go.wait(20)

    async def main():
        threads = Threads(2, Bell())
        tell = []

        def ask(spawn, told):
            tell.append(partial(spawn, partial(told, "there".upper)))

        later: Any = Later("".upper, ask)
        answered = asyncio.ensure_future(threads.run(lambda: later))
        await until(lambda: tell)
        blocked = [asyncio.ensure_future(threads.run(block)) for _ in range(3)]
        await until(lambda: busy._value == 2)
        tell[0]()
        assert await answered == "THERE"
        assert not any(each.done() for each in blocked)
        go.set()
        await asyncio.gather(*blocked)

    run(main())


def test_an_answer_that_is_on_its_way_raises_what_it_comes_to():
    async def main():
        threads = Threads(2, Bell())

        def fail():
            raise KeyError("no")

        failing: Any = at_once(fail)
        with pytest.raises(KeyError):
            await threads.run(lambda: failing)
        there: Any = at_once(lambda: 5)
        assert await threads.run(lambda: there) == 5

    run(main())


def test_threads_with_nothing_to_do_end(monkeypatch):
    monkeypatch.setattr(threads_module, "IDLE_SECONDS", 0.01)

    async def main():
        before, threads = set(names()), Threads(4, Bell())
        for _ in range(3):
            await asyncio.gather(*(threads.run(lambda: 1) for _ in range(8)))
            await until(lambda: not set(names()) - before)
        assert threads._running == 0

    run(main())


def test_what_was_begun_goes_on_where_it_waited():
    async def main():
        async def at_once():
            return 1

        async def later(seen):
            try:
                await asyncio.sleep(0.001)
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            return 2

        assert Begun(at_once()).result == 1
        first = Begun(later([]))
        assert first.result is None
        assert await first == 2
        seen: list[str] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await Begun(later(seen))
        assert seen == ["cancelled"]

    run(main())


def test_what_the_loop_begins_without_end_does_not_keep_others_from_beginning(monkeypatch):
    """Each of them takes a thread, and when one is over the next is there already."""
    monkeypatch.setattr(threads_module, "MORE", 2)

    async def main():
        threads, over = Threads(1, Bell()), False

        def again() -> Any:
            return Later(lambda: 0, lambda spawn, told: spawn(partial(told, lambda: 0)))

        async def without_end():
            while not over:
                assert await threads.tell(again()) == 0

        endless = [asyncio.ensure_future(without_end()) for _ in range(20)]
        for n in range(50):
            assert await asyncio.wait_for(threads.run(partial(int, n)), 20) == n
        over = True
        await asyncio.gather(*endless)

    run(main())


def test_the_loop_is_told_of_what_is_there_at_once():
    async def main():
        threads = Threads(1, Bell())
        assert threads.tell(3) == 3
        before, there = names(), at_once(lambda: 4)
        asked: Any = threads.tell(there)
        assert await asked == 4
        assert names() == before

    run(main())
