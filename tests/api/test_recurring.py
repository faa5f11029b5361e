"""Recurring jobs over GraphQL."""

from __future__ import annotations

import pytest

from gnj.queue.model import Schedule

FIELDS = "id name cron timeZone every missed mayOverlap paused job nextAt runs lastJobId nextRuns"
CREATE = f"mutation ($given: recurringJobInput!) {{ recurringJobCreate(recurringJob: $given) {{ {FIELDS} }} }}"
NIGHTLY = {
    "name": "nightly",
    "cron": "0 3 * * *",
    "timeZone": "Europe/Paris",
    "job": {"type": "mail", "maxAttempts": 3},
}


def create(api, **more):
    return api.get(CREATE, given=NIGHTLY | more)


def test_made_listed_changed_and_deleted(api):
    made = create(api)
    assert {name: made[name] for name in NIGHTLY} == NIGHTLY
    assert (made["missed"], made["mayOverlap"], made["paused"], made["runs"]) == ("newest", True, False, 0)
    assert made["nextAt"] == made["nextRuns"][0] < made["nextRuns"][1]
    assert api.get('{ recurringJob(where: {cron: {startsWith: "0 3"}}) { name } }') == [{"name": "nightly"}]
    assert api.get("{ recurringJobCount }") == 1
    update = (
        "mutation ($given: recurringJobInput!) { recurringJobUpdate(recurringJob: $given) { cron every job timeZone } }"
    )
    changed = api.get(update, given={"id": made["id"], "cron": None, "every": 60_000, "job": {"type": "sms"}})
    assert changed == {"cron": None, "every": 60_000, "job": {"type": "sms"}, "timeZone": "Europe/Paris"}
    gone = api.get("mutation ($id: Int!) { recurringJobDelete(id: $id) { name } }", id=made["id"])
    assert gone == {"name": "nightly"}
    assert api.get("{ recurringJob { id } }") == []


def test_paused_and_run(api):
    id = create(api, mayOverlap=False)["id"]
    toggle = "mutation ($id: Int!, $paused: Boolean) { recurringJobToggle(id: $id, paused: $paused) { paused nextAt } }"
    assert api.get(toggle, id=id) == {"paused": True, "nextAt": None}
    assert api.get(toggle, id=id, paused=True)["paused"]
    assert api.get(toggle, id=id)["nextAt"]
    run = "mutation ($id: Int!) { recurringJobRun(id: $id) { id type maxAttempts status } }"
    job = api.get(run, id=id)
    assert (job["type"], job["maxAttempts"], job["status"]) == ("mail", 3, "queued")
    message = f"the job {job['id']} of nightly has not ended, and they must not overlap"
    assert api.refuse(run, id=id) == (message, "ILLEGAL_TRANSITION")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cron": "* * * * * *"}, "recurringJob.cron must have five fields"),
        ({"every": 60_000}, "give either cron or every"),
        ({"cron": None, "every": 1_000}, "every must be at least 60,000 ms"),
        ({"timeZone": "Mars"}, "recurringJob.timeZone must be a name of the IANA database"),
        ({"job": {"input": 1}}, "notNull Violation: job.type cannot be null"),
        ({"job": {"type": "a", "jobUniqueId": "x"}}, "recurringJob.job cannot have 'jobUniqueId'"),
        ({"job": {"type": "gnj:bulk"}}, "the job type is reserved"),
        ({"job": 5}, "an object that has a type"),
    ],
)
def test_refusals(api, change, message):
    told, code = api.refuse(CREATE, given=NIGHTLY | change)
    assert code == "INVALID_INPUT"
    assert message in told
    assert api.get("{ recurringJobCount }") == 0


def test_what_the_queue_alone_writes_cannot_be_given(api):
    for name in ("nextAt", "lastAt", "lastJobId", "runs", "failures", "error", "since"):
        assert "errors" in api.run(CREATE, given=NIGHTLY | {name: None})


@pytest.mark.parametrize("type", ["gnj:transform", "gnj:content.sync"])
def test_what_makes_runs_and_content_jobs_is_none_of_them(api, type):
    """It is listed, changed and taken away where those are."""
    given = {"name": "own", "cron": "0 3 * * *", "job": {"type": type, "input": {}}}
    own = api.queue.create_schedule(given, internal=True)
    assert api.run("{ recurringJob { name } recurringJobCount }")["data"] == {
        "recurringJob": [],
        "recurringJobCount": 0,
    }
    for mutation in (
        "recurringJobDelete(id: $id) { id }",
        "recurringJobToggle(id: $id) { id }",
        "recurringJobRun(id: $id) { id }",
        'recurringJobUpdate(recurringJob: {id: $id, name: "mine"}) { id }',
    ):
        told = api.refuse(f"mutation($id: Int!) {{ {mutation} }}", id=own.id)
        assert told == ("recurringJob not found.", "NOT_FOUND")
    assert api.queue.get(Schedule, own.id) == own
