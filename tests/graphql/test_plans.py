"""What plans give is what graphql-core gives, byte for byte, and they call the same resolvers as often."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime
from enum import StrEnum
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import GraphQLSchema, Undefined, build_schema

from gnj.api.hooks import Guard, Principal
from gnj.api.jobs import build_schema as build_jobs_schema
from gnj.api.jobs import context
from gnj.graphql.engine import Document, Engine, Outcome
from gnj.graphql.errors import Ended, Stage
from gnj.graphql.plans import OnContext, Planner, Reads
from gnj.graphql.records import fields_of
from gnj.graphql.scalars import scalars
from gnj.queue.catalog import RECORDS
from gnj.queue.errors import Conflict, Forbidden, InvalidInput, StorageUnavailable, TimedOut
from gnj.queue.later import Later, at_once, settled
from gnj.queue.service import Queue
from gnj.queue.storage import Select
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock
from tests.graphql.documents import WRONG, Documents

SDL = """
scalar SequelizeJSON
scalar Date
enum Color { red green }
input partInput { a: Int!, b: String }
input boxInput { id: Int, label: String!, content: SequelizeJSON, color: Color, at: Date, tags: [String!], part: partInput
                 rates: [Float], key: ID, flag: Boolean }
input defaultInput { n: Int = 3 }
type part { a: Int!, b: String }
type box { id: Int!, label: String, flag: Boolean, rate: Float, key: ID, content: SequelizeJSON, at: Date, color: Color
           status: String!, tags: [String], part: part, parts: [part!], whole: [part!]! }
type Query { one(id: Int, label: String, ids: [Int!]): box, many(where: SequelizeJSON, at: Date): [box!]!, some: [box]
             n: Int!, label: String, nested: [[Int!]], put(box: boxInput!, color: Color): box
             puts(boxes: [boxInput]): [box], strict(id: Int!, tags: [String!]!): box!, half(n: Int! = 5): Int
             defaults(given: defaultInput): Int, plain: Int }
type Mutation { put(box: boxInput!, rate: Float): box, n: Int!, one(id: Int!): box!, key: ID }
"""


class Status(StrEnum):
    """A status."""

    QUEUED = "queued"


class Odd:
    """A value of no scalar's."""

    def __str__(self) -> str:
        return "odd"

    def __repr__(self) -> str:
        return "Odd()"


async def never() -> int:
    return 1


ODD: tuple[Any, ...] = (
    None, 0, 1, -7, 2**31 - 1, 2**31, True, 1.0, 1.5, math.nan, math.inf, "", "1", "a", "\ud800", b"b", [1], (2, None), {"a": 1},
    [], Status.QUEUED, Odd(), Undefined, InvalidInput("an error as a value"), ValueError("secret"), range(2), {1},
    datetime(2024, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC).replace(tzinfo=None), lambda *_: 5, "red", "blue",
)  # fmt: skip
GOOD: dict[str, tuple[Any, ...]] = {
    "id": (1, 2), "label": ("a", None), "flag": (True, False, None), "rate": (0.5, 1), "key": ("k", 5), "color": ("red",),
    "content": ({"a": [1]}, [1], 5, None, "text"), "at": (datetime(2024, 1, 2, tzinfo=UTC), None), "tags": (["a", None], ()),
    "status": (Status.QUEUED, "done"), "a": (1,), "b": ("b", None),
}  # fmt: skip
RAISED = (
    InvalidInput("no"), Conflict(), StorageUnavailable(), TimedOut(), Forbidden(), ValueError("secret"), RecursionError(),
    KeyError("a"),
)  # fmt: skip


class World:
    """What resolvers find, and what was asked of them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.calls: list[str] = []

    def answer(self, field: str, arguments: dict[str, Any]) -> Any:
        """Answers any root field, rightly more often than not."""
        self.calls.append(f"{field} {arguments!r}")
        random = self.random
        if random.random() < 0.1:
            raise random.choice(RAISED)
        if random.random() < 0.1:
            odd = random.choice((*ODD, never))
            return never() if odd is never else odd
        if field in ("n", "half", "defaults", "plain"):
            return random.randrange(9)
        if field == "nested":
            return [[1, 2], None, [random.choice((3, None))]]
        if field in ("label", "key"):
            return "a"
        if field in ("many", "some", "puts"):
            return [self.box() for _ in range(random.randrange(3))]
        return self.box()

    def box(self) -> Any:
        """A row."""
        values = {name: self.value(name) for name in GOOD}
        parts = [SimpleNamespace(a=self.value("a"), b=self.value("b")) for _ in range(2)]
        more = {"part": parts[0], "parts": parts, "whole": [*parts, None] if self.random.random() < 0.05 else parts}
        return SimpleNamespace(**values, **more) if self.random.random() < 0.97 else SimpleNamespace(id=1)

    def value(self, name: str) -> Any:
        """An attribute."""
        return self.random.choice(GOOD[name] if self.random.random() < 0.98 else ODD)


def toy() -> GraphQLSchema:
    built = build_schema(SDL)
    for scalar in scalars():
        scalar.bind_to_schema(built)
    for name in ("Query", "Mutation"):
        for field, definition in built.type_map[name].fields.items():  # type: ignore[attr-defined]

            def answer(world: World, arguments: dict[str, Any], field: str = field) -> Any:
                return world.answer(field, arguments)

            if field == "plain":
                definition.resolve = lambda _source, info: info.context.answer("plain", {})
            else:
                definition.resolve = OnContext(answer)
    for name in ("box", "part"):
        for field, definition in built.type_map[name].fields.items():  # type: ignore[attr-defined]
            definition.resolve = Reads(field, text=field == "status")
    return built


def prepared(engine: Engine, text: str, *, plans: bool) -> bool:
    """Has a document executed with plans or without them from the first time on; whether it has one."""
    document = engine.document(text)
    if not isinstance(document, Document):
        return False
    document.executed = True
    if not plans:
        document.plans = dict.fromkeys(document.operations)
        return False
    planner = Planner(engine.schema)
    return all(planner.plan(document.node, each.node) for each in document.operations.values())


@pytest.fixture
def numbered(monkeypatch):
    """Error ids in the order of the errors, for as many worlds as ask."""

    def restart():
        numbers = itertools.count()
        monkeypatch.setattr("gnj.graphql.errors.secrets.token_hex", lambda _: f"{next(numbers):08x}")

    return restart


def shown(outcome: Any) -> tuple[Any, ...]:
    return outcome.stage, outcome.unavailable, repr(outcome.body)


@pytest.mark.parametrize("seed", range(12))
def test_plans_give_what_graphql_core_gives(numbered, caplog, seed):
    caplog.set_level("CRITICAL")
    random = Random(seed)
    schema = toy()
    documents = Documents(schema, random)
    counted = 0
    for _ in range(50):
        kind = random.choice(("query", "mutation"))
        text, variables = documents.one(kind, list(fields_of(schema, kind.capitalize())))
        world, told = random.random(), []
        for plans in (False, True):
            numbered()
            engine, seen = Engine(schema), World(int(world * 1e9))
            counted += prepared(engine, text, plans=plans)
            outcome = engine.execute(text, variables, context=seen)
            told.append((shown(outcome), seen.calls))
        assert told[0] == told[1], (text, variables)
    assert counted > 15


class Hook(Guard):
    """A guard that fails now and then, alike in every world with that seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = Random(seed)

    def authorize(self, *_: object, **_given: object) -> None:
        """Asked about each root field."""
        if self._random.random() < 0.05:
            raise self._random.choice(RAISED)


@pytest.mark.parametrize("seed", range(12))
def test_the_jobs_api_is_the_same_with_plans(numbered, caplog, seed):
    caplog.set_level("CRITICAL")
    random = Random(seed)
    schema = build_jobs_schema()
    documents = Documents(schema, random, wrong=0.01)
    rooms = []
    for plans in (False, True):
        # its clock stands still: what is lost is looked for by another one
        queue = Queue(MemoryStorage(clock=FakeClock()), seed=seed)
        rooms.append((plans, queue, Engine(schema), Hook(seed)))
    counted = 0
    often = ["jobCreate", "acquireJob", "jobUpdate", "acquireJobs", "settle"]
    rare = [name for name in fields_of(schema, "Mutation") if name not in ("ping", "pong", "workerMonitoringUpdate")]
    for _ in range(60):
        kind = random.choice(("query", "mutation", "mutation"))
        roots = list(fields_of(schema, "Query")) if kind == "query" else random.choice((often, rare))
        text, variables = documents.one(kind, roots)
        told = []
        for plans, queue, engine, hook in rooms:
            numbered()
            counted += prepared(engine, text, plans=plans)
            given = context(queue, Principal("tester"), guard=hook)
            told.append(shown(engine.execute(text, variables, context=given)))
        assert told[0] == told[1], (text, variables)
    rows = [
        repr([queue.storage.find(record, Select(deleted=True)) for record in RECORDS.values()])
        for _, queue, _, _ in rooms
    ]
    assert rows[0] == rows[1]
    assert counted > 20


ROW: dict[str, Any] = {
    "id": 1, "label": "a", "flag": True, "rate": 0.5, "key": "k", "color": "red", "content": {}, "at": None, "tags": [],
    "status": "queued", "part": SimpleNamespace(a=1, b="b"), "parts": [], "whole": [],
}  # fmt: skip
PARTS: tuple[Any, ...] = (None, {"a": 1}, {"a": "x"}, {"b": "b"}, {}, [])
ALL = "id label flag rate key content at color status tags part { a b } parts { a } whole { b }"
PUT = "mutation($box: boxInput!) { n put(box: $box) { id } }"


@pytest.mark.parametrize("value", ODD, ids=[str(n) for n in range(len(ODD))])
@pytest.mark.parametrize("name", ROW)
def test_no_value_of_an_attribute_is_completed_otherwise(numbered, caplog, name, value):
    caplog.set_level("CRITICAL")
    row, schema, told = SimpleNamespace(**{**ROW, name: value}), toy(), []
    inner = "{ a }" if name in ("part", "parts", "whole") else ""
    text = f"{{ one {{ {ALL} }} some {{ {name} {inner} }} }}"
    for plans in (False, True):
        numbered()
        engine = Engine(schema)
        assert prepared(engine, text, plans=plans) == plans
        found = SimpleNamespace(answer=lambda field, _: row if field == "one" else [row, None, row])
        told.append(shown(engine.execute(text, context=found)))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "given",
    [
        *({"label": "x", name: value} for name in ("id", "label", "flag", "rates", "key", "color", "at", "tags", "content", "no")
          for value in WRONG),
        *({"label": "x", "part": part} for part in PARTS),
        {}, {"id": 1}, {"at": "2024-01-01", "label": "x", "id": 1}, None, "x", [], ({},),
    ],
)  # fmt: skip
def test_no_value_of_a_variable_is_taken_otherwise(given):
    schema, told = toy(), []
    for plans in (False, True):
        engine = Engine(schema)
        calls: list[str] = []
        assert prepared(engine, PUT, plans=plans) == plans

        def answer(field: str, arguments: dict[str, Any], calls: list[str] = calls) -> Any:
            calls.append(repr((field, arguments)))
            return 1 if field == "n" else SimpleNamespace(**ROW)

        told.append((shown(engine.execute(PUT, {"box": given}, context=SimpleNamespace(answer=answer))), calls))
    assert told[0] == told[1]


def test_a_plan_is_made_when_a_document_comes_again():
    engine, world = Engine(toy()), World(1)
    often = "query($id: Int!) { strict(id: $id, tags: []) { id } }"
    for _ in range(3):
        engine.execute(often, {"id": 1}, context=world)
    document = engine.document(often)
    assert isinstance(document, Document)
    assert [plan is not None for plan in document.plans.values()] == [True]
    once = "{ many { id } }"
    engine.execute(once, context=world)
    document = engine.document(once)
    assert isinstance(document, Document)
    assert not document.plans


@pytest.mark.parametrize(
    "text",
    [
        "{ plain }",
        "{ __schema { description } }",
        "{ one { ... { id } } }",
        "{ one { id @skip(if: false) } }",
        "query @include(if: true) { half }",
        "{ one { part { a } part { b } } }",
        'query($a: Int!) { put(box: {id: $a, label: "x"}) { id } }',
        "query($a: defaultInput) { defaults(given: $a) }",
    ],
)
def test_what_is_out_of_the_ordinary_has_no_plan(text):
    engine = Engine(toy())
    assert not prepared(engine, text, plans=True)


def test_the_name_of_the_root_type_is_planned(monkeypatch):
    engine, world = Engine(toy()), SimpleNamespace(answer=lambda _field, _arguments: SimpleNamespace(id=7))
    text = 'mutation { __typename put(box: {label: "x"}, rate: 1) { id } is: __typename }'
    assert prepared(engine, text, plans=True)
    assert prepared(engine, "{ __typename }", plans=True)
    monkeypatch.setattr(engine, "_executor", None)
    data = engine.execute(text, context=world).body["data"]
    assert list(data.items()) == [("__typename", "Mutation"), ("put", {"id": 7}), ("is", "Mutation")]
    assert engine.execute("{ __typename }").body == {"data": {"__typename": "Query"}}


def test_an_error_leaves_the_name_of_the_root_type_as_it_is():
    def fails(_context, _given):
        raise InvalidInput("no")

    schema = build_schema("type Query { f: Int }")
    fields_of(schema, "Query")["f"].resolve = OnContext(fails)
    engine = Engine(schema)
    for _ in range(3):
        body = engine.execute("{ __typename f }").body
        assert body["data"] == {"__typename": "Query", "f": None}
        assert [error["message"] for error in body["errors"]] == ["no"]


def test_what_has_a_plan_is_converted_without_graphql_core(monkeypatch):
    engine, world = Engine(toy()), SimpleNamespace(answer=lambda _field, arguments: SimpleNamespace(**arguments["box"]))
    text = "mutation($box: boxInput!) { put(box: $box, rate: 1) { id label tags content other: label __typename } }"
    assert prepared(engine, text, plans=True)
    monkeypatch.setattr(engine, "_executor", None)
    box = {"tags": ["a", "b"], "label": "x", "id": 3, "content": {"k": 1}}
    body = engine.execute(text, {"box": box}, context=world).body
    expected = {"id": 3, "label": "x", "tags": ["a", "b"], "content": {"k": 1}, "other": "x", "__typename": "box"}
    assert body == {"data": {"put": expected}}
    assert list(body["data"]["put"]) == list(expected)


def bound(answer: Any, *, waits: bool = False) -> Engine:
    """An engine whose one field takes arguments of all names that resolvers have of their own."""
    schema = build_schema("type Query { f(source: Int, info: Int, resolve: Int): Int }")
    fields_of(schema, "Query")["f"].resolve = OnContext(answer, waits)
    return Engine(schema)


def test_arguments_have_whatever_names():
    def answer(_context: Any, given: dict[str, Any]) -> int:
        assert given == {"source": 1, "info": 2, "resolve": 3}
        raise InvalidInput("no")

    engine = bound(answer)
    told = [engine.execute("{ f(source: 1, info: 2, resolve: 3) }").body["errors"][0]["message"] for _ in range(3)]
    assert told == ["no"] * 3  # by graphql-core alone, and by a plan that leaves the error to it


def test_what_ends_an_operation_is_its_only_answer():
    """Of a field that is asked of many rows, and of a root field; by graphql-core alone, and by a plan."""
    asked: list[int] = []

    def ends(row: int, _info: object) -> int:
        asked.append(row)
        raise Ended(InvalidInput("too much"))

    schema = build_schema("type Row { of: Int } type Query { rows: [Row!], f: Int, g: Int, later: Int }")
    fields_of(schema, "Row")["of"].resolve = ends
    fields_of(schema, "Query")["rows"].resolve = OnContext(lambda _context, _given: [1, 2, 3])
    fields_of(schema, "Query")["f"].resolve = OnContext(lambda _context, _given: ends(0, None))
    fields_of(schema, "Query")["g"].resolve = OnContext(lambda _context, _given: 1)
    fields_of(schema, "Query")["later"].resolve = OnContext(
        lambda _context, _given: at_once(lambda: ends(7, None)), waits=True
    )
    engine = Engine(schema)
    told = {"errors": [{"message": "too much", "extensions": {"code": "INVALID_INPUT"}}], "data": None}
    for document in ("{ g rows { of } }", "{ g f }"):
        for _ in range(3):
            outcome = engine.execute(document)
            assert (outcome.body, outcome.stage, outcome.unavailable) == (told, Stage.EXECUTE, False)
    assert asked == [1] * 3 + [0] * 3
    assert settled(engine.begin("{ later }")).body == told


def test_what_waits_is_planned_the_first_time():
    """Without a plan, it would have to be waited for in the thread that asks."""
    waited: list[bool] = []

    def wait() -> int:
        waited.append(True)
        return 1

    def later(_context: Any, _given: object) -> Any:
        return Later(wait, lambda _spawn, told: told(lambda: 2))

    for waits, came in ((True, Later), (False, Outcome)):
        begun = bound(later, waits=waits).begin("{ f }", later=True)
        assert isinstance(begun, came)
    assert waited == [True]
