"""The schema: everything clients of the original find in it, with the same types; and what cannot be built."""

from __future__ import annotations

import pytest
from ariadne import make_executable_schema
from graphql import GraphQLInputObjectType, GraphQLObjectType, GraphQLSchema

from gnj.api.hooks import Kind
from gnj.api.jobs.roots import RootField, Roots, snake_case
from gnj.graphql.records import Resolvers, refuse_unresolved
from gnj.queue.errors import SchemaError
from tests.api import original

ROOTS = [(type, name) for type, fields in original.ROOTS.items() for name in fields]


def object_type(schema: GraphQLSchema, name: str) -> GraphQLObjectType:
    found = schema.type_map[name]
    assert isinstance(found, GraphQLObjectType)
    return found


@pytest.mark.parametrize("type, name", ROOTS)
def test_root_fields_have_the_arguments_and_types_of_the_original(schema, type, name):
    arguments, gives = original.OWN_ROOTS.get((type, name), original.ROOTS[type][name])
    field = object_type(schema, type).fields[name]
    assert str(field.type) == gives
    own = {key: str(value.type) for key, value in field.args.items()}
    assert original.pairs(arguments, ":").items() <= own.items()
    # what is added may be left out
    added = own.keys() - original.pairs(arguments, ":").keys()
    assert not any(own[key].endswith("!") for key in added)


@pytest.mark.parametrize("type", list(original.COLUMNS))
def test_types_have_the_fields_of_the_original(schema, type):
    own = {name: str(field.type) for name, field in object_type(schema, type).fields.items()}
    columns = original.pairs(original.COLUMNS[type]) | original.pairs(original.OWN_COLUMNS.get(type, ""))
    assert columns.items() <= own.items()
    for name, (arguments, gives) in original.ASSOCIATIONS.get(type, {}).items():
        field = object_type(schema, type).fields[name]
        assert str(field.type) == gives
        assert {key: str(value.type) for key, value in field.args.items()} == original.pairs(arguments, ":")


@pytest.mark.parametrize("type", list(original.INPUTS))
def test_inputs_have_the_fields_of_the_original_all_nullable(schema, type):
    columns, nested = original.INPUTS[type]
    found = schema.type_map[type]
    assert isinstance(found, GraphQLInputObjectType)
    own = {name: str(field.type) for name, field in found.fields.items()}
    expected = {name: kind.rstrip("!") for name, kind in original.pairs(columns).items()}
    assert (expected | original.pairs(nested)).items() <= own.items()
    assert not any(kind.endswith("!") for kind in own.values())


def test_our_fields_of_job_are_nullable(schema):
    ours = (
        "attempt Int, failures Int, stalledCount Int, maxAttempts Int, maxStalled Int, backoff SequelizeJSON, "
        "timeoutSeconds Float, onLost String, leaseExpiresAt Date, workerType String, attempts [jobAttempt!]"
    )
    fields = object_type(schema, "job").fields
    assert original.pairs(ours).items() <= {name: str(field.type) for name, field in fields.items()}.items()
    known = original.pairs(original.JOB).keys() | original.ASSOCIATIONS["job"].keys() | original.pairs(ours).keys()
    assert fields.keys() == known


def test_our_types(schema):
    attempt = object_type(schema, "jobAttempt").fields
    assert {name: str(field.type) for name, field in attempt.items()} == original.pairs(
        "attempt Int!, workerId String, startedAt Date, endedAt Date, error String"
    )
    result = object_type(schema, "jobUpdateResult").fields
    assert {name: str(field.type) for name, field in result.items()} == original.pairs(
        "job job, code String, message String"
    )
    mutation = object_type(schema, "Mutation").fields
    assert {
        name: str(mutation[name].type) for name in ("acquireJobs", "jobCreateMany", "jobUpdateMany", "heartbeats")
    } == {
        "acquireJobs": "[job!]!",
        "jobCreateMany": "[job!]!",
        "jobUpdateMany": "[jobUpdateResult!]!",
        "heartbeats": "[job]!",
    }


def test_the_input_of_a_job_takes_what_is_writable_and_the_fence(schema):
    found = schema.type_map["jobInput"]
    assert isinstance(found, GraphQLInputObjectType)
    ours = found.fields.keys() - original.pairs(original.JOB).keys() - {"batch", "pipeline"}
    assert ours == set("attempt maxAttempts maxStalled backoff timeoutSeconds onLost workerType".split())


@pytest.mark.parametrize("type", ["Mutation", "Subscription"])
def test_every_mutation_and_subscription_is_described(schema, type):
    undescribed = [name for name, field in object_type(schema, type).fields.items() if not field.description]
    assert undescribed == []


TWO_FIELDS = "type Query { a: Int b: Int }"


def root(name: str) -> RootField:
    return RootField(name, Kind.READ, lambda call: 1)


def test_a_field_without_resolver_is_refused():
    schema = make_executable_schema(TWO_FIELDS, Roots("Query", [root("a")]))
    with pytest.raises(SchemaError, match=r"Query\.b has no resolver"):
        refuse_unresolved(schema)


def test_two_resolvers_for_a_field_are_refused():
    with pytest.raises(SchemaError, match=r"Query\.a has two resolvers"):
        Roots("Query", [root("a"), root("a")])
    with pytest.raises(SchemaError, match=r"Query\.a has two resolvers"):
        make_executable_schema(TWO_FIELDS, Roots("Query", [root("a")]), Resolvers("Query", {"a": lambda *_: 2}))


def test_a_resolver_without_field_is_refused():
    with pytest.raises(SchemaError, match=r"resolver for Query\.c, but no such field"):
        make_executable_schema(TWO_FIELDS, Roots("Query", [root("c")]))
    with pytest.raises(SchemaError, match="no object type Nothing"):
        make_executable_schema(TWO_FIELDS, Resolvers("Nothing", {}))


def test_arguments_are_named_as_in_python():
    assert [snake_case(name) for name in ("id", "typeList", "jobHoldType")] == ["id", "type_list", "job_hold_type"]
