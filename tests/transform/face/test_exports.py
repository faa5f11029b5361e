"""Records over HTTP, as files."""

from __future__ import annotations

import csv
import io
import json

import httpx
import pytest

from gnj import GNJ, Principal
from gnj.access import Target
from gnj.transform import exporting
from tests.transform.face.conftest import FORMAT

BOTH = pytest.mark.parametrize("client", ["asgi", "wsgi"], indirect=True)


def paths(jobs: GNJ, id: str, tenant: str = "") -> list[str]:
    (run,) = jobs.transform_jobs.runs(tenant, int(id))
    return [f"/transform/{place}/records" for place in (f"jobs/{id}", f"runs/{run.id}")]


@BOTH
def test_records_of_a_job_and_of_a_run(client, jobs, save, work):
    id = save()
    work()
    for path in paths(jobs, id):
        found = client.get(f"{path}.jsonl")
        assert (found.status_code, found.headers["content-type"]) == (200, "application/x-ndjson")
        kind, number = path.split("/")[2:4]
        assert found.headers["content-disposition"] == f'attachment; filename="{kind[:-1]}-{number}.jsonl"'
        assert [json.loads(line) for line in found.text.splitlines()] == [
            {"id": "1", "name": "TEA"},
            {"id": "2", "name": "MILK"},
        ]
        found = client.get(f"{path}.csv")
        assert found.headers["content-type"].startswith("text/csv; charset=utf-8")
        assert list(csv.reader(io.StringIO(found.text))) == [["id", "name"], ["1", "TEA"], ["2", "MILK"]]
        head = client.head(f"{path}.csv")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-disposition"] == found.headers["content-disposition"]
        assert client.post(f"{path}.csv").status_code == 405
        assert client.get(f"{path}.xml").status_code == 404


@BOTH
def test_more_than_a_piece(client, jobs, save, work, monkeypatch):
    monkeypatch.setattr(exporting, "PAGE", 100)
    id = save()
    work()
    monkeypatch.setattr(exporting, "_csv", lambda _fields, _pages: (b"x" * 300_000 for _ in range(9)))
    assert len(client.get(f"/transform/jobs/{id}/records.csv").content) == 2_700_000


def test_what_is_not_there(client, jobs, save):
    for path in ("jobs/7", "runs/7", "jobs/x", f"jobs/{10**30}"):
        for format in ("jsonl", "csv"):
            found = client.get(f"/transform/{path}/records.{format}")
            assert found.status_code == 404
            assert [error["extensions"]["code"] for error in found.json()["errors"]] == ["NOT_FOUND"]
    job = save()
    assert client.get(f"/transform/jobs/{job}/records.jsonl").content == b""


def test_who_may(client, jobs, save, work):
    keys = {
        name: jobs.create_token(name, scopes=[scope], tenant=tenant)
        for name, scope, tenant in (
            ("reads", "read", "a"),
            ("works", "work", "a"),
            ("other", "read", "b"),
            ("saves", "admin", "a"),
        )
    }
    id = save(key=keys["saves"])
    work()
    statuses = {}
    for name, key in {**keys, "nobody": "x"}.items():
        headers = {"authorization": f"Bearer {key}"}
        answers = [client.get(f"{path}.csv", headers=headers) for path in paths(jobs, id, "a")]
        statuses[name] = {answer.status_code for answer in answers}
        assert all(("TEA" in answer.text) == (answer.status_code == 200) for answer in answers)
    assert statuses == {"reads": {200}, "saves": {200}, "works": {403}, "other": {404}, "nobody": {401}}


def test_the_host_is_asked():
    asked = []

    def authorize(principal, action, target):
        asked.append((principal.id, action.name, action.kind, target))
        return False

    with GNJ("memory://", authenticate=lambda _context: Principal("ann", "a"), authorize=authorize) as jobs:
        transport = httpx.WSGITransport(jobs.wsgi_app(["transform"]))
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            assert client.get("/transform/runs/7/records.csv").status_code == 403
    assert asked == [("ann", "exportRecords", "read", Target("transform/runs", "7"))]


def test_only_so_many_at_once(client, jobs, save, work, monkeypatch):
    id = save()
    work()
    monkeypatch.setattr("gnj.api.file_stream.Underway.enter", lambda _self, _tenant: None)
    found = client.get(f"/transform/jobs/{id}/records.csv")
    assert found.status_code == 503
    assert found.headers["retry-after"]


@pytest.mark.parametrize("client", ["wsgi"], indirect=True)
def test_an_export_that_cannot_go_on_is_broken_off(client, jobs, save, work, monkeypatch):
    id = save()
    work()

    def breaks(_fields, _pages):
        yield b"half"
        raise OSError("the database is gone")

    monkeypatch.setattr(exporting, "_csv", breaks)
    with pytest.raises(ConnectionAbortedError):
        client.get(f"/transform/jobs/{id}/records.csv")


@BOTH
def test_webhooks_are_set_and_shown_without_their_secret(ask, save, shop):
    id = save(format=FORMAT)
    text = "mutation($id: ID!, $url: String, $secret: String) { setJobWebhook(id: $id, url: $url, secret: $secret) { id webhookUrl } }"
    given = {"url": shop.url("/hook"), "secret": "the receiver's secret"}
    assert ask(text, id=id, **given).value == {"id": id, "webhookUrl": given["url"]}
    assert ask("query($id: ID!) { getJob(id: $id) { webhookUrl } }", id=id).value == {"webhookUrl": given["url"]}
    for wrong, code in (
        ({"url": "http://10.0.0.1/"}, "ADDRESS_REFUSED"),
        ({"url": "nowhere"}, "INVALID_INPUT"),
        ({"url": given["url"], "secret": "tiny"}, "INVALID_INPUT"),
    ):
        error = ask(text, id=id, **wrong).error
        assert error["code"] == code
        assert "tiny" not in error["message"]
    assert ask(text, id="7000", **given).codes == ["NOT_FOUND"]
    assert ask(text, id=id, url=None).value == {"id": id, "webhookUrl": None}
