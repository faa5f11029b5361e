"""The routes of files alone, and who begins and completes uploads: what tests of transfers share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gnj import GNJ
from gnj.access import Principal, RequestContext
from gnj.api import http
from gnj.api.content import transfers, uploads
from gnj.api.content.face import Call, Face
from gnj.content.maker import ContentJobs, User

PART = 64 * 1024


class Transfers:
    """Serves the bytes of content files, and nothing else."""

    def __init__(self, jobs: GNJ, **changes: Any) -> None:
        self._jobs = jobs
        self.limits = jobs.limits
        self.threads = jobs.threads
        self.face = Face(
            content=jobs.content,
            queue=jobs.queue,
            guard=None,  # type: ignore[arg-type]  # nothing here asks it
            limits=jobs.limits,
            jobs=ContentJobs(jobs.content),
            **changes,
        )

    def routes(self, faces: Sequence[str] | None, *, asynchronous: bool = True) -> list[http.Route]:
        """See `http.Served`."""
        return transfers.routes(self.face)

    def start(self) -> None:
        """See `http.Served`."""

    def close(self) -> None:
        """See `http.Served`."""


@dataclass(frozen=True)
class Client:
    """Calls the resolvers as the face would, for one organisation."""

    face: Face
    org: str
    base: str = "http://localhost"
    mounted: str = ""

    @property
    def call(self) -> Call:
        """The context of an operation."""
        request = RequestContext(
            headers={"host": self.base.partition("//")[2]},
            path=f"{self.mounted}/v2/{self.org}/jobs/graphql",
            path_params={"organization": self.org},
            scheme=self.base.partition(":")[0],
        )
        return Call(self.face, Principal("me", self.org), request, self.org, User("me", "Me"))

    def init(self, size: Any, name: str = "a.json") -> Any:
        """initFileUpload."""
        resolve = uploads.MUTATIONS["initFileUpload"].resolve
        return resolve(self.call, init_file_upload_input={"name": name, "size": size})

    def complete(self, begun: Any, etags: Sequence[tuple[int, str]], *, key: str | None = None) -> Any:
        """completeMultiPartUpload."""
        given = {
            "uploadId": begun.upload_id,
            "key": begun.key if key is None else key,
            "multiPartUploads": [{"partNumber": number, "eTag": etag} for number, etag in etags],
        }
        return uploads.MUTATIONS["completeMultiPartUpload"].resolve(self.call, complete_multipart_upload_input=given)

    def download_url(self, key: str) -> str:
        """fileDownloadUrl."""
        url: str = uploads.QUERIES["fileDownloadUrl"].resolve(self.call, key=key)
        return url

    def upload(self, client: Any, data: bytes, name: str = "a.json") -> Any:
        """All of it, through an HTTP client."""
        begun = self.init(len(data), name)
        etags, at = [], 0
        for part in begun.urls:
            answer = client.put(part.url, content=data[at : at + part.size])
            assert answer.status_code == 200, answer.text
            etags.append((part.number, answer.headers["etag"]))
            at += part.size
        assert self.complete(begun, etags)
        return begun


def pattern(size: int, seed: bytes = b"") -> bytes:
    """Bytes that repeat nowhere near."""
    block = b"".join(hashlib.sha256(seed + bytes([n])).digest() for n in range(256))
    return (block * (size // len(block) + 1))[:size]
