"""A feed takes the memory of its largest record and some pieces of it, however many records it has."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc

import pytest

from gnj.transform.formats import compile_format
from gnj.transform.mapping import compile_mapping
from gnj.transform.sources import Bad, Source, SourceRegistry, open_source
from tests.transform.sites import answer, site, way

TYPES = {"csv": "text/csv", "lines": "application/x-ndjson", "json": "application/json", "xml": "application/xml"}
RULES = [
    {"sourceField": "sku", "targetField": "id"},
    {"sourceField": "title", "targetField": "name", "transform": "removeHTMLTags().trim()"},
    {"sourceField": "price", "targetField": "price", "transform": "toNumber()"},
    {"sourceField": "day", "targetField": "seen"},
]
FORMAT = {
    "id": {"type": "string", "attributes": ["primary"]},
    "name": {"type": "string", "attributes": ["required"]},
    "price": {"type": "number"},
    "seen": {"type": "string", "attributes": ["date"]},
}


def feed(form: str, count: int) -> bytes:
    # dates are all different: what is remembered of them is bounded as well
    rows = [(str(n), f" <b>{n}</b> {'x' * 300} ", f"{n}.5", f"{1000 + n % 9000}-01-02") for n in range(count)]
    if form == "csv":
        text = io.StringIO()
        csv.writer(text).writerows([("sku", "title", "price", "day"), *rows])
        return text.getvalue().encode()
    records = [dict(zip(("sku", "title", "price", "day"), row, strict=True)) for row in rows]
    if form == "xml":
        items = (
            "".join(f"<{name}>{value.replace('<', '&lt;')}</{name}>" for name, value in record.items())
            for record in records
        )
        return f"<rss>{''.join(f'<item>{item}</item>' for item in items)}</rss>".encode()
    return json.dumps(records).encode() if form == "json" else "".join(f"{json.dumps(r)}\n" for r in records).encode()


def most(form: str, count: int) -> int:
    """Bytes that are in use at most while a feed of so many records is gone through."""
    mapping, target = compile_mapping(RULES), compile_format(FORMAT)
    body = answer(feed(form, count), TYPES[form])
    with site(feed=body) as place, way() as http:
        source = Source(type="Feed", url=place.url("/feed"))
        tracemalloc.start()
        try:
            seen = 0
            with open_source(source, SourceRegistry(), http) as opened:
                for record in opened:
                    assert not isinstance(record, Bad)
                    target.key(target.convert(mapping.apply(record)))
                    seen += 1
            assert seen == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("form", TYPES)
def test_memory_does_not_grow_with_the_feed(form: str) -> None:
    few, many = most(form, 2_000), most(form, 6_000)
    assert many < few + 256 * 1024, f"{few:,} and {many:,} bytes"
