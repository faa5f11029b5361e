"""Many new jobs, checked and handed on attribute by attribute, since most attributes are alike in all of them.

Job by job, it took 85 ms to check 20,000 and to make columns of them again; so it takes 20.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, overload

from gnj.queue import fields
from gnj.queue.inputs import check_tenant
from gnj.queue.model import Job, NewJob
from gnj.queue.storage import Changes
from gnj.queue.values import check_json, check_jsons


class Many(Sequence[Changes]):
    """The values of many rows to be, which reads as a sequence of them.

    Args:
        length: How many rows.
        same: The values that all have: none that can be changed.
        differing: The values of the other attributes that are given, row by row.
    """

    __slots__ = ("differing", "length", "same")

    def __init__(self, length: int, same: Mapping[str, Any], differing: Mapping[str, Sequence[Any]]) -> None:
        self.length, self.same, self.differing = length, same, differing

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(self.length))]
        index = range(self.length)[place]
        return {**self.same, **{name: values[index] for name, values in self.differing.items()}}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = tuple(self.differing)
        rows = zip(*self.differing.values(), strict=True) if names else repeat((), self.length)
        return ({**self.same, **dict(zip(names, row, strict=True))} for row in rows)

    def gives(self, name: str) -> bool:
        """Whether rows have a value of that attribute."""
        return self.same.get(name) is not None or name in self.differing

    def also(self, values: Mapping[str, Any], **like: str) -> Many:
        """With `values` in all rows, and with attributes that have the values of others, if these are given."""
        same = {**self.same, **{name: self.same[other] for name, other in like.items() if other in self.same}, **values}
        alike = {name: self.differing[other] for name, other in like.items() if other in self.differing}
        return Many(self.length, same, {**self.differing, **alike})


def checked(new: Sequence[object]) -> Many | None:
    """The values that jobs give, and their tenants. None where one of them is wrong, of which is told job by job, or is to
    come before others.
    """
    if set(map(type, new)) != {NewJob}:
        return None
    same: dict[str, Any] = {}
    differing: dict[str, Sequence[Any]] = {}
    try:
        for (name, check, what, default), values in zip(
            _ATTRIBUTES, zip(*map(_values_of, new), strict=True), strict=True
        ):
            column = _checked(values, check, what, default)
            if isinstance(column, list):
                differing[name] = column
            elif column is not None:
                same[name] = column
    except Exception:  # noqa: BLE001 - whichever it is, the first that is wrong is told of
        return None
    if same.pop("lifo", None) is not False or not ("type" in same or "type" in differing):
        return None
    return Many(len(new), same, differing)


def _checked(values: Collection[Any], check: fields.Check, what: str, default: Any) -> Any:
    """A list of values; or the one that all have, if it cannot be changed. What is None becomes `default`."""
    first = next(iter(values))
    kinds = set(map(type, values))
    if len(kinds) == 1 and not kinds.isdisjoint(_SIMPLE):
        known = {value: check(value, what) for value in set(values)}
        return known[first] if len(known) == 1 else list(map(known.__getitem__, values))
    if kinds == {type(None)}:
        return default if default is not MISSING else _refused(what)
    if type(None) in kinds and default is MISSING:
        _refused(what)
    if check is check_json:
        return check_jsons(values, what)
    return [default if value is None else check(value, what) for value in values]


def _refused(what: str) -> None:
    raise ValueError(what)


def _check_tenant(value: Any, _what: str) -> str:
    return check_tenant(value)


def _attribute(name: str) -> tuple[str, Callable[[Any, str], Any], str, Any]:
    if name == "tenant":
        return name, _check_tenant, name, MISSING
    if name == "lifo":
        return name, lambda value, _: value, name, MISSING
    return name, *fields.check_of(Job, name), Job.__dataclass_fields__[name].default


_SIMPLE: Final = frozenset({str, int, bool})
"""Types whose equal values are one and the same."""
_NAMES: Final = tuple(f.name for f in dataclass_fields(NewJob))
_values_of: Final = attrgetter(*_NAMES)
_ATTRIBUTES: Final = tuple(map(_attribute, _NAMES))
"""The attributes of a `NewJob`: how each is checked, what it is called, and what stands for None."""
