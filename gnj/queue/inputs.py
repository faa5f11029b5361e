"""What callers hand over from Python, checked: new jobs, types, tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields as dataclass_fields
from operator import attrgetter
from typing import Any, Final

from gnj.queue import fields, jobs
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Job, NewJob
from gnj.queue.values import MAX_WORD, check_bool, check_text, check_word, shown

MAX_TYPES = 200


def with_type(values: dict[str, Any]) -> dict[str, Any]:
    """The checked values of a job to be, which must have a type."""
    if "type" not in values:
        raise InvalidInput("notNull Violation: job.type cannot be null")
    return values


def check_types(types: object) -> list[str]:
    """A list of job types, each once."""
    if isinstance(types, str) or not isinstance(types, Sequence):
        raise InvalidInput(f"types must be a list of job types, not {shown(types)}")
    words = list(dict.fromkeys(check_word(type, "a job type") for type in types))
    if len(words) > MAX_TYPES:
        raise InvalidInput(f"at most {MAX_TYPES} types can be asked for at once, not {len(words)}")
    return words


def check_tenant(tenant: str) -> str:
    """A tenant."""
    return check_text(tenant, "tenant", maximum=MAX_WORD)


def check_tenants(tenants: Sequence[str]) -> Sequence[str]:
    """A list of tenants."""
    if isinstance(tenants, str) or not isinstance(tenants, Sequence):
        raise InvalidInput(f"tenants must be a list of tenants, not {shown(tenants)}")
    return [check_tenant(tenant) for tenant in tenants]


def new_values(new: object, owner: str | None = None) -> dict[str, Any]:
    """The attributes a `NewJob` gives, checked; what is None is left to the defaults.

    With `owner`, the tenant of the batch or pipeline it is to be a member of, the job belongs to that one as well.
    """
    if not isinstance(new, NewJob):
        raise InvalidInput(f"a job to enqueue must be a NewJob, not {shown(new)}")
    if owner is not None and new.tenant not in ("", owner):
        raise InvalidInput(f"a job of tenant {shown(new.tenant)} cannot be a member of what belongs to {shown(owner)}")
    given = {}
    for (name, check, what), value in zip(_NEW_JOB, _values_of(new), strict=True):
        if value is not None:
            given[name] = check(value, what)
    with_type(given)
    return {**given, "position": jobs.FIRST} if check_bool(new.lifo, "lifo") else given


_NEW_JOB: Final = tuple(
    (f.name, *fields.check_of(Job, f.name)) for f in dataclass_fields(NewJob) if f.name not in ("tenant", "lifo")
)
"""The attributes of a `NewJob` that are a job's, how each is checked, and what it is called."""
_values_of: Final = attrgetter(*(name for name, *_ in _NEW_JOB))
