"""Filters: what a text means, and what it may not say."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.content.filters import EVERYTHING, KEYS, OPS, TYPES, Condition, EntryFilter, Sort, parse
from gnj.queue.errors import InvalidInput

NOON = datetime(2024, 5, 14, 12, tzinfo=UTC)


def conditions(value):
    return list(parse(json.dumps(value)).filter.conditions)


def of_system(**keys):
    return conditions({"system": keys})


def refusal(text):
    with pytest.raises(InvalidInput) as refused:
        parse(text if isinstance(text, str) else json.dumps(text))
    return str(refused.value)


def test_the_published_filter_of_a_delete_job():
    text = (
        '{"system":{"SiteId":{"In":["your_site_id"],"_t":"StringFilter"},'
        '"ModelId":{"In":["your_model_id"],"_t":"StringFilter"},"_t":"EntrySystemFilter"}}'
    )
    parsed = parse(text)
    assert parsed.filter.conditions == (
        Condition("SiteId", "In", ("your_site_id",)),
        Condition("ModelId", "In", ("your_model_id",)),
    )
    assert parsed.warnings == ()
    assert parse(text) == parsed


def test_the_published_filter_of_an_export_has_a_bracket_too_many_and_a_key_beside_system():
    parsed = parse(
        '{"system":{"_t":"StringFilter"},"ModelId":{"In":["your_model_id"],"_t":"StringFilter"},'
        '"_t":"EntrySystemFilter"}}'
    )
    assert parsed.filter == EntryFilter((Condition("ModelId", "In", ("your_model_id",)),))
    assert parsed.warnings == ("The filter has more closing brackets than it needs: they were ignored.",)


@pytest.mark.parametrize("text", [None, "", "  \n", "{}", "null", '{"system": {}}', '{"_t": "EntryFilter"}'])
def test_what_has_no_conditions_is_everything(text):
    assert parse(text).filter == EVERYTHING


def test_an_empty_list_of_what_is_not_wanted_says_nothing_and_one_of_what_is_wanted_says_nothing_is():
    assert of_system(SiteId={"NotIn": []}) == []
    assert of_system(SiteId={"In": []}) == [Condition("SiteId", "In", ())]


@pytest.mark.parametrize("key", [key for key, sort in KEYS.items() if sort is Sort.TEXT])
@pytest.mark.parametrize("op", OPS[Sort.TEXT])
def test_every_operator_of_every_key_that_is_a_text(key, op):
    value = {"In": ["a", "b"], "NotIn": ["a"], "Exists": False}.get(op, "%_a")
    kept = tuple(value) if isinstance(value, list) else value
    assert of_system(**{key: {op: value, "_t": "StringFilter"}}) == [Condition(key, op, kept)]


@pytest.mark.parametrize("key", [key for key, sort in KEYS.items() if sort is Sort.DATE])
@pytest.mark.parametrize("op", OPS[Sort.DATE])
def test_every_operator_of_every_key_that_is_a_date(key, op):
    assert of_system(**{key: {op: "2024-05-14T14:00:00.0009+02:00"}}) == [Condition(key, op, NOON)]


def test_all_that_is_asked_for_has_to_be_met():
    found = conditions(
        {"ModelId": {"Ne": "m"}, "system": {"ModelId": {"In": ["a"]}, "Slug": {"StartsWith": "x", "Exists": True}}}
    )
    assert found == [
        Condition("ModelId", "Ne", "m"),
        Condition("ModelId", "In", ("a",)),
        Condition("Slug", "StartsWith", "x"),
        Condition("Slug", "Exists", True),
    ]


_KEYS = "Id, SiteId, ModelId, Status, Slug, CreatedAt, UpdatedAt, PublishedAt"
_TEXTS = "Eq, Ne, In, NotIn, StartsWith, Contains, Exists"
_DATES = "Eq, Ne, Gt, Gte, Lt, Lte"


@pytest.mark.parametrize("discriminator", sorted(TYPES))
def test_any_known_discriminator_may_stand_anywhere(discriminator):
    told = {"_t": discriminator}
    assert conditions({"system": {"Id": {"Eq": "a", **told}, **told}, **told}) == [Condition("Id", "Eq", "a")]


@pytest.mark.parametrize(
    "value, told",
    [
        ({"system": {"Foo": {"Eq": "a"}}}, f"filter: unknown key system.Foo; there are {_KEYS}"),
        ({"system": {"siteId": {"Eq": "a"}}}, f"filter: unknown key system.siteId; there are {_KEYS}"),
        ({"System": {}}, "filter: unknown key System; there are system, ModelId"),
        ({"SiteId": {"Eq": "a"}}, "filter: unknown key SiteId; there are system, ModelId"),
        ({"content": {"title": {"Eq": "a"}}}, "filter: unknown key content; there are system, ModelId"),
        ({"system": {"Id": {"Like": "a"}}}, f"filter: unknown operator system.Id.Like; there are {_TEXTS}"),
        ({"system": {"CreatedAt": {"In": []}}}, f"filter: unknown operator system.CreatedAt.In; there are {_DATES}"),
        ({"system": {"Id": {"Gt": "a"}}}, f"filter: unknown operator system.Id.Gt; there are {_TEXTS}"),
        ({"ModelId": {"in": ["a"]}}, f"filter: unknown operator ModelId.in; there are {_TEXTS}"),
        ({"system": None}, "filter: system must be an object, not None"),
        ({"system": {"Id": None}}, "filter: system.Id must be an object, not None"),
        ({"system": {"Id": "a"}}, "filter: system.Id must be an object, not 'a'"),
        ([], "filter: it must be an object, not []"),
        (5, "filter: it must be an object, not 5.0"),
        ({"system": {"Id": {"Eq": None}}}, "filter: system.Id.Eq must be a string, not None"),
        ({"system": {"Id": {"Eq": 1}}}, "filter: system.Id.Eq must be a string, not 1.0"),
        ({"system": {"Id": {"In": "a"}}}, "filter: system.Id.In must be a list of strings, not 'a'"),
        ({"system": {"Id": {"In": ["a", 1]}}}, "filter: system.Id.In[1] must be a string, not 1.0"),
        ({"system": {"Id": {"NotIn": None}}}, "filter: system.Id.NotIn must be a list of strings, not None"),
        ({"system": {"Id": {"In": ["a"] * 1_001}}}, "filter: system.Id.In must have at most 1,000 items, not 1,001"),
        ({"system": {"Id": {"Exists": 1}}}, "filter: system.Id.Exists must be true or false, not 1.0"),
        ({"system": {"Id": {"StartsWith": ""}}}, "filter: system.Id.StartsWith must not be empty"),
        ({"system": {"Id": {"Contains": ""}}}, "filter: system.Id.Contains must not be empty"),
        ({"system": {"Id": {"Eq": "\0"}}}, "filter: system.Id.Eq must not hold a NUL character"),
        ({"system": {"Id": {"Eq": "\ud800"}}}, "filter: system.Id.Eq must not hold a surrogate without its other half"),
    ],
)
def test_what_it_may_not_say(value, told):
    assert refusal(value) == told


@pytest.mark.parametrize(
    "value", ["2024-05-14", "2024-05-14T12:00:00", "2024-02-30T12:00:00Z", "1969-12-31T00:00:00Z", 5]
)
def test_dates_are_of_rfc_3339(value):
    assert refusal({"system": {"CreatedAt": {"Gt": value}}}).startswith("filter: system.CreatedAt.Gt must ")


@pytest.mark.parametrize("told", [None, 5, "Filter", ["StringFilter"]])
def test_a_discriminator_that_nobody_knows(told):
    assert refusal({"system": {"Id": {"_t": told}}}).startswith("filter: system.Id._t must be one of DateFilter, ")


@pytest.mark.parametrize(
    "text, told",
    [
        ("{", "filter must be JSON: Expecting property name"),
        ("nonsense", "filter must be JSON: Expecting value"),
        ("{} x", "filter: after the JSON value stands 'x'"),
        ("{}}{}", "filter: after the JSON value stands '}{}'"),
        ('{"system": NaN}', "filter: NaN is not JSON"),
        ("[" * 60_000, "filter: it is nested too deeply"),
        (" " * 65_537, "filter must have at most 65,536 characters, not 65,537"),
        ('{"system": {"Id": {"Eq": "a"}}, "system": {}}', "filter: the key 'system' is there twice in one object"),
        ('{"system": {"Id": {"In": ["a"], "In": []}}}', "filter: the key 'In' is there twice in one object"),
        ('{"\\ud800": 1}', "filter: unknown key ?; there are system, ModelId"),
        ("9" * 60_000, "filter: it must be an object, not inf"),
    ],
)
def test_a_text_that_is_no_filter(text, told):
    assert refusal(text).startswith(told)


@pytest.mark.parametrize("rest", ["}", "]", "}}]\n} "])
def test_closing_brackets_at_the_end_are_passed_over(rest):
    parsed = parse('{"ModelId": {"Eq": "m"}}' + rest)
    assert parsed.filter.conditions == (Condition("ModelId", "Eq", "m"),)
    assert len(parsed.warnings) == 1


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text()), st.datetimes().map(str)
)
_NAMES = st.one_of(
    st.sampled_from(["system", "_t", "ModelId", "StringFilter", *KEYS, *(op for ops in OPS.values() for op in ops)]),
    st.text(),
)
_TREES = st.recursive(_VALUES, lambda inner: st.dictionaries(_NAMES, inner), max_leaves=12)


@given(st.one_of(st.text(), st.tuples(_TREES.map(json.dumps), st.sampled_from(["", "}", " ]}", "x"])).map("".join)))
def test_whatever_the_text_is_it_is_a_filter_or_refused(text):
    try:
        parsed = parse(text)
    except InvalidInput as refused:
        str(refused).encode()
    else:
        assert parse(text) == parsed
        for condition in parsed.filter.conditions:
            assert condition.op in OPS[KEYS[condition.key]]
