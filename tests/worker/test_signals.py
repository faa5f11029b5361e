"""`Worker.run` in the main thread, which signals reach."""

import os
import signal
import threading

import pytest

from gnj.queue.errors import InvalidInput
from gnj.queue.model import Job, NewJob
from gnj.worker import Worker
from gnj.worker.signals import ENDED, Inbox
from tests.worker.spy import WAIT, at_most, until

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def nothing_changes():
    """What signals do is as it was, after every test."""
    before = [signal.getsignal(number) for number in BOTH]
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    yield
    assert [signal.getsignal(number) for number in BOTH] == before
    assert signal.set_wakeup_fd(fd) == fd


@pytest.fixture
def other():
    """Call it with what SIGUSR1 shall do."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, before)


def send(number):
    os.kill(os.getpid(), number)


def in_background(target, *args):
    thread = threading.Thread(target=target, args=args)
    thread.start()
    return thread


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_ends_run(handlers, spy, queue, number):
    handlers.register("work", lambda job: send(number))
    job = queue.enqueue(NewJob("work"))
    Worker(spy, handlers).run()
    assert queue.get(Job, job.id).status == "successful"


def test_a_second_signal_ends_the_grace_time(handlers, spy, queue):
    go = threading.Event()

    @handlers.handler("work")
    def work(job):
        send(signal.SIGTERM)
        until(lambda: any(thread.name == "gnj-stop" for thread in threading.enumerate()))
        send(signal.SIGINT)
        go.wait(WAIT)

    job = queue.enqueue(NewJob("work"))
    with at_most(3):
        Worker(spy, handlers).run(grace=WAIT)
    go.set()
    assert queue.get(Job, job.id).status == "queued"


def test_run_ends_when_another_thread_stops_the_worker(handlers, spy):
    handlers.register("work", lambda job: None)
    worker = Worker(spy, handlers)

    def stop():
        spy.wait_for("claim")
        worker.stop()

    thread = in_background(stop)
    worker.run()
    thread.join()


def test_other_signals_do_not_end_run(handlers, spy, queue, other):
    seen = []
    other(lambda number, frame: seen.append(number))

    @handlers.handler("work")
    def work(job):
        send(signal.SIGUSR1)
        until(lambda: seen)
        send(signal.SIGTERM)

    queue.enqueue(NewJob("work"))
    Worker(spy, handlers).run()
    assert seen == [signal.SIGUSR1]


def test_a_host_that_raises_ends_run(handlers, spy, queue, other):
    def leave(number, frame):
        raise ZeroDivisionError

    other(leave)
    handlers.register("work", lambda job: send(signal.SIGUSR1))
    queue.enqueue(NewJob("work"))
    with pytest.raises(ZeroDivisionError):
        Worker(spy, handlers).run()
    assert not [thread for thread in threading.enumerate() if thread.name in ("gnj-claim", "gnj-settle")]


def test_run_leaves_a_worker_alone_that_works_already(handlers, spy, queue):
    handlers.register("work", lambda job: None)
    with Worker(spy, handlers) as worker:
        with pytest.raises(RuntimeError, match="working already"):
            worker.run()
        queue.enqueue(NewJob("work"))
        assert spy.outcome()[1].status == "successful"


def test_run_checks_its_grace_time_first(handlers, spy):
    with pytest.raises(InvalidInput, match="grace must be"):
        Worker(spy, handlers).run(-1)
    assert spy.calls == []


def test_an_inbox_keeps_what_came_before_it_was_waited_for():
    with Inbox() as inbox:
        send(signal.SIGTERM)
        inbox.tell()
        assert [inbox.get(), inbox.get()] == [signal.SIGTERM, ENDED]


def test_an_inbox_of_another_thread_takes_no_signals():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def use():
        with Inbox() as inbox:
            seen.append(signal.getsignal(signal.SIGTERM))
            inbox.tell()
            seen.append(inbox.get())

    in_background(use).join()
    assert seen == [before, ENDED]


def test_a_signal_that_comes_as_the_wait_begins_is_not_missed():
    for _ in range(300):
        with Inbox() as inbox:
            thread = in_background(send, signal.SIGTERM)
            with at_most(WAIT):
                assert inbox.get() == signal.SIGTERM
            thread.join()
