import asyncio
import threading
import time
from queue import SimpleQueue
from typing import Any

import pytest

from gnj.worker.coroutines import Coroutines, hop
from gnj.worker.threads import Threads, join
from tests.worker.spy import WAIT, at_most, see, until

Answers = SimpleQueue[Any]


def soon(seconds=1.0):
    return time.monotonic() + seconds


def hold(started, go):
    started.set()
    return go.wait(WAIT)


def ours():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ours")]


def test_as_many_threads_as_are_busy_at_once():
    threads, go, done = Threads("ours"), threading.Event(), Answers()
    for _ in range(3):
        threads.run(lambda: go.wait(WAIT), done.put)
    assert len(ours()) == 3
    go.set()
    for _ in range(3):
        assert done.get(timeout=WAIT)
    for _ in range(50):  # one after the other: an idle thread is found each time
        threads.run(threading.current_thread, done.put)
        assert done.get(timeout=WAIT).daemon
    assert len(ours()) == 3
    threads.close(soon())
    assert ours() == []


def test_a_thread_is_free_before_its_end_is_told():
    threads, done = Threads("ours"), Answers()

    def then(_):
        threads.run(lambda: 2, done.put)

    threads.run(lambda: 1, then)
    assert done.get(timeout=WAIT) == 2
    assert len(ours()) == 1
    threads.close(soon())


def test_closing_does_not_wait_for_a_busy_thread():
    threads, go, started = Threads("ours"), threading.Event(), threading.Event()
    threads.run(lambda: hold(started, go), lambda _: None)
    assert started.wait(WAIT)
    with at_most(0.5):
        threads.close(soon(WAIT))
    assert len(ours()) == 1
    go.set()
    until(lambda: not ours())


def test_joining_oneself_is_no_error():
    assert not join(threading.current_thread(), soon())


def test_coroutines_run_on_one_thread_and_can_be_cancelled():
    loop, done, started = Coroutines("ours"), Answers(), threading.Event()

    async def name():
        return threading.current_thread().name

    async def hang():
        started.set()
        await asyncio.Event().wait()

    loop.run(name, done.put)
    assert done.get(timeout=WAIT) == "ours"
    cancel = loop.run(hang, done.put)
    assert started.wait(WAIT)
    cancel()
    assert done.get(timeout=WAIT) is None
    cancel()  # again is no error
    loop.close(soon())
    assert ours() == []
    cancel()  # nor is it later


def test_closing_cancels_what_runs_and_what_it_began():
    loop, done, started, cleaned = Coroutines("ours"), Answers(), threading.Event(), []

    async def child():
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("child")

    async def parent():
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("parent")
            del task

    loop.run(parent, done.put)
    assert started.wait(WAIT)
    with at_most(1.0):
        loop.close(soon())
        loop.close(soon())
    assert sorted(cleaned) == ["child", "parent"]
    assert ours() == []


def test_closing_does_not_wait_for_a_blocked_loop():
    loop, go, started = Coroutines("ours"), threading.Event(), threading.Event()

    async def block():
        started.set()
        go.wait(WAIT)

    loop.run(block, lambda _: None)
    assert started.wait(WAIT)
    with at_most(0.5):
        loop.close(soon(0.1))
    assert len(ours()) == 1
    go.set()
    until(lambda: not ours())


def test_a_loop_that_never_ran_anything_ends():
    loop = Coroutines("ours")
    loop.close(soon())
    assert ours() == []


@pytest.mark.parametrize("error", [None, ValueError("no"), SystemExit(1)])
def test_hopping_leaves_the_loop_alone(error):
    threads = Threads("ours")

    def task():
        if error is not None:
            raise error
        return threading.get_ident()

    async def main():
        ticks: list[int] = []
        ticker = asyncio.create_task(tick(ticks))
        try:
            return await hop(threads, task)
        except BaseException as raised:
            return raised
        finally:
            ticker.cancel()

    async def tick(ticks):
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    answer = asyncio.run(main())
    assert answer is error if error is not None else answer != threading.get_ident()
    threads.close(soon())


def test_hopping_may_be_cancelled():
    threads, go, started = Threads("ours"), threading.Event(), threading.Event()

    async def main():
        hopping = asyncio.create_task(hop(threads, lambda: hold(started, go)))
        await see(started)
        hopping.cancel()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await hopping
        await hop(threads, lambda: None)

    asyncio.run(main())
    threads.close(soon())


def test_a_hop_that_outlives_its_loop_is_no_error():
    threads, go, started = Threads("ours"), threading.Event(), threading.Event()

    async def main():
        hopping = asyncio.create_task(hop(threads, lambda: hold(started, go)))
        await see(started)
        hopping.cancel()

    asyncio.run(main())
    go.set()
    threads.close(soon())
    until(lambda: not ours())
