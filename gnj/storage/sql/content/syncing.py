"""Making an environment equal to another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Table, Text, cast, exists, select

from gnj.content.references import mapped
from gnj.content.store import Holder, Step, SyncEnvironment
from gnj.queue.values import Json, dump_json
from gnj.storage.sql.columns import JSON
from gnj.storage.sql.content.base import ready_row
from gnj.storage.sql.content.copying import Copying, site_id_in
from gnj.storage.sql.content.references import mentions
from gnj.storage.sql.content.turns import Locked, locked
from gnj.storage.sql.content.versions import (
    after,
    among,
    count,
    count_ended,
    counted,
    earlier,
    end_of_bytes,
    end_of_page,
    info,
    put,
    put_values,
    raw,
    seen,
    standing,
    supersede,
    unindexed_text,
    upto,
    values_of,
)
from gnj.storage.sql.schema_content import CURRENT
from gnj.storage.sql.transaction import SqlRows

PAGE: Final = 1_000
"""Rows of either environment that a step compares."""


@dataclass(frozen=True, slots=True)
class _Base:
    """The environment that the target is to be like, at the version that is pinned."""

    id: int
    version: int

    @property
    def pair(self) -> tuple[int, int]:
        return self.id, self.version


_Part: TypeAlias = tuple[list[str] | None, int, int, int]
"""The last key of a page, None if it was the last page; the rows of the base on it; how many rows ended; how many are new."""


_FOLLOWING: Final = {"entries": "assets", "assets": "new assets"}


class Syncing(Copying):
    """Steps of `SyncEnvironment`: sites and models, then entries by their ids, then the assets that are other than in the base, then
    those that are missing.

    Of either side a step goes by what does not change under it (the base's pinned version, the target's published one), and
    writes only what differs from what stands: repeated, it comes to the same.
    """

    def sync(self, tenant: str, holder: Holder, operation: SyncEnvironment, cursor: Json) -> Step:
        """One step."""
        version = self.pinned_version(tenant, operation.base, holder, cursor)
        total = self.total_seen(tenant, operation.base, version) if cursor is None else cursor["total"]
        with self.begin(write=True) as rows:
            place = locked(self, rows, tenant, operation.target, holder)
            base = _Base(ready_row(self, rows, tenant, operation.base).id, version)
            step = self._synced(rows, tenant, place, base, cursor, total)
            ready_row(self, rows, tenant, operation.base)
            return step

    def _synced(self, rows: SqlRows, tenant: str, place: Locked, base: _Base, cursor: Json, total: int) -> Step:
        if cursor is None:
            return self._sync_begun(rows, tenant, place, base, total)
        kind, last, sums = cursor["kind"], cursor["after"], dict(cursor["sums"])
        end, done, ended, written = self._sync_part(kind)(rows, place, base, last)
        sums["ended"] += ended
        sums["written"] += written
        if end is None:
            kind = _FOLLOWING.get(kind)
        following = {**cursor, "kind": kind, "after": end, "sums": sums}
        notes = []
        if kind is None:
            what = counted(sums["written"], "entry or asset was", "entries and assets were")
            notes.append(info(f"{what} written, {sums['ended']:,} were replaced or removed"))
        return Step(following, done, cursor["total"], over=kind is None, notes=notes)

    def _sync_part(self, kind: str) -> Callable[[SqlRows, Locked, _Base, list[str] | None], _Part]:
        parts = {"entries": self._sync_entries, "assets": self._sync_assets, "new assets": self._sync_new_assets}
        return parts[kind]

    def _sync_begun(self, rows: SqlRows, tenant: str, place: Locked, base: _Base, total: int) -> Step:
        s, m = self.tables.site, self.tables.model
        next = place.coming
        wanted = self.sites_seen(rows, base.id, base.version)
        found = rows.run(select(*values_of(s)).where(standing(s, place.id))).mappings().all()
        there = {each["alias"]: each for each in found}
        taken = {each["site_id"] for each in found}
        given = []
        for site in wanted:
            old = there.get(site["alias"])
            if old is not None and all(old[name] == site[name] for name in ("name", "logo")):
                continue
            if old is not None:
                id, created_at = old["site_id"], old["created_at"]
            else:
                id, created_at = site_id_in(place.environment_id, site["site_id"]), site["created_at"]
                while id in taken:
                    id = site_id_in(place.environment_id, id)
                taken.add(id)
            here = {"environment": place.id, "since": next, "until": CURRENT}
            own = {"site_id": id, "created_at": created_at, "origin": site["site_id"]}
            given.append({**site, **here, **own})
        aliases = {site["alias"] for site in wanted}
        gone = [each["site_id"] for each in found if each["alias"] not in aliases]
        changed = [site["site_id"] for site in given]
        supersede(rows, s, place.id, next, among(rows, s.c.site_id, [*gone, *changed]))
        for id in changed:
            self.claim_site_id(rows, tenant, id, place.id)
        put_values(self, rows, s, given)

        b = m.alias("base")
        same = [b.c.model_id == m.c.model_id, *(_is_like(rows, m.c[c.name], b.c[c.name]) for c in values_of(m))]
        supersede(rows, m, place.id, next, ~exists(select(1).where(seen(b, *base.pair), *same)).correlate(m))
        missing = ~exists(select(1).where(standing(m, place.id), m.c.model_id == b.c.model_id)).correlate(b)
        values = [raw(b.c[each.name]) for each in values_of(m)]
        put(self, rows, m, values_of(m), select(*self._here(place), *values).where(seen(b, *base.pair), missing))
        sums = {"ended": 0, "written": 0}
        begun = {"version": base.version, "kind": "entries", "after": None, "total": total, "sums": sums}
        return Step(begun, 0, total, over=False)

    def _sync_entries(self, rows: SqlRows, place: Locked, base: _Base, last: list[str] | None) -> _Part:
        e = self.tables.entry
        b = e.alias("base")
        mine, theirs = [e.c.entry_id], [b.c.entry_id]
        ends = []
        for of, key, where in ((e, mine, (place.id, place.version)), (b, theirs, base.pair)):
            following = [seen(of, *where), after(key, last)]
            end = end_of_page(rows, select(*key).where(*following), key, PAGE)
            ends.append(end_of_bytes(rows, of, following, key, end))
        end = earlier(*ends)
        page = [after(mine, last), upto(mine, end)]
        base_page = [seen(b, *base.pair), after(theirs, last), upto(theirs, end)]
        ids = self._new_site_ids(rows, place, base)
        changed = [old for old, new in ids.items() if old != new]
        touched = mentions(rows, [b.c.content, b.c.attrs], changed)
        columns = [b.c[each.name] for each in values_of(e)]
        referring = [dict(each) for each in rows.run(select(*columns).where(*base_page, touched)).mappings()]
        special = [each["entry_id"] for each in referring]

        plain = [*page, ~among(rows, e.c.entry_id, special)]
        next = place.coming
        supersede(rows, e, place.id, next, *plain, ~self._has_like(rows, e, b, place, base, "entry_id"))
        chosen = [*base_page, ~among(rows, b.c.entry_id, special)]
        self._put_missing(rows, e, b, place, base, chosen, "entry_id")
        self._put_referring(rows, place, referring, ids)
        written = count(rows, e, standing(e, place.id), e.c.since == next, *page)
        return end, count(rows, b, *base_page), count_ended(rows, e, place.id, next, *page), written

    def _put_referring(
        self, rows: SqlRows, place: Locked, referring: Sequence[Mapping[str, Any]], ids: Mapping[str, str]
    ) -> None:
        """Puts entries of the base that name its sites there, unless they stand there as they are to be."""
        if not referring:
            return
        e, next = self.tables.entry, place.coming
        here = {"environment": place.id, "since": next, "until": CURRENT}
        wanted = {
            each["entry_id"]: {
                **each,
                "site_id": ids[each["site_id"]],
                "content": mapped(each["content"], ids),
                "attrs": mapped(each["attrs"], ids),
            }
            for each in referring
        }
        named = among(rows, e.c.entry_id, list(wanted))
        for each in rows.run(select(*values_of(e)).where(standing(e, place.id), named)).mappings():
            if _same(dict(each), wanted[each["entry_id"]]):
                del wanted[each["entry_id"]]
        supersede(rows, e, place.id, next, among(rows, e.c.entry_id, list(wanted)))
        put_values(self, rows, e, [{**each, **here} for each in wanted.values()])

    def _sync_assets(self, rows: SqlRows, place: Locked, base: _Base, last: list[str] | None) -> _Part:
        a = self.tables.asset
        b = a.alias("base")
        key = [a.c.site_id, a.c.path]
        keys = select(*key).where(seen(a, place.id, place.version), after(key, last))
        end = end_of_page(rows, keys, key, PAGE)
        page = [after(key, last), upto(key, end)]
        like = self._has_like(rows, a, b, place, base, "path")
        next = place.coming
        supersede(rows, a, place.id, next, *page, ~like)
        return end, 0, count_ended(rows, a, place.id, next, *page), 0

    def _sync_new_assets(self, rows: SqlRows, place: Locked, base: _Base, last: list[str] | None) -> _Part:
        a = self.tables.asset
        b = a.alias("base")
        key = [b.c.site_id, b.c.path]
        here = [seen(b, *base.pair), after(key, last)]
        end = end_of_page(rows, select(*key).where(*here), key, PAGE)
        page = [*here, upto(key, end)]
        self._put_missing(rows, a, b, place, base, page, "path")
        site, joined = self._corresponding(b, place, base)
        put_now = (standing(a, place.id), a.c.since == place.coming)
        identity = (a.c.path == b.c.path, a.c.site_id == site.c.site_id)
        written = count(rows, b, *page, exists(select(1).where(*put_now, *identity, *joined)).correlate(b))
        return end, count(rows, b, *page), 0, written

    def _corresponding(
        self, b: Any, place: Locked, base: _Base, *, by_site: bool = False
    ) -> tuple[Any, list[ColumnElement[bool]]]:
        """The target's site that corresponds to that of a row of the base, and how it is joined.

        The row is looked up by its site only if `by_site`: from the sites to a page of their rows there is no index.
        """
        of: ColumnElement[str] = b.c.site_id
        theirs, mine = self.tables.site.alias("base_site"), self.tables.site.alias("target_site")
        joined = [
            seen(theirs, *base.pair),
            theirs.c.site_id == (of if by_site else unindexed_text(of)),
            mine.c.environment == place.id,
            mine.c.until == CURRENT,
            mine.c.alias == theirs.c.alias,
        ]
        return mine, joined

    def _has_like(
        self, rows: SqlRows, table: Table, b: Any, place: Locked, base: _Base, key: str
    ) -> ColumnElement[bool]:
        """That the base has the row of the table, in the corresponding site."""
        site, joined = self._corresponding(b, place, base, by_site=key == "path")
        same = [_is_like(rows, table.c[c.name], b.c[c.name]) for c in values_of(table, key, "site_id")]
        identity = [b.c[key] == table.c[key], site.c.site_id == table.c.site_id]
        return exists(select(1).where(seen(b, *base.pair), *identity, *joined, *same)).correlate(table)

    def _put_missing(
        self,
        rows: SqlRows,
        table: Table,
        b: Any,
        place: Locked,
        base: _Base,
        chosen: Sequence[ColumnElement[bool]],
        key: str,
    ) -> None:
        """Puts the chosen rows of the base that have no like in the target there."""
        site, joined = self._corresponding(b, place, base)
        identity = [table.c[key] == b.c[key]]
        if key == "path":
            identity.append(table.c.site_id == site.c.site_id)
        there = exists(select(1).where(standing(table, place.id), *identity)).correlate(b, site)
        columns = values_of(table)
        values = [site.c.site_id if each.name == "site_id" else raw(b.c[each.name]) for each in columns]
        put(self, rows, table, columns, select(*self._here(place), *values).where(*chosen, *joined, ~there))

    def _new_site_ids(self, rows: SqlRows, place: Locked, base: _Base) -> dict[str, str]:
        """The ids of the target's sites, by those of the base's."""
        s = self.tables.site
        mine = {
            each.alias: each.site_id for each in rows.run(select(s.c.alias, s.c.site_id).where(standing(s, place.id)))
        }
        return {each["site_id"]: mine[each["alias"]] for each in self.sites_seen(rows, base.id, base.version)}


def _is_like(rows: SqlRows, one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """That two values are the same. jsonb takes 1 for 1.0, which as texts are two."""
    if one.type is JSON and rows.dialect.name != "sqlite":
        one, other = cast(raw(one), Text), cast(raw(other), Text)
    return raw(one).is_not_distinct_from(raw(other))


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(
        dump_json(value) == dump_json(other[name]) if isinstance(value, dict | list) else value == other[name]
        for name, value in one.items()
    )
