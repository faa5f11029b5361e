"""Imports of entries: what is written, what is refused and why, and what a break, a kill or a cancellation leaves."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gnj.content import importing
from gnj.content import task as tasks
from gnj.content.store import Holder
from gnj.queue.errors import CancelRequested, Failed, LeaseLost, Snooze
from gnj.queue.model import Job
from gnj.queue.model_content import ContentStatus
from gnj.queue.states import JobStatus
from gnj.reading import pieces
from gnj.settings_content import ContentLimits
from tests.content.tasks import (
    Killed,
    again,
    an_import,
    application,
    claim,
    entry,
    log,
    now,
    run,
    stored,
    work,
)
from tests.serving import ROOT


@pytest.fixture
def jobs():
    with application(content_limits=ContentLimits(batch=3, entry=2_000)) as made:
        yield made


def lines(values):
    return "\n".join(map(json.dumps, values))


@pytest.mark.parametrize(
    "key, text",
    [
        ("a.json", json.dumps),
        ("a.json", lambda values: "\ufeff" + json.dumps(values, indent=2).replace("\n", "\r\n")),
        ("a.jsonl", lines),
        ("a.txt", lambda values: lines(values).replace("\n", "\r\n\r\n")),
    ],
)
def test_every_format_comes_to_the_same(jobs, key, text):
    values = [entry(f"e{n}", content={"title": f"Entry {n}"}) for n in range(7)]
    row = an_import(jobs, text(values), key=key)
    (done,) = work(jobs)
    assert done.output == {"imported": 7, "refused": 0}
    assert log(jobs, row) == [("INFORMATION", "7 entries were imported, 0 refused")]
    found = stored(jobs)
    assert sorted(found) == [f"e{n}" for n in range(7)]
    assert found["e3"].content == {"title": "Entry 3"}
    environment = jobs.content.store.environment("acme", None).id
    assert now(jobs, row).result == {"imported": 7, "refused": 0, "environments": [environment]}
    assert done.progress["percent"] == 100.0
    assert [site.id for site in jobs.content.store.sites("acme")] == ["s1"]


def test_a_single_object_is_one_entry(jobs):
    an_import(jobs, entry("e1"))
    work(jobs)
    assert list(stored(jobs)) == ["e1"]


def test_each_bad_entry_is_one_error_and_stops_no_other(jobs):
    row = an_import(
        jobs,
        [
            entry("a"),
            {"system": {"siteId": "s1", "modelId": "article"}},
            5,
            entry("a", site="s2"),
            entry("b", system={"environmentId": "nowhere"}),
            entry("c", content={"text": "x" * 2_000}),
            entry("d"),
        ],
    )
    (done,) = work(jobs)
    assert done.output == {"imported": 2, "refused": 5}
    assert sorted(stored(jobs)) == ["a", "d"]
    assert [message for level, message in log(jobs, row) if level == "ERROR"] == [
        "entry 2: id is missing",
        "entry 3: an entry must be an object, not 5",
        "entry 4: the id stands in the site s1",
        "entry 5: there is no environment 'nowhere'",
        "entry 6: the value must have at most 2,000 bytes as JSON, not 2,077",
    ]


def test_in_json_lines_the_position_is_the_line(jobs):
    row = an_import(jobs, f"\n{json.dumps(entry('a'))}\n\noops\n{json.dumps(entry('b'))}\n", key="a.jsonl")
    work(jobs)
    assert sorted(stored(jobs)) == ["a", "b"]
    assert log(jobs, row)[0] == ("ERROR", "entry 4: the line is no JSON: Expecting value at character 1")


def test_a_file_in_which_every_entry_is_bad_still_completes(jobs):
    row = an_import(jobs, [1, 2, {"id": "a"}, {}])
    (done,) = work(jobs)
    assert (done.status, done.output) == (JobStatus.SUCCESSFUL, {"imported": 0, "refused": 4})
    assert stored(jobs) == {}
    assert now(jobs, row).errors == 4


def test_an_array_without_entries_completes(jobs):
    row = an_import(jobs, [])
    (done,) = work(jobs)
    assert done.output == {"imported": 0, "refused": 0}
    assert now(jobs, row).result["environments"] == []


def test_within_a_file_the_last_occurrence_wins(jobs):
    an_import(jobs, [entry("a", content={"n": n}) for n in range(8)] + [entry("b"), entry("a", content={"n": 9})])
    work(jobs)
    assert stored(jobs)["a"].content == {"n": 9}


def test_entries_go_where_they_say(jobs):
    store = jobs.content.store
    store.ready("acme")
    made = store.reserve("acme", "stage", "Stage", 5)
    store.publish("acme", made, Holder(5, 1, 1))
    an_import(
        jobs,
        [
            entry("a"),
            entry("b", system={"environmentId": "stage"}),
            entry("c", system={"environmentId": made}),
            entry("d", system={"environmentId": "main"}),
        ],
    )
    work(jobs)
    assert sorted(stored(jobs)) == ["a", "d"]
    assert sorted(stored(jobs, environment="stage")) == ["b", "c"]


@pytest.mark.parametrize(
    "data, told",
    [
        (json.dumps([entry("a"), entry("b")])[:-30], "the file breaks off at value 2: the file ends before it does"),
        (json.dumps([entry("a")])[:-1] + ', {"id": oops}]', "the file breaks off at value 2: Expecting value"),
        (json.dumps([entry("a")]).encode() + b"\xff", "the file is not UTF-8"),
    ],
)
def test_a_broken_file_fails_the_task_and_what_stood_before_the_break_stays(jobs, data, told):
    row = an_import(jobs, data)
    (done,) = work(jobs)
    assert done.status is JobStatus.FAILED
    assert done.output["error"].startswith(told)
    assert list(stored(jobs)) == ["a"]
    found = log(jobs, row)
    assert [level for level, _ in found] == ["INFORMATION", "ERROR"]
    assert found[0][1] == "1 entry was imported, 0 refused"
    assert found[1][1].startswith(told)
    assert now(jobs, row).status is ContentStatus.FAILED
    assert [task.status for task in jobs.queue.content_tasks("acme", [row.id])[row.id]][1:] == ["planned"] * 3


@pytest.mark.parametrize("data", ["", "hello", b"\xff\xfe[\x00"])
def test_so_does_one_that_is_nothing(jobs, data):
    row = an_import(jobs, data)
    (done,) = work(jobs)
    assert done.status is JobStatus.FAILED
    assert now(jobs, row).status is ContentStatus.FAILED


def test_one_that_has_gone_meanwhile_fails_as_well(jobs):
    row = an_import(jobs, [])
    jobs.content.files.remove("acme", row.file_key)
    (done,) = work(jobs)
    assert done.output == {"error": f"there is no file {row.file_key!r}"}


def test_an_import_that_runs_twice_leaves_what_one_does(jobs):
    values = [entry(f"e{n}") for n in range(5)]
    an_import(jobs, values)
    an_import(jobs, values)
    assert [done.output["imported"] for done in work(jobs)] == [5, 5]
    assert len(stored(jobs)) == 5


def test_organisations_do_not_meet(jobs):
    an_import(jobs, [entry("a")], tenant="acme")
    an_import(jobs, [entry("b")], tenant="other")
    work(jobs)
    assert (list(stored(jobs)), list(stored(jobs, "other"))) == (["a"], ["b"])


class Asked:
    """A worker's context, of which `cancel_requested` is looked up each time."""

    lease_lost = False

    def __init__(self, asked):
        self._asked = asked

    @property
    def cancel_requested(self):
        if self._asked():
            raise CancelRequested("now")
        return False


def deadly(monkeypatch, owner, name, when, *, after):
    """Has the call of that number end the try, before or after what it does."""
    real, calls = getattr(owner, name), []

    def call(*args, **options):
        calls.append(args)
        if len(calls) == when and not after:
            raise Killed
        result = real(*args, **options)
        if len(calls) == when:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, call)


VALUES: list[dict[str, Any]] = [
    entry(f"e{n % 11}", content={"n": n}) if n % 4 else {"id": f"bad{n}"} for n in range(20)
]
WRONG = [f"entry {n + 1}: system.siteId is missing" for n in range(0, 20, 4)]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "what, when",
    [("put_entries", 1), ("put_entries", 4), ("put_entries", 7), ("publish", 1), ("checkpoint", 1)]
    + [("checkpoint", n) for n in range(2, 12)],
)
def test_an_import_that_was_killed_anywhere_comes_to_what_one_whole_run_does(jobs, monkeypatch, what, when, after):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    row = an_import(jobs, VALUES)
    job = claim(jobs)
    with monkeypatch.context() as patch:
        deadly(patch, jobs.queue if what == "checkpoint" else jobs.content.store, what, when, after=after)
        with pytest.raises(Killed):
            run(jobs, job)
    assert run(jobs, again(jobs, job)) == {"imported": 15, "refused": 5}
    assert {id: found.content["n"] for id, found in stored(jobs).items()} == {
        value["id"]: value["content"]["n"] for value in VALUES if "content" in value
    }
    found = log(jobs, row)
    assert [message for level, message in found if level == "ERROR"] == WRONG
    assert found[-1] == ("INFORMATION", "15 entries were imported, 5 refused")
    assert len(found) == 6


@pytest.mark.parametrize("lines", [True, False])
def test_its_progress_never_goes_back_and_lines_are_not_read_again(jobs, monkeypatch, lines):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    monkeypatch.setattr("gnj.reading.pieces.PIECE", 64)
    text = "\n".join(map(json.dumps, VALUES)) if lines else json.dumps(VALUES)
    an_import(jobs, text, key="a.jsonl" if lines else "a.json")
    job = claim(jobs)
    with monkeypatch.context() as patch:
        deadly(patch, jobs.content.store, "put_entries", 5, after=True)
        with pytest.raises(Killed):
            run(jobs, job)
    noted = jobs.queue.get(Job, job.id).progress
    told = []
    real = jobs.queue.checkpoint

    def checkpoint(claim, progress, *args, **options):
        told.append(progress["done"])
        return real(claim, progress, *args, **options)

    monkeypatch.setattr(jobs.queue, "checkpoint", checkpoint)
    at = []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            at.append(self.tell())
            return super().read(size)

    monkeypatch.setattr(jobs.content.files, "open", lambda *_: Watched(text.encode()))
    assert run(jobs, again(jobs, job)) == {"imported": 15, "refused": 5}
    assert told[0] == noted["done"] > 100
    assert told == sorted(told)
    assert told[-1] == len(text)
    assert at[0] == (noted["cursor"]["offset"] if lines else 0)


def test_an_import_that_is_cancelled_leaves_nothing(jobs, monkeypatch):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    row = an_import(jobs, VALUES)
    store = jobs.content.store
    real, calls = store.put_entries, []

    def put(*args):
        calls.append(args)
        if len(calls) == 3:
            jobs.queue.delete_content_job("acme", row.id, {"id": "u2"})
        return real(*args)

    monkeypatch.setattr(store, "put_entries", put)
    with pytest.raises(CancelRequested):
        run(jobs, claim(jobs))
    assert len(calls) == 3
    assert stored(jobs) == {}
    assert all(room.writer is None for room in store.rooms.values())


def test_a_worker_that_ends_leaves_the_rest_to_the_next(jobs, monkeypatch):
    row = an_import(jobs, VALUES)
    job = claim(jobs)
    for _ in range(3):
        ending = random.Random(7)
        with pytest.raises(Snooze):
            run(jobs, job, stopping=lambda ending=ending: ending.random() < 0.5)
        job = again(jobs, job)
    assert run(jobs, job)["imported"] == 15
    assert len([1 for level, _ in log(jobs, row) if level == "ERROR"]) == 5


def test_a_try_that_was_lost_in_the_middle_writes_nothing_more(jobs, monkeypatch):
    row = an_import(jobs, VALUES)
    job = claim(jobs)
    store = jobs.content.store
    real = store.put_entries
    results: list[Any] = []

    def put(*args):
        if not results:  # the worker slept, and somebody else did all of it
            results.append(None)
            results.append(run(jobs, again(jobs, job)))
        return real(*args)

    monkeypatch.setattr(store, "put_entries", put)
    with pytest.raises(LeaseLost):
        run(jobs, job)
    assert results[1] == {"imported": 15, "refused": 5}
    assert len(log(jobs, row)) == 6
    assert len(stored(jobs)) == 11


def two_imports(jobs):
    """Two imports, of which each begins with the environment that the other ends with: claimed."""
    store = jobs.content.store
    store.ready("acme")
    store.publish("acme", store.reserve("acme", "stage", "Stage", 5), Holder(5, 1, 1))
    here, there = {"environmentId": "main"}, {"environmentId": "stage"}
    bad = [{"id": "bad"}]
    rows = [
        an_import(jobs, [entry(f"a{n}", system=each) for n, each in enumerate([here] * 3 + [there])], key="1"),
        an_import(jobs, bad + [entry(f"b{n}", system=each) for n, each in enumerate([there] * 3 + [here])], key="2"),
    ]
    return rows, [claim(jobs), claim(jobs)]


def test_two_imports_that_each_want_what_the_other_has_do_not_wait_for_ever(jobs, monkeypatch):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    rows, claims = two_imports(jobs)
    store = jobs.content.store
    real = store.put_entries
    results: list[Any] = []

    def put(tenant, environment, holder, entries):
        reasons = real(tenant, environment, holder, entries)
        if not results:  # the first import has its environment: now the other one takes its own
            results.append(None)
            with pytest.raises(Snooze):
                run(jobs, claims[1])
        return reasons

    monkeypatch.setattr(store, "put_entries", put)
    assert run(jobs, claims[0]) == {"imported": 4, "refused": 0}
    assert run(jobs, again(jobs, claims[1])) == {"imported": 4, "refused": 1}
    assert sorted(stored(jobs)) == ["a0", "a1", "a2", "b3"]
    assert sorted(stored(jobs, environment="stage")) == ["a3", "b0", "b1", "b2"]
    # it began anew, and does not say again what it has said
    assert [message for level, message in log(jobs, rows[1]) if level == "ERROR"] == [
        "entry 1: system.siteId is missing"
    ]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("what", ["abandon", "checkpoint"])
@pytest.mark.parametrize("waits", [0, 2])
def test_one_that_is_killed_while_it_gives_way_begins_anew(jobs, monkeypatch, waits, what, after):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    store = jobs.content.store
    store.ready("acme")
    stage = store.reserve("acme", "stage", "Stage", 5)
    store.publish("acme", stage, Holder(5, 1, 1))
    earlier = an_import(jobs, [], key="1")
    writer = Holder(earlier.id, claim(jobs).id, 1)
    store.open("acme", stage, writer)
    last = entry("z", site="s2", system={"environmentId": "stage"})
    row = an_import(jobs, [*(entry(f"e{n}") for n in range(9)), last], key="2")
    job = claim(jobs)
    real = jobs.queue.checkpoint

    def checkpoint(claim, progress, *args, **options):
        began_anew = claim.id == job.id and progress.get("cursor") == asdict(importing._Reached(told=9))
        if began_anew and not after:
            raise Killed
        result = real(claim, progress, *args, **options)
        if began_anew:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        if what == "checkpoint":
            patch.setattr(jobs.queue, "checkpoint", checkpoint)
        else:
            deadly(patch, store, "abandon", 1, after=after)
        with pytest.raises(Killed):
            run(jobs, job)
    for _ in range(waits):
        job = again(jobs, job)
        with pytest.raises(Snooze):
            run(jobs, job)
        assert all(room.writer in (None, writer) for room in store.rooms.values())
    store.abandon("acme", writer)
    assert run(jobs, again(jobs, job)) == {"imported": 10, "refused": 0}
    assert len(stored(jobs)) == 9
    assert list(stored(jobs, environment="stage")) == ["z"]
    assert [line for line in log(jobs, row) if line[0] == "ERROR"] == []


BREAKS = '[{"id": "a", "system": {"siteId": "s", "modelId": "m"}}, {"id": "b" nonsense                  ]'


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("when", range(1, 6))
def test_a_broken_file_fails_wherever_the_task_was_killed(jobs, monkeypatch, when, after):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    row = an_import(jobs, BREAKS)
    job = claim(jobs)
    with monkeypatch.context() as patch:
        deadly(patch, jobs.queue, "checkpoint", when, after=after)
        with pytest.raises(Killed):
            run(jobs, job)
    with pytest.raises(Failed, match="breaks off at value 2"):
        run(jobs, again(jobs, job))
    assert list(stored(jobs)) == ["a"]
    assert [level for level, _ in log(jobs, row)] == ["INFORMATION", "ERROR"]


@pytest.mark.parametrize("when", range(1, 6))
def test_so_it_does_wherever_the_worker_ended(jobs, monkeypatch, when):
    row = an_import(jobs, BREAKS)
    job = claim(jobs)
    looks = []

    def stopping():
        looks.append(1)
        return len(looks) == when

    with contextlib.suppress(Snooze, Failed):
        run(jobs, job, stopping=stopping)
    with pytest.raises(Failed, match="breaks off at value 2"):
        run(jobs, again(jobs, job))
    assert [level for level, _ in log(jobs, row)] == ["INFORMATION", "ERROR"]


def test_one_that_had_published_writes_over_nothing_that_came_later(jobs, monkeypatch):
    store = jobs.content.store
    first = an_import(jobs, [entry("x", content={"by": "first"})], key="1")
    an_import(jobs, [entry("x", content={"by": "second"})], key="2")
    one, two = claim(jobs), claim(jobs)
    with monkeypatch.context() as patch:
        deadly(patch, store, "publish", 1, after=True)
        with pytest.raises(Killed):
            run(jobs, two)
    store.open("acme", store.environment("acme", None).id, Holder(first.id, one.id, one.attempt))
    assert run(jobs, again(jobs, two)) == {"imported": 1, "refused": 0}
    run(jobs, one)
    assert stored(jobs)["x"].content == {"by": "first"}


@pytest.mark.parametrize("text", ["\n" * 50, "[" + '"' + "x" * 50_000 + '"]', " " * 50 + "[]"])
def test_who_wants_it_to_end_does_not_wait_for_a_value(jobs, monkeypatch, text):
    monkeypatch.setattr(pieces, "PIECE", 1)
    jobs.content.store.ready("acme")
    an_import(jobs, text, key="a.jsonl" if text[0] == "\n" else "a.json")
    job = claim(jobs)
    bytes_read = []

    def cancelled(count):
        bytes_read.append(count)
        return len(bytes_read) > 5

    for ending in ({"stopping": lambda: cancelled(0)}, {"ctx": Asked(lambda: cancelled(0))}):
        bytes_read.clear()
        with pytest.raises((Snooze, CancelRequested)):
            run(jobs, job, **ending)
        assert len(bytes_read) == 6
        if "ctx" not in ending:
            job = again(jobs, job)


def test_what_a_log_has_no_room_for_is_only_counted(monkeypatch):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    with application(content_limits=ContentLimits(batch=3, logs=10)) as jobs:
        row = an_import(jobs, list(range(30)))
        job = claim(jobs)
        with monkeypatch.context() as patch:
            deadly(patch, jobs.queue, "checkpoint", 6, after=True)
            with pytest.raises(Killed):
                run(jobs, job)
        assert run(jobs, again(jobs, job)) == {"imported": 0, "refused": 30}
        found = log(jobs, row)
        assert found[-2:] == [
            ("WARNING", "more than 10 entries were refused: the others are only counted"),
            ("INFORMATION", "0 entries were imported, 30 refused"),
        ]
        assert (now(jobs, row).errors, now(jobs, row).logs) == (10, 12)
        assert found[0] == ("ERROR", "entry 3: an entry must be an object, not 2")


def test_environments_are_looked_up_once_a_batch_however_many_are_named(jobs, monkeypatch):
    store = jobs.content.store
    real, looks = store.environments, []
    monkeypatch.setattr(store, "environment", lambda *_: pytest.fail("one by one"))

    def environments(tenant):
        looks.append(tenant)
        return real(tenant)

    monkeypatch.setattr(store, "environments", environments)
    values = [entry(f"e{n}", system={"environmentId": f"nowhere{n}"}) for n in range(9)]
    an_import(jobs, [*values, entry("a")])
    monkeypatch.setattr(tasks.Task, "publish", lambda *_: None)
    work(jobs)
    assert len(looks) == 3


def test_large_entries_are_written_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 1_000_000)
    with application(content_limits=ContentLimits(entry=1_000_000)) as jobs:
        an_import(jobs, [entry(f"e{n}", content={"text": "x" * 400_000}) for n in range(9)])
        store = jobs.content.store
        real, sizes = store.put_entries, []

        def put(*args):
            sizes.append(len(args[-1]))
            return real(*args)

        monkeypatch.setattr(store, "put_entries", put)
        work(jobs)
        assert sum(sizes) == 9
        assert max(sizes) <= 4


LARGE = """\
import json, re, sys
from pathlib import Path
from types import SimpleNamespace
from gnj.content import handlers
from gnj.testing import drain
from gnj.worker import Handlers
from tests.content.fakes import FakeFiles, FakeStore
from tests.content.tasks import ENTRIES, application, entry, make

SIZE, array = int(sys.argv[1]), sys.argv[2] == "array"
line = json.dumps(entry("e1", content={"text": "Lorem ipsum " * 800})).encode() + (b",\\n" if array else b"\\n")


class Endless:
    # made as it is read: the file is nowhere
    def __init__(self):
        self.left, self.kept = SIZE // len(line), b"[" if array else b""

    def read(self, size):
        while self.left and len(self.kept) < size:
            self.left -= 1
            self.kept += line if self.left or not array else line[:-2] + b"]"
        given, self.kept = self.kept[:size], self.kept[size:]
        return given

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Files(FakeFiles):
    def open(self, tenant, key):
        return Endless()


class Store(FakeStore):
    def put_entries(self, tenant, environment, holder, entries):
        return [None] * len(entries)


with application(content=Store(), files=Files()) as jobs:
    make(jobs, key="large")
    registry = Handlers()
    handlers.register(registry, jobs.content)
    (done,) = drain(SimpleNamespace(queue=jobs.queue, handlers=registry), types=[ENTRIES])
    # not getrusage: what that tells begins with the size of the process that started this one
    print(done.output["imported"], int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="capability: no /proc")
@pytest.mark.parametrize("kind", ["array", "lines"])
@pytest.mark.parametrize(
    "size", [32 * 2**20, pytest.param(2**30, marks=[pytest.mark.slow, pytest.mark.timeout(600)], id="1GiB")]
)
def test_the_memory_of_an_import_does_not_grow_with_the_file(kind, size):
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(size), kind],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    imported, resident = map(int, done.stdout.split())
    assert imported > size // 10_000
    assert resident < 200
