"""The operations of a client of the jobs API: arguments in, `Operation` out. Keys are those of the wire, in camelCase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gnj.client.protocol import JOB, Operation, as_input, as_variable
from gnj.queue.errors import InvalidInput
from gnj.queue.values import Json, check_int, check_word, shown

_CREATE = f"mutation ($job: jobInput!) {{ job: jobCreate(job: $job) {{ {JOB} }} }}"
_UPDATE = f"mutation ($job: jobInput!) {{ job: jobUpdate(job: $job) {{ {JOB} }} }}"
_ACQUIRE = (
    "mutation ($typeList: [String!]!, $workerId: String, $workerType: String) {"
    f" job: acquireJob(typeList: $typeList, workerId: $workerId, workerType: $workerType) {{ {JOB} }} }}"
)
_RELEASE = "mutation ($id: Int!, $attempt: Int!) { job: release(id: $id, attempt: $attempt) { id } }"
_LIST = (
    "query ($where: SequelizeJSON, $order: String, $limit: Int, $offset: Int) {"
    f" jobs: job(where: $where, order: $order, limit: $limit, offset: $offset) {{ {JOB} }} }}"
)
_TOGGLE = "mutation ($type: String!) { hold: toggleHoldJobType(type: $type) { id type createdAt updatedAt } }"


def create(job: object) -> Operation:
    """A new job. Raises `InvalidInput`."""
    if not isinstance(job, Mapping) or not job:
        raise InvalidInput("Please provide a job to create.")
    return Operation(_CREATE, "job", {"job": as_input(job)})


def update(job: Mapping[str, Any]) -> Operation:
    """A change of the job whose `id` is given. Raises `InvalidInput`."""
    return Operation(_UPDATE, "job", {"job": as_input(job)})


def acquire(types: Sequence[str], worker_id: str, worker_type: str | None) -> Operation:
    """The first free job."""
    return Operation(_ACQUIRE, "job", {"typeList": list(types), "workerId": worker_id, "workerType": worker_type})


def release(job: Mapping[str, Any]) -> Operation:
    """A claim, given back."""
    return Operation(_RELEASE, "job", {"id": job["id"], "attempt": job["attempt"]})


def jobs(where: Json, order: str | None, limit: int | None, offset: int | None) -> Operation:
    """A list of jobs. Raises `InvalidInput`."""
    given = {
        "where": None if where is None else as_variable(where, "where"),
        "order": order,
        "limit": None if limit is None else check_int(limit, "limit"),
        "offset": None if offset is None else check_int(offset, "offset"),
    }
    return Operation(_LIST, "jobs", {name: value for name, value in given.items() if value is not None})


def toggle(type: str) -> Operation:
    """Holds or releases a type. Raises `InvalidInput`."""
    if not type:
        raise InvalidInput("Please provide a type to toggle.")
    return Operation(_TOGGLE, "hold", {"type": check_word(type, "type")})


def check_type_list(types: object) -> list[str]:
    """The types a worker asks for. Raises `InvalidInput`."""
    if isinstance(types, str) or not isinstance(types, Sequence):
        raise InvalidInput(f"type_list must be a list of job types, not {shown(types)}")
    if not types:
        raise InvalidInput("Please provide a typeList property in the configuration.")
    return [check_word(type, "a job type") for type in types]
