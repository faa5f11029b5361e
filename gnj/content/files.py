"""`FileStore`: where uploaded, exported and imported files are. The docstrings here are the specification.

A file belongs to an organisation (`tenant`) and has a key, a text of at most 1,024 characters such as
`uploads/5f…/articles.json`, that is never taken for a path. A file appears at once and whole, or not at all; one that is
there is replaced whole or stays as it is. The same key of another tenant is another file.

Every method may raise `StorageUnavailable` where the store cannot be reached, `DiskFull`, `AccessRefused` or `FileGone` where it is
known why, and may be called from any thread.
"""

from __future__ import annotations

import hashlib
import secrets
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from gnj.queue.errors import GnjError, InvalidInput, StorageUnavailable

MAX_PARTS = 10_000
"""Parts of an upload, at most (as S3 has it)."""


def upload_key(name: str) -> str:
    """The key of a new upload of a file of that name, which no other upload has."""
    return f"uploads/{secrets.token_hex(16)}/{name}"


class TooLarge(InvalidInput):
    """There are more bytes than were announced."""

    code = "TOO_LARGE"


class UploadOver(GnjError):
    """The upload has been completed or dropped: its bytes cannot be changed any more."""

    code = "UPLOAD_OVER"


# Kinds of `StorageUnavailable`, because to try again can help once somebody has seen to it: tasks do, and clients are answered 503.
class DiskFull(StorageUnavailable):
    """There is no room left where the files are kept."""

    code = "DISK_FULL"


class AccessRefused(StorageUnavailable):
    """The server may not read or write where the files are kept."""

    code = "ACCESS_REFUSED"


class FileGone(StorageUnavailable):
    """A file that was being written or read is not there any more."""

    code = "FILE_GONE"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an upload, and where a client sends it."""

    number: int
    """From 1."""
    size: int
    """Bytes."""
    url: str | None
    """For a PUT; None: the face signs a URL of its own."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is there."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """Without quotes; another one for other bytes."""
    modified: datetime
    """When it appeared: aware, UTC."""


def part_sizes(size: int, part: int) -> Sequence[int]:
    """How many bytes each part of a file of `size` bytes has, in order: `part` each, and what is left."""
    whole, rest = divmod(size, part)
    return [part] * whole + ([rest] if rest else [])


def attachment(key: str) -> str:
    """The Content-Disposition with which a file is sent: to be kept, and not shown, under the last part of its key."""
    return f"attachment; filename*=UTF-8''{urllib.parse.quote(key.rpartition('/')[2], safe='')}"


def bare_etag(etag: str) -> str:
    """An ETag as it is compared: without the quotes that it may stand in, in lower case."""
    etag = etag.strip()
    return (etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag).lower()


def etag_of_parts(etags: Sequence[str]) -> str:
    """The ETag of a file that came in parts with these bare ETags, as S3 makes it."""
    digests = b"".join(bytes.fromhex(etag) for etag in etags)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"


class PartSink(Protocol):
    """Takes the bytes of one part. Either `finish` or `abort` is called at the end, by the thread that wrote or another."""

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes. Raises `TooLarge` as soon as there are more than the part has; then only `abort` may follow."""

    def finish(self) -> str:
        """The part is there, in the place of an earlier one of its number; its ETag, without quotes.

        Raises `InvalidInput` if bytes are missing, `UploadOver` if the upload has ended meanwhile: nothing of it is kept then,
        and an earlier part stays.
        """

    def abort(self) -> None:
        """Nothing of it is kept; an earlier part of the number stays. Idempotent, raises nothing."""


class FileSink(Protocol):
    """Takes the bytes of a whole file. Either `finish` or `abort` is called at the end."""

    def write(self, data: bytes) -> None:
        """Takes the next bytes, of any number."""

    def finish(self) -> Stored:
        """The file is there, in the place of an earlier one of its key, and outlasts a crash of the machine."""

    def abort(self) -> None:
        """Nothing of it is kept; an earlier file stays. Idempotent, raises nothing."""


class FileStore(Protocol):
    """Keeps files. Making one connects to nothing and writes nothing: that begins with the first call."""

    @property
    def direct(self) -> bool:
        """Whether clients send parts to URLs of the store's own (`part_urls`), and not to the face (`part`)."""

    # Uploads in parts

    def begin(self, tenant: str, key: str, size: int, part: int) -> str:
        """Begins an upload of `size` bytes in parts of `part` bytes; the store's own id of it, given as `backend` below."""

    def part_urls(self, tenant: str, key: str, backend: str, sizes: Sequence[int], seconds: float) -> Sequence[str]:
        """A URL for each part, in order, to which that part can be PUT for `seconds`. Only called if `direct`."""

    def part(self, tenant: str, key: str, backend: str, number: int, offset: int, size: int) -> PartSink:
        """Takes part `number`, whose `size` bytes begin at `offset` of the file. Only called if not `direct`.

        Several sinks of one part may be open at once: the last one that finishes wins, whole. Raises `UploadOver`.
        """

    def complete(self, tenant: str, key: str, backend: str, sizes: Sequence[int], etags: Sequence[str]) -> Stored:
        """Makes one file of the parts, in order.

        Each part must be there with its size and its ETag (compared without quotes and case); else `InvalidInput` names the
        first that is not, and nothing becomes visible. Again, after it was done: the same answer.
        """

    def drop(self, tenant: str, key: str, backend: str) -> None:
        """Gives up an upload that was not completed, with all of its parts. Idempotent; a completed file stays."""

    # Files

    def stat(self, tenant: str, key: str) -> Stored | None:
        """What is known of the file; None if there is none."""

    def open(self, tenant: str, key: str) -> BinaryIO:
        """The file for reading: seekable, buffered, to be closed by the caller. It goes on showing the bytes that were there
        when it was opened, or fails, where the file is replaced or removed meanwhile. Raises `NotFound`.
        """

    def create(self, tenant: str, key: str) -> FileSink:
        """Takes a new file, which is there once it is finished."""

    def download_url(self, tenant: str, key: str, seconds: float) -> str | None:
        """A URL from which the file can be fetched for `seconds`; None: the face signs one of its own."""

    def remove(self, tenant: str, key: str) -> None:
        """The file is gone. Idempotent."""
