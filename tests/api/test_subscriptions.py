"""Subscriptions without a transport: what is told to whom, and how often it is evaluated."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from ariadne import make_executable_schema

from gnj.access import Kind, Principal, RequestContext
from gnj.api import jobs as dialect
from gnj.api import runs
from gnj.api.hooks import Guard
from gnj.api.jobs.subscriptions import Subscriptions
from gnj.api.sources import Backlog
from gnj.api.streams import Streams, SubscriptionField
from gnj.graphql.engine import Engine, Outcome
from gnj.graphql.limits import Limits
from gnj.queue.errors import InvalidInput, SchemaError
from gnj.queue.feed import Change, Feed
from gnj.queue.model import Batch, Job
from tests.api.conftest import Api

WAIT = 20


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Listener:
    """Takes answers, as many as it is told to."""

    def __init__(self, streams: Streams, query: str, tenant: str = "", *, most: int = 10_000, **given: Any) -> None:
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.left = most
        principal = given.pop("principal", Principal("tester", tenant))
        seen = given.pop("seen", RequestContext())
        self.opened = streams.open(query, given, None, seen, principal, self)

    def put(self, body: str, taken: Callable[[], None] | None = None) -> bool:
        self.left -= 1
        if self.left >= 0:
            self.told.put(json.loads(body))
            if taken is not None:
                taken()
        return self.left >= 0

    def end(self, errors: list[dict[str, Any]] | None) -> None:
        self.told.put({"end": errors})

    def next(self) -> Any:
        return self.told.get(timeout=WAIT)

    def data(self) -> Any:
        """The value of the root field of the next answer."""
        answer = self.next()
        assert answer.keys() == {"data"}, answer
        (value,) = answer["data"].values()
        return value

    def close(self) -> None:
        assert not isinstance(self.opened, Outcome), self.opened
        self.opened.close()

    def refused(self) -> tuple[str, str]:
        assert isinstance(self.opened, Outcome)
        error = self.opened.body["errors"][0]
        return error["message"], error["extensions"]["code"]


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
def streams(api: Api, guard: Guard) -> Iterator[Streams]:
    streams = dialect.streams(api.engine, api.queue, guard)
    yield streams
    for group in list(streams._groups.values()):
        for member in list(group.members):
            member.close()
    wait_until(lambda: streams.idle)
    assert not api.queue.feed.followed


EVERYTHING = "subscription ($id: Int) { %s(id: $id) { id status name } }"


def test_every_change_of_a_job_is_told_in_order(api, streams):
    created, updated, deleted = (
        Listener(streams, EVERYTHING % name) for name in ("jobCreated", "jobUpdated", "jobDeleted")
    )
    job = api.create(name="a")
    api.update(id=job["id"], name="b")
    claimed = api.claim()
    api.update(id=job["id"], attempt=claimed["attempt"], status="failed")
    api.get("mutation ($id: Int!) { retryJob(id: $id) { id } }", id=job["id"])
    api.get("mutation ($id: Int!) { jobDelete(id: $id) { id } }", id=job["id"])
    assert created.data() == {"id": job["id"], "status": "queued", "name": "a"}
    assert created.data() == {"id": job["id"] + 1, "status": "queued", "name": "b"}
    assert [updated.data()["status"] for _ in range(3)] == ["queued", "processing", "failed"]
    assert deleted.data()["id"] == job["id"]


def test_an_id_filters(api, streams):
    first = api.create()
    listener = Listener(streams, EVERYTHING % "jobUpdated", id=first["id"])
    every = Listener(streams, EVERYTHING % "jobUpdated", id=None)
    second = api.create()
    for id in (second["id"], first["id"]):
        api.update(id=id, name="x")
    assert listener.data()["id"] == first["id"]
    assert [every.data()["id"] for _ in range(2)] == [second["id"], first["id"]]


def test_aliases_fragments_and_associations(api, streams):
    listener = Listener(
        streams,
        """
        subscription S { told: jobUpdated { ...Parts again: id ... on job { __typename } } }
        fragment Parts on job { id batch { id jobs(order: "id") { id } pipeline { name steps { index } } } attempts { error } }
        """,
    )
    pipeline = api.get('mutation { pipelineCreate(pipeline: {name: "p"}) { id } }')
    batch = api.get("mutation ($b: batchInput!) { batchCreate(batch: $b) { id } }", b={"pipelineId": pipeline["id"]})
    job = api.create(batchId=batch["id"])
    other = api.create(batchId=batch["id"])
    api.update(id=job["id"], name="x")
    assert listener.data() == {
        "id": job["id"],
        "batch": {
            "id": batch["id"],
            "jobs": [{"id": job["id"]}, {"id": other["id"]}],
            "pipeline": {"name": "p", "steps": [{"index": 1}]},
        },
        "attempts": [],
        "again": job["id"],
        "__typename": "job",
    }


def test_workers_talk_to_each_other(api, streams):
    pinged = Listener(streams, "subscription { pinged { success } }")
    ponged = Listener(streams, "subscription { ponged { workerId workerStatus __typename } }")
    told = Listener(streams, "subscription { workerMonitoringUpdated { workerId workerType workerStatus } }")
    workers = [
        {"workerId": "w1", "workerType": "t", "workerStatus": "AVAILABLE"},
        {"workerId": "w2", "workerType": "t", "workerStatus": "PROCESSING"},
    ]
    api.get("mutation { ping { success } }")
    api.get("mutation ($w: [workerInfoInput]) { pong(workerInfoInput: $w) { success } }", w=workers)
    one = [{"workerId": "w1", "workerType": "t", "workerStatus": "FAILED"}]
    api.get("mutation ($w: [workerInfoInput]) { workerMonitoringUpdate(workers: $w) { success } }", w=one)
    assert pinged.data() == {"success": True}
    assert ponged.data() == [
        {"workerId": "w1", "workerStatus": "AVAILABLE", "__typename": "workerInfoOutput"},
        {"workerId": "w2", "workerStatus": "PROCESSING", "__typename": "workerInfoOutput"},
    ]
    assert told.data() == one


def test_a_tenant_hears_of_its_own_only(api, streams):
    a, b = (Listener(streams, EVERYTHING % "jobCreated", tenant) for tenant in "AB")
    pinged = Listener(streams, "subscription { pinged { success } }", "A")
    for _ in range(200):
        api.create(tenant="B")
    own = api.create(tenant="A")
    api.run("mutation { ping { success } }", "B")
    api.run("mutation { ping { success } }", "A")
    assert a.data()["id"] == own["id"]
    assert pinged.data() == {"success": True}
    assert len([b.data() for _ in range(200)]) == 200
    assert a.told.empty()
    assert pinged.told.empty()


def test_nothing_is_told_that_was_rolled_back(api, streams):
    listener = Listener(streams, EVERYTHING % "jobCreated")
    body = api.run(
        'mutation { jobCreateMany(jobs: [{type: "a"}, {type: "b", batchId: 999}]) { id } }',
    )
    assert "errors" in body
    job = api.create()
    assert listener.data()["id"] == job["id"]


# How often things are evaluated


def test_equal_subscriptions_are_evaluated_once(api, streams):
    query = "subscription ($id: Int) { jobCreated(id: $id) { id batch { id } } }"
    equal = [Listener(streams, query, principal=Principal(str(number))) for number in range(50)]
    others = [
        Listener(streams, query, "another"),
        Listener(streams, query, id=None),
        Listener(streams, query.replace("id batch", "id  batch")),
    ]
    assert len(streams._groups) == 4
    batch = api.get("mutation { batchCreate(batch: {}) { id } }")
    api.create(batchId=batch["id"])
    told = (*equal, *others[1:])
    assert all(listener.data() == {"id": 1, "batch": {"id": batch["id"]}} for listener in told)
    job = api.queue.get(Job, 1)
    api.storage.calls.clear()
    api.queue.feed.publish([Change("created", "", job)])
    assert all(listener.data()["id"] == 1 for listener in told)
    # that of the batch, once for each group of the tenant
    assert api.storage.calls["find"] == 3
    assert others[0].told.empty()


def test_answers_that_may_depend_on_who_asks_are_evaluated_for_each():
    schema = make_executable_schema(
        ["scalar SequelizeJSON", "scalar Date", "extend type job { mine: String }", dialect.schema.type_defs()],
    )
    assert not dialect.schema._is_only_ours(schema)


def test_the_guard_is_asked_for_each_principal_and_event(api, streams, guard):
    asked: list[tuple[str, str, Any]] = []

    def authorize(principal, action, target):
        asked.append((principal.id, action.name, target))
        if target == 2:
            raise RuntimeError("a hook that fails refuses")
        return principal.id != "q" or target != 1

    query = EVERYTHING % "jobCreated"
    p, again, q = (Listener(streams, query, principal=Principal(id)) for id in "ppq")
    # a hook that comes later is asked as well
    guard.use(None, authorize)
    ids = [api.create()["id"] for _ in range(3)]
    assert ids == [1, 2, 3]
    assert [p.data()["id"], p.data()["id"]] == [1, 3]
    assert [again.data()["id"], again.data()["id"]] == [1, 3]
    assert q.data()["id"] == 3
    assert len(asked) == 6
    guard.use(None, lambda *_: False)
    assert Listener(streams, query).refused()[1] == "FORBIDDEN"


def test_what_a_hook_refuses_is_not_even_evaluated(api, streams, guard):
    listener = Listener(streams, "subscription { jobCreated { batch { id } } }")
    batch = api.get("mutation { batchCreate(batch: {}) { id } }")
    api.create(batchId=batch["id"])
    job = api.queue.get(Job, 1)
    assert listener.data() == {"batch": {"id": batch["id"]}}
    guard.use(None, lambda _principal, action, _target: action.name != "jobCreated")
    last = Listener(streams, "subscription { pinged { success } }")
    api.storage.found.clear()
    api.queue.feed.publish([Change("created", "", job), Change("pinged", "")])
    assert last.data() == {"success": True}
    assert listener.told.empty()
    assert api.storage.found[Batch] == 0


def test_who_takes_no_more_is_forgotten_and_the_others_are_told(api, streams):
    query = EVERYTHING % "jobCreated"
    few, all_ = Listener(streams, query, most=2), Listener(streams, query)
    for _ in range(5):
        api.create()
    assert len([all_.data() for _ in range(5)]) == 5
    assert few.told.qsize() == 2
    assert sum(len(group.members) for group in streams._groups.values()) == 1


def test_what_waits_to_be_told_is_bounded(api, streams, guard, monkeypatch):
    """Where a hook takes its time, subscriptions end with an error rather than with the memory."""
    monkeypatch.setattr(runs, "MOST", 10)
    busy, go = threading.Event(), threading.Event()

    def authorize(_principal, _action, target):
        if target is None:
            return True
        busy.set()
        return go.wait(WAIT)

    guard.use(None, authorize)
    listener = Listener(streams, "subscription { jobCreated { name } }")
    api.create(name="first")
    assert busy.wait(WAIT)
    for _ in range(30):
        api.create()
    assert streams._run._inbox.qsize() == 10
    go.set()
    assert listener.data() == {"name": "first"}
    (error,) = listener.next()["end"]
    assert error["extensions"]["code"] == "TOO_MANY_EVENTS"
    wait_until(lambda: streams.idle)
    again = Listener(streams, "subscription { jobCreated { name } }")
    api.create(name="again")
    assert again.data() == {"name": "again"}


def test_nobody_is_told_after_closing_and_the_thread_ends(api, streams):
    listener = Listener(streams, EVERYTHING % "jobCreated")
    assert any(thread.name == "gnj-subscriptions" for thread in threading.enumerate())
    listener.close()
    listener.close()
    wait_until(lambda: streams.idle)
    wait_until(lambda: not any(thread.name == "gnj-subscriptions" for thread in threading.enumerate()))
    assert not api.queue.feed.followed
    api.create()
    assert listener.told.empty()
    # and begins again
    again = Listener(streams, EVERYTHING % "jobCreated")
    job = api.create()
    assert again.data()["id"] == job["id"]


def test_subscribers_come_and_go_while_changes_are_made(api, streams):
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            api.queue.feed.publish([Change("pinged", "")])
            time.sleep(0.0005)

    changing = threading.Thread(target=change)
    changing.start()
    failed: list[BaseException] = []

    def come_and_go() -> None:
        try:
            for _ in range(50):
                listener = Listener(streams, "subscription { pinged { success } }")
                assert listener.data() == {"success": True}
                listener.close()
        except BaseException as error:
            failed.append(error)

    comers = [threading.Thread(target=come_and_go) for _ in range(4)]
    for each in comers:
        each.start()
    for each in comers:
        each.join(WAIT)
    stop.set()
    changing.join(WAIT)
    assert failed == []
    wait_until(lambda: streams.idle)


# What goes wrong


@pytest.mark.parametrize(
    "query, code",
    [
        ("subscription { jobCreated { id } jobUpdated { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { a: jobCreated { id } b: jobCreated { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { jobCreated @skip(if: true) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription ($id: Int!) { jobCreated(id: $id) { id } }", "BAD_USER_INPUT"),
        ("subscription ($n: Int = 3000) { jobCreated { batch { jobs(limit: $n) { batch { jobs { id } } } } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ jobCount }", "OPERATION_RESOLUTION_FAILURE"),
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
    ],
)  # fmt: skip
def test_what_is_no_subscription_does_not_begin(streams, query, code):
    assert Listener(streams, query).refused()[1] == code
    assert streams.idle


def test_a_subscription_needs_a_stream(api):
    body = api.run("subscription { pinged { success } }")
    assert body["errors"][0]["extensions"]["code"] == "OPERATION_RESOLUTION_FAILURE"


SDL = """
type Query { a: Int }
type Subscription { ticks(until: Int): Int  raises: Int  never: Int  bad: Int picky(above: Int): Int }
"""


class Toy:
    """Subscriptions of other kinds than those of the dialect."""

    def __init__(self, **generators: Any) -> None:
        fields = [SubscriptionField(name=name, generate=generate) for name, generate in generators.items()]
        fields.append(SubscriptionField(name="picky", topics=("pinged",), pick=self.pick))
        schema = make_executable_schema(SDL, Subscriptions(fields))
        self.feed = Feed()
        self.guard = Guard()
        self.engine = Engine(schema)
        self.contexts: list[Any] = []
        self.streams = Streams(self.engine, self.guard, self.feed, fields, self.context, impersonal=True)

    def context(self, seen: RequestContext, principal: Principal) -> Any:
        self.contexts.append((seen, principal))
        return {"principal": principal}

    @staticmethod
    def pick(change: Change, arguments: Any) -> Any:
        if change.value == "fail":
            raise ZeroDivisionError("secret")
        return change.value if change.value > arguments.get("above", 0) else None

    def tell(self, *values: Any) -> None:
        self.feed.publish([Change("pinged", "", value) for value in values])


def test_a_failure_of_one_event_ends_nothing(caplog):
    toy = Toy()
    listener = Listener(toy.streams, "subscription { picky(above: 1) }")
    with caplog.at_level(logging.ERROR):
        toy.tell(1, "fail", 2)
        assert listener.data() == 2
    assert "secret" in caplog.text
    # an event that cannot be said in GraphQL is told as an error
    toy.tell(2**40)
    answer = listener.next()
    assert answer["data"] == {"picky": None}
    assert answer["errors"][0]["message"] == "Internal error"
    listener.close()
    wait_until(lambda: toy.streams.idle)


def test_a_field_says_where_its_events_come_from():
    for wrong in (
        {},
        {"topics": ("created",)},
        {"pick": Toy.pick},
        {"topics": ("created",), "pick": Toy.pick, "generate": iter},
        {"topics": ("born",), "pick": Toy.pick},
    ):
        with pytest.raises(SchemaError, match=r"Subscription\.x"):
            SubscriptionField(name="x", **wrong)
    field = SubscriptionField(name="a", topics=("created",), pick=Toy.pick)
    with pytest.raises(SchemaError, match=r"Subscription\.a has two resolvers"):
        Subscriptions([field, field])
    with pytest.raises(SchemaError, match=r"Subscription\.a, but no such field"):
        make_executable_schema(SDL, Subscriptions([field]))


# Events that a function makes


def test_an_iterator_is_drawn_as_fast_as_it_is_read_and_ends():
    drawn: list[int] = []

    def ticks(context: Any, arguments: Any) -> Iterator[int]:
        assert context["principal"] == Principal("tester")
        for number in range(arguments["until"]):
            drawn.append(number)
            yield number

    toy = Toy(ticks=ticks)

    class Slow(Listener):
        waiting: Callable[[], None]

        def put(self, body: str, taken: Callable[[], None] | None = None) -> bool:
            assert taken is not None
            self.waiting = taken
            return super().put(body)

    listener = Slow(toy.streams, "subscription { ticks(until: 3) }")
    for number in range(3):
        assert listener.next() == {"data": {"ticks": number}}
        assert drawn[-1] == number
        listener.waiting()
    assert listener.next() == {"end": None}
    wait_until(lambda: toy.streams.idle)


def test_an_iterator_that_raises_ends_with_an_error(caplog):
    def raises(_context: Any, _arguments: Any) -> Iterator[int]:
        yield 1
        raise InvalidInput("told")

    def bad(_context: Any, _arguments: Any) -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("secret")

    toy = Toy(raises=raises, bad=bad)
    listener = Listener(toy.streams, "subscription { raises }")
    assert listener.data() == 1
    assert listener.next()["end"] == [{"message": "told", "extensions": {"code": "INVALID_INPUT"}}]
    listener = Listener(toy.streams, "subscription { bad }")
    assert listener.data() == 1
    assert listener.next()["end"][0]["message"] == "Internal error"
    assert "secret" in caplog.text


def test_a_closed_iterator_is_closed_where_it_is():
    closed, go = threading.Event(), threading.Event()

    def never(_context: Any, _arguments: Any) -> Iterator[int]:
        try:
            while True:
                yield 1
                assert go.wait(WAIT)
        finally:
            closed.set()

    toy = Toy(never=never)
    listener = Listener(toy.streams, "subscription { never }")
    assert listener.data() == 1
    listener.close()
    go.set()
    assert closed.wait(WAIT)
    wait_until(lambda: toy.streams.idle)
    assert listener.told.empty()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The host's event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(WAIT)
    loop.close()


def test_an_async_iterator_runs_on_the_hosts_loop_and_is_cancelled_where_it_waits(loop):
    loops: list[Any] = []
    waits, cancelled = threading.Event(), threading.Event()

    async def never(_context: Any, _arguments: Any) -> AsyncIterator[int]:
        loops.append(asyncio.get_running_loop())
        yield 7
        try:
            waits.set()
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def ticks(_context: Any, arguments: Any) -> AsyncIterator[int]:
        for number in range(arguments["until"]):
            await asyncio.sleep(0)
            yield number

    def run_async(function: Callable[[], Any]) -> Any:
        async def wait() -> Any:
            return await function()

        return asyncio.run_coroutine_threadsafe(wait(), loop).result(WAIT)

    toy = Toy(never=never, ticks=ticks)
    seen = RequestContext(run_async=run_async)
    listener = Listener(toy.streams, "subscription { never }", seen=seen)
    assert listener.data() == 7
    assert waits.wait(WAIT)
    listener.close()
    assert cancelled.wait(WAIT)
    wait_until(lambda: toy.streams.idle)
    assert loops == [loop]

    listener = Listener(toy.streams, "subscription { ticks(until: 2) }", seen=seen)
    assert [listener.data(), listener.data(), listener.next()] == [0, 1, {"end": None}]
    # where there is no loop, it cannot begin
    message, code = Listener(toy.streams, "subscription { never }").refused()
    assert (message, code) == (
        "never needs an event loop, which this server does not have.",
        "OPERATION_RESOLUTION_FAILURE",
    )


def test_events_that_a_function_makes_are_authorised_one_by_one():
    def ticks(_context: Any, arguments: Any) -> Iterator[int]:
        yield from range(arguments["until"])

    toy = Toy(ticks=ticks)
    allowed = iter([True, False, True])
    toy.guard.use(None, lambda _principal, action, _target: action.kind is Kind.READ and next(allowed))
    listener = Listener(toy.streams, "subscription { ticks(until: 2) }")
    assert listener.data() == 1
    assert listener.next() == {"end": None}
    toy.guard.use(None, lambda *_: False)
    assert Listener(toy.streams, "subscription { ticks(until: 2) }").refused()[1] == "FORBIDDEN"


def test_a_bounded_number_of_functions_run_at_once():
    go = threading.Event()

    def never(_context: Any, _arguments: Any) -> Iterator[int]:
        yield 1
        assert go.wait(WAIT)

    toy = Toy(never=never)
    toy.streams.limits = Limits(generators=2)
    listeners = [Listener(toy.streams, "subscription { never }") for _ in range(3)]
    assert listeners[2].refused()[1] == "OPERATION_RESOLUTION_FAILURE"
    go.set()
    wait_until(lambda: toy.streams.idle)


# How much may wait


def test_a_backlog_is_short_for_who_does_not_read_and_long_for_who_does():
    backlog = Backlog(Limits(buffered=3, burst=6))
    assert [backlog.add(0.0) for _ in range(7)] == [True] * 6 + [False]
    backlog.take(0.5)
    assert backlog.add(1.4)
    assert not backlog.add(1.4)
    backlog.take(1.4, 3)
    assert backlog.waiting == 3
    assert backlog.add(2.3)
    # a second after it last took one
    assert not backlog.add(2.5)
    backlog.take(9.0, 4)
    # nothing waits, so nobody is slow
    assert [backlog.add(30.0) for _ in range(6)] == [True] * 6
