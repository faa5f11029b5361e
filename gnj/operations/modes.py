"""The words of the doors: which transaction an operation runs in, and which type it is a field of."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """In which transaction an operation runs."""

    READ_COMMITTED = "read_committed"
    """One of gnj's ordinary transactions."""
    SERIALIZABLE = "serializable"
    """One that behaves as if it ran alone; where that cannot be, the operation is done again from its beginning."""
    NONE = "none"
    """In none: the operation cannot have one."""


class Root(StrEnum):
    """The type whose field an operation is."""

    QUERY = "Query"
    MUTATION = "Mutation"
    SUBSCRIPTION = "Subscription"
