"""gnj inside Flask applications, as hosts write them."""

from __future__ import annotations

import contextlib
import json
import re
from functools import partial
from typing import Any

import httpx
import pytest

import gnj
from gnj.access import Principal
from gnj.queue.errors import InvalidInput
from gnj.testing import drain
from gnj.testing.adapters import PREFIX, Echo, open_jobs, recorded, reference
from gnj.testing.calls import CALLS, graphql
from gnj.testing.clients import Call, wsgi_client, wsgi_environ
from tests.adapters import hosts

pytest.importorskip("flask", reason="capability: flask is not installed")

import flask
import flask.cli
from werkzeug.middleware.proxy_fix import ProxyFix

from gnj_flask import GNJFlask, mount

LIST = {"query": "{ job { id type } }"}


@pytest.fixture
def app():
    return flask.Flask(__name__)


@pytest.fixture
def jobs():
    with gnj.GNJ("memory://") as jobs:
        yield jobs


def listed(client, path="/jobs/graphql"):
    response = client.post(path, json=LIST)
    assert response.status_code == 200, response.text
    return [job["type"] for job in response.json["data"]["job"]]


def test_the_test_client(app, jobs):
    mount(app, jobs, "/jobs")
    jobs.enqueue("mail")
    client = app.test_client()
    assert listed(client) == listed(client, "/jobs/graphql/") == ["mail"]
    assert client.get("/jobs/healthz").json == {"status": "ok"}
    routes = app.test_cli_runner().invoke(flask.cli.routes_command)
    assert (routes.exit_code, "/jobs/graphql" in routes.output) == (0, True)


def test_the_factory_pattern(tmp_path):
    queue = GNJFlask()

    def create_app(name):
        app = flask.Flask(__name__)
        app.config.update(GNJ_DATABASE=f"sqlite:///{tmp_path / name}.db", GNJ_LEASE=7.5, GNJ_TOKEN=name)
        queue.init_app(app)

        @app.post("/mails")
        def send():
            return {"id": queue.jobs.enqueue(f"mail of {name}").id}

        return app

    one, two = create_app("one"), create_app("two")
    with pytest.raises(RuntimeError, match="outside of application context"):
        assert queue.jobs
    for app, name in ((one, "one"), (two, "two")):
        client = app.test_client()
        assert client.post("/mails").json == {"id": 1}
        answer = client.post("/jobs/graphql", json=LIST, headers={"authorization": f"Bearer {name}"})
        assert answer.json["data"]["job"] == [{"id": 1, "type": f"mail of {name}"}]
        with app.app_context():
            assert queue.jobs is app.extensions["gnj"]["/jobs"]
            assert queue.jobs.settings.lease == 7.5
        app.extensions["gnj"]["/jobs"].close()
    with flask.Flask("three").app_context(), pytest.raises(RuntimeError, match="not given to init_app"):
        assert queue.jobs


def test_a_setting_there_is_not_is_named(app):
    app.config["GNJ_LEESE"] = 1
    with pytest.raises(InvalidInput, match="no setting leese"):
        GNJFlask().init_app(app)


def test_one_extension_object_for_the_jobs_given(app, jobs):
    queue = GNJFlask(jobs)
    queue.init_app(app, url_prefix="/queue", faces=("graphql",))
    assert queue.jobs is jobs
    assert app.extensions["gnj"] == {"/queue": jobs}
    assert listed(app.test_client(), "/queue/graphql") == []
    assert app.test_client().get("/queue/healthz").status_code == 404


def note(seen, name, job):
    seen.append(("ran", name, job.id))


def note_event(seen, name, event):
    seen.append(("created", name, event.job.id))


def test_two_in_one_application_with_hooks_and_handlers_of_their_own(app, tmp_path):
    seen: list[tuple[str, str, int]] = []
    with contextlib.ExitStack() as stack:
        for name in ("one", "two"):
            jobs = stack.enter_context(gnj.GNJ(f"sqlite:///{tmp_path / name}.db"))
            jobs.handler("mail")(partial(note, seen, name))
            jobs.on("created")(partial(note_event, seen, name))
            mount(app, jobs, f"/{name}")
        client = app.test_client()
        make = graphql('mutation { jobCreate(job: {type: "mail"}) { id } }').body
        assert client.post("/two/graphql", data=make, content_type="application/json").status_code == 200
        assert (listed(client, "/one/graphql"), listed(client, "/two/graphql")) == ([], ["mail"])
        one, two = app.extensions["gnj"].values()
        assert (drain(one), [job.type for job in drain(two)]) == ([], ["mail"])
        assert two.hooks.flush(10)
        assert sorted(seen) == [("created", "two", 1), ("ran", "two", 1)]
        assert {"gnj", "gnj_two"} <= set(app.blueprints)


def test_two_at_one_prefix_are_refused(app, jobs):
    mount(app, jobs, "/jobs")
    with pytest.raises(ValueError, match="has a GNJ at '/jobs/' already"):
        mount(app, jobs, "/jobs/")
    with pytest.raises(ValueError, match="has a GNJ at '/jobs' already"):
        GNJFlask(jobs).init_app(app)
    with pytest.raises(ValueError, match="has a GNJ at '/jobs' already"):
        app.register_blueprint(GNJFlask(jobs).blueprint(name="other"), url_prefix="/jobs")
    with pytest.raises(ValueError, match='must begin with "/"'):
        mount(app, jobs, "jobs")
    with pytest.raises(ValueError, match="no face 'nothing'"):
        mount(app, jobs, "/other", faces=["nothing"])


def test_a_blueprint_that_the_host_registers(app, jobs):
    outer = flask.Blueprint("internal", __name__)
    outer.before_request(lambda: None if flask.request.headers.get("x-internal") else ("not for you", 403))
    outer.register_blueprint(GNJFlask(jobs).blueprint(), url_prefix="/queue")
    app.register_blueprint(outer, url_prefix="/internal")
    client = app.test_client()
    assert client.post("/internal/queue/graphql", json=LIST).status_code == 403
    assert client.post("/internal/queue/graphql", json=LIST, headers={"x-internal": "1"}).status_code == 200
    with app.test_request_context():
        assert flask.url_for("internal.gnj.graphql") == "/internal/queue/graphql"
    with pytest.raises(TypeError, match="needs a GNJ"):
        GNJFlask().blueprint()


def test_what_the_host_does_around_requests_applies(app, jobs):
    mount(app, jobs, "/jobs")
    app.before_request(lambda: ("closed", 423) if flask.request.headers.get("x-closed") else None)
    app.register_error_handler(404, lambda _: ("the host's own page", 404))
    app.register_error_handler(405, lambda _: ("the host's other page", 405))

    @app.after_request
    def mark(response):
        response.headers["x-host"] = flask.request.endpoint or "-"
        return response

    client = app.test_client()
    assert client.post("/jobs/graphql", json=LIST, headers={"x-closed": "1"}).status_code == 423
    answer = client.post("/jobs/graphql", json=LIST)
    assert (answer.status_code, answer.headers["x-host"]) == (200, "gnj.graphql")
    assert client.get("/jobs/nothing").text == client.get("/nothing").text == "the host's own page"
    assert client.put("/jobs/graphql").json["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"
    assert app.secret_key is None


@pytest.mark.parametrize("testing", [False, True])
def test_failures_are_masked_whatever_the_host_wants_to_see(app, testing):
    app.config.update(TESTING=testing, PROPAGATE_EXCEPTIONS=testing, DEBUG=testing)
    mount(app, Echo(), "/jobs")
    answer = app.test_client().get("/jobs/fail")
    assert (answer.status_code, "secret" in answer.text) == (500, False)


@pytest.mark.parametrize("look", ["json", "data", "form", "values", "get_data()", "stream", "get_data(cache=False)"])
def test_a_host_that_looks_at_the_body_first(app, look):
    mount(app, Echo(max_body=1_000), "/jobs")
    app.before_request(lambda: [eval(f"flask.request.{look}"), None][1])
    client = app.test_client()
    answer = client.post("/jobs/echo", data=b'{"a": 1}', content_type="application/json")
    if look == "get_data(cache=False)":  # it is gone, and half a request must not be taken for a whole one
        assert (answer.status_code, answer.json["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")
    else:
        assert answer.json["body"] == '{"a": 1}'
        answer = client.post("/jobs/echo", data=b'"' + b"x" * 1_000 + b'"', content_type="application/json")
        assert answer.status_code == 413


def test_hooks_and_the_host_can_look_at_the_body_afterwards(app):
    seen = []

    def authenticate(context):
        seen.append(json.loads(context.raw.get_data()))
        assert isinstance(context.raw, flask.Request)
        return Principal("x")

    with gnj.GNJ("memory://", authenticate=authenticate) as jobs:
        mount(app, jobs, "/jobs")

        @app.after_request
        def look(response):
            seen.append(flask.request.get_json())
            return response

        assert listed(app.test_client()) == []
    assert seen == [LIST, LIST]


def test_the_hosts_own_limit_of_bodies_holds_where_it_is_smaller(app):
    app.config["MAX_CONTENT_LENGTH"] = 100
    mount(app, Echo(max_body=1_000), "/jobs")
    client = app.test_client()
    assert client.post("/jobs/echo", data=b"x" * 100).status_code == 200
    answer = client.post("/jobs/echo", data=b"x" * 101)
    assert (answer.status_code, answer.json["errors"][0]["extensions"]["code"]) == (413, "BODY_TOO_LARGE")


def test_behind_a_proxy_and_below_a_script_name(app):
    mount(app, Echo(), "/jobs")
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_prefix=1)
    headers = (("x-forwarded-for", "192.0.2.7"), ("x-forwarded-prefix", "/proxy"))
    came = json.loads(wsgi_client(app)(Call("GET", "/jobs/echo", b"", headers)).body)
    assert (came["path"], came["client"]) == ("/proxy/jobs/echo", "192.0.2.7")
    came = json.loads(wsgi_client(app, "/script")(Call("GET", "/jobs/echo")).body)
    assert came["path"] == "/script/jobs/echo"


def test_the_same_bytes_below_a_script_name(app):
    jobs = open_jobs()
    mount(app, jobs, PREFIX)
    assert recorded(wsgi_client(app, "/script"), PREFIX, CALLS) == recorded(
        reference(open_jobs(), PREFIX), PREFIX, CALLS
    )


def test_an_extension_that_protects_forms_can_leave_it_out(app, jobs):
    """As CSRF extensions do it: by the blueprint of the request."""
    mount(app, jobs, "/jobs")
    exempt = {app.blueprints["gnj"]}

    @app.before_request
    def protect():
        blueprint = app.blueprints.get(flask.request.blueprint or "")
        return None if blueprint in exempt or flask.request.method == "GET" else ("no token", 400)

    assert listed(app.test_client()) == []


def test_a_response_class_of_the_hosts(app, jobs):
    class Response(flask.Response):
        default_mimetype = "text/x-host"

    app.response_class = Response
    mount(app, jobs, "/jobs")
    answer = app.test_client().post("/jobs/graphql", json=LIST)
    assert isinstance(answer, Response)
    assert re.fullmatch(r"application/json; ?charset=utf-8", answer.headers["content-type"])


def test_a_stream_that_the_host_throws_away_is_closed(app):
    jobs = Echo(wsgi_streams=1)
    mount(app, jobs, "/jobs")
    replaced = [True]
    app.after_request(lambda response: flask.Response("replaced") if replaced.pop() else response)
    answer = wsgi_client(app)(Call("GET", "/jobs/stream"))
    assert answer.body == b"replaced"
    assert jobs.streams[0].closed.wait(5)


def test_the_environment_is_left_usable(app):
    mount(app, Echo(), "/jobs")
    environ = wsgi_environ(Call("POST", "/jobs/echo", b"abc"))
    assert b"".join(app(environ, lambda *_: None))
    assert environ["wsgi.input"].read() == b"abc"


def test_subscriptions_come_as_events(app, sqlite_database):
    """From commit to client, below a real server, in the request's own thread."""
    with gnj.GNJ(sqlite_database()) as jobs:
        mount(app, jobs, "/jobs")
        ask = {"query": "subscription { jobCreated { id type } }"}
        with (
            hosts.by_werkzeug(app) as url,
            httpx.stream(
                "POST", f"{url}/jobs/graphql", json=ask, headers={"accept": "text/event-stream"}, timeout=hosts.WAIT
            ) as events,
        ):
            assert events.headers["content-type"].startswith("text/event-stream")
            lines = events.iter_lines()
            assert next(lines).startswith(":")  # it is open
            jobs.enqueue("mail")
            data = next(line for line in lines if line.startswith("data: {"))
            assert json.loads(data.removeprefix("data: ")) == {"data": {"jobCreated": {"id": 1, "type": "mail"}}}


def test_arguments_in_the_wrong_order_are_named(app, jobs):
    with pytest.raises(TypeError, match="takes a Flask application or blueprint, not a GNJ"):
        mount(jobs, app, "/jobs")


def test_what_cannot_be_served_is_named(app):
    url: Any = "sqlite:///jobs.db"
    with pytest.raises(TypeError, match=r"serves a gnj\.GNJ, not a str"):
        mount(app, url, "/jobs")
