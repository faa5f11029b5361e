"""Answers that are on their way: waited for, or told to who goes on with other work meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
S = TypeVar("S")

Get: TypeAlias = Callable[[], T]
"""Gives the answer, or raises what there is in its place; called once."""
Spawn: TypeAlias = Callable[[Callable[[], None]], None]
"""Has something, which raises nothing, called in some thread soon, without waiting for it."""


class Later(Generic[T]):
    """An answer that nobody has asked for yet; to be asked for once, by `result` or by `ask`.

    Args:
        wait: Asks for it and waits.
        tell: Asks for it and returns; then what it is given is called with the `Get`, in a thread of the `Spawn` or in this one.
    """

    __slots__ = ("_tell", "_wait")

    def __init__(self, wait: Get[T], tell: Callable[[Spawn, Callable[[Get[T]], None]], None]) -> None:
        self._wait = wait
        self._tell = tell

    def result(self) -> T:
        """The answer; raises what there is in its place."""
        return self._wait()

    def ask(self, spawn: Spawn, told: Callable[[Get[T]], None]) -> None:
        """Has `told`, which raises nothing, called with the answer, without waiting for it."""
        self._tell(spawn, told)

    def then(self, go: Callable[[Get[T]], S]) -> Later[S]:
        """What `go` makes of the answer, which it gets by calling what it is given."""
        return Later(
            lambda: go(self._wait),
            lambda spawn, told: self._tell(spawn, lambda get: told(partial(go, get))),
        )


def at_once(get: Get[T]) -> Later[T]:
    """An answer that is there when it is asked for."""
    return Later(get, lambda _, told: told(get))


def settled(answer: T | Later[T]) -> T:
    """The answer itself, waited for where it is on its way."""
    return answer.result() if isinstance(answer, Later) else answer
