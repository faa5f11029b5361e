"""The bell that workers wait for."""

import os
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from gnj.queue.wake import HORIZON, Wake
from tests.worker.spy import WAIT, at_most


def waited(wake, seen, timeout=WAIT):
    """The rings so far, and the seconds that passed."""
    begun = time.monotonic()
    rings = wake.wait(seen, timeout)
    return rings, time.monotonic() - begun


def test_a_ring_that_was_not_seen_is_not_waited_for():
    wake = Wake()
    wake.set()
    assert waited(wake, 0)[1] < 1
    assert wake.wait(1, 0.01) == 1


def test_it_rings_by_itself():
    wake = Wake()
    wake.set_in(0.3)
    wake.set_in(0.1)
    rings, first = waited(wake, 0)
    assert (rings, first >= 0.1) == (1, True)
    rings, second = waited(wake, 1)
    assert (rings, 0.3 <= first + second < 1) == (2, True)
    assert wake.wait(2, 0.02) == 2


def test_who_waits_already_waits_less():
    wake = Wake()
    threading.Timer(0.05, lambda: wake.set_in(0.1)).start()
    with at_most(1.0):
        assert waited(wake, 0)[0] == 1


def test_a_moment_that_has_passed_is_rung_for_who_comes_later():
    wake = Wake()
    wake.set_in(0.0)
    time.sleep(0.03)
    with at_most(0.5):
        assert wake.wait(wake.rings, WAIT) == 1


def test_a_timeout_is_kept_before_a_later_moment():
    wake = Wake()
    wake.set_in(WAIT)
    rings, seconds = waited(wake, 0, 0.05)
    assert (rings, 0.05 <= seconds < 1) == (0, True)


def test_what_is_remembered_has_a_bound():
    wake = Wake()
    for _ in range(100):
        wake.set_in(HORIZON - 1)
        wake.set_in(HORIZON + 1)
    assert len(wake._moments) < 20


def test_moments_that_nobody_waits_for_are_forgotten():
    wake = Wake()
    for _ in range(30):
        wake.set_in(0.001)
        time.sleep(0.005)
    assert len(wake._moments) < 5


# Receivers ------------------------------------------------------------------------------------------------------------


class Receiver:
    """One whose signals are put into a queue. It tells who has come to wait, and allows one at a time."""

    is_connected = True

    def __init__(self):
        self.came: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
        self.signals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._one = threading.Lock()

    def wait(self, timeout):
        assert self._one.acquire(blocking=False)
        try:
            self.came.put(threading.current_thread())
            return self.signals.get(timeout=timeout)
        except queue.Empty:
            return False
        finally:
            self._one.release()

    def interrupt(self):
        self.signals.put(False)


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_who_waits_at_a_receiver_rings_for_all(receiver, pool):
    wake = Wake()
    with wake.through(receiver):
        waits = [pool.submit(wake.wait, 0, WAIT) for _ in range(3)]
        receiver.came.get(timeout=WAIT)
        receiver.signals.put(True)
        assert [each.result(WAIT) for each in waits] == [1, 1, 1]
        assert wake.rings == 1


@pytest.mark.parametrize("ring", [Wake.set, lambda wake: wake.set_in(0.0)])
def test_who_waits_at_a_receiver_hears_the_bell(receiver, pool, ring):
    wake = Wake()
    with wake.through(receiver):
        waits = pool.submit(wake.wait, 0, WAIT)
        receiver.came.get(timeout=WAIT)
        ring(wake)
        assert waits.result(WAIT) == 1


def test_another_one_takes_the_place_of_who_has_waited_long_enough(receiver, pool):
    wake = Wake()
    with wake.through(receiver):
        first = pool.submit(wake.wait, 0, 0.2)
        here = receiver.came.get(timeout=WAIT)
        second = pool.submit(wake.wait, 0, WAIT)
        assert first.result(WAIT) == 0
        while receiver.came.get(timeout=WAIT) is here:  # it is interrupted, and comes back, as long as it has time
            pass
        receiver.signals.put(True)
        assert second.result(WAIT) == 1


def test_who_waits_already_goes_to_a_receiver_and_leaves_it(receiver, pool):
    wake, other = Wake(), Receiver()
    waits = pool.submit(wake.wait, 0, WAIT)
    with wake.through(receiver):
        receiver.came.get(timeout=WAIT)
        with wake.through(other):
            receiver.interrupt()
            other.came.get(timeout=WAIT)
        receiver.came.get(timeout=WAIT)
    assert receiver._one.acquire(blocking=False), "nobody waits there any more"
    assert not waits.done()
    wake.set()
    assert waits.result(WAIT) == 1


def test_a_receiver_that_fails_is_not_held_on_to(receiver, pool, monkeypatch):
    """It is not to raise; if it does, it is the one who waited there that is told."""
    wake = Wake()
    with wake.through(receiver), monkeypatch.context() as patch:
        patch.setattr(receiver, "wait", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            wake.wait(0, WAIT)
        patch.undo()
        waits = pool.submit(wake.wait, 0, WAIT)
        receiver.came.get(timeout=WAIT)
        wake.set()
        assert waits.result(WAIT) == 1


def test_a_receiver_that_is_connected_is_better_than_a_later_one_that_is_not(receiver, pool):
    wake, other = Wake(), Receiver()
    other.is_connected = False
    with wake.through(receiver), wake.through(other):
        waits = pool.submit(wake.wait, 0, WAIT)
        receiver.came.get(timeout=WAIT)
        receiver.signals.put(True)
        assert waits.result(WAIT) == 1
        receiver.is_connected = False
        waits = pool.submit(wake.wait, 1, WAIT)
        other.came.get(timeout=WAIT)
        other.interrupt()
        wake.set()
        assert waits.result(WAIT) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="capability: no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("waits", [False, True])
def test_a_forked_process_waits_at_its_own_receivers_only(receiver, pool, waits):
    """It may leave its parent's block, also while somebody waits there in the parent."""
    wake, own = Wake(), Receiver()
    with wake.through(receiver):
        waiting = pool.submit(wake.wait, 0, WAIT) if waits else None
        if waiting is not None:
            receiver.came.get(timeout=WAIT)
        with ExitStack() as block:
            block.enter_context(wake.through(other := Receiver()))
            if waits:
                other.came.get(timeout=WAIT)
            child = os.fork()
            if not child:
                seen = wake.rings
                well = wake.wait(seen, 0.05) == seen and receiver.came.empty() and other.came.empty()
                block.close()
                with wake.through(own):
                    own.signals.put(True)
                    well = well and wake.wait(seen, WAIT) == seen + 1
                os._exit(not (well and receiver.came.empty() and other.came.empty()))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        wake.set()
        assert waiting is None or waiting.result(WAIT) == 1
