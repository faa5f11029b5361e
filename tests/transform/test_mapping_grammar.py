"""Chains: what is read, what is written, and where a text goes wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.transform.errors import BadTransform
from gnj.transform.mapping.grammar import (
    MAX_CALLS,
    MAX_CHAIN,
    OPERATORS,
    Call,
    Chain,
    Comparison,
    parse,
    written,
)

NUMBERS = st.integers(-(10**28), 10**28) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
CHAINS = st.builds(
    Chain,
    st.lists(st.builds(Call, NAMES, st.lists(st.text() | NUMBERS, max_size=3).map(tuple)), max_size=5).map(tuple),
    st.none() | st.builds(Comparison, st.sampled_from(OPERATORS), NUMBERS),
)


def refusal(text):
    with pytest.raises(BadTransform) as refused:
        parse(text)
    return str(refused.value), refused.value.position


@given(CHAINS)
def test_a_chain_is_read_as_it_was_written(chain):
    assert parse(written(chain)) == chain


@given(
    st.text(max_size=80) | st.lists(st.sampled_from("value trim ( ) . , ' \" \\ 1 -2.5 > == é".split())).map("".join)
)
@settings(max_examples=150)
def test_any_text_is_a_chain_or_refused_with_a_position_within_it(text):
    try:
        chain = parse(text)
    except BadTransform as refused:
        position = refused.position
    else:
        position = 0
        assert parse(written(chain)) == chain
    assert 0 <= position <= len(text)


@pytest.mark.parametrize(
    "text, chain",
    [
        ("trim()", Chain((Call("trim"),))),
        ("value", Chain()),
        ("value.trim()", Chain((Call("trim"),))),
        (" value . trim ( ) ", Chain((Call("trim"),))),
        ("value > 0", Chain((), Comparison(">", 0))),
        ("toNumber()>=-1.5e3", Chain((Call("toNumber"),), Comparison(">=", -1500.0))),
        ("split(',', \"1\")", Chain((Call("split", (",", "1")),))),
        (r"""match('\d\\\'\"\n')""", Chain((Call("match", ("\\d\\'\"\\n",)),))),
        ("replace('a', '\n')", Chain((Call("replace", ("a", "\n")),))),
        ("value().value()", Chain((Call("value"), Call("value")))),
    ],
)
def test_what_a_chain_says(text, chain):
    assert parse(text) == chain


def test_a_call_knows_where_its_name_stands():
    assert [call.position for call in parse("value. trim().split(',', 0)").calls] == [7, 14]


@pytest.mark.parametrize(
    "text, position, told",
    [
        ("", 0, "it is empty"),
        ("  ", 0, "it is empty"),
        ("trim", 4, "( after trim is expected at character 4, not the end"),
        ("trim(", 5, "a text in quotes, or a number, is expected at character 5, not the end"),
        ("trim()trim()", 6, "a dot and the next function"),
        ("trim().", 7, "a function such as trim() is expected"),
        ("trim()..trim()", 7, "not '.'"),
        ("split(',' 1)", 10, ", or ) is expected at character 10, not '1'"),
        ("split(',',)", 10, "a text in quotes, or a number, is expected"),
        ("split(value)", 6, "a text in quotes, or a number, is expected"),
        ("split('a", 6, "has no end"),
        ("value >", 7, "a number after > is expected"),
        ("value > 'a'", 8, "a number after > is expected"),
        ("value > 1 > 2", 10, "the end is expected"),
        ("value > 1.trim()", 9, "the end is expected"),
        ("value = 1", 6, "means nothing"),
        ("__import__('os').system", 23, "( after system"),
        ("{{7*7}}", 0, "means nothing"),
        ("value > " + "1" * 31, 8, "at most 30 characters"),
        ("value > 1e999", 8, "too large"),
        (".".join(["trim()"] * (MAX_CALLS + 1)), 700, "at most 100 calls"),
        ("trim()" + " " * MAX_CHAIN, MAX_CHAIN, "at most 10,000 characters"),
    ],
)
def test_a_text_that_is_no_chain_is_refused_where_it_goes_wrong(text, position, told):
    message, place = refusal(text)
    assert told in message
    assert place == position


def test_a_long_text_of_quotes_and_backslashes_ends():
    assert refusal("trim('" + "\\" * 9_000)[1] == 5
    assert refusal("'" + "\\'" * 4_000)[1] == 0
