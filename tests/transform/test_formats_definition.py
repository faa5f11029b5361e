"""Target formats as they are given: what is taken, and what is refused with which words."""

import json

import pytest

from gnj.queue.errors import InvalidInput
from gnj.transform.errors import BadFormat
from gnj.transform.formats import Attribute, Field, FieldType, compile_format
from gnj.transform.formats.model import MAX_CHOICES, MAX_DEPTH, MAX_FIELD_NAME, MAX_FIELDS

PRODUCT = {
    "Title": {"type": "string", "description": "What it is called", "attributes": ["required", "capitalized"]},
    "Price": {"type": "number", "attributes": ["decimalNumber", "positiveNumber"]},
    "Condition": {"type": "string", "choices": ["New", "Used"]},
    "Sku": {"type": "string", "attributes": ["primary"]},
    "Variants": {"type": "array", "fields": {"Size": {"type": "string"}, "Stock": {"type": "number"}}},
}


def text(**more):
    return {"type": "string"} | more


def nested(levels):
    definition = {"A": text()}
    for _ in range(levels - 1):
        definition = {"A": {"type": "array", "fields": definition}}
    return definition


def refusal(definition):
    with pytest.raises(BadFormat) as refused:
        compile_format(definition)
    assert refused.value.code == "BAD_FORMAT"
    return str(refused.value)


def test_fields_are_what_was_given_in_its_order():
    made = compile_format(PRODUCT)
    assert [each.name for each in made.fields] == list(PRODUCT)
    assert made.fields[0] == Field(
        name="Title",
        type=FieldType.STRING,
        description="What it is called",
        attributes=(Attribute.REQUIRED, Attribute.CAPITALIZED),
    )
    assert made.fields[2].choices == ("New", "Used")
    assert [(each.name, each.type) for each in made.fields[4].fields] == [("Size", "string"), ("Stock", "number")]
    assert made.primary == ("Sku",)


def test_a_list_of_one_object_is_that_object():
    assert compile_format([PRODUCT]).wire() == compile_format(PRODUCT).wire() == PRODUCT


def test_the_wire_is_nobody_elses():
    given = json.loads(json.dumps(PRODUCT))
    made = compile_format(given)
    given["Title"]["attributes"].clear()
    made.wire().clear()
    assert made.wire() == PRODUCT


@pytest.mark.parametrize("type", FieldType)
def test_every_attribute_is_taken_with_every_type(type):
    for each in Attribute:
        assert compile_format({"A": {"type": type.value, "attributes": [each.value]}}).fields[0].attributes == (each,)


def test_what_says_nothing_is_taken_for_left_out():
    given = {"A": text(description="", choices=[], attributes=[], fields={}), "B": text(attributes=["url", "url"])}
    a, b = compile_format(given).fields
    assert a == Field(name="A", type=FieldType.STRING)
    assert b.attributes == (Attribute.URL,)


@pytest.mark.parametrize(
    "definition, words",
    [
        (None, "targetFormat must be an object of fields by their names, not None"),
        ("{}", "targetFormat must be an object of fields by their names, not '{}'"),
        ({}, "targetFormat must have at least one field"),
        ([], "targetFormat must be one object of fields, or a list of one, not a list of 0"),
        ([PRODUCT, PRODUCT], "targetFormat must be one object of fields, or a list of one, not a list of 2"),
        ([[PRODUCT]], "targetFormat must be an object of fields by their names"),
        ([{}], "targetFormat must have at least one field"),
        ({"A": "string"}, """targetFormat.A must be an object such as {"type": "string"}, not 'string'"""),
        ({"A": {}}, "targetFormat.A.type is missing; it is one of string, number, boolean, array"),
        ({"A": {"type": "integer"}}, "targetFormat.A.type must be one of string, number, boolean, array, not 'integer'"),
        ({"A": {"type": ["string"]}}, "targetFormat.A.type must be one of string, number, boolean, array, not ['string']"),
        (
            {"A": text(default="x")},
            "targetFormat.A has an unknown key 'default'; a field has type, description, choices, attributes, fields",
        ),
        ({"A": text(attributes="required")}, "targetFormat.A.attributes must be a list, not 'required'"),
        ({"A": text(attributes=["required", "Required"])}, "targetFormat.A.attributes[1] must be one of required, "),
        ({"A": text(attributes=[["required"]])}, "targetFormat.A.attributes[0] must be one of required, "),
        ({"A": text(attributes=["date", "time"])}, "targetFormat.A.attributes must have one of date and time"),
        ({"A": text(description=5)}, "targetFormat.A.description must be a string, not 5"),
        ({"A": text(choices={"a": 1})}, "targetFormat.A.choices must be a list, not {'a': 1}"),
        ({"A": text(choices=["a", None])}, "targetFormat.A.choices[1] must be a text, a number or a boolean, not None"),
        ({"A": {"type": "number", "choices": [1, "two"]}}, "targetFormat.A.choices[1] must be a number, not 'two'"),
        ({"A": {"type": "number", "choices": [""]}}, "targetFormat.A.choices[0] must have a value"),
        ({"A": {"type": "array", "choices": [float("nan")]}}, "targetFormat.A.choices[0] must be a number that is finite"),
        ({"A": text(attributes=["email"], choices=["x"])}, "targetFormat.A.choices[0] must be an e-mail address, not 'x'"),
        ({"A": text(fields={"B": text()})}, "targetFormat.A.fields describes the elements of an array, and this field is a string"),
        ({"A": {"type": "array", "fields": ["B"]}}, "targetFormat.A.fields must be an object of fields by their names"),
        ({"A": {"type": "array", "fields": {"B": {"type": 1}}}}, "targetFormat.A.fields.B.type must be one of"),
        ({"A": {"type": "array", "choices": ["x"], "fields": {"B": text()}}}, "targetFormat.A must have choices or fields, not both"),
        ({"": text()}, "the name of a field in targetFormat must not be empty"),
        ({"A\0": text()}, "the name of a field in targetFormat must not hold"),
        ({"A" * (MAX_FIELD_NAME + 1): text()}, "the name of a field in targetFormat must have at most 200 characters, not 201"),
        ({f"A{n}": text() for n in range(MAX_FIELDS + 1)}, "targetFormat must have at most 500 fields, not 501"),
        (
            {name: {"type": "array", "fields": {f"A{n}": text() for n in range(MAX_FIELDS // 2)}} for name in "AB"},
            "targetFormat must have at most 500 fields, those of elements included, not 502",
        ),
        (nested(MAX_DEPTH + 1), f"targetFormat{'.A.fields' * MAX_DEPTH} must not be deeper than 5 levels of fields"),
        (nested(600), "must not be deeper than 5 levels"),
        ({"A": text(choices=["x"] * (MAX_CHOICES + 1))}, "targetFormat.A.choices must have at most 1,000 choices, not 1,001"),
    ],
)  # fmt: skip
def test_what_is_no_format_is_refused_by_its_path(definition, words):
    assert words in refusal(definition)


def test_formats_may_be_as_large_as_they_say():
    assert len(compile_format({f"A{n}": text() for n in range(MAX_FIELDS)}).fields) == MAX_FIELDS
    assert compile_format(nested(MAX_DEPTH)).convert({"A": [{}]}) == {"A": [{"A": []}]}


def test_a_region_must_be_one():
    phone = {"A": text(attributes=["phoneNumber"])}
    for region in ("us", "XX", "", "USA"):
        with pytest.raises(InvalidInput, match="region must be the two letters of a country"):
            compile_format(phone, region=region)


def test_handlers_must_be_of_attributes_that_are_handled():
    with pytest.raises(InvalidInput, match="handlers must be of indexProductID, embedText, embedImage, not of 'url'"):
        compile_format(PRODUCT, handlers={"url": str})


def test_only_the_libraries_that_a_format_asks_for_are_loaded():
    import subprocess
    import sys

    code = """
import sys
from gnj.transform.formats import compile_format
heavy = {"babel", "dateutil", "email_validator", "phonenumbers"}
for attribute, library in [("url", None), ("date", "dateutil"), ("email", "email_validator"), ("currency", "babel"), ("phoneNumber", "phonenumbers")]:
    before = heavy & set(sys.modules)
    record = compile_format({"A": {"type": "string", "attributes": [attribute]}})
    try:
        record.convert({"A": "x"})
    except Exception:
        pass
    print((heavy & set(sys.modules)) - before == ({library} if library else set()))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True"] * 5
