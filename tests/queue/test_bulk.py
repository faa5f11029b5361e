"""Retrying and removing many jobs: a job of its own, that goes on where it was and counts nothing twice."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from typing import Any

import pytest

from gnj import background
from gnj.background import BulkWorker
from gnj.queue import bulk
from gnj.queue.errors import CancelRequested, InvalidInput, InvalidText, LeaseLost, Snooze
from gnj.queue.model import Batch, Job, NewJob
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.where import equal
from gnj.storage.sql import SqlStorage
from tests import databases

everywhere = pytest.mark.usefixtures("on_every_storage")
T = {"tenant": "t"}
FAILED = {"statuses": ["failed"]}


def never():
    return False


def stop_after(pages):
    turns = iter([False] * pages)
    return lambda: next(turns, True)


@pytest.fixture
def failed(queue):
    """Stores so many failed jobs."""

    def make(count, **values):
        row = {"type": "mail", "status": "failed", "output": {"error": "broken"}, **values}
        return queue.create_jobs([row] * count, **T)

    return make


def begin(queue, action="retry", filter=FAILED, name="mail"):
    """Starts a bulk job, and claims it."""
    job = queue.start_bulk(name, action, filter, **T)
    claim = queue.acquire([bulk.TYPE], lease=30)
    assert claim.id == job.id
    return claim


def now(queue, job):
    return queue.get(Job, job.id)


def counted(queue, **equals):
    found = queue.storage.tally(Job, ["status"], equal(Job, type="mail", **equals))
    return {status: count for (status,), count in found.items()}


@everywhere
def test_what_is_started(queue, failed):
    last = failed(2)[-1]
    rings = queue.wake.rings
    job = queue.start_bulk("mail", "retry", FAILED, **T)
    assert (job.type, job.name, job.tenant, job.status) == ("gnj:bulk", "retry", "t", "queued")
    assert job.input == {"action": "retry", "queue": "mail", "filter": FAILED, "upto": last.id}
    assert (job.max_attempts, job.backoff) == (5, {"type": "exponential", "delay": 1000})
    assert queue.wake.rings == rings + 1
    assert queue.find_one("gnj:bulk", job.custom_id, **T) == job
    assert queue.start_bulk("mail", "retry", FAILED, **T).custom_id != job.custom_id


@everywhere
def test_jobs_are_retried_page_by_page(queue, failed, monkeypatch):
    monkeypatch.setattr(bulk, "PAGE", 4)
    mine = failed(10)
    queue.create_jobs([{"type": "mail", "status": "failed"}], tenant="u")
    queue.create_jobs([{"type": "post", "status": "failed"}], **T)
    claim = begin(queue)
    later = failed(1)  # after it was asked for
    rings = queue.wake.rings
    assert bulk.work(queue, claim, never) == {"total": 10, "done": 10, "changed": 10, "failed": 0}
    assert queue.wake.rings > rings
    assert counted(queue, **T) == {"queued": 10, "failed": 1}
    assert counted(queue, tenant="u") == {"failed": 1}
    assert now(queue, later[0]).status == "failed"
    assert queue.list(Job, type="post")[0].status == "failed"
    told = {"total": 10, "done": 10, "changed": 10, "failed": 0, "cursor": mine[-1].id, "percent": 100}
    assert now(queue, claim).progress == told


@everywhere
def test_jobs_are_removed(queue, failed, clock):
    failed(3)
    queue.create_jobs([{"type": "mail", "status": status} for status in ("queued", "successful", "cancelled")], **T)
    queue.create_jobs([{"type": "mail", "priority": -5}, {"type": "mail", "start_after": clock() + timedelta(9)}], **T)
    queue.create_jobs([{"type": "mail", "status": "processing"}], **T)
    statuses = ["waiting", "prioritized", "delayed", "completed", "failed", "waiting-children"]
    for state, count in {"completed": 1, "failed": 4, "delayed": 1, "prioritized": 1, "waiting": 1}.items():
        claim = begin(queue, "remove", {"statuses": [state, state]})
        assert bulk.work(queue, claim, never) == {"total": count, "done": count, "changed": count, "failed": 0}
        queue.succeed(claim)
    assert counted(queue) == {"processing": 1}
    assert bulk.work(queue, begin(queue, "remove", {"statuses": statuses}), never)["total"] == 0


@everywhere
def test_members_go_as_they_do_one_by_one(queue, failed):
    batch = queue.add_batch([NewJob("mail")] * 3, **T)
    done, broken, other = queue.acquire(["mail"], 3)
    queue.succeed(done)
    queue.fail(broken, "broken")
    queue.fail(other, "broken")
    failed(2)
    claim = begin(queue)
    assert bulk.work(queue, claim, never) == {"total": 4, "done": 4, "changed": 4, "failed": 0}
    assert queue.get(Batch, batch.id).status == "processing"
    assert counted(queue) == {"queued": 4, "successful": 1}
    queue.succeed(claim)
    claim = begin(queue, "remove", {"statuses": ["waiting"]})
    assert bulk.work(queue, claim, never)["changed"] == 4
    assert queue.get(Batch, batch.id).status == "successful"
    assert counted(queue) == {"successful": 1}


@everywhere
def test_what_cannot_be_changed_is_counted(queue, failed):
    mine = failed(4)
    queue.retry(mine[1].id)
    claim = begin(queue)
    assert bulk.work(queue, claim, never) == {"total": 4, "done": 4, "changed": 3, "failed": 1}
    assert [now(queue, job).status for job in mine] == ["queued", "failed", "queued", "queued"]


FILTERS = [
    ({"statuses": ["failed"]}, "abcdx"),
    ({"statuses": ["failed"], "name": "a"}, "a"),
    ({"statuses": ["failed"], "name": "mail"}, "cdx"),
    ({"statuses": ["failed"], "failedReason": "timed out"}, "b"),
    ({"statuses": ["failed"], "failedReason": "Timed out"}, ""),
    ({"statuses": ["failed"], "failedReason": "100%_\\"}, "d"),
    ({"statuses": ["failed"], "failedReason": "cancel"}, "x"),
    ({"statuses": ["failed"], "after": 60_000}, "bcdx"),
    ({"statuses": ["failed"], "before": 120_000}, "ab"),
    ({"statuses": ["failed"], "after": 60_000, "before": 120_000}, "b"),
    ({"statuses": ["failed"], "name": "b", "before": 60_000}, ""),
]


@everywhere
@pytest.mark.parametrize("filter, meant", FILTERS)
def test_filters(queue, clock, filter, meant):
    start, made = clock(), {}
    for name, error in (("a", "broken"), ("b", "it timed out"), ("c", "50 %"), ("d", "at 100%_\\ of it"), ("x", None)):
        row: dict[str, Any] = {"type": "mail", "status": "cancelled" if name == "x" else "failed", "input": name}
        row |= {"name": name} if name in "ab" else {}
        row |= {"output": {"error": error}} if error else {}
        made[name] = queue.create_jobs([row], **T)[0].id
        clock.tick(60)
    since = round(start.timestamp() * 1000)
    shifted = {key: value + since if key in ("before", "after") else value for key, value in filter.items()}
    bulk.work(queue, begin(queue, "remove", shifted), never)
    assert "".join(name for name, id in made.items() if queue.get(Job, id) is None) == meant


@everywhere
def test_it_goes_on_where_it_was_left(queue, failed, monkeypatch, clock):
    """After a stop, after a lost lease, after an error; nothing is done or counted twice."""
    monkeypatch.setattr(bulk, "PAGE", 3)
    failed(20)
    claim = begin(queue)
    with pytest.raises(Snooze):
        bulk.work(queue, claim, stop_after(2))
    queue.release([claim])
    assert now(queue, claim).progress["done"] == 6
    claim = queue.acquire([bulk.TYPE], lease=30)
    with pytest.raises(Snooze):
        bulk.work(queue, claim, stop_after(1))
    clock.tick(31)
    assert queue.reap(force=True) == 1
    again = queue.acquire([bulk.TYPE], lease=30)
    before = {job.id: job for job in queue.list(Job, type="mail")}
    with pytest.raises(LeaseLost):  # who lost it changes nothing any more
        bulk.work(queue, claim, never)
    assert {job.id: job for job in queue.list(Job, type="mail")} == before
    queue.fail(again, "the database went away")
    clock.tick(2)
    last = queue.acquire([bulk.TYPE])
    assert last.progress["done"] == 9
    assert bulk.work(queue, last, never) == {"total": 20, "done": 20, "changed": 20, "failed": 0}
    assert counted(queue) == {"queued": 20}


@everywhere
def test_a_page_that_fails_leaves_nothing_behind(queue, failed, monkeypatch):
    failed(3)
    claim = begin(queue)
    real = bulk._DO["retry"]

    def breaking(unit, tenant, page):
        real(unit, tenant, page)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(bulk, "_DO", {"retry": breaking})
    before = queue.list(Job)
    with pytest.raises(RuntimeError):
        bulk.work(queue, claim, never)
    assert queue.list(Job) == before


@everywhere
def test_it_is_cancelled_between_two_pages(queue, failed, monkeypatch):
    monkeypatch.setattr(bulk, "PAGE", 2)
    failed(6)
    claim = begin(queue)
    with pytest.raises(Snooze):
        bulk.work(queue, claim, stop_after(1))
    queue.cancel(claim.id)
    with pytest.raises(CancelRequested, match="stopped after 4 jobs"):
        bulk.work(queue, now(queue, claim), never)
    assert counted(queue) == {"queued": 4, "failed": 2}


def changed(**values):
    return lambda told: {**told, **values}


@pytest.mark.parametrize(
    "change",
    [
        changed(action="remove"),
        changed(queue="post"),
        changed(filter={"statuses": ["completed"]}),
        changed(upto=10**9),
        lambda _: None,
        lambda _: [],
    ],
)
def test_nobody_else_says_what_is_to_be_done(queue, failed, change):
    failed(2)
    claim = begin(queue)
    queue.storage.edit(Job, [claim.id], {"input": change(claim.input)})
    before = queue.list(Job)
    with pytest.raises(InvalidInput, match="was not asked for over the REST API, or was changed since"):
        bulk.work(queue, now(queue, claim), never)
    assert queue.list(Job) == before


def test_nor_with_a_job_of_their_own(queue, failed):
    failed(2)
    asked = queue.start_bulk("mail", "remove", FAILED, **T)
    made = queue.enqueue(NewJob(bulk.TYPE, asked.input, tenant="t"))
    with pytest.raises(InvalidInput):
        queue.create_jobs([{"type": bulk.TYPE, "input": asked.input, "custom_id": asked.custom_id}], **T)
    other = queue.storage.enqueue([{"type": bulk.TYPE, "input": asked.input, "custom_id": asked.custom_id}])[0][0]
    for job in (made, other):  # without the id, and with it in another tenant
        with pytest.raises(InvalidInput):
            bulk.work(queue, job, never)
    assert len(queue.list(Job, type="mail")) == 2


@everywhere
def test_a_seal_takes_the_secret_of_the_servers(queue, failed, refused):
    """Who may add jobs chooses their ids, and whoever may work jobs changes them: together they do not make a bulk job."""
    failed(2)
    asked = queue.start_bulk("mail", "remove", FAILED, **T)
    salt, _, seal = asked.custom_id.partition("-")
    assert len(seal) == 64
    for forged in (
        hashlib.sha256(json.dumps([salt, "t", asked.input], sort_keys=True).encode()).hexdigest(),
        bulk._sealed("00" * 32, salt, "t", asked.input).partition("-")[2],
        bulk._sealed(queue.shared_secret(), salt, "u", asked.input).partition("-")[2],
        seal[:-1],
    ):
        wish = {"name": "x", "data": asked.input, "opts": {"jobId": f"{salt}-{forged}"}}
        ((made, _),) = queue.add("evil", [wish], **T)
        with queue.storage.begin() as tx:
            (job,) = tx.edit(Job, [made.id], {"type": bulk.TYPE})
        with pytest.raises(InvalidInput, match="was not asked for"):
            bulk.work(queue, job, never)
        queue.delete(Job, job.id)
    assert counted(queue) == {"failed": 2}


@everywhere
def test_one_that_failed_goes_on_where_it_was_when_it_is_retried(queue, failed, monkeypatch):
    monkeypatch.setattr(bulk, "PAGE", 2)
    failed(6)
    claim = begin(queue)
    with pytest.raises(Snooze):
        bulk.work(queue, claim, stop_after(1))
    queue.storage.edit(Job, [claim.id], {"max_attempts": 1})
    queue.fail(claim, "the database went away")
    done = queue.list(Job, type="mail", status="queued")
    queue.storage.edit(Job, [job.id for job in done], {"status": JobStatus.FAILED})  # again, since
    queue.requeue(bulk.TYPE, claim.custom_id, **T)
    again = queue.acquire([bulk.TYPE])
    assert bulk.work(queue, again, never) == {"total": 6, "done": 6, "changed": 6, "failed": 0}
    assert counted(queue) == {"queued": 4, "failed": 2}


@everywhere
@pytest.mark.parametrize("values", [{"status": "queued"}, {"progress": None}, {"type": "mail"}, {"input": {}}])
def test_nobody_changes_one_by_hand(queue, failed, values):
    failed(1)
    job = queue.start_bulk("mail", "retry", FAILED, **T)
    before = queue.list(Job)
    with pytest.raises(InvalidInput, match=r"^a job of the library's own \(gnj:bulk\) can be cancelled by hand"):
        queue.update_job(job.id, values)
    assert queue.list(Job) == before
    assert queue.update_job(job.id, {"status": "cancelled"}).status == "cancelled"


@pytest.mark.parametrize(
    "progress", [5, None, "x", {}, {"total": 1}, {"total": -1, "done": 0, "changed": 0, "failed": 0, "cursor": 0}]
)
def test_progress_that_somebody_else_wrote(queue, failed, progress):
    failed(2)
    claim = begin(queue)
    queue.set_progress(claim, progress)
    assert bulk.work(queue, now(queue, claim), never)["changed"] == 2


@everywhere
@pytest.mark.parametrize(
    "action, filter, told",
    [
        ("drop", FAILED, "action must be one of retry, remove, not 'drop'"),
        (None, FAILED, "action must be one of retry, remove, not None"),
        (["retry"], FAILED, None),
        ("retry", None, "filter must be an object, not None"),
        ("retry", [FAILED], None),
        ("retry", {}, "filter.statuses must be a list of states, not None"),
        ("retry", {"statuses": []}, None),
        ("retry", {"statuses": "failed"}, "filter.statuses must be a list of states, not 'failed'"),
        ("retry", {"statuses": ["failed", "completed"]}, "Invalid status: 'completed'; jobs to retry can be: failed"),
        ("remove", {"statuses": ["active"]}, None),
        ("remove", {"statuses": ["all"]}, None),
        ("remove", {"statuses": [5]}, None),
        ("remove", {"statuses": [["failed"]]}, None),
        (
            "retry",
            {"statuses": ["failed"], "type": "x"},
            "Unexpected field: filter.type; there are: statuses, name, before, after, failedReason",
        ),
        ("retry", {**FAILED, "name": ""}, "filter.name must not be empty"),
        ("retry", {**FAILED, "name": None}, "filter.name must be a string, not None"),
        ("retry", {**FAILED, "name": "x" * 501}, None),
        ("retry", {**FAILED, "failedReason": 5}, "filter.failedReason must be a string, not 5"),
        ("retry", {**FAILED, "failedReason": ""}, "filter.failedReason must not be empty"),
        ("retry", {**FAILED, "failedReason": "x" * 201}, None),
        ("retry", {**FAILED, "before": "2030"}, "filter.before must be an integer, not '2030'"),
        ("retry", {**FAILED, "before": -1}, None),
        ("retry", {**FAILED, "after": 10**15}, None),
        ("retry", {**FAILED, "after": None}, "filter.after must be an integer, not None"),
        ("retry", {**FAILED, "after": True}, None),
    ],
)
def test_bulk_jobs_that_are_none(queue, failed, refused, action, filter, told):
    failed(1)
    with refused(InvalidInput, told):
        queue.start_bulk("mail", action, filter, **T)


def test_texts_that_are_none(queue, refused):
    for name in ("name", "failedReason"):
        for text in ("a\0", "\ud800"):
            with refused(InvalidText):
                queue.start_bulk("mail", "retry", {**FAILED, name: text}, **T)


@pytest.mark.parametrize("name", ["gnj:bulk", "gnj:", "hook:x"])
def test_gnjs_own_jobs_are_left_alone(queue, refused, name):
    with refused(InvalidInput, f"queue name is reserved: {name!r}"):
        queue.start_bulk(name, "remove", FAILED, **T)


# The worker ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ended(queue):
    """Waits until a job has ended; the job."""
    changed = threading.Event()
    queue.hooks.add(["succeeded", "failed", "cancelled"], lambda _: changed.set())

    def wait(job):
        while queue.get(Job, job.id).ended_at is None:
            assert changed.wait(20)
            changed.clear()
        return queue.get(Job, job.id)

    return wait


def is_there(worker):
    return worker._worker is not None


@pytest.fixture
def worker(queue):
    worker = BulkWorker(queue)
    yield worker
    worker.close()


@everywhere
def test_a_worker_is_there_while_it_is_needed(queue, failed, worker, ended, monkeypatch):
    before = threading.active_count()
    worker.tick()
    assert not is_there(worker)
    failed(450)
    job = queue.start_bulk("mail", "retry", FAILED, **T)
    worker.tick()
    done = ended(job)
    assert done.output == {"total": 450, "done": 450, "changed": 450, "failed": 0}
    assert (done.status, done.worker_type, done.progress["percent"]) == ("successful", "bulk", 100)
    worker.tick()
    assert is_there(worker)  # for a while
    monkeypatch.setattr(background, "LINGER", 0.0)
    worker.tick()
    assert not is_there(worker)
    assert threading.active_count() <= before + 1  # what calls hooks


def test_what_was_left_by_another_server_is_taken_up(queue, failed, worker, ended, clock):
    failed(3)
    claim = begin(queue)
    clock.tick(31)
    worker.tick()
    assert ended(claim).output["changed"] == 3


def test_what_is_lost_while_it_runs_is_taken_up(queue, failed, worker, ended, clock):
    worker.tick()
    failed(3)
    claim = begin(queue)
    queue._reaped = float("-inf")
    worker.tick()
    assert not is_there(worker)
    clock.tick(31)
    queue._reaped = float("-inf")
    worker.tick()
    assert ended(claim).output["changed"] == 3


def test_a_server_that_stops_gives_it_back(queue, failed, worker, monkeypatch):
    monkeypatch.setattr(bulk, "PAGE", 1)
    failed(40)
    job = queue.start_bulk("mail", "retry", FAILED, **T)
    begun = threading.Event()
    real = bulk._DO["retry"]

    def slow(unit, tenant, page):
        begun.set()
        return real(unit, tenant, page)

    monkeypatch.setattr(bulk, "_DO", {"retry": slow})
    worker.tick()
    assert begun.wait(20)
    worker.close()
    left = queue.get(Job, job.id)
    if left.status is not JobStatus.SUCCESSFUL:  # it may have been faster
        assert (left.status, left.failures) == ("queued", 0)
        assert counted(queue)["queued"] == left.progress["done"]


@everywhere
def test_tenants_take_turns(queue, worker, ended, monkeypatch):
    """One that has a long job and many others keeps nobody waiting: what it does goes on after the turn of another."""
    monkeypatch.setattr(bulk, "PAGE", 1)
    monkeypatch.setattr(background, "SLICE", 0.0)
    order: list[str] = []
    real = bulk._DO["retry"]

    def noted(unit, tenant, page):
        order.append(tenant)
        return real(unit, tenant, page)

    monkeypatch.setattr(bulk, "_DO", {"retry": noted})
    started: list[Job] = []
    for tenant, count in (("a", 6), ("a", 1), ("b", 2), ("c", 1)):
        row = {"type": f"mail-{len(started)}", "status": "failed"}
        queue.create_jobs([row] * count, tenant=tenant)
        started.append(queue.start_bulk(row["type"], "retry", FAILED, tenant=tenant))
    worker.tick()
    done = [ended(job) for job in started]
    assert [job.output["changed"] for job in done] == [6, 1, 2, 1]
    assert {job.failures for job in done} == {0}
    assert sorted(order) == ["a"] * 7 + ["b"] * 2 + ["c"]
    assert order[:5] == ["a", "b", "c", "a", "b"]
    assert {job.worker_id.partition(":")[0] for job in done} == {"bulk"}


@everywhere
def test_so_many_and_no_more(queue, monkeypatch, refused):
    monkeypatch.setattr(bulk, "MOST", 2)
    first = queue.start_bulk("mail", "retry", FAILED, **T)
    queue.start_bulk("mail", "retry", FAILED, **T)
    queue.start_bulk("mail", "retry", FAILED, tenant="u")
    with refused(InvalidInput, "at most 2 bulk jobs can be under way: wait until one has ended, or cancel one"):
        queue.start_bulk("mail", "retry", FAILED, **T)
    queue.cancel(first.id)
    queue.start_bulk("mail", "retry", FAILED, **T)


KILLED = """
import os, sys, signal
from gnj.queue import bulk
from gnj.queue.service import Queue
from gnj.storage.sql import SqlStorage

queue = Queue(SqlStorage(sys.argv[1]))
claim = queue.acquire([bulk.TYPE], lease=30)
real, pages = bulk._DO["retry"], []

def page(unit, tenant, found):
    changed = real(unit, tenant, found)
    pages.append(changed)
    if len(pages) == int(sys.argv[2]):  # with the page written, and not committed
        os.kill(os.getpid(), signal.SIGKILL)
    return changed

bulk._DO = {"retry": page}
bulk.work(queue, claim, lambda: False)
"""


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.backend(name)) for name in ("sqlite", "postgresql", "mysql")]
)
def url(request, tmp_path):
    if request.param == "sqlite":
        yield databases.sqlite_database(tmp_path)
        return
    server = request.getfixturevalue(f"{request.param}_server")
    with server.database() as url:
        yield url


@pytest.mark.parametrize("count, page", [(1_000, 3), pytest.param(20_000, 40, marks=pytest.mark.slow)])
def test_one_that_is_killed_in_the_middle_goes_on(url, count, page):
    storage = SqlStorage(url)
    storage.migrate()
    queue = Queue(storage)
    queue.create_jobs([{"type": "mail", "status": "failed", "output": {"error": "broken"}}] * count)
    job = queue.start_bulk("mail", "retry", FAILED, tenant="")
    killed = subprocess.run([sys.executable, "-c", KILLED, url, str(page)], check=False)
    assert killed.returncode == -signal.SIGKILL
    left, done = now(queue, job), (page - 1) * bulk.PAGE
    assert (left.status, left.progress["done"], left.progress["changed"]) == ("processing", done, done)
    assert counted(queue) == {"queued": done, "failed": count - done}
    queue.release([left])  # as its lease's end would
    (again,) = queue.acquire([bulk.TYPE], 1)
    assert bulk.work(queue, again, never) == {"total": count, "done": count, "changed": count, "failed": 0}
    assert counted(queue) == {"queued": count}
    storage.close()
