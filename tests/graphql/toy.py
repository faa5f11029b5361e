"""A small schema of boxes and shelves, for what must work on any schema."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLSchema, build_schema

from gnj.graphql.engine import Engine
from gnj.graphql.limits import Limits
from gnj.graphql.rules import Rules
from gnj.graphql.scalars import scalars
from gnj.queue.errors import Conflict, InvalidInput, StorageUnavailable

SDL = """
scalar SequelizeJSON
scalar Date
enum Color { red green }
input boxInput { id: Int, label: String!, content: SequelizeJSON, color: Color, at: Date }
type box { id: Int!, label: String, content: SequelizeJSON, at: Date, color: Color
           shelf: shelf, boxes(limit: Int): [box], stale: Int! }
type shelf { id: Int, boxes(limit: Int, order: String): [box!], box: box }
type Query { box(id: Int, limit: Int): [box], one(id: Int!): box, other: box, n: Int, big: Int, at(date: Date): Date
             json(value: SequelizeJSON): SequelizeJSON, atLeast(n: Int! = 5): Int, fails(how: String): String
             nan: SequelizeJSON, later: Int, strict: Int! }
type Mutation { take(typeList: [String!]!, workerId: String): box, put(box: boxInput!): box, down(n: Int): box }
type Subscription { ticks: Int }
"""

BOX = {"id": 1, "label": "a", "content": {"k": [1, "x"]}, "at": datetime(2024, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)}


class Driver(Exception):
    """What a database driver would raise."""


def fails(_source: object, _info: object, how: str = "secret") -> str:
    if how == "known":
        raise InvalidInput("the label is too long")
    if how == "busy":
        raise Conflict
    if how == "down":
        raise StorageUnavailable
    if how == "details":
        error = InvalidInput("bad rule")
        error.extensions = {"position": 3, "code": "no"}  # type: ignore[attr-defined]
        raise error
    raise Driver('relation "secret_table" does not exist at /srv/secret.py')


def schema() -> GraphQLSchema:
    built = build_schema(SDL)
    for scalar in scalars():
        scalar.bind_to_schema(built)
    assert built.query_type is not None
    assert built.mutation_type is not None

    async def coroutine() -> int:
        return 1

    def down(_source: object, _info: object, n: int | None = None) -> dict[str, Any] | None:
        if n is None:
            raise StorageUnavailable
        return {**BOX, "id": n}

    resolvers = {
        "box": lambda _s, _i, **_a: [BOX],
        "one": lambda _s, _i, **arguments: {**BOX, **arguments},
        "n": lambda _s, info: (info.context or {}).get("n"),
        "big": lambda _s, _i: 2**31,
        "at": lambda _s, _i, date=None: date,
        "json": lambda _s, _i, value=None: value,
        "atLeast": lambda _s, _i, n: n,
        "fails": fails,
        "nan": lambda _s, _i: {"a": float("nan"), "b": "\ud800", "c": 1, "d": object()},
        "later": lambda _s, _i: coroutine(),
        "strict": lambda _s, _i: None,
    }
    for name, resolve in resolvers.items():
        built.query_type.fields[name].resolve = resolve
    mutation = built.mutation_type.fields
    mutation["take"].resolve = lambda _s, _i, **arguments: BOX if arguments["typeList"] else None
    mutation["put"].resolve = lambda _s, _i, box: {**BOX, **box}
    mutation["down"].resolve = down
    return built


def engine(*, introspection: bool = True, **limits: Any) -> Engine:
    return Engine(schema(), Rules(Limits(**limits), introspection=introspection))
