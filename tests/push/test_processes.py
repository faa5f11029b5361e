"""Servers as processes of their own: each job is pushed once, whoever of them dies."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter

import pytest

from gnj.queue.model import Job, NewJob
from gnj.queue.states import JobStatus
from gnj.queue.where import equal
from tests.push.conftest import ok, registration
from tests.serving import Server
from tests.worker.spy import until

TOKEN = "a-long-random-text"


@pytest.fixture
def serve(place, tmp_path):
    """Call it for another server of the database, which may call this machine."""
    servers = []

    def start(*options):
        servers.append(Server(place, tmp_path, "--fetch-allow", "127.0.0.1", *options, GNJ_TOKEN=TOKEN))
        return servers[-1]

    yield start
    for each in servers:
        each.stop()


def ask(server, method, path, value=None):
    url = server.url.removesuffix("/graphql") + path
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    body = None if value is None else json.dumps(value).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=30) as answer:
        return answer.read()


def holder(queue):
    (row,) = queue.registrations(None)
    return row.holder


def ended(queue):
    return queue.storage.count(Job, equal(Job, status=JobStatus.SUCCESSFUL))


def enqueue(queue, count):
    return [job.id for job in queue.enqueue_many([NewJob("mail", {"n": n}) for n in range(count)])]


def test_each_job_once_by_two_servers_and_restarts(queue, serve, endpoint):
    called = endpoint()
    one, two = serve(), serve()
    assert ask(one, "POST", "/workers", registration(called.url, opts={"concurrency": 4})) == b"OK"
    assert json.loads(ask(two, "GET", "/workers")) == {"mail": called.url}
    ids = enqueue(queue, 500)
    until(lambda: ended(queue) == 500, within=60)
    assert sorted(called.ids) == ids
    assert called.most <= 4
    # what is registered is there again after all of them were away
    one.stop()
    two.stop()
    assert holder(queue) is None
    more = enqueue(queue, 50)
    one.start()
    until(lambda: ended(queue) == 550, within=30)
    assert sorted(called.ids) == ids + more
    assert ask(one, "DELETE", "/workers/mail") == b"OK"
    assert json.loads(ask(one, "GET", "/workers")) == {}


@pytest.mark.slow
def test_another_server_goes_on_when_the_holder_is_killed(queue, serve, endpoint):
    """Within its hold and a look; and no try of a job is pushed twice."""

    def slow(headers, asked):
        time.sleep(0.01)
        return ok(headers, asked)

    called = endpoint(slow)
    dies = serve()
    ask(dies, "POST", "/workers", registration(called.url, opts={"concurrency": 4}, endpoint={"timeout": 1_000}))
    until(lambda: holder(queue))
    first = holder(queue)
    serve()
    ids = enqueue(queue, 500)
    until(lambda: ended(queue) > 50, within=30)
    dies.kill()
    killed = time.monotonic()
    until(lambda: holder(queue) not in (first, None), within=10)
    taken = time.monotonic() - killed
    assert holder(queue).startswith("push:")
    assert taken < 5.0 + 1.0 + 1.0  # the hold, a look, and a machine that is busy
    # what the dead one had claimed comes back when its lease is over
    until(lambda: ended(queue) == 500, within=60)
    pushed = [(json.loads(body)["job"]["gnjId"], headers["gnj-attempt"]) for headers, body in called.calls]
    assert len(set(pushed)) == len(pushed)
    assert {id for id, _ in pushed} == set(ids)
    twice = [id for id, count in Counter(id for id, _ in pushed).items() if count > 1]
    assert len(twice) <= 2 * 4  # those under way when it was killed, and those whose end it had not told yet
