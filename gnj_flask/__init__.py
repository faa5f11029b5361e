"""Serves gnj from Flask.

    app = Flask(__name__)
    gnj_flask.mount(app, jobs, "/jobs")

or, where an application is made by a function:

    queue = GNJFlask(jobs)          # or GNJFlask(): from app.config["GNJ_DATABASE"] and the other settings, by init_app

    def create_app():
        app = Flask(__name__)
        queue.init_app(app, url_prefix="/jobs")
        return app

The routes are a blueprint's: what the host does before and after requests applies to them, `/jobs/nothing` is the host's own
404, and `csrf.exempt(app.blueprints["gnj"])` finds them. They need no SECRET_KEY. The carrying is done by `gnj.api.wsgi`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPMethod
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from flask import Blueprint, Flask, Response, current_app, request
from flask.sansio.app import App
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException

from gnj import GNJ
from gnj.api import http, wsgi

__all__ = ["GNJFlask", "mount"]

EXTENSION = "gnj"
"""Below this name `app.extensions` has what is served, by the prefix it is served under."""

Host: TypeAlias = Flask | Blueprint
"""Where routes can be added."""


def mount(
    app: Host, jobs: http.Served, path: str = "/", faces: Sequence[str] | None = None, *, name: str | None = None
) -> None:
    """Add the routes of `jobs` to an application or a blueprint, below `path`.

    `faces` names those the host wants; all by default. Each route answers with and without a slash at its end, and the 404
    of other paths is the host's. `name` is that of the blueprint the routes are in: "gnj" unless given, or "gnj" and the path
    if the application has a "gnj" already. `jobs` is started by the first request of each process, and closed when the process
    ends.

    ValueError: the path does not begin with "/", a face does not exist, or the application has a GNJ at that path already.
    """
    if not isinstance(app, Flask | Blueprint):
        raise TypeError(f"mount(app, jobs, path) takes a Flask application or blueprint, not a {type(app).__name__}")
    http.check_served(jobs)
    _check(path)
    names = app.blueprints if isinstance(app, Flask) else ()
    chosen = name or (EXTENSION + re.sub(r"\W", "_", path.rstrip("/")) if EXTENSION in names else EXTENSION)
    if isinstance(app, Flask):
        _check_free(app, path)
    app.register_blueprint(_blueprint(jobs, faces, chosen), url_prefix=path)


class GNJFlask:
    """gnj as a Flask extension, for one application or several.

    Args:
        jobs: What is served. Without it, each application that is given to `init_app` gets a GNJ of its own, made from
            its configuration: `GNJ_DATABASE`, `GNJ_TOKEN` and so on, the keywords of `gnj.GNJ` in capitals, as values of
            Python. What is not configured is as `gnj.GNJ` says.
    """

    def __init__(self, jobs: http.Served | None = None) -> None:
        self._given = jobs
        self._made: WeakKeyDictionary[Flask, GNJ] = WeakKeyDictionary()

    @property
    def jobs(self) -> Any:
        """What is served, to enqueue to it: the GNJ given, or the one that was made for the current application.

        RuntimeError: there is no current application, or it was not given to `init_app`.
        """
        if self._given is not None:
            return self._given
        made = self._made.get(current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - Flask's documented way
        if made is None:
            raise RuntimeError("this application was not given to init_app")
        return made

    def init_app(
        self, app: Flask, url_prefix: str = "/jobs", faces: Sequence[str] | None = None, *, name: str | None = None
    ) -> None:
        """Serve below `url_prefix` of that application; the rest as in `mount`.

        Also raises what `gnj.GNJ` raises for settings it does not take, `InvalidInput`, naming the setting.
        """
        _check(url_prefix)
        _check_free(app, url_prefix)
        jobs = self._given
        if jobs is None:
            jobs = self._made.get(app) or GNJ(**app.config.get_namespace("GNJ_"))
            self._made[app] = jobs
        mount(app, jobs, url_prefix, faces, name=name)

    def blueprint(self, faces: Sequence[str] | None = None, *, name: str = EXTENSION) -> Blueprint:
        """The routes as a blueprint, for a host that registers it itself, with a prefix of its choice, perhaps in another.

        TypeError: there is no GNJ yet, since it is to be made from an application's configuration.
        """
        if self._given is None:
            raise TypeError("a blueprint needs a GNJ: GNJFlask(jobs).blueprint()")
        return _blueprint(self._given, faces, name)


def _check(path: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f'the path must begin with "/", not {path!r}')


def _check_free(app: App, path: str) -> None:
    if path.rstrip("/") in app.extensions.get(EXTENSION, ()):
        raise ValueError(f"this application has a GNJ at {path!r} already: give the other one a prefix of its own")


def _blueprint(jobs: http.Served, faces: Sequence[str] | None, name: str) -> Blueprint:
    blueprint = Blueprint(name, __name__)
    carrier = wsgi.Carrier(jobs)
    routes = jobs.routes(faces, asynchronous=False)
    names = {route.path: route.name for route in reversed(routes)}
    aside = {route.path for route in routes if route.gives_way}
    table = [(path, names[path], _view(carrier, methods)) for path, methods in http.endpoints(routes).items()]

    def register(state: BlueprintSetupState) -> None:
        prefix = (state.url_prefix or "").rstrip("/")
        _check_free(state.app, prefix or "/")
        state.app.extensions.setdefault(EXTENSION, {})[prefix] = jobs
        for path, endpoint, view in table:
            if path in aside and not prefix:
                continue
            below = re.sub(r"\{(\w+)\}", r"<\1>", re.sub(r"\{(\w+)\.\.\.\}", r"<path:\1>", path)).rstrip("/")
            for spelled in (below, below + "/"):
                if prefix + spelled:
                    state.add_url_rule(
                        spelled,
                        endpoint.replace(".", "_"),
                        view,
                        methods=[method.value for method in HTTPMethod],
                        strict_slashes=True,
                        merge_slashes=False,
                        provide_automatic_options=False,
                    )

    blueprint.record(register)
    return blueprint


def _view(carrier: wsgi.Carrier, methods: http.Methods) -> Any:
    def view(**places: str) -> Response:
        options: dict[str, Any] = {"max_body": request.max_content_length}
        if "stream" in vars(request):
            # something of the host's came first, such as a before_request that looks at request.json
            options |= {"stream": request.stream, "already": _already_read}
        answer = carrier.carry(
            methods,
            request.environ,
            places=places,
            raw=request._get_current_object(),  # type: ignore[attr-defined]  # noqa: SLF001 - Flask's documented way
            **options,
        )
        return Response(answer.body, answer.status, answer.headers)

    return view


def _already_read() -> bytes:
    try:
        return request.get_data()
    except HTTPException:  # nothing was kept, and nothing is left
        return b""
