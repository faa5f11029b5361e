"""Mappings: paths, choices, what a rule may be, and what becomes of a record."""

from __future__ import annotations

import threading
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.queue import deadline
from gnj.queue.errors import TimedOut
from gnj.transform.errors import BadMapping, BadTransform, RecordRejected
from gnj.transform.mapping import Mapping, Rule, compile_mapping, patterns, rules
from gnj.transform.mapping.paths import EACH, MAX_PATH, MAX_STEPS, Constant, parse_path, written

PRODUCT: dict[str, Any] = {
    "product": {
        "title": "Gaming Laptop",
        "variants": [
            {"price": "999.99", "inventory_quantity": 5, "sizes": ["S", None, "M"]},
            {"price": None, "sizes": None},
            {"price": "899.00", "sizes": ["L"]},
        ],
        "images": ["https://example.com/image1.jpg", "https://example.com/image2.jpg"],
    },
    "price.amount": 5,
    "price": {"amount": 6, "currency:code": "EUR"},
    "null.key": None,
    "null": {"key": 1},
    "a name": {"b c": [[1, 2], [3]]},
    "Item No.": "A-1",
    "Price [EUR]": "9,50",
    "a.b": {"c[0]": [None, {"d": 7}]},
    r"back\slash": {r"\e": 8},
    r"back\.slash": 9,
    r"whole\.key": 10,
    "whole.key": 11,
}


def rule(source, target="x", **more):
    return {"sourceField": source, "targetField": target, **more}


def mapped(record, source, **more):
    return compile_mapping([rule(source, **more)]).apply(record)["x"]


def refusal(given, error=BadMapping):
    with pytest.raises(error) as refused:
        compile_mapping(given)
    return str(refused.value)


@pytest.mark.parametrize(
    "path, value",
    [
        ("product.title", "Gaming Laptop"),
        ("product.variants[0].price", "999.99"),
        ("product.images[0]", "https://example.com/image1.jpg"),
        ("product.images[*]", ["https://example.com/image1.jpg", "https://example.com/image2.jpg"]),
        ("product.variants[*].price", ["999.99", "899.00"]),
        ("product.variants[*].sizes", [["S", None, "M"], ["L"]]),
        ("product.variants[*].sizes[*]", ["S", "M", "L"]),
        ("product.variants[*].sizes[0]", ["S", "L"]),
        ("product.variants[9].price", None),
        ("product.nothing.price", None),
        ("product.title.price", None),
        ("product.title[0]", None),
        ("product.title[*]", None),
        ("product[0]", None),
        ("product[*]", None),
        ("product.images.src", None),
        ("product.images[*].src", []),
        ("nothing", None),
        ("nothing[*].src", None),
        ("price.amount", 5),
        ("price.currency:code", "EUR"),
        ("null.key", None),
        ("a name.b c[0][1]", 2),
        ("a name.b c[*][0]", [1, 3]),
        ("a name.b c[*][*]", [1, 2, 3]),
        ("'TRUE'", "TRUE"),
        ('"it\'s"', "it's"),
        (r"'it\'s \d'", r"it's \d"),
        ("''", ""),
        ("'product'", "product"),
        (r"Item No\.", "A-1"),
        (r"Price \[EUR\]", "9,50"),
        (r"a\.b.c\[0\][1].d", 7),
        (r"back\slash.\e", 8),
        (r"back\\.slash", 9),
        (r"whole\.key", 10),
        (r"Item No\.x", None),
    ],
)
def test_where_a_path_leads(path, value):
    assert mapped(PRODUCT, path) == value


@pytest.mark.parametrize(
    "path, told",
    [
        ("", "sourceField must not be empty"),
        (".", "must have a name at character 0, not '.'"),
        ("a.", "must have a name at character 2, not the end"),
        ("a..b", "must have a name at character 2"),
        ("[0].a", "must have a name at character 0, not '['"),
        ("a.[0]", "must have a name at character 2"),
        ("a[0]b", "must have a dot, or an index such as [0] or [*], at character 4, not 'b'"),
        ("a[-1]", "at character 1, not '['"),
        ("a[x]", "at character 1"),
        ("a[0", "at character 1"),
        ("a]", "at character 1, not ']' (where . [ ] belong to a name, each has a backslash before it)"),
        ("Price [EUR]", "at character 6, not '['"),
        ("Item No.", "must have a name at character 8, not the end"),
        (r"a\[0].b", "at character 4, not ']'"),
        (r"a\..", "must have a name at character 4, not the end"),
        ("a[1234567890]", "at character 1"),
        ("'a", "must end with it"),
        ("'a'b", "must end with it"),
        ("a" * (MAX_PATH + 1), "at most 1,000 characters"),
        (".".join("a" * (MAX_STEPS + 1)), "at most 50 names and brackets"),
    ],
)
def test_a_path_that_is_none_is_refused_where_it_goes_wrong(path, told):
    message = refusal([rule("a", "ok"), rule(path)])
    assert message.startswith("mapping[1].sourceField")
    assert told in message


PATHS = st.lists(st.text("ab .[]'*0\\", min_size=1, max_size=6), max_size=4).map("".join)
TREES = st.recursive(
    st.none() | st.integers() | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", " a", "a.b"]), inner),
    max_leaves=8,
)


@given(PATHS, st.dictionaries(st.sampled_from(["a", "b", "a.b", "a[0]"]), TREES))
@settings(max_examples=100)
def test_a_path_is_refused_or_leads_to_what_a_plain_walk_finds(path, record):
    try:
        steps = parse_path(path)
    except BadMapping:
        return
    if isinstance(steps, Constant):
        expected = steps.text
    elif path in record:
        expected = record[path]
    else:
        expected = walked(record, steps)
    assert mapped(record, path) == expected


def walked(value, steps):
    """What the documentation says of paths, step by step."""
    for place, step in enumerate(steps):
        if step is EACH:
            if not isinstance(value, list):
                return None
            rest = steps[place + 1 :]
            found = [walked(item, rest) for item in value]
            found = [item for item in found if item is not None]
            return [item for each in found for item in each] if EACH in rest else found
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return value


@given(st.text("ab.[]\\ '", min_size=1, max_size=8))
@settings(max_examples=100)
def test_any_name_that_no_backslash_ends_has_a_path(name):
    path = written(name)
    if name.endswith("\\"):
        assert path is None
    else:
        assert path is not None
        assert parse_path(f"x.{path}[0].y") == ("x", name, 0, "y")
        assert mapped({"x": {name: 5}}, f"x.{path}") == 5


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_records_of_any_kind_of_mapping_are_read(kind):
    record = kind({"a": kind({"b": (1, None, 2)})})
    mapping = compile_mapping([rule("a.b[*]"), rule("a.b[0]", "y"), rule("a.b", "z", transform="join('-')")])
    assert mapping.apply(record) == {"x": [1, 2], "y": 1, "z": "1-2"}


STATUS = {"active": ["in_stock", "available", "1", True], "inactive": ["out_of_stock", 0, "available"]}


@pytest.mark.parametrize(
    "value, choices, chosen",
    [
        ("available", STATUS, "active"),
        (1, STATUS, "active"),
        (1.0, STATUS, "active"),
        (True, STATUS, "active"),
        ("0", STATUS, "inactive"),
        ("In_stock", STATUS, None),
        ("in", STATUS, None),
        ("", STATUS, None),
        (None, STATUS, None),
        ("thing", {**STATUS, "other": [""]}, "other"),
        (None, {**STATUS, "other": [""]}, "other"),
        ("", {**STATUS, "other": [""]}, "other"),
        (["a", 1], {"list": ['["a",1]']}, "list"),
    ],
)
def test_choices_stand_for_what_equals_one_of_their_texts(value, choices, chosen):
    assert mapped({"v": value}, "v", choices=choices) == chosen


def test_choices_look_at_what_the_transform_gave():
    record = {"category": " Tech ", "attributes": ["Mobile", "X"]}
    assert (
        mapped(record, "category", transform="trim().toLowerCase()", choices={"electronics": ["tech"]}) == "electronics"
    )
    assert (
        mapped(record, "attributes", transform="join(', ').toLowerCase()", choices={"phone": ["mobile, x"]}) == "phone"
    )


def test_a_mapping_gives_each_target_in_the_order_of_the_rules():
    given = [
        rule("product.title", "name", confidence=0.9),
        rule("product.variants[0].inventory_quantity", "in.stock", transform="value > 0"),
        rule("'EUR'", "currency", transform=None, choices=None),
        rule("gone", "gone", transform="trim()"),
        rule("product.images", "images"),
    ]
    mapping = compile_mapping(given)
    fields = mapping.apply(PRODUCT)
    assert list(fields.items()) == [
        ("name", "Gaming Laptop"),
        ("in.stock", True),
        ("currency", "EUR"),
        ("gone", None),
        ("images", PRODUCT["product"]["images"]),
    ]
    assert mapping.wire() == given
    assert mapping.rules[0] == Rule(source_field="product.title", target_field="name", confidence=0.9)
    assert mapping.rules[1].transform == "value > 0"
    assert compile_mapping(mapping.wire()).rules == mapping.rules
    assert repr(mapping) == "Mapping(5 rules)"


def test_a_mapping_without_rules_maps_nothing():
    assert compile_mapping([]).apply(PRODUCT) == {}


@pytest.mark.parametrize(
    "given, told",
    [
        (None, "mapping must be a list of rules"),
        ({"name": "title"}, "mapping must be a list of rules"),
        ("[]", "mapping must be a list of rules"),
        (["a"], "mapping[0] must be a rule such as"),
        ([rule("a"), {"sourceField": "b"}], "mapping[1] must have a targetField"),
        ([{"targetField": "b"}], "mapping[0] must have a sourceField"),
        ([rule(5)], "mapping[0].sourceField must be a string, not 5"),
        ([rule("a", "")], "mapping[0].targetField must not be empty"),
        ([rule("a", "x" * 501)], "mapping[0].targetField must have at most 500 characters"),
        ([rule("a", transform=5)], "mapping[0].transform must be a string, not 5"),
        ([rule("a", tranform="trim()")], "mapping[0] has no field 'tranform'; a rule has sourceField, targetField"),
        ([rule("a"), rule("b", "y"), rule("c")], "mapping[2].targetField: 'x' already gets its value from mapping[0]"),
        ([rule("a", choices=["a"])], 'mapping[0].choices must be an object such as {"Available"'),
        ([rule("a", choices={})], "mapping[0].choices must be an object"),
        ([rule("a", choices={"k": "v"})], "mapping[0].choices: 'k' must have a list of texts, not 'v'"),
        ([rule("a", choices={"k": ["v", None]})], "mapping[0].choices: 'k'[1] must be a text"),
        ([rule("a", choices={"k": [[]]})], "mapping[0].choices: 'k'[0] must be a text"),
        ([rule("a", choices={"k": ["v"] * 10_001})], "at most 10,000 values"),
        ([rule("a", confidence=2)], "mapping[0].confidence must be a number from 0 to 1"),
        ([rule("a", confidence=True)], "mapping[0].confidence must be a number from 0 to 1"),
        ([rule("a", str(n)) for n in range(1_001)], "mapping must have at most 1,000 rules"),
        ([rule("a\0")], "NUL"),
        ([rule("a", choices={"k": [float("nan")]})], "NaN"),
        ([rule("'" + "a" * rules.MAX_BYTES + "'")], "bytes as JSON"),
        ([rule("a", str(n), transform=".".join(["trim()"] * 100)) for n in range(51)], "at most 5,000 calls"),
        ([rule("a", str(n), transform="match('a')") for n in range(101)], "at most 100 calls of match"),
    ],
)
def test_what_is_no_mapping_is_refused_by_rule_and_field(given, told):
    assert told in refusal(given)


def test_a_refused_transform_tells_its_rule_and_position():
    with pytest.raises(BadTransform) as refused:
        compile_mapping([rule("a", "ok"), rule("b", transform="trim().shout()")])
    assert str(refused.value).startswith("mapping[1].transform: there is no function shout (character 7); there are: ")
    assert refused.value.extensions == {"rule": 1, "position": 7}
    assert "mapping[0].transform: it is empty" in refusal([rule("a", transform="")], BadTransform)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
LIKE_RULES = st.lists(
    st.fixed_dictionaries(
        {"sourceField": JSON | st.just("a"), "targetField": JSON | st.just("b")},
        optional={"transform": JSON | st.just("trim()"), "choices": JSON, "confidence": JSON},
    ),
    max_size=2,
)


@given(JSON | LIKE_RULES)
@settings(max_examples=100)
def test_anything_is_a_mapping_or_refused(given):
    try:
        mapping = compile_mapping(given)
    except (BadMapping, BadTransform):
        return
    assert isinstance(mapping, Mapping)
    assert set(mapping.apply({"a": " x "})) == {each.target_field for each in mapping.rules}


def test_each_field_at_fault_is_a_reason_to_reject_the_record(monkeypatch):
    monkeypatch.setattr(patterns, "MATCH_SECONDS", 0.05)
    grow = ".".join(["replace('a', 'aaaaaaaaaa')"] * 9)
    slow = "match('(?:a|b|ab|ba)*c$')"
    mapping = compile_mapping([rule("a", "p", transform=grow), rule("b", "q", transform=slow), rule("c", "r")])
    with pytest.raises(RecordRejected) as rejected:
        mapping.apply({"a": "a", "b": "ab" * 500 + "cd", "c": 1})
    assert [reason.partition(":")[0] for reason in rejected.value.reasons] == ["p", "q"]
    assert mapping.apply({"a": "b", "b": "abc", "c": 1}) == {"p": "b", "q": "abc", "r": 1}


def test_what_is_made_for_a_record_is_bounded_in_all(monkeypatch):
    monkeypatch.setattr(rules, "MAX_MADE", 100_000)
    texts = compile_mapping([rule("a", str(n), transform="toUpperCase()") for n in range(10)])
    lists = compile_mapping([rule("b.c[*]", str(n)) for n in range(10)])
    for mapping in (texts, lists):
        assert len(mapping.apply({"a": "a" * 9_999, "b": {"c": [1] * 9_999}})) == 10
        with pytest.raises(RecordRejected, match="more than 100,000 characters and elements"):
            mapping.apply({"a": "a" * 10_001, "b": {"c": [1] * 10_001}})


def test_threads_share_a_mapping_and_not_its_time():
    mapping = compile_mapping([rule("a", transform="match('a+')")])
    mapping._spent.seconds = 100.0
    seen = []
    thread = threading.Thread(target=lambda: seen.append(mapping._spent.seconds))
    thread.start()
    thread.join()
    assert seen == [0.0]
    assert mapping.apply({"a": "baa"}) == {"x": "aa"}


def test_nothing_of_a_mapping_is_evaluated_or_formatted():
    for text in ("{{7*7}}", "{0.__class__}", "__import__('os')", "${HOME}", "%s"):
        assert mapped({"a": text}, "a", transform="trim()") == text
        assert mapped({}, f'"{text}"') == text
    assert mapped({"a": "x"}, "a.__class__") is None
    assert "there is no function __import__" in refusal([rule("a", transform="__import__('os')")], BadTransform)


def test_the_first_of_choices_is_kept_by_storages_that_keep_no_order():
    choices = {"zebra": ["x", 1], "a": ["x", "1", "y", ""], "b": ["", "z"]}
    compiled = compile_mapping([{"sourceField": "s", "targetField": "t", "choices": choices}])
    (stored,) = compiled.wire()
    assert stored["choices"] == {"zebra": ["x", 1], "a": ["y", ""], "b": ["z"]}
    again = compile_mapping([{**stored, "choices": dict(sorted(stored["choices"].items()))}])
    for value in ("x", 1, "y", "z", "none", None):
        assert compiled.apply({"s": value}) == again.apply({"s": value})
    assert choices["b"] == ["", "z"]


@pytest.mark.parametrize(
    "transform",
    [
        "toUpperCase().slice(0, 1)",
        "slice(0, 1)" + ".replace('x', 'xxxxxxxxxxxxxxxx')" * 5 + ".slice(0, 1)",
        f"slice(0, 100).replace('x', '{'y' * 1_000}').slice(0, 1)",
        f"replace('x', '{'y' * 1_000}').slice(0, 1)",
    ],
)
def test_the_work_on_long_texts_is_bounded(transform, monkeypatch):
    monkeypatch.setattr(patterns, "MAX_WORK", 10_000_000)
    rules = [{"sourceField": "s", "targetField": f"t{n}", "transform": transform} for n in range(500)]
    with pytest.raises(RecordRejected, match="reads more than 10,000,000 characters") as rejected:
        compile_mapping(rules).apply({"s": "x" * 20 + "\xe9" * 30_000})
    assert len(rejected.value.reasons) == 1


@pytest.mark.parametrize("call", ["removeHTMLTags()", "capitalize()"])
def test_what_takes_long_for_each_character_counts_more(call, monkeypatch):
    def mapped(most):
        monkeypatch.setattr(patterns, "MAX_WORK", most)
        # As few calls of another function are not even counted.
        rules = [{"sourceField": "s", "targetField": "t", "transform": f"{call}." * 3 + "slice(0, 3)"}]
        return compile_mapping(rules).apply({"s": "&x" * 10_000})

    assert len(mapped(1_300_000)["t"]) == 4
    with pytest.raises(RecordRejected, match="reads more than 800,000 characters"):
        mapped(800_000)


def test_what_takes_long_is_counted_of_shorter_texts_too(monkeypatch):
    monkeypatch.setattr(patterns, "MAX_WORK", 1_000_000)
    calls = {name: [rule("s", str(n), transform=f"{name}()") for n in range(50)] for name in ("trim", "capitalize")}
    assert len(compile_mapping(calls["trim"]).apply({"s": "a " * 2_000})) == 50
    with pytest.raises(RecordRejected, match="reads more than 1,000,000 characters"):
        compile_mapping(calls["capitalize"]).apply({"s": "a " * 2_000})


@pytest.mark.parametrize("transform", ["trim()", "trim()" + ".trim()" * 40])
def test_a_record_takes_no_longer_than_the_request_that_waits_for_it(transform):
    mapping = compile_mapping([rule("s", "t", transform=transform), rule("s", "u", transform=transform)])
    with deadline.within(-1, 1), pytest.raises(TimedOut):
        mapping.apply({"s": "x" * 20_000})
    with deadline.within(60, 60):
        assert mapping.apply({"s": "x"}) == {"t": "x", "u": "x"}
    spent = patterns.Spent()
    with deadline.within(-1, 1), pytest.raises(TimedOut):
        spent.read(1)


def test_the_work_on_long_lists_is_bounded(monkeypatch):
    monkeypatch.setattr(patterns, "MAX_WORK", 10_000_000)
    rules = [{"sourceField": "s", "targetField": f"t{n}", "transform": "join('').slice(0, 1)"} for n in range(100)]
    with pytest.raises(RecordRejected, match="reads more than"):
        compile_mapping(rules).apply({"s": ["x"] * 50_000})


def test_the_choices_of_long_objects_are_work(monkeypatch):
    monkeypatch.setattr(patterns, "MAX_WORK", 1_000_000)
    rules = [{"sourceField": "s", "targetField": f"t{n}", "choices": {"a": ["b"]}} for n in range(100)]
    with pytest.raises(RecordRejected, match="reads more than"):
        compile_mapping(rules).apply({"s": {"a": "x" * 20_000}})


@pytest.mark.parametrize("more", [0, 100])
def test_each_record_is_read_anew(monkeypatch, more):
    monkeypatch.setattr(patterns, "MAX_WORK", 600_000)
    rules = [
        {"sourceField": "s", "targetField": "t", "transform": "trim().trim().slice(0, 0)"},
        {"sourceField": "o", "targetField": "u", "choices": {"a": ["b"], "c": [""]}},
        *({"sourceField": "n", "targetField": f"v{n}", "transform": "trim()"} for n in range(more)),
    ]
    compiled = compile_mapping(rules)
    for _ in range(5):
        made = compiled.apply({"s": "x" * 20_000, "o": ["x" * 20_000]})
        assert (made["t"], made["u"]) == ("x", "c")
