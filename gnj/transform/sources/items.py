"""What sources give beside records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from gnj.queue.values import Json, dump_json
from gnj.reading.values import SHOWN
from gnj.transform.errors import SourceFailed

PIECE: Final = 256 * 1024
"""Bytes that are read at once."""


@dataclass(frozen=True, slots=True)
class Bad:
    """What stands where a record should, and is none: it becomes a rejected record."""

    position: int
    """From 0: of the value in its array or its page, the row below the names, or the item; in JSON Lines, of the line in the file."""
    reason: str
    text: str = ""
    """How it begins, where that can be told."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What a source said of the state it was in, to be sent along when it is read again (RFC 9110, section 13.1)."""

    etag: str | None = None
    last_modified: str | None = None


class Readable(Protocol):
    """Bytes, read as they come."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes; fewer only at the end."""


def no_record(position: int, value: Json) -> Bad:
    """What stands for a JSON value that is no object."""
    return Bad(position, "it is no object with fields", dump_json(value)[:SHOWN])


def unreadable(why: str) -> SourceFailed:
    """The failure of a source that cannot be read, now or later."""
    return SourceFailed(f"the source cannot be read: {why}", final=True)
