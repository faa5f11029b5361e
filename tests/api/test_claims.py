"""Acquiring, heartbeats, recovering, retrying and holding over the API (sections 5, 7 and 8 of the jobs contract)."""

from __future__ import annotations

from datetime import datetime

import pytest

from gnj.queue.errors import Conflict, StorageUnavailable

ACQUIRE = """mutation($typeList: [String!]!, $workerId: String, $workerType: String, $leaseSeconds: Int) {
  acquireJob(typeList: $typeList, workerId: $workerId, workerType: $workerType, leaseSeconds: $leaseSeconds) {
    id status attempt workerId workerType startedAt leaseExpiresAt
  }
}"""
MANY = """mutation($typeList: [String!]!, $limit: Int!, $workerId: String, $leaseSeconds: Int) {
  acquireJobs(typeList: $typeList, limit: $limit, workerId: $workerId, leaseSeconds: $leaseSeconds) { id workerId }
}"""
HEARTBEAT = """mutation($id: Int!, $attempt: Int!, $leaseSeconds: Int) {
  heartbeat(id: $id, attempt: $attempt, leaseSeconds: $leaseSeconds) { id status leaseExpiresAt updatedAt }
}"""
HEARTBEATS = """mutation($claims: [claimInput!]!, $leaseSeconds: Int) {
  heartbeats(claims: $claims, leaseSeconds: $leaseSeconds) { id status leaseExpiresAt }
}"""
RECOVER = "mutation($id: Int!) { recover(id: $id) { id status output } }"
RETRY = "mutation($id: Int!) { retryJob(id: $id) { id status type retryOfJobId output jobUniqueId } }"
TOGGLE = "mutation($type: String!) { toggleHoldJobType(type: $type) { id type } }"
LOST = (
    "The claim is over: its lease ran out, the job ended or was given to another worker; nothing was changed.",
    "LEASE_LOST",
)


def seconds(row, start="startedAt", end="leaseExpiresAt"):
    return (datetime.fromisoformat(row[end]) - datetime.fromisoformat(row[start])).total_seconds()


def test_a_job_is_handed_out_once(api):
    api.create()
    job = api.get(ACQUIRE, typeList=["other", "mail"], workerId="an uuid, or any word", workerType="t")
    assert (job["id"], job["status"], job["attempt"]) == (1, "processing", 1)
    assert (job["workerId"], job["workerType"]) == ("an uuid, or any word", "t")
    assert api.get(ACQUIRE, typeList=["mail"]) is None


def test_the_order_is_priority_then_id(api):
    for priority in (4, 8, 1, 8):
        api.create(priorityLevel=priority)
    assert [api.claim()["id"] for _ in range(4)] == [2, 4, 1, 3]


def test_the_lease_is_that_of_the_server_unless_given(api):
    api.create()
    api.create()
    assert seconds(api.get(ACQUIRE, typeList=["mail"])) == pytest.approx(60, abs=1)
    assert seconds(api.get(ACQUIRE, typeList=["mail"], leaseSeconds=1)) == pytest.approx(1, abs=0.5)


def test_explicit_nulls_are_absent(api):
    api.create()
    job = api.get(ACQUIRE, typeList=["mail"], workerId=None, workerType=None, leaseSeconds=None)
    assert (job["workerId"], job["workerType"]) == (None, None)


def test_without_types_there_is_no_job(api):
    """B24."""
    api.create()
    assert api.get(ACQUIRE, typeList=[]) is None
    assert api.get(MANY, typeList=[], limit=5) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"typeList": [""]}, "a job type must not be empty"),
        ({"typeList": ["a\0"]}, "a job type must not hold a NUL character"),
        ({"typeList": ["x" * 201]}, "a job type must have at most 200 characters, not 201"),
        ({"typeList": [f"t{n}" for n in range(201)]}, "at most 200 types can be asked for at once, not 201"),
        ({"workerId": ""}, "workerId must not be empty"),
        ({"workerId": "a\tb"}, "workerId must not hold control characters"),
        ({"workerType": "x" * 201}, "workerType must have at most 200 characters, not 201"),
        ({"leaseSeconds": 0}, "leaseSeconds must be from 1 to 2,592,000, not 0"),
        ({"leaseSeconds": -5}, "leaseSeconds must be from 1 to 2,592,000, not -5"),
        ({"leaseSeconds": 2**31 - 1}, "leaseSeconds must be from 1 to 2,592,000, not 2147483647"),
    ],
)
def test_wrong_arguments_of_an_acquire(api, arguments, message):
    api.create()
    assert api.refuse(ACQUIRE, **{"typeList": ["mail"], **arguments})[0] == message


@pytest.mark.parametrize("limit", [-1, 1001])
def test_wrong_limits_of_an_acquire(api, limit):
    api.create()
    assert api.refuse(MANY, typeList=["mail"], limit=limit)[0] == f"limit must be from 0 to 1,000, not {limit}"


def test_many_are_acquired_in_order(api):
    for priority in (1, 8, 4):
        api.create(priorityLevel=priority)
    assert api.get(MANY, typeList=["mail"], limit=0) == []
    rows = api.get(MANY, typeList=["mail"], limit=2, workerId="w", leaseSeconds=5)
    assert rows == [{"id": 2, "workerId": "w"}, {"id": 3, "workerId": "w"}]
    assert [row["id"] for row in api.get(MANY, typeList=["mail"], limit=1000)] == [1]


@pytest.mark.parametrize("error", [StorageUnavailable, Conflict])
def test_a_database_that_fails_while_acquiring(api, error, monkeypatch):
    def begin(*, write=True):
        raise error("disk full at /var/lib/secret")

    monkeypatch.setattr(api.storage, "begin", begin)
    body = api.run(ACQUIRE, typeList=["mail"])
    assert body["data"] == {"acquireJob": None}
    (found,) = body["errors"]
    assert (found["message"], found["extensions"]) == ("Error acquiring job", {"code": error.code})


# Heartbeats


def test_a_heartbeat_renews_a_claim(api):
    api.create()
    api.claim()
    job = api.get(HEARTBEAT, id=1, attempt=1, leaseSeconds=1000)
    assert (job["id"], job["status"]) == (1, "processing")
    assert seconds(job, "updatedAt") > 900


def test_a_heartbeat_tells_of_a_requested_cancellation_and_does_not_count_as_an_update(api):
    api.create()
    api.claim()
    api.update(id=1, status="cancel-requested")
    for _ in range(3):
        assert api.get(HEARTBEAT, id=1, attempt=1)["status"] == "cancel-requested"


@pytest.mark.parametrize("id, attempt", [(1, 2), (1, 0), (99, 1), (-1, 1), (1, -1)])
def test_a_heartbeat_of_a_claim_that_is_over(api, id, attempt):
    api.create()
    api.claim()
    assert api.refuse(HEARTBEAT, id=id, attempt=attempt) == LOST


def test_a_heartbeat_of_a_job_that_ended(api):
    api.create()
    api.claim()
    api.update(id=1, attempt=1, status="successful")
    assert api.refuse(HEARTBEAT, id=1, attempt=1) == LOST


def test_many_heartbeats_have_null_where_a_claim_is_over(api):
    for _ in range(3):
        api.create()
        api.claim()
    claims = [{"id": 3, "attempt": 1}, {"id": 1, "attempt": 9}, {"id": 99, "attempt": 1}, {"id": 1, "attempt": 1}]
    rows = api.get(HEARTBEATS, claims=claims, leaseSeconds=30)
    assert [row and row["id"] for row in rows] == [3, None, None, 1]
    assert api.get(HEARTBEATS, claims=[]) == []
    message = "at most 1,000 claims can be renewed at once, not 1,001"
    assert api.refuse(HEARTBEATS, claims=[{"id": 1, "attempt": 1}] * 1001)[0] == message
    assert api.refuse(HEARTBEATS, claims=claims, leaseSeconds=0)[0].startswith("leaseSeconds must be from 1")


def test_heartbeats_take_a_constant_number_of_statements(api):
    for _ in range(8):
        api.create()
        api.claim()
    claims = [{"id": id, "attempt": 1} for id in range(1, 9)]
    assert api.counted(HEARTBEATS, claims=claims)[1] == api.counted(HEARTBEATS, claims=claims[:1])[1]


# Recover and retry


def test_recover_queues_the_same_job_again(api):
    api.create(isRecoverable=True, status="failed", output={"error": "x"})
    assert api.get(RECOVER, id=1) == {"id": 1, "status": "queued", "output": {"error": "x"}}
    assert api.claim()["id"] == 1


@pytest.mark.parametrize(
    "fields, message, code",
    [
        (None, "The job does not exist", "JOB_NOT_FOUND"),
        ({"isRecoverable": False, "status": "failed"}, "The job must be recoverable", "ILLEGAL_TRANSITION"),
        ({"isRecoverable": False, "status": "queued"}, "The job must be recoverable", "ILLEGAL_TRANSITION"),
        ({"isRecoverable": True, "status": "queued"}, "The job must be failed", "ILLEGAL_TRANSITION"),
        ({"isRecoverable": True, "status": "cancelled"}, "The job must be failed", "ILLEGAL_TRANSITION"),
    ],
)
def test_what_recover_refuses(api, fields, message, code):
    if fields is not None:
        api.create(**fields)
    assert api.refuse(RECOVER, id=1) == (message, code)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_retry_makes_a_new_job_in_the_place_of_the_old_one(api, status):
    """B7: whatever the output is."""
    api.create(status=status, jobUniqueId="u")
    job = api.get(RETRY, id=1)
    assert job == {
        "id": 2,
        "status": "queued",
        "type": "mail",
        "retryOfJobId": 1,
        "output": None,
        "jobUniqueId": "u",
    }
    assert api.get("{ job(id: 1) { status jobUniqueId } }") == [{"status": status, "jobUniqueId": None}]


@pytest.mark.parametrize("id", [1, -1, 0])
def test_retry_of_an_unknown_job(api, id):
    assert api.refuse(RETRY, id=id) == ("The job does not exist.", "JOB_NOT_FOUND")


@pytest.mark.parametrize("status", ["planned", "queued", "processing", "cancel-requested", "successful"])
def test_retry_refuses_other_statuses(api, status):
    api.create(status=status)
    assert api.refuse(RETRY, id=1) == ("The job must be failed or cancelled.", "ILLEGAL_TRANSITION")


# Holds


def test_a_held_type_is_not_handed_out(api):
    api.create()
    assert api.get(TOGGLE, type="mail") == {"id": 1, "type": "mail"}
    assert api.claim() is None
    assert api.get(TOGGLE, type="mail") is None
    assert api.get(TOGGLE, type="all") == {"id": 2, "type": "all"}
    assert api.claim() is None
    assert api.get(TOGGLE, type="all") is None
    assert api.claim()["id"] == 1


@pytest.mark.parametrize(
    "type, message",
    [
        ("", "type must not be empty"),
        ("a\0b", "type must not hold a NUL character"),
        ("x" * 201, "type must have at most 200 characters, not 201"),
    ],
)
def test_what_a_hold_refuses(api, type, message):
    assert api.refuse(TOGGLE, type=type)[0] == message
