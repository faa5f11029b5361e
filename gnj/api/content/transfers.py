"""The bytes themselves: `PUT …/uploads/{upload}/{part}` and `GET …/files/{key}`, each allowed by its signed URL alone."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial

from gnj.api.content.face import Face
from gnj.api.file_stream import Downloads, FileStream
from gnj.api.http import RETRY_AFTER, Request, Response, Route, Sink, content, refusal
from gnj.api.receiving import buffered
from gnj.content import signing
from gnj.content.files import PartSink, UploadOver, attachment
from gnj.content.signing import Doubt
from gnj.queue.errors import NotFound


def routes(face: Face) -> list[Route]:
    """The two routes, below `/v2/{organization}/jobs`. No credentials are looked at: the signature is the permission."""
    receive = partial(_receive, face)
    return [
        Route(
            path="/v2/{organization}/jobs/uploads/{upload}/{part}",
            methods=("PUT",),
            endpoint=buffered(receive),
            receive=receive,
            name="content.upload",
        ),
        Route(
            path="/v2/{organization}/jobs/files/{key...}",
            methods=("GET",),
            endpoint=partial(_send, face, Downloads()),
            name="content.file",
        ),
    ]


class _PartBody:
    """The `Sink` of a part: answers with its ETag."""

    def __init__(self, part: PartSink, size: int) -> None:
        self.size: int | None = size
        self._part = part

    def write(self, chunk: bytes) -> None:
        """See `Sink.write`."""
        self._part.write(chunk)

    def finish(self) -> Response:
        """See `Sink.finish`."""
        try:
            etag = self._part.finish()
        except UploadOver:
            return _over()
        return content(b"", "text/plain; charset=utf-8", 200, [("etag", f'"{etag}"')])

    def abort(self) -> None:
        """See `Sink.abort`."""
        self._part.abort()


def _receive(face: Face, request: Request) -> Sink | Response:
    places = request.path_params
    tenant, upload_id, number = places["organization"], places["upload"], places["part"]
    secret = face.queue.shared_secret()
    signed = signing.check_part(secret, tenant, upload_id, number, request.query_string, time.time())
    if isinstance(signed, Doubt):
        return _refused(signed)
    upload = face.queue.upload(tenant, upload_id)
    if upload is None:
        return _nowhere()
    if upload.state != "open":
        return _over()
    size = signed.size or 0
    # all parts but the last have the size of this one; the last ends where the file does
    offset = (int(number) - 1) * size if int(number) < upload.parts else upload.size - size
    try:
        part = face.content.files.part(tenant, upload.key, upload.backend, int(number), offset, size)
    except UploadOver:
        return _over()
    return _PartBody(part, size)


def _send(face: Face, downloads: Downloads, request: Request) -> Response:
    tenant, key = request.path_params["organization"], request.path_params["key"]
    files = face.content.files
    signed = signing.check_file(face.queue.shared_secret(), tenant, key, request.query_string, time.time())
    if isinstance(signed, Doubt):
        return _refused(signed)
    done = downloads.enter(tenant)
    if done is None:
        message = "As many files are being sent as may be at once; try again later."
        return refusal(503, message, "TOO_MANY_STREAMS", [("retry-after", str(RETRY_AFTER))])
    try:
        file = files.open(tenant, key)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    except NotFound:
        done()
        return _nowhere()
    except BaseException:
        done()
        raise
    headers = [("content-disposition", attachment(key)), ("content-length", str(size))]
    return replace(content(b"", "application/octet-stream", 200, headers), stream=FileStream(file, size, done))


def _refused(doubt: Doubt) -> Response:
    """The same whether there is such a thing or not: who cannot sign learns nothing, and has nothing looked up."""
    if doubt is Doubt.EXPIRED:
        return refusal(403, "This URL has expired.", "FORBIDDEN")
    return refusal(403, "This URL was not signed by this server, or was altered.", "FORBIDDEN")


def _nowhere() -> Response:
    return refusal(404, "There is nothing here.", "NOT_FOUND")


def _over() -> Response:
    return refusal(409, "The upload has been completed or given up: its bytes cannot be changed.", "UPLOAD_OVER")
