"""Whose turn it is to write to an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from gnj.content.store import Holder, Stale
from gnj.storage.sql.content.base import MAKING, Base, environment_row
from gnj.storage.sql.transaction import SqlRows


@dataclass(frozen=True, slots=True)
class Locked:
    """An environment whose row is locked until the end of the transaction."""

    id: int
    """Of the row: what the other tables call it."""
    environment_id: str
    version: int
    """What readers see; what is written belongs to the one after it."""
    state: str

    @property
    def coming(self) -> int:
        """The version that is being written."""
        return self.version + 1


def locked(base: Base, rows: SqlRows, tenant: str, environment_id: str, holder: Holder, *, lock: bool = True) -> Locked:
    """The environment, locked, for its writer `holder`, or for the owner of one that is being made. For what only reads it need
    not be locked.

    Raises `NotFound` for one that the tenant does not have, and `Stale` for a holder that is not, or not any more, its writer.
    """
    row = environment_row(base, rows, tenant, environment_id, lock=lock)
    if not (row.owner == holder.job if row.state == MAKING else writer(row) == holder):
        raise Stale
    return Locked(row.id, row.environment_id, row.version, row.state)


def writer(row: Row[Any]) -> Holder | None:
    """Who has the environment of a row open."""
    return None if row.writer_job is None else Holder(row.writer_job, row.writer_task, row.writer_fence)
