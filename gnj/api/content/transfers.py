"""The bytes themselves: `PUT …/uploads/{upload}/{part}` and `GET …/files/{key}`, each allowed by its signed URL alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from gnj.api.content.face import Face
from gnj.api.file_stream import FileStream, Underway
from gnj.api.http import RETRY_AFTER, Request, Response, Route, Sink, content, refusal
from gnj.api.origins import Origins
from gnj.api.receiving import buffered
from gnj.content import signing
from gnj.content.files import PartSink, UploadOver, attachment
from gnj.content.signing import Doubt
from gnj.queue.errors import NotFound

_UPLOADS: Final = "/v2/{organization}/jobs/uploads/{upload}/{part}"
_FILES: Final = "/v2/{organization}/jobs/files/{key...}"


def routes(face: Face) -> list[Route]:
    """The two routes, below `/v2/{organization}/jobs`. No credentials are looked at: the signature is the permission."""
    pages, coming, going = _Pages(Origins(face.origins)), Underway(), Underway()

    def receive(request: Request) -> Sink | Response:
        answer = partial(pages.told, request)
        received = _receive(face, coming, answer, request)
        return answer(received) if isinstance(received, Response) else received

    def send(request: Request) -> Response:
        return pages.told(request, _send(face, going, request))

    return [
        Route(path=_UPLOADS, methods=("PUT",), endpoint=buffered(receive), receive=receive, name="content.upload"),
        Route(path=_FILES, methods=("GET",), endpoint=send, name="content.file"),
        *pages.routes(_UPLOADS, "PUT", "content.upload.pages"),
    ]


class _Pages:
    """What browsers let pages of other origins do with signed URLs (CORS: the Fetch Standard, section 3.2): send a part, read its
    ETag, fetch a file. Nothing for pages of origins that are not set; and never with cookies, of which there are none.
    """

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def told(self, request: Request, response: Response) -> Response:
        """The answer, with what a browser is to be told."""
        if not self._origins:
            return response
        headers = [*response.headers, ("vary", "Origin")]
        if (origin := self._origins.named(request.headers)) is not None:
            headers.append(("access-control-allow-origin", origin))
            if response.header("etag") is not None:
                headers.append(("access-control-expose-headers", "ETag"))
        return replace(response, headers=tuple(headers))

    def routes(self, path: str, method: str, name: str) -> list[Route]:
        """Where a browser asks first whether it may send the request of a page, which it does for all but GET and HEAD."""

        def endpoint(request: Request) -> Response:
            if self._origins.named(request.headers) is None:
                return self.told(request, refusal(403, "Pages of this origin may not use it.", "FORBIDDEN"))
            # a body that is a file has a type, which the page may not know of
            allowed = (("access-control-allow-methods", method), ("access-control-allow-headers", "content-type"))
            return self.told(request, content(b"", "text/plain; charset=utf-8", 200, allowed))

        return [Route(path=path, methods=("OPTIONS",), endpoint=endpoint, name=name)] if self._origins else []


class _PartBody:
    """The `Sink` of a part: answers with its ETag.

    Args:
        part: Where the bytes go.
        size: How many.
        answer: Makes what is sent of an answer.
        done: Called once, whatever becomes of it.
    """

    def __init__(
        self, part: PartSink, size: int, answer: Callable[[Response], Response], done: Callable[[], None]
    ) -> None:
        self.size: int | None = size
        self._part = part
        self._answer = answer
        self._done: Callable[[], None] | None = done

    def write(self, chunk: bytes) -> None:
        """See `Sink.write`."""
        self._part.write(chunk)

    def finish(self) -> Response:
        """See `Sink.finish`."""
        try:
            etag = self._part.finish()
        except UploadOver:
            return self._answer(_over())
        finally:
            self._end()
        return self._answer(content(b"", "text/plain; charset=utf-8", 200, [("etag", f'"{etag}"')]))

    def abort(self) -> None:
        """See `Sink.abort`."""
        self._part.abort()
        self._end()

    def _end(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()


def _receive(
    face: Face, coming: Underway, answer: Callable[[Response], Response], request: Request
) -> _PartBody | Response:
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
    done = coming.enter(tenant)
    if done is None:
        return _too_many()
    size = signed.size or 0
    # all parts but the last have the size of this one; the last ends where the file does
    offset = (int(number) - 1) * size if int(number) < upload.parts else upload.size - size
    try:
        part = face.content.files.part(tenant, upload.key, upload.backend, int(number), offset, size)
    except UploadOver:
        done()
        return _over()
    except BaseException:
        done()
        raise
    return _PartBody(part, size, answer, done)


def _send(face: Face, going: Underway, request: Request) -> Response:
    tenant, key = request.path_params["organization"], request.path_params["key"]
    files = face.content.files
    signed = signing.check_file(face.queue.shared_secret(), tenant, key, request.query_string, time.time())
    if isinstance(signed, Doubt):
        return _refused(signed)
    done = going.enter(tenant)
    if done is None:
        return _too_many()
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


def _too_many() -> Response:
    message = "As many files are on their way as may be at once; try again later."
    return refusal(503, message, "TOO_MANY_STREAMS", [("retry-after", str(RETRY_AFTER))])


def _refused(doubt: Doubt) -> Response:
    """The same whether there is such a thing or not: who cannot sign learns nothing, and has nothing looked up."""
    if doubt is Doubt.EXPIRED:
        return refusal(403, "This URL has expired.", "FORBIDDEN")
    return refusal(403, "This URL was not signed by this server, or was altered.", "FORBIDDEN")


def _nowhere() -> Response:
    return refusal(404, "There is nothing here.", "NOT_FOUND")


def _over() -> Response:
    return refusal(409, "The upload has been completed or given up: its bytes cannot be changed.", "UPLOAD_OVER")
