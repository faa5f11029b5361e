"""`LocalFiles`: files in a directory, for one machine, or for several that share a file system with `flock`.

Below the root each organisation has a directory, named by a digest of its name, and in it:

- `open/<upload>/`: `data`, into which parts are written where they belong, so that a complete upload is a file already and
  has only to be renamed; `part-<n>`, the size and the ETag of a part that is there; and `tmp-…`, parts that are on their way
- `files/<xx>/<digest of the key>`: what is known of a file, as JSON; beside it, named there, the bytes. That one small file is
  what makes a file visible, or another one in its place
- `new/`: files that are being written

No name that a client gives is the name of a file, and no symbolic link below the root is followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat as modes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from gnj.content import local_disk as disk
from gnj.content.files import FileSink, PartSink, Stored, TooLarge, UploadOver, bare_etag, etag_of_parts
from gnj.queue.errors import InvalidInput, NotFound, StorageUnavailable
from gnj.queue.values import dump_json

T = TypeVar("T")

_UPLOAD: Final = re.compile("[0-9a-f]{32}")
_CHUNK: Final = 1024 * 1024


class LocalFiles:
    """A `FileStore` in a directory of a POSIX system. No name that a client gives becomes the name of a file.

    Args:
        root: The directory; made when something is written first.
        open_seconds: How long an upload may be open. What is left of one that nobody knows of - its server was killed while it
            was begun - goes a day after that, a few of them whenever another one begins.
    """

    direct = False

    def __init__(self, root: Path, *, open_seconds: float = disk.DAY) -> None:
        self.root = root
        self._left_behind = open_seconds + disk.DAY

    def begin(self, tenant: str, key: str, size: int, part: int) -> str:
        """See `FileStore.begin`."""
        backend = secrets.token_hex(16)
        with disk.reaching(), self._folder(tenant, "open", backend, make=True) as folder:
            os.close(disk.new(folder, "data"))
        self._sweep(tenant)
        return backend

    def part_urls(self, tenant: str, key: str, backend: str, sizes: Sequence[int], seconds: float) -> Sequence[str]:
        """See `FileStore.part_urls`."""
        raise TypeError("LocalFiles has no URLs of its own")

    def part(self, tenant: str, key: str, backend: str, number: int, offset: int, size: int) -> PartSink:
        """See `FileStore.part`."""
        with disk.reaching():
            try:
                with self._upload(tenant, backend) as folder:
                    os.stat("data", dir_fd=folder, follow_symlinks=False)
                    return _LocalPart(os.dup(folder), number, offset, size)
            except FileNotFoundError:
                raise UploadOver from None

    def complete(self, tenant: str, key: str, backend: str, sizes: Sequence[int], etags: Sequence[str]) -> Stored:
        """See `FileStore.complete`."""
        bare = [bare_etag(etag) for etag in etags]
        with disk.reaching():
            try:
                # a part that comes now is one too many, and shortly written
                with self._upload(tenant, backend) as folder, disk.locked(folder, within=1.0):
                    stored = self._done(tenant, key, backend, bare)
                    if stored is None:
                        _check_parts(folder, sizes, bare)
                        stored = self.keep(tenant, key, folder, "data", backend, etag_of_parts(bare))
                    self._clear(tenant, backend, folder)
            except FileNotFoundError:
                stored = self._done(tenant, key, backend, bare)
        if stored is None:
            raise UploadOver
        return stored

    def drop(self, tenant: str, key: str, backend: str) -> None:
        """See `FileStore.drop`."""
        gone = contextlib.suppress(FileNotFoundError)
        with disk.reaching(), gone, self._upload(tenant, backend) as folder, disk.locked(folder, within=0.0):
            with gone, self._place(tenant, key) as place:
                # the bytes of a completion that was broken off before the file could be seen
                data = f"{_digest(key)}.{backend}"
                if not _is_data(place, _digest(key), data):
                    os.unlink(data, dir_fd=place)
            self._clear(tenant, backend, folder)

    def stat(self, tenant: str, key: str) -> Stored | None:
        """See `FileStore.stat`."""
        with disk.reaching():
            try:
                with self._place(tenant, key) as folder:
                    return _known(folder, _digest(key))
            except FileNotFoundError:
                return None

    def open(self, tenant: str, key: str) -> BinaryIO:
        """See `FileStore.open`."""
        with disk.reaching():
            try:
                with self._place(tenant, key) as folder:
                    return os.fdopen(_with_data(folder, _digest(key), disk.opened)[1], "rb", _CHUNK)
            except FileNotFoundError:
                # another process may mean another directory by the same relative path
                disk.logger.warning("there is no file %r of %s in %s", key[:200], tenant, self.root.absolute())
                raise NotFound(f"there is no file {key[:200]!r}") from None

    def create(self, tenant: str, key: str) -> FileSink:
        """See `FileStore.create`."""
        with disk.reaching(), self._folder(tenant, "new", make=True) as folder:
            disk.sweep(folder)
            return _LocalFile(self, tenant, key, os.dup(folder))

    def download_url(self, tenant: str, key: str, seconds: float) -> str | None:
        """See `FileStore.download_url`."""
        return None

    def remove(self, tenant: str, key: str) -> None:
        """See `FileStore.remove`."""
        name, gone = _digest(key), contextlib.suppress(FileNotFoundError)
        with disk.reaching(), gone, self._place(tenant, key) as folder, disk.locked(folder):
            known = disk.read_json(folder, name)
            os.unlink(name, dir_fd=folder)
            os.unlink(known["data"], dir_fd=folder)

    def keep(self, tenant: str, key: str, source: int, name: str, data: str, etag: str) -> Stored:
        """Has the file `name` of the directory `source`, whose bytes are on the disk, be the file of that key. `data` is the end
        of the name that it gets: the same one for the same bytes, another one for others.
        """
        digest, new = _digest(key), self._folder(tenant, "new", make=True)
        # locked, so that of two for one key the second finds what the first has put there, and removes it
        with self._folder(tenant, "files", digest[:2], make=True) as folder, disk.locked(folder), new as beside:
            try:
                before = str(disk.read_json(folder, digest)["data"])
            except FileNotFoundError:
                before = None
            data = f"{digest}.{data}"
            with contextlib.suppress(FileNotFoundError):  # it was, before a crash
                os.rename(name, data, src_dir_fd=source, dst_dir_fd=folder)
            size = os.stat(data, dir_fd=folder, follow_symlinks=False).st_size
            now = datetime.now(UTC)
            told = {"key": key, "data": data, "size": size, "etag": etag, "modified": now.isoformat()}
            disk.write(folder, secrets.token_hex(16), dump_json(told), digest, by=beside)
            os.fsync(folder)
            if before not in (None, data):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(str(before), dir_fd=folder)
            return Stored(key, size, etag, now)

    def _done(self, tenant: str, key: str, backend: str, etags: Sequence[str]) -> Stored | None:
        """The file, if that upload has made it. Raises `InvalidInput` for other parts than those it was made of."""
        try:
            with self._place(tenant, key) as folder:
                if not _is_data(folder, _digest(key), f"{_digest(key)}.{backend}"):
                    return None
                stored = _known(folder, _digest(key))
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError):  # what is no ETag of ours
            if stored.etag == etag_of_parts(etags):
                return stored
        raise InvalidInput("the upload is complete already, of parts with other ETags")

    def _clear(self, tenant: str, backend: str, folder: int) -> None:
        """Removes what is left of an upload. A part that is on its way removes itself, and the directory may then stay, empty."""
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        with self._folder(tenant, "open") as opened, contextlib.suppress(OSError):
            os.rmdir(backend, dir_fd=opened)

    def _sweep(self, tenant: str) -> None:
        """Removes some of what was left behind by those that were killed."""
        with contextlib.suppress(OSError, StorageUnavailable):
            with self._folder(tenant, "new", make=True) as folder:
                disk.sweep(folder)
            with self._folder(tenant, "open") as folder:
                left = disk.old(folder, self._left_behind)
            for backend in left:
                self.drop(tenant, "", backend)

    @contextmanager
    def _upload(self, tenant: str, backend: str) -> Iterator[int]:
        if _UPLOAD.fullmatch(backend) is None:
            raise FileNotFoundError
        with self._folder(tenant, "open", backend) as folder:
            yield folder

    @contextmanager
    def _place(self, tenant: str, key: str) -> Iterator[int]:
        with self._folder(tenant, "files", _digest(key)[:2]) as folder:
            yield folder

    @contextmanager
    def _folder(self, tenant: str, *below: str, make: bool = False) -> Iterator[int]:
        """A directory of the tenant's, as a descriptor; each step from the root is a real directory, and no link to one.

        Raises `FileNotFoundError`, unless it is to be made.
        """
        if make:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        here = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in (_digest(tenant)[:32], *below):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=here)
                        os.fsync(here)
                there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = there
            yield here
        finally:
            os.close(here)


class _LocalPart(disk.Written):
    """The `PartSink` of `LocalFiles`: writes beside the file, and into it once all is there, so that a part that breaks off, or
    comes twice at once, spoils nothing.
    """

    def __init__(self, folder: int, number: int, offset: int, size: int) -> None:
        super().__init__(folder, f"tmp-{secrets.token_hex(8)}")
        self._number, self._offset, self._size = number, offset, size
        self._came = 0

    def write(self, chunk: bytes) -> None:
        """See `PartSink.write`."""
        if self._came + len(chunk) > self._size:
            raise TooLarge(f"the part has more than {self._size} bytes")
        super().write(chunk)
        self._came += len(chunk)

    def finish(self) -> str:
        """See `PartSink.finish`."""
        try:
            if self._came < self._size:
                raise InvalidInput(f"the part has {self._size} bytes, and only {self._came} came")
            with disk.reaching():
                try:
                    with disk.locked(self.folder):
                        self._put()
                except FileNotFoundError:
                    raise UploadOver from None
            return self.etag
        finally:
            self.abort()

    def _put(self) -> None:
        name = f"part-{self._number}"
        data = disk.opened(self.folder, "data", os.O_WRONLY)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.folder)
                os.fsync(self.folder)  # nobody goes by the old one once bytes of the new one may be in the file
            disk.copy(self.file, data, self._offset, self._size)
            os.fsync(data)
        finally:
            os.close(data)
        disk.write(self.folder, f"{self.name}.json", dump_json({"size": self._size, "etag": self.etag}), name)


class _LocalFile(disk.Written):
    """The `FileSink` of `LocalFiles`."""

    def __init__(self, files: LocalFiles, tenant: str, key: str, folder: int) -> None:
        super().__init__(folder, secrets.token_hex(16))
        self._files, self._tenant, self._key = files, tenant, key

    def finish(self) -> Stored:
        """See `FileSink.finish`."""
        try:
            with disk.reaching():
                os.fsync(self.file)
                return self._files.keep(self._tenant, self._key, self.folder, self.name, self.name, self.etag)
        finally:
            self.abort()


def _known(folder: int, name: str) -> Stored:
    """What is known of a file. Raises `FileNotFoundError`, also where its bytes are not there."""
    told, found = _with_data(folder, name, lambda there, data: os.stat(data, dir_fd=there, follow_symlinks=False))
    if not modes.S_ISREG(found.st_mode) or found.st_size != told["size"]:
        raise FileNotFoundError
    return Stored(told["key"], told["size"], told["etag"], datetime.fromisoformat(told["modified"]))


def _is_data(folder: int, name: str, data: str) -> bool:
    """Whether the bytes of a file are those that are called `data`."""
    try:
        return bool(disk.read_json(folder, name)["data"] == data)
    except FileNotFoundError:
        return False


def _with_data(folder: int, name: str, get: Callable[[int, str], T]) -> tuple[dict[str, Any], T]:
    """What is told of a file, and what `get` gives of its bytes, by directory and name. Raises `FileNotFoundError`."""
    told = disk.read_json(folder, name)
    while True:
        try:
            return told, get(folder, told["data"])
        except FileNotFoundError:
            before, told = told, disk.read_json(folder, name)
            if told["data"] == before["data"]:  # and not replaced in between
                raise


def _check_parts(folder: int, sizes: Sequence[int], etags: Sequence[str]) -> None:
    for number, (size, etag) in enumerate(zip(sizes, etags, strict=True), 1):
        try:
            part = disk.read_json(folder, f"part-{number}")
        except FileNotFoundError:
            raise InvalidInput(f"part {number} was not uploaded") from None
        if part["size"] != size or part["etag"] != etag:
            raise InvalidInput(f"part {number} has another ETag")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
