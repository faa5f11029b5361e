"""`S3Files`: files in a bucket of Amazon S3, or of a server that speaks its protocol. Needs the extra `s3` (boto3)."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, cast

from gnj.content.files import (
    AccessRefused,
    FileSink,
    PartSink,
    Stored,
    UploadOver,
    attachment,
    bare_etag,
    etag_of_parts,
)
from gnj.queue.errors import InvalidInput, NotFound, StorageUnavailable

logger = logging.getLogger("gnj.content")

SMALLEST: Final = 5 * 1024 * 1024
"""Bytes that every part of an upload but the last must have, says S3."""
_CHUNK: Final = 8 * 1024 * 1024
"""Bytes that are fetched, or sent, with one request, at most."""
_LITTLE: Final = 256 * 1024
"""Bytes that are fetched after a jump; twice as many with each request that goes on from there."""
_GROWING: Final = 1_000
"""Parts of a file that is written, after which the next ones are larger: S3 takes 10,000."""
_KEY_BYTES: Final = 1_024
_GONE: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchUpload"})
_REFUSED: Final = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})
_TYPE: Final = "application/octet-stream"


class S3Files:
    """A `FileStore` in a bucket; credentials and region are found as boto3 finds them.

    Clients send parts to the bucket itself, each with a URL that its size is signed with: S3 refuses another one. A server that does
    not go by it shows when the upload is completed, and the part is refused then.

    Args:
        bucket: Its name.
        prefix: Begins every key in the bucket.
        endpoint: The URL of the server, where it is not Amazon's.

    Raises `InvalidInput`, when it is made, where boto3 is not installed.
    """

    direct = True

    def __init__(self, bucket: str, prefix: str = "", *, endpoint: str | None = None) -> None:
        if importlib.util.find_spec("boto3") is None:
            raise InvalidInput("files: a bucket of S3 needs the extra s3: pip install 'gnj[s3]'")
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint = endpoint
        self._lock = threading.Lock()
        self._made: Any = None

    def begin(self, tenant: str, key: str, size: int, part: int) -> str:
        """See `FileStore.begin`. Raises `InvalidInput` for parts that are smaller than S3 takes them."""
        if part < SMALLEST and size > part:
            raise InvalidInput(f"S3 takes no parts of less than {SMALLEST:,} bytes: content_limits.part is {part:,}")
        with _reaching(self.bucket):
            begun = self.client.create_multipart_upload(**self._named(tenant, key), ContentType=_TYPE)
        return str(begun["UploadId"])

    def part_urls(self, tenant: str, key: str, backend: str, sizes: Sequence[int], seconds: float) -> Sequence[str]:
        """See `FileStore.part_urls`."""
        of_all = {**self._named(tenant, key), "UploadId": backend}
        with _reaching(self.bucket):
            return [
                self.client.generate_presigned_url(
                    "upload_part",
                    {**of_all, "PartNumber": number, "ContentLength": size},
                    ExpiresIn=max(1, int(seconds)),
                )
                for number, size in enumerate(sizes, 1)
            ]

    def part(self, tenant: str, key: str, backend: str, number: int, offset: int, size: int) -> PartSink:
        """See `FileStore.part`."""
        raise TypeError("clients send the parts of S3Files to the bucket")

    def complete(self, tenant: str, key: str, backend: str, sizes: Sequence[int], etags: Sequence[str]) -> Stored:
        """See `FileStore.complete`."""
        upload = {**self._named(tenant, key), "UploadId": backend}
        bare = [bare_etag(etag) for etag in etags]
        with _reaching(self.bucket):
            try:
                parts = self._parts(upload)
                for number, (size, etag) in enumerate(zip(sizes, bare, strict=True), 1):
                    if number not in parts:
                        raise InvalidInput(f"part {number} was not uploaded")
                    if bare_etag(parts[number][1]) != etag:
                        raise InvalidInput(f"part {number} has another ETag")
                    if parts[number][0] != size:
                        raise InvalidInput(f"part {number} must have {size:,} bytes, not {parts[number][0]:,}")
                told = [{"PartNumber": number, "ETag": parts[number][1]} for number in range(1, len(sizes) + 1)]
                self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": told})
            except _client_error() as error:
                if not _is_gone(error):
                    raise
                return self._completed(tenant, key, bare)
        stored = self.stat(tenant, key)
        if stored is None:
            raise UploadOver
        return stored

    def drop(self, tenant: str, key: str, backend: str) -> None:
        """See `FileStore.drop`."""
        with _reaching(self.bucket), _unless_gone():
            self.client.abort_multipart_upload(**self._named(tenant, key), UploadId=backend)

    def stat(self, tenant: str, key: str) -> Stored | None:
        """See `FileStore.stat`."""
        head = self._head(tenant, key)
        return None if head is None else _stored(key, head)

    def open(self, tenant: str, key: str) -> BinaryIO:
        """See `FileStore.open`. One that is replaced or removed while it is read fails with `StorageUnavailable`."""
        head = self._head(tenant, key)
        if head is None:
            logger.warning("there is no file %r of %s in the bucket %s", key[:200], tenant, self.bucket)
            raise NotFound(f"there is no file {key[:200]!r}")
        reader = _S3Reader(self, self._named(tenant, key), head["ContentLength"], head["ETag"])
        return cast("BinaryIO", io.BufferedReader(reader, _CHUNK))

    def create(self, tenant: str, key: str) -> FileSink:
        """See `FileStore.create`."""
        return _S3File(self, tenant, key, self._named(tenant, key))

    def download_url(self, tenant: str, key: str, seconds: float) -> str | None:
        """See `FileStore.download_url`."""
        shown = {"ResponseContentDisposition": attachment(key), "ResponseContentType": _TYPE}
        named = {**self._named(tenant, key), **shown}
        with _reaching(self.bucket):
            return str(self.client.generate_presigned_url("get_object", named, ExpiresIn=max(1, int(seconds))))

    def remove(self, tenant: str, key: str) -> None:
        """See `FileStore.remove`."""
        with _reaching(self.bucket), _unless_gone(), contextlib.suppress(InvalidInput):
            self.client.delete_object(**self._named(tenant, key))

    def check(self) -> None:
        """Raises `AccessRefused` or `StorageUnavailable` where the bucket does not answer; the log says why."""
        with _reaching(self.bucket):
            # not its head: an answer to that has no body, and so no reason
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    @property
    def client(self) -> Any:  # boto3 makes the class while it runs
        """What speaks to the server, made when it is needed first; boto3's clients are for all threads, and not its sessions."""
        with self._lock:
            if self._made is None:
                import boto3.session
                from botocore.config import Config

                # checksums only where S3 must have them: servers that speak its protocol often know none
                config = Config(
                    signature_version="s3v4",
                    connect_timeout=5,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": 3},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                self._made = boto3.session.Session().client("s3", endpoint_url=self.endpoint, config=config)
            return self._made

    def _named(self, tenant: str, key: str) -> dict[str, Any]:
        """Bucket and key. Raises `InvalidInput` for what may be no key: some servers and clients take it for a path, and to one
        that leads elsewhere it might be another organisation's.
        """
        if any(part in ("", ".", "..") for part in key.split("/")):
            raise InvalidInput('the key of a file has no empty parts, "." or ".."')
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in key):
            raise InvalidInput("the key of a file has no control characters")
        digest = hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        name = f"{self.prefix}/{digest}/{key}" if self.prefix else f"{digest}/{key}"
        if len(name.encode()) > _KEY_BYTES:
            raise InvalidInput(
                f"the key of a file is limited to {_KEY_BYTES:,} bytes in UTF-8, with all that is before it"
            )
        return {"Bucket": self.bucket, "Key": name}

    def _head(self, tenant: str, key: str) -> Mapping[str, Any] | None:
        with _reaching(self.bucket):
            try:
                found: Mapping[str, Any] = self.client.head_object(**self._named(tenant, key))
            except InvalidInput:
                return None
            except _client_error() as error:
                if not _is_gone(error):
                    raise
                return None
            return found

    def _parts(self, upload: Mapping[str, Any]) -> Mapping[int, tuple[int, str]]:
        """Size and ETag of the parts that were sent."""
        pages = self.client.get_paginator("list_parts").paginate(**upload)
        return {part["PartNumber"]: (part["Size"], part["ETag"]) for page in pages for part in page.get("Parts", ())}

    def _completed(self, tenant: str, key: str, etags: Sequence[str]) -> Stored:
        """The file that an upload became that is not there any more. Raises `UploadOver` where it became none."""
        head = self._head(tenant, key)
        if head is None:
            raise UploadOver
        stored = _stored(key, head)
        with contextlib.suppress(ValueError):  # what is no ETag of S3's
            # of what is encrypted with keys of others, an ETag says nothing of the bytes
            if "SSEKMSKeyId" in head or stored.etag == etag_of_parts(etags):
                return stored
        raise InvalidInput("the upload is complete already, of parts with other ETags")


class _S3Reader(io.RawIOBase):
    """A file in the bucket, a piece of it with each request, all of the same version. The more, the longer it is read in one go: a
    zip that nobody trusts may lead to and fro 100,000 times.
    """

    def __init__(self, files: S3Files, named: Mapping[str, Any], size: int, etag: str) -> None:
        super().__init__()
        self._files, self._named, self._size, self._etag = files, named, size, etag
        self._at = self._went_to = 0
        self._most = _LITTLE

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.IOBase`."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """See `io.RawIOBase`."""
        view = memoryview(buffer).cast("B")
        goes_on = 0 <= self._at - self._went_to <= _LITTLE
        self._most = min(2 * self._most, _CHUNK) if goes_on else _LITTLE
        size = min(len(view), self._size - self._at, self._most)
        if size <= 0:
            return 0
        wanted = f"bytes={self._at}-{self._at + size - 1}"
        with _reaching(self._files.bucket):
            found = self._files.client.get_object(**self._named, Range=wanted, IfMatch=self._etag)
            with contextlib.closing(found["Body"]) as body:
                data = body.read()
        view[: len(data)] = data
        self._at += len(data)
        self._went_to = self._at
        return len(data)


class _S3File:
    """The `FileSink` of `S3Files`: what is small is sent at once, what is large in parts as it comes."""

    def __init__(self, files: S3Files, tenant: str, key: str, named: Mapping[str, Any]) -> None:
        self._files, self._tenant, self._key, self._named = files, tenant, key, named
        self._waiting = bytearray()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        """See `FileSink.write`."""
        self._waiting += data
        while len(self._waiting) > (size := _CHUNK * (1 + len(self._parts) // _GROWING)):
            piece = bytes(memoryview(self._waiting)[:size])
            del self._waiting[:size]
            self._send(piece)

    def finish(self) -> Stored:
        """See `FileSink.finish`."""
        try:
            if self._upload is None:
                with _reaching(self._files.bucket):
                    self._files.client.put_object(**self._named, Body=bytes(self._waiting), ContentType=_TYPE)
            else:
                self._send(bytes(self._waiting))
                with _reaching(self._files.bucket):
                    self._files.client.complete_multipart_upload(
                        **self._named, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
                    )
                self._upload = None
        finally:
            self.abort()
        stored = self._files.stat(self._tenant, self._key)
        if stored is None:
            raise StorageUnavailable("the file that was written is not there")
        return stored

    def abort(self) -> None:
        """See `FileSink.abort`."""
        self._waiting.clear()
        upload, self._upload = self._upload, None
        if upload is not None:
            try:
                self._files.client.abort_multipart_upload(**self._named, UploadId=upload)
            except Exception:
                logger.warning("the parts of a file that was given up stay in the bucket", exc_info=True)

    def _send(self, piece: bytes) -> None:
        client = self._files.client
        with _reaching(self._files.bucket):
            if self._upload is None:
                self._upload = client.create_multipart_upload(**self._named, ContentType=_TYPE)["UploadId"]
            number = len(self._parts) + 1
            sent = client.upload_part(**self._named, UploadId=self._upload, PartNumber=number, Body=piece)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})


def _stored(key: str, head: Mapping[str, Any]) -> Stored:
    return Stored(key, head["ContentLength"], bare_etag(head["ETag"]), head["LastModified"])


def _client_error() -> type[Exception]:
    from botocore.exceptions import ClientError

    return ClientError


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__))


def _is_gone(error: Exception) -> bool:
    return _code(error) in _GONE


@contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except _client_error() as error:
        if not _is_gone(error):
            raise


@contextmanager
def _reaching(bucket: str) -> Iterator[None]:
    """What S3 refuses, and what cannot be reached, as `StorageUnavailable`, which names neither bucket nor server. Of these only the
    log tells.
    """
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError
    from botocore.exceptions import ClientError as Refused

    try:
        yield
    except (BotoCoreError, Refused) as error:
        if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            logger.warning("the bucket %s cannot be used: no credentials were found for S3 (%s)", bucket, error)
            raise AccessRefused from error
        if _code(error) == "NoSuchBucket":
            logger.warning("there is no bucket %s (files): make it, or see to its name and region", bucket)
            raise AccessRefused from error
        logger.warning("S3 did not do what it was asked for in the bucket %s", bucket, exc_info=True)
        if _code(error) in _REFUSED:
            raise AccessRefused from error
        raise StorageUnavailable("the files cannot be reached") from error
