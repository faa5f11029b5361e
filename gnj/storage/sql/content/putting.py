"""Writing entries and assets into the version to come."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, and_, select

from gnj.content.model import Asset, NewEntry
from gnj.content.store import Holder
from gnj.queue.errors import Conflict
from gnj.storage.sql.content import bounds
from gnj.storage.sql.content.base import Base, unindexed
from gnj.storage.sql.content.bounds import LONGEST, LONGEST_PATH, too_long
from gnj.storage.sql.content.fields import Models
from gnj.storage.sql.content.loading import load, make_room
from gnj.storage.sql.content.turns import Locked, locked
from gnj.storage.sql.content.versions import count
from gnj.storage.sql.schema_content import CURRENT
from gnj.storage.sql.transaction import SqlRows

_ENTRY: Final = (
    *("environment", "since", "until", "entry_id", "site_id", "model_id", "status", "slug", "labels"),
    *("created_at", "updated_at", "published_at", "system", "content", "attrs"),
)
_ASSET: Final = (
    *("environment", "since", "until", "asset_id", "site_id", "path", "name", "size", "media_type"),
    *("sha256", "file_key", "created_at"),
)
_SITE: Final = ("environment", "since", "until", "site_id", "alias", "name", "created_at")


@dataclass(frozen=True, slots=True)
class _Stored:
    """An entry that is there, as far as a new one has to know it."""

    site_id: str
    created_at: datetime


@dataclass(slots=True)
class _Sites:
    """The sites that a batch names."""

    foreign: Collection[str]
    """Those that are in other environments."""
    there: Collection[str]
    """Those that are in this one."""
    room: int
    """How many may be made."""
    missing: dict[str, str | None] = field(default_factory=dict)
    """Those that have to be made, and the alias of each."""

    def refuses(self, id: str) -> str | None:
        """Why nothing can be written to the site."""
        if id in self.foreign:
            return f"the site {id} is in another environment"
        if id not in self.there and id not in self.missing and len(self.missing) >= self.room:
            return f"the environment would have more than {bounds.MOST_SITES:,} sites"
        return None

    def want(self, id: str, alias: str | None) -> None:
        """Has the site there; it must not be refused."""
        if id not in self.there and self.missing.get(id) is None:
            self.missing[id] = alias


class Putting(Base):
    """Batches of entries and of assets."""

    def put_entries(
        self, tenant: str, environment_id: str, holder: Holder, entries: Sequence[NewEntry]
    ) -> Sequence[str | None]:
        """See `ContentStore.put_entries`."""
        with self.begin(write=True) as rows:
            at = locked(self, rows, tenant, environment_id, holder)
            if not entries:
                return []
            now = rows.now()
            there = self._entries(rows, at, {each.id for each in entries})
            known = {row.entry_id: _Stored(row.site_id, row.created_at) for row in there}
            sites = self._sites(rows, tenant, at, {each.site_id for each in entries})
            models = Models.of(self, rows, at, entries)
            made: dict[str, tuple[Any, ...]] = {}
            told: list[str | None] = []
            for new in entries:
                stored = known.get(new.id)
                reason = _refused(new, stored) or sites.refuses(new.site_id) or models.refuses(new)
                told.append(reason)
                if reason is not None:
                    continue
                sites.want(new.site_id, new.site_alias)
                created = new.created_at or (now if stored is None else stored.created_at)
                known[new.id] = _Stored(new.site_id, created)
                made[new.id] = _entry(at, new, models.take(new), created, new.updated_at or now)
            self._make_sites(rows, tenant, at, sites.missing, now)
            models.write()
            make_room(rows, at, self.tables.entry, [row for row in there if row.entry_id in made])
            load(rows, self.tables.entry, _ENTRY, list(made.values()))
        return told

    def put_assets(
        self, tenant: str, environment_id: str, holder: Holder, assets: Sequence[Asset]
    ) -> Sequence[str | None]:
        """See `ContentStore.put_assets`."""
        with self.begin(write=True) as rows:
            at = locked(self, rows, tenant, environment_id, holder)
            sites = self._sites(rows, tenant, at, {each.site_id for each in assets})
            told = []
            for each in assets:
                reason = _refused_asset(each) or sites.refuses(each.site_id)
                told.append(reason)
                if reason is None:
                    sites.want(each.site_id, None)
            taken = [each for each, reason in zip(assets, told, strict=True) if reason is None]
            there = self._assets(rows, at, taken)
            ids = {(row.site_id, row.path): row.asset_id for row in there}
            made: dict[tuple[str, str], tuple[Any, ...]] = {}
            for each in taken:
                id = ids.setdefault((each.site_id, each.path), each.id)
                made[each.site_id, each.path] = _asset(at, each, id)
            self._make_sites(rows, tenant, at, sites.missing, rows.now())
            make_room(rows, at, self.tables.asset, there)
            load(rows, self.tables.asset, _ASSET, list(made.values()))
        return told

    def _entries(self, rows: SqlRows, at: Locked, ids: Collection[str]) -> Sequence[Row[Any]]:
        table = self.tables.entry
        of = and_(table.c.environment == at.id, unindexed(table.c.until) == CURRENT)
        found = self.looked_up(table, ("id", "since", "entry_id", "site_id", "created_at"), of, "entry_id")
        return rows.run(found, {"texts": self.texts(ids)}).all()  # type: ignore[no-any-return]

    def _assets(self, rows: SqlRows, at: Locked, assets: Sequence[Asset]) -> Sequence[Row[Any]]:
        table = self.tables.asset
        paths: dict[str, set[str]] = {}
        for each in assets:
            paths.setdefault(each.site_id, set()).add(each.path)
        there: list[Row[Any]] = []
        for site_id, of_site in paths.items():
            of = and_(table.c.environment == at.id, table.c.site_id == site_id, unindexed(table.c.until) == CURRENT)
            found = self.looked_up(table, ("id", "since", "site_id", "path", "asset_id"), of, "path")
            there += rows.run(found, {"texts": self.texts(of_site)})
        return there

    def _claims(self, rows: SqlRows, tenant: str, ids: Collection[str]) -> Mapping[str, int]:
        table = self.tables.site_id
        found = select(table.c.site_id, table.c.environment).where(
            table.c.tenant == tenant, self.among(table.c.site_id, "ids")
        )
        return {row.site_id: row.environment for row in rows.run(found, {"ids": self.texts(ids)})}

    def _sites(self, rows: SqlRows, tenant: str, at: Locked, ids: Collection[str]) -> _Sites:
        """What is known of the sites that a batch names."""
        table = self.tables.site
        of = (table.c.environment == at.id, table.c.until == CURRENT)
        claims = self._claims(rows, tenant, ids)
        named = select(table.c.site_id).where(*of, self.among(table.c.site_id, "ids"))
        there = set(rows.run(named, {"ids": self.texts(ids)}).scalars())
        room = 0
        if len(there) < len(ids):
            room = bounds.MOST_SITES - count(rows, table, *of)
        return _Sites({id for id, environment in claims.items() if environment != at.id}, there, room)

    def _make_sites(
        self, rows: SqlRows, tenant: str, at: Locked, aliases: Mapping[str, str | None], now: datetime
    ) -> None:
        """Makes these sites, with these aliases or others."""
        if not aliases:
            return
        table, claim = self.tables.site, self.tables.site_id
        of = (table.c.environment == at.id, table.c.until == CURRENT)
        # in order, so that two that make the same sites in two environments do not wait for each other
        missing = sorted(aliases)
        with_ids = [{"tenant": tenant, "site_id": id, "environment": at.id} for id in missing]
        rows.run(self.ignoring(claim).values(with_ids))
        if any(environment != at.id for environment in self._claims(rows, tenant, missing).values()):
            raise Conflict("another environment has just got a site of that id")
        wanted = {alias for id in missing for alias in (aliases[id] or id, id)}
        among = select(table.c.alias).where(*of, self.among(table.c.alias, "aliases"))
        taken = set(rows.run(among, {"aliases": self.texts(wanted)}).scalars())
        made = []
        for id in missing:
            name = alias = aliases[id] or id
            if alias in taken:
                alias = id if id not in taken else f"{id}-{secrets.token_hex(8)}"
            taken.add(alias)
            made.append((at.id, at.coming, CURRENT, id, alias, name, now))
        load(rows, table, _SITE, made)


def _refused(new: NewEntry, stored: _Stored | None) -> str | None:
    texts = {"id": new.id, "site id": new.site_id, "model id": new.model_id, "slug": new.slug}
    aliases = {"site alias": new.site_alias, "model alias": new.model_alias}
    if (reason := too_long({**texts, **aliases}, LONGEST)) is not None:
        return reason
    for label in new.labels:
        if (reason := too_long({"label": label}, LONGEST)) is not None:
            return reason
    if stored is not None and stored.site_id != new.site_id:
        return f"the id stands in the site {stored.site_id}"
    return None


def _refused_asset(asset: Asset) -> str | None:
    reason = too_long({"id": asset.id, "site id": asset.site_id}, LONGEST)
    return reason or too_long({"path": asset.path}, LONGEST_PATH)


def _entry(at: Locked, new: NewEntry, model_id: str, created_at: datetime, updated_at: datetime) -> tuple[Any, ...]:
    return (
        *(at.id, at.coming, CURRENT, new.id, new.site_id, model_id, new.status, new.slug, list(new.labels)),
        *(created_at, updated_at, new.published_at, new.system, new.content, new.attrs),
    )


def _asset(at: Locked, asset: Asset, id: str) -> tuple[Any, ...]:
    return (
        *(at.id, at.coming, CURRENT, id, asset.site_id, asset.path, asset.name, asset.size, asset.media_type),
        *(asset.sha256, asset.key, asset.created_at),
    )
