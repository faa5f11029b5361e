"""Two tenants crossed over every operation of the schema: nothing of one is seen or changed by the other.

What the attacker is answered for something of the victim must be what it is answered for what does not exist, word for word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, get_named_type

from gnj.api.transform import build_schema
from gnj.queue.catalog import RECORDS
from gnj.queue.model import Token
from gnj.queue.storage import Select
from gnj.settings_transform import TransformLimits
from tests.transform.face.conftest import FORMAT, RULES

SCHEMA: Any = build_schema()
ROOTS = {"query": SCHEMA.query_type.fields, "mutation": SCHEMA.mutation_type.fields}
KINDS = {
    "getJob.id": "job",
    "getRuns.jobId": "job",
    "getRecords.runId": "run",
    "getJobRecords.jobId": "job",
    "deleteJob.id": "job",
    "runJob.id": "job",
    "setJobSchedule.id": "job",
    "setJobWebhook.id": "job",
    "deleteSource.id": "source",
    "deleteMapping.id": "mapping",
    "deleteTargetFormat.id": "format",
    "setDefaultTargetFormat.id": "format",
    "source.id": "source",
    "sampleData.id": "source",
    "mapping.id": "mapping",
    "targetFormat.id": "format",
}
"""What each id is of: by the field and its argument, or the argument and the field of its input."""
MISSING = dict.fromkeys(("job", "run", "source", "mapping", "format"), "2000000000")
OTHERS: dict[str, Any] = {
    "name": "own",
    "offset": 0,
    "limit": 5,
    "paused": False,
    "makeDefault": False,
    "cronExpression": "0 3 * * *",
    "url": "https://hooks.example/",
    "secret": "a secret of sixteen",
}


def selection(type: Any, levels: int = 4) -> str:
    kind: Any = get_named_type(type)
    if not hasattr(kind, "fields"):
        return ""
    parts = [
        name + selection(field.type, levels - 1)
        for name, field in kind.fields.items()
        if levels > 1 or not hasattr(get_named_type(field.type), "fields")
    ]
    return f" {{ {' '.join(parts)} }}"


def text_of(root: str, name: str) -> str:
    field = ROOTS[root][name]
    declared = ", ".join(f"${argument}: {definition.type}" for argument, definition in field.args.items())
    passed = ", ".join(f"{argument}: ${argument}" for argument in field.args)
    head = f"{root} ({declared})" if declared else root
    return f"{head} {{ {name}{f'({passed})' if passed else ''}{selection(field.type)} }}"


def given(root: str, name: str, own: dict[str, str], url: str) -> dict[str, Any]:
    """All arguments: ids where there can be any."""
    made: dict[str, Any] = {}
    for argument, definition in ROOTS[root][name].args.items():
        kind: Any = get_named_type(definition.type)
        if isinstance(kind, GraphQLInputObjectType):
            made[argument] = (
                {"type": "Feed", "url": url} if kind.name == "SourceRequest" else {"id": own[KINDS[f"{argument}.id"]]}
            )
        elif kind.name == "ID":
            made[argument] = own[KINDS[f"{name}.{argument}"]]
        else:
            made[argument] = {"mapping": RULES, "targetFormat": FORMAT}.get(argument, OTHERS.get(argument))
            assert made[argument] is not None, f"{name}.{argument}: what is it?"
    return made


def attacks() -> Iterator[tuple[str, str, str]]:
    """Every operation, once for each argument that names something: of somebody else."""
    for root, fields in ROOTS.items():
        for name, field in fields.items():
            for argument, definition in field.args.items():
                kind: Any = get_named_type(definition.type)
                if kind.name == "ID" or "id" in getattr(kind, "fields", ()):
                    yield root, name, argument


class World:
    """Two tenants, who ask with keys of their own."""

    def __init__(self, jobs: Any, ask: Any, save: Any, work: Callable[[], None], url: str) -> None:
        self.jobs, self.ask, self.save, self.work, self.url = jobs, ask, save, work, url
        self.keys = {
            tenant: jobs.create_token(tenant, scopes=["admin"], tenant=tenant) for tenant in ("victim", "attacker")
        }

    def furnish(self, tenant: str) -> dict[str, str]:
        """Something of every kind; their ids. What is not needed by a job can be deleted."""
        key = self.keys[tenant]
        job = self.save(key=key)
        self.work()
        parts = {
            "source": ("mutation($v: SourceRequest!) { saveSource(source: $v) }", {"type": "Feed", "url": self.url}),
            "mapping": ('mutation($v: [JSON!]!) { saveMapping(name: "m", mapping: $v) }', RULES),
            "format": ("mutation($v: JSON!) { saveTargetFormat(targetFormat: $v, makeDefault: true) }", FORMAT),
        }
        ids = {kind: self.ask(text, key=key, v=value).value for kind, (text, value) in parts.items()}
        (run,) = self.ask("query($id: ID!) { getRuns(jobId: $id) { id } }", key=key, id=job).value
        return {"job": job, "run": run["id"], **ids}

    def answer(self, root: str, name: str, arguments: dict[str, Any]) -> str:
        """What the attacker is told, in which no two numbers can be told apart."""
        body = self.ask(text_of(root, name), key=self.keys["attacker"], **arguments).body
        assert "INTERNAL_SERVER_ERROR" not in json.dumps(body), (name, body)
        return re.sub(r"\d+(\.\d+)?", "#", json.dumps(body))

    def rows(self, tenant: str) -> Any:
        """All that is kept of a tenant, but keys, which tell when they were used."""
        return {
            name: [row for row in self.jobs.storage.find(kind, Select(deleted=True)) if row.tenant == tenant]
            for name, kind in RECORDS.items()
            if kind is not Token
        }


@pytest.fixture
def world(jobs, ask, save, work, shop):
    return World(jobs, ask, save, work, shop.url("/feed"))


@pytest.fixture
def settings():
    return {"transform_limits": TransformLimits(wait_seconds=0.01)}


def test_no_operation_reaches_what_is_another_tenants(world):
    theirs = world.furnish("victim")
    before = world.rows("victim")
    tried, worked = set(), set()
    for root, name, argument in attacks():
        own = world.furnish("attacker")
        told = []
        for ids in (MISSING, theirs, own):
            arguments = given(root, name, own, world.url)
            arguments[argument] = given(root, name, ids, world.url)[argument]
            told.append(world.answer(root, name, arguments))
        missing, stolen, mine = told
        assert stolen == missing, (name, argument)
        assert world.rows("victim") == before, (name, argument)
        tried.add((name, argument))
        if mine != missing:
            worked.add((name, argument))
    assert tried == worked  # what was refused above is not refused to whom it belongs
    assert len(tried) > 15


def test_lists_are_the_same_with_and_without_another_tenant(world):
    world.furnish("attacker")
    lists = [text_of("query", name) for name, field in ROOTS["query"].items() if not field.args]
    assert len(lists) == 4

    def ask() -> list[Any]:
        return [world.ask(text, key=world.keys["attacker"]).data for text in lists]

    before = ask()
    world.furnish("victim")
    assert ask() == before


ODD = ["", "'; --", "9" * 19, "é" * 5_000, "-1", "٣"]


@pytest.mark.parametrize("settings", [{"database": "sqlite://"}])
@pytest.mark.backend("sqlite")
def test_no_text_in_the_place_of_an_id_is_more_than_refused(world):
    own = world.furnish("attacker")
    for root, name, argument in attacks():
        for text in ODD:
            arguments = given(root, name, own, world.url)
            arguments[argument] = given(root, name, dict.fromkeys(own, text), world.url)[argument]
            world.answer(root, name, arguments)  # which fails for an internal error
