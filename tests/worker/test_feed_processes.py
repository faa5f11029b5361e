"""Following across processes: all is told, and what is told last of each job is what it is."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest

from gnj.queue import tailer
from gnj.queue.model import Announcement, Job, Listener, NewJob
from gnj.queue.service import Queue
from gnj.storage.sql import SqlStorage
from tests.processes import FORKSERVER
from tests.worker.spy import until

WAIT = 60.0


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.backend(n)) for n in ("sqlite", "postgresql", "mysql")])
def url(request):
    url = request.getfixturevalue(f"{request.param}_database")()
    storage = SqlStorage(url)
    storage.migrate()
    storage.close()
    return url


@pytest.fixture
def queue(url):
    queue = Queue(SqlStorage(url))
    yield queue
    queue.feed.close()
    queue.storage.close()


def create(url, number):
    """Enqueues many jobs, one transaction each."""
    queue = Queue(SqlStorage(url))
    for n in range(200):
        queue.enqueue(NewJob("a", name=f"{number} {n}"))
    queue.storage.close()


def change(url, number):
    """Changes the same few jobs as others do."""
    queue = Queue(SqlStorage(url))
    jobs = [job.id for job in queue.list(Job, type="a")]
    for n in range(20):
        queue.update_job(jobs[(n + number) % len(jobs)], {"name": f"{number} {n}"})
    queue.storage.close()


def follow(url, pipe):
    """Follows until it is killed; a listener that counts for a second after that."""
    tailer.LEASE, tailer.RENEW, tailer.POLL = 1.0, 0.2, 0.1  # type: ignore[misc]
    queue = Queue(SqlStorage(url))
    with queue.feed.follow(lambda _: None):
        pipe.send(queue.feed.arrive(WAIT))
        pipe.recv()


@contextmanager
def process(target, *args):
    process = FORKSERVER.Process(target=target, args=args, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(WAIT)
        process.close()


def done(*processes):
    for each in processes:
        each.join(WAIT)
        assert each.exitcode == 0


def test_what_another_process_creates_is_told(queue, url):
    told: set[int] = set()
    with queue.feed.follow(lambda changes: told.update(c.value.id for c in changes if c.topic == "created")):
        assert queue.feed.arrive(WAIT)
        with process(create, url, 0) as writer:
            done(writer)
        stored = {job.id for job in queue.list(Job)}
        until(lambda: told == stored, within=WAIT)
    assert len(told) == 200


def test_the_last_that_is_told_of_a_job_is_what_it_is(queue, url):
    """Four processes and two threads of this one change three jobs."""
    jobs = [queue.enqueue(NewJob("a")).id for _ in range(3)]
    last: dict[int, Job] = {}

    def put(changes):
        last.update((change.value.id, change.value) for change in changes)

    def change_here(number):
        for n in range(20):
            queue.update_job(jobs[(n + number) % 3], {"name": f"here {number} {n}"})

    with queue.feed.follow(put):
        assert queue.feed.arrive(WAIT)
        with (
            process(change, url, 1) as one,
            process(change, url, 2) as two,
            process(change, url, 3) as three,
            process(change, url, 4) as four,
        ):
            until(lambda: len(last) == 3, within=WAIT)  # they have begun
            threads = [threading.Thread(target=change_here, args=(number,)) for number in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            done(one, two, three, four)
        # what is told after all that
        other = Queue(SqlStorage(url))
        end = other.enqueue(NewJob("end"))
        other.storage.close()
        until(lambda: end.id in last, within=WAIT)
        rows = queue.list(Job, type="a")
        assert [last[id] for id in jobs] == rows


def test_a_follower_that_is_killed_is_forgotten(sqlite_database):
    """Whoever writes stops announcing when its listener has expired, and nobody need clean up first."""
    url = sqlite_database()
    queue = Queue(SqlStorage(url))
    queue.storage.migrate()
    ours, theirs = FORKSERVER.Pipe()
    with process(follow, url, theirs) as follower:
        assert ours.poll(WAIT)
        assert ours.recv() is True
        time.sleep(0.25)  # for as long it may be thought that nobody follows
        queue.enqueue(NewJob("a"))
        assert queue.storage.count(Announcement) == 1
        os.kill(follower.pid, signal.SIGKILL)
        follower.join(WAIT)

        def forgotten():
            before = queue.storage.count(Announcement)
            queue.enqueue(NewJob("a"))
            return queue.storage.count(Announcement) == before

        until(forgotten, within=WAIT)
        (listener,) = queue.storage.find(Listener)
        assert listener.expires_at <= queue.storage.now()
    queue.storage.close()
