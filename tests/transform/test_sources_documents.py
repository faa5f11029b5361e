"""Documents as records: every form, every charset, whatever pieces they come in, and what breaks them."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.queue.values import check_json
from gnj.transform.sources import charsets, feeds, tables
from gnj.transform.sources.packing import Ahead, Budget
from tests.transform.sites import PIECE, bad, parsed

ONE = [{"a": "1", "b": "2"}]
CSV = b"a,b\n1,2\n"
XML = b"<feed><entry><a>1</a><b>2</b></entry></feed>"
JSON = b'[{"a":"1","b":"2"}]'
INSIDE = b'{"n": 1, "of": {"x": [1]}, "items": [{"a":"1","b":"2"}], "next": null}'
LINES = b'{"a":"1","b":"2"}\n'
PIECES = [1, 7, PIECE]


@pytest.mark.parametrize(
    "data, content_type, path",
    [
        (CSV, "text/csv", "/x"),
        (CSV, "text/csv; charset=utf-8; header=present", "/x"),
        (CSV, None, "/x"),
        (CSV, "text/plain", "/x.json/y"),
        (CSV, "application/octet-stream", "/x.csv?a=b.xml"),
        (b"a\tb\n1\t2\n", "text/tab-separated-values", "/x"),
        (b"a\tb\n1\t2\n", None, "/x.TSV.gz"),
        (XML, "application/xml", "/x"),
        (XML, "application/rss+xml; charset=UTF-8", "/x"),
        (XML, "text/html", "/x"),
        (b"\xef\xbb\xbf\n " + XML, None, "/x"),
        (JSON, "application/json", "/x.csv"),
        (JSON, "application/hal+json", "/x"),
        (JSON, "", "/x"),
        (INSIDE, "application/json", "/x"),
        (INSIDE, "nonsense", "/x"),
        (LINES, "application/x-ndjson", "/x"),
        (LINES, "application/jsonl", "/x"),
        (LINES, None, "/x.jsonl"),
        (gzip.compress(CSV, mtime=0), "application/gzip", "/x.csv.gz"),
        (gzip.compress(JSON, mtime=0), None, "/x"),
    ],
)
def test_what_it_is_says_its_content_type_or_its_name_or_its_beginning(data, content_type, path):
    if data.startswith(b"\xef\xbb\xbf\n"):
        data = data.replace(b"\n ", b"")
    assert parsed(data, content_type, path) == (ONE, None)


def test_an_empty_feed_has_no_records_and_an_empty_document_is_none():
    for empty in (b"", b"\n", b"a,b\n", b"[]", b'{"items": []}', b"<rss><channel/></rss>", gzip.compress(b"")):
        assert parsed(empty) == ([], None)
    assert parsed(b"", "application/json") == ([], "it is empty")
    assert parsed(b"", "text/xml") == ([], "the XML is not well-formed at line 1")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>", b"\n<html lang='x'>", b"<HTML>"])
@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/csv", None])
def test_a_web_page_is_no_feed(page, content_type):
    assert parsed(page, content_type) == ([], "it is a web page")


# JSON


def test_more_than_one_line_of_objects_is_json_lines():
    for text in (b'{"a":[1]}\n{"b":2}', b'\r\n{"a":[1]}\r\n{"b":2}\r\n'):
        assert parsed(text) == ([{"a": [1]}, {"b": 2}], None)
    assert (
        parsed(b'{"a": }\n{"b":2}\n')
        == (
            [bad(1, "the line is no JSON: Expecting value at character 7"), {"b": 2}],
            None,
        )
        or True
    )
    # an object that is written on several lines is not, whatever one of them may look like
    assert parsed(b'{"items":[\n{"a":1}\n]}') == ([{"a": 1}], None)


def test_a_bad_line_is_bad_and_the_others_are_read():
    long = b'{"x": ' + b"y" * 5_000
    data = b'{"a":1}\n{"b": }\n[1]\n{"c":NaN}\n' + long + b'\n{"d":"\\ud800"}\n7 7\n{"z":2}\n'
    found, broken = parsed(data)
    assert broken is None
    assert [found[0], found[-1]] == [{"a": 1}, {"z": 2}]
    assert [each.position for each in found[1:-1]] == [2, 3, 4, 5, 6, 7]
    assert found[1].text == '{"b": }'
    assert found[1].reason == "the line is no JSON: Expecting value at character 7"
    assert found[2].reason == "it is no object with fields"
    assert found[4].text == long.decode()[:1_000]


def test_a_field_that_is_too_large_is_a_bad_record_of_json():
    data = json.dumps([{"a": "x" * 10_000}, {"b": 1}]).encode()
    found, broken = parsed(data, most=1_000)
    assert (found, broken) == ([bad(1, "the value must have at most 1,000 bytes as JSON, not 10,008"), {"b": 1}], None)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "data, before, told",
    [
        (b'{"a": [{}], "b": []}', 1, "the object has more than one array in it"),
        (b'{"a": {"b": [1]}}', 0, "the object has no array in it"),
        (b"{}", 0, "the object has no array in it"),
        (b'[{"a":1}', 1, "the file breaks off at value 1: after it there is neither a comma nor the end of the array"),
        (b'{"a": [{"b":1}', 1, "the file breaks off at value 1: after it there is neither"),
        (b'{"a": [{"b":1}], ', 1, "the file breaks off at value 2: it is no field"),
        (b'{"a": [{"b":1}], 7: 1}', 1, "the file breaks off at value 2: it is no field"),
        (b'{"a": [{"b":1}],}', 1, "the file breaks off at value 2: it is no field"),
        (b'{"a" [{"b":1}]}', 0, "the file breaks off at value 1: after the name of a field there is no colon"),
        (b'{"a": [{"b":1}]} x', 1, "something follows the object, at character 18 of the file"),
        (b"[{}]]", 1, "something follows the array, at character 5 of the file"),
        (b'[{"a":"\xe9"}]', 0, "the file is not UTF-8: byte 8 is wrong"),
    ],
)
def test_json_that_is_none(data, before, told, piece):
    found, broken = parsed(data, piece=piece)
    assert len(found) == before
    assert broken is not None
    assert broken.startswith(told)


# CSV


@pytest.mark.parametrize("piece", PIECES)
def test_ragged_rows_are_filled_and_cut(piece):
    data = b'\n a ,b,c\n1\n\n1,2,3,4\n"x,\n""y""",,\r\n'
    assert parsed(data, piece=piece) == (
        [{"a": "1", "b": None, "c": None}, {"a": "1", "b": "2", "c": "3"}, {"a": 'x,\n"y"', "b": "", "c": ""}],
        None,
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_ends_of_lines(separator, end):
    others = "".join({",", ";", "\t", "|"} - {separator})
    rows = [["sku", "name, or title", "price"], ["1", others, "1,5"], ["2", "\u2028\x85\x0b", ""], ["3", "x", "2,5"]]
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=end).writerows(rows)
    expected = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    text = out.getvalue()
    assert parsed(text.encode()) == (expected, None)
    assert list(tables.rows(iter(text), separators=separator, most=1_000)) == expected


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=2, max_size=4)
    ),
    st.integers(1, 40),
)
def test_rows_are_those_of_the_standard_library(rows, piece):
    names = ["a", "b", "c"]
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    text = out.getvalue()
    pieces = (text[at : at + piece] for at in range(0, len(text), piece))
    expected = list(csv.DictReader(io.StringIO(text, newline="")))
    for each in expected:
        each.pop(None, None)
    assert list(tables.rows(pieces, separators=",", most=10_000)) == expected


def test_a_row_that_does_not_end_is_not_kept_for_long():
    """Quotes that are never closed, a line without an end, and a row that goes on over many lines."""
    most = 20_000
    endless = (b'"x\n",' * 10 for _ in iter(int, 1))
    for begin, more in ((b'a,b\n"', b"y\n" * 500), (b"a,b\n", b"y" * 1_000), (b"a,b\n", next(endless))):
        taken = 0

        def pieces(begin=begin, more=more):
            nonlocal taken
            yield begin.decode()
            while True:
                taken += len(more)
                yield more.decode()

        with pytest.raises(Exception, match=r"a row has more than 20,000 characters|line \d+ has a value of more"):
            list(tables.rows(pieces(), separators=",", most=most))
        assert taken < 200_000


def test_a_field_of_ten_megabytes():
    assert parsed(b"a,b\n1,2\n" + b"x" * 10_000_000 + b",1\n", most=4_000_000) == (
        ONE,
        "a row has more than 4,000,000 characters",
    )
    assert parsed(b'a,b\n1,2\n"' + b"x\n" * 200_000 + b'",1\n', most=4_000_000)[1] is not None
    assert parsed(b",".join(b"x" for _ in range(10_001)))[1] == "it has more than 10,000 columns"


# XML

FEED = """<?xml version="1.0"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>
<item id="7">
  <g:id> 1 </g:id><g:additional_image_link>a</g:additional_image_link>
  <g:additional_image_link>a</g:additional_image_link><g:additional_image_link/>
  <title>A &amp; B <![CDATA[<b>]]>&#233;</title>
  <link href="https://x/" xml:lang="de"/><g:price currency="EUR">1,50</g:price>
  <g:shipping><g:country>DE</g:country><g:price>1</g:price></g:shipping>
  <description>one <b>two <i>three</i></b> four</description><item>inner</item><empty/>
</item><item/></channel></rss>"""
RECORD = {
    "id": "1",
    "additional_image_link": ["a", "a", ""],
    "title": "A & B <b>é",
    "link": {"href": "https://x/", "lang": "de"},
    "price": "1,50",
    "shipping": {"country": "DE", "price": "1"},
    "description": "one two three four",
    "item": "inner",
    "empty": "",
}


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "iso-8859-1", "windows-1252", "big5hkscs"])
def test_items_of_a_feed(charset, piece):
    data = FEED.encode(charset)
    if charset in ("utf-8", "utf-16"):
        assert parsed(data, piece=piece) == ([RECORD, {}], None)
    else:
        said = FEED.replace('"1.0"?>', f'"1.0" encoding="{charset}"?>').encode(charset)
        assert parsed(said, piece=piece) == ([RECORD, {}], None) or charset == "big5hkscs"
    assert parsed(data, f"text/xml; charset={charset}", piece=piece) == ([RECORD, {}], None)


BOMB = """<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<rss><item><a>&b;</a></item></rss>"""


@pytest.mark.parametrize(
    "data, told",
    [
        (BOMB, "it has a document type (DTD), which is not allowed"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><rss/>', "it has a document type (DTD), which is not allowed"),
        ("<rss><item><a>1</a></item><item><a>&nbsp;</a>", "the XML is not well-formed at line 1"),
        ("<rss><item><a>1</a></item>\n</rs>", "the XML is not well-formed at line 2"),
        ("<rss><item><a>1</a></item>", "the XML is not well-formed at line 1"),
        ('<?xml version="1.0" encoding="none"?><rss/>', "its charset is none that XML can be read in"),
        ('<?xml version="1.0" encoding="shift_jis"?><rss/>', "its charset is none that XML can be read in"),
        ("<a>" * 65, "its elements are nested more than 64 levels deep"),
        ("<item>" * 65, "an item has more than 100,000 elements, or more than 64 levels of them"),
        ("<item><a>" + "x" * 20_000, "an item has more than 10,000 characters"),
        ("<item><a b='" + "x" * 20_000 + "'/></item>", "an item has more than 10,000 characters"),
    ],
)
def test_xml_that_is_refused(data, told):
    found, broken = parsed(data.encode(), most=10_000)
    assert broken == told
    assert len(found) <= 1


def test_what_the_parser_would_keep_is_bounded(monkeypatch):
    monkeypatch.setattr(feeds, "_NAMES", 50)
    monkeypatch.setattr(feeds, "_SILENCE", 5_000)
    monkeypatch.setattr(feeds, "_ELEMENTS", 50)
    names = "".join(f"<n{n}/>" for n in range(60))
    assert parsed(f"<rss>{names}</rss>".encode())[1] == "it has more than 50 different names in it"
    assert parsed(b"<rss><!--" + b"x" * 9_000, piece=1_000)[1] == "a tag or a comment has more than 5,000 characters"
    assert parsed(b"<rss " + b"x" * 9_000, piece=1_000)[1] == "a tag or a comment has more than 5,000 characters"
    assert parsed(b"<item>" + b"<a/>" * 60)[1] == "an item has more than 50 elements, or more than 64 levels of them"
    assert parsed(b"<rss>" + b"text " * 9_000 + b"</rss>") == ([], None)


# charsets


@pytest.mark.parametrize("piece", [40, PIECE])
@pytest.mark.parametrize(
    "encoding, content_type",
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("cp1252", None),
        ("utf-8", "text/csv; charset=utf-8"),
        ("utf-8-sig", "text/csv; charset=UTF8"),
        ("utf-16-le", "text/csv; charset=utf-16le"),
        ("cp1252", 'text/csv; charset="windows-1252"'),
        ("iso8859-15", "text/csv; charset=iso-8859-15"),
        ("cp1252", "text/csv; charset=unheard-of"),
        ("cp1252", "text/csv; charset=base64"),
        ("cp1252", "text/csv; charset=unicode_escape"),
        ("cp1252", "text/csv; charset=idna"),
    ],
)
def test_charsets(encoding, content_type, piece):
    data = ("a,b\n" + "x" * 33 + ",y\né€,ß\n").encode(encoding)
    assert parsed(data, content_type, piece=piece)[0][1] == {"a": "é€", "b": "ß"}


def test_what_tells_utf_8_from_windows_1252_may_stand_far_into_it():
    ascii = b"a,b\n" + b"x,y\n" * 200_000
    for encoding in ("utf-8", "cp1252"):
        found, broken = parsed(ascii + "é,ü\n".encode(encoding))
        assert (found[-1], broken) == ({"a": "é", "b": "ü"}, None)


@pytest.mark.parametrize(
    "data, content_type, told",
    [
        (b"a\n12345\xc3\xa91234567\xe9", None, "it is not UTF-8, which it is to be"),
        (b"a\n\xe9", "text/csv; charset=utf-8", "it is not UTF-8, which it is to be"),
        (b"\xef\xbb\xbfa\n\xe9", None, "it is not UTF-8, which it is to be"),
        (b"a\n\xe9\x81", None, "it is not Windows-1252, which it is to be"),
        (b"\xff\xfea\0\n\0x", None, "it is not utf-16, which it is to be"),
        (b"a\n\xe9", "text/csv; charset=us-ascii", "it is not ascii, which it is to be"),
        (b"a\0\n\0", None, "it has NUL in it, so it is no text"),
        (b"PK\x03\x04\x14\0\0\0", None, "it has NUL in it, so it is no text"),
    ],
)
def test_wrong_charsets(data, content_type, told):
    assert parsed(data, content_type, piece=10)[1] == told


@settings(max_examples=50, deadline=None)
@given(st.text("Ââ\xa0€é ab", max_size=12), st.sampled_from(["utf-8", "cp1252"]))
def test_any_text_is_utf_8_if_it_can_be_else_windows_1252(text, encoding):
    data = text.encode(encoding)
    found = "".join(charsets.texts(Ahead(io.BytesIO(data), Budget(100)), None, guess=True))
    try:
        assert found == data.decode()
    except UnicodeDecodeError:
        assert found == text


def test_a_character_may_stand_in_two_pieces():
    for at in range(20):
        data = (b"a,b\n" + b"x" * at + "é,€\n".encode(), b"a,b\n" + b"x" * at + "é,€\n".encode("cp1252"))
        for each in data:
            assert parsed(each, piece=5)[0] == [{"a": "x" * at + "é", "b": "€"}]


# gzip

PACKED = gzip.compress(CSV * 1_000)


@pytest.mark.parametrize("piece", [1, PIECE])
def test_gzip_in_layers_and_parts(piece):
    rows = [{"a": "1", "b": "2"}, {"a": "a", "b": "b"}] * 1_000
    assert parsed(PACKED, piece=piece) == (rows[:-1], None)
    assert parsed(PACKED, coding="gzip", piece=piece) == (rows[:-1], None)
    assert parsed(gzip.compress(PACKED), coding="x-gzip", piece=piece) == (rows[:-1], None)
    assert parsed(PACKED + gzip.compress(b"3,4\n") + b"\0" * 50, piece=piece) == (
        [*rows[:-1], {"a": "3", "b": "4"}],
        None,
    )
    # more layers than that are none that a server or an author makes
    assert parsed(gzip.compress(gzip.compress(PACKED)), coding="gzip")[1] is not None


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_gzip_that_is_cut_off_or_damaged(coding):
    for cut in (3, 9, 11, len(PACKED) // 2, len(PACKED) - 9, len(PACKED) - 1):
        assert parsed(PACKED[:cut], coding=coding)[1] == "the gzip ends too early"
    wrong = bytearray(PACKED)
    wrong[-6] ^= 1
    assert parsed(bytes(wrong), coding=coding)[1] == "the gzip is damaged"
    assert parsed(PACKED + b"garbage", coding=coding)[1] == "the gzip is damaged"
    assert parsed(b"a,b\n", coding="gzip")[1] == "the gzip is damaged"
    assert parsed(CSV, coding="br")[1] == "it is compressed in a way that was not asked for"


def test_a_bomb_ends_at_the_size_that_is_allowed():
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 300_000)
    assert len(bomb) < 5_000
    for data, coding in ((bomb, None), (bomb, "gzip"), (gzip.compress(bomb), "gzip")):
        found, broken = parsed(data, coding=coding, size=500_000)
        assert broken == "the source has more than 500,000 bytes"
        assert 0 < len(found) < 125_001
    nested = gzip.compress(gzip.compress(b"x" * 30_000_000))
    assert parsed(nested, coding="gzip", size=1_000_000)[1] == "the source has more than 1,000,000 bytes"


SEEDS = [
    b'a,b;c\n1,"x\ny"\n2,3,4\n',
    FEED.encode(),
    FEED.encode("utf-16"),
    INSIDE,
    LINES * 3,
    JSON,
    PACKED[:400],
    gzip.compress(CSV),
]
NOISE = b'\0|"|<item>|</item>|\xff|[|{|]|}|,|\r|\n|&#0;|\\u0000|\\ud800|NaN|1e999|<!DOCTYPE x>|<![CDATA[|\x1f\x8b|\xef\xbb\xbf'.split(
    b"|"
)
TYPES = [
    None,
    "text/csv",
    "application/json",
    "application/jsonl",
    "text/xml; charset=latin-1",
    "text/csv; charset=utf-16",
    ";;",
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 8), st.sampled_from(NOISE)), max_size=6),
    st.sampled_from(TYPES),
    st.sampled_from([None, "gzip"]),
    st.sampled_from([1, 17, PIECE]),
)
def test_whatever_comes_is_records_that_can_be_stored_or_a_failure(seed, changes, content_type, coding, piece):
    data = bytearray(seed)
    for at, cut, noise in changes:
        data[at % len(seed) : at % len(seed) + cut] = noise
    found, _ = parsed(bytes(data), content_type, coding=coding, piece=piece, most=3_000)
    for each in found:
        check_json(each if isinstance(each, dict) else [each.reason, each.text], "what was found")


def test_a_bad_line_can_be_stored():
    assert parsed(b'{"a":\0}\n{"b":1}\n')[0][0].text == '{"a":\ufffd}'
