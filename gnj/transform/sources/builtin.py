"""The sources that need no host: one document, and the pages of a shop."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from gnj.transform.sources.fetch import Fetch
from gnj.transform.sources.items import Bad, Validators
from gnj.transform.values import Record

PAGE: Final = 250
"""Products on one page of a shop, at most."""


def document(fetch: Fetch) -> Iterator[Record | Bad]:
    """One request, and the records of its answer (`Request` and `Feed`)."""
    with fetch.open(conditional=True) as answer:
        yield from answer.records()


def shopify(fetch: Fetch) -> Iterator[Record | Bad]:
    """A shop's public products, page by page until one is short (`Shopify`; rulings: Sources).

    Only of a shop of one page can the first one tell that nothing has changed: of others no validators are kept.
    """
    for page in count(1):
        found = 0
        with fetch.open(_page(fetch.url, page), conditional=page == 1) as answer:
            for each in answer.records():
                found += 1
                yield each
        if found < PAGE:
            return
        fetch.seen = Validators()


def _page(url: str, page: int) -> str:
    """The address of a page: of a shop, of a collection in it, or of either's `products.json`."""
    parts = urlsplit(url)
    path = parts.path if parts.path.endswith(".json") else parts.path.rstrip("/") + "/products.json"
    query = [
        (name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in ("limit", "page")
    ]
    return urlunsplit(
        parts._replace(path=path, query=urlencode([*query, ("limit", PAGE), ("page", page)]), fragment="")
    )
