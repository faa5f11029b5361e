"""What may be stored: texts, numbers, times and JSON, and the words in which the rest is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.queue import errors
from gnj.queue.catalog import RECORDS
from gnj.queue.clock import NOW, After, milliseconds, system_clock
from gnj.queue.errors import GnjError, InvalidInput, InvalidText
from gnj.queue.model import Kind, attributes, by_wire
from gnj.queue.values import (
    MAX_DEPTH,
    check_bool,
    check_int,
    check_json,
    check_seconds,
    check_text,
    check_time,
    check_word,
    clean_text,
    dump_json,
    parse_json,
    same_json,
    shown,
)


class Unknown(tzinfo):
    def utcoffset(self, moment):
        return None

    def dst(self, moment):
        return None

    def tzname(self, moment):
        return None


class Speechless:
    def __repr__(self):
        raise RuntimeError("no words")


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


def refused(error, message, check, *arguments, **options):
    with pytest.raises(GnjError) as caught:
        check(*arguments, **options)
    assert type(caught.value) is error
    assert str(caught.value) == message


# Texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a", "ü", "\U0001f600", "a\nb\t", "\x7f", "x" * 10_000])
def test_texts(text):
    assert check_text(text, "it") == text


@pytest.mark.parametrize(
    "value, error, message",
    [
        (None, InvalidInput, "it must be a string, not None"),
        (b"x", InvalidInput, "it must be a string, not b'x'"),
        ("x" * 10_001, InvalidInput, "it must have at most 10,000 characters, not 10,001"),
        ("\0", InvalidText, "it must not hold a NUL character"),
        ("ü\0", InvalidText, "it must not hold a NUL character"),
        ("\ud83d", InvalidText, "it must not hold a surrogate without its other half"),
        ("\ude00\ud83d", InvalidText, "it must not hold a surrogate without its other half"),
    ],
)
def test_bad_texts(value, error, message):
    refused(error, message, check_text, value, "it")


def test_words():
    assert check_word("a b-ü/é", "it") == "a b-ü/é"
    assert check_word("\u200b\u2028", "it") == "\u200b\u2028"  # not printable, and no control character
    refused(InvalidInput, "it must not be empty", check_word, "", "it")
    refused(InvalidInput, "it must have at most 200 characters, not 201", check_word, "x" * 201, "it")
    for control in ("\n", "\x1f", "\x7f", "\x9f"):
        refused(InvalidText, "it must not hold control characters", check_word, f"a{control}", "it")


def test_texts_are_made_storable():
    assert clean_text("fine") == "fine"
    assert clean_text("\0\ud800ü") == "\ufffd?ü"
    assert clean_text("a" * 10 + "b" * 10, 11) == "aaa\n…\nbbb"
    assert len(clean_text("x" * 50_000)) <= 10_000
    assert check_text(clean_text("\0" * 50_000), "it")


# Numbers --------------------------------------------------------------------------------------------------------------


def test_integers():
    assert check_int(-(2**63), "it") == -(2**63)
    assert check_int(2**63 - 1, "it") == 2**63 - 1
    bad: list[object] = [True, None, 1.0, "1", [], float("nan")]
    for value in bad:
        refused(InvalidInput, f"it must be an integer, not {value!r}", check_int, value, "it")
    refused(InvalidInput, "it must be from 1 to 5, not 6", check_int, 6, "it", low=1, high=5)
    refused(InvalidInput, "it must be from 1 to 5, not int", check_int, 10**5000, "it", low=1, high=5)


def test_booleans():
    assert check_bool(True, "it") is True
    bad: list[object] = [0, 1, None, "true", []]
    for value in bad:
        refused(InvalidInput, f"it must be true or false, not {value!r}", check_bool, value, "it")


def test_seconds():
    assert check_seconds(1, "it") == 1.0
    assert isinstance(check_seconds(1, "it"), float)
    assert check_seconds(timedelta(milliseconds=1500), "it") == 1.5
    assert check_seconds(0, "it") == 0
    bad: list[object] = [True, None, "1", [], float("nan")]
    for value in bad:
        refused(InvalidInput, f"it must be a number of seconds, not {value!r}", check_seconds, value, "it")
    for value in (-0.1, 11, float("inf"), float("-inf"), 10**300):
        with pytest.raises(InvalidInput, match=r"^it must be from 0 to 10 seconds, not "):
            check_seconds(value, "it", high=10)
    refused(InvalidInput, "it must be from 0 to 10 seconds, not int", check_seconds, 10**5000, "it", high=10)


# Times ----------------------------------------------------------------------------------------------------------------


def test_times_are_utc_in_milliseconds():
    paris = datetime(2030, 6, 1, 12, 0, 0, 123999, tzinfo=ZoneInfo("Europe/Paris"))
    assert check_time(paris, "it") == datetime(2030, 6, 1, 10, 0, 0, 123000, tzinfo=UTC)
    assert check_time(paris, "it").tzinfo is UTC
    assert check_time(datetime(1970, 1, 1, tzinfo=UTC), "it").year == 1970
    assert check_time(datetime.max.replace(tzinfo=UTC), "it").year == 9999


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1969, 12, 31, 23, 59, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        datetime(1970, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_years_that_no_database_shares(moment):
    refused(InvalidInput, "it must lie between the years 1970 and 9999", check_time, moment, "it")


@pytest.mark.parametrize("value", [datetime(2030, 1, 1), datetime(2030, 1, 1, tzinfo=Unknown())])  # noqa: DTZ001
def test_naive_times(value):
    refused(
        InvalidInput, f"it must be an aware datetime (with a time zone), not {shown(value)}", check_time, value, "it"
    )


@pytest.mark.parametrize("value", [None, 5, "2030-01-01T00:00:00Z", datetime(2030, 1, 1).date(), timedelta(1)])  # noqa: DTZ001
def test_what_is_no_time(value):
    refused(InvalidInput, f"it must be a date and time, not {value!r}", check_time, value, "it")


def test_moments_that_the_storage_fills_in():
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert NOW.resolve(now) == now
    assert After(1.2345).resolve(now) == now + timedelta(milliseconds=1234)
    assert After(-1).resolve(now) == now - timedelta(seconds=1)
    assert milliseconds(now.replace(microsecond=999_999)) == now.replace(microsecond=999_000)
    assert system_clock().tzinfo is UTC
    assert system_clock().microsecond % 1000 == 0


# JSON -----------------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_json_survives_checking_writing_and_reading(value):
    checked = check_json(value, "it")
    assert same_json(checked, value)
    assert same_json(parse_json(dump_json(checked), "it"), checked)
    assert same_json(parse_json(json.dumps(value).encode(), "it"), checked)
    assert checked is not value or not isinstance(value, (dict, list))


def outcome(call, value):
    try:
        return repr(call(value))
    except InvalidInput as error:
        return type(error), str(error)


odd = st.sampled_from(
    [2**63, -(2**63) - 1, float("nan"), float("-inf"), "\0", "\ud800", "\udc00x", "ü", [1], {"a": 2}, b"x", Colour.RED]
)


@settings(max_examples=50)
@given(
    st.dictionaries(texts | st.sampled_from(["\0", "\ud800", Colour.RED, 5]), json_values | odd, max_size=4),
    st.integers(0, 30),
)
def test_objects_of_many_simple_values_are_checked_as_all_others(fields, others):
    value = {f"field {place}": place / 2 for place in range(others)} | fields
    assert outcome(lambda value: check_json(value, "it"), value) == outcome(
        lambda value: check_json([value], "it")[0], value
    )


def test_an_object_of_simple_values_at_its_limit():
    value = {f"k{place:02}": "\x1f" for place in range(100)}
    size = len(dump_json(value))
    assert check_json(value, "it", maximum=size) == value
    refused(
        InvalidInput,
        f"it must have at most {size - 1:,} bytes as JSON, not {size:,}",
        check_json,
        value,
        "it",
        maximum=size - 1,
    )


def test_json_is_copied_into_plain_types():
    given_value = {Colour.RED: (Number.ONE, MappingProxyType({"a": (True,)}), Colour.RED)}
    checked = check_json(given_value, "it")
    assert checked == {"red": [1, {"a": [True]}, "red"]}
    assert [type(key) for key in checked] == [str]
    assert [type(item) for item in checked["red"]] == [int, dict, str]


def nested(depth):
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


circle: list[Any] = []
circle.append(circle)


@pytest.mark.parametrize(
    "value, error, message",
    [
        (float("nan"), InvalidInput, "it must not hold NaN or infinite numbers"),
        ([float("-inf")], InvalidInput, "it must not hold NaN or infinite numbers"),
        (2**63, InvalidInput, "it must not hold integers beyond 64 bits"),
        (b"x", InvalidInput, "it must be JSON, without values of the type bytes"),
        (bytearray(b"x"), InvalidInput, "it must be JSON, without values of the type bytearray"),
        ({1, 2}, InvalidInput, "it must be JSON, without values of the type set"),
        (datetime(2030, 1, 1, tzinfo=UTC), InvalidInput, "it must be JSON, without values of the type datetime"),
        ({"a": Speechless()}, InvalidInput, "it must be JSON, without values of the type Speechless"),
        ({None: 1}, InvalidInput, "it must have strings as keys, not None"),
        ({Speechless(): 1}, InvalidInput, "it must have strings as keys, not Speechless"),
        ("\0", InvalidText, "it must not hold a NUL character"),
        (["\ud800"], InvalidText, "it must not hold a surrogate without its other half"),
        ({"\0": 1}, InvalidText, "a key of it must not hold a NUL character"),
        (nested(MAX_DEPTH + 1), InvalidInput, "it must not be nested deeper than 64 levels"),
        (circle, InvalidInput, "it must not be nested deeper than 64 levels"),
        ("x" * 99, InvalidInput, "it must have at most 100 bytes as JSON, not 101"),
        ("ü" * 50, InvalidInput, "it must have at most 100 bytes as JSON, not 102"),
        (["\n"] * 30, InvalidInput, "it must have at most 100 bytes as JSON, not 151"),
    ],
    ids=range(18),
)
def test_bad_json(value, error, message):
    refused(error, message, check_json, value, "it", maximum=100)


def test_json_at_its_limits():
    assert check_json(nested(MAX_DEPTH), "it") == nested(MAX_DEPTH)
    assert check_json("x" * 98, "it", maximum=100) == "x" * 98
    assert check_json(5, "it", maximum=0) == 5


@pytest.mark.parametrize(
    "text, value",
    [
        ("null", None),
        (' [1, 2.5e3, "[{\\"]", {}] ', [1, 2500.0, '[{"]', {}]),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ("-9223372036854775808", -(2**63)),
        ('{"a": 1, "a": 2}', {"a": 2}),
        (b'"\xc3\xbc"', "ü"),
        (json.dumps(nested(MAX_DEPTH)), nested(MAX_DEPTH)),
        (json.dumps(["[" * 100] * 3), ["[" * 100] * 3),
        (json.dumps([['\\"['] * 70]), [['\\"['] * 70]),
        ("[" + ",".join(["[]"] * 70) + "]", [[]] * 70),
        ('[{"a": {}}, ' + ",".join(["{}"] * 70) + "]", [{"a": {}}, *[{}] * 70]),
    ],
)
def test_json_texts(text, value):
    assert parse_json(text, "it") == value


@pytest.mark.parametrize(
    "text, error, message",
    [
        (b"\xff", InvalidInput, "it must be UTF-8"),
        ("[" * 65 + "]" * 65, InvalidInput, "it must not be nested deeper than 64 levels"),
        ("[" * 1_000_000, InvalidInput, "it must not be nested deeper than 64 levels"),
        ('{"a":' * 100_000, InvalidInput, "it must not be nested deeper than 64 levels"),
        ("NaN", InvalidInput, "it: NaN is not JSON"),
        ("[Infinity]", InvalidInput, "it: Infinity is not JSON"),
        ("-Infinity", InvalidInput, "it: -Infinity is not JSON"),
        ("1e999", InvalidInput, "it must not hold NaN or infinite numbers"),
        ("9" * 10_000, InvalidInput, "it: integers beyond 64 bits are refused"),
        ("9223372036854775808", InvalidInput, "it: integers beyond 64 bits are refused"),
        ('"\\ud800"', InvalidText, "it must not hold a surrogate without its other half"),
        ('{"\\u0000": 1}', InvalidText, "a key of it must not hold a NUL character"),
        ("", InvalidInput, "it must be JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[1,", InvalidInput, "it must be JSON: Expecting value: line 1 column 4 (char 3)"),
    ],
    ids=range(14),
)
def test_bad_json_texts(text, error, message):
    refused(error, message, parse_json, text, "it")


def test_a_quote_that_is_never_closed_takes_linear_time():
    with pytest.raises(InvalidInput, match=r"^it must be JSON: "):
        parse_json('["' + "[" * 65 + "\\" * 1_000_001, "it")


@pytest.mark.parametrize(
    "one, other, same",
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        ("1", 1, False),
        ([], {}, False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        ([{"a": None}], [{"a": None}], True),
        ([None], [False], False),
    ],
)
def test_same_json(one, other, same):
    assert same_json(one, other) is same
    assert same_json(other, one) is same


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, text",
    [
        (1, "1"),
        ("a", "'a'"),
        ([1], "[1]"),
        ([1] * 60, "list"),
        ({str(i): i for i in range(60)}, "dict"),
        (10**5000, "int"),
        (Speechless(), "Speechless"),
        ("x" * 100, "'" + "x" * 58 + "…"),
    ],
    ids=range(8),
)
def test_values_in_messages(value, text):
    assert shown(value) == text


def test_every_error_says_what_it_is():
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, GnjError)]
    assert len({error.code for error in found}) == len(found)
    for error in found:
        assert str(error()).strip()
        assert "\n" not in str(error())
        if error is not errors.CancelPending:
            assert str(error("my words")) == "my words"
    assert issubclass(errors.JobNotFound, LookupError)
    assert issubclass(errors.InvalidInput, ValueError)
    assert issubclass(errors.StorageUnavailable, ConnectionError)
    assert str(errors.CancelRequested()) == "No cancel message provided"
    assert errors.CancelRequested("stop").message == "stop"


def test_the_three_names_of_an_attribute():
    for record in RECORDS.values():
        known = attributes(record)
        assert list(known) == list(record.__dataclass_fields__)
        assert len({attribute.column for attribute in known.values()}) == len(known)
        assert by_wire(record) == {a.wire: a for a in known.values() if a.wire}
        assert known["id"].kind is Kind.ID
        assert not known["id"].nullable
    job = attributes(RECORDS["job"])
    assert (job["priority"].column, job["priority"].wire) == ("priority_level", "priorityLevel")
    assert (job["input"].kind, job["input"].nullable) == (Kind.JSON, True)
    assert (job["lease"].wire, job["status"].kind, job["timeout"].kind) == (None, Kind.TEXT, Kind.FLOAT)
