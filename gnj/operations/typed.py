"""Typed functions as operations: arguments and result from their annotations."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gnj.access import Kind, Principal, RequestContext
from gnj.operations.annotations import Place, Type, Types, argument, bare, camel_case, check_name, converted, described
from gnj.operations.models import Part
from gnj.operations.modes import Mode, Root
from gnj.operations.scope import Scope
from gnj.operations.spec import OperationSpec, Origin, innermost, is_async, kind_of, mode_of
from gnj.transaction import AsyncTransaction, Transaction

_INJECTED: Final[Mapping[Any, Callable[[Scope], Any]]] = {
    Transaction: lambda scope: scope.tx,
    AsyncTransaction: lambda scope: scope.tx,
    RequestContext: lambda scope: scope.request,
    Principal: lambda scope: scope.principal,
}
"""What a parameter with that annotation receives; it is no argument."""
_NOTHING: Final = Type("Boolean", bool, nullable=True)
"""The result of a function that gives none: GraphQL has no field without a value, so it is true."""
_STREAMS: Final = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as it was registered.

    Args:
        root: Of which type it is to be a field.
        fn: The function.
        origin: Where it is.
        name: The field; that of the function in camelCase unless given.
        description: What the schema says of it; the first paragraph of the docstring unless given.
        transaction: See `Mode`.
        action: Which kind of action it is; see `KINDS`.
        names: What its annotations may name besides what its module has: the locals of the function it stands in.
    """

    root: Root
    fn: Callable[..., Any]
    origin: Origin
    name: str | None = None
    description: str | None = None
    transaction: str = Mode.READ_COMMITTED
    action: Kind | str | None = None
    names: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wire(self) -> str:
        """The field."""
        return camel_case(getattr(self.fn, "__name__", type(self.fn).__name__)) if self.name is None else self.name


def lowered(function: Function, known: Types) -> tuple[OperationSpec, str]:
    """The operation, and the text of its field. Raises `SchemaError`."""
    root, fn, origin = function.root, function.fn, function.origin
    name = f"{root}.{function.wire}"
    check_name(function.wire, Place(origin, name, "the field"), function.wire)
    mode = mode_of(function.transaction, origin, name)
    hints = _hints(function, name)
    injected: dict[str, Callable[[Scope], Any]] = {}
    takes = False
    arguments: dict[str, tuple[Part, Type]] = {}
    texts = []
    for parameter in inspect.signature(fn).parameters.values():
        place = Place(origin, name, f"the parameter {parameter.name}")
        part = _part(parameter, hints, place)
        wanted = _wanted(part.hint)
        if wanted in _INJECTED:
            injected[part.name] = _INJECTED[wanted]
            if wanted in (Transaction, AsyncTransaction):
                takes = True
                _check_transaction(wanted, function, mode, place)
            continue
        wire = camel_case(part.name)
        if wire in arguments:
            raise place.error(f"would be called {wire}, as another one is")
        check_name(wire, place, wire)
        found = known.of(part.hint, place, function.names, out=False)
        arguments[wire] = (part, found)
        texts.append(f"{wire}: {argument(found, part, place)}")
    if mode is Mode.SERIALIZABLE and not takes:
        raise origin.error("is serializable but takes no transaction: annotate a parameter gnj.Transaction", name)
    place = Place(origin, name, "the result")
    if "return" not in hints:
        raise place.error("has no annotation: say what the function gives, or -> None")
    result = _result(hints["return"], function, place, known)
    description = function.description if function.description is not None else fn.__doc__
    given = f"({', '.join(texts)})" if texts else ""
    text = f"{described(description, '  ')}  {function.wire}{given}: {result.name}"
    asynchronous = is_async(fn)
    spec = OperationSpec(
        root=root,
        name=function.wire,
        kind=kind_of(function.action, root, origin, name),
        mode=mode,
        origin=origin,
        resolve=_resolver(function, injected, result, asynchronous=asynchronous),
        arguments=lambda values: converted(arguments, values),
        asynchronous=asynchronous,
        generates=inspect.isasyncgenfunction(innermost(fn)),
        eager=asynchronous and takes,
    )
    return spec, text


def _hints(function: Function, name: str) -> dict[str, Any]:
    fn = innermost(function.fn)
    if not inspect.isroutine(fn) and not inspect.isclass(fn):
        fn = type(fn).__call__  # an object that can be called
    try:
        return typing.get_type_hints(fn, localns=dict(function.names), include_extras=True)
    except NameError as error:
        raise function.origin.error(f"an annotation cannot be found when it is needed: {error}", name) from error
    except (TypeError, SyntaxError) as error:
        raise function.origin.error(f"an annotation is none: {error}", name) from error


def _part(parameter: inspect.Parameter, hints: Mapping[str, Any], place: Place) -> Part:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise place.error("must be one that can be given by its name")
    if parameter.name not in hints:
        raise place.error("has no annotation")
    has_default = parameter.default is not parameter.empty
    return Part(parameter.name, hints[parameter.name], has_default, parameter.default if has_default else None)


def _wanted(hint: Any) -> Any:
    """The class that an annotation names, an optional one as well; None if it names something else."""
    hint = bare(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [each for each in typing.get_args(hint) if each is not types.NoneType]
        hint = bare(others[0]) if len(others) == 1 else hint
    return hint if isinstance(hint, type) else None


def _check_transaction(hint: Any, function: Function, mode: Mode, place: Place) -> None:
    if function.root is Root.SUBSCRIPTION:
        raise place.error("is a transaction, and a subscription has none: it may last for days")
    if mode is Mode.NONE:
        raise place.error("is a transaction, but the operation was registered with transaction='none'")
    right = AsyncTransaction if is_async(function.fn) else Transaction
    if hint is not right:
        kind = "an async function" if right is AsyncTransaction else "a plain function"
        raise place.error(f"must be annotated gnj.{right.__name__}, since {function.origin.name} is {kind}")


def _result(hint: Any, function: Function, place: Place, known: Types) -> Type:
    if function.root is Root.SUBSCRIPTION:
        fn = innermost(function.fn)
        if not (inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn)):
            raise place.error("must come from a generator: the function has to yield what it tells")
        if typing.get_origin(hint) not in _STREAMS:
            raise place.error("must be annotated AsyncIterator[…], or Iterator[…] for a plain generator")
        hint = typing.get_args(hint)[0]
    if hint is types.NoneType:
        return _NOTHING
    return known.of(hint, place, function.names, out=True)


def _resolver(
    function: Function, injected: Mapping[str, Callable[[Scope], Any]], result: Type, *, asynchronous: bool
) -> Callable[[Scope, Any, Any, Any], Any]:
    fn = function.fn

    def given(scope: Scope, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {**arguments, **{name: want(scope) for name, want in injected.items()}}

    def told(value: Any) -> Any:
        return True if result is _NOTHING else result.given(value)

    async def resolve_async(scope: Scope, _source: Any, _info: Any, arguments: Mapping[str, Any]) -> Any:
        return told(await fn(**given(scope, arguments)))

    def resolve(scope: Scope, _source: Any, _info: Any, arguments: Mapping[str, Any]) -> Any:
        value = fn(**given(scope, arguments))
        return value if inspect.isawaitable(value) else told(value)

    async def stream_async(scope: Scope, _source: Any, _info: Any, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        async for value in fn(**given(scope, arguments)):
            yield told(value)

    def stream(scope: Scope, _source: Any, _info: Any, arguments: Mapping[str, Any]) -> Iterator[Any]:
        for value in fn(**given(scope, arguments)):
            yield told(value)

    if function.root is Root.SUBSCRIPTION:
        return stream_async if inspect.isasyncgenfunction(innermost(fn)) else stream
    return resolve_async if asynchronous else resolve
