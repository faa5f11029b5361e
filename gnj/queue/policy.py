"""What a type's registration says about its jobs, where the jobs themselves say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from gnj.queue import fields
from gnj.queue.fields import Spell, python_name
from gnj.queue.model import Job
from gnj.queue.retry import Backoff, from_wire
from gnj.queue.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How jobs of a type are tried: attributes of the same names on a job win over these.

    Args:
        max_attempts: Tries that may end in an error.
        backoff: The wait between them.
        timeout: Seconds after which a worker fails a try.
        on_lost: What a lost lease does: requeue, fail or hold.
        max_stalled: Leases that may be lost.
    """

    max_attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    on_lost: str | None = None
    max_stalled: int | None = None


_NAMES = tuple(field.name for field in dataclass_fields(Policy))
_SILENT = Policy()


def silent(policies: Mapping[str, Policy], types: Sequence[str]) -> bool:
    """Whether nothing is said of jobs of `types`: then nothing is to be filled."""
    return all(policies.get(type, _SILENT) == _SILENT for type in types)


def checked(type: str, asked: Mapping[str, Any], spell: Spell = python_name) -> Policy:
    """The policy of jobs of `type` from attribute values. Raises `InvalidInput` for a type or values no job may have."""
    values = fields.created(Job, {"type": type, **{name: asked.get(name) for name in _NAMES}}, spell)
    wire = values["backoff"]
    return Policy(**{name: values[name] for name in _NAMES} | {"backoff": None if wire is None else from_wire(wire)})


def fill(unit: Unit, claimed: Sequence[Job], policies: Mapping[str, Policy]) -> list[Job]:
    """The claimed jobs, those attributes that are null written as their type's policy has them (data.md)."""
    todo: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for job in claimed:
        policy = policies.get(job.type)
        names = tuple(n for n in _NAMES if getattr(job, n) is None and getattr(policy, n, None) is not None)
        if names:
            todo.setdefault((job.type, names), []).append(job.id)
    if not todo:
        return list(claimed)
    filled = {job.id: job for job in claimed}
    for (type, names), ids in sorted(todo.items()):
        changes = {name: _stored(getattr(policies[type], name)) for name in names}
        filled.update((job.id, job) for job in unit.tx.edit(Job, ids, changes))
    return list(filled.values())


def _stored(value: Any) -> Any:
    return value.to_wire() if isinstance(value, Backoff) else value
