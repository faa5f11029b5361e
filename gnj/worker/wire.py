"""Jobs as they are on the wire of the jobs API, turned into records, and what a worker tells of them turned into variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from gnj.client.protocol import as_variable
from gnj.queue.ends import Outcome
from gnj.queue.errors import CancelPending, GnjError
from gnj.queue.model import Attribute, Job, Kind, by_wire
from gnj.queue.policy import Policy

_READ: Mapping[Kind, Callable[[Any], Any]] = {Kind.TIME: datetime.fromisoformat}


def job(row: Mapping[str, Any], lease: float) -> Job:
    """The record of a whole row; the wire does not tell its `lease`, for which it was claimed, nor its tenant."""
    return Job(lease=lease, **_attributes(row))


def refreshed(claim: Job, row: Mapping[str, Any]) -> Job:
    """The claim with what a row of some fields says."""
    return claim.evolve(**_attributes(row))


def outcome(told: Outcome) -> dict[str, Any]:
    """An `outcomeInput`. Raises `InvalidInput` for an output that is no JSON."""
    return {
        "id": told.claim.id,
        "attempt": told.claim.attempt,
        "status": told.status.value,
        "output": as_variable(told.output, "output"),
        "error": told.error,
        "delaySeconds": told.delay,
    }


def policy(type: str, policy: Policy) -> dict[str, Any] | None:
    """A `policyInput`; None for a policy that says nothing."""
    said = {
        "maxAttempts": policy.max_attempts,
        "backoff": None if policy.backoff is None else policy.backoff.to_wire(),
        "timeoutSeconds": policy.timeout,
        "onLost": policy.on_lost,
    }
    given = {name: value for name, value in said.items() if value is not None}
    return {"type": type, **given} if given else None


def error(code: str | None, message: str | None) -> GnjError:
    """The error that the server raised, as the class that has its code; a `GnjError` for codes that this version does not
    know.
    """
    if code == CancelPending.code:
        return CancelPending()
    return _errors().get(code or "", GnjError)(message)


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    known = by_wire(Job)
    return {known[name].name: _value(known[name], value) for name, value in row.items()}


def _value(attribute: Attribute, value: Any) -> Any:
    if value is None:
        return None
    if attribute.enum is not None:
        return attribute.enum(value)
    return _READ[attribute.kind](value) if attribute.kind in _READ else value


def _errors() -> dict[str, type[GnjError]]:
    found: dict[str, type[GnjError]] = {}

    def walk(error: type[GnjError]) -> None:
        if error.__module__ == GnjError.__module__:
            found.setdefault(error.code, error)
        for each in error.__subclasses__():
            walk(each)

    walk(GnjError)
    return found
