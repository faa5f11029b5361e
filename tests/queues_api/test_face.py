"""What every operation of the REST faces has in common: who may, what is checked before it is asked, how errors look."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

from gnj import GNJ
from gnj.access import Kind, Principal, Target
from gnj.api import http, queues, wsgi
from gnj.api.queues import reading
from gnj.api.queues.declare import Face, Operation, Param, Refusal
from gnj.api.queues.face import routes_of, tail
from gnj.queue import errors
from gnj.testing.clients import Call, asgi_client, wsgi_client
from gnj.testing.clients import wsgi_environ as environ_of

TOKEN = "a long random text"
BEARER = ("authorization", f"Bearer {TOKEN}")
JSON = ("content-type", "application/json")


def operations(seen):
    def answer(call):
        seen.append(call)
        return http.json([call.place("queue"), call.tenant])

    def raising(call):
        raise seen[-1]

    def body(call):
        return http.json({"body": call.body(50)})

    def page(call):
        return http.json(call.paging())

    def one(method, path, name, kind, answer, *params):
        params = tuple(Param(name=each, summary="", schema={}) for each in params)
        return Operation(method=method, path=path, name=name, kind=kind, summary="", answer=answer, params=params)

    return [
        one("GET", "/", "banner", None, lambda _: http.text("gnj")),
        one("GET", "/queues/{queue}", "one", Kind.READ, answer),
        one("GET", "/queues/{queue}/jobs", "list", Kind.READ, page, "start", "length"),
        one("POST", "/queues/{queue}/jobs", "add", Kind.ENQUEUE, body),
        one("DELETE", "/queues/{queue}/jobs/{id}", "remove", Kind.ADMIN, raising),
    ]


class Served:
    """A REST face with operations of the test's own."""

    ask: Any = None

    def __init__(self, **options):
        self.seen = []
        self.asked = []
        self.jobs = GNJ("memory://", token=TOKEN, authenticate=self.authenticate, authorize=self.authorize, **options)
        self.limits, self.threads = self.jobs.limits, 2

    def authenticate(self, context):
        name = context.headers.get("x-user")
        return None if name is None else Principal(name, tenant=name, scopes=frozenset({"read"}))

    def authorize(self, principal, action, target):
        self.asked.append((principal.id, action.name, action.kind, target))
        return target != Target("secret")

    def routes(self, faces, *, asynchronous=True):
        face = Face(
            queue=self.jobs.queue,
            guard=self.jobs._guard,
            limits=self.limits,
            connections=self.jobs._face.connections,
        )
        return [*routes_of(face, operations(self.seen)), tail("/queues", "tail")]

    def start(self):
        pass

    def close(self):
        pass


@pytest.fixture(params=["asgi", "wsgi"])
def served(request):
    served = Served()
    if request.param == "asgi":
        import gnj_starlette

        client = asgi_client(gnj_starlette.asgi_app(served))
    else:
        client = wsgi_client(wsgi.wsgi_app(served))

    def ask(method, target, body=b"", *headers):
        sent = () if any(name in ("authorization", "x-user") for name, _ in headers) else (BEARER,)
        return client(Call(method, target, body, (*sent, *headers)))

    served.ask = ask
    return served


def error(answer):
    assert answer.header("content-type") == "application/json; charset=utf-8"
    (told,) = json.loads(answer.body).items()
    assert told[0] == "error"
    return answer.status, told[1]


def test_who_asks_and_for_what(served):
    assert json.loads(served.ask("GET", "/queues/mail").body) == ["mail", ""]
    assert json.loads(served.ask("GET", "/queues/mail/", b"", ("x-user", "anna")).body) == ["mail", "anna"]
    served.seen.append(errors.JobNotFound())
    served.ask("DELETE", "/queues/mail/jobs/7")
    assert served.asked == [
        ("token", "GET /queues/{queue}", Kind.READ, Target("mail")),
        ("anna", "GET /queues/{queue}", Kind.READ, Target("mail")),
        ("token", "DELETE /queues/{queue}/jobs/{id}", Kind.ADMIN, Target("mail", "7")),
    ]


@pytest.mark.parametrize("sent", ["Bearer wrong", "Basic YTpi", "Bearer", ""])
def test_nobody_is_told_so_before_anything_else_is_looked_at(served, sent):
    for target in ("/queues/mail", "/queues/x", "/queues/mail?what=1"):
        answer = served.ask("GET", target, b"", ("authorization", sent))
        assert error(answer) == (401, "Unauthorized")
        assert answer.header("www-authenticate") == "Bearer"
    assert error(served.ask("POST", "/queues/mail/jobs", b"{", ("authorization", sent)))[0] == 401
    assert (served.ask("GET", "/", b"", ("authorization", sent))).body == b"gnj"


def test_what_one_may_not(served):
    answer = served.ask("POST", "/queues/mail/jobs", b"{", ("x-user", "anna"))
    assert error(answer)[0] == 403
    assert error(served.ask("GET", "/queues/secret"))[0] == 403


@pytest.mark.parametrize(
    "name, told",
    [
        ("ab", "queue name must be at least 3 characters long"),
        ("%F0%9F%98%80", "queue name must be at least 3 characters long"),
        ("q" * 101, "queue name must be at most 100 characters long"),
        ("%F0%9F%98%80" * 51, "queue name must be at most 100 characters long"),
        ("a%00b", "queue name must not hold control characters, nor what is not UTF-8"),
        ("a%7Fb", "queue name must not hold control characters, nor what is not UTF-8"),
        ("all", "queue name is reserved: 'all'"),
        ("%61ll", "queue name is reserved: 'all'"),
        ("abc%FF", "queue name must not hold control characters, nor what is not UTF-8"),
    ],
)
def test_names_of_queues_that_are_none(served, name, told):
    assert error(served.ask("GET", f"/queues/{name}")) == (400, told)


@pytest.mark.parametrize(
    "name", ["abc", "q" * 100, "%F0%9F%98%80" * 50, "a%20b", "%7Bmail%7D", "a:b", "%C5%BC%C3%B3%C5%82w"]
)
def test_names_of_queues(served, name):
    assert served.ask("GET", f"/queues/{name}").status == 200


def test_a_name_of_10_000_characters(served):
    assert error(served.ask("GET", "/queues/" + "q" * 10_000))[0] == 414


@pytest.mark.parametrize(
    "target", ["/queues/a%2Fb", "/queues/mail%2fjobs", "/queues/a%2Fb/jobs", "/queues/mail/jobs/a%2Fb"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_slash_that_was_sent_encoded(target, method):
    """Is refused wherever the server tells what was sent; else the path is another one, or none."""
    import gnj_starlette

    served = Served()
    answer = asgi_client(gnj_starlette.asgi_app(served))(Call(method, target, b"", (BEARER,)))
    status, told = error(answer)
    assert status in (400, 405)
    if status == 400:
        assert re.search(r"'\w+%2[Ff]\w+'$", told)
    app = wsgi.wsgi_app(Served())
    known = []

    def start(status, _headers):
        known.append(int(status.split()[0]))

    for name in ("REQUEST_URI", "RAW_URI"):
        app({**environ_of(Call(method, target, b"", (BEARER,))), name: target + "?x=1"}, start)
    assert set(known) == {status}


@pytest.mark.parametrize(
    "target", ["/queues/ab%zz", "/queues/mail%", "/queues/%2", "/queues/a%%41b", "/queues/mail/jobs/%g1"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_is_not_percent_encoded(target, method):
    """Is refused wherever the server tells what was sent: else it would be the queue whose name has that percent sign."""
    import gnj_starlette

    bad = target.rpartition("/")[2]
    answer = asgi_client(gnj_starlette.asgi_app(Served()))(Call(method, target, b"", (BEARER,)))
    assert error(answer) in (
        (400, f"a segment of the path is not percent-encoded: {bad!r}"),
        (405, "Method not allowed"),
    )
    app = wsgi.wsgi_app(Served())
    known = []

    def start(status, _headers):
        known.append(int(status.split()[0]))

    for name in ("REQUEST_URI", "RAW_URI"):
        app({**environ_of(Call(method, target, b"", (BEARER,))), name: target + "?x=%"}, start)
    assert set(known) == {answer.status}


@pytest.mark.parametrize("target", ["/queues/mail/x", "/queues/mail/jobs/1/x/y", "/queues//", "/queues/a/b%20c"])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_what_is_not_there(served, target, method):
    assert error(served.ask(method, target, b"", ("authorization", ""))) == (404, "Not found")


def test_other_methods(served):
    answer = served.ask("PATCH", "/queues/mail/jobs")
    assert error(answer) == (405, "Method not allowed")
    assert answer.header("allow") == "GET, POST, HEAD"


@pytest.mark.parametrize(
    "headers, body, told",
    [
        ((), b"[]", (415, "Content-Type must be application/json")),
        ((), b"", (415, "Content-Type must be application/json")),
        ((("content-type", "text/plain"),), b"[]", (415, "Content-Type must be application/json")),
        (
            (("content-type", "application/json; charset=latin-1"),),
            b"[]",
            (415, "Content-Type must be application/json in UTF-8"),
        ),
        ((JSON, ("content-encoding", "gzip")), b"[]", (415, "Content-Encoding must be identity")),
        ((JSON,), b"[" + b"1," * 50 + b"1]", (413, "A body is limited to 50 bytes here.")),
        ((JSON,), b"", (400, "the body must be JSON")),
        ((JSON,), b"[", (400, "the body must be JSON")),
        ((JSON,), b'"\xff"', (400, "the body must be UTF-8")),
        ((JSON,), b"[NaN]", (400, "the body")),
        ((JSON,), b'["\\ud800"]', (400, "the body")),
        ((JSON,), b'["\\u0000"]', (400, "the body")),
    ],
)
def test_bodies_that_are_none(served, headers, body, told):
    status, text = error(served.ask("POST", "/queues/mail/jobs", body, *headers))
    assert (status, text.startswith(told[1])) == (told[0], True), text


@pytest.mark.parametrize(
    "type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_bodies(served, type):
    answer = served.ask("POST", "/queues/mail/jobs", b'{"a": 1}', ("content-type", type))
    assert json.loads(answer.body) == {"body": {"a": 1}}


@pytest.mark.parametrize(
    "query, told",
    [
        ("", [0, 10]),
        ("start=3&length=100", [3, 100]),
        ("start=100000", [100_000, 10]),
        ("start=x", "Invalid start or length"),
        ("start=", "Invalid start or length"),
        ("start=1.9", "Invalid start or length"),
        ("start=%2B1", "Invalid start or length"),
        ("start=%D9%A3", "Invalid start or length"),
        ("length=1e1", "Invalid start or length"),
        ("length=" + "9" * 5_000, "Invalid start or length"),
        ("start=-1", "Start and length must be positive"),
        ("length=-1", "Start and length must be positive"),
        ("length=101", "Length must be less than or equal to 100"),
        ("start=100001", "Start must be less than or equal to 100000"),
        ("size=1", "Unexpected parameter: 'size'"),
        ("start=1&start=1", "start must be given once"),
        ("length=1&start=1&%6Cength=", "length must be given once"),
    ],
)
def test_pages(served, query, told):
    answer = served.ask("GET", f"/queues/mail/jobs?{query}")
    if isinstance(told, list):
        assert json.loads(answer.body) == told
    else:
        assert error(answer) == (400, told)


@pytest.mark.parametrize(
    "raised, status, told",
    [
        (errors.JobNotFound("The job does not exist"), 404, "Job not found"),
        (errors.NotFound("Worker not found"), 404, "Worker not found"),
        (errors.InvalidInput("Invalid delay -1"), 400, "Invalid delay -1"),
        (errors.InvalidText("x must not hold NUL"), 400, "x must not hold NUL"),
        (errors.IllegalTransition("The job must be failed"), 409, "The job must be failed"),
        (errors.LeaseLost("over"), 409, "over"),
        (errors.Duplicate("there"), 409, "there"),
        (errors.Unauthenticated("whatever"), 401, "Unauthorized"),
        (errors.Forbidden("not you"), 403, "not you"),
        (errors.Conflict("in the way"), 503, "in the way"),
        (errors.StorageUnavailable("gone"), 503, "gone"),
        (errors.TimedOut("too long"), 503, "too long"),
        (errors.SchemaError("ours"), 500, "ours"),
        (Refusal(422, "odd"), 422, "odd"),
    ],
)
def test_what_an_operation_raises(served, raised, status, told):
    served.seen.append(raised)
    answer = served.ask("DELETE", "/queues/mail/jobs/7")
    assert error(answer) == (status, told)
    assert (answer.header("retry-after") == "5") == (status == 503)


def test_what_nobody_expected(served, caplog):
    served.seen.append(RuntimeError("at /srv/secret.py"))
    status, told = error(served.ask("DELETE", "/queues/mail/jobs/7"))
    assert status == 500
    assert re.fullmatch(r"Internal error [0-9a-f]{8}", told)
    assert told.split()[-1] in caplog.text


@pytest.mark.parametrize("id", ["x" * 501, "a\0", "\ud800", "", "a/b", ".", "..", "a\ufffd"])
def test_ids_that_are_none(id):
    with pytest.raises(Refusal, match="job id must"):
        reading.check_id(id)


def test_every_operation_says_what_it_is():
    """And no two have one name, or one method of one path."""
    every = queues.OPERATIONS
    assert len({each.name for each in every}) == len(every)
    assert len({(each.method, each.path) for each in every}) == len(every)


def test_the_faces_are_there():
    jobs = GNJ("memory://")
    assert [route.path for route in jobs.routes(["queues"])][-2:] == ["/queues/{rest...}", "/workers/{rest...}"]


def starlette(prefix):
    import gnj_starlette

    async def own(_request):
        return PlainTextResponse("the host's")

    app = Starlette()
    gnj_starlette.mount(app, Served(), prefix)
    app.add_route("/", own)
    return asgi_client(app)


def flask(prefix):
    import gnj_flask

    app = Flask("host")
    gnj_flask.mount(app, Served(), prefix)
    app.add_url_rule("/", view_func=lambda: "the host's")
    return wsgi_client(app)


@pytest.mark.parametrize("host", [starlette, flask])
def test_the_front_page_of_a_host_is_its_own(host):
    """Whoever came first; below a prefix there is no other."""
    for prefix, told in {"/": b"the host's", "/jobs": b"gnj"}.items():
        answer = host(prefix)(Call("GET", prefix))
        assert (answer.status, answer.body) == (200, told)
        assert host(prefix)(Call("GET", "/")).body == b"the host's"
