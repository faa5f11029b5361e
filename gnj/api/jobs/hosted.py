"""The jobs dialect inside a schema of the host's, which the host executes and serves itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Final

from ariadne import SchemaBindable
from graphql import (
    GraphQLResolveInfo,
    GraphQLSchema,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    parse,
    print_ast,
)

from gnj.access import Action, RequestContext
from gnj.api.hooks import Guard, context_of
from gnj.api.http import Request
from gnj.api.jobs.custom import Custom, running_loop
from gnj.api.jobs.roots import CALL, Call, Later, admitted
from gnj.api.jobs.schema import bindables, type_defs
from gnj.api.jobs.subscriptions import SUBSCRIPTIONS
from gnj.api.streams import SubscriptionField
from gnj.graphql.associations import Loads
from gnj.graphql.engine import Selected
from gnj.graphql.limits import Limits
from gnj.graphql.records import fields_of
from gnj.graphql.scalars import scalars
from gnj.operations.modes import Root
from gnj.operations.scope import own_loop
from gnj.queue.errors import Forbidden, GnjError
from gnj.queue.feed import Change
from gnj.queue.service import Queue


def parts(custom: Custom, *, define_roots: bool, with_scalars: bool) -> tuple[str, list[SchemaBindable]]:
    """The SDL of the dialect with the host's operations, and what resolves it. See `GNJ.schema_parts`."""
    ours = type_defs()
    texts = [ours, *custom.type_defs(ours)]
    if with_scalars:
        texts = ["scalar SequelizeJSON", "scalar Date", *texts]
    text = "\n\n".join(texts)
    if not define_roots:
        text = "\n\n".join(print_ast(_extension(node)) for node in parse(text).definitions)
    return text, [*(scalars() if with_scalars else ()), *bindables(), custom, _Hosted(custom)]


class _Hosted:
    """Makes streams of the subscriptions that the host's own transport draws from; an Ariadne bindable."""

    def __init__(self, custom: Custom) -> None:
        self._custom = custom

    def bind_to_schema(self, schema: GraphQLSchema) -> None:
        """Puts a source in the place of what gnj's own transports take."""
        fields = fields_of(schema, Root.SUBSCRIPTION)
        for each in (*SUBSCRIPTIONS, *self._custom.subscriptions):
            fields[each.name].subscribe = _source(each, fields[each.name].subscribe)


def _source(field: SubscriptionField, select: Any) -> Callable[..., AsyncIterator[Any]]:
    action = Action(field.name, field.kind)

    def source(value: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> AsyncIterator[Any]:
        selected: Selected = select(value, info, **arguments)
        given = selected.arguments
        call = admitted(info.context, action, (given.get("id"),))
        if field.generate is not None:
            values = field.generate(info.context, given)
            return _told(call, action, values if isinstance(values, AsyncIterator) else _drawn(values))
        return _told(call, action, _followed(call, field, given))

    return source


async def _told(call: Call, action: Action, values: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Of the values those that the subscriber may be told."""
    async with aclosing(values) as open_:  # type: ignore[type-var]
        async for value in open_:
            with suppress(Forbidden):
                if call.guard is not None:
                    call.guard.authorize(call.principal, action, getattr(value, "id", None), call.request)
                call.loads.forget()
                yield value


async def _drawn(values: Iterator[Any]) -> AsyncIterator[Any]:
    """The values of a plain iterator, drawn in threads."""
    while (value := await asyncio.to_thread(next, values, _END)) is not _END:
        yield value


async def _followed(call: Call, field: SubscriptionField, given: Mapping[str, Any]) -> AsyncIterator[Any]:
    """What is committed, as far as the field is made of it."""
    loop, changes = asyncio.get_running_loop(), asyncio.Queue[Sequence[Change] | None](_WAITING)

    def offer(new: Sequence[Change]) -> None:
        if changes.full():
            changes.get_nowait()
            changes.put_nowait(None)
        else:
            changes.put_nowait(new)

    with call.queue.feed.follow(lambda new: _soon(loop, offer, new)):
        while (new := await changes.get()) is not None:
            for change in new:
                if change.topic in field.topics and change.tenant == call.tenant and field.pick is not None:
                    value = field.pick(change, given)
                    if value is not None:
                        yield value
    raise GnjError("the subscriber is too slow")


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop has ended, and whoever followed with it
        loop.call_soon_threadsafe(call, *arguments)


_END: Final = object()
_WAITING: Final = 1_000
"""Commits that may wait for a subscriber."""


def _extension(node: Any) -> Any:
    """A definition of a root type as an extension of it; anything else as it is."""
    if not isinstance(node, ObjectTypeDefinitionNode) or node.name.value not in frozenset(Root):
        return node
    return ObjectTypeExtensionNode(
        name=node.name, interfaces=node.interfaces, directives=node.directives, fields=node.fields
    )


def context(queue: Callable[[], Queue], guard: Guard, limits: Limits, request: Any) -> dict[str, Any]:
    """The context of a request that the host's schema answers. Who asks is asked when a field of gnj's is resolved."""
    seen = seen_of(request)

    def make() -> Call:
        running = running_loop() is not None
        # hooks that are async cannot run on the loop that waits for them here
        shown = replace(seen, run_async=_aside) if running else seen
        principal = guard.authenticate(shown)
        here = queue()
        return Call(here, principal, guard, Loads(here.storage, principal.tenant, limits), shown, awaits=True)

    return {"request": request, CALL: Later(make)}


def seen_of(request: Any) -> RequestContext:
    """What hooks see of a request of Starlette's or Flask's, or of one that is gnj's already."""
    if isinstance(request, RequestContext):
        return request
    if isinstance(request, Request):
        return context_of(request)
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    query: Mapping[str, str] = getattr(request, "query_params", None) or getattr(request, "args", {})
    client = getattr(request, "client", None)
    return RequestContext(
        headers=headers,
        cookies=dict(request.cookies),
        query={name: query[name] for name in query},
        client_host=client.host if client is not None else getattr(request, "remote_addr", None),
        transport="ws" if getattr(request, "scope", {}).get("type") == "websocket" else "http",
        raw=request,
    )


def _aside(work: Callable[[], Awaitable[Any]]) -> Any:
    """Runs a coroutine function on a loop of its own in a thread of its own, and waits."""
    done: list[Any] = []

    def run() -> None:
        try:
            done.append((True, own_loop(work)))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            done.append((False, error))

    thread = threading.Thread(target=run, name="gnj-hook")
    thread.start()
    thread.join()
    ((fine, result),) = done
    if not fine:
        raise result
    return result
