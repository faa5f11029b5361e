"""Filters of entries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gnj.content.filters import Condition, EntryFilter
from gnj.content.store import ContentStore
from gnj.testing.contracts.content_support import (
    ODD,
    OTHER,
    THEN,
    ContentContract,
    entry,
    having,
    ids,
    meets,
    of_key,
    written,
)


class ContentFilters(ContentContract):
    """What meets a filter, by reading and by scanning."""

    @pytest.mark.parametrize("key", ["Id", "SiteId", "ModelId", "Status", "Slug"])
    def test_texts_are_compared_as_they_are(self, store: ContentStore, tenant: str, main: str, key: str) -> None:
        """With case, and without wildcards; a missing one meets what `Condition` says."""
        texts = [
            "a",
            "A",
            "a%",
            "a_",
            "aXb",
            "%",
            "_",
            "*",
            "é",
            "É",
            "[a]",
            "a\\",
            "😀b",
            ODD,
            *["", None] * (key in ("Status", "Slug")),
        ]
        written(store, tenant, main, [having(key, text, n) for n, text in enumerate(texts)])
        asked = ["a", "A", "%", "_", "a%", "*", "[a]", "\\", "b", "é", "", "😀", ODD, "none"]
        conditions = [Condition(key, op, text) for op in ("Eq", "Ne", "StartsWith", "Contains") for text in asked]
        conditions += [Condition(key, op, tuple(asked[:n])) for op in ("In", "NotIn") for n in (0, 1, 5)]
        conditions += [Condition(key, "Exists", value) for value in (True, False)]
        snapshot = store.pin(tenant, main, OTHER)
        for condition in conditions:
            told = sorted(id for id, text in zip(of_key(key, texts), texts, strict=True) if meets(text, condition))
            filter = EntryFilter((condition,))
            assert ids(store, tenant, main, condition) == told, condition
            assert [each.id for each in store.scan(tenant, snapshot, filter, after=None, limit=99)] == told, condition

    @pytest.mark.parametrize("key", ["CreatedAt", "UpdatedAt", "PublishedAt"])
    def test_times_are_compared_by_the_millisecond(self, store: ContentStore, tenant: str, main: str, key: str) -> None:
        """By every operator."""
        name = {"CreatedAt": "created_at", "UpdatedAt": "updated_at", "PublishedAt": "published_at"}[key]
        times: list[Any] = [THEN + timedelta(milliseconds=n) for n in (-1, 0, 1)] + [None] * (key == "PublishedAt")
        written(store, tenant, main, [entry(f"{n}", **{name: time}) for n, time in enumerate(times)])
        for op in ("Eq", "Ne", "Gt", "Gte", "Lt", "Lte"):
            condition = Condition(key, op, THEN)
            told = [f"{n}" for n, time in enumerate(times) if meets(time, condition)]
            assert ids(store, tenant, main, condition) == told, condition

    def test_all_conditions_must_be_met(self, store: ContentStore, tenant: str, main: str) -> None:
        """Also two of one key."""
        written(
            store, tenant, main, [entry(id, site, status=id) for id, site in (("a", "s1"), ("b", "s1"), ("c", "s2"))]
        )
        here, there = Condition("SiteId", "Eq", "s1"), Condition("Status", "Ne", "a")
        assert ids(store, tenant, main, here, there) == ["b"]
        assert ids(store, tenant, main, here, Condition("SiteId", "Eq", "s2")) == []
