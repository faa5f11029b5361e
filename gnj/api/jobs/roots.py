"""Root fields: a table says what each is called, which kind of action it is and what answers it; one wrapper serves all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from graphql import GraphQLResolveInfo, GraphQLSchema

from gnj.api.hooks import Action, Guard, Kind, Principal, RequestContext
from gnj.graphql.associations import Loads
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
) -> dict[str, Any]:
    """What resolvers find in `info.context`, new for every operation.

    Args:
        queue: The queue to be worked on.
        principal: On whose behalf, and so in whose tenant.
        guard: Asked about every root field; without one, everything is allowed.
        request: What hooks were shown of the request.
    """
    call = Call(queue, principal, guard, Loads(queue.storage, principal.tenant))
    return {"principal": principal, "request": request, CALL: call}


def loads_of(context: Any) -> Loads:
    """The associations loaded for the request with that context."""
    call: Call = context[CALL]
    return call.loads


@dataclass(frozen=True, slots=True)
class RootField:
    """One field of Query or Mutation.

    Args:
        name: The field.
        kind: What kind of action it is.
        resolve: Answers it: takes the `Call`, and the arguments that are not null by their names in snake_case.
        subject: The argument whose `id` names the row that is acted upon, where there is no argument `id`.
    """

    name: str
    kind: Kind
    resolve: Resolver
    subject: str | None = None

    def resolver(self) -> Resolver:
        """What graphql-core calls: asks the guard, then answers."""
        action, resolve, subject = Action(self.name, self.kind), self.resolve, self.subject

        def resolver(_source: object, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
            call: Call = info.context[CALL]
            if call.guard is not None:
                target = arguments.get("id") if subject is None else arguments[subject].get("id")
                call.guard.authorize(call.principal, action, target)
            call.loads.forget()
            # an argument of null is one that was not given (B18)
            return resolve(call, **{name: value for name, value in arguments.items() if value is not None})

        return resolver


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
