"""Copying an environment into a new one, and dropping one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, bindparam, delete, literal, select, tuple_, update

from gnj.content.references import mapped
from gnj.content.store import CopyEnvironment, DropEnvironment, Holder, Stale, Step
from gnj.queue.errors import InvalidInput
from gnj.queue.values import Json
from gnj.storage.sql.columns import ID
from gnj.storage.sql.content.base import GONE, MAKING, ready_row
from gnj.storage.sql.content.reading import Reading
from gnj.storage.sql.content.references import mentions
from gnj.storage.sql.content.turns import Locked, locked
from gnj.storage.sql.content.versions import (
    after,
    count,
    count_seen,
    counted,
    end_of_bytes,
    end_of_page,
    info,
    nothing,
    put,
    put_values,
    raw,
    run_many,
    seen,
    standing,
    unindexed_text,
    upto,
    values_of,
)
from gnj.storage.sql.schema_content import CURRENT
from gnj.storage.sql.transaction import SqlRows

PAGE: Final = 2_000
"""Rows that a step copies."""
DROPPED: Final = 10_000
"""Rows that a step removes."""


class Copying(Reading):
    """Steps of `CopyEnvironment` and `DropEnvironment`."""

    def copy(self, tenant: str, holder: Holder, operation: CopyEnvironment, cursor: Json) -> Step:
        """One step. New ids of sites are made of the environment's and the old ones: a step that is repeated makes the same."""
        version = self.pinned_version(tenant, operation.base, holder, cursor)
        total = self.total_seen(tenant, operation.base, version) if cursor is None else cursor["total"]
        with self.begin(write=True) as rows:
            place = self._unseen(rows, tenant, operation.environment_id, holder)
            base = ready_row(self, rows, tenant, operation.base).id
            step = self._copied(rows, tenant, place, base, version, cursor, total)
            # who drops the base says so before he begins: what was read until now was whole
            ready_row(self, rows, tenant, operation.base)
            return step

    def drop(self, tenant: str, operation: DropEnvironment, cursor: Json) -> Step:
        """One step: whatever there is left to remove, at whichever it was."""
        v = self.tables.environment
        named = (v.c.tenant == tenant, v.c.environment_id == operation.environment_id)
        total = self._total_of(named) if cursor is None else 0
        with self.begin(write=True) as rows:
            found = rows.run(select(v.c.id, v.c.state, v.c.is_default).where(*named).with_for_update()).first()
            if found is None:
                return nothing()
            if found.is_default:
                raise InvalidInput("the default environment cannot be deleted")
            if found.state != GONE:
                free = {"writer_job": None, "writer_task": None, "writer_fence": None}
                rows.run(update(v).where(v.c.id == found.id).values(state=GONE, **free))
                return Step({"total": total, "done": 0}, 0, total, over=False)
            left, before = (cursor["total"], cursor["done"]) if cursor else (None, 0)
            removed = self._removed(rows, tenant, found.id)
            if removed:
                return Step({"total": left, "done": before + removed}, removed, left, over=False)
            rows.run(delete(v).where(v.c.id == found.id))
            notes = [info(f"the environment was removed, with {counted(before, 'row', 'rows')}")]
            return Step(cursor, 0, left, over=True, notes=notes)

    def pinned_version(self, tenant: str, base: str, holder: Holder, cursor: Json) -> int:
        """The version of the base that is copied; each step renews the pin. Raises `Stale` where it had run out in between."""
        version = self.pin(tenant, base, holder).version
        if cursor is not None and cursor["version"] != version:
            raise Stale
        return version

    def total_seen(self, tenant: str, base: str, version: int) -> int:
        """How many entries and assets a reader of that version sees: counted while others may write."""
        with self.begin(write=False) as rows:
            id = ready_row(self, rows, tenant, base).id
            return sum(count_seen(rows, table, id, version) for table in (self.tables.entry, self.tables.asset))

    def claim_site_id(self, rows: SqlRows, tenant: str, site_id: str, environment: int) -> None:
        """Has a new site id belong to the environment; it was made so that nobody else has it."""
        given = {"tenant": tenant, "site_id": site_id, "environment": environment}
        put_values(self, rows, self.tables.site_id, [given])

    def sites_seen(self, rows: SqlRows, environment: int, version: int) -> list[dict[str, Any]]:
        """The values of the sites that a reader of that version sees, by alias."""
        s = self.tables.site
        found = rows.run(select(*values_of(s)).where(seen(s, environment, version)).order_by(s.c.alias))
        return [dict(each) for each in found.mappings()]

    def _unseen(self, rows: SqlRows, tenant: str, environment_id: str, holder: Holder) -> Locked:
        """The environment that is being made by the holder's job, locked."""
        place = locked(self, rows, tenant, environment_id, holder)
        if place.state != MAKING:
            raise Stale
        return place

    def _copied(
        self, rows: SqlRows, tenant: str, place: Locked, base: int, version: int, cursor: Json, total: int
    ) -> Step:
        sites = self.sites_seen(rows, base, version)
        ids = {site["site_id"]: site_id_in(place.environment_id, site["site_id"]) for site in sites}
        e, a, m, s = self.tables.entry, self.tables.asset, self.tables.model, self.tables.site
        if cursor is None:
            where = {"environment": place.id, "since": place.coming, "until": CURRENT}
            for each in sites:
                self.claim_site_id(rows, tenant, ids[each["site_id"]], place.id)
            given = [{**each, **where, "site_id": ids[each["site_id"]], "origin": each["site_id"]} for each in sites]
            put_values(self, rows, s, given)
            here = self._here(place)
            put(self, rows, m, values_of(m), select(*here, *map(raw, values_of(m))).where(seen(m, base, version)))
            begun = {"version": version, "kind": "entries", "after": None}
            begun |= {"total": total, "entries": 0, "assets": 0}
            return Step(begun, 0, total, over=False)
        is_entries = cursor["kind"] == "entries"
        table, key = (e, [e.c.entry_id]) if is_entries else (a, [a.c.site_id, a.c.path])
        here = [seen(table, base, version), after(key, cursor["after"])]
        end = end_of_page(rows, select(*key).where(*here), key, PAGE)
        if is_entries:
            end = end_of_bytes(rows, e, here, key, end)
        page = [*here, upto(key, end)]
        done = self._page_copied(rows, place, base, version, table, page)
        if is_entries:
            self._referred(rows, place, [after(key, cursor["after"]), upto(key, end)], ids)
        cursor = {**cursor, cursor["kind"]: cursor[cursor["kind"]] + done, "after": end}
        over = end is None and not is_entries
        if end is None and is_entries:
            cursor["kind"] = "assets"
        counts = (
            counted(len(sites), "site", "sites"),
            counted(cursor["entries"], "entry", "entries"),
            counted(cursor["assets"], "asset", "assets"),
        )
        notes = [info(f"{counts[0]}, {counts[1]} and {counts[2]} were copied")] if over else []
        return Step(cursor, done, cursor["total"], over=over, notes=notes)

    def _page_copied(
        self, rows: SqlRows, place: Locked, base: int, version: int, table: Table, page: Sequence[ColumnElement[bool]]
    ) -> int:
        """Copies rows of a page, with the new ids of their sites; how many there are.

        Sites correspond by their aliases: of these there is an index, so that a page takes no longer where there are many.
        """
        old, s, columns = self.tables.site.alias("old_site"), self.tables.site, values_of(table)
        values = [s.c.site_id if each.name == "site_id" else raw(each) for each in columns]
        of_row = (seen(old, base, version), old.c.site_id == unindexed_text(table.c.site_id))
        new = (*of_row, s.c.environment == place.id, s.c.until == CURRENT, s.c.alias == old.c.alias)
        put(self, rows, table, columns, select(*self._here(place), *values).where(*page, *new))
        return count(rows, table, *page)

    def _referred(
        self, rows: SqlRows, place: Locked, page: Sequence[ColumnElement[bool]], ids: Mapping[str, str]
    ) -> None:
        """Puts the new ids of sites in the place of the old ones in the entries of a page."""
        e = self.tables.entry
        touched = mentions(rows, [e.c.content, e.c.attrs], ids)
        found = rows.run(select(e.c.id, e.c.content, e.c.attrs).where(standing(e, place.id), *page, touched)).all()
        changed = [
            {"of_id": each.id, "content": mapped(each.content, ids), "attrs": mapped(each.attrs, ids)} for each in found
        ]
        if changed:
            values = {name: bindparam(name, type_=e.c[name].type) for name in ("content", "attrs")}
            run_many(rows, update(e).where(e.c.id == bindparam("of_id")).values(values), changed)

    def _here(self, place: Locked) -> list[ColumnElement[Any]]:
        return [literal(value, ID) for value in (place.id, place.coming, CURRENT)]

    @property
    def _everything(self) -> tuple[Table, ...]:
        """Whatever belongs to an environment, in the order in which it is removed."""
        t = self.tables
        return (t.url, t.tag, t.text, t.entry, t.asset, t.model, t.site, t.site_id, t.pin)

    def _total_of(self, named: Sequence[ColumnElement[bool]]) -> int:
        """How many rows belong to an environment: counted while others may write."""
        with self.begin(write=False) as rows:
            id = select(self.tables.environment.c.id).where(*named).scalar_subquery()
            return sum(count(rows, table, table.c.environment == id) for table in self._everything)

    def _removed(self, rows: SqlRows, tenant: str, environment: int) -> int:
        removed = 0
        for table in self._everything:
            if removed >= DROPPED:
                break
            key = list(table.primary_key.columns)
            some = select(*key).where(table.c.environment == environment).limit(DROPPED - removed)
            one = key[0] if len(key) == 1 else tuple_(*key)
            gone = delete(table).where(one.in_(some))
            if table is self.tables.asset:
                files = rows.run(gone.returning(table.c.file_key)).scalars()
                removed += self.removed_assets(rows, tenant, files)
            else:
                removed += rows.run(gone).rowcount
        return removed


def site_id_in(environment_id: str, origin: str) -> str:
    """The id that the copy of a site has in an environment."""
    return f"site_{hashlib.sha256(f'{environment_id}|{origin}'.encode()).hexdigest()[:24]}"
