"""Notes which queues have jobs that are not to be kept: by whoever adds such jobs, for who sweeps (`gnj.queue.sweep`)."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from gnj.queue.keeping import says
from gnj.queue.model import Secret
from gnj.queue.runner import Runner
from gnj.queue.storage import Changes, Storage
from gnj.queue.values import Json

TOUCHED: Final = 600.0
"""Seconds after which a process notes again that a queue has such jobs."""
MOST: Final = 10_000
"""Queues that a process remembers to have noted."""
MARK: Final = "sweep:"
"""How the names begin of what is noted."""


class Sweeping(Runner):
    """Notes which queues have jobs that are not to be kept."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(storage, **options)
        self._noted: dict[tuple[str, str], float] = {}
        """Until when that need not be said again, by the monotonic clock."""

    def note_kept(self, queue: str, options: Iterable[Json], *, tenant: str) -> None:
        """To be called before jobs with these options are stored."""
        if time.monotonic() < self._noted.get((tenant, queue), -math.inf) or not any(map(says, options)):
            return
        text = json.dumps([tenant, queue])
        name = MARK + hashlib.sha256(text.encode()).hexdigest()
        self.alone(lambda: self._note({"name": name, "value": text}))
        if not self.joined:  # the caller's transaction may be undone
            if len(self._noted) >= MOST:
                self._noted.clear()
            self._noted[tenant, queue] = time.monotonic() + TOUCHED

    def _note(self, mark: Changes) -> None:
        """Leaves a mark that is no older than `TOUCHED`."""
        while True:
            (there,) = self.storage.insert(Secret, [mark])
            if there.updated_at > self.storage.now() - timedelta(seconds=TOUCHED):
                return
            if self.storage.edit(Secret, [there.id], {"value": mark["value"]}):
                return  # else a sweeper has just taken it away
