"""Bytes as text: the charset that is declared, that of a byte order mark, UTF-8, else Windows-1252 (rulings: Sources).

The first piece decides between the last two. As they agree on ASCII, nothing is decided while there is nothing else: then the first bytes
beyond it tell, however far into a source they stand.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

from gnj.transform.sources.items import PIECE, unreadable
from gnj.transform.sources.packing import Ahead

_DECLARATION: Final = 512
"""Bytes that the declaration of an XML document has at most, as far as it is looked at."""
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LAST: Final = "cp1252"
# The bytes that it leaves undefined are control characters, as in https://encoding.spec.whatwg.org/#index-windows-1252.
_WINDOWS: Final = "".join(
    chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([byte]).decode(_LAST) for byte in range(256)
)
_DECLARED: Final = re.compile(rb"<\?xml[^>]{0,200}?[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*[\"']([A-Za-z][\w.-]*)[\"']")
# They are no charsets of documents: some take quadratic time, some a text for code.
_NONE: Final = frozenset(
    {"idna", "mbcs", "oem", "palmos", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)


def known(charset: str | None) -> str | None:
    """The charset's name as Python has it; None for one that it does not know."""
    try:
        found = codecs.lookup((charset or "").strip())
        "".encode(found.name)  # LookupError for a codec that is not of texts
    except (LookupError, ValueError):
        return None
    return None if found.name.replace("_", "-") in _NONE else found.name


def marked(stream: Ahead) -> str | None:
    """The charset that a byte order mark tells."""
    head = stream.peek(3)
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def declared_in_xml(stream: Ahead) -> str | None:
    """The charset that the declaration of an XML document tells, if it is known."""
    found = _DECLARED.match(stream.peek(_DECLARATION))
    charset = None if found is None else known(found[1].decode())
    # one of wide characters is wrong: the declaration could not be read like that
    return "utf-8" if charset is not None and charset.startswith("utf") else charset


class _Windows1252:
    """Windows-1252, of which every byte is a character."""

    def decode(self, data: bytes, *, final: bool) -> str:
        """The text of some bytes."""
        return codecs.charmap_decode(data, "strict", _WINDOWS)[0]


def _decoder(charset: str) -> codecs.IncrementalDecoder | _Windows1252:
    return _Windows1252() if charset == _LAST else codecs.getincrementaldecoder(charset)()


def texts(stream: Ahead, declared: str | None, *, guess: bool) -> Iterator[str]:
    """The text in pieces, none of which is empty, without the byte order mark.

    Args:
        stream: The bytes, from their beginning.
        declared: The charset, where the source told a known one.
        guess: Whether it is Windows-1252 if it turns out not to be UTF-8, and neither declared nor marked.

    Raises `SourceFailed` at what is not of the charset, and at NUL, which no text has.
    """
    charset = declared or marked(stream)
    undecided = guess and charset is None
    decoder = _decoder(charset or "utf-8")
    first, over = True, False
    while not over:
        data = stream.read(PIECE)
        over = len(data) < PIECE
        try:
            try:
                text = decoder.decode(data, final=over)
            except UnicodeDecodeError as error:
                if not undecided or not (first or error.object[: error.start].isascii()):
                    raise
                charset, undecided = _LAST, False
                decoder = _decoder(_LAST)
                # with what waited for the rest of a character
                text = decoder.decode(error.object, final=over)
        except UnicodeError:
            raise unreadable(f"it is not {_shown(charset)}, which it is to be") from None
        undecided = undecided and text.isascii()
        if first and text:
            first, text = False, text.removeprefix("\ufeff")
        if "\0" in text:
            raise unreadable("it has NUL in it, so it is no text")
        if text:
            yield text


def _shown(charset: str | None) -> str:
    return {None: "UTF-8", "utf-8": "UTF-8"}.get(charset, charset or "")


class Encoded:
    """Pieces of text as bytes of UTF-8, for those who read bytes.

    Args:
        pieces: The text.
    """

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces

    def read(self, _size: int) -> bytes:
        """The next piece; b"" at the end."""
        return next(self._pieces, "").encode()
