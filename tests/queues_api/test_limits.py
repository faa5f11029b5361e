"""The routes that tell, set and take away the limits of a queue; what is refused changes nothing."""

from __future__ import annotations

import json

import pytest

from gnj import GNJ
from gnj.access import Principal
from gnj.api import wsgi
from gnj.api.queues import limits as part
from gnj.queue.catalog import RECORDS
from gnj.queue.limits import KEEP, Rate
from gnj.queue.model import Hold, QueueLimit
from gnj.queue.storage import Select
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock
from gnj.testing.clients import Call, asgi_client, wsgi_client

JSON = ("content-type", "application/json")
SCOPES = {"reader": ["read"], "adder": ["read", "enqueue", "claim"], "admin": ["read", "admin"]}


class Served:
    """The face over an empty storage in memory, asked by somebody whose name tells the tenant and what is allowed."""

    def __init__(self, adapter):
        self.clock = FakeClock()
        self.storage = MemoryStorage(self.clock)
        self.jobs = GNJ(self.storage, authenticate=self.authenticate, authorize=lambda *_: True)
        if adapter == "asgi":
            import gnj_starlette

            self.client = asgi_client(gnj_starlette.asgi_app(self.jobs, ["queues"]))
        else:
            self.client = wsgi_client(wsgi.wsgi_app(self.jobs, ["queues"]))

    def authenticate(self, context):
        name = context.headers.get("x-user")
        if name is None:
            return None
        tenant, role = name.split(".")
        return Principal(name, tenant=tenant, scopes=frozenset(SCOPES[role]))

    def ask(self, method, body=b"", user="t.admin", queue="mail", headers=(JSON,)):
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        who = () if user is None else (("x-user", user),)
        return self.client(Call(method, f"/queues/{queue}/limits", sent, (*headers, *who)))

    def told(self, *asked, **options):
        answer = self.ask(*asked, **options)
        assert answer.status == 200, answer.body
        assert answer.header("content-type") == "application/json; charset=utf-8"
        return json.loads(answer.body)

    def rows(self):
        return {name: self.storage.find(kind, Select(deleted=True)) for name, kind in RECORDS.items()}


@pytest.fixture(params=["asgi", "wsgi"])
def served(request):
    return Served(request.param)


@pytest.mark.parametrize("limits", part.BODY["examples"])
def test_limits_come_and_go(served, limits):
    assert served.told("GET") == {}
    assert served.told("PUT", limits) == limits
    assert served.told("GET", user="t.reader") == limits
    assert served.told("PUT", {"concurrency": 7}) == served.told("GET") == {"concurrency": 7}
    for _ in range(2):
        answer = served.ask("DELETE", headers=())
        assert (answer.status, answer.body, answer.header("content-type")) == (204, b"", None)
        assert served.told("GET") == {}
    assert served.storage.find(QueueLimit) == served.storage.find(Hold) == []


def test_a_push_workers_rate_is_shown_and_stays(served):
    served.jobs.queue.set_limits("mail", KEEP, tenant="t", worker=Rate(3, 50))
    shown = {"worker": {"max": 3, "duration": 50}}
    assert served.told("GET") == shown
    assert served.told("PUT", {"concurrency": 2}) == {"concurrency": 2, **shown}
    assert served.ask("DELETE").status == 204
    assert served.told("GET") == shown


def test_tenants_do_not_see_each_other(served):
    served.told("PUT", {"concurrency": 2})
    assert served.told("GET", user="u.admin") == {}
    before = served.storage.find(QueueLimit, tenant="t")
    assert served.ask("DELETE", user="u.admin").status == 204
    served.told("PUT", {"concurrency": 3}, user="u.admin")
    assert served.storage.find(QueueLimit, tenant="t") == before
    assert served.told("GET") == {"concurrency": 2}


def test_limits_hold(served):
    served.told("PUT", {"group": {"concurrency": 1}})
    queue = served.jobs.queue
    queue.add("mail", [{"name": "n", "data": 1, "opts": {"group": group}} for group in "aab"], tenant="t")
    assert [job.limit_key for job in queue.acquire(["mail"], 9)] == ["a", "b"]


@pytest.mark.parametrize(
    "asked, status, told",
    [
        ({"method": "PUT", "body": {"concurrency": 0}}, 400, "concurrency must be from 1 to 100,000, not 0"),
        ({"method": "PUT", "body": {"limiter": {"max": 1}}}, 400, "limiter.duration is required"),
        ({"method": "PUT", "body": {"rate": 1}}, 400, "Unexpected field: rate"),
        ({"method": "PUT", "body": [], "queue": "xyz"}, 400, "the limits must be an object, not []"),
        ({"method": "PUT", "body": b"{"}, 400, None),
        ({"method": "PUT", "body": b""}, 400, None),
        ({"method": "PUT", "body": {}, "headers": ()}, 415, "Content-Type must be application/json"),
        ({"method": "PUT", "body": {}, "queue": "gnj:bulk"}, 400, "queue name is reserved: 'gnj:bulk'"),
        ({"method": "PUT", "body": {}, "queue": "all"}, 400, "queue name is reserved: 'all'"),
        ({"method": "DELETE", "queue": "all"}, 400, "queue name is reserved: 'all'"),
        ({"method": "PUT", "body": {}, "queue": "ab"}, 400, "queue name must be at least 3 characters long"),
        ({"method": "GET", "queue": "q" * 101}, 400, "queue name must be at most 100 characters long"),
        ({"method": "GET", "queue": "mail", "user": None}, 401, "Unauthorized"),
        ({"method": "PUT", "body": b"{", "user": None}, 401, "Unauthorized"),
        ({"method": "DELETE", "user": None}, 401, "Unauthorized"),
        ({"method": "PUT", "body": {}, "user": "t.adder"}, 403, None),
        ({"method": "DELETE", "user": "t.adder"}, 403, None),
        ({"method": "PATCH", "body": {}}, 405, "Method not allowed"),
        ({"method": "POST", "body": {}}, 405, "Method not allowed"),
    ],
)
def test_what_is_refused_changes_nothing(served, asked, status, told):
    served.told("PUT", {"concurrency": 2})
    served.clock.tick()
    before = served.rows()
    answer = served.ask(**asked)
    error = json.loads(answer.body)
    assert list(error) == ["error"]
    assert (answer.status, error["error"] if told else told) == (status, told)
    assert served.rows() == before
