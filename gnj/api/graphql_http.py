"""GraphQL over HTTP (the GraphQL-over-HTTP specification; spec/gnj-graphql.md, section 0 point 14, and section 1).

Status codes. What never becomes an operation - no JSON, a parameter of the wrong type - is 400. For the rest:

| | `application/graphql-response+json` | `application/json` only | any other Accept, or none |
|---|---|---|---|
| syntax, validation, no such operation | 400 | 200 | 400, as GNJ 5.1.0 |
| variables | 400 | 200 | 200, as GNJ 5.1.0 |
| errors of fields | 200 | 200 | 200 |

Accept decides the content type of the answer too: `application/graphql-response+json` if the client names it and does not
prefer `application/json`, else `application/json`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from gnj.api import sse
from gnj.api.bodies import encoded
from gnj.api.hooks import Guard, Principal, RequestContext, context_of
from gnj.api.http import RETRY_AFTER, Answer, Endpoint, Request, Response, content
from gnj.api.streams import Streams
from gnj.graphql.engine import Engine, Outcome
from gnj.graphql.errors import Stage, known, refused
from gnj.queue.errors import Forbidden, GnjError, InvalidInput, NotFound, StorageUnavailable, Unauthenticated
from gnj.queue.later import Later, may_wait
from gnj.queue.values import parse_json

METHODS = ("GET", "POST")

MakeContext = Callable[[Request, RequestContext, Principal], Any]
"""Makes the `info.context` of an operation. A `GnjError` it raises is the answer to the request."""

_JSON = "application/json"
_RESPONSE = "application/graphql-response+json"

_STATUS: tuple[tuple[type[GnjError], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (StorageUnavailable, 503),
    (InvalidInput, 400),
    (GnjError, 400),
)
"""Status of an error that is the whole answer; the first class that fits."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an Accept header asks for."""

    content_type: str
    invalid: int
    """Status when the document is not valid."""
    variables: int
    """Status when the variables are not."""


class _Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "BAD_REQUEST", *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


@dataclass(frozen=True, slots=True)
class _Parameters:
    query: str
    variables: Mapping[str, Any]
    operation_name: str | None


def graphql_endpoint(
    engine: Engine, guard: Guard, make_context: MakeContext, streams: Streams | None = None
) -> Endpoint:
    """The endpoint of one schema, for routes with the methods `METHODS`.

    The caller is authenticated first; whether a field may be used is decided by its resolver, through `guard.authorize`.
    Who asks for Server-Sent Events is answered with them; subscriptions, with `streams` only, in no other way.
    """

    def endpoint(request: Request) -> Answer:
        accept = request.headers.get("accept")
        wanted, events = negotiate(accept), wants_events(accept)
        try:
            if wanted is None and not events:
                message = f"Accept must allow {_RESPONSE} or {_JSON}."
                raise _Refused(406, message, "NOT_ACCEPTABLE")  # noqa: TRY301
            context = context_of(request)
            if events > 1:
                may_wait()
                context = replace(context, transport="sse")
            principal = guard.authenticate(context)
            asked = _of_get(request) if request.method in ("GET", "HEAD") else _of_post(request)
            if events and streams is not None and engine.subscribes(asked.query, asked.operation_name):
                if request.method == "HEAD":
                    return sse.headers_only()
                may_wait()
                context = replace(context, transport="sse")
                return sse.subscribed(streams, asked.query, asked.variables, asked.operation_name, context, principal)
            outcome = engine.begin(
                asked.query,
                asked.variables,
                asked.operation_name,
                make_context(request, context, principal),
                queries_only=request.method != "POST",
                later=request.later,
            )
        except _Refused as error:
            body = {"errors": [refused(str(error), error.code)]}
            return _sent(body, error.status, wanted, *error.headers)
        except GnjError as error:
            return whole_answer(error, wanted)

        def answered(get: Callable[[], Outcome]) -> Response:
            outcome = get()
            if events > 1 and outcome.stage is not Stage.METHOD:
                return sse.answer(outcome)
            return _answered(outcome, wanted)

        return outcome.then(answered) if isinstance(outcome, Later) else answered(lambda: outcome)

    return endpoint


@functools.lru_cache(maxsize=64)
def negotiate(accept: str | None) -> Wanted | None:
    """What an Accept header (RFC 9110, 12.5.1) asks for; None if it takes no JSON."""
    ranges = media_ranges(accept) if accept and accept.strip() else {"*/*": 1.0}
    plain = _quality(_JSON, ranges)
    response = _quality(_RESPONSE, ranges)
    # a wildcard means application/json: graphql-http's audit 47DE
    if ranges.get(_RESPONSE, 0.0) > 0 and response >= plain:
        return Wanted(_RESPONSE, invalid=400, variables=400)
    if plain > 0:
        return Wanted(_JSON, invalid=400 if response > 0 else 200, variables=200)
    return Wanted(_RESPONSE, invalid=400, variables=400) if response > 0 else None


@functools.lru_cache(maxsize=64)
def wants_events(accept: str | None) -> int:
    """Whether an Accept header takes Server-Sent Events: 0 no; 1 yes, but JSON as well; 2 rather than JSON.

    Only a client that names them does: a wildcard means JSON. Some clients name all they can read in every request, and
    mean JSON for all but subscriptions.
    """
    ranges = media_ranges(accept or "")
    events = ranges.get(sse.MEDIA_TYPE, 0.0)
    return 0 if events <= 0 else 2 if events > max(_quality(_JSON, ranges), _quality(_RESPONSE, ranges)) else 1


def media_ranges(accept: str) -> dict[str, float]:
    """The media ranges of an Accept header with their qualities; what is wrong with one makes it 0."""
    result: dict[str, float] = {}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if media:
            result[media] = max(result.get(media, 0.0), quality if math.isfinite(quality) else 0.0)
    return result


def _quality(media: str, ranges: Mapping[str, float]) -> float:
    for pattern in (media, "application/*", "*/*"):
        if pattern in ranges:
            return ranges[pattern]
    return 0.0


def _of_get(request: Request) -> _Parameters:
    def as_json(name: str) -> Any:
        text = request.query.get(name)
        return parse_json(text, name) if text else None

    values = {name: as_json(name) for name in ("variables", "extensions")}
    name = request.query.get("operationName")
    return _parameters({"query": request.query.get("query"), "operationName": name or None, **values})


def _of_post(request: Request) -> _Parameters:
    content_type = request.headers.get("content-type", "")
    if content_type != _JSON:  # which nearly all say
        _check_type(content_type)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        _refuse_type("Content-Encoding must be identity.", ("accept-encoding", "identity"))
    body = parse_json(request.body, "The request body")
    if isinstance(body, list):
        raise _Refused(400, "Operation batching disabled.")
    if not isinstance(body, dict):
        raise _Refused(400, "The request body must be a JSON object.")
    return _parameters(body)


def _check_type(content_type: str) -> None:
    media, _, parameters = content_type.partition(";")
    if media.strip().lower() not in (_JSON, _RESPONSE):
        # other types reach a server from a web page without asking it first: text/plain, forms, multipart
        _refuse_type(f"Content-Type must be {_JSON}.", ("accept-post", _JSON))
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            _refuse_type("The charset must be utf-8.")


def _refuse_type(message: str, *headers: tuple[str, str]) -> NoReturn:
    raise _Refused(415, message, "UNSUPPORTED_MEDIA_TYPE", *headers)


def _parameters(values: Mapping[str, Any]) -> _Parameters:
    query, name = values.get("query"), values.get("operationName")
    if query is None:
        raise _Refused(400, "The parameter query is missing.")
    if not isinstance(query, str):
        raise _Refused(400, "The parameter query must be a string.")
    if name is not None and not isinstance(name, str):
        raise _Refused(400, "The parameter operationName must be a string or null.")
    for key in ("variables", "extensions"):
        if values.get(key) is not None and not isinstance(values[key], dict):
            raise _Refused(400, f"The parameter {key} must be an object or null.")
    return _Parameters(query, values.get("variables") or {}, name)


def _answered(outcome: Outcome, wanted: Wanted | None) -> Response:
    # None: the client takes events only, and cannot be sent this one as such
    wanted = wanted or Wanted(_JSON, invalid=400, variables=200)
    if outcome.unavailable:
        return _sent(outcome.body, 503, wanted, ("retry-after", str(RETRY_AFTER)))
    match outcome.stage:
        case Stage.EXECUTE:
            return _sent(outcome.body, 200, wanted)
        case Stage.METHOD:
            return _sent(outcome.body, 405, wanted, ("allow", "POST"))
        case Stage.VARIABLES:
            return _sent(outcome.body, wanted.variables, wanted)
        case _:
            return _sent(outcome.body, wanted.invalid, wanted)


def whole_answer(error: GnjError, wanted: Wanted | None) -> Response:
    """The answer to a request that came to nothing else, as JSON."""
    status = next(status for class_, status in _STATUS if isinstance(error, class_))
    headers: list[tuple[str, str]] = []
    if status == 401:
        headers.append(("www-authenticate", "Bearer"))
    if status == 503:
        headers.append(("retry-after", str(RETRY_AFTER)))
    return _sent({"errors": [known(error)]}, status, wanted, *headers)


def _sent(body: dict[str, Any], status: int, wanted: Wanted | None, *headers: tuple[str, str]) -> Response:
    content_type = wanted.content_type if wanted else _JSON
    return content(encoded(body).encode(), f"{content_type}; charset=utf-8", status, headers)
