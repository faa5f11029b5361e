"""Custom operations in the schema: the three doors lowered to one kind of operation, checked, and bound to their fields.

What Ariadne and graphql-core let pass is refused here: a field without a resolver would be null without a word, and of two
resolvers for one field the last would win.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ariadne import ObjectType, SchemaBindable
from ariadne.executable_schema import normalize_bindables
from graphql import (
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    is_abstract_type,
)

from gnj.access import Action, RequestContext
from gnj.api.jobs.extensions import SCALARS, Names, Parsed, field_types, parsed, written
from gnj.api.jobs.roots import Call, admitted, call_of
from gnj.api.jobs.shapes import SHAPES
from gnj.api.streams import SubscriptionField
from gnj.graphql.engine import Selected
from gnj.graphql.records import fields_of
from gnj.operations.annotations import Types
from gnj.operations.modes import Mode, Root
from gnj.operations.registered import Mapped, Registered
from gnj.operations.scope import OperationContext, Scope, perform
from gnj.operations.spec import OperationSpec, Origin, innermost, is_async, kind_of, mode_of
from gnj.operations.typed import lowered
from gnj.queue.errors import SchemaError
from gnj.queue.model import Record

Info = GraphQLResolveInfo[Any]


class Custom:
    """The custom operations of one `GNJ`; also the Ariadne bindable that binds them.

    Args:
        registered: What came through the doors.

    Raises `SchemaError` for what is wrong with a function or with an SDL by itself; the methods for the rest.
    """

    def __init__(self, registered: Registered | None = None) -> None:
        registered = registered or Registered(None)
        self._owner = registered.owner
        self._types = Types({shape.record: shape.name for shape in SHAPES})
        self._written: dict[Root, list[tuple[OperationSpec, str]]] = {root: [] for root in Root}
        self._parsed: list[Parsed] = []
        self._specs: list[OperationSpec] = []
        self._ours: frozenset[str] = frozenset()
        for function in registered.functions:
            self._written[function.root].append(lowered(function, self._types))
        for mapped in registered.mapped:
            self._written[Root.MUTATION].append(self._of_mapping(mapped))
        self._parsed = [parsed(extension) for extension in registered.extensions]

    @property
    def is_empty(self) -> bool:
        """Whether the schema with them is the schema without."""
        return not (self._parsed or self._lowered or self._types.definitions())

    def type_defs(self, ours: str) -> list[str]:
        """The SDL of the operations and of the types they need, to be put beside `ours`.

        Raises `SchemaError` where a name is taken twice, or a type is missing.
        """
        names = Names.of(ours)
        self._ours = frozenset(names.types)
        texts = []
        for name, (text, origin) in self._types.definitions().items():
            names.define(name, origin)
            texts.append(text)
        for each in self._parsed:
            each.define(names)
            texts.append(each.extension.type_defs)
        for root, specs in self._written.items():
            for spec, _ in specs:
                names.field(root, spec.name, spec.origin)
            if specs:
                texts.append("\n".join([f"extend type {root} {{", *(text for _, text in specs), "}"]))
        for each in self._parsed:
            each.check(names)
        for spec, text in (pair for specs in self._written.values() for pair in specs):
            names.check(field_types(text), spec.origin, spec.field)
        return texts

    def bind_to_schema(self, schema: GraphQLSchema) -> None:
        """Sets the resolvers. Raises `SchemaError` for a field that has none, or two."""
        specs = self._lowered
        for spec in specs:
            self._bind(schema, spec)
        for type, resolvers in self._types.resolvers.items():
            for name, resolve in resolvers.items():
                fields_of(schema, type)[name].resolve = resolve
        for each in self._parsed:
            for bindable in _bindables(each):
                self._bind_checked(schema, bindable, each)
        for each in self._parsed:
            for root, name in each.fields:
                specs.append(self._of_sdl(schema, each, root, name))
                self._bind(schema, specs[-1])
            _complete(schema, each)
        self._specs = specs

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raises what graphql-core has against the schema as a `SchemaError` that tells which SDL it comes from."""
        try:
            yield
        except (TypeError, GraphQLError) as error:
            if isinstance(error, SchemaError) or not (self._parsed or self._lowered):
                raise
            raise self._blamed(str(error)).error(f"the schema is not valid: {error}") from error

    def _blamed(self, message: str) -> Origin:
        """Where what a message names was written; where the first SDL was, if it names nothing."""
        for spec in self._lowered:
            if spec.field in message:
                return spec.origin
        for name, (_, origin) in self._types.definitions().items():
            if name in message:
                return origin
        for each in self._parsed:
            if any(f"{type}.{name}" in message for type, name in each.fields + each.extended) or any(
                name in message for name in each.types
            ):
                return each.extension.origin
        return self._parsed[0].extension.origin if self._parsed else self._lowered[0].origin

    @property
    def _lowered(self) -> list[OperationSpec]:
        """The operations by function and by mapping."""
        return [spec for specs in self._written.values() for spec, _ in specs]

    @property
    def subscriptions(self) -> list[SubscriptionField]:
        """The subscriptions whose events the host's functions make. Empty before the schema is bound."""
        return [_subscription(spec) for spec in self._specs if spec.root is Root.SUBSCRIPTION]

    def refuse_asynchronous(self) -> None:
        """Raises `SchemaError` for an operation that needs an event loop: where there is none, as under WSGI."""
        for spec in self._specs:
            if spec.asynchronous or spec.generates:
                raise spec.origin.error(
                    "is async, and under WSGI there is no event loop: make it a plain function", spec.field
                )

    def _of_mapping(self, mapped: Mapped) -> tuple[OperationSpec, str]:
        operation, field = mapped.operation, f"{Root.MUTATION}.{mapped.name}"
        mode = mode_of(operation.transaction, mapped.origin, field)
        asynchronous = is_async(operation.resolve)

        def resolve(scope: Scope, source: Any, _info: Info, arguments: Mapping[str, Any]) -> Any:
            return operation.resolve(source, dict(arguments), OperationContext(scope, self._owner))

        spec = OperationSpec(
            root=Root.MUTATION,
            name=mapped.name,
            kind=kind_of(operation.action, Root.MUTATION, mapped.origin, field),
            mode=mode,
            origin=mapped.origin,
            resolve=resolve,
            asynchronous=asynchronous,
            eager=asynchronous and mode is not Mode.NONE,
        )
        return spec, written(mapped, field)

    def _of_sdl(self, schema: GraphQLSchema, each: Parsed, root: Root, name: str) -> OperationSpec:
        extension, definition = each.extension, fields_of(schema, root)[name]
        field = f"{root}.{name}"
        stream = root is Root.SUBSCRIPTION
        fn = definition.subscribe if stream else definition.resolve
        if fn is None:
            problem = (
                "has no resolver" if not stream else "has no source: bind a generator with SubscriptionType.source"
            )
            raise each.origin_of(root, name).error(problem, field)
        origin = Origin.of(fn, extension.origin)
        mode = Mode.NONE if stream else mode_of(extension.transaction, extension.origin, field)
        asynchronous = not stream and is_async(fn)
        if stream and definition.resolve is not None and is_async(definition.resolve):
            raise Origin.of(definition.resolve, extension.origin).error(
                "is async: what makes an answer of an event is not", field
            )

        def resolve(scope: Scope, source: Any, info: Info, arguments: Mapping[str, Any]) -> Any:
            own = OperationContext(scope, self._owner)
            return fn(source, info._replace(context=own), **arguments)

        return OperationSpec(
            root=root,
            name=name,
            kind=kind_of(extension.action, root, extension.origin, field),
            mode=mode,
            origin=origin,
            resolve=resolve,
            asynchronous=asynchronous,
            generates=stream and inspect.isasyncgenfunction(innermost(fn)),
            eager=asynchronous and mode is not Mode.NONE,
        )

    def _bind(self, schema: GraphQLSchema, spec: OperationSpec) -> None:
        definition = fields_of(schema, spec.root)[spec.name]
        if spec.root is Root.SUBSCRIPTION:
            definition.subscribe = _selected
            definition.resolve = definition.resolve or _event
        else:
            definition.resolve = _resolver(spec)

    def _bind_checked(self, schema: GraphQLSchema, bindable: SchemaBindable, each: Parsed) -> None:
        origin = each.extension.origin
        name = getattr(bindable, "name", None)
        if name in SCALARS or (name in self._ours and not isinstance(bindable, ObjectType)):
            raise origin.error(f"{type(bindable).__name__}({name!r}) would take the place of gnj's own", name)
        before = dict(_resolvers(schema))
        try:
            bindable.bind_to_schema(schema)
        except (ValueError, TypeError) as error:
            raise origin.error(f"{type(bindable).__name__} cannot be bound: {error}") from error
        for field, resolve in _resolvers(schema):
            old = before.get(field)
            if old is not None and old is not resolve:
                first, second = self._told(field, old), Origin.of(resolve, origin)
                raise second.error(f"has two resolvers: {first} is the other", ".".join(field[:2]))

    def _told(self, field: tuple[str, str, str], resolve: Callable[..., Any]) -> str:
        """Whose resolver it is."""
        for spec in self._lowered:
            if (spec.root, spec.name) == field[:2]:
                return f"{spec.origin.name} [{spec.origin.file}:{spec.origin.line}]"
        origin = Origin.of(resolve)
        return (
            "gnj's own"
            if str(getattr(resolve, "__module__", None)).startswith("gnj.")
            else f"{origin.name} [{origin.file}:{origin.line}]"
        )


NOTHING = Custom()
"""No custom operations."""


def _resolver(spec: OperationSpec) -> Callable[..., Any]:
    """What graphql-core calls: asks the guard, runs the operation in its scope."""
    action = Action(spec.name, spec.kind)

    def run(call: Call, source: Any, info: Info, arguments: Mapping[str, Any], request: Any) -> Any:
        result = perform(spec, call.queue, call.principal, request, info, source, arguments)
        if isinstance(result, list) and result and isinstance(result[0], Record):
            call.siblings(result)
        return result

    def resolver(source: Any, info: Info, **arguments: Any) -> Any:
        call = admitted(info.context, action, (arguments.get("id"),))
        if call.awaits and spec.asynchronous and (loop := running_loop()) is not None:
            # the operation waits in a thread of its own, as a request to gnj's own face does, and its function runs here
            request = _with_loop(call, loop)
            return asyncio.to_thread(run, call, source, info, arguments, request)
        return run(call, source, info, arguments, call.request)

    return resolver


def _subscription(spec: OperationSpec) -> SubscriptionField:
    def generate(context: Any, arguments: Mapping[str, Any]) -> Any:
        call = call_of(context)
        scope = Scope(spec, call.queue, call.principal, call.request, context)
        return spec.resolve(scope, None, arguments[_INFO], spec.arguments(arguments[_ARGUMENTS]))

    return SubscriptionField(name=spec.name, kind=spec.kind, generate=generate)


_INFO, _ARGUMENTS = "info", "arguments"


def _selected(_source: object, info: Info, **arguments: Any) -> Selected:
    # a resolver of SDL wants them as they are spelled there, and graphql-core's info
    return Selected(info.field_name, {_INFO: info, _ARGUMENTS: arguments, "id": arguments.get("id")})


def _event(value: Any, _info: Info, **_arguments: object) -> Any:
    return value


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _with_loop(call: Call, loop: asyncio.AbstractEventLoop) -> RequestContext | None:
    def on_loop(work: Callable[[], Awaitable[Any]]) -> Any:
        async def wait() -> Any:
            return await work()

        return asyncio.run_coroutine_threadsafe(wait(), loop).result()

    return None if call.request is None else replace(call.request, run_async=on_loop)


def _resolvers(schema: GraphQLSchema) -> Iterator[tuple[tuple[str, str, str], Any]]:
    """What resolves each field of the object types, and what begins each subscription."""
    for name, kind in schema.type_map.items():
        if isinstance(kind, GraphQLObjectType) and not name.startswith("__"):
            for field, definition in kind.fields.items():
                yield (name, field, "resolve"), definition.resolve
                yield (name, field, "subscribe"), definition.subscribe


def _bindables(each: Parsed) -> list[SchemaBindable]:
    try:
        return normalize_bindables(*each.extension.bindables)
    except (ValueError, TypeError) as error:
        raise each.extension.origin.error(f"something cannot be bound: {error}", "bindables") from error


def _complete(schema: GraphQLSchema, each: Parsed) -> None:
    """Reads the fields that nobody resolves of the SDL's own types; refuses what nobody resolves elsewhere."""
    for name in each.types:
        kind = schema.type_map.get(name)
        if isinstance(kind, GraphQLObjectType):
            for field, definition in kind.fields.items():
                definition.resolve = definition.resolve or _read(name, field)
        elif is_abstract_type(kind) and kind.resolve_type is None:
            raise each.extension.origin.error("nothing says of which type a value is: bind a type resolver", name)
    for name, field in each.extended:
        if fields_of(schema, name)[field].resolve is None:
            raise each.extension.origin.error("has no resolver", f"{name}.{field}")


def _read(type: str, field: str) -> Callable[..., Any]:
    def resolve(source: Any, _info: Info, **_arguments: Any) -> Any:
        try:
            return source[field] if isinstance(source, Mapping) else getattr(source, field)
        except (KeyError, AttributeError):
            raise TypeError(f"{type}.{field} has no resolver, and the value has no {field!r}") from None

    return resolve
