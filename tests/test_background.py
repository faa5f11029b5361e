"""What runs beside the faces: looked after again and again, at once when something was changed, and ended."""

from __future__ import annotations

import threading

import pytest

from gnj import background
from gnj.background import Background
from gnj.queue.errors import StorageUnavailable
from gnj.queue.service import Queue
from gnj.settings import Settings
from gnj.storage.memory import MemoryStorage


class Ticking:
    def __init__(self, error=None):
        self.looks = threading.Semaphore(0)
        self.closed = 0
        self.error = error

    def tick(self):
        self.looks.release()
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def run(monkeypatch):
    running = []

    def run(*tickers):
        monkeypatch.setattr(background, "tickers", lambda _queue, _settings: list(tickers))
        running.append(Background(Queue(MemoryStorage()), Settings()))
        running[-1].start()
        return running[-1]

    yield run
    for each in running:
        each.close()


def test_a_change_is_looked_at_at_once(run, monkeypatch):
    monkeypatch.setattr(background, "EVERY", 60.0)
    ticker = Ticking()
    running = run(ticker)
    for _ in range(3):
        assert ticker.looks.acquire(timeout=10)
        running.nudge()


@pytest.mark.parametrize("error", [StorageUnavailable(), RuntimeError("broken")])
def test_one_that_fails_keeps_no_other_from_its_turn(run, monkeypatch, caplog, error):
    monkeypatch.setattr(background, "EVERY", 0.01)
    broken, whole = Ticking(error), Ticking()
    running = run(broken, whole)
    for ticker in (broken, whole, broken, whole):
        assert ticker.looks.acquire(timeout=10)
    running.close()
    assert (broken.closed, whole.closed) == (1, 1)
    assert "Ticking will be tried again" in caplog.text


def test_what_is_wrong_is_said_when_it_begins_and_when_it_is_over(run, monkeypatch, caplog):
    monkeypatch.setattr(background, "EVERY", 0.01)
    ticker = Ticking(StorageUnavailable())
    running = run(ticker)
    for _ in range(5):
        assert ticker.looks.acquire(timeout=10)
    ticker.error = None
    for _ in range(5):
        assert ticker.looks.acquire(timeout=10)
    running.close()
    assert caplog.text.count("Ticking will be tried again") == 1
    assert caplog.text.count("Ticking goes on") == 1


def test_nothing_to_look_after_takes_no_thread(run):
    before = threading.active_count()
    run().close()
    assert threading.active_count() == before
