"""An answer as records: JSON, JSON Lines, XML, CSV or TSV, as its content type says, else its name, else how it begins."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from enum import Enum, auto
from typing import BinaryIO, Final, cast

from gnj.queue.values import clean_text
from gnj.reading import values
from gnj.transform.errors import SourceFailed
from gnj.transform.sources import charsets, feeds, tables
from gnj.transform.sources.items import PIECE, Bad, no_record, unreadable
from gnj.transform.sources.packing import Ahead
from gnj.transform.values import Record


class Form(Enum):
    """How records are written."""

    JSON = auto()
    LINES = auto()
    XML = auto()
    CSV = auto()
    TSV = auto()


_TYPES: Final = {
    "application/json": Form.JSON,
    "text/json": Form.JSON,
    "application/x-ndjson": Form.LINES,
    "application/ndjson": Form.LINES,
    "application/jsonl": Form.LINES,
    "application/x-jsonlines": Form.LINES,
    "application/json-lines": Form.LINES,
    "application/xml": Form.XML,
    "text/xml": Form.XML,
    "text/csv": Form.CSV,
    "application/csv": Form.CSV,
    "text/tab-separated-values": Form.TSV,
}
_SUFFIXES: Final = {"json": Form.JSON, "xml": Form.XML}
"""Of content types, behind the plus (RFC 6839)."""
_ENDINGS: Final = {
    "json": Form.JSON,
    "jsonl": Form.LINES,
    "ndjson": Form.LINES,
    "xml": Form.XML,
    "rss": Form.XML,
    "atom": Form.XML,
    "csv": Form.CSV,
    "tsv": Form.TSV,
}
_ZIP: Final = b"PK\x03\x04"
_BEGINNING: Final = 1_024
"""Bytes of it that are looked at."""


def records(stream: Ahead, *, content_type: str | None, path: str, most: int) -> Iterator[Record | Bad]:
    """The records of an answer; none of one that is empty, or has nothing in it but blanks, whatever it is said to be.

    Args:
        stream: Its content.
        content_type: As its header has it.
        path: Of its URL.
        most: Bytes of one record.

    Raises `SourceFailed` while it iterates, after the records before the fault.
    """
    told = Message()
    told["content-type"] = (content_type or "").strip() or "application/octet-stream"
    charset = charsets.known(told.get_content_charset())
    form = _form(told.get_content_type(), path, stream)
    if form is None:
        return iter(())
    if form in (Form.CSV, Form.TSV):
        separators = "\t" if form is Form.TSV else tables.SEPARATORS
        return tables.rows(charsets.texts(stream, charset, guess=True), separators=separators, most=most)
    charset = charset or charsets.marked(stream)
    if form is Form.XML:
        charset = charset or charsets.declared_in_xml(stream)
        bare = iter(lambda: stream.read(PIECE), b"")
        return feeds.items(bare if charset is None else charsets.texts(stream, charset, guess=False), most=most)
    is_utf_8 = charset in (None, "utf-8")
    source = stream if is_utf_8 else charsets.Encoded(charsets.texts(stream, charset, guess=False))
    return _json(cast("BinaryIO", source), lines=form is Form.LINES, most=most)


def _form(content_type: str, path: str, stream: Ahead) -> Form | None:
    """How the records are written; None for what is empty."""
    form = _TYPES.get(content_type) or _SUFFIXES.get(content_type.rpartition("+")[2])
    head = stream.peek(_BEGINNING)
    if head.startswith(_ZIP):
        raise unreadable("it is a ZIP archive: only gzip is unpacked")
    encoding = charsets.marked(stream) or "latin-1"
    text = head.decode(encoding, errors="ignore").lstrip("\ufeff\xef\xbb\xbf \t\r\n")
    if text[:15].lower().startswith(("<!doctype html", "<html")):
        raise unreadable("it is a web page")
    if not head:
        return None
    if form is not None:
        return form
    name = path.partition("?")[0].lower().removesuffix(".gz")
    if (form := _ENDINGS.get(name.rpartition(".")[2])) is not None:
        return form
    return Form.XML if text.startswith("<") else Form.JSON if text.startswith(("[", "{")) else Form.CSV


def _json(stream: BinaryIO, *, lines: bool, most: int) -> Iterator[Record | Bad]:
    try:
        for each in values.records(stream, lines=lines, largest=most):
            value = each.value
            if type(value) is dict:
                yield value
            elif isinstance(value, values.Problem):
                yield Bad(each.position - 1, clean_text(value.reason), clean_text(value.text))
            else:
                yield no_record(each.position - 1, value)
    except values.Broken as error:
        raise SourceFailed(f"the source cannot be read: {error}", final=True) from None
