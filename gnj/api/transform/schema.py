"""The schema of the transformation jobs face, and its routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, Final

from ariadne import make_executable_schema
from graphql import GraphQLSchema, print_schema

from gnj.access import Principal, RequestContext
from gnj.api.graphql_http import METHODS, graphql_endpoint
from gnj.api.http import Request, Route
from gnj.api.jobs.subscriptions import Subscriptions
from gnj.api.sockets import WebSockets
from gnj.api.streams import Streams
from gnj.api.transform import exports, mutations, queries
from gnj.api.transform.face import Call, Face, resolvers
from gnj.api.transform.types import TYPES
from gnj.graphql.engine import Engine
from gnj.graphql.limits import Limits
from gnj.graphql.records import Resolvers, refuse_unresolved
from gnj.graphql.rules import Rules
from gnj.graphql.scalars import Scalar, json_from_literal, json_out
from gnj.queue.values import Json, check_json

PATH: Final = "/transform/graphql"
"""Where it is, below what the application is mounted at."""
DEPTH: Final = 10
"""Levels of nested fields (transformation jobs contract, "Jobs")."""


def type_defs() -> str:
    """The schema as it is written."""
    return files("gnj.api.transform").joinpath("schema.graphql").read_text("utf-8")


@cache
def build_schema() -> GraphQLSchema:
    """The executable schema, the same with every call: what it works on is in the context of each operation (`Call`)."""
    schema = make_executable_schema(
        type_defs(),
        Scalar("JSON", json_out, _json, json_from_literal),
        Resolvers("Query", resolvers(queries.QUERIES)),
        Resolvers("Mutation", resolvers(mutations.MUTATIONS)),
        *TYPES,
        Subscriptions(queries.SUBSCRIPTIONS, {"runUpdated": queries.updated}),
    )
    refuse_unresolved(schema)
    return schema


def sdl() -> str:
    """The schema in the schema definition language."""
    return print_schema(build_schema())


def make_engine(limits: Limits, introspects: Callable[[], bool]) -> Engine:
    """What executes operations of the schema. What a request says is repeated by no error: it may have credentials in it."""
    rules = Rules(limits=replace(limits, depth=min(limits.depth, DEPTH)))
    return Engine(build_schema(), rules, introspects=introspects, discreet=True)


def streams(engine: Engine, face: Face) -> Streams:
    """What the subscriptions live in; one for each face and process."""

    def make_context(seen: RequestContext, principal: Principal) -> Call:
        return Call(face, principal, seen)

    # what a run shows depends on the tenant alone
    return Streams(engine, face.guard, face.feed, queries.SUBSCRIPTIONS, make_context, impersonal=True)


def routes(engine: Engine, face: Face, subscribed: Streams | None = None) -> list[Route]:
    """The routes: of GraphQL, and of exports; `subscribed` are the `streams` of the face, made here unless given."""
    live = streams(engine, face) if subscribed is None else subscribed

    def make_context(request: Request, seen: RequestContext, principal: Principal) -> Call:
        return Call(face, principal, seen, only_looks=request.method != "POST")

    endpoint = graphql_endpoint(engine, face.guard, make_context, live)
    sockets = WebSockets(live, face.origins)
    graphql = Route(path=PATH, methods=METHODS, endpoint=endpoint, name="transform", sockets=sockets)
    return [graphql, *exports.routes(face)]


def _json(value: Any) -> Json:
    return check_json(value, "the value")
