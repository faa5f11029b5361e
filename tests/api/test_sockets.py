"""A WebSocket without a server: what is kept in which order, how much of it, and until when."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from gnj.access import RequestContext
from gnj.api import http
from gnj.api import jobs as dialect
from gnj.api.hooks import Guard
from gnj.api.sockets import WebSocket, WebSockets
from gnj.api.streams import Streams
from gnj.graphql.engine import Engine
from gnj.graphql.limits import Limits
from gnj.graphql.rules import Rules
from gnj.queue.feed import Change
from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.storage.memory import MemoryStorage

WAIT = 20
LOCAL = RequestContext(headers={"host": "localhost"}, client_host="127.0.0.1", transport="ws")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self, schema: Any, **limits: Any) -> None:
        self.queue = Queue(MemoryStorage())
        engine = Engine(schema, Rules(limits=Limits(**limits)))
        self.streams: Streams = dialect.streams(engine, self.queue, Guard())
        self.clock = Clock()
        self.rung = threading.Event()
        socket = WebSockets(self.streams, clock=self.clock).open(LOCAL, self.rung.set)
        assert isinstance(socket, WebSocket)
        self.socket = socket

    def send(self, type: str, **more: Any) -> Any:
        return self.socket.receive(json.dumps({"type": type, **more}))

    def subscribe(self, id: str, query: str) -> Any:
        return self.send("subscribe", id=id, payload={"query": query})

    def closing(self) -> Any:
        return self.socket.closing

    def init(self) -> None:
        self.send("connection_init")()
        assert self.taken() == [{"type": "connection_ack"}]

    def taken(self) -> list[Any]:
        messages = []
        while (text := self.socket.take()) is not None:
            messages.append(json.loads(text))
        return messages

    def wait_for(self, count: int) -> None:
        """Until so many events wait, or the socket is to be closed."""
        deadline = time.monotonic() + WAIT
        while len(self.socket._outbox) < count and self.socket.closing is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def ping(self, count: int) -> None:
        self.queue.feed.publish([Change("pinged", "")] * count)


PINGED = "subscription { pinged { success } }"


@pytest.fixture
def world(schema):
    world = World(schema, buffered=3, burst=5)
    yield world
    world.socket.close()
    deadline = time.monotonic() + WAIT
    while not world.streams.idle:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert len(world.streams.sockets) == 0


def test_a_slow_consumer_is_one_that_has_not_taken_for_a_second(world):
    world.init()
    world.subscribe("a", PINGED)()
    world.ping(5)
    world.wait_for(5)
    assert world.closing() is None
    assert len(world.taken()) == 5
    world.ping(3)
    world.wait_for(3)
    world.clock.now += 1
    world.ping(1)
    world.wait_for(4)
    assert world.closing() == (4413, "Slow consumer")
    assert world.taken() == []


def test_a_burst_is_bounded_too(world):
    world.init()
    world.subscribe("a", PINGED)()
    world.ping(6)
    world.wait_for(6)
    assert world.closing() == (4413, "Slow consumer")


def test_what_waits_for_an_operation_that_was_completed_is_not_sent(world):
    world.init()
    world.subscribe("a", PINGED)()
    world.ping(2)
    world.wait_for(2)
    world.send("complete", id="a")
    assert world.taken() == []
    # its id is free, and its events do not come under the new one
    world.subscribe("a", PINGED)()
    world.ping(1)
    world.wait_for(1)
    assert len(world.taken()) == 1


def test_operations_begin_in_order_whichever_thread_runs_first(world):
    world.init()
    subscribe = world.subscribe("s", "subscription { jobCreated { id } }")
    create = world.subscribe("m", 'mutation { jobCreate(job: {type: "a"}) { id } }')
    later = threading.Thread(target=create)
    later.start()
    later.join(0.05)
    assert later.is_alive()
    subscribe()
    later.join(WAIT)
    world.wait_for(3)
    assert sorted((message["id"], message["type"]) for message in world.taken()) == [
        ("m", "complete"),
        ("m", "next"),
        ("s", "next"),
    ]


def test_an_operation_that_is_completed_before_it_began_does_not_begin(world):
    world.init()
    subscribe = world.subscribe("s", PINGED)
    create = world.subscribe("m", 'mutation { jobCreate(job: {type: "a"}) { id } }')
    world.send("complete", id="s")
    world.send("complete", id="m")
    subscribe()
    create()
    assert world.streams.idle
    assert world.taken() == []
    assert world.queue.storage.count(Job) == 0


def test_operations_that_wait_for_a_thread_are_bounded_though_they_are_completed(schema):
    world = World(schema, operations=3)
    world.init()
    waiting = []
    for number in range(8):
        waiting.append(world.subscribe(str(number), PINGED))
        world.send("complete", id=str(number))
    assert [work is not None for work in waiting] == [True] * 6 + [False] * 2
    assert {message["payload"][0]["extensions"]["code"] for message in world.taken()} == {"TOO_MANY_OPERATIONS"}
    for work in waiting[:6]:
        work()
    assert world.subscribe("again", PINGED) is not None
    world.socket.close()


def test_who_completes_one_of_all_may_ask_the_next_at_once_though_none_has_begun(schema):
    world = World(schema, operations=3)
    world.init()
    waiting = [world.subscribe(str(number), PINGED) for number in range(4)]
    assert [work is not None for work in waiting] == [True, True, True, False]
    world.send("complete", id="0")
    assert world.subscribe("again", PINGED) is not None
    world.socket.close()


def test_a_socket_that_goes_while_an_operation_begins_leaves_nothing(world):
    world.init()
    subscribe = world.subscribe("s", PINGED)
    begin = world.streams.open

    def slow(*arguments: Any) -> Any:
        opened = begin(*arguments)
        world.socket.close()
        return opened

    world.streams.open = slow
    subscribe()
    world.streams.open = begin
    assert not world.streams._groups


def test_time(world):
    assert world.socket.tick() == 5
    world.clock.now += 4
    assert world.socket.tick() == 1
    world.init()
    assert world.socket.tick() == 16
    world.clock.now += 16
    assert world.socket.tick() == 20
    assert world.taken() == [{"type": "ping"}]
    world.clock.now += 1
    world.send("pong")
    world.clock.now += 19
    world.socket.tick()
    assert world.taken() == [{"type": "ping"}]
    world.clock.now += 20
    world.socket.tick()
    assert world.closing() == (4499, "No sign of life")


def test_answers_that_nobody_reads_are_bounded(schema):
    world = World(schema, buffered=3, operations=4)
    world.init()
    for _ in range(7):
        world.send("ping")
    assert world.closing() is None
    world.send("ping")
    assert world.closing() == (4413, "Slow consumer")
    world.socket.close()


def test_bytes_are_bounded_but_one_answer_may_be_of_any_size(schema):
    world = World(schema, buffered_bytes=50)
    world.init()
    world.send("ping", payload={"a": "x" * 100})
    assert world.closing() is None
    world.send("ping")
    assert world.closing() == (4413, "Slow consumer")
    world.socket.close()


def test_an_answer_in_place_of_a_socket_is_a_response(schema):
    world = World(schema)
    refused = WebSockets(world.streams).open(RequestContext(headers={"origin": "https://x"}), world.rung.set)
    assert isinstance(refused, http.Response)
    assert refused.status == 403
    world.socket.close()
