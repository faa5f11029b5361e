"""`Content`: what content jobs need, in one place; and how a setting becomes a file store."""

from __future__ import annotations

import re
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gnj.content.files import FileStore
from gnj.content.local_files import LocalFiles
from gnj.content.s3_files import S3Files
from gnj.content.store import ContentStore
from gnj.queue.errors import InvalidInput
from gnj.queue.service import Queue
from gnj.queue.values import shown
from gnj.settings_content import ContentLimits

_S3: Final = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?", re.DOTALL)
_ORGANIZATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, kw_only=True)
class Content:
    """What content jobs work with: those who make them, those who run them and those who show them.

    Nothing is connected before it is needed.

    Args:
        queue: Where the content jobs are.
        store: Where the content is: the shipped one, or the host's own.
        files: Where the files are that are imported and exported.
        limits: How much they may take.
        time_zone: In which the cron expressions of recurring jobs are read, by its name in the IANA database.
    """

    queue: Queue
    store: ContentStore
    files: FileStore
    limits: ContentLimits = field(default_factory=ContentLimits)
    time_zone: str = "UTC"


def is_organization(name: str) -> bool:
    """Whether an organisation can be called that: what may stand in a path as it is."""
    return _ORGANIZATION.fullmatch(name) is not None


def open_files(where: str, endpoint: str | None = None, *, limits: ContentLimits | None = None) -> FileStore:
    """The file store at `where`: a directory, which is made when something is written, or `s3://bucket/prefix`.

    `endpoint` is the URL of an S3-compatible server, where it is not Amazon's; by `limits` a directory knows what was left behind. Raises `InvalidInput` for what is neither, and
    where the extra `s3` is needed and not installed.
    """
    if match := _S3.fullmatch(where):
        return S3Files(match["bucket"], (match["prefix"] or "").strip("/"), endpoint=endpoint)
    if not where or "\0" in where or _SCHEME.match(where):
        raise InvalidInput(f"files must be a directory or s3://bucket/prefix, not {shown(where)}")
    root = Path(where)
    with suppress(
        OSError
    ):  # one that is not there is made, and one that may not be looked at is told of when it is used
        if not stat.S_ISDIR(root.stat().st_mode):
            raise InvalidInput(f"files: {shown(where)} is no directory")
    return LocalFiles(root, open_seconds=(limits or ContentLimits()).upload_seconds)
