"""Removing for good what no reader can see any more, by the versions that are published, derived and pinned."""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, delete, func, select, text

from gnj.storage.sql.content.base import Base
from gnj.storage.sql.schema_content import ENDED

LIMIT: Final = 10_000
"""Rows that one purge removes at most: on SQLite nobody else writes meanwhile."""


class Purging(Base):
    """Bounded purges."""

    def purge(self, tenant: str, environment_id: str, limit: int = LIMIT) -> int:
        """Removes at most so many rows of an environment that ended before all versions that readers may see; how many.

        What has not been derived from a version yet counts as a reader of it: that an entry is gone is seen by its last row only.
        Pins that were not renewed in time count no more, and go. Of an environment that is not there, nothing is removed.
        """
        t, v, p = self.tables, self.tables.environment, self.tables.pin
        with self.begin(write=True) as rows:
            named = (v.c.tenant == tenant, v.c.environment_id == environment_id)
            needed = (v.c.version, v.c.indexed_urls, v.c.indexed_tags, v.c.indexed_text)
            found = rows.run(select(v.c.id, *needed).where(*named).with_for_update()).first()
            if found is None:
                return 0
            now = rows.now()
            rows.run(delete(p).where(p.c.environment == found.id, p.c.expires_at <= now))
            pinned = rows.run(select(func.min(p.c.version)).where(p.c.environment == found.id)).scalar()
            oldest = min(version for version in (*found[1:], pinned) if version is not None)
            removed = 0
            for table in (t.entry, t.asset, t.model, t.site):
                if removed < limit:
                    ended = and_(table.c.environment == found.id, text(ENDED), table.c.until <= oldest)
                    some = select(table.c.id).where(ended).limit(limit - removed)
                    gone = delete(table).where(table.c.id.in_(some))
                    if table is t.asset:
                        files = rows.run(gone.returning(table.c.file_key)).scalars()
                        removed += self.removed_assets(rows, tenant, files)
                    else:
                        removed += rows.run(gone).rowcount
            if removed < limit:
                self.free_site_ids(rows, found.id)
            return int(removed)
