"""Content jobs are made, and deleted, over their own face: nobody changes their pipelines and tasks over the other ones."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from gnj import GNJ
from gnj.queue.catalog import RECORDS
from gnj.queue.ends import Outcome
from gnj.queue.model import Job, Step, Token
from gnj.queue.model_content import ContentStatus, ContentType
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select

PIPELINE = "it, its steps and their jobs stay as they are"
OWN = "types that begin with 'gnj:' are the library's own"
MUTATIONS = {
    'pipelineUpdate(pipeline: {id: $pipeline, status: "failed"}) { id }': PIPELINE,
    'pipelineUpdate(pipeline: {id: $pipeline, name: "x"}) { id }': PIPELINE,
    "pipelineDelete(id: $pipeline) { id }": PIPELINE,
    'jobCreate(job: {type: "x", pipelineId: $pipeline}) { id }': PIPELINE,
    'jobCreateMany(jobs: [{type: "x", pipelineId: $pipeline}]) { id }': PIPELINE,
    "jobUpdate(job: {id: $other, pipelineId: $pipeline}) { id }": PIPELINE,
    "batchCreate(batch: {pipelineId: $pipeline}) { id }": PIPELINE,
    "pipelineStepCreate(pipelineStep: {pipelineId: $pipeline, jobId: $other, index: 1}) { id }": PIPELINE,
    'pipelineStepUpdate(pipelineStep: {id: $step, status: "done"}) { id }': PIPELINE,
    "pipelineStepUpdate(pipelineStep: {id: $step, index: 0}) { id }": PIPELINE,
    "pipelineStepDelete(id: $step) { id }": PIPELINE,
    "jobDelete(id: $task) { id }": PIPELINE,
    "jobDelete(id: $last) { id }": PIPELINE,
    'jobUpdate(job: {id: $task, status: "cancel-requested"}) { id }': PIPELINE,
    'jobUpdate(job: {id: $last, status: "cancelled"}) { id }': PIPELINE,
    'jobUpdate(job: {id: $last, status: "queued"}) { id }': PIPELINE,
    'jobUpdate(job: {id: $task, status: "successful"}) { id }': PIPELINE,
    'jobUpdate(job: {id: $task, attempt: 1, status: "successful"}) { id }': PIPELINE,
    "jobUpdate(job: {id: $task, attempt: 1, processingInfo: {}}) { id }": PIPELINE,
    'jobUpdateMany(jobs: [{id: $task, attempt: 1, status: "successful"}, {id: $other, status: "x"}]) { message }': None,
    'settle(outcomes: [{id: $task, attempt: 1, status: "successful"}]) { message }': None,
    'settle(outcomes: [{id: $task, attempt: 1, status: "queued"}]) { message }': None,
    "progress(id: $task, attempt: 1, processingInfo: {end: {output: 1}}) { id }": OWN,
    "release(id: $task, attempt: 1) { id }": OWN,
    "heartbeat(id: $task, attempt: 1) { id }": OWN,
    "heartbeats(claims: [{id: $other, attempt: 1}, {id: $task, attempt: 1}]) { id }": OWN,
    "recover(id: $task) { id }": OWN,
    "retryJob(id: $task) { id }": OWN,
    'acquireJob(typeList: ["gnj:content.reindex_tags"]) { id }': OWN,
}
"""What is asked of the jobs face, and what is said against it; None: for each place, in what it gives."""


@pytest.fixture
def client(jobs: GNJ) -> Any:
    with TestClient(jobs.asgi_app(["graphql", "queues"])) as client:
        key = jobs.create_token("k", scopes=["admin"], tenant="acme")
        client.headers["authorization"] = f"Bearer {key}"
        yield client


@pytest.fixture
def ids(jobs: GNJ) -> dict[str, int]:
    """An import whose first task is being worked, and another job."""
    row = jobs.queue.create_content_job("acme", name="i", type=ContentType.IMPORT_ENTRIES, params={}, by={"id": "u"})
    (claim,) = jobs.queue.acquire(["gnj:content.process_entries"], 1)
    jobs.queue.checkpoint(claim, {"n": 1})
    (other,) = jobs.queue.create_jobs([{"type": "x"}], tenant="acme")
    steps = jobs.queue.list(Step, pipeline_id=row.pipeline_id)
    assert (claim.id, claim.attempt) == (row.task_ids[0], 1)
    return {
        "pipeline": row.pipeline_id,
        "task": claim.id,
        "last": row.task_ids[-1],
        "other": other.id,
        "step": steps[0].id,
    }


def everything(jobs: GNJ) -> dict[str, Any]:
    """All rows but those of keys, which tell when these were used."""
    kinds = [kind for kind in RECORDS.values() if kind is not Token]
    return {kind.__name__: jobs.queue.storage.find(kind, Select(deleted=True)) for kind in kinds}


@pytest.mark.parametrize("text", MUTATIONS)
def test_the_jobs_face_leaves_them_alone(jobs, client, ids, text):
    asked, says = text, MUTATIONS[text]
    for name, id in ids.items():
        asked = asked.replace(f"${name}", str(id))
    before = everything(jobs)
    body = client.post("/graphql", json={"query": f"mutation {{ {asked} }}"}).json()
    if says is None:
        ((place, *_),) = body["data"].values()
        assert PIPELINE in place["message"] or OWN in place["message"]
    else:
        (error,) = body["errors"]
        assert says in error["message"]
        assert error["extensions"]["code"] in ("ILLEGAL_TRANSITION", "INVALID_INPUT")
    assert everything(jobs) == before


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("POST", "retry", None),
        ("POST", "promote", None),
        ("DELETE", "", None),
        ("PUT", "data", {}),
    ],
)
@pytest.mark.parametrize("which", ["task", "last"])
def test_the_queues_face_leaves_them_alone(jobs, client, ids, method, path, body, which):
    job = jobs.queue.get(Job, ids[which])
    before = everything(jobs)
    url = f"/queues/{job.type}/jobs/{job.id}/{path}".rstrip("/")
    response = client.request(method, url, json=body) if body is not None else client.request(method, url)
    assert response.status_code in (400, 409), response.text
    assert everything(jobs) == before


def test_its_own_worker_goes_on(jobs, ids):
    queue, task = jobs.queue, jobs.queue.get(Job, ids["task"])
    types = [job.type for job in queue.list(Job, pipeline_id=ids["pipeline"])]
    while task is not None:
        assert queue.heartbeats([(task.id, task.attempt)]) == [queue.get(Job, task.id)]
        queue.progress(task, {"n": 2})
        (ended,) = queue.settle([Outcome(task, JobStatus.SUCCESSFUL)])
        assert ended.status is JobStatus.SUCCESSFUL
        task = queue.acquire(types)
    rows, _ = queue.content_jobs("acme", offset=0, limit=1)
    assert rows[0].status is ContentStatus.COMPLETED
