"""One call for one try: what is sent, and what the answer makes of the job."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

import gnj
from gnj.fetch.connection import Pool
from gnj.fetch.policy import Policy
from gnj.push.deliver import Deliveries
from gnj.queue.errors import Failed
from gnj.queue.model import Job, NewJob
from gnj.queue.pushing import MOST_FAILED
from gnj.queue.service import Queue
from tests.push.conftest import registration

JSON = {"content-type": "application/json"}


@pytest.fixture
def calling(queue, endpoint):
    """Call it with what the endpoint answers; gives the deliveries and the endpoint."""
    pool = Pool()

    def make(answer=None, allow=("127.0.0.1",), **more):
        called = endpoint(answer)
        row = queue.register(registration(called.url, **more), tenant="")
        return Deliveries(queue, row, Policy(allow), pool), called, row

    yield make
    pool.close()


def claimed(queue: Queue, **values: Any) -> Job:
    queue.enqueue(NewJob("mail", **{"input": {"to": "ann"}, **values}))
    job = queue.acquire(["mail"])
    assert job is not None
    return job


def test_the_call(queue, calling):
    calls, called, row = calling(endpoint={"method": "PATCH", "headers": {"X-A": "\xe9", "Content-type": "text/x"}})
    job = claimed(queue, name="hello")
    assert calls.deliver(job) == {"did": {"to": "ann"}}
    ((headers, body),) = called.calls
    told = json.loads(body)
    token = queue.claim_token(job)
    assert told["token"] == told["job"].pop("token") == token
    assert queue.by_claim_token("mail", told["job"]["id"], token).id == job.id
    assert told["job"]["data"] == {"to": "ann"}
    assert (told["job"]["name"], told["job"]["id"], told["job"]["attemptsStarted"]) == ("hello", str(job.id), 1)
    assert headers[""] == "PATCH /jobs"
    assert headers["content-type"] == "text/x"
    assert headers["x-a"] == "\xe9"
    assert (headers["gnj-job-id"], headers["gnj-attempt"]) == (str(job.id), "1")
    assert headers["host"] == f"127.0.0.1:{called.port}"
    assert "cookie" not in headers
    assert gnj.verify_push(row.secret, headers, body)


def test_what_failed_before_is_told(queue, calling):
    calls, called, _ = calling()
    job = claimed(queue, max_attempts=3)
    queue.fail(job, "first")
    job = queue.acquire(["mail"])
    assert job is not None
    calls.deliver(job)
    told = json.loads(called.calls[0][1])["job"]
    assert (told["stacktrace"], told["attemptsMade"], told["attemptsStarted"]) == (["first"], 1, 2)
    assert called.calls[0][0]["gnj-attempt"] == "2"


@pytest.mark.parametrize(
    "answer, result",
    [
        ((200, JSON, b'{"a": [1, null]}'), {"a": [1, None]}),
        ((201, {"Content-Type": "Application/JSON; charset=utf-8"}, b" 5 "), 5),
        ((299, JSON, b"null"), None),
        ((200, {}, b""), ""),
        ((204, {}, b""), ""),
        ((200, {"content-type": "text/plain"}, b"done"), "done"),
        ((200, {"content-type": "application/jsonx"}, b"{}"), "{}"),
        ((200, {}, b"\xff\x00"), "\ufffd\ufffd"),
    ],
)
def test_what_completes_a_job(queue, calling, answer, result):
    calls, _, _ = calling(lambda *_: answer)
    assert calls.deliver(claimed(queue)) == result


@pytest.mark.parametrize(
    "answer, reason",
    [
        ((404, {}, b"secret things"), "Not Found"),
        ((400, JSON, b"{}"), "Bad Request"),
        ((500, {}, b""), "Internal Server Error"),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), "Found"),
        ((304, {}, b""), "Not Modified"),
        ((599, {}, b""), "HTTP 599"),
        ((200, JSON, b"{"), "the answer must be JSON: "),
        ((200, JSON, b""), "the answer must be JSON: "),
        ((200, JSON, b"[NaN]"), "the answer: NaN is not JSON"),
        ((200, JSON, b'"\\u0000"'), "the answer must not hold a NUL character"),
        ((200, JSON, b"[" * 100), "the answer must not be nested deeper than 64 levels"),
        ((200, {}, b"x" * (4 * 1024 * 1024 + 1)), "the answer is longer than 4,194,304 bytes"),
    ],
)
def test_what_fails_a_try(queue, calling, answer, reason):
    calls, _, _ = calling(lambda *_: answer)
    with pytest.raises(Failed) as failed:
        calls.deliver(claimed(queue))
    assert failed.value.reason.startswith(reason)
    assert calls.failed == (answer[0] >= 500 or "longer" in reason)


def test_the_reason_is_told_without_the_name_of_an_error(queue, calling):
    from gnj.worker import outcomes

    job = claimed(queue)
    assert outcomes.raised(job, Failed("Not Found")).output == {"error": "Not Found"}


@pytest.mark.parametrize("own", [{}, {"timeout": 0.2}])
def test_the_time_of_a_call_is_that_of_the_registration_or_of_the_job(queue, calling, own):
    over = threading.Event()
    milliseconds = 60_000 if own else 200
    calls, _, _ = calling(lambda *_: over.wait(20) or (200, {}, b""), endpoint={"timeout": milliseconds})
    with pytest.raises(Failed, match=r"^The operation was aborted\.$"):
        calls.deliver(claimed(queue, **own))
    over.set()
    assert calls.failed == 1


def test_where_nobody_is_told_apart_from_where_nobody_may_call_by_nobody(queue, calling, caplog):
    calls, called, _ = calling(allow=())
    with caplog.at_level(logging.WARNING), pytest.raises(Failed, match=r"^connection failed$"):
        calls.deliver(claimed(queue))
    assert (called.calls, calls.failed) == ([], 1)
    assert "may not be called" in caplog.text
    calls, called, _ = calling()
    called.close()
    with pytest.raises(Failed, match=r"^connection failed$"):
        calls.deliver(claimed(queue))


def test_failures_in_a_row_disable_it_and_any_answer_ends_the_row(queue, calling):
    answers: list[Any] = [(503, {}, b"")] * (MOST_FAILED - 1) + [(404, {}, b"")] + [(500, {}, b"")] * MOST_FAILED
    calls, _, _ = calling(lambda *_: answers.pop(0))
    job = claimed(queue)
    for _ in range(MOST_FAILED - 1):
        with pytest.raises(Failed):
            calls.deliver(job)
    assert (calls.failed, calls.is_disabled) == (MOST_FAILED - 1, False)
    with pytest.raises(Failed):
        calls.deliver(job)
    assert calls.failed == 0
    for _ in range(MOST_FAILED):
        with pytest.raises(Failed):
            calls.deliver(job)
    assert calls.is_disabled


@pytest.mark.parametrize(
    "id, told",
    [
        ("a b\r\n\u00e4%\U0001f600", "a%20b%0D%0A%C3%A4%25%F0%9F%98%80"),
        (" a ", "%20a%20"),  # not what "a" is called
        ("a", "a"),
        ("order:7/x~", "order:7/x~"),
        ("\x7f\t", "%7F%09"),
    ],
)
def test_an_id_of_the_clients_own_in_a_header(queue, calling, id, told):
    calls, called, _ = calling()
    queue.storage.insert_jobs([{"type": "mail", "custom_id": id, "input": 1}])
    job = queue.acquire(["mail"])
    assert job is not None
    calls.deliver(job)
    headers, body = called.calls[0]
    assert headers["gnj-job-id"] == told
    assert json.loads(body)["job"]["id"] == id
