"""What keeps a value out of its field."""

from __future__ import annotations

from collections.abc import Iterable


class Fault(Exception):
    """A value that its field does not take.

    Args:
        sentence: What the value must be, and what it is; the field's name goes before it.
        parts: Instead of that, of an array's elements: the place of each fault in the array, and its sentence.
    """

    def __init__(self, sentence: str, parts: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(sentence)
        self.parts = tuple(parts) or (("", sentence),)
