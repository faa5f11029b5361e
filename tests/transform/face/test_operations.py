"""Every operation, and every refusal with its code and what it tells besides."""

from __future__ import annotations

from typing import Any

import pytest

from gnj.access import Action, Kind, Principal
from tests.transform.face.conftest import FORMAT, ITEMS, PRICED, RULES, SAVE
from tests.transform.sites import answer

JOB = """query($id: ID!) { getJob(id: $id) {
  id status sourceID mappingID targetSchemaID lastRun nextRun cronExpression
  source { id name type url description sourceHeaders sourceBody sourceMethod jobs { id } }
  mapping { id name mapping jobs { id } } targetFormat { id name targetFormat default jobs { id } } } }"""
RUNS = """query($id: ID!, $offset: Int, $limit: Int) { getRuns(jobId: $id, offset: $offset, limit: $limit) {
  id jobId status startedAt finishedAt error read written rejected } }"""
PAGE = "total records rejectedTotal rejected { source reasons }"
RECORDS = f"query($id: ID!, $offset: Int, $limit: Int) {{ getRecords(runId: $id, offset: $offset, limit: $limit) {{ {PAGE} }} }}"
CURRENT = f"query($id: ID!) {{ getJobRecords(jobId: $id) {{ {PAGE} }} }}"
SOURCE = "mutation($source: SourceRequest!) { saveSource(source: $source) }"
MAPPING = 'mutation($rules: [JSON!]!) { saveMapping(name: "M", mapping: $rules) }'
TARGET = """mutation($format: JSON!, $default: Boolean) {
  saveTargetFormat(name: "F", targetFormat: $format, makeDefault: $default) }"""
APPLY = """query($source: SourceInput!, $mapping: MappingInput!, $format: TargetFormatInput) {
  applyMapping(source: $source, mapping: $mapping, targetFormat: $format) }"""
GENERATE = """query($source: SourceInput!, $format: TargetFormatInput) {
  generateMapping(sampleData: $source, targetFormat: $format) }"""
SCHEDULE = """mutation($id: ID!, $cron: String, $paused: Boolean) {
  setJobSchedule(id: $id, cronExpression: $cron, paused: $paused) { status nextRun cronExpression } }"""


def test_a_job_from_its_making_to_its_end(ask, save, work, shop):
    id = save(format=PRICED)
    job = ask(JOB, id=id).value
    assert (job["status"], job["lastRun"], job["cronExpression"]) == ("Pending", None, None)
    assert job["nextRun"].endswith("Z")
    assert job["source"] == {
        "id": job["sourceID"],
        "name": None,
        "type": "Feed",
        "url": shop.url("/feed"),
        "description": None,
        "sourceHeaders": None,
        "sourceBody": None,
        "sourceMethod": None,
        "jobs": [{"id": id}],
    }
    assert job["mapping"] == {"id": job["mappingID"], "name": None, "mapping": RULES, "jobs": [{"id": id}]}
    target = {"id": job["targetSchemaID"], "name": None, "targetFormat": PRICED, "default": False}
    assert job["targetFormat"] == {**target, "jobs": [{"id": id}]}
    assert ask(CURRENT, id=id).value == {"total": 0, "records": [], "rejectedTotal": 0, "rejected": []}
    work()
    (run,) = ask(RUNS, id=id).value
    assert (run["jobId"], run["status"], run["error"]) == (id, "Successful", None)
    assert (run["read"], run["written"], run["rejected"]) == (2, 2, 0)
    assert ask(JOB, id=id).value["status"] == "Live"
    assert ask(JOB, id=id).value["lastRun"] == run["startedAt"] <= run["finishedAt"]
    page = ask(RECORDS, id=run["id"]).value
    assert page["records"] == [{"id": "1", "name": "TEA", "price": 0}, {"id": "2", "name": "MILK", "price": 0}]
    assert ask(CURRENT, id=id).value == page
    assert ask(RECORDS, id=run["id"], offset=1, limit=5).value["records"] == page["records"][1:]
    assert [each["id"] for each in ask("{ getJobs { id } }").value] == [id]
    assert ask("mutation($id: ID!) { deleteJob(id: $id) }", id=id).value is True
    assert ask(JOB, id=id).value is None
    assert ask(RUNS, id=id).codes == ask(RECORDS, id=run["id"]).codes == ask(CURRENT, id=id).codes == ["NOT_FOUND"]


def test_what_a_run_rejects_is_told_with_the_reasons(ask, save, work):
    priced = [*RULES, {"sourceField": "price", "targetField": "price"}]
    saved = ask(MAPPING, rules=priced).value
    source = ask(JOB, id=save()).value["sourceID"]
    id = ask(SAVE, source={"id": source}, mapping={"id": saved}, format={"data": PRICED}).value
    work()
    page = ask(CURRENT, id=id).value
    assert (page["total"], page["rejectedTotal"], page["records"][0]["price"]) == (1, 1, 3.5)
    (rejected,) = page["rejected"]
    assert rejected["source"] == ITEMS[1]
    assert "price" in rejected["reasons"][0]


def test_a_run_that_fails_says_why(ask, save, work, shop):
    id = save("/missing")
    work()
    (run,) = ask(RUNS, id=id).value
    assert (run["status"], run["written"]) == ("Failed", 0)
    assert run["error"] == "the source answered 404 Not Found"
    assert ask(JOB, id=id).value["status"] == "Failed"
    assert ask(RECORDS, id=run["id"]).value["records"] == []


def test_schedules(ask, save):
    id = save()
    first = ask(SCHEDULE, id=id, cron="0 3 * * *").value
    assert (first["cronExpression"], first["nextRun"][11:]) == ("0 3 * * *", "03:00:00.000Z")
    assert ask(SCHEDULE, id=id, paused=True).value == {
        "status": "Paused",
        "nextRun": None,
        "cronExpression": "0 3 * * *",
    }
    resumed = ask(SCHEDULE, id=id, paused=False, cron=None).value  # null is said, and not what is left out
    assert (resumed["status"], resumed["cronExpression"]) == ("Pending", None)
    assert resumed["nextRun"] is not None
    assert ask(SCHEDULE, id=id, cron="").codes == ["INVALID_INPUT"]
    assert ask(SCHEDULE, id=id, cron="0 0 3 * * *").codes == ["INVALID_INPUT"]
    assert ask(SCHEDULE, id="none", paused=True).codes == ["NOT_FOUND"]


def test_parts_are_saved_shown_and_deleted(ask, save, shop):
    source = {
        "name": "Shop",
        "type": "Request",
        "url": shop.url("/feed?key=${KEY}"),
        "credentials": {"KEY": "hidden-1"},
        "description": "ours",
        "sourceHeaders": ["X-Key: ${KEY}"],
        "sourceBody": "{}",
        "sourceMethod": "POST",
    }
    id = ask(SOURCE, source=source).value
    (shown,) = ask(
        "{ getSources { id name type url description sourceHeaders sourceBody sourceMethod jobs { id } } }"
    ).value
    assert shown == {"id": id, "jobs": [], **{key: value for key, value in source.items() if key != "credentials"}}
    mapping = ask(MAPPING, rules=RULES).value
    assert ask("{ getMappings { id name mapping } }").value == [{"id": mapping, "name": "M", "mapping": RULES}]
    one, two = ask(TARGET, format=FORMAT, default=True).value, ask(TARGET, format=[PRICED]).value
    shown = ask("{ getTargetFormats { id default targetFormat } }").value
    assert [(each["id"], each["default"]) for each in shown] == [(one, True), (two, False)]
    assert ask("mutation($id: ID!) { setDefaultTargetFormat(id: $id) }", id=two).value is True
    shown = ask("{ getTargetFormats { id default } }").value
    assert [each["default"] for each in shown] == [False, True]
    for field, part in (("Source", id), ("Mapping", mapping), ("TargetFormat", one), ("TargetFormat", two)):
        text = f"mutation($id: ID!) {{ delete{field}(id: $id) }}"
        assert [ask(text, id=part).value for _ in range(2)] == [True, False]


def test_a_mapping_is_tried(ask, shop, save):
    inline = {"data": ITEMS}
    plain = [{"id": "1", "name": "TEA"}, {"id": "2", "name": "MILK"}]
    assert ask(APPLY, source=inline, mapping={"data": RULES}).value == plain
    priced = [{"sourceField": "sku", "targetField": "id"}, {"sourceField": "price", "targetField": "price"}]
    told = ask(APPLY, source=inline, mapping={"data": priced}, format={"data": PRICED}).value
    assert told == [{"id": "1", "name": "", "price": 3.5}]  # the other one is rejected
    request = {"sourceRequest": {"type": "Feed", "url": shop.url("/feed")}}
    mapping = ask(MAPPING, rules=RULES).value
    assert ask(APPLY, source=request, mapping={"id": mapping}).value == plain
    assert ask("{ getSources { id } }").value == []
    kept = ask(SOURCE, source=request["sourceRequest"]).value
    assert ask(APPLY, source={"id": kept}, mapping={"id": mapping}).value == plain


def test_what_json_cannot_say_is_left_out(ask, shop):
    shop.pages["/odd"] = answer(b'[{"sku": "1"}, {"sku": "\\ud800"}]', "application/json")
    request = {"sourceRequest": {"type": "Feed", "url": shop.url("/odd")}}
    rules = [{"sourceField": "sku", "targetField": "id"}]
    assert ask(APPLY, source=request, mapping={"data": rules}).value == [{"id": "1"}]


def test_a_mapping_is_proposed(ask, shop):
    request = {"sourceRequest": {"type": "Feed", "url": shop.url("/feed")}}
    assert ask(GENERATE, source=request).error["code"] == "NO_DEFAULT_FORMAT"
    rules = ask(GENERATE, source=request, format={"data": {"title": {"type": "string"}}}).value
    assert [(rule["sourceField"], rule["targetField"]) for rule in rules] == [("title", "title")]
    assert rules[0]["confidence"] > 0.9
    ask(TARGET, format={"sku": {"type": "string"}}, default=True)
    assert [rule["targetField"] for rule in ask(GENERATE, source={"data": ITEMS}).value] == ["sku"]
    assert ask(GENERATE, source={"data": []}).value == []


SOURCES: Any = {"type": "Feed", "url": "https://shop.example/feed"}
REFUSED = [
    (MAPPING, {"rules": [*RULES, {"sourceField": "a", "targetField": "b", "transform": "trim().nothing()"}]},
     {"code": "BAD_TRANSFORM", "rule": 2, "position": 7}),
    (MAPPING, {"rules": [{"sourceField": "a", "targetField": "b", "transform": "slice()"}]},
     {"code": "BAD_TRANSFORM", "rule": 0, "position": 0}),
    (MAPPING, {"rules": [{"sourceField": "a"}]}, {"code": "BAD_MAPPING"}),
    (TARGET, {"format": {"a": {"type": "thing"}}}, {"code": "BAD_FORMAT"}),
    (TARGET, {"format": "text"}, {"code": "BAD_FORMAT"}),
    (SOURCE, {"source": {"type": "Feed"}}, {"code": "BAD_SOURCE"}),
    (SOURCE, {"source": {**SOURCES, "url": "ftp://shop.example/"}}, {"code": "BAD_SOURCE"}),
    (SOURCE, {"source": {**SOURCES, "sourceHeaders": ["no colon"]}}, {"code": "BAD_SOURCE"}),
    (SOURCE, {"source": {**SOURCES, "url": "https://shop.example/${NAME}"}}, {"code": "BAD_SOURCE"}),
    (SOURCE, {"source": {**SOURCES, "credentials": ["x"]}}, {"code": "BAD_SOURCE"}),
    (SOURCE, {"source": {**SOURCES, "type": "Awin"}}, {"code": "NO_HANDLER"}),
    (SOURCE, {"source": {**SOURCES, "type": "Custom"}}, {"code": "NO_HANDLER"}),
    (SOURCE, {"source": {**SOURCES, "url": "http://10.0.0.1/"}}, {"code": "ADDRESS_REFUSED"}),
    (SOURCE, {"source": {**SOURCES, "url": "http://[::1]/"}}, {"code": "ADDRESS_REFUSED"}),
    (SAVE, {"source": {"data": ITEMS}}, {"code": "BAD_SOURCE"}),
    (SAVE, {"source": {}}, {"code": "BAD_SOURCE"}),
    (SAVE, {"source": {"id": "none"}}, {"code": "NOT_FOUND"}),
    (SAVE, {"source": {"sourceRequest": SOURCES}}, {"code": "NO_DEFAULT_FORMAT"}),
    (SAVE, {"source": {"sourceRequest": SOURCES}, "format": {}}, {"code": "BAD_FORMAT"}),
    (SAVE, {"source": {"sourceRequest": SOURCES}, "format": {"id": "1", "data": FORMAT}}, {"code": "BAD_FORMAT"}),
    (SAVE, {"source": {"sourceRequest": SOURCES}, "format": {"data": FORMAT}, "mapping": {}}, {"code": "BAD_MAPPING"}),
    (SAVE, {"source": {"sourceRequest": SOURCES}, "format": {"data": FORMAT}, "mapping": {"id": "x"}}, {"code": "NOT_FOUND"}),
    (APPLY, {"source": {"id": "1", "data": ITEMS}, "mapping": {"data": RULES}}, {"code": "BAD_SOURCE"}),
    (APPLY, {"source": {"data": [1]}, "mapping": {"data": RULES}}, {"code": "BAD_SOURCE"}),
    (APPLY, {"source": {"data": ITEMS}, "mapping": {"id": "9" * 30}}, {"code": "NOT_FOUND"}),
    (RUNS, {"id": "none"}, {"code": "NOT_FOUND"}),
    (RECORDS, {"id": "0"}, {"code": "NOT_FOUND"}),
    (CURRENT, {"id": "-1"}, {"code": "NOT_FOUND"}),
    ("mutation { runJob(id: 77) }", {}, {"code": "NOT_FOUND"}),
]  # fmt: skip


@pytest.mark.parametrize("text, given, told", REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_refused(ask, text, given, told):
    error = ask(text, **given).error
    assert {key: error[key] for key in told} == told
    assert set(error) == {*told, "message"}
    for each in ("getJobs", "getSources", "getMappings", "getTargetFormats"):
        assert ask(f"{{ {each} {{ id }} }}").value == []  # nothing of it is left behind


def test_pages_are_bounded(ask, save):
    id = save()
    for given in ({"offset": -1}, {"limit": -1}, {"limit": 1_001}):
        assert ask(RUNS, id=id, **given).codes == ["INVALID_INPUT"]
    assert ask(RUNS, id=id, limit=1_000).codes == []


def test_what_jobs_need_is_not_deleted(ask, save):
    id = save()
    job = ask(JOB, id=id).value
    parts = {"Source": job["sourceID"], "Mapping": job["mappingID"], "TargetFormat": job["targetSchemaID"]}
    for field, part in parts.items():
        error = ask(f"mutation($id: ID!) {{ delete{field}(id: $id) }}", id=part).error
        assert (error["code"], error["jobIds"]) == ("IN_USE", [id])
    ask("mutation($id: ID!) { deleteJob(id: $id) }", id=id)
    for field, part in parts.items():
        assert ask(f"mutation($id: ID!) {{ delete{field}(id: $id) }}", id=part).value is True


@pytest.mark.parametrize("settings", [{"secret_keys": []}])
def test_credentials_need_a_key(ask):
    given = {**SOURCES, "credentials": {"A": "b"}}
    assert ask(SOURCE, source=given).error["code"] == "BAD_SOURCE"


def test_a_host_reads_sources_of_its_own(ask, jobs):
    @jobs.transform.source("Awin")
    def awin(_fetch):
        yield {"sku": "9", "title": "own"}

    id = ask(SOURCE, source={"type": "Awin"}).value
    assert ask(APPLY, source={"id": id}, mapping={"data": RULES}).value == [{"id": "9", "name": "OWN"}]


def test_deep_and_dear_operations_are_refused(ask):
    deep = ask(
        "{ getJob(id: 1) { source { jobs { source { jobs { source { jobs { source { jobs { source { id } } } } } } } } } } }"
    )
    assert deep.codes == ["GRAPHQL_VALIDATION_FAILED"]
    assert "more than 10 levels" in deep.body["errors"][0]["message"]
    dear = ask("{ getSources { jobs { source { jobs { source { jobs { source { jobs { id } } } } } } } } }")
    assert "more than 20,000 rows" in dear.body["errors"][0]["message"]


ME = {"read": "{ getJobs { id } }", "enqueue": "mutation { runJob(id: 1) }", "admin": "mutation { deleteJob(id: 1) }"}


@pytest.mark.parametrize(
    "scope, allowed", [("read", {"read"}), ("enqueue", {"enqueue"}), ("work", set()), ("admin", set(ME))]
)
def test_a_key_does_what_its_scopes_say(jobs, ask, scope, allowed):
    key = jobs.create_token("k", scopes=[scope], tenant="acme")
    assert {kind for kind, text in ME.items() if ask(text, key=key).codes != ["FORBIDDEN"]} == allowed
    tried = ask(GENERATE, key=key, source={"data": []}, format={"data": FORMAT})
    assert (tried.codes != ["FORBIDDEN"]) == ("enqueue" in allowed)
    assert ask(ME["read"], key=f"{key}x").status == 401


def test_the_hosts_hook_is_told_what_is_meant(jobs, ask):
    asked: list[Any] = []

    def authorize(principal: Principal, action: Action, target: Any) -> bool:
        asked.append((principal.tenant, action, target))
        return action.kind is Kind.READ

    jobs.authenticate = lambda _context: Principal("u", "acme")
    jobs.authorize = authorize
    assert ask("{ getJobs { id } getJob(id: 7) { id } }").data == {"getJobs": [], "getJob": None}
    assert ask(SAVE, source={"id": "5"}).codes == ["FORBIDDEN"]
    assert ask(SAVE, source={"sourceRequest": SOURCES}).codes == ["FORBIDDEN"]
    assert asked == [
        ("acme", Action("getJobs", Kind.READ), None),
        ("acme", Action("getJob", Kind.READ), "7"),
        ("acme", Action("saveJob", Kind.ENQUEUE), "5"),
        ("acme", Action("saveJob", Kind.ENQUEUE), None),
    ]


def test_texts_that_no_database_takes_are_refused(ask):
    assert ask(MAPPING.replace('"M"', '"\\u0000"'), rules=RULES).codes == ["INVALID_TEXT"]
    assert ask(SOURCE, source={**SOURCES, "description": "\0"}).codes == ["INVALID_TEXT"]


def test_media_types_and_methods_are_those_of_the_jobs_face(client):
    path, response = "/transform/graphql", "application/graphql-response+json"
    got = client.get(path, params={"query": ME["read"]}, headers={"accept": response})
    assert (got.status_code, got.headers["content-type"]) == (200, f"{response}; charset=utf-8")
    assert client.get(path, params={"query": ME["admin"]}).status_code == 405
    assert client.post(path, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post(path, json={"query": "{ no }"}, headers={"accept": response}).status_code == 400
    assert client.put(path).status_code == 405


def test_no_page_of_somebody_elses_has_sources_called(client, shop):
    """It can have a browser send GET, and the server may be one that asks local callers for nothing."""

    def ask(field: str, source: str) -> Any:
        target = ', targetFormat: {data: {a: {type: "string"}}}'
        more = f'mapping: {{data: [{{sourceField: "a", targetField: "b"}}]}}{target}'
        text = f"applyMapping(source: {source}, {more})" if field else f"generateMapping(sampleData: {source}{target})"
        return client.get("/transform/graphql", params={"query": f"{{ {text} }}"}).json()

    before = shop.hits
    for field in ("", "applyMapping"):
        for source in (f'{{sourceRequest: {{type: Feed, url: "{shop.url("/feed")}"}}}}', '{id: "1"}'):
            assert "with POST" in ask(field, source)["errors"][0]["message"]
        assert "errors" not in ask(field, '{data: [{a: "x"}]}')
    assert shop.hits == before


@pytest.mark.parametrize("settings, status", [({}, 200), ({"token": "secret"}, 400), ({"env": "production"}, 400)])
def test_the_schema_is_for_everybody_in_development_alone(client, settings, status):
    body = {"query": "{ __schema { queryType { name } } }"}
    told = client.post("/transform/graphql", json=body, headers={"authorization": "Bearer secret"})
    assert told.status_code == status
