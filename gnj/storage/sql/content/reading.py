"""Reading what was published, and what was pinned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Row, Table, and_, func, or_, select, update

from gnj.content.filters import EntryFilter
from gnj.content.model import Asset, Entry, Environment, Model, Page, Site, Snapshot
from gnj.content.store import Holder
from gnj.queue.errors import InvalidInput
from gnj.storage.sql.content import sizes
from gnj.storage.sql.content.base import READY, Base, ready_row, visible
from gnj.storage.sql.content.sizes import cut, weight
from gnj.storage.sql.content.versions import count, count_seen
from gnj.storage.sql.content.where import is_narrow, meets
from gnj.storage.sql.transaction import SqlRows

PINNED: Final = timedelta(days=7)
"""How long a pin holds whose job never lets go of it; each `pin` begins it anew."""


class Reading(Base):
    """The reading half of the store."""

    def environments(self, tenant: str) -> Sequence[Environment]:
        """See `ContentStore.environments`."""
        table = self.tables.environment
        found = select(table).where(table.c.tenant == tenant, table.c.state == READY)
        with self.begin(write=False) as rows:
            return [_environment(row) for row in rows.run(found.order_by(table.c.is_default.desc(), table.c.id))]

    def environment(self, tenant: str, named: str | None) -> Environment | None:
        """See `ContentStore.environment`."""
        with self.begin(write=False) as rows:
            row = self._named(rows, tenant, named)
        return None if row is None else _environment(row)

    def sites(self, tenant: str, environment_id: str | None = None) -> Sequence[Site]:
        """See `ContentStore.sites`."""
        return [_site(row) for row in self._all(self.tables.site, tenant, environment_id)]

    def models(self, tenant: str, environment_id: str | None = None) -> Sequence[Model]:
        """See `ContentStore.models`."""
        return [
            Model(
                id=row.model_id,
                environment_id=row.of_environment,
                alias=row.alias,
                name=row.name,
                fields=tuple(row.fields),
            )
            for row in self._all(self.tables.model, tenant, environment_id)
        ]

    def site(self, tenant: str, id: str) -> Site | None:
        """See `ContentStore.site`."""
        table, claimed, environment = self.tables.site, self.tables.site_id, self.tables.environment
        of = and_(table.c.environment == claimed.c.environment, table.c.site_id == claimed.c.site_id)
        found = (
            select(table, environment.c.environment_id.label("of_environment"))
            .select_from(claimed)
            .join(environment, and_(environment.c.id == claimed.c.environment, environment.c.state == READY))
            .join(table, and_(of, table.c.since <= environment.c.version, table.c.until > environment.c.version))
            .where(claimed.c.tenant == tenant, claimed.c.site_id == id)
        )
        with self.begin(write=False) as rows:
            row = rows.run(found).first()
        return None if row is None else _site(row)

    def entries(self, tenant: str, environment_id: str, filter: EntryFilter, *, offset: int, limit: int) -> Page[Entry]:
        """See `ContentStore.entries`."""
        table = self.tables.entry
        with self.snapshot() as rows:
            at = ready_row(self, rows, tenant, environment_id)
            of = and_(table.c.environment == at.id, visible(table, at.version), meets(self.tables, filter))
            total = self._total(rows, at, filter)
            # of the few that an index leads to, all are sorted; of others, an index has the order
            few = is_narrow(filter)
            updated_at = func.coalesce(table.c.updated_at, table.c.created_at) if few else table.c.updated_at
            page = select(table.c.id).where(of).order_by(updated_at.desc(), table.c.entry_id)
            asked = limit and offset < total
            ids = list(rows.run(page.offset(offset).limit(limit)).scalars()) if asked else []
            found = self._of_ids(rows, ids)
        return Page([_entry(found[id]) for id in ids], total)

    def assets(self, tenant: str, environment_id: str, *, site_id: str | None, offset: int, limit: int) -> Page[Asset]:
        """See `ContentStore.assets`."""
        table = self.tables.asset
        with self.snapshot() as rows:
            at = ready_row(self, rows, tenant, environment_id)
            of = and_(table.c.environment == at.id, visible(table, at.version))
            if site_id is not None:
                of = and_(of, table.c.site_id == site_id)
            total = count(rows, table, of)
            page = select(table).where(of).order_by(table.c.site_id, table.c.path)
            found = [] if offset >= total else rows.run(page.offset(offset).limit(limit)).all()
        return Page([_asset(row) for row in found], total)

    def asset_file(self, tenant: str, begin: str) -> str | None:
        """See `ContentStore.asset_file`."""
        asset, environment = self.tables.asset, self.tables.environment
        last = f"{begin}{chr(0x10FFFF)}"
        of = and_(asset.c.environment == environment.c.id, asset.c.file_key >= begin, asset.c.file_key <= last)
        found = select(asset.c.file_key).select_from(environment.join(asset, of)).where(environment.c.tenant == tenant)
        with self.begin(write=False) as rows:
            key: str | None = rows.run(found.limit(1)).scalar()
        return key

    def pin(self, tenant: str, environment_id: str, holder: Holder) -> Snapshot:
        """See `ContentStore.pin`."""
        with self.begin(write=True) as rows:
            at = ready_row(self, rows, tenant, environment_id, lock=True)
            return Snapshot(environment_id, pinned(self, rows, at.id, at.version, holder))

    def unpin(self, tenant: str, holder: Holder) -> None:
        """See `ContentStore.unpin`."""
        table, environment = self.tables.pin, self.tables.environment
        own = select(environment.c.id).where(environment.c.tenant == tenant)
        with self.begin(write=True) as rows:
            rows.run(table.delete().where(table.c.holder_job == holder.job, table.c.environment.in_(own)))

    def scan(
        self, tenant: str, snapshot: Snapshot, filter: EntryFilter, *, after: str | None, limit: int
    ) -> Sequence[Entry]:
        """See `ContentStore.scan`."""
        table = self.tables.entry
        key = table.c.entry_id
        with self.snapshot() as rows:
            at = ready_row(self, rows, tenant, snapshot.environment_id)
            of = and_(table.c.environment == at.id, visible(table, snapshot.version), meets(self.tables, filter))
            if after is not None:
                of = and_(of, key > after)
            end = cut(rows, select(key, weight(rows, table)).where(of).order_by(key).limit(limit))
            if end is not None:
                of = and_(of, key <= end[0])
            found = rows.run(select(table).where(of).order_by(key).limit(limit)).all()
        return [_entry(row) for row in found]

    def _of_ids(self, rows: SqlRows, ids: Sequence[int]) -> dict[int, Row[Any]]:
        """The entries in these rows. Raises `InvalidInput` if they are too large to be held at once."""
        if not ids:
            return {}
        table = self.tables.entry
        of_ids, given = rows.dialect.of_ids(table.c.id), {"of_ids": rows.dialect.ids(ids)}
        if cut(rows, select(table.c.id, weight(rows, table)).where(of_ids), given) is not None:
            most = sizes.PAGE_BYTES
            raise InvalidInput(
                f"these {len(ids):,} entries have more than {most:,} bytes together: ask for fewer of them"
            )
        return {row.id: row for row in rows.run(select(table).where(of_ids), given)}

    def _total(self, rows: SqlRows, at: Row[Any], filter: EntryFilter) -> int:
        table = self.tables.entry
        if not filter.conditions:
            return count_seen(rows, table, at.id, at.version)
        return count(rows, table, table.c.environment == at.id, meets(self.tables, filter), visible(table, at.version))

    def _named(self, rows: SqlRows, tenant: str, named: str | None) -> Row[Any] | None:
        table = self.tables.environment
        found = select(table).where(table.c.tenant == tenant, table.c.state == READY)
        if named is None:
            return rows.run(found.where(table.c.is_default)).first()  # type: ignore[no-any-return]
        either: Sequence[Row[Any]] = rows.run(
            found.where(or_(table.c.environment_id == named, table.c.alias == named))
        ).all()
        return next((row for row in either if row.environment_id == named), either[0] if either else None)

    def _all(self, table: Table, tenant: str, environment_id: str | None) -> Sequence[Row[Any]]:
        environment = self.tables.environment
        there = and_(table.c.since <= environment.c.version, table.c.until > environment.c.version)
        with self.snapshot() as rows:
            at = self._named(rows, tenant, environment_id)
            if at is None:
                return []
            found = (
                select(table, environment.c.environment_id.label("of_environment"))
                .join(environment, and_(environment.c.id == table.c.environment, there))
                .where(environment.c.id == at.id)
                .order_by(table.c.alias, table.c.id)
            )
            return rows.run(found).all()  # type: ignore[no-any-return]


def pinned(base: Base, rows: SqlRows, environment: int, version: int, holder: Holder) -> int:
    """The version of an environment, whose row is locked, that the holder's job has pinned; `version` unless it has one."""
    table, expires_at = base.tables.pin, rows.now() + PINNED
    own = and_(table.c.environment == environment, table.c.holder_job == holder.job)
    renewed = update(table).where(own).values(expires_at=expires_at).returning(table.c.version)
    found: int | None = rows.run(renewed).scalar()
    if found is not None:
        return found
    rows.run(
        table.insert().values(environment=environment, holder_job=holder.job, version=version, expires_at=expires_at)
    )
    return version


def _environment(row: Row[Any]) -> Environment:
    return Environment(
        id=row.environment_id, alias=row.alias, name=row.display_name, is_default=row.is_default, version=row.version
    )


def _site(row: Row[Any]) -> Site:
    return Site(id=row.site_id, environment_id=row.of_environment, alias=row.alias, name=row.name, logo=row.logo)


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        id=row.entry_id,
        site_id=row.site_id,
        model_id=row.model_id,
        status=row.status,
        slug=row.slug,
        labels=tuple(row.labels),
        created_at=row.created_at,
        updated_at=row.updated_at,
        published_at=row.published_at,
        system=row.system,
        content=row.content,
        attrs=row.attrs,
    )


def _asset(row: Row[Any]) -> Asset:
    return Asset(
        id=row.asset_id,
        site_id=row.site_id,
        path=row.path,
        name=row.name,
        size=row.size,
        media_type=row.media_type,
        sha256=row.sha256,
        key=row.file_key,
        created_at=row.created_at,
    )
