"""What is done with jobs and queues over REST; every refusal names what is wrong, and changes nothing."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from gnj import GNJ
from gnj.access import Principal
from gnj.api import wsgi
from gnj.queue import bulk
from gnj.queue.catalog import RECORDS
from gnj.queue.model import Job, NewJob
from gnj.queue.storage import Select
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock
from gnj.testing.clients import Call, asgi_client, wsgi_client

HEADERS = (("x-user", "anna"), ("content-type", "application/json"))
PLAIN = (("x-user", "anna"),)


class Served:
    """The queue face of the tenant "anna", over an empty storage in memory."""

    def __init__(self, adapter: str) -> None:
        self.clock = FakeClock()
        self.storage = MemoryStorage(self.clock)
        self.jobs = GNJ(self.storage, authenticate=lambda context: Principal("x", context.headers["x-user"]))
        self.queue = self.jobs.queue
        if adapter == "asgi":
            import gnj_starlette

            self.client: Any = asgi_client(gnj_starlette.asgi_app(self.jobs, ["queues"]))
        else:
            self.client = wsgi_client(wsgi.wsgi_app(self.jobs, ["queues"]))

    def ask(self, method: str, target: str, body: Any = b"", headers: Any = None) -> Any:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client(Call(method, target, sent, headers or (HEADERS if sent else PLAIN)))

    def done(self, method: str, target: str, body: Any = b"", status: int = 200) -> Any:
        answer = self.ask(method, target, body)
        assert answer.status == status, answer.body
        assert answer.header("content-type") == "application/json; charset=utf-8"
        return json.loads(answer.body)

    def rows(self) -> dict[str, list[Any]]:
        return {name: self.storage.find(kind, Select(deleted=True)) for name, kind in RECORDS.items()}

    def failed(self, count: int = 1) -> list[Job]:
        row = {"type": "mail", "status": "failed", "output": {"error": "broken"}}
        return self.queue.create_jobs([row] * count, tenant="anna")


@pytest.fixture(params=["asgi", "wsgi"])
def served(request):
    made = Served(request.param)
    yield made
    made.jobs.close()


@pytest.fixture
def refuses(served):
    """Sends a request that is refused, and changes no byte."""

    def check(status, text, *asked, headers=None):
        served.clock.tick(1)
        before = served.rows()
        answer = served.ask(*asked, headers=headers)
        assert answer.header("content-type") == "application/json; charset=utf-8"
        assert (answer.status, json.loads(answer.body)) == (status, {"error": text})
        assert served.rows() == before

    return check


def test_a_job_is_retried(served):
    (job,) = served.failed()
    told = served.done("POST", f"/queues/mail/jobs/{job.id}/retry")
    assert told == served.done("GET", f"/queues/mail/jobs/{job.id}")
    assert (told["id"], told["returnvalue"], "finishedOn" in told) == (str(job.id), None, False)
    assert served.queue.get(Job, job.id).status == "queued"


def test_a_job_is_promoted(served):
    options = {"delay": 60_000, "jobId": "later on"}
    served.done("POST", "/queues/mail/jobs", [{"name": "n", "data": 1, "opts": options}])
    told = served.done("POST", "/queues/mail/jobs/later%20on/promote", {})
    assert (told["id"], told["delay"]) == ("later on", 0)
    assert served.queue.acquire(["mail"]).custom_id == "later on"


@pytest.mark.parametrize("data", [None, 0, "", [], {"to": "ben"}, {"opts": {"a": [1.5, "é"]}}])
def test_data_is_given(served, data):
    (job,) = served.failed()
    told = served.done("PUT", f"/queues/mail/jobs/{job.id}/data", data)
    assert told["data"] == data
    assert told == served.done("GET", f"/queues/mail/jobs/{job.id}")


def test_a_job_is_removed(served, refuses):
    (job,) = served.failed()
    assert served.done("DELETE", f"/queues/mail/jobs/{job.id}") == {"removed": 1}
    refuses(404, "Job not found", "DELETE", f"/queues/mail/jobs/{job.id}")


JOB_ROUTES = [("POST", "retry"), ("POST", "promote"), ("PUT", "data"), ("DELETE", "")]


@pytest.mark.parametrize("method, action", JOB_ROUTES)
def test_jobs_there_are_not(served, refuses, method, action):
    served.failed()
    (other,) = served.queue.create_jobs([{"type": "mail", "status": "failed"}], tenant="ben")
    (elsewhere,) = served.queue.create_jobs([{"type": "post", "status": "failed"}], tenant="anna")
    for id in ("999", "x", "-1", str(10**400), other.id, elsewhere.id):
        body = {"a": 1} if action == "data" else b""
        refuses(404, "Job not found", method, f"/queues/mail/jobs/{id}/{action}".rstrip("/"), body)


def test_states_that_do_not_allow_it(served, refuses):
    waits = served.queue.enqueue(NewJob("mail", tenant="anna"))
    path = f"/queues/mail/jobs/{waits.id}"
    refuses(409, "The job must be failed or cancelled", "POST", f"{path}/retry")
    refuses(409, "The job must be delayed", "POST", f"{path}/promote")
    served.queue.acquire(["mail"])
    told = "the job is being processed: cancel it first, or wait for its end"
    refuses(409, told, "DELETE", path)
    assert served.done("PUT", f"{path}/data", 5)["data"] == 5


@pytest.mark.parametrize("path", ["/jobs/1/retry", "/jobs/1/promote", "/pause", "/resume"])
def test_routes_that_take_no_body(served, refuses, path):
    served.failed()
    target = f"/queues/mail{path}"
    refuses(400, "Unexpected field: a", "POST", target, {"a": 1})
    refuses(400, "Body must be an object", "POST", target, [])
    refuses(415, "Content-Type must be application/json", "POST", target, {}, headers=(*PLAIN, ("content-type", "a/b")))
    refuses(400, "Unexpected parameter: 'force'", "POST", f"{target}?force=1")
    assert served.ask("POST", target, {}).status in (200, 409)


@pytest.mark.parametrize(
    "path", ["/jobs/1/retry", "/jobs/1/promote", "/jobs/1/data", "/pause", "/resume", "/drain", "/clean", "/bulk"]
)
def test_other_methods(served, path):
    answer = served.ask("GET", f"/queues/mail{path}")
    assert (answer.status, json.loads(answer.body)) == (405, {"error": "Method not allowed"})
    assert answer.header("allow") == ("PUT" if path.endswith("data") else "POST")


@pytest.mark.parametrize(
    "method, path", [("POST", "/pause"), ("POST", "/drain"), ("DELETE", "/jobs/1"), ("PUT", "/jobs/1/data")]
)
def test_names_of_queues_that_are_none(served, refuses, method, path):
    refuses(400, "queue name must be at least 3 characters long", method, f"/queues/ab{path}", {})
    refuses(400, "queue name must be at most 100 characters long", method, f"/queues/{'a' * 101}{path}", {})


def test_data_that_is_none(served, refuses):
    served.failed()
    target = "/queues/mail/jobs/1/data"
    for body, status, text in [
        (b"", 415, "Content-Type must be application/json"),
        (b"{", 400, None),
        (b'"\\u0000"', 400, "the body must not hold a NUL character"),
        (b"[" * 65 + b"]" * 65, 400, "the body must not be nested deeper than 64 levels"),
        (b'"' + b"x" * (4 * 1024 * 1024) + b'"', 413, "A body is limited to 4,194,304 bytes here."),
    ]:
        if text is None:
            assert served.ask("PUT", target, body).status == status
        else:
            refuses(status, text, "PUT", target, body)


def test_a_queue_is_paused_and_resumed(served):
    served.done("POST", "/queues/mail/jobs", [{"name": "n", "data": 1}])
    for _ in range(2):
        assert served.done("POST", "/queues/mail/pause") == {"paused": True}
        assert served.queue.acquire(["mail"]) is None
    assert served.done("GET", "/queues/mail")["paused"] is True
    for _ in range(2):
        assert served.done("POST", "/queues/mail/resume") == {"paused": False}
    assert served.done("GET", "/queues/mail")["paused"] is False
    assert served.queue.acquire(["mail"]).tenant == "anna"


def test_what_the_host_holds_stays_paused(served):
    served.queue.hold("all")
    assert served.done("POST", "/queues/mail/resume") == {"paused": True}


def test_a_queue_is_drained(served, refuses):
    jobs = [{"name": "n", "data": 1, "opts": options} for options in ({}, {"priority": 3}, {"delay": 60_000})]
    served.done("POST", "/queues/mail/jobs", jobs)
    for body, text in [
        ({"delayed": 1}, "delayed must be true or false, not 1"),
        ({"delayed": None}, "delayed must be true or false, not None"),
        ({"all": True}, "Unexpected field: all"),
        ([], "Body must be an object"),
    ]:
        refuses(400, text, "POST", "/queues/mail/drain", body)
    refuses(415, "Content-Type must be application/json", "POST", "/queues/mail/drain")
    assert served.done("POST", "/queues/mail/drain", {}) == {"removed": 2, "more": False}
    assert served.done("POST", "/queues/mail/drain", {"delayed": True}) == {"removed": 1, "more": False}


def test_a_queue_is_cleaned(served, refuses):
    served.failed(3)
    served.clock.tick(10)
    good: dict[str, Any] = {"status": "failed", "grace": 10_000, "limit": 2}
    changes: list[tuple[dict[str, Any], str]] = [
        ({"status": "active"}, "Invalid status: 'active'; there are: completed, failed, waiting, prioritized, delayed"),
        ({"grace": -1}, "grace must be from 0 to 1,000,000,000,000, not -1"),
        ({"grace": 1.5}, "grace must be an integer, not 1.5"),
        ({"limit": 0}, "limit must be from 1 to 10,000, not 0"),
        ({"limit": "2"}, "limit must be an integer, not '2'"),
        ({"older": 2}, "Unexpected field: older"),
    ]
    for change, text in changes:
        refuses(400, text, "POST", "/queues/mail/clean", {**good, **change})
    for name in good:
        left = {key: value for key, value in good.items() if key != name}
        refuses(400, f"{name} is required", "POST", "/queues/mail/clean", left)
    assert served.done("POST", "/queues/mail/clean", {**good, "grace": 1e4}) == {"removed": 2, "more": True}
    assert served.done("POST", "/queues/mail/clean", good) == {"removed": 1, "more": False}


@pytest.mark.parametrize("prefix", ["", "/a%20b"])
def test_a_bulk_job(request, prefix):
    served = Served("asgi")
    request.addfinalizer(served.jobs.close)
    if prefix:
        from starlette.applications import Starlette

        import gnj_starlette

        app = Starlette()
        gnj_starlette.mount(app, served.jobs, "/a b", ["queues"])
        served.client = asgi_client(app)
    jobs = served.failed(30)
    ended = threading.Event()
    served.queue.hooks.add(["succeeded"], lambda _: ended.set())
    served.jobs.start()
    try:
        answer = served.ask(
            "POST", f"{prefix}/queues/mail/bulk", {"action": "retry", "filter": {"statuses": ["failed"]}}
        )
        assert answer.status == 202, answer.body
        told = json.loads(answer.body)
        assert (told["name"], told["queueQualifiedName"]) == ("retry", "gnj:gnj:bulk")
        assert told["data"]["upto"] == jobs[-1].id
        assert ended.wait(20)
        read = served.done("GET", answer.header("location"))
    finally:
        served.jobs.close()
    assert read["id"] == told["id"]
    assert read["returnvalue"] == {"total": 30, "done": 30, "changed": 30, "failed": 0}
    assert read["progress"] == {**read["returnvalue"], "cursor": jobs[-1].id, "percent": 100}
    assert served.done("GET", f"{prefix}/queues/mail/jobs?statuses=waiting&length=0")["counts"]["waiting"] == 30


def test_bulk_jobs_that_are_none(served, refuses):
    served.failed(2)
    good = {"action": "retry", "filter": {"statuses": ["failed"]}}
    for body, text in [
        ([], "Body must be an object"),
        ({}, "action is required"),
        ({"action": "retry"}, "filter is required"),
        ({**good, "queue": "post"}, "Unexpected field: queue"),
        ({**good, "action": "promote"}, "action must be one of retry, remove, not 'promote'"),
        ({**good, "filter": {"statuses": ["active"]}}, "Invalid status: 'active'; jobs to retry can be: failed"),
        ({**good, "filter": {"statuses": ["failed"], "after": 1.5}}, "filter.after must be an integer, not 1.5"),
    ]:
        refuses(400, text, "POST", "/queues/mail/bulk", body)
    refuses(400, "queue name is reserved: 'gnj:bulk'", "POST", f"/queues/{bulk.TYPE}/bulk", good)
    after = {"action": "retry", "filter": {"statuses": ["failed"], "after": 1e12}}
    assert served.done("POST", "/queues/mail/bulk", after, 202)["data"]["filter"]["after"] == 10**12


def test_it_is_not_in_the_list_of_queues(served):
    served.done("POST", "/queues/mail/bulk", {"action": "retry", "filter": {"statuses": ["failed"]}}, 202)
    assert served.done("GET", "/queues")["queues"] == []
