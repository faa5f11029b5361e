"""Entries in files: what is one, what is wrong with one, and that they come back as they were."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.content import entries
from gnj.content.model import Entry, NewEntry
from gnj.queue.errors import InvalidInput

LEAST: dict[str, Any] = {"id": "e1", "system": {"siteId": "s1", "modelId": "article"}}


def test_the_least_and_the_most_that_an_entry_has():
    assert entries.read(LEAST) == NewEntry(id="e1", site_id="s1", model_id="article")
    system = {
        "siteId": "s1",
        "modelId": "article",
        "environmentId": "stage",
        "siteAlias": "blog",
        "modelAlias": "art",
        "status": "PUBLISHED",
        "slug": "",
        "labels": ["b", "a", "b"],
        "createdAt": "2024-01-31T12:00:00+01:00",
        "updatedAt": "2024-01-31T12:00:00.1239Z",
        "publishedAt": None,
        "author": {"name": "Ann"},
        "version": 3,
    }
    assert entries.read({"id": "e1", "system": system, "content": {"title": "T"}, "attrs": {"x": [1]}}) == NewEntry(
        id="e1",
        site_id="s1",
        model_id="article",
        environment="stage",
        site_alias="blog",
        model_alias="art",
        status="PUBLISHED",
        slug="",
        labels=("b", "a"),
        created_at=datetime(2024, 1, 31, 11, tzinfo=UTC),
        updated_at=datetime(2024, 1, 31, 12, microsecond=123_000, tzinfo=UTC),
        system={"author": {"name": "Ann"}, "version": 3},
        content={"title": "T"},
        attrs={"x": [1]},
    )


def with_system(**values):
    return {**LEAST, "system": {**LEAST["system"], **values}}


@pytest.mark.parametrize(
    "value, told",
    [
        (5, "an entry must be an object, not 5"),
        ([LEAST], "an entry must be an object, not "),
        ({"system": LEAST["system"]}, "id is missing"),
        ({**LEAST, "id": None}, "id is missing"),
        ({**LEAST, "id": 5}, "id must be a string, not 5"),
        ({**LEAST, "id": ""}, "id must not be empty"),
        ({**LEAST, "id": "x" * 201}, "id must have at most 200 characters, not 201"),
        ({**LEAST, "id": "a\nb"}, "id must not hold control characters"),
        ({"id": "e1"}, "system.siteId is missing"),
        ({"id": "e1", "system": []}, "system must be an object, not []"),
        ({"id": "e1", "system": {"siteId": "s1"}}, "system.modelId is missing"),
        (with_system(siteId=["s1"]), "system.siteId must be a string, not ['s1']"),
        (with_system(status=1), "system.status must be a string, not 1"),
        (with_system(slug="x" * 201), "system.slug must have at most 200 characters, not 201"),
        (with_system(labels="a"), "system.labels must be a list of texts, not 'a'"),
        (with_system(labels=["a", 1]), "a text of system.labels must be a string, not 1"),
        (with_system(labels=[""]), "a text of system.labels must not be empty"),
        (with_system(labels=["a"] * 1_001), "system.labels must have at most 1,000 texts, not 1,001"),
        (with_system(createdAt="2024-01-31"), "system.createdAt must be a date and time as "),
        (with_system(updatedAt="2024-01-31T12:00:00"), "system.updatedAt must be a date and time as "),
        (with_system(publishedAt=1), "system.publishedAt must be a date and time as "),
        ({**LEAST, "content": "text"}, "content must be an object, not 'text'"),
        ({**LEAST, "attrs": []}, "attrs must be an object, not []"),
        ({**LEAST, "fields": {}}, "unknown key 'fields'; an entry has id, system, content, attrs"),
    ],
)
def test_what_is_wrong_is_named(value, told):
    with pytest.raises(InvalidInput) as refused:
        entries.read(value)
    assert str(refused.value).startswith(told)


WORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, categories=["L", "N", "P"]), min_size=1, max_size=9
)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
OBJECTS = st.dictionaries(WORDS, st.integers() | WORDS | st.lists(st.none()), max_size=3)


@given(
    st.builds(
        Entry,
        id=WORDS,
        site_id=WORDS,
        model_id=WORDS,
        status=st.none() | WORDS,
        slug=st.none() | WORDS,
        labels=st.lists(WORDS, unique=True, max_size=3).map(tuple),
        created_at=TIMES,
        updated_at=TIMES,
        published_at=st.none() | TIMES,
        system=OBJECTS,
        content=OBJECTS,
        attrs=OBJECTS,
    )
)
def test_what_is_written_is_read_as_it_was(entry):
    read = entries.read(entries.write(entry))
    assert read == NewEntry(**{name: getattr(entry, name) for name in Entry.__slots__})
