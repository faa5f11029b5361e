"""Jobs of a queue: adding, listing, looking at one; the list of queues; and the banner."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gnj.access import Kind
from gnj.api import http
from gnj.api.http import Response
from gnj.api.queues.declare import Answer, Call, Operation, Param, Refusal, paging_params
from gnj.api.queues.jobjson import job_json, told
from gnj.api.queues.limits import SHOWN
from gnj.api.queues.schemas import COUNT, example_job, full, ref
from gnj.queue.derived import STATES
from gnj.queue.errors import JobNotFound
from gnj.queue.later import Later, settled
from gnj.queue.limits import told as limits_told
from gnj.queue.listing import ALL, Page, QueueSummary
from gnj.queue.model import Job, PushWorker
from gnj.queue.options import MAX_JOBS
from gnj.queue.values import Json

_SEARCH: Final = 100
"""Characters of a search for queues."""
CREATED: Final = "gnj-created"
"""The header that tells how many of the jobs of an answer are new."""


def _banner(call: Call) -> Response:
    return http.text(f"gnj {call.face.version}")


def _add(call: Call) -> Response | Later[Response]:
    queue = call.place("queue")
    body = call.body(checked=False)
    if not isinstance(body, list):
        raise Refusal(400, "Body must be an array")
    added = call.queue.add_later(queue, body, tenant=call.tenant)
    if isinstance(added, Later) and call.request.later:
        return added.then(lambda get: _added(call, get()))
    return _added(call, settled(added))


def _added(call: Call, added: list[tuple[Job, bool]]) -> Response:
    known = [job for job, new in added if not new]
    errors = call.queue.errors_of(known)
    now = call.queue.storage.now() if known else None
    jobs = [job_json(job, errors.get(job.id, ()), now or job.created_at) for job, _ in added]
    return http.json(jobs, headers=[(CREATED, str(len(added) - len(known)))])


def _list(call: Call) -> Response:
    queue = call.place("queue")
    asked = call.parameter("statuses")
    start, length = call.paging()
    page = call.queue.page(queue, asked.split(",") if asked else (), start, length, tenant=call.tenant)
    return http.json({"counts": page.counts, "jobs": _jobs(page), "start": start, "length": length})


def _jobs(page: Page) -> list[Json]:
    return [job_json(job, page.errors.get(job.id, ()), page.now) for job in page.jobs]


def _get(call: Call) -> Response:
    job = call.queue.find_one(call.place("queue"), call.place("id"), tenant=call.tenant)
    if job is None:
        raise JobNotFound
    return http.json(told(call.queue, job))


def _queues(call: Call) -> Response:
    search = call.parameter("search")
    if search is not None and len(search) > _SEARCH:
        raise Refusal(400, f"search must have at most {_SEARCH} characters")
    start, length = call.paging()
    found = call.queue.queues(tenant=call.tenant, search=search or None)
    some = [_summary(each) for each in found[start : start + length]]
    return http.json({"queues": some, "start": start, "length": length, "total": len(found)})


def _queue(call: Call) -> Response:
    queue = call.place("queue")
    summary = _summary(call.queue.summary(queue, tenant=call.tenant))
    del summary["limited"]
    limits, worker = call.queue.settings_of(queue, tenant=call.tenant)
    return http.json(summary | {"limits": limits_told(limits), "worker": _worker(worker)})


def _summary(summary: QueueSummary) -> dict[str, Json]:
    counts = dict(summary.counts)
    return {"name": summary.name, "paused": summary.paused, "limited": summary.limited, "counts": counts}


def _worker(worker: PushWorker | None) -> Json:
    """What who may only read is told of a push worker: not whom it calls."""
    return None if worker is None else {"disabled": worker.disabled_at is not None}


_PAGE: Final = paging_params("How many are left out at the start.", "How many are listed at most.")
_ASKED: Final = (*STATES, ALL)
_STATES: Final = "|".join(_ASKED)
_COUNTED: Final = dict.fromkeys(STATES, 0) | {"waiting": 2, "completed": 40}
_NAMED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "name": {"type": "string"},
        "paused": {"type": "boolean", "description": "Whether its jobs are held."},
        "counts": ref("Counts"),
    }
)
_WORKER: Final = full(
    {"disabled": {"type": "boolean"}},
    type=["object", "null"],
    description="Whether an endpoint is called for its jobs, or was until too many calls failed (`disabled`).",
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/",
        name="banner",
        kind=None,
        summary="Tells that gnj answers, and its version.",
        answer=_banner,
        answers={
            200: Answer(
                summary="The version.",
                schema={"type": "string"},
                example="gnj 1.2.3",
                content_type="text/plain",
            )
        },
    ),
    Operation(
        method="POST",
        path="/queues/{queue}/jobs",
        name="add_jobs",
        kind=Kind.ENQUEUE,
        summary="Adds jobs to a queue.",
        description=(
            "All are added, or none. A job whose `jobId` another job of the queue has, or whose `deduplication` holds, is not "
            "added: the answer has the job that is there, in its place. What is refused names the field and, of several jobs, "
            "the job's place, from 1: `job 3: Invalid delay -1`."
        ),
        answer=_add,
        body={
            "type": "array",
            "items": ref("NewJob"),
            "maxItems": MAX_JOBS,
            "examples": [
                [
                    {
                        "name": "welcome",
                        "data": {"to": "anna@example.org"},
                        "opts": {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}},
                    },
                    {"name": "report", "data": {"month": 1}, "opts": {"jobId": "report-2026-01", "delay": 60000}},
                ]
            ],
        },
        answers={
            200: Answer(
                summary="The jobs, in the order of the request.",
                schema={"type": "array", "items": ref("Job")},
                example=[example_job()],
                headers={CREATED: "How many of them are new."},
            )
        },
    ),
    Operation(
        method="GET",
        path="/queues/{queue}/jobs",
        name="list_jobs",
        kind=Kind.READ,
        summary="Lists jobs of a queue by their states.",
        description=(
            "The lists of the states that are asked for are joined, in the order asked, and the page is cut from that. Jobs "
            "that wait come in the order in which they are handed out, delayed ones by the time that they wait for, ended ones "
            "with the last to end first. A queue that nobody has used has none."
        ),
        answer=_list,
        params=(
            Param(
                name="statuses",
                summary="The states, joined by commas; all of them unless given.",
                schema={
                    "type": "string",
                    "pattern": f"^(({_STATES})(,({_STATES}))*)?$",
                    "default": ALL,
                    "examples": ["waiting,delayed"],
                },
            ),
            *_PAGE,
        ),
        answers={
            200: Answer(
                summary="A page of the list, and how many jobs have each of the states.",
                schema=full(
                    {
                        "counts": ref("Counts"),
                        "jobs": {"type": "array", "items": ref("Job")},
                        "start": COUNT,
                        "length": {**COUNT, "description": "As asked for."},
                    }
                ),
                example={"counts": {"waiting": 1, "paused": 0}, "jobs": [example_job()], "start": 0, "length": 10},
            )
        },
    ),
    Operation(
        method="GET",
        path="/queues/{queue}/jobs/{id}",
        name="get_job",
        kind=Kind.READ,
        summary="Shows a job.",
        description="Asked for by its `jobId` or, if it was given none, by its number.",
        answer=_get,
        answers={
            200: Answer(summary="The job.", schema=ref("Job"), example=example_job()),
            404: Answer(summary="There is none.", schema=ref("Error"), example={"error": "Job not found"}),
        },
    ),
    Operation(
        method="GET",
        path="/queues",
        name="list_queues",
        kind=Kind.READ,
        summary="Lists queues by name: all that have jobs, are paused, or have limits.",
        answer=_queues,
        params=(
            *_PAGE,
            Param(
                name="search",
                summary="Only those with this text in their name.",
                schema={"type": "string", "maxLength": _SEARCH},
            ),
        ),
        answers={
            200: Answer(
                summary="A page of the list; `total` counts all of them.",
                schema=full(
                    {
                        "queues": {
                            "type": "array",
                            "items": full({**_NAMED, "limited": {"type": "boolean"}}),
                        },
                        "start": COUNT,
                        "length": COUNT,
                        "total": COUNT,
                    }
                ),
                example={
                    "queues": [{"name": "mail", "paused": False, "limited": False, "counts": _COUNTED}],
                    "start": 0,
                    "length": 10,
                    "total": 1,
                },
            )
        },
    ),
    Operation(
        method="GET",
        path="/queues/{queue}",
        name="get_queue",
        kind=Kind.READ,
        summary="Shows how a queue stands.",
        description="One that nobody has used has no jobs.",
        answer=_queue,
        answers={
            200: Answer(
                summary="Its counts, limits and push worker.",
                schema=full({**_NAMED, "limits": SHOWN, "worker": _WORKER}),
                example={"name": "mail", "paused": False, "limits": {}, "worker": None, "counts": _COUNTED},
            )
        },
    ),
)
