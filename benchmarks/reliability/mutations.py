"""Five deliberate defects, each laid over gnj by a small patch: what the tests and the kill run must notice.

gnj itself has no place to switch them on. A run applies one in every process it starts, `plugin` in a pytest run.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from gnj.app import GNJ
from gnj.queue import jobs
from gnj.queue.clock import After
from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows, Select, Settlement
from gnj.queue.unit import Unit
from gnj.queue.where import equal
from gnj.storage.sql import SqlStorage
from gnj.storage.sql.faults import faults
from gnj.storage.sql.transaction import SqlRows

VARIABLE = "GNJ_RELIABILITY_MUTANT"
"""The environment variable by which a pytest run, and the servers of a kill run, are told of a mutation."""
_GAP = 0.02
"""Seconds that a defect leaves open: long enough for somebody else to come in between."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A defect: what it is, and the attributes of gnj it replaces."""

    title: str
    patches: tuple[tuple[Any, str, Callable[..., Any]], ...]


def apply(name: str | None) -> None:
    """Lays the mutation of that name over gnj, in this process and for good; None: nothing."""
    if name is not None:
        for owner, attribute, replacement in MUTATIONS[name].patches:
            getattr(owner, attribute)  # a patch of what is not there any more would prove nothing
            setattr(owner, attribute, replacement)


def apply_from_environment() -> None:
    """Likewise, for the name that `VARIABLE` has, if it has one."""
    apply(os.environ.get(VARIABLE) or None)


_update, _start = jobs.update, GNJ.start


def _unfenced_update(unit: Unit, tenant: str | None, change: jobs.Update) -> Job:
    return _update(unit, tenant, replace(change, attempt=None))


def _unfenced_settlement(
    id: int, attempt: int | None, frm: Any, changes: Mapping[str, Any], *, expired: bool = False
) -> Settlement:
    return Settlement(id, None, frm, changes, expired)


def _nothing_is_lost(self: Queue, *, force: bool = False) -> int:
    return 0


def _read_then_write(
    self: SqlRows,
    types: Sequence[str],
    limit: int,
    *,
    lease: float,
    changes: Mapping[str, Any],
    tenants: Sequence[str] | None = None,
) -> list[Job]:
    """Reads which jobs are free, ends that transaction, and takes them in another one without looking again."""
    self.promote(1000)
    free = equal(Job, type=tuple(types), status=JobStatus.QUEUED, due_at=None)
    order = (("priority", True), ("position", False))
    ids = [job.id for job in self.find(Job, Select(free, order=order, limit=limit))]
    with faults():
        self.connection.commit()
        time.sleep(_GAP)
        self.dialect.begin(self.connection, write=True)
    mapper = self.mappers[Job]
    shape, written = mapper.changed({**changes, "lease": lease, "lease_expires_at": After(lease)}, self.present())
    values = mapper.assignments(shape) | {"attempt": mapper.table.c.attempt + 1}
    self.run(update(mapper.table).values(values).where(mapper.table.c.id.in_(ids)), written)
    return self.find(Job, Select(equal(Job, id=tuple(ids)), order=order)) if ids else []


def _cancelling_start(self: GNJ) -> None:
    """What graphql-node-jobs does as its server starts: nobody else can be working, so what runs was left behind."""
    _start(self)
    for job in self.queue.list(Job, status="processing"):
        self.queue.update_job(job.id, {"status": JobStatus.CANCELLED})


@contextmanager
def _commit_afterwards(self: SqlStorage, *, write: bool = True) -> Iterator[Rows]:
    """A transaction that says it is done, and commits a moment later."""
    with faults():
        connection, _ = self._begun(None, write=write)
    try:
        yield self._rows(connection)
    except BaseException:
        with suppress(SQLAlchemyError):
            connection.rollback()
        connection.close()
        raise

    def commit() -> None:
        time.sleep(_GAP if write else 0)
        with suppress(SQLAlchemyError), connection:
            connection.commit()

    if write:
        threading.Thread(target=commit, daemon=True).start()
    else:
        commit()


MUTATIONS: Mapping[str, Mutation] = {
    "no-fence": Mutation(
        "writes of a claim do not look at its attempt",
        ((jobs, "update", _unfenced_update), (jobs, "Settlement", _unfenced_settlement)),
    ),
    "no-lease": Mutation("leases never run out", ((Queue, "reap", _nothing_is_lost),)),
    "read-then-write": Mutation("a claim reads, then writes without a guard", ((SqlRows, "claim", _read_then_write),)),
    "cancel-on-boot": Mutation("a start cancels what is being worked on", ((GNJ, "start", _cancelling_start),)),
    "early-answer": Mutation("an answer is given before the commit", ((SqlStorage, "begin", _commit_afterwards),)),
}
"""The mutations by name."""
