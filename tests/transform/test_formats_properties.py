"""Any format with any record: a record of the format, or reasons; never anything else."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.transform.errors import BadFormat, RecordRejected
from gnj.transform.formats import Attribute, Field, FieldType, compile_format, texts
from gnj.transform.formats.faults import Fault
from gnj.transform.formats.figures import to_number
from gnj.transform.formats.model import FORMS

NAMES = st.sampled_from(["a", "b", "c.d", "e f"])
NUMBERS = st.integers() | st.floats() | st.integers(-3, 3)
LIKELY = st.sampled_from(
    [
        *"2024-01-15 01/02/2024 10:30 3pm 2024-01-15T10:30:00+02:00 usd $ euro 0.5 50% 1 -3 1,234.5 yes false example.com a@b.co".split(),
        "http://a.de/b c",
        "+1 202 555 0123",
        "(202) 555-0123 x1",
        "15 Jan 2024 10:00 EST",
        "two words",
        "�",
        "a\x00b",
        " ",
    ]
)
# Words of dates, numbers and addresses in any order find more faults than any text does.
SCRAMBLED = st.lists(st.sampled_from([*"0123456789/-.:+T@%$ex,", "Jan", "am", " ", "http://", "UTC", "e9"]), max_size=9)
TEXTS = st.text(max_size=12) | LIKELY | SCRAMBLED.map("".join)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS


def inside(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return SCALARS | st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=3)


VALUES = inside(inside(SCALARS))
KINDS: dict[FieldType, Any] = {
    FieldType.STRING: str,
    FieldType.NUMBER: (int, float),
    FieldType.BOOLEAN: bool,
    FieldType.ARRAY: list,
}


def attributes(type):
    def one_form(found):
        first = next((each for each in found if each in FORMS), None)
        return [each.value for each in found if each not in FORMS or each is first or type != "string"]

    return st.lists(st.sampled_from(Attribute), max_size=3, unique=True).map(one_form)


@st.composite
def fields(draw, depth=1):
    def field():
        type = draw(st.sampled_from(FieldType)).value
        made = {"type": type, "attributes": draw(attributes(type))}
        if type == "array" and depth < 3 and draw(st.booleans()):
            made["fields"] = draw(fields(depth=depth + 1))
        return made

    return {name: field() for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))}


def holds(made: Any, fields: Sequence[Field]) -> None:
    assert list(made) == [each.name for each in fields]
    for each in fields:
        assert isinstance(made[each.name], KINDS[each.type])
        assert each.type is FieldType.BOOLEAN or not isinstance(made[each.name], bool)
        for element in made[each.name] if each.fields else ():
            holds(element, each.fields)


def check(reasons):
    assert reasons
    assert [each for each in reasons if " must " not in each and not each.endswith("has no value")] == []
    assert max(map(len, reasons)) < 500


@settings(max_examples=150)
@given(definition=fields(), record=st.dictionaries(NAMES, VALUES))
def test_records_come_out_in_the_format_or_are_rejected(definition, record):
    format = compile_format(definition)
    try:
        made = format.convert(record)
    except RecordRejected as rejected:
        check(rejected.reasons)
        return
    holds(made, format.fields)
    again = json.loads(json.dumps(made))
    assert repr(again) == repr(made)
    assert format.key(again) == format.key(made)
    assert (format.key(made) is None) == (not format.primary)
    if "positiveNumber" in json.dumps(definition):
        # A missing one is 0, which it may not be when it is given.
        return
    assert repr(format.convert(made)) == repr(made)


@settings(max_examples=100)
@given(attribute=st.sampled_from([*sorted(FORMS), "capitalized"]), text=TEXTS)
def test_what_was_converted_stays_as_it_is(attribute, text):
    format = compile_format({"X": {"type": "string", "attributes": [attribute]}})
    with suppress(RecordRejected):
        made = format.convert({"X": text})
        assert len(str(made["X"])) <= 3 * len(text) + 40
        assert format.convert(made) == made


@settings(max_examples=100)
@given(
    VALUES
    | st.dictionaries(NAMES, st.dictionaries(st.sampled_from(["type", "choices", "attributes", "fields", "x"]), VALUES))
)
def test_no_definition_does_anything_but_be_refused(definition):
    with suppress(BadFormat):
        compile_format(definition)


@given(st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{0,20})?", fullmatch=True))
def test_numbers_in_texts_are_what_python_reads(text):
    whole = "." not in text
    with suppress(Fault):
        assert to_number(text) == (int(text) if whole else float(text))
        assert type(to_number(text)) is (int if whole else float)


@given(st.from_regex(r"(https?://)?[a-z0-9.-]{1,12}\.[a-z]{1,10}(/[!-~]{0,8})?", fullmatch=True))
def test_common_urls_are_as_all_others(text):
    common = texts._COMMON_URL
    assert common.fullmatch("https://example.com/a")
    if common.fullmatch(text):
        written = texts.to_url(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(texts, "_COMMON_URL", re.compile(r"(?!)"))
            assert texts.to_url(text) == written
