"""Documents that were parsed and validated once.

Parsing and validating one `acquireJob` takes about 2.4 ms, executing it 50 us: a worker that polls with the same text must
pay the first price once. What did not pass validation is not kept, so that nobody can push good documents out with
rubbish more cheaply than with documents that are good.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

_TOKEN_BYTES = 950
"""Memory of one lexical token with the node and location made from it (1,992 tokens were measured at 1,191 KiB), and of what it has
in a plan (257 tokens, 85 KB)."""


def weight(query: str, tokens: int) -> int:
    """The estimated memory in bytes of a parsed document of that text and that many lexical tokens."""
    return len(query) + tokens * _TOKEN_BYTES


class DocumentCache(Generic[T]):
    """The most recently used documents of one schema, at most `documents` of them and `size` estimated bytes.

    The key is the text with the rules it was checked by: were it the text alone, turning introspection off would not
    reach the documents that were already in the cache. Safe to use from several threads.
    """

    def __init__(self, documents: int, size: int) -> None:
        self._documents = documents
        self._size = size
        self._held = 0
        self._entries: OrderedDict[tuple[str, Hashable], tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, query: str, rules: Hashable) -> T | None:
        """What was kept for this text under these rules, or None."""
        key = (query, rules)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, query: str, rules: Hashable, document: T, size: int) -> None:
        """Keep `document`, of `size` estimated bytes, and drop the least recently used beyond the bounds."""
        if size > self._size:
            return
        key = (query, rules)
        with self._lock:
            previous = self._entries.pop(key, None)
            self._held += size - (previous[1] if previous else 0)
            self._entries[key] = (document, size)
            while len(self._entries) > self._documents or self._held > self._size:
                _, (_, dropped) = self._entries.popitem(last=False)
                self._held -= dropped

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """The estimated bytes of all that is held."""
        return self._held
