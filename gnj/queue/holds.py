"""Types that are held back: no claim that begins after a hold was acknowledged gets a job of them (P21).

The row of a hold has two readers. Claims pass by every type that has one. People see those that are `held`: what is not is a
*fence*, which keeps ordinary claims away from a type that has limits, for its jobs are claimed elsewhere (`gate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gnj.queue.clock import NOW
from gnj.queue.errors import Conflict, Duplicate, IllegalTransition, InvalidInput, NotFound
from gnj.queue.model import Hold
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.values import shown
from gnj.queue.where import And, Condition, equal

ALL_TYPES = "all"
"""Holding this type holds every type."""
MOST: Final = 10_000
"""Types that a tenant can hold."""
HELD: Final = equal(Hold, held=True)
"""Which rows are holds, for whomever looks at them."""


def hold(unit: Unit, tenant: str, type: str) -> Hold:
    """Holds a type; the hold that is there already, if one is."""
    return create(unit, tenant, {"type": type})


def create(unit: Unit, tenant: str, values: Mapping[str, Any]) -> Hold:
    """A hold by hand; the one that is there already, if one is. Raises `InvalidInput` where there are `MOST`."""
    _check_type(values)
    is_there = And((equal(Hold, type=values["type"], tenant=tenant), HELD))
    if unit.tx.count(Hold, HELD, tenant=tenant) >= MOST and not unit.tx.exists(Hold, is_there):
        raise InvalidInput(f"at most {MOST:,} types can be held: release another one first")
    (there,) = unit.tx.insert(Hold, [{"tenant": tenant, **values}])
    _say(unit, "paused", tenant, values["type"])
    return there if there.held else _edit(unit, there.id, {"created_at": NOW, **values, "held": True})


def update(unit: Unit, tenant: str | None, id: int, values: Mapping[str, Any]) -> Hold:
    """Makes a hold one of another type. Raises `Duplicate` where that type is held already."""
    before = unit.tx.get(Hold, id, tenant=tenant, lock=True)
    if before is None or not before.held:
        raise NotFound("jobHoldType not found.")
    changes = {name: value for name, value in values.items() if value != getattr(before, name)}
    if not changes:
        return before
    _check_type(changes)
    there = unit.tx.find(Hold, Select(equal(Hold, type=changes["type"])), tenant=before.tenant)
    if any(row.held for row in there):
        raise Duplicate(f"the type {shown(changes['type'])} is held already")
    unit.ready = True
    # the fences stay with their types: that of the new one is in the way, and the old one needs another
    unit.tx.edit(Hold, [row.id for row in there], {"deleted_at": NOW})
    after = _edit(unit, id, {**changes, "limited": bool(there)} if before.limited or there else changes)
    if before.limited:
        unit.tx.insert(Hold, [{"tenant": before.tenant, "type": before.type, "limited": True, "held": False}])
    return after


def _check_type(values: Mapping[str, Any]) -> None:
    if values.get("type") is None:
        raise InvalidInput("notNull Violation: jobHoldType.type cannot be null")


def release(unit: Unit, tenant: str, type: str) -> bool:
    """Ends the hold of a type; whether there was one."""
    held = unit.tx.find(Hold, Select(And((equal(Hold, type=type), HELD))), tenant=tenant)
    released = [row for row in held if _let_go(unit, row.id, "held") is not None]
    unit.ready = unit.ready or bool(released)
    if released:
        _say(unit, "resumed", tenant, type)
    return bool(released)


def remove(unit: Unit, tenant: str | None, id: int) -> Hold:
    """Ends a hold; the row as it then is. Raises `NotFound`."""
    before = unit.tx.get(Hold, id, tenant=tenant)
    gone = None if before is None or not before.held else _let_go(unit, id, "held")
    if gone is None:
        raise NotFound("jobHoldType not found.")
    unit.ready = True
    _say(unit, "resumed", gone.tenant, gone.type or ALL_TYPES)
    return gone


def fence(unit: Unit, tenant: str, type: str) -> None:
    """Keeps ordinary claims away from a type."""
    (there,) = unit.tx.insert(Hold, [{"tenant": tenant, "type": type, "limited": True, "held": False}])
    if not there.limited:
        _edit(unit, there.id, {"limited": True})


def unfence(unit: Unit, tenant: str, type: str) -> None:
    """Lets ordinary claims have a type again, unless it is held."""
    for row in unit.tx.find(Hold, Select(equal(Hold, type=type, limited=True)), tenant=tenant):
        _let_go(unit, row.id, "limited")


def check_unlimited(unit: Unit, tenant: str, type: str) -> None:
    """Raises `IllegalTransition` where jobs of a type have limits, which a claim by hand would not be counted by."""
    if unit.tx.exists(Hold, And((about(tenant, type), equal(Hold, limited=True)))):
        raise IllegalTransition(f"the type {shown(type)} has limits: its jobs are claimed by acquiring them alone")


def _say(unit: Unit, event: str, tenant: str, type: str) -> None:
    unit.say("queue", tenant, {"event": event, "queue": None if type == ALL_TYPES else type})


def about(tenant: str | None, *types: str) -> Condition:
    """The rows that say something of the jobs of a tenant (None: of any) and of these types."""
    named = equal(Hold, type=(*types, ALL_TYPES))
    return named if tenant is None else And((named, equal(Hold, tenant=("", tenant))))


def _let_go(unit: Unit, id: int, reason: str) -> Hold | None:
    """Takes one of its two reasons from a row, which goes if it was the only one; the row, None if it had not that reason."""
    row = unit.tx.get(Hold, id, lock=True)
    if row is None or not getattr(row, reason):
        return None
    if not (row.held and row.limited):
        return _edit(unit, id, {"deleted_at": NOW})
    after = _edit(unit, id, {reason: False})
    return after.evolve(deleted_at=after.updated_at) if reason == "held" else after


def _edit(unit: Unit, id: int, changes: Mapping[str, Any]) -> Hold:
    found = unit.tx.edit(Hold, [id], changes)
    if not found:  # somebody else took it away since it was read
        raise Conflict("the hold has changed at the same moment")
    return found[0]
