"""Runs: what they write, when it is seen, how they end, and what is left of those that did not end well."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gnj.queue import runs, transforms
from gnj.queue.ends import Outcome
from gnj.queue.errors import CancelRequested, Failed, IllegalTransition, LeaseLost, Snooze
from gnj.queue.model import Job, NewJob, Pipeline, Schedule
from gnj.queue.model_transform import RUN, RUN_OVER, RunStatus, TransformRecord, TransformRejected, TransformRun
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.transforms import Batch, Counts
from gnj.transform import running
from gnj.transform.errors import SourceFailed
from gnj.transform.sources import Validators
from tests.transform.core.conftest import PLAIN, World, item
from tests.transform.core.fakes import FakeReading

DAY = 86_400


def test_every_status_has_a_way_in_and_what_is_over_none_out():
    assert {to for move in runs.RUN_MOVES.values() for to in move.to.values()} == set(RunStatus) - {RunStatus.PENDING}
    assert not RUN_OVER & {frm for move in runs.RUN_MOVES.values() for frm in move.to}


def test_the_first_run_writes_what_the_source_gives(world: World, on_every_storage):
    job = world.save([item(n, f"name {n}") for n in range(7)])
    assert world.status(job) == "Pending"
    assert world.runs(job)[0].status is RunStatus.PENDING
    world.work()
    (run,) = world.runs(job)
    assert (run.status, run.read, run.written, run.rejected, run.error) == (RunStatus.SUCCESSFUL, 7, 7, 0, None)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert world.status(job) == "Live"
    assert world.current(job) == [(n, f"name {n}") for n in range(7)]


def test_a_later_run_updates_records_of_the_same_key_and_adds_the_others(world: World, on_every_storage):
    job = world.save([item(1, "a"), item(2, "b"), item(3, "c"), item(4, "d")])
    world.work()
    run = world.again(job, [item(2, "B"), item(5, "e"), item(4, "D")])
    assert (run.read, run.written) == (3, 3)
    assert world.current(job) == [(1, "a"), (3, "c"), (2, "B"), (5, "e"), (4, "D")]
    page = world.jobs.records(world.tenant, run.id)
    assert [each["id"] for each in page.records] == [2, 5, 4]
    first = world.jobs.records(world.tenant, world.runs(job)[-1].id)
    assert (first.total, [each["name"] for each in first.records]) == (4, ["a", "b", "c", "d"])


def test_without_primary_fields_every_run_adds(world: World):
    job = world.save([item(1), item(1)], PLAIN)
    world.work()
    world.again(job)
    assert world.current(job) == [(1, "x")] * 4


def test_of_equal_keys_in_one_run_the_last_wins_and_counts_once(world: World, on_every_storage):
    """In one batch (of three), and over several."""
    job = world.save([item(1, "a"), item(1, "b"), item(2, "c"), item(3, "d"), item(2, "e"), item(1, "f")])
    world.work()
    (run,) = world.runs(job)
    assert (run.read, run.written) == (6, 3)
    assert sorted(world.current(job)) == [(1, "f"), (2, "e"), (3, "d")]
    assert world.jobs.records(world.tenant, run.id).total == 3


def test_what_the_format_rejects_is_kept_with_its_reasons_and_the_rest_goes_on(world: World, everywhere):
    job = world.save([item(1), item(None, "no id"), "{broken", item(2)])
    world.work()
    (run,) = world.runs(job)
    assert (run.status, run.read, run.written, run.rejected) == (RunStatus.SUCCESSFUL, 4, 2, 2)
    page = world.jobs.records(world.tenant, run.id)
    assert page.rejected_total == 2
    assert [(each.source, each.reasons) for each in page.rejected] == [
        (item(None, "no id"), ["id is required"]),
        ("{broken", ["it cannot be read, at position 3 (from 0): it is no JSON"]),
    ]


def test_values_that_no_storage_takes_reject_their_record(world: World, everywhere):
    job = world.save([item("\0"), item("\ud800"), {"sku": 1, "title": float("nan")}, item(2**70), item(3)])
    world.work()
    (run,) = world.runs(job)
    assert (run.written, run.rejected) == (1, 4)
    assert len(world.jobs.records(world.tenant, run.id).rejected) == 4


def test_rejected_records_are_kept_up_to_a_bound_and_cut_in_size(storage, clock):
    world = World(storage, clock, batch=2, rejected=3, rejected_characters=50)
    job = world.save([item(None, "long " * 100)] * 5 + [item(1)])
    world.work()
    (run,) = world.runs(job)
    page = world.jobs.records(world.tenant, run.id)
    assert (page.rejected_total, len(page.rejected), run.written) == (5, 3, 1)
    assert all(isinstance(each.source, str) and len(each.source) <= 50 for each in page.rejected)


@pytest.mark.parametrize("feed", [[], [item(None)]])
def test_an_empty_feed_or_one_of_rejected_records_is_live(world: World, feed):
    job = world.save(feed)
    world.work()
    assert world.status(job) == "Live"
    assert (world.runs(job)[0].written, world.current(job)) == (0, [])


def test_a_source_that_has_not_changed_is_a_good_run_with_nothing_written(world: World, everywhere):
    told = Validators(etag='"1"')

    def feed(validators):
        return FakeReading([item(1)], unchanged=validators == told, validators=told)

    job = world.save(feed)
    world.work()
    run = world.again(job)
    assert (run.status, run.read, run.written, run.unchanged) == (RunStatus.SUCCESSFUL, 0, 0, True)
    assert [validators for _, validators in world.parts.opened] == [None, told]
    assert world.current(job) == [(1, "x")]
    # the same records may come to something else: the source is not asked whether they are the same
    world.parts.version = "2"
    assert (world.again(job).written, world.again(job).written) == (1, 0)
    assert [validators for _, validators in world.parts.opened[2:]] == [None, told]
    assert [each.unchanged for each in world.runs(job)] == [True, False, True, False]


def test_an_empty_feed_is_none_that_has_not_changed(world: World, everywhere):
    told = Validators(etag='"1"')
    job = world.save(lambda _: FakeReading([], validators=told))
    world.work()
    assert [world.again(job).unchanged, *(each.unchanged for each in world.runs(job))] == [False] * 3
    # a source that tells no version may nevertheless say that it has not changed, and a run that failed has read nothing either
    assert world.again(job, lambda _: FakeReading([], unchanged=True)).unchanged
    assert not world.again(job, [SourceFailed("no such feed", final=True)]).unchanged


def test_a_run_that_somebody_else_ended_is_none_of_a_source_that_has_not_changed(world: World):
    job = world.save(lambda _: FakeReading([], unchanged=True))
    claim = world.claim()
    run, _ = world.queue.run(lambda unit: transforms.begin(unit, claim))
    sealed = Batch(seals=True, validators={"unchanged": True})
    world.queue.run(lambda unit: transforms.write(unit, claim, run.id, Counts(), sealed))
    assert not world.run(run).unchanged
    world.queue.fail(claim, "gone")
    assert [each.unchanged for each in world.runs(job)] == [False]


def test_nothing_of_a_run_that_fails_is_seen_and_the_next_run_is_right(world: World, on_every_storage):
    job = world.save([item(1, "a"), item(2, "b")])
    world.work()
    broken = [item(2, "B"), item(3, "c"), item(None), item(4), item(1, "A"), SourceFailed("truncated", final=True)]
    run = world.again(job, broken)
    assert (run.status, run.error, run.written, run.rejected) == (RunStatus.FAILED, "truncated", 0, 0)
    assert world.status(job) == "Failed"
    assert world.current(job) == [(1, "a"), (2, "b")]
    page = world.jobs.records(world.tenant, run.id)
    assert (page.total, page.records, page.rejected_total, page.rejected) == (0, (), 0, ())
    assert world.queue.count(TransformRecord, status="superseded") == 1  # not taken back yet
    run = world.again(job, [item(2, "2")])
    assert run.status is RunStatus.SUCCESSFUL
    assert world.current(job) == [(1, "a"), (2, "2")]
    assert world.queue.count(TransformRecord) == 3


def test_what_a_failed_run_left_is_swept_up_in_bounded_steps(world: World, everywhere):
    job = world.save([item(n) for n in range(5)])
    world.work()
    world.again(job, [*(item(n, "new") for n in range(8)), item(None), SourceFailed("gone", final=True)])
    assert world.queue.count(TransformRecord) == 11  # 5, and two batches of 3
    steps = 0
    while world.queue.prune(retention=None, limit=4):
        steps += 1
        assert world.current(job) == [(n, "x") for n in range(5)]
    assert steps >= 3
    assert (world.queue.count(TransformRecord), world.queue.count(TransformRejected)) == (5, 0)
    assert world.queue.storage.count(TransformRun) == 2
    assert {row.died for row in world.queue.storage.find(TransformRecord)} == {None}


def test_a_temporary_failure_is_tried_again_from_the_beginning(world: World, everywhere):
    job = world.save([item(1), item(2), item(3), item(4), SourceFailed("503", final=False)])
    world.work()
    (run,) = world.runs(job)
    assert (run.status, world.status(job), world.current(job)) == (RunStatus.RUNNING, "Running", [])
    assert run.error == "503"  # while it waits

    def feed(_validators):
        assert world.runs(job)[0].error is None  # while it is tried
        return FakeReading([item(1), item(9)])

    world.parts.feeds["https://shop.example/feed"] = feed
    world.clock.tick(100)
    world.work()
    (run,) = world.runs(job)
    assert (run.status, run.read, run.written, run.error) == (RunStatus.SUCCESSFUL, 2, 2, None)
    assert world.current(job) == [(1, "x"), (9, "x")]
    assert world.queue.storage.count(TransformRecord) == 2


def test_a_run_that_waits_and_is_cancelled_tells_no_error(world: World):
    job = world.save([SourceFailed("503", final=False)])
    (run,) = world.runs(job)
    world.work()
    assert world.run(run).error == "503"
    assert world.jobs.delete_job(world.tenant, job.id)
    found = world.queue.storage.get(TransformRun, run.id)
    assert found is not None
    assert (found.status, found.error) == (RunStatus.CANCELLED, None)


def test_why_a_try_failed_is_told_by_who_holds_the_claim_alone(world: World, everywhere):
    job = world.save([item(1)])
    claim = world.claim()
    run, _ = world.queue.run(lambda unit: transforms.begin(unit, claim))
    world.queue.run(lambda unit: transforms.explain(unit, claim, "5\00003"))
    assert world.run(run).error == "5\ufffd03"
    world.clock.tick(100)
    world.queue.reap(force=True)
    with pytest.raises(LeaseLost):
        world.queue.run(lambda unit: transforms.explain(unit, claim, "late"))
    assert world.run(run).error == "5\ufffd03"
    assert world.status(job) == "Running"


@pytest.mark.parametrize(
    "changed, longest, raised",
    [
        ({"cancel_requested": True}, 60.0, CancelRequested),
        ({"lease_lost": True}, 60.0, LeaseLost),
        ({"stops": True}, 60.0, Snooze),
        ({}, 0.0, Failed),
    ],
)
def test_who_reads_a_source_asks_whether_to_go_on(world: World, monkeypatch, changed, longest, raised):
    """What that raises ends the try, whether or not there were records."""
    monkeypatch.setattr(running, "LONGEST", longest)
    signals = SimpleNamespace(cancel_requested=False, lease_lost=False, stops=False)

    def feed(_validators):
        assert world.parts.go_on is not None
        if longest:
            world.parts.go_on()
        vars(signals).update(changed)
        world.parts.go_on()
        raise AssertionError

    world.save(feed)
    with pytest.raises(raised):
        running.handled(world.transform, stopping=lambda: signals.stops)(world.claim(), signals)


def test_tries_end(world: World):
    job = world.save([SourceFailed("503", final=False)])
    for _ in range(transforms.ATTEMPTS):
        world.work()
        world.clock.tick(1_000)
    (run,) = world.runs(job)
    assert (run.status, run.error) == (RunStatus.FAILED, "503")
    assert len(world.parts.opened) == transforms.ATTEMPTS


def test_a_final_failure_is_final_at_once_and_a_run_by_hand_has_one_try(world: World):
    job = world.save([SourceFailed("404", final=True)])
    world.work()
    assert world.runs(job)[0].status is RunStatus.FAILED
    assert world.again(job, [SourceFailed("503", final=False)]).status is RunStatus.FAILED
    assert len(world.parts.opened) == 2


def test_an_error_of_somebody_elses_is_told_by_an_id_only(world: World, caplog):
    job = world.save([RuntimeError("secret")])
    for _ in range(transforms.ATTEMPTS):
        world.work()
        world.clock.tick(1_000)
    (run,) = world.runs(job)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.startswith("Internal error ")
    assert "secret" not in run.error


@pytest.mark.parametrize("input", [None, "x", {"transformJob": 1}, {"transformJob": "1"}])
def test_only_the_job_that_the_run_names_does_it(world: World, everywhere, input: Any):
    """One that somebody else has made fails at once, however many tries it has, and says why."""
    job = world.save([item(1)])
    (run,) = world.runs(job)
    made = world.queue.enqueue(NewJob(RUN, input, tenant=world.tenant, max_attempts=5))
    for _ in range(2):
        world.work()
    assert world.run(run).status is RunStatus.SUCCESSFUL
    strange = world.queue.storage.get(Job, made.id)
    assert strange is not None
    assert (strange.status, strange.attempt) == (JobStatus.FAILED, 1)
    says = f"the job {made.id} is that of no run: runJob and schedules make those that do runs"
    assert strange.output == {"error": says}
    assert len(world.parts.opened) == 1


def test_a_job_in_a_pipeline_of_its_own_is_that_of_no_run_either(world: World):
    world.save([item(1)])
    world.queue.add_pipeline(None, [NewJob(RUN)], tenant=world.tenant)
    world.work()
    outputs = [job.output for job in world.queue.storage.find(Job, Select()) if job.status is JobStatus.FAILED]
    assert len(outputs) == 1
    assert "is that of no run" in str(outputs)


def test_a_run_whose_job_somebody_ends_who_did_not_do_it_is_not_published(world: World, everywhere):
    job = world.save([item(1)])
    claim = world.claim()
    run, _ = world.queue.run(lambda unit: transforms.begin(unit, claim))
    batch = Batch(records=[("k", {"id": 1, "name": "half"})], read=1)
    world.queue.run(lambda unit: transforms.write(unit, claim, run.id, Counts(), batch))
    world.queue.settle([Outcome(claim, JobStatus.SUCCESSFUL, None)])
    run = world.run(run)
    assert (run.status, run.error) == (RunStatus.FAILED, runs.UNSEALED)
    assert (world.status(job), world.current(job)) == ("Failed", [])


def test_who_has_lost_the_claim_writes_nothing(world: World, everywhere):
    job = world.save([item(1)])
    claim = world.claim()
    run, _ = world.queue.run(lambda unit: transforms.begin(unit, claim))
    world.clock.tick(100)
    world.queue.reap(force=True)
    batch = Batch(records=[("k", {"id": 1, "name": "late"})], read=1)
    for command in (
        lambda unit: transforms.begin(unit, claim),
        lambda unit: transforms.make_room(unit, claim, run, 1),
        lambda unit: transforms.write(unit, claim, run.id, Counts(), batch),
        lambda unit: transforms.give_up(unit, claim),
    ):
        with pytest.raises(LeaseLost):
            world.queue.run(command)
    assert world.queue.storage.count(TransformRecord) == 0
    world.work()
    assert world.current(job) == [(1, "x")]
    assert world.run(run).status is RunStatus.SUCCESSFUL


def test_a_run_that_is_over_is_not_begun_again(world: World):
    world.save([SourceFailed("404", final=True)])
    claim = world.claim()
    world.queue.settle([Outcome(claim, JobStatus.FAILED, {"error": "x"})])
    again = claim.evolve(attempt=claim.attempt + 1)
    with pytest.raises((IllegalTransition, LeaseLost)):
        world.queue.run(lambda unit: transforms.begin(unit, again))
    for command in (world.queue.recover, world.queue.retry):
        with pytest.raises(IllegalTransition):
            command(claim.id)


def test_deleting_a_job_cancels_its_run_and_everything_of_it_goes(world: World, everywhere):
    job = world.save([item(n) for n in range(5)])
    world.work()
    world.again(job, [item(None), item(1, "new")])
    world.jobs.run_job(world.tenant, job.id)
    claim = world.claim()
    run, _ = world.queue.run(lambda unit: transforms.begin(unit, claim))
    assert world.jobs.delete_job(world.tenant, job.id) is True
    assert world.jobs.delete_job(world.tenant, job.id) is False
    batch = Batch(records=[("k", {})], read=1)
    with pytest.raises(CancelRequested):
        world.queue.run(lambda unit: transforms.write(unit, claim, run.id, Counts(), batch))
    assert world.jobs.run(world.tenant, run.id) is None
    world.queue.settle([Outcome(claim, JobStatus.CANCELLED, None)])
    found = world.queue.storage.get(TransformRun, run.id)
    assert found is not None
    assert found.status is RunStatus.CANCELLED
    while world.queue.prune(retention=None, limit=3):
        pass
    for kind in (TransformRun, TransformRecord, TransformRejected, type(job), Schedule):
        assert world.queue.storage.count(kind) == 0
    assert world.queue.storage.count(Pipeline) == 3  # those go with the retention, as all do


def test_deleting_a_job_whose_run_waits_ends_it_at_once(world: World):
    job = world.save([item(1)])
    (run,) = world.runs(job)
    world.jobs.delete_job(world.tenant, job.id)
    found = world.queue.storage.get(TransformRun, run.id)
    assert found is not None
    assert found.status is RunStatus.CANCELLED
    world.work()
    assert world.parts.opened == []


def test_runs_of_the_past_go_with_the_retention_and_what_is_current_stays(world: World, everywhere):
    job = world.save([item(1, "a"), item(2, "b")])
    world.work()
    for name in ("c", "d"):
        world.clock.tick(DAY)
        world.again(job, [item(2, name), item(None)])
    assert [run.status for run in world.runs(job)] == [RunStatus.SUCCESSFUL] * 3
    world.clock.tick(DAY / 2)
    while world.queue.prune(retention=DAY, limit=2):
        pass
    assert len(world.runs(job)) == 2  # the first was superseded more than a day ago
    assert world.current(job) == [(1, "a"), (2, "d")]
    world.clock.tick(30 * DAY)
    while world.queue.prune(retention=DAY, limit=2):
        pass
    assert [run.id for run in world.runs(job)] == [world.runs(job)[0].id]
    assert world.current(job) == [(1, "a"), (2, "d")]
    assert world.queue.storage.count(TransformRecord) == 3  # the last run is still there, with what it superseded


def test_a_run_is_cancelled_as_any_job_is(world: World, everywhere):
    job = world.save([item(1)])
    world.work()
    waiting = world.jobs.run_job(world.tenant, job.id)
    assert world.queue.cancel(waiting.job_id).status is JobStatus.CANCELLED
    assert world.run(waiting).status is RunStatus.CANCELLED
    under_way = world.jobs.run_job(world.tenant, job.id)
    claim = world.claim()
    assert world.queue.cancel(under_way.job_id).status is JobStatus.CANCEL_REQUESTED
    with pytest.raises(CancelRequested):
        running.handled(world.transform)(claim, SimpleNamespace(cancel_requested=False, lease_lost=False))
    world.queue.snooze(claim.id, claim.attempt)
    assert world.run(under_way).status is RunStatus.CANCELLED
    assert world.current(job) == [(1, "x")]
    with pytest.raises(IllegalTransition, match="stay as they are"):
        world.queue.retry(under_way.job_id)
