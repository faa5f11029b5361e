"""Noting which jobs a transaction changes, while somebody follows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from gnj.queue.feed import Change
from gnj.queue.model import Job, Record, RecordT, attributes
from gnj.queue.storage import Changes, Rows, Select, Settlement
from gnj.queue.values import Json
from gnj.queue.where import And, Compare, Condition, Not, equal


class Recorder:
    """The rows of a transaction, that notes every job written through it; all else is passed on.

    Not noted is what nobody outside can see: a lease that is renewed, a due job that becomes ready. Nor is what `prune`
    removes: it was deleted, or is history.
    """

    def __init__(self, tx: Rows) -> None:
        self._tx = tx
        self._rows: dict[int, Job] = {}
        self._created: set[int] = set()
        self.exact = True
        """Whether all that is noted was written here, and so is locked until the commit."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def changes(self) -> list[Change]:
        """One change for each job that was written, with the last it became: created, or else deleted or updated."""
        changes = []
        for job in self._rows.values():
            if job.id in self._created:
                changes.append(Change("created", job.tenant, job))
            elif job.deleted_at is None:
                changes.append(Change("updated", job.tenant, job))
            if job.deleted_at is not None:
                changes.append(Change("deleted", job.tenant, job))
        return changes

    def insert_jobs(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """See `Rows.insert_jobs`."""
        stored = self._tx.insert_jobs(rows)
        self._created.update(job.id for job, new in stored if new)
        self._note(job for job, new in stored if new)
        return stored

    def edit(self, kind: type[RecordT], ids: Sequence[int], changes: Changes) -> list[RecordT]:
        """See `Rows.edit`."""
        written = self._tx.edit(kind, ids, changes)
        self._note(written)
        return written

    def move(self, kind: type[RecordT], ids: Sequence[int], frm: Collection[Any], changes: Changes) -> list[RecordT]:
        """See `Rows.move`."""
        written = self._tx.move(kind, ids, frm, changes)
        self._note(written)
        return written

    def move_all(self, kind: type[Record], where: Condition, frm: Collection[Any], changes: Changes) -> int:
        """See `Rows.move_all`. What moved is looked for afterwards, so that `where` must still hold of it.

        Others may be found with it that became the same a moment before: to be told of twice harms nobody.
        """
        if kind is not Job:
            return self._tx.move_all(kind, where, frm, changes)
        since = self._tx.now()
        moved = self._tx.move_all(kind, where, frm, changes)
        if moved:
            became: list[Condition] = [where, Compare(_UPDATED_AT, (), "gte", since)]
            if "status" in changes:
                became.append(equal(Job, status=changes["status"]))
            if "deleted_at" in changes:
                became.append(Not(equal(Job, deleted_at=None)))
            found = self._tx.find(Job, Select(And(tuple(became)), deleted="deleted_at" in changes))
            self.exact = self.exact and len(found) == moved
            self._note(found)
        return moved

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        """See `Rows.settle`."""
        settled = self._tx.settle(settlements)
        self._note(settled)
        return settled

    def complete(self, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes) -> list[bool]:
        """See `Rows.complete`: ends nothing, since the rows would have to be noted. What it does not end is settled."""
        del frm, changes
        return [False] * len(ends)

    def claim(self, *args: Any, **options: Any) -> list[Job]:
        """See `Rows.claim`."""
        claimed = self._tx.claim(*args, **options)
        self._note(claimed)
        return claimed

    def take(self, ids: Sequence[int], *, lease: float, changes: Changes) -> list[Job]:
        """See `Rows.take`."""
        taken = self._tx.take(ids, lease=lease, changes=changes)
        self._note(taken)
        return taken

    def _note(self, rows: Iterable[Record | None]) -> None:
        self._rows.update((row.id, row) for row in rows if isinstance(row, Job))


_UPDATED_AT = attributes(Job)["updated_at"]
