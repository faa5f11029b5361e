"""`AdapterContract`: what carries requests from a web framework to gnj and answers back, held to one behaviour.

    from gnj.testing import AdapterContract

    class TestMyAdapter(AdapterContract):
        @pytest.fixture
        def serve(self):
            def serve(jobs, prefix):
                app = MyFramework()
                my_adapter.mount(app, jobs, prefix)
                return asgi_client(app)  # or wsgi_client(app), or http_client("http://127.0.0.1:8000")
            return serve

`serve` mounts a `gnj.api.http.Served` below a prefix, in an application of its own, whose lifespan need not run, and gives
a client of it (`gnj.testing.clients`). What is measured against is `jobs.wsgi_app()`: the same bytes for the same requests.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote

import pytest

from gnj import GNJ
from gnj.access import Principal
from gnj.api import http, wsgi
from gnj.graphql.limits import Limits
from gnj.queue.errors import StorageUnavailable
from gnj.testing.calls import CALLS, GUARDED, graphql
from gnj.testing.clients import Answer, Call, Client, wsgi_client

Serve: TypeAlias = Callable[[http.Served, str], Client]

PREFIX = "/a/b"


def recorded(client: Client, prefix: str, calls: Mapping[str, Call]) -> dict[str, Answer]:
    """The answers to those requests below `prefix`, in their order. Of a 404 only the status: the page is the host's."""
    result = {}
    for name, call in calls.items():
        answer = client(Call(call.method, prefix + call.target, call.body, call.headers))
        body = re.sub(rb'"errorId":"[^"]+"', b'"errorId":"..."', answer.body)
        result[name] = Answer(404, (), b"") if answer.status == 404 else Answer(answer.status, answer.headers, body)
    return result


def reference(jobs: http.Served, prefix: str) -> Client:
    """`jobs.wsgi_app()`, mounted below a prefix by a server that needs no framework."""
    send = wsgi_client(wsgi.wsgi_app(jobs), prefix)
    return lambda call: send(Call(call.method, call.target.removeprefix(prefix), call.body, call.headers))


def open_jobs() -> GNJ:
    """What answers `CALLS`: nobody needs to say who they are, and the same requests get the same answers."""
    return GNJ("memory://")


def guarded_jobs() -> GNJ:
    """What answers `GUARDED`: it has a token, one user, who may only read, and one who sends the hook off the road."""

    def authenticate(context: Any) -> Principal | None:
        user = context.cookies.get("user")
        if user == "trouble":
            raise RuntimeError("at /srv/secret.py")
        return Principal(user) if user in ("reader", "friend") else None

    def authorize(principal: Principal, action: Any, _target: Any) -> bool:
        return principal.id != "reader" or action.kind == "read"

    return GNJ("memory://", token="a long random text", authenticate=authenticate, authorize=authorize)  # noqa: S106


class Pieces:
    """A stream of `pieces`, which have all come already, and then ends."""

    heartbeat = 0.05

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = list(pieces)
        self.closed = threading.Event()

    def attach(self, ready: Callable[[], None]) -> None:
        """See `http.Stream`."""
        ready()

    def take(self) -> bytes | None:
        """See `http.Stream`."""
        return self._pieces.pop(0) if self._pieces else None

    def close(self) -> None:
        """See `http.Stream`."""
        self.closed.set()


class Bucket:
    """A sink for bodies of a certain size, which tells `events` what becomes of it; with "!no" among its bytes it cannot write
    them, with "late" it cannot finish.
    """

    def __init__(self, size: int | None, events: list[str]) -> None:
        self.size = size
        self._events = events
        self._data = b""

    def write(self, chunk: bytes) -> None:
        """See `http.Sink`."""
        if b"!no" in chunk:
            raise RuntimeError("at /srv/secret.py")
        self._data += chunk

    def finish(self) -> http.Response:
        """See `http.Sink`."""
        if b"late" in self._data:
            raise StorageUnavailable
        self._events.append("finish")
        return http.json({"bytes": len(self._data), "sum": sum(self._data)})

    def abort(self) -> None:
        """See `http.Sink`."""
        self._events.append("abort")


class Echo:
    """Something to serve that shows what arrived; `events` tells what happened to it."""

    threads = 3

    def __init__(self, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.events: list[str] = []
        self.start_error: Exception | None = None
        self.streams: list[Pieces] = []

    def start(self) -> None:
        """See `http.Served`."""
        if self.start_error is not None:
            raise self.start_error
        self.events.append("start")

    def close(self) -> None:
        """See `http.Served`."""
        self.events.append("close")

    def routes(self, faces: Sequence[str] | None, *, asynchronous: bool = True) -> list[http.Route]:
        """See `http.Served`; the only face is "echo"."""
        if faces is not None and list(faces) != ["echo"]:
            raise ValueError(f"there is no face {faces[0]!r}")
        return [
            http.Route(path="/echo", methods=("GET", "POST"), endpoint=self.echo, name="echo"),
            http.Route(path="/places/{one}/x/{two}", methods=("GET",), endpoint=self.echo, name="places"),
            http.Route(path="/", methods=("GET",), endpoint=lambda _: http.text("root"), name="root"),
            http.Route(path="/fail", methods=("GET",), endpoint=self.fail, name="fail"),
            http.Route(path="/down", methods=("GET",), endpoint=self.down, name="down"),
            http.Route(path="/stream", methods=("GET", "POST"), endpoint=self.stream, name="stream"),
            http.Route(path="/take/{size}", methods=("GET",), endpoint=self.echo, name="taken"),
            http.Route(path="/take/{size}", methods=("PUT",), endpoint=self.echo, name="take", receive=self.receive),
            *self.of_rest(),
            http.Route(path="/long", methods=("PUT",), endpoint=lambda _: http.text("ż" * 100_000, 207), name="long"),
        ]

    def of_rest(self) -> Iterator[http.Route]:
        """Routes with errors of a shape of their own; of what is below them and nothing else, one for all."""

        def refuse(error: Any, status: int, headers: Sequence[tuple[str, str]] = ()) -> http.Response:
            return http.json({"error": error["message"]}, status, headers)

        paths = {"/rest": self.echo, "/rest/fail": self.fail, "/rest/down": self.down}
        for path, endpoint in paths.items():
            yield http.Route(path=path, methods=("GET", "POST"), endpoint=endpoint, name=path[1:], refuse=refuse)
        yield http.Route(
            path="/rest/{rest...}", methods=(http.ANY,), endpoint=self.echo, name="rest.tail", refuse=refuse
        )

    def receive(self, request: http.Request) -> http.Sink | http.Response:
        """Takes a body of the size in the path, of any if that is "any", and of none if it is no number."""
        size = request.path_params["size"]
        if not size.isdigit() and size != "any":
            if size == "fail":
                raise RuntimeError("at /srv/secret.py")
            return http.refusal(403, "No.", "FORBIDDEN")
        return Bucket(None if size == "any" else int(size), self.events)

    @staticmethod
    def echo(request: http.Request) -> http.Response:
        """What arrived."""
        return http.json(
            {
                "method": request.method,
                "path": request.path,
                "sent": request.sent_path,
                "places": dict(request.path_params),
                "query": dict(request.query),
                "cookies": dict(request.cookies),
                "headers": dict(request.headers),
                "client": request.client_host,
                "body": request.body.decode("latin-1"),
                "raw": request.raw is not None,
            }
        )

    @staticmethod
    def fail(_request: http.Request) -> http.Response:
        """Fails in an unexpected way."""
        raise RuntimeError("at /srv/secret.py")

    @staticmethod
    def down(_request: http.Request) -> http.Response:
        """Has no database."""
        raise StorageUnavailable

    def stream(self, _request: http.Request) -> http.Response:
        """A stream of three pieces."""
        pieces = Pieces([b"event: next\n\n", b"", "żółw\n".encode(), b"end"])
        self.streams.append(pieces)
        return http.Response(headers=(("content-type", "text/event-stream"),), stream=pieces)


class AdapterContract:
    """The whole contract. A subclass supplies the fixture `serve`."""

    def test_the_same_bytes_for_the_same_requests(self, serve: Serve) -> None:
        """Status, headers and body of everything in `CALLS`."""
        expected = recorded(reference(open_jobs(), PREFIX), PREFIX, CALLS)
        assert recorded(serve(open_jobs(), PREFIX), PREFIX, CALLS) == expected

    def test_the_same_bytes_for_whoever_asks(self, serve: Serve) -> None:
        """And of everything in `GUARDED`."""
        expected = recorded(reference(guarded_jobs(), PREFIX), PREFIX, GUARDED)
        assert recorded(serve(guarded_jobs(), PREFIX), PREFIX, GUARDED) == expected

    def test_who_may(self, serve: Serve) -> None:
        """A token, a cookie that the hook knows, and what the other hook allows."""
        client = serve(guarded_jobs(), "/jobs")
        ask = graphql("{ job { id } }")

        def status(*headers: tuple[str, str], body: bytes = ask.body) -> int:
            return client(Call("POST", "/jobs/graphql", body, (*ask.headers, *headers))).status

        assert status() == 401
        assert status(("authorization", "Bearer wrong")) == 401
        assert status(("authorization", "Bearer a long random text")) == 200
        assert status(("cookie", "a=1; user=friend")) == 200
        assert status(("cookie", "user=trouble")) == 401
        make = graphql('mutation { jobCreate(job: {type: "a"}) { id } }').body
        refused = client(Call("POST", "/jobs/graphql", make, (*ask.headers, ("cookie", "user=reader"))))
        assert json.loads(refused.body)["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert status(("cookie", "user=reader")) == 200

    @pytest.mark.parametrize("prefix", ["/", "/jobs", "/jobs/", "/a/b"])
    def test_every_route_answers_below_any_prefix_with_and_without_a_slash(self, serve: Serve, prefix: str) -> None:
        """Without redirects, which drop bodies; other paths are the host's."""
        client = serve(Echo(), prefix)
        prefix = prefix.rstrip("/")
        for spelled in ("/echo", "/echo/", "/places/1/x/2", "/places/1/x/2/", "/"):
            assert client(Call("GET", prefix + spelled)).status == 200
        assert client(Call("POST", f"{prefix}/echo/", b"kept")).status == 200
        for spelled in ("/nothing", "/echo/more", "/Echo", "/places/1/2/x/3", "/places//x/3", "/echo%2Fmore"):
            assert client(Call("GET", prefix + spelled)).status == 404
        if prefix:
            assert client(Call("GET", f"{prefix}//echo")).status == 404

    def test_a_request_is_carried_whole(self, serve: Serve) -> None:
        """Method, path, query, headers, cookies, peer and body."""
        headers = (
            ("x-thing", "one"),
            ("x-thing", "two"),
            ("x-empty", ""),
            ("x-latin", "caf\u00e9 \u00c5\u00bc"),
            ("cookie", 's=1; t="2"; s=3'),
            ("content-type", "application/octet-stream"),
        )
        body = bytes(range(256)) * 300
        call = Call("POST", "/jobs/echo?a=1&a=2&b=&c=%C5%BC+%2B&d&e=%ff", body, headers)
        answer = serve(Echo(), "/jobs")(call)
        came = json.loads(answer.body)
        assert came["body"].encode("latin-1") == body
        # a WSGI server joins what was repeated, with or without a space
        assert re.fullmatch("one, ?two", came["headers"].pop("x-thing"))
        assert came["headers"] == {
            "host": "localhost",
            "content-length": str(len(body)),
            **dict(headers[2:]),
        }
        assert came["query"] == {"a": "2", "b": "", "c": "ż +", "d": "", "e": "\ufffd"}
        assert came["cookies"] == {"s": "1", "t": "2"}
        assert (came["method"], came["path"], came["client"], came["raw"]) == ("POST", "/jobs/echo", "127.0.0.1", True)

    @pytest.mark.parametrize(
        "sent, decoded",
        [
            ("a%20b", "a b"),
            ("%C5%BC", "ż"),
            ("%FF", "\ufffd"),
            ("a+b", "a+b"),
            ("a%3Fb", "a?b"),
            ("%7Bone%7D", "{one}"),
        ],
    )
    def test_places_and_paths_are_percent_decoded(self, serve: Serve, sent: str, decoded: str) -> None:
        """Once, as UTF-8."""
        came = json.loads(serve(Echo(), "/jobs")(Call("GET", f"/jobs/places/{sent}/x/{sent}")).body)
        assert came["places"] == {"one": decoded, "two": decoded}
        assert came["path"] == f"/jobs/places/{decoded}/x/{decoded}"

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
    def test_other_methods_are_405_with_allow(self, serve: Serve, method: str) -> None:
        """Also OPTIONS, which frameworks like to answer themselves."""
        answer = serve(Echo(), "/jobs")(Call(method, "/jobs/echo"))
        assert (answer.status, answer.header("allow")) == (405, "GET, POST, HEAD")
        assert json.loads(answer.body)["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"

    def test_head_is_get_without_the_body(self, serve: Serve) -> None:
        """With the headers of GET."""
        client = serve(Echo(), "/jobs")
        got, head = client(Call("GET", "/jobs/")), client(Call("HEAD", "/jobs/"))
        assert (head.status, head.body, head.headers) == (200, b"", got.headers)
        assert head.header("content-length") == "4"

    def test_an_answer_is_sent_as_it_is(self, serve: Serve) -> None:
        """No header more, no byte less."""
        answer = serve(Echo(), "/jobs")(Call("PUT", "/jobs/long"))
        assert (answer.status, answer.body) == (207, ("ż" * 100_000).encode())
        assert answer.headers == (
            ("cache-control", "no-store"),
            ("content-length", "200000"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("content-type", "text/plain; charset=utf-8"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        )

    @pytest.mark.parametrize("size", [0, 1, 300_000, 2_000_000])
    def test_a_body_may_be_taken_as_it_comes_whatever_the_limit(self, serve: Serve, size: int) -> None:
        """By the route of that method; the others of the path get theirs whole."""
        body = bytes(range(256)) * (size // 256 + 1)
        echo = Echo(max_body=100)
        client = serve(echo, "/jobs")
        for announced in (str(size), "any"):
            answer = client(Call("PUT", f"/jobs/take/{announced}", body[:size], (("content-length", str(size)),)))
            assert (answer.status, json.loads(answer.body)) == (200, {"bytes": size, "sum": sum(body[:size])})
        assert client(Call("GET", "/jobs/take/1")).status == 200
        assert client(Call("POST", "/jobs/take/1")).status == 405
        assert [event for event in echo.events if event != "start"] == ["finish", "finish"]

    @pytest.mark.parametrize(
        "size, body, status, code",
        [
            ("9", b"0123456789", 413, "BODY_TOO_LARGE"),
            ("11", b"0123456789", 400, "BAD_REQUEST"),
            ("never", b"0123456789", 403, "FORBIDDEN"),
            ("fail", b"0123456789", 500, "INTERNAL_SERVER_ERROR"),
            ("10", b"01!no56789", 500, "INTERNAL_SERVER_ERROR"),
            ("10", b"0123late89", 503, "STORAGE_UNAVAILABLE"),
        ],
    )
    def test_what_takes_a_body_may_refuse_it_and_fail(
        self, serve: Serve, size: str, body: bytes, status: int, code: str
    ) -> None:
        """It is finished or aborted, once, and failures are masked."""
        echo = Echo()
        answer = serve(echo, "/jobs")(Call("PUT", f"/jobs/take/{size}", body))
        assert answer.status == status
        assert json.loads(answer.body)["errors"][0]["extensions"]["code"] == code
        assert b"secret" not in answer.body
        expected = ["abort"] if size.isdigit() and b"late" not in body else []
        assert [event for event in echo.events if event != "start"] == expected

    def test_bodies_are_limited(self, serve: Serve) -> None:
        """To the byte."""
        client = serve(Echo(max_body=1_000), "/jobs")
        assert client(Call("POST", "/jobs/echo", b"x" * 1_000)).status == 200
        for size in (1_001, 100_000):
            answer = client(Call("POST", "/jobs/echo", b"x" * size))
            assert answer.status == 413
            assert json.loads(answer.body)["errors"] == [
                {"message": "A body is limited to 1,000 bytes.", "extensions": {"code": "BODY_TOO_LARGE"}}
            ]

    def test_headers_and_urls_are_limited(self, serve: Serve) -> None:
        """Each by itself."""
        client = serve(Echo(max_headers=2_000, max_url=1_000), "/jobs")

        def get(headers: int, url: int) -> int:
            target = "/jobs/echo?"
            return client(Call("GET", target + "q" * (url - len(target)), b"", (("x", "h" * headers),))).status

        assert [get(1_000, 900), get(2_100, 900), get(1_000, 1_100)] == [200, 431, 414]

    def test_failures_are_masked(self, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        """The log has what the answer only has the id of."""
        answer = serve(Echo(), "/jobs")(Call("GET", "/jobs/fail"))
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert json.loads(answer.body)["errors"][0]["extensions"]["errorId"] in caplog.text

    def test_without_a_database_it_is_503(self, serve: Serve) -> None:
        """With Retry-After."""
        answer = serve(Echo(), "/jobs")(Call("GET", "/jobs/down"))
        assert (answer.status, answer.header("retry-after")) == (503, "5")
        assert json.loads(answer.body)["errors"][0]["extensions"]["code"] == StorageUnavailable.code

    def test_errors_have_the_shape_of_their_route(self, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        """Those too that no endpoint is asked about."""
        jobs = Echo(max_body=100, max_headers=2_000, max_url=1_000)
        jobs.start_error = StorageUnavailable()
        client = serve(jobs, "/jobs")

        def told(call: Call, target: str = "/jobs/rest") -> tuple[int, str | None]:
            answer = client(Call(call.method, target + call.target, call.body, call.headers))
            assert answer.header("content-type") == "application/json; charset=utf-8"
            (text,) = json.loads(answer.body).items()
            assert text[0] == "error"
            return answer.status, text[1]

        assert told(Call("GET", "")) == (503, str(StorageUnavailable()))
        jobs.start_error = None
        assert told(Call("GET", "/down")) == (503, str(StorageUnavailable()))
        assert told(Call("GET", "/fail")) == (500, "Internal error")
        assert told(Call("PUT", "")) == (405, "This path answers GET, POST, HEAD.")
        assert client(Call("PUT", "/jobs/rest")).header("allow") == "GET, POST, HEAD"
        assert told(Call("POST", "", b"x" * 101)) == (413, "A body is limited to 100 bytes.")
        assert told(Call("GET", "", b"", (("x", "h" * 2_001),))) == (431, "Headers are limited to 2,000 bytes.")
        assert told(Call("GET", "?" + "q" * 1_000)) == (414, "The URL is limited to 1,000 bytes.")
        assert "Internal error" in caplog.text

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
    @pytest.mark.parametrize("rest", ["x", "x/y", "fail/x", "x%2Fy", "x/y/", "%C5%BC/..z"])
    def test_a_route_may_take_all_that_is_left(self, serve: Serve, method: str, rest: str) -> None:
        """Whatever the method, unless another route is meant; and it learns what was sent, where the server tells."""
        answer = serve(Echo(), "/jobs")(Call(method, f"/jobs/rest/{rest}?a=1"))
        came = json.loads(answer.body)
        assert (answer.status, came["method"]) == (200, method)
        assert came["places"]["rest"].rstrip("/") == unquote(rest).rstrip("/")
        assert came["sent"] in (None, f"/jobs/rest/{rest}")

    def test_of_two_routes_the_first_is_meant(self, serve: Serve) -> None:
        """That of a method it does not have, too."""
        client = serve(Echo(), "/jobs")
        assert json.loads(client(Call("GET", "/jobs/rest")).body)["places"] == {}
        assert client(Call("GET", "/jobs/rest/fail")).status == 500
        assert client(Call("DELETE", "/jobs/rest/fail")).status == 405
        assert client(Call("GET", "/jobs/restful")).status == 404

    def test_the_first_request_starts_it_once(self, serve: Serve) -> None:
        """Where no lifespan ran before."""
        jobs = Echo()
        client = serve(jobs, "/jobs")
        for _ in range(3):
            assert client(Call("GET", "/jobs/echo")).status == 200
        assert jobs.events == ["start"]

    def test_a_start_that_fails_is_tried_again(self, serve: Serve) -> None:
        """By the next request; meanwhile the answer is an answer."""
        jobs = Echo()
        jobs.start_error = StorageUnavailable()
        client = serve(jobs, "/jobs")
        assert client(Call("GET", "/jobs/echo")).status == 503
        jobs.start_error = RuntimeError("at /srv/secret.py")
        answer = client(Call("GET", "/jobs/echo"))
        assert (answer.status, b"secret" in answer.body) == (500, False)
        jobs.start_error = None
        assert client(Call("GET", "/jobs/echo")).status == 200
        assert jobs.events == ["start"]

    def test_nothing_is_said_to_other_origins_and_no_cookie_is_set(self, serve: Serve) -> None:
        """CORS and sessions are the host's."""
        call = Call("POST", "/jobs/echo", b"", (("origin", "https://evil.example"), ("cookie", "session=x")))
        names = {name for name, _ in serve(Echo(), "/jobs")(call).headers}
        assert not [name for name in names if name.startswith("access-control-") or name in ("set-cookie", "vary")]

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_stream_is_sent_to_its_end_and_closed(self, serve: Serve, method: str) -> None:
        """Piece by piece, without a length."""
        jobs = Echo()
        answer = serve(jobs, "/jobs")(Call(method, "/jobs/stream"))
        assert (answer.status, answer.body) == (200, "event: next\n\nżółw\nend".encode())
        assert answer.headers == (("content-type", "text/event-stream"),)
        assert jobs.streams[0].closed.wait(5)

    def test_head_of_a_stream_opens_nothing(self, serve: Serve) -> None:
        """It is closed at once."""
        jobs = Echo()
        answer = serve(jobs, "/jobs")(Call("HEAD", "/jobs/stream"))
        assert (answer.status, answer.body) == (200, b"")
        assert jobs.streams[0].closed.wait(5)
