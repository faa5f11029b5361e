"""What an import may name without end, and where the end is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gnj.content.model import NewEntry
from gnj.content.store import CloneSite
from gnj.queue.errors import InvalidInput
from gnj.storage.sql.content import SqlContentStore, bounds
from tests.content.operating import Desk, asset, entry


@pytest.fixture
def desk(store: SqlContentStore, org: str) -> Desk:
    return Desk(store, org)


def having(id: str, content: dict[str, Any]) -> NewEntry:
    return replace(entry(id), content=content)


def put(desk: Desk, *entries: NewEntry) -> list[str | None]:
    """What is told of entries that are then published."""
    holder = desk.open(desk.main)
    told = desk.store.put_entries(desk.tenant, desk.main, holder, entries)
    desk.store.publish(desk.tenant, desk.main, holder)
    return [*told]


def test_an_environment_has_so_many_sites(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_SITES", 3)
    sites = [f"{desk.tenant}-{n}" for n in range(6)]
    told = "the environment would have more than 3 sites"
    assert put(desk, *(entry(f"e{n}", site=sites[n % 2]) for n in range(4))) == [None] * 4
    found = put(desk, *(entry(f"f{n}", site=sites[n]) for n in (2, 3, 2, 0)))
    assert found == [None, told, None, None]
    holder = desk.open(desk.main)
    assets = [asset("a", site=sites[n]) for n in (4, 1)]
    assert desk.store.put_assets(desk.tenant, desk.main, holder, assets) == [told, None]
    desk.store.abandon(desk.tenant, holder)
    assert [each.id for each in desk.store.sites(desk.tenant)] == sites[:3]
    new = CloneSite(site_id=sites[0], new_id=sites[5], alias="new", name="New", logo="")
    holder = desk.open(desk.main)
    with pytest.raises(InvalidInput, match="the environment has 3 sites"):
        desk.run(new, holder)
    monkeypatch.setattr(bounds, "MOST_SITES", 4)
    desk.run(new, holder, twice=True)
    desk.store.publish(desk.tenant, desk.main, holder)
    assert len(desk.store.sites(desk.tenant)) == 4


def test_and_so_many_models(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_MODELS", 2)
    told = "the environment would have more than 2 models"
    assert put(desk, entry("a", model="m0")) == [None]
    assert put(desk, *(entry(f"b{n}", model=f"m{n}") for n in (0, 1, 2, 1))) == [None, None, told, None]
    assert put(desk, entry("c", model="m3")) == [told]
    assert [each.id for each in desk.store.models(desk.tenant)] == ["m0", "m1"]


def test_a_model_has_so_many_fields_with_names_so_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "é" * 251
    one, two, three, four = ({name: 1} for name in (long, long[:250], "v" * 60, "w" * 60))
    assert put(desk, having("a", one), having("b", two)) == [
        "the name of a field must have at most 500 bytes, not 502",
        None,
    ]
    monkeypatch.setattr(bounds, "MOST_FIELDS", 4)
    found = put(desk, entry("c", x=1, y=1), entry("d", x=2, z=2), entry("e", x=3))
    assert found == [None, "the model article would have more than 4 fields", None]
    monkeypatch.setattr(bounds, "MOST_FIELDS", 100)
    monkeypatch.setattr(bounds, "FIELDS", 600)
    told = "the names of the fields of the model article would have more than 600 bytes"
    assert put(desk, having("f", three), having("g", four), entry("h", x=4)) == [None, told, None]
    (model,) = desk.store.models(desk.tenant)
    assert [each["alias"] for each in model.fields] == [long[:250], "title", "x", "y", "v" * 60]


def test_sites_get_aliases_that_are_free(desk: Desk) -> None:
    one, two, three = (f"{desk.tenant}-{name}" for name in ("one", "two", "three"))

    def named(id: str, site: str, alias: str) -> NewEntry:
        return replace(entry(id, site=site), site_alias=alias)

    assert put(desk, named("a", one, "home"), named("b", two, "home"), named("c", f"{one}-x", three)) == [None] * 3
    assert put(desk, named("d", three, "home")) == [None]
    found = {each.id: each.alias for each in desk.store.sites(desk.tenant)}
    assert (found[one], found[two], found[f"{one}-x"]) == ("home", two, three)
    assert found[three].startswith(f"{three}-")
