"""Waking workers by watching a SQLite file: what wakes, what does not, and what becomes of the file."""

import os
import shutil
import sqlite3
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from gnj.queue.clock import After
from gnj.queue.model import Announcement, Hold, Job, NewJob
from gnj.queue.service import Queue
from gnj.storage.sql import SqlStorage, notify_sqlite
from gnj.worker import Handlers, Worker
from tests.processes import FORKSERVER
from tests.worker.spy import Spy, at_most

pytestmark = pytest.mark.backend("sqlite")

TIMEOUT = 20.0
QUIET = 0.1
"""Seconds in which a wake would have come: six looks."""


@pytest.fixture
def url(sqlite_database):
    url = sqlite_database()
    storage = SqlStorage(url)
    storage.migrate()
    storage.close()
    return url


@pytest.fixture
def make(url):
    """Gives storages that share nothing but the file, as those of two processes do."""
    made = []

    def make(url=url, **options):
        made.append(SqlStorage(url, **options))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


def wait(seconds):
    threading.Event().wait(seconds)


class Woken:
    """Counts the wakes of a block."""

    def __init__(self):
        self._came = threading.Semaphore(0)

    def __call__(self):
        self._came.release()

    def soon(self):
        assert self._came.acquire(timeout=TIMEOUT), "not woken"

    def not_at_all(self, seconds=QUIET):
        assert not self._came.acquire(timeout=seconds), "woken in vain"


@contextmanager
def listening(storage, wants="jobs"):
    woken = Woken()
    with storage.listen(woken, wants) as hears:
        assert hears()
        yield woken


def put(storage, **values):
    ((job, _),) = storage.insert_jobs([{"type": "mail", **values}])
    return job


def claim(storage):
    return storage.claim(["mail"], 1, lease=30, changes={"status": "processing"})


def enqueue(url, calls):
    """Enqueues a job, in a process of its own, as often as it is told to."""
    storage = SqlStorage(url)
    queue = Queue(storage)
    while calls.recv() == "enqueue":
        calls.send(queue.enqueue(NewJob("mail")).id)
    storage.close()


def test_a_job_of_another_process_is_run_at_once(url, make):
    calls, theirs = FORKSERVER.Pipe()
    other = FORKSERVER.Process(target=enqueue, args=(url, theirs), daemon=True)
    other.start()
    handlers = Handlers()
    handlers.register("mail", lambda job: job.id)
    spy = Spy(Queue(make()))
    try:
        with Worker(spy, handlers, poll=3600):
            spy.wait_for("claim")
            for _ in range(5):
                calls.send("enqueue")
                assert calls.poll(TIMEOUT)
                with at_most(1.0):
                    assert spy.outcome()[0].claim.id == calls.recv()
    finally:
        calls.send("end")
        other.join(TIMEOUT)
        other.close()


def test_a_commit_wakes_and_what_is_rolled_back_does_not(make):
    here, there = make(), make()
    with listening(here) as woken:
        with suppress(ZeroDivisionError), there.begin() as tx:
            tx.insert_jobs([{"type": "mail"}])
            raise ZeroDivisionError
        with there.begin() as tx:
            tx.insert_jobs([{"type": "mail"}])
            woken.not_at_all()
        woken.soon()
        woken.not_at_all()


@pytest.mark.parametrize("values", [{"status": "planned"}, {"due_at": After(3600)}], ids=["planned", "delayed"])
def test_what_is_no_work_wakes_nobody(make, values):
    here, there = make(), make()
    with listening(here) as woken:
        job = put(there, **values)
        there.edit(Job, [job.id], {"priority": 3})
        there.insert(Hold, [{"type": "other"}])
        woken.not_at_all()
        put(there)
        woken.soon()


def test_claims_and_ends_of_others_wake_nobody_once_nothing_is_left(make):
    here, there = make(), make()
    put(there)
    with listening(here) as woken:
        assert claim(there)
        for _ in range(10):
            there.edit(Job, [1], {"progress": []})
            assert not claim(there)
        woken.not_at_all()


def test_what_comes_back_wakes(make):
    """As a job does whose worker gave it back, or one whose hold was released: nothing new was inserted."""
    here, there = make(), make()
    job = put(there)
    claim(there)
    with listening(here) as woken:
        there.move(Job, [job.id], ["processing"], {"status": "queued"})
        woken.soon()


def test_jobs_that_wait_for_others_wake_now_and_then_at_most(make, monkeypatch):
    monkeypatch.setattr(notify_sqlite, "AGAIN", 3600)
    here, there = make(), make()
    put(there)
    with listening(here) as woken:
        put(there, type="other")
        woken.soon()
        for _ in range(10):
            there.edit(Job, [1], {"progress": []})
        woken.not_at_all()
        put(there)
        woken.soon()


def test_two_idle_workers_leave_each_other_alone(make):
    """Also with jobs in the file that neither may take."""
    storages = [make() for _ in range(2)]
    queues = [Queue(storage) for storage in storages]
    handlers = Handlers()
    handlers.register("mail", lambda job: job.id)
    queues[0].hold("held")
    queues[0].enqueue_many([NewJob("held"), NewJob("unknown")])
    spies = [Spy(queue) for queue in queues]
    witness = sqlite3.connect(str(storages[0].engine.url.database))

    def done():
        return witness.execute("PRAGMA data_version").fetchall(), [len(spy.made("claim")) for spy in spies]

    with Worker(spies[0], handlers, poll=3600), Worker(spies[1], handlers, poll=3600):
        for spy in spies:
            spy.wait_for("claim")
        queues[0].enqueue(NewJob("mail"))
        wait(2 * notify_sqlite.AGAIN)  # for what the job's end may set off
        before = done()
        wait(4 * notify_sqlite.AGAIN)
        assert done() == before
    witness.close()


def test_changes_wake_those_who_follow_and_no_worker(make):
    here, there = make(), make()
    with listening(here, "changes") as follower, listening(here) as worker:
        there.insert(Announcement, [{"tenant": "", "origin": "x", "data": {"created": [1]}}])
        follower.soon()
        put(there)
        worker.soon()
        follower.not_at_all()
        worker.not_at_all()


def test_checkpoints_and_new_logs(make):
    """The log starts over, is cut to nothing, or is gone since all others have closed the file."""
    here = make()
    with listening(here) as woken:
        for mode in ("PASSIVE", "RESTART", "TRUNCATE"):
            there = SqlStorage(here.engine.url)
            put(there)
            woken.soon()
            with there.engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA wal_checkpoint({mode})")
            there.close()
            assert claim(here)
            woken.not_at_all()


def test_a_file_without_a_log(make, tmp_path):
    """As a host's engine may keep it."""
    engines = [create_engine(f"sqlite:///{tmp_path}/plain.db") for _ in range(2)]
    here, there = (make(engine) for engine in engines)
    here.migrate()
    with here.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    with listening(here) as woken:
        for _ in range(3):
            put(there)
            woken.soon()
            assert claim(there)
    for engine in engines:
        engine.dispose()


def test_a_file_that_another_takes_the_place_of(make, url, tmp_path, monkeypatch):
    monkeypatch.setattr(notify_sqlite, "FILE_EVERY", 0.01)
    new = tmp_path / "new.sqlite"
    new_storage = make(f"sqlite:///{new}")
    new_storage.migrate()
    put(new_storage, type="restored")
    new_storage.close()
    here = make()
    with listening(here) as woken:
        new.replace(here.engine.url.database)
        woken.soon()
        assert [job.type for job in here.find(Job)] == ["restored"]
        put(make())
        woken.soon()


def test_a_file_that_goes_and_comes_back(make, tmp_path, monkeypatch, caplog):
    """None is made in its place, and it is found again."""
    monkeypatch.setattr(notify_sqlite, "FILE_EVERY", 0.01)
    monkeypatch.setattr("gnj.storage.sql.listener.FIRST_PAUSE", 0.01)
    here = make()
    file, kept = Path(here.engine.url.database), tmp_path / "kept"
    shutil.copy(file, kept)
    woken = Woken()
    with here.listen(woken) as hears:
        file.unlink()
        while hears():
            wait(0.01)
        wait(QUIET)
        assert not file.exists()
        kept.replace(file)
        woken.soon()
        assert hears()
    assert "the file is not there" in caplog.text


def test_a_relative_path_is_that_of_the_beginning(url, monkeypatch, tmp_path):
    storage = SqlStorage(url)
    file = Path(str(storage.engine.url.database))
    monkeypatch.chdir(file.parent)
    relative = SqlStorage(f"sqlite:///{file.name}")
    monkeypatch.setattr(notify_sqlite, "FILE_EVERY", 0.01)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with listening(relative) as woken:
        woken.not_at_all()
        put(storage)
        woken.soon()
    assert not list(elsewhere.iterdir())
    for each in (storage, relative):
        each.close()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&cache=shared&uri=true"]
)
def test_nothing_is_watched_in_memory(url):
    storage = SqlStorage(url)
    assert "notify" not in storage.capabilities
    with storage.listen(Woken()) as hears:
        assert not hears()
    storage.close()


def test_nothing_is_watched_where_all_share_one_connection(url):
    engine = create_engine(url, poolclass=StaticPool)
    storage = SqlStorage(engine)
    assert "notify" not in storage.capabilities
    engine.dispose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_watches_for_itself(make):
    here, there = make(), make()
    with listening(here) as woken:
        tell, told = FORKSERVER.Pipe()
        if (child := os.fork()) == 0:
            status = 1
            try:
                with listening(here) as own:
                    told.send("listening")
                    own.soon()
                    status = 0
            finally:
                os._exit(status)
        assert tell.poll(TIMEOUT)
        put(there)
        woken.soon()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        put(there)
        woken.soon()
