"""What workers tell of a job that they hold: its progress and its log."""

from __future__ import annotations

import pytest

from gnj.queue import logs
from gnj.queue.errors import InvalidInput, InvalidText, LeaseLost
from gnj.queue.model import JobLog, NewJob

everywhere = pytest.mark.usefixtures("on_every_storage")


@pytest.fixture
def job(queue):
    queue.enqueue(NewJob("mail", tenant="t"))
    return queue.acquire(["mail"], worker_id="w")


def read(queue, job, start=0, length=100, tenant="t"):
    return queue.logs("mail", str(job.id), start, length, tenant=tenant)


@everywhere
def test_lines_come_back_in_their_order(queue, job):
    for line in ("one", "", "zwölf €\n\U0001f600", "x" * 65_536):
        queue.add_log(job, line)
    assert read(queue, job) == (["one", "", "zwölf €\n\U0001f600", "x" * 65_536], 4)
    assert read(queue, job, 1, 2) == (["", "zwölf €\n\U0001f600"], 4)
    assert read(queue, job, 4, 2) == ([], 4)
    assert read(queue, job, 0, 0) == ([], 4)


@everywhere
def test_each_job_has_its_own(queue, job):
    queue.enqueue(NewJob("mail", tenant="t"))
    other = queue.acquire(["mail"])
    queue.add_log(job, "mine")
    queue.add_log(other, "other")
    assert read(queue, job) == (["mine"], 1)
    assert read(queue, other) == (["other"], 1)


def test_whoever_cannot_see_the_job_sees_no_log(queue, job):
    queue.add_log(job, "mine")
    assert read(queue, job, tenant="u") == ([], 0)
    assert read(queue, job, tenant="") == ([], 0)
    assert queue.logs("post", str(job.id), 0, 10, tenant="t") == ([], 0)
    for id in ("0", "-1", "x", "", f"0{job.id}", str(10**30), "²"):
        assert queue.logs("mail", id, 0, 10, tenant="t") == ([], 0)


def test_a_log_outlives_the_claim_and_goes_with_the_job(queue, job, clock, storage):
    queue.add_log(job, "first")
    queue.snooze(job.id, job.attempt)
    again = queue.acquire(["mail"])
    queue.add_log(again, "second")
    queue.succeed(again)
    assert read(queue, job) == (["first", "second"], 2)
    queue.delete(type(job), job.id)
    assert read(queue, job) == ([], 0)
    clock.tick(90_000)
    queue.prune(retention=None)
    assert storage.find(JobLog) == []


@everywhere
@pytest.mark.parametrize("checked", [1, 10**9])
def test_the_oldest_line_goes(queue, job, monkeypatch, storage, checked):
    """From the storage a while later than for readers."""
    monkeypatch.setattr(logs, "MAX_LINES", 5)
    monkeypatch.setattr(logs, "CHECKED", checked)
    for number in range(8):
        queue.add_log(job, str(number))
        assert read(queue, job)[1] == min(number + 1, 5)
    assert read(queue, job)[0] == ["3", "4", "5", "6", "7"]
    assert read(queue, job, 3, 5) == (["6", "7"], 5)
    assert read(queue, job, 5, 5) == ([], 5)
    assert storage.count(JobLog) == (5 if checked == 1 else 8)


@everywhere
@pytest.mark.parametrize(
    "line, error, told",
    [
        (5, InvalidInput, "the log line must be a string, not 5"),
        (None, InvalidInput, "the log line must be a string, not None"),
        (["a"], InvalidInput, "the log line must be a string, not ['a']"),
        ("x" * 65_537, InvalidInput, "the log line must have at most 65,536 characters, not 65,537"),
        ("ż" * 40_000, InvalidInput, "the log line must have at most 65,536 bytes, not 80,000"),
        ("a\0", InvalidText, "the log line must not hold a NUL character"),
        ("\ud800", InvalidText, "the log line must not hold a surrogate without its other half"),
    ],
)
def test_lines_that_are_none(queue, job, refused, line, error, told):
    with refused(error, told):
        queue.add_log(job, line)


@everywhere
def test_a_claim_that_is_over_tells_nothing(queue, job, refused):
    queue.snooze(job.id, job.attempt)
    for _ in range(2):
        with refused(LeaseLost):
            queue.add_log(job, "late")
        with refused(LeaseLost):
            queue.set_progress(job, 5)
        queue.acquire(["mail"])


@everywhere
@pytest.mark.parametrize("progress", [42, 0.5, "half", None, False, [1, {"a": None}], {"percent": 50}])
def test_progress_is_any_json(queue, job, progress):
    queue.set_progress(job, {"before": 1})
    assert queue.set_progress(job, progress).progress == progress
    assert queue.get(type(job), job.id).progress == progress


@everywhere
def test_progress_takes_the_place_of_what_was_there(queue, job, clock):
    queue.set_progress(job, {"a": 1, "b": 1})
    clock.tick(30)
    told = queue.set_progress(job, {"b": 2})
    assert told.progress == {"b": 2}
    assert (told.lease_expires_at - clock()).total_seconds() == 60  # a sign of life
    clock.tick(30)
    assert (queue.set_progress(job, {"b": 2}).lease_expires_at - clock()).total_seconds() == 60


def test_who_was_asked_to_stop_may_tell_on(queue, job):
    """The rule of the two calls is for clients of the original."""
    queue.cancel(job.id)
    for percent in range(3):
        assert queue.set_progress(job, percent).status == "cancel-requested"
    queue.add_log(job, "stopping")
    assert queue.cancelled(job, "asked to").status == "cancelled"


@pytest.mark.parametrize("progress", [float("nan"), {"a": "\0"}, "x" * (4 * 1024 * 1024), {1: 2}, object()])
def test_progress_that_is_none(queue, job, refused, progress):
    with refused(InvalidInput if not isinstance(progress, dict) or "a" not in progress else InvalidText):
        queue.set_progress(job, progress)
