"""What every custom operation comes to, whichever door it came through."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from gnj.access import Kind
from gnj.operations.modes import Mode, Root
from gnj.queue.errors import SchemaError

if TYPE_CHECKING:
    from gnj.operations.scope import Scope

Values: TypeAlias = Mapping[str, Any]


KINDS: Mapping[Root, Kind] = MappingProxyType(
    {Root.QUERY: Kind.READ, Root.MUTATION: Kind.ADMIN, Root.SUBSCRIPTION: Kind.READ}
)
"""The kind of action that an operation is which does not say: what changes something is for administrators until it does."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the host's code something was registered: what a `SchemaError` names."""

    name: str
    """The function, or what stands for it."""
    file: str
    line: int

    @classmethod
    def of(cls, fn: Callable[..., Any], otherwise: Origin | None = None) -> Origin:
        """Where a function is defined; for what has no source in Python, `otherwise`."""
        inner = innermost(fn)
        code = getattr(getattr(inner, "__func__", inner), "__code__", None)
        name = getattr(inner, "__qualname__", type(inner).__name__)
        if code is None:
            return cls(name, *((otherwise.file, otherwise.line) if otherwise else ("?", 0)))
        return cls(name, code.co_filename, code.co_firstlineno)

    @classmethod
    def of_frame(cls, frame: FrameType, name: str) -> Origin:
        """Where a call stands."""
        return cls(name, frame.f_code.co_filename, frame.f_lineno)

    def error(self, problem: str, what: str | None = None) -> SchemaError:
        """The error that says that of `what`, a field or a type, something is wrong."""
        subject = self.name if what is None else f"{what} ({self.name})"
        return SchemaError(f"{subject}: {problem} [{self.file}:{self.line}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A mutation given to `GNJ(custom_mutations={"name": Operation(...)})`, in the words of the schema.

    Args:
        type: Its result: `"job"`, `"[job!]"`, `"Int"` …
        resolve: `(source, args, context)`, sync or async: `args` has the arguments that were given, spelled as below;
            `context` is a mapping with `tx`, `principal`, `request` and `gnj`.
        args: The arguments and their types: `{"typeList": "[String!]!"}`.
        description: What the schema says of it; the first paragraph of the resolver's docstring unless given.
        transaction: See `GNJ.mutation`.
        action: See `GNJ.mutation`.
    """

    type: str
    resolve: Callable[[Any, dict[str, Any], Any], Any]
    args: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
    transaction: str = Mode.READ_COMMITTED
    action: Kind | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationSpec:
    """One operation, ready to be bound to its field."""

    root: Root
    name: str
    """The field."""
    kind: Kind
    mode: Mode
    origin: Origin
    resolve: Callable[[Scope, Any, Any, Any], Any]
    """Takes the scope, the source value, graphql-core's info and what `arguments` gave. An asynchronous one gives an
    awaitable, a subscription an iterator or an async iterator."""
    arguments: Callable[[Values], Any] = dict
    """Makes of the arguments as GraphQL gives them those that `resolve` takes. Raises `InvalidInput`."""
    asynchronous: bool = False
    generates: bool = False
    """Whether it is a subscription that an async generator makes."""
    eager: bool = False
    """Whether the transaction is open from the beginning; else it is opened when it is first asked for."""

    @property
    def field(self) -> str:
        """What messages call it."""
        return f"{self.root}.{self.name}"


def kind_of(action: Kind | str | None, root: Root, origin: Origin, field: str) -> Kind:
    """The kind of action that an operation is. Raises `SchemaError`."""
    if action is None:
        return KINDS[root]
    try:
        return Kind(action)
    except ValueError:
        raise origin.error(f"action must be one of {', '.join(Kind)}, not {str(action)[:100]!r}", field) from None


def mode_of(transaction: str, origin: Origin, field: str) -> Mode:
    """The mode of an operation. Raises `SchemaError`."""
    try:
        return Mode(transaction)
    except ValueError:
        told = str(transaction)[:100]
        raise origin.error(f"transaction must be one of {', '.join(Mode)}, not {told!r}", field) from None


def innermost(fn: Any) -> Any:
    """The function itself, without what was wrapped around it."""
    fn = inspect.unwrap(fn)
    while isinstance(fn, functools.partial):
        fn = inspect.unwrap(fn.func)
    return fn


def is_async(fn: Any) -> bool:
    """Whether calling it gives an awaitable."""
    fn = innermost(fn)
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def caller(depth: int = 2) -> FrameType:
    """The frame that called whoever calls this."""
    return sys._getframe(depth)  # noqa: SLF001 - inspect.currentframe is the same, and may be None


def paragraph(text: str | None) -> str | None:
    """The first paragraph of a docstring, on one line."""
    if text is None or not text.strip():
        return None
    first = inspect.cleandoc(text).strip().split("\n\n", 1)[0]
    return " ".join(first.split())
