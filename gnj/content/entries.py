"""Entries in files: from one JSON value to a `NewEntry`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from gnj.content.model import Entry, NewEntry
from gnj.content.moments import moment
from gnj.queue.errors import InvalidInput
from gnj.queue.values import MAX_WORD, Json, check_text, check_word, shown

MOST_LABELS: Final = 1_000
"""Labels that one entry may have."""
_PARTS: Final = ("id", "system", "content", "attrs")
_NAMED: Final = frozenset(
    {
        "siteId",
        "modelId",
        "environmentId",
        "siteAlias",
        "modelAlias",
        "status",
        "slug",
        "labels",
        "createdAt",
        "updatedAt",
        "publishedAt",
    }
)
"""What `system` has that has a place of its own in an entry."""


def read(value: Json) -> NewEntry:
    """The entry that a value of a file describes: `{id, system: {siteId, modelId, …}, content, attrs}`.

    What `system` has besides what is known is kept. Null is as if it were not there.

    Args:
        value: JSON that was checked.

    Raises `InvalidInput`, naming what is missing or wrong, for one that cannot be stored.
    """
    if not isinstance(value, dict):
        raise InvalidInput(f"an entry must be an object, not {shown(value)}")
    if unknown := [name for name in value if name not in _PARTS]:
        raise InvalidInput(f"unknown key {shown(unknown[0])}; an entry has {', '.join(_PARTS)}")
    id = _required(value, "id", "id")
    system = _object(value, "system")
    return NewEntry(
        id=id,
        site_id=_required(system, "siteId", "system.siteId"),
        model_id=_required(system, "modelId", "system.modelId"),
        environment=_word(system, "environmentId"),
        site_alias=_word(system, "siteAlias"),
        model_alias=_word(system, "modelAlias"),
        status=_text(system, "status"),
        slug=_text(system, "slug"),
        labels=_labels(system),
        created_at=_moment(system, "createdAt"),
        updated_at=_moment(system, "updatedAt"),
        published_at=_moment(system, "publishedAt"),
        system={name: item for name, item in system.items() if name not in _NAMED},
        content=_object(value, "content"),
        attrs=_object(value, "attrs"),
    )


def write(entry: Entry) -> Json:
    """The value from which `read` makes the same entry."""
    system = {
        **entry.system,
        "siteId": entry.site_id,
        "modelId": entry.model_id,
        "status": entry.status,
        "slug": entry.slug,
        "labels": list(entry.labels),
        "createdAt": _written(entry.created_at),
        "updatedAt": _written(entry.updated_at),
        "publishedAt": None if entry.published_at is None else _written(entry.published_at),
    }
    return {"id": entry.id, "system": system, "content": dict(entry.content), "attrs": dict(entry.attrs)}


def _required(part: Mapping[str, Json], name: str, path: str) -> str:
    if part.get(name) is None:
        raise InvalidInput(f"{path} is missing")
    return check_word(part[name], path)


def _word(system: Mapping[str, Json], name: str) -> str | None:
    value = system.get(name)
    return None if value is None else check_word(value, f"system.{name}")


def _text(system: Mapping[str, Json], name: str) -> str | None:
    value = system.get(name)
    return None if value is None else check_text(value, f"system.{name}", maximum=MAX_WORD)


def _object(value: Mapping[str, Json], name: str) -> dict[str, Json]:
    part = value.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise InvalidInput(f"{name} must be an object, not {shown(part)}")
    return part


def _labels(system: Mapping[str, Json]) -> tuple[str, ...]:
    labels = system.get("labels")
    if labels is None:
        return ()
    if not isinstance(labels, list):
        raise InvalidInput(f"system.labels must be a list of texts, not {shown(labels)}")
    if len(labels) > MOST_LABELS:
        raise InvalidInput(f"system.labels must have at most {MOST_LABELS:,} texts, not {len(labels):,}")
    checked = (check_text(each, "a text of system.labels", maximum=MAX_WORD, empty=False) for each in labels)
    return tuple(dict.fromkeys(checked))


def _moment(system: Mapping[str, Json], name: str) -> datetime | None:
    value = system.get(name)
    return None if value is None else moment(value, f"system.{name}")


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
