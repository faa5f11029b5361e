"""What the parts of the contract share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias, TypeVar

import pytest

from gnj.queue.catalog import RECORDS
from gnj.queue.clock import After
from gnj.queue.errors import Conflict, StorageUnavailable
from gnj.queue.model import (
    Announcement,
    Attribute,
    Batch,
    Grant,
    Hold,
    Hook,
    Job,
    JobAttempt,
    JobLog,
    Kind,
    Listener,
    Monitoring,
    Permit,
    Pipeline,
    PushWorker,
    QueueLimit,
    Record,
    Schedule,
    Secret,
    Step,
    Tick,
    Token,
    attributes,
)
from gnj.queue.states import JOB_MOVES, JobStatus
from gnj.queue.storage import Select, Storage
from gnj.testing.clock import FakeClock

T = TypeVar("T")
Clocked: TypeAlias = tuple[Storage, FakeClock]
Connect: TypeAlias = Callable[[], AbstractContextManager[Any]]

CLAIM = JOB_MOVES["claim"].changes(JobStatus.QUEUED)
"""What a claim writes besides the storage's own columns."""
LEASE = 60.0
PAST = datetime(2020, 2, 29, 23, 59, 59, 999000, UTC)
"""A time no clock shows any more: what still has it was not touched."""
ODD = """O'Brien "50%" _ \\ ; -- :x %s {} [a-z] * ? # \t\n é😀"""
"""A text that holds whatever means something to somebody."""
TIMEOUT = 60.0
"""Seconds after which a thread that should have come is missed."""

MINIMAL: dict[type[Record], dict[str, Any]] = {
    Job: {"type": "mail"},
    JobAttempt: {"job_id": 1, "attempt": 1, "outcome": "failed"},
    Batch: {},
    Pipeline: {},
    Step: {"pipeline_id": 1},
    Hold: {"type": "mail"},
    QueueLimit: {"type": "mail"},
    Permit: {"limit_id": 1, "job_id": 1, "attempt": 1},
    Grant: {"limit_id": 1, "period": 1, "count": 1},
    PushWorker: {"type": "mail", "url": "https://a.example/", "method": "POST", "timeout_ms": 3000, "secret": "s"},
    JobLog: {"job_id": 1, "line": "sent"},
    Secret: {"name": "claims", "value": "0f"},
    Schedule: {"name": "nightly", "since": PAST},
    Tick: {"schedule_id": 1, "tick_at": PAST},
    Monitoring: {"worker_id": "w", "worker_type": "t", "worker_status": "AVAILABLE"},
    Hook: {"name": "alert", "wants": ["failed"], "expires_at": PAST},
    Announcement: {"origin": "queue"},
    Listener: {"wants": "jobs", "expires_at": PAST},
    Token: {"name": "ci", "hash": "0f", "scopes": ["read"]},
}
"""The least each record can be stored with."""


class Contract:
    """The fixtures of the contract's parts."""

    @pytest.fixture
    def storage(self) -> Storage:
        """The storage under test, empty and migrated: to be supplied."""
        raise NotImplementedError("a StorageContract needs a fixture `storage` that gives an empty, migrated storage")

    @pytest.fixture
    def clocked(self) -> Clocked:
        """An empty, migrated storage that goes by a `FakeClock`, and that clock."""
        pytest.skip("capability: no fixture `clocked` puts a clock in the place of the storage's own")

    @pytest.fixture
    def connect(self) -> Connect:
        """Opens a connection to the database of `storage`, closed at the end of the block, to commit or roll back."""
        pytest.skip("capability: no fixture `connect` opens connections of a caller's own")


def need(storage: Storage, capability: str) -> None:
    """Skips the test for a storage without that capability."""
    if capability not in storage.capabilities:
        pytest.skip(f"capability: this storage has not {capability!r}")


def put(storage: Storage, **values: Any) -> Job:
    """Stores a job of the type "mail", with these values."""
    ((job, new),) = storage.insert_jobs([{"type": "mail", **values}])
    assert new
    return job


def put_many(storage: Storage, rows: Iterable[dict[str, Any]]) -> list[Job]:
    """Stores jobs of the type "mail", with these values."""
    return [job for job, _ in storage.insert_jobs([{"type": "mail", **values} for values in rows])]


def processing(storage: Storage, **values: Any) -> Job:
    """Stores a job whose first claim still has most of a minute."""
    return put(storage, **{**CLAIM, "attempt": 1, "lease": LEASE, "lease_expires_at": After(LEASE), **values})


def claim(storage: Storage, types: Sequence[str] = ("mail",), limit: int = 100, **options: Any) -> list[Job]:
    """Claims as the queue does."""
    return storage.claim(types, limit, **{"lease": LEASE, "changes": CLAIM, **options})


def job_of(storage: Storage, id: int) -> Job:
    """The job as it is stored."""
    job = storage.get(Job, id)
    assert job is not None
    return job


def names(jobs: Iterable[Job | None]) -> list[str | None]:
    """The jobs' names; None for what is not there."""
    return [None if job is None else job.name for job in jobs]


def snapshot(storage: Storage) -> dict[str, list[str]]:
    """Every row there is, deleted ones too, told apart down to the type of each number."""
    return {name: [repr(row) for row in storage.find(kind, Select(deleted=True))] for name, kind in RECORDS.items()}


def sample(attribute: Attribute, number: int = 1) -> Any:
    """A value that is not the default of an attribute; other numbers give other values, where there are others."""
    if attribute.enum is not None:
        return list(attribute.enum)[-number]
    return {
        Kind.INT: 2**31 - number,
        Kind.ID: 2**63 - number,
        Kind.TEXT: f"{attribute.name} {number}",
        Kind.BOOL: number % 2 == 1,
        Kind.FLOAT: number + 0.125,
        Kind.JSON: {"of": attribute.name, "number": number},
        Kind.TIME: PAST + timedelta(milliseconds=number),
    }[attribute.kind]


def full(kind: type[Record], number: int = 1) -> dict[str, Any]:
    """A value other than the default for every attribute that can be written to a row that is to stay visible."""
    return {name: sample(a, number) for name, a in attributes(kind).items() if name not in ("id", "deleted_at")}


def values_of(row: Record, names: Iterable[str]) -> dict[str, Any]:
    """Those attributes of a row."""
    return {name: getattr(row, name) for name in names}


def started(action: Callable[[], T]) -> Future[T]:
    """Begins `action` in another thread; one that hangs ends with the process, not after it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def together(number: int, action: Callable[[int], T]) -> list[T]:
    """What `action` gives for 0, 1, …, each called by a thread of its own, all at the same moment."""
    barrier = threading.Barrier(number)

    def start(place: int) -> T:
        barrier.wait(TIMEOUT)
        return action(place)

    futures = [started(partial(start, place)) for place in range(number)]
    wait(futures, TIMEOUT)
    return [future.result(0) for future in futures]


def persistently(action: Callable[[], T]) -> T:
    """What `action` gives, tried again when others stood in its way, or were so many that its turn did not come in time."""
    for _ in range(20):
        try:
            return action()
        except (Conflict, StorageUnavailable):
            continue
    return action()
