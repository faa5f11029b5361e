"""What a caller may ask of a list: its condition and its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gnj.queue.errors import InvalidInput
from gnj.queue.holds import HELD
from gnj.queue.model import BELONGS, Hold, Kind, Record, Schedule, attributes, by_wire, wire_table
from gnj.queue.schedules import PLAIN
from gnj.queue.values import check_int, shown
from gnj.queue.where import EVERYTHING, And, Condition, Where, parse

DEFAULT_LIMIT = 1000
"""Rows of a list that names no limit (section 0, point 14)."""
MAX_LIMIT = 10_000
MAX_OFFSET = 100_000
MAX_ORDER = 3
_SEEN: Final[Mapping[type[Record], Condition]] = {Hold: HELD, Schedule: PLAIN}


def condition(record: type[Record], where: Where | Mapping[str, Any] | None, equals: Mapping[str, Any]) -> Condition:
    """The condition of a filter together with that of keyword values."""
    parts = [parse(record, w) for w in (where, Where(**equals) if equals else None) if w is not None]
    return visible(record, parts[0] if len(parts) == 1 else And(tuple(parts)) if parts else EVERYTHING)


def visible(record: type[Record], where: Condition) -> Condition:
    """`where`, for what is to be seen: of holds those of people, not what keeps claims away from types that have limits; of recurring
    jobs those that make plain jobs.
    """
    seen = _SEEN.get(record)
    return where if seen is None else And((where, seen))


def limit(value: int | None, *, default: int = DEFAULT_LIMIT, high: int = MAX_LIMIT) -> int:
    """A list's limit: 0 to `high`, and `default` for None."""
    return min(default, high) if value is None else check_int(value, "limit", low=0, high=high)


def offset(value: int | None, *, high: int = MAX_OFFSET) -> int:
    """A list's offset: 0 to `high`."""
    return 0 if value is None else check_int(value, "offset", low=0, high=high)


def order(record: type[Record], names: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """An order in Python: attribute names, with a minus for descending: `("-priority", "id")`."""
    given: Any = (names,) if isinstance(names, str) else names
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise InvalidInput(f"order must be a list of attribute names, not {shown(names)}")
    return _order(record, [(n.removeprefix("-"), n.startswith("-")) for n in given], wire=False)


def wire_order(record: type[Record], text: str) -> tuple[tuple[str, bool], ...]:
    """An order on the wire (section 4): a comma list of `field`, `association.field`, each perhaps after `reverse:`."""
    parts = [part.strip() for part in text.split(",")]
    if not text.strip() or not all(parts):
        raise InvalidInput('order must be a field, "reverse:field", or a comma list of those')
    return _order(record, [(p.removeprefix("reverse:"), p.startswith("reverse:")) for p in parts], wire=True)


def _order(record: type[Record], parts: Sequence[tuple[str, bool]], *, wire: bool) -> tuple[tuple[str, bool], ...]:
    if len(parts) > MAX_ORDER:
        raise InvalidInput(f"order takes at most {MAX_ORDER} fields, not {len(parts)}")
    return tuple((_key(record, name, wire=wire), descending) for name, descending in parts)


def _key(record: type[Record], name: str, *, wire: bool) -> str:
    """What `Select.order` calls the field `name`."""
    association, dot, field = name.rpartition(".")
    prefix = ""
    if dot:
        belongs = BELONGS.get(record, {})
        if association not in belongs:
            raise InvalidInput(f"Association {association[:100]} unknown on model {wire_table(record)} order")
        prefix, record = f"{association}.", belongs[association][1]
    known = by_wire(record) if wire else attributes(record)
    attribute = known.get(field)
    if attribute is None:
        there = ", ".join(sorted(known))
        raise InvalidInput(f"order: {wire_table(record)} has no field {shown(field)}; there are: {there}")
    if attribute.kind is Kind.JSON:
        raise InvalidInput(f"order: {name} is JSON and has no order")
    return prefix + attribute.name
