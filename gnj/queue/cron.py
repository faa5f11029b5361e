"""Cron expressions: which are taken, and the wall-clock times that one means.

Five fields of numbers, as the original cron had them: minute, hour, day of the month, month, day of the week; where both
days are restricted, either will do. Letters are refused before croniter sees them: to it `R` is a random number, drawn
anew at each parse, and `H` a hash. Time zones are the matter of `ticks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown

MAX_CRON: Final = 100
"""Characters of an expression at most."""

_FIELDS: Final = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_PART: Final = re.compile(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([0-9]{1,2}))?")
_INSTEAD: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EVERY_HOUR: Final = re.compile(r"\*(/[0-9]{1,2})?")
_YEARS: Final = 9
"""Years within which an expression that ever matches does: 29 February is 8 years from the next one around 2100."""
_SOME_DAY: Final = datetime(2000, 3, 1)  # noqa: DTZ001 - a wall-clock time, of no zone


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that was checked.

    Args:
        text: The expression, its fields one blank apart.
        listed: The same with every number that a field stands for, and Sunday as 0.
        elapses: Whether its hour field is `*` or `*/n`: it then follows the time that elapses, and not the wall clock.
    """

    text: str
    listed: str
    elapses: bool


def parse(text: object, what: str = "cron") -> Cron:
    """An expression of five fields. Raises `InvalidInput`, which says what is wrong with `what`.

    Refused are those that never match, such as 30 February. Whatever the text is, this takes some milliseconds.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"{what} must be a text such as '0 3 * * *', not {shown(text)}")
    if len(text) > MAX_CRON:
        raise InvalidInput(f"{what} must have at most {MAX_CRON} characters, not {len(text):,}")
    return _parsed(text, what)


@lru_cache(maxsize=1_000)  # a schedule is reckoned with again at each of its ticks
def _parsed(text: str, what: str) -> Cron:
    fields = text.split()
    if len(fields) == 1 and fields[0].startswith("@"):
        instead = _INSTEAD.get(fields[0])
        raise InvalidInput(
            f"{what} must have five fields, not {shown(text)}" + (f": write {instead!r}" if instead else "")
        )
    if len(fields) != len(_FIELDS):
        raise InvalidInput(
            f"{what} must have five fields (minute, hour, day of the month, month, weekday), not {len(fields)}: {shown(text)}"
        )
    numbers = [
        _numbers(field, f"the {name} of {what}", low, high)
        for field, (name, low, high) in zip(fields, _FIELDS, strict=True)
    ]
    numbers[-1] = {number % 7 for number in numbers[-1]}
    # croniter takes a range of one number, such as 0-0, for all there are
    listed = (
        "*" if field == "*" else ",".join(map(str, sorted(some))) for field, some in zip(fields, numbers, strict=True)
    )
    cron = Cron(" ".join(fields), " ".join(listed), _EVERY_HOUR.fullmatch(fields[1]) is not None)
    if next(walls(cron, _SOME_DAY), None) is None:
        raise InvalidInput(f"{what} never comes: {shown(cron.text)} is on no day of any year")
    return cron


def walls(cron: Cron, after: datetime) -> Iterator[datetime]:
    """The wall-clock times that match and are later than `after`, in their order; ends where none comes for years.

    All of them are naive.
    """
    return _iterate(cron, after, "get_next")


def walls_before(cron: Cron, before: datetime) -> Iterator[datetime]:
    """Those that are earlier than `before`, the last first."""
    return _iterate(cron, before, "get_prev")


def _iterate(cron: Cron, start: datetime, step: str) -> Iterator[datetime]:
    from croniter import CroniterBadDateError, croniter  # noqa: PLC0415 - 5 ms that only those pay who have schedules

    go: Any = getattr(croniter(cron.listed, start, max_years_between_matches=_YEARS), step)
    while True:
        try:
            wall: datetime = go(datetime)
        except CroniterBadDateError:
            return
        yield wall


def _numbers(field: str, what: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise InvalidInput(
                f"{what} must be made of '*', numbers and ranges, such as '*/15' or '1-5,10', not {shown(field)}"
            )
        first, last, step = (None if number is None else int(number) for number in match.groups())
        for number in (first, last):
            if number is not None and not low <= number <= high:
                raise InvalidInput(f"{what} must be from {low} to {high}, not {number}")
        if first is not None and last is not None and last < first:
            raise InvalidInput(f"{what} must begin with the lower number of a range, not {shown(part)}")
        if step is not None and not 1 <= step <= high - low + 1:
            raise InvalidInput(f"{what} must have a step from 1 to {high - low + 1}, not {step}")
        begin = low if first is None else first
        end = last if last is not None else high if first is None or step is not None else first
        found.update(range(begin, end + 1, step or 1))
    return found
