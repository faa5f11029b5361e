"""Associations of records without a statement per row.

Rows that came together - one list, or everything one statement loaded - are siblings. The first of them that is asked for
an association loads it for all of them in one statement; the others find theirs in what that loaded. So an association
costs one statement per level and per set of arguments, however many rows there are.

Rows are told apart by identity (a record with JSON in it has no hash), and only when somebody asks: a list without
associations pays one append for the whole list. Measured on 1,000 rows: that append 0.2 µs; an entry per row 102 µs;
wrapping each row in a node that knows its siblings 120 µs, and one more attribute access for every field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gnj.graphql.limits import DEFAULTS, Limits
from gnj.queue import lists
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Record, RecordT
from gnj.queue.storage import Select
from gnj.queue.where import EVERYTHING, Condition, equal

MAX_LOADED = 50_000
"""Rows one association may load for all its siblings together: 46 MB of small jobs."""


class Source(Protocol):
    """Where rows are read: a storage, or a transaction of one."""

    def find(self, kind: type[RecordT], select: Select = ..., *, tenant: str | None = None) -> list[RecordT]:
        """See `gnj.queue.storage.Rows.find`."""

    def count(self, kind: type[Record], where: Condition = EVERYTHING, *, tenant: str | None = None) -> int:
        """See `gnj.queue.storage.Rows.count`."""


@dataclass(frozen=True, slots=True)
class One:
    """The row that an attribute of this row names.

    Args:
        name: The field.
        shape: The name of the shape of the row it leads to.
        via: The attribute that holds that row's id.
    """

    name: str
    shape: str
    via: str


@dataclass(frozen=True, slots=True)
class Many:
    """The rows that name this row in an attribute of theirs.

    Args:
        name: The field.
        shape: The name of the shape of the rows it leads to.
        via: Their attribute that holds this row's id.
        whole: Whether the list never holds null.
        nested: Whether the input type takes such rows too; they are accepted and have no effect.
    """

    name: str
    shape: str
    via: str
    whole: bool = False
    nested: bool = True


class _Siblings:
    __slots__ = ("loaded", "records")

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.loaded: dict[tuple[Any, ...], Mapping[int, Any] | Exception] = {}


class Loads:
    """What one request has loaded. Not for threads: a request is executed by one.

    Args:
        source: Where rows are read.
        tenant: Whose rows alone are read.
        limits: How many of them a list may ask for.
    """

    __slots__ = ("_groups", "_new", "limits", "source", "tenant")

    def __init__(self, source: Source, tenant: str, limits: Limits | None = None) -> None:
        self.source = source
        self.tenant = tenant
        self.limits = limits or DEFAULTS
        self._new: list[Sequence[Record]] = []
        self._groups: dict[int, _Siblings] = {}

    def came(self, records: Sequence[Record]) -> None:
        """Makes `records` siblings. They are kept alive, so that no other row can take the identity of one of them."""
        self._new.append(records)

    def forget(self) -> None:
        """Begins anew: what one root field has loaded may be stale after the next one, if that is a mutation."""
        self._new.clear()
        self._groups.clear()

    def one(self, association: One, kind: type[Record], row: Record) -> Record | None:
        """The row of `kind` that `association` of `row` leads to."""
        id = getattr(row, association.via)
        if id is None:
            return None
        siblings = self._siblings(row)
        key = (association.name,)
        found = siblings.loaded.get(key)
        if found is None:
            found = siblings.loaded[key] = self._attempt(self._load_one, association, kind, siblings.records)
        return _given(found).get(id)

    def many(
        self, association: Many, kind: type[Record], row: Record, arguments: tuple[str | None, int | None, int | None]
    ) -> Sequence[Record]:
        """The rows of `kind` that `association` of `row` leads to; the arguments are order, limit and offset."""
        siblings = self._siblings(row)
        key = (association.name, *arguments)
        found = siblings.loaded.get(key)
        if found is None:
            found = siblings.loaded[key] = self._attempt(
                self._load_many, association, kind, siblings.records, *arguments
            )
        rows: Sequence[Record] = _given(found).get(row.id, ())
        return rows

    def _siblings(self, row: Record) -> _Siblings:
        groups = self._groups
        for records in self._new:
            # a storage may hand out one object twice (memory does): it stays with the siblings it has, or each of its
            # appearances would have the associations of all loaded again
            group = _Siblings([record for record in records if id(record) not in groups])
            groups.update((id(record), group) for record in group.records)
        self._new.clear()
        found = groups.get(id(row))
        if found is None:
            found = groups[id(row)] = _Siblings((row,))
        return found

    def _attempt(self, load: Any, *arguments: Any) -> Mapping[int, Any] | Exception:
        # what fails for one sibling fails for all, and is not tried again for each
        try:
            loaded: Mapping[int, Any] = load(*arguments)
        except Exception as error:  # noqa: BLE001 - raised again by whoever asks
            return error
        return loaded

    def _load_one(self, association: One, kind: type[Record], siblings: Sequence[Record]) -> Mapping[int, Record]:
        ids = sorted({id for row in siblings if (id := getattr(row, association.via)) is not None})
        rows = self.source.find(kind, Select(equal(kind, id=tuple(ids))), tenant=self.tenant)
        self.came(rows)
        return {row.id: row for row in rows}

    def _load_many(
        self,
        association: Many,
        kind: type[Record],
        siblings: Sequence[Record],
        order: str | None,
        limit: int | None,
        offset: int | None,
    ) -> Mapping[int, list[Record]]:
        ids = sorted({row.id for row in siblings})
        select = Select(
            where=equal(kind, **{association.via: tuple(ids)}),
            order=() if order is None else lists.wire_order(kind, order),
            limit=lists.limit(limit, default=self.limits.page, high=self.limits.max_page),
            offset=lists.offset(offset, high=self.limits.max_offset),
            per=association.via,
        )
        self._bound(association, kind, select, len(ids))
        found: dict[int, list[Record]] = {}
        rows = self.source.find(kind, select, tenant=self.tenant)
        for row in rows:
            found.setdefault(getattr(row, association.via), []).append(row)
        self.came(rows)
        return found

    def _bound(self, association: Many, kind: type[Record], select: Select, parents: int) -> None:
        """Refuses to load more rows than a process should hold for one field. Counts only where that is possible."""
        if (select.limit or 0) * parents <= MAX_LOADED:
            return
        count = self.source.count(kind, select.where, tenant=self.tenant)
        if count > MAX_LOADED:
            raise InvalidInput(
                f"{association.name} has {count:,} rows for the {parents:,} it is asked of: more than {MAX_LOADED:,}; "
                f"give it a limit of at most {MAX_LOADED // parents}, or ask of fewer"
            )


def _given(found: Mapping[int, Any] | Exception) -> Mapping[int, Any]:
    if isinstance(found, Exception):
        raise found.with_traceback(None)
    return found
