"""XML feeds - RSS, Atom, Google Merchant -, item by item (rulings: Sources).

A parser of events rather than of trees: what is held is one item, whatever stands around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias
from xml.sax import SAXException
from xml.sax.handler import ContentHandler  # the parser is that of defusedxml

from defusedxml import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from gnj.transform.sources.items import Bad, unreadable
from gnj.transform.values import Record

Item: TypeAlias = Record | Bad

_ITEMS: Final = frozenset({"item", "entry"})
_DEPTH: Final = 64
"""Elements in one another, around an item and in it: as JSON has it (`gnj.queue.values.MAX_DEPTH`)."""
_NAMES: Final = 10_000
"""Different names in one feed: the parser keeps each."""
_ELEMENTS: Final = 100_000
"""In one item."""
_BLANKS: Final = " \t\r\n"
_BLANK_BYTES: Final = b"\xef\xbb\xbf \t\r\n"
"""With what a byte order mark has."""
_SILENCE: Final = 1024 * 1024
"""Characters or bytes of a tag or a comment at least: the parser keeps it until it ends."""


def items(pieces: Iterator[str] | Iterator[bytes], *, most: int) -> Iterator[Item]:
    """The elements `item` and `entry`: their children by their names without prefixes, those that come again as lists.

    Of a document that has nothing in it but blanks, none. A child is its text, without the blanks around it; the children that it has, by their names; or its attributes, if it has neither. Beside
    children, attributes are fields as well. Where text and elements are mixed, as in XHTML, it is all text in it.

    Args:
        pieces: The document; bytes of UTF-8, or where it says itself what charset it has.
        most: Characters of one item; a larger one is `Bad`.

    Raises `SourceFailed`: for a DTD, and where the document is not well-formed, or has a tag or a comment that is larger than items may be
    and than 1 MiB, after the items before.
    """
    longest = max(most, _SILENCE)
    handler = _Handler(most)
    parser = _parser(handler)
    silent, blank = 0, True
    try:
        for piece in pieces:
            blank = blank and not (piece.strip(_BLANKS) if isinstance(piece, str) else piece.strip(_BLANK_BYTES))
            before = handler.progress
            # text first of all: then it is taken for the charset, whatever one the document says it has
            parser.feed(piece)
            yield from handler.taken()
            silent = silent + len(piece) if handler.progress == before else 0
            if silent > longest:
                raise unreadable(f"a tag or a comment has more than {longest:,} characters")
        if not blank:
            parser.close()
        yield from handler.taken()
    except DefusedXmlException:
        raise unreadable("it has a document type (DTD), which is not allowed") from None
    except SAXException as error:
        line = getattr(error, "getLineNumber", lambda: 0)() or 0
        raise unreadable(f"the XML is not well-formed at line {line:,}") from None
    except (LookupError, ValueError):
        raise unreadable("its charset is none that XML can be read in") from None


def _parser(handler: _Handler) -> Any:
    """A parser that has events of elements go to the handler: without what SAX makes of their attributes, in two thirds of the time."""
    parser: Any = DefusedExpatParser(forbid_dtd=True)
    parser.setContentHandler(handler)
    parser.start_element, parser.end_element = handler.begin, handler.end
    return parser


class _Inner(str):
    """The text of an element that stands in another one."""

    __slots__ = ()


class _Element:
    """An element that has begun."""

    __slots__ = ("attributes", "fields", "name", "parts")

    def __init__(self, name: str, attributes: dict[str, Any] | None) -> None:
        self.name = name
        self.attributes = attributes
        self.parts: list[str] = []
        self.fields: dict[str, Any] | None = None


class _Handler(ContentHandler):
    """Makes records of the events."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._items: list[Item] = []
        self._open: list[_Element] = []
        """The item, and what is open in it."""
        self._position = -1
        """Of the item, from 0."""
        self._passed = 0
        """Elements that are open of an item of which nothing is kept."""
        self._depth = 0
        """Of what is open around it."""
        self._names: dict[str, str] = {}
        """Without prefixes, by those that have some."""
        self._elements = 0
        self._before = 0
        """Elements when the item began."""
        self._size = 0

    @property
    def progress(self) -> object:
        """Differs when something has happened."""
        return self._elements, self._size

    def taken(self) -> list[Item]:
        """The items that are whole, once."""
        items, self._items = self._items, []
        return items

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._elements += 1
        local = self._names.get(name) or self._local(name)
        inside = self._open
        if not inside:
            if max(self._depth, self._passed) >= _DEPTH:
                raise unreadable(f"its elements are nested more than {_DEPTH} levels deep")
            if self._passed:
                self._passed += 1
                return
            if local not in _ITEMS:
                self._depth += 1
                return
            self._size, self._before = 0, self._elements
            self._position += 1
        elif len(inside) >= _DEPTH:
            raise unreadable(f"its elements are nested more than {_DEPTH} levels deep")
        elif self._elements - self._before > _ELEMENTS:
            self._pass(f"{_ELEMENTS:,} elements")
            self._passed += 1
            return
        if not attributes:
            inside.append(_Element(local, None))
            return
        inside.append(_Element(local, self._attributes(attributes)))
        if self._size > self._most:
            self._pass(f"{self._most:,} characters")

    def end(self, _name: str) -> None:
        """An element ends."""
        inside = self._open
        if not inside:
            if self._passed:
                self._passed -= 1
            else:
                self._depth -= 1
            return
        element = inside.pop()
        if not inside:
            self._items.append(_fields(element))
            return
        value: Any
        text = "".join(element.parts)
        if element.fields is None:
            value = text.strip() or element.attributes or ""
        else:
            is_mixed = any(type(part) is str and not part.isspace() for part in element.parts)
            value = text.strip() if is_mixed else _fields(element)
        parent = inside[-1]
        if len(inside) > 1:
            parent.parts.append(_Inner(text))
        if (fields := parent.fields) is None:
            fields = parent.fields = {}
        name = element.name
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]

    def characters(self, content: str) -> None:
        """Text comes."""
        self._size += len(content)
        if self._open:
            if self._size > self._most:
                self._pass(f"{self._most:,} characters")
            else:
                self._open[-1].parts.append(content)

    def _pass(self, much: str) -> None:
        """Keeps nothing more of the item, which has too much."""
        self._items.append(Bad(self._position, f"the item has more than {much}"))
        self._passed = len(self._open)
        self._open.clear()

    def _attributes(self, attributes: Mapping[str, str]) -> dict[str, Any] | None:
        self._size += sum(map(len, attributes.values()))
        found = {
            self._names.get(name) or self._local(name): value
            for name, value in attributes.items()
            if not name.startswith("xmlns")
        }
        return found or None

    def _local(self, name: str) -> str:
        if len(self._names) >= _NAMES:
            raise unreadable(f"it has more than {_NAMES:,} different names in it")
        local = name.rpartition(":")[2] or name
        self._names[name] = local
        return local


def _fields(element: _Element) -> dict[str, Any]:
    """Its children by their names, and those of its attributes that no child has the name of."""
    if element.attributes is None:
        return element.fields or {}
    return {**element.attributes, **(element.fields or {})}
