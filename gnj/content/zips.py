"""Zip files that nobody trusts, read member by member within bounds.

What a zip says of itself is in its directory, at the end. All of that is checked before the first byte of a member is unpacked:
how many members there are, that none lies over another one, where each would go. What cannot be known before - how much really
comes out - is counted while it does. Memory is bounded by the directory, which has about 100 bytes for each member.

The standard library's reader is not used: it makes an object of every member before anybody can count them, and unpacks from
wherever the directory points to.
"""

from __future__ import annotations

import os
import stat
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from gnj.queue.errors import InvalidInput
from gnj.settings_content import ContentLimits

PATH: Final = 1_024
"""Characters of a path, at most."""
_CHUNK: Final = 256 * 1024
_PACKED: Final = 64 * 1024
_DIRECTORY_PER_MEMBER: Final = 320
"""Bytes of the directory for each member that there may be: all of it is in memory."""

_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_ENTRY: Final = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL: Final = struct.Struct("<4s2B4HL2L2H")
_ZIP64: Final = 0x0001
_ENCRYPTED: Final = 0x0001 | 0x0040 | 0x2000
_UTF8: Final = 0x0800
_STORED: Final = 0
_DEFLATED: Final = 8
_TURNS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""With them a name looks like one of another kind of file. Marks of direction alone do not, and phones write them."""
_UNIX: Final = (3, 19)
"""Where files have a mode, by the numbers of the systems that a zip may come from; 19 is macOS."""


class BadZip(InvalidInput):
    """The file is no zip, or has too many members."""

    code = "BAD_ZIP"


class BadMember(InvalidInput):
    """This member is not read to its end; others may be."""

    code = "BAD_MEMBER"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a zip."""

    index: int
    """From 0, of all members."""
    path: str
    """In NFC, with "/" between its parts, none of them empty, "." or ".."; as it stands in the zip, if `problem`."""
    size: int
    """Bytes, unpacked, as the zip says."""
    packed: int
    """Bytes of it in the zip."""
    problem: str | None
    """Why it is not to be read; None: it is."""
    read: Callable[[], Iterator[bytes]]
    """Gives its bytes in chunks, counted as they come. Raises `BadMember` at a bound, or for what is damaged."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int
    """Of a file that was packed on Unix; 0: unknown."""

    @property
    def end(self) -> int:
        """Where it ends at the earliest: what its own head has besides is told there only."""
        return self.offset + _LOCAL.size + len(self.name) + self.packed

    @property
    def is_folder(self) -> bool:
        """Whether it is none of the files."""
        return self.name.endswith(b"/")


def members(stream: BinaryIO, limits: ContentLimits, *, begin: int = 0) -> Iterator[Member]:
    """The files of a zip (not its folders), in order, from the one with the index `begin` on.

    Several with one path are given as they come. Raises `BadZip`.
    """
    directory, begins_at = _directory(stream, limits)
    over = _overlapping(directory, begins_at)
    total = 0
    for index, entry in enumerate(_entries(directory)):
        if entry.is_folder:
            continue
        path, problem = _path(entry)
        problem = problem or _problem(entry, limits)
        if problem is None and index in over:
            problem = "it lies over another file, or outside of its place"
        if problem is None and total + entry.size > limits.archive:
            problem = f"all files before it and this one have more than {limits.archive:,} bytes"
        total += entry.size if problem is None else 0
        if index >= begin:
            read = partial(_read, stream, entry, limits)
            yield Member(index, path, entry.size, entry.packed, problem, read)


def _directory(stream: BinaryIO, limits: ContentLimits) -> tuple[bytes, int]:
    """The directory, and where it begins."""
    length = stream.seek(0, os.SEEK_END)
    tail_at = max(0, length - _END.size - 0xFFFF)
    stream.seek(tail_at)
    tail = stream.read(length - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and not _ends(tail, at):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise BadZip("the file is no zip, or its end is missing")
    _, disk, first_disk, _, count, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    if disk not in (0, 0xFFFF) or first_disk not in (0, 0xFFFF):
        raise BadZip("the zip is in several parts")
    if 0xFFFF in (count, disk) or 0xFFFFFFFF in (size, offset):
        count, size, offset, end = _large(stream, end) or (count, size, offset, end)
    if size > end or offset + size != end:
        raise BadZip("the directory of the zip is not where its end says")
    if count > limits.members:
        raise BadZip(f"the zip has {count:,} files, and {limits.members:,} is the most")
    if size > limits.members * _DIRECTORY_PER_MEMBER:
        raise BadZip(f"the directory of the zip has {size:,} bytes, which is too much")
    stream.seek(offset)
    directory = stream.read(size)
    if len(directory) != size:
        raise BadZip("the directory of the zip is cut off")
    found = sum(1 for _ in _entries(directory))
    if found != count:
        raise BadZip(f"the zip says that it has {count:,} files, and has {found:,}")
    return directory, offset


def _ends(tail: bytes, at: int) -> bool:
    return at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail)


def _large(stream: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    """Count, size and place of a directory whose numbers are too large for the end of the zip, and where it must end; None: they
    are not, but as large as may be.
    """
    locator_at = end - _LOCATOR.size
    locator = _at(stream, locator_at, _LOCATOR.size)
    if not locator.startswith(b"PK\x06\x07"):
        return None
    end64_at = _LOCATOR.unpack(locator)[2]
    found = _at(stream, end64_at, _END64.size) if end64_at < locator_at else b""
    if len(found) != _END64.size or not found.startswith(b"PK\x06\x06"):
        raise BadZip("the large end of the zip is missing")
    *_, count, size, offset = _END64.unpack(found)
    return count, size, offset, end64_at


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    if offset < 0:
        return b""
    stream.seek(offset)
    return stream.read(size)


def _entries(directory: bytes) -> Iterator[_Entry]:
    at = 0
    while at < len(directory):
        if at + _ENTRY.size > len(directory) or directory[at : at + 4] != b"PK\x01\x02":
            raise BadZip("the directory of the zip is damaged")
        fields = _ENTRY.unpack_from(directory, at)
        system, flags, method, crc, packed, size = fields[2], fields[5], fields[6], fields[9], fields[10], fields[11]
        names, extras, comments, _, _, attributes, offset = fields[12:]
        at += _ENTRY.size
        name, extra = directory[at : at + names], directory[at + names : at + names + extras]
        at += names + extras + comments
        if at > len(directory):
            raise BadZip("the directory of the zip is damaged")
        if 0xFFFFFFFF in (size, packed, offset):
            size, packed, offset = _enlarged(extra, size, packed, offset)
        mode = attributes >> 16 if system in _UNIX else 0
        yield _Entry(name, flags, method, crc, packed, size, offset, mode)


def _enlarged(extra: bytes, *numbers: int) -> tuple[int, int, int]:
    """The numbers that are too large for their places, from where they are instead."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            field, found = extra[at + 4 : at + 4 + length], list(numbers)
            place = 0
            for i, number in enumerate(numbers):
                if number == 0xFFFFFFFF:
                    if place + 8 > len(field):
                        raise BadZip("the directory of the zip is damaged")
                    (found[i],) = struct.unpack_from("<Q", field, place)
                    place += 8
            return found[0], found[1], found[2]
        at += 4 + length
    return numbers[0], numbers[1], numbers[2]  # one that is exactly as large as the mark


def _overlapping(directory: bytes, begins_at: int) -> frozenset[int]:
    """The indexes of those that begin before the one before them ends, or end in the directory: what is packed once and lies in
    many members becomes any number of bytes.
    """
    places = sorted((entry.offset, entry.end, index) for index, entry in enumerate(_entries(directory)))
    wrong: set[int] = set()
    reached = 0
    for offset, end, index in places:
        if offset < reached or end > begins_at:
            wrong.add(index)
        reached = max(reached, end)
    return frozenset(wrong)


def _path(entry: _Entry) -> tuple[str, str | None]:
    """The path; or, as far as it can be shown, what stands there, and what is wrong with it."""
    try:
        name = entry.name.decode()
    except UnicodeDecodeError:
        if entry.flags & _UTF8:
            return entry.name.decode(errors="replace"), "its path is not UTF-8, as it says"
        name = entry.name.decode("cp437")
    # before NFC: marks that are out of their order are sorted in the square of their number, 8 s for 32,000 of them
    path = name if len(name) > PATH else unicodedata.normalize("NFC", name)
    if len(path) > PATH:
        return name, f"its path is limited to {PATH:,} characters"
    if "\\" in path:
        return name, "its path has a backslash"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in path):
        return name, "its path has control characters"
    if not _TURNS.isdisjoint(path):
        return name, "its path has characters that turn the direction of what follows"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return name, 'its path must be relative, without empty parts, "." and ".."'
    return path, None


def _problem(entry: _Entry, limits: ContentLimits) -> str | None:
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFLNK:
        return "it is a symbolic link"
    if kind not in (0, stat.S_IFREG):
        return "it is no regular file"
    if entry.flags & _ENCRYPTED:
        return "it is encrypted"
    if entry.method not in (_STORED, _DEFLATED):
        return f"it is packed with method {entry.method}, and only 0 (stored) and 8 (deflated) are known"
    if entry.method == _STORED and entry.size != entry.packed:
        return "it is damaged: it is not packed, and has two sizes"
    if entry.size > limits.member:
        return f"it has {entry.size:,} bytes, and {limits.member:,} is the most"
    if entry.size > entry.packed * limits.ratio:
        return f"it is more than {limits.ratio:,} times larger than packed"
    return None


def _read(stream: BinaryIO, entry: _Entry, limits: ContentLimits) -> Iterator[bytes]:
    """Its bytes. Never more than it says, which is within the limits."""
    problem = _problem(entry, limits)
    if problem is not None:
        raise BadMember(problem)
    left, size, crc = entry.packed, 0, 0
    place = _place(stream, entry)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == _DEFLATED else None
    while left > 0:
        stream.seek(place)  # others may have read in between
        packed = stream.read(min(_PACKED, left))
        if not packed:
            raise BadMember("it is cut off")
        place += len(packed)
        left -= len(packed)
        for piece in [packed] if unpacker is None else _unpacked(unpacker, packed):
            size += len(piece)
            if size > entry.size:
                raise BadMember(f"it has more than the {entry.size:,} bytes that the zip says")
            crc = zlib.crc32(piece, crc)
            yield piece
        if unpacker is not None and unpacker.eof and left > 0:
            raise BadMember("it is damaged: it ends before its end")
    if unpacker is not None and not unpacker.eof:
        raise BadMember("it is damaged: its end is missing")
    if size != entry.size:
        raise BadMember(f"it has {size:,} bytes, and not the {entry.size:,} that the zip says")
    if crc != entry.crc:
        raise BadMember("it is damaged: its checksum differs")


def _place(stream: BinaryIO, entry: _Entry) -> int:
    """Where its bytes begin. Raises `BadMember` where what stands before them is of something else."""
    head = _at(stream, entry.offset, _LOCAL.size)
    if len(head) != _LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise BadMember("it is not where the zip says")
    fields = _LOCAL.unpack(head)
    flags, method = fields[3], fields[4]
    names: int = fields[10]
    extras: int = fields[11]
    if stream.read(names) != entry.name or method != entry.method or flags & _ENCRYPTED:
        raise BadMember("it is another file at its place than in the directory of the zip")
    return entry.offset + _LOCAL.size + names + extras


def _unpacked(unpacker: zlib._Decompress, packed: bytes) -> Iterator[bytes]:
    """What these bytes become, in pieces: a few of them may become very much."""
    while True:
        try:
            piece = unpacker.decompress(packed, _CHUNK)
        except zlib.error as error:
            raise BadMember(f"it is damaged: {error}") from None
        packed = unpacker.unconsumed_tail
        if piece:
            yield piece
        if unpacker.unused_data:
            raise BadMember("it is damaged: it ends before its end")
        if not packed and len(piece) < _CHUNK:
            return
