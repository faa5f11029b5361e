"""Files of values: every format, whatever the pieces they come in, and what breaks them."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.queue.errors import InvalidInput
from gnj.queue.values import check_json
from gnj.reading import values as reading
from gnj.reading.pieces import PIECE
from gnj.reading.values import Broken, Problem, Read

LARGEST = 1_000


def read(data, *, key="file.json", largest=LARGEST, piece=PIECE):
    """What a file gives, and what it breaks off with."""
    found: list[tuple[int, Any]] = []
    told: list[int] = []
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    try:
        for each in reading.values(cast(BinaryIO, Short(stream, piece)), key=key, largest=largest, told=told.append):
            found.append((each.position, each.value))  # noqa: PERF401 - it may raise on the way
    except Broken as error:
        return found, str(error)
    assert told == sorted(told)
    assert told[-1] == len(stream.getvalue())
    return found, None


class Short:
    """A stream that gives at most so many bytes at once."""

    def __init__(self, stream, most):
        self._stream, self._most = stream, most

    def read(self, size):
        return self._stream.read(min(size, self._most))

    def seek(self, offset):
        return self._stream.seek(offset)


PIECES = [1, 3, PIECE]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "data, expected",
    [
        ("[]", []),
        (" [ ] \n", []),
        ('[{"a": 1},\r\n {"b": "\\"]é😀"}]', [(1, {"a": 1}), (2, {"b": '"]é😀'})]),
        ("[12, 3.5 ,true,null]", [(1, 12), (2, 3.5), (3, True), (4, None)]),
        ('{"a": 1}', [(1, {"a": 1})]),
        ('{\n  "a": {},\n  "b": [1]\n}\n', [(1, {"a": {}, "b": [1]})]),
        ('{"a": 1}\n{"b": 2}', [(1, {"a": 1}), (2, {"b": 2})]),
        ('\n\r\n{"a": 1}\r\n\r\n  \r\n{"b": 2}\r\n', [(3, {"a": 1}), (6, {"b": 2})]),
    ],
)
def test_a_file_is_an_array_or_an_object_or_json_lines(data, expected, piece):
    assert read(data, piece=piece) == (expected, None)
    assert read(b"\xef\xbb\xbf" + data.encode(), piece=piece) == (expected, None)


def test_the_ending_says_that_it_is_json_lines():
    for key in ("a.jsonl", "a.NDJSON"):
        assert read("", key=key) == ([], None)
        assert read('[1]\n2\n"x"', key=key) == ([(1, [1]), (2, 2), (3, "x")], None)


@pytest.mark.parametrize("piece", PIECES)
def test_a_bad_line_is_a_problem_and_does_not_end_the_file(piece):
    data = '{"a": 1}\n{"b": }\n\n{"c": 3} x\n{"d": NaN}\n{"e": "\\u0000"}\n{"f": 123456789012345678901}\n{"g": 7}'
    found, broken = read(data, piece=piece)
    assert broken is None
    assert [each for each in found if not isinstance(each[1], Problem)] == [(1, {"a": 1}), (8, {"g": 7})]
    assert [(at, value.reason) for at, value in found if isinstance(value, Problem)] == [
        (2, "the line is no JSON: Expecting value at character 7"),
        (4, "the line goes on after its JSON, at character 9"),
        (5, "the value must not hold NaN or infinite numbers"),
        (6, "the value must not hold a NUL character"),
        (7, "the value must not hold integers beyond 64 bits"),
    ]


def test_so_is_the_first_line_if_the_second_is_whole():
    found, broken = read('{"a": oops}\n{"b": 2}\n')
    assert broken is None
    assert isinstance(found[0][1], Problem)
    assert found[1] == (2, {"b": 2})


@pytest.mark.parametrize("piece", PIECES)
def test_values_of_an_array_that_cannot_be_stored_are_problems(piece):
    deep = "[" * 70 + "]" * 70
    digits = "9" * 5_000
    data = f'[1, {deep}, "\\ud800x", {digits}, {{"a": {digits}, "b": "]}}"}}, 123456789012345678901, 2]'
    found, broken = read(data, piece=piece, largest=100_000)
    assert broken is None
    assert [at for at, value in found if isinstance(value, Problem)] == [2, 3, 4, 5, 6]
    assert [each for each in found if not isinstance(each[1], Problem)] == [(1, 1), (7, 2)]


@pytest.mark.parametrize("piece", [997, PIECE])
def test_a_value_that_is_too_large_is_passed_over(piece):
    large = json.dumps({"a": ['"]}\\' * 3_000, {"b": []}]})
    for data, key in [(f'[1, {large}, {{"c": 3}}]', "a.json"), (f'1\n{large}\n{{"c": 3}}', "a.jsonl")]:
        found, broken = read(data, key=key, piece=piece)
        assert broken is None
        assert [found[0], found[2]] == [(1, 1), (3, {"c": 3})]
        assert found[1][1].reason.startswith("the value must have at most 1,000 bytes as JSON")


def test_what_is_too_large_only_for_its_blanks_is_not():
    wide = '{"a":' + " " * 2 * LARGEST + "1}"
    assert read(f"[{wide}]") == ([(1, {"a": 1})], None)
    (_, problem), _ = read(json.dumps([{"a": "x" * LARGEST}]))[0][0], None
    assert problem == Problem("the value must have at most 1,000 bytes as JSON, not 1,008")


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "data, before, told",
    [
        ("", 0, "the file is empty"),
        (" \n ", 0, "the file is empty"),
        ("hello", 0, "the file is neither a JSON array, nor an object, nor JSON Lines"),
        ('[{"a": 1}, {"b"', 1, "the file breaks off at value 2: the file ends before it does"),
        ('[{"a": 1}, ', 1, "the file breaks off at value 2: the file ends before it does"),
        ('[{"a": 1}', 1, "the file breaks off at value 1: after it there is neither a comma nor the end of the array"),
        ('[{"a": 1} {"b": 2}]', 1, "the file breaks off at value 1: after it there is neither"),
        ('[{"a": 1},]', 1, "the file breaks off at value 2: Expecting value, 0 characters into it"),
        ('[{"a": 1}, {"b": oops}, {"c": 3}]', 1, "the file breaks off at value 2: Expecting value, 6 characters"),
        ('[{"a": 1}] x', 1, "something follows the array, at character 12 of the file"),
        ('{"a": 1} {"b": 2}', 1, "something follows the object, at character 10 of the file"),
        ('{\n"a": 1', 0, "the file breaks off at value 1: the file ends before it does"),
    ],
)
def test_a_file_that_is_broken_gives_what_stood_before(data, before, told, piece):
    found, broken = read(data, piece=piece)
    assert len(found) == before
    assert broken is not None
    assert broken.startswith(told)


@pytest.mark.parametrize("piece", PIECES)
def test_a_file_that_is_no_utf8_ends_there(piece):
    assert read(b'[{"a": 1}, "\xff"]', piece=piece) == ([(1, {"a": 1})], "the file is not UTF-8: byte 13 is wrong")
    assert read(b'{"a": 1}\n{"b": "\xe9"}', piece=piece)[1] == "the file is not UTF-8: byte 17 is wrong"
    assert read('["é"]'.encode("utf-16"), piece=piece) == ([], "the file is not UTF-8: byte 1 is wrong")
    assert read(b'["\xc3', piece=piece)[1] == "the file is not UTF-8: byte 3 is wrong"


def test_an_error_in_a_large_file_is_found_at_once():
    stream = io.BytesIO(b'[{"a": 1}, {"b": oops}, ' + b'{"c": "' + b"x" * 20_000_000 + b'"}]')
    found = reading.values(stream, key="a", largest=4_000_000)
    assert next(found) == Read(1, {"a": 1})
    with pytest.raises(Broken, match="value 2: Expecting value"):
        next(found)
    assert stream.tell() == PIECE


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # no NUL and no half of a pair, which nothing can store
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\]}', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    values=st.lists(JSON, max_size=5),
    piece=st.integers(1, 40),
    indent=st.sampled_from([None, 0, 2]),
    ascii=st.booleans(),
)
def test_any_values_come_back_in_any_pieces(values, piece, indent, ascii):
    whole = json.dumps(values, indent=indent, ensure_ascii=ascii)
    expected = [*enumerate(values, 1)]
    assert read(whole, piece=piece, largest=100_000) == (expected, None)
    lines = "\n".join(json.dumps(each, ensure_ascii=ascii) for each in values)
    assert read(lines, key="a.jsonl", piece=piece, largest=100_000) == (expected, None)


LINES = ["\n", " \r\n", '{"é": "😀"}\n', '{"b": }\r\n', f'{{"long": "{"é" * 400}"}}\n', '[1, "\\u00e9"]\n']


@given(lines=st.lists(st.sampled_from(LINES)), mark=st.booleans(), piece=st.integers(1, 40), cut=st.booleans())
def test_json_lines_are_read_on_after_any_of_them(lines, mark, piece, cut):
    """The one that is too large is cut by the bound of what is looked at; the file may end without the end of its line."""
    data = (b"\xef\xbb\xbf" if mark else b"") + "".join(lines).encode()
    data = data[:-1] if cut and data.endswith(b"}\n") else data

    def found(after=None):
        stream = cast(BinaryIO, Short(io.BytesIO(data), piece))
        return list(reading.values(stream, key="a.jsonl", largest=100, after=after))

    whole = found()
    for place, each in enumerate(whole):
        assert data[: each.end][-1:] in (b"\n", data[-1:])
        assert found((each.end, each.position)) == whole[place + 1 :]


@given(values=st.lists(JSON, min_size=1, max_size=4), data=st.data(), piece=st.integers(1, 40))
def test_an_array_cut_anywhere_is_broken_and_gives_no_value_that_it_had_not(values, data, piece):
    whole = json.dumps(values).encode()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    found, broken = read(cut, piece=piece, largest=100_000)
    assert broken is not None
    for (at, value), expected in zip(found, values, strict=False):
        # a number may have been cut
        assert value == expected or (at == len(found) and re.fullmatch(rb"(?s).*[\d.eE+-]", cut))


ANY = st.recursive(
    st.none() | st.integers() | st.floats() | st.text("a\0\ud800\udc00é", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a\0\ud800", max_size=2), inner, max_size=2),
    max_leaves=5,
)


@given(value=ANY, depth=st.sampled_from([0, 0, 62, 64, 66]))
def test_what_nothing_can_store_is_a_problem_and_all_else_is_none(value, depth):
    for _ in range(depth):
        value = [value]
    written = json.dumps([value])
    try:
        # as it comes back: half a pair beside its other half is a character
        expected = check_json(json.loads(written)[0], "the value")
    except InvalidInput as error:
        expected = Problem(str(error))
    assert read(written, largest=100_000) == ([(1, expected)], None)


@pytest.mark.parametrize("piece", [7, 40, PIECE])
def test_a_long_value_is_looked_at_before_it_is_parsed(piece, monkeypatch):
    monkeypatch.setattr(reading, "AT_ONCE", 20)
    parsed = []

    class Decoder:
        def raw_decode(self, text, at=0):
            parsed.append(len(text) - at)
            return json.JSONDecoder().raw_decode(text, at)

    monkeypatch.setattr(reading, "_decoder", lambda _note: Decoder())
    values = [{"a": ['"]}\\' * 9, {"b": [n]}, "é😀" * 30]} for n in range(4)]
    for ascii in (True, False):
        parsed.clear()
        assert read(json.dumps(values, ensure_ascii=ascii), piece=piece) == ([*enumerate(values, 1)], None)
        # of one value: what is at hand, a bit more each time, then all of it
        assert piece == PIECE or sum(parsed) < 4 * 800
    for cut in range(2, len(json.dumps(values[:1]))):
        found, broken = read(json.dumps(values[:1])[:-cut], piece=piece)
        assert (found, broken) == ([], "the file breaks off at value 1: the file ends before it does")
    found, broken = read(f'[1, {{"a": "{"x" * 100}", b}}, 2]', piece=piece)
    assert found == [(1, 1)]
    assert broken.startswith("the file breaks off at value 2: ")


def many(inner, count):
    return "[" + ",".join([inner] * count) + "]"


@pytest.mark.parametrize(
    "value",
    [
        '["' + "\\n" * 1_000_000 + "," * reading.MOST + '"]',
        '{"a": "' + "\\n" * 1_000_000 + '", "b": [' + "0," * reading.MOST + "0]}",
    ],
)
@pytest.mark.parametrize("key", ["file.json", "file.jsonl"])
def test_a_text_of_escapes_takes_not_many_times_its_size(value, key):
    """To look for the end of one, and for commas outside of it, needs no memory of how it was found: of 10 MB it was 700."""
    data = f"[{value}]".encode() if key == "file.json" else value.encode()
    stream = io.BytesIO(data)
    tracemalloc.start()
    try:
        for each in reading.values(stream, key=key, largest=4 * 1024 * 1024):
            assert each.position == 1
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 12 * len(data)


@pytest.mark.parametrize("piece", [997, PIECE])
def test_a_value_with_too_many_in_it_is_never_made(piece, monkeypatch):
    monkeypatch.setattr(reading, "MOST", 1_000)
    monkeypatch.setattr(reading, "AT_ONCE", 500)
    told = Problem("the value must have at most 1,000 values in it")
    text = '"' + ",[{" * 500 + '"'
    good = [many("1", 999), many("[ ]", 999), many('{"a,":{}}', 499), f'{{"a":{text}}}', many(text, 3)]
    bad = [many("1", 1_000), many("[]", 1_000), many('{"a":{}}', 500), many(text, 1_000)]
    for key, mark in (("a.json", ","), ("a.jsonl", "\n")):
        whole = mark.join([*good, *bad, "7"])
        found, broken = read(f"[{whole}]" if mark == "," else whole, key=key, largest=10_000_000, piece=piece)
        assert broken is None
        assert [each for _, each in found] == [*map(json.loads, good), *[told] * len(bad), 7]


def test_nor_is_it_where_it_is_only_to_be_found_out_what_the_file_is(monkeypatch):
    monkeypatch.setattr(reading, "MOST", 1_000)
    data = f'{{"a": {many("1", 2_000)}}}\n{{"b": 1}}'
    assert read(data, largest=10_000_000) == (
        [(1, Problem("the value must have at most 1,000 values in it")), (2, {"b": 1})],
        None,
    )


@pytest.mark.parametrize("blank", ["", "\n"])
def test_nor_is_an_object_that_was_read_far_to_find_that_out(blank):
    """All of it is at hand then: 9 MB of empty lists became 200 MB at once, in which no other thread runs."""
    data = f'{{{blank}"a": [{"[]," * 1_000_000}[]]}}'.encode()
    tracemalloc.start()
    try:
        (found,) = reading.values(io.BytesIO(data), key="a.json", largest=4 * 1024 * 1024)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == Read(1, Problem("the value must have at most 100,000 values in it"))
    assert most < 12 * len(data)


def test_a_large_object_alone_is_read_like_a_small_one():
    value = {"id": "a", "content": {str(number): 'x"\\]é' * 50 for number in range(3_000)}}
    text = json.dumps(value, indent=1, ensure_ascii=False)
    assert len(text) > 2 * PIECE
    largest = 10_000_000
    assert read(text + "\n", largest=largest) == ([(1, value)], None)
    assert read(text[:-1], largest=largest) == ([], "the file breaks off at value 1: the file ends before it does")
    assert (
        read(text + "]", largest=largest)[1]
        == f"something follows the object, at character {len(text) + 1:,} of the file"
    )
    found, broken = read(text.replace(",", ";", 1), largest=largest)
    assert found == []
    assert "Expecting ',' delimiter" in str(broken)
