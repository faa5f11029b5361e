"""A cloned site has copies of all that its base has, which refer to one another and not to the originals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnj.content.store import CloneSite, Delete, Stale
from gnj.queue.errors import Duplicate, NotFound
from gnj.storage.sql.content import SqlContentStore, cloning
from gnj.storage.sql.content.references import texts
from tests.content.operating import Desk, asset, entry, plans, scans


@pytest.fixture
def desk(store: SqlContentStore, org: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """With pages of three rows."""
    monkeypatch.setattr(cloning, "PAGE", 3)
    return Desk(store, org)


def clone(desk: Desk, base: str = "s1", alias: str = "new") -> CloneSite:
    return CloneSite(site_id=base, new_id=f"site-{alias}-{desk.tenant}", alias=alias, name="New", logo="logo.png")


def filled(desk: Desk) -> None:
    """Every entry refers to the one before, to an asset, to its site, and to what another site has."""
    entries = [
        entry(
            f"e{n}",
            slug=f"slug-{n}",
            labels=["x"],
            status="live",
            of={"deep": [[{"e1": f"e{n - 1}"}, 1.5, True]], "to": ["asset s1 dir/1", "other", "s2", "s1", "e1 "]},
            attrs={"home": "s1", "next": f"e{n + 1}"},
        )
        for n in range(8)
    ]
    desk.write(
        desk.main,
        [*entries, entry("other", "s2", of=["e1", "s1"])],
        [*(asset(f"dir/{n}") for n in range(5)), asset("dir/1", "s2")],
    )


def test_a_clone_has_copies_of_everything_and_the_rest_stays(desk: Desk) -> None:
    filled(desk)
    elsewhere = desk.copy(desk.main, "elsewhere")
    before, there = desk.entries(desk.main), desk.stored(elsewhere)
    operation = clone(desk)
    steps = desk.change(desk.main, operation, twice=True)
    after = desk.entries(desk.main)
    assert {id: after[id] for id in before} == before
    copies = [each for id, each in after.items() if id not in before]
    assert len(copies) == 8
    assert {each.site_id for each in copies} == {operation.new_id}
    assert sorted(each.slug or "" for each in copies) == [f"slug-{n}" for n in range(8)]
    for copied in copies:
        base = before[str(copied.content["title"]) if copied.content["title"] in before else _base(before, copied)]
        assert replace(copied, id=base.id, site_id="s1", content={}, attrs={}) == replace(base, content={}, attrs={})
    paths = [path for site, path in desk.assets(desk.main) if site == operation.new_id]
    assert paths == [f"dir/{n}" for n in range(5)]
    assert desk.stored(elsewhere) == there
    site = desk.store.site(desk.tenant, operation.new_id)
    assert site is not None
    assert (site.alias, site.name, site.logo, site.environment_id) == ("new", "New", "logo.png", desk.main)
    assert steps[-1].notes[0].message == "the site was copied, with 8 entries and 5 assets"
    assert sum(step.done for step in steps) == steps[0].total == 13


def _base(before: dict[str, object], copied: object) -> str:
    """Which entry a copy is of: its slug tells."""
    return "e" + str(copied.slug).rpartition("-")[2]  # type: ignore[attr-defined]


def test_copies_refer_to_copies_at_any_depth(desk: Desk) -> None:
    filled(desk)
    operation = clone(desk)
    desk.change(desk.main, operation)
    entries = desk.entries(desk.main)
    page = desk.store.assets(desk.tenant, desk.main, site_id=operation.new_id, offset=0, limit=100)
    new_assets = {each.path: each.id for each in page.items}
    new = {str(each.slug): each for each in entries.values() if each.site_id == operation.new_id}
    for n in range(1, 7):
        copied = new[f"slug-{n}"]
        assert copied.content["title"] == copied.id
        assert copied.content["of"] == {
            "deep": [[{"e1": new[f"slug-{n - 1}"].id}, 1.5, True]],
            "to": [new_assets["dir/1"], "other", "s2", operation.new_id, "e1 "],
        }
        assert copied.attrs == {"home": operation.new_id, "next": new[f"slug-{n + 1}"].id}
    assert "e-1" in set(texts(new["slug-0"].content)), "what is no id stays"
    assert len(set(new_assets.values()) | {f"asset s1 dir/{n}" for n in range(5)}) == 10


def test_two_clones_of_one_site_and_a_clone_of_a_clone(desk: Desk) -> None:
    filled(desk)
    one, two = clone(desk, alias="one"), clone(desk, alias="two")
    for each in (one, two, clone(desk, one.new_id, "three")):
        desk.change(desk.main, each)
    assert len(desk.ids(desk.main)) == 4 * 8 + 1
    third = [each for each in desk.entries(desk.main).values() if each.site_id.startswith("site-three")]
    known = {each.id for each in third} | {third[0].site_id}
    for each in third:
        assert each.attrs["home"] in known


def test_readers_see_nothing_before_and_everything_after_the_publication(desk: Desk) -> None:
    filled(desk)
    before, operation = desk.shape(desk.main), clone(desk)
    holder = desk.open(desk.main)
    for _ in desk.steps(operation, holder):
        assert desk.shape(desk.main) == before
        assert desk.store.site(desk.tenant, operation.new_id) is None
    desk.store.publish(desk.tenant, desk.main, holder)
    assert len(desk.ids(desk.main)) == 17


def test_what_is_abandoned_leaves_every_row_as_it_was(desk: Desk) -> None:
    filled(desk)
    before, operation = desk.stored(desk.main), clone(desk)
    holder = desk.open(desk.main)
    desk.run(operation, holder)
    desk.store.abandon(desk.tenant, holder)
    assert desk.stored(desk.main) == before
    desk.change(desk.main, operation)
    assert len(desk.ids(desk.main)) == 17


def test_an_empty_site_can_be_cloned(desk: Desk) -> None:
    filled(desk)
    desk.change(desk.main, Delete(environment_id=desk.main, site_id="s1", entries=True, assets=True))
    desk.change(desk.main, clone(desk), twice=True)
    assert [each.alias for each in desk.store.sites(desk.tenant)] == ["new", "s1", "s2"]


def test_aliases_and_ids_are_unique_and_the_base_must_be_there(desk: Desk) -> None:
    filled(desk)
    elsewhere = desk.copy(desk.main, "elsewhere")
    taken = desk.store.sites(desk.tenant, elsewhere)[0].id
    before = desk.stored(desk.main)
    holder = desk.open(desk.main)
    for operation, error in (
        (replace(clone(desk), alias="s2"), Duplicate),
        (replace(clone(desk), alias="s1"), Duplicate),
        (replace(clone(desk), new_id=taken), Duplicate),
        (replace(clone(desk), site_id="nothing"), NotFound),
        (replace(clone(desk), site_id=taken), Stale),
    ):
        with pytest.raises(error):
            desk.store.step(desk.tenant, holder, operation, None)
    with pytest.raises(NotFound):
        desk.store.step(f"{desk.tenant}-other", holder, clone(desk), None)
    with pytest.raises(Stale):
        desk.store.step(desk.tenant, desk.holder(), clone(desk), None)
    assert desk.stored(desk.main) == before


def test_no_plan_depends_on_what_other_environments_have(desk: Desk) -> None:
    filled(desk)
    with plans(desk.store) as found:
        desk.change(desk.main, clone(desk))
    assert found
    assert not scans(found)
