"""Changes of other processes: announced while somebody follows, read without a gap, trimmed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import text

import gnj
from gnj.queue import outbox, tailer
from gnj.queue.clock import After
from gnj.queue.errors import StorageUnavailable
from gnj.queue.feed import Change
from gnj.queue.model import Announcement, Job, Listener, NewJob
from gnj.queue.model_content import ContentType
from gnj.queue.outbox import LARGEST, Outbox, changes_of
from gnj.queue.service import Queue
from gnj.queue.tailer import GAPS, Position
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from tests import databases

WAIT = 20.0
FAR = After(1e6)


class Follower:
    """Who follows a queue and keeps what it was told."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.told: list[Change] = []
        self._changed = threading.Condition()

    def put(self, changes: Any) -> None:
        with self._changed:
            self.told += changes
            self._changed.notify_all()

    def seen(self) -> set[tuple[str, str, int]]:
        """Topic, tenant and id of every job that was told of."""
        return {(c.topic, c.tenant, c.value.id) for c in self.told if isinstance(c.value, Job)}

    def until(self, *expected: tuple[str, str, int]) -> None:
        """Waits until all these were told of."""
        with self._changed:
            done = self._changed.wait_for(lambda: set(expected) <= self.seen(), WAIT)
        assert done, f"not told: {set(expected) - self.seen()}"

    def job(self, id: int) -> Job:
        """The job as it was told of last."""
        return next(c.value for c in reversed(self.told) if isinstance(c.value, Job) and c.value.id == id)


@contextmanager
def following(queue: Queue) -> Iterator[Follower]:
    follower = Follower(queue)
    with queue.feed.follow(follower.put):
        assert queue.feed.arrive(WAIT)
        yield follower


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """Makes one migrated database of a kind, when first asked for it."""
    made: dict[str, str] = {}
    with ExitStack() as stack:

        def url(backend):
            if backend not in made:
                if backend == "sqlite":
                    made[backend] = databases.sqlite_database(tmp_path_factory.mktemp("outbox"))
                else:
                    made[backend] = stack.enter_context(
                        request.getfixturevalue(f"{backend}_server").database(migrated=True)
                    )
                storage = SqlStorage(made[backend])
                storage.migrate()
                storage.close()
            return made[backend]

        yield url


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.backend(n)) for n in ("sqlite", "postgresql", "mysql")])
def url(request, made):
    """A database without rows."""
    url = made(request.param)
    storage = SqlStorage(url)
    with storage.engine.begin() as connection:
        for table in storage.tables.metadata.sorted_tables:
            connection.execute(table.delete())
    storage.close()
    return url


@pytest.fixture
def open_queue(url, monkeypatch):
    """Gives a queue with connections of its own, as another process has."""
    monkeypatch.setattr(outbox, "FRESH", 0.0)  # who follows is known at once
    opened = []

    def open_queue() -> Queue:
        opened.append(Queue(SqlStorage(url)))
        return opened[-1]

    yield open_queue
    for queue in opened:
        queue.feed.close()
        queue.storage.close()


@pytest.fixture
def ours(open_queue):
    return open_queue()


@pytest.fixture
def theirs(open_queue):
    return open_queue()


def test_what_others_do_is_told(ours, theirs):
    """Jobs in their tenants, as they are; what workers say, as they said it."""
    with following(ours) as follower:
        job = theirs.enqueue(NewJob("a", {"to": "you"}, tenant="t"))
        theirs.cancel(job.id)
        gone = theirs.enqueue(NewJob("a"))
        theirs.delete(Job, gone.id)
        pipeline = theirs.add_pipeline("p", [[NewJob("b"), NewJob("b")]], start=False, tenant="u")
        members = [job.id for job in theirs.list(Job, type="b")]
        theirs.start_pipeline(pipeline.id)
        theirs.ping(tenant="t")
        theirs.pong([{"worker_id": "w", "worker_type": "mail", "worker_status": "AVAILABLE"}])
        last = theirs.enqueue(NewJob("last"))
        follower.until(("created", "", last.id))
        follower.until(("created", "t", job.id), ("updated", "t", job.id), ("created", "", gone.id))
        follower.until(*((topic, "u", id) for id in members for topic in ("created", "updated")))
        follower.until(("deleted", "", gone.id))
    worker = {"workerId": "w", "workerType": "mail", "workerStatus": "AVAILABLE"}
    said = [(c.topic, c.tenant, c.value) for c in follower.told if not isinstance(c.value, Job)]
    assert said == [("pinged", "t", None), ("ponged", "", [worker])]
    assert follower.job(job.id) == theirs.get(Job, job.id)
    assert follower.job(gone.id).deleted_at is not None


def test_what_others_do_to_content_jobs_is_told(ours, theirs):
    with following(ours) as follower:
        row = theirs.create_content_job("t", name="n", type=ContentType.EXPORT_ENTRIES, params={}, by=None)
        last = theirs.enqueue(NewJob("last"))
        follower.until(("created", "", last.id))
    assert Change("content", "t", row.id) in follower.told


def test_what_is_ours_is_told_once_and_as_it_was(ours, theirs):
    """Though others follow as well, so that it is announced."""
    with following(ours) as follower, following(theirs) as other:
        job = ours.enqueue(NewJob("a"))
        ours.cancel(job.id)
        mine = [(change.topic, change.value.status) for change in follower.told]
        other.until(("created", "", job.id), ("updated", "", job.id))
        their = theirs.enqueue(NewJob("a"))
        follower.until(("created", "", their.id))
    assert mine == [("created", "queued"), ("updated", "cancelled")]
    assert len(follower.told) == 3


def announcements(queue: Queue) -> list[Announcement]:
    return queue.storage.find(Announcement)


def test_nothing_is_announced_unless_somebody_else_follows(ours, theirs):
    theirs.enqueue(NewJob("a"))
    with following(theirs):
        theirs.enqueue(NewJob("a"))
        assert announcements(ours) == []
        job = ours.enqueue(NewJob("a", tenant="t"))
        ours.list(Job)
        ours.hold("a")
        made, held = announcements(ours)
    assert (made.tenant, made.data) == ("t", {"created": [job.id]})
    assert list(held.data) == ["queue"]
    theirs.feed.close()
    ours.enqueue(NewJob("a"))
    assert len(announcements(ours)) == 2
    assert ours.storage.find(Listener) == []


def test_a_unit_is_announced_with_its_commit_in_one_row_a_tenant(ours, theirs):
    with following(theirs) as follower:
        jobs = ours.enqueue_many([NewJob("a", tenant=tenant) for tenant in ("t", "", "t")])
        rows = [(row.tenant, row.data) for row in announcements(ours)]
        assert rows == [("", {"created": [jobs[1].id]}), ("t", {"created": [jobs[0].id, jobs[2].id]})]
        with suppress(ZeroDivisionError), ours.storage.begin() as tx:
            inner, _ = ours.within(tx)
            lost = inner.enqueue(NewJob("a"))
            raise ZeroDivisionError
        assert len(announcements(ours)) == 2
        with ours.storage.begin() as tx:
            inner, _ = ours.within(tx)  # whose caller forgets to say that it is committed
            job = inner.enqueue(NewJob("a"))
        follower.until(("created", "", job.id))
        assert job.id == lost.id or ("created", "", lost.id) not in follower.seen()


def test_a_follower_that_died_is_forgotten(ours, theirs, monkeypatch):
    """Its row counts until its lease is over, and is removed by the next who follows."""
    dead, other = ours.storage.insert(
        Listener, [{"wants": wants, "expires_at": After(0.5)} for wants in ("changes", "jobs")]
    )
    ours.enqueue(NewJob("a"))
    assert len(announcements(ours)) == 1
    while ours.storage.now() <= dead.expires_at:
        time.sleep(0.05)
    ours.enqueue(NewJob("a"))
    assert len(announcements(ours)) == 1
    with following(theirs):
        (row,) = [
            row for row in ours.storage.find(Listener) if row.id not in (dead.id, other.id) and row.wants == "changes"
        ]
        assert row.name
        assert ours.storage.get(Listener, dead.id) is None
    theirs.feed.close()
    assert ours.storage.find(Listener) in ([], [other])


def test_a_late_commit_is_not_missed(ours, theirs, open_queue):
    """A row with a lower id that is seen after one with a higher id."""
    if "concurrent_claims" not in ours.storage.capabilities:
        pytest.skip("capability: one transaction writes at a time")
    third = open_queue()
    with following(ours) as follower:
        with theirs.storage.begin() as tx:
            inner, _ = theirs.within(tx)
            late = inner.enqueue(NewJob("late"))
            early = third.enqueue(NewJob("early"))
            follower.until(("created", "", early.id))
            assert ("created", "", late.id) not in follower.seen()
        follower.until(("created", "", late.id))


def test_a_commit_that_was_late_when_somebody_began_to_follow(ours, theirs, open_queue):
    """Its id is below the last one there is at the start."""
    if "concurrent_claims" not in ours.storage.capabilities:
        pytest.skip("capability: one transaction writes at a time")
    third = open_queue()
    with following(third) as other, ExitStack() as open_transaction:
        inner, _ = theirs.within(open_transaction.enter_context(theirs.storage.begin()))
        late = inner.enqueue(NewJob("late"))
        early = third.enqueue(NewJob("early"))
        theirs_too = ours.enqueue(NewJob("early"))
        other.until(("created", "", theirs_too.id))
        with following(ours) as follower:
            open_transaction.close()
            follower.until(("created", "", late.id))
            assert ("created", "", early.id) not in follower.seen()


def test_what_is_older_is_trimmed(ours, theirs, monkeypatch):
    with following(ours) as follower:
        job = theirs.enqueue(NewJob("a"))
        follower.until(("created", "", job.id))
    assert announcements(ours)
    ours.feed.close()
    monkeypatch.setattr(tailer, "KEPT", -1.0)
    trimmed = threading.Event()
    trim = trims(ours, trimmed)
    with following(ours):
        assert trimmed.wait(WAIT)
    assert trim == [1]
    assert announcements(ours) == []


def trims(queue, event):
    """How many announcements each trim of the queue's feed removes."""
    removed: list[int] = []
    begin = queue.storage.begin

    @contextmanager
    def watched(*, write=True):
        with begin(write=write) as tx:
            trim = tx.trim

            def noted(kind, where, limit):
                result = trim(kind, where, limit)
                if kind is Announcement:
                    removed.append(result)
                return result

            tx.trim = noted
            yield tx
        if removed:
            event.set()

    queue.storage.begin = watched
    return removed


def test_the_thread_lingers_and_ends(ours, monkeypatch):
    """So that clients that connect again do not start it each time."""
    monkeypatch.setattr(tailer, "POLL", 0.02)
    monkeypatch.setattr(tailer, "NET", 0.02)

    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "gnj-feed"]

    with following(ours):
        (first,) = threads()
    with following(ours):
        assert threads() == [first]
    monkeypatch.setattr(tailer, "LINGER", 0.0)
    first.join(WAIT)
    assert ours.storage.find(Listener) == []
    with following(ours):
        (second,) = threads()
        assert second is not first
        ours.feed.close()
        assert threads() == []
    with following(ours):
        assert len(threads()) == 1


def test_a_database_that_is_away_for_a_while(ours, theirs, caplog, monkeypatch):
    """Nothing is missed; one line says that it went, another that it is back."""
    monkeypatch.setattr(tailer, "_FIRST_PAUSE", 0.01)
    caplog.set_level("INFO", "gnj.feed")
    away, begin, tries = threading.Event(), ours.storage.begin, threading.Semaphore(0)

    def fails(*, write=True):
        if away.is_set():
            tries.release()
            raise StorageUnavailable("gone")
        return begin(write=write)

    ours.storage.begin = fails
    with following(ours) as follower:
        away.set()
        job = theirs.enqueue(NewJob("a"))
        for _ in range(4):
            assert tries.acquire(timeout=WAIT)
        away.clear()
        follower.until(("created", "", job.id))
    ours.feed.close()
    assert [record.message for record in caplog.records] == [
        "changes of other processes are told later: gone",
        "changes of other processes are told again",
    ]


def test_connections_that_are_cut_lose_no_change(ours, theirs, url):
    """As when the server is restarted."""
    if ours.storage.dialect.name != "postgresql":
        pytest.skip("capability: no connection that a server can cut")
    with following(ours) as follower:
        for _ in range(3):
            with theirs.storage.engine.connect() as connection:
                connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
            job = theirs.enqueue(NewJob("a"))
            follower.until(("created", "", job.id))


def test_a_notification_is_enough(ours, theirs, monkeypatch):
    """Where the database signals, nobody waits for the next look."""
    if "notify" not in ours.storage.capabilities:
        pytest.skip("capability: this storage has not 'notify'")
    monkeypatch.setattr(tailer, "NET", 2 * WAIT)
    with following(ours) as follower:
        for _ in range(3):
            job = theirs.enqueue(NewJob("a"))
            follower.until(("created", "", job.id))
            job = theirs.create_jobs([{"type": "a", "status": "planned"}])[0]  # which nobody else waits for
            follower.until(("created", "", job.id))


def test_workers_are_not_woken_by_changes_that_are_no_work(ours, theirs):
    if "notify" not in ours.storage.capabilities:
        pytest.skip("capability: this storage has not 'notify'")
    with following(ours) as follower, ours.listening():
        seen = ours.wake.rings
        job = theirs.create_jobs([{"type": "a", "status": "planned"}])[0]
        follower.until(("created", "", job.id))
        assert ours.wake.rings == seen
        theirs.enqueue(NewJob("a"))
        assert ours.wake.wait(seen, WAIT) == seen + 1


# The parts -----------------------------------------------------------------------------------------------------------


def test_where_nobody_else_can_be_nothing_is_asked():
    outbox = Outbox(MemoryStorage())
    assert not outbox.shared
    assert outbox.wanted(None) is False  # type: ignore[arg-type]


class Asked:
    """Rows in which those listeners follow, which count how often they are asked."""

    def __init__(self, *listeners: int) -> None:
        self.times = 0
        self.listeners = listeners

    def listens(self, wants, besides):
        self.times += 1
        assert wants == "changes"
        return any(id != besides for id in self.listeners)


def asked(*listeners: int) -> Any:
    return Asked(*listeners)


class Shared(MemoryStorage):
    capabilities = MemoryStorage.capabilities | {"processes"}


def test_whether_somebody_follows_is_asked_now_and_then():
    box, rows = Outbox(Shared()), asked(1)
    assert [box.wanted(rows) for _ in range(5)] == [True] * 5
    assert rows.times == 1


def test_own_followers_are_no_reason():
    box = Outbox(Shared())
    box.listener = 1
    assert not box.wanted(asked(1))
    box._looked = 0.0
    assert box.wanted(asked(1, 2))


def test_an_old_view_that_nobody_follows_is_no_answer_for_others():
    """A transaction of the host's may see what was committed when it began, and no more."""
    box, rows = Outbox(Shared()), asked()
    assert not box.wanted(rows, joined=True)
    assert box.wanted(asked(1))


def test_a_forked_process_is_another_one(monkeypatch):
    """What it was forked from follows: that is now somebody else."""
    box = Outbox(Shared())
    box.listener, origin = 1, box.origin
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert box.wanted(asked(1))
    assert box.origin != origin


def test_large_units_are_told_in_parts():
    storage = MemoryStorage()
    box = Outbox(storage)
    jobs = [job for job, _ in storage.insert_jobs([{"type": "a"}] * 3)]
    changes = [Change("updated", "", jobs[i % 3].evolve(id=i + 1)) for i in range(LARGEST + 1)]
    with storage.begin() as tx:
        box.announce(tx, changes)
    rows = storage.find(Announcement)
    data: list[Any] = [row.data for row in rows]
    assert [len(each["updated"]) for each in data] == [LARGEST, 1]
    assert {row.origin for row in rows} == {box.origin}


def test_an_announcement_of_another_version_is_read_as_far_as_it_is_known():
    storage = MemoryStorage()
    ((job, _),) = storage.insert_jobs([{"type": "a", "tenant": "t"}])
    data: list[Any] = [
        None,
        [],
        {"moved": [1]},
        {"created": [job.id, 99]},
        {"updated": [job.id]},
        {"updated": [job.id]},
    ]
    rows = storage.insert(Announcement, [{"origin": "o", "tenant": "t", "data": each} for each in data])
    rows += storage.insert(Announcement, [{"origin": "o", "tenant": "u", "data": {"deleted": [job.id]}}])
    with storage.begin() as tx:
        assert changes_of(tx, rows) == [Change("created", "t", job), Change("updated", "t", job)]


def test_position_begins_at_the_end():
    position = Position([7, 9])
    assert (position.top, list(position.gaps)) == (9, [1, 2, 3, 4, 5, 6, 8])
    assert Position().top is None


def test_position_of_an_empty_outbox_that_was_used_before():
    """The first row seen may not have been the first one given an id."""
    position = Position()
    position.advance([])
    assert not position.gaps
    position.advance([5_000])
    assert (position.top, min(position.gaps), len(position.gaps)) == (5_000, 4_000, GAPS)


def test_position_waits_for_what_it_passed_over():
    position = Position([1])
    position.advance([2, 4, 7])
    assert (position.top, list(position.gaps)) == (7, [3, 5, 6])
    position.advance([5])
    assert (position.top, list(position.gaps)) == (7, [3, 6])
    position.advance([8, 9])
    assert (position.top, list(position.gaps)) == (9, [3, 6])


def test_position_gives_up(monkeypatch):
    """What was rolled back never comes; the oldest go first when there are too many."""
    position = Position([1])
    position.advance([3])
    position.advance([5 + GAPS])
    assert len(position.gaps) == GAPS
    assert 2 not in position.gaps
    position.advance([2**40])
    assert (position.top, len(position.gaps)) == (2**40, GAPS)
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + tailer.GAP + 60)
    position.advance([])
    assert position.gaps == {}


def test_closing_the_application_ends_the_thread(sqlite_database):
    jobs = gnj.GNJ(sqlite_database())
    with following(jobs.queue):
        jobs.close()
        assert "gnj-feed" not in [thread.name for thread in threading.enumerate()]
