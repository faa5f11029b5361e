"""The page and its routes. It holds no data: what it shows comes from the API it was served by, on the visitor's account."""

from __future__ import annotations

import functools
import html
import json

from gnj.api.graphiql.assets import Assets
from gnj.api.graphiql.examples import EXAMPLES
from gnj.api.graphql_http import media_ranges, whole_answer
from gnj.api.hooks import Guard, context_of
from gnj.api.http import Answer, Endpoint, Request, Response, Route, content, refusal
from gnj.queue.errors import GnjError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""The page's Content-Security-Policy (security.md, "Dashboard XSS")."""

_FOLDER = "assets"
_YEAR = 31_536_000
_JSON = ("application/json", "application/graphql-response+json")


class Explorer:
    """GraphiQL for one API.

    Args:
        guard: Who may have the page: whoever may ask anything.
        introspection: Whether the page may ask for the schema.
        to_all: The page is for everybody, who then shows in its headers who they are: a browser cannot send a token with
            a visit. Still nobody but this machine gets it while only this machine is answered.
    """

    def __init__(self, guard: Guard, *, introspection: bool, to_all: bool = False) -> None:
        self._guard = guard
        self._introspection = introspection
        self._to_all = to_all
        self._assets = Assets()

    def before(self, graphql: Endpoint) -> Endpoint:
        """The endpoint of `/graphql`, with the page in the place of its answer to a browser's visit."""

        def endpoint(request: Request) -> Answer:
            if not _is_visit(request):
                return graphql(request)
            # relative to what the browser shows, which a proxy may have put below a path that nobody here knows
            folder = _FOLDER if request.path.endswith("/") else f"graphql/{_FOLDER}"
            return self._refusal(request) or self._page(folder)

        return endpoint

    def routes(self) -> list[Route]:
        """The files of the page, below `/graphql/assets`."""
        path = f"/graphql/{_FOLDER}/{{name}}"
        return [Route(path=path, methods=("GET",), endpoint=self._file, name="graphiql_assets")]

    def _refusal(self, request: Request) -> Response | None:
        try:
            if not self._to_all or self._guard.local_only:
                self._guard.authenticate(context_of(request))
        except GnjError as error:
            return whole_answer(error, None)
        return None

    def _file(self, request: Request) -> Response:
        if (refused := self._refusal(request)) is not None:
            return refused
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return refusal(404, "There is no such file.", "NOT_FOUND")
        etag = f'"{asset.sha256}"'
        headers = (
            ("content-type", asset.content_type),
            ("cache-control", f"private, max-age={_YEAR}, immutable"),
            ("etag", etag),
            ("x-content-type-options", "nosniff"),
        )
        if etag in request.headers.get("if-none-match", ""):
            return Response(status=304, headers=headers)
        return Response(headers=headers, body=asset.read())

    def _page(self, folder: str) -> Response:
        script, style = self._assets.of("js"), self._assets.of("css")
        introspection = "on" if self._introspection else "off"
        tabs = html.escape(json.dumps([each.tab for each in EXAMPLES]))
        page = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>gnj</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{folder}/{style.name}" integrity="{style.integrity}">
<script defer src="{folder}/{script.name}" integrity="{script.integrity}"></script>
</head>
<body>
<div id="graphiql" data-introspection="{introspection}" data-examples="{tabs}"></div>
<noscript>GraphiQL needs JavaScript. The API does not: send it POST requests.</noscript>
</body>
</html>
"""
        headers = (("content-security-policy", POLICY), ("referrer-policy", "no-referrer"))
        return content(page.encode(), "text/html; charset=utf-8", headers=headers)


@functools.lru_cache(maxsize=64)
def prefers_html(accept: str | None) -> bool:
    """Whether an Accept header comes from a browser that goes to a page.

    It names text/html; what it names of GraphQL's own types it wants less, and nothing more. A wildcard is no browser's
    alone: `*/*`, which curl sends, asks for JSON.
    """
    ranges = media_ranges(accept or "")
    wanted = ranges.get("text/html", 0.0)
    return wanted > max(ranges.get(each, 0.0) for each in _JSON) and wanted >= max(ranges.values(), default=0.0)


def _is_visit(request: Request) -> bool:
    """A GET with a query is an operation, whoever sends it."""
    return (
        request.method in ("GET", "HEAD")
        and "query" not in request.query
        and prefers_html(request.headers.get("accept"))
    )
