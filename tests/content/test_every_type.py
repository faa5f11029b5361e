"""What clients ask for is done: each type of content job from its request to its end, on each database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gnj import GNJ
from gnj.content.filters import EVERYTHING
from gnj.content.maker import ContentJobs, User
from gnj.content.recurring import RecurringStatus
from gnj.queue.errors import Duplicate
from gnj.queue.model import Job, Schedule
from gnj.queue.model_content import ContentJob, ContentStatus, ContentType
from gnj.testing import FakeClock

BY = User("u1", "Ann", None)


class Story:
    """An organisation that asks for one content job after the other."""

    def __init__(self, jobs: GNJ, org: str, work: Callable[[], list[Job]]) -> None:
        self.jobs, self.org, self.work = jobs, org, work
        self.made = ContentJobs(jobs.content)
        self.store = jobs.content.store

    def done(self, row: ContentJob) -> ContentJob:
        """The content job, worked to its end, which must be a good one."""
        self.work()
        after = self.jobs.queue.content_job(self.org, row.id)
        assert after is not None
        assert after.status is ContentStatus.COMPLETED, self.log(row)
        assert after.started_at is not None
        assert after.finished_at is not None
        return after

    def log(self, row: ContentJob) -> list[tuple[str, str]]:
        lines, _ = self.jobs.queue.content_logs(self.org, row.id, offset=0, limit=100)
        return [(line.level, line.message) for line in lines]

    def file(self, key: str, *values: Any) -> str:
        """Has a file of entries there, and gives its key."""
        sink = self.jobs.content.files.create(self.org, key)
        sink.write(json.dumps(values).encode())
        sink.finish()
        return key

    def environment(self, named: str | None = None) -> str:
        found = self.store.environment(self.org, named)
        assert found is not None
        return found.id

    def entries(self, named: str | None = None) -> dict[str, Any]:
        page = self.store.entries(self.org, self.environment(named), EVERYTHING, offset=0, limit=100)
        return {entry.id: dict(entry.content) for entry in page.items}

    def imported(self, *values: Any) -> ContentJob:
        key = self.file("uploads/1/entries.json", *values)
        return self.done(
            self.made.import_(self.org, BY, name="Import", type=ContentType.IMPORT_ENTRIES, file_key=key, at=None)
        )

    def copy(self, at: datetime | None = None) -> ContentJob:
        """Asks for a copy of the default environment."""
        return self.made.create_environment(
            self.org, BY, name="Copy", base="main", alias="staging", display_name="Staging", at=at
        )

    def deleted(self, **values: Any) -> ContentJob:
        given: dict[str, Any] = {
            **dict.fromkeys(("at", "site_id", "model", "field", "filter", "kinds")),
            "name": "Delete",
            "is_field": False,
            "filter_given": "filter" in values,
            **values,
        }
        return self.done(self.made.delete(self.org, BY, **given))


@pytest.fixture
def story(jobs: GNJ, org: str, work: Callable[[], list[Job]]) -> Story:
    story = Story(jobs, org, work)
    story.imported(entry("a"), entry("b"), entry("c", "s2"))
    return story


def entry(id: str, site: str = "s1", **content: Any) -> dict[str, Any]:
    system = {"siteId": site, "modelId": "article", "labels": ["x"]}
    return {"id": id, "system": system, "content": {"title": id.upper(), **content}}


def test_an_export_can_be_imported_again(story):
    row = story.done(story.made.export(story.org, BY, name="Export", type=ContentType.EXPORT_ENTRIES, filter=None))
    with story.jobs.content.files.open(story.org, row.file_key) as file:
        assert {json.loads(line)["id"] for line in file} == {"a", "b", "c"}
    again = story.made.import_(
        story.org, BY, name="Again", type=ContentType.IMPORT_ENTRIES, file_key=row.file_key, at=None
    )
    assert story.done(again).errors == 0
    assert story.entries() == {"a": {"title": "A"}, "b": {"title": "B"}, "c": {"title": "C"}}


def test_what_a_filter_passes_over_is_told_in_the_log(story):
    filter = '{"system": {"Id": {"In": ["a"]}}}}'
    row = story.done(story.made.export(story.org, BY, name="Export", type=ContentType.EXPORT_ENTRIES, filter=filter))
    assert [level for level, _ in story.log(row)].count("WARNING") == row.warnings == 1
    with story.jobs.content.files.open(story.org, row.file_key) as file:
        assert [json.loads(line)["id"] for line in file] == ["a"]


def test_deletes_take_what_was_asked_for(story):
    assert story.deleted(filter='{"system": {"Id": {"Eq": "a"}}}').type is ContentType.DELETE_FILTERED_CONTENT
    assert set(story.entries()) == {"b", "c"}
    assert story.deleted(is_field=True, model="article", field="title", site_id="s1").type is ContentType.DELETE_FIELD
    assert story.entries() == {"b": {}, "c": {"title": "C"}}
    assert story.deleted(site_id="s1", kinds=["DELETE_TAGS"]).warnings == 0
    assert story.deleted(site_id="s1").type is ContentType.DELETE_CONTENT
    assert story.entries() == {"c": {"title": "C"}}
    assert {site.id for site in story.store.sites(story.org)} == {"s1", "s2"}
    assert story.deleted(site_id="site123", model="Article").warnings > 0
    assert set(story.entries()) == {"c"}


def test_an_environment_is_copied_synced_and_deleted(story):
    row = story.copy()
    assert story.store.environment(story.org, "staging") is None
    story.done(row)
    assert story.environment("staging") == row.params["environment"]
    assert story.entries("staging") == story.entries()
    story.imported(entry("a", title="new"), entry("d"))
    assert story.entries("staging") != story.entries()
    sync = story.made.sync_environments(story.org, BY, name="Sync", base="main", target="staging", cron=None)
    assert isinstance(sync, ContentJob)
    story.done(sync)
    assert story.entries("staging") == story.entries()
    assert story.entries("staging")["a"] == {"title": "new"}
    story.done(story.made.delete_environment(story.org, BY, name="Drop", environment="staging"))
    assert [each.alias for each in story.store.environments(story.org)] == ["main"]
    story.done(story.copy())


def test_a_copy_that_is_deleted_before_its_time_leaves_nothing(story):
    later = datetime.now(UTC) + timedelta(days=1)
    row = story.copy(later)
    with pytest.raises(Duplicate):
        story.copy()
    assert story.made.delete_job(story.org, BY, row.id).status is ContentStatus.DELETED
    assert story.work() == []
    story.copy()


def test_a_site_is_cloned(story):
    row = story.made.clone_site(
        story.org, BY, name="Clone", site="s1", alias="copy", site_name="Copy", logo="https://example.org/logo.png"
    )
    story.done(row)
    (site,) = (site for site in story.store.sites(story.org) if site.alias == "copy")
    assert (site.name, site.logo) == ("Copy", "https://example.org/logo.png")
    assert sorted(content["title"] for content in story.entries().values()) == ["A", "A", "B", "B", "C"]
    with pytest.raises(Duplicate):
        story.made.clone_site(story.org, BY, name="Clone", site="s1", alias="copy", site_name="Copy", logo="")


def test_a_recurring_sync_syncs(story):
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    story.jobs.storage.clock = clock
    story.done(story.copy())
    schedule = story.made.sync_environments(
        story.org, BY, name="Each hour", base="main", target="staging", cron="0 * * * *"
    )
    assert isinstance(schedule, Schedule)
    story.imported(entry("d"))
    clock.tick(3_600)
    assert story.jobs.queue.tick(force=True) == 1
    assert story.made.recurring.of(schedule).status is RecurringStatus.ACTIVE
    story.work()
    assert story.made.recurring.of(schedule).status is RecurringStatus.SCHEDULED
    assert story.entries("staging") == story.entries()
