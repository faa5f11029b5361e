"""Jobs that are not to be kept: what goes, when, and what stays."""

from __future__ import annotations

import threading
import time

import pytest

from gnj.queue import deletes, sweep, sweeping
from gnj.queue.clock import NOW
from gnj.queue.errors import StorageUnavailable
from gnj.queue.keeping import Rule, rule_of
from gnj.queue.model import Job, NewJob, Secret
from gnj.queue.service import Queue
from gnj.queue.sweep import Sweeper
from gnj.queue.where import EVERYTHING

everywhere = pytest.mark.usefixtures("on_every_storage")
T = {"tenant": "t"}


@pytest.fixture(autouse=True)
def at_any_time(monkeypatch):
    monkeypatch.setattr(sweep, "SHARE", 0)


@pytest.fixture
def ended(queue, clock):
    """Adds a job with these options, ends it, and lets a second pass; its number."""

    def make(end="succeed", queue_name="mail", tenant="t", **opts):
        ((job, _),) = queue.add(queue_name, [{"name": "n", "data": 1, "opts": opts}], tenant=tenant)
        (claim,) = queue.acquire([queue_name], 1, tenants=[tenant])
        assert claim.id == job.id
        if end == "succeed":
            queue.succeed(claim, 1)
        elif end == "fail":
            queue.fail(claim, "broken")
        else:
            queue.cancelled(claim, "asked to")
        clock.tick(1)
        return job.id

    return make


def left(queue, **equals):
    return [job.id for job in queue.list(Job, **equals)]


@pytest.mark.parametrize(
    "value, rule",
    [
        (True, Rule(count=0)),
        (False, None),
        (None, None),
        (0, Rule(count=0)),
        (7, Rule(count=7)),
        ({}, None),
        ({"limit": 5}, None),
        ({"count": 0}, Rule(count=0)),
        ({"age": 60, "limit": 5}, Rule(age=60, limit=5)),
        ({"count": 2, "age": 60}, Rule(count=2, age=60)),
    ],
)
def test_rules(value, rule):
    assert rule_of(value) == rule


@everywhere
def test_what_goes_at_once(queue, ended):
    gone = [ended(removeOnComplete=value) for value in (True, 0, {"count": 0}, {"age": 0})]
    stays = [ended(), *(ended(removeOnComplete=value) for value in (False, 5, {"count": 5}, {"age": 99}))]
    stays += [ended(removeOnFail=True), ended(attempts=3, backoff=5)]
    waits = queue.add("mail", [{"name": "n", "data": 1, "opts": {"removeOnComplete": True}}], **T)[0][0]
    Sweeper(queue).look()
    assert left(queue) == [*stays, waits.id]
    assert all(job not in left(queue) for job in gone)


@everywhere
def test_failures_have_a_rule_of_their_own(queue, ended):
    failed, cancelled = ended("fail", removeOnFail=True), ended("cancel", removeOnFail=True)
    other = ended("fail", removeOnComplete=True)
    done = ended("succeed", removeOnFail=True)
    Sweeper(queue).look()
    assert left(queue) == [other, done]
    assert queue.get(Job, failed) is queue.get(Job, cancelled) is None


@everywhere
def test_the_newest_stay(queue, ended):
    sweeper, made = Sweeper(queue), []
    for _ in range(6):
        made.append(ended(removeOnComplete=3))
        sweeper.look()
        assert left(queue) == made[-3:]
    ended("fail", removeOnFail=1)
    sweeper.look()
    assert left(queue)[:3] == made[-3:]  # what failed is counted by itself


@everywhere
def test_jobs_without_a_rule_are_counted_and_stay(queue, ended):
    mine = [ended(removeOnComplete=2) for _ in range(3)]
    plain = [ended() for _ in range(2)]
    Sweeper(queue).look()
    assert left(queue) == plain
    assert not set(mine) & set(left(queue))


@everywhere
def test_age_is_counted_in_seconds(queue, ended, clock):
    job, sweeper = ended(removeOnComplete={"age": 60}), Sweeper(queue)
    clock.tick(58)
    sweeper.look()
    assert left(queue) == [job]
    clock.tick(1)
    sweeper.look()
    assert left(queue) == []
    ended(removeOnComplete={"age": 2**53 - 1})
    sweeper.look()
    assert len(left(queue)) == 1


@everywhere
def test_whichever_comes_first(queue, ended, clock):
    rule, sweeper = {"count": 2, "age": 60}, Sweeper(queue)
    made = [ended(removeOnComplete=rule) for _ in range(3)]
    sweeper.look()
    assert left(queue) == made[1:]
    clock.tick(58)
    sweeper.look()
    assert left(queue) == made[2:]


@everywhere
def test_a_limit(queue, ended):
    made = [ended(removeOnComplete={"age": 0, "limit": 2}) for _ in range(5)]
    sweeper = Sweeper(queue)
    for gone in (2, 4, 5):
        sweeper.look()
        assert left(queue) == made[gone:]


@everywhere
def test_what_the_push_worker_was_registered_with(queue, ended):
    endpoint = {"url": "https://hooks.example/", "method": "POST"}
    opts = {"removeOnComplete": {"count": 1}, "removeOnFail": {"age": 3600}}
    queue.register({"queue": "mail", "endpoint": endpoint, "opts": opts}, **T)
    first, kept, second, third = ended(), ended(removeOnComplete=False), ended(), ended()
    failed, other = ended("fail"), ended(tenant="u")
    Sweeper(queue).look()
    assert left(queue) == [kept, third, failed, other]
    assert not {first, second} & set(left(queue))


@everywhere
def test_other_queues_and_tenants_are_left_alone(queue, ended):
    ended(removeOnComplete=True)
    queue.add("mail", [{"name": "n", "data": 1, "opts": {"removeOnComplete": True}}], tenant="u")
    claim = queue.acquire(["mail"])
    other = ended(queue_name="post", removeOnComplete=True)
    Sweeper(queue).look()
    assert left(queue) == [claim.id]
    queue.succeed(claim)
    Sweeper(queue).look()
    assert left(queue) == []
    assert queue.get(Job, other) is None


@everywhere
def test_members_stay(queue, ended):
    batch = queue.add_batch([NewJob("other")], **T)
    job, _ = queue.add("mail", [{"name": "n", "data": 1, "opts": {"removeOnComplete": True}}], **T)[0]
    queue.update_job(job.id, {"batch_id": batch.id})
    queue.succeed(queue.acquire(["mail"]))
    Sweeper(queue).look()
    assert job.id in left(queue)


@everywhere
@pytest.mark.parametrize("again", [{"status": "queued", "ended_at": None}, {"status": "failed", "ended_at": NOW}])
def test_what_is_queued_again_stays(queue, ended, clock, monkeypatch, again):
    """Also when that happens between the look and the removal; and when it has even failed again by then."""
    job = ended("fail", removeOnFail=True)
    other = Queue(queue.storage)
    real = deletes.delete_jobs

    def delete_jobs(unit, **asked):
        unit.tx.move(Job, [job], {"failed"}, again)
        return real(unit, **asked)

    monkeypatch.setattr(deletes, "delete_jobs", delete_jobs)
    Sweeper(other).look()
    assert left(queue) == [job]


def test_one_that_is_gone_before_it_is_read(queue, ended, monkeypatch):
    """Between two statements: it is counted where it stood."""
    made = [ended(removeOnComplete=1) for _ in range(4)]
    real = sweep._Look._read

    def read(tx, found):
        page = real(tx, found)
        return sweep._Page(page.found, {id: job for id, job in page.jobs.items() if id != made[0]})

    monkeypatch.setattr(sweep._Look, "_read", staticmethod(read))
    Sweeper(queue).look()
    assert left(queue) == [made[0], made[3]]


@everywhere
def test_throttles_are_kept_for_their_time(queue, ended, clock):
    """Others are kept out as long as the `ttl` says, though the job is not to be kept; then it goes."""
    opts = {"deduplication": {"id": "d", "ttl": 60_000}, "removeOnComplete": True}
    job, sweeper = ended(**opts), Sweeper(queue)
    for _ in range(2):
        sweeper.look()
        ((there, new),) = queue.add("mail", [{"name": "n", "data": 1, "opts": opts}], **T)
        assert (there.id, new) == (job, False)
        clock.tick(29)
    clock.tick(1)
    sweeper.look()
    assert left(queue) == []
    once = {"deduplication": {"id": "e"}, "removeOnComplete": True}
    assert ended(**once) != job
    sweeper.look()
    assert left(queue) == []


@everywhere
def test_marks_go_with_the_last_job(queue, ended, clock, storage):
    """Once nobody has added such a job for an hour, and none of the queue is under way or left."""
    sweeper = Sweeper(queue)
    kept = ended(removeOnComplete=5)
    waiting, _ = queue.add("mail", [{"name": "n", "data": 1}], **T)[0]
    delayed, _ = queue.add("mail", [{"name": "n", "data": 1, "opts": {"delay": 10**8}}], **T)[0]

    def marks():
        sweeper.look()
        return len(storage.find(Secret))

    clock.tick(3599)
    for gone in (kept, waiting.id, delayed.id):
        assert marks() == 1
        clock.tick(2)
        assert marks() == 1
        queue.delete(Job, gone)
    assert marks() == 0
    assert sweeper._known.keys() == {("t", "mail")}
    sweeper.look()
    assert sweeper._known == {}
    Queue(storage).note_kept("mail", [{"removeOnComplete": True}], **T)
    assert marks() == 1


@everywhere
def test_a_mark_stays_that_is_noted_again(queue, ended, clock, storage, monkeypatch):
    """By a process that does so every ten minutes; also while a look is about to take it away."""
    queue.note_kept("mail", [{"removeOnComplete": True}], **T)
    (mark,) = storage.find(Secret)
    clock.tick(601)
    queue.note_kept("mail", [{"removeOnComplete": True}], **T)
    assert storage.find(Secret) == [mark]
    monkeypatch.setattr(time, "monotonic", lambda: 1e12)
    queue.note_kept("mail", [{"removeOnComplete": True}], **T)
    (touched,) = storage.find(Secret)
    assert (touched.id, touched.value, touched.updated_at) == (mark.id, mark.value, clock())
    clock.tick(3601)
    sweeper = Sweeper(queue)
    tasks = sweeper._tasks()
    monkeypatch.setattr(sweeping, "MOST", 1)
    Queue(storage).note_kept("mail", [{"removeOnComplete": True}], **T)
    sweeper._look(tasks)
    assert len(storage.find(Secret)) == 1


def test_a_mark_that_goes_while_it_is_noted(queue, ended, clock, storage, monkeypatch):
    queue.note_kept("mail", [{"removeOnComplete": True}], **T)
    clock.tick(3601)
    real = storage.insert

    def insert(kind, rows):
        found = real(kind, rows)
        monkeypatch.setattr(storage, "insert", real)
        storage.trim(Secret, EVERYTHING, 9)
        return found

    monkeypatch.setattr(storage, "insert", insert)
    Queue(storage).note_kept("mail", [{"removeOnComplete": True}], **T)
    assert len(storage.find(Secret)) == 1


def test_what_is_noted_is_not_remembered_for_ever(queue, storage, monkeypatch):
    monkeypatch.setattr(sweeping, "MOST", 3)
    for number in range(7):
        queue.note_kept(f"mail{number}", [{"removeOnComplete": True}], **T)
    assert len(storage.find(Secret)) == 7
    assert list(queue._noted) == [("t", "mail6")]


def test_one_who_failed_may_be_retried(queue, ended, clock, storage):
    """So its queue stays noted: it goes once it has completed."""
    job, sweeper = ended("fail", removeOnComplete=True), Sweeper(queue)
    clock.tick(3601)
    sweeper.look()
    queue.requeue("mail", str(job), **T)
    queue.succeed(queue.acquire(["mail"]))
    sweeper.look()
    assert left(queue) == []


@everywhere
def test_nothing_is_written_where_nothing_goes(queue, ended, monkeypatch):
    """Nor by how many different counts there are."""
    for count in range(20):
        ended(removeOnComplete=100 + count)
    monkeypatch.setattr(queue, "run", None)
    sweeper = Sweeper(queue)
    for _ in range(3):
        sweeper.look()


def test_tenants_come_in_turn(queue, ended, monkeypatch):
    """Whoever has many queues waits for himself; what was not come to is the next look's."""
    for number in range(5):
        ended(queue_name=f"mail{number}", removeOnComplete={"age": 10**6})
    ended(tenant="u", removeOnComplete={"age": 10**6})
    seen = []
    monkeypatch.setattr(sweep._Look, "at", lambda look, *_: seen.append((look._tenant, look._type)))
    monkeypatch.setattr(sweep, "LONG", 0.0)
    sweeper = Sweeper(queue)
    for _ in range(10):
        sweeper.look()
    assert seen[2::4] == [("u", "mail")] * 5
    assert {type for tenant, type in seen if tenant == "t"} == {f"mail{number}" for number in range(5)}


@everywhere
def test_an_id_is_free_again(queue, ended):
    first = ended(jobId="own", removeOnComplete=True)
    Sweeper(queue).look()
    assert ended(jobId="own") != first


@everywhere
def test_many_pages(queue, clock, monkeypatch):
    monkeypatch.setattr(sweep, "PAGE", 7)
    queue.add("mail", [{"name": "n", "data": 1, "opts": {"removeOnComplete": 10}}] * 50, **T)
    for claim in queue.acquire(["mail"], 100):
        queue.succeed(claim)
    last = left(queue)[-10:]
    Sweeper(queue).look()
    assert left(queue) == last


def test_a_look_ends_in_time_and_the_next_goes_on(queue, clock, monkeypatch):
    monkeypatch.setattr(sweep, "PAGE", 7)
    monkeypatch.setattr(sweep, "SECONDS", 0.0)
    monkeypatch.setattr(sweep, "RECENT", 0)
    queue.add("mail", [{"name": "n", "data": 1, "opts": {"removeOnComplete": {"age": 1}}}] * 20, **T)
    for claim in queue.acquire(["mail"], 100):
        queue.succeed(claim)
    clock.tick(1)
    sweeper, counts = Sweeper(queue), []
    for _ in range(4):
        sweeper.look()
        counts.append(len(left(queue)))
    assert counts == [13, 6, 0, 0]


def test_what_has_just_ended_is_found_although_not_all_are_looked_at(queue, ended, monkeypatch):
    monkeypatch.setattr(sweep, "SHARE", 10**9)
    ended()
    sweeper = Sweeper(queue)
    queue.note_kept("mail", [{"removeOnComplete": True}], **T)
    sweeper.look()
    kept = [ended(), ended(removeOnComplete=2)]
    ended(removeOnComplete=True)
    sweeper.look()
    assert left(queue)[1:] == kept
    ended()
    sweeper.look()
    assert left(queue)[1:] == [kept[0], kept[1], kept[1] + 2]  # one of the two newer ones is gone
    ended()
    sweeper.look()
    assert kept[1] not in left(queue)


@pytest.mark.parametrize("few", [1, 3, 100])
def test_all_that_have_ended_since_are_looked_at(queue, ended, monkeypatch, few):
    """However few are looked for at first."""
    monkeypatch.setattr(sweep, "SHARE", 10**9)
    monkeypatch.setattr(sweep, "_FEW", few)
    kept = [ended(removeOnComplete={"age": 10**6})]
    sweeper = Sweeper(queue)
    sweeper.look()
    for _ in range(3):
        ended(removeOnComplete=True)
    sweeper.look()
    assert left(queue) == kept


def test_nobody_is_looked_at_who_need_not_be(queue, ended, storage, monkeypatch):
    ended(attempts=2, removeOnComplete=False)
    queue.enqueue(NewJob("mail"))
    assert storage.find(Secret) == []
    monkeypatch.setattr(sweep, "_Look", None)
    Sweeper(queue).look()


def test_a_queue_is_noted_once(queue, ended, storage, monkeypatch):
    for _ in range(3):
        ended(removeOnComplete=True)
    Queue(storage).note_kept("mail", [{"removeOnFail": 5}], **T)
    assert len(storage.find(Secret)) == 1
    monkeypatch.setattr(queue, "alone", None)
    queue.note_kept("mail", [{"removeOnFail": 5}], **T)


def test_one_that_is_noted_in_a_transaction_that_is_undone(queue, storage):
    jobs = [{"name": "n", "data": 1, "opts": {"removeOnComplete": True}}]

    def undone():
        with queue.transaction() as (inner, _):
            inner.add("mail", jobs, **T)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    assert storage.find(Secret) == []
    queue.add("mail", jobs, **T)
    assert len(storage.find(Secret)) == 1


@pytest.fixture
def gone(queue):
    """Waits until so many jobs were removed."""
    removed = threading.Semaphore(0)
    queue.hooks.add(["deleted"], lambda _: removed.release())
    return lambda: removed.acquire(timeout=20)


def over(sweeper):
    """Waits for the look under way."""
    sweeper._thread.join(20)
    assert not sweeper._thread.is_alive()


def test_a_look_has_a_thread_of_its_own(queue, ended, gone, monkeypatch):
    monkeypatch.setattr(sweep, "EVERY", 0.0)
    sweeper, before = Sweeper(queue), threading.active_count()
    sweeper.tick()  # there is nothing to be looked at
    assert threading.active_count() == before
    for _ in range(3):
        ended(removeOnComplete=True)
        sweeper.tick()
        assert gone()
        over(sweeper)
    sweeper.close()


def test_not_too_often(queue, ended, gone, monkeypatch):
    monkeypatch.setattr(sweep, "EVERY", 60.0)
    ended(removeOnComplete=True)
    sweeper = Sweeper(queue)
    sweeper.tick()
    assert gone()
    sweeper.close()
    again = ended(removeOnComplete=True)
    sweeper.tick()
    assert left(queue) == [again]


def test_what_took_long_is_not_done_again_soon(queue, ended, monkeypatch):
    monkeypatch.setattr(sweep, "EVERY", 0.0)
    monkeypatch.setattr(sweep, "SHARE", 10**9)
    ended(removeOnComplete=True)
    sweeper = Sweeper(queue)
    sweeper.tick()
    over(sweeper)
    again = ended(removeOnComplete=True)
    sweeper.tick()
    assert left(queue) == [again]


@pytest.mark.parametrize("error", [StorageUnavailable("away"), RuntimeError("broken")])
def test_a_look_that_fails(queue, ended, gone, monkeypatch, caplog, error):
    monkeypatch.setattr(sweep, "EVERY", 0.0)
    ended(removeOnComplete=True)
    sweeper = Sweeper(queue)

    def fail(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(sweep._Look, "at", fail)
        sweeper.tick()
        over(sweeper)
    assert "will be looked for again" in caplog.text
    sweeper.tick()
    assert gone()
    sweeper.close()


def test_one_that_is_closed_goes_no_further(queue, ended):
    job = ended(removeOnComplete=True)
    sweeper = Sweeper(queue)
    sweeper.close()
    sweeper.look()
    assert left(queue) == [job]


@everywhere
def test_removals_are_told_of(queue, ended):
    seen = []
    queue.hooks.add(["deleted"], lambda event: seen.append(event.job.id))
    job = ended(removeOnComplete=True)
    Sweeper(queue).look()
    assert queue.hooks.flush(10)
    assert seen == [job]
