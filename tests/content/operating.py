"""What tests of the store's long operations share: an organisation on a store, and ways to fill it, run steps and look."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, event, select

from gnj.content.filters import EVERYTHING
from gnj.content.model import Asset, NewEntry
from gnj.content.references import mapped
from gnj.content.store import CopyEnvironment, Holder, Operation, Reindex, Step, What
from gnj.storage.sql.content import SqlContentStore
from gnj.storage.sql.storage import SqlStorage

WHEN = datetime(2024, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)
JOBS = itertools.count(1_000)
WHATS: tuple[What, ...] = ("urls", "tags", "entries")


@contextmanager
def open_store(backend: str) -> Iterator[SqlContentStore]:
    """A store on the module's database."""
    storage = SqlStorage(backend)
    storage.migrate()
    try:
        yield SqlContentStore(storage)
    finally:
        storage.close()


def entry(id: str, site: str = "s1", model: str = "article", **content: Any) -> NewEntry:
    """An entry of a fixed time; `labels`, `status`, `slug` and `attrs` are what they say, all else is content."""
    own = {name: content.pop(name) for name in ("labels", "status", "slug", "attrs") if name in content}
    return NewEntry(
        id=id, site_id=site, model_id=model, created_at=WHEN, updated_at=WHEN, content={"title": id, **content}, **own
    )


def asset(path: str, site: str = "s1", **changes: Any) -> Asset:
    """An asset whose id tells its site and path."""
    made = Asset(
        id=f"asset {site} {path}",
        site_id=site,
        path=path,
        name=path.rpartition("/")[2],
        size=3,
        media_type="text/plain",
        sha256="0" * 64,
        key="assets/0",
        created_at=WHEN,
    )
    return replace(made, **changes)


class Desk:
    """An organisation, with its default environment `main`."""

    def __init__(self, store: SqlContentStore, tenant: str) -> None:
        self.store, self.tenant = store, tenant
        store.ready(tenant)
        found = store.environment(tenant, None)
        assert found is not None
        self.main = found.id

    def holder(self) -> Holder:
        """The first try of a task of a job that nobody else has."""
        number = next(JOBS)
        return Holder(number, number, 1)

    def write(self, environment: str, entries: Sequence[NewEntry] = (), assets: Sequence[Asset] = ()) -> None:
        """Writes and publishes."""
        holder = self.open(environment)
        refused = [
            *self.store.put_entries(self.tenant, environment, holder, entries),
            *self.store.put_assets(self.tenant, environment, holder, assets),
        ]
        assert not any(refused), refused
        self.store.publish(self.tenant, environment, holder)

    def open(self, environment: str) -> Holder:
        """A holder that is the environment's writer."""
        holder = self.holder()
        self.store.open(self.tenant, environment, holder)
        return holder

    def steps(self, operation: Operation, holder: Holder, *, twice: bool = False) -> Iterator[Step]:
        """The steps of an operation to its end; with `twice` each is done again, and has to come to the same."""
        cursor = None
        for _ in range(1_000):
            step = self.store.step(self.tenant, holder, operation, cursor)
            if twice:
                again = self.store.step(self.tenant, holder, operation, cursor)
                assert again == step
            yield step
            if step.over:
                return
            cursor = step.cursor
        raise AssertionError("the operation does not end")

    def run(self, operation: Operation, holder: Holder, *, twice: bool = False) -> list[Step]:
        """All of them."""
        return list(self.steps(operation, holder, twice=twice))

    def change(self, environment: str, operation: Operation, *, twice: bool = False) -> list[Step]:
        """Opens the environment, runs the operation and publishes."""
        holder = self.open(environment)
        steps = self.run(operation, holder, twice=twice)
        self.store.publish(self.tenant, environment, holder)
        return steps

    def derive(self, environment: str) -> None:
        """Brings what is derived to the version that readers see."""
        for what in WHATS:
            self.run(Reindex(environment_id=environment, what=what), self.holder())

    def copy(self, base: str, alias: str, *, twice: bool = False) -> str:
        """The id of a copy of an environment, which can be seen."""
        holder = self.holder()
        made = self.store.reserve(self.tenant, alias, alias.title(), holder.job)
        self.run(CopyEnvironment(base=base, environment_id=made), holder, twice=twice)
        self.store.publish(self.tenant, made, holder)
        self.store.unpin(self.tenant, holder)
        return made

    def ids(self, environment: str) -> list[str]:
        """Of the entries that readers see, in order."""
        return sorted(self.entries(environment))

    def entries(self, environment: str) -> dict[str, Any]:
        """The entries that readers see, by id."""
        page = self.store.entries(self.tenant, environment, EVERYTHING, offset=0, limit=100_000)
        assert len(page.items) == page.total
        return {each.id: each for each in page.items}

    def assets(self, environment: str) -> list[tuple[str, str]]:
        """The assets that readers see, as site and path."""
        page = self.store.assets(self.tenant, environment, site_id=None, offset=0, limit=100_000)
        return [(each.site_id, each.path) for each in page.items]

    def shape(self, environment: str) -> dict[str, Any]:
        """All that readers see of an environment, but its own id: sites are called by their aliases, in texts too."""
        store, tenant = self.store, self.tenant
        sites = store.sites(tenant, environment)
        names = {each.id: f"<{each.alias}>" for each in sites}
        page = store.assets(tenant, environment, site_id=None, offset=0, limit=100_000)
        return {
            "sites": {each.alias: (each.name, each.logo) for each in sites},
            "models": {
                each.id: (each.alias, each.name, list(each.fields)) for each in store.models(tenant, environment)
            },
            "entries": {
                id: replace(
                    each,
                    site_id=names[each.site_id],
                    content=mapped(each.content, names),
                    attrs=mapped(each.attrs, names),
                )
                for id, each in self.entries(environment).items()
            },
            "assets": {(names[each.site_id], each.path): replace(each, site_id="") for each in page.items},
        }

    def stored(self, environment: str) -> dict[str, list[Any]]:
        """Every row that belongs to an environment, in any version, by table."""
        t, tenant = self.store.tables, self.tenant
        with self.store.begin(write=False) as rows:
            v = t.environment
            named = (v.c.tenant == tenant, v.c.environment_id == environment)
            row = rows.run(select(v.c.id).where(*named)).scalar()
            tables = (t.site_id, t.site, t.model, t.entry, t.asset, t.url, t.tag, t.text)
            return {
                table.name: sorted(
                    tuple(map(repr, each)) for each in rows.run(select(table).where(table.c.environment == row))
                )
                for table in tables
            }

    def everything(self) -> dict[str, int]:
        """How many rows there are in each table, of whomever: on a database that this test has for itself."""
        t = self.store.tables
        with self.store.begin(write=False) as rows:
            tables = (t.environment, t.site_id, t.site, t.model, t.entry, t.asset, t.url, t.tag, t.text, t.pin)
            return {table.name: len(rows.run(select(table)).all()) for table in tables}


@contextmanager
def plans(store: SqlContentStore) -> Iterator[list[str]]:
    """The plans of all statements that change or read tables of content inside the block, one line each."""
    found: list[str] = []
    engine = store.storage.engine
    sqlite = engine.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "

    def look(connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if many or not statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")) or "content_" not in statement:
            return
        driver: Any = connection.connection.driver_connection
        other = driver.cursor()
        other.execute(explain + statement, parameters)
        found.extend(str(row[3] if sqlite else row[0]).strip() for row in other.fetchall())
        other.close()

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", look)


def scans(found: Sequence[str]) -> list[str]:
    """Those lines of plans that read a versioned table whole, or all of an index."""
    tables = ("content_entry", "content_asset", "content_site", "content_model")
    whole = [line for line in found if any(table in line for table in tables)]
    return [line for line in whole if line.startswith("SCAN") or "Seq Scan" in line]
