"""The task PROCESS_ASSETS."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Final

from gnj.content import zips
from gnj.content.model import Asset
from gnj.content.task import Task, Written
from gnj.content.tasklog import counted
from gnj.content.zips import BadMember, Member
from gnj.queue import works
from gnj.queue.errors import InvalidInput
from gnj.queue.values import check_word, dump_json

PREFIX: Final = "assets/"
"""How the keys of the files of assets begin; their digest follows."""
_SMALL: Final = 8 * 1024 * 1024
"""Bytes up to which a file is kept while its digest is found, by which it is stored; a larger one is unpacked twice."""
_BATCH: Final = 100
"""Assets that are written at once, at most."""
_AT_ONCE: Final = 8
"""Files that are stored at once: each waits for a disk or a network, and hardly computes."""
_LEFT_OUT: Final = ("__MACOSX/", ".DS_Store")
"""What the Finder of macOS puts into the zips it makes, a folder and a name of files: nobody means them to be assets."""
# by names alone, and alike on every machine: what the system knows of types is not asked
_TYPES: Final = mimetypes.MimeTypes()


def import_assets(task: Task) -> Written:
    """Reads a zip and stores its files as assets: their first folder is the site. What cannot be stored is a line ERROR.

    The bytes are stored by their digest, so that what is there already - of an earlier try, of another site - is not stored
    again. A file that is no zip fails the task.
    """
    return _Import(task).run()


@dataclass(slots=True)
class _Reached:
    """How far an import has come: its cursor."""

    member: int = 0
    """The index of the next one."""
    packed: int = 0
    """Bytes of those before, in the zip."""
    imported: int = 0
    refused: int = 0
    environment: str | None = None
    """The one that is written to, once something was."""
    skipped: list[str] = field(default_factory=list)
    """Which of `_LEFT_OUT` the log tells of already."""


class _Import:
    """One try."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._reached = _Reached(**task.cursor) if isinstance(task.cursor, dict) else _Reached()
        self._opened = False
        self._total: int | None = None
        self._batch: list[tuple[Member, Asset]] = []
        """Not written yet."""
        self._kept: dict[str, list[bytes]] = {}
        """The bytes of those of them that are not stored yet, by their keys."""
        self._bytes = 0
        """Of these."""
        self._next = self._reached.member
        self._packed = self._reached.packed

    def run(self) -> Written:
        """The whole of it."""
        task, reached = self._task, self._reached
        task.content.store.ready(task.tenant)
        if reached.environment is not None:
            self._open()
        with task.content.files.open(task.tenant, str(task.row.file_key)) as stream:
            self._total = stream.seek(0, 2)
            for member in zips.members(stream, task.content.limits, begin=reached.member):
                self._take(member)
            self._write()
        return Written(
            environments=[] if reached.environment is None else [reached.environment],
            output={"imported": reached.imported, "refused": reached.refused},
            told=f"{counted(reached.imported, 'asset', 'assets')} imported, {reached.refused:,} refused",
        )

    def _take(self, member: Member) -> None:
        waiting = self._batch
        if waiting and (self._bytes + member.size > _SMALL or member.index - waiting[0][0].index >= _BATCH):
            self._write()
        if (kind := _left_out(member)) is not None:
            self._skip(kind)
        else:
            try:
                waiting.append((member, self._asset(member)))
            except InvalidInput as error:
                self._refuse(member, str(error))
            else:
                self._bytes += member.size
        self._next = member.index + 1
        self._packed += member.packed
        if not waiting:
            self._pass()

    def _asset(self, member: Member) -> Asset:
        """The asset of a file. Raises `InvalidInput`."""
        if member.problem is not None:
            raise BadMember(member.problem)
        site, _, path = member.path.partition("/")
        if not path:
            raise InvalidInput("it is in no folder, and the first folder is the site")
        check_word(site, "the first folder")
        digest, key = self._stored(member)
        name = path.rpartition("/")[2]
        type, encoding = _TYPES.guess_type(name)
        # known for the try that comes after a crash, too: it is the same asset then
        id = hashlib.sha256(dump_json([self._task.row.id, site, path]).encode()).hexdigest()[:24]
        return Asset(
            id=f"asset_{id}",
            site_id=site,
            path=path,
            name=name,
            size=member.size,
            media_type=type if type is not None and encoding is None else "application/octet-stream",
            sha256=digest,
            key=key,
            created_at=datetime.now(UTC),
        )

    def _stored(self, member: Member) -> tuple[str, str]:
        """The digest of its bytes, and the key by which they are stored, or will be with the batch."""
        digest, kept = hashlib.sha256(), list[bytes]()
        for piece in self._pieces(member):
            digest.update(piece)
            if member.size <= _SMALL:
                kept.append(piece)
        key = self._key(digest.hexdigest())
        if member.size <= _SMALL:
            self._kept[key] = kept
        else:
            self._store(key, self._pieces(member))
        return digest.hexdigest(), key

    def _key(self, digest: str) -> str:
        """Where the bytes are, or are to be. A key that is swept up is never used again: it is one of this content job."""
        task, begin = self._task, f"{PREFIX}{digest}-"
        key = task.content.store.asset_file(task.tenant, begin)
        if key is not None and task.content.files.stat(task.tenant, key) is not None:
            return key
        return f"{begin}{works.mark(task.row)[:16]}"

    def _store(self, key: str, pieces: Iterable[bytes]) -> None:
        files, tenant = self._task.content.files, self._task.tenant
        if files.stat(tenant, key) is not None:
            return
        sink = files.create(tenant, key)
        try:
            for piece in pieces:
                sink.write(piece)
            sink.finish()
        finally:
            sink.abort()

    def _pieces(self, member: Member) -> Iterator[bytes]:
        for piece in member.read():
            yield piece
            if (
                member.size > _SMALL
            ):  # nothing waits to be written then, so that the cursor holds all that is in the log
                self._checkpoint()

    def _write(self) -> None:
        """Writes the assets that wait."""
        if not self._batch:
            return
        task, room = self._task, self._open()
        with ThreadPoolExecutor(_AT_ONCE, "gnj-assets") as pool:
            for stored in [pool.submit(self._store, key, pieces) for key, pieces in self._kept.items()]:
                stored.result()
        self._kept.clear()
        reasons = task.content.store.put_assets(task.tenant, room, task.holder, [asset for _, asset in self._batch])
        for (member, _), reason in zip(self._batch, reasons, strict=True):
            if reason is not None:
                self._refuse(member, reason)
            else:
                self._reached.imported += 1
        self._batch.clear()
        self._bytes = 0
        self._pass()

    def _skip(self, kind: str) -> None:
        """Says that files of a kind are left out: once, since it is stored with the cursor."""
        if kind not in self._reached.skipped:
            self._reached.skipped.append(kind)
            self._task.log.info("%s is of macOS and no asset: files of that kind are left out", kind)

    def _refuse(self, member: Member, reason: str) -> None:
        self._task.log.error("file %d, %s: %s", member.index + 1, member.path[:200], reason)
        self._reached.refused += 1

    def _pass(self) -> None:
        """All that were taken are dealt with."""
        self._reached.member = self._next
        self._reached.packed = self._packed
        self._checkpoint()

    def _open(self) -> str:
        """Becomes the writer of the environment: the default one."""
        task, reached = self._task, self._reached
        if reached.environment is None:
            found = task.content.store.environment(task.tenant, None)
            if found is None:
                raise InvalidInput("the organisation has no default environment")
            reached.environment = found.id
        if not self._opened:
            task.open(reached.environment)
            self._opened = True
        return reached.environment

    def _checkpoint(self) -> None:
        self._task.checkpoint(asdict(self._reached), done=self._reached.packed, total=self._total)


def _left_out(member: Member) -> str | None:
    """Which of `_LEFT_OUT` a file is, if any."""
    folder, name = _LEFT_OUT
    if member.problem is not None:
        return None
    return folder if member.path.startswith(folder) else name if member.path.rpartition("/")[2] == name else None
