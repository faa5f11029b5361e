"""The fields that samples have: where they are and what they hold.

A path is what a rule's `sourceField` takes (`gnj.transform.mapping.paths`): keys with points between them, `[0]`, `[*]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from gnj.transform.errors import BadMapping
from gnj.transform.generating.kinds import Profile
from gnj.transform.generating.names import Name, name_of
from gnj.transform.generating.words import storable
from gnj.transform.mapping.paths import parse_path, written
from gnj.transform.values import Record, Value

_MOST_FIELDS: Final = 300
_MOST_KEYS: Final = 400
"""Keys of one object that are looked at."""
_MOST_STEPS: Final = 2_000
"""Values of one record that are looked at."""
_MOST_ELEMENTS: Final = 20
"""Elements of one list that are looked at."""
_DEEPEST: Final = 5
"""Keys in a path."""
_LONGEST_KEY: Final = 150
"""Characters of a key, as a path has it."""


def _name(key: str) -> str | None:
    """A key as a path has it; None for one that no path can have, and for one that is too long."""
    path = written(key) if storable(key) else None
    return None if path is None or len(path) > _LONGEST_KEY else path


def _is_path(key: str) -> bool:
    """Whether a key is a path as it stands: records are asked for all of it first."""
    try:
        parse_path(key)
    except BadMapping:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the samples."""

    path: str
    name: Name
    depth: int
    """Keys above its own."""
    first: bool
    """Whether it is in the first element of a list, which others may follow."""
    many: bool
    """Whether it is a list, or in each element of one."""
    profile: Profile = field(default_factory=Profile)


@dataclass(slots=True)
class _Walk:
    """The fields found so far. `whole` are the keys of records: a path that is one of them leads nowhere else."""

    whole: frozenset[str]
    fields: dict[str, Field] = field(default_factory=dict)
    steps: int = 0

    def record(self, record: Record) -> None:
        self.steps = _MOST_STEPS
        for key, value in islice(record.items(), _MOST_KEYS):
            self.steps -= 1
            # a path that begins with a quote is a constant
            if (path := _name(key)) is not None and key[0] not in "'\"":
                # what is below a key is not found by the key as it stands
                whole = not isinstance(value, Mapping | list) and path != key and _is_path(key)
                self._value(key if whole else path, (key,), value, first=False)

    def _object(self, path: str, keys: tuple[str, ...], value: Mapping[str, Value], *, first: bool, each: bool) -> None:
        if len(keys) >= _DEEPEST:
            return
        for key, inner in islice(value.items(), _MOST_KEYS):
            self.steps -= 1
            if self.steps < 0:
                return
            name = _name(key)
            below = f"{path}.{name}"
            if name is not None and below not in self.whole:
                if not each:
                    self._value(below, (*keys, key), inner, first=first)
                elif isinstance(inner, Mapping):
                    self._object(below, (*keys, key), inner, first=first, each=True)
                elif not isinstance(inner, list):
                    self._add(below, (*keys, key), inner, many=True)

    def _value(self, path: str, keys: tuple[str, ...], value: Value, *, first: bool) -> None:
        if isinstance(value, Mapping):
            self._object(path, keys, value, first=first, each=False)
        elif isinstance(value, list):
            self._add(path, keys, value, first=first, many=True)
            if value and not isinstance(value[0], list) and f"{path}[0]" not in self.whole:
                self._value(f"{path}[0]", keys, value[0], first=True)
            for element in value[:_MOST_ELEMENTS]:
                if isinstance(element, Mapping):
                    self._object(f"{path}[*]", keys, element, first=first, each=True)
        else:
            self._add(path, keys, value, first=first)

    def _add(self, path: str, keys: tuple[str, ...], value: Value, *, first: bool = False, many: bool = False) -> None:
        found = self.fields.get(path)
        if found is None:
            if len(self.fields) >= _MOST_FIELDS:
                return
            found = Field(path, name_of(keys[-1], keys[:-1]), len(keys) - 1, first, many)
            self.fields[path] = found
        found.profile.add(value)


def fields_of(samples: Sequence[Record]) -> list[Field]:
    """The fields of `samples` in the order in which they come; no more than a few hundred, no deeper than five keys."""
    walk = _Walk(frozenset(key for record in samples for key in islice(record, _MOST_KEYS)))
    for record in samples:
        walk.record(record)
    return list(walk.fields.values())
