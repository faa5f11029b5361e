"""What remote workers need besides: policies with a claim, progress that merges, ends of all kinds in one call."""

from __future__ import annotations

import pytest

ACQUIRE = """mutation($policies: [policyInput!]) { acquireJobs(typeList: ["mail"], limit: 9, policies: $policies) {
  id attempt maxAttempts backoff timeoutSeconds onLost } }"""
PROGRESS = """mutation($id: Int!, $attempt: Int!, $info: SequelizeJSON) {
  progress(id: $id, attempt: $attempt, processingInfo: $info) { processingInfo status } }"""
SETTLE = """mutation($outcomes: [outcomeInput!]!) {
  settle(outcomes: $outcomes) { job { id status output attempts { error } } code message } }"""
HALF = {"type": "fixed", "delay": 500}


def test_policies_fill_what_the_jobs_leave_open(api):
    api.create(maxAttempts=2)
    api.create()
    policy = {"type": "mail", "maxAttempts": 5, "backoff": HALF, "timeoutSeconds": 2.5, "onLost": "fail"}
    other = {"type": "other", "maxAttempts": 9}
    first, second = api.get(ACQUIRE, policies=[other, policy])
    assert (first["maxAttempts"], first["backoff"]) == (2, HALF)
    assert (second["maxAttempts"], second["timeoutSeconds"], second["onLost"]) == (5, 2.5, "fail")


@pytest.mark.parametrize(
    "policy, says",
    [
        ({"type": "mail", "maxAttempts": 0}, "job.maxAttempts must be from 1"),
        ({"type": "mail", "onLost": "shrug"}, "job.onLost must be one of requeue, fail, hold"),
        ({"type": "mail", "timeoutSeconds": -1}, "job.timeoutSeconds must be from"),
        ({"type": "mail", "backoff": {"type": "wild"}}, "backoff type must be one of"),
        ({"type": ""}, "job.type must not be empty"),
    ],
)
def test_a_policy_no_job_may_have_hands_out_nothing(api, policy, says):
    api.create()
    message, code = api.refuse(ACQUIRE, policies=[policy])
    assert code == "INVALID_INPUT"
    assert says in message
    assert api.claim()["attempt"] == 1


def test_policies_are_bounded(api):
    message, code = api.refuse(ACQUIRE, policies=[{"type": f"t{n}"} for n in range(201)])
    assert (message, code) == ("policies takes at most 200 at once, not 201", "INVALID_INPUT")


def test_progress_merges(api):
    api.create()
    api.claim()
    api.get(PROGRESS, id=1, attempt=1, info={"a": 1, "steps": {"x": {"status": "done"}}})
    told = api.get(PROGRESS, id=1, attempt=1, info={"b": 2, "steps": {"y": {"status": "planned"}}})["processingInfo"]
    assert (told["a"], told["b"], list(told["steps"])) == (1, 2, ["x", "y"])


def test_progress_of_a_claim_that_is_over(api):
    api.create()
    api.claim()
    assert api.refuse(PROGRESS, id=1, attempt=2, info={})[1] == "LEASE_LOST"
    assert api.refuse(PROGRESS, id=7, attempt=1, info={}) == (
        "Could not find the job with the id [7]",
        "JOB_NOT_FOUND",
    )


def test_ends_of_all_kinds(api):
    for _ in range(5):
        api.create()
    for _ in range(5):
        api.claim()
    results = api.get(
        SETTLE,
        outcomes=[
            {"id": 1, "attempt": 1, "status": "successful", "output": '"words"'},
            {"id": 2, "attempt": 1, "status": "failed", "output": {"error": "no"}, "error": "traceback"},
            {"id": 3, "attempt": 1, "status": "cancelled"},
            {"id": 4, "attempt": 1, "status": "queued", "delaySeconds": 0.5},
            {"id": 5, "attempt": 2, "status": "successful"},
            {"id": 6, "attempt": 1, "status": "successful"},
            {"id": 5, "attempt": 1, "status": "processing"},
            {"id": 5, "attempt": 1, "status": "queued", "delaySeconds": -1},
        ],
    )
    assert [row["job"] and row["job"]["status"] for row in results] == [
        "successful", "failed", "cancelled", "queued", None, None, None, None,
    ]  # fmt: skip
    assert [row["code"] for row in results[4:]] == ["LEASE_LOST", "JOB_NOT_FOUND", "INVALID_INPUT", "INVALID_INPUT"]
    assert results[6]["message"] == (
        "outcome.status must be one of successful, failed, cancelled, queued, not 'processing'"
    )
    assert results[0]["job"]["output"] == "words"
    assert results[1]["job"]["attempts"] == [{"error": "traceback"}]


def test_the_same_end_again_is_a_success(api):
    api.create()
    api.create()
    api.claim()
    api.claim()
    outcomes = [
        {"id": 1, "attempt": 1, "status": "successful", "output": 1},
        {"id": 2, "attempt": 1, "status": "failed", "output": {"error": "no"}},
    ]
    first = api.get(SETTLE, outcomes=outcomes)
    assert api.get(SETTLE, outcomes=outcomes) == first
    other = api.get(SETTLE, outcomes=[{**outcomes[0], "output": 2}])
    assert other[0]["code"] == "LEASE_LOST"


def test_outcomes_are_bounded(api):
    outcomes = [{"id": 1, "attempt": 1, "status": "queued"}] * 1001
    assert api.refuse(SETTLE, outcomes=outcomes)[0] == "outcomes takes at most 1,000 at once, not 1,001"
