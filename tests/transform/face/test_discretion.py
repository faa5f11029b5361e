"""Credentials are nowhere to be read: not in answers, errors, logs and runs, nor in what is said of a request that is none."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, GraphQLNonNull

from gnj.api.transform import build_schema
from gnj.queue.catalog import RECORDS
from gnj.queue.storage import Select
from tests.transform.face.conftest import FORMAT, RULES, SAVE
from tests.transform.sites import answer

SECRET = "hunter2-hunter2"
SCHEMA: Any = build_schema()
SOURCE = "mutation($source: SourceRequest!) { saveSource(source: $source) }"
NONE = {"type": "Feed", "url": "https://shop.example/", "credentials": {"KEY": SECRET}}
WRONG = (SECRET, 5, 1.5, True, None, [SECRET], {"a": SECRET}, [[SECRET]])
"""Values for the places of others."""


def everything(jobs: Any) -> str:
    return repr([jobs.storage.find(kind, Select(deleted=True)) for kind in RECORDS.values()])


def test_they_are_kept_sent_and_never_told(jobs, ask, work, shop, caplog):
    caplog.set_level(logging.DEBUG)
    shop.pages["/secret"] = lambda asked: answer(
        json.dumps([{"sku": "1" if asked.headers.get("x-key") == SECRET else "no", "title": "t"}]).encode(),
        "application/json",
    )
    request = {
        "type": "Request",
        "url": shop.url("/secret?k=${KEY}"),
        "sourceHeaders": ["X-Key: ${KEY}"],
        "credentials": {"KEY": SECRET},
    }
    given = {"mapping": {"data": RULES}, "format": {"data": FORMAT}}
    saved = ask(SAVE, source={"sourceRequest": request}, **given)
    failing = ask(SAVE, source={"sourceRequest": {**request, "url": shop.url("/missing/${KEY}")}}, **given)
    told = [saved.body, failing.body]
    work()
    assert SECRET in shop.asked[-1].target
    told.append(ask("{ getJobs { id source { url sourceHeaders sourceBody } } }").body)
    for id in (saved.value, failing.value):
        told.append(ask("query($id: ID!) { getRuns(jobId: $id) { id status error } }", id=id).body)
        told.append(ask("query($id: ID!) { getJobRecords(jobId: $id) { records rejected { source } } }", id=id).body)
    assert told[-3]["data"]["getJobRecords"]["records"] == [{"id": "1", "name": "T"}]
    assert SECRET not in json.dumps(told)
    assert SECRET not in caplog.text
    assert SECRET not in everything(jobs)


def places(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every field of an input type, with its type."""
    for name, field in kind.fields.items():
        inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        yield (*path, name), inner
        if isinstance(inner, GraphQLInputObjectType):
            yield from places(inner, (*path, name))


def tried() -> Iterator[dict[str, Any]]:
    """Sources with credentials, and with something wrong in one place."""
    for path, _ in places(SCHEMA.type_map["SourceInput"]):
        for wrong in WRONG:
            made: Any = {"sourceRequest": dict(NONE)}
            at = made
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = wrong
            yield made
    yield {"sourceRequest": {**NONE, "unknown": SECRET}}
    yield {"sourceRequest": {"credentials": {"KEY": SECRET}}}
    yield {"sourceRequest": {**NONE, "typ": SECRET}, "nothing": {"credentials": SECRET}}


def literal(value: Any) -> str:
    """A value as documents have it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


def test_nothing_of_a_request_is_repeated(ask, caplog):
    """Neither of its variables nor of its document, wherever in it something is wrong."""
    caplog.set_level(logging.DEBUG)
    codes = set()
    for made in tried():
        given = {"mapping": {"data": RULES}, "format": {"data": FORMAT}}
        for answered in (
            ask(SAVE, source=made, **given),
            ask(SAVE, source=[made], **given),
            ask(f"mutation {{ saveJob(source: {literal(made)}) }}"),
        ):
            codes |= set(answered.codes)
            told = json.dumps(answered.body)
            # a method is no secret
            assert SECRET not in told or "sourceMethod must be one of" in told, told
            assert "INTERNAL" not in told
    assert {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED", "BAD_SOURCE"} <= codes
    assert SECRET not in caplog.text


BROKEN = [
    'mutation { saveSource(source: {type: Feed, credentials: {KEY: "%s" "%s"}}) }',
    'mutation { saveSource(source: {type: Feed, credentials: {KEY: "%s',
    'mutation { saveSource(source: {type: Feed, credentials: {"%s": 1}}) }',
    'mutation { saveSource(source: {type: Feed, credentials: {KEY: """%s""" """%s"""}}) }',
    'mutation { saveSource(source: {type: "%s"}) }',
    'mutation { saveSource(source: "%s") }',
    'mutation { saveSource(source: {type: Feed, url: ["%s"]}) }',
    'mutation { saveSource(source: {type: Feed, credentials: {KEY: "\\u{%s}"}}) }',
    'mutation { saveSource(source: {type: Feed, credentials: {KEY: "%s"}, no: 1}) }',
    'mutation { saveSource(source: {credentials: {KEY: "%s"}}) }',
    'mutation($s: SourceRequest = {credentials: {KEY: "%s"}}) { saveSource(source: $s) }',
    'mutation { saveSource(source: {type: Feed, credentials: {KEY: "%s"}}, more: "%s") }',
    '"%s"',
    'mutation { deleteJob(id: {KEY: "%s"}) }',
    'mutation { setJobSchedule(id: 1, paused: "%s") { id } }',
    '{ getRuns(jobId: 1, limit: "%s") { id } }',
]


def test_nor_of_a_document_that_is_none(ask):
    for text in BROKEN:
        answered = ask(text.replace("%s", SECRET))
        assert answered.codes
        assert SECRET not in json.dumps(answered.body), answered.body


@pytest.mark.parametrize(
    "given, message",
    [
        ({"type": "Nothing"}, 'Variable "$source" got invalid value at "source.type"; The value does not exist in "SourceType" enum.'),
        ({}, 'Variable "$source" got invalid value; Expected value of type "SourceRequest" to include required field "type".'),
        ({"type": "Feed", "x": 1}, 'Variable "$source" got invalid value; Expected value of type "SourceRequest" not to include unknown field "x".'),
        ({"type": "Feed", "url": 5}, 'Variable "$source" got invalid value at "source.url"; String cannot represent a non string value.'),
        ("x", 'Variable "$source" got invalid value; Expected value of type "SourceRequest" to be an object.'),
    ],
)  # fmt: skip
def test_and_yet_it_is_said_what_is_wrong(ask, given, message):
    assert ask(SOURCE, source=given).error["message"] == message
