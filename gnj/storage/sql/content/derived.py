"""What is derived from entries: URLs, tags, texts to be searched.

An environment notes up to which version each of them was brought. If few entries have changed since, these are derived anew
in one step; otherwise all entries are, in order of their ids, part after part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select, text, update

from gnj.content.store import Reindex, Step
from gnj.queue.errors import NotFound
from gnj.queue.values import Json
from gnj.storage.sql.content.base import GONE, MAKING, environment_row, unindexed, visible
from gnj.storage.sql.content.purging import Purging
from gnj.storage.sql.content.sizes import cut, weight
from gnj.storage.sql.schema_content import ENDED
from gnj.storage.sql.transaction import SqlRows

LONGEST_TEXT: Final = 100_000
"""Characters of an entry that can be searched for: PostgreSQL's index takes no more than 1 MiB of words."""
PURGED: Final = 10_000
"""Rows that one step purges at most."""
_PURGE: Final = "purge"
_PAGES: Final = 8
"""What has changed is dealt with in one step if it is no more than so many pages: the other way reads all there is."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of what is derived."""

    table: str
    """Of `ContentTables`."""
    indexed: str
    """Of the environment: up to which version."""
    columns: str
    postgresql: str
    """What is derived from the entries `e`, for `columns`, and `sqlite` likewise."""
    sqlite: str
    most: int
    """Entries of one step."""
    of_content: bool = False
    """Whether it reads all of an entry: then what entries have in bytes is bounded too."""


_URL: Final = "SELECT e.environment, e.site_id, e.slug, e.entry_id FROM {entry} AS e WHERE e.slug <> '' AND {of}"
_KINDS: Final[Mapping[str, _Kind]] = {
    "urls": _Kind("url", "indexed_urls", "environment, site_id, slug, entry_id", _URL, _URL, 5_000),
    "tags": _Kind(
        "tag",
        "indexed_tags",
        "environment, tag, entry_id",
        """
        SELECT DISTINCT e.environment, l.tag, e.entry_id
        FROM {entry} AS e CROSS JOIN LATERAL jsonb_array_elements_text(e.labels) AS l (tag) WHERE {of}
        """,
        "SELECT DISTINCT e.environment, l.value, e.entry_id FROM {entry} AS e, json_each(e.labels) AS l WHERE {of}",
        5_000,
    ),
    # strict: else what is in lists is found twice
    "entries": _Kind(
        "text",
        "indexed_text",
        "environment, entry_id, body",
        """
        SELECT environment, entry_id, left(body, {longest}) FROM (
            SELECT e.environment, e.entry_id, (
                SELECT string_agg(t.value #>> '{{}}', ' ' ORDER BY t.nth)
                FROM jsonb_path_query(e.content, 'strict $.**') WITH ORDINALITY AS t (value, nth)
                WHERE jsonb_typeof(t.value) = 'string'
            ) AS body
            FROM {entry} AS e WHERE {of}
        ) AS found WHERE body <> ''
        """,
        """
        SELECT environment, entry_id, substr(body, 1, {longest}) FROM (
            SELECT e.environment, e.entry_id, (
                SELECT group_concat(t.atom, ' ') FROM json_tree(e.content) AS t WHERE t.type = 'text'
            ) AS body
            FROM {entry} AS e WHERE {of}
        ) AS found WHERE body <> ''
        """,
        1_000,
        of_content=True,
    ),
}
_THERE: Final = "e.environment = :environment AND e.since + 0 <= :version AND e.until + 0 > :version"
_CHANGED: Final = f"""
    SELECT entry_id FROM {{entry}} WHERE environment = :environment AND since > :indexed AND since <= :version
    UNION
    SELECT entry_id FROM {{entry}}
    WHERE environment = :environment AND {ENDED} AND until > :indexed AND until <= :version
"""


class Derived(Purging):
    """Steps of `Reindex`."""

    def reindex(self, tenant: str, operation: Reindex, cursor: Json) -> Step:
        """One step; of `general`, the last ones purge (`Purging`)."""
        stages = [*_KINDS, _PURGE] if operation.what == "general" else [operation.what]
        at: dict[str, Any] = {"stage": stages[0]} if cursor is None else dict(cursor)
        if at["stage"] == _PURGE:
            over, done = self._purged(tenant, operation.environment_id), 0
        else:
            over, done = self._derived(tenant, operation.environment_id, at)
        if over:
            left = stages[stages.index(at["stage"]) + 1 :]
            at = {"stage": left[0], "total": at["total"]} if left else at
            over = not left
        kinds = len(stages) - (_PURGE in stages)  # each goes through all entries
        return Step(cursor=None if over else at, done=done, total=at["total"] * kinds, over=over)

    def _purged(self, tenant: str, environment_id: str) -> bool:
        """Purges; whether that was all."""
        return self.purge(tenant, environment_id, PURGED) < PURGED

    def _derived(self, tenant: str, environment_id: str, at: dict[str, Any]) -> tuple[bool, int]:
        """Brings one kind further, and the cursor with it; whether that was all of it, and how many entries it was about."""
        kind = _KINDS[at["stage"]]
        with self.begin(write=True) as rows:
            row = environment_row(self, rows, tenant, environment_id, lock=True)
            if row.state == GONE:
                raise NotFound(f"there is no environment {environment_id!r}")
            version = row.version + (row.state == MAKING)
            given = {"environment": row.id, "version": version, "indexed": getattr(row, kind.indexed)}
            if "to" not in at:
                changed = self._changed(rows, given, kind)
                at.setdefault("total", self._count(rows, row.id) if changed is None else changed)
                if changed is not None:
                    if changed:
                        among = f"IN ({_CHANGED})"
                        self._anew(rows, kind, f"entry_id {among}", f"e.entry_id {among}", given)
                    self._note(rows, row.id, kind, version)
                    return True, changed
                at |= {"to": version, "after": None}
            end, count = self._end(rows, row.id, at["after"], kind)
            given |= {"after": at["after"], "end": end}
            self._anew(rows, kind, _between("", at["after"], end), _between("e.", at["after"], end), given)
            at["after"] = end
            if end is None:
                self._note(rows, row.id, kind, at["to"])
            return end is None, count

    def _changed(self, rows: SqlRows, given: Mapping[str, Any], kind: _Kind) -> int | None:
        """How many entries have changed since what is derived was brought to its version; None: too many for one step."""
        # each half for itself: neither reads more rows than it has to
        table, count, most = self.tables.entry, 0, kind.most
        for column, ended in ((table.c.since, ()), (table.c.until, (text(ENDED),))):
            of = (table.c.environment == given["environment"], column > given["indexed"], column <= given["version"])
            some = select(table.c.id).where(*of, *ended).limit(most + 1).subquery()
            count += rows.run(select(func.count()).select_from(some)).scalar_one()
        if count > most:
            return None
        if kind.of_content:
            new = (table.c.since > given["indexed"], visible(table, given["version"]))
            sized = select(table.c.id, weight(rows, table)).where(table.c.environment == given["environment"], *new)
            if cut(rows, sized, pages=_PAGES) is not None:
                return None
        return count

    def _count(self, rows: SqlRows, environment: int) -> int:
        table = self.tables.entry
        found: int = rows.run(
            select(func.count()).select_from(table).where(table.c.environment == environment)
        ).scalar_one()
        return found

    def _end(self, rows: SqlRows, environment: int, after: str | None, kind: _Kind) -> tuple[str | None, int]:
        """The last id of the next part, None if it is the last part; and how many rows it has about."""
        table, most = self.tables.entry, kind.most
        ids = select(table.c.entry_id).where(table.c.environment == environment, unindexed(table.c.until) > 0)
        if after is not None:
            ids = ids.where(table.c.entry_id > after)
        ids = ids.order_by(table.c.entry_id).limit(most)
        found = list(rows.run(ids).scalars())
        if kind.of_content and (last := cut(rows, ids.add_columns(weight(rows, table)))) is not None:
            return last[0], bisect_right(found, last[0])
        return (found[-1], len(found)) if len(found) == most else (None, len(found))

    def _anew(self, rows: SqlRows, kind: _Kind, old: str, new: str, given: Mapping[str, Any]) -> None:
        """Derives anew what is of entries that meet a condition: `old` of the derived table, `new` of the entries `e`."""
        name = rows.tables.name
        table, entry = name(getattr(self.tables, kind.table)), name(self.tables.entry)
        source = kind.postgresql if self.postgresql else kind.sqlite
        of = f"{_THERE} AND {new}".replace("{entry}", entry)
        delete = f"DELETE FROM {table} WHERE environment = :environment AND {old.replace('{entry}', entry)}"
        rows.run(text(delete), given)
        made = source.format(entry=entry, of=of, longest=LONGEST_TEXT)
        rows.run(text(f"INSERT INTO {table} ({kind.columns}) {made}"), given)

    def _note(self, rows: SqlRows, environment: int, kind: _Kind, version: int) -> None:
        table = self.tables.environment
        indexed = table.c[kind.indexed]
        rows.run(update(table).where(table.c.id == environment, indexed < version).values({kind.indexed: version}))


def _between(of: str, after: str | None, end: str | None) -> str:
    bounds = ((f"{of}entry_id > :after", after), (f"{of}entry_id <= :end", end))
    return " AND ".join(bound for bound, value in bounds if value is not None) or "1 = 1"
