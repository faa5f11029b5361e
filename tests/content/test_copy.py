"""A copied environment has all that its base had, under ids of its own where they must be, and is seen whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from gnj.content.store import CopyEnvironment, Delete, DropEnvironment, Stale
from gnj.queue.errors import Duplicate, InvalidInput, NotFound
from gnj.storage.sql.content import SqlContentStore, copying
from tests.content.operating import Desk, asset, entry, plans, scans


@pytest.fixture
def desk(store: SqlContentStore, org: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """With pages of three rows."""
    monkeypatch.setattr(copying, "PAGE", 3)
    monkeypatch.setattr(copying, "DROPPED", 5)
    return Desk(store, org)


def filled(desk: Desk) -> None:
    entries = [
        entry(
            f"{site}-{n}",
            site,
            status=["live", None][n % 2],
            slug=f"slug-{n}",
            labels=["x"] * n,
            deep=[{"site": site, "s1": [n, 1.0, "s1 and more", "s2"]}, None],
            attrs={"from": "s1"},
        )
        for site in ("s1", "s2")
        for n in range(5)
    ]
    desk.write(desk.main, entries, [asset(f"dir/{n}", site) for site in ("s1", "s2") for n in range(4)])


def test_a_copy_has_all_that_its_base_has(desk: Desk) -> None:
    filled(desk)
    before = desk.stored(desk.main)
    made = desk.copy(desk.main, "copy", twice=True)
    assert desk.shape(made) == desk.shape(desk.main)
    assert desk.stored(desk.main) == before
    found = desk.store.environment(desk.tenant, "copy")
    assert found is not None
    assert (found.id, found.name, found.is_default, found.version) == (made, "Copy", False, 1)


def test_sites_get_new_ids_wherever_these_stand_as_a_whole_text(desk: Desk) -> None:
    filled(desk)
    made = desk.copy(desk.main, "copy")
    new = {each.alias: each.id for each in desk.store.sites(desk.tenant, made)}
    assert set(new) == {"s1", "s2"}
    assert not set(new.values()) & {"s1", "s2"}
    copied = desk.entries(made)["s2-3"]
    assert copied.content["deep"] == [{"site": new["s2"], "s1": [3, 1.0, "s1 and more", new["s2"]]}, None]
    assert copied.attrs == {"from": new["s1"]}
    assert [type(each) for each in copied.content["deep"][0]["s1"][:2]] == [int, float]
    for alias, id in new.items():
        site = desk.store.site(desk.tenant, id)
        assert site is not None
        assert (site.alias, site.environment_id) == (alias, made)


@pytest.mark.parametrize("id", ['a"b', "ü", "a\\b", "%", "\n", "\x7f", "\U0001f600"])
def test_ids_of_sites_may_be_any_text(desk: Desk, id: str) -> None:
    desk.write(desk.main, [entry("e1", id, of=[id, id + "x"])])
    made = desk.copy(desk.main, "copy")
    (site,) = desk.store.sites(desk.tenant, made)
    assert desk.entries(made)["e1"].content["of"] == [site.id, id + "x"]


def test_a_copy_of_a_copy_and_two_copies_of_one_base(desk: Desk) -> None:
    filled(desk)
    one, two = desk.copy(desk.main, "one"), desk.copy(desk.main, "two")
    three = desk.copy(one, "three")
    assert desk.shape(one) == desk.shape(two) == desk.shape(three)
    ids = [each.id for room in (desk.main, one, two, three) for each in desk.store.sites(desk.tenant, room)]
    assert len(set(ids)) == 8


def test_an_empty_environment_can_be_copied(desk: Desk) -> None:
    made = desk.copy(desk.main, "copy", twice=True)
    assert desk.shape(made) == {"sites": {}, "models": {}, "entries": {}, "assets": {}}


def test_what_the_base_becomes_meanwhile_is_not_copied(desk: Desk) -> None:
    filled(desk)
    wanted = desk.shape(desk.main)
    holder = desk.holder()
    made = desk.store.reserve(desk.tenant, "copy", "Copy", holder.job)
    for number, step in enumerate(desk.steps(CopyEnvironment(base=desk.main, environment_id=made), holder)):
        desk.change(desk.main, Delete(environment_id=desk.main, site_id="s2", entries=True, assets=True))
        desk.write(desk.main, [entry(f"new-{number}"), entry("s1-0", changed=number)])
        desk.derive(desk.main)
        desk.store.purge(desk.tenant, desk.main)
        assert desk.store.environment(desk.tenant, "copy") is None
        assert desk.store.environment(desk.tenant, made) is None
        assert desk.store.sites(desk.tenant, made) == []
        assert step.total == 18
    desk.store.publish(desk.tenant, made, holder)
    assert desk.shape(made) == wanted


def test_only_the_owner_fills_an_environment_and_only_until_it_is_seen(desk: Desk) -> None:
    filled(desk)
    holder = desk.holder()
    made = desk.store.reserve(desk.tenant, "copy", "Copy", holder.job)
    operation = CopyEnvironment(base=desk.main, environment_id=made)
    with pytest.raises(Stale):
        desk.store.step(desk.tenant, desk.holder(), operation, None)
    desk.run(operation, holder)
    desk.store.publish(desk.tenant, made, holder)
    before = desk.stored(made)
    with pytest.raises(Stale):
        desk.store.step(desk.tenant, holder, operation, None)
    with pytest.raises(Stale):
        desk.store.step(desk.tenant, holder, CopyEnvironment(base=made, environment_id=desk.main), None)
    assert desk.stored(made) == before


@pytest.mark.parametrize("named", [{"base": "env_0"}, {"environment_id": "env_0"}])
def test_environments_of_nobody_or_somebody_else_are_not_there(desk: Desk, named: dict[str, str]) -> None:
    holder = desk.holder()
    made = desk.store.reserve(desk.tenant, "copy", "Copy", holder.job)
    with pytest.raises(NotFound):
        desk.store.step(
            desk.tenant, holder, CopyEnvironment(**{"base": desk.main, "environment_id": made, **named}), None
        )
    other = Desk(desk.store, f"{desk.tenant}-other")
    with pytest.raises(NotFound):
        other.store.step(other.tenant, holder, CopyEnvironment(base=desk.main, environment_id=made), None)


def test_a_base_that_is_dropped_meanwhile_ends_the_copy(desk: Desk) -> None:
    filled(desk)
    base, holder = desk.copy(desk.main, "base"), desk.holder()
    made = desk.store.reserve(desk.tenant, "copy", "Copy", holder.job)
    steps = desk.steps(CopyEnvironment(base=base, environment_id=made), holder)
    next(steps)
    desk.store.step(desk.tenant, desk.holder(), DropEnvironment(environment_id=base), None)
    with pytest.raises(NotFound):
        next(steps)


def test_a_dropped_environment_leaves_nothing(desk: Desk) -> None:
    filled(desk)
    made = desk.copy(desk.main, "copy")
    before, seen = desk.stored(desk.main), desk.shape(desk.main)
    steps = desk.run(DropEnvironment(environment_id=made), desk.holder())
    assert len(steps) > 4
    assert not any(desk.stored(made).values())
    assert desk.store.environment(desk.tenant, made) is None
    assert (desk.stored(desk.main), desk.shape(desk.main)) == (before, seen)
    assert steps[-1].notes[0].message.startswith("the environment was removed")
    (again,) = desk.run(DropEnvironment(environment_id=made), desk.holder())
    assert again.over


def test_the_first_step_of_a_drop_hides_the_environment_and_frees_its_alias(desk: Desk) -> None:
    filled(desk)
    made = desk.copy(desk.main, "copy")
    with pytest.raises(Duplicate):
        desk.store.reserve(desk.tenant, "copy", "Copy", None)
    writer = desk.open(made)
    desk.store.step(desk.tenant, desk.holder(), DropEnvironment(environment_id=made), None)
    assert [each.alias for each in desk.store.environments(desk.tenant)] == ["main"]
    desk.store.reserve(desk.tenant, "copy", "Copy", None)
    with pytest.raises((Stale, NotFound)):
        desk.store.put_entries(desk.tenant, made, writer, [entry("e9", "s9")])
    with pytest.raises(Stale):
        desk.store.publish(desk.tenant, made, writer)
    site = desk.store.sites(desk.tenant, made)
    assert site == []


def test_a_reserved_environment_can_be_dropped_at_whichever_step_it_is(desk: Desk) -> None:
    filled(desk)
    before = desk.stored(desk.main)
    for steps in range(1, 8):
        holder = desk.holder()
        made = desk.store.reserve(desk.tenant, "copy", "Copy", holder.job)
        for _ in zip(
            range(steps), desk.steps(CopyEnvironment(base=desk.main, environment_id=made), holder), strict=False
        ):
            pass
        desk.run(DropEnvironment(environment_id=made), desk.holder())
        desk.store.unpin(desk.tenant, holder)
        assert not any(desk.stored(made).values())
        with pytest.raises(NotFound):
            desk.store.step(desk.tenant, holder, CopyEnvironment(base=desk.main, environment_id=made), None)
    assert desk.stored(desk.main) == before


def test_the_default_environment_stays(desk: Desk) -> None:
    filled(desk)
    before = desk.stored(desk.main)
    for cursor in (None, {"total": 1, "done": 0}):
        with pytest.raises(InvalidInput, match="default"):
            desk.store.step(desk.tenant, desk.holder(), DropEnvironment(environment_id=desk.main), cursor)
    assert desk.stored(desk.main) == before


def test_the_environment_of_another_organisation_is_none_to_drop(desk: Desk) -> None:
    filled(desk)
    made = desk.copy(desk.main, "copy")
    (step,) = Desk(desk.store, f"{desk.tenant}-other").run(DropEnvironment(environment_id=made), desk.holder())
    assert step.over
    assert desk.shape(made) == desk.shape(desk.main)


def test_no_plan_depends_on_what_other_environments_have(desk: Desk) -> None:
    filled(desk)
    with plans(desk.store) as found:
        made = desk.copy(desk.main, "copy")
        desk.run(DropEnvironment(environment_id=made), desk.holder())
    assert found
    assert not scans(found)


def test_two_organisations_may_copy_environments_with_the_same_ids_of_sites(desk: Desk) -> None:
    filled(desk)
    other = Desk(desk.store, f"{desk.tenant}-other")
    filled(other)
    made: list[Any] = [each.copy(each.main, "copy") for each in (desk, other)]
    assert desk.shape(made[0]) == other.shape(made[1])
