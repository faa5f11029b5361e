"""Operations as routes: who asks, whether they may, and every error as `{"error": text}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

from gnj.access import Action, Principal
from gnj.api.hooks import bearer, context_of
from gnj.api.http import ANY, RETRY_AFTER, Answer, Endpoint, Request, Response, Route, json
from gnj.api.queues import reading
from gnj.api.queues.declare import Call, Face, Operation, Refusal
from gnj.graphql.errors import ErrorBody
from gnj.queue import deadline
from gnj.queue.errors import (
    CancelPending,
    Conflict,
    Duplicate,
    Forbidden,
    GnjError,
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    NotFound,
    StorageError,
    Unauthenticated,
)
from gnj.queue.later import Later

R = TypeVar("R")

_NOBODY: Final = Principal("")
_STATUS: Final[Mapping[type[GnjError], int]] = MappingProxyType(
    {
        InvalidInput: 400,
        Unauthenticated: 401,
        Forbidden: 403,
        NotFound: 404,
        IllegalTransition: 409,
        LeaseLost: 409,
        CancelPending: 409,
        Duplicate: 409,
        Conflict: 503,
        StorageError: 503,
    }
)
"""The HTTP status of an error: that of the first class that it is."""


def error(status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """An error as a client gets it."""
    return json({"error": text}, status, headers)


def refuse(told: ErrorBody, status: int, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """See `gnj.api.http.Refuse`."""
    more = told["extensions"]
    text = "Method not allowed" if more["code"] == "METHOD_NOT_ALLOWED" else told["message"]
    return error(status, f"{text} {more['errorId']}" if "errorId" in more else text, headers)


def routes_of(face: Face, operations: Sequence[Operation]) -> list[Route]:
    """The routes of these operations, in their order."""
    return [
        Route(
            path=each.path,
            methods=(each.method,),
            endpoint=_endpoint(face, each),
            name=f"queues.{each.name}",
            refuse=refuse,
            gives_way=each.path == "/",
        )
        for each in operations
    ]


def tail(path: str, name: str) -> Route:
    """The route of what is below a path and nothing else: a path that was sent with an encoded slash is not looked for."""
    return Route(path=f"{path}/{{rest...}}", methods=(ANY,), endpoint=_nowhere, name=name, refuse=refuse)


def _nowhere(request: Request) -> Response:
    def found() -> Response:
        reading.check_path(request)
        return error(404, "Not found")

    return answered(found)


def _endpoint(face: Face, operation: Operation) -> Endpoint:
    known = frozenset(param.name for param in operation.params)

    def asked(request: Request) -> Answer:
        if operation.changes and not face.origins.welcome(request.headers):
            # where no body is needed none of its type is, and so much a browser sends for any page, cookies and all
            raise Refusal(403, "Pages of this origin may not change anything.")
        context = context_of(request)
        principal, claim = _NOBODY, None
        if operation.claim:
            places = request.path_params
            claim = face.queue.by_claim_token(places["queue"], places["id"], bearer(context) or "")
        elif operation.kind is not None:
            principal = face.guard.authenticate(context)
            action = Action(operation.action, operation.kind)
            face.guard.authorize(principal, action, operation.target(request), context)
        reading.check_path(request)
        reading.check_parameters(request, known)
        return operation.answer(Call(request, principal, context, face, claim))

    def endpoint(request: Request) -> Answer:
        with deadline.within(face.limits.operation_seconds, face.limits.statement_seconds):
            found = answered(lambda: asked(request))
        return found.then(answered) if isinstance(found, Later) else found

    return endpoint


def answered(answer: Callable[[], R]) -> R | Response:
    """What `answer` gives; or the error that a client gets for what it raises, unless nobody expected that."""
    try:
        return answer()
    except Refusal as refusal:
        return error(refusal.status, refusal.text, refusal.headers)
    except GnjError as failed:
        status = next((status for kind, status in _STATUS.items() if isinstance(failed, kind)), None)
        if status is None:
            raise
        if status == 401:
            return error(401, "Unauthorized", [("www-authenticate", "Bearer")])
        text = "Job not found" if isinstance(failed, JobNotFound) else str(failed)
        return error(status, text, [("retry-after", str(RETRY_AFTER))] if status == 503 else ())
