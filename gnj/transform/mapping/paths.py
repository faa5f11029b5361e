r"""Paths: where in a record a rule finds its value.

    path     = constant | segment { "." segment }
    segment  = name { "[" ( index | "*" ) "]" }
    constant = a text in ' or ", with the escapes of transforms

A name is any characters but `. [ ]`, and these where a backslash stands before them: `Price \[EUR\]`, `Item No\.`. Any other
backslash is a character of the name. The whole path is first tried as one key of the record, so that a field called
`price.amount` is found too. What is missing on the way is null. `[*]` gives a list of what the rest of the path finds in each
element, without nulls; of a second `[*]` the elements stand in the same list (transform jobs contract, "Mappings" and the
ruling on the language).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

from gnj.queue.values import shown
from gnj.transform.errors import BadMapping
from gnj.transform.mapping.grammar import unquoted
from gnj.transform.values import Record, Value

MAX_PATH: Final = 1_000
"""Characters of a path."""
MAX_STEPS: Final = 50
"""Names and brackets of a path."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A text that every record has."""

    text: str


EACH: Final = None
"""The step `[*]`."""

Step: TypeAlias = str | int | None
Getter: TypeAlias = Callable[[Record], Value]

_STEP: Final = re.compile(r"(?P<name>(?:\\[.\[\]]|[^.\[\]])+)|\[(?P<index>[0-9]{1,9})\]|(?P<each>\[\*\])")
_ESCAPED: Final = re.compile(r"\\([.\[\]])")
_SPECIAL: Final = re.compile(r"[.\[\]]")
_CONSTANT: Final = re.compile(r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')""", re.DOTALL)


def parse_path(text: str) -> Constant | tuple[Step, ...]:
    """The steps of a path: names, indexes, and `EACH`; the first one is a name.

    Raises `BadMapping`, saying at which character what is expected.
    """
    if len(text) > MAX_PATH:
        raise BadMapping(f"must have at most {MAX_PATH:,} characters, not {len(text):,}")
    if text[:1] in ("'", '"'):
        if not _CONSTANT.fullmatch(text):
            raise BadMapping(f"is a constant that begins with {text[0]} and must end with it, nowhere before")
        return Constant(unquoted(text))
    steps: list[Step] = []
    position = 0
    begins = True
    while position < len(text) or begins:
        found = _STEP.match(text, position)
        if found is None or (found.lastgroup == "name") is not begins:
            raise _unexpected(text, position, begins=begins)
        steps.append(
            _ESCAPED.sub(r"\1", found["name"])
            if begins
            else int(found["index"])
            if found.lastgroup == "index"
            else EACH,
        )
        position = found.end()
        begins = text[position : position + 1] == "."
        position += begins
    if len(steps) > MAX_STEPS:
        raise BadMapping(f"must have at most {MAX_STEPS} names and brackets, not {len(steps)}")
    return tuple(steps)


def written(name: str) -> str | None:
    """A name as paths have it; None for one that none can have: it is empty, or a backslash ends it."""
    return None if not name or name.endswith("\\") else _SPECIAL.sub(r"\\\g<0>", name)


def _unexpected(text: str, position: int, *, begins: bool) -> BadMapping:
    wanted = "a name" if begins else "a dot, or an index such as [0] or [*],"
    what = shown(text[position]) if position < len(text) else "the end"
    return BadMapping(
        f"must have {wanted} at character {position}, not {what} (where . [ ] belong to a name, each has a backslash before it)"
    )


def getter(steps: Sequence[Step]) -> Getter:
    """What finds the value of a path that has more than one step."""
    if EACH not in steps:
        return _walker(tuple(steps))
    place = steps.index(EACH)
    walk, collect = _walker(tuple(steps[:place])), _collector(tuple(steps[place + 1 :]))

    def listed(record: Value) -> Value:
        values = walk(record)
        return collect(values) if _is_list(values) else None

    return listed


def _walker(steps: tuple[Step, ...]) -> Callable[[Value], Value]:
    # What is no JSON of the expected kind has no such item, and says so; but a text has characters.
    def walk(value: Any) -> Value:
        try:
            for step in steps:
                if value.__class__ is str:
                    return None
                value = value[step]
        except (LookupError, TypeError):
            return None
        return value  # type: ignore[no-any-return]

    if len(steps) != 2 or not all(type(step) is str for step in steps):
        return walk
    outer, inner = steps

    def walk_twice(value: Any) -> Value:
        try:
            return value[outer][inner]  # type: ignore[no-any-return]
        except (LookupError, TypeError):
            return None

    return walk_twice


def _collector(steps: tuple[Step, ...]) -> Callable[[Sequence[Value]], list[Value]]:
    """What finds in each of some values what the steps lead to."""
    if not steps:
        return lambda values: [value for value in values if value is not None]
    if EACH not in steps:
        walk, name = _walker(steps), steps[0]
        if len(steps) > 1 or type(name) is not str:
            return lambda values: [item for value in values if (item := walk(value)) is not None]
        return lambda values: [
            item for value in values if (item := value.get(name) if type(value) is dict else walk(value)) is not None
        ]
    place = steps.index(EACH)
    inner, rest = _walker(steps[:place]), _collector(steps[place + 1 :])
    return lambda values: [item for value in values if _is_list(found := inner(value)) for item in rest(found)]


def _is_list(value: Value) -> TypeGuard[Sequence[Value]]:
    return type(value) is list or (isinstance(value, Sequence) and not isinstance(value, str))
