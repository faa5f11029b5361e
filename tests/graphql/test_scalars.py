from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from graphql import build_schema

from gnj.graphql.errors import Stage
from gnj.graphql.scalars import Scalar, date_from_value, date_out, json_from_variable, scalars
from gnj.queue.errors import InvalidInput, InvalidText
from tests.graphql import toy


@pytest.fixture(scope="module")
def engine():
    return toy.engine()


def by_variable(engine, value):
    return engine.execute("query($v: SequelizeJSON) {json(value: $v)}", {"v": value})


def by_literal(engine, text, variables=None):
    head = "query($v: SequelizeJSON) " if variables else ""
    return engine.execute(f"{head}{{json(value: {text})}}", variables)


@pytest.mark.parametrize(
    "given, meant",
    [
        ('{"a": 1}', {"a": 1}),
        ('"x"', "x"),
        ("[1, null]", [1, None]),
        ("1.5", 1.5),
        ("true", True),
        ({"a": '{"b": 1}'}, {"a": '{"b": 1}'}),
        (["[1]"], ["[1]"]),
        (5, 5),
        (2**63 - 1, 2**63 - 1),
        (1.5, 1.5),
        (False, False),
        ([], []),
    ],
)
def test_a_variable_of_text_is_json_text_and_nothing_else_is(engine, given, meant):
    assert by_variable(engine, given).body == {"data": {"json": meant}}


@pytest.mark.parametrize(
    "rubbish",
    [
        "x",
        "",
        "{",
        "NaN",
        "1e400",
        "[" * 1_000,
        '"\\ud800"',
        '"\\u0000"',
        "99999999999999999999",
        "1" * 5_000,
        '{"a":}',
    ],
)
def test_rubbish_text_is_refused_as_the_original_says_it(engine, rubbish):
    outcome = by_variable(engine, rubbish)
    assert outcome.stage is Stage.VARIABLES
    (error,) = outcome.body["errors"]
    assert 'Expected type "SequelizeJSON". Unexpected token' in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 2**63 + 1, {"a": "\ud800"}, {"\0": 1}, ["a\0"], {"a": object()}, {1: 2}]
)
def test_values_no_storage_can_keep_are_refused(engine, value):
    outcome = by_variable(engine, value)
    assert outcome.stage is Stage.VARIABLES
    assert 'Expected type "SequelizeJSON". ' in outcome.body["errors"][0]["message"]


def test_the_place_inside_an_input_is_named(engine):
    outcome = engine.execute("mutation($b: boxInput!) {put(box: $b) {content}}", {"b": {"label": "l", "content": "x"}})
    message = outcome.body["errors"][0]["message"]
    assert message.startswith(
        'Variable "$b" got invalid value "x" at "b.content"; Expected type "SequelizeJSON". Unexpected token'
    )


@pytest.mark.parametrize(
    "text, meant",
    [
        ("1", 1),
        ("-9223372036854775807", -9223372036854775807),
        ("1.5e3", 1500.0),
        ("true", True),
        ('"{"', "{"),
        ('"1"', "1"),
        ('"""block"""', "block"),
        ("word", "word"),
        ("null", None),
        ("[1, [a]]", [1, ["a"]]),
        ('{a: {b: "c"}, d: null}', {"a": {"b": "c"}, "d": None}),
    ],
)
def test_literals_of_every_kind(engine, text, meant):
    assert by_literal(engine, text).body == {"data": {"json": meant}}


def test_variables_inside_literals_are_values(engine):
    outcome = by_literal(engine, "{a: [$v], b: $v}", {"v": {"x": ["1", 2]}})
    assert outcome.body == {"data": {"json": {"a": [{"x": ["1", 2]}], "b": {"x": ["1", 2]}}}}


@pytest.mark.parametrize(
    "text", ["1e400", "9223372036854775809", "1" * 5_000, r'"\u0000"', '{a: "\\u0000"}', "[" * 70 + "]" * 70]
)
def test_literals_no_storage_can_keep_are_refused(engine, text):
    outcome = by_literal(engine, text)
    assert outcome.stage is Stage.VALIDATE
    assert 'Expected type "SequelizeJSON". ' in outcome.body["errors"][0]["message"]


def test_text_that_cannot_be_kept_is_known_as_such():
    with pytest.raises(InvalidText):
        json_from_variable({"a": "\0"})


@pytest.mark.parametrize(
    "given, meant",
    [
        ("2024", "2024-01-01T00:00:00.000Z"),
        ("2024-02", "2024-02-01T00:00:00.000Z"),
        ("2024-02-29", "2024-02-29T00:00:00.000Z"),
        ("2024-02-29T01:02", "2024-02-29T01:02:00.000Z"),
        ("2024-02-29T01:02:03", "2024-02-29T01:02:03.000Z"),
        ("2024-02-29 01:02:03", "2024-02-29T01:02:03.000Z"),
        ("2024-02-29T01:02:03.4567891Z", "2024-02-29T01:02:03.456Z"),
        ("2024-02-29T01:02:03.4z", "2024-02-29T01:02:03.400Z"),
        ("2024-02-29T01:02:03+02:30", "2024-02-28T22:32:03.000Z"),
        ("2024-02-29T01:02:03-0100", "2024-02-29T02:02:03.000Z"),
        ("2024-02-29T24:00:00Z", "2024-03-01T00:00:00.000Z"),
        ("Thu, 29 Feb 2024 01:02:03 GMT", "2024-02-29T01:02:03.000Z"),
        ("29 feb 2024 01:02 +0100", "2024-02-29T00:02:00.000Z"),
        ("Thu, 29 Feb 2024 01:02:03 EST", "2024-02-29T06:02:03.000Z"),
        (" 2024-02-29 ", "2024-02-29T00:00:00.000Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_709_168_523_456, "2024-02-29T01:02:03.456Z"),
        (1_709_168_523_456.9, "2024-02-29T01:02:03.456Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_dates_that_javascript_reads_in_one_way(given, meant):
    assert date_out(date_from_value(given)) == meant


@pytest.mark.parametrize(
    "rubbish",
    [
        "", "x", "Invalid date", "now", "tomorrow", "01/02/2024", "2024-13-01", "2024-02-30", "2024-1-2", "20240229",
        "2024-02-29T25:00", "2024-02-29T24:00:01", "2024-02-29T01", "2024-02-29T01:02:60", "2024-02-29T01:02+1",
        "2024-02-29T01:02+02:99", "2024-02-29T01:02+99:00", "+012024-01-01T00:00:00Z", "29 Feb 2024", "1709168523456",
        "29 Feb 24 01:02 GMT", "Thu, 29 Feb 2024 01:02:03", "2024-02-29T01:02:03.Z", "2024\u0661", "\0",
        "1969-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00", "9999-12-31T24:00:00", -1, 10**18, 1e300,
        math.nan, math.inf, True, [], {}, "1" * 100_000, " " * 100_000 + "x",
    ],
)  # fmt: skip
def test_no_dates(rubbish):
    with pytest.raises(InvalidInput, match="date"):
        date_from_value(rubbish)


def test_dates_in_documents_and_variables(engine):
    expected = {"data": {"at": "2024-02-29T01:02:03.456Z"}}
    assert engine.execute('{at(date: "2024-02-29T02:02:03.456+01:00")}').body == expected
    assert engine.execute("{at(date: 1709168523456)}").body == expected
    assert engine.execute("query($d: Date) {at(date: $d)}", {"d": 1709168523456}).body == expected
    assert engine.execute("query($d: Date) {at(date: $d)}", {"d": None}).body == {"data": {"at": None}}


def test_rubbish_is_told_precisely(engine):
    outcome = engine.execute("query($d: Date) {at(date: $d)}", {"d": "soon"})
    assert outcome.body["errors"][0]["message"] == (
        'Variable "$d" got invalid value "soon"; Expected type "Date". '
        'A date is ISO 8601 or RFC 2822 text, or milliseconds since 1970, not "soon"'
    )
    for literal in ("true", "1.5", "[1]", "word", "99999999999999999999"):
        assert engine.execute(f"{{at(date: {literal})}}").stage is Stage.VALIDATE


def test_dates_go_out_in_utc_with_milliseconds():
    moment = datetime(2024, 2, 29, 1, 2, 3, 456_999, tzinfo=timezone(timedelta(hours=2)))
    assert date_out(moment) == "2024-02-28T23:02:03.456Z"
    assert date_out(datetime(2024, 1, 1, tzinfo=UTC)) == "2024-01-01T00:00:00.000Z"
    for value in (datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None), "2024-01-01", 0):
        with pytest.raises(TypeError, match="aware datetime"):
            date_out(value)


def test_a_scalar_needs_its_place_in_the_schema():
    schema = build_schema("type Query {a: Int}")
    with pytest.raises(ValueError, match="no scalar SequelizeJSON"):
        scalars()[0].bind_to_schema(schema)


def test_other_scalars_are_built_from_the_same_parts():
    schema = build_schema("scalar JSON type Query {a(b: JSON): Int}")
    Scalar("JSON", str, str, str).bind_to_schema(schema)
