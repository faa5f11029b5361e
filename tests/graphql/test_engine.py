from __future__ import annotations

import logging
import time

import pytest
from graphql import GraphQLError, build_schema, get_introspection_query

from gnj.graphql.engine import Document, Engine, Outcome
from gnj.graphql.errors import Stage
from gnj.queue.errors import SchemaError
from tests.graphql import toy


@pytest.fixture(scope="module")
def engine():
    return toy.engine()


def first(outcome):
    return outcome.body["errors"][0]


def code(outcome):
    return first(outcome)["extensions"]["code"]


def test_a_query_gives_data_and_no_errors(engine):
    outcome = engine.execute("{one(id: 7) {id label content at}}")
    assert outcome == Outcome(
        {"data": {"one": {"id": 7, "label": "a", "content": {"k": [1, "x"]}, "at": "2024-01-02T03:04:05.678Z"}}},
        Stage.EXECUTE,
    )


def test_variables_operation_name_and_context_reach_the_resolvers(engine):
    query = "query A {n} mutation B($t: [String!]!) {x: take(typeList: $t) {id}}"
    assert engine.execute(query, None, "A", {"n": 5}).body == {"data": {"n": 5}}
    assert engine.execute(query, {"t": ["a"]}, "B").body == {"data": {"x": {"id": 1}}}


# The texts of spec/gnj-graphql.md, section 5, and their like.
@pytest.mark.parametrize(
    "query, variables, stage, message",
    [
        ("{", None, Stage.PARSE, "Syntax Error: Expected Name, found <EOF>."),
        ("{n]", None, Stage.PARSE, 'Syntax Error: Expected Name, found "]".'),
        ("{one(id: 1) {}}", None, Stage.PARSE, 'Syntax Error: Expected Name, found "}".'),
        ("{}", None, Stage.PARSE, 'Syntax Error: Expected Name, found "}".'),
        ("{one(id: 1) {...f}} fragment f on box {}", None, Stage.PARSE, 'Syntax Error: Expected Name, found "}".'),
        ("{box{x}}", None, Stage.VALIDATE, 'Cannot query field "x" on type "box".'),
        (
            "mutation {take {id}}",
            None,
            Stage.VALIDATE,
            'Field "take" argument "typeList" of type "[String!]!" is required, but it was not provided.',
        ),
        (
            "{n @skip}",
            None,
            Stage.VALIDATE,
            'Directive "@skip" argument "if" of type "Boolean!" is required, but it was not provided.',
        ),
        (
            "mutation($typeList: [String!]!) {take(typeList: $typeList) {id}}",
            {},
            Stage.VARIABLES,
            'Variable "$typeList" of required type "[String!]!" was not provided.',
        ),
        (
            "mutation($typeList: [String!]!) {take(typeList: $typeList) {id}}",
            {"typeList": None},
            Stage.VARIABLES,
            'Variable "$typeList" of non-null type "[String!]!" must not be null.',
        ),
        (
            "mutation($t: [String!]!) {take(typeList: $t) {id}}",
            {"t": ["a", None]},
            Stage.VARIABLES,
            'Variable "$t" got invalid value null at "t[1]"; Expected non-nullable type "String!" not to be null.',
        ),
        (
            "query($i: Int!) {one(id: $i) {id}}",
            {"i": "a"},
            Stage.VARIABLES,
            'Variable "$i" got invalid value "a"; Int cannot represent non-integer value: "a"',
        ),
        (
            "query($i: Int!) {one(id: $i) {id}}",
            {"i": 2**31},
            Stage.VARIABLES,
            'Variable "$i" got invalid value 2147483648; Int cannot represent non 32-bit signed integer value: 2147483648',
        ),
        (
            "mutation($b: boxInput!) {put(box: $b) {id}}",
            {"b": {"label": "l", "color": "blue"}},
            Stage.VARIABLES,
            'Variable "$b" got invalid value "blue" at "b.color"; Value "blue" does not exist in "Color" enum.',
        ),
        ("query A {n} query B {n}", None, Stage.OPERATION, "Must provide operation name if query contains multiple operations."),
        ("fragment f on box {id}", None, Stage.VALIDATE, 'Fragment "f" is never used.'),
        ("subscription {ticks}", None, Stage.OPERATION, "A subscription needs a WebSocket or a stream of Server-Sent Events."),
    ],
)  # fmt: skip
def test_refusals_are_worded_as_clients_match_them(engine, query, variables, stage, message):
    outcome = engine.execute(query, variables)
    assert (outcome.stage, first(outcome)["message"]) == (stage, message)
    assert "data" not in outcome.body
    assert (
        code(outcome)
        == {
            Stage.PARSE: "GRAPHQL_PARSE_FAILED",
            Stage.VALIDATE: "GRAPHQL_VALIDATION_FAILED",
            Stage.OPERATION: "OPERATION_RESOLUTION_FAILURE",
            Stage.VARIABLES: "BAD_USER_INPUT",
        }[stage]
    )


def test_an_unknown_operation_is_named_but_a_megabyte_is_not_repeated(engine):
    assert first(engine.execute("query A {n}", None, "B"))["message"] == 'Unknown operation named "B".'
    outcome = engine.execute("query A {n}", None, "B" * 1_000_000)
    assert outcome.stage is Stage.OPERATION
    assert len(first(outcome)["message"]) <= 200


@pytest.mark.parametrize(
    "query, variables",
    [
        ("{" + "x" * 90_000 + "}", None),
        ("{one(id: " + '"' + "y" * 90_000 + '"' + ") {id}}", None),
        ("query($" + "v" * 90_000 + ": Int!) {n}", None),
        ("query($" + "v" * 90_000 + ": Int!) {one(id: $" + "v" * 5 + ") {id}}", None),
        ("query($i: Int!) {one(id: $i) {id}}", {"i": "z" * 900_000}),
        ("mutation($b: boxInput!) {put(box: $b) {id}}", {"b": {"k" * 900_000: 1, "label": ["l" * 900_000]}}),
        ("query($j: SequelizeJSON) {json(value: $j)}", {"j": "z" * 900_000}),
    ],
)
def test_no_message_repeats_more_than_200_characters_of_input(engine, query, variables):
    outcome = engine.execute(query, variables)
    assert outcome.stage is not Stage.EXECUTE
    assert all(len(error["message"]) <= 200 for error in outcome.body["errors"])


def test_at_most_five_errors_are_told(engine):
    outcome = engine.execute("{" + " ".join(f"x{n}" for n in range(19)) + "}")
    assert len(outcome.body["errors"]) == 6
    assert first(outcome)["locations"] == [{"line": 1, "column": 2}]
    outcome = engine.execute("mutation($t: [String!]!) {take(typeList: $t) {id}}", {"t": list(range(1000))})
    assert len(outcome.body["errors"]) == 6


def test_only_queries_when_asked_for(engine):
    assert engine.execute("{n}", queries_only=True).stage is Stage.EXECUTE
    outcome = engine.execute('mutation {take(typeList: ["a"]) {id}}', queries_only=True)
    assert outcome.stage is Stage.METHOD
    assert "data" not in outcome.body


def test_errors_raised_on_purpose_keep_code_and_message(engine):
    outcome = engine.execute('{x: fails(how: "known") n}', context={"n": 3})
    assert outcome.body == {
        "errors": [
            {
                "message": "the label is too long",
                "locations": [{"line": 1, "column": 2}],
                "path": ["x"],
                "extensions": {"code": "INVALID_INPUT"},
            }
        ],
        "data": {"x": None, "n": 3},
    }
    assert code(engine.execute('{fails(how: "busy")}')) == "CONFLICT"


def test_details_of_an_error_stand_beside_its_code(engine):
    assert first(engine.execute('{fails(how: "details")}'))["extensions"] == {
        "position": 3,
        "code": "INVALID_INPUT",
    }


@pytest.mark.parametrize("query", ["{fails}", "{big}", "{strict}", "{one(id: 1) {stale}}", "{later}"])
def test_everything_else_is_masked_and_logged_under_its_id(engine, query, caplog):
    with caplog.at_level(logging.ERROR, logger="gnj.graphql"):
        outcome = engine.execute(query)
    assert outcome.stage is Stage.EXECUTE
    error = first(outcome)
    assert error["message"] == "Internal error"
    assert error["path"]
    assert error["locations"]
    assert set(error["extensions"]) == {"code", "errorId"}
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    (record,) = caplog.records
    assert error["extensions"]["errorId"] in record.getMessage()
    assert record.exc_info
    assert "secret" not in repr(outcome.body)


def test_an_awaitable_is_named_in_the_log_and_closed(engine, caplog):
    engine.execute("{later}")
    assert "a resolver returned an awaitable (coroutine)" in caplog.text


def test_an_async_resolver_is_refused_when_the_engine_is_made():
    schema = toy.schema()

    async def later(_source: object, _info: object) -> int:
        return 1

    assert schema.query_type is not None
    schema.query_type.fields["n"].resolve = later
    with pytest.raises(SchemaError, match=r"The resolver of Query\.n is an async function"):
        Engine(schema)


def test_an_invalid_schema_is_refused_when_the_engine_is_made():
    with pytest.raises(TypeError):
        Engine(build_schema("type NotAQuery {a: Int}"))


def test_a_bad_argument_found_while_executing_is_the_clients_mistake(engine):
    outcome = engine.execute("query($n: Int) {atLeast(n: $n)}", {"n": None})
    assert code(outcome) == "BAD_USER_INPUT"
    assert engine.execute("query($n: Int) {atLeast(n: $n)}").body == {"data": {"atLeast": 5}}


def test_storage_down_is_told_only_when_nothing_was_done(engine):
    assert engine.execute('{fails(how: "down")}').unavailable
    assert engine.execute("mutation {down {id}}").unavailable
    outcome = engine.execute("mutation {a: down(n: 1) {id} b: down {id}}")
    assert not outcome.unavailable
    assert outcome.body["data"] == {"a": {"id": 1}, "b": None}
    assert code(outcome) == "STORAGE_UNAVAILABLE"


def test_a_document_is_parsed_once(engine):
    one, two = engine.document("{n #once\n}"), engine.document("{n #once\n}")
    assert isinstance(one, Document)
    assert one is two
    assert isinstance(engine.document("{nope}"), Outcome)


def test_introspection_can_be_switched_off_and_then_suggests_nothing():
    on, off = toy.engine(), toy.engine(introspection=False)
    assert "__schema" in on.execute(get_introspection_query()).body["data"]
    for query in (
        get_introspection_query(),
        '{__type(name: "box") {name}}',
        "{n ...f} fragment f on Query {__schema {types {name}}}",
    ):
        outcome = off.execute(query)
        assert outcome.stage is Stage.VALIDATE
        assert "Introspection is off" in first(outcome)["message"]
    assert off.execute("{__typename one(id: 1) {__typename}}").body["data"]["one"] == {"__typename": "box"}
    assert "Did you mean" in first(on.execute("{onee}"))["message"]
    for query, variables in (
        ("{onee}", None),
        ("mutation($b: boxInput!) {put(box: $b) {id}}", {"b": {"labl": "x", "color": "redd"}}),
    ):
        assert "Did you mean" not in repr(off.execute(query, variables).body)


def test_no_resolver_sees_what_was_refused():
    schema = toy.schema()
    calls: list[int] = []
    assert schema.query_type is not None
    schema.query_type.fields["n"].resolve = lambda *_: calls.append(1)
    engine = Engine(schema)
    for query in ("{n nope}", "{n one {id}}", "query A {n} query B {n}", "query($x: Int!) {n one(id: $x) {id}}"):
        assert engine.execute(query).stage is not Stage.EXECUTE
    assert calls == []


def test_a_hosts_own_graphql_error_is_masked_too():
    schema = toy.schema()

    def resolve(*_: object) -> None:
        raise GraphQLError("select * from secret")

    assert schema.query_type is not None
    schema.query_type.fields["n"].resolve = resolve
    assert "secret" not in repr(Engine(schema).execute("{n}").body)


def test_deep_variables_of_in_process_callers_are_an_error_not_a_crash(engine):
    value: list[object] = []
    for _ in range(5_000):
        value = [value]
    outcome = engine.execute("query($j: SequelizeJSON) {json(value: $j)}", {"j": value})
    assert outcome.stage is Stage.VARIABLES


def test_the_second_time_is_cheap(engine):
    query = "mutation Cheap($t: [String!]!) {x: take(typeList: $t) {id label content at}}"

    def seconds() -> float:
        start = time.perf_counter()
        assert engine.execute(query, {"t": ["a"]}).stage is Stage.EXECUTE
        return time.perf_counter() - start

    first_time = seconds()
    assert min(seconds() for _ in range(50)) < first_time / 4
