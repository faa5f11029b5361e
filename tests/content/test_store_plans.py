"""What reads and writes of a content store cost in an environment of many entries, whatever the planner knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from gnj.content.filters import EVERYTHING, Condition, EntryFilter
from gnj.content.model import NewEntry
from gnj.content.store import Holder, Reindex
from gnj.storage.sql.content import SqlContentStore
from gnj.storage.sql.storage import SqlStorage

ONE = Holder(1, 10, 1)
MANY = 30_000
"""Entries of the environment; those of another one come to a third of it."""
FEW = 1_500
"""Rows that what is asked for may read."""


class Plans:
    """Has the plan of each statement made, and of PostgreSQL's carried out."""

    def __init__(self, store: SqlContentStore) -> None:
        self.store = store
        self.steps = 0
        self.plans: list[tuple[str, Any]] | None = None
        engine = store.storage.engine
        event.listen(engine, "before_cursor_execute", self._before)
        if not store.postgresql:
            event.listen(engine, "connect", lambda raw, _: raw.set_progress_handler(self._step, 100))
            engine.dispose()

    def _step(self) -> int:
        self.steps += 100
        return 0

    def _before(self, connection: Any, cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> None:
        if self.plans is None or not sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
            return
        if not self.store.postgresql or connection.connection.driver_connection.info.transaction_status != 2:
            return
        with connection.connection.driver_connection.cursor() as own:
            own.execute("SAVEPOINT look")
            own.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
            (plan,) = own.fetchone()
            own.execute("ROLLBACK TO look; RELEASE look")
        self.plans.append((sql, (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))

    @contextmanager
    def reads_few(self, most: int = FEW) -> Iterator[None]:
        """What is done in the block reads no more than so many rows."""
        before, self.plans = self.steps, []
        yield
        plans, self.plans = self.plans, None
        if self.store.postgresql:
            assert plans
            assert not [(sql, why) for sql, plan in plans for why in _reads(plan) if why[0] > most]
        else:
            assert self.steps - before < 20_000 + 120 * most


def _reads(node: dict[str, Any]) -> Iterator[tuple[float, str]]:
    removed = sum(node.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
    if "Scan" in node["Node Type"]:
        yield (node["Actual Rows"] + removed) * node["Actual Loops"], f"{node['Node Type']} {node.get('Index Name')}"
    for part in node.get("Plans", ()):
        yield from _reads(part)


@pytest.fixture(scope="module", params=["unknown", "known"])
def plans(request, backend):
    """A store of many entries; `known` are those of which the planner has statistics."""
    storage = SqlStorage(backend)
    storage.migrate()
    store = SqlContentStore(storage)
    store.ready("acme")
    main = store.environments("acme")[0].id
    if store.environment("acme", "stage") is None:
        stage = store.reserve("acme", "stage", "Stage", ONE.job)
        store.publish("acme", stage, ONE)
        if store.postgresql:
            with storage.engine.connect() as connection:
                connection.execute(text("ALTER TABLE gnj_content_entry SET (autovacuum_enabled = off)"))
        for environment, site, count in ((main, "s", MANY), (stage, "t", MANY // 3)):
            store.open("acme", environment, ONE)
            for start in range(0, count, 2_000):
                store.put_entries("acme", environment, ONE, [entry(n, site) for n in range(start, start + 2_000)])
            store.publish("acme", environment, ONE)
    if request.param == "known":
        with storage.engine.connect() as connection:
            connection.execute(text("ANALYZE"))
            connection.commit()
        storage.engine.dispose()
    yield Plans(store)
    storage.close()


@pytest.fixture
def main(plans):
    return plans.store.environment("acme", None).id


def entry(number, site="s"):
    return NewEntry(
        id=f"{number * 7919 % 65_536:06}",
        site_id=f"{site}{number % 100}",
        model_id="m",
        slug=f"x{number}",
        labels=["t"],
    )


def where(key, op, value):
    return EntryFilter((Condition(key, op, value),))


def test_a_batch_reads_what_it_replaces(plans, main):
    store = plans.store
    store.open("acme", main, ONE)
    for _ in range(2):
        with plans.reads_few():
            assert not any(store.put_entries("acme", main, ONE, [entry(n) for n in range(500)]))
    store.abandon("acme", ONE)


def test_a_scan_goes_along_the_ids(plans, main):
    snapshot = plans.store.pin("acme", main, Holder(9, 9, 9))
    for after in (None, "030000", "065000"):
        with plans.reads_few(1_000):
            plans.store.scan("acme", snapshot, EVERYTHING, after=after, limit=500)


@pytest.mark.parametrize(
    "filter",
    [
        where("Id", "Eq", "007919"),
        where("Id", "In", ("007919", "1")),
        where("SiteId", "Eq", "s7"),
        where("SiteId", "In", ("s7", "s8")),
    ],
    ids=["id", "ids", "site", "sites"],
)
def test_what_an_index_leads_to_is_found_by_it(plans, main, filter):
    with plans.reads_few():
        assert plans.store.entries("acme", main, filter, offset=0, limit=20).total > 0


def test_the_first_page_is_not_sorted(plans, main):
    store = plans.store
    total = store._total
    store._total = lambda *_: MANY  # to count is to read what is counted
    try:
        with plans.reads_few():
            store.entries("acme", main, EVERYTHING, offset=0, limit=20)
    finally:
        store._total = total


def test_few_changes_are_derived_alone(plans, main):
    store = plans.store
    for _ in range(2):
        cursor = None
        while not (step := store.step("acme", ONE, Reindex(environment_id=main, what="urls"), cursor)).over:
            cursor = step.cursor
    store.open("acme", main, ONE)
    store.put_entries("acme", main, ONE, [entry(n) for n in range(200)])
    store.publish("acme", main, ONE)
    with plans.reads_few(3_000):
        assert store.step("acme", ONE, Reindex(environment_id=main, what="urls"), None).done == 400
