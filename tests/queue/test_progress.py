"""What an update of a job's progress stores: section 7 of the jobs contract, without B10."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gnj.queue import progress

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
NOW = START + timedelta(seconds=90)
DONE = {"status": "done", "doneAt": "2030-01-01T12:01:30.000Z", "elapsedTime": 90000}
everywhere = pytest.mark.usefixtures("everywhere")


def replaced(old, new, started_at=START):
    return progress.replaced(old, new, started_at=started_at, now=NOW)


@pytest.mark.parametrize(
    "new", [None, 1, "x", [], [1], {}, {"a": 1}, {"steps": None}, {"steps": 5}, {"steps": "x"}, {"steps": True}]
)
def test_anything_but_steps_replaces_the_old_value_whole(new):
    assert replaced({"a": 2, "b": 3, "steps": {"x": {"status": "done"}}}, new) == new
    assert replaced(None, new) == new


def test_attributes_of_a_named_step_stay_underneath_and_other_steps_are_dropped():
    old = {"b": 1, "steps": {"x": {"status": "waiting", "note": 1}, "y": {"status": "done"}}}
    new = {"a": 1, "steps": {"x": {"note": 2, "more": 3}, "z": {"status": "planned"}}}
    assert replaced(old, new) == {
        "a": 1,
        "steps": {"x": {"status": "waiting", "note": 2, "more": 3}, "z": {"status": "planned"}},
    }


def test_a_step_that_is_done_is_stamped_once():
    first = replaced(None, {"steps": {"x": {"status": "done"}}})
    assert first == {"steps": {"x": DONE}}
    again = progress.replaced(
        first, {"steps": {"x": {"status": "done", "note": 1}}}, started_at=START, now=NOW + timedelta(1)
    )
    assert again == {"steps": {"x": {**DONE, "note": 1}}}


def test_time_counts_from_the_latest_done_step():
    old = {"steps": {"x": {"doneAt": "2030-01-01T12:01:00Z"}, "y": {"doneAt": "2030-01-01T12:00:30+00:00"}}}
    new = replaced(old, {"steps": {"a": {"status": "done"}, "b": {"status": "done"}}})
    assert [step["elapsedTime"] for step in new["steps"].values()] == [30000, 30000]
    naive = {"steps": {"x": {"doneAt": "2030-01-01T12:01:20"}}}
    assert replaced(naive, {"steps": {"a": {"status": "done"}}})["steps"]["a"]["elapsedTime"] == 10000
    future = {"steps": {"x": {"doneAt": "2031-01-01T00:00:00Z"}}}
    assert replaced(future, {"steps": {"a": {"status": "done"}}})["steps"]["a"]["elapsedTime"] == 0


def test_a_job_that_never_started_has_no_elapsed_time():
    step = {"status": "done", "doneAt": "2030-01-01T12:01:30.000Z"}
    assert replaced(None, {"steps": {"x": {"status": "done"}}}, started_at=None) == {"steps": {"x": step}}


@pytest.mark.parametrize("stored", [None, 5, "x", [], {"doneAt": None}, {"doneAt": 0}, {"doneAt": ""}])
def test_stored_steps_of_another_shape_do_no_harm(stored):
    old = {"steps": {"x": stored}}
    kept = stored if isinstance(stored, dict) else {}
    assert replaced(old, {"steps": {"x": {"status": "done"}}}) == {"steps": {"x": {**kept, **DONE}}}


def test_a_stored_end_that_is_no_date_counts_for_nothing():
    old = {"steps": {"x": {"doneAt": "yesterday"}}}
    assert replaced({"steps": {"x": {"doneAt": 5}}}, {"steps": {"y": {"status": "done"}}}) == {"steps": {"y": DONE}}
    assert replaced(old, {"steps": {"x": {"status": "done"}, "y": {"status": "done"}}})["steps"] == {
        "x": {"status": "done", "doneAt": "yesterday"},
        "y": DONE,
    }


@pytest.mark.parametrize("old", [None, 5, [], {}, {"steps": None}, {"steps": 5}])
def test_old_values_of_another_shape_do_no_harm(old):
    assert replaced(old, {"steps": {"x": {"status": "done"}, "y": 1, "z": None}}) == {
        "steps": {"x": DONE, "y": 1, "z": None}
    }


def test_steps_given_as_a_list_stay_a_list():
    old = {"steps": [{"name": "x", "note": 1}, {"name": "y"}, 5, {"name": 5}]}
    new = {"steps": [{"name": "x", "status": "done"}, {"status": "done"}, "odd", {"name": ["x"]}]}
    assert replaced(old, new) == {
        "steps": [{"name": "x", "note": 1, **DONE}, DONE, "odd", {"name": ["x"]}],
    }
    assert replaced({"steps": {"x": {"note": 1}}}, {"steps": [{"name": "x"}]}) == {"steps": [{"note": 1, "name": "x"}]}


def test_moments_are_told_in_utc():
    paris = timezone(timedelta(hours=1))
    new = progress.replaced(None, {"steps": {"x": {"status": "done"}}}, started_at=START, now=NOW.astimezone(paris))
    assert new == {"steps": {"x": DONE}}


@pytest.mark.parametrize(
    "old, new, result",
    [
        (None, {"a": 1}, {"a": 1}),
        ({"a": 1}, None, None),
        ({"a": 1}, [1], [1]),
        ({"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 1}}, {"a": {"y": 1}}),
        ({"steps": {"x": 1, "y": 1}}, {"steps": {"y": 2}}, {"steps": {"x": 1, "y": 2}}),
        ({"steps": [1]}, {"steps": {"y": 2}}, {"steps": {"y": 2}}),
        ({"steps": [{"name": "x"}]}, {"steps": {"y": 2}}, {"steps": {"x": {"name": "x"}, "y": 2}}),
        ({"steps": {"x": 1}}, {"steps": [2]}, {"steps": [2]}),
        ({"steps": {"x": 1}}, {"a": 1}, {"steps": {"x": 1}, "a": 1}),
    ],
)
def test_merged(old, new, result):
    assert progress.merged(old, new) == result


# Through the queue ----------------------------------------------------------------------------------------------------


@everywhere
def test_an_update_replaces_and_a_worker_merges(queue, claim, clock):
    job = claim()
    clock.tick(2)
    assert queue.progress(job, {"percent": 10, "steps": {"x": {"status": "done"}}}).progress == {
        "percent": 10,
        "steps": {"x": {"status": "done", "doneAt": "2030-01-01T12:00:02.000Z", "elapsedTime": 2000}},
    }
    clock.tick(3)
    job = queue.progress(job, {"steps": {"y": {"status": "done"}}})
    assert job.progress["percent"] == 10
    assert job.progress["steps"]["y"]["elapsedTime"] == 3000
    assert set(job.progress["steps"]) == {"x", "y"}
    assert queue.update_job(job.id, {"progress": {"steps": {"y": {}}}}).progress == {
        "steps": {"y": job.progress["steps"]["y"]}
    }
    assert queue.update_job(job.id, {"progress": None}).progress is None


def test_the_same_progress_changes_nothing_but_the_lease(queue, claim, clock):
    job = claim()
    job = queue.progress(job, {"steps": {"x": {"status": "done"}}, "a": 1})
    clock.tick(1)
    same = queue.progress(job, {"steps": {"x": {"status": "done"}}})
    assert same == job.evolve(lease_expires_at=clock() + timedelta(seconds=60))


def test_progress_of_a_job_that_never_started(queue, make):
    job = queue.update_job(make().id, {"progress": {"steps": {"x": {"status": "done"}}}})
    assert job.progress == {"steps": {"x": {"status": "done", "doneAt": "2030-01-01T12:00:00.000Z"}}}
