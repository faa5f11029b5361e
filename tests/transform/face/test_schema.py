"""The schema: that of the contract, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema as build
from graphql import print_schema

from gnj.api.transform.face import call
from gnj.api.transform.mutations import MUTATIONS
from gnj.api.transform.queries import QUERIES
from gnj.api.transform.schema import build_schema, sdl, type_defs
from gnj.queue.model_transform import RunStatus
from gnj.transform.sources import SOURCE_TYPES

CONTRACT: Any = build((Path(__file__).parent / "contract.graphql").read_text())
SCHEMA: Any = build_schema()


def shape(schema: Any) -> dict[str, Any]:
    """Types by name: their kinds, values and fields, these with their types and arguments."""
    shapes: dict[str, Any] = {}
    for name, kind in schema.type_map.items():
        if name.startswith("__"):
            continue
        fields = {
            field: (str(each.type), {key: str(argument.type) for key, argument in getattr(each, "args", {}).items()})
            for field, each in getattr(kind, "fields", {}).items()
        }
        shapes[name] = (type(kind).__name__, list(getattr(kind, "values", ())), fields)
    return shapes


def test_it_is_that_of_the_contract():
    ours, theirs = shape(SCHEMA), shape(CONTRACT)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name] == theirs[name], name


def test_it_is_printed_and_read_alike():
    assert print_schema(build(sdl())) == sdl()
    assert shape(build(type_defs())) == shape(SCHEMA)
    assert build_schema() is SCHEMA


def test_every_root_field_has_a_kind_of_action():
    assert {**QUERIES, **MUTATIONS}.keys() == SCHEMA.query_type.fields.keys() | SCHEMA.mutation_type.fields.keys()


def test_source_types_are_those_that_are_taken():
    assert set(SCHEMA.type_map["SourceType"].values) == set(SOURCE_TYPES)


def test_statuses_of_runs_are_told_in_the_schema():
    assert all(status in SCHEMA.type_map["JobRun"].fields["status"].description for status in RunStatus)


def test_a_field_is_resolved_for_a_call_and_nothing_else():
    info: Any = type("Info", (), {"context": {}})
    with pytest.raises(TypeError, match="is a Call, not a dict"):
        call(info)
