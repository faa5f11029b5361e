"""Types that are held back: no claim that begins after a hold was acknowledged gets a job of them (P21)."""

from __future__ import annotations

from gnj.queue.clock import NOW
from gnj.queue.model import Hold
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.where import equal

ALL_TYPES = "all"
"""Holding this type holds every type."""


def hold(unit: Unit, tenant: str, type: str) -> Hold:
    """Holds a type; the hold that is there already, if one is."""
    return unit.tx.insert(Hold, [{"tenant": tenant, "type": type}])[0]


def release(unit: Unit, tenant: str, type: str) -> bool:
    """Ends the hold of a type; whether there was one."""
    held = unit.tx.find(Hold, Select(equal(Hold, type=type)), tenant=tenant)
    unit.tx.edit(Hold, [row.id for row in held], {"deleted_at": NOW})
    unit.ready = unit.ready or bool(held)
    return bool(held)
