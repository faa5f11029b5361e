"""What runs beside the face: the worker that comes and goes, and the sweep."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from gnj import GNJ, background_content
from gnj.background_content import TYPES, ContentSweep, ContentWorker
from gnj.content.model import NewEntry
from gnj.content.store import Holder, Step
from gnj.queue import uploads
from gnj.queue.clock import After
from gnj.queue.errors import StorageUnavailable
from gnj.queue.model import Job
from gnj.queue.model_content import ContentType, Upload
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.where import equal
from gnj.worker.turns import TurnSource
from tests.content.operating import asset
from tests.content.tasks import ENTRIES, an_import, application, entry, make, stored, work
from tests.waiting import until


@pytest.fixture
def jobs():
    with application() as made:
        made.content.store.ready("acme")
        yield made


@pytest.fixture
def worker(jobs):
    made = ContentWorker(jobs.queue, jobs.content, concurrency=2)
    yield made
    made.close()


def status(jobs, row):
    return jobs.get(row.task_ids[0]).status


def test_it_works_what_is_there_and_goes_a_while_after(jobs, worker, monkeypatch):
    worker.tick()
    row = an_import(jobs, [entry("a")])
    time.sleep(0.1)
    assert status(jobs, row) == JobStatus.QUEUED
    worker.tick()
    until(lambda: status(jobs, row) == JobStatus.SUCCESSFUL)
    assert list(stored(jobs)) == ["a"]
    row = an_import(jobs, [entry("b")], key="2")
    until(lambda: status(jobs, row) == JobStatus.SUCCESSFUL)  # at once, without a look
    until(lambda: not worker.running)
    monkeypatch.setattr(background_content, "LINGER", 0.0)
    worker.tick()
    row = an_import(jobs, [entry("c")], key="3")
    time.sleep(0.1)
    assert status(jobs, row) == JobStatus.QUEUED


def test_a_task_under_way_is_no_reason_to_go(jobs, worker, monkeypatch):
    monkeypatch.setattr(background_content, "LINGER", 0.05)
    going, begun = threading.Event(), threading.Event()
    store = jobs.content.store
    real = store.put_entries

    def put(*args):
        begun.set()
        assert going.wait(20)
        return real(*args)

    monkeypatch.setattr(store, "put_entries", put)
    row = an_import(jobs, [entry("a")])
    worker.tick()
    assert begun.wait(20)
    for _ in range(3):
        time.sleep(0.05)
        worker.tick()
    going.set()
    until(lambda: status(jobs, row) == JobStatus.SUCCESSFUL)
    assert jobs.get(row.task_ids[0]).attempt == 1


def test_what_a_killed_worker_had_is_taken_up(jobs, worker):
    row = an_import(jobs, [entry("a")])
    lost = jobs.queue.acquire([ENTRIES], lease=60)
    worker.tick()
    assert status(jobs, row) == JobStatus.PROCESSING
    jobs.storage.edit(Job, [lost.id], {"lease_expires_at": After(-1.0)})
    until(lambda: worker.tick() or status(jobs, row) == JobStatus.SUCCESSFUL)


def test_a_task_that_is_to_begin_later_begins_then(jobs, worker):
    row = an_import(jobs, [entry("a")])
    jobs.storage.edit(Job, row.task_ids[:1], {"due_at": After(0.2)})
    worker.tick()
    assert status(jobs, row) == JobStatus.QUEUED
    until(lambda: worker.tick() or status(jobs, row) == JobStatus.SUCCESSFUL)


def test_an_organisation_with_many_jobs_keeps_no_other_waiting(jobs):
    for tenant, number in (("acme", 6), ("zen", 1), ("bolt", 2)):
        jobs.content.store.ready(tenant)
        for at in range(number):
            make(jobs, ContentType.EXPORT_ENTRIES, tenant=tenant, name=f"{tenant} {at}")
    source = TurnSource(jobs.queue)
    order = [job.tenant for _ in range(5) for job in source.claim(TYPES, 1)]
    assert order == ["acme", "bolt", "zen", "acme", "bolt"]
    assert [job.tenant for job in source.claim(TYPES, 3)] == ["acme"] * 3
    jobs.queue.toggle_hold(ENTRIES, tenant="acme")
    late = make(jobs, ContentType.DELETE_CONTENT, tenant="zen")
    assert [job.id for job in source.claim(TYPES, 4)] == late.task_ids[:1]
    assert source.claim(TYPES, 4) == []
    jobs.queue.toggle_hold(ENTRIES, tenant="acme")
    (last,) = jobs.queue.storage.find(Job, Select(equal(Job, type=ENTRIES, status=JobStatus.QUEUED)))
    jobs.storage.edit(Job, [last.id], {"due_at": After(-1.0)})
    assert [job.id for job in source.claim(TYPES, 4)] == [last.id]


def test_its_worker_serves_them_so(jobs, worker, monkeypatch):
    served = []
    for tenant, number in (("acme", 8), ("zen", 1)):
        for at in range(number):
            an_import(jobs, [entry(f"{tenant}{at}")], tenant=tenant, key=f"{tenant}{at}.json")
    real = jobs.content.store.put_entries

    def put(tenant, *args):
        served.append(tenant)
        return real(tenant, *args)

    monkeypatch.setattr(jobs.content.store, "put_entries", put)
    worker.tick()
    until(lambda: len(served) == 9)
    assert "zen" in served[:4]


def test_when_the_server_ends_a_task_ends_its_step_and_the_rest_is_for_the_next_claim(jobs, monkeypatch):
    going, begun = threading.Event(), threading.Event()
    store = jobs.content.store
    real = store.put_entries

    def put(*args):
        begun.set()
        assert going.wait(20)
        return real(*args)

    monkeypatch.setattr(store, "put_entries", put)
    row = an_import(jobs, [entry(f"e{n}") for n in range(2_500)])
    worker = ContentWorker(jobs.queue, jobs.content, concurrency=1)
    worker.tick()
    assert begun.wait(20)
    closing = threading.Thread(target=worker.close)
    closing.start()
    going.set()
    closing.join(20)
    job = jobs.get(row.task_ids[0])
    assert (job.status, job.failures, job.stalled_count) == (JobStatus.QUEUED, 0, 0)
    assert job.progress["cursor"]["position"] == 1_000
    with_another = ContentWorker(jobs.queue, jobs.content, concurrency=1)
    with_another.tick()
    until(lambda: status(jobs, row) == JobStatus.SUCCESSFUL)
    with_another.close()
    assert len(stored(jobs)) == 2_500


# The sweep


@pytest.fixture
def sweep(jobs, monkeypatch):
    monkeypatch.setattr(background_content, "EVERY", 0.0)
    return ContentSweep(jobs.queue, jobs.content)


def an_upload(jobs, name, age):
    """An upload that expired so many seconds ago."""
    files = jobs.content.files
    backend = files.begin("acme", name, 3, 3)
    sink = files.part("acme", name, backend, 1, 0, 3)
    sink.write(b"abc")
    sink.finish()
    made = jobs.queue.create_upload(
        "acme", upload_id=name, key=name, name=name, size=3, parts=1, backend=backend, seconds=60, by={}
    )
    jobs.storage.edit(Upload, [made.id], {"expires_at": After(-age)})
    return made


def test_uploads_that_expired_an_hour_ago_go_with_their_parts(jobs, sweep):
    an_upload(jobs, "old", 3_700)
    fresh = an_upload(jobs, "fresh", 3_000)
    complete = an_upload(jobs, "complete", 3_700)
    jobs.queue.complete_upload("acme", "complete")
    sweep.tick()
    assert jobs.queue.upload("acme", "old") is None
    assert jobs.queue.upload("acme", "fresh") is not None
    assert jobs.queue.upload("acme", "complete") is not None
    assert set(jobs.content.files.parts) == {("acme", fresh.backend), ("acme", complete.backend)}
    sweep.close()


def test_files_that_nobody_wants_go_unless_they_are_read(jobs, sweep):
    for name in ("wanted", "unwanted", "read"):
        sink = jobs.content.files.create("acme", name)
        sink.write(b"abc")
        sink.finish()
        jobs.queue.create_upload(
            "acme", upload_id=name, key=name, name=name, size=3, parts=1, backend=name, seconds=60, by={}
        )
        jobs.queue.complete_upload("acme", name)
    row = make(jobs, ContentType.IMPORT_ENTRIES, key="read")
    jobs.storage.edit(
        Upload, [jobs.queue.upload("acme", name).id for name in ("unwanted", "read")], {"state": "unwanted"}
    )
    sweep.tick()
    assert [jobs.content.files.stat("acme", name) is None for name in ("wanted", "unwanted", "read")] == [0, 1, 0]
    assert [jobs.queue.upload("acme", name) is None for name in ("wanted", "unwanted", "read")] == [0, 1, 0]
    jobs.queue.delete_content_job("acme", row.id, {"id": "me"})
    sweep.tick()
    assert jobs.content.files.stat("acme", "read") is None
    assert jobs.queue.upload("acme", "read") is None


def test_files_of_assets_go_unless_an_asset_has_them_or_may_be_about_to(jobs, sweep, monkeypatch):
    store, files = jobs.content.store, jobs.content.files
    main = store.environment("acme", None).id
    keys = {name: f"assets/{name * 64}-0" for name in "ab"}
    for key in keys.values():
        files.put("acme", key, b"abc")
    with jobs.storage.begin() as tx:
        uploads.unwant(tx, "acme", list(keys.values()))
    sweep.tick()
    assert len(jobs.queue.unwanted_files(10)) == 2
    holder = Holder(1, 1, 1)
    store.open("acme", main, holder)
    store.put_assets("acme", main, holder, [asset("x", sha256="b" * 64, key=keys["b"])])
    store.publish("acme", main, holder)
    running = make(jobs, ContentType.IMPORT_ASSETS)
    monkeypatch.setattr(background_content, "SETTLED", timedelta(0))
    sweep.tick()
    assert len(jobs.queue.unwanted_files(10)) == 2
    jobs.queue.delete_content_job("acme", running.id, {"id": "u"})
    sweep.tick()
    assert jobs.queue.unwanted_files(10) == []
    assert [files.stat("acme", key) is None for key in keys.values()] == [True, False]


def test_one_that_the_store_does_not_let_go_of_keeps_no_other(jobs, sweep, monkeypatch, caplog):
    an_upload(jobs, "first", 4_000)
    an_upload(jobs, "second", 3_700)
    real = jobs.content.files.drop

    def drop(tenant, key, backend):
        if key == "first":
            raise StorageUnavailable
        real(tenant, key, backend)

    monkeypatch.setattr(jobs.content.files, "drop", drop)
    sweep.tick()
    assert jobs.queue.upload("acme", "first") is not None
    assert jobs.queue.upload("acme", "second") is None
    assert "the upload first stays for now" in caplog.text


def an_environment(jobs, alias, owner, age=timedelta(minutes=11)):
    store = jobs.content.store
    made = store.reserve("acme", alias, alias, owner)
    store.rooms[made].born -= age
    return made


def test_environments_that_nobody_makes_any_more_go(jobs, sweep):
    store = jobs.content.store
    alive, over = make(jobs), make(jobs)
    jobs.queue.delete_content_job("acme", over.id, {"id": "u"})
    left = an_environment(jobs, "left", None)
    failed = an_environment(jobs, "failed", over.id)
    gone = an_environment(jobs, "gone", 1_000)
    making = an_environment(jobs, "making", alive.id)
    young = an_environment(jobs, "young", None, timedelta(minutes=9))
    made = an_environment(jobs, "made", over.id)
    store.publish("acme", made, Holder(over.id, 1, 1))
    sweep.tick()
    assert {left, failed, gone} & set(store.rooms) == set()
    assert {making, young, made} <= set(store.rooms)


def test_one_whose_job_could_not_say_so_is_the_jobs(jobs, sweep):
    left = an_environment(jobs, "left", None)
    making = make(jobs, ContentType.CREATE_ENVIRONMENT, params={"base": "main", "environment": left})
    make(jobs, ContentType.CREATE_ENVIRONMENT, params={"base": "main", "environment": "another"})
    sweep.tick()
    assert jobs.content.store.rooms[left].owner == making.id
    jobs.queue.delete_content_job("acme", making.id, {"id": "u"})
    sweep.tick()
    assert left not in jobs.content.store.rooms


def test_those_that_stay_keep_no_other(jobs, sweep, monkeypatch, caplog):
    monkeypatch.setattr(background_content, "_FEW", 2)
    alive = make(jobs)
    staying = {an_environment(jobs, f"stays-{number}", alive.id) for number in range(5)}
    going = {an_environment(jobs, f"goes-{number}", None) for number in range(5)}
    files, real = jobs.content.files, jobs.content.files.drop
    for number in range(5):
        an_upload(jobs, f"stays-{number}", 9_000)
        an_upload(jobs, f"goes-{number}", 8_000)

    def drop(tenant, key, backend):
        if key.startswith("stays"):
            raise ValueError("no error of ours")
        real(tenant, key, backend)

    monkeypatch.setattr(files, "drop", drop)
    for _ in range(6):
        sweep.tick()
    assert going & set(jobs.content.store.rooms) == set()
    assert staying <= set(jobs.content.store.rooms)
    assert [jobs.queue.upload("acme", f"goes-{number}") for number in range(5)] == [None] * 5
    assert jobs.queue.upload("acme", "stays-0") is not None
    assert caplog.text.count("the upload stays-0 stays for now: no error of ours") == 1
    sweep.tick()  # from the beginning again
    assert caplog.text.count("the upload stays-0 stays for now: no error of ours") == 2


def test_a_look_ends_after_a_while(jobs, sweep, monkeypatch):
    monkeypatch.setattr(background_content, "SHARE", 0.0)
    left = {an_environment(jobs, f"left-{number}", None) for number in range(3)}
    for count in (2, 1, 0):
        sweep.tick()
        assert len(left & set(jobs.content.store.rooms)) == count


def test_what_takes_long_to_take_back_goes_on_with_another_look(jobs, sweep, monkeypatch):
    store = jobs.content.store
    main, real, turns = store.environment("acme", None).id, store.abandon, iter([False, False, True])
    row = make(jobs)
    holder = Holder(row.id, row.task_ids[0], 1)
    store.open("acme", main, holder)
    jobs.queue.delete_content_job("acme", row.id, {"id": "u"})
    monkeypatch.setattr(store, "abandon", lambda *args, within: within == 2.0 and next(turns) and real(*args))
    for writer in (holder, holder, None):
        sweep.tick()
        assert store.rooms[main].writer == writer


def test_what_jobs_that_are_over_have_left_is_taken_back(jobs, sweep, monkeypatch):
    store = jobs.content.store
    main = store.environment("acme", None).id
    other = store.reserve("acme", "other", "Other", 1)
    store.publish("acme", other, Holder(1, 1, 1))
    alive, over = make(jobs), make(jobs)
    for row, environment in ((alive, other), (over, main)):
        holder = Holder(row.id, row.task_ids[0], 1)
        store.open("acme", environment, holder)
        store.put_entries("acme", environment, holder, [NewEntry(id="a", site_id="s1", model_id="m")])
        store.pin("acme", environment, holder)
    jobs.queue.delete_content_job("acme", over.id, {"id": "u"})
    sweep.tick()
    assert (store.rooms[main].writer, store.rooms[main].draft) == (None, None)
    assert store.rooms[other].writer == Holder(alive.id, alive.task_ids[0], 1)
    assert [job for _, _, job in store.pins] == [alive.id]


def test_what_a_job_published_is_indexed_if_it_did_not_live_to_do_it(jobs, sweep):
    store = jobs.content.store
    main = store.environment("acme", None).id
    row = an_import(jobs, [entry("a")])
    work(jobs)
    assert jobs.queue.content_job("acme", row.id).result["environments"] == [main]
    sweep.tick()
    assert store.behind(10) == [("acme", main)]  # its own task is going to
    jobs.queue.delete_content_job("acme", row.id, {"id": "u"})
    sweep.tick()
    assert store.behind(10) == []


def test_the_store_of_gnjs_own_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(background_content, "EVERY", 0.0)
    with application(f"sqlite:///{tmp_path / 'jobs.db'}", content=None) as jobs:
        jobs.migrate()
        store, sweep = jobs.content.store, ContentSweep(jobs.queue, jobs.content)
        published = an_import(jobs, [entry("a")])
        work(jobs)
        (main,) = jobs.queue.content_job("acme", published.id).result["environments"]
        writing = make(jobs)
        holder = Holder(writing.id, writing.task_ids[0], 1)
        store.open("acme", main, holder)
        store.put_entries("acme", main, holder, [NewEntry(id="b", site_id="s1", model_id="m")])
        store.pin("acme", main, holder)
        sweep.tick()
        assert ([job.job for _, job in store.held(9)], store.behind(9)) == ([writing.id], [("acme", main)])
        for row in (published, writing):
            jobs.queue.delete_content_job("acme", row.id, {"id": "u"})
        sweep.tick()
        assert (store.held(9), store.behind(9)) == ([], [])
        assert list(stored(jobs)) == ["a"]


def test_an_index_that_takes_long_goes_on_with_the_next_look(jobs, sweep, monkeypatch):
    monkeypatch.setattr(background_content, "SHARE", 0.0)
    cursors = []

    def step(tenant, holder, operation, cursor):
        cursors.append((operation.environment_id, cursor))
        done = (cursor or 0) + 1
        return Step(cursor=None if done == 3 else done, done=1, total=None, over=done == 3)

    monkeypatch.setattr(jobs.content.store, "step", step)
    monkeypatch.setattr(jobs.content.store, "behind", lambda limit, *, after: [("acme", "a"), ("acme", "b")])
    for _ in range(3):
        sweep.tick()
    assert cursors == [("a", None), ("a", 1), ("a", 2)]


def test_a_large_environment_goes_step_by_step_and_a_look_is_bounded(jobs, sweep, monkeypatch):
    an_environment(jobs, "large", None)
    cursors = []

    def step(tenant, holder, operation, cursor):
        cursors.append(cursor)
        return Step(cursor=len(cursors), done=1, total=None, over=False)

    monkeypatch.setattr(jobs.content.store, "step", step)
    sweep.tick()
    assert cursors == [None, *range(1, 20)]


def test_it_looks_about_once_a_minute(jobs, monkeypatch):
    looks = []

    def unmade(older, limit, *, after):
        looks.append(limit)
        return ()

    monkeypatch.setattr(jobs.content.store, "unmade", unmade)
    sweep = ContentSweep(jobs.queue, jobs.content)
    sweep.tick()
    sweep.tick()
    assert looks == [100]


# A worker of its own


def test_a_worker_does_content_tasks_beside_the_hosts_jobs(jobs):
    jobs.handler("echo")(lambda job: job.input)
    row, other = an_import(jobs, [entry("a")]), jobs.enqueue("echo", 5)
    with jobs.worker(content=True, poll=0.05):
        until(lambda: status(jobs, row) == JobStatus.SUCCESSFUL and jobs.get(other.id).output == 5)
        jobs.handler("late")(lambda job: job.input)
        late = jobs.enqueue("late", 6)
        until(lambda: jobs.get(late.id).output == 6)


def test_one_that_is_stopped_has_its_tasks_stop_after_a_step(jobs, monkeypatch):
    going, begun = threading.Event(), threading.Event()
    store = jobs.content.store
    real = store.put_entries

    def put(*args):
        begun.set()
        assert going.wait(20)
        return real(*args)

    monkeypatch.setattr(store, "put_entries", put)
    row = an_import(jobs, [entry(f"e{n}") for n in range(2_500)])
    worker = jobs.worker([], content=True, poll=0.05)
    worker.start()
    assert begun.wait(20)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    time.sleep(0.05)
    going.set()
    stopping.join(20)
    job = jobs.get(row.task_ids[0])
    assert (job.status, job.progress["cursor"]["position"]) == (JobStatus.QUEUED, 1_000)
    with worker:
        until(lambda: status(jobs, row) == JobStatus.SUCCESSFUL)


def test_without_a_content_store_there_is_none():
    with GNJ("memory://") as jobs, pytest.raises(ValueError, match="content jobs need a content store"):
        jobs.worker(content=True)
