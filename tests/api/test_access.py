"""Who may: every root field asks the guard once, and nobody reaches another tenant's rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gnj.api.hooks import Guard, Kind, Principal, RequestContext
from gnj.api.http import Request, answer, endpoints
from gnj.api.jobs import context, routes
from gnj.api.jobs.mutations import MUTATIONS
from gnj.api.jobs.queries import QUERIES

WORKER = '{workerId: "w", workerType: "t", workerStatus: "AVAILABLE"}'
# how each root field is called, with ids of the rows that `furnished` makes
CALLS = {
    "job": "{ job(id: 1) { id } }",
    "batch": "{ batch(id: 1) { id } }",
    "pipeline": "{ pipeline(id: 1) { id } }",
    "pipelineStep": "{ pipelineStep(id: 1) { id } }",
    "jobHoldType": "{ jobHoldType(id: 1) { id } }",
    "jobCount": "{ jobCount }",
    "batchCount": "{ batchCount }",
    "pipelineCount": "{ pipelineCount }",
    "pipelineStepCount": "{ pipelineStepCount }",
    "jobCreate": 'mutation { jobCreate(job: {type: "mail", batchId: 1, pipelineId: 1}) { id } }',
    "jobCreateMany": 'mutation { jobCreateMany(jobs: [{type: "mail", batchId: 1}]) { id } }',
    "jobUpdate": 'mutation { jobUpdate(job: {id: 1, name: "x"}) { id } }',
    "jobUpdateMany": 'mutation { jobUpdateMany(jobs: [{id: 1, name: "x"}]) { job { id } code } }',
    "acquireJob": 'mutation { acquireJob(typeList: ["mail"]) { id } }',
    "acquireJobs": 'mutation { acquireJobs(typeList: ["mail"], limit: 9) { id } }',
    "heartbeat": "mutation { heartbeat(id: 2, attempt: 1) { id } }",
    "heartbeats": "mutation { heartbeats(claims: [{id: 2, attempt: 1}]) { id } }",
    "recover": "mutation { recover(id: 3) { id } }",
    "retryJob": "mutation { retryJob(id: 3) { id } }",
    "toggleHoldJobType": 'mutation { toggleHoldJobType(type: "held") { id } }',
    "batchCreate": "mutation { batchCreate(batch: {pipelineId: 1}) { id } }",
    "batchUpdate": "mutation { batchUpdate(batch: {id: 1, status: null, pipelineId: null}) { id } }",
    "pipelineCreate": 'mutation { pipelineCreate(pipeline: {name: "x"}) { id } }',
    "pipelineUpdate": 'mutation { pipelineUpdate(pipeline: {id: 1, name: "x"}) { id } }',
    "pipelineStepCreate": "mutation { pipelineStepCreate(pipelineStep: {pipelineId: 1, index: 9, jobId: 1}) { id } }",
    "pipelineStepUpdate": "mutation { pipelineStepUpdate(pipelineStep: {id: 1, index: 9}) { id } }",
    "startPipeline": "mutation { startPipeline(id: 1) { id } }",
    "workerMonitoring": "{ workerMonitoring(id: 1) { id } }",
    "jobSuccessRating": "{ jobSuccessRating(limit: 1) { totalJobs } }",
    "jobSuccessRatingCount": "{ jobSuccessRatingCount }",
    "workerSuccessRating": "{ workerSuccessRating { workerType } }",
    "workerSuccessRatingCount": "{ workerSuccessRatingCount }",
    "release": "mutation { release(id: 2, attempt: 1) { id } }",
    "recoverJob": 'mutation { recoverJob(typeList: ["failed"]) { id } }',
    "jobDelete": "mutation { jobDelete(id: 1) { id } }",
    "batchDelete": "mutation { batchDelete(id: 1) { id } }",
    "pipelineDelete": "mutation { pipelineDelete(id: 1) { id } }",
    "pipelineStepDelete": "mutation { pipelineStepDelete(id: 1) { id } }",
    "jobHoldTypeDelete": "mutation { jobHoldTypeDelete(id: 1) { id } }",
    "workerMonitoringDelete": "mutation { workerMonitoringDelete(id: 1) { id } }",
    "jobHoldTypeCreate": 'mutation { jobHoldTypeCreate(jobHoldType: {type: "x"}) { id } }',
    "jobHoldTypeUpdate": 'mutation { jobHoldTypeUpdate(jobHoldType: {id: 1, type: "x"}) { id } }',
    "recurringJob": "{ recurringJob(id: 1) { id nextRuns } }",
    "recurringJobCount": "{ recurringJobCount }",
    "recurringJobCreate": 'mutation { recurringJobCreate(recurringJob: {name: "x", cron: "0 3 * * *", job: {type: "a"}}) { id } }',
    "recurringJobUpdate": 'mutation { recurringJobUpdate(recurringJob: {id: 1, cron: "0 4 * * *"}) { id } }',
    "recurringJobDelete": "mutation { recurringJobDelete(id: 1) { id } }",
    "recurringJobToggle": "mutation { recurringJobToggle(id: 1) { id } }",
    "recurringJobRun": "mutation { recurringJobRun(id: 1) { id } }",
    "ping": "mutation { ping { success } }",
    "pong": f"mutation {{ pong(workerInfoInput: [{WORKER}]) {{ success }} }}",
    "progress": "mutation { progress(id: 2, attempt: 1, processingInfo: {}) { id } }",
    "settle": 'mutation { settle(outcomes: [{id: 2, attempt: 1, status: "successful"}]) { job { id } code } }',
    "workerMonitoringUpdate": f"mutation {{ workerMonitoringUpdate(workers: [{WORKER}]) {{ success }} }}",
}
# what another tenant is answered: null or empty, or this code
REFUSED = {
    **dict.fromkeys(("jobUpdate", "recover", "retryJob", "jobDelete", "release", "progress"), "JOB_NOT_FOUND"),
    **dict.fromkeys(("batchUpdate", "pipelineUpdate", "pipelineStepUpdate", "startPipeline"), "NOT_FOUND"),
    **dict.fromkeys(("batchDelete", "pipelineDelete", "pipelineStepDelete", "workerMonitoringDelete"), "NOT_FOUND"),
    **dict.fromkeys(("jobHoldTypeDelete", "jobHoldTypeUpdate"), "NOT_FOUND"),
    **dict.fromkeys((f"recurringJob{verb}" for verb in ("Update", "Delete", "Toggle", "Run")), "NOT_FOUND"),
    **dict.fromkeys(("jobCreate", "jobCreateMany", "batchCreate", "pipelineStepCreate"), "INVALID_INPUT"),
    "heartbeat": "LEASE_LOST",
}
EMPTY = {
    **{name: [] for name in ("job", "batch", "pipeline", "pipelineStep", "jobHoldType", "recurringJob", "acquireJobs")},
    **{name: [] for name in ("workerMonitoring", "workerSuccessRating")},
    **dict.fromkeys(
        (
            "jobCount",
            "batchCount",
            "pipelineCount",
            "pipelineStepCount",
            "recurringJobCount",
            "workerSuccessRatingCount",
        ),
        0,
    ),
    **dict.fromkeys(("acquireJob", "recoverJob")),
    "jobSuccessRating": [{"totalJobs": 0}],
    "jobSuccessRatingCount": 30,
    **{name: {"success": True} for name in ("ping", "pong")},
    "heartbeats": [None],
    "jobUpdateMany": [{"job": None, "code": "JOB_NOT_FOUND"}],
    "settle": [{"job": None, "code": "JOB_NOT_FOUND"}],
}
OWN = {"pipelineCreate", "recurringJobCreate", "toggleHoldJobType", "jobHoldTypeCreate", "workerMonitoringUpdate"}
"""What another tenant does in its own rows."""


class Asked:
    """An authorize hook that remembers, and refuses one target."""

    def __init__(self, refused=None):
        self.refused = refused
        self.calls: list[tuple[Any, Any, Any]] = []

    def __call__(self, principal, action, target):
        self.calls.append((principal, action, target))
        return target is None or target != self.refused


@pytest.fixture
def furnished(api):
    api.create("mail")
    api.create("claimed")
    api.claim("claimed")
    api.create("failed", status="failed", isRecoverable=True)
    api.get('mutation { pipelineCreate(pipeline: {name: "p"}) { id } }')
    api.get("mutation { batchCreate(batch: {pipelineId: 1}) { id } }")
    api.get('mutation { toggleHoldJobType(type: "held") { id } }')
    api.get(CALLS["workerMonitoringUpdate"])
    api.get(CALLS["recurringJobCreate"].replace('"x"', '"furnished"'))
    return api


def guarded(api, guard, name):
    found = context(api.queue, Principal("p", "t"), guard=guard, request=RequestContext())
    return api.engine.execute(CALLS[name], context=found).body


def test_every_root_field_is_tried():
    assert CALLS.keys() == {root.name for root in (*QUERIES, *MUTATIONS)}
    assert CALLS.keys() == REFUSED.keys() | EMPTY.keys() | OWN


@pytest.mark.parametrize("name", CALLS)
def test_who_may_nothing_reaches_nothing(furnished, name):
    before = furnished.rows()
    body = guarded(furnished, Guard(authorize=lambda *_: False), name)
    assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"]
    assert not any((body["data"] or {}).values())
    assert furnished.rows() == before


@pytest.mark.parametrize("name", CALLS)
def test_the_guard_is_asked_once_for_each_root_field(furnished, name):
    asked = Asked()
    guarded(furnished, Guard(authorize=asked), name)
    ((principal, action, target),) = asked.calls
    assert principal == Principal("p", "t")
    assert (action.name, isinstance(action.kind, Kind)) == (name, True)
    text = CALLS[name]
    assert target == (int(text.partition("id: ")[2][0]) if "id: " in text else None)


@pytest.mark.parametrize("name", CALLS)
def test_another_tenant_finds_nothing_and_changes_nothing(furnished, name):
    before = furnished.rows()
    body = furnished.run(CALLS[name], tenant="other")
    if name in REFUSED:
        assert [error["extensions"]["code"] for error in body["errors"]] == [REFUSED[name]]
    elif name in EMPTY:
        assert body == {"data": {name: EMPTY[name]}}
    else:
        assert "errors" not in body
    after = furnished.rows()
    assert {key: [row for row in rows if row.tenant == ""] for key, rows in after.items()} == before
    assert name in OWN or after == before


@pytest.mark.parametrize("name", CALLS)
def test_the_tenant_itself_is_served(furnished, name):
    assert "errors" not in furnished.run(CALLS[name])


def test_aliases_are_asked_about_each(api):
    asked = Asked(refused=2)
    found = context(api.queue, Principal("p"), guard=Guard(authorize=asked))
    body = api.engine.execute("{ a: job(id: 1) { id } b: job(id: 2) { id } }", context=found).body
    assert [target for _, _, target in asked.calls] == [1, 2]
    assert body["data"] == {"a": [], "b": None}
    assert body["errors"][0]["path"] == ["b"]


@pytest.mark.parametrize(
    "text",
    [
        'mutation { jobUpdateMany(jobs: [{id: 1, name: "x"}, {id: 2, name: "x"}, {id: 1}]) { code } }',
        "mutation { heartbeats(claims: [{id: 1, attempt: 1}, {id: 2, attempt: 1}]) { id } }",
        'mutation { settle(outcomes: [{id: 1, attempt: 1, status: "failed"}, {id: 2, attempt: 1, status: "failed"}]) { code } }',
    ],
)
def test_each_of_many_is_asked_about_before_any_is_touched(furnished, text):
    asked = Asked(refused=2)
    before = furnished.rows()
    found = context(furnished.queue, Principal("p"), guard=Guard(authorize=asked))
    body = furnished.engine.execute(text, context=found).body
    assert [target for _, _, target in asked.calls] == [1, 2]
    assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert furnished.rows() == before


# Over HTTP


def post(api, guard, query, headers=(), **variables):
    body = json.dumps({"query": query, "variables": variables, "operationName": None}).encode()
    methods = endpoints(routes(api.engine, api.queue, guard))["/graphql"]
    response = answer(
        methods,
        Request(
            method="POST",
            path="/graphql",
            headers={"content-type": "application/json", "host": "localhost", **dict(headers)},
            body=body,
            client_host="127.0.0.1",
        ),
    )
    return response.status, json.loads(response.body)


def test_the_route_serves_callers_in_their_tenant(api):
    guard = Guard(authenticate=lambda seen: Principal("u", seen.headers["x-tenant"]))
    text = 'mutation { jobCreate(job: {type: "mail"}) { id } }'
    assert post(api, guard, text, {"x-tenant": "a"}) == (200, {"data": {"jobCreate": {"id": 1}}})
    assert post(api, guard, "{ jobCount }", {"x-tenant": "a"}) == (200, {"data": {"jobCount": 1}})
    assert post(api, guard, "{ jobCount }", {"x-tenant": "b"}) == (200, {"data": {"jobCount": 0}})


def test_the_route_refuses_strangers(api):
    status, body = post(api, Guard(token="secret"), "{ jobCount }")
    assert (status, body["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")
    assert post(api, Guard(token="secret"), "{ jobCount }", {"authorization": "Bearer secret"})[0] == 200
