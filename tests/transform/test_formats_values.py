"""Types, defaults, choices, numbers and elements: what each value becomes, and what rejects its record."""

import math
from typing import Any

import pytest

from gnj.transform.errors import RecordRejected
from gnj.transform.formats import compile_format

MISSING: tuple[Any, ...] = (None, "", [])


def field(type, *attributes, **more):
    return compile_format({"X": {"type": type, "attributes": list(attributes)} | more})


def value(format, given):
    return format.convert({"X": given})["X"]


def reasons(format, record):
    with pytest.raises(RecordRejected) as rejected:
        format.convert(record)
    return list(rejected.value.reasons)


def reason(format, given):
    (only,) = reasons(format, {"X": given})
    return only


def same(one, other):
    """Equal, and of the same types: True is not 1, and 1 not 1.0."""
    return repr(one) == repr(other)


CONVERTED: dict[str, list[tuple[Any, Any]]] = {
    "string": [
        ("as it is ", "as it is "),
        (5, "5"),
        (1.5, "1.5"),
        (2.0, "2"),
        (-0.0, "0"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (True, "true"),
        (False, "false"),
        *((each, "") for each in MISSING),
    ],
    "number": [
        (5, 5),
        (1.5, 1.5),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        ("-9223372036854775808", -(2**63)),
        ("5", 5),
        ("1.50", 1.5),
        (" -1,234.5 ", -1234.5),
        ("+1,000,000", 1000000),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("0" * 60 + "7", 7),
        *((each, 0) for each in MISSING),
    ],
    "boolean": [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        (1.0, True),
        ("true", True),
        ("FALSE", False),
        (" Yes", True),
        ("no", False),
        ("1", True),
        ("0", False),
        *((each, False) for each in MISSING),
    ],
    "array": [
        ([1, "a", None], [1, "a", None]),
        ((1, 2), [1, 2]),
        ("a", ["a"]),
        (0, [0]),
        (False, [False]),
        ({"a": 1}, [{"a": 1}]),
        ([[]], [[]]),
        *((each, []) for each in MISSING),
    ],
}
REFUSED: dict[str, list[Any]] = {
    "string": [["a"], {"a": 1}, {}, math.nan, 2**63, 10**5000, b"a"],
    "number": ["five", "1.2.3", "12,34", "1_000", "0x10", "$5", "nan", "inf", "1e999", "-", ".", " ", "٣" * 101, "1" * 101, "1" * 20, True, False, [1], {}, {"a": 1}, math.nan, math.inf, -math.inf, 2 ** 63, -2 ** 63 - 1, 10 ** 5000],
    "boolean": ["on", "y", "2", " ", "true" * 10_000, 2, -1, 0.5, math.nan, 10**5000, [True], {}],
    "array": [b"a", {1, 2}],
}  # fmt: skip


@pytest.mark.parametrize("type", CONVERTED)
def test_values_become_of_the_type(type):
    plain, asked = field(type), field(type, "primary")
    for given, wanted in CONVERTED[type]:
        assert same(value(plain, given), wanted), given
        if given not in MISSING:
            assert same(value(asked, given), wanted), given


@pytest.mark.parametrize("type", REFUSED)
def test_what_cannot_be_of_the_type_rejects_the_record(type):
    plain, required = field(type), field(type, "required")
    for given in REFUSED[type]:
        assert reason(plain, given).startswith("X must be ")
        assert len(reason(plain, given)) < 200
        assert reason(required, given) == reason(plain, given)


def test_reasons_name_the_field_and_what_would_be_right():
    assert reason(field("number"), "five") == "X must be a number, not 'five'"
    assert reason(field("number"), 2**63) == f"X must be a number from {-(2**63)} to {2**63 - 1}, not {2**63}"
    assert reason(field("boolean"), "on") == "X must be true, false, 1, 0, yes or no, not 'on'"
    assert reason(field("string"), ["a"]) == "X must be a text, not the list ['a']"
    assert reason(field("string"), {"a": 1}) == "X must be a text, not the object {'a': 1}"


def test_a_record_has_the_fields_of_the_format_in_their_order():
    format = compile_format({name: {"type": type} for name, type in zip("abcd", CONVERTED, strict=True)})
    made = format.convert({"d": "x", "other": 1, "a": "y"})
    assert list(made.items()) == [("a", "y"), ("b", 0), ("c", False), ("d", ["x"])]


def test_defaults_are_not_shared():
    format = field("array")
    format.convert({})["X"].append("x")
    assert format.convert({}) == {"X": []}


def test_every_field_at_fault_is_told_in_the_order_of_the_format():
    format = compile_format(
        {
            "a": {"type": "array", "attributes": ["required"]},
            "b": {"type": "number"},
            "c": {"type": "string"},
            "d": {"type": "string", "attributes": ["url"]},
            "e": {"type": "boolean"},
            "f": {"type": "string"},
        }
    )
    assert reasons(format, {"b": "x", "c": ["y"], "d": "z", "e": True, "f": {}}) == [
        "a is required and has no value",
        "b must be a number, not 'x'",
        "c must be a text, not the list ['y']",
        "d must be a URL, such as https://example.com/page, not 'z'",
        "f must be a text, not the object {}",
    ]


@pytest.mark.parametrize("type", CONVERTED)
def test_required_and_primary_reject_missing_values_only(type):
    for given in MISSING:
        assert reason(field(type, "required"), given) == "X is required and has no value"
        if type != "array":
            assert reason(field(type, "primary"), given) == "X is primary and has no value"
    assert reasons(field(type, "required"), {}) == ["X is required and has no value"]


def test_nothing_is_not_missing():
    assert field("number", "required").convert({"X": 0}) == {"X": 0}
    assert field("boolean", "required").convert({"X": False}) == {"X": False}
    assert field("array", "required").convert({"X": 0}) == {"X": [0]}
    assert field("string", "required").convert({"X": 0}) == {"X": "0"}


@pytest.mark.parametrize(
    "attributes, given, wanted",
    [
        (["wholeNumber"], 1.9, 1),
        (["wholeNumber"], -1.5, -2),
        (["wholeNumber"], "2.7", 2),
        (["wholeNumber"], 3.0, 3),
        (["decimalNumber"], 2.675, 2.68),
        (["decimalNumber"], 1.005, 1.01),
        (["decimalNumber"], -2.675, -2.68),
        (["decimalNumber"], "3.14159", 3.14),
        (["decimalNumber"], 5, 5),
        (["decimalNumber"], 1e300, 1e300),
        (["decimalNumber"], 1e-300, 0.0),
        (["decimalNumber"], -0.004, 0.0),
        (["decimalNumber"], "-0.0", 0.0),
        (["decimalNumber"], -0.006, -0.01),
        (["decimalNumber", "wholeNumber"], 1.999, 1),
        (["positiveNumber"], 0.1, 0.1),
        (["positiveNumber"], None, 0),
        (["positiveNumber", "wholeNumber"], 1.5, 1),
        # They are about strings, and do nothing here.
        (["percentage", "currency", "date", "capitalized"], 0.5, 0.5),
    ],
)
def test_numbers_are_rounded(attributes, given, wanted):
    assert same(value(field("number", *attributes), given), wanted)


def test_numbers_that_break_a_rule():
    for given in (0, -1, "0", -0.5):
        assert reason(field("number", "positiveNumber"), given).startswith("X must be above 0, not ")
    assert reason(field("number", "positiveNumber", "wholeNumber"), 0.5) == "X must be above 0, not 0"
    assert reason(field("number", "wholeNumber"), 1e300).startswith("X must be a number from ")


def test_what_is_asked_of_numbers_does_nothing_to_others():
    given = "-1.239"
    assert value(field("string", "wholeNumber", "decimalNumber", "positiveNumber"), given) == given
    assert value(field("array", "email", "positiveNumber", "primary"), given) == [given]
    assert value(field("boolean", "email", "positiveNumber"), "no") is False


def test_choices_of_strings():
    format = field("string", choices=["New", 5, ""])
    assert value(format, "New") == "New"
    assert value(format, 5) == "5"
    assert value(format, None) == ""
    assert reason(format, "new") == "X must be one of ['New', '5'], not 'new'"
    assert reason(format, "New ").startswith("X must be one of")


def test_choices_are_written_as_values_are():
    format = field("string", "currency", choices=["usd", "Euro"])
    assert [value(format, each) for each in ("$", "EUR", None)] == ["USD", "EUR", ""]
    assert reason(format, "GBP") == "X must be one of ['USD', 'EUR'], not 'GBP'"


def test_choices_of_numbers_and_booleans():
    numbers = field("number", choices=[1, "2.5"])
    assert [value(numbers, each) for each in (1.0, "2.5", None)] == [1, 2.5, 0]
    assert reason(numbers, 0) == "X must be one of [1, 2.5], not 0"
    booleans = field("boolean", choices=["yes"])
    assert [value(booleans, each) for each in (1, None)] == [True, False]
    assert reason(booleans, "no") == "X must be one of [True], not False"


def test_choices_of_arrays_are_those_of_their_elements():
    format = field("array", choices=["red", 5])
    assert value(format, "red") == ["red"]
    assert value(format, ["red", "5", 5]) == ["red", "5", 5]
    assert value(format, []) == []
    assert reasons(format, {"X": ["red", "blue", {}, None]}) == [
        "X[1] must be one of ['red', '5'], not 'blue'",
        "X[2] must be one of ['red', '5'], not the object {}",
        "X[3] must be one of ['red', '5'], not None",
    ]


VARIANTS = {"Size": {"type": "string"}, "Stock": {"type": "number", "attributes": ["required", "wholeNumber"]}}


def test_elements_have_fields():
    format = field("array", fields=VARIANTS)
    assert value(format, [{"Size": 5, "Stock": "3.5", "x": 1}, {"Stock": 0}]) == [
        {"Size": "5", "Stock": 3},
        {"Size": "", "Stock": 0},
    ]
    assert value(format, {"Stock": 1}) == [{"Size": "", "Stock": 1}]
    assert value(format, None) == []


def test_elements_at_fault_are_told_by_their_places():
    format = field("array", fields=VARIANTS | {"Tags": {"type": "array", "fields": {"N": {"type": "number"}}}})
    given = [{"Stock": 1}, "S", {"Size": [1]}, None, {"Stock": 1, "Tags": [{}, {"N": "x"}]}]
    assert reasons(format, {"X": given}) == [
        "X[1] must be an object, not 'S'",
        "X[2].Size must be a text, not the list [1]",
        "X[2].Stock is required and has no value",
        "X[3] must be an object, not None",
        "X[4].Tags[1].N must be a number, not 'x'",
    ]


def test_reasons_are_not_without_end():
    told = reasons(field("array", fields=VARIANTS), {"X": [{}] * 10_000})
    assert len(told) == 101
    assert told[99:] == ["X[99].Stock is required and has no value", "and other fields are at fault"]


def test_elements_of_elements_that_are_objects_make_no_key():
    format = field("array", fields={"Id": {"type": "string", "attributes": ["primary"]}})
    assert format.primary == ()
    assert value(format, [{}]) == [{"Id": ""}]


def test_nesting_of_values_has_no_end_of_its_own():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert value(field("array"), deep) is deep
    for type in ("string", "number", "boolean"):
        assert reason(field(type), deep).startswith("X must be ")
    assert reason(field("array", fields=VARIANTS), deep).startswith("X[0] must be an object")
    while deep:
        deep = deep.pop()  # type: ignore[assignment]  # by hand: the interpreter would recurse


@pytest.fixture
def handled():
    calls: list[Any] = []

    def handler(given):
        if given == "bad":
            raise ValueError("no such image")
        if given == "down":
            raise ConnectionError
        calls.append(given)
        return [len(given)]

    return handler, calls


def test_handlers_do_what_the_host_registered(handled):
    handler, calls = handled
    definition = {
        "Text": {"type": "string", "attributes": ["embedText", "capitalized"]},
        "N": {"type": "number"},
        "Image": {"type": "string", "attributes": ["embedImage"]},
    }
    assert compile_format(definition).convert({"Text": "abc"}) == {"Text": "Abc", "N": 0, "Image": ""}
    format = compile_format(definition, handlers={"embedText": handler, "embedImage": handler})
    assert format.convert({"Text": "abc"}) == {"Text": [3], "N": 0, "Image": ""}
    assert calls == ["Abc"]
    assert reasons(format, {"Text": "abc", "N": "x"}) == ["N must be a number, not 'x'"]
    assert calls == ["Abc"]
    assert reasons(format, {"Image": "bad"}) == ["Image cannot be handled: no such image"]
    with pytest.raises(ConnectionError):
        format.convert({"Image": "down"})


def test_handlers_see_elements(handled):
    fields = {"Image": {"type": "string", "attributes": ["embedImage"]}}
    format = compile_format({"X": {"type": "array", "fields": fields}}, handlers={"embedImage": handled[0]})
    assert value(format, [{"Image": "a"}, {}]) == [{"Image": [1]}, {"Image": ""}]
    assert reason(format, [{"Image": "bad"}]) == "X[0].Image cannot be handled: no such image"


def test_keys_tell_records_apart():
    format = compile_format(
        {name: {"type": type, "attributes": ["primary"]} for name, type in (("a", "string"), ("b", "number"))}
    )
    given = [
        ("x", 1),
        ("x", 10),
        ("x1", 0.5),
        ('x",1', 1),
        ("X", 1),
        ("ä", 1),
        ("\ud800\0", 1),
        ("x" * 300, 1),
        ("x" * 301, 1),
    ]
    keys = [str(format.key(format.convert({"a": a, "b": b}))) for a, b in given]
    assert len(set(keys)) == len(given)
    assert keys[0] == '["x",1]'
    assert all(key.isascii() and key.isprintable() and len(key) <= 200 for key in keys)
    assert keys[-1].startswith("sha256:")
    assert format.key({"a": "x", "b": 1.0}) == format.key({"b": 1, "a": "x", "c": 5}) == keys[0]


def test_without_primary_fields_there_is_no_key():
    format = field("string")
    assert format.primary == ()
    assert format.key(format.convert({"X": "a"})) is None
