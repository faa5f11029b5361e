"""What was brought through the doors, until the schema is built of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gnj.access import Kind
from gnj.operations.modes import Mode
from gnj.operations.spec import Operation, Origin

if TYPE_CHECKING:
    from gnj.operations.typed import Function


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """SDL and what resolves it, as it was registered."""

    type_defs: str
    bindables: tuple[Any, ...]
    origin: Origin
    transaction: str = Mode.READ_COMMITTED
    action: Kind | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """An `Operation` of `custom_mutations`, and its name."""

    name: str
    operation: Operation
    origin: Origin


@dataclass(frozen=True, slots=True)
class Registered:
    """What came through the doors."""

    owner: Any
    """The `GNJ` it was registered with."""
    functions: Sequence[Function] = ()
    mapped: Sequence[Mapped] = ()
    extensions: Sequence[Extension] = ()
