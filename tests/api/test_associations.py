"""Associations: what they give, and that they cost one statement per field and level, however many rows there are."""

from __future__ import annotations

import pytest

from gnj.graphql import associations

CREATE = "mutation($batch: batchInput!) { batchCreate(batch: $batch) { id } }"
PIPELINE = 'mutation { pipelineCreate(pipeline: {name: "p"}) { id } }'


def house(api, pipelines, jobs=2):
    """Pipelines, each with a batch of jobs and a job of its own."""
    for _ in range(pipelines):
        pipeline = api.get(PIPELINE)["id"]
        batch = api.get(CREATE, batch={"pipelineId": pipeline})["id"]
        for _ in range(jobs):
            api.create(batchId=batch)
        api.create(pipelineId=pipeline)


def test_has_one_gives_the_row_or_null(api):
    house(api, 1, jobs=1)
    api.create()
    rows = api.get('{ job { id batch { id pipeline { id name } } pipeline(order: "nonsense") { id } } }')
    assert rows == [
        {"id": 1, "batch": {"id": 1, "pipeline": {"id": 1, "name": "p"}}, "pipeline": None},
        {"id": 2, "batch": None, "pipeline": {"id": 1}},
        {"id": 3, "batch": None, "pipeline": None},
    ]


def test_has_many_gives_lists(api):
    house(api, 2)
    rows = api.get("{ pipeline { batches { id jobs { id } } jobs { id } steps { index job { id } batch { id } } } }")
    assert rows == [
        {
            "batches": [{"id": 1, "jobs": [{"id": 1}, {"id": 2}]}],
            "jobs": [{"id": 3}],
            "steps": [{"index": 1, "job": None, "batch": {"id": 1}}, {"index": 2, "job": {"id": 3}, "batch": None}],
        },
        {
            "batches": [{"id": 2, "jobs": [{"id": 4}, {"id": 5}]}],
            "jobs": [{"id": 6}],
            "steps": [{"index": 1, "job": None, "batch": {"id": 2}}, {"index": 2, "job": {"id": 6}, "batch": None}],
        },
    ]
    api.get(PIPELINE)
    assert api.get("{ pipeline(id: 3) { batches { id } jobs { id } steps { id } } }") == [
        {"batches": [], "jobs": [], "steps": []}
    ]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ("", [[1, 2, 3], [5, 6, 7]]),
        ("(limit: 2)", [[1, 2], [5, 6]]),
        ("(limit: 0)", [[], []]),
        ("(offset: 1, limit: 1)", [[2], [6]]),
        ("(offset: 2)", [[3], [7]]),
        ('(order: "reverse:id", limit: 2)', [[3, 2], [7, 6]]),
        ("(order: null, limit: null, offset: null)", [[1, 2, 3], [5, 6, 7]]),
    ],
)
def test_order_limit_and_offset_hold_for_each_parent(api, arguments, expected):
    house(api, 2, jobs=3)
    rows = api.get(f"{{ batch {{ jobs{arguments} {{ id }} }} }}")
    assert [[job["id"] for job in row["jobs"]] for row in rows] == expected


def test_one_field_may_be_asked_for_with_several_arguments(api):
    house(api, 2)
    text = (
        '{ batch { first: jobs(limit: 1) { id } last: jobs(limit: 1, order: "reverse:id") { id } all: jobs { id } } }'
    )
    assert api.get(text) == [
        {"first": [{"id": 1}], "last": [{"id": 2}], "all": [{"id": 1}, {"id": 2}]},
        {"first": [{"id": 4}], "last": [{"id": 5}], "all": [{"id": 4}, {"id": 5}]},
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ('order: ""', "order must be a field"),
        ('order: "nope"', "order: job has no field 'nope'"),
        ("limit: -1", "limit must be from 0 to 10,000"),
        ("offset: -1", "offset must be from 0 to 100,000"),
    ],
)
def test_wrong_arguments_of_an_association(api, arguments, message):
    house(api, 3)
    api.storage.calls.clear()
    body = api.run(f"{{ batch {{ id jobs({arguments}) {{ id }} }} }}")
    assert body["data"] == {"batch": [{"id": id, "jobs": None} for id in (1, 2, 3)]}
    assert {error["extensions"]["code"] for error in body["errors"]} == {"INVALID_INPUT"}
    assert all(message in error["message"] for error in body["errors"])
    assert api.storage.calls == {"find": 1}


NESTED = """{
  pipeline(limit: 50) {
    id
    batches(limit: 3) { id jobs(limit: 5) { id batch { id pipeline { id } } attempts(limit: 2) { attempt error } } }
    jobs(limit: 5) { id batch { id } pipeline { id } }
    steps(limit: 3) { index job { id batch { id } } batch { id jobs(limit: 4) { id pipeline { id } } } pipeline { id } }
  }
}"""


def test_the_number_of_statements_does_not_grow_with_the_rows(api):
    house(api, 1, jobs=1)
    _, few = api.counted(NESTED)
    house(api, 12, jobs=3)
    rows, many = api.counted(NESTED)
    assert len(rows) == 13
    assert many == few
    assert set(few) == {"find"}


@pytest.mark.parametrize(
    "text, statements",
    [
        ("{ job { id type status } }", 1),
        ("{ job { batch { id } } }", 2),
        ("{ job { a: batch { id } b: batch { status } } }", 2),
        ("{ job { batch { id jobs { id } } } }", 3),
        ("{ batch { pipeline { id steps { id } } } }", 3),
        ("{ job(where: {batchId: null}) { batch { id } } }", 1),
        ("{ job(limit: 0) { batch { id } } }", 1),
    ],
)
def test_an_association_costs_one_statement(api, text, statements):
    house(api, 5)
    api.create()
    assert api.counted(text)[1] == {"find": statements}


def test_associations_of_what_mutations_give(api):
    house(api, 2)
    text = "mutation($jobs: [jobInput!]!) { jobCreateMany(jobs: $jobs) { batch { id } } }"
    rows, calls = api.counted(text, jobs=[{"type": "a", "batchId": 1}, {"type": "a", "batchId": 2}])
    assert rows == [{"batch": {"id": 1}}, {"batch": {"id": 2}}]
    assert calls["find"] == 1
    text = "mutation($jobs: [jobInput!]!) { jobUpdateMany(jobs: $jobs) { job { batch { id jobs { id } } } } }"
    rows, calls = api.counted(text, jobs=[{"id": 1, "name": "x"}, {"id": 4, "name": "y"}, {"id": 99}])
    assert [row["job"] and row["job"]["batch"]["id"] for row in rows] == [1, 2, None]
    assert calls["find"] == 2


def test_a_later_mutation_of_a_request_sees_what_it_changed(api):
    house(api, 1)
    body = api.run(
        """mutation {
          a: jobUpdate(job: {id: 1, name: "a"}) { batch { status jobs { name } } }
          b: batchUpdate(batch: {id: 1, status: "processing"}) { id }
          c: jobUpdate(job: {id: 2, name: "c"}) { batch { status jobs { name } } }
        }"""
    )
    assert body["data"]["a"]["batch"] == {"status": None, "jobs": [{"name": "a"}, {"name": None}]}
    assert body["data"]["c"]["batch"] == {"status": "processing", "jobs": [{"name": "a"}, {"name": "c"}]}


def test_the_history_of_a_job(api):
    api.create(maxAttempts=3)
    for error in ("first", "second"):
        claim = api.claim()
        api.update(id=claim["id"], attempt=claim["attempt"], status="failed", output={"error": error})
    (job,) = api.get("{ job { failures attempts { attempt workerId startedAt endedAt error } } }")
    assert job["failures"] == 2
    assert [(one["attempt"], one["error"]) for one in job["attempts"]] == [(1, "first"), (2, "second")]
    assert all(one["startedAt"] <= one["endedAt"] for one in job["attempts"])
    (job,) = api.get('{ job { attempts(order: "reverse:attempt", limit: 1) { attempt } } }')
    assert job == {"attempts": [{"attempt": 2}]}


def test_associations_stay_in_the_tenant(api):
    house(api, 1)
    # a row that names another tenant's rows, as no command makes it
    values = {"tenant": "other", "type": "mail", "batch_id": 1, "pipeline_id": 1}
    ((stray, _),) = api.storage.inner.insert_jobs([values])
    rows = api.get("{ job { id batch { id } pipeline { id } } }", tenant="other")
    assert rows == [{"id": stray.id, "batch": None, "pipeline": None}]
    assert api.get("{ batch { jobs { id } } }") == [{"jobs": [{"id": 1}, {"id": 2}]}]


def test_what_one_field_may_load_is_bounded(api, monkeypatch):
    monkeypatch.setattr(associations, "MAX_LOADED", 10)
    house(api, 3, jobs=4)
    body = api.run("{ batch { jobs { id } } }")
    message = "jobs has 12 rows for the 3 it is asked of: more than 10; give it a limit of at most 3, or ask of fewer"
    assert {error["message"] for error in body["errors"]} == {message}
    assert [len(row["jobs"]) for row in api.get("{ batch { jobs(limit: 3) { id } } }")] == [3, 3, 3]
    assert [len(row["jobs"]) for row in api.get("{ batch(id: 1) { jobs { id } } }")] == [4]
