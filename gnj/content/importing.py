"""The task PROCESS_ENTRIES of an import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gnj.content import entries
from gnj.content.model import NewEntry
from gnj.content.task import Task, Written
from gnj.content.tasklog import counted
from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown
from gnj.reading import values as reading
from gnj.reading.values import Broken, Problem, Read

BATCH: Final = 8 * 1024 * 1024
"""Bytes of a file that are read for one batch, about: of large entries, fewer are written at once."""


def import_entries(task: Task) -> Written:
    """Reads the file and writes its entries. Every bad entry is a line ERROR, as long as the log has room for one more.

    A file that breaks off, or is no JSON, fails the task; what stood before the break is published.
    """
    return _Import(task).run()


@dataclass(slots=True)
class _Reached:
    """How far an import has come: its cursor."""

    position: int = 0
    """Of the last value that was dealt with."""
    offset: int | None = None
    """Of JSON Lines: the bytes of the file up to the line after it, where another try goes on. Any other file is read again from
    its beginning, at some 40 MB/s: there, what went before says how to read on."""
    told: int = 0
    """What is wrong up to this position is in the log already: an earlier try began anew after it."""
    imported: int = 0
    refused: int = 0
    environments: list[str] = field(default_factory=list)
    """The ids of those that were written to."""


class _Import:
    """One try of an import."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._key = str(task.row.file_key)
        self._reached = _Reached(**task.cursor) if isinstance(task.cursor, dict) else _Reached()
        self._environments: dict[str | None, str | None] = {}
        """Ids by what entries may call them, of those that were there at the last look; None: the default one."""
        self._looked = False
        """Whether that was for the present batch."""
        self._opened: set[str] = set()
        self._bytes = self._reached.offset or 0
        self._least: int = task.progress.get("done") or 0
        """What the progress was noted as: it does not go back while what was read is read again."""
        self._size: int | None = None

    def run(self) -> Written:
        """The whole of it."""
        task = self._task
        stored = task.content.files.stat(task.tenant, self._key)
        self._size = None if stored is None else stored.size
        task.content.store.ready(task.tenant)
        for each in self._reached.environments:
            self._open(each)
        broken = self._read()
        reached = self._reached
        return Written(
            environments=reached.environments,
            output={"imported": reached.imported, "refused": reached.refused},
            told=f"{counted(reached.imported, 'entry', 'entries')} imported, {reached.refused:,} refused",
            failed=None if broken is None else str(broken),
        )

    def _read(self) -> Broken | None:
        """Writes what the file has; what it breaks off with."""
        task, key, broken = self._task, self._key, None
        content = task.content
        with content.files.open(task.tenant, key) as stream:
            batch: list[Read] = []
            begun = 0
            reached = self._reached
            after = None if reached.offset is None else (reached.offset, reached.position)
            found = reading.values(stream, key=key, largest=content.limits.entry, told=self._told, after=after)
            try:
                for each in found:
                    if each.position > self._reached.position:
                        begun = begun if batch else self._bytes
                        batch.append(each)
                    if len(batch) >= content.limits.batch or self._bytes - begun >= BATCH:
                        self._write(batch)
                        batch = []
            except Broken as error:
                broken = error
            self._write(batch)
        return broken

    def _write(self, batch: Sequence[Read]) -> None:
        """Writes the entries of a batch, and logs what is wrong with the others."""
        if not batch:
            return
        task, reached = self._task, self._reached
        self._looked = False
        wrong: list[tuple[int, str]] = []
        rooms: dict[str, list[tuple[int, NewEntry]]] = {}
        for each in batch:
            try:
                room, entry = self._entry(each)
            except InvalidInput as error:
                wrong.append((each.position, str(error)))
            else:
                rooms.setdefault(room, []).append((each.position, entry))
        for room, placed in rooms.items():
            if room not in self._opened:
                self._open(room)
            reasons = task.content.store.put_entries(task.tenant, room, task.holder, [entry for _, entry in placed])
            wrong += [(at, why) for (at, _), why in zip(placed, reasons, strict=True) if why is not None]
        for at, why in sorted(wrong):
            reached.refused += 1
            if at > reached.told:
                self._tell(at, why)
        reached.imported += len(batch) - len(wrong)
        reached.position, reached.offset = batch[-1].position, batch[-1].end
        reached.told = max(reached.told, reached.position)
        self._checkpoint()

    def _entry(self, read: Read) -> tuple[str, NewEntry]:
        """The entry of a value, and the id of where it belongs. Raises `InvalidInput`."""
        if isinstance(read.value, Problem):
            raise InvalidInput(read.value.reason)
        entry = entries.read(read.value)
        room = self._room(entry.environment)
        if room is None:
            raise InvalidInput(f"there is no environment {shown(entry.environment)}")
        return room, entry

    def _room(self, named: str | None) -> str | None:
        """The id of an environment, by its id or alias; None: there is none."""
        if named not in self._environments and not self._looked:
            found = self._task.content.store.environments(self._task.tenant)
            default = next((each.id for each in found if each.is_default), None)
            self._environments = {None: default}
            self._environments.update((each.alias, each.id) for each in found)
            self._environments.update((each.id, each.id) for each in found)
            self._looked = True
        return self._environments.get(named)

    def _tell(self, at: int, why: str) -> None:
        """Logs why an entry was refused, unless as many were as the log has lines: the first ones are the ones to be read."""
        most = self._task.content.limits.logs
        if self._reached.refused <= most:
            self._task.log.error("entry %d: %s", at, why)
        elif self._reached.refused == most + 1:
            self._task.log.warning("more than %s entries were refused: the others are only counted", f"{most:,}")

    def _open(self, room: str) -> None:
        """Becomes the writer of an environment, as well as of those that are open already.

        Two imports that each have what the other wants would wait for ever: the one that was made later lets go of all it
        has, and begins anew when the other is over.
        """
        task, reached = self._task, self._reached
        other = task.try_open(room)
        if other is None:
            self._opened.add(room)
            if room not in reached.environments:
                reached.environments.append(room)
            return
        if other.job < task.row.id:
            if reached.position or reached.environments:
                self._reached = _Reached(told=reached.told)
                self._bytes = self._least = 0
                self._checkpoint(force=True)
            # after that is stored: a try that went on from there would miss what is taken back
            task.content.store.abandon(task.tenant, task.holder)
        task.give_way(other)

    def _checkpoint(self, **options: Any) -> None:
        done = max(self._bytes, self._least)
        self._task.checkpoint(asdict(self._reached), done=done, total=self._size, **options)

    def _told(self, count: int) -> None:
        """What is read may be without a value for hours: who wants the task to end must not wait for one."""
        self._bytes = count
        self._checkpoint()
