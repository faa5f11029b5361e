"""How fast environments are copied, synced, emptied and dropped: rows a second, step by step, and what it takes of memory.

    python -m benchmarks.content_copy [URL] [--entries 1000000]

It makes an organisation of its own in the database of the URL (a file in a temporary directory unless given), and removes what
it made. Each step is one transaction; on SQLite nobody else writes while it lasts, so the longest one counts.
"""

from __future__ import annotations

import resource
import secrets
import tempfile
import time
from datetime import UTC, datetime

from benchmarks.harness import options
from gnj.content.filters import EVERYTHING
from gnj.content.model import NewEntry
from gnj.content.store import (
    CloneSite,
    CopyEnvironment,
    Delete,
    DeleteField,
    DropEnvironment,
    Holder,
    Operation,
    Reindex,
    SyncEnvironment,
    What,
)
from gnj.storage.sql.content import SqlContentStore
from gnj.storage.sql.storage import SqlStorage

SITES = 10
WHATS: tuple[What, ...] = ("urls", "tags", "entries")
BATCH = 1_000
WHEN = datetime(2024, 1, 1, tzinfo=UTC)


def main() -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--entries", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        storage = SqlStorage(arguments.url or f"sqlite:///{directory}/content.sqlite")
        storage.migrate()
        run(SqlContentStore(storage), arguments.entries)
        storage.close()


def run(store: SqlContentStore, count: int) -> None:
    """Fills an environment with so many entries, and does each operation to it."""
    tenant = f"bench-{secrets.token_hex(4)}"
    store.ready(tenant)
    main = store.environments(tenant)[0].id
    begun = time.perf_counter()
    holder = Holder(1, 1, 1)
    store.open(tenant, main, holder)
    for first in range(0, count, BATCH):
        store.put_entries(tenant, main, holder, [entry(n) for n in range(first, min(first + BATCH, count))])
    store.publish(tenant, main, holder)
    told("put", count, time.perf_counter() - begun, [])

    holder = Holder(2, 2, 1)
    copy = store.reserve(tenant, "copy", "Copy", holder.job)
    timed(store, tenant, holder, "copy", CopyEnvironment(base=main, environment_id=copy))
    store.publish(tenant, copy, holder)
    store.unpin(tenant, holder)
    written(store, tenant, copy, 3, "sync, alike", SyncEnvironment(base=main, target=copy))
    written(store, tenant, copy, 4, "delete a field", DeleteField(environment_id=copy, model="article", field="body"))
    written(store, tenant, copy, 5, "sync, all differ", SyncEnvironment(base=main, target=copy))
    for what in WHATS:
        timed(store, tenant, holder, f"derive: {what}", Reindex(environment_id=copy, what=what))
    purge(store, tenant, copy)
    site = store.sites(tenant, copy)[0].id
    clone = CloneSite(site_id=site, new_id=f"site_{tenant}", alias="clone", name="Clone", logo="")
    written(store, tenant, copy, 6, "clone a site", clone)
    written(store, tenant, copy, 7, "delete a site", Delete(environment_id=copy, site_id=site, entries=True))
    written(store, tenant, copy, 8, "delete all", Delete(environment_id=copy, entries=True))
    timed(store, tenant, Holder(9, 9, 1), "drop", DropEnvironment(environment_id=copy))
    assert store.entries(tenant, main, EVERYTHING, offset=0, limit=1).total == count


def entry(number: int) -> NewEntry:
    """Half a kilobyte, one in ten of which names its site."""
    site = f"site-{number % SITES}"
    content = {"title": f"Entry {number}", "body": "text " * 80, "site": site if number % 10 == 0 else None}
    return NewEntry(
        id=f"e{number:09}", site_id=site, model_id="article", created_at=WHEN, updated_at=WHEN, content=content
    )


def written(store: SqlContentStore, tenant: str, environment: str, job: int, name: str, operation: Operation) -> None:
    """The operation, by a writer of the environment, published."""
    holder = Holder(job, job, 1)
    store.open(tenant, environment, holder)
    timed(store, tenant, holder, name, operation)
    store.publish(tenant, environment, holder)
    store.unpin(tenant, holder)


def timed(store: SqlContentStore, tenant: str, holder: Holder, name: str, operation: Operation) -> None:
    """The steps of an operation."""
    cursor, over, done, times = None, False, 0, []
    while not over:
        begun = time.perf_counter()
        step = store.step(tenant, holder, operation, cursor)
        times.append(time.perf_counter() - begun)
        cursor, over, done = step.cursor, step.over, done + step.done
    told(name, done, sum(times), times)


def purge(store: SqlContentStore, tenant: str, environment: str) -> None:
    """What the operations before have left."""
    times, done, left = [], 0, 1
    while left:
        begun = time.perf_counter()
        left = store.purge(tenant, environment)
        times.append(time.perf_counter() - begun)
        done += left
    told("purge", done, sum(times), times)


def told(name: str, rows: int, seconds: float, steps: list[float]) -> None:
    """A line about an operation."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    longest = f", {len(steps)} steps, the longest {max(steps) * 1000:.0f} ms" if steps else ""
    print(
        f"{name:18} {rows:9,} rows {seconds:7.1f} s {rows / seconds:9,.0f} rows/s{longest}; {memory:.0f} MB", flush=True
    )


if __name__ == "__main__":
    main()
