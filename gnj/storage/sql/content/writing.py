"""Making environments, and taking turns in writing to them."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Row, func, literal, or_, select, text, union_all, update

from gnj.content.store import Busy, Holder, Stale
from gnj.queue.errors import Duplicate, NotFound
from gnj.storage.sql.columns import ID
from gnj.storage.sql.content.base import GONE, MAKING, READY, environment_row, ready_row
from gnj.storage.sql.content.putting import Putting
from gnj.storage.sql.content.turns import writer
from gnj.storage.sql.schema_content import CURRENT, ENDED
from gnj.storage.sql.transaction import SqlRows

MAIN: Final = "main"
"""The alias of default environments."""
UNDONE: Final = 2_000
"""Rows of a version that are taken back in one transaction: others want their turn as well."""
_UNDOING: Final = 0
"""The task of a writer whose version is being taken back, in the place of its own: no task has that number."""
_UNMADE: Final = f"state <> '{READY}'"


class Writing(Putting):
    """The writing half of the store."""

    def ready(self, tenant: str) -> None:
        """See `ContentStore.ready`."""
        with self.begin(write=False) as rows:
            if self._has_default(rows, tenant):
                return
        made = self.ignoring(self.tables.environment)
        with self.begin(write=True) as rows:
            rows.run(made.values(**_new(tenant, MAIN, "Main"), is_default=True, state=READY, created_at=rows.now()))
            if not self._has_default(rows, tenant):
                raise Duplicate(f"another environment than the default one has the alias {MAIN!r}")

    def reserve(self, tenant: str, alias: str, name: str, owner: int | None) -> str:
        """See `ContentStore.reserve`."""
        new = _new(tenant, alias, name)
        made = self.ignoring(self.tables.environment)
        with self.begin(write=True) as rows:
            new |= {"is_default": False, "state": MAKING, "owner": owner, "created_at": rows.now()}
            if rows.run(made.values(**new).returning(self.tables.environment.c.id)).scalar() is None:
                raise Duplicate(f"there is an environment {alias!r} already")
        return str(new["environment_id"])

    def own(self, tenant: str, environment_id: str, owner: int) -> None:
        """See `ContentStore.own`."""
        table = self.tables.environment
        with self.begin(write=True) as rows:
            row = environment_row(self, rows, tenant, environment_id, lock=True)
            if row.state == GONE:
                raise NotFound(f"there is no environment {environment_id!r}")
            if row.owner != owner and (row.owner is not None or row.state != MAKING):
                raise Stale
            rows.run(update(table).where(table.c.id == row.id).values(owner=owner))

    def unmade(
        self, older: timedelta, limit: int, *, after: str | None = None
    ) -> Sequence[tuple[str, str, int | None]]:
        """See `ContentStore.unmade`."""
        table = self.tables.environment
        with self.begin(write=False) as rows:
            late = select(table.c.tenant, table.c.environment_id, table.c.owner).where(
                text(_UNMADE), table.c.created_at < rows.now() - older, table.c.environment_id > (after or "")
            )
            found = rows.run(late.order_by(table.c.environment_id).limit(limit)).all()
        return [(row.tenant, row.environment_id, row.owner) for row in found]

    def held(self, limit: int, *, after: int = 0) -> Sequence[tuple[str, Holder]]:
        """See `ContentStore.held`."""
        table, pin = self.tables.environment, self.tables.pin
        none = literal(0, ID)
        writers = select(
            table.c.tenant,
            table.c.writer_job.label("job"),
            table.c.writer_task.label("task"),
            table.c.writer_fence.label("fence"),
        ).where(table.c.writer_job > after)
        pins = (
            select(table.c.tenant, pin.c.holder_job, none, none)
            .join(pin, pin.c.environment == table.c.id)
            .where(pin.c.holder_job > after)
        )
        each = union_all(writers, pins).subquery()
        latest = select(each.c.tenant, each.c.job, func.max(each.c.task), func.max(each.c.fence))
        with self.begin(write=False) as rows:
            found = rows.run(latest.group_by(each.c.tenant, each.c.job).order_by(each.c.job).limit(limit)).all()
        return [(tenant, Holder(job, task, fence)) for tenant, job, task, fence in found]

    def behind(self, limit: int, *, after: str | None = None) -> Sequence[tuple[str, str]]:
        """See `ContentStore.behind`."""
        table = self.tables.environment
        older = (table.c[name] < table.c.version for name in ("indexed_urls", "indexed_tags", "indexed_text"))
        late = select(table.c.tenant, table.c.environment_id).where(
            table.c.state == READY, table.c.environment_id > (after or ""), or_(*older)
        )
        with self.begin(write=False) as rows:
            found = rows.run(late.order_by(table.c.environment_id).limit(limit)).all()
        return [(row.tenant, row.environment_id) for row in found]

    def open(self, tenant: str, environment_id: str, holder: Holder) -> None:
        """See `ContentStore.open`. What an `abandon` has not taken back to the end is taken back first."""
        over = False
        while not over:
            with self.begin(write=True) as rows:
                row = ready_row(self, rows, tenant, environment_id, lock=True)
                now = writer(row)
                if now is not None and now.job != holder.job:
                    raise Busy(now)
                if now is not None and holder.is_before(now):
                    raise Stale
                over = now is None or now.task != _UNDOING or self._undo(rows, row)
                if over and now != holder:
                    self._turn(rows, row, holder)

    def publish(self, tenant: str, environment_id: str, holder: Holder, *, also: Sequence[str] = ()) -> None:
        """See `ContentStore.publish`."""
        table = self.tables.environment
        free = {"writer_job": None, "writer_task": None, "writer_fence": None}
        with self.begin(write=True) as rows:
            for id in sorted(
                {environment_id, *also}
            ):  # in order, so that two that publish the same do not wait for each other
                row = environment_row(self, rows, tenant, id, lock=True)
                now = writer(row)
                if row.state == GONE:
                    raise Stale
                if row.owner != holder.job if row.state == MAKING else now not in (None, holder):
                    raise Stale
                if row.state == MAKING or now is not None:
                    coming = {"version": row.version + 1, "state": READY}
                    rows.run(update(table).where(table.c.id == row.id).values(**coming, **free))

    def abandon(self, tenant: str, holder: Holder, *, within: float = math.inf) -> bool:
        """See `ContentStore.abandon`. In transactions of `UNDONE` rows; until the last one nobody else gets the turn."""
        table, until = self.tables.environment, time.monotonic() + within
        with self.begin(write=False) as rows:
            held = select(table.c.environment_id).where(table.c.tenant == tenant, table.c.writer_job == holder.job)
            found = list(rows.run(held).scalars())
        for environment_id in found:
            over = False
            while not over:
                with self.begin(write=True) as rows, suppress(NotFound):
                    over = True  # of one that was removed meanwhile nothing is left
                    row = environment_row(self, rows, tenant, environment_id, lock=True)
                    now = writer(row)
                    over = now is None or now.job != holder.job or holder.is_before(now) or self._undo(rows, row)
                if not over and time.monotonic() >= until:
                    return False
        return True

    def _has_default(self, rows: SqlRows, tenant: str) -> bool:
        table = self.tables.environment
        found = select(table.c.id).where(table.c.tenant == tenant, table.c.is_default, table.c.state == READY)
        return rows.run(found).first() is not None

    def _turn(self, rows: SqlRows, row: Row[Any], holder: Holder | None) -> None:
        table = self.tables.environment
        to = (None, None, None) if holder is None else (holder.job, holder.task, holder.fence)
        values = dict(zip(("writer_job", "writer_task", "writer_fence"), to, strict=True))
        rows.run(update(table).where(table.c.id == row.id).values(values))

    def _undo(self, rows: SqlRows, row: Row[Any]) -> bool:
        """Takes back rows of the version to come, of an environment whose row is locked; whether that was all, and the turn is
        free.

        Whoever has the turn has lost it with the first of them: `put` and `publish` must not go on with a part.
        """
        coming, left = row.version + 1, UNDONE
        for table in (self.tables.entry, self.tables.asset, self.tables.model, self.tables.site):
            of = table.c.environment == row.id
            new = select(table.c.id).where(of, table.c.since == coming).limit(left)
            gone = table.delete().where(table.c.id.in_(new))
            if table is self.tables.asset:
                files = rows.run(gone.returning(table.c.file_key)).scalars()
                left -= self.removed_assets(rows, row.tenant, files)
            else:
                left -= rows.run(gone).rowcount
            ended = select(table.c.id).where(of, table.c.until == coming, text(ENDED)).limit(left)
            left -= rows.run(update(table).where(table.c.id.in_(ended)).values(until=CURRENT)).rowcount
        if not left:
            if row.writer_task != _UNDOING:
                self._turn(rows, row, Holder(row.writer_job, _UNDOING, 0))
            return False
        self.free_site_ids(rows, row.id)
        self._turn(rows, row, None)
        return True


def _new(tenant: str, alias: str, name: str) -> dict[str, Any]:
    return {
        "environment_id": f"env_{secrets.token_hex(12)}",
        "tenant": tenant,
        "alias": alias,
        "display_name": name,
    }
