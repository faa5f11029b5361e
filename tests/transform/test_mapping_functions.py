"""The functions of transforms: their documented examples, what is nothing to them, and the bounds that they keep."""

from __future__ import annotations

import html
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gnj.transform.errors import BadTransform, RecordRejected
from gnj.transform.formats import compile_format
from gnj.transform.mapping import functions, patterns
from gnj.transform.mapping.forms import MAX_LENGTH, number_of, number_text, text_of
from gnj.transform.mapping.functions import FUNCTIONS, compiled
from gnj.transform.mapping.grammar import parse
from gnj.transform.mapping.markup import without_tags
from gnj.transform.mapping.patterns import Spent

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "mapping.md").read_text()
EXAMPLES = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \|", PAGE, re.MULTILINE)

CALLS = [
    "capitalize()",
    "trim()",
    "toNumber()",
    "toBoolean()",
    "toString()",
    "toLowerCase()",
    "toUpperCase()",
    "removeHTMLTags()",
    "convert('cm', 'in')",
    "convert('degC', 'degF')",
    "split(',', 1)",
    "slice(1, 3)",
    "slice(0)",
    r"match('\d+')",
    "replace('a', 'bb')",
    "join(', ')",
    "value > 0",
    "value != 1.5",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**320)
    | st.floats()
    | st.text()
    | st.text("<>/!-=\"' a&#;9x").map(lambda text: text * 3)
    | st.from_regex(r"[-+]?[0-9,]{0,9}\.?[0-9]{0,9}(e[0-9]{1,3})?", fullmatch=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def run(chain, value):
    return compiled(parse(chain), Spent())(value)


def refusal(chain):
    with pytest.raises(BadTransform) as refused:
        run(chain, None)
    return str(refused.value), refused.value.position


def same(one, other):
    return one == other and type(one) is type(other)


def test_the_examples_of_the_documentation():
    assert len(EXAMPLES) > 40
    wrong = [
        (chain, value, result, got)
        for chain, value, result in EXAMPLES
        if not same(got := run(chain, json.loads(value)), json.loads(result))
    ]
    assert wrong == []


def test_every_function_has_an_example_in_the_documentation():
    assert [name for name in FUNCTIONS if not any(name + "(" in example[0] for example in EXAMPLES)] == []


@pytest.mark.parametrize("call", CALLS)
def test_null_passes_through_and_a_comparison_with_it_is_false(call):
    assert run(call, None) is (False if call.startswith("value") else None)


@given(st.sampled_from(CALLS), st.sampled_from(CALLS[:-2]), VALUES)
@settings(max_examples=150, deadline=None)
def test_no_value_makes_a_function_raise_and_what_it_gives_is_json(second, first, value):
    result = run(second.replace("value", first), value)
    assert result is None or isinstance(result, (str, bool, int, float, list))
    if isinstance(result, float) and not isinstance(value, float):
        assert math.isfinite(result)


@pytest.mark.parametrize(
    "chain, value",
    [
        ("trim()", ["a"]),
        ("trim()", {"a": 1}),
        ("toNumber()", True),
        ("toNumber()", "1,23"),
        ("toNumber()", "1.2.3"),
        ("toNumber()", "NaN"),
        ("toNumber()", "Infinity"),
        ("toNumber()", "1e999"),
        ("toNumber()", "1_000"),
        ("toNumber()", "٣"),
        ("toNumber()", ""),
        ("toNumber()", "9" * 5_000),
        ("toNumber()", math.nan),
        ("toBoolean()", "maybe"),
        ("toBoolean()", 2),
        ("toBoolean()", []),
        ("toString()", math.inf),
        pytest.param("toString()", 10**5_000, id="an integer too long for Python"),
        ("toString()", [math.nan]),
        ("convert('cm', 'in')", "wide"),
        ("convert('cm', 'in')", "1e999999999"),
        ("convert('cm', 'in')", True),
        ("split(',', 3)", "a,b,c"),
        ("split(',', -1)", "a,b,c"),
        ("slice(3)", "abc"),
        ("slice(2, 1)", "abc"),
        ("slice(-1)", "abc"),
        ("slice(0)", {"a": 1}),
        ("match('x')", "abc"),
        ("join(',')", {"a": 1}),
    ],
)
def test_what_is_nothing_to_a_function_gives_null(chain, value):
    assert run(chain, value) is None


@pytest.mark.parametrize("value", ["5", True, None, [], math.nan])
@pytest.mark.parametrize("operator", [">", "<", ">=", "<=", "==", "!="])
def test_comparisons_with_what_is_no_number_are_false(operator, value):
    assert run(f"value {operator} 1", value) is False


def test_a_number_of_64_bits_stays_whole_and_a_larger_one_does_not():
    assert same(number_of("-9,223,372,036,854,775,808"), -(2**63))
    assert same(number_of("9223372036854775808"), float(2**63))


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back_from_its_text(number):
    assert number_of(text_of(number)) == number
    assert number_of(f" {number:,} ") == number or isinstance(number, float)


@given(st.text("0123.,+-eE_ naif٣", max_size=8))
def test_a_text_is_a_number_when_its_writing_is(text):
    written = number_text(text)
    number = number_of(text)
    assert (number is not None) == (written is not None and math.isfinite(float(written)))
    assert number is None or number == float(str(written))


@given(st.text() | st.text("aß \t\xa0\u2003'(_7Éǆ"))
def test_capitalize_raises_the_first_letter_of_each_word_and_leaves_the_rest(text):
    expected = []
    waits = True
    for char in text:
        letter = char.isalnum() and not char.isdecimal()
        expected.append(char.title() if waits and letter else char)
        waits = char.isspace() or (waits and not char.isalnum())
    made = run("capitalize()", text)
    assert made == "".join(expected)
    # One rule: the attribute does the same.
    format = compile_format({"X": {"type": "string", "attributes": ["capitalized"]}})
    assert format.convert({"X": text}) == {"X": made}


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_a_number_has_the_same_text_form_everywhere(value):
    assert compile_format({"X": {"type": "string"}}).convert({"X": value}) == {"X": text_of(value)}


@pytest.mark.parametrize("number, text", [(1e16, "10000000000000000"), (1e20, "1" + "0" * 20), (1e21, "1e+21")])
def test_large_whole_numbers_are_written_as_json_writes_them(number, text):
    assert run("toString()", number) == text


@given(st.floats(-1e9, 1e9).map(lambda number: round(number, 3)))
def test_there_and_back_is_where_it_began(number):
    there = run("convert('km', 'mm')", number)
    assert abs(run("convert('mm', 'km')", there) - number) <= 0.0051


@pytest.mark.parametrize(
    "chain, position, told",
    [
        ("trim().shout()", 7, "there is no function shout"),
        ("trim(1)", 0, "trim() takes no arguments, not 1"),
        ("split(',')", 0, "split(separator, index) takes 2 arguments, not 1"),
        ("slice()", 0, "slice(start, end?) takes 1 or 2 arguments, not 0"),
        ("split(1, 0)", 0, "separator must be a text in quotes"),
        ("split('', 0)", 0, "separator must not be empty"),
        ("split(',', 'one')", 0, "index must be a whole number"),
        ("slice(1.5)", 0, "start must be a whole number"),
        ("slice(0, 1" + "0" * 20 + ")", 0, "at most 9 digits"),
        ("replace('', 'x')", 0, "search must not be empty"),
        ("convert('cm', 'kg')", 0, "they measure different things"),
        ("convert('cm', 'inchies')", 0, "there is no unit 'inchies'"),
        ("convert('CM', 'in')", 0, "case matters"),
        ("convert('9**9**9', 'm')", 0, "not written as a unit is"),
        ("convert('m.__class__', 'm')", 0, "not written as a unit is"),
        ("convert('', 'm')", 0, "not written as a unit is"),
        ("convert('km⁹⁹⁹⁹⁹⁹⁹⁹', 'm⁹⁹⁹⁹⁹⁹⁹⁹')", 0, "not a factor apart"),
        ("convert('dBm', 'mW')", 0, "not a factor apart"),
        ("trim().match('(')", 7, "missing ) at position 1"),
        ("match('(?V0)(?V1)a')", 0, "no regular expression"),
    ],
)
def test_what_cannot_work_is_refused_with_the_position_of_the_name(chain, position, told):
    message, place = refusal(chain)
    assert told in message
    assert place == position


@pytest.mark.parametrize(
    "pattern",
    [
        "a" * (patterns.MAX_PATTERN + 1),
        "((((a{99}){99}){99}){99})",
        "(?:(?:(?:a{99}){0,99}){99,})",
        "(a{20000})",
        "(?x)((((a{9})#)\n{99}",
        "(?i-x:a)",
        "(?R)",
        "a(?1)(b)",
        "(?<n>a(?&n)?)",
    ],
)
def test_patterns_that_could_take_long_to_compile_or_call_themselves_are_refused(pattern):
    assert "a regular expression must" in refusal(f"match({json.dumps(pattern)})")[0]


@pytest.mark.parametrize(
    "pattern, text, found",
    [
        (r"\(?1\)?", "(1)", "(1)"),
        (r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}", "mac 00:1B:44:11:3A:B7", "00:1B:44:11:3A:B7"),
        (r"(?<=#)\d+(?!x)", "#12", "12"),
        ("(?i)KG$", "5 kg", "kg"),
        ("", "abc", ""),
    ],
)
def test_patterns_of_everyday_are_taken(pattern, text, found):
    assert run(f"match({json.dumps(pattern)})", text) == found


def test_a_regular_expression_past_its_time_rejects_the_record(monkeypatch):
    monkeypatch.setattr(patterns, "MATCH_SECONDS", 0.05)
    with pytest.raises(RecordRejected, match="a regular expression took more than"):
        run("match('(?:a|b|ab|ba)*c$')", "ab" * 500 + "cd")


def test_the_regular_expressions_of_a_record_have_a_time_together():
    spent = Spent()
    search = compiled(parse("match('a')"), spent)
    assert search("a") == "a"
    spent.seconds = patterns.RECORD_SECONDS + 1
    with pytest.raises(RecordRejected, match="together"):
        search("a")


@pytest.mark.parametrize(
    "chain, value",
    [
        ("replace('a', 'aaaaaaaaaa')" + ".replace('a', 'aaaaaaaaaa')" * 99, "a"),
        ("join('" + "-" * 5_000 + "')", ["a"] * 3_000),
        ("join('')", ["a" * (MAX_LENGTH // 2)] * 3),
    ],
)
def test_texts_that_grow_too_long_reject_the_record(chain, value):
    with pytest.raises(RecordRejected, match="more than 10,000,000 characters"):
        run(chain, value)


def test_a_long_text_in_which_little_is_replaced_is_no_reason_to_reject():
    text = "b" * 9_000_000 + "a"
    assert len(run("replace('a', 'aaaa')", text)) == 9_000_004


@pytest.mark.parametrize(
    "text, plain",
    [
        ("<p>a</p><p>b</p>", "ab"),
        ("a < b, c > d, <3", "a < b, c > d, <3"),
        ('<a title="x > y" data-n=\'">\'>link</a>', "link"),
        ("<p class=x don't>it</p>", "it"),
        ("one<!-- two > three -->four<!-->five", "onefourfive"),
        ("one<!-- never <b>ends", "one"),
        ("<script>if (a < b) {}</script>t<STYLE x='</style>'>p {}</style >u", "tu"),
        ("<scripture>holy</scripture>", "holy"),
        ("<!DOCTYPE html><?xml?>t", "t"),
        ("&lt;b&gt; &amp;amp; &eacute;&nbsp;", "<b> &amp; é\xa0"),
        ("a <b and c", "a <b and c"),
        ("a <b <i>c</i>", "a <b c"),
        ("&#" + "9" * 5_000 + ";", "&#" + "9" * 5_000 + ";"),
    ],
)
def test_tags_are_removed_and_entities_replaced(text, plain):
    assert without_tags(text) == plain


@given(
    st.text("&#x;0aAmpltnogi19-< ", max_size=30)
    | st.from_regex(r"(&[a-zA-Z]{1,8}[0-9]{0,2};?|&#x?[0-9a-f]{1,8};?){1,4}")
)
@settings(max_examples=200)
@example("&amp" + "x" * 40 + ";")
@example("&CounterClockwiseContourIntegral;&notit;&ampx;&amp-x;&frac12&AMP&lt")
def test_entities_are_those_of_html(text):
    text = text.replace("<", "&lt")
    assert without_tags(text) == html.unescape(text)


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<!--", "<script>", "<script ", "</script", "<a b='", "<a =\"'", "</", "<!", "&", "&#9", "= "]
)
def test_bad_html_of_a_million_characters_ends(piece):
    # html.parser takes minutes for some of these; the limit is that of pytest
    text = piece * (1_000_000 // len(piece))
    assert len(without_tags(f"<a {text}\"'")) <= len(text) + 5


def test_pint_is_imported_by_those_who_convert_only():
    script = (
        "import sys; from gnj.transform.mapping import compile_mapping as c;"
        "c([{'sourceField': 'a', 'targetField': 'b', 'transform': 'trim()'}]); print('pint' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_every_function_is_tried_above():
    names = {match for call in CALLS for match in re.findall(r"(\w+)\(", call)}
    assert names == set(functions.FUNCTIONS)
