"""The bell that workers wait for."""

import threading
import time

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
