"""gnj's schema inside a host's own Ariadne schema, served by Ariadne."""

# mypy: disable-error-code="arg-type, misc, no-any-return, redundant-expr, type-arg, union-attr, untyped-decorator"

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from ariadne import (
    MutationType,
    QueryType,
    ScalarType,
    SubscriptionType,
    graphql_sync,
    make_executable_schema,
    subscribe,
)
from ariadne.asgi import GraphQL
from graphql import GraphQLError
from starlette.applications import Starlette

import gnj

HOST = """
type Query { hello(name: String!): String! me: String later: Int }
type Mutation { rename(name: String!): String }
type Subscription { beats: Int }
"""
LOCAL = {"host": "localhost"}


def host_bindables():
    query, mutation, subscription = QueryType(), MutationType(), SubscriptionType()
    query.set_field("hello", lambda *_, name: f"hello {name}")
    query.set_field("me", lambda _, info: info.context["user"])
    mutation.set_field("rename", lambda *_, name: name)

    @query.field("later")
    async def later(*_: Any) -> int:
        await asyncio.sleep(0)
        return 3

    @subscription.source("beats")
    async def beats(*_: Any) -> AsyncIterator[int]:
        yield 1

    subscription.set_field("beats", lambda value, _info: value)
    return [query, mutation, subscription]


def with_operations(jobs):
    @jobs.mutation(action="work")
    def custom_acquire(tx: gnj.Transaction, type_list: list[str]) -> gnj.Job | None:
        """Acquire the last one first."""
        return tx.acquire(type_list, order=("-id",))

    @jobs.mutation(action="work")
    async def custom_acquire_async(tx: gnj.AsyncTransaction, type_list: list[str], wait: bool = False) -> dict:
        seen = {"loop": id(asyncio.get_running_loop()), "thread": threading.get_ident()}
        await asyncio.sleep(0)
        job = await tx.acquire(type_list, order=("-id",))
        if wait:
            raise gnj.GnjError("no")
        return {"id": job and job.id, **seen}

    query = QueryType()
    query.set_field("mine", lambda _, info: info.context["tx"].list())
    jobs.extend("extend type Query { mine: [job!] }", [query])

    @jobs.subscription
    async def ticks(until: int, request: gnj.RequestContext) -> AsyncIterator[int]:
        for n in range(until):
            yield n

    @jobs.subscription
    def tocks(until: int) -> Iterator[int]:
        yield from range(until)

    return jobs


@pytest.fixture
def jobs(url):
    with gnj.GNJ(url) as made:
        yield with_operations(made)


def served(jobs, schema, client="127.0.0.1"):
    def context_value(request, _data):
        return {**jobs.context(request), "request": request, "user": request.headers.get("x-me")}

    app = Starlette()
    app.mount("/graphql", GraphQL(schema, context_value=context_value))
    transport = httpx.ASGITransport(app, client=(client, 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", follow_redirects=True)


def ask(jobs, *queries, client="127.0.0.1", headers=None):
    type_defs, bindables = jobs.schema_parts()
    schema = make_executable_schema([HOST, type_defs], *host_bindables(), *bindables)

    async def main():
        async with served(jobs, schema, client) as http:
            answers = [await http.post("/graphql/", json={"query": query}, headers=headers) for query in queries]
            return [answer.json() for answer in answers], id(asyncio.get_running_loop()), threading.get_ident()

    answers, loop, thread = asyncio.run(main())
    ask.where = {"loop": loop, "thread": thread}  # type: ignore[attr-defined]
    return answers[0] if len(answers) == 1 else answers


def test_the_hosts_fields_and_gnjs_in_one_request(jobs):
    job = jobs.enqueue("a", {"n": 1}, name="first")
    answer = ask(
        jobs,
        '{ hello(name: "you") me later job(id: 1) { id name batch { id } } jobCount mine { id } }',
        headers={"x-me": "I"},
    )
    assert answer == {
        "data": {
            "hello": "hello you",
            "me": "I",
            "later": 3,
            "job": [{"id": job.id, "name": "first", "batch": None}],
            "jobCount": 1,
            "mine": [{"id": job.id}],
        }
    }


def test_mutations_built_in_and_custom(jobs):
    made, renamed, taken, again = ask(
        jobs,
        'mutation { jobCreate(job: {type: "a", input: {n: 1}}) { id status } }',
        'mutation { rename(name: "x") b: jobCreate(job: {type: "a"}) { id } }',
        'mutation { customAcquire(typeList: ["a"]) { id status } }',
        'mutation { customAcquireAsync(typeList: ["a"]) }',
    )
    assert made["data"]["jobCreate"] == {"id": 1, "status": "queued"}
    assert renamed["data"] == {"rename": "x", "b": {"id": 2}}
    assert taken["data"]["customAcquire"] == {"id": 2, "status": "processing"}
    # on the host's own loop, in its own thread
    assert again["data"]["customAcquireAsync"] == {"id": 1, **ask.where}  # type: ignore[attr-defined]


def test_an_async_operation_is_rolled_back_too(jobs):
    job = jobs.enqueue("a")
    answer = ask(jobs, 'mutation { customAcquireAsync(typeList: ["a"], wait: true) }')
    assert answer["errors"][0]["message"] == "no"
    assert jobs.get(job.id) == job


def test_who_asks_is_asked_when_a_field_of_gnjs_is(jobs):
    hello, job = ask(jobs, '{ hello(name: "you") }', '{ hello(name: "you") jobCount }', client="10.0.0.9")
    assert hello == {"data": {"hello": "hello you"}}
    assert "Only direct requests from this machine" in job["errors"][0]["message"]


@pytest.mark.parametrize("sort", ["plain", "async"])
def test_the_hooks_are_gnjs(sort):
    asked = []

    def authenticate(context):
        assert context.raw is not None
        return (
            gnj.Principal(context.headers["x-me"], tenant=context.query.get("t", ""))
            if "x-me" in context.headers
            else None
        )

    def authorize(principal, action, target):
        asked.append((principal.id, action.name, action.kind))
        return principal.id == "good"

    async def authenticate_async(context):
        await asyncio.sleep(0)
        return authenticate(context)

    async def authorize_async(*given):
        await asyncio.sleep(0)
        return authorize(*given)

    hooks: dict[str, Any] = {"authenticate": authenticate, "authorize": authorize}
    if sort == "async":
        hooks = {"authenticate": authenticate_async, "authorize": authorize_async}
    with with_operations(gnj.GNJ("memory://", **hooks)) as jobs:
        jobs.enqueue("a", tenant="t")
        jobs.enqueue("a")
        query = 'mutation { customAcquire(typeList: ["a"]) { id } }'
        (nobody,) = [ask(jobs, query)]
        assert nobody["data"] == {"customAcquire": None}
        assert ask(jobs, query, headers={"x-me": "bad"})["data"] == {"customAcquire": None}
        assert jobs.count(status="queued") == 2
        assert ask(jobs, query, headers={"x-me": "good"})["data"]["customAcquire"] == {"id": 2}
        assert ask(jobs, query, headers={"x-me": "good"})["data"]["customAcquire"] is None
    assert asked == [("bad", "customAcquire", "work")] + [("good", "customAcquire", "work")] * 2


def test_a_forgotten_context_is_told(jobs, caplog):
    type_defs, bindables = jobs.schema_parts()
    schema = make_executable_schema([HOST, type_defs], *host_bindables(), *bindables)
    _, answer = graphql_sync(schema, {"query": "{ jobCount }"}, context_value={})
    assert "GNJ.context(request)" in answer["errors"][0]["message"]


def test_under_wsgi_an_async_operation_has_a_loop_of_its_own(jobs):
    jobs.enqueue("a")
    type_defs, bindables = jobs.schema_parts()
    schema = make_executable_schema([HOST, type_defs], *host_bindables(), *bindables)
    seen = gnj.RequestContext(headers=LOCAL, client_host="127.0.0.1")
    query = 'mutation { customAcquireAsync(typeList: ["a"]) }'
    _, answer = graphql_sync(schema, {"query": query}, context_value=jobs.context(seen))
    assert answer["data"]["customAcquireAsync"]["id"] == 1


def test_a_flask_request_is_seen_too(jobs):
    flask = pytest.importorskip("flask")
    seen = {}
    jobs.authenticate = lambda context: seen.update(vars_of(context)) or gnj.Principal("p")
    type_defs, bindables = jobs.schema_parts()
    schema = make_executable_schema([HOST, type_defs], *host_bindables(), *bindables)
    with flask.Flask("x").test_request_context("/?a=1", headers={"X-Me": "I", "Cookie": "c=2"}):
        _, answer = graphql_sync(schema, {"query": "{ jobCount }"}, context_value=jobs.context(flask.request))
    assert answer == {"data": {"jobCount": 0}}
    assert (seen["headers"]["x-me"], seen["cookies"], seen["query"]) == ("I", {"c": "2"}, {"a": "1"})


def vars_of(context):
    return {name: getattr(context, name) for name in ("headers", "cookies", "query", "client_host")}


def test_defining_the_roots():
    with with_operations(gnj.GNJ("memory://")) as jobs:
        type_defs, bindables = jobs.schema_parts(define_roots=True)
        schema = make_executable_schema(type_defs, *bindables)
        assert schema.mutation_type is not None
        assert "customAcquire" in schema.mutation_type.fields
        assert set(schema.type_map) == set(jobs.schema.type_map)


def test_the_hosts_own_scalars():
    with gnj.GNJ("memory://") as jobs:
        jobs.enqueue("a", {"n": 1})
        type_defs, bindables = jobs.schema_parts(scalars=False)
        json, date = ScalarType("SequelizeJSON"), ScalarType("Date", serializer=lambda value: value.year)
        own = "scalar Date scalar SequelizeJSON type Query type Mutation type Subscription"
        schema = make_executable_schema([own, type_defs], json, date, *bindables)
        seen = gnj.RequestContext(headers=LOCAL, client_host="127.0.0.1")
        _, answer = graphql_sync(schema, {"query": "{ job { input createdAt } }"}, context_value=jobs.context(seen))
        assert answer["data"]["job"][0]["input"] == {"n": 1}
        assert answer["data"]["job"][0]["createdAt"] >= 2024
        with pytest.raises(TypeError):
            make_executable_schema([own, jobs.schema_parts()[0]], *jobs.schema_parts()[1])


def test_a_field_that_the_host_has_too():
    with gnj.GNJ("memory://") as jobs:
        type_defs, bindables = jobs.schema_parts()
        own = "type Query { job: Int } type Mutation type Subscription"
        with pytest.raises((TypeError, GraphQLError), match=r"Query\.job"):
            make_executable_schema([own, type_defs], *bindables)


def events(jobs, query, *, before=lambda: None, count=10):
    """What Ariadne draws from a subscription."""
    type_defs, bindables = jobs.schema_parts()
    schema = make_executable_schema([HOST, type_defs], *host_bindables(), *bindables)
    seen = gnj.RequestContext(headers=LOCAL, client_host="127.0.0.1", transport="ws")

    async def main():
        fine, result = await subscribe(schema, {"query": query}, context_value=jobs.context(seen))
        if not fine:
            return result
        told = []
        drawn = asyncio.ensure_future(anext(result))
        while not jobs.queue.feed.followed and not drawn.done():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        await asyncio.to_thread(before)
        told.append((await drawn).data)
        while len(told) < count:
            try:
                told.append((await anext(result)).data)
            except StopAsyncIteration:
                break
        await result.aclose()
        return told

    told = asyncio.run(asyncio.wait_for(main(), 30))
    assert not jobs.queue.feed.followed
    return told


def test_subscriptions_over_the_hosts_transport(jobs):
    assert events(jobs, "subscription { beats }") == [{"beats": 1}]
    assert events(jobs, "subscription { ticks(until: 3) }") == [{"ticks": n} for n in range(3)]
    assert events(jobs, "subscription { tocks(until: 2) }") == [{"tocks": n} for n in range(2)]


def test_gnjs_own_subscriptions_over_the_hosts_transport(jobs):
    def change():
        jobs.enqueue("a", tenant="other")
        for name in ("x", "y"):
            jobs.enqueue("a", name=name)

    told = events(jobs, "subscription { jobCreated { name type } }", before=change, count=2)
    assert told == [{"jobCreated": {"name": name, "type": "a"}} for name in ("x", "y")]


def test_subscriptions_ask_who_may():
    def authorize(principal, action, target):
        return action.name != "ticks"

    with with_operations(gnj.GNJ("memory://", authorize=authorize)) as jobs:
        (error,) = events(jobs, "subscription { ticks(until: 3) }")
        assert error["message"] == "The caller may not do this."
        assert events(jobs, "subscription { tocks(until: 1) }") == [{"tocks": 0}]
