"""Conditions, order and bounds of a selection, over rows in memory: what storages do in their databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gnj.queue.model import RecordT
from gnj.queue.storage import Select
from gnj.queue.where import matches


def selected(rows: Iterable[RecordT], select: Select, value: Callable[[RecordT, str], Any] = getattr) -> list[RecordT]:
    """Those of `rows`, which come in the order of their ids, that `select` means.

    `value` gives what a row has under a name of the order.
    """
    found = [row for row in rows if matches(select.where, row) is True]
    for name, descending in reversed(select.order):
        found.sort(key=lambda row: _rank(value(row, name)), reverse=descending)
    end = None if select.limit is None else select.offset + select.limit
    if select.per is None:
        return found[select.offset : end]
    groups: dict[Any, list[RecordT]] = {}
    for row in found:
        groups.setdefault(getattr(row, select.per), []).append(row)
    return [row for group in sorted(groups, key=_rank) for row in groups[group][select.offset : end]]


def _rank(value: Any) -> tuple[bool, Any]:
    """Nulls after everything."""
    return (value is None, "" if value is None else value)
