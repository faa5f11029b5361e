"""Progress and logs over REST: written with the token of the claim, read with one of the API, never the other way round."""

from __future__ import annotations

import json
import threading

import pytest

from gnj import GNJ
from gnj.api import wsgi
from gnj.api.queues.progress import OPERATIONS
from gnj.queue.model import Job, NewJob
from gnj.testing.clients import wsgi_client
from tests.queues_api.test_actions import HEADERS, Served

JSON = ("content-type", "application/json")
WRITES = ["progress", "logs"]


@pytest.fixture(params=["asgi", "wsgi"])
def served(request):
    made = Served(request.param)
    yield made
    made.jobs.close()


@pytest.fixture
def job(served):
    served.queue.enqueue(NewJob("mail", tenant="anna"))
    return served.queue.acquire(["mail"], lease=60)


def tell(served, path, token, body, *headers):
    sent = json.dumps(body).encode() if not isinstance(body, bytes) else body
    given = () if token is None else (("authorization", f"Bearer {token}"),)
    return served.ask("POST", f"/queues/{path}", sent, (JSON, *given, *headers))


def ok(answer):
    assert (answer.status, answer.body) == (200, b"OK"), answer.body
    assert answer.header("content-type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize("progress", [42, 0.5, "half", None, [], {"percent": 50}, False])
def test_progress(served, job, progress):
    ok(tell(served, f"mail/jobs/{job.id}/progress", served.queue.claim_token(job), progress))
    told = served.done("GET", f"/queues/mail/jobs/{job.id}")["progress"]
    assert told == (0 if progress is None else progress)


def test_logs(served, job):
    token = served.queue.claim_token(job)
    for line in ("one", "zwölf\n", ""):
        ok(tell(served, f"mail/jobs/{job.id}/logs", token, line))
    path = f"/queues/mail/jobs/{job.id}/logs"
    assert served.done("GET", path) == {"logs": ["one", "zwölf\n", ""], "count": 3}
    assert served.done("GET", f"{path}?start=1&length=1") == {"logs": ["zwölf\n"], "count": 3}
    assert served.done("GET", f"{path}?length=0") == {"logs": [], "count": 3}
    assert served.done("GET", "/queues/mail/jobs/999/logs") == {"logs": [], "count": 0}
    answer = served.ask("GET", path, headers=(("x-user", "ben"),))
    assert json.loads(answer.body) == {"logs": [], "count": 0}


@pytest.mark.parametrize(
    "query, told",
    [
        ("start=x", "Invalid start or length"),
        ("start=-1", "Start and length must be positive"),
        ("length=101", "Length must be less than or equal to 100"),
        ("asc=1", "Unexpected parameter: 'asc'"),
    ],
)
def test_pages_that_are_none(served, job, query, told):
    answer = served.ask("GET", f"/queues/mail/jobs/{job.id}/logs?{query}")
    assert (answer.status, json.loads(answer.body)) == (400, {"error": told})


@pytest.mark.parametrize("what", WRITES)
def test_other_tokens(served, job, what):
    """Of another attempt, job, queue, tenant; a token of the API; a made-up one; none."""
    queue = served.queue
    queue.enqueue_many([NewJob("mail", tenant="anna"), NewJob("mail", tenant="ben"), NewJob("post", tenant="anna")])
    others = queue.acquire(["mail", "post"], 3)
    token, path = queue.claim_token(job), f"mail/jobs/{job.id}/{what}"
    refused = [
        (path, None),
        (path, ""),
        (path, "gnj_" + "A" * 43),
        *((path, queue.claim_token(other)) for other in others),
        (path, queue.claim_token(job.evolve(attempt=2))),
        (path, queue.claim_token(job.evolve(tenant="ben"))),
        (path, token[:-1]),
        (path, token + "A"),
        (f"post/jobs/{job.id}/{what}", token),
        (f"mail/jobs/{others[0].id}/{what}", token),
        (f"mail/jobs/999/{what}", token),
        (f"ab/jobs/{job.id}/{what}", token),
        (f"mail/jobs/0{job.id}/{what}", token),
    ]
    before = served.rows()
    for place, sent in refused:
        for body in ("a line", b"{"):  # who may comes before what is wrong
            answer = tell(served, place, sent, body)
            assert (answer.status, json.loads(answer.body)) == (401, {"error": "Unauthorized"}), (place, sent)
            assert answer.header("www-authenticate") == "Bearer"
    assert served.rows() == before
    ok(tell(served, path, token, "a line"))


@pytest.mark.parametrize("end", ["lease", "release", "succeed", "fail", "delete"])
@pytest.mark.parametrize("what", WRITES)
def test_a_claim_that_is_over(served, job, what, end):
    queue, token = served.queue, served.queue.claim_token(job)
    if end == "lease":
        served.clock.tick(61)
    elif end == "release":
        queue.release([job])
        queue.acquire(["mail"])
    elif end == "fail":
        queue.fail(job, "no")
    else:
        queue.succeed(job)
        if end == "delete":
            queue.delete(Job, job.id)
    before = served.rows()
    assert tell(served, f"mail/jobs/{job.id}/{what}", token, "late").status == 401
    assert served.rows() == before


def test_a_claim_token_reads_nothing(request, served, job):
    """Nor may it do anything else."""
    jobs = GNJ(served.storage, token="a long random text")
    request.addfinalizer(jobs.close)
    client = Served("wsgi")
    client.client = wsgi_client(wsgi.wsgi_app(jobs, ["queues"]))
    token = jobs.queue.claim_token(job)
    bearer = (("authorization", f"Bearer {token}"), JSON)
    for method, path in [
        ("GET", f"mail/jobs/{job.id}/logs"),
        ("GET", f"mail/jobs/{job.id}"),
        ("DELETE", f"mail/jobs/{job.id}"),
        ("POST", "mail/pause"),
        ("POST", "mail/jobs"),
    ]:
        assert client.ask(method, f"/queues/{path}", b"[]", bearer).status == 401
    api = (("authorization", "Bearer a long random text"), JSON)
    for what in WRITES:
        assert client.ask("POST", f"/queues/mail/jobs/{job.id}/{what}", b'"a"', api).status == 401


@pytest.mark.parametrize(
    "what, body, status, told",
    [
        ("logs", 5, 400, "the log line must be a string, not 5"),
        ("logs", None, 400, "the log line must be a string, not None"),
        ("logs", "x" * 65_537, 400, "the log line must have at most 65,536 characters, not 65,537"),
        ("logs", b'"a\\u0000"', 400, "the body must not hold a NUL character"),
        ("logs", b"line", 400, None),
        ("logs", b"", 400, None),
        ("progress", b"{", 400, None),
        ("progress", b'"\\ud800"', 400, "the body must not hold a surrogate without its other half"),
        ("progress", b'"' + b"x" * 4_194_304 + b'"', 413, "A body is limited to 4,194,304 bytes here."),
    ],
)
def test_what_is_no_progress_and_no_line(served, job, what, body, status, told):
    before = served.rows()
    answer = tell(served, f"mail/jobs/{job.id}/{what}", served.queue.claim_token(job), body)
    before["secret"] = served.rows()["secret"]
    assert answer.status == status
    assert told is None or json.loads(answer.body) == {"error": told}
    assert served.rows() == before


@pytest.mark.parametrize("what", WRITES)
def test_other_content_types(served, job, what):
    token = served.queue.claim_token(job)
    sent = (("authorization", f"Bearer {token}"), ("content-type", "text/plain"))
    answer = served.ask("POST", f"/queues/mail/jobs/{job.id}/{what}", b'"a"', sent)
    assert (answer.status, json.loads(answer.body)) == (415, {"error": "Content-Type must be application/json"})


def test_a_claim_that_ends_in_between(served, job, monkeypatch):
    token = served.queue.claim_token(job)
    monkeypatch.setattr(type(served.queue), "by_claim_token", lambda *_: job)
    served.queue.succeed(job)
    for what in WRITES:
        assert tell(served, f"mail/jobs/{job.id}/{what}", token, "late").status == 401


def test_methods(served, job):
    answer = served.ask("PUT", f"/queues/mail/jobs/{job.id}/logs", b"", HEADERS)
    assert (answer.status, answer.header("allow")) == (405, "POST, GET, HEAD")
    assert {each.kind for each in OPERATIONS if each.claim} == {None}


def test_a_handler_hands_its_token_on(served):
    """To whoever does the work: a process without the queue, a page in a browser."""
    told = []

    @served.jobs.handler("mail")
    def handle(job):
        told.append(tell(served, f"mail/jobs/{job.id}/progress", served.jobs.claim_token(job), {"percent": 50}))

    ended = threading.Event()
    served.queue.hooks.add(["succeeded", "failed"], lambda _: ended.set())
    served.queue.enqueue(NewJob("mail", tenant="anna"))
    with served.jobs.worker(concurrency=1):
        assert ended.wait(20)
    ok(told[0])
