"""The scalars of the content face."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from ariadne import make_executable_schema
from graphql import graphql_sync

from gnj.api.content.scalars import duration_out, long_out, scalars

NAMES = ("DateTime", "Long", "TimeSpan", "JSON")
SDL = "\n".join(
    [*(f"scalar {name}" for name in NAMES), "type Query {", *(f"  {name}(v: {name}): Boolean" for name in NAMES), "}"]
)


@pytest.fixture(scope="module")
def schema():
    made: Any = make_executable_schema(SDL, *scalars())
    for name in NAMES:
        made.query_type.fields[name].resolve = lambda _source, info, **given: info.context.append(given["v"])
    return made


@pytest.fixture(params=["variable", "literal"])
def taken(request, schema):
    """What a resolver is given for a value, in either place."""

    def taken(name, value, literal):
        got: list[Any] = []
        if request.param == "variable":
            result = graphql_sync(
                schema, f"query($v: {name}) {{ {name}(v: $v) }}", variable_values={"v": value}, context_value=got
            )
        else:
            result = graphql_sync(schema, f"{{ {name}(v: {literal}) }}", context_value=got)
        return result.errors[0].message if result.errors else got[0]

    return taken


@pytest.mark.parametrize(
    "text, moment",
    [
        ("2024-05-14T10:00:00Z", datetime(2024, 5, 14, 10, tzinfo=UTC)),
        ("2024-05-14t10:00:00z", datetime(2024, 5, 14, 10, tzinfo=UTC)),
        ("2024-05-14T10:00:00.1239+02:00", datetime(2024, 5, 14, 8, 0, 0, 123000, tzinfo=UTC)),
        ("2024-05-14T10:00:00.123456789012Z", datetime(2024, 5, 14, 10, 0, 0, 123000, tzinfo=UTC)),
        ("1970-01-01T00:00:00-00:00", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_date_and_time_is_of_rfc_3339(taken, text, moment):
    assert taken("DateTime", text, f'"{text}"') == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-05-14",
        "2024-05-14T10:00:00",
        "2024-05-14 10:00:00Z",
        "2024-05-14T10:00Z",
        "2024-05-14T10:00:00+0200",
        "2024-02-30T10:00:00Z",
        "2024-05-14T24:00:00Z",
        "2024-05-14T10:00:60Z",
        "2024-05-14T10:00:00+99:00",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-01:00",
        "٢٠٢٤-05-14T10:00:00Z",
        "2024-05-14T10:00:00." + "1" * 100 + "Z",
    ],
)
def test_and_nothing_else(taken, text):
    assert 'Expected type "DateTime". It must ' in taken("DateTime", text, f'"{text}"')


@pytest.mark.parametrize("value, literal", [(1715680800, "1715680800"), (1.5, "1.5"), (True, "true"), ([], "{a: 1}")])
def test_nor_another_kind_of_value(taken, value, literal):
    assert 'Expected type "DateTime". It must ' in taken("DateTime", value, literal)


@pytest.mark.parametrize("value", [0, -1, 2**31, 2**63 - 1, -(2**63) + 1])
def test_a_long_is_a_number_or_digits(taken, value):
    assert taken("Long", value, value) == value
    assert taken("Long", str(value), f'"{value}"') == value


@pytest.mark.parametrize(
    "value, literal",
    [
        (2**63, 2**63),
        (-(2**63), -(2**63)),
        ("9" * 30, "9" * 30),
        ("", '""'),
        (" 1", '" 1"'),
        ("1.0", '"1.0"'),
        ("0x1", '"0x1"'),
        ("٣", '"٣"'),
        ("1_000", '"1_000"'),
        (1.0, "1.0"),
        (True, "true"),
        ([1], "[1]"),
        ("a", "a"),
    ],
)
def test_and_has_64_bits(taken, value, literal):
    assert 'Expected type "Long". It is an integer of 64 bits' in taken("Long", value, literal)


def test_nobody_sends_a_duration(taken):
    assert 'Expected type "TimeSpan". It is only ever sent' in taken("TimeSpan", "PT1S", '"PT1S"')


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "PT0S"),
        (-5, "PT0S"),
        (0.0004, "PT0S"),
        (0.25, "PT0.25S"),
        (1.001, "PT1.001S"),
        (59.9999, "PT59.999S"),
        (60, "PT1M"),
        (90, "PT1M30S"),
        (3600, "PT1H"),
        (3600.5, "PT1H0.5S"),
        (26 * 3600 + 61, "PT26H1M1S"),
    ],
)
def test_a_duration_as_iso_8601_has_it(seconds, text):
    assert duration_out(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("out, value", [(duration_out, 5), (long_out, "5"), (long_out, True), (long_out, 2**63)])
def test_what_no_resolver_may_give(out, value):
    with pytest.raises(TypeError):
        out(value)


def test_a_date_and_time_goes_out_in_utc():
    (out,) = (each.output for each in scalars() if each.name == "DateTime")
    assert out(datetime(2024, 5, 14, 12, tzinfo=timezone(timedelta(hours=2)))) == "2024-05-14T10:00:00.000Z"


@pytest.mark.parametrize(
    "value, literal",
    [("[1]", '"[1]"'), ("x", '"x"'), ({"a": [1, None, 1.5]}, "{a: [1, null, 1.5]}"), (None, "null"), (True, "true")],
)
def test_json_is_what_it_is_and_a_text_stays_one(taken, value, literal):
    assert taken("JSON", value, literal) == value


def test_but_not_what_cannot_be_stored(taken):
    assert "NUL" in taken("JSON", "\0", r'"\u0000"')
