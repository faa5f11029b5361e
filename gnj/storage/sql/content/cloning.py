"""Copying a site within its environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import func, select

from gnj.content.references import mapped
from gnj.content.store import CloneSite, Holder, Step
from gnj.queue.errors import Duplicate, InvalidInput, NotFound
from gnj.queue.values import Json
from gnj.storage.sql.content import bounds
from gnj.storage.sql.content.copying import Copying
from gnj.storage.sql.content.references import texts
from gnj.storage.sql.content.turns import Locked, locked
from gnj.storage.sql.content.versions import (
    after,
    among,
    count,
    counted,
    end_of_bytes,
    end_of_page,
    info,
    put_values,
    seen,
    standing,
    upto,
    values_of,
)
from gnj.storage.sql.schema_content import CURRENT
from gnj.storage.sql.transaction import SqlRows

PAGE: Final = 1_000
"""Entries of a step, each of which is read through."""


class Cloning(Copying):
    """Steps of `CloneSite`.

    Ids of copies are made of the new site's and the old ones. So no map of them has to be kept: whether a text names
    something that is copied, the database is asked, and what the copy is called follows.
    """

    def clone(self, tenant: str, holder: Holder, operation: CloneSite, cursor: Json) -> Step:
        """One step; the first one makes the site."""
        with self.begin(write=True) as rows:
            place = locked(self, rows, tenant, self._environment_of(rows, tenant, operation.site_id), holder)
            if cursor is None:
                return self._clone_begun(rows, tenant, place, operation)
            is_entries = cursor["kind"] == "entries"
            part = self._clone_entries if is_entries else self._clone_assets
            end, done = part(rows, place, operation, cursor)
            following = {**cursor, cursor["kind"]: cursor[cursor["kind"]] + done, "after": end}
            if end is None and is_entries:
                following["kind"] = "assets"
            over = end is None and not is_entries
            counts = [
                counted(following["entries"], "entry", "entries"),
                counted(following["assets"], "asset", "assets"),
            ]
            notes = [info(f"the site was copied, with {counts[0]} and {counts[1]}")] if over else []
            return Step(following, done, cursor["total"], over=over, notes=notes)

    def _environment_of(self, rows: SqlRows, tenant: str, site_id: str) -> str:
        """The environment that has the site."""
        v, i = self.tables.environment, self.tables.site_id
        found = rows.run(
            select(v.c.environment_id).where(
                i.c.tenant == tenant, i.c.site_id == site_id, v.c.id == i.c.environment, v.c.tenant == tenant
            )
        ).scalar()
        if found is None:
            raise NotFound(f"there is no site {site_id!r}")
        return str(found)

    def _clone_begun(self, rows: SqlRows, tenant: str, place: Locked, operation: CloneSite) -> Step:
        s, e, a = self.tables.site, self.tables.entry, self.tables.asset
        base = (
            rows.run(select(*values_of(s)).where(standing(s, place.id), s.c.site_id == operation.site_id))
            .mappings()
            .first()
        )
        if base is None:
            raise NotFound(f"there is no site {operation.site_id!r}")
        others = (standing(s, place.id), s.c.alias == operation.alias, s.c.site_id != operation.new_id)
        if count(rows, s, *others):
            raise Duplicate(f"there is a site {operation.alias!r} already")
        if count(rows, s, standing(s, place.id), s.c.site_id != operation.new_id) >= bounds.MOST_SITES:
            raise InvalidInput(f"the environment has {bounds.MOST_SITES:,} sites: there can be no more")
        self.claim_site_id(rows, tenant, operation.new_id, place.id)
        i = self.tables.site_id
        mine = (i.c.tenant == tenant, i.c.site_id == operation.new_id, i.c.environment == place.id)
        # what is seen already was not made by an earlier time of this step
        if not count(rows, i, *mine) or count(
            rows, s, seen(s, place.id, place.version), s.c.site_id == operation.new_id
        ):
            raise Duplicate(f"there is a site of the id {operation.new_id!r} already")
        here = {"environment": place.id, "since": place.coming, "until": CURRENT}
        own = {"site_id": operation.new_id, "alias": operation.alias, "name": operation.name, "logo": operation.logo}
        put_values(self, rows, s, [{**base, **here, **own, "origin": operation.site_id}])
        entries = (standing(e, place.id), e.c.site_id == operation.site_id)
        assets = (standing(a, place.id), a.c.site_id == operation.site_id)
        total = count(rows, e, *entries) + count(rows, a, *assets)
        lengths = [
            rows.run(select(func.max(func.length(id))).where(*of_site)).scalar() or 0
            for id, of_site in ((e.c.entry_id, entries), (a.c.asset_id, assets))
        ]
        longest = max(len(operation.site_id), *lengths)
        begun = {"kind": "entries", "after": None, "total": total, "longest": longest, "entries": 0, "assets": 0}
        return Step(begun, 0, total, over=False)

    def _clone_entries(
        self, rows: SqlRows, place: Locked, operation: CloneSite, cursor: Json
    ) -> tuple[list[str] | None, int]:
        e = self.tables.entry
        key = [e.c.entry_id]
        of_site = [standing(e, place.id), e.c.site_id == operation.site_id, after(key, cursor["after"])]
        end = end_of_page(rows, select(*key).where(*of_site), key, PAGE)
        end = end_of_bytes(rows, e, of_site, key, end)
        found = [dict(each) for each in rows.run(select(*values_of(e)).where(*of_site, upto(key, end))).mappings()]
        ids = self._clone_ids(rows, place, operation, found, cursor["longest"])
        here = {"environment": place.id, "since": place.coming, "until": CURRENT, "site_id": operation.new_id}
        given = [
            {
                **each,
                **here,
                "entry_id": new_id("ent", operation.new_id, each["entry_id"]),
                "content": mapped(each["content"], ids),
                "attrs": mapped(each["attrs"], ids),
            }
            for each in found
        ]
        put_values(self, rows, e, given)
        return end, len(given)

    def _clone_ids(
        self,
        rows: SqlRows,
        place: Locked,
        operation: CloneSite,
        found: Sequence[Mapping[str, Any]],
        longest: int,
    ) -> dict[str, str]:
        """What is called anew in these entries: texts longer than any id are none."""
        named = {text for each in found for text in texts([each["content"], each["attrs"]]) if len(text) <= longest}
        ids = {operation.site_id: operation.new_id}
        for table, column, prefix in (("asset", "asset_id", "ast"), ("entry", "entry_id", "ent")):
            t = getattr(self.tables, table)
            mine = (
                standing(t, place.id),
                t.c.site_id == operation.site_id,
                among(rows, t.c[column], named),
            )
            for old in rows.run(select(t.c[column]).where(*mine)).scalars():
                ids[old] = new_id(prefix, operation.new_id, old)
        return ids

    def _clone_assets(
        self, rows: SqlRows, place: Locked, operation: CloneSite, cursor: Json
    ) -> tuple[list[str] | None, int]:
        a = self.tables.asset
        key = [a.c.path]
        of_site = [standing(a, place.id), a.c.site_id == operation.site_id, after(key, cursor["after"])]
        end = end_of_page(rows, select(*key).where(*of_site), key, PAGE)
        here = {"environment": place.id, "since": place.coming, "until": CURRENT, "site_id": operation.new_id}
        given = [
            {**each, **here, "asset_id": new_id("ast", operation.new_id, each["asset_id"])}
            for each in rows.run(select(*values_of(a)).where(*of_site, upto(key, end))).mappings()
        ]
        put_values(self, rows, a, given)
        return end, len(given)


def new_id(prefix: str, site_id: str, old: str) -> str:
    """The id that the copy of an entry ("ent") or an asset ("ast") has in the new site."""
    return f"{prefix}_{hashlib.sha256(f'{site_id}|{old}'.encode()).hexdigest()[:24]}"
