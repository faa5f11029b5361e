"""Documents as records: every form, every charset, whatever pieces they come in, and what breaks them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.queue.values import check_json
from gnj.transform.sources import Bad, charsets, documents, feeds, tables
from gnj.transform.sources.packing import Ahead, Budget, unpacked
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


def test_an_empty_feed_has_no_records_whatever_it_is_said_to_be():
    for empty in (b"", b"\n", b"a,b\n", b"[]", b'{"items": []}', b"<rss><channel/></rss>", gzip.compress(b"")):
        assert parsed(empty) == ([], None)
    types = (None, "text/csv", "text/tab-separated-values", "application/json", "application/x-ndjson", "text/xml")
    for empty in (b"", b" ", b"\r\n\t \n" * 1_000, b"\xef\xbb\xbf", b"\xef\xbb\xbf\n ", "\n ".encode("utf-16")):
        for content_type in types:
            assert parsed(empty, content_type) == parsed(empty, content_type, piece=1) == ([], None), content_type
            assert parsed(gzip.compress(empty), content_type) == ([], None)
        assert parsed(empty, path="/x.xml") == parsed(empty, path="/x.json") == ([], None)
    assert parsed(b"\n", "text/xml; charset=latin-1") == parsed(b"\n", "text/json; charset=latin-1") == ([], None)
    assert parsed(b"<!-- -->", "text/xml") == ([], "the XML is not well-formed at line 1")


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
            [bad(0, "the line is no JSON: Expecting value at character 7"), {"b": 2}],
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
    assert [each.position for each in found[1:-1]] == [1, 2, 3, 4, 5, 6]
    assert found[1].text == '{"b": }'
    assert found[1].reason == "the line is no JSON: Expecting value at character 7"
    assert found[2].reason == "it is no object with fields"
    assert found[4].text == long.decode()[:1_000]


def test_a_field_that_is_too_large_is_a_bad_record_of_json():
    data = json.dumps([{"a": "x" * 10_000}, {"b": 1}]).encode()
    found, broken = parsed(data, most=1_000)
    assert (found, broken) == ([bad(0, "the value must have at most 1,000 bytes as JSON, not 10,008"), {"b": 1}], None)


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


HEADS = [
    # (a feed, its separator)
    ("sku,title,price\n1,Tee,1.50\n2,Milch,2.50\n", ","),
    ('id,title,description\n1,"Tea, green","loose; fine"\n2,Cup,"blue | white"\n', ","),
    ("name,tags\nA,x;y\nB,z;w\n", ","),
    ("sku,size,images\n1,S,a|b|c\n2,M,d|e\n", ","),
    ('"sku; old","name"\n1,Tea\n2,Cup\n', ","),
    ('"a;b;c","d"\n"g;h","i"\n', ","),
    ("a,b\n1,2\n1\n1,2,3\n4,5\n", ","),
    ("Preis, netto;Name\n1,50;Tee\n2,50;Milch\n", ";"),
    ("Name;Preis, netto;Preis, brutto\nTee;1,50;1,79\nMilch;2,50;2,98\n", ";"),
    ("Artikelnummer;Bezeichnung;Preis\n1;Tee, grün;1,50\n2;Tasse;2,50\n3;Kanne, groß;9,00\n", ";"),
    ("Größe (B, H, T);Farbe\n10, 20, 30;rot\n1, 2, 3;blau\n", ";"),
    ('"Preis, netto";"Name"\n"1,50";"Tee"\n', ";"),
    ("a;b\n1;2,3,4\n", ";"),
    ("title;tags\nA;x,y\nB;z,w\n", ";"),
    ("a;b,c\n", ";"),
    ("name\tdescription\nA\tx, y\nB\tz\n", "\t"),
    ("name, full\tprice\nTea, green\t1,50\nTea, black\t2,50\n", "\t"),
    ("id|name, full|price\n1|Tea, green|1.5\n2|Tea, black|2.5\n", "|"),
    ("id|name;short|price\n1|a;b|1\n2|c;d|2\n", "|"),
]


@pytest.mark.parametrize("text, separator", HEADS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_separator_is_that_on_which_names_and_rows_agree(text, separator, end):
    head, *rows = csv.reader(io.StringIO(text), delimiter=separator)
    expected = [dict(zip(head, [*row, *[None] * len(head)], strict=False)) for row in rows]
    assert parsed(text.replace("\n", end).encode(), "text/csv") == (expected, None)


@pytest.mark.parametrize("value", ["Tea, green", "Tea; black", "a|b", "a\tb", "1,50", "x"])
def test_one_column_is_not_torn(value):
    assert parsed(f"name\n{value}\nother\n".encode(), "text/csv") == ([{"name": value}, {"name": "other"}], None)
    assert parsed(f'"name"\n"{value}"\n'.encode(), "text/csv") == ([{"name": value}], None)


def test_only_whole_lines_of_the_beginning_count(monkeypatch):
    monkeypatch.setattr(tables, "_SAMPLE", 20)
    assert parsed(b"a;b,c\n1,2;3\n4,5;6;7,8,9\n", "text/csv")[0][0] == {"a": "1,2", "b,c": "3"}


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


def lines_of(text):
    """The rows below the names."""
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row][1:]


@pytest.mark.parametrize("piece", [1, 5, 1_000])
@pytest.mark.parametrize("tail", ['B,"open', 'B,"open\n', 'B,"open\n3,4\n', 'B,"o""', 'B,"'])
def test_a_quote_that_nothing_closes_makes_no_record(tail, piece):
    text = f'a,b\n1,"2"\n{tail}'
    first, bad = tables.rows((text[at : at + piece] for at in range(0, len(text), piece)), most=10_000)
    assert first == {"a": "1", "b": "2"}
    assert bad == Bad(1, "a quote in it is closed by nothing, to the end of the file", tail)


AWKWARD = st.text(alphabet=['"', ",", ";", "\n", "\r", "x", "y", " "], max_size=40)


@settings(max_examples=200, deadline=None)
@given(AWKWARD, st.integers(1, 10), st.integers(1, 4))
def test_what_is_read_without_the_parser_is_what_it_reads(text, piece, limit):
    """A lower limit of the standard library has the rest read rows: what both make of quotes, or of half of them, is the same."""
    text = "a,b,c\n" + text
    expected = lines_of(text)
    pieces = (text[at : at + piece] for at in range(0, len(text), piece))
    with limited_to(limit):
        found = list(tables.rows(pieces, separators=",", most=10_000))
        assert csv.field_size_limit() == limit
    if len(lines_of(f"{text}\nx")) == len(expected):  # a quote was open
        assert isinstance(found.pop(), Bad)
        expected.pop()
    assert found == [dict(zip("abc", [*row, None, None, None], strict=False)) for row in expected]


@contextmanager
def limited_to(characters):
    """What another part of the host may have set."""
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("piece", [1, 7, 1_000])
@pytest.mark.parametrize(
    "long",
    [
        "x" * 300 + ",1",
        "1," + "x" * 300,
        '"' + "x\n" * 200 + '",1',
        '"' + 'x""' * 200 + '",1',
        '"' + ',""\r\n' * 100 + '"y"z",1',
        "1," * 300,
        '"x",' * 300,
        '1,"",' + '"' + '"' * 300 + '"',
    ],
)
def test_a_row_that_is_too_long_is_bad_and_the_others_are_read(long, piece, end):
    text = end.join(["a,b", "1,2", long, "3,4", long, '"5\r",6', long])
    found, broken = parsed(text.encode(), piece=piece, most=200)
    assert broken is None
    reason = "the row has more than 200 characters"
    shown = [each.text for each in found if not isinstance(each, dict)]
    assert found == [
        {"a": "1", "b": "2"},
        bad(1, reason, shown[0]),
        {"a": "3", "b": "4"},
        bad(3, reason, shown[1]),
        {"a": "5\r", "b": "6"},
        bad(5, reason, shown[2]),
    ]
    assert all(long.startswith(each) or each.startswith(long) for each in shown)


@pytest.mark.parametrize("piece", [3, 1_000])
@pytest.mark.parametrize("begin", ['a,b\n1,2\n"x', 'a,b\n1,2\n3,"x""'])
def test_quotes_that_nothing_closes_end_the_run_once_the_row_is_too_long(begin, piece):
    assert parsed(begin.encode() + b"\ny,z" * 20, piece=piece, most=1_000)[0][0] == {"a": "1", "b": "2"}
    assert parsed(begin.encode() + b"\ny,z" * 2_000, piece=piece, most=1_000) == (
        ONE_ROW,
        "a row has more than 1,000 characters, and quotes that nothing closes",
    )


ONE_ROW = [{"a": "1", "b": "2"}]


def test_names_that_are_too_long_end_the_run():
    told = "its first row, which has the names, is broken: the row has more than 200 characters"
    for names in ("a," * 200, "x" * 300):
        assert parsed(f"{names}\n1,2\n".encode(), most=200) == ([], told)
    assert parsed(b",".join(b"x" for _ in range(10_001)))[1] == "it has more than 10,000 columns"


MIB = 1024 * 1024
FORMS = {
    "text/csv": ("a,b\n1,2\n", '{0},x\n"{1}",x\n{2},x\n"{2}",x\n', "1,2\n"),
    "text/tab-separated-values": ("a\tb\n1\t2\n", '{0}\tx\n"{1}"\tx\n{2}\tx\n"{2}"\tx\n', "1\t2\n"),
    "application/x-ndjson": (
        '{{"a":"1","b":"2"}}\n',
        '{{"a":"{0}","b":"x"}}\n{{"a":"{1}","b":"x"}}\n{{"a":"{2}","b":"x"}}\n{{"a":"x","b":"{2}"}}\n',
        '{{"a":"1","b":"2"}}\n',
    ),
    "application/json": (
        '[{{"a":"1","b":"2"}},',
        '{{"a":"{0}","b":"x"}},{{"a":"{1}","b":"x"}},{{"a":"{2}","b":"x"}},{{"a":"x","b":["{2}"]}},',
        '{{"a":"1","b":"2"}}]',
    ),
    "application/xml": (
        "<r><item><a>1</a><b>2</b></item>",
        "<item><a>{0}</a><b>x</b></item><item><a>{1}</a><b>x</b></item><item><a>{2}</a></item><item><c>{2}</c><b/></item>",
        "<item><a>1</a><b>2</b></item></r>",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_values_up_to_the_limit_are_read_and_ten_megabytes_are_a_bad_record(form):
    begin, middle, end = FORMS[form]
    texts = ["p" * 200_000, "q" * (4 * MIB - 100), "y" * 10_000_000]
    data = "".join([begin.format(), middle.format(*texts), end.format()]).encode()
    taken = io.BytesIO(data)
    tracemalloc.start()
    try:
        stream = unpacked(taken, None, Budget(len(data)))
        found: list[Any] = []
        for each in cast("Iterator[Any]", documents.records(stream, content_type=form, path="/x", most=4 * MIB)):
            if isinstance(each, Bad):
                found.append((each.position, each.reason))
            else:
                found.append(each if len(each["a"]) < 10 else (each["a"][0], len(each["a"]), each["b"]))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [found[0], found[5]] == [ONE_ROW[0]] * 2
    assert found[1:3] == [("p", 200_000, "x"), ("q", 4 * MIB - 100, "x")]
    assert [position for position, _ in found[3:5]] == [3, 4]
    assert all(re.search(r"4,194,304 (bytes|characters)", reason) for _, reason in found[3:5]), found
    assert most < 60 * MIB, f"{most:,}"
    assert csv.field_size_limit() == 128 * 1024


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


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "declared, written, said",
    [
        # the document and the header agree
        ("ISO-8859-1", "iso-8859-1", "iso-8859-1"),
        ("windows-1252", "windows-1252", "windows-1252"),
        ("UTF-8", "utf-8", "utf-8"),
        ("UTF-16", "utf-16", "utf-16"),
        ("UTF-16", "utf-16-le", "utf-16le"),
        ("Shift_JIS", "shift_jis", "Shift_JIS"),
        ("GBK", "gbk", "gbk"),
        # the header wins
        ("ISO-8859-1", "utf-8", "utf-8"),
        ("UTF-8", "iso-8859-1", "iso-8859-1"),
        ("UTF-16", "utf-8", "utf-8"),
        ("unheard-of", "utf-8", "utf-8"),
        # so does a byte order mark
        ("UTF-16", "utf-16", None),
        ("ISO-8859-1", "utf-16", None),
        ("ISO-8859-1", "utf-8-sig", None),
        # the document alone says it
        ("ISO-8859-1", "iso-8859-1", None),
        ("windows-1252", "windows-1252", None),
        ("Shift_JIS", "shift_jis", None),
        ("GBK", "gbk", None),
        ("utf-8", "utf-8", "unheard-of"),
        ("UTF8", "utf-8", None),
        ("utf-16", "utf-8", None),  # which cannot be
    ],
)
def test_the_charset_of_xml(declared, written, said, piece):
    text = "日本" if declared in ("Shift_JIS", "GBK") else "Café"
    document = f'<?xml version="1.0" encoding="{declared}" standalone="yes"?>\n<rss><item><t a="{text}"/><u>{text}</u></item></rss>'
    content_type = "text/xml" if said is None else f"text/xml; charset={said}"
    expected = ([{"t": {"a": text}, "u": text}], None)
    assert parsed(document.encode(written), content_type, piece=piece) == expected
    if written == "windows-1252":
        undefined = document.replace(text, "€").encode(written).replace(b"\x80", b"\x80\x81")
        assert parsed(undefined, content_type, piece=piece)[0][0]["u"] == "€\x81"


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
        ("<a>" * 65, "its elements are nested more than 64 levels deep"),
        ("<item>" * 65, "its elements are nested more than 64 levels deep"),
        ("<item>" + "x" * 20_000 + "<a>" * 64, "its elements are nested more than 64 levels deep"),
        ("<item><a>" + "x" * 20_000, "the XML is not well-formed at line 1"),
    ],
)
def test_xml_that_is_refused(data, told):
    found, broken = parsed(data.encode(), most=10_000)
    assert broken == told
    assert len(found) <= 1


def test_what_the_parser_would_keep_is_bounded(monkeypatch):
    monkeypatch.setattr(feeds, "_NAMES", 50)
    monkeypatch.setattr(feeds, "_SILENCE", 5_000)
    names = "".join(f"<n{n}/>" for n in range(60))
    assert parsed(f"<rss>{names}</rss>".encode())[1] == "it has more than 50 different names in it"
    for begin in (b"<rss><!--", b"<rss ", b"<item><a b='"):
        for most, told in ((1_000, "5,000"), (6_000, "6,000")):
            broken = parsed(begin + b"x" * 9_000, piece=1_000, most=most)[1]
            assert broken == f"a tag or a comment has more than {told} characters"
    assert parsed(b"<rss>" + b"text " * 9_000 + b"</rss>", most=5_000) == ([], None)
    assert parsed(b"<rss><!--" + b"x" * 4_000 + b"--><item/></rss>", piece=1_000, most=1_000) == ([{}], None)


@pytest.mark.parametrize("piece", PIECES)
def test_an_item_that_is_too_large_is_bad_and_the_others_are_read(piece, monkeypatch):
    monkeypatch.setattr(feeds, "_ELEMENTS", 50)
    ok, text = "<item><a>1</a></item>", "x" * 600
    large = [
        f"<item><a>{text}{text}</a><b><item><c/></item>{text}</b></item>",
        f"<item><a>{text}</a><a>{text}</a></item>",
        f"<item>{text}<![CDATA[{text}]]></item>",
        f"<item><a b='{text}'/><a b='{text}'>x</a><a/></item>",
    ]
    many = f"<item>{'<a>1</a>' * 60}<b><c/></b></item>"
    data = ok.join(["<feed>", *large, many, "<x><item/></x></feed>"]).encode()
    found, broken = parsed(data, piece=piece, most=1_000)
    assert broken is None
    reason = "the item has more than 1,000 characters"
    bads = [*(bad(2 * place + 1, reason) for place in range(4)), bad(9, "the item has more than 50 elements")]
    assert [each for each in found if not isinstance(each, dict)] == bads
    assert [each for each in found if isinstance(each, dict)] == [{"a": "1"}] * 6 + [{}]


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


@pytest.mark.parametrize("content_type", [None, "text/csv; charset=windows-1252"])
def test_bytes_that_windows_1252_leaves_undefined_are_control_characters(content_type):
    every = bytes(byte for byte in range(0x80, 0x100))
    found, broken = parsed(b"a,b\n1," + every + b"\n", content_type)
    assert broken is None
    text = found[0]["b"]
    assert len(text) == 128
    assert [text[byte - 0x80] for byte in (0x80, 0x81, 0x8D, 0x8F, 0x90, 0x9D, 0x9F, 0xFF)] == list(
        "€\x81\x8d\x8f\x90\x9dŸÿ"
    )


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
        (b"\xff\xfea\0\n\0x", None, "it is not utf-16, which it is to be"),
        (b"a\n\xe9", "text/csv; charset=us-ascii", "it is not ascii, which it is to be"),
        (b"a\0\n\0", None, "it has NUL in it, so it is no text"),
        (b"PK\x03\x04\x14\0\0\0", None, "it is a ZIP archive: only gzip is unpacked"),
        (b"PK\x03\x04\x14\0\0\0", "text/csv; charset=latin-1", "it is a ZIP archive: only gzip is unpacked"),
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
