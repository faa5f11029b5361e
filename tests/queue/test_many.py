"""Many jobs at once, checked attribute by attribute: they are the same jobs, and refused for the same reasons."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.queue import intake, many
from gnj.queue.errors import GnjError, InvalidInput
from gnj.queue.inputs import check_tenant, new_values
from gnj.queue.many import Many
from gnj.queue.model import Job, NewJob
from gnj.queue.retry import Exponential
from gnj.queue.values import check_json, check_jsons

everywhere = pytest.mark.usefixtures("everywhere")
COUNT = intake._COLUMNS

TEXTS = st.sampled_from(["a", "b", "", "\0", "\ud800", "ü", "x" * 300, "with\nbreak"])
ODD = st.sampled_from([None, 1, 1.0, True, False, 0, -5, 2**70, float("nan"), b"", [], {}, object(), ()])
INPUTS = st.dictionaries(TEXTS | st.just(3), TEXTS | ODD | st.lists(ODD, max_size=2), max_size=3) | TEXTS | ODD
VALUES = {
    "type": st.sampled_from(["a", "b"]) | TEXTS | ODD,
    "input": INPUTS,
    "name": st.none() | TEXTS | ODD,
    "start_after": st.sampled_from(
        [None, timedelta(1), timedelta(-1), datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1), 5]  # noqa: DTZ001
    ),
    "priority": st.sampled_from([4, 0, 7]) | ODD,
    "unique_id": st.none() | TEXTS,
    "recoverable": st.booleans() | ODD,
    "backoff": st.sampled_from([None, Exponential(2), {"type": "fixed", "delay": 5}, {"type": "no"}, 3]),
    "timeout": st.sampled_from([None, 5, 5.5, timedelta(seconds=3), -1, "x"]),
    "on_lost": st.sampled_from([None, "fail", "hold", "nothing"]),
    "lifo": st.sampled_from([False, False, False, True, 0]),
    "tenant": st.sampled_from(["", "", "t", "u"]) | TEXTS | ODD,
}


class Sub(NewJob):
    pass


@st.composite
def _jobs(draw):
    """Jobs that differ in a few attributes at most, as jobs that are enqueued together do."""
    varied = draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=3))
    same = {"type": "a"} | {
        name: draw(VALUES[name]) for name in draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=2))
    }
    each = st.fixed_dictionaries({name: VALUES[name] for name in sorted(varied)})
    return [NewJob(**{**same, **own}) for own in draw(st.lists(each, min_size=1, max_size=4))]


def row_by_row(jobs):
    return [{**new_values(job), "tenant": check_tenant(job.tenant)} for job in jobs]


def kinds(value):
    """A value with the types of all its parts."""
    if isinstance(value, dict):
        return {name: kinds(item) for name, item in value.items()}
    return (type(value), [kinds(item) for item in value] if isinstance(value, list) else repr(value))


def given_by(row):
    """What a row says, whether or not it says what is so anyway."""
    defaults = {f.name: f.default for f in dataclasses.fields(Job)}
    return {name: kinds(value) for name, value in row.items() if value is not None and value != defaults[name]}


@given(_jobs())
def test_column_by_column_is_row_by_row(jobs):
    checked = many.checked(jobs)
    try:
        rows = row_by_row(jobs)
    except GnjError:
        assert checked is None
        return
    if any("position" in row for row in rows):
        assert checked is None
        return
    assert checked is not None
    assert len(checked) == len(rows)
    assert list(map(given_by, checked)) == list(map(given_by, rows))
    assert [checked[place] for place in range(len(rows))] == list(checked) == checked[:]
    assert not any(
        row["input"] is job.input for row, job in zip(checked, jobs, strict=True) if isinstance(job.input, (dict, list))
    )


@given(st.lists(INPUTS | st.dictionaries(st.sampled_from(["a", "b"]), st.integers() | st.booleans()), max_size=3))
def test_values_are_checked_together_as_each_is(values):
    def outcome(call):
        try:
            return kinds(list(call()))
        except InvalidInput as error:
            return str(error)

    assert outcome(lambda: check_jsons(values, "it")) == outcome(lambda: [check_json(value, "it") for value in values])


def test_what_is_no_new_job_is_left_to_others():
    assert many.checked([NewJob("a"), "b"]) is None
    assert many.checked([Sub("a")]) is None


def test_rows_that_have_all_in_common():
    rows = Many(3, {"type": "a", "start_after": None}, {})
    assert list(rows) == [{"type": "a", "start_after": None}] * 3
    assert rows.gives("type")
    assert not rows.gives("start_after")
    with pytest.raises(IndexError):
        rows[3]
    also = rows.also({"status": "queued"}, due_at="start_after")
    assert also[-1] == {"type": "a", "start_after": None, "due_at": None, "status": "queued"}
    differing = Many(1, {}, {"start_after": [5]}).also({}, due_at="start_after")
    assert list(differing) == [{"start_after": 5, "due_at": 5}]
    assert differing.gives("due_at")


@everywhere
def test_as_many_as_that_are_what_they_are_one_by_one(queue):
    shared = {"list": [1]}
    new = [
        NewJob(
            ("a", "b")[n % 2],
            shared if n % 3 else {"n": n, "text": 'a\t"b"\n\\'},
            name=None if n % 5 else f"n{n}",
            priority=n % 4,
            start_after=timedelta(hours=1) if n % 7 == 0 else None,
            unique_id=f"u{n}" if n % 11 == 0 else None,
            backoff=Exponential(2),
            tenant=("", "t")[n % 2],
        )
        for n in range(COUNT)
    ]
    jobs = queue.enqueue_many(new)
    few = [queue.enqueue_many([dataclasses.replace(job, unique_id=None)])[0] for job in new[:20]]

    def alike(job):
        return job.evolve(id=0, created_at=None, updated_at=None, start_after=None, due_at=None, unique_id=None)

    assert list(map(alike, jobs[:20])) == list(map(alike, few))
    assert [queue.get(Job, job.id, tenant=job.tenant) for job in jobs[:20]] == jobs[:20]
    assert [job.id for job in jobs] == sorted(job.id for job in jobs)
    assert [job.start_after is None for job in jobs] == [n % 7 != 0 for n in range(COUNT)]
    jobs[1].input["list"].append(2)
    assert jobs[2].input == shared == {"list": [1]}
    again = queue.enqueue_many(new)
    assert [one.id == other.id for one, other in zip(jobs, again, strict=True)] == [n % 11 == 0 for n in range(COUNT)]


@everywhere
@pytest.mark.parametrize("place", [0, COUNT // 2, COUNT - 1])
def test_one_that_is_wrong_keeps_all_out_and_is_told(queue, place):
    new = [NewJob("a", {"n": n}) for n in range(COUNT)]
    new[place] = NewJob("a", {"n": 2**70}, tenant=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="must not hold integers beyond 64 bits"):
        queue.enqueue_many(new)
    assert queue.count(Job) == 0


def test_those_that_come_first_and_those_somebody_hears_of(queue):
    heard: list[Any] = []
    queue.enqueue_many([NewJob("a", n, lifo=True) for n in range(COUNT)])
    assert queue.acquire(["a"], 1)[0].position < 0
    queue.hooks.add(["created"], heard.append)
    queue.enqueue_many([NewJob("a", n) for n in range(COUNT)])
    assert queue.hooks.flush(5)
    assert len(heard) == COUNT


def test_a_new_job_is_a_dataclass_like_any_other():
    job = NewJob("a", [1], name="n")
    assert job == dataclasses.replace(job) == copy.deepcopy(job) == pickle.loads(pickle.dumps(job))
    assert job.priority == 4
    assert list(inspect.signature(NewJob).parameters) == [f.name for f in dataclasses.fields(NewJob)]
    with pytest.raises(AttributeError, match="cannot assign"):
        job.type = "b"  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'type'"):
        NewJob()  # type: ignore[call-arg]
    assert (Sub("a").type, type(Sub("a"))) == ("a", Sub)
