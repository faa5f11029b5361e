"""What the content store takes for batches of entries, and for reading them.

    python -m benchmarks.content_store --database URL [--entries 100000] [--batch 1000]

In an organisation of its own, whose tables should be empty before and are left as they are. `put` is by an import, `over` by one of the
same entries again; then what a client asks for first, and what an export does.
"""

import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks.harness import options
from gnj.content.filters import EVERYTHING, Condition, EntryFilter
from gnj.content.model import NewEntry
from gnj.content.store import Holder, Reindex
from gnj.storage.sql.content import SqlContentStore
from gnj.storage.sql.storage import SqlStorage

WORDS = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor".split()
HOLDER = Holder(1, 1, 1)


def batches(count: int, size: int) -> Iterator[list[NewEntry]]:
    """Entries of 0.5 kB, of 20 sites and 5 models, not in the order of their ids."""
    for start in range(0, count, size):
        yield [entry(n) for n in range(start, min(start + size, count))]


def entry(number: int) -> NewEntry:
    """The entry of a number."""
    return NewEntry(
        id=f"ent_{number * 2_654_435_761 % 2**32:08x}{number:08x}",
        site_id=f"site_{number % 20}",
        model_id=f"model_{number % 5}",
        status="published" if number % 3 else "draft",
        slug=f"entry-{number}",
        labels=[WORDS[number % 12], WORDS[number % 7]],
        system={"createdBy": "somebody", "version": number % 10},
        content={"title": f"Entry {number}", "body": " ".join(WORDS) * 3, "rank": number, "tags": WORDS[:4]},
        attrs={"source": {"id": number}},
    )


def put(store: SqlContentStore, tenant: str, environment: str, name: str, count: int, size: int) -> None:
    """Writes all entries, and publishes them."""
    store.open(tenant, environment, HOLDER)
    times: list[float] = []
    for batch in batches(count, size):
        begun = time.perf_counter()
        told = store.put_entries(tenant, environment, HOLDER, batch)
        times.append(time.perf_counter() - begun)
        assert not any(told)
    told_time(f"{name}: publish", lambda: store.publish(tenant, environment, HOLDER))
    late = sorted(times)[int(len(times) * 0.99)]
    print(
        f"{name:30} {count / sum(times):10,.0f} entries/s; a batch of {size:,}: "
        f"{statistics.median(times) * 1000:.0f} ms, p99 {late * 1000:.0f} ms, at most {max(times) * 1000:.0f} ms"
    )


def told_time(name: str, call: Callable[[], object], times: int = 1) -> None:
    """Prints how long a call takes."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    print(f"{name:30} {statistics.median(taken) * 1000:10,.1f} ms")


def export(store: SqlContentStore, tenant: str, environment: str, filter: EntryFilter) -> int:
    """Reads everything as an export does."""
    snapshot, after, count = store.pin(tenant, environment, HOLDER), None, 0
    while found := store.scan(tenant, snapshot, filter, after=after, limit=1_000):
        after, count = found[-1].id, count + len(found)
    store.unpin(tenant, HOLDER)
    return count


def reindex(store: SqlContentStore, tenant: str, environment: str) -> None:
    """Derives all that is derived."""
    kinds: Sequence[str] = ("urls", "tags", "entries")
    for what in kinds:
        begun, cursor, longest, steps = time.perf_counter(), None, 0.0, 0
        while True:
            since = time.perf_counter()
            step = store.step(tenant, HOLDER, Reindex(environment_id=environment, what=what), cursor)  # type: ignore[arg-type]
            longest, steps, cursor = max(longest, time.perf_counter() - since), steps + 1, step.cursor
            if step.over:
                break
        taken = time.perf_counter() - begun
        print(f"reindex {what:22} {taken * 1000:10,.1f} ms, {steps} steps, at most {longest * 1000:.0f} ms")


def main() -> None:
    """Measure and print."""
    parser = options.command_line(__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1_000)
    given = parser.parse_args()
    storage = SqlStorage(given.database)
    storage.migrate()
    store, tenant = SqlContentStore(storage), f"bench-{secrets.token_hex(4)}"
    store.ready(tenant)
    (environment,) = (each.id for each in store.environments(tenant))
    for name in ("put", "over"):
        put(store, tenant, environment, name, given.entries, given.batch)
    reindex(store, tenant, environment)
    site = EntryFilter((Condition("SiteId", "Eq", "site_7"),))
    one = EntryFilter((Condition("Id", "Eq", entry(5).id),))
    slug = EntryFilter((Condition("Slug", "Contains", "99"),))
    for name, filter, offset in (
        ("entries, the first page", EVERYTHING, 0),
        ("entries, in the middle", EVERYTHING, given.entries // 2),
        ("entries of a site", site, 0),
        ("entries by id", one, 0),
        ("entries by a part of the slug", slug, 0),
    ):
        told_time(name, partial(store.entries, tenant, environment, filter, offset=offset, limit=20), 5)
    told_time("export of all", lambda: export(store, tenant, environment, EVERYTHING))
    told_time("export of a site", lambda: export(store, tenant, environment, site))
    store.open(tenant, environment, HOLDER)
    for batch in batches(given.entries, given.batch):
        store.put_entries(tenant, environment, HOLDER, batch)
    told_time("abandon of all", lambda: store.abandon(tenant, HOLDER))
    storage.close()


if __name__ == "__main__":
    main()
