from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import gnj
import gnj.client
from tests.serving import served


@pytest.fixture
def jobs():
    with gnj.GNJ("memory://") as jobs:
        yield jobs


@pytest.fixture
def url(jobs):
    with served(jobs.asgi_app()) as address:
        yield f"{address}/graphql"


class Twin:
    """The functions of `gnj.client` under their plain names: themselves, or their `_async` twins, each run to its end."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._runner = asyncio.Runner() if kind == "async" else None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if self._runner is None:
            plain: Callable[..., Any] = getattr(gnj.client, name)
            return plain
        function, runner = getattr(gnj.client, f"{name}_async"), self._runner
        return lambda *given, **named: runner.run(function(*given, **named))

    def as_function(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """`run`, a generator function that yields what is to be awaited, as a function of this kind."""

        def plain(job, updates):
            try:
                steps = run(job, updates)
                while True:
                    next(steps)
            except StopIteration as end:
                return end.value

        async def coroutine(job, updates):
            steps, error = run(job, updates), None
            while True:
                try:
                    step = steps.throw(error) if error else next(steps)
                except StopIteration as end:
                    return end.value
                error = None
                try:
                    if inspect.isawaitable(step):
                        await step
                except Exception as raised:
                    error = raised

        return plain if self.kind == "sync" else coroutine

    def close(self, client: gnj.client.Client) -> None:
        if self._runner is None:
            client.close()
        else:
            self._runner.run(client.aclose())

    def end(self) -> None:
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=["sync", "async"])
def api(request):
    twin = Twin(request.param)
    yield twin
    twin.end()


@pytest.fixture
def client(api, url):
    client = api.get_new_client(url)
    yield client
    api.close(client)
