"""Types that are held back: no claim that begins after a hold was acknowledged gets a job of them (P21)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnj.queue.clock import NOW
from gnj.queue.errors import Duplicate, InvalidInput, NotFound
from gnj.queue.model import Hold
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.values import shown
from gnj.queue.where import equal

ALL_TYPES = "all"
"""Holding this type holds every type."""


def hold(unit: Unit, tenant: str, type: str) -> Hold:
    """Holds a type; the hold that is there already, if one is."""
    return create(unit, tenant, {"type": type})


def create(unit: Unit, tenant: str, values: Mapping[str, Any]) -> Hold:
    """A hold by hand; the one that is there already, if one is."""
    _check_type(values)
    return unit.tx.insert(Hold, [{"tenant": tenant, **values}])[0]


def update(unit: Unit, tenant: str | None, id: int, values: Mapping[str, Any]) -> Hold:
    """Makes a hold one of another type. Raises `Duplicate` where that type is held already."""
    before = unit.tx.get(Hold, id, tenant=tenant, lock=True)
    if before is None:
        raise NotFound("jobHoldType not found.")
    changes = {name: value for name, value in values.items() if value != getattr(before, name)}
    if not changes:
        return before
    _check_type(changes)
    if unit.tx.find(Hold, Select(equal(Hold, type=changes["type"])), tenant=before.tenant):
        raise Duplicate(f"the type {shown(changes['type'])} is held already")
    unit.ready = True
    (after,) = unit.tx.edit(Hold, [id], changes)
    return after


def _check_type(values: Mapping[str, Any]) -> None:
    if values.get("type") is None:
        raise InvalidInput("notNull Violation: jobHoldType.type cannot be null")


def release(unit: Unit, tenant: str, type: str) -> bool:
    """Ends the hold of a type; whether there was one."""
    held = unit.tx.find(Hold, Select(equal(Hold, type=type)), tenant=tenant)
    unit.tx.edit(Hold, [row.id for row in held], {"deleted_at": NOW})
    unit.ready = unit.ready or bool(held)
    return bool(held)
