"""The tabs of a new page hold what works."""

from __future__ import annotations

import json

import pytest
from graphql import OperationDefinitionNode, parse, validate

import gnj
from gnj.api.graphiql import EXAMPLES


def operations(example):
    return [each for each in parse(example.query).definitions if isinstance(each, OperationDefinitionNode)]


def variables(operation):
    return {each.variable.name.value for each in operation.variable_definitions or ()}


def title(example):
    return operations(example)[0].name.value


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
def test_every_document_is_valid(example):
    jobs = gnj.GNJ("memory://")
    assert validate(jobs.schema, parse(example.query)) == []
    assert all(each.name for each in operations(example))
    assert set().union(*map(variables, operations(example))) == set(example.variables)


def test_the_first_has_no_variables():
    assert not EXAMPLES[0].variables
    assert operations(EXAMPLES[0])[0].operation.value == "query"


def test_they_are_what_the_page_takes():
    tabs = [example.tab for example in EXAMPLES]
    assert len({title(example) for example in EXAMPLES}) == len(tabs) == 6
    assert [json.loads(tab["variables"]) for tab in tabs if "variables" in tab] == [
        dict(example.variables) for example in EXAMPLES if example.variables
    ]


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_they_run_one_after_another(backend, sqlite_database):
    with gnj.GNJ("memory://" if backend == "memory" else sqlite_database()) as jobs:
        seen = []
        for example in EXAMPLES:
            for each in operations(example):
                if each.operation.value == "subscription":
                    continue
                query = example.query[each.loc.start : each.loc.end]
                result = jobs.execute(query, {name: example.variables[name] for name in variables(each)})
                assert "errors" not in result, (each.name.value, result)
                seen.append(each.name.value)
        assert seen[:5] == ["Monitoring", "CreateJob", "Acquire", "Heartbeat", "Finish"]
        assert [job.output for job in jobs.list(type="mail")] == [{"sent": True}]
        assert jobs.count(type="scan", status="queued") == jobs.count(type="report", status="planned") == 1
