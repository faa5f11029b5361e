"""What is remembered of counts, and for how long."""

from __future__ import annotations

import threading

import pytest

from gnj.queue import counts
from gnj.queue.errors import Conflict, TimedOut


def counter():
    """A count that takes until it is told to go on; how often it was asked for, whether it is under way, and what tells it."""
    asked, counting, go = [], threading.Event(), threading.Event()

    def count():
        asked.append(1)
        counting.set()
        assert go.wait(10)
        return len(asked)

    return count, asked, counting, go


def test_one_caller_counts_for_all_that_come_meanwhile(monkeypatch):
    monkeypatch.setattr(counts, "SLOW", 0.0)
    known, (count, _, counting, go) = counts.Counts(), counter()
    go.set()
    assert known.get("k", count, fresh=False) == 1
    go.clear()
    counting.clear()
    known._known["k"].until = 0.0
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(known.get("k", count, fresh=False))) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert counting.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert answers == [2] * 5


@pytest.mark.parametrize("slow", [0.0, 10.0])
def test_the_first_count_is_made_by_one(monkeypatch, slow):
    """Others wait for it, and are told of it if it took long; a quick one they make themselves, one after the other."""
    monkeypatch.setattr(counts, "SLOW", slow)
    known, (count, asked, counting, go) = counts.Counts(), counter()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(known.get("k", count, fresh=False))) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert counting.wait(10)
    assert len(asked) == 1
    go.set()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == ([1] * 5 if slow == 0 else [1, 2, 3, 4, 5])
    assert len(known._known) == (slow == 0)


@pytest.mark.parametrize("slow", [0.0, 10.0])
def test_a_count_that_takes_too_long_is_not_made_again_soon(monkeypatch, slow):
    """One that was given up at once was so because its caller had no time left: the next one makes it."""
    monkeypatch.setattr(counts, "SLOW", slow)
    known, asked = counts.Counts(), []

    def count():
        asked.append(1)
        raise TimedOut

    for _ in range(3):
        with pytest.raises(TimedOut):
            known.get("k", count, fresh=False)
    assert len(asked) == (1 if slow == 0 else 3)
    if slow == 0:
        known._known["k"].until = 0.0
    assert known.get("k", lambda: 7, fresh=False) == 7


def test_a_count_that_failed_is_made_again():
    known, asked = counts.Counts(), []

    def count():
        asked.append(1)
        raise Conflict

    for _ in range(2):
        with pytest.raises(Conflict):
            known.get("k", count, fresh=False)
    assert len(asked) == 2
    assert not known._known


def test_counts_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(counts, "SLOW", 0.0)
    monkeypatch.setattr(counts, "MOST", 3)
    known = counts.Counts()
    for key in range(10):
        known.get(key, lambda: 0, fresh=False)
    assert list(known._known) == [7, 8, 9]
