"""What `LocalFiles` does to directories: everything goes by open directories, so that nobody can put another one in a path's way."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from gnj.content.files import AccessRefused, DiskFull, FileGone
from gnj.queue.errors import StorageUnavailable

logger = logging.getLogger("gnj.content")

_CHUNK: Final = 1024 * 1024
WAIT: Final = 10.0
"""Seconds for which another one's lock is waited for."""
_LOOK: Final = 0.02
"""Seconds between two looks whether it is free: `flock` knows no bound of its own."""
DAY: Final = 86_400.0
"""Seconds after its last change after which a file that was not finished belongs to nobody any more."""
FEW: Final = 10
"""Of what belongs to nobody, so many go at once: whoever writes next does it, and an upload may have 10,000 parts."""
_KINDS: Final[Mapping[int, type[StorageUnavailable]]] = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EACCES: AccessRefused,
    errno.EPERM: AccessRefused,
    errno.EROFS: AccessRefused,
    errno.ENOENT: FileGone,
    errno.ESTALE: FileGone,
}
"""What errors of the system are told as; all others say only that it did not work."""


class Written:
    """A new file in a directory, which goes again unless it is renamed. Closes the directory when it is closed itself."""

    def __init__(self, folder: int, name: str) -> None:
        self.folder, self.name, self.file = folder, name, -1
        self._md5 = hashlib.md5(usedforsecurity=False)
        try:
            self.file = new(folder, name)
        except BaseException:
            self.abort()
            raise

    @property
    def etag(self) -> str:
        """Of what was written so far."""
        return self._md5.hexdigest()

    def write(self, data: bytes) -> None:
        """Takes the next bytes."""
        with reaching():
            write_all(self.file, data)
        self._md5.update(data)

    def abort(self) -> None:
        """Nothing of it is kept. Idempotent, raises nothing."""
        folder, file, self.folder, self.file = self.folder, self.file, -1, -1
        with contextlib.suppress(OSError):
            if file >= 0:
                os.close(file)
                os.unlink(self.name, dir_fd=folder)
        with contextlib.suppress(OSError):
            if folder >= 0:
                os.close(folder)


@contextmanager
def reaching() -> Iterator[None]:
    """What the system refuses as `StorageUnavailable`, and as one of its kinds where that says why. Of paths only the log tells."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageUnavailable):
            raise
        logger.warning("the files cannot be reached: %s", error)
        if (kind := _KINDS.get(error.errno or 0)) is not None:
            raise kind from error
        raise StorageUnavailable("the files cannot be reached") from error


@contextmanager
def locked(folder: int, within: float | None = None) -> Iterator[None]:
    """Keeps all others out of a directory, those of other processes as well.

    Raises `StorageUnavailable` where another one keeps it for longer than `within` seconds (`WAIT`), for whatever reason: a
    process that was stopped in the middle must not stop all that come after it.
    """
    import fcntl  # noqa: PLC0415 - so that the module can be imported where there is none

    # opened anew: a lock belongs to the opening, and that of `folder` may be shared with other threads
    mine = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    until = time.monotonic() + (WAIT if within is None else within)
    try:
        while True:
            try:
                fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise StorageUnavailable("the files cannot be reached: another part is being written") from None
            time.sleep(_LOOK)
        yield
    finally:
        os.close(mine)


def new(folder: int, name: str) -> int:
    """Makes a file that was not there; its descriptor."""
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)


def opened(folder: int, name: str, how: int = os.O_RDONLY) -> int:
    """Opens a file that is there, and no link to one; its descriptor."""
    return os.open(name, how | os.O_NOFOLLOW, dir_fd=folder)


def read_json(folder: int, name: str) -> dict[str, Any]:
    """What a small file has, which `write` wrote."""
    with os.fdopen(opened(folder, name), "rb") as file:
        told: dict[str, Any] = json.load(file)
    return told


def write(folder: int, temporary: str, text: str, name: str, *, by: int | None = None) -> None:
    """Writes a small file that is there at once and whole; first under another name, in the directory `by` if one is given."""
    before = folder if by is None else by
    file = new(before, temporary)
    try:
        try:
            write_all(file, text.encode())
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, name, src_dir_fd=before, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=before)
        raise


def write_all(file: int, data: bytes) -> None:
    """Writes all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def copy(source: int, target: int, offset: int, size: int) -> None:
    """Copies the first `size` bytes of a file to `offset` of another one; within the system where that can.

    Raises `OSError` where the file has fewer.
    """
    done = 0
    with contextlib.suppress(OSError, AttributeError):
        while done < size and (count := os.copy_file_range(source, target, size - done, done, offset + done)):
            done += count
    while done < size:
        piece = os.pread(source, min(_CHUNK, size - done), done)
        if not piece:
            raise OSError(errno.EIO, "a file that was just written has become shorter")
        done += os.pwrite(target, piece, offset + done)


def sweep(folder: int) -> None:
    """Removes a few of the files that were left behind by those that ended while they wrote."""
    for name in old(folder, DAY):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def old(folder: int, seconds: float) -> list[str]:
    """The names of at most `FEW` of those that were last changed more than so many seconds ago."""
    before, found = time.time() - seconds, []
    with os.scandir(folder) as entries:
        for each in entries:
            with contextlib.suppress(FileNotFoundError):
                if each.stat(follow_symlinks=False).st_mtime < before:
                    found.append(each.name)
            if len(found) == FEW:
                break
    return found
