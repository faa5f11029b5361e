"""Uploads and downloads: where a client sends the parts of a file, and where it fetches one."""

from __future__ import annotations

import math
import re
import secrets
import time
import unicodedata
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from gnj.access import Kind, RequestContext
from gnj.api.content.face import Call, Face
from gnj.api.fields import Field
from gnj.content import signing
from gnj.content.files import MAX_PARTS, Part, part_sizes, upload_key
from gnj.graphql.records import Resolvers
from gnj.queue.errors import InvalidInput, NotFound

_NAME_BYTES: Final = 255
"""Bytes of a file's name in UTF-8: what file systems take."""
_NAME_CHARACTERS: Final = 1_024
"""Characters of it before it is in NFC: a letter with its marks may become one of 3 bytes."""
_KEY_CHARACTERS: Final = 1_024
_HOST: Final = re.compile(r"[A-Za-z0-9.\-_\[\]:]{1,255}")
_UNSEEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Change the direction of what follows, so that a name looks like one of another kind of file."""
_SEEN: Final = frozenset("LNPS")


@dataclass(frozen=True, slots=True)
class _Begun:
    urls: Sequence[Part]
    upload_id: str
    key: str


def _init_file_upload(call: Call, *, init_file_upload_input: Mapping[str, Any]) -> _Begun:
    content, limits = call.face.content, call.face.content.limits
    name = checked_name(init_file_upload_input["name"])
    size: int = init_file_upload_input["size"]
    if not 1 <= size <= limits.upload:
        raise InvalidInput(f"initFileUploadInput.size must be from 1 to {limits.upload:,} bytes, not {size:,}")
    sizes = part_sizes(size, limits.part)
    if len(sizes) > MAX_PARTS:
        raise InvalidInput(
            f"initFileUploadInput.size: the file would have {len(sizes):,} parts, and {MAX_PARTS:,} is the most"
        )
    base = "" if content.files.direct else base_url(call.face, call.request)
    upload_id, key = secrets.token_hex(16), upload_key(name)
    backend = content.files.begin(call.tenant, key, size, limits.part)
    try:
        call.face.queue.create_upload(
            call.tenant,
            upload_id=upload_id,
            key=key,
            name=name,
            size=size,
            parts=len(sizes),
            backend=backend,
            seconds=limits.upload_seconds,
            by=asdict(call.user),
            most=limits.uploads,
        )
    except Exception:
        content.files.drop(call.tenant, key, backend)
        raise
    if content.files.direct:
        urls = content.files.part_urls(call.tenant, key, backend, sizes, limits.url_seconds)
    else:
        urls = _part_urls(call, base, upload_id, sizes)
    parts = [Part(number, each, url) for number, (each, url) in enumerate(zip(sizes, urls, strict=True), 1)]
    return _Begun(parts, upload_id, key)


def _part_urls(call: Call, base: str, upload_id: str, sizes: Sequence[int]) -> Sequence[str]:
    secret, expires = call.face.queue.shared_secret(), _expiry(call.face)
    where = f"{base}/v2/{call.tenant}/jobs/uploads/{upload_id}"
    return [
        f"{where}/{number}?{signing.sign_part(secret, call.tenant, upload_id, number, size, expires)}"
        for number, size in enumerate(sizes, 1)
    ]


def _complete_multi_part_upload(call: Call, *, complete_multipart_upload_input: Mapping[str, Any]) -> bool:
    given, content = complete_multipart_upload_input, call.face.content
    upload = call.face.queue.upload(call.tenant, given["uploadId"])
    if upload is None:
        raise NotFound(f"there is no upload {given['uploadId'][:100]!r}")
    if given["key"] != upload.key:
        raise InvalidInput("completeMultipartUploadInput.key is not the key of this upload")
    sizes = part_sizes(upload.size, content.limits.part)
    if len(sizes) != upload.parts:
        raise InvalidInput("the size of parts was changed on this server since the upload began: begin it again")
    etags = _etags(given["multiPartUploads"], upload.parts)
    content.files.complete(call.tenant, upload.key, upload.backend, sizes, etags)
    call.face.queue.complete_upload(call.tenant, upload.upload_id)
    return True


def _etags(given: Sequence[Mapping[str, Any]], parts: int) -> Sequence[str]:
    """The ETags in the order of the parts, of which each is there once."""
    found: dict[int, str] = {}
    for each in given:
        number: int = each["partNumber"]
        if not 1 <= number <= parts:
            raise InvalidInput(f"multiPartUploads: there is no part {number}; the upload has {parts:,}")
        if number in found:
            raise InvalidInput(f"multiPartUploads: part {number} is named twice")
        found[number] = each["eTag"]
    for number in range(1, parts + 1):
        if number not in found:
            raise InvalidInput(f"multiPartUploads: part {number} is missing")
    return [found[number] for number in range(1, parts + 1)]


def _file_download_url(call: Call, *, key: str) -> str:
    files, seconds = call.face.content.files, call.face.content.limits.url_seconds
    if len(key) > _KEY_CHARACTERS or files.stat(call.tenant, key) is None:
        raise NotFound(f"there is no file {key[:200]!r}")
    url = files.download_url(call.tenant, key, seconds)
    if url is not None:
        return url
    query = signing.sign_file(call.face.queue.shared_secret(), call.tenant, key, _expiry(call.face))
    path = f"/v2/{call.tenant}/jobs/files/{urllib.parse.quote(key)}"
    return f"{base_url(call.face, call.request)}{path}?{query}"


QUERIES: Final[Mapping[str, Field]] = {"fileDownloadUrl": Field(Kind.READ, _file_download_url, "key")}

MUTATIONS: Final[Mapping[str, Field]] = {
    "initFileUpload": Field(Kind.ENQUEUE, _init_file_upload),
    "completeMultiPartUpload": Field(
        Kind.ENQUEUE, _complete_multi_part_upload, "completeMultipartUploadInput.uploadId"
    ),
}

TYPES: Final[tuple[Resolvers, ...]] = (
    Resolvers("PresignedUrlPart", {"partNumber": lambda part, _: part.number, "url": lambda part, _: part.url}),
    Resolvers(
        "InitFileUploadPayload",
        {
            "preSignedUrls": lambda begun, _: begun.urls,
            "uploadId": lambda begun, _: begun.upload_id,
            "key": lambda begun, _: begun.key,
        },
    ),
    Resolvers("CompleteMultipartUploadPayload", {"success": lambda done, _: done}),
)
"""What resolves PresignedUrlPart and the payloads."""


def checked_name(name: str) -> str:
    """The name of a file, in NFC. Raises `InvalidInput` for what is a path, or cannot be seen."""
    # before NFC: marks that are out of their order are sorted in the square of their number, 18 s for 64,000 of them
    long = len(name) > _NAME_CHARACTERS
    name = name if long else unicodedata.normalize("NFC", name)
    if long or len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES:
        raise InvalidInput(f"initFileUploadInput.name is limited to {_NAME_BYTES} bytes in UTF-8")
    if not name.strip() or name in (".", ".."):
        raise InvalidInput("initFileUploadInput.name must be the name of a file")
    if "/" in name or "\\" in name:
        raise InvalidInput("initFileUploadInput.name must be a name without folders")
    if any(unicodedata.category(character) in _UNSEEN or character in _TURNS for character in name):
        raise InvalidInput("initFileUploadInput.name has control characters")
    if not any(unicodedata.category(character)[0] in _SEEN for character in name):
        raise InvalidInput("initFileUploadInput.name has nothing that can be seen")
    return name


def base_url(face: Face, request: RequestContext) -> str:
    """What a client puts before `/v2/{organization}/jobs/…` to reach this application: no slash at its end."""
    if face.public_url is not None:
        return face.public_url.rstrip("/")
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        raise InvalidInput("the request does not say by which name it reached this server: no Host, or not one")
    organization = request.path_params.get("organization", "")
    mounted = request.path.rstrip("/").removesuffix(f"/v2/{organization}/jobs/graphql")
    return f"{request.scheme}://{host}{urllib.parse.quote(mounted)}"


def _expiry(face: Face) -> int:
    return math.ceil(time.time() + face.content.limits.url_seconds)
