"""Names are looked up on few threads, whoever waits, and for however long."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from gnj.fetch import look_ups
from gnj.fetch.look_ups import LookUps
from tests.worker.spy import until


def threads():
    return sum(each.name == "gnj-look-up" for each in threading.enumerate())


@pytest.fixture(autouse=True)
def none_left():
    yield
    until(lambda: not threads(), within=10)


def soon(seconds=20.0):
    return time.monotonic() + seconds


def test_what_is_found_and_what_is_raised():
    names: LookUps[str] = LookUps()

    def unknown():
        raise OSError("nobody knows it")

    assert names.get("a", lambda: "1", soon()) == "1"
    assert names.get("a", lambda: "2", soon()) == "2"
    with pytest.raises(OSError, match="nobody knows it"):
        names.get("a", unknown, soon())


def test_no_more_at_once_than_there_may_be(monkeypatch):
    """A name that hangs keeps one thread, however many ask for it; what nobody waits for any more is not looked up."""
    monkeypatch.setattr(look_ups, "MOST", 2)
    names: LookUps[str] = LookUps()
    looked, over = [], threading.Event()

    def slow(name):
        looked.append(name)
        over.wait(20)
        return name

    def hangs(name):
        with pytest.raises(TimeoutError):
            names.get(name, partial(slow, name), soon(0.02))
        return name in looked

    for name in "ab":  # on a machine with much to do, the thread may begin when nobody waits any more
        until(partial(hangs, name), within=10)
    for _ in range(3):
        for name in "abcd":
            hangs(name)
    assert threads() == 2
    got = []
    waiting = threading.Thread(target=lambda: got.append(names.get("d", partial(slow, "d"), soon())))
    waiting.start()
    until(lambda: any(each.waiting for each in names._queued), within=10)
    over.set()
    waiting.join(20)
    assert got == ["d"]
    assert looked == ["a", "b", "d"]
    until(lambda: not threads(), within=10)
    assert names.get("e", lambda: "e", soon()) == "e"


def test_what_several_ask_for_is_looked_up_once():
    names: LookUps[str] = LookUps()
    looked, over, got = [], threading.Event(), []

    def slow():
        looked.append(1)
        over.wait(20)
        return "1"

    asking = [threading.Thread(target=lambda: got.append(names.get("a", slow, soon()))) for _ in range(5)]
    for each in asking:
        each.start()
    until(lambda: "a" in names._asked and names._asked["a"].waiting == 5, within=10)
    over.set()
    for each in asking:
        each.join(20)
    assert (looked, got) == ([1], ["1"] * 5)


def test_without_a_thread(monkeypatch):
    names: LookUps[str] = LookUps()

    def none(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        with pytest.raises(OSError, match="no thread"):
            names.get("a", lambda: "1", soon())
    assert names.get("a", lambda: "1", soon()) == "1"
