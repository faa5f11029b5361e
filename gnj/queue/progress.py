"""What an update of a job's progress (processingInfo) stores: section 7 of the jobs contract."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gnj.queue.values import Json

STEPS = "steps"


def replaced(old: Json, new: Json, *, started_at: datetime | None, now: datetime) -> Json:
    """`new`, its steps laid over the stored ones of the same name.

    Steps that `new` does not name are dropped. A step that is now `done`, and whose stored copy has no `doneAt`, gets
    `doneAt` and `elapsedTime`: milliseconds since the latest of `started_at` and every stored `doneAt`; a job that never
    started has no such moment, and so no `elapsedTime`.
    """
    if not isinstance(new, dict) or not isinstance(new.get(STEPS), (dict, list)):
        return new
    before = _named(old.get(STEPS) if isinstance(old, dict) else None)
    since = _latest(started_at, before)

    def laid(step: Json, name: Any) -> Json:
        if not isinstance(step, dict):
            return step
        stored = before.get(name) if isinstance(name, str) else None
        stored = stored if isinstance(stored, dict) else {}
        step = {**stored, **step}
        if step.get("status") == "done" and not stored.get("doneAt"):
            step["doneAt"] = _text(now)
            if since is not None:
                step["elapsedTime"] = max(0, round((now - since).total_seconds() * 1000))
        return step

    steps = new[STEPS]
    if isinstance(steps, dict):
        return {**new, STEPS: {name: laid(step, name) for name, step in steps.items()}}
    return {**new, STEPS: [laid(step, step.get("name") if isinstance(step, dict) else None) for step in steps]}


def merged(old: Json, new: Json) -> Json:
    """`new` over `old`, key by key, steps by name: what `ctx.progress` stores. Anything but two objects: `new`."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    result = {**old, **new}
    if isinstance(new.get(STEPS), dict):
        result[STEPS] = {**_named(old.get(STEPS)), **new[STEPS]}
    return result


def _named(steps: Json) -> dict[str, Json]:
    if isinstance(steps, dict):
        return steps
    if isinstance(steps, list):
        return {s["name"]: s for s in steps if isinstance(s, dict) and isinstance(s.get("name"), str)}
    return {}


def _latest(started_at: datetime | None, steps: dict[str, Json]) -> datetime | None:
    moments = [started_at] if started_at else []
    for step in steps.values():
        if isinstance(step, dict) and isinstance(step.get("doneAt"), str):
            try:
                moment = datetime.fromisoformat(step["doneAt"])
            except ValueError:
                continue
            moments.append(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return max(moments, default=None)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
