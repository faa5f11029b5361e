"""The schema of the jobs dialect: generated where it follows from the records, written by hand where it does not."""

from __future__ import annotations

from importlib.resources import files

from ariadne import make_executable_schema
from graphql import GraphQLSchema, print_schema

from gnj.api.graphql_http import METHODS, graphql_endpoint
from gnj.api.hooks import Guard, Principal, RequestContext
from gnj.api.http import Request, Route
from gnj.api.jobs import queries
from gnj.api.jobs.mutations import MUTATIONS, RESULTS
from gnj.api.jobs.queries import QUERIES
from gnj.api.jobs.roots import Roots, context, loads_of
from gnj.api.jobs.shapes import SHAPES
from gnj.graphql.engine import Engine
from gnj.graphql.records import Catalog, refuse_unresolved
from gnj.graphql.scalars import scalars
from gnj.queue.service import Queue


def build_schema() -> GraphQLSchema:
    """The executable schema. It belongs to no queue: that is in the context of each operation (`context`).

    Raises `SchemaError` when a field has no resolver, or two.
    """
    catalog = Catalog(SHAPES, loads_of)
    by_hand = files("gnj.api.jobs").joinpath("mutations.graphql").read_text("utf-8")
    schema = make_executable_schema(
        ["scalar SequelizeJSON", "scalar Date", catalog.type_defs(), queries.type_defs(), by_hand],
        *scalars(),
        *catalog.bindables(),
        Roots("Query", QUERIES),
        Roots("Mutation", MUTATIONS),
        *RESULTS,
    )
    refuse_unresolved(schema)
    return schema


def sdl() -> str:
    """The schema in the schema definition language."""
    return print_schema(build_schema())


def routes(engine: Engine, queue: Queue, guard: Guard) -> list[Route]:
    """The routes of the jobs face: `/graphql`."""

    def make_context(_request: Request, seen: RequestContext, principal: Principal) -> dict[str, object]:
        return context(queue, principal, guard=guard, request=seen)

    endpoint = graphql_endpoint(engine, guard, make_context)
    return [Route(path="/graphql", methods=METHODS, endpoint=endpoint, name="graphql")]
