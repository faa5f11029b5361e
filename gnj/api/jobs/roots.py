"""Root fields: a table says what each is called, which kind of action it is and what answers it; one wrapper serves all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from graphql import GraphQLSchema

from gnj.api.hooks import Action, Guard, Kind, Principal, RequestContext
from gnj.graphql.associations import Loads
from gnj.graphql.limits import Limits
from gnj.graphql.plans import OnContext
from gnj.graphql.records import Resolver, Resolvers, fields_of
from gnj.queue.errors import SchemaError
from gnj.queue.model import Record
from gnj.queue.service import Queue

RowsT = TypeVar("RowsT", bound=Sequence[Record])

CALL = "call"
"""The key of the `Call` in a resolver's context."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as the root fields see it."""

    queue: Queue
    principal: Principal
    guard: Guard | None
    """Who is asked whether the principal may; None for calls from within the process."""
    loads: Loads
    request: RequestContext | None = None
    """What hooks are shown of the request."""
    awaits: bool = False
    """Whether resolvers may give awaitables: in a schema of the host's, which it executes on its event loop."""

    @property
    def tenant(self) -> str:
        """The tenant in which the caller acts."""
        return self.loads.tenant

    def siblings(self, rows: RowsT) -> RowsT:
        """`rows`, which came together, and so have their associations loaded together."""
        self.loads.came(rows)
        return rows


def context(
    queue: Queue,
    principal: Principal,
    *,
    guard: Guard | None = None,
    request: RequestContext | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """What resolvers find in `info.context`, new for every operation.

    Args:
        queue: The queue to be worked on.
        principal: On whose behalf, and so in whose tenant.
        guard: Asked about every root field; without one, everything is allowed.
        request: What hooks were shown of the request.
        limits: How many rows a list may ask for; the defaults unless given.
    """
    call = Call(queue, principal, guard, Loads(queue.storage, principal.tenant, limits), request)
    return {"principal": principal, "request": request, CALL: call}


class Later:
    """Stands for a `Call` in the context of a request that may have nothing to do with gnj: made when it first has."""

    def __init__(self, make: Callable[[], Call]) -> None:
        self._make = make
        self._call: Call | None = None

    def call(self) -> Call:
        """The call. Raises what making it raises, `Unauthenticated` above all."""
        if self._call is None:
            self._call = self._make()
        return self._call


def call_of(context: Any) -> Call:
    """The request with that context."""
    if CALL not in context:
        raise TypeError(
            "the context is none of gnj's: give the host's schema `GNJ.context(request)` as its context value"
        )
    found: Call | Later = context[CALL]
    return found.call() if isinstance(found, Later) else found


def loads_of(context: Any) -> Loads:
    """The associations loaded for the request with that context."""
    return call_of(context).loads


def admitted(context: Any, action: Action, targets: Sequence[Any]) -> Call:
    """The request, of which the guard allows that action on each of the targets. Raises `Forbidden`."""
    call = call_of(context)
    if call.guard is not None:
        for target in targets:
            call.guard.authorize(call.principal, action, target, call.request)
    call.loads.forget()
    return call


@dataclass(frozen=True, slots=True)
class RootField:
    """One field of Query or Mutation.

    Args:
        name: The field.
        kind: What kind of action it is.
        resolve: Answers it: takes the `Call`, and the arguments that are not null by their names in snake_case.
        subject: The argument whose `id` names the row that is acted upon, or each of whose items has such an `id`, where
            there is no argument `id`.
        prompt: Whether it may be asked on an event loop: what may have to wait is in the `Later` that it gives, or calls `may_wait`
            first.
    """

    name: str
    kind: Kind
    resolve: Resolver
    subject: str | None = None
    prompt: bool = False

    def resolver(self) -> Resolver:
        """Asks the guard, then answers."""
        action, resolve, subject = Action(self.name, self.kind), self.resolve, self.subject

        def answer(context: Any, arguments: Mapping[str, Any]) -> Any:
            call = admitted(context, action, _targets(arguments, subject))
            # an argument of null is one that was not given (B18)
            return resolve(call, **{name: value for name, value in arguments.items() if value is not None})

        return OnContext(answer, prompt=self.prompt)


def _targets(arguments: Mapping[str, Any], subject: str | None) -> Sequence[int | None]:
    """The ids of what is acted upon, each once, of which each is asked about; None where the arguments name none."""
    if subject is None:
        return (arguments.get("id"),)
    given = arguments[subject]
    if isinstance(given, list):
        return list(dict.fromkeys(each.get("id") for each in given)) or (None,)
    return (given.get("id"),)


class Roots:
    """Binds root fields to the root type of that name; an Ariadne bindable.

    Raises `SchemaError` when a field is there twice; and, binding, for what `Resolvers` refuses.
    """

    def __init__(self, type: str, roots: Iterable[RootField]) -> None:
        self._type = type
        self._roots: dict[str, RootField] = {}
        for root in roots:
            if root.name in self._roots:
                raise SchemaError(f"{type}.{root.name} has two resolvers")
            self._roots[root.name] = root

    def bind_to_schema(self, schema: GraphQLSchema) -> None:
        """Sets the resolvers, and the names by which they take their arguments."""
        Resolvers(self._type, {name: root.resolver() for name, root in self._roots.items()}).bind_to_schema(schema)
        fields = fields_of(schema, self._type)
        for name in self._roots:
            for argument, definition in fields[name].args.items():
                definition.out_name = snake_case(argument)


def snake_case(name: str) -> str:
    """`typeList` as `type_list`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
