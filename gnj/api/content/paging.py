"""Pages: which part of a list is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gnj.graphql.plans import Reads
from gnj.graphql.records import Resolvers
from gnj.queue.errors import InvalidInput

LIMIT: Final = 20
"""Rows of a page, where nothing is said."""
MAX_LIMIT: Final = 200
"""Rows of a page, at most: who asks for more gets as many."""
MAX_OFFSET: Final = 100_000
"""Rows that are skipped, at most: a database reads them all."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A page as it is shown."""

    items: Sequence[Any]
    offset: int
    limit: int
    total: int


def page(offset: int | None, limit: int | None) -> tuple[int, int]:
    """Offset and limit that hold. Raises `InvalidInput`, naming it, for a negative one, and for an offset too great to skip."""
    offset, limit = offset or 0, LIMIT if limit is None else limit
    for name, value in (("offset", offset), ("limit", limit)):
        if value < 0:
            raise InvalidInput(f"{name} must not be negative, as {value:,} is")
    if offset > MAX_OFFSET:
        raise InvalidInput(f"offset must be at most {MAX_OFFSET:,}, not {offset:,}")
    return offset, min(limit, MAX_LIMIT)


def collection(type: str) -> Resolvers:
    """What resolves the type of that name, whose values are `Collection`."""
    return Resolvers(type, {name: Reads(name) for name in ("items", "offset", "limit", "total")})
