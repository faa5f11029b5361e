"""Deleting takes away what was asked for and nothing else, and is seen whole or not at all."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnj.content.filters import EVERYTHING, Condition, EntryFilter
from gnj.content.store import Delete, DeleteField, Stale
from gnj.queue.errors import NotFound
from gnj.storage.sql.content import SqlContentStore, deleting
from tests.content.operating import Desk, asset, entry, plans, scans

NUMBERS = itertools.count()


@pytest.fixture
def desk(store: SqlContentStore, org: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """With pages of three rows."""
    monkeypatch.setattr(deleting, "PAGE", 3)
    return Desk(store, org)


def filled(desk: Desk) -> None:
    """Two sites with entries of two models, and assets."""
    entries = [
        entry(f"{site}-{model}-{n}", site, model, labels=["a", "b"][: n % 3], status=["draft", "live"][n % 2])
        for site in ("s1", "s2")
        for model in ("article", "page")
        for n in range(5)
    ]
    assets = [asset(f"dir/{n}.txt", site) for site in ("s1", "s2") for n in range(4)]
    desk.write(desk.main, entries, assets)


def test_a_site_loses_its_entries_and_assets_and_stays(desk: Desk) -> None:
    filled(desk)
    other = desk.copy(desk.main, "other")
    before = desk.stored(other)
    steps = desk.change(
        desk.main, Delete(environment_id=desk.main, site_id="s1", entries=True, assets=True), twice=True
    )
    assert desk.ids(desk.main) == [f"s2-{model}-{n}" for model in ("article", "page") for n in range(5)]
    assert desk.assets(desk.main) == [("s2", f"dir/{n}.txt") for n in range(4)]
    assert [each.id for each in desk.store.sites(desk.tenant)] == ["s1", "s2"]
    assert desk.stored(other) == before
    assert {step.total for step in steps} == {14}
    assert [(line.level, line.message) for line in steps[-1].notes] == [
        ("INFORMATION", "10 entries were deleted"),
        ("INFORMATION", "4 assets were deleted"),
    ]


@pytest.mark.parametrize("site", ["s1", None])
@pytest.mark.parametrize("model", ["page", None])
@pytest.mark.parametrize("status", ["live", None])
def test_site_model_and_filter_must_all_be_met(
    desk: Desk, site: str | None, model: str | None, status: str | None
) -> None:
    filled(desk)
    filter = EVERYTHING if status is None else EntryFilter((Condition("Status", "Eq", status),))
    before = desk.entries(desk.main)
    operation = Delete(environment_id=desk.main, site_id=site, model=model, filter=filter, entries=True, assets=True)
    steps = desk.change(desk.main, operation)
    gone = [
        id
        for id, each in before.items()
        if site in (None, each.site_id) and model in (None, each.model_id) and status in (None, each.status)
    ]
    assert set(desk.ids(desk.main)) == set(before) - set(gone)
    all_assets = [(s, f"dir/{n}.txt") for s in ("s1", "s2") for n in range(4)]
    kept = [key for key in all_assets if model or status or (site and key[0] != site)]
    assert desk.assets(desk.main) == kept
    assert sum(step.done for step in steps) == steps[0].total == len(gone) + len(all_assets) - len(kept)


def test_a_model_may_be_called_by_its_alias(desk: Desk) -> None:
    desk.write(desk.main, [entry("e1"), entry("e2", model="m2")])
    model = desk.store.models(desk.tenant)[-1]
    desk.change(desk.main, Delete(environment_id=desk.main, model=model.alias, entries=True))
    assert desk.ids(desk.main) == ["e1"]


@pytest.mark.parametrize("named", [{"site_id": "site123"}, {"model": "nothing"}])
@pytest.mark.parametrize("field", [False, True])
def test_a_site_or_model_that_is_not_there_is_a_warning(desk: Desk, named: dict[str, Any], field: bool) -> None:
    filled(desk)
    before = desk.shape(desk.main)
    operation: Any = (
        DeleteField(environment_id=desk.main, field="title", **{"model": "page", **named})
        if field
        else Delete(environment_id=desk.main, entries=True, assets=True, labels=True, **named)
    )
    (step,) = desk.change(desk.main, operation)
    assert [line.level for line in step.notes] == ["WARNING"]
    assert next(iter(named.values())) in step.notes[0].message
    assert desk.shape(desk.main) == before


def test_labels_are_cleared_and_nothing_else_changes(desk: Desk) -> None:
    filled(desk)
    before = desk.entries(desk.main)
    steps = desk.change(desk.main, Delete(environment_id=desk.main, site_id="s1", labels=True), twice=True)
    after = desk.entries(desk.main)
    for id, each in before.items():
        assert after[id].labels == (() if each.site_id == "s1" else each.labels)
        assert (after[id].content, after[id].updated_at) == (each.content, each.updated_at)
    assert steps[-1].notes[0].message == "6 entries lost their labels"


def test_entries_that_are_deleted_need_not_lose_their_labels(desk: Desk) -> None:
    filled(desk)
    steps = desk.change(desk.main, Delete(environment_id=desk.main, entries=True, labels=True))
    assert desk.ids(desk.main) == []
    assert [line.message for line in steps[-1].notes] == ["20 entries were deleted"]


def test_nothing_is_deleted_where_nothing_is_asked_for(desk: Desk) -> None:
    filled(desk)
    before = desk.shape(desk.main)
    (step,) = desk.change(desk.main, Delete(environment_id=desk.main))
    assert step.over
    desk.change(desk.main, Delete(environment_id=desk.main, model="page", assets=True))
    assert desk.shape(desk.main) == before


@pytest.mark.parametrize("field", ["body", 'a"b', "$[0]", "ü\\", "\n", ""])
def test_a_field_is_taken_from_model_and_entries(desk: Desk, field: str) -> None:
    same: dict[str, Any] = {"x": [1.0, 1, 1e300, "é", {"body": {}}], "title": "t"}
    written = [entry(f"e{n}", **{**same, field: n}) for n in range(5)]
    other = [entry("other", model="page", **{**same, field: 1}), entry("without", **same)]
    desk.write(desk.main, [*written, *other])
    before = desk.entries(desk.main)
    steps = desk.change(desk.main, DeleteField(environment_id=desk.main, model="article", field=field), twice=True)
    after = desk.entries(desk.main)
    for id, each in before.items():
        kept = {name: value for name, value in each.content.items() if name != field or each.model_id == "page"}
        assert repr(dict(sorted(after[id].content.items()))) == repr(dict(sorted(kept.items())))
    fields = {model.id: [each["alias"] for each in model.fields] for model in desk.store.models(desk.tenant)}
    assert field not in fields["article"]
    assert field in fields["page"]
    assert "title" in fields["article"]
    assert steps[-1].notes[-1].message == "5 entries lost the field"


def test_of_one_site_the_model_keeps_the_field(desk: Desk) -> None:
    desk.write(desk.main, [entry("e1", body=1), entry("e2", "s2", body=2)])
    desk.change(desk.main, DeleteField(environment_id=desk.main, site_id="s1", model="article", field="body"))
    assert {id: each.content.get("body") for id, each in desk.entries(desk.main).items()} == {"e1": None, "e2": 2}
    (model,) = desk.store.models(desk.tenant)
    assert "body" in [each["alias"] for each in model.fields]


def test_a_field_that_the_model_does_not_have_is_a_warning(desk: Desk) -> None:
    desk.write(desk.main, [entry("e1")])
    steps = desk.change(desk.main, DeleteField(environment_id=desk.main, model="article", field="nothing"))
    assert [line.level for step in steps for line in step.notes] == ["WARNING", "INFORMATION"]


def test_readers_see_nothing_before_and_everything_after_the_publication(desk: Desk) -> None:
    filled(desk)
    before = desk.shape(desk.main)
    holder = desk.open(desk.main)
    for _ in desk.steps(Delete(environment_id=desk.main, entries=True, assets=True), holder):
        assert desk.shape(desk.main) == before
    desk.store.publish(desk.tenant, desk.main, holder)
    assert (desk.ids(desk.main), desk.assets(desk.main)) == ([], [])


def test_what_is_abandoned_leaves_every_row_as_it_was(desk: Desk) -> None:
    filled(desk)
    before = desk.stored(desk.main)
    for operation in (
        Delete(environment_id=desk.main, entries=True, assets=True),
        Delete(environment_id=desk.main, labels=True),
        DeleteField(environment_id=desk.main, model="page", field="title"),
    ):
        holder = desk.open(desk.main)
        desk.run(operation, holder)
        desk.store.abandon(desk.tenant, holder)
        after = desk.stored(desk.main)
        assert {name: len(rows) for name, rows in after.items()} == {name: len(rows) for name, rows in before.items()}
        assert after == before


def test_only_the_writer_may_delete(desk: Desk) -> None:
    filled(desk)
    before = desk.stored(desk.main)
    operation = Delete(environment_id=desk.main, entries=True)
    with pytest.raises(Stale):
        desk.store.step(desk.tenant, desk.holder(), operation, None)
    desk.open(desk.main)
    with pytest.raises(Stale):
        desk.store.step(desk.tenant, desk.holder(), operation, None)
    with pytest.raises(NotFound):
        desk.store.step(f"{desk.tenant}-other", desk.holder(), operation, None)
    assert desk.stored(desk.main) == before


_TEXTS = st.sampled_from(["s1", "s2", "e1", "e2", "e3", "live", "draft", "e", "", "%", "_"])
_CONDITIONS = st.one_of(
    st.builds(
        Condition,
        st.sampled_from(["Id", "SiteId", "ModelId", "Status"]),
        st.sampled_from(["Eq", "Ne", "StartsWith", "Contains"]),
        _TEXTS,
    ),
    st.builds(
        Condition,
        st.sampled_from(["Id", "SiteId", "Status"]),
        st.sampled_from(["In", "NotIn"]),
        st.lists(_TEXTS, max_size=3).map(tuple),
    ),
    st.builds(Condition, st.sampled_from(["Status", "Slug"]), st.just("Exists"), st.booleans()),
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    filter=st.lists(_CONDITIONS, max_size=3).map(lambda each: EntryFilter(tuple(each))),
    site=st.sampled_from([None, "s1", "s2", "s9"]),
    model=st.sampled_from([None, "article", "page", "m9"]),
    entries=st.booleans(),
    labels=st.booleans(),
)
def test_a_delete_never_widens(
    desk: Desk, filter: EntryFilter, site: str | None, model: str | None, entries: bool, labels: bool
) -> None:
    mine = Desk(desk.store, f"{desk.tenant}-{next(NUMBERS)}")
    mine.write(
        mine.main,
        [
            entry("e1", "s1", "article", status="live", labels=["x"]),
            entry("e2", "s1", "page", labels=["x"], slug="a"),
            entry("e3", "s2", "article", status="draft", labels=["x"]),
            entry("e4", "s2", "page", status="live", labels=["x"]),
        ],
    )
    before = mine.entries(mine.main)
    operation = Delete(
        environment_id=mine.main, filter=filter, site_id=site, model=model, entries=entries, labels=labels
    )
    mine.change(mine.main, operation)
    hit = {
        id
        for id, each in before.items()
        if filter.meets(each) and site in (None, each.site_id) and model in (None, each.model_id)
    }
    after = mine.entries(mine.main)
    assert set(after) == (set(before) - hit if entries else set(before))
    cleared = {id for id, each in after.items() if not each.labels}
    assert cleared == (hit if labels and not entries else set())


@pytest.mark.parametrize("named", [{"site_id": "s1"}, {"model": "page"}, {}])
def test_no_plan_depends_on_what_other_environments_have(desk: Desk, named: dict[str, Any]) -> None:
    filled(desk)
    with plans(desk.store) as found:
        desk.change(desk.main, Delete(environment_id=desk.main, entries=True, assets=True, **named))
        if "model" in named:
            desk.change(desk.main, DeleteField(environment_id=desk.main, field="title", model="page"))
    assert found
    assert not scans(found)
