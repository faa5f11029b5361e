"""A hook that allows nothing refuses every root field there is, and a scope what it does not name; over every transport."""

from __future__ import annotations

import json

import pytest

import gnj
from gnj.access import Kind
from gnj.api.http import Request, answer, endpoints
from gnj.api.jobs.mutations import MUTATIONS
from gnj.api.jobs.queries import QUERIES
from tests.security.operations import BASES, example, filled, required, root_fields, text_of

FIELDS = [(root, name) for root in ("query", "mutation", "subscription") for name in root_fields(root)]
KINDS = {root.name: root.kind for root in (*QUERIES, *MUTATIONS)}


def variables(root, name):
    field = root_fields(root)[name]
    base = {argument: example(d.type) for argument, d in field.args.items() if required(d.type)}
    own = dict.fromkeys(("job", "pipeline", "batch", "pipelineStep", "jobHoldType"), 1)
    return filled(BASES.get(name, base), {}, own)


def ask(jobs, root, name, **headers):
    body = json.dumps({"query": text_of(root, name), "variables": variables(root, name)}).encode()
    given = {"content-type": "application/json", "host": "localhost", **headers}
    if root == "subscription":
        given["accept"] = "text/event-stream"
    methods = endpoints(jobs.routes())["/graphql"]
    return answer(methods, Request(method="POST", path="/graphql", headers=given, body=body, client_host="127.0.0.1"))


def told(response):
    """What the response says, the whole stream of it."""
    if response.stream is None:
        return response.body.decode()
    response.stream.attach(lambda: None)
    parts = []
    while part := response.stream.take():
        parts.append(part)
    response.stream.close()
    return b"".join(parts).decode()


@pytest.mark.parametrize("root, name", FIELDS)
@pytest.mark.parametrize(
    "hook", [lambda *_: False, lambda *_: None, lambda *_: 1 / 0], ids=["false", "nothing", "raises"]
)
def test_who_may_nothing_is_refused_every_field(root, name, hook):
    with gnj.GNJ("memory://", authorize=hook) as jobs:
        jobs.start()
        text = told(ask(jobs, root, name))
        assert '"FORBIDDEN"' in text, text
        assert jobs.storage.find(gnj.Job) == []


@pytest.mark.parametrize("root, name", FIELDS)
def test_who_is_nobody_is_refused_every_field(root, name):
    with gnj.GNJ("memory://", authenticate=lambda _: None) as jobs:
        jobs.start()
        response = ask(jobs, root, name)
        assert response.status == 401
        assert '"UNAUTHENTICATED"' in told(response)


@pytest.mark.parametrize("root, name", FIELDS)
def test_each_scope_opens_its_fields_and_admin_all(root, name):
    kind = Kind.READ if root == "subscription" else KINDS[name]
    for scope in Kind:
        with gnj.GNJ("memory://") as jobs:
            jobs.start()
            token = jobs.create_token("t", scopes=[scope])
            text = told(ask(jobs, root, name, authorization=f"Bearer {token}"))
            assert ('"FORBIDDEN"' not in text) == (scope in (kind, Kind.ADMIN)), (scope, text)
