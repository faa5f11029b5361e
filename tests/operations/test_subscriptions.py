"""Subscriptions in code over gnj's own transport: events until the generator ends, who may, what goes wrong."""

# mypy: disable-error-code="misc, no-any-return, truthy-function, type-arg, untyped-decorator"

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest
from ariadne import SubscriptionType
from starlette.applications import Starlette

import gnj
from gnj_starlette import mount


@dataclass
class Tick:
    number_of: int


def with_subscriptions(jobs):
    @jobs.subscription
    async def ticks(until: int, principal: gnj.Principal) -> AsyncIterator[Tick]:
        "Counts."
        for n in range(until):
            await asyncio.sleep(0)
            yield Tick(n)

    @jobs.subscription(action="admin")
    def tocks(until: int, fail_at: int | None = None) -> Iterator[int]:
        for n in range(until):
            if n == fail_at:
                raise gnj.GnjError("enough")
            yield n

    @jobs.subscription
    async def where_am_i() -> AsyncIterator[list[int]]:
        yield [id(asyncio.get_running_loop()) % 2**31, threading.get_ident() % 2**31]

    subscription = SubscriptionType()

    @subscription.source("count")
    async def count(_source, info, *, upTo):  # noqa: N803
        assert info.context["gnj"] is jobs
        for n in range(upTo):
            yield {"n": n, "who": info.context["principal"].id}

    subscription.set_field("count", lambda value, _info, **_: f"{value['n']} {value['who']}")
    jobs.extend("extend type Subscription { count(upTo: Int!): String }", [subscription])
    return jobs


@pytest.fixture
def jobs():
    with with_subscriptions(gnj.GNJ("memory://")) as made:
        yield made


def streamed(jobs, query, headers=None):
    """The answers to a subscription over Server-Sent Events, which has to end by itself."""

    async def main():
        app = Starlette()
        mount(app, jobs, "/jobs")
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            accept = {"accept": "text/event-stream", **(headers or {})}
            answer = await http.post("/jobs/graphql", json={"query": query}, headers=accept)
            told = [
                json.loads(line[5:])
                for line in answer.text.splitlines()
                if line.startswith("data:") and line[5:].strip()
            ]
            return told, id(asyncio.get_running_loop()) % 2**31, threading.get_ident() % 2**31

    return asyncio.run(asyncio.wait_for(main(), 30))


def test_an_async_generator(jobs):
    told, *_ = streamed(jobs, "subscription { ticks(until: 3) { numberOf } }")
    assert told == [{"data": {"ticks": {"numberOf": n}}} for n in range(3)]


def test_it_runs_on_the_hosts_loop(jobs):
    told, *here = streamed(jobs, "subscription { whereAmI }")
    assert told == [{"data": {"whereAmI": here}}]


def test_a_plain_generator(jobs):
    told, *_ = streamed(jobs, "subscription { tocks(until: 2) }")
    assert told == [{"data": {"tocks": n}} for n in range(2)]


def test_what_it_raises_ends_it(jobs):
    told, *_ = streamed(jobs, "subscription { tocks(until: 9, failAt: 1) }")
    assert told[0] == {"data": {"tocks": 0}}
    assert told[1]["errors"][0]["message"] == "enough"
    assert len(told) == 2


def test_by_sdl(jobs):
    told, *_ = streamed(jobs, "subscription { count(upTo: 2) }")
    assert told == [{"data": {"count": f"{n} local"}} for n in range(2)]


@pytest.mark.parametrize(
    "query, kind",
    [("ticks(until: 1) { numberOf }", "read"), ("tocks(until: 1)", "admin"), ("count(upTo: 1)", "read")],
)
def test_who_may(query, kind):
    asked = []

    def authorize(principal, action, target):
        asked.append((action.name, action.kind))
        return False

    with with_subscriptions(gnj.GNJ("memory://", authorize=authorize)) as jobs:
        told, *_ = streamed(jobs, f"subscription {{ {query} }}")
        assert "data" not in told[0]
        assert told[0]["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert set(asked) == {(query.partition("(")[0], kind)}


def test_under_wsgi_async_ones_are_refused_and_plain_ones_are_not():
    with gnj.GNJ("memory://") as plain:

        @plain.subscription
        def tocks() -> Iterator[int]:
            yield 1

        assert plain.wsgi_app()
    with gnj.GNJ("memory://") as jobs:

        @jobs.subscription
        async def ticks() -> AsyncIterator[int]:
            yield 1

        with pytest.raises(gnj.SchemaError, match=r"Subscription\.ticks .*under WSGI"):
            jobs.wsgi_app()
