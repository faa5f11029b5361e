"""Arguments and results by annotations, both ways."""

# mypy: disable-error-code="empty-body, misc, name-defined, no-any-return, return-value, type-arg, untyped-decorator"

from __future__ import annotations

import enum
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, NewType

import pytest
from graphql import print_schema, print_type

import gnj
from gnj.queue.model import Step


class Color(enum.Enum):
    """What it looks like."""

    RED = 1
    GREEN = "g"


@dataclass
class Point:
    """A place.

    More of it."""

    pos_x: int
    _: KW_ONLY
    pos_y: float = 0.5
    color: Color = Color.RED
    tags: list[str] = field(default_factory=list)
    parent: Point | None = None
    length: float = field(init=False, default=0.0)

    def __post_init__(self):
        self.length = self.pos_x + self.pos_y


Path = NewType("Path", str)
seen: list[Any] = []


def field_of(jobs, root, name):
    kind = getattr(jobs.schema, f"{root}_type")
    args = ", ".join(
        f"{n}: {a.type}" + ("" if not a.ast_node or a.ast_node.default_value is None else " = default")
        for n, a in kind.fields[name].args.items()
    )
    return f"({args}): {kind.fields[name].type}"


@pytest.mark.parametrize(
    "hint, default, text, sent, received",
    [
        (str, ..., "String!", '"x"', "x"),
        (int, ..., "Int!", "7", 7),
        (float, ..., "Float!", "7", 7.0),
        (bool, ..., "Boolean!", "true", True),
        (datetime, ..., "Date!", '"2030-01-02"', datetime(2030, 1, 2, tzinfo=UTC)),
        (dict, ..., "SequelizeJSON!", "{a: [1]}", {"a": [1]}),
        (dict[str, int], ..., "SequelizeJSON!", "{a: 1}", {"a": 1}),
        (Mapping, ..., "SequelizeJSON!", "{a: 1}", {"a": 1}),
        (Any, ..., "SequelizeJSON", "[1, null]", [1, None]),
        (Any, ..., "SequelizeJSON", None, None),
        (list[int], ..., "[Int!]!", "[1, 2]", [1, 2]),
        (list[int], ..., "[Int!]!", "1", [1]),
        (list[int | None], ..., "[Int]!", "[1, null]", [1, None]),
        (Sequence[str], ..., "[String!]!", '["a"]', ["a"]),
        (tuple[str, ...], ..., "[String!]!", '["a"]', ("a",)),
        (list[list[Color]], ..., "[[Color!]!]!", "[[RED], []]", [[Color.RED], []]),
        (int | None, ..., "Int", None, None),
        (int | None, ..., "Int", "null", None),
        (typing.Optional[int], ..., "Int", "3", 3),  # noqa: UP045
        (Annotated[int, "of cents"], ..., "Int!", "3", 3),
        (Path, ..., "String!", '"p"', "p"),
        (int, 5, "Int = default", None, 5),
        (int, 5, "Int = default", "null", 5),
        (int, 5, "Int = default", "6", 6),
        (int | None, 5, "Int = default", "null", None),
        (int | None, None, "Int", None, None),
        (str, 'a "b"\n', "String = default", None, 'a "b"\n'),
        (float, 1, "Float = default", None, 1.0),
        (float, float("inf"), "Float", None, float("inf")),
        (Color, ..., "Color!", "GREEN", Color.GREEN),
        (Color, Color.GREEN, "Color = default", None, Color.GREEN),
        (list[Color], [Color.RED], "[Color!] = default", None, [Color.RED]),
        (dict, {"a": [1, {"b": None}]}, "SequelizeJSON = default", None, {"a": [1, {"b": None}]}),
        (dict, {"a b": 1}, "SequelizeJSON", None, {"a b": 1}),
        (datetime, datetime(2030, 1, 2, tzinfo=UTC), "Date = default", None, datetime(2030, 1, 2, tzinfo=UTC)),
        (Point, ..., "PointInput!", "{posX: 3}", Point(3)),
        (Point, ..., "PointInput!", "{posX: 3, posY: null, tags: null}", Point(3)),
        (
            list[Point],
            ...,
            "[PointInput!]!",
            '[{posX: 3, posY: 1, color: GREEN, tags: ["a"], parent: {posX: 1}}]',
            [Point(3, pos_y=1.0, color=Color.GREEN, tags=["a"], parent=Point(1))],
        ),
        (Point, Point(1, tags=["a"]), "PointInput = default", None, Point(1, tags=["a"])),
    ],
)
def test_arguments(jobs, call, hint, default, text, sent, received):
    def show(the_value) -> str:
        seen[:] = [the_value]
        return type(the_value).__name__

    show.__annotations__["the_value"] = hint
    if default is not ...:
        show.__defaults__ = (default,)
    jobs.query(show)
    assert field_of(jobs, "query", "show") == f"(theValue: {text}): String"
    assert call(f"{{ show(theValue: {sent}) }}" if sent else "{ show }") == type(received).__name__
    assert seen == [received]
    assert repr(seen) == repr([received])  # 1 is not 1.0, nor True


@pytest.mark.parametrize(
    "hint, sent, message",
    [
        (int, "2147483648", "Int cannot represent non 32-bit signed integer value: 2147483648"),
        (int, "1.5", "Int cannot represent non-integer value: 1.5"),
        (bool, "1", "Boolean cannot represent a non boolean value: 1"),
        (Color, "BLUE", 'Value "BLUE" does not exist in "Color" enum.'),
        (Color, '"RED"', 'Enum "Color" cannot represent non-enum value: "RED"'),
        (dict, "[1]", "theValue must be a JSON object, not [1]"),
        (datetime, '"yesterday"', 'Expected type "Date".'),
        (Point, "{}", 'Expected value of type "PointInput" to include required field "posX"'),
        (Point, "{posX: 1, length: 2}", 'Expected value of type "PointInput" not to include unknown field'),
    ],
)
def test_arguments_that_are_refused(jobs, call, hint, sent, message):
    def show(the_value) -> str:
        raise AssertionError

    show.__annotations__["the_value"] = hint
    jobs.query(show)
    told, code = call.error(f"{{ show(theValue: {sent}) }}")
    assert told.startswith(message[:40]), told
    assert code in ("GRAPHQL_VALIDATION_FAILED", "INVALID_INPUT", "BAD_USER_INPUT")


@pytest.mark.parametrize(
    "hint, text, given, selected, sent",
    [
        (str, "String", "é", "", "é"),
        (int, "Int", 7, "", 7),
        (float, "Float", 7, "", 7.0),
        (bool, "Boolean", False, "", False),
        (datetime, "Date", datetime(2030, 1, 2, tzinfo=UTC), "", "2030-01-02T00:00:00.000Z"),
        (dict, "SequelizeJSON", {"a": [1]}, "", {"a": [1]}),
        (Any, "SequelizeJSON", None, "", None),
        (list[int], "[Int!]", [1], "", [1]),
        (list[int], "[Int!]", iter([1, 2]), "", [1, 2]),
        (tuple[int, ...], "[Int!]", (1,), "", [1]),
        (list[int | None], "[Int]", [None, 1], "", [None, 1]),
        (int | None, "Int", None, "", None),
        (None, "Boolean", None, "", True),
        (None, "Boolean", "whatever", "", True),
        (Color, "Color", Color.GREEN, "", "GREEN"),
        (list[Color], "[Color!]", [Color.GREEN], "", ["GREEN"]),
        (
            Point,
            "Point",
            Point(1, parent=Point(2)),
            "{posX posY color tags length parent {posX parent {posX}}}",
            {
                "posX": 1,
                "posY": 0.5,
                "color": "RED",
                "tags": [],
                "length": 1.5,
                "parent": {"posX": 2, "parent": None},
            },
        ),
    ],
)
def test_results(jobs, call, hint, text, given, selected, sent):
    def show():
        return given

    show.__annotations__["return"] = hint
    jobs.query(show)
    assert field_of(jobs, "query", "show") == f"(): {text}"
    assert call(f"{{ show {selected} }}") == sent


@pytest.mark.parametrize(
    "hint, given, selected",
    [
        (int, None, ""),
        (int, 2**31, ""),
        (int, "x", ""),
        (int, 1.5, ""),
        (float, float("nan"), ""),
        (float, "x", ""),
        (str, object(), ""),
        (bool, 2, ""),
        (datetime, "today", ""),
        (list[int], [2**31], ""),
        (gnj.Job, {"id": 1}, "{id}"),
        (list[gnj.Job], [1], "{id}"),
        (list[int], None, ""),
        (list[int], "12", ""),
        (list[int], [None], ""),
        (Color, "RED", ""),
        (Color, 1, ""),
        (Point, {"pos_x": 1}, "{posX}"),
        (dict, {"a": object()}, ""),
        (dict, {"a": float("nan")}, ""),
    ],
)
def test_results_that_are_not_what_they_should_be_are_masked(jobs, call, caplog, hint, given, selected):
    def show(tx: gnj.Transaction):
        tx.enqueue("kept?")
        return given

    show.__annotations__["return"] = hint
    jobs.mutation(show)
    message, code = call.error(f"mutation {{ show {selected} }}")
    assert (message, code) == ("Internal error", "INTERNAL_SERVER_ERROR")
    assert jobs.count() == 0


def test_descriptions_and_names(jobs):
    @jobs.query
    def first_of_all(color: Color, point: Point) -> Point | None:
        """The first "one" \\ of
        all.

        Not this.
        """

    @jobs.query(name="other", description="Said otherwise")
    def whatever() -> Color | None: ...

    @jobs.query
    def undescribed() -> None: ...

    text = print_schema(jobs.schema)
    assert '  """The first "one" \\ of all."""\n  firstOfAll(color: Color!, point: PointInput!): Point\n' in text
    assert '  """Said otherwise"""\n  other: Color\n' in text
    assert print_type(jobs.schema.type_map["Color"]) == ('"""What it looks like."""\nenum Color {\n  RED\n  GREEN\n}')
    assert print_type(jobs.schema.type_map["PointInput"]) == (
        '"""A place."""\ninput PointInput {\n  posX: Int!\n  posY: Float = 0.5\n  color: Color = RED\n  tags: [String!]\n  parent: PointInput\n}'
    )
    assert "  undescribed: Boolean" in text


def test_descriptions_are_introspected(jobs, call):
    @jobs.mutation
    def tidy() -> None:
        "Puts things in their places."

    found = call('{ __type(name: "Mutation") { fields { name description } } }')["fields"]
    assert {"name": "tidy", "description": "Puts things in their places."} in found


def test_records_are_results(jobs, call):
    @dataclass
    class Found:
        job: gnj.Job
        others: list[gnj.Job]
        batch: gnj.Batch | None = None
        pipeline: gnj.Pipeline | None = None
        step: Step | None = None
        hold: gnj.Hold | None = None

    @jobs.mutation
    def everything(tx: gnj.Transaction) -> Found:
        first = tx.enqueue("a", {"n": 1})
        return Found(first, [tx.enqueue("b")], hold=tx.hold("c"))

    found = call(
        "mutation { everything { job {id input} others {type} batch {id} step {id} pipeline {id} hold {type} } }"
    )
    assert found["job"] == {"id": 1, "input": {"n": 1}}
    assert found["others"] == [{"type": "b"}]
    assert found["hold"] == {"type": "c"}
    assert found["batch"] is found["pipeline"] is found["step"] is None


def test_associations_of_a_list_are_loaded_together(jobs, call):
    with jobs.pipeline("p") as p:
        for _ in range(3):
            p.add("a")

    @jobs.query
    def mine(tx: gnj.Transaction) -> list[gnj.Job]:
        return tx.list(type="a")

    found = call("{ mine { id pipeline { name steps { index } } } }")
    assert [each["pipeline"]["name"] for each in found] == ["p"] * 3
    assert len(found[0]["pipeline"]["steps"]) == 3


def test_what_is_given_to_who_asks_for_it(jobs, call):
    @jobs.query
    def who(request: gnj.RequestContext, principal: gnj.Principal, tx: gnj.Transaction, word: str) -> str:
        assert (tx.principal, tx.tenant) == (principal, principal.tenant)
        assert tx.connection is None
        assert tx.now.tzinfo is not None
        return f"{principal.id} {principal.tenant} {request.transport} {word}"

    assert call('{ who(word: "x") }') == "in-process  in-process x"
    assert call('{ who(word: "x") }', gnj.Principal("me", "t")) == "me t in-process x"


def test_pydantic_models(jobs, call):
    pydantic = pytest.importorskip("pydantic")

    class Size(pydantic.BaseModel):
        width: int = pydantic.Field(gt=0, description="in metres")
        high_up: float = 1.5
        color: Color | None = None
        names: list[str] = pydantic.Field(default_factory=list, alias="theNames")

    @jobs.query
    def sized(size: Size, sizes: list[Size]) -> Size:
        assert isinstance(size, Size)
        return Size(width=size.width + len(sizes), high_up=size.high_up, color=size.color, theNames=size.names)

    assert print_type(jobs.schema.type_map["SizeInput"]) == (
        'input SizeInput {\n  """in metres"""\n  width: Int!\n  highUp: Float = 1.5\n  color: Color\n  names: [String!]\n}'
    )
    sent = '{ sized(size: {width: 2, color: RED, names: ["n"]}, sizes: [{width: 1}]) { width highUp color names } }'
    assert call(sent) == {"width": 3, "highUp": 1.5, "color": "RED", "names": ["n"]}
    message, code = call.error("{ sized(size: {width: 0}, sizes: []) { width } }")
    assert (message, code) == ("Size.width: Input should be greater than 0", "INVALID_INPUT")


def test_pydantic_is_not_imported_for_nothing():
    import subprocess

    code = (
        "import sys, gnj\njobs = gnj.GNJ('memory://')\n@jobs.query\ndef f(a: int) -> int: return a\n"
        "print(jobs.execute('{f(a: 1)}')['data'], 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'f': 1} False\n"


def test_types_of_the_function_around(jobs, call):
    """An application factory has its types inside."""

    @dataclass
    class Inner:
        n: int

    @dataclass
    class Outer:
        inner: Inner

    @jobs.query
    def add(outer: Outer) -> Outer:
        return Outer(Inner(outer.inner.n + 1))

    assert call("{ add(outer: {inner: {n: 1}}) { inner { n } } }") == {"inner": {"n": 2}}


def test_functions_stay_what_they_are(jobs):
    @jobs.mutation
    def plain(a: int) -> int:
        return a + 1

    @jobs.mutation(name="again")
    def other(a: int) -> int:
        return a + 2

    assert (plain(1), other(1)) == (2, 3)


def test_a_method_and_a_partial_are_functions_too(jobs, call):
    import functools

    class Desk:
        def book(self, name: str) -> str:
            return f"{name} at {id(self) == id(desk)}"

    desk = Desk()

    def add(a: int, b: int) -> int:
        return a + b

    jobs.query(desk.book)
    jobs.query(name="addTwo")(functools.partial(add, b=2))
    assert call('{ book(name: "x") }') == "x at True"
    assert call("{ addTwo(a: 1) }") == 3


def test_limits_count_for_custom_lists(jobs, call):
    jobs.enqueue_many([gnj.NewJob("a")] * 3)

    @jobs.query
    def mine(tx: gnj.Transaction, limit: int = 10) -> list[gnj.Job]:
        return list(tx.list(limit=limit))

    assert len(call("{ mine(limit: 2) { id } }")) == 2
    message, code = call.error("{ mine(limit: 20001) { id } }")
    assert ("more than 20,000 rows" in message, code) == (True, "GRAPHQL_VALIDATION_FAILED")
    message, code = call.error("query($n: Int) { mine(limit: $n) { id } }", n=20_001)
    assert "more than 20,000 rows" in message
