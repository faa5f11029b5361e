"""The schema: all that was published is in it, as it was published, and every field of it is resolved."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import build_schema as build
from graphql import print_schema

from gnj.access import Action, Kind, Principal, RequestContext
from gnj.api.content import job_types
from gnj.api.content.face import call_of, resolvers
from gnj.api.content.paging import page
from gnj.api.content.schema import build_schema, sdl, type_defs
from gnj.api.fields import Field
from gnj.content.maker import FIELD, KINDS
from gnj.content.recurring import RecurringStatus
from gnj.queue.errors import InvalidInput
from gnj.queue.model_content import ContentStatus, ContentType, TaskType
from gnj.queue.states import JobStatus
from gnj.queue.works import LEVELS

TYPES = Path(__file__).parent / "seed" / "types"
PUBLISHED: Any = build("\n".join(path.read_text() for path in sorted(TYPES.glob("*.graphql"))), assume_valid=True)
SCHEMA: Any = build_schema()
ADDED = {("CreateDeleteJobInput", "filter")}
"""What the published examples send, and the published input types do not have."""


def named(schema):
    return {name: kind for name, kind in schema.type_map.items() if not name.startswith("__")}


@pytest.mark.parametrize("name", [name for name, kind in named(PUBLISHED).items() if hasattr(kind, "fields")])
def test_every_published_field_is_there_with_its_type_and_its_arguments(name):
    ours, theirs = SCHEMA.type_map[name], PUBLISHED.type_map[name]
    assert type(ours).__name__ == type(theirs).__name__
    for field, definition in theirs.fields.items():
        assert str(ours.fields[field].type) == str(definition.type), field
        theirs_take = {each: str(argument.type) for each, argument in getattr(definition, "args", {}).items()}
        ours_take = {each: str(argument.type) for each, argument in getattr(ours.fields[field], "args", {}).items()}
        assert ours_take == theirs_take, field


@pytest.mark.parametrize("name", [name for name, kind in named(PUBLISHED).items() if hasattr(kind, "values")])
def test_every_published_enum_has_its_values_and_no_others(name):
    assert list(SCHEMA.type_map[name].values) == list(PUBLISHED.type_map[name].values)


@pytest.mark.parametrize(
    "name", [name for name, kind in named(PUBLISHED).items() if hasattr(kind, "fields") and name != "Mutation"]
)
def test_published_types_have_nothing_else(name):
    ours, theirs = SCHEMA.type_map[name], PUBLISHED.type_map[name]
    assert {(name, field) for field in ours.fields.keys() - theirs.fields.keys()} <= ADDED


def test_one_mutation_is_ours():
    assert SCHEMA.mutation_type.fields.keys() - PUBLISHED.mutation_type.fields.keys() == {"deleteJob"}


def test_inputs_need_what_was_published_and_no_more():
    for name, kind in named(SCHEMA).items():
        theirs = PUBLISHED.type_map.get(name)
        for field in getattr(kind, "fields", {}) if theirs and name.endswith("Input") else ():
            if field not in theirs.fields:
                assert not str(kind.fields[field].type).endswith("!")


def test_it_is_printed_and_read_alike():
    assert print_schema(build(sdl())) == sdl()
    assert set(named(build(type_defs()))) == set(named(SCHEMA))


def test_it_is_built_once():
    assert build_schema() is SCHEMA


def test_the_guard_is_asked_first_and_told_what_is_meant():
    asked: list[Any] = []

    class Guard:
        def authorize(self, principal, action, target, request):
            asked.append((action, target))
            raise LookupError

    face: Any = SimpleNamespace(guard=Guard())
    field: Any = resolvers({"f": Field(Kind.ADMIN, lambda call, **given: asked.append(given), "input.id")})["f"]
    with pytest.raises(LookupError):
        field.answer(call_of(face, Principal("p", "acme"), RequestContext()), {"input": {"id": "5"}})
    assert asked == [(Action("f", Kind.ADMIN), "5")]


def test_a_field_is_resolved_for_a_call_and_nothing_else():
    field: Any = resolvers({"f": Field(Kind.READ, lambda call: None)})["f"]
    with pytest.raises(TypeError, match="is a Call, not a dict"):
        field.answer({}, {})


def test_pages():
    assert page(None, None) == (0, 20)
    assert page(100_000, 500) == (100_000, 200)
    with pytest.raises(InvalidInput, match=r"^limit must not be negative, as -5 is$"):
        page(0, -5)


def test_enums_and_what_is_kept_agree():
    def values(name: str) -> set[str]:
        return set(SCHEMA.type_map[name].values) - {"UNDEFINED"}

    assert values("JobType") == set(ContentType)
    assert values("JobStatus") == set(ContentStatus)
    assert values("JobTaskType") == set(TaskType) == set(job_types._NAMES)
    assert values("JobTaskStatus") == set(job_types._STATUS.values())
    assert set(job_types._STATUS) == set(JobStatus)
    assert values("LogType") == set(LEVELS)
    assert values("RecurringJobStatus") == {*RecurringStatus, "COMPLETED"}
    assert values("DeleteContentTaskTypes") == {*KINDS, FIELD}
