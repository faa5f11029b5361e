"""What nobody can see any more is removed; what somebody may see is not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from gnj.content.filters import EVERYTHING, Condition, EntryFilter
from gnj.content.model import Asset
from gnj.content.store import Delete, DropEnvironment, Reindex, What
from gnj.queue.model_content import Upload
from gnj.queue.storage import Select
from gnj.queue.where import And, equal
from gnj.storage.sql.content import SqlContentStore
from tests.content.operating import WHATS, Desk, asset, entry, plans, scans


@pytest.fixture
def desk(store: SqlContentStore, org: str) -> Desk:
    """With an environment in which ten entries and an asset have been replaced once."""
    desk = Desk(store, org)
    for number in range(2):
        entries = [entry(f"e{n}", n=number) for n in range(10)]
        desk.write(desk.main, entries, [asset("a", size=number)])
    desk.derive(desk.main)
    return desk


def count(desk: Desk, table: str = "entry") -> int:
    return len(desk.stored(desk.main)[f"gnj_content_{table}"])


def test_rows_that_ended_go_and_those_that_are_seen_stay(desk: Desk) -> None:
    before = desk.shape(desk.main)
    assert (count(desk), count(desk, "asset")) == (20, 2)
    assert desk.store.purge(desk.tenant, desk.main) == 11 + 1 * (count(desk, "model") == 2)
    assert (count(desk), count(desk, "asset")) == (10, 1)
    assert desk.shape(desk.main) == before
    assert desk.store.purge(desk.tenant, desk.main) == 0


def test_files_of_assets_are_unwanted_once_no_version_of_any_environment_has_them(
    store: SqlContentStore, org: str
) -> None:
    desk = Desk(store, org)

    def unwanted() -> list[str]:
        return sorted(each.key for each in desk.store.storage.find(Upload, equal_tenant(org)))

    def stored(name: str, path: str = "") -> Asset:
        digest = name * 64
        return asset(path or name, sha256=digest, key=f"assets/{digest}-0")

    desk.write(desk.main, [], [stored("a"), stored("a", "same"), stored("b"), stored("c")])
    copy = desk.copy(desk.main, "copy")
    desk.change(desk.main, Delete(environment_id=desk.main, site_id="s1", assets=True))
    desk.derive(desk.main)
    desk.store.purge(org, desk.main)
    assert count(desk, "asset") == 0
    assert unwanted() == []  # the copy has all of them
    desk.write(desk.main, [], [stored("b", "again")])
    desk.run(DropEnvironment(environment_id=copy), desk.holder())
    assert unwanted() == [stored("a").key, stored("c").key]
    holder = desk.open(desk.main)
    desk.store.put_assets(org, desk.main, holder, [stored("d"), stored("b", "other")])
    assert desk.store.asset_file(org, stored("d").key[:-1]) == stored("d").key
    desk.store.abandon(org, holder)
    assert unwanted() == [stored(name).key for name in "acd"]
    assert desk.store.asset_file(org, stored("b").key) == stored("b").key
    assert desk.store.asset_file("other", stored("b").key) is desk.store.asset_file(org, stored("a").key) is None


def equal_tenant(org: str) -> Select:
    return Select(And((equal(Upload, tenant=org), equal(Upload, state="unwanted"))))


def test_a_purge_is_bounded(desk: Desk) -> None:
    assert [desk.store.purge(desk.tenant, desk.main, limit=4) for _ in range(4)] == [4, 4, 3, 0]


def test_what_is_pinned_stays_until_it_is_let_go(desk: Desk) -> None:
    holder = desk.holder()
    snapshot = desk.store.pin(desk.tenant, desk.main, holder)
    desk.change(desk.main, Delete(environment_id=desk.main, entries=True))
    desk.derive(desk.main)
    desk.store.purge(desk.tenant, desk.main)
    found = desk.store.scan(desk.tenant, snapshot, EVERYTHING, after=None, limit=100)
    assert [each.content["n"] for each in found] == [1] * 10
    desk.store.unpin(desk.tenant, holder)
    assert desk.store.purge(desk.tenant, desk.main) == 10
    assert count(desk) == 0


def test_a_pin_that_nobody_renewed_holds_nothing(desk: Desk) -> None:
    desk.store.pin(desk.tenant, desk.main, desk.holder())
    desk.change(desk.main, Delete(environment_id=desk.main, entries=True))
    desk.derive(desk.main)
    pin = desk.store.tables.pin
    with desk.store.begin(write=True) as rows:
        rows.run(update(pin).values(expires_at=rows.now() - timedelta(seconds=1)))
    desk.store.purge(desk.tenant, desk.main)
    assert count(desk) == 0


@pytest.mark.parametrize("missing", WHATS)
def test_what_was_not_derived_from_stays_so_that_it_is_seen_to_be_gone(desk: Desk, missing: What) -> None:
    desk.write(desk.main, [entry("e3", slug="here", labels=["mine"], body="words")])
    desk.derive(desk.main)
    desk.store.purge(desk.tenant, desk.main)
    gone = EntryFilter((Condition("Id", "Eq", "e3"),))
    desk.change(desk.main, Delete(environment_id=desk.main, filter=gone, entries=True))
    for what in WHATS:
        if what != missing:
            desk.run(Reindex(environment_id=desk.main, what=what), desk.holder())
    assert desk.store.purge(desk.tenant, desk.main) == 0
    desk.derive(desk.main)
    left = desk.stored(desk.main)
    assert [len(left[f"gnj_content_{table}"]) for table in ("url", "tag", "text")] == [0, 0, 9]
    assert desk.store.purge(desk.tenant, desk.main) == 1


def test_what_is_being_written_stays_and_can_be_taken_back(desk: Desk) -> None:
    desk.store.purge(desk.tenant, desk.main)
    before = desk.stored(desk.main)
    holder = desk.open(desk.main)
    desk.run(Delete(environment_id=desk.main, entries=True, assets=True), holder)
    desk.store.put_entries(desk.tenant, desk.main, holder, [entry("new", "new")])
    assert desk.store.purge(desk.tenant, desk.main) == 0
    desk.store.abandon(desk.tenant, holder)
    assert desk.stored(desk.main) == before


def test_other_environments_keep_what_they_have(desk: Desk) -> None:
    other = Desk(desk.store, f"{desk.tenant}-other")
    other.write(other.main, [entry("e1")])
    other.write(other.main, [entry("e1", n=1)])
    before = other.stored(other.main)
    assert desk.store.purge(desk.tenant, other.main) == 0
    assert desk.store.purge(desk.tenant, "env_0") == 0
    desk.store.purge(desk.tenant, desk.main)
    assert other.stored(other.main) == before


def test_no_plan_depends_on_what_other_environments_have(desk: Desk) -> None:
    with plans(desk.store) as found:
        desk.store.purge(desk.tenant, desk.main)
    assert found
    assert not scans(found)
