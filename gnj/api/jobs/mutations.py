"""The writes of the jobs dialect: what came over the wire becomes commands of the queue (section 5 of the jobs contract)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from gnj.api.hooks import Kind
from gnj.api.jobs import recurring
from gnj.api.jobs.roots import Call, RootField
from gnj.graphql.plans import Reads
from gnj.graphql.records import Resolvers
from gnj.queue import policy
from gnj.queue.ends import Outcome
from gnj.queue.errors import GnjError, InvalidInput, JobNotFound, LeaseLost, NotFound, StorageError
from gnj.queue.events import HOOK
from gnj.queue.fields import wire_name
from gnj.queue.inputs import MAX_TYPES
from gnj.queue.later import Later
from gnj.queue.model import Batch, Hold, Job, Monitoring, Pipeline, Record, Step, by_wire
from gnj.queue.naming import OWN
from gnj.queue.runner import MAX_LEASE
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.values import Json, check_int, shown
from gnj.queue.where import equal

T = TypeVar("T")
Values = Mapping[str, Any]

MAX_MANY = 1000
"""Jobs that one call creates or updates (security.md, section 3)."""


@dataclass(frozen=True, slots=True)
class JobUpdateResult:
    """The outcome of one change among many: the job, or why it did not apply."""

    job: Job | None = None
    code: str | None = None
    message: str | None = None


def job_create(call: Call, job: Values) -> Later[Job]:
    """One job."""
    return call.queue.create_later(_new(job), tenant=call.tenant, spell=wire_name)


def job_create_many(call: Call, jobs: Sequence[Values]) -> Sequence[Job]:
    """Jobs, all or none."""
    _bounded(jobs)
    made = call.queue.create_jobs([_new(job) for job in jobs], tenant=call.tenant, spell=wire_name)
    return call.siblings(made)


def job_update(call: Call, job: Values) -> Later[Job]:
    """What is given of one job; with `attempt`, only while that claim holds."""
    values = dict(job)
    id, attempt = values.pop("id", None), values.pop("attempt", None)
    _refuse_types(values.get("type"))
    if id is None:
        raise JobNotFound("Could not find the job with the id [null]")
    return call.queue.update_later(id, values, attempt=attempt, tenant=call.tenant, spell=wire_name)


def job_update_many(call: Call, jobs: Sequence[Values]) -> list[JobUpdateResult]:
    """Changes with an outcome each, in order; what only says that claims ended well shares one statement."""
    _bounded(jobs)
    results = _successes(call, jobs)
    for place, job in enumerate(jobs):
        if place not in results:
            try:
                results[place] = job_update(call, job).result()
            except GnjError as error:
                results[place] = error
    return _told(call, [results[place] for place in range(len(jobs))])


def _acquired(get: Callable[[], T]) -> T:
    """Says of a database that fails while acquiring what clients of the original match (section 5)."""
    try:
        return get()
    except StorageError as error:
        raise type(error)("Error acquiring job") from error


def acquire_job(
    call: Call,
    type_list: Sequence[str],
    worker_id: str | None = None,
    worker_type: str | None = None,
    lease_seconds: int | None = None,
) -> Later[Job | None]:
    """The first free job, claimed."""
    _check_claimable(call, type_list)
    asked = call.queue.acquire_later(
        type_list,
        worker_id=worker_id,
        worker_type=worker_type,
        lease=_lease(lease_seconds),
        tenants=[call.tenant],
    )
    return asked.then(_acquired)


def acquire_jobs(
    call: Call,
    type_list: Sequence[str],
    limit: int,
    worker_id: str | None = None,
    worker_type: str | None = None,
    lease_seconds: int | None = None,
    policies: Sequence[Values] = (),
) -> Sequence[Job]:
    """The first free jobs, claimed."""
    _check_claimable(call, type_list)
    if len(policies) > MAX_TYPES:
        raise InvalidInput(f"policies takes at most {MAX_TYPES} at once, not {len(policies):,}")
    spelt = by_wire(Job)
    asked = {each["type"]: {spelt[name].name: value for name, value in each.items()} for each in policies}
    own = {type: policy.checked(type, values, wire_name) for type, values in asked.items()}
    lease = _lease(lease_seconds)
    claimed = _acquired(
        lambda: call.queue.acquire(
            type_list,
            limit,
            worker_id=worker_id,
            worker_type=worker_type,
            lease=lease,
            tenants=[call.tenant],
            policies=own,
        )
    )
    return call.siblings(claimed)


def progress(call: Call, id: int, attempt: int, processing_info: Json = None) -> Job:
    """A claimed job, its progress laid over what was stored."""
    job = call.queue.get(Job, id, tenant=call.tenant)
    if job is None:
        raise _missing(id)
    _refuse_types(job.type, of=OWN)
    return call.queue.progress(job.evolve(attempt=attempt), processing_info)


def settle(call: Call, outcomes: Sequence[Values]) -> list[JobUpdateResult]:
    """Claims, ended; each with an outcome of its own."""
    _bounded(outcomes, "outcomes")
    ids = tuple({each["id"] for each in outcomes})
    found = {job.id: job for job in call.queue.storage.find(Job, Select(equal(Job, id=ids)), tenant=call.tenant)}
    results: dict[int, Job | GnjError] = {}
    ends: dict[int, Outcome] = {}
    for place, each in enumerate(outcomes):
        try:
            ends[place] = _outcome(found, each)
        except GnjError as error:
            results[place] = error
    results.update(zip(ends, call.queue.settle(list(ends.values())), strict=True))
    return _told(call, [results[place] for place in range(len(outcomes))])


def heartbeat(call: Call, id: int, attempt: int, lease_seconds: int | None = None) -> Job:
    """One claim, renewed."""
    _refuse_claims(call, [id])
    (job,) = call.queue.heartbeats([(id, attempt)], lease=_lease(lease_seconds), tenant=call.tenant)
    if job is None:
        raise LeaseLost
    return job


def heartbeats(call: Call, claims: Sequence[Mapping[str, int]], lease_seconds: int | None = None) -> list[Job | None]:
    """Claims, renewed where they still hold."""
    _refuse_claims(call, [claim["id"] for claim in claims])
    tokens = [(claim["id"], claim["attempt"]) for claim in claims]
    renewed = call.queue.heartbeats(tokens, lease=_lease(lease_seconds), tenant=call.tenant)
    call.siblings([job for job in renewed if job is not None])
    return renewed


def recover(call: Call, id: int) -> Job:
    """A failed job, queued again."""
    _check_retriable(call, id)
    return call.queue.recover(id, tenant=call.tenant)


def recover_job(
    call: Call, id: int | None = None, type_list: Sequence[str] | None = None, worker_id: str | None = None
) -> Job | None:
    """A failed job, queued again: that one, or the oldest of the types."""
    _check_choice(id, type_list, worker_id)
    _refuse_types(*(type_list or ()), of=OWN)
    if id is not None:
        return recover(call, id)
    return call.queue.recover_oldest(type_list or (), worker_id=worker_id, tenant=call.tenant)


def retry_job(
    call: Call, id: int | None = None, type_list: Sequence[str] | None = None, worker_id: str | None = None
) -> Job | None:
    """A new job in the place of one that did not end well: of that one, or of the oldest failed one of the types."""
    _check_choice(id, type_list, worker_id)
    _refuse_types(*(type_list or ()), of=OWN)
    if id is not None:
        _check_retriable(call, id)
        return call.queue.retry(id, tenant=call.tenant)
    return call.queue.retry_oldest(type_list or (), worker_id=worker_id, tenant=call.tenant)


def release(call: Call, id: int, attempt: int, delay_seconds: int | None = None) -> Job:
    """One claim, given back."""
    _refuse_claims(call, [id])
    return call.queue.snooze(id, attempt, delay_seconds, tenant=call.tenant)


def toggle_hold_job_type(call: Call, type: str) -> Hold | None:
    """The hold of a type, made or (None) ended."""
    return call.queue.toggle_hold(type, tenant=call.tenant)


def start_pipeline(call: Call, id: int) -> Pipeline:
    """A planned pipeline, started."""
    return call.queue.start_pipeline(id, tenant=call.tenant)


_NAMES = {
    "batch": "batch",
    "pipeline": "pipeline",
    "pipeline_step": "pipelineStep",
    "job_hold_type": "jobHoldType",
}


def _creates(kind: type[Batch | Pipeline | Step | Hold], argument: str) -> Callable[..., Record]:
    def create(call: Call, **given: Values) -> Record:
        return call.queue.create(kind, given[argument], tenant=call.tenant, spell=wire_name)

    return create


def _updates(kind: type[Batch | Pipeline | Step | Hold], argument: str) -> Callable[..., Record]:
    def update(call: Call, **given: Values) -> Record:
        values = dict(given[argument])
        id = values.pop("id", None)
        if id is None:
            raise NotFound(f"{_NAMES[argument]} not found.")
        return call.queue.update(kind, id, values, tenant=call.tenant, spell=wire_name)

    return update


def _deletes(kind: type[Record]) -> Callable[[Call, int], Record]:
    def delete(call: Call, id: int) -> Record:
        return call.queue.delete(kind, id, tenant=call.tenant)

    return delete


def ping(call: Call) -> dict[str, bool]:
    """Asks who is there."""
    call.queue.ping(tenant=call.tenant)
    return {"success": True}


def pong(call: Call, worker_info_input: Sequence[Values | None] | None = None) -> dict[str, bool]:
    """Says who is there."""
    if worker_info_input is None:
        return {"success": False}
    call.queue.pong(_workers(worker_info_input), tenant=call.tenant, spell=wire_name)
    return {"success": True}


def worker_monitoring_update(call: Call, workers: Sequence[Values | None] | None = None) -> dict[str, bool]:
    """What workers tell of themselves, kept."""
    if workers is None:
        return {"success": False}
    call.queue.monitor(_workers(workers), tenant=call.tenant, spell=wire_name)
    return {"success": True}


def _workers(told: Sequence[Values | None]) -> list[Values]:
    names = by_wire(Monitoring)
    return [{names[name].name: value for name, value in each.items()} for each in told if each is not None]


MUTATIONS = (
    RootField("jobCreate", Kind.ENQUEUE, job_create, prompt=True),
    RootField("jobCreateMany", Kind.ENQUEUE, job_create_many),
    RootField("jobUpdate", Kind.WORK, job_update, "job", prompt=True),
    RootField("jobUpdateMany", Kind.WORK, job_update_many, "jobs"),
    RootField("acquireJob", Kind.WORK, acquire_job, prompt=True),
    RootField("acquireJobs", Kind.WORK, acquire_jobs),
    RootField("heartbeat", Kind.WORK, heartbeat),
    RootField("heartbeats", Kind.WORK, heartbeats, "claims"),
    RootField("progress", Kind.WORK, progress),
    RootField("settle", Kind.WORK, settle, "outcomes"),
    RootField("release", Kind.WORK, release),
    RootField("recover", Kind.ADMIN, recover),
    RootField("recoverJob", Kind.ADMIN, recover_job),
    RootField("retryJob", Kind.ADMIN, retry_job),
    RootField("jobDelete", Kind.ADMIN, _deletes(Job)),
    RootField("batchDelete", Kind.ADMIN, _deletes(Batch)),
    RootField("pipelineDelete", Kind.ADMIN, _deletes(Pipeline)),
    RootField("pipelineStepDelete", Kind.ADMIN, _deletes(Step)),
    RootField("jobHoldTypeDelete", Kind.ADMIN, _deletes(Hold)),
    RootField("workerMonitoringDelete", Kind.ADMIN, _deletes(Monitoring)),
    RootField("jobHoldTypeCreate", Kind.ADMIN, _creates(Hold, "job_hold_type")),
    RootField("jobHoldTypeUpdate", Kind.ADMIN, _updates(Hold, "job_hold_type"), "job_hold_type"),
    *recurring.MUTATIONS,
    RootField("ping", Kind.WORK, ping),
    RootField("pong", Kind.WORK, pong),
    RootField("workerMonitoringUpdate", Kind.WORK, worker_monitoring_update),
    RootField("toggleHoldJobType", Kind.ADMIN, toggle_hold_job_type),
    RootField("batchCreate", Kind.ENQUEUE, _creates(Batch, "batch")),
    RootField("batchUpdate", Kind.ENQUEUE, _updates(Batch, "batch"), "batch"),
    RootField("pipelineCreate", Kind.ENQUEUE, _creates(Pipeline, "pipeline")),
    RootField("pipelineUpdate", Kind.ENQUEUE, _updates(Pipeline, "pipeline"), "pipeline"),
    RootField("pipelineStepCreate", Kind.ENQUEUE, _creates(Step, "pipeline_step")),
    RootField("pipelineStepUpdate", Kind.ENQUEUE, _updates(Step, "pipeline_step"), "pipeline_step"),
    RootField("startPipeline", Kind.ENQUEUE, start_pipeline),
)
"""The fields of Mutation."""

RESULTS = (
    *recurring.RESULTS,
    Resolvers("success", {"success": lambda told, _info: told["success"]}),
    Resolvers("jobUpdateResult", {f.name: Reads(f.name) for f in fields(JobUpdateResult)}),
)
"""What resolves the types that only mutations give."""


def _check_choice(id: int | None, type_list: Sequence[str] | None, worker_id: str | None) -> None:
    """A job is named by its id or by its types, and only by the latter with a worker's."""
    if (id is None) == (type_list is None):
        raise InvalidInput("give either id or typeList")
    if id is not None and worker_id is not None:
        raise InvalidInput("workerId goes with typeList, not with id")


def _refuse_types(*types: object, of: str | tuple[str, ...] = (HOOK, OWN)) -> None:
    """Jobs of durable hooks, and of the library's own, are made by what happens, not by callers: they say what nobody could check."""
    for type in types:
        if isinstance(type, str) and type.startswith(of):
            whose = (
                f"{HOOK!r} are those of durable hooks" if type.startswith(HOOK) else f"{OWN!r} are the library's own"
            )
            raise InvalidInput(f"types that begin with {whose}, not {type[:100]!r}")


def _check_claimable(call: Call, types: Sequence[str]) -> None:
    # workers of the host's own run the hooks of all tenants
    _refuse_types(*types, of=(HOOK, OWN) if call.tenant else OWN)


def _refuse_claims(call: Call, ids: Sequence[int]) -> None:
    """Nobody has claimed what the library made for itself, but every job shows with what claim it is held."""
    some = tuple(ids[:MAX_MANY])  # more are refused as it is
    for (type,) in call.queue.storage.columns(Job, ["type"], Select(equal(Job, id=some)), tenant=call.tenant):
        _refuse_types(type, of=OWN)


def _check_retriable(call: Call, id: int) -> None:
    """What the library made for itself is retried over REST, where it was asked for: it then goes on where it was left."""
    if (job := call.queue.get(Job, id, tenant=call.tenant)) is not None:
        _refuse_types(job.type, of=OWN)


def _new(job: Values) -> Values:
    """The values of a job to be; an `attempt` of null is none (a client may echo whole rows)."""
    _refuse_types(job.get("type"))
    return {name: value for name, value in job.items() if name != "attempt" or value is not None}


def _bounded(given: Sequence[Values], what: str = "jobs") -> None:
    if len(given) > MAX_MANY:
        raise InvalidInput(f"{what} takes at most {MAX_MANY:,} at once, not {len(given):,}")


def _missing(id: int) -> JobNotFound:
    return JobNotFound(f"Could not find the job with the id [{id}]")


def _outcome(found: Mapping[int, Job], told: Values) -> Outcome:
    """How a claim ended, from the wire; the claim is the job as it is, in the try that is told of."""
    job = found.get(told["id"])
    if job is None:
        raise _missing(told["id"])
    _refuse_types(job.type, of=OWN)
    if told["status"] not in _ENDS:
        raise InvalidInput(f"outcome.status must be one of {', '.join(_ENDS)}, not {shown(told['status'])}")
    return Outcome(
        job.evolve(attempt=told["attempt"]),
        JobStatus(told["status"]),
        told.get("output"),
        told.get("error"),
        told.get("delaySeconds"),
    )


def _told(call: Call, results: Sequence[Job | GnjError]) -> list[JobUpdateResult]:
    call.siblings([result for result in results if isinstance(result, Job)])
    return [
        JobUpdateResult(result) if isinstance(result, Job) else JobUpdateResult(None, result.code, str(result))
        for result in results
    ]


def _lease(seconds: int | None) -> int | None:
    return None if seconds is None else check_int(seconds, "leaseSeconds", low=1, high=int(MAX_LEASE))


_ENDS = (JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED)
_SUCCESS = {"id", "attempt", "status", "output"}


def _successes(call: Call, jobs: Sequence[Values]) -> dict[int, Job | GnjError]:
    """Settles, and gives by their places, the changes that say no more than that a claim ended well.

    A job that the batch names twice is left out: its changes hold in their order. So is one that the tenant does not have, and
    one that is the library's own.
    """
    named = Counter(job.get("id") for job in jobs)
    places = {
        job["id"]: place
        for place, job in enumerate(jobs)
        if job.get("status") == JobStatus.SUCCESSFUL
        and job.keys() <= _SUCCESS
        and job.get("id") is not None
        and job.get("attempt") is not None
        and job.get("output", ...) is not None  # null takes an output away; an outcome's None leaves it
        and named[job["id"]] == 1
    }
    if len(places) < 2:
        return {}
    found = call.queue.storage.find(Job, Select(equal(Job, id=tuple(places))), tenant=call.tenant)
    outcomes = [
        Outcome(job.evolve(attempt=jobs[place]["attempt"]), JobStatus.SUCCESSFUL, jobs[place].get("output"))
        for job in found
        if not job.type.startswith(OWN)
        for place in [places[job.id]]
    ]
    settled = call.queue.settle(outcomes)
    return {places[outcome.claim.id]: result for outcome, result in zip(outcomes, settled, strict=True)}
