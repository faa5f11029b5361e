"""XML feeds - RSS, Atom, Google Merchant -, item by item (rulings: Sources).

A parser of events rather than of trees: what is held is one item, whatever stands around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.sax import SAXException
from xml.sax.handler import ContentHandler  # the parser is that of defusedxml

from defusedxml import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from gnj.transform.sources.items import unreadable
from gnj.transform.values import Record

_ITEMS: Final = frozenset({"item", "entry"})
_DEPTH: Final = 64
"""Elements in one another, around an item and in it: as JSON has it (`gnj.queue.values.MAX_DEPTH`)."""
_NAMES: Final = 10_000
"""Different names in one feed: the parser keeps each."""
_ELEMENTS: Final = 100_000
"""In one item."""
_SILENCE: Final = 1024 * 1024
"""Characters or bytes within which a tag or a comment has to end: the parser keeps it until then."""


def items(pieces: Iterator[str] | Iterator[bytes], *, most: int) -> Iterator[Record]:
    """The elements `item` and `entry`: their children by their names without prefixes, those that come again as lists.

    A child is its text, without the blanks around it; the children that it has, by their names; or its attributes, if it has neither. Beside
    children, attributes are fields as well. Where text and elements are mixed, as in XHTML, it is all text in it.

    Args:
        pieces: The document; bytes where it says itself what charset it has.
        most: Characters of one item.

    Raises `SourceFailed`: for a DTD, and where the document is not well-formed or too large, after the items before.
    """
    handler = _Handler(most)
    parser = _parser(handler)
    silent = 0
    try:
        parser.feed(b"")  # a document without any piece is to be closed as well
        for piece in pieces:
            before = handler.progress
            parser.feed(piece)
            yield from handler.taken()
            silent = silent + len(piece) if handler.progress == before else 0
            if silent > _SILENCE:
                raise unreadable(f"a tag or a comment has more than {_SILENCE:,} characters")
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
        self._records: list[Record] = []
        self._open: list[_Element] = []
        """The item, and what is open in it."""
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

    def taken(self) -> list[Record]:
        """The items that are whole, once."""
        records, self._records = self._records, []
        return records

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._elements += 1
        local = self._names.get(name) or self._local(name)
        inside = self._open
        if not inside:
            if self._depth >= _DEPTH:
                raise unreadable(f"its elements are nested more than {_DEPTH} levels deep")
            if local not in _ITEMS:
                self._depth += 1
                return
            self._size, self._before = 0, self._elements
        elif len(inside) >= _DEPTH or self._elements - self._before > _ELEMENTS:
            raise unreadable(f"an item has more than {_ELEMENTS:,} elements, or more than {_DEPTH} levels of them")
        inside.append(_Element(local, self._attributes(attributes) if attributes else None))

    def end(self, _name: str) -> None:
        """An element ends."""
        inside = self._open
        if not inside:
            self._depth -= 1
            return
        element = inside.pop()
        if not inside:
            self._records.append(_fields(element))
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
                raise unreadable(f"an item has more than {self._most:,} characters")
            self._open[-1].parts.append(content)

    def _attributes(self, attributes: Mapping[str, str]) -> dict[str, Any] | None:
        self._size += sum(map(len, attributes.values()))
        if self._size > self._most:
            raise unreadable(f"an item has more than {self._most:,} characters")
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
