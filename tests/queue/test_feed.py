"""Changes of this process: every one is told, once it is committed, whatever command made it."""

from __future__ import annotations

import inspect
import logging
import os
import threading
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from gnj.queue.clock import NOW
from gnj.queue.ends import Outcome
from gnj.queue.errors import Conflict, IllegalTransition, InvalidInput
from gnj.queue.feed import Change, Feed
from gnj.queue.limits import LimitValues
from gnj.queue.model import Batch, Hold, Job, Monitoring, NewJob, Pipeline, Schedule, Step, Upload
from gnj.queue.model_content import ContentType
from gnj.queue.pushing import checked
from gnj.queue.recorder import Recorder
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows, Select
from gnj.queue.working import INFORMATION, Line
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from gnj.testing.machine import StorageMachine, storage_machine
from tests import databases

everywhere = pytest.mark.usefixtures("everywhere")
UNSEEN = {"lease_expires_at": None, "due_at": None}
"""What changes without anybody being told: a lease that is renewed, a due job that becomes ready."""


class Mirror:
    """What somebody knows who hears of changes only."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.told: list[tuple[str, str, Any]] = []

    def put(self, changes):
        assert changes, "told of nothing"
        for change in changes:
            if isinstance(change.value, Job):
                assert change.tenant == change.value.tenant
                assert (change.topic == "created") == (change.value.id not in self.jobs)
                self.jobs[change.value.id] = change.value
            else:
                self.told.append((change.topic, change.tenant, change.value))

    def agrees(self, rows):
        """Whether it knows of all jobs what they are; what was removed for good is not told."""
        for job in rows:
            assert self.jobs[job.id].evolve(**UNSEEN) == job.evolve(**UNSEEN)


@pytest.fixture
def mirror(queue):
    mirror = Mirror()
    with queue.feed.follow(mirror.put):
        yield mirror
    queue.feed.close()


@pytest.fixture
def seen(queue):
    """The topics and ids of what was told since the last call."""
    told: list[Change] = []

    def seen():
        result = [(change.topic, change.value.id) for change in told if isinstance(change.value, Job)]
        told.clear()
        return result

    with queue.feed.follow(told.extend):
        yield seen
    queue.feed.close()


# Every command -------------------------------------------------------------------------------------------------------


READS = {"get", "select", "count", "types", "list", "next_ticks", "tick_of", "shared_secret"}
READS |= {"find_one", "errors_of", "page", "queues", "summary", "settings_of", "figures", "recent", "is_paused"}
READS |= {"upload", "expired_uploads", "content_job", "content_jobs", "content_tasks"}
READS |= {"content_logs", "content_task", "content_over", "unfinished_content_jobs", "unwanted_files", "is_file_read"}
READS |= {"is_upload_open"}
READS |= {"limits_of", "is_limited", "registrations", "standing", "logs", "claim_token", "by_claim_token"}
WAYS = {"run", "within", "inside", "joined", "lease_of", "listening", "transaction", "again", "alone", "unheard"}
WAYS |= {"look_ahead", "keep_up"}
"""How commands are run."""


def enqueue(queue, **options) -> Job:
    job: Job = queue.enqueue(NewJob("a", **options))
    return job


def claimed(queue, **options) -> Any:
    """The first of what waits, which is none but the one enqueued here."""
    new = queue.enqueue(NewJob("c", **options))
    job = queue.acquire(["c"], worker_id="w")
    assert job.id == new.id
    return job


def failed(queue) -> Any:
    return queue.fail(claimed(queue, recoverable=True), "no")


def added(queue, **more) -> Any:
    ((job, _),) = queue.add("mail", [{"name": "n", "data": 1, **more}], tenant="t")
    return job


REGISTRATION = {"queue": "mail", "endpoint": {"url": "https://x.example", "method": "POST"}}


def registered(queue) -> Any:
    return queue.register(REGISTRATION, tenant="t")


def content(queue) -> Any:
    return queue.create_content_job("t", name="n", type=ContentType.EXPORT_ENTRIES, params={}, by=None)


def content_task(queue) -> Any:
    task = content(queue).task_ids[0]
    while (claim := queue.acquire(["gnj:content.process_entries"])).id != task:
        queue.succeed(claim)
    return claim


def upload(queue) -> Any:
    id = f"u{queue.count(Upload)}"
    given = {"key": id, "name": "n", "size": 1, "parts": 1, "backend": "", "seconds": 60.0, "by": None}
    return queue.create_upload("t", upload_id=id, **given)


def schedule(queue) -> Any:
    number = queue.count(Schedule)
    return queue.create_schedule({"name": f"n{number}", "cron": "0 3 * * *", "job": {"type": "recurring"}}, tenant="t")


def batch_in_pipeline(queue):
    return queue.add_pipeline("p", [[NewJob("a"), NewJob("a")], NewJob("a")], start=False)


def lost(queue, clock):
    claimed(queue)
    clock.tick(61)
    queue.reap(force=True)
    return [queue.cancel(job.id) for job in queue.list(Job, type="c", status="queued")]


WORKER = {"worker_id": "w", "worker_type": "mail", "worker_status": "AVAILABLE"}
WIRE = {"workerId": "w", "workerType": "mail", "workerStatus": "AVAILABLE"}
ENDS = (JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.CANCELLED)
COMMANDS: dict[str, Any] = {
    "enqueue": lambda q, _: enqueue(q),
    "enqueue_many": lambda q, _: q.enqueue_many([NewJob("a", lifo=True), NewJob("a", tenant="t")]),
    "enqueue_each": lambda q, _: q.enqueue_each([NewJob("a"), NewJob("a", lifo=True), NewJob("a", unique_id="each")]),
    "create_jobs": lambda q, _: q.create_jobs([{"type": "a", "status": "successful"}, {"type": "a"}], tenant="t"),
    "create_later": lambda q, _: q.create_later({"type": "a"}, tenant="t").result(),
    "acquire": lambda q, _: claimed(q, max_attempts=3),
    "acquire_later": lambda q, _: [enqueue(q), q.acquire_later(["a"], worker_id="w").result()],
    "update_later": lambda q, _: q.update_later(claimed(q).id, {"status": "successful"}).result(),
    "heartbeat": lambda q, _: q.heartbeat(claimed(q)),
    "heartbeats": lambda q, _: q.heartbeats([(job.id, job.attempt) for job in [claimed(q)]]),
    "progress": lambda q, _: q.progress(claimed(q), {"percent": 1}),
    "succeed": lambda q, _: q.succeed(claimed(q), 1),
    "fail": lambda q, _: failed(q),
    "cancelled": lambda q, _: q.cancelled(claimed(q), "bye"),
    "settle": lambda q, _: q.settle([Outcome(claimed(q), status) for status in ENDS]),
    "finish": lambda q, _: q.finish([Outcome(claimed(q), status) for status in ENDS]),
    "give_back": lambda q, _: [q.give_back([job := claimed(q)]), q.cancel(job.id)],
    "snooze": lambda q, _: q.snooze((job := claimed(q)).id, job.attempt, 500_000.0),
    "release": lambda q, _: [q.cancel(job.id) for job in q.release([claimed(q), claimed(q)])],
    "reap": lost,
    "update_job": lambda q, _: q.update_job(enqueue(q).id, {"name": "x"}),
    "cancel": lambda q, _: q.cancel(claimed(q).id),
    "recover": lambda q, _: q.cancel(q.recover(failed(q).id).id),
    "retry": lambda q, _: q.cancel(q.retry(failed(q).id).id),
    "recover_oldest": lambda q, _: failed(q) and q.cancel(q.recover_oldest(["c"]).id),
    "retry_oldest": lambda q, _: failed(q) and q.cancel(q.retry_oldest(["c"]).id),
    "delete": lambda q, _: (
        q.delete(Job, enqueue(q).id),
        q.delete(Pipeline, batch_in_pipeline(q).id),
        q.delete(Batch, q.add_batch([NewJob("a")] * 3, start=False).id),
    ),
    "prune": lambda q, clock: (q.delete(Job, enqueue(q).id), clock.tick(90_000), q.prune(retention=None)),
    "hold": lambda q, _: q.hold("a"),
    "release_hold": lambda q, _: q.hold("a") and q.release_hold("a"),
    "toggle_hold": lambda q, _: q.toggle_hold("a"),
    "add_batch": lambda q, _: q.add_batch([NewJob("a")] * 3),
    "add_pipeline": lambda q, _: q.add_pipeline("p", [NewJob("a"), [NewJob("a")]]),
    "start_pipeline": lambda q, _: q.start_pipeline(batch_in_pipeline(q).id),
    "create": lambda q, _: (
        q.create(Hold, {"type": "b"}),
        q.create(Batch, {}),
        q.create(
            Step,
            {"pipeline_id": q.create(Pipeline, {"name": "p"}).id, "job_id": enqueue(q).id, "index": 1},
        ),
    ),
    "update": lambda q, _: q.update(Pipeline, batch_in_pipeline(q).id, {"status": "processing"}),
    "ping": lambda q, _: q.ping(tenant="t"),
    "pong": lambda q, _: q.pong([WORKER], tenant="t"),
    "monitor": lambda q, _: q.monitor([WORKER], tenant="t"),
    "add": lambda q, _: added(q, opts={"jobId": "x"}),
    "add_later": lambda q, _: q.add_later("mail", [{"name": "n", "data": 1}], tenant="t").result(),
    "requeue": lambda q, _: q.cancel(q.requeue("c", str(failed(q).id), tenant="").id),
    "promote": lambda q, _: q.promote("mail", str(added(q, opts={"delay": 60_000}).id), tenant="t"),
    "set_data": lambda q, _: q.set_data("mail", str(added(q).id), 2, tenant="t"),
    "remove_job": lambda q, _: q.remove_job("mail", str(added(q).id), tenant="t"),
    "drain": lambda q, _: added(q) and q.drain("mail", tenant="t").removed > 0,
    "clean": lambda q, _: added(q) and q.clean("mail", "waiting", 0, 10, tenant="t").removed > 0,
    "start_bulk": lambda q, _: q.start_bulk("mail", "remove", {"statuses": ["waiting"]}, tenant="t"),
    "set_progress": lambda q, _: q.set_progress(claimed(q), 50),
    "add_log": lambda q, _: q.add_log(claimed(q), "line"),
    "set_limits": lambda q, _: q.set_limits("mail", LimitValues(concurrency=1), tenant="t"),
    "note_kept": lambda q, _: q.note_kept("mail", [{"removeOnComplete": 5}], tenant="t"),
    "register": lambda q, _: registered(q),
    "store_registration": lambda q, _: q.store_registration(*checked(REGISTRATION), tenant="t"),
    "take_holds": lambda q, _: q.take_holds([registered(q).id], "me", 5.0),
    "let_go": lambda q, _: q.let_go("me"),
    "note_failures": lambda q, _: q.note_failures((worker := registered(q)).id, worker.version, 1),
    "create_schedule": lambda q, _: schedule(q),
    "update_schedule": lambda q, _: q.update_schedule(schedule(q).id, {"cron": "0 4 * * *"}),
    "pause_schedule": lambda q, _: q.pause_schedule(schedule(q).id),
    "run_schedule": lambda q, _: q.cancel(q.run_schedule(schedule(q).id).id),
    "delete_schedule": lambda q, _: q.delete_schedule(schedule(q).id),
    "declare": lambda q, _: q.declare(),
    "create_content_job": lambda q, _: content(q),
    "checkpoint": lambda q, _: q.checkpoint(content_task(q), {"n": 1}, [Line(INFORMATION, "one")]),
    "delete_content_job": lambda q, _: q.delete_content_job("t", content(q).id, None),
    "create_upload": lambda q, _: upload(q),
    "complete_upload": lambda q, _: q.complete_upload("t", upload(q).upload_id),
    "drop_upload": lambda q, _: q.drop_upload(upload(q).id),
    "tick": lambda q, clock: (schedule(q), clock.tick(90_000), q.tick(force=True) > 0)[-1],
    "unregister": lambda q, _: q.unregister("mail", tenant="t"),
}


def test_every_command_is_tried():
    public = {name for name, _ in inspect.getmembers(Queue) if not name.startswith("_")}
    assert public == set(COMMANDS) | READS | WAYS


@everywhere
def test_every_command_is_told(queue, mirror, storage, clock):
    """Whoever hears of all changes knows of every job what it is."""
    for name, command in COMMANDS.items():
        assert command(queue, clock) is not False, name
        mirror.agrees(storage.find(Job, Select(deleted=True)))
    assert [told for told in mirror.told if told[0] not in ("queue", "content")] == [
        ("pinged", "t", None),
        ("ponged", "t", [WIRE]),
        ("monitored", "t", [WIRE]),
    ]
    assert {(topic, tenant) for topic, tenant, _ in mirror.told if topic == "content"} == {("content", "t")}
    of_queues = [(tenant, told["event"], told["queue"]) for topic, tenant, told in mirror.told if topic == "queue"]
    assert {("", "paused", "a"), ("", "resumed", "a"), ("t", "drained", "mail"), ("t", "cleaned", "mail")} <= {
        *of_queues
    }


def test_every_way_to_write_is_recorded():
    """What is new in the protocol is either recorded or changes nothing that anybody sees."""
    unseen = {"now", "get", "find", "count", "exists", "tally", "lost", "listens", "signal"}  # reads
    unseen |= {"columns", "lane", "lane_size", "keys", "tenants", "named", "due", "ended", "tally_ended", "permits"}
    unseen |= {"insert", "rewrite", "renew", "promote", "prune", "trim"}
    unseen |= {"savepoint"}  # around a unit, not in one
    recorded = {name for name in vars(Recorder) if not name.startswith("_")} - {"changes"}
    assert {name for name in vars(Rows) if not name.startswith("_")} == unseen | recorded


class FollowedMachine(StorageMachine):
    """Random commands: whoever hears of the changes knows the table."""

    def __init__(self) -> None:
        super().__init__()
        self.following = ExitStack()
        self.mirrors = [(side, Mirror()) for side in (self.model, self.other)]
        for side, mirror in self.mirrors:
            self.following.enter_context(side.queue.feed.follow(mirror.put))

    def teardown(self) -> None:
        for side, _ in self.mirrors:
            side.queue.feed.close()
        self.following.close()
        super().teardown()

    @invariant()
    def changes_tell_the_table(self) -> None:
        for side, mirror in self.mirrors:
            mirror.agrees(side.queue.storage.find(Job, Select(deleted=True)))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("where", ["memory", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_random_commands_are_told(where, tmp_path):
    if where == "sqlite":
        made = iter(range(1_000))

        def make(clock):
            storage = SqlStorage(databases.sqlite_database(tmp_path, f"gnj{next(made)}"), clock=clock)
            storage.migrate()
            return storage
    else:
        make = MemoryStorage
    machine = storage_machine(make, MemoryStorage)
    machine = type(
        "Followed", (FollowedMachine,), {n: staticmethod(getattr(machine, n)) for n in ("make_storage", "make_model")}
    )
    found = settings(
        max_examples=20,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(machine, settings=found)


# What is told --------------------------------------------------------------------------------------------------------


@everywhere
def test_one_unit_tells_of_a_job_once(queue, seen):
    """With the last it became, however often it was written."""
    claim = claimed(queue)
    assert seen() == [("created", claim.id), ("updated", claim.id)]
    pipeline = queue.add_pipeline("p", [NewJob("a")])
    (job,) = queue.list(Job, pipeline_id=pipeline.id)
    assert (job.status, seen()) == ("queued", [("created", job.id)])  # it was planned at first
    queue.delete(Job, job.id)
    assert seen() == [("deleted", job.id)]
    old = failed(queue)
    seen()
    new = queue.retry(old.id)
    assert seen() == [("updated", old.id), ("created", new.id)]


def test_a_job_made_and_deleted_in_one_unit_is_told_of_as_both(queue, seen):
    def command(unit):
        ((job, _),) = unit.tx.insert_jobs([{"type": "a"}])
        unit.tx.edit(Job, [job.id], {"deleted_at": NOW})
        return job.id

    id = queue.run(command)
    assert seen() == [("created", id), ("deleted", id)]


@everywhere
def test_what_is_no_change(queue, seen):
    """A job that was there already, a lease that is renewed, a refusal, a look."""
    claim = claimed(queue, unique_id="u")
    seen()
    enqueue(queue, unique_id="u")
    queue.heartbeat(claim)
    queue.update_job(claim.id, {"name": None})
    queue.hold("b")
    queue.list(Job)
    with pytest.raises(IllegalTransition):
        queue.recover(claim.id)
    assert seen() == []


@everywhere
def test_members_that_move_together_are_told_of_one_by_one(queue, seen):
    """`move_all` does not say which."""
    pipeline = queue.add_pipeline("p", [[NewJob("a"), NewJob("a")]], start=False)
    other = queue.add_batch([NewJob("a"), NewJob("a")], start=False)
    ids = [job.id for job in queue.list(Job, pipeline_id=None, status="planned") if job.batch_id != other.id]
    seen()
    queue.start_pipeline(pipeline.id)
    assert seen() == [("updated", id) for id in ids]
    gone = [job.id for job in queue.list(Job, batch_id=other.id)]
    queue.delete(Batch, other.id)
    assert seen() == [("deleted", id) for id in gone]


@everywhere
def test_tenants_are_told_apart(queue):
    told: list[Change] = []
    with queue.feed.follow(told.extend):
        queue.enqueue_many([NewJob("a", tenant=tenant) for tenant in ("", "t", "u", "t")])
        queue.ping(tenant="t")
    queue.feed.close()
    assert [change.tenant for change in told] == ["", "t", "t", "u", "t"]


def test_hooks_jobs_are_changes_as_well(queue, seen):
    queue.hooks.add_durable("later", ["created"])
    job = enqueue(queue)
    assert seen() == [("created", job.id), ("created", job.id + 1)]


@everywhere
def test_what_is_rolled_back_is_not_told(queue, seen):
    def command(unit):
        unit.tx.insert_jobs([{"type": "a"}])
        unit.say("pinged", "")
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        queue.run(command)
    assert seen() == []


def test_a_conflict_that_is_tried_again_is_told_once(queue, seen):
    tries = []

    def command(unit):
        ((job, _),) = unit.tx.insert_jobs([{"type": "a"}])
        tries.append(job.id)
        if len(tries) < 3:
            raise Conflict

    queue.run(command)
    assert seen() == [("created", tries[-1])]


@everywhere
def test_in_a_transaction_of_the_callers_it_is_told_after_the_commit(queue, storage, seen):
    with storage.begin() as rows:
        inner, committed = queue.within(rows)
        job = inner.enqueue(NewJob("a"))
        inner.cancel(job.id)
        assert seen() == []
    assert seen() == []
    committed()
    assert seen() == [("created", job.id), ("updated", job.id)]


def test_workers_who_tell_nonsense_are_refused(queue, seen):
    incomplete: list[Any] = [[{}]]
    for command, more in ((queue.pong, []), (queue.monitor, incomplete)):
        wrong: list[Any] = [*more, [{**WORKER, "worker_id": 1}], [WORKER] * 1_001]
        for infos in wrong:
            with pytest.raises(InvalidInput):
                command(infos)
    with pytest.raises(InvalidInput):
        queue.ping(tenant=None)
    assert (seen(), queue.count(Monitoring)) == ([], 0)


# Who is told ---------------------------------------------------------------------------------------------------------


def test_nobody_follows_nobody_pays(queue, storage, monkeypatch):
    """The rows of the storage itself are handed to the rules."""
    monkeypatch.setattr("gnj.queue.runner.Recorder", lambda _: pytest.fail("recorded"))
    enqueue(queue)
    queue.ping()


def test_those_who_left_are_told_nothing(queue):
    told: list[Change] = []
    with queue.feed.follow(told.extend), queue.feed.follow(told.extend):
        enqueue(queue)
    assert len(told) == 2
    assert not queue.feed.followed
    enqueue(queue)
    assert len(told) == 2


def test_a_follower_that_fails_keeps_nobody_else_from_it(queue, caplog):
    told: list[Change] = []

    def fail(_):
        raise KeyError("secret")

    with queue.feed.follow(fail), queue.feed.follow(told.extend):
        job = enqueue(queue)
    assert [change.value for change in told] == [job]
    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.ERROR, "a follower failed")]


def test_memory_has_no_others(queue):
    before = set(threading.enumerate())
    with queue.feed.follow(lambda _: None):
        assert queue.feed.arrive(0) is False
        assert "gnj-feed" not in {thread.name for thread in set(threading.enumerate()) - before}
    queue.feed.close()


def test_a_forked_process_does_not_follow():
    """What follows in the one it came from would be called here, with what is done here."""
    feed = Feed()
    with feed.follow(lambda _: os._exit(1)):
        if not (child := os.fork()):
            feed.publish([Change("pinged", "")])
            told: list[Change] = []
            with feed.follow(told.extend):
                feed.publish([Change("pinged", "")])
            os._exit(0 if len(told) == 1 and not feed.followed else 2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
