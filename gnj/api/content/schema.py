"""The schema of the content face, and its routes."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from ariadne import make_executable_schema
from graphql import GraphQLSchema, print_schema

from gnj.access import Principal, RequestContext
from gnj.api.content import job_types, jobs, recurring, store, transfers, uploads
from gnj.api.content.face import Call, Face, OrganizationGuard, call_of, resolvers
from gnj.api.content.scalars import scalars
from gnj.api.graphql_http import METHODS, graphql_endpoint
from gnj.api.http import Request, Route
from gnj.api.jobs.subscriptions import Subscriptions
from gnj.api.sockets import WebSockets
from gnj.api.streams import Streams
from gnj.graphql.engine import Engine
from gnj.graphql.records import Resolvers, refuse_unresolved

PATH: Final = "/v2/{organization}/jobs/graphql"
"""Where an organisation has it, below what the application is mounted at."""


def type_defs() -> str:
    """The schema as it is written."""
    return files("gnj.api.content").joinpath("schema.graphql").read_text("utf-8")


@cache
def build_schema() -> GraphQLSchema:
    """The executable schema, the same with every call: what it works on is in the context of each operation (`Call`)."""
    queries = [Resolvers("Query", resolvers(part.QUERIES)) for part in (jobs, recurring, store, uploads)]
    mutations = [Resolvers("Mutation", resolvers(part.MUTATIONS)) for part in (jobs, recurring, uploads)]
    types = [each for part in (job_types, recurring, store, uploads) for each in part.TYPES]
    subscriptions = Subscriptions(jobs.SUBSCRIPTIONS, {"jobUpdated": jobs.updated})
    schema = make_executable_schema(type_defs(), *scalars(), *queries, *mutations, *types, subscriptions)
    refuse_unresolved(schema)
    return schema


def sdl() -> str:
    """The schema in the schema definition language."""
    return print_schema(build_schema())


def streams(engine: Engine, face: Face) -> Streams:
    """What the subscriptions live in; one for each face and process."""

    def make_context(seen: RequestContext, principal: Principal) -> Call:
        return call_of(face, principal, seen)

    # what a job shows depends on the organisation alone
    guard = OrganizationGuard(face.guard)
    return Streams(engine, guard, face.queue.feed, jobs.SUBSCRIPTIONS, make_context, impersonal=True)


def routes(engine: Engine, face: Face, subscribed: Streams | None = None) -> list[Route]:
    """The routes below `/v2/{organization}/jobs`; `subscribed` are the `streams` of the face, made here unless given."""
    live = streams(engine, face) if subscribed is None else subscribed

    def make_context(_request: Request, seen: RequestContext, principal: Principal) -> Call:
        return call_of(face, principal, seen)

    endpoint = graphql_endpoint(engine, live.guard, make_context, live)
    sockets = WebSockets(live, face.origins)
    return [
        Route(path=PATH, methods=METHODS, endpoint=endpoint, name="content", sockets=sockets),
        *transfers.routes(face),
    ]
