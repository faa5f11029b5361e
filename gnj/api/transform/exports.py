"""Records as files: `GET /transform/jobs/{id}/records.jsonl` and `.csv`, and likewise of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from gnj.access import Action, Kind, Target
from gnj.api.file_stream import FileStream, Underway
from gnj.api.graphql_http import whole_answer
from gnj.api.hooks import context_of
from gnj.api.http import RETRY_AFTER, Endpoint, Request, Response, Route, content, refusal
from gnj.api.transform.face import Face
from gnj.queue import deadline
from gnj.queue.errors import GnjError
from gnj.queue.service import Queue
from gnj.transform import exporting
from gnj.transform.requests import number

_KINDS: Final = ("jobs", "runs")


def routes(face: Face) -> list[Route]:
    """The four routes. `authorize` is asked about the action `exportRecords`, of the job or the run that the path names."""
    downloads = Underway()
    return [
        Route(
            path=f"/transform/{kind}/{{id}}/records.{format}",
            methods=("GET",),
            endpoint=_answered(partial(_send, face, downloads, kind, format)),
            name=f"transform.{kind}.{format}",
        )
        for kind in _KINDS
        for format in exporting.FORMATS
    ]


def _answered(send: Callable[[Request], Response]) -> Endpoint:
    def endpoint(request: Request) -> Response:
        try:
            return send(request)
        except GnjError as error:
            return whole_answer(error, None)

    return endpoint


def _send(face: Face, downloads: Underway, kind: str, format: str, request: Request) -> Response:
    id = number(request.path_params["id"])
    context = context_of(request)
    limits = face.limits
    with deadline.within(limits.operation_seconds, limits.statement_seconds):
        principal = face.guard.authenticate(context)
        target = Target(f"transform/{kind}", str(id))
        face.guard.authorize(principal, Action("exportRecords", Kind.READ), target, context)
        queue: Queue = face.jobs().queue
        opened = (exporting.of_job if kind == "jobs" else exporting.of_run)(queue, principal.tenant, id)
    name = f"{kind.removesuffix('s')}-{id}.{format}"
    headers = [("content-disposition", f'attachment; filename="{name}"')]
    answer = content(b"", exporting.FORMATS[format], 200, headers)
    if request.method == "HEAD":
        # no body: the adapters send no length of a stream
        return replace(answer, stream=FileStream(exporting.Reader(iter(())), None))
    done = downloads.enter(principal.tenant)
    if done is None:
        message = "As many files are being sent as may be at once; try again later."
        return refusal(503, message, "TOO_MANY_STREAMS", [("retry-after", str(RETRY_AFTER))])
    return replace(answer, stream=FileStream(exporting.Reader(opened.pieces(format)), None, done))
