"""Exports of entries: what the file has, that an import takes it back, and what is left of one that was not ended."""

from __future__ import annotations

import json

import pytest

from gnj.content import exporting
from gnj.content import task as tasks
from gnj.content.filters import Condition, EntryFilter, Parsed
from gnj.queue.errors import CancelRequested, Snooze
from gnj.queue.model_content import ContentStatus, ContentType
from gnj.settings_content import ContentLimits
from tests.content.tasks import (
    Killed,
    an_import,
    application,
    claim,
    entry,
    log,
    make,
    now,
    run,
    stored,
    work,
)

VALUES = [
    entry(
        f"e{n}",
        site=f"s{n % 2}",
        content={"title": f"Zürich {n} 😀\n", "n": n / 3},
        attrs={"x": [None, {"y": True}]},
        system={"status": "PUBLISHED", "labels": ["b", "a"], "publishedAt": "2024-05-01T00:00:00.123Z", "author": n},
    )
    for n in range(10)
]


@pytest.fixture
def jobs():
    with application(content_limits=ContentLimits(batch=3)) as made:
        an_import(made, VALUES)
        work(made)
        yield made


def an_export(jobs, **params):
    return make(jobs, ContentType.EXPORT_ENTRIES, params=params, name="Straße & Co: alles!")


def lines(jobs, row):
    text = jobs.content.files.open("acme", now(jobs, row).file_key).read().decode()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_an_export_has_every_entry_by_id(jobs):
    row = an_export(jobs)
    (done,) = work(jobs)
    assert done.output == {"exported": 10}
    assert log(jobs, row) == [("INFORMATION", "10 entries were exported")]
    found = now(jobs, row)
    assert (found.status, found.result) == (ContentStatus.COMPLETED, {"exported": 10})
    assert [each["id"] for each in lines(jobs, row)] == [f"e{n}" for n in range(10)]
    assert found.file_key.startswith(f"exports/{row.id}-")
    assert found.file_key.endswith("/strae-co-alles.jsonl")
    assert jobs.content.store.pins == {}


def test_what_it_has_can_be_imported_elsewhere_and_is_the_same(jobs):
    row = an_export(jobs)
    work(jobs)
    data = jobs.content.files.open("acme", now(jobs, row).file_key).read()
    an_import(jobs, data, tenant="other", key="copy.jsonl")
    work(jobs)
    assert stored(jobs, "other") == stored(jobs)


def test_a_filter_says_which(jobs, monkeypatch):
    filter = EntryFilter((Condition("SiteId", "Eq", "s1"),))
    monkeypatch.setattr(exporting, "parse", lambda text: {"that": Parsed(filter)}[text])
    row = an_export(jobs, filter="that")
    work(jobs)
    assert [each["id"] for each in lines(jobs, row)] == ["e1", "e3", "e5", "e7", "e9"]


def test_an_organisation_without_content_gets_an_empty_file(jobs):
    row = make(jobs, ContentType.EXPORT_ENTRIES, tenant="new", name="")
    (done,) = work(jobs)
    assert done.output == {"exported": 0}
    key = now(jobs, row).file_key
    assert key.endswith("/entries.jsonl")
    assert jobs.content.files.open("new", key).read() == b""


@pytest.mark.parametrize("when", range(1, 5))
def test_one_that_was_killed_leaves_no_file_and_the_next_try_has_the_same_snapshot(jobs, monkeypatch, when):
    row = an_export(jobs)
    job = claim(jobs)
    store = jobs.content.store
    real, pages = store.scan, []

    def scan(*args, **options):
        pages.append(args)
        if len(pages) == when:
            raise Killed
        return real(*args, **options)

    monkeypatch.setattr(store, "scan", scan)
    with pytest.raises(Killed):
        run(jobs, job)
    assert now(jobs, row).file_key is None
    assert jobs.content.files.stat("acme", exporting.file_key(row)) is None
    an_import(jobs, [entry("new"), entry("e1", site="s1", content={"title": "changed"})], key="2")
    work_import(jobs)
    jobs.queue.give_back([job])
    assert run(jobs, claim(jobs)) == {"exported": 10}
    assert lines(jobs, row)[1]["content"]["title"] == "Zürich 1 😀\n"
    assert "new" in stored(jobs)


def work_import(jobs):
    assert run(jobs, claim(jobs))["imported"] == 2


def test_one_that_is_cancelled_leaves_no_file(jobs, monkeypatch):
    monkeypatch.setattr(tasks, "EVERY", 0.0)
    row = an_export(jobs)
    job = claim(jobs)
    jobs.queue.delete_content_job("acme", row.id, {"id": "u2"})
    with pytest.raises(CancelRequested):
        run(jobs, job)
    assert now(jobs, row).file_key is None
    assert jobs.content.store.pins == {}


def test_one_that_is_cancelled_at_the_end_leaves_no_file(jobs, monkeypatch):
    """Also within the second in which nobody is asked."""
    row = an_export(jobs)
    job = claim(jobs)
    real = jobs.content.store.scan

    def scan(*args, **options):
        page = real(*args, **options)
        if len(page) < 3:
            jobs.queue.delete_content_job("acme", row.id, {"id": "u2"})
        return page

    monkeypatch.setattr(jobs.content.store, "scan", scan)
    with pytest.raises(CancelRequested):
        run(jobs, job)
    assert jobs.content.files.stat("acme", exporting.file_key(row)) is None


def test_a_worker_that_ends_leaves_it_to_the_next(jobs):
    row = an_export(jobs)
    job = claim(jobs)
    looks = []

    def stopping():
        looks.append(1)
        return len(looks) == 3

    with pytest.raises(Snooze):
        run(jobs, job, stopping=stopping)
    jobs.queue.give_back([job])
    assert run(jobs, claim(jobs)) == {"exported": 10}
    assert len(lines(jobs, row)) == 10


def test_one_that_was_killed_after_its_key_was_told_leaves_the_file_as_it_is(jobs, monkeypatch):
    row = an_export(jobs)
    job = claim(jobs)

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tasks.Task, "end", kill)
        with pytest.raises(Killed):
            run(jobs, job)
    key = now(jobs, row).file_key
    before = jobs.content.files.open("acme", key).read()
    an_import(jobs, [entry("new"), entry("e1", site="s1", content={"title": "changed"})], key="2")
    work_import(jobs)
    jobs.queue.give_back([job])
    assert run(jobs, claim(jobs)) == {"exported": 10}
    assert jobs.content.files.open("acme", key).read() == before
    assert log(jobs, row) == [("INFORMATION", "10 entries were exported")]
    assert jobs.content.store.pins == {}
