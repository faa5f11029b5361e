"""The schema of the jobs dialect: generated where it follows from the records, written by hand where it does not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from ariadne import SchemaBindable, make_executable_schema
from graphql import GraphQLSchema, print_schema

from gnj.api.graphiql import Explorer
from gnj.api.graphql_http import METHODS, graphql_endpoint
from gnj.api.hooks import Guard, Principal, RequestContext
from gnj.api.http import Request, Route
from gnj.api.jobs import queries, subscriptions
from gnj.api.jobs.custom import NOTHING, Custom
from gnj.api.jobs.mutations import MUTATIONS, RESULTS
from gnj.api.jobs.queries import QUERIES
from gnj.api.jobs.roots import Roots, context, loads_of
from gnj.api.jobs.shapes import SHAPES
from gnj.api.jobs.subscriptions import SUBSCRIPTIONS, TOLD, Subscriptions
from gnj.api.sockets import WebSockets
from gnj.api.streams import Streams, SubscriptionField
from gnj.graphql.engine import Engine
from gnj.graphql.records import Catalog, fields_of, refuse_unresolved
from gnj.graphql.scalars import scalars
from gnj.queue.service import Queue


def build_schema(custom: Custom = NOTHING) -> GraphQLSchema:
    """The executable schema. It belongs to no queue: that is in the context of each operation (`context`).

    `custom` are the host's operations; without any, every call gives the same schema. Raises `SchemaError` when a field has
    no resolver, or two.
    """
    return _dialect() if custom.is_empty else _built(custom)


@cache
def _dialect() -> GraphQLSchema:
    # 40 to 75 ms, most of them to parse: a process with several of `GNJ` pays once
    return _built(NOTHING)


def _built(custom: Custom) -> GraphQLSchema:
    ours = type_defs()
    texts = ["scalar SequelizeJSON", "scalar Date", ours, *custom.type_defs(ours)]
    with custom.explained():
        schema = make_executable_schema(texts, *scalars(), *bindables(), custom)
    refuse_unresolved(schema)
    return schema


def type_defs() -> str:
    """The dialect's own types, less the scalars, as text."""
    by_hand = files("gnj.api.jobs").joinpath("mutations.graphql").read_text("utf-8")
    catalog = Catalog(SHAPES, loads_of)
    return f"{catalog.type_defs()}\n\n{queries.type_defs()}\n\n{by_hand}\n\n{subscriptions.type_defs()}"


def bindables() -> list[SchemaBindable]:
    """What resolves `type_defs`."""
    return [
        *Catalog(SHAPES, loads_of).bindables(),
        Roots("Query", QUERIES),
        Roots("Mutation", MUTATIONS),
        *RESULTS,
        Subscriptions(SUBSCRIPTIONS),
        TOLD,
    ]


def sdl(custom: Custom = NOTHING) -> str:
    """The schema in the schema definition language."""
    return print_schema(build_schema(custom))


def streams(engine: Engine, queue: Queue, guard: Guard, more: Sequence[SubscriptionField] = ()) -> Streams:
    """What the subscriptions of one queue live in; `more` are root fields besides those of the dialect.

    One for each queue and process: its routes share it, and so do `/graphql` below two prefixes.
    """

    def make_context(seen: RequestContext, principal: Principal) -> dict[str, object]:
        return context(queue, principal, guard=guard, request=seen, limits=engine.limits)

    fields = (*SUBSCRIPTIONS, *more)
    return Streams(engine, guard, queue.feed, fields, make_context, impersonal=_is_only_ours(engine.schema))


def _is_only_ours(schema: GraphQLSchema) -> bool:
    """Whether what our types tell comes from our resolvers alone; those of others may look at who is asking."""
    ours = {shape.name: {*shape.attributes(), *(a.name for a in shape.associations)} for shape in SHAPES}
    for each in (*RESULTS, TOLD):
        ours[each.type] = ours.get(each.type, set()) | set(each.fields)
    return all(fields_of(schema, name).keys() <= known for name, known in ours.items())


def routes(
    engine: Engine,
    queue: Queue,
    guard: Guard,
    *,
    graphiql: bool | None = None,
    subscribed: Streams | None = None,
    origins: Collection[str] = (),
) -> list[Route]:
    """The routes of the jobs face: `/graphql`, and the files of its page; for `graphiql` and `origins` see `Settings`.

    `subscribed` are the `streams` of the queue, made here unless given.
    """
    live = streams(engine, queue, guard) if subscribed is None else subscribed
    sockets = WebSockets(live, origins)

    def make_context(_request: Request, seen: RequestContext, principal: Principal) -> dict[str, object]:
        return context(queue, principal, guard=guard, request=seen, limits=engine.limits)

    endpoint = graphql_endpoint(engine, guard, make_context, live)
    route = Route(path="/graphql", methods=METHODS, endpoint=endpoint, name="graphql", sockets=sockets, prompt=True)
    introspection = engine.rules.introspection
    if not (introspection if graphiql is None else graphiql):
        return [route]
    explorer = Explorer(guard, introspection=introspection, to_all=graphiql is True)
    return [replace(route, endpoint=explorer.before(endpoint)), *explorer.routes()]
