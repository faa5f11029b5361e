"""The values of records: what JSON has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | Sequence["Value"] | Mapping[str, "Value"] | None
"""A value of a record. None is null."""

Record: TypeAlias = Mapping[str, Value]
"""A record of a source, or of a target format: fields by their names."""
