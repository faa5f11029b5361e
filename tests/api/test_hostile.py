"""Every argument of every operation with values nobody should send: a precise error, nothing changed, and on it goes.

The operations and their arguments are read from the schema, so that a new one is tried as soon as it is there.
"""

from __future__ import annotations

from typing import Any

import pytest
from graphql import GraphQLInputObjectType, GraphQLNonNull, get_named_type, is_list_type, is_non_null_type

from gnj.api.jobs import build_schema

SCHEMA: Any = build_schema()
HUGE = "x" * 20_000
DEEP: list[object] = []
for _ in range(70):
    DEEP = [DEEP]

# values by the scalar they are sent for; the first group no argument of that type takes
WRONG = {
    "Int": ["1", 1.5, True, {}, [[1]], 2**31, -(2**31) - 1, 2**70, "\0"],
    "String": [1, 1.5, False, {}, [["x"]]],
    "Boolean": ["true", 0, 1.0, {}, [[True]]],
    "Float": ["1.5", True, {}, [[1.5]]],
    "Date": ["rubbish", "", True, {}, [["2020-01-01"]], "2020-13-45", -1, 10**18, "\0"],
    "SequelizeJSON": ["x", "{", "NaN", "\0", "\ud800", {"a": "\0"}, {"\0": 1}, {"a": "\ud800"}, 2**70, DEEP],
}
ODD = {
    "Int": [None, 0, -1, 2**31 - 1, -(2**31)],
    "String": [None, "", " ", "\0", "\ud800", "a\nb", HUGE, "'; DROP TABLE gnj_job; --", "%", "é𝄞"],
    "Boolean": [None],
    "Float": [None, 0, -1, 1e308, 2**53],
    "Date": [None, 0, "2020-01-01", "9999-12-31T23:59:59Z"],
    "SequelizeJSON": [None, 0, -1.5, True, [], {}, '""', {"": ""}, {"and": {}}, {"id": {"nope": 1}}, [HUGE], [1, [2]]],
}


def arguments(field):
    """Each argument, and each field of each input object: (path, type)."""
    for argument, definition in field.args.items():
        yield (argument,), definition.type
        kind = get_named_type(definition.type)
        if isinstance(kind, GraphQLInputObjectType):
            for key, inner in kind.fields.items():
                yield (argument, key), inner.type


ARGUMENTS = {
    (root.name, name): list(arguments(field))
    for root in (SCHEMA.query_type, SCHEMA.mutation_type)
    for name, field in root.fields.items()
}
ROOTS = list(ARGUMENTS)


def example(kind):
    """A value that the type takes."""
    if is_non_null_type(kind):
        kind = kind.of_type
    if is_list_type(kind):
        return [example(kind.of_type)]
    name = get_named_type(kind).name
    if isinstance(kind, GraphQLInputObjectType):
        given = {key: example(field.type) for key, field in kind.fields.items() if is_non_null_type(field.type)}
        return {"type": "mail", **given} if name == "jobInput" else given
    return {"Int": 1, "String": "mail", "SequelizeJSON": {}, "Float": 1.5, "Boolean": True, "Date": "2020-01-01"}[name]


def operation(root, name):
    field = SCHEMA.type_map[root].fields[name]
    kind: Any = get_named_type(field.type)
    declared = ", ".join(f"${argument}: {definition.type}" for argument, definition in field.args.items())
    passed = ", ".join(f"{argument}: ${argument}" for argument in field.args)
    fields = " { __typename }" if hasattr(kind, "fields") else ""
    if not passed:
        return f"{root.lower()} {{ {name}{fields} }}", {}
    text = f"{root.lower()}({declared}) {{ {name}({passed}){fields} }}"
    given = {arg: example(d.type) for arg, d in field.args.items() if isinstance(d.type, GraphQLNonNull)}
    return text, given


def placed(given, path, kind, value):
    """`given` with `value` at the path; in a list where the type is one."""
    bare = kind.of_type if is_non_null_type(kind) else kind
    value = [value] if is_list_type(bare) else value
    if len(path) == 1:
        return {**given, path[0]: value}
    outer = given.get(path[0], {})
    inner = outer[0] if isinstance(outer, list) else outer
    inner = {**inner, path[1]: value}
    return {**given, path[0]: [inner] if isinstance(outer, list) else inner}


def values(kind, table):
    named = get_named_type(kind)
    if isinstance(named, GraphQLInputObjectType):
        return [1, "x", [[]], {"nope": 1}, {"a": {"b": 1}}] if table is WRONG else [None, {}]
    return table[named.name]


class Sender:
    """Sends operations, and holds their errors to what every error must be."""

    def __init__(self, api):
        self.api = api
        self.rows = api.rows()

    def errors(self, text, given):
        body = self.api.run(text, **given)
        errors = body.get("errors", [])
        for error in errors:
            assert error["message"] != "Internal error", (given, error)
            assert error["extensions"]["code"] != "INTERNAL_SERVER_ERROR"
            assert len(error["message"]) < 700
        rows = self.api.rows()
        assert not errors or rows == self.rows
        self.rows = rows
        return errors


@pytest.fixture
def sender(api):
    """The API with a row of each kind that has the id 1; after all that was sent to it, it still answers."""
    api.get('mutation { pipelineCreate(pipeline: {name: "p"}) { id } }')
    api.get("mutation { batchCreate(batch: {pipelineId: 1}) { id } }")
    api.create()
    yield Sender(api)
    assert api.run("{ jobCount }").keys() == {"data"}


@pytest.mark.parametrize("api", ["memory"], indirect=True)  # they do not come as far as the storage
@pytest.mark.parametrize("root, name", ROOTS)
def test_values_of_another_type_are_refused(sender, root, name):
    text, given = operation(root, name)
    for path, kind in ARGUMENTS[root, name]:
        for value in values(kind, WRONG):
            errors = sender.errors(text, placed(given, path, kind, value))
            assert errors, (path, value)
            if path == ("limit",) and "asks for more than 20,000 rows" in errors[0]["message"]:
                continue
            assert {error["extensions"]["code"] for error in errors} == {"BAD_USER_INPUT"}
            assert f'Variable "${path[0]}"' in errors[0]["message"]


@pytest.mark.slow_on("memory")
@pytest.mark.parametrize("root, name", ROOTS)
def test_odd_values_are_taken_or_refused_with_a_reason(sender, root, name):
    text, given = operation(root, name)
    for path, kind in ARGUMENTS[root, name]:
        for value in values(kind, ODD):
            sender.errors(text, placed(given, path, kind, value))


@pytest.mark.parametrize("api", ["memory"], indirect=True)
@pytest.mark.parametrize("root, name", ROOTS)
def test_unknown_and_missing_arguments_are_refused(sender, root, name):
    text, given = operation(root, name)
    unknown = (
        text.replace(f"{name}(", f"{name}(nope: 1, ")
        if given or "(" in text
        else text.replace(name, f"{name}(nope: 1)")
    )
    errors = sender.errors(unknown, given)
    assert errors[0]["message"].startswith(f'Unknown argument "nope" on field "{root}.{name}".')
    for missing in given:
        errors = sender.errors(text, {key: value for key, value in given.items() if key != missing})
        kind = SCHEMA.type_map[root].fields[name].args[missing].type
        assert errors[0]["message"] == f'Variable "${missing}" of required type "{kind}" was not provided.'
        bare = f"{'query' if root == 'Query' else 'mutation'} {{ {name}{'' if name.endswith('Count') else ' { __typename }'} }}"
        errors = sender.errors(bare, {})
        found = {error["message"] for error in errors}
        assert f'Field "{name}" argument "{missing}" of type "{kind}" is required, but it was not provided.' in found


def test_unknown_fields_are_refused(sender):
    for text in ("{ job { x } }", 'mutation { jobCreate(job: {type: "a"}) { x } }', "{ job { batch { jobs { x } } } }"):
        errors = sender.errors(text, {})
        assert errors[0]["message"] == 'Cannot query field "x" on type "job".'
        assert errors[0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
