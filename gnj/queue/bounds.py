"""The check of settings that are bounds. Imports next to nothing, so that every room can read it."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from gnj.queue.errors import InvalidInput


def check_bounds(bounds: Any, name: str) -> None:
    """Raises `InvalidInput`, naming the field, unless each field of the dataclass `bounds` is a number greater than 0: a whole one
    where it is an `int`.

    `name`: of the setting.
    """
    for field in fields(bounds):
        value, whole = getattr(bounds, field.name), field.type == "int"
        if not is_number(value, whole=whole) or value <= 0:
            raise InvalidInput(
                f"{name}: {field.name} must be a {'whole ' if whole else ''}number greater than 0, not {str(value)[:60]!r}"
            )


def is_number(value: object, *, whole: bool) -> bool:
    """Whether it is a finite number, and a whole one."""
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return math.isfinite(value)
