"""Which function runs the jobs of a type, and how such jobs are tried."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from gnj.queue.errors import InvalidInput
from gnj.queue.policy import Policy, checked
from gnj.queue.retry import Backoff

if TYPE_CHECKING:
    from gnj.queue.scheduling import Declaration

F = TypeVar("F", bound=Callable[..., Any])

_GIVEN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A registered function.

    Args:
        type: The type of the jobs it runs.
        fn: The function itself.
        takes_context: It is called with the job and the `Context`, not with the job alone.
        is_async: It is awaited, on the event loop's thread; else it has a thread to itself while it runs.
        policy: How its jobs are tried.
    """

    type: str
    fn: Callable[..., Any]
    takes_context: bool
    is_async: bool
    policy: Policy


class Handlers:
    """The registry of handlers: by type, filled as the host's modules are imported.

    A job's type is only ever looked up here. Nothing is imported for a type nobody registered.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._policies: dict[str, Policy] = {}
        self.policies: Mapping[str, Policy] = MappingProxyType(self._policies)
        """The policies by type, as they are at each look: what `Queue(policies=...)` reads."""
        self.declarations: list[Declaration] = []
        """The recurring jobs that are declared in code (`GNJ.recurring`): what `Queue(declarations=...)` writes."""

    @property
    def types(self) -> tuple[str, ...]:
        """The registered types, in the order of their registration."""
        return tuple(self._handlers)

    def get(self, type: str) -> Handler | None:
        """The handler of that type, or None."""
        return self._handlers.get(type)

    def handler(
        self,
        type: str,
        *,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: float | timedelta | None = None,
        on_lost: str | None = None,
    ) -> Callable[[F], F]:
        """Registers the decorated function, which stays as it is; see `register`."""
        if callable(type):
            raise InvalidInput('a handler names the type of its jobs: @jobs.handler("mail")')

        def decorate(fn: F) -> F:
            self.register(type, fn, max_attempts=max_attempts, backoff=backoff, timeout=timeout, on_lost=on_lost)
            return fn

        return decorate

    def register(
        self,
        type: str,
        fn: Callable[..., Any],
        *,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: float | timedelta | None = None,
        on_lost: str | None = None,
    ) -> None:
        """Has `fn` run the jobs of `type`.

        Args:
            type: The type of the jobs; each has one handler.
            fn: Sync or async; takes `(job)` or `(job, ctx)`. A second parameter with a default gets the `Context` only
                if it is called `ctx`.
            max_attempts: Tries that may end in an error; 1 unless given. This and what follows holds for jobs that say
                nothing themselves.
            backoff: The wait between two tries; none unless given.
            timeout: Seconds, or a timedelta, after which a try has failed.
            on_lost: What a lost lease does: requeue (unless given), fail or hold.

        Raises `InvalidInput` for a type that has a handler already, a function that cannot be called like that, or a
        policy no job may have.
        """
        asked = {"max_attempts": max_attempts, "backoff": backoff, "timeout": timeout, "on_lost": on_lost}
        policy = checked(type, asked)
        if (taken := self._handlers.get(type)) is not None:
            raise InvalidInput(f"jobs of the type {type!r} have a handler already: {_name(taken.fn)}")
        handler = Handler(type=type, fn=fn, takes_context=_takes_context(fn), is_async=_is_async(fn), policy=policy)
        # A worker that sees the handler must find its policy: it may claim such a job at once.
        self._policies[type] = policy
        self._handlers[type] = handler


def _is_async(fn: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _takes_context(fn: Callable[..., Any]) -> bool:
    name = _name(fn)
    if not callable(fn):
        raise InvalidInput(f"a handler must be a function, not {name}")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise InvalidInput(f"{name} is a generator: nobody would run it; a handler returns its output")
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name}: what it takes cannot be told: {error}") from None
    must = "a handler takes (job) or (job, ctx)"
    if rest := [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]:
        raise InvalidInput(f"{name} takes *{rest[0]}, which does not tell what it wants: {must}")
    if missing := [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is p.empty]:
        raise InvalidInput(f"{name} needs the keyword {missing[0]}, which nobody gives it: {must}")
    given = [p for p in parameters if p.kind in _GIVEN]
    required = sum(p.default is p.empty for p in given)
    if not given or required > 2:
        names = ", ".join(p.name for p in given)
        raise InvalidInput(f"{name} takes ({names}): {must}")
    return required == 2 or (len(given) > 1 and given[1].name == "ctx")


def _name(fn: object) -> str:
    """The function, as its author would look for it."""
    qualified = getattr(fn, "__qualname__", None)
    return f"{getattr(fn, '__module__', '?')}.{qualified}" if qualified else repr(fn)
