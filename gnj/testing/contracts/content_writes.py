"""What is written, and how it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gnj.content.filters import EVERYTHING, Condition
from gnj.content.model import Entry
from gnj.content.store import ContentStore
from gnj.queue.errors import NotFound
from gnj.testing.contracts.content_support import (
    ODD,
    ONE,
    OTHER,
    THEN,
    VALUES,
    ContentContract,
    asset,
    entry,
    ids,
    made,
    one,
    page,
    reads,
    writes,
    written,
)


class ContentContents(ContentContract):
    """Entries, assets, and the sites and models that they bring."""

    def test_what_is_written_is_seen_when_it_is_published(self, store: ContentStore, tenant: str, main: str) -> None:
        """All of it, and nothing before; a second publication changes nothing."""
        store.open(tenant, main, ONE)
        assert store.put_entries(tenant, main, ONE, []) == []
        assert list(store.put_entries(tenant, main, ONE, [entry("a"), entry("b", "s2")])) == [None, None]
        assert list(store.put_assets(tenant, main, ONE, [asset("x/y.txt", "s3")])) == [None]
        assert ids(store, tenant, main) == []
        assert [*store.sites(tenant), *store.models(tenant)] == []
        assert store.site(tenant, "s1") is None
        assert store.assets(tenant, main, site_id=None, offset=0, limit=9).total == 0
        store.publish(tenant, main, ONE)
        assert ids(store, tenant, main) == ["a", "b"]
        assert [each.id for each in store.sites(tenant)] == ["s1", "s2", "s3"]
        assert store.site(tenant, "s1") == store.sites(tenant, main)[0]
        assert store.assets(tenant, main, site_id=None, offset=0, limit=9).total == 1
        found = store.environment(tenant, main)
        assert found is not None
        assert found.version == 1
        store.publish(tenant, main, ONE)
        assert store.environment(tenant, main) == found

    def test_an_entry_is_read_as_it_was_written(self, store: ContentStore, tenant: str, main: str) -> None:
        """Whatever characters and values it has."""
        content = {f"f{i}": value for i, value in enumerate(VALUES)} | {ODD: ODD}
        given: dict[str, Any] = {
            "status": ODD,
            "slug": ODD,
            "labels": ("b", ODD, "a"),
            "created_at": THEN,
            "updated_at": THEN + timedelta(milliseconds=1),
            "published_at": THEN - timedelta(days=20_000),
            "system": {"n": VALUES},
            "content": content,
            "attrs": {"deep": {"er": VALUES}},
        }
        written(store, tenant, main, [entry(ODD, ODD, ODD, **given)])
        found = one(store, tenant, main)
        assert found == Entry(id=ODD, site_id=ODD, model_id=ODD, **given)
        # what is equal to Python may be another thing to whoever reads it
        assert repr([found.content[f"f{i}"] for i in range(6)]) == repr(list(VALUES[:6]))
        (snapshot, holder) = (store.pin(tenant, main, OTHER), OTHER)
        assert list(store.scan(tenant, snapshot, EVERYTHING, after=None, limit=5)) == [found]
        store.unpin(tenant, holder)

    def test_what_an_entry_lacks_is_filled_in(self, store: ContentStore, tenant: str, main: str) -> None:
        """Its times are the present."""
        written(store, tenant, main, [entry("a")])
        found = one(store, tenant, main)
        assert abs(datetime.now(UTC) - found.created_at) < timedelta(minutes=5)
        assert found.updated_at == found.created_at
        assert (found.status, found.slug, found.labels, found.published_at) == (None, None, (), None)
        assert (found.system, found.content, found.attrs) == ({}, {}, {})

    def test_an_entry_takes_the_place_of_the_one_with_its_id(self, store: ContentStore, tenant: str, main: str) -> None:
        """All of it, but for when that was created."""
        written(store, tenant, main, [entry("a", status="old", content={"x": 1}, created_at=THEN), entry("b")])
        written(store, tenant, main, [entry("a", status="new", content={"y": 2})])
        assert ids(store, tenant, main) == ["a", "b"]
        found = one(store, tenant, main, Condition("Id", "Eq", "a"))
        assert (found.status, found.content, found.created_at) == ("new", {"y": 2}, THEN)

    def test_the_last_of_several_with_one_id_wins(self, store: ContentStore, tenant: str, main: str) -> None:
        """In one batch as over several."""
        store.open(tenant, main, ONE)
        for batch in (
            [entry("a", slug="1", created_at=THEN), entry("b"), entry("a", slug="2")],
            [entry("a", slug="3")],
        ):
            assert set(store.put_entries(tenant, main, ONE, batch)) == {None}
        store.publish(tenant, main, ONE)
        found = one(store, tenant, main, Condition("Id", "Eq", "a"))
        assert (found.slug, found.created_at) == ("3", THEN)

    def test_an_id_that_stands_in_another_site_is_refused(self, store: ContentStore, tenant: str, main: str) -> None:
        """Even if it came to stand there with the same batch; nothing is made for what is refused."""
        written(store, tenant, main, [entry("a", "s1", slug="first")])
        store.open(tenant, main, ONE)
        batch = [entry("a", "s2"), entry("b", "s1"), entry("c", "s3"), entry("c", "s4")]
        told = store.put_entries(tenant, main, ONE, batch)
        assert [reason is None for reason in told] == [False, True, True, False]
        assert "s1" in str(told[0])
        assert "s3" in str(told[3])
        store.publish(tenant, main, ONE)
        assert one(store, tenant, main, Condition("Id", "Eq", "a")).slug == "first"
        assert [each.id for each in store.sites(tenant)] == ["s1", "s3"]

    def test_so_is_a_site_of_another_environment(self, store: ContentStore, tenant: str, main: str) -> None:
        """Of entries and of assets."""
        other = made(store, tenant, "stage")
        written(store, tenant, main, [entry("a", "s1")])
        store.open(tenant, other, ONE)
        told = store.put_entries(tenant, other, ONE, [entry("a", "s1"), entry("a", "s2")])
        assert [reason is None for reason in told] == [False, True]
        assert store.put_assets(tenant, other, ONE, [asset("x", "s1"), asset("x", "s2")])[0] is not None
        store.publish(tenant, other, ONE)
        assert [each.site_id for each in page(store, tenant, other)] == ["s2"]
        found = store.site(tenant, "s2")
        assert found is not None
        assert found.environment_id == other

    def test_a_site_is_free_again_when_it_was_taken_back(self, store: ContentStore, tenant: str, main: str) -> None:
        """Another environment can have it."""
        other = made(store, tenant, "stage")
        store.open(tenant, main, ONE)
        store.put_entries(tenant, main, ONE, [entry("a", "s1")])
        store.abandon(tenant, ONE)
        written(store, tenant, other, [entry("a", "s1")])
        assert ids(store, tenant, other) == ["a"]

    def test_sites_and_models_are_made_as_entries_name_them(self, store: ContentStore, tenant: str, main: str) -> None:
        """They get their aliases when they are made; models are found by id and alias, and grow."""
        batch = [
            entry("a", "s1", "m1", site_alias="blog", model_alias="post", content={"title": 1, "body": 2}),
            entry("b", "s1", "post", content={"title": 1, "tags": 3}),
            entry("c", "s2", "m2"),
        ]
        written(store, tenant, main, batch)
        written(store, tenant, main, [entry("d", "s1", "m1", site_alias="x", model_alias="y", content={"more": 1})])
        assert [(each.id, each.alias) for each in store.sites(tenant)] == [("s1", "blog"), ("s2", "s2")]
        assert [(each.id, each.alias) for each in store.models(tenant)] == [("m2", "m2"), ("m1", "post")]
        fields = [each["alias"] for each in store.models(tenant)[1].fields]
        assert fields == ["title", "body", "tags", "more"]
        assert [each.model_id for each in page(store, tenant, main)] == ["m1", "m1", "m2", "m1"]

    def test_aliases_stay_unique(self, store: ContentStore, tenant: str, main: str) -> None:
        """Whatever aliases are asked for."""
        batch = [entry(id, f"s{id}", f"m{id}", site_alias="blog", model_alias="post") for id in "abc"]
        written(store, tenant, main, [*batch, entry("d", "blog", "md")])
        for found in (store.sites(tenant), store.models(tenant)):
            assert len({each.alias for each in found}) == len(found) == 4

    def test_an_asset_takes_the_place_of_the_one_with_its_path(
        self, store: ContentStore, tenant: str, main: str
    ) -> None:
        """And keeps its id; they are told by site and path."""
        first = [asset("a/1"), asset("a/1", "s2"), asset("b")]
        store.open(tenant, main, ONE)
        assert list(store.put_assets(tenant, main, ONE, first)) == [None] * 3
        store.put_assets(tenant, main, ONE, first)
        store.publish(tenant, main, ONE)
        assert list(store.assets(tenant, main, site_id=None, offset=0, limit=9).items) == [first[0], first[2], first[1]]
        store.open(tenant, main, ONE)
        store.put_assets(tenant, main, ONE, [asset("a/1", id="new", size=2**40, sha256="1" * 64)])
        store.publish(tenant, main, ONE)
        found = store.assets(tenant, main, site_id="s1", offset=0, limit=1)
        assert found.total == 2
        assert list(found.items) == [asset("a/1", size=2**40, sha256="1" * 64)]
        assert store.assets(tenant, main, site_id="s9", offset=0, limit=9).total == 0
        assert list(store.assets(tenant, main, site_id=None, offset=2, limit=9).items) == [first[1]]

    def test_the_files_of_assets_are_known(self, store: ContentStore, tenant: str, main: str) -> None:
        """Those that are being written too, and those that readers see until then; of the organisation only."""
        written(store, tenant, main, [entry("e")], [asset("a"), asset("b", key="assets/a"), asset("c")])
        assert store.asset_file(tenant, "assets/a") == "assets/a"
        store.open(tenant, main, OTHER)
        store.put_assets(tenant, main, OTHER, [asset("a", key="assets/new"), asset("b", key="assets/new")])
        for begin, key in (("assets/a", "assets/a"), ("assets/n", "assets/new"), ("assets/c", "assets/c")):
            assert store.asset_file(tenant, begin) == key
            assert store.asset_file(f"{tenant}x", begin) is None
        store.abandon(tenant, OTHER)
        assert store.asset_file(tenant, "assets/new") is None
        assert store.asset_file(tenant, "assets/a") == "assets/a"

    def test_entries_are_told_by_pages_the_last_updated_first(
        self, store: ContentStore, tenant: str, main: str
    ) -> None:
        """Those of one moment by id."""
        at = {"a": 1, "b": 3, "c": 3, "d": 2}
        written(store, tenant, main, [entry(id, updated_at=THEN + timedelta(milliseconds=n)) for id, n in at.items()])
        pages = [store.entries(tenant, main, EVERYTHING, offset=offset, limit=2) for offset in (0, 2, 4)]
        assert [[each.id for each in page.items] for page in pages] == [["b", "c"], ["d", "a"], []]
        assert {page.total for page in pages} == {4}

    def test_organisations_do_not_meet(self, store: ContentStore, tenant: str, main: str) -> None:
        """Ids of one are unknown to another."""
        other = f"{tenant}-other"
        store.ready(other)
        written(store, tenant, main, [entry("a")])
        own = store.environment(other, None)
        assert own is not None
        written(store, other, own.id, [entry("a", "s1", slug="other")])
        assert one(store, tenant, main).slug is None
        assert [*store.sites(other, main), *store.models(other, main)] == []
        assert store.environment(other, main) is None
        store.open(tenant, main, ONE)
        store.abandon(other, ONE)
        store.put_entries(tenant, main, ONE, [entry("b")])
        for call in (*reads(store, other, main), *writes(store, other, main, ONE)):
            with pytest.raises(NotFound):
                call()
        with pytest.raises(NotFound):
            store.own(other, main, 1)
        store.publish(tenant, main, ONE)
        assert ids(store, tenant, main) == ["a", "b"]

    def test_what_is_not_there_is_not_found(self, store: ContentStore, tenant: str) -> None:
        """By any method."""
        for call in (*reads(store, tenant, "env_none"), *writes(store, tenant, "env_none", ONE)):
            with pytest.raises(NotFound):
                call()
        assert [*store.sites(tenant, "env_none"), *store.models(tenant, "env_none")] == []
        assert store.site(tenant, "none") is None
