"""What is wrong with an operation is told when the schema is built: the function, the field, the file and the line."""

# mypy: disable-error-code="empty-body, misc, no-any-return, type-arg, untyped-decorator"

from __future__ import annotations

import enum
import inspect
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pytest
from ariadne import (
    EnumType,
    InputType,
    MutationType,
    ObjectType,
    QueryType,
    ScalarType,
    SubscriptionType,
    UnionType,
)

import gnj

HERE = __file__
T = TypeVar("T")


def line_of(fn):
    return inspect.unwrap(fn).__code__.co_firstlineno


def refused(jobs):
    with pytest.raises(gnj.SchemaError) as error:
        _ = jobs.schema
    assert error.value.code == "SCHEMA_ERROR"
    return str(error.value)


class Empty(enum.Enum):
    pass


class Odd(enum.Enum):
    true = 1


class Accented(enum.Enum):
    é = 1  # noqa: PLC2401


@dataclass
class Nothing:
    pass


@dataclass
class Same:
    a_b: int
    aB: int  # noqa: N815


@dataclass
class Deep:
    inner: list[UUID]


@dataclass
class Box(Generic[T]):
    value: T


@dataclass
class Endless:
    again: Endless


def two(name):
    """Another dataclass of that name."""
    return dataclass(type(name, (), {"__annotations__": {"other": int}}))


def no_annotation(a) -> int: ...
def no_result(a: int): ...
def unknown_name(a: Missing) -> int: ...  # type: ignore[name-defined]  # noqa: F821
def several(a: int | str) -> int: ...
def unsupported(a: UUID) -> int: ...
def unsupported_result() -> bytes: ...
def bare_list(a: list) -> int: ...
def mixed_tuple(a: tuple[int, str]) -> int: ...
def starred(*a: int) -> int: ...
def keywords(**a: int) -> int: ...
def by_place(a: int, /) -> int: ...
def record_in(a: gnj.Job) -> int: ...
def deep(a: Deep) -> int: ...
def generic(a: Box[int]) -> int: ...
def empty_enum(a: Empty) -> int: ...
def odd_enum(a: Odd) -> int: ...
def accented(a: Accented) -> int: ...
def no_fields(a: Nothing) -> int: ...
def alike(a_b: int, aB: int) -> int: ...  # noqa: N803
def alike_fields(a: Same) -> int: ...
def wrong_default(a: int = "x") -> int: ...  # type: ignore[assignment]
def large_default(a: int = 2**31) -> int: ...
def wrong_tx(tx: gnj.AsyncTransaction) -> int: ...
async def wrong_async_tx(tx: gnj.Transaction) -> int: ...
async def optional_tx(tx: gnj.Transaction | None) -> int: ...
async def annotated_tx(tx: Annotated[gnj.Transaction, "x"]) -> int: ...
def a_list_for_a_type(a: [int]) -> int: ...  # type: ignore[valid-type]
def unhashable(a: Literal[[1]]) -> int: ...  # type: ignore[valid-type]
def endless(a: Endless) -> int: ...


@pytest.mark.parametrize(
    "fn, field, part",
    [
        (no_annotation, "noAnnotation", "the parameter a has no annotation"),
        (no_result, "noResult", "the result has no annotation"),
        (unknown_name, "unknownName", "name 'Missing' is not defined"),
        (several, "several", "the parameter a has the annotation int | str"),
        (unsupported, "unsupported", "the parameter a has the annotation UUID; what works is str, int"),
        (unsupported_result, "unsupportedResult", "the result has the annotation bytes"),
        (bare_list, "bareList", "say of what, as in list[str]"),
        (mixed_tuple, "mixedTuple", "say of what, as in list[str]"),
        (starred, "starred", "must be one that can be given by its name"),
        (keywords, "keywords", "must be one that can be given by its name"),
        (by_place, "byPlace", "must be one that can be given by its name"),
        (record_in, "recordIn", "gnj's records are results only"),
        (deep, "deep", "the field inner of Deep, in the parameter a, has the annotation UUID"),
        (generic, "generic", "the parameter a has the annotation"),
        (empty_enum, "emptyEnum", "Empty, which has no members"),
        (odd_enum, "oddEnum", "GraphQL has its own meaning for true"),
        (accented, "accented", "a name that GraphQL does not take: the member é of Accented"),
        (no_fields, "noFields", "Nothing, which has no fields"),
        (alike, "alike", "the parameter aB would be called aB, as another one is"),
        (alike_fields, "alikeFields", "two fields would be called aB"),
        (wrong_default, "wrongDefault", "has a default that its annotation does not allow: 'x'"),
        (large_default, "largeDefault", "has a default that its annotation does not allow: 2147483648"),
        (wrong_tx, "wrongTx", "must be annotated gnj.Transaction, since wrong_tx is a plain function"),
        (
            wrong_async_tx,
            "wrongAsyncTx",
            "must be annotated gnj.AsyncTransaction, since wrong_async_tx is an async function",
        ),
        (optional_tx, "optionalTx", "must be annotated gnj.AsyncTransaction"),
        (annotated_tx, "annotatedTx", "must be annotated gnj.AsyncTransaction"),
        (a_list_for_a_type, "aListForAType", "the parameter a has the annotation [<class 'int'>]; what works is"),
        (unhashable, "unhashable", "the parameter a has the annotation typing.Literal[[1]]; what works is"),
    ],
)
def test_functions(jobs, fn, field, part):
    jobs.mutation(fn)
    message = refused(jobs)
    assert part in message
    assert message.startswith(f"Mutation.{field} ({fn.__name__}): ")
    assert message.endswith(f"[{HERE}:{line_of(fn)}]")


@pytest.mark.parametrize("root", ["query", "mutation"])
def test_an_input_that_has_no_end(jobs, root):
    getattr(jobs, root)(endless)
    message = refused(jobs)
    assert "EndlessInput.again" in message
    assert message.endswith(f"[{HERE}:{line_of(endless)}]")


def test_a_name_in_the_place_of_the_function(jobs):
    with pytest.raises(
        gnj.SchemaError, match=r"@mutation: takes a function, not 'wake': options have names \[.*\.py:\d+\]"
    ):
        jobs.mutation("wake")


def with_tx(tx: gnj.Transaction) -> None: ...
def with_optional_tx(tx: gnj.Transaction | None) -> None: ...
def without_tx() -> None: ...


@pytest.mark.parametrize(
    "fn, options, part",
    [
        (
            with_tx,
            {"transaction": "none"},
            "is a transaction, but the operation was registered with transaction='none'",
        ),
        (
            with_optional_tx,
            {"transaction": "none"},
            "is a transaction, but the operation was registered with transaction='none'",
        ),
        (
            with_tx,
            {"transaction": "repeatable"},
            "transaction must be one of read_committed, serializable, none, not 'repeatable'",
        ),
        (without_tx, {"transaction": "serializable"}, "is serializable but takes no transaction"),
        (without_tx, {"action": "everything"}, "action must be one of read, enqueue, work, admin, not 'everything'"),
        (without_tx, {"name": "not a name"}, "GraphQL"),
        (without_tx, {"name": "__hidden"}, "GraphQL"),
    ],
)
def test_options(jobs, fn, options, part):
    jobs.mutation(**options)(fn)
    message = refused(jobs)
    assert part in message
    assert f"({fn.__name__})" in message
    assert message.endswith(f"[{HERE}:{line_of(fn)}]")


def acquire_job() -> None: ...
def custom() -> None: ...


def test_a_field_of_gnjs_own(jobs):
    jobs.mutation(acquire_job)
    assert refused(jobs) == (
        "Mutation.acquireJob (acquire_job): there are two fields of that name: gnj's own is the other "
        f"[{HERE}:{line_of(acquire_job)}]"
    )


def test_two_of_one_name(jobs):
    jobs.query(custom)
    jobs.query(name="custom")(acquire_job)
    message = refused(jobs)
    assert f"that of custom [{HERE}:{line_of(custom)}] is the other" in message
    assert message.endswith(f"[{HERE}:{line_of(acquire_job)}]")


def test_a_name_may_be_a_query_and_a_mutation(jobs, call):
    jobs.query(custom)
    jobs.mutation(custom)
    assert call("{ custom }") is call("mutation { custom }") is True


@pytest.mark.parametrize("name, whose", [("job", "gnj's own"), ("Query", "gnj's own"), ("Date", "gnj's own")])
def test_a_type_of_gnjs_own(jobs, name, whose):
    kind = two(name)

    @jobs.query
    def show() -> kind: ...  # type: ignore[valid-type]

    message = refused(jobs)
    assert message.startswith(
        f"{name} (test_a_type_of_gnjs_own.<locals>.show): there are two types of that name: {whose}"
    )


def test_two_types_of_one_name(jobs):
    first, second = two("Point"), two("Point")

    @jobs.query
    def one() -> first: ...  # type: ignore[valid-type]

    @jobs.query
    def other() -> second: ...  # type: ignore[valid-type]

    message = refused(jobs)
    assert "the result needs a type Point, and there is a different one of that name already, for" in message
    assert f"{HERE}:{line_of(one)}" in message
    assert message.endswith(f"[{HERE}:{line_of(other)}]")


def test_an_output_type_called_as_an_input_type(jobs):
    first, second = two("Point"), two("PointInput")

    @jobs.query
    def one(a: first) -> second: ...  # type: ignore[valid-type]

    assert "there is a different one of that name already" in refused(jobs)


# SDL


def extended(jobs, text, *bindables):
    jobs.extend(type_defs=text, bindables=bindables)
    return inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]


MUTATION = MutationType()


@MUTATION.field("ping2")
def ping2(*_, **arguments):
    return "pong"


def taken():
    found = MutationType()
    found.set_field("acquireJob", ping2)
    return found


def unknown():
    found = MutationType()
    found.set_field("ping3", ping2)
    return found


@pytest.mark.parametrize(
    "text, bindables, part",
    [
        ("extend type Mutation { ping2: String", [MUTATION], "line 1 of its type_defs is no SDL: Syntax Error"),
        ("\n\nextend type Mutation { ping2: }", [MUTATION], "line 3 of its type_defs is no SDL"),
        (
            "extend type Mutation { ping2: String }",
            [],
            "Mutation.ping2 (extend, line 1 of its type_defs): has no resolver",
        ),
        (
            "type A { a: Int }\nextend type Query { a: A }",
            [],
            "Query.a (extend, line 2 of its type_defs): has no resolver",
        ),
        ("type Mutation { ping2: String }", [MUTATION], "write `extend type Mutation`: it is there already"),
        (
            "extend type Mutation { ping2: Strin }",
            [MUTATION],
            "Mutation.ping2 (extend, line 1 of its type_defs): there is no type Strin",
        ),
        ("extend type Mutation { ping2(a: [A!]!): String }", [MUTATION], "there is no type A"),
        ("extend type Nobody { a: Int }", [], "there is no type Nobody"),
        ("extend type Mutation { acquireJob: Int }", [], "there are two fields of that name: gnj's own is the other"),
        (
            "extend type job { id: Int }",
            [],
            "job.id (extend, line 1 of its type_defs): there are two fields of that name",
        ),
        ("extend type job { size: Int }", [], "job.size (extend): has no resolver"),
        ("extend input jobInput { size: Int }", [], "jobInput is gnj's own and takes what it takes"),
        ("extend scalar Date @x\ndirective @x on SCALAR", [], "Date is gnj's own"),
        ("type job { id: Int }", [], "there are two types of that name: gnj's own is the other"),
        (
            "type A { a: Int }\ntype A { a: Int }",
            [],
            "there are two types of that name: that of extend, line 1 of its type_defs",
        ),
        ("schema { query: Query }", [], "types and their extensions are all it may have"),
        ("query { job { id } }", [], "types and their extensions are all it may have"),
        ("extend type Mutation { ping2: jobInput }", [MUTATION], "the schema is not valid"),
        ("extend type Mutation { ping2(a: job): Int }", [MUTATION], "the schema is not valid"),
        ("input A { a: A! }\nextend type Mutation { ping2(a: A): Int }", [MUTATION], "the schema is not valid"),
        ("", [taken()], "Mutation.acquireJob (ping2): has two resolvers: gnj's own is the other"),
        ("", [unknown()], "MutationType cannot be bound: Field ping3 is not defined on type Mutation"),
        ("", [ObjectType("Nobody")], "ObjectType cannot be bound: Type Nobody is not defined"),
        ("", [ScalarType("Date")], "ScalarType('Date') would take the place of gnj's own"),
        ("", [InputType("jobInput")], "InputType('jobInput') would take the place of gnj's own"),
        ("union A = B\ntype B { b: Int }", [], "A (extend): nothing says of which type a value is"),
        ("union A = B\ntype B { b: Int }", [UnionType("A")], "A (extend): nothing says of which type a value is"),
        ("extend type Subscription { ticks: Int }", [], "has no source: bind a generator"),
        ("", [EnumType("Nobody", {"A": 1})], "EnumType cannot be bound"),
        ("", [3], "cannot be bound"),
    ],
)
def test_sdl(jobs, text, bindables, part):
    here = extended(jobs, text, *bindables)
    message = refused(jobs)
    assert part in message
    assert message.endswith((f"[{HERE}:{here}]", f"[{HERE}:{line_of(ping2)}]"))


@pytest.mark.parametrize("root", ["Mutation", "Subscription"])
def test_a_root_below_a_query(jobs, root):
    """GET runs queries, whatever page sends it there."""
    jobs.extend(f"type Way {{ into: [{root}!] }}")
    assert f"Way.into (extend, line 1 of its type_defs): {root} is a root, and no type of a field" in refused(jobs)


def test_two_sdl_resolvers_for_one_field(jobs):
    def other(*_): ...

    second = MutationType()
    second.set_field("ping2", other)
    extended(jobs, "extend type Mutation { ping2: String }", MUTATION)
    extended(jobs, "", second)
    assert refused(jobs) == (
        "Mutation.ping2 (test_two_sdl_resolvers_for_one_field.<locals>.other): has two resolvers: "
        f"ping2 [{HERE}:{line_of(ping2)}] is the other [{HERE}:{line_of(other)}]"
    )


def test_a_resolver_for_the_field_of_a_function(jobs):
    @jobs.mutation(name="ping2")
    def mine() -> str:
        return ""

    extended(jobs, "", MUTATION)
    assert f"mine [{HERE}:{line_of(mine)}] is the other" in refused(jobs)


def test_the_fields_of_one_extension_by_two_bindables(jobs, call):
    query = QueryType()
    query.set_field("a", lambda *_: 1)
    extended(jobs, "extend type Mutation { ping2: String } extend type Query { a: Int }", MUTATION, query, MUTATION)
    assert (call("{ a }"), call("mutation { ping2 }")) == (1, "pong")


def test_a_stream_whose_events_are_resolved_asynchronously(jobs):
    subscription = SubscriptionType()

    async def source(*_):
        yield 1

    async def resolve(value, _info):
        return value

    subscription.set_source("ticks", source)
    subscription.set_field("ticks", resolve)
    extended(jobs, "extend type Subscription { ticks: Int }", subscription)
    assert "Subscription.ticks (test_a_stream_whose" in refused(jobs)


def test_an_unknown_field_of_a_mapping_and_of_a_function_is_told_with_its_own_place(jobs):
    def resolve(source, args, context): ...

    def error(operation):
        return refused(gnj.GNJ("memory://", custom_mutations={"mine": operation}))

    place = f"[{HERE}:{line_of(resolve)}]"
    for operation, part in (
        (gnj.Operation(type="Strin", resolve=resolve), "there is no type Strin"),
        (gnj.Operation(type="[String", resolve=resolve), "the result is '[String', which is no type of GraphQL"),
        (gnj.Operation(type="Int", args={"a": "Int)"}, resolve=resolve), "the type of a is 'Int)'"),
        (gnj.Operation(type="Int", args={"a b": "Int"}, resolve=resolve), "a name is none that GraphQL takes"),
        (gnj.Operation(type="Int", args={"a": "job"}, resolve=resolve), "the schema is not valid"),
        (gnj.Operation(type="Int", resolve=resolve, action="x"), "action must be one of"),
        (gnj.Operation(type="Int", resolve=resolve, transaction="x"), "transaction must be one of"),
    ):
        message = error(operation)
        assert part in message
        assert message.endswith(place)
    clash = gnj.GNJ("memory://", custom_mutations={"acquireJob": gnj.Operation(type="Int", resolve=resolve)})
    assert "there are two fields of that name: gnj's own is the other" in refused(clash)


def test_subscriptions(jobs):
    def plain() -> Iterator[int]: ...
    def one() -> int:
        yield 1

    async def tx(tx: gnj.AsyncTransaction) -> AsyncIterator[int]:
        yield 1

    for fn, part in (
        (plain, "must come from a generator"),
        (one, "must be annotated AsyncIterator"),
        (tx, "a subscription has none"),
    ):
        made = gnj.GNJ("memory://")
        made.subscription(fn)
        assert part in refused(made)


def test_what_comes_too_late(jobs):
    _ = jobs.schema
    for register in (
        lambda: jobs.mutation(custom),
        lambda: jobs.query(name="x"),
        lambda: jobs.subscription(custom),
        lambda: jobs.extend("extend type Query { a: Int }"),
    ):
        with pytest.raises(gnj.SchemaFrozen, match="register before mounting"):
            register()


def test_parts_of_the_schema_freeze_it_too(jobs):
    jobs.schema_parts()
    with pytest.raises(gnj.SchemaFrozen):
        jobs.mutation(custom)


def test_mounting_builds_the_schema(jobs):
    jobs.mutation(no_annotation)
    with pytest.raises(gnj.SchemaError):
        jobs.routes()


def test_async_operations_need_an_event_loop(jobs):
    @jobs.mutation
    async def later() -> None: ...

    assert jobs.routes()
    with pytest.raises(gnj.SchemaError) as error:
        jobs.routes(asynchronous=False)
    assert str(error.value) == (
        "Mutation.later (test_async_operations_need_an_event_loop.<locals>.later): is async, and under WSGI there is no "
        f"event loop: make it a plain function [{HERE}:{line_of(later)}]"
    )
    assert jobs.routes(["health"], asynchronous=False)


def test_a_wsgi_application_refuses_them(jobs):
    @jobs.mutation
    async def later() -> None: ...

    with pytest.raises(gnj.SchemaError, match="under WSGI there is no event loop"):
        jobs.wsgi_app()


def test_async_resolvers_of_the_other_doors_as_well():
    async def resolve(source: Any, args: Any, context: Any) -> int:
        return 1

    mapped = gnj.GNJ("memory://", custom_mutations={"a": gnj.Operation(type="Int", resolve=resolve)})
    with pytest.raises(gnj.SchemaError, match=r"Mutation\.a"):
        mapped.routes(asynchronous=False)
    query = QueryType()
    query.set_field("a", resolve)
    extended_ = gnj.GNJ("memory://")
    extended_.extend("extend type Query { a: Int }", [query])
    with pytest.raises(gnj.SchemaError, match=r"Query\.a"):
        extended_.routes(asynchronous=False)
