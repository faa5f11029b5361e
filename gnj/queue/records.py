"""What a record is: frozen, keyword-only, and described well enough to generate tables, types and filters from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final, Self


class Kind(Enum):
    """What values an attribute takes."""

    INT = "int"
    """A 32-bit integer."""
    ID = "id"
    """A 64-bit integer that names a row."""
    TEXT = "text"
    BOOL = "bool"
    FLOAT = "float"
    JSON = "json"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Column:
    """Where an attribute's names or kind differ from what its annotation says."""

    column: str | None = None
    wire: str | None = None
    """The name in GraphQL; "" for an attribute the faces never show."""
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a record, under its three names."""

    name: str
    column: str
    wire: str | None
    """None: internal, never shown nor filtered on by a face."""
    kind: Kind
    nullable: bool
    enum: type[Enum] | None = None


HIDDEN: Final = Column(wire="")
"""No face shows it."""
ID: Final = Column(kind=Kind.ID)
"""It names a row, or counts further than 32 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What every row has."""

    id: Annotated[int, ID]
    tenant: Annotated[str, HIDDEN] = ""
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None

    def evolve(self, **changes: Any) -> Self:
        """A copy with other values."""
        return replace(self, **changes)
