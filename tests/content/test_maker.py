"""What clients may ask for, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from gnj.content.application import Content
from gnj.content.maker import ContentJobs, User
from gnj.content.store import DropEnvironment, Holder
from gnj.queue import works
from gnj.queue.catalog import RECORDS
from gnj.queue.errors import (
    Duplicate,
    GnjError,
    IllegalTransition,
    InvalidInput,
    InvalidText,
    NotFound,
    StorageUnavailable,
)
from gnj.queue.model import ContentJob, Schedule
from gnj.queue.model_content import TASKS, ContentStatus, ContentType
from gnj.queue.service import Queue
from gnj.queue.storage import Select
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock
from tests.content.fakes import FakeFiles, FakeStore

BY = User("u1", "Ann", "ann@example.org")
IN_SITE = '{"system": {"SiteId": {"In": ["s1"], "_t": "StringFilter"}, "_t": "EntrySystemFilter"}}'
TYPES = [task.job_type for tasks in TASKS.values() for task in tasks]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def files() -> FakeFiles:
    files = FakeFiles()
    files.put("acme", "uploads/1/a.json", b"[]")
    return files


@pytest.fixture
def made(clock: FakeClock, store: FakeStore, files: FakeFiles) -> ContentJobs:
    queue = Queue(MemoryStorage(clock), lease=60.0)
    return ContentJobs(Content(queue=queue, store=store, files=files, time_zone="Europe/Paris"))


@pytest.fixture
def refused(made: ContentJobs, store: FakeStore) -> Callable[..., Any]:
    """`with refused(Error, "its text"):` what is inside raises just that, and leaves no row and no environment behind."""

    @contextmanager
    def check(error: type[GnjError], message: str | None = None) -> Iterator[None]:
        store.ready("acme")
        rows, rooms = everything(made), set(store.rooms)
        with pytest.raises(error) as caught:
            yield
        assert type(caught.value) is error
        assert message is None or str(caught.value) == message
        assert everything(made) == rows
        assert set(store.rooms) == rooms

    return check


@pytest.fixture
def site(store: FakeStore) -> str:
    """A site in the default environment of "acme"."""
    return with_site(store, "main", "s1")


def everything(made: ContentJobs) -> list[Any]:
    storage = made.content.queue.storage
    return [storage.find(kind, Select(deleted=True)) for kind in RECORDS.values()]


def with_site(store: FakeStore, alias: str, id: str) -> str:
    store.ready("acme")
    room = next(room for room in store.rooms.values() if room.environment.alias == alias)
    store._site(room, room.now, id, id)
    return id


def environment(store: FakeStore, alias: str) -> str:
    """The id of a published environment of "acme"."""
    store.ready("acme")
    id = store.reserve("acme", alias, alias.title(), None)
    store.rooms[id].made = True
    return id


def default(store: FakeStore) -> str:
    store.ready("acme")
    found = store.environment("acme", None)
    assert found is not None
    return found.id


def a_delete(made: ContentJobs, **values: Any) -> ContentJob:
    given: dict[str, Any] = {
        "name": "Delete",
        "at": None,
        "site_id": None,
        "model": None,
        "field": None,
        "is_field": False,
        "filter": None,
        "filter_given": "filter" in values,
        "kinds": None,
        **values,
    }
    return made.delete("acme", BY, **given)


def an_import(made: ContentJobs, **values: Any) -> ContentJob:
    given: dict[str, Any] = {
        "name": "Import",
        "type": ContentType.IMPORT_ENTRIES,
        "file_key": "uploads/1/a.json",
        "at": None,
        **values,
    }
    return made.import_("acme", BY, **given)


def a_copy(made: ContentJobs, **values: Any) -> ContentJob:
    given: dict[str, Any] = {
        "name": "Copy",
        "base": "main",
        "alias": "staging",
        "display_name": "Staging",
        "at": None,
        **values,
    }
    return made.create_environment("acme", BY, **given)


def a_sync(made: ContentJobs, **values: Any) -> Any:
    given: dict[str, Any] = {"name": "Sync", "base": "main", "target": "staging", "cron": None, **values}
    return made.sync_environments("acme", BY, **given)


def a_clone(made: ContentJobs, **values: Any) -> ContentJob:
    given: dict[str, Any] = {
        "name": "Clone",
        "site": "s1",
        "alias": "s2",
        "site_name": "Site 2",
        "logo": "https://example.org/logo.png",
        **values,
    }
    return made.clone_site("acme", BY, **given)


# What all have in common ------------------------------------------------------------------------------------------------


def test_who_asked_is_kept_with_what_was_made(made):
    row = an_import(made, name="Import É")
    assert (row.name, row.tenant, row.status) == ("Import É", "acme", ContentStatus.PENDING)
    assert row.created_by == {"id": "u1", "name": "Ann", "email": "ann@example.org"}
    assert row.changed_by is None


def test_an_organisation_has_its_default_environment_with_its_first_job(made, store):
    made.export("acme", BY, name="Export", type=ContentType.EXPORT_ENTRIES, filter=None)
    assert [each.alias for each in store.environments("acme")] == ["main"]


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_a_blank_name_is_refused_for_every_type(made, refused, site, store, name):
    environment(store, "staging")
    says = "jobName must not be blank"
    with refused(InvalidInput, says):
        an_import(made, name=name)
    with refused(InvalidInput, says):
        made.export("acme", BY, name=name, type=ContentType.EXPORT_ENTRIES, filter=None)
    with refused(InvalidInput, says):
        a_delete(made, name=name, site_id="s1")
    with refused(InvalidInput, says):
        a_copy(made, name=name, alias="other")
    with refused(InvalidInput, says):
        a_sync(made, name=name)
    with refused(InvalidInput, says):
        a_sync(made, name=name, cron="0 * * * *")
    with refused(InvalidInput, says):
        made.delete_environment("acme", BY, name=name, environment="staging")
    with refused(InvalidInput, says):
        a_clone(made, name=name)


def test_names_that_cannot_be_kept_are_refused(made, refused):
    with refused(InvalidText, "jobName must not hold a NUL character"):
        an_import(made, name="a\0b")
    with refused(InvalidInput, "jobName must have at most 500 characters, not 501"):
        an_import(made, name="a" * 501)


# Imports and exports ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", [ContentType.IMPORT_ENTRIES, ContentType.IMPORT_ASSETS])
def test_an_import_reads_a_file_that_is_there(made, type):
    row = an_import(made, type=type)
    assert (row.type, row.file_key, row.params) == (type, "uploads/1/a.json", {})


def test_an_import_begins_at_its_time(made, clock):
    an_import(made, at=clock() + timedelta(hours=1))
    assert made.content.queue.acquire(TYPES) is None
    clock.tick(3_601)
    assert made.content.queue.acquire(TYPES) is not None


def test_an_import_of_what_is_not_there_is_refused(made, refused, files):
    files.put("other", "uploads/2/b.json", b"[]")
    with refused(InvalidInput, "fileKey must be the key of a file that was uploaded, not null"):
        an_import(made, file_key=None)
    for key in ("uploads/2/b.json", "../../etc/passwd", ""):
        with refused(InvalidInput, f"fileKey: no file {key!r} was uploaded"):
            an_import(made, file_key=key)
    with refused(InvalidText):
        an_import(made, file_key="a\0")


def test_an_import_of_an_upload_that_is_not_over_says_so(made, refused):
    told = {
        "key": "uploads/3/c.json",
        "name": "c.json",
        "size": 1,
        "parts": 1,
        "backend": "",
        "seconds": 60,
        "by": None,
    }
    made.content.queue.create_upload("acme", upload_id="u", **told)
    with refused(
        InvalidInput, "fileKey: the upload of 'uploads/3/c.json' was not completed: completeMultiPartUpload does"
    ):
        an_import(made, file_key="uploads/3/c.json")


@pytest.mark.parametrize("type", sorted(set(ContentType) - {ContentType.IMPORT_ENTRIES, ContentType.IMPORT_ASSETS}))
def test_what_is_no_import_is_refused_as_one(made, refused, type):
    with refused(InvalidInput, f"jobType must be one of IMPORT_ENTRIES, IMPORT_ASSETS, not '{type}'"):
        an_import(made, type=type)


def test_an_export_keeps_its_filter_and_what_was_passed_over(made):
    row = made.export("acme", BY, name="Export", type=ContentType.EXPORT_ENTRIES, filter=IN_SITE + "}")
    assert row.params["filter"] == IN_SITE + "}"
    assert len(row.params["warnings"]) == 1
    everything = made.export("acme", BY, name="Export", type=ContentType.EXPORT_ENTRIES, filter=None)
    assert everything.params == {"filter": None, "warnings": []}


def test_an_export_that_is_none_or_has_no_filter_is_refused(made, refused):
    with refused(InvalidInput, "jobType must be EXPORT_ENTRIES, not 'IMPORT_ENTRIES'"):
        made.export("acme", BY, name="Export", type=ContentType.IMPORT_ENTRIES, filter=None)
    with refused(InvalidInput):
        made.export("acme", BY, name="Export", type=ContentType.EXPORT_ENTRIES, filter='{"system": {"Foo": 1}}')


# Deletes ----------------------------------------------------------------------------------------------------------------


def test_a_delete_of_a_site_takes_its_entries_and_assets(made):
    row = a_delete(made, site_id="s1")
    assert row.type is ContentType.DELETE_CONTENT
    assert row.params == {
        "site_id": "s1",
        "model": None,
        "filter": None,
        "warnings": [],
        "kinds": ["DELETE_ENTRIES", "DELETE_ASSETS"],
    }


def test_a_delete_with_a_filter_is_of_a_type_of_its_own(made):
    row = a_delete(made, site_id="s1", model="Article", filter=IN_SITE + "}}", kinds=["DELETE_TAGS", "DELETE_ENTRIES"])
    assert row.type is ContentType.DELETE_FILTERED_CONTENT
    assert row.params["kinds"] == ["DELETE_ENTRIES", "DELETE_TAGS"]
    assert (row.params["site_id"], row.params["model"], row.params["filter"]) == ("s1", "Article", IN_SITE + "}}")
    assert len(row.params["warnings"]) == 1
    assert a_delete(made, filter=IN_SITE).params["site_id"] is None


@pytest.mark.parametrize("empty", [None, "", "{}", '{"system": {}}', '{"system": {"SiteId": {"NotIn": []}}}'])
def test_a_delete_never_widens_for_want_of_conditions(made, refused, empty):
    for site_id in (None, "s1"):
        with refused(InvalidInput, "filter must have a condition: without one, everything would be deleted"):
            a_delete(made, site_id=site_id, filter=empty, model="Article")


def test_a_delete_of_nothing_in_particular_is_refused(made, refused):
    for values in ({}, {"model": "Article"}, {"kinds": ["DELETE_TAGS"]}):
        with refused(InvalidInput, "siteId or filter must be given: what is to be deleted"):
            a_delete(made, **values)
    for name in ("site_id", "model"):
        with refused(InvalidInput):
            a_delete(made, **{"site_id": "s1", name: ""})
    with refused(InvalidInput):
        a_delete(made, filter='{"system": {"Foo": {"Eq": "x"}}}')


def test_kinds_are_those_of_content(made, refused):
    with refused(InvalidInput, "deleteContentTaskTypes must not be empty: null means entries and assets"):
        a_delete(made, site_id="s1", kinds=[])
    with refused(InvalidInput, "deleteContentTaskTypes: DELETE_FIELD needs isDeleteFieldJob: true"):
        a_delete(made, site_id="s1", kinds=["DELETE_ENTRIES", "DELETE_FIELD"])
    with refused(InvalidInput):
        a_delete(made, site_id="s1", kinds=["DELETE_ALL"])


def test_a_field_is_deleted_whatever_the_filter_says(made):
    row = a_delete(
        made, is_field=True, model="Article", field="category", filter="{}", kinds=["DELETE_FIELD"], site_id="s1"
    )
    assert row.type is ContentType.DELETE_FIELD
    assert row.params == {"site_id": "s1", "model": "Article", "field": "category"}
    assert a_delete(made, is_field=True, model="m1", field="f").params["site_id"] is None


def test_a_field_needs_its_model_and_name(made, refused):
    says = "isDeleteFieldJob needs model and fieldAlias: which field of which model is to go"
    for values in ({}, {"model": "Article"}, {"field": "category"}, {"site_id": "s1", "field": "category"}):
        with refused(InvalidInput, says):
            a_delete(made, is_field=True, **values)
    with refused(InvalidInput):
        a_delete(made, is_field=True, model="Article", field="")


def test_a_field_that_is_named_without_that_is_passed_over(made):
    row = a_delete(made, site_id="site123", field="category")
    assert row.type is ContentType.DELETE_CONTENT
    assert "field" not in row.params


# Environments -----------------------------------------------------------------------------------------------------------


def test_a_copy_reserves_its_alias(made, store, refused):
    row = a_copy(made)
    assert row.type is ContentType.CREATE_ENVIRONMENT
    reserved = row.params["environment"]
    assert row.params == {"base": default(store), "environment": reserved}
    room = store.rooms[reserved]
    assert (room.environment.alias, room.environment.name, room.made, room.owner) == (
        "staging",
        "Staging",
        False,
        row.id,
    )
    with refused(Duplicate):
        a_copy(made)
    with refused(Duplicate):
        a_copy(made, alias="main")
    assert a_copy(made, alias="staging-2", base=default(store)).params["base"] == default(store)


@pytest.mark.parametrize("alias", ["", "-a", "Staging", "a b", "a_b", "é", "a" * 64, "a\n", "a.b"])
def test_an_alias_has_its_pattern(made, refused, alias):
    with refused(InvalidInput):
        a_copy(made, alias=alias)


@pytest.mark.parametrize("alias", ["a", "0", "a-", "a" * 63, "a--b-1"])
def test_and_whatever_meets_it_is_taken(made, alias):
    a_copy(made, alias=alias)


def test_a_copy_of_what_is_not_there_is_refused(made, refused, store):
    for base in ("nothing", "", "env_000000000000000000000000"):
        with refused(NotFound, f"baseEnvironmentId: there is no environment {base!r}"):
            a_copy(made, base=base)
    pending = a_copy(made).params["environment"]
    for base in ("staging", pending):  # nobody sees it before it is made
        with refused(NotFound):
            a_copy(made, base=base, alias="third")
    with refused(InvalidInput, "newEnvironmentDisplayName must not be blank"):
        a_copy(made, alias="third", display_name=" ")


def test_the_alias_is_free_again_where_no_job_could_be_made(made, refused, monkeypatch, store):
    monkeypatch.setattr(works, "MOST", 0)
    with refused(InvalidInput):
        a_copy(made)
    monkeypatch.undo()
    a_copy(made)


def test_the_alias_is_free_again_once_the_job_is_deleted(made, store):
    row = a_copy(made)
    gone = made.delete_job("acme", BY, row.id)
    assert (gone.status, gone.changed_by["id"]) == (ContentStatus.DELETED, "u1")
    assert row.params["environment"] not in store.rooms
    assert made.delete_job("acme", BY, row.id) == gone
    a_copy(made)


def test_an_environment_that_was_made_stays_when_the_job_is_deleted(made, store):
    row = a_copy(made)
    store.publish("acme", row.params["environment"], Holder(row.id, 1, 1))
    made.delete_job("acme", BY, row.id)
    assert [each.alias for each in store.environments("acme")] == ["main", "staging"]


def test_a_store_that_is_away_does_not_keep_a_job_from_being_deleted(made, store, monkeypatch, caplog):
    row = a_copy(made)

    def away(*_: Any) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(store, "step", away)
    assert made.delete_job("acme", BY, row.id).status is ContentStatus.DELETED
    assert f"the environment {row.params['environment']} will be removed later: away" in caplog.text


def half_an_import(made: ContentJobs, store: FakeStore) -> tuple[ContentJob, Any, str]:
    """One whose first task runs and has written something; the claim, and the environment."""
    row, main = an_import(made), default(store)
    claim = made.content.queue.acquire(TYPES)
    assert claim is not None
    holder = Holder(row.id, claim.id, claim.attempt)
    store.open("acme", main, holder)
    store.pin("acme", main, holder)
    return row, claim, main


def test_what_a_deleted_job_wrote_is_taken_back_where_no_task_runs(made, store):
    row, claim, main = half_an_import(made, store)
    made.content.queue.snooze(claim.id, claim.attempt, 60)
    made.delete_job("acme", BY, row.id)
    assert (store.rooms[main].writer, store.pins) == (None, {})


def test_who_deletes_a_job_does_not_wait_until_millions_of_rows_are_taken_back(made, store, monkeypatch):
    """Whoever sweeps, or wants to write next, does what takes longer."""
    row, claim, main = half_an_import(made, store)
    made.content.queue.snooze(claim.id, claim.attempt, 60)
    seconds = []

    def abandon(tenant: str, holder: Holder, *, within: float) -> bool:
        seconds.append(within)
        return False

    monkeypatch.setattr(store, "abandon", abandon)
    assert made.delete_job("acme", BY, row.id).status is ContentStatus.DELETED
    assert seconds == [1.0]
    assert store.rooms[main].writer is not None


def test_a_task_that_runs_takes_it_back_itself(made, store):
    row, claim, main = half_an_import(made, store)
    made.delete_job("acme", BY, row.id)
    assert store.rooms[main].writer == Holder(row.id, claim.id, claim.attempt)
    assert len(store.pins) == 1


def test_what_cannot_be_taken_back_now_keeps_no_job_from_being_deleted(made, store, monkeypatch, caplog):
    row, claim, _ = half_an_import(made, store)
    made.content.queue.snooze(claim.id, claim.attempt, 60)

    def away(*_: Any, **__: Any) -> bool:
        raise StorageUnavailable("away")

    monkeypatch.setattr(store, "abandon", away)
    assert made.delete_job("acme", BY, row.id).status is ContentStatus.DELETED
    assert f"what the content job {row.id} wrote will be taken back later: away" in caplog.text


def test_other_jobs_are_deleted_without_the_store(made, store, refused):
    row = an_import(made)
    made.delete_job("acme", BY, row.id)
    assert store.steps == []
    other = made.content.queue.create_content_job(
        "other", name="x", type=ContentType.EXPORT_ENTRIES, params={}, by=None
    )
    with refused(NotFound, "the job does not exist"):
        made.delete_job("acme", BY, other.id)


def test_an_environment_is_deleted_by_id_or_alias(made, store):
    id = environment(store, "staging")
    for named in (id, "staging"):
        row = made.delete_environment("acme", BY, name="Drop", environment=named)
        assert (row.type, row.params) == (ContentType.DELETE_ENVIRONMENT, {"environment": id})
    assert [step for step in store.steps if isinstance(step[1], DropEnvironment)] == []


def test_the_default_environment_is_never_deleted(made, store, refused):
    for named in ("main", default(store)):
        with refused(InvalidInput, "environmentId: the default environment cannot be deleted"):
            made.delete_environment("acme", BY, name="Drop", environment=named)
    with refused(NotFound, "environmentId: there is no environment 'nothing'"):
        made.delete_environment("acme", BY, name="Drop", environment="nothing")


def test_nor_is_one_that_a_recurring_sync_is_about(made, store, refused):
    environment(store, "staging")
    schedule = a_sync(made, name="Each night", cron="0 3 * * *")
    says = f"recurring jobs are about this environment, delete them first: 'Each night' ({schedule.id})"
    with refused(IllegalTransition, says):
        made.delete_environment("acme", BY, name="Drop", environment="staging")
    made.recurring.pause("acme", schedule.id, paused=True)
    with refused(IllegalTransition, says):
        made.delete_environment("acme", BY, name="Drop", environment="staging")
    made.recurring.delete("acme", schedule.id)
    made.delete_environment("acme", BY, name="Drop", environment="staging")


# Syncs ------------------------------------------------------------------------------------------------------------------


def test_a_sync_is_a_job_without_a_cron_expression_and_a_schedule_with_one(made, store):
    staging = environment(store, "staging")
    row = a_sync(made)
    assert (row.type, row.params) == (
        ContentType.SYNC_ENVIRONMENTS,
        {"base": default(store), "target": staging},
    )
    schedule = a_sync(made, target=staging, cron=" 0  3 * * 1-5 ")
    assert isinstance(schedule, Schedule)
    assert (schedule.cron, schedule.time_zone, schedule.missed, schedule.may_overlap) == (
        "0 3 * * 1-5",
        "Europe/Paris",
        "newest",
        False,
    )
    shown = made.recurring.of(schedule)
    assert (shown.name, shown.base, shown.target, shown.by["name"]) == ("Sync", default(store), staging, "Ann")
    assert made.content.queue.content_jobs("acme", offset=0, limit=9)[1] == 1


def test_a_sync_of_an_environment_with_itself_is_refused(made, store, refused):
    staging = environment(store, "staging")
    for cron in (None, "0 * * * *"):
        for base, target in (("main", "main"), ("main", default(store)), (staging, "staging")):
            with refused(InvalidInput, "baseEnvironmentId and targetEnvironmentId must be different environments"):
                a_sync(made, base=base, target=target, cron=cron)


def test_a_recurring_sync_of_what_is_about_to_go_is_refused(made, store, refused):
    staging = environment(store, "staging")
    row = made.delete_environment("acme", BY, name="Drop", environment=staging)
    for what, values in (("targetEnvironmentId", {}), ("baseEnvironmentId", {"base": "staging", "target": "main"})):
        with refused(IllegalTransition, f"{what}: the job {row.id} is about to delete this environment"):
            a_sync(made, cron="0 * * * *", **values)
    made.delete_job("acme", BY, row.id)
    a_sync(made, cron="0 * * * *")


def test_nor_is_one_made_at_the_same_moment(made, store, monkeypatch):
    staging = environment(store, "staging")
    real = made.recurring.create

    def create(*given: Any, **values: Any) -> Any:
        made.delete_environment("acme", BY, name="Drop", environment=staging)
        return real(*given, **values)

    monkeypatch.setattr(made.recurring, "create", create)
    with pytest.raises(IllegalTransition, match="is about to delete this environment"):
        a_sync(made, cron="0 * * * *")
    assert made.recurring.about("acme", staging) == []


def test_a_sync_of_what_is_not_there_is_refused(made, store, refused):
    environment(store, "staging")
    with refused(NotFound, "targetEnvironmentId: there is no environment 'nothing'"):
        a_sync(made, target="nothing")
    with refused(NotFound, "baseEnvironmentId: there is no environment 'nothing'"):
        a_sync(made, base="nothing", cron="0 * * * *")


@pytest.mark.parametrize(
    "cron",
    ["", " ", "0 0 * * * *", "@daily", "0 0 * * MON", "0 0 1 JAN *", "0 0 * * 8", "60 * * * *", "0 0 30 2 *", "a b"],
)
def test_a_cron_expression_that_means_nothing_is_refused_with_the_reason(made, store, cron):
    environment(store, "staging")
    before = everything(made)
    with pytest.raises(InvalidInput, match="cronExpression"):
        a_sync(made, cron=cron)
    assert everything(made) == before


def test_a_tenant_has_a_bounded_number_of_recurring_syncs(made, store, refused):
    environment(store, "staging")
    for _ in range(100):
        a_sync(made, cron="0 * * * *")
    with refused(InvalidInput):
        a_sync(made, cron="0 * * * *")


# Clones -----------------------------------------------------------------------------------------------------------------


def test_a_clone_names_its_site_and_what_becomes_of_it(made, site):
    row = a_clone(made)
    assert (row.type, row.params) == (
        ContentType.CLONE_SITE,
        {"site": "s1", "alias": "s2", "name": "Site 2", "logo": "https://example.org/logo.png"},
    )


def test_a_clone_is_of_a_site_and_to_a_free_alias(made, store, site, refused):
    with refused(NotFound, "baseSiteId: there is no site 'nothing'"):
        a_clone(made, site="nothing")
    with refused(Duplicate, "newSiteAlias: there is a site 's1' already"):
        a_clone(made, alias="s1")
    with refused(InvalidInput, "newSiteName must not be blank"):
        a_clone(made, site_name=" ")
    for alias in ("", "a\tb", "a" * 201):
        with refused(InvalidInput if alias != "a\tb" else InvalidText):
            a_clone(made, alias=alias)
    environment(store, "staging")
    with_site(store, "staging", "s9")
    a_clone(made, site="s9", alias="s1")  # of another environment
