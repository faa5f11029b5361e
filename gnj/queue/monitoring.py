"""What workers tell of themselves: kept as rows, or only passed on to those who follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gnj.queue import fields
from gnj.queue.errors import InvalidInput
from gnj.queue.fields import Spell
from gnj.queue.model import Monitoring, attributes
from gnj.queue.unit import Unit
from gnj.queue.values import Json, check_text

MAX_WORKERS: Final = 1_000
_WORDS: Final = ("worker_id", "worker_type", "worker_status")


def checked(workers: Sequence[Mapping[str, Any]], what: str, spell: Spell) -> list[dict[str, Any]]:
    """The id, type and status of each worker. Raises `InvalidInput`; `what` is what the list is called."""
    _bounded(workers, what)
    return [dict(fields.created(Monitoring, {name: each.get(name) for name in _WORDS}, spell)) for each in workers]


def passed(workers: Sequence[Mapping[str, Any]], what: str, spell: Spell) -> list[dict[str, Any]]:
    """As `checked`, for what is not kept: each of the three may be missing, and is None then."""
    _bounded(workers, what)
    known = {name: spell(attributes(Monitoring)[name]) for name in _WORDS}
    return [
        {name: None if each.get(name) is None else check_text(each[name], shown) for name, shown in known.items()}
        for each in workers
    ]


def told(rows: Sequence[Mapping[str, Any]]) -> Json:
    """The workers as those who follow are told of them, spelt as on the wire."""
    wire = {name: attributes(Monitoring)[name].wire or name for name in _WORDS}
    return [{wire[name]: row[name] for name in _WORDS} for row in rows]


def _bounded(workers: Sequence[Mapping[str, Any]], what: str) -> None:
    if len(workers) > MAX_WORKERS:
        raise InvalidInput(f"{what} takes at most {MAX_WORKERS:,} at once, not {len(workers):,}")


def keep(unit: Unit, tenant: str, rows: Sequence[Mapping[str, Any]]) -> list[Monitoring]:
    """Adds a row for each worker, and tells those who follow."""
    kept = unit.tx.insert(Monitoring, [{"tenant": tenant, **row} for row in rows])
    unit.say("monitored", tenant, told(rows))
    return kept
