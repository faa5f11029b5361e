"""What is asked of jobs, recurring jobs and the store, and how each of it is shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gnj.content.model import Asset, NewEntry
from gnj.content.store import Holder
from gnj.queue.model import Job
from gnj.queue.model_content import TaskType
from gnj.queue.working import ERROR, INFORMATION, WARNING, Line
from tests.content.conftest import Ask

# the cheaper one: what is shown is made before either has it
pytestmark = pytest.mark.parametrize("client", ["wsgi"], indirect=True)

TASK = "tasks { id jobId consoleAppName displayName type status runAt startedAt finishedAt progress }"
JOB = f"""
  id name type fileKey status {TASK} recurringJobId finishedAt createdAt updatedAt
  summary {{ totalLogs totalErrors totalWarnings elapsedTime startedAt }}
  createdBy {{ id name email }} updatedBy {{ id name email }}
"""
PAYLOAD = f"id name type status {TASK} createdAt updatedAt createdBy updatedBy"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LATER = "2999-05-14T10:00:00Z"


class Face:
    """What tests do with it."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def make(self, field: str, select: str = PAYLOAD, **given: Any) -> Any:
        kind = f"{field[0].upper()}{field[1:]}Input"
        kind = {
            "SyncEnvironmentJobInput": "SyncEnvironmentsJobInput",
            "CreateCloneSiteJobInput": "CreateCloneSiteJobInput",
        }.get(kind, kind)
        text = f"mutation($given: {kind}!) {{ {field}(createJobInput: $given) {{ {select} }} }}"
        answer = self.ask(text, {"given": {"jobName": "A job", **given}})
        return answer.data[field] if "errors" not in answer.body else answer.codes

    def export(self, name: str = "A job") -> Any:
        return self.make("createExportJob", jobName=name, jobType="EXPORT_ENTRIES")

    def job(self, id: str) -> Any:
        return self.ask(f"query($id: String!) {{ job(id: $id) {{ {JOB} }} }}", {"id": id}).data["job"]

    def names(self, arguments: str) -> list[str]:
        items = self.ask(f"{{ jobs({arguments}) {{ items {{ name }} }} }}").data["jobs"]["items"]
        return [item["name"] for item in items]


@pytest.fixture
def face(ask: Ask) -> Face:
    return Face(ask)


@pytest.fixture
def tenant(org: str) -> str:
    return org


def claim(jobs: Any, tenant: str) -> Job:
    types = [task.job_type for task in TaskType]
    job = jobs.queue.acquire(types, worker_id="w", tenants=[tenant])
    assert isinstance(job, Job)
    return job


def test_an_export_as_it_is_made_and_as_it_is_asked_for(face):
    made = face.export("E")
    (task,) = made["tasks"]
    assert {**made, "tasks": None} == {
        "id": made["id"],
        "name": "E",
        "type": "EXPORT_ENTRIES",
        "status": "PENDING",
        "tasks": None,
        "createdAt": made["createdAt"],
        "updatedAt": made["updatedAt"],
        "createdBy": "anonymous",
        "updatedBy": "anonymous",
    }
    assert TIME.fullmatch(made["createdAt"])
    assert task == {
        "id": task["id"],
        "jobId": made["id"],
        "consoleAppName": "gnj-content",
        "displayName": "Process entries",
        "type": "PROCESS_ENTRIES",
        "status": "PENDING",
        "runAt": task["runAt"],
        "startedAt": None,
        "finishedAt": None,
        "progress": None,
    }
    assert TIME.fullmatch(task["runAt"])
    shown = face.job(made["id"])
    assert shown["tasks"] == made["tasks"]
    assert (shown["summary"], shown["finishedAt"], shown["recurringJobId"], shown["fileKey"]) == (None,) * 4


def test_an_import_shows_its_file_and_when_it_begins(face, files, tenant):
    files.put(tenant, "k/f.jsonl", b"")
    made = face.make(
        "createImportJob", f"fileKey {PAYLOAD}", fileKey="k/f.jsonl", jobType="IMPORT_ENTRIES", scheduledTime=LATER
    )
    assert made["fileKey"] == "k/f.jsonl"
    assert [task["type"] for task in made["tasks"]] == [
        "PROCESS_ENTRIES",
        "REINDEX_ENTRIES",
        "REINDEX_URLS",
        "REINDEX_TAGS",
    ]
    assert [task["runAt"] for task in made["tasks"]] == ["2999-05-14T10:00:00.000Z", None, None, None]


def test_it_is_seen_at_work(face, jobs, tenant):
    made = face.export()
    task = claim(jobs, tenant)
    lines = [Line(INFORMATION, "one"), Line(WARNING, "two"), Line(ERROR, "three"), Line(ERROR, "four")]
    jobs.queue.checkpoint(task, {"percent": 12.5}, lines)
    shown = face.job(made["id"])
    assert shown["status"] == "ACTIVE"
    assert shown["tasks"][0]["status"] == "ACTIVE"
    assert shown["tasks"][0]["progress"] == 12.5
    assert TIME.fullmatch(shown["tasks"][0]["startedAt"])
    summary = shown["summary"]
    assert re.fullmatch(r"PT[0-9.]+S", summary["elapsedTime"])
    assert TIME.fullmatch(summary["startedAt"])
    assert (summary["totalLogs"], summary["totalErrors"], summary["totalWarnings"]) == (4, 2, 1)


@pytest.mark.parametrize(
    "told, shown", [(None, None), ({"percent": 250}, 100), ({"percent": -1}, 0), ({"percent": True}, None), ([1], None)]
)
def test_progress_is_from_0_to_100(face, jobs, tenant, told, shown):
    made = face.export()
    jobs.queue.checkpoint(claim(jobs, tenant), told)
    assert face.job(made["id"])["tasks"][0]["progress"] == shown


def test_a_task_that_ended_well_is_at_100_and_the_job_is_over(face, jobs, tenant):
    made = face.export()
    task = claim(jobs, tenant)
    jobs.queue.checkpoint(task, {"percent": 50}, changes={"file_key": "exports/x.jsonl"})
    jobs.queue.succeed(task)
    shown = face.job(made["id"])
    assert (shown["status"], shown["fileKey"]) == ("COMPLETED", "exports/x.jsonl")
    assert (shown["tasks"][0]["status"], shown["tasks"][0]["progress"]) == ("COMPLETED", 100)
    assert TIME.fullmatch(shown["finishedAt"])
    assert TIME.fullmatch(shown["tasks"][0]["finishedAt"])


def test_one_that_failed_fails_the_job_and_leaves_those_after_it(face, jobs, files, tenant):
    files.put(tenant, "k", b"")
    made = face.make("createImportJob", fileKey="k", jobType="IMPORT_ASSETS")
    task = claim(jobs, tenant)
    jobs.queue.fail(task, "no zip")
    shown = face.job(made["id"])
    assert shown["status"] == "FAILED"
    assert [each["status"] for each in shown["tasks"]] == ["FAILED", "PENDING"]


def test_logs_are_told_the_newest_first_of_a_job_or_a_task_or_a_level(face, ask, jobs, tenant):
    made = face.export()
    task = claim(jobs, tenant)
    levels = (INFORMATION, WARNING, ERROR)
    jobs.queue.checkpoint(task, None, [Line(levels[n % 3], f"line {n}") for n in range(30)])
    text = """query($id: String!, $task: String, $type: LogType, $offset: Int, $limit: Int) {
      jobTaskLogs(jobId: $id, jobTaskId: $task, type: $type, offset: $offset, limit: $limit) {
        items { id jobTaskId message loggedAt type jobId } offset limit total } }"""

    def logs(**given: Any) -> Any:
        return ask(text, {"id": made["id"], **given}).data["jobTaskLogs"]

    first = logs()
    assert [line["message"] for line in first["items"]] == [f"line {n}" for n in range(29, 9, -1)]
    assert (first["offset"], first["limit"], first["total"]) == (0, 20, 30)
    assert first["items"][0] == {
        "id": first["items"][0]["id"],
        "jobTaskId": str(task.id),
        "message": "line 29",
        "loggedAt": first["items"][0]["loggedAt"],
        "type": "ERROR",
        "jobId": made["id"],
    }
    assert [line["message"] for line in logs(offset=28, limit=5)["items"]] == ["line 1", "line 0"]
    assert logs(type="WARNING", limit=1)["total"] == 10
    assert logs(task=str(task.id))["total"] == 30
    for other in (str(task.id + 1), "0", "x", ""):
        assert logs(task=other)["total"] == 0
    for other in ("999", "0", "-1", "x", "", "01", "9" * 30, f" {made['id']}"):
        assert logs(id=other)["total"] == 0


def test_lists_are_told_the_newest_first_and_in_part(face, ask, files, tenant):
    files.put(tenant, "k", b"")
    for n in range(25):
        face.export(f"Export {n}")
    face.make("createImportJob", jobName="Import 100%", fileKey="k", jobType="IMPORT_ENTRIES")
    got = ask("{ jobs { items { id } offset limit total } }").data["jobs"]
    assert (got["offset"], got["limit"], got["total"], len(got["items"])) == (0, 20, 26, 20)
    assert face.names("limit: 2") == ["Import 100%", "Export 24"]
    assert face.names("offset: 24") == ["Export 1", "Export 0"]
    assert face.names("type: IMPORT_ENTRIES") == ["Import 100%"]
    assert face.names('search: "port 100"') == ["Import 100%"]
    assert face.names('search: "EXPORT 3"') == ["Export 3"]
    assert face.names('search: "%"') == ["Import 100%"]
    assert face.names('search: "_"') == []
    assert len(face.names('search: "", limit: 100')) == 26
    assert len(face.names("search: null, limit: 100, type: null, status: PENDING")) == 26
    assert face.names("status: ACTIVE") == []
    for id in ("1", "x", ""):
        assert face.names(f'recurringJobId: "{id}"') == []


def test_the_tasks_of_a_page_are_loaded_together(face, ask, jobs, monkeypatch):
    for _ in range(5):
        face.export()
    asked: list[Any] = []
    load = jobs.queue.content_tasks

    def noted(tenant: str, ids: Any) -> Any:
        asked.append(ids)
        return load(tenant, ids)

    monkeypatch.setattr(jobs.queue, "content_tasks", noted)
    items = ask("{ jobs { items { id tasks { jobId } } } }").data["jobs"]["items"]
    assert [[task["jobId"] for task in item["tasks"]] for item in items] == [[item["id"]] for item in items]
    assert [len(ids) for ids in asked] == [5]


def test_what_is_deleted_is_hidden_and_still_answered(face, ask):
    made = face.export("Gone")
    delete = "mutation($id: String!) { deleteJob(id: $id) { success id } }"
    for _ in range(2):
        assert ask(delete, {"id": made["id"]}).data == {"deleteJob": {"success": True, "id": made["id"]}}
    assert face.names("limit: 10") == []
    assert face.names("status: DELETED") == ["Gone"]
    shown = face.job(made["id"])
    assert shown["status"] == "DELETED"
    assert shown["updatedBy"]["name"] == "anonymous"
    for missing in ("999", "0", "x", "", "1.0", "9" * 40):
        assert ask(delete, {"id": missing}).codes == ["NOT_FOUND"]
        assert face.job(missing) is None


@pytest.mark.parametrize("given", [{"jobType": "UNDEFINED"}, {"jobType": "IMPORT_ENTRIES"}, {"jobType": "CLONE_SITE"}])
def test_an_export_is_of_its_type(face, given):
    assert face.make("createExportJob", **given) == ["INVALID_INPUT"]


@pytest.mark.parametrize("arguments", ["type: UNDEFINED", "status: UNDEFINED"])
def test_nothing_is_undefined(ask, arguments):
    answer = ask(f"{{ jobs({arguments}) {{ total }} }}")
    assert answer.codes == ["INVALID_INPUT"]
    assert "must not be UNDEFINED" in answer.body["errors"][0]["message"]


def test_a_delete_job_is_of_the_type_that_its_input_means(face):
    def made(**given: Any) -> Any:
        found = face.make("createDeleteJob", **given)
        return found if isinstance(found, list) else found["type"]

    some = '{"ModelId": {"Eq": "m"}}'
    assert made(siteId="s") == "DELETE_CONTENT"
    assert made(siteId="s", isDeleteFieldJob=None) == "DELETE_CONTENT"
    assert made(filter=some) == "DELETE_FILTERED_CONTENT"
    assert made(isDeleteFieldJob=True, model="m", fieldAlias="f", filter=None) == "DELETE_FIELD"
    for none in (None, "", "{}", '{"system": {"Id": {"NotIn": []}}}'):
        assert made(siteId="s", filter=none) == ["INVALID_INPUT"]
    assert made() == ["INVALID_INPUT"]
    assert made(siteId=None) == ["INVALID_INPUT"]
    assert made(filter='{"system": {"Foo": {}}}') == ["INVALID_INPUT"]
    assert made(isDeleteFieldJob=True, model="m") == ["INVALID_INPUT"]


def test_environments_are_copied_synced_and_deleted(face, ask, put, tenant):
    main, stage = put(tenant), put(tenant, environment="stage")
    made = face.make(
        "createEnvironmentJob",
        f"fileKey recurringJobId {PAYLOAD}",
        baseEnvironmentId=main,
        newEnvironmentAlias="copy",
        newEnvironmentDisplayName="Copy",
    )
    assert (made["type"], made["fileKey"], made["recurringJobId"]) == ("CREATE_ENVIRONMENT", None, None)
    sync = face.make(
        "syncEnvironmentJob",
        f"job {{ {JOB} }} recurringJob {{ id }}",
        baseEnvironmentId=main,
        targetEnvironmentId=stage,
    )
    assert sync["job"]["type"] == "SYNC_ENVIRONMENTS"
    assert [task["type"] for task in sync["job"]["tasks"]] == ["SYNC_DATABASE_DATA", "SYNC_INDEXED_DATA"]
    assert sync["recurringJob"] is None
    gone = face.make("deleteEnvironmentJob", f"fileKey {PAYLOAD}", environmentId=stage)
    assert [task["type"] for task in gone["tasks"]] == ["DELETE_ENVIRONMENT_DATA"]
    assert face.make("deleteEnvironmentJob", environmentId=main) == ["INVALID_INPUT"]
    assert face.make("deleteEnvironmentJob", environmentId="nowhere") == ["NOT_FOUND"]
    assert face.names("limit: 9") == ["A job"] * 3
    shown = ask("{ environments { alias displayName isDefault } }").data["environments"]
    assert shown == [
        {"alias": "main", "displayName": "Main", "isDefault": True},
        {"alias": "stage", "displayName": "Stage", "isDefault": False},
    ]


def test_a_site_is_cloned(face, put, tenant):
    put(tenant, NewEntry(id="a", site_id="s1", model_id="m"))
    given = {"newSiteAlias": "copy", "newSiteName": "Copy", "newSiteLogo": ""}
    made = face.make("createCloneSiteJob", baseSiteId="s1", **given)
    assert [task["displayName"] for task in made["tasks"]] == ["Clone site", "Reindex everything"]
    assert face.make("createCloneSiteJob", baseSiteId="nowhere", **given) == ["NOT_FOUND"]


@pytest.fixture
def sync(face, put, tenant):
    """A recurring job."""
    main, stage = put(tenant), put(tenant, environment="stage")
    made = face.make(
        "syncEnvironmentJob",
        f"job {{ id }} recurringJob {{ {RECURRING} }}",
        jobName="Every night",
        baseEnvironmentId=main,
        targetEnvironmentId=stage,
        cronExpression="0 3 * * *",
    )
    assert made["job"] is None
    return made["recurringJob"]


RECURRING = """id name type status cronExpression hasJobRuns createdAt updatedAt createdBy { name } updatedBy { name }
  baseEnvironment { alias } targetEnvironment { alias }"""
RUN = """mutation($id: String!) { runRecurringJob(createJobInput: {recurringJobId: $id}) {
  id name cronExpression type status attrs { key value } createdAt updatedAt createdBy updatedBy } }"""
PAUSE = """mutation($id: String!, $pause: Boolean!) {
  toggleRecurringJobStatus(toggleRecurringJobInput: {recurringJobId: $id, pause: $pause}) { success } }"""
FORGET = """mutation($id: String!) {
  deleteRecurringJob(deleteRecurringJobInput: {recurringJobId: $id}) { success recurringJobId } }"""


def test_a_recurring_job_as_it_is_made_and_as_it_is_asked_for(ask, sync):
    assert sync == {
        "id": sync["id"],
        "name": "Every night",
        "type": "SYNC",
        "status": "SCHEDULED",
        "cronExpression": "0 3 * * *",
        "hasJobRuns": False,
        "createdAt": sync["createdAt"],
        "updatedAt": sync["updatedAt"],
        "createdBy": {"name": "anonymous"},
        "updatedBy": {"name": "anonymous"},
        "baseEnvironment": {"alias": "main"},
        "targetEnvironment": {"alias": "stage"},
    }
    text = f"query($id: String!) {{ recurringJob(id: $id) {{ {RECURRING} }} }}"
    assert ask(text, {"id": sync["id"]}).data["recurringJob"] == sync
    got = ask(f"{{ recurringJobs {{ items {{ {RECURRING} }} offset limit total }} }}").data["recurringJobs"]
    assert got == {"items": [sync], "offset": 0, "limit": 20, "total": 1}
    for missing in ("999", "x", ""):
        assert ask(text, {"id": missing}).data["recurringJob"] is None


def test_it_is_run_paused_and_deleted(face, ask, sync):
    id = sync["id"]
    run = ask(RUN, {"id": id}).data["runRecurringJob"]
    (made,) = run["attrs"]
    assert made["key"] == "jobId"
    assert (run["id"], run["status"], run["type"], run["createdBy"]) == (id, "ACTIVE", "SYNC", "anonymous")
    shown = face.job(made["value"])
    assert (shown["type"], shown["recurringJobId"]) == ("SYNC_ENVIRONMENTS", id)
    assert face.names(f'recurringJobId: "{id}"') == [shown["name"]]
    assert ask(RUN, {"id": id}).codes == ["ILLEGAL_TRANSITION"]
    assert ask(PAUSE, {"id": id, "pause": True}).data == {"toggleRecurringJobStatus": {"success": True}}
    assert ask(FORGET, {"id": id}).data == {"deleteRecurringJob": {"success": True, "recurringJobId": id}}
    status = "query($s: RecurringJobStatus) { recurringJobs(status: $s) { items { id hasJobRuns } total } }"
    assert ask(status).data["recurringJobs"]["total"] == 0
    assert ask(status, {"s": "DELETED"}).data["recurringJobs"]["items"] == [{"id": id, "hasJobRuns": True}]
    assert ask(status, {"s": "COMPLETED"}).data["recurringJobs"]["total"] == 0
    assert ask(status, {"s": "UNDEFINED"}).codes == ["INVALID_INPUT"]


@pytest.mark.parametrize("text", [RUN, PAUSE, FORGET])
@pytest.mark.parametrize("id", ["999", "0", "x", "", "recurring123"])
def test_one_that_is_not_there(ask, text, id):
    answer = ask(text, {"id": id, **({"pause": True} if text is PAUSE else {})})
    assert answer.codes == ["NOT_FOUND"]


# The store

ENTRIES = """query($e: String, $s: String, $m: String, $f: String, $o: Int, $l: Int) {
  entries(environmentId: $e, siteId: $s, modelId: $m, filter: $f, offset: $o, limit: $l) {
    items { id system content attrs } offset limit total } }"""


def entry(id: str, site: str = "s1", model: str = "article", **given: Any) -> NewEntry:
    at = datetime(2024, 5, 14, tzinfo=UTC) + timedelta(seconds=len(id))
    return NewEntry(id=id, site_id=site, model_id=model, updated_at=at, **given)


def test_entries_are_found_by_site_model_and_filter(ask, put, tenant):
    put(tenant, entry("a"), entry("bb", "s2"), entry("ccc", model="page", slug="x_y"), entry("dddd", slug="xzy"))
    stage = put(tenant, entry("a", "s9"), environment="stage")

    def ids(**given: Any) -> list[str]:
        got = ask(ENTRIES, given).data["entries"]
        assert got["total"] >= len(got["items"])
        return [item["id"] for item in got["items"]]

    assert ids() == ["dddd", "ccc", "bb", "a"]
    assert ids(s="s1") == ["dddd", "ccc", "a"]
    assert ids(s="s1", m="article") == ["dddd", "a"]
    assert ids(s="s1", m="article", f='{"system": {"Slug": {"Exists": true}}}') == ["dddd"]
    assert ids(s="s2", f='{"system": {"SiteId": {"Eq": "s1"}}}') == []
    assert ids(f='{"system": {"Slug": {"StartsWith": "x_"}}}') == ["ccc"]
    assert ids(o=1, l=2) == ["ccc", "bb"]
    assert ids(e="stage") == ids(e=stage) == ids(s="s9") == ids(e="stage", s="s9") == ["a"]
    assert ids(e="main", s="s9") == ids(s="nowhere") == []
    for named in ("nowhere", ""):
        (error,) = ask(ENTRIES, {"e": named}).body["errors"]
        assert error["message"] == f"environmentId: there is no environment {named!r}"
        assert error["extensions"]["code"] == "NOT_FOUND"
    (error,) = ask(ENTRIES, {"f": '{"system": {"Foo": {}}}'}).body["errors"]
    assert error["message"].startswith("filter: unknown key system.Foo; there are Id, SiteId, ")


def test_an_entry_as_it_is_shown(ask, put, tenant):
    put(
        tenant,
        entry("a", slug="s", labels=("x",), system={"own": 1}, content={"title": {"en": "A"}}, attrs={"n": [1]}),
    )
    (item,) = ask(ENTRIES).data["entries"]["items"]
    assert item == {
        "id": "a",
        "system": {
            "siteId": "s1",
            "modelId": "article",
            "status": None,
            "slug": "s",
            "labels": ["x"],
            "createdAt": item["system"]["createdAt"],
            "updatedAt": "2024-05-14T00:00:01.000Z",
            "publishedAt": None,
            "own": 1,
        },
        "content": {"title": {"en": "A"}},
        "attrs": {"n": [1]},
    }
    assert TIME.fullmatch(item["system"]["createdAt"])


def test_sites_and_models_as_they_are_shown(ask, put, tenant):
    put(tenant, entry("a", site_alias="blog", content={"title": 1}))
    main = ask("{ environments { id } }").data["environments"][0]["id"]
    got = ask("{ sites { id environmentId alias name logo } models { id environmentId alias name fields } }").data
    assert got == {
        "sites": [{"id": "s1", "environmentId": main, "alias": "blog", "name": "blog", "logo": None}],
        "models": [
            {
                "id": "article",
                "environmentId": main,
                "alias": "article",
                "name": "article",
                "fields": [{"alias": "title"}],
            }
        ],
    }
    some = "query($e: String) { sites(environmentId: $e) { id } models(environmentId: $e) { id } }"
    assert len(ask(some, {"e": "main"}).data["sites"]) == 1
    for field in ("sites", "models", "assets"):
        asked = f"query($e: String) {{ {field}(environmentId: $e) {{ __typename }} }}"
        (error,) = ask(asked, {"e": "nowhere"}).body["errors"]
        assert (error["path"], error["extensions"]["code"]) == ([field], "NOT_FOUND")


def test_assets_as_they_are_shown(ask, put, store, tenant):
    main = put(tenant)
    asset = Asset(
        id="as1",
        site_id="s1",
        path="img/a.png",
        name="a.png",
        size=2**40,
        media_type="image/png",
        sha256="0" * 64,
        key="assets/0",
        created_at=datetime(2024, 5, 14, tzinfo=UTC),
    )
    holder = Holder(2, 2, 1)
    store.open(tenant, main, holder)
    store.put_assets(tenant, main, holder, [asset])
    store.publish(tenant, main, holder)
    fields = "id siteId path name size mediaType sha256 key createdAt"
    text = f"query($s: String) {{ assets(siteId: $s) {{ items {{ {fields} }} offset limit total }} }}"
    assert ask(text).data["assets"] == {
        "items": [
            {
                "id": "as1",
                "siteId": "s1",
                "path": "img/a.png",
                "name": "a.png",
                "size": 2**40,
                "mediaType": "image/png",
                "sha256": "0" * 64,
                "key": "assets/0",
                "createdAt": "2024-05-14T00:00:00.000Z",
            }
        ],
        "offset": 0,
        "limit": 20,
        "total": 1,
    }
    assert ask(text, {"s": "s1"}).data["assets"]["total"] == 1
    assert ask(text, {"s": "s2"}).data["assets"]["total"] == 0


# Pages, and characters

LISTS = ["jobs", "recurringJobs", "entries", "assets", "jobTaskLogs"]


@pytest.mark.parametrize("field", LISTS)
def test_a_limit_is_clamped_and_nothing_is_negative(ask, field):
    more = ', jobId: "1"' if field == "jobTaskLogs" else ""

    def got(arguments: str) -> Any:
        return ask(f"{{ {field}({arguments}{more}) {{ items {{ id }} offset limit total }} }}")

    assert got("offset: 3, limit: 201").data[field] == {"items": [], "offset": 3, "limit": 200, "total": 0}
    assert got("limit: 2147483647").data[field]["limit"] == 200
    assert got("limit: 0").data[field]["limit"] == 0
    assert got("limit: null, offset: null").data[field]["limit"] == 20
    for wrong in ("limit: -1", "offset: -1", "offset: 100001"):
        assert got(wrong).codes == ["INVALID_INPUT"]
        assert got(wrong).body["errors"][0]["message"].startswith(wrong.split(":")[0])


@pytest.mark.parametrize("text", ["\\u0000", "a\\u0000b", "\\ud800"])
@pytest.mark.parametrize(
    "query, name",
    [
        ("{ job(id: V) { id } }", "id"),
        ("{ jobs(search: V) { total } }", "search"),
        ("{ entries(siteId: V) { total } }", "siteId"),
        ("{ entries(filter: V) { total } }", "filter"),
        ("{ sites(environmentId: V) { id } }", "environmentId"),
        ("{ fileDownloadUrl(key: V) }", "key"),
        ("mutation { deleteJob(id: V) { id } }", "id"),
        (
            "mutation { createExportJob(createJobInput: {jobName: V, jobType: EXPORT_ENTRIES}) { id } }",
            "createJobInput.jobName",
        ),
        (
            """mutation { completeMultiPartUpload(completeMultipartUploadInput: {
              uploadId: "u", key: "k", multiPartUploads: [{partNumber: 1, eTag: V}]}) { success } }""",
            "completeMultipartUploadInput.multiPartUploads[0].eTag",
        ),
    ],
)
def test_characters_that_no_database_takes_are_refused_everywhere(ask, query, name, text):
    answer = ask(query.replace("V", f'"{text}"'))
    if "ud800" in text:  # GraphQL itself refuses half a character
        assert answer.codes == ["GRAPHQL_PARSE_FAILED"]
        return
    assert answer.codes == ["INVALID_TEXT"]
    assert answer.body["errors"][0]["message"] == f"{name} must not hold a NUL character"


def test_nor_are_they_taken_in_variables(ask):
    answer = ask("query($v: String!) { job(id: $v) { id } }", {"v": "\0"})
    assert (answer.status, answer.codes) == (400, ["INVALID_TEXT"])
