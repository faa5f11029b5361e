"""How much content jobs may take. Imports next to nothing, so that every room can read it."""

from __future__ import annotations

from dataclasses import dataclass

from gnj.queue.bounds import check_bounds

_MIB = 1024 * 1024
_GIB = 1024 * _MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentLimits:
    """The bounds of uploads, of what is imported and of what is kept of a content job.

    Each is a number greater than 0, those in seconds may have a fraction; `InvalidInput`, naming the field, for any other.
    `GNJ(content_limits=…)` takes them, and the environment: `GNJ_CONTENT_MEMBER` for `member`, and so on.
    """

    part: int = 8 * _MIB
    """Bytes of every part of an upload but the last, which is smaller."""

    upload: int = 10 * _GIB
    """Bytes of a file that is uploaded."""

    uploads: int = 100 * _GIB
    """Bytes of all uploads of an organisation that are there, completed or not; none begins that would pass it. They go as ended
    jobs do, with the retention."""

    url_seconds: float = 900.0
    """Seconds for which a signed URL holds."""

    upload_seconds: float = 86_400.0
    """Seconds within which an upload must be completed."""

    entry: int = 4 * _MIB
    """Bytes of the JSON of one entry."""

    member: int = _GIB
    """Bytes of one file in a zip, unpacked."""

    archive: int = 10 * _GIB
    """Bytes of all files in a zip, unpacked."""

    ratio: int = 200
    """How many times larger than packed a file in a zip may be."""

    members: int = 100_000
    """Files in a zip."""

    logs: int = 100_000
    """Lines of a content job's log that are kept; of more, the oldest go."""

    batch: int = 1_000
    """Entries that are written with one transaction."""

    def __post_init__(self) -> None:
        check_bounds(self, "content_limits")
