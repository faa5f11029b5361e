"""Creating and changing jobs over the API (sections 6 and 7 of the jobs contract, points 4, 6, 9 and 10 of section 0)."""

from __future__ import annotations

import pytest

CREATE = """mutation($job: jobInput!) { jobCreate(job: $job) {
  id type name status jobUniqueId input output priorityLevel startAfter startedAt endedAt cancelledAt attempt workerId
} }"""
UPDATE = """mutation($job: jobInput!) { jobUpdate(job: $job) {
  id type name status input output processingInfo priorityLevel workerId startedAt endedAt cancelledAt attempt failures
  isUpdateAlreadyCalledWhileCancelRequested
} }"""
CREATE_MANY = "mutation($jobs: [jobInput!]!) { jobCreateMany(jobs: $jobs) { id type status } }"
UPDATE_MANY = """mutation($jobs: [jobInput!]!) { jobUpdateMany(jobs: $jobs) {
  job { id status output attempt } code message
} }"""
CANCEL_PENDING = (
    "The job was requested to be cancelled at the previous call. Please check for the status "
    '"cancel-requested" after calling updateProcessingInfo in your worker and throw a CancelRequestedError'
)


def test_a_new_job_is_queued(api):
    job = api.get(CREATE, job={"type": "mail", "input": {"to": "a"}})
    assert {name: value for name, value in job.items() if value is not None} == {
        "id": 1,
        "type": "mail",
        "status": "queued",
        "input": {"to": "a"},
        "priorityLevel": 4,
        "attempt": 0,
    }


def test_a_literal_works_like_a_variable(api):
    text = (
        'mutation { jobCreate(job: {type: "mail", input: {a: [1, 1.5, true, null, "x", E]}, priorityLevel: 8}) '
        "{ input priorityLevel } }"
    )
    assert api.get(text) == {"input": {"a": [1, 1.5, True, None, "x", "E"]}, "priorityLevel": 8}


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, {"a": {"b": [None]}}, 2**53, -1.5, "é ☃ 𝄞"])
def test_input_may_be_any_json(api, value):
    # a variable that is a text is itself JSON text (section 2)
    sent = f'"{value}"' if isinstance(value, str) else value
    assert api.get(CREATE, job={"type": "mail", "input": sent})["input"] == value


@pytest.mark.parametrize(
    "status, stamps",
    [
        ("planned", set()),
        ("queued", set()),
        ("processing", {"startedAt"}),
        ("cancel-requested", {"startedAt"}),
        ("successful", {"endedAt"}),
        ("failed", {"endedAt"}),
        ("cancelled", {"endedAt", "cancelledAt"}),
    ],
)
def test_a_job_may_be_created_with_any_legal_status(api, status, stamps):
    job = api.get(CREATE, job={"type": "mail", "status": status})
    assert job["status"] == status
    assert {name for name in ("startedAt", "endedAt", "cancelledAt") if job[name]} == stamps


def test_what_a_create_may_set(api):
    given = {
        "type": "mail",
        "createdAt": "2021-01-01T00:00:00.000Z",
        "startedAt": "2021-01-02T00:00:00.000Z",
        "endedAt": "2021-01-03T00:00:00.000Z",
        "workerId": "any word, even a sentence",
        "retryOfJobId": 7,
        "status": "failed",
        "output": {"error": "x"},
    }
    names = " ".join(given)
    text = f"mutation($job: jobInput!) {{ jobCreate(job: $job) {{ {names} }} }}"
    assert api.get(text, job=given) == given


def test_nested_objects_and_dates_of_the_server_are_accepted_and_ignored(api):
    nested = {"batch": {"status": "nonsense"}, "pipeline": {"jobs": [{"type": "x"}], "id": 9}}
    dates = {"deletedAt": "2021-01-01", "updatedAt": "2021-01-01"}
    assert api.get(CREATE, job={"type": "mail", **nested, **dates})["id"] == 1
    before = api.rows()
    assert api.get(UPDATE, job={"id": 1, **nested, **dates, "createdAt": "2021-01-01"})["id"] == 1
    assert api.rows() == before
    assert api.get("{ jobCount }") == 1
    assert api.get("{ batchCount }") == 0


def test_a_job_unique_id_gives_the_job_that_has_it(api):
    first = api.get(CREATE, job={"type": "mail", "jobUniqueId": "u"})
    before = api.rows()
    assert api.get(CREATE, job={"type": "other", "jobUniqueId": "u", "name": "second"}) == first
    assert api.rows() == before
    # null and "" are no key (B6)
    for key in (None, ""):
        assert api.get(CREATE, job={"type": "mail", "jobUniqueId": key})["id"] > 1


@pytest.mark.parametrize(
    "job, message",
    [
        ({}, "notNull Violation: job.type cannot be null"),
        ({"type": None}, "notNull Violation: job.type cannot be null"),
        ({"status": None}, "notNull Violation: job.status cannot be null"),
        ({"priorityLevel": None}, "notNull Violation: job.priorityLevel cannot be null"),
        ({"isRecoverable": None}, "notNull Violation: job.isRecoverable cannot be null"),
        ({"status": "done"}, "Validation error: Validation isIn on status failed"),
        ({"status": ""}, "Validation error: Validation isIn on status failed"),
        ({"id": 5}, "job.id cannot be given: the database makes it"),
        ({"attempt": 1}, "job.attempt cannot be set"),
        ({"batchId": 99}, 'insert or update on table "job" violates foreign key constraint "job_batchId_fkey"'),
        ({"pipelineId": 99}, 'insert or update on table "job" violates foreign key constraint "job_pipelineId_fkey"'),
        ({"type": ""}, "job.type must not be empty"),
        ({"type": "x" * 201}, "job.type must have at most 200 characters, not 201"),
        ({"type": "a\0"}, "job.type must not hold a NUL character"),
        ({"name": "x" * 501}, "job.name must have at most 500 characters, not 501"),
        ({"maxAttempts": 0}, "job.maxAttempts must be from 1 to"),
        ({"maxStalled": 0}, "job.maxStalled must be from 1 to"),
        ({"timeoutSeconds": 0}, "job.timeoutSeconds must be from 0.001 to"),
        ({"onLost": "explode"}, "job.onLost must be one of requeue, fail, hold, not 'explode'"),
        ({"backoff": {"type": "sometimes"}}, "backoff type must be one of fixed, linear, exponential"),
        ({"backoff": {"delay": -1}}, "backoff delay must be a number of milliseconds, not -1"),
        ({"backoff": {"nope": 1}}, "backoff does not know nope"),
        ({"workerId": "a\nb"}, "job.workerId must not hold control characters"),
    ],
)
def test_what_a_create_refuses(api, job, message):
    given = {"type": "mail", **job} if job else {}
    found, code = api.refuse(CREATE, job=given)
    assert found.startswith(message)
    assert code in ("INVALID_INPUT", "INVALID_TEXT")


def test_many_are_created_in_order(api):
    rows = api.get(CREATE_MANY, jobs=[{"type": "a"}, {"type": "b", "status": "planned"}, {"type": "c"}])
    assert rows == [
        {"id": 1, "type": "a", "status": "queued"},
        {"id": 2, "type": "b", "status": "planned"},
        {"id": 3, "type": "c", "status": "queued"},
    ]
    assert api.get(CREATE_MANY, jobs=[]) == []


def test_many_are_created_all_or_none(api):
    message, _ = api.refuse(CREATE_MANY, jobs=[{"type": "a"}, {"type": "b", "status": "nope"}])
    assert message == "Validation error: Validation isIn on status failed"
    message, _ = api.refuse(CREATE_MANY, jobs=[{"type": "a"}, {"type": "b", "batchId": 9}])
    assert "job_batchId_fkey" in message
    assert api.refuse(CREATE_MANY, jobs=[{"type": "a"}] * 1001) == (
        "jobs takes at most 1,000 at once, not 1,001",
        "INVALID_INPUT",
    )


def test_one_unique_id_twice_in_one_call_makes_one_job(api):
    rows = api.get(CREATE_MANY, jobs=[{"type": "a", "jobUniqueId": "u"}, {"type": "b", "jobUniqueId": "u"}])
    assert [row["id"] for row in rows] == [1, 1]


# Updates


@pytest.mark.parametrize("id", [{}, {"id": None}])
def test_an_update_needs_an_id(api, id):
    """B8."""
    api.create()
    assert api.refuse(UPDATE, job={**id, "name": "x"}) == (
        "Could not find the job with the id [null]",
        "JOB_NOT_FOUND",
    )


@pytest.mark.parametrize("id", [99, 0, -1, 2**31 - 1])
def test_an_update_of_an_unknown_job(api, id):
    api.create()
    message = f"Could not find the job with the id [{id}]"
    assert api.refuse(UPDATE, job={"id": id, "name": "x"}) == (message, "JOB_NOT_FOUND")


def test_an_update_changes_what_it_names(api):
    api.create(name="before", input={"a": 1})
    job = api.get(UPDATE, job={"id": 1, "name": "after", "priorityLevel": 8, "workerId": "w", "output": {"b": 2}})
    changed = {"name": "after", "priorityLevel": 8, "workerId": "w", "output": {"b": 2}}
    assert {name: job[name] for name in changed} == changed
    assert job["input"] == {"a": 1}
    assert job["status"] == "queued"
    assert api.get(UPDATE, job={"id": 1, "name": None, "output": None})["name"] is None


def test_the_life_of_a_job_of_the_npm_client(api):
    api.create()
    claimed = api.claim()
    assert claimed == {"id": 1, "attempt": 1, "status": "processing"}
    job = api.get(UPDATE, job={"id": 1, "processingInfo": {"percent": 50}})
    assert (job["status"], job["processingInfo"]) == ("processing", {"percent": 50})
    job = api.get(UPDATE, job={"id": 1, "status": "successful", "output": {"a": 1}})
    assert (job["status"], job["output"]) == ("successful", {"a": 1})
    assert job["endedAt"] >= job["startedAt"]


def test_an_illegal_move_changes_nothing(api):
    api.create(status="successful")
    message, code = api.refuse(UPDATE, job={"id": 1, "status": "queued", "name": "x"})
    assert (message, code) == ('the status cannot go from "successful" to "queued"', "ILLEGAL_TRANSITION")
    # to repeat the status is a plain edit
    assert api.get(UPDATE, job={"id": 1, "status": "successful", "name": "x"})["name"] == "x"


@pytest.mark.parametrize("status", ["planned", "queued"])
def test_a_waiting_job_that_is_asked_to_stop_is_cancelled_at_once(api, status):
    api.create(status=status)
    job = api.get(UPDATE, job={"id": 1, "status": "cancel-requested"})
    assert job["status"] == "cancelled"
    assert job["cancelledAt"] == job["endedAt"] is not None


def test_a_worker_that_ignores_a_cancellation_is_told_once(api):
    api.create()
    api.claim()
    api.get(UPDATE, job={"id": 1, "status": "cancel-requested"})
    job = api.get(UPDATE, job={"id": 1, "processingInfo": {"percent": 1}})
    assert (job["status"], job["isUpdateAlreadyCalledWhileCancelRequested"]) == ("cancel-requested", True)
    for _ in range(2):
        assert api.refuse(UPDATE, job={"id": 1, "processingInfo": {"percent": 2}}) == (
            CANCEL_PENDING,
            "CANCEL_REQUESTED",
        )
    assert api.get(UPDATE, job={"id": 1, "status": "cancelled"})["status"] == "cancelled"


def test_a_claim_by_hand_counts(api):
    api.create()
    job = api.get(UPDATE, job={"id": 1, "status": "processing"})
    assert (job["attempt"], job["startedAt"] is not None) == (1, True)


def test_a_fenced_update_holds_only_while_its_claim_does(api):
    api.create()
    claim = api.claim()
    assert api.get(UPDATE, job={"id": 1, "attempt": 1, "processingInfo": 1})["processingInfo"] == 1
    message, code = api.refuse(UPDATE, job={"id": 1, "attempt": 2, "status": "successful"})
    assert (message, code) == (
        "The claim is over: its lease ran out, the job ended or was given to another worker; nothing was changed.",
        "LEASE_LOST",
    )
    end = {"id": 1, "attempt": claim["attempt"], "status": "successful", "output": {"a": 1}}
    ended = api.get(UPDATE, job=end)
    assert ended["status"] == "successful"
    # told again, its answer having been lost: a success; with another outcome: not
    assert api.get(UPDATE, job=end) == ended
    assert api.refuse(UPDATE, job={**end, "output": {"a": 2}})[1] == "LEASE_LOST"
    assert api.refuse(UPDATE, job={**end, "status": "failed"})[1] == "LEASE_LOST"
    assert api.refuse(UPDATE, job={**end, "attempt": -1})[0].startswith("job.attempt must be from 0")


def test_a_try_that_failed_is_queued_again_while_tries_are_left(api):
    api.create(maxAttempts=2, backoff={"type": "fixed", "delay": 0})
    api.claim()
    job = api.get(UPDATE, job={"id": 1, "attempt": 1, "status": "failed", "output": {"error": "x"}})
    assert (job["status"], job["failures"], job["attempt"]) == ("queued", 1, 1)
    assert api.claim()["attempt"] == 2
    job = api.get(UPDATE, job={"id": 1, "attempt": 2, "status": "failed"})
    assert (job["status"], job["failures"]) == ("failed", 2)


@pytest.mark.parametrize(
    "job, message",
    [
        ({"status": "done"}, "Validation error: Validation isIn on status failed"),
        ({"status": None}, "notNull Violation: job.status cannot be null"),
        ({"type": None}, "notNull Violation: job.type cannot be null"),
        ({"batchId": 9}, 'insert or update on table "job" violates foreign key constraint "job_batchId_fkey"'),
        ({"type": "\0"}, "job.type must not hold a NUL character"),
    ],
)
def test_what_an_update_refuses(api, job, message):
    api.create()
    assert api.refuse(UPDATE, job={"id": 1, **job})[0] == message


# Many updates


def test_each_of_many_updates_has_its_own_outcome(api):
    for _ in range(4):
        api.create()
        api.claim()
    rows = api.get(
        UPDATE_MANY,
        jobs=[
            {"id": 1, "attempt": 1, "status": "successful", "output": {"n": 1}},
            {"id": 2, "attempt": 9, "status": "successful"},
            {"id": 99, "attempt": 1, "status": "successful"},
            {"id": 3, "attempt": 1, "status": "failed", "output": {"error": "x"}},
            {"name": "x"},
            {"id": 4, "attempt": 1, "status": "successful"},
            {"id": 4, "status": "nope"},
        ],
    )
    lost = "The claim is over: its lease ran out, the job ended or was given to another worker; nothing was changed."
    assert rows == [
        {
            "job": {"id": 1, "status": "successful", "output": {"n": 1}, "attempt": 1},
            "code": None,
            "message": None,
        },
        {"job": None, "code": "LEASE_LOST", "message": lost},
        {"job": None, "code": "JOB_NOT_FOUND", "message": "Could not find the job with the id [99]"},
        {
            "job": {"id": 3, "status": "failed", "output": {"error": "x"}, "attempt": 1},
            "code": None,
            "message": None,
        },
        {"job": None, "code": "JOB_NOT_FOUND", "message": "Could not find the job with the id [null]"},
        {"job": {"id": 4, "status": "successful", "output": None, "attempt": 1}, "code": None, "message": None},
        {"job": None, "code": "INVALID_INPUT", "message": "Validation error: Validation isIn on status failed"},
    ]
    assert api.get(UPDATE_MANY, jobs=[]) == []


def test_successes_share_a_statement(api):
    ends = []
    for number in range(10):
        api.create()
        claim = api.claim()
        ends.append({"id": claim["id"], "attempt": 1, "status": "successful", "output": {"n": number}})
    rows, calls = api.counted(UPDATE_MANY, jobs=ends)
    assert [(row["job"]["id"], row["job"]["output"]["n"]) for row in rows] == [(n + 1, n) for n in range(10)]
    assert calls == {"find": 1, "settle": 1}
    # told again they are successes still
    assert api.get(UPDATE_MANY, jobs=ends) == rows


def test_changes_of_one_job_hold_in_their_order(api):
    api.create()
    api.claim()
    rows = api.get(
        UPDATE_MANY,
        jobs=[
            {"id": 1, "attempt": 1, "processingInfo": {"percent": 99}},
            {"id": 1, "attempt": 1, "status": "successful"},
            {"id": 1, "attempt": 1, "processingInfo": {"percent": 100}},
        ],
    )
    assert [row["code"] for row in rows] == [None, None, "LEASE_LOST"]


def test_successes_of_members_settle_their_parents(api):
    pipeline = api.get('mutation { pipelineCreate(pipeline: {name: "p"}) { id } }')["id"]
    api.create("first", pipelineId=pipeline)
    api.create("second", pipelineId=pipeline)
    api.create("alone")
    api.get("mutation { startPipeline(id: 1) { id } }")
    ends = [
        {"id": api.claim(type)["id"], "attempt": 1, "status": "successful", "output": 1} for type in ("first", "alone")
    ]
    assert [row["job"]["status"] for row in api.get(UPDATE_MANY, jobs=ends)] == ["successful"] * 2
    assert api.claim("second")["id"] == 2


def test_an_output_of_null_takes_the_stored_one_away(api):
    for number in (1, 2):
        api.create(output={"old": number})
        api.claim()
    ends = [{"id": id, "attempt": 1, "status": "successful", "output": None} for id in (1, 2)]
    assert [row["job"]["output"] for row in api.get(UPDATE_MANY, jobs=ends)] == [None, None]


def test_too_many_updates_are_refused(api):
    assert api.refuse(UPDATE_MANY, jobs=[{"id": 1}] * 1001) == (
        "jobs takes at most 1,000 at once, not 1,001",
        "INVALID_INPUT",
    )
