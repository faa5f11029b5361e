"""After a sync the target is like its base was when the sync began, and only what differed was written."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from gnj.content.model import Asset, NewEntry
from gnj.content.store import CloneSite, Delete, DeleteField, DropEnvironment, Stale, SyncEnvironment
from gnj.queue.errors import NotFound
from gnj.storage.sql.content import SqlContentStore, syncing
from tests.content.operating import WHEN, Desk, asset, entry, plans, scans

NUMBERS = itertools.count()


@pytest.fixture
def desk(store: SqlContentStore, org: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """With pages of three rows."""
    monkeypatch.setattr(syncing, "PAGE", 3)
    return Desk(store, org)


def filled(desk: Desk) -> None:
    entries = [entry(f"{site}-{n}", site, of=["s1", n]) for site in ("s1", "s2") for n in range(5)]
    desk.write(desk.main, entries, [asset(f"dir/{n}", site) for site in ("s1", "s2") for n in range(4)])


def sync(desk: Desk, base: str, target: str, *, twice: bool = False) -> list[Any]:
    """Syncs and publishes; the target must then be like the base."""
    wanted = desk.shape(base)
    before = desk.stored(base)
    holder = desk.open(target)
    steps = desk.run(SyncEnvironment(base=base, target=target), holder, twice=twice)
    desk.store.publish(desk.tenant, target, holder)
    desk.store.unpin(desk.tenant, holder)
    assert desk.shape(target) == wanted
    assert desk.stored(base) == before
    return steps


def test_an_empty_target_gets_everything(desk: Desk) -> None:
    target = desk.copy(desk.main, "target")
    filled(desk)
    steps = sync(desk, desk.main, target, twice=True)
    assert sum(step.done for step in steps) == steps[0].total == 18
    assert steps[-1].notes[0].message == "18 entries and assets were written, 0 were replaced or removed"
    assert {each.alias for each in desk.store.sites(desk.tenant, target)} == {"s1", "s2"}


def test_an_empty_base_leaves_nothing(desk: Desk) -> None:
    empty = desk.copy(desk.main, "empty")
    filled(desk)
    steps = sync(desk, empty, desk.main, twice=True)
    assert steps[-1].notes[0].message == "0 entries and assets were written, 18 were replaced or removed"


def test_what_is_alike_is_not_written(desk: Desk) -> None:
    filled(desk)
    target = desk.copy(desk.main, "target")
    before = desk.stored(target)
    steps = sync(desk, desk.main, target)
    assert desk.stored(target) == before
    assert steps[-1].notes[0].message == "0 entries and assets were written, 0 were replaced or removed"
    desk.write(desk.main, [entry("s1-0", of="changed"), entry("s1-1", of=["s1", "s2"]), entry("new")])
    steps = sync(desk, desk.main, target, twice=True)
    assert steps[-1].notes[0].message == "3 entries and assets were written, 2 were replaced or removed"
    changed = {name: set(rows) - set(before[name]) for name, rows in desk.stored(target).items()}
    assert {name: len(rows) for name, rows in changed.items() if rows} == {"gnj_content_entry": 5}


CHANGES: dict[str, dict[str, Any]] = {
    "status": {"status": "live"},
    "slug": {"slug": "x"},
    "labels": {"labels": ("a",)},
    "published": {"published_at": WHEN},
    "updated": {"updated_at": WHEN.replace(microsecond=124000)},
    "system": {"system": {"a": 1}},
    "attrs": {"attrs": {"a": 1}},
    "float": {"content": {"title": "t", "of": 0.0, "site": "s1"}},
    "model": {"model_id": "page"},
}


@pytest.mark.parametrize("site", ["s1", "s9"], ids=["that names a site", "that names none"])
def test_every_value_of_an_entry_counts(desk: Desk, site: str) -> None:
    before = {name: replace(entry(name), content={"title": "t", "of": 0, "site": site}) for name in CHANGES}
    desk.write(desk.main, list(before.values()))
    target = desk.copy(desk.main, "target")
    changed = [replace(each, **CHANGES[name]) for name, each in before.items()]
    desk.write(desk.main, [replace(each, content={**each.content, "site": site}) for each in changed])
    (last,) = sync(desk, desk.main, target)[-1].notes
    assert last.message == "9 entries and assets were written, 9 were replaced or removed"
    assert type(desk.entries(target)["float"].content["of"]) is float
    desk.write(desk.main, list(before.values()))
    sync(desk, desk.main, target)
    assert type(desk.entries(target)["float"].content["of"]) is int


def test_sites_correspond_by_their_aliases(desk: Desk) -> None:
    filled(desk)
    target = desk.copy(desk.main, "target")
    kept = {each.alias: each.id for each in desk.store.sites(desk.tenant, target)}
    desk.change(target, Delete(environment_id=target, site_id=kept["s2"], entries=True))
    desk.change(target, CloneSite(site_id=kept["s1"], new_id=f"x-{desk.tenant}", alias="own", name="Own", logo=""))
    desk.write(desk.main, [entry("s3-1", "s3")])
    sync(desk, desk.main, target, twice=True)
    now = {each.alias: each.id for each in desk.store.sites(desk.tenant, target)}
    assert set(now) == {"s1", "s2", "s3"}
    assert {alias: now[alias] for alias in kept} == kept
    assert now["s3"] not in {"s3", *kept.values()}
    sync(desk, target, desk.main, twice=True)


def test_an_entry_may_have_moved_to_another_site(desk: Desk) -> None:
    desk.write(desk.main, [entry("e1", "s1"), entry("e2", "s2")])
    target = desk.copy(desk.main, "target")
    desk.change(desk.main, Delete(environment_id=desk.main, site_id="s1", entries=True))
    desk.write(desk.main, [entry("e1", "s2")])
    sync(desk, desk.main, target, twice=True)


def test_a_site_that_went_and_came_back(desk: Desk) -> None:
    empty = desk.copy(desk.main, "empty")
    filled(desk)
    target = desk.copy(empty, "target")
    for base in (desk.main, empty, desk.main):
        sync(desk, base, target)
        desk.derive(target)
        desk.store.purge(desk.tenant, target)
    assert len(desk.store.sites(desk.tenant, target)) == 2


def test_models_are_those_of_the_base(desk: Desk) -> None:
    desk.write(desk.main, [entry("e1", body=1), entry("e2", model="page", x=1)])
    target = desk.copy(desk.main, "target")
    desk.change(desk.main, DeleteField(environment_id=desk.main, model="page", field="x"))
    desk.write(target, [entry("e3", desk.store.sites(desk.tenant, target)[0].id, "other")])
    sync(desk, desk.main, target, twice=True)
    assert [each.id for each in desk.store.models(desk.tenant, target)] == ["article", "page"]


def test_every_value_of_an_asset_counts(desk: Desk) -> None:
    filled(desk)
    target = desk.copy(desk.main, "target")
    changes: list[dict[str, Any]] = [{"size": 4}, {"sha256": "1" * 64}, {"key": "assets/1"}, {"media_type": "a/b"}]
    changed = [asset(f"dir/{n}", "s1", **change) for n, change in enumerate(changes)]
    desk.write(desk.main, [], [*changed, asset("dir/9", "s2")])
    (last,) = sync(desk, desk.main, target, twice=True)[-1].notes
    assert last.message == "5 entries and assets were written, 4 were replaced or removed"


def test_readers_see_the_sync_whole_and_what_the_base_becomes_meanwhile_does_not_count(desk: Desk) -> None:
    target = desk.copy(desk.main, "target")
    filled(desk)
    wanted, before = desk.shape(desk.main), desk.shape(target)
    holder = desk.open(target)
    for number, _ in enumerate(desk.steps(SyncEnvironment(base=desk.main, target=target), holder)):
        desk.write(desk.main, [entry(f"late-{number}"), entry("s1-4", of=number)])
        desk.derive(desk.main)
        desk.store.purge(desk.tenant, desk.main)
        assert desk.shape(target) == before
    desk.store.publish(desk.tenant, target, holder)
    assert desk.shape(target) == wanted


def test_what_is_abandoned_leaves_every_row_as_it_was(desk: Desk) -> None:
    target = desk.copy(desk.main, "target")
    filled(desk)
    site = f"own-{desk.tenant}"
    desk.write(target, [entry("mine", site)], [asset("mine", site)])
    before = desk.stored(target)
    holder = desk.open(target)
    desk.run(SyncEnvironment(base=desk.main, target=target), holder)
    desk.store.abandon(desk.tenant, holder)
    assert desk.stored(target) == before


def test_only_the_writer_of_the_target_syncs(desk: Desk) -> None:
    filled(desk)
    target = desk.copy(desk.main, "target")
    operation = SyncEnvironment(base=desk.main, target=target)
    with pytest.raises(Stale):
        desk.store.step(desk.tenant, desk.holder(), operation, None)
    holder = desk.open(target)
    other = Desk(desk.store, f"{desk.tenant}-other")
    with pytest.raises(NotFound):
        desk.store.step(desk.tenant, holder, SyncEnvironment(base=other.main, target=target), None)
    with pytest.raises(NotFound):
        other.store.step(other.tenant, holder, operation, None)
    base = desk.copy(desk.main, "base")
    steps = desk.steps(SyncEnvironment(base=base, target=target), holder)
    next(steps)
    desk.store.step(desk.tenant, desk.holder(), DropEnvironment(environment_id=base), None)
    with pytest.raises(NotFound):
        next(steps)


_SITES = ("s1", "s2", "s3")
_ENTRIES = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(_SITES), st.sampled_from(["m1", "m2"]), st.integers(0, 2)),
    max_size=7,
    unique_by=lambda each: each[0],
)
_ASSETS = st.lists(st.tuples(st.sampled_from(_SITES), st.sampled_from("xyz"), st.integers(0, 1)), max_size=5)


def _content(sites: dict[str, str], of: Any) -> tuple[list[NewEntry], list[Asset]]:
    """What was drawn, with the target's ids of sites."""
    entries, assets = of
    return (
        [entry(id, sites[site], model, of=[sites["s1"], n][: n + 1]) for id, site, model, n in entries],
        [asset(path, sites[site], size=size) for site, path, size in {each[:2]: each for each in assets}.values()],
    )


@pytest.mark.slow_on("postgresql")
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=st.tuples(_ENTRIES, _ASSETS), two=st.tuples(_ENTRIES, _ASSETS), three=st.tuples(_ENTRIES, _ASSETS))
def test_whatever_both_had_they_are_alike_afterwards(desk: Desk, one: Any, two: Any, three: Any) -> None:
    mine = Desk(desk.store, f"{desk.tenant}-{next(NUMBERS)}")
    mine.write(mine.main, *_content({site: site for site in _SITES}, one))
    target = mine.copy(mine.main, "target")
    for room, had in ((target, two), (mine.main, three)):
        mine.change(room, Delete(environment_id=room, entries=True, assets=True))
        ids = {each.alias: each.id for each in mine.store.sites(mine.tenant, room)}
        sites = {site: ids.get(site, site if room == mine.main else f"{site}-of-target") for site in _SITES}
        entries, assets = _content(sites, had)
        mine.write(room, [replace(each, site_alias=each.site_id.split("-")[0]) for each in entries], assets)
    sync(mine, mine.main, target)


def test_no_plan_depends_on_what_other_environments_have(desk: Desk) -> None:
    filled(desk)
    target = desk.copy(desk.main, "target")
    desk.write(desk.main, [entry("s1-0", of="changed"), entry("new")])
    with plans(desk.store) as found:
        sync(desk, desk.main, target)
    assert found
    assert not scans(found)


def test_pins_of_a_sync_go_when_it_is_over(desk: Desk) -> None:
    filled(desk)
    target = desk.copy(desk.main, "target")
    sync(desk, desk.main, target)
    pin = desk.store.tables.pin
    v = desk.store.tables.environment
    with desk.store.begin(write=False) as rows:
        mine = select(func.count()).select_from(pin).join(v, v.c.id == pin.c.environment)
        assert rows.run(mine.where(v.c.tenant == desk.tenant)).scalar() == 0
