"""Waking the workers of other processes on SQLite, which sends nothing: the number of its commits is watched.

`PRAGMA data_version` differs once another connection has committed anything, whichever process or program it belongs to. It
is read in 2 microseconds, from memory that all processes share, so that asking every 15 ms takes some 0.3 % of a core, nearly
all of it for waking up. Neither the size of the log nor the time of its last change would do: both change before the commit
can be read, and neither has to change with the next one.

Only when it differs, the database is asked whether there is something to wake for. So two idle workers do not keep each
other awake, nor is one woken by what the other finishes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Final

from sqlalchemy import Engine

from gnj.queue.model import Announcement
from gnj.queue.wake import Listening
from gnj.storage.sql.listener import Listener, Lost
from gnj.storage.sql.schema import Tables

EVERY: Final = {"jobs": 0.015, "changes": 0.03}
"""Seconds between two looks at the number: what others follow may come a little later than a job that waits to be run."""
AGAIN: Final = 0.25
"""Seconds between two wakes where jobs are ready that have not just come: of types that nobody here serves, held, or put
back."""
FILE_EVERY: Final = 1.0
"""Seconds between two looks whether the file is still the same."""


def listen(engine: Engine, tables: Tables, path: str, wake: Callable[[], None], wants: str, *, own: bool) -> Listening:
    """Calls `wake` while the block lasts; no commit is missed from its first line on.

    With "jobs" when a job is ready, with "changes" when something was written to the outbox, whoever committed it. The
    function given says whether the file at `path` is being watched. `own`: the engine is not the host's, and forgets its
    connections when another file has taken the place of that one.
    """
    return _Watcher(engine, tables, path, wake, wants, own=own).listening()


class _Watcher(Listener):
    def __init__(
        self, engine: Engine, tables: Tables, path: str, wake: Callable[[], None], wants: str, *, own: bool
    ) -> None:
        super().__init__(engine, wake, wants)
        self._path = Path(path)
        self._own = own
        self._file: tuple[int, int] | None = None
        """Which file the connection is to."""
        table = tables.job if wants == "jobs" else tables.of(Announcement)
        ready = f'SELECT 1 FROM {tables.name(table)} INDEXED BY "{tables.ready_index}" WHERE ready'
        # ids are given in ascending order and never again, also after rows were removed
        newest = f"SELECT max(id) FROM {tables.name(table)}"
        self._question = f"SELECT ({newest}), {f'EXISTS ({ready})' if wants == 'jobs' else '0'}"

    def _connect(self) -> Any:
        before, self._file = self._file, self._there()
        if before is not None and self._file is None:
            self._file = before
            raise Lost("the file is not there")  # to connect would make an empty one
        if before not in (None, self._file) and self._own:
            self._engine.dispose()
        raw = super()._connect()
        self._file = self._file or self._there()
        return raw

    def _attend(self, raw: Any) -> None:
        ask = raw.cursor().execute
        version = ask(_VERSION).fetchall()
        newest = ask(self._question).fetchall()[0][0] or 0
        self._begun()
        woken, due, checked = -math.inf, math.inf, monotonic()
        while not self._rang(EVERY[self._wants]):
            now = monotonic()
            if now - checked >= FILE_EVERY:
                checked = now
                if self._there() != self._file:
                    raise Lost("the file is not there, or another one")
            current = ask(_VERSION).fetchall()
            if current == version and now < due:
                continue
            version, due = current, math.inf
            before = newest
            newest, ready = ask(self._question).fetchall()[0]
            newest = newest or 0
            if newest > before if self._wants == "changes" else ready and (newest > before or now - woken >= AGAIN):
                woken = now
                self._wake()
            elif ready:
                due = woken + AGAIN

    def _there(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


_VERSION: Final = "PRAGMA data_version"
