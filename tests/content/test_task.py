"""What holds for every task: its checkpoints, its log, whom it gives way to, and what becomes of one that fails."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from gnj.content import task as tasks
from gnj.content.model import NewEntry
from gnj.content.operations import finish_environment
from gnj.content.store import Delete, DropEnvironment, Holder, Stale, Step
from gnj.content.task import Task, Written, handled
from gnj.queue.ends import Outcome
from gnj.queue.errors import CancelRequested, Failed, InvalidInput, LeaseLost, NotFound, Snooze, StorageUnavailable
from gnj.queue.model import Job
from gnj.queue.model_content import ContentStatus, ContentType, TaskType
from gnj.queue.states import JobStatus
from gnj.queue.working import Line
from tests.content.tasks import CALM, ENTRIES, Killed, again, application, claim, log, make, now, stored, work


@pytest.fixture
def jobs():
    with application() as made:
        made.content.store.ready("acme")
        yield made


@pytest.fixture
def main(jobs):
    return jobs.content.store.environment("acme", None).id


def run(jobs, work, *, job=None, ctx=CALM, **options):
    """Has `work` do the task that is next; what its handler gives or raises."""
    return handled(jobs.content, work, **options)(job or claim(jobs), ctx)


def put(task, id, environment):
    new = NewEntry(id=id, site_id="s1", model_id="article")
    return task.content.store.put_entries(task.tenant, environment, task.holder, [new])


def test_the_first_checkpoint_makes_the_content_job_active(jobs):
    row = make(jobs)

    def work(task):
        assert now(jobs, row).status is ContentStatus.ACTIVE
        return {"answer": 42}

    assert run(jobs, work) == {"answer": 42}


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


def test_a_checkpoint_comes_once_a_second_or_with_many_lines_or_when_it_must(jobs, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(tasks, "time", clock)
    row = make(jobs)
    job = claim(jobs)

    def seen():
        found = jobs.get(job.id).progress or {}
        return found.get("cursor"), len(log(jobs, row))

    def work(task):
        task.log.info("one %d", 1)
        task.checkpoint("a", done=1, total=4)
        assert seen() == (None, 0)
        clock.now += 1.0
        task.checkpoint("b", done=1, total=4)
        assert seen() == ("b", 1)
        assert jobs.get(job.id).progress == {"cursor": "b", "done": 1, "total": 4, "percent": 25.0}
        for number in range(200):
            task.log.warning("%d", number)
        task.checkpoint("c", done=2, total=4)
        assert seen() == ("c", 201)
        task.checkpoint("d", done=3, total=None, force=True)
        assert seen() == ("d", 201)
        task.checkpoint("e", done=3, total=4, changes={"result": {"x": 1}})
        assert seen() == ("e", 201)
        assert now(jobs, row).result == {"x": 1}
        task.log.error("100%")

    run(jobs, work, job=job)
    assert seen() == ("e", 202)
    assert jobs.get(job.id).progress["percent"] == 100.0
    assert log(jobs, row)[:2] == [("INFORMATION", "one 1"), ("WARNING", "0")]
    assert log(jobs, row)[-1] == ("ERROR", "100%")
    found = now(jobs, row)
    assert (found.logs, found.warnings, found.errors) == (202, 200, 1)


def test_warnings_from_when_the_job_was_made_are_its_first_lines_once(jobs):
    row = make(jobs, params={"warnings": ["mind this", "and 100% of that"]})
    job = claim(jobs)

    def killed(task):
        task.log.info("begun")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(jobs, killed, job=job)
    run(jobs, lambda task: task.log.info("done"), job=again(jobs, job))
    assert [message for _, message in log(jobs, row)] == ["mind this", "and 100% of that", "done"]


def test_they_are_not_lost_where_the_first_checkpoint_could_not_be_made(jobs, monkeypatch):
    row = make(jobs, params={"warnings": ["mind this"]})
    job, real, calls = claim(jobs), jobs.queue.checkpoint, []

    def checkpoint(*args, **options):
        calls.append(args)
        return away() if len(calls) == 1 else real(*args, **options)

    monkeypatch.setattr(jobs.queue, "checkpoint", checkpoint)
    with pytest.raises(Snooze):
        run(jobs, lambda _: pytest.fail("begun"), job=job)
    run(jobs, lambda task: task.log.info("done"), job=again(jobs, job))
    assert [message for _, message in log(jobs, row)] == ["mind this", "done"]


@pytest.mark.parametrize(
    "error, told",
    [
        (InvalidInput("there is no such file"), "there is no such file"),
        (NotFound("gone"), "gone"),
        (Failed("because of that"), "because of that"),
        (Stale(), "somebody else changes the environment now, or it was removed"),
    ],
)
def test_a_task_that_fails_says_why_and_leaves_nothing(jobs, main, error, told):
    row = make(jobs)

    def work(task):
        task.open(main)
        put(task, "a", main)
        task.log.info("before")
        raise error

    with pytest.raises(Failed) as failed:
        run(jobs, work)
    assert failed.value.reason == told
    assert log(jobs, row) == [("INFORMATION", "before"), ("ERROR", told)]
    assert jobs.content.store.rooms[main].writer is None
    assert stored(jobs) == {}


def test_what_nobody_foresaw_is_told_by_an_id_only(jobs, caplog):
    row = make(jobs)
    with caplog.at_level(logging.ERROR, "gnj.content"), pytest.raises(Failed, match=r"^Internal error [0-9a-f]{8}$"):
        run(jobs, lambda _: dict[str, int]()["secret"])
    ((_, told),) = log(jobs, row)
    assert "secret" not in told
    assert told.removeprefix("Internal error ") in caplog.text
    assert "KeyError: 'secret'" in caplog.text


def test_a_task_gives_way_to_another_writer_until_that_is_over(jobs, main):
    other = make(jobs)
    writer = Holder(other.id, other.task_ids[0], 1)
    jobs.content.store.open("acme", main, writer)
    first = claim(jobs)
    make(jobs)
    job = claim(jobs)

    def work(task):
        task.open(main)
        task.content.store.publish(task.tenant, main, task.holder)
        return "done"

    with pytest.raises(Snooze) as asked:
        run(jobs, work, job=job)
    assert asked.value.delay == 1
    assert jobs.content.store.rooms[main].writer == writer
    jobs.queue.settle([Outcome(first, JobStatus.FAILED, {"error": "x"})])
    assert run(jobs, work, job=again(jobs, job)) == "done"


def test_a_job_that_is_none_of_a_content_jobs_tasks_is_refused(jobs):
    row = make(jobs)
    claim(jobs)
    real = jobs.get(row.task_ids[0])
    (forged,) = jobs.queue.storage.insert(
        Job, [{"type": ENTRIES, "tenant": "acme", "pipeline_id": real.pipeline_id, "status": JobStatus.QUEUED}]
    )
    with pytest.raises(Failed):
        run(jobs, lambda _: pytest.fail("it was run"), job=forged)


def test_a_try_that_was_lost_writes_nothing_any_more(jobs, main):
    row = make(jobs)
    job = claim(jobs)

    def zombie(task):
        task.open(main)
        later = again(jobs, job)
        jobs.content.store.open("acme", main, Holder(row.id, later.id, later.attempt))
        task.log.error("never seen")
        with pytest.raises(Stale):
            put(task, "a", main)
        with pytest.raises(LeaseLost):
            task.checkpoint("x", done=1, total=1, force=True)
        raise Stale

    with pytest.raises(LeaseLost):
        run(jobs, zombie, job=job)
    assert log(jobs, row) == []
    assert jobs.content.store.rooms[main].writer.fence == 2


def test_a_lost_lease_ends_a_try_that_has_not_noticed(jobs):
    make(jobs)
    ctx = SimpleNamespace(cancel_requested=True, lease_lost=True)
    with pytest.raises(LeaseLost):
        run(jobs, lambda _: pytest.fail("it was run"), ctx=ctx)


def test_a_cancelled_task_leaves_nothing_but_its_log(jobs, main):
    row = make(jobs)

    def work(task):
        task.open(main)
        put(task, "a", main)
        jobs.queue.delete_content_job("acme", row.id, {"id": "u2"})
        task.log.info("on the way")
        task.checkpoint("x", done=1, total=1, force=True)

    with pytest.raises(CancelRequested):
        run(jobs, work)
    assert jobs.content.store.rooms[main].writer is None
    assert log(jobs, row) == [("INFORMATION", "on the way")]
    assert now(jobs, row).status is ContentStatus.DELETED


def test_what_the_worker_has_learnt_is_looked_up_at_once(jobs):
    row = make(jobs)
    ctx = SimpleNamespace(cancel_requested=False, lease_lost=False)

    def work(task):
        jobs.queue.delete_content_job("acme", row.id, {"id": "u2"})
        task.checkpoint("x", done=1, total=1)  # too early, and nobody knows
        ctx.cancel_requested = True
        task.checkpoint("y", done=1, total=1)

    with pytest.raises(CancelRequested):
        run(jobs, work, ctx=ctx)


def test_a_worker_that_ends_stops_a_task_between_two_steps(jobs):
    make(jobs)
    job, ending = claim(jobs), []

    def work(task):
        if task.cursor is None:
            ending.append(True)
            task.checkpoint("half", done=1, total=2)
            pytest.fail("it went on")
        return task.cursor

    with pytest.raises(Snooze) as asked:
        run(jobs, work, job=job, stopping=lambda: bool(ending))
    assert asked.value.delay == 0
    assert run(jobs, work, job=again(jobs, job)) == "half"


def test_a_storage_that_cannot_be_reached_fails_no_task(jobs, monkeypatch):
    row = make(jobs)

    def work(_):
        raise StorageUnavailable

    with pytest.raises(Snooze) as asked:
        run(jobs, work)
    assert asked.value.delay == 2
    assert [level for level, _ in log(jobs, row)] == ["WARNING"]
    monkeypatch.setattr(jobs.content.queue, "content_task", work)
    make(jobs)
    with pytest.raises(Snooze):
        run(jobs, work)


def raising(error):
    raise error


def away(*_args, **_options):
    raise StorageUnavailable("away")


def test_a_storage_that_stays_away_fails_a_task_in_the_end(jobs):
    row = make(jobs)
    job = claim(jobs)
    waited = []
    for _ in range(20):
        with pytest.raises(Snooze) as asked:
            run(jobs, away, job=job)
        waited.append(asked.value.delay)
        job = again(jobs, job)
    assert waited == [2, 4, 8, 16, 32] + [60] * 15
    with pytest.raises(Failed, match=r"^away$"):
        run(jobs, away, job=job)
    assert log(jobs, row) == [("WARNING", "it is tried again: away"), ("ERROR", "away")]


@pytest.mark.parametrize("how", [{"cursor": 2, "done": 0}, {"cursor": 1, "done": 2}])
def test_a_task_that_comes_further_between_outages_does_not_fail(jobs, how):
    make(jobs)
    job = claim(jobs)

    def work(task):
        task.checkpoint(1, done=1, total=9)
        if len(waited) == 2:
            task.checkpoint(how["cursor"], done=how["done"], total=9)
        away()

    waited = []
    for _ in range(4):
        with pytest.raises(Snooze) as asked:
            run(jobs, work, job=job)
        waited.append(asked.value.delay)
        job = again(jobs, job)
    assert waited[:3] == [2, 4, 2]


def test_an_outage_notes_what_was_reached_and_nothing_that_is_done_again(jobs, monkeypatch):
    row = make(jobs)
    job = claim(jobs)

    def work(task):
        if task.cursor is None:
            task.log.info("one")
            task.checkpoint("one", done=1, total=3)
        task.log.info("two")
        if len(tries) < 3:
            away()
        return task.cursor

    tries = []
    for _ in range(2):
        tries.append(1)
        with pytest.raises(Snooze):
            run(jobs, work, job=job)
        job = again(jobs, job)
    tries.append(1)
    assert run(jobs, work, job=job) == "one"
    assert [message for _, message in log(jobs, row)] == ["one", "it is tried again: away", "two"]


def test_changes_that_were_not_stored_are_not_passed_over(jobs, monkeypatch):
    row = make(jobs)
    job = claim(jobs)
    real, calls = jobs.queue.checkpoint, []

    def checkpoint(*args, changes=None, **options):
        if changes:
            calls.append(changes)
            if len(calls) == 1:
                away()
        return real(*args, changes=changes, **options)

    monkeypatch.setattr(jobs.queue, "checkpoint", checkpoint)

    def work(task):
        if task.cursor is None:
            task.checkpoint("told", done=1, total=1, changes={"result": {"n": 1}})
        return "done"

    with pytest.raises(Snooze):
        run(jobs, work, job=job)
    assert run(jobs, work, job=again(jobs, job)) == "done"
    assert now(jobs, row).result == {"n": 1}


def test_a_database_that_is_away_is_not_counted(jobs, monkeypatch):
    make(jobs)
    job = claim(jobs)
    for _ in range(25):
        with monkeypatch.context() as patch:
            patch.setattr(jobs.queue, "checkpoint", away)
            with pytest.raises(Snooze) as asked:
                run(jobs, away, job=job)
        assert asked.value.delay == 2
        job = again(jobs, job)


def test_who_waits_for_another_job_says_so_once(jobs, main):
    other = make(jobs)
    jobs.content.store.open("acme", main, Holder(other.id, other.task_ids[0], 1))
    claim(jobs)
    row = make(jobs)
    job = claim(jobs)
    for _ in range(3):
        with pytest.raises(Snooze):
            run(jobs, lambda task: task.open(main), job=job)
        job = again(jobs, job)
    assert log(jobs, row) == [("INFORMATION", f"it waits for the job {other.id}, which changes the same environment")]


def test_who_waits_for_long_looks_less_often(jobs, main):
    def waited(job, times):
        seconds = []
        for _ in range(times):
            with pytest.raises(Snooze) as asked:
                run(jobs, lambda task: task.open(main), job=job)
            seconds.append(asked.value.delay)
            job = again(jobs, job)
        return job, seconds

    first, second = make(jobs), make(jobs)
    jobs.content.store.open("acme", main, Holder(first.id, first.task_ids[0], 1))
    claim(jobs), claim(jobs)
    make(jobs)
    job, seconds = waited(claim(jobs), 40)
    assert seconds[:3] == pytest.approx([1.0, 1.1, 1.21])
    assert seconds == sorted(seconds)
    assert seconds[-1] == 30.0
    jobs.content.store.publish("acme", main, Holder(first.id, first.task_ids[0], 1))
    jobs.content.store.open("acme", main, Holder(second.id, second.task_ids[0], 1))
    _, seconds = waited(job, 2)
    assert seconds == pytest.approx([1.0, 1.1])


def breaks(jobs, main, error):
    """Work that writes two entries and notes that, and fails the first time; the cursor is how many were written."""

    def work(task):
        task.open(main)
        for at in range(task.cursor or 0, 4):
            if at == 2 and error:
                raise error.pop()
            put(task, f"e{at}", main)
            task.checkpoint(at + 1, done=at + 1, total=4, force=True)
        return Written(environments=[main], output={"n": 4})

    return work


def test_a_failure_that_could_not_be_stored_has_taken_nothing_back(jobs, main, monkeypatch):
    make(jobs)
    job = claim(jobs)
    work = breaks(jobs, main, [OSError("once")])
    real = jobs.queue.checkpoint

    def checkpoint(claim, progress, *args, **options):
        if "end" in progress:
            away()
        return real(claim, progress, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(jobs.queue, "checkpoint", checkpoint)
        with pytest.raises(Snooze):
            run(jobs, work, job=job)
    assert run(jobs, work, job=again(jobs, job)) == {"n": 4}
    assert sorted(stored(jobs)) == ["e0", "e1", "e2", "e3"]


def test_one_that_was_killed_before_it_took_back_does_so_later(jobs, main, monkeypatch):
    make(jobs)
    job = claim(jobs)
    work = breaks(jobs, main, [Failed("no")])

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(jobs.content.store, "abandon", kill)
        with pytest.raises(Killed):
            run(jobs, work, job=job)
    assert jobs.content.store.rooms[main].writer is not None
    with pytest.raises(Failed, match=r"^no$"):
        run(jobs, work, job=again(jobs, job))
    assert jobs.content.store.rooms[main].writer is None
    assert stored(jobs) == {}


@pytest.fixture
def stage(jobs):
    made = jobs.content.store.reserve("acme", "stage", "Stage", 5)
    jobs.content.store.publish("acme", made, Holder(5, 1, 1))
    return made


def writes(main, stage, failed=None):
    """Work that writes to two environments."""

    def work(task):
        for id, room in (("a", main), ("b", stage)):
            task.open(room)
            put(task, id, room)
        return Written(environments=[main, stage], output={"n": 2}, told="2 were written", failed=failed)

    return work


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_what_was_written_is_published_once_wherever_a_try_is_killed(jobs, main, stage, monkeypatch, after, removed):
    row = make(jobs)
    job = claim(jobs)
    store, calls = jobs.content.store, []
    versions = {each: store.rooms[each].environment.version for each in (main, stage)}
    real = store.publish

    def publish(*args, **also):
        calls.append(args)
        assert now(jobs, row).result == {"n": 2, "environments": [main, stage]}  # whoever indexes knows of it
        if after:
            real(*args, **also)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(store, "publish", publish)
        with pytest.raises(Killed):
            run(jobs, writes(main, stage), job=job)
    assert len(calls) == 1
    if removed:
        versions[stage] = store.rooms[stage].environment.version + after
        jobs.content.store.step("acme", Holder(0, 0, 0), DropEnvironment(environment_id=stage), None)
        if not after:
            with pytest.raises(Failed, match=r"removed|no environment"):
                run(jobs, lambda _: pytest.fail("again"), job=again(jobs, job))
            assert stored(jobs) == {}
            return
    # whoever has begun to write to what is published already is not waited for, and what he publishes is the last
    other = Holder(77, 77, 1)
    for each in (main, stage)[: 0 if not after else 1 if removed else 2]:
        store.open("acme", each, other)
    assert run(jobs, lambda _: pytest.fail("again"), job=again(jobs, job)) == {"n": 2}
    assert list(stored(jobs)) == ["a"]
    if not removed:
        assert list(stored(jobs, environment="stage")) == ["b"]
        assert store.rooms[stage].environment.version == versions[stage] + 1
    assert store.rooms[main].environment.version == versions[main] + 1
    assert log(jobs, row) == [("INFORMATION", "2 were written")]


def test_what_cannot_be_published_any_more_fails_and_says_so(jobs, main, stage, monkeypatch):
    row = make(jobs)
    store = jobs.content.store
    real = store.publish

    def publish(*args, **also):
        store.rooms[stage].writer = Holder(99, 99, 1)
        real(*args, **also)

    monkeypatch.setattr(store, "publish", publish)
    with pytest.raises(Failed, match="somebody else"):
        run(jobs, writes(main, stage))
    assert now(jobs, row).result["environments"] == [main, stage]
    assert store.rooms[main].writer is None
    assert stored(jobs) == {}  # all of it or nothing


def test_a_task_may_fail_though_what_it_wrote_is_published(jobs, main, stage, monkeypatch):
    row = make(jobs)
    job = claim(jobs)
    with monkeypatch.context() as patch:
        patch.setattr(jobs.content.store, "publish", away)
        with pytest.raises(Snooze):
            run(jobs, writes(main, stage, "half of it"), job=job)
    with pytest.raises(Failed, match=r"^half of it$"):
        run(jobs, lambda _: pytest.fail("again"), job=again(jobs, job))
    assert list(stored(jobs)) == ["a"]
    assert [level for level, _ in log(jobs, row)] == ["WARNING", "INFORMATION", "ERROR"]


def test_a_job_that_was_deleted_meanwhile_publishes_nothing(jobs, main, stage):
    row = make(jobs)

    def work(task):
        written = writes(main, stage)(task)
        jobs.queue.delete_content_job("acme", row.id, {"id": "u2"})
        return written

    with pytest.raises(CancelRequested):
        run(jobs, work)
    assert stored(jobs) == {}
    assert [jobs.content.store.rooms[each].writer for each in (main, stage)] == [None, None]


def test_a_made_environment_is_finished_though_others_write_to_it_already(jobs, monkeypatch):
    store = jobs.content.store
    new = store.reserve("acme", "new", "New", None)
    row = make(jobs, params={"environment": new})
    job = claim(jobs)
    store.own("acme", new, row.id)
    real = store.publish

    def kill(*args):
        real(*args)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(store, "publish", kill)
        with pytest.raises(Killed):
            run(jobs, finish_environment, job=job)
    store.open("acme", new, Holder(77, 77, 1))
    assert run(jobs, finish_environment, job=again(jobs, job)) == {"indexed": 0}
    assert store.rooms[new].writer is not None


@pytest.mark.parametrize("published", [False, True])
def test_what_cannot_be_made_is_dropped_at_once_unless_it_can_be_seen(jobs, published):
    store = jobs.content.store
    new = store.reserve("acme", "new", "New", None)
    row = make(jobs, ContentType.CREATE_ENVIRONMENT, params={"base": "gone", "environment": new})
    store.own("acme", new, row.id)
    job = jobs.queue.acquire([TaskType.CLONE_DATABASE_DATA.job_type])
    if published:
        store.publish("acme", new, Holder(row.id, 1, 1))
    with pytest.raises(Failed, match="no base"):
        run(jobs, lambda _: raising(NotFound("no base")), job=job)
    assert (new in store.rooms) is published
    if not published:  # its alias is free
        store.reserve("acme", "new", "New", None)


def test_a_task_that_was_done_when_its_worker_was_killed_is_not_done_again(jobs):
    row = make(jobs)
    job = claim(jobs)

    def work(task):
        task.log.info("done")
        return {"count": 3}

    assert run(jobs, work, job=job) == {"count": 3}
    assert run(jobs, lambda _: pytest.fail("again"), job=again(jobs, job)) == {"count": 3}
    assert log(jobs, row) == [("INFORMATION", "done")]


def test_nor_is_one_that_had_failed(jobs):
    row = make(jobs)
    job = claim(jobs)

    def work(_):
        raise Failed("no")

    for each in (lambda: job, lambda: again(jobs, job)):
        with pytest.raises(Failed, match=r"^no$"):
            run(jobs, work, job=each())
    assert log(jobs, row) == [("ERROR", "no")]


class Steps:
    """A store that does operations in three steps, and notes where each began."""

    def __init__(self):
        self.begun = []

    def step(self, tenant, holder, operation, cursor):
        self.begun.append((operation.environment_id, cursor))
        at = cursor or 0
        return Step(cursor=at + 1, done=10, total=30, over=at == 2, notes=[Line("WARNING", f"step {at}")])


@pytest.mark.parametrize("deadly", range(1, 9))
def test_operations_go_on_where_a_killed_try_noted_it(jobs, monkeypatch, deadly):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    row = make(jobs, ContentType.IMPORT_ENTRIES)
    job, store = claim(jobs), Steps()
    content: Any = SimpleNamespace(queue=jobs.queue, store=store, limits=jobs.content.limits)
    checkpoints = []
    real = Task.checkpoint

    def checkpoint(self, *args, **options):
        checkpoints.append(args)
        if len(checkpoints) == deadly:
            raise Killed
        real(self, *args, **options)

    monkeypatch.setattr(Task, "checkpoint", checkpoint)

    def work(task):
        return [task.run(Delete(environment_id=name), at) for at, name in enumerate(("x", "y"))]

    handle = handled(content, work)
    if deadly <= 7:
        with pytest.raises(Killed):
            handle(job, CALM)
        job = again(jobs, job)
    assert handle(job, CALM) == [30, 30]
    # at most the step whose checkpoint was lost was done twice
    assert list(dict.fromkeys(store.begun)) == [(name, at) for name in "xy" for at in (None, 1, 2)]
    assert len(store.begun) <= 7
    assert [message for _, message in log(jobs, row)] == [f"step {at}" for _ in "xy" for at in range(3)]


WHOLE = {"site_id": "s1", "model": None, "filter": None, "kinds": ["DELETE_ENTRIES"]}
FILTER = '{"system": {"Id": {"Eq": "a"}}}'


@pytest.mark.parametrize(
    "type, params, says",
    [
        *(
            (ContentType.DELETE_CONTENT, {k: v for k, v in WHOLE.items() if k != name}, name)
            for name in ("site_id", "model", "kinds")
        ),
        *(
            (ContentType.DELETE_FILTERED_CONTENT, {k: v for k, v in WHOLE.items() if k != name}, name)
            for name in ("site_id", "model", "filter", "kinds")
        ),
        (ContentType.DELETE_CONTENT, {**WHOLE, "kinds": []}, "kinds"),
        (ContentType.DELETE_CONTENT, {**WHOLE, "kinds": None}, "kinds"),
        (ContentType.DELETE_CONTENT, {**WHOLE, "site_id": None}, "neither a site nor a filter"),
        (ContentType.DELETE_CONTENT, {**WHOLE, "site_id": None, "filter": FILTER}, "neither a site nor a filter"),
        (ContentType.DELETE_FILTERED_CONTENT, WHOLE, "a filter without conditions deletes nothing"),
        (ContentType.DELETE_FIELD, {"model": "article", "field": "title"}, "site_id"),
        (ContentType.DELETE_FIELD, {"site_id": "s1", "model": "article"}, "field"),
    ],
)
def test_a_delete_whose_params_lack_something_deletes_nothing(jobs, type, params, says):
    row = make(jobs, type, params=params)
    (task,) = work(jobs, [TaskType.DELETE_CONTENT.job_type])
    assert task.status is JobStatus.FAILED
    assert says in task.output["error"]
    assert now(jobs, row).status is ContentStatus.FAILED
    assert jobs.content.store.steps == []
