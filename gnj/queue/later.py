"""Answers that are on their way: waited for, or told to who goes on with other work meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")
S = TypeVar("S")

Get: TypeAlias = Callable[[], T]
"""Gives the answer, or raises what there is in its place; called once."""
Spawn: TypeAlias = Callable[[Callable[[], None]], None]
"""Has something, which raises nothing, called in some thread soon, without waiting for it."""


class MayWait(BaseException):
    """Raised, where nothing may wait, by what would have to, before it has done anything: it is to be called elsewhere."""


_PROMPT: Final[ContextVar[bool]] = ContextVar("gnj_prompt", default=False)


class promptly:  # noqa: N801 - used as a function; as a generator it takes 3 us, once for each request
    """In the block nothing may wait: it runs on an event loop."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _PROMPT.set(True)

    def __exit__(self, *_: object) -> None:
        _PROMPT.reset(self._token)


def prompt() -> bool:
    """Whether nothing may wait here (`promptly`)."""
    return _PROMPT.get()


def may_wait() -> None:
    """Called before what may have to wait, or takes long: raises `MayWait` where nothing may (`promptly`)."""
    if prompt():
        raise MayWait


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
    """An answer that is there when it is asked for, and may have to be waited for then: see `may_wait`."""
    may_wait()
    return Later(get, lambda _, told: told(get))


def settled(answer: T | Later[T]) -> T:
    """The answer itself, waited for where it is on its way."""
    return answer.result() if isinstance(answer, Later) else answer
