from __future__ import annotations

import pytest
from graphql import get_introspection_query, parse

from gnj.graphql.errors import Stage
from gnj.graphql.limits import Limits
from gnj.graphql.rules import Rules, operations
from tests.graphql import toy


@pytest.fixture(scope="module")
def engine():
    return toy.engine()


@pytest.fixture(scope="module")
def schema():
    return toy.schema()


def refusal(engine, query, variables=None):
    outcome = engine.execute(query, variables)
    assert "data" not in outcome.body, outcome.body
    assert outcome.stage in (Stage.VALIDATE, Stage.PARSE)
    return outcome.body["errors"][0]["message"]


def runs(engine, query, variables=None):
    outcome = engine.execute(query, variables)
    assert outcome.stage is Stage.EXECUTE, outcome.body
    assert "errors" not in outcome.body
    return outcome.body["data"]


def chain(length: int, spread: str, last: str, on: str = "box") -> str:
    """Fragments f0 … that each spread the next one twice, in different ways."""
    links = [f"fragment f{n} on {on} {{{spread.replace('NEXT', f'f{n + 1}')}}}" for n in range(length)]
    return " ".join([*links, f"fragment f{length} on {on} {{{last}}}"])


def test_tokens_and_characters(engine):
    assert "more than 2000 tokens" in refusal(engine, "{" + "n " * 2_001 + "}")
    assert "more than 2000 tokens" in refusal(engine, "{n " + "#\n" * 2_001 + "}")
    assert "102,400 characters" in refusal(engine, "{n}" + " " * 102_400)
    assert runs(engine, "{n}" + " " * 102_300) == {"n": None}


def test_depth(engine):
    deep = "{one(id: 1) {" + "boxes {" * 10 + "id" + "}" * 10 + "}}"
    assert "more than 12 levels" not in refusal(engine, deep)  # twelve levels are allowed, but not 10^10 rows
    flat = "{one(id: 1) " + "{shelf {box " * 5 + "{id}" + "}}" * 5 + "}"
    assert runs(engine, flat)
    deeper = "{one(id: 1) " + "{shelf {box " * 5 + "{shelf {id}}" + "}}" * 5 + "}"
    assert "more than 12 levels of fields" in refusal(engine, deeper)


def test_depth_counts_through_fragments(engine):
    query = "{one(id: 1) {...f0}} " + chain(11, "shelf {box {...NEXT}}", "id")
    assert "more than 12 levels of fields" in refusal(engine, query)


def test_the_introspection_query_of_explorers_passes_but_not_a_deeper_one(engine):
    assert runs(engine, get_introspection_query())
    type_ = "{name " + "ofType {" * 12 + "name" + "}" * 12 + "}"
    assert "levels of introspection" in refusal(engine, "{__schema {types " + "{fields {type " + type_ + "}}}}")


def test_aliases_1000(engine):
    assert "more than 30 aliases" in refusal(engine, "{" + " ".join(f"a{n}: n" for n in range(499)) + "}")
    assert "more than 2000 tokens" in refusal(engine, "{" + " ".join(f"a{n}: n" for n in range(1_000)) + "}")
    nested = "{one(id: 1) {" + " ".join(f"a{n}: id" for n in range(31)) + "}}"
    assert "more than 30 aliases" in refusal(engine, nested)
    assert len(runs(engine, "{one(id: 1) {" + " ".join(f"a{n}: id" for n in range(30)) + "}}")["one"]) == 30


def test_aliases_split_over_fragments(engine):
    fragments = " ".join(
        f"fragment f{n} on box {{" + " ".join(f"a{n}_{m}: id" for m in range(10)) + "}" for n in range(4)
    )
    assert "more than 30 aliases" in refusal(engine, "{one(id: 1) {...f0 ...f1 ...f2 ...f3}} " + fragments)


@pytest.mark.parametrize(
    "spread, last, why",
    [
        ("...NEXT ...NEXT", "a: id", "aliases"),
        ("...NEXT ...NEXT", "id @include(if: true)", "directives"),
        ("shelf {box {...NEXT}} boxes {...NEXT}", "id", "levels"),
        ("a: shelf {box {...NEXT}} b: shelf {box {...NEXT}}", "id", "levels"),
    ],
)
def test_2_to_the_25_by_fragments(engine, spread, last, why):
    assert why in refusal(engine, "{one(id: 1) {...f0}} " + chain(25, spread, last))


def test_2_to_the_25_root_fields(engine):
    assert "root fields" in refusal(engine, "{...f0} " + chain(25, "...NEXT ...NEXT", "n", on="Query"))


def test_the_same_fields_spread_2_to_the_25_times_are_one_field_and_cheap(engine):
    # were each spread walked, the test would not end
    assert engine.execute("{one(id: 1) {...f0}} " + chain(25, "...NEXT ...NEXT", "id")).stage is Stage.EXECUTE


@pytest.mark.parametrize("length", [100, 200, 240])
def test_fragments_hundreds_deep_are_no_crash(engine, length):
    outcome = engine.execute("{one(id: 1) {...f0}} " + chain(length, "...NEXT", "id"))
    assert outcome.stage in (Stage.VALIDATE, Stage.EXECUTE)


def test_fragments_in_a_circle_are_refused(engine):
    assert "within itself" in refusal(engine, "{one(id: 1) {...a}} fragment a on box {...b} fragment b on box {...a}")
    assert "within itself" in refusal(engine, "{one(id: 1) {...a}} fragment a on box {shelf {box {...a}}}")


def test_root_fields(engine):
    assert "more than 20 root fields in a query" in refusal(engine, "{" + "n " * 21 + "}")
    assert runs(engine, "{" + "n " * 20 + "}")
    assert "more than 10 root fields in a mutation" in refusal(engine, "mutation {" + "down(n: 1) {id} " * 11 + "}")
    assert runs(engine, "mutation {" + " ".join(f"a{n}: down(n: 1) {{id}}" for n in range(10)) + "}")


def test_directives(engine):
    assert "more than 50 directives" in refusal(engine, "{n " + "@nope " * 51 + "}")
    assert "more than 50 directives" in refusal(engine, "query " + "@nope " * 51 + "{n}")


@pytest.mark.parametrize(
    "query, variables, rows",
    [
        ("{n}", {}, 0),
        ("{one(id: 1) {id}}", {}, 1),
        ("{box {id label}}", {}, 10),
        ("{box(limit: 100) {id}}", {}, 100),
        ("{box(limit: 100) {shelf {id}}}", {}, 200),
        ("{box(limit: 100) {boxes {id}}}", {}, 1_100),
        ("{box(limit: 100) {boxes(limit: 3) {shelf {id}}}}", {}, 100 * (1 + 3 * 2)),
        ("{box(limit: -5) {id}}", {}, 0),
        ("query($l: Int) {box(limit: $l) {id}}", {"l": 70}, 70),
        ("query($l: Int) {box(limit: $l) {id}}", {"l": None}, 10),
        ("query($l: Int) {box(limit: $l) {id}}", {}, 10),
        ("query($l: Int = 30) {box(limit: $l) {boxes(limit: $l) {id}}}", {}, 30 * 31),
        ("query($l: Int = 30) {box(limit: $l) {boxes(limit: $l) {id}}}", {"l": 2}, 2 * 3),
        ("query($l: Int) {one(id: 1) {...f ...f}} fragment f on box {boxes(limit: $l) {id}}", {"l": 7}, 15),
        ("{__schema {types {fields {args {name}}}}}", {}, 4),
    ],
)
def test_rows_are_counted(schema, query, variables, rows):
    (operation,) = operations(schema, parse(query), Rules()).values()
    assert operation.rows.count(variables) == rows


def test_too_many_rows_are_refused(engine):
    assert "more than 20,000 rows" in refusal(engine, "{box(limit: 1000) {boxes(limit: 1000) {id}}}")
    assert "more than 20,000 rows" in refusal(engine, "{box(limit: 99999999999999999999999) {id}}")
    assert runs(engine, "{box(limit: 10000) {id}}")


def test_rows_that_depend_on_variables_are_refused_per_request(engine):
    query = "query($l: Int) {box(limit: $l) {boxes(limit: $l) {id}}}"
    assert runs(engine, query, {"l": 100})
    assert "more than 20,000 rows" in refusal(engine, query, {"l": 1_000})
    assert runs(engine, query, {"l": 100})


def test_rows_of_nested_fragments_with_variables_are_counted_in_linear_time(engine):
    spread = "boxes(limit: $l) {...NEXT} shelf {boxes(limit: $l) {...NEXT}}"
    query = "query($l: Int) {one(id: 1) {...f0}} " + chain(5, spread, "id")
    assert "more than 20,000 rows" in refusal(engine, query, {"l": 10_000})


def test_limits_can_be_set():
    assert "more than 3 root fields" in refusal(toy.engine(root_fields=3), "{n n n n}")


@pytest.mark.parametrize(
    "variables, refused",
    [
        ({"types": ["a"] * 10_000}, False),
        ({"types": ["a"] * 10_001}, True),
        ({"types": "a", "unknown": [1] * 20_000}, False),
    ],
)
def test_lists_in_variables_are_counted_before_they_are_coerced(engine, variables, refused):
    outcome = engine.execute("mutation ($types: [String!]!) { take(typeList: $types) { id } }", variables)
    assert ("errors" in outcome.body) is refused
    if refused:
        assert outcome.body["errors"][0]["message"] == "The variables must not have more than 10,000 items in lists."


def test_a_json_value_may_hold_long_lists(engine):
    outcome = engine.execute("query ($v: SequelizeJSON) { json(value: $v) }", {"v": {"k": [0] * 20_000}})
    assert outcome.body["data"]["json"] == {"k": [0] * 20_000}


def test_the_defaults_are_those_of_the_security_page():
    limits = Limits()
    assert (limits.max_body, limits.max_headers, limits.max_url, limits.body_seconds) == (10 * 2**20, 16_384, 8_192, 10)
    assert (limits.characters, limits.tokens, limits.depth, limits.introspection_depth) == (102_400, 2_000, 12, 15)
    assert (limits.aliases, limits.root_fields, limits.root_mutations, limits.directives) == (30, 20, 10, 50)
    assert (limits.validation_errors, limits.rows, limits.echo) == (5, 20_000, 200)
