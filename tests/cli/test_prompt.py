"""Requests that `gnj serve` answers on its event loop: as it answers all others, and without a moment in which the loop waits."""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from gnj import GNJ, Principal
from gnj.cli.http import BoundedProtocol
from gnj.cli.prompt import PARTS, SMALL, small
from gnj.graphql.limits import Limits
from gnj.queue.errors import StorageUnavailable
from gnj.queue.model import Job, NewJob
from gnj.storage.memory import MemoryStorage

T = TypeVar("T")
WAIT = 20.0


class Line:
    """The transport of one connection, whose other end is the test."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False
        self.news = asyncio.Event()

    def write(self, data: bytes) -> None:
        assert not self.closed, data
        self.sent += data
        self.news.set()

    def close(self) -> None:
        self.closed = True
        self.news.set()

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> Any:
        return {"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 50000)}.get(name)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def answers(self) -> list[bytes]:
        """The whole answers that have come, without what tells the time."""
        found, left = [], re.sub(rb"date: [^\r]+\r\n", b"", self.sent)
        while (end := left.find(b"\r\n\r\n") + 4) > 3:
            length = re.search(rb"content-length: (\d+)", left[:end])
            end += int(length[1]) if length else 0
            if len(left) < end:
                break
            found.append(left[:end])
            left = left[end:]
        return found


class Side:
    """A GNJ behind the protocol of `gnj serve`; `promptly`: that may answer on the loop."""

    def __init__(self, jobs: GNJ, *, promptly: bool) -> None:
        self.jobs = jobs
        self.app = jobs.asgi_app()
        self.ordinary = 0
        self.state = ServerState()
        prompt = {path.encode(): answer for path, answer in self.app.prompt.items()} if promptly else {}
        self.protocol = type(
            "Protocol", (BoundedProtocol,), {"limits": jobs.limits, "prompt": prompt, "small": small(jobs.limits)}
        )
        self.config = Config(
            self._counted, http=self.protocol, interface="asgi3", lifespan="off", proxy_headers=False, log_config=None
        )
        self.config.load()

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        self.ordinary += 1
        await self.app(scope, receive, send)

    def connect(self) -> tuple[Any, Line]:
        line = Line()
        protocol = self.protocol(config=self.config, server_state=self.state, app_state={})
        protocol.connection_made(line)
        return protocol, line

    async def send(self, pieces: Sequence[bytes], expected: int) -> tuple[list[bytes], bool]:
        """The answers to what is sent in these pieces, and whether the connection was closed after them."""
        protocol, line = self.connect()
        for piece in pieces:
            if not line.closed:
                protocol.data_received(piece)
                await asyncio.sleep(0)
        async with asyncio.timeout(WAIT):
            while len(line.answers()) < expected and not line.closed:
                line.news.clear()
                await line.news.wait()
        await asyncio.sleep(0)  # who closes does so after the answer
        closed = line.closed
        protocol.connection_lost(None)
        return line.answers(), closed

    async def started(self) -> None:
        (answer,), _ = await self.send([post("{ jobCount }")], 1)
        assert answer.startswith(b"HTTP/1.1 "), answer


def post(query: str, variables: Any = None, *lines: str, path: str = "/graphql", raw: bytes | None = None) -> bytes:
    body = json.dumps({"query": query, "variables": variables}).encode() if raw is None else raw
    head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", *(lines or ["content-type: application/json"])]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


ACQUIRE = 'mutation($t: [String!]!) { acquireJob(typeList: $t, workerId: "w") { id type status input attempt } }'
UPDATE = "mutation($job: jobInput!) { jobUpdate(job: $job) { id status output } }"
CREATE = "mutation($job: jobInput!) { jobCreate(job: $job) { id status type } }"
JSON = "content-type: application/json"


def chunked() -> bytes:
    body = json.dumps({"query": "{ __typename }"}).encode()
    head = f"POST /graphql HTTP/1.1\r\nhost: localhost\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


REQUESTS = [
    post("{ __typename }"),
    post(CREATE, {"job": {"type": "a", "input": {"n": 1, "text": "ä\u2028"}}}),
    post(CREATE, {"job": {"type": "a", "jobUniqueId": "one"}}),
    post(CREATE, {"job": {"type": "", "input": 1}}),
    post(CREATE, {"job": {"type": "a", "input": [0] * PARTS}}),
    post(ACQUIRE, {"t": ["a"]}),
    post(ACQUIRE, {"t": ["nothing"]}),
    post(ACQUIRE, {"t": "a"}),
    post(ACQUIRE, {"t": []}),
    post(ACQUIRE, {}),
    post(UPDATE, {"job": {"id": 1, "status": "successful", "output": {"ok": True}}}),
    post(UPDATE, {"job": {"id": 2, "status": "failed", "output": {"error": "no"}}}),
    post(UPDATE, {"job": {"id": 999_999, "status": "successful"}}),
    post(UPDATE, {"job": {"status": "successful"}}),
    post('mutation { acquireJob(typeList: ["a"]) { id } }'),
    post("{ jobCount }"),
    post("{ __typename jobCount }"),
    post("{ nothing }"),
    post("{ __schema { queryType { name } } }"),
    post("subscription { jobCreated { id } }"),
    post("", raw=b"{"),
    post("", raw=b'{"query": 1}'),
    post("", raw=b'["{ __typename }"]'),
    post("{ __typename }", None, "content-type: text/plain"),
    post("{ __typename }", None, JSON, "content-encoding: gzip"),
    post("{ __typename }", None, JSON, "accept: application/graphql-response+json"),
    post("{ __typename }", None, JSON, "accept: text/event-stream, application/json;q=0.5"),
    post("{ __typename }", None, JSON, "accept: image/png"),
    post("{ __typename }", None, JSON, "host: evil.example"),
    post("{ __typename }", None, JSON, "authorization: Bearer none"),
    post("{ __typename }", None, JSON, "x-forwarded-for: 10.0.0.1"),
    post("{ __typename }", None, JSON, "cookie: a=b", "cookie: c=d"),
    post("{ __typename }", None, JSON, "expect: nothing"),
    post("{ __typename }", path="/graphql/"),
    post("{ __typename }", path="/graphql?query=none"),
    post("{ __typename }", path="/%67raphql"),
    post("{ __typename }", path="/elsewhere"),
    post("{ __typename }", None, JSON, "x-long: " + "x" * SMALL),
    post("mutation($t: [String!]!) { acquireJob(typeList: $t) { id } }", {"t": ["x" * SMALL]}),
    chunked(),
    b"GET /graphql?query={__typename} HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"PUT /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}",
    post("{ __typename }", None, JSON, "connection: close"),
    post("{ __typename }").replace(b"HTTP/1.1", b"HTTP/1.0"),
]


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Awaitable[T]], T]]:
    """Runs a coroutine on one event loop."""
    with asyncio.Runner() as runner:
        yield runner.run  # type: ignore[misc]


@pytest.fixture(scope="module")
def sides(run: Any) -> Iterator[list[Side]]:
    """Twice the same, once with answers on the loop."""
    found = [Side(GNJ("memory://", origins=()), promptly=promptly) for promptly in (False, True)]
    for side in found:
        run(side.started())
    yield found
    for side in found:
        side.jobs.close()


@pytest.fixture(scope="module")
def side(run: Any) -> Iterator[Side]:
    """One that answers on the loop."""
    found = Side(GNJ("memory://"), promptly=True)
    run(found.started())
    yield found
    found.jobs.close()


def parts(sent: bytes, cuts: Sequence[float]) -> list[bytes]:
    places = sorted({int(cut * len(sent)) for cut in cuts} - {0, len(sent)})
    return [sent[begin:end] for begin, end in zip([0, *places], [*places, len(sent)], strict=True)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4),
    st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), max_size=3),
)
def test_what_is_answered_on_the_loop_is_answered_the_same(run, sides, requests, cuts):
    pieces = parts(b"".join(requests), cuts)
    ordinary, prompt = [run(side.send(pieces, len(requests))) for side in sides]
    assert ordinary == prompt


@pytest.mark.parametrize("request_", REQUESTS)
def test_each_is_answered_the_same_when_it_comes_again(run, sides, request_):
    for _ in range(3):
        ordinary, prompt = [run(side.send([request_], 1)) for side in sides]
        assert ordinary == prompt


def ordinary_ones(run: Any, side: Side, pieces: Sequence[bytes], expected: int = 1) -> int:
    """How many of these requests were not answered on the loop."""
    before = side.ordinary
    run(side.send(pieces, expected))
    return side.ordinary - before


@pytest.mark.parametrize(
    "request_",
    [
        post("{ __typename }"),
        post(CREATE, {"job": {"type": "b"}}),
        post(ACQUIRE, {"t": ["b"]}),
        post(UPDATE, {"job": {"id": 999_999, "status": "successful", "output": 1}}),
        chunked(),
    ],
)
def test_what_needs_no_thread_to_begin_is_answered_on_the_loop(run, side, request_):
    run(side.send([request_] * 2, 2))
    assert ordinary_ones(run, side, [request_]) == 0
    assert ordinary_ones(run, side, [request_[:-1], request_[-1:]]) == 1
    assert ordinary_ones(run, side, [request_[:9], request_[9:]]) == 1
    assert ordinary_ones(run, side, [request_ * 3], 3) == 2


@pytest.mark.parametrize(
    "request_",
    [
        post("{ jobCount }"),
        post("{ a: __typename b: __typename }"),
        post(CREATE, {"job": {"type": "b", "input": [0] * PARTS}}),
        post(CREATE, {"job": {"type": "b", "input": [[]] * PARTS}}),
        post(CREATE, {"job": {"type": "b", "input": "x" * SMALL}}),
        post("{ __typename }", None, JSON, "accept: application/json" + ", a/b" * PARTS),
        post(CREATE, {"job": {"type": "b", "jobUniqueId": "two"}}),
        post(UPDATE, {"job": {"id": 1, "processingInfo": {"n": 1}}}),
        post('mutation { a: acquireJob(typeList: ["b"]) { id } b: acquireJob(typeList: ["b"]) { id } }'),
    ],
)
def test_what_may_have_to_wait_is_left_to_threads(run, side, request_):
    run(side.send([request_] * 2, 2))
    assert ordinary_ones(run, side, [request_]) == 1


@pytest.mark.parametrize("bound", ["max_body", "max_headers", "max_url"])
def test_bounds_that_are_lower_hold(run, bound):
    with alone(run, GNJ("memory://", limits=Limits(**{bound: 200}))) as side:
        long = post("{ __typename }", None, JSON, "x-long: " + "x" * 300)
        assert ordinary_ones(run, side, [long]) == 1
        (answer,), _ = run(side.send([long], 1))
        assert (b" 431 " in answer) == (bound == "max_headers")


class Watched(MemoryStorage):
    """A storage that knows which threads have asked it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("_") and name != "threads" and callable(found):
            self.threads.add(threading.get_ident())
        return found


@contextmanager
def alone(run: Any, jobs: GNJ) -> Iterator[Side]:
    side = Side(jobs, promptly=True)
    run(side.started())
    try:
        yield side
    finally:
        jobs.close()


def test_the_loop_never_asks_the_storage(run):
    storage = Watched()
    with alone(run, GNJ(storage)) as side:
        storage.threads.clear()
        for _ in range(3):
            for each in REQUESTS:
                run(side.send([each], 1))
        assert storage.threads
        assert threading.get_ident() not in storage.threads


@pytest.mark.parametrize("hook", ["authenticate", "authorize"])
def test_hooks_are_not_called_on_the_loop(run, hook):
    threads = set()

    def called(*_: Any) -> Any:
        threads.add(threading.get_ident())
        return Principal("somebody") if hook == "authenticate" else True

    hooks: dict[str, Any] = {hook: called}
    with alone(run, GNJ("memory://", **hooks)) as side:
        for _ in range(3):
            for each in REQUESTS:
                run(side.send([each], 1))
        assert threads
        assert threading.get_ident() not in threads


def test_stored_tokens_are_looked_up_in_a_thread_and_then_known(run):
    storage = Watched()
    jobs = GNJ(storage)
    token = jobs.create_token("worker", scopes=["work"])
    with alone(run, jobs) as side:
        storage.threads.clear()
        asked = post(ACQUIRE, {"t": ["a"]}, JSON, f"authorization: Bearer {token}")
        refused = post(CREATE, {"job": {"type": "a"}}, JSON, f"authorization: Bearer {token}")
        for each in (asked, refused) * 2:
            run(side.send([each], 1))
        assert ordinary_ones(run, side, [asked]) == 0
        (answer,), _ = run(side.send([refused], 1))
        assert b"FORBIDDEN" in answer
        assert threading.get_ident() not in storage.threads


def test_a_resolver_of_the_hosts_is_called_in_a_thread(run):
    jobs, threads = GNJ("memory://"), set()

    @jobs.mutation
    def slow() -> bool:
        threads.add(threading.get_ident())
        return True

    with alone(run, jobs) as side:
        for _ in range(3):
            (answer,), _ = run(side.send([post("mutation { slow }")], 1))
            assert b'"slow":true' in answer
        assert threads
        assert threading.get_ident() not in threads


def test_a_storage_that_fails_is_told_as_in_a_thread(run):
    class Failing(MemoryStorage):
        cut = False

        def claim(self, *given: Any, **named: Any) -> Any:
            if self.cut:
                raise StorageUnavailable
            return super().claim(*given, **named)

    storage = Failing()
    with alone(run, GNJ(storage)) as side:
        asked = post(ACQUIRE, {"t": ["a"]})
        for _ in range(2):
            run(side.send([asked], 1))
        storage.cut = True
        before = side.ordinary
        (answer,), closed = run(side.send([asked], 1))
        assert side.ordinary == before
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Error acquiring job" in answer
        assert b"retry-after: 5" in answer
        assert not closed


class Held(MemoryStorage):
    """A storage whose claims wait until they may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = threading.Event(), threading.Event()
        self.go.set()

    def claim(self, *given: Any, **named: Any) -> Any:
        self.asked.set()
        assert self.go.wait(WAIT)
        return super().claim(*given, **named)


@pytest.fixture
def held(run):
    """A server whose claims wait once `go` is cleared, and what asks for one."""
    storage = Held()
    asked = post(ACQUIRE, {"t": ["a"]})
    with alone(run, GNJ(storage)) as side:
        for _ in range(2):
            run(side.send([asked], 1))
        storage.asked.clear()
        storage.go.clear()
        yield side, storage, asked
        storage.go.set()


async def seen(event: threading.Event) -> None:
    async with asyncio.timeout(WAIT):
        while not event.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.001)


async def under_way(held: tuple[Side, Held, bytes]) -> tuple[Any, Any]:
    """A connection whose claim the storage has, and keeps waiting."""
    side, storage, asked = held
    protocol, line = side.connect()
    protocol.data_received(asked)
    await seen(storage.asked)
    return protocol, line


def test_the_loop_goes_on_while_a_claim_waits(run, held):
    side, storage, _asked = held

    async def all_of_it() -> None:
        protocol, line = await under_way(held)
        (answer,), _ = await side.send([post("{ __typename }")], 1)
        assert b"Query" in answer
        assert not line.sent
        storage.go.set()
        async with asyncio.timeout(WAIT):
            await line.news.wait()
        assert b'"acquireJob":null' in line.sent
        protocol.connection_lost(None)

    run(all_of_it())


def test_what_comes_before_the_answer_waits_for_its_turn(run, held):
    _side, storage, _asked = held

    async def all_of_it() -> None:
        protocol, line = await under_way(held)
        protocol.data_received(post("{ __typename }"))
        protocol.data_received(post("{ jobCount }"))
        await asyncio.sleep(0)
        assert not line.sent
        storage.go.set()
        async with asyncio.timeout(WAIT):
            while len(line.answers()) < 3:
                line.news.clear()
                await line.news.wait()
        assert [json.loads(each.partition(b"\r\n\r\n")[2])["data"] for each in line.answers()] == [
            {"acquireJob": None},
            {"__typename": "Query"},
            {"jobCount": 0},
        ]
        protocol.connection_lost(None)

    run(all_of_it())


def test_a_client_that_leaves_is_not_answered(run, held):
    side, storage, asked = held
    job = side.jobs.enqueue("a")

    async def all_of_it() -> None:
        protocol, line = await under_way(held)
        protocol.connection_lost(ConnectionResetError())
        line.closed = True
        storage.go.set()
        async with asyncio.timeout(WAIT):
            while side.jobs.queue.get(Job, job.id).attempt == 0:  # noqa: ASYNC110 - another thread claims it
                await asyncio.sleep(0.001)
        await side.send([asked], 1)
        assert not line.sent

    run(all_of_it())


def test_a_server_that_ends_waits_for_what_is_under_way_though_its_client_has_left(run, held):
    side, storage, _asked = held

    async def all_of_it() -> None:
        protocol, line = await under_way(held)
        assert len(side.state.tasks) == 1
        protocol.connection_lost(None)
        assert len(side.state.tasks) == 1
        storage.go.set()
        async with asyncio.timeout(WAIT):
            await asyncio.wait(side.state.tasks)
        await asyncio.sleep(0)
        assert not side.state.tasks
        assert not line.sent

    run(all_of_it())


def test_one_whose_time_is_up_at_the_end_is_cut_off(run, held):
    side, storage, asked = held

    async def all_of_it() -> None:
        _protocol, line = await under_way(held)
        for each in side.state.tasks:
            each.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")
        await asyncio.sleep(0)
        assert line.closed
        assert not side.state.tasks
        storage.go.set()
        (answer,), _ = await side.send([asked], 1)
        assert b'"acquireJob":null' in answer

    run(all_of_it())


def test_what_is_due_is_done_by_one_in_a_thread_while_the_others_go_on(run, held, monkeypatch):
    side, storage, asked = held
    storage.go.set()
    looking, go_on = threading.Event(), threading.Event()

    def look(most: int) -> list[Job]:
        looking.set()
        assert go_on.wait(WAIT)
        return []

    async def all_of_it() -> None:
        run_before = side.ordinary
        monkeypatch.setattr(storage, "lost", look)
        side.jobs.queue._reaped = -math.inf
        one = asyncio.ensure_future(side.send([asked], 1))
        await seen(looking)
        for _ in range(10):
            (answer,), _ = await side.send([asked], 1)
            assert b'"acquireJob":null' in answer
        assert side.ordinary == run_before + 1
        assert not one.done()
        go_on.set()
        (answer,), _ = await one
        assert b'"acquireJob":null' in answer

    run(all_of_it())


def test_a_server_that_ends_answers_first(run, held):
    _side, storage, _asked = held

    async def all_of_it() -> None:
        protocol, line = await under_way(held)
        protocol.shutdown()
        assert not line.closed
        storage.go.set()
        async with asyncio.timeout(WAIT):
            while not line.closed:
                line.news.clear()
                await line.news.wait()
        (answer,) = line.answers()
        assert b"connection: close\r\n" in answer
        assert b'"acquireJob":null' in answer

    run(all_of_it())


def test_what_comes_while_the_client_does_not_read_is_not_answered_here(run, side):
    async def all_of_it() -> None:
        protocol, line = side.connect()
        protocol.pause_writing()
        before = side.ordinary
        protocol.data_received(post("{ __typename }"))
        await asyncio.sleep(0)
        assert side.ordinary == before + 1
        protocol.resume_writing()
        async with asyncio.timeout(WAIT):
            await line.news.wait()
        protocol.connection_lost(None)

    run(all_of_it())


def test_many_that_ask_at_once_are_answered_each(run, side):
    jobs = side.jobs
    made = {job.id for job in jobs.queue.enqueue_many([NewJob("many") for _ in range(40)])}
    asked = post(ACQUIRE, {"t": ["many"]})

    async def all_of_it() -> list[Any]:
        return await asyncio.gather(*(side.send([asked], 1) for _ in range(50)))

    found = [json.loads(answer.partition(b"\r\n\r\n")[2])["data"]["acquireJob"] for (answer,), _ in run(all_of_it())]
    assert {int(job["id"]) for job in found if job is not None} == made
    assert found.count(None) == 10
