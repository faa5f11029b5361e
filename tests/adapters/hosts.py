"""Every way in which the tests serve something: `serve(jobs, prefix)` gives a client of it."""

from __future__ import annotations

import contextlib
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from socketserver import ThreadingMixIn
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import gnj_starlette
from gnj.api.wsgi import wsgi_app
from gnj.testing.adapters import Serve
from gnj.testing.clients import asgi_client, http_client, wsgi_client
from tests.serving import served

WAIT = 20


def starlette_app(jobs, prefix):
    app = Starlette()
    gnj_starlette.mount(app, jobs, prefix)
    return app


def fastapi_app(jobs, prefix):
    fastapi = pytest.importorskip("fastapi", reason="capability: fastapi is not installed")
    app = fastapi.FastAPI()
    gnj_starlette.mount(app, jobs, prefix)
    return app


def fastapi_router_app(jobs, prefix):
    fastapi = pytest.importorskip("fastapi", reason="capability: fastapi is not installed")
    router, app = fastapi.APIRouter(), fastapi.FastAPI()
    gnj_starlette.mount(router, jobs, "/")
    app.include_router(router, prefix=prefix.rstrip("/"))
    return app


def mounted_app(jobs, prefix):
    return Starlette(routes=[Mount(prefix, app=gnj_starlette.asgi_app(jobs))])


def flask_app(jobs, prefix):
    flask = pytest.importorskip("flask", reason="capability: flask is not installed")
    import gnj_flask

    app = flask.Flask(__name__)
    gnj_flask.mount(app, jobs, prefix)
    return app


def flask_blueprint_app(jobs, prefix):
    flask = pytest.importorskip("flask", reason="capability: flask is not installed")
    import gnj_flask

    app, outer = flask.Flask(__name__), flask.Blueprint("outer", __name__)
    gnj_flask.mount(outer, jobs, "/")
    app.register_blueprint(outer, url_prefix=prefix)
    return app


def dispatched_app(jobs, prefix):
    """What a server does that mounts a WSGI application below a prefix."""
    app, prefix = wsgi_app(jobs), prefix.rstrip("/")

    def dispatch(environ, start_response):
        path = environ["PATH_INFO"]
        if not (path == prefix or path.startswith(prefix + "/")):
            start_response("404 Not Found", [])
            return []
        below = {"SCRIPT_NAME": environ["SCRIPT_NAME"] + prefix, "PATH_INFO": path.removeprefix(prefix)}
        return app(environ | below, start_response)

    return dispatch


def bridged_app(jobs, prefix):
    a2wsgi = pytest.importorskip("a2wsgi", reason="capability: a2wsgi is not installed")
    return a2wsgi.WSGIMiddleware(flask_app(jobs, prefix))


ASGI = {
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    "fastapi router": fastapi_router_app,
    "mounted asgi_app": mounted_app,
}
WSGI = {"flask": flask_app, "flask blueprint": flask_blueprint_app, "dispatched wsgi_app": dispatched_app}


def serving(make: Callable[..., Any], client: Callable[..., Any]) -> Serve:
    def serve(jobs, prefix):
        return client(make(jobs, prefix))

    return serve


IN_PROCESS = {name: serving(make, asgi_client) for name, make in ASGI.items()} | {
    name: serving(make, wsgi_client) for name, make in WSGI.items()
}


class _Threading(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def _running(server, port) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        thread.join(WAIT)
        server.server_close()


@contextlib.contextmanager
def by_wsgiref(app) -> Iterator[str]:
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, app, _Threading, _Quiet)
    with _running(server, server.server_port) as url:
        yield url


@contextlib.contextmanager
def by_werkzeug(app) -> Iterator[str]:
    pytest.importorskip("werkzeug", reason="capability: werkzeug is not installed")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_arguments):
            pass

    server: Any = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    with _running(server, server.server_port) as url:
        yield url


@contextlib.contextmanager
def by_uvicorn(app) -> Iterator[str]:
    pytest.importorskip("uvicorn", reason="capability: uvicorn is not installed")
    with served(app, ws="none", timeout_graceful_shutdown=5) as url:
        yield url


__all__ = ["ASGI", "IN_PROCESS", "WAIT", "WSGI", "by_uvicorn", "by_werkzeug", "by_wsgiref", "http_client"]
