"""From any value to one of a field's type.

What a value is missing for every type: null, "" and [] (section "Formats" of the contract's rulings). A field without a value
gets its type's default, and nothing more is asked of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from gnj.queue.values import MAX_INT64, shown
from gnj.transform.formats.faults import Fault
from gnj.transform.formats.figures import MIN_INT64, checked, to_number
from gnj.transform.values import Value
from gnj.transform.writing import scalar_text

Converter: TypeAlias = Callable[[Any], Any]
"""Gives what the field has for a value; raises `Fault` for one that it does not take."""
Step: TypeAlias = Callable[[Any], Any]
"""What is done to a value that is there and of the field's type; raises `Fault`."""

MAX_REASONS: Final = 100
"""Faults that are told of one record."""

_WORDS: Final[Mapping[str, bool]] = MappingProxyType(
    {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
)
_LONGEST_WORD: Final = 20


def is_missing(value: Value) -> bool:
    """Whether a value is none: null, "" or []."""
    return value is None or (isinstance(value, (str, list, tuple)) and not value)


def text_of(value: Value) -> str:
    """The text form of a value: `true`, `false`, numbers as JSON writes them, 2.0 as `2`; `Fault` for lists and objects."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return scalar_text(value if isinstance(value, bool) else checked(value))
    raise Fault(f"must be a text, not {described(value)}")


def described(value: Value) -> str:
    """A value for an error message."""
    if isinstance(value, Mapping):
        return f"the object {shown(dict(value))}"
    if isinstance(value, (list, tuple)):
        return f"the list {shown(list(value))}"
    return shown(value)


def strings(steps: Sequence[Step], needed: str | None) -> Converter:
    """A converter to strings. `needed`: what is wrong with a record without a value; None if it may have none."""

    def convert(value: Any) -> Value:
        if type(value) is not str:
            value = "" if is_missing(value) else text_of(value)
        if not value:
            return _default(needed, "")
        for step in steps:
            value = step(value)
        return value  # type: ignore[no-any-return]

    return convert


def numbers(steps: Sequence[Step], needed: str | None) -> Converter:
    """A converter to numbers; see `strings`."""

    def convert(value: Any) -> Value:
        kind = type(value)
        # A float minus itself is 0 unless it is infinite or NaN.
        if not ((kind is float and value - value == 0.0) or (kind is int and MIN_INT64 <= value <= MAX_INT64)):
            if not value and is_missing(value):
                return _default(needed, 0)
            value = _number(value)
        for step in steps:
            value = step(value)
        return value  # type: ignore[no-any-return]

    return convert


def booleans(steps: Sequence[Step], needed: str | None) -> Converter:
    """A converter to booleans; see `strings`."""

    def convert(value: Any) -> Value:
        if value is not True and value is not False:
            if is_missing(value):
                return _default(needed, default=False)
            value = _boolean(value)
        for step in steps:
            value = step(value)
        return value  # type: ignore[no-any-return]

    return convert


def arrays(element: Step | None, needed: str | None) -> Converter:
    """A converter to arrays; see `strings`. One value becomes an array of it.

    Args:
        element: What is done to each element, which may be any value; None for nothing.
        needed: As for `strings`.
    """

    def convert(value: Any) -> Value:
        if is_missing(value):
            return _default(needed, [])
        elements: Sequence[Any] = value if isinstance(value, (list, tuple)) else [_json(value)]
        if element is None:
            return list(elements)
        out = []
        faults: list[tuple[str, str]] = []
        for place, each in enumerate(elements):
            try:
                out.append(element(each))
            except Fault as fault:
                faults += ((f"[{place}]{inner}", sentence) for inner, sentence in fault.parts)
                if len(faults) > MAX_REASONS:
                    break
        if faults:
            raise Fault("must have other elements", faults)
        return out

    return convert


def chosen(choices: Sequence[Value]) -> Step:
    """A step that takes scalar values of a field's type, if they are among `choices`."""
    allowed = frozenset(choices)

    def choose(value: Any) -> Value:
        if value in allowed:
            return value  # type: ignore[no-any-return]
        raise Fault(f"must be one of {shown(list(choices), 200)}, not {shown(value)}")

    return choose


def chosen_element(choices: Sequence[str]) -> Step:
    """A step that takes elements of any kind, if their text form is among `choices`."""
    allowed = frozenset(choices)

    def choose(value: Any) -> Value:
        if isinstance(value, (str, int, float)) and text_of(value) in allowed:
            return value
        raise Fault(f"must be one of {shown(list(choices), 200)}, not {described(value)}")

    return choose


def _default(needed: str | None, default: Value) -> Value:
    if needed is not None:
        raise Fault(needed)
    return default


def _number(value: Value) -> int | float:
    if isinstance(value, str):
        return to_number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return checked(value)
    raise Fault(f"must be a number, not {described(value)}")


def _boolean(value: Value) -> bool:
    if isinstance(value, str) and len(value) <= _LONGEST_WORD:
        found = _WORDS.get(value.strip().casefold())
        if found is not None:
            return found
    elif isinstance(value, (int, float)) and value in (0, 1):
        return value == 1
    raise Fault(f"must be true, false, 1, 0, yes or no, not {described(value)}")


def _json(value: Value) -> Value:
    if isinstance(value, (str, int, float, Mapping)):
        return value
    raise Fault(f"must be a JSON value, not {shown(value)}")
