"""The routes of the seed - adding, listing, one job - byte by byte, and the list of queues; what is refused adds nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gnj import GNJ, __version__
from gnj.api import wsgi
from gnj.api.queues import jobs as part
from gnj.api.queues.jobjson import job_json
from gnj.queue.catalog import RECORDS
from gnj.queue.derived import STATES
from gnj.queue.errors import Conflict, StorageUnavailable
from gnj.queue.model import Job, NewJob, PushWorker, QueueLimit
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock
from gnj.testing.clients import Call, asgi_client, wsgi_client

TOKEN = "a long random text"
NOW = 1_893_499_200_000
"""What the clock shows at first."""
HEADERS = (("authorization", f"Bearer {TOKEN}"), ("content-type", "application/json"))


class Served:
    """The queue face over an empty storage in memory."""

    def __init__(self, adapter: str) -> None:
        self.clock = FakeClock()
        self.storage = MemoryStorage(self.clock)
        self.jobs = GNJ(self.storage, token=TOKEN)
        self.queue = self.jobs.queue
        if adapter == "asgi":
            import gnj_starlette

            self.client: Any = asgi_client(gnj_starlette.asgi_app(self.jobs, ["queues"]))
        else:
            self.client = wsgi_client(wsgi.wsgi_app(self.jobs, ["queues"]))

    def ask(self, method: str, target: str, body: Any = b"", headers: Any = HEADERS) -> Any:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client(Call(method, target, sent, headers))

    def get(self, target: str) -> Any:
        answer = self.ask("GET", target)
        assert answer.status == 200, answer.body
        assert answer.header("content-type") == "application/json; charset=utf-8"
        return json.loads(answer.body)

    def add(self, *jobs: Any, queue: str = "mail") -> Any:
        answer = self.ask("POST", f"/queues/{queue}/jobs", list(jobs))
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def rows(self) -> dict[str, list[Any]]:
        return {name: self.storage.find(kind, Select(deleted=True)) for name, kind in RECORDS.items()}


@pytest.fixture(params=["asgi", "wsgi"])
def served(request):
    made = Served(request.param)
    yield made
    made.jobs.close()


def job(name: str = "n", data: Any = 1, **opts: Any) -> dict[str, Any]:
    return {"name": name, "data": data, **({"opts": opts} if opts else {})}


def error(answer: Any) -> tuple[int, str]:
    assert answer.header("content-type") == "application/json; charset=utf-8"
    ((name, text),) = json.loads(answer.body).items()
    assert name == "error"
    return answer.status, text


def test_the_banner(served):
    for headers in (HEADERS, ()):
        answer = served.ask("GET", "/", headers=headers)
        assert (answer.status, answer.body) == (200, f"gnj {__version__}".encode())
        assert answer.header("content-type") == "text/plain; charset=utf-8"


def test_adding(served):
    opts = {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}, "delay": 5000}
    answer = served.ask("POST", "/queues/mail/jobs", [job("welcome", {"to": "é"}, **opts), job("a", None, priority=7)])
    assert answer.status == 200
    assert answer.header("content-type") == "application/json; charset=utf-8"
    assert answer.header("gnj-created") == "2"
    assert (
        answer.body.decode()
        == f"""[{{"id":"1","name":"welcome","data":{{"to":"é"}},"opts":{{"attempts":3,"backoff":{{"type":"exponential","delay":1000}},\
"delay":5000}},"progress":0,"returnvalue":null,"stacktrace":[],"priority":0,"delay":5000,"attemptsMade":0,"attemptsStarted":0,\
"stalledCounter":0,"timestamp":{NOW},"queueQualifiedName":"gnj:mail","gnjId":1}},{{"id":"2","name":"a","data":null,"opts":\
{{"attempts":0,"priority":7}},"progress":0,"returnvalue":null,"stacktrace":[],"priority":7,"delay":0,"attemptsMade":0,\
"attemptsStarted":0,"stalledCounter":0,"timestamp":{NOW},"queueQualifiedName":"gnj:mail","gnjId":2}}]"""
    )
    assert served.add() == []


def test_listing(served):
    served.add(job("a", data={"x": [1]}))
    answer = served.ask("GET", "/queues/mail/jobs")
    assert (
        answer.body.decode()
        == f"""{{"counts":{{"waiting":1,"prioritized":0,"active":0,"delayed":0,"completed":0,"failed":0,"waiting-children":0,\
"paused":0}},"jobs":[{{"id":"1","name":"a","data":{{"x":[1]}},"opts":{{"attempts":0}},"progress":0,"returnvalue":null,\
"stacktrace":[],"priority":0,"delay":0,"attemptsMade":0,"attemptsStarted":0,"stalledCounter":0,"timestamp":{NOW},\
"queueQualifiedName":"gnj:mail","gnjId":1}}],"start":0,"length":10}}"""
    )
    assert served.get("/queues/nobody/jobs?statuses=waiting&start=3&length=7") == {
        "counts": {"waiting": 0, "paused": 0},
        "jobs": [],
        "start": 3,
        "length": 7,
    }
    for empty in ("", "all"):
        assert (
            served.get(f"/queues/mail/jobs?statuses={empty}")["counts"].keys()
            == served.get("/queues/mail/jobs")["counts"].keys()
        )


def test_a_page_is_cut_from_the_joined_list(served):
    served.add(*(job(f"w{n}") for n in range(3)), *(job(f"d{n}", delay=n + 1) for n in range(3)))
    found = served.get("/queues/mail/jobs?statuses=delayed,waiting&start=2&length=2")
    assert [each["name"] for each in found["jobs"]] == ["d0", "w2"]
    assert found["counts"] == {"delayed": 3, "waiting": 3, "paused": 0}
    assert served.get("/queues/mail/jobs?length=0")["jobs"] == []
    assert len(served.get("/queues/mail/jobs?length=100")["jobs"]) == 6


def test_the_life_of_a_job(served):
    """What of it shows at each stage."""
    served.add(job("a", jobId="x", attempts=2, backoff={"type": "fixed", "delay": 3000}))

    def shown() -> dict[str, Any]:
        told = served.get("/queues/mail/jobs/x")
        assert served.get("/queues/mail/jobs")["jobs"] == [told]
        changing = {
            "progress",
            "returnvalue",
            "stacktrace",
            "delay",
            "attemptsMade",
            "attemptsStarted",
            "stalledCounter",
        }
        more = {"failedReason", "processedOn", "finishedOn", "processedBy"}
        return {name: value for name, value in told.items() if (name in changing and value) or name in more}

    assert shown() == {}
    claim = served.queue.acquire(["mail"], worker_id="w1")
    assert shown() == {"attemptsStarted": 1, "processedOn": NOW, "processedBy": "w1"}
    served.clock.tick()
    served.queue.update_job(claim.id, {"progress": "half"})
    served.queue.fail(claim, "no luck")
    tried = {"failedReason": "no luck", "stacktrace": ["no luck"], "processedBy": "w1", "progress": "half"}
    assert shown() == {**tried, "attemptsMade": 1, "attemptsStarted": 1, "delay": 3000, "processedOn": NOW}
    served.clock.tick(3)
    claim = served.queue.acquire(["mail"], worker_id="w2")
    served.queue.succeed(claim, {"sent": True})
    assert shown() == {
        "progress": "half",
        "attemptsMade": 2,
        "attemptsStarted": 2,
        "returnvalue": {"sent": True},
        "stacktrace": ["no luck"],
        "processedBy": "w2",
        "processedOn": NOW + 4000,
        "finishedOn": NOW + 4000,
    }


def test_tries_that_began(served):
    """What was claimed ahead and given back is none; one that was lost with its worker is."""
    served.add(job("a", jobId="x", attempts=5))

    def started() -> Any:
        return served.get("/queues/mail/jobs/x")["attemptsStarted"]

    for _ in range(3):
        claim = served.queue.acquire(["mail"])
        assert started() == 1
        served.queue.release([claim])
        assert started() == 0
    served.queue.fail(served.queue.acquire(["mail"]), "no luck")
    assert started() == 1
    served.queue.acquire(["mail"], lease=1)
    assert started() == 2
    served.clock.tick(2)
    assert served.queue.reap(force=True) == 1
    assert started() == 2
    claim = served.queue.acquire(["mail"])
    assert (claim.attempt, started()) == (6, 3)
    served.queue.succeed(claim)
    assert started() == 3


def test_what_began_of_a_job_that_was_cancelled(served):
    served.add(job("a", jobId="x"), job("b", jobId="y"), job("c", jobId="z"))
    claim = served.queue.acquire(["mail"])
    served.queue.cancelled(claim, "enough")
    served.queue.cancel(2)
    served.queue.update_job(3, {"status": "successful"})
    started = [served.get(f"/queues/mail/jobs/{id}")["attemptsStarted"] for id in "xyz"]
    assert started == [1, 0, 0]


@pytest.mark.parametrize(
    "output, told",
    [
        ({"error": "boom"}, "boom"),
        ({"error": {"a": 1}}, '{"a":1}'),
        ({"x": 1}, "{'x': 1}"),
        ("text", "text"),
        (None, "failed"),
    ],
)
def test_why_a_job_failed(served, output, told):
    """Whatever its worker gave as its output."""
    served.add(job())
    claim = served.queue.acquire(["mail"])
    served.queue.update_job(claim.id, {"status": "failed", "output": output})
    assert served.get("/queues/mail/jobs/1")["failedReason"] == told


def test_a_job_that_was_cancelled(served):
    served.add(job())
    served.queue.cancel(1)
    found = served.get("/queues/mail/jobs?statuses=failed")["jobs"][0]
    assert (found["failedReason"], found["finishedOn"], found["attemptsMade"]) == ("cancelled", NOW, 0)


def test_jobs_of_graphql(served):
    served.queue.enqueue(NewJob("mail", 1, priority=-3, max_attempts=4, backoff={"type": "linear", "delay": 5}))
    served.queue.enqueue(NewJob("mail", 1, name="n", unique_id="u"))
    served.storage.insert_jobs([{"type": "mail", "custom_id": "x"}])
    found = served.get("/queues/mail/jobs")["jobs"]
    assert [(each["id"], each["name"], each["priority"], each["opts"]) for each in found] == [
        ("x", "mail", 0, {"attempts": 0, "jobId": "x"}),
        ("2", "n", 0, {"attempts": 0}),
        ("1", "mail", 3, {"attempts": 4, "backoff": {"type": "linear", "delay": 5}, "priority": 3}),
    ]


def test_duplicates(served):
    first = served.add(job("a", jobId="x", delay=9000))
    served.clock.tick()
    answer = served.ask("POST", "/queues/mail/jobs", [job("b", jobId="x"), job("c")])
    assert answer.header("gnj-created") == "1"
    there, new = json.loads(answer.body)
    assert [there] == first
    assert new["name"] == "c"
    (one,) = served.add(job("d", deduplication={"id": "k"}))
    assert one["deduplicationId"] == "k"
    assert served.add(job("e", deduplication={"id": "k"})) == [one]


def test_a_duplicate_of_a_job_that_failed_shows_it_as_it_is(served):
    served.add(job("a", jobId="x"))
    served.queue.fail(served.queue.acquire(["mail"]), "no")
    (told,) = served.add(job("b", jobId="x"))
    assert told == served.get("/queues/mail/jobs/x")
    assert (told["failedReason"], told["stacktrace"]) == ("no", ["no"])


def test_one_job(served):
    served.add(job("a"), job("b", jobId="é b:c"))
    assert served.get("/queues/mail/jobs/1")["name"] == "a"
    assert served.get("/queues/mail/jobs/%C3%A9%20b:c")["name"] == "b"
    for id in ("2", "3", "x", "01", "%2B1", "1%00", "9" * 400):
        answer = served.ask("GET", f"/queues/mail/jobs/{id}")
        assert error(answer) == (
            (400, "job id must not hold a NUL character") if "%00" in id else (404, "Job not found")
        )
    assert error(served.ask("GET", "/queues/post/jobs/1")) == (404, "Job not found")


BAD_BODIES = [
    (b"", "the body must be JSON"),
    (b"[", "the body must be JSON"),
    (b"{}", "Body must be an array"),
    (b"null", "Body must be an array"),
    (b'"[]"', "Body must be an array"),
    (b"[5]", "a job must be an object, not 5"),
    (b'[{"data":1}]', "name is required"),
    (b'[{"name":"n"}]', "data is required"),
    (b'[{"name":"n","data":1,"timestamp":5}]', "Unexpected field: timestamp"),
    (b'[{"name":"n","data":1,"opts":{"repeat":{}}}]', "Unexpected field: opts.repeat"),
    (b'[{"name":"n","data":1},{"name":"n","data":1,"opts":{"delay":-1}}]', "job 2: Invalid delay -1"),
    (b'[{"name":"n","data":"\\u0000"}]', "data must not hold a NUL character"),
    (b'[{"name":"n","data":"\\ud800"}]', "data must not hold a surrogate without its other half"),
    (b'[{"name":"\\ud800","data":1}]', "name must not hold a surrogate without its other half"),
    (b'[{"name":"n","data":1,"\\ud800\\u0000":1}]', "Unexpected field: \\ud800\\x00"),
    (b'["\\ud800"]', "a job must be an object, not '\\ud800'"),
    (b'[{"name":"n","data":1,"opts":{"jobId":"\\ud800"}}]', "Invalid jobId must not hold a surrogate"),
    (b'[{"name":"n","data":1,"opts":{"delay":1e400}}]', "Invalid delay inf"),
    (b'[{"name":"n","data":1,"opts":{"backoff":{"jitter":1e400}}}]', "Invalid backoff jitter inf"),
    (b'[{"name":"n","data":1,"opts":{"removeOnFail":{"age":-1e400}}}]', "Invalid removeOnFail age -inf"),
    (b'[{"name":"n","data":' + b"9" * 5000 + b"}]", "the body: integers beyond 64 bits are refused"),
    (b'[{"name":"n","data":NaN}]', "the body: NaN is not JSON"),
    (b'[{"name":"n","data":1e400}]', "data must not hold NaN or infinite numbers"),
    (b'[{"name":"n","data":' + b"[" * 70 + b"]" * 70 + b"}]", "the body must not be nested deeper than 64 levels"),
    (b'[{"name":"' + b"n" * 10_000 + b'","data":1}]', "name must have at most 500 characters, not 10,000"),
    (b'[{"name":"n","data":1}' + b',{"name":"n","data":1}' * 10_000 + b"]", "Body must have at most 10,000 jobs"),
]


@pytest.mark.parametrize("body, told", BAD_BODIES)
def test_bodies_that_add_nothing(served, body, told):
    served.add(job())
    before = served.rows()
    status, text = error(served.ask("POST", "/queues/mail/jobs", body))
    assert (status, text[: len(told)]) == (400, told)
    assert served.rows() == before


@pytest.mark.parametrize(
    "method, target, headers, status, told",
    [
        ("POST", "/queues/mail/jobs", HEADERS[:1], 415, "Content-Type must be application/json"),
        ("POST", "/queues/mail/jobs", HEADERS[1:], 401, "Unauthorized"),
        ("POST", "/queues/mail/jobs?start=1", HEADERS, 400, "Unexpected parameter: 'start'"),
        ("POST", "/queues/ab/jobs", HEADERS, 400, "queue name must be at least 3 characters long"),
        ("POST", "/queues/gnj:bulk/jobs", HEADERS, 400, "queue name is reserved: 'gnj:bulk'"),
        ("POST", "/queues/mail/jobs/1", HEADERS, 405, "Method not allowed"),
        ("PUT", "/queues/mail/jobs", HEADERS, 405, "Method not allowed"),
        ("POST", "/queues", HEADERS, 405, "Method not allowed"),
        ("GET", "/queues/mail/jobs?statuses=x", HEADERS, 400, "Invalid status: x"),
        ("GET", "/queues/mail/jobs?statuses=waiting,,failed", HEADERS, 400, "Invalid status: "),
        ("GET", "/queues/mail/jobs?start=x", HEADERS, 400, "Invalid start or length"),
        ("GET", "/queues/mail/jobs?length=101", HEADERS, 400, "Length must be less than or equal to 100"),
        ("GET", "/queues/mail/jobs?start=-1", HEADERS, 400, "Start and length must be positive"),
        ("GET", "/queues/mail/jobs?status=waiting", HEADERS, 400, "Unexpected parameter: 'status'"),
        ("GET", "/queues?search=" + "x" * 101, HEADERS, 400, "search must have at most 100 characters"),
        ("GET", "/queues?length=101", HEADERS, 400, "Length must be less than or equal to 100"),
        ("GET", "/queues/mail?x=1", HEADERS, 400, "Unexpected parameter: 'x'"),
    ],
)
def test_requests_that_are_refused(served, method, target, headers, status, told):
    served.add(job())
    before = served.rows()
    body = [job("b")] if method in ("POST", "PUT") else b""
    assert error(served.ask(method, target, body, headers)) == (status, told)
    assert served.rows() == before


@pytest.mark.parametrize("raised", [StorageUnavailable("gone"), Conflict("in the way")])
def test_a_database_that_fails(served, monkeypatch, raised):
    """Also one that fails after the request has given its thread back."""

    def fail(*_given):
        raise raised

    monkeypatch.setattr(MemoryStorage, "enqueue", fail)
    for jobs in ([job()], [job(), job()], [job(jobId="x")]):
        answer = served.ask("POST", "/queues/mail/jobs", jobs)
        assert error(answer) == (503, str(raised))
        assert answer.header("retry-after") == "5"


def test_queues(served):
    assert served.get("/queues") == {"queues": [], "start": 0, "length": 10, "total": 0}
    for name in ("b-mail", "a-mail", "post"):
        served.add(job(), queue=name)
    served.queue.hold("post")
    found = served.get("/queues?start=1&length=2")
    assert [each["name"] for each in found["queues"]] == ["b-mail", "post"]
    assert found["queues"][1]["paused"]
    assert (found["start"], found["length"], found["total"]) == (1, 2, 3)
    assert [each["name"] for each in served.get("/queues?search=mail")["queues"]] == ["a-mail", "b-mail"]
    assert served.get("/queues?search=")["total"] == 3


def test_one_queue(served):
    zeros = dict.fromkeys(STATES, 0)
    plain = {"name": "mail", "paused": False, "counts": zeros, "limits": {}, "worker": None}
    assert served.get("/queues/mail") == plain
    served.add(job(), job(delay=5))
    served.queue.hold("all")
    limit = {"type": "mail", "rate_max": 5, "rate_ms": 1000, "key_concurrency": 2}
    served.storage.insert(QueueLimit, [limit])
    worker = {"type": "mail", "url": "https://a.example/", "method": "POST", "timeout_ms": 1, "secret": "secret"}
    served.storage.insert(PushWorker, [worker])
    assert served.get("/queues/mail") == {
        "name": "mail",
        "paused": True,
        "counts": {**zeros, "waiting": 1, "delayed": 1},
        "limits": {"limiter": {"max": 5, "duration": 1000}, "group": {"concurrency": 2}},
        "worker": {"disabled": False},
    }


def test_what_is_shown_is_what_is_described(served):
    """No field is left out of the schema, and none that it requires of a job."""
    from gnj.api.queues.schemas import SCHEMAS

    jsonschema = pytest.importorskip("jsonschema")
    schema = {"components": {"schemas": dict(SCHEMAS)}, "type": "array", "items": {"$ref": "#/components/schemas/Job"}}
    served.add(job("a", jobId="x", deduplication={"id": "k"}), job("b", delay=5), job("c", priority=3), job("d"))
    claim = served.queue.acquire(["mail"], worker_id="w")
    served.queue.fail(claim, "no")
    served.queue.acquire(["mail"])
    served.storage.insert_jobs([{"type": "mail", "status": JobStatus.PLANNED, "priority": -(2**31)}])
    now = served.storage.now()
    shown = [job_json(each, ["e"], now) for each in served.storage.find(Job)]
    jsonschema.Draft202012Validator(schema).validate(shown)
    for operation in part.OPERATIONS:
        answer = operation.answers[200]
        example = {"components": {"schemas": dict(SCHEMAS)}, **(answer.schema or {})}
        jsonschema.Draft202012Validator(example).validate(answer.example)
        if operation.body is not None:
            body = {"components": {"schemas": dict(SCHEMAS)}, **operation.body}
            for each in operation.body["examples"]:
                jsonschema.Draft202012Validator(body).validate(each)
