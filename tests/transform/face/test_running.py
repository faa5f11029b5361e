"""runJob: what it waits for, for how long, and that no thread is kept for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gnj import GNJ
from gnj.api.runs import Behind, Run
from gnj.api.transform import Waiting, waiting
from gnj.graphql.limits import Limits
from gnj.queue.model_transform import TransformRun
from gnj.queue.storage import Select
from gnj.queue.where import equal
from gnj.settings_transform import TransformLimits
from gnj.transform.errors import StillRunning
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest
from tests.subscribers import WAIT
from tests.transform.face.conftest import as_json
from tests.transform.sites import answer

RUN_JOB = "mutation($id: ID!) { runJob(id: $id) }"
STATUS = "query($id: ID!) { getJob(id: $id) { status } }"
BOTH = pytest.mark.parametrize("client", ["asgi", "wsgi"], indirect=True)
SHORT = pytest.mark.parametrize("settings", [{"transform_limits": TransformLimits(wait_seconds=0.1)}])


@BOTH
def test_true_for_a_run_that_ended_well_and_false_for_others(jobs, ask, save):
    good, empty, bad, missing = save(), save("/empty"), save("/broken"), save("/missing")
    with jobs.worker(transform=True):
        assert ask(RUN_JOB, id=good).value is True
        assert ask(RUN_JOB, id=good).value is True
        assert ask(RUN_JOB, id=empty).value is True  # nothing to write is no failure
        assert ask(RUN_JOB, id=missing).value is False
        ask("mutation($id: ID!) { deleteJob(id: $id) }", id=bad)  # whose first run has tries to come
    assert ask(STATUS, id=missing).value == {"status": "Failed"}


@BOTH
@SHORT
def test_a_run_that_takes_longer_is_named(jobs, ask, save, work):
    id = save()
    error = ask(RUN_JOB, id=id).error  # nobody works
    assert error["code"] == "STILL_RUNNING"
    (run,) = ask("query($id: ID!) { getRuns(jobId: $id) { id status } }", id=id).value
    assert (error["runId"], run["status"]) == (run["id"], "Pending")
    again = ask(RUN_JOB, id=id).error
    assert again["runId"] == run["id"]  # it was joined
    work()
    assert ask(STATUS, id=id).value == {"status": "Live"}


@BOTH
@pytest.mark.parametrize(
    "settings",
    [{"transform_limits": TransformLimits(wait_seconds=1.2), "limits": Limits(operation_seconds=1.0)}],
    ids=["long"],
)
def test_it_may_wait_for_longer_than_operations_take(ask, save):
    assert ask(RUN_JOB, id=save()).error["code"] == "STILL_RUNNING"


@SHORT
def test_of_several_each_is_told_of_its_own(ask, save):
    one, two = save(), save("/empty")
    body = ask("mutation($a: ID!, $b: ID!) { a: runJob(id: $a) b: runJob(id: $b) }", a=one, b=two).body
    assert [error["extensions"]["runId"] for error in body["errors"]] == ["1"]  # non-null: the second is not asked for
    assert body["data"] is None


def test_a_deleted_jobs_run_did_not_end_well(jobs, save):
    id = int(save())
    wait = Waiting(jobs.queue, 30.0)
    later = wait.end_of(jobs.transform_jobs.run_job("", id))
    told: Any = threading.Event()
    answers: list[Any] = []

    def tell(get: Any) -> None:
        answers.append(get())
        told.set()

    later.ask(lambda task: task(), tell)
    jobs.transform_jobs.delete_job("", id)
    assert told.wait(WAIT)
    assert answers == [False]
    (run,) = jobs.queue.storage.find(TransformRun, Select())
    with jobs.queue.storage.begin() as tx:
        tx.trim(TransformRun, equal(TransformRun, id=run.id), 1)
    assert wait.end_of(run).result() is False  # nor did one that is not there any more


@pytest.mark.parametrize("settings", [{"pool_size": 2}])
def test_those_who_wait_keep_no_threads(jobs, ask, save, client):
    """More than there are threads, each with its id in the text of its document; and others are answered meanwhile."""
    before = set(threading.enumerate())
    ids = [save() for _ in range(8)]
    follows = threading.Semaphore(0)
    join = jobs._transform_face.waiting._join

    def joined(waiter: Any) -> None:
        join(waiter)
        follows.release()

    jobs._transform_face.waiting._join = joined
    with ThreadPoolExecutor(len(ids)) as pool:
        asked = [pool.submit(ask, f'mutation {{ runJob(id: "{id}") }}') for id in ids]
        for _ in ids:
            assert follows.acquire(timeout=WAIT)
        assert ask(STATUS, id=ids[0]).value == {"status": "Pending"}
        others = set(threading.enumerate()) - before
        assert sum(each.name == "gnj-request" for each in others) <= 2
        with jobs.worker(transform=True):
            assert [each.result(WAIT).value for each in asked] == [True] * len(ids)
    jobs._transform_face.waiting.close()


def test_who_waits_when_the_server_ends_is_told(jobs, ask, save):
    id = save()
    begun = threading.Event()
    join = jobs._transform_face.waiting._join

    def joined(waiter: Any) -> None:
        join(waiter)
        begun.set()

    jobs._transform_face.waiting._join = joined
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, RUN_JOB, id=id)
        assert begun.wait(WAIT)
        jobs.end_subscriptions()
        assert asked.result(WAIT).error["code"] == "STILL_RUNNING"


@pytest.mark.backend("sqlite")
def test_a_run_that_another_process_works(sqlite_database, shop):
    """An application of its own is to the feed what another process is."""
    url = sqlite_database()
    given: Any = {"transform_workers": 0, "fetch_allow": ["127.0.0.1"]}
    with GNJ(url, **given) as mine, GNJ(url, **given) as other:
        mine.migrate()
        saved = mine.transform_jobs.save_job(
            "",
            SourceInput(request=SourceRequest(type="Feed", url=shop.url("/feed"))),
            MappingInput(data=[{"sourceField": "sku", "targetField": "id"}]),
            FormatInput(data={"id": {"type": "string"}}),
        )
        wait = Waiting(mine.queue, 30.0)
        later = wait.end_of(mine.transform_jobs.run_job("", saved.id))
        with other.worker(transform=True):
            assert later.result() is True
        wait.close()


class Following:
    """In the place of what hears of changes: it hears of nothing."""

    def __init__(self, run: Run, *, behind: bool = False) -> None:
        self.run, self.behind = run, behind
        self.following = run.following

    def take(self, timeout: float) -> list[Any]:
        if self.behind:
            self.behind = False
            raise Behind
        self.run.take(timeout)
        return []

    def wake(self) -> None:
        self.run.wake()


@pytest.mark.parametrize("behind", [False, True])
def test_what_was_not_heard_of_is_found(jobs, save, work, monkeypatch, behind):
    monkeypatch.setattr(waiting, "LOOK", 0.05)
    monkeypatch.setattr(waiting, "Run", lambda feed: Following(Run(feed), behind=behind))
    id = int(save())
    wait = Waiting(jobs.queue, 30.0)
    told: Any = threading.Event()
    wait.end_of(jobs.transform_jobs.run_job("", id)).ask(lambda task: task(), lambda get: told.set() if get() else None)
    work()
    assert told.wait(WAIT)


def test_a_database_that_does_not_answer_is_asked_again(jobs, save, work, monkeypatch, caplog):
    monkeypatch.setattr(waiting, "LOOK", 0.05)
    run = jobs.transform_jobs.run_job("", int(save()))
    work()
    columns, asked = jobs.queue.storage.columns, []

    def failing(*of: Any, **more: Any) -> Any:
        asked.append(of)
        if len(asked) == 1:
            raise RuntimeError("gone")
        return columns(*of, **more)

    monkeypatch.setattr(jobs.queue.storage, "columns", failing)
    wait = Waiting(jobs.queue, 30.0)
    assert wait.end_of(run).result() is True
    assert "whether runs have ended is not known now: gone" in caplog.text


def test_a_machine_without_threads_waits_for_nothing(jobs, save, monkeypatch):
    run = jobs.transform_jobs.run_job("", int(save()))

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    wait = Waiting(jobs.queue, 30.0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(StillRunning):
            wait.end_of(run).result()
    assert wait._run is None


def test_a_changed_feed_is_another_run(jobs, ask, save, work, shop):
    pages: list[bytes] = [as_json([{"sku": "1", "title": "a"}]), as_json([{"sku": "1", "title": "b"}])]
    shop.pages["/changing"] = lambda _asked: pages.pop(0) if pages else answer(b"", status=404)
    id = save("/changing")
    work()
    with jobs.worker(transform=True):
        assert [ask(RUN_JOB, id=id).value for _ in range(2)] == [True, False]
    found = ask("query($id: ID!) { getJobRecords(jobId: $id) { total records } }", id=id).value
    assert found == {"total": 1, "records": [{"id": "1", "name": "B"}]}
