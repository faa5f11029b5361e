"""Batches, pipelines and steps over the API (sections 3, 5 and 9 of the jobs contract, points 11 and 16 of section 0)."""

from __future__ import annotations

import pytest

FIELDS = {
    "batch": "id status pipelineId",
    "pipeline": "id status name metadata",
    "pipelineStep": "id status pipelineId jobId batchId index",
}


def write(verb, model):
    return (
        f"mutation($row: {model}Input!) {{ row: {model}{verb}({model}: $row) "
        f"{{ {FIELDS[model]} createdAt updatedAt }} }}"
    )


def create(api, model, **row):
    found = api.get(write("Create", model), row=row)
    del found["createdAt"], found["updatedAt"]
    return found


def update(api, model, **row):
    found = api.get(write("Update", model), row=row)
    del found["createdAt"], found["updatedAt"]
    return found


def start(api, id):
    return api.get("mutation($id: Int!) { startPipeline(id: $id) { id status } }", id=id)


def test_a_batch_by_hand_begins_without_status(api):
    assert create(api, "batch") == {"id": 1, "status": None, "pipelineId": None}
    assert create(api, "batch", status="planned")["status"] == "planned"
    assert create(api, "batch", status=None)["status"] is None


def test_a_pipeline_by_hand(api):
    row = {"name": "n", "metadata": "any text"}
    assert create(api, "pipeline", **row) == {"id": 1, "status": "planned", **row}
    assert create(api, "pipeline", status="processing")["status"] == "processing"
    assert update(api, "pipeline", id=1, name=None, metadata="other") == {
        "id": 1,
        "status": "planned",
        "name": None,
        "metadata": "other",
    }


def test_steps_by_hand(api):
    create(api, "pipeline")
    api.create(status="planned")
    row = {"pipelineId": 1, "jobId": 1, "index": 7}
    assert create(api, "pipelineStep", **row) == {"id": 1, "status": "planned", "batchId": None, **row}
    assert update(api, "pipelineStep", id=1, index=-3)["index"] == -3
    assert api.get("{ job { pipelineId } }") == [{"pipelineId": 1}]


@pytest.mark.parametrize(
    "model, row, message",
    [
        ("batch", {"status": "nope"}, "Validation error: Validation isIn on status failed"),
        ("pipeline", {"status": "queued"}, "Validation error: Validation isIn on status failed"),
        ("pipeline", {"status": None}, "notNull Violation: pipeline.status cannot be null"),
        (
            "pipelineStep",
            {"status": "x", "pipelineId": 1, "index": 1},
            "Validation error: Validation isIn on status failed",
        ),
        ("pipelineStep", {"index": 1}, "notNull Violation: pipelineStep.pipelineId cannot be null"),
        ("pipelineStep", {"pipelineId": None}, "notNull Violation: pipelineStep.pipelineId cannot be null"),
        ("pipelineStep", {"pipelineId": 1}, "notNull Violation: pipelineStep.index cannot be null"),
        (
            "batch",
            {"pipelineId": 99},
            'insert or update on table "batch" violates foreign key constraint "batch_pipelineId_fkey"',
        ),
        (
            "pipelineStep",
            {"pipelineId": 99, "index": 1},
            'insert or update on table "pipelineStep" violates foreign key constraint "pipelineStep_pipelineId_fkey"',
        ),
        (
            "pipelineStep",
            {"pipelineId": 1, "index": 1, "jobId": 99},
            'insert or update on table "pipelineStep" violates foreign key constraint "pipelineStep_jobId_fkey"',
        ),
        (
            "pipelineStep",
            {"pipelineId": 1, "index": 1, "batchId": 99},
            'insert or update on table "pipelineStep" violates foreign key constraint "pipelineStep_batchId_fkey"',
        ),
        ("batch", {"id": 3}, "batch.id cannot be given: the database makes it"),
        ("pipeline", {"id": 3}, "pipeline.id cannot be given: the database makes it"),
        ("pipelineStep", {"id": 3}, "pipelineStep.id cannot be given: the database makes it"),
        ("pipeline", {"name": "\0"}, "pipeline.name must not hold a NUL character"),
        ("pipeline", {"name": "x" * 501}, "pipeline.name must have at most 500 characters, not 501"),
        (
            "pipeline",
            {"metadata": "x" * 10_001},
            "pipeline.metadata must have at most 10,000 characters, not 10,001",
        ),
    ],
)
def test_what_creates_refuse(api, model, row, message):
    create(api, "pipeline")
    assert api.refuse(write("Create", model), row=row)[0] == message


@pytest.mark.parametrize("model", FIELDS)
@pytest.mark.parametrize("id", [{}, {"id": None}, {"id": 99}, {"id": -1}])
def test_updates_of_what_is_not_there(api, model, id):
    assert api.refuse(write("Update", model), row=id) == (f"{model} not found.", "NOT_FOUND")


@pytest.mark.parametrize(
    "model, before, after",
    [
        ("batch", "processing", "planned"),
        ("batch", "successful", "failed"),
        ("pipeline", "failed", "successful"),
        ("pipeline", "processing", "planned"),
        ("pipelineStep", "done", "planned"),
    ],
)
def test_a_status_by_hand_goes_only_where_the_table_allows(api, model, before, after):
    create(api, "pipeline")
    extra = {"pipelineId": 1, "index": 1} if model == "pipelineStep" else {}
    id = create(api, model, status=before, **extra)["id"]
    assert api.refuse(write("Update", model), row={"id": id, "status": after}) == (
        f'the status cannot go from "{before}" to "{after}"',
        "ILLEGAL_TRANSITION",
    )
    assert update(api, model, id=id, status=before)["status"] == before


def test_nested_objects_are_accepted_and_ignored(api):
    create(api, "pipeline", jobs=[{"type": "x"}], batches=[{"jobs": [{"id": 3}]}], steps=[{"job": {"type": "y"}}])
    create(api, "batch", jobs=[{"type": "x"}], pipeline={"name": "z"})
    create(api, "pipelineStep", pipelineId=1, index=1, job={"id": 5}, batch={}, pipeline={})
    before = api.rows()
    update(api, "batch", id=1, jobs=[], deletedAt="2020-01-01", updatedAt="2020-01-01", createdAt="2020-01-01")
    assert api.rows() == before
    assert api.get("{ jobCount }") == 0


def test_a_pipeline_runs_its_steps_one_after_the_other(api):
    create(api, "pipeline")
    api.create("first", pipelineId=1)
    batch = create(api, "batch", pipelineId=1)["id"]
    for _ in range(2):
        api.create("second", batchId=batch)
    assert start(api, 1) == {"id": 1, "status": "processing"}
    assert api.claim("second") is None
    api.update(id=api.claim("first")["id"], status="successful")
    for _ in range(2):
        api.update(id=api.claim("second")["id"], status="successful")
    assert api.get("{ pipeline { status steps { index status } batches { status } } }") == [
        {
            "status": "successful",
            "steps": [{"index": 1, "status": "done"}, {"index": 2, "status": "done"}],
            "batches": [{"status": "successful"}],
        }
    ]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_member_that_does_not_end_well_stops_the_pipeline(api, end):
    """B1 and B2."""
    create(api, "pipeline")
    api.create("first", pipelineId=1)
    api.create("second", pipelineId=1)
    start(api, 1)
    api.update(id=api.claim("first")["id"], status=end)
    assert api.get("{ pipeline { status steps { status job { status } } } }") == [
        {
            "status": "failed",
            "steps": [
                {"status": "failed", "job": {"status": end}},
                {"status": "planned", "job": {"status": "planned"}},
            ],
        }
    ]


def test_what_starting_refuses(api):
    text = "mutation($id: Int!) { startPipeline(id: $id) { id } }"
    for id in (1, -1, 0):
        assert api.refuse(text, id=id) == ("The pipeline does not exist", "NOT_FOUND")
    create(api, "pipeline")
    assert api.refuse(text, id=1) == ("No steps related to this pipeline were found", "ILLEGAL_TRANSITION")
    api.create(pipelineId=1)
    start(api, 1)
    assert api.refuse(text, id=1) == ("The pipeline has already been started", "ILLEGAL_TRANSITION")
