"""Operations made from the schema: each root field, with the ids of somebody else in every place that takes one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLInputObjectType, GraphQLNonNull, get_named_type, is_list_type, is_non_null_type

from gnj.api.jobs import build_schema

SCHEMA: Any = build_schema()
MISSING = 2_000_000_000
"""An id that no row has."""
POINTS_TO = {"batchId": "batch", "pipelineId": "pipeline", "jobId": "job", "retryOfJobId": "job"}
"""Which kind of row an attribute names."""
BASES: dict[str, dict[str, Any]] = {
    "pipelineStepCreate": {"pipelineStep": {"pipelineId": "own pipeline", "jobId": "own job", "index": 7}},
    "jobCreate": {"job": {"type": "own"}},
    "jobCreateMany": {"jobs": [{"type": "own"}]},
    "jobHoldTypeCreate": {"jobHoldType": {"type": "own"}},
    "recurringJobCreate": {"recurringJob": {"name": "own", "cron": "0 3 * * *", "job": {"type": "own"}}},
    "acquireJobs": {"typeList": ["own"], "limit": 5},
}
"""What some fields need to be given as well; a text that begins with "own " stands for a row of the caller's."""
EDITS: dict[str, list[dict[str, Any]]] = {
    "job": [
        {"name": "stolen"},
        {"status": "cancelled"},
        {"status": "queued"},
        {"attempt": 1, "status": "successful", "output": {"stolen": 1}},
    ],
    "batch": [{"status": "failed"}, {"pipelineId": "own pipeline"}],
    "pipeline": [{"name": "stolen"}, {"status": "failed"}],
    "pipelineStep": [{"index": 9}, {"jobId": "own job"}],
    "jobHoldType": [{"type": "stolen"}],
    "recurringJob": [{"name": "stolen"}, {"paused": True}, {"cron": "0 4 * * *"}],
    "outcome": [{"output": {"stolen": 1}}],
    "claim": [{}],
}
"""What is changed of a row, by its kind: the name of its input type."""


@dataclass(frozen=True)
class Attack:
    """One operation; `given` holds `Id`s, and texts that begin with "own "."""

    field: str
    given: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.field} {self.given}"


@dataclass(frozen=True)
class Id:
    """Stands for the id of a row of somebody else: of each row of that kind in turn."""

    kind: str


def root_fields(root: str) -> dict[str, Any]:
    kind = getattr(SCHEMA, f"{root}_type")
    return {} if kind is None else dict(kind.fields)


def text_of(root: str, name: str) -> str:
    """The operation with every argument as a variable, and all that can be selected."""
    field = root_fields(root)[name]
    declared = ", ".join(f"${argument}: {definition.type}" for argument, definition in field.args.items())
    passed = ", ".join(f"{argument}: ${argument}" for argument in field.args)
    inner = f"{name}({passed})" if passed else name
    return f"{root} {f'({declared})' if declared else ''} {{ {inner}{selection(field.type, 2)} }}"


def selection(type: Any, levels: int) -> str:
    """Everything that a row says of itself and of what it leads to."""
    kind: Any = get_named_type(type)
    if not hasattr(kind, "fields"):
        return ""
    parts = ["__typename"]
    for name, field in kind.fields.items():
        if not hasattr(get_named_type(field.type), "fields"):
            parts.append(name)
        elif levels > 1:
            parts.append(name + selection(field.type, levels - 1))
    return f" {{ {' '.join(parts)} }}"


def mutations() -> Iterator[Attack]:
    """Every mutation with a foreign id in each place."""
    for name, field in root_fields("mutation").items():
        base = BASES.get(name, {argument: example(d.type) for argument, d in field.args.items() if required(d.type)})
        for argument, definition in field.args.items():
            kind = get_named_type(definition.type)
            if isinstance(kind, GraphQLInputObjectType):
                for value in inputs(name, kind):
                    given = {**first(base.get(argument)), **value}
                    yield Attack(name, {**base, argument: [given] if listed(definition.type) else given})
            elif argument == "id":
                yield Attack(name, {**base, "id": Id(kind_of(field))})
            elif argument.endswith("Id") and kind.name == "Int":
                yield Attack(name, {**base, argument: Id(POINTS_TO[argument])})
        if "typeList" in field.args:
            given = {argument: value for argument, value in base.items() if argument != "id"}
            yield Attack(name, {**given, "typeList": ["secret type"]})


def queries() -> Iterator[Attack]:
    """Every query in every way that could reach further."""
    for name, field in root_fields("query").items():
        yield Attack(name, {})
        if "where" not in field.args:
            continue
        of = name.removesuffix("Count")
        if "id" in field.args:
            yield Attack(name, {"id": Id(of)})
            yield Attack(name, {"where": {"id": Id(of)}})
            yield Attack(name, {"where": {"or": [{"id": {"in": [Id(of)]}}, {"id": {"gt": 0}}]}})
        yield Attack(name, {"where": {"not": {"createdAt": {"lt": "2000-01-01T00:00:00Z"}}}})
        yield Attack(name, {"order": "reverse:createdAt", "limit": 100})
        shape = SCHEMA.type_map.get(of)
        for key in getattr(shape, "fields", {}):
            if key in POINTS_TO:
                yield Attack(name, {"where": {key: Id(POINTS_TO[key])}})
                if key != "retryOfJobId":
                    yield Attack(name, {"order": f"{POINTS_TO[key]}.createdAt"})


def inputs(name: str, kind: Any) -> Iterator[dict[str, Any]]:
    """Values of an input object that name rows of somebody else."""
    of = kind.name.removesuffix("Input")
    creates = "Create" in name
    if "id" in kind.fields and not creates:
        target = of if of in SCHEMA.type_map else "job"
        rest = {key: example(f.type) for key, f in kind.fields.items() if required(f.type) and key != "id"}
        for edit in EDITS[of]:
            yield {**rest, "id": Id(target), **edit}
        for key in kind.fields:
            if key in POINTS_TO:
                yield {**rest, "id": f"own {of}", key: Id(POINTS_TO[key])}
    for key, field in kind.fields.items():
        if creates and key.endswith("Id") and get_named_type(field.type).name == "Int":
            yield {key: Id(POINTS_TO[key])}
    if "jobUniqueId" in kind.fields:
        yield {"jobUniqueId": "secret key"} if creates else {"id": "own job", "jobUniqueId": "secret key"}
    nested = {key: get_named_type(f.type).name.removesuffix("Input") for key, f in kind.fields.items()}
    for key, inner in nested.items():
        if isinstance(get_named_type(kind.fields[key].type), GraphQLInputObjectType):
            row = {"id": Id(inner)}
            yield {
                **({} if creates else {"id": f"own {of}"}),
                key: [row] if listed(kind.fields[key].type) else row,
            }


def kind_of(field: Any) -> str:
    name = str(get_named_type(field.type).name)
    return "job" if name == "jobUpdateResult" else name


def required(type: Any) -> bool:
    return isinstance(type, GraphQLNonNull)


def listed(type: Any) -> bool:
    return is_list_type(type.of_type if is_non_null_type(type) else type)


def first(value: Any) -> dict[str, Any]:
    return value[0] if isinstance(value, list) else value or {}


def example(type: Any) -> Any:
    bare = type.of_type if is_non_null_type(type) else type
    if is_list_type(bare):
        return [example(bare.of_type)]
    name = get_named_type(bare).name
    if isinstance(get_named_type(bare), GraphQLInputObjectType):
        return {key: example(f.type) for key, f in get_named_type(bare).fields.items() if required(f.type)}
    return {"Int": 1, "String": "successful", "SequelizeJSON": {"stolen": 1}, "Float": 1.0, "Boolean": True}[name]


def filled(value: Any, ids: dict[str, int], own: dict[str, int]) -> Any:
    """`value` with ids in the places of what stands for them."""
    if isinstance(value, Id):
        return ids[value.kind]
    if isinstance(value, str) and value.startswith("own "):
        return own[value.removeprefix("own ")]
    if isinstance(value, dict):
        return {key: filled(item, ids, own) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, ids, own) for item in value]
    return value


def foreign(value: Any) -> set[str]:
    """The kinds of rows that stand for themselves in `value`."""
    if isinstance(value, Id):
        return {value.kind}
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {kind for item in items for kind in foreign(item)}
