"""Who is let in, as whom, and for what."""

from __future__ import annotations

from typing import Any

import pytest

from gnj.access import Action, Kind, Principal

ENVIRONMENTS = "{ environments { alias } }"
EXPORT = (
    'mutation { createExportJob(createJobInput: {jobName: "E", jobType: EXPORT_ENTRIES}) { id createdBy updatedBy } }'
)
DELETE = 'mutation { deleteJob(id: "1") { success } }'
ME = "query($id: String!) { job(id: $id) { createdBy { id name email } updatedBy { id name email } } }"


@pytest.fixture
def hook(jobs):
    """Has a hook say who is asking: whoever the key names."""
    known: dict[str, Principal] = {}
    jobs.authenticate = lambda context: known.get(context.headers.get("authorization", "").removeprefix("Bearer "))
    return known


def test_without_an_authenticator_local_clients_act_everywhere_and_are_anonymous(ask):
    for org in ("acme", "Other-1", "a.b_c"):
        assert ask(ENVIRONMENTS, org=org).data == {"environments": [{"alias": "main"}]}
    made = ask(EXPORT).data["createExportJob"]
    assert (made["createdBy"], made["updatedBy"]) == ("anonymous", "anonymous")
    user = {"id": "local", "name": "anonymous", "email": None}
    assert ask(ME, {"id": made["id"]}).data == {"job": {"createdBy": user, "updatedBy": user}}


@pytest.mark.parametrize("client", ["asgi"], indirect=True)
def test_but_nobody_else_does(ask, client):
    client.headers["host"] = "evil.example"
    assert ask(ENVIRONMENTS).codes == ["UNAUTHENTICATED"]


def test_a_key_belongs_to_one_organisation(jobs, ask):
    key = jobs.create_token("ci", scopes=["admin"], tenant="acme")
    assert ask(ENVIRONMENTS, key=key, org="acme").data
    for wrong in (None, "", "nonsense", f"{key}x", "gnj_" + "x" * 43):
        refused = ask(ENVIRONMENTS, key=wrong, org="acme")
        assert (refused.status, refused.codes) == (401, ["UNAUTHENTICATED"])
    refused = ask(ENVIRONMENTS, key=key, org="other")
    assert (refused.status, refused.codes) == (404, ["NOT_FOUND"])


def test_whether_another_organisation_exists_is_not_told(jobs, ask, put):
    put("there")
    key = jobs.create_token("ci", scopes=["admin"], tenant="acme")
    told = [ask(ENVIRONMENTS, key=key, org=org) for org in ("there", "not-there", "Acme", "acme.", "-", "a%20b", "ü")]
    assert told == [told[0]] * len(told)
    assert told[0].status == 404


@pytest.mark.parametrize("org", ["-a", ".", "a b", "a%00", "a" * 101, "ä", "a:b"])
def test_what_no_organisation_is_called_is_not_there_for_anybody(ask, org):
    assert ask(ENVIRONMENTS, org=org).status == 404


def test_a_key_without_an_organisation_opens_none(jobs, ask):
    key = jobs.create_token("old", scopes=["admin"])
    for org in ("acme", "-", "%20"):
        assert ask(ENVIRONMENTS, key=key, org=org).status == 404


@pytest.mark.parametrize("settings", [{"token": "secret"}])
def test_the_operators_token_acts_everywhere(ask, settings):
    for org in ("acme", "other"):
        made = ask(EXPORT, key="secret", org=org).data["createExportJob"]
        assert made["createdBy"] == "token"
    assert ask(ENVIRONMENTS, org="acme").status == 401


def test_a_host_says_who_somebody_is(ask, hook):
    hook["k"] = Principal("u7", "acme", name="Ana", email="ana@example.org")
    hook["all"] = Principal("root", everywhere=True)
    made = ask(EXPORT, key="k", org="acme").data["createExportJob"]
    assert made["createdBy"] == "Ana"
    user = {"id": "u7", "name": "Ana", "email": "ana@example.org"}
    assert ask(ME, {"id": made["id"]}, key="all", org="acme").data["job"]["createdBy"] == user
    assert ask(ENVIRONMENTS, key="k", org="other").status == 404
    assert ask(ENVIRONMENTS, key="no", org="acme").status == 401


def test_a_principal_without_a_name_is_called_by_its_id(jobs, ask, hook):
    hook["k"] = Principal("u7", "acme")
    assert ask(EXPORT, key="k", org="acme").data["createExportJob"]["createdBy"] == "u7"
    key = jobs.create_token("ci", scopes=["admin"], tenant="acme")
    assert ask(EXPORT, key=key, org="acme").data["createExportJob"]["createdBy"] == "ci"


@pytest.mark.parametrize(
    "scope, allowed",
    [("read", {ENVIRONMENTS}), ("enqueue", {EXPORT}), ("work", set()), ("admin", {ENVIRONMENTS, EXPORT, DELETE})],
)
def test_a_key_does_what_its_scopes_say(jobs, ask, scope, allowed):
    key = jobs.create_token("k", scopes=[scope], tenant="acme")
    for text in (ENVIRONMENTS, EXPORT, DELETE):
        answer = ask(text, key=key, org="acme")
        assert answer.status == 200
        assert (answer.codes != ["FORBIDDEN"]) == (text in allowed), text


def test_the_hosts_hook_is_asked_about_every_field(jobs, ask, hook):
    asked: list[Any] = []

    def authorize(principal: Principal, action: Action, target: Any) -> bool:
        asked.append((principal.tenant, principal.everywhere, action, target))
        return action.kind is Kind.READ

    jobs.authorize = authorize
    hook["all"] = Principal("root", everywhere=True)
    assert ask('{ environments { id } job(id: "7") { id } }', key="all", org="acme").data["job"] is None
    assert ask(DELETE, key="all", org="acme").codes == ["FORBIDDEN"]
    assert asked == [
        ("acme", False, Action("environments", Kind.READ), None),
        ("acme", False, Action("job", Kind.READ), "7"),
        ("acme", False, Action("deleteJob", Kind.ADMIN), "1"),
    ]


def test_the_hosts_hook_is_told_of_which_file_it_is(jobs, ask, hook, files):
    """Who may not import a file by its key must not get it by another field either."""
    files.put("acme", "uploads/1/private.json", b"x")

    def authorize(_principal: Principal, _action: Action, target: Any) -> bool:
        return target not in ("uploads/1/private.json", "theirs")

    jobs.authorize = authorize
    hook["all"] = Principal("root", everywhere=True)
    upload = '{key: "k", uploadId: "theirs", multiPartUploads: []}'
    for text in (
        '{ fileDownloadUrl(key: "uploads/1/private.json") }',
        'mutation { createImportJob(createJobInput: {jobName: "a", jobType: IMPORT_ENTRIES, fileKey: "uploads/1/private.json"}) { id } }',
        f"mutation {{ completeMultiPartUpload(completeMultipartUploadInput: {upload}) {{ success }} }}",
    ):
        assert ask(text, key="all", org="acme").codes == ["FORBIDDEN"], text


@pytest.mark.parametrize("settings, status", [({}, 200), ({"token": "secret"}, 400), ({"env": "production"}, 400)])
def test_the_schema_is_for_everybody_in_development_alone(client, settings, status):
    body = {"query": "{ __schema { queryType { name } } }"}
    told = client.post("/v2/acme/jobs/graphql", json=body, headers={"authorization": "Bearer secret"})
    assert told.status_code == status


@pytest.mark.parametrize("settings", [{"token": "secret"}])
def test_and_then_no_names_are_suggested_either(ask, settings):
    told = ask("{ environment { id } }", key="secret")
    assert told.status == 400
    assert "Did you mean" not in str(told.body)


def test_media_types_are_those_of_the_jobs_face(client):
    path = "/v2/acme/jobs/graphql"
    response = "application/graphql-response+json"
    bad = {"query": "{ nothing }"}
    assert client.post(path, json=bad, headers={"accept": response}).status_code == 400
    assert client.post(path, json=bad, headers={"accept": "application/json"}).status_code == 200
    got = client.get(path, params={"query": ENVIRONMENTS}, headers={"accept": response})
    assert (got.status_code, got.headers["content-type"]) == (200, f"{response}; charset=utf-8")
    assert client.get(path, params={"query": DELETE}).status_code == 405
    assert client.post(path, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert client.put(path).status_code == 405
    failed = client.post(path, json={"query": DELETE}, headers={"accept": response})
    assert (failed.status_code, failed.json()["data"]) == (200, None)
